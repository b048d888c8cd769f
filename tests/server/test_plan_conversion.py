"""dp.plan_conversion: what a DBA reads before anything is done."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.server.test_convert import PLAIN
from tests.support.database import Database
from tests.support.hierarchies import Connection

PLAN = "SELECT tbl::text, role, severity, finding, detail FROM dp.plan_conversion('event', 'at', 'party'"


@pytest.fixture
def owner(db: Database) -> Connection:
    connection = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    connection.execute(PLAIN)
    return connection


def plan(owner: Connection, options: str = "") -> list[tuple[str, ...]]:
    return owner.execute(f"{PLAN}{options})").fetchall()


def details(owner: Connection, finding: str, options: str = "") -> dict[str, str]:
    return {row[0]: row[4] for row in plan(owner, options) if row[3] == finding}


def test_every_table_has_its_role_and_its_way_to_the_root(owner: Connection) -> None:
    roles = {row[0]: row[1] for row in plan(owner)}
    assert roles == {"event": "root", "message": "child", "item": "child", "word": "child", "kind": "reference"}
    found = details(owner, "child")
    assert found["message"] == "1200 rows, each with exactly one owner. To the root by message(event_id) > event."
    assert found["item"] == (
        "2000 rows, each with one of 2 alternative owners. To the root by item(event_id) > event;"
        " item(message_id) > message(event_id) > event."
    )
    assert found["word"].endswith(
        "word(item_id) > item(event_id) > event; word(item_id) > item(message_id) > message(event_id) > event."
    )


def test_the_layout_follows_the_rows(owner: Connection) -> None:
    found = [row[4] for row in plan(owner) if row[3] == "slices"]
    assert found == [
        "From 2007-01-01 to 2024-01-01 slices of 1 year with 2 leaves each: 361 rows of the root lie there.",
        "From 2024-01-01 to 2025-11-01 slices of 1 month with 2 leaves each: 39 rows of the root lie there.",
    ]
    assert details(owner, "leaves")["event"] == "39 slices in 4 tables are 312 leaves."
    form = details(owner, "key form")["event"]
    assert 'A root row has 18.0 rows below it, the one that has most 5 in "item" alone.' in form
    assert "Recommended is slice, unless the key never changes. Chosen is exact." in form
    wide = details(owner, "key form", ", key_form => 'slice', bucket => '3 months', slice => '1 year'")["event"]
    assert "only when it crosses a bucket of 3 months," in wide


def test_keys_that_could_be_null_are_told(owner: Connection) -> None:
    owner.execute("ALTER TABLE event ALTER party DROP NOT NULL; ALTER TABLE item ADD at timestamptz")
    told = [row[:3] for row in plan(owner, ", replace_values => true") if row[3] == "key column NOT NULL"]
    assert told == [("event", "root", "warning"), ("item", "child", "warning")]
    owner.execute("CALL dp.convert('event', 'at', 'party', slice => '10 years', replace_values => true)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        owner.execute("UPDATE event SET party = NULL WHERE id = 1")


def test_too_many_leaves_are_told_with_how_many_would_fit(owner: Connection) -> None:
    finding = "too many leaves"
    told = details(owner, finding, ", slice => '1 month', hash_partitions => 16")["event"]
    fits = re.search(r"hash_partitions => (\d+) would fit\.", told)
    assert fits is not None, told
    assert details(owner, finding, f", slice => '1 month', hash_partitions => {fits[1]}") == {}
    assert details(owner, finding, f", slice => '1 month', hash_partitions => {int(fits[1]) + 1}") != {}
    daily = details(owner, finding, ", slice => '1 day', hash_partitions => 2")["event"]
    assert "hash_partitions" not in daily
    width = re.search(r"slice => '([^']+)' would fit\.", daily)
    assert width is not None, daily
    assert details(owner, finding, f", slice => '{width[1]}', hash_partitions => 2") == {}


def test_what_becomes_of_the_unique_rules(owner: Connection) -> None:
    kept = [(row[0], row[3]) for row in plan(owner) if "global index keeps it" in row[4]]
    assert kept == [
        ("event", "primary key kept"),
        ("event", "unique rule kept"),
        ("message", "primary key kept"),
        ("item", "primary key kept"),
    ]
    widened = {(row[0], row[3]) for row in plan(owner) if "refuses the same rows" in row[4]}
    assert widened == {("message", "unique rule widened"), ("word", "primary key widened")}
    owner.execute("CREATE UNIQUE INDEX tricky ON event (lower(org), key)")
    assert details(owner, "unique rule lost")["event"].startswith('unique rule "tricky" cannot be kept')
    assert [row for row in plan(owner, ", allow_weaker_unique => true") if row[2] == "error"] == []


def test_it_changes_nothing(owner: Connection, db: Database) -> None:
    owner.execute("SET default_transaction_read_only = on")
    assert len(plan(owner)) > 20
    assert db.value("SELECT count(*) FROM dp.hierarchy_config") == 0


OBSTACLES = {
    "a row trigger with a transition table": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER t AFTER INSERT ON item REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION f()",
        'trigger "t" of "public"."item" cannot exist on a partitioned table',
    ),
    "forced row security": ("ALTER TABLE item FORCE ROW LEVEL SECURITY", "forced row security"),
    "a function that returns its rows": (
        "CREATE FUNCTION f() RETURNS SETOF item LANGUAGE sql AS 'SELECT * FROM item'",
        "row type in use",
    ),
    "a view that groups by a primary key": (
        "CREATE VIEW v AS SELECT e.id, e.at, count(*) FROM event e JOIN item i ON i.event_id = e.id GROUP BY e.id",
        "dependent object",
    ),
    "a key of another age": ("UPDATE event SET at = '9999-06-01' WHERE id = 1", "rows outside every slice"),
    "a key that is NULL": ("ALTER TABLE event ALTER party DROP NOT NULL; UPDATE event SET party = NULL WHERE id = 1",
                           "rows without keys"),
    "rows that break a key": (
        "ALTER TABLE item DROP CONSTRAINT item_message_id_fkey; UPDATE item SET message_id = -1 WHERE id = 1;"
        " ALTER TABLE item ADD CONSTRAINT item_message_id_fkey FOREIGN KEY (message_id) REFERENCES message NOT VALID",
        "broken foreign keys",
    ),
    "a partition key under another name": (
        "ALTER TABLE event ADD UNIQUE (id, party); CREATE TABLE other (id int, event_id bigint, owner text,"
        " FOREIGN KEY (event_id, owner) REFERENCES event (id, party))",
        "partition key of another name",
    ),
    "a key that is all or nothing": (
        "ALTER TABLE message ADD UNIQUE (id, event_id); CREATE TABLE other (id int, a bigint, b bigint,"
        " FOREIGN KEY (a, b) REFERENCES message (id, event_id) MATCH FULL)",
        "MATCH FULL",
    ),
    "a generated key column": (
        'TRUNCATE item CASCADE; ALTER TABLE item ADD party text COLLATE "C" GENERATED ALWAYS AS (name) STORED',
        "generated key column",
    ),
    "other values in a key column": (
        "ALTER TABLE message ADD at timestamptz NOT NULL DEFAULT '2020-02-02'", "values to be replaced"
    ),
    "a table with the name of a template": ("CREATE TABLE item_template (id int)", "name taken"),
    "a table with the name of a slice": ("CREATE TABLE event_2011 (id int)", "name taken"),
    "a table with the name of a leaf": ("CREATE TABLE event_2011_h01 (id int)", "name taken"),
    "a table with the name of a global index": ("CREATE TABLE item_id_global (id int)", "name taken"),
    "a unique rule without a primary key": (
        "ALTER TABLE item DROP CONSTRAINT item_pkey CASCADE, ADD UNIQUE (id)", "unique rule lost"
    ),
    "a table as a constant": ("ALTER TABLE item ADD tbl regclass DEFAULT 'event'", "dependent object"),
    "a constraint trigger that looks at another table": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE CONSTRAINT TRIGGER t"
        " AFTER DELETE ON item FROM event FOR EACH ROW EXECUTE FUNCTION f()",
        "dependent object",
    ),
    "a function that returns rows of a materialized view": (
        "CREATE MATERIALIZED VIEW m AS SELECT party FROM event;"
        " CREATE FUNCTION f() RETURNS SETOF m LANGUAGE sql AS 'SELECT * FROM m'",
        "dependent object",
    ),
    "a partitioned child": (
        "CREATE TABLE other (id int, event_id bigint REFERENCES event) PARTITION BY RANGE (id)",
        "cannot belong",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OBSTACLES)
def test_obstacles_are_named_and_refused(owner: Connection, case: str) -> None:
    statements, expected = OBSTACLES[case]
    owner.execute(statements)
    assert [row[3] for row in plan(owner) if row[2] == "error"] == [expected]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot be converted"):
        owner.execute("CALL dp.convert('event', 'at', 'party')")


def test_what_the_obstacles_tell_to_do_mends_them(owner: Connection) -> None:
    for case in ("a partition key under another name", "a key that is all or nothing", "a generated key column"):
        owner.execute("BEGIN")
        owner.execute(OBSTACLES[case][0])
        mending = owner.execute(
            "SELECT statement FROM dp.plan_conversion('event', 'at', 'party') WHERE severity = 'error'"
        ).fetchall()
        for (statement,) in mending:
            owner.execute(statement)
        assert [row for row in plan(owner) if row[2] == "error"] == []
        owner.execute("ROLLBACK")


CARRIED = """
    ALTER TABLE item ADD number bigint GENERATED ALWAYS AS IDENTITY; GRANT SELECT ON item TO reader, PUBLIC;
    GRANT UPDATE (name) ON item TO stranger; ALTER TABLE item ENABLE ROW LEVEL SECURITY;
    CREATE POLICY "all of them" ON item USING (true); ALTER TABLE item REPLICA IDENTITY FULL;
    ALTER TABLE item SET (fillfactor = 70); CREATE STATISTICS pair ON event_id, name FROM item;
    COMMENT ON TABLE item IS 'of a message'; COMMENT ON COLUMN item.name IS 'shown'; COMMENT ON INDEX item_pkey IS 'id';
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER t AFTER INSERT ON item EXECUTE FUNCTION f(); COMMENT ON TRIGGER t ON item IS 'nothing';
    CREATE RULE r AS ON DELETE TO item WHERE false DO ALSO NOTHING;
    CREATE PUBLICATION pub FOR TABLE item
"""


def test_what_is_carried_along_is_told(owner: Connection) -> None:
    owner.execute(CARRIED)
    told = [row for row in plan(owner) if row[4].endswith(": made again on the new table.")]
    assert {row[3]: row[4].partition(": made")[0] for row in told if row[0] == "item"} == {
        "triggers": "t",
        "rules": "r",
        "row security": "enabled",
        "policies": "all of them",
        "privileges": "of reader, of PUBLIC, of stranger",
        "identity and serial columns": "number with its sequence",
        "publications": "pub",
        "replica identity": "the whole row",
        "extended statistics": "pair",
        "storage parameters": "fillfactor=70",
        "comments": 'of the table, of column "name", of index "item_pkey", of trigger "t"',
    }
    owner.execute("ALTER TABLE item REPLICA IDENTITY USING INDEX item_pkey")
    assert details(owner, "replica identity")["item"].startswith("index item_pkey")


COUNTED = {
    "a key of another age": {1},
    "a key that is NULL": {1},
    "rows that break a key": {1},
    "other values in a key column": set(range(1, 1201)),
    "rows without a parent": {2, 4},
}


@pytest.mark.parametrize("case", COUNTED)
def test_what_counts_rows_shows_them(owner: Connection, case: str) -> None:
    lost = ("UPDATE item SET event_id = NULL, message_id = NULL WHERE id IN (2, 4)", "rows without a parent")
    statements, finding = {**OBSTACLES, "rows without a parent": lost}[case]
    owner.execute(statements)
    told = owner.execute(
        "SELECT detail, statement FROM dp.plan_conversion('event', 'at', 'party') WHERE finding = %s"
        " AND tbl <> 'word'::regclass",
        [finding],
    ).fetchall()
    assert [row[0].split()[0] for row in told] == [str(len(COUNTED[case]))]
    assert {row[0] for row in owner.execute(told[0][1]).fetchall()} == COUNTED[case]


@pytest.mark.parametrize(
    "call",
    [
        "SELECT * FROM dp.plan_conversion(NULL, 'at')",
        "CALL dp.convert(NULL, 'at')",
        "CALL dp.unconvert(NULL)",
        "CALL dp.cancel_conversion(NULL)",
        "SELECT * FROM dp.drop_converted(NULL)",
    ],
)
def test_no_table_is_no_root(owner: Connection, call: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="root: NULL"):
        owner.execute(call)  # type: ignore[call-overload]


def test_values_are_replaced_where_that_is_accepted(owner: Connection) -> None:
    owner.execute(OBSTACLES["other values in a key column"][0])
    found = [row for row in plan(owner, ", replace_values => true") if "replaced" in row[3]]
    assert [(row[0], row[2], row[3]) for row in found] == [("message", "warning", "values replaced")]
    assert found[0][4].startswith("1200 rows")
    assert details(owner, "values to be replaced", ", key_form => 'slice'") == {}, "children need no range key then"


def test_the_name_of_the_slice_key_is_taken(owner: Connection) -> None:
    owner.execute("ALTER TABLE item ADD at_slice date")
    assert "slice_key => ..." in details(owner, "slice key taken", ", key_form => 'slice'")["item"]
    owner.execute("CREATE FUNCTION event_set_slice_key() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    options = ", key_form => 'slice', slice_key => 'month'"
    assert [row[3] for row in plan(owner, options) if row[2] == "error"] == ["name taken"]


def test_a_root_without_rows_has_no_keys_for_rows_without_a_parent(owner: Connection) -> None:
    owner.execute("TRUNCATE event CASCADE; INSERT INTO item VALUES (1, NULL, NULL, 'lost')")
    found = [row for row in plan(owner, ", orphans => 'keep'") if row[2] == "error"]
    assert [(row[0], row[3]) for row in found] == [("item", "rows without a parent")]


def test_a_root_that_refers_to_its_children_is_refused(owner: Connection) -> None:
    owner.execute("ALTER TABLE event ADD newest bigint REFERENCES message")
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="form a circle"):
        plan(owner)


def test_a_foreign_key_of_somebody_elses_table_is_told(owner: Connection, db: Database) -> None:
    owner.execute("GRANT REFERENCES ON event TO stranger; GRANT USAGE, CREATE ON SCHEMA public TO stranger")
    db.connect("stranger").execute("CREATE TABLE other (event_id bigint CONSTRAINT theirs REFERENCES event)")
    found = [row for row in plan(owner, ", exclude => '{other}'") if row[2] == "error"]
    assert [row[4] for row in found] == [
        'foreign key "theirs" of public.other must be made again. The table belongs to stranger.'
    ]


def test_tables_are_left_out_and_owners_named(owner: Connection) -> None:
    left_out = {row[0]: row[1] for row in plan(owner, ", exclude => '{item}'")}
    assert left_out["item"] == "outside"
    assert "word" not in left_out
    named = details(
        owner, "child", """, owner_paths => '{"public.item": ["item_message_id_fkey"]}', orphans => 'keep'"""
    )
    assert "exactly one owner" in named["item"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("orphans => 'drop'", "orphans"),
        ("disagreeing => 'drop'", "disagreeing"),
        ("include => '{kind}'", "include"),
        ("""owner_paths => '{"public.item": ["none"]}'""", "owner_paths"),
        ("owner_paths => '[1]'", "owner_paths"),
        ("""owner_paths => '{"public.item": "item_event_id_fkey"}'""", "owner_paths"),
        ("""owner_paths => '{"public.item": []}'""", "owner_paths"),
        ("""owner_paths => '{"item": ["item_event_id_fkey"]}'""", "owner_paths"),
        ("""owner_paths => '{"public.event": ["event_kind_id_fkey"]}'""", "owner_paths"),
        ("""owner_paths => '{"public.kind": ["kind_pkey"]}'""", "owner_paths"),
        ("exclude => '{event}'", "exclude"),
        ("exclude => '{kind}'", "exclude"),
        ("exclude => '{item}', include => '{item}'", "include"),
        ("key_form => 'other'", "key_form"),
        ("slice => 'x'", "slice"),
    ],
)
def test_parameters_that_cannot_work_are_refused(owner: Connection, options: str, message: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        plan(owner, f", {options}")


def test_what_is_in_a_hierarchy_is_not_converted(owner: Connection) -> None:
    owner.execute("CREATE TABLE plain (id int PRIMARY KEY, at date NOT NULL)")
    owner.execute("SELECT dp.create_hierarchy('plain', 'at')")
    with pytest.raises(psycopg.errors.DuplicateObject):
        owner.execute("SELECT * FROM dp.plan_conversion('plain', 'at')")
