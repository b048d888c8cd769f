"""Fixtures: a server with pg_cron, its database, and another one of the cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.database import Database, prepare_template
from tests.support.server import Server, make_server

SETTINGS = {
    "shared_preload_libraries": "pg_cron",
    "cron.database_name": "cron_home",
    "cron.use_background_workers": "on",
    "max_worker_processes": "20",
    "max_prepared_transactions": "5",
}


@pytest.fixture(scope="module")
def cron_server(server: Server) -> Iterator[Server]:
    """A server of the same version that has pg_cron, in the database cron_home."""
    with make_server(server.version, SETTINGS) as running:
        prepare_template(running)
        yield running


@pytest.fixture
def home(cron_server: Server) -> Iterator[Database]:
    """The database of pg_cron, with the role owner allowed to use it."""
    database = Database.create(cron_server, "cron_home")
    admin = database.connect("postgres")
    admin.execute("CREATE EXTENSION pg_cron")
    admin.execute("GRANT USAGE ON SCHEMA cron TO owner")
    try:
        yield database
    finally:
        database.drop()


@pytest.fixture
def other(home: Database) -> Iterator[Database]:
    """Another database of the cluster."""
    database = Database.create(home.server, "other")
    try:
        yield database
    finally:
        database.drop()
