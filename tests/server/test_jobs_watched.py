"""Jobs that failed, that do not run, and that are gone: in dp.job, as findings and as numbers."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.server.test_schedule import ROOT, call, declared
from tests.support.database import Database, with_dblink

Connection = psycopg.Connection[Any]


def ran(home: Database, kind: str, status: str, ago: str, message: str = "") -> None:
    """A run of a job as pg_cron remembers it."""
    home.connect("postgres").execute(
        "INSERT INTO cron.job_run_details (jobid, runid, database, username, command, status, return_message,"
        " start_time, end_time) SELECT jobid, nextval('cron.runid_seq'), database, username, command, %(status)s,"
        " %(message)s, now() - %(ago)s::interval - interval '1 s', now() - %(ago)s::interval"
        " FROM cron.job WHERE jobname LIKE '%%' || %(kind)s",
        {"status": status, "message": message, "ago": ago, "kind": kind},
    )


def made(home: Database, ago: str) -> None:
    """Let the jobs be older than they are."""
    home.connect().execute("UPDATE dp.job_config SET made_at = now() - %s::interval", [ago])


def findings(connection: Connection) -> list[tuple[str, str]]:
    return connection.execute(
        f"SELECT finding, split_part(target, ' ', 4) FROM dp.check({ROOT}) WHERE finding ~ ' job$' ORDER BY 1, 2"
    ).fetchall()


def numbers(connection: Connection) -> object:
    return connection.execute("SELECT failed_jobs, late_jobs FROM dp.metric").fetchone()


def test_a_job_whose_last_run_failed(home: Database) -> None:
    owner = declared(home)
    assert numbers(owner) == (0, 0), "nothing is scheduled"
    call(owner)
    ran(home, "maintenance", "succeeded", "20 minutes")
    assert findings(owner) == [] and numbers(owner) == (0, 0)
    ran(home, "maintenance", "failed", "5 minutes", "ERROR:  no space left on device\n")
    assert findings(owner) == [("failed job", "maintenance")]
    detail = owner.execute(f"SELECT detail FROM dp.check({ROOT}) WHERE finding = 'failed job'").fetchone()
    assert detail == ("Its last run failed: ERROR:  no space left on device",)
    assert numbers(owner) == (1, 0)
    assert numbers(home.connect("postgres")) == (1, 0)
    ran(home, "maintenance", "succeeded", "1 minute")
    assert findings(owner) == [] and numbers(owner) == (0, 0)


def test_a_job_that_has_not_succeeded_for_three_periods(home: Database) -> None:
    owner = declared(home)
    call(owner, maintenance="@hourly", cluster="@daily")
    made(home, "1 hour 50 minutes")
    assert findings(owner) == [], "it may yet come"
    made(home, "4 days 1 hour")
    assert findings(owner) == [("late job", "cluster"), ("late job", "maintenance")]
    ran(home, "maintenance", "succeeded", "1 hour 50 minutes")
    ran(home, "maintenance", "failed", "50 minutes")
    ran(home, "cluster", "succeeded", "4 days")
    assert findings(owner) == [("failed job", "maintenance"), ("late job", "cluster")]
    assert numbers(owner) == (1, 1)
    shown = owner.execute("SELECT kind, is_late, last_success < now() FROM dp.job ORDER BY kind").fetchall()
    assert shown == [("cluster", True, True), ("maintenance", False, True)]
    call(owner, maintenance="@hourly", cluster="@weekly")
    assert findings(owner) == [("failed job", "maintenance")], "another schedule begins anew"


@pytest.mark.parametrize("schedule", ["@reboot", "*/5 * * * *"])
def test_a_job_of_each_start_is_never_late(home: Database, schedule: str) -> None:
    owner = declared(home)
    call(owner, maintenance=schedule, cluster="none")
    made(home, "1 year")
    assert findings(owner) == ([] if schedule == "@reboot" else [("late job", "maintenance")])


def test_a_job_that_somebody_took_away(home: Database) -> None:
    owner = declared(home)
    call(owner, maintenance="*/7 * * * *", cluster="none", statistics="0 3 * * *")
    home.connect("postgres").execute("DELETE FROM cron.job WHERE jobname LIKE '%maintenance'")
    assert findings(owner) == [("missing job", "maintenance")]
    assert numbers(owner) == (0, 1)
    mends = owner.execute(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = 'missing job'").fetchone()
    assert mends is not None
    owner.execute(mends[0])
    assert findings(owner) == []
    jobs = owner.execute("SELECT kind, schedule FROM dp.job WHERE is_scheduled ORDER BY 1").fetchall()
    assert jobs == [("maintenance", "*/7 * * * *"), ("statistics", "0 3 * * *")]


@pytest.fixture
def apart(home: Database, other: Database) -> Connection:
    """The owner of a hierarchy whose jobs are in another database."""
    owner = declared(other)
    host = with_dblink(other)
    grant = "GRANT EXECUTE ON FUNCTION cron.schedule_in_database(text, text, text, text, text, boolean) TO owner"
    home.connect("postgres").execute(grant)
    call(owner, cron_connection=f"{host} dbname=cron_home")
    return owner


UNSEEN = f"SELECT target, detail FROM dp.check({ROOT}) WHERE finding = 'unseen jobs'"


def test_pg_cron_that_cannot_be_reached_is_a_finding(home: Database, other: Database, apart: Connection) -> None:
    assert apart.execute(UNSEEN).fetchall() == [] and numbers(apart) == (0, 0)
    admin = other.connect("postgres")
    home.close()
    admin.execute("ALTER DATABASE cron_home ALLOW_CONNECTIONS false")
    try:
        found = apart.execute(UNSEEN).fetchall()
        assert [target for target, _ in found] == ['"public"."Dialog"']
        assert "not currently accepting connections" in found[0][1]
        assert numbers(apart) == (None, None)
        assert admin.execute(UNSEEN).fetchall() == [], "the jobs are those of whom connects"
        assert other.connect("stranger").execute(UNSEEN).fetchall() == []
    finally:
        admin.execute("ALTER DATABASE cron_home ALLOW_CONNECTIONS true")
    assert apart.execute(UNSEEN).fetchall() == []


def test_pg_cron_that_is_locked_is_waited_for_a_moment(home: Database, apart: Connection) -> None:
    admin = home.connect("postgres")
    with admin.transaction():
        admin.execute("LOCK TABLE cron.job")
        found = apart.execute(UNSEEN).fetchall()
        assert len(found) == 1 and "lock timeout" in found[0][1]
        assert numbers(apart) == (None, None)


@pytest.mark.parametrize("is_foreign_server", [False, True])
def test_pg_cron_that_does_not_answer_is_not_waited_for(
    other: Database, apart: Connection, is_foreign_server: bool
) -> None:
    admin = other.connect("postgres")
    admin.execute(
        "CREATE FUNCTION listen() RETURNS int LANGUAGE plpython3u AS $$\n"
        "import socket\n"
        "GD['listening'] = socket.socket()\n"
        "GD['listening'].bind(('127.0.0.1', 0))\n"
        "GD['listening'].listen(9)\n"
        "return GD['listening'].getsockname()[1]\n$$"
    )
    row = admin.execute("SELECT listen()").fetchone()
    assert row is not None
    admin.execute(
        "CREATE SERVER silent FOREIGN DATA WRAPPER dblink_fdw"
        f" OPTIONS (host '127.0.0.1', port '{row[0]}', dbname 'cron_home');"
        "CREATE USER MAPPING FOR owner SERVER silent; GRANT USAGE ON FOREIGN SERVER silent TO owner"
    )  # type: ignore[call-overload]
    connection = "silent" if is_foreign_server else f"host=127.0.0.1 port={row[0]} dbname=cron_home"
    apart.execute("UPDATE dp.job_config SET cron_connection = %s", [connection])
    apart.execute("SET statement_timeout = '60 s'")
    found = apart.execute(UNSEEN).fetchall()
    assert len(found) == 1
    assert numbers(apart) == (None, None)


def test_what_others_may_not_see_is_no_number(home: Database) -> None:
    owner = declared(home)
    call(owner)
    ran(home, "maintenance", "failed", "5 minutes")
    stranger = home.connect("stranger")
    assert numbers(stranger) == (None, None)
    assert stranger.execute(f"SELECT count(*) FROM dp.check({ROOT}) WHERE finding ~ ' job$'").fetchone() == (0,)
