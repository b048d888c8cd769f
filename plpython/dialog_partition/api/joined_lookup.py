"""create_joined_lookup."""

from __future__ import annotations

from .. import database, errors, execute, fragments
from ..catalog import global_index as catalog_global_index
from ..catalog import joined_lookup as catalog
from ..catalog import question as catalog_question
from ..operation import Operation, Step
from ..plan import joined_lookup as plan
from ..plan import question
from ..plan.kept_plans import newest, newest_slice
from ..sql import Identifier
from ..sql import search_path as path_of
from . import calls
from .alteration import Alteration
from .following import FUNCTION_LOCKS
from .probing import called

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import GlobalIndex, Hierarchy, Table
    from ..printing import PlanRow


def create_joined_lookup(
    tbl: int,
    lookup_name: str,
    query: str,
    returns: str,
    parameters: str,
    key_column: str | None,
    search_path: str,
    dry_run: bool,
) -> list[PlanRow]:
    """Create a joined lookup; see sql/functions/create_joined_lookup.sql.j2."""
    fragments.check_list("query", query)
    fragments.check_list("returns", returns)
    if parameters.strip():
        fragments.check_list("parameters", parameters)
    if not plan.binds_a_table(query):
        raise errors.InvalidParameter.of(
            "query",
            query,
            "It would be planned for all leaves.",
            "Add the condition dp.has_keys(a) for each partitioned table in it, a being its alias.",
        )
    change = Alteration("create_joined_lookup", tbl, dry_run, search_path)
    hierarchy, table = change.target.hierarchy, change.target.table
    side = _side(table, key_column)
    own = [parameters] if parameters.strip() else []
    arguments = ", ".join([f"{plan.IDS} {catalog_global_index.types(table.oid, side.columns)[0]}[]", *own])
    path = catalog_question.schemas_of(search_path)
    function = Identifier(table.schema, lookup_name)
    lookup = plan.JoinedLookup(function, table, side, arguments, f"TABLE ({returns})", query, path)
    there = catalog.named(hierarchy, function)
    if catalog.is_taken(lookup.identifier, table.schema, there):
        raise errors.DuplicateObject(
            f"function {lookup.identifier} already exists",
            f"It is no joined lookup of the hierarchy of {hierarchy.root.identifier}, or of another owner.",
            "Choose another lookup_name.",
        )
    # what names mean in the function is what they mean in the probe, whoever calls
    change.context = change.context._replace(search_path=path_of(path).text)
    lookup = database.rolled_back(lambda: _probe(lookup, there, hierarchy, change))
    statements = plan.replace(lookup, there, hierarchy.policy.partition_keys, newest(hierarchy))
    if not statements:
        return change.nothing(f"joined lookup {lookup.identifier} is there already")
    change.context = change.context._replace(search_path=None)  # the function has its own
    operations = tuple(Operation(lookup.identifier, each, locks=FUNCTION_LOCKS) for each in statements)
    return calls.run_in_function([Step(operations, is_atomic=True)], change.context)


def _side(table: Table, key_column: str | None) -> GlobalIndex:
    """The global index that tells the keys."""
    sides = [each for each in plan.sides(table) if key_column in (None, each.columns[0])]
    if len(sides) > 1:
        columns = ", ".join(each.columns[0] for each in sides)
        raise errors.InvalidParameter.of("key_column", None, f"There are several: {columns}.", "Name one of them.")
    if not sides:
        raise errors.UndefinedObject(
            f"{table.identifier} has no global index that tells the keys of its rows",
            "It is unique, of one column, and has no predicate.",
            "Make it with dp.create_global_index.",
        )
    return sides[0]


def _probe(
    lookup: plan.JoinedLookup, there: plan.Present | None, hierarchy: Hierarchy, change: Alteration
) -> plan.JoinedLookup:
    """Look whether the query can be understood, before anything is made; the result has the catalog's signature."""
    bounds = newest_slice(hierarchy)
    for each in plan.probe(lookup, there, hierarchy.policy.partition_keys, bounds):
        execute.probe(each.text, change.context)
    signature = catalog_question.signature(lookup.identifier)
    question.check_names("parameters or returns", signature.names)
    database.set_local("enable_partition_pruning", "on")
    before = catalog.planned_slices(hierarchy)
    called(signature, lookup.identifier, change.context)
    after = catalog.planned_slices(hierarchy)
    for table in hierarchy.tables:
        if bounds is not None and len(after[table.oid] - before[table.oid]) > 1:
            raise errors.InvalidParameter.of(
                "query",
                lookup.query,
                f"It reads all leaves of {table.identifier}.",
                "Add the condition dp.has_keys(a), a being its alias.",
            )
    return lookup._replace(arguments=signature.arguments, result=signature.result)
