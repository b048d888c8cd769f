"""estimate: what a layout costs before it is built."""

from __future__ import annotations

from .. import errors
from ..catalog import calibration
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..model import Hierarchy
from ..plan import estimate as plan
from ..plan.estimate import Estimate, Layout
from . import policy

MAX_SLICES, MAX_TABLES, MAX_INDEXES, MAX_ARRAY = 100_000, 1000, 1000, 10_000_000
DEFAULT_TABLES, DEFAULT_INDEXES = 3, 2


def estimate(
    root: int | None,
    slices: int | None,
    hash_partitions: int | None,
    tables: int | None,
    indexes: int | None,
    array_values: int,
    calibrate: bool,
) -> list[Estimate]:
    """What the layout of a hierarchy, or another one, costs; see sql/functions/estimate.sql.j2."""
    given = (("slices", slices), ("hash_partitions", hash_partitions), ("tables", tables), ("indexes", indexes))
    limits = {"slices": (1, MAX_SLICES), "hash_partitions": (0, policy.MAX_HASH_PARTITIONS)}
    limits |= {"tables": (1, MAX_TABLES), "indexes": (0, MAX_INDEXES)}
    for name, value in (*given, ("array_values", array_values)):
        low, high = limits.get(name, (1, MAX_ARRAY))
        if value is not None and not low <= value <= high:
            raise errors.InvalidParameter.of(name, str(value), f"It is {low} to {high}.")
    facts = catalog_server.server()
    version = facts.version // 10000
    present = None if root is None else present_layout(catalog_hierarchy.load(root))
    layout = _wanted(present, slices, hash_partitions, tables, indexes)
    factor = calibration.factor(version) if calibrate else 1.0
    return plan.estimates(layout, version, facts.lock_table, array_values, factor)


def _wanted(
    present: Layout | None, slices: int | None, hash_partitions: int | None, tables: int | None, indexes: int | None
) -> Layout:
    """The layout that is asked for: that of a hierarchy, but for what is given."""
    if present is None:
        for name, value in (("slices", slices), ("hash_partitions", hash_partitions)):
            if value is None:
                raise errors.InvalidParameter.of(name, None, "Without a root it must be given.")
        present = Layout(0, 0, DEFAULT_TABLES, DEFAULT_INDEXES)
    return Layout(
        present.slices if slices is None else slices,
        present.hash_partitions if hash_partitions is None else hash_partitions,
        present.tables if tables is None else tables,
        present.indexes if indexes is None else indexes,
    )


def present_layout(hierarchy: Hierarchy) -> Layout:
    """The layout that a hierarchy has: slices of several moduli count as so many of their mean."""
    slices = hierarchy.slices[hierarchy.root.oid]
    leaves = sum(max(len(each.remainders), 1) for each in slices)
    hash_partitions = round(leaves / len(slices)) if slices else hierarchy.policy.hash_partitions
    most = max(table.indexes for table in hierarchy.tables)
    no_hash_level = hierarchy.policy.hash_key is None
    return Layout(max(len(slices), 1), 0 if no_hash_level else hash_partitions, len(hierarchy.tables), most)
