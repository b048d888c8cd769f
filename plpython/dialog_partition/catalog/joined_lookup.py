"""Joined lookups that are there."""

from __future__ import annotations

from .. import database
from ..plan.joined_lookup import MARK, OWN_SETTINGS, Present, read
from ..sql import SQL, Identifier
from .function_settings import added

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Hierarchy


def present(hierarchy: Hierarchy) -> list[Present]:
    """The joined lookups of a hierarchy's tables, and what they do now."""
    names = {table.identifier.text for table in hierarchy.tables}
    return [each for each in _of_owners(hierarchy) if each.table in names]


def named(hierarchy: Hierarchy, function: Identifier) -> Present | None:
    """The joined lookup of a name; not that of another hierarchy, but one whose table has another name by now."""
    names = {table.identifier.text for table in hierarchy.tables}
    for each in _of_owners(hierarchy):
        if each.identifier == function and (each.table in names or not _exists(each.table)):
            return each
    return None


def broken(hierarchy: Hierarchy) -> tuple[tuple[Identifier, str, str | None], ...]:
    """Those that fail, their table, and the column of the global index that they lack.

    None: no table has the name any more; only its schema tells where such a function belongs.
    """
    names = {table.identifier.text for table in hierarchy.tables}
    schemas = {table.schema for table in hierarchy.tables}
    found: list[tuple[Identifier, str, str | None]] = []
    for each in _of_owners(hierarchy):
        if each.table in names and each.lookup is None:
            found.append((each.identifier, each.table, each.column))
        elif each.table not in names and each.identifier.schema in schemas and not _exists(each.table):
            found.append((each.identifier, each.table, None))
    return tuple(found)


def _exists(relation: str) -> bool:
    rows = database.query("SELECT to_regclass($1) IS NOT NULL AS exists", ("text",), (relation,))
    return bool(rows[0]["exists"])


def _of_owners(hierarchy: Hierarchy) -> list[Present]:
    """All joined lookups that the owners of a hierarchy's tables have."""
    rows = database.query(
        "SELECT n.nspname AS schema, p.proname AS name, p.prosrc AS body, p.oid::regprocedure::text AS signature,"
        " pg_describe_object('pg_proc'::regclass, p.oid, 0) AS described,"
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
        identifier = Identifier(row["schema"], row["name"])
        texts = (row["described"], row["arguments"], row["result"], row["body"])
        settings = added(row["settings"], OWN_SETTINGS, row["owner"])
        known = read(hierarchy, Present(identifier, SQL(row["signature"]), *texts, settings))
        if known is not None:
            found.append(known)
    return found


def is_taken(function: Identifier, schema: str, there: Present | None) -> bool:
    """Whether a schema has a function of a name beside the joined lookup that is there."""
    rows = database.query(
        "SELECT count(*) AS number FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = $1 AND p.proname = $2",
        ("text", "text"),
        (schema, function.name),
    )
    return bool(rows[0]["number"] > (there is not None))


def locked_leaves(hierarchy: Hierarchy) -> dict[int, set[int]]:
    """Of each table the slices, or leaves where a slice is one, that this transaction has read, or planned to."""
    rows = database.query(
        "SELECT pg_partition_root(c.oid)::oid AS tbl,"
        " CASE WHEN i.inhparent = pg_partition_root(c.oid) THEN c.oid ELSE i.inhparent END AS slice"
        " FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relkind = 'r' AND c.relispartition"
        " JOIN pg_inherits i ON i.inhrelid = c.oid"
        " WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'AccessShareLock'"
        " AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
    )
    found: dict[int, set[int]] = {table.oid: set() for table in hierarchy.tables}
    for row in rows:
        found.get(row["tbl"], set()).add(row["slice"])
    return found
