"""Plans that generated functions keep: with which settings they are made, and of which slices.

Lookups, joined lookups and pages have a statement for each of the newest slices, whose plan the session keeps.
"""

from __future__ import annotations

from .. import errors
from .. import keys as key_types
from ..model import Hierarchy, Slice
from .function_settings import clauses

# A plan that is kept was made when the leaves were smaller; what looks costly without an index is neither compiled nor
# given to workers, whose start takes longer than the whole.
BY_INDEX_SETTINGS = {"enable_seqscan": "off", "jit": "off", "max_parallel_workers_per_gather": "0"}
BY_INDEX = clauses(BY_INDEX_SETTINGS)
OWN_SETTINGS = ("plan_cache_mode", *BY_INDEX_SETTINGS, "standard_conforming_strings", "search_path")


def newest(hierarchy: Hierarchy) -> tuple[int, ...]:
    """The bounds of the newest slices, as many as are configured, as far as none is missing between them."""
    return _newest(hierarchy, hierarchy.policy.lookup_slices)


def newest_slice(hierarchy: Hierarchy) -> tuple[int, int] | None:
    """The bounds of the newest slice that has any."""
    points = _newest(hierarchy, 1)
    return (points[0], points[1]) if points else None


def _newest(hierarchy: Hierarchy, count: int) -> tuple[int, ...]:
    points: list[int] = []
    for each in reversed(hierarchy.range_slices(hierarchy.root)):
        ends = _ends(each, str(hierarchy.root.partition_type))
        if len(points) > count or (points and (ends is None or ends[1] != points[0])):
            break
        if ends is not None:
            points = [ends[0], *(points or [ends[1]])]
    return tuple(points) if count else ()


def _ends(each: Slice, type_name: str) -> tuple[int, int] | None:
    """The bounds of a slice; None where one is infinite or cannot be written."""
    if each.lower is None or each.upper is None:
        return None
    try:
        for edge in (each.lower, each.upper):
            key_types.literal(edge.point, type_name)
    except errors.InvalidParameter:
        return None
    return each.lower.point, each.upper.point
