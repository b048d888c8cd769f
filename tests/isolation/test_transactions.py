"""Procedures commit step by step: inside a transaction they refuse, and say what to do instead."""

from __future__ import annotations

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

CALLS = (
    "CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01')",
    "CALL dp.drain_default('\"Dialog\"')",
    "CALL dp.run_maintenance()",
)


@pytest.mark.parametrize("call", CALLS)
def test_inside_a_transaction_nothing_changes(db: Database, call: str) -> None:
    owner = db.connect()
    family.declare(owner, default_slice=True)
    body = call.replace("'", "''")
    owner.execute(f"CREATE FUNCTION run() RETURNS void LANGUAGE plpgsql AS 'BEGIN {body}; END'")  # type: ignore[arg-type]
    for statement in (call, f"DO 'BEGIN {body}; END'", "SELECT run()"):
        with pytest.raises(psycopg.errors.InvalidTransactionTermination) as caught, owner.transaction():
            owner.execute(statement)  # type: ignore[call-overload]
        assert "dry_run => true" in str(caught.value.diag.message_hint)
    with pytest.raises(psycopg.errors.InvalidTransactionTermination):
        owner.execute("SELECT run()")
    assert family.slices(owner) == []
    assert owner.execute("SELECT count(*) FROM dp.log").fetchone() == (0,)
    assert owner.execute("SELECT running_pid FROM dp.hierarchy").fetchone() == (None,)
    owner.execute(f"DO 'BEGIN {body}; END'")  # type: ignore[arg-type] # a DO of its own may commit
    owner.execute(call)  # type: ignore[call-overload]
    assert len(family.slices(owner)) == {CALLS[0]: 3, CALLS[1]: 0, CALLS[2]: 6}[call]


def test_a_rehearsal_is_allowed_inside_a_transaction(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    with owner.transaction():
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01', dry_run => true)")
        assert owner.execute("SELECT count(*) > 10 FROM dp.last_plan").fetchone() == (True,)
    assert family.slices(owner) == []
