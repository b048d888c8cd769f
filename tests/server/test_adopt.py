"""Taking over trees of partitions that exist."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database


def test_a_tree_made_by_hand_is_taken_over_with_its_children(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        'CREATE TABLE "Dialog" ("Id" int, at timestamptz, "Party" text, PRIMARY KEY ("Id", at, "Party"))'
        " PARTITION BY RANGE (at);"
        'CREATE TABLE part ("Id" int, "DialogId" int, at timestamptz, "Party" text, PRIMARY KEY ("Id", at, "Party"),'
        ' FOREIGN KEY ("DialogId", at, "Party") REFERENCES "Dialog" ON UPDATE CASCADE) PARTITION BY RANGE (at)'
    )
    for table in ('"Dialog"', "part"):
        name = table.strip('"')
        owner.execute(
            f"CREATE TABLE {name}_old PARTITION OF {table} FOR VALUES FROM ('2025-01-01 00:00+00') TO"
            f" ('2025-02-01 00:00+00') PARTITION BY HASH (\"Party\");"
            f"CREATE TABLE {name}_a PARTITION OF {name}_old FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
            f"CREATE TABLE {name}_b PARTITION OF {name}_old FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
            " WITH (fillfactor = 70)"
        )
    owner.execute("INSERT INTO \"Dialog\" VALUES (1, '2025-01-15', 'p')")
    owner.execute("SELECT dp.adopt('\"Dialog\"')")
    found = db.rows("SELECT hash_key, key_form, slice, hash_partitions, tables FROM dp.hierarchy")
    assert found == [{"hash_key": "Party", "key_form": "exact", "slice": "1 month", "hash_partitions": 2, "tables": 2}]
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-02-01', '2025-03-01')")
    leaves = [
        row["leaf"] for row in db.rows("SELECT leaf::text FROM dp.leaf WHERE leaf::text LIKE '%2025_02%' ORDER BY 1")
    ]
    assert leaves == ['"Dialog_2025_02_h00"', '"Dialog_2025_02_h01"', "part_2025_02_h00", "part_2025_02_h01"]
    options = db.value("SELECT reloptions FROM pg_class WHERE relname = 'Dialog_2025_02_h00'")
    assert options == ["fillfactor=70"]
    assert db.value('SELECT count(*) FROM "Dialog"') == 1


def partman_version(db: Database) -> str:
    return str(db.value("SELECT extversion FROM pg_extension WHERE extname = 'pg_partman'"))


def partman_set(db: Database) -> psycopg.Connection[Any]:
    """A table that pg_partman manages, with two months ahead; the owner's connection."""
    admin = db.connect("postgres")
    if not admin.execute("SELECT name FROM pg_available_extensions WHERE name = 'pg_partman'").fetchone():
        pytest.skip("pg_partman is not installed")
    admin.execute("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman")
    admin.execute(
        "GRANT ALL ON SCHEMA partman TO owner; GRANT ALL ON ALL TABLES IN SCHEMA partman TO owner;"
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA partman TO owner"
    )
    owner = db.connect(TimeZone="UTC")
    owner.execute("CREATE TABLE event (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at)")
    if partman_version(db).startswith("4"):
        owner.execute("SELECT partman.create_parent('public.event', 'at', 'native', 'monthly', p_premake => 2)")
    else:
        owner.execute("SELECT partman.create_parent('public.event', 'at', '1 month', p_premake => 2)")
    return owner


def test_a_set_of_pg_partman_is_taken_over_and_taken_from_it(db: Database) -> None:
    owner = partman_set(db)
    owner.execute("UPDATE partman.part_config SET retention = '6 months', retention_keep_table = false")
    before = db.rows("SELECT inhrelid::regclass::text AS name FROM pg_inherits ORDER BY 1")
    owner.execute("SELECT dp.adopt('event')")
    assert db.rows("SELECT inhrelid::regclass::text AS name FROM pg_inherits ORDER BY 1") == before
    found = db.rows("SELECT slice, premake, retention, retention_action, default_slice FROM dp.hierarchy")
    assert found == [
        {"slice": "1 month", "premake": 2, "retention": "6 months", "retention_action": "drop", "default_slice": True}
    ]
    assert db.value("SELECT count(*) FROM partman.part_config") == 0
    owner.execute("SELECT dp.configure('event', premake => 3)")
    owner.execute("CALL dp.run_maintenance('event')")
    after = db.value("SELECT count(*) FROM pg_inherits")
    assert after == len(before) + 1
    assert owner.execute("SELECT dp.adopt('event')").fetchall() == []


def test_changes_reach_the_template_of_pg_partman_where_it_manages_the_table_still(db: Database) -> None:
    owner = partman_set(db)
    config = owner.execute("SELECT parent_table, template_table FROM partman.part_config").fetchone()
    assert config is not None
    owner.execute("SELECT dp.adopt('event')")
    owner.execute(
        "INSERT INTO partman.part_config (parent_table, template_table, control, partition_interval, partition_type)"
        " SELECT %s, %s, 'at', '1 month', partition_type FROM (VALUES (%s)) AS v (partition_type)",
        [*config, "native" if partman_version(db).startswith("4") else "range"],
    )
    template = f"'{config[1]}'::regclass"
    columns = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = {}"
        " AND attnum > 0 AND NOT attisdropped ORDER BY 1"
    )
    for change in (
        "dp.add_column('event', 'weight', 'int', default_value => '1')",
        "dp.alter_column_type('event', 'weight', 'bigint')",
        "dp.rename_column('event', 'weight', 'mass')",
        "dp.set_not_null('event', 'mass')",
        "dp.drop_column('event', 'id')",
        """dp.set_storage('event', '{"fillfactor": 70}')""",
    ):
        owner.execute(f"SELECT {change}")  # type: ignore[call-overload]
    assert db.rows(columns.format(template)) == db.rows(columns.format("'event'::regclass"))
    assert db.value(f"SELECT reloptions FROM pg_class WHERE oid = {template}") == ["fillfactor=70"]
    assert owner.execute("SELECT target FROM dp.add_column('event', 'mass', 'bigint', '1')").fetchall() == []


def test_a_slice_form_hierarchy_is_taken_over_again(db: Database) -> None:
    owner = db.connect()
    owner.execute('CREATE TABLE "Dialog" ("Id" int PRIMARY KEY, at timestamptz NOT NULL)')
    owner.execute("SELECT dp.create_hierarchy('\"Dialog\"', 'at', key_form => 'slice')")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01')")
    owner.execute("SELECT dp.forget('\"Dialog\"')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="range_key"):
        owner.execute("SELECT dp.adopt('\"Dialog\"', bucket => '1 month')")
    owner.execute("SELECT dp.adopt('\"Dialog\"', range_key => 'at', bucket => '1 month')")
    assert db.rows("SELECT key_form, slice_key, range_key FROM dp.hierarchy") == [
        {"key_form": "slice", "slice_key": "at_slice", "range_key": "at"}
    ]
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-04-01')")
    assert db.value("SELECT count(*) FROM dp.slice") == 3


def test_bounds_in_another_time_zone_are_told(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE event (at timestamptz) PARTITION BY RANGE (at);"
        "CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2025-01-01 00:00 Europe/Oslo') TO"
        " ('2025-02-01 00:00 Europe/Oslo')"
    )
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="width of the slices") as raised:
        owner.execute("SELECT dp.adopt('event')")
    assert "time zone" in str(raised.value.diag.message_hint)
    owner.execute("SELECT dp.adopt('event', time_zone => 'Europe/Oslo')")
    assert db.value("SELECT slice FROM dp.hierarchy") == "1 month"


@pytest.mark.parametrize(
    "definition", ["(a int) PARTITION BY LIST (a)", "(a int)", "(a int, b int) PARTITION BY RANGE (a, b)"]
)
def test_other_tables_are_refused(db: Database, definition: str) -> None:
    owner = db.connect()
    owner.execute(f"CREATE TABLE other {definition}")
    with pytest.raises(psycopg.errors.WrongObjectType, match="RANGE of one column"):
        owner.execute("SELECT dp.adopt('other')")
    assert db.value("SELECT count(*) FROM dp.hierarchy_config") == 0


def test_what_was_detached_comes_back_after_forgetting_and_adopting(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-04-01')")
    family.fill(owner, "2025-02-10 12:00+00", 1, 5)
    owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-02-01')")
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    owner.execute("SELECT dp.forget('\"Dialog\"')")
    assert [text for text in told if "Actor_2025_02" in text and "2025-03-01" in text]
    owner.execute("SELECT dp.adopt('\"Dialog\"')")
    owner.execute("SELECT dp.attach_slice('\"Dialog\"', '2025-02-01')")
    assert [family.slices(owner, table) for table in family.TABLES] == [["2025_01", "2025_02", "2025_03"]] * 3
    assert db.value('SELECT count(*) FROM "Dialog"') == 5
