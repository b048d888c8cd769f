"""Reading writable views, and what the tables say that they shall be."""

from __future__ import annotations

from .. import database, errors, keys
from ..model import GlobalIndex, Hierarchy, Table
from ..plan import filling
from ..plan.filling import Filling, ViewColumn
from ..plan.writable_view import FILL, INSERT, PresentView, WantedView
from ..sql import SQL, Identifier, compose
from . import global_index as catalog_global_index
from . import properties as catalog_properties

_COLUMNS = """
    SELECT a.attrelid AS relation, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
           CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation::text END AS collation,
           pg_get_expr(d.adbin, d.adrelid) AS expression, a.attidentity AS identity,
           a.attgenerated <> '' AS is_generated, n.nspname AS sequence_schema, s.relname AS sequence
    FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_depend own ON a.attidentity <> '' AND own.refclassid = 'pg_class'::regclass
        AND own.refobjid = a.attrelid AND own.refobjsubid = a.attnum AND own.classid = 'pg_class'::regclass
        AND own.deptype = 'i'
    LEFT JOIN pg_class s ON s.oid = own.objid AND s.relkind = 'S'
    LEFT JOIN pg_namespace n ON n.oid = s.relnamespace
    WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""

_VIEWS = """
    SELECT c.oid, v.tbl::oid AS tbl, n.nspname AS schema,
           coalesce('security_invoker=true' = ANY (c.reloptions), false) AS is_invoker
    FROM dp.writable_view_config v JOIN pg_class c ON c.oid = v.view JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE v.root = $1 AND c.relkind = 'v' ORDER BY c.oid
"""

_TRIGGERS = """
    SELECT g.tgrelid AS relation, g.tgname AS name, g.tgenabled IN ('O', 'A') AS is_enabled, n.nspname AS schema,
           p.proname AS function, p.prosrc AS source, pg_get_userbyid(p.proowner) AS owner
    FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE g.tgrelid = ANY ($1) AND g.tgname = ANY ($2) AND NOT g.tgisinternal ORDER BY g.tgrelid, g.tgname
"""

_DEFAULT_GRANTEES = """
    SELECT DISTINCT CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee
    FROM pg_default_acl d, LATERAL aclexplode(d.defaclacl) AS acl
    WHERE d.defaclobjtype = 'r' AND d.defaclrole::regrole = $1::regrole AND acl.grantee <> d.defaclrole
      AND d.defaclnamespace IN (0, (SELECT oid FROM pg_namespace WHERE nspname = $2)) ORDER BY 1
"""


def of_root(root: int) -> list[PresentView]:
    """The writable views of a hierarchy."""
    rows = database.query(_VIEWS, ("oid",), (root,))
    if not rows:
        return []
    views = [row["oid"] for row in rows]
    columns = _columns(views)
    access = catalog_properties.states(views)
    triggers = database.query(_TRIGGERS, ("oid[]", "name[]"), (views, [FILL, INSERT]))
    found = []
    for row in rows:
        own = [each for each in triggers if each["relation"] == row["oid"]]
        found.append(
            PresentView(
                row["oid"],
                row["tbl"],
                row["is_invoker"],
                columns[row["oid"]],
                {each["name"]: each["source"] for each in own if each["is_enabled"]},
                access[row["oid"]],
                tuple((each["schema"], each["function"], each["owner"]) for each in own),
            )
        )
    return found


def root_of(view: int) -> int | None:
    """The root of the hierarchy that a writable view belongs to."""
    rows = database.query("SELECT root::oid AS root FROM dp.writable_view_config WHERE view = $1", ("oid",), (view,))
    return int(rows[0]["root"]) if rows else None


def wanted(hierarchy: Hierarchy, table: Table, schema: str) -> WantedView:
    """What a writable view of a table shall be."""
    columns = _columns([table.oid])[table.oid]
    return WantedView(
        schema,
        table,
        hierarchy.root.identifier,
        columns,
        _filling(hierarchy, table, columns),
        catalog_properties.states([table.oid])[table.oid],
        tuple(row["grantee"] for row in database.query(_DEFAULT_GRANTEES, ("text", "name"), (_role(table), schema))),
    )


def _role(table: Table) -> str:
    return Identifier(table.owner).text  # as regrole reads it


def check_schema(table: Table, schema: str) -> None:
    """The view stands in another schema, which is there."""
    if schema == table.schema:
        raise errors.InvalidParameter.of(
            "schema", schema, f"{table.identifier} itself is there, and the view has its name."
        )
    if not database.query("SELECT FROM pg_namespace WHERE nspname = $1", ("name",), (schema,)):
        raise errors.InvalidParameter.of(
            "schema", schema, "It does not exist.", f"CREATE SCHEMA {Identifier(schema)} first."
        )


def taken_function(schema: str, names: list[str], comment: str) -> str | None:
    """A function without parameters of somebody else that has one of some names."""
    rows = database.query(
        "SELECT p.proname AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = $1 AND p.proname = ANY ($2) AND p.pronargs = 0"
        " AND obj_description(p.oid, 'pg_proc') IS DISTINCT FROM $3 ORDER BY 1 LIMIT 1",
        ("name", "name[]", "text"),
        (schema, names, comment),
    )
    return rows[0]["name"] if rows else None


def _columns(relations: list[int]) -> dict[int, tuple[ViewColumn, ...]]:
    found: dict[int, list[ViewColumn]] = {oid: [] for oid in relations}
    for row in database.query(_COLUMNS, ("oid[]",), (relations,)):
        sequence = Identifier(row["sequence_schema"], row["sequence"]) if row["sequence"] else None
        found[row["relation"]].append(
            ViewColumn(
                row["name"],
                row["type"],
                row["collation"],
                row["expression"] if not row["is_generated"] else None,
                row["identity"],
                row["is_generated"],
                sequence,
            )
        )
    return {oid: tuple(each) for oid, each in found.items()}


def _filling(hierarchy: Hierarchy, table: Table, columns: tuple[ViewColumn, ...]) -> Filling:
    policy = hierarchy.policy
    if table.oid != hierarchy.root.oid:
        return Filling(policy.partition_keys, _parents(hierarchy, table))
    if policy.slice_key is None or policy.bucket is None:
        return Filling(())
    range_key = compose("NEW.{}", Identifier(policy.range_key))
    value = keys.bucket_expression(range_key, hierarchy.range_type, policy.bucket, policy.time_zone)
    default = next((each.default for each in columns if each.name == policy.slice_key), None)
    if default is not None:  # what the table would say of a row without a range key
        value = compose("coalesce({}, {})", value, SQL(default))
    return Filling((policy.slice_key,), value=value)


def _parents(hierarchy: Hierarchy, table: Table) -> tuple[filling.Parent, ...]:
    """The foreign keys by which a row's keys are found: those that every row has first, and those with an index."""
    partition_keys = hierarchy.policy.partition_keys
    found = []
    for key in hierarchy.foreign_keys:
        pairs = list(zip(key.columns, key.parent_columns))
        if key.child != table.oid or not all((name, name) in pairs for name in partition_keys):
            continue
        own = [pair for pair in pairs if pair[0] not in partition_keys]
        parent = hierarchy.table(key.parent)
        referenced = tuple(theirs for _, theirs in own)
        needed = referenced + partition_keys
        schemas = dict(zip(needed, catalog_global_index.operator_schemas(parent.oid, needed)))
        side = _side(parent, referenced)
        place = (not key.is_mandatory, side is None, key.parent == key.child, key.name)
        each = filling.Parent(parent, key.name, tuple(column for column, _ in own), referenced, schemas, side)
        found.append((place, each))
    return tuple(each for _, each in sorted(found, key=lambda pair: pair[0]))


def _side(parent: Table, columns: tuple[str, ...]) -> GlobalIndex | None:
    """The global index that has an entry for every row, by some columns."""
    for each in parent.global_indexes:
        if each.is_unique and each.is_valid and each.predicate is None and set(each.columns) == set(columns):
            return each
    return None
