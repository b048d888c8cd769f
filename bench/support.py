"""The server's databases, sessions and clocks that benchmarks share."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import psycopg

from tests.support.database import Database, prepare_template
from tests.support.server import Server

Connection = psycopg.Connection[Any]


class Bench:
    """A server with the extension in a template database."""

    def __init__(self, server: Server, dialogs: list[int]) -> None:
        prepare_template(server)
        self.server = server
        self.dialogs = dialogs
        self._numbers = itertools.count(1)
        with server.connect() as admin:
            self.server_version = str(admin.info.parameter_status("server_version")).split()[0]

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh database that the role owner owns, gone afterwards."""
        database = Database.create(self.server, f"bench_{next(self._numbers)}")
        try:
            yield database
        finally:
            database.drop()

    def kept_database(self) -> Database:
        """A fresh database that stays as long as the server."""
        return Database.create(self.server, f"bench_{next(self._numbers)}")


def session(database: Database) -> Connection:
    """The owner's session; statements are planned each time, with their constants, as psql has it.

    Bare SQL is bare: the event trigger for plain DDL leaves it alone.
    """
    connection = database.connect(**{"dp.propagate_ddl": "off"})
    connection.prepare_threshold = None
    return connection


def milliseconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def interleaved(times: int, *works: Callable[[], object]) -> list[float]:
    """The median milliseconds of each, taken in turns, so that a busy moment of the machine hits all alike."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(times):
        for found, work in zip(taken, works, strict=True):
            found.append(milliseconds(work))
    return [median(found) for found in taken]


def value(connection: Connection, query: str, *values: object) -> Any:
    """The first column of the first row."""
    row = connection.execute(query, values or None).fetchone()
    assert row is not None
    return row[0]
