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


def plainly_detached(connection: Connection) -> None:
    connection.execute("ALTER TABLE remark DETACH PARTITION remark_2025_01")
    connection.execute("ALTER TABLE remark_2025_01 DROP CONSTRAINT remark_post_id_fkey")
    connection.execute("ALTER TABLE post DETACH PARTITION post_2025_01")


def entries(connection: Connection) -> list[int]:
    assert connection.execute("SELECT * FROM dp.verify_global_index('post_id_global')").fetchall() == []
    assert connection.execute("SELECT * FROM dp.verify_global_index('titled')").fetchall() == []
    found = connection.execute("SELECT finding FROM dp.check('post') WHERE finding LIKE '%global index%'").fetchall()
    assert found == []
    return [row[0] for row in connection.execute("SELECT id FROM post_id_global ORDER BY id").fetchall()]


@pytest.fixture
def indexed(owner: Connection) -> Connection:
    index(owner, "post", ["id"])
    index(owner, "remark", ["id"])
    owner.execute(
        "SELECT dp.create_global_index('post', '{other}', false, predicate => 'external > 0', index_name => 'titled')"
    )
    return owner


def test_plain_ddl_takes_slices_away_and_brings_them_back(indexed: Connection) -> None:
    plainly_detached(indexed)
    assert entries(indexed) == [2]
    indexed.execute("INSERT INTO post_2025_01 VALUES (7, '2025-01-04 10:00+00', 'a', 2, 3)")
    indexed.execute("INSERT INTO post VALUES (1, '2025-02-04 10:00+00', 'a', 9, 9)")
    bounds = "FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')"
    attach = f"ALTER TABLE post ATTACH PARTITION post_2025_01 FOR VALUES {bounds}"
    with pytest.raises(psycopg.errors.UniqueViolation):
        indexed.execute(attach)  # type: ignore[call-overload]
    indexed.execute("DELETE FROM post WHERE id = 1")
    indexed.execute(attach)  # type: ignore[call-overload]
    assert entries(indexed) == [1, 2, 7]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        indexed.execute("DELETE FROM post_2025_01")


def test_plain_ddl_warns_of_what_goes_with_the_entries(indexed: Connection) -> None:
    notices: list[str] = []
    indexed.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    indexed.execute("CREATE TABLE bookmark (post_id bigint REFERENCES post_id_global (id) ON DELETE CASCADE)")
    indexed.execute("INSERT INTO bookmark VALUES (1), (2)")
    plainly_detached(indexed)
    assert [each for each in notices if "bookmark" in each]
    assert indexed.execute("SELECT post_id FROM bookmark").fetchall() == [(2,)]
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        indexed.execute("TRUNCATE post, remark")


def test_a_slice_that_plain_ddl_took_away_unheard_comes_back_by_the_call(indexed: Connection) -> None:
    indexed.execute("SET dp.propagate_ddl = off")
    plainly_detached(indexed)
    indexed.execute("RESET dp.propagate_ddl")
    indexed.execute("SELECT dp.attach_slice('post', '2025-01-01')")
    assert entries(indexed) == [1, 2]


def test_a_partition_is_not_dropped_over_its_entries(indexed: Connection) -> None:
    for partition in ("remark_2025_01", "remark_2025_01_h00"):
        with pytest.raises(psycopg.errors.InvalidTableDefinition, match="would break") as raised:
            indexed.execute(f"DROP TABLE {partition}")  # type: ignore[call-overload]
        assert f"remark would keep the entries of the rows of public.{partition}" in str(
            raised.value.diag.message_detail
        )
    indexed.execute("ALTER TABLE remark DETACH PARTITION remark_2025_01")
    indexed.execute("DROP TABLE remark_2025_01")
    assert indexed.execute("SELECT * FROM remark_id_global").fetchall() == []
    indexed.execute("DROP TABLE remark CASCADE")
    indexed.execute("DROP TABLE post CASCADE")
    assert indexed.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^(post|remark|titled)'").fetchall() == [(0,)]


def test_the_advisor_tells_tables_behind_views_by_their_names_whatever_else_is_called(indexed: Connection) -> None:
    indexed.execute("CREATE SCHEMA app")
    indexed.execute("SELECT dp.create_writable_views('post', 'app')")
    query = (
        "SELECT * FROM app.post AS r JOIN app.remark AS t ON t.post_id = r.id JOIN (VALUES (1)) AS g (x) ON true"
        " WHERE r.id = $1 AND t.post_id = $1"
    )
    said = indexed.execute("SELECT alias, advice FROM dp.explain(%s) WHERE finding = 'missing key'", [query]).fetchall()
    assert dict(said) == {
        "post": 'SELECT * FROM "public"."post_by_id"(ARRAY[...])',
        "remark": 'SELECT * FROM "public"."remark_by_post_id"(ARRAY[...])',
    }


def test_virtual_columns_have_no_global_index(db: Database, owner: Connection) -> None:
    if db.server.version < 18:
        pytest.skip("virtual columns came with 18")
    owner.execute("ALTER TABLE post ADD COLUMN low text GENERATED ALWAYS AS (lower(party)) VIRTUAL")
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="virtual"):
        index(owner, "post", ["low"])
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="virtual"):
        owner.execute("SELECT dp.create_global_index('post', '{other}', predicate => 'low <> ''x''')")
    index(owner, "post", ["id"])
    owner.execute("INSERT INTO post VALUES (3, '2025-01-03 10:00+00', 'A', 2, 3)")
    owner.execute("DELETE FROM post WHERE id IN (2, 3)")
    assert owner.execute("SELECT id, low FROM post_by_id(ARRAY[1, 2, 3])").fetchall() == [(1, "a")]


@pytest.mark.parametrize("name", ["found", "new", "old", "tg_op", "new_rows", "g", "t", "r"])
def test_a_predicate_names_a_column_of_any_name(owner: Connection, name: str) -> None:
    owner.execute(f"SELECT dp.add_column('post', '{name}', 'boolean', 'true')")  # type: ignore[call-overload]
    index(owner, "post", ["id"])
    owner.execute("SELECT dp.create_global_index('post', '{external}', false, %s, 'holders')", [f'"{name}"'])
    values = "(3, '2025-01-04', 'c', 5, 5, true), (4, '2025-01-04', 'c', 6, 6, false)"
    owner.execute(f'INSERT INTO post (id, at, party, external, other, "{name}") VALUES {values}')  # type: ignore[call-overload]
    entries = "SELECT external FROM holders ORDER BY 1"
    assert owner.execute(entries).fetchall() == [(1,), (2,), (5,)]
    owner.execute(f'UPDATE post SET "{name}" = NOT "{name}", at = \'2025-02-04\' WHERE id IN (1, 4)')  # type: ignore[call-overload]
    assert owner.execute(entries).fetchall() == [(1,), (5,), (6,)]
    owner.execute("DELETE FROM post WHERE id = 3")
    assert owner.execute(entries).fetchall() == [(1,), (6,)]


def test_a_leaf_whose_rows_are_hidden_from_the_owner_is_not_truncated(owner: Connection) -> None:
    index(owner, "remark", ["id"])
    owner.execute("CREATE POLICY nobody ON remark USING (false) WITH CHECK (true)")
    owner.execute("ALTER TABLE remark ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    leaves = [
        row[0] for row in owner.execute("SELECT leaf::text FROM dp.leaf WHERE tbl = 'remark'::regclass").fetchall()
    ]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot truncate partition") as raised:
        owner.execute(f"TRUNCATE {', '.join(leaves)}")  # type: ignore[call-overload]
    assert raised.value.diag.message_hint is not None
    entries = "SELECT count(*) FROM remark_id_global"
    assert owner.execute(entries).fetchall() == [(1,)]
    owner.execute("TRUNCATE remark")
    assert owner.execute(entries).fetchall() == [(0,)]
