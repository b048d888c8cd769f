"""Reading dp.log."""

from __future__ import annotations

from .. import database

_LAST_FAILURES = """
    SELECT roots.oid, last.at, last.message FROM unnest($1) AS roots (oid)
    CROSS JOIN LATERAL (SELECT l.at, l.message, l.status FROM dp.log_entry AS l
                        WHERE l.root = roots.oid AND l.call = 'run_maintenance' ORDER BY l.at DESC LIMIT 1) AS last
    WHERE last.status = 'failed'
"""


def last_failures(roots: list[int]) -> dict[int, str]:
    """The roots whose last maintenance failed, with when and why."""
    rows = database.query(_LAST_FAILURES, ("oid[]",), (roots,))
    return {row["oid"]: f"{row['at']}: {row['message']}" for row in rows}
