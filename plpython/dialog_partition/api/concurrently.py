"""create_index_concurrently, drop_index_concurrently, reindex_concurrently: indexes of whole tables."""

from __future__ import annotations

from .. import database, errors, execute, fragments, progress, remote
from ..catalog import alter as catalog_alter
from ..catalog import online as catalog_online
from ..catalog import server as catalog_server
from ..operation import Step
from ..plan import online as plan
from ..plan.index_statement import create_index_statement
from ..plan.online import Index, Part, Wanted
from ..sql import SQL, Identifier
from . import calls
from .alteration import Alteration
from .constraints import check_unique, refuse_constraint_index, refuse_needed_index, refuse_other_index
from .probing import PROBE

MAX_ROUNDS = 10  # what others add to a table meanwhile is looked for again, but not for ever


def create_index_concurrently(
    tbl: int,
    index_name: str,
    definition: str,
    is_unique: bool,
    connection: str | None,
    search_path: str,
    dry_run: bool,
) -> None:
    """Create an index leaf by leaf; see sql/procedures/create_index_concurrently.sql.j2."""
    fragments.check("definition", definition)
    call = "create_index_concurrently"
    change = Alteration(call, tbl, dry_run, search_path, is_procedure=True)
    parts = catalog_online.parts(tbl)
    index = _top(parts, index_name)
    present = catalog_alter.index(tbl, index_name)
    if present is not None and not catalog_server.server().is_standby:
        refuse_other_index(change, index_name, present, definition, is_unique=is_unique)
    if index is not None and index.is_valid:
        change.nothing(f'{change.target.identifier} has index "{index_name}" already')
        return
    if index is None and is_unique:
        check_unique(change, index_name, definition)
    build(change, parts, Wanted(index_name, definition, is_unique), connection)


def build(change: Alteration, parts: tuple[Part, ...], given: Wanted, connection: str | None) -> None:
    """Build an index that is missing, or that a stopped call began."""
    table = change.target.table.oid
    wanted = _wanted(change, _top(parts, given.name), given)
    _refuse_taken_names(parts, wanted)
    for number in range(MAX_ROUNDS):
        steps = plan.create_index(parts, wanted, is_quick=number == 0)
        if not steps:
            break
        run_counted(change, steps, given.name, connection)
        # it is valid when each partition has one: then none of thousands needs to be looked at again
        if change.context.mode == execute.DRY_RUN or not catalog_alter.disagreeing("index", table, given.name):
            return
        parts = catalog_online.parts(table)
    raise errors.NotInPrerequisiteState(
        f'index "{given.name}" of {change.target.identifier} is not valid',
        "A partition has none that is valid and equal, though all that were found have been built.",
        "Call again; if it stays, SELECT * FROM dp.drift(...) may say what differs.",
    )


def _top(parts: tuple[Part, ...], name: str) -> Index | None:
    return next((index for index in parts[0].indexes if index.name == name), None)


def _wanted(change: Alteration, index: Index | None, given: Wanted) -> Wanted:
    """The definition as PostgreSQL deparses it: of the index that a stopped call began, else of one on the template.

    It means the same whatever the search_path is, and equal indexes are found by it. That the template can have the
    index shows that leaves can, before anything is changed.
    """
    if index is not None:
        change.context = change.context._replace(search_path=None)
        return catalog_online.like(index.identifier.text, given.name)
    template = change.target.table.template
    if template is None or catalog_server.server().is_standby:
        return given
    statement = create_index_statement(template, Identifier(PROBE), SQL(given.definition), is_unique=given.is_unique)

    def made() -> Wanted:
        execute.probe(statement.text, change.context)
        return catalog_online.like(Identifier(template_schema(change), PROBE).text, given.name)

    wanted = database.rolled_back(made)
    change.context = change.context._replace(search_path=None)
    return wanted


def template_schema(change: Alteration) -> str:
    """Where the template stands, and its indexes."""
    return str(change.target.table.template_schema)


def _refuse_taken_names(parts: tuple[Part, ...], wanted: Wanted) -> None:
    for schema, names in plan.taken_names(parts, wanted).items():
        taken = sorted(catalog_server.existing_relations(schema, names))
        if taken:
            raise errors.DuplicateTable(
                f"relation {Identifier(schema, taken[0])} already exists, and is no index that is wanted here",
                "The index of each partition is named by the partition and the index.",
                "Rename or drop it, or choose another index_name.",
            )


def run_counted(change: Alteration, steps: list[Step], about: str, connection: str | None = None) -> None:
    """Run the steps, with a second session where one is needed; or print them."""
    if change.context.mode != execute.DRY_RUN:
        if not all(step.in_transaction for step in steps):
            remote.open_session(change.context, connection)
        progress.begin(change.context, change.target.table.oid, about, len(steps))
        execute.commit(change.context)
    calls.run_in_procedure(steps, change.context)
    if change.context.mode != execute.DRY_RUN:
        progress.end()
        execute.commit(change.context)


def drop_index_concurrently(tbl: int, index_name: str, connection: str | None, dry_run: bool) -> None:
    """Drop an index with short locks only; see sql/procedures/drop_index_concurrently.sql.j2."""
    change = Alteration("drop_index_concurrently", tbl, dry_run, is_procedure=True)
    parts = catalog_online.parts(tbl)
    index = _top(parts, index_name)
    if index is None:
        change.nothing(f'{change.target.identifier} has no index "{index_name}"')
        return
    refuse_constraint_index(change, index_name)
    refuse_needed_index(change, index_name)
    wanted = catalog_online.like(index.identifier.text, index_name)
    run_counted(change, plan.drop_index(change.target, parts, wanted), index_name, connection)


def reindex_concurrently(tbl: int, index_name: str, connection: str | None, dry_run: bool) -> None:
    """Build the leaves of an index anew; see sql/procedures/reindex_concurrently.sql.j2."""
    change = Alteration("reindex_concurrently", tbl, dry_run, is_procedure=True)
    parts = catalog_online.parts(tbl)
    index = _top(parts, index_name)
    if index is None:
        raise errors.UndefinedObject(
            f'{change.target.identifier} has no index "{index_name}"',
            f"Its indexes are {', '.join(each.name for each in parts[0].indexes)}.",
            "Write the name as it is in the catalog, without double quotes.",
        )
    built = catalog_online.built_since(change.context.root, change.context.call, tbl, index_name)
    run_counted(change, plan.reindex(parts, index, built), index_name, connection)
