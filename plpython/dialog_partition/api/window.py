"""Which slices a hierarchy shall have now: its maintained range, what retention retires, and the gaps."""

from __future__ import annotations

import datetime

from .. import calendars, errors, keys
from ..calendars import Width
from ..catalog import detached as catalog_detached
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Edge, Hierarchy, Slice
from ..plan import coverage, lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def maintained(hierarchy: Hierarchy) -> tuple[object, object]:
    """From the configured start, or the oldest slice, to the end of what premake asks for."""
    if keys.is_integer(hierarchy.range_type):
        return _integers(hierarchy)
    policy = hierarchy.policy
    now = local_now(hierarchy)
    current = calendars.align(now, policy.width)
    upper = calendars.advance(current, policy.width, policy.premake + 1)
    if policy.start is not None:
        lower = calendars.align(calendars.parse_moment(policy.start, "start"), policy.width)
    else:
        oldest = _first_edge(hierarchy)
        lower = min(oldest.local, current) if oldest is not None and oldest.local is not None else current
    if policy.retention is not None:
        lower = max(lower, calendars.align(calendars.subtract(now, policy.retention), policy.width))
    return lower, upper


def _first_edge(hierarchy: Hierarchy) -> Edge | None:
    """Where the oldest slice begins; where it ends, when it has no beginning, or none that a calendar knows."""
    for each in hierarchy.range_slices(hierarchy.root):
        for edge in (each.lower, each.upper):
            if edge is not None and (edge.local is not None or keys.is_integer(hierarchy.range_type)):
                return edge
    return None


def rounded(lower: object, upper: object, width: Width) -> tuple[object, object]:
    """A range widened to whole slices."""
    if isinstance(lower, int) and isinstance(upper, int):
        return lower - lower % width.number, upper + -upper % width.number
    assert isinstance(lower, datetime.datetime) and isinstance(upper, datetime.datetime)
    begin, end = calendars.align(lower, width), calendars.align(upper, width)
    return begin, end if end == upper else calendars.advance(end, width)


def _integers(hierarchy: Hierarchy) -> tuple[int, int]:
    """Integers have no clock: so many slices are kept ahead of the highest slice that holds rows.

    A wild value cannot make slices by the thousand, because only slices that exist are looked at, and none beyond a gap
    that is wider than maintenance would leave ahead of itself.
    """
    policy = hierarchy.policy
    step = policy.width.number
    start = int(policy.start) if policy.start is not None else 0
    oldest = _first_edge(hierarchy) if policy.start is None else None
    lower = oldest.point if oldest is not None else start - start % step
    highest_used = highest_point(hierarchy)
    reached = lower if highest_used is None else max(highest_used, lower)
    upper = reached + step * (policy.premake + (1 if reached == lower else 0))
    highest = max((each.upper.point for each in _reached_slices(hierarchy) if each.upper), default=upper)
    limit = keys.INTEGER_LIMITS[hierarchy.range_type] - 1
    point = cutoff(hierarchy)
    if point is not None:
        lower = max(lower, point - point % step)
    return lower, min(max(upper, highest), limit)


def _reached_slices(hierarchy: Hierarchy, is_without_gaps: bool = False) -> tuple[Slice, ...]:
    """The root's slices of integers from the oldest on, or from the configured start, up to a gap.

    Gaps no wider than what is kept ahead are filled, and stand in nobody's way, unless they must not be there at all.
    """
    policy = hierarchy.policy
    slices = hierarchy.range_slices(hierarchy.root)
    if policy.start is not None:
        start = int(policy.start)
        slices = tuple(each for each in slices if each.upper is None or each.upper.point > start)
    remembered = catalog_detached.remembered(hierarchy)
    detached = [(each.lower_point, each.upper_point) for each in remembered if each.table == hierarchy.root.oid]
    reach = 0 if is_without_gaps else policy.width.number * max(policy.premake, 1)
    return coverage.neighbours(slices, detached, reach)


def highest_point(hierarchy: Hierarchy, is_without_gaps: bool = False) -> int | None:
    """The end of the highest slice of integers that holds rows; that is what integers have for a clock."""
    for each in reversed(_reached_slices(hierarchy, is_without_gaps)):
        if each.upper is not None and _holds_rows(each):
            return each.upper.point
    return None


def _holds_rows(each: Slice) -> bool:
    """Whether a slice holds rows; one that only a printed plan has does not."""
    return bool(each.oid) and not catalog_slices.is_empty(each.identifier)


def beyond_gap(hierarchy: Hierarchy) -> Slice | None:
    """The first slice of integers that holds rows and lies so far away that neither premake nor retention heeds it."""
    if not keys.is_integer(hierarchy.range_type):
        return None
    reached = _reached_slices(hierarchy)
    last = reached[-1].upper if reached else None
    if last is None:
        return None
    beyond = (each for each in hierarchy.range_slices(hierarchy.root) if each.lower and each.lower.point > last.point)
    return next((each for each in beyond if _holds_rows(each)), None)


def local_now(hierarchy: Hierarchy) -> datetime.datetime:
    """The clock in the hierarchy's time zone."""
    return catalog_server.local_now(hierarchy.policy.time_zone)


def cutoff(hierarchy: Hierarchy) -> int | None:
    """Slices that end at or before this point are to be retired, and are not made again."""
    retention = hierarchy.policy.retention
    return behind(hierarchy, [retention], local_now)[0] if retention is not None else None


def behind(
    hierarchy: Hierarchy, widths: list[Width], clock: Callable[[Hierarchy], datetime.datetime]
) -> list[int | None]:
    """For each width the point that lies so far behind the clock: slices that end there or before are as old."""
    if keys.is_integer(hierarchy.range_type):
        highest = highest_point(hierarchy, is_without_gaps=True)  # one row beyond a gap must not retire all the others
        return [highest - width.number if highest is not None else None for width in widths]
    now = clock(hierarchy)
    moments = [calendars.subtract(now, width) for width in widths]
    return [edge.point for edge in catalog_slices.calendar_edges(hierarchy, moments)]


def aged_at(each: Slice, width: Width | None) -> str | None:
    """When a slice is so old, in the hierarchy's time zone; integers have no clock, and some ends are never."""
    if width is None or each.upper is None or each.upper.local is None:
        return None
    try:
        return calendars.add(each.upper.local, width).isoformat(sep=" ")
    except errors.InvalidParameter:  # beyond the calendar
        return None


def expired(hierarchy: Hierarchy) -> list[Slice]:
    """The root's slices that retention retires now."""
    point = cutoff(hierarchy)
    return lifecycle.expired(hierarchy, point) if point is not None else []


def current_point(hierarchy: Hierarchy) -> int | None:
    """The clock on the partition column's axis; integers have none."""
    if keys.is_integer(hierarchy.range_type):
        return None
    return catalog_slices.calendar_edges(hierarchy, [local_now(hierarchy)])[0].point


def gaps(hierarchy: Hierarchy) -> list[coverage.Span]:
    """What no slice covers of the maintained range; neither what was retired nor what was detached counts."""
    lower, upper = maintained(hierarchy)
    found = uncovered(hierarchy, lower, upper, hierarchy.policy.width)
    if not found:
        return []
    point = cutoff(hierarchy)
    detached = [each for each in catalog_detached.remembered(hierarchy) if each.table == hierarchy.root.oid]
    return [
        span
        for span in found
        if (point is None or span[1].point > point) and not any(each.overlaps(span) for each in detached)
    ]


def uncovered(hierarchy: Hierarchy, lower: object, upper: object, width: Width) -> list[coverage.Span]:
    """The parts of the aligned spans over a range that no slice covers; none that lies beside the range."""
    if not lower < upper:  # type: ignore[operator]
        return []
    found = coverage.uncovered(candidates(hierarchy, lower, upper, width), hierarchy.range_slices(hierarchy.root))
    first, last = catalog_slices.axis_points(hierarchy, [lower, upper]) if found else (0, 0)
    return [span for span in found if span[0].point < last and first < span[1].point]


def next_bound(lower: object, width: Width) -> object:
    """Where a slice ends that begins at a bound."""
    if isinstance(lower, int):
        return lower + width.number
    assert isinstance(lower, datetime.datetime)
    return calendars.advance(lower, width)


def edges(hierarchy: Hierarchy, bounds: list[object]) -> list[Edge]:
    """Bounds as edges on the partition column's axis."""
    moments = [bound for bound in bounds if isinstance(bound, datetime.datetime)]
    return catalog_slices.calendar_edges(hierarchy, moments) or [Edge(b) for b in bounds if isinstance(b, int)]


def candidates(hierarchy: Hierarchy, lower: object, upper: object, width: Width) -> list[coverage.Span]:
    """Aligned spans that cover a range."""
    if isinstance(lower, int) and isinstance(upper, int):
        limit = keys.INTEGER_LIMITS[hierarchy.range_type]
        points = [max(-limit, min(point, limit - 1)) for point in coverage.integer_points(lower, upper, width)]
        return coverage.spans([Edge(point) for point in points])
    assert isinstance(lower, datetime.datetime) and isinstance(upper, datetime.datetime)
    return coverage.spans(catalog_slices.calendar_edges(hierarchy, coverage.calendar_moments(lower, upper, width)))
