"""Reading the functions that are generated for global indexes: what they are called, and what they name."""

from __future__ import annotations

from .. import database
from ..model import GlobalIndex, Hierarchy, Table
from ..plan.keeping import Wanted
from ..plan.kept_plans import OWN_SETTINGS, newest
from ..plan.lookup import ANY_COMMENT, Lookup, Present, precedes
from . import global_index as catalog_global_index
from . import structure as catalog_structure
from .function_settings import added


def served(hierarchy: Hierarchy, table: Table, side: GlobalIndex) -> list[Lookup]:
    """The lookups that a table's global index serves: of the table itself, and of those that refer to it.

    Of several indexes of the same columns one serves them.
    """
    if any(precedes(each, side) for each in table.global_indexes if each.name != side.name):
        return []
    keys = hierarchy.policy.partition_keys
    types = catalog_global_index.types(table.oid, side.columns)
    if any(each.endswith("[]") for each in types):  # of arrays there are no arrays to ask with
        return []
    points = newest(hierarchy)
    found = [Lookup(table, side.columns, types, side, keys, points)]
    for key in hierarchy.foreign_keys:
        if key.parent != table.oid or not side.is_unique or side.predicate is not None:
            continue
        by_parent = dict(zip(key.parent_columns, key.columns))
        if {*side.columns, *keys} == set(by_parent):
            columns = tuple(by_parent[name] for name in side.columns)
            lookup = Lookup(hierarchy.table(key.child), columns, types, side, keys, points)
            if lookup not in found:
                found.append(lookup)
    return found


def present(lookup: Lookup) -> Present | None:
    """The function that returns rows of the lookup's table by its columns, whatever it and the table are called."""
    rows = database.query(
        "SELECT n.nspname AS schema, p.proname AS name, p.prosrc AS body,"
        " obj_description(p.oid, 'pg_proc') AS comment, p.proconfig AS settings, pg_get_userbyid(p.proowner) AS owner"
        " FROM pg_class c JOIN pg_proc p ON p.prorettype = c.reltype AND p.proretset"
        " JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE c.oid = $1 AND p.proowner = c.relowner AND p.proargnames = $2 AND oidvectortypes(p.proargtypes) = $3"
        " AND obj_description(p.oid, 'pg_proc') LIKE $5"
        " ORDER BY n.nspname <> $4, p.oid LIMIT 1",
        ("oid", "text[]", "text", "text", "text"),
        (
            lookup.table.oid,
            [f"{column}s" for column in lookup.columns],
            ", ".join(f"{each}[]" for each in lookup.types),
            lookup.table.schema,
            ANY_COMMENT,
        ),
    )
    if not rows:
        return None
    settings = added(rows[0]["settings"], OWN_SETTINGS, rows[0]["owner"])
    return Present(rows[0]["schema"], rows[0]["name"], rows[0]["comment"], rows[0]["body"], settings)


def names_its_table(side: GlobalIndex) -> bool:
    """Whether the trigger function of a global index writes to the side table, as that is called now.

    One that is not there, or belongs to another role than the table, is another matter.
    """
    rows = database.query(
        "SELECT strpos(p.prosrc, $3) > 0 AS named FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " JOIN dp.global_index_config g ON g.side = $4 JOIN pg_class c ON c.oid = g.tbl AND c.relowner = p.proowner"
        " WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = 0 AND p.prorettype = 'trigger'::regtype",
        ("text", "text", "text", "oid"),
        (side.schema, side.name, side.identifier.text, side.oid),
    )
    return not rows or bool(rows[0]["named"])


def wanted(table: Table, side: GlobalIndex) -> Wanted:
    """What the trigger function of a global index is made of."""
    columns = {each.name: each for each in catalog_structure.columns(table.oid)}
    return Wanted(side, tuple(columns[name] for name in side.stored), (), side.hash_partitions)
