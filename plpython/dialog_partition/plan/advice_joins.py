"""What to say about joins: whether leaf is joined with leaf, and if not, what stands in the way."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Hierarchy
from ..sql import Identifier
from .advice import Advice
from .query_conditions import EQUAL, JOIN, Column, Fact
from .query_plan import Join, QueryPlan, Scan
from .reading import Reading, readings

BY_LEAF, BY_SLICE, BY_ROW, NOT_PARTITIONWISE = (
    "partition-wise join",
    "join slice by slice",
    "join pruned for each row",
    "join not partition-wise",
)
Mention = tuple[int, str]  # a table, and what the query calls it there: an alias may stand for two
_WORST_FIRST = (NOT_PARTITIONWISE, BY_ROW, BY_SLICE, BY_LEAF)


class Setting(NamedTuple):
    """What a plan does not show."""

    is_partitionwise: bool  # enable_partitionwise_join
    is_collating: bool  # the word COLLATE stands in the query


class Pair(NamedTuple):
    """Two mentions of managed tables that a join brings together."""

    left: tuple[Scan, ...]
    right: tuple[Scan, ...]
    kind: str  # of the node

    @property
    def sides(self) -> tuple[Mention, Mention]:
        """What is joined."""
        return (_mention(self.left[0]), _mention(self.right[0]))


def of_joins(plan: QueryPlan, hierarchies: dict[int, Hierarchy], query: Setting) -> list[Advice]:
    """A row for each two tables of a hierarchy that are joined, about the worst that the plan does with them."""
    verdicts: dict[frozenset[Mention], tuple[str, Pair]] = {}
    for join in plan.joins:
        for pair in _pairs(join, hierarchies):
            verdict = _verdict(pair, hierarchies[pair.left[0].leaf.table])
            known = verdicts.get(frozenset(pair.sides))  # which is left and which is right may differ by leaf
            if known is None or _WORST_FIRST.index(verdict) < _WORST_FIRST.index(known[0]):
                verdicts[frozenset(pair.sides)] = (verdict, pair)
    equal = _Equal(plan)
    by_mention = {(each.table.oid, each.alias): each for each in readings(plan, hierarchies)}
    found = []
    for verdict, pair in verdicts.values():
        left, right = (by_mention[side] for side in pair.sides)
        tables = left.hierarchy.tables
        if verdict != BY_ROW and tables.index(left.table) > tables.index(right.table):
            left, right = right, left  # told about the child, whichever the plan begins with
        found.append(_advice(verdict, left, right, pair, equal, query))
    return found


def _pairs(join: Join, hierarchies: dict[int, Hierarchy]) -> list[Pair]:
    """The tables of one hierarchy that stand on both sides of a join and are compared there."""
    left, right = _by_mention(join.left), _by_mention(join.right)
    found = []
    for one, ours in left.items():
        for two, theirs in right.items():
            is_one_hierarchy = hierarchies[ours[0].leaf.table] is hierarchies[theirs[0].leaf.table]
            said = join.facts.union(*(scan.facts for scan in (ours[0], theirs[0])))
            is_compared = any(
                fact.other is not None and {fact.column.alias, fact.other.alias} == {one[1], two[1]} for fact in said
            )
            if is_one_hierarchy and is_compared:
                found.append(Pair(tuple(ours), tuple(theirs), join.kind))
    return found


def _mention(scan: Scan) -> Mention:
    return scan.leaf.table, scan.alias


def _by_mention(scans: tuple[Scan, ...]) -> dict[Mention, list[Scan]]:
    found: dict[Mention, list[Scan]] = {}
    for scan in scans:
        found.setdefault(_mention(scan), []).append(scan)
    return found


def _verdict(pair: Pair, hierarchy: Hierarchy) -> str:
    """How a join goes about the leaves of two tables."""
    left, right = ({scan.leaf.oid for scan in side} for side in (pair.left, pair.right))
    if len(left) == len(right) == 1:
        return BY_LEAF
    slices = ({scan.leaf.slice for scan in side} for side in (pair.left, pair.right))
    if all(len(each) == 1 for each in slices):
        return BY_SLICE
    by_row = {fact.column.name for fact in pair.right[0].facts if fact.kind == EQUAL}
    if pair.kind == "Nested Loop" and by_row.issuperset(hierarchy.policy.partition_keys):
        return BY_ROW
    return NOT_PARTITIONWISE


class _Equal:
    """Which columns a query makes equal, be it by way of a third."""

    def __init__(self, plan: QueryPlan) -> None:
        self.parents: dict[Column, Column] = {}
        known = {id(facts): facts for facts in (*(each.facts for each in plan.scans), *(j.facts for j in plan.joins))}
        for fact in (fact for facts in known.values() for fact in facts):
            self._add(fact)

    def _add(self, fact: Fact) -> None:
        if fact.kind == EQUAL and fact.source == JOIN and fact.other is not None:
            self.parents[self.find(fact.column)] = self.find(fact.other)

    def find(self, column: Column) -> Column:
        """One column that stands for all that are equal to it."""
        while column in self.parents and self.parents[column] != column:
            column = self.parents[column]
        return column


def _advice(verdict: str, left: Reading, right: Reading, pair: Pair, equal: _Equal, query: Setting) -> Advice:
    said = f"{left.shown} and {right.shown}"
    detail = {
        BY_LEAF: f"{said} are joined leaf by leaf.",
        BY_SLICE: f"{said} are joined slice by slice, all leaves of one with all leaves of the other.",
        BY_ROW: f"For each row of {left.shown} only the leaf of {right.shown} is read that its keys name.",
        NOT_PARTITIONWISE: f"{said} are joined as wholes.",
    }[verdict]
    advice = None
    if verdict in (BY_SLICE, NOT_PARTITIONWISE):
        reasons, additions = _obstacles(left, right, pair, equal, query, verdict)
        detail = " ".join([detail, *reasons])
        advice = " ".join(additions) or None
    return Advice(
        right.table.identifier.text,
        right.alias,
        verdict,
        detail,
        advice,
        right.expected_leaves,
        right.all_leaves,
    )


def _obstacles(
    left: Reading, right: Reading, pair: Pair, equal: _Equal, query: Setting, verdict: str
) -> tuple[list[str], list[str]]:
    """Why leaf is not joined with leaf, in sentences, and what to add."""
    reasons, additions = [], []
    for key in left.hierarchy.policy.partition_keys:
        one, two = Column(left.alias, key), Column(right.alias, key)
        is_fixed = left.binding(key).is_value and right.binding(key).is_value
        if equal.find(one) != equal.find(two) and not is_fixed:
            reasons.append(f"{Identifier(key)} of one is not compared with that of the other.")
            additions.append(f"AND {right.column(key)} = {left.column(key)}")
    if query.is_collating:  # a plan does not show it
        reasons.append(
            "The query says COLLATE: keys that are compared with another collation than theirs do not count."
        )
        additions.append("Leave the COLLATE away.")
    if not query.is_partitionwise:
        reasons.append("enable_partitionwise_join is off.")
        additions.append("SET enable_partitionwise_join = on;")
    barrier = next((each[0].barrier for each in (pair.left, pair.right) if each[0].barrier is not None), None)
    if barrier is not None:
        reasons.append(f"One side is a subquery with {barrier}, which is finished before it is joined.")
    if _bounds(left) != _bounds(right):
        reasons.append("Their slices differ.")
        additions.append("See dp.check, which says what mends it.")
    if not reasons:
        reasons.append(
            "Nothing stands in the way: the planner takes it for cheaper, or the join is LATERAL or of few leaves."
            if verdict == NOT_PARTITIONWISE
            else "The planner takes it for cheaper."
        )
    return reasons, additions


def _bounds(reading: Reading) -> list[object]:
    return [(each.span, each.modulus) for each in reading.hierarchy.slices[reading.table.oid]]
