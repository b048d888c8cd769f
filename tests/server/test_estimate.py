"""dp.estimate: what a layout costs, against what PostgreSQL really locks; layouts that cannot fit are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database
from tests.support.server import Server

SLICES, MODULUS = 5, 4


class Row(NamedTuple):
    """A row of dp.estimate."""

    query: str
    leaves: int
    relations: int
    locks: int | None
    sessions: int | None
    planning_ms: float | None
    first_planning_ms: float | None
    planner_bytes: int | None
    cache_bytes: int
    verdict: str


@pytest.fixture(scope="module")
def databases(server: Server) -> Iterator[dict[str, Database]]:
    """A family of five months by four leaves in both key forms."""

    def prepare(owner: psycopg.Connection[Any]) -> None:
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-06-01')")

    with family.in_both_forms(server, "estimate", prepare, hash_partitions=MODULUS) as found:
        yield found


@pytest.fixture(params=["exact", "slice"])
def owner(databases: dict[str, Database], request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """The owner in a transaction of which nothing stays."""
    database = databases[request.param]
    with database.server.connect(database.name, "owner") as connection, connection.transaction(force_rollback=True):
        yield connection


def estimate(connection: psycopg.Connection[Any], arguments: str = "'\"Dialog\"'") -> dict[str, Row]:
    """The rows by query."""
    with connection.transaction():
        rows = connection.execute(f"SELECT * FROM dp.estimate({arguments})").fetchall()  # type: ignore[call-overload]
    return {row[0]: Row(*row) for row in rows}


def locked(connection: psycopg.Connection[Any], query: str) -> int:
    """How many relations PostgreSQL locks to plan a query."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"EXPLAIN {query}")  # type: ignore[call-overload]
        count = (
            "SELECT count(DISTINCT c.oid) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'public'::regnamespace"
        )
        row = connection.execute(count).fetchone()
    assert row is not None
    return int(row[0])


def test_locks_are_those_that_planning_takes(owner: psycopg.Connection[Any]) -> None:
    key = family.key_column(owner)
    expected = estimate(owner)
    join = (
        'SELECT * FROM "Dialog" AS d JOIN "Activity" AS a ON a."DialogId" = d."Id" AND a."Party" = d."Party" AND'
        f' a."{key}" = d."{key}" JOIN "Actor" AS c ON c."ActivityId" = a."Id" AND c."Party" = a."Party" AND'
        f' c."{key}" = a."{key}"'
    )
    queries = {
        "by Id": 'SELECT * FROM "Dialog" WHERE "Id" = 3',
        "no key, three tables joined": join,
        "hash key": 'SELECT * FROM "Dialog" WHERE "Party" = \'p\'',
        "hash key, three tables joined": f"{join} WHERE d.\"Party\" = 'p'",
        "both keys": f'SELECT * FROM "Dialog" WHERE "Party" = \'p\' AND "{key}" = \'2025-02-01\'',
    }
    for kind, query in queries.items():
        assert expected[kind].locks == locked(owner, query), kind
    assert expected["hash key in a large array"].locks == expected["by Id"].locks


def test_the_layout_is_the_one_that_is_there_or_asked_for(owner: psycopg.Connection[Any]) -> None:
    counted = owner.execute(
        "SELECT count(*) FILTER (WHERE relkind = 'r'), count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'i', 'I')"
        " AND relnamespace = 'public'::regnamespace AND relname !~ 'template' AND NOT EXISTS (SELECT FROM pg_index i"
        " WHERE i.indexrelid = pg_class.oid AND i.indrelid::regclass::text ~ 'template')"
    ).fetchone()
    found = estimate(owner)
    assert (found["layout"].leaves, found["layout"].relations) == counted
    assert found["by Id"].leaves == SLICES * MODULUS
    assert (found["hash key"].leaves, found["both keys"].leaves) == (SLICES, 1)
    wider = estimate(owner, "'\"Dialog\"', slices => 50, hash_partitions => 8")
    assert wider["layout"].leaves == 3 * 400
    assert wider["layout"].cache_bytes > 10 * found["layout"].cache_bytes
    for kind in set(found) - {"layout"}:
        assert wider[kind].planning_ms >= found[kind].planning_ms > 0  # type: ignore[operator]
        assert wider[kind].first_planning_ms > wider[kind].planning_ms  # type: ignore[operator]
        assert wider[kind].planner_bytes >= found[kind].planner_bytes > 0  # type: ignore[operator]


def test_layouts_are_judged_against_the_lock_table(owner: psycopg.Connection[Any]) -> None:
    table = owner.execute(
        "SELECT current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int"
        " + current_setting('max_prepared_transactions')::int)"
    ).fetchone()
    assert table is not None
    small = estimate(owner, "slices => 12, hash_partitions => 4")
    assert {row.verdict for row in small.values()} <= {"good", "slow to plan"}
    assert small["by Id"].sessions == table[0] // small["by Id"].locks  # type: ignore[operator]
    large = estimate(owner, "slices => 120, hash_partitions => 64")
    assert large["layout"].verdict == large["by Id"].verdict == "beyond the lock table"
    assert large["by Id"].sessions == 0
    assert large["both keys"].verdict == "good"
    assert large["no key, three tables joined"].planning_ms > 1000  # type: ignore[operator]


def test_what_is_given_decides(owner: psycopg.Connection[Any]) -> None:
    few, many = (estimate(owner, f"slices => 24, hash_partitions => 8, indexes => {number}") for number in (1, 9))
    assert few["by Id"].locks < many["by Id"].locks  # type: ignore[operator]
    assert few["by Id"].planning_ms < many["by Id"].planning_ms  # type: ignore[operator]
    alone = estimate(owner, "slices => 24, hash_partitions => 8, tables => 1")
    assert not any("joined" in kind for kind in alone)
    one, two = (
        estimate(owner, f"slices => 24, hash_partitions => 8, array_values => {n}")["hash key in a large array"]
        for n in (1000, 20_000)
    )
    assert two.planning_ms > 5 * one.planning_ms and two.planner_bytes > 5 * one.planner_bytes  # type: ignore[operator]
    flat = estimate(owner, "slices => 24, hash_partitions => 0, indexes => 2")
    assert (flat["by Id"].leaves, flat["hash key"].leaves, flat["by Id"].locks) in ((24, 24, 73), (24, 24, 75))


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "slices => 3",
        "hash_partitions => 3",
        "slices => 0, hash_partitions => 3",
        "slices => 3, hash_partitions => -1",
        "slices => 3, hash_partitions => 3, indexes => -1",
        "slices => 3, hash_partitions => 3, tables => 0",
        "slices => 3, hash_partitions => 3, array_values => 0",
        "slices => 3, hash_partitions => 3, calibrate => NULL",
    ],
)
def test_what_makes_no_layout_is_refused(owner: psycopg.Connection[Any], arguments: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        estimate(owner, arguments)


def test_the_server_itself_is_measured_and_nothing_stays(
    databases: dict[str, Database], owner: psycopg.Connection[Any]
) -> None:
    model = estimate(owner)
    measured = estimate(owner, "'\"Dialog\"', calibrate => true")
    factors = {
        round(measured[kind].planning_ms / model[kind].planning_ms, 1)  # type: ignore[operator]
        for kind in ("by Id", "no key, three tables joined")
    }
    assert len(factors) <= 2 and min(factors) > 0
    assert owner.execute("SELECT count(*) FROM pg_class WHERE relname ~ 'calibration'").fetchone() == (0,)
    database = databases["exact"]
    with database.server.connect(database.name) as admin:
        admin.execute(f"REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC")  # type: ignore[call-overload]
    with (
        database.server.connect(database.name, "stranger") as stranger,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        estimate(stranger, "slices => 3, hash_partitions => 3, calibrate => true")
    with database.server.connect(database.name) as admin:
        admin.execute(f"GRANT TEMPORARY ON DATABASE {database.name} TO PUBLIC")  # type: ignore[call-overload]


DECLARE = "SELECT count(*) FROM dp.create_hierarchy('event', 'at', 'party', start => '1975-01-01', {})"


@pytest.mark.parametrize("option", ["", "key_form => 'slice', "])
def test_a_layout_that_cannot_be_locked_is_refused_with_those_that_fit(
    owner: psycopg.Connection[Any], option: str
) -> None:
    owner.execute("CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL)")
    for dry_run in ("false", "true"):
        with pytest.raises(psycopg.errors.OutOfMemory) as caught, owner.transaction():
            owner.execute(DECLARE.format(f"{option}hash_partitions => 64, dry_run => {dry_run}"))
    assert " slices of 64 leaves, of which each has 2 relations" in str(caught.value.diag.message_detail)
    hint = str(caught.value.diag.message_hint)
    fits = re.search(r"hash_partitions => (\d+)", hint)
    assert fits is not None and "max_locks_per_transaction" in hint
    with owner.transaction(force_rollback=True):
        assert owner.execute(DECLARE.format(f"{option}hash_partitions => {fits[1]}")).fetchone() != (0,)
    with owner.transaction(force_rollback=True):
        assert owner.execute(DECLARE.format(f"{option}retention => '2 years', hash_partitions => 64")).fetchone() != (
            0,
        )
    with owner.transaction(force_rollback=True):
        assert owner.execute(DECLARE.format(f"{option}slice => '1 century', hash_partitions => 64")).fetchone() != (0,)
    allowed = DECLARE.format(f"{option}hash_partitions => 64, allow_large_layout => true")
    assert owner.execute(allowed).fetchone() != (0,)
    again = allowed.replace(", allow_large_layout => true", "")
    assert owner.execute(again).fetchone() == (0,), "it is there already"
