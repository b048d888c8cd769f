"""explain: what queries read of the hierarchies, and what they lack."""

from __future__ import annotations

from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import queries as catalog
from ..catalog import server as catalog_server
from ..model import Hierarchy
from ..plan import advice, advice_joins, query_plan, query_text
from ..plan.advice import Advice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.query_text import Token


def explain(query: str, search_path: str) -> list[Advice]:
    """What a query reads, and what it lacks; see sql/functions/explain.sql.j2."""
    return advised(query_text.one_statement(query), search_path)


def advised(query: list[Token], search_path: str) -> list[Advice]:
    """All there is to say about one statement."""
    root = catalog.plan(query, search_path)
    names = query_text.names(query)
    leaves, roots = catalog.leaves(query_plan.relations(root))
    named = catalog.named(names)
    found = catalog_hierarchy.load_all(sorted(roots | set(named.values()))) if roots or named else []
    by_table = {table.oid: hierarchy for hierarchy in found for table in hierarchy.tables}
    plan = query_plan.read(root, leaves, names)
    result = advice.of_readings(plan, by_table, _identities(by_table))
    setting = advice_joins.Setting(catalog_server.server().partitionwise_join, "collate" in names)
    result += advice_joins.of_joins(plan, by_table, setting)
    if plan.is_refuted:
        read = {leaf.table for leaf in leaves.values()}
        result += [advice.unread(by_table[oid].table(oid), by_table[oid]) for oid in sorted(set(named) - read)]
    return result


def _identities(hierarchies: dict[int, Hierarchy]) -> dict[int, tuple[str, ...]]:
    """What tells the rows of each table apart beside the partition keys."""
    return {
        oid: tuple(name for name in columns if name not in hierarchies[oid].policy.partition_keys)
        for oid, columns in catalog.identities(list(hierarchies)).items()
    }
