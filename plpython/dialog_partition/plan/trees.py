"""How much of the lock table statements take that touch whole trees of partitions.

Every relation is an entry, and so is every constraint and trigger that is dropped. The figures are upper bounds, taken
from what PostgreSQL 15 to 18 hold in pg_locks.
"""

from __future__ import annotations

from ..model import ForeignKey, Hierarchy, Slice, Table

Trees = tuple[tuple[int, int], ...]  # tables that are locked with all their partitions, and how many entries those are

BOOKKEEPING = 20  # relations of the catalog and of schema dp that a step touches besides
FORGETTING = 15  # and those that are looked up when a table is dropped


def referenced(hierarchy: Hierarchy, table: Table) -> Trees:
    """The tables that a new partition of this table locks through its foreign keys, all their partitions included."""
    found = [(reference.oid, 1) for reference in hierarchy.references]
    for parent in hierarchy.parents(table) + (table,) * bool(_own_keys(hierarchy, table)):
        found.append((parent.oid, size(hierarchy, parent.oid)))
    return tuple(found)


def size(hierarchy: Hierarchy, table: int) -> int:
    """How many relations a table is: itself, its slices, their leaves."""
    return 1 + sum(parts(each) for each in hierarchy.slices[table])


def parts(each: Slice) -> int:
    """How many relations a slice is: itself and its leaves."""
    return 1 + len(each.remainders)


def planned(hierarchy: Hierarchy, table: Table) -> int:
    """What planning a query over all of a table locks: every partition with its indexes, from 16 on those of slices."""
    return size(hierarchy, table.oid) * (1 + table.indexes)


def creating(table: Table) -> int:
    """Entries of a new partition of a table: with its indexes, constraints and type."""
    return table.relations_per_leaf + table.objects_per_leaf


def detaching(hierarchy: Hierarchy, table: Table, each: Slice) -> tuple[int, Trees]:
    """Entries of ``DETACH PARTITION``, besides those of trees.

    The slice gets foreign keys of its own, each with a constraint for every partition that it refers to, and loses the
    constraint and the triggers that foreign keys to it have on each of its parts. Whether rows still refer to it is
    looked up in the tables that do, whole.
    """
    outward, inward = _keys(hierarchy, table)
    cloned = sum(size(hierarchy, key.parent) for key in outward)
    locks = parts(each) * (table.relations_per_leaf + 3 * len(inward)) + cloned + BOOKKEEPING
    locked = [(oid, 2 * count) for oid, count in referenced(hierarchy, table)]
    locked += [(key.child, planned(hierarchy, hierarchy.table(key.child))) for key in inward]
    return locks, tuple(locked)


def adding_key(hierarchy: Hierarchy, table: Table, parent: Table) -> tuple[int, Trees]:
    """Entries of a new foreign key: a constraint for every partition that it refers to, and for each of its own."""
    referred, own = size(hierarchy, parent.oid), size(hierarchy, table.oid)
    return referred + own + 2, ((parent.oid, 2 * referred), (table.oid, own))


def dropping_key(hierarchy: Hierarchy, table: Table, number_of_parts: int) -> int:
    """Entries of dropping one foreign key of a detached slice: two triggers on every partition that it refers to."""
    outward, _ = _keys(hierarchy, table)
    return 2 * max((size(hierarchy, key.parent) for key in outward), default=0) + 3 * number_of_parts


def dropping(table: Table, number_of_parts: int) -> int:
    """Entries of ``DROP TABLE`` of a slice without foreign keys of its own to the hierarchy."""
    return number_of_parts * (table.relations_per_leaf + table.objects_per_leaf)


def dropping_detached(hierarchy: Hierarchy, table: Table, each: Slice) -> int:
    """Entries of ``DROP TABLE`` of a slice that was detached just before, with the foreign keys it was given then."""
    outward, _ = _keys(hierarchy, table)
    return dropping(table, parts(each)) + sum(dropping_key(hierarchy, table, parts(each)) for _ in outward)


def attaching(hierarchy: Hierarchy, table: Table, number_of_parts: int) -> tuple[int, Trees]:
    """Entries of ``ATTACH PARTITION``, besides those of trees; its foreign keys are checked against whole tables."""
    outward, inward = _keys(hierarchy, table)
    locks = number_of_parts * (table.relations_per_leaf + 2 + len(outward) + len(inward)) + BOOKKEEPING
    locked = [(reference.oid, 1) for reference in hierarchy.references]
    locked += [(key.parent, planned(hierarchy, hierarchy.table(key.parent))) for key in outward]
    return locks, tuple(locked)


def key_names(hierarchy: Hierarchy, table: Table) -> tuple[str, ...]:
    """The names of a table's foreign keys inside the hierarchy."""
    return tuple(key.name for key in _keys(hierarchy, table)[0])


def _keys(hierarchy: Hierarchy, table: Table) -> tuple[list[ForeignKey], list[ForeignKey]]:
    """The foreign keys of a table, and those to it; one to itself is both."""
    keys = hierarchy.foreign_keys
    return [key for key in keys if key.child == table.oid], [key for key in keys if key.parent == table.oid]


def _own_keys(hierarchy: Hierarchy, table: Table) -> list[ForeignKey]:
    return [key for key in hierarchy.foreign_keys if key.child == table.oid == key.parent]
