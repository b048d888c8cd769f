"""Calendar arithmetic: alignment, steps, names, and what is refused."""

from __future__ import annotations

import datetime

import pytest
from dialog_partition import calendars, errors
from dialog_partition.calendars import Width

WIDTHS = [
    Width(1, "day"),
    Width(10, "day"),
    Width(1, "week"),
    Width(3, "week"),
    Width(1, "month"),
    Width(3, "month"),
    Width(7, "month"),
    Width(1, "year"),
    Width(5, "year"),
    Width(100, "year"),
]


def day(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


@pytest.mark.parametrize("width", WIDTHS, ids=str)
@pytest.mark.parametrize("text", ["0001-01-01", "0001-12-31", "0004-02-29", "1970-01-01", "2024-02-29", "2025-12-31"])
def test_a_moment_lies_in_the_slice_it_is_aligned_to(width: Width, text: str) -> None:
    moment = day(text)
    start = calendars.align(moment, width)
    following = calendars.advance(start, width)
    assert start <= moment < following
    assert calendars.align(start, width) == start
    assert calendars.align(following, width) == following


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("1 month", Width(1, "month")),
        ("month", Width(1, "month")),
        ("2 Months", Width(2, "month")),
        ("quarter", Width(3, "month")),
        ("2 quarters", Width(6, "month")),
        ("1 decade", Width(10, "year")),
        (" 3  weeks ", Width(3, "week")),
        ("1000000", Width(1_000_000, "value")),
        ("+5 days", Width(5, "day")),
        ("1 mon", Width(1, "month")),
        ("2 centuries", None),
        ("1 century", Width(100, "year")),
        ("5 hours", None),
        ("-1 day", None),
        ("0", None),
        ("1 day 2 hours", None),
        ("", None),
        ("½ day", None),
    ],
)
def test_widths_are_read(text: str, width: Width | None) -> None:
    if width is None:
        with pytest.raises(errors.InvalidParameter, match="parameter slice"):
            calendars.parse_width(text, "slice")
    else:
        assert calendars.parse_width(text, "slice") == width


@pytest.mark.parametrize(
    ("lower", "upper", "name"),
    [
        ("2025-01-01", "2026-01-01", "2025"),
        ("2025-04-01", "2025-07-01", "2025_q2"),
        ("2025-06-01", "2025-07-01", "2025_06"),
        ("2024-12-30", "2025-01-06", "2025_w01"),
        ("2025-06-15", "2025-06-16", "2025_06_15"),
        ("2025-06-15", "2025-07-01", "20250615_20250701"),
        ("2025-02-01", "2025-05-01", "20250201_20250501"),
        ("2018-11-04 01:00", "2018-11-05", "201811040100_20181105"),
        ("2018-11-04 01:00:30", "2018-11-04 01:00:30.000001", "20181104010030_20181104010030000001"),
        ("9999-10-01", "9999-12-31", "99991001_99991231"),
    ],
)
def test_names_say_the_bounds(lower: str, upper: str, name: str) -> None:
    assert calendars.suffix(day(lower), day(upper)) == name


@pytest.mark.parametrize(
    ("moment", "width", "expected"),
    [
        ("2025-03-31 12:00", Width(1, "month"), "2025-02-28 23:59:59.999999"),
        ("2024-03-30", Width(1, "month"), "2024-02-29 23:59:59.999999"),
        ("2025-03-15 12:00", Width(1, "month"), "2025-02-15 12:00"),
        ("2025-01-10", Width(2, "week"), "2024-12-27"),
        ("2024-02-29", Width(1, "year"), "2023-02-28 23:59:59.999999"),
    ],
)
def test_retention_counts_back(moment: str, width: Width, expected: str) -> None:
    assert calendars.subtract(day(moment), width) == day(expected)


def test_the_calendar_ends() -> None:
    with pytest.raises(errors.InvalidParameter, match="leave the calendar"):
        calendars.advance(day("9999-12-01"), Width(1, "month"))


@pytest.mark.parametrize(
    ("width", "bucket", "expected"),
    [
        ("1 month", "1 month", True),
        ("1 year", "1 month", True),
        ("1 year", "1 quarter", True),
        ("1 month", "1 day", True),
        ("1 week", "1 day", True),
        ("2 weeks", "1 week", True),
        ("1 month", "1 week", False),
        ("1 week", "1 month", False),
        ("1 month", "2 days", False),
        ("3 months", "2 months", False),
        ("100", "10", True),
        ("100", "30", False),
        ("1 month", "10", False),
    ],
)
def test_multiples(width: str, bucket: str, expected: bool) -> None:
    assert calendars.is_multiple(calendars.parse_width(width, "w"), calendars.parse_width(bucket, "b")) is expected
