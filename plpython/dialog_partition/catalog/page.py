"""Pages that are there."""

from __future__ import annotations

from .. import database
from ..plan.kept_plans import OWN_SETTINGS
from ..plan.page import MARK, OWN, Page, Present, read
from ..sql import Identifier
from .function_settings import added

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Hierarchy

# The parameters of pg_proc p before those that all pages have, complete in any search_path.
_PARAMETERS = f"""
    (SELECT coalesce(string_agg(concat_ws(' ', quote_ident(nullif(a.name, '')), format_type(a.type, NULL)), ', '
            ORDER BY a.number), '')
        FROM unnest(p.proargtypes::oid[], p.proargnames) WITH ORDINALITY AS a (type, name, number)
        WHERE a.number <= p.pronargs - {len(OWN)})
"""


def present(hierarchy: Hierarchy) -> list[Present]:
    """The pages of a hierarchy's tables, and what they do now."""
    rows = database.query(
        f"SELECT n.nspname AS schema, p.proname AS name, {_PARAMETERS} AS parameters, p.prosrc AS body, c.oid AS tbl,"
        " p.proconfig AS settings, pg_get_userbyid(p.proowner) AS owner"
        " FROM pg_class c JOIN pg_proc p ON p.prorettype = c.reltype AND p.proretset AND p.proowner = c.relowner"
        " JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE c.oid = ANY ($1) AND starts_with(p.prosrc, $2) ORDER BY p.oid",
        ("oid[]", "text"),
        ([table.oid for table in hierarchy.tables], MARK),
    )
    if not rows:
        return []
    schemas = {row["name"] for row in database.query("SELECT nspname AS name FROM pg_namespace")}
    found = [
        (read(hierarchy.table(row["tbl"]), row["schema"], row["name"], row["parameters"], row["body"], schemas), row)
        for row in rows
    ]
    return [
        Present(page, row["body"], added(row["settings"], OWN_SETTINGS, row["owner"]))
        for page, row in found
        if page is not None
    ]


def is_taken(page: Page) -> bool:
    """Whether its schema has a function of its name that is no page of its table."""
    rows = database.query(
        "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = $1 AND p.proname = $2 AND NOT (starts_with(p.prosrc, $3) AND p.proretset"
        " AND p.prorettype = (SELECT c.reltype FROM pg_class c WHERE c.oid = $4))",
        ("text", "text", "text", "oid"),
        (page.schema, page.name, MARK, page.table.oid),
    )
    return bool(rows)


def parameters(function: Identifier) -> str:
    """The parameters of the one function of a name, as a page has them."""
    query = f"SELECT {_PARAMETERS} AS parameters FROM pg_proc p WHERE p.oid = $1::regproc"
    return str(database.query(query, ("text",), (function.text,))[0]["parameters"])
