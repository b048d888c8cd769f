"""Reading slices that were detached: those that are remembered, and those that somebody detached by hand."""

from __future__ import annotations

from .. import database, keys, naming
from ..model import Hierarchy, SliceSpec, Table
from ..plan import slices as plan_slices
from ..plan.alter import Follower
from ..plan.detached import DetachedSlice
from ..sql import Identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..database import Row

_RELATION = """
    n.nspname AS schema, c.relname AS name,
    ARRAY(SELECT l.relname FROM pg_inherits i JOIN pg_class l ON l.oid = i.inhrelid WHERE i.inhparent = c.oid
          ORDER BY 1) AS leaves,
    ARRAY(SELECT k.conname FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
          AND k.confrelid = ANY ($2) ORDER BY 1) AS foreign_keys
"""

_REMEMBERED = f"""
    SELECT d.tbl::oid AS table, d.lower_bound, d.upper_bound, p.lower_point, p.upper_point,
           dp._local_name(p.lower_point, $3, $4) AS lower_local, {_RELATION}
    FROM dp.detached_slice d JOIN pg_class c ON c.oid = d.slice JOIN pg_namespace n ON n.oid = c.relnamespace,
         LATERAL (SELECT dp._point(trim(BOTH chr(39) FROM d.lower_bound), $3) AS lower_point,
                         dp._point(trim(BOTH chr(39) FROM d.upper_bound), $3) AS upper_point) AS p
    WHERE d.root = $1 AND d.tbl = ANY ($2)
"""

# A table that stands by itself, with the name of a slice, the owner of the table, and the table's columns.
_BY_HAND = f"""
    SELECT w.number, dp._local_name(w.lower_point, $6, $7) AS lower_local, {_RELATION}
    FROM unnest($1, $3, $4, $5) WITH ORDINALITY AS w (tbl, schema_name, slice_name, lower_point, number)
    JOIN pg_class parent ON parent.oid = w.tbl
    JOIN pg_namespace n ON n.nspname = w.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.slice_name
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relowner = parent.relowner
      AND NOT EXISTS (SELECT FROM dp.detached_slice d WHERE d.slice = c.oid)
      AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM $8
      AND (SELECT array_agg((a.attname, a.atttypid, a.atttypmod, a.attcollation)::text ORDER BY a.attname)
           FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
        = (SELECT array_agg((a.attname, a.atttypid, a.atttypmod, a.attcollation)::text ORDER BY a.attname)
           FROM pg_attribute a WHERE a.attrelid = w.tbl AND a.attnum > 0 AND NOT a.attisdropped)
    ORDER BY w.number
"""


def remembered(hierarchy: Hierarchy) -> list[DetachedSlice]:
    """The slices that calls detached and that are still there, as their tables are, in the order of the tables."""
    rows = database.query(
        _REMEMBERED,
        ("oid", "oid[]", "text", "text"),
        (hierarchy.root.oid, hierarchy.referred, hierarchy.root.partition_type, hierarchy.policy.time_zone),
    )
    found = [
        _detached(row, row["table"], row["lower_bound"], row["upper_bound"], row["lower_point"], row["upper_point"])
        for row in rows
    ]
    return sorted(found, key=lambda each: _tables(hierarchy).index(each.table))


def of_table(table: Table) -> tuple[Follower, ...]:
    """The remembered slices of one table that its owner still owns."""
    rows = database.query(
        "SELECT c.oid, n.nspname AS schema, c.relname AS name,"
        " ARRAY(SELECT ARRAY[ln.nspname, l.relname] FROM pg_inherits i JOIN pg_class l ON l.oid = i.inhrelid"
        " JOIN pg_namespace ln ON ln.oid = l.relnamespace WHERE i.inhparent = c.oid ORDER BY l.relname) AS leaves"
        " FROM dp.detached_slice d JOIN pg_class c ON c.oid = d.slice JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_class parent ON parent.oid = d.tbl AND parent.relowner = c.relowner"
        " WHERE d.tbl = $1 ORDER BY n.nspname, c.relname",
        ("oid",),
        (table.oid,),
    )
    return tuple(
        Follower(row["oid"], Identifier(row["schema"], row["name"]), tuple(Identifier(*leaf) for leaf in row["leaves"]))
        for row in rows
    )


def by_hand(hierarchy: Hierarchy, lacking: list[tuple[Table, SliceSpec]]) -> list[DetachedSlice]:
    """The tables that stand where tables of the hierarchy lack slices, in the same order."""
    wanted = [(table, spec) for table, spec in lacking if spec.lower is not None and spec.upper is not None]
    if not wanted:
        return []
    rows = database.query(
        _BY_HAND,
        ("oid[]", "oid[]", "text[]", "text[]", "bigint[]", "text", "text", "text"),
        (
            [table.oid for table, _ in wanted],
            hierarchy.referred,
            [table.schema for table, _ in wanted],
            [naming.slice_name(table.name, spec.suffix) for table, spec in wanted],
            [spec.span[0] for _, spec in wanted],
            hierarchy.root.partition_type,
            hierarchy.policy.time_zone,
            plan_slices.UNFINISHED,
        ),
    )
    found = []
    for row in rows:
        table, spec = wanted[row["number"] - 1]
        assert spec.lower is not None and spec.upper is not None
        lower, upper = spec.lower.point, spec.upper.point
        key_type = str(table.partition_type)
        texts = (keys.literal(lower, key_type).text, keys.literal(upper, key_type).text)
        found.append(_detached(row, table.oid, *texts, lower, upper)._replace(is_remembered=False))
    return found


def unfinished(hierarchy: Hierarchy, specs: list[SliceSpec]) -> list[tuple[Identifier, tuple[Identifier, ...]]]:
    """What kills left of new slices of the root that were built aside: each with its leaves."""
    root = hierarchy.root
    if not specs:
        return []
    rows = database.query(
        "SELECT c.relname AS name, ARRAY(SELECT l.relname FROM pg_inherits i JOIN pg_class l ON l.oid = i.inhrelid"
        " WHERE i.inhparent = c.oid AND l.relnamespace = c.relnamespace ORDER BY 1) AS leaves"
        " FROM pg_class c JOIN pg_class r ON r.oid = $1 AND r.relnamespace = c.relnamespace AND r.relowner = c.relowner"
        " WHERE c.relname = ANY ($2) AND c.relkind = 'p' AND NOT c.relispartition"
        " AND NOT EXISTS (SELECT FROM dp.detached_slice d WHERE d.slice = c.oid)"
        " AND obj_description(c.oid, 'pg_class') = $3 ORDER BY 1",
        ("oid", "name[]", "text"),
        (root.oid, [naming.slice_name(root.name, spec.suffix) for spec in specs], plan_slices.UNFINISHED),
    )
    return [
        (Identifier(root.schema, row["name"]), tuple(Identifier(root.schema, leaf) for leaf in row["leaves"]))
        for row in rows
    ]


def unlike_columns(each: DetachedSlice) -> list[str]:
    """The columns that a slice lacks, has beyond those of its table, or has with another type or collation."""
    rows = database.query(
        "SELECT attname AS name FROM (SELECT attrelid, attname, atttypid, atttypmod, attcollation FROM pg_attribute"
        " WHERE attrelid IN ($1, to_regclass($2)) AND attnum > 0 AND NOT attisdropped) AS a"
        " GROUP BY attname, atttypid, atttypmod, attcollation HAVING count(*) = 1 ORDER BY 1",
        ("oid", "text"),
        (each.table, each.identifier.text),
    )
    return sorted({row["name"] for row in rows})


def _tables(hierarchy: Hierarchy) -> list[int]:
    return [table.oid for table in hierarchy.tables]


def _detached(
    row: Row, table: int, lower_bound: str, upper_bound: str, lower_point: int | None, upper_point: int | None
) -> DetachedSlice:
    return DetachedSlice(
        table,
        row["schema"],
        row["name"],
        tuple(row["leaves"]),
        lower_bound,
        upper_bound,
        lower_point,
        upper_point,
        row["lower_local"],
        tuple(row["foreign_keys"]),
    )
