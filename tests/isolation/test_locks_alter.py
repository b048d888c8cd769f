"""The locks that a schema change takes are no more than it was judged by, and no stronger than it needs."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import create_slices

TABLES = """
CREATE TABLE shared (id int PRIMARY KEY);
CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, body text);
CREATE INDEX event_body ON event (body);
CREATE TABLE item (id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event ON DELETE CASCADE,
                   x int CONSTRAINT positive CHECK (x > 0), d int DEFAULT 1, n int NOT NULL DEFAULT 2,
                   shared_id int CONSTRAINT to_shared REFERENCES shared);
CREATE INDEX item_x ON item (x);
SELECT dp.create_hierarchy('event', 'at', 'party', hash_partitions => 4);
SELECT dp.register_child('item', 'event');
SELECT dp.add_constraint('item', 'once', 'UNIQUE (x, id, party, at)');
"""
CHANGES = [
    "dp.add_column('{t}', 'a', 'int')",
    "dp.add_column('{t}', 'a', 'float8', 'random()')",
    "dp.add_column('{t}', 'a', 'int', generated => '1', comment => 'one')",
    "dp.drop_column('{t}', 'x')",
    "dp.rename_column('{t}', 'x', 'y')",
    "dp.rename_column('{t}', 'party', 'y')",
    "dp.alter_column_type('{t}', 'x', 'bigint')",
    "dp.alter_column_type('{t}', 'd', 'bigint')",
    "dp.set_default('{t}', 'd', '5')",
    "dp.drop_default('{t}', 'd')",
    "dp.set_not_null('{t}', 'x')",
    "dp.drop_not_null('{t}', 'n')",
    "dp.add_constraint('{t}', 'c', 'CHECK (x > 0)')",
    "dp.add_constraint('{t}', 'c', 'UNIQUE (x, party, at)')",
    "dp.add_constraint('{t}', 'c', 'FOREIGN KEY (x) REFERENCES shared')",
    "dp.drop_constraint('{t}', 'positive')",
    "dp.drop_constraint('{t}', 'once')",
    "dp.drop_constraint('{t}', 'to_shared')",
    "dp.create_index('{t}', 'i', '(x)')",
    "dp.drop_index('{t}', 'item_x')",
    "dp.set_storage('{t}', '{{\"fillfactor\": 80, \"toast.autovacuum_enabled\": false}}')",
    "dp.alter_table('{t}', 'ENABLE ROW LEVEL SECURITY')",
    "dp.alter_table('{t}', 'REPLICA IDENTITY FULL')",
    "dp.alter_table('{t}', 'ALTER COLUMN x SET STATISTICS 5')",
]
HELD = """
    SELECT count(DISTINCT (locktype, database, relation, classid, objid, objsubid)) FROM pg_locks
    WHERE pid = pg_backend_pid()
"""


@pytest.fixture
def owner(db: Database) -> psycopg.Connection[Any]:
    owner = db.connect()
    owner.execute(TABLES)
    create_slices(owner, "2025-01-01", "2025-07-01")
    return owner


# A session in which the lock table seems to have room for nothing: every call is refused, and tells its estimate.
NO_ROOM = """
DO LANGUAGE plpython3u $$
import sys
module = next(each for name, each in sys.modules.items() if name.endswith('.catalog.server'))
read = module.server
module.server = lambda: read()._replace(max_locks=0)
$$
"""


def estimate(session: psycopg.Connection[Any], change: str) -> int:
    with pytest.raises(psycopg.errors.OutOfMemory) as caught:
        session.execute(f"SELECT {change}")  # type: ignore[call-overload]
    found = re.search(r"about (\d+) locks", str(caught.value))
    assert found is not None
    return int(found[1])


@pytest.mark.usefixtures("owner")
def test_no_change_takes_more_locks_than_it_was_judged_by(db: Database) -> None:
    judge = db.connect("postgres")
    judge.execute("SELECT * FROM dp.drift('event')")
    judge.execute(NO_ROOM)
    wrong = {}
    for change in CHANGES:
        text = change.format(t="item")
        session = db.connect()
        session.execute("BEGIN")
        session.execute(f"SELECT {text}")  # type: ignore[call-overload]
        row = session.execute(HELD).fetchone()
        session.execute("ROLLBACK")
        session.close()
        assert row is not None
        told = estimate(judge, text)
        if not row[0] <= told <= row[0] * 2:
            wrong[text] = (row[0], told)
    assert wrong == {}


GENTLE = {
    "dp.create_index('item', 'i', '(d)')": "SELECT count(*) FROM item",
    "dp.add_constraint('item', 'f', 'FOREIGN KEY (x) REFERENCES shared')": "SELECT count(*) FROM item",
    "dp.set_storage('item', '{\"fillfactor\": 80}')": "UPDATE item SET d = 2",
}


@pytest.mark.parametrize("change", GENTLE)
def test_who_need_not_wait_does_not_wait(db: Database, owner: psycopg.Connection[Any], change: str) -> None:
    """What another session has begun is no hindrance, and what it begins meanwhile goes on."""
    other = db.connect(lock_timeout="100 ms")
    other.execute("BEGIN")
    other.execute(GENTLE[change])  # type: ignore[call-overload]
    owner.execute("BEGIN")
    owner.execute(f"SELECT {change}")  # type: ignore[call-overload]
    third = db.connect(lock_timeout="100 ms")
    third.execute(GENTLE[change])  # type: ignore[call-overload]
    owner.execute("COMMIT")
    other.execute("COMMIT")


def test_the_error_names_who_is_in_the_way(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute("SELECT dp.configure('event', lock_timeout => '20 ms')")
    writer = db.connect()
    writer.execute("BEGIN; LOCK TABLE item_2025_03_h02 IN ROW EXCLUSIVE MODE")
    reader = db.connect()
    reader.execute("BEGIN; LOCK TABLE item_2025_04_h01 IN ACCESS SHARE MODE")
    with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
        owner.execute("SELECT dp.create_index('item', 'i', '(d)')")
    detail = str(caught.value.diag.message_detail)
    assert f"process {writer.info.backend_pid} (owner, idle in transaction" in detail
    assert "RowExclusiveLock on public.item_2025_03_h02" in detail
    assert f"process {reader.info.backend_pid}" not in detail, "an index does not wait for a reader"
