"""create_writable_view, create_writable_views, drop_writable_view, drop_writable_views."""

from __future__ import annotations

from .. import errors
from ..catalog import server as catalog_server
from ..catalog import writable_view as catalog
from ..model import Hierarchy, Table
from ..operation import Operation, Step
from ..plan.ownership import synchronise
from ..plan.writable_view import FILL, INSERT, PresentView
from ..sql import Identifier
from . import calls, view_upkeep
from .alteration import LOCKS_OF_CALL, Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..printing import PlanRow


def create_writable_view(tbl: int, schema: str, dry_run: bool) -> list[PlanRow]:
    """Make a view of a table, or bring it up to date; see sql/functions/create_writable_view.sql.j2."""
    change = Alteration("create_writable_view", tbl, dry_run)
    hierarchy, table = change.target.hierarchy, change.target.table
    operations = _create(hierarchy, [table], schema)
    if not operations:
        return calls.nothing_to_do(f"{Identifier(schema, table.name)} is a writable view of {table.identifier} already")
    return _run(operations, change.context)


def create_writable_views(root: int, schema: str, dry_run: bool) -> list[PlanRow]:
    """The same for all tables of a hierarchy; see sql/functions/create_writable_views.sql.j2."""
    hierarchy, call = calls.open_function("create_writable_views", root, dry_run)
    operations = _create(hierarchy, list(hierarchy.tables), schema)
    if not operations:
        return calls.nothing_to_do(f"all tables of {hierarchy.root.identifier} have their writable view already")
    return _run(operations, call)


def drop_writable_view(view: int, dry_run: bool) -> list[PlanRow]:
    """Drop a view; see sql/functions/drop_writable_view.sql.j2."""
    root = catalog.root_of(view)
    if root is None:
        raise errors.UndefinedObject(
            f"{catalog_server.relation_name(view)} is no writable view",
            "dp.writable_view_config does not name it.",
            "Name a view that dp.create_writable_view has made.",
        )
    _, call = calls.open_function("drop_writable_view", root, dry_run)
    return _run(view_upkeep.drop_operations([each for each in catalog.of_root(root) if each.oid == view]), call)


def drop_writable_views(root: int, schema: str | None, dry_run: bool) -> list[PlanRow]:
    """Drop the views of a hierarchy; see sql/functions/drop_writable_views.sql.j2."""
    hierarchy, call = calls.open_function("drop_writable_views", root, dry_run)
    views = [each for each in catalog.of_root(root) if schema is None or each.access.schema == schema]
    if not views:
        return calls.nothing_to_do(f"{hierarchy.root.identifier} has no writable views there")
    return _run(view_upkeep.drop_operations(views), call)


def _run(operations: list[Operation], call: Context) -> list[PlanRow]:
    first = operations[0]._replace(locks=operations[0].locks + LOCKS_OF_CALL)
    return calls.run_in_function([Step((first, *operations[1:]), is_atomic=True)], call)


def _create(hierarchy: Hierarchy, tables: list[Table], schema: str) -> list[Operation]:
    present = {each.table: each for each in catalog.of_root(hierarchy.root.oid) if each.access.schema == schema}
    found = []
    for table in tables:
        catalog.check_schema(table, schema)
        view = present.get(table.oid)
        _check(hierarchy, table, schema, view)
        if view is not None:
            found += view_upkeep.operations(hierarchy, [view])
        else:
            found += view_upkeep.new(hierarchy, table, schema)
    return found


def _check(hierarchy: Hierarchy, table: Table, schema: str, present: PresentView | None) -> None:
    """The names are free, and what is there belongs to the table's owner."""
    wanted = catalog.wanted(hierarchy, table, schema)
    view = wanted.identifier
    if present is None or present.identifier != view:
        if catalog_server.existing_relations(schema, [table.name]):
            raise errors.DuplicateTable(
                f"relation {view} already exists",
                f"The writable view of {table.identifier} has its name.",
                "Rename or drop it, or choose another schema.",
            )
    elif present.access.owner != table.owner:
        raise errors.InsufficientPrivilege(
            f"writable view {view} belongs to {present.access.owner}",
            f"What it fills in is looked up as the owner of {table.identifier}, who is {table.owner}.",
            f"{synchronise(hierarchy.root.identifier)} as a superuser, or as a member of both roles, gives it away.",
        )
    own = {(where, name) for where, name, _ in present.functions} if present is not None else set()
    names = [wanted.function(purpose).name for purpose in (FILL, INSERT)]
    taken = catalog.taken_function(schema, [name for name in names if (schema, name) not in own], wanted.comment)
    if taken is not None:
        raise errors.DuplicateObject(
            f"function {Identifier(schema, taken)}() already exists",
            f"The writable view of {table.identifier} has trigger functions of these names.",
            "Rename or drop it, or choose another schema.",
        )
