"""Leaves that grow old are frozen, moved and stored otherwise; what a policy ended is taken back on request."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database, with_dblink
from tests.support.hierarchies import call, create_slices, declare
from tests.support.server import Server

Connection = psycopg.Connection[Any]
_numbers = itertools.count(1)
OPTIONS = "SELECT coalesce(array_to_string(reloptions, ','), '') FROM pg_class WHERE oid = %s::regclass"
PLACE = (
    "SELECT coalesce(s.spcname, 'own') FROM pg_class c LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace"
    " WHERE c.oid = %s::regclass"
)
INDEX_PLACES = (
    "SELECT DISTINCT coalesce(s.spcname, 'own') FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE i.indrelid = %s::regclass"
)
MAINTAIN = "CALL dp.run_maintenance('event')"


@pytest.fixture
def slow(server: Server) -> Iterator[str]:
    """A tablespace that the owner may use, gone after the database."""
    name = f"slow_{next(_numbers)}"
    with server.connect() as admin:
        admin.execute("SET allow_in_place_tablespaces = on")
        admin.execute(f"CREATE TABLESPACE {name} LOCATION ''")  # type: ignore[call-overload]
        admin.execute(f"GRANT CREATE ON TABLESPACE {name} TO owner")  # type: ignore[call-overload]
    yield name
    with server.connect() as admin:
        admin.execute(f"DROP TABLESPACE {name}")  # type: ignore[call-overload]


@pytest.fixture
def owner(db: Database) -> Connection:
    """Slices from January to May, with rows, in the middle of May."""
    owner = db.connect(**{"dp.now": "2025-05-15 00:00+00"})
    declare(owner, premake=0)
    create_slices(owner, "2025-01-01", "2025-06-01")
    owner.execute("SET synchronous_commit = on")  # VACUUM leaves pages out whose commit is not on disk yet
    owner.execute(
        "INSERT INTO event (id, at, party, body) SELECT n, '2025-01-01 00:00+00'::timestamptz + n % 150 * interval"
        " '1 day', 'p' || n % 40, repeat('x', 300) FROM generate_series(1, 3000) AS n"
    )
    owner.execute("INSERT INTO item (id, event_id, party, at) SELECT id, id, party, at FROM event")
    owner.execute("SELECT pg_stat_force_next_flush()")
    return owner


def value(connection: Connection, query: str, *values: object) -> Any:
    row = connection.execute(query, values or None).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


def told(connection: Connection) -> list[str]:
    """The notices that a session is told from now on."""
    found: list[str] = []
    connection.add_notice_handler(lambda notice: found.append(str(notice.message_primary)))
    return found


def drift(owner: Connection) -> list[tuple[Any, ...]]:
    return owner.execute("SELECT relation, aspect, part, expected, actual FROM dp.drift('event')").fetchall()


def pages_not_frozen(db: Database, leaf: str) -> int:
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE EXTENSION IF NOT EXISTS pg_visibility")
        row = admin.execute("SELECT count(*) FROM pg_visibility_map(%s) WHERE NOT all_frozen", [leaf]).fetchone()
        assert row is not None
        return int(row[0])


def test_leaves_are_stored_otherwise_once_they_are_old_enough(owner: Connection) -> None:
    call(owner, "SELECT dp.set_storage", "event", '{"fillfactor": 80, "parallel_workers": 2}')
    call(owner, "SELECT dp.add_policy", "event", "1 month", storage='{"fillfactor": 100, "autovacuum_enabled": false}')
    call(owner, "SELECT dp.add_policy", "event", "3 months", storage='{"fillfactor": 90}')
    assert drift(owner) == [], "what is due is maintenance's, and no drift"
    owner.execute(MAINTAIN)
    assert [value(owner, OPTIONS, f"event_2025_{month:02d}_h01") for month in (1, 2, 3, 4)] == [
        "parallel_workers=2,autovacuum_enabled=false,fillfactor=90",
        "parallel_workers=2,autovacuum_enabled=false,fillfactor=100",
        "parallel_workers=2,autovacuum_enabled=false,fillfactor=100",
        "fillfactor=80,parallel_workers=2",
    ]
    assert value(owner, OPTIONS, "item_2025_03_h00") == "autovacuum_enabled=false,fillfactor=100"
    assert drift(owner) == []
    owner.execute("SET dp.now = '2025-05-16 00:00+00'")
    owner.execute(MAINTAIN)
    assert value(owner, "SELECT count(*) FROM dp.last_plan") == 0, "done is done"
    owner.execute("ALTER TABLE event_2025_01_h00 SET (fillfactor = 50), RESET (parallel_workers)")
    assert [row[:3] for row in drift(owner)] == [
        ('"public"."event_2025_01_h00"', "storage parameter", "parallel_workers")
    ], "the rest is as the template says"
    owner.execute(MAINTAIN)
    owner.execute("CALL dp.sync('event')")
    assert value(owner, OPTIONS, "event_2025_01_h00").split(",") == [
        "autovacuum_enabled=false", "fillfactor=90", "parallel_workers=2"
    ]  # fmt: skip


def test_what_a_policy_did_is_taken_back_when_it_ends(owner: Connection) -> None:
    call(owner, "SELECT dp.add_policy", "event", "1 month", storage='{"fillfactor": 100}')
    owner.execute(MAINTAIN)
    assert call(owner, "SELECT dp.drop_policy", "event", "1 month")
    assert call(owner, "SELECT dp.drop_policy", "event", "1 month") == []
    assert {row[1:] for row in drift(owner)} == {("storage parameter", "fillfactor", None, "100")}
    owner.execute("CALL dp.sync('event')")
    assert drift(owner) == []
    assert value(owner, OPTIONS, "event_2025_01_h00") == ""


def test_old_leaves_move_to_another_tablespace_and_back(slow: str, owner: Connection) -> None:
    call(owner, "SELECT dp.create_index", "event", "event_body", "(body)")
    owner.execute("CREATE INDEX own_index ON event_2025_01_h00 (id)")
    before = value(owner, "SELECT array_agg(e ORDER BY id) FROM event AS e")
    call(owner, "SELECT dp.add_policy", "event", "2 months", tablespace=slow)
    owner.execute(MAINTAIN)
    for leaf in ("event_2025_01_h00", "event_2025_02_h01", "item_2025_02_h00"):
        assert value(owner, PLACE, leaf) == slow
        assert owner.execute(INDEX_PLACES, [leaf]).fetchall() == [(slow,)]  # type: ignore[arg-type]
    assert value(owner, PLACE, "event_2025_03_h00") == "own"
    assert [row[1] for row in drift(owner)] == ["index"], "the leaf's own one"
    assert value(owner, "SELECT array_agg(e ORDER BY id) FROM event AS e") == before

    call(owner, "SELECT dp.create_index", "event", "event_later", "(party)")
    owner.execute(MAINTAIN)
    assert owner.execute(INDEX_PLACES, ["event_2025_01_h00"]).fetchall() == [(slow,)], "new indexes follow"

    call(owner, "SELECT dp.drop_policy", "event", "2 months")
    assert {"tablespace", "index tablespace"} < {row[1] for row in drift(owner)}
    owner.execute("CALL dp.sync('event')")
    assert value(owner, PLACE, "event_2025_01_h00") == slow, "rows are written anew on request only"
    owner.execute("CALL dp.sync('event', rewrite => true)")
    for leaf in ("event_2025_01_h00", "event_2025_02_h01", "item_2025_02_h00"):
        assert value(owner, PLACE, leaf) == "own"
        assert owner.execute(INDEX_PLACES, [leaf]).fetchall() == [("own",)]  # type: ignore[arg-type]
    assert [row[1] for row in drift(owner)] == ["index"]
    assert value(owner, "SELECT array_agg(e ORDER BY id) FROM event AS e") == before


def test_old_leaves_are_frozen_and_again_when_they_changed(db: Database, owner: Connection) -> None:
    host = with_dblink(db)
    maintain = f"CALL dp.run_maintenance('event', connection => '{host}')"
    call(owner, "SELECT dp.add_policy", "event", "2 months", vacuum_freeze=True)
    assert pages_not_frozen(db, "event_2025_01_h00") > 0
    owner.execute(maintain)
    for leaf in ("event_2025_01_h00", "event_2025_02_h01", "item_2025_02_h00"):
        assert pages_not_frozen(db, leaf) == 0
    assert pages_not_frozen(db, "event_2025_03_h00") > 0
    assert value(owner, "SELECT count(*) FROM dp.ageing('event') WHERE is_due") == 0
    owner.execute(maintain)
    assert value(owner, "SELECT count(*) FROM dp.last_plan") == 0

    writer = db.connect(synchronous_commit="on")
    writer.execute("UPDATE event SET body = 'y' WHERE at < '2025-01-03'")
    writer.execute("SELECT pg_stat_force_next_flush()")
    owner.execute("CLUSTER event_2025_02_h01 USING event_2025_02_h01_pkey")
    assert pages_not_frozen(db, "event_2025_02_h01") > 0
    owner.execute(maintain)
    for leaf in ("event_2025_01_h00", "event_2025_02_h01", "item_2025_02_h00"):
        assert pages_not_frozen(db, leaf) == 0


def test_rows_that_an_old_transaction_may_see_are_frozen_after_it(db: Database, owner: Connection) -> None:
    host = with_dblink(db)
    reader = db.connect()
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute("SELECT 1 FROM item LIMIT 1")
    db.connect(synchronous_commit="on").execute("DELETE FROM event WHERE at < '2025-01-03'")
    call(owner, "SELECT dp.add_policy", "event", "3 months", vacuum_freeze=True)
    owner.execute(f"CALL dp.run_maintenance('event', connection => '{host}')")
    assert value(owner, "SELECT sum(leaves) FROM dp.ageing('event') WHERE is_due AND tbl ~ 'event'") == 2
    reader.execute("COMMIT")
    owner.execute(f"CALL dp.run_maintenance('event', connection => '{host}')")
    assert value(owner, "SELECT count(*) FROM dp.ageing('event') WHERE is_due") == 0
    assert pages_not_frozen(db, "event_2025_01_h00") == 0


NEVER_VACUUMED = '{"fillfactor": 100, "autovacuum_enabled": false}'


def test_without_a_second_session_nothing_is_frozen_and_that_is_said(owner: Connection) -> None:
    notices = told(owner)
    call(owner, "SELECT dp.add_policy", "event", "3 months", vacuum_freeze=True, storage=NEVER_VACUUMED)
    assert any("second session" in notice for notice in notices)
    notices.clear()
    owner.execute(MAINTAIN)
    assert any("second session" in notice for notice in notices)
    assert value(owner, OPTIONS, "event_2025_01_h00") == "fillfactor=100", "the rest is done; somebody must vacuum"
    finding = "SELECT count(*) FROM dp.check('event') WHERE finding = 'policy not applied'"
    assert value(owner, finding) == 1
    owner.execute(f"{MAINTAIN[:-1]}, dry_run => true)")
    printed = [row[0] for row in owner.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall()]
    assert sum("VACUUM (FREEZE" in statement for statement in printed) == 4
    for statement in printed:
        owner.execute(statement)
    assert value(owner, finding) == 0


def test_a_policy_that_maintenance_did_not_get_to_is_a_finding_after_a_day(owner: Connection) -> None:
    finding = "SELECT detail FROM dp.check('event') WHERE finding = 'policy not applied'"
    call(owner, "SELECT dp.add_policy", "event", "1 month", storage='{"fillfactor": 100}')
    owner.execute(MAINTAIN)
    owner.execute("SET dp.now = '2025-06-01 12:00+00'")
    assert value(owner, "SELECT sum(leaves) FROM dp.ageing('event') WHERE is_due") == 4
    assert value(owner, finding) is None
    owner.execute("SET dp.now = '2025-06-02 12:00+00'")
    assert value(owner, finding).startswith("4 leaves lack")
    owner.execute(MAINTAIN)
    assert value(owner, finding) is None


def test_one_leaf_that_is_in_use_does_not_keep_the_others(slow: str, db: Database, owner: Connection) -> None:
    call(owner, "SELECT dp.configure", "event", lock_timeout="1 ms")
    call(owner, "SELECT dp.add_policy", "event", "2 months", tablespace=slow)
    reader = db.connect()
    reader.execute("BEGIN")
    reader.execute("SELECT 1 FROM event_2025_01_h00 LIMIT 1")
    with pytest.raises(psycopg.errors.RaiseException, match="event_2025_01_h00"):
        owner.execute(MAINTAIN)
    assert value(owner, PLACE, "event_2025_01_h00") == "own"
    assert value(owner, PLACE, "event_2025_02_h00") == slow
    reader.execute("COMMIT")
    owner.execute(MAINTAIN)
    assert value(owner, PLACE, "event_2025_01_h00") == slow


def test_a_tablespace_that_is_lost_to_the_owner_is_a_failed_run(slow: str, db: Database, owner: Connection) -> None:
    call(owner, "SELECT dp.add_policy", "event", "2 months", tablespace=slow, storage='{"fillfactor": 100}')
    with db.server.connect() as admin:
        admin.execute(f"REVOKE CREATE ON TABLESPACE {slow} FROM owner")  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.RaiseException, match="permission denied for tablespace"):
        owner.execute(MAINTAIN)
    assert value(owner, OPTIONS, "item_2025_02_h01") == "fillfactor=100", "the rest is done"
    assert value(owner, "SELECT count(*) FROM dp.log WHERE status = 'failed'") == 3, "not one for every leaf"
    with db.server.connect() as admin:
        admin.execute(f"GRANT CREATE ON TABLESPACE {slow} TO owner")  # type: ignore[call-overload]
    owner.execute(MAINTAIN)
    assert value(owner, PLACE, "item_2025_02_h01") == slow


def test_what_will_happen_is_foretold(owner: Connection) -> None:
    call(owner, "SELECT dp.add_policy", "event", "1 month", storage='{"fillfactor": 100}')
    call(owner, "SELECT dp.add_policy", "event", "1 year", storage='{"autovacuum_enabled": false}')
    rows = owner.execute(
        "SELECT slice, after, due::date::text, is_due, leaves FROM dp.ageing('event') WHERE tbl ~ 'item' AND slice ~"
        " '_0[34]' ORDER BY slice, due"
    ).fetchall()
    assert rows == [
        ('"public"."item_2025_03"', "1 month", "2025-05-01", True, 2),
        ('"public"."item_2025_03"', "1 year", "2026-04-01", False, 2),
        ('"public"."item_2025_04"', "1 month", "2025-06-01", False, 2),
        ('"public"."item_2025_04"', "1 year", "2026-05-01", False, 2),
    ]
    owner.execute(MAINTAIN)
    assert value(owner, "SELECT count(*) FROM dp.ageing('event') WHERE is_due") == 0
    seen = owner.execute(
        "SELECT root::text, after, vacuum_freeze, tablespace, storage FROM dp.policy ORDER BY after"
    ).fetchall()
    assert seen == [
        ("event", "1 month", False, None, {"fillfactor": "100"}),
        ("event", "1 year", False, None, {"autovacuum_enabled": "false"}),
    ]


def test_the_same_age_again_takes_the_place_of_what_was_said(owner: Connection) -> None:
    call(owner, "SELECT dp.add_policy", "event", "1 month", storage='{"fillfactor": 100}')
    assert call(owner, "SELECT dp.add_policy", "event", "1 MONTH", storage='{"fillfactor": "100"}') == []
    call(owner, "SELECT dp.add_policy", "event", "1 month", storage='{"fillfactor": 95}')
    owner.execute(MAINTAIN)
    assert value(owner, OPTIONS, "event_2025_01_h00") == "fillfactor=95"
    assert value(owner, "SELECT count(*) FROM dp.policy") == 1
    owner.execute("SELECT dp.forget('event')")
    assert value(owner, "SELECT count(*) FROM dp.policy") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Nothing shall happen"),
        ({"after": "soon", "vacuum_freeze": True}, "A width is a number"),
        ({"after": "100", "vacuum_freeze": True}, "calendar interval"),
        ({"storage": "[1]"}, "JSON object"),
        ({"storage": '{"fillfactor": null}'}, "JSON object"),
        ({"storage": '{"fullness": 3}'}, "unrecognized parameter"),
        ({"storage": '{"fillfactor": 1}'}, "out of bounds"),
        ({"tablespace": "nowhere"}, "nowhere"),
        ({"tablespace": "pg_global"}, "pg_global"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(
    owner: Connection, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(psycopg.Error) as raised:
        call(owner, "SELECT dp.add_policy", "event", **{"after": "1 month", **options})
    assert message in str(raised.value) + str(raised.value.diag.message_detail)
    assert raised.value.sqlstate in ("22023", "42704", "42501")
    assert value(owner, "SELECT count(*) FROM dp.policy") == 0


def test_integers_age_by_the_highest_slice_with_rows(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE log (id bigint PRIMARY KEY, body text)")
    call(owner, "SELECT dp.create_hierarchy", "log", "id", None, slice="100", premake=1)
    create_slices(owner, "0", "500", "log")
    owner.execute("INSERT INTO log SELECT n, 'x' FROM generate_series(0, 399) AS n")
    call(owner, "SELECT dp.add_policy", "log", "200", storage='{"fillfactor": 100}')
    owner.execute("CALL dp.run_maintenance('log')")
    assert [value(owner, OPTIONS, f"log_{n}") for n in (0, 100, 200, 300)] == ["fillfactor=100"] * 2 + [""] * 2


def test_others_have_no_say(db: Database, owner: Connection) -> None:
    stranger = db.connect("stranger")
    for text in (
        "SELECT dp.add_policy('event', '1 month', true)",
        "SELECT dp.drop_policy('event', '1 month')",
        "SELECT * FROM dp.ageing('event')",
        "INSERT INTO dp.policy_config VALUES ('event', '1 month', true, NULL, '{}')",
        "INSERT INTO dp.frozen_leaf VALUES ('event_2025_01_h00', 'event', 0, 0)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute(text)  # type: ignore[arg-type]
    assert owner.execute("SELECT * FROM dp.policy").fetchall() == []


def test_a_policy_that_is_spoilt_keeps_no_other_hierarchy_from_its_slices(owner: Connection) -> None:
    family.declare(owner, premake=1)
    owner.execute("INSERT INTO dp.policy_config VALUES ('event', 'x', true, NULL, '{}')")
    with pytest.raises(psycopg.errors.RaiseException, match="maintenance failed for"):
        owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == ["2025_05", "2025_06"]


def test_toast_parameters_are_of_tables_that_have_one(owner: Connection) -> None:
    call(owner, "SELECT dp.add_policy", "event", "1 month", storage='{"toast.autovacuum_enabled": false}')
    owner.execute(MAINTAIN)
    assert value(owner, "SELECT count(*) FROM dp.ageing('event') WHERE is_due") == 0


def test_a_year_and_twelve_months_are_one_age(owner: Connection) -> None:
    call(owner, "SELECT dp.add_policy", "event", "1 year", storage='{"fillfactor": 90}')
    call(owner, "SELECT dp.add_policy", "event", "12 months", storage='{"fillfactor": 80}')
    assert owner.execute("SELECT after, storage FROM dp.policy").fetchall() == [("1 year", {"fillfactor": "80"})]
    call(owner, "SELECT dp.drop_policy", "event", "12 months")
    assert owner.execute("SELECT after FROM dp.policy").fetchall() == []
