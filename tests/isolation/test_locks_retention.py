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
BOUND = 0.1  # lock_timeout of the hierarchy: nobody queues behind maintenance for longer
SLACK = 1.0  # of a busy machine
STEPS = (
    "SELECT extract(epoch FROM max(duration))::float8 FROM (SELECT duration FROM dp.log"
    " WHERE call = 'run_maintenance' AND statements ~ '(DETACH|DROP)' ORDER BY id OFFSET 1) AS behind_the_reader"
)
TABLES = (*family.TABLES, "Attachment", "Label")


def declare(db: Database, action: str) -> psycopg.Connection[Any]:
    owner = db.connect(**{"dp.now": "2025-01-10 12:00+00"})
    family.declare(owner, premake=0, retention="1 month", retention_action=action, lock_timeout=f"{BOUND} s")
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


def used(db: Database, until: threading.Event, waits: list[float]) -> None:
    """A client that reads and writes rows of now, and takes the time of each statement."""
    client = db.connect()
    number = 1000
    while not until.is_set():
        number += 1
        for statement in (
            'SELECT count(*) FROM "Dialog" WHERE "UpdatedAt" >= \'2025-01-01 00:00+00\'',
            'INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt") VALUES ('
            f"{number}, 'party 1', '2025-01-06 12:00+00')",
        ):
            since = time.monotonic()
            client.execute(statement)  # type: ignore[arg-type]
            waits.append(time.monotonic() - since)
        until.wait(0.02)


@pytest.mark.parametrize("action", ["drop", "detach"])
def test_two_years_are_retired_beside_a_reader_of_eight_seconds(db: Database, action: str) -> None:
    owner = declare(db, action)
    reader = db.connect()
    reader.execute("BEGIN")
    reader.execute('SELECT count(*) FROM "Actor"')
    timer = threading.Timer(READER_SECONDS, lambda: reader.execute("COMMIT"))
    ended = threading.Event()
    waits: list[float] = []
    client = threading.Thread(target=used, args=(db, ended, waits))
    timer.start()
    client.start()
    since = time.monotonic()
    try:
        owner.execute("CALL dp.run_maintenance('\"Dialog\"')")
        lasted = time.monotonic() - since
    finally:
        ended.set()
        client.join()
        timer.join()
    assert lasted > READER_SECONDS / 2, "the reader was in the way"
    longest_step = owner.execute(STEPS).fetchone()
    assert longest_step is not None
    assert max(waits) < BOUND + longest_step[0] + SLACK, "queued once at most, then a step of one slice"
    for table in TABLES:
        assert family.slices(owner, table) == ["2024_12", "2025_01"]
    written = len(waits) // 2
    assert owner.execute('SELECT count(*) FROM "Dialog"').fetchone() == (20 + written,)
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
