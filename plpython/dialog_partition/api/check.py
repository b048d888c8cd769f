"""dp.check: what is wrong, and how it is mended."""

from __future__ import annotations

from .. import database, errors, keys
from ..catalog import detached as catalog_detached
from ..catalog import findings as catalog_findings
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..catalog import trust
from ..model import SliceSpec
from ..plan import coverage
from ..plan import default_slice as plan_default
from ..plan import detached as plan_detached
from ..plan import finding as plan_finding
from ..plan import findings as plan
from ..plan.finding import Expected
from . import ageing, calls, creation, schedule, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Hierarchy
    from ..plan.detached import DetachedSlice
    from ..plan.finding import Finding


def check(root: int | None) -> list[Finding]:
    """Findings of one hierarchy or all; see sql/functions/check.sql.j2."""
    roots = {each.oid: each.name for each in catalog_hierarchy.roots()}
    if root is not None:
        if root not in roots:
            catalog_hierarchy.load(root)  # tells that it is none
        roots = {root: roots[root]}
    hierarchies, unreadable = catalog_hierarchy.load_readable(list(roots))
    found = [plan_finding.unreadable(roots[oid], calls.explained(error)) for oid, error in unreadable.items()]
    for hierarchy in hierarchies:
        try:
            found += check_one(hierarchy)
        except (errors.PartitionError, database.ServerError) as error:
            if database.is_cancel(error) or (root is not None and isinstance(error, database.ServerError)):
                raise
            found.append(
                plan_finding.unreadable(hierarchy.root.identifier.text, calls.explained(error))
            )  # the others are looked at all the same
    return found


def check_one(hierarchy: Hierarchy) -> list[Finding]:
    """Findings of one hierarchy."""
    table = hierarchy.root
    reads_rows = keys.is_integer(hierarchy.range_type) or any(map(hierarchy.default_slice, hierarchy.tables))
    if reads_rows and table.owner != catalog_server.server().user:
        trust.refuse_code(trust.tables_of(table.oid), table.identifier, table.owner)
    point = window.current_point(hierarchy)
    return plan.findings(hierarchy, catalog_findings.read(hierarchy, expected(hierarchy, point), point))


def expected(hierarchy: Hierarchy, point: int | None) -> Expected:
    """What there should be, and is not; the clock is at a point of the axis."""
    missing = catalog_slices.specs(hierarchy, window.gaps(hierarchy), hierarchy.policy.hash_partitions)
    lacking = creation.lacking_slices(hierarchy, coverage.wanted(hierarchy, missing))
    pairs = [(table, spec) for table in hierarchy.tables for spec in lacking[table.oid]]
    kept = maintained(hierarchy)
    return Expected(
        tuple(missing),
        tuple(detached_ahead(hierarchy, point)),
        tuple(catalog_detached.by_hand(hierarchy, pairs)),
        kept,
        drain_locks(hierarchy, kept),
        window.beyond_gap(hierarchy),
        ageing.aged(hierarchy),
        schedule.states(hierarchy.root.oid, hierarchy.root.owner),
        ageing.late(hierarchy),
    )


def detached_ahead(hierarchy: Hierarchy, point: int | None) -> list[DetachedSlice]:
    """The root's slices that were detached and would hold rows of now or later, where nothing else does."""
    reached = point if point is not None else window.highest_point(hierarchy)
    found = []
    for each in catalog_detached.remembered(hierarchy):
        spec = plan_detached.spec_of(each)
        if each.table != hierarchy.root.oid or spec is None or spec.lower is None or spec.upper is None:
            continue
        is_ahead = reached is None or spec.upper.point > reached
        if is_ahead and coverage.uncovered([(spec.lower, spec.upper)], hierarchy.range_slices(hierarchy.root)):
            found.append(each)
    return found


def maintained(hierarchy: Hierarchy) -> SliceSpec | None:
    """The range that maintenance keeps, as if it were one slice; None where no default slice asks for it."""
    if all(hierarchy.default_slice(table) is None for table in hierarchy.tables):
        return None
    spans = window.candidates(hierarchy, *window.maintained(hierarchy), hierarchy.policy.width)
    return SliceSpec(spans[0][0], spans[-1][1], 0, "") if spans else None


def drain_locks(hierarchy: Hierarchy, kept: SliceSpec | None) -> int:
    """How many locks it takes to drain one slice of the default slice."""
    if kept is None:
        return 0
    spec = kept._replace(modulus=hierarchy.policy.hash_partitions)
    facts = catalog_slices.default_facts(hierarchy)
    tables = [table for table in hierarchy.tables if table.oid in facts]
    return plan_default.drain_step(hierarchy, spec, tables, creation.all_properties(hierarchy), facts).locks
