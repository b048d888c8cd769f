"""Called twice, declaring does nothing the second time; and what happens when tables are renamed or dropped."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.support import family, snapshot
from tests.support.database import Database

FORMS = pytest.mark.parametrize("key_form", ["exact", "slice"])


def calls(key_form: str) -> list[str]:
    return [
        f"SELECT * FROM dp.create_hierarchy('\"Dialog\"', 'UpdatedAt', 'Party', '{key_form}', hash_partitions => 2)",
        "SELECT * FROM dp.register_child('\"Activity\"', '\"Dialog\"')",
        "SELECT * FROM dp.register_child('\"Activity\"', '\"Dialog\"', '{DialogId}')",
        "SELECT * FROM dp.register_child('\"Actor\"', '\"Activity\"', '{ActivityId}', 'cascade')",
        "SELECT * FROM dp.register_child('\"Actor\"', '\"Dialog\"')",
        "SELECT * FROM dp.register_reference('shared', '\"Dialog\"')",
        "SELECT * FROM dp.configure('\"Dialog\"', slice => '1 MONTHS', premake => 7, lock_timeout => '500ms',"
        " retention => '24 month', start => 'infinity')",
    ]


@FORMS
def test_a_second_call_does_nothing_and_says_so(db: Database, key_form: str) -> None:
    owner = db.connect()
    family.declare(owner, key_form)
    owner.execute("CREATE TABLE shared (id int PRIMARY KEY)")
    owner.execute("SELECT dp.register_reference('shared', '\"Dialog\"')")
    owner.execute("SELECT dp.configure('\"Dialog\"', premake => 7, retention => '2 years')")
    owner.execute("SELECT dp.configure('\"Dialog\"', retention => '24 months')")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-06-01', '2025-07-01')")
    family.fill(owner, "2025-06-05 00:00+00", 1, 3)
    notices: list[str] = []
    owner.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    before = snapshot.of_database(db)
    for call in calls(key_form):
        assert owner.execute(call).fetchall() == [], call
        assert notices.pop().endswith("nothing to do"), call
        assert owner.execute("SELECT * FROM dp.last_plan").fetchall() == []
    assert snapshot.of_database(db) == before


@FORMS
def test_forgotten_and_declared_again(db: Database, key_form: str) -> None:
    owner = db.connect()
    notices: list[str] = []
    owner.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    declare = f"SELECT * FROM dp.create_hierarchy('d', 'at', 'p', '{key_form}', hash_partitions => 2)"
    owner.execute(declare)
    before = snapshot.of_database(db)
    oid = db.value("SELECT 'd'::regclass::oid")
    assert owner.execute("SELECT * FROM dp.forget('d')").fetchall() != []
    assert db.rows("SELECT * FROM dp.managed_table") == []
    assert db.value("SELECT to_regclass('d_template')") is None
    assert owner.execute("SELECT * FROM dp.forget('d')").fetchall() == []
    assert notices[-1] == "public.d is not the root of a hierarchy: nothing to do"
    owner.execute(declare)
    assert db.value("SELECT 'd'::regclass::oid") == oid
    assert snapshot.of_database(db) == before


def test_other_keys_are_refused_the_second_time(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    for change in ("'UpdatedAt'", "'UpdatedAt', 'Party', 'slice'", "'UpdatedAt', 'Title'"):
        with pytest.raises(errors.DuplicateObject, match="already, with other keys"):
            owner.execute(f"SELECT dp.create_hierarchy('\"Dialog\"', {change})")
    with pytest.raises(errors.DuplicateObject, match="is a child in another hierarchy"):
        owner.execute("ALTER TABLE \"Activity\" ADD at timestamptz; SELECT dp.create_hierarchy('\"Activity\"', 'at')")


@FORMS
def test_renamed_tables_and_schemas_stay_declared(db: Database, key_form: str) -> None:
    owner = db.connect()
    family.declare(owner, key_form)
    owner.execute('ALTER TABLE "Dialog" RENAME TO thread')
    owner.execute('ALTER TABLE "Activity" RENAME TO event')
    owner.execute("ALTER SCHEMA public RENAME TO app")
    owner.execute("SET search_path = app")
    owner.execute("CALL dp.create_slices('thread', '2025-06-01', '2025-07-01')")
    rows = owner.execute("SELECT slice::text FROM dp.slice ORDER BY 1").fetchall()
    assert rows == [('"Actor_2025_06"',), ("event_2025_06",), ("thread_2025_06",)]
    assert owner.execute("SELECT * FROM dp.register_child('event', 'thread')").fetchall() == []


@FORMS
@pytest.mark.parametrize("table", ["Dialog", "Activity"])
def test_a_key_renamed_by_hand_is_named(db: Database, key_form: str, table: str) -> None:
    owner = db.connect(**{"dp.propagate_ddl": "off"})  # else it is refused
    family.declare(owner, key_form)
    key = family.key_column(owner)
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz NOT NULL)")
    owner.execute("SELECT dp.create_hierarchy('d', 'at')")
    owner.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{key}" TO moved')
    with pytest.raises(errors.UndefinedColumn) as raised:
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-06-01', '2025-07-01')")
    assert raised.value.diag.message_primary == (
        f'dialog_partition: key column "{key}" of "public"."{table}" does not exist any more'
    )
    mend = f'ALTER TABLE "public"."{table}" RENAME COLUMN "moved" TO "{key}";'
    assert raised.value.diag.message_hint == f"If it was renamed, rename it back: {mend}"
    assert db.value("SELECT count(*) FROM dp.hierarchy") == 2
    rows = owner.execute("SELECT target, severity FROM dp.check() WHERE finding = 'unreadable hierarchy'").fetchall()
    assert rows == [('public."Dialog"', "error")]
    with pytest.raises(errors.RaiseException, match="maintenance failed for"):
        owner.execute("CALL dp.run_maintenance()")
    assert db.value("SELECT count(*) FROM dp.slice WHERE root = 'd'::regclass") > 0
    owner.execute(mend)
    owner.execute("CALL dp.run_maintenance()")
    assert db.value("SELECT count(*) FROM dp.slice WHERE root = '\"Dialog\"'::regclass") > 0


def configured(db: Database) -> list[tuple[str, str]]:
    rows = db.rows("SELECT tbl::text, coalesce(template::text, '') AS template FROM dp.table_config ORDER BY 1")
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def tables(db: Database) -> list[str]:
    rows = db.rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%%_2025_%%' ORDER BY 1"
    )
    return [row["tablename"] for row in rows]


@pytest.fixture
def declared(db: Database) -> psycopg.Connection[Any]:
    owner = db.connect()
    family.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-06-01', '2025-07-01')")
    return owner


def test_dropped_tables_leave_no_configuration(db: Database, declared: psycopg.Connection[Any]) -> None:
    declared.execute('DROP TABLE "Actor"')
    assert [name for name, _ in configured(db)] == ['"Activity"', '"Dialog"']
    declared.execute('SET dp.propagate_ddl = off; DROP TABLE "Activity_template"; RESET dp.propagate_ddl')
    assert configured(db) == [('"Activity"', ""), ('"Dialog"', '"Dialog_template"')]
    declared.execute('DROP TABLE "Dialog" CASCADE')
    assert configured(db) == []
    assert db.rows("SELECT * FROM dp.hierarchy_config") == []
    assert tables(db) == ["Activity"]
    declared.execute('DROP TABLE "Activity"')
    family.declare(declared)
    assert len(configured(db)) == 3


@pytest.mark.parametrize("command", ["DROP SCHEMA public CASCADE", "DROP OWNED BY owner"])
def test_dropped_schemas_and_owners_leave_no_configuration(
    db: Database, declared: psycopg.Connection[Any], command: str
) -> None:
    declared.execute(command)
    assert configured(db) == []
    assert db.rows("SELECT * FROM dp.hierarchy_config") == []


def test_a_schema_s_owner_may_drop_it_with_a_child_of_another_role(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE SCHEMA theirs AUTHORIZATION stranger")
        admin.execute("GRANT ALL ON SCHEMA theirs TO owner")
    owner.execute("CREATE TABLE theirs.part (id int PRIMARY KEY, dialog bigint)")
    owner.execute("SELECT dp.register_child('theirs.part', '\"Dialog\"', '{dialog}')")
    db.connect("stranger").execute("DROP SCHEMA theirs CASCADE")
    assert [name for name, _ in configured(db)] == ['"Activity"', '"Actor"', '"Dialog"']


@FORMS
def test_tables_outlive_the_extension(db: Database, key_form: str) -> None:
    owner = db.connect()
    family.declare(owner, key_form)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-06-01', '2025-08-01')")
    family.fill(owner, "2025-06-05 00:00+00", 1, 3)
    with db.server.connect(db.name) as admin:
        admin.execute("DROP EXTENSION dialog_partition")
    owner.execute('UPDATE "Dialog" SET "UpdatedAt" = \'2025-07-05\' WHERE "Id" = 1')
    assert (
        owner.execute('SELECT DISTINCT tableoid::regclass::text FROM "Activity" WHERE "DialogId" = 1')
        .fetchone()[0]
        .startswith('"Activity_2025_07')
    )  # type: ignore[index]
