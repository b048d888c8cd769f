"""A schema change whose name is taken: nothing when what is there is the same, an error when it is another."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import catalogs
from tests.support.database import Database
from tests.support.hierarchies import call, create_slices

TABLES = """
CREATE TABLE shared (id int PRIMARY KEY);
CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, body text, kind int);
CREATE TABLE item (id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event ON DELETE CASCADE);
SELECT dp.create_hierarchy('event', 'at', 'party', hash_partitions => 2);
SELECT dp.register_child('item', 'event');
"""
# What is there, the same said otherwise, and others.
CASES = {
    "dp.add_column('event', 'c', 'varchar(9) COLLATE \"C\"')": (
        ["dp.add_column('event', 'c', 'character varying(9) collate \"C\"')"],
        ["dp.add_column('event', 'c', 'varchar(9)')", "dp.add_column('event', 'c', 'varchar(8) COLLATE \"C\"')"],
    ),
    "dp.add_column('event', 'c', 'int', generated => 'kind + 1')": (
        ["dp.add_column('event', 'c', 'integer', generated => '(kind+1)')"],
        ["dp.add_column('event', 'c', 'int', generated => 'kind + 2')", "dp.add_column('event', 'c', 'int')"],
    ),
    "dp.add_column('event', 'c', 'int', '7', comment => 'seven')": (
        ["dp.add_column('event', 'c', 'int', '7', comment => 'seven')", "dp.add_column('event', 'c', 'int')"],
        [
            "dp.add_column('event', 'c', 'int', '8')",
            "dp.add_column('event', 'c', 'int', comment => 'eight')",
            "dp.add_column('event', 'c', 'int', not_null => true)",
            "dp.add_column('event', 'c', 'int', generated => '7')",
        ],
    ),
    "dp.create_index('event', 'i', '(lower(body), kind DESC) INCLUDE (id) WHERE kind > 1')": (
        ["dp.create_index('event', 'i', 'USING btree (LOWER(body),kind desc) include(id) WHERE (kind>1)')"],
        [
            "dp.create_index('event', 'i', '(lower(body), kind) INCLUDE (id) WHERE kind > 1')",
            "dp.create_index('event', 'i', '(lower(body), kind DESC) INCLUDE (id)')",
            "dp.create_index('event', 'event_pkey', '(id, at, party)', is_unique => true)",
        ],
    ),
    "dp.create_index('event', 'u', '(lower(body), party, at, id)', is_unique => true)": (
        ["dp.create_index('event', 'u', '(lower(body), \"party\", at, id)', is_unique => true)"],
        ["dp.create_index('event', 'u', '(lower(body), party, at, id)')"],
    ),
    "dp.add_constraint('event', 'c', 'CHECK (kind > 0)')": (
        [
            "dp.add_constraint('event', 'c', 'check ( (kind>0) )')",
            "dp.add_constraint('event', 'c', 'CHECK (kind > 0) NOT VALID')",
        ],
        [
            "dp.add_constraint('event', 'c', 'CHECK (kind > 1)')",
            "dp.add_constraint('event', 'c', 'UNIQUE (id, at, party)')",
        ],
    ),
    "dp.add_constraint('event', 'c', 'CHECK (kind > 0) NOT VALID')": (
        ["dp.add_constraint('event', 'c', 'CHECK (kind > 0) NOT VALID')"],
        ["dp.add_constraint('event', 'c', 'CHECK (kind > 0)')"],
    ),
    "dp.add_constraint('event', 'c', 'FOREIGN KEY (kind) REFERENCES shared')": (
        ["dp.add_constraint('event', 'c', 'FOREIGN KEY (kind) REFERENCES shared (id) ON DELETE NO ACTION')"],
        ["dp.add_constraint('event', 'c', 'FOREIGN KEY (kind) REFERENCES shared ON DELETE SET NULL')"],
    ),
    "dp.set_default('event', 'body', '''a''')": (["dp.set_default('event', 'body', '''a''::text')"], []),
    "dp.alter_column_type('event', 'body', 'text COLLATE \"C\"')": (
        ["dp.alter_column_type('event', 'body', 'text collate pg_catalog.\"C\"')"],
        [],
    ),
}  # fmt: skip


@pytest.fixture
def owner(db: Database) -> psycopg.Connection[Any]:
    db.begin_with(prepare)
    return db.connect()


def prepare(db: Database) -> None:
    """The hierarchy with two slices."""
    owner = db.connect()
    owner.execute(TABLES)
    create_slices(owner, "2025-01-01", "2025-03-01")


def run(connection: psycopg.Connection[Any], change: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT * FROM {change}").fetchall()  # type: ignore[call-overload]


def drift(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return call(connection, "SELECT dp.drift", "event")


@pytest.mark.parametrize("change", CASES)
def test_the_same_again_is_nothing_and_another_is_refused(
    db: Database, owner: psycopg.Connection[Any], change: str
) -> None:
    same, others = CASES[change]
    assert run(owner, change) != []
    before = catalogs.picture(db)
    for text in (change, *same):
        assert run(owner, text) == [], text
    for text in others:
        with pytest.raises((psycopg.errors.DuplicateColumn, psycopg.errors.DuplicateObject)) as caught:
            run(owner, text)
        assert caught.value.diag.message_detail
        assert caught.value.diag.message_hint
    assert catalogs.difference(before, catalogs.picture(db)) == {}
    assert drift(owner) == []


def test_the_type_s_own_collation_is_another_than_the_column_s(owner: psycopg.Connection[Any]) -> None:
    run(owner, "dp.alter_column_type('event', 'body', 'text COLLATE \"C\"')")
    assert run(owner, "dp.alter_column_type('event', 'body', 'text')") != []
    assert run(owner, "dp.alter_column_type('event', 'body', 'text')") == []
    assert drift(owner) == []


def test_an_index_that_partitions_lack_is_not_taken_for_there(owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE INDEX i ON ONLY event (kind)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        run(owner, "dp.create_index('event', 'i', '(kind)')")
    assert "dp.sync" in str(caught.value.diag.message_hint)
    owner.execute("CALL dp.sync('event')")
    assert run(owner, "dp.create_index('event', 'i', '(kind)')") == []


def test_a_column_that_only_the_template_has_is_taken_when_it_is_the_same(owner: psycopg.Connection[Any]) -> None:
    owner.execute("ALTER TABLE event_template ADD COLUMN a int, ADD COLUMN b int")
    assert len(run(owner, "dp.add_column('event', 'a', 'int')")) == 1
    with pytest.raises(psycopg.errors.DuplicateColumn, match="template"):
        run(owner, "dp.add_column('event', 'b', 'text')")
    owner.execute("CALL dp.sync('event')")
    run(owner, "dp.add_column('event', 'b', 'text')")
    assert drift(owner) == []


def test_a_column_that_the_template_lacks_is_given_to_it(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SET dp.propagate_ddl = off; ALTER TABLE event ADD COLUMN a int")
    assert [row[1] for row in run(owner, "dp.add_column('event', 'a', 'int')")] == ['"public"."event_template"']
    assert drift(owner) == []


def test_an_identity_is_added_where_the_server_can(owner: psycopg.Connection[Any]) -> None:
    change = "dp.add_column('event', 'n', 'bigint', identity => 'by default')"
    if owner.info.server_version < 170000:
        with pytest.raises(psycopg.errors.InvalidTableDefinition, match="identity"):
            run(owner, change)
        return
    assert run(owner, change) != []
    assert run(owner, change) == []
    with pytest.raises(psycopg.errors.DuplicateColumn, match="another"):
        run(owner, "dp.add_column('event', 'n', 'bigint', identity => 'always')")
    create_slices(owner, "2025-03-01", "2025-04-01")
    owner.execute("INSERT INTO event (id, at, party) VALUES (1, '2025-01-05', 'p'), (2, '2025-03-05', 'q')")
    assert owner.execute("SELECT n FROM event ORDER BY 1").fetchall() == [(1,), (2,)]
    assert drift(owner) == []


def test_a_change_that_is_tried_leaves_nothing_behind(db: Database, owner: psycopg.Connection[Any]) -> None:
    before = catalogs.picture(db)
    for change in CASES:
        run(owner, change[:-1] + ", dry_run => true)")
    assert catalogs.difference(before, catalogs.picture(db)) == {}
