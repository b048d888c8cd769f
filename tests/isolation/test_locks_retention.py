"""Two years of slices are retired from five tables with foreign keys while a reader is long at work."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

READER_SECONDS = 8.0
BOUND = "100 ms"  # lock_timeout of the hierarchy: maintenance waits for nobody longer, and nobody behind it
# No other session may wait so long for a lock. It would, as long as the reader is there, behind a step that kept locks.
LONGEST_WAIT = f"{READER_SECONDS / 2} s"
PATIENCE = 120.0  # seconds until a busy machine has done it
TABLES = (*family.TABLES, "Attachment", "Label")


def declare(db: Database, action: str) -> psycopg.Connection[Any]:
    owner = db.connect(**{"dp.now": "2025-01-10 12:00+00"})
    family.declare(owner, premake=0, retention="1 month", retention_action=action, lock_timeout=BOUND)
    for table, parent in (("Attachment", "Activity"), ("Label", "Dialog")):
        owner.execute(f'CREATE TABLE "{table}" ("Id" bigint PRIMARY KEY, "ParentId" bigint NOT NULL)')
        owner.execute(f"SELECT dp.register_child('\"{table}\"', '\"{parent}\"', '{{ParentId}}', 'CASCADE')")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2022-12-01', '2025-02-01')")
    for first, moment in ((1, "2022-12-10"), (101, "2023-11-10"), (201, "2024-12-10"), (301, "2025-01-05")):
        family.fill(owner, f"{moment} 12:00+00", first, 10)
        for table, parent, factor in (("Attachment", "Activity", 10), ("Label", "Dialog", 1)):
            owner.execute(
                f'INSERT INTO "{table}" ("Id", "ParentId", "Party", "UpdatedAt")'
                f' SELECT "Id", "Id", "Party", "UpdatedAt" FROM "{parent}" WHERE "Id" >= {first * factor}'
            )
    return owner


class Client(threading.Thread):
    """Reads and writes rows of now, and would rather fail than wait for a lock for long."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self.connection = db.connect(lock_timeout=LONGEST_WAIT)
        self.written = 0
        self.stopped = threading.Event()
        self.errors: list[psycopg.Error] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            number = 1001 + self.written
            try:
                self.connection.execute('SELECT count(*) FROM "Dialog" WHERE "UpdatedAt" >= \'2025-01-01 00:00+00\'')
                self.connection.execute(
                    'INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt") VALUES (%s, %s, %s)',
                    [number, "party 1", "2025-01-06 12:00+00"],
                )
            except psycopg.Error as error:
                self.errors.append(error)
                return
            self.written += 1
            self.stopped.wait(0.02)


class Reader(threading.Thread):
    """Has read a table in a transaction that stays open for eight seconds after somebody was seen waiting for it."""

    def __init__(self, db: Database, client: Client) -> None:
        super().__init__()
        self.db = db
        self.client = client
        self.connection = db.connect()
        self.connection.execute("BEGIN")
        self.connection.execute('SELECT count(*) FROM "Actor"')
        self.was_in_the_way = False
        self.written_meanwhile = 0

    def run(self) -> None:
        pid = self.connection.info.backend_pid
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND %s = ANY (pg_blocking_pids(pid))"
        deadline = time.monotonic() + PATIENCE
        looker = self.db.connect()
        while not self.was_in_the_way and time.monotonic() < deadline:
            row = looker.execute(waiting, [pid]).fetchone()
            self.was_in_the_way = row is not None and row[0] > 0
        before = self.client.written
        self.client.stopped.wait(READER_SECONDS)
        self.written_meanwhile = self.client.written - before
        self.connection.execute("COMMIT")


@pytest.mark.parametrize("action", ["drop", "detach"])
def test_two_years_are_retired_beside_a_reader_of_eight_seconds(db: Database, action: str) -> None:
    owner = declare(db, action)
    client = Client(db)
    reader = Reader(db, client)
    reader.start()
    client.start()
    try:
        owner.execute("CALL dp.run_maintenance('\"Dialog\"')")
        assert not reader.is_alive(), "maintenance is done when it was let through"
    finally:
        client.stopped.set()
        client.join()
        reader.join()
    assert reader.was_in_the_way
    assert client.errors == []
    assert reader.written_meanwhile > 0, "others went on while maintenance could not"
    for table in TABLES:
        assert family.slices(owner, table) == ["2024_12", "2025_01"]
    assert owner.execute('SELECT count(*) FROM "Dialog"').fetchone() == (20 + client.written,)
    for table, rows in (("Activity", 40), ("Actor", 60), ("Attachment", 40), ("Label", 20)):
        assert owner.execute(f'SELECT count(*) FROM "{table}"').fetchone() == (rows,)  # type: ignore[arg-type]
    kept = owner.execute("SELECT count(*) FROM dp.slice WHERE NOT is_attached").fetchone()
    assert kept == (0 if action == "drop" else 24 * len(TABLES),)
    if action == "detach":
        assert owner.execute('SELECT count(*) FROM "Attachment_2023_11"').fetchone() == (20,)
    owner.execute("ANALYZE")
    found = owner.execute(
        "SELECT finding, target FROM dp.check('\"Dialog\"')"
        " WHERE finding NOT IN ('minor release', 'missing template', 'foreign key without an index')"
    ).fetchall()
    assert found == []
