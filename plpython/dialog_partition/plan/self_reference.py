"""Detaching slices of a table that refers to itself.

PostgreSQL refuses to detach a partition to which rows refer, and counts the partition's own rows among them: a slice
with an answer and what it answers could never leave. So the references inside the slice are let go for the moment of
the detach, and are put back where the slice stays as a table.
"""

from __future__ import annotations

from ..model import ForeignKey, Hierarchy, Slice, Table
from ..operation import ACCESS_EXCLUSIVE, Operation
from ..sql import SQL, Identifier, Literal, assignments, compose, conjunction, names


def let_go_operations(hierarchy: Hierarchy, table: Table, each: Slice, keep: bool, is_forced: bool) -> list[Operation]:
    """Set the references inside a slice to NULL; remember them when they are to be kept.

    ``is_forced``: row security is forced on its owner; policies must not keep references from being let go or put back.
    """
    found = []
    if is_forced and _references(hierarchy, table, each):
        found.append(compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", each.identifier))
    for key, remembered in _references(hierarchy, table, each):
        own = _own_columns(hierarchy, key)
        if keep:
            found.append(
                compose(
                    "CREATE TABLE {} AS SELECT {} FROM {} WHERE {}",
                    remembered,
                    names(key.parent_columns + own),
                    each.identifier,
                    _are_set(own),
                )
            )
        # triggers shall not take this for a change
        found.append(compose("ALTER TABLE {} DISABLE TRIGGER USER", each.identifier))
        nothing = assignments({column: Literal(None) for column in own})
        found.append(compose("UPDATE {} SET {} WHERE {}", each.identifier, nothing, _are_set(own)))
    return _operations(each, found)


def put_back_operations(hierarchy: Hierarchy, table: Table, each: Slice, is_forced: bool) -> list[Operation]:
    """Give the detached slice its references again."""
    found = []
    for key, remembered in _references(hierarchy, table, each):
        own = _own_columns(hierarchy, key)
        back = assignments({column: Identifier("r", column) for column in own})
        same = conjunction(
            [compose("{} = {}", Identifier("s", column), Identifier("r", column)) for column in key.parent_columns]
        )
        found.append(compose("UPDATE {} AS s SET {} FROM {} AS r WHERE {}", each.identifier, back, remembered, same))
        found.append(compose("ALTER TABLE {} ENABLE TRIGGER USER", each.identifier))
        found.append(compose("DROP TABLE {}", remembered))
    if is_forced and found:
        found.append(compose("ALTER TABLE {} FORCE ROW LEVEL SECURITY", each.identifier))
    return _operations(each, found)


def _references(hierarchy: Hierarchy, table: Table, each: Slice) -> list[tuple[ForeignKey, Identifier]]:
    keys = [key for key in hierarchy.foreign_keys if key.child == table.oid == key.parent]
    return [(key, Identifier(table.schema, f"dp_{each.oid}_reference_{n}")) for n, key in enumerate(keys, 1)]


def _own_columns(hierarchy: Hierarchy, key: ForeignKey) -> tuple[str, ...]:
    return tuple(column for column in key.columns if column not in hierarchy.policy.partition_keys)


def _are_set(columns: tuple[str, ...]) -> SQL:
    return conjunction([compose("{} IS NOT NULL", Identifier(column)) for column in columns])


def _operations(each: Slice, statements: list[SQL]) -> list[Operation]:
    # the detach counts the locks on the slice itself
    return [Operation(each.identifier, statement, ACCESS_EXCLUSIVE, (each.oid,), 1) for statement in statements]
