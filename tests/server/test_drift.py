"""What differs from parent and template is found on every partition, and one call brings it back."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import catalogs
from tests.support.database import Database
from tests.support.hierarchies import call, create_slices

TABLES = """
CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, body text, kind int DEFAULT 1);
CREATE INDEX event_kind ON event (kind);
CREATE TABLE item (id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event ON DELETE CASCADE);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER nothing BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT dp.create_hierarchy('event', 'at', 'party', hash_partitions => 2, key_form => '{form}');
SELECT dp.register_child('item', 'event');
SELECT dp.set_cluster_order('event', 'event_kind');
"""

# What is changed on parent or template when slices exist, and how drift names it.
CHANGES = {
    "GRANT SELECT, INSERT ON event TO reader": "privileges",
    "GRANT UPDATE (body) ON event TO reader WITH GRANT OPTION": "privileges",
    "REVOKE TRUNCATE ON event FROM owner": "privileges",
    "COMMENT ON TABLE event IS 'what {happened}'": "comment",
    "COMMENT ON COLUMN event.body IS 'it''s text'": "comment",
    "ALTER TABLE event ENABLE ROW LEVEL SECURITY": "row security",
    "ALTER TABLE event FORCE ROW LEVEL SECURITY": "forced row security",
    "CREATE POLICY own ON event TO reader USING (party = (SELECT i.party FROM item AS i WHERE i.id = event.id))": (
        "policy"
    ),
    "ALTER TABLE event_template SET (fillfactor = 77, toast.autovacuum_enabled = false)": "storage parameter",
    "ALTER TABLE event_template ALTER COLUMN body SET STATISTICS 777": "statistics target",
    "ALTER TABLE event_template ALTER COLUMN body SET (n_distinct = -0.25)": "n_distinct",
    "CREATE STATISTICS pair ON party, body FROM event": "statistics object",
    "CREATE STATISTICS pair (mcv) ON party, kind FROM event_template; ALTER STATISTICS pair SET STATISTICS 7": (
        "statistics object"
    ),
    "CREATE INDEX event_brin ON event_template USING brin (at)": "index",
    "CREATE INDEX event_body ON ONLY event (body) WHERE kind > 1": "index",
    "ALTER TABLE event ALTER COLUMN body SET COMPRESSION pglz": "compression",
    "ALTER TABLE event REPLICA IDENTITY FULL": "replica identity",
    "CREATE UNIQUE INDEX ident ON event (id, party, {key}); ALTER TABLE event REPLICA IDENTITY USING INDEX ident": (
        "replica identity"
    ),
    "UPDATE dp.table_config SET cluster_index = 'event_pkey' WHERE tbl = 'event'::regclass": "cluster mark",
    'ALTER TABLE event ADD COLUMN note varchar(20) COLLATE "C"': "column",
    "ALTER TABLE event DROP COLUMN body": "column",
    "ALTER TABLE event ALTER COLUMN body TYPE varchar": "column",
}
# What somebody changed on one leaf.
LEAF_CHANGES = {
    "GRANT DELETE ON event_2025_01_h01 TO stranger": "privileges",
    "ALTER TABLE event_2025_01_h01 DISABLE TRIGGER nothing": "trigger",
    "ALTER TABLE event_2025_01 ENABLE ALWAYS TRIGGER nothing": "trigger",
    "ALTER TABLE event_2025_01_h01 ALTER COLUMN kind SET DEFAULT 2": "default",
    "ALTER TABLE event_2025_01_h01 ALTER COLUMN kind DROP DEFAULT": "default",
    "ALTER TABLE event_2025_01_h01 ALTER COLUMN body SET STORAGE EXTERNAL": "column storage",
    "ALTER TABLE event_2025_01_h01 SET (fillfactor = 50)": "storage parameter",
    "ALTER TABLE event_2025_01_h01 ALTER COLUMN body SET NOT NULL": "not null",
    "ALTER TABLE event_2025_01_h01 ALTER COLUMN body SET STATISTICS 5": "statistics target",
    "ALTER TABLE event_2025_01_h01 REPLICA IDENTITY NOTHING": "replica identity",
    "ALTER TABLE event_2025_01_h01 SET WITHOUT CLUSTER": "cluster mark",
    "ALTER TABLE event_2025_01_h01 CLUSTER ON event_2025_01_h01_pkey": "cluster mark",
    "COMMENT ON TABLE event_2025_01 IS 'mine'": "comment",
    "COMMENT ON COLUMN event_2025_01_h01.body IS 'mine'": "comment",
    "CREATE POLICY mine ON event_2025_01_h01 USING (false)": "policy",
    "ALTER TABLE event_2025_01_h01 ENABLE ROW LEVEL SECURITY": "row security",
}


def drift(connection: psycopg.Connection[Any], root: str = "event") -> list[tuple[Any, ...]]:
    return call(connection, "SELECT dp.drift", root)


@pytest.fixture(params=["exact", "slice"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def declared(db: Database, form: str) -> psycopg.Connection[Any]:
    db.begin_with(declare, form)
    return db.connect(**{"dp.propagate_ddl": "off"})  # what plain DDL does not pass on is drift


def declare(db: Database, form: str) -> None:
    """The hierarchy with two slices."""
    owner = db.connect()
    owner.execute(TABLES.format(form=form))  # type: ignore[call-overload]
    create_slices(owner, "2025-01-01", "2025-03-01")


def test_what_the_extension_makes_has_no_drift(declared: psycopg.Connection[Any]) -> None:
    assert drift(declared) == []
    declared.execute("CALL dp.sync('event')")
    assert declared.execute("SELECT * FROM dp.last_plan").fetchall() == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_parent_or_template_reaches_every_leaf(
    declared: psycopg.Connection[Any], form: str, change: str
) -> None:
    text = change.replace("{key}", "at" if form == "exact" else "at_slice")
    declared.execute(text)  # type: ignore[call-overload]
    found = drift(declared)
    assert {row[2] for row in found} == {CHANGES[change]}
    assert all(row[6] for row in found)
    declared.execute("CALL dp.sync('event')")
    assert drift(declared) == []
    create_slices(declared, "2025-03-01", "2025-04-01")
    assert drift(declared) == [], "a new leaf has it from the start"


@pytest.mark.parametrize("change", LEAF_CHANGES)
def test_a_change_of_one_leaf_is_found_and_taken_back(
    db: Database, declared: psycopg.Connection[Any], change: str
) -> None:
    before = catalogs.picture(db)
    declared.execute(change)  # type: ignore[call-overload]
    found = drift(declared)
    assert {row[2] for row in found} == {LEAF_CHANGES[change]}
    declared.execute("CALL dp.sync('event')")
    assert drift(declared) == []
    assert catalogs.difference(before, catalogs.picture(db)) == {}


def test_an_index_of_one_leaf_alone_is_for_the_dba_to_decide(declared: psycopg.Connection[Any]) -> None:
    declared.execute("CREATE INDEX mine ON event_2025_01_h01 (body)")
    assert [row[1:4] + row[6:] for row in drift(declared)] == [('"public"."event_2025_01_h01"', "index", "mine", None)]
    declared.execute("CALL dp.sync('event')")
    assert len(drift(declared)) == 1
    declared.execute("CREATE INDEX mine_too ON event_template (body)")
    declared.execute("CALL dp.sync('event')")
    assert drift(declared) == []


def test_a_privilege_that_another_role_granted_is_taken_back_and_the_others_stay(
    db: Database, declared: psycopg.Connection[Any]
) -> None:
    declared.execute("GRANT SELECT ON event TO reader WITH GRANT OPTION; GRANT INSERT ON event TO stranger")
    declared.execute("CALL dp.sync('event')")
    before = catalogs.picture(db)
    reader = db.connect("postgres")
    reader.execute("SET ROLE reader; GRANT SELECT ON event_2025_01_h01 TO stranger")
    found = drift(declared)
    assert [row[1:6] for row in found] == [
        ('"public"."event_2025_01_h01"', "privileges", "stranger", "INSERT", "INSERT, SELECT")
    ]
    declared.execute("CALL dp.sync('event')")
    assert drift(declared) == []
    assert catalogs.difference(before, catalogs.picture(db)) == {}


def test_an_equal_index_of_a_leaf_s_own_is_attached_and_not_built_again(declared: psycopg.Connection[Any]) -> None:
    declared.execute("CREATE INDEX mine ON event_2025_01_h01 (body)")
    declared.execute("CREATE INDEX event_body ON ONLY event (body)")
    declared.execute("CREATE INDEX jan ON ONLY event_2025_01 (body); ALTER INDEX event_body ATTACH PARTITION jan")
    rows = [row for row in drift(declared) if row[1] == '"public"."event_2025_01_h01"']
    assert [row[6] for row in rows] == ['ALTER INDEX "public"."jan" ATTACH PARTITION "public"."mine"']
    declared.execute("CALL dp.sync('event')")
    assert drift(declared) == []
    indexes = declared.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'event_2025_01_h01'").fetchall()
    assert [name for (name,) in indexes if "body" in name or name == "mine"] == ["mine"]


def test_rows_are_written_anew_only_on_request(declared: psycopg.Connection[Any]) -> None:
    declared.execute("ALTER TABLE item_template SET UNLOGGED; ALTER TABLE item_template SET (fillfactor = 60)")
    declared.execute("CALL dp.sync('event')")
    assert {row[2] for row in drift(declared)} == {"persistence"}
    declared.execute("CALL dp.sync('event', rewrite => true)")
    assert drift(declared) == []


def test_without_a_template_nothing_is_said_of_storage(declared: psycopg.Connection[Any]) -> None:
    declared.execute("ALTER TABLE event_template SET (fillfactor = 60)")
    declared.execute("CALL dp.sync('event')")
    declared.execute("SET dp.propagate_ddl = off; DROP TABLE event_template; RESET dp.propagate_ddl")
    assert [row[2] for row in drift(declared)] == ["template"], "and of that it is lost"


def test_a_partition_of_another_owner_is_named_and_left_alone(db: Database, declared: psycopg.Connection[Any]) -> None:
    admin = db.connect("postgres")
    admin.execute("ALTER TABLE item_2025_01_h00 OWNER TO stranger")
    found = drift(declared)
    assert [row[2:6] for row in found if row[2] == "owner"] == [("owner", "", "owner", "stranger")]
    declared.execute("CALL dp.sync('event')")
    assert "owner" in {row[2] for row in drift(declared)}
    admin.execute(next(row[6] for row in found if row[2] == "owner"))
    declared.execute("CALL dp.sync('event')")
    assert drift(declared) == []


def test_everybody_may_look_and_only_the_owner_synchronises(db: Database, declared: psycopg.Connection[Any]) -> None:
    declared.execute("ALTER TABLE event_template SET (fillfactor = 60)")
    stranger = db.connect("stranger")
    assert len(drift(stranger)) == 4
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute("CALL dp.sync('event')")
    db.connect("postgres").execute("CALL dp.sync('event')")
    assert drift(stranger) == []


def test_the_error_names_a_reader_in_the_way_and_the_next_call_finishes(
    db: Database, declared: psycopg.Connection[Any]
) -> None:
    declared.execute("SELECT dp.configure('event', lock_timeout => '1 ms')")
    declared.execute("ALTER TABLE event ENABLE ROW LEVEL SECURITY")
    reader = db.connect()
    reader.execute("BEGIN; SELECT count(*) FROM event_2025_02_h01")
    with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
        declared.execute("CALL dp.sync('event')")
    assert f"process {reader.info.backend_pid}" in str(caught.value.diag.message_detail)
    reader.execute("COMMIT")
    declared.execute("CALL dp.sync('event')")
    assert drift(declared) == []


def test_names_may_be_anything(db: Database) -> None:
    owner = db.connect(**{"search_path": "pg_catalog", "TimeZone": "Asia/Kathmandu", "dp.propagate_ddl": "off"})
    owner.execute('CREATE SCHEMA "o\'dd"')
    name = '"o\'dd"."We ""ird.Täble{}%"'
    column = '"c""ol{}%"'
    owner.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, at timestamptz NOT NULL, {column} text)")
    call(owner, "SELECT dp.create_hierarchy", name, range_key="at", slice="1 year", premake=0)
    create_slices(owner, "2025-01-01", "2026-01-01", name)
    template = db.value("SELECT template::text FROM dp.managed_table")
    owner.execute(f"ALTER TABLE {template} SET (fillfactor = 60)")
    owner.execute(f"ALTER TABLE {template} ALTER COLUMN {column} SET STATISTICS 9")
    owner.execute(f"COMMENT ON COLUMN {name}.{column} IS 'per cent % {{}}'")
    owner.execute(f"GRANT SELECT ({column}) ON {name} TO PUBLIC")
    owner.execute(f'CREATE INDEX "i""x" ON ONLY {name} ({column})')
    assert {row[2] for row in drift(owner, name)} == {
        "storage parameter", "statistics target", "comment", "privileges", "index",
    }  # fmt: skip
    call(owner, "CALL dp.sync", name)
    assert drift(owner, name) == []
