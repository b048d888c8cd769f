"""A dialog's family: its row and all rows below it."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from tests.acceptance.conftest import Hierarchy
from tests.support import dialogporten

Connection = psycopg.Connection[Any]
Family = dict[str, list[UUID]]


class Place(NamedTuple):
    """Where a row is: its partition keys and its leaf, without the table's name."""

    range_or_slice_key: Any
    party: str
    leaf: str


def pick(connection: Connection, condition: str) -> UUID:
    """The first dialog under a condition that has a member in every table of the hierarchy."""
    row = connection.execute(
        f"""SELECT "Id" FROM "Dialog" WHERE {condition} AND right("ExternalReference", 1) = '0' ORDER BY "Id" LIMIT 1"""
    ).fetchone()
    assert row is not None, f"no dialog where {condition}"
    return row[0]


def family(connection: Connection, dialog: UUID) -> Family:
    """The ids of all rows of a dialog, found by the foreign keys, without any partition key."""
    found: Family = {table: [] for table in dialogporten.TABLES}
    found["Dialog"] = [dialog]
    for child, parent, column, _ in dialogporten.PARENTS:
        if child == parent:
            continue
        rows = connection.execute(f'SELECT "Id" FROM "{child}" WHERE "{column}" = ANY (%s)', (found[parent],))
        found[child] += [row[0] for row in rows if row[0] not in found[child]]
    assert all(found.values()), "a family has members in every table"
    return found


def places(connection: Connection, hierarchy: Hierarchy, members: Family) -> dict[str, list[Place]]:
    """Where the members of a family are."""
    found = {}
    for table, ids in members.items():
        rows = connection.execute(
            f'SELECT "{hierarchy.column}", "Party", replace(tableoid::regclass::text, %s, \'\')'
            f' FROM "{table}" WHERE "Id" = ANY (%s)',
            (table + "_", ids),
        )
        found[table] = [Place(row[0], row[1], row[2].strip('"')) for row in rows]
    return found


def count_by_keys(connection: Connection, hierarchy: Hierarchy, members: Family, place: Place) -> dict[str, int]:
    """How many members each table holds under these partition keys."""
    found = {}
    for table, ids in members.items():
        row = connection.execute(
            f'SELECT count(*) FROM "{table}" WHERE "Id" = ANY (%s) AND "{hierarchy.column}" = %s AND "Party" = %s',
            (ids, place.range_or_slice_key, place.party),
        ).fetchone()
        assert row is not None
        found[table] = row[0]
    return found


def sizes(members: Family) -> dict[str, int]:
    """How many members a family has in each table."""
    return {table: len(ids) for table, ids in members.items()}


def total(connection: Connection) -> dict[str, int]:
    """How many rows each table holds."""
    found = {}
    for table in dialogporten.TABLES:
        row = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
        assert row is not None
        found[table] = row[0]
    return found


def contents(
    connection: Connection, columns: dict[str, list[str]], members: Family
) -> dict[str, list[tuple[Any, ...]]]:
    """What is left of the members of a family, in the columns that are named."""
    found = {}
    for table, ids in members.items():
        listed = ", ".join(f'"{column}"' for column in columns[table])
        query = f'SELECT {listed} FROM "{table}" WHERE "Id" = ANY (%s) ORDER BY "Id"'
        found[table] = connection.execute(query, (ids,)).fetchall()
    return found


def columns(connection: Connection) -> dict[str, list[str]]:
    """The columns of every table."""
    return {
        table: [each.name for each in connection.execute(f'SELECT * FROM "{table}" LIMIT 0').description or ()]
        for table in dialogporten.TABLES
    }


def check_deferred(connection: Connection) -> None:
    """Check now what a commit would check."""
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
