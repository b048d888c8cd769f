"""Joined lookups: functions that answer a query of several tables for some Ids, with plans that are kept.

A lookup for each table begins a statement for each pair of keys and table. Here one statement reads all tables, each
planned for the leaves of one slice; the query is the caller's own.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from .. import keys as key_types
from ..model import GlobalIndex, Hierarchy, Table
from ..sql import SQL, Identifier, Literal, comma_list, compose, conjunction, search_path
from .function_settings import Setting, clauses, kept
from .lookup import BY_INDEX, precedes
from .lookup import OWN_SETTINGS as OF_LOOKUPS

MARK = "-- dialog_partition joined lookup: "  # the first line of a body goes on with what it was asked to be
IDS = "ids"  # the first parameter of each
_ASKED = ("table", "column", "query", "search_path")
_HAS_KEYS = re.compile(r'\bdp\s*\.\s*has_keys\s*\(\s*("(?:[^"]|"")+"|[^\W\d][\w$]*)\s*\)', re.IGNORECASE)
_RANGE, _HASH = "dp_each.key_1", "dp_each.key_2"

# The plans are kept, and were made when the tables were smaller and for no Ids in particular: nothing but the order in
# which the query names the tables, each read by an index for each row of those before it, is right for good.
AS_WRITTEN_SETTINGS = {
    "join_collapse_limit": "1",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "enable_memoize": "off",
}
AS_WRITTEN = clauses(AS_WRITTEN_SETTINGS)
OWN_SETTINGS = (*OF_LOOKUPS, *AS_WRITTEN_SETTINGS)


class JoinedLookup(NamedTuple):
    """A joined lookup as it was asked for."""

    table: Table
    name: str
    side: GlobalIndex  # of one column, whose values it is asked for
    arguments: str  # all of them; of one that is there as the catalog has them, whatever the search_path is
    result: str  # TABLE (...)
    query: str
    search_path: tuple[str, ...]  # what names in the query are looked up by

    @property
    def identifier(self) -> Identifier:
        """The function's name."""
        return Identifier(self.table.schema, self.name)

    @property
    def asked(self) -> str:
        """What it was asked to be, as its body keeps it."""
        values = (self.table.identifier.text, self.side.columns[0], self.query, self.search_path)
        return json.dumps(dict(zip(_ASKED, values)))


class Present(NamedTuple):
    """A joined lookup that is there."""

    lookup: JoinedLookup
    body: str
    settings: tuple[Setting, ...] = ()  # that somebody gave it beside its own


def read(hierarchy: Hierarchy, name: Identifier, arguments: str, result: str, body: str) -> JoinedLookup | None:
    """A joined lookup from the function that is there.

    None: it is of another hierarchy, lacks its global index, or somebody wrote it by hand.
    """
    try:
        asked = json.loads(body.split("\n", 1)[0][len(MARK) :])
    except ValueError:
        return None
    if not isinstance(asked, dict) or set(asked) != set(_ASKED):
        return None
    for table in hierarchy.tables:
        if table.identifier.text == asked["table"]:
            side = side_of(table, asked["column"])
            if side is not None:
                path = tuple(asked["search_path"])
                return JoinedLookup(table, name.name, side, arguments, result, asked["query"], path)
    return None


def mark_of(table: Table) -> str:
    """What the body of any joined lookup of a table begins with."""
    return f"{MARK}{json.dumps({_ASKED[0]: table.identifier.text})[:-1]},"


def sides(table: Table) -> list[GlobalIndex]:
    """The global indexes that know of any row by one column."""
    found = [each for each in table.global_indexes if len(each.columns) == 1 and each.is_unique and each.is_valid]
    whole = [each for each in found if each.predicate is None]
    return [each for each in whole if not any(precedes(other, each) for other in whole if other.name != each.name)]


def side_of(table: Table, column: str) -> GlobalIndex | None:
    """That of a column."""
    return next((each for each in sides(table) if each.columns == (column,)), None)


def binds_a_table(query: str) -> bool:
    """Whether the query says where the keys belong."""
    return _HAS_KEYS.search(query) is not None


_BODY = """{mark}
#variable_conflict error
DECLARE
    dp_each record;
BEGIN
    FOR dp_each IN
        SELECT dp_s.slice, CASE WHEN dp_s.slice NOT BETWEEN 1 AND {count} THEN dp_g.{range_key} END AS key_1,
            {hash_key} AS key_2, array_agg(dp_g.{column}) AS ids
        FROM {side} AS dp_g CROSS JOIN LATERAL (SELECT width_bucket(dp_g.{range_key}, {bounds}) AS slice) AS dp_s
        WHERE dp_g.{column} OPERATOR({schema}.=) ANY (ids) GROUP BY 1, 2, 3
    LOOP
        ids := dp_each.ids;
{branches}    END LOOP;
END
"""
_OUTSIDE = """        IF dp_each.slice NOT BETWEEN 1 AND {count} THEN
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
            RETURN QUERY {query};
            PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
"""
_SLICE = """        ELSIF dp_each.slice = {number} THEN
            RETURN QUERY {query};
"""


def body(lookup: JoinedLookup, keys: tuple[str, ...], points: tuple[int, ...]) -> SQL:
    """What the function does, with a statement of its own for each slice between two of the points."""
    count = Literal(max(len(points) - 1, 0))
    branches = [compose(_OUTSIDE, count=count, query=_bound(lookup, keys, None))]
    for number in range(len(points) - 1, 0, -1):
        query = _bound(lookup, keys, (points[number - 1], points[number]))
        branches.append(compose(_SLICE, number=Literal(number), query=query))
    type_name = str(lookup.table.partition_type)
    bounds = comma_list([key_types.typed_literal(each, type_name) for each in points])
    return compose(
        _BODY,
        mark=SQL(MARK + lookup.asked),
        count=count,
        range_key=Identifier(keys[0]),
        hash_key=compose("dp_g.{}", Identifier(keys[1])) if len(keys) > 1 else SQL("NULL"),
        column=Identifier(lookup.side.columns[0]),
        schema=Identifier(lookup.side.operator_schemas[0]),
        side=lookup.side.identifier,
        bounds=compose("ARRAY[{}]::{}[]", bounds, SQL(type_name)),
        branches=SQL("".join(each.text for each in branches) + "        END IF;\n"),
    )


def _bound(lookup: JoinedLookup, keys: tuple[str, ...], bounds: tuple[int, int] | None) -> SQL:
    """The query, for one pair of keys; with the bounds of a slice, constants that leave its leaves alone in a plan."""
    schemas = dict(zip(lookup.side.stored, lookup.side.operator_schemas))

    def has_keys(found: re.Match[str]) -> str:
        columns = [compose("{}.{}", SQL(found[1]), Identifier(each)) for each in keys]
        conditions = [
            compose("{} OPERATOR({}.=) {}", column, Identifier(schemas[key]), SQL(f"dp_each.key_{number}"))
            for number, (key, column) in enumerate(zip(keys, columns), start=1)
        ]
        if bounds is not None:
            limits = [key_types.typed_literal(each, str(lookup.table.partition_type)) for each in bounds]
            lower, upper = (
                compose("{} OPERATOR(pg_catalog.{}) {}", columns[0], SQL(sign), limit)
                for sign, limit in zip((">=", "<"), limits)
            )
            conditions[:1] = [lower, upper]
        return f"({conjunction(conditions)})"

    return SQL(_HAS_KEYS.sub(has_keys, lookup.query))


def create(lookup: JoinedLookup, keys: tuple[str, ...], points: tuple[int, ...]) -> SQL:
    """The function: PL/pgSQL, run with the caller's rights."""
    return _create(lookup, lookup.identifier, "force_generic_plan", body(lookup, keys, points))


def _create(lookup: JoinedLookup, identifier: Identifier, plan_cache_mode: str, text: SQL) -> SQL:
    return compose(
        "CREATE OR REPLACE FUNCTION {}({}) RETURNS {} LANGUAGE plpgsql STABLE ROWS 100"
        " SET plan_cache_mode = {} {} {} SET standard_conforming_strings = on SET search_path = {} AS {}",
        identifier,
        SQL(lookup.arguments),
        SQL(lookup.result),
        SQL(plan_cache_mode),
        BY_INDEX,
        AS_WRITTEN,
        search_path(lookup.search_path),
        Literal(text.text),
    )


_PROBE = """
#variable_conflict error
DECLARE
    dp_each record;
BEGIN
    SELECT {known} INTO dp_each FROM {side} AS dp_g LIMIT 0;
    RETURN QUERY {query};
END
"""


def probe(
    lookup: JoinedLookup, name: str, keys: tuple[str, ...], bounds: tuple[int, int] | None
) -> tuple[Identifier, SQL]:
    """A function that is made and called once, to see whether the query can be understood, and what it locks."""
    identifier = Identifier(lookup.table.schema, name)
    known = [
        compose("dp_g.{} AS {}", Identifier(key), SQL(f"key_{number}")) for number, key in enumerate(keys, start=1)
    ]
    text = compose(_PROBE, known=comma_list(known), side=lookup.side.identifier, query=_bound(lookup, keys, bounds))
    return identifier, _create(lookup, identifier, "force_generic_plan" if bounds else "force_custom_plan", text)


def refresh(present: Present, keys: tuple[str, ...], points: tuple[int, ...]) -> list[SQL]:
    """What gives the newest slices their statements, and the keys their names."""
    lookup = present.lookup
    is_same = present.body == body(lookup, keys, points).text
    return [] if is_same else [create(lookup, keys, points), *kept(lookup.identifier, present.settings)]


def replace(lookup: JoinedLookup, present: Present | None, keys: tuple[str, ...], points: tuple[int, ...]) -> list[SQL]:
    """What makes the function that was asked for of the one that is there, whose columns cannot be altered."""
    if present is None:
        return [create(lookup, keys, points)]
    there = present.lookup
    if (there.arguments, there.result) != (lookup.arguments, lookup.result):
        return [compose("DROP FUNCTION {}", lookup.identifier), create(lookup, keys, points)]
    return refresh(present._replace(lookup=lookup), keys, points)
