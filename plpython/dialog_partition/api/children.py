"""register_child, register_reference: the tables below and beside a root."""

from __future__ import annotations

from .. import database, errors, execute, printing
from ..catalog import foreign_keys as catalog_keys
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..model import CHILD, REFERENCE, ForeignKey, Hierarchy, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, Operation, Step
from ..plan import coverage, foreign_keys, locking, remake, slice_form, table_order
from ..plan import declare as plan
from ..plan import slices as plan_slices
from ..plan.structure import Column, Structure
from . import calls, requirements, view_upkeep
from .declare import tell_pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..plan.properties import Properties
    from ..printing import PlanRow
    from ..sql import SQL


def register_child(
    child: int,
    parent: int,
    parent_key: list[str] | None,
    on_delete: str | None,
    create_slices: bool,
    allow_weaker_unique: bool,
    dry_run: bool,
) -> list[PlanRow]:
    """Register a child; see sql/functions/register_child.sql.j2."""
    hierarchy, call = calls.open_function("register_child", _root_of(parent), dry_run)
    structure = slice_form.child(catalog_structure.read(child), hierarchy.policy)
    is_new = _check_child(structure, hierarchy)
    remade = is_new and plan.is_remade(structure, hierarchy.policy.partition_column)
    if remade:
        structure = slice_form.child(calls.lock_for_remake(structure, call), hierarchy.policy)
    parent_structure = structure if child == parent else catalog_structure.read(parent)
    partition_keys = hierarchy.policy.partition_keys
    pending = slice_form.without_range_key(catalog_keys.pending_of(child), hierarchy.policy)
    links = foreign_keys.parent_links(structure, parent_structure, parent_key, on_delete, pending, partition_keys)
    inside = foreign_keys.inside_keys(structure, hierarchy, links, pending)
    table = plan.as_table(structure, CHILD, hierarchy.policy.partition_column) if is_new else hierarchy.table(child)
    extended = _with_child(hierarchy, table, inside)
    properties = catalog_properties.read(table.oid, table.template_oid)
    statements: list[SQL] = []
    if is_new:
        statements = _form(structure, properties, hierarchy, (inside, pending), allow_weaker_unique)
    made = foreign_keys.key_operations(structure, extended, inside, remade)
    mode = ACCESS_EXCLUSIVE if any(each.lock == ACCESS_EXCLUSIVE for each in made) else SHARE_ROW_EXCLUSIVE
    operations = locking.lock_tables(structure.identifier, extended.parents(table), mode) if made else []
    operations += _on(structure, statements)
    operations += made
    statements = remake.comment_statements(structure) if remade else []
    if is_new:
        statements += plan.template_statements(structure, properties)
        statements.append(plan.table_statement(structure, hierarchy.root.identifier, CHILD))
    statements += foreign_keys.pending_statements(structure, pending, inside)
    steps = [Step((*operations, *_on(structure, statements)))]
    if is_new and create_slices:
        steps += _slice_steps(extended, table, properties, call)
    if not any(step.operations for step in steps):
        return calls.nothing_to_do(f"{structure.identifier} is registered under {parent_structure.identifier} already")
    rows = calls.run_in_function([*steps, *_view_steps(hierarchy, child, call)], call)
    if call.mode == execute.DRY_RUN:
        return rows
    view_upkeep.run_refresh(call)
    return printing.last_plan()


def _view_steps(hierarchy: Hierarchy, child: int, call: Context) -> list[Step]:
    """What a dry run prints for the writable views of a child that gets a further parent."""
    if call.mode != execute.DRY_RUN:
        return []
    return [Step(tuple(view_upkeep.printed(hierarchy, view_upkeep.of_table(hierarchy.root.oid, child))))]


def _form(
    structure: Structure,
    properties: Properties,
    hierarchy: Hierarchy,
    keys: tuple[list[ForeignKey], list[ForeignKey]],
    allow_weaker_unique: bool,
) -> list[SQL]:
    """What gives a new child its form; ``keys`` are those inside the hierarchy, and the remembered ones."""
    inside, pending = keys
    key_columns = _key_columns(hierarchy)
    requirements.check_template(structure)
    if not plan.is_remade(structure, hierarchy.policy.partition_column):
        plan.check_keys(structure, key_columns, hierarchy.policy.partition_keys)
        return []
    plan.check_child(structure, hierarchy.policy, inside, allow_weaker_unique, catalog_server.server().version)
    told = remake.repairs(structure, key_columns) + remake.taken_for_keys(structure, key_columns, inside)
    for text in told:
        database.notice(text)
    managed = {table.oid for table in hierarchy.tables}
    tell_pending(tuple(key for key in structure.incoming if key.child not in managed))
    return plan.child_statements(structure, properties, hierarchy.policy, key_columns, inside, pending)


def _on(structure: Structure, statements: list[SQL]) -> list[Operation]:
    return [Operation(structure.identifier, each, relations=(structure.oid,)) for each in statements]


def _slice_steps(extended: Hierarchy, table: Table, properties: Properties, call: Context) -> list[Step]:
    """The slices that the hierarchy has, for a new child."""
    given = {oid: properties._replace(renamed_indexes=True) for oid in (table.oid, extended.root.oid)}
    only_child = extended._replace(tables=(extended.root, table))
    return plan_slices.creation_steps(only_child, coverage.wanted(extended, []), given, call.lock_budget)


def register_reference(tbl: int, root: int | None, dry_run: bool) -> list[PlanRow]:
    """Register a shared table; see sql/functions/register_reference.sql.j2."""
    structure = catalog_structure.read(tbl)
    if catalog_hierarchy.root_of(tbl) is not None:
        raise errors.DuplicateObject(
            f"{structure.identifier} is partitioned as part of a hierarchy",
            "A reference is a shared table.",
            "See the view dp.managed_table.",
        )
    if root is not None:
        chosen = [catalog_hierarchy.load(root)]
        calls.check_owner(chosen[0])
    else:
        referring = {key.child for key in structure.incoming}
        chosen = [
            each
            for each in catalog_hierarchy.load_readable([own.oid for own in catalog_hierarchy.own_roots()])[0]
            if any(table.oid in referring for table in each.tables)
        ]
    if not chosen:
        raise errors.InvalidParameter(
            f"no hierarchy of yours refers to {structure.identifier}",
            "The hierarchies of a reference are found by the foreign keys that point to it.",
            "Name the hierarchy with root => ...",
        )
    new = [each for each in chosen if all(table.oid != tbl for table in each.references)]
    if not new:
        return calls.nothing_to_do(f"{structure.identifier} is registered already")
    for each in new:
        call = calls.hierarchy_context("register_reference", each, execute.mode_of(dry_run, False))
        operation = Operation(structure.identifier, plan.table_statement(structure, each.root.identifier, REFERENCE))
        calls.run_in_function([Step((operation,))], call)
    return printing.last_plan()


def _check_child(structure: Structure, hierarchy: Hierarchy) -> bool:
    """Whether a table may be a child of this hierarchy; true where it is none yet."""
    known = catalog_hierarchy.root_of(structure.oid)
    if known is not None and known != hierarchy.root.oid:
        raise errors.DuplicateObject(
            f"{structure.identifier} belongs to another hierarchy already",
            "A table is partitioned by the keys of one root.",
            "See the view dp.managed_table.",
        )
    requirements.check_same_owner(structure, hierarchy.root.identifier, hierarchy.root.owner)
    return known is None


def _root_of(table: int | None) -> int:
    if table is None:
        raise errors.UndefinedObject(
            "no parent was named", "Parameter parent is NULL.", "Name a root, or a child above."
        )
    root = catalog_hierarchy.root_of(table)
    if root is None:
        raise errors.UndefinedObject(
            f"{catalog_server.relation_name(table)} belongs to no hierarchy",
            "It is neither a root nor a child.",
            "Register tables from the root downwards: dp.create_hierarchy, then dp.register_child.",
        )
    return root


def _key_columns(hierarchy: Hierarchy) -> tuple[Column, ...]:
    structure = catalog_structure.columns(hierarchy.root.oid)
    wanted = hierarchy.policy.partition_keys
    return tuple(column for name in wanted for column in structure if column.name == name)


def _with_child(hierarchy: Hierarchy, table: Table, inside: list[ForeignKey]) -> Hierarchy:
    """The hierarchy as it will be."""
    others = tuple(each for each in hierarchy.tables if each.oid != table.oid)
    root = hierarchy.root
    typed = table._replace(partition_type=root.partition_type)
    kept = tuple(key for key in hierarchy.foreign_keys if key.child != table.oid)
    slices = dict(hierarchy.slices)
    slices.setdefault(table.oid, ())
    foreign_keys = kept + tuple(inside)
    ordered = table_order.in_order([*others, typed], foreign_keys)
    return hierarchy._replace(tables=ordered, foreign_keys=foreign_keys, slices=slices)
