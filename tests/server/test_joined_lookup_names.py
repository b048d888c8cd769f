"""Joined lookups: what the query, its names and the indexes may be."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.server.test_joined_lookup import ONE, REFUSED, ROOT, owner
from tests.support import family
from tests.support.database import Database

__all__ = ["owner"]  # the fixture

ID = "ARRAY[15, 72, 88]::bigint[]"


def make(connection: psycopg.Connection[Any], query: str, returns: str = "i bigint", parameters: str = "") -> None:
    """The joined lookup f."""
    connection.execute(
        f"SELECT dp.create_joined_lookup({ROOT}, 'f', %s, %s, %s)",  # type: ignore[call-overload]
        [query, returns, parameters],
    )


def seen(connection: psycopg.Connection[Any], call: str = f"f({ID})") -> list[tuple[Any, ...]]:
    """What it finds."""
    return connection.execute(f"SELECT * FROM {call} ORDER BY 1").fetchall()  # type: ignore[call-overload]


def findings(connection: psycopg.Connection[Any], root: str = "Dialog") -> set[tuple[Any, ...]]:
    """What dp.check says of it, and how to mend it."""
    query = 'SELECT finding, statement FROM dp.check(%s) WHERE target = \'"public"."f"\''
    return set(connection.execute(query, [f'"{root}"']).fetchall())


DIALOGS = [(15,), (72,), (88,)]
ACTIVITIES = [(each * 10 + k,) for (each,) in DIALOGS for k in (1, 2)]
QUERIES = {
    "with": (
        'WITH w AS (SELECT a.* FROM "Activity" a WHERE dp.has_keys(a) AND a."DialogId" = ANY (ids))'
        ' SELECT w."Id" FROM w JOIN "Dialog" d ON d."Id" = w."DialogId" AND dp.has_keys(d)',
        ACTIVITIES,
    ),
    "union": (
        ONE + ' UNION ALL SELECT a."Id" FROM "Activity" a WHERE a."DialogId" = ANY (ids) AND dp.has_keys(a)',
        DIALOGS + ACTIVITIES,
    ),
    "unnest": (
        'SELECT a."Id" FROM unnest(ids) AS i (id) JOIN "Dialog" d ON d."Id" = i.id AND dp.has_keys(d)'
        ' JOIN "Activity" a ON a."DialogId" = d."Id" AND dp.has_keys(a)',
        ACTIVITIES,
    ),
    "exists": (
        ONE + ' AND EXISTS (SELECT FROM "Activity" d WHERE d."DialogId" = ANY ($1) AND DP.HAS_KEYS(D))', DIALOGS
    ),
    "an expression": (
        'SELECT CASE WHEN dp.has_keys(d) THEN d."Id" END FROM "Dialog" d WHERE d."Id" = ANY (ids) AND dp.has_keys(d)',
        DIALOGS,
    ),
    "parentheses": (f"({ONE}) ORDER BY 1", DIALOGS),
    "constants": (
        ONE + " AND 'dp.has_keys(d) {} {0} {query} %s' <> E'it\\'s dp.has_keys(d)'"
        " AND $$'dp.has_keys(d)$$ <> $a$ \" $a$ AND length('dp.has_keys(d)') = 14",
        DIALOGS,
    ),
    "a name that looks like it": (
        ONE.replace('d."Id" FROM', 'd."Id" AS "dp.has_keys(d)" FROM'), DIALOGS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", QUERIES)
def test_any_query(owner: psycopg.Connection[Any], what: str) -> None:
    query, told = QUERIES[what]
    make(owner, query)
    assert sorted(seen(owner)) == sorted(told)


def test_a_constant_does_not_ask_for_keys(owner: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="query"):
        make(owner, ONE.replace("dp.has_keys(d)", "'dp.has_keys(d)' <> ''"))


def test_a_name_that_only_the_function_makes_ambiguous_is_told_at_once(owner: psycopg.Connection[Any]) -> None:
    query = 'SELECT f."Id" FROM "Dialog" AS f WHERE f."Id" = ANY (ids) AND dp.has_keys(f)'
    with pytest.raises(psycopg.errors.AmbiguousColumn):
        make(owner, query, '"Id" bigint')
    make(owner, query, "i bigint")
    with pytest.raises(psycopg.errors.AmbiguousColumn):
        make(owner, query, '"Id" bigint')
    assert seen(owner) == DIALOGS, "it is the one that was there"
    make(owner, query.replace("ANY (ids)", "ANY (f.ids)"), "i bigint")
    assert seen(owner) == DIALOGS


def test_parameters_of_any_kind(owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE DOMAIN kind AS text NOT NULL; CREATE DOMAIN other AS text CHECK (VALUE <> '')")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        make(owner, ONE + " AND y <> 'q'", "i bigint", "x other")
    make(owner, ONE + " AND x <> 'q'", "i bigint", "x kind")
    assert seen(owner, f"f({ID}, 'p')") == DIALOGS
    make(owner, ONE.replace('d."Id" FROM', 'd."Id", x FROM'), "i bigint, y anyelement", "x anyelement")
    assert seen(owner, "f('{15}', 3)") == [(15, 3)]
    make(owner, ONE + ' AND d."Title" = ANY (titles)', "i bigint", "VARIADIC titles text[]")
    assert seen(owner, f"f({ID}, 'dialog 15', 'dialog 88')") == [(15,), (88,)]
    make(owner, ONE + " AND d = r", "i bigint", 'r "Dialog" DEFAULT NULL')
    assert seen(owner) == []


def test_columns_named_as_the_body_s_own(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    owner.execute(
        "CREATE TABLE dp_g (ids bigint PRIMARY KEY, slice text NOT NULL, key_1 timestamptz NOT NULL);"
        " SELECT dp.create_hierarchy('dp_g', 'key_1', 'slice', hash_partitions => 2)"
    )
    owner.execute("CALL dp.create_slices('dp_g', '2025-01-01', '2025-07-01')")
    owner.execute("INSERT INTO dp_g VALUES (1, 'a', '2025-01-05'), (2, 'b', '2025-05-05'), (3, 'b', '2025-05-06')")
    owner.execute("SELECT dp.create_global_index('dp_g', '{ids}')")
    owner.execute("SELECT dp.configure('dp_g', lookup_slices => 2)")
    query = "SELECT dp_g.ids FROM dp_g WHERE dp_g.ids = ANY ($1) AND dp.has_keys(dp_g)"
    owner.execute("SELECT dp.create_joined_lookup('dp_g', 'dp_each', %s, 'key_1 bigint')", [query])
    assert seen(owner, "dp_each('{1, 2, 4}')") == [(1,), (2,)]


def test_functions_of_names_that_it_might_use(owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE FUNCTION dp_probe() RETURNS int LANGUAGE sql RETURN 1")
    for _ in range(2):
        make(owner, ONE)
        make(owner, ONE, "j bigint", "n int DEFAULT 1")
    assert seen(owner) == DIALOGS
    assert owner.execute("SELECT dp_probe()").fetchall() == [(1,)]


def test_a_session_without_pruning_makes_it_as_well(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SET enable_partition_pruning = off")
    make(owner, ONE)
    assert seen(owner) == DIALOGS
    assert owner.execute("SHOW enable_partition_pruning").fetchall() == [("off",)]


def test_a_migration_that_has_locked_the_table_is_told_of_another(owner: psycopg.Connection[Any]) -> None:
    with owner.transaction():
        owner.execute('LOCK TABLE "Dialog", "Activity" IN SHARE ROW EXCLUSIVE MODE')
        owner.execute('SELECT count(*) FROM "Dialog"')
        with pytest.raises(psycopg.errors.InvalidParameterValue), owner.transaction():
            make(owner, *REFUSED["a table without"][:3])
        make(owner, ONE)
    assert seen(owner) == DIALOGS


def test_a_view_of_it_stays_when_it_is_replaced(owner: psycopg.Connection[Any]) -> None:
    make(owner, ONE)
    owner.execute(f"CREATE VIEW v AS SELECT * FROM f({ID})")  # type: ignore[call-overload]
    make(owner, ONE + " AND true")
    assert seen(owner, "v") == DIALOGS
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        make(owner, ONE, "j bigint")
    assert seen(owner, "v") == DIALOGS


def test_an_index_that_is_dropped_is_told_and_another_one_serves(owner: psycopg.Connection[Any]) -> None:
    told: list[str] = []
    owner.add_notice_handler(lambda each: told.append(f"{each.severity} {each.message_primary}"))
    make(owner, ONE)
    owner.execute("""SELECT dp.drop_global_index('"Dialog_Id_global"', dry_run => true)""")
    owner.execute("""SELECT dp.drop_global_index('"Dialog_Id_global"')""")
    assert [each for each in told if each.startswith("WARNING")][-1].startswith('WARNING joined lookup "public"."f"')
    with pytest.raises(psycopg.errors.UndefinedTable, match="Dialog_Id_global"):
        seen(owner)
    ((finding, statement),) = findings(owner)
    assert finding == "joined lookup without its index"
    owner.execute(statement)  # type: ignore[call-overload]
    assert findings(owner) == set()
    assert seen(owner) == DIALOGS
    owner.execute("""SELECT dp.drop_global_index('"Dialog_Id_global"')""")
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}', index_name => 'b')")
    assert seen(owner) == DIALOGS
    told.clear()
    owner.execute(f"CALL dp.create_global_index_online({ROOT}, '{{Id}}', index_name => 'a')")
    owner.execute("SELECT dp.drop_global_index('b')")
    assert not any("joined" in each for each in told)
    assert seen(owner) == DIALOGS


def test_it_is_made_anew_for_an_index_of_another_column(owner: psycopg.Connection[Any]) -> None:
    make(owner, ONE)
    owner.execute("""SELECT dp.drop_global_index('"Dialog_Id_global"')""")
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Title}}')")
    make(owner, ONE.replace('d."Id" = ANY', 'd."Title" = ANY'))
    assert seen(owner, "f('{dialog 15}')") == [(15,)]


def test_of_a_renamed_table_it_fails_and_is_made_anew(owner: psycopg.Connection[Any]) -> None:
    make(owner, ONE)
    owner.execute('ALTER TABLE "Dialog" RENAME TO "Talk"')
    with pytest.raises(psycopg.errors.UndefinedTable, match="Dialog"):
        seen(owner)
    assert findings(owner, "Talk") == {("function of a renamed table", None)}
    owner.execute("CALL dp.create_slices('\"Talk\"', '2025-09-01', '2025-10-01')")
    create = "SELECT dp.create_joined_lookup('\"Talk\"', 'f', %s, 'i bigint')"
    owner.execute(create, [ONE.replace("Dialog", "Talk")])
    assert seen(owner) == DIALOGS
    assert owner.execute("SELECT count(*) FROM pg_proc WHERE proname = 'f'").fetchall() == [(1,)]


def test_under_another_name_it_still_hears_of_slices(owner: psycopg.Connection[Any]) -> None:
    make(owner, ONE)
    owner.execute("CREATE SCHEMA other; ALTER FUNCTION f RENAME TO g; ALTER FUNCTION g SET SCHEMA other")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-09-01', '2025-10-01')")
    body = owner.execute("SELECT prosrc FROM pg_proc WHERE proname = 'g'").fetchall()[0][0]
    assert "2025-09-01" in body
    assert seen(owner, f"other.g({ID})") == DIALOGS


def test_one_that_was_given_away_is_left_alone(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner, ONE)
    with db.server.connect(db.name) as admin:
        admin.execute("ALTER FUNCTION f OWNER TO stranger")
    with pytest.raises(psycopg.errors.DuplicateObject) as raised:
        make(owner, ONE)
    assert "another owner" in str(raised.value.diag.message_detail)
    assert seen(owner) == DIALOGS


@pytest.mark.parametrize("returns", ["i bigint", 'r "Dialog"', 'i bigint, r "Dialog"'])
def test_it_goes_with_the_hierarchy(owner: psycopg.Connection[Any], returns: str) -> None:
    columns = {"i bigint": 'd."Id"', 'r "Dialog"': "d.*"}.get(returns, 'd."Id", d')
    make(owner, ONE.replace('d."Id" FROM', f"{columns} FROM"), returns)
    assert [row[0] for row in seen(owner)] == [15, 72, 88]
    owner.execute(f"CALL dp.unconvert({ROOT})")
    assert owner.execute("SELECT count(*) FROM pg_proc WHERE proname = 'f'").fetchall() == [(0,)]


def test_before_there_are_slices(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner)
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")
    make(owner, ONE)
    assert seen(owner) == []
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-01-01', '2025-03-01')")
    family.fill(owner, "2025-01-10 12:00+00", 15, 1)
    assert "2025-01-01" in owner.execute("SELECT prosrc FROM pg_proc WHERE proname = 'f'").fetchall()[0][0]
    assert seen(owner) == [(15,)]
