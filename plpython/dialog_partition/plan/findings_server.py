"""What of the server and its settings does not suit a hierarchy."""

from __future__ import annotations

from ..model import SLICE, Hierarchy, Table
from ..sql import Identifier
from . import lifecycle
from .finding import NOTICE, WARNING, Facts, Finding

# Minor releases that mend faults which bite hierarchies of this kind.
FIXED_IN = {
    15: (
        (9, "detaching a partition with foreign keys"),
        (18, "validity after ALTER INDEX ATTACH PARTITION"),
    ),
    17: (
        (1, "detaching a partition with foreign keys"),
        (10, "validity after ALTER INDEX ATTACH PARTITION"),
        (11, "pruning that skipped the default partition: rows missing from results"),
    ),
    18: (
        (4, "validity after ALTER INDEX ATTACH PARTITION"),
        (6, "pruning that skipped the default partition: rows missing from results"),
    ),
}


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Settings, the size of the lock table, and known faults of this release."""
    root = hierarchy.root.identifier.text
    database = Identifier(facts.database)
    found = []
    if not facts.partitionwise_join:
        text = "enable_partitionwise_join is off: joins are not planned partition with partition."
        statement = f"ALTER DATABASE {database} SET enable_partitionwise_join = on"
        found.append(Finding(WARNING, "partitionwise join off", root, text, statement))
    if hierarchy.policy.key_form == SLICE and not facts.constraint_exclusion:
        text = "constraint_exclusion is off: a condition on the range key alone does not prune."
        statement = f"ALTER DATABASE {database} SET constraint_exclusion = partition"
        found.append(Finding(WARNING, "constraint exclusion off", root, text, statement))
    widest = max(hierarchy.tables, key=lambda table: locks_without_keys(hierarchy, table))
    locks = locks_without_keys(hierarchy, widest)
    if locks > facts.lock_table:
        text = (
            f"A statement on {widest.identifier} that binds no partition key takes about {locks} locks; the server has"
            f" {facts.lock_table} for all sessions."
        )
        statement = f"ALTER SYSTEM SET max_locks_per_transaction = {64 * -(-4 * locks // facts.lock_table)}"
        found.append(Finding(WARNING, "locks beyond the budget", root, text, statement))
    found += _retirement(hierarchy, facts)
    major, minor = divmod(facts.server_version, 10000)
    faults = [what for fixed, what in FIXED_IN.get(major, ()) if minor < fixed]
    if faults:
        text = f"PostgreSQL {major}.{minor} has known faults: {'; '.join(faults)}."
        found.append(Finding(NOTICE, "minor release", root, text, None))
    return found


def _retirement(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Whether the step that retires a slice fits into a transaction: else retention will fail some day."""
    slices = hierarchy.range_slices(hierarchy.root)
    if hierarchy.policy.retention is None or not slices:
        return []
    locks = max(step.locks for step in lifecycle.drop_steps(hierarchy, slices[0].span))
    if locks <= facts.lock_budget:
        return []
    root = hierarchy.root.identifier.text
    text = f"Retiring a slice takes about {locks} locks in one transaction; the budget is {facts.lock_budget}."
    statement = f"ALTER SYSTEM SET max_locks_per_transaction = {64 * -(-2 * locks // facts.lock_budget)}"
    return [Finding(WARNING, "locks beyond the budget", root, text, statement)]


def locks_without_keys(hierarchy: Hierarchy, table: Table) -> int:
    """How many locks a statement takes that binds neither key: every partition and its indexes."""
    indexes = max(table.relations_per_leaf - 3, 0)
    return sum((1 + len(each.remainders)) * (1 + indexes) for each in hierarchy.slices[table.oid])
