"""drift, sync: what differs from parent and template, and bringing it back."""

from __future__ import annotations

from typing import NamedTuple

from ..catalog import adoption as catalog_adoption
from ..catalog import drift as catalog_drift
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import structure as catalog_structure
from ..model import Hierarchy
from ..operation import Operation, Step, merged
from ..plan import declare as plan_declare
from ..plan import drift as plan
from . import ageing, calls, following, ownership, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..model import Table


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
        for facts in catalog_drift.read(hierarchy, ageing.aged(hierarchy))
        for each in plan.differences(facts)
    ]


def sync(root: int, rewrite: bool, dry_run: bool) -> None:
    """Bring everything back that has a statement; see sql/procedures/sync.sql.j2."""
    hierarchy, call = calls.open_procedure("sync", root, dry_run, runs_code=False)
    ownership.synchronise(hierarchy, call)
    calls.refuse_code(hierarchy)
    policies = ageing.aged(hierarchy)
    for table in hierarchy.tables:
        facts = catalog_drift.read_table(_with_template(table, call), policies)
        steps = plan.steps(facts, rewrite=rewrite)
        calls.run_in_procedure(merged(steps, call.lock_budget), call)
    named = following.operations(hierarchy)
    if named:
        calls.run_in_procedure([Step(tuple(named), is_atomic=True)], call)


def _with_template(table: Table, call: Context) -> Table:
    """A table whose template is there. A lost one is made anew as the newest leaf is, which stands for it from then on.

    The leaf stands for it because a dry run makes none.
    """
    if table.template_oid is not None:
        return table
    structure = catalog_structure.read(table.oid)
    requirements.check_template(structure)
    leaf = catalog_adoption.newest_leaf(table.oid)
    statements = plan_declare.template_statements(structure, catalog_properties.read(table.oid, leaf))
    statements.append(plan_declare.new_template_statement(structure))
    calls.run_in_procedure([Step(tuple(Operation(structure.identifier, each) for each in statements))], call)
    return table._replace(template_oid=leaf)
