"""Constraints in two phases: first for new rows, then each leaf's rows are read while everybody works on."""

from __future__ import annotations

from typing import NamedTuple

from ..operation import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, compose
from .alter import Target, alter, on_parent
from .locking import lock_tables
from .structure import add_constraint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .locking import Referenced

CHECK, FOREIGN_KEY = "c", "f"


class Rule(NamedTuple):
    """A constraint of the kind that is wanted, of a table or partition."""

    name: str
    parent: int  # the constraint it comes from; 0: none
    oid: int
    is_valid: bool
    definition: str  # without NOT VALID


class Part(NamedTuple):
    """A table or partition, and what it has of the constraint."""

    oid: int
    identifier: Identifier
    is_leaf: bool
    is_top: bool
    rule: Rule | None


def check(
    target: Target, parts: tuple[Part, ...], name: str, definition: SQL, referenced: tuple[Referenced, ...] = ()
) -> list[Step]:
    """A CHECK, or a foreign key where PostgreSQL takes one that is not valid on a partitioned table."""
    top = parts[0]
    steps = []
    if top.rule is None:
        statement = add_constraint(top.identifier, name, compose("{} NOT VALID", definition))
        first = lock_tables(target.identifier, referenced, SHARE_ROW_EXCLUSIVE)
        steps.append(Step((*first, on_parent(target, statement))))
    elif top.rule.is_valid:
        return []
    # leaves before slices before the table: what is valid below is not read again
    for part in (*[each for each in parts if each.is_leaf], *reversed([each for each in parts if not each.is_leaf])):
        if part.rule is None or not part.rule.is_valid:
            steps.append(Step((_validate(target, part, part.rule.name if part.rule else name),)))
    return steps


def foreign_key(
    target: Target, parts: tuple[Part, ...], name: str, definition: SQL, referenced: tuple[Referenced, ...]
) -> list[Step]:
    """A foreign key before PostgreSQL 18: on each leaf, and then on the table, which takes the leaves' over."""
    steps = []
    if parts[0].rule is not None:
        return []
    for part in parts:
        if not part.is_leaf or (part.rule is not None and part.rule.is_valid):
            continue
        if part.rule is None:
            statement = add_constraint(part.identifier, name, compose("{} NOT VALID", definition))
            first = lock_tables(part.identifier, referenced, SHARE_ROW_EXCLUSIVE)
            operation = Operation(part.identifier, statement, SHARE_ROW_EXCLUSIVE, (part.oid,), 4)
            steps.append(Step((*first, operation)))
        steps.append(Step((_validate(target, part, part.rule.name if part.rule else name),)))
    statement = add_constraint(parts[0].identifier, name, definition)
    # the leaves' keys become the table's, and their triggers on what is referred to go
    first = lock_tables(target.identifier, referenced, ACCESS_EXCLUSIVE)
    return [*steps, Step((*first, on_parent(target, statement)))]


def _validate(target: Target, part: Part, name: str) -> Operation:
    statement = alter(part.identifier, compose("VALIDATE CONSTRAINT {}", Identifier(name)))
    if part.is_leaf:
        return Operation(part.identifier, statement, SHARE_UPDATE_EXCLUSIVE, (part.oid,), 4)
    return on_parent(target, statement)._replace(lock=SHARE_UPDATE_EXCLUSIVE)


def not_null(target: Target, parts: tuple[Part, ...], column: str, name: str, is_not_null: bool) -> list[Step]:
    """A CHECK that proves it, NOT NULL for which no row is read then, and the CHECK goes."""
    condition = compose("CHECK ({} IS NOT NULL)", Identifier(column))
    actions = [] if is_not_null else [compose("ALTER COLUMN {} SET NOT NULL", Identifier(column))]
    steps = [] if is_not_null else check(target, parts, name, condition)
    drop = compose("DROP CONSTRAINT {}", Identifier(name))
    operations = [on_parent(target, alter(target.identifier, action)) for action in (*actions, drop)]
    return [*steps, Step(tuple(operations), is_atomic=len(operations) > 1)]
