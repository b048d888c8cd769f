"""attach_slice: a slice that was detached comes back, whoever detached it."""

from __future__ import annotations

from .. import errors, naming
from ..catalog import detached as catalog_detached
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec, Table
from ..plan import coverage
from ..plan import detached as plan
from ..sql import Identifier, names
from . import calls, obstacles, slices, window
from .policy import parse_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..printing import PlanRow


def attach_slice(root: int, lower_bound: str, upper_bound: str | None, dry_run: bool) -> list[PlanRow]:
    """Attach a detached slice again; see sql/functions/attach_slice.sql.j2."""
    hierarchy, call = calls.open_function("attach_slice", root, dry_run)
    remembered = slices.find_detached(hierarchy, lower_bound)
    spec = _remembered_spec(hierarchy, remembered) if remembered else _spec(hierarchy, lower_bound, upper_bound)
    lacking = [table for table in hierarchy.tables if not _has(hierarchy, table, spec)]
    if not lacking:
        return slices.nothing_there(hierarchy, lower_bound, "is attached already")
    known = {each.table for each in remembered}
    by_hand = catalog_detached.by_hand(hierarchy, [(table, spec) for table in lacking if table.oid not in known])
    if not remembered and not by_hand:
        raise _nothing_to_attach(hierarchy, lower_bound, lacking, spec)
    refuse_predicates(hierarchy)
    for each in (*remembered, *by_hand):
        _refuse_unlike(hierarchy, each)
        if hierarchy.table(each.table).global_indexes:
            obstacles.refuse_hidden_rows(each.identifier, is_whole=False)
    if not spec.is_default:
        obstacles.refuse(obstacles.rows_in_default(hierarchy, [spec]))
    return calls.run_in_function([plan.attach_step(hierarchy, [*remembered, *by_hand])], call)


def refuse_predicates(hierarchy: Hierarchy) -> None:
    """What a global index says behind WHERE may call functions of the owner, and is run on the rows that come back."""
    owner = hierarchy.root.owner
    if owner != catalog_server.server().user and any(
        index.predicate is not None for table in hierarchy.tables for index in table.global_indexes
    ):
        raise errors.InsufficientPrivilege(
            f"a global index of {hierarchy.root.identifier} has a predicate, which would run with your rights",
            "It may call functions of the tables' owner.",
            f"Call in a session of {owner}; or, if you trust that code, SET ROLE {Identifier(owner)} first.",
        )


def _refuse_unlike(hierarchy: Hierarchy, each: plan.DetachedSlice) -> None:
    """The table may have changed since the slice was detached."""
    unlike = catalog_detached.unlike_columns(each)
    if unlike:
        table = hierarchy.table(each.table).identifier
        raise errors.DatatypeMismatch(
            f"the columns of {each.identifier} are not those of {table}",
            f"They differ in {names(tuple(unlike))}.",
            "Make the changes that the table had since on the slice as well: after SET dp.include_detached = on, the"
            " calls that made them, made again, reach the slices that were detached.",
        )


def _remembered_spec(hierarchy: Hierarchy, remembered: list[plan.DetachedSlice]) -> SliceSpec:
    """What a call detached, as it will be again; without bounds where it had only one."""
    first = remembered[0]
    suffix = naming.slice_suffix(hierarchy.table(first.table).name, first.name)
    spec = plan.spec_of(first) or SliceSpec(None, None, 0, "")
    return spec._replace(suffix=suffix or first.name)


def _spec(hierarchy: Hierarchy, lower_bound: str, upper_bound: str | None) -> SliceSpec:
    """The slice that is meant: as tables have it that it is still attached to; else as wide as new slices are."""
    slices.find_span(hierarchy, lower_bound)  # refuses a bound inside a slice
    point = slices.point_of(hierarchy, lower_bound)
    for table in hierarchy.tables:
        for each in hierarchy.range_slices(table):
            if each.lower is not None and each.lower.point == point:
                return _like(hierarchy, table, each.span)
    if upper_bound is not None:
        lower, upper = slices.bounds(hierarchy, lower_bound, upper_bound)
    else:
        lower = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
        upper = window.next_bound(lower, hierarchy.policy.width)
    edges = window.edges(hierarchy, [lower, upper])
    return catalog_slices.specs(hierarchy, [(edges[0], edges[1])], 0)[0]


def _like(hierarchy: Hierarchy, table: Table, span: tuple[int | None, int | None]) -> SliceSpec:
    """The slice of a span as the tables that have it name it."""
    narrowed = hierarchy._replace(tables=(table,))
    return next(spec for spec in coverage.wanted(narrowed, []) if spec.span == span)


def _has(hierarchy: Hierarchy, table: Table, spec: SliceSpec) -> bool:
    return not spec.is_default and any(each.span == spec.span for each in hierarchy.range_slices(table))


def _nothing_to_attach(
    hierarchy: Hierarchy, lower_bound: str, lacking: list[Table], spec: SliceSpec
) -> errors.UndefinedObject:
    names = ", ".join(table.identifier.text for table in lacking)
    if len(lacking) < len(hierarchy.tables):
        return errors.UndefinedObject(
            f"nothing was found that can be attached to {names} as its slice {spec.suffix}",
            "No row of dp.detached_slice names one, and no table of the slice's name with the columns of its table"
            " stands by itself.",
            "CALL dp.run_maintenance(...) creates what is missing, empty.",
        )
    return errors.UndefinedObject(
        f"no detached slice of {hierarchy.root.identifier} begins at {lower_bound}",
        f"No row of dp.detached_slice names one, and no table named as the slice {spec.suffix} stands by itself.",
        "See dp.slice where is_attached is false; give upper_bound if the slice has not the width of new slices.",
    )
