"""Maintenance that meets something it cannot do: the rest is done, and the call says what was not."""

from __future__ import annotations

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

ROOT = "'\"Dialog\"'"
MAINTAIN = f"CALL dp.run_maintenance({ROOT})"


def test_a_slice_that_cannot_be_retired_does_not_keep_younger_ones(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=0, retention="3 months", retention_action="drop")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2024-12-01', '2025-06-01')")
    family.fill(owner, "2025-01-10 12:00+00", 1, 3)
    owner.execute(
        "CREATE TABLE outside (id bigint, at timestamptz, party text, FOREIGN KEY (id, at, party)"
        ' REFERENCES "Dialog" ("Id", "UpdatedAt", "Party"))'
    )
    owner.execute('INSERT INTO outside SELECT "Id", "UpdatedAt", "Party" FROM "Dialog" LIMIT 1')
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        owner.execute(MAINTAIN)
    detail = str(raised.value.diag.message_detail)
    assert '"public"."Dialog_2025_01": ' in detail and "(23503)" in detail
    assert "2025_02" not in detail
    assert family.slices(owner) == ["2025_01", "2025_03", "2025_04", "2025_05", "2025_06"]
    owner.execute("DELETE FROM outside")
    owner.execute(MAINTAIN)
    assert family.slices(owner) == ["2025_03", "2025_04", "2025_05", "2025_06"]


def test_a_slice_that_cannot_be_dropped_does_not_keep_younger_ones(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=0, retention="3 months", retention_action="drop")
    owner.execute(f"SELECT dp.configure({ROOT}, retention_grace => '1 month')")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-01-01', '2025-06-01')")
    owner.execute(MAINTAIN)
    owner.execute('CREATE VIEW looks AS SELECT * FROM "Dialog_2025_01"')
    owner.execute("SET dp.now = '2025-08-01 12:00+00'")
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        owner.execute(MAINTAIN)
    assert "Dialog_2025_01" in str(raised.value.diag.message_detail)
    left = owner.execute("SELECT slice::text FROM dp.detached_slice ORDER BY 1").fetchall()
    assert ('"Dialog_2025_01"',) in left
    assert ('"Dialog_2025_02"',) not in left


def test_who_holds_the_lock_that_reading_waits_for(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=0)
    owner.execute(MAINTAIN)
    migration = db.connect()
    with migration.transaction():
        migration.execute('ALTER TABLE "Dialog" ADD COLUMN "Extra" text')
        found = owner.execute("SELECT finding, detail FROM dp.check()").fetchone()
        assert found is not None and found[0] == "unreadable hierarchy"
        assert f"process {migration.info.backend_pid} (owner, idle in transaction)" in found[1]
        with pytest.raises(psycopg.errors.RaiseException) as raised:
            owner.execute("CALL dp.run_maintenance()")
        assert f"process {migration.info.backend_pid}" in str(raised.value.diag.message_detail)
    assert owner.execute("SELECT count(*) FROM dp.check() WHERE severity = 'error'").fetchone() == (0,)


def test_a_child_that_was_dropped_leaves_no_detached_slice_behind(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=0)
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-01-01', '2025-06-01')")
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2025-02-01')")
    owner.execute('DROP TABLE "Actor"')
    rows = owner.execute("SELECT slice::text FROM dp.detached_slice ORDER BY 1").fetchall()
    assert rows == [('"Activity_2025_02"',), ('"Dialog_2025_02"',)]
    assert owner.execute('SELECT count(*) FROM "Actor_2025_02"').fetchone() == (0,), "the table itself stays"
    owner.execute(MAINTAIN)
    owner.execute(f"SELECT * FROM dp.retention({ROOT})")
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-02-01')")
    assert "2025_02" in family.slices(owner)
