"""Fixtures: a private server a session, a fresh database with the extension a test, and an unprivileged owner in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.database import Database, prepare_template
from tests.support.server import Server, installed_versions, make_server

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server-versions",
        type=lambda text: [int(version) for version in text.split(",")],
        help="PostgreSQL major versions, as 15,17,18; those that are not installed here run in containers"
        " (default: all that are installed here)",
    )
    parser.addoption(
        "--dialogs", type=int, default=100, help="how many dialogs the acceptance test of conversion has (default: 100)"
    )
    parser.addoption(
        "--write-expected",
        action="store_true",
        help="write tests/contents/expected/objects.txt anew, for review with git diff",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        versions = metafunc.config.getoption("--server-versions") or installed_versions() or [None]
        metafunc.parametrize("server", versions, indirect=True, scope="session", ids=lambda v: f"pg{v}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests on one server version stay together when several processes share the tests."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        version = callspec.params.get("server") if callspec else None
        item.add_marker(pytest.mark.xdist_group(f"{item.path.name} {version}"))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A private server with the extension in a template database, and the roles owner and stranger."""
    if request.param is None:
        pytest.fail("no PostgreSQL 15 or later with PL/Python is installed")
    with make_server(request.param) as running:
        prepare_template(running)
        yield running


@pytest.fixture
def db(server: Server) -> Iterator[Database]:
    """A fresh database that belongs to the unprivileged role owner; dropped afterwards."""
    database = Database.create(server, f"test_{next(_numbers)}")
    try:
        yield database
    finally:
        database.drop()


@pytest.fixture
def owner(db: Database) -> psycopg.Connection:
    """A connection as the unprivileged owner."""
    return db.connect()
