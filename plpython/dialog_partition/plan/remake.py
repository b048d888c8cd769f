"""Making an empty table anew as a partitioned one, with everything it had."""

from __future__ import annotations

from ..model import ForeignKey
from ..sql import SQL, Identifier, Literal, compose, names
from .properties import (
    Grant,
    Properties,
    column_statements,
    grantee_name,
    relation_statements,
    replica_identity_statement,
)
from .structure import ENABLED_WORDS, Column, Sequence, Structure, add_constraint
from .unique import index_statements


def guard_statements(structure: Structure, properties: Properties) -> list[SQL]:
    """Lock the table and refuse rows once more: somebody may have inserted some since it was read."""
    found = []
    if properties.force_row_security:  # nothing may hide rows from the look at them; the table goes anyway
        found.append(compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", structure.identifier))
    found.append(compose("SELECT dp._check_empty({})", Literal(structure.identifier.text)))
    return found


def key_column_statements(structure: Structure, wanted: tuple[Column, ...]) -> list[SQL]:
    """Add the key columns that a table lacks, and repair those that differ; for tables without rows."""
    found = []
    for column in wanted:
        present = structure.column(column.name)
        name = Identifier(column.name)
        if present is None:
            found.append(
                compose("ALTER TABLE {} ADD COLUMN {} {} NOT NULL", structure.identifier, name, column.declaration)
            )
            continue
        if not present.is_alike(column):
            using = compose(" USING NULL::{}", SQL(column.type)) if present.type != column.type else SQL("")
            found.append(
                compose(
                    "ALTER TABLE {} ALTER COLUMN {} TYPE {}{}", structure.identifier, name, column.declaration, using
                )
            )
        if not present.is_not_null:
            found.append(compose("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", structure.identifier, name))
    return found


def repairs(structure: Structure, wanted: tuple[Column, ...]) -> list[str]:
    """What is told of key columns that are repaired."""
    found = []
    for column in wanted:
        present = structure.column(column.name)
        if present is not None and not present.is_alike(column):
            found.append(
                f'column "{column.name}" of {structure.identifier} becomes {column.declaration}, as in the root;'
                f" it was {present.declaration}"
            )
    return found


def taken_for_keys(structure: Structure, wanted: tuple[Column, ...], inside: list[ForeignKey]) -> list[str]:
    """What is told of columns that a child has already under the names of the keys, and no foreign key says why."""
    linked = {
        column for key in structure.foreign_keys for column in key.columns if key.name in {k.name for k in inside}
    }
    return [
        f'column "{column.name}" of {structure.identifier} is taken for the partition key of that name: it holds the'
        " value of the parent's"
        for column in wanted
        if structure.column(column.name) is not None and column.name not in linked
    ]


def remake_statements(
    structure: Structure,
    properties: Properties,
    partition_column: str,
    key_columns: tuple[Column, ...],
    keys: tuple[str, ...],
    kept_foreign_keys: tuple[str, ...],
    dropped: tuple[str, ...] = (),
) -> list[SQL]:
    """Make an empty table anew as PARTITION BY RANGE.

    The new table is built under a name of its own, takes the old one's place, and is then given what the catalog said
    of the old one, word for word; only keys are widened. Foreign keys that change are the caller's; so is what is said
    of columns that are dropped.
    """
    found = key_column_statements(structure, key_columns)
    found += _built_aside(structure, properties, partition_column, dropped)
    found += _put_in_place(structure)
    return found + _given_back(structure, properties, keys, kept_foreign_keys)


def _aside(structure: Structure) -> Identifier:
    return Identifier(structure.schema, f"dp_{structure.oid}_remade")


def _built_aside(
    structure: Structure, properties: Properties, partition_column: str, dropped: tuple[str, ...]
) -> list[SQL]:
    """The new table, partitioned, under a name of its own."""
    aside = _aside(structure)
    create = compose(
        "CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS) PARTITION BY RANGE ({}){}",
        aside,
        structure.identifier,
        Identifier(partition_column),
        compose(" TABLESPACE {}", Identifier(properties.tablespace)) if properties.tablespace else SQL(""),
    )
    return [create, *(compose("ALTER TABLE {} DROP COLUMN {}", aside, Identifier(column)) for column in dropped)]


def _put_in_place(structure: Structure) -> list[SQL]:
    """The new table takes the old one's place, and the sequences of serial columns."""
    aside = _aside(structure)
    found = [
        compose(
            "ALTER SEQUENCE {} OWNED BY {}.{}",
            Identifier(sequence.schema, sequence.name),
            aside,
            Identifier(sequence.column),
        )
        for sequence in structure.sequences
        if not sequence.is_identity
    ]
    found.append(compose("DROP TABLE {}", structure.identifier))
    found.append(compose("ALTER TABLE {} RENAME TO {}", aside, Identifier(structure.name)))
    return found


def _given_back(
    structure: Structure, properties: Properties, keys: tuple[str, ...], kept_foreign_keys: tuple[str, ...]
) -> list[SQL]:
    """What the old table had beside its columns and CHECKs."""
    table = structure.identifier
    found: list[SQL] = []
    for sequence in structure.sequences:
        if sequence.is_identity:
            found += identity_statements(structure, sequence)
    found += index_statements(structure, keys)
    for name in kept_foreign_keys:
        found.append(add_constraint(table, name, SQL(structure.foreign_key_definitions[name])))
    found += statistics_statements(structure)
    found += relation_statements(properties, table)
    identity = replica_identity_statement(properties, table)
    if identity is not None:
        found.append(identity)
    found += column_statements(properties, table)
    found += trigger_statements(structure)
    found += rule_statements(structure)
    found += publication_statements(structure, keys)
    return found


def identity_statements(structure: Structure, sequence: Sequence) -> list[SQL]:
    """Give the remade identity's sequence its old name and privileges back, and let it go on where it was."""
    holder = compose("pg_get_serial_sequence({}, {})", Literal(structure.identifier.text), Literal(sequence.column))
    name = Identifier(sequence.schema, sequence.name)
    found = [
        compose("SELECT dp._rename_sequence({}, {})", holder, Literal(sequence.name)),
        compose("SELECT setval({}, {}, {})", holder, Literal(sequence.position), Literal(sequence.is_called)),
    ]
    found += sequence_type_statement(sequence, name)
    for grant in sequence.grants:
        found.append(_sequence_grant(name, grant))
    if sequence.comment is not None:
        found.append(compose("COMMENT ON SEQUENCE {} IS {}", name, Literal(sequence.comment)))
    return found


def sequence_type_statement(sequence: Sequence, name: Identifier) -> list[SQL]:
    """The type that an identity's sequence had, where it is not the one that LIKE gives it."""
    return [compose("ALTER SEQUENCE {} AS {}", name, SQL(sequence.type))] if sequence.type != "bigint" else []


def _sequence_grant(name: Identifier, grant: Grant) -> SQL:
    option = SQL(" WITH GRANT OPTION" if grant.is_grantable else "")
    return compose("GRANT {} ON SEQUENCE {} TO {}{}", SQL(grant.privilege), name, grantee_name(grant.grantee), option)


def statistics_statements(structure: Structure) -> list[SQL]:
    """Extended statistics, with their targets."""
    found = []
    for each in structure.statistics:
        found.append(SQL(each.definition))
        if each.target is not None:
            name = Identifier(each.schema, each.name)
            found.append(compose("ALTER STATISTICS {} SET STATISTICS {}", name, Literal(each.target)))
    return found


def trigger_statements(structure: Structure) -> list[SQL]:
    """The triggers, enabled as they were."""
    found = []
    for trigger in structure.triggers:
        found.append(SQL(trigger.definition))
        found += _enabled("TRIGGER", structure, trigger.name, trigger.enabled)
    return found


def rule_statements(structure: Structure) -> list[SQL]:
    """The rewrite rules, enabled as they were."""
    found = []
    for rule in structure.rules:
        found.append(SQL(rule.definition.rstrip(";")))
        found += _enabled("RULE", structure, rule.name, rule.enabled)
    return found


def _enabled(kind: str, structure: Structure, name: str, enabled: str) -> list[SQL]:
    if enabled == "O":  # as it was created
        return []
    word = SQL(ENABLED_WORDS[enabled])
    return [compose("ALTER TABLE {} {} {} {}", structure.identifier, word, SQL(kind), Identifier(name))]


def publication_statements(structure: Structure, keys: tuple[str, ...]) -> list[SQL]:
    """Membership in publications, with row filters and column lists; those must cover the widened key."""
    found = []
    for publication in structure.publications:
        columns = publication.columns
        if columns:
            columns += tuple(key for key in keys if key not in columns)
        found.append(
            compose(
                "ALTER PUBLICATION {} ADD TABLE {}{}{}",
                Identifier(publication.name),
                structure.identifier,
                compose(" ({})", names(columns)) if columns else SQL(""),
                compose(" WHERE ({})", SQL(publication.condition)) if publication.condition else SQL(""),
            )
        )
    return found


def comment_statements(structure: Structure) -> list[SQL]:
    """Comments on constraints, triggers and the like; when all of them are there again."""
    found = []
    for comment in structure.comments:
        if comment.kind == "STATISTICS":
            named = compose("STATISTICS {}", Identifier(comment.schema, comment.name))
        else:
            named = compose("{} {} ON {}", SQL(comment.kind), Identifier(comment.name), structure.identifier)
        found.append(compose("COMMENT ON {} IS {}", named, Literal(comment.text)))
    return found
