"""clustering, cluster, set_cluster_order: the order in which the rows of leaves lie on disk."""

from __future__ import annotations

import time
from typing import NamedTuple

from .. import database, errors, execute, remote
from ..catalog import cache as catalog_cache
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import physical_order as catalog
from ..model import Hierarchy, Slice, Table
from ..plan import physical_order as plan
from ..plan.cache import HEAP
from ..plan.physical_order import Leaf, OrderIndex
from ..sql import Identifier
from . import calls, window
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context, PlanRow

SCOPES = ("closed", "all")


class ClusteringRow(NamedTuple):
    """One row of dp.clustering."""

    tbl: str
    leaf: str
    index_name: str
    pages: int
    disorder: float | None
    modified_since_analyze: int
    last_ordered: str | None


class Due(NamedTuple):
    """A leaf that is to be ordered."""

    disorder: float
    leaf: Leaf
    prewarm: Identifier | None = None  # what reads it into the cache again, where it was there


def clustering(root: int, sample_pages: int) -> list[ClusteringRow]:
    """How disordered each leaf is; see sql/functions/clustering.sql.j2."""
    _check_sample(sample_pages)
    hierarchy = catalog_hierarchy.load(root)
    calls.hierarchy_context("clustering", hierarchy, execute.DRY_RUN)  # reading may run code of the owner, too
    found: list[ClusteringRow] = []
    for table in hierarchy.tables:
        index = _order(hierarchy, table)
        if index is None:
            continue
        groups = plan.group_columns(hierarchy, table, index)
        leaves = catalog.leaves(index.oid, None)
        use = catalog.use(root, leaves)
        for leaf in leaves:
            disorder = catalog.disorder(leaf, index, groups, sample_pages)
            used = use[leaf.oid]
            found.append(
                ClusteringRow(
                    table.identifier.text,
                    leaf.identifier.text,
                    index.name,
                    leaf.pages,
                    disorder,
                    used["modified"],
                    used["ordered"],
                )
            )
    return sorted(found, key=lambda row: -(row.disorder or 0))


def cluster(
    root: int,
    threshold: float,
    time_budget: str,
    scope: str,
    vacuum: bool,
    sample_pages: int,
    connection: str | None,
    dry_run: bool,
) -> None:
    """Order the leaves that need it, worst first; see sql/procedures/cluster.sql.j2."""
    _check_sample(sample_pages)
    if not threshold >= 1:
        raise errors.InvalidParameter.of("threshold", threshold, "It is 1, the perfect order, or more.")
    if scope not in SCOPES:
        raise errors.InvalidParameter.of("scope", scope, f"It is one of {', '.join(SCOPES)}.")
    budget = catalog.seconds(time_budget)
    if budget <= 0:
        raise errors.InvalidParameter.of("time_budget", time_budget, "It must be longer than nothing.")
    ends = time.monotonic() + budget
    hierarchy, call = calls.open_procedure("cluster", root, dry_run)
    warm = _warm_leaves(hierarchy)  # before measuring, which reads some pages of each
    due = [each._replace(prewarm=warm.get(each.leaf.oid)) for each in _due(hierarchy, threshold, scope, sample_pages)]
    if not due:
        database.notice(f"no leaf of {call.root_name} is disordered {threshold} times or more: nothing to do")
        return
    if vacuum and not dry_run:
        remote.open_session(call, connection)
        execute.commit(call)
    _order_all(due, call, vacuum, ends)


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


def _check_sample(sample_pages: int) -> None:
    if sample_pages < 1:
        raise errors.InvalidParameter.of("sample_pages", sample_pages, "It is 1 or more.")


def _order(hierarchy: Hierarchy, table: Table) -> OrderIndex | None:
    """The index of a table's order; a table without one is told of, and left as it is."""
    index = plan.choose(hierarchy, table, catalog.indexes(table.oid))
    if index is None:
        wanted = plan.wanted_columns(hierarchy, table)
        database.notice(
            f"{table.identifier} has no index to order it by ({', '.join(wanted)}): left out; create one with"
            " dp.create_index or dp.create_index_concurrently, or choose another with dp.set_cluster_order"
        )
    return index


def _due(hierarchy: Hierarchy, threshold: float, scope: str, sample_pages: int) -> list[Due]:
    """The leaves at the threshold or above it, worst first."""
    found: list[Due] = []
    for table in hierarchy.tables:
        index = _order(hierarchy, table)
        if index is None:
            continue
        groups = plan.group_columns(hierarchy, table, index)
        slices = None if scope == "all" else _closed(hierarchy, table)
        for leaf in catalog.leaves(index.oid, slices):
            disorder = catalog.disorder(leaf, index, groups, sample_pages)
            if disorder is not None and disorder >= threshold:
                found.append(Due(disorder, leaf))
    return sorted(found, key=lambda each: (-each.disorder, each.leaf.identifier.text))


def _closed(hierarchy: Hierarchy, table: Table) -> list[Slice]:
    """The slices whose time is over; of numbers without a calendar none is."""
    now = window.current_point(hierarchy)
    if now is None:
        return []
    return [each for each in hierarchy.range_slices(table) if each.upper is not None and each.upper.point <= now]


def _warm_leaves(hierarchy: Hierarchy) -> dict[int, Identifier]:
    """The leaves that are in the cache for the most part, with the function that reads them into it again."""
    prewarm, buffercache = catalog_cache.facility("pg_prewarm"), catalog_cache.facility("pg_buffercache")
    if prewarm is None or buffercache is None or not (prewarm.usable and buffercache.usable):
        return {}
    heaps = [each for each in catalog_cache.candidates(hierarchy, []) if each.kind == HEAP]
    resident = catalog_cache.resident(heaps, buffercache)
    function = Identifier(prewarm.schema, "pg_prewarm")
    return {each.oid: function for each in heaps if resident.get(each.oid, 0) * 2 >= each.size}


def _order_all(due: list[Due], call: Context, vacuum: bool, ends: float) -> None:
    """One leaf after the other, as long as the next is likely to be done in time; a busy one does not stop the rest."""
    failures: list[str] = []
    done_bytes, done_seconds = 0, 0.0
    for position, each in enumerate(due):
        since = time.monotonic()
        speed = done_bytes / done_seconds if done_bytes and done_seconds else plan.FIRST_BYTES_A_SECOND
        if call.mode != execute.DRY_RUN and since + each.leaf.size / speed > ends:
            database.notice(f"the time is over: {len(due) - position} leaves are left to the next call")
            break
        try:
            calls.run_in_procedure(plan.order_steps(each.leaf, vacuum, each.prewarm), call)
        except errors.LockNotAvailable as error:
            failures.append(calls.describe(error))
            calls.record_failure(error, call)
            execute.begin(call)
            continue
        done_bytes += each.leaf.size
        done_seconds += time.monotonic() - since
    if failures:
        raise errors.LockNotAvailable(
            f"{len(failures)} of {len(due)} leaves of {call.root_name} could not be locked",
            " ".join(f"{text}." for text in failures),
            "The others are in order. Call again when nobody uses these.",
        )
