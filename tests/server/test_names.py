"""Names that no careless program survives: quotes, braces, percent signs, 63 bytes, and names that are taken."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from tests.support.database import Database
from tests.support.hierarchies import call, create_slices, declare

HOSTILE = [
    'We "ird.Täble',
    "select",
    "a.b",
    "{0}",
    "{x}",
    "100% %s %(a)s",
    "back\\slash",
    "it's",
    "  spaced  ",
    "$1",
    "--",
    "/*",
    "newline\nin it",
    "🦜" * 15,
    "x" * 63,
    "é" * 31 + "x",
    "Robert'); DROP TABLE event; --",
]


def relation_names(db: Database) -> list[str]:
    return [
        row["relname"] for row in db.rows("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    ]


def quoted(owner: psycopg.Connection, *parts: str) -> str:
    return sql.Identifier(*parts).as_string(owner)


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("name", HOSTILE)
def test_every_name_can_be_anything(db: Database, name: str, form: str) -> None:
    """Schema, table, columns, indexes, policies, statistics, comments, roles: all of them carry the same wild name."""
    admin = db.connect("postgres")
    role = "role " + name[:20]
    admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    owner = db.connect()
    n = sql.Identifier(name)
    children = name[::-1] if name[::-1] != name else name[1:] + "y"
    child = quoted(owner, name, children)
    root = quoted(owner, name, name)
    try:
        owner.execute(sql.SQL("CREATE SCHEMA {}").format(n))
        owner.execute(
            sql.SQL(
                "CREATE TABLE {root} ({id} bigint PRIMARY KEY, {key} timestamptz NOT NULL, {party} text NOT NULL);"
                "CREATE INDEX {index} ON {root} ({party});"
                "CREATE STATISTICS {schema}.{stats} ON {id}, {party} FROM {root};"
                "GRANT SELECT ({id}), INSERT ON {root} TO {role};"
                "ALTER TABLE {root} ENABLE ROW LEVEL SECURITY;"
                "CREATE POLICY {n} ON {root} TO {role} USING ({id} > 1 AND {party} <> {text});"
                "COMMENT ON TABLE {root} IS {text}; COMMENT ON COLUMN {root}.{id} IS {text};"
                "CREATE TABLE {child} ({n} bigint PRIMARY KEY, parent bigint REFERENCES {root})"
            ).format(
                root=sql.Identifier(name, name),
                child=sql.Identifier(name, children),
                n=n,
                schema=n,
                id=n,
                key=sql.Identifier(name[:10] + "K"),
                party=sql.Identifier("P" + name[:10]),
                index=sql.Identifier(("i" + name).encode()[:60].decode(errors="ignore")),
                stats=sql.Identifier("s" + name[:10]),
                role=sql.Identifier(role),
                text=sql.Literal(name),
            )
        )
        call(
            owner,
            "SELECT dp.create_hierarchy",
            root,
            name[:10] + "K",
            "P" + name[:10],
            hash_partitions=2,
            key_form=form,
        )
        call(owner, "SELECT dp.register_child", child, root)
        create_slices(owner, "2025-01-01", "2025-03-01", root)
        leaves = owner.execute("SELECT tbl::oid, leaf FROM dp.leaf").fetchall()
        assert len(leaves) == 8
        given = owner.execute(
            "SELECT count(*) FILTER (WHERE obj_description(l.oid) = %s), count(*) FILTER (WHERE l.relrowsecurity),"
            " count(DISTINCT s.oid), count(DISTINCT p.oid) FROM dp.leaf d JOIN pg_class l ON l.oid = d.leaf"
            " LEFT JOIN pg_statistic_ext s ON s.stxrelid = l.oid LEFT JOIN pg_policy p ON p.polrelid = l.oid"
            " WHERE d.tbl = %s::regclass",
            [name, root],
        ).fetchone()
        assert given == (4, 4, 4, 4)
        create_slices(owner, "2025-01-01", "2025-03-01", root)
        call(owner, "SELECT dp.detach_slice", root, "2025-01-01")
        call(owner, "SELECT dp.attach_slice", root, "2025-01-01")
        call(owner, "SELECT dp.drop_slice", root, "2025-01-01")
        call(owner, "SELECT dp.forget", root)
    finally:
        owner.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(n))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_two_tables_that_differ_behind_60_bytes_never_collide(db: Database) -> None:
    owner = db.connect()
    one, other = "tåble_" + "x" * 53 + "_1", "tåble_" + "x" * 53 + "_2"
    assert one.encode()[:60] == other.encode()[:60]
    owner.execute(
        f"CREATE TABLE {one} (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, a int, b int);"
        f"CREATE TABLE {other} (id bigint PRIMARY KEY, one bigint REFERENCES {one}, a int, b int);"
    )
    for table in (one, other):
        owner.execute(
            f"CREATE INDEX ON {table} (a, b); CREATE INDEX ON {table} (a, b) WHERE a > 0;"
            f"CREATE INDEX ON {table} ((a + b));"
            f"CREATE STATISTICS {table[-20:]}_s ON a, b FROM {table};"
            f"ALTER TABLE {table} ADD CONSTRAINT {table} CHECK (a > b)"
        )
    call(
        owner,
        "SELECT dp.create_hierarchy",
        one,
        "at",
        "party",
        hash_partitions=128,
        key_form="slice",
        bucket="1 day",
        slice="1 day",
    )
    call(owner, "SELECT dp.register_child", other, one)
    create_slices(owner, "2025-01-01", "2025-01-02", one)
    create_slices(owner, "2025-01-15", "2025-02-01", one, slice="17 days", hash_partitions=1)
    found = relation_names(db)
    assert len(found) == len(set(found))
    assert max(len(name.encode()) for name in found) <= 63
    kinds = db.rows("SELECT tbl::text, slice, count(*) AS leaves FROM dp.leaf GROUP BY 1, 2 ORDER BY 3")
    assert [row["leaves"] for row in kinds] == [1, 1, 1, 1, 128, 128]


def test_indexes_of_leaves_have_predictable_names(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, a int, b int);"
        "CREATE INDEX event_a_b_idx ON event (a, b)"
    )
    call(owner, "SELECT dp.create_hierarchy", "event", "at", "party", hash_partitions=1)
    create_slices(owner, "2025-01-01", "2025-02-01")
    assert sorted(
        row[0]
        for row in owner.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'event_2025_01_h00'::regclass"
        )
    ) == ["event_2025_01_h00_a_b_idx", "event_2025_01_h00_pkey"]
    owner.execute("CREATE INDEX event_hot ON event (a, b) WHERE a > 0")
    create_slices(owner, "2025-02-01", "2025-03-01")
    assert sorted(
        row[0]
        for row in owner.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'event_2025_02_h00'::regclass"
        )
    ) == ["event_2025_02_h00_event_a_b_idx", "event_2025_02_h00_event_hot", "event_2025_02_h00_event_pkey"]


@pytest.mark.parametrize("length", [30, 34, 35, 36, 40, 55, 63])
def test_primary_keys_of_long_names_are_told_apart(db: Database, length: int) -> None:
    owner = db.connect()
    table = "t" * length
    owner.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL)")
    call(owner, "SELECT dp.create_hierarchy", table, "at", "party", hash_partitions=12, slice="10 days")
    create_slices(owner, "2025-01-01", "2025-01-02", table)
    names = [
        row["name"]
        for row in db.rows(
            "SELECT l.leaf::text || '|' || i.indexrelid::regclass AS name"
            " FROM dp.leaf l JOIN pg_index i ON i.indrelid = l.leaf"
        )
    ]
    assert len(names) == 12
    for name in names:
        leaf, index = name.split("|")
        checksum = index[-9:-8] == "_" and all(letter in "0123456789abcdef" for letter in index[-8:])
        assert index == f"{leaf}_pkey" or checksum, name


@pytest.mark.parametrize(
    "taken",
    [
        "CREATE TABLE event_2025_02 ()",
        "CREATE VIEW item_2025_02 AS SELECT 1",
        "CREATE TABLE item_2025_02_h01 ()",
        "CREATE SEQUENCE event_2025_02_h00",
        "CREATE TYPE item_2025_02 AS (a int)",
        "CREATE TYPE item_2025_02_h00 AS ENUM ()",
        "CREATE DOMAIN event_2025_02 AS int",
        "CREATE TABLE other (id int); CREATE INDEX item_2025_02 ON other (id)",
    ],
)
def test_a_name_that_is_taken_is_refused_before_anything_changes(db: Database, taken: str) -> None:
    owner = db.connect()
    declare(owner)
    owner.execute(taken)
    before = sorted(relation_names(db))
    with pytest.raises(psycopg.errors.DuplicateTable) as caught:
        create_slices(owner, "2025-01-01", "2025-04-01")
    assert caught.value.diag.message_hint
    assert sorted(relation_names(db)) == before


def test_a_missing_leaf_whose_name_is_taken_is_refused(db: Database) -> None:
    owner = db.connect()
    declare(owner)
    create_slices(owner, "2025-01-01", "2025-02-01")
    owner.execute("DROP TABLE item_2025_01_h01; CREATE TABLE item_2025_01_h01 ()")
    before = sorted(relation_names(db))
    with pytest.raises(psycopg.errors.DuplicateTable, match="item_2025_01_h01"):
        create_slices(owner, "2025-01-01", "2025-04-01")
    assert sorted(relation_names(db)) == before


@pytest.mark.parametrize("name", ["event_template", "item_template"])
def test_a_templates_name_that_is_taken_is_refused(db: Database, name: str) -> None:
    owner = db.connect()
    owner.execute(f"CREATE TABLE {name} ()")
    with pytest.raises(psycopg.errors.DuplicateTable, match=name):
        declare(owner)


def test_equal_names_in_two_schemas_do_not_disturb_each_other(db: Database) -> None:
    owner = db.connect()
    declare(owner)
    owner.execute("CREATE SCHEMA second")
    owner.execute("SET search_path = second, public")
    declare(owner)
    create_slices(owner, "2025-01-01", "2025-02-01")
    create_slices(owner, "2025-01-01", "2025-02-01", "public.event")
    found = db.rows("SELECT root::text, count(*) FROM dp.leaf GROUP BY 1 ORDER BY 1")
    assert [(row["root"], row["count"]) for row in found] == [("event", 4), ("second.event", 4)]
