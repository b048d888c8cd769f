"""Other sessions: what waits for us, what we wait for, and how a call gives up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

LOCK_TIMEOUT = 0.1
PATIENCE = 1.0  # of the other sessions: much more than the call's own lock_timeout, whatever the machine's load
READER_SECONDS = 2.5  # longer still: who queued behind the reader would run out of patience
CALLS = {
    "create_slices": "CALL dp.create_slices('\"Dialog\"', '2026-01-01', '2026-03-01')",
    "run_maintenance": "CALL dp.run_maintenance()",
}


def hierarchy(db: Database, **options: object) -> psycopg.Connection[Any]:
    connection = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(connection, premake=2, lock_timeout=f"{int(LOCK_TIMEOUT * 1000)} ms", **options)
    connection.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-07-01')")
    family.fill(connection, "2025-06-10 12:00+00", 1, 5)
    return connection


@contextmanager
def reading(db: Database, table: str) -> Iterator[psycopg.Connection[Any]]:
    """A session in a transaction that has read a table."""
    reader = db.connect()
    reader.execute("BEGIN")
    reader.execute(f'SELECT count(*) FROM "{table}"')  # type: ignore[arg-type]
    yield reader
    if not reader.closed:
        reader.execute("COMMIT")


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, failed


def others_proceed(db: Database, until: threading.Thread) -> int:
    """Selects and inserts while a thread works, none of which waits longer than it has patience; how many rounds."""
    other = db.connect(lock_timeout=f"{int(PATIENCE * 1000)} ms")
    rounds, key = 0, itertools.count(1000)
    while until.is_alive():
        number = next(key)
        other.execute('SELECT count(*) FROM "Dialog" WHERE "UpdatedAt" = \'2025-06-10 12:00+00\'')
        other.execute('SELECT count(*) FROM "Actor" WHERE "UpdatedAt" = \'2025-06-10 12:00+00\'')
        family.fill(other, "2025-06-10 12:00+00", number, 1)
        rounds += 1
    return rounds


@pytest.mark.parametrize(("table", "is_in_the_way"), [("Dialog", False), ("Actor", True)])
@pytest.mark.parametrize("call", CALLS)
def test_a_long_reader_does_not_stop_the_others(db: Database, call: str, table: str, is_in_the_way: bool) -> None:
    owner = hierarchy(db)
    with reading(db, table) as reader:
        worker, failed = in_background(lambda: owner.execute(CALLS[call]))  # type: ignore[call-overload]
        has_read = threading.Event()
        seconds = (
            READER_SECONDS if is_in_the_way else 60
        )  # a call that need not wait is over long before, on any machine
        stopper = threading.Timer(seconds, lambda: (has_read.set(), reader.execute("COMMIT")))
        stopper.start()
        rounds = others_proceed(db, worker)
        had_to_wait = has_read.is_set()
        stopper.cancel()
        stopper.join()
    assert failed == []
    assert had_to_wait is is_in_the_way, "a slice of the root is made aside and attached: its readers go on"
    assert rounds > 0
    assert len(family.slices(owner, "Actor")) == 4


def test_a_detach_waits_its_turn_too(db: Database) -> None:
    owner = hierarchy(db)
    with reading(db, "Activity") as reader:
        stopper = threading.Timer(2 * LOCK_TIMEOUT, lambda: reader.execute("COMMIT"))
        stopper.start()
        owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-05-01')")
        stopper.join()
    assert family.slices(owner) == ["2025_06"]


def test_giving_up_names_the_blockers_and_changes_nothing(db: Database) -> None:
    owner = hierarchy(db)
    with reading(db, "Activity") as reader:
        with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
            owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-05-01')")
        detail = str(caught.value.diag.message_detail)
        assert f"process {reader.info.backend_pid} (owner, idle in transaction" in detail
        assert "AccessShareLock" in detail
        assert '"Activity"' in detail
    assert [family.slices(owner, table) for table in family.TABLES] == [["2025_05", "2025_06"]] * 3
    assert family.counts(owner) == {"Dialog": 5, "Activity": 10, "Actor": 15}


def test_a_reader_of_one_leaf_is_named(db: Database) -> None:
    owner = hierarchy(db)
    with reading(db, "Activity_2025_05_h01") as reader:
        with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
            owner.execute("SELECT dp.drop_slice('\"Dialog\"', '2025-05-01')")
        detail = str(caught.value.diag.message_detail)
        assert f"process {reader.info.backend_pid}" in detail
        assert "Activity_2025_05_h01" in detail


def test_two_calls_on_one_hierarchy(db: Database) -> None:
    owner = hierarchy(db)
    second = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    with reading(db, "Actor"):
        worker, failed = in_background(lambda: owner.execute(CALLS["create_slices"]))  # type: ignore[call-overload]
        pid = None
        while pid is None and worker.is_alive():
            pid = db.value("SELECT running_pid FROM dp.hierarchy")
        assert pid == owner.info.backend_pid
        for call in (*CALLS.values(), "CALL dp.run_maintenance('\"Dialog\"')", "CALL dp.drain_default('\"Dialog\"')"):
            if call == "CALL dp.run_maintenance()":
                second.execute(call)  # type: ignore[call-overload] # leaves it to the other
                continue
            with pytest.raises(psycopg.errors.ObjectInUse) as caught:
                second.execute(call)  # type: ignore[call-overload]
            assert str(pid) in str(caught.value.diag.message_detail)
        with pytest.raises(psycopg.errors.ObjectInUse):
            second.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-05-01')")
    worker.join()
    assert failed == []
    second.execute(CALLS["run_maintenance"])  # type: ignore[call-overload]


def test_two_hierarchies_side_by_side(db: Database) -> None:
    owner = hierarchy(db)
    other = db.connect()
    other.execute("CREATE TABLE item (id bigint, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)")
    other.execute("SELECT dp.create_hierarchy('item', 'at')")
    with reading(db, "Actor"):
        worker, failed = in_background(lambda: owner.execute(CALLS["create_slices"]))  # type: ignore[call-overload]
        while worker.is_alive() and not db.value("SELECT count(running_pid) FROM dp.hierarchy"):
            pass
        other.execute("CALL dp.create_slices('item', '2025-01-01', '2025-04-01')")
        assert worker.is_alive()
    worker.join()
    assert failed == []
    assert db.value("SELECT count(*) FROM dp.slice WHERE root = 'item'::regclass") == 3


def test_a_deadlock_with_an_application_is_retried(db: Database) -> None:
    owner = hierarchy(db)
    owner.execute("SELECT dp.configure('\"Dialog\"', lock_timeout => '3 s')")
    application = db.connect()
    application.execute("BEGIN")
    application.execute('LOCK TABLE "Actor" IN ACCESS SHARE MODE')
    worker, failed = in_background(lambda: owner.execute(CALLS["create_slices"]))  # type: ignore[call-overload]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"
    while worker.is_alive() and not db.value(waiting, owner.info.backend_pid):
        pass
    try:
        application.execute('LOCK TABLE "Activity" IN ACCESS EXCLUSIVE MODE')
    except psycopg.errors.DeadlockDetected:  # whom the server chooses is its own affair
        application.execute("ROLLBACK")
    else:
        application.execute("COMMIT")
    worker.join()
    assert failed == []
    assert len(family.slices(owner, "Actor")) == 4


def test_maintenance_does_not_wait_for_ever_to_look_into_a_default_slice(db: Database) -> None:
    owner = db.connect()
    for name in ("locked", "other"):
        owner.execute(
            f"CREATE TABLE {name} (id int PRIMARY KEY, at timestamptz NOT NULL);"
            f"SELECT dp.create_hierarchy('{name}', 'at', default_slice => true, premake => 0, lock_timeout => '100 ms')"
        )
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("SELECT dp.configure('other', premake => 2)")
    holder = db.connect()
    holder.autocommit = False
    holder.execute("LOCK TABLE locked_default IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(psycopg.Error, match=r"maintenance failed for public\.locked\n"):
        owner.execute("CALL dp.run_maintenance()")
    assert db.value("SELECT count(*) FROM dp.slice WHERE tbl = 'other'::regclass AND NOT is_default") == 3
    holder.rollback()
    owner.execute("CALL dp.run_maintenance()")


CHANGES = {
    "add_column": "SELECT dp.add_column('\"Actor\"', 'note', 'text', default_value => '''none''', not_null => true)",
    "alter_column_type": "SELECT dp.alter_column_type('\"Actor\"', 'Name', 'varchar(200)')",
    "create_index": "SELECT dp.create_index('\"Actor\"', 'by_name', '(\"Name\")')",
    "add_constraint_online": "CALL dp.add_constraint_online('\"Actor\"', 'named', 'CHECK (\"Name\" <> '''')')",
    "set_not_null_online": "CALL dp.set_not_null_online('\"Actor\"', 'Name')",
    "sync": "CALL dp.sync('\"Dialog\"')",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_waits_for_a_reader_does_not_stop_the_others(db: Database, change: str) -> None:
    """A function gives up, with the reader's name; a procedure goes on when the reader has ended."""
    owner = hierarchy(db)
    with db.connect(**{"dp.propagate_ddl": "off"}) as by_hand:
        by_hand.execute('GRANT SELECT ON "Actor" TO stranger')
        by_hand.execute('ALTER TABLE "Actor" ENABLE ROW LEVEL SECURITY')
    with reading(db, "Actor") as reader:
        worker, failed = in_background(lambda: owner.execute(CHANGES[change]))  # type: ignore[call-overload]
        stopper = threading.Timer(READER_SECONDS, lambda: reader.execute("COMMIT"))
        stopper.start()
        others_proceed(db, worker)
        stopper.cancel()
        stopper.join()
    for error in failed:
        assert isinstance(error, psycopg.errors.LockNotAvailable)
        assert f"process {reader.info.backend_pid}" in str(error.diag.message_detail)
    owner.execute(CHANGES[change])  # type: ignore[call-overload]


STEADY_WRITERS = 4
BETWEEN = 0.003  # seconds between the statements of a transaction, as of an application


@contextmanager
def writing(db: Database, *references: str) -> Iterator[None]:
    """Sessions that write a family after the other, parents first, each in one transaction of several statements.

    ``references``: shared tables that get a row first, and are read by a foreign key or may come to be.
    """
    stopped = threading.Event()
    failed: list[psycopg.Error] = []

    def write(number: int) -> None:
        connection = db.connect(lock_timeout=f"{int(PATIENCE * 1000)} ms")
        for key in itertools.count(number * 1_000_000):
            if stopped.is_set():
                return
            try:
                with connection.transaction():
                    for table, values in (
                        *((reference, f'("Id") VALUES ({key})') for reference in references),
                        ("Dialog", f'("Id", "Party", "UpdatedAt") VALUES ({key}, \'p\', \'2025-06-10 12:00+00\')'),
                        (
                            "Activity",
                            '("Id", "DialogId", "Party", "UpdatedAt")'
                            f" VALUES ({key}, {key}, 'p', '2025-06-10 12:00+00')",
                        ),
                        (
                            "Actor",
                            '("Id", "ActivityId", "DialogId", "Party", "UpdatedAt")'
                            f" VALUES ({key}, {key}, {key}, 'p', '2025-06-10 12:00+00')",
                        ),
                    ):
                        connection.execute(f'INSERT INTO "{table}" {values}')  # type: ignore[call-overload]
                        stopped.wait(BETWEEN)
            except psycopg.Error as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, STEADY_WRITERS + 1)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert failed == [], "nobody waits long, and nobody is a victim of a deadlock"


@pytest.mark.parametrize(
    "call",
    [
        "CALL dp.create_slices('\"Dialog\"', '2026-01-01', '2026-04-01')",
        "CALL dp.run_maintenance()",
        "SELECT dp.detach_slice('\"Dialog\"', '2025-05-01')",
        "SELECT dp.drop_slice('\"Dialog\"', '2025-05-01')",
    ],
    ids=["create_slices", "run_maintenance", "detach_slice", "drop_slice"],
)
def test_transactions_of_several_statements_do_not_keep_slices_from_coming_and_going(db: Database, call: str) -> None:
    owner = hierarchy(db, retention="1 month", retention_action="drop")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-04-01', '2025-05-01')")
    attached = "SELECT count(*) FROM dp.slice WHERE is_attached"
    before = db.value(attached)
    with writing(db):
        owner.execute(call)  # type: ignore[call-overload]
    assert db.value(attached) != before
    assert not db.rows("SELECT 1 FROM dp.log WHERE status = 'failed'")


@pytest.mark.parametrize(
    "call",
    [
        """SELECT dp.add_constraint('"Activity"', 'to_kind', 'FOREIGN KEY ("KindId") REFERENCES "Kind"')""",
        """SELECT dp.add_constraint('"Activity"', 'to_kind', 'FOREIGN KEY ("KindId") REFERENCES "Kind"');
           SELECT dp.drop_constraint('"Activity"', 'to_kind')""",
        """SELECT dp.add_constraint('"Activity"', 'to_kind', 'FOREIGN KEY ("KindId") REFERENCES "Kind"');
           SELECT dp.alter_column_type('"Activity"', 'KindId', 'int');
           SELECT dp.drop_column('"Activity"', 'KindId')""",
        """CALL dp.add_constraint_online('"Activity"', 'to_kind', 'FOREIGN KEY ("KindId") REFERENCES "Kind"')""",
        """SELECT dp.add_column('"Dialog"', 'New', 'int'), dp.add_column('"Activity"', 'New', 'int')""",
        """SELECT dp.register_child('"Actor"', '"Dialog"', '{OtherId}')""",
        """CALL dp.create_slices('"Dialog"', '2025-05-01', '2025-06-01')""",
        """CALL dp.sync('"Dialog"')""",
    ],
    ids=[
        "add_constraint",
        "drop_constraint",
        "alter_column_type, drop_column",
        "add_constraint_online",
        "add_column",
        "register_child",
        "missing leaves",
        "sync",
    ],
)
def test_transactions_of_several_statements_do_not_keep_the_schema_from_changing(db: Database, call: str) -> None:
    owner = hierarchy(db)
    owner.execute('CREATE TABLE "Kind" ("Id" bigint PRIMARY KEY)')
    owner.execute("""SELECT dp.add_column('"Activity"', 'KindId', 'bigint')""")
    owner.execute("""SELECT dp.add_column('"Actor"', 'OtherId', 'bigint')""")
    with db.connect(**{"dp.propagate_ddl": "off"}) as by_hand:
        by_hand.execute('DROP TABLE "Actor_2025_05_h00", "Actor_2025_05_h01"')
        for table in ("Actor", "Activity", "Dialog"):
            by_hand.execute(f'ALTER TABLE "{table}_2025_06_h00" SET (fillfactor = 50)')  # type: ignore[call-overload]
    with writing(db, "Kind"):
        for statement in call.split(";"):
            owner.execute(statement)  # type: ignore[call-overload]
    assert not db.rows("SELECT 1 FROM dp.log WHERE status = 'failed'")
