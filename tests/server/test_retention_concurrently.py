"""Retention that detaches CONCURRENTLY, in a second session: the same in the end, and readers go on meanwhile."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.server.test_retention import FROM_JUNE, hierarchy
from tests.support import family
from tests.support.catalogs import difference, picture
from tests.support.database import Database, with_dblink

Connection = psycopg.Connection[Any]
ROOT = "'\"Dialog\"'"
READER_SECONDS = 3.0
PATIENCE = 1.5


def maintain(owner: Connection, host: str) -> None:
    owner.execute(f"CALL dp.run_maintenance({ROOT}, connection => %s)", [host])


def detached_concurrently(owner: Connection) -> int:
    row = owner.execute("SELECT count(*) FROM dp.log WHERE statements ~ 'CONCURRENTLY' AND status = 'done'").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_it_leaves_the_same_as_the_usual_way(db: Database, key_form: str) -> None:
    host = with_dblink(db)
    owner = hierarchy(db, key_form)
    maintain(owner, host)
    assert detached_concurrently(owner) == 15
    assert [family.slices(owner, table) for table in family.TABLES] == [FROM_JUNE] * 3
    assert family.counts(owner, "_2024_02") == {"Dialog": 10, "Activity": 20, "Actor": 30}
    owner.execute(f"SELECT dp.configure({ROOT}, retention => '10 years')")
    once = picture(db)
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2024-02-01')")
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2024-02-01')")
    assert difference(once, picture(db)) == {}, "as dp.detach_slice leaves them: no foreign keys, no CHECK of the bound"
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2024-02-01')")
    assert family.counts(owner) == {"Dialog": 20, "Activity": 40, "Actor": 60}
    assert owner.execute(f"SELECT * FROM dp.drift({ROOT})").fetchall() == []


def test_it_drops_and_moves_too(db: Database) -> None:
    host = with_dblink(db)
    owner = hierarchy(db, retention_action="drop")
    maintain(owner, host)
    assert family.slices(owner) == FROM_JUNE
    assert owner.execute("SELECT count(*) FROM dp.slice WHERE NOT is_attached").fetchone() == (0,)
    assert family.leftovers(owner) == []
    owner.execute("CREATE SCHEMA archive")
    owner.execute(f"SELECT dp.configure({ROOT}, retention_action => 'move', retention_schema => 'archive')")
    owner.execute("SET dp.now = '2025-07-15 12:00+00'")
    maintain(owner, host)
    moved = owner.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'archive'::regnamespace AND relkind = 'p'"
    )
    assert moved.fetchone() == (3,)
    assert detached_concurrently(owner) == 18


def test_where_postgres_cannot_it_is_done_the_usual_way(db: Database) -> None:
    host = with_dblink(db)
    owner = hierarchy(db, default_slice=True)
    maintain(owner, host)
    assert family.slices(owner) == [*FROM_JUNE, "default"]
    assert detached_concurrently(owner) == 0


def test_without_a_second_session_nothing_is_detached(db: Database) -> None:
    owner = hierarchy(db)
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        maintain(owner, "")
    assert "dblink is not installed" in str(raised.value.diag.message_detail)
    assert family.slices(owner)[0] == "2024_01"


def test_a_long_reader_is_no_hindrance_to_others(db: Database) -> None:
    host = with_dblink(db)
    owner = hierarchy(db, lock_timeout="100 ms")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-01-01', '2025-07-01')")
    reader = db.connect()
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute('SELECT count(*) FROM "Actor"')
    failed: list[psycopg.Error] = []

    def work() -> None:
        try:
            maintain(owner, host)
        except psycopg.Error as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    client = db.connect(lock_timeout=f"{int(PATIENCE * 1000)} ms")
    ends = time.monotonic() + READER_SECONDS
    number = 1000
    while time.monotonic() < ends or not db.value("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"):
        number += 1
        client.execute('SELECT count(*) FROM "Actor" WHERE "UpdatedAt" = \'2024-09-10 12:00+00\'')
        family.fill(client, "2024-09-10 12:00+00", number, 1)
        assert time.monotonic() < ends + 20
    assert client.execute('SELECT count(*) FROM "Actor" WHERE "UpdatedAt" < \'2024-06-01\'').fetchone() == (30,)
    assert worker.is_alive()
    reader.execute("COMMIT")
    worker.join()
    assert failed == []
    assert [family.slices(owner, table) for table in family.TABLES] == [FROM_JUNE] * 3
    assert owner.execute("SELECT count(*) FROM pg_inherits WHERE inhdetachpending").fetchone() == (0,)
    assert family.counts(owner, "_2024_02") == {"Dialog": 10, "Activity": 20, "Actor": 30}


def test_what_a_killed_session_left_is_taken_care_of(db: Database) -> None:
    host = with_dblink(db)
    owner = hierarchy(db, retention_action="drop")
    owner.execute('ALTER TABLE "Actor" DETACH PARTITION "Actor_2024_02" CONCURRENTLY')  # and nothing that follows
    maintain(owner, host)
    assert family.slices(owner) == FROM_JUNE
    left = owner.execute("SELECT slice::text FROM dp.slice WHERE NOT is_attached").fetchall()
    assert left == [('"Actor_2024_02"',)], "it may have been somebody's wish"
    assert owner.execute('SELECT count(*) FROM "Actor_2024_02"').fetchone() == (30,)


def test_what_is_printed_does_the_same(db: Database) -> None:
    with_dblink(db)
    owner = hierarchy(db)
    owner.execute(f"CALL dp.run_maintenance({ROOT}, connection => '', dry_run => true)")
    assert family.slices(owner)[0] == "2024_01"
    script = (
        "SET timezone = 'Asia/Tokyo'; SET dp.now = '2025-06-15 12:00+00';\n"
        f"CALL dp.run_maintenance({ROOT}, connection => '', dry_run => true);\n"
        "SELECT statement FROM dp.last_plan ORDER BY step \\gexec\n"
    )
    db.server.psql(db.name, script, user="owner")
    assert family.slices(owner) == FROM_JUNE
    once = picture(db)
    owner.execute(f"SELECT dp.configure({ROOT}, retention => '10 years')")
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2024-02-01')")
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2024-02-01')")
    owner.execute(f"SELECT dp.configure({ROOT}, retention => '12 months')")
    assert difference(once, picture(db)) == {}
