"""Which slices there shall be, and which of them are missing."""

from __future__ import annotations

import datetime

from .. import calendars, errors, naming
from ..calendars import Width
from ..model import Edge, Hierarchy, Slice, SliceSpec, Table

MAX_SLICES_PER_CALL = 20_000
DEFAULT_SUFFIX = "default"

Span = tuple[Edge, Edge]


def calendar_moments(lower: datetime.datetime, upper: datetime.datetime, width: Width) -> list[datetime.datetime]:
    """Where the aligned slices that cover [lower, upper) begin, and the end of the last."""
    start = calendars.align(lower, width)
    _check_count((upper - start).days // max(width.in_days or width.in_months * 28, 1))
    found = [start]
    while found[-1] < upper:
        found.append(calendars.advance(found[-1], width))
    return found


def integer_points(lower: int, upper: int, width: Width) -> list[int]:
    """The same for integer keys."""
    start = lower - lower % width.number
    _check_count((upper - start) // width.number)
    return list(range(start, upper + (start - upper) % width.number + 1, width.number))


def _check_count(count: int) -> None:
    if count > MAX_SLICES_PER_CALL:
        raise errors.InvalidParameter(
            f"the range would be cut into about {count} slices",
            f"One call creates at most {MAX_SLICES_PER_CALL} slices, because every one costs planning time and locks.",
            "Check the bounds, or choose a wider slice.",
        )


def spans(edges: list[Edge]) -> list[Span]:
    """Neighbouring edges as spans."""
    return list(zip(edges, edges[1:]))


def uncovered(candidates: list[Span], existing: tuple[Slice, ...]) -> list[Span]:
    """The parts of candidate spans that no existing slice covers."""
    found: list[Span] = []
    for lower, upper in candidates:
        position: Edge = lower
        for each in existing:
            if each.upper is not None and each.upper.point <= position.point:
                continue
            if each.lower is not None and each.lower.point >= upper.point:
                break
            if each.lower is not None and each.lower.point > position.point:
                found.append((position, each.lower))
            if each.upper is None:
                position = upper
                break
            position = each.upper
        if position.point < upper.point:
            found.append((position, upper))
    return found


def neighbours(
    slices: tuple[Slice, ...], detached: list[tuple[int | None, int | None]], reach: int
) -> tuple[Slice, ...]:
    """The slices from the oldest on, up to the first gap that is wider than ``reach``.

    Slices that were detached leave no gap: their rows were there.
    """
    found: list[Slice] = []
    for each in slices:
        if found and each.lower is not None and found[-1].upper is not None:
            position = found[-1].upper.point
            for lower, upper in sorted(detached, key=lambda span: (span[0] is not None, span[0] or 0)):
                if upper is not None and (lower is None or lower - position <= reach):
                    position = max(position, upper)
            if each.lower.point - position > reach:
                break
        found.append(each)
    return tuple(found)


def suffix(lower: Edge, upper: Edge) -> str:
    """What the names of a slice end with."""
    if lower.local is None or upper.local is None:
        return calendars.integer_suffix(lower.point)
    return calendars.suffix(lower.local, upper.local)


def spec_of(existing: Slice) -> SliceSpec | None:
    """An existing slice of the root as the pattern for its siblings."""
    if existing.is_default:
        return SliceSpec(None, None, existing.modulus, DEFAULT_SUFFIX)
    if existing.lower is None or existing.upper is None:
        return None  # unbounded: only adopted trees have such slices, and their siblings are the DBA's
    return SliceSpec(existing.lower, existing.upper, existing.modulus, suffix(existing.lower, existing.upper))


def hull(specs: list[SliceSpec]) -> SliceSpec:
    """One slice from the lowest to the highest bound of some."""
    lowers = [spec.lower for spec in specs if spec.lower is not None]
    uppers = [spec.upper for spec in specs if spec.upper is not None]
    return SliceSpec(min(lowers), max(uppers), 0, "")


def wanted(hierarchy: Hierarchy, new: list[SliceSpec]) -> list[SliceSpec]:
    """All slices that every table shall have: those of the root, and the new ones."""
    root = hierarchy.root
    found = list(new)
    for each in hierarchy.slices[root.oid]:
        spec = spec_of(each)
        if spec is not None:  # siblings are named alike, also where a clock change blurs what the bounds say
            found.append(spec._replace(suffix=naming.slice_suffix(root.name, each.name) or spec.suffix))
    return sorted(found, key=lambda spec: (spec.lower is not None, spec.lower.point if spec.lower else 0))


def with_modulus(hierarchy: Hierarchy) -> dict[int, tuple[Slice, ...]]:
    """The slices; one that has lost all leaves shall have as many again as its sibling in the root, or a new slice."""
    if hierarchy.policy.hash_key is None:
        return hierarchy.slices
    of_root = {each.span: each.modulus for each in hierarchy.slices[hierarchy.root.oid] if each.modulus}
    usual = hierarchy.policy.hash_partitions
    return {
        table: tuple(
            each._replace(modulus=of_root.get(each.span, usual)) if each.is_leafless else each for each in found
        )
        for table, found in hierarchy.slices.items()
    }


def missing_in(hierarchy: Hierarchy, table: Table, specs: list[SliceSpec]) -> list[SliceSpec]:
    """The slices that one table lacks."""
    have = {each.span for each in hierarchy.slices[table.oid]}
    return [spec for spec in specs if spec.span not in have]


def has_room(hierarchy: Hierarchy, table: Table, spec: SliceSpec) -> bool:
    """Whether none of a table's slices overlaps one that it lacks: a sibling may have other bounds."""
    if spec.lower is None or spec.upper is None:
        return True
    return uncovered([(spec.lower, spec.upper)], hierarchy.range_slices(table)) == [(spec.lower, spec.upper)]
