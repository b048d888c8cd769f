"""Slices of every width, several widths in one hierarchy, clipped pieces, and the modulus."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import bounds, call, create_slices, declare, names


@pytest.mark.parametrize(
    ("width", "lower", "upper", "expected"),
    [
        ("1 day", "2024-02-28", "2024-03-01", ["2024_02_28", "2024_02_29"]),
        ("week", "2024-12-30", "2025-01-07", ["2025_w01", "2025_w02"]),
        ("1 week", "2020-12-31", "2021-01-01", ["2020_w53"]),
        ("month", "2025-01-15", "2025-03-01", ["2025_01", "2025_02"]),
        ("3 months", "2025-02-01", "2025-07-01", ["2025_q1", "2025_q2"]),
        ("quarter", "2025-12-31", "2026-01-01", ["2025_q4"]),
        ("1 year", "2024-01-01", "2026-01-01", ["2024", "2025"]),
        ("2 weeks", "2025-01-01", "2025-01-02", ["20241223_20250106"]),
        ("2 months", "2025-02-01", "2025-04-01", ["20250101_20250301", "20250301_20250501"]),
        ("5 years", "2024-01-01", "2025-01-02", ["20200101_20250101", "20250101_20300101"]),
        ("decade", "2025-01-01", "2025-01-02", ["20200101_20300101"]),
        ("10 days", "2025-01-01", "2025-01-02", None),
        ("5 years", "0001-01-01", "0006-01-01", ["00010101_00050101", "00050101_00100101"]),
        ("1 month", "9999-10-01", "9999-11-30", ["9999_10", "9999_11"]),
        ("2 months", "9999-09-01", "9999-10-30", ["99990901_99991101"]),
    ],
)
def test_widths_and_names(db: Database, width: str, lower: str, upper: str, expected: list[str] | None) -> None:
    owner = db.connect()
    declare(owner, "date", None)
    create_slices(owner, lower, upper, slice=width)
    found = bounds(owner)
    assert found[0][1] <= lower and found[-1][2] >= upper
    assert all(before[2] == after[1] for before, after in zip(found, found[1:]))
    if expected is not None:
        assert [name for name, _, _ in found] == [f"event_{suffix}" for suffix in expected]
    assert names(owner, "item") == [name.replace("event", "item") for name in names(owner)]


@pytest.mark.parametrize("form", ["exact", "slice"])
def test_years_for_history_months_for_now_days_between(db: Database, form: str) -> None:
    owner = db.connect()
    declare(owner, key_form=form, **({"bucket": "1 day"} if form == "slice" else {}))
    create_slices(owner, "2023-01-01", "2025-01-01", slice="1 year")
    create_slices(owner, "2025-02-01", "2025-02-04", slice="1 day")
    create_slices(owner, "2024-06-01", "2025-04-01")
    assert [name for name, _, _ in bounds(owner)] == [
        "event_2023",
        "event_2024",
        "event_2025_01",
        "event_2025_02_01",
        "event_2025_02_02",
        "event_2025_02_03",
        "event_20250204_20250301",
        "event_2025_03",
    ]
    before = bounds(owner)
    create_slices(owner, "2023-01-01", "2025-04-01", slice="1 week")
    assert [row[0] for row in bounds(owner)[: len(before)]] == [row[0] for row in before]
    create_slices(owner, "2025-01-01", "2026-01-01", slice="1 year")
    last = bounds(owner)[-1]
    assert last[0].startswith("event_202504") and last[0].endswith("_20260101")
    found = bounds(owner)
    assert all(one[2] == other[1] for one, other in zip(found, found[1:]))
    assert bounds(owner, "item") == [(name.replace("event", "item"), *rest) for name, *rest in found]
    owner.execute(
        "INSERT INTO event (id, at, party{0}) VALUES (1, '2025-02-17 12:00+00', 'p'{1})".format(
            *((", at_slice", ", '2025-02-17'") if form == "slice" else ("", ""))
        )
    )


def test_the_modulus_changes_for_slices_to_come(db: Database) -> None:
    owner = db.connect()
    declare(owner, hash_partitions=16)
    create_slices(owner, "2025-01-01", "2025-02-01")
    call(owner, "SELECT dp.configure", "event", hash_partitions=32)
    create_slices(owner, "2025-01-01", "2025-03-01")
    create_slices(owner, "2025-03-01", "2025-04-01", hash_partitions=4)
    found = owner.execute("SELECT slice::text, modulus, leaves FROM dp.slice ORDER BY lower_bound, slice::text")
    assert found.fetchall() == [
        ("event_2025_01", 16, 16),
        ("item_2025_01", 16, 16),
        ("event_2025_02", 32, 32),
        ("item_2025_02", 32, 32),
        ("event_2025_03", 4, 4),
        ("item_2025_03", 4, 4),
    ]


def test_one_level(db: Database) -> None:
    owner = db.connect()
    declare(owner, hash_type=None)
    create_slices(owner, "2025-01-01", "2025-02-01")
    assert [row["leaf"] for row in db.rows("SELECT leaf::text FROM dp.leaf ORDER BY 1")] == [
        "event_2025_01",
        "item_2025_01",
    ]
    owner.execute("INSERT INTO event VALUES (1, '2025-01-31 23:00+00')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="hash_partitions"):
        create_slices(owner, "2025-02-01", "2025-03-01", hash_partitions=4)


@pytest.mark.parametrize("again", ["create", "maintain"])
@pytest.mark.parametrize("form", ["exact", "slice"])
def test_what_was_lost_is_created_again(db: Database, form: str, again: str) -> None:
    owner = db.connect()
    declare(owner, key_form=form, hash_partitions=3, premake=0)
    owner.execute("SET dp.now = '2025-01-15'")
    create_slices(owner, "2025-01-01", "2025-02-01")
    whole = db.rows("SELECT leaf::text, slice::text, remainder, lower_bound FROM dp.leaf ORDER BY 1")
    for lost in (
        "ALTER TABLE event_2025_01 DETACH PARTITION event_2025_01_h01; DROP TABLE event_2025_01_h01",
        "DROP TABLE item_2025_01",
        "DROP TABLE item_2025_01_h00, item_2025_01_h02",
        "DROP TABLE item_2025_01; ALTER TABLE event_2025_01 DETACH PARTITION event_2025_01_h02;"
        " DROP TABLE event_2025_01_h02",
    ):
        owner.execute(lost)
        if again == "create":
            create_slices(owner, "2025-01-01", "2025-02-01")
        else:
            call(owner, "CALL dp.run_maintenance", "event")
        assert db.rows("SELECT leaf::text, slice::text, remainder, lower_bound FROM dp.leaf ORDER BY 1") == whole


@pytest.mark.parametrize(
    ("lower", "upper", "told"),
    [
        ("52217-01-01", "52218-01-01", "52217"),
        ("-5", "2025-01-01", "-5"),
        ("-0005-01-01", "2025-01-01", "-0005"),
        ("0000-01-01", "2025-01-01", "0000"),
        ("2025-01-01", "infinity", "infinity"),
        ("2025-01-01 00:00+00", "2025-02-01 00:00+00", "without an offset"),
        ("2025-02-01", "2025-01-01", "less than"),
        ("2025-01-01", "2025-01-01", "less than"),
        ("2025-02-30", "2025-03-01", "2025-02-30"),
        ("2025-01-01", "9999-12-31", "leave the calendar"),
        ("", "2025-01-01", "lower_bound"),
        ("now()", "2025-01-01", "lower_bound"),
    ],
)
def test_wild_bounds_are_refused_clearly(db: Database, lower: str, upper: str, told: str) -> None:
    owner = db.connect()
    declare(owner)
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        create_slices(owner, lower, upper, slice="1 year" if "9999" in upper else None)
    assert told in f"{caught.value.diag.message_primary} {caught.value.diag.message_detail}"
    assert names(owner) == []


@pytest.mark.parametrize(("lower", "upper"), [("0001-01-01", "0001-02-01"), ("9999-11-01", "9999-12-01")])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_ends_of_the_calendar(db: Database, zone: str, lower: str, upper: str) -> None:
    owner = db.connect()
    declare(owner, time_zone=zone)
    if (zone, lower) == ("Pacific/Pago_Pago", "0001-01-01"):  # its local mean time was ahead of UTC: before Christ
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="calendar"):
            create_slices(owner, lower, upper)
    else:
        create_slices(owner, lower, upper)
        assert names(owner) == [f"event_{lower[:4]}_{lower[5:7]}"]


@pytest.mark.parametrize(
    ("key_type", "lower", "upper", "width"),
    [("timestamptz", "0001-01-01", "2025-01-01", "1 day"), ("bigint", "0", "1000000", "10")],
)
def test_too_many_slices_are_refused(db: Database, key_type: str, lower: str, upper: str, width: str) -> None:
    owner = db.connect()
    declare(owner, key_type, slice=width)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="would be cut into about"):
        create_slices(owner, lower, upper)
    assert names(owner) == []


@pytest.mark.parametrize(
    "lower", ["9223372036854775808", "-9223372036854775809", "1.5", "1_000", "", "2025-01-01", "٣"]
)
def test_wild_numbers_are_refused_clearly(db: Database, lower: str) -> None:
    owner = db.connect()
    declare(owner, "bigint", slice="1000")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="lower_bound"):
        create_slices(owner, lower, "5")


@pytest.mark.parametrize(
    "width",
    [
        "0 days",
        "-1 month",
        "+-5 days",
        "1.5 months",
        "1 month 2 days",
        "1 hour",
        "months 3",
        "",
        "1000",
        "9" * 5000,
        "99999999999999999999 days",
        "P1M",
    ],
)
def test_wild_widths_are_refused_clearly(db: Database, width: str) -> None:
    owner = db.connect()
    declare(owner)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="parameter slice"):
        create_slices(owner, "2025-01-01", "2025-02-01", slice=width)


@pytest.mark.parametrize(("bucket", "width"), [("1 month", "1 week"), ("2 months", "3 months"), ("1 week", "1 month")])
def test_a_slice_is_a_multiple_of_the_bucket(db: Database, bucket: str, width: str) -> None:
    owner = db.connect()
    declare(owner, key_form="slice", bucket=bucket, slice=bucket)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="multiple of the bucket"):
        create_slices(owner, "2025-01-01", "2025-02-01", slice=width)
