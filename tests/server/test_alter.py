"""Schema changes in one call: parent, template and every partition agree, twice is as good as once, keys are safe."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import catalogs
from tests.support.database import Database
from tests.support.hierarchies import call, create_slices

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE FUNCTION plus_one(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN $1 + 1;
CREATE TABLE shared (id int PRIMARY KEY);
CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, body text, kind int DEFAULT 1);
CREATE INDEX event_kind ON event (kind);
CREATE TABLE item (id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event ON DELETE CASCADE, note text);
SELECT dp.create_hierarchy('event', 'at', 'party', hash_partitions => 2, key_form => '{form}');
SELECT dp.register_child('item', 'event');
"""
# What a migration writes, and plain SQL that shows that it is there: on every relation of the table, the template too
# where "everywhere" says so.
COLUMN = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = {relation} AND attname = '{name}'"
CHANGES = {
    "dp.add_column('event', 'note', 'varchar(20) COLLATE \"C\"', comment => 'it''s')": (
        "note",
        [{"character varying(20)"}, {"character varying(20)"}],
    ),
    "dp.add_column('event', 'm', 'mood', default_value => '''glad''::mood', not_null => true)": (
        "m",
        [{"mood"}, {"mood"}],
    ),
    "dp.add_column('event', 'next', 'int', generated => 'plus_one(kind)')": ("next", [{"integer"}, {"integer"}]),
    "dp.add_column('event', 'n', 'numeric(10, 2)[]')": ("n", [{"numeric(10,2)[]"}, {"numeric(10,2)[]"}]),
    "dp.drop_column('event', 'body')": ("body", [set(), set()]),
    "dp.rename_column('event', 'body', 'text')": ("text", [{"text"}, {"text"}]),
    "dp.alter_column_type('event', 'kind', 'bigint')": ("kind", [{"bigint"}, {"bigint"}]),
    "dp.alter_column_type('event', 'kind', 'mood', 'CASE WHEN kind > 1 THEN ''glad''::mood END')": (
        "kind",
        [{"mood"}, {"mood"}],
    ),
}


@pytest.fixture(params=["exact", "slice"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def owner(db: Database, form: str) -> psycopg.Connection[Any]:
    db.begin_with(prepare, form)
    return db.connect()


def prepare(db: Database, form: str) -> None:
    """The hierarchy with two slices and some rows."""
    owner = db.connect()
    owner.execute(TABLES.format(form=form))  # type: ignore[call-overload]
    create_slices(owner, "2025-01-01", "2025-03-01")
    key = "" if form == "exact" else ", at_slice"
    value = "" if form == "exact" else ", '2025-01-01'"
    owner.execute(
        f"INSERT INTO event (id, at, party{key}) SELECT n, '2025-01-05 00:00+00', 'p' || n{value}"  # type: ignore[call-overload]
        " FROM generate_series(1, 20) AS n"
    )


def drift(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return call(connection, "SELECT dp.drift", "event")


def types(owner: psycopg.Connection[Any], name: str, relations: str) -> set[str]:
    rows = owner.execute(
        "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"  # type: ignore[call-overload]
        f" WHERE c.relkind IN ('r', 'p') AND c.relname ~ '{relations}' AND a.attname = %s AND NOT a.attisdropped",
        [name],
    ).fetchall()
    return {row[0] for row in rows}


def notices(connection: psycopg.Connection[Any]) -> list[str]:
    found: list[str] = []
    connection.add_notice_handler(lambda notice: found.append(notice.message_primary or ""))
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_a_column_is_everywhere_the_same(db: Database, owner: psycopg.Connection[Any], change: str) -> None:
    if "alter_column_type('event', 'kind', 'mood'" in change:
        owner.execute("SELECT dp.drop_default('event', 'kind')")
    name, (on_tables, on_template) = CHANGES[change]
    assert owner.execute(f"SELECT * FROM {change}").fetchall() != []  # type: ignore[call-overload]
    assert types(owner, name, "^event(_2025|$)") == on_tables
    assert types(owner, name, "^event_template$") == on_template
    assert drift(owner) == []
    told = notices(owner)
    before = catalogs.picture(db)
    if "rename_column" not in change and "drop" not in change:
        assert owner.execute(f"SELECT * FROM {change}").fetchall() == []  # type: ignore[call-overload]
        assert told[-1].endswith("nothing to do")
    else:
        owner.execute(f"SELECT {change}")  # type: ignore[call-overload]
    assert catalogs.difference(before, catalogs.picture(db)) == {}
    create_slices(owner, "2025-03-01", "2025-04-01")
    assert types(owner, name, "^event_2025_03") == on_tables
    assert drift(owner) == []


SMALL_CHANGES = [
    "dp.set_default('event', 'body', '''x''')",
    "dp.drop_default('event', 'kind')",
    "dp.set_not_null('event', 'kind')",
    "dp.add_constraint('event', 'positive', 'CHECK (kind > 0 AND body <> '';'')')",
    "dp.add_constraint('event', 'kinds', 'FOREIGN KEY (kind) REFERENCES shared')",
    "dp.add_constraint('event', 'one', 'UNIQUE (id, body, party, {key})')",
    "dp.create_index('event', 'event_low', '(lower(body), id DESC) WHERE kind > 1')",
    "dp.create_index('event', 'We \"ird', '(id, party, {key})', is_unique => true)",
    "dp.drop_index('event', 'event_kind')",
    "dp.set_storage('event', '{{\"fillfactor\": 80, \"toast.autovacuum_enabled\": false}}')",
    "dp.alter_table('event', 'ENABLE ROW LEVEL SECURITY')",
    "dp.alter_table('event', 'ALTER COLUMN body SET COMPRESSION pglz')",
    "dp.alter_table('event', 'ALTER body SET STORAGE EXTERNAL')",
    "dp.alter_table('event', 'REPLICA IDENTITY FULL')",
    "dp.alter_table('event', 'SET (autovacuum_vacuum_scale_factor = 0.01)')",
    "dp.alter_table('event', 'ALTER COLUMN body SET STATISTICS 500')",
    "dp.alter_table('event', 'ALTER body SET (n_distinct = -0.5)')",
]


def text_of(change: str, form: str) -> str:
    return change.format(key="at" if form == "exact" else "at_slice")


@pytest.mark.parametrize("change", SMALL_CHANGES)
def test_a_change_reaches_every_partition(db: Database, owner: psycopg.Connection[Any], form: str, change: str) -> None:
    owner.execute("INSERT INTO shared VALUES (1)")
    text = text_of(change, form)
    before = catalogs.picture(db)
    assert owner.execute(f"SELECT * FROM {text}").fetchall() != []  # type: ignore[call-overload]
    after = catalogs.picture(db)
    assert catalogs.difference(before, after) != {}
    assert drift(owner) == []
    owner.execute(f"SELECT {text}")  # type: ignore[call-overload]
    assert catalogs.difference(after, catalogs.picture(db)) == {}, "twice is as good as once"
    create_slices(owner, "2025-03-01", "2025-04-01")
    assert drift(owner) == []


UNDONE = {
    "dp.add_column('event', 'note', 'text')": "dp.drop_column('event', 'note')",
    "dp.rename_column('event', 'body', 'text')": "dp.rename_column('event', 'text', 'body')",
    "dp.set_default('event', 'body', '''x''')": "dp.drop_default('event', 'body')",
    "dp.set_not_null('event', 'kind')": "dp.drop_not_null('event', 'kind')",
    "dp.add_constraint('event', 'positive', 'CHECK (kind > 0)')": "dp.drop_constraint('event', 'positive')",
    "dp.create_index('event', 'event_body', '(body)')": "dp.drop_index('event', 'event_body')",
    "dp.set_storage('event', '{{\"fillfactor\": 80}}')": "dp.set_storage('event', '{{\"fillfactor\": null}}')",
    "dp.rename_column('event', '{key}', 'k')": "dp.rename_column('event', 'k', '{key}')",
    "dp.rename_column('item', 'party', 'P\"')": "dp.rename_column('event', 'P\"', 'party')",
}


@pytest.mark.parametrize("change", UNDONE)
def test_there_and_back(db: Database, owner: psycopg.Connection[Any], form: str, change: str) -> None:
    before = catalogs.picture(db)
    owner.execute(f"SELECT {text_of(change, form)}")  # type: ignore[call-overload]
    assert catalogs.difference(before, catalogs.picture(db)) != {}
    assert drift(owner) == []
    create_slices(owner, "2025-01-01", "2025-03-01")
    owner.execute(f"SELECT {text_of(UNDONE[change], form)}")  # type: ignore[call-overload]
    left = catalogs.difference(before, catalogs.picture(db))
    left.pop("columns", None) if "add_column" in change else None  # numbers of columns that went are not used again
    assert left == {}


def test_a_key_that_was_renamed_works_on(owner: psycopg.Connection[Any], form: str) -> None:
    owner.execute("SELECT dp.rename_column('event', 'party', 'Party')")
    owner.execute("SELECT dp.rename_column('event', 'at', 'UpdatedAt')")
    if form == "slice":
        owner.execute("SELECT dp.rename_column('event', 'at_slice', 'Slice')")
    create_slices(owner, "2025-03-01", "2025-05-01")
    key = "UpdatedAt" if form == "exact" else "Slice"
    value = "2025-01-05 00:00+00" if form == "exact" else "2025-01-01"
    owner.execute(f"INSERT INTO item (id, event_id, \"Party\", \"{key}\") VALUES (1, 7, 'p7', '{value}')")  # type: ignore[call-overload]
    owner.execute("UPDATE event SET \"UpdatedAt\" = '2025-04-09 00:00+00' WHERE id = 7")
    assert owner.execute("SELECT tableoid::regclass::text FROM item").fetchall()[0][0].startswith("item_2025_04")
    owner.execute("CALL dp.run_maintenance('event')")
    rows = call(owner, "SELECT dp.check", "event")
    assert [row[1] for row in rows if row[0] == "error"] == []
    assert drift(owner) == []


REFUSED = {
    "dp.drop_column('event', 'party')": "42P16",
    "dp.drop_column('item', 'event_id')": "42P16",
    "dp.drop_column('event', 'at')": "42P16",
    "dp.alter_column_type('event', 'at', 'timestamp')": "42P16",
    "dp.alter_column_type('item', 'party', 'varchar')": "42P16",
    "dp.drop_not_null('event', 'party')": "42P16",
    "dp.add_constraint('event', 'u', 'UNIQUE (body)')": "42P16",
    "dp.create_index('event', 'u', '(lower(body))', is_unique => true)": "42P16",
    "dp.add_constraint('item', 'f', 'FOREIGN KEY (id, {key}, party) REFERENCES event')": "42P16",
    "dp.drop_constraint('event', 'event_pkey')": "42P16",
    "dp.drop_constraint('item', 'item_event_id_fkey')": "42P16",
    "dp.drop_index('event', 'event_pkey')": "42P16",
    "dp.add_column('event', 'body', 'int')": "42701",
    "dp.add_column('event', 'x', 'no_such_type')": "42704",
    "dp.add_column('event', 'x', 'int; DROP TABLE item')": "22023",
    "dp.add_column('event', 'x', 'int', default_value => '1', generated => 'kind')": "22023",
    "dp.add_column('event', 'x', 'int', identity => 'sometimes')": "22023",
    "dp.add_column('event', 'x', 'int', not_null => true)": "23502",
    "dp.add_column('shared', 'x', 'int')": "42704",
    "dp.add_column('event_2025_01_h00', 'x', 'int')": "42704",
    "dp.add_column(NULL, 'x', 'int')": "42704",
    "dp.set_default('event', 'none', '1')": "42703",
    "dp.set_not_null('event', 'body')": "23502",
    "dp.rename_column('event', 'none', 'other')": "42703",
    "dp.add_constraint('event', 'c', 'kind > 0')": "22023",
    "dp.add_constraint('event', 'c', 'CHECK (kind > 0) NOT VALID; SELECT 1')": "22023",
    "dp.add_constraint('event', 'c', 'CHECK (kind > 7)')": "23514",
    "dp.set_storage('event', '{{\"nonsense\": 1}}')": "22023",
    "dp.set_storage('event', '[1]')": "22023",
    "dp.set_storage('event', '{{}}')": "22023",
    "dp.alter_table('event', 'ADD COLUMN x int')": "22023",
    "dp.alter_table('event', 'DETACH PARTITION event_2025_01')": "22023",
    "dp.alter_table('event', 'OWNER TO stranger')": "22023",
    "dp.alter_table('event', 'nonsense')": "42601",
    "dp.alter_table('event', 'RENAME party TO p')": "22023",
    "dp.alter_table('item', 'DROP event_id')": "22023",
    "dp.alter_table('item', 'ADD FOREIGN KEY (event_id) REFERENCES event')": "22023",
    "dp.alter_table('event', 'ALTER kind SET DEFAULT 1, DROP CONSTRAINT event_pkey')": "22023",
    "dp.add_column('event', 'x', 'int, DROP COLUMN kind')": "22023",
    "dp.add_constraint('event', 'c', 'CHECK (true), DROP COLUMN kind')": "22023",
    "dp.set_default('event', 'kind', '1, DROP COLUMN body')": "22023",
    "dp.add_column('event', 'x', 'bigserial')": "22023",
    "dp.add_column('event', 'x', NULL)": "22023",
    "dp.add_column('event', 'kind', 'int', not_null => NULL)": "22023",
    "dp.set_storage('event', NULL)": "22023",
    "dp.create_index('event', NULL, '(id)')": "22023",
    "dp.rename_column('event', 'kind', NULL)": "22023",
    "dp.drop_column('event', NULL)": "22023",
    "dp.set_default('event', 'kind', NULL)": "22023",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_is_refused_changes_nothing(db: Database, owner: psycopg.Connection[Any], form: str, change: str) -> None:
    before = catalogs.picture(db)
    with pytest.raises(psycopg.Error) as caught:
        owner.execute(f"SELECT {text_of(change, form)}")  # type: ignore[call-overload]
    assert caught.value.sqlstate == REFUSED[change], caught.value
    if caught.value.sqlstate in ("42P16", "22023", "42701") and "unrecognized parameter" not in str(caught.value):
        assert caught.value.diag.message_detail
        assert caught.value.diag.message_hint
    assert catalogs.difference(before, catalogs.picture(db)) == {}


def test_a_migration_is_one_transaction(db: Database, owner: psycopg.Connection[Any]) -> None:
    before = catalogs.picture(db)
    owner.execute("BEGIN")
    owner.execute("SELECT dp.add_column('event', 'a', 'int', default_value => '7')")
    owner.execute("SELECT dp.create_index('event', 'event_a', '(a)')")
    owner.execute("SELECT dp.set_not_null('event', 'a')")
    assert owner.execute("SELECT DISTINCT a FROM event").fetchall() == [(7,)]
    owner.execute("ROLLBACK")
    assert catalogs.difference(before, catalogs.picture(db)) == {}
    owner.execute(
        "DO $$ BEGIN PERFORM dp.add_column('event', 'a', 'int'); PERFORM dp.add_column('event', 'a', 'int'); END $$"
    )
    assert drift(owner) == []


def test_names_in_sql_are_the_callers(owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE SCHEMA other; CREATE TYPE other.size AS ENUM ('s', 'm'); CREATE TYPE other.mood AS (a int)")
    owner.execute("SET search_path = other, public")
    owner.execute("SELECT dp.add_column('event', 'size', 'size', default_value => '''s''::size')")
    owner.execute("SELECT dp.add_column('event', 'm', 'mood')")
    owner.execute("SELECT dp.add_column('event', 'p', 'mood', search_path => 'public')")
    assert owner.execute("SHOW search_path").fetchone() == ("other, public",)
    assert types(owner, "size", "^event(_2025|$)") == {"size"}
    assert types(owner, "m", "^event(_2025|$)") == {"mood"}
    assert types(owner, "p", "^event(_2025|$)") == {"public.mood"}
    assert drift(owner) == []


def test_a_stranger_changes_nothing_and_a_superuser_works_as_the_owner(
    db: Database, owner: psycopg.Connection[Any]
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect("stranger").execute("SELECT dp.add_column('event', 'x', 'int')")
    db.connect("postgres").execute(
        "SELECT dp.create_index('event', 'by_super', '(body)'), dp.add_column('event', 'm', 'mood')"
    )
    owners = owner.execute("SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relname ~ '^event|by_super'")
    assert owners.fetchall() == [("owner",)]
    assert drift(owner) == []


def test_the_error_names_a_reader_in_the_way_and_the_next_call_succeeds(
    db: Database, owner: psycopg.Connection[Any]
) -> None:
    owner.execute("SELECT dp.configure('event', lock_timeout => '50 ms')")
    reader = db.connect()
    reader.execute("BEGIN; SELECT count(*) FROM event_2025_02_h01")
    with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
        owner.execute("SELECT dp.add_column('event', 'x', 'int')")
    assert f"process {reader.info.backend_pid}" in str(caught.value.diag.message_detail)
    reader.execute("COMMIT")
    owner.execute("SELECT dp.add_column('event', 'x', 'int')")
    assert drift(owner) == []


def test_a_constraint_that_a_leaf_has_otherwise_is_refused_as_a_whole(
    db: Database, owner: psycopg.Connection[Any]
) -> None:
    owner.execute("ALTER TABLE event_2025_02_h01 ADD CONSTRAINT positive CHECK (kind > 5)")
    before = catalogs.picture(db)
    with pytest.raises(psycopg.Error):
        owner.execute("SELECT dp.add_constraint('event', 'positive', 'CHECK (kind > 0)')")
    assert catalogs.difference(before, catalogs.picture(db)) == {}


def test_statistics_of_a_column_are_those_that_were_asked_for(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SELECT dp.alter_table('event', 'ALTER COLUMN body SET STATISTICS 500')")
    rows = owner.execute(
        "SELECT DISTINCT a.attstattarget FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relname ~ '^event(_2025_.*h..|_template|$)' AND c.relkind IN ('r', 'p') AND a.attname = 'body'"
    )
    assert rows.fetchall() == [(500,)]


def test_a_child_s_own_column_is_no_key_though_the_root_s_range_key_has_its_name(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE d (id int PRIMARY KEY, updated_at timestamptz NOT NULL, party text NOT NULL);"
        "CREATE TABLE a (id int PRIMARY KEY, d_id int NOT NULL REFERENCES d, updated_at timestamptz);"
        "SELECT dp.create_hierarchy('d', 'updated_at', 'party', key_form => 'slice', hash_partitions => 1);"
        "SELECT dp.register_child('a', 'd')"
    )
    owner.execute("SELECT dp.rename_column('a', 'updated_at', 'changed_at')")
    assert db.value("SELECT range_key FROM dp.hierarchy") == "updated_at"
    owner.execute("SELECT dp.alter_column_type('a', 'changed_at', 'timestamp'), dp.drop_column('a', 'changed_at')")
    create_slices(owner, "2025-01-01", "2025-02-01", "d")
    owner.execute("INSERT INTO d VALUES (1, '2025-01-05', 'p', '2025-01-01')")
    owner.execute("UPDATE d SET updated_at = '2025-01-06'")
