"""Reading what schema changes without blocking need: partitions with their indexes and constraints."""

from __future__ import annotations

from .. import database
from ..plan.online import Index, Part, Wanted
from ..plan.validate import Part as Rulable
from ..plan.validate import Rule
from ..sql import Identifier

_PARTS = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, tree.isleaf AS is_leaf,
           coalesce(CASE WHEN tree.level > 0 THEN tree.parentrelid::oid END, 0::oid) AS parent
    FROM pg_partition_tree($1) AS tree
    JOIN pg_class c ON c.oid = tree.relid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY tree.level, n.nspname, c.relname
"""

# Only what is attached to nothing is deparsed: that is what may be equal to the index that is wanted.
_INDEXES = """
    SELECT i.indexrelid AS oid, i.indrelid AS relation, n.nspname AS schema, x.relname AS name,
           i.indisvalid AS is_valid, coalesce(p.inhparent, 0::oid) AS parent, i.indisunique AS is_unique,
           CASE WHEN p.inhparent IS NULL AND k.oid IS NULL THEN dp._index_definition(i.indexrelid) END AS definition,
           EXISTS (SELECT FROM pg_stat_progress_create_index b WHERE b.index_relid = i.indexrelid) AS is_busy
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = x.relnamespace
    LEFT JOIN pg_inherits p ON p.inhrelid = i.indexrelid
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = ANY ($1)
    ORDER BY x.relname
"""

_BUILT = """
    SELECT DISTINCT l.statements FROM dp.log_entry l JOIN dp.progress_entry p ON p.root = l.root
    WHERE p.root = $1::regclass AND p.operation = $2 AND p.tbl = $3::regclass AND p.about = $4
      AND l.call = p.operation AND l.status = 'done' AND l.at >= p.started
"""

_DEFINITION = """
    SELECT dp._index_definition(i.indexrelid) AS definition, i.indisunique AS is_unique,
           pg_get_expr(i.indpred, i.indrelid) AS predicate, t.spcname AS tablespace
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN pg_tablespace t ON t.oid = x.reltablespace
    WHERE i.indexrelid = $1::regclass
"""


def parts(table: int) -> tuple[Part, ...]:
    """A table and its partitions, from the top down, with their indexes."""
    rows = database.query(_PARTS, ("oid",), (table,))
    indexes: dict[int, list[Index]] = {}
    for row in database.query(_INDEXES, ("oid[]",), ([row["oid"] for row in rows],)):
        found = Index(
            row["oid"],
            row["relation"],
            row["schema"],
            row["name"],
            row["is_valid"],
            row["parent"],
            row["is_unique"],
            row["definition"],
            row["is_busy"],
        )
        indexes.setdefault(found.relation, []).append(found)
    return tuple(
        Part(
            row["oid"],
            row["schema"],
            row["name"],
            row["is_leaf"],
            row["parent"],
            tuple(indexes.get(row["oid"], ())),
        )
        for row in rows
    )


def like(index: str, name: str) -> Wanted:
    """What an index of this name would be that is defined as another one, whose own is qualified and quoted."""
    row = database.query(_DEFINITION, ("text",), (index,))[0]
    return Wanted(name, row["definition"], row["is_unique"], row["predicate"], row["tablespace"])


def built_since(root: int, call: str, table: int, about: str) -> frozenset[str]:
    """The statements that an operation which was stopped has run since it began."""
    rows = database.query(_BUILT, ("oid", "text", "oid", "text"), (root, call, table, about))
    return frozenset(row["statements"] for row in rows)


_RULES = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, tree.isleaf AS is_leaf, tree.level = 0 AS is_top,
           k.conname AS rule, k.oid AS rule_oid, k.conparentid AS parent, k.convalidated AS is_valid,
           k.contype AS kind, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') AS definition
    FROM pg_partition_tree($1) AS tree
    JOIN pg_class c ON c.oid = tree.relid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_constraint top ON top.conrelid = $1 AND top.conname = $2 AND top.contype = $3
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = $3
         -- a foreign key's partitions have names of their own, but where it was not declared on the table yet
         AND CASE WHEN $3 = 'f' AND top.oid IS NOT NULL
                  THEN k.oid = top.oid OR EXISTS (SELECT FROM pg_constraint up WHERE up.oid = k.conparentid
                                                  AND (up.oid = top.oid OR up.conparentid = top.oid))
                  ELSE k.conname = $2 END
    ORDER BY tree.level, n.nspname, c.relname
"""


def rules(table: int, name: str, kind: str) -> tuple[Rulable, ...]:
    """A table and its partitions, from the top down, with one constraint of a kind (pg_constraint.contype)."""
    return tuple(
        Rulable(
            row["oid"],
            Identifier(row["schema"], row["name"]),
            row["is_leaf"],
            row["is_top"],
            Rule(row["rule"], row["parent"], row["rule_oid"], row["is_valid"], row["definition"])
            if row["rule"] is not None
            else None,
        )
        for row in database.query(_RULES, ("oid", "name", '"char"'), (table, name, kind))
    )


def referenced_table(table: int, name: str) -> int:
    """What a foreign key refers to."""
    rows = database.query(
        "SELECT confrelid FROM pg_constraint WHERE conrelid = $1 AND conname = $2", ("oid", "name"), (table, name)
    )
    return int(rows[0]["confrelid"])


def constraint_definition(table: int, name: str) -> str:
    """A constraint as PostgreSQL deparses it, without NOT VALID."""
    rows = database.query(
        "SELECT regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '') AS definition FROM pg_constraint"
        " WHERE conrelid = $1 AND conname = $2",
        ("oid", "name"),
        (table, name),
    )
    return str(rows[0]["definition"])
