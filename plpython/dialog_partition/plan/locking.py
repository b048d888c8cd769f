"""Locks in the order in which writers take them: parents first.

A slice comes parents first and goes away children first, and in both cases PostgreSQL locks the child before the tables
that it refers to. Writers insert into the parent first, and go on to the child in the same transaction: who has locked
the child waits for a writer that waits for him. With many writers that is so at each attempt.
"""

from __future__ import annotations

from ..model import Table
from ..operation import LOCKING, Operation
from ..sql import SQL, Identifier, comma_list, compose


def lock_tables(target: Identifier, tables: tuple[Table, ...], mode: str) -> list[Operation]:
    """Lock tables, without their partitions, in the order of a hierarchy, for what is done with ``target``."""
    if not tables:
        return []
    only = comma_list([compose("ONLY {}", each.identifier) for each in tables])
    statement = compose("LOCK TABLE {} IN {} MODE", only, SQL(mode))
    oids = tuple(each.oid for each in tables)
    return [Operation(target, statement, mode, oids, 0, tuple((oid, 1) for oid in oids), rank=LOCKING)]
