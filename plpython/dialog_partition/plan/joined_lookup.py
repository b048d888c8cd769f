"""Joined lookups: functions that answer a query of several tables for some Ids, with plans that are kept.

A lookup for each table begins a statement for each pair of keys and table. Here one statement reads all tables, each
planned for the leaves of one slice; the query is the caller's own.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from .. import fragments, naming
from .. import keys as key_types
from ..model import GlobalIndex, Hierarchy, Table
from ..sql import SQL, Identifier, Literal, comma_list, compose, conjunction
from . import question
from .function_settings import Setting, clauses, kept
from .kept_plans import OWN_SETTINGS as OF_KEPT_PLANS
from .lookup import precedes

MARK = "-- dialog_partition joined lookup: "  # the first line of a body goes on with what it was asked to be
IDS = "ids"  # the first parameter of each
_ASKED = ("table", "column", "query", "search_path")
_NEXT = re.compile(
    r"""['"$]|\bdp\s*\.\s*has_keys\s*\(\s*("(?:[^"]|"")+"|[^\W\d][\w$]*)\s*\)""", re.IGNORECASE
)  # what a query must be read on at: a constant or quoted name, or where the keys of an alias are asked for

# The plans are kept, and were made when the tables were smaller and for no Ids in particular: nothing but the order in
# which the query names the tables, each read by an index for each row of those before it, is right for good. Of tables
# that are joined leaf by leaf no leaf is left out when a statement begins.
AS_WRITTEN_SETTINGS = {
    "enable_partitionwise_join": "off",
    "join_collapse_limit": "1",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "enable_memoize": "off",
}
AS_WRITTEN = clauses(AS_WRITTEN_SETTINGS)
OWN_SETTINGS = (*OF_KEPT_PLANS, *AS_WRITTEN_SETTINGS)


class JoinedLookup(NamedTuple):
    """A joined lookup as it was asked for."""

    identifier: Identifier  # of the function
    table: Table
    side: GlobalIndex  # of one column, whose values it is asked for
    arguments: str  # all of them; of one that is there as the catalog has them, whatever the search_path is
    result: str  # TABLE (...)
    query: str
    search_path: tuple[str, ...]  # what names in the query are looked up by

    @property
    def asked(self) -> str:
        """What it was asked to be, as its body keeps it."""
        values = (self.table.identifier.text, self.side.columns[0], self.query, self.search_path)
        return json.dumps(dict(zip(_ASKED, values)))


class Present(NamedTuple):
    """A joined lookup that is there."""

    identifier: Identifier
    signature: SQL  # its name and the types of its parameters
    described: str  # as PostgreSQL calls it in messages
    arguments: str
    result: str
    body: str
    settings: tuple[Setting, ...]  # that somebody gave it beside its own
    table: str = ""  # that it was asked for, by the name that the table had
    column: str = ""  # whose values it is asked for
    lookup: JoinedLookup | None = None  # None: the hierarchy has no such table, or no global index of the column


def read(hierarchy: Hierarchy, function: Present) -> Present | None:
    """A function that is there, with the joined lookup that it is; None: somebody wrote it by hand."""
    asked = question.kept(function.body, MARK, {*_ASKED})
    if asked is None:
        return None
    function = function._replace(table=asked["table"], column=asked["column"])
    for table in hierarchy.tables:
        side = side_of(table, asked["column"]) if table.identifier.text == function.table else None
        if side is not None:
            path = tuple(asked["search_path"])
            lookup = JoinedLookup(
                function.identifier, table, side, function.arguments, function.result, asked["query"], path
            )
            return function._replace(lookup=lookup)
    return function


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
    return len(_pieces(query)) > 1


def _pieces(query: str) -> list[str]:
    """A query, cut where an alias's keys are asked for: text, alias, text, ... What is a constant stays one."""
    found = []
    begin = position = 0
    while (each := _NEXT.search(query, position)) is not None:
        if each[1] is None:
            position = fragments.constant_end(query, each.start()) or len(query)
        else:
            found += [query[begin : each.start()], each[1]]
            begin = position = each.end()
    return [*found, query[begin:]]


# Names of the query may be those of the function's parameters, so $1 are the Ids here.
_BODY = """{mark}
#variable_conflict error
DECLARE
    dp_each record;
BEGIN
    FOR dp_each IN
        SELECT dp_s.slice, CASE WHEN dp_s.slice NOT BETWEEN 1 AND {count} THEN dp_g.{range_key} END AS key_1,
            {hash_key} AS key_2, array_agg(dp_g.{column}) AS ids
        FROM {side} AS dp_g CROSS JOIN LATERAL (SELECT width_bucket(dp_g.{range_key}, {bounds}) AS slice) AS dp_s
        WHERE dp_g.{column} OPERATOR({schema}.=) ANY ($1) GROUP BY 1, 2, 3
    LOOP
        {each}    END LOOP;
{rest}END
"""
_EACH = """ids := dp_each.ids;
        IF dp_each.slice NOT BETWEEN 1 AND {count} THEN
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
            RETURN QUERY {query};
            PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
{slices}        END IF;
"""
_SLICE = """        ELSIF dp_each.slice = {number} THEN
            RETURN QUERY {query};
"""
_PROBE = """    RETURN QUERY {};
"""


def body(lookup: JoinedLookup, keys: tuple[str, ...], points: tuple[int, ...]) -> SQL:
    """What the function does, with a statement of its own for each slice between two of the points."""
    slices = []
    for number in range(len(points) - 1, 0, -1):
        query = _bound(lookup, keys, (points[number - 1], points[number]))
        slices.append(compose(_SLICE, number=Literal(number), query=query))
    each = compose(
        _EACH,
        count=_count(points),
        query=_bound(lookup, keys, None),
        slices=SQL("".join(each.text for each in slices)),
    )
    return _body(lookup, keys, points, each, SQL(""))


def _count(points: tuple[int, ...]) -> Literal:
    return Literal(max(len(points) - 1, 0))


def _body(lookup: JoinedLookup, keys: tuple[str, ...], points: tuple[int, ...], each: SQL, rest: SQL) -> SQL:
    """A function that does something with the Ids of each slice and pair of keys, and then the rest."""
    type_name = str(lookup.table.partition_type)
    bounds = comma_list([key_types.typed_literal(each, type_name) for each in points])
    return compose(
        _BODY,
        mark=SQL(MARK + lookup.asked),
        count=_count(points),
        range_key=Identifier(keys[0]),
        hash_key=compose("dp_g.{}", Identifier(keys[1])) if len(keys) > 1 else SQL("NULL"),
        column=Identifier(lookup.side.columns[0]),
        schema=Identifier(lookup.side.operator_schemas[0]),
        side=lookup.side.identifier,
        bounds=compose("ARRAY[{}]::{}[]", bounds, SQL(type_name)),
        each=each,
        rest=rest,
    )


def _bound(lookup: JoinedLookup, keys: tuple[str, ...], bounds: tuple[int, int] | None) -> SQL:
    """The query, for one pair of keys; with the bounds of a slice, constants that leave its leaves alone in a plan."""
    pieces = _pieces(lookup.query)
    pieces[1::2] = [f"({_has_keys(lookup, keys, bounds, SQL(alias))})" for alias in pieces[1::2]]
    return SQL("".join(pieces))


def _has_keys(lookup: JoinedLookup, keys: tuple[str, ...], bounds: tuple[int, int] | None, alias: SQL) -> SQL:
    """That the rows of an alias have the keys, or lie between the bounds."""
    schemas = dict(zip(lookup.side.stored, lookup.side.operator_schemas))
    columns = [compose("{}.{}", alias, Identifier(each)) for each in keys]
    conditions = [
        compose("{} OPERATOR({}.=) {}", column, Identifier(schemas[key]), SQL(f"dp_each.key_{number}"))
        for number, (key, column) in enumerate(zip(keys, columns), start=1)
    ]
    if bounds is not None:
        limits = [key_types.typed_literal(each, str(lookup.table.partition_type)) for each in bounds]
        conditions[:1] = [
            compose("{} OPERATOR(pg_catalog.{}) {}", columns[0], SQL(sign), limit)
            for sign, limit in zip((">=", "<"), limits)
        ]
    return conjunction(conditions)


def create(lookup: JoinedLookup, keys: tuple[str, ...], points: tuple[int, ...]) -> SQL:
    """The function."""
    return _create(lookup, body(lookup, keys, points), is_kept=True)


def _create(lookup: JoinedLookup, text: SQL, *, is_kept: bool) -> SQL:
    return question.create(
        lookup.identifier,
        lookup.arguments,
        SQL(lookup.result),
        text,
        lookup.search_path,
        settings=AS_WRITTEN,
        is_kept=is_kept,
    )


def probe(
    lookup: JoinedLookup, present: Present | None, keys: tuple[str, ...], bounds: tuple[int, int] | None
) -> list[SQL]:
    """What makes a function that plans the query when it is called, whatever the Ids, in the place of the one there.

    It has the name of the one that is asked for, for what is ambiguous depends on the name.
    """
    query = compose(_PROBE, _bound(lookup, keys, bounds))
    text = _body(lookup, keys, bounds or (), SQL("\n"), query)
    create_it = _create(lookup, text, is_kept=bounds is not None)
    if present is None:
        return [create_it]
    aside = Identifier(naming.derived_name(lookup.identifier.name, "dp_aside"))
    return [compose("ALTER FUNCTION {} RENAME TO {}", present.signature, aside), create_it]


def refresh(present: Present, keys: tuple[str, ...], points: tuple[int, ...]) -> list[SQL]:
    """What gives the newest slices their statements, and the global index its name."""
    lookup = present.lookup
    if lookup is None or present.body == body(lookup, keys, points).text:
        return []
    return [create(lookup, keys, points), *kept(lookup.identifier, present.settings)]


def replace(lookup: JoinedLookup, present: Present | None, keys: tuple[str, ...], points: tuple[int, ...]) -> list[SQL]:
    """What makes the function that was asked for of the one that is there, whose columns cannot be altered."""
    if present is None:
        return [create(lookup, keys, points)]
    if (present.arguments, present.result) != (lookup.arguments, lookup.result):
        return [drop(present), create(lookup, keys, points)]
    return refresh(present._replace(lookup=lookup), keys, points)


def drop(present: Present) -> SQL:
    """The function goes."""
    return compose("DROP FUNCTION {}", present.signature)
