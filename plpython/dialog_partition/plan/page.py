"""Pages: functions that return the first rows of a question, the newest slice first, with plans that are kept.

To plan the reading of a leaf takes longer than to read it, the more indexes it has. So a page has a statement for each
of the newest slices, as a lookup has; its condition and order are the caller's own.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from .. import keys as key_types
from .. import naming
from ..model import Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose
from .lookup import BY_INDEX

MARK = "-- dialog_partition page: "  # the first line of a body goes on with what the page was asked to be


class Page(NamedTuple):
    """A page as it was asked for."""

    table: Table
    schema: str  # of the function
    name: str
    parameters: str
    condition: str
    order_by: str
    keys: str | None  # the query that tells in which slices to look
    search_path: tuple[str, ...]  # what names in the pieces are looked up by

    @property
    def identifier(self) -> Identifier:
        """The function's name."""
        return Identifier(self.schema, self.name)

    @property
    def asked(self) -> str:
        """What it was asked to be, as its body keeps it."""
        return json.dumps(
            {
                "parameters": self.parameters,
                "condition": self.condition,
                "order_by": self.order_by,
                "keys": self.keys,
                "search_path": self.search_path,
            }
        )

    @property
    def signature(self) -> str:
        """All its parameters, as CREATE FUNCTION has them."""
        own = [self.parameters] if self.parameters.strip() else []
        return ", ".join([*own, f"newest {self.table.partition_type}", "wanted bigint"])


def read(table: Table, schema: str, name: str, body: str) -> Page:
    """A page from the function that is there."""
    asked = json.loads(body.split("\n", 1)[0][len(MARK) :])
    return Page(table, schema, name, **{**asked, "search_path": tuple(asked["search_path"])})


_BODY = """{mark}
#variable_conflict use_variable
DECLARE
    dp_each record;
    dp_found bigint;
BEGIN
{walk}END
"""

# Slice after slice is asked until there are rows enough.
_WALK = """    FOR dp_each IN SELECT n AS slice FROM generate_series(width_bucket(newest, {bounds}), 0, -1) AS n LOOP
{branches}        wanted := wanted - dp_found;
        EXIT WHEN wanted <= 0;
    END LOOP;
"""

# Only slices in which keys lie. The keys that are told first may not suffice, where the condition leaves few of their
# rows: then the query is asked anew for those below.
_WALK_OF_KEYS = """    <<dp_keys>>
    LOOP
        FOR dp_each IN
            SELECT s.slice, array_agg(DISTINCT k.key) AS keys
            FROM ({keys}) AS k (key) CROSS JOIN LATERAL (SELECT width_bucket(k.key, {bounds}) AS slice) AS s
            WHERE k.key <= newest GROUP BY s.slice ORDER BY s.slice DESC
        LOOP
{branches}            wanted := wanted - dp_found;
            EXIT dp_keys WHEN wanted <= 0;
        END LOOP;
        EXIT WHEN NOT FOUND;
    END LOOP;
"""
_ROWS = """
            RETURN QUERY SELECT t.* FROM {table} AS t
            WHERE {is_there} AND t.{key} <= newest AND ({condition})
            ORDER BY {order_by} LIMIT wanted;
            GET DIAGNOSTICS dp_found = ROW_COUNT;{further}"""
_FURTHER = """
            newest := {before};"""
_PLANNED_EACH_TIME = """
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);{rows}
            PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);"""
# The unit of a calendar type, and its last value before infinity, which the default slice may hold.
_CALENDAR = {
    "date": ("1", "5874897-12-31"),
    "timestamp without time zone": ("interval '1 microsecond'", "294276-12-31 23:59:59.999999"),
    "timestamp with time zone": ("interval '1 microsecond'", "294276-12-31 23:59:59.999999+00"),
}


def has_predecessors(type_name: str) -> bool:
    """Whether each value of a key type has one before it; a page with keys goes on there."""
    return type_name in _CALENDAR or key_types.is_integer(type_name)


def _before(key: Composable, type_name: str) -> SQL:
    """The value before another one; NULL before the lowest."""
    if key_types.is_integer(type_name):
        lowest = key_types.typed_literal(-key_types.INTEGER_LIMITS[type_name], type_name)
        return compose("CASE WHEN {} > {} THEN ({} - 1)::{} END", key, lowest, key, SQL(type_name))
    unit, last = _CALENDAR[type_name]
    return compose(
        "CASE WHEN {key} > '-infinity'::{type} THEN least({key} - {unit}, {last}::{type}) END",
        key=key,
        type=SQL(type_name),
        unit=SQL(unit),
        last=Literal(last),
    )


def body(page: Page, points: tuple[int, ...]) -> SQL:
    """What the function does, with a statement of its own for each slice between two of the points."""
    type_name = str(page.table.partition_type)
    bounds = [key_types.typed_literal(point, type_name) for point in points]
    key = Identifier(str(page.table.partition_column))
    branches = []
    for number in range(len(bounds) - 1, 0, -1):
        lower, upper = bounds[number - 1], bounds[number]
        is_there = compose("t.{key} >= {lower} AND t.{key} < {upper}", key=key, lower=lower, upper=upper)
        branches.append((compose("dp_each.slice = {}", Literal(number)), _rows(page, is_there, lower)))
    array = compose("ARRAY[{}]::{}[]", comma_list(bounds), SQL(type_name))
    if page.keys is not None:
        rows = _rows(page, compose("t.{} = ANY (dp_each.keys)", key), SQL("dp_each.keys[1]"))
        branches.append((SQL("true"), compose(_PLANNED_EACH_TIME, rows=rows)))
        walk = compose(_WALK_OF_KEYS, keys=SQL(page.keys), bounds=array, branches=_chain(branches))
    else:
        for where, is_there in _outside(key, bounds):
            branches.append((where, compose(_PLANNED_EACH_TIME, rows=_rows(page, is_there))))
        walk = compose(_WALK, bounds=array, branches=_chain(branches))
    return compose(_BODY, mark=SQL(MARK + page.asked), walk=walk)


def _outside(key: Identifier, bounds: list[Composable]) -> list[tuple[SQL, SQL]]:
    """What lies below and above the slices that are known, the default slice among it."""
    if not bounds:
        return [(SQL("true"), SQL("true"))]
    return [
        (SQL("dp_each.slice = 0"), compose("t.{} < {}", key, bounds[0])),
        (SQL("true"), compose("t.{} >= {}", key, bounds[-1])),
    ]


def _rows(page: Page, is_there: SQL, lowest: Composable | None = None) -> SQL:
    """The statement of some slices; below their lowest key a page with keys goes on."""
    further = SQL("")
    if page.keys is not None and lowest is not None:
        further = compose(_FURTHER, before=_before(lowest, str(page.table.partition_type)))
    return compose(
        _ROWS,
        table=page.table.identifier,
        is_there=is_there,
        key=Identifier(str(page.table.partition_column)),
        condition=SQL(page.condition),
        order_by=SQL(page.order_by),
        further=further,
    )


def _chain(branches: list[tuple[SQL, SQL]]) -> SQL:
    """IF ... ELSIF ... END IF."""
    found = [
        compose("        {} {} THEN{}\n", SQL("ELSIF" if number else "IF"), condition, rows)
        for number, (condition, rows) in enumerate(branches)
    ]
    return SQL("".join(each.text for each in found) + "        END IF;\n")


def _create(page: Page, points: tuple[int, ...]) -> SQL:
    """The function: PL/pgSQL, run with the caller's rights."""
    return compose(
        "CREATE OR REPLACE FUNCTION {}({}) RETURNS SETOF {} LANGUAGE plpgsql STABLE ROWS 100"
        " SET plan_cache_mode = force_generic_plan {} SET search_path = {} AS {}",
        page.identifier,
        SQL(page.signature),
        page.table.identifier,
        BY_INDEX,
        comma_list([SQL("pg_catalog"), *(Identifier(each) for each in page.search_path), SQL("pg_temp")]),
        Literal(body(page, points).text),
    )


def probes(page: Page, name: str) -> list[SQL]:
    """Functions whose making shows whether the pieces can be understood."""
    own = compose(
        "SELECT t.* FROM {} AS t WHERE t.{} <= newest AND ({}) ORDER BY {} LIMIT wanted",
        page.table.identifier,
        Identifier(str(page.table.partition_column)),
        SQL(page.condition),
        SQL(page.order_by),
    )
    found = [(own, page.table.identifier.text)]
    if page.keys is not None:
        found.append((compose("SELECT k.key FROM ({}) AS k (key)", SQL(page.keys)), str(page.table.partition_type)))
    return [
        compose(
            "CREATE FUNCTION {}({}) RETURNS SETOF {} LANGUAGE sql AS {}",
            Identifier(page.schema, naming.derived_name(name, str(number))),
            SQL(page.signature),
            SQL(returned),
            Literal(query.text),
        )
        for number, (query, returned) in enumerate(found)
    ]


def refresh(page: Page, present: str, points: tuple[int, ...]) -> list[SQL]:
    """What gives the newest slices their statements, and the table its name."""
    return [] if present == body(page, points).text else [_create(page, points)]


def replace(page: Page, present: tuple[Page, str] | None, points: tuple[int, ...]) -> list[SQL]:
    """What makes the page that was asked for of the one that is there, whose parameters cannot be altered."""
    if present is None:
        return [_create(page, points)]
    drop = [compose("DROP FUNCTION {}", page.identifier)] if present[0].parameters != page.parameters else []
    return [*drop, *refresh(page, present[1], points)]
