"""What an existing tree of partitions says of its own policies."""

from __future__ import annotations

from .. import calendars, errors
from ..calendars import Width
from ..model import Edge, Slice
from ..sql import SQL, Identifier, Literal, compose

CANDIDATES = (
    Width(1, "day"),
    Width(1, "week"),
    Width(1, "month"),
    Width(3, "month"),
    Width(6, "month"),
    Width(1, "year"),
)


def inferred_width(slices: list[Slice], name: Identifier) -> Width:
    """The width of the newest bounded slice."""
    for each in reversed(slices):
        if each.lower is None or each.upper is None:
            continue
        width = _width_of(each.lower, each.upper)
        if width is not None:
            return width
        raise errors.InvalidParameter(
            f"the width of the slices of {name} cannot be told from {each.identifier}",
            f"In the time zone that was given it goes from {each.lower.local} to {each.upper.local}.",
            "Give the time zone in which the bounds are midnights, or name the width of new slices with slice => ...",
        )
    raise errors.InvalidParameter(
        f"the width of the slices of {name} cannot be told, for there is none with two bounds",
        "Unbounded slices and the default slice have no width.",
        "Name it with slice => ...",
    )


def _width_of(lower: Edge, upper: Edge) -> Width | None:
    if lower.local is None or upper.local is None:
        return Width(upper.point - lower.point, "value")
    for width in CANDIDATES:
        if calendars.align(lower.local, width) == lower.local and calendars.advance(lower.local, width) == upper.local:
            return width
    return None


def forget_partman_statement(schema: str, parent_table: str) -> SQL:
    """Take a table away from pg_partman."""
    return compose("DELETE FROM {} WHERE parent_table = {}", Identifier(schema, "part_config"), Literal(parent_table))
