"""What of the server and its settings does not suit a hierarchy."""

from __future__ import annotations

from ..model import DROP, SLICE, Hierarchy
from ..sql import Identifier
from . import lifecycle, trees
from .finding import NOTICE, WARNING, Facts, Finding

# Minor releases that mend faults which bite hierarchies of this kind.
FIXED_IN = {
    15: (
        (9, "detaching a partition with foreign keys"),
        (18, "validity after ALTER INDEX ATTACH PARTITION"),
    ),
    16: (
        (5, "detaching a partition with foreign keys"),
        (14, "validity after ALTER INDEX ATTACH PARTITION"),
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

SESSIONS_WITHOUT_KEYS = 4  # that the lock table shall have room for, where it has not even for one


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
    found += _locks(hierarchy, facts)
    major, minor = divmod(facts.server_version, 10000)
    faults = [what for fixed, what in FIXED_IN.get(major, ()) if minor < fixed]
    if faults:
        text = f"PostgreSQL {major}.{minor} has known faults: {'; '.join(faults)}."
        found.append(Finding(NOTICE, "minor release", root, text, None))
    return found


def _locks(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """What will not fit into the lock table: statements of clients, and steps of maintenance that fail some day."""
    widest = max(hierarchy.tables, key=lambda table: trees.planned(hierarchy, table))
    unbound = trees.planned(hierarchy, widest)
    found = []
    if unbound > facts.lock_table:
        text = (
            f"A statement on {widest.identifier} that binds no partition key takes about {unbound} locks, and so does a"
            " session's sixth check of a foreign key to it, unless plan_cache_mode is force_custom_plan; the server has"
            f" {facts.lock_table} for all sessions."
        )
        found.append((text, SESSIONS_WITHOUT_KEYS * unbound))
    for what, locks in (
        ("Retiring a slice", _retiring(hierarchy)),
        ("Draining a default slice", facts.expected.drain_locks),
    ):
        if locks > facts.lock_budget:
            text = f"{what} takes about {locks} locks in one transaction; the budget is {facts.lock_budget}."
            found.append((text, locks * facts.lock_table // facts.lock_budget))
    root = hierarchy.root.identifier.text
    return [
        Finding(
            WARNING,
            "locks beyond the budget",
            root,
            text,
            f"ALTER SYSTEM SET max_locks_per_transaction = {64 * -(-entries // (64 * facts.lock_slots))}",
        )
        for text, entries in found
    ]


def _retiring(hierarchy: Hierarchy) -> int:
    """The locks of the largest step that retires the oldest slice; 0 where nothing is retired."""
    slices = hierarchy.range_slices(hierarchy.root)
    if hierarchy.policy.retention is None or not slices:
        return 0
    span = slices[0].span
    if hierarchy.policy.retention_action == DROP:
        steps = lifecycle.drop_steps(hierarchy, span, {})
    else:
        keys = {each.oid: trees.key_names(hierarchy, table) for table, each in lifecycle.siblings(hierarchy, span)}
        steps = lifecycle.detach_steps(hierarchy, span, keys, {}, None, frozenset())
    return max(step.locks for step in steps)
