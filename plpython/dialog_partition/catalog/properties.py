"""Reading what new leaves must be given: from the parent what it holds, from the template the rest."""

from __future__ import annotations

from .. import database
from ..plan.properties import Grant, LeafIndex, Properties, RowPolicy, StatisticsObject

_RELATION = """
    SELECT c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
           ARRAY(SELECT d.privilege_type FROM aclexplode(acldefault('r', c.relowner)) AS d WHERE c.relacl IS NOT NULL
                 AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee = c.relowner
                                 AND a.privilege_type = d.privilege_type) ORDER BY 1) AS owner_lacks,
           c.relpersistence = 'u' AS is_unlogged, c.reloptions AS options, t.reloptions AS toast_options,
           c.relreplident AS replica_identity, c.relrowsecurity AS row_security, c.relforcerowsecurity AS force,
           obj_description(c.oid, 'pg_class') AS comment, am.amname AS access_method, ts.spcname AS tablespace,
           (SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
             WHERE i.indrelid = c.oid AND i.indisreplident) AS replica_index
    FROM pg_class c
    LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN pg_am am ON am.oid = c.relam
    LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
    WHERE c.oid = $1
"""

_COLUMNS = """
    SELECT attname AS name, attstattarget AS target, col_description(attrelid, attnum) AS comment,
           -- some minor releases keep a mark of their own among the options
           ARRAY(SELECT o FROM unnest(attoptions) AS o WHERE starts_with(o, 'n_distinct')) AS options
    FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_GRANTS = """
    SELECT CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee, acl.privilege_type AS privilege,
           source.attname AS column, acl.is_grantable
    FROM (SELECT relacl AS acl, NULL::name AS attname, 0 AS attnum FROM pg_class WHERE oid = $1
          UNION ALL
          SELECT attacl, attname, attnum FROM pg_attribute WHERE attrelid = $1 AND NOT attisdropped) AS source,
         LATERAL aclexplode(source.acl) AS acl
    WHERE acl.grantee <> (SELECT relowner FROM pg_class WHERE oid = $1)
    ORDER BY grantee, source.attnum, privilege
"""

_DEFAULT_GRANTEES = """
    SELECT DISTINCT CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee
    FROM pg_class c JOIN pg_default_acl d
      ON d.defaclrole = c.relowner AND d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, c.relnamespace),
         LATERAL aclexplode(d.defaclacl) AS acl
    WHERE c.oid = $1 AND acl.grantee <> c.relowner
"""

_POLICIES = """
    SELECT p.polname AS name, p.polpermissive AS permissive,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                         ELSE 'ALL' END AS command,
           ARRAY(SELECT pg_get_userbyid(r) FROM unnest(p.polroles) AS r WHERE r <> 0 ORDER BY 1) AS roles,
           pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
    FROM pg_policy p WHERE p.polrelid = $1 ORDER BY p.polname
"""

_STATISTICS = """
    SELECT stxname AS name, stxstattarget AS target, stxrelid AS relation,
           CASE WHEN cardinality(stxkind) > 1 OR NOT stxkind @> '{e}' THEN
               '(' || (SELECT string_agg(CASE k WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies'
                                         WHEN 'm' THEN 'mcv' END, ', ')
                       FROM unnest(stxkind) AS k WHERE k <> 'e') || ') ' ELSE '' END
           || 'ON ' || pg_get_statisticsobjdef_columns(oid) AS definition
    FROM pg_statistic_ext WHERE stxrelid = ANY ($1) ORDER BY stxname
"""

_INDEXES = """
    SELECT c.relname AS name, i.indisunique AS is_unique, dp._index_definition(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1 ORDER BY c.relname
"""

_NAMES_NEED_HELP = "SELECT dp._index_names_need_help($1) AS help"


def read(table: int, template: int | None) -> Properties:
    """The properties for new leaves of a table; without a template the table stands in its place."""
    parent = _relation(table)
    model = _relation(template) if template else parent
    sources = [table] + ([template] if template else [])
    columns = database.query(_COLUMNS, ("oid",), (table,))
    model_columns = database.query(_COLUMNS, ("oid",), (template or table,))
    identity = parent if parent["replica_identity"] != "d" else model
    return Properties(
        parent["name"],
        parent["access_method"],
        parent["tablespace"],
        bool(model["is_unlogged"]),
        _options(model["options"], "") + _options(model["toast_options"], "toast."),
        tuple((row["name"], row["target"]) for row in model_columns if _is_given(row["target"])),
        tuple((row["name"], option) for row in model_columns for option in row["options"] or ()),
        identity["replica_identity"],
        identity["replica_index"],
        parent["comment"],
        tuple((row["name"], row["comment"]) for row in columns if row["comment"] is not None),
        parent["row_security"],
        parent["force"],
        parent["owner"],
        tuple(
            RowPolicy(row["name"], row["permissive"], row["command"], tuple(row["roles"]), row["using"], row["check"])
            for row in database.query(_POLICIES, ("oid",), (table,))
        ),
        tuple(row["grantee"] for row in database.query(_DEFAULT_GRANTEES, ("oid",), (table,))),
        tuple(
            Grant(row["grantee"], row["privilege"], row["column"], row["is_grantable"])
            for row in database.query(_GRANTS, ("oid",), (table,))
        ),
        tuple(parent["owner_lacks"]),
        tuple(
            StatisticsObject(row["name"], row["definition"], row["target"] if _is_given(row["target"]) else None)
            for row in database.query(_STATISTICS, ("oid[]",), (sources,))
        ),
        tuple(
            LeafIndex(row["name"], row["is_unique"], row["definition"])
            for row in (database.query(_INDEXES, ("oid",), (template,)) if template else ())
        ),
        bool(database.query(_NAMES_NEED_HELP, ("oid",), (table,))[0]["help"]),
    )


def _is_given(target: int | None) -> bool:
    """Whether a statistics target is one; -1, or NULL from PostgreSQL 17 on, stands for the default, 0 for none."""
    return target is not None and target >= 0


def _relation(oid: int) -> database.Row:
    return database.query(_RELATION, ("oid",), (oid,))[0]


def _options(options: list[str] | None, prefix: str) -> tuple[tuple[str, str], ...]:
    found = []
    for option in options or ():
        name, _, value = option.partition("=")
        found.append((prefix + name, value))
    return tuple(found)
