"""A cancel or a timeout stops a call at once, and the session stays usable."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

CREATE = "CALL dp.create_slices('\"Dialog\"', '2010-01-01', '2020-01-01')"


def settings(connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
    return connection.execute(
        "SELECT current_user::text, current_setting('search_path'), current_setting('lock_timeout')"
    ).fetchone()


@pytest.mark.parametrize("user", ["owner", "postgres"])
def test_a_cancel_stops_a_call_at_once(db: Database, user: str) -> None:
    owner = db.connect()
    family.declare(owner, default_slice=True)
    session = db.connect(user, lock_timeout="17s", search_path="public")
    before = settings(session)
    moment: list[float] = []

    def cancel() -> None:
        until = time.monotonic() + 60
        while not family.slices(owner) and time.monotonic() < until:  # then it is at work
            time.sleep(0.01)
        db.value("SELECT pg_cancel_backend(%s)", session.info.backend_pid)
        moment.append(time.monotonic())

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute(CREATE)
    canceller.join()
    assert time.monotonic() - moment[0] < 0.5
    assert settings(session) == before
    assert db.value("SELECT running_pid FROM dp.hierarchy") is None
    row = db.rows("SELECT status, message FROM dp.log ORDER BY id DESC LIMIT 1")[0]
    assert row["status"] == "failed"
    assert "(57014)" in row["message"]
    made = len(family.slices(owner))
    assert 0 < made < 121
    session.execute("CALL dp.create_slices('\"Dialog\"', '2010-01-01', '2010-06-01')")
    assert family.leftovers(owner) == []


def test_a_cancel_while_waiting_for_a_reader(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    reader = db.connect()
    reader.execute("BEGIN")
    reader.execute('SELECT count(*) FROM "Actor"')
    timer = threading.Timer(1.2, lambda: db.value("SELECT pg_cancel_backend(%s)", owner.info.backend_pid))
    timer.start()
    begin = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        owner.execute(CREATE)
    assert time.monotonic() - begin < 2
    timer.join()
    reader.execute("COMMIT")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2010-01-01', '2010-03-01')")
    assert family.slices(owner, "Actor") == ["2010_01", "2010_02"]


def test_a_statement_timeout(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute("SET statement_timeout = '500 ms'")
    begin = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        owner.execute(CREATE)
    assert time.monotonic() - begin < 1.5
    owner.execute("RESET statement_timeout")
    assert owner.execute("SELECT running_pid FROM dp.hierarchy").fetchone() == (None,)
    assert settings(owner) == ("owner", '"$user", public', "0")


CANCEL_DURING = """
DO $python$
import os, signal, time
entry = next(module for name, module in GD.items() if name.startswith('dialog_partition'))
calls, database = entry.calls, entry.database
root = plpy.execute("SELECT oid::int AS oid FROM pg_class WHERE relname = 'Dialog'")[0]['oid']
assert entry.server.try_lock(root, True) is None
calls._open.append(calls.context('test', root, 'Dialog', 'owner', entry.execute.PROCEDURE))
os.kill(os.getpid(), signal.SIGINT)
try:
    {step}
except database.ServerError as error:
    plpy.notice('canceled' if database.is_cancel(error) else str(error))
$python$ LANGUAGE plpython3u
"""


@pytest.mark.parametrize("step", ["calls.release_locks()", "database.notice('x')"])
def test_a_cancel_while_the_lock_is_given_back_or_the_client_is_told(db: Database, step: str) -> None:
    family.declare(db.connect())
    session, told = db.connect("postgres"), []
    session.add_notice_handler(lambda diagnostic: told.append(diagnostic.message_primary))
    session.execute("SELECT FROM dp.check()")
    session.execute(CANCEL_DURING.replace("{step}", step))  # type: ignore[arg-type]
    assert told[-1] == "canceled"
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert session.execute(held).fetchone() == (0 if "release" in step else 1,)
    session.execute("CALL dp.run_maintenance('\"Dialog\"')")
    assert session.execute(held).fetchone() == (0,)


def test_maintenance_stops_for_a_cancel_instead_of_going_on(db: Database) -> None:
    owner = db.connect()
    for name in ("a", "b"):
        owner.execute(
            f"CREATE TABLE {name} (id bigint, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
        )
        owner.execute(f"SELECT dp.create_hierarchy('{name}', 'at')")
    reader = db.connect()
    reader.execute("BEGIN")
    reader.execute("LOCK TABLE a IN SHARE UPDATE EXCLUSIVE MODE")
    timer = threading.Timer(0.5, lambda: db.value("SELECT pg_cancel_backend(%s)", owner.info.backend_pid))
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        owner.execute("CALL dp.run_maintenance()")
    timer.join()
    assert db.value("SELECT count(*) FROM dp.slice") == 0
