"""set_storage, alter_table: what has no function of its own."""

from __future__ import annotations

import json

from .. import database, errors, execute, fragments, printing
from ..catalog import alter as catalog_alter
from ..catalog import drift as catalog_drift
from ..catalog import guard as catalog_guard
from ..catalog import server as catalog_server
from ..operation import Operation, Step
from ..plan import alter as plan
from ..plan import drift as plan_drift
from ..plan.difference import Difference
from ..sql import SQL
from . import calls
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..printing import PlanRow

CALL = "dp.alter_table"
# What a partitioned table refuses: said of the template, it is for all leaves.
OF_LEAVES = (("SET",), ("RESET",), ("SET", "LOGGED"), ("SET", "UNLOGGED"))
# What has a function of its own that knows more, by the first word; the second may be left out.
ELSEWHERE = {
    "ADD": "add_column(...) or dp.add_constraint(...)",
    "DROP": "drop_column(...) or dp.drop_constraint(...)",
    "RENAME": "rename_column(...); plain ALTER TABLE ... RENAME CONSTRAINT",
}
# What would take a table out of its hierarchy, or a hierarchy to another role or schema.
REFUSED = (
    "ATTACH",
    "DETACH",
    "INHERIT",
    "NO INHERIT",
    "RENAME TO",
    "OWNER TO",
    "SET SCHEMA",
    "CLUSTER ON",
    "OF",
    "NOT OF",
)


def set_storage(tbl: int, parameters: str, dry_run: bool) -> list[PlanRow]:
    """Set or reset storage parameters of all leaves; see sql/functions/set_storage.sql.j2."""
    wanted = json.loads(parameters)
    if not isinstance(wanted, dict) or not wanted:
        raise errors.InvalidParameter.of(
            "parameters", parameters, "It is a JSON object: names with values, null to reset.",
            """For example '{"fillfactor": 90, "toast.autovacuum_enabled": null}'.""",
        )  # fmt: skip
    given = {name: storage_text(value) for name, value in wanted.items() if value is not None}
    reset = [name for name, value in wanted.items() if value is None]
    change = Alteration("set_storage", tbl, dry_run)
    managed = change.target.table
    is_late = change.reach_followers(lambda oid: catalog_alter.lacks_storage(oid, None, given, reset))
    if not catalog_alter.lacks_storage(tbl, managed.template_oid, given, reset) and not is_late:
        return change.nothing(f"the leaves of {change.target.identifier} have these storage parameters already")
    return change.run(plan.set_storage(change.target, given, reset))


def storage_text(value: object) -> str:
    """The value of a storage parameter in JSON as it stands in SQL."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def alter_table(tbl: int, action: str, search_path: str, dry_run: bool) -> list[PlanRow]:
    """Any other change; see sql/functions/alter_table.sql.j2."""
    fragments.check("action", action)
    _refuse(action)
    change = Alteration("alter_table", tbl, dry_run, search_path)
    validates = fragments.words(action, 1) == ("VALIDATE",)
    change.reach_followers(lambda oid: not validates or catalog_alter.has_unvalidated(oid))
    table, template = change.target.table, change.target.table.template
    if template is not None and _is_of_leaves(action):
        operations = [Operation(template, plan.alter(template, SQL(action)))]
        if fragments.words(action, 1) == ("ALTER",):  # of a column: ANALYZE of the parent goes by the parent's own
            statement = plan.alter(change.target.identifier, SQL(action))
            operations.append(plan.on_parent(change.target, statement))
        operations += plan.on_followers(change.target, lambda each: plan.alter(each, SQL(action)), leaves_only=True)
    else:
        statement = plan.alter(change.target.identifier, SQL(action))
        per_leaf = _locks_each(action, table.relations_per_leaf)
        operations = [plan.on_parent(change.target, statement, per_leaf)]
        operations += plan.on_followers(
            change.target, lambda each: plan.alter(each, SQL(action)), relations_each=per_leaf
        )
    if dry_run:
        rest = _tried(change, operations) if _is_seen_as_drift(action) else []
    else:
        before = set(plan_drift.differences(catalog_drift.read_table(table)))
        state = catalog_guard.state(change.context.root)
        change.run(operations)
        catalog_guard.refuse_broken(change.context.root, state, CALL)
        rest = _brought_along(change, before)
        operations = []
    if operations or rest:
        calls.run_in_function([Step((*operations, *rest))], change.context)
    return printing.last_plan()


def _locks_each(action: str, relations_per_leaf: int) -> int:
    """How many entries of the lock table an action takes on each partition."""
    words = fragments.words(action, 100)
    if "TYPE" in words or "EXPRESSION" in words:  # rows are written anew
        return 3 * relations_per_leaf + plan.NEW_FILES
    return relations_per_leaf if words[:1] == ("VALIDATE",) else 1


def _brought_along(change: Alteration, before: set[Difference]) -> list[Operation]:
    """What brings slices and leaves everything in which they differ from before."""
    facts = catalog_drift.read_table(change.target.table)
    rest = [each for each in plan_drift.differences(facts) if each not in before]
    return [one for step in plan_drift.steps_of(facts, rest, rewrite=True) for one in step.operations]


def _tried(change: Alteration, operations: list[Operation]) -> list[Operation]:
    """The same for a dry run: only after the action it is known, so the action is rolled back again."""
    if catalog_server.server().is_standby:
        return []
    before = set(plan_drift.differences(catalog_drift.read_table(change.target.table)))
    state = catalog_guard.state(change.context.root)

    def along() -> list[Operation]:
        execute.probe(Step(tuple(operations)).text, change.context)
        catalog_guard.refuse_broken(change.context.root, state, CALL)
        return _brought_along(change, before)

    return database.rolled_back(along)


def _is_seen_as_drift(action: str) -> bool:
    """Whether an action may leave partitions behind; these are changes of the catalog, and take no time."""
    words = fragments.words(action, 100)
    return words[:1] != ("VALIDATE",)


def _first_words(action: str) -> tuple[str, ...]:
    """What an action begins with, up to a parenthesis."""
    return fragments.words(action, 2)


def _is_of_leaves(action: str) -> bool:
    """Whether new leaves get it from the template: storage parameters, statistics targets and options of columns."""
    words = fragments.words(action, 100)
    return words[:2] in OF_LEAVES or (
        words[:1] == ("ALTER",) and (words[-1] in ("SET", "RESET") or "STATISTICS" in words)
    )


def _refuse(action: str) -> None:
    words = _first_words(action)
    text = " ".join(words)
    if any(text == refused or text.startswith(refused + " ") for refused in REFUSED):
        raise errors.InvalidParameter.of(
            "action", action, f"{text} would take the table out of its hierarchy, or part it from the others.",
            "Do that by hand, to every table of the hierarchy.",
        )  # fmt: skip
    if words[:1] and words[0] in ELSEWHERE:
        raise errors.InvalidParameter.of(
            "action", action, f"{words[0]} has a function of its own.", f"Use dp.{ELSEWHERE[words[0]]}."
        )
