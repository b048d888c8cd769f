"""How the slices of converted tables are cut: years for history, months for recent time."""

from __future__ import annotations

import datetime

from .conversion import Range

YEARS_OF_MONTHS = 1  # beside the current year: so many before it have slices of the hierarchy's own width
LEAF_ROWS = 1_000_000  # of the largest table in the largest slice: more, and the modulus doubles
MOST_PARTITIONS = 16
FEWEST_PARTITIONS = 2
DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "quarter": 3, "year": 12}
LOCKS_PER_LEAF = 6  # what a foreign key of one table to another takes, at most

Distribution = list[tuple[datetime.datetime, int]]


def calendar_ranges(distribution: Distribution, now: datetime.datetime, premake: int, width: str | None) -> list[Range]:
    """The ranges of a calendar key: all rows, and the time for which slices are kept ready."""
    first = min([month for month, _ in distribution] + [now])
    last = max([month for month, _ in distribution] + [_months_later(now, premake)])
    end = _months_later(last, 1)
    if width is not None:
        return [_range(distribution, _start_of_month(first), end, width)]
    recent = datetime.datetime(max(now.year - YEARS_OF_MONTHS, 1), 1, 1)
    ready = datetime.datetime(now.year + 2, 1, 1)
    found = []
    if first < recent:
        found.append(_range(distribution, datetime.datetime(first.year, 1, 1), recent, "1 year"))
    found.append(_range(distribution, max(recent, _start_of_month(first)), min(end, ready), "1 month"))
    if end > ready:
        found.append(_range(distribution, ready, datetime.datetime(end.year + (end.month > 1), 1, 1), "1 year"))
    return found


def integer_ranges(lowest: int | None, highest: int | None, rows: int, width: int) -> list[Range]:
    """The one range of an integer key."""
    if lowest is None or highest is None:
        return []
    return [Range(str(lowest - lowest % width), str(highest - highest % width + width), str(width), rows)]


def slices(ranges: list[Range]) -> int:
    """How many slices the ranges have."""
    return sum(_slices(each) for each in ranges)


def _slices(each: Range) -> int:
    number, _, unit = each.width.partition(" ")
    if not unit:
        return -(-(int(each.upper) - int(each.lower)) // int(number))
    lower, upper = datetime.date.fromisoformat(each.lower), datetime.date.fromisoformat(each.upper)
    unit = unit.rstrip("s")
    if unit in DAYS:
        return max(-(-(upper - lower).days // (DAYS[unit] * int(number))), 1)
    months = (upper.year - lower.year) * 12 + upper.month - lower.month + (upper.day > lower.day)
    return max(-(-months // (MONTHS[unit] * int(number))), 1)


def modulus(ranges: list[Range], most_rows_per_root_row: float, lock_budget: int) -> int:
    """How many hash partitions a slice has: enough for the largest table, and no more than the lock table allows."""
    largest = max([each.rows / _slices(each) for each in ranges] + [0.0]) * max(most_rows_per_root_row, 1.0)
    found = FEWEST_PARTITIONS
    while found < MOST_PARTITIONS and largest / found > LEAF_ROWS:
        found *= 2
    return largest_fitting(ranges, found, lock_budget)


def largest_fitting(ranges: list[Range], partitions: int, lock_budget: int) -> int:
    """As many hash partitions of the same slices as fit; one at least."""
    found = partitions
    while found > 1 and not fits(ranges, found, lock_budget):
        found //= 2
    return found


def fits(ranges: list[Range], partitions: int, lock_budget: int) -> bool:
    """Whether one transaction can tie two tables of this layout to each other."""
    return slices(ranges) * (1 + partitions) * LOCKS_PER_LEAF <= lock_budget


def _range(distribution: Distribution, lower: datetime.datetime, upper: datetime.datetime, width: str) -> Range:
    rows = sum(count for month, count in distribution if lower <= month < upper)
    return Range(lower.date().isoformat(), upper.date().isoformat(), width, rows)


def _start_of_month(moment: datetime.datetime) -> datetime.datetime:
    return datetime.datetime(moment.year, moment.month, 1)


def _months_later(moment: datetime.datetime, months: int) -> datetime.datetime:
    count = moment.year * 12 + moment.month - 1 + months
    return datetime.datetime(count // 12, count % 12 + 1, 1)
