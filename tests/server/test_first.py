"""The thin slice through every layer: one root, one child, one slice."""

from __future__ import annotations

from tests.support.database import Database


def test_a_root_and_a_child_get_their_slices(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        'CREATE TABLE "Dialog" ("Id" uuid NOT NULL, "Party" text NOT NULL, "ContentUpdatedAt" timestamptz NOT NULL,'
        ' PRIMARY KEY ("Id", "ContentUpdatedAt", "Party")) PARTITION BY RANGE ("ContentUpdatedAt")'
    )
    owner.execute('CREATE TABLE "DialogContent" ("Id" uuid PRIMARY KEY, "DialogId" uuid NOT NULL)')
    owner.execute("SELECT dp.create_hierarchy('\"Dialog\"', 'ContentUpdatedAt', 'Party', hash_partitions => 2)")
    owner.execute("SELECT dp.register_child('\"DialogContent\"', '\"Dialog\"', '{DialogId}', 'CASCADE')")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-06-01', '2025-07-01')")
    names = [row["name"] for row in db.rows("SELECT leaf::text AS name FROM dp.leaf ORDER BY leaf::text")]
    assert names == [
        '"DialogContent_2025_06_h00"',
        '"DialogContent_2025_06_h01"',
        '"Dialog_2025_06_h00"',
        '"Dialog_2025_06_h01"',
    ]
