"""Leaves are ordered by pg_squeeze while others read and write: nobody waits long, and no write is lost."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.server.test_physical_order import NOW, closed, disorder, everything, prepare
from tests.support.database import Database, prepare_template, with_dblink, with_squeeze
from tests.support.hierarchies import call
from tests.support.server import SQUEEZE_SETTINGS, Server, allow_squeeze, has_squeeze, make_server

Connection = psycopg.Connection[Any]
LOCK_TIMEOUT_MS = 200


@pytest.fixture(scope="module")
def online_server(server: Server) -> Iterator[Server]:
    """A server of the same version with pg_squeeze."""
    if not has_squeeze(server.version):
        pytest.skip("pg_squeeze is not installed for this version")
    with make_server(server.version, SQUEEZE_SETTINGS) as running:
        prepare_template(running)
        allow_squeeze(running)
        yield running


@pytest.fixture
def database(online_server: Server) -> Iterator[Database]:
    database = Database.later(online_server, "online")
    try:
        yield database
    finally:
        database.drop()
        with online_server.connect() as admin:
            admin.execute("ALTER ROLE owner NOREPLICATION")


@pytest.fixture(params=["exact", "slice"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def owner(database: Database, form: str) -> Connection:
    """Two months and the current one in random order, and a superuser who has made pg_squeeze ready for the owner."""
    database.begin_with(prepare, form)
    with_squeeze(database)
    owner = database.connect(**{"dp.now": NOW})
    call(owner, "SELECT dp.configure", "event", lock_timeout=f"{LOCK_TIMEOUT_MS} ms")
    return owner


@pytest.fixture
def connection(database: Database) -> str:
    return with_dblink(database)


one_form = pytest.mark.parametrize("form", ["slice"], indirect=True)


def squeezed(database: Database) -> list[str]:
    return [row["tabname"] for row in database.rows("SELECT tabname FROM squeeze.log ORDER BY tabname")]


class Writers:
    """Sessions that change rows of closed months, each row in a copy of its table in the same transaction, too."""

    def __init__(self, database: Database, form: str) -> None:
        self.database, self.key = database, "at_slice" if form == "slice" else "at"
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.longest = 0.0
        self.count = 0
        self.threads = [threading.Thread(target=self.write, args=(number,)) for number in range(3)]

    def __enter__(self) -> Writers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert self.errors == []

    def write(self, number: int) -> None:
        choice = random.Random(number)
        try:
            with self.database.server.connect(self.database.name, "owner") as connection:
                while not self.stop.is_set():
                    since = time.monotonic()
                    with connection.transaction(), contextlib.suppress(IndexError):
                        self.change(connection, choice, number)
                    self.longest = max(self.longest, time.monotonic() - since)
                    self.count += 1
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            self.errors.append(error)

    def change(self, connection: Connection, choice: random.Random, number: int) -> None:
        """One event of this session's own, or one of its items."""
        event = choice.randrange(2000) * 3 + number + 1
        text = "".join(choice.choices("abcdefgh", k=choice.randrange(300)))
        what = choice.choice(["update", "update", "insert", "delete", "delete items"])
        for table in ("event", "item"):
            statements = {
                "update": f"UPDATE {{}} SET body = '{text}' WHERE id = {event}" if table == "event" else "",
                "insert": f"INSERT INTO {{}} (id, event_id, party, {self.key}) SELECT {int(time.monotonic_ns())},"
                f" e.id, e.party, e.{self.key} FROM event_copy AS e WHERE e.id = {event}"
                if table == "item"
                else "",
                "delete": f"DELETE FROM {{}} WHERE {'id' if table == 'event' else 'event_id'} = {event}",
                "delete items": f"DELETE FROM {{}} WHERE event_id = {event}" if table == "item" else "",
            }
            if statements[what]:
                for name in (table, f"{table}_copy"):
                    connection.execute(statements[what].format(name))  # type: ignore[call-overload]


def copy(owner: Connection) -> None:
    for table in ("event", "item"):
        owner.execute(f"CREATE TABLE {table}_copy AS TABLE {table}")  # type: ignore[call-overload]
        owner.execute(f"ALTER TABLE {table}_copy ADD PRIMARY KEY (id)")  # type: ignore[call-overload]
    owner.execute("CREATE INDEX ON item_copy (event_id)")


def difference(owner: Connection) -> int:
    """Rows that one has and the other has not."""
    count = 0
    for table in ("event", "item"):
        for first, second in ((table, f"{table}_copy"), (f"{table}_copy", table)):
            query = f"SELECT count(*) FROM (TABLE {first} EXCEPT ALL TABLE {second}) AS missing"
            count += owner.execute(query).fetchone()[0]  # type: ignore[call-overload, index]
    return count


def test_no_write_is_lost(database: Database, owner: Connection, connection: str, form: str) -> None:
    copy(owner)
    with Writers(database, form) as writers:
        while writers.count < 20:
            time.sleep(0.01)
        while True:
            call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection, threshold=1)
            taken = database.value("SELECT sum(ins + upd + del) FROM squeeze.log")
            if taken > 100 and len(set(squeezed(database))) == 8:
                break
    assert difference(owner) == 0
    assert owner.execute("SELECT count(*) FROM item WHERE event_id NOT IN (SELECT id FROM event)").fetchone() == (0,)
    for table, key in (("event", "party, at DESC"), ("item", "event_id")):
        owner.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        by_index = f"SELECT count(*) FROM (SELECT id FROM {table} ORDER BY {key}) AS read"
        assert owner.execute(by_index).fetchone() == owner.execute(f"SELECT count(*) FROM {table}_copy").fetchone()  # type: ignore[call-overload]
    assert call(owner, "SELECT dp.drift", "event") == []
    assert [row for row in call(owner, "SELECT dp.check", "event") if row[0] == "error"] == []


def test_the_online_method_is_taken_where_it_can_work(database: Database, owner: Connection, connection: str) -> None:
    rows = everything(owner)
    assert min(closed(disorder(owner))) > 1.5
    call(owner, "CALL dp.cluster", "event", connection=connection)
    assert len(squeezed(database)) == 8
    assert max(closed(disorder(owner))) < 1.3
    assert everything(owner) == rows
    leaves = "relname ~ '_2025_0[23]_h0[01]$' AND relkind = 'r'"
    assert database.value(f"SELECT min(relallvisible::float8 / relpages) FROM pg_class WHERE {leaves}") > 0.8
    analyzed = f"SELECT count(pg_stat_get_last_analyze_time(oid)) FROM pg_class WHERE {leaves}"
    assert database.value(analyzed) == 8
    told = owner.execute("SELECT count(*) FROM dp.clustering('event') WHERE last_ordered IS NOT NULL").fetchone()
    assert told == (8,)
    call(owner, "CALL dp.cluster", "event", connection=connection)
    assert len(squeezed(database)) == 8, "what is in order is not written again"
    assert database.value("SELECT count(*) FROM pg_replication_slots") == 0


@one_form
def test_nobody_waits_behind_it_longer_than_lock_timeout(
    database: Database, owner: Connection, connection: str
) -> None:
    with database.connect() as reader, database.connect() as other:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM event_2025_02_h00")
        failure: list[psycopg.Error] = []

        def order() -> None:
            try:
                call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection)
            except psycopg.Error as error:
                failure.append(error)

        thread = threading.Thread(target=order)
        thread.start()
        longest = 0.0
        while thread.is_alive():
            since = time.monotonic()
            other.execute("SELECT count(*) FROM event_2025_02_h00")
            longest = max(longest, time.monotonic() - since)
        thread.join()
        reader.rollback()
    assert [error.sqlstate for error in failure] == ["55P03"]
    assert "1 of 8 leaves" in str(failure[0])
    assert longest < 10, f"a reader waited {longest} s"
    assert database.value("SELECT count(*) FROM pg_replication_slots") == 0
    assert len(squeezed(database)) == 7
    call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection)
    assert max(closed(disorder(owner))) < 1.3


@one_form
def test_an_owner_without_the_privileges(database: Database, owner: Connection, connection: str) -> None:
    with database.server.connect() as admin:
        admin.execute("ALTER ROLE owner NOREPLICATION")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection)
    assert 'ALTER ROLE "owner" REPLICATION;' in str(caught.value.diag.message_hint)
    with database.server.connect(database.name) as admin:
        admin.execute("REVOKE USAGE ON SCHEMA squeeze FROM owner")
    call(owner, "CALL dp.cluster", "event", connection=connection, time_budget="1 microsecond")
    with database.server.connect(database.name) as admin:
        admin.execute(f"SET dp.now = '{NOW}'")  # type: ignore[call-overload]
        call(admin, "CALL dp.cluster", "public.event", method="pg_squeeze", connection=connection)
    assert len(squeezed(database)) == 8, "a superuser can do what the owner may not"
    assert max(closed(disorder(owner))) < 1.3
    assert (
        database.value("SELECT count(*) FROM pg_class WHERE relname ~ '^event' AND relowner <> 'owner'::regrole") == 0
    )
    call(owner, "CALL dp.cluster", "event", connection=connection, scope="all")
    assert len(squeezed(database)) == 8, "the owner has CLUSTER"
    assert max(disorder(owner).values()) < 1.3


@one_form
def test_a_server_that_does_not_allow_the_library(database: Database, owner: Connection, connection: str) -> None:
    if not database.rows("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
        pytest.skip("this server allows every library")
    allow_squeeze(database.server, is_allowed=False)
    try:
        told: list[str] = []
        owner.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        with pytest.raises(psycopg.errors.RaiseException, match="may not be used as an output plugin"):
            call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection)
        with database.server.connect(database.name) as admin:
            admin.execute(f"SET dp.now = '{NOW}'")  # type: ignore[call-overload]
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
                call(admin, "CALL dp.cluster", "public.event", method="pg_squeeze", connection=connection)
        assert "output_plugin_libraries = pgoutput, test_decoding, pg_squeeze" in str(caught.value.diag.message_hint)
        call(owner, "CALL dp.cluster", "event", connection=connection)
        assert any("CLUSTER takes its place" in text for text in told)
        assert max(closed(disorder(owner))) < 1.3
        assert squeezed(database) == []
    finally:
        allow_squeeze(database.server)


@one_form
def test_leaves_that_it_cannot_order(database: Database, owner: Connection, connection: str) -> None:
    owner.execute("SET dp.propagate_ddl = off")
    owner.execute("ALTER TABLE item_2025_02_h00 REPLICA IDENTITY NOTHING")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="item_2025_02_h00"):
        call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection)
    assert squeezed(database) == []
    call(owner, "CALL dp.cluster", "event", connection=connection)
    assert len(squeezed(database)) == 7
    assert max(closed(disorder(owner))) < 1.3


@one_form
def test_it_stops_in_the_middle_of_a_leaf_when_its_time_is_over(
    database: Database, owner: Connection, connection: str
) -> None:
    with database.connect() as writer:
        writer.autocommit = False
        writer.execute("CREATE TABLE other (id int)")  # a slot begins when all transactions of that moment have ended
        told: list[str] = []
        owner.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection, time_budget="2 s")
        assert any("8 leaves are left" in text for text in told)
        assert database.value("SELECT count(*) FROM pg_replication_slots") == 0
    assert squeezed(database) == []
    call(owner, "CALL dp.cluster", "event", method="pg_squeeze", connection=connection)
    assert max(closed(disorder(owner))) < 1.3
