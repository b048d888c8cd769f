"""Which tables can be made anew as partitioned ones without losing anything."""

from __future__ import annotations

from .. import errors
from ..sql import Identifier, names
from .structure import Structure

EXCLUSION_SINCE = 170000


def check_can_be_remade(structure: Structure, partition_keys: tuple[str, ...], version: int) -> None:
    """Refuse a table that cannot be made anew without losing something."""
    table = structure.identifier
    if structure.has_rows:
        raise errors.NotInPrerequisiteState(
            f"{table} is not partitioned and holds rows",
            "Only an empty table can be made anew as a partitioned one.",
            "SELECT * FROM dp.plan_conversion(...) says what CALL dp.convert(...) makes of a hierarchy with rows; or"
            " declare it before rows are loaded.",
        )
    if structure.has_partitions and structure.kind == "p":
        raise errors.InvalidTableDefinition(
            f"{table} has partitions, but is not partitioned as the hierarchy needs it",
            "A table that has partitions cannot be made anew.",
            "See dp.adopt(...) for an existing tree of partitions.",
        )
    if structure.has_partitions:
        raise errors.WrongObjectType(
            f"{table} has inheritance children",
            "A partitioned table cannot have any.",
            "Detach them first with ALTER TABLE ... NO INHERIT.",
        )
    if structure.is_typed:
        raise errors.WrongObjectType(
            f"{table} is a typed table",
            "Its columns are those of a composite type, so that it cannot be given the partition keys.",
            "Make it a table of its own with ALTER TABLE ... NOT OF.",
        )
    if structure.dependents:
        raise errors.DependentObjects(
            f"{table} cannot be made anew as a partitioned table, because other objects depend on it",
            "They are " + ", ".join(structure.dependents) + ".",
            "Drop them first and create them again afterwards.",
        )
    _check_parts(structure, partition_keys, version)
    _check_publications(structure)


def _check_parts(structure: Structure, partition_keys: tuple[str, ...], version: int) -> None:
    table = structure.identifier
    for trigger in structure.triggers:
        if trigger.is_row_with_transition_table:
            raise errors.InvalidTableDefinition(
                f'trigger "{trigger.name}" of {table} cannot exist on a partitioned table',
                "PostgreSQL allows no row trigger with transition tables there.",
                "Make it a statement trigger, or drop it.",
            )
    for index in structure.indexes:
        holds = version >= EXCLUSION_SINCE and set(partition_keys) <= set(index.columns)
        if index.constraint_type == "x" and not holds:
            raise errors.InvalidTableDefinition(
                f'exclusion constraint "{index.name}" of {table} cannot hold over all partitions',
                "PostgreSQL 17 and later allow one on a partitioned table where it compares the partition keys"
                f" ({names(partition_keys)}) with =, earlier versions none.",
                "Drop it first.",
            )
    _check_keys(structure)
    for name in structure.uninherited_checks:
        raise errors.InvalidTableDefinition(
            f'check constraint "{name}" of {table} is NO INHERIT, which a partitioned table cannot have',
            "All rows are in partitions.",
            "Drop it, or add it again without NO INHERIT.",
        )


def _check_keys(structure: Structure) -> None:
    """Keys that PostgreSQL has, and that cannot be widened by the partition keys or referred to with them."""
    table = structure.identifier
    for index in structure.indexes:
        if index.constraint_type in ("p", "u") and "WITHOUT OVERLAPS" in index.definition:
            raise errors.InvalidTableDefinition(
                f'constraint "{index.name}" of {table} is WITHOUT OVERLAPS, and cannot hold over all partitions',
                "Equal values could overlap in two partitions.",
                "Drop it first.",
            )
        if index.constraint_type == "p" and index.definition.endswith(("DEFERRABLE", "INITIALLY DEFERRED")):
            raise errors.InvalidTableDefinition(
                f'the primary key "{index.name}" of {table} is deferrable',
                "No foreign key can refer to it, those of children in the hierarchy among them.",
                "Make it one that is checked at once.",
            )
    for name, definition in structure.foreign_key_definitions.items():
        if definition.endswith("NOT ENFORCED") or "PERIOD " in definition:
            raise errors.InvalidTableDefinition(
                f'foreign key "{name}" of {table} is NOT ENFORCED, or refers to a PERIOD',
                "Foreign keys inside a hierarchy are enforced, and carry the partition keys.",
                "Drop it first.",
            )


def _check_publications(structure: Structure) -> None:
    for publication in structure.publications:
        if not publication.is_owner:
            raise errors.InsufficientPrivilege(
                f'must be owner of publication "{publication.name}"',
                f"{structure.identifier} is in it and leaves it when it is made anew; {structure.owner} could not add"
                " it again.",
                f"ALTER PUBLICATION {Identifier(publication.name)} DROP TABLE {structure.identifier}, and add it again"
                " afterwards.",
            )
        if (publication.columns or publication.condition) and not publication.is_by_root:
            raise errors.InvalidTableDefinition(
                f'publication "{publication.name}" has a column list or a row filter for {structure.identifier}, which'
                " a partitioned table can have only where changes are published as the root's",
                "The publication's publish_via_partition_root is false.",
                f"ALTER PUBLICATION {Identifier(publication.name)} SET (publish_via_partition_root = true);",
            )
