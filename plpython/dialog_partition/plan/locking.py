"""Locks in the order in which writers take them: parents first.

A slice comes parents first and goes away children first, and in both cases PostgreSQL locks the child before the tables
that it refers to. Writers insert into the parent first, and go on to the child in the same transaction: who has locked
the child waits for a writer that waits for him. With many writers that is so at each attempt. Foreign keys that come
and go are the same case, to tables outside of the hierarchy as well.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model import Table
from ..operation import LOCKING, Operation
from ..sql import SQL, Identifier, comma_list, compose


class Referenced(NamedTuple):
    """A table that a foreign key refers to, and that we may lock."""

    oid: int
    identifier: Identifier


def lock_tables(target: Identifier, tables: tuple[Table | Referenced, ...], mode: str) -> list[Operation]:
    """Lock tables, without their partitions, in the order of a hierarchy, for what is done with ``target``."""
    if not tables:
        return []
    only = comma_list([compose("ONLY {}", each.identifier) for each in tables])
    statement = compose("LOCK TABLE {} IN {} MODE", only, SQL(mode))
    oids = tuple(each.oid for each in tables)
    return [Operation(target, statement, mode, oids, 0, tuple((oid, 1) for oid in oids), rank=LOCKING)]
