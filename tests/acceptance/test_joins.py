"""Joins on the partition keys go leaf by leaf."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.acceptance import plans
from tests.acceptance.conftest import Hierarchy

Connection = psycopg.Connection[Any]
TABLES = ("Dialog", "DialogActivity", "Actor")


def _join(hierarchy: Hierarchy, condition: str = "true", kind: str = "JOIN") -> str:
    return (
        f'SELECT count(*) FROM "Dialog" d {kind} "DialogActivity" a ON a."DialogId" = d."Id"'
        f' AND {hierarchy.on_keys("a", "d")} {kind} "Actor" r ON r."ActivityId" = a."Id"'
        f" AND {hierarchy.on_keys('r', 'a')} WHERE {condition}"
    )


def _month(hierarchy: Hierarchy, *aliases: str) -> str:
    if hierarchy.key_form == "slice":
        return " AND ".join(f"{alias}.\"{hierarchy.column}\" = '2025-03-01'" for alias in aliases)
    return " AND ".join(
        f"{alias}.\"{hierarchy.column}\" >= '2025-03-01+00' AND {alias}.\"{hierarchy.column}\" < '2025-04-01+00'"
        for alias in aliases
    )


def _leaf_of(relation: str) -> str:
    return next(relation.removeprefix(table + "_") for table in TABLES if relation.startswith(table + "_"))


def test_a_join_on_the_keys_joins_each_leaf_with_its_siblings(prepared: Hierarchy, session: Connection) -> None:
    plan = plans.explain(session, _join(prepared))
    assert plans.appends_below_joins(plan) == []
    joins = plans.joined_leaves(plan)
    row = session.execute("SELECT count(*) FROM dp.leaf WHERE tbl = '\"Dialog\"'::regclass").fetchone()
    assert row is not None
    assert len(joins) == row[0] == 2 * 2 + 5 * 2 + 4 + 3 * 2
    for relations in joins:
        assert len(relations) == len(TABLES)
        assert len({_leaf_of(relation) for relation in relations}) == 1


def test_left_joins_go_leaf_by_leaf_too(prepared: Hierarchy, session: Connection) -> None:
    plan = plans.explain(session, _join(prepared, kind="LEFT JOIN"))
    assert plans.appends_below_joins(plan) == []
    assert len(plans.joined_leaves(plan)) == 24


def test_one_party_and_one_month_read_one_leaf_of_each_table(prepared: Hierarchy, session: Connection) -> None:
    party = session.execute('SELECT "Party" FROM "Dialog" ORDER BY 1 LIMIT 1').fetchone()
    assert party is not None
    condition = f"d.\"Party\" = '{party[0]}' AND {_month(prepared, 'd', 'a', 'r')}"
    relations = plans.relations(plans.explain(session, _join(prepared, condition)))
    assert len(relations) == len(TABLES)
    assert {relation.rsplit("_h", 1)[0] for relation in relations} == {f"{table}_2025_03" for table in TABLES}
    assert len({_leaf_of(relation) for relation in relations}) == 1


def test_the_join_finds_what_the_unpartitioned_tables_have(
    session: Connection, prepared: Hierarchy, plain_session: Connection
) -> None:
    plain = plain_session.execute(
        'SELECT count(*) FROM "Dialog" d JOIN "DialogActivity" a ON a."DialogId" = d."Id"'
        ' JOIN "Actor" r ON r."ActivityId" = a."Id"'
    ).fetchone()
    assert session.execute(_join(prepared)).fetchone() == plain == (1200,)
