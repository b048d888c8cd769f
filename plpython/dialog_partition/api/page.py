"""create_page."""

from __future__ import annotations

from .. import database, errors, execute, fragments
from ..catalog import page as catalog
from ..catalog import question as catalog_question
from ..operation import Operation, Step
from ..plan import page as plan
from ..plan import question
from ..plan.kept_plans import newest
from ..plan.page_probe import probes
from . import calls
from .alteration import Alteration
from .following import FUNCTION_LOCKS
from .probing import PROBE, called

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..printing import PlanRow


def create_page(
    tbl: int,
    page_name: str,
    parameters: str,
    condition: str,
    order_by: str,
    keys: str | None,
    search_path: str,
    dry_run: bool,
) -> list[PlanRow]:
    """Create a page; see sql/functions/create_page.sql.j2."""
    if parameters.strip():
        fragments.check_list("parameters", parameters)
    fragments.check("condition", condition)
    fragments.check_list("order_by", order_by)
    if keys is not None:
        fragments.check_list("keys", keys)
    change = Alteration("create_page", tbl, dry_run, search_path)
    table = change.target.table
    if keys is not None and not plan.has_predecessors(str(table.partition_type)):
        raise errors.InvalidParameter.of(
            "keys", keys, f"No {table.partition_type} is the one before another.", "Leave it out."
        )
    path = catalog_question.schemas_of(search_path)
    page = plan.Page(table, table.schema, page_name, parameters, condition, order_by, keys, path)
    if page_name == plan.ROW:
        raise errors.InvalidParameter.of("page_name", page_name, "It is what the pieces call a row.")
    if catalog.is_taken(page):
        raise errors.DuplicateObject(
            f"function {page.identifier} already exists",
            f"It is no page of {table.identifier}.",
            "Choose another page_name.",
        )
    # what names mean in the page is what they mean in the probe, whoever calls
    change.context = change.context._replace(search_path=page.path.text)
    page = page._replace(parameters=database.rolled_back(lambda: _probe(page, change)))
    hierarchy = change.target.hierarchy
    there = [each for each in catalog.present(hierarchy) if each.page.identifier == page.identifier]
    statements = plan.replace(page, there[0] if there else None, newest(hierarchy))
    if not statements:
        return change.nothing(f"page {page.identifier} is there already")
    change.context = change.context._replace(search_path=None)  # the function has its own
    operations = tuple(Operation(page.identifier, each, locks=FUNCTION_LOCKS) for each in statements)
    return calls.run_in_function([Step(operations, is_atomic=True)], change.context)


def _probe(page: plan.Page, change: Alteration) -> str:
    """Look whether the pieces can be understood, before anything is made; the result is the parameters."""
    found: list[str] = []
    for each in probes(page, PROBE):
        execute.probe(each.create.text, change.context)
        signature = catalog_question.signature(each.identifier)
        question.check_names("parameters", signature.names, plan.ROW)
        called(signature, each.identifier, change.context)
        found.append(catalog.parameters(each.identifier))
    return found[0]
