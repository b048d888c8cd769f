"""How fast a cold cache is filled by dp.prewarm, against a bare loop of pg_prewarm over the same relations."""

from __future__ import annotations

from statistics import median

from bench.report import Result
from bench.support import Bench, Connection, milliseconds, session, value
from tests.support.database import Database

ROWS, BUDGET, TIMES = 300_000, 450 * 2**20, 5
AT_MOST = 1.11  # of the time: 0.9 of the throughput
TABLES = f"""
    CREATE TABLE dialog (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, title text);
    CREATE TABLE content (id bigint PRIMARY KEY, dialog_id bigint NOT NULL REFERENCES dialog, body text);
    SELECT dp.create_hierarchy('dialog', 'at', 'party', hash_partitions => 4, premake => 0);
    SELECT dp.register_child('content', 'dialog');
    CALL dp.create_slices('dialog', '2025-01-01', '2026-01-01');
    CREATE INDEX ON dialog (party, at DESC);
    CREATE INDEX ON content (party, dialog_id);
    INSERT INTO dialog (id, at, party, title) SELECT n, '2025-01-01 00:00+00'::timestamptz + n * interval '100 seconds',
        'party ' || n % 999, repeat('t', 400) FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO content (id, dialog_id, at, party, body) SELECT id, id, at, party, repeat('x', 400) FROM dialog;
"""
PREWARM = f"SELECT * FROM dp.prewarm('dialog', {BUDGET})"
WARMED = f"SELECT array_agg(relation::regclass::oid) FROM dp.prewarm('dialog', {BUDGET}) WHERE verdict = 'warmed'"
LOOP = "SELECT sum(pg_prewarm(r::oid::regclass)) FROM unnest(%s::oid[]) AS r"
LOOK = "SELECT relfilenode, count(*) FROM pg_buffercache GROUP BY 1"


def cold(bench: Bench, database: Database) -> Connection:
    """A session of a server that has just started; what a session reads of the catalog it has read."""
    bench.server.stop("fast")
    bench.server.start()
    connection = session(database)
    connection.execute("SELECT count(*) FROM dp.prewarm('dialog', 0)")
    return connection


def measure(bench: Bench) -> list[Result]:
    """By turns, dp.prewarm, and the loop over what it warmed."""
    with bench.database() as database:
        with bench.server.connect(database.name) as admin:
            admin.execute("CREATE EXTENSION pg_prewarm")
        connection = session(database)
        for statement in TABLES.split(";")[:-1]:
            connection.execute(statement)  # type: ignore[call-overload]
        connection.execute("VACUUM ANALYZE")
        connection = cold(bench, database)
        relations = value(connection, WARMED)
        size = value(connection, "SELECT sum(pg_relation_size(r)) FROM unnest(%s::oid[]) AS r", relations) / 2**20
        found = [turns(bench, database, relations, f"dp.prewarm of {size:.0f} MB", "a loop of pg_prewarm", ())]
        with bench.server.connect(database.name) as admin:
            admin.execute("CREATE EXTENSION pg_buffercache")
            admin.execute("GRANT pg_monitor TO owner")
        about = f"dp.prewarm of {size:.0f} MB, which looks into the cache"
        found.append(turns(bench, database, relations, about, "a loop, and two looks", (LOOK,)))
        with bench.server.connect() as admin:
            admin.execute("REVOKE pg_monitor FROM owner")
    return found


def turns(
    bench: Bench, database: Database, relations: list[int], about: str, baseline: str, looks: tuple[str, ...]
) -> Result:
    """Both by turns, each on a cold cache."""

    def prewarm(connection: Connection) -> float:
        return milliseconds(lambda: connection.execute(PREWARM))

    def loop(connection: Connection) -> float:
        def work() -> None:
            for statement in (*looks, LOOP, *looks):
                connection.execute(statement, (relations,) if statement == LOOP else None)  # type: ignore[call-overload]

        return milliseconds(work)

    taken = [(prewarm(cold(bench, database)), loop(cold(bench, database))) for _ in range(TIMES)]
    ours, bare = (median(each) for each in zip(*taken, strict=True))
    return Result("prewarm", about, ours, "ms", baseline, bare, AT_MOST)
