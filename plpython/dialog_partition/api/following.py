"""What was generated for a hierarchy names its tables: when they have got other names, it is made to follow."""

from __future__ import annotations

from .. import execute
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import lookup as catalog
from ..model import Hierarchy, SliceSpec
from ..operation import Operation, Step
from ..plan import keeping, lifecycle
from ..plan import lookup as plan
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context

FUNCTION_LOCKS = 6


def operations(hierarchy: Hierarchy) -> list[Operation]:
    """Trigger functions of global indexes, and lookup functions."""
    found = []
    for table in hierarchy.tables:
        for side in table.global_indexes:
            if not catalog.names_its_table(side):
                statement = keeping.keeper(catalog.wanted(table, side))
                found.append(Operation(side.identifier, statement, locks=FUNCTION_LOCKS))
            for lookup in catalog.served(hierarchy, table, side):
                present = catalog.present(lookup)
                if present is not None:
                    statements = plan.follow(lookup, present)
                    found += [Operation(lookup.identifier, each, locks=FUNCTION_LOCKS) for each in statements]
    return found


def run(hierarchy: Hierarchy, call: Context) -> None:
    """Make them follow in the caller's transaction."""
    found = operations(hierarchy)
    if found:
        calls.run_in_function([Step(tuple(found), is_atomic=True)], call)


def new_slices(hierarchy: Hierarchy) -> list[Operation]:
    """Lookup functions whose newest slices are not those of the hierarchy."""
    found = []
    for table in hierarchy.tables:
        for side in table.global_indexes:
            for lookup in catalog.served(hierarchy, table, side):
                present = catalog.present(lookup)
                if present is not None:
                    statements = plan.refresh(lookup, present)
                    found += [Operation(lookup.identifier, each, locks=FUNCTION_LOCKS) for each in statements]
    return found


def run_new_slices(hierarchy: Hierarchy, specs: list[SliceSpec], call: Context) -> None:
    """Lookups know the slices that a procedure has made."""
    if not any(table.global_indexes for table in hierarchy.tables):
        return
    if call.mode == execute.DRY_RUN:
        hierarchy = lifecycle.with_new(hierarchy, specs)
    else:
        hierarchy = catalog_hierarchy.load(hierarchy.root.oid)
    found = new_slices(hierarchy)
    if found:
        calls.run_in_procedure([Step(tuple(found), is_atomic=True)], call)
