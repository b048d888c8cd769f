"""The statements that pg_stat_statements has counted, and whose code planning them would run."""

from __future__ import annotations

from typing import NamedTuple

from .. import database
from ..sql import Identifier, compose
from . import trust

HIDDEN = "<insufficient privilege>"  # what stands in place of another role's query

# Planning evaluates functions, and those of operators and types. What a text may mean is found by name alone, in
# whatever schema: rather too much than too little. Operators stand behind LIKE, IN and the like, without their names.
_OTHERS_CODE = """
    WITH found (class, oid, owner) AS (
        SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc p WHERE p.proname = ANY ($1)
        UNION ALL SELECT 'pg_operator', o.oid, o.oprowner FROM pg_operator o
        UNION ALL SELECT 'pg_type', t.oid, t.typowner FROM pg_type t
        WHERE t.typname = ANY ($1) AND t.typtype IN ('b', 'd', 'm', 'r')
        UNION ALL SELECT 'pg_class', c.oid, c.relowner FROM pg_class c
        WHERE c.relname = ANY ($1) AND (c.relkind IN ('v', 'm') OR c.relhasrules)
    )
    SELECT pg_describe_object(found.class, found.oid, 0) AS name
    FROM found JOIN pg_roles role ON role.oid = found.owner
    WHERE NOT role.rolsuper AND role.rolname <> current_user ORDER BY 1
"""

_OTHERS_TABLES = """
    SELECT c.oid FROM pg_class c JOIN pg_roles role ON role.oid = c.relowner
    WHERE c.relname = ANY ($1) AND c.relkind IN ('r', 'p', 'f') AND NOT role.rolsuper AND role.rolname <> current_user
    ORDER BY c.oid
"""


class Statement(NamedTuple):
    """A statement and what it has cost since pg_stat_statements was reset."""

    queryid: int
    role: str | None
    calls: int
    total_ms: float  # of planning, where it is tracked, and execution
    query: str
    is_own: bool  # the caller ran it


def schema() -> str | None:
    """Where extension pg_stat_statements is; None where it is not installed."""
    rows = database.query(
        "SELECT n.nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'pg_stat_statements'"
    )
    return str(rows[0]["schema"]) if rows else None


def counted(extension_schema: str) -> list[Statement]:
    """All statements of this database, the most expensive first."""
    query = compose(
        "SELECT s.queryid, r.rolname AS role, s.calls, s.total_plan_time + s.total_exec_time AS total, s.query,"
        " r.rolname IS NOT DISTINCT FROM current_user AS is_own"
        " FROM {} s LEFT JOIN pg_roles r ON r.oid = s.userid"
        " WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.query IS NOT NULL"
        " ORDER BY total DESC, s.queryid",
        Identifier(extension_schema, "pg_stat_statements"),
    )
    return [
        Statement(row["queryid"], row["role"], row["calls"], row["total"], row["query"], row["is_own"])
        for row in database.query_once(query.text)
    ]


def others_code(names: set[str]) -> list[str]:
    """What others own that would run, with the caller's rights, when a statement with these names is planned."""
    given = sorted(names)
    found = [str(row["name"]) for row in database.query(_OTHERS_CODE, ("name[]",), (given,))]
    if found:
        return found
    tables = [row["oid"] for row in database.query(_OTHERS_TABLES, ("name[]",), (given,))]
    return trust.others_code(tables) if tables else []
