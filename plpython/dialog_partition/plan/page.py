"""Pages: functions that return the first rows of a question, the newest slice first, with plans that are kept.

To plan the reading of a leaf takes longer than to read it, the more indexes it has. So a page has a statement for each
of the newest slices, as a lookup has; its condition and order are the caller's own.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from .. import keys as key_types
from ..model import Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, search_path
from . import question
from .function_settings import Setting, kept

MARK = "-- dialog_partition page: "  # the first line of a body goes on with what the page was asked to be
ROW = "t"  # what the pieces call a row of the table
OWN = ("newest", "wanted")  # parameters that each page has behind its own
_PIECES = ("condition", "order_by", "keys")


class Page(NamedTuple):
    """A page as it was asked for."""

    table: Table
    schema: str  # of the function
    name: str
    parameters: str  # its own; of a page that is there as the catalog has them, whatever the search_path is
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
                **{each: getattr(self, each) for each in _PIECES},
                "search_path": self.search_path,
                "own_schemas": (self.table.schema, self.schema),
            }
        )

    @property
    def signature(self) -> str:
        """All its parameters, as CREATE FUNCTION has them."""
        own = [self.parameters] if self.parameters.strip() else []
        return ", ".join([*own, f"newest {self.table.partition_type}", "wanted bigint"])

    @property
    def path(self) -> SQL:
        """Its search_path, as SET has it."""
        return search_path(self.search_path)


class Present(NamedTuple):
    """A page that is there."""

    page: Page
    body: str
    settings: tuple[Setting, ...] = ()  # that somebody gave it beside its own


def read(table: Table, schema: str, name: str, parameters: str, body: str, schemas: set[str]) -> Page | None:
    """A page from the function that is there; where its own or the table's schema was renamed, the path follows.

    None: somebody wrote it by hand.
    """
    asked = question.kept(body, MARK, {*_PIECES, "search_path", "own_schemas"})
    if asked is None:
        return None
    own = zip(asked.pop("own_schemas"), (table.schema, schema))
    renamed = {former: present for former, present in own if former not in schemas}
    path = tuple(renamed.get(each, each) for each in asked.pop("search_path"))
    return Page(table, schema, name, parameters, search_path=path, **asked)


_BODY = """{mark}
#variable_conflict use_variable
DECLARE
    dp_each record;
    dp_found bigint;
BEGIN
{walk}END
"""

# Slice after slice is asked until there are rows enough.
_WALK = """    FOR dp_each IN
        SELECT dp_n.slice FROM generate_series(width_bucket(newest, {bounds}), 0, -1) AS dp_n (slice)
    LOOP
{branches}        wanted := wanted - dp_found;
        EXIT WHEN wanted <= 0;
    END LOOP;
"""

# Only slices in which keys lie. The keys that are told first may not suffice, where the condition leaves few of their
# rows: then the query is asked anew for those below.
_WALK_OF_KEYS = """    <<dp_keys>>
    LOOP
        FOR dp_each IN
            SELECT dp_s.slice, array_agg(DISTINCT dp_k.key) AS keys
            FROM ({keys}) AS dp_k (key)
            CROSS JOIN LATERAL (SELECT width_bucket(dp_k.key, {bounds}) AS slice) AS dp_s
            WHERE dp_k.key <= newest GROUP BY dp_s.slice ORDER BY dp_s.slice DESC
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
            newest := {preceding};"""
_PLANNED_EACH_TIME = """
            PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);{rows}
            PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);"""
_PRECEDING = "({key} - {unit})::{type}"
_PRECEDING_ANY = (
    "CASE {key} WHEN '-infinity' THEN NULL WHEN {earliest} THEN '-infinity' WHEN 'infinity' THEN {latest}"
    f" ELSE {_PRECEDING} END"
)
_PRECEDING_NUMBER = f"CASE WHEN {{key}} > {{lowest}} THEN {_PRECEDING} END"


class _Calendar(NamedTuple):
    """What lies one before another in a type that is no integer; infinity less something is infinity."""

    unit: str
    earliest: str
    latest: str


_TICK = "interval '1 microsecond'"
_CALENDARS = {
    "date": _Calendar("1", "4714-11-24 BC", "5874897-12-31"),
    "timestamp without time zone": _Calendar(_TICK, "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999"),
    "timestamp with time zone": _Calendar(_TICK, "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"),
}


def has_predecessors(type_name: str) -> bool:
    """Whether each value of a key type has one before it; a page with keys goes on there."""
    return type_name in _CALENDARS or key_types.is_integer(type_name)


def body(page: Page, points: tuple[int, ...]) -> SQL:
    """What the function does, with a statement of its own for each slice between two of the points."""
    type_name = str(page.table.partition_type)
    bounds = [key_types.typed_literal(point, type_name) for point in points]
    key = Identifier(str(page.table.partition_column))
    branches = []
    for number in range(len(bounds) - 1, 0, -1):
        lower, upper = bounds[number - 1], bounds[number]
        is_there = compose("t.{key} >= {lower} AND t.{key} < {upper}", key=key, lower=lower, upper=upper)
        preceding = _preceding(lower, type_name, is_bound=True) if page.keys is not None else None
        branches.append((compose("dp_each.slice = {}", Literal(number)), _rows(page, is_there, preceding)))
    array = compose("ARRAY[{}]::{}[]", comma_list(bounds), SQL(type_name))
    if page.keys is not None:
        preceding = _preceding(SQL("dp_each.keys[1]"), type_name)
        rows = _rows(page, compose("t.{} = ANY (dp_each.keys)", key), preceding)
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


def _preceding(key: Composable, type_name: str, *, is_bound: bool = False) -> SQL:
    """The key before another one; nothing is before the least. A bound of a slice in a calendar is no extreme."""
    type_ = SQL(type_name)
    if key_types.is_integer(type_name):
        lowest = key_types.typed_literal(-key_types.INTEGER_LIMITS[type_name], type_name)
        return compose(_PRECEDING_NUMBER, key=key, lowest=lowest, unit=SQL("1"), type=type_)
    calendar = _CALENDARS[type_name]
    return compose(
        _PRECEDING if is_bound else _PRECEDING_ANY,
        key=key,
        unit=SQL(calendar.unit),
        type=type_,
        earliest=Literal(calendar.earliest),
        latest=Literal(calendar.latest),
    )


def _rows(page: Page, is_there: SQL, preceding: SQL | None = None) -> SQL:
    """The statement of some slices; with the key before theirs a page with keys goes on."""
    further = compose(_FURTHER, preceding=preceding) if preceding is not None else SQL("")
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
    """The function."""
    result = compose("SETOF {}", page.table.identifier)
    return question.create(page.identifier, page.signature, result, body(page, points), page.search_path)


def names_its_table(present: Present) -> bool:
    """Whether it reads its table and that table's partition column by the names that they have."""
    table = present.page.table
    parts = [f"FROM {table.identifier} AS t", f"t.{Identifier(str(table.partition_column))} <= newest"]
    return all(each in present.body for each in parts)


def refresh(present: Present, points: tuple[int, ...]) -> list[SQL]:
    """What gives the newest slices their statements, and the table its name."""
    page = present.page
    is_same = present.body == body(page, points).text
    return [] if is_same else [_create(page, points), *kept(page.identifier, present.settings)]


def replace(page: Page, present: Present | None, points: tuple[int, ...]) -> list[SQL]:
    """What makes the page that was asked for of the one that is there, whose parameters cannot be altered."""
    if present is None:
        return [_create(page, points)]
    if present.page.parameters != page.parameters:
        return [compose("DROP FUNCTION {}", page.identifier), _create(page, points)]
    return refresh(present._replace(page=page), points)
