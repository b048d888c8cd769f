"""How far conversions are: their steps, and the tables they are about."""

from __future__ import annotations

from typing import NamedTuple

from .. import database, errors
from ..plan.conversion import Conversion, working_schema
from ..plan.conversion_record import Record
from ..plan.conversion_record import read as read_record
from ..plan.conversion_steps import Part
from ..plan.lookup import ANY_COMMENT
from ..plan.page import MARK
from ..sql import SQL, Identifier, Literal, compose
from . import server


class State(NamedTuple):
    """A conversion that was begun."""

    root: int  # the plain root
    hierarchy: int | None  # the root of the hierarchy that takes its place
    state: str
    owner: str
    name: str
    hierarchy_name: str | None
    is_back: bool
    options: str  # the parameters it was begun with, as JSON
    definitions: str  # the fingerprint of the tables' definitions


class Stored(NamedTuple):
    """A step that is to be done."""

    position: int
    phase: str
    kind: str
    table: int
    parents: tuple[int, ...]
    target: SQL
    statements: tuple[SQL, ...]
    arguments: str
    next_block: int


def find(root: int | None) -> State | None:
    """The conversion that a table is the root of, be it the plain one or the other."""
    rows = database.query(
        "SELECT s.root::oid AS root, s.hierarchy::oid AS hierarchy, s.state, pg_get_userbyid(c.relowner) AS owner,"
        " s.root::text AS name, s.hierarchy::text AS hierarchy_name, s.is_back, s.options,"
        " s.definitions"
        " FROM dp.conversion_config s JOIN pg_class c ON c.oid = s.root WHERE $1 IN (s.root::oid, s.hierarchy::oid)",
        ("oid",),
        (server.named(root),),
    )
    return State(**rows[0]) if rows else None


def begin(conversion: Conversion, parts: list[Part], options: str, definitions: str) -> None:
    """Store a conversion that begins."""
    root = conversion.root.oid
    database.query(
        "INSERT INTO dp.conversion_config (root, state, is_back, options, definitions)"
        " VALUES ($1, 'structure', $2, $3, $4)",
        ("oid", "bool", "text", "text"),
        (root, conversion.is_back, options, definitions),
    )
    for position, member in enumerate(conversion.members):
        database.query(
            "INSERT INTO dp.conversion_table (root, plain, position) VALUES ($1, $2, $3)",
            ("oid", "oid", "int4"),
            (root, member.oid, position),
        )
    for position, part in enumerate(parts):
        database.query(
            "INSERT INTO dp.conversion_step (root, position, phase, kind, tbl, parents, target, statements, arguments)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            ("oid", "int4", "text", "text", "oid", "oid[]", "text", "text[]", "text"),
            (
                root,
                position,
                part.phase,
                part.kind,
                part.table or root,
                list(part.parents),
                part.target.text,
                [statement.text for statement in part.statements],
                part.arguments,
            ),
        )


def steps_left(root: int, phase: str) -> int:
    """How many steps of a phase are not done, copying tables left out."""
    rows = database.query(
        "SELECT count(*) AS steps FROM dp.conversion_step"
        " WHERE root = $1 AND phase = $2 AND NOT is_done AND kind <> 'copy'",
        ("oid", "text"),
        (root, phase),
    )
    return int(rows[0]["steps"])


def next_step(root: int) -> Stored | None:
    """The first step that is not done."""
    rows = database.query(
        "SELECT position, phase, kind, tbl::oid AS tbl, parents::oid[] AS parents, target, statements, arguments,"
        " next_block FROM dp.conversion_step WHERE root = $1 AND NOT is_done ORDER BY position LIMIT 1",
        ("oid",),
        (root,),
    )
    if not rows:
        return None
    row = rows[0]
    return Stored(
        row["position"],
        row["phase"],
        row["kind"],
        row["tbl"],
        tuple(row["parents"]),
        SQL(row["target"]),
        tuple(SQL(statement) for statement in row["statements"]),
        row["arguments"],
        row["next_block"],
    )


def done_statement(root: int, step: Stored) -> SQL:
    """A step is done."""
    return compose(
        "UPDATE dp.conversion_step SET is_done = true WHERE root = {}::oid AND position = {}",
        Literal(root),
        Literal(step.position),
    )


def advanced_statement(root: int, step: Stored, block: int) -> SQL:
    """The blocks before this one are copied."""
    return compose(
        "UPDATE dp.conversion_step SET next_block = {} WHERE root = {}::oid AND position = {}",
        Literal(block),
        Literal(root),
        Literal(step.position),
    )


def remember(root: int, step: Stored, arguments: str) -> None:
    """Note what a step found out."""
    database.query(
        "UPDATE dp.conversion_step SET arguments = $3, is_done = true WHERE root = $1 AND position = $2",
        ("oid", "int4", "text"),
        (root, step.position, arguments),
    )


def versions(root: int) -> list[tuple[str, str]]:
    """The row versions of each plain table when it was compared."""
    rows = database.query(
        "SELECT tbl::text AS name, arguments FROM dp.conversion_step WHERE root = $1 AND kind = 'verify'"
        " ORDER BY position",
        ("oid",),
        (root,),
    )
    return [(row["name"], row["arguments"]) for row in rows]


def set_state(root: int, state: str) -> None:
    """How far it is."""
    database.query(
        "UPDATE dp.conversion_config SET state = $2,"
        " hierarchy = (SELECT converted FROM dp.conversion_table WHERE root = $1 AND plain::oid = $1) WHERE root = $1",
        ("oid", "text"),
        (root, state),
    )


def note_converted(root: int) -> None:
    """Note which tables take the place of the plain ones: those that were built for them."""
    for row in tables(root):
        if row["converted"] is None:
            built = Identifier(working_schema(row["plain_schema"]), row["name"])
            database.query(
                "UPDATE dp.conversion_table SET converted = to_regclass($3) WHERE root = $1 AND plain::oid = $2",
                ("oid", "oid", "text"),
                (root, row["plain"], built.text),
            )


def built(root: int) -> list[database.Row]:
    """The tables that were built for plain ones so far, parents first, noted or not."""
    found = []
    for row in tables(root):
        noted = row
        if row["converted"] is None:
            schema = working_schema(row["plain_schema"])
            oid = server.find_relation(Identifier(schema, row["name"]).text)
            noted = {**row, "converted": oid, "converted_schema": schema}
        if noted["converted"] is not None:
            found.append(noted)
    return found


def tables(root: int) -> list[database.Row]:
    """The tables of a conversion, parents first: plain and converted, with their schemas."""
    return database.query(
        "SELECT t.plain::oid AS plain, t.converted::oid AS converted, n.nspname AS plain_schema, p.relname AS name,"
        " m.nspname AS converted_schema, t.plain::text AS plain_text, t.converted::text AS converted_text"
        " FROM dp.conversion_table t JOIN pg_class p ON p.oid = t.plain JOIN pg_namespace n ON n.oid = p.relnamespace"
        " LEFT JOIN pg_class c ON c.oid = t.converted LEFT JOIN pg_namespace m ON m.oid = c.relnamespace"
        " WHERE t.root = $1 ORDER BY t.position",
        ("oid",),
        (root,),
    )


def blocks(table: int) -> int:
    """How many blocks a plain table has."""
    query = "SELECT pg_relation_size($1::regclass) / current_setting('block_size')::bigint AS blocks"
    return int(database.query(query, ("oid",), (table,))[0]["blocks"])


def tree_size(table: int) -> int:
    """How many relations a partitioned table is."""
    return int(database.query("SELECT count(*) AS n FROM pg_partition_tree($1::regclass)", ("oid",), (table,))[0]["n"])


def partitions_elsewhere(table: int) -> list[SQL]:
    """The partitions of a table, and their statistics objects, that are not in its schema: as ALTER names them."""
    rows = database.query(
        "SELECT 'TABLE' AS kind, n.nspname AS schema, c.relname AS name FROM pg_partition_tree($1::regclass) t"
        " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.oid <> (SELECT relnamespace FROM pg_class WHERE oid = $1)"
        " UNION ALL SELECT 'STATISTICS', n.nspname, s.stxname FROM pg_partition_tree($1::regclass) t"
        " JOIN pg_statistic_ext s ON s.stxrelid = t.relid AND t.level > 0 JOIN pg_namespace n ON n.oid = s.stxnamespace"
        " WHERE n.oid <> (SELECT relnamespace FROM pg_class WHERE oid = $1) ORDER BY 1 DESC, 3",
        ("oid",),
        (table,),
    )
    return [compose("{} {}", SQL(row["kind"]), Identifier(row["schema"], row["name"])) for row in rows]


def foreign_keys_of(tables_: list[int]) -> list[database.Row]:
    """The foreign keys declared on some tables, and how many relations each touches."""
    return database.query(
        "SELECT k.conname AS name, n.nspname AS schema, c.relname AS relation, k.conrelid AS child,"
        " k.confrelid AS parent"
        " FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1) ORDER BY k.oid",
        ("oid[]",),
        (tables_,),
    )


def slices_of(table: int) -> list[Identifier]:
    """The slices of a table."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = $1 ORDER BY c.relname",
        ("oid",),
        (table,),
    )
    return [Identifier(row["schema"], row["name"]) for row in rows]


def existing_schemas(schemas: list[str]) -> list[str]:
    """Which of some schemas exist."""
    rows = database.query(
        "SELECT nspname AS name FROM pg_namespace WHERE nspname = ANY ($1) ORDER BY 1", ("name[]",), (schemas,)
    )
    return [row["name"] for row in rows]


def relation(oid: int) -> database.Row:
    """Name, schema and owner of a table."""
    rows = database.query(
        "SELECT c.oid::regclass::text AS name, n.nspname AS schema, pg_get_userbyid(c.relowner) AS owner"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        ("oid",),
        (oid,),
    )
    if not rows:
        raise errors.UndefinedObject(f"relation {oid} does not exist", "It was dropped meanwhile.", "Name a table.")
    return rows[0]


def oid_of(name: str) -> int:
    """The oid of a relation, by its qualified name."""
    return int(database.query("SELECT $1::regclass::oid AS oid", ("text",), (name,))[0]["oid"])


def records(tables_: list[int]) -> dict[int, Record]:
    """What conversions changed of some tables."""
    rows = database.query(
        "SELECT t.oid AS tbl, r.changes::text AS changes FROM unnest($1) AS t (oid)"
        " LEFT JOIN dp.conversion_record r ON r.tbl = t.oid",
        ("oid[]",),
        (tables_,),
    )
    return {row["tbl"]: read_record(row["changes"]) for row in rows}


def leaves_of(table: int) -> list[tuple[int, Identifier]]:
    """The leaves of a table."""
    rows = database.query(
        "SELECT c.oid, n.nspname AS schema, c.relname AS name FROM pg_partition_tree($1::regclass) t"
        " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE t.isleaf AND c.relkind = 'r' ORDER BY c.relname",
        ("oid",),
        (table,),
    )
    return [(row["oid"], Identifier(row["schema"], row["name"])) for row in rows]


def exists(oid: int) -> bool:
    """Whether a relation is there."""
    return bool(database.query("SELECT 1 FROM pg_class WHERE oid = $1", ("oid",), (oid,)))


def lookups(tables_: list[int]) -> list[database.Row]:
    """Lookup functions and pages of some tables, by whatever name: how they are told, and dropped."""
    return database.query(
        "SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0) AS described,"
        " format('DROP FUNCTION %s', p.oid::regprocedure) AS dropping"
        " FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype JOIN pg_class c ON c.oid = t.typrelid"
        " WHERE c.oid = ANY ($1) AND p.proretset AND p.proowner = c.relowner"
        " AND (obj_description(p.oid, 'pg_proc') LIKE $2 OR starts_with(p.prosrc, $3)) ORDER BY 1",
        ("oid[]", "text", "text"),
        (tables_, ANY_COMMENT, MARK),
    )
