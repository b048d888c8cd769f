"""dp.check finds what is wrong, says how bad it is, and names the statement that mends it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.support.database import Database

ROOT = "'\"Dialog\"'"


@pytest.fixture
def hierarchy(db: Database) -> psycopg.Connection:
    owner = db.connect()
    owner.execute('CREATE TABLE "Dialog" ("Id" int PRIMARY KEY, at timestamptz NOT NULL, "Party" text NOT NULL)')
    owner.execute('CREATE TABLE part ("Id" int PRIMARY KEY, "DialogId" int REFERENCES "Dialog" ON DELETE CASCADE)')
    owner.execute('CREATE INDEX ON part ("DialogId")')
    owner.execute(f"SELECT dp.create_hierarchy({ROOT}, 'at', 'Party', hash_partitions => 2, premake => 1)")
    owner.execute(f"SELECT dp.register_child('part', {ROOT})")
    owner.execute(f"CALL dp.run_maintenance({ROOT})")
    return owner


def findings(db: Database) -> list[tuple[str, str]]:
    rows = db.rows(f"SELECT severity, finding FROM dp.check({ROOT})")
    return [(row["severity"], row["finding"]) for row in rows if row["finding"] != "minor release"]


def current(owner: psycopg.Connection, table: str) -> str:
    row = owner.execute(
        "SELECT slice::text FROM dp.slice WHERE tbl = %s::regclass AND NOT is_default ORDER BY lower_local LIMIT 1",
        (table,),
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_a_hierarchy_that_is_kept_has_no_findings(db: Database, hierarchy: psycopg.Connection) -> None:
    assert findings(db) == []
    assert hierarchy.execute("SELECT finding FROM dp.check() WHERE finding <> 'minor release'").fetchall() == []


def drop_current_slice(owner: psycopg.Connection) -> None:
    child, root = current(owner, "part"), current(owner, '"Dialog"')
    owner.execute(f'DROP TABLE {child}; ALTER TABLE "Dialog" DETACH PARTITION {root}; DROP TABLE {root}')


def drop_child_slice(owner: psycopg.Connection) -> None:
    owner.execute(f"DROP TABLE {current(owner, 'part')}")


def drop_leaf(owner: psycopg.Connection) -> None:
    owner.execute(f"DROP TABLE {current(owner, 'part')}_h01")


def begin_earlier(owner: psycopg.Connection) -> None:
    owner.execute("UPDATE dp.hierarchy_config SET start = (now() - interval '70 days')::date::text")


def look_further(owner: psycopg.Connection) -> None:
    owner.execute("UPDATE dp.hierarchy_config SET premake = 3")


def want_default(owner: psycopg.Connection) -> None:
    owner.execute(f"SELECT dp.configure({ROOT}, default_slice => true)")


def add_constraint(owner: psycopg.Connection) -> None:
    owner.execute('ALTER TABLE "Dialog" ADD CONSTRAINT positive CHECK ("Id" > 0) NOT VALID')


def lose_cascade(owner: psycopg.Connection) -> None:
    owner.execute(
        "SET dp.propagate_ddl = off;"
        'ALTER TABLE part DROP CONSTRAINT "part_DialogId_fkey", ADD CONSTRAINT "part_DialogId_fkey"'
        ' FOREIGN KEY ("DialogId", at, "Party") REFERENCES "Dialog" ("Id", at, "Party");'
        "RESET dp.propagate_ddl"
    )


def invalid_index(owner: psycopg.Connection) -> None:
    owner.execute('CREATE INDEX later ON ONLY "Dialog" (at)')


def lose_template(owner: psycopg.Connection) -> None:
    owner.execute("SET dp.propagate_ddl = off; DROP TABLE part_template; RESET dp.propagate_ddl")


def unequal_bounds(owner: psycopg.Connection) -> None:
    owner.execute("CREATE TABLE part_old PARTITION OF part FOR VALUES FROM ('2001-01-01') TO ('2001-01-07')")


def key_to_partition(owner: psycopg.Connection) -> None:
    leaf = f'{current(owner, chr(34) + "Dialog" + chr(34))[:-1]}_h00"'
    owner.execute(
        "CREATE TABLE stray (id int, at timestamptz, p text,"
        f' FOREIGN KEY (id, at, p) REFERENCES {leaf} ("Id", at, "Party"))'
    )


@pytest.mark.parametrize(
    ("damage", "severity", "finding"),
    [
        (drop_current_slice, "error", "missing current slice"),
        (drop_child_slice, "error", "missing slice in child"),
        (drop_leaf, "error", "missing leaf"),
        (begin_earlier, "warning", "gap"),
        (look_further, "warning", "missing future slice"),
        (want_default, "warning", "missing default slice"),
    ],
)
def test_what_maintenance_mends(
    db: Database,
    hierarchy: psycopg.Connection,
    damage: Callable[[psycopg.Connection], None],
    severity: str,
    finding: str,
) -> None:
    damage(hierarchy)
    assert (severity, finding) in findings(db)
    statements = {
        row["statement"] for row in db.rows(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = %s", finding)
    }
    assert len(statements) == 1
    hierarchy.execute(statements.pop())
    assert findings(db) == []


@pytest.mark.parametrize(
    ("damage", "severity", "finding"),
    [
        (add_constraint, "warning", "constraint not valid"),
        (lose_cascade, "error", "foreign key does not cascade"),
        (invalid_index, "error", "invalid index"),
        (unequal_bounds, "error", "unequal bounds"),
        (key_to_partition, "error", "foreign key to a partition"),
    ],
)
def test_what_the_named_statement_mends(
    db: Database,
    hierarchy: psycopg.Connection,
    damage: Callable[[psycopg.Connection], None],
    severity: str,
    finding: str,
) -> None:
    damage(hierarchy)
    also = [("warning", "drift")] if finding == "invalid index" else []  # some leaves lack what the parent has
    assert findings(db) == [(severity, finding), *also]
    hierarchy.execute(db.value(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = %s", finding))
    assert findings(db) == []


def test_a_lost_template_is_made_anew_as_the_newest_leaf_is(db: Database, hierarchy: psycopg.Connection) -> None:
    hierarchy.execute("SELECT dp.set_storage('part', '{\"fillfactor\": 70}')")
    lose_template(hierarchy)
    assert findings(db) == [("warning", "missing template")]
    hierarchy.execute(db.value(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = 'missing template'"))
    assert findings(db) == []
    assert db.rows("SELECT * FROM dp.drift()") == []
    hierarchy.execute(f"CALL dp.create_slices({ROOT}, '2001-02-01', '2001-03-01')")
    options = db.rows(
        "SELECT DISTINCT reloptions FROM pg_class c JOIN dp.leaf l ON l.leaf = c.oid WHERE l.tbl = 'part'::regclass"
    )
    assert options == [{"reloptions": ["fillfactor=70"]}]


def test_rows_in_the_default_slice_are_noticed_and_drained(db: Database, hierarchy: psycopg.Connection) -> None:
    want_default(hierarchy)
    hierarchy.execute(f"CALL dp.run_maintenance({ROOT})")
    begin_earlier(hierarchy)
    hierarchy.execute("INSERT INTO \"Dialog\" VALUES (1, now() - interval '60 days', 'p')")
    assert ("warning", "rows in default") in findings(db)
    hierarchy.execute(db.value(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = 'rows in default'"))
    assert ("warning", "rows in default") not in findings(db)
    assert db.value('SELECT count(*) FROM "Dialog_default"') == 0
    assert db.value('SELECT count(*) FROM "Dialog"') == 1


def test_rows_that_maintenance_leaves_in_default_need_bounds(db: Database, hierarchy: psycopg.Connection) -> None:
    want_default(hierarchy)
    hierarchy.execute(f"CALL dp.run_maintenance({ROOT})")
    hierarchy.execute("INSERT INTO \"Dialog\" VALUES (1, '1999-06-15 12:00+00', 'p')")
    row = hierarchy.execute(
        f"SELECT target, detail, statement FROM dp.check({ROOT}) WHERE finding = 'rows in default'"
    ).fetchone()
    assert row is not None
    target, detail, statement = row
    assert target == '"public"."Dialog_default"'
    assert "outside the range that maintenance keeps" in detail
    assert statement is None  # where to, or whether the row is wrong, is for the owner to say
    hierarchy.execute(f"CALL dp.drain_default({ROOT}, '1999-06-01', '1999-07-01')")
    assert ("warning", "rows in default") not in findings(db)


def test_a_default_slice_with_forced_row_security_can_be_looked_into(
    db: Database, hierarchy: psycopg.Connection
) -> None:
    want_default(hierarchy)
    hierarchy.execute(f"CALL dp.run_maintenance({ROOT})")
    hierarchy.execute('ALTER TABLE "Dialog_default" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY')
    rows = hierarchy.execute("SELECT finding FROM dp.check() WHERE finding <> 'minor release'").fetchall()
    assert rows == [("drift",)], "the other leaves have no such policy"
    hierarchy.execute("INSERT INTO \"Dialog\" VALUES (1, now() - interval '60 days', 'p')")
    assert ("warning", "rows in default") in findings(db)


def test_a_partition_of_another_owner_is_noticed(db: Database, hierarchy: psycopg.Connection) -> None:
    admin = db.connect("postgres")
    admin.execute(f"ALTER TABLE {current(hierarchy, 'part')}_h00 OWNER TO stranger")
    assert findings(db) == [("warning", "other owner")]
    admin.execute(db.value(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = 'other owner'"))
    assert findings(db) == []


def test_settings_of_the_server_are_judged(hierarchy: psycopg.Connection) -> None:
    hierarchy.execute("SET enable_partitionwise_join = off")
    rows = hierarchy.execute(f"SELECT finding FROM dp.check({ROOT}) WHERE finding <> 'minor release'").fetchall()
    assert rows == [("partitionwise join off",)]


def test_parents_that_were_never_analysed_are_noticed(db: Database) -> None:
    owner = db.connect()
    owner.execute('CREATE TABLE "Dialog" (at timestamptz NOT NULL, id int, PRIMARY KEY (id))')
    owner.execute(f"SELECT dp.create_hierarchy({ROOT}, 'at', premake => 0)")
    owner.execute(f"CALL dp.create_slices({ROOT}, now()::date::text, (now()::date + 1)::text)")
    assert findings(db) == [("warning", "never analysed")]
    owner.execute(db.value(f"SELECT statement FROM dp.check({ROOT}) WHERE finding = 'never analysed'"))
    assert findings(db) == []


def test_a_foreign_key_that_waits_is_noticed(db: Database) -> None:
    owner = db.connect()
    owner.execute('CREATE TABLE "Dialog" ("Id" int PRIMARY KEY, at timestamptz NOT NULL)')
    owner.execute('CREATE TABLE part ("Id" int PRIMARY KEY, "DialogId" int REFERENCES "Dialog")')
    owner.execute(f"SELECT dp.create_hierarchy({ROOT}, 'at')")
    assert ("warning", "foreign key waiting") in findings(db)
    owner.execute(f"SELECT dp.register_child('part', {ROOT})")
    assert ("warning", "foreign key waiting") not in findings(db)


def test_an_unknown_root_is_refused(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE plain (a int)")
    with pytest.raises(psycopg.errors.UndefinedObject, match="not the root"):
        owner.execute("SELECT * FROM dp.check('plain')")


def test_a_failed_maintenance_is_told_until_one_succeeds(db: Database, hierarchy: psycopg.Connection) -> None:
    look_further(hierarchy)
    ahead = "(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '3 months')"
    name = db.value(f"SELECT 'part_' || to_char({ahead}, 'YYYY_MM')")
    hierarchy.execute(f"CREATE TABLE {name} (a int)")
    with pytest.raises(psycopg.Error, match="maintenance failed"):
        hierarchy.execute(f"CALL dp.run_maintenance({ROOT})")
    assert ("warning", "last maintenance failed") in findings(db)
    hierarchy.execute(f"DROP TABLE {name}; UPDATE dp.hierarchy_config SET premake = 1")
    hierarchy.execute("CALL dp.run_maintenance()")
    assert findings(db) == []


def test_a_dry_run_with_rows_in_default_names_each_slice_once(db: Database, hierarchy: psycopg.Connection) -> None:
    want_default(hierarchy)
    hierarchy.execute(f"CALL dp.run_maintenance({ROOT})")
    begin_earlier(hierarchy)
    hierarchy.execute("INSERT INTO \"Dialog\" VALUES (1, now() - interval '60 days', 'p')")
    hierarchy.execute(f"CALL dp.run_maintenance({ROOT}, dry_run => true)")
    created = [
        row[0]
        for row in hierarchy.execute(
            "SELECT split_part(statement, '\"', 4) FROM dp.last_plan WHERE statement ~ '^CREATE (UNLOGGED )?TABLE'"
        ).fetchall()
    ]
    assert created
    assert len(created) == len(set(created))
    hierarchy.execute(f"CALL dp.run_maintenance({ROOT})")
    assert findings(db) == []


def test_a_hierarchy_that_may_not_be_read_does_not_hide_the_others(db: Database, hierarchy: psycopg.Connection) -> None:
    hierarchy.execute(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.event (id int PRIMARY KEY, at timestamptz NOT NULL);"
        "SELECT dp.create_hierarchy('hidden.event', 'at', default_slice => true, premake => 0)"
    )
    hierarchy.execute("CALL dp.run_maintenance('hidden.event')")
    look_further(hierarchy)
    found = db.rows("SELECT finding, target, detail FROM dp.check() WHERE severity <> 'notice'", user="stranger")
    assert {(row["finding"], row["target"]) for row in found} >= {
        ("unreadable hierarchy", '"hidden"."event"'),
        ("missing future slice", '"public"."Dialog"'),
    }
    assert "permission denied for schema hidden" in next(
        row["detail"] for row in found if "unreadable" in row["finding"]
    )
