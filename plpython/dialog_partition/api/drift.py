"""drift, sync: what differs from parent and template, and bringing it back."""

from __future__ import annotations

from typing import NamedTuple

from ..catalog import drift as catalog_drift
from ..catalog import hierarchy as catalog_hierarchy
from ..model import Hierarchy
from ..operation import merged
from ..plan import drift as plan
from . import calls


class DriftRow(NamedTuple):
    """One row of dp.drift."""

    tbl: str
    relation: str
    aspect: str
    part: str
    expected: str | None
    actual: str | None
    statement: str | None


def drift(root: int | None) -> list[DriftRow]:
    """What differs, of one hierarchy or all; see sql/functions/drift.sql.j2."""
    if root is not None:
        return _rows(catalog_hierarchy.load(root))
    hierarchies, _ = catalog_hierarchy.load_readable([each.oid for each in catalog_hierarchy.roots()])
    return [row for hierarchy in hierarchies for row in _rows(hierarchy)]


def _rows(hierarchy: Hierarchy) -> list[DriftRow]:
    return [
        DriftRow(
            facts.table.identifier.text,
            each.relation.text,
            each.aspect,
            each.part,
            each.expected,
            each.actual,
            each.statement,
        )
        for facts in catalog_drift.read(hierarchy)
        for each in plan.differences(facts)
    ]


def sync(root: int, rewrite: bool, dry_run: bool) -> None:
    """Bring everything back that has a statement; see sql/procedures/sync.sql.j2."""
    hierarchy, call = calls.open_procedure("sync", root, dry_run)
    for table in hierarchy.tables:
        steps = plan.steps(catalog_drift.read_table(table), rewrite=rewrite)
        calls.run_in_procedure(merged(steps, call.lock_budget), call)
