"""Pages: the first rows of a question, the newest slice first, whatever the slices are."""

from __future__ import annotations

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
    family.declare(owner, form)
    owner.execute("SELECT dp.configure('\"Dialog\"', default_slice => true, lookup_slices => 2)")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-01-01', '2025-03-01')")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-04-01', '2025-08-01')")
    for month in range(1, 8):
        family.fill(owner, f"2025-{month:02}-10 12:00+00", month * 10, 5)
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


REFUSED = {
    "a condition that ends": (("p", "a int", "true) OR (true", "1", None), psycopg.errors.InvalidParameterValue),
    "two statements": (("p", "a int", "true", "1; DROP TABLE x", None), psycopg.errors.InvalidParameterValue),
    "arguments that end": (("p", "a int) RETURNS int AS $$(", "true", "1", None), psycopg.errors.InvalidParameterValue),
    "no such column": (("p", "a int", 't."Nothing" = a', "1", None), psycopg.errors.UndefinedColumn),
    "no such argument": (("p", "a int", 't."Id" = b', "1", None), psycopg.errors.UndefinedColumn),
    "no such type": (("p", "a nothing", "true", "1", None), psycopg.errors.UndefinedObject),
    "keys of another type": (("p", "a int", "true", "1", "SELECT 'x'::text"), psycopg.errors.InvalidFunctionDefinition),
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
