"""Jobs that pg_cron runs: months of them, failures that are seen, and runs that make up for them.

They are run by restarting the server, which every version of pg_cron knows (@reboot): by the clock, the oldest one runs
jobs once a minute at most.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.server.test_schedule import ROOT, call
from tests.support import family
from tests.support.database import Database

Connection = psycopg.Connection[Any]
PATIENCE = 180.0  # seconds until a busy machine has done it
WAIT = "2 s"  # no other session may wait longer for a lock: that is many times the lock_timeout of the jobs


def restart(home: Database) -> Connection:
    """Run the @reboot jobs, wait for their ends; a new session of the owner."""
    known = home.value("SELECT count(*) FROM cron.job_run_details")
    jobs = home.value("SELECT count(*) FROM cron.job WHERE active")
    home.server.stop("fast")
    home.server.start()
    deadline = time.monotonic() + PATIENCE
    # all that shall run have ended, and none is at work: some versions run one again whose server has just started
    ended = (
        "SELECT CASE WHEN bool_and(status IN ('succeeded', 'failed')) THEN count(*) ELSE 0 END"
        " FROM cron.job_run_details"
    )
    while home.value(ended) < known + jobs:
        assert time.monotonic() < deadline, home.rows("SELECT * FROM cron.job_run_details")
        time.sleep(0.1)
    return home.connect()


def kill_when_it_waits(home: Database) -> Connection:
    """Run the jobs and terminate maintenance when it waits for a lock; a session of the owner, which sees it failed."""
    home.server.stop("fast")
    home.server.start()
    deadline = time.monotonic() + PATIENCE
    waiting = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND usename = 'owner' AND query ~ 'run_maintenance'"
    )
    while not home.rows(waiting):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    owner = home.connect()
    while statuses(owner)["maintenance"] != "failed":
        assert time.monotonic() < deadline, owner.execute("SELECT * FROM dp.job").fetchall()
        time.sleep(0.1)
    return owner


def moved_to(home: Database, day: str) -> None:
    """Jobs find another day when they look at the clock."""
    home.connect("postgres").execute(f"ALTER ROLE owner IN DATABASE cron_home SET dp.now = '{day} 12:00+00'")  # type: ignore[arg-type]


def statuses(owner: Connection) -> dict[str, str]:
    return dict(owner.execute("SELECT kind, status FROM dp.job").fetchall())


def test_months_of_jobs(home: Database) -> None:
    home.connect("postgres").execute("CREATE EXTENSION pg_prewarm")
    owner = home.connect(**{"dp.now": "2025-01-15 12:00+00"})
    family.declare(owner, premake=1, retention="2 months", retention_action="drop")
    owner.execute(f"SELECT dp.configure({ROOT}, retention_grace => '1 month')")
    owner.execute("CALL dp.run_maintenance()")
    family.fill(owner, "2025-01-10 12:00+00", 1, 20)
    moved_to(home, "2025-01-15")
    call(owner, maintenance="@reboot", cluster="none")
    for month, slices in (
        (3, ["2025_01", "2025_02", "2025_03", "2025_04"]),
        (4, ["2025_02", "2025_03", "2025_04", "2025_05"]),
        (5, ["2025_03", "2025_04", "2025_05", "2025_06"]),
    ):
        moved_to(home, f"2025-{month:02d}-15")
        owner = restart(home)
        assert statuses(owner)["maintenance"] == "succeeded"
        assert family.slices(owner) == slices
        family.fill(owner, f"2025-{month:02d}-10 12:00+00", month * 100, 10)
    assert family.counts(owner) == {"Dialog": 30, "Activity": 60, "Actor": 90}
    assert owner.execute("SELECT to_regclass('\"Dialog_2025_01\"')").fetchone() == (None,), "its grace period is over"
    shown = owner.execute("SELECT last_run < now(), duration > interval '0', logged_success < now() FROM dp.job")
    assert shown.fetchall() == [(True, True, True), (True, True, None)], "prewarm is at each start, and logs nothing"
    call(owner, maintenance="none", cluster="@reboot", statistics="@reboot", vacuum="@reboot")
    owner = restart(home)
    assert statuses(owner) == dict.fromkeys(("cluster", "prewarm", "statistics", "vacuum"), "succeeded")
    assert (
        owner.execute("SELECT command, return_message FROM cron.job_run_details WHERE status <> 'succeeded'").fetchall()
        == []
    )


def test_a_job_that_fails_is_seen_and_made_up_for(home: Database) -> None:
    moved_to(home, "2025-01-15")
    owner = home.connect(**{"dp.now": "2025-01-15 12:00+00"})
    family.declare(owner, premake=1, lock_timeout="1 ms", retention="1 month")
    owner.execute("CALL dp.run_maintenance()")
    call(owner, maintenance="@reboot", cluster="none")

    admin = home.connect("postgres")
    admin.execute("ALTER SCHEMA public OWNER TO postgres")  # a privilege is missing
    admin.execute("GRANT USAGE ON SCHEMA public TO owner")
    moved_to(home, "2025-02-15")
    owner = restart(home)
    row = owner.execute("SELECT status, message, logged_failure IS NOT NULL FROM dp.job").fetchone()
    assert row is not None and row[0] == "failed" and row[2]
    assert family.slices(owner) == ["2025_01", "2025_02"]

    home.connect("postgres").execute("ALTER SCHEMA public OWNER TO owner")
    moved_to(home, "2025-03-15")
    owner.autocommit = False  # a lock is held, by a transaction that outlives the server
    owner.execute('SELECT count(*) FROM "Actor"')
    owner.execute("PREPARE TRANSACTION 'reader'")
    owner = restart(home)
    assert statuses(owner) == {"maintenance": "failed"}
    reason = owner.execute("SELECT message FROM dp.log WHERE status = 'failed' ORDER BY id DESC LIMIT 1").fetchone()
    assert reason is not None and "could not lock" in reason[0]

    owner.execute("ROLLBACK PREPARED 'reader'")
    owner = restart(home)
    assert statuses(owner) == {"maintenance": "succeeded"}
    assert family.slices(owner) == ["2025_02", "2025_03", "2025_04"]
    errors = owner.execute(f"SELECT finding FROM dp.check({ROOT}) WHERE severity = 'error'").fetchall()
    assert errors == []


def test_a_job_that_is_killed_is_made_up_for(home: Database) -> None:
    moved_to(home, "2025-01-15")
    owner = home.connect(**{"dp.now": "2025-01-15 12:00+00"})
    family.declare(owner, premake=1, lock_timeout="10 s")
    owner.execute("CALL dp.run_maintenance()")
    call(owner, maintenance="@reboot", cluster="none")
    moved_to(home, "2025-03-15")
    owner.autocommit = False
    owner.execute('SELECT count(*) FROM "Actor"')
    owner.execute("PREPARE TRANSACTION 'reader'")
    owner = kill_when_it_waits(home)
    assert statuses(owner) == {"maintenance": "failed"}
    assert len(family.slices(owner, "Actor")) < 4
    owner.execute("ROLLBACK PREPARED 'reader'")
    owner = restart(home)
    assert statuses(owner) == {"maintenance": "succeeded"}
    assert [len(family.slices(owner, table)) for table in family.TABLES] == [4] * 3


class Writer(threading.Thread):
    """Inserts a family after the other, all of one moment, until it is stopped or has waited too long for a lock."""

    def __init__(self, home: Database, moment: str) -> None:
        super().__init__()
        self.connection = home.connect(lock_timeout=WAIT)
        self.moment = moment
        self.written = 0
        self.stopped = threading.Event()
        self.errors: list[psycopg.Error] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                family.fill(self.connection, self.moment, 1 + self.written, 1)
            except psycopg.Error as error:
                self.errors.append(error)
                return
            self.written += 1


def test_months_of_jobs_by_the_clock_while_rows_are_written(home: Database) -> None:
    if str(home.value("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'")).startswith("1.4"):
        pytest.skip("this version of pg_cron runs jobs once a minute at most")
    moved_to(home, "2025-01-15")
    owner = home.connect(**{"dp.now": "2025-01-15 12:00+00"})
    family.declare(owner, premake=1, retention="2 months", retention_action="drop", lock_timeout="100 ms")
    owner.execute("CALL dp.run_maintenance()")
    family.fill(owner, "2025-01-10 12:00+00", 100_000, 10)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-12-01', '2026-01-01')")
    call(owner, maintenance="1 second", cluster="3 seconds")
    writer = Writer(home, "2025-12-10 12:00+00")
    writer.start()
    try:
        for month in range(2, 7):
            moved_to(home, f"2025-{month:02d}-15")
            wanted = [f"2025_{each:02d}" for each in range(max(month - 2, 1), month + 2)] + ["2025_12"]
            deadline = time.monotonic() + PATIENCE
            while [name for name in family.slices(owner) if name < "2025_08"] + ["2025_12"] != wanted:
                log = "SELECT at, target, status, message FROM dp.log ORDER BY id DESC LIMIT 9"
                assert time.monotonic() < deadline, (family.slices(owner), owner.execute(log).fetchall())
                time.sleep(0.2)
    finally:
        writer.stopped.set()
        writer.join()
        call_again_until_free(owner)
    assert writer.errors == []
    assert family.counts(owner) == {table: n * writer.written for n, table in enumerate(family.TABLES, start=1)}
    failed = "SELECT DISTINCT return_message FROM cron.job_run_details WHERE status = 'failed'"
    # a run that met the other job, or whose lock_timeout was too short on a busy machine: the next one did it; and one
    # that was at work when the jobs were taken away
    met = ("another session works", "(55P03)", "job canceled")
    others = [
        row["return_message"] for row in home.rows(failed) if not any(each in row["return_message"] for each in met)
    ]
    assert not others, "\n".join(others)
    assert home.value("SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'") >= 5


def call_again_until_free(owner: Connection) -> None:
    """Take the jobs away; one that is at work has the hierarchy."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            call(owner, "unschedule")
            return
        except psycopg.errors.ObjectInUse:
            assert time.monotonic() < deadline
            time.sleep(0.1)
