"""create_slices, detach_slice, drop_slice."""

from __future__ import annotations

from .. import database, errors
from ..catalog import detached as catalog_detached
from ..catalog import global_index as catalog_global_index
from ..catalog import slices as catalog_slices
from ..model import Hierarchy
from ..operation import together
from ..plan import detached as plan_detached
from ..plan import lifecycle
from . import calls, creation, policy, window
from .policy import parse_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..operation import Step
    from ..printing import PlanRow


def create_slices(
    root: int,
    lower_bound: str,
    upper_bound: str,
    slice: str | None,
    hash_partitions: int | None,
    dry_run: bool,
) -> None:
    """Create the slices of a range; see sql/procedures/create_slices.sql.j2."""
    hierarchy, call = calls.open_procedure("create_slices", root, dry_run)
    width = creation.check_width(hierarchy, slice)
    modulus = creation.check_modulus(hierarchy, hash_partitions)
    spans = window.uncovered(hierarchy, *bounds(hierarchy, lower_bound, upper_bound), width)
    creation.create(hierarchy, catalog_slices.specs(hierarchy, spans, modulus), call)


def detach_slice(root: int, lower_bound: str, to_schema: str | None, dry_run: bool) -> list[PlanRow]:
    """Detach a slice of every table; see sql/functions/detach_slice.sql.j2."""
    hierarchy, call = calls.open_function("detach_slice", root, dry_run)
    span = find_span(hierarchy, lower_bound)
    if to_schema is not None:
        policy.check_schema("to_schema", to_schema)
    if span is None:
        return nothing_there(hierarchy, lower_bound)
    _warn_of_cascades(hierarchy)
    return calls.run_in_function([together(detach(hierarchy, span, to_schema))], call)


def _warn_of_cascades(hierarchy: Hierarchy) -> None:
    """The entries of a slice leave the global indexes with it; an attach brings them back, but not what cascaded."""
    sides = [index.oid for table in hierarchy.tables for index in table.global_indexes]
    warn_of_emptied(sides)


def warn_of_emptied(sides: list[int]) -> None:
    """Foreign keys of others to side tables may delete more than is asked for."""
    for child, side in catalog_global_index.emptied_with(sides):
        database.warning(
            f"rows of {child} that refer to rows of the slice are deleted: its foreign key to {side} is ON DELETE"
            " CASCADE; attaching the slice again does not bring them back"
        )


def drop_slice(root: int, lower_bound: str, dry_run: bool) -> list[PlanRow]:
    """Drop a slice of every table; see sql/functions/drop_slice.sql.j2."""
    hierarchy, call = calls.open_function("drop_slice", root, dry_run)
    detached = find_detached(hierarchy, lower_bound)
    span = find_span(hierarchy, lower_bound)
    steps = drop(hierarchy, span) if span is not None else []
    if detached:  # from some tables only, or from all
        steps.insert(0, plan_detached.drop_detached_step(hierarchy, detached))
    if not steps:
        return nothing_there(hierarchy, lower_bound)
    if span is not None:
        _warn_of_cascades(hierarchy)
    return calls.run_in_function([together(steps)], call)


def bounds(hierarchy: Hierarchy, lower_bound: str, upper_bound: str) -> tuple[object, object]:
    """Two bounds given as text, in order."""
    lower = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
    upper = parse_bound(upper_bound, hierarchy.range_type, "upper_bound")
    if not lower < upper:  # type: ignore[operator]
        raise errors.InvalidParameter(
            "lower_bound must be less than upper_bound",
            f"They are {lower_bound} and {upper_bound}.",
            "Give the lower one first.",
        )
    return lower, upper


def point_of(hierarchy: Hierarchy, lower_bound: str) -> int:
    """A bound given as text, on the partition column's axis."""
    moment = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
    return catalog_slices.axis_points(hierarchy, [moment])[0]


def find_span(hierarchy: Hierarchy, lower_bound: str) -> tuple[int | None, int | None] | None:
    """The slice of the root that begins at a bound; None where no slice holds it."""
    point = point_of(hierarchy, lower_bound)
    for each in hierarchy.range_slices(hierarchy.root):
        if each.lower is not None and each.lower.point == point:
            return each.span
        inside = (each.lower is None or each.lower.point < point) and (each.upper is None or point < each.upper.point)
        if inside:
            begin = (
                f"begins at {each.lower.local or each.lower.point}" if each.lower is not None else "has no beginning"
            )
            raise errors.InvalidParameter.of(
                "lower_bound",
                lower_bound,
                f"It lies inside the slice {each.identifier}, which {begin}.",
                "Name a slice by its lower bound; see the view dp.slice.",
            )
    return None


def find_detached(hierarchy: Hierarchy, lower_bound: str) -> list[plan_detached.DetachedSlice]:
    """The slices, one a table, that calls detached and that began at a bound."""
    point = point_of(hierarchy, lower_bound)
    return [each for each in catalog_detached.remembered(hierarchy) if each.lower_point == point]


def nothing_there(hierarchy: Hierarchy, lower_bound: str, why: str = "does not exist") -> list[PlanRow]:
    """Idempotence: what was done before is not done again."""
    return calls.nothing_to_do(f"the slice of {hierarchy.root.identifier} that begins at {lower_bound} {why}")


def detach(
    hierarchy: Hierarchy, span: tuple[int | None, int | None], to_schema: str | None, is_retired: bool = False
) -> list[Step]:
    """The steps, one a table, that detach one slice."""
    found = [each for _, each in lifecycle.siblings(hierarchy, span)]
    return lifecycle.detach_steps(
        hierarchy,
        span,
        catalog_slices.inside_foreign_keys(hierarchy, found),
        catalog_slices.leaves(found),
        to_schema,
        forced(hierarchy, span),
        is_retired,
    )


def drop(hierarchy: Hierarchy, span: tuple[int | None, int | None]) -> list[Step]:
    """The steps, one a table, that drop one slice."""
    found = [each for _, each in lifecycle.siblings(hierarchy, span)]
    keys = catalog_slices.inside_foreign_keys(hierarchy, found)
    return lifecycle.drop_steps(hierarchy, span, keys, forced(hierarchy, span))


def forced(hierarchy: Hierarchy, span: tuple[int | None, int | None]) -> frozenset[int]:
    """The parts of a slice, one a table, on whose owner row security is forced."""
    found = [each for _, each in lifecycle.siblings(hierarchy, span)]
    return frozenset(each.oid for each in found if catalog_slices.forces_row_security(each))
