"""Reading the structure of one table."""

from __future__ import annotations

from .. import database, errors
from ..plan.properties import Grant
from ..plan.structure import (
    Column,
    Comment,
    Index,
    Publication,
    Rule,
    Sequence,
    Statistics,
    Structure,
    Trigger,
)
from . import foreign_keys as catalog_keys
from . import server as catalog_server
from . import trust

_RELATION = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner, c.relkind AS kind,
           c.relispartition AS is_partition, c.relpersistence AS persistence,
           p.partstrat AS strategy, dp._column_names(c.oid, p.partattrs::int2[]) AS partition_columns,
           EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) AS has_partitions,
           EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) AS inherits,
           c.reloftype <> 0 AS is_typed, c.oid::regclass::text AS text,
           ARRAY(SELECT conname FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c' ORDER BY conname) AS checks,
           ARRAY(SELECT conname FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c' AND connoinherit
                 ORDER BY conname) AS uninherited_checks,
           pg_has_role(c.relowner, 'USAGE') AS is_owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
    WHERE c.oid = $1
"""

_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
           a.attidentity <> '' AS identity,
           CASE WHEN a.attcollation <> t.typcollation THEN ARRAY[cn.nspname, co.collname] END AS collation
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_INDEXES = """
    SELECT c.relname AS name, con.contype AS constraint_type, i.indisunique AS is_unique,
           ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
                 LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum <> 0
                 WHERE k.n <= i.indnkeyatts ORDER BY k.n) AS columns,
           coalesce(pg_get_constraintdef(con.oid), dp._index_definition(i.indexrelid)) AS definition,
           obj_description(c.oid, 'pg_class') AS comment, c.reloptions AS options, ts.spcname AS tablespace
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
    LEFT JOIN pg_constraint con ON con.conindid = c.oid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = $1 ORDER BY c.oid
"""

_TRIGGERS = """
    SELECT tgname AS name, pg_get_triggerdef(oid) AS definition, tgenabled AS enabled,
           tgtype & 1 = 1 AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL) AS row_with_transition
    FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY oid
"""

_RULES = """
    SELECT rulename AS name, pg_get_ruledef(oid) AS definition, ev_enabled AS enabled
    FROM pg_rewrite WHERE ev_class = $1 ORDER BY oid
"""

_SEQUENCES = """
    SELECT n.nspname AS schema, s.relname AS name, a.attname AS column, d.deptype = 'i' AS is_identity,
           s.oid::regclass::text AS text, obj_description(s.oid, 'pg_class') AS comment,
           q.seqtypid::regtype::text AS type
    FROM pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_sequence q ON q.seqrelid = s.oid
    JOIN pg_namespace n ON n.oid = s.relnamespace
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
      AND d.deptype IN ('a', 'i')
    ORDER BY a.attnum
"""

_SEQUENCE_GRANTS = """
    SELECT CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee, acl.privilege_type AS privilege,
           acl.is_grantable
    FROM pg_class c,
         LATERAL aclexplode(c.relacl) WITH ORDINALITY AS acl (grantor, grantee, privilege_type, is_grantable, place)
    WHERE c.oid = $1::regclass AND acl.grantee <> c.relowner
    ORDER BY acl.place  -- in which they were given
"""

_STATISTICS = """
    SELECT n.nspname AS schema, s.stxname AS name, pg_get_statisticsobjdef(s.oid) AS definition,
           s.stxstattarget AS target
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = $1 ORDER BY s.oid
"""

_PUBLICATIONS = """
    SELECT p.pubname AS name, dp._column_names(r.prrelid, r.prattrs::int2[]) AS columns,
           pg_get_expr(r.prqual, r.prrelid) AS condition, p.pubviaroot AS is_by_root,
           pg_has_role(c.relowner, p.pubowner, 'USAGE') AS is_owner
    FROM pg_publication_rel r
    JOIN pg_publication p ON p.oid = r.prpubid
    JOIN pg_class c ON c.oid = r.prrelid
    WHERE r.prrelid = $1 ORDER BY p.pubname
"""

# Comments on parts; LIKE copies those on columns and check constraints, those on indexes are the indexes'.
_COMMENTS = """
    SELECT part.kind, part.schema, part.name, d.description AS text
    FROM (SELECT 'CONSTRAINT' AS kind, 'pg_constraint'::regclass AS class, oid, '' AS schema, conname AS name
          FROM pg_constraint WHERE conrelid = $1 AND contype IN ('p', 'u', 'x', 'f')
          UNION ALL SELECT 'TRIGGER', 'pg_trigger', oid, '', tgname FROM pg_trigger WHERE tgrelid = $1
          UNION ALL SELECT 'POLICY', 'pg_policy', oid, '', polname FROM pg_policy WHERE polrelid = $1
          UNION ALL SELECT 'RULE', 'pg_rewrite', oid, '', rulename FROM pg_rewrite WHERE ev_class = $1
          UNION ALL SELECT 'STATISTICS', 'pg_statistic_ext', s.oid, n.nspname, s.stxname
                    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = $1) AS part
    JOIN pg_description d ON d.classoid = part.class AND d.objoid = part.oid AND d.objsubid = 0
    ORDER BY part.kind, part.name
"""

# What would be lost with the table: everything that depends on it or its row type, but its own parts.
_DEPENDENTS = """
    SELECT DISTINCT CASE
        WHEN r.rulename = '_RETURN' THEN pg_describe_object('pg_class'::regclass, r.ev_class, 0)
        WHEN d.classid = 'pg_class'::regclass THEN pg_describe_object(d.classid, d.objid, d.objsubid)
        ELSE pg_describe_object(d.classid, d.objid, 0)
        END AS name
    FROM pg_depend d
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
           OR d.refclassid = 'pg_type'::regclass
              AND d.refobjid IN (SELECT reltype FROM pg_class WHERE oid = $1
                                 UNION SELECT t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
                                 WHERE c.oid = $1))
      AND d.deptype IN ('n', 'a')
      AND NOT CASE d.classid
          WHEN 'pg_constraint'::regclass THEN true  -- foreign keys are made again, checks go along
          WHEN 'pg_trigger'::regclass THEN EXISTS (SELECT FROM pg_trigger WHERE oid = d.objid AND tgrelid = $1)
          WHEN 'pg_policy'::regclass THEN EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND polrelid = $1)
          WHEN 'pg_attrdef'::regclass THEN EXISTS (SELECT FROM pg_attrdef WHERE oid = d.objid AND adrelid = $1)
          WHEN 'pg_rewrite'::regclass THEN r.ev_class = $1
          WHEN 'pg_statistic_ext'::regclass THEN true
          WHEN 'pg_publication_rel'::regclass THEN true
          WHEN 'pg_class'::regclass THEN (SELECT relkind FROM pg_class WHERE oid = d.objid) IN ('i', 'I', 'S', 't')
          ELSE false
      END
    ORDER BY 1
"""


def read(oid: int) -> Structure:
    """The structure of an ordinary or partitioned table."""
    rows = database.query(_RELATION, ("oid",), (oid,))
    if not rows:
        raise errors.UndefinedObject(
            f"relation {oid} does not exist" if oid else "no table was named",
            "It was dropped meanwhile." if oid else "The parameter is NULL.",
            "Name a table.",
        )
    row = rows[0]
    _check_relation(row, row["text"])
    if row["owner"] != catalog_server.server().user:
        trust.refuse_code([oid], row["text"], row["owner"])
    return Structure(
        row["oid"],
        row["schema"],
        row["name"],
        row["owner"],
        row["kind"],
        row["kind"] == "r" and _has_rows(row["text"]),
        row["has_partitions"],
        row["strategy"],
        tuple(row["partition_columns"] or ()),
        columns(oid),
        tuple(_index(found) for found in _about(_INDEXES, oid)),
        tuple(catalog_keys.declared_on([oid])),
        catalog_keys.definitions(oid),
        tuple(catalog_keys.pointing_to(oid)),
        tuple(
            Trigger(found["name"], found["definition"], found["enabled"], found["row_with_transition"])
            for found in _about(_TRIGGERS, oid)
        ),
        tuple(_sequence(found) for found in _about(_SEQUENCES, oid)),
        tuple(_statistics(found) for found in _about(_STATISTICS, oid)),
        tuple(Rule(found["name"], found["definition"], found["enabled"]) for found in _about(_RULES, oid)),
        tuple(_publication(found) for found in _about(_PUBLICATIONS, oid)),
        tuple(
            Comment(found["kind"], found["schema"], found["name"], found["text"]) for found in _about(_COMMENTS, oid)
        ),
        tuple(row["checks"]),
        tuple(row["uninherited_checks"]),
        row["is_typed"],
        tuple(found["name"] for found in _about(_DEPENDENTS, oid)),
    )


def _about(text: str, oid: int) -> list[database.Row]:
    return database.query(text, ("oid",), (oid,))


def _has_rows(relation: str) -> bool:
    return bool(database.query_once(f"SELECT EXISTS (SELECT FROM {relation}) AS found")[0]["found"])


def _sequence(row: database.Row) -> Sequence:
    state: database.Row = {"last_value": 1, "is_called": False}
    if row["is_identity"]:  # a serial column keeps its sequence as it is
        state = database.query_once(f"SELECT last_value, is_called FROM {row['text']}")[0]
    return Sequence(
        row["schema"],
        row["name"],
        row["column"],
        row["is_identity"],
        state["last_value"],
        state["is_called"],
        tuple(
            Grant(found["grantee"], found["privilege"], None, found["is_grantable"])
            for found in database.query(_SEQUENCE_GRANTS, ("text",), (row["text"],))
        ),
        row["comment"],
        row["type"],
    )


def _statistics(row: database.Row) -> Statistics:
    target = row["target"]  # -1 up to 16, NULL from 17 on: the default
    return Statistics(
        row["schema"], row["name"], row["definition"], target if target is not None and target >= 0 else None
    )


def _publication(row: database.Row) -> Publication:
    return Publication(row["name"], tuple(row["columns"] or ()), row["condition"], row["is_by_root"], row["is_owner"])


def columns(oid: int) -> tuple[Column, ...]:
    """The columns of a table."""
    return tuple(_column(row) for row in database.query(_COLUMNS, ("oid",), (oid,)))


def _check_relation(row: database.Row, name: str) -> None:
    if row["kind"] not in ("r", "p"):
        raise errors.WrongObjectType(
            f"{name} is not a table", "Only ordinary and partitioned tables can be managed.", "Name a table."
        )
    if row["is_partition"] or row["inherits"]:
        raise errors.WrongObjectType(
            f"{name} is a partition or inherits from another table",
            "A managed table stands at the top of its tree.",
            "Name the topmost table.",
        )
    if row["persistence"] == "t":
        raise errors.WrongObjectType(
            f"{name} is a temporary table", "Only permanent tables can be managed.", "Name a permanent table."
        )
    if not row["is_owner"]:
        raise errors.InsufficientPrivilege.not_owner(name, row["owner"])


def _column(row: database.Row) -> Column:
    collation = row["collation"]
    return Column(
        row["name"],
        row["type"],
        (collation[0], collation[1]) if collation else None,
        row["not_null"],
        row["identity"],
    )


def _index(row: database.Row) -> Index:
    return Index(
        row["name"],
        row["constraint_type"],
        row["is_unique"],
        tuple(row["columns"]),
        row["definition"],
        tuple(_option(option) for option in row["options"] or ()),
        row["tablespace"],
        row["comment"],
    )


def _option(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return name, value
