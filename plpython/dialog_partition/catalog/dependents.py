"""Reading what depends on plain tables, with what is needed to let it mean the new ones."""

from __future__ import annotations

from .. import database
from ..plan.conversion import Dependent
from ..plan.properties import Grant, comment_statements, grant_statements
from ..sql import SQL, Identifier, Literal, compose
from . import properties as catalog_properties

# Everything above the tables: views, functions with SQL bodies, rules and policies of other tables. A rewrite rule
# stands for its view. The level is the longest way, so that what is needed comes first.
_ABOVE = """
    WITH RECURSIVE above (class, oid, level) AS (
        SELECT 'pg_class'::regclass::oid, oid, 0 FROM unnest($1) AS t (oid)
        UNION
        SELECT CASE WHEN r.rulename = '_RETURN' THEN 'pg_class'::regclass::oid ELSE d.classid END,
               CASE WHEN r.rulename = '_RETURN' THEN r.ev_class ELSE d.objid END, above.level + 1
        FROM above
        JOIN pg_depend d ON d.refclassid = above.class AND d.refobjid = above.oid AND d.deptype = 'n'
        LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid
        WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass) AND above.level < 100
          AND coalesce(r.ev_class, y.polrelid, 0) <> ALL ($1)
          AND NOT EXISTS (SELECT FROM pg_class p WHERE p.oid = coalesce(r.ev_class, y.polrelid) AND p.relispartition)
          AND NOT (above.class = 'pg_class'::regclass AND r.ev_class IS NOT DISTINCT FROM above.oid)
    )
    SELECT class::regclass::text AS class, oid, max(level) AS level FROM above
    WHERE level > 0 GROUP BY class, oid ORDER BY 3, 1, 2
"""

_RELATION = """
    SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, pg_get_userbyid(c.relowner) AS owner,
           pg_has_role(c.relowner, 'USAGE') AS is_own, rtrim(pg_get_viewdef(c.oid), ';') AS definition,
           array_to_string(c.reloptions, ', ') AS options, c.relispopulated AS is_populated,
           ts.spcname AS tablespace,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid ORDER BY i.indexrelid)
               AS indexes,
           ARRAY(SELECT format('COMMENT ON INDEX %I.%I IS %L', n.nspname, x.relname, obj_description(x.oid, 'pg_class'))
                 FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid AND obj_description(x.oid, 'pg_class') IS NOT NULL) AS index_comments,
           ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                 ORDER BY t.oid)
               || ARRAY(SELECT rtrim(pg_get_ruledef(w.oid), ';') FROM pg_rewrite w
                        WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN' ORDER BY w.oid)
               || ARRAY(SELECT format('ALTER VIEW %I.%I ALTER COLUMN %I SET DEFAULT %s', n.nspname, c.relname,
                                      a.attname, pg_get_expr(f.adbin, f.adrelid))
                        FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                        WHERE f.adrelid = c.oid ORDER BY a.attnum)
               || ARRAY(SELECT format('ALTER MATERIALIZED VIEW %I.%I ALTER COLUMN %I SET STATISTICS %s', n.nspname,
                                      c.relname, a.attname, a.attstattarget)
                        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND c.relkind = 'm'
                             AND NOT a.attisdropped AND a.attstattarget >= 0 ORDER BY a.attnum)
               || ARRAY(SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s WHERE s.stxrelid = c.oid
                        ORDER BY s.oid)
               || ARRAY(SELECT format('COMMENT ON STATISTICS %I.%I IS %L', sn.nspname, s.stxname,
                                      obj_description(s.oid, 'pg_statistic_ext'))
                        FROM pg_statistic_ext s JOIN pg_namespace sn ON sn.oid = s.stxnamespace
                        WHERE s.stxrelid = c.oid AND obj_description(s.oid, 'pg_statistic_ext') IS NOT NULL)
               || ARRAY(SELECT format('ALTER MATERIALIZED VIEW %I.%I CLUSTER ON %I', n.nspname, c.relname, x.relname)
                        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                        WHERE i.indrelid = c.oid AND i.indisclustered) AS parts
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
    WHERE c.oid = $1
"""

_FUNCTION = """
    SELECT pg_get_functiondef(p.oid) AS definition, p.oid::regprocedure::text AS name,
           p.prosqlbody IS NOT NULL AS is_sql, pg_get_function_sqlbody(p.oid) AS body,
           pg_has_role(p.proowner, 'USAGE') AS is_own, pg_get_userbyid(p.proowner) AS owner
    FROM pg_proc p WHERE p.oid = $1 AND p.prokind IN ('f', 'p')
"""

_RULE = """
    SELECT rtrim(pg_get_ruledef(w.oid), ';') AS definition,
           format('CREATE OR REPLACE RULE %I AS ON %s TO %s DO NOTHING', w.rulename,
                  CASE w.ev_type WHEN '2' THEN 'UPDATE' WHEN '3' THEN 'INSERT' WHEN '4' THEN 'DELETE' END,
                  w.ev_class::regclass) AS release,
           format('rule %I on %s', w.rulename, w.ev_class::regclass) AS name,
           pg_has_role(c.relowner, 'USAGE') AS is_own, pg_get_userbyid(c.relowner) AS owner
    FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class WHERE w.oid = $1
"""

_POLICY = """
    SELECT p.polname AS name, n.nspname AS schema, c.relname AS relation, pg_get_expr(p.polqual, p.polrelid) AS using,
           pg_get_expr(p.polwithcheck, p.polrelid) AS "check", pg_has_role(c.relowner, 'USAGE') AS is_own,
           pg_get_userbyid(c.relowner) AS owner
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.oid = $1
"""

# What stands above a materialized view, which cannot be replaced in place: it goes, and is made again.
_OVER = """
    WITH RECURSIVE over (oid) AS (
        SELECT c.oid FROM pg_class c WHERE c.oid = ANY ($1) AND c.relkind = 'm'
        UNION
        SELECT r.ev_class FROM over JOIN pg_depend d
          ON d.refclassid = 'pg_class'::regclass AND d.refobjid = over.oid AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN'
    )
    SELECT oid FROM over
"""

# What looks at relations that are dropped and made again, and stays: it must look at nothing meanwhile.
_LOOKING = """
    SELECT DISTINCT d.classid::regclass::text AS class, d.objid AS oid,
           pg_describe_object(d.classid, d.objid, 0) AS name
    FROM pg_depend d
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1) AND d.deptype = 'n'
      AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)
      AND NOT EXISTS (SELECT FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
                      AND r.ev_class = ANY ($1))
"""

# What uses the row types of such relations, but they themselves.
_ROW_TYPES = """
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) AS name, c.oid::regclass::text AS relation
    FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
    JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND d.deptype = 'n'
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE c.oid = ANY ($1) AND coalesce(r.ev_class, 0) <> ALL ($1)
    ORDER BY 1
"""

# Constants of the type regclass in defaults, and constraint triggers that name a table they are not on.
_NAMING = """
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) AS name
    FROM pg_depend d
    LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
    LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid AND NOT t.tgisinternal
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1)
      AND (a.oid IS NOT NULL AND d.deptype = 'n' AND d.refobjsubid = 0 OR t.tgconstrrelid = d.refobjid)
    ORDER BY 1
"""

# GROUP BY a primary key lets a view show further columns; a wider primary key does not.
_GROUPED_BY_PRIMARY_KEY = """
    SELECT DISTINCT coalesce(format('%s %s', CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END,
                                    c.oid::regclass),
                             pg_describe_object(d.classid, d.objid, 0)) AS name, k.conname AS key
    FROM pg_constraint k
    JOIN pg_depend d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid AND d.deptype = 'n'
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_class c ON c.oid = r.ev_class
    WHERE k.contype = 'p' AND k.conrelid = ANY ($1) AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
    ORDER BY 1
"""


def read(tables: list[int], going: list[int]) -> tuple[list[Dependent], list[tuple[str, str]]]:
    """What depends on tables, the lowest first; and what of it cannot be made again, with why.

    ``going`` are views that will not be made again, and that nothing else may look at.
    """
    rows = [row for row in database.query(_ABOVE, ("oid[]",), (tables,)) if row["oid"] not in going]
    relations = [row["oid"] for row in rows if row["class"] == "pg_class"]
    made_again = {row["oid"] for row in database.query(_OVER, ("oid[]",), (relations,))}
    found: list[Dependent] = []
    grouped = "It groups by the primary key {} and shows further columns: group by those, too."
    blocked = [
        (row["name"], grouped.format(Identifier(row["key"])))
        for row in database.query(_GROUPED_BY_PRIMARY_KEY, ("oid[]",), (tables,))
    ]
    naming = "It names the table that there is, and would not mean the new one: drop it, and create it afterwards."
    blocked += [(row["name"], naming) for row in database.query(_NAMING, ("oid[]",), (tables,))]
    again = list(made_again)
    using = "It uses the row type of {}, which is dropped and made again: drop it, and create it afterwards."
    blocked += [
        (row["name"], using.format(row["relation"])) for row in database.query(_ROW_TYPES, ("oid[]",), (again,))
    ]
    gone = "It looks at a writable view, which goes: drop it, and create it afterwards."
    blocked += [(row["name"], gone) for row in database.query(_LOOKING, ("oid[]",), (going,))]
    looking = {(row["class"], row["oid"]) for row in database.query(_LOOKING, ("oid[]",), (again,))}
    for row in rows:
        about = (row["oid"],)
        release: tuple[str, ...] = ()
        if row["class"] == "pg_class":
            dependent, facts = _relation(row["oid"], row["oid"] in made_again)
        elif row["class"] == "pg_proc":
            facts = next(iter(database.query(_FUNCTION, ("oid",), about)), {})
            if not facts or not facts["is_sql"]:
                continue  # by its parameters or result, which is told elsewhere
            dependent = Dependent("function", f"function {facts['name']}", None, (facts["definition"],))
            release = _bodyless(facts)
        elif row["class"] == "pg_rewrite":
            facts = database.query(_RULE, ("oid",), about)[0]
            dependent = Dependent("rule", facts["name"], None, (_replacing(facts["definition"]),))
            release = (facts["release"],)
        else:
            facts = database.query(_POLICY, ("oid",), about)[0]
            dependent = _policy(facts)
            blind = {**facts, "using": facts["using"] and "false", "check": facts["check"] and "false"}
            release = _policy(blind).create
        if (row["class"], row["oid"]) in looking and dependent.drop is None and row["class"] != "pg_class":
            dependent = dependent._replace(release=release)
        if not facts["is_own"]:
            blocked.append((dependent.name, f"It belongs to {facts['owner']}."))
        found.append(dependent)
    return found, blocked


def _bodyless(facts: database.Row) -> tuple[str, ...]:
    """The same function without a body, for as long as what it looks at is not there."""
    header = facts["definition"].rstrip()[: -len(facts["body"].rstrip())]
    return "SET LOCAL check_function_bodies = off", f"{header}AS ''"


def _replacing(rule: str) -> str:
    return "CREATE OR REPLACE" + rule[len("CREATE") :]


def _policy(facts: database.Row) -> Dependent:
    name, table = Identifier(facts["name"]), Identifier(facts["schema"], facts["relation"])
    clauses = compose(
        "ALTER POLICY {} ON {}{}{}",
        name,
        table,
        compose(" USING ({})", SQL(facts["using"])) if facts["using"] else SQL(""),
        compose(" WITH CHECK ({})", SQL(facts["check"])) if facts["check"] else SQL(""),
    )
    return Dependent("policy", f"policy {name} on {table}", None, (clauses.text,))


def _relation(oid: int, is_made_again: bool) -> tuple[Dependent, database.Row]:
    """A view or a materialized view."""
    facts = database.query(_RELATION, ("oid",), (oid,))[0]
    name = Identifier(facts["schema"], facts["name"])
    options = f" WITH ({facts['options']})" if facts["options"] else ""
    if facts["kind"] == "v" and not is_made_again:
        replace = f"CREATE OR REPLACE VIEW {name}{options} AS {facts['definition']}"
        return Dependent("view", f"view {name}", None, (replace,)), facts
    state = catalog_properties.states([oid])[oid]
    own = tuple(Grant(g.grantee, g.privilege, g.column, g.is_grantable) for g in state.grants)
    kind = "VIEW" if facts["kind"] == "v" else "MATERIALIZED VIEW"
    tail = " WITH NO DATA" if facts["kind"] == "m" else ""
    space = f" TABLESPACE {Identifier(facts['tablespace'])}" if facts["tablespace"] else ""
    statements = [f"CREATE {kind} {name}{options}{space} AS {facts['definition']}{tail}", *facts["indexes"]]
    statements += facts["index_comments"] + facts["parts"]
    statements += [each.text for each in grant_statements(own, name)]
    if state.comment is not None:
        statements.append(compose("COMMENT ON {} {} IS {}", SQL(kind), name, Literal(state.comment)).text)
    statements += [each.text for each in comment_statements(None, state.column_comments, name)]
    afterwards = (f"REFRESH MATERIALIZED VIEW {name}",) if facts["kind"] == "m" and facts["is_populated"] else ()
    kind_word = kind.lower()
    return Dependent(kind_word, f"{kind_word} {name}", f"DROP {kind} {name}", tuple(statements), (), afterwards), facts
