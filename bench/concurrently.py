"""An index of 1,920 leaves without blocking: one CALL against psql's loop of CREATE INDEX CONCURRENTLY."""

from __future__ import annotations

from bench.create import LEAVES, MONTHS, STARTS
from bench.report import Result
from bench.support import Bench, milliseconds, session, value
from tests.support.database import with_dblink

TABLE = "Dialog"
ROWS = 2_000  # of each leaf
CALL = (
    'CALL dp.create_index_concurrently(%s, %s, \'("Party", "ContentUpdatedAt" DESC)\', connection => %s, dry_run => %s)'
)
LOOP = (
    'SELECT format(\'CREATE INDEX CONCURRENTLY ON %s ("Party", "ContentUpdatedAt")\', relid)'
    " FROM pg_partition_tree('\"{table}\"') WHERE isleaf \\gexec\n"
)


def measure(bench: Bench) -> list[Result]:
    """dp.create_index_concurrently; its own statements, run by psql; and the bare loop, which attaches nothing."""
    with bench.database() as database:
        connection = session(database)
        with_dblink(database)
        connection.execute(
            f'CREATE TABLE "{TABLE}" ("Id" bigint NOT NULL, "ContentUpdatedAt" timestamptz NOT NULL,'
            ' "Party" text NOT NULL, "Org" text,'
            ' PRIMARY KEY ("Id", "ContentUpdatedAt", "Party")) PARTITION BY RANGE ("ContentUpdatedAt")'
        )
        connection.execute(
            "SELECT dp.create_hierarchy(%s, 'ContentUpdatedAt', 'Party', hash_partitions => %s)",
            (f'"{TABLE}"', LEAVES),
        )
        connection.execute("CALL dp.create_slices(%s, %s, %s)", (f'"{TABLE}"', STARTS[0], STARTS[MONTHS]))
        connection.execute(
            f"INSERT INTO \"{TABLE}\" SELECT n, t, 'party ' || n %% 5000, 'org ' || n %% 50"
            " FROM unnest(%s::timestamptz[]) AS t, generate_series(1, %s) AS n",
            ([f"{start} 12:00:00+00" for start in STARTS[:MONTHS]], LEAVES * ROWS),
        )
        bare = milliseconds(lambda: bench.server.psql(database.name, LOOP.format(table=TABLE), "owner"))
        host = f"host={bench.server.socket_directory}"
        called = milliseconds(lambda: connection.execute(CALL, (f'"{TABLE}"', "by_party", host, False)))
        connection.execute(CALL, (f'"{TABLE}"', "by_hand", host, True))
        plan = connection.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall()
        script = ";\n".join(row[0] for row in plan)
        by_hand = milliseconds(lambda: bench.server.psql(database.name, script, "owner"))
        count = "SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid WHERE indisvalid"
        top = value(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_party'::regclass")
        assert top, value(connection, count)
    what = f"dp.create_index_concurrently, {MONTHS * LEAVES:,} leaves of {ROWS:,} rows"
    return [
        Result("concurrently", what, called, "ms", "its statements run by psql", by_hand),
        Result(
            "concurrently",
            what,
            called,
            "ms",
            "psql's loop of CREATE INDEX CONCURRENTLY, nothing attached",
            bare,
            at_most=1.2,
        ),
    ]
