"""Small hierarchies for tests: a root, one child, and the calls that declare them."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def declare(
    owner: Connection,
    key_type: str = "timestamptz",
    hash_type: str | None = "text",
    *,
    child: bool = True,
    **options: object,
) -> None:
    """Tables event and item (which refers to event), declared as a hierarchy by their column "at" and "party"."""
    party = f", party {hash_type} NOT NULL" if hash_type else ""
    owner.execute(f"CREATE TABLE event (id bigint PRIMARY KEY, at {key_type} NOT NULL{party}, body text)")
    if child:
        owner.execute("CREATE TABLE item (id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event)")
    options.setdefault("range_key", "at")
    if hash_type:
        options.setdefault("hash_key", "party")
        options.setdefault("hash_partitions", 2)
    call(owner, "SELECT dp.create_hierarchy", "event", **options)
    if child:
        owner.execute("SELECT dp.register_child('item', 'event', '{event_id}', 'CASCADE')")


def call(owner: Connection, function: str, *arguments: object, **named: object) -> list[tuple[Any, ...]]:
    """``SELECT dp.function(...)`` or ``CALL dp.procedure(...)``; the rows of a function."""
    places = ["%s"] * len(arguments) + [f"{name} => %s" for name in named]
    prefix = function.replace("SELECT dp.", "SELECT * FROM dp.")
    cursor = owner.execute(f"{prefix}({', '.join(places)})", [*arguments, *named.values()])
    return cursor.fetchall() if cursor.description else []


def create_slices(owner: Connection, lower: str, upper: str, root: str = "event", **named: object) -> None:
    """``CALL dp.create_slices(...)``."""
    call(owner, "CALL dp.create_slices", root, lower, upper, **named)


def bounds(owner: Connection, table: str = "event") -> list[tuple[str, str, str]]:
    """Name, lower and upper bound of every slice of a table, as the view shows them, in order."""
    rows = owner.execute(
        "SELECT slice::text, lower_bound, upper_bound FROM dp.slice WHERE tbl = %s::regclass AND NOT is_default",
        [table],
    ).fetchall()
    return sorted(rows, key=lambda row: (len(row[1]), row[1]) if row[1].lstrip("-").isdigit() else (0, row[1]))


def names(owner: Connection, table: str = "event") -> list[str]:
    """The names of a table's slices, in alphabetical order."""
    rows = owner.execute("SELECT slice::text FROM dp.slice WHERE tbl = %s::regclass", [table])
    return sorted(row[0] for row in rows)


def leaf_of(owner: Connection, table: str, condition: str) -> list[str]:
    """The leaves that hold the rows of a condition."""
    return [row[0] for row in owner.execute(f"SELECT tableoid::regclass::text FROM {table} WHERE {condition}")]
