"""Reading foreign keys: declared ones, and those that wait for dp.register_child."""

from __future__ import annotations

from .. import database
from ..model import ForeignKey
from ..plan.locking import Referenced
from ..sql import Identifier
from . import server

_FOREIGN_KEYS = """
    SELECT conname AS name, conrelid AS child, confrelid AS parent, confupdtype AS on_update, confdeltype AS on_delete,
           condeferrable AS is_deferrable, condeferred AS is_deferred,
           dp._column_names(conrelid, conkey) AS columns, dp._column_names(confrelid, confkey) AS parent_columns,
           dp._column_names(conrelid, confdelsetcols) AS delete_columns,
           conrelid::regclass::text AS child_text, confrelid::regclass::text AS parent_text,
           NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = conrelid AND a.attnum = ANY (conkey)
                       AND NOT a.attnotnull) AS is_mandatory,
           confmatchtype = 'f' AS is_full, convalidated AS is_valid, obj_description(oid, 'pg_constraint') AS comment
    FROM pg_constraint
    WHERE contype = 'f' AND conparentid = 0
"""

_PENDING = """
    SELECT name, child::oid AS child, parent::oid AS parent, columns, parent_columns, 'c' AS on_update, on_delete,
           delete_columns, is_deferrable, is_deferred, child::text AS child_text, parent::text AS parent_text,
           false AS is_mandatory, false AS is_full, true AS is_valid, comment
    FROM dp.pending_foreign_key
"""


def _foreign_key(row: database.Row) -> ForeignKey:
    """A row of pg_constraint as a value."""
    return ForeignKey(
        row["name"],
        row["child"],
        row["parent"],
        tuple(row["columns"]),
        tuple(row["parent_columns"]),
        row["on_update"],
        row["on_delete"],
        tuple(row["delete_columns"] or ()),
        row["is_deferrable"],
        row["is_deferred"],
        row["child_text"],
        row["parent_text"],
        row["is_mandatory"],
        row["is_full"],
        row["is_valid"],
        row["comment"],
    )


# What LOCK TABLE asks for is more than what a foreign key needs; to be locked is its table in any case.
_LOCKABLE = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = $1 AND c.relkind IN ('r', 'p')
      AND has_table_privilege(coalesce($2, current_user), c.oid, 'UPDATE, DELETE, TRUNCATE')
"""


def lockable(table: int, role: str | None) -> tuple[Referenced, ...]:
    """A table that a foreign key refers to, where a role, None: the caller, may lock it; else nothing."""
    rows = database.query(_LOCKABLE, ("oid", "name"), (table, role))
    return tuple(Referenced(row["oid"], Identifier(row["schema"], row["name"])) for row in rows)


def find(name: str, search_path: str) -> int:
    """The table that a name means in a search_path, as it stands in SQL; 0 where there is none."""

    def looked_up() -> int:
        database.set_local("search_path", search_path)
        return server.find_relation(name) or 0

    return database.rolled_back(looked_up)


def declared_on(tables: list[int]) -> list[ForeignKey]:
    """The foreign keys declared on some tables."""
    rows = database.query(f"{_FOREIGN_KEYS} AND conrelid = ANY ($1) ORDER BY oid", ("oid[]",), (tables,))
    return [_foreign_key(row) for row in rows]


def pointing_to(table: int) -> list[ForeignKey]:
    """The foreign keys of other tables that point to one."""
    rows = database.query(f"{_FOREIGN_KEYS} AND confrelid = $1 AND conrelid <> $1 ORDER BY oid", ("oid",), (table,))
    return [_foreign_key(row) for row in rows]


def definitions(table: int) -> dict[str, str]:
    """What the foreign keys declared on a table say, by name."""
    rows = database.query(
        "SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND conrelid = $1 ORDER BY oid",
        ("oid",),
        (table,),
    )
    return {row["name"]: row["definition"].removesuffix(" NOT VALID") for row in rows}


def pending_of(child: int) -> list[ForeignKey]:
    """The foreign keys that a table had before its parents were made anew."""
    return [
        _foreign_key(row) for row in database.query(f"{_PENDING} WHERE child = $1 ORDER BY name", ("oid",), (child,))
    ]


def pending_to(parents: list[int]) -> list[ForeignKey]:
    """The foreign keys that wait for the registration of their tables under some parents."""
    rows = database.query(f"{_PENDING} WHERE parent = ANY ($1) ORDER BY child::text, name", ("oid[]",), (parents,))
    return [_foreign_key(row) for row in rows]
