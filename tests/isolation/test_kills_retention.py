"""Retention whose sessions are killed: the next run finishes, what is to stay stays, and nothing goes unexported."""

from __future__ import annotations

import random

import psycopg
import pytest

from tests.isolation.test_kills import run_and_kill
from tests.support import family
from tests.support.database import Database, with_dblink

KILLS = 8
KEPT = ["2025_05", "2025_06", "2025_07"]


@pytest.mark.parametrize("is_concurrent", [False, True], ids=["as usual", "concurrently"])
def test_a_killed_retention_is_finished_by_the_next_one(db: Database, is_concurrent: bool) -> None:
    host = with_dblink(db)
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=1, retention="1 month", retention_action="drop", lock_timeout="200 ms")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2024-01-01', '2025-08-01')")
    for month in range(1, 7):
        family.fill(owner, f"2025-0{month}-10 12:00+00", month * 1000, 10)
    owner.execute("CREATE TABLE exported (relation text, rows bigint)")
    owner.execute(
        'CREATE FUNCTION "keep a copy"(slice regclass) RETURNS void LANGUAGE plpgsql AS $$ BEGIN'
        " EXECUTE format('INSERT INTO public.exported SELECT %L, count(*) FROM %s', slice, slice); END $$"
    )
    owner.execute("SELECT dp.configure('\"Dialog\"', retention_export => '\"keep a copy\"(regclass)')")
    call = "CALL dp.run_maintenance('\"Dialog\"'" + (f", connection => '{host}')" if is_concurrent else ")")
    dice = random.Random(call)
    kills = sum(run_and_kill(db, call, dice.uniform(0.05, 0.4)) for _ in range(KILLS))
    assert kills >= 3
    owner.execute(call)  # type: ignore[call-overload]
    assert [family.slices(owner, table) for table in family.TABLES] == [KEPT] * 3
    assert family.counts(owner) == {"Dialog": 20, "Activity": 40, "Actor": 60}
    assert owner.execute("SELECT count(*) FROM pg_inherits WHERE inhdetachpending").fetchone() == (0,)
    check_nothing_lost(owner, is_concurrent)
    owner.execute("ANALYZE")
    assert owner.execute("SELECT finding FROM dp.check('\"Dialog\"') WHERE severity = 'error'").fetchall() == []


def check_nothing_lost(owner: psycopg.Connection[tuple[object, ...]], is_concurrent: bool) -> None:
    """Each slice that is gone was exported with all its rows; one that is not gone stands by itself, without keys."""
    left = [name for name in family.leftovers(owner) if name != "exported"]
    if not is_concurrent:
        assert left == []
    for month in range(1, 5):
        for table, rows in zip(family.TABLES, (10, 20, 30)):
            name = f"{table}_2025_0{month}"
            if name in left:
                found = owner.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # type: ignore[call-overload]
            else:
                found = owner.execute(
                    "SELECT max(rows) FROM exported WHERE relation = format('public.%%I', %s::text)", [name]
                ).fetchone()
            assert found == (rows,), name
    for name in left:
        keys = "SELECT count(*) FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'f'"
        assert owner.execute(keys, [f'"{name}"']).fetchone() == (0,)
