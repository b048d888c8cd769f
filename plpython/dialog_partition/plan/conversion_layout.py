"""How the slices of converted tables are cut: years for history, months for recent time."""

from __future__ import annotations

import datetime

from .. import calendars
from .conversion import Range

YEARS_OF_MONTHS = 1  # beside the current year: so many before it have slices of the hierarchy's own width
LEAF_ROWS = 1_000_000  # of the largest table in the largest slice: more, and the modulus doubles
RECENT_WIDTHS = ("1 month", "3 months", "1 year")  # the first for which the lock budget has room
MOST_PARTITIONS = 16
FEWEST_PARTITIONS = 2
DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "quarter": 3, "year": 12}
FAR_YEARS = 20  # without a row: what lies beyond is far away, a wrong date mostly, and gets few wide slices
FAR_WIDTHS = (10, 100, 1000)
MOST_FAR_SLICES = 20
LAST_YEAR = 9998
# Entries of the lock table, from what PostgreSQL 15 to 18 hold in pg_locks.
LOCKS_OF_STEP = 48  # what a step takes whatever it is about
LOCKS_OF_TABLE = 12  # a table with its indexes, constraints and the catalogs
LOCKS_OF_KEY = 4  # a foreign key that is made or dropped, for each relation of the two tables that it ties
LOCKS_OF_INDEX = 5  # a unique rule to which foreign keys refer, for each relation of its table

Distribution = list[tuple[datetime.datetime, int]]


def calendar_ranges(
    distribution: Distribution, now: datetime.datetime, premake: int, width: str | None, recent: str = RECENT_WIDTHS[0]
) -> list[Range]:
    """The ranges of a calendar key: all rows, and the time for which slices are kept ready.

    ``width``: of all slices, where the caller chose it; else years for history, and ``recent`` around the present.
    """
    if width is not None:
        first = min([month for month, _ in distribution] + [now])
        wide = calendars.parse_width(width, "slice")
        ready = calendars.advance(calendars.align(now, wide), wide, premake + 1)
        last = max([_months_later(month, 1) for month, _ in distribution] + [ready])
        return [_range(distribution, _start_of_month(first), last, width)]
    near = _near_years([month.year for month, _ in distribution], now.year)
    months = [month for month, _ in distribution if near[0] <= month.year <= near[1]]
    found = _near_ranges(distribution, min([*months, now]), max([*months, _months_later(now, premake)]), now, recent)
    years = [month.year for month, _ in distribution]
    begin, end = min(datetime.date.fromisoformat(each.lower) for each in found), found[-1].upper
    if years and min(years) < near[0]:
        found.append(_far_range(distribution, datetime.datetime(min(years), 1, 1), begin.isoformat()))
    if years and max(years) > near[1]:
        found.append(_far_range(distribution, datetime.datetime.fromisoformat(end), f"{max(years) + 1:04d}-01-01"))
    return found


def _near_years(years: list[int], now: int) -> tuple[int, int]:
    """The first and the last year of those around the present that have no long gaps between them."""
    first = last = now
    for year in sorted({year for year in years if year < now}, reverse=True):
        first = year if first - year <= FAR_YEARS else first
    for year in sorted({year for year in years if year > now}):
        last = year if year - last <= FAR_YEARS else last
    return first, last


def _near_ranges(
    distribution: Distribution, first: datetime.datetime, last: datetime.datetime, now: datetime.datetime, width: str
) -> list[Range]:
    """Years, months or what is chosen around the present, years."""
    end = _months_later(last, 1)
    recent = datetime.datetime(max(now.year - YEARS_OF_MONTHS, 1), 1, 1)
    ready = datetime.datetime(now.year + 2, 1, 1)
    found = []
    if first < recent:
        found.append(_range(distribution, datetime.datetime(first.year, 1, 1), recent, "1 year"))
    found.append(_range(distribution, max(recent, _start_of_month(first)), min(end, ready), width))
    if end > ready:
        found.append(_range(distribution, ready, datetime.datetime(end.year + (end.month > 1), 1, 1), "1 year"))
    return found


def _far_range(distribution: Distribution, lower: datetime.datetime, upper_bound: str) -> Range:
    """What lies far away, in slices as wide as it takes; they come behind the others, which they lie around."""
    upper = datetime.datetime.fromisoformat(upper_bound)
    years = 1
    for width in FAR_WIDTHS:
        if (upper.year - lower.year) / years > MOST_FAR_SLICES and upper.year + width <= LAST_YEAR:
            years = width
    return _range(distribution, lower, upper, f"{years} years" if years > 1 else "1 year")


def roomy_ranges(
    distribution: Distribution, now: datetime.datetime, premake: int, partitions: int | None, lock_budget: int
) -> list[Range]:
    """The narrowest slices for recent time with which two tables can be tied to each other."""
    found: list[Range] = []
    for recent in RECENT_WIDTHS:
        found = calendar_ranges(distribution, now, premake, None, recent)
        if fits(found, FEWEST_PARTITIONS if partitions is None else partitions, lock_budget):
            break
    return found


def integer_ranges(
    lowest: int | None, highest: int | None, rows: int, width: int, premake: int, limit: int
) -> list[Range]:
    """The one range of an integer key, with the slices that are kept ahead of the highest that holds rows.

    ``limit``: the end of what the type can hold.
    """
    lower = lowest - lowest % width if lowest is not None else 0
    reached = highest - highest % width + width if highest is not None else width
    return [Range(str(lower), str(max(reached, min(reached + premake * width, limit))), str(width), rows)]


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
    while found > 1 and not fits(ranges, found, lock_budget):
        found //= 2
    return found


def fits(ranges: list[Range], partitions: int, lock_budget: int, more: int = 0) -> bool:
    """Whether one transaction can tie two tables of this layout to each other; ``more``: slices beside the ranges."""
    return needed(ranges, partitions, more) <= lock_budget


def needed(ranges: list[Range], partitions: int, more: int = 0) -> int:
    """The locks of the transaction that ties two tables of this layout to each other: it cannot be split.

    PostgreSQL makes a foreign key of a partitioned table for all its partitions at once, and to all of the other's.
    """
    return LOCKS_OF_STEP + 2 * LOCKS_OF_KEY * (1 + (slices(ranges) + more) * (1 + partitions))


def fitting(ranges: list[Range], partitions: int, lock_budget: int, premake: int) -> str:
    """Which layouts would fit, as sentences. Wider slices reach further ahead."""
    found = []
    fewer = [number for number in range(1, partitions) if fits(ranges, number, lock_budget)]
    if fewer:
        found.append(f"hash_partitions => {max(fewer)} would fit.")
    if " " in ranges[0].width:
        lower, upper = min(each.lower for each in ranges), max(each.upper for each in ranges)
        wider = [Range(lower, upper, f"{years} years", 0) for years in (2, 5, 10, 20, 50, 100, 1000)]
        number = next((each.width for each in wider if fits([each], partitions, lock_budget, premake)), None)
        found += [f"slice => '{number}' would fit."] if number is not None else []
    else:
        width = int(ranges[0].width)
        while not fits([ranges[0]._replace(width=str(width))], partitions, lock_budget, premake):
            width *= 2
        found.append(f"slice => '{width}' would fit.")
    return " ".join(found)


def _range(distribution: Distribution, lower: datetime.datetime, upper: datetime.datetime, width: str) -> Range:
    rows = sum(count for month, count in distribution if lower <= month < upper)
    return Range(lower.date().isoformat(), upper.date().isoformat(), width, rows)


def _start_of_month(moment: datetime.datetime) -> datetime.datetime:
    return datetime.datetime(moment.year, moment.month, 1)


def _months_later(moment: datetime.datetime, months: int) -> datetime.datetime:
    count = moment.year * 12 + moment.month - 1 + months
    return datetime.datetime(count // 12, count % 12 + 1, 1)
