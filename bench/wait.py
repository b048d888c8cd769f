"""The longest wait of other sessions while a reader keeps a table for 8 s and the extension wants its lock."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.report import Result
from bench.support import Bench, milliseconds, session
from tests.support.database import Database

READER_SECONDS, LOCK_TIMEOUT_MS, LEAVES = 8, 500, 4
STARTED = "2025-06-01"
SELECTS = tuple(
    f"SELECT count(*) FROM {table} WHERE at >= '2025-06-10' AND at < '2025-06-11'" for table in ("root", "child")
)
INSERTS = (
    "INSERT INTO root (id, at, party) VALUES (%(id)s, '2025-06-10 12:00+00', 'a')",
    "INSERT INTO child (id, root_id, at, party) VALUES (%(id)s, '00000000-0000-7000-8000-000000000001',"
    " '2025-06-10 12:00+00', 'a')",
)


class Sessions:
    """Other people's sessions: each repeats one statement and keeps its longest wait."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.longest: dict[str, float] = {}
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.repeat, args=(text,)) for text in SELECTS + INSERTS]

    def repeat(self, text: str) -> None:
        """One session."""
        with self.database.server.connect(self.database.name, "owner") as connection:
            while not self.stop.is_set():
                values: dict[str, Any] | None = {"id": uuid.uuid4()} if "%(" in text else None
                taken = milliseconds(lambda: connection.execute(text, values))  # noqa: B023 - called at once
                self.longest[text] = max(taken, self.longest.get(text, 0.0))
                time.sleep(0.005)

    def __enter__(self) -> Sessions:
        for thread in self.threads:
            thread.start()
        while len(self.longest) < len(self.threads):
            time.sleep(0.01)
        self.longest = dict.fromkeys(self.longest, 0.0)  # the first statement of a session reads the catalog
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


@contextmanager
def reader(database: Database) -> Iterator[None]:
    """A transaction that has read both tables and stays open for its 8 s, whatever the block does."""
    connection = session(database)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM root JOIN child ON child.root_id = root.id")
    timer = threading.Timer(READER_SECONDS, lambda: connection.execute("COMMIT"))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        connection.close()


def hierarchy(bench: Bench) -> Database:
    """Root and child with a few months of slices, and a row to refer to."""
    database = bench.kept_database()
    connection = session(database)
    connection.execute("CREATE TABLE root (id uuid PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL)")
    connection.execute("CREATE TABLE child (id uuid PRIMARY KEY, root_id uuid NOT NULL REFERENCES root)")
    connection.execute(
        "SELECT dp.create_hierarchy('root', 'at', 'party', hash_partitions => %s, premake => 2, lock_timeout => %s,"
        " allow_weaker_unique => true)",
        (LEAVES, f"{LOCK_TIMEOUT_MS} ms"),
    )
    connection.execute("SELECT dp.register_child('child', 'root', allow_weaker_unique => true)")
    connection.execute("SET dp.now = '2025-06-15'")
    connection.execute("CALL dp.run_maintenance('root')")
    connection.execute("INSERT INTO root VALUES ('00000000-0000-7000-8000-000000000001', '2025-06-10 12:00+00', 'a')")
    connection.close()
    return database


def longest_wait(database: Database, *work: str) -> float:
    """The longest wait of the others while a reader reads and a session works."""
    worker = session(database)
    worker.execute("SELECT count(*) FROM dp.last_plan")  # the session is warm
    with Sessions(database) as others, reader(database):
        started = time.monotonic()
        for text in work:
            worker.execute(text)
        lasted = time.monotonic() - started
    worst = max(others.longest.values())  # those that waited until the end have told theirs
    assert lasted > READER_SECONDS - 1.5, f"the reader was in nobody's way: the work took {lasted:.1f} s"
    worker.close()
    return worst


def measure(bench: Bench) -> list[Result]:
    """create_slices and run_maintenance against lock_timeout; beside them a bare statement without one."""
    database = hierarchy(bench)
    calls: list[tuple[str, Callable[[], float]]] = [
        ("create_slices", lambda: longest_wait(database, "CALL dp.create_slices('root', '2025-10-01', '2025-12-01')")),
        (
            "run_maintenance",
            lambda: longest_wait(database, "SET dp.now = '2025-11-15'", "CALL dp.run_maintenance('root')"),
        ),
    ]
    results = [
        Result("wait", f"{name}, longest wait of others", work(), "ms", "lock_timeout", LOCK_TIMEOUT_MS, at_most=2)
        for name, work in calls
    ]
    bare = "CREATE TABLE bare PARTITION OF child FOR VALUES FROM ('2030-01-01') TO ('2030-02-01')"
    results.append(
        Result("wait", "a bare PARTITION OF", longest_wait(database, bare), "ms", "lock_timeout", LOCK_TIMEOUT_MS)
    )
    database.drop()
    return results
