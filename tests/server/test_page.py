"""Pages: the first rows of a question, the newest slice first, whatever the slices are."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

ROOT = "'\"Dialog\"'"
CREATE = f"SELECT * FROM dp.create_page({ROOT}, %s, %s, %s, %s, keys => %s)"
ARGUMENTS = "owner text, except_for bigint"
CONDITION = 't."Party" = owner AND t."Id" <> except_for'
ORDER_BY = 't."UpdatedAt" DESC, t."Id" DESC'
KEYS = """
    SELECT g."{key}" FROM "Dialog_Id_global" AS g WHERE g."Party" = owner AND g."{key}" <= newest
    ORDER BY g."{key}" DESC LIMIT wanted
"""
SHARED = 'UPDATE "Dialog" SET "Party" = CASE WHEN "Id" % 5 = 0 THEN \'another\' ELSE \'p\' END'
SEEN = 'SELECT "Id" FROM page_of(%s, %s, %s, %s)'
TOLD = """
    SELECT "Id" FROM "Dialog" WHERE "Party" = %s AND "Id" <> %s AND "{key}" <= %s
    ORDER BY "UpdatedAt" DESC, "Id" DESC LIMIT %s
"""


@pytest.fixture(params=["exact", "slice"])
def owner(db: Database, request: pytest.FixtureRequest) -> psycopg.Connection[Any]:
    """A family of two owners over six months, a gap among them, and a default slice that holds rows."""
    db.begin_with(prepare, request.param)
    return db.connect(**{"dp.now": "2025-06-15 00:00+00"})


def prepare(db: Database, form: str) -> None:
    """Make that family."""
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.with_a_gap(owner, form, 7, 5)
    owner.execute(SHARED)
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")


def make(connection: psycopg.Connection[Any], keys: str | None = KEYS) -> list[tuple[Any, ...]]:
    """The page of an owner."""
    text = None if keys is None else keys.format(key=family.key_column(connection))
    return connection.execute(CREATE, ["page_of", ARGUMENTS, CONDITION, ORDER_BY, text]).fetchall()


def agree(connection: psycopg.Connection[Any]) -> None:
    """The page finds what the table says, from wherever it begins and however many are wanted."""
    told = TOLD.format(key=family.key_column(connection))
    sizes = set()
    for party in ("p", "another"):
        for newest in ("2025-12-31", "2025-06-30", "2025-03-31", "2025-01-31", "2024-12-31"):
            for wanted in (0, 1, 3, 7, 100):
                asked = (party, 52, newest, wanted)
                seen = connection.execute(SEEN, asked).fetchall()
                assert seen == connection.execute(told, asked).fetchall(), asked  # type: ignore[call-overload]
                sizes.add(len(seen))
    assert {0, 1, 3, 7} < sizes


@pytest.mark.parametrize("keys", [KEYS, None])
@pytest.mark.parametrize("slices", [0, 2, 12])
def test_a_page_is_what_the_table_holds(owner: psycopg.Connection[Any], keys: str | None, slices: int) -> None:
    owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => {slices})")
    make(owner, keys)
    agree(owner)
    agree(owner)  # with the plans that are kept by now


@pytest.mark.parametrize("keys", [KEYS, None])
def test_it_stays_right_while_slices_come_and_go(owner: psycopg.Connection[Any], keys: str | None) -> None:
    make(owner, keys)
    agree(owner)
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-10-01')")
    family.fill(owner, "2025-09-10 12:00+00", 90, 5)
    owner.execute(SHARED)
    body = owner.execute("SELECT prosrc FROM pg_proc WHERE proname = 'page_of'").fetchall()[0][0]
    assert "2025-09-01" in body, "it knows the newest slice"
    agree(owner)
    owner.execute(f"CALL dp.drain_default({ROOT})")
    agree(owner)
    owner.execute(f"SELECT dp.drop_slice({ROOT}, '2025-07-01')")
    agree(owner)


_TIME = "timestamptz '2025-01-01 00:00+00' + interval '1 day' * ({})"
_MOMENTS = {
    "timestamptz": _TIME,
    "timestamp": f"({_TIME}) AT TIME ZONE 'UTC'",
    "date": "date '2025-01-01' + ({})::int",
    "bigint": "({})::bigint",
    "smallint": "({})::smallint",
}
_MADE = """
    CREATE SCHEMA "S ""c"; SET search_path = "S ""c";
    CREATE TABLE "We ""ird.Täble" ("I d" bigint PRIMARY KEY, "K""ey" {type} NOT NULL, "o wner" text NOT NULL, x int);
    SELECT dp.create_hierarchy('"We ""ird.Täble"', 'K"ey', {hash}, key_form => '{form}', default_slice => true,
                               premake => 0, slice => '{width}');
"""


def moment(type_name: str, number: str) -> str:
    """An expression of a range key."""
    if type_name != "uuid":
        return _MOMENTS[type_name].format(number)
    milliseconds = f"(extract(epoch FROM {_TIME.format(number)}) * 1000)::bigint"
    return f"(lpad(to_hex({milliseconds}), 12, '0') || '7' || substr(md5(({number})::text), 1, 19))::uuid"


def odd_table(owner: psycopg.Connection[Any], dice: random.Random, type_name: str, form: str) -> tuple[str, str, str]:
    """Rows at random, some with equal keys, some in a gap; the table, and its key with and without quotes."""
    is_number = "int" in type_name
    hash_key = dice.choice(["'o wner', hash_partitions => 2", "NULL"])
    made = _MADE.format(type=type_name, form=form, hash=hash_key, width="30" if is_number else "1 month")
    owner.execute(made)  # type: ignore[call-overload]
    table = '"We ""ird.Täble"'
    bounds = [("0", "60"), ("90", "210")] if is_number else [("2025-01-01", "2025-03-01"), ("2025-04-01", "2025-08-01")]
    for each in bounds:
        owner.execute("CALL dp.create_slices(%s, %s, %s)", [table, *each])
    key = family.key_column(owner)
    quoted = '"' + key.replace('"', '""') + '"'
    columns = '"I d", "K""ey", "o wner", x'
    values = f"n, {moment(type_name, 'at')}, substr('aaabc', n::int %% 5 + 1, 1), nullif(n %% 4, 0)"
    if form == "slice":
        in_number = f"(floor(at / 30.0) * 30)::{type_name}"
        in_month = f"date_trunc('month', {_MOMENTS['date'].format('at')})::date"
        columns, values = f"{columns}, {quoted}", f"{values}, {in_number if is_number else in_month}"
    days = [dice.choice([dice.randrange(-90, 270), dice.randrange(-90, 270, 30)]) for _ in range(200)]
    rows = f"INSERT INTO {table} ({columns}) SELECT {values} FROM unnest(%s::int[]) WITH ORDINALITY AS d (at, n)"
    owner.execute(rows, [days])  # type: ignore[call-overload]
    return table, key, quoted


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("type_name", ["timestamptz", "timestamp", "date", "bigint", "smallint", "uuid"])
def test_any_key_and_odd_names(db: Database, type_name: str, form: str) -> None:
    """Pages of rows that have an x, by an index of these alone."""
    dice = random.Random(f"{type_name} {form}")
    is_number = "int" in type_name
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00", "TimeZone": dice.choice(["UTC", "Asia/Kathmandu"])})
    table, key, quoted = odd_table(owner, dice, type_name, form)
    owner.execute(
        "SELECT dp.create_global_index(%s, %s, is_unique => false, predicate => 'x IS NOT NULL', index_name => 'side')",
        [table, ["o wner", key]],
    )
    order = f't.{quoted} DESC, t."K""ey" DESC, t."I d" DESC'
    condition = 't."o wner" = p AND t.x IS NOT NULL AND (y IS NULL OR t.x = y)'
    keys = (
        f'SELECT g.{quoted} FROM side AS g WHERE g."o wner" = p AND g.{quoted} <= newest ORDER BY 1 DESC LIMIT wanted'
    )
    create = "SELECT dp.create_page(%s, %s, 'p text, y int', %s, %s, keys => %s)"
    owner.execute("SELECT dp.configure(%s, lookup_slices => %s)", [table, dice.choice([0, 2, 3, 100])])
    pages = {"of_all": None, "of_keys": keys}
    if type_name == "uuid" and form == "exact":
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            owner.execute(create, [table, "of_keys", condition, order, keys])
        del pages["of_keys"]
    for name, text in pages.items():
        owner.execute(create, [table, name, condition, order, text])

    def check(when: str) -> None:
        found = 0
        for _ in range(30):
            newest = moment("date" if form == "slice" and not is_number else type_name, str(dice.randrange(-100, 280)))
            asked = [dice.choice("abcd"), dice.choice([None, 1, 2]), dice.choice([0, 1, 2, 5, 100, None])]
            told = owner.execute(
                f'SELECT "I d" FROM {table} AS t, (SELECT %s::text AS p, %s::int AS y) AS a'  # type: ignore[call-overload]
                f" WHERE t.{quoted} <= {newest} AND {condition} ORDER BY {order} LIMIT %s",
                asked,
            ).fetchall()
            found += len(told)
            for name in pages:
                seen = owner.execute(f'SELECT "I d" FROM {name}(%s, %s, {newest}, %s)', asked).fetchall()  # type: ignore[call-overload]
                assert seen == told, (when, name, newest, asked)
        assert found > 0, when

    check("at first")
    owner.execute(f'UPDATE {table} SET x = CASE WHEN x IS NULL THEN 1 ELSE nullif(x, 2) END WHERE "I d" %% 3 = 0', [])  # type: ignore[call-overload]
    check("some have an x, others none any more")
    owner.execute("CALL dp.drain_default(%s)", [table])
    check("none in the default slice")
    owner.execute("SELECT dp.drop_slice(%s, %s)", [table, "30" if is_number else "2025-02-01"])
    owner.execute("SELECT dp.detach_slice(%s, %s)", [table, "90" if is_number else "2025-04-01"])
    check("slices are gone")
    owner.execute(f'ALTER TABLE {table} RENAME TO "ne w"')  # type: ignore[call-overload]
    table = '"ne w"'
    check("it has another name")


def test_it_opens_one_slice_where_that_has_rows_enough(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    for _ in range(2):
        owner.execute(SEEN, ("p", 0, "2025-07-31", 1)).fetchall()
    owner.execute("BEGIN")
    owner.execute(SEEN, ("p", 0, "2025-07-31", 1)).fetchall()
    opened = owner.execute(
        "SELECT count(DISTINCT i.inhparent) FROM pg_locks l JOIN pg_inherits i ON i.inhrelid = l.relation"
        " JOIN dp.leaf f ON f.leaf = l.relation::regclass WHERE l.pid = pg_backend_pid()"
    ).fetchall()
    owner.execute("COMMIT")
    assert opened == [(1,)]


def test_twice_and_another_one(owner: psycopg.Connection[Any]) -> None:
    assert make(owner) != []
    assert make(owner) == []
    assert make(owner, None) != []
    agree(owner)
    owner.execute("DROP FUNCTION page_of")


@pytest.mark.parametrize("arguments", ["owner text, except_for int", "party text, except_for bigint", "owner text"])
def test_with_other_parameters_there_is_still_one_page(owner: psycopg.Connection[Any], arguments: str) -> None:
    make(owner)
    asked = ["page_of", arguments, "true", ORDER_BY, None]
    assert owner.execute(CREATE, asked).fetchall() != []
    assert owner.execute(CREATE, asked).fetchall() == []
    assert owner.execute("SELECT count(*) FROM pg_proc WHERE proname = 'page_of'").fetchall() == [(1,)]


def test_a_page_of_another_table_has_another_name(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    with pytest.raises(psycopg.errors.DuplicateObject, match="page_of"):
        owner.execute("""SELECT dp.create_page('"Activity"', 'page_of', '', 'true', '1')""")


def test_a_temporary_table_before_does_not_make_it_another_page(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute("SET search_path = public, pg_temp")
    owner.execute("CREATE TEMPORARY TABLE mine ()")
    make(owner)
    another = db.connect(search_path="public, pg_temp")
    assert make(another) == []


def test_keys_without_end_are_returned_once(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    owner.execute('UPDATE "Dialog" SET "UpdatedAt" = \'infinity\' WHERE "Id" IN (71, 72, 73)')
    told = TOLD.format(key=family.key_column(owner))
    for wanted in (1, 2, 3, 5, 100):
        asked = ("p", 72, "infinity", wanted)
        seen = owner.execute(SEEN, asked).fetchall()
        assert seen == owner.execute(told, asked).fetchall(), wanted  # type: ignore[call-overload]


def test_it_follows_its_table_s_name(owner: psycopg.Connection[Any]) -> None:
    make(owner, None)
    told = owner.execute(SEEN, ("p", 0, "2025-12-31", 9)).fetchall()
    owner.execute('ALTER TABLE "Dialog" RENAME TO "We ""ird.Täble"')
    assert owner.execute(SEEN, ("p", 0, "2025-12-31", 9)).fetchall() == told != []


def test_the_caller_s_rights_and_path_count(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner)
    stranger = db.connect("stranger")
    stranger.execute("SET search_path = pg_catalog")
    asked = ("p", 0, "2025-12-31", 9)
    elsewhere = SEEN.replace("page_of", "public.page_of")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(elsewhere, asked)
    owner.execute('GRANT SELECT ON "Dialog", "Dialog_Id_global" TO stranger')
    assert stranger.execute(elsewhere, asked).fetchall() == owner.execute(SEEN, asked).fetchall() != []


@pytest.mark.parametrize("keys", [KEYS, None])
@pytest.mark.parametrize("name", ["n", "s", "k", "slice", "key", "keys"])
def test_arguments_of_any_name(owner: psycopg.Connection[Any], keys: str | None, name: str) -> None:
    text = None if keys is None else keys.format(key=family.key_column(owner)).replace("= owner", f"= {name}")
    owner.execute(CREATE, [name, f"{name} text", f't."Party" = {name}', ORDER_BY, text])
    told = owner.execute("""SELECT "Id" FROM "Dialog" WHERE "Party" = 'p' ORDER BY 1 DESC LIMIT 9""").fetchall()
    seen = owner.execute(f"SELECT \"Id\" FROM {name}('p', '2025-12-31', 9)").fetchall()  # type: ignore[call-overload]
    assert seen == told


@pytest.mark.parametrize("keys", [KEYS, None])
@pytest.mark.parametrize("slices", [0, 2])
def test_rows_at_the_ends_of_time(owner: psycopg.Connection[Any], keys: str | None, slices: int) -> None:
    owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => {slices})")
    key = family.key_column(owner)
    columns = '"UpdatedAt"' if key == "UpdatedAt" else f'"UpdatedAt", "{key}"'
    moments = ("infinity", "294276-12-01", "4714-11-24 BC" if key == "UpdatedAt" else "4713-01-01 BC", "-infinity")
    for number, moment in enumerate(moments):
        values = f"'{moment}'" if key == "UpdatedAt" else f"'{moment}', '{moment}'"
        owner.execute(f"""INSERT INTO "Dialog" ("Id", "Party", {columns})
            SELECT {1000 + 10 * number} + n, 'p', {values} FROM generate_series(0, 3) AS n""")  # type: ignore[call-overload]
    make(owner, keys)
    owner.execute("SET statement_timeout = '20s'")  # it would go on for ever
    told = TOLD.format(key=key).replace('"Id" <> %s', '"Id" % 10 <> %s').replace("% 10", "%% 10")
    condition = CONDITION.replace('t."Id" <>', 't."Id" % 10 <>')
    text = None if keys is None else keys.format(key=key)
    owner.execute(CREATE, ["page_of", ARGUMENTS, condition, ORDER_BY, text])
    for newest in moments:
        for wanted in (1, 3, 4, 8, 100):
            asked = ("p", 3, newest, wanted)
            seen = owner.execute(SEEN, asked).fetchall()
            assert seen == owner.execute(told, asked).fetchall() != [], asked  # type: ignore[call-overload]


def test_types_of_any_schema_and_name(owner: psycopg.Connection[Any]) -> None:
    owner.execute('CREATE SCHEMA "Ty pes"; CREATE TYPE "Ty pes"."K ind" AS ENUM (\'p\', \'another\')')
    owner.execute('CREATE DOMAIN "Ty pes".number AS bigint NOT NULL')
    owner.execute('SET search_path = "Ty pes", public')
    asked = ["page_of", 'kind "K ind", number', 't."Party" = kind::text AND t."Id" <> $2', ORDER_BY, None]
    assert owner.execute(CREATE, asked).fetchall() != []
    assert owner.execute(CREATE, asked).fetchall() == []
    owner.execute("RESET search_path")
    owner.execute('ALTER TYPE "Ty pes"."K ind" RENAME TO "an other"')
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-10-01')")
    agree(owner)


def test_it_follows_the_partition_column(owner: psycopg.Connection[Any]) -> None:
    key = family.key_column(owner)
    owner.execute("SELECT dp.drop_global_index('\"Dialog_Id_global\"')")
    for table in family.TABLES:
        owner.execute(f"SELECT dp.create_page('\"{table}\"', 'p_{table}', '', 'true', 't.\"Id\"')")  # type: ignore[call-overload]
    owner.execute(f"SELECT dp.rename_column({ROOT}, %s, 'a key')", [key])

    def seen(table: str) -> Any:
        return owner.execute(f"SELECT count(*) FROM \"p_{table}\"('infinity', NULL)").fetchall()[0][0]  # type: ignore[call-overload]

    assert {table: seen(table) for table in family.TABLES} == family.counts(owner)
    owner.execute("SET dp.propagate_ddl = off")
    owner.execute('ALTER TABLE "Dialog" RENAME TO another')
    owner.execute("RESET dp.propagate_ddl")
    check = "SELECT target FROM dp.check('another') WHERE finding = 'function of a renamed table'"
    assert owner.execute(check).fetchall() == [('"public"."p_Dialog"',)]  # type: ignore[call-overload]
    owner.execute("CALL dp.sync('another')")
    assert owner.execute(check).fetchall() == []  # type: ignore[call-overload]
    assert seen("Dialog") > 0


def test_what_only_looks_like_a_page_is_none(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    for number, asked in enumerate(("{broken", "[]", '{"condition": "true"}')):
        owner.execute(
            f'CREATE FUNCTION mine_{number}() RETURNS SETOF "Dialog" LANGUAGE plpgsql'  # type: ignore[call-overload]
            f" AS '-- dialog_partition page: {asked}\nBEGIN END'"
        )
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-10-01')")
    bodies = owner.execute("SELECT prosrc FROM pg_proc WHERE proname ~ '^mine_'").fetchall()
    assert len(bodies) == 3 and all(body.endswith("BEGIN END") for (body,) in bodies)
    agree(owner)


def test_it_follows_schemas(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    asked = ("p", 0, "2025-12-31", 9)
    told = owner.execute(SEEN, asked).fetchall()
    owner.execute("CREATE SCHEMA other; SET search_path = public, renamed, other")
    for command in ('ALTER TABLE "Dialog" SET SCHEMA other', "ALTER SCHEMA public RENAME TO renamed"):
        owner.execute(command)  # type: ignore[call-overload]
        assert owner.execute(SEEN, asked).fetchall() == told != [], command
    owner.execute('ALTER TABLE other."Dialog" SET SCHEMA renamed; ALTER SCHEMA renamed RENAME TO public')
    agree(owner)


def test_constants_mean_the_same_in_each_session(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute("""UPDATE "Dialog" SET "Title" = '\\' WHERE "Id" % 2 = 0""")
    asked = ["page_of", "owner text", """t."Title" = '\\' AND t."Party" = owner""", ORDER_BY, None]
    assert owner.execute(CREATE, asked).fetchall() != []
    seen = "SELECT count(*) FROM page_of(%s, %s, %s)"
    told = owner.execute(seen, ("p", "2025-12-31", 99)).fetchall()
    assert told != [(0,)]
    other = db.connect(
        standard_conforming_strings="off",
        TimeZone="Asia/Kathmandu",
        DateStyle="German, DMY",
        **{"dp.now": "2025-06-15"},
    )
    assert other.execute(seen, ("p", "2025-12-31", 99)).fetchall() == told
    assert other.execute(CREATE, asked).fetchall() == []
    other.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-10-01')")
    assert other.execute(seen, ("p", "2025-12-31", 99)).fetchall() == told
    assert owner.execute(seen, ("p", "2025-12-31", 99)).fetchall() == told


def test_it_is_dumped_and_restored(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner)
    asked = ["We \"ird ' $p", "owner text", 't."Party" = owner', ORDER_BY, None]
    owner.execute(CREATE, asked)
    restored = Database(db.server, f"{db.name}_restored")
    with db.server.connect() as admin:
        admin.execute(f"CREATE DATABASE {restored.name} OWNER owner")  # type: ignore[call-overload]
    try:
        db.server.psql(restored.name, db.server.pg_dump(db.name))
        again = restored.connect(**{"dp.now": "2025-06-15 00:00+00"})
        agree(again)
        assert make(again) == again.execute(CREATE, asked).fetchall() == []
        again.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-10-01')")
        bodies = again.execute("SELECT prosrc FROM pg_proc WHERE proname ~ 'ird|page_of'").fetchall()
        assert ["2025-09-01" in body for (body,) in bodies] == [True, True]
        agree(again)
    finally:
        restored.drop()


REFUSED = {
    "a condition that ends": (("p", "a int", "true) OR (true", "1", None), psycopg.errors.InvalidParameterValue),
    "two statements": (("p", "a int", "true", "1; DROP TABLE x", None), psycopg.errors.InvalidParameterValue),
    "arguments that end": (("p", "a int) RETURNS int AS $$(", "true", "1", None), psycopg.errors.InvalidParameterValue),
    "no such column": (("p", "a int", 't."Nothing" = a', "1", None), psycopg.errors.UndefinedColumn),
    "no such argument": (("p", "a int", 't."Id" = b', "1", None), psycopg.errors.UndefinedColumn),
    "no such type": (("p", "a nothing", "true", "1", None), psycopg.errors.UndefinedObject),
    "keys of another type": (("p", "a int", "true", "1", "SELECT 'x'::text"), psycopg.errors.DatatypeMismatch),
    "keys that could be cast": (
        ("p", "a int", "true", "1", "SELECT now()::timestamp"),
        psycopg.errors.DatatypeMismatch,
    ),
    "keys that are locked": (
        ("p", "a int", "true", "1", "SELECT newest FROM dp.hierarchy_config FOR UPDATE"),
        psycopg.errors.FeatureNotSupported,
    ),
    "rows that are skipped": (("p", "a int", "true", "1 OFFSET 5", None), psycopg.errors.SyntaxError),
    "rows that are locked": (("p", "a int", "true", "1 FOR UPDATE", None), psycopg.errors.SyntaxError),
    "a type that a bare name has": (("p", '"Id" text', '"Id" = 5', "1", None), psycopg.errors.UndefinedFunction),
    "a variable of PL/pgSQL": (("p", "found boolean", "found", "1", None), psycopg.errors.InvalidParameterValue),
    "a name of the body": (("p", "dp_each int", "true", "1", None), psycopg.errors.InvalidParameterValue),
    "an argument as the row": (("p", 't "Dialog"', "true", "1", None), psycopg.errors.InvalidParameterValue),
    "a function as the row": (("t", '"Id" int', "true", "1", None), psycopg.errors.InvalidParameterValue),
    "an argument of ours": (("p", "wanted int", "true", "1", None), psycopg.errors.InvalidFunctionDefinition),
    "a function that is there": (("taken", "a int", "true", "1", None), psycopg.errors.DuplicateObject),
    "no condition": (("p", "a int", " ", "1", None), psycopg.errors.InvalidParameterValue),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_before_anything_is_made(owner: psycopg.Connection[Any], what: str) -> None:
    owner.execute("CREATE FUNCTION taken() RETURNS int LANGUAGE sql RETURN 1")
    functions = "SELECT oid, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
    before = owner.execute(functions).fetchall()  # type: ignore[call-overload]
    asked, error = REFUSED[what]
    with pytest.raises(error):
        owner.execute(CREATE, asked)
    assert owner.execute(functions).fetchall() == before  # type: ignore[call-overload]
