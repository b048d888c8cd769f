"""dp.convert and dp.unconvert are killed at random moments.

The same call finishes; until the exchange the tables are as they were.
"""

from __future__ import annotations

import random

import pytest

from tests.isolation.test_kills import run_and_kill
from tests.server.test_convert import CONVERT, PLAIN, TABLES, contents, definitions, kinds, stop_before_the_exchange
from tests.support.database import Database

KILLS = 15
ENOUGH = 8
ROUNDS = 80  # at most: a call may be done before it is killed
STATE = "SELECT coalesce((SELECT state FROM dp.conversion_config), '')"
UNTOUCHED = ("", "structure", "copying", "changed")
DONE = ("", "converted")  # what has come to its end, and what keeps the plain tables still
BATCHES = ", batch_blocks => 2)"


@pytest.mark.parametrize("call", ["convert", "unconvert"])
def test_a_killed_conversion_is_finished_by_the_next_call(db: Database, call: str) -> None:
    owner = db.connect()
    owner.execute(PLAIN)
    there, back = (CONVERT + ")", "SELECT dp.drop_converted('event')"), ("CALL dp.unconvert('event')",)
    statement, before_kind, after_kind, undo = CONVERT + BATCHES, "r", "p", (there[1], *back)
    if call == "unconvert":
        statement, before_kind, after_kind, undo = "CALL dp.unconvert('event', 2)", "p", "r", there
        for each in there:
            owner.execute(each)  # type: ignore[call-overload]
    before, described = contents(db), definitions(db)
    dice = random.Random(call)  # the same moments in every run, as far as a machine allows
    kills, patience = 0, 0.3
    for _ in range(ROUNDS):
        if kills == KILLS:
            break
        if kinds(db) == dict.fromkeys(TABLES, after_kind) and db.value(STATE) in DONE:
            if kills >= ENOUGH:
                break
            for each in undo:  # on a fast machine it was done before that: once more from the beginning
                owner.execute(each)  # type: ignore[call-overload]
        if db.value(STATE) in ("copying", "switched"):
            kills += run_and_kill(db, statement, dice.uniform(0.01, 0.1))
        else:  # before that it begins anew: on a slow machine it must be given more time, to come further
            kills += run_and_kill(db, statement, dice.uniform(0.1, patience))
            patience *= 1.3
        assert contents(db) == before
        if db.value(STATE) in UNTOUCHED and kinds(db) != dict.fromkeys(TABLES, after_kind):
            assert kinds(db) == dict.fromkeys(TABLES, before_kind)
            assert definitions(db) == described
    assert kills >= ENOUGH
    owner.execute(statement)
    assert kinds(db) == dict.fromkeys(TABLES, after_kind)
    assert contents(db) == before
    assert db.value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'public%%_conversion'") == 0
    if call == "convert":
        assert db.rows("SELECT * FROM dp.drift()") == []
        owner.execute("SELECT dp.drop_converted('event')")
        owner.execute("CALL dp.unconvert('event')")
        assert definitions(db) == described
    assert db.value("SELECT count(*) FROM dp.hierarchy_config") == 0


def _schemas(db: Database) -> int:
    """How many schemas conversions have made."""
    found: int = db.value("SELECT count(*) FROM pg_namespace WHERE nspname ~ '^public_conver'")
    return found


def test_a_killed_cancel_conversion_is_finished_by_the_next_call(db: Database) -> None:
    owner = db.connect()
    owner.execute(PLAIN)
    before, described = contents(db), definitions(db)
    stop_before_the_exchange(db, owner)
    dice = random.Random("cancel")
    kills = 0
    for _ in range(KILLS):
        kills += run_and_kill(db, "CALL dp.cancel_conversion('event')", dice.uniform(0.005, 0.06))
        assert contents(db) == before
        assert definitions(db) == described
    assert kills >= 1
    owner.execute("CALL dp.cancel_conversion('event')")
    assert db.value("SELECT count(*) FROM dp.conversion_config") == 0
    assert _schemas(db) == 0
    owner.execute(CONVERT + ")")
    assert kinds(db) == dict.fromkeys(TABLES, "p")


def test_a_killed_drop_converted_has_dropped_all_plain_tables_or_none(db: Database) -> None:
    owner = db.connect()
    owner.execute(PLAIN)
    owner.execute(CONVERT + ")")
    before = contents(db)
    dice = random.Random("drop")
    for _ in range(KILLS):
        run_and_kill(db, "SELECT * FROM dp.drop_converted('event')", dice.uniform(0.005, 0.04))
        assert contents(db) == before
        left = db.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public_converted'")
        assert (left, _schemas(db)) in [(len(TABLES), 1), (0, 0)]
    owner.execute("SELECT * FROM dp.drop_converted('event')")
    assert _schemas(db) == 0
