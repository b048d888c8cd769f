"""A picture of a database, to compare two ways to the same end by: no oids, no times; names and definitions."""

from __future__ import annotations

from tests.support.database import Database

OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'dp') AND n.nspname !~ '^pg_'"

QUERIES = {
    "relations": f"""
        SELECT c.oid::regclass::text, c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), am.amname, t.spcname,
               c.reloptions::text, toast.reloptions::text, c.relreplident, c.relrowsecurity, c.relforcerowsecurity,
               c.relispartition, pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid),
               obj_description(c.oid, 'pg_class'),
               (SELECT array_agg(x::text ORDER BY x::text)
                FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))) x),
               i.inhparent::regclass::text, i.inhdetachpending
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am am ON am.oid = c.relam
        LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
        LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE {OURS}""",
    "columns": f"""
        SELECT a.attrelid::regclass::text, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity, a.attgenerated, a.attstorage, a.attcompression, a.attstattarget, a.attacl::text,
               ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE o ~ '^n_distinct'), a.attcollation::regcollation::text,
               pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE {OURS} AND a.attnum > 0 AND NOT a.attisdropped""",
    "indexes": f"""
        SELECT pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisreplident, i.indisclustered,
               (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = i.indexrelid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS}""",
    "constraints": f"""
        SELECT k.conrelid::regclass::text, k.contype,
               -- names of copied foreign keys carry numbers that depend on the order of creation
               CASE WHEN k.conparentid = 0 THEN k.conname END, k.convalidated, k.conislocal, k.coninhcount,
               pg_get_constraintdef(k.oid), k.condeferrable, k.condeferred, obj_description(k.oid, 'pg_constraint')
        FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {OURS}""",
    "triggers": f"""
        SELECT t.tgrelid::regclass::text, pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS} AND NOT t.tgisinternal""",
    "policies": """
        SELECT polrelid::regclass::text, polname, polcmd, polpermissive, polroles::regrole[]::text,
               pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy""",
    "statistics": f"""
        SELECT pg_get_statisticsobjdef(s.oid), s.stxstattarget, pg_get_userbyid(s.stxowner)
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {OURS}""",
    "functions": f"""
        SELECT pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner), p.proacl::text
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {OURS}""",
    "publications": "SELECT pubname, schemaname, tablename, attnames, rowfilter FROM pg_publication_tables",
    "hierarchies": "SELECT h::text FROM dp.hierarchy_config h",
    "tables": "SELECT t::text FROM dp.table_config t",
    "writable views": "SELECT v::text FROM dp.writable_view_config v",
    "pending": "SELECT p::text FROM dp.pending_foreign_key p",
    "detached": "SELECT slice, root, tbl, lower_bound, upper_bound FROM dp.detached_slice",
    "policies by age": "SELECT p::text FROM dp.policy_config p",
    "frozen": "SELECT leaf, root FROM dp.frozen_leaf",
    "sequences": "SELECT schemaname, sequencename, sequenceowner, data_type, start_value, last_value FROM pg_sequences"
    " WHERE schemaname <> 'dp'",
}


def picture(db: Database) -> dict[str, list[str]]:
    """Everything a call may have changed, as sorted text."""
    with db.server.connect(db.name) as connection:  # rows as tuples: some columns of a query have one name
        return {name: sorted(str(row) for row in connection.execute(query)) for name, query in QUERIES.items()}


def difference(one: dict[str, list[str]], other: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """What is in one picture alone, by kind."""
    return {
        kind: (
            [text for text in one[kind] if text not in other[kind]],
            [text for text in other[kind] if text not in one[kind]],
        )
        for kind in one
        if one[kind] != other[kind]
    }
