"""What becomes of leaves as they age: policies as values, and the steps that bring a leaf to what one asks for.

What a policy says of a leaf takes the place of what parent and template say; dp.drift leaves it to maintenance.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from ..calendars import Width
from ..operation import ACCESS_EXCLUSIVE, ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import Identifier, Literal, compose
from .properties import EXCLUSIVE_PARAMETERS, Properties, State, storage_clause

NEW_FILES = 2  # a table that is written anew, and its TOAST table, beside what it had
FREEZE, TABLESPACE, STORAGE = "freeze", "tablespace", "storage"


class AgeingPolicy(NamedTuple):
    """What shall be of leaves from some age on."""

    after: Width
    freeze: bool
    tablespace: str | None  # None: where they are
    storage: tuple[tuple[str, str], ...]  # storage parameters, in the order of their names


class Leaf(NamedTuple):
    """A leaf as it is."""

    oid: int
    slice: int
    identifier: Identifier
    storage: tuple[tuple[str, str], ...]
    tablespace: str  # by name, the database's own, too
    indexes: tuple[tuple[Identifier, str], ...]  # each with its tablespace
    is_frozen: bool  # or has nothing to be frozen
    has_toast: bool


def length(after: Width) -> tuple[int, int]:
    """How long an age is, to compare it with others of the same hierarchy: as PostgreSQL compares intervals."""
    return (after.number if after.unit == "value" else after.in_months * 30 + after.in_days, after.in_months)


def besides(wanted: Properties, state: State, policy: AgeingPolicy | None) -> Properties:
    """What a leaf shall have beside what its age asks for, which is taken as it is: maintenance sees to that."""
    if policy is None:
        return wanted
    names = {name for name, _ in policy.storage}
    options = [(name, value) for name, value in wanted.options if name not in names]
    options += [(name, value) for name, value in state.options if name in names]
    tablespace = wanted.tablespace if policy.tablespace is None else state.tablespace
    return wanted._replace(options=tuple(options), tablespace=tablespace)


def as_json(storage: tuple[tuple[str, str], ...]) -> str:
    """Storage parameters as they are stored and shown."""
    return json.dumps(dict(storage))


def together(policies: list[AgeingPolicy]) -> AgeingPolicy | None:
    """What the policies ask for that a leaf has reached, youngest first: of two that differ the later one counts."""
    if not policies:
        return None
    storage: dict[str, str] = {}
    for each in policies:
        storage.update(each.storage)
    tablespaces = [each.tablespace for each in policies if each.tablespace is not None]
    return AgeingPolicy(
        policies[-1].after,
        any(each.freeze for each in policies),
        tablespaces[-1] if tablespaces else None,
        tuple(sorted(storage.items())),
    )


def lacking(leaf: Leaf, policy: AgeingPolicy) -> AgeingPolicy | None:
    """What of a policy a leaf has not got; None where it has all."""
    present = dict(leaf.storage)
    storage = tuple(
        (name, value)
        for name, value in policy.storage
        if present.get(name) != value and (leaf.has_toast or not name.startswith("toast."))
    )
    is_elsewhere = any(place != policy.tablespace for place in (leaf.tablespace, *(place for _, place in leaf.indexes)))
    tablespace = policy.tablespace if is_elsewhere else None
    found = policy._replace(freeze=policy.freeze and not leaf.is_frozen, tablespace=tablespace, storage=storage)
    return found if found.freeze or found.tablespace is not None or found.storage else None


def with_autovacuum(policy: AgeingPolicy) -> AgeingPolicy:
    """What of it is done where nothing can be frozen: somebody must vacuum a leaf."""
    return policy._replace(storage=tuple(each for each in policy.storage if each[0] != "autovacuum_enabled"))


def part(policy: AgeingPolicy, kind: str) -> AgeingPolicy:
    """What of it is of one kind."""
    return policy._replace(
        freeze=policy.freeze and kind == FREEZE,
        tablespace=policy.tablespace if kind == TABLESPACE else None,
        storage=policy.storage if kind == STORAGE else (),
    )


def steps(root: Identifier, leaf: Leaf, wanted: AgeingPolicy) -> list[Step]:
    """What a leaf lacks: what is quick first, and freezing last, for a file that is new is looked at once more."""
    target, relations = leaf.identifier, (leaf.oid,)
    found = []
    if wanted.storage:
        is_exclusive = EXCLUSIVE_PARAMETERS.intersection(name for name, _ in wanted.storage)
        lock = ACCESS_EXCLUSIVE if is_exclusive else SHARE_UPDATE_EXCLUSIVE
        statement = compose("ALTER TABLE {} SET ({})", target, storage_clause(wanted.storage))
        found.append(Step((Operation(target, statement, lock, relations),)))
    if wanted.tablespace is not None:
        found.append(_move(leaf, wanted.tablespace))
    if wanted.freeze:
        freeze = compose("VACUUM (FREEZE, ANALYZE) {}", target)
        found.append(Step((Operation(target, freeze, SHARE_UPDATE_EXCLUSIVE, relations, in_transaction=False),)))
        found.append(Step((_remember(root, leaf),)))
    return found


def _move(leaf: Leaf, tablespace: str) -> Step:
    """A leaf with its TOAST table and its indexes: all or nothing."""
    place = Identifier(tablespace)
    statements = []
    if leaf.tablespace != tablespace:
        statements.append((leaf.identifier, compose("ALTER TABLE {} SET TABLESPACE {}", leaf.identifier, place)))
    statements += [
        (index, compose("ALTER INDEX {} SET TABLESPACE {}", index, place))
        for index, own in leaf.indexes
        if own != tablespace
    ]
    return Step(
        tuple(
            Operation(target, statement, ACCESS_EXCLUSIVE, (leaf.oid,), 3 + NEW_FILES)
            for target, statement in statements
        ),
        is_atomic=True,
    )


def _remember(root: Identifier, leaf: Leaf) -> Operation:
    """That it is frozen, if it is: while an old transaction may still see what is gone, pages are left out."""
    statement = compose(
        "INSERT INTO dp.frozen_leaf (leaf, root, file, changes)"
        " SELECT c.oid, {}::regclass, c.relfilenode, dp._changes_of(c.oid) FROM pg_class AS c"
        " WHERE c.oid = {}::regclass AND c.relallvisible >= c.relpages"
        " ON CONFLICT (leaf) DO UPDATE SET file = excluded.file, changes = excluded.changes,"
        " frozen_at = excluded.frozen_at",
        Literal(root.text),
        Literal(leaf.identifier.text),
    )
    return Operation(leaf.identifier, statement, ROW_EXCLUSIVE)


def add_statement(root: Identifier, policy: AgeingPolicy) -> Operation:
    """Remember a policy, in place of the one of the same age."""
    statement = compose(
        "INSERT INTO dp.policy_config (root, after, vacuum_freeze, tablespace, storage)"
        " VALUES ({}::regclass, {}, {}, {}, {}::jsonb) ON CONFLICT (root, after) DO UPDATE SET"
        " vacuum_freeze = excluded.vacuum_freeze, tablespace = excluded.tablespace, storage = excluded.storage",
        Literal(root.text),
        Literal(str(policy.after)),
        Literal(policy.freeze),
        Literal(policy.tablespace),
        Literal(as_json(policy.storage)),
    )
    return Operation(root, statement, ROW_EXCLUSIVE)


def drop_statement(root: Identifier, after: Width) -> Operation:
    """Forget a policy."""
    statement = compose(
        "DELETE FROM dp.policy_config WHERE root = {}::regclass AND after = {}",
        Literal(root.text),
        Literal(str(after)),
    )
    return Operation(root, statement, ROW_EXCLUSIVE)
