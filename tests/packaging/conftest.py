"""A distribution of what is committed, and servers that do not have the extension yet."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server, installed_versions


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "clean_server" in metafunc.fixturenames:
        versions = installed_versions() or [None]
        metafunc.parametrize("clean_server", versions, indirect=True, ids=lambda v: f"pg{v}")


@pytest.fixture
def clean_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a prefix of its own, into which nothing of ours has been installed."""
    if request.param is None:
        pytest.fail("no PostgreSQL 15 or later with PL/Python is installed")
    with Server(request.param, extension=False) as running:
        # pgxn looks whether it may write there before it installs anything
        Path(running.run("pg_config", "--libdir").strip()).mkdir(parents=True, exist_ok=True)
        yield running


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip that make dist builds."""
    directory = tmp_path_factory.mktemp("dist")
    done = subprocess.run([ROOT / "scripts" / "dist", directory], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
