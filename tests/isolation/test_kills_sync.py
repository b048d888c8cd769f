"""dp.sync is killed at random moments: the same call finishes, nothing differs any more, no row is lost."""

from __future__ import annotations

import random

from tests.isolation.test_kills import run_and_kill
from tests.support import family
from tests.support.database import Database
from tests.support.hierarchies import call

SYNC = "CALL dp.sync('\"Dialog\"')"
KILLS = 10
ROUNDS = 60  # at most: a call may be done before it is killed
# The next round always has something to do: each asks for another value on every leaf.
ROUND = """
ALTER TABLE "Dialog_template" SET (fillfactor = {n});
ALTER TABLE "Activity_template" SET (fillfactor = {n});
ALTER TABLE "Actor_template" SET (fillfactor = {n});
COMMENT ON TABLE "Dialog" IS 'round {n}';
COMMENT ON TABLE "Actor" IS 'round {n}';
CREATE INDEX "round {n}" ON ONLY "Activity" ("Text");
"""


def test_a_killed_sync_is_finished_by_the_next_one(db: Database) -> None:
    owner = db.connect()
    family.declare(owner, "exact", lock_timeout="200 ms")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2026-01-01')")
    family.fill(owner, "2025-03-10 12:00+00", 1, 20)
    rows = family.counts(owner)
    dice = random.Random("sync")  # the same moments in every run, as far as a machine allows
    kills = 0
    for n in range(30, 30 + ROUNDS):
        if kills == KILLS:
            break
        owner.execute(ROUND.format(n=n))
        kills += run_and_kill(db, SYNC, dice.uniform(0.02, 0.4))
        assert family.counts(owner) == rows
    assert kills == KILLS
    owner.execute(SYNC)
    assert call(owner, "SELECT dp.drift", '"Dialog"') == []
    assert db.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert family.leftovers(owner) == []
    assert owner.execute("SELECT running_pid FROM dp.hierarchy").fetchone() == (None,)
