"""Schema changes that reach slices which were detached, on request: dp.include_detached."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

INCLUDED = {"dp.include_detached": "on"}
TABLE = "'\"Dialog\"'"

# A migration over what every function does; made twice, it must do nothing the second time.
CHANGES = [
    f"dp.add_column({TABLE}, 'Note''s', 'text', default_value => $$'none'$$, comment => 'of ours')",
    f"dp.add_column({TABLE}, 'Rank', 'smallint')",
    f"dp.alter_column_type({TABLE}, 'Rank', 'bigint')",
    f"dp.set_default({TABLE}, 'Rank', '7')",
    f"dp.set_not_null({TABLE}, 'Note''s')",
    f"dp.drop_not_null({TABLE}, 'Note''s')",
    f"dp.drop_default({TABLE}, 'Note''s')",
    f"dp.add_constraint({TABLE}, 'Rank ok', 'CHECK (\"Rank\" > 0)')",
    f"dp.create_index({TABLE}, 'by rank', '(\"Rank\")')",
    f"""dp.set_storage({TABLE}, '{{"fillfactor": 70}}')""",
    f"dp.alter_table({TABLE}, 'ALTER COLUMN \"Rank\" SET STATISTICS 7')",
    f"dp.rename_column({TABLE}, 'Rank', 'Level')",
]


@pytest.fixture(params=["exact", "slice"])
def owner(db: Database, request: pytest.FixtureRequest) -> psycopg.Connection[Any]:
    """A family with two months, the first of which was detached, its rows in another schema."""
    db.begin_with(prepare, request.param)
    return db.connect(**INCLUDED)


def prepare(db: Database, form: str) -> None:
    """Make that family."""
    owner = db.connect(**INCLUDED)
    owner.execute("CREATE SCHEMA archive")
    family.declare(owner, form)
    owner.execute(f"CALL dp.create_slices({TABLE}, '2025-05-01', '2025-07-01')")
    family.fill(owner, "2025-05-10 12:00+00", 1, 5)
    owner.execute(f"SELECT dp.detach_slice({TABLE}, '2025-05-01', to_schema => 'archive')")


def columns(connection: psycopg.Connection[Any], table: str) -> list[Any]:
    return connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attstattarget, pg_get_expr(adbin, adrelid)"
        " FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname",
        [table],
    ).fetchall()


def leaves(connection: psycopg.Connection[Any], table: str) -> list[str]:
    return [
        row[0]
        for row in connection.execute(
            "SELECT relid::text FROM pg_partition_tree(%s::regclass) WHERE isleaf ORDER BY relid", [table]
        )
    ]


def test_a_detached_slice_follows_and_comes_back(owner: psycopg.Connection[Any]) -> None:
    for change in CHANGES:
        owner.execute(f"SELECT {change}")  # type: ignore[call-overload]
    attached, detached = (leaves(owner, name)[0] for name in ('"Dialog_2025_06"', 'archive."Dialog_2025_05"'))
    assert columns(owner, detached) == columns(owner, attached)
    options = owner.execute("SELECT reloptions FROM pg_class WHERE oid = %s::regclass", [detached]).fetchone()
    assert options == (["fillfactor=70"],)
    assert owner.execute('SELECT DISTINCT "Note\'s", "Level" FROM archive."Dialog_2025_05"').fetchall() == [
        ("none", None)
    ]
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute('UPDATE archive."Dialog_2025_05" SET "Level" = 0')
    owner.execute(f"SELECT dp.attach_slice({TABLE}, '2025-05-01')")
    assert owner.execute('SELECT count(*) FROM "Dialog"').fetchone() == (5,)
    assert owner.execute(f"SELECT * FROM dp.drift({TABLE})").fetchall() == []


def test_what_was_changed_without_it_is_brought_along_by_the_same_call(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SET dp.include_detached = off")
    for change in CHANGES:
        owner.execute(f"SELECT {change}")  # type: ignore[call-overload]
    owner.execute("SET dp.include_detached = on")
    for change in (
        f"dp.add_column({TABLE}, 'Note''s', 'text', comment => 'of ours')",
        f"dp.add_column({TABLE}, 'Level', 'bigint', default_value => '7')",
        f"dp.add_constraint({TABLE}, 'Rank ok', 'CHECK (\"Level\" > 0)')",
    ):
        owner.execute(f"SELECT {change}")  # type: ignore[call-overload]
        assert owner.execute(f"SELECT target FROM {change}").fetchall() == [], change  # type: ignore[call-overload]
    assert owner.execute('SELECT DISTINCT "Level" FROM archive."Dialog_2025_05"').fetchall() == [(7,)]
    owner.execute(f"SELECT dp.attach_slice({TABLE}, '2025-05-01')")
    assert owner.execute('SELECT count(*) FROM "Dialog" WHERE "Level" = 7').fetchone() == (5,)


def test_twice_does_nothing(owner: psycopg.Connection[Any]) -> None:
    changes = [*CHANGES[2:11]]
    for change in CHANGES:
        owner.execute(f"SELECT {change}")  # type: ignore[call-overload]
    owner.execute(f"SELECT dp.rename_column({TABLE}, 'Level', 'Rank')")
    for change in [each for each in changes if "not_null" not in each and "alter_table" not in each]:
        assert owner.execute(f"SELECT target FROM {change}").fetchall() == [], change  # type: ignore[call-overload]


def test_dropping_reaches_it(owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"SELECT dp.add_column({TABLE}, 'Rank', 'int')")
    owner.execute(f"SELECT dp.add_constraint({TABLE}, 'Rank ok', 'CHECK (\"Rank\" > 0)')")
    owner.execute(f"SELECT dp.drop_constraint({TABLE}, 'Rank ok')")
    owner.execute('UPDATE archive."Dialog_2025_05" SET "Rank" = 0')
    dry = owner.execute(f"SELECT target FROM dp.drop_column({TABLE}, 'Rank', dry_run => true)").fetchall()
    assert ('"archive"."Dialog_2025_05"',) in dry
    owner.execute(f"SELECT dp.drop_column({TABLE}, 'Rank')")
    assert columns(owner, 'archive."Dialog_2025_05"') == columns(owner, '"Dialog_2025_06"')


def test_without_it_the_slice_stays_as_it_is(owner: psycopg.Connection[Any]) -> None:
    before = columns(owner, 'archive."Dialog_2025_05"')
    owner.execute("RESET dp.include_detached")
    owner.execute(f"SELECT dp.add_column({TABLE}, 'Rank', 'int')")
    assert columns(owner, 'archive."Dialog_2025_05"') == before
    with pytest.raises(psycopg.errors.DatatypeMismatch, match="columns of") as caught:
        owner.execute(f"SELECT dp.attach_slice({TABLE}, '2025-05-01')")
    assert "dp.include_detached" in (caught.value.diag.message_hint or "")


def test_another_value_is_refused(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SET dp.include_detached = perhaps")
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        owner.execute(f"SELECT dp.add_column({TABLE}, 'Rank', 'int')")


def test_a_slice_that_another_role_owns_now_is_left_alone(db: Database) -> None:
    owner = db.connect(**INCLUDED)
    family.declare(owner)
    owner.execute(f"CALL dp.create_slices({TABLE}, '2025-05-01', '2025-06-01')")
    owner.execute(f"SELECT dp.detach_slice({TABLE}, '2025-05-01')")
    db.connect("postgres").execute('ALTER TABLE "Dialog_2025_05" OWNER TO stranger')
    before = columns(owner, '"Dialog_2025_05"')
    owner.execute(f"SELECT dp.add_column({TABLE}, 'Rank', 'int')")
    assert columns(owner, '"Dialog_2025_05"') == before
