"""Shows what dialog_partition does, on a private server that is gone afterwards."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from demo import page
from demo.converting import show_conversion
from demo.keeping import show_declaring, show_maintenance, show_slices
from demo.moving import show_moves
from demo.reading import show_joins
from demo.stage import open_stage
from tests.support.database import prepare_template
from tests.support.server import Server, installed_versions

DIALOGS = 2000


def main() -> int:
    """Run the demo; the exit status."""
    versions = installed_versions()
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--dialogs", type=int, default=DIALOGS, help="how many dialogs (default: %(default)s)")
    parser.add_argument("--server", type=int, default=versions[-1] if versions else None, help="major version")
    arguments = parser.parse_args()
    if arguments.server not in versions:
        print("no PostgreSQL 15 or later with PL/Python is installed here", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped and removed then, too
    started = time.monotonic()
    with Server(arguments.server) as server:
        prepare_template(server)
        page.heading("dialog_partition: tables that belong together, partitioned alike")
        page.prose(
            f"""A private PostgreSQL {arguments.server} was started in a temporary folder. Everything below is done by
            an ordinary role that owns its tables; in the end all of it is removed."""
        )
        stage = open_stage(server, arguments.dialogs)
        for scene in (show_declaring, show_slices, show_joins, show_moves, show_maintenance, show_conversion):
            scene(stage)
        for connection in (stage.plain, stage.exact, stage.slice):
            connection.close()
    page.heading(f"Done in {time.monotonic() - started:.0f} s; the server and its files are gone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
