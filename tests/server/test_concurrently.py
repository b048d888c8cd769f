"""Indexes of whole tables, built leaf by leaf in a second session while readers and writers go on."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.support import catalogs
from tests.support.database import Database, with_dblink
from tests.support.hierarchies import call, create_slices, declare

Connection = psycopg.Connection[Any]
INDEX = "event_body"
TREE = (
    "SELECT c.relname, x.relname, i.indisvalid, parent.relname FROM pg_partition_tree('event') AS tree"
    " JOIN pg_class c ON c.oid = tree.relid JOIN pg_index i ON i.indrelid = c.oid"
    " JOIN pg_class x ON x.oid = i.indexrelid LEFT JOIN pg_inherits h ON h.inhrelid = x.oid"
    " LEFT JOIN pg_class parent ON parent.oid = h.inhparent WHERE x.relname ~ 'body' ORDER BY 1, 2"
)


@pytest.fixture
def connection(db: Database) -> str:
    return with_dblink(db)


@pytest.fixture
def owner(db: Database) -> Connection:
    db.begin_with(prepare)
    return db.connect()


def prepare(db: Database) -> None:
    """The hierarchy with three slices and some rows."""
    owner = db.connect()
    declare(owner, key_form="slice", premake=0)
    create_slices(owner, "2025-01-01", "2025-04-01")
    owner.execute(
        "INSERT INTO event (id, at, party, at_slice, body) SELECT n, '2025-01-05 00:00+00', 'p' || n, '2025-01-01',"
        " 'text ' || n FROM generate_series(1, 200) AS n"
    )


def create(owner: Connection, connection: str, name: str = INDEX, definition: str = "(body)", **named: object) -> None:
    call(owner, "CALL dp.create_index_concurrently", "event", name, definition, connection=connection, **named)


def tree(owner: Connection) -> list[tuple[Any, ...]]:
    return owner.execute(TREE).fetchall()


def check_whole(owner: Connection, leaves: int = 6, slices: int = 3) -> None:
    """Every partition has the index, valid and attached, once."""
    found = tree(owner)
    assert len(found) == 1 + slices + leaves
    assert all(valid for _, _, valid, _ in found)
    assert [row[0] for row in found if row[3] is None] == ["event"]
    assert call(owner, "SELECT dp.drift", "event") == []


def test_every_partition_gets_the_index(db: Database, owner: Connection, connection: str) -> None:
    create(owner, connection)
    check_whole(owner)
    before = catalogs.picture(db)
    create(owner, connection)
    assert catalogs.difference(before, catalogs.picture(db)) == {}, "twice is as good as once"
    create_slices(owner, "2025-04-01", "2025-05-01")
    check_whole(owner, 8, 4)
    assert owner.execute("SELECT count(*) FROM dp.progress").fetchone() == (0,)
    assert db.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dialog_partition'") == 0


@pytest.mark.parametrize(
    "definition",
    ["(lower(body), id DESC) INCLUDE (at) WITH (fillfactor = 80) WHERE body <> ';'", "USING hash (body)"],
)
def test_definitions(owner: Connection, connection: str, definition: str) -> None:
    create(owner, connection, 'We "irds body', definition)
    check_whole(owner)


def test_it_is_built_in_the_tablespace_that_the_definition_names(
    db: Database, owner: Connection, connection: str
) -> None:
    admin = db.connect("postgres")
    admin.execute("SET allow_in_place_tablespaces = on")
    admin.execute("CREATE TABLESPACE \"Fa st\" LOCATION ''")
    try:
        admin.execute('GRANT CREATE ON TABLESPACE "Fa st" TO owner')
        create(owner, connection, "event_body", "(body) TABLESPACE \"Fa st\" WHERE body <> ' WHERE id > 1'")
        check_whole(owner)
        found = owner.execute(
            "SELECT DISTINCT t.spcname FROM pg_partition_tree('event_body') p JOIN pg_class c ON c.oid = p.relid"
            " LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace"
        )
        assert found.fetchall() == [("Fa st",)]
    finally:
        db.drop()
        with db.server.connect() as other:
            other.execute('DROP TABLESPACE "Fa st"')


def test_a_unique_index(owner: Connection, connection: str) -> None:
    with pytest.raises(psycopg.errors.InvalidTableDefinition):
        create(owner, connection, definition="(body)", is_unique=True)
    assert tree(owner) == []
    create(owner, connection, definition="(body, party, at_slice)", is_unique=True)
    check_whole(owner)
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(
            "INSERT INTO event (id, at, party, at_slice, body)"
            " VALUES (999, '2025-01-05 00:00+00', 'p7', '2025-01-01', 'text 7')"
        )


def test_rows_that_break_it_stop_the_call_and_the_next_one_goes_on(owner: Connection, connection: str) -> None:
    owner.execute(
        "INSERT INTO event (id, at, party, at_slice, body)"
        " VALUES (999, '2025-01-05 00:00+00', 'p7', '2025-01-01', 'text 7')"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        create(owner, connection, definition="(body, party, at_slice)", is_unique=True)
    assert not all(row[2] for row in tree(owner))
    owner.execute("DELETE FROM event WHERE id = 999")
    create(owner, connection, definition="(body, party, at_slice)", is_unique=True)
    check_whole(owner)


def test_a_definition_that_no_leaf_can_have_is_refused_before_anything_is_changed(
    owner: Connection, connection: str
) -> None:
    for definition, state in (("(nothing)", "42703"), ("(body) WHERE random() > 0", "42P17"), ("(a", "22023")):
        with pytest.raises(psycopg.Error) as caught:
            create(owner, connection, definition=definition)
        assert caught.value.sqlstate == state
    assert tree(owner) == []


def test_leaves_that_have_it_already_keep_theirs(owner: Connection, connection: str) -> None:
    owner.execute("CREATE INDEX mine_body ON event_2025_02_h01 (body)")
    owner.execute("CREATE INDEX other_body ON event_2025_02_h00 (body DESC)")
    oid = owner.execute("SELECT 'mine_body'::regclass::oid").fetchone()
    create(owner, connection)
    found = {row[1]: row[3] for row in tree(owner) if row[0].startswith("event_2025_02_h")}
    assert found["mine_body"] == "event_2025_02_event_body"
    assert found["other_body"] is None
    assert sorted(found) == ["event_2025_02_h00_event_body", "mine_body", "other_body"]
    assert owner.execute("SELECT 'mine_body'::regclass::oid").fetchone() == oid


def test_an_index_of_that_name_that_is_another_is_refused(owner: Connection, connection: str) -> None:
    create(owner, connection)
    for definition in ("(body DESC, id)", "(body) WHERE id > 1"):
        with pytest.raises(psycopg.errors.DuplicateObject):
            create(owner, connection, definition=definition)


TOGETHER = (
    "SELECT count(*) FROM dp.log WHERE statements ~ '^CREATE INDEX .* ON ONLY .*;.* ATTACH PARTITION .*;.* ATTACH'"
)


def test_what_belongs_to_a_slice_is_attached_in_one_step(owner: Connection, connection: str) -> None:
    create(owner, connection)
    check_whole(owner)
    assert owner.execute(TOGETHER).fetchone() == (3,)


def test_where_others_use_the_slice_its_index_comes_by_smaller_steps(
    db: Database, owner: Connection, connection: str
) -> None:
    """Nobody waits long behind a step that locks the slice and waits for the index of a leaf itself."""
    writer, looker = db.connect(), db.connect()
    writer.execute("BEGIN")
    writer.execute("LOCK TABLE ONLY event_2025_02 IN ROW EXCLUSIVE MODE")
    worker = threading.Thread(target=create, args=(owner, connection))
    worker.start()
    while looker.execute(TOGETHER).fetchone() != (2,):  # the last of them comes behind the one in the middle
        assert worker.is_alive()
    assert {row[0] for row in tree(looker) if row[3] is None} == {"event", "event_2025_02_h00", "event_2025_02_h01"}
    writer.execute("COMMIT")
    worker.join()
    assert looker.execute(TOGETHER).fetchone() == (2,)
    check_whole(owner)
    plan = owner.execute("SELECT statement FROM dp.last_plan WHERE statement ~ 'event_2025_02_event_body'").fetchall()
    assert len(plan) == 1 + 2 + 1, "what was tried without success is not told"


def test_a_name_that_is_taken_is_refused_before_anything_is_changed(owner: Connection, connection: str) -> None:
    owner.execute("CREATE TABLE event_2025_02_h01_event_body ()")
    with pytest.raises(psycopg.errors.DuplicateTable, match="event_2025_02_h01_event_body"):
        create(owner, connection)
    assert tree(owner) == []


def test_half_built_indexes_are_replaced(db: Database, owner: Connection, connection: str) -> None:
    create(owner, connection)
    call(owner, "CALL dp.drop_index_concurrently", "event", INDEX, connection=connection)
    owner.execute("CREATE INDEX event_body ON ONLY event (body)")
    for leaf in ("event_2025_01_h00", "event_2025_03_h01"):
        owner.execute(f"CREATE INDEX {leaf}_event_body ON {leaf} (body)")  # type: ignore[call-overload]
    with db.server.connect(db.name) as admin:
        admin.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'event_2025_01_h00_event_body'::regclass"
        )
    create(owner, connection)
    check_whole(owner)
    statements = owner.execute("SELECT statements FROM dp.log WHERE statements ~ 'DROP INDEX CONC'").fetchall()
    assert statements == [('DROP INDEX CONCURRENTLY IF EXISTS "public"."event_2025_01_h00_event_body"',)]


def test_without_dblink_the_ways_out_are_named(owner: Connection) -> None:
    with pytest.raises(psycopg.Error, match="dblink is not installed") as caught:
        create(owner, "")
    assert caught.value.sqlstate == "08001"
    assert "dry_run => true" in str(caught.value.diag.message_hint)
    assert tree(owner) == []


def test_a_connection_that_fails_or_leads_elsewhere(db: Database, owner: Connection, connection: str) -> None:
    for wrong in ("host=/nowhere", f"{connection} dbname=postgres", f"{connection} user=nobody_here"):
        with pytest.raises(psycopg.Error) as caught:
            create(owner, wrong)
        assert caught.value.sqlstate == "08001", wrong
    assert tree(owner) == []
    assert db.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dialog_partition'") == 0


def test_a_superuser_makes_the_owners_index(db: Database, owner: Connection, connection: str) -> None:
    create(db.connect("postgres"), connection)
    check_whole(owner)
    assert db.value("SELECT count(*) FROM pg_class WHERE relname ~ 'event_body' AND relowner <> 'owner'::regrole") == 0


def test_a_stranger_is_refused(db: Database, owner: Connection, connection: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        create(db.connect("stranger"), connection)
    assert tree(owner) == []


def test_not_inside_a_transaction(owner: Connection, connection: str) -> None:
    owner.execute("BEGIN")
    with pytest.raises(psycopg.errors.InvalidTransactionTermination):
        create(owner, connection)
    owner.execute("ROLLBACK")


def test_while_it_waits_others_work_it_shows_progress_and_a_cancel_stops_both_sessions(
    db: Database, owner: Connection, connection: str
) -> None:
    writer, looker = db.connect(), db.connect()
    writer.execute("BEGIN")
    # CREATE INDEX CONCURRENTLY waits for it; by the leaf's name, or already CREATE INDEX ON ONLY event would wait
    writer.execute("UPDATE event_2025_01_h01 SET body = 'new'")
    failed: list[BaseException] = []

    def work() -> None:
        try:
            create(owner, connection)
        except psycopg.Error as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    shown = None
    until = time.monotonic() + 10
    while time.monotonic() < until and not (shown and "_h0" in shown[5]):
        shown = looker.execute(
            "SELECT root::text, operation, tbl::text, done, total, target, started <= now() FROM dp.progress"
        ).fetchone()
        time.sleep(0.02)
    assert shown is not None
    assert shown[:3] == ("event", "create_index_concurrently", "event")
    assert 0 < shown[3] < shown[4]
    looker.execute("SET statement_timeout = '2s'")
    looker.execute("UPDATE event SET body = 'newer' WHERE id IN (SELECT id FROM event_2025_01_h00 LIMIT 1)")
    with pytest.raises(psycopg.errors.ObjectInUse):
        create(db.connect(), connection)
    with pytest.raises(psycopg.errors.ObjectInUse):
        looker.execute("SELECT dp.add_column('event', 'x', 'int')")
    db.value("SELECT pg_cancel_backend(%s)", owner.info.backend_pid)
    begin = time.monotonic()
    worker.join()
    assert time.monotonic() - begin < 2
    assert [type(error) for error in failed] == [psycopg.errors.QueryCanceled]
    assert db.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dialog_partition'") == 0
    assert looker.execute("SELECT count(*) FROM dp.progress").fetchone() == (0,)
    writer.execute("COMMIT")
    create(owner, connection)
    check_whole(owner)


def test_what_is_left_to_a_later_round_is_no_part_of_the_total(
    db: Database, owner: Connection, connection: str
) -> None:
    admin = db.connect("postgres")
    admin.execute(
        "CREATE TABLE public.ends (done bigint, total bigint);"
        "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " AS 'BEGIN INSERT INTO public.ends VALUES (OLD.done, OLD.total); RETURN NULL; END';"
        "CREATE TRIGGER keep AFTER DELETE ON dp.progress_entry FOR EACH ROW EXECUTE FUNCTION public.keep()"
    )
    writer = db.connect()
    writer.execute("BEGIN")
    writer.execute("LOCK TABLE ONLY event_2025_01 IN ROW EXCLUSIVE MODE")
    worker = threading.Thread(target=create, args=(owner, connection))
    worker.start()
    until = time.monotonic() + 60
    while time.monotonic() < until and admin.execute("SELECT FROM public.ends").fetchone() is None:
        time.sleep(0.02)
    writer.execute("COMMIT")
    worker.join()
    ends = admin.execute("SELECT done, total FROM public.ends").fetchall()
    assert len(ends) > 1, "one round more, for what was in the way"
    assert [done for done, _ in ends] == [total for _, total in ends]
    check_whole(owner)


def test_a_transaction_that_has_read_the_table_is_not_waited_for(
    db: Database, owner: Connection, connection: str
) -> None:
    reader = db.connect()
    reader.execute("BEGIN")
    reader.execute("LOCK TABLE ONLY event IN ACCESS SHARE MODE")  # what reading leaves behind, without the snapshot
    owner.execute("SELECT dp.configure('event', lock_timeout => '10 ms')")
    create(owner, connection)
    reader.execute("COMMIT")
    check_whole(owner)


def test_it_is_dropped_again(db: Database, owner: Connection, connection: str) -> None:
    before = catalogs.picture(db)
    create(owner, connection)
    call(owner, "CALL dp.drop_index_concurrently", "event", INDEX, connection=connection)
    call(owner, "CALL dp.drop_index_concurrently", "event", INDEX, connection=connection)
    assert catalogs.difference(before, catalogs.picture(db)) == {}
    with pytest.raises(psycopg.errors.InvalidTableDefinition):
        call(owner, "CALL dp.drop_index_concurrently", "event", "event_pkey", connection=connection)


def test_what_a_stopped_call_built_is_dropped_too(owner: Connection, connection: str) -> None:
    owner.execute("CREATE INDEX event_body ON ONLY event (body)")
    owner.execute("CREATE INDEX event_2025_01_h00_event_body ON event_2025_01_h00 (body)")
    owner.execute("CREATE INDEX mine_body ON event_2025_01_h01 (body)")
    owner.execute("CREATE INDEX event_2025_02_event_body ON ONLY event_2025_02 (body)")
    call(owner, "CALL dp.drop_index_concurrently", "event", INDEX, connection=connection)
    assert [row[1] for row in tree(owner)] == ["mine_body"]


def test_reindex_builds_every_leaf_anew(owner: Connection, connection: str) -> None:
    create(owner, connection)
    files = "SELECT relname, relfilenode FROM pg_class WHERE relname ~ '_h0._event_body$' ORDER BY 1"
    before = owner.execute(files).fetchall()
    call(owner, "CALL dp.reindex_concurrently", "event", INDEX, connection=connection, dry_run=True)
    printed = owner.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall()
    assert owner.execute(files).fetchall() == before, "a dry run changes nothing"
    for (statement,) in printed:
        owner.execute(statement)
    after = owner.execute(files).fetchall()
    assert not set(before) & set(after)
    before = after
    call(owner, "CALL dp.reindex_concurrently", "event", INDEX, connection=connection)
    after = owner.execute(files).fetchall()
    assert len(after) == 6
    assert not set(before) & set(after)
    check_whole(owner)
    call(owner, "CALL dp.reindex_concurrently", "event", "event_pkey", connection=connection)
    with pytest.raises(psycopg.errors.UndefinedObject):
        call(owner, "CALL dp.reindex_concurrently", "event", "nothing", connection=connection)


def test_without_a_hash_level(db: Database, connection: str) -> None:
    owner = db.connect()
    declare(owner, hash_type=None, child=False)
    create_slices(owner, "2025-01-01", "2025-03-01")
    create(owner, connection)
    check_whole(owner, 2, 0)
