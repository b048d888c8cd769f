"""Reading the physical order of leaves: the indexes to order by, the leaves, and how far these are from it."""

from __future__ import annotations

from .. import database
from ..model import Slice
from ..plan import physical_order as plan
from ..plan.physical_order import Leaf, OrderIndex

# Of whole rows, by plain columns: what CLUSTER can use, and what a reader meets in its order.
_INDEXES = """
    SELECT x.oid, n.nspname AS schema, x.relname AS name,
           ARRAY(SELECT a.attname FROM generate_series(0, i.indnkeyatts - 1) AS place
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[place]
                 ORDER BY place) AS columns,
           ARRAY(SELECT CASE WHEN i.indoption[place] & 1 = 1 THEN 'DESC' ELSE 'ASC' END
                     || CASE WHEN i.indoption[place] & 2 = 2 THEN ' NULLS FIRST' ELSE ' NULLS LAST' END
                 FROM generate_series(0, i.indnkeyatts - 1) AS place ORDER BY place) AS directions,
           (SELECT count(*) FROM pg_partition_tree(x.oid) AS tree JOIN pg_index l ON l.indexrelid = tree.relid
            WHERE l.indisclustered) AS marked,
           EXISTS (SELECT FROM dp.table_config t WHERE t.tbl = $1 AND t.role <> 'reference'
                   AND t.cluster_index = x.relname) AS is_chosen
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = x.relnamespace
    JOIN pg_am m ON m.oid = x.relam
    WHERE i.indrelid = $1 AND m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    ORDER BY x.relname
"""

_LEAVES = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, x.relname AS index_name, size.bytes AS size,
           (size.bytes + page.bytes - 1) / page.bytes AS pages,
           (SELECT count(*) FROM pg_index o WHERE o.indrelid = c.oid) + 3 AS relations,
           c.relpersistence = 'p' AS is_logged,
           EXISTS (SELECT FROM pg_index k WHERE k.indrelid = c.oid AND k.indisvalid AND k.indimmediate
                   AND CASE c.relreplident WHEN 'n' THEN false WHEN 'i' THEN k.indisreplident ELSE k.indisprimary END)
               AS has_identity,
           -- a new file has a new number, and nothing in it is known to be visible to all
           c.relallvisible > 0 OR c.relpages = 0 OR pg_relation_filenode(c.oid) = c.oid AS is_vacuumed,
           o.at AS ordered, coalesce(o.changes > 0 AND dp._changes_of(c.oid) = o.changes, false) AS is_unchanged,
           -- the count begins anew after a crash
           CASE WHEN dp._changes_of(c.oid) >= o.changes THEN dp._changes_of(c.oid) - o.changes END AS changed
    FROM pg_partition_tree($1::regclass) AS tree
    JOIN pg_index i ON i.indexrelid = tree.relid
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_class c ON c.oid = i.indrelid AND c.relkind = 'r'
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT pg_relation_size(c.oid) AS bytes) AS size
    CROSS JOIN LATERAL (SELECT current_setting('block_size')::bigint AS bytes) AS page
    LEFT JOIN dp.leaf_order o ON o.leaf = c.oid AND o.index_name = (SELECT relname FROM pg_class WHERE oid = $1)
    WHERE $2 IS NULL OR c.oid = ANY ($2)
        OR EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid AND h.inhparent = ANY ($2))
    ORDER BY n.nspname, c.relname
"""

# How the groups of a measurement are read: by the index, also of a leaf of which no statistics say that this is best.
_BY_INDEX = {"enable_seqscan": "off", "enable_bitmapscan": "off", "max_parallel_workers_per_gather": "0"}
MORE = 10  # times as many pages are looked at when those that were chosen had no row


def indexes(table: int) -> list[OrderIndex]:
    """The indexes of a table that leaves can be ordered by."""
    return [
        OrderIndex(
            row["oid"],
            row["schema"],
            row["name"],
            tuple(row["columns"]),
            tuple(row["directions"]),
            row["marked"],
            row["is_chosen"],
        )
        for row in database.query(_INDEXES, ("oid",), (table,))
    ]


def leaves(index: int, slices: list[Slice] | None) -> list[Leaf]:
    """The leaves that have an index, of some slices or all."""
    chosen = None if slices is None else [each.oid for each in slices]
    rows = database.query(_LEAVES, ("oid", "oid[]"), (index, chosen))
    return [Leaf(**{name: row[name] for name in Leaf._fields}) for row in rows]


def disorder(leaf: Leaf, index: OrderIndex, groups: tuple[str, ...], sample_pages: int) -> float | None:
    """How many times the least possible pages are read for rows that belong together; None: nothing to measure."""
    if leaf.pages == 0:
        return None

    def measured() -> float | None:
        database.set_all_local(_BY_INDEX)
        return _disorder(leaf, index, groups, sample_pages)

    return database.rolled_back(measured)


def _disorder(leaf: Leaf, index: OrderIndex, groups: tuple[str, ...], sample_pages: int) -> float | None:
    percent = min(100.0, 100.0 * sample_pages / leaf.pages)
    row = database.query_once(plan.measurement(leaf, index, groups, percent).text)[0]
    if row["pages"] is not None:
        return max(float(row["pages"] / row["least"]), 1.0)
    return None if percent == 100 else _disorder(leaf, index, groups, sample_pages * MORE)


def heaps_of(indexes: list[int]) -> dict[int, int]:
    """The tables that indexes belong to."""
    rows = database.query(
        "SELECT indexrelid AS oid, indrelid AS heap FROM pg_index WHERE indexrelid = ANY ($1)", ("oid[]",), (indexes,)
    )
    return {row["oid"]: row["heap"] for row in rows}


def seconds(interval: str) -> float:
    """The length of an interval that PostgreSQL wrote."""
    rows = database.query("SELECT extract(epoch FROM $1::interval)::float8 AS value", ("text",), (interval,))
    return float(rows[0]["value"])
