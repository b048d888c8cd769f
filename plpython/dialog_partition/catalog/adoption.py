"""Reading a tree of partitions that nobody declared to dialog_partition."""

from __future__ import annotations

from typing import NamedTuple

from .. import database, errors
from ..model import Table
from ..plan.alter import Follower
from ..sql import Identifier, Literal, compose
from . import server as catalog_server

_HASH_KEYS = """
    SELECT DISTINCT p.partstrat AS strategy, p.partnatts AS columns,
           dp._column_names(p.partrelid, p.partattrs::int2[]) AS names
    FROM pg_inherits i JOIN pg_partitioned_table p ON p.partrelid = i.inhrelid WHERE i.inhparent = $1
"""

_KINDS = """
    SELECT count(*) FILTER (WHERE c.relkind = 'p') AS partitioned, count(*) AS all
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1
"""

_NEWEST_LEAF = """
    SELECT c.oid FROM pg_partition_tree($1) p
    JOIN pg_class c ON c.oid = p.relid JOIN pg_class parent ON parent.oid = p.parentrelid
    WHERE p.isleaf AND c.relkind = 'r'
    ORDER BY 'DEFAULT' IN (pg_get_expr(c.relpartbound, c.oid),
                           coalesce(pg_get_expr(parent.relpartbound, parent.oid), '')),
             c.oid DESC
    LIMIT 1
"""

_CHILDREN = """
    SELECT DISTINCT k.conrelid AS oid
    FROM pg_constraint k
    JOIN pg_partitioned_table p ON p.partrelid = k.conrelid AND p.partstrat = 'r' AND p.partnatts = 1
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.partattrs[0]
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1) AND k.conrelid <> ALL ($1)
      AND a.attname = $2 AND dp._column_names(k.conrelid, k.conkey) @> $3
    ORDER BY 1
"""

_PART_CONFIG = """
    SELECT n.nspname AS schema,
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
           has_table_privilege(c.oid, 'DELETE') AS deletable
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'part_config' WHERE e.extname = 'pg_partman'
"""


class PartmanSettings(NamedTuple):
    """What pg_partman's configuration says of a table."""

    schema: str
    parent_table: str
    interval: str
    premake: int
    retention: str | None
    retention_schema: str | None
    keeps_table: bool


def hash_key(root: int, name: Identifier) -> str | None:
    """The column that the slices are partitioned by; None where slices are leaves themselves."""
    rows = database.query(_HASH_KEYS, ("oid",), (root,))
    kinds = database.query(_KINDS, ("oid",), (root,))[0]
    if not rows:
        return None
    one = len(rows) == 1 and rows[0]["strategy"] == "h" and rows[0]["columns"] == 1 and rows[0]["names"]
    if not one or kinds["partitioned"] != kinds["all"]:
        raise errors.WrongObjectType(
            f"the partitions of {name} are not all partitioned by HASH of one and the same column",
            "A slice is a leaf itself, or is partitioned by HASH of the hash key.",
            "Bring the tree into that form first.",
        )
    return str(rows[0]["names"][0])


def newest_leaf(table: int) -> int | None:
    """The leaf that was made last: its settings are the template's."""
    rows = database.query(_NEWEST_LEAF, ("oid",), (table,))
    return int(rows[0]["oid"]) if rows else None


def children(tables: list[int], partition_column: str, partition_keys: tuple[str, ...]) -> list[int]:
    """Tables partitioned by the same column that refer to some tables by a key with the partition keys."""
    rows = database.query(_CHILDREN, ("oid[]", "name", "name[]"), (tables, partition_column, list(partition_keys)))
    return [row["oid"] for row in rows]


def partman(schema: str, table: str) -> PartmanSettings | None:
    """What pg_partman, where it is installed, is configured to do with a table."""
    rows = database.query(_PART_CONFIG)
    if not rows:
        return None
    parent = f"{schema}.{table}"
    if not rows[0]["readable"]:
        database.warning(f"pg_partman's configuration cannot be read: make sure that it does not manage {parent}")
        return None
    text = compose(
        "SELECT partition_interval::text AS interval, premake, retention, retention_schema,"
        " retention_keep_table AS keeps FROM {} WHERE parent_table = {}",
        Identifier(rows[0]["schema"], "part_config"),
        Literal(parent),
    )
    found = database.query_once(text.text)
    if not found:
        return None
    if not rows[0]["deletable"]:
        raise errors.InsufficientPrivilege(
            f"pg_partman manages {parent}, and its configuration may not be deleted by {catalog_server.server().user}",
            "Two programs must not maintain one table.",
            f"Call as a role that may delete from {rows[0]['schema']}.part_config.",
        )
    row = found[0]
    return PartmanSettings(
        rows[0]["schema"],
        parent,
        row["interval"],
        row["premake"],
        row["retention"],
        row["retention_schema"],
        row["keeps"],
    )


def partman_template(table: Table) -> Follower | None:
    """pg_partman's template of a table that it still manages, where it is the owner's and its configuration is seen."""
    config = database.query(_PART_CONFIG)
    if not config or not config[0]["readable"]:
        return None
    text = compose(
        "SELECT c.oid, n.nspname AS schema, c.relname AS name FROM {} p JOIN pg_class c"
        " ON c.oid = to_regclass(p.template_table) JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE p.parent_table = {} AND c.relowner = (SELECT relowner FROM pg_class WHERE oid = {})",
        Identifier(config[0]["schema"], "part_config"),
        Literal(f"{table.schema}.{table.name}"),
        Literal(table.oid),
    )
    rows = database.query_once(text.text)
    return Follower(rows[0]["oid"], Identifier(rows[0]["schema"], rows[0]["name"]), ()) if rows else None
