"""How fast a server plans, by a table that is made for it and gone again."""

from __future__ import annotations

import json

from .. import database
from ..plan import estimate as plan
from ..plan.planning_times import BY_ID, MEASURED_INDEXES

SLICES, LEAVES, TIMES = 12, 16, 9  # the layout that is measured, and how often
_TABLE = "pg_temp.dialog_partition_calibration"


def factor(version: int) -> float:
    """How many times as long as by the model this server takes for planning."""
    taken = database.rolled_back(_times)
    expected = plan.planning_ms(BY_ID, plan.Layout(SLICES, LEAVES, 1, MEASURED_INDEXES), version)
    return min(taken[1:]) / expected  # the first opens every leaf


def _times() -> list[float]:
    """Milliseconds of planning a query by Id, of a table that is made for it."""
    database.set_local("client_min_messages", "warning")
    database.run(";\n".join(_statements()))
    taken: list[float] = []
    for _ in range(TIMES):
        rows = database.query_once(f"EXPLAIN (SUMMARY, FORMAT JSON) SELECT * FROM {_TABLE} WHERE id = 1")
        taken.append(json.loads(next(iter(rows[0].values())))[0]["Planning Time"])
    return taken


def _statements() -> list[str]:
    """The table, its slices and their leaves."""
    found = [
        "CREATE TEMPORARY TABLE dialog_partition_calibration (id bigint, at integer, party text,"
        " PRIMARY KEY (id, at, party)) PARTITION BY RANGE (at)",
        f"CREATE INDEX ON {_TABLE} (party, at)",
    ]
    for number in range(SLICES):
        found.append(
            f"CREATE TEMPORARY TABLE dialog_partition_calibration_{number} PARTITION OF {_TABLE}"
            f" FOR VALUES FROM ({number}) TO ({number + 1}) PARTITION BY HASH (party)"
        )
        found += [
            f"CREATE TEMPORARY TABLE dialog_partition_calibration_{number}_{remainder}"
            f" PARTITION OF {_TABLE}_{number} FOR VALUES WITH (MODULUS {LEAVES}, REMAINDER {remainder})"
            for remainder in range(LEAVES)
        ]
    return found
