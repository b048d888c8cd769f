"""A session of the server's own making, by extension dblink; queries are sent to it, and it is waited for."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import time

from . import database
from .sql import Identifier

NAME = "dialog_partition"  # of the connection in this session
LONGEST_SLEEP = 0.001  # seconds, where no socket tells that there is an answer
OPEN_FILES = "/dev/fd"  # of this process, where the system lists them


class Dblink:
    """A session by extension dblink. Names are qualified: between commits the search_path is the caller's."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._sockets: list[int] = []
        function = Identifier(schema, "dblink_get_result")
        self._get_result = f"SELECT value FROM {function}($1) AS result (value pg_catalog.text)"
        # the second is the end, which has no rows
        self._get_results = f"{self._get_result} UNION ALL {self._get_result}"
        # one look, for there are thousands; what is begun behind it is begun in the same
        is_idle = f"{Identifier(schema, 'dblink_is_busy')}($1) = 0"
        results = f"(SELECT pg_catalog.count(*) FROM ({self._get_results}) AS result)"
        send = f"{Identifier(schema, 'dblink_send_query')}($1, $2)"
        self._get_results_if_ended = f"SELECT CASE WHEN {is_idle} THEN {results} END AS ended"
        self._go_on_if_ended = f"SELECT CASE WHEN {is_idle} AND {results} >= 0 THEN {send} END AS ended"

    def connect(self, connection: str, may_skip_password: bool) -> None:
        """Connect; what the server says of a connection that failed is the server's error."""
        before = _sockets()
        self._call("dblink_connect_u" if may_skip_password else "dblink_connect", connection)
        self._sockets = sorted(_sockets() - before)

    def send(self, statement: str) -> None:
        """Begin a statement without waiting for it."""
        self._call("dblink_send_query", statement)

    def is_busy(self) -> bool:
        """Whether the statement still runs."""
        return bool(self._call("dblink_is_busy"))

    def wait(self, seconds: float) -> None:
        """Wait until the other session says something, no longer than so many seconds."""
        if self._sockets:
            waiting = select.poll()  # select() knows no descriptor beyond 1023
            for descriptor in self._sockets:
                waiting.register(descriptor, select.POLLIN)
            waiting.poll(seconds * 1000)
        else:
            time.sleep(min(seconds, LONGEST_SLEEP))

    def result(self) -> str | None:
        """The first value of the statement's result, or its tag; its error is an error here."""
        rows = self._end(self._get_results)
        return rows[0]["value"] if rows else None

    def has_ended(self, following: str | None) -> bool:
        """Whether the statement is at its end, and the following one, if any, begun; its error is an error here."""
        rows = (
            self._end(self._get_results_if_ended) if following is None else self._end(self._go_on_if_ended, following)
        )
        return rows[0]["ended"] is not None

    def _end(self, query: str, *arguments: str) -> list[database.Row]:
        values = (NAME, *arguments)
        try:
            return database.query(query, ("pg_catalog.text",) * len(values), values)
        except database.ServerError as error:
            # a cancel of ours has come while the statement still runs; else nothing can be sent before the end
            if not (database.is_cancel(error) and self.is_busy()):
                database.query(self._get_result, ("pg_catalog.text",), (NAME,))
            raise

    def cancel(self) -> None:
        """Ask the other session to stop what it does."""
        self._call("dblink_cancel_query")

    def disconnect(self) -> None:
        """End the other session."""
        self._call("dblink_disconnect")

    def _call(self, function: str, *arguments: str) -> object:
        values = (NAME, *arguments)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        query = f"SELECT {Identifier(self._schema, function)}({places}) AS value"
        return database.query(query, ("pg_catalog.text",) * len(values), values)[0]["value"]


def _sockets() -> set[int]:
    """The sockets of this process: the one that a connection adds tells when there is an answer."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(OPEN_FILES):
            with contextlib.suppress(OSError):  # the listing's own is closed by now
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    found.add(int(name))
    return found
