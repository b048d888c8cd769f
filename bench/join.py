"""Root, child and grandchild of one dialog joined, with both keys bound: planning and execution."""

from __future__ import annotations

from statistics import median

from bench.layout import EXACT, PLAIN, SLICE, Form, family
from bench.report import Result
from bench.support import Bench, Connection, session, value

TIMES = 11


def query(form: Form) -> str:
    """The join; the keys are bound in the root, the rest follows from the equalities."""
    schema = form.name
    return f"""
        SELECT d."Id", count(*), max(c."Name")
        FROM {schema}."Dialog" AS d
        JOIN {schema}."DialogActivity" AS a ON a."DialogId" = d."Id"{form.join("a", "d")}
        JOIN {schema}."Actor" AS c ON c."ActivityId" = a."Id"{form.join("c", "a")}
        WHERE {form.condition("Id", "d")}
        GROUP BY d."Id"
    """


def explained(connection: Connection, form: Form) -> tuple[float, float]:
    """Milliseconds of planning and of execution."""
    plan = value(connection, f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query(form)}")[0]
    return plan["Planning Time"], plan["Execution Time"]


def measure(bench: Bench) -> list[Result]:
    """Both key forms against the unpartitioned tables, in turns."""
    connection = session(family(bench))
    forms = (PLAIN, EXACT, SLICE)
    counts = {connection.execute(query(form)).fetchone() for form in forms}
    assert len(counts) == 1, f"the forms hold different rows: {counts}"
    found: dict[Form, list[tuple[float, float]]] = {form: [] for form in forms}
    for _ in range(TIMES):
        for form in forms:
            found[form].append(explained(connection, form))
    connection.close()
    return [
        Result(
            "join",
            f"{form.name} form, {what}",
            median(times[part] for times in found[form]),
            "ms",
            "unpartitioned tables",
            median(times[part] for times in found[PLAIN]),
        )
        for form in (EXACT, SLICE)
        for part, what in enumerate(("planning", "execution"))
    ]
