"""What becomes of slices that retention detached: exported, then dropped."""

from __future__ import annotations

from ..model import Hierarchy
from ..operation import ROW_EXCLUSIVE, Operation, Step
from ..sql import Identifier, Literal, compose
from . import lifecycle
from .detached import DetachedSlice

EXPORT_LOCKS = 20  # of the owner's function, besides those on the slice itself


def export_step(function: Identifier, each: DetachedSlice) -> Step:
    """Hand a slice to the owner's function. That it was done is remembered with it, or neither of both."""
    name = Literal(each.identifier.text)
    statements = (
        compose("SELECT {}({}::regclass)", function, name),
        compose("UPDATE dp.detached_slice SET exported_at = clock_timestamp() WHERE slice = {}::regclass", name),
    )
    locks = EXPORT_LOCKS + 1 + len(each.leaves)
    return Step(tuple(Operation(each.identifier, text, ROW_EXCLUSIVE, (), locks) for text in statements), True)


def as_detached(
    hierarchy: Hierarchy,
    span: tuple[int | None, int | None],
    leaves: dict[int, tuple[Identifier, ...]],
    to_schema: str | None,
) -> list[DetachedSlice]:
    """A slice as it will be when it is detached, for plans that are only printed."""
    return [
        DetachedSlice(
            table.oid,
            to_schema or each.schema,
            each.name,
            tuple(leaf.name for leaf in leaves.get(each.oid, ())),
            "",
            "",
            *span,
        )
        for table, each in lifecycle.siblings(hierarchy, span)
    ]


def by_slice(hierarchy: Hierarchy, detached: list[DetachedSlice]) -> list[list[DetachedSlice]]:
    """What belongs together, oldest first; not what is still attached to a table: its detaching was interrupted."""
    attached = {each.span for table in hierarchy.tables for each in hierarchy.range_slices(table)}
    found: dict[tuple[int | None, int | None], list[DetachedSlice]] = {}
    for each in detached:
        found.setdefault((each.lower_point, each.upper_point), []).append(each)
    return [found[span] for span in sorted(found, key=_lower) if span not in attached]


def _lower(span: tuple[int | None, int | None]) -> tuple[bool, int]:
    return span[0] is not None, span[0] or 0
