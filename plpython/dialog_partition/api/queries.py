"""explain, audit_queries: what queries read of the hierarchies, and what they lack."""

from __future__ import annotations

from typing import NamedTuple

from .. import database, errors
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import queries as catalog
from ..catalog import server as catalog_server
from ..catalog import statements as catalog_statements
from ..model import Hierarchy
from ..plan import advice, advice_joins, query_plan, query_text
from ..plan.advice import Advice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..catalog.statements import Statement
    from ..plan.query_text import Token

NOT_PLANNED = "not planned"
MAX_TOLD = 3


class AuditRow(NamedTuple):
    """One row of dp.audit_queries."""

    queryid: int
    role: str | None
    calls: int
    total_ms: float
    tbl: str | None
    alias: str | None
    finding: str
    detail: str
    advice: str | None
    leaves_scanned: int | None
    leaves: int | None
    query: str


def explain(query: str, search_path: str) -> list[Advice]:
    """What a query reads, and what it lacks; see sql/functions/explain.sql.j2."""
    return _advised(query_text.one_statement(query), search_path)


def audit_queries(root: int | None, max_queries: int, search_path: str) -> list[AuditRow]:
    """What the counted statements lack, the most expensive first; see sql/functions/audit_queries.sql.j2."""
    if max_queries < 1:
        raise errors.InvalidParameter.of("max_queries", str(max_queries), "It is at least 1.")
    if root is None:
        hierarchies, _ = catalog_hierarchy.load_readable([each.oid for each in catalog_hierarchy.roots()])
    else:
        hierarchies = [catalog_hierarchy.load(root)]
    tables = {table.identifier.text: table.name for hierarchy in hierarchies for table in hierarchy.tables}
    found: list[AuditRow] = []
    for statement, query in _about(set(tables.values()), _counted())[:max_queries]:
        try:
            lacking = [each for each in _planned(statement, query, search_path) if each.advice is not None]
        except (errors.PartitionError, database.ServerError) as error:
            if isinstance(error, database.ServerError) and database.is_cancel(error):
                raise
            found.append(_row(statement, Advice("", "", NOT_PLANNED, f"{error}."))._replace(tbl=None, alias=None))
            continue
        found += [_row(statement, each) for each in lacking if each.tbl in tables]
    return found


def _counted() -> list[Statement]:
    """The statements that the server has counted, those of other roles only where the caller may read them."""
    schema = catalog_statements.schema()
    if schema is None:
        raise errors.NotInPrerequisiteState(
            "extension pg_stat_statements is not installed in this database",
            "It ships with PostgreSQL, among the contrib modules, and counts what each statement costs.",
            "Add it to shared_preload_libraries, restart the server, and run CREATE EXTENSION pg_stat_statements;"
            " as a superuser.",
        )
    found = catalog_statements.counted(schema)
    hidden = sum(each.query == catalog_statements.HIDDEN for each in found)
    if hidden:
        database.notice(
            f"{hidden} statements of other roles are left out, because you may not read them: a superuser may"
            " GRANT pg_read_all_stats TO you"
        )
    return [each for each in found if each.query != catalog_statements.HIDDEN]


def _about(names: set[str], counted: list[Statement]) -> list[tuple[Statement, list[Token]]]:
    """Those that name one of some tables, and are planned at all."""
    folded = {name.lower() for name in names}
    found = []
    for statement in counted:
        text = statement.query.lower()
        if not any(name in text for name in folded):
            continue
        try:
            query = query_text.one_statement(statement.query)
        except errors.InvalidParameter:
            continue  # CREATE TABLE, CALL and the like
        if query_text.names(query) & names:
            found.append((statement, query_text.with_casts(query)))
    return found


def _planned(statement: Statement, query: list[Token], search_path: str) -> list[Advice]:
    """What to say about a counted statement; none that would run code of others with the caller's rights."""
    code = [] if statement.is_own else catalog_statements.others_code(query_text.names(query))
    if code:
        told = ", ".join(code[:MAX_TOLD]) + (", ..." if len(code) > MAX_TOLD else "")
        raise errors.InsufficientPrivilege(
            f"{statement.role} ran it, and planning it might run code of others with your rights (call as their owner):"
            f" {told}"
        )
    return _advised(query, search_path)


def _row(statement: Statement, said: Advice) -> AuditRow:
    return AuditRow(
        statement.queryid,
        statement.role,
        statement.calls,
        statement.total_ms,
        said.tbl,
        said.alias,
        said.finding,
        said.detail,
        said.advice,
        said.leaves_scanned,
        said.leaves,
        statement.query,
    )


def _advised(query: list[Token], search_path: str) -> list[Advice]:
    """All there is to say about one statement."""
    root = catalog.plan(query, search_path)
    names = query_text.names(query)
    relations = query_plan.relations(root)
    leaves, roots = catalog.leaves(relations)
    named = catalog.named(names)
    found = catalog_hierarchy.load_all(sorted(roots | set(named.values()))) if roots or named else []
    by_table = {table.oid: hierarchy for hierarchy in found for table in hierarchy.tables}
    tables = {table.oid: table.name for hierarchy in found for table in hierarchy.tables}
    plan = query_plan.read(root, leaves, names, tables)
    result = advice.of_readings(plan, by_table, _identities(by_table), catalog.sides(relations))
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
