"""Planning queries without running them, and finding out which managed tables a plan reads."""

from __future__ import annotations

import json

from .. import database, errors
from ..plan import query_text
from ..plan.query_plan import Leaf
from ..sql import SQL, Identifier, compose
from . import server as catalog_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..plan.query_text import Token

GENERIC_PLAN_SINCE = 160000  # EXPLAIN plans parameters itself
_STATEMENT = "dialog_partition_parameters"
_SEVERAL_STATEMENTS = "42P11"  # a cursor, which takes one statement and no other, was opened for them

# A leaf is a partition of a slice, or of the table where there is no hash level.
_LEAVES = """
    SELECT r.schema, r.name, c.oid, t.tbl::oid AS tbl, t.root::oid AS root,
           CASE WHEN t.tbl = first.inhparent THEN c.oid ELSE first.inhparent END AS slice
    FROM unnest($1::text[], $2::text[]) AS r (schema, name)
    JOIN pg_namespace n ON n.nspname = r.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = r.name AND c.relkind <> 'p'
    JOIN pg_inherits first ON first.inhrelid = c.oid
    LEFT JOIN pg_inherits second ON second.inhrelid = first.inhparent
    JOIN dp.table_config t ON t.tbl = coalesce(second.inhparent, first.inhparent) AND t.role <> 'reference'
"""

_SIDES = """
    SELECT DISTINCT g.side::oid AS side FROM unnest($1::text[], $2::text[]) AS r (schema, name)
    JOIN pg_namespace n ON n.nspname = r.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = r.name
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    JOIN dp.global_index_config g ON g.side IN (c.oid, i.inhparent)
"""

_NAMED = """
    SELECT t.tbl::oid AS tbl, t.root::oid AS root FROM dp.table_config t JOIN pg_class c ON c.oid = t.tbl
    WHERE t.role <> 'reference' AND c.relname = ANY ($1)
"""

_IDENTITIES = """
    SELECT i.indrelid AS tbl, array_agg(a.attname::text ORDER BY k.place) AS columns
    FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisprimary AND i.indrelid = ANY ($1) AND k.place <= i.indnkeyatts GROUP BY i.indrelid
"""


def plan(query: list[Token], search_path: str) -> dict[str, Any]:
    """The plan of one statement by the caller's rights and settings; it is not run.

    A cursor is what makes the server itself refuse more than one statement, before any of them is begun with.
    """
    try:
        return database.rolled_back(lambda: _planned(query, search_path))[0]
    except database.ServerError as error:
        _refuse(error)
        raise


def _planned(query: list[Token], search_path: str) -> list[dict[str, Any]]:
    options, text = "VERBOSE, FORMAT JSON", query_text.text(query)
    count = query_text.highest_parameter(query)
    if count and catalog_server.server().version >= GENERIC_PLAN_SINCE:
        options += ", GENERIC_PLAN"
    elif count:
        types = _parameter_types(query, count, search_path)
        text = query_text.text(query, lambda number: query_text.unknown_value(types[number - 1]))
    database.set_local("search_path", search_path)
    rows = database.query_alone(compose("EXPLAIN ({}) {}", SQL(options), SQL(text)).text)
    return [each["Plan"] for each in json.loads(next(iter(rows[0].values())))]


def _parameter_types(query: list[Token], count: int, search_path: str) -> list[str]:
    """What the server takes each parameter for; nothing can be written by what is analysed for it."""

    def prepared() -> list[str]:
        database.set_local("search_path", search_path)
        # PREPARE might be followed by other statements: first make sure that there is one
        unknown = query_text.text(query, lambda _: "NULL")
        database.query_alone(compose("EXPLAIN {}", SQL(unknown)).text)
        database.set_local("transaction_read_only", "on")
        database.run(compose("PREPARE {} AS {}", Identifier(_STATEMENT), SQL(query_text.text(query))).text)
        return _prepared_types()

    _deallocate()
    try:
        types = database.rolled_back(prepared)
    finally:
        _deallocate()
    return types + ["text"] * (count - len(types))


def _deallocate() -> None:
    """Prepared statements outlive the transaction."""
    query = "SELECT FROM pg_catalog.pg_prepared_statements WHERE name = $1"
    if database.query(query, ("text",), (_STATEMENT,)):
        database.run(compose("DEALLOCATE {}", Identifier(_STATEMENT)).text)


def _prepared_types() -> list[str]:
    rows = database.query(
        "SELECT u.type::text AS type FROM pg_catalog.pg_prepared_statements s,"
        " unnest(s.parameter_types) WITH ORDINALITY AS u (type, place) WHERE s.name = $1 ORDER BY u.place",
        ("text",),
        (_STATEMENT,),
    )
    return [row["type"] for row in rows]


def _refuse(error: Exception) -> None:
    """Say in our words what the server says in its own."""
    if database.sqlstate(error) == _SEVERAL_STATEMENTS:
        raise errors.InvalidParameter(
            "the query is not one statement", f"The server says: {error}.", "Give one statement a call."
        ) from None
    if database.is_out_of_locks(error):
        raise errors.OutOfLocks(
            "the lock table is full: planning the query needs more of it than is free",
            "A query that binds no key locks every leaf and each of its indexes while it is planned.",
            "Raise max_locks_per_transaction, or bind the partition keys.",
        ) from None


def leaves(relations: set[tuple[str, str]]) -> tuple[dict[tuple[str, str], Leaf], set[int]]:
    """Which of some relations, by schema and name, are leaves of managed tables; and the roots of those."""
    ordered = sorted(relations)
    rows = database.query(_LEAVES, ("text[]", "text[]"), ([each[0] for each in ordered], [each[1] for each in ordered]))
    found = {(row["schema"], row["name"]): Leaf(row["tbl"], row["slice"], row["oid"]) for row in rows}
    return found, {row["root"] for row in rows}


def sides(relations: set[tuple[str, str]]) -> frozenset[int]:
    """The side tables of global indexes that are, or have a leaf, among some relations."""
    ordered = sorted(relations)
    rows = database.query(_SIDES, ("text[]", "text[]"), ([each[0] for each in ordered], [each[1] for each in ordered]))
    return frozenset(row["side"] for row in rows)


def named(names: set[str]) -> dict[int, int]:
    """The managed tables of some names, each with its root."""
    return {row["tbl"]: row["root"] for row in database.query(_NAMED, ("name[]",), (sorted(names),))}


def identities(tables: list[int]) -> dict[int, tuple[str, ...]]:
    """The columns of the tables' primary keys."""
    return {row["tbl"]: tuple(row["columns"]) for row in database.query(_IDENTITIES, ("oid[]",), (tables,))}
