"""Lookups: functions that find the rows of a table by columns whose partition keys a global index holds."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, conjunction
from . import keeping

ANY_COMMENT = "Rows of % by %, by the global index %."  # what LIKE knows the comment of any lookup by


class Lookup(NamedTuple):
    """A lookup function: of the index's own table, or of one that refers to it."""

    table: Table
    columns: tuple[str, ...]  # of the table; they hold what the index's columns hold
    types: tuple[str, ...]
    side: GlobalIndex
    partition_keys: tuple[str, ...]

    @property
    def identifier(self) -> Identifier:
        """Its name: ``"DialogContent_by_DialogId"``."""
        return Identifier(self.table.schema, naming.derived_name(self.table.name, f"by_{'_'.join(self.columns)}"))

    @property
    def signature(self) -> SQL:
        """Its name and the types of its arguments."""
        types = comma_list([compose("{}[]", SQL(each)) for each in self.types])
        return compose("{}({})", self.identifier, types)

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


# First the keys, then a statement for each pair of keys, planned with them as constants, so that it reads one leaf. A
# join of both would be planned for all leaves, and so would a plan that is kept for all keys.
_BODY = """
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


def create(lookup: Lookup) -> list[SQL]:
    """The function: PL/pgSQL, run with the caller's rights."""
    index, keys = lookup.side, lookup.partition_keys
    lists = [f"values_{number}" for number in range(1, len(index.columns) + 1)]
    known = {f"key_{number}": Identifier(key) for number, key in enumerate(keys, start=1)}
    bound = [compose("t.{} = found.{}", key, Identifier(name)) for name, key in known.items()]
    body = compose(
        _BODY,
        known=comma_list([compose("g.{} AS {}", key, Identifier(name)) for name, key in known.items()]),
        keys=keeping.values("g", keys),
        lists=comma_list(
            [
                compose("array_agg(g.{}) AS {}", Identifier(column), Identifier(each))
                for column, each in zip(index.columns, lists)
            ]
        ),
        side=index.identifier,
        is_asked=_is_among("g", index.columns, [f"${number}" for number in range(1, len(index.columns) + 1)]),
        table=lookup.table.identifier,
        is_found=conjunction([*bound, _is_among("t", lookup.columns, [f"found.{each}" for each in lists])]),
    )
    arguments: list[Composable] = [
        compose("{} {}[]", Identifier(f"{column}s"), SQL(type_text))
        for column, type_text in zip(lookup.columns, lookup.types)
    ]
    return [
        compose(
            "CREATE OR REPLACE FUNCTION {}({}) RETURNS SETOF {} LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10"
            " SET plan_cache_mode = force_custom_plan SET search_path = {} AS {}",
            lookup.identifier,
            comma_list(arguments),
            lookup.table.identifier,
            _search_path(index),
            Literal(body.text),
        ),
        compose("COMMENT ON FUNCTION {} IS {}", lookup.signature, Literal(lookup.comment)),
    ]


def _search_path(index: GlobalIndex) -> SQL:
    """Where the operators are that compare what is stored; the types decide among them, whoever calls."""
    schemas = sorted({*index.operator_schemas} - {"pg_catalog"})
    return comma_list([SQL("pg_catalog"), *(Identifier(each) for each in schemas), SQL("pg_temp")])


def follow(lookup: Lookup, present: Present) -> list[SQL]:
    """What makes a function follow the names that its table and the global index have now."""
    if present.comment == lookup.comment:
        return []
    types = SQL(lookup.signature.text[len(lookup.identifier.text) :])
    found = []
    own = Identifier(present.schema, present.name)
    if present.schema != lookup.table.schema:
        found.append(compose("ALTER FUNCTION {}{} SET SCHEMA {}", own, types, Identifier(lookup.table.schema)))
        own = Identifier(lookup.table.schema, present.name)
    if own.text != lookup.identifier.text:
        name = Identifier(lookup.identifier.name)
        found.append(compose("ALTER FUNCTION {}{} RENAME TO {}", own, types, name))
    return found + create(lookup)


def drop(lookup: Lookup) -> SQL:
    """The function goes."""
    return compose("DROP FUNCTION {}", lookup.signature)


def _is_among(record: str, columns: tuple[str, ...], arrays: list[str]) -> SQL:
    """That the columns of a record are together among the elements of arrays."""
    if len(columns) == 1:
        return compose("{}.{} = ANY ({})", SQL(record), Identifier(columns[0]), SQL(arrays[0]))
    own = comma_list([compose("{}.{}", SQL(record), Identifier(column)) for column in columns])
    return compose("({}) IN (SELECT * FROM unnest({}))", own, SQL(", ".join(arrays)))
