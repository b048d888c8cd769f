"""Code that comes with tables: it would run with the rights of whoever reads them or works on them.

An expression of an index, a CHECK, a default or a policy may call a function of the tables' owner. PostgreSQL evaluates
some of them when a statement is planned, and what a deferred trigger does happens at the commit: no change of role is a
wall against that. So where the caller is not the owner, tables with such code are refused.
"""

from __future__ import annotations

from .. import database, errors
from ..sql import Identifier

MAX_TOLD = 5

# Functions, operators and types that a table or a part of it needs, and that belong neither to a superuser, who may do
# everything already, nor to the caller. Triggers are left out: those of users do not fire in what we do.
_CODE = """
    WITH relation AS (
        SELECT t.oid FROM unnest($1) AS t (oid)
        UNION SELECT tree.relid FROM unnest($1) AS t (oid), pg_partition_tree(t.oid) AS tree
    ), part (class, oid) AS (
        SELECT 'pg_class'::regclass, oid FROM relation
        UNION ALL SELECT 'pg_class', i.indexrelid FROM relation r JOIN pg_index i ON i.indrelid = r.oid
        UNION ALL SELECT 'pg_constraint', k.oid FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
        UNION ALL SELECT 'pg_attrdef', d.oid FROM relation r JOIN pg_attrdef d ON d.adrelid = r.oid
        UNION ALL SELECT 'pg_policy', p.oid FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
        UNION ALL SELECT 'pg_statistic_ext', s.oid FROM relation r JOIN pg_statistic_ext s ON s.stxrelid = r.oid
    ), needed (class, oid, owner) AS (
        SELECT d.refclassid, d.refobjid, coalesce(f.proowner, o.oprowner, u.typowner)
        FROM part JOIN pg_depend d ON d.classid = part.class AND d.objid = part.oid
        LEFT JOIN pg_proc f ON d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
        LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
        LEFT JOIN pg_type u ON u.oid = CASE t.typcategory WHEN 'A' THEN t.typelem ELSE t.oid END
                           AND u.typtype IN ('c', 'd', 'm', 'r')  -- those that may need functions of users
        UNION ALL
        SELECT 'pg_rewrite'::regclass, w.oid, c.relowner
        FROM relation r JOIN pg_class c ON c.oid = r.oid JOIN pg_rewrite w ON w.ev_class = r.oid
    )
    SELECT DISTINCT pg_describe_object(needed.class, needed.oid, 0) AS name
    FROM needed JOIN pg_roles role ON role.oid = needed.owner
    WHERE NOT role.rolsuper AND role.rolname <> current_user
    ORDER BY 1
"""

_TABLES = "SELECT $1 AS oid UNION SELECT tbl::oid FROM dp.table_config WHERE root = $1 AND role <> 'reference'"


def tables_of(root: int) -> list[int]:
    """The tables of a hierarchy, or the table that is to be its root."""
    return [row["oid"] for row in database.query(_TABLES, ("oid",), (root,))]


def others_code(tables: list[int]) -> list[str]:
    """The code of others than the caller that tables need."""
    return [str(row["name"]) for row in database.query(_CODE, ("oid[]",), (tables,))]


def refuse_code(tables: list[int], name: object, owner: str) -> None:
    """Refuse tables with code of others than the caller; for callers who are not the owner."""
    found = others_code(tables)
    if found:
        told = ", ".join(found[:MAX_TOLD]) + (", ..." if len(found) > MAX_TOLD else "")
        raise errors.InsufficientPrivilege(
            f"{name} brings code of {owner} along, which would run with your rights",
            f"Constraints, indexes, defaults, policies or rules of its tables need {told}.",
            f"Call in a session of {owner}; or, if you trust that code with all that you may do,"
            f" SET ROLE {Identifier(owner)} first.",
        )
