"""What the second session runs must not keep others waiting: they queue behind a lock that it wants.

pg_squeeze leaves its work to a worker, which knows no lock_timeout, and which goes on when the session that called it
is stopped.
"""

from __future__ import annotations

from . import database
from .operation import Step

SECONDS_TO_STOP = 5.0
PAUSE_MS = 50
QUIET_LOOKS = 3  # a worker has no lock for a moment when it changes one for another

_WORKERS = """
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'relation' AND l.relation = ANY ($1)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def waits_too_long(each: Step, root: int, milliseconds: int) -> bool:
    """Whether the second session, or the worker that it has called, waits so long for a lock on what a step names."""
    rows = database.query(
        f"SELECT count(*) AS waiting {_WORKERS} AND NOT l.granted"
        " AND (l.pid = dp._worker_of($2) OR starts_with(a.backend_type, 'squeeze'))"
        " AND l.waitstart < clock_timestamp() - $3 * interval '1 ms'",
        ("oid[]", "oid", "int"),
        (_relations(each), root, milliseconds),
    )
    return bool(rows[0]["waiting"])


def stop_workers(each: Step, began: float) -> None:
    """Stop the worker that a step has left, which began at a time in seconds since 1970.

    Until it has read the table it has no lock: it is known by its own beginning.
    """
    quiet, waited = 0, 0
    while quiet < QUIET_LOOKS and waited < SECONDS_TO_STOP * 1000:
        rows = database.query(
            """
            SELECT pg_cancel_backend(a.pid) FROM pg_stat_activity a
            WHERE starts_with(a.backend_type, 'squeeze') AND a.datname = current_database()
              AND pg_has_role(a.usesysid, 'USAGE')
              AND (EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'relation'
                           AND l.relation = ANY ($1))
                   OR a.backend_start >= to_timestamp($2)
                   AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'relation'
                                   AND l.relation >= 16384))
            """,
            ("oid[]", "float8"),
            (_relations(each), began),
        )
        quiet = 0 if rows else quiet + 1
        database.pause(PAUSE_MS)
        waited += PAUSE_MS


def slots() -> set[str]:
    """The replication slots of workers in this database."""
    query = "SELECT slot_name FROM pg_replication_slots WHERE plugin = 'pg_squeeze' AND database = current_database()"
    return {row["slot_name"] for row in database.query(query)}


def wait_for_slots(others: set[str]) -> None:
    """Wait until the slots of a step's worker are gone: as long as one is there, VACUUM keeps rows that it may need.

    ``others``: the slots that were there before the step, of somebody else's workers.
    """
    waited = 0
    while slots() - others and waited < SECONDS_TO_STOP * 1000:
        database.pause(PAUSE_MS)
        waited += PAUSE_MS


def _relations(each: Step) -> list[int]:
    return [relation for relation, _ in each.wanted_locks]
