"""Unique rules of a table that is partitioned: what they become, and which cannot be kept."""

from __future__ import annotations

from .. import errors
from ..sql import SQL, Identifier, Literal, compose, names
from .index_statement import create_index_statement
from .properties import storage_clause
from .structure import Index, Structure, add_constraint


def index_statements(structure: Structure, keys: tuple[str, ...]) -> list[SQL]:
    """The indexes and the constraints that they stand for; unique ones widened by the keys they lack."""
    found = []
    table = structure.identifier
    for index in structure.indexes:
        definition = index.definition
        if index.constraint_type is not None:
            definition = with_storage(definition, index)
        missing = lacking(index, keys) if index.is_unique and index.constraint_type != "x" else ()
        if missing:
            definition = widened(definition, missing)
        if index.constraint_type is not None:
            found.append(add_constraint(table, index.name, SQL(definition)))
        else:
            found.append(
                create_index_statement(table, Identifier(index.name), SQL(definition), is_unique=index.is_unique)
            )
        if index.comment is not None:
            found.append(
                compose("COMMENT ON INDEX {} IS {}", Identifier(structure.schema, index.name), Literal(index.comment))
            )
    return found


def list_end(definition: str, start: int = 0) -> int:
    """Where the first list in parentheses ends, from a position on."""
    depth, quote = 0, ""
    for position in range(start, len(definition)):
        character = definition[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position
    raise ValueError(f"no column list in {definition!r}")


def widened(definition: str, columns: tuple[str, ...]) -> str:
    """The text of an index or constraint with columns added to its key."""
    position = list_end(definition)
    return f"{definition[:position]}, {names(columns)}{definition[position:]}"


def with_storage(definition: str, index: Index) -> str:
    """A constraint's text with the storage parameters and tablespace of its index, which it leaves out."""
    clause = ""
    if index.options:
        clause += f" WITH ({storage_clause(index.options)})"
    if index.tablespace is not None:
        clause += f" USING INDEX TABLESPACE {Identifier(index.tablespace)}"
    end = list_end(definition) + 1
    if definition[end:].startswith(" INCLUDE ("):
        end = list_end(definition, end) + 1
    return definition[:end] + clause + definition[end:]


def lacking(index: Index, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that are not among the index's columns."""
    return tuple(key for key in keys if key not in index.columns)


def is_weakened(index: Index, keys: tuple[str, ...], parent_keys: list[tuple[str, ...]]) -> bool:
    """Whether a unique rule would allow more rows with the keys added.

    It allows the same where it contains the columns of a reference to a parent, for all rows of one parent carry the
    same keys.
    """
    if not index.is_unique or not lacking(index, keys):
        return False
    return not any(set(columns) <= set(index.columns) for columns in parent_keys)


def check_unique_rules(
    structure: Structure, keys: tuple[str, ...], parent_keys: list[tuple[str, ...]], allow_weaker: bool
) -> None:
    """Refuse to lose a unique rule without a word. Primary keys are known to be widened."""
    if allow_weaker:
        return
    for index in structure.indexes:
        if index.constraint_type != "p" and is_weakened(index, keys, parent_keys):
            raise errors.InvalidTableDefinition(
                f'unique rule "{index.name}" of {structure.identifier} cannot hold over all partitions',
                f"A unique index of a partitioned table contains the partition keys ({names(keys)}), so that equal"
                " values in two partitions would be accepted.",
                "Call again with allow_weaker_unique => true to accept that, or drop the rule first.",
            )
