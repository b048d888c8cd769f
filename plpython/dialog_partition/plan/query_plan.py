"""What a plan, as EXPLAIN (VERBOSE, FORMAT JSON) gives it, does with managed tables: scans of leaves, joins, orders."""

from __future__ import annotations

from typing import NamedTuple

from ..sql import Identifier
from . import query_conditions as conditions
from .query_conditions import Column, Fact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Node = dict[str, Any]

_SCAN_CONDITIONS = ("Index Cond", "Recheck Cond", "Filter", "TID Cond")
_JOIN_CONDITIONS = ("Hash Cond", "Merge Cond", "Join Filter")
_JOINS = ("Nested Loop", "Hash Join", "Merge Join")
_OUTSIDE = ("InitPlan", "SubPlan")  # a child of these relationships is no part of the rows that a node joins
# What makes one side of a join a whole that cannot be joined leaf by leaf.
_BARRIERS = {"Limit": "LIMIT", "Aggregate": "an aggregate", "WindowAgg": "a window function", "Unique": "DISTINCT"}
_DIRECTIONS = (" NULLS FIRST", " NULLS LAST", " DESC")


class Leaf(NamedTuple):
    """A leaf that a plan names; its slice is the leaf itself where there is no hash level."""

    table: int
    slice: int
    oid: int


class Scan(NamedTuple):
    """A scan of one leaf."""

    leaf: Leaf
    alias: str  # as the query calls the table
    facts: frozenset[Fact]
    barrier: str | None = None  # what stands between the scan and the join that is looked at


class Join(NamedTuple):
    """A join of two sides, and what its own conditions say."""

    kind: str
    left: tuple[Scan, ...]
    right: tuple[Scan, ...]
    facts: frozenset[Fact]


class Order(NamedTuple):
    """Rows that are sorted, or merged in order, for a LIMIT."""

    columns: tuple[Column | None, ...]
    scans: tuple[Scan, ...]


class QueryPlan(NamedTuple):
    """All of it."""

    scans: tuple[Scan, ...]
    joins: tuple[Join, ...]
    orders: tuple[Order, ...]
    removed: int  # subplans that were removed when the plan was begun with
    is_refuted: bool  # some part was found to give no row at all


def read(root: Node, leaves: dict[tuple[str, str], Leaf], names: set[str], tables: dict[int, str]) -> QueryPlan:
    """Read a plan; the leaves by schema and name, all names that stand in the query, and those of managed tables."""
    reader = _Reader(leaves, names, tables)
    reader.name(root)
    reader.read(root, is_limited=False)
    return QueryPlan(tuple(reader.scans), tuple(reader.joins), tuple(reader.orders), reader.removed, reader.is_refuted)


def relations(root: Node) -> set[tuple[str, str]]:
    """Schema and name of every relation that a plan reads."""
    return {(node["Schema"], node["Relation Name"]) for node in _nodes(root) if "Relation Name" in node}


def _nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.get("Plans", ())


class _Reader:
    """Walks a plan once, from the top down, and gathers on the way back."""

    def __init__(self, leaves: dict[tuple[str, str], Leaf], names: set[str], tables: dict[int, str]) -> None:
        self.leaves = leaves
        self.names = names
        self.tables = tables
        self.aliases: dict[str, str] = {}  # what the plan calls leaves and their tables, and what the query does
        self.called: set[str] = set()  # the names of tables in views, which stand for their aliases
        self.known: dict[str, frozenset[Fact]] = {}
        self.scans: list[Scan] = []
        self.joins: list[Join] = []
        self.orders: list[Order] = []
        self.removed = 0
        self.is_refuted = False

    def name(self, root: Node) -> None:
        """Find out what the plan's aliases are in the query.

        The alias of a table in a view says nothing to the reader, and two views may have the same: such a table is
        called by its name. The plan numbers its aliases, first tables in the order of the query, then their leaves.
        """
        hidden: dict[str, dict[int, list[int]]] = {}
        for node in _nodes(root):
            leaf = self._leaf(node)
            if leaf is None:
                continue
            alias = node["Alias"]
            base = self._base(alias)
            if base not in self.names:
                self.aliases[alias] = self.tables[leaf.table]
                number = alias.rpartition("_")[2] if alias != base else "0"
                hidden.setdefault(base, {}).setdefault(leaf.table, []).append(int(number))
        for base, numbers in hidden.items():
            several = sorted((min(found), table) for table, found in numbers.items() if len(found) > 1)
            for place, (_, table) in enumerate(several):
                self.aliases.setdefault(f"{base}_{place}" if place else base, self.tables[table])
        self.called = set(self.aliases.values())

    def read(self, node: Node, *, is_limited: bool) -> list[Scan]:
        """The scans whose rows a node gives."""
        kind = node["Node Type"]
        is_limited = kind == "Limit" or (is_limited and kind not in _BARRIERS)
        self.removed += node.get("Subplans Removed", 0)
        self.is_refuted = self.is_refuted or node.get("One-Time Filter") == "false"
        sides = []
        for child in node.get("Plans", ()):
            found = self.read(child, is_limited=is_limited)
            if child.get("Parent Relationship") not in _OUTSIDE:
                sides.append(found)
        own = self._scan(node)
        scans = [*own, *(scan for side in sides for scan in side)]
        self.scans += own
        if kind in _JOINS and len(sides) == 2:
            facts = self._facts(node, _JOIN_CONDITIONS)
            self.joins.append(Join(kind, tuple(sides[0]), tuple(sides[1]), facts))
        if is_limited and "Sort Key" in node:
            self.orders.append(Order(tuple(map(self._ordered, node["Sort Key"])), tuple(scans)))
        if kind in _BARRIERS:
            scans = [scan._replace(barrier=_BARRIERS[kind]) for scan in scans]
        return scans

    def _leaf(self, node: Node) -> Leaf | None:
        """The leaf that a node scans."""
        if node["Node Type"] == "ModifyTable":
            return None
        return self.leaves.get((node.get("Schema", ""), node.get("Relation Name", "")))

    def _scan(self, node: Node) -> list[Scan]:
        leaf = self._leaf(node)
        if leaf is None:
            return []
        alias = self._base(node["Alias"])
        return [Scan(leaf, alias, self._facts(node, _SCAN_CONDITIONS))]

    def _facts(self, node: Node, names: tuple[str, ...]) -> frozenset[Fact]:
        found: set[Fact] = set()
        for name in names:
            if name in node:
                found |= self._said(node[name], node.get("Alias"))
        return frozenset(found)

    def _said(self, condition: str, alias: str | None) -> frozenset[Fact]:
        """What a condition says; most leaves of a table repeat it, each with an alias of its own."""
        if alias is not None:
            base = Identifier(self._base(alias)).text
            for written in (alias, Identifier(alias).text):
                for before in "( ":
                    condition = condition.replace(f"{before}{written}.", f"{before}{base}.")
        if condition not in self.known:
            self.known[condition] = frozenset(map(self._renamed, conditions.facts(condition)))
        return self.known[condition]

    def _renamed(self, fact: Fact) -> Fact:
        other = fact.other
        return fact._replace(
            column=fact.column._replace(alias=self._base(fact.column.alias)),
            other=None if other is None else other._replace(alias=self._base(other.alias)),
        )

    def _ordered(self, key: str) -> Column | None:
        for direction in _DIRECTIONS:
            key = key[: -len(direction)] if key.endswith(direction) else key
        column = conditions.plain_column(key)
        return None if column is None else column._replace(alias=self._base(column.alias))

    def _base(self, alias: str) -> str:
        """What the query calls a table whose leaves the plan numbers: e_12 is e, unless the query itself says e_12."""
        if alias in self.aliases or alias in self.names or alias in self.called:
            return self.aliases.get(alias, alias)
        base, _, number = alias.rpartition("_")
        return base if base and number.isdigit() else alias
