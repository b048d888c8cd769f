"""Schema changes of a table in use whose sessions are killed: the same call finishes, and no write was lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.isolation.test_kills import run_and_kill
from tests.support.database import Database, with_dblink
from tests.support.hierarchies import call, create_slices, declare

Connection = psycopg.Connection[Any]
KILLS = 6
CALLS = {
    "index": "CALL dp.create_index_concurrently('event', 'event_kind', '(kind, body)', connection => '{host}')",
    "reindex": "CALL dp.reindex_concurrently('event', 'event_pkey', connection => '{host}')",
    "check": "CALL dp.add_constraint_online('event', 'rule', 'CHECK (kind >= 0 AND length(body) < 100)')",
    "key": "CALL dp.add_constraint_online('event', 'rule', 'FOREIGN KEY (kind) REFERENCES shared')",
    "not null": "CALL dp.set_not_null_online('event', 'kind')",
}
UNDONE = {
    "index": "CALL dp.drop_index_concurrently('event', 'event_kind')",
    "reindex": "SELECT true",
    "check": "SELECT dp.drop_constraint('event', 'rule')",
    "key": "SELECT dp.drop_constraint('event', 'rule')",
    "not null": "SELECT dp.drop_not_null('event', 'kind')",
}
INDEXES = (
    "SELECT c.relname, x.relname, i.indisvalid, i.indisready, h.inhparent IS NOT NULL"
    " FROM pg_partition_tree('event') AS tree JOIN pg_class c ON c.oid = tree.relid"
    " JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid"
    " LEFT JOIN pg_inherits h ON h.inhrelid = x.oid WHERE x.relname ~ %s ORDER BY 1, 2"
)
RULES = (
    "SELECT conrelid::regclass::text, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
    " WHERE contype IN ('c', 'f') AND conrelid IN (SELECT relid FROM pg_partition_tree('event')) ORDER BY 1, 2"
)
NOT_NULL = (
    "SELECT attrelid::regclass::text, attnotnull FROM pg_attribute WHERE attname = 'kind'"
    " AND attrelid IN (SELECT relid FROM pg_partition_tree('event')) ORDER BY 1"
)


class Writer(threading.Thread):
    """Inserts and updates through the root until it is stopped; counts what was committed."""

    def __init__(self, db: Database, first: int) -> None:
        super().__init__()
        self.connection = db.connect()
        self.first = first
        self.written = 0
        self.stopped = threading.Event()
        self.errors: list[psycopg.Error] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            number = self.first + self.written
            try:
                self.connection.execute(
                    "INSERT INTO event (id, at, party, at_slice, body, kind)"
                    " VALUES (%s, '2025-01-05 00:00+00', %s, '2025-01-01', 'new', %s)",
                    [number, f"p{number}", number % 3 + 1],
                )
                self.written += 1
            except psycopg.Error as error:
                self.errors.append(error)
            self.stopped.wait(0.005)


def prepare(db: Database) -> Connection:
    owner = db.connect()
    declare(owner, key_form="slice", premake=0, lock_timeout="200 ms")
    owner.execute("SELECT dp.add_column('event', 'kind', 'int')")
    owner.execute("CREATE TABLE shared (id int PRIMARY KEY)")
    owner.execute("INSERT INTO shared SELECT generate_series(1, 3)")
    create_slices(owner, "2025-01-01", "2025-07-01")
    for month in range(1, 7):
        owner.execute(
            "INSERT INTO event (id, at, party, at_slice, body, kind) SELECT n, make_timestamptz(2025, %s, 5, 0, 0, 0),"
            " 'p' || n, make_date(2025, %s, 1), 'text ' || n, n %% 3 + 1 FROM generate_series(1, 10000) AS n",
            [month, month],
        )
    return owner


def kill_worker(db: Database, text: str, delay: float) -> bool:
    """End the second session instead, a moment after it has begun: the call fails, and says why."""
    failed: list[psycopg.Error] = []
    session = db.connect()

    def work() -> None:
        try:
            session.execute(text)  # type: ignore[call-overload]
        except psycopg.Error as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    looker = db.connect()
    looking = "SELECT dp._worker_of('event'::regclass)"
    while worker.is_alive() and looker.execute(looking).fetchone() == (None,):
        pass
    worker.join(delay / 4)
    looker.execute("SELECT pg_terminate_backend(dp._worker_of('event'::regclass), 10000)")
    worker.join()
    return bool(failed)


@pytest.mark.parametrize("change", CALLS)
def test_a_killed_change_is_finished_by_the_next_call(db: Database, change: str) -> None:
    host = with_dblink(db)
    owner = prepare(db)
    text = CALLS[change].replace("{host}", host)
    dice = random.Random(change)
    writers = [Writer(db, 1_000_000), Writer(db, 2_000_000)]
    for writer in writers:
        writer.start()
    ways: list[Callable[[Database, str, float], bool]] = [run_and_kill]
    if change in ("index", "reindex"):
        ways.append(kill_worker)
    longest = 0.2 if change in ("index", "reindex") else 0.15
    kills, attempts = 0, 0
    while kills < KILLS:
        attempts += 1
        assert attempts < 10 * KILLS
        if ways[kills % len(ways)](db, text, dice.uniform(0.01, longest)):
            kills += 1
        else:  # it came to its end: once more from the beginning
            owner.execute(UNDONE[change])  # type: ignore[call-overload]
    owner.execute(text)  # type: ignore[call-overload]
    for writer in writers:
        writer.stopped.set()
        writer.join()
    assert [error for writer in writers for error in writer.errors] == []
    assert owner.execute("SELECT count(*) FROM event").fetchone() == (60_000 + sum(w.written for w in writers),)
    check(owner, change)
    assert call(owner, "SELECT dp.drift", "event") == []
    assert db.value("SELECT running_pid FROM dp.hierarchy") is None
    assert db.value("SELECT count(*) FROM dp.progress_entry") == 0
    assert db.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dialog_partition'") == 0


def check(owner: Connection, change: str) -> None:
    """The catalog says that all is there, and an index finds the rows that were written meanwhile."""
    if change in ("index", "reindex"):
        found = owner.execute(INDEXES, ["kind" if change == "index" else "pkey"]).fetchall()
        assert len(found) == 1 + 6 + 12  # and no copy that a killed REINDEX left
        assert all(valid and ready for _, _, valid, ready, _ in found)
        assert [name for name, *_, attached in found if not attached] == ["event"]
        owner.execute("SET enable_seqscan = off")
        condition = "kind IN (1, 2, 3)" if change == "index" else "id > 0"
        rows = owner.execute(f"SELECT count(*) FROM event WHERE {condition}").fetchone()  # type: ignore[call-overload]
        owner.execute("SET enable_seqscan = on; SET enable_indexscan = off; SET enable_bitmapscan = off")
        counted = owner.execute(f"SELECT count(*) FROM event WHERE {condition}")  # type: ignore[call-overload]
        assert counted.fetchone() == rows
    elif change == "not null":
        assert all(row[1] for row in owner.execute(NOT_NULL).fetchall())
        assert not any("IS NOT NULL" in row[1] for row in owner.execute(RULES).fetchall())
    else:
        rules = [row for row in owner.execute(RULES).fetchall() if "kind" in row[1]]
        assert len(rules) == 1 + 6 + 12
        assert all(row[2] for row in rules)
