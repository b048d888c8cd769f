"""dp.log, and the views that anybody may look at."""

from __future__ import annotations

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database


def test_each_committed_step_has_a_row(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-07-01')")
    rows = db.rows("SELECT * FROM dp.log ORDER BY id")
    assert [row["target"].split('"')[3] for row in rows] == [
        f"{table}_2025_{month}" for month in ("05", "06") for table in family.TABLES
    ]
    for row in rows:
        assert row["status"] == "done"
        assert row["call"] == "create_slices"
        assert row["root"] == '"Dialog"'
        assert row["by_role"] == "owner"
        assert "CREATE TABLE" in row["statements"]
        assert row["duration"].total_seconds() > 0
    planned = owner.execute("SELECT string_agg(statement, ';\n' ORDER BY step) FROM dp.last_plan").fetchone()
    assert planned == (";\n".join(row["statements"] for row in rows),)


def test_a_failure_is_logged_although_the_call_failed(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute('CREATE TABLE "Activity_2025_06_h01" ()')
    with pytest.raises(psycopg.Error):
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-07-01')")
    row = db.rows("SELECT * FROM dp.log ORDER BY id DESC LIMIT 1")[0]
    assert row["status"] == "failed"
    assert "(42P07)" in row["message"]
    assert owner.execute("SELECT last_failure IS NOT NULL, running_pid FROM dp.hierarchy").fetchone() == (True, None)


def test_a_refused_call_is_logged_too(db: Database) -> None:
    owner = db.connect()
    family.declare(owner, default_slice=True)
    owner.execute("CALL dp.run_maintenance()")
    family.fill(owner, "2025-05-10 12:00+00", 1, 1)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-06-01')")
    row = db.rows("SELECT * FROM dp.log WHERE status = 'failed'")[0]
    assert "(55000)" in row["message"]


def test_old_rows_go(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=0)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-06-01')")
    admin = db.connect("postgres")
    admin.execute("UPDATE dp.log_entry SET at = at - interval '91 days' WHERE call = 'create_slices'")
    owner.execute("CALL dp.run_maintenance()")
    assert db.rows("SELECT DISTINCT call FROM dp.log") == [{"call": "run_maintenance"}]


def test_everybody_may_look(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-06-01')")
    stranger = db.connect("stranger")
    for view, expected in (("slice", 3), ("leaf", 6), ("hierarchy", 1), ("managed_table", 3), ("log", 3)):
        assert stranger.execute(f"SELECT count(*) FROM dp.{view}").fetchone() == (expected,)  # type: ignore[arg-type]
    assert stranger.execute("SELECT * FROM dp.last_plan").fetchall() == []
    shown = stranger.execute("SELECT bytes > 0, estimated_rows, remainder FROM dp.leaf ORDER BY 3 LIMIT 1").fetchone()
    assert shown == (True, 0, 0)
