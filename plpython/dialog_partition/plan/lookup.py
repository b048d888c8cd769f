"""Lookups: functions that find the rows of a table by columns whose partition keys a global index holds."""

from __future__ import annotations

from typing import NamedTuple

from .. import keys as key_types
from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, conjunction, search_path
from . import keeping
from .function_settings import Setting, kept
from .kept_plans import BY_INDEX

ANY_COMMENT = "Rows of % by %, by the global index %."  # what LIKE knows the comment of any lookup by


class Lookup(NamedTuple):
    """A lookup function: of the index's own table, or of one that refers to it."""

    table: Table
    columns: tuple[str, ...]  # of the table; they hold what the index's columns hold
    types: tuple[str, ...]
    side: GlobalIndex
    partition_keys: tuple[str, ...]
    points: tuple[int, ...] = ()  # bounds of the slices that have a statement of their own, each the end of one before

    @property
    def identifier(self) -> Identifier:
        """Its name: ``"DialogContent_by_DialogId"``."""
        return Identifier(self.table.schema, naming.derived_name(self.table.name, f"by_{'_'.join(self.columns)}"))

    @property
    def arguments(self) -> SQL:
        """The types of its arguments, in parentheses."""
        return compose("({})", comma_list([compose("{}[]", SQL(each)) for each in self.types]))

    @property
    def signature(self) -> SQL:
        """Its name and the types of its arguments."""
        return compose("{}{}", self.identifier, self.arguments)

    @property
    def comment(self) -> str:
        """What it is, by which it is known again."""
        columns = ", ".join(self.columns)
        return f"Rows of {self.table.identifier} by {columns}, by the global index {self.side.identifier}."


class Present(NamedTuple):
    """A lookup function that is there."""

    schema: str
    name: str
    comment: str
    body: str
    settings: tuple[Setting, ...] = ()  # that somebody gave it beside its own


def precedes(first: GlobalIndex, second: GlobalIndex) -> bool:
    """Whether an index serves the lookups that both could: it holds all rows, or rather each value once."""
    ranks = [(not each.is_valid, each.predicate is not None, not each.is_unique, each.name) for each in (first, second)]
    return first.columns == second.columns and ranks[0] < ranks[1]


# First the keys, then a statement for each pair of keys, planned with them as constants, so that it reads one leaf. A
# join of both would be planned for all leaves, and so would a plan that is kept for all keys.
_EACH = """
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT {known}, {lists} FROM {side} AS g WHERE {is_asked} GROUP BY {keys}
    LOOP
        RETURN QUERY SELECT t.* FROM {table} AS t WHERE {is_found};
    END LOOP;
END
"""

# To plan a leaf takes longer than to read it. So each of the newest slices has a statement whose plan is kept: the
# bounds are constants, which leaves the slice's own leaves in it, and the hash key picks one of them when it begins.
# Nothing depends on the slices that are there: a statement finds what the table holds between its bounds.
_KEPT = """
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT s.slice, {known}, {lists}
        FROM {side} AS g CROSS JOIN LATERAL (SELECT width_bucket(g.{range_key}, ARRAY[{bounds}]) AS slice) AS s
        WHERE {is_asked} GROUP BY {positions}
    LOOP
        IF found.slice < 1 OR found.slice > {count} THEN
            RETURN QUERY EXECUTE {planned_each_time} USING {values};
{branches}        END IF;
    END LOOP;
END
"""
_BRANCH = """        ELSIF found.slice = {number} THEN
            RETURN QUERY SELECT t.* FROM {table} AS t
            WHERE t.{range_key} >= {lower} AND t.{range_key} < {upper} AND {is_found};
"""


def create(lookup: Lookup) -> list[SQL]:
    """The function: PL/pgSQL, run with the caller's rights."""
    arguments: list[Composable] = [
        compose("{} {}[]", Identifier(f"{column}s"), SQL(type_text))
        for column, type_text in zip(lookup.columns, lookup.types)
    ]
    return [
        compose(
            "CREATE OR REPLACE FUNCTION {}({}) RETURNS SETOF {} LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10"
            " SET plan_cache_mode = {} {} SET search_path = {} AS {}",
            lookup.identifier,
            comma_list(arguments),
            lookup.table.identifier,
            SQL("force_generic_plan" if lookup.points else "force_custom_plan"),
            BY_INDEX,
            _search_path(lookup.side),
            Literal(body(lookup).text),
        ),
        compose("COMMENT ON FUNCTION {} IS {}", lookup.signature, Literal(lookup.comment)),
    ]


def body(lookup: Lookup) -> SQL:
    """What the function does."""
    return _kept(lookup) if lookup.points else _each(lookup)


def _each(lookup: Lookup) -> SQL:
    return compose(
        _EACH,
        known=comma_list([compose("g.{} AS {}", Identifier(key), name) for key, name in _known(lookup).items()]),
        keys=keeping.values("g", lookup.partition_keys),
        lists=_lists(lookup),
        side=lookup.side.identifier,
        is_asked=_is_asked(lookup),
        table=lookup.table.identifier,
        is_found=_is_found(lookup, [f"found.{name}" for name in _values(lookup)]),
    )


def _kept(lookup: Lookup) -> SQL:
    range_key, type_name = lookup.partition_keys[0], str(lookup.table.partition_type)
    bounds = [key_types.typed_literal(point, type_name) for point in lookup.points]
    count = Literal(len(bounds) - 1)
    known = _known(lookup)
    groups = {key: compose("g.{}", Identifier(key)) for key in known}
    is_whole = lookup.side.is_unique and lookup.side.predicate is None  # any row of the slice that has a value counts
    if is_whole:
        others = compose("CASE WHEN s.slice < 1 OR s.slice > {} THEN g.{} END", count, Identifier(range_key))
        groups[range_key] = others
    values = [f"found.{name}" for name in _values(lookup)]
    is_found = _is_found(lookup, values, known if not is_whole else {k: v for k, v in known.items() if k != range_key})
    branches = [
        compose(
            _BRANCH,
            number=Literal(number),
            table=lookup.table.identifier,
            range_key=Identifier(range_key),
            lower=bounds[number - 1],
            upper=bounds[number],
            is_found=is_found,
        )
        for number in range(len(bounds) - 1, 0, -1)
    ]
    any_leaf = compose(
        "SELECT t.* FROM {} AS t WHERE {}",
        lookup.table.identifier,
        _is_found(lookup, [f"${number}" for number in range(1, len(values) + 1)]),
    )
    return compose(
        _KEPT,
        known=comma_list([compose("{} AS {}", groups[key], name) for key, name in known.items()]),
        lists=_lists(lookup),
        side=lookup.side.identifier,
        range_key=Identifier(range_key),
        bounds=comma_list(bounds),
        is_asked=_is_asked(lookup),
        positions=SQL(", ".join(str(number) for number in range(1, len(known) + 2))),
        count=count,
        planned_each_time=Literal(any_leaf.text),
        values=SQL(", ".join(values)),
        branches=SQL("".join(each.text for each in branches)),
    )


def _known(lookup: Lookup) -> dict[str, Identifier]:
    """The names that the partition keys of a group have."""
    return {key: Identifier(f"key_{number}") for number, key in enumerate(lookup.partition_keys, start=1)}


def _columns(lookup: Lookup) -> list[Identifier]:
    """The names of the values that are asked for, of a group."""
    return [Identifier(f"values_{number}") for number in range(1, len(lookup.columns) + 1)]


def _values(lookup: Lookup) -> list[Identifier]:
    """Everything that is known of a group."""
    return [*_known(lookup).values(), *_columns(lookup)]


def _lists(lookup: Lookup) -> SQL:
    return comma_list(
        [
            compose("array_agg(g.{}) AS {}", Identifier(column), name)
            for column, name in zip(lookup.side.columns, _columns(lookup))
        ]
    )


def _is_asked(lookup: Lookup) -> SQL:
    columns = lookup.side.columns
    return _is_among("g", columns, [f"${number}" for number in range(1, len(columns) + 1)])


def _is_found(lookup: Lookup, values: list[str], keys: dict[str, Identifier] | None = None) -> SQL:
    """That a row has the keys of a group, or some of them, and one of its values."""
    known = _known(lookup)
    bound = [
        compose("t.{} = {}", Identifier(key), SQL(value))
        for key, value in zip(known, values)
        if keys is None or key in keys
    ]
    return conjunction([*bound, _is_among("t", lookup.columns, values[len(known) :])])


def _search_path(index: GlobalIndex) -> SQL:
    """Where the operators are that compare what is stored; the types decide among them, whoever calls."""
    return search_path(sorted({*index.operator_schemas} - {"pg_catalog"}))


def follow(lookup: Lookup, present: Present) -> list[SQL]:
    """What makes a function follow the names that its table and the global index have now."""
    if present.comment == lookup.comment:
        return []
    types = lookup.arguments
    found = []
    own = Identifier(present.schema, present.name)
    if present.schema != lookup.table.schema:
        found.append(compose("ALTER FUNCTION {}{} SET SCHEMA {}", own, types, Identifier(lookup.table.schema)))
        own = Identifier(lookup.table.schema, present.name)
    if own.text != lookup.identifier.text:
        name = Identifier(lookup.identifier.name)
        found.append(compose("ALTER FUNCTION {}{} RENAME TO {}", own, types, name))
    return found + create(lookup) + kept(lookup.signature, present.settings)


def refresh(lookup: Lookup, present: Present) -> list[SQL]:
    """What gives the newest slices their statements; without it nothing is wrong, but slower."""
    is_same = present.comment == lookup.comment and present.body == body(lookup).text
    if is_same:
        return []
    return follow(lookup, present) or create(lookup) + kept(lookup.signature, present.settings)


def rename_parameters(lookup: Lookup, present: Present) -> list[SQL]:
    """What makes a function anew whose columns have other names, for its parameters cannot be renamed."""
    drop_it = compose("DROP FUNCTION {}{}", Identifier(present.schema, present.name), lookup.arguments)
    return [drop_it, *create(lookup), *kept(lookup.signature, present.settings)]


def drop(lookup: Lookup) -> SQL:
    """The function goes."""
    return compose("DROP FUNCTION {}", lookup.signature)


def _is_among(record: str, columns: tuple[str, ...], arrays: list[str]) -> SQL:
    """That the columns of a record are together among the elements of arrays."""
    if len(columns) == 1:
        return compose("{}.{} = ANY ({})", SQL(record), Identifier(columns[0]), SQL(arrays[0]))
    own = comma_list([compose("{}.{}", SQL(record), Identifier(column)) for column in columns])
    return compose("({}) IN (SELECT * FROM unnest({}))", own, SQL(", ".join(arrays)))
