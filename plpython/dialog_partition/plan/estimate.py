"""What a layout costs: relations, locks, memory, and the time of planning, before any of it is built."""

from __future__ import annotations

import math
from typing import NamedTuple

from .planning_times import (
    ARRAY_BYTES,
    ARRAY_SLICES,
    BOTH_KEYS,
    BY_ID,
    CACHE_BYTES,
    HASH_KEY,
    JOIN_BY_HASH_KEY,
    JOIN_WITHOUT_KEY,
    LARGE_ARRAY,
    MEASURED_ARRAY,
    MEASURED_INDEXES,
    MILLISECONDS,
    OPENING_MS,
    PLANNER_BYTES,
)

LAYOUT = "layout"
GOOD, SLOW, TOO_MANY_LOCKS = "good", "slow to plan", "beyond the lock table"
SLOW_MS = 100.0  # of planning: more than most queries take to run
_JOINED = {JOIN_WITHOUT_KEY: 3, JOIN_BY_HASH_KEY: 3}  # tables
_BY_SLICE = (HASH_KEY, JOIN_BY_HASH_KEY)  # a leaf of each slice is planned; by the other kinds all or one
LOCKS_INDEXES_OF_PARENTS_SINCE = 16


class Layout(NamedTuple):
    """Tables that are partitioned alike."""

    slices: int
    hash_partitions: int  # 0: no hash level
    tables: int
    indexes: int  # of each table

    @property
    def leaves(self) -> int:
        """Of one table."""
        return self.slices * max(self.hash_partitions, 1)

    @property
    def inner(self) -> int:
        """The partitioned relations of one table: itself, and its slices where they are partitioned in turn."""
        return 1 + (self.slices if self.hash_partitions else 0)


class Estimate(NamedTuple):
    """One row of dp.estimate."""

    query: str
    leaves: int
    relations: int  # with indexes
    locks: int | None
    sessions: int | None  # that may do it at the same time
    planning_ms: float | None
    first_planning_ms: float | None
    planner_bytes: int | None
    cache_bytes: int
    verdict: str


def estimates(layout: Layout, version: int, lock_table: int, array: int, factor: float) -> list[Estimate]:
    """The whole layout, then each kind of query that its tables can be asked; ``factor``: how slow the server is."""
    kinds = [kind for kind in MILLISECONDS[_measured(version)] if layout.tables >= _JOINED.get(kind, 1)]
    found = [_of_query(kind, layout, version, lock_table, array, factor) for kind in kinds]
    relations = layout.tables * (layout.leaves + layout.inner)
    worst = max((each.locks or 0) for each in found)
    whole = Estimate(
        LAYOUT,
        layout.tables * layout.leaves,
        relations * (1 + layout.indexes),
        None,
        None,
        None,
        None,
        None,
        relations * (1 + layout.indexes) * CACHE_BYTES,
        GOOD if worst <= lock_table else TOO_MANY_LOCKS,
    )
    return [whole, *found]


def _of_query(kind: str, layout: Layout, version: int, lock_table: int, array: int, factor: float) -> Estimate:
    joined = _JOINED.get(kind, 1)
    leaves, inner = _planned(kind, layout)
    relations, indexes = (joined * number for number in _locked(leaves, inner, layout.indexes, version))
    locks = relations + indexes
    milliseconds = planning_ms(kind, layout, version, array) * factor
    memory = _interpolated(PLANNER_BYTES[kind], _size(kind, layout)) * _by_indexes(layout)
    if kind == LARGE_ARRAY:
        memory += ARRAY_BYTES * _size(kind, layout) * (array - MEASURED_ARRAY)
        memory = max(memory, _interpolated(PLANNER_BYTES[BY_ID], layout.leaves))
    verdict = SLOW if milliseconds > SLOW_MS else GOOD
    return Estimate(
        kind,
        joined * leaves,
        relations + indexes,
        locks,
        max(lock_table // locks, 0),
        round(milliseconds, 2),
        round(milliseconds + locks * OPENING_MS * factor, 2),
        max(int(memory), 0),
        locks * CACHE_BYTES,
        TOO_MANY_LOCKS if locks > lock_table else verdict,
    )


def _planned(kind: str, layout: Layout) -> tuple[int, int]:
    """How many leaves and partitioned relations of each table are locked by planning a query."""
    if kind == BOTH_KEYS:
        return 1, min(layout.inner, 2)
    return (layout.slices if kind in _BY_SLICE else layout.leaves), layout.inner


def _size(kind: str, layout: Layout) -> int:
    """What the cost of a kind of query goes by."""
    if kind == BOTH_KEYS:
        return 1
    if kind == LARGE_ARRAY:
        return layout.leaves + ARRAY_SLICES * layout.slices
    return layout.slices if kind in _BY_SLICE else layout.leaves


def planning_ms(kind: str, layout: Layout, version: int, array: int = MEASURED_ARRAY) -> float:
    """How long planning takes in a session that has done it before."""
    measured = MILLISECONDS[_measured(version)]
    found = _interpolated(measured[kind], _size(kind, layout))
    if kind == LARGE_ARRAY:  # each leaf has its own copy of the array
        plain = min(found, _interpolated(measured[BY_ID], layout.leaves))
        found = plain + (found - plain) * array / MEASURED_ARRAY
    return found * _by_indexes(layout)


def _by_indexes(layout: Layout) -> float:
    """An index costs about half as much as the leaf itself."""
    return (2 + layout.indexes) / (2 + MEASURED_INDEXES)


def _measured(version: int) -> int:
    """The measured version whose planner a server has: the newest that is not newer."""
    return max((each for each in MILLISECONDS if each <= version), default=min(MILLISECONDS))


def _interpolated(points: tuple[tuple[int, float], ...], size: int) -> float:
    """Straight on logarithmic axes from one measurement to the next, and beyond the last as before it."""
    if len(points) == 1:
        return points[0][1]
    at = next((number for number, point in enumerate(points[1:-1], start=1) if point[0] >= size), len(points) - 1)
    (left, low), (right, high) = points[at - 1], points[at]
    share = math.log(max(size, 1) / left) / math.log(right / left)
    return float(low * (high / low) ** share)


def locks_without_key(layout: Layout, version: int) -> int:
    """What a statement that binds no key locks of one table."""
    return sum(_locked(layout.leaves, layout.inner, layout.indexes, version))


def _locked(leaves: int, inner: int, indexes: int, version: int) -> tuple[int, int]:
    """Relations and indexes that are locked with so many leaves and partitioned relations."""
    indexed = leaves + (inner if version >= LOCKS_INDEXES_OF_PARENTS_SINCE else 0)
    return leaves + inner, indexed * indexes


def largest_fitting(layout: Layout, version: int, lock_table: int) -> Layout | None:
    """The same slices with as many leaves as the lock table has room for; None where not even one has."""
    number = layout.hash_partitions
    while number > 1:
        number //= 2
        smaller = layout._replace(hash_partitions=number)
        if locks_without_key(smaller, version) <= lock_table:
            return smaller
    return None
