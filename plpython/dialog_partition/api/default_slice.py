"""drain_default: the rows of the default slices go where they belong."""

from __future__ import annotations

import datetime

from .. import calendars, database, keys
from ..calendars import Width
from ..catalog import slices as catalog_slices
from ..model import Edge, Hierarchy, SliceSpec
from ..plan import coverage
from ..plan import default_slice as plan_default
from . import calls, creation, following, obstacles, window
from .policy import parse_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context


def drain_default(
    root: int, lower_bound: str | None, upper_bound: str | None, slice: str | None, dry_run: bool
) -> None:
    """Move rows out of the default slice; see sql/procedures/drain_default.sql.j2."""
    hierarchy, call = calls.open_procedure("drain_default", root, dry_run)
    lower, upper = window.maintained(hierarchy)
    if lower_bound is not None:
        lower = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
    if upper_bound is not None:
        upper = parse_bound(upper_bound, hierarchy.range_type, "upper_bound")
    drain(hierarchy, lower, upper, creation.check_width(hierarchy, slice), call)


def drain(hierarchy: Hierarchy, lower: object, upper: object, width: Width, call: Context) -> list[SliceSpec]:
    """Drain one slice after the other; the slices that were filled."""
    if all(hierarchy.default_slice(table) is None for table in hierarchy.tables):
        return []
    lower, upper = window.rounded(lower, upper, width)
    facts = catalog_slices.default_facts(hierarchy)
    calls.run_in_procedure(plan_default.leftover_steps(hierarchy, [], facts), call)
    buckets = catalog_slices.default_buckets(hierarchy, width.number)
    spans = coverage.uncovered(
        filled_spans(hierarchy, buckets, lower, upper, width), hierarchy.range_slices(hierarchy.root)
    )
    specs = catalog_slices.specs(hierarchy, spans, hierarchy.policy.hash_partitions)
    lacking = {table.oid: set(specs) for table in hierarchy.tables}
    for spec, tables in interrupted(hierarchy).items():
        specs.append(spec)
        for oid in tables:
            lacking[oid].add(spec)
    report_remaining(hierarchy, buckets, lower, upper)
    if not specs:
        return []
    properties = creation.all_properties(hierarchy)
    obstacles.refuse(obstacles.taken_names(hierarchy, specs, lacking))
    for spec in specs:
        receiving = [table for table in hierarchy.tables if spec in lacking[table.oid]]
        calls.run_in_procedure([plan_default.drain_step(hierarchy, spec, receiving, properties, facts)], call)
    following.run_new_slices(hierarchy, specs, call)
    return specs


def interrupted(hierarchy: Hierarchy) -> dict[SliceSpec, list[int]]:
    """Slices that some tables lack while their default slices hold rows of them, and those tables."""
    existing = [spec for spec in coverage.wanted(hierarchy, []) if not spec.is_default]
    lacking = creation.lacking_slices(hierarchy, existing)
    found: dict[SliceSpec, list[int]] = {}
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        for spec in existing:
            if default is not None and spec in lacking[table.oid] and catalog_slices.holds_rows(default, table, spec):
                found.setdefault(spec, []).append(table.oid)
    return found


def filled_spans(
    hierarchy: Hierarchy, buckets: list[str], lower: object, upper: object, width: Width
) -> list[coverage.Span]:
    """The aligned spans of which the default slices hold rows, inside [lower, upper)."""
    if keys.is_integer(hierarchy.range_type):
        starts = {int(text.split(".")[0]) for text in buckets}
        numbers = sorted(start for start in starts if lower <= start < upper)  # type: ignore[operator]
        limit = keys.INTEGER_LIMITS[hierarchy.range_type]
        return [(Edge(max(start, -limit)), Edge(min(start + width.number, limit - 1))) for start in numbers]
    days = [calendar_day(text) for text in buckets]
    moments = sorted({calendars.align(day, width) for day in days if day is not None and lower <= day < upper})  # type: ignore[operator]
    edges = catalog_slices.calendar_edges(
        hierarchy, [edge for start in moments for edge in (start, calendars.advance(start, width))]
    )
    return list(zip(edges[::2], edges[1::2]))


def calendar_day(text: str) -> datetime.datetime | None:
    """A day of the years 1 to 9999; None for what lies outside, which stays in the default slice."""
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return None


def report_remaining(hierarchy: Hierarchy, buckets: list[str], lower: object, upper: object) -> None:
    """Say what stays in the default slices: wild values would otherwise make slices by the thousand."""
    if keys.is_integer(hierarchy.range_type):
        values: list[object] = [int(text.split(".")[0]) for text in buckets]
    else:
        values = [calendar_day(text) for text in buckets]
    outside = [
        text
        for text, value in zip(buckets, values)
        if value is None or not lower <= value < upper  # type: ignore[operator]
    ]
    if outside:
        told = ", ".join(outside[:3]) + (", ..." if len(outside) > 3 else "")
        database.notice(
            f"the default slices of {hierarchy.root.identifier} keep rows that lie outside the range {lower} to"
            f" {upper}: {told}"
        )
