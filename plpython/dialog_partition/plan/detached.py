"""Slices that were detached: what is remembered of them, and attaching or dropping them."""

from __future__ import annotations

from typing import NamedTuple

from .. import keys
from ..model import Edge, Hierarchy, Slice, SliceSpec, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, Literal, compose
from . import coverage, default_slice, global_index, keeping, trees
from . import slices as plan_slices

INDEX_LOCKS = 20  # of a global index: the side table with its key, or the partitions that it has itself


class DetachedSlice(NamedTuple):
    """A slice that was detached: by a call, which remembers it, or by hand."""

    table: int
    schema: str
    name: str
    leaves: tuple[str, ...]
    lower_bound: str  # as in FOR VALUES FROM (...), quotes included
    upper_bound: str
    lower_point: int | None
    upper_point: int | None
    lower_local: str | None = None  # what a call names it by: a date, or a timestamp, in the hierarchy's time zone
    foreign_keys: tuple[str, ...] = ()  # to tables of the hierarchy, which it has when somebody else detached it
    is_remembered: bool = True  # whether dp.detached_slice names it

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    @property
    def lower_name(self) -> str:
        """What a call names it by."""
        return self.lower_local or self.lower_bound.strip("'")

    def overlaps(self, span: coverage.Span) -> bool:
        """Whether it would stand in the way of a slice."""
        begins = self.lower_point is None or self.lower_point < span[1].point
        return begins and (self.upper_point is None or span[0].point < self.upper_point)


def remember_statement(hierarchy: Hierarchy, table: Table, each: Slice, is_retired: bool) -> SQL:
    """Keep the bounds of a detached slice, which the catalog forgets; and since when it waits to be dropped."""
    spec = coverage.spec_of(each)
    lower = keys.literal(spec.lower.point, str(table.partition_type)) if spec and spec.lower else SQL("MINVALUE")
    upper = keys.literal(spec.upper.point, str(table.partition_type)) if spec and spec.upper else SQL("MAXVALUE")
    return compose(
        "INSERT INTO dp.detached_slice (slice, root, tbl, lower_bound, upper_bound{}) VALUES ({}::regclass,"
        " {}::regclass, {}::regclass, {}, {}{})",
        SQL(", retired_at" if is_retired else ""),
        Literal(each.identifier.text),
        Literal(hierarchy.root.identifier.text),
        Literal(table.identifier.text),
        Literal(lower.text),
        Literal(upper.text),
        SQL(", dp._clock()" if is_retired else ""),
    )


def spec_of(detached: DetachedSlice) -> SliceSpec | None:
    """A detached slice as what it will be again; None where it was unbounded."""
    if detached.lower_point is None or detached.upper_point is None:
        return None
    return SliceSpec(Edge(detached.lower_point), Edge(detached.upper_point), len(detached.leaves), detached.name)


def drop_detached_step(hierarchy: Hierarchy, detached: list[DetachedSlice]) -> Step:
    """Drop a slice that was detached before."""
    operations = []
    for each in reversed(detached):
        locks = trees.dropping(hierarchy.table(each.table), 1 + len(each.leaves))
        operations.append(Operation(each.identifier, compose("DROP TABLE {}", each.identifier), locks=locks))
    return Step(tuple(operations))


def attach_step(hierarchy: Hierarchy, detached: list[DetachedSlice]) -> Step:
    """Attach a detached slice to every table again, referenced tables first; its foreign keys are checked anew."""
    by_table = {each.table: each for each in detached}
    operations: list[Operation] = []
    for table in hierarchy.tables:
        each = by_table.get(table.oid)
        if each is None:
            continue
        identifier = Identifier(table.schema, each.name)
        operations += let_go_operations(hierarchy, table, each)
        if each.schema != table.schema:
            for name in (each.name, *each.leaves):
                move = compose("ALTER TABLE {} SET SCHEMA {}", Identifier(each.schema, name), Identifier(table.schema))
                operations.append(Operation(Identifier(each.schema, name), move, locks=table.relations_per_leaf))
        attach = compose(
            "ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})",
            table.identifier,
            identifier,
            SQL(each.lower_bound),
            SQL(each.upper_bound),
        )
        entries = [
            Operation(
                index.identifier,
                global_index.add_entries(index, identifier, is_known=not each.is_remembered),
                locks=INDEX_LOCKS,
            )
            for index in table.global_indexes
        ]
        if hierarchy.is_tied(table):  # its own rows may refer to each other by the entries, which ATTACH checks
            lock = compose("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", identifier)
            operations += [Operation(identifier, lock, locks=1 + len(each.leaves)), *entries]
            entries = []
        locks, locked = trees.attaching(hierarchy, table, 1 + len(each.leaves))
        default = hierarchy.default_slice(table)
        default_lock = ((default.oid, ACCESS_EXCLUSIVE),) if default else ()
        operations.append(
            Operation(identifier, attach, SHARE_UPDATE_EXCLUSIVE, (table.oid,), locks, locked, default_lock)
        )
        operations += default_slice.renewal_operations(default) if default else []
        operations += plan_slices.identity_operations(table, identifier, len(each.leaves))
        operations += entries
        operations += _guarded(table, each)
        if each.is_remembered:
            forget = compose("DELETE FROM dp.detached_slice WHERE slice = {}::regclass", Literal(identifier.text))
            operations.append(Operation(identifier, forget, locks=2))
    return Step(tuple(operations), any(table.global_indexes for table in hierarchy.tables))


def _guarded(table: Table, each: DetachedSlice) -> list[Operation]:
    """A slice that comes back has the guards of global indexes; one that was detached by hand may have them still."""
    found = []
    if not each.is_remembered:
        parts = [Identifier(table.schema, name) for name in (each.name, *each.leaves)]
        guards = [keeping.drop_guard(index, part) for index in table.global_indexes for part in parts]
        found = [Operation(parts[0], guard, locks=2) for guard in guards]
    return found + plan_slices.guard_operations(table, each.name, list(each.leaves))


def let_go_operations(hierarchy: Hierarchy, table: Table, each: DetachedSlice) -> list[Operation]:
    """Foreign keys of its own: one that is there already would lock all that it refers to ACCESS EXCLUSIVE."""
    locks = trees.dropping_key(hierarchy, table, 1 + len(each.leaves))
    return [
        Operation(
            each.identifier,
            compose("ALTER TABLE {} DROP CONSTRAINT {}", each.identifier, Identifier(name)),
            locks=locks,
        )
        for name in each.foreign_keys
    ]


def attach_call(root: Identifier, each: DetachedSlice) -> str:
    """The call that attaches it again."""
    return f"SELECT dp.attach_slice({Literal(root.text)}, {Literal(each.lower_name)})"
