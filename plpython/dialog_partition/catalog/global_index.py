"""Reading global indexes, and what is needed to make one."""

from __future__ import annotations

from .. import database, naming
from ..model import GlobalIndex
from ..sql import Identifier

_INDEXES = """
    SELECT g.tbl::oid AS tbl, c.oid, n.nspname AS schema, c.relname AS name, g.columns, g.predicate, g.is_unique,
           g.is_valid, s.carried, s.operator_schemas,
           (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid) AS hash_partitions
    FROM dp.global_index_config g
    JOIN pg_class c ON c.oid = g.side
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE a.attname <> ALL (g.columns)) AS carried,
               array_agg(dp._equality_schema(a.atttypid) ORDER BY array_position(g.columns, a.attname), a.attnum)
                   AS operator_schemas
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS s
    WHERE g.root = ANY ($1)
    ORDER BY c.relname
"""


def of_roots(roots: list[int]) -> dict[int, tuple[GlobalIndex, ...]]:
    """The global indexes of some hierarchies, by table."""
    found: dict[int, tuple[GlobalIndex, ...]] = {}
    for row in database.query(_INDEXES, ("oid[]",), (roots,)):
        index = GlobalIndex(
            row["oid"],
            row["schema"],
            row["name"],
            tuple(row["columns"]),
            tuple(row["carried"] or ()),
            tuple(row["operator_schemas"]),
            row["predicate"],
            row["is_unique"],
            row["is_valid"],
            int(row["hash_partitions"]),
        )
        found[row["tbl"]] = (*found.get(row["tbl"], ()), index)
    return found


def table_of(side: int) -> int | None:
    """The table that a side table is a global index of."""
    rows = database.query("SELECT tbl::oid AS tbl FROM dp.global_index_config WHERE side = $1", ("oid",), (side,))
    return int(rows[0]["tbl"]) if rows else None


def operator_schemas(table: int, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Where the equality operators of some columns' types are."""
    rows = database.query(
        "SELECT dp._equality_schema(a.atttypid) AS schema FROM unnest($2) WITH ORDINALITY AS c (name, position)"
        " JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = c.name AND NOT a.attisdropped ORDER BY c.position",
        ("oid", "name[]"),
        (table, list(columns)),
    )
    return tuple(row["schema"] for row in rows)


def types(table: int, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The types of some columns, without length and the like, which arguments of functions do not have."""
    rows = database.query(
        "SELECT format_type(a.atttypid, NULL) AS type FROM unnest($2) WITH ORDINALITY AS c (name, position)"
        " JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = c.name AND NOT a.attisdropped ORDER BY c.position",
        ("oid", "name[]"),
        (table, list(columns)),
    )
    return tuple(row["type"] for row in rows)


def readers(table: int) -> tuple[str, ...]:
    """The roles besides its owner that may read a table; the empty name is PUBLIC."""
    rows = database.query(
        "SELECT DISTINCT coalesce(r.rolname, '') AS name FROM pg_class c CROSS JOIN aclexplode(c.relacl) AS a"
        " LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE c.oid = $1 AND a.privilege_type = 'SELECT'"
        " AND a.grantee <> c.relowner ORDER BY 1",
        ("oid",),
        (table,),
    )
    return tuple(row["name"] for row in rows)


def predicate(table: int, index: str) -> tuple[str, tuple[str, ...]]:
    """What an index on a table says behind WHERE, as PostgreSQL deparses it, and the columns of that."""
    rows = database.query(
        "SELECT pg_get_expr(i.indpred, i.indrelid) AS predicate,"
        " ARRAY(SELECT DISTINCT a.attname FROM pg_depend d JOIN pg_attribute a ON a.attrelid = i.indrelid"
        "       AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid"
        "       AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0 ORDER BY 1)"
        " AS columns FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = $1 AND x.relname = $2",
        ("oid", "name"),
        (table, index),
    )
    return rows[0]["predicate"], tuple(rows[0]["columns"])


def virtual_column(table: int, columns: tuple[str, ...]) -> str | None:
    """One of some columns that is generated when it is read, if there is one (18 and later)."""
    rows = database.query(
        "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1 AND attname = ANY ($2) AND attgenerated = 'v'"
        " ORDER BY attnum LIMIT 1",
        ("oid", "name[]"),
        (table, list(columns)),
    )
    return rows[0]["name"] if rows else None


def hidden_rows(relation: Identifier, *, is_whole: bool) -> str | None:
    """A table, or also a partition of it, whose rows policies may hide from its owner."""
    rows = database.query(
        "SELECT c.oid::regclass::text AS name FROM pg_partition_tree($1::regclass) t JOIN pg_class c ON c.oid = t.relid"
        " JOIN pg_roles r ON r.oid = c.relowner WHERE c.relrowsecurity AND c.relforcerowsecurity"
        " AND NOT r.rolbypassrls AND NOT r.rolsuper AND (t.level = 0 OR $2) ORDER BY t.level, c.oid LIMIT 1",
        ("text", "boolean"),
        (relation.text, is_whole),
    )
    return rows[0]["name"] if rows else None


def existing_functions(schema: str, comment: str) -> bool:
    """Whether a schema has a function with a comment."""
    rows = database.query(
        # by the comments, which are fewer than the functions, and told without a call for each
        "SELECT EXISTS (SELECT FROM pg_description d JOIN pg_proc p ON p.oid = d.objoid"
        " JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE d.classoid = 'pg_proc'::regclass AND d.description = $2 AND n.nspname = $1) AS found",
        ("text", "text"),
        (schema, comment),
    )
    return bool(rows[0]["found"])


def unguarded(index: GlobalIndex, table: int) -> tuple[tuple[str, str, bool], ...]:
    """Slices and leaves that lack the guard of a global index; whether each is a leaf."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name, t.isleaf AS is_leaf"
        " FROM pg_partition_tree($1) t JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE t.level > 0 AND c.relkind IN ('r', 'p') AND NOT EXISTS ("
        " SELECT FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid AND p.proname = $3"
        " JOIN pg_namespace pn ON pn.oid = p.pronamespace AND pn.nspname = $2"
        " WHERE g.tgrelid = c.oid AND g.tgtype & 1 = 0 AND g.tgenabled IN ('O', 'A')) ORDER BY c.oid",
        ("oid", "text", "text"),
        (table, index.schema, index.name),
    )
    return tuple((row["schema"], row["name"], row["is_leaf"]) for row in rows)


def partitions(table: int) -> list[tuple[Identifier, bool]]:
    """The slices and leaves of a table; whether each is a leaf."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name, t.isleaf AS is_leaf FROM pg_partition_tree($1) t"
        " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE t.level > 0 AND c.relkind IN ('r', 'p') ORDER BY c.oid",
        ("oid",),
        (table,),
    )
    return [(Identifier(row["schema"], row["name"]), row["is_leaf"]) for row in rows]


def slice_parts(relation: int) -> list[tuple[Identifier, bool]]:
    """A slice and its leaves, itself first; whether each is a leaf. Nothing where it is gone."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name, t.isleaf AS is_leaf FROM pg_partition_tree($1) t"
        " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY t.level, c.oid",
        ("oid",),
        (relation,),
    )
    if rows:
        return [(Identifier(row["schema"], row["name"]), row["is_leaf"]) for row in rows]
    found = database.query(  # one without leaves that is no partition any more has no tree
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = $1 AND c.relkind = 'r'",
        ("oid",),
        (relation,),
    )
    return [(Identifier(row["schema"], row["name"]), True) for row in found]


def sample(index: GlobalIndex) -> tuple[tuple[str, str], ...]:
    """A wrong entry of a random sample, if there is one that the caller may see."""
    rows = database.query("SELECT problem, entry FROM dp._sample_global_index($1)", ("oid",), (index.oid,))
    return tuple((row["problem"], row["entry"]) for row in rows)


def leaf_blocks(table: int) -> list[tuple[Identifier, int]]:
    """The leaves of a table, and how many blocks each has now."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name,"
        " pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks"
        " FROM pg_partition_tree($1) t JOIN pg_class c ON c.oid = t.relid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf AND c.relkind = 'r' ORDER BY c.oid",
        ("oid",),
        (table,),
    )
    return [(Identifier(row["schema"], row["name"]), int(row["blocks"])) for row in rows]


def used_by(table: int, column: str) -> str | None:
    """A global index that a column of its table is part of."""
    rows = database.query(
        "SELECT g.side::text AS side FROM dp.global_index_config g WHERE g.tbl = $1 AND ($2 = ANY (g.predicate_columns)"
        " OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = g.side AND a.attname = $2 AND NOT a.attisdropped))"
        " ORDER BY 1 LIMIT 1",
        ("oid", "name"),
        (table, column),
    )
    return rows[0]["side"] if rows else None


def default_name(table: str, columns: tuple[str, ...]) -> str:
    """The name of a side table where the caller gives none: ``Dialog_Id_global``."""
    return naming.derived_name(table, f"{'_'.join(columns)}_global")


def emptied_with(sides: list[int]) -> list[tuple[str, str]]:
    """Tables whose foreign keys to side tables are ON DELETE CASCADE, each with the side table."""
    rows = database.query(
        "SELECT k.conrelid::regclass::text AS child, k.confrelid::regclass::text AS side FROM pg_constraint k"
        " WHERE k.confrelid = ANY ($1) AND k.contype = 'f' AND k.conparentid = 0 AND k.confdeltype = 'c' ORDER BY 1, 2",
        ("oid[]",),
        (sides,),
    )
    return [(row["child"], row["side"]) for row in rows]
