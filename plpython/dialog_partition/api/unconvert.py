"""unconvert: a hierarchy becomes plain tables again, with the rows as they are."""

from __future__ import annotations

from .. import errors, execute
from ..catalog import conversion as catalog_conversion
from ..catalog import conversion_state as catalog
from ..catalog import dependents as catalog_dependents
from ..catalog import detached as catalog_detached
from ..catalog import foreign_keys as catalog_keys
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import joined_lookup as catalog_joined
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..catalog import writable_view as catalog_views
from ..model import Hierarchy
from ..operation import Operation, Step
from ..plan import joined_lookup as plan_joined
from ..plan import narrowing
from ..plan import unconversion as plan
from ..plan import writable_view as plan_views
from ..plan.conversion import REFUSE, Conversion, Member
from ..plan.conversion_steps import SWITCH, Part
from ..plan.declare import Settings
from ..sql import SQL
from . import calls, conversion_definition, conversion_discarding, conversion_running
from .convert import CHANGED, STRUCTURE, check_schemas, open_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..catalog.conversion_state import State
    from ..execute import Context
    from ..plan.conversion_record import Record


def unconvert(root: int, batch_blocks: int, dry_run: bool) -> None:
    """Make plain tables of a hierarchy; see sql/procedures/unconvert.sql.j2."""
    if batch_blocks < 1:
        raise errors.InvalidParameter.of("batch_blocks", batch_blocks, "It is at least 1.")
    state = catalog.find(root)
    _check_state(state)
    if state is None and catalog_hierarchy.root_of(root) is None:
        calls.nothing_to_do(f"{catalog_server.relation_name(root)} is in no hierarchy")
        return
    source = state.root if state is not None else root
    if dry_run:
        _print(source)
        return
    call = open_plain("unconvert", source)
    state = catalog.find(root)  # under the lock
    if state is not None and state.state in (STRUCTURE, CHANGED):
        conversion_discarding.discard(state.root, call)
        state = None
    if state is None:
        hierarchy = catalog_hierarchy.load(source)
        found = examine(hierarchy)
        definitions = conversion_definition.fingerprint([member.oid for member in found.members], source)
        catalog.begin(found, _parts(found, hierarchy), "{}", definitions)
        execute.commit(call)
    conversion_running.run(source, call, batch_blocks)


def _check_state(state: State | None) -> None:
    if state is None or state.is_back:
        return
    raise errors.NotInPrerequisiteState(
        f"plain tables of {state.hierarchy_name or state.name} are there already",
        f"dp.convert keeps them; its conversion is in the state {state.state}.",
        "SELECT dp.drop_converted(...) first, or CALL dp.convert(...) until it is at its end.",
    )


def examine(hierarchy: Hierarchy) -> Conversion:
    """Read the tables of a hierarchy, and refuse what cannot be made plain."""
    _check_hierarchy(hierarchy)
    oids = [table.oid for table in hierarchy.tables]
    records = _records(hierarchy)
    members = tuple(
        narrowing.narrowed(_member(table.oid, table.template_oid), records, hierarchy) for table in hierarchy.tables
    )
    views = [view.oid for view in catalog_views.of_root(hierarchy.root.oid)]
    dependents, blocked = catalog_dependents.read(oids, views)
    lookups = {row["described"] for row in catalog.lookups(oids)}
    lookups |= {each.described for each in catalog_joined.present(hierarchy)}
    blocked += [
        (name, f"It uses the row type of {member.identifier}, which the plain table does not have.")
        for member in members
        for name in member.facts.row_types
        if name not in lookups
    ]
    sides = [index.oid for table in hierarchy.tables for index in table.global_indexes]
    outside = [key for side in sides for key in catalog_keys.pointing_to(side) if key.child not in oids]
    blocked += catalog_conversion.of_others(outside)
    if blocked:
        raise errors.DependentObjects(
            f"{blocked[0][0]} depends on {hierarchy.root.identifier}",
            blocked[0][1],
            "Drop it first, and create it again afterwards.",
        )
    found = Conversion(
        members,
        _settings(hierarchy, members[0]),
        {},
        (),
        (),
        tuple(outside),
        tuple(dependents),
        (),
        (),
        REFUSE,
        False,
        catalog_server.server().version,
        is_back=True,
    )
    check_schemas(found)
    return found


def _member(oid: int, template: int | None) -> Member:
    return catalog_conversion.member(catalog_structure.read(oid), template)


def _check_hierarchy(hierarchy: Hierarchy) -> None:
    root = hierarchy.root.identifier
    detached = catalog_detached.remembered(hierarchy)
    if detached:
        raise errors.NotInPrerequisiteState(
            f"{root} has slices that are detached",
            f"Among them is {detached[0].identifier}; its rows would not be among those of the plain table.",
            "Attach them with SELECT dp.attach_slice(...), or drop them with SELECT dp.drop_slice(...).",
        )
    needed, budget = plan.reading_locks(hierarchy), catalog_server.server().lock_budget
    if needed > budget:
        raise errors.OutOfLocks(
            f"comparing all rows of {root} at the end needs about {needed} locks, more than the budget of {budget}",
            "The tables are exchanged in one transaction, which looks into every leaf.",
            "Raise max_locks_per_transaction.",
        )


def _settings(hierarchy: Hierarchy, root: Member) -> Settings:
    """The keys that the tables have now; nothing else of it is asked for."""
    policy = hierarchy.policy
    columns = {column.name: column for column in catalog_structure.columns(root.oid)}
    return Settings(
        columns[policy.range_key],
        hierarchy.range_type,
        columns[policy.hash_key] if policy.hash_key is not None else None,
        policy.key_form,
        policy.slice_key,
        policy.bucket,
        policy.width,
        policy.hash_partitions,
        policy.premake,
        policy.start,
        None,
        policy.retention_action,
        policy.retention_schema,
        policy.time_zone,
        policy.default_slice,
        f"{policy.lock_timeout_ms} ms",
    )


def _records(hierarchy: Hierarchy) -> dict[int, Record]:
    found = catalog.records([table.oid for table in hierarchy.tables])
    return {oid: each.followed(hierarchy.policy.partition_keys) for oid, each in found.items()}


def _parts(found: Conversion, hierarchy: Hierarchy) -> list[Part]:
    oids = [member.oid for member in found.members]
    going = [SQL(row["dropping"]) for row in catalog.lookups(oids)]
    going += [plan_joined.drop(each) for each in catalog_joined.present(hierarchy)]
    for view in catalog_views.of_root(hierarchy.root.oid):
        going += plan_views.removal(view)
    function = None
    if hierarchy.policy.slice_key is not None:
        function = narrowing.slice_key_function(catalog_structure.read(hierarchy.root.oid))
    return plan.parts(
        found,
        _records(hierarchy),
        hierarchy,
        {oid: catalog.leaves_of(oid) for oid in oids},
        {oid: catalog.slices_of(oid) for oid in oids},
        going,
        function,
    )


def _print(root: int) -> None:
    """What a call would do."""
    hierarchy = catalog_hierarchy.load(root)
    found = examine(hierarchy)
    call: Context = calls.hierarchy_context("unconvert", hierarchy, execute.DRY_RUN)._replace(is_schema_change=True)
    for part in _parts(found, hierarchy):
        operations = tuple(Operation(part.target, statement) for statement in part.statements)
        execute.execute([Step(operations, part.kind == SWITCH)], call)
