"""The first call in a fresh backend, which loads the package, against that of a trivial PL/Python function."""

from __future__ import annotations

from statistics import median

from bench.report import Result
from bench.support import Bench, milliseconds, session
from tests.support.database import Database

TIMES = 15
CALLS = {
    "trivial": "SELECT trivial()",
    "dp.last_plan": "SELECT count(*) FROM dp.last_plan",
    "dp.configure, dry run": "SELECT dp.configure('root', premake => 5, dry_run => true)",
    "CALL dp.run_maintenance, nothing to do": "CALL dp.run_maintenance()",
}


def first_and_second(database: Database, text: str) -> tuple[float, float]:
    """Both calls of a new session that has run a trivial statement before."""
    connection = session(database)
    connection.execute("SELECT 1")
    taken = [milliseconds(lambda: connection.execute(text)) for _ in range(2)]
    connection.close()
    return taken[0], taken[1]


def measure(bench: Bench) -> list[Result]:
    """New sessions, in turns."""
    with bench.database() as database:
        with database.server.connect(database.name) as admin:
            admin.execute("CREATE FUNCTION trivial() RETURNS integer LANGUAGE plpython3u AS 'return 1'")
        connection = session(database)
        connection.execute(
            "CREATE TABLE root (id bigint, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
        )
        connection.execute("SELECT dp.create_hierarchy('root', 'at')")
        connection.execute("CALL dp.run_maintenance()")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in CALLS}
        for _ in range(TIMES):
            for name, text in CALLS.items():
                found[name].append(first_and_second(database, text))
    baseline = "a trivial PL/Python function"
    return [
        Result(
            "first_call",
            f"{name}, {which} call",
            median(taken[part] for taken in found[name]),
            "ms",
            f"{baseline}, {which} call",
            median(taken[part] for taken in found["trivial"]),
        )
        for name in list(CALLS)[1:]
        for part, which in enumerate(("first", "second"))
    ]
