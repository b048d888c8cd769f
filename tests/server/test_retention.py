"""Retention: old slices are detached, dropped or moved, children first, judged by their end."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

FORMS = pytest.mark.parametrize("key_form", ["exact", "slice"])


def hierarchy(db: Database, key_form: str = "exact", **options: object) -> psycopg.Connection[Any]:
    """Slices of the year 2024 with rows in February, in June 2025 with a retention of twelve months."""
    connection = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(connection, key_form, premake=0, retention="12 months", **options)
    connection.execute("CALL dp.create_slices('\"Dialog\"', '2024-01-01', '2025-01-01')")
    family.fill(connection, "2024-02-10 12:00+00", 1, 10)
    family.fill(connection, "2024-09-10 12:00+00", 101, 10)
    return connection


FROM_JUNE = [f"2024_{month:02d}" for month in range(6, 13)] + [f"2025_{month:02d}" for month in range(1, 7)]


@FORMS
def test_old_slices_are_detached_from_every_table(db: Database, key_form: str) -> None:
    owner = hierarchy(db, key_form)
    owner.execute("CALL dp.run_maintenance()")
    assert [family.slices(owner, table) for table in family.TABLES] == [FROM_JUNE] * 3
    assert family.counts(owner) == {"Dialog": 10, "Activity": 20, "Actor": 30}
    assert owner.execute('SELECT count(*) FROM "Actor_2024_02"').fetchone() == (30,)
    assert owner.execute("SELECT count(*) FROM dp.slice WHERE NOT is_attached").fetchone() == (15,)
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == FROM_JUNE, "retired slices are not made again"


@FORMS
def test_old_slices_are_dropped(db: Database, key_form: str) -> None:
    owner = hierarchy(db, key_form, retention_action="drop", default_slice=True)
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == [*FROM_JUNE, "default"]
    assert owner.execute(
        "SELECT to_regclass('\"Dialog_2024_05\"'), to_regclass('\"Actor_2024_05_h01\"')"
    ).fetchone() == (
        None,
        None,
    )
    order = [
        row[0].split('"')[3]
        for row in owner.execute("SELECT target FROM dp.log WHERE statements ~ 'DROP TABLE' ORDER BY id").fetchall()
    ]
    assert order == [f"Actor_2024_0{month}" for month in range(1, 6)], "a step a slice, which begins with the children"
    assert family.leftovers(owner) == []


def test_old_slices_move_to_a_schema(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    owner.execute("CREATE SCHEMA archive")
    owner.close()
    owner = hierarchy(db, retention_action="move", retention_schema="archive")
    owner.execute("CALL dp.run_maintenance()")
    moved = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'archive'::regnamespace AND relkind = 'p' ORDER BY 1 LIMIT 2"
    ).fetchall()
    assert moved == [("Activity_2024_01",), ("Activity_2024_02",)]
    assert owner.execute('SELECT count(*) FROM archive."Dialog_2024_02"').fetchone() == (10,)
    assert family.leftovers(owner) == []


def test_the_end_of_a_slice_decides_to_the_microsecond(db: Database) -> None:
    owner = hierarchy(db)
    owner.execute("SET dp.now = '2025-05-31 23:59:59.999999+00'")
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner)[0] == "2024_05", "it ends a microsecond after the cutoff"
    owner.execute("SET dp.now = '2025-06-01 00:00:00+00'")
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner)[0] == "2024_06", "2024_05 ends exactly at the cutoff"


def test_the_last_slice_stays_however_old(db: Database) -> None:
    owner = hierarchy(db)
    owner.execute("SET dp.now = '2040-01-01 00:00+00'")
    owner.execute("SELECT dp.configure('\"Dialog\"', premake => 0)")
    dropped = owner.execute("SELECT dp.drop_slice('\"Dialog\"', '2024-12-01')").fetchall()
    assert dropped
    months = [f"2039_{month:02d}" for month in range(1, 13)] + ["2040_01"]
    for month in months:  # nothing newer can be made
        owner.execute(f'CREATE TABLE "Dialog_{month}" ()')
    with pytest.raises(psycopg.errors.RaiseException):
        owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == ["2024_11"]
    for month in months:
        owner.execute(f'DROP TABLE "Dialog_{month}"')
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == months, "newer slices are made before old ones are retired"


def test_a_start_later_than_retention_wins(db: Database) -> None:
    owner = hierarchy(db, start="2025-03-01")
    owner.execute("CALL dp.run_maintenance()")
    made = [name for name in family.slices(owner) if name.startswith("2025")]
    assert made == ["2025_03", "2025_04", "2025_05", "2025_06"]
    assert family.slices(owner)[0] == "2024_06"


def test_a_wider_slice_does_not_bring_retired_months_back(db: Database) -> None:
    owner = hierarchy(db)
    owner.execute("SELECT dp.configure('\"Dialog\"', slice => '1 year')")
    for _ in range(2):
        owner.execute("CALL dp.run_maintenance()")
        assert family.slices(owner) == [*[f"2024_{month:02d}" for month in range(6, 13)], "2025"]


def test_two_years_at_once(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=0, retention="1 month", retention_action="drop", hash_partitions=4)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2023-01-01', '2025-07-01')")
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == ["2025_05", "2025_06"]
    assert owner.execute("SELECT count(*) FROM dp.log WHERE statements ~ 'DROP TABLE'").fetchone() == (28,)


def test_integers_are_retired_by_their_highest_slice(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE item (id bigint, n bigint NOT NULL, PRIMARY KEY (id, n)) PARTITION BY RANGE (n)")
    owner.execute(
        "SELECT dp.create_hierarchy('item', 'n', slice => '100', premake => 1, retention => '300', start => '0',"
        " retention_action => 'drop')"
    )
    owner.execute("CALL dp.create_slices('item', '0', '1000')")
    owner.execute("INSERT INTO item SELECT i, i FROM generate_series(0, 899) AS i")
    for _ in range(2):
        owner.execute("CALL dp.run_maintenance()")
        rows = owner.execute("SELECT lower_bound FROM dp.slice ORDER BY lower_bound::int").fetchall()
        assert [row[0] for row in rows] == ["600", "700", "800", "900"]
