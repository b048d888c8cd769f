"""Reading what relations have that PostgreSQL does not pass on: of a table, its template, its slices and leaves."""

from __future__ import annotations

from .. import database, errors
from ..plan.properties import Grant, LeafIndex, Properties, State, StatisticsObject, wanted
from ..plan.row_policy import RowPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

_RELATIONS = """
    SELECT c.oid AS relation, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
           CASE WHEN c.relacl IS NULL THEN '{}' ELSE
               ARRAY(SELECT d.privilege_type FROM aclexplode(acldefault('r', c.relowner)) AS d
                     WHERE NOT EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee = c.relowner
                                       AND a.privilege_type = d.privilege_type) ORDER BY 1) END AS owner_lacks,
           c.relpersistence = 'u' AS is_unlogged, c.reloptions AS options, t.reloptions AS toast_options,
           c.relreplident AS replica_identity, c.relrowsecurity AS row_security, c.relforcerowsecurity AS force,
           d.description AS comment, am.amname AS access_method, ts.spcname AS tablespace
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN pg_am am ON am.oid = c.relam
    LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
    LEFT JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = 0
    WHERE c.oid = ANY ($1)
"""

# Of a partition's own copy of an index the topmost one's name.
_USED_INDEXES = """
    SELECT i.indrelid AS relation, coalesce(top.relname, x.relname) AS name, i.indisreplident AS is_identity,
           i.indisclustered AS is_order
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN LATERAL (SELECT t.relname FROM pg_partition_ancestors(x.oid) AS a (relid)
                       JOIN pg_class t ON t.oid = a.relid WHERE NOT t.relispartition) AS top ON x.relispartition
    WHERE (i.indisreplident OR i.indisclustered) AND i.indrelid = ANY ($1)
"""

# By name: an index is restored after the configuration.
_CLUSTER_INDEX = """
    SELECT t.cluster_index AS name FROM dp.table_config t
    JOIN pg_index i ON i.indrelid = t.tbl
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relname = t.cluster_index
    WHERE t.tbl = $1 AND t.role <> 'reference'
"""

_COLUMN_TARGETS = """
    SELECT attrelid AS relation, attname AS name, attstattarget AS target FROM pg_attribute
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped
      AND attstattarget >= 0  -- -1, or NULL from 17 on, stands for the default, 0 for none
    ORDER BY attrelid, attnum
"""

_COLUMN_OPTIONS = """
    SELECT attrelid AS relation, attname AS name, o AS option FROM pg_attribute, unnest(attoptions) AS o
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped
      AND starts_with(o, 'n_distinct')  -- some minor releases keep a mark of their own among the options
    ORDER BY attrelid, attnum
"""

_COLUMN_COMMENTS = """
    SELECT a.attrelid AS relation, a.attname AS name, d.description AS comment
    FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
    WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ANY ($1) AND d.objsubid > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""

_GRANTS = """
    SELECT source.relation, CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee,
           acl.privilege_type AS privilege, source.attname AS column, acl.is_grantable,
           CASE WHEN acl.grantor <> source.owner THEN pg_get_userbyid(acl.grantor) END AS grantor
    FROM (SELECT oid AS relation, relacl AS acl, NULL::name AS attname, 0 AS attnum, relowner AS owner FROM pg_class
          WHERE oid = ANY ($1) AND relacl IS NOT NULL
          UNION ALL
          SELECT a.attrelid, a.attacl, a.attname, a.attnum, c.relowner FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid
          WHERE a.attrelid = ANY ($1) AND a.attacl IS NOT NULL AND NOT a.attisdropped) AS source,
         LATERAL aclexplode(source.acl) WITH ORDINALITY AS acl (grantor, grantee, privilege_type, is_grantable, place)
    WHERE acl.grantee <> source.owner
    ORDER BY source.relation, source.attnum, acl.place  -- in which they were given
"""

_DEFAULT_GRANTEES = """
    SELECT DISTINCT CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee
    FROM pg_class c JOIN pg_default_acl d
      ON d.defaclrole = c.relowner AND d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, c.relnamespace),
         LATERAL aclexplode(d.defaclacl) AS acl
    WHERE c.oid = $1 AND acl.grantee <> c.relowner
"""

_POLICIES = """
    SELECT p.polrelid AS relation, p.polname AS name, p.polpermissive AS permissive,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                         ELSE 'ALL' END AS command,
           ARRAY(SELECT pg_get_userbyid(r) FROM unnest(p.polroles) AS r WHERE r <> 0 ORDER BY 1) AS roles,
           pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
    FROM pg_policy p WHERE p.polrelid = ANY ($1) ORDER BY p.polrelid, p.polname
"""

_STATISTICS = """
    SELECT stxrelid AS relation, stxname AS name, CASE WHEN stxstattarget >= 0 THEN stxstattarget END AS target,
           CASE WHEN cardinality(stxkind) > 1 OR NOT stxkind @> '{e}' THEN
               '(' || (SELECT string_agg(CASE k WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies'
                                         WHEN 'm' THEN 'mcv' END, ', ')
                       FROM unnest(stxkind) AS k WHERE k <> 'e') || ') ' ELSE '' END
           || 'ON ' || pg_get_statisticsobjdef_columns(oid) AS definition
    FROM pg_statistic_ext WHERE stxrelid = ANY ($1) ORDER BY stxrelid, stxname
"""

# Indexes of a relation's own: neither partitioned nor part of one.
_INDEXES = """
    SELECT i.indrelid AS relation, c.relname AS name, i.indisunique AS is_unique,
           dp._index_definition(i.indexrelid) AS definition, i.indisvalid AS is_valid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY ($1) AND c.relkind = 'i' AND NOT c.relispartition ORDER BY i.indrelid, c.relname
"""

_NAMES_NEED_HELP = "SELECT dp._index_names_need_help($1) AS help"


def read(table: int, template: int | None) -> Properties:
    """The properties for new leaves of a table; without a template the table stands in its place."""
    found = states([table] + ([template] if template else []))
    if table not in found or (template and template not in found):
        raise errors.UndefinedObject(
            f"relation {table} or its template does not exist any more", "It was dropped meanwhile.", "Call again."
        )
    orders = database.query(_CLUSTER_INDEX, ("oid",), (table,))
    return wanted(
        found[table],
        found[template] if template else None,
        orders[0]["name"] if orders else None,
        tuple(row["grantee"] for row in database.query(_DEFAULT_GRANTEES, ("oid",), (table,))),
        bool(database.query(_NAMES_NEED_HELP, ("oid",), (table,))[0]["help"]),
    )


def states(relations: list[int]) -> dict[int, State]:
    """What some relations have, in a handful of queries however many they are."""
    targets = _grouped(_COLUMN_TARGETS, relations, lambda row: (row["name"], row["target"]))
    options = _grouped(_COLUMN_OPTIONS, relations, lambda row: (row["name"], row["option"]))
    comments = _grouped(_COLUMN_COMMENTS, relations, lambda row: (row["name"], row["comment"]))
    grants = _grouped(
        _GRANTS,
        relations,
        lambda row: Grant(row["grantee"], row["privilege"], row["column"], row["is_grantable"], row["grantor"]),
    )
    policies = _grouped(_POLICIES, relations, _policy)
    statistics = _grouped(
        _STATISTICS, relations, lambda row: StatisticsObject(row["name"], row["definition"], row["target"])
    )
    indexes = _grouped(
        _INDEXES, relations, lambda row: LeafIndex(row["name"], row["is_unique"], row["definition"], row["is_valid"])
    )
    used = _grouped(
        _USED_INDEXES,
        relations,
        lambda row: (row["name"] if row["is_identity"] else None, row["name"] if row["is_order"] else None),
    )
    found = {}
    for row in _about(_RELATIONS, relations):
        oid = row["relation"]
        identities, orders = zip((None, None), *used.get(oid, ()))
        found[oid] = State(
            row["schema"],
            row["name"],
            row["owner"],
            tuple(row["owner_lacks"]),
            row["is_unlogged"],
            storage_options(row["options"], "") + storage_options(row["toast_options"], "toast."),
            row["replica_identity"],
            next(filter(None, identities), None),
            next(filter(None, orders), None),
            row["row_security"],
            row["force"],
            row["comment"],
            row["access_method"],
            row["tablespace"],
            targets.get(oid, ()),
            options.get(oid, ()),
            comments.get(oid, ()),
            grants.get(oid, ()),
            policies.get(oid, ()),
            statistics.get(oid, ()),
            indexes.get(oid, ()),
        )
    return found


def _about(text: str, relations: Iterable[int]) -> list[database.Row]:
    return database.query(text, ("oid[]",), (list(relations),))


def _grouped(text: str, relations: list[int], value: Callable[[database.Row], Any]) -> dict[int, tuple[Any, ...]]:
    """What a query tells of some relations, by relation."""
    found: dict[int, list[Any]] = {}
    for row in _about(text, relations):
        found.setdefault(row["relation"], []).append(value(row))
    return {oid: tuple(values) for oid, values in found.items()}


def _policy(row: database.Row) -> RowPolicy:
    return RowPolicy(row["name"], row["permissive"], row["command"], tuple(row["roles"]), row["using"], row["check"])


def storage_options(options: list[str] | None, prefix: str) -> tuple[tuple[str, str], ...]:
    """Storage parameters as pg_class has them, by name; ``prefix``: of those of the TOAST table."""
    found = []
    for option in options or ():
        name, _, value = option.partition("=")
        found.append((prefix + name, value))
    return tuple(found)
