"""Reading what the server has of what the methods of ordering need."""

from __future__ import annotations

from .. import database
from ..plan.ordering import Facts
from ..sql import Identifier

# The view shows a setting of a library when the server has loaded it, not when somebody only wrote it down; and those
# of superusers to them and to members of pg_read_all_settings.
_FACTS = """
    SELECT current_setting('server_version_num')::int AS version, current_setting('wal_level') AS wal_level,
           current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots) AS free_slots,
           coalesce(current_setting('max_repack_replication_slots', true), '0')::int AS repack_slots,
           (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries') AS output_plugins,
           EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_squeeze') AS has_squeeze,
           EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_repack') AS has_pg_repack,
           EXISTS (SELECT FROM pg_settings WHERE name = 'squeeze.max_xlock_time') AS is_squeeze_loaded,
           current_database() AS database
"""

# The worker runs as whoever called, and writes what it did to tables of the extension. Its schema may be closed to us,
# so that nothing in it can be named here.
_GRANTS = """
    SELECT needed.text FROM pg_roles r
    JOIN pg_extension e ON e.extname = 'pg_squeeze'
    JOIN pg_namespace n ON n.oid = e.extnamespace
    CROSS JOIN LATERAL (
        SELECT 1 AS place, 'ALTER ROLE %1$s REPLICATION;' AS text WHERE NOT r.rolreplication
        UNION ALL SELECT 2, 'GRANT USAGE ON SCHEMA squeeze TO %1$s;'
            WHERE NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
        UNION ALL SELECT 3, 'GRANT INSERT ON squeeze.log, squeeze.errors TO %1$s;'
            FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname IN ('log', 'errors')
            HAVING NOT bool_and(has_table_privilege(r.oid, c.oid, 'INSERT'))
        UNION ALL SELECT 4, 'GRANT USAGE ON SEQUENCE squeeze.errors_id_seq TO %1$s;'
            FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'errors_id_seq'
            AND NOT has_sequence_privilege(r.oid, c.oid, 'USAGE')
        UNION ALL SELECT 5, 'GRANT EXECUTE ON FUNCTION squeeze.squeeze_table TO %1$s;'
            FROM pg_proc p WHERE p.pronamespace = n.oid AND p.proname = 'squeeze_table'
            AND NOT has_function_privilege(r.oid, p.oid, 'EXECUTE')
    ) AS needed
    WHERE r.rolname = $1 AND NOT r.rolsuper
    ORDER BY needed.place
"""


def facts(role: str) -> Facts:
    """What the server has, for a role that would run it."""
    row = database.query(_FACTS)[0]
    plugins = row["output_plugins"]
    grants = database.query(_GRANTS, ("name",), (role,))
    return Facts(
        row["version"],
        row["wal_level"],
        row["free_slots"],
        row["repack_slots"],
        None if plugins is None else tuple(each.strip().strip('"') for each in plugins.split(",") if each.strip()),
        row["has_squeeze"],
        row["is_squeeze_loaded"],
        row["has_pg_repack"],
        tuple(each["text"].replace("%1$s", Identifier(role).text) for each in grants),
        row["database"],
    )
