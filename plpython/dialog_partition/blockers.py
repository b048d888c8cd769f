"""Who holds the locks that a step waits for."""

from __future__ import annotations

from . import database
from .operation import Step, conflicting_modes

MAX_BLOCKERS_TOLD = 5


def holders(each: Step) -> list[database.Row]:
    """Other sessions' locks that the locks of a step conflict with: on its relations and on the leaves under them."""
    modes: dict[int, set[str]] = {}
    for relation, lock in each.wanted_locks:
        modes.setdefault(relation, set()).update(conflicting_modes(lock))
    rows = database.query(
        """
        SELECT l.pid, l.mode, l.relation::regclass::text AS relation, wanted.oid AS wanted, a.usename, a.state,
               extract(epoch FROM clock_timestamp() - a.xact_start)::int AS seconds
        FROM unnest($1) AS wanted (oid)
        JOIN LATERAL (SELECT wanted.oid
                      UNION ALL
                      SELECT i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
                      WHERE i.inhparent = wanted.oid AND c.relispartition) AS locked ON true
        JOIN pg_locks l ON l.relation = locked.oid
        LEFT JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ORDER BY a.xact_start NULLS LAST, l.pid, l.relation
        """,
        ("oid[]",),
        (list(modes),),
    )
    return [row for row in rows if row["mode"] in modes[row["wanted"]]]


def describe(each: Step) -> str:
    """Who holds them, for an error's DETAIL."""
    found = holders(each)
    if not found:
        return "No session holds a conflicting lock on them now."
    told = "; ".join(
        f"process {row['pid']} ({row['usename']}, {row['state']}, {row['seconds']} s in its transaction) holds"
        f" {row['mode']} on {row['relation']}"
        for row in found[:MAX_BLOCKERS_TOLD]
    )
    return f"Held by: {told}."
