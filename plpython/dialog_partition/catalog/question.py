"""Reading functions that answer a question of the caller's own: pages and joined lookups."""

from __future__ import annotations

from typing import NamedTuple

from .. import database
from ..sql import SQL, Identifier, comma_list, compose


class Signature(NamedTuple):
    """What a function takes and returns, as the catalog has it, complete in any search_path."""

    arguments: str
    result: str
    names: tuple[str, ...]  # of its parameters, and of the columns that it returns
    types: tuple[str, ...]  # of its parameters
    is_variadic: bool
    is_polymorphic: bool  # so that NULL has no type

    def call(self, function: Identifier) -> SQL:
        """Call it without any values."""
        values = [compose("NULL::{}", SQL(each)) for each in self.types]
        if self.is_variadic:
            values[-1] = compose("VARIADIC {}", values[-1])
        return compose("SELECT FROM {}({})", function, comma_list(values))


def signature(function: Identifier) -> Signature:
    """That of the one function of a name."""
    row = database.query(
        "SELECT pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,"
        " coalesce(p.proargnames, '{}') AS names, p.provariadic <> 0 AS is_variadic,"
        " ARRAY(SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, number)"
        " ORDER BY a.number) AS types,"
        " EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) AS a (type) JOIN pg_type t ON t.oid = a.type"
        " WHERE t.typtype = 'p') AS is_polymorphic"
        " FROM pg_proc p WHERE p.oid = $1::regproc",
        ("text",),
        (function.text,),
    )[0]
    return Signature(
        row["arguments"],
        row["result"],
        tuple(row["names"]),
        tuple(row["types"]),
        row["is_variadic"],
        row["is_polymorphic"],
    )


def schemas_of(search_path: str) -> tuple[str, ...]:
    """The schemas that a search_path stands for now, without the server's own and the session's temporary one."""

    def shown() -> tuple[str, ...]:
        database.set_local("search_path", search_path)
        query = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[] AS schemas"
        return tuple(name for name in database.query(query)[0]["schemas"] if not name.startswith("pg_"))

    return database.rolled_back(shown)
