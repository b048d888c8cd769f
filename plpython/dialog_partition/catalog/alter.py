"""Reading what schema changes need: the table that is changed, and whether all its partitions agree afterwards."""

from __future__ import annotations

from .. import database
from ..model import Hierarchy, Table
from ..plan.alter import Target
from ..plan.asked import ColumnFacts, IndexFacts
from . import slices as catalog_slices

MAX_TOLD = 5

# The partitions of a table whose column is not what the table's is; a name that the table lacks must be lacked by all.
# OFFSET 0: each column is looked up by its index, however wrong the statistics of the catalog are.
_COLUMN = """
    SELECT tree.relid::text AS name
    FROM (SELECT c.oid AS relid FROM pg_class c WHERE c.oid = $1) AS top
    CROSS JOIN pg_partition_tree(top.relid) AS tree
    LEFT JOIN LATERAL (SELECT a.*, pg_get_expr(d.adbin, d.adrelid) AS expression FROM pg_attribute a
                       LEFT JOIN pg_attrdef d ON a.atthasdef AND d.adrelid = a.attrelid AND d.adnum = a.attnum
                       WHERE a.attrelid = top.relid AND a.attname = $2 AND NOT a.attisdropped OFFSET 0) AS parent
        ON true
    LEFT JOIN LATERAL (SELECT a.*, pg_get_expr(d.adbin, d.adrelid) AS expression FROM pg_attribute a
                       LEFT JOIN pg_attrdef d ON a.atthasdef AND d.adrelid = a.attrelid AND d.adnum = a.attnum
                       WHERE a.attrelid = tree.relid AND a.attname = $2 AND NOT a.attisdropped OFFSET 0) AS own
        ON true
    WHERE (own.atttypid, own.atttypmod, own.attcollation, own.attnotnull, own.attgenerated, own.expression)
          IS DISTINCT FROM (parent.atttypid, parent.atttypmod, parent.attcollation, parent.attnotnull,
                            parent.attgenerated, parent.expression)
    LIMIT $3
"""

# A partition's own copy descends from the table's; only CHECKs have no parent, and go by their name.
_CONSTRAINT = """
    WITH RECURSIVE family AS (
        SELECT oid, conrelid, conname, contype, convalidated FROM pg_constraint WHERE conrelid = $1 AND conname = $2
        UNION ALL
        SELECT k.oid, k.conrelid, k.conname, k.contype, k.convalidated
        FROM family f JOIN pg_constraint k ON k.conparentid = f.oid
    )
    SELECT tree.relid::text AS name
    FROM pg_constraint parent, pg_partition_tree($1) AS tree
    WHERE parent.conrelid = $1 AND parent.conname = $2 AND tree.level > 0
      AND NOT CASE parent.contype WHEN 'c' THEN
          EXISTS (SELECT FROM pg_constraint own WHERE own.conrelid = tree.relid AND own.contype = 'c'
                  AND own.conname = parent.conname AND own.coninhcount > 0 AND own.convalidated = parent.convalidated)
          ELSE EXISTS (SELECT FROM family own
                       WHERE own.conrelid = tree.relid AND own.convalidated = parent.convalidated) END
    LIMIT $3
"""

_INDEX = """
    SELECT x.relname::text AS name FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = $1 AND x.relname = $2 AND NOT i.indisvalid LIMIT $3
"""

_COLUMN_FACTS = """
    SELECT format_type(a.atttypid, a.atttypmod) AS type,
           CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation::text END AS collation,
           a.attnotnull AS is_not_null,
           CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END AS identity,
           CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid)
                                               || CASE a.attgenerated WHEN 'v' THEN ' VIRTUAL' ELSE '' END
                END AS generated,
           CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_value,
           col_description(a.attrelid, a.attnum) AS comment,
           (SELECT count(DISTINCT (p.classid, p.objid)) FROM pg_depend p
            WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum)
               AS dependents
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
"""

_INDEX_FACTS = """
    SELECT i.indisunique AS is_unique, dp._index_definition(i.indexrelid) AS definition, i.indisvalid AS is_valid,
           EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid
                   AND k.contype IN ('p', 'u', 'x')) AS is_of_constraint
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = $1 AND x.relname = $2
"""

_QUERIES = {"column": _COLUMN, "constraint": _CONSTRAINT, "index": _INDEX}


def target(hierarchy: Hierarchy, table: Table) -> Target:
    """A managed table with the names of its partitions."""
    slices = hierarchy.slices[table.oid]
    leaves = catalog_slices.leaves(list(slices))
    whole = tuple(each.identifier for each in slices if not each.is_partitioned)
    below = tuple(leaf for each in slices for leaf in leaves.get(each.oid, ()))
    upper = tuple((each.oid, each.identifier) for each in slices if each.is_partitioned)
    return Target(hierarchy, table, upper, whole + below)


def disagreeing(kind: str, table: int, name: str) -> list[str]:
    """Some partitions that are not what their table is, in a column, constraint or index."""
    rows = database.query(_QUERIES[kind], ("oid", "name", "int"), (table, name, MAX_TOLD))
    return [row["name"] for row in rows]


def find_column(table: int, name: str) -> ColumnFacts | None:
    """What a column is, as PostgreSQL deparses it; None where there is none."""
    rows = database.query(_COLUMN_FACTS, ("oid", "name"), (table, name))
    return ColumnFacts(**rows[0]) if rows else None


def column(table: int, name: str) -> ColumnFacts:
    """The same of a column that is known to be there."""
    return ColumnFacts(**database.query(_COLUMN_FACTS, ("oid", "name"), (table, name))[0])


def index(table: int, name: str) -> IndexFacts | None:
    """What an index is."""
    rows = database.query(_INDEX_FACTS, ("oid", "name"), (table, name))
    return IndexFacts(**rows[0]) if rows else None


def constraint(table: int, name: str) -> str | None:
    """What a constraint is, as PostgreSQL deparses it."""
    rows = database.query(
        "SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = $1 AND conname = $2",
        ("oid", "name"),
        (table, name),
    )
    return rows[0]["definition"] if rows else None


def has_unvalidated(table: int) -> bool:
    """Whether a table has constraints that were added NOT VALID."""
    rows = database.query(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1 AND NOT convalidated) AS found",
        ("oid",),
        (table,),
    )
    return bool(rows[0]["found"])


def file_of(table: int) -> int:
    """The file that holds a table's rows: another one when they were written anew."""
    return int(database.query("SELECT pg_relation_filenode($1)::bigint AS file", ("oid",), (table,))[0]["file"])


def lacks_storage(table: int, template: int | None, given: dict[str, str], reset: list[str]) -> bool:
    """Whether the template or a leaf of a table lacks some storage parameters, or has some that shall go."""
    rows = database.query(
        "SELECT EXISTS (SELECT FROM (SELECT relid::oid AS oid FROM pg_partition_tree($1) WHERE isleaf UNION SELECT $2"
        " UNION SELECT oid FROM pg_class WHERE oid = $1 AND relkind = 'r')"
        " AS r JOIN pg_class c USING (oid) LEFT JOIN pg_class t ON t.oid = c.reltoastrelid"
        " CROSS JOIN LATERAL (SELECT coalesce(c.reloptions, '{}')"
        "                            || ARRAY(SELECT 'toast.' || o FROM unnest(t.reloptions) AS o) AS options) AS own"
        " WHERE NOT own.options @> $3 OR EXISTS (SELECT FROM unnest(own.options) AS o"
        "                                        WHERE split_part(o, '=', 1) = ANY ($4))) AS found",
        ("oid", "oid", "text[]", "text[]"),
        (table, template, [f"{name}={value}" for name, value in given.items()], reset),
    )
    return bool(rows[0]["found"])
