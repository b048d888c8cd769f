"""Scenes about reading: joins leaf by leaf, beside the same joins on unpartitioned tables."""

from __future__ import annotations

import re
from typing import NamedTuple

from demo import page
from demo.stage import Connection, Stage, rows, value
from tests.support.dialogporten import HASH_KEY, RANGE_KEY, SLICE_KEY


class Reading(NamedTuple):
    """What EXPLAIN ANALYZE said of one query."""

    plan: list[str]
    rows: int
    buffers: int
    milliseconds: float


def show_joins(stage: Stage) -> None:
    """Three tables joined: a party's month, everybody's month, and everything."""
    page.heading("Joins go partition by partition")
    page.prose(
        """Children carry the partition keys, and joins name them beside the id. PostgreSQL then joins each leaf with
        its siblings, and opens none that the condition rules out. The same question to plain tables and to the
        hierarchy (slice form), which activities by whom:"""
    )
    lower, upper = stage.month
    in_month = f'"{RANGE_KEY}" >= %s AND "{RANGE_KEY}" < %s'
    party = value(
        stage.plain,
        f'SELECT "Party" FROM "Dialog" WHERE {in_month} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1',
        lower,
        upper,
    )
    page.sql([_query(True, party, lower, upper)])
    _compare(stage, f"One party, one month ({lower[:7]})", party, lower, upper, show_plan=True)
    _compare(stage, f"All parties, one month ({lower[:7]})", None, lower, upper, show_plan=False)
    everything = read(stage.slice, _query(True, None, None, None))
    joins = sum("Join" in line or "Nested Loop" in line for line in everything.plan)
    leaves = value(stage.slice, "SELECT count(*) FROM dp.leaf WHERE tbl = '\"Dialog\"'::regclass")
    page.prose(
        f"""Without any condition the plan is one Append over {joins} small joins, two for each of the {leaves} leaves:
        none of them sorts or hashes more than one leaf of a table."""
    )


def _query(partitioned: bool, party: str | None, lower: str | None, upper: str | None) -> str:
    keys = ((SLICE_KEY, HASH_KEY)) if partitioned else ()
    on_activity = "".join(f' AND a."{key}" = d."{key}"' for key in keys)
    on_actor = "".join(f' AND r."{key}" = a."{key}"' for key in keys)
    conditions = []
    if party is not None:
        conditions.append(f"d.\"{HASH_KEY}\" = '{party}'")
    if lower is not None:
        conditions.append(f"d.\"{RANGE_KEY}\" >= '{lower}' AND d.\"{RANGE_KEY}\" < '{upper}'")
        if partitioned:
            conditions.append(f"d.\"{SLICE_KEY}\" = '{lower}'")
    where = "\nWHERE " + " AND ".join(conditions) if conditions else ""
    return (
        'SELECT d."Id", a."TypeId", r."ActorNameEntityId" FROM "Dialog" d'
        f'\nJOIN "DialogActivity" a ON a."DialogId" = d."Id"{on_activity}'
        f'\nJOIN "Actor" r ON r."ActivityId" = a."Id"{on_actor}{where}'
    )


def _compare(stage: Stage, title: str, party: str | None, lower: str, upper: str, show_plan: bool) -> None:
    plain = read(stage.plain, _query(False, party, lower, upper))
    partitioned = read(stage.slice, _query(True, party, lower, upper))
    if plain.rows != partitioned.rows:
        raise RuntimeError(f"the hierarchy answers {partitioned.rows} rows, the plain tables {plain.rows}")
    page.table(
        (title, "rows", "buffers", "milliseconds"),
        [
            (name, found.rows, found.buffers, f"{found.milliseconds:.2f}")
            for name, found in (("unpartitioned", plain), ("partitioned", partitioned))
        ],
    )
    if show_plan:
        page.lines(["unpartitioned:", *plain.plan, "partitioned:", *partitioned.plan])


def read(connection: Connection, query: str) -> Reading:
    """Run a query warm, and keep of its plan the lines that say what is read."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {query}"
    rows(connection, explain)
    found = [row[0] for row in rows(connection, explain)]
    counted = re.search(r"actual rows=(\d+)", found[0])
    execution = next(line for line in found if line.startswith("Execution Time"))
    assert counted is not None
    plan = [re.sub(r" \(actual rows=([\d.]+) loops=(\d+)\)", r"  [\1 rows x \2]", line) for line in found]
    return Reading(
        [line for number, line in enumerate(plan) if number == 0 or "->" in line],
        int(counted[1]),
        _buffers(found),
        float(execution.split()[2]),
    )


def _buffers(plan: list[str]) -> int:
    """Pages that the topmost node and all below it touched."""
    line = next(line for line in plan if "Buffers:" in line)
    return sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", line))
