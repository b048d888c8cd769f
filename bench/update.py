"""A dialog with 25,000 descendants gets new content: its range key changes inside its slice."""

from __future__ import annotations

from statistics import median

from bench.layout import CHILDREN, EXACT, GRANDCHILDREN, MOMENT, PLAIN, SLICE, Form, family
from bench.report import Result
from bench.support import Bench, Connection, interleaved, session, value

TIMES, EXACT_TIMES = 301, 3
DESCENDANTS = CHILDREN * (1 + GRANDCHILDREN)


class Updater:
    """Gives the dialog a new moment at each call; finds it by its Id and all keys."""

    def __init__(self, connection: Connection, form: Form) -> None:
        self.connection = connection
        self.form = form
        self.moment = MOMENT
        self.calls = 0

    def __call__(self) -> None:
        """Update once."""
        self.calls += 1
        old, self.moment = (
            self.moment,
            f"2025-06-15 {12 + self.calls // 3600}:{self.calls // 60 % 60:02d}:{self.calls % 60:02d}+00",
        )
        changed = self.connection.execute(
            f"""UPDATE {self.form.name}."Dialog" AS d SET "ContentUpdatedAt" = '{self.moment}'"""
            f" WHERE {self.form.condition('Id', 'd', old)}"
        )
        assert changed.rowcount == 1

    def bytes(self) -> float:
        """The bytes of WAL that one call writes, the median of three."""
        found = []
        for _ in range(3):
            before = value(self.connection, "SELECT pg_current_wal_insert_lsn()::text")
            self()
            found.append(float(value(self.connection, "SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before)))
        return median(found)


def measure(bench: Bench) -> list[Result]:
    """Time and WAL of both key forms against the unpartitioned tables."""
    connection = session(family(bench))
    plain, exact, slice_form = (Updater(connection, form) for form in (PLAIN, EXACT, SLICE))
    for each in (plain, exact, slice_form):
        each()  # the first plan of a session reads the catalog
    plain_time, slice_time = interleaved(TIMES, plain, slice_form)
    (exact_time,) = interleaved(EXACT_TIMES, exact)
    plain_bytes, exact_bytes, slice_bytes = plain.bytes(), exact.bytes(), slice_form.bytes()
    connection.close()
    name, dialog = "update", f"a dialog with {DESCENDANTS:,} descendants"
    baseline = "unpartitioned tables"
    return [
        Result(name, f"slice form, {dialog}", slice_time, "ms", baseline, plain_time, at_most=2),
        Result(name, f"exact form, {dialog}", exact_time, "ms", baseline, plain_time),
        Result(name, "slice form, WAL", slice_bytes, "bytes", baseline, plain_bytes),
        Result(name, "exact form, WAL", exact_bytes, "bytes", baseline, plain_bytes),
    ]
