"""What several calls refuse: names that are taken, schemas that are closed, owners that differ."""

from __future__ import annotations

from .. import database, errors, naming
from ..catalog import server as catalog_server
from ..plan.structure import Structure
from ..sql import Identifier


def check_template(structure: Structure) -> None:
    """The template of a table, and later its slices, can be made beside it."""
    _check_creation(structure)
    check_free(
        structure.schema,
        [naming.template_name(structure.name)],
        "dialog_partition needs this name, and does not know the relation.",
        "Rename or drop it.",
    )


def _check_creation(structure: Structure) -> None:
    """The owner makes templates, slices and leaves in the table's schema."""
    allowed = "SELECT has_schema_privilege($1::name, $2, 'CREATE') AS allowed"
    if database.query(allowed, ("text", "text"), (structure.owner, structure.schema))[0]["allowed"]:
        return
    raise errors.InsufficientPrivilege(
        f"{structure.owner} may not create tables in schema {Identifier(structure.schema)}",
        f"Template, slices and leaves of {structure.identifier} are made there and belong to its owner.",
        f"GRANT CREATE ON SCHEMA {Identifier(structure.schema)} TO {Identifier(structure.owner)};",
    )


def check_free(schema: str, names: list[str], detail: str, hint: str) -> None:
    """Refuse when a relation has a name that is needed."""
    taken = catalog_server.existing_relations(schema, names)
    if taken:
        identifier = Identifier(schema, min(taken))
        raise errors.DuplicateTable(f"relation {identifier} already exists", detail, hint)


def check_same_owner(child: Structure, root: Identifier, owner: str) -> None:
    """The tables of a hierarchy belong to one role."""
    if child.owner != owner:
        raise errors.InsufficientPrivilege(
            f"{child.identifier} and {root} have different owners",
            f"They belong to {child.owner} and {owner}; new slices are created by one role.",
            "Give all tables of a hierarchy the same owner.",
        )
