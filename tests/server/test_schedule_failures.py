"""Jobs under a quota, and months of clustering and prewarming beside maintenance while somebody writes."""

from __future__ import annotations

import threading
from typing import Any

import psycopg

from tests.server.test_jobs_watched import findings, numbers
from tests.server.test_schedule import ROOT, call
from tests.server.test_schedule_at_work import WAIT, moved_to, restart, statuses
from tests.support import family
from tests.support.database import Database

Connection = psycopg.Connection[Any]
DISORDER = "SELECT max(disorder) FROM dp.clustering('\"Dialog\"') WHERE leaf ~ %s"


def value(connection: Connection, query: str, *values: object) -> Any:
    row = connection.execute(query, values or None).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


def scattered(owner: Connection, month: str, first: int, count: int) -> None:
    """Dialogs of a closed month in random order, wide enough to lie in many pages."""
    owner.execute(
        'INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt", "Title")'
        f" SELECT n, 'party ' || n %% 40, '{month}-01 00:00+00'::timestamptz + n %% 27 * interval '1 day',"
        " repeat('x', 300)"
        " FROM generate_series(%s::int, %s) AS n ORDER BY md5(n::text)",
        [first, first + count - 1],
    )  # type: ignore[call-overload]


def test_a_quota_that_is_used_up_is_a_failed_job_and_made_up_for(home: Database) -> None:
    moved_to(home, "2025-03-15")
    owner = home.connect(**{"dp.now": "2025-03-15 12:00+00"})
    family.declare(owner, premake=1, start="2025-01-01")
    owner.execute("CALL dp.run_maintenance()")
    owner.execute('CREATE INDEX dialog_order ON "Dialog" ("Party", "UpdatedAt" DESC)')
    scattered(owner, "2025-01", 1, 12_000)
    owner.execute('ANALYZE "Dialog"')
    before = value(owner, 'SELECT md5(string_agg(d::text, \'\' ORDER BY "Id")) FROM "Dialog" AS d')
    assert value(owner, DISORDER, "2025_01") > 2
    call(owner, maintenance="none", cluster="@reboot")

    admin = home.connect("postgres")
    # with these, ordering sorts in temporary files
    for setting in ("enable_indexscan = off", "maintenance_work_mem = '1MB'", "temp_file_limit = '128kB'"):
        admin.execute(f"ALTER ROLE owner IN DATABASE cron_home SET {setting}")  # type: ignore[call-overload]
    owner = restart(home)
    assert statuses(owner) == {"cluster": "failed"}
    assert "temp_file_limit" in value(owner, "SELECT message FROM dp.job")
    assert findings(owner) == [("failed job", "cluster")]
    assert numbers(owner) == (1, 0)
    assert value(owner, "SELECT count(*) FROM dp.log WHERE call = 'cluster' AND status = 'failed'") == 1

    home.connect("postgres").execute("ALTER ROLE owner IN DATABASE cron_home RESET temp_file_limit")
    owner = restart(home)
    assert statuses(owner) == {"cluster": "succeeded"}
    assert findings(owner) == []
    assert numbers(owner) == (0, 0)
    assert value(owner, DISORDER, "2025_01") < 1.3
    assert value(owner, 'SELECT md5(string_agg(d::text, \'\' ORDER BY "Id")) FROM "Dialog" AS d') == before


class Writer(threading.Thread):
    """Inserts a family after the other, whatever happens to its session; waits for no lock longer than the bound."""

    bound = WAIT

    def __init__(self, home: Database, moment: str) -> None:
        super().__init__()
        self.home = home
        self.moment = moment
        self.written = 0
        self.stopped = threading.Event()
        self.errors: list[psycopg.Error] = []

    def run(self) -> None:
        while not self.stopped.is_set() and not self.errors:
            try:
                with self.home.server.connect(self.home.name, "owner") as connection:
                    connection.execute(f"SET lock_timeout = '{self.bound}'")  # type: ignore[call-overload]
                    self.write(connection)
            except psycopg.OperationalError as error:
                if isinstance(error, psycopg.errors.LockNotAvailable):
                    self.errors.append(error)
                self.stopped.wait(0.05)  # the server restarts
            except psycopg.Error as error:
                self.errors.append(error)

    def write(self, connection: Connection) -> None:
        """What was committed when the session ended is known by its row."""
        if value(connection, 'SELECT count(*) FROM "Dialog" WHERE "Id" = %s', 1_000_001 + self.written):
            self.written += 1
        while not self.stopped.is_set():
            family.fill(connection, self.moment, 1_000_001 + self.written, 1)
            self.written += 1


def test_months_of_clustering_and_prewarming_beside_maintenance(home: Database) -> None:
    home.connect("postgres").execute("CREATE EXTENSION pg_prewarm")
    moved_to(home, "2025-01-15")
    owner = home.connect(**{"dp.now": "2025-01-15 12:00+00"})
    family.declare(owner, premake=1, retention="3 months", retention_action="drop", lock_timeout="200 ms")
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-12-01', '2026-01-01')")
    owner.execute('CREATE INDEX dialog_order ON "Dialog" ("Party", "UpdatedAt" DESC)')
    writer = Writer(home, "2025-12-10 12:00+00")
    writer.start()
    try:
        for month in range(1, 5):
            moved_to(home, f"2025-{month:02d}-15")
            call(owner, maintenance="@reboot", cluster="none")
            owner = restart(home)
            assert statuses(owner) == {"maintenance": "succeeded", "prewarm": "succeeded"}
            scattered(owner, f"2025-{month:02d}", month * 10_000, 4_000)
            owner.execute('ANALYZE "Dialog"')
            moved_to(home, f"2025-{month + 1:02d}-15")
            call(owner, maintenance="none", cluster="@reboot")
            written = writer.written
            owner = restart(home)
            assert statuses(owner) == {"cluster": "succeeded", "prewarm": "succeeded"}
            assert value(owner, DISORDER, f"2025_{month:02d}") < 1.3
            assert writer.errors == []
            assert writer.written > written
    finally:
        writer.stopped.set()
        writer.join()
    assert [name for name in family.slices(owner) if name < "2025_08"] == [
        "2025_01",
        "2025_02",
        "2025_03",
        "2025_04",
        "2025_05",
    ]
    assert family.counts(owner) == {
        "Dialog": 4 * 4_000 + writer.written,
        "Activity": 2 * writer.written,
        "Actor": 3 * writer.written,
    }
    assert findings(owner) == []
    assert value(owner, f"SELECT count(*) FROM dp.check({ROOT}) WHERE severity = 'error'") == 0
