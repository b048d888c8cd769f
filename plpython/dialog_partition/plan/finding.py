"""A finding of dp.check as a value, and the facts that it is judged by."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Slice, SliceSpec, Table
from ..sql import Identifier
from .ageing import AgeingPolicy
from .detached import DetachedSlice
from .difference import Difference
from .ownership import Belonging
from .schedule import Jobs, Recorded

ERROR, WARNING, NOTICE = "error", "warning", "notice"
SEVERITIES = (ERROR, WARNING, NOTICE)


class Finding(NamedTuple):
    """One row of dp.check."""

    severity: str
    finding: str
    target: str
    detail: str
    statement: str | None


def unreadable(root: str, error: Exception) -> Finding:
    """A hierarchy that nothing can be done with before somebody mends it."""
    parts = (str(error), getattr(error, "detail", None), getattr(error, "hint", None))
    return Finding(ERROR, "unreadable hierarchy", root, " ".join(part for part in parts if part), None)


class Expected(NamedTuple):
    """What there should be by the policy and the clock, and is not."""

    missing: tuple[SliceSpec, ...]  # slices that should exist by the clock or fill a gap
    detached: tuple[DetachedSlice, ...]  # the root's slices of now and of the future that a call detached
    by_hand: tuple[DetachedSlice, ...]  # tables that stand where tables of the hierarchy lack slices
    maintained: SliceSpec | None  # the range that maintenance keeps, as if it were one slice; None: no default slice
    drain_locks: int  # what it takes to drain one slice of the default slice; 0 where there is none
    beyond_gap: Slice | None  # of integers: a slice with rows that neither premake nor retention heeds
    policies: dict[int, AgeingPolicy]  # what policies ask for, by slice
    jobs: Jobs
    late_leaves: int  # that have not been brought to what their age asks for

    def standing(self, table: Table, lower_point: int | None) -> DetachedSlice | None:
        """The table that stands where a table lacks a slice."""
        found = (each for each in self.by_hand if (each.table, each.lower_point) == (table.oid, lower_point))
        return next(found, None)


class Facts(NamedTuple):
    """What findings need beside the hierarchy itself."""

    expected: Expected
    current_point: int | None  # None: the range key has no clock
    rows_in_default: tuple[tuple[int, bool], ...]  # table, whether maintenance would move some of them
    invalid_indexes: tuple[tuple[str, str, bool], ...]  # index, table, is partitioned
    invalid_constraints: tuple[tuple[str, str, str], ...]  # schema, table, constraint
    never_analysed: tuple[int, ...]
    drift: tuple[tuple[Table, tuple[Difference, ...]], ...]
    keys_to_partitions: tuple[tuple[str, str, str], ...]  # table, constraint, partition
    key_differences: tuple[tuple[str, str, str], ...]  # table, column, what it is
    unindexed_keys: tuple[tuple[int, str], ...]  # child, constraint: of children with foreign keys to global indexes
    pending_keys: tuple[tuple[str, str], ...]  # child, constraint
    inexact_entries: dict[int, tuple[tuple[str, str], ...]]  # by global index: missing or stale, the entry
    unguarded: dict[int, tuple[tuple[str, str, bool], ...]]  # by global index: schema and name of partition, is leaf
    belongings: tuple[Belonging, ...]  # what belongs to its tables, and to another role than they do
    outdated_views: tuple[tuple[Identifier, Identifier, str, int], ...]  # table, view, its schema, what differs
    outdated_functions: tuple[Identifier, ...]  # generated ones that name tables as they were called before
    broken_queries: tuple[tuple[Identifier, str, str | None], ...]  # joined lookups, their table, the index they lack
    jobs: tuple[Recorded, ...]
    last_failure: str | None
    lock_table: int
    lock_budget: int
    lock_slots: int  # transactions that the lock table has room for
    partitionwise_join: bool
    constraint_exclusion: bool
    server_version: int
    database: str
    foundation: dict[str, str]  # what dp._ddl_state says of the hierarchy
    unchecked: tuple[tuple[int, SliceSpec], ...]  # slices of the root without the CHECK of the range key
