"""What was generated for a hierarchy names its tables: when they have got other names, it is made to follow."""

from __future__ import annotations

from ..catalog import lookup as catalog
from ..model import Hierarchy
from ..operation import Operation, Step
from ..plan import keeping
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
