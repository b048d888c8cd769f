"""A hierarchy of three tables: Dialog, its activities, and actors that hang under both (an unequal diamond)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.database import Database
from tests.support.server import Server

TABLES = ("Dialog", "Activity", "Actor")


def declare(connection: psycopg.Connection[Any], key_form: str = "exact", **options: object) -> None:
    """Create and declare the three tables; options are those of dp.create_hierarchy."""
    connection.execute(
        'CREATE TABLE "Dialog" ("Id" bigint PRIMARY KEY, "Party" text NOT NULL, "UpdatedAt" timestamptz NOT NULL,'
        ' "Title" text)'
    )
    connection.execute(
        'CREATE TABLE "Activity" ("Id" bigint PRIMARY KEY, "DialogId" bigint NOT NULL, "Text" text,'
        ' FOREIGN KEY ("DialogId") REFERENCES "Dialog" ON DELETE CASCADE)'
    )
    connection.execute(
        'CREATE TABLE "Actor" ("Id" bigint PRIMARY KEY, "ActivityId" bigint, "DialogId" bigint, "Name" text,'
        ' FOREIGN KEY ("ActivityId") REFERENCES "Activity" ON DELETE CASCADE,'
        ' FOREIGN KEY ("DialogId") REFERENCES "Dialog" ON DELETE SET NULL)'
    )
    options = {"hash_partitions": 2, "key_form": key_form, **options}
    named = "".join(f", {name} => %s" for name in options)
    connection.execute(f"SELECT dp.create_hierarchy('\"Dialog\"', 'UpdatedAt', 'Party'{named})", list(options.values()))
    connection.execute("SELECT dp.register_child('\"Activity\"', '\"Dialog\"')")
    connection.execute("SELECT dp.register_child('\"Actor\"', '\"Activity\"')")
    connection.execute("SELECT dp.register_child('\"Actor\"', '\"Dialog\"')")


def with_a_gap(connection: psycopg.Connection[Any], key_form: str, months: int, dialogs: int) -> None:
    """A family with so many dialogs in each of some months, no slice of March, and a default slice that holds rows."""
    declare(connection, key_form)
    connection.execute("SELECT dp.configure('\"Dialog\"', default_slice => true, lookup_slices => 2)")
    connection.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01')")
    connection.execute("CALL dp.create_slices('\"Dialog\"', '2025-04-01', '2025-08-01')")
    for month in range(1, months + 1):
        fill(connection, f"2025-{month:02}-10 12:00+00", month * 10, dialogs)


@contextmanager
def in_both_forms(
    server: Server, name: str, prepare: Callable[[psycopg.Connection[Any]], object], **options: object
) -> Iterator[dict[str, Database]]:
    """A database for each key form with a family that ``prepare`` fills, for tests that leave nothing behind."""
    found = {}
    for form in ("exact", "slice"):
        found[form] = Database.create(server, f"{name}_{form}")
        owner = found[form].connect(**{"dp.now": "2025-06-15 00:00+00"})
        declare(owner, form, **options)
        prepare(owner)
    yield found
    for database in found.values():
        database.drop()


def key_column(connection: psycopg.Connection[Any]) -> str:
    """The first-level partition column, which every table carries."""
    row = connection.execute("SELECT coalesce(slice_key, range_key) FROM dp.hierarchy").fetchone()
    assert row is not None
    return str(row[0])


def fill(connection: psycopg.Connection[Any], moment: str, first: int, count: int) -> None:
    """Dialogs of one moment, each with two activities and three actors, one of them without a parent."""
    key = key_column(connection)
    value = "date_trunc('month', %(at)s::timestamptz, 'UTC')::date" if key != "UpdatedAt" else "%(at)s::timestamptz"
    root_key, root_value = (f', "{key}"', f", {value}") if key != "UpdatedAt" else ("", "")
    values: dict[str, object] = {"at": moment, "first": first, "last": first + count - 1}
    with connection.transaction():
        connection.execute(
            f'INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt", "Title"{root_key})'
            f" SELECT n, 'party ' || n %% 7, %(at)s::timestamptz, 'dialog ' || n{root_value}"
            " FROM generate_series(%(first)s::bigint, %(last)s) AS n",
            values,
        )
        connection.execute(
            f'INSERT INTO "Activity" ("Id", "DialogId", "Party", "Text", "{key}")'
            f" SELECT n * 10 + k, n, 'party ' || n %% 7, 'activity', {value}"
            " FROM generate_series(%(first)s::bigint, %(last)s) AS n, generate_series(1, 2) AS k",
            values,
        )
        connection.execute(
            f'INSERT INTO "Actor" ("Id", "ActivityId", "DialogId", "Party", "Name", "{key}")'
            " SELECT n * 10 + k, CASE k WHEN 1 THEN n * 10 + 1 END, CASE k WHEN 2 THEN n END, 'party ' || n %% 7,"
            f" 'actor', {value}"
            " FROM generate_series(%(first)s::bigint, %(last)s) AS n, generate_series(1, 3) AS k",
            values,
        )


def counts(connection: psycopg.Connection[Any], suffix: str = "") -> dict[str, int]:
    """How many rows each table shows, or each relation named after one with a suffix."""
    found = {}
    for table in TABLES:
        row = connection.execute(f'SELECT count(*) FROM "{table}{suffix}"').fetchone()
        assert row is not None
        found[table] = row[0]
    return found


def default_counts(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """How many rows each default slice holds."""
    return counts(connection, "_default")


def slices(connection: psycopg.Connection[Any], table: str = "Dialog") -> list[str]:
    """The attached slices of a table, by their own order, without the table's name in front."""
    rows = connection.execute(
        "SELECT slice::text FROM dp.slice WHERE tbl = %s::regclass AND is_attached ORDER BY is_default, lower_local",
        [f'"{table}"'],
    ).fetchall()
    return [row[0].split(".")[-1].strip('"').removeprefix(table + "_") for row in rows]


def leftovers(connection: psycopg.Connection[Any]) -> list[str]:
    """What an interrupted call might leave: tables outside the tree, CHECKs that exclude a slice."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        " AND NOT c.relispartition AND c.relname <> ALL (%s) AND c.relname NOT LIKE '%%_template'"
        " UNION ALL SELECT conname FROM pg_constraint WHERE conname LIKE 'dp\\_excludes\\_%%' ORDER BY 1",
        [list(TABLES)],
    ).fetchall()
    return [row[0] for row in rows]
