"""What is wrong with the global indexes of a hierarchy."""

from __future__ import annotations

from ..model import Hierarchy, Table
from ..sql import Identifier, Literal, compose, name_array
from .finding import ERROR, WARNING, Facts, Finding
from .global_index import truncate_trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import GlobalIndex


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Indexes that do not hold all rows, that are not kept everywhere, and keys that would act when a row moves."""
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
                again = f"SELECT dp.drop_global_index({Literal(index.identifier.text)})"
                found.append(Finding(ERROR, "global index inexact", index.identifier.text, text, again))
            for schema, name, lacks_rows in facts.unkept_leaves.get(index.oid, ()):
                leaf = Identifier(schema, name)
                what = "writes to it are not seen" if lacks_rows else "TRUNCATE of it is not seen"
                text = f"{leaf} lacks a trigger of global index {index.identifier}: {what}."
                mend = None if lacks_rows else truncate_trigger(index, leaf).text
                found.append(Finding(ERROR, "global index not kept", leaf.text, text, mend))
    for child, constraint, side in facts.acting_keys:
        text = (
            f'Foreign key "{constraint}" refers to global index {side} and acts, or is checked, at once: when a row'
            " moves, its entry goes and comes back."
        )
        found.append(Finding(WARNING, "foreign key acts on global index", child, text, None))
    return found


def _build(table: Table, index: GlobalIndex) -> str:
    return compose(
        "CALL dp.create_global_index_online({}, {}, is_unique => {}, predicate => {}, index_name => {})",
        Literal(table.identifier.text),
        name_array(index.columns),
        Literal(index.is_unique),
        Literal(index.predicate),
        Literal(index.name),
    ).text
