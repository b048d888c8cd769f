"""prewarm, residency: which pages of a hierarchy are in the server's cache."""

from __future__ import annotations

from typing import NamedTuple

from .. import errors
from ..catalog import cache as catalog
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import physical_order as catalog_order
from ..model import Hierarchy
from ..plan import cache as plan
from ..plan import physical_order as plan_order
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..catalog.cache import Facility


class WarmedRow(NamedTuple):
    """One row of dp.prewarm."""

    relation: str
    kind: str
    bytes: int
    resident_before: int | None
    resident_after: int | None
    verdict: str


class ResidencyRow(NamedTuple):
    """One row of dp.residency."""

    tbl: str
    relation: str
    kind: str
    bytes: int
    resident: int


def prewarm(root: int, budget: int | None) -> list[WarmedRow]:
    """Read what matters most into the cache; see sql/functions/prewarm.sql.j2."""
    size = catalog.buffers()
    if budget is None:
        budget = int(size * plan.SHARE_OF_BUFFERS)
    if not 0 <= budget <= size:
        raise errors.InvalidParameter.of(
            "budget", budget, f"It is 0 to {size} bytes, the size of shared_buffers: more would push out what was read."
        )
    calls.check_owner(calls.read_patiently(lambda: catalog_hierarchy.load(root)))
    tool = _usable("pg_prewarm")
    buffercache = catalog.facility("pg_buffercache")
    found = plan.chosen(calls.read_patiently(lambda: _candidates(root)), budget)
    before = _resident(found, buffercache)
    verdicts = [catalog.warm(each, tool) if fits else plan.LEFT_OUT for each, fits in found]
    after = _resident(found, buffercache)
    return [
        WarmedRow(
            each.relation,
            each.kind,
            each.size,
            None if before is None else before.get(each.oid, 0),
            None if after is None else after.get(each.oid, 0),
            verdict,
        )
        for (each, _), verdict in zip(found, verdicts)
    ]


def _candidates(root: int) -> list[plan.Candidate]:
    hierarchy = catalog_hierarchy.load(root)
    return catalog.candidates(hierarchy, _critical(hierarchy))


def residency(root: int) -> list[ResidencyRow]:
    """How much of each relation is in the cache; see sql/functions/residency.sql.j2."""
    hierarchy = catalog_hierarchy.load(root)
    buffercache = _usable("pg_buffercache")
    found = catalog.candidates(hierarchy, None)
    resident = catalog.resident(found, buffercache)
    return [
        ResidencyRow(each.tbl, each.relation, each.kind, each.size, resident.get(each.oid, 0))
        for each, _ in plan.chosen(found, 0)
    ]


def _critical(hierarchy: Hierarchy) -> list[int]:
    """The indexes that readers come by: the primary keys, and those of the order."""
    tables = hierarchy.tables
    found = catalog.primary_keys([table.oid for table in tables])
    for table in tables:
        index = plan_order.choose(hierarchy, table, catalog_order.indexes(table.oid))
        found += [index.oid] if index is not None else []
    return found


def _resident(found: list[tuple[plan.Candidate, bool]], buffercache: Facility | None) -> dict[int, int] | None:
    """What is resident; None where the caller cannot know."""
    if buffercache is None or not buffercache.usable:
        return None
    return catalog.resident([each for each, _ in found], buffercache)


def _usable(name: str) -> Facility:
    """An extension that the call cannot do without."""
    found = catalog.facility(name)
    if found is None:
        raise errors.NotInPrerequisiteState(
            f"extension {name} is not installed in this database",
            "It ships with PostgreSQL, among the contrib modules.",
            f"Run CREATE EXTENSION {name}; as a superuser.",
        )
    if not found.usable:
        raise errors.InsufficientPrivilege(
            f"permission denied for extension {name}",
            "Its functions are not granted to you.",
            "Members of pg_monitor may read the cache: GRANT pg_monitor TO <role>;"
            if name == "pg_buffercache"
            else f"Let a superuser grant EXECUTE on the function {name}.",
        )
    return found
