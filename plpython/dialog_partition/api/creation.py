"""Creating slices in every table of a hierarchy, and checking beforehand that it can be done."""

from __future__ import annotations

from typing import NamedTuple

from .. import calendars, errors, execute, naming
from ..calendars import Width
from ..catalog import detached as catalog_detached
from ..catalog import properties as catalog_properties
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec
from ..operation import Step, split
from ..plan import coverage
from ..plan import default_slice as plan_default
from ..plan import slices as plan
from ..sql import Identifier
from . import calls, following, obstacles, policy, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..plan.properties import Properties

Lacking = dict[int, set[SliceSpec]]
Unfinished = tuple[Identifier, tuple[Identifier, ...]]  # a slice that was being built aside, and its leaves


class Creation(NamedTuple):
    """What creating slices comes to: the slices that tables lack, and what stands in the way of others."""

    needed: list[SliceSpec]  # those of now and of the future first
    lacking: Lacking
    unfinished: list[Unfinished]  # what kills left of such slices, empty
    refused: list[errors.PartitionError]
    properties: dict[int, Properties]  # what new leaves of each table get; empty where none are needed


def create(hierarchy: Hierarchy, new: list[SliceSpec], call: Context) -> bool:
    """Create new slices in all tables, and what existing slices lack in some; whether there was anything to do.

    Everything that can be refused is refused before the first step.
    """
    creation = judge(hierarchy, new, call)
    in_the_way = obstacles.of_leaves(hierarchy) if lacks_leaves(hierarchy) else None
    for error in (*creation.refused, in_the_way):
        if error is not None:
            raise error
    is_repaired = repair(hierarchy, call)
    return run(hierarchy, creation, call) or is_repaired


def judge(hierarchy: Hierarchy, new: list[SliceSpec], call: Context) -> Creation:
    """What is to be created, and what cannot be."""
    wanted = coverage.wanted(hierarchy, new)
    if hierarchy.policy.default_slice and hierarchy.default_slice(hierarchy.root) is None:
        wanted.insert(0, SliceSpec(None, None, hierarchy.policy.hash_partitions, coverage.DEFAULT_SUFFIX))
    lacking = lacking_slices(hierarchy, wanted)
    needed = [spec for spec in wanted if any(spec in lacking[table.oid] for table in hierarchy.tables)]
    unfinished = [each for each in catalog_detached.unfinished(hierarchy, needed) if catalog_slices.is_empty(each[0])]
    going = frozenset(name for slice_name, leaves in unfinished for name in (slice_name, *leaves))
    in_the_way = obstacles.of_slices(hierarchy, needed, lacking, going)
    refused = list(in_the_way.values())
    now = window.current_point(hierarchy)
    possible = [spec for spec in needed if spec not in in_the_way]
    possible.sort(key=lambda spec: now is not None and spec.upper is not None and spec.upper.point <= now)
    properties = all_properties(hierarchy) if possible else {}
    fitting, too_many = _within_budget(hierarchy, possible, lacking, properties, call)
    if too_many is not None:
        refused.append(too_many)
    return Creation(fitting, lacking, unfinished, refused, properties)


def lacks_leaves(hierarchy: Hierarchy) -> bool:
    """Whether leaves of existing slices are missing."""
    return any(each.missing_remainders for found in hierarchy.slices.values() for each in found)


def repair(hierarchy: Hierarchy, call: Context) -> bool:
    """Create the leaves that existing slices lack; whether there were any."""
    if not lacks_leaves(hierarchy):
        return False
    in_the_way = obstacles.of_leaves(hierarchy)
    if in_the_way is not None:
        raise in_the_way
    steps = plan.missing_leaf_steps(hierarchy, all_properties(hierarchy), call.lock_budget)
    calls.run_in_procedure(steps, call)
    return bool(steps)


def run(hierarchy: Hierarchy, creation: Creation, call: Context) -> bool:
    """Create what can be; whether there was anything to do."""
    needed, lacking, unfinished, _, properties = creation
    facts = catalog_slices.default_facts(hierarchy)
    calls.run_in_procedure(plan_default.leftover_steps(hierarchy, needed, facts), call)
    for identifier, leaves in unfinished:
        calls.run_in_procedure(plan.drop_unfinished_steps(identifier, leaves, call.lock_budget), call)
    if not needed:
        return bool(unfinished)
    for spec in needed:
        guarded = bool(facts) and not spec.is_default
        if guarded:
            calls.run_in_procedure(plan_default.exclusion_steps(hierarchy, spec, facts), call)
        for table in hierarchy.tables:
            if spec in lacking[table.oid]:
                operations = plan.slice_operations(hierarchy, table, properties[table.oid], spec)
                steps = split(operations, call.lock_budget)
                if table.oid == hierarchy.root.oid and len(steps) > 1:
                    identifier = Identifier(table.schema, naming.slice_name(table.name, spec.suffix))
                    steps = split(plan.unfinished_operations(operations, identifier), call.lock_budget)
                calls.run_in_procedure(steps, call)
        if guarded:
            calls.run_in_procedure(plan_default.exclusion_end_steps(hierarchy, spec), call)
    following.run_new_slices(hierarchy, needed, call)
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


def _within_budget(
    hierarchy: Hierarchy,
    needed: list[SliceSpec],
    lacking: Lacking,
    properties: dict[int, Properties],
    call: Context,
) -> tuple[list[SliceSpec], errors.PartitionError | None]:
    """The first of the slices, as many as can be locked when all of them are there; and why the others cannot be."""
    if not needed:
        return needed, None
    largest = max(needed, key=lambda spec: spec.modulus)
    dearest = {}
    for table in hierarchy.tables:
        operations = plan.slice_operations(hierarchy, table, properties[table.oid], largest)
        dearest[table.oid] = max(operations, key=lambda operation: Step((operation,)).locks)

    def too_many(count: int) -> errors.PartitionError | None:
        """What the last operation on one of the first slices would lock, when all of them are there."""
        for oid, most in dearest.items():
            new = needed[:count]
            trees = tuple(
                (tree, locks + sum(1 + spec.modulus for spec in new if spec in lacking.get(tree, ()) and tree != oid))
                for tree, locks in most.trees
            )
            try:
                execute.check_budget(Step((most._replace(trees=trees),)), call)
            except errors.OutOfLocks as error:
                return error
        return None

    refused = too_many(len(needed))
    if refused is None:
        return needed, None
    fits, fails = 0, len(needed)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if too_many(middle) is None else (fits, middle)
    return needed[:fits], refused


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
