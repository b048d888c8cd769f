"""What the catalog says of tables, as plain values that can be compared."""

from __future__ import annotations

from tests.support.database import Database

SECTIONS = {
    "table": """
        SELECT c.relkind::text, c.relpersistence::text, pg_get_userbyid(c.relowner), c.relrowsecurity,
               c.relforcerowsecurity, c.relreplident::text, ts.spcname,
               (SELECT x.indexrelid::regclass::text FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident)
        FROM pg_class c LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace WHERE c.oid = t.oid""",
    "columns": """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
               a.attgenerated::text, a.attstorage::text, a.attcompression::text, a.attcollation::regcollation::text,
               pg_get_expr(d.adbin, d.adrelid), nullif(a.attstattarget, -1), a.attacl::text,
               ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE o LIKE 'n_distinct%%')::text
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped""",
    "sequences": """
        SELECT s.oid::regclass::text, a.attname, d.deptype::text, s.relacl::text, pg_sequence_parameters(s.oid)::text,
               pg_sequence_last_value(s.oid), obj_description(s.oid, 'pg_class')
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.refobjid = t.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')""",
    "constraints": """
        SELECT k.conname, k.contype::text, pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint')
        FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype <> 'n' AND k.conparentid = 0""",
    "referring keys": """
        SELECT k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid)
        FROM pg_constraint k WHERE k.confrelid = t.oid AND k.conrelid <> t.oid AND k.conparentid = 0""",
    "indexes": """
        SELECT regexp_replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON '), i.indisvalid, i.indisreplident,
               c.reloptions::text, obj_description(c.oid, 'pg_class')
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = t.oid""",
    "triggers": """
        SELECT pg_get_triggerdef(g.oid), g.tgenabled::text, obj_description(g.oid, 'pg_trigger')
        FROM pg_trigger g WHERE g.tgrelid = t.oid AND NOT g.tgisinternal""",
    "rules": """
        SELECT pg_get_ruledef(r.oid), r.ev_enabled::text, obj_description(r.oid, 'pg_rewrite')
        FROM pg_rewrite r WHERE r.ev_class = t.oid""",
    "policies": """
        SELECT p.polname, p.polcmd::text, p.polpermissive, p.polroles::regrole[]::text,
               pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid),
               obj_description(p.oid, 'pg_policy')
        FROM pg_policy p WHERE p.polrelid = t.oid""",
    "privileges": """
        SELECT CASE g.grantee WHEN 0 THEN 'public' ELSE g.grantee::regrole::text END, g.privilege_type, g.is_grantable
        FROM pg_class c, aclexplode(c.relacl) g WHERE c.oid = t.oid""",
    "comments": """
        SELECT d.objsubid > 0, col_description(t.oid, d.objsubid), d.description
        FROM pg_description d WHERE d.objoid = t.oid AND d.classoid = 'pg_class'::regclass""",
    "statistics": """
        SELECT pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1), obj_description(s.oid, 'pg_statistic_ext')
        FROM pg_statistic_ext s WHERE s.stxrelid = t.oid""",
    "publications": """
        SELECT p.pubname, (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
                           WHERE a.attrelid = t.oid AND a.attnum = ANY (r.prattrs))::text,
               pg_get_expr(r.prqual, r.prrelid)
        FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = t.oid""",
}

Snapshot = dict[str, list[tuple[object, ...]]]


def of_table(db: Database, table: str) -> Snapshot:
    """Everything about one table."""
    with db.server.connect(db.name) as connection:
        return {
            section: sorted(
                connection.execute(f"SELECT s.* FROM (SELECT %s::regclass AS oid) t, LATERAL ({query}) s", [table]),
                key=repr,
            )
            for section, query in SECTIONS.items()
        }


def of_database(db: Database) -> dict[str, Snapshot | list[tuple[object, ...]]]:
    """Everything about all tables outside the system, and the extension's configuration."""
    with db.server.connect(db.name) as connection:
        tables = connection.execute(
            "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace NOT IN"
            " ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'dp'::regnamespace,"
            " 'pg_toast'::regnamespace) ORDER BY 1"
        ).fetchall()
        configuration = connection.execute(
            "SELECT to_jsonb(h)::text FROM dp.hierarchy_config h UNION ALL SELECT to_jsonb(t)::text"
            " FROM dp.table_config t UNION ALL SELECT to_jsonb(p)::text FROM dp.pending_foreign_key p"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace NOT IN ('pg_catalog'::regnamespace,"
            " 'information_schema'::regnamespace, 'dp'::regnamespace) ORDER BY 1"
        ).fetchall()
    return {"configuration": configuration, **{table: of_table(db, table) for (table,) in tables}}
