"""How a query reads one managed table: which leaves, and what its conditions bind of the keys."""

from __future__ import annotations

from typing import NamedTuple

from ..model import ROOT, SLICE, Hierarchy, Table
from ..sql import Identifier
from .query_conditions import ARRAY, CONSTANT, EQUAL, EXPRESSION, JOIN, LOWER, OTHER, UPPER, Column, Fact
from .query_plan import QueryPlan, Scan

RANGE, MISSING = "range", "missing"  # beside the kinds of facts
_STRONGEST = (EQUAL, ARRAY, RANGE, LOWER, UPPER, OTHER, EXPRESSION)


class Binding(NamedTuple):
    """What conditions say about one key."""

    kind: str  # of a fact, or RANGE, MISSING
    source: str | None = None

    @property
    def is_value(self) -> bool:
        """Whether the key has one value, when the query runs at the latest."""
        return self.kind == EQUAL

    @property
    def is_late(self) -> bool:
        """Whether the value is known only when the query runs."""
        return self.kind != MISSING and self.source != CONSTANT


class Reading(NamedTuple):
    """One mention of a managed table in a query, and what the plan reads for it."""

    hierarchy: Hierarchy
    table: Table
    alias: str
    facts: frozenset[Fact]  # what holds for all of its leaves
    leaves: frozenset[int]
    slices: frozenset[int]

    @property
    def all_leaves(self) -> int:
        """How many leaves the table has."""
        return sum(max(len(each.remainders), 1) for each in self.hierarchy.slices[self.table.oid])

    @property
    def all_slices(self) -> int:
        """How many slices the table has."""
        return len(self.hierarchy.slices[self.table.oid])

    @property
    def shown(self) -> Identifier:
        """What the query calls the table."""
        return Identifier(self.alias)

    @property
    def range_column(self) -> str:
        """The first-level partition column."""
        return self.hierarchy.policy.partition_column

    @property
    def has_own_range_key(self) -> bool:
        """Whether a range key stands beside the slice key, as in the root of the slice form."""
        return self.hierarchy.policy.key_form == SLICE and self.table.role == ROOT

    def column(self, name: str) -> str:
        """A column as the query may name it."""
        return Identifier(self.alias, name).text

    def binding(self, name: str) -> Binding:
        """What the conditions say about a column."""
        about = [fact for fact in self.facts if fact.column == Column(self.alias, name)]
        sources = {fact.kind: fact.source for fact in sorted(about, key=lambda fact: fact.source != CONSTANT)}
        if LOWER in sources and UPPER in sources:
            late = [source for source in (sources[LOWER], sources[UPPER]) if source != CONSTANT]
            sources[RANGE] = late[0] if late else CONSTANT
        for kind in _STRONGEST:
            if kind in sources:
                return Binding(kind, sources[kind])
        return Binding(MISSING)

    @property
    def range_binding(self) -> Binding:
        """Of the first-level partition column."""
        return self.binding(self.range_column)

    @property
    def hash_binding(self) -> Binding:
        """Of the hash key; a hierarchy without one needs none."""
        hash_key = self.hierarchy.policy.hash_key
        return Binding(EQUAL, CONSTANT) if hash_key is None else self.binding(hash_key)

    @property
    def expected_slices(self) -> int:
        """How many slices are read, after what is pruned when the query runs."""
        return min(1, len(self.slices)) if self.range_binding.is_value else len(self.slices)

    @property
    def expected_leaves(self) -> int:
        """How many leaves are read, for each row that a join brings where it is one."""
        per_slice = 1.0 if self.hash_binding.is_value else len(self.leaves) / max(len(self.slices), 1)
        return min(len(self.leaves), round(self.expected_slices * per_slice))


def readings(plan: QueryPlan, hierarchies: dict[int, Hierarchy]) -> list[Reading]:
    """What a plan reads, a row a mention of a table: mentions of one name are told apart by their conditions."""
    mentions: dict[object, list[Scan]] = {}
    for scan in plan.scans:
        keys = _keys(hierarchies[scan.leaf.table])
        said = frozenset(
            fact[1:3] + (fact.column.name,) for fact in scan.facts if fact.column.name in keys and fact.source != JOIN
        )
        mentions.setdefault((scan.leaf.table, scan.alias, said), []).append(scan)
    found = []
    for scans in mentions.values():
        hierarchy = hierarchies[scans[0].leaf.table]
        found.append(
            Reading(
                hierarchy,
                hierarchy.table(scans[0].leaf.table),
                scans[0].alias,
                frozenset.intersection(*(scan.facts for scan in scans)),
                frozenset(scan.leaf.oid for scan in scans),
                frozenset(scan.leaf.slice for scan in scans),
            )
        )
    return found


def _keys(hierarchy: Hierarchy) -> tuple[str, ...]:
    return (hierarchy.policy.range_key, *hierarchy.policy.partition_keys)
