"""Reading what drift is judged by: every slice and leaf of a table in a handful of queries, however many there are."""

from __future__ import annotations

from .. import database
from ..model import Hierarchy, Table
from ..plan.ageing import AgeingPolicy
from ..plan.difference import Column, Facts, IndexPlace, MissingIndex, Partition, Trigger
from ..plan.structure import ENABLED_WORDS
from ..sql import Identifier
from . import properties as catalog_properties

# A slice goes with its leaves: what is done to it reaches them, too.
_PARTITIONS = """
    SELECT tree.relid::oid AS oid, tree.parentrelid::oid AS parent, tree.isleaf AND c.relkind <> 'p' AS is_leaf,
           (SELECT count(*) FROM pg_partition_tree(tree.relid)) AS relations
    FROM pg_partition_tree($1) AS tree JOIN pg_class c ON c.oid = tree.relid
    WHERE tree.level > 0 ORDER BY tree.level, c.relname
"""

_TYPE = (
    "format_type({0}.atttypid, {0}.atttypmod) || CASE WHEN {0}.attcollation NOT IN (0, {1}.typcollation) THEN"
    " ' COLLATE ' || {0}.attcollation::regcollation ELSE '' END"
)

# The columns of the template that differ from the table's: what it lacks, has too much, or has of another type.
_TEMPLATE_COLUMNS = f"""
    SELECT $2::oid AS relation, 'column' AS aspect, coalesce(parent.name, own.name) AS name,
           parent.declaration AS expected, own.declaration AS actual
    FROM (SELECT a.attname AS name, {_TYPE.format("a", "t")} AS declaration
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped) AS parent
    FULL JOIN (SELECT a.attname AS name, {_TYPE.format("a", "t")} AS declaration
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
               WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped) AS own USING (name)
    WHERE parent.declaration IS DISTINCT FROM own.declaration
    ORDER BY 3
"""

_STORAGE_WORDS = (
    "CASE {0}.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END"
)
_COMPRESSION_WORDS = "CASE {0}.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END"

# What partitions have otherwise than the table: ALTER TABLE partition can set these.
_COLUMNS = f"""
    SELECT own.attrelid AS relation, found.aspect, own.attname AS name, found.expected, found.actual
    FROM pg_attribute parent
    JOIN pg_attribute own ON own.attname = parent.attname AND own.attrelid = ANY ($2) AND NOT own.attisdropped
    CROSS JOIN LATERAL (
        SELECT 'column storage' AS aspect, {_STORAGE_WORDS.format("parent")} AS expected,
               {_STORAGE_WORDS.format("own")} AS actual WHERE own.attstorage <> parent.attstorage
        UNION ALL
        SELECT 'compression', {_COMPRESSION_WORDS.format("parent")}, {_COMPRESSION_WORDS.format("own")}
        WHERE own.attcompression <> parent.attcompression
        UNION ALL
        SELECT 'default', d.expected, d.actual
        FROM (SELECT (SELECT pg_get_expr(p.adbin, p.adrelid) FROM pg_attrdef p
                      WHERE p.adrelid = parent.attrelid AND p.adnum = parent.attnum) AS expected,
                     (SELECT pg_get_expr(o.adbin, o.adrelid) FROM pg_attrdef o
                      WHERE o.adrelid = own.attrelid AND o.adnum = own.attnum) AS actual) AS d
        WHERE (parent.atthasdef OR own.atthasdef) AND parent.attgenerated = '' AND d.expected IS DISTINCT FROM d.actual
        UNION ALL
        SELECT 'not null', CASE WHEN parent.attnotnull THEN 'NOT NULL' ELSE 'NULL' END,
               CASE WHEN own.attnotnull THEN 'NOT NULL' ELSE 'NULL' END
        WHERE own.attnotnull <> parent.attnotnull
    ) AS found
    WHERE parent.attrelid = $1 AND parent.attnum > 0 AND NOT parent.attisdropped
    ORDER BY own.attrelid, parent.attnum
"""

_MISSING_INDEXES = """
    SELECT part.inhrelid AS relation, n.nspname AS schema, x.relname AS parent_index, top.relname AS top_index,
           i.indisunique AS is_unique, dp._index_definition(i.indexrelid) AS definition,
           pg_get_constraintdef(k.oid) AS constraint, dp._partition_index_name(part.inhrelid, i.indexrelid) AS name
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'I'
    JOIN pg_namespace n ON n.oid = x.relnamespace
    JOIN pg_inherits part ON part.inhparent = i.indrelid AND NOT part.inhdetachpending
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
    CROSS JOIN LATERAL (SELECT t.relname FROM pg_partition_ancestors(x.oid) AS a (relid)
                        JOIN pg_class t ON t.oid = a.relid WHERE NOT t.relispartition) AS top
    WHERE i.indrelid = ANY ($1)
      AND NOT EXISTS (SELECT FROM pg_inherits own JOIN pg_index o ON o.indexrelid = own.inhrelid
                      WHERE own.inhparent = i.indexrelid AND o.indrelid = part.inhrelid)
    ORDER BY x.relname, part.inhrelid
"""

# Of indexes that are part of a partitioned one those that are elsewhere; and all that are a leaf's own.
_INDEX_PLACES = """
    SELECT i.indrelid AS relation, n.nspname AS schema, x.relname AS name,
           coalesce(s.spcname, own.spcname) AS tablespace,
           CASE WHEN x.relispartition THEN coalesce(p.spcname, own.spcname) END AS expected
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i'
    JOIN pg_namespace n ON n.oid = x.relnamespace
    JOIN pg_database d ON d.datname = current_database()
    JOIN pg_tablespace own ON own.oid = d.dattablespace
    LEFT JOIN pg_tablespace s ON s.oid = x.reltablespace
    LEFT JOIN pg_inherits part ON part.inhrelid = x.oid
    LEFT JOIN pg_class parent ON parent.oid = part.inhparent
    LEFT JOIN pg_tablespace p ON p.oid = parent.reltablespace
    WHERE i.indrelid = ANY ($1) AND (NOT x.relispartition OR x.reltablespace <> parent.reltablespace)
    ORDER BY x.relname
"""

_OWN_TABLESPACE = """
    SELECT s.spcname AS name FROM pg_database d JOIN pg_tablespace s ON s.oid = d.dattablespace
    WHERE d.datname = current_database()
"""

_TRIGGERS = """
    SELECT own.tgrelid AS relation, own.tgname AS name, parent.tgenabled AS expected, own.tgenabled AS actual
    FROM pg_trigger own JOIN pg_trigger parent ON parent.oid = own.tgparentid
    WHERE own.tgrelid = ANY ($1) AND NOT own.tgisinternal AND own.tgenabled <> parent.tgenabled
    ORDER BY own.tgrelid, own.tgname
"""


def read(hierarchy: Hierarchy, policies: dict[int, AgeingPolicy]) -> list[Facts]:
    """What is compared, of every table of a hierarchy; ``policies``: what policies ask for, by slice."""
    return [read_table(table, policies) for table in hierarchy.tables]


def read_table(table: Table, policies: dict[int, AgeingPolicy] | None = None) -> Facts:
    """What is compared of one table."""
    reached = policies or {}
    rows = database.query(_PARTITIONS, ("oid",), (table.oid,))
    oids = [row["oid"] for row in rows]
    states = catalog_properties.states(oids)
    partitions = tuple(
        Partition(
            row["oid"],
            row["is_leaf"],
            row["relations"] * table.relations_per_leaf,
            states[row["oid"]],
            reached.get(row["oid"]) or reached.get(row["parent"]),
        )
        for row in rows
    )
    columns = database.query(_COLUMNS, ("oid", "oid[]"), (table.oid, oids))
    if table.template_oid is not None:
        columns += database.query(_TEMPLATE_COLUMNS, ("oid", "oid"), (table.oid, table.template_oid))
    tree = [table.oid, *oids]
    leaves = [row["oid"] for row in rows if row["is_leaf"]]
    return Facts(
        table,
        catalog_properties.read(table.oid, table.template_oid),
        partitions,
        tuple(Column(row["relation"], row["aspect"], row["name"], row["expected"], row["actual"]) for row in columns),
        tuple(_missing_index(row) for row in database.query(_MISSING_INDEXES, ("oid[]",), (tree,))),
        tuple(
            Trigger(row["relation"], row["name"], ENABLED_WORDS[row["expected"]], ENABLED_WORDS[row["actual"]])
            for row in database.query(_TRIGGERS, ("oid[]",), (oids,))
        ),
        tuple(
            IndexPlace(row["relation"], Identifier(row["schema"], row["name"]), row["tablespace"], row["expected"])
            for row in database.query(_INDEX_PLACES, ("oid[]",), (leaves,))
        ),
        str(database.query(_OWN_TABLESPACE)[0]["name"]),
    )


def _missing_index(row: database.Row) -> MissingIndex:
    return MissingIndex(
        row["relation"],
        row["schema"],
        row["parent_index"],
        row["top_index"],
        row["is_unique"],
        row["definition"],
        row["constraint"],
        row["name"],
    )
