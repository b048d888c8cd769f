"""What the demo plays on: three databases with the same rows, plain and in both key forms."""

from __future__ import annotations

import datetime
import time
from typing import Any, NamedTuple

import psycopg

from tests.support import dialogporten
from tests.support.database import Database
from tests.support.server import Server

Connection = psycopg.Connection[Any]


class Stage(NamedTuple):
    """The databases, and the clock that the demo goes by."""

    server: Server
    plain: Connection
    exact: Connection
    slice: Connection
    now: datetime.datetime
    dialogs: int

    def form(self, key_form: str) -> Connection:
        """The hierarchy in one key form."""
        return self.exact if key_form == "exact" else self.slice

    @property
    def month(self) -> tuple[str, str]:
        """The month before this one: its first day, and the day after its last."""
        first = self.now.date().replace(day=1)
        before = (first - datetime.timedelta(days=1)).replace(day=1)
        return before.isoformat(), first.isoformat()


def open_stage(server: Server, dialogs: int) -> Stage:
    """Make the databases; they belong to the role owner, who is no superuser."""
    connections = {}
    for name in ("plain", "exact", "slice"):
        connections[name] = Database.create(server, f"demo_{name}").connect()
        connections[name].execute("SET TimeZone = 'UTC'; SET client_min_messages = warning")
        connections[name].execute(dialogporten.schema())
    now = connections["plain"].execute("SELECT now()").fetchone()
    assert now is not None
    return Stage(server, *connections.values(), now[0].astimezone(datetime.timezone.utc), dialogs)


def slice_calls(now: datetime.datetime) -> list[str]:
    """Years for history, quarters for this year, months for now; more leaves for the month that is written to."""
    current = now.date().replace(day=1)
    quarter = current.replace(month=current.month - (current.month - 1) % 3)
    following = (current + datetime.timedelta(days=32)).replace(day=1)
    steps = [
        (current.replace(year=current.year - 3, month=1), current.replace(month=1), ", slice => '1 year'"),
        (current.replace(month=1), quarter, ", slice => '3 months'"),
        (quarter, current, ""),
        (current, following, ", hash_partitions => 4"),
    ]
    root = dialogporten.ROOT
    calls = [
        f"CALL dp.create_slices('{root}', '{lower}', '{upper}'{width})"
        for lower, upper, width in steps
        if lower < upper
    ]
    return [*calls, f"CALL dp.run_maintenance('{root}')"]


def load(stage: Stage, key_form: str | None) -> float:
    """Generate the rows; the seconds it took."""
    connection = stage.plain if key_form is None else stage.form(key_form)
    started = time.monotonic()
    first = f"{stage.now.year - 3}-01-01 00:00+00"
    connection.execute(dialogporten.rows(key_form, stage.dialogs, first, stage.now.isoformat()))
    connection.execute("ANALYZE")
    return time.monotonic() - started


def rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return connection.execute(query, values or None).fetchall()


def value(connection: Connection, query: str, *values: object) -> Any:
    """The first column of the first row."""
    return rows(connection, query, *values)[0][0]
