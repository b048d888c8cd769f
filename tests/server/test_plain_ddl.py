"""Plain DDL on a managed table is carried to its template and partitions, or refused where it would break them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import call, create_slices

Connection = psycopg.Connection[Any]

ROOT = '"Sch ema"."We ""ird.Täble"'
CHILD = '"Sch ema".item'
TABLES = f"""
CREATE SCHEMA "Sch ema";
CREATE TABLE {ROOT} ("I d" bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, body text, kind int);
CREATE TABLE {CHILD} (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES {ROOT} ON DELETE CASCADE, note text);
CREATE INDEX item_parent ON {CHILD} (parent);
"""


def declare(db: Database, form: str = "exact", **options: object) -> Connection:
    """The hierarchy with slices of two months, in a session whose search_path, time zone and DateStyle are unusual."""
    db.begin_with(prepare, form, *options.items())
    return connect(db)


def connect(db: Database) -> Connection:
    return db.connect(search_path="pg_catalog", timezone="Asia/Kathmandu", datestyle="German")


def prepare(db: Database, form: str, *options: tuple[str, object]) -> None:
    """Make that hierarchy."""
    owner = connect(db)
    owner.execute(TABLES)
    call(owner, "SELECT dp.create_hierarchy", ROOT, "at", "party", hash_partitions=2, key_form=form, **dict(options))
    call(owner, "SELECT dp.register_child", CHILD, ROOT)
    create_slices(owner, "2025-01-01", "2025-03-01", ROOT)


def relations(owner: Connection, table: str = ROOT) -> dict[str, str]:
    """A leaf that was there, its slice, a leaf that was made afterwards, and the template."""
    create_slices(owner, "2025-03-01", "2025-04-01", ROOT)
    rows = owner.execute(
        "SELECT slice::text, leaf::text FROM dp.leaf WHERE tbl = %s::regclass AND remainder = 0 ORDER BY slice::text",
        [table],
    ).fetchall()
    template = owner.execute("SELECT template::text FROM dp.table_config WHERE tbl = %s::regclass", [table]).fetchone()
    assert template is not None
    return {"slice": rows[0][0], "leaf": rows[0][1], "new leaf": rows[-1][1], "template": template[0]}


def drift(owner: Connection) -> list[tuple[Any, ...]]:
    return call(owner, "SELECT dp.drift")


def holds(owner: Connection, check: str, relation: str) -> bool:
    row = owner.execute(check.replace("{r}", "%(r)s::regclass"), {"r": relation}).fetchone()  # type: ignore[call-overload]
    return row is not None and bool(row[0])


_ATTRIBUTE = "SELECT {what} FROM pg_attribute WHERE attrelid = {{r}} AND attname = '{column}'"


def attribute(what: str, column: str) -> str:
    return _ATTRIBUTE.format(what=what, column=column)


LEAVES, TEMPLATE = ("leaf", "new leaf"), ("leaf", "new leaf", "template")
EVERYWHERE = ("slice", "leaf", "new leaf")
WHOLE = ("tree", "template")
# A command, and what is to be seen afterwards, on which relations.
CARRIED: dict[str, tuple[str, tuple[str, ...]]] = {
    "ALTER TABLE {t} ADD COLUMN more int NOT NULL DEFAULT 7": (attribute("attnotnull", "more"), LEAVES),
    'ALTER TABLE {t} ADD COLUMN more varchar(9) COLLATE "C"': (attribute("atttypmod = 13", "more"), TEMPLATE),
    "ALTER TABLE {t} ADD COLUMN twice int GENERATED ALWAYS AS (kind * 2) STORED": (
        attribute("attgenerated = 's'", "twice"),
        LEAVES,
    ),
    "ALTER TABLE {t} DROP COLUMN body": (
        "SELECT NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = {r} AND attname = 'body')",
        TEMPLATE,
    ),
    "ALTER TABLE {t} RENAME COLUMN body TO content": (attribute("true", "content"), TEMPLATE),
    "ALTER TABLE {t} ALTER COLUMN kind TYPE bigint": (attribute("atttypid = 'bigint'::regtype", "kind"), TEMPLATE),
    "ALTER TABLE {t} ALTER COLUMN kind SET DEFAULT 5": (attribute("atthasdef", "kind"), LEAVES),
    "ALTER TABLE {t} ALTER COLUMN kind SET NOT NULL": (attribute("attnotnull", "kind"), LEAVES),
    "ALTER TABLE {t} ADD CONSTRAINT positive CHECK (kind > 0)": (
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = {r} AND conname = 'positive')",
        EVERYWHERE,
    ),
    'ALTER TABLE {t} ADD CONSTRAINT once UNIQUE (kind, at, party, "at_slice")': (
        "SELECT count(*) = 2 FROM pg_index WHERE indrelid = {r} AND indisunique",
        LEAVES,
    ),
    "CREATE INDEX ON {t} (kind)": ("SELECT count(*) = 2 FROM pg_index WHERE indrelid = {r}", LEAVES),
    "ALTER TABLE {t} ALTER COLUMN body SET STATISTICS 77": (attribute("attstattarget = 77", "body"), TEMPLATE),
    "ALTER TABLE {t} ALTER COLUMN body SET (n_distinct = -0.5)": (
        attribute("'n_distinct=-0.5' = ANY (attoptions)", "body"),
        TEMPLATE,
    ),
    "ALTER TABLE {t} ALTER COLUMN body SET COMPRESSION pglz": (attribute("attcompression = 'p'", "body"), LEAVES),
    "ALTER TABLE {t} ALTER COLUMN body SET STORAGE EXTERNAL": (attribute("attstorage = 'e'", "body"), LEAVES),
    "ALTER TABLE {t} REPLICA IDENTITY FULL": ("SELECT relreplident = 'f' FROM pg_class WHERE oid = {r}", LEAVES),
    "CREATE STATISTICS public.pair ON party, kind FROM {t}": (
        "SELECT EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = {r})",
        LEAVES,
    ),
    "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY": ("SELECT relrowsecurity FROM pg_class WHERE oid = {r}", EVERYWHERE),
    "ALTER TABLE {t} FORCE ROW LEVEL SECURITY": (
        "SELECT relforcerowsecurity FROM pg_class WHERE oid = {r}",
        EVERYWHERE,
    ),
    "CREATE POLICY own ON {t} TO reader USING (kind > 1)": (
        "SELECT EXISTS (SELECT FROM pg_policy WHERE polrelid = {r} AND polname = 'own')",
        EVERYWHERE,
    ),
    "GRANT SELECT, INSERT ON {t} TO reader WITH GRANT OPTION": (
        "SELECT has_table_privilege('reader', {r}, 'INSERT WITH GRANT OPTION')",
        EVERYWHERE,
    ),
    "GRANT UPDATE (body) ON ALL TABLES IN SCHEMA public TO reader; GRANT UPDATE (body) ON {t} TO reader": (
        "SELECT has_column_privilege('reader', {r}, 'body', 'UPDATE')",
        EVERYWHERE,
    ),
    "COMMENT ON TABLE {t} IS 'it''s {mine}'": ("SELECT obj_description({r}) = 'it''s {mine}'", EVERYWHERE),
    "COMMENT ON COLUMN {t}.body IS 'text'": (
        "SELECT col_description({r}, (SELECT attnum FROM pg_attribute WHERE attrelid = {r} AND attname = 'body'))"
        " = 'text'",
        EVERYWHERE,
    ),
    "ALTER TABLE {t} DISABLE TRIGGER nothing": (
        "SELECT tgenabled = 'D' FROM pg_trigger WHERE tgrelid = {r} AND tgname = 'nothing'",
        EVERYWHERE,
    ),
    "ALTER TABLE {t} OWNER TO heir": ("SELECT relowner = 'heir'::regrole FROM pg_class WHERE oid = {r}", WHOLE),
    "ALTER TABLE {t} SET SCHEMA public": (
        "SELECT relnamespace = 'public'::regnamespace FROM pg_class WHERE oid = {r}",
        WHOLE,
    ),
}


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("command", CARRIED)
def test_plain_ddl_reaches_partitions_old_and_new_and_the_template(db: Database, form: str, command: str) -> None:
    owner = declare(db, form)
    owner.execute(
        "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        f"CREATE TRIGGER nothing BEFORE INSERT ON {ROOT} FOR EACH ROW EXECUTE FUNCTION public.nothing()"
    )
    text = command.replace("{t}", ROOT).replace('"at_slice"', "at" if form == "exact" else "at_slice")
    text = text.replace("(kind, at, party, at)", "(kind, at, party)")
    check, places = CARRIED[command]
    if "heir" in command:  # the owner may give the tables to it
        admin = db.connect("postgres")
        admin.execute("DROP ROLE IF EXISTS heir; CREATE ROLE heir; GRANT heir TO owner")
        admin.execute('GRANT ALL ON SCHEMA public, "Sch ema" TO heir')
    owner.execute(text)  # type: ignore[call-overload]
    assert drift(owner) == []
    if places == WHOLE:
        assert_whole_tree(owner, check, 'public."We ""ird.Täble"' if "SCHEMA public" in text else ROOT)
        return
    found = relations(owner)
    assert drift(owner) == [], "a new leaf has it from the start"
    assert {place: holds(owner, check, found[place]) for place in places} == dict.fromkeys(places, True)


def assert_whole_tree(owner: Connection, check: str, table: str) -> None:
    """Of every partition, and of the template."""
    tree = owner.execute("SELECT relid::text FROM pg_partition_tree(%s::regclass)", [table]).fetchall()
    template = owner.execute("SELECT template::text FROM dp.table_config WHERE tbl = %s::regclass", [table]).fetchall()
    assert len(tree) == 7
    assert [name for (name,) in tree + template if not holds(owner, check, name)] == []


BREAKING = {
    "ALTER TABLE {t} RENAME COLUMN party TO p": "is a key",
    "ALTER TABLE {c} RENAME COLUMN at TO moment": "is a key",
    "ALTER TABLE {c} DROP CONSTRAINT item_parent_fkey": "orphans are accepted",
    'DROP INDEX "Sch ema".item_parent': "reads all of the table",
    "ALTER TABLE {c} RENAME COLUMN at_slice TO moment": "is a key",
    "ALTER TABLE {t} RENAME COLUMN at TO moment": "is a key",
    'ALTER TABLE {t} DROP CONSTRAINT "We ""ird.Täble_slice_key_check"': "CHECK of the slice key",
    'DROP TRIGGER "We ""ird.Täble_set_slice_key" ON {t}': "trigger of the slice key",
    'ALTER TABLE {t} DISABLE TRIGGER "We ""ird.Täble_set_slice_key"': "trigger of the slice key",
}


@pytest.mark.parametrize("command", BREAKING)
def test_what_would_break_the_hierarchy_is_refused_unless_told_otherwise(db: Database, command: str) -> None:
    owner = declare(db, "exact" if "{c} RENAME COLUMN at TO" in command else "slice")
    text = command.replace("{t}", ROOT).replace("{c}", CHILD)
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="would break the hierarchy") as caught:
        owner.execute(text)  # type: ignore[call-overload]
    assert BREAKING[command] in str(caught.value.diag.message_detail)
    assert "dp.propagate_ddl = off" in str(caught.value.diag.message_hint)
    owner.execute("SET dp.propagate_ddl = off")
    owner.execute(text)  # type: ignore[call-overload]


def test_an_index_that_is_replaced_may_go(db: Database) -> None:
    owner = declare(db)
    owner.execute(f"CREATE INDEX other ON {CHILD} (parent, note)")
    owner.execute('DROP INDEX "Sch ema".item_parent')


def test_a_foreign_key_that_is_declared_anew_in_one_command_may_go(db: Database) -> None:
    owner = declare(db)
    definition = owner.execute(
        f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{CHILD}'::regclass AND contype = 'f'"
        " AND conparentid = 0"
    ).fetchone()
    assert definition is not None
    owner.execute(
        f"ALTER TABLE {CHILD} DROP CONSTRAINT item_parent_fkey, ADD CONSTRAINT renewed {definition[0]} DEFERRABLE"  # type: ignore[arg-type]
    )
    owner.execute(f"ALTER TABLE {CHILD} RENAME CONSTRAINT renewed TO again")


def test_what_differs_on_purpose_is_left_alone(db: Database) -> None:
    owner = declare(db)
    leaf = relations(owner)["leaf"]
    owner.execute(f"ALTER TABLE {leaf} SET (fillfactor = 50); COMMENT ON TABLE {leaf} IS 'mine'")  # type: ignore[arg-type]
    before = drift(owner)
    assert len(before) == 2
    owner.execute(f"ALTER TABLE {ROOT} ADD COLUMN more int; GRANT SELECT ON {ROOT} TO reader")
    owner.execute(f"COMMENT ON COLUMN {ROOT}.body IS 'text'")
    assert drift(owner) == before


def test_it_is_switched_by_a_setting_or_for_a_hierarchy(db: Database) -> None:
    owner = declare(db)
    owner.execute("SET dp.propagate_ddl = off")
    owner.execute(f"COMMENT ON TABLE {ROOT} IS 'one'")
    assert {row[2] for row in drift(owner)} == {"comment"}
    owner.execute("RESET dp.propagate_ddl")
    owner.execute(f"COMMENT ON TABLE {ROOT} IS 'two'")
    assert drift(owner) == []
    call(owner, "SELECT dp.configure", ROOT, propagate_ddl=False)
    assert owner.execute("SELECT propagate_ddl FROM dp.hierarchy").fetchall() == [(False,)]
    owner.execute(f"COMMENT ON TABLE {ROOT} IS 'three'; ALTER TABLE {CHILD} DROP CONSTRAINT item_parent_fkey")
    assert {row[2] for row in drift(owner)} == {"comment"}


def test_a_setting_that_is_neither_on_nor_off_is_named(db: Database) -> None:
    owner = declare(db)
    owner.execute("SET dp.propagate_ddl = 'perhaps'")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r'"dp\.propagate_ddl": "perhaps"'):
        owner.execute(f"COMMENT ON TABLE {ROOT} IS 'one'")


def test_a_rolled_back_command_leaves_nothing_and_the_next_is_carried(db: Database) -> None:
    owner = declare(db)
    owner.execute("BEGIN; SAVEPOINT a")
    owner.execute(f"COMMENT ON TABLE {ROOT} IS 'one'; ROLLBACK TO a")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        owner.execute(f"ALTER TABLE {ROOT} DROP COLUMN absent")
    owner.execute("ROLLBACK TO a")
    owner.execute(f"GRANT SELECT ON {ROOT} TO reader; COMMIT")
    assert drift(owner) == []
    leaf = relations(owner)["leaf"]
    assert holds(owner, "SELECT has_table_privilege('reader', {r}, 'SELECT')", leaf)
    assert not holds(owner, "SELECT obj_description({r}) IS NOT NULL", leaf)


def test_a_migration_in_a_do_block_is_carried(db: Database) -> None:
    owner = declare(db)
    owner.execute(
        f"DO $$ BEGIN ALTER TABLE {ROOT} ADD COLUMN a int; ALTER TABLE {CHILD} RENAME COLUMN note TO remark;"
        f" EXECUTE 'COMMENT ON COLUMN {ROOT}.a IS ''new'''; END $$"
    )
    assert drift(owner) == []


def test_a_column_and_its_statistics_target_in_one_command(db: Database) -> None:
    owner = declare(db)
    owner.execute(f"ALTER TABLE {ROOT} ADD COLUMN more text, ALTER COLUMN more SET STATISTICS 55")  # type: ignore[call-overload]
    found = relations(owner)
    check = attribute("attstattarget = 55", "more")
    assert {place: holds(owner, check, found[place]) for place in TEMPLATE} == dict.fromkeys(TEMPLATE, True)
    assert drift(owner) == []


def test_statistics_that_are_dropped_are_dropped_on_the_leaves(db: Database) -> None:
    owner = declare(db)
    owner.execute(f"CREATE STATISTICS public.pair ON party, kind FROM {ROOT}")  # type: ignore[call-overload]
    owner.execute(f"CREATE STATISTICS public.own ON body, kind FROM {relations(owner)['leaf']}")  # type: ignore[call-overload]
    owner.execute("DROP STATISTICS public.pair")
    names = owner.execute("SELECT stxname FROM pg_statistic_ext").fetchall()
    assert names == [("own",)], "a leaf's own stays"


def test_a_renamed_column_takes_its_statistics_target_along_in_the_template(db: Database) -> None:
    owner = declare(db)
    owner.execute(f"ALTER TABLE {ROOT} ALTER COLUMN body SET STATISTICS 99, ALTER COLUMN body SET (n_distinct = 5)")
    owner.execute(f"ALTER TABLE {ROOT} RENAME COLUMN body TO content")
    found = relations(owner)
    check = attribute("attstattarget = 99 AND 'n_distinct=5' = ANY (attoptions)", "content")
    assert {place: holds(owner, check, found[place]) for place in TEMPLATE} == dict.fromkeys(TEMPLATE, True)
    assert drift(owner) == []


def test_a_renamed_table_is_followed(db: Database) -> None:
    owner = declare(db, "slice")
    owner.execute(f"ALTER TABLE {ROOT} RENAME TO renamed")
    create_slices(owner, "2025-03-01", "2025-04-01", '"Sch ema".renamed')
    owner.execute(
        "INSERT INTO \"Sch ema\".renamed (\"I d\", at, at_slice, party) VALUES (1, '2025-01-15', '2025-01-01', 'a')"
    )
    owner.execute("UPDATE \"Sch ema\".renamed SET at = '2025-03-03 12:00+00'")
    row = owner.execute('SELECT tableoid::regclass::text FROM "Sch ema".renamed').fetchone()
    assert row is not None
    assert "renamed_2025_03" in row[0]
    wrong = {row[1] for row in call(owner, "SELECT dp.check", '"Sch ema".renamed') if row[0] == "error"}
    assert wrong == {"missing current slice"}


def test_other_tables_and_other_roles_are_not_disturbed(db: Database) -> None:
    declare(db)
    admin = db.connect("postgres")
    admin.execute("REVOKE USAGE ON SCHEMA dp FROM PUBLIC; GRANT CREATE ON SCHEMA public TO stranger")
    stranger = db.connect("stranger")
    stranger.execute("CREATE TABLE own (a int); ALTER TABLE own ADD COLUMN b int; COMMENT ON TABLE own IS 'x'")
    stranger.execute("GRANT SELECT ON own TO reader; CREATE INDEX own_a ON own (a); DROP INDEX own_a; DROP TABLE own")


def test_a_superuser_changes_the_owners_tables_as_the_owner(db: Database) -> None:
    owner = declare(db)
    admin = db.connect("postgres")
    admin.execute(f"GRANT SELECT ON {ROOT} TO stranger; CREATE POLICY p ON {ROOT} USING (true)")
    admin.execute(f'CREATE STATISTICS "Sch ema".pair ON party, kind FROM {ROOT}')
    assert drift(owner) == []
    owners = "SELECT DISTINCT pg_get_userbyid(stxowner) FROM pg_statistic_ext WHERE stxname <> 'pair'"
    assert admin.execute(owners).fetchall() == [("owner",)]


def test_a_superuser_does_not_run_what_the_owner_wrote(db: Database) -> None:
    owner = declare(db)
    owner.execute(
        "CREATE FUNCTION public.spy(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';"
        f"CREATE INDEX ON {ROOT} (public.spy(kind))"
    )
    told: list[str] = []
    admin = db.connect("postgres")
    admin.add_notice_handler(lambda notice: told.append(f"{notice.severity}: {notice.message_primary}"))
    admin.execute(f"GRANT SELECT ON {ROOT} TO stranger")
    assert [text[:45] for text in told] == ["WARNING: the change was not carried to the pa"]
    assert {row[2] for row in drift(owner)} == {"privileges"}
    call(owner, "CALL dp.sync", ROOT)
    assert drift(owner) == []


def test_while_another_call_is_at_work_the_command_is_refused_and_changes_nothing(db: Database) -> None:
    owner = declare(db)
    other = db.connect()
    other.execute("BEGIN")
    call(other, "SELECT dp.configure", ROOT, premake=9)
    with pytest.raises(psycopg.errors.ObjectInUse, match="another session works on the hierarchy"):
        owner.execute(f"GRANT SELECT ON {ROOT} TO reader")
    owner.execute(f"CREATE INDEX ON {ROOT} (kind)")  # PostgreSQL carries that itself
    other.execute("ROLLBACK")
    assert drift(owner) == []
    assert not holds(owner, "SELECT has_table_privilege('reader', {r}, 'SELECT')", ROOT)


def test_a_change_of_one_partition_is_noticed(db: Database) -> None:
    owner = declare(db)
    leaf = relations(owner)["leaf"]
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    owner.execute(f"ALTER TABLE {leaf} SET (fillfactor = 50)")  # type: ignore[arg-type]
    owner.execute(f"ALTER TABLE {ROOT} ADD COLUMN more int")
    assert told == [f"{leaf} was changed alone"]
    assert [row[2] for row in drift(owner)] == ["storage parameter"]


def test_rows_are_not_written_anew_by_the_way(db: Database) -> None:
    owner = declare(db)
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    admin = db.connect("postgres")
    admin.execute("SET allow_in_place_tablespaces = on")
    admin.execute("CREATE TABLESPACE plain_ddl OWNER owner LOCATION ''")
    try:
        owner.execute(f"ALTER TABLE {ROOT} SET TABLESPACE plain_ddl")
        assert [text for text in told if "keep their tablespace" in text]
        assert {row[2] for row in drift(owner)} == {"tablespace"}
        call(owner, "CALL dp.sync", ROOT, rewrite=True)
        assert drift(owner) == []
        call(owner, "SELECT dp.forget", ROOT)
        owner.execute(f"DROP TABLE {CHILD}; DROP TABLE {ROOT} CASCADE")
    finally:
        db.connect("postgres").execute("DROP TABLESPACE plain_ddl")


def test_a_restored_database_has_policies_statistics_and_privileges_once(db: Database) -> None:
    owner = declare(db)
    owner.execute(f"CREATE POLICY p ON {ROOT} USING (true); GRANT SELECT ON {ROOT} TO reader")
    owner.execute(f"CREATE STATISTICS \"Sch ema\".pair ON party, kind FROM {ROOT}; COMMENT ON TABLE {ROOT} IS 'x'")
    name = f"{db.name}_restored"
    with db.server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER owner")
    restored = Database(db.server, name)
    try:
        db.server.psql(name, db.server.pg_dump(db.name))
        assert drift(restored.connect()) == []
    finally:
        restored.drop()
