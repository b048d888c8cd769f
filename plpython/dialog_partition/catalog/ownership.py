"""Reading what belongs to the tables of a hierarchy, and has another owner than they have."""

from __future__ import annotations

from .. import database
from ..model import Hierarchy
from ..plan.joined_lookup import mark_of
from ..plan.lookup import ANY_COMMENT
from ..plan.ownership import (
    DETACHED,
    DETACHED_STATISTICS,
    FILLER,
    FUNCTION,
    JOINED,
    KEEPER,
    LOOKUP,
    PAGE,
    PARTITION,
    SIDE,
    STATISTICS,
    TEMPLATE,
    VIEW,
    Belonging,
)
from ..plan.page import MARK
from ..plan.writable_view import FILL, INSERT

# Tables, views and trigger functions are known for certain, by the configuration and by the triggers. Of the functions
# that only a mark tells the owner is not asked. A side table or detached slice without partitions is no tree.
_BELONGINGS = f"""
    WITH managed AS MATERIALIZED (
        SELECT c.oid, c.relowner, c.reltype, t.role, t.template::oid AS template, h.range_key, h.slice_key
        FROM dp.table_config t JOIN dp.hierarchy_config h ON h.root = t.root JOIN pg_class c ON c.oid = t.tbl
        WHERE t.root = $1 AND t.role <> 'reference'
    ), relation (tbl, what, oid) AS MATERIALIZED (
        SELECT m.oid, '{PARTITION}', p.relid FROM managed m, pg_partition_tree(m.oid) AS p WHERE p.level > 0
        UNION ALL SELECT m.oid, '{TEMPLATE}', m.template FROM managed m WHERE m.template IS NOT NULL
        UNION ALL
        SELECT m.oid, '{SIDE}', s.oid
        FROM managed m JOIN dp.global_index_config g ON g.tbl = m.oid,
             LATERAL (SELECT g.side::oid UNION SELECT p.relid FROM pg_partition_tree(g.side) AS p) AS s (oid)
        UNION ALL
        SELECT m.oid, '{DETACHED}', s.oid
        FROM managed m JOIN dp.detached_slice d ON d.tbl = m.oid,
             LATERAL (SELECT d.slice::oid UNION SELECT p.relid FROM pg_partition_tree(d.slice) AS p) AS s (oid)
        UNION ALL
        SELECT m.oid, '{VIEW}', v.view::oid FROM managed m JOIN dp.writable_view_config v ON v.tbl = m.oid
    ), called AS (
        SELECT m.oid AS tbl, '{KEEPER}' AS what, p.oid, s.oid AS of
        FROM managed m JOIN dp.global_index_config g ON g.tbl = m.oid JOIN pg_class s ON s.oid = g.side
        JOIN pg_proc p ON p.proname = s.relname AND p.pronamespace = s.relnamespace AND p.pronargs = 0
        WHERE EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = m.oid AND t.tgfoid = p.oid)
        UNION ALL
        SELECT r.tbl, CASE t.tgname WHEN '{FILL}' THEN '{FILLER}' ELSE '{FUNCTION}' END, t.tgfoid, r.oid
        FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid AND t.tgname IN ('{FILL}', '{INSERT}')
        WHERE r.what = '{VIEW}'
        UNION ALL  -- of the slice key: it has its trigger's name, and the trigger is about the range key
        SELECT m.oid, '{FUNCTION}', p.oid, m.oid
        FROM managed m JOIN pg_attribute a ON a.attrelid = m.oid AND a.attname = m.range_key
        JOIN pg_trigger t ON t.tgrelid = m.oid AND a.attnum = ANY (t.tgattr)
        JOIN pg_proc p ON p.oid = t.tgfoid AND p.proname = t.tgname
        WHERE m.role = 'root' AND m.slice_key IS NOT NULL
          AND starts_with(p.prosrc, format('BEGIN NEW."%s" := ', replace(m.slice_key, '"', '""')))
        UNION ALL
        SELECT m.oid, CASE WHEN starts_with(p.prosrc, $2) THEN '{PAGE}' ELSE '{LOOKUP}' END, p.oid, 0
        FROM managed m JOIN pg_proc p ON p.prorettype = m.reltype AND p.proretset
        WHERE starts_with(p.prosrc, $2) OR obj_description(p.oid, 'pg_proc') LIKE $3
        UNION ALL
        SELECT j.tbl, '{JOINED}', p.oid, 0
        FROM unnest($4, $5) AS j (tbl, mark) JOIN pg_proc p ON p.proretset AND starts_with(p.prosrc, j.mark)
    ), object (tbl, what, name, namespace, owner, arguments, relation, of) AS (
        SELECT r.tbl, r.what, c.relname, c.relnamespace, c.relowner, NULL, c.oid, 0
        FROM relation r JOIN pg_class c ON c.oid = r.oid
        UNION ALL
        SELECT r.tbl, CASE r.what WHEN '{DETACHED}' THEN '{DETACHED_STATISTICS}' ELSE '{STATISTICS}' END,
               s.stxname, s.stxnamespace, s.stxowner, NULL, 0, 0
        FROM (TABLE relation UNION ALL SELECT m.oid, '', m.oid FROM managed m) AS r (tbl, what, oid)
        JOIN pg_statistic_ext s ON s.stxrelid = r.oid
        UNION ALL
        SELECT c.tbl, c.what, p.proname, p.pronamespace, p.proowner, oidvectortypes(p.proargtypes), 0, c.of
        FROM (SELECT DISTINCT called.* FROM called) AS c JOIN pg_proc p ON p.oid = c.oid
    )
    SELECT o.tbl, o.what, n.nspname AS schema, o.name, o.arguments, o.relation, o.of,
           pg_get_userbyid(o.owner) AS owner, pg_get_userbyid(m.relowner) AS table_owner,
           pg_has_role(o.owner, 'USAGE') AS is_callers,
           has_schema_privilege(m.relowner, n.oid, 'CREATE') OR u.rolsuper AS is_allowed
    FROM object o JOIN managed m ON m.oid = o.tbl JOIN pg_namespace n ON n.oid = o.namespace
    JOIN pg_roles u ON u.rolname = current_user
    WHERE o.owner <> m.relowner
    ORDER BY array_position($4, o.tbl), o.relation, o.what, n.nspname, o.name
"""


def belongings(hierarchy: Hierarchy) -> list[Belonging]:
    """All of them, table by table."""
    rows = database.query(
        _BELONGINGS,
        ("oid", "text", "text", "oid[]", "text[]"),
        (
            hierarchy.root.oid,
            MARK,
            ANY_COMMENT,
            [table.oid for table in hierarchy.tables],
            [mark_of(table) for table in hierarchy.tables],
        ),
    )
    return [
        Belonging(
            row["tbl"],
            row["what"],
            row["schema"],
            row["name"],
            row["arguments"],
            row["relation"],
            row["of"],
            row["owner"],
            row["table_owner"],
            row["is_callers"],
            row["is_allowed"],
        )
        for row in rows
    ]


def role_name(oid: int) -> str:
    """What a role is called, or was."""
    return str(database.query("SELECT pg_get_userbyid($1) AS name", ("oid",), (oid,))[0]["name"])
