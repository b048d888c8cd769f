"""What a hierarchy rests on is not lost: neither by plain DDL of whatever kind, nor by the functions for DDL."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import call, create_slices

Connection = psycopg.Connection[Any]

ROOT = '"Sch ema"."We ""ird"'
CHILD = '"Sch ema".item'
SIDE = '"Sch ema"."We ""ird_I d_global"'
SLICE = '"Sch ema"."We ""ird_2025_01"'
TABLES = f"""
CREATE SCHEMA "Sch ema";
CREATE TABLE {ROOT} ("I d" bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, body text, kind int);
CREATE TABLE {CHILD} (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES {ROOT} ON DELETE CASCADE, note text);
CREATE INDEX item_parent ON {CHILD} (parent);
"""


@pytest.fixture
def owner(db: Database) -> Connection:
    db.begin_with(prepare)
    return connect(db)


def connect(db: Database) -> Connection:
    return db.connect(search_path="pg_catalog", timezone="Asia/Kathmandu", datestyle="German")


def prepare(db: Database) -> None:
    owner = connect(db)
    owner.execute(TABLES)
    call(owner, "SELECT dp.create_hierarchy", ROOT, "at", "party", hash_partitions=2, key_form="slice")
    call(owner, "SELECT dp.register_child", CHILD, ROOT)
    create_slices(owner, "2025-01-01", "2025-03-01", ROOT)
    owner.execute("SELECT dp.create_global_index(%s, '{\"I d\"}')", [ROOT])


def written(text: str) -> str:
    return text.replace("{t}", ROOT).replace("{c}", CHILD).replace("{side}", SIDE).replace("{slice}", SLICE)


def errors_found(owner: Connection) -> set[str]:
    rows = owner.execute("SELECT finding FROM dp.check(%s) WHERE severity = 'error'", [ROOT]).fetchall()
    return {name for (name,) in rows} - {"missing current slice"}


# An action of dp.alter_table, and what the error says.
ACTIONS = {
    "DISABLE TRIGGER USER": "of the slice key",
    'DISABLE TRIGGER "We ""ird_set_slice_key"': "of the slice key",
    'DISABLE TRIGGER "We ""ird_I d_global_insert"': "keeps a global index true",
    'ALTER COLUMN "I d" TYPE numeric': "is part of a foreign key inside",
    "ALTER COLUMN at_slice DROP DEFAULT": "is the slice key",
    "ALTER COLUMN at_slice SET DEFAULT '2025-01-01'": "is the slice key",
}


@pytest.mark.parametrize("dry_run", [False, True])
def test_alter_table_refuses_what_plain_ddl_is_refused(owner: Connection, dry_run: bool) -> None:
    for action, told in ACTIONS.items():
        with pytest.raises(psycopg.errors.InvalidTableDefinition, match=r"dp\.alter_table would break") as caught:
            owner.execute("SELECT dp.alter_table(%s, %s, dry_run => %s)", [ROOT, action, dry_run])
        assert told in str(caught.value.diag.message_detail), action
        assert "plain command" in str(caught.value.diag.message_hint)
        with pytest.raises(psycopg.errors.InvalidTableDefinition, match="would break"):
            owner.execute(f"ALTER TABLE {ROOT} {action}")  # type: ignore[arg-type]
    assert errors_found(owner) == set()


def test_the_type_of_a_column_of_an_inside_foreign_key_stays(owner: Connection) -> None:
    action = "ALTER COLUMN parent TYPE int"
    for text in (f"SELECT dp.alter_table('{CHILD}', '{action}')", f"ALTER TABLE {CHILD} {action}"):
        with pytest.raises(psycopg.errors.InvalidTableDefinition) as caught:
            owner.execute(text)  # type: ignore[call-overload]
        assert '"parent" of "Sch ema".item is part of a foreign key' in str(caught.value.diag.message_detail)
    owner.execute(f"ALTER TABLE {CHILD} RENAME COLUMN parent TO belongs_to")
    assert errors_found(owner) == set()


def test_other_actions_are_not_refused(owner: Connection) -> None:
    owner.execute("SELECT dp.alter_table(%s, 'ALTER COLUMN body SET STATISTICS 50')", [ROOT])
    owner.execute("SELECT dp.alter_table(%s, 'ALTER COLUMN kind TYPE bigint')", [ROOT])
    assert errors_found(owner) == set()


def test_the_only_index_of_a_cascade_is_not_dropped(owner: Connection) -> None:
    for name in ("SELECT dp.drop_index", "CALL dp.drop_index_concurrently"):
        for dry_run in (False, True):
            with pytest.raises(psycopg.errors.InvalidTableDefinition) as caught:
                owner.execute(f"{name}('{CHILD}', 'item_parent', dry_run => {dry_run})")  # type: ignore[call-overload]
            assert "reads all of the table" in str(caught.value.diag.message_detail)
    owner.execute(f"CREATE INDEX other ON {CHILD} (parent, note)")
    owner.execute(f"SELECT dp.drop_index('{CHILD}', 'item_parent')")
    assert errors_found(owner) == set()


# Plain DDL, and what the error says.
REFUSED = {
    'DROP FUNCTION "Sch ema"."We ""ird_set_slice_key"() CASCADE': "trigger of the slice key",
    "DROP FUNCTION {side}() CASCADE": "keeps a global index true",
    "DROP TABLE {side}": "is a global index",
    'ALTER TABLE {side} DROP CONSTRAINT "We ""ird_I d_global_key"': "finds its entries by its key",
    "ALTER TABLE {side} RENAME TO other": "is a global index",
    "ALTER TABLE {c} ALTER COLUMN party DROP NOT NULL": "row without it has no place",
    "ALTER TABLE {t} ALTER COLUMN at_slice DROP DEFAULT": "is the slice key",
    "ALTER TABLE {t} ALTER COLUMN at_slice SET DEFAULT '2025-01-01'": "is the slice key",
    "DROP TABLE {slice} CASCADE": "would keep the entries",
    "DROP TABLE {template}": "are made like its template",
}


def test_plain_ddl_that_takes_away_what_the_hierarchy_rests_on_is_refused(owner: Connection) -> None:
    row = owner.execute("SELECT template::text FROM dp.table_config WHERE tbl = %s::regclass", [ROOT]).fetchone()
    assert row is not None
    owner.execute(f"ALTER TABLE {CHILD} DROP CONSTRAINT item_pkey")  # whose columns would be NOT NULL by it
    for command, told in REFUSED.items():
        text = written(command).replace("{template}", row[0])
        with pytest.raises(psycopg.errors.InvalidTableDefinition, match="would break the hierarchy") as caught:
            owner.execute(text)  # type: ignore[call-overload]
        assert told in str(caught.value.diag.message_detail), command
        owner.execute(f"BEGIN; SET LOCAL dp.propagate_ddl = off; {text}; ROLLBACK")  # type: ignore[call-overload]
    assert errors_found(owner) == set()


def test_whole_tables_and_what_is_not_needed_may_go(owner: Connection) -> None:
    owner.execute(
        "CREATE TABLE public.other (a int); DROP TABLE public.other; DROP FUNCTION IF EXISTS public.nothing()"
    )
    owner.execute(f"SELECT dp.drop_global_index('{SIDE}')")
    owner.execute(f"DROP TABLE {CHILD}")
    owner.execute(f"DROP TABLE {ROOT}")
    assert owner.execute("SELECT FROM dp.table_config").fetchall() == []


def test_a_whole_schema_may_go(owner: Connection) -> None:
    owner.execute('DROP SCHEMA "Sch ema" CASCADE')
    assert owner.execute("SELECT FROM dp.hierarchy_config").fetchall() == []


def test_a_root_may_go_alone_with_what_was_made_for_it(owner: Connection) -> None:
    owner.execute(f"DROP TABLE {ROOT} CASCADE")
    assert owner.execute("SELECT FROM dp.table_config").fetchall() == []
    owner.execute(f"INSERT INTO {CHILD} VALUES (1, 1, '', '2025-01-01', 'a')")


def test_an_outside_table_may_go_with_foreign_keys_to_it(owner: Connection) -> None:
    owner.execute("CREATE TABLE public.kind (kind int PRIMARY KEY); INSERT INTO public.kind VALUES (1)")
    owner.execute(f"ALTER TABLE {ROOT} ADD FOREIGN KEY (kind) REFERENCES public.kind")
    owner.execute("CREATE TABLE public.looks_at (id bigint, party text, at_slice date)")
    owner.execute(f"ALTER TABLE public.looks_at ADD FOREIGN KEY (id, at_slice, party) REFERENCES {ROOT}")
    owner.execute("DROP TABLE public.kind CASCADE; DROP TABLE public.looks_at")
    assert errors_found(owner) == set()


def test_a_view_that_goes_with_a_column_is_forgotten(owner: Connection) -> None:
    owner.execute("CREATE SCHEMA writing")
    owner.execute("SELECT dp.create_writable_view(%s, 'writing')", [ROOT])
    owner.execute(f"ALTER TABLE {ROOT} DROP COLUMN body CASCADE")
    assert owner.execute("SELECT FROM dp.writable_view_config").fetchall() == []


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_another_event_trigger_that_runs_ddl_itself_hides_nothing(db: Database, owner: Connection, name: str) -> None:
    admin = db.connect("postgres")
    admin.execute("CREATE TABLE public.audited (a int); GRANT ALL ON public.audited TO owner")
    admin.execute("ALTER TABLE public.audited OWNER TO owner")
    admin.execute(
        "CREATE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF current_setting('my.inner', true) IS DISTINCT FROM 'on' THEN"
        " PERFORM set_config('my.inner', 'on', true);"
        " COMMENT ON TABLE public.audited IS 'seen';"
        " PERFORM set_config('my.inner', 'off', true); END IF; END $$;"
        f"CREATE EVENT TRIGGER {name} ON ddl_command_end EXECUTE FUNCTION public.audit()"
    )
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="would break the hierarchy"):
        owner.execute(f"ALTER TABLE {CHILD} DROP CONSTRAINT item_parent_fkey")
    owner.execute(f"COMMENT ON TABLE {ROOT} IS 'x'")
    assert owner.execute("SELECT FROM dp.drift(%s)", [ROOT]).fetchall() == []
    assert errors_found(owner) == set()


# What somebody does with the guard off, and the finding of dp.check whose statement mends it.
DAMAGE = {
    'ALTER TABLE {t} DISABLE TRIGGER "We ""ird_set_slice_key"': "slice key not kept",
    'DROP TRIGGER "We ""ird_set_slice_key" ON {t}': "slice key not kept",
    'DROP FUNCTION "Sch ema"."We ""ird_set_slice_key"() CASCADE': "slice key not kept",
    "ALTER TABLE {t} ALTER COLUMN at_slice DROP DEFAULT": "slice key not kept",
    'ALTER TABLE {t} DROP CONSTRAINT "We ""ird_slice_key_check"': "slice key not kept",
    'ALTER TABLE {slice} DROP CONSTRAINT "We ""ird_2025_01_range_key_check"': "slice without its CHECK",
    "ALTER TABLE {c} ALTER COLUMN party DROP NOT NULL": "nullable key",
    'DROP INDEX "Sch ema".item_parent': "foreign key without an index",
    'ALTER TABLE {t} DISABLE TRIGGER "We ""ird_I d_global_insert"': "global index not kept",
    'DROP TRIGGER "We ""ird_I d_global_delete" ON {t}': "global index not kept",
    "DROP FUNCTION {side}() CASCADE": "global index not kept",
    'ALTER TABLE {side} DROP CONSTRAINT "We ""ird_I d_global_key"': "global index not kept",
}
ROW = "INSERT INTO {t} VALUES (%s, '2025-01-15 12:00+00', 'a', '', 1, '2025-01-01')"


def test_check_tells_what_is_gone_and_its_statement_mends_it(owner: Connection) -> None:
    owner.execute(f"ALTER TABLE {CHILD} DROP CONSTRAINT item_pkey")
    before = all_findings(owner)
    for number, (command, finding) in enumerate(DAMAGE.items()):
        owner.execute(f"SET dp.propagate_ddl = off; {written(command)}; RESET dp.propagate_ddl")  # type: ignore[call-overload]
        if "side" not in command and "global" not in command:
            owner.execute(written(ROW), [number])  # type: ignore[call-overload]
        rows = owner.execute("SELECT statement FROM dp.check(%s) WHERE finding = %s", [ROOT, finding]).fetchall()
        assert len(rows) == 1, command
        owner.execute(rows[0][0])
        assert all_findings(owner) - {"never analysed"} == before - {"never analysed"}, command
    owner.execute(f"UPDATE {ROOT} SET at = '2025-02-10 12:00+00' WHERE \"I d\" = 0")
    assert owner.execute(f'SELECT at_slice::text FROM {ROOT} WHERE "I d" = 0').fetchone() == ("01.02.2025",)
    assert owner.execute("SELECT FROM dp.verify_global_index(%s)", [SIDE]).fetchall() == []


def all_findings(owner: Connection) -> set[str]:
    return {name for (name,) in owner.execute("SELECT finding FROM dp.check(%s)", [ROOT]).fetchall()}


def test_a_table_of_another_owner_is_told(db: Database) -> None:
    db.begin_with(prepare)
    db.connect("postgres").execute(f"SET dp.propagate_ddl = off; ALTER TABLE {CHILD} OWNER TO stranger")
    rows = db.connect("postgres").execute(
        "SELECT target, statement FROM dp.check(%s) WHERE finding = 'table of another owner'", [ROOT]
    )
    assert rows.fetchall() == [('"Sch ema"."item"', 'ALTER TABLE "Sch ema"."item" OWNER TO "owner"')]


def test_a_side_table_that_is_dropped_all_the_same_takes_its_triggers_along(owner: Connection) -> None:
    owner.execute(f"SET dp.propagate_ddl = off; DROP TABLE {SIDE}; RESET dp.propagate_ddl")
    owner.execute(written(ROW), [1])  # type: ignore[call-overload]
    assert errors_found(owner) == set()
    owner.execute("SELECT dp.create_global_index(%s, '{\"I d\"}')", [ROOT])
    assert owner.execute(f'SELECT "I d" FROM {SIDE}').fetchall() == [(1,)]


def test_an_emptied_side_table_is_noticed_and_built_anew(owner: Connection) -> None:
    for number in range(20):
        owner.execute(written(ROW), [number])  # type: ignore[call-overload]
    owner.execute(f"TRUNCATE {SIDE}")
    statement = "SELECT DISTINCT statement FROM dp.check(%s) WHERE finding = 'global index inexact'"
    rows = owner.execute(statement, [ROOT]).fetchall()
    assert len(rows) == 1
    owner.execute(rows[0][0])
    assert owner.execute(f"SELECT count(*) FROM {SIDE}").fetchone() == (20,)
    assert owner.execute(statement, [ROOT]).fetchall() == []


def test_what_protects_rows_from_retention_stays_readable(owner: Connection) -> None:
    call(owner, "SELECT dp.configure", ROOT, retention_protect="body = 'keep'")
    for text in (
        f"SELECT dp.rename_column('{ROOT.replace(chr(39), chr(39) * 2)}', 'body', 'text')",
        f"SELECT dp.drop_column('{ROOT}', 'body')",
        f"SELECT dp.alter_column_type('{ROOT}', 'body', 'int', 'length(body)')",
        f"ALTER TABLE {ROOT} RENAME COLUMN body TO text",
    ):
        with pytest.raises(psycopg.errors.InvalidTableDefinition, match="retention_protect"):
            owner.execute(text)  # type: ignore[call-overload]
    owner.execute("SELECT dp.rename_column(%s, 'kind', 'sort')", [ROOT])
    call(owner, "SELECT dp.configure", ROOT, retention_protect="false")
    owner.execute("SELECT dp.rename_column(%s, 'body', 'text')", [ROOT])


def test_rows_that_will_go_with_a_slice_by_a_foreign_key_are_told(owner: Connection) -> None:
    owner.execute(f'CREATE TABLE public.bookmark (of bigint REFERENCES {SIDE} ("I d") ON DELETE CASCADE)')
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(f"{notice.severity}: {notice.message_primary}"))
    owner.execute("SELECT dp.detach_slice(%s, '2025-01-01')", [ROOT])
    assert [text for text in told if text.startswith("WARNING") and "rows of public.bookmark" in text]


def test_who_may_read_the_table_later_may_look_up(db: Database, owner: Connection) -> None:
    owner.execute(f'GRANT USAGE ON SCHEMA "Sch ema" TO stranger; GRANT SELECT ON {ROOT} TO stranger')
    stranger = db.connect("stranger")
    assert stranger.execute(f"SELECT FROM {SIDE}").fetchall() == []
    owner.execute(f"REVOKE SELECT ON {ROOT} FROM stranger")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(f"SELECT FROM {SIDE}")
