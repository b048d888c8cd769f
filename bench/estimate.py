"""The planning times that dp.estimate expects here, against those of layouts that its model was not fitted to."""

from __future__ import annotations

from bench.planning import Layout, cost, kinds, locks, planned
from bench.report import Result
from bench.support import Bench, value

OTHERS = tuple(map(Layout, (18, 24, 36, 100), (12, 8, 24, 4)))
FACTOR = 2
_ESTIMATE = "SELECT {} FROM dp.estimate(slices => %s, hash_partitions => %s, calibrate => true) WHERE query = %s"


def measure(bench: Bench) -> list[Result]:
    """Each kind of query on each layout: milliseconds of planning, and locks."""
    found = []
    for layout in OTHERS:
        with planned(bench, layout) as connection:
            for kind in kinds(bench, layout):
                told = f"{kind}, {layout.slices} x {layout.hash_partitions}"
                expected = value(connection, _ESTIMATE.format("planning_ms"), *layout, kind)
                taken = cost(connection, kind).ms
                found.append(
                    Result("estimate", told, expected, "ms", "measured", taken, within=FACTOR),
                )
                expected = value(connection, _ESTIMATE.format("locks"), *layout, kind)
                taken = locks(connection, kind)
                found.append(Result("estimate", f"{told}, locks", expected, "", "measured", taken, within=1.01))
    return found
