"""``python -m bench``: every benchmark, or those named; ``--server 15`` picks a server version."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time

from bench.report import Result, machine, table
from bench.support import Bench
from tests.support.server import SQUEEZE_SETTINGS, allow_squeeze, has_squeeze, installed_versions, make_server

NAMES = (
    "create",
    "alter",
    "concurrently",
    "maintenance",
    "cluster",
    "prewarm",
    "join",
    "global_index",
    "update",
    "wait",
    "first_call",
    "estimate",
    "convert",
)  # update leaves the family changed
ON_REQUEST = ("migration", "planning", "queries")  # what takes minutes
DIALOGS = [5000, 20000]
SETTINGS = {
    "shared_buffers": "512MB",
    "max_locks_per_transaction": "256",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}


def main() -> int:
    """Run and print; 1 when a goal is missed, 0 when all that were measured are met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which: {', '.join((*NAMES, *ON_REQUEST))}; when left out all but the last {len(ON_REQUEST)}",
    )
    parser.add_argument(
        "--server",
        type=int,
        metavar="VERSION",
        help="major version of the server, in a container where it is not installed; the newest here",
    )
    parser.add_argument(
        "--dialogs",
        type=lambda text: [int(number) for number in text.split(",")],
        default=DIALOGS,
        help="numbers of dialogs that are converted, as 10000,100000,1000000; each has 76 rows (default: 5000,20000)",
    )
    arguments = parser.parse_args()
    versions = installed_versions()
    unknown = set(arguments.names) - {*NAMES, *ON_REQUEST}
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if not versions and arguments.server is None:
        parser.error("no PostgreSQL with PL/Python is installed; --server VERSION takes a container")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped and removed then, too
    results: list[Result] = []
    version = arguments.server or versions[-1]
    settings = {**SETTINGS, **(SQUEEZE_SETTINGS if has_squeeze(version) else {})}
    with make_server(version, settings, on_disk=True) as server:
        if has_squeeze(version):
            allow_squeeze(server)
        bench = Bench(server, arguments.dialogs)
        print(machine(bench.server_version), flush=True)
        for name in (*NAMES, *ON_REQUEST):
            if name not in (arguments.names or NAMES):
                continue
            started = time.monotonic()
            found = importlib.import_module(f"bench.{name}").measure(bench)
            results += found
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(table(results))
    return 1 if any(result.verdict == "missed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
