"""A disk that is full while tables are converted: they stay as they are, and the same call goes on."""

from __future__ import annotations

import psycopg
import pytest

from tests.server.test_convert import CONVERT, PLAIN, TABLES, contents, definitions, kinds
from tests.support.database import Database

PHASES = ("structure", "copy", "indexes", "foreign keys", "verify", "switch", "afterwards")
# What a step has done is undone with it, as where its last write finds no room.
FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE disk_full USING MESSAGE = ''no space left on device''; END';
"""
MEETS = "CREATE TRIGGER full_disk BEFORE UPDATE ON dp.conversion_step FOR EACH ROW WHEN (old.phase = '{}' AND {})"
BATCHES = ", batch_blocks => 3)"


def fill(db: Database, phase: str, condition: str = "true") -> None:
    with db.server.connect(db.name) as admin:
        admin.execute(f"{MEETS.format(phase, condition)} EXECUTE FUNCTION full_disk()")


def free(db: Database) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute("DROP TRIGGER full_disk ON dp.conversion_step")


@pytest.mark.parametrize("call", ["convert", "unconvert"])
def test_in_each_phase_the_tables_stay_usable_and_the_same_call_goes_on(db: Database, call: str) -> None:
    owner = db.connect()
    owner.execute(PLAIN)
    with db.server.connect(db.name) as admin:
        admin.execute(FULL)
    statement, before_kind, after_kind = CONVERT + BATCHES, "r", "p"
    if call == "unconvert":
        owner.execute(CONVERT + ")")
        owner.execute("SELECT dp.drop_converted('event')")
        statement, before_kind, after_kind = "CALL dp.unconvert('event', 3)", "p", "r"
    before, described = contents(db), definitions(db)
    position = -1
    for phase in PHASES:
        fill(db, phase, "old.next_block > 0" if phase == "copy" else "true")
        with pytest.raises(psycopg.errors.DiskFull, match="no space left on device"):
            owner.execute(statement)
        free(db)
        reached = db.value("SELECT min(position) FROM dp.conversion_step WHERE NOT is_done")
        assert reached > position, "it began where it had been stopped"
        position = reached
        assert contents(db) == before
        assert kinds(db) == dict.fromkeys(TABLES, after_kind if phase == "afterwards" else before_kind)
        if phase != "afterwards":
            assert definitions(db) == described
            owner.execute("BEGIN; UPDATE event SET mask = 7 WHERE id = 7; DELETE FROM message WHERE id = 9; ROLLBACK")
    owner.execute(statement)
    assert kinds(db) == dict.fromkeys(TABLES, after_kind)
    assert contents(db) == before
