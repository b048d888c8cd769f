"""Online builds of a global index that are killed: the same call finishes, and the index is exact."""

from __future__ import annotations

import random
import threading
from typing import Any

import psycopg
import pytest

from tests.isolation.test_kills import run_and_kill
from tests.support import family
from tests.support.database import Database

Connection = psycopg.Connection[Any]
ROOT = "'\"Dialog\"'"
SIDE = '"Dialog_Id_global"'
CREATE = f"CALL dp.create_global_index_online({ROOT}, '{{Id}}', batch_blocks => 1)"
KILLS = 10


class Writer(threading.Thread):
    """Inserts, moves and deletes dialogs until it is stopped."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self.connection = db.connect(search_path="app, public")
        self.stopped = threading.Event()
        self.errors: list[psycopg.Error] = []

    def run(self) -> None:
        number = 100_000
        while not self.stopped.is_set():
            number += 1
            for text, values in (
                ('INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt") VALUES (%s, %s, %s)',
                 (number, f"p{number % 5}", f"2025-0{5 + number % 3}-03 00:00+00")),
                ('UPDATE "Dialog" SET "UpdatedAt" = \'2025-07-04 00:00+00\' WHERE "Id" = %s', (number % 2000,)),
                ('UPDATE "Dialog" SET "Party" = \'other\' WHERE "Id" = %s', (number - 2,)),
                ('DELETE FROM "Dialog" WHERE "Id" = %s', (number - 5,)),
            ):  # fmt: skip
                try:
                    self.connection.execute(text, values)  # type: ignore[call-overload]
                except psycopg.Error as error:
                    self.errors.append(error)
            self.stopped.wait(0.01)


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_a_killed_build_is_finished_by_the_next_call(db: Database, key_form: str) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, key_form, lock_timeout="200 ms")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-05-01', '2025-08-01')")  # type: ignore[call-overload]
    for month, first in (("2025-05", 0), ("2025-06", 2000)):
        family.fill(owner, f"{month}-10 12:00+00", first, 2000)
    owner.execute(f"CREATE SCHEMA app; SELECT dp.create_writable_view({ROOT}, 'app')")  # type: ignore[call-overload]
    owner.execute("SELECT dp.create_writable_view('\"Activity\"', 'app')")
    dice = random.Random(key_form)
    writer = Writer(db)
    writer.start()
    kills = 0
    try:
        for _ in range(4 * KILLS):
            if kills == KILLS:
                break
            if run_and_kill(db, CREATE, dice.uniform(0.05, 0.5)):
                kills += 1
            elif db.value("SELECT count(*) FROM dp.global_index_config WHERE is_valid"):  # once more from the beginning
                owner.execute(f"SELECT dp.drop_global_index('{SIDE}')")  # type: ignore[call-overload]
        owner.execute(CREATE)  # type: ignore[call-overload]
    finally:
        writer.stopped.set()
        writer.join()
    assert writer.errors == []
    assert kills == KILLS
    assert owner.execute(f"SELECT * FROM dp.verify_global_index('{SIDE}')").fetchall() == []  # type: ignore[call-overload]
    key = family.key_column(owner)
    rows = owner.execute(f'SELECT "Id", "{key}", "Party" FROM "Dialog" ORDER BY 1').fetchall()  # type: ignore[call-overload]
    assert owner.execute(f'SELECT "Id", "{key}", "Party" FROM {SIDE} ORDER BY 1').fetchall() == rows  # type: ignore[call-overload]
    found = owner.execute(f"SELECT finding FROM dp.check({ROOT})").fetchall()  # type: ignore[call-overload]
    assert not {finding for (finding,) in found if "global index" in finding or "view" in finding}
    assert db.value("SELECT running_pid FROM dp.hierarchy") is None
    assert db.value("SELECT count(*) FROM dp.progress_entry") == 0
    owner.execute('INSERT INTO app."Activity" ("Id", "DialogId") VALUES (900001, 2500)')
