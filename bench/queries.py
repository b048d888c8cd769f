"""The application's queries on Dialogporten's 22 tables: as they were on plain ones, rewritten on partitioned ones."""

from __future__ import annotations

import uuid
from statistics import median
from typing import Any

from bench.report import Result
from bench.support import Bench, Connection, interleaved, milliseconds, session, value
from tests.support import dialogporten
from tests.support.database import Database
from tests.support.dialogporten import HASH_KEY, RANGE_KEY, ROOT, SLICE_KEY, forms, queries

LEAVES, WIDTH = 16, "1 month"
BEGIN, END = "2020-09-01", "2025-09-01"  # of the slices; the oldest hold nothing
DIALOGS, PARTIES, GROWS = 10_000, 25, 8
FIRST, NOW = "2020-10-01 00:00+00", "2025-06-15 12:00+00"
READS, SCATTERED_READS, TRANSACTIONS = 101, 21, 51
AT_MOST = 2
BASELINE = "unpartitioned, as it was"


def convert(connection: Connection) -> None:
    """Plain tables become the hierarchy, with global indexes for what was unique, and their lookups."""
    connection.execute("SELECT set_config('dp.now', %s, false)", (NOW,))
    connection.execute(
        "CALL dp.convert(%s, %s, %s, key_form => 'slice', slice => %s, hash_partitions => %s)",
        (ROOT, RANGE_KEY, HASH_KEY, WIDTH, LEAVES),
    )
    connection.execute("CALL dp.create_slices(%s, %s, %s)", (ROOT, BEGIN, END))
    connection.execute(forms.FUNCTIONS)  # type: ignore[arg-type]


def given(plain: Connection, partitioned: Connection) -> forms.Given:
    """What is asked: the newest dialogs of a party, and one of them that has rows in every table."""
    found: forms.Given = queries.values(plain, FIRST, NOW)
    found["dialog"], found["party"] = plain.execute(
        'SELECT "Id", "Party" FROM "Dialog" WHERE "ContentUpdatedAt" < %s AND NOT "Deleted"'
        ' AND right("ExternalReference", 1) = \'0\' ORDER BY "ContentUpdatedAt" DESC LIMIT 1',
        (NOW,),
    ).fetchall()[0]
    found["revision"] = value(plain, 'SELECT "Revision" FROM "Dialog" WHERE "Id" = %s', found["dialog"])
    of_it = f'SELECT "{SLICE_KEY}" FROM "Dialog_Id_global" WHERE "Id" = %s'
    found["slice"] = value(partitioned, of_it, found["dialog"])
    page = plain.execute(forms.OLD["a party's page"], {**found, "dialog": uuid.UUID(int=2**128 - 1)}).fetchall()  # type: ignore[call-overload]
    found["dialogs"] = [row[0] for row in page]
    return found


def reads(plain: Connection, partitioned: Connection, asked: forms.Given) -> list[Result]:
    """Each query in both forms, whose rows are the same."""
    works = {
        each: (
            lambda old=forms.OLD[each]: plain.execute(old, asked).fetchall(),
            lambda new=forms.FORMS[each]: partitioned.execute(new, asked).fetchall(),
        )
        for each in forms.FORMS
    }
    results = []
    for each, (old, new) in works.items():
        rows = old()
        assert rows and new() == rows, f"{each}: {len(rows)} rows"
        before, after = interleaved(READS, old, new)
        results.append(Result("queries", each, after, "ms", BASELINE, before, at_most=AT_MOST))
    return results


def scattered(plain: Connection, partitioned: Connection, asked: forms.Given) -> list[Result]:
    """What belongs to twenty dialogs of anybody, in about as many leaves.

    Those of half a year lie in slices whose plans are kept; what is older is planned each time.
    """
    results = []
    for since, told, goal in (("2024-12-15", "dialogs of half a year", AT_MOST), (BEGIN, "dialogs of any age", None)):
        is_chosen = '"ContentUpdatedAt" BETWEEN %s AND %s ORDER BY md5("Id"::text) LIMIT 20'
        chosen = f'SELECT "Id" FROM "Dialog" WHERE {is_chosen}'
        ids = [row[0] for row in plain.execute(chosen, (since, NOW)).fetchall()]  # type: ignore[call-overload]
        pairs = f'SELECT count(DISTINCT ("{SLICE_KEY}", "{HASH_KEY}")) FROM "Dialog_Id_global" WHERE "Id" = ANY (%s)'
        number = value(partitioned, pairs, ids)
        everywhere = {**asked, "dialogs": ids}
        for each in ("content", "latest activity"):

            def old(query: str = forms.OLD[each], values: forms.Given = everywhere) -> list[Any]:
                return plain.execute(query, values).fetchall()  # type: ignore[call-overload]

            def new(query: str = forms.FORMS[each], values: forms.Given = everywhere) -> list[Any]:
                return partitioned.execute(query, values).fetchall()  # type: ignore[call-overload]

            assert new() == old(), each
            before, after = interleaved(SCATTERED_READS, old, new)
            name = f"{each}, 20 {told} with {number} pairs of keys"
            results.append(Result("queries", name, after, "ms", BASELINE, before, at_most=goal))
    return results


def writes(plain: Connection, partitioned: Connection, asked: forms.Given) -> list[Result]:
    """Statement after statement of a transaction, in both; undone each time."""
    taken: dict[str, tuple[list[float], list[float]]] = {each.name: ([], []) for each in forms.WRITES}
    for _ in range(TRANSACTIONS):
        new = {f"new_{name}": uuid.uuid4() for name in ("dialog", "content", "set", "context", "activity")}
        values = {**asked, **new, "new_key": str(uuid.uuid4())}
        plain.execute("BEGIN")
        partitioned.execute("BEGIN")
        for each in forms.WRITES:
            before, after = taken[each.name]
            counts = []

            def run(connection: Connection, text: str, counts: list[int] = counts) -> None:
                counts.append(connection.execute(text, values).rowcount)  # type: ignore[call-overload] # noqa: B023

            before.append(milliseconds(lambda old=each.old, run=run: run(plain, old)))
            after.append(milliseconds(lambda new=each.new, run=run: run(partitioned, new)))
            assert counts == [1, 1], each.name
        plain.execute("ROLLBACK")
        partitioned.execute("ROLLBACK")
    inserts = [each for name, each in taken.items() if name.startswith("insert")]
    whole = tuple([sum(times) for times in zip(*(each[side] for each in inserts))] for side in (0, 1))
    measured = {f"create a dialog, by these {len(inserts)} INSERTs": whole, **taken}
    return [
        Result("queries", name, median(after), "ms", BASELINE, median(before), at_most=AT_MOST)
        for name, (before, after) in measured.items()
    ]


def measure(bench: Bench) -> list[Result]:
    """All on 60 slices by 16 leaves, 21,120 leaves."""
    with bench.database() as database:
        plain = session(database)
        for script in dialogporten.loading(DIALOGS, FIRST, NOW, parties=PARTIES, grows=GROWS):
            plain.execute(script)  # type: ignore[arg-type]
        plain.execute("VACUUM ANALYZE")
        plain.close()
        copy = Database(bench.server, f"{database.name}_partitioned")
        try:
            with bench.server.connect() as admin:
                admin.execute(
                    f"CREATE DATABASE {copy.name} TEMPLATE {database.name} OWNER owner STRATEGY file_copy"  # type: ignore[call-overload]
                )
            making = session(copy)
            convert(making)
            making.execute("VACUUM ANALYZE")
            making.close()  # a session that has held so many locks is slower ever after
            return [*ask(*sessions(database, copy)), *writes(*sessions(database, copy))]
        finally:
            copy.drop()


def sessions(database: Database, copy: Database) -> tuple[Connection, Connection, forms.Given]:
    """One for the plain tables, one for the partitioned ones, and what they ask for.

    The partitioned one is set up as operations.md says of roles that write children, and name the slice key or call
    functions. Reads and writes have sessions of their own.
    """
    plain, partitioned = session(database), session(copy)
    partitioned.execute("SET plan_cache_mode = force_custom_plan; SET constraint_exclusion = off")
    return plain, partitioned, given(plain, partitioned)


def ask(plain: Connection, partitioned: Connection, asked: forms.Given) -> list[Result]:
    """All questions."""
    return [*reads(plain, partitioned, asked), *scattered(plain, partitioned, asked)]
