"""Which slices a lookup has statements for."""

from __future__ import annotations

import datetime

import pytest
from dialog_partition.calendars import parse_width
from dialog_partition.model import Edge, Hierarchy, Policy, Slice, Table
from dialog_partition.plan import kept_plans

DAY = 86_400_000_000
BEYOND = 10**18  # after the year 9999


def hierarchy(spans: list[tuple[int | None, int | None]], lookup_slices: int) -> Hierarchy:
    """One table with slices of these days."""
    policy = Policy(
        "at", "party", "exact", None, None, parse_width("1 month", "slice"), 2, 4, None, None, "detach", None, "UTC",
        False, 500, 0, 0, lookup_slices=lookup_slices,
    )  # fmt: skip
    root = Table(
        1, "public", "Dialog", "owner", "root", "p", "at", "timestamp with time zone", 2, "public", "Dialog_template", 7
    )
    slices = tuple(
        Slice(number, "public", f"s{number}", True, False, False, _edge(lower), _edge(upper), 2, (0, 1))
        for number, (lower, upper) in enumerate(spans)
    )
    return Hierarchy(policy, "timestamp with time zone", (root,), (), (), {1: slices})


def _edge(day: int | None) -> Edge | None:
    if day is None:
        return None
    local = datetime.datetime(1970, 1, 1) + datetime.timedelta(days=day) if day < BEYOND else None
    return Edge(day * DAY, local)


@pytest.mark.parametrize(
    ("spans", "lookup_slices", "days"),
    [
        ([(0, 1), (1, 2), (2, 3)], 12, [0, 1, 2, 3]),
        ([(0, 1), (1, 2), (2, 3)], 2, [1, 2, 3]),
        ([(0, 1), (1, 2), (2, 3)], 0, []),
        ([(0, 1), (2, 3), (3, 7)], 12, [2, 3, 7]),
        ([(None, 1), (1, 2)], 12, [1, 2]),
        ([(0, 1), (1, 2), (2, None)], 12, [0, 1, 2]),
        ([(0, 1), (1, 2), (2, BEYOND)], 12, [0, 1, 2]),
        ([(None, None)], 12, []),
        ([], 12, []),
    ],
)
def test_the_newest_without_a_gap(
    spans: list[tuple[int | None, int | None]], lookup_slices: int, days: list[int]
) -> None:
    assert kept_plans.newest(hierarchy(spans, lookup_slices)) == tuple(day * DAY for day in days)
