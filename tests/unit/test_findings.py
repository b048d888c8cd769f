"""Judgements that would need a very large hierarchy on a real server."""

from __future__ import annotations

from dialog_partition.calendars import Width
from dialog_partition.model import Hierarchy, Policy, Slice, Table
from dialog_partition.plan import finding as plan_finding
from dialog_partition.plan import findings as plan
from dialog_partition.plan.schedule import Jobs


def hierarchy(leaves: int) -> Hierarchy:
    policy = Policy(
        "at", "Party", "exact", None, None, Width(1, "month"), leaves, 4, None, None, "detach", None, "UTC", False,
        500, 1, 1,
    )  # fmt: skip
    root = Table(
        1, "public", "Dialog", "owner", "root", "p", "at", "timestamp with time zone", 2, "public", "Dialog_template", 7
    )
    one = Slice(3, "public", "Dialog_2025_06", True, False, False, None, None, leaves, tuple(range(leaves)))
    return Hierarchy(policy, "timestamp with time zone", (root,), (), (), {1: (one,)})


def facts(lock_table: int, server_version: int = 150018, drain_locks: int = 0) -> plan_finding.Facts:
    return plan_finding.Facts(
        expected=plan_finding.Expected((), (), (), None, drain_locks, None, {}, Jobs((), None), 0),
        current_point=None,
        rows_in_default=(),
        invalid_indexes=(),
        invalid_constraints=(),
        never_analysed=(),
        drift=(),
        keys_to_partitions=(),
        key_differences=(),
        unindexed_keys=(),
        pending_keys=(),
        inexact_entries={},
        unguarded={},
        belongings=(),
        outdated_views=(),
        outdated_functions=(),
        broken_queries=(),
        jobs=(),
        last_failure=None,
        lock_table=lock_table,
        lock_budget=lock_table,
        lock_slots=lock_table // 64,
        partitionwise_join=True,
        constraint_exclusion=True,
        server_version=server_version,
        database="app",
        foundation={},
        unchecked=(),
    )


def names(found: list[plan_finding.Finding]) -> list[str]:
    return [finding.finding for finding in found]


def test_more_locks_than_the_server_has_are_foretold() -> None:
    # 1 slice and 2,000 leaves, each with 4 indexes
    assert names(plan.findings(hierarchy(2000), facts(6400))) == ["locks beyond the budget"]
    assert names(plan.findings(hierarchy(1000), facts(6400))) == []


def test_retention_that_will_not_fit_into_a_transaction_is_foretold() -> None:
    kept = hierarchy(500)
    retired = kept._replace(policy=kept.policy._replace(retention=Width(1, "year")))
    assert names(plan.findings(kept, facts(3000))) == []
    found = plan.findings(retired, facts(3000))
    assert names(found) == ["locks beyond the budget"]
    assert found[0].statement == "ALTER SYSTEM SET max_locks_per_transaction = 128"


def test_draining_that_will_not_fit_into_a_transaction_is_foretold() -> None:
    assert names(plan.findings(hierarchy(2), facts(6400, drain_locks=6400))) == []
    found = plan.findings(hierarchy(2), facts(6400, drain_locks=6401))
    assert names(found) == ["locks beyond the budget"]
    assert found[0].statement == "ALTER SYSTEM SET max_locks_per_transaction = 128"


def test_minor_releases_with_known_faults_are_named() -> None:
    assert names(plan.findings(hierarchy(2), facts(6400, 150008))) == ["minor release"]
    assert names(plan.findings(hierarchy(2), facts(6400, 170009))) == ["minor release"]
    assert names(plan.findings(hierarchy(2), facts(6400, 180006))) == []
