"""dp.unconvert of hierarchies that were changed since their conversion."""

from __future__ import annotations

import psycopg
import pytest

from tests.server.test_convert import CONVERT, PLAIN, contents, definitions
from tests.support import family
from tests.support.database import Database
from tests.support.hierarchies import Connection

KEYS = ("at", "at_slice")
FORMS = ("exact", "slice")


def converted(db: Database, key_form: str) -> Connection:
    """The tables as partitioned ones, the plain ones let go."""
    db.begin_with(convert, key_form)
    return db.connect()


def convert(db: Database, key_form: str, options: str = "") -> Connection:
    """The same, made anew."""
    owner = db.connect()
    owner.execute(PLAIN)
    owner.execute(f"{CONVERT}, key_form => '{key_form}'{options})")
    owner.execute("SELECT dp.drop_converted('event')")
    return owner


def columns(db: Database, table: str) -> list[str]:
    """The columns of a table, in order."""
    rows = db.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        table,
    )
    return [row["attname"] for row in rows]


def leftovers(db: Database) -> list[dict[str, object]]:
    """Schemas, functions and configuration that a conversion makes."""
    return db.rows(
        "SELECT nspname FROM pg_namespace WHERE nspname ~ '_con(version|verted)$' UNION ALL"
        " SELECT proname FROM pg_proc WHERE pronamespace::regnamespace::text IN ('public', 'app', 'app2')"
        " UNION ALL SELECT root::text FROM dp.hierarchy_config UNION ALL SELECT root::text FROM dp.conversion_config"
    )


@pytest.mark.parametrize("key_form", FORMS)
def test_renamed_tables_schemas_and_rules(db: Database, key_form: str) -> None:
    owner = converted(db, key_form)
    owner.execute('ALTER TABLE event RENAME TO "Ereignis"; ALTER TABLE message RENAME TO msg')
    owner.execute("ALTER INDEX event_pkey RENAME TO first; ALTER TABLE msg RENAME CONSTRAINT message_pkey TO second")
    owner.execute("ALTER TABLE item RENAME CONSTRAINT item_event_id_fkey TO third")
    owner.execute("ALTER SCHEMA public RENAME TO app2; SET search_path = app2")
    owner.execute("CALL dp.unconvert('\"Ereignis\"')")
    found = owner.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conname IN ('first', 'second', 'third')"
        " ORDER BY 1"
    ).fetchall()
    assert found == [
        ("first", "PRIMARY KEY (id)"),
        ("second", "PRIMARY KEY (id)"),
        ("third", 'FOREIGN KEY (event_id) REFERENCES "Ereignis"(id) ON DELETE CASCADE'),
    ]
    assert columns(db, "app2.word") == ["item_id", "language"]
    assert leftovers(db) == []


@pytest.mark.parametrize("key_form", FORMS)
def test_renamed_keys(db: Database, key_form: str) -> None:
    owner = convert(db, key_form, ", allow_weaker_unique => true")
    key = KEYS[FORMS.index(key_form)]
    owner.execute("SELECT dp.rename_column('event', %s, 'moment')", [key])
    owner.execute("SELECT dp.rename_column('event', 'party', 'owner')")
    owner.execute("SELECT dp.rename_column('message', 'event_id', 'event')")
    owner.execute("CALL dp.unconvert('event')")
    wanted = ["id", "owner", "moment" if key == "at" else "at", "kind_id", "org", "key", "mask"]
    assert columns(db, "event") == wanted
    assert columns(db, "message") == ["id", "event", "answers", "body"]
    assert columns(db, "word") == ["item_id", "language"]
    definition = db.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'message_event_id_fkey'")
    assert definition == "FOREIGN KEY (event) REFERENCES event(id) ON DELETE CASCADE"
    assert leftovers(db) == []


@pytest.mark.parametrize("key_form", FORMS)
def test_lookups_and_writable_views_go(db: Database, key_form: str) -> None:
    owner = converted(db, key_form)
    before = contents(db)
    owner.execute("CREATE SCHEMA app; SELECT dp.create_writable_views('event', 'app')")
    owner.execute("SELECT dp.create_lookup('item', '{message_id}')")
    owner.execute("SELECT dp.create_page('item', 'items', '', 'true', '1')")
    owner.execute("SELECT dp.create_page('item', 'items', 'n int', 'true', '1')")
    owner.execute("CALL dp.unconvert('event', dry_run => true)")
    printed = [row[0] for row in owner.execute("SELECT statement FROM dp.last_plan")]
    assert sum('DROP VIEW "app".' in statement for statement in printed) == 4
    owner.execute("CALL dp.unconvert('event')")
    assert contents(db) == before
    assert db.rows("SELECT viewname FROM pg_views WHERE schemaname = 'app'") == []
    assert leftovers(db) == []


@pytest.mark.parametrize("key_form", FORMS)
def test_a_hierarchy_that_was_declared_keeps_its_keys(db: Database, key_form: str) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, key_form)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01')")
    family.fill(owner, "2025-01-10 12:00+00", 10, 5)
    owner.execute("SELECT dp.create_global_index('\"Dialog\"', '{Id}')")
    owner.execute("SELECT dp.create_page('\"Dialog\"', 'dialogs', '', 'true', '1')")
    keys = """
        SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE contype IN ('p', 'f') AND conparentid = 0
        AND conrelid::regclass::text = ANY (ARRAY['"Dialog"', '"Activity"', '"Actor"'])
        ORDER BY 1, 2, 3
    """
    before = (family.counts(owner), db.rows(keys))
    assert any("UpdatedAt" in str(row) for row in before[1])
    owner.execute("CALL dp.unconvert('\"Dialog\"')")
    assert (family.counts(owner), db.rows(keys)) == before
    kinds = db.rows("SELECT DISTINCT relkind FROM pg_class WHERE relname IN ('Dialog', 'Actor')")
    assert kinds == [{"relkind": "r"}]


@pytest.mark.parametrize("key_form", FORMS)
def test_what_came_later_stays(db: Database, key_form: str) -> None:
    owner = converted(db, key_form)
    key = KEYS[FORMS.index(key_form)]
    owner.execute("SELECT dp.add_column('item', 'weight', 'int DEFAULT 5')")
    owner.execute("SELECT dp.drop_column('item', 'name')")
    owner.execute("SELECT dp.create_index('item', 'item_event', '(event_id)')")
    owner.execute("CREATE TABLE tag (id int PRIMARY KEY, event_id bigint)")
    owner.execute("SELECT dp.register_child('tag', 'event', '{event_id}')")
    owner.execute(f"INSERT INTO tag SELECT id, id, {key}, party FROM event")
    owner.execute("SELECT dp.configure('event', default_slice => true)")
    owner.execute("CALL dp.run_maintenance('event')")
    owner.execute(f"INSERT INTO message (id, event_id, {key}, party) SELECT 9999, id, {key}, party FROM event LIMIT 1")
    owner.execute("UPDATE event SET at = '2199-01-01' WHERE id = 3")  # into the default slice
    owner.execute("CALL dp.unconvert('event')")
    assert columns(db, "item") == ["id", "event_id", "message_id", "weight"]
    counts = [db.value(f"SELECT count(*) FROM {table}") for table in ("event", "message", "tag")]
    assert counts == [400, 1201, 400]
    assert db.value("SELECT count(*) FROM item WHERE weight = 5") == 2000
    owner.execute("DELETE FROM tag; DELETE FROM event WHERE id = 3")
    owner.execute("INSERT INTO tag SELECT 1, id, now(), party FROM event LIMIT 1")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute("INSERT INTO tag VALUES (2, 3, now(), 'x')")
    assert leftovers(db) == []


REFUSED = {
    "a detached slice": ("SELECT dp.detach_slice('event', '2000-01-01')", "55000", "has slices that are detached"),
    "an index on what goes": (
        "SELECT dp.create_index('item', 'by_party', '(event_id, party)')", "2BP01", 'index "by_party"'
    ),
    "a function that returns its rows": (
        "CREATE FUNCTION f() RETURNS SETOF item LANGUAGE sql AS 'SELECT * FROM item'", "2BP01", "function public.f"
    ),
    "a view on a writable view": (
        "CREATE SCHEMA app; SELECT dp.create_writable_views('event', 'app'); CREATE VIEW v AS SELECT * FROM app.item",
        "2BP01",
        "view public.v",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_lost_is_refused_before_anything_begins(db: Database, case: str) -> None:
    owner = converted(db, "exact")
    statement, sqlstate, message = REFUSED[case]
    owner.execute(statement)
    before, described = contents(db), definitions(db)
    with pytest.raises(psycopg.Error, match=message) as caught:
        owner.execute("CALL dp.unconvert('event')")
    assert caught.value.sqlstate == sqlstate
    assert contents(db) == before
    assert definitions(db) == described
    assert db.rows("SELECT * FROM dp.conversion_config") == []
