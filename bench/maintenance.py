"""A nightly run over many hierarchies that finds nothing to do, against pg_partman over the same tables."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from bench.report import Result
from bench.support import Bench, Connection, interleaved, session, value
from tests.support.database import Database

SETS, TIMES = 50, 9


def declare_tables(connection: Connection, schema: str) -> None:
    """The same tables, partitioned by month, in a schema of their own."""
    connection.execute(f"CREATE SCHEMA {schema}")
    for number in range(SETS):
        connection.execute(
            f"CREATE TABLE {schema}.event_{number} (id bigint NOT NULL, at timestamptz NOT NULL, body text,"
            " PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
        )


def prepare_ours(connection: Connection) -> Callable[[], object]:
    """The first runs make the slices and analyse the parents; then there is nothing to do."""
    declare_tables(connection, "ours")
    for number in range(SETS):
        connection.execute("SELECT dp.create_hierarchy(%s, 'at', premake => 4)", (f"ours.event_{number}",))

    def run() -> None:
        connection.execute("CALL dp.run_maintenance()")

    run()
    logged = value(connection, "SELECT count(*) FROM dp.log")
    run()
    assert value(connection, "SELECT count(*) FROM dp.log") == logged, "there was something to do"
    return run


def prepare_partman(database: Database, connection: Connection) -> Callable[[], object] | None:
    """The same for pg_partman, where the server has it."""
    try:
        with database.server.connect(database.name) as admin:
            admin.execute("CREATE SCHEMA partman AUTHORIZATION owner")
            admin.execute("CREATE EXTENSION pg_partman SCHEMA partman")
            admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA partman TO owner")
            old = value(admin, "SELECT extversion::text < '5' FROM pg_extension WHERE extname = 'pg_partman'")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
        return None
    declare_tables(connection, "theirs")
    kind, width = ("native", "monthly") if old else ("range", "1 month")
    for number in range(SETS):
        connection.execute(
            "SELECT partman.create_parent(%s, 'at', %s, %s, p_premake => 4)", (f"theirs.event_{number}", kind, width)
        )

    def run() -> None:
        connection.execute("SELECT partman.run_maintenance(p_analyze => false)")

    def count() -> object:
        return value(connection, "SELECT count(*) FROM pg_inherits WHERE inhparent::regclass::text ~ '^theirs[.]'")

    run()
    made = count()
    run()
    assert count() == made, "there was something to do"
    return run


def measure(bench: Bench) -> list[Result]:
    """Warm sessions, in turns."""
    with bench.database() as database:
        ours = prepare_ours(session(database))
        theirs = prepare_partman(database, session(database))
        taken = interleaved(TIMES, ours, *([theirs] if theirs else []))
    return [
        Result(
            "maintenance",
            f"run_maintenance, {SETS} hierarchies with nothing to do",
            taken[0],
            "ms",
            "pg_partman, the same tables" if theirs else "pg_partman is not installed",
            taken[1] if theirs else None,
            faster=5,
        )
    ]
