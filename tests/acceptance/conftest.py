"""The Dialogporten hierarchy with rows: once in each key form, and once as plain tables, for a session."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.support import dialogporten
from tests.support.database import Database
from tests.support.server import Server

FIRST = "2023-01-01 00:00+00"
NOW = "2025-06-15 12:00+00"
DIALOGS = 600
PREMAKE = 3
HISTORY_SLICES = ["2023", "2024"]  # a year each
MONTH_SLICES = ["2025_01", "2025_02", "2025_03", "2025_04", "2025_05", "2025_06"]
PREMADE_SLICES = ["2025_07", "2025_08", "2025_09"]  # by maintenance on the 15th of June

_copies = itertools.count(1)


class Hierarchy:
    """A database with the hierarchy in one key form, or with plain tables (key form None)."""

    def __init__(self, database: Database, key_form: str | None) -> None:
        self.database = database
        self.key_form = key_form

    @property
    def column(self) -> str:
        """The column that the tables are cut by."""
        return dialogporten.partition_column(str(self.key_form))

    @property
    def keys(self) -> tuple[str, str]:
        """Both partition keys."""
        return (self.column, dialogporten.HASH_KEY)

    def connect(self, **settings: str) -> psycopg.Connection[Any]:
        """A connection of the unprivileged owner."""
        return self.database.connect(**settings)

    def on_keys(self, left: str, right: str) -> str:
        """The condition that joins two tables on both keys."""
        return " AND ".join(f'{left}."{key}" = {right}."{key}"' for key in self.keys)


def _declared(server: Server, key_form: str) -> Hierarchy:
    database = Database.create(server, f"dialogporten_{key_form}")
    owner = database.connect()
    owner.execute(dialogporten.schema())
    for call in dialogporten.declaration(key_form, hash_partitions=2, premake=PREMAKE):
        owner.execute(call)
    root = dialogporten.ROOT
    owner.execute(f"CALL dp.create_slices('{root}', '2023-01-01', '2025-01-01', slice => '1 year')")
    owner.execute(f"CALL dp.create_slices('{root}', '2025-01-01', '2025-06-01')")
    owner.execute(f"CALL dp.create_slices('{root}', '2025-06-01', '2025-07-01', hash_partitions => 4)")
    owner.execute(f"SET dp.now = '{NOW}'")
    owner.execute(f"CALL dp.run_maintenance('{root}')")
    owner.execute(dialogporten.rows(key_form, DIALOGS, FIRST, NOW))
    owner.execute("ANALYZE")
    owner.close()
    return Hierarchy(database, key_form)


@pytest.fixture(scope="session", params=dialogporten.KEY_FORMS)
def prepared(server: Server, request: pytest.FixtureRequest) -> Iterator[Hierarchy]:
    """The hierarchy in each key form; nobody changes it for good."""
    hierarchy = _declared(server, request.param)
    yield hierarchy
    hierarchy.database.drop()


@pytest.fixture(scope="session")
def plain(server: Server) -> Iterator[Hierarchy]:
    """The same rows in ordinary tables: what applications are used to."""
    database = Database.create(server, "dialogporten_plain")
    owner = database.connect()
    owner.execute(dialogporten.schema())
    owner.execute(dialogporten.rows(None, DIALOGS, FIRST, NOW))
    owner.execute("ANALYZE")
    owner.close()
    yield Hierarchy(database, None)
    database.drop()


@pytest.fixture
def session(prepared: Hierarchy) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of the owner on the prepared hierarchy, undone at the end."""
    with undone(prepared) as connection:
        yield connection


@pytest.fixture
def plain_session(plain: Hierarchy) -> Iterator[psycopg.Connection[Any]]:
    """The same on the plain tables."""
    with undone(plain) as connection:
        yield connection


@pytest.fixture
def copy(server: Server, prepared: Hierarchy) -> Iterator[Hierarchy]:
    """A copy of the prepared hierarchy for what commits."""
    for connection in prepared.database.connections:
        connection.close()
    name = f"{prepared.database.name}_{next(_copies)}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {prepared.database.name} OWNER owner")
    database = Database(server, name)
    yield Hierarchy(database, prepared.key_form)
    database.drop()


def undone(hierarchy: Hierarchy) -> Any:
    """A connection in a transaction that is rolled back."""
    return _Undone(hierarchy.connect)


class _Undone:
    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect

    def __enter__(self) -> psycopg.Connection[Any]:
        self._connection = self._connect()
        self._connection.execute("BEGIN")
        return self._connection

    def __exit__(self, *exc: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()
