"""Creating slices in every table of a hierarchy, and checking beforehand that it can be done."""

from __future__ import annotations

from .. import calendars, errors, execute, naming
from ..calendars import Width
from ..catalog import properties as catalog_properties
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec
from ..operation import Step, split
from ..plan import coverage
from ..plan import default_slice as plan_default
from ..plan import slices as plan
from ..sql import Literal
from . import calls, policy, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..plan.properties import Properties

Lacking = dict[int, set[SliceSpec]]


def create(hierarchy: Hierarchy, new: list[SliceSpec], call: Context) -> bool:
    """Create new slices in all tables, and what existing slices lack in some; whether there was anything to do.

    Everything that can be refused is refused before the first step.
    """
    wanted = coverage.wanted(hierarchy, new)
    if hierarchy.policy.default_slice and hierarchy.default_slice(hierarchy.root) is None:
        wanted.insert(0, SliceSpec(None, None, hierarchy.policy.hash_partitions, coverage.DEFAULT_SUFFIX))
    lacking = lacking_slices(hierarchy, wanted)
    needed = [spec for spec in wanted if any(spec in lacking[table.oid] for table in hierarchy.tables)]
    facts = catalog_slices.default_facts(hierarchy)
    repair = any(each.missing_remainders for found in hierarchy.slices.values() for each in found)
    if needed or repair:
        check_free_names(hierarchy, needed, lacking)
    calls.run_in_procedure(plan_default.leftover_steps(hierarchy, needed, facts), call)
    if not needed and not repair:
        return False
    refuse_rows_in_default(hierarchy, [spec for spec in needed if not spec.is_default])
    properties = all_properties(hierarchy)
    check_locks(hierarchy, needed, lacking, properties, call)
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
    detached = {(each.table, each.lower_point, each.upper_point) for each in catalog_slices.detached(hierarchy)}
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


def check_free_names(hierarchy: Hierarchy, specs: list[SliceSpec], lacking: dict[int, set[SliceSpec]]) -> None:
    """Refuse when a relation that is no partition of ours has a name that a new slice or leaf needs."""
    by_schema: dict[str, list[str]] = {}
    for table in hierarchy.tables:
        needed = by_schema.setdefault(table.schema, [])
        for each in hierarchy.slices[table.oid]:
            needed += [naming.leaf_name(each.name, each.modulus, missing) for missing in each.missing_remainders]
        for spec in specs:
            if spec in lacking[table.oid]:
                name = naming.slice_name(table.name, spec.suffix)
                needed += [name, *naming.leaf_names(name, spec.modulus)]
    for schema, names in by_schema.items():
        requirements.check_free(
            schema,
            names,
            "A new slice needs this name. It may be a slice that was detached, or a table of somebody else.",
            "Attach it with dp.attach_slice, or rename or drop it.",
        )


def refuse_rows_in_default(hierarchy: Hierarchy, specs: list[SliceSpec]) -> None:
    """A slice cannot be created while the default slice holds its rows."""
    if not specs:
        return
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is None or not catalog_slices.holds_rows(default, table, coverage.hull(specs)):
            continue
        found = next((spec for spec in specs if catalog_slices.holds_rows(default, table, spec)), None)
        if found is not None:
            raise errors.NotInPrerequisiteState(
                f"the default slice {default.identifier} holds rows of the new slice {found.suffix}",
                "PostgreSQL refuses a partition whose rows are in the default partition.",
                f"Move them with CALL dp.drain_default({Literal(hierarchy.root.identifier.text)}), with bounds if"
                " they lie outside the maintained range.",
            )
