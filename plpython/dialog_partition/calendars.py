"""Widths of slices and where slices begin: calendar arithmetic without a time zone, and steps of integers.

Slices of one width are aligned: months and years count from year 0, weeks and days from Monday 0001-01-01, integers
from 0. So a quarter begins in January, April, July or October, and a week is an ISO week.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from . import errors

UNITS = ("day", "week", "month", "year", "value")
_ALIASES = {"quarter": ("month", 3), "decade": ("year", 10), "century": ("year", 100), "mon": ("month", 1)}
FIRST_DAY = datetime.datetime(1, 1, 1)
LAST_YEAR = 9999
MAX_DIGITS = 19  # of a bigint


class Width(NamedTuple):
    """How wide a slice is: so many days, weeks, months or years; or so many values of an integer key."""

    number: int
    unit: str

    def __str__(self) -> str:
        if self.unit == "value":
            return str(self.number)
        return f"{self.number} {self.unit}" + ("s" if self.number != 1 else "")

    @property
    def in_months(self) -> int:
        """Months of a width that is made of months, 0 for others."""
        return self.number * {"month": 1, "year": 12}.get(self.unit, 0)

    @property
    def in_days(self) -> int:
        """Days of a width that is made of days, 0 for others."""
        return self.number * {"day": 1, "week": 7}.get(self.unit, 0)


def parse_width(text: str, parameter: str) -> Width:
    """``'1 month'``, ``'quarter'``, ``'2 weeks'``, ``'1000000'``."""
    words = text.strip().lower().split()
    number = 1
    first = parse_number(words[0]) if words else None
    if first is not None:
        number = first
        words.pop(0)
        if not words:
            return _positive(Width(number, "value"), text, parameter)
    if len(words) == 1:
        unit = words[0]
        for candidate in (unit, unit[:-1] if unit.endswith("s") else unit):
            if candidate in UNITS[:-1]:
                return _positive(Width(number, candidate), text, parameter)
            if candidate in _ALIASES:
                base, factor = _ALIASES[candidate]
                return _positive(Width(number * factor, base), text, parameter)
    raise errors.InvalidParameter.of(
        parameter,
        text,
        "A width is a number and one calendar unit (days, weeks, months, quarters, years), or a bare number of values"
        " for an integer key.",
        "Write for example '1 month', '1 week', '1 year', or '1000000'.",
    )


def parse_number(text: str) -> int | None:
    """A whole number as PostgreSQL would read it; int() takes more. None where it is none."""
    word = text.strip()
    digits = word[1:] if word[:1] in ("+", "-") else word
    return int(word) if digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS else None


def _positive(width: Width, text: str, parameter: str) -> Width:
    if width.number < 1:
        raise errors.InvalidParameter.of(parameter, text, "A width is at least one day or one value.")
    if width.in_months * 30 + width.in_days > LAST_YEAR * 360:  # as PostgreSQL compares intervals
        raise errors.InvalidParameter.of(parameter, text, f"A width is at most {LAST_YEAR} years.")
    return width


def parse_moment(text: str, parameter: str) -> datetime.datetime:
    """A date or timestamp without time zone, in ISO form."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is None:
        return moment
    raise errors.InvalidParameter.of(
        parameter,
        text,
        "The value is a date or timestamp in the hierarchy's own time zone, years 1 to 9999, without an offset.",
        "Write for example '2025-06-01'.",
    )


def is_multiple(width: Width, bucket: Width) -> bool:
    """Whether every aligned slice of ``width`` is a whole number of aligned buckets."""
    if width.unit == "value" or bucket.unit == "value":
        return width.unit == bucket.unit and width.number % bucket.number == 0
    if bucket.in_months:
        return width.in_months > 0 and width.in_months % bucket.in_months == 0
    if width.in_months:
        return bucket.in_days == 1
    return width.in_days % bucket.in_days == 0


def align(moment: datetime.datetime, width: Width) -> datetime.datetime:
    """Where the slice that holds a moment begins."""
    if width.in_months:
        months = moment.year * 12 + moment.month - 1
        return _month(months - months % width.in_months)
    days = (moment - FIRST_DAY).days
    return FIRST_DAY + datetime.timedelta(days=days - days % width.in_days)


def advance(start: datetime.datetime, width: Width, times: int = 1) -> datetime.datetime:
    """The beginning ``times`` slices later (or, negative, earlier)."""
    try:
        if width.in_months:
            months = start.year * 12 + start.month - 1 + width.in_months * times
            # behind the first slice, which is cut short, the next one is aligned again
            return _month(months - months % width.in_months if start == FIRST_DAY else months)
        return start + datetime.timedelta(days=width.in_days * times)
    except (ValueError, OverflowError):
        raise errors.InvalidParameter(
            f"a slice of {width} after {start:%Y-%m-%d} would leave the calendar",
            f"Slices can lie between the years 1 and {LAST_YEAR}.",
            "Choose bounds further inside, or a narrower slice.",
        ) from None


def subtract(moment: datetime.datetime, width: Width) -> datetime.datetime:
    """The moment one width earlier, as PostgreSQL subtracts an interval: the day is cut to the month's last.

    The result is never earlier than the calendar's first day.
    """
    if not width.in_months:
        return moment - datetime.timedelta(days=min(width.in_days, (moment - FIRST_DAY).days))
    first = advance(align(moment, Width(1, "month")), Width(width.in_months, "month"), -1)
    following = advance(first, Width(1, "month"))
    return min(first + (moment - align(moment, Width(1, "month"))), following - datetime.timedelta(microseconds=1))


def add(moment: datetime.datetime, width: Width) -> datetime.datetime:
    """The first moment from which ``subtract`` reaches back no further than a given one."""
    if not width.in_months:
        return advance(moment, width)
    month = Width(1, "month")
    first = advance(align(moment, month), Width(width.in_months, "month"))
    return min(first + (moment - align(moment, month)), advance(first, month))


def _month(months: int) -> datetime.datetime:
    if months < 12:  # the year 0 does not exist: the first slice is cut short
        return FIRST_DAY
    return datetime.datetime(months // 12, months % 12 + 1, 1)


def suffix(lower: datetime.datetime, upper: datetime.datetime) -> str:
    """What the name of a calendar slice ends with, by its width: 2025, 2025_q3, 2025_06, 2025_w07, 2025_06_15."""
    for width, text in (
        (Width(1, "year"), f"{lower.year:04d}"),
        (Width(3, "month"), f"{lower.year:04d}_q{(lower.month + 2) // 3}"),
        (Width(1, "month"), f"{lower.year:04d}_{lower.month:02d}"),
        (Width(1, "week"), "{0:04d}_w{1:02d}".format(*lower.isocalendar()[:2])),
        (Width(1, "day"), f"{lower.year:04d}_{lower.month:02d}_{lower.day:02d}"),
    ):
        if _is_one(lower, upper, width):
            return text
    return f"{_digits(lower)}_{_digits(upper)}"


def _is_one(lower: datetime.datetime, upper: datetime.datetime, width: Width) -> bool:
    """Whether [lower, upper) is exactly one aligned slice of a width."""
    if align(lower, width) != lower or align(upper, width) != upper:
        return False
    return align(upper - datetime.timedelta(microseconds=1), width) == lower


def _digits(moment: datetime.datetime) -> str:
    text = f"{moment.year:04d}{moment.month:02d}{moment.day:02d}"
    for part, is_needed in (
        (f"{moment.hour:02d}{moment.minute:02d}", moment.time() != datetime.time()),
        (f"{moment.second:02d}", moment.second or moment.microsecond),
        (f"{moment.microsecond:06d}", moment.microsecond),
    ):
        if is_needed:
            text += part
    return text


def integer_suffix(lower: int) -> str:
    """What the name of a slice of integers ends with: its lower bound, "m" for minus."""
    return str(lower) if lower >= 0 else f"m{-lower}"
