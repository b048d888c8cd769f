"""What stands in the way of slices and leaves that are to be created."""

from __future__ import annotations

from .. import errors, naming
from ..catalog import detached as catalog_detached
from ..catalog import global_index as catalog_global_index
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec
from ..plan import coverage
from ..plan import detached as plan_detached
from ..sql import Identifier, Literal

Obstacles = dict[SliceSpec, errors.PartitionError]


def of_slices(
    hierarchy: Hierarchy, needed: list[SliceSpec], lacking: dict[int, set[SliceSpec]], going: frozenset[Identifier]
) -> Obstacles:
    """For every slice that cannot be created, why. ``going``: tables that will be dropped before."""
    found = _overlaps(hierarchy, needed, lacking)
    found.update(taken_names(hierarchy, [spec for spec in needed if spec not in found], lacking, going))
    found.update(rows_in_default(hierarchy, [spec for spec in needed if spec not in found and not spec.is_default]))
    return found


def of_leaves(hierarchy: Hierarchy) -> errors.PartitionError | None:
    """Why the leaves that existing slices lack cannot be created."""
    for table in hierarchy.tables:
        names = [
            naming.leaf_name(each.name, each.modulus, missing)
            for each in hierarchy.slices[table.oid]
            for missing in each.missing_remainders
        ]
        taken = catalog_server.existing_relations(table.schema, names)
        if taken:
            return errors.DuplicateTable(
                f"relation {Identifier(table.schema, min(taken))} already exists",
                "A leaf that is missing needs this name. It may be one that was detached, or a table of somebody else.",
                "Attach it with ALTER TABLE ... ATTACH PARTITION, or rename or drop it.",
            )
    return None


def _overlaps(hierarchy: Hierarchy, needed: list[SliceSpec], lacking: dict[int, set[SliceSpec]]) -> Obstacles:
    found: Obstacles = {}
    for table in hierarchy.tables:
        for spec in needed:
            if spec in lacking[table.oid] and not coverage.has_room(hierarchy, table, spec):
                found[spec] = errors.NotInPrerequisiteState(
                    f"{table.identifier} has slices with other bounds than {hierarchy.root.identifier} has",
                    f"The slice {spec.suffix} overlaps one of its slices.",
                    "See SELECT * FROM dp.check(...); the tables of a hierarchy must be cut alike.",
                )
    return found


def taken_names(
    hierarchy: Hierarchy,
    needed: list[SliceSpec],
    lacking: dict[int, set[SliceSpec]],
    going: frozenset[Identifier] = frozenset(),
) -> Obstacles:
    """Relations that are no partitions of ours and have names that new slices or leaves need."""
    found: Obstacles = {}
    for table in hierarchy.tables:
        by_name = {}
        for spec in needed:
            if spec in lacking[table.oid]:
                name = naming.slice_name(table.name, spec.suffix)
                by_name.update(dict.fromkeys((name, *naming.leaf_names(name, spec.modulus)), spec))
        for taken in sorted(catalog_server.existing_relations(table.schema, list(by_name))):
            if Identifier(table.schema, taken) in going:
                continue
            spec = by_name[taken]
            by_hand = catalog_detached.by_hand(hierarchy, [(table, spec)])
            hint = "Rename or drop it."
            if by_hand:
                hint = f"{plan_detached.attach_call(hierarchy.root.identifier, by_hand[0])} attaches it; or rename it."
            found.setdefault(
                spec,
                errors.DuplicateTable(
                    f"relation {Identifier(table.schema, taken)} already exists",
                    "A new slice needs this name. It may be a slice that was detached, or a table of somebody else.",
                    hint,
                ),
            )
    return found


def rows_in_default(hierarchy: Hierarchy, specs: list[SliceSpec]) -> Obstacles:
    """A slice cannot be created while a default slice holds its rows."""
    found: Obstacles = {}
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if not specs or default is None or not catalog_slices.holds_rows(default, table, coverage.hull(specs)):
            continue
        for spec in specs:
            if spec not in found and catalog_slices.holds_rows(default, table, spec):
                found[spec] = errors.NotInPrerequisiteState(
                    f"the default slice {default.identifier} holds rows of the new slice {spec.suffix}",
                    "PostgreSQL refuses a partition whose rows are in the default partition.",
                    f"Move them with CALL dp.drain_default({Literal(hierarchy.root.identifier.text)}), with bounds if"
                    " they lie outside the maintained range.",
                )
    return found


def refuse(found: Obstacles) -> None:
    """Raise the first of them."""
    for error in found.values():
        raise error


def refuse_hidden_rows(relation: Identifier, *, is_whole: bool) -> None:
    """A global index gets entries of the rows that its owner sees: others would be missing, without a word."""
    hidden = catalog_global_index.hidden_rows(relation, is_whole=is_whole)
    if hidden is not None:
        raise errors.NotInPrerequisiteState(
            f"policies may hide rows of {hidden} from its owner",
            "Row security is forced on it, and a global index would get no entries of hidden rows.",
            f"ALTER TABLE {hidden if not is_whole else relation} NO FORCE ROW LEVEL SECURITY for as long as the call"
            " takes; whoever writes afterwards, the index is kept.",
        )
