"""What still goes by names that tables of a hierarchy had before."""

from __future__ import annotations

from ..model import Hierarchy
from ..sql import Literal, compose, name_array
from . import schedule
from .finding import ERROR, WARNING, Facts, Finding


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Generated functions, and jobs."""
    root = hierarchy.root
    found = []
    for function in facts.outdated_functions:
        text = "It names a table by a name that the table does not have any more, and fails."
        statement = compose("CALL dp.sync({})", Literal(root.identifier.text)).text
        found.append(Finding(ERROR, "function of a renamed table", function.text, text, statement))
    for function, table, column in facts.broken_queries:
        if column is None:
            text = f"It was made for {table}, which there is no more, and fails. Make it anew with the new names."
            found.append(Finding(ERROR, "function of a renamed table", function.text, text, None))
        else:
            text = f'It fails: {table} has no global index of "{column}" that holds all rows.'
            create = compose("CALL dp.create_global_index_online({}, {})", Literal(table), name_array([column])).text
            found.append(Finding(ERROR, "joined lookup without its index", function.text, text, create))
    name = f"{root.schema}.{root.name}"
    former = [each for each in facts.jobs if each.name != schedule.job_name(facts.database, name, each.kind)]
    if former:
        text = (
            f"Job {', '.join(each.name for each in former)} was made when the table or the database had another name,"
            " and calls it by that."
        )
        statement = schedule.again(root.identifier).text
        found.append(Finding(WARNING, "job of a renamed table", root.identifier.text, text, statement))
    return found
