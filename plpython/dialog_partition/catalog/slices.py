"""Reading what concerns single slices: edges, default slices' contents, detached ones, their foreign keys."""

from __future__ import annotations

import datetime

from .. import database, keys
from ..model import SLICE, Edge, Hierarchy, Slice, SliceSpec, Table
from ..plan import default_slice as plan_default
from ..plan.coverage import Span, suffix
from ..plan.default_slice import DefaultFacts
from ..sql import SQL, Identifier, compose
from . import server as catalog_server


def calendar_edges(hierarchy: Hierarchy, moments: list[datetime.datetime]) -> list[Edge]:
    """Calendar moments as edges on the partition column's axis, in the hierarchy's time zone."""
    key_type = str(hierarchy.root.partition_type)
    if key_type not in keys.ZONED_TYPES:
        return [Edge(keys.local_point(moment), moment) for moment in moments]
    texts = [moment.isoformat(sep=" ") for moment in moments]
    found = catalog_server.points(texts, key_type, hierarchy.policy.time_zone)
    return [Edge(point, moment) for point, moment in zip(found, moments)]


def axis_points(hierarchy: Hierarchy, values: list[object]) -> list[int]:
    """Calendar moments, or numbers, as points on the partition column's axis."""
    moments = [value for value in values if isinstance(value, datetime.datetime)]
    if moments:
        return [edge.point for edge in calendar_edges(hierarchy, moments)]
    return [value for value in values if isinstance(value, int)]


def specs(hierarchy: Hierarchy, spans: list[Span], modulus: int) -> list[SliceSpec]:
    """Spans as slices to create; in the slice form with the bounds of the range key, too."""
    ranges = _range_key_bounds(hierarchy, spans) if hierarchy.policy.key_form == SLICE else {}
    nothing = (None, None)
    return [
        SliceSpec(
            lower,
            upper,
            modulus,
            suffix(lower, upper),
            ranges.get(lower.point, nothing)[0],
            ranges.get(upper.point, nothing)[1],
        )
        for lower, upper in spans
    ]


def _range_key_bounds(hierarchy: Hierarchy, spans: list[Span]) -> dict[int, tuple[int | None, int | None]]:
    """For each edge of a slice key the first and the last point of the range key that belong to it.

    They differ only where a clock is set back over midnight, so that midnight comes twice.
    """
    edges = sorted({edge for span in spans for edge in span}, key=lambda edge: edge.point)
    if keys.is_integer(hierarchy.range_type):
        return {edge.point: (edge.point, edge.point) for edge in edges}
    moments = [(edge.local or keys.EPOCH).isoformat(sep=" ") for edge in edges]
    found = catalog_server.point_ranges(moments, hierarchy.range_type, hierarchy.policy.time_zone)
    return {edge.point: each for edge, each in zip(edges, found)}


def default_facts(hierarchy: Hierarchy) -> dict[int, DefaultFacts]:
    """What draining and excluding need to know of the default slices."""
    found = {}
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None:
            found[table.oid] = _facts(default)
    return found


def _facts(default: Slice) -> DefaultFacts:
    columns = database.query(
        "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' ORDER BY attnum",
        ("oid",),
        (default.oid,),
    )
    triggers = database.query(
        "SELECT n.nspname AS schema, c.relname AS relation, t.tgname AS name, t.tgenabled AS enabled"
        " FROM pg_partition_tree($1::regclass) AS tree JOIN pg_class c ON c.oid = tree.relid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_trigger t ON t.tgrelid = c.oid"
        " WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY tree.level, c.relname, t.tgname",
        ("oid",),
        (default.oid,),
    )
    exclusions = database.query(
        "SELECT conname AS name, convalidated AS valid FROM pg_constraint"
        " WHERE conrelid = $1 AND contype = 'c' AND starts_with(conname, $2) ORDER BY conname",
        ("oid", "text"),
        (default.oid, plan_default.EXCLUDES),
    )
    return DefaultFacts(
        tuple(row["name"] for row in columns),
        tuple((Identifier(row["schema"], row["relation"]), row["name"], row["enabled"]) for row in triggers),
        tuple((row["name"], row["valid"]) for row in exclusions),
        forces_row_security(default),
    )


def forces_row_security(relation: Slice) -> bool:
    """Whether policies hide rows from the owner, too."""
    rows = database.query(
        "SELECT relrowsecurity AND relforcerowsecurity AS force FROM pg_class WHERE oid = $1", ("oid",), (relation.oid,)
    )
    return bool(rows[0]["force"])


def _read_all(default: Slice, text: SQL) -> list[database.Row]:
    """Read a default slice, rows that policies hide from the owner included."""
    if not forces_row_security(default):
        return database.query_once(text.text)
    with database.subtransaction():
        database.run(compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", default.identifier).text)
        rows = database.query_once(text.text)
        database.run(compose("ALTER TABLE {} FORCE ROW LEVEL SECURITY", default.identifier).text)
    return rows


def holds_rows(default: Slice, table: Table, spec: SliceSpec | None = None) -> bool:
    """Whether a default slice holds rows at all, or of a range."""
    return bool(_read_all(default, _rows_query(default, table, spec))[0]["found"])


def shows_rows(default: Slice, table: Table, spec: SliceSpec | None = None) -> bool:
    """The same of the rows that the caller sees; this changes nothing, as a STABLE function must not."""
    return bool(database.query_once(_rows_query(default, table, spec).text)[0]["found"])


def _rows_query(default: Slice, table: Table, spec: SliceSpec | None) -> SQL:
    condition = plan_default.condition(table, spec) if spec else SQL("true")
    return compose("SELECT EXISTS (SELECT FROM {} WHERE {}) AS found", default.identifier, condition)


def is_empty(relation: Identifier) -> bool:
    """Whether a relation holds no row."""
    text = compose("SELECT NOT EXISTS (SELECT FROM {}) AS empty", relation)
    return bool(database.query_once(text.text)[0]["empty"])


def default_buckets(hierarchy: Hierarchy, step: int) -> list[str]:
    """Which days, or steps of integers, the default slices have rows of, as text."""
    found: set[str] = set()
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None:
            query = plan_default.days_query(table, default, hierarchy.policy.time_zone, step)
            rows = _read_all(default, query)
            found.update(row["bucket"].replace(" AD", "") for row in rows if row["bucket"] is not None)
    return sorted(found)


def leaves(slices: list[Slice]) -> dict[int, tuple[Identifier, ...]]:
    """The leaves of some slices, by slice."""
    rows = database.query(
        "SELECT i.inhparent AS slice, n.nspname AS schema, c.relname AS name FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE i.inhparent = ANY ($1) ORDER BY c.relname",
        ("oid[]",),
        ([each.oid for each in slices],),
    )
    found: dict[int, tuple[Identifier, ...]] = {}
    for row in rows:
        found[row["slice"]] = found.get(row["slice"], ()) + (Identifier(row["schema"], row["name"]),)
    return found


def bound_checks(slices: list[Slice]) -> dict[int, str]:
    """The bounds of some slices as PostgreSQL would write a CHECK that says the same, by slice."""
    rows = database.query(
        "SELECT oid, format('CHECK (%s)', pg_get_partition_constraintdef(oid)) AS bound FROM unnest($1) AS oid",
        ("oid[]",),
        ([each.oid for each in slices],),
    )
    return {row["oid"]: row["bound"] for row in rows}


def inside_foreign_keys(hierarchy: Hierarchy, slices: list[Slice]) -> dict[int, tuple[str, ...]]:
    """The names that the hierarchy's foreign keys have on some slices, by slice."""
    rows = database.query(
        "SELECT conrelid AS slice, conname AS name FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY ($1)"
        " AND confrelid = ANY ($2) ORDER BY conname",
        ("oid[]", "oid[]"),
        ([each.oid for each in slices], hierarchy.referred),
    )
    found: dict[int, tuple[str, ...]] = {}
    for row in rows:
        found[row["slice"]] = found.get(row["slice"], ()) + (row["name"],)
    return found
