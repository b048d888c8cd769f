"""What a global index costs a writer, and what a lookup by it costs against a table that is not partitioned."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from bench.create import LEAVES, STARTS
from bench.report import Result
from bench.support import Bench, Connection, interleaved, milliseconds, session, value
from tests.support.database import Database
from tests.support.server import Server

MONTHS = 60
BULK, BULK_TIMES, SINGLE_TIMES, LOOKUP_TIMES = 20_000, 5, 301, 301
ROWS = 100_000  # dialogs, each with two activities
COLUMNS = """
    "Id" uuid PRIMARY KEY, "ContentUpdatedAt" timestamptz NOT NULL, "Party" text NOT NULL, "Org" text NOT NULL,
    "ServiceResource" text NOT NULL, "StatusId" int NOT NULL, "Progress" int, "Revision" uuid NOT NULL,
    "CreatedAt" timestamptz NOT NULL, "UpdatedAt" timestamptz NOT NULL, "DueAt" timestamptz, "Deleted" boolean NOT NULL
"""
INDEXES = """
    CREATE INDEX ON {s}."Dialog" ("Party", "ContentUpdatedAt" DESC);
    CREATE INDEX ON {s}."Dialog" ("Org");
    CREATE INDEX ON {s}."Dialog" ("DueAt");
    CREATE INDEX ON {s}."Dialog" ("CreatedAt");
"""
ACTIVITY = """
    CREATE TABLE {s}."Activity" (
        "Id" uuid PRIMARY KEY, "DialogId" uuid NOT NULL REFERENCES {s}."Dialog" ON DELETE CASCADE, "Name" text
    );
    CREATE INDEX ON {s}."Activity" ("DialogId");
"""
INSERT = """
    INSERT INTO {s}."Dialog" SELECT {id}, t, 'party ' || n % 5000, 'org ' || n % 50, 'urn:resource:' || n % 200, n % 5,
        n % 100, gen_random_uuid(), t, t, t + interval '30 days', false
    FROM (SELECT n, timestamptz '2020-01-01 00:00+00' + n * interval '1 day' * ({days}::float8 / {count}) AS t
          FROM generate_series(0, {count} - 1) AS n) AS r
"""


def tables(connection: Connection, schema: str, *, is_partitioned: bool, is_indexed: bool) -> None:
    """Dialogs and activities in a schema of their own."""
    connection.execute(f"CREATE SCHEMA {schema}")
    connection.execute(f'CREATE TABLE {schema}."Dialog" ({COLUMNS})' + ";" + INDEXES.format(s=schema))  # type: ignore[call-overload]
    connection.execute(ACTIVITY.format(s=schema))  # type: ignore[call-overload]
    if not is_partitioned:
        return
    connection.execute(
        "SELECT dp.create_hierarchy(%s, 'ContentUpdatedAt', 'Party', hash_partitions => %s,"
        " allow_weaker_unique => true)",
        (f'{schema}."Dialog"', LEAVES),
    )
    connection.execute(
        "SELECT dp.register_child(%s, %s, allow_weaker_unique => true)",
        (f'{schema}."Activity"', f'{schema}."Dialog"'),
    )
    connection.execute("CALL dp.create_slices(%s, %s, %s)", (f'{schema}."Dialog"', STARTS[0], STARTS[MONTHS]))
    if is_indexed:
        connection.execute("CALL dp.create_global_index_online(%s, '{Id}')", (f'{schema}."Dialog"',))


def bulk(connection: Connection, schema: str) -> Callable[[], object]:
    """An INSERT of many rows over all slices."""
    text = INSERT.format(s=schema, id="gen_random_uuid()", days=(MONTHS - 1) * 30, count=BULK)
    text = text.replace("2020-01-01", STARTS[0])
    return lambda: connection.execute(text)  # type: ignore[call-overload]


def single(connection: Connection, schema: str) -> Callable[[], object]:
    """One row after the other."""
    numbers = itertools.count()

    def insert() -> None:
        number = next(numbers)
        connection.execute(
            f"INSERT INTO {schema}.\"Dialog\" VALUES (gen_random_uuid(), %s, %s, 'org', 'urn:resource', 1, 1,"  # type: ignore[call-overload]
            " gen_random_uuid(), now(), now(), now(), false)",
            (f"{STARTS[number % MONTHS]} 12:00+00", f"party {number}"),
        )

    return insert


def writers(connection: Connection) -> list[Result]:
    """With a global index against without."""
    with_index, without = interleaved(BULK_TIMES, bulk(connection, "indexed"), bulk(connection, "bare"))
    single_with, single_without = interleaved(SINGLE_TIMES, single(connection, "indexed"), single(connection, "bare"))
    name, baseline = "global_index", "without a global index"
    return [
        Result(name, f"INSERT of {BULK:,} rows", with_index, "ms", baseline, without, at_most=1.6),
        Result(name, "INSERT of one row", single_with, "ms", baseline, single_without, at_most=2),
    ]


def child(connection: Connection, view: str, *, has_keys: bool) -> Callable[[], object]:
    """A row below one of the dialogs, with the partition keys or without."""
    chosen = random.Random(7)
    parents = connection.execute(
        'SELECT "Id", "ContentUpdatedAt", "Party" FROM indexed."Dialog" ORDER BY "Id" LIMIT 1000'
    ).fetchall()
    keys, places = (', "ContentUpdatedAt", "Party"', ", %s, %s") if has_keys else ("", "")
    text = f'INSERT INTO {view}."Activity" ("Id", "DialogId"{keys}) VALUES (gen_random_uuid(), %s{places})'

    def insert() -> None:
        connection.execute(text, chosen.choice(parents)[: 3 if has_keys else 1])  # type: ignore[call-overload]

    return insert


def views(connection: Connection) -> list[Result]:
    """Rows without keys through the writable view, against rows with keys."""
    connection.execute("CREATE SCHEMA app")
    connection.execute("SELECT dp.create_writable_view('indexed.\"Activity\"', 'app')")
    without, given = interleaved(
        SINGLE_TIMES, child(connection, "app", has_keys=False), child(connection, "indexed", has_keys=True)
    )
    name = "INSERT of one child through the writable view"
    return [Result("global_index", name, without, "ms", "into the table, with the keys", given)]


class Asker:
    """Asks both for the same rows."""

    def __init__(self, connection: Connection, choose: Callable[[], list[object]], table: str, column: str) -> None:
        self.connection = connection
        self.choose = choose
        self.function = f'SELECT * FROM indexed."{table}_by_{column}"(%s)'
        self.query = f'SELECT * FROM plain."{table}" WHERE "{column}" = ANY (%s)'
        self.asked: list[object] = []

    def choose_anew(self) -> None:
        """Other values, which both are asked for."""
        self.asked = self.choose()

    def by_function(self) -> None:
        """By the lookup function."""
        self.connection.execute(self.function, (self.asked,)).fetchall()  # type: ignore[call-overload]

    def plainly(self) -> None:
        """For the same values."""
        self.connection.execute(self.query, (self.asked,)).fetchall()  # type: ignore[call-overload]


def readers(connection: Connection) -> list[Result]:
    """Lookups against the same question to tables that are not partitioned."""
    load = INSERT.format(s="plain", id="gen_random_uuid()", days=(MONTHS - 1) * 30, count=ROWS)
    connection.execute(load.replace("2020-01-01", STARTS[0]))  # type: ignore[call-overload]
    connection.execute(
        'INSERT INTO plain."Activity" SELECT gen_random_uuid(), "Id", \'a\' FROM plain."Dialog", generate_series(1, 2)'
    )
    connection.execute('INSERT INTO indexed."Dialog" SELECT * FROM plain."Dialog"')
    connection.execute(
        'INSERT INTO indexed."Activity" ("Id", "DialogId", "Name", "ContentUpdatedAt", "Party")'
        ' SELECT a."Id", a."DialogId", a."Name", d."ContentUpdatedAt", d."Party"'
        ' FROM plain."Activity" a JOIN plain."Dialog" d ON d."Id" = a."DialogId"'
    )
    connection.execute('VACUUM ANALYZE plain."Dialog", plain."Activity", indexed."Dialog", indexed."Activity"')
    connection.execute('VACUUM ANALYZE indexed."Dialog_Id_global"')
    ids = [row[0] for row in connection.execute('SELECT "Id" FROM plain."Dialog" ORDER BY "Id"').fetchall()]
    of_party = [
        row[0] for row in connection.execute('SELECT "Id" FROM plain."Dialog" WHERE "Party" = \'party 7\'').fetchall()
    ]
    chosen = random.Random(7)
    results = []
    shapes: list[tuple[str, Callable[[], list[object]], str, str]] = [
        ("one Id", lambda: [chosen.choice(ids)], "Dialog", "Id"),
        (f"{len(of_party)} Ids of a party", lambda: of_party, "Dialog", "Id"),
        ("100 Ids of 100 parties", lambda: chosen.sample(ids, 100), "Dialog", "Id"),
        ("children of one Id", lambda: [chosen.choice(ids)], "Activity", "DialogId"),
        (f"children of {len(of_party)} Ids of a party", lambda: of_party, "Activity", "DialogId"),
    ]
    for what, choose, table, column in shapes:
        asker = Asker(connection, choose, table, column)
        times = LOOKUP_TIMES if "100" not in what else LOOKUP_TIMES // 6
        _, found, plain = interleaved(times, asker.choose_anew, asker.by_function, asker.plainly)
        results.append(Result("global_index", f"lookup, {what}", found, "ms", "unpartitioned", plain, at_most=2))
    return results


def kept(connection: Connection, database: Database, server: Server) -> list[Result]:
    """What a session keeps for each slice when one lookup has read all of them, and what it takes to make it."""
    with server.connect(database.name) as admin:
        admin.execute("GRANT pg_read_all_stats TO owner")
    ids = [row[0] for row in connection.execute('SELECT "Id" FROM plain."Dialog" ORDER BY "Id" LIMIT 5000').fetchall()]
    taken = "SELECT sum(total_bytes)::bigint / 1024.0 FROM pg_backend_memory_contexts WHERE name = ANY (%s)"
    relations, plans = ["CacheMemoryContext", "index info"], ["CachedPlan", "CachedPlanSource", "CachedPlanQuery"]
    asked = 'SELECT count(*) FROM indexed."Dialog_by_Id"(%s)'
    fresh = session(database)
    first = milliseconds(lambda: fresh.execute(asked, (ids[:1],)))
    before = float(value(fresh, taken, relations))
    fresh.execute(asked, (ids,))
    of_plans, of_relations = float(value(fresh, taken, plans)), float(value(fresh, taken, relations)) - before
    connection.execute("SELECT dp.configure('indexed.\"Dialog\"', lookup_slices => 0)")
    another = session(database)
    without = milliseconds(lambda: another.execute(asked, (ids[:1],)))
    name, memory = "global_index", "what its cache of relations has"
    return [
        Result(name, "plans kept by a lookup, a slice", of_plans / MONTHS, "kB", memory, of_relations / MONTHS),
        Result(name, "lookup, the first of a session", first, "ms", "without plans that are kept", without),
    ]


def measure(bench: Bench) -> list[Result]:
    """Both on 60 months by 16 leaves."""
    with bench.database() as database:
        connection = session(database)
        tables(connection, "plain", is_partitioned=False, is_indexed=False)
        tables(connection, "bare", is_partitioned=True, is_indexed=False)
        tables(connection, "indexed", is_partitioned=True, is_indexed=True)
        connection.execute("SELECT dp.configure('indexed.\"Dialog\"', lookup_slices => %s)", (MONTHS,))
        results = (
            readers(connection) + kept(connection, database, bench.server) + writers(connection) + views(connection)
        )
        rows = value(connection, 'SELECT count(*) FROM indexed."Dialog_Id_global"')
        assert rows == ROWS + BULK_TIMES * BULK + SINGLE_TIMES, rows
    return results
