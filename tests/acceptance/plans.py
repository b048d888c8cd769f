"""What EXPLAIN (FORMAT JSON) says, in the words that the tests ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

JOINS = ("Nested Loop", "Hash Join", "Merge Join")
APPENDS = ("Append", "Merge Append")

Node = dict[str, Any]


def explain(connection: psycopg.Connection[Any], query: str, *values: object, analyze: bool = False) -> Node:
    """The topmost node of a query's plan."""
    options = "ANALYZE, TIMING OFF, FORMAT JSON" if analyze else "FORMAT JSON"
    row = connection.execute(f"EXPLAIN ({options}) {query}", values or None).fetchone()
    assert row is not None
    plan: Node = row[0][0]["Plan"]
    return plan


def nodes(plan: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def relations(plan: Node) -> set[str]:
    """The relations that a plan reads."""
    return {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}


def executed_relations(plan: Node) -> set[str]:
    """Those that EXPLAIN ANALYZE really read."""
    return {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node and node["Actual Loops"] > 0}


def appends_below_joins(plan: Node) -> list[str]:
    """Joins that read an Append: there partitions were not joined one by one."""
    return [
        node["Node Type"]
        for node in nodes(plan)
        if node["Node Type"] in JOINS and any(below["Node Type"] in APPENDS for below in nodes(node))
    ]


def joined_leaves(plan: Node) -> list[set[str]]:
    """For each topmost join the relations that it reads."""
    if plan["Node Type"] in JOINS:
        return [relations(plan)]
    return [found for child in plan.get("Plans", []) for found in joined_leaves(child)]
