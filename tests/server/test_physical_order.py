"""Rows that are read together lie together: dp.clustering measures it, dp.cluster brings it about."""

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
one_form = pytest.mark.parametrize("owner", ["slice"], indirect=True)
NOW = "2025-04-10 00:00+00"


@pytest.fixture
def connection(db: Database) -> str:
    return with_dblink(db)


@pytest.fixture(params=["exact", "slice"])
def owner(request: pytest.FixtureRequest, db: Database) -> Connection:
    """Two months and the current one, their rows in the order of a hash."""
    db.begin_with(prepare, request.param)
    return db.connect(**{"dp.now": NOW})


def prepare(db: Database, form: str) -> None:
    """Make them."""
    owner = db.connect()
    declare(owner, key_form=form, premake=0)
    create_slices(owner, "2025-02-01", "2025-05-01")
    key = "party, at_slice DESC, at DESC" if form == "slice" else "party, at DESC"
    call(owner, "SELECT dp.create_index", "event", "event_order", f"({key})")
    call(owner, "SELECT dp.create_index", "item", "item_event", "(event_id)")
    columns = "id, at, party, body" + (", at_slice" if form == "slice" else "")
    rows = "n, at, 'p' || n % 40, repeat('x', 300)" + (", date_trunc('month', at)::date" if form == "slice" else "")
    owner.execute("SET TimeZone = 'UTC'")
    owner.execute(
        f"INSERT INTO event ({columns}) SELECT {rows} FROM (SELECT n, '2025-02-01 00:00+00'::timestamptz"  # type: ignore[call-overload]
        " + n % 75 * interval '1 day' AS at FROM generate_series(1, 6000) AS n) AS made ORDER BY md5(n::text)"
    )
    key = "at_slice" if form == "slice" else "at"
    owner.execute(
        f"INSERT INTO item (id, event_id, party, {key}) SELECT id * 10 + m, id, party, {key} FROM event,"  # type: ignore[call-overload]
        " generate_series(1, 5) AS m ORDER BY md5(m || ' ' || id)"
    )


def disorder(owner: Connection) -> dict[str, float]:
    rows = owner.execute("SELECT split_part(leaf, '.', 2), disorder FROM dp.clustering('event')").fetchall()
    return {name.strip('"'): value for name, value in rows if value is not None}


def closed(measured: dict[str, float]) -> list[float]:
    return [value for name, value in measured.items() if "2025_04" not in name]


def everything(owner: Connection) -> list[tuple[Any, ...]]:
    return owner.execute(
        "SELECT 'event', id, tableoid, party FROM event UNION ALL SELECT 'item', id, tableoid, party FROM item"
        " ORDER BY 1, 2"
    ).fetchall()


def test_closed_leaves_are_ordered_and_the_current_ones_left(db: Database, owner: Connection, connection: str) -> None:
    rows, before = everything(owner), disorder(owner)
    assert len(closed(before)) == 8
    assert min(closed(before)) > 1.5
    call(owner, "CALL dp.cluster", "event", connection=connection)
    after = disorder(owner)
    assert max(closed(after)) < 1.3
    assert {name: after[name] for name in after if "2025_04" in name} == {
        name: before[name] for name in before if "2025_04" in name
    }
    assert everything(owner) == rows
    leaves = "relname ~ '_2025_0[23]_h0[01]$' AND relkind = 'r'"
    visible = f"SELECT bool_and(relallvisible = relpages) FROM pg_class WHERE {leaves}"
    assert db.value(visible), "index-only scans work"
    told = owner.execute("SELECT count(*) FROM dp.clustering('event') WHERE last_ordered IS NOT NULL").fetchone()
    assert told == (8,)
    assert call(owner, "SELECT dp.drift", "event") == []
    files = "SELECT array_agg(relfilenode ORDER BY oid) FROM pg_class WHERE relname ~ '_2025_'"
    written = db.value(files)
    call(owner, "CALL dp.cluster", "event", connection=connection)
    assert db.value(files) == written, "what is in order is not written again"
    call(owner, "CALL dp.cluster", "event", scope="all", connection=connection)
    assert max(disorder(owner).values()) < 1.3


def test_the_worst_leaf_comes_first(owner: Connection) -> None:
    before = disorder(owner)
    call(owner, "CALL dp.cluster", "event", vacuum=False, dry_run=True)
    plan = owner.execute("SELECT target, statement FROM dp.last_plan ORDER BY step").fetchall()
    order = [target.split(".")[1].strip('"') for target, statement in plan if statement.startswith("CLUSTER")]
    assert [before[name] for name in order] == sorted(closed(before), reverse=True)


@one_form
def test_it_stops_when_its_time_is_over_and_the_next_call_goes_on(owner: Connection) -> None:
    call(owner, "CALL dp.cluster", "event", time_budget="1 microsecond", vacuum=False)
    assert min(closed(disorder(owner))) > 1.5
    call(owner, "CALL dp.cluster", "event", vacuum=False)
    assert max(closed(disorder(owner))) < 1.3


@one_form
def test_a_leaf_in_use_is_left_and_the_others_are_ordered(db: Database, owner: Connection) -> None:
    call(owner, "SELECT dp.configure", "event", lock_timeout="1 ms")
    with db.connect() as reader:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM event_2025_02_h00")
        since = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable, match="1 of 8 leaves"):
            call(owner, "CALL dp.cluster", "event", vacuum=False)
        assert time.monotonic() - since < 60
    busy = {name for name, value in disorder(owner).items() if value > 1.3 and "2025_04" not in name}
    assert busy == {"event_2025_02_h00"}
    call(owner, "CALL dp.cluster", "event", vacuum=False)
    assert max(closed(disorder(owner))) < 1.3


@one_form
def test_another_order(db: Database, owner: Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject, match="event_body"):
        call(owner, "SELECT dp.set_cluster_order", "event", "event_body")
    call(owner, "SELECT dp.create_index", "event", "event_id_only", "(id)")
    call(owner, "SELECT dp.set_cluster_order", "event", "event_id_only")
    before = catalogs.picture(db)
    assert call(owner, "SELECT dp.set_cluster_order", "event", "event_id_only") == []
    assert catalogs.difference(before, catalogs.picture(db)) == {}
    create_slices(owner, "2025-05-01", "2025-06-01")
    used = owner.execute("SELECT DISTINCT index_name FROM dp.clustering('event') WHERE tbl ~ 'event'").fetchall()
    assert used == [("event_id_only",)]
    marks = (
        "SELECT count(*) FROM pg_partition_tree('event_id_only') p JOIN pg_index i ON i.indexrelid = p.relid"
        " WHERE isleaf AND indisclustered"
    )
    assert db.value(marks) == db.value("SELECT count(*) FROM dp.leaf WHERE tbl = 'event'::regclass"), "new ones, too"
    call(owner, "CALL dp.cluster", "event", threshold=1, vacuum=False)
    ids = [row[0] for row in owner.execute("SELECT id FROM event_2025_02_h00 ORDER BY ctid").fetchall()]
    assert ids == sorted(ids)


@one_form
def test_leaves_keep_their_mark_when_another_type_makes_the_index_anew(owner: Connection) -> None:
    call(owner, "SELECT dp.create_index", "event", "event_of_body", "(body)")
    call(owner, "SELECT dp.set_cluster_order", "event", "event_of_body")
    call(owner, "SELECT dp.alter_column_type", "event", "body", "varchar(9999)")
    assert call(owner, "SELECT dp.drift", "event") == []
    owner.execute("ALTER TABLE event ALTER COLUMN body TYPE char(999)")
    assert call(owner, "SELECT dp.drift", "event") == []


@one_form
def test_a_table_without_an_index_to_order_by_is_left_out(owner: Connection) -> None:
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    owner.execute("SET dp.propagate_ddl = off")  # a foreign key wants that index
    owner.execute("DROP INDEX item_event")
    call(owner, "CALL dp.cluster", "event", vacuum=False)
    assert any("item" in text and "(event_id)" in text for text in told)
    assert {name for name in disorder(owner) if name.startswith("item")} == set()


def test_the_index_of_an_order_is_made_and_every_leaf_is_marked(
    db: Database, owner: Connection, connection: str
) -> None:
    owner.execute("SET dp.propagate_ddl = off")
    owner.execute("DROP INDEX event_order; DROP INDEX item_event")
    call(owner, "CALL dp.cluster", "event", vacuum=False, create_index=False)
    assert db.value("SELECT count(*) FROM pg_index WHERE indisclustered") == 0
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    call(owner, "CALL dp.cluster", "event", connection=connection)
    assert ["event_dp_order" in text or "item_dp_order" in text for text in told].count(True) == 2
    columns = {
        name: ", ".join(
            text.split("(")[1].rstrip(")") for (text,) in owner.execute(f"SELECT pg_get_indexdef('{name}'::regclass)")
        )  # type: ignore[call-overload]
        for name in ("event_dp_order", "item_dp_order")
    }
    assert columns["item_dp_order"] == "party, event_id"
    assert columns["event_dp_order"] in ("party, at DESC", "party, at_slice DESC, at DESC")
    marks = "SELECT count(*) FROM pg_index i JOIN pg_class x ON x.oid = indexrelid WHERE indisclustered"
    assert db.value(marks) == 12, "those of the current month, too"
    assert max(closed(disorder(owner))) < 1.3
    assert call(owner, "SELECT dp.drift", "event") == []
    create_slices(owner, "2025-05-01", "2025-06-01")
    assert db.value(marks) == 16
    assert call(owner, "SELECT dp.drift", "event") == []


@one_form
def test_a_call_goes_on_behind_one_that_was_stopped_before_vacuum(
    db: Database, owner: Connection, connection: str
) -> None:
    call(owner, "CALL dp.cluster", "event", vacuum=False)
    leaves = "relname ~ '_2025_0[23]_h0[01]$' AND relkind = 'r'"
    assert db.value(f"SELECT sum(relallvisible) FROM pg_class WHERE {leaves}") == 0
    call(owner, "CALL dp.cluster", "event", connection=connection)
    assert db.value(f"SELECT bool_and(relallvisible = relpages) FROM pg_class WHERE {leaves}")
    vacuumed = (
        f"SELECT sum(vacuum_count) FROM pg_stat_user_tables WHERE relid IN (SELECT oid FROM pg_class WHERE {leaves})"
    )
    before = db.value(vacuumed)
    call(owner, "CALL dp.cluster", "event", connection=connection)
    assert db.value(vacuumed) == before, "once is enough"


@one_form
def test_what_was_written_since_a_leaf_was_ordered(owner: Connection) -> None:
    changed = "SELECT changed_since_ordered FROM dp.clustering('event') WHERE leaf ~ 'event_2025_02_h00'"
    assert owner.execute(changed).fetchone() == (None,)
    call(owner, "CALL dp.cluster", "event", vacuum=False)
    assert owner.execute(changed).fetchone() == (0,)
    owner.execute("UPDATE event_2025_02_h00 SET body = 'x' WHERE id IN (SELECT id FROM event_2025_02_h00 LIMIT 7)")
    owner.execute("ANALYZE event_2025_02_h00")
    owner.execute("SELECT pg_stat_force_next_flush()")
    assert owner.execute(changed).fetchone() == (7,)


@one_form
def test_what_was_in_the_cache_is_read_into_it_again(db: Database, owner: Connection) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE EXTENSION pg_prewarm; CREATE EXTENSION pg_buffercache")
        admin.execute("GRANT pg_monitor TO owner")
    try:
        names = ("event_2025_02_h00", "event_2025_02_h00_party_at_slice_at_idx")
        resident = (
            "SELECT count(*) = pg_relation_size('{0}') / 8192 FROM pg_buffercache"
            " WHERE relfilenode = pg_relation_filenode('{0}') AND relforknumber = 0"
        )
        for name in names:
            owner.execute(f"SELECT pg_prewarm('{name}')")  # type: ignore[call-overload]
        call(owner, "CALL dp.cluster", "event", vacuum=False)
        for name in names:
            assert db.value(resident.format(name)), name
    finally:
        with db.server.connect(db.name) as admin:
            admin.execute("REVOKE pg_monitor FROM owner")


@one_form
def test_a_leaf_in_use_is_not_queued_for(db: Database, owner: Connection) -> None:
    with db.connect() as reader, db.connect() as other:
        reader.autocommit = False
        reader.execute("SELECT count(*) FROM event_2025_02_h00")
        failed: list[psycopg.Error] = []

        def order() -> None:
            try:
                call(owner, "CALL dp.cluster", "event", vacuum=False)
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=order)
        thread.start()
        waiting = 0
        while thread.is_alive():
            waiting += db.value(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'event_2025_02_h00'::regclass"
            )
            other.execute("SELECT count(*) FROM event_2025_02_h00")
        thread.join()
        reader.rollback()
    assert [error.sqlstate for error in failed] == ["55P03"]
    assert waiting == 0


@one_form
@pytest.mark.parametrize(
    ("named", "state"),
    [
        ({"threshold": 0.5}, "22023"),
        ({"threshold": "NaN"}, "22023"),
        ({"scope": "open"}, "22023"),
        ({"time_budget": "-1 hour"}, "22023"),
        ({"sample_pages": 0}, "22023"),
        ({"method": "vacuum full"}, "22023"),
        ({"method": "pg_squeeze"}, "55000"),
        ({"method": "repack"}, "55000"),
        ({"method": "pg_repack"}, "55000"),
        ({}, "08001"),
    ],
)
def test_refused_before_anything_is_changed(db: Database, owner: Connection, named: dict[str, Any], state: str) -> None:
    before = catalogs.picture(db)
    with pytest.raises(psycopg.Error) as caught:
        call(owner, "CALL dp.cluster", "event", **named)
    assert caught.value.sqlstate == state
    assert catalogs.difference(before, catalogs.picture(db)) == {}


@one_form
def test_a_runner_outside_orders_by_pg_repack(db: Database, owner: Connection) -> None:
    if not db.rows("SELECT FROM pg_available_extensions WHERE name = 'pg_repack'"):
        pytest.skip("pg_repack is not installed for this version")
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE EXTENSION pg_repack")
    rows, before = everything(owner), catalogs.picture(db)
    call(owner, "CALL dp.cluster", "event", method="pg_repack")
    assert catalogs.difference(before, catalogs.picture(db)) == {}, "nothing is run by the call"
    commands = [text for (text,) in owner.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall()]
    assert [text.split()[0] for text in commands] == ["pg_repack", "vacuumdb"] * 8
    db.server.shell("\n".join(commands))
    assert max(closed(disorder(owner))) < 1.3
    assert everything(owner) == rows
    leaves = "relname ~ '_2025_0[23]_h0[01]$' AND relkind = 'r'"
    assert db.value(f"SELECT min(relallvisible::float8 / relpages) FROM pg_class WHERE {leaves}") > 0.8


@one_form
def test_a_superuser_orders_the_owners_leaves(db: Database, owner: Connection, connection: str) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute(f"SET dp.now = '{NOW}'")  # type: ignore[call-overload]
        call(admin, "CALL dp.cluster", "public.event", connection=connection)
    assert max(closed(disorder(owner))) < 1.3
    assert call(owner, "SELECT dp.drift", "event") == []
