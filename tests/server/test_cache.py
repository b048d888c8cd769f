"""A cold cache is filled with what matters most, and never with more than was allowed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import call, create_slices, declare

Connection = psycopg.Connection[Any]


@pytest.fixture
def owner(db: Database) -> Connection:
    owner = db.connect()
    declare(owner, premake=0)
    create_slices(owner, "2025-02-01", "2025-06-01")
    call(owner, "SELECT dp.create_index", "event", "event_order", "(party, at DESC)")
    owner.execute(
        "INSERT INTO event (id, at, party, body) SELECT n, '2025-02-01 00:00+00'::timestamptz + n % 85 * interval"
        " '1 day', 'p' || n % 40, repeat('x', 300) FROM generate_series(1, 6000) AS n"
    )
    return owner


def with_extensions(db: Database, *names: str) -> None:
    with db.server.connect(db.name) as admin:
        for name in names:
            admin.execute(f"CREATE EXTENSION {name}")  # type: ignore[call-overload]
        if "pg_buffercache" in names:
            admin.execute("GRANT pg_monitor TO owner")


@pytest.fixture
def monitored(db: Database) -> Any:
    with_extensions(db, "pg_prewarm", "pg_buffercache")
    yield
    with db.server.connect(db.name) as admin:
        admin.execute("REVOKE pg_monitor FROM owner")


@pytest.mark.usefixtures("monitored")
def test_indexes_then_the_newest_rows_within_the_budget(owner: Connection) -> None:
    whole = call(owner, "SELECT dp.prewarm", "event")
    assert {row[5] for row in whole} == {"warmed"}
    assert all(row[4] == row[2] for row in whole), "all of it is resident"
    kinds = [row[1] for row in whole]
    assert kinds == sorted(kinds, key=["index", "heap", "reference"].index)
    months = [row[0].split("_2025_")[1][:2] for row in whole if row[1] == "heap"]
    assert months == ["04", "04", "03", "03", "02", "02"], "the empty slice of May has nothing to read"
    budget = sum(row[2] for row in whole) // 2
    half = call(owner, "SELECT dp.prewarm", "event", budget)
    warmed = [row for row in half if row[5] == "warmed"]
    assert 0 < sum(row[2] for row in warmed) <= budget
    assert sum(row[2] for row in warmed if row[1] == "index") <= budget // 2
    assert [row[:3] for row in half] == [row[:3] for row in whole], "what is left out is reported"
    assert {row[5] for row in call(owner, "SELECT dp.prewarm", "event", 0)} == {"left out"}


@pytest.mark.usefixtures("monitored")
@pytest.mark.parametrize("hash_partitions", [0, 2])
def test_global_indexes_are_warmed_first(owner: Connection, hash_partitions: int) -> None:
    call(owner, "SELECT dp.create_global_index", "event", ["id"], hash_partitions=hash_partitions)
    warmed = call(owner, "SELECT dp.prewarm", "event")
    first = [row for row in warmed if row[1] == "global index"]
    assert warmed[: len(first)] == first
    assert len(first) == 2 * max(hash_partitions, 1), "the rows and the key of each part"
    assert all(row[4] == row[2] > 0 for row in first)


@pytest.mark.usefixtures("monitored")
def test_residency(owner: Connection) -> None:
    call(owner, "SELECT dp.prewarm", "event")
    rows = call(owner, "SELECT dp.residency", "event")
    heaps = [row for row in rows if row[2] == "heap"]
    assert len(heaps) == 6
    assert all(row[4] == row[3] > 0 for row in heaps)


@pytest.mark.usefixtures("monitored")
def test_relations_are_not_kept_locked(owner: Connection) -> None:
    with owner.transaction():
        call(owner, "SELECT dp.prewarm", "event")
        held = owner.execute(
            "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE l.pid = pg_backend_pid() AND c.relname ~ '^(event|item)'"
        ).fetchall()
    assert held == []


@pytest.mark.usefixtures("monitored")
def test_what_was_warm_is_warm_again_when_it_has_been_ordered(owner: Connection) -> None:
    call(owner, "SELECT dp.prewarm", "event")
    call(owner, "CALL dp.cluster", "event", threshold=1, scope="all", vacuum=False)
    plan = [row[0] for row in owner.execute("SELECT statement FROM dp.last_plan").fetchall()]
    assert sum("pg_prewarm" in statement for statement in plan) == 6 * 3, "the rows, their key, and the order's index"
    heaps = [row for row in call(owner, "SELECT dp.residency", "event") if row[2] == "heap"]
    assert all(row[4] == row[3] for row in heaps)


def test_without_the_extensions_the_error_says_what_to_do(db: Database, owner: Connection) -> None:
    for function, name in (("prewarm", "pg_prewarm"), ("residency", "pg_buffercache")):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=name) as caught:
            call(owner, f"SELECT dp.{function}", "event")
        assert f"CREATE EXTENSION {name}" in str(caught.value.diag.message_hint)
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE EXTENSION pg_prewarm")
        admin.execute("CREATE EXTENSION pg_buffercache")
    assert {row[3:] for row in call(owner, "SELECT dp.prewarm", "event")} == {(None, None, "warmed")}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        call(owner, "SELECT dp.residency", "event")


@pytest.mark.usefixtures("monitored")
def test_more_than_the_cache_holds_is_refused(owner: Connection) -> None:
    for budget in (1 << 50, -1):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            call(owner, "SELECT dp.prewarm", "event", budget)


@pytest.fixture
def cold(db: Database, owner: Connection) -> Iterator[Database]:
    """A copy of the database, of which nothing is in the cache yet, with a reference besides."""
    owner.execute("CREATE TABLE kind (id int PRIMARY KEY, name text)")
    owner.execute("INSERT INTO kind SELECT n, repeat('k', 200) FROM generate_series(1, 500) AS n")
    call(owner, "SELECT dp.register_reference", "kind", root="event")
    call(owner, "SELECT dp.create_global_index", "event", ["id"])
    db.close()
    copy = Database(db.server, f"{db.name}_cold")
    with db.server.connect() as admin:
        admin.execute(f"CREATE DATABASE {copy.name} TEMPLATE {db.name} OWNER owner STRATEGY file_copy")  # type: ignore[call-overload]
    try:
        yield copy
    finally:
        copy.drop()


# Of the main forks: others are of no relation's size, and a page of a free space map is read where rows are written.
CACHED = """
    SELECT count(*) * 8192 FROM pg_buffercache AS b JOIN pg_class AS c ON b.relfilenode = pg_relation_filenode(c.oid)
    WHERE b.reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relforknumber = 0
      AND c.relnamespace = 'public'::regnamespace
      AND c.oid NOT IN (SELECT template FROM dp.managed_table WHERE role <> 'reference')
"""


@pytest.mark.usefixtures("monitored")
@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.8, 1.0])
def test_no_more_than_the_budget_is_in_the_cache(cold: Database, share: float) -> None:
    owner = cold.connect()
    size = sum(row[3] for row in call(owner, "SELECT dp.residency", "event"))
    critical = "SELECT coalesce(sum(bytes), 0) FROM dp.prewarm('event', 0) WHERE kind ~ 'index'"
    row = owner.execute(critical).fetchone()
    assert row is not None
    budget = int(share * size) if share < 1 else int(max(size, 2 * row[0]))
    assert owner.execute(CACHED).fetchone() == (0,), "looking reads nothing"
    rows = call(owner, "SELECT dp.prewarm", "event", budget)
    warmed = [row for row in rows if row[5] == "warmed"]
    cached = owner.execute(CACHED).fetchone()
    assert cached == (sum(row[2] for row in warmed),)
    assert cached[0] <= budget
    assert all(row[3] == 0 and row[4] == row[2] for row in warmed)
    assert all(row[4] == 0 for row in rows if row[5] == "left out"), "as a whole or not at all"
    if share == 1:
        assert len(warmed) == len(rows)
        kinds = [row[1] for row in rows]
        assert kinds == sorted(kinds, key=["global index", "index", "heap", "reference"].index)
        assert [row[0] for row in rows if row[1] == "reference"] == ['"public"."kind"', '"public"."kind_pkey"']


# Reads when nobody holds the advisory lock 7.
_HALTED = """
    CREATE FUNCTION read_anyway(regclass, text, text, int8, int8) RETURNS int8
    LANGUAGE c AS '$libdir/pg_prewarm', 'pg_prewarm';
    CREATE OR REPLACE FUNCTION pg_prewarm(
        regclass, mode text DEFAULT 'buffer', fork text DEFAULT 'main', first_block int8 DEFAULT NULL,
        last_block int8 DEFAULT NULL
    ) RETURNS int8 LANGUAGE plpgsql AS
    'BEGIN
        SET LOCAL lock_timeout = 0;
        PERFORM pg_advisory_xact_lock_shared(7);
        RETURN public.read_anyway($1, $2, $3, $4, $5);
    END'
"""


@pytest.mark.usefixtures("monitored")
def test_what_is_dropped_meanwhile_is_no_failure(db: Database, owner: Connection) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute(_HALTED)
    warming = db.connect()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'advisory'"
    with ThreadPoolExecutor() as pool:
        owner.execute("SELECT pg_advisory_lock(7)")
        warmed = pool.submit(call, warming, "SELECT dp.prewarm", "event")
        while not db.value(waits, warming.info.backend_pid):
            assert not warmed.done()
        call(owner, "SELECT dp.drop_slice", "event", "2025-02-01")
        owner.execute("SELECT pg_advisory_unlock(7)")
    verdicts: dict[bool, set[str]] = {True: set(), False: set()}
    for row in warmed.result():
        verdicts["_2025_02_" in row[0]].add(row[5])
    assert verdicts == {True: {"gone"}, False: {"warmed"}}


@pytest.mark.usefixtures("monitored")
def test_what_maintenance_has_locked_is_waited_for_or_left(db: Database, owner: Connection) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute(_HALTED.replace("SET LOCAL lock_timeout = 0;", ""))
    warming = db.connect()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor() as pool:
        owner.execute("BEGIN")
        owner.execute("LOCK TABLE event_2025_04_h00")
        warmed = pool.submit(call, warming, "SELECT dp.prewarm", "event")
        while not db.value(waits, warming.info.backend_pid):
            assert not warmed.done()
        owner.execute("SELECT pg_advisory_lock(7)")
        owner.execute("COMMIT")
        verdicts = {row[5] for row in warmed.result()}
        owner.execute("SELECT pg_advisory_unlock(7)")
    assert verdicts == {"locked"}, "what could not be read is told, and the call does not fail"
