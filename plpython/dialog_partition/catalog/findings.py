"""Reading what dp.check judges."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

from .. import database
from ..model import SLICE, Hierarchy, SliceSpec
from ..plan import drift as plan_drift
from ..plan import page as plan_page
from ..plan import writable_view as plan_view
from ..plan.finding import Expected, Facts
from ..sql import Identifier
from . import cron as catalog_cron
from . import drift as catalog_drift
from . import foreign_keys as catalog_keys
from . import global_index as catalog_global_index
from . import guard as catalog_guard
from . import joined_lookup as catalog_joined
from . import log as catalog_log
from . import lookup as catalog_lookup
from . import ownership as catalog_ownership
from . import page as catalog_page
from . import server as catalog_server
from . import slices as catalog_slices
from . import writable_view as catalog_view

_TREE = "SELECT p.relid, t.oid AS top FROM unnest($1) AS t (oid), LATERAL pg_partition_tree(t.oid) AS p"

_INVALID_INDEXES = f"""
    SELECT x.oid::regclass::text AS index, i.indrelid::regclass::text AS relation, x.relkind = 'I' AS is_partitioned
    FROM ({_TREE}) AS tree JOIN pg_index i ON i.indrelid = tree.relid JOIN pg_class x ON x.oid = i.indexrelid
    WHERE NOT i.indisvalid ORDER BY 1
"""

_INVALID_CONSTRAINTS = f"""
    SELECT n.nspname AS schema, c.relname AS name, k.conname AS constraint
    FROM ({_TREE}) AS tree
    JOIN pg_constraint k ON k.conrelid = tree.relid AND NOT k.convalidated AND k.conparentid = 0 AND k.coninhcount = 0
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY 1, 2, 3
"""

_KEYS_TO_PARTITIONS = f"""
    SELECT k.conrelid::regclass::text AS child, k.conname AS name, k.confrelid::regclass::text AS partition
    FROM ({_TREE}) AS tree
    JOIN pg_constraint k ON k.confrelid = tree.relid AND k.contype = 'f' AND k.conparentid = 0
    WHERE tree.relid <> tree.top ORDER BY 1, 2
"""

_KEY_DIFFERENCES = """
    SELECT t.oid::regclass::text AS relation, a.attname AS column,
           coalesce(format_type(b.atttypid, b.atttypmod)
                    || CASE WHEN b.attcollation <> 0 THEN ' collated ' || b.attcollation::regcollation ELSE '' END,
                    'missing') AS what
    FROM unnest($1) AS t (oid)
    JOIN pg_attribute a ON a.attrelid = $2 AND a.attname = ANY ($3)
    LEFT JOIN pg_attribute b ON b.attrelid = t.oid AND b.attname = a.attname AND NOT b.attisdropped
    WHERE (b.atttypid, b.atttypmod, b.attcollation) IS DISTINCT FROM (a.atttypid, a.atttypmod, a.attcollation)
    ORDER BY 1, 2
"""

_UNCHECKED = """
    SELECT s.oid FROM unnest($1) AS s (oid)
    WHERE NOT EXISTS (SELECT FROM pg_constraint k
                      JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = $2 AND k.conkey = ARRAY[a.attnum]
                      WHERE k.conrelid = s.oid AND k.contype = 'c' AND k.coninhcount = 0 AND k.convalidated)
"""

_UNINDEXED = """
    SELECT k.conrelid AS child, k.conname AS name FROM pg_constraint k
    WHERE k.conrelid = ANY ($1) AND k.contype = 'f' AND k.conparentid = 0
      AND NOT EXISTS (SELECT FROM pg_index i
                      WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indkey[0] = ANY (k.conkey))
"""

_NEVER_ANALYSED = """
    SELECT t.oid FROM unnest($1) AS t (oid)
    WHERE pg_stat_get_last_analyze_time(t.oid) IS NULL
      AND NOT EXISTS (SELECT FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename
                      JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = s.schemaname
                      WHERE c.oid = t.oid AND s.inherited)
      AND EXISTS (SELECT FROM pg_partition_tree(t.oid) p JOIN pg_class c ON c.oid = p.relid
                  WHERE p.isleaf AND c.relkind = 'r')
"""


def read(hierarchy: Hierarchy, expected: Expected, current_point: int | None) -> Facts:
    """The facts of one hierarchy."""
    tables = [table.oid for table in hierarchy.tables]
    indexes = [(table.oid, index) for table in hierarchy.tables for index in table.global_indexes]
    server = catalog_server.server()
    return Facts(
        expected=expected,
        current_point=current_point,
        rows_in_default=_rows_in_default(hierarchy, expected.maintained),
        invalid_indexes=_found(_INVALID_INDEXES, tables, "index", "relation", "is_partitioned"),
        invalid_constraints=_found(_INVALID_CONSTRAINTS, tables, "schema", "name", "constraint"),
        never_analysed=tuple(oid for (oid,) in _found(_NEVER_ANALYSED, tables, "oid")),
        drift=tuple(
            (each.table, tuple(plan_drift.differences(each)))
            for each in catalog_drift.read(hierarchy, expected.policies)
        ),
        keys_to_partitions=_found(_KEYS_TO_PARTITIONS, tables, "child", "name", "partition"),
        key_differences=_key_differences(hierarchy, tables),
        unindexed_keys=_found(_UNINDEXED, [key.child for key in hierarchy.apart], "child", "name"),
        pending_keys=tuple((key.child_text, key.name) for key in catalog_keys.pending_to(tables)),
        inexact_entries={index.oid: catalog_global_index.sample(index) for _, index in indexes if index.is_valid},
        unguarded={index.oid: catalog_global_index.unguarded(index, table) for table, index in indexes},
        belongings=tuple(catalog_ownership.belongings(hierarchy)),
        outdated_views=_outdated_views(hierarchy),
        outdated_functions=_outdated_functions(hierarchy),
        broken_queries=catalog_joined.broken(hierarchy),
        jobs=tuple(catalog_cron.recorded(hierarchy.root.oid)),
        last_failure=catalog_log.last_failures([hierarchy.root.oid]).get(hierarchy.root.oid),
        lock_table=server.lock_table,
        lock_budget=server.lock_budget,
        lock_slots=server.lock_slots,
        partitionwise_join=server.partitionwise_join,
        constraint_exclusion=database.setting("constraint_exclusion") != "off",
        server_version=server.version,
        database=str(database.query("SELECT current_database() AS name")[0]["name"]),
        foundation=json.loads(catalog_guard.state(hierarchy.root.oid)),
        unchecked=_unchecked(hierarchy),
    )


def _found(query: str, tables: list[int], *columns: str) -> tuple[Any, ...]:
    """What a query tells of some tables, a tuple of its columns a row."""
    rows = database.query(query, ("oid[]",), (tables,))
    return tuple(tuple(row[column] for column in columns) for row in rows)


def _key_differences(hierarchy: Hierarchy, tables: list[int]) -> tuple[tuple[str, str, str], ...]:
    rows = database.query(
        _KEY_DIFFERENCES,
        ("oid[]", "oid", "name[]"),
        (tables, hierarchy.root.oid, list(hierarchy.policy.partition_keys)),
    )
    return tuple((row["relation"], row["column"], row["what"]) for row in rows)


def _unchecked(hierarchy: Hierarchy) -> tuple[tuple[int, SliceSpec], ...]:
    """The root's slices that lack the CHECK of the range key, and what it would say; none in the exact form."""
    if hierarchy.policy.key_form != SLICE:
        return ()
    slices = {each.oid: each for each in hierarchy.range_slices(hierarchy.root)}
    rows = database.query(_UNCHECKED, ("oid[]", "name"), (list(slices), hierarchy.policy.range_key))
    found = [slices[row["oid"]] for row in rows]
    spans = [(each.lower, each.upper) for each in found if each.lower is not None and each.upper is not None]
    specs = {spec.span: spec for spec in catalog_slices.specs(hierarchy, spans, 0)}
    return tuple((each.oid, specs[each.span]) for each in found if each.span in specs)


def _rows_in_default(hierarchy: Hierarchy, maintained: SliceSpec | None) -> tuple[tuple[int, bool], ...]:
    """The tables whose default slice shows rows to the caller, whom a look must not cost a lock or a change."""
    found = []
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None and catalog_slices.shows_rows(default, table):
            is_inside = maintained is not None and catalog_slices.shows_rows(default, table, maintained)
            found.append((table.oid, is_inside))
    return tuple(found)


def _outdated_functions(hierarchy: Hierarchy) -> tuple[Identifier, ...]:
    """Trigger functions of global indexes, lookups and pages that name tables as they were called before."""
    found = []
    for table in hierarchy.tables:
        for side in table.global_indexes:
            if not catalog_lookup.names_its_table(side):
                found.append(side.identifier)
            for lookup in catalog_lookup.served(hierarchy, table, side):
                present = catalog_lookup.present(lookup)
                if present is not None and present.comment != lookup.comment:
                    found.append(Identifier(present.schema, present.name))
    found += [each.page.identifier for each in catalog_page.present(hierarchy) if not plan_page.names_its_table(each)]
    return tuple(found)


def _outdated_views(hierarchy: Hierarchy) -> tuple[tuple[Identifier, Identifier, str, int], ...]:
    """Writable views that are not what their tables say."""
    found = []
    for view in catalog_view.of_root(hierarchy.root.oid):
        table = hierarchy.table(view.table)
        differing = len(plan_view.changes(catalog_view.wanted(hierarchy, table, view.access.schema), view))
        if differing:
            found.append((table.identifier, view.identifier, view.access.schema, differing))
    return tuple(found)
