"""Creating slices in every table of a hierarchy, and checking beforehand that it can be done."""

from __future__ import annotations

from typing import NamedTuple

from .. import calendars, errors, execute
from ..calendars import Width
from ..catalog import detached as catalog_detached
from ..catalog import properties as catalog_properties
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec
from ..operation import Step, split
from ..plan import coverage
from ..plan import default_slice as plan_default
from ..plan import slices as plan
from . import calls, obstacles, policy, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..plan.properties import Properties

Lacking = dict[int, set[SliceSpec]]


class Creation(NamedTuple):
    """What creating slices comes to: the slices that tables lack, and what stands in the way of others."""

    needed: list[SliceSpec]  # those of now and of the future first
    lacking: Lacking
    repairs: bool  # whether leaves of existing slices are missing
    refused: list[errors.PartitionError]


def create(hierarchy: Hierarchy, new: list[SliceSpec], call: Context) -> bool:
    """Create new slices in all tables, and what existing slices lack in some; whether there was anything to do.

    Everything that can be refused is refused before the first step.
    """
    creation = judge(hierarchy, new)
    if creation.refused:
        raise creation.refused[0]
    return run(hierarchy, creation, call)


def judge(hierarchy: Hierarchy, new: list[SliceSpec]) -> Creation:
    """What is to be created, and what cannot be."""
    wanted = coverage.wanted(hierarchy, new)
    if hierarchy.policy.default_slice and hierarchy.default_slice(hierarchy.root) is None:
        wanted.insert(0, SliceSpec(None, None, hierarchy.policy.hash_partitions, coverage.DEFAULT_SUFFIX))
    lacking = lacking_slices(hierarchy, wanted)
    needed = [spec for spec in wanted if any(spec in lacking[table.oid] for table in hierarchy.tables)]
    repairs = any(each.missing_remainders for found in hierarchy.slices.values() for each in found)
    in_the_way = obstacles.of_slices(hierarchy, needed, lacking)
    refused = list(in_the_way.values())
    leaf_in_the_way = obstacles.of_leaves(hierarchy) if repairs else None
    if leaf_in_the_way is not None:
        refused.append(leaf_in_the_way)
    now = window.current_point(hierarchy)
    possible = [spec for spec in needed if spec not in in_the_way]
    possible.sort(key=lambda spec: now is not None and spec.upper is not None and spec.upper.point <= now)
    return Creation(possible, lacking, repairs and leaf_in_the_way is None, refused)


def run(hierarchy: Hierarchy, creation: Creation, call: Context) -> bool:
    """Create what can be; whether there was anything to do."""
    needed, lacking, repairs, _ = creation
    facts = catalog_slices.default_facts(hierarchy)
    calls.run_in_procedure(plan_default.leftover_steps(hierarchy, needed, facts), call)
    if not needed and not repairs:
        return False
    properties = all_properties(hierarchy)
    check_locks(hierarchy, needed, lacking, properties, call)
    if repairs:
        calls.run_in_procedure(plan.missing_leaf_steps(hierarchy, properties), call)
    for spec in needed:
        guarded = bool(facts) and not spec.is_default
        if guarded:
            calls.run_in_procedure(plan_default.exclusion_steps(hierarchy, spec, facts), call)
        for table in hierarchy.tables:
            if spec in lacking[table.oid]:
                operations = plan.slice_operations(hierarchy, table, properties[table.oid], spec)
                calls.run_in_procedure(split(operations, call.lock_budget), call)
        if guarded:
            calls.run_in_procedure(plan_default.exclusion_end_steps(hierarchy, spec), call)
    return True


def lacking_slices(hierarchy: Hierarchy, wanted: list[SliceSpec]) -> Lacking:
    """The wanted slices that each table lacks, but those that were detached from it and may be attached again."""
    detached = {(each.table, each.lower_point, each.upper_point) for each in catalog_detached.remembered(hierarchy)}
    existing = {each.span for each in hierarchy.slices[hierarchy.root.oid]}
    found: Lacking = {}
    for table in hierarchy.tables:
        found[table.oid] = {
            spec
            for spec in coverage.missing_in(hierarchy, table, wanted)
            if spec.span not in existing or (table.oid, *spec.span) not in detached
        }
    return found


def check_locks(
    hierarchy: Hierarchy, needed: list[SliceSpec], lacking: Lacking, properties: dict[int, Properties], call: Context
) -> None:
    """Refuse before the first step what the last one, when all new slices are there, could not lock."""
    if not needed:
        return
    largest = max(needed, key=lambda spec: spec.modulus)
    for table in hierarchy.tables:
        operations = plan.slice_operations(hierarchy, table, properties[table.oid], largest)
        most = max(operations, key=lambda operation: Step((operation,)).locks)
        trees = [
            (oid, count + sum(1 + spec.modulus for spec in lacking.get(oid, ()) if oid != table.oid))
            for oid, count in most.trees
        ]
        execute.check_budget(Step((most._replace(trees=tuple(trees)),)), call)


def all_properties(hierarchy: Hierarchy) -> dict[int, Properties]:
    """The properties of every table's new leaves."""
    return {table.oid: catalog_properties.read(table.oid, table.template_oid) for table in hierarchy.tables}


def check_width(hierarchy: Hierarchy, text: str | None) -> Width:
    """The width of new slices: as given, or the hierarchy's own."""
    width = calendars.parse_width(text, "slice") if text is not None else hierarchy.policy.width
    policy.check_width("slice", width, hierarchy.range_type, hierarchy.policy.bucket)
    return width


def check_modulus(hierarchy: Hierarchy, hash_partitions: int | None) -> int:
    """The modulus of new slices."""
    if hash_partitions is None:
        return hierarchy.policy.hash_partitions
    policy.check_hash_partitions(hash_partitions, hierarchy.policy.hash_key)
    return hash_partitions
