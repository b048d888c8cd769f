"""Tables that a statement locks with all their partitions."""

from __future__ import annotations

from ..model import Hierarchy, Table


def referenced(hierarchy: Hierarchy, table: Table) -> tuple[tuple[int, int], ...]:
    """The tables that a new partition of this table locks through its foreign keys, all their partitions included."""
    found = [(reference.oid, 1) for reference in hierarchy.references]
    for parent in hierarchy.parents(table) + (table,) * _refers_to_itself(hierarchy, table):
        found.append((parent.oid, size(hierarchy, parent.oid)))
    return tuple(found)


def size(hierarchy: Hierarchy, table: int) -> int:
    """How many relations a table is: itself, its slices, their leaves."""
    return 1 + sum(1 + len(each.remainders) for each in hierarchy.slices[table])


def _refers_to_itself(hierarchy: Hierarchy, table: Table) -> int:
    return int(any(key.child == table.oid == key.parent for key in hierarchy.foreign_keys))
