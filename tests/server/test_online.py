"""Constraints and NOT NULL in two phases: nobody waits while rows are read, and a stopped call is gone on with."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.support import catalogs
from tests.support.database import Database
from tests.support.hierarchies import call, create_slices, declare

Connection = psycopg.Connection[Any]
KEY = "FOREIGN KEY (kind) REFERENCES shared"


@pytest.fixture
def owner(db: Database) -> Connection:
    db.begin_with(prepare)
    return db.connect()


def prepare(db: Database) -> None:
    """The hierarchy with rows, and a table that it can refer to."""
    owner = db.connect()
    declare(owner, key_form="slice", premake=0)
    owner.execute("SELECT dp.add_column('event', 'kind', 'int')")
    owner.execute("CREATE TABLE shared (id int PRIMARY KEY)")
    owner.execute("INSERT INTO shared SELECT generate_series(1, 3)")
    create_slices(owner, "2025-01-01", "2025-04-01")
    owner.execute(
        "INSERT INTO event (id, at, party, at_slice, body, kind) SELECT n, '2025-01-05 00:00+00', 'p' || n,"
        " '2025-01-01', 'text ' || n, n % 3 + 1 FROM generate_series(1, 200) AS n"
    )


def add(owner: Connection, name: str, definition: str, **named: object) -> None:
    call(owner, "CALL dp.add_constraint_online", "event", name, definition, **named)


@pytest.mark.parametrize("definition", ["CHECK (kind > 0 AND body <> ';')", KEY, f"{KEY} ON DELETE CASCADE"])
def test_it_makes_what_the_blocking_call_makes(db: Database, owner: Connection, definition: str) -> None:
    start = catalogs.picture(db)
    add(owner, 'We "ird', definition)
    online = catalogs.picture(db)
    assert catalogs.difference(start, online) != {}
    assert call(owner, "SELECT dp.drift", "event") == []
    add(owner, 'We "ird', definition)
    assert catalogs.difference(online, catalogs.picture(db)) == {}, "twice is as good as once"
    call(owner, "SELECT dp.drop_constraint", "event", 'We "ird')
    assert catalogs.difference(start, catalogs.picture(db)) == {}
    call(owner, "SELECT dp.add_constraint", "event", 'We "ird', definition)
    assert catalogs.difference(online, catalogs.picture(db)) == {}
    create_slices(owner, "2025-04-01", "2025-05-01")
    assert call(owner, "SELECT dp.drift", "event") == []
    refused = psycopg.errors.CheckViolation if "CHECK" in definition else psycopg.errors.ForeignKeyViolation
    with pytest.raises(refused):
        owner.execute(
            "INSERT INTO event (id, at, party, at_slice, body, kind)"
            " VALUES (999, '2025-04-05 00:00+00', 'p', '2025-04-01', 'x', -1)"
        )


@pytest.mark.parametrize("definition", ["CHECK (kind > 0)", KEY])
def test_rows_that_break_it_stop_the_call_and_the_next_one_goes_on(
    db: Database, owner: Connection, definition: str
) -> None:
    owner.execute("UPDATE event SET kind = -1 WHERE id = 7")
    for _ in range(2):
        with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.ForeignKeyViolation)):
            add(owner, "rule", definition)
    owner.execute("UPDATE event SET kind = 1 WHERE kind = -1")
    add(owner, "rule", definition)
    assert db.value("SELECT bool_and(convalidated) FROM pg_constraint WHERE conname ~ '^rule'") is True
    assert call(owner, "SELECT dp.drift", "event") == []


def test_what_is_refused_before_anything_is_changed(db: Database, owner: Connection) -> None:
    before = catalogs.picture(db)
    for name, definition, state in (
        ("u", "UNIQUE (id, at_slice, party)", "22023"),
        ("c", "CHECK (kind > 0) NOT VALID", "22023"),
        ("c", "CHECK (nothing > 0)", "42703"),
        ("event_pkey", "CHECK (kind > 0)", "42710"),
        ("f", "FOREIGN KEY (id, at_slice, party) REFERENCES event (id, at_slice, party)", "42P16"),
        ("f", "FOREIGN KEY (kind) REFERENCES nothing", "42P01"),
    ):
        with pytest.raises(psycopg.Error) as caught:
            add(owner, name, definition)
        assert caught.value.sqlstate == state, definition
    assert catalogs.difference(before, catalogs.picture(db)) == {}


def test_not_null(db: Database, owner: Connection) -> None:
    start = catalogs.picture(db)
    call(owner, "CALL dp.set_not_null_online", "event", "kind")
    online = catalogs.picture(db)
    call(owner, "CALL dp.set_not_null_online", "event", "kind")
    assert catalogs.difference(online, catalogs.picture(db)) == {}
    call(owner, "SELECT dp.drop_not_null", "event", "kind")
    assert catalogs.difference(start, catalogs.picture(db)) == {}
    call(owner, "SELECT dp.set_not_null", "event", "kind")
    assert catalogs.difference(online, catalogs.picture(db)) == {}
    with pytest.raises(psycopg.errors.UndefinedColumn):
        call(owner, "CALL dp.set_not_null_online", "event", "nothing")


def test_a_null_stops_it_and_the_next_call_goes_on(db: Database, owner: Connection) -> None:
    owner.execute("UPDATE event SET kind = NULL WHERE id = 7")
    with pytest.raises(psycopg.errors.CheckViolation):
        call(owner, "CALL dp.set_not_null_online", "event", "kind")
    owner.execute("UPDATE event SET kind = 1 WHERE id = 7")
    call(owner, "CALL dp.set_not_null_online", "event", "kind")
    assert db.value("SELECT count(*) FROM pg_constraint WHERE conname ~ 'dp_not_null'") == 0
    assert call(owner, "SELECT dp.drift", "event") == []
    with pytest.raises(psycopg.errors.NotNullViolation):
        owner.execute("UPDATE event SET kind = NULL WHERE id = 7")


def test_writers_go_on_while_rows_are_read(db: Database, owner: Connection) -> None:
    """A function that sleeps stands for a leaf that has very many rows."""
    owner.execute(
        "CREATE FUNCTION slow(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
        " AS 'BEGIN IF $1 = 7 THEN PERFORM pg_sleep(1.5); END IF; RETURN true; END'"
    )
    owner.execute("UPDATE event SET kind = 1")
    owner.execute("UPDATE event SET kind = 7 WHERE id = 7")
    worker = threading.Thread(target=lambda: add(owner, "rule", "CHECK (slow(kind))"))
    worker.start()
    looker = db.connect(statement_timeout="1s")
    shown = None
    until = time.monotonic() + 10
    while time.monotonic() < until and not shown:
        shown = looker.execute("SELECT operation, about, total FROM dp.progress WHERE done > 0").fetchone()
    assert shown is not None
    assert shown[:2] == ("add_constraint_online", "rule")
    begin = time.monotonic()
    looker.execute("UPDATE event SET body = 'new' WHERE id <> 7")
    assert time.monotonic() - begin < 0.5
    assert worker.is_alive()
    worker.join()
    assert db.value("SELECT bool_and(convalidated) FROM pg_constraint WHERE conname = 'rule'") is True


def test_a_table_that_the_owner_may_refer_to_and_not_lock(db: Database, owner: Connection) -> None:
    """A foreign key needs less than LOCK TABLE, which puts the locks in the order of writers."""
    admin = db.connect("postgres")
    admin.execute('CREATE SCHEMA "Their s"; CREATE TABLE "Their s".kinds (id int PRIMARY KEY)')
    admin.execute('INSERT INTO "Their s".kinds SELECT generate_series(0, 9)')
    admin.execute('GRANT USAGE ON SCHEMA "Their s" TO owner; GRANT REFERENCES ON "Their s".kinds TO owner')
    definition = 'FOREIGN KEY (kind) REFERENCES "Their s".kinds'
    for statement in (
        "SELECT dp.add_constraint('event', 'rule', %s)",
        "CALL dp.add_constraint_online('event', 'rule', %s)",
    ):
        for session in (owner, admin):
            session.execute(statement, [definition])
            found = owner.execute("SELECT convalidated FROM pg_constraint WHERE conname = 'rule'").fetchall()
            assert set(found) == {(True,)}
            assert not owner.execute("SELECT 1 FROM dp.last_plan WHERE statement ~ '^LOCK'").fetchall()
            session.execute("SELECT dp.drop_constraint('event', 'rule')")


def test_a_foreign_key_locks_what_the_callers_search_path_finds(db: Database, owner: Connection) -> None:
    admin = db.connect("postgres")
    admin.execute("CREATE SCHEMA near AUTHORIZATION owner")
    owner.execute("CREATE TABLE near.shared (id int PRIMARY KEY); INSERT INTO near.shared SELECT generate_series(0, 9)")
    owner.execute("SET search_path = near, public")
    for statement in (
        "SELECT dp.add_constraint('event', 'rule', 'FOREIGN KEY (kind) REFERENCES shared')",
        "CALL dp.add_constraint_online('event', 'other', 'FOREIGN KEY (kind) REFERENCES shared')",
    ):
        owner.execute(statement)  # type: ignore[call-overload]
        locked = owner.execute("SELECT statement FROM dp.last_plan WHERE statement ~ '^LOCK'").fetchall()
        assert locked
        assert all(text.startswith('LOCK TABLE ONLY "near"."shared" IN ') for (text,) in locked)
