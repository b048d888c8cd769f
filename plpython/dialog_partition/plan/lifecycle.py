"""Detaching and dropping slices of a whole hierarchy, and which ones retention retires."""

from __future__ import annotations

from ..model import Hierarchy, Slice, SliceSpec, Table
from ..operation import (
    ACCESS_EXCLUSIVE,
    PREPARING,
    ROW_EXCLUSIVE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    WORKING,
    Operation,
    Step,
)
from ..sql import SQL, Identifier, compose
from . import detached, global_index, keeping, locking, self_reference, trees


def expired(hierarchy: Hierarchy, cutoff: int) -> list[Slice]:
    """The root's slices that end at or before a point; the last slice never expires."""
    slices = hierarchy.range_slices(hierarchy.root)
    return [each for each in slices[:-1] if each.upper is not None and each.upper.point <= cutoff]


def without(hierarchy: Hierarchy, retired: list[Slice]) -> Hierarchy:
    """The hierarchy as it will be without some slices, for plans that are only printed."""
    spans = {each.span for each in retired}
    slices = {
        table: tuple(each for each in found if each.is_default or each.span not in spans)
        for table, found in hierarchy.slices.items()
    }
    return hierarchy._replace(slices=slices)


def with_new(hierarchy: Hierarchy, specs: list[SliceSpec]) -> Hierarchy:
    """The hierarchy as it will be with slices of the root that it lacks, for plans that are only printed."""
    root = hierarchy.root
    new = [
        Slice(
            0, root.schema, spec.suffix, bool(spec.modulus), spec.is_default, False, spec.lower, spec.upper,
            spec.modulus, tuple(range(spec.modulus)),
        )
        for spec in specs
        if spec.span not in {each.span for each in hierarchy.slices[root.oid]}
    ]  # fmt: skip
    of_root = sorted((*hierarchy.slices[root.oid], *new), key=_lower)
    return hierarchy._replace(slices={**hierarchy.slices, root.oid: tuple(of_root)})


def _lower(each: Slice) -> tuple[bool, bool, int]:
    """In the order of their lower bounds, one that has none first, the default slice last."""
    return each.is_default, each.lower is not None, each.lower.point if each.lower else 0


def siblings(hierarchy: Hierarchy, span: tuple[int | None, int | None]) -> list[tuple[Table, Slice]]:
    """A slice in every table that has it, referenced tables first."""
    return [(table, each) for table in hierarchy.tables for each in hierarchy.range_slices(table) if each.span == span]


def detach_steps(
    hierarchy: Hierarchy,
    span: tuple[int | None, int | None],
    foreign_keys: dict[int, tuple[str, ...]],
    leaves: dict[int, tuple[Identifier, ...]],
    to_schema: str | None,
    forced: frozenset[int],
    is_retired: bool = False,
) -> list[Step]:
    """Detach a slice from every table, children first, a step a table. ``is_retired``: retention will drop it."""
    steps = []
    for table, each in reversed(siblings(hierarchy, span)):
        first, last = _remove_entries(hierarchy, table, each, each.oid in forced)
        operations = first + _lock_tables(hierarchy, table, each)
        operations += self_reference.let_go_operations(hierarchy, table, each, True, each.oid in forced)
        operations.append(_detach(hierarchy, table, each))
        operations += _let_go_of_indexes(table, (each.identifier, *leaves.get(each.oid, ())))
        operations += after_detach(hierarchy, table, each, foreign_keys.get(each.oid, ()), is_retired)
        operations += self_reference.put_back_operations(hierarchy, table, each, each.oid in forced)
        operations += last
        operations += move_operations((each.identifier, *leaves.get(each.oid, ())), to_schema)
        steps.append(Step(tuple(operations), bool(table.global_indexes)))
    return steps


def drop_steps(
    hierarchy: Hierarchy,
    span: tuple[int | None, int | None],
    foreign_keys: dict[int, tuple[str, ...]],
    forced: frozenset[int] = frozenset(),
) -> list[Step]:
    """Drop a slice of every table, children first, a step a table; never with CASCADE.

    A slice that others refer to must be detached first, which gives it foreign keys of its own, one for every partition
    that it refers to. Where nothing refers to it, all that is spared.
    """
    steps = []
    for table, each in reversed(siblings(hierarchy, span)):
        first, last = _remove_entries(hierarchy, table, each, each.oid in forced)
        first += _lock_tables(hierarchy, table, each)
        statement = compose("DROP TABLE {}", each.identifier)
        if table.is_referenced or last:
            let_go = self_reference.let_go_operations(hierarchy, table, each, False, each.oid in forced)
            drop = Operation(each.identifier, statement, locks=trees.dropping_detached(hierarchy, table, each))
            keys = _drop_keys(hierarchy, table, each, foreign_keys.get(each.oid, ())) if last else []
            operations = (*first, *let_go, _detach(hierarchy, table, each), *keys, *last, drop)
            steps.append(Step(operations, bool(table.global_indexes)))
        else:
            locks = trees.dropping(table, trees.parts(each)) + trees.BOOKKEEPING + trees.FORGETTING
            touched = _touched(hierarchy, table, each)
            drop = Operation(each.identifier, statement, ACCESS_EXCLUSIVE, touched, locks)
            steps.append(Step((*first, drop), bool(table.global_indexes)))
    return steps


def _detach(hierarchy: Hierarchy, table: Table, each: Slice) -> Operation:
    detach = compose("ALTER TABLE {} DETACH PARTITION {}", table.identifier, each.identifier)
    locks, locked = trees.detaching(hierarchy, table, each)
    touched = _touched(hierarchy, table, each)
    return Operation(each.identifier, detach, ACCESS_EXCLUSIVE, touched, locks, locked)


def _lock_tables(hierarchy: Hierarchy, table: Table, each: Slice) -> list[Operation]:
    """Lock a table whose slice goes away, and before it those that it refers to; alone it is locked by what follows."""
    ancestors = hierarchy.ancestors(table)
    return locking.lock_tables(each.identifier, (*ancestors, table) if ancestors else (), ACCESS_EXCLUSIVE)


def _remove_entries(
    hierarchy: Hierarchy, table: Table, each: Slice, is_forced: bool = False
) -> tuple[list[Operation], list[Operation]]:
    """What global indexes know of a slice, which nobody writes to from here on: done before it leaves, or behind that.

    The entries are found by the rows, which what follows may change: so they go first. Where foreign keys of the
    hierarchy refer to them they go last, when the children have left, and so has the slice, without its foreign keys:
    ON DELETE must not reach what leaves with it. ``is_forced``: row security would hide rows from the owner.
    """
    if not table.global_indexes:
        return [], []
    is_tied = hierarchy.is_tied(table)
    rank = WORKING if is_tied or is_forced else PREPARING
    lock = compose("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", each.identifier)
    parts = trees.parts(each)
    found = [Operation(each.identifier, lock, SHARE_ROW_EXCLUSIVE, (each.oid,), parts, rank=rank)]
    for index in table.global_indexes:
        statement = global_index.remove_entries(index, each.identifier)
        locks = parts * (1 + table.indexes) + detached.INDEX_LOCKS
        found.append(Operation(index.identifier, statement, ROW_EXCLUSIVE, (), locks, rank=rank))
    if is_forced:  # to lift that locks out readers, who come by the table
        tables = locking.lock_tables(each.identifier, (*hierarchy.ancestors(table), table), ACCESS_EXCLUSIVE)
        lift, restore = (
            compose("ALTER TABLE {} {}FORCE ROW LEVEL SECURITY", each.identifier, SQL(no)) for no in ("NO ", "")
        )
        found = [
            *tables,
            Operation(each.identifier, lift, ACCESS_EXCLUSIVE, (each.oid,), 1),
            *found,
            Operation(each.identifier, restore, ACCESS_EXCLUSIVE, (each.oid,), 1),
        ]
    return ([], found) if is_tied else (found, [])


def move_operations(relations: tuple[Identifier, ...], to_schema: str | None) -> list[Operation]:
    """Move a slice with its leaves to another schema, where one is asked for."""
    if to_schema is None:
        return []
    schema = Identifier(to_schema)
    return [
        Operation(relation, compose("ALTER TABLE {} SET SCHEMA {}", relation, schema), ACCESS_EXCLUSIVE, (), 1)
        for relation in relations
    ]


def _let_go_of_indexes(table: Table, relations: tuple[Identifier, ...]) -> list[Operation]:
    """A slice that was detached may be written to by its name."""
    return [
        Operation(relation, keeping.drop_guard(index, relation), locks=2)
        for index in table.global_indexes
        for relation in relations
    ]


def _touched(hierarchy: Hierarchy, table: Table, each: Slice) -> tuple[int, ...]:
    """What a slice that goes away locks: the table, the slice, and the default slice, whose bound changes."""
    default = hierarchy.default_slice(table)
    return (table.oid, each.oid) + ((default.oid,) if default else ())


def after_detach(
    hierarchy: Hierarchy, table: Table, each: Slice, foreign_keys: tuple[str, ...], is_retired: bool
) -> list[Operation]:
    """What follows a detach: foreign keys, which detached tables keep, would keep the parent's slice; bounds."""
    remember = detached.remember_statement(hierarchy, table, each, is_retired)
    return [*_drop_keys(hierarchy, table, each, foreign_keys), Operation(each.identifier, remember, locks=2)]


def _drop_keys(hierarchy: Hierarchy, table: Table, each: Slice, foreign_keys: tuple[str, ...]) -> list[Operation]:
    return [
        Operation(
            each.identifier,
            compose("ALTER TABLE {} DROP CONSTRAINT {}", each.identifier, Identifier(name)),
            ACCESS_EXCLUSIVE,
            tuple(parent.oid for parent in hierarchy.parents(table)),
            trees.dropping_key(hierarchy, table, trees.parts(each)),
        )
        for name in foreign_keys
    ]


def analyze_step(table: Table, slices: tuple[Slice, ...], only: bool) -> Step:
    """ANALYZE of a parent, which autovacuum never does; 18 and later need not read the leaves twice."""
    statement = compose("ANALYZE {}{}", SQL("ONLY " if only else ""), table.identifier)
    leaves = sum(trees.parts(each) for each in slices)
    locks = leaves * (1 if only else table.relations_per_leaf) + 1
    return Step((Operation(table.identifier, statement, SHARE_UPDATE_EXCLUSIVE, (), locks),))


def finalize_step(
    hierarchy: Hierarchy, table: Table, each: Slice, foreign_keys: tuple[str, ...], is_retired: bool = False
) -> Step:
    """Finish a DETACH CONCURRENTLY that was interrupted, and leave the table as dp.detach_slice does."""
    statement = compose("ALTER TABLE {} DETACH PARTITION {} FINALIZE", table.identifier, each.identifier)
    locks, locked = trees.detaching(hierarchy, table, each)
    finalize = Operation(each.identifier, statement, ACCESS_EXCLUSIVE, (each.oid,), locks, locked)
    afterwards = after_detach(hierarchy, table, each, foreign_keys, is_retired)
    first, last = _remove_entries(hierarchy, table, each)
    return Step((*first, finalize, *afterwards, *last), bool(table.global_indexes))
