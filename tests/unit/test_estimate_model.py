"""The model of planning costs: what was measured comes back, and more leaves never cost less."""

from __future__ import annotations

import pytest
from dialog_partition.plan import estimate
from dialog_partition.plan.estimate import Layout
from dialog_partition.plan.planning_times import BY_ID, HASH_KEY, LARGE_ARRAY, MEASURED_INDEXES, MILLISECONDS


@pytest.mark.parametrize("version", sorted(MILLISECONDS))
def test_what_was_measured_comes_back(version: int) -> None:
    for leaves, milliseconds in MILLISECONDS[version][BY_ID]:
        layout = Layout(1, leaves, 1, MEASURED_INDEXES)
        assert estimate.planning_ms(BY_ID, layout, version) == pytest.approx(milliseconds)
    for slices, milliseconds in MILLISECONDS[version][HASH_KEY]:
        layout = Layout(slices, 7, 1, MEASURED_INDEXES)
        assert estimate.planning_ms(HASH_KEY, layout, version) == pytest.approx(milliseconds)


@pytest.mark.parametrize("version", [15, 16, 17, 18, 19])
@pytest.mark.parametrize("kind", sorted(MILLISECONDS[18]))
def test_more_of_anything_never_costs_less(kind: str, version: int) -> None:
    sizes = (1, 2, 7, 30, 61, 100, 240, 500)
    for hash_partitions in (0, 1, 8, 64):
        costs = [estimate.planning_ms(kind, Layout(size, hash_partitions, 3, 2), version) for size in sizes]
        assert costs == sorted(costs) and costs[0] > 0
    indexes = [estimate.planning_ms(kind, Layout(60, 16, 3, number), version) for number in (0, 1, 2, 9)]
    assert indexes == sorted(set(indexes))


def test_an_array_costs_by_its_length_and_no_less_than_nothing() -> None:
    layout = Layout(60, 16, 1, 2)
    costs = [estimate.planning_ms(LARGE_ARRAY, layout, 18, array) for array in (1, 1000, 100_000)]
    assert costs == sorted(set(costs))
    assert costs[0] >= estimate.planning_ms(BY_ID, layout, 18)


@pytest.mark.parametrize(("version", "locks"), [(15, 3 * 960 + 61), (16, 3 * (960 + 61)), (18, 3 * (960 + 61))])
def test_the_largest_layout_that_fits_does(version: int, locks: int) -> None:
    layout = Layout(60, 16, 3, 2)
    assert estimate.locks_without_key(layout, version) == locks
    assert estimate.largest_fitting(layout, version, locks) == Layout(60, 8, 3, 2)
    smaller = estimate.largest_fitting(layout, version, 600)
    assert smaller is not None and estimate.locks_without_key(smaller, version) <= 600
    assert estimate.largest_fitting(layout, version, 100) is None
