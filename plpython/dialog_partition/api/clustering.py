"""clustering, set_cluster_order: the order in which the rows of leaves lie on disk."""

from __future__ import annotations

from typing import NamedTuple

from .. import database, errors, execute
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import physical_order as catalog
from ..model import Hierarchy, Table
from ..plan import physical_order as plan
from ..plan.physical_order import OrderIndex
from . import calls
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..printing import PlanRow


class ClusteringRow(NamedTuple):
    """One row of dp.clustering."""

    tbl: str
    leaf: str
    index_name: str
    pages: int
    disorder: float | None
    last_ordered: str | None
    changed_since_ordered: int | None


def clustering(root: int, sample_pages: int) -> list[ClusteringRow]:
    """How disordered each leaf is; see sql/functions/clustering.sql.j2."""
    check_sample(sample_pages)
    hierarchy = catalog_hierarchy.load(root)
    calls.hierarchy_context("clustering", hierarchy, execute.DRY_RUN)  # reading may run code of the owner, too
    found: list[ClusteringRow] = []
    for table in hierarchy.tables:
        index = order(hierarchy, table)
        if index is None:
            tell_missing(hierarchy, table)
            continue
        groups = plan.group_columns(hierarchy, table, index)
        for leaf in catalog.leaves(index.oid, None):
            found.append(
                ClusteringRow(
                    table.identifier.text,
                    leaf.identifier.text,
                    index.name,
                    leaf.pages,
                    catalog.disorder(leaf, index, groups, sample_pages),
                    leaf.ordered,
                    leaf.changed,
                )
            )
    return sorted(found, key=lambda row: -(row.disorder or 0))


def set_cluster_order(tbl: int, index_name: str, dry_run: bool) -> list[PlanRow]:
    """Order the leaves of a table by another index from now on; see sql/functions/set_cluster_order.sql.j2."""
    change = Alteration("set_cluster_order", tbl, dry_run)
    indexes = catalog.indexes(tbl)
    index = next((each for each in indexes if each.name == index_name), None)
    if index is None:
        names = ", ".join(each.name for each in indexes) or "none"
        raise errors.UndefinedObject(
            f'{change.target.identifier} has no index "{index_name}" that rows can be ordered by',
            f"These can: {names}. Such an index is a valid btree of plain columns, without a predicate.",
            "Create it with SELECT dp.create_index(...) or CALL dp.create_index_concurrently(...).",
        )
    leaves = catalog.leaves(index.oid, None)
    if index.is_chosen and index.marked == len(leaves):
        return change.nothing(f"{change.target.identifier} is ordered by this index already")
    return change.run(plan.order_operations(change.target.identifier, index, leaves))


def check_sample(sample_pages: int) -> None:
    """Refuse what is no number of pages."""
    if sample_pages < 1:
        raise errors.InvalidParameter.of("sample_pages", sample_pages, "It is 1 or more.")


def order(hierarchy: Hierarchy, table: Table) -> OrderIndex | None:
    """The index of a table's order."""
    return plan.choose(hierarchy, table, catalog.indexes(table.oid))


def tell_missing(hierarchy: Hierarchy, table: Table) -> None:
    """A table without an index to order it by is told of, and left as it is."""
    wanted = plan.wanted_columns(hierarchy, table)
    database.notice(
        f"{table.identifier} has no index to order it by ({', '.join(wanted)}): left out; dp.cluster makes one where it"
        " has a second session, or create one with dp.create_index_concurrently, or choose another with"
        " dp.set_cluster_order"
    )
