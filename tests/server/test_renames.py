"""Tables and schemas get other names: lookups, writable views and what keeps global indexes follow; jobs are told."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database

Connection = psycopg.Connection[Any]
TABLES = """
CREATE SCHEMA s;
CREATE SCHEMA "V iews";
CREATE SCHEMA elsewhere;
CREATE TABLE s.dialog (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL);
CREATE TABLE s.note (id bigint PRIMARY KEY, dialog_id bigint NOT NULL REFERENCES s.dialog ON DELETE CASCADE);
CREATE INDEX ON s.note (dialog_id);
SELECT dp.create_hierarchy('s.dialog', 'at', 'party', key_form => 'slice', hash_partitions => 2, premake => 0);
SELECT dp.register_child('s.note', 's.dialog');
SELECT dp.create_global_index('s.dialog', ARRAY['id']);
SELECT dp.create_writable_views('s.dialog', 'V iews');
"""
RENAMES = {
    "ALTER TABLE s.dialog RENAME TO conversation": ("s.conversation", "s.note"),
    'ALTER TABLE s.note RENAME TO "Re mark"': ("s.dialog", 's."Re mark"'),
    "ALTER TABLE s.dialog SET SCHEMA elsewhere": ("elsewhere.dialog", "s.note"),
    'ALTER SCHEMA s RENAME TO "z\'z"': ('"z\'z".dialog', '"z\'z".note'),
    'ALTER SCHEMA "V iews" RENAME TO w': ("s.dialog", "s.note"),
}


def prepare(db: Database) -> None:
    owner = db.connect()
    owner.execute(TABLES)
    owner.execute("CALL dp.create_slices('s.dialog', '2025-01-01', '2025-02-01')")


def check_at_work(owner: Connection, root: str, child: str) -> None:
    """Rows are written through views and tables, and found by lookups."""
    views = dict(owner.execute("SELECT tbl::text, view::text FROM dp.writable_view_config").fetchall())
    assert set(views) == {root, child}
    for statement in (
        f"INSERT INTO {root} (id, at, party, at_slice) VALUES (1, '2025-01-05', 'a', '2025-01-01')",
        f"INSERT INTO {views[root]} (id, at, party) VALUES (2, '2025-01-07', 'a')",
        f"INSERT INTO {views[child]} (id, dialog_id) VALUES (5, 1), (6, 2)",
        f"UPDATE {root} SET party = 'b' WHERE id = 1",
        f"DELETE FROM {root} WHERE id = 2",
    ):
        owner.execute(statement)  # type: ignore[call-overload]
    for table, rows in ((root, [1]), (child, [5])):
        found = owner.execute(
            "SELECT p.oid::regproc::text FROM pg_proc p JOIN pg_class c ON c.reltype = p.prorettype"
            " WHERE c.oid = %s::regclass AND p.proretset AND p.pronamespace = c.relnamespace"
            " AND starts_with(p.proname, c.relname || '_by_')",
            [table],
        ).fetchall()
        assert len(found) == 1
        values = owner.execute(f"SELECT id, party FROM {found[0][0]}(ARRAY[1, 2])").fetchall()  # type: ignore[call-overload]
        assert values == [(number, "b") for number in rows]


def findings(owner: Connection) -> set[str]:
    rows = owner.execute("SELECT finding FROM dp.check()").fetchall()
    return {row[0] for row in rows if row[0].endswith(("of a renamed table", "outdated")) or "global index" in row[0]}


@pytest.mark.parametrize("command", RENAMES)
def test_what_was_generated_follows(db: Database, command: str) -> None:
    db.begin_with(prepare)
    owner = db.connect()
    root, child = RENAMES[command]
    owner.execute("CREATE INDEX ON s.note (dialog_id, id)")
    owner.execute(command)  # type: ignore[call-overload]
    check_at_work(owner, root, child)
    assert findings(owner) == set()
    owner.execute("SELECT dp.drop_global_index((SELECT side FROM dp.global_index_config))")
    left = owner.execute(
        "SELECT proname FROM pg_proc p WHERE obj_description(oid, 'pg_proc') LIKE 'Rows of %'"
    ).fetchall()
    assert left == [], "lookups are known by their new names, too"


@pytest.mark.parametrize("command", RENAMES)
def test_what_happened_while_nobody_followed_is_told_and_mended(db: Database, command: str) -> None:
    db.begin_with(prepare)
    owner = db.connect()
    owner.execute("SET dp.propagate_ddl = off")
    owner.execute(command)  # type: ignore[call-overload]
    owner.execute("SET dp.propagate_ddl = on")
    told = findings(owner)
    assert ("function of a renamed table" in told) is ("V iews" not in command)
    for _ in range(3):  # views are made when the functions that they need are right
        rows = owner.execute("SELECT finding, statement FROM dp.check() WHERE statement IS NOT NULL").fetchall()
        for finding, statement in rows:
            if finding in told:
                owner.execute(statement)
    assert findings(owner) == set()
    check_at_work(owner, *RENAMES[command])


def test_a_renamed_side_table_is_refused(db: Database) -> None:
    db.begin_with(prepare)
    owner = db.connect()
    for command in ("RENAME TO other", "SET SCHEMA elsewhere"):
        with pytest.raises(psycopg.errors.InvalidTableDefinition):
            owner.execute(f"ALTER TABLE s.dialog_id_global {command}")  # type: ignore[call-overload]


def test_jobs_that_call_a_table_by_its_former_name_are_told(db: Database) -> None:
    db.begin_with(prepare)
    owner = db.connect()
    name = f"dp {db.name} s.dialog maintenance"
    owner.execute(
        "INSERT INTO dp.job_config (root, kind, name, schedule, is_elsewhere)"
        " VALUES ('s.dialog', 'maintenance', %s, '3 * * * *', false)",
        [name],
    )
    query = "SELECT target, statement FROM dp.check() WHERE finding = 'job of a renamed table'"
    assert owner.execute(query).fetchall() == []
    owner.execute("ALTER TABLE s.dialog RENAME TO conversation")
    assert owner.execute(query).fetchall() == [
        (
            '"s"."conversation"',
            'SELECT dp.schedule(\'"s"."conversation"\')',
        )
    ]
