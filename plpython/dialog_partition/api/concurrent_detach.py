"""Detaching slices while readers and writers go on: by a second session, and never waiting longer than a lock may."""

from __future__ import annotations

from .. import database, execute, remote
from ..catalog import detached as catalog_detached
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, Slice
from ..operation import Operation, Step
from ..plan import concurrent_detach as plan
from ..plan import coverage, lifecycle
from ..plan import detached as plan_detached
from . import calls, slices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context

Span = tuple["int | None", "int | None"]


def detach(
    hierarchy: Hierarchy, span: Span, to_schema: str | None, is_retired: bool, connection: str, call: Context
) -> None:
    """Detach one slice from every table, children first; as far as PostgreSQL can, CONCURRENTLY."""
    parts = _parts(hierarchy, span)
    plain = slices.detach(hierarchy, span, to_schema, is_retired)
    for part, step in zip(parts, plain):
        if call.mode == execute.DRY_RUN:
            calls.run_in_procedure(plan.dry_steps(hierarchy, part, step, to_schema, is_retired), call)
        elif not plan.is_possible(hierarchy, part.table, part.slice):
            calls.run_in_procedure([step], call)
        else:
            _detach_one(hierarchy, part, step, to_schema, is_retired, connection, call)


def _parts(hierarchy: Hierarchy, span: Span) -> list[plan.Part]:
    """What there is of a slice, children first."""
    siblings = lifecycle.siblings(hierarchy, span)
    found = [each for _, each in siblings]
    keys = catalog_slices.inside_foreign_keys(hierarchy, found)
    leaves = catalog_slices.leaves(found)
    bounds = catalog_slices.bound_checks(found)
    return [
        plan.Part(table, each, keys.get(each.oid, ()), leaves.get(each.oid, ()), bounds.get(each.oid))
        for table, each in reversed(siblings)
    ]


def _detach_one(
    hierarchy: Hierarchy,
    part: plan.Part,
    plain: Step,
    to_schema: str | None,
    is_retired: bool,
    connection: str,
    call: Context,
) -> None:
    """One table. The second session waits no longer than ours would; then it is brought to its end from here.

    By then the slice is out of the table for all who begin a transaction; or it is not, and the usual way is taken.
    """
    remote.open_session(call, connection)
    remote.set_parameter("lock_timeout", f"{call.lock_timeout_ms}ms")
    execute.commit(call)
    try:
        calls.run_in_procedure([plan.detach_step(part)], call)
    except database.ServerError as error:
        if not database.is_worth_a_retry(error):
            raise
        execute.forget_step()
    execute.begin(call)
    now = _state(hierarchy, part.slice)
    if now is not None and not now.detach_pending:
        calls.run_in_procedure([plain], call)
        return
    calls.run_in_procedure([plan.finish_step(hierarchy, part, now is not None, to_schema, is_retired)], call)


def _state(hierarchy: Hierarchy, each: Slice) -> Slice | None:
    """A slice as it is now; None where it is detached."""
    now = catalog_hierarchy.load(hierarchy.root.oid)
    return next((found for own in now.slices.values() for found in own if found.oid == each.oid), None)


def interrupted_steps(hierarchy: Hierarchy, retired: list[Slice]) -> list[Step]:
    """What a session left that was killed behind the detach: the slice stands alone, with its foreign keys.

    It is remembered, so that dp.attach_slice finds it, and never dropped: somebody may have detached it by hand.
    """
    spans = {each.span for each in retired}
    remembered = {(each.table, each.lower_point, each.upper_point) for each in catalog_detached.remembered(hierarchy)}
    wanted = [spec for spec in coverage.wanted(hierarchy, []) if spec.span in spans]
    lacking = [
        (table, spec)
        for table in hierarchy.tables
        for spec in coverage.missing_in(hierarchy, table, wanted)
        if (table.oid, *spec.span) not in remembered
    ]
    return [_remember_step(hierarchy, each) for each in reversed(catalog_detached.by_hand(hierarchy, lacking))]


def _remember_step(hierarchy: Hierarchy, each: plan_detached.DetachedSlice) -> Step:
    table = hierarchy.table(each.table)
    statement = plan.found_alone_statement(
        hierarchy.root.identifier, table, each.identifier, each.lower_bound, each.upper_bound
    )
    operations = plan_detached.let_go_operations(hierarchy, table, each)
    return Step((*operations, Operation(each.identifier, statement, locks=2)))
