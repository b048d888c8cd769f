"""Reading and filling the server's cache: extensions pg_prewarm and pg_buffercache, where they are."""

from __future__ import annotations

from typing import NamedTuple

from .. import database
from ..model import Hierarchy
from ..plan.cache import GLOBAL_INDEX, GONE, HEAP, INDEX, LOCKED, REFERENCE, WARMED, Candidate
from ..sql import Identifier, Literal, compose

# The rows of leaves and their valid indexes; "chosen" are the tables' indexes that must be warm, all where NULL.
_RELATIONS = """
    SELECT r.oid, r.relkind, n.nspname AS schema, r.relname AS name, pg_relation_size(r.oid) AS size, leaf.slice
    FROM (SELECT s.oid AS slice, coalesce(h.inhrelid, s.oid) AS oid
          FROM unnest($1) AS s (oid) LEFT JOIN pg_inherits h ON h.inhparent = s.oid) AS leaf
    CROSS JOIN LATERAL (
        SELECT leaf.oid UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = leaf.oid AND i.indisvalid
          AND ($2 IS NULL OR EXISTS (SELECT FROM pg_partition_ancestors(i.indexrelid) AS a WHERE a.relid = ANY ($2)))
    ) AS each (oid)
    JOIN pg_class r ON r.oid = each.oid
    JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE r.relkind IN ('r', 'i')
"""

_SIDE_RELATIONS = """
    SELECT r.oid, n.nspname AS schema, r.relname AS name, pg_relation_size(r.oid) AS size
    FROM (SELECT $1 AS oid UNION SELECT relid::oid FROM pg_partition_tree($1)) AS side
    CROSS JOIN LATERAL (SELECT side.oid UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = side.oid)
        AS each (oid)
    JOIN pg_class r ON r.oid = each.oid
    JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE r.relkind IN ('r', 'i')
"""

_FACILITIES = """
    SELECT e.extname AS name, n.nspname AS schema,
           CASE e.extname WHEN 'pg_prewarm' THEN bool_or(has_function_privilege(p.oid, 'EXECUTE'))
           ELSE bool_or(has_function_privilege(p.oid, 'EXECUTE')) FILTER (WHERE p.proname = 'pg_buffercache_pages')
                AND has_table_privilege(format('%I.pg_buffercache', n.nspname), 'SELECT') END AS usable
    FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace
    JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname IN ('pg_prewarm', 'pg_buffercache_pages')
        AND starts_with(p.proname, e.extname)
    WHERE e.extname = $1
    GROUP BY e.extname, n.nspname
"""


class Facility(NamedTuple):
    """An extension that knows the cache, and whether the caller may use it."""

    schema: str
    usable: bool


def facility(name: str) -> Facility | None:
    """An extension, None where it is not installed."""
    rows = database.query(_FACILITIES, ("text",), (name,))
    return Facility(rows[0]["schema"], bool(rows[0]["usable"])) if rows else None


def candidates(hierarchy: Hierarchy, indexes: list[int] | None) -> list[Candidate]:
    """The relations of a hierarchy that hold pages, of its indexes the given ones or all."""
    found: list[Candidate] = []
    for table in hierarchy.tables:
        slices = hierarchy.slices[table.oid]
        # by their end, the newest first; the default slice's rows are of no time, and come last
        newest = sorted(slices, key=lambda each: (each.upper is None, -(each.upper.point if each.upper else 0)))
        age = {each.oid: place for place, each in enumerate(newest)}
        rows = database.query(_RELATIONS, ("oid[]", "oid[]"), ([each.oid for each in slices], indexes))
        for row in rows:
            kind = HEAP if row["relkind"] == "r" else INDEX
            name = Identifier(row["schema"], row["name"]).text
            found.append(Candidate(row["oid"], table.identifier.text, name, kind, row["size"], age[row["slice"]]))
        for side in table.global_indexes:
            for row in database.query(_SIDE_RELATIONS, ("oid",), (side.oid,)):
                name = Identifier(row["schema"], row["name"]).text
                found.append(Candidate(row["oid"], table.identifier.text, name, GLOBAL_INDEX, row["size"], 0))
    for table in hierarchy.references:
        name = table.identifier.text
        size = database.query("SELECT pg_relation_size($1::regclass) AS size", ("oid",), (table.oid,))[0]["size"]
        found.append(Candidate(table.oid, name, name, REFERENCE, size, 0))
    return [each for each in found if each.size]  # the size of what was dropped meanwhile is NULL


def primary_keys(tables: list[int]) -> list[int]:
    """The indexes of the tables' primary keys."""
    rows = database.query(
        "SELECT indexrelid AS oid FROM pg_index WHERE indisprimary AND indrelid = ANY ($1)", ("oid[]",), (tables,)
    )
    return [row["oid"] for row in rows]


def resident(found: list[Candidate], buffercache: Facility) -> dict[int, int]:
    """How many bytes of each relation's main fork are in the cache."""
    query = compose(
        "WITH cached AS (SELECT reltablespace, relfilenode, count(*) AS pages FROM {}"
        " WHERE relforknumber = 0 AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " GROUP BY 1, 2)"
        " SELECT c.oid, cached.pages * current_setting('block_size')::bigint AS bytes FROM pg_class c"
        " JOIN cached ON cached.relfilenode = pg_relation_filenode(c.oid) AND cached.reltablespace = coalesce("
        "nullif(c.reltablespace, 0), (SELECT dattablespace FROM pg_database WHERE datname = current_database()))"
        " WHERE c.oid = ANY ({}::oid[])",
        Identifier(buffercache.schema, "pg_buffercache"),
        Literal("{" + ",".join(str(each.oid) for each in found) + "}"),
    )
    return {row["oid"]: int(row["bytes"]) for row in database.query_once(query.text)}


def warm(each: Candidate, prewarm: Facility) -> str:
    """Read a relation into the cache, and what became of it; its lock is let go at once."""
    query = compose("SELECT {}({}::oid::regclass)", Identifier(prewarm.schema, "pg_prewarm"), Literal(each.oid))
    try:
        database.rolled_back(lambda: database.query_once(query.text))
        return WARMED
    except database.ServerError as error:
        if database.is_lock_timeout(error):
            return LOCKED
        if database.query("SELECT FROM pg_class WHERE oid = $1", ("oid",), (each.oid,)):
            raise
        return GONE


def buffers() -> int:
    """The size of shared_buffers in bytes."""
    rows = database.query("SELECT pg_size_bytes(current_setting('shared_buffers')) AS bytes")
    return int(rows[0]["bytes"])
