"""How far a long operation is: a row of dp.progress_entry a hierarchy, seen by others with each commit.

The row stays when the operation is stopped, so that the next call knows since when it is at work; it goes at its end.
"""

from __future__ import annotations

from . import database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .execute import Context

_counted: list[tuple[int, int]] = []  # the root whose steps are counted, and for how much each counts


def begin(context: Context, table: int, about: str, total: int, each: int = 1) -> None:
    """An operation on a table begins, or goes on: the same one keeps the time of its start.

    ``each``: how much of the total a step is about.
    """
    database.query(
        """
        INSERT INTO dp.progress_entry AS p (root, operation, tbl, about, total)
        VALUES ($1::regclass, $2, $3::regclass, $4, $5)
        ON CONFLICT (root) DO UPDATE SET
            pid = pg_backend_pid(), operation = excluded.operation, tbl = excluded.tbl, about = excluded.about,
            done = 0, total = excluded.total, target = '', resumed = excluded.resumed,
            started = CASE WHEN (p.operation, p.tbl, p.about) = (excluded.operation, excluded.tbl, excluded.about)
                           THEN p.started ELSE excluded.started END
        """,
        ("oid", "text", "oid", "text", "int8"),
        (context.root, context.call, table, about, total),
    )
    _counted[:] = [(context.root, each)]


def done(parts: int, name: str) -> None:
    """Some more parts are done; and which one is at work, or was the last."""
    if _counted:
        root, each = _counted[0]
        database.query(
            "UPDATE dp.progress_entry SET done = CASE WHEN $4 THEN least(done + $2, total) ELSE done + $2 END,"
            " target = $3 WHERE root = $1::regclass",
            ("oid", "int8", "text", "bool"),
            (root, parts * each, name, each > 1),
        )


def left_out(parts: int) -> None:
    """Some parts are left to a later operation."""
    if _counted:
        root, each = _counted[0]
        database.query(
            "UPDATE dp.progress_entry SET total = greatest(total - $2, done) WHERE root = $1::regclass",
            ("oid", "int8"),
            (root, parts * each),
        )


def end() -> None:
    """The operation is at its end."""
    if _counted:
        clear(_counted[0][0])
    forget()


def clear(root: int) -> None:
    """Nothing is left of a hierarchy's operation; the row may be one that was killed behind its last step."""
    database.query("DELETE FROM dp.progress_entry WHERE root = $1::regclass", ("oid",), (root,))


def forget() -> None:
    """The call is over, whether or not the operation came to its end."""
    _counted.clear()
