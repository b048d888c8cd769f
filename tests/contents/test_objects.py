"""What the extension creates: described, safe to call, and no more than was agreed on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.database import Database
from tests.support.server import ROOT

EXPECTED = Path(__file__).parent / "expected" / "objects.txt"

# The server refuses COMMIT in a procedure with SET; these pin search_path themselves, after every commit again.
COMMITTING_PROCEDURES = {
    "add_constraint_online",
    "cancel_conversion",
    "cluster",
    "convert",
    "create_global_index_online",
    "create_index_concurrently",
    "create_slices",
    "drain_default",
    "drop_index_concurrently",
    "reindex_concurrently",
    "run_maintenance",
    "set_not_null_online",
    "sync",
    "unconvert",
}

# Everything that belongs to the extension, a line an object: functions with parameters and result, relations with
# their columns, and what others than the owner may do. The owner's own privileges differ between server versions.
OBJECTS = """
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend AS d
    WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
        AND d.refobjid = (SELECT e.oid FROM pg_extension AS e WHERE e.extname = 'dialog_partition')
),
described AS (
    SELECT
        CASE p.prokind WHEN 'p' THEN 'procedure ' ELSE 'function ' END
        || p.oid::regproc || '(' || pg_get_function_arguments(p.oid) || ')'
        || CASE p.prokind WHEN 'p' THEN '' ELSE ' returns ' || pg_get_function_result(p.oid) END
        || CASE WHEN p.prosecdef THEN ' security definer' ELSE '' END AS line,
        coalesce(p.proacl, acldefault('f', p.proowner)) AS privileges,
        p.proowner AS owner
    FROM member AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    UNION ALL
    SELECT
        CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'S' THEN 'sequence ' ELSE 'table ' END || c.oid::regclass
        || CASE WHEN c.relkind = 'S' THEN '' ELSE (
            SELECT '(' || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                || ')'
            FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ) END,
        coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)),
        c.relowner
    FROM member AS m JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
    UNION ALL
    SELECT 'schema ' || n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner)), n.nspowner
    FROM member AS m JOIN pg_namespace AS n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
    UNION ALL
    SELECT pg_describe_object(m.classid, m.objid, 0), NULL, NULL
    FROM member AS m
    -- from 17 on the row types of relations are members, too
    WHERE m.classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_namespace'::regclass, 'pg_type'::regclass)
)
SELECT d.line || coalesce(' -- ' || (
    SELECT string_agg(
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ': ' || a.privileges,
        '; ' ORDER BY a.grantee
    )
    FROM (
        SELECT x.grantee, string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) AS privileges
        FROM aclexplode(d.privileges) AS x WHERE x.grantee <> d.owner GROUP BY x.grantee
    ) AS a
), '') AS line
FROM described AS d
ORDER BY line COLLATE "C"
"""


def names(db: Database, query: str) -> set[str]:
    return {row["name"] for row in db.rows(query)}


def test_the_committed_script_is_what_the_sources_render() -> None:
    command = [sys.executable, ROOT / "extension" / "build.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_function_and_relation_has_a_comment(db: Database) -> None:
    without_comment = """
        SELECT oid::regprocedure::text AS name FROM pg_proc
        WHERE pronamespace = 'dp'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
        UNION ALL
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'dp'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
            AND obj_description(oid, 'pg_class') IS NULL
    """
    assert names(db, without_comment) == set()


def test_only_procedures_that_commit_leave_the_search_path_to_the_caller(db: Database) -> None:
    not_pinned = """
        SELECT proname::text AS name FROM pg_proc
        WHERE pronamespace = 'dp'::regnamespace
            AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
    """
    assert names(db, not_pinned) == COMMITTING_PROCEDURES
    procedures = "SELECT proname::text AS name FROM pg_proc WHERE pronamespace = 'dp'::regnamespace AND prokind = 'p'"
    assert names(db, procedures) >= COMMITTING_PROCEDURES


def test_nothing_runs_with_its_owner_s_rights(db: Database) -> None:
    definers = "SELECT proname::text AS name FROM pg_proc WHERE pronamespace = 'dp'::regnamespace AND prosecdef"
    assert names(db, definers) == set()


def test_objects_and_privileges_are_those_that_were_reviewed(db: Database, pytestconfig: pytest.Config) -> None:
    found = "".join(f"{row['line']}\n" for row in db.rows(OBJECTS))
    if pytestconfig.getoption("--write-expected"):
        EXPECTED.write_text(found, encoding="utf-8")
    assert found == EXPECTED.read_text(encoding="utf-8"), "meant? make test ARGS='tests/contents --write-expected'"


def test_everything_in_schema_dp_belongs_to_the_extension(db: Database) -> None:
    strays = """
        SELECT pg_describe_object(o.classid, o.oid, 0) AS name FROM (
            SELECT 'pg_proc'::regclass AS classid, oid FROM pg_proc WHERE pronamespace = 'dp'::regnamespace
            UNION ALL
            SELECT 'pg_class', oid FROM pg_class
            WHERE relnamespace = 'dp'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        ) AS o
        WHERE NOT EXISTS (
            SELECT FROM pg_depend AS d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e'
        )
    """
    assert names(db, strays) == set()
