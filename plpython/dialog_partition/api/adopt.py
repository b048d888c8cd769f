"""adopt: take over a tree of partitions that exists."""

from __future__ import annotations

from .. import calendars, database, errors, execute, keys
from ..catalog import adoption as catalog_adoption
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import structure as catalog_structure
from ..model import CHILD, DETACH, DROP, EXACT, MOVE, SLICE
from ..operation import Operation, Step
from ..plan import adoption as plan_adoption
from ..plan import declare as plan
from . import calls, policy, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..catalog.adoption import PartmanSettings
    from ..model import Slice
    from ..plan.structure import Structure
    from ..printing import PlanRow
    from ..sql import SQL


def adopt(root: int, dry_run: bool, **options: Any) -> list[PlanRow]:
    """Take over a tree; see sql/functions/adopt.sql.j2."""
    structure = catalog_structure.read(root)
    if catalog_hierarchy.root_of(root) is not None:
        return calls.nothing_to_do(f"{structure.identifier} is known already")
    _check_tree(structure)
    partman = catalog_adoption.partman(structure.schema, structure.name)
    settings = _settings(structure, options, partman)
    structures = _with_children(structure, settings)
    statements: list[SQL] = []
    for each in structures:
        requirements.check_template(each)
        # the newest leaf stands in the template's place, so that the template begins as that leaf is
        properties = catalog_properties.read(each.oid, catalog_adoption.newest_leaf(each.oid))
        statements += plan.template_statements(each, properties)
    statements += plan.configuration_statements(structure, settings)
    statements += [plan.table_statement(each, structure.identifier, CHILD) for each in structures[1:]]
    for each in structures:
        managed = partman if each is structure else catalog_adoption.partman(each.schema, each.name)
        if managed is not None:
            statements.append(plan_adoption.forget_partman_statement(managed.schema, managed.parent_table))
    call = calls.context("adopt", root, structure.identifier.text, structure.owner, execute.mode_of(dry_run, False))
    return calls.run_in_function([Step(tuple(Operation(structure.identifier, each) for each in statements))], call)


def _check_tree(structure: Structure) -> None:
    if structure.kind != "p" or structure.partition_strategy != "r" or len(structure.partition_columns) != 1:
        raise errors.WrongObjectType(
            f"{structure.identifier} is not partitioned by RANGE of one column",
            "Only such a tree, with or without HASH partitions below, can be taken over.",
            "Declare a new hierarchy with dp.create_hierarchy.",
        )
    column = structure.column(structure.partition_columns[0])
    if column is not None:
        keys.check_range_type(column.name, policy.without_modifier(column.type))


def _settings(structure: Structure, options: dict[str, Any], partman: PartmanSettings | None) -> plan.Settings:
    """The settings of create_hierarchy, as the tree itself and pg_partman tell them."""
    partition_column = structure.partition_columns[0]
    hash_key = catalog_adoption.hash_key(structure.oid, structure.identifier)
    slices = _slices(structure, options["time_zone"])
    sliced = options["bucket"] is not None
    if sliced and options["range_key"] in (None, partition_column):
        raise errors.InvalidParameter(
            "parameter range_key is needed for a tree in the slice form",
            f'The partition column "{partition_column}" is the slice key then.',
            "Name the column that the slice key is computed from: range_key => '...'.",
        )
    width = options["slice"] or (partman.interval if partman else None)
    newest = next((each for each in reversed(slices) if not each.is_default), None)
    width = str(
        calendars.parse_width(width, "slice") if width else plan_adoption.inferred_width(slices, structure.identifier)
    )
    given = {
        "range_key": options["range_key"] if sliced else partition_column,
        "hash_key": hash_key,
        "key_form": SLICE if sliced else EXACT,
        "slice": width,
        "hash_partitions": newest.modulus if newest else None,
        "premake": options["premake"] if options["premake"] is not None else (partman.premake if partman else 4),
        "start": options["start"],
        "retention": options["retention"],
        "retention_action": options["retention_action"],
        "retention_schema": options["retention_schema"],
        "time_zone": options["time_zone"],
        "default_slice": any(each.is_default for each in slices),
        "slice_key": partition_column if sliced else None,
        "bucket": options["bucket"],
        "lock_timeout": options["lock_timeout"],
    }
    if partman is not None and partman.retention and options["retention"] is None:
        given["retention"] = str(calendars.parse_width(partman.retention, "retention"))
        given["retention_schema"] = partman.retention_schema
        given["retention_action"] = MOVE if partman.retention_schema else DETACH if partman.keeps_table else DROP
    return policy.check_settings(structure, given)


def _slices(structure: Structure, time_zone: str) -> list[Slice]:
    return catalog_hierarchy.read_slices({time_zone: [structure.oid]}).get(structure.oid, [])


def _with_children(root: Structure, settings: plan.Settings) -> list[Structure]:
    """The root and the children that are partitioned alike, found by their foreign keys."""
    found = [root]
    while True:
        oids = catalog_adoption.children(
            [each.oid for each in found], settings.partition_column, settings.partition_keys
        )
        new = [catalog_structure.read(oid) for oid in oids]
        for each in new:
            requirements.check_same_owner(each, root.identifier, root.owner)
        if not new:
            return found
        found += new
        database.notice(f"children found: {', '.join(each.identifier.text for each in new)}")
