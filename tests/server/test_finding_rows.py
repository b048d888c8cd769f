"""What an application finds rows by: the keys of a row, and lookups whose columns get other names."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database

Connection = psycopg.Connection[Any]
TABLES = """
CREATE TABLE post (
    id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, external bigint NOT NULL, other bigint NOT NULL
);
CREATE TABLE remark (id bigint PRIMARY KEY, post_id bigint NOT NULL REFERENCES post ON DELETE CASCADE, tags int[]);
CREATE INDEX ON remark (post_id);
SELECT dp.create_hierarchy('post', 'at', 'party', key_form => 'exact', hash_partitions => 2);
SELECT dp.register_child('remark', 'post');
CALL dp.create_slices('post', '2025-01-01', '2025-03-01');
INSERT INTO post VALUES (1, '2025-01-03 10:00+00', 'a', 2, 3), (2, '2025-02-03 10:00+00', 'b', 1, 4);
INSERT INTO remark (id, post_id, tags, at, party) VALUES (10, 1, '{1,2}', '2025-01-03 10:00+00', 'a');
"""


def prepare(db: Database) -> None:
    owner = db.connect()
    for statement in TABLES.split(";\n"):
        owner.execute(statement)  # type: ignore[call-overload]


@pytest.fixture
def owner(db: Database) -> Connection:
    db.begin_with(prepare)
    return db.connect()


def index(connection: Connection, table: str, columns: list[str]) -> None:
    connection.execute("SELECT dp.create_global_index(%s, %s)", [table, columns])


def party_of(connection: Connection, call: str) -> list[str]:
    return [row[0] for row in connection.execute(f"SELECT hash_key FROM {call}").fetchall()]  # type: ignore[call-overload]


def test_the_keys_of_a_row_are_those_of_its_identity_or_of_the_column_that_is_named(owner: Connection) -> None:
    index(owner, "post", ["external"])
    assert party_of(owner, "dp.keys_of('post', 1::bigint)") == ["b"], "the only one that is there"
    index(owner, "post", ["other"])
    with pytest.raises(psycopg.errors.AmbiguousColumn):
        party_of(owner, "dp.keys_of('post', 1::bigint)")
    assert party_of(owner, "dp.keys_of('post', 4::bigint, 'other')") == ["b"]
    index(owner, "post", ["id"])
    assert party_of(owner, "dp.keys_of('post', 1::bigint)") == ["a"]
    assert party_of(owner, "dp.keys_of('post', 1::bigint, column_name => 'external')") == ["b"]
    with pytest.raises(psycopg.errors.UndefinedObject, match="unique global index"):
        party_of(owner, "dp.keys_of('post', 1::bigint, 'party')")


def test_keys_mean_the_same_in_each_session(db: Database, owner: Connection) -> None:
    index(owner, "post", ["id"])
    # written in another style it would say IST, which is read as the time of Israel up to 17
    india = db.connect(datestyle="SQL, DMY", timezone="Asia/Kolkata")
    found = india.execute("SELECT range_key FROM dp.keys_of('post', 1::bigint)").fetchone()
    assert found is not None
    assert owner.execute("SELECT id FROM post WHERE at = %s::timestamptz", found).fetchall() == [(1,)]
    assert india.execute("SELECT id FROM post WHERE at = %s::timestamptz", found).fetchall() == [(1,)]


RENAMES = {
    "by the call": "SELECT dp.rename_column('remark', 'post_id', 'about')",
    "plainly": "ALTER TABLE remark RENAME COLUMN post_id TO about",
    "printed": "by hand",
}


@pytest.mark.parametrize("how", RENAMES)
def test_a_lookup_follows_its_column(owner: Connection, how: str) -> None:
    index(owner, "post", ["id"])
    if how == "printed":
        dry = owner.execute("SELECT statement FROM dp.rename_column('remark', 'post_id', 'about', dry_run => true)")
        for (statement,) in dry.fetchall():
            owner.execute(statement)
    else:
        owner.execute(RENAMES[how])  # type: ignore[call-overload]
    assert owner.execute("SELECT id FROM remark_by_about(ARRAY[1, 2])").fetchall() == [(10,)]
    owner.execute("SELECT id FROM remark_by_about(abouts => ARRAY[1, 2])")
    functions = "SELECT oid::regproc::text FROM pg_proc WHERE proretset AND pronamespace = 'public'::regnamespace"
    assert [row[0] for row in owner.execute(f"{functions} ORDER BY 1").fetchall()] == ["post_by_id", "remark_by_about"]
    owner.execute("SELECT dp.drop_global_index('post_id_global')")
    assert owner.execute(functions).fetchall() == []


def test_of_arrays_there_is_no_lookup(owner: Connection) -> None:
    index(owner, "remark", ["tags"])
    functions = "SELECT count(*) FROM pg_proc WHERE proretset AND pronamespace = 'public'::regnamespace"
    assert owner.execute(functions).fetchall() == [(0,)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(
            "INSERT INTO remark (id, post_id, tags, at, party) VALUES (11, 2, '{1,2}', '2025-02-03 10:00+00', 'b')"
        )
    assert party_of(owner, "dp.keys_of('remark', '{1,2}'::int[])") == ["a"]
