"""A database with a hierarchy is dumped, restored elsewhere, and goes on as before."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import family
from tests.support.database import Database

CONFIGURATION = ("dp.hierarchy_config", "dp.table_config", "dp.detached_slice", "dp.pending_foreign_key")


def seen(db: Database) -> dict[str, list[dict[str, Any]]]:
    """What a DBA sees of the hierarchies: configuration, slices, leaves, findings."""
    queries = {name: f"SELECT * FROM {name} AS t ORDER BY t::text" for name in CONFIGURATION}
    queries["slices"] = "SELECT * FROM dp.slice ORDER BY tbl::text, slice::text"
    queries["leaves"] = "SELECT leaf::text, remainder, lower_bound, upper_bound FROM dp.leaf ORDER BY leaf::text"
    queries["findings"] = "SELECT severity, finding, target FROM dp.check() ORDER BY finding, target"
    return {name: db.rows(query) for name, query in queries.items()}


@pytest.fixture
def restored(db: Database) -> Database:
    """An empty database to restore into; dropped with the test."""
    name = f"{db.name}_restored"
    with db.server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER owner")
    return Database(db.server, name)


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_a_restored_database_has_the_same_hierarchy(db: Database, restored: Database, key_form: str) -> None:
    owner = db.connect()
    family.declare(owner, key_form, premake=2)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-07-01')")
    family.fill(owner, "2025-06-15 12:00+00", 1, 20)
    owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-05-01')")
    owner.execute("CALL dp.run_maintenance('\"Dialog\"')")
    with db.server.connect(db.name) as admin:
        admin.execute("ANALYZE")
    try:
        db.server.psql(restored.name, db.server.pg_dump(db.name))
        with db.server.connect(restored.name) as admin:
            admin.execute("ANALYZE")  # a dump carries no statistics before PostgreSQL 18, and then not by default

        assert seen(restored) == seen(db)
        again = restored.connect()
        assert family.counts(again) == family.counts(owner)
        assert family.counts(again)["Dialog"] == 20
        again.execute("SELECT dp.attach_slice('\"Dialog\"', '2025-05-01')")
        assert [row["is_attached"] for row in restored.rows("SELECT DISTINCT is_attached FROM dp.slice")] == [True]
        again.execute("CALL dp.create_slices('\"Dialog\"', '2025-07-01', '2025-08-01')")
        family.fill(again, "2025-07-15 12:00+00", 100, 5)
    finally:
        restored.drop()
