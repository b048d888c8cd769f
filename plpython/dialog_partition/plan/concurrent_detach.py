"""DETACH PARTITION ... CONCURRENTLY of a slice, table by table, and what then makes it as dp.detach_slice does."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Hierarchy, Slice, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, Literal, compose
from . import lifecycle, self_reference, trees


class Part(NamedTuple):
    """What is known of a slice of one table."""

    table: Table
    slice: Slice
    foreign_keys: tuple[str, ...]  # to tables of the hierarchy, which it keeps when it is detached
    leaves: tuple[Identifier, ...]
    bound: str | None  # its bound as a CHECK, which PostgreSQL adds to a slice that is detached in this way


def is_possible(hierarchy: Hierarchy, table: Table, each: Slice) -> bool:
    """PostgreSQL refuses it beside a default slice; and nothing else could be done in the same transaction."""
    return (
        hierarchy.default_slice(table) is None
        and not table.global_indexes
        and not self_reference.let_go_operations(hierarchy, table, each, True, False)
    )


def detach_step(part: Part) -> Step:
    """The statement itself, which another session runs."""
    statement = compose("ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY", part.table.identifier, part.slice.identifier)
    relations = (part.table.oid, part.slice.oid)
    return Step((Operation(part.slice.identifier, statement, SHARE_UPDATE_EXCLUSIVE, relations, in_transaction=False),))


def finish_step(hierarchy: Hierarchy, part: Part, is_pending: bool, to_schema: str | None, is_retired: bool) -> Step:
    """What follows; where the statement gave up waiting, it is brought to its end first."""
    table, each = part.table, part.slice
    operations = []
    if is_pending:
        statement = compose("ALTER TABLE {} DETACH PARTITION {} FINALIZE", table.identifier, each.identifier)
        locks, locked = trees.detaching(hierarchy, table, each)
        operations.append(Operation(each.identifier, statement, ACCESS_EXCLUSIVE, (each.oid,), locks, locked))
    operations += lifecycle.after_detach(hierarchy, table, each, part.foreign_keys, is_retired)
    operations += drop_bound(part)
    operations += lifecycle.move_operations((each.identifier, *part.leaves), to_schema)
    return Step(tuple(operations))


def drop_bound(part: Part) -> list[Operation]:
    """Drop the CHECK that says what the bound said: under which name PostgreSQL made it is known afterwards only."""
    if part.bound is None:
        return []
    each = part.slice.identifier
    body = compose(
        "DECLARE rule name; BEGIN FOR rule IN SELECT conname FROM pg_catalog.pg_constraint"
        " WHERE conrelid = {}::regclass AND contype = 'c' AND coninhcount = 0"
        " AND pg_catalog.pg_get_constraintdef(oid) = {} LOOP"
        " EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', {}, rule); END LOOP; END",
        Literal(each.text),
        Literal(part.bound),
        Literal(each.text),
    )
    return [Operation(each, compose("DO {}", Literal(body.text)), locks=trees.parts(part.slice))]


def dry_steps(hierarchy: Hierarchy, part: Part, plain: Step, to_schema: str | None, is_retired: bool) -> list[Step]:
    """What is printed for one table."""
    if not is_possible(hierarchy, part.table, part.slice):
        return [plain]
    return [detach_step(part), finish_step(hierarchy, part, False, to_schema, is_retired)]


def found_alone_statement(root: Identifier, table: Table, slice_name: Identifier, lower: str, upper: str) -> SQL:
    """Remember a slice whose detach was not followed by what belongs to it: its session was killed."""
    return compose(
        "INSERT INTO dp.detached_slice (slice, root, tbl, lower_bound, upper_bound) VALUES ({}::regclass,"
        " {}::regclass, {}::regclass, {}, {})",
        Literal(slice_name.text),
        Literal(root.text),
        Literal(table.identifier.text),
        Literal(lower),
        Literal(upper),
    )
