"""A database with a hierarchy is dumped, restored elsewhere, and goes on as before."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

CONFIGURATION = (
    "dp.hierarchy_config",
    "dp.table_config",
    "dp.detached_slice",
    "dp.pending_foreign_key",
    "dp.global_index_config",
    "dp.writable_view_config",
)


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


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_global_indexes_and_writable_views_come_back(db: Database, restored: Database, key_form: str) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, key_form)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-08-01')")
    family.fill(owner, "2025-06-15 12:00+00", 1, 20)
    owner.execute("SELECT dp.create_global_index('\"Dialog\"', '{Id}')")
    owner.execute("SELECT dp.create_global_index('\"Activity\"', '{Id}', hash_partitions => 2)")
    owner.execute(
        'GRANT SELECT, INSERT ON "Activity" TO stranger; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO stranger'
    )
    owner.execute("SELECT dp.create_writable_views('\"Dialog\"', 'app')")
    with db.server.connect(db.name) as admin:
        admin.execute("ANALYZE")
    try:
        db.server.psql(restored.name, db.server.pg_dump(db.name))
        with db.server.connect(restored.name) as admin:
            admin.execute("ANALYZE")
        assert seen(restored) == seen(db)
        again = restored.connect(**{"dp.now": "2025-06-15 00:00+00"})
        assert again.execute("SELECT * FROM dp.create_writable_views('\"Dialog\"', 'app')").fetchall() == []
        restored.connect("stranger").execute('INSERT INTO app."Activity" ("Id", "DialogId") VALUES (900, 3)')
        again.execute('UPDATE "Dialog" SET "UpdatedAt" = \'2025-07-02 00:00+00\' WHERE "Id" = 3')
        assert again.execute("SELECT count(*) FROM \"Activity_by_DialogId\"('{3}')").fetchone() == (3,)
        for side in ("Dialog_Id_global", "Activity_Id_global"):
            assert again.execute(f"SELECT * FROM dp.verify_global_index('\"{side}\"')").fetchall() == []  # type: ignore[call-overload]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            again.execute('DELETE FROM "Dialog_2025_06"')
        with pytest.raises(psycopg.errors.UniqueViolation):
            again.execute('INSERT INTO app."Dialog" ("Id", "Party", "UpdatedAt") VALUES (4, \'p\', \'2025-05-02\')')
    finally:
        restored.drop()
