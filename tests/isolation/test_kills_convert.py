"""dp.convert and dp.unconvert are killed at random moments.

The same call finishes; until the exchange the tables are as they were.
"""

from __future__ import annotations

import random

import pytest

from tests.isolation.test_kills import run_and_kill
from tests.server.test_convert import CONVERT, PLAIN, TABLES, contents, definitions, kinds
from tests.support.database import Database

KILLS = 15
ROUNDS = 80  # at most: a call may be done before it is killed
STATE = "SELECT coalesce((SELECT state FROM dp.conversion_config), '')"
UNTOUCHED = ("", "structure", "copying", "changed")
BATCHES = ", batch_blocks => 2)"


@pytest.mark.parametrize("call", ["convert", "unconvert"])
def test_a_killed_conversion_is_finished_by_the_next_call(db: Database, call: str) -> None:
    owner = db.connect()
    owner.execute(PLAIN)
    statement, before_kind, after_kind = CONVERT + BATCHES, "r", "p"
    if call == "unconvert":
        owner.execute(CONVERT + ")")
        owner.execute("SELECT dp.drop_converted('event')")
        statement, before_kind, after_kind = "CALL dp.unconvert('event', 2)", "p", "r"
    before, described = contents(db), definitions(db)
    dice = random.Random(call)  # the same moments in every run, as far as a machine allows
    kills, patience = 0, 0.3
    for _ in range(ROUNDS):
        if kills == KILLS or kinds(db) == dict.fromkeys(TABLES, after_kind):
            break
        if db.value(STATE) in ("copying", "switched"):
            kills += run_and_kill(db, statement, dice.uniform(0.01, 0.1))
        else:  # before that it begins anew: on a slow machine it must be given more time, to come further
            kills += run_and_kill(db, statement, dice.uniform(0.1, patience))
            patience *= 1.3
        assert contents(db) == before
        if db.value(STATE) in UNTOUCHED and kinds(db) != dict.fromkeys(TABLES, after_kind):
            assert kinds(db) == dict.fromkeys(TABLES, before_kind)
            assert definitions(db) == described
    assert kills >= 8
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
