"""Joined lookups: queries of several tables for some Ids, whatever the slices are."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

ROOT = "'\"Dialog\"'"
CREATE = f"SELECT * FROM dp.create_joined_lookup({ROOT}, %s, %s, %s, %s)"
QUERY = """
    SELECT d."Id", a."Text", x.number
    FROM "Dialog" AS d
    LEFT JOIN LATERAL (
        SELECT i.* FROM "Activity" AS i WHERE i."DialogId" = d."Id" AND dp.has_keys(i) ORDER BY i."Id" LIMIT 1
    ) AS a ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM "Actor" AS "a c" WHERE "a c"."ActivityId" = a."Id" AND dp . HAS_KEYS( "a c" )
    ) AS x
    WHERE d."Id" = ANY (ids) AND dp.has_keys(d) AND d."Title" <> except_for"""
RETURNS = "dialog bigint, activity text, actors bigint"
PARAMETERS = "except_for text"
SEEN = "SELECT * FROM latest(%s, %s) ORDER BY dialog"
TOLD = """
    SELECT d."Id", a."Text", x.number
    FROM "Dialog" AS d
    LEFT JOIN LATERAL (
        SELECT i.* FROM "Activity" AS i WHERE i."DialogId" = d."Id" ORDER BY i."Id" LIMIT 1
    ) AS a ON true
    CROSS JOIN LATERAL (SELECT count(*) AS number FROM "Actor" AS c WHERE c."ActivityId" = a."Id") AS x
    WHERE d."Id" = ANY (%s) AND d."Title" <> %s ORDER BY d."Id" """
BODY = "SELECT prosrc FROM pg_proc WHERE proname = 'latest'"


@pytest.fixture(params=["exact", "slice"])
def owner(db: Database, request: pytest.FixtureRequest) -> psycopg.Connection[Any]:
    """A family of seven parties over seven months, a gap among them, and a default slice that holds rows."""
    db.begin_with(prepare, request.param)
    return db.connect(**{"dp.now": "2025-06-15 00:00+00"})


def prepare(db: Database, form: str) -> None:
    """Make that family."""
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.with_a_gap(owner, form, 8, 9)
    owner.execute('UPDATE "Activity" SET "Text" = \'activity \' || "Id"')
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")


def make(connection: psycopg.Connection[Any], query: str = QUERY) -> list[tuple[Any, ...]]:
    """The latest activities of dialogs."""
    return connection.execute(CREATE, ["latest", query, RETURNS, PARAMETERS]).fetchall()


def agree(connection: psycopg.Connection[Any]) -> None:
    """It finds what the tables say, of any Ids."""
    everything = list(range(1, 120))
    for ids in (everything, everything[::7], [15], [], None, [15, 15, None, 999, 72]):
        asked = (ids, "dialog 41")
        seen, told = connection.execute(SEEN, asked).fetchall(), connection.execute(TOLD, asked).fetchall()
        assert seen == told, ids
        assert not ids or len(told) > 0, ids
    assert any(number > 0 for *_, number in connection.execute(SEEN, (everything, "")).fetchall())


@pytest.mark.parametrize("slices", [0, 2, 12])
def test_it_finds_what_the_tables_hold(owner: psycopg.Connection[Any], slices: int) -> None:
    owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => {slices})")
    make(owner)
    agree(owner)
    agree(owner)  # with the plans that are kept by now


def test_it_stays_right_while_slices_come_and_go(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    agree(owner)
    owner.execute(f"CALL dp.drain_default({ROOT})")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-09-01', '2025-10-01')")
    family.fill(owner, "2025-09-10 12:00+00", 90, 9)
    assert "2025-09-01" in owner.execute(BODY).fetchall()[0][0], "it knows the newest slice"
    agree(owner)
    owner.execute('UPDATE "Dialog" SET "UpdatedAt" = \'2025-04-12 12:00+00\' WHERE "Id" IN (15, 72)')
    agree(owner)
    owner.execute(f"SELECT dp.drop_slice({ROOT}, '2025-07-01')")
    agree(owner)


def test_each_table_is_read_in_one_slice(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    for _ in range(2):
        owner.execute(SEEN, ([75], "")).fetchall()
    owner.execute("BEGIN")
    assert len(owner.execute(SEEN, ([75], "")).fetchall()) == 1
    opened = owner.execute(
        "SELECT pg_partition_root(i.inhparent)::text, count(DISTINCT i.inhparent) FROM pg_locks l"
        " JOIN pg_inherits i ON i.inhrelid = l.relation JOIN dp.leaf f ON f.leaf = l.relation::regclass"
        " WHERE l.pid = pg_backend_pid() GROUP BY 1 ORDER BY 1"
    ).fetchall()
    owner.execute("COMMIT")
    assert opened == [(f'"{table}"', 1) for table in sorted(family.TABLES)]


def test_twice_and_another_one(owner: psycopg.Connection[Any]) -> None:
    assert make(owner) != []
    assert make(owner) == []
    assert make(owner, QUERY + " AND true") != []
    agree(owner)
    asked = ["latest", QUERY.replace("x.number", "x.number::int"), RETURNS.replace("bigint", "int"), PARAMETERS]
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        owner.execute(CREATE, asked)
    asked[2] = "dialog bigint, activity text, actors int"
    assert owner.execute(CREATE, asked).fetchall() != []
    assert owner.execute(CREATE, asked).fetchall() == []
    assert owner.execute("SELECT count(*) FROM pg_proc WHERE proname = 'latest'").fetchall() == [(1,)]
    agree(owner)
    owner.execute("DROP FUNCTION latest")


def test_a_default_and_types_of_any_schema(owner: psycopg.Connection[Any]) -> None:
    owner.execute('CREATE SCHEMA "Ty pes"; CREATE TYPE "Ty pes"."K ind" AS ENUM (\'p\', \'another\')')
    owner.execute('SET search_path = "Ty pes", public')
    query = 'SELECT d."Id", kind, $3 FROM "Dialog" AS d WHERE d."Id" = ANY (ids) AND dp.has_keys(d)'
    asked = [
        "We \"ird ' $p",
        query,
        '"I d" bigint, k "K ind", n int',
        "kind \"K ind\" DEFAULT 'p', number int DEFAULT 7",
    ]
    assert owner.execute(CREATE, asked).fetchall() != []
    assert owner.execute(CREATE, asked).fetchall() == []
    owner.execute("RESET search_path")
    owner.execute('ALTER TYPE "Ty pes"."K ind" RENAME TO "an other"')
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-09-01', '2025-10-01')")
    seen = """SELECT * FROM public."We ""ird ' $p"('{75}')"""
    assert owner.execute(seen).fetchall() == [(75, "p", 7)]


def test_the_caller_s_rights_and_path_count(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner)
    stranger = db.connect("stranger")
    stranger.execute("SET search_path = pg_catalog")
    asked, elsewhere = ([15, 72], ""), SEEN.replace("latest", "public.latest")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(elsewhere, asked)
    owner.execute('GRANT SELECT ON "Dialog", "Activity", "Actor", "Dialog_Id_global" TO stranger')
    assert stranger.execute(elsewhere, asked).fetchall() == owner.execute(SEEN, asked).fetchall() != []


def test_settings_of_the_session_do_not_change_it(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner)
    told = owner.execute(SEEN, ([15, 72], "")).fetchall()
    other = db.connect(
        standard_conforming_strings="off",
        TimeZone="Asia/Kathmandu",
        DateStyle="German, DMY",
        **{"dp.now": "2025-06-15", "plpgsql.variable_conflict": "use_column"},
    )
    assert other.execute(SEEN, ([15, 72], "")).fetchall() == told != []
    assert make(other) == []
    other.execute(f"CALL dp.create_slices({ROOT}, '2025-09-01', '2025-10-01')")
    assert other.execute(SEEN, ([15, 72], "")).fetchall() == told
    agree(owner)


def test_a_child_s_index_of_a_name_that_must_be_quoted(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    owner.execute(
        'CREATE SCHEMA "S ""c"; SET search_path = "S ""c";'
        ' CREATE TABLE "We ""ird.Täble" ("I d" bigint PRIMARY KEY, "K""ey" timestamptz NOT NULL);'
        ' CREATE TABLE "chi ld" ("I d" bigint PRIMARY KEY, "of" bigint NOT NULL REFERENCES "We ""ird.Täble");'
        " SELECT dp.create_hierarchy('\"We \"\"ird.Täble\"', 'K\"ey', NULL, slice => '1 month', premake => 0);"
        ' SELECT dp.register_child(\'"chi ld"\', \'"We ""ird.Täble"\');'
    )
    owner.execute("CALL dp.create_slices(%s, '2025-01-01', '2025-07-01')", ['"We ""ird.Täble"'])
    rows = "FROM generate_series(1, 6) AS n"
    key = "make_timestamptz(2025, n, 10, 0, 0, 0)"
    owner.execute(f'INSERT INTO "We ""ird.Täble" SELECT n, {key} {rows}')  # type: ignore[call-overload]
    owner.execute(f'INSERT INTO "chi ld" ("I d", "of", "K""ey") SELECT n * 10, n, {key} {rows}')  # type: ignore[call-overload]
    create = "SELECT dp.create_joined_lookup('\"chi ld\"', 'parents', %s, 'child bigint, parent bigint')"
    query = (
        'SELECT c."I d", p."I d" FROM "chi ld" AS c'
        ' JOIN "We ""ird.Täble" AS "p" ON p."I d" = c."of" AND dp.has_keys("p")'
        ' WHERE c."I d" = ANY (ids) AND dp.has_keys(c)'
    )
    with pytest.raises(psycopg.errors.UndefinedObject, match="global index"):
        owner.execute(create, [query])
    owner.execute("SELECT dp.create_global_index('\"chi ld\"', '{I d}')")
    owner.execute(create, [query])
    seen = "SELECT * FROM parents('{30, 10, 60, 11}') ORDER BY 1"
    assert owner.execute(seen).fetchall() == [(10, 1), (30, 3), (60, 6)]
    owner.execute("SELECT dp.configure(%s, lookup_slices => 1)", ['"We ""ird.Täble"'])
    owner.execute("CALL dp.create_slices(%s, '2025-07-01', '2025-08-01')", ['"We ""ird.Täble"'])
    assert owner.execute(seen).fetchall() == [(10, 1), (30, 3), (60, 6)]


def test_which_of_several_indexes(owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Title}}')")
    query = QUERY.replace('d."Id" = ANY', 'd."Title" = ANY')
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="key_column"):
        make(owner, query)
    create = CREATE.replace("%s)", "%s, key_column => %s)")
    owner.execute(create, ["latest", query, RETURNS, PARAMETERS, "Title"])
    assert owner.execute(SEEN, (["dialog 15", "dialog 72"], "")).fetchall() != []
    with pytest.raises(psycopg.errors.UndefinedObject, match="global index"):
        owner.execute(create, ["latest", query, RETURNS, PARAMETERS, "Party"])


def test_it_is_dumped_and_restored(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner)
    restored = Database(db.server, f"{db.name}_restored")
    with db.server.connect() as admin:
        admin.execute(f"CREATE DATABASE {restored.name} OWNER owner")  # type: ignore[call-overload]
    try:
        db.server.psql(restored.name, db.server.pg_dump(db.name))
        again = restored.connect(**{"dp.now": "2025-06-15 00:00+00"})
        agree(again)
        assert make(again) == []
        again.execute(f"CALL dp.create_slices({ROOT}, '2025-09-01', '2025-10-01')")
        assert "2025-09-01" in again.execute(BODY).fetchall()[0][0]
        agree(again)
    finally:
        restored.drop()


def test_what_only_looks_like_one_is_none(owner: psycopg.Connection[Any]) -> None:
    make(owner)
    for number, asked in enumerate(("{broken", "[]", '{"query": "true"}')):
        owner.execute(
            f"CREATE FUNCTION mine_{number}() RETURNS SETOF int LANGUAGE plpgsql"  # type: ignore[call-overload]
            f" AS '-- dialog_partition joined lookup: {asked}\nBEGIN END'"
        )
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-09-01', '2025-10-01')")
    bodies = owner.execute("SELECT prosrc FROM pg_proc WHERE proname ~ '^mine_'").fetchall()
    assert len(bodies) == 3 and all(body.endswith("BEGIN END") for (body,) in bodies)
    agree(owner)


ONE = 'SELECT d."Id" FROM "Dialog" AS d WHERE d."Id" = ANY (ids) AND dp.has_keys(d)'
_INVALID = psycopg.errors.InvalidParameterValue
REFUSED = {
    "no keys": (ONE.replace("dp.has_keys(d)", "true"), "i bigint", "", _INVALID, "for all leaves"),
    "a table without": (
        'SELECT d."Id" FROM "Dialog" AS d JOIN "Activity" AS a ON a."DialogId" = d."Id"'
        ' WHERE d."Id" = ANY (ids) AND dp.has_keys(d)',
        "i bigint",
        "",
        _INVALID,
        'all leaves of "public"."Activity"',
    ),
    "no such table": (ONE.replace("has_keys(d)", "has_keys(e)"), "i bigint", "", psycopg.errors.UndefinedTable, None),
    "no such column": (ONE.replace('d."Id" =', "d.nothing ="), "i bigint", "", psycopg.errors.UndefinedColumn, None),
    "two statements": (ONE + "; DROP TABLE x", "i bigint", "", _INVALID, None),
    "columns that end": (ONE, "i bigint) AS $$ (", "", _INVALID, None),
    "parameters that end": (ONE, "i bigint", "a int) RETURNS int (", _INVALID, None),
    "another type": (ONE, "i text", "", psycopg.errors.DatatypeMismatch, None),
    "too few columns": (ONE, "i bigint, j bigint", "", psycopg.errors.DatatypeMismatch, None),
    "no columns": (ONE, " ", "", _INVALID, None),
    "a column that means two things": (
        ONE.replace('SELECT d."Id"', 'SELECT "Id"'), '"Id" bigint', "", psycopg.errors.AmbiguousColumn, None
    ),
    "a parameter that is a column": (
        ONE + ' AND "Party" = party AND "Title" = "Title"', "i bigint", '"Title" text, party text',
        psycopg.errors.AmbiguousColumn, None,
    ),
    "a parameter of ours": (ONE, "i bigint", "ids int", psycopg.errors.InvalidFunctionDefinition, None),
    "a name of the body": (ONE, "i bigint", "dp_each int", _INVALID, None),
    "a variable of PL/pgSQL": (ONE, "found bigint", "", _INVALID, None),
    "rows that are written": (
        'DELETE FROM "Dialog" AS d WHERE d."Id" = ANY (ids) AND dp.has_keys(d) RETURNING d."Id"', "i bigint", "",
        psycopg.errors.FeatureNotSupported, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_before_anything_is_made(owner: psycopg.Connection[Any], what: str) -> None:
    functions = "SELECT oid, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
    before = owner.execute(functions).fetchall()  # type: ignore[call-overload]
    query, returns, parameters, error, detail = REFUSED[what]
    with pytest.raises(error) as raised:
        owner.execute(CREATE, ["f", query, returns, parameters])
    assert detail is None or detail in str(raised.value.diag.message_detail)
    assert owner.execute(functions).fetchall() == before  # type: ignore[call-overload]


def test_a_function_that_is_there(owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE FUNCTION latest() RETURNS int LANGUAGE sql RETURN 1")
    with pytest.raises(psycopg.errors.DuplicateObject, match="latest"):
        make(owner)
    with pytest.raises(psycopg.errors.DuplicateObject):
        owner.execute(CREATE, ["Dialog_by_Id", ONE, "i bigint", ""])
