"""What was generated for a hierarchy names its tables: when they have got other names, it is made to follow."""

from __future__ import annotations

from .. import database, execute
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import joined_lookup as catalog_joined
from ..catalog import lookup as catalog
from ..catalog import page as catalog_page
from ..model import Hierarchy, SliceSpec, Table
from ..operation import Operation, Step
from ..plan import joined_lookup as plan_joined
from ..plan import keeping, lifecycle
from ..plan import lookup as plan
from ..plan import page as plan_page
from ..plan.kept_plans import newest
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execute import Context
    from ..plan.function_settings import Setting
    from ..sql import SQL, Identifier

FUNCTION_LOCKS = 6


def operations(hierarchy: Hierarchy) -> list[Operation]:
    """Trigger functions of global indexes, lookup functions, pages and joined lookups."""
    found = []
    for table in hierarchy.tables:
        for side in table.global_indexes:
            if not catalog.names_its_table(side):
                statement = keeping.keeper(catalog.wanted(table, side))
                found.append(Operation(side.identifier, statement, locks=FUNCTION_LOCKS))
    return found + _of_lookups(hierarchy, plan.follow) + of_queries(hierarchy)


def _of_lookups(hierarchy: Hierarchy, change: Callable[[plan.Lookup, plan.Present], list[SQL]]) -> list[Operation]:
    """What a change asks for of each lookup function that is there."""
    found = []
    for table in hierarchy.tables:
        for side in table.global_indexes:
            for lookup in catalog.served(hierarchy, table, side):
                present = catalog.present(lookup)
                if present is not None:
                    found += _of_function(lookup.identifier, change(lookup, present), present.settings)
    return found


def of_renamed_column(hierarchy: Hierarchy, table: Table, old: str, new: str) -> list[Operation]:
    """Lookups by a column that gets another name are named after it, as are their parameters, which cannot be renamed.

    The hierarchy may be read before or behind the change.
    """
    found: list[Operation] = []
    for owner in hierarchy.tables:
        for side in owner.global_indexes:
            for lookup in catalog.served(hierarchy, owner, side):
                former, renamed = (
                    lookup._replace(columns=tuple(name if each in (old, new) else each for each in lookup.columns))
                    for name in (old, new)
                )
                if lookup.table.oid != table.oid or former.columns == renamed.columns:
                    continue
                present = catalog.present(former)
                if present is not None:
                    statements = plan.rename_parameters(renamed, present)
                    found += _of_function(renamed.identifier, statements, present.settings)
    return found


def of_queries(hierarchy: Hierarchy) -> list[Operation]:
    """What the pages and joined lookups that are there lack."""
    points = newest(hierarchy)
    found = []
    for page in catalog_page.present(hierarchy):
        found += _of_function(page.page.identifier, plan_page.refresh(page, points), page.settings)
    for joined in catalog_joined.present(hierarchy):
        statements = plan_joined.refresh(joined, hierarchy.policy.partition_keys, points)
        found += _of_function(joined.identifier, statements, joined.settings)
    return found


def _of_function(function: Identifier, statements: list[SQL], settings: tuple[Setting, ...]) -> list[Operation]:
    """A function is written anew; it cannot keep what its owner may not give it."""
    lost = [each.name for each in settings if not each.is_allowed] if statements else []
    if lost:
        database.warning(
            f"function {function} is written anew and loses what a superuser has set for it: {', '.join(lost)}."
            " ALTER FUNCTION ... SET gives it again."
        )
    return [Operation(function, each, locks=FUNCTION_LOCKS) for each in statements]


def warn_of_queries(hierarchy: Hierarchy, then: Hierarchy) -> None:
    """A joined lookup that has no index any more stays, for its query is the caller's: with another it works again."""
    working = {each.identifier for each in catalog_joined.present(then) if each.lookup is not None}
    for each in catalog_joined.present(hierarchy):
        if each.lookup is not None and each.identifier not in working:
            database.warning(f"joined lookup {each.identifier} fails until there is another global index of the column")


def run(hierarchy: Hierarchy, call: Context) -> None:
    """Make them follow in the caller's transaction."""
    found = operations(hierarchy)
    if found:
        calls.run_in_function([Step(tuple(found), is_atomic=True)], call)


def new_slices(hierarchy: Hierarchy) -> list[Operation]:
    """Lookup functions, pages and joined lookups whose newest slices are not those of the hierarchy."""
    return _of_lookups(hierarchy, plan.refresh) + of_queries(hierarchy)


def run_new_slices(hierarchy: Hierarchy, specs: list[SliceSpec], call: Context) -> None:
    """Lookups, pages and joined lookups know the slices that a procedure has made."""
    if not any(table.global_indexes for table in hierarchy.tables) and not catalog_page.present(hierarchy):
        return
    if call.mode == execute.DRY_RUN:
        hierarchy = lifecycle.with_new(hierarchy, specs)
    else:
        hierarchy = catalog_hierarchy.load(hierarchy.root.oid)
    found = new_slices(hierarchy)
    if found:
        calls.run_in_procedure([Step(tuple(found), is_atomic=True)], call)
