"""Ten years of months by 16 leaves: the procedure against bare SQL that commits once a month."""

from __future__ import annotations

import time
from statistics import median

from bench.report import Result
from bench.support import Bench, Connection, milliseconds, session, value

MONTHS, LEAVES = 120, 16
AT_LEAST, AT_MOST, SECONDS = 3, 7, 45  # pairs of runs, and how long to go on with them
FAMILY_MONTHS = 12  # of the three tables: every month costs more than the one before
TABLES = ("Dialog", "DialogActivity", "Actor")
STARTS = [f"{2020 + month // 12}-{month % 12 + 1:02d}-01" for month in range(MONTHS + 1)]
COLUMNS = """
    "Id" uuid NOT NULL, "ContentUpdatedAt" timestamptz NOT NULL, "Party" text NOT NULL, "ParentId" uuid,
    "Org" text NOT NULL, "CreatedAt" timestamptz NOT NULL, "Status" integer NOT NULL,
    PRIMARY KEY ("Id", "ContentUpdatedAt", "Party")
"""


def declaration(table: str, parent: str | None) -> str:
    """A partitioned table with a primary key and three indexes."""
    key = ""
    if parent is not None:
        key = (
            f', FOREIGN KEY ("ParentId", "ContentUpdatedAt", "Party") REFERENCES "{parent}"'
            ' ("Id", "ContentUpdatedAt", "Party") ON UPDATE CASCADE ON DELETE CASCADE'
        )
    return f"""
        CREATE TABLE "{table}" ({COLUMNS}{key}) PARTITION BY RANGE ("ContentUpdatedAt");
        CREATE INDEX ON "{table}" ("Party", "ContentUpdatedAt" DESC);
        CREATE INDEX ON "{table}" ("Org", "CreatedAt");
        CREATE INDEX ON "{table}" ("ParentId");
    """


def month_statements(table: str, month: int) -> list[str]:
    """One month of one table, as a careful DBA would write it."""
    name = f"{table}_{STARTS[month][:7].replace('-', '_')}"
    return [
        f'CREATE TABLE "{name}" PARTITION OF "{table}"'
        f" FOR VALUES FROM ('{STARTS[month]} 00:00:00+00') TO ('{STARTS[month + 1]} 00:00:00+00')"
        ' PARTITION BY HASH ("Party")',
        *(
            f'CREATE TABLE "{name}_h{leaf:02d}" PARTITION OF "{name}"'
            f" FOR VALUES WITH (MODULUS {LEAVES}, REMAINDER {leaf})"
            for leaf in range(LEAVES)
        ),
    ]


def by_hand(bench: Bench, tables: tuple[str, ...], months: int) -> float:
    """Bare SQL, one string and one commit a month."""
    with bench.database() as database:
        connection = session(database)
        for position, table in enumerate(tables):
            connection.execute(declaration(table, tables[position - 1] if position else None))
        texts = [
            ";\n".join(statement for table in tables for statement in month_statements(table, month))
            for month in range(months)
        ]

        def work() -> None:
            for text in texts:
                connection.execute(text)

        taken = milliseconds(work)
        check(connection, months * len(tables))
        return taken


def by_procedure(bench: Bench, tables: tuple[str, ...], months: int) -> float:
    """CALL dp.create_slices."""
    with bench.database() as database:
        connection = session(database)
        for position, table in enumerate(tables):
            parent = tables[position - 1] if position else None
            connection.execute(declaration(table, parent))
            if parent is None:
                connection.execute(
                    "SELECT dp.create_hierarchy(%s, 'ContentUpdatedAt', 'Party', hash_partitions => %s)",
                    (f'"{table}"', LEAVES),
                )
            else:
                connection.execute("SELECT dp.register_child(%s, %s)", (f'"{table}"', f'"{parent}"'))
        call = "CALL dp.create_slices(%s, %s, %s)"
        taken = milliseconds(lambda: connection.execute(call, (f'"{tables[0]}"', STARTS[0], STARTS[months])))
        check(connection, months * len(tables))
        return taken


def check(connection: Connection, slices: int) -> None:
    """Both have made the same."""
    count = value(connection, "SELECT count(*) FROM pg_class WHERE relname ~ '_h[0-9]+$' AND relkind = 'r'")
    assert count == slices * LEAVES, count


def measure(bench: Bench) -> list[Result]:
    """One table, which has the goal, and three tables with foreign keys."""
    hand: list[float] = []
    procedure: list[float] = []
    started = time.monotonic()
    while len(hand) < AT_LEAST or (len(hand) < AT_MOST and time.monotonic() - started < SECONDS):
        hand.append(by_hand(bench, TABLES[:1], MONTHS))
        procedure.append(by_procedure(bench, TABLES[:1], MONTHS))
    bare = "bare SQL, a commit a month"
    return [
        Result(
            "create", "create_slices, 120 months x 16 leaves", median(procedure), "ms", bare, median(hand), at_most=1.15
        ),
        Result(
            "create",
            f"the same, 3 tables with foreign keys, {FAMILY_MONTHS} months",
            by_procedure(bench, TABLES, FAMILY_MONTHS),
            "ms",
            bare,
            by_hand(bench, TABLES, FAMILY_MONTHS),
        ),
    ]
