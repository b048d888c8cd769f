"""Two paths of different length to the root: A <- B <- C <- D beside A <- D."""

from __future__ import annotations

import pytest

from tests.support.database import Database

TABLES = """
CREATE TABLE a (id int PRIMARY KEY, owner text NOT NULL, at timestamptz NOT NULL);
CREATE TABLE b (id int PRIMARY KEY, a_id int NOT NULL REFERENCES a ON DELETE CASCADE);
CREATE TABLE c (id int PRIMARY KEY, b_id int NOT NULL REFERENCES b ON DELETE CASCADE);
CREATE TABLE d (
    id int PRIMARY KEY,
    c_id int NOT NULL CONSTRAINT d_to_c REFERENCES c ON DELETE CASCADE,
    a_id int NOT NULL CONSTRAINT d_to_a REFERENCES a ON DELETE CASCADE
);
"""
LONG_FIRST = [("b", "a"), ("c", "b"), ("d", "c"), ("d", "a")]
SHORT_FIRST = [("b", "a"), ("c", "b"), ("d", "a"), ("d", "c")]


@pytest.mark.parametrize("links", [LONG_FIRST, SHORT_FIRST], ids=["long path first", "short path first"])
@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_a_diamond_of_unequal_depth_survives_a_change_of_the_keys(
    db: Database, key_form: str, links: list[tuple[str, str]]
) -> None:
    owner = db.connect()
    owner.execute(TABLES)
    owner.execute("SELECT dp.create_hierarchy('a', 'at', 'owner', key_form => %s, hash_partitions => 2)", (key_form,))
    for child, parent in links:
        owner.execute("SELECT dp.register_child(%s, %s)", (child, parent))
    owner.execute("CALL dp.create_slices('a', '2025-01-01', '2025-04-01')")
    key, value = ("at", "2025-01-15+00") if key_form == "exact" else ("at_slice", "2025-01-01")
    root_key = ", at_slice" if key_form == "slice" else ""
    root_value = ", '2025-01-01'" if key_form == "slice" else ""
    owner.execute(f"INSERT INTO a (id, owner, at{root_key}) VALUES (1, 'me', '2025-01-15+00'{root_value})")
    for table, columns, values in (("b", "a_id", "1"), ("c", "b_id", "1"), ("d", "c_id, a_id", "1, 1")):
        owner.execute(f"INSERT INTO {table} (id, {columns}, {key}, owner) VALUES (1, {values}, '{value}', 'me')")
    owner.execute("UPDATE a SET at = '2025-03-20+00' WHERE id = 1")
    places = owner.execute(
        "SELECT replace(tableoid::regclass::text, 'a_', '') FROM a UNION ALL"
        " SELECT replace(tableoid::regclass::text, 'b_', '') FROM b UNION ALL"
        " SELECT replace(tableoid::regclass::text, 'c_', '') FROM c UNION ALL"
        " SELECT replace(tableoid::regclass::text, 'd_', '') FROM d"
    ).fetchall()
    assert len(places) == 4
    assert len(set(places)) == 1
    assert places[0][0].startswith("2025_03_h")
    deferred = owner.execute(
        "SELECT conname FROM pg_constraint WHERE condeferred AND conparentid = 0 AND contype = 'f'"
    ).fetchall()
    assert deferred == [("d_to_c",)]  # only the key that would be checked before the long path has arrived
