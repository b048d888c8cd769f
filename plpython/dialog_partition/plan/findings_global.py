"""What is wrong with the global indexes of a hierarchy."""

from __future__ import annotations

from ..model import Hierarchy, Table
from ..sql import SQL, Identifier, Literal, compose, name_array
from .finding import ERROR, Facts, Finding
from .keeping import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import GlobalIndex


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Indexes that do not hold all rows, that are wrong, or that do not see everything."""
    found = []
    for table in hierarchy.tables:
        for index in table.global_indexes:
            if not index.is_valid:
                text = "It does not hold all rows yet: a call was stopped, or values repeat."
                found.append(
                    Finding(ERROR, "global index not valid", index.identifier.text, text, _build(table, index))
                )
            for problem, entry in facts.inexact_entries.get(index.oid, ()):
                text = f"A sample has found an entry that is {problem}: {entry}."
                found.append(Finding(ERROR, "global index inexact", index.identifier.text, text, rebuild(table, index)))
            for schema, name, is_leaf in facts.unguarded.get(index.oid, ()):
                partition = Identifier(schema, name)
                text = f"Statements that name {partition} are not seen by global index {index.identifier}."
                mend = guard(index, partition, is_leaf=is_leaf).text
                found.append(Finding(ERROR, "global index not guarded", partition.text, text, mend))
    return found


def rebuild(table: Table, index: GlobalIndex) -> str:
    """What drops an index and builds it anew, in transactions of its own: one command."""
    body = compose(
        "BEGIN PERFORM dp.drop_global_index({}); COMMIT; {}; END",
        Literal(index.identifier.text),
        SQL(_build(table, index)),
    )
    return compose("DO {}", Literal(body.text)).text


def _build(table: Table, index: GlobalIndex) -> str:
    return compose(
        "CALL dp.create_global_index_online({}, {}, is_unique => {}, predicate => {}, index_name => {},"
        " hash_partitions => {})",
        Literal(table.identifier.text),
        name_array(index.columns),
        Literal(index.is_unique),
        Literal(index.predicate),
        Literal(index.name),
        Literal(index.hash_partitions),
    ).text
