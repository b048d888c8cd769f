"""Writable views follow their tables: what a call must change of them, before it and behind it."""

from __future__ import annotations

from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import writable_view as catalog
from ..operation import Operation, Step
from ..plan import writable_view as plan
from ..plan.writable_view import PresentView
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..model import Hierarchy, Table
    from ..sql import SQL, Identifier

NEW_VIEW_LOCKS = 12  # entries of the lock table: the view, its functions, their names


def drop_operations(views: list[PresentView]) -> list[Operation]:
    """Views stand in the way of a change: they go first."""
    return [
        Operation(each.identifier, statement, relations=(each.oid,), locks=3)
        for each in views
        for statement in plan.removal(each)
    ]


def of_table(root: int, table: int) -> list[PresentView]:
    """The writable views of one table."""
    return [each for each in catalog.of_root(root) if each.table == table]


def printed(hierarchy: Hierarchy, views: list[PresentView], changed: set[str] | None = None) -> list[Operation]:
    """The calls that bring views up to date, for a dry run, which cannot see what its statements will make.

    Those of some tables only, where no other tables are changed.
    """
    tables = {table.oid: table for table in hierarchy.tables if changed is None or table.identifier.text in changed}
    return [
        Operation(each.identifier, plan.create_call(tables[each.table].identifier, each.access.schema), locks=0)
        for each in views
        if each.table in tables
    ]


def operations(hierarchy: Hierarchy, views: list[PresentView], gone: tuple[PresentView, ...] = ()) -> list[Operation]:
    """What brings views up to date; those that had to go first are made anew."""
    tables = {table.oid: table for table in hierarchy.tables}
    found = []
    for present in views:
        if present.table in tables:
            wanted = catalog.wanted(hierarchy, tables[present.table], present.access.schema)
            found += _of(wanted.identifier, plan.changes(wanted, present), (present.oid,))
    for present in gone:
        found += new(hierarchy, tables[present.table], present.access.schema)
    return found


def new(hierarchy: Hierarchy, table: Table, schema: str) -> list[Operation]:
    """A view that is not there."""
    wanted = catalog.wanted(hierarchy, table, schema)
    return _of(wanted.identifier, plan.creation(wanted), ())


def refresh(context: Context, gone: tuple[PresentView, ...] = ()) -> list[Operation]:
    """Bring all views of a hierarchy up to date with what a call has made of its tables; says what was done."""
    views = catalog.of_root(context.root)
    if not views and not gone:
        return []
    return operations(catalog_hierarchy.load(context.root), views, gone)


def run_refresh(context: Context, gone: tuple[PresentView, ...] = ()) -> None:
    """The same, and run it in the caller's transaction."""
    found = refresh(context, gone)
    if found:
        calls.run_in_function([Step(tuple(found), is_atomic=True)], context._replace(search_path=None))


def _of(target: Identifier, statements: list[SQL], relations: tuple[int, ...]) -> list[Operation]:
    """All statements of a view lock the same."""
    return [
        Operation(target, each, relations=relations, locks=0 if place else NEW_VIEW_LOCKS)
        for place, each in enumerate(statements)
    ]
