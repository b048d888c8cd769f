"""What planning costs on layouts of three tables: the kinds of queries that dp.estimate knows, measured.

``make bench ARGS='planning --server 18'`` prints the figures of plan/planning_times.py for a version.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg

from bench.report import Result
from bench.support import Bench, Connection, value

SLOW = {"no key, three tables joined": {15: 400, 16: 400, 17: 900}}  # more leaves than these take minutes
INDEXES = 2  # of each leaf: the primary key and another
ARRAY = 1000  # values in a large array
PATIENCE = 4.0  # seconds for one query
LEAST, MOST = 5, 40  # times that it is planned
MEMORY_SINCE = 170000  # EXPLAIN (MEMORY)

_JOINED = """
    SELECT * FROM dialog AS d
    JOIN activity AS a ON a.parent = d.id AND a.at = d.at AND a.party = d.party
    JOIN actor AS c ON c.parent = a.id AND c.at = a.at AND c.party = a.party
"""
# by the names that dp.estimate has for them
QUERIES = {
    "by Id": "SELECT * FROM dialog WHERE id = 5",
    "no key, three tables joined": f"{_JOINED} WHERE d.body = 'x'",
    "hash key": "SELECT * FROM dialog WHERE party = 'p'",
    "hash key, three tables joined": f"{_JOINED} WHERE d.party = 'p'",
    "both keys": "SELECT * FROM dialog WHERE party = 'p' AND at = '2030-01-15'",
    "hash key in a large array": "SELECT * FROM dialog WHERE party = ANY ('{{{array}}}')",
}


class Layout(NamedTuple):
    """Slices of a month, and their modulus."""

    slices: int
    hash_partitions: int

    @property
    def leaves(self) -> int:
        """Of one table."""
        return self.slices * self.hash_partitions


FITTED = tuple(map(Layout, (6, 12, 24, 48, 100), (4, 16, 16, 16, 16)))


class Cost(NamedTuple):
    """What planning one query took."""

    first_ms: float  # in a fresh backend
    ms: float
    kilobytes: int | None  # the planner's own memory; from 17 on


@contextmanager
def planned(bench: Bench, layout: Layout) -> Iterator[Connection]:
    """A database with three empty tables of a layout, and a session."""
    with bench.database() as database:
        connection = database.connect("postgres")  # the planner's statistics are for superusers
        connection.prepare_threshold = None
        for table in ("dialog", "activity", "actor"):
            connection.execute(
                f"CREATE TABLE {table} (id bigint, parent bigint, at date, party text, body text,"
                " PRIMARY KEY (id, at, party)) PARTITION BY RANGE (at)"
            )
            connection.execute(f"CREATE INDEX ON {table} (party, at)")
            for number in range(layout.slices):
                connection.execute(_slice(table, number, layout.hash_partitions))
        try:
            yield connection
        finally:
            connection.close()


def _slice(table: str, number: int, modulus: int) -> str:
    leaves = "; ".join(
        f"CREATE TABLE {table}_{number}_{remainder} PARTITION OF {table}_{number}"
        f" FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})"
        for remainder in range(modulus)
    )
    first, last = (f"date '2030-01-01' + interval '{months} months'" for months in (number, number + 1))
    return (
        f"CREATE TABLE {table}_{number} PARTITION OF {table} FOR VALUES FROM (({first})::date) TO (({last})::date)"
        f" PARTITION BY HASH (party); {leaves}"
    )


def cost(connection: Connection, kind: str) -> Cost:
    """The least of several times: of the processor, by the server's own count, for the machine may do other things."""
    query = QUERIES[kind].format(array=",".join(f"p{number}" for number in range(ARRAY)))
    taken: list[float] = []

    def told(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.message_primary == "PLANNER STATISTICS":
            taken.append(_processor_ms(str(diagnostic.message_detail)))

    connection.add_notice_handler(told)
    started = time.monotonic()
    connection.execute("SET log_planner_stats = on")
    connection.execute("SET client_min_messages = log")
    taken.clear()
    while len(taken) < LEAST or (len(taken) < MOST and time.monotonic() - started < PATIENCE):
        connection.execute(f"EXPLAIN {query}")
    connection.execute("RESET client_min_messages")
    connection.execute("RESET log_planner_stats")
    connection.remove_notice_handler(told)
    kilobytes = None
    if int(value(connection, "SHOW server_version_num")) >= MEMORY_SINCE:
        kilobytes = value(connection, f"EXPLAIN (MEMORY, FORMAT JSON) {query}")[0]["Planning"]["Memory Used"]
    return Cost(taken[0], min(taken[1:]), kilobytes)


def _processor_ms(told: str) -> float:
    """User and system time of PLANNER STATISTICS."""
    found = re.search(r"([0-9.]+) s user, ([0-9.]+) s system", told)
    assert found is not None, told
    return sum(map(float, found.groups())) * 1000


def locks(connection: Connection, kind: str) -> int:
    """How many relations a query locks when it is planned."""
    query = QUERIES[kind].format(array=",".join(f"p{number}" for number in range(ARRAY)))
    with connection.transaction():
        connection.execute(f"EXPLAIN {query}")
        counted = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation >= 16384"
        return int(value(connection, counted))


def backend_bytes(connection: Connection) -> int:
    """The memory of a backend, most of it what it keeps of the catalog."""
    return int(value(connection, "SELECT sum(total_bytes) FROM pg_backend_memory_contexts"))


def kinds(bench: Bench, layout: Layout) -> list[str]:
    """Those that are planned within reason."""
    major = int(bench.server_version.split(".")[0])
    return [kind for kind in QUERIES if layout.leaves <= SLOW.get(kind, {}).get(major, layout.leaves)]


def measure(bench: Bench) -> list[Result]:
    """What the model is fitted to."""
    found = []
    for layout in FITTED:
        with planned(bench, layout) as connection:
            for kind in kinds(bench, layout):
                each = cost(connection, kind)
                size = f"{layout.slices} x {layout.hash_partitions}"
                memory = None if each.kilobytes is None else float(each.kilobytes)
                found.append(Result("planning", f"{kind}, {size}", each.ms, "ms"))
                if memory is not None:
                    found.append(Result("planning", f"{kind}, {size}, memory", memory, "kB"))
    return found
