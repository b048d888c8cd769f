"""Backends that are killed at random moments: the same call finishes, and nothing is left behind."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

CREATE = "CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2026-01-01')"
DRAIN = "CALL dp.drain_default('\"Dialog\"', '2024-01-01', '2025-01-01')"
MAINTAIN = "CALL dp.run_maintenance('\"Dialog\"')"
KILLS = 12

STATE = (
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), parent.relname, c.relkind::text,"
    " (SELECT string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY pg_get_constraintdef(k.oid))"
    "  FROM pg_constraint k WHERE k.conrelid = c.oid AND k.convalidated),"
    " (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled = 'O')"
    " FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid"
    " LEFT JOIN pg_class parent ON parent.oid = i.inhparent"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1"
)


def prepare(db: Database, call: str, key_form: str) -> psycopg.Connection[Any]:
    """Something for the call to do: slices to create, rows to move, slices to retire."""
    connection = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(connection, key_form, default_slice=True, premake=6, retention="6 months", lock_timeout="200 ms")
    connection.execute("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    connection.execute('CREATE TRIGGER nothing AFTER UPDATE ON "Activity" FOR EACH ROW EXECUTE FUNCTION nothing()')
    first = "2024-06-01" if call == MAINTAIN else "2023-12-01"
    last = "2025-01-01" if call == MAINTAIN else "2024-01-01"
    connection.execute(f"CALL dp.create_slices('\"Dialog\"', '{first}', '{last}')")
    if call == CREATE:
        family.fill(connection, "2019-06-10 12:00+00", 1, 20)
    for month in range(1, 7):
        if call != CREATE:
            year = 2025 if call == MAINTAIN else 2024
            family.fill(connection, f"{year}-0{month}-10 12:00+00", month * 1000, 20)
    return connection


def state(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Bounds, leaves, keys and triggers of every table."""
    return connection.execute(STATE).fetchall()


def run_and_kill(db: Database, call: str, delay: float) -> bool:
    """Start the call in a session of its own and terminate that after a while; whether the call was cut off."""
    victim = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    pid = victim.info.backend_pid
    cut_off = threading.Event()

    def work() -> None:
        try:
            victim.execute(call)  # type: ignore[call-overload]
        except psycopg.OperationalError:
            cut_off.set()

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(delay)
    with db.server.connect(db.name) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    worker.join()
    with contextlib.suppress(psycopg.Error):
        victim.close()
    return cut_off.is_set()


@pytest.mark.parametrize("call", [CREATE, DRAIN, MAINTAIN], ids=["create_slices", "drain_default", "run_maintenance"])
@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_a_killed_call_is_finished_by_the_next_one(db: Database, call: str, key_form: str) -> None:
    owner = prepare(db, call, key_form)
    other = Database.create(db.server, db.name + "_undisturbed")
    try:
        undisturbed = prepare(other, call, key_form)
        undisturbed.execute(call)  # type: ignore[call-overload]
        expected = (state(undisturbed), family.counts(undisturbed), family.default_counts(undisturbed))
    finally:
        other.drop()
    rows = family.counts(owner)
    dice = random.Random(f"{call} {key_form}")  # the same moments in every run, as far as a machine allows
    kills = 0
    for _ in range(KILLS):
        kills += run_and_kill(db, call, dice.uniform(0.01, 0.15))
        if call != MAINTAIN:
            assert family.counts(owner) == rows
    assert kills >= 5
    owner.execute(call)  # type: ignore[call-overload]
    assert (state(owner), family.counts(owner), family.default_counts(owner)) == expected
    assert [
        name for name in family.leftovers(owner) if not name.startswith(("Dialog_2024", "Activity_2024", "Actor_2024"))
    ] == []
    shown = owner.execute("SELECT running_pid FROM dp.hierarchy").fetchone()
    assert shown == (None,)
