"""The order of a hierarchy's tables, by which all work goes: referenced tables first."""

from __future__ import annotations

from .. import errors
from ..model import ROOT, ForeignKey, Table


def in_order(
    tables: list[Table], keys: tuple[ForeignKey, ...], apart: tuple[ForeignKey, ...] = ()
) -> tuple[Table, ...]:
    """Referenced tables before those that refer to them, the root first; by ``apart`` as far as that can be."""
    remaining = sorted(tables, key=lambda table: (table.role != ROOT, table.schema, table.name))
    ordered: list[Table] = []
    while remaining:
        waiting = {table.oid for table in remaining}
        free = _free(remaining, waiting, keys + apart) or _free(remaining, waiting, keys)
        if not free:
            circle = ", ".join(str(table.identifier) for table in remaining)
            raise errors.InvalidTableDefinition(
                f"the foreign keys of {circle} form a circle",
                "The tables of a hierarchy are created and dropped in the order of their foreign keys.",
                "Make one of these keys point out of the hierarchy, or drop it.",
            )
        ordered += free
        remaining = [table for table in remaining if table not in free]
    return tuple(ordered)


def _free(tables: list[Table], waiting: set[int], keys: tuple[ForeignKey, ...]) -> list[Table]:
    """The tables that refer to none that waits."""
    return [
        table
        for table in tables
        if not any(key.child == table.oid and key.parent in waiting - {table.oid} for key in keys)
    ]
