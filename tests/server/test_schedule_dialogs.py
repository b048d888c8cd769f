"""Months of jobs on the heart of the Dialogporten hierarchy while dialogs are written; each month another fails."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.server.test_jobs_watched import findings, numbers
from tests.server.test_schedule import ROOT, call
from tests.server.test_schedule_at_work import kill_when_it_waits, moved_to, restart, statuses
from tests.server.test_schedule_failures import Writer, value
from tests.support import dialogporten
from tests.support.database import Database, with_dblink
from tests.support.dialogporten import TABLES

Connection = psycopg.Connection[Any]

PARTY = "urn:altinn:person:identifier-no:"
RUNS = 3
SCATTERED = 6000  # dialogs of a month whose order takes more memory than the jobs may have
DISORDER = f"SELECT max(disorder) FROM dp.clustering({ROOT}) WHERE leaf ~ ('\"Dialog_' || %s)"
QUOTA = ("enable_indexscan = off", "maintenance_work_mem = '1MB'", "temp_file_limit = '128kB'")
# A dialog with what every dialog has: a content, an activity, and who was active.
WRITTEN = """
WITH dialog AS (
    INSERT INTO "Dialog" ("Id", "Deleted", "Org", "ServiceResource", "ServiceResourceType", "Party", "StatusId",
                          "ContentUpdatedAt")
    VALUES (%(id)s, false, 'org', 'urn:altinn:resource:a', 'A', %(party)s, 2, %(at)s)
), content AS (
    INSERT INTO "DialogContent" ("DialogId", "TypeId", "ContentUpdatedAt", "Party")
    VALUES (%(id)s, 1, %(at)s, %(party)s)
), activity AS (
    INSERT INTO "DialogActivity" ("Id", "TypeId", "DialogId", "ContentUpdatedAt", "Party")
    VALUES (%(id)s, 1, %(id)s, %(at)s, %(party)s)
)
INSERT INTO "Actor" ("ActorTypeId", "Discriminator", "ActivityId", "ContentUpdatedAt", "Party")
VALUES (1, 'DialogActivityPerformedByActor', %(id)s, %(at)s, %(party)s)
"""


WAS_WRITTEN = 'SELECT count(*) FROM "Dialog" WHERE "Id" = %s AND "ContentUpdatedAt" = %s AND "Party" = %s'


class DialogWriter(Writer):
    """Writes a dialog after the other, whatever happens to its session; waits for no lock longer than the bound."""

    bound = "5 s"  # ten times lock_timeout

    def write(self, connection: Connection) -> None:
        while not self.stopped.is_set():
            number = 1 + self.written
            given = {"id": f"{number:032x}", "party": f"{PARTY}{number % 40}", "at": self.moment}
            # what was committed when a session ended is known by its row
            if not value(connection, WAS_WRITTEN, given["id"], given["at"], given["party"]):
                connection.execute(WRITTEN, given)
            self.written += 1
            self.stopped.wait(0.02)


def declared(home: Database) -> Connection:
    """The hierarchy with the dialogs of some months, and a month far ahead for those that are written meanwhile."""
    owner = home.connect(**{"dp.now": "2025-01-15 12:00+00"})
    owner.execute(dialogporten.schema())
    options = {"hash_partitions": 2, "premake": 1, "retention": "3 months", "retention_action": "drop"}
    for statement in dialogporten.declaration("exact", **options):
        owner.execute(statement)
    for first, end in (("2024-12-01", "2025-04-01"), ("2025-12-01", "2026-01-01")):
        owner.execute(f"CALL dp.create_slices({ROOT}, '{first}', '{end}')")
    owner.execute(dialogporten.rows("exact", 200, "2024-12-01 00:00+00", "2025-01-15 12:00+00"))
    owner.execute(
        'INSERT INTO "Dialog" ("Deleted", "Org", "ServiceResource", "ServiceResourceType", "Party", "StatusId",'
        " \"ContentUpdatedAt\", \"ExternalReference\") SELECT false, 'org', 'urn:altinn:resource:a', 'A',"
        f" '{PARTY}' || n % 40, 2,"
        " timestamptz '2025-02-01 00:00+00' + n % 27 * interval '1 day', repeat('x', 250)"
        f" FROM generate_series(1, {SCATTERED}) AS n ORDER BY md5(n::text)"
    )
    owner.execute("ANALYZE")
    return owner


def slices(connection: Connection) -> dict[str, set[str]]:
    """The slices of each table, by the end of their names, without the one that is far ahead."""
    rows = connection.execute(
        "SELECT parent.relname, slice.relname FROM pg_inherits i JOIN pg_class slice ON slice.oid = i.inhrelid"
        " JOIN pg_class parent ON parent.oid = i.inhparent JOIN dp.managed_table t ON t.tbl = parent.oid"
    ).fetchall()
    found: dict[str, set[str]] = {}
    for table, name in rows:
        found.setdefault(table, set()).add(name.removeprefix(f"{table}_"))
    return {table: {name for name in names if name < "2025_09"} for table, names in found.items()}


def contents(connection: Connection, first: str) -> dict[str, int]:
    """The rows of each table from a month on, without those that are written meanwhile."""
    condition = f"\"ContentUpdatedAt\" >= '{first}' AND \"ContentUpdatedAt\" < '2025-12-01'"
    return {table: value(connection, f'SELECT count(*) FROM "{table}" WHERE {condition}') for table in TABLES}


def hold_a_lock(home: Database, table: str) -> None:
    """By a transaction that outlives the server."""
    reader = home.connect()
    reader.autocommit = False
    reader.execute(f'SELECT count(*) FROM "{table}"')  # type: ignore[call-overload]
    reader.execute("PREPARE TRANSACTION 'reader'")


def a_lock_is_held(home: Database) -> None:
    hold_a_lock(home, "LabelAssignmentLog")
    owner = restart(home)
    assert statuses(owner) == {"maintenance": "failed", "prewarm": "succeeded"}
    assert findings(owner) == [("failed job", "maintenance")]
    owner.execute("ROLLBACK PREPARED 'reader'")


def a_privilege_is_missing(home: Database) -> None:
    admin = home.connect("postgres")
    admin.execute("ALTER SCHEMA public OWNER TO postgres; GRANT USAGE ON SCHEMA public TO owner")
    owner = restart(home)
    assert statuses(owner)["maintenance"] == "failed"
    assert value(owner, "SELECT logged_failure > logged_success FROM dp.job WHERE kind = 'maintenance'")
    home.connect("postgres").execute("ALTER SCHEMA public OWNER TO owner")


def it_is_killed(home: Database) -> None:
    """When it waits for a lock."""
    hold_a_lock(home, "DialogActivity")
    owner = kill_when_it_waits(home)
    assert numbers(owner) == (1, 0)
    owner.execute("ROLLBACK PREPARED 'reader'")


def a_quota_is_used_up(home: Database) -> None:
    for setting in QUOTA:
        home.connect("postgres").execute(f"ALTER ROLE owner IN DATABASE cron_home SET {setting}")  # type: ignore[call-overload]
    owner = restart(home)
    assert statuses(owner) == {"cluster": "failed", "prewarm": "succeeded"}
    assert "temp_file_limit" in value(owner, "SELECT message FROM dp.job WHERE kind = 'cluster'")
    assert value(owner, DISORDER, "2025_02") > 2, "the job has made the index of the order, and not yet the order"
    home.connect("postgres").execute("ALTER ROLE owner IN DATABASE cron_home RESET temp_file_limit")


def is_made_up_for(home: Database, month: int) -> None:
    """The next run made up for what had failed: every table has these slices, and no job is told of any more.

    On a busy machine writers may be in the way of one run, which says so.
    """
    for _ in range(RUNS):
        owner = restart(home)
        if statuses(owner)["maintenance"] == "succeeded":
            break
        assert "(55P03)" in value(owner, "SELECT message FROM dp.job WHERE kind = 'maintenance'")
    assert statuses(owner) == {"maintenance": "succeeded", "prewarm": "succeeded"}
    months = (divmod(2025 * 12 - 1 + each, 12) for each in range(month - 3, month + 2))
    wanted = {f"{year}_{number + 1:02}" for year, number in months}
    assert slices(owner) == dict.fromkeys(TABLES, wanted)
    assert findings(owner) == []


def test_months_of_jobs_with_failures_of_every_kind(home: Database) -> None:
    home.connect("postgres").execute("CREATE EXTENSION pg_prewarm")
    host = with_dblink(home)
    moved_to(home, "2025-01-15")
    owner = declared(home)
    before = contents(owner, "2025-02-01")
    assert all(before[table] for table in ("Dialog", "DialogContent", "Actor"))
    call(owner, maintenance="@reboot", cluster="none", connection=host)
    writer = DialogWriter(home, "2025-12-10 12:00+00")
    writer.start()
    try:
        for month, failure in ((3, a_lock_is_held), (4, a_privilege_is_missing), (5, it_is_killed)):
            moved_to(home, f"2025-{month:02}-15")
            failure(home)
            is_made_up_for(home, month)
        call(home.connect(), maintenance="none", cluster="@reboot")
        a_quota_is_used_up(home)
        owner = restart(home)
        assert statuses(owner) == {"cluster": "succeeded", "prewarm": "succeeded"}
        assert value(owner, DISORDER, "2025_02") < 1.3
        assert findings(owner) == []
    finally:
        writer.stopped.set()
        writer.join()
    assert writer.errors == []
    assert writer.written > 0
    assert contents(owner, "2025-02-01") == before
    for table in ("Dialog", "DialogContent", "DialogActivity", "Actor"):
        found = value(owner, f'SELECT count(*) FROM "{table}" WHERE "ContentUpdatedAt" >= \'2025-12-01\'')
        assert found == writer.written, table
    assert value(owner, f"SELECT count(*) FROM dp.check({ROOT}) WHERE severity = 'error'") == 0
