"""The rows of tables in two numbers each, to compare before and after: how many, and a sum that no order changes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

Connection = psycopg.Connection[Any]
Columns = dict[str, list[str]]


class Contents(NamedTuple):
    """What a table has."""

    rows: int
    checksum: Decimal


def columns(connection: Connection, tables: tuple[str, ...]) -> Columns:
    """The columns of tables that are named as SQL has them, quoted."""
    return {
        table: [
            row[0]
            for row in connection.execute(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                " AND NOT attisdropped ORDER BY attnum",
                [table],
            )
        ]
        for table in tables
    }


def contents(connection: Connection, of: Columns) -> dict[str, Contents]:
    """Rows and checksum of every table, over these columns alone: what a table has beside them does not count."""
    connection.execute("SET TimeZone = 'UTC'; SET extra_float_digits = 1")  # both decide how values are written
    found = {}
    for table, names in of.items():
        checksum = f"sum(hashtextextended(ROW({', '.join(names)})::text, 0)::numeric)"
        row = connection.execute(f"SELECT count(*), coalesce({checksum}, 0) FROM {table}").fetchone()
        assert row is not None
        found[table] = Contents(*row)
    return found
