"""Fixtures: a private server a session, a fresh database with the extension a test, and an unprivileged owner in it."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.database import Database, prepare_template
from tests.support.server import Server, installed_versions, make_server

_numbers = itertools.count(1)
KEY_FORMS = ("exact", "slice")


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
        "--one-form",
        nargs="?",
        type=int,
        const=0,
        choices=range(len(KEY_FORMS)),
        help="each test that knows both key forms in one of them only, half of the tests in this one, half in that;"
        " with 1 in the other one",
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


def in_other_form(items: list[pytest.Item], turn: int) -> list[pytest.Item]:
    """Of tests that run in both key forms those in the one that is not theirs: which one that is, the name decides."""
    found: dict[str, dict[str, pytest.Item]] = {}
    for item in items:
        callspec = getattr(item, "callspec", None)
        params = {} if callspec is None else callspec.params
        form = next((params[name] for name in ("form", "key_form") if params.get(name) in KEY_FORMS), None)
        if form is not None:
            rest = sorted(f"{name}={value}" for name, value in params.items() if value != form)
            found.setdefault(f"{item.nodeid.split('[')[0]} {rest}", {})[form] = item
    return [
        forms[KEY_FORMS[(zlib.crc32(name.encode()) + turn) % len(KEY_FORMS)]]
        for name, forms in found.items()
        if len(forms) == len(KEY_FORMS)
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file's tests on one server version stay together when several processes share the tests."""
    turn = config.getoption("--one-form")
    if turn is not None:
        left_out = in_other_form(items, turn)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        callspec = getattr(item, "callspec", None)
        version = callspec.params.get("server") if callspec else None
        item.add_marker(pytest.mark.xdist_group(f"{item.path.name} {version}"))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A private server with the extension in a template database, and the roles owner and stranger."""
    if request.param is None:
        pytest.fail("no PostgreSQL 15 or later with PL/Python is installed")
    is_large = request.config.getoption("--dialogs") > 10_000
    with make_server(request.param, on_disk=is_large) as running:
        prepare_template(running)
        yield running


@pytest.fixture
def db(server: Server) -> Iterator[Database]:
    """A fresh database that belongs to the unprivileged role owner; dropped afterwards."""
    database = Database.later(server, f"test_{next(_numbers)}")
    try:
        yield database
    finally:
        database.drop()


@pytest.fixture
def owner(db: Database) -> psycopg.Connection:
    """A connection as the unprivileged owner."""
    return db.connect()
