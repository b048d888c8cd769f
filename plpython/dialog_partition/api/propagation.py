"""propagate: what the event trigger calls when plain DDL has changed managed tables."""

from __future__ import annotations

import json

from .. import database, errors
from ..catalog import alter as catalog_alter
from ..catalog import drift as catalog_drift
from ..catalog import global_index as catalog_global_index
from ..catalog import hierarchy as catalog_hierarchy
from ..operation import Operation, Step
from ..plan import drift as plan_drift
from ..plan import global_index as plan_index
from ..plan import propagation as plan
from ..plan.detached import INDEX_LOCKS
from ..plan.difference import OWNER, REWRITE
from ..plan.propagation import Change
from ..sql import Literal
from . import attach, calls, following, obstacles, ownership, retention, slices, view_upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..model import Hierarchy, Table

CALL = "carrying DDL to partitions"


def propagate(changes: str) -> None:
    """Carry changes of tables to their templates and partitions; see sql/triggers/propagate_ddl.sql.j2."""
    by_root: dict[int, dict[int, list[Change]]] = {}
    for each in json.loads(changes):
        root = catalog_hierarchy.root_of(each["tbl"])
        if root is not None:  # a table may have left its hierarchy by what the command did
            change = Change(each["aspect"], each["part"], each["before"], each["after"])
            by_root.setdefault(root, {}).setdefault(each["tbl"], []).append(change)
    for root, by_table in by_root.items():
        try:
            hierarchy, call = calls.open_function(CALL, root, False, runs_code=False)
        except errors.InsufficientPrivilege as error:
            _warn(root, error)
            continue
        ownership.carry(hierarchy, _former_owners(by_table), call)
        if all(map(_is_about_owner, by_table.values())):
            continue
        try:
            calls.refuse_code(hierarchy)
        except errors.InsufficientPrivilege as error:  # the caller need not trust what the owner's tables run
            _warn(root, error)
            continue
        for table in hierarchy.tables:
            if table.oid in by_table:
                _carry(hierarchy, table, by_table[table.oid], call)
        if any(each.aspect in (plan.NAME, plan.SCHEMA) for changes in by_table.values() for each in changes):
            following.run(catalog_hierarchy.load(root), call)
        view_upkeep.run_refresh(call)


def _warn(root: int, error: errors.PartitionError) -> None:
    database.warning(
        f"the change was not carried to the partitions: {error.message}. {error.hint or ''} Then CALL"
        f" dp.sync({Literal(catalog_hierarchy.load(root).root.identifier.text)})."
    )


def _former_owners(by_table: dict[int, list[Change]]) -> dict[int, int]:
    """Whose the tables were that have another owner now; what the event trigger tells of an owner is its oid."""
    return {
        table: int(each.before)
        for table, changes in by_table.items()
        for each in changes
        if each.aspect == OWNER and each.before is not None
    }


def _is_about_owner(changes: list[Change]) -> bool:
    """Whether a table has got another owner, and nothing else; that one's privileges go along by themselves."""
    aspects = {each.aspect for each in changes}
    return OWNER in aspects and aspects <= {OWNER, plan.PRIVILEGES}


def _carry(hierarchy: Hierarchy, table: Table, changes: list[Change], call: Context) -> None:
    """Template first: leaves are compared with what it says then."""
    target = catalog_alter.target(hierarchy, table)
    if table.template is None:
        database.warning(
            f"{table.identifier} has no template: what only a template can hold is carried nowhere, new partitions do"
            f" not get it, and drift of it is not seen. CALL dp.sync({Literal(hierarchy.root.identifier.text)}) makes"
            " one as the newest partition is."
        )
    if any(each.aspect == plan.COLUMN for each in changes):
        retention.refuse_unreadable(hierarchy)
    _run(plan.template_operations(target, changes) + plan.schema_operations(target, changes), call)
    for old, new in plan.renamed_columns(changes):
        _run(following.of_renamed_column(hierarchy, table, old, new), call)
    facts = catalog_drift.read_table(table)
    late = plan.new_column_operations(target, changes)
    if late:
        name = str(table.template)
        lacking = [each for each in plan_drift.differences(facts) if each.relation.text == name]
        steps = plan_drift.steps_of(facts, lacking, rewrite=False)
        _run([operation for step in steps for operation in step.operations], call)
        _run(late, call)
        facts = catalog_drift.read_table(table)
    found = [each for each in plan_drift.differences(facts) if plan.is_carried(each, changes)]
    steps = plan_drift.steps_of(facts, found, rewrite=False)
    _run([operation for step in steps for operation in step.operations], call)
    _run(plan.statistics_operations(target, found, changes), call)
    _run(_of_slices(hierarchy, table, changes), call)
    if any(each.aspect == plan.PRIVILEGES for each in changes):
        _run(_reading(table), call)
    left = sorted({each.aspect for each in found if each.mended_by == REWRITE})
    if left:
        root = Literal(hierarchy.root.identifier.text)
        database.notice(
            f"existing partitions of {table.identifier} keep their {' and '.join(left)}, for another one writes all"
            f" rows anew: CALL dp.sync({root}, rewrite => true)"
        )


def _reading(table: Table) -> list[Operation]:
    """Who may read the table since a GRANT may look its rows up, and who may not any more may not."""
    readers = set(catalog_global_index.readers(table.oid))
    found = []
    for index in table.global_indexes:
        present = set(catalog_global_index.readers(index.oid))
        statements = plan_index.grant_reading(index, tuple(sorted(readers - present)))
        statements += plan_index.revoke_reading(index, tuple(sorted(present - readers)))
        found += [Operation(index.identifier, each) for each in statements]
    return found


def _of_slices(hierarchy: Hierarchy, table: Table, changes: list[Change]) -> list[Operation]:
    """Slices that were detached take their entries along, those that were attached bring theirs."""
    lost, new = plan.changed_slices(changes)
    if lost:
        slices.warn_of_emptied([index.oid for index in table.global_indexes])
    found = []
    for each in (*lost, *new):
        parts = catalog_global_index.slice_parts(each)
        if not parts or not table.global_indexes:
            continue
        relation = parts[0][0]
        obstacles.refuse_hidden_rows(relation, is_whole=False)
        if each in new:
            attach.refuse_predicates(hierarchy)
        locks = len(parts) * (1 + table.indexes) + INDEX_LOCKS
        for index in table.global_indexes:
            if each in new:
                statements = plan_index.take_in(index, relation, parts)
            else:
                statements = plan_index.let_go(index, relation, [part for part, _ in parts])
            found += [Operation(relation, statement, locks=locks) for statement in statements[:1]]
            found += [Operation(relation, statement, locks=2) for statement in statements[1:]]
    return found


def _run(operations: list[Operation], call: Context) -> None:
    if operations:
        calls.run_in_function([Step(tuple(operations))], call)
