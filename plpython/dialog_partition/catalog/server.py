"""What the server is and allows."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from .. import database, errors

LOCK_BUDGET_SHARE = 0.75  # of the lock table, which is somewhat larger than it says; the rest is for everybody else


class Server(NamedTuple):
    """Facts about the server and the session."""

    version: int
    is_standby: bool
    max_locks: int  # max_locks_per_transaction
    lock_slots: int  # transactions that the lock table has room for, so many locks each
    partitionwise_join: bool
    user: str
    is_superuser: bool

    @property
    def lock_table(self) -> int:
        """How many entries the lock table has, for all sessions."""
        return self.max_locks * self.lock_slots

    @property
    def lock_budget(self) -> int:
        """How many locks one transaction of ours may take."""
        return int(self.lock_table * LOCK_BUDGET_SHARE)


def server() -> Server:
    """Read them."""
    row = database.query(
        """
        SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS is_standby,
               current_setting('max_locks_per_transaction')::int AS max_locks,
               current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int AS slots,
               current_setting('enable_partitionwise_join')::bool AS partitionwise, current_user AS name,
               (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser
        """
    )[0]
    return Server(
        row["version"],
        row["is_standby"],
        row["max_locks"],
        row["slots"],
        row["partitionwise"],
        row["name"],
        row["is_superuser"],
    )


def local_now(time_zone: str) -> datetime.datetime:
    """The time in a zone; dp.now sets the clock for tests and rehearsals."""
    query = "SELECT to_char(dp._now($1), 'YYYY-MM-DD HH24:MI:SS.US') AS now"  # whatever DateStyle the session has
    text = database.query(query, ("text",), (time_zone,))[0]["now"]
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise errors.InvalidParameter.of("dp.now", text, "Plans are made for the years 1 to 9999.") from None


_points: dict[tuple[str, str, str], int] = {}  # what was asked before: hierarchies cut alike ask the same
MAX_POINTS_KEPT = 10_000


def points(moments: list[str], type_name: str, time_zone: str) -> list[int]:
    """The points, on a partition column's axis, of calendar moments in a time zone."""
    if len(_points) > MAX_POINTS_KEPT:
        _points.clear()
    unknown = [moment for moment in moments if (moment, type_name, time_zone) not in _points]
    if unknown:
        rows = database.query(
            "SELECT moment, dp._moment_point(moment::timestamp, $2, $3) AS point FROM unnest($1) AS m(moment)",
            ("text[]", "text", "text"),
            (unknown, type_name, time_zone),
        )
        _points.update({(row["moment"], type_name, time_zone): int(row["point"]) for row in rows})
    return [_points[moment, type_name, time_zone] for moment in moments]


def point_ranges(moments: list[str], type_name: str, time_zone: str) -> list[tuple[int, int]]:
    """The first and the last point at which the clock of a time zone shows each moment."""
    rows = database.query(
        "SELECT r.first, r.last FROM unnest($1) WITH ORDINALITY AS m(moment, n),"
        " LATERAL dp._moment_range(moment::timestamp, $2, $3) AS r ORDER BY n",
        ("text[]", "text", "text"),
        (moments, type_name, time_zone),
    )
    return [(int(row["first"]), int(row["last"])) for row in rows]


def try_lock(root: int, for_session: bool) -> int | None:
    """Take the lock of a hierarchy; the process that holds it where it cannot be had, None where it could."""
    function = "pg_try_advisory_lock" if for_session else "pg_try_advisory_xact_lock"
    if database.query(f"SELECT {function}(dp._lock_class(), $1::int) AS taken", ("int",), (signed(root),))[0]["taken"]:
        return None
    rows = database.query("SELECT dp._lock_holder($1) AS pid", ("oid",), (root,))
    return int(rows[0]["pid"] or 0)


def unlock(root: int) -> None:
    """Give a session's lock of a hierarchy back."""
    database.query("SELECT pg_catalog.pg_advisory_unlock(dp._lock_class(), $1::int)", ("int",), (signed(root),))


def signed(oid: int) -> int:
    """An oid as the integer that an advisory lock takes."""
    return oid - (1 << 32) if oid >= 1 << 31 else oid


def resolve_relation(text: str, *, is_view: bool = False) -> int:
    """The oid of a regclass argument, by the caller's search_path: ask before it is pinned.

    A writable view stands for its table, which it may hide in that search_path; but where views are named.
    """
    row = database.query(
        "SELECT r.oid, (SELECT v.tbl::pg_catalog.oid FROM dp.writable_view_config v"
        "               WHERE v.view OPERATOR(pg_catalog.=) r.oid) AS tbl"
        " FROM (SELECT $1::pg_catalog.regclass::pg_catalog.oid AS oid) AS r",
        ("text",),
        (text,),
    )[0]
    return int(row["oid"] if is_view or row["tbl"] is None else row["tbl"])


def find_relation(text: str) -> int | None:
    """The oid of a relation, if there is one; by the search_path where the name has no schema."""
    rows = database.query("SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid", ("pg_catalog.text",), (text,))
    return None if rows[0]["oid"] is None else int(rows[0]["oid"])


def named(root: int | None) -> int:
    """The root that a call names: NULL is none."""
    if root is None:
        raise errors.InvalidParameter.of("root", None, "It must name a table.")
    return root


def relation_name(oid: int) -> str:
    """A relation as PostgreSQL writes it."""
    name = str(database.query("SELECT coalesce($1::regclass::text, 'NULL') AS name", ("oid",), (oid,))[0]["name"])
    return f"relation {name}, which does not exist," if name.isdigit() else name


def existing_relations(schema: str, names: list[str]) -> set[str]:
    """Which of some names are taken in a schema, by a relation or by a type: a table has a type of its name."""
    rows = database.query(
        "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = ANY ($2)"
        " UNION SELECT t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
        " WHERE n.nspname = $1 AND t.typname = ANY ($2) AND t.typelem = 0",
        ("name", "name[]"),
        (schema, names),
    )
    return {row["name"] for row in rows}
