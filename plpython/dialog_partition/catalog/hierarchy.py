"""Reading hierarchies: configuration, tables in the order of their foreign keys, slices."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from .. import database, errors
from ..calendars import parse_width
from ..model import REFERENCE, ROOT, Edge, Hierarchy, Policy, Slice, Table
from ..plan import coverage, table_order
from ..sql import Identifier
from . import foreign_keys as catalog_keys
from . import global_index as catalog_global_index
from . import server as catalog_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..database import Row

_POLICIES = """
    SELECT root::oid AS root, root::text AS root_name, range_key, hash_key, key_form, slice_key, bucket, slice,
           hash_partitions, premake, start, retention, retention_action, retention_schema, retention_grace,
           retention_export, retention_protect, time_zone, default_slice, lookup_slices,
           (extract(epoch FROM lock_timeout) * 1000)::bigint AS lock_timeout,
           (extract(epoch FROM analyze_interval) * 1000)::bigint AS analyze_interval,
           (extract(epoch FROM log_retention) * 1000)::bigint AS log_retention,
           format_type(a.atttypid, NULL) AS range_type
    FROM dp.hierarchy_config h
    JOIN pg_class c ON c.oid = h.root
    LEFT JOIN pg_attribute a ON a.attrelid = h.root AND a.attname = h.range_key AND NOT a.attisdropped
    WHERE $1 IS NULL OR root = ANY ($1)
    ORDER BY root::oid
"""

_TABLES = """
    SELECT t.root::oid AS root, t.role, c.oid, n.nspname AS schema, c.relname AS name,
           pg_get_userbyid(c.relowner) AS owner,
           c.relkind AS kind, a.attname AS partition_column, format_type(a.atttypid, NULL) AS partition_type,
           coalesce(h.slice_key, h.range_key) AS first_key,
           tc.oid AS template_oid, tn.nspname AS template_schema, tc.relname AS template_name,
           (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) + 3 AS relations_per_leaf,
           -- counted, for EXISTS would be hashed: a scan of the whole catalog
           (SELECT count(*) FROM pg_attribute i WHERE i.attrelid = c.oid AND i.attidentity <> '') > 0 AS has_identity,
           -- by its triggers: pg_constraint has no index for the table that a key refers to
           (SELECT count(*) FROM pg_trigger g JOIN pg_constraint k ON k.oid = g.tgconstraint
            WHERE g.tgrelid = c.oid AND k.confrelid = c.oid AND k.contype = 'f') > 0 AS is_referenced,
           2 + (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conparentid = 0)
           + (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgparentid = 0)
           + (SELECT count(*) FROM pg_attrdef d WHERE d.adrelid = c.oid)
           + (SELECT count(*) FROM pg_policy y WHERE y.polrelid = c.oid)
           + (SELECT count(*) FROM pg_statistic_ext s WHERE s.stxrelid = tc.oid) AS objects_per_leaf,
           ARRAY(SELECT k.name FROM unnest(ARRAY[coalesce(h.slice_key, h.range_key), h.hash_key,
                                                 CASE t.role WHEN 'root' THEN h.range_key END]) AS k (name)
                 WHERE t.role <> 'reference' AND k.name IS NOT NULL
                   AND NOT EXISTS (SELECT FROM pg_attribute x WHERE x.attrelid = c.oid AND x.attname = k.name
                                   AND NOT x.attisdropped)) AS missing_keys
    FROM dp.table_config t
    JOIN dp.hierarchy_config h ON h.root = t.root
    JOIN pg_class c ON c.oid = t.tbl
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
    LEFT JOIN pg_class tc ON tc.oid = t.template
    LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace
    WHERE t.root = ANY ($1)
    ORDER BY t.root::oid, c.oid
"""

_SLICES = "SELECT * FROM dp._slices($1, $2)"


class Root(NamedTuple):
    """The root of a hierarchy, which may be unreadable."""

    oid: int
    name: str
    owner: str
    is_own: bool  # whether the caller is its owner, or may become it


def load(root: int | None) -> Hierarchy:
    """One hierarchy."""
    root = catalog_server.named(root)
    found = load_all([root])
    if not found:
        raise errors.UndefinedObject(
            f"{catalog_server.relation_name(root)} is not the root of a hierarchy",
            "dp.hierarchy_config does not name it.",
            "See the view dp.hierarchy, or declare it with SELECT dp.create_hierarchy(...).",
        )
    return found[0]


def load_all(roots: list[int] | None = None) -> list[Hierarchy]:
    """Some hierarchies, or all, in a handful of queries however many there are."""
    rows = database.query(_POLICIES, ("oid[]",), (roots,))
    if not rows:
        return []
    roots = [row["root"] for row in rows]
    tables: dict[int, list[Table]] = {root: [] for root in roots}
    indexes = catalog_global_index.of_roots(roots)
    for row in database.query(_TABLES, ("oid[]",), (roots,)):
        _check_keys(row)
        tables[row["root"]].append(_table(row)._replace(global_indexes=indexes.get(row["oid"], ())))
    managed = [table.oid for found in tables.values() for table in found if table.role != REFERENCE]
    keys = catalog_keys.declared_on(managed)
    by_zone: dict[str, list[int]] = {}
    for row in rows:
        partitioned = [table.oid for table in tables[row["root"]] if table.role != REFERENCE and table.kind == "p"]
        by_zone.setdefault(row["time_zone"], []).extend(partitioned)
    slices = read_slices(by_zone)
    result = []
    for row in rows:
        own = tables[row["root"]]
        if all(table.role != ROOT for table in own):
            continue  # dropped since the configuration was read
        oids = {table.oid for table in own if table.role != REFERENCE}
        inside = tuple(key for key in keys if key.child in oids and key.parent in oids)
        sides = {index.oid: table.oid for table in own for index in table.global_indexes}
        apart = tuple(
            key._replace(parent=sides[key.parent]) for key in keys if key.child in oids and key.parent in sides
        )
        ordered = table_order.in_order([table for table in own if table.role != REFERENCE], inside, apart)
        references = tuple(table for table in own if table.role == REFERENCE)
        own_slices = {table.oid: tuple(slices.get(table.oid, ())) for table in ordered}
        found = Hierarchy(policy(row), row["range_type"], ordered, references, inside, own_slices, apart)
        result.append(found._replace(slices=coverage.with_modulus(found)))
    return result


def load_readable(roots: list[int]) -> tuple[list[Hierarchy], dict[int, Exception]]:
    """Some hierarchies, and why the others cannot be read; one that cannot does not hide the others."""
    try:
        return load_all(roots), {}
    except (errors.PartitionError, database.ServerError) as error:
        if database.is_cancel(error):
            raise
    found: list[Hierarchy] = []
    unreadable: dict[int, Exception] = {}
    for root in roots:
        try:
            found += load_all([root])
        except (errors.PartitionError, database.ServerError) as error:
            if database.is_cancel(error):
                raise
            unreadable[root] = error
    return found, unreadable


def _check_keys(row: Row) -> None:
    """A key column that was renamed by hand is named, before anything goes wrong without it."""
    if not row["missing_keys"]:
        return
    table, key = Identifier(row["schema"], row["name"]), row["missing_keys"][0]
    partition_column = row["partition_column"]
    by_range = f'; {table} is partitioned by RANGE of "{partition_column}"' if partition_column else ""
    now = Identifier(partition_column).text if key == row["first_key"] and partition_column else "..."
    raise errors.UndefinedColumn(
        f'key column "{key}" of {table} does not exist any more',
        f"The configuration knows it by this name{by_range}.",
        f"If it was renamed, rename it back: ALTER TABLE {table} RENAME COLUMN {now} TO {Identifier(key)};",
    )


def roots() -> list[Root]:
    """The roots of all hierarchies."""
    rows = database.query(
        "SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, pg_get_userbyid(c.relowner) AS owner,"
        " pg_has_role(c.relowner, 'USAGE') AS is_own"
        " FROM dp.hierarchy_config h JOIN pg_class c ON c.oid = h.root JOIN pg_namespace n ON n.oid = c.relnamespace"
        " ORDER BY c.oid"
    )
    return [Root(row["oid"], row["name"], row["owner"], row["is_own"]) for row in rows]


def own_roots() -> list[Root]:
    """Those whose owner the caller is, or may become."""
    return [root for root in roots() if root.is_own]


def policy(row: Row) -> Policy:
    """A row of dp.hierarchy_config as a value."""
    retention = row["retention"]
    return Policy(
        row["range_key"],
        row["hash_key"],
        row["key_form"],
        row["slice_key"],
        parse_width(row["bucket"], "bucket") if row["bucket"] else None,
        parse_width(row["slice"], "slice"),
        row["hash_partitions"],
        row["premake"],
        row["start"],
        parse_width(retention, "retention") if retention else None,
        row["retention_action"],
        row["retention_schema"],
        row["time_zone"],
        row["default_slice"],
        row["lock_timeout"],
        row["analyze_interval"],
        row["log_retention"],
        parse_width(row["retention_grace"], "retention_grace") if row["retention_grace"] else None,
        row["retention_export"],
        row["retention_protect"],
        row["lookup_slices"],
    )


def _table(row: Row) -> Table:
    return Table(
        row["oid"],
        row["schema"],
        row["name"],
        row["owner"],
        row["role"],
        row["kind"],
        row["partition_column"],
        row["partition_type"],
        row["template_oid"],
        row["template_schema"],
        row["template_name"],
        int(row["relations_per_leaf"]),
        row["has_identity"],
        row["is_referenced"],
        int(row["objects_per_leaf"]),
    )


def read_slices(tables: dict[str, list[int]]) -> dict[int, list[Slice]]:
    """The slices of partitioned tables, by table; the tables are given by time zone, and asked for once for each."""
    result: dict[int, list[Slice]] = {}
    for zone, oids in tables.items():
        for row in database.query(_SLICES, ("oid[]", "text"), (oids, zone)):
            result.setdefault(row["parent"], []).append(_slice(row))
    for found in result.values():
        found.sort(key=lambda each: (each.lower is not None, each.lower.point if each.lower else 0))
    return result


def _slice(row: Row) -> Slice:
    return Slice(
        row["slice"],
        row["schema_name"],
        row["slice_name"],
        row["is_partitioned"],
        row["is_default"],
        row["detach_pending"],
        _edge(row["lower_point"], row["lower_local"]),
        _edge(row["upper_point"], row["upper_local"]),
        row["modulus"] or 0,
        tuple(row["remainders"] or ()),
        row["is_leafless"],
    )


def _edge(point: int | None, local: str | None) -> Edge | None:
    if point is None:
        return None
    if local is None:
        return Edge(point)
    try:
        return Edge(point, datetime.datetime.fromisoformat(local))
    except ValueError:  # before the year 1 or after 9999
        return Edge(point)


def root_of(relation: int) -> int | None:
    """The root of the hierarchy that a table belongs to as root or child."""
    rows = database.query(
        "SELECT root::oid AS root FROM dp.table_config WHERE tbl = $1 AND role <> $2",
        ("oid", "text"),
        (relation, REFERENCE),
    )
    return int(rows[0]["root"]) if rows else None
