"""Pages that are there."""

from __future__ import annotations

from .. import database
from ..plan.page import MARK, Page, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Hierarchy


def present(hierarchy: Hierarchy) -> list[tuple[Page, str]]:
    """The pages of a hierarchy's tables, and what they do now."""
    rows = database.query(
        "SELECT n.nspname AS schema, p.proname AS name, p.prosrc AS body, c.oid AS tbl"
        " FROM pg_class c JOIN pg_proc p ON p.prorettype = c.reltype AND p.proretset AND p.proowner = c.relowner"
        " JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE c.oid = ANY ($1) AND starts_with(p.prosrc, $2) ORDER BY p.oid",
        ("oid[]", "text"),
        ([table.oid for table in hierarchy.tables], MARK),
    )
    return [(read(hierarchy.table(row["tbl"]), row["schema"], row["name"], row["body"]), row["body"]) for row in rows]


def is_taken(page: Page) -> bool:
    """Whether its schema has a function of its name that is no page of its table."""
    rows = database.query(
        "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = $1 AND p.proname = $2 AND NOT (starts_with(p.prosrc, $3)"
        " AND p.prorettype = (SELECT c.reltype FROM pg_class c WHERE c.oid = $4))",
        ("text", "text", "text", "oid"),
        (page.schema, page.name, MARK, page.table.oid),
    )
    return bool(rows)


def schemas_of(search_path: str) -> tuple[str, ...]:
    """The schemas that a search_path stands for now, without the server's own and the session's temporary one."""

    def shown() -> tuple[str, ...]:
        database.set_local("search_path", search_path)
        query = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[] AS schemas"
        return tuple(name for name in database.query(query)[0]["schemas"] if not name.startswith("pg_"))

    return database.rolled_back(shown)
