"""What cannot be declared: each with its SQLSTATE, a DETAIL or a HINT, and nothing changed."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from tests.support import snapshot
from tests.support.database import Database

TABLES = """
CREATE SCHEMA kept;
CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text, n bigint, j json, day date, t time, at_slice text);
CREATE TABLE full_of_rows (id int PRIMARY KEY, at timestamptz);
INSERT INTO full_of_rows VALUES (1, now());
CREATE TABLE viewed (id int PRIMARY KEY, at timestamptz);
CREATE VIEW "a view" AS SELECT id FROM viewed;
CREATE VIEW over_it AS SELECT * FROM "a view";
CREATE MATERIALIZED VIEW stored AS SELECT count(*) FROM viewed;
CREATE FUNCTION takes_row(viewed) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION reads_it() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM viewed; END;
CREATE TABLE holds_row (it viewed);
CREATE TABLE watched (id int PRIMARY KEY, at timestamptz);
CREATE TABLE policed (id int);
CREATE POLICY reads ON policed USING (EXISTS (SELECT FROM watched));
CREATE TABLE parent (id int PRIMARY KEY, at timestamptz);
CREATE TABLE heir () INHERITS (parent);
CREATE TYPE shape AS (id int, at timestamptz);
CREATE TABLE typed OF shape (PRIMARY KEY (id));
CREATE TABLE tree (id int, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE branch PARTITION OF tree DEFAULT;
CREATE TABLE nullable (id int, at timestamptz, UNIQUE (id, at)) PARTITION BY RANGE (at);
CREATE TABLE without_keys (id int PRIMARY KEY, at timestamptz) PARTITION BY RANGE (id);
CREATE TABLE ranged (id int NOT NULL, at timestamptz NOT NULL, p text NOT NULL, PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE keyless (id int, at timestamptz);
CREATE TABLE uniques (id int PRIMARY KEY, at timestamptz, name text);
CREATE UNIQUE INDEX "one name" ON uniques (lower(name)) WHERE name <> '';
CREATE TABLE excluding (id int PRIMARY KEY, at timestamptz, EXCLUDE USING gist (tstzrange(at, at, '[]') WITH &&));
CREATE TABLE lonely (id int PRIMARY KEY, at timestamptz, CONSTRAINT mine CHECK (id > 0) NO INHERIT);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TABLE triggered (id int PRIMARY KEY, at timestamptz);
CREATE TRIGGER rows_of AFTER INSERT ON triggered REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION f();
CREATE TABLE taken (id int PRIMARY KEY, at timestamptz);
CREATE TABLE taken_template (id int);
"""
CASES = [
    ("d", "'nope'", errors.UndefinedColumn, 'column "nope" of "public"."d" does not exist'),
    ("d", "NULL", errors.InvalidParameterValue, "range_key"),
    ("d", "'at', 'nope'", errors.UndefinedColumn, 'column "nope"'),
    ("d", "'t'", errors.DatatypeMismatch, "which cannot be a range key"),
    ("d", "'at', 'j'", errors.DatatypeMismatch, "cannot be hashed"),
    ("d", "'at', 'at'", errors.InvalidParameterValue, "hash_key"),
    ("d", "'at', 'p', 'fuzzy'", errors.InvalidParameterValue, "key_form"),
    ("d", "'at', 'p', NULL", errors.InvalidParameterValue, "key_form"),
    ("d", "'at', 'p', 'slice'", errors.DatatypeMismatch, 'column "at_slice" of'),
    ("d", "'at', 'p', 'slice', slice_key => 'ctid'", errors.InvalidParameterValue, "slice_key"),
    ("d", "'at', 'p', 'slice', slice_key => 'p'", errors.InvalidParameterValue, "slice_key"),
    ("d", "'day', 'p', 'slice', slice_key => 'day'", errors.InvalidParameterValue, "slice_key"),
    ("d", "'at', 'p', slice_key => 's'", errors.InvalidParameterValue, "key_form"),
    ("d", "'at', 'p', 'slice', slice_key => 's', bucket => '2 months', slice => '3 months'",
     errors.InvalidParameterValue, "slice"),
    ("d", "'at', 'p', slice => '10'", errors.InvalidParameterValue, "slice"),
    ("d", "'at', 'p', slice => '0 days'", errors.InvalidParameterValue, "slice"),
    ("d", "'at', 'p', slice => '1 fortnight'", errors.InvalidParameterValue, "slice"),
    ("d", "'n'", errors.InvalidParameterValue, "slice"),
    ("d", "'n', slice => '1 month'", errors.InvalidParameterValue, "slice"),
    ("d", "'at', 'p', premake => -1", errors.InvalidParameterValue, "premake"),
    ("d", "'at', 'p', premake => 1001", errors.InvalidParameterValue, "premake"),
    ("d", "'at', 'p', premake => NULL", errors.InvalidParameterValue, "premake"),
    ("d", "'at', 'p', hash_partitions => 0", errors.InvalidParameterValue, "hash_partitions"),
    ("d", "'at', 'p', hash_partitions => 1025", errors.InvalidParameterValue, "hash_partitions"),
    ("d", "'at', hash_partitions => 4", errors.InvalidParameterValue, "hash_partitions"),
    ("d", "'at', 'p', time_zone => 'Europe/Atlantis'", errors.InvalidParameterValue, "time_zone"),
    ("d", "'at', 'p', start => 'yesterday'", errors.InvalidParameterValue, "start"),
    ("d", "'at', 'p', retention => '1 year', retention_action => 'burn'", errors.InvalidParameterValue, "retention"),
    ("d", "'at', 'p', retention => '1 year', retention_action => 'move'", errors.InvalidParameterValue, "schema"),
    ("d", "'at', 'p', retention_action => 'move', retention_schema => 'no'", errors.InvalidParameterValue, "schema"),
    ("d", "'at', 'p', lock_timeout => '0'", errors.InvalidParameterValue, "lock_timeout"),
    ("full_of_rows", "'at'", errors.ObjectNotInPrerequisiteState, "holds rows"),
    ("viewed", "'at'", errors.DependentObjectsStillExist, "other objects depend on it"),
    ("watched", "'at'", errors.DependentObjectsStillExist, "other objects depend on it"),
    ("parent", "'at'", errors.WrongObjectType, "has inheritance children"),
    ("heir", "'at'", errors.WrongObjectType, "inherits from another table"),
    ("typed", "'at'", errors.WrongObjectType, "is a typed table"),
    ("branch", "'at'", errors.WrongObjectType, "is a partition"),
    ("tree", "'at'", errors.ObjectNotInPrerequisiteState, "has partitions already"),
    ('"a view"', "'id'", errors.WrongObjectType, "is not a table"),
    ("stored", "'count'", errors.WrongObjectType, "is not a table"),
    ("nullable", "'at'", errors.InvalidTableDefinition, "is nullable"),
    ("ranged", "'at', 'p'", errors.InvalidTableDefinition, "does not contain the partition keys"),
    ("keyless", "'at'", errors.InvalidTableDefinition, "has no primary key"),
    ("uniques", "'at'", errors.InvalidTableDefinition, 'unique rule "one name"'),
    ("lonely", "'at'", errors.InvalidTableDefinition, "NO INHERIT"),
    ("triggered", "'at'", errors.InvalidTableDefinition, 'trigger "rows_of"'),
    ("taken", "'at'", errors.DuplicateTable, '"public"."taken_template" already exists'),
    ("excluding", "'at'", errors.InvalidTableDefinition, "exclusion constraint"),
]  # fmt: skip


def test_what_cannot_be_a_root_is_refused_and_stays_as_it_is(db: Database) -> None:
    owner = db.connect()
    owner.execute(TABLES)
    before = snapshot.of_database(db)
    for table, arguments, error, message in CASES:
        case = f"{table}: {arguments}"
        for dry_run in ("false", "true"):
            with pytest.raises(psycopg.Error) as raised:
                owner.execute(f"SELECT dp.create_hierarchy('{table}', {arguments}, dry_run => {dry_run})")
            assert isinstance(raised.value, error), f"{case}: {raised.value!r}"
            diagnosis = raised.value.diag
            assert message in f"{diagnosis.message_primary} {diagnosis.message_detail}", case
            assert diagnosis.message_detail or diagnosis.message_hint, case
    assert snapshot.of_database(db) == before


def test_everything_that_depends_on_a_table_is_named(db: Database) -> None:
    owner = db.connect()
    owner.execute(TABLES)
    with pytest.raises(errors.DependentObjectsStillExist) as raised:
        owner.execute("SELECT dp.create_hierarchy('viewed', 'at')")
    told = str(raised.value.diag.message_detail)
    for name in (
        'view public."a view"',
        "materialized view public.stored",
        "function public.takes_row(public.viewed)",
        "function public.reads_it()",
        "column it of table public.holds_row",
    ):
        assert name in told
    with pytest.raises(errors.DependentObjectsStillExist) as raised:
        owner.execute("SELECT dp.create_hierarchy('watched', 'at')")
    assert "policy reads on table public.policed" in str(raised.value.diag.message_detail)


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_a_weaker_unique_rule_is_accepted_when_asked_for(db: Database, key_form: str) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, name text UNIQUE)")
    call = f"SELECT dp.create_hierarchy('d', 'at', key_form => '{key_form}'"
    with pytest.raises(errors.InvalidTableDefinition) as raised:
        owner.execute(f"{call})")
    assert "allow_weaker_unique => true" in str(raised.value.diag.message_hint)
    owner.execute(f"{call}, allow_weaker_unique => true)")
    key = "at" if key_form == "exact" else "at_slice"
    assert db.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'd_name_key'") == (
        f"UNIQUE (name, {key})"
    )


def test_a_temporary_and_a_foreign_table(db: Database) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE TEMP TABLE t (id int PRIMARY KEY, at timestamptz)")
        with pytest.raises(errors.WrongObjectType, match="is a temporary table"):
            admin.execute("SELECT dp.create_hierarchy('t', 'at')")
        admin.execute("CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER s FOREIGN DATA WRAPPER nothing")
        admin.execute("CREATE FOREIGN TABLE f (id int, at timestamptz) SERVER s")
        with pytest.raises(errors.WrongObjectType, match="is not a table"):
            admin.execute("SELECT dp.create_hierarchy('f', 'at')")


def test_an_unlogged_table_has_unlogged_leaves(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE UNLOGGED TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    owner.execute("SELECT dp.create_hierarchy('d', 'at', 'p', hash_partitions => 2)")
    owner.execute("CALL dp.create_slices('d', '2025-06-01', '2025-07-01')")
    rows = db.rows("SELECT relname FROM pg_class WHERE relname ~ '^d_' AND relkind = 'r' AND relpersistence = 'u'")
    assert sorted(row["relname"] for row in rows) == ["d_2025_06_h00", "d_2025_06_h01", "d_template"]


def test_foreign_keys_of_tables_to_come_are_remembered(db: Database) -> None:
    owner = db.connect()
    notices: list[str] = []
    owner.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    owner.execute(
        'CREATE TABLE "Part" (id int PRIMARY KEY, d int CONSTRAINT "to d" REFERENCES d ON DELETE SET NULL'
        " DEFERRABLE INITIALLY IMMEDIATE)"
    )
    owner.execute("SELECT dp.create_hierarchy('d', 'at', 'p', hash_partitions => 2)")
    assert '"to d" of public."Part"' in notices[-1]
    assert db.value("SELECT count(*) FROM dp.pending_foreign_key") == 1
    owner.execute("SELECT dp.register_child('\"Part\"', 'd')")
    assert db.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'to d'") == (
        "FOREIGN KEY (d, at, p) REFERENCES d(id, at, p) ON UPDATE CASCADE ON DELETE SET NULL (d) DEFERRABLE"
    )
    assert db.value("SELECT count(*) FROM dp.pending_foreign_key") == 0


def test_configure_refuses_what_create_hierarchy_refuses(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    owner.execute(
        "SELECT dp.create_hierarchy('d', 'at', 'p', key_form => 'slice', bucket => '2 months', slice => '4 months')"
    )
    before = snapshot.of_database(db)
    for change in (
        "slice => '3 months'",
        "premake => 1001",
        "hash_partitions => 0",
        "retention => '5'",
        "retention_action => 'move'",
        "retention_action => 'move', retention_schema => 'nowhere'",
        "start => 'tomorrow'",
        "lock_timeout => '-1 s'",
        "log_retention => '0'",
        "lock_timeout => '100 microseconds'",
        "lock_timeout => '30 days'",
        "analyze_interval => '178000000 years'",
        "log_retention => '1001 years'",
        "retention => '3000000000 days'",
        "retention => '10000 years'",
    ):
        with pytest.raises(errors.InvalidParameterValue) as raised:
            owner.execute(f"SELECT dp.configure('d', {change})")
        assert raised.value.diag.message_detail, change
    with pytest.raises(errors.UndefinedObject):
        owner.execute("SELECT dp.configure('pg_class', premake => 1)")
    assert snapshot.of_database(db) == before
