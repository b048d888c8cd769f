"""An index of 1,920 leaves without blocking: one CALL against psql's loop of CREATE INDEX CONCURRENTLY."""

from __future__ import annotations

from bench.create import LEAVES, MONTHS, STARTS, declaration
from bench.report import Result
from bench.support import Bench, milliseconds, session, value

TABLE = "Dialog"
LOOP = (
    'SELECT format(\'CREATE INDEX CONCURRENTLY ON %s ("Party", "ContentUpdatedAt")\', relid)'
    " FROM pg_partition_tree('\"{table}\"') WHERE isleaf \\gexec\n"
)


def measure(bench: Bench) -> list[Result]:
    """dp.create_index_concurrently, which attaches the indexes, too; and the bare loop, which does not."""
    with bench.database() as database:
        connection = session(database)
        with bench.server.connect(database.name) as admin:
            admin.execute("CREATE EXTENSION dblink")
            admin.execute("GRANT EXECUTE ON FUNCTION dblink_connect_u(text, text) TO owner")
        connection.execute(declaration(TABLE, None))
        connection.execute(
            "SELECT dp.create_hierarchy(%s, 'ContentUpdatedAt', 'Party', hash_partitions => %s)",
            (f'"{TABLE}"', LEAVES),
        )
        connection.execute("CALL dp.create_slices(%s, %s, %s)", (f'"{TABLE}"', STARTS[0], STARTS[MONTHS]))
        bare = milliseconds(lambda: bench.server.psql(database.name, LOOP.format(table=TABLE), "owner"))
        called = milliseconds(
            lambda: connection.execute(
                "CALL dp.create_index_concurrently(%s, 'by_party', '(\"Party\", \"ContentUpdatedAt\" DESC)',"
                " connection => %s)",
                (f'"{TABLE}"', f"host={bench.server.socket_directory}"),
            )
        )
        count = "SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid WHERE indisvalid"
        top = value(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_party'::regclass")
        assert top, value(connection, count)
    return [
        Result(
            "concurrently",
            f"dp.create_index_concurrently, {MONTHS * LEAVES:,} leaves",
            called,
            "ms",
            "psql's loop of CREATE INDEX CONCURRENTLY, nothing attached",
            bare,
            at_most=1.2,
        )
    ]
