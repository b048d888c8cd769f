"""What needs a server of its own: a full lock table, a standby, pg_cron."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database, prepare_template
from tests.support.server import Server


@pytest.fixture
def other_server(server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of its own, with the settings that the test asks for."""
    with type(server)(server.version, getattr(request, "param", {})) as running:
        prepare_template(running)
        yield running


@contextmanager
def owner_of(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection as owner to a database of its own."""
    Database.create(server, "app")
    with server.connect("app", "owner") as connection:
        yield connection


@pytest.mark.parametrize("other_server", [{"max_connections": "20", "max_locks_per_transaction": "64"}], indirect=True)
def test_a_step_beyond_the_lock_budget_is_refused_before_anything_changes(other_server: Server) -> None:
    with owner_of(other_server) as owner:
        check_refusal(owner)


def check_refusal(owner: psycopg.Connection[Any]) -> None:
    family.declare(owner, hash_partitions=16)
    with pytest.raises(psycopg.errors.OutOfMemory) as caught:
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2016-01-01', '2026-01-01')")
    assert "max_locks_per_transaction" in str(caught.value.diag.message_hint)
    assert owner.execute("SELECT count(*) FROM dp.slice").fetchone() == (0,)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2026-01-01')")
    assert len(family.slices(owner, "Actor")) == 12


def test_ten_years_of_sixteen_leaves_fit_into_the_usual_lock_table(other_server: Server) -> None:
    with owner_of(other_server) as owner:
        check_ten_years(other_server, owner)


def check_ten_years(other_server: Server, owner: psycopg.Connection[Any]) -> None:
    family.declare(owner, hash_partitions=16)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2016-01-01', '2026-01-01')")
    assert owner.execute("SELECT count(*) FROM dp.slice").fetchone() == (120 * 3,)
    stranger = psycopg.connect(other_server.dsn("app", "stranger"), autocommit=True)
    stranger.execute("SET statement_timeout = '1 min'")  # a hundred times what they take: they must not be quadratic
    for view, rows in (("leaf", 120 * 3 * 16), ("slice", 360), ("hierarchy", 1)):
        assert len(stranger.execute(f"SELECT * FROM dp.{view}").fetchall()) == rows  # type: ignore[arg-type]
    stranger.close()
    for call in ("detach_slice", "drop_slice"):  # PostgreSQL itself would lock more than it has room for
        with pytest.raises(psycopg.errors.OutOfMemory, match="more than the budget") as caught:
            owner.execute(f"SELECT dp.{call}('\"Dialog\"', '2016-01-01')")  # type: ignore[arg-type]
        assert "max_locks_per_transaction" in str(caught.value.diag.message_hint)
    assert len(family.slices(owner, "Actor")) == 120


def test_on_a_standby_maintenance_does_nothing(other_server: Server) -> None:
    if type(other_server) is not Server:
        pytest.skip("a standby inside a container cannot be reached from outside; the local version is tested")
    with owner_of(other_server) as owner:
        family.declare(owner, premake=1)
    copy = Path(other_server.directory) / "standby"
    other_server.run(
        "pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", str(copy), "-d", other_server.inner_dsn()
    )
    start = ["-o", f"-p 5433 -c unix_socket_directories={other_server.directory}", "-w", "-t", "60", "start"]
    other_server.run("pg_ctl", "-D", str(copy), "-l", str(other_server.directory / "standby.log"), *start)
    try:
        dsn = other_server.dsn("app", "owner").replace("port=5432", "port=5433")
        notices: list[str] = []
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))
            connection.execute("CALL dp.run_maintenance()")
            assert notices == ["the server is a standby: nothing to do"]
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="standby"):
                connection.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-02-01')")
            assert connection.execute("SELECT count(*) FROM dp.slice").fetchone() == (0,)
    finally:
        other_server.run("pg_ctl", "-D", str(copy), "-m", "immediate", "-w", "stop")
