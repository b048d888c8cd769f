"""Jobs in pg_cron, in this database or another one: made, changed, looked at and taken away."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database, with_dblink

Connection = psycopg.Connection[Any]
ROOT = "'\"Dialog\"'"
JOBS = "SELECT kind, schedule, command, is_scheduled, is_active FROM dp.job ORDER BY kind"


def declared(db: Database) -> Connection:
    owner = db.connect()
    family.declare(owner, premake=1)
    return owner


def call(owner: Connection, function: str = "schedule", **options: object) -> list[str]:
    named = "".join(f", {name} => %s" for name in options)
    rows = owner.execute(f"SELECT statement FROM dp.{function}({ROOT}{named})", list(options.values())).fetchall()
    return [row[0] for row in rows]


def cron_jobs(home: Database) -> list[dict[str, Any]]:
    return home.rows("SELECT jobname::text, schedule, command, database, username FROM cron.job ORDER BY jobname")


def test_jobs_come_change_and_go(home: Database) -> None:
    owner = declared(home)
    notices: list[str] = []
    owner.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    call(owner)
    assert any("pg_prewarm is not installed" in notice for notice in notices)
    assert any("no second session" in notice for notice in notices)
    root = '\'"public"."Dialog"\''
    assert owner.execute(JOBS).fetchall() == [
        ("cluster", "20 2 * * *", f"CALL dp.cluster({root}, time_budget => '45 minutes', vacuum => false)", True, True),
        ("maintenance", "17 * * * *", f"CALL dp.run_maintenance({root})", True, True),
    ]
    assert [job["jobname"] for job in cron_jobs(home)] == [
        "dp cron_home public.Dialog cluster",
        "dp cron_home public.Dialog maintenance",
    ]
    assert {job["username"] for job in cron_jobs(home)} == {"owner"}
    ids = home.rows("SELECT jobid FROM cron.job ORDER BY 1")
    assert call(owner) == [], "twice is as good as once"
    call(owner, maintenance="*/10 * * * *", cluster="20 2 * * *")
    assert home.rows("SELECT jobid FROM cron.job ORDER BY 1") == ids, "a job that changes keeps its history"
    call(owner, cluster="none", vacuum="0 4 * * sun", statistics="0 3 * * *")
    assert [(job["schedule"], job["command"].split()[0]) for job in cron_jobs(home)] == [
        ("*/10 * * * *", "CALL"),
        ("0 3 * * *", "ANALYZE"),
        ("0 4 * * sun", "VACUUM"),
    ]
    assert call(owner) == [], "what is not given stays"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has jobs"):
        owner.execute(f"SELECT dp.forget({ROOT})")
    call(owner, "unschedule")
    assert cron_jobs(home) == [] == owner.execute(JOBS).fetchall()
    assert call(owner, "unschedule") == []
    owner.execute(f"SELECT dp.forget({ROOT})")


def test_how_jobs_connect_is_remembered(home: Database) -> None:
    owner = declared(home)
    host = with_dblink(home)
    call(owner, connection=host, prewarm="none")
    root = '\'"public"."Dialog"\''
    ordering = f"CALL dp.cluster({root}, time_budget => '45 minutes', connection => '{host}')"
    commands = "SELECT command FROM dp.job ORDER BY kind"
    maintaining = f"CALL dp.run_maintenance({root}, connection => '{host}')"
    assert owner.execute(commands).fetchall() == [(ordering,), (maintaining,)]
    call(owner, cluster="none")
    assert owner.execute(commands).fetchall() == [(maintaining,)]
    call(owner, connection="", cluster="@daily")
    assert [row for row in owner.execute(commands).fetchall() if "connection" in row[0]] == []
    for secret in ("password=x", "host=h PassWord = 'x'", "postgresql://owner:x@h/db"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="connection") as raised:
            call(owner, connection=secret)
        assert "x" not in str(raised.value.diag.message_primary).removeprefix("invalid value for parameter connection")
    call(owner, connection="passfile=/etc/password")
    assert "passfile" in home.value("SELECT connection FROM dp.job_config WHERE kind = 'cluster'")


def test_the_next_run_is_foretold(home: Database) -> None:
    owner = declared(home)
    call(owner, maintenance="17 3 * * *", cluster="@reboot")
    row = owner.execute(
        "SELECT next_run AT TIME ZONE 'GMT', now() < next_run, next_run < now() + interval '1 day 1 minute'"
        " FROM dp.job WHERE kind = 'maintenance'"
    ).fetchone()
    assert row is not None
    assert f"{row[0]:%H:%M:%S}" == "03:17:00"
    assert row[1:] == (True, True)
    assert owner.execute("SELECT next_run FROM dp.job WHERE kind = 'cluster'").fetchone() == (None,)


def test_the_root_gets_another_owner_whose_jobs_are_made_anew(home: Database) -> None:
    owner = declared(home)
    call(owner)
    admin = home.connect("postgres")
    admin.execute("CREATE ROLE heir_of_jobs LOGIN; GRANT ALL ON SCHEMA public TO heir_of_jobs")
    admin.execute("GRANT USAGE ON SCHEMA cron TO heir_of_jobs")
    warnings: list[str] = []
    admin.add_notice_handler(lambda notice: warnings.append(str(notice.message_primary)))
    for (table,) in admin.execute("SELECT tbl::text FROM dp.table_config").fetchall():
        admin.execute(f"ALTER TABLE {table} OWNER TO heir_of_jobs")
    (told,) = [warning for warning in warnings if "still run as owner" in warning]
    checked = admin.execute(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = 'missing job'").fetchall()
    assert len(checked) == 2
    for ending in re.findall(r"SELECT cron[^;]*", told):
        owner.execute(ending)
    admin.execute(checked[0][0])
    assert {job["username"] for job in cron_jobs(home)} == {"heir_of_jobs"}
    assert admin.execute(f"SELECT FROM dp.check({ROOT}) WHERE finding = 'missing job'").fetchall() == []
    home.drop()
    with home.server.connect() as last:
        last.execute("DROP ROLE heir_of_jobs")


def test_somebody_took_a_job_away(home: Database) -> None:
    owner = declared(home)
    call(owner)
    home.connect("postgres").execute("DELETE FROM cron.job WHERE jobname LIKE '%maintenance'")
    seen = "SELECT kind, is_scheduled FROM dp.job ORDER BY kind"
    assert owner.execute(seen).fetchall() == [("cluster", True), ("maintenance", False)]
    call(owner)
    assert owner.execute(seen).fetchall() == [("cluster", True), ("maintenance", True)]
    stranger = home.connect("stranger")
    assert (
        stranger.execute("SELECT is_scheduled, status, command FROM dp.job").fetchall() == [(None, "unknown", None)] * 2
    ), "whether others have jobs is not for everybody to know"


def test_what_is_printed_makes_the_same_jobs(home: Database) -> None:
    owner = declared(home)
    printed = call(owner, dry_run=True)
    assert cron_jobs(home) == []
    home.server.psql(home.name, ";\n".join(printed), user="owner")
    assert len(cron_jobs(home)) == 2
    assert call(owner) == []


def test_a_superuser_schedules_for_the_owner(home: Database) -> None:
    declared(home)
    admin = home.connect("postgres")
    call(admin)
    assert {job["username"] for job in cron_jobs(home)} == {"owner"}
    assert admin.execute("SELECT is_scheduled FROM dp.job").fetchall() == [(True,)] * 2
    call(admin, "unschedule")
    assert cron_jobs(home) == []


def test_names_that_are_long_or_strange(home: Database) -> None:
    owner = home.connect()
    for name in ("d" * 63, 'O\'Hara "x" {}\\', "d" * 62 + "e"):
        quoted = '"' + name.replace('"', '""') + '"'
        owner.execute(f"CREATE TABLE {quoted} (at timestamptz, party text, PRIMARY KEY (at, party))")  # type: ignore[arg-type]
        owner.execute("SELECT dp.create_hierarchy(%s::regclass, 'at', 'party', hash_partitions => 2)", [quoted])
        owner.execute("SELECT dp.schedule(%s)", [quoted])
        assert owner.execute("SELECT dp.schedule(%s)", [quoted]).fetchall() == []
    names = [job["jobname"] for job in cron_jobs(home)]
    assert len(set(names)) == 6 and max(map(len, names)) <= 63


def test_bad_schedules_are_refused_before_anything_is_changed(home: Database) -> None:
    owner = declared(home)
    for options in ({"maintenance": "61 * * * *"}, {"cluster": "whenever"}, {"vacuum": ""}):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            call(owner, **options)
    if home.value("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'").startswith("1.4"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="30 seconds"):
            call(owner, maintenance="30 seconds")
    assert cron_jobs(home) == []


def test_what_is_missing_is_said(home: Database) -> None:
    owner = declared(home)
    admin = home.connect("postgres")
    admin.execute("REVOKE USAGE ON SCHEMA cron FROM owner")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
        call(owner)
    assert raised.value.diag.message_hint == 'A superuser runs there: GRANT USAGE ON SCHEMA cron TO "owner";'
    admin.execute("GRANT USAGE ON SCHEMA cron TO owner")
    admin.execute("ALTER ROLE owner NOLOGIN")
    try:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot log in"):
            call(admin)
    finally:
        admin.execute("ALTER ROLE owner LOGIN")
    call(owner)
    admin.execute("DROP EXTENSION pg_cron")
    assert owner.execute("SELECT DISTINCT is_scheduled, status FROM dp.job").fetchall() == [(None, "unknown")]
    with pytest.raises(psycopg.OperationalError, match="extension dblink"):
        call(owner)
    call(owner, "unschedule")
    assert owner.execute(JOBS).fetchall() == []


def test_pg_cron_in_another_database(home: Database, other: Database) -> None:
    owner = declared(other)
    with pytest.raises(psycopg.OperationalError, match="extension dblink"):
        call(owner)
    host = with_dblink(other)
    with pytest.raises(psycopg.OperationalError) as missing:
        call(owner, cron_connection=f"{host} dbname=nowhere")
    assert "nowhere" in str(missing.value.diag.message_detail)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not installed in database postgres"):
        call(owner, cron_connection=host)  # the usual one; the owner may not read where pg_cron really is
    there = f"{host} dbname=cron_home"
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
        call(owner, cron_connection=there)
    grant = str(raised.value.diag.message_hint).partition("there: ")[2]
    home.connect("postgres").execute(grant)  # type: ignore[arg-type]
    call(owner, cron_connection=there)
    assert [(job["jobname"], job["database"], job["username"]) for job in cron_jobs(home)] == [
        ("dp other public.Dialog cluster", "other", "owner"),
        ("dp other public.Dialog maintenance", "other", "owner"),
    ]
    assert call(owner, cron_connection=there) == [] == call(owner)
    assert owner.execute("SELECT is_scheduled, status FROM dp.job").fetchall() == [(True, None)] * 2
    call(owner, "unschedule")
    assert cron_jobs(home) == []
    other.server.psql(other.name, ";\n".join(call(owner, cron_connection=there, dry_run=True)), user="owner")
    assert len(cron_jobs(home)) == 2
    assert call(owner, cron_connection=there) == []
