"""Ten changes of the whole hierarchy, 22 tables, 60 slices by 8 leaves: by functions and as plain DDL."""

from __future__ import annotations

from bench.create import STARTS
from bench.report import Result
from bench.support import Bench, Connection, milliseconds, value
from tests.support import catalogs, dialogporten
from tests.support.database import Database
from tests.support.dialogporten.changes import TEN_CHANGES

SLICES, LEAVES = 60, 8
FUNCTIONS = tuple(f"SELECT {function}" for function, _ in TEN_CHANGES)
PLAIN = tuple(statement for _, statement in TEN_CHANGES)


def migrate(connection: Connection, statements: tuple[str, ...]) -> float:
    """All of them in one transaction, as a migration tool does; how many milliseconds it took."""

    def run() -> None:
        with connection.transaction():
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    return milliseconds(run)


def declare(connection: Connection) -> None:
    """The 22 tables with their slices."""
    connection.execute(dialogporten.schema(whole=True))  # type: ignore[arg-type]
    for text in dialogporten.declaration("slice", whole=True, hash_partitions=LEAVES, premake=0):
        connection.execute(text)  # type: ignore[call-overload]
    connection.execute("CALL dp.create_slices(%s, %s, %s)", (dialogporten.ROOT, STARTS[0], STARTS[SLICES]))


def measure(bench: Bench) -> list[Result]:
    """Functions, the same once more, plain DDL that is carried, and plain DDL alone; the catalogs must be equal."""
    with bench.database() as database:
        declare(database.connect())
        for connection in database.connections:
            connection.close()
        copies = [Database(bench.server, f"{database.name}_{number}") for number in range(2)]
        try:
            for copy in copies:
                with bench.server.connect() as admin:
                    admin.execute(
                        f"CREATE DATABASE {copy.name} TEMPLATE {database.name} OWNER owner STRATEGY file_copy"  # type: ignore[call-overload]
                    )
            plain, bare = copies
            called, again = (migrate(database.connect(), FUNCTIONS) for _ in range(2))
            carried = migrate(plain.connect(), PLAIN)
            alone = migrate(bare.connect(**{"dp.propagate_ddl": "off"}), PLAIN)
            leaves = value(database.connect(), "SELECT count(*) FROM dp.leaf")
            assert leaves == SLICES * LEAVES * len(dialogporten.WHOLE_TABLES), leaves
            for each in (database, plain):
                assert value(each.connect(), "SELECT count(*) FROM dp.drift()") == 0, "no partition differs"
            assert catalogs.difference(catalogs.picture(database), catalogs.picture(plain)) == {}, "the same catalog"
        finally:
            for copy in copies:
                copy.drop()
    what, baseline = f"ten changes, {leaves:,} leaves", "plain DDL, dp.propagate_ddl = off"
    return [
        Result("migration", f"{what}, by functions", called, "ms", baseline, alone),
        Result("migration", f"{what}, by functions once more", again, "ms", baseline, alone),
        Result("migration", f"{what}, plain DDL, carried", carried, "ms", baseline, alone),
    ]
