"""Joined lookups that are there."""

from __future__ import annotations

from typing import NamedTuple

from .. import database
from ..plan.joined_lookup import MARK, OWN_SETTINGS, Present, read
from ..sql import Identifier
from .function_settings import added

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Hierarchy


class Signature(NamedTuple):
    """What a function takes and returns, as the catalog has it, complete in any search_path."""

    arguments: str
    result: str
    names: tuple[str, ...]  # of its parameters, and of the columns that it returns
    types: tuple[str, ...]  # of its parameters
    are_nullable: bool  # whether it can be called with NULL for each of them


def present(hierarchy: Hierarchy) -> list[Present]:
    """The joined lookups of a hierarchy's tables, and what they do now."""
    rows = database.query(
        "SELECT n.nspname AS schema, p.proname AS name, p.prosrc AS body,"
        " pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,"
        " p.proconfig AS settings, pg_get_userbyid(p.proowner) AS owner"
        " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE p.proowner = ANY (ARRAY(SELECT c.relowner FROM pg_class c WHERE c.oid = ANY ($1)))"
        " AND p.proretset AND starts_with(p.prosrc, $2) ORDER BY p.oid",
        ("oid[]", "text"),
        ([table.oid for table in hierarchy.tables], MARK),
    )
    found = []
    for row in rows:
        name = Identifier(row["schema"], row["name"])
        lookup = read(hierarchy, name, row["arguments"], row["result"], row["body"])
        if lookup is not None and lookup.identifier == name:
            settings = added(row["settings"], OWN_SETTINGS, row["owner"])
            found.append(Present(lookup, row["body"], settings))
    return found


def is_taken(identifier: Identifier, schema: str, there: Present | None) -> bool:
    """Whether a schema has a function of a name beside the joined lookup that is there."""
    rows = database.query(
        "SELECT count(*) AS number FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = $1 AND p.proname = $2",
        ("text", "text"),
        (schema, identifier.name),
    )
    return bool(rows[0]["number"] > (there is not None))


def signature(function: Identifier) -> Signature:
    """That of the one function of a name."""
    row = database.query(
        "SELECT pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,"
        " coalesce(p.proargnames, '{}') AS names,"
        " ARRAY(SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, number)"
        " ORDER BY a.number) AS types,"
        " NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) AS a (type) JOIN pg_type t ON t.oid = a.type"
        " WHERE t.typtype IN ('d', 'p')) AS are_nullable"
        " FROM pg_proc p WHERE p.oid = $1::regproc",
        ("text",),
        (function.text,),
    )[0]
    return Signature(row["arguments"], row["result"], tuple(row["names"]), tuple(row["types"]), row["are_nullable"])


def locked_leaves(hierarchy: Hierarchy) -> dict[int, set[int]]:
    """Of each table the slices, or leaves where a slice is one, that this transaction has locked a leaf of."""
    rows = database.query(
        "SELECT pg_partition_root(c.oid)::oid AS tbl,"
        " CASE WHEN i.inhparent = pg_partition_root(c.oid) THEN c.oid ELSE i.inhparent END AS slice"
        " FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relkind = 'r' AND c.relispartition"
        " JOIN pg_inherits i ON i.inhrelid = c.oid"
        " WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'"
        " AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
    )
    found: dict[int, set[int]] = {table.oid: set() for table in hierarchy.tables}
    for row in rows:
        found.get(row["tbl"], set()).add(row["slice"])
    return found
