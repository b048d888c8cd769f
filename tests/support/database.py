"""One test's database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.server import Server

TEMPLATE = "dp_template"


def prepare_template(server: Server) -> None:
    """A database with the extension, to be copied for each test; roles that own no more than their tables."""
    with server.connect() as admin:
        admin.execute("CREATE ROLE owner LOGIN")
        admin.execute("CREATE ROLE stranger LOGIN")
        admin.execute("CREATE ROLE reader NOLOGIN")
        admin.execute(f"CREATE DATABASE {TEMPLATE}")
    with server.connect(TEMPLATE) as admin:
        admin.execute("ALTER SCHEMA public OWNER TO owner")
        admin.execute("CREATE EXTENSION plpython3u")
        admin.execute("CREATE EXTENSION dialog_partition")


class Database:
    """A database, usually a copy of the template, and the connections that a test opened to it."""

    def __init__(self, server: Server, name: str, *, is_there: bool = True) -> None:
        self.server = server
        self._name = name
        self._is_there = is_there
        self.connections: list[psycopg.Connection[Any]] = []

    @classmethod
    def create(cls, server: Server, name: str) -> Database:
        """Copy the template; the role owner owns the copy and its schema public."""
        database = cls.later(server, name)
        database._copy(TEMPLATE)
        return database

    @classmethod
    def later(cls, server: Server, name: str) -> Database:
        """The same when somebody asks for its name; ``begin_with`` before that spares the copy."""
        return cls(server, name, is_there=False)

    @property
    def name(self) -> str:
        """What it is called: who asks wants to connect."""
        if not self._is_there:
            self._copy(TEMPLATE)
        return self._name

    def _copy(self, template: str) -> None:
        with self.server.connect() as admin:
            admin.execute(f"CREATE DATABASE {self._name} TEMPLATE {template} OWNER owner STRATEGY file_copy")
        self._is_there = True

    def begin_with(self, prepare: Callable[..., object], *given: object) -> None:
        """Be as prepare(self, *given) makes it, which is done once for a server and copied from then on."""
        key = (prepare.__module__, prepare.__qualname__, *given)
        name = self.server.prepared.get(key)
        if name is None:
            prepare(self, *given)
            name = f"prepared_{len(self.server.prepared) + 1}"
            self.close()
            with self.server.connect() as admin:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.name} OWNER owner STRATEGY file_copy")
            self.server.prepared[key] = name
            return
        self.drop()
        self._copy(name)

    def close(self) -> None:
        """Close every connection."""
        while self.connections:
            self.connections.pop().close()

    def drop(self) -> None:
        """Close every connection and drop it."""
        self.close()
        if self._is_there:
            with self.server.connect() as admin:
                admin.execute(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")
            self._is_there = False

    def connect(self, user: str = "owner", **settings: str) -> psycopg.Connection[Any]:
        """A connection that commits each statement; closed with the test."""
        connection = self.server.connect(self.name, user)
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        self.connections.append(connection)
        return connection

    def rows(self, query: str, *values: object, user: str = "postgres") -> list[dict[str, Any]]:
        """Rows as dictionaries, asked by a connection of its own."""
        with self.server.connect(self.name, user) as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values or None).fetchall()

    def value(self, query: str, *values: object, user: str = "postgres") -> Any:
        """The first column of the first row."""
        row = self.rows(query, *values, user=user)[0]
        return next(iter(row.values()))


def with_dblink(database: Database) -> str:
    """What an administrator does once for a second session; and how the owner connects from inside the server."""
    with database.server.connect(database.name) as admin:
        admin.execute("CREATE EXTENSION IF NOT EXISTS dblink")
        admin.execute("GRANT EXECUTE ON FUNCTION dblink_connect_u(text, text) TO owner")
    return f"host={database.server.socket_directory}"


def with_squeeze(database: Database) -> None:
    """What an administrator does once, so that the owner may use pg_squeeze."""
    with database.server.connect(database.name) as admin:
        admin.execute("CREATE EXTENSION pg_squeeze")
        admin.execute("ALTER ROLE owner REPLICATION")
        admin.execute("GRANT USAGE ON SCHEMA squeeze TO owner")
        admin.execute("GRANT INSERT ON squeeze.log, squeeze.errors TO owner")
        admin.execute("GRANT USAGE ON SEQUENCE squeeze.errors_id_seq TO owner")
