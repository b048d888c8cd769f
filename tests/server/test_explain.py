"""dp.explain: what a query reads of the hierarchy, what it lacks, and what to add, by real plans in both key forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.support import family, hierarchies
from tests.support.database import Database
from tests.support.server import Server

LEAVES, SLICES, MODULUS = 24, 6, 4
LOCKED_LEAVES = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation::regclass::text LIKE '%\\_h0%'"


class Said(NamedTuple):
    """A row of dp.explain."""

    tbl: str
    alias: str
    finding: str
    detail: str
    advice: str | None
    leaves_scanned: int
    leaves: int


@pytest.fixture(scope="module")
def databases(server: Server) -> Iterator[dict[str, Database]]:
    """A family of six months by four leaves, with rows in one, in both key forms."""

    def prepare(owner: psycopg.Connection[Any]) -> None:
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-07-01')")
        family.fill(owner, "2025-05-10 12:00+00", 1, 20)
        owner.execute('ANALYZE "Dialog", "Activity", "Actor"')

    with family.in_both_forms(server, "explain", prepare, hash_partitions=MODULUS) as found:
        yield found


@pytest.fixture(params=["exact", "slice"])
def database(databases: dict[str, Database], request: pytest.FixtureRequest) -> Database:
    return databases[request.param]


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """The owner in a transaction of which nothing stays."""
    with database.server.connect(database.name, "owner") as connection, connection.transaction(force_rollback=True):
        yield connection


def is_slice_form(connection: psycopg.Connection[Any]) -> bool:
    return family.key_column(connection) != "UpdatedAt"


def explain(connection: psycopg.Connection[Any], query: str) -> list[Said]:
    """All rows; {key} stands for the first-level partition column."""
    text = query.replace("{key}", f'"{family.key_column(connection)}"')
    with connection.transaction():
        return [Said(*row) for row in connection.execute("SELECT * FROM dp.explain(%s)", [text])]


def findings(said: list[Said], alias: str = "d") -> dict[str, Said]:
    return {each.finding: each for each in said if each.alias == alias}


def scanned_by(connection: psycopg.Connection[Any], query: str) -> int:
    """How many leaves PostgreSQL itself says it reads."""
    lines = connection.execute(f"EXPLAIN {query}").fetchall()  # type: ignore[call-overload]
    return sum(" on " in line and "Bitmap Index" not in line for (line,) in lines)


MONTH = "d.\"UpdatedAt\" >= '2025-02-01 00:00+00' AND d.\"UpdatedAt\" < '2025-03-01 00:00+00'"


@pytest.mark.parametrize(
    ("condition", "finding", "scanned"),
    [
        ("true", "all leaves", LEAVES),
        ("d.\"Party\" = 'p'", "pruned", SLICES),
        (MONTH, "pruned", MODULUS),
        (f"{MONTH} AND d.\"Party\" = 'p'", "one leaf", 1),
        ("d.{key} = '2025-02-01' AND d.\"Party\" = 'p'", "one leaf", 1),
        ("d.\"Party\" IN ('p', 'q') AND d.{key} = '2025-02-01'", "pruned", 2),
    ],
)
def test_constants_prune_when_the_query_is_planned(
    owner: psycopg.Connection[Any], condition: str, finding: str, scanned: int
) -> None:
    query = f'SELECT * FROM "Dialog" AS d WHERE {condition}'
    first = explain(owner, query)[0]
    actual = scanned_by(owner, query.replace("{key}", f'"{family.key_column(owner)}"'))
    assert first.tbl == '"public"."Dialog"'
    assert (first.finding, first.leaves_scanned, first.leaves) == (finding, actual, LEAVES)
    if "'q'" not in condition:  # two parties may be of one leaf
        assert actual == scanned


@pytest.mark.parametrize(
    ("condition", "finding", "scanned"),
    [
        ('d."Party" = $1', "pruned at run time", SLICES),
        ('d.{key} = $2 AND d."Party" = $1', "one leaf", 1),
        ("d.{key} = '2025-02-01' AND d.\"Party\" = $1", "one leaf", 1),
        ("d.{key} = $1", "pruned at run time", MODULUS),
        ('d."Party" = ANY ($1)', "pruned at run time", LEAVES),
        ("d.{key} >= $1 AND d.{key} < $2", "pruned at run time", LEAVES),
        ('d."Id" > $1', "all leaves", LEAVES),
    ],
)
def test_parameters_prune_when_it_runs(
    owner: psycopg.Connection[Any], condition: str, finding: str, scanned: int
) -> None:
    first = explain(owner, f'SELECT * FROM "Dialog" AS d WHERE {condition}')[0]
    assert (first.finding, first.leaves_scanned, first.leaves) == (finding, scanned, LEAVES)


def test_every_key_that_is_missing_is_named_with_what_to_add(owner: psycopg.Connection[Any]) -> None:
    key = family.key_column(owner)
    said = [each for each in explain(owner, 'SELECT * FROM "Dialog" AS d') if each.finding == "missing key"]
    assert [each.advice for each in said] == [
        f'AND "d"."{key}" >= ... AND "d"."{key}" < ...',
        'AND "d"."Party" = ...',
    ]
    only_range = explain(owner, 'SELECT * FROM "Dialog" AS d WHERE "Party" = \'p\'')
    assert [each.advice for each in only_range[1:]] == [said[0].advice]
    assert [each.advice for each in explain(owner, f'SELECT * FROM "Dialog" AS d WHERE {MONTH}')[1:]] == [
        said[1].advice
    ]
    assert len(explain(owner, f'SELECT * FROM "Dialog" AS d WHERE {MONTH} AND "Party" = \'p\'')) == 1


def test_by_id_alone_leads_to_the_lookup_or_to_the_call_that_makes_it(owner: psycopg.Connection[Any]) -> None:
    by_id = 'SELECT * FROM "Dialog" AS d WHERE "Id" = $1'
    by_parent = 'SELECT * FROM "Activity" AS d WHERE "DialogId" IN (3, 4)'
    call = findings(explain(owner, by_id))["missing key"].advice
    assert call is not None
    assert findings(explain(owner, by_parent))["missing key"].advice == call
    owner.execute(call)  # type: ignore[call-overload]
    advice = findings(explain(owner, by_id))["missing key"].advice
    assert advice == 'SELECT * FROM "public"."Dialog_by_Id"(ARRAY[...])'
    assert owner.execute(advice.replace("...", "3")).fetchall() != []  # type: ignore[call-overload]
    advice = findings(explain(owner, by_parent))["missing key"].advice
    assert advice == 'SELECT * FROM "public"."Activity_by_DialogId"(ARRAY[...])'
    assert len(owner.execute(advice.replace("...", "3, 4")).fetchall()) == 4  # type: ignore[call-overload]
    both = 'SELECT * FROM "Activity" AS d JOIN "Dialog" AS b ON b."Id" = d."DialogId" WHERE b."Id" = $1'
    told = [each.detail for each in explain(owner, both) if each.finding == "missing key" and each.alias == "b"]
    assert len(told) == 1 and "dp.create_joined_lookup" in told[0]
    assert "dp.create_joined_lookup" not in findings(explain(owner, by_id))["missing key"].detail


def test_values_of_another_global_index_lead_to_its_lookup(owner: psycopg.Connection[Any]) -> None:
    owner.execute('ALTER TABLE "Dialog" ADD COLUMN "Org" text, ADD COLUMN "Key" text')
    owner.execute('UPDATE "Dialog" SET "Org" = \'o\', "Key" = \'k\' WHERE "Id" = 3')
    create = "SELECT dp.create_global_index('\"Dialog\"', '{Org,Key}', predicate => %s)"
    owner.execute(create, ['"Key" IS NOT NULL AND "Org" IS NOT NULL'])
    query = 'SELECT * FROM "Dialog" AS d WHERE "Org" = $1 AND "Key" = ANY ($2)'
    advice = findings(explain(owner, query))["missing key"].advice
    assert advice == 'SELECT * FROM "public"."Dialog_by_Org_Key"(ARRAY[...], ARRAY[...])'
    found = owner.execute('SELECT "Id" FROM "public"."Dialog_by_Org_Key"(ARRAY[\'o\'], ARRAY[\'k\'])').fetchall()
    assert found == [(3,)]
    one = findings(explain(owner, 'SELECT * FROM "Dialog" AS d WHERE "Org" = $1'))["missing key"].advice
    assert one is not None and "Dialog_by" not in one
    owner.execute("SELECT dp.drop_global_index('\"Dialog_Org_Key_global\"')")
    owner.execute(create, ["\"Key\" <> 'x'"])
    assert "Dialog_by" not in str(findings(explain(owner, query))), "it does not hold all rows that are asked for"


def test_a_join_with_the_side_table_is_planned_for_all_leaves(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SELECT dp.create_global_index('\"Dialog\"', '{Id}', hash_partitions => 2)")
    by_lookup = {
        "Dialog": ('"Id"', 'SELECT * FROM "public"."Dialog_by_Id"(ARRAY[...])'),
        "Activity": ('"DialogId"', 'SELECT * FROM "public"."Activity_by_DialogId"(ARRAY[...])'),
    }
    for table, (column, lookup) in by_lookup.items():
        for keys in ('(d.{key}, d."Party") = (g.{key}, g."Party")', 'd."Party" = g."Party"', "true"):
            query = f'SELECT * FROM "{table}" AS d JOIN "Dialog_Id_global" AS g ON d.{column} = g."Id" AND {keys}'
            said = findings(explain(owner, f'{query} WHERE g."Id" = $1'))
            assert str(said["keys read in the same statement"].advice).startswith(lookup), (table, keys)
            assert str(LEAVES) in said["keys read in the same statement"].detail
    bound = (
        'SELECT * FROM "Dialog" AS d JOIN "Dialog_Id_global" AS g ON d."Id" = g."Id"'
        " WHERE d.{key} = '2025-02-01' AND d.\"Party\" = 'p'"
    )
    assert list(findings(explain(owner, bound))) == ["one leaf"]


def test_a_one_sided_range_is_told(owner: psycopg.Connection[Any]) -> None:
    query = 'SELECT * FROM "Dialog" AS d WHERE "Party" = \'p\' AND '
    said = findings(explain(owner, query + "\"UpdatedAt\" >= '2025-03-01 00:00+00'"))["one-sided range"]
    assert (said.leaves_scanned, said.advice) == (4, 'AND "d"."UpdatedAt" < ... (a bound from above)')
    said = findings(explain(owner, query + "{key} < $1"))["one-sided range"]
    assert said.advice == f'AND "d"."{family.key_column(owner)}" >= ... (a bound from below)'


def test_expressions_over_keys_are_told(owner: psycopg.Connection[Any]) -> None:
    said = explain(
        owner,
        'SELECT * FROM "Dialog" AS d'
        " WHERE date_trunc('month', \"UpdatedAt\") = '2025-02-01' AND upper(\"Party\") = 'P'",
    )
    assert [each.finding for each in said] == ["all leaves", "expression over a key", "expression over a key"]
    assert [each.advice for each in said[1:]] == [
        'AND "d"."UpdatedAt" >= ... AND "d"."UpdatedAt" < ...',
        'AND "d"."Party" = ...',
    ]


def test_comparing_without_binding_is_a_missing_key(owner: psycopg.Connection[Any]) -> None:
    said = explain(owner, f'SELECT * FROM "Dialog" AS d WHERE {MONTH} AND "Party" <> \'p\' AND "Party" LIKE \'p%\'')
    assert [each.finding for each in said] == ["pruned", "missing key"]
    assert '"Party" is compared, but not bound' in said[0].detail


def test_a_late_range_key_prunes_only_with_the_slice_key(owner: psycopg.Connection[Any]) -> None:
    query = 'SELECT * FROM "Dialog" AS d WHERE "Party" = \'p\' AND "UpdatedAt" >= $1 AND "UpdatedAt" < $2'
    said = findings(explain(owner, query))
    assert ("range key without slice key" in said) == is_slice_form(owner)
    if is_slice_form(owner):
        advice = said["range key without slice key"].advice
        assert advice is not None
        assert advice.startswith('AND "d"."UpdatedAtSlice" >= date_trunc(\'month\', ')
        added = advice.replace("...", "$1", 1).replace("...", "$2", 1)
        said = findings(explain(owner, f"{query} {added}"))
        assert set(said) == {"pruned at run time"}


def test_the_newest_first_need_the_slice_key_in_front(owner: psycopg.Connection[Any]) -> None:
    query = 'SELECT * FROM "Dialog" AS d WHERE "Party" = \'p\' ORDER BY "UpdatedAt" DESC LIMIT 5'
    said = findings(explain(owner, query))
    assert ("order by the range key alone" in said) == is_slice_form(owner)
    better = query.replace('ORDER BY "UpdatedAt"', 'ORDER BY {key} DESC, "UpdatedAt"')
    assert "order by the range key alone" not in findings(explain(owner, better))
    assert "order by the range key alone" not in findings(explain(owner, query.replace("LIMIT 5", "")))


JOIN = (
    'SELECT count(*) FROM "Dialog" AS d JOIN "Activity" AS a ON a."DialogId" = d."Id"'
    ' AND a."Party" = d."Party" AND a.{key} = d.{key}'
)


def join_of(said: list[Said]) -> Said:
    (found,) = [each for each in said if "join" in each.finding]
    return found


def test_joins_on_all_keys_are_partition_wise(owner: psycopg.Connection[Any]) -> None:
    assert join_of(explain(owner, JOIN)).finding == "partition-wise join"
    three = JOIN + ' JOIN "Actor" AS x ON x."ActivityId" = a."Id" AND x."Party" = a."Party" AND x.{key} = a.{key}'
    joins = [each.finding for each in explain(owner, three) if "join" in each.finding]
    assert joins and set(joins) == {"partition-wise join"}


def test_what_keeps_a_join_from_being_partition_wise(owner: psycopg.Connection[Any]) -> None:
    key = family.key_column(owner)
    said = join_of(explain(owner, JOIN.replace(' AND a."Party" = d."Party"', "")))
    assert said.finding == "join slice by slice"
    assert (said.alias, said.advice) == ("a", 'AND "a"."Party" = "d"."Party"')
    said = join_of(explain(owner, JOIN.partition(" AND")[0]))
    assert said.finding == "join not partition-wise"
    assert '"Party" of one is not compared' in said.detail and f'"{key}" of one is not compared' in said.detail
    collated = JOIN.replace('a."Party" = d."Party"', 'a."Party" = d."Party" COLLATE "POSIX"')
    assert "compared with another collation" in join_of(explain(owner, collated)).detail
    limited = JOIN.replace('FROM "Dialog" AS d', 'FROM (SELECT * FROM "Dialog" AS d LIMIT 10) AS d')
    assert "subquery with LIMIT" in join_of(explain(owner, limited)).detail
    owner.execute("SET enable_partitionwise_join = off")
    said = join_of(explain(owner, JOIN))
    assert (said.finding, said.advice) == ("join not partition-wise", "SET enable_partitionwise_join = on;")
    assert said.detail.endswith("enable_partitionwise_join is off.")


def test_slices_that_differ_keep_a_join_from_being_partition_wise(owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE TABLE extra PARTITION OF \"Dialog\" FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')")
    said = join_of(explain(owner, JOIN.replace(" JOIN ", " LEFT JOIN ")))
    assert said.finding == "join not partition-wise"
    assert "Their slices differ." in said.detail


def test_a_lateral_join_is_pruned_for_each_row(owner: psycopg.Connection[Any]) -> None:
    query = (
        'SELECT d."Id", a."Text" FROM "Dialog" AS d CROSS JOIN LATERAL (SELECT * FROM "Activity" AS a'
        ' WHERE a."DialogId" = d."Id" AND a."Party" = d."Party" AND a.{key} = d.{key} LIMIT 1) AS a'
        " WHERE d.\"Party\" = 'p' AND d.{key} = '2025-05-01'"
    )
    said = explain(owner, query)
    activity = findings(said, "a")
    assert next(iter(activity.values())).leaves_scanned == 1
    assert "missing key" not in activity


def test_the_key_of_another_table_is_passed_on(owner: psycopg.Connection[Any]) -> None:
    query = 'SELECT count(*) FROM "Dialog" AS d JOIN "Activity" AS a ON a."DialogId" = d."Id" WHERE d."Party" = \'p\''
    assert 'AND "a"."Party" = "d"."Party"' in [each.advice for each in explain(owner, query) if each.alias == "a"]


def test_one_name_that_is_read_in_two_ways(owner: psycopg.Connection[Any]) -> None:
    said = explain(owner, 'SELECT * FROM "Dialog" WHERE "Party" = \'p\' UNION ALL SELECT * FROM "Dialog"')
    assert [each.leaves_scanned for each in said if each.finding in ("pruned", "all leaves")] == [SLICES, LEAVES]


def test_conditions_that_fit_nothing_are_told(owner: psycopg.Connection[Any]) -> None:
    (said,) = explain(owner, "SELECT * FROM \"Dialog\" WHERE {key} < '1990-01-01'")
    assert (said.finding, said.leaves_scanned, said.leaves) == ("no leaf", 0, LEAVES)


@pytest.mark.parametrize("statement", ['UPDATE "Dialog" AS d SET "Title" = $2', 'DELETE FROM "Dialog" AS d'])
def test_changes_are_looked_at_and_not_made(owner: psycopg.Connection[Any], statement: str) -> None:
    before = family.counts(owner)
    said = explain(owner, f"{statement} WHERE d.\"Party\" = $1 AND d.{{key}} = '2025-05-01'")
    assert (said[0].finding, said[0].leaves_scanned) == ("one leaf", 1)
    assert explain(owner, 'INSERT INTO "Dialog" SELECT * FROM "Dialog" AS d WHERE "Party" = $1')[0].leaves_scanned == 6
    assert explain(owner, "VALUES (1)") == []
    assert family.counts(owner) == before
    assert owner.execute('SELECT count(*) FROM "Dialog" WHERE "Title" IS NULL').fetchone() == (0,)


@pytest.mark.parametrize(
    "query",
    [
        'SELECT 1; DELETE FROM "Dialog"',
        'SELECT $1; DELETE FROM "Dialog"',
        'SELECT 1 --\n; DELETE FROM "Dialog"',
        "SELECT '\\'; DELETE FROM \"Dialog\"; --'",
        "SELECT $1 || '\\'; DELETE FROM \"Dialog\"; --'",
        'SELECT a$$1$$; DELETE FROM "Dialog" --$$',
        'EXPLAIN ANALYZE DELETE FROM "Dialog"',
        'ANALYZE DELETE FROM "Dialog"',
        '(ANALYZE) DELETE FROM "Dialog"',
        "DO 'BEGIN DELETE FROM \"Dialog\"; END'",
        "CREATE TABLE x AS SELECT 1",
        "",
    ],
)
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_what_is_not_one_plannable_statement_is_refused_and_not_run(
    owner: psycopg.Connection[Any], query: str, conforming: str
) -> None:
    owner.execute("SELECT set_config('standard_conforming_strings', %s, false)", [conforming])
    before = family.counts(owner)
    try:
        explain(owner, query)
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.SyntaxError):
        pass
    else:
        assert "'\\'" in query and conforming == "on", "it is one statement, with a backslash in a constant"
    assert family.counts(owner) == before


def test_errors_of_the_query_are_the_server_s_own(owner: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.UndefinedColumn):
        explain(owner, 'SELECT nothing FROM "Dialog"')
    with pytest.raises(psycopg.errors.SyntaxError):
        explain(owner, 'SELECT FROM WHERE "Dialog"')
    for query in ('SELECT nothing FROM "Dialog" WHERE "Id" = $1', 'SELECT * FROM "Dialog" WHERE "Id" = $1'):
        for _ in range(2):
            try:
                explain(owner, query)
            except psycopg.errors.UndefinedColumn:
                assert "nothing" in query
    assert owner.execute("SELECT name FROM pg_prepared_statements").fetchall() == [], "nothing is left behind"


def test_it_runs_with_the_rights_the_path_and_the_locks_of_the_caller(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    with (
        database.server.connect(database.name, "stranger") as stranger,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        explain(stranger, 'SELECT * FROM "Dialog" WHERE "Id" = $1')
    owner.execute('CREATE SCHEMA app; CREATE VIEW app.v AS SELECT * FROM public."Dialog"')
    owner.execute("SET search_path = app")
    assert owner.execute("SELECT leaves_scanned FROM dp.explain('SELECT * FROM v')").fetchone() == (LEAVES,)
    assert owner.execute("SHOW search_path").fetchone() == ("app",)
    assert owner.execute(LOCKED_LEAVES).fetchone() == (0,), "what planning locked is let go"


def test_functions_are_not_run(owner: psycopg.Connection[Any]) -> None:
    owner.execute(
        "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$BEGIN DELETE FROM \"Actor\"; RETURN 'p'; END$$"
    )
    before = family.counts(owner)
    assert explain(owner, 'SELECT f() FROM "Dialog" AS d WHERE "Party" = $1')[0].finding == "pruned at run time"
    assert family.counts(owner) == before


def test_tables_behind_views_are_called_by_their_names(owner: psycopg.Connection[Any]) -> None:
    owner.execute('CREATE VIEW v AS SELECT * FROM "Dialog" AS t')
    owner.execute('CREATE VIEW w AS SELECT * FROM "Activity" AS t')
    query = 'SELECT * FROM v JOIN w ON w."DialogId" = v."Id" AND w.{key} = v.{key}'
    said = explain(owner, query)
    assert {each.alias for each in said} == {"Dialog", "Activity"}
    join = join_of(said)
    assert (join.finding, join.advice) == ("join slice by slice", 'AND "Activity"."Party" = "Dialog"."Party"')
    said = explain(owner, query.partition(" AND")[0] + " WHERE v.\"Party\" = 'p'")
    assert join_of(said).finding == "join not partition-wise"
    assert 'AND "Activity"."Party" = "Dialog"."Party"' in [each.advice for each in said]
    both = query + ' AND w."Party" = v."Party" WHERE v."Party" = $1 ORDER BY v."UpdatedAt" DESC LIMIT 3'
    said = explain(owner, both)
    assert {each.alias for each in said if each.leaves_scanned == SLICES} >= {"Dialog"}
    assert not any(each.finding == "missing key" and "Party" in each.detail for each in said if each.alias == "Dialog")


def test_an_alias_may_stand_for_tables_of_two_hierarchies(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    hierarchies.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-06-01')")
    hierarchies.create_slices(owner, "2025-05-01", "2025-06-01")
    said = explain(
        owner,
        'SELECT d."Id" FROM "Dialog" d JOIN "Activity" a ON a."DialogId" = d."Id" AND a."Party" = d."Party"'
        " UNION ALL SELECT d.id FROM event d JOIN item a ON a.event_id = d.id AND a.party = d.party",
    )
    assert {each.tbl for each in said if "join" in each.finding} == {'"public"."Activity"', '"public"."item"'}
