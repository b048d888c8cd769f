"""run_maintenance: what it keeps in shape, for whom, and how it fails."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

FORMS = pytest.mark.parametrize("key_form", ["exact", "slice"])


def simple(connection: psycopg.Connection[Any], name: str, **options: object) -> None:
    """A hierarchy of one table, a slice a month."""
    connection.execute(
        f"CREATE TABLE {name} (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"  # type: ignore[arg-type]
    )
    named = "".join(f", {option} => %s" for option in options)
    connection.execute(
        f"SELECT dp.create_hierarchy('{name}', 'at'{named})",  # type: ignore[arg-type]
        list(options.values()),
    )


def slice_names(db: Database, table: str) -> list[str]:
    rows = db.rows("SELECT slice::text AS name FROM dp.slice WHERE tbl = %s::regclass ORDER BY lower_local", table)
    return [row["name"] for row in rows]


def test_a_caller_without_any_hierarchy_is_told_so(db: Database) -> None:
    simple(db.connect(), "kept", premake=1)
    stranger = db.connect("stranger")
    notices: list[str] = []
    stranger.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    stranger.execute("CALL dp.run_maintenance()")
    assert notices == ["stranger is the owner of no hierarchy: nothing to do"]
    assert slice_names(db, "kept") == []


@FORMS
def test_slices_are_made_ahead_by_the_clock_never_by_the_data(db: Database, key_form: str) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, key_form, premake=2)
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == ["2025_06", "2025_07", "2025_08"]
    family.fill(owner, "2025-08-31 12:00+00", 1, 5)
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner) == ["2025_06", "2025_07", "2025_08"]
    owner.execute("SET dp.now = '2025-09-01 00:00+00'")
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner)[-2:] == ["2025_10", "2025_11"]


@FORMS
def test_gaps_and_missing_leaves_are_filled(db: Database, key_form: str) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, key_form, premake=1)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01')")
    owner.execute('DROP TABLE "Actor_2025_01_h01"')
    owner.execute('DROP TABLE "Actor_2025_02"')
    owner.execute("CALL dp.run_maintenance()")
    expected = [f"2025_0{month}" for month in range(1, 8)]
    assert [family.slices(owner, table) for table in family.TABLES] == [expected] * 3
    assert owner.execute("SELECT count(*) FROM dp.leaf").fetchone() == (7 * 3 * 2,)


def test_one_bad_hierarchy_does_not_stop_the_others(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    for name in ("a_taken", "b_good", "c_zone", "d_revoked", "e_good"):
        simple(owner, name, premake=0)
    owner.execute("CREATE TABLE a_taken_2025_06 ()")
    admin = db.connect("postgres", session_replication_role="replica")  # past the check of what is declared
    admin.execute("UPDATE dp.hierarchy_config SET time_zone = 'Nowhere/City' WHERE root = 'c_zone'::regclass")
    owner.execute("CREATE SCHEMA closed")
    owner.execute("ALTER TABLE d_revoked SET SCHEMA closed")
    db.connect("postgres").execute("ALTER SCHEMA closed OWNER TO postgres")
    with pytest.raises(psycopg.errors.RaiseException) as caught:
        owner.execute("CALL dp.run_maintenance()")
    message, detail = str(caught.value), str(caught.value.diag.message_detail)
    for name in ("a_taken", "c_zone", "d_revoked"):
        assert name in message
        assert name in detail
    assert "42P07" in detail
    assert "b_good" not in message
    assert slice_names(db, "b_good") == ["b_good_2025_06"]
    assert slice_names(db, "e_good") == ["e_good_2025_06"]
    failed = db.rows("SELECT root::text, message FROM dp.log WHERE status = 'failed' ORDER BY 1")
    assert [row["root"] for row in failed] == ["a_taken", "c_zone", "closed.d_revoked"]
    assert "(42P07)" in failed[0]["message"]
    assert "Nowhere/City" in failed[1]["message"]
    assert "(42501)" in failed[2]["message"]


def test_a_superuser_maintains_everybody_and_an_owner_what_is_theirs(db: Database) -> None:
    db.connect("postgres").execute("GRANT CREATE ON SCHEMA public TO stranger")
    owner, stranger = db.connect(), db.connect("stranger")
    simple(owner, "a_owners", premake=0)
    simple(stranger, "b_strangers", premake=0)
    simple(owner, "c_owners", premake=0)
    stranger.execute("CALL dp.run_maintenance()")
    assert slice_names(db, "a_owners") == []
    assert len(slice_names(db, "b_strangers")) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute("CALL dp.run_maintenance('a_owners')")
    admin = db.connect("postgres")
    admin.execute("SELECT dp.configure('b_strangers', premake => 1)")
    admin.execute("CALL dp.run_maintenance()")
    assert [len(slice_names(db, name)) for name in ("a_owners", "b_strangers", "c_owners")] == [1, 2, 1]
    owners = db.rows(
        "SELECT DISTINCT left(c.relname, 1) AS first, pg_get_userbyid(relowner)::text AS owner FROM pg_class c"
        " WHERE relispartition AND relkind = 'r' ORDER BY 1"
    )
    assert [(row["first"], row["owner"]) for row in owners] == [("a", "owner"), ("b", "stranger"), ("c", "owner")]
    assert admin.execute("SELECT current_user::text").fetchone() == ("postgres",)


def test_an_interrupted_concurrent_detach_is_finished(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=0)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-07-01')")
    family.fill(owner, "2025-05-10 12:00+00", 1, 5)
    reader = db.connect()
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute('SELECT count(*) FROM "Actor"')
    detacher = db.connect()
    failed = threading.Event()

    def detach() -> None:
        try:
            detacher.execute('ALTER TABLE "Actor" DETACH PARTITION "Actor_2025_05" CONCURRENTLY')
        except psycopg.errors.QueryCanceled:
            failed.set()

    worker = threading.Thread(target=detach)
    worker.start()
    deadline = time.monotonic() + 10
    while not db.value("SELECT bool_or(inhdetachpending) FROM pg_inherits") and time.monotonic() < deadline:
        pass
    db.value("SELECT pg_cancel_backend(%s)", detacher.info.backend_pid)
    worker.join()
    reader.execute("ROLLBACK")
    assert failed.is_set()
    assert owner.execute("SELECT count(*) FROM dp.slice WHERE detach_pending").fetchone() == (1,)
    owner.execute("CALL dp.run_maintenance()")
    assert owner.execute("SELECT count(*) FROM pg_inherits WHERE inhdetachpending").fetchone() == (0,)
    assert owner.execute("SELECT slice::text FROM dp.slice WHERE NOT is_attached").fetchone() == ('"Actor_2025_05"',)
    owner.execute("SELECT dp.attach_slice('\"Dialog\"', '2025-05-01')")
    assert family.counts(owner) == {"Dialog": 5, "Activity": 10, "Actor": 15}


def test_parents_are_analysed_when_it_is_time(db: Database) -> None:
    owner = db.connect()
    family.declare(owner, premake=1)
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("SELECT dp.configure('\"Dialog\"', analyze_interval => '1 day')")
    family.fill(owner, str(db.value("SELECT now()")), 1, 50)
    analysed = "SELECT count(*) FROM dp.log WHERE statements ~ '^ANALYZE'"
    assert owner.execute(analysed).fetchone() == (3,)
    owner.execute("CALL dp.run_maintenance()")
    assert owner.execute(analysed).fetchone() == (3,), "not due yet"
    owner.execute("SELECT set_config('dp.now', (now() + interval '25 hours')::text, false)")
    owner.execute("CALL dp.run_maintenance()")
    assert owner.execute(analysed).fetchone() == (6,)
    known = owner.execute("SELECT DISTINCT tablename::text FROM pg_stats WHERE inherited").fetchall()
    assert {row[0] for row in known} >= set(family.TABLES)


def test_with_nothing_to_do_nothing_is_done(db: Database) -> None:
    owner = db.connect()
    family.declare(owner, premake=1)
    owner.execute("CALL dp.run_maintenance()")
    before = owner.execute("SELECT count(*) FROM dp.log").fetchone()
    owner.execute("CALL dp.run_maintenance()")
    assert owner.execute("SELECT count(*) FROM dp.log").fetchone() == before
    assert owner.execute("SELECT * FROM dp.last_plan").fetchall() == []


def test_a_rehearsal_prints_and_changes_nothing(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, premake=1)
    owner.execute("CALL dp.run_maintenance(dry_run => true)")
    planned = owner.execute("SELECT statement FROM dp.last_plan").fetchall()
    assert any("Dialog_2025_06" in row[0] for row in planned)
    assert family.slices(owner) == []
    assert owner.execute("SELECT count(*) FROM dp.log").fetchone() == (0,)


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_an_old_slice_detached_by_hand_does_not_keep_new_ones_from_being_made(db: Database, key_form: str) -> None:
    owner = kept_until_june(db, key_form)
    owner.execute('ALTER TABLE "Actor" DETACH PARTITION "Actor_2025_02"')
    owner.execute("SET dp.now = '2025-08-15 12:00+00'")
    with pytest.raises(psycopg.errors.RaiseException) as caught:
        owner.execute("CALL dp.run_maintenance('\"Dialog\"')")
    assert "Actor_2025_02" in str(caught.value.diag.message_detail)
    assert "others" not in str(caught.value.diag.message_hint)
    for table in family.TABLES:
        assert [f"2025_0{month}" for month in (7, 8, 9)] == family.slices(owner, table)[-3:]
    failed = db.rows("SELECT message FROM dp.log WHERE status = 'failed'")
    assert len(failed) == 1
    assert "(42P07)" in failed[0]["message"]
    statement = db.value("SELECT statement FROM dp.check('\"Dialog\"') WHERE finding = 'missing slice in child'")
    owner.execute(statement)
    owner.execute("CALL dp.run_maintenance()")
    assert owner.execute("SELECT finding FROM dp.check() WHERE severity = 'error'").fetchall() == []


def test_other_bounds_in_one_child_do_not_keep_new_slices_from_being_made(db: Database) -> None:
    owner = kept_until_june(db, "exact")
    owner.execute('DROP TABLE "Actor_2025_02"')
    owner.execute(
        'CREATE TABLE "Actor_other" PARTITION OF "Actor" FOR VALUES FROM (\'2025-02-01 00:00+00\')'
        " TO ('2025-02-15 00:00+00')"
    )
    owner.execute("SET dp.now = '2025-08-15 12:00+00'")
    with pytest.raises(psycopg.errors.RaiseException) as caught:
        owner.execute("CALL dp.run_maintenance()")
    assert "(55000)" in str(caught.value.diag.message_detail)
    for table in family.TABLES:
        assert family.slices(owner, table)[-1] == "2025_09"


def test_a_failing_retention_does_not_keep_new_slices_from_being_made(db: Database) -> None:
    owner = kept_until_june(db, "exact", retention="4 months", retention_action="drop")
    columns = '"Id", "UpdatedAt", "Party"'
    owner.execute(
        "CREATE TABLE outside (id bigint, at timestamptz, party text,"
        f' FOREIGN KEY (id, at, party) REFERENCES "Dialog" ({columns}))'
    )
    owner.execute("INSERT INTO outside VALUES (1, '2025-02-10 12:00+00', 'party 1')")
    owner.execute("SET dp.now = '2025-08-15 12:00+00'")
    with pytest.raises(psycopg.errors.RaiseException) as caught:
        owner.execute("CALL dp.run_maintenance()")
    assert "(23503)" in str(caught.value.diag.message_detail)
    assert family.slices(owner)[-1] == "2025_09"
    owner.execute("DELETE FROM outside")
    owner.execute("CALL dp.run_maintenance()")
    assert family.slices(owner)[0] == "2025_04"


def kept_until_june(db: Database, key_form: str, **options: object) -> psycopg.Connection:
    """A hierarchy from February to July 2025, with rows in February."""
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, key_form, premake=1, start="2025-02-01", **options)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-02-01', '2025-07-01')")
    family.fill(owner, "2025-02-10 12:00+00", 1, 5)
    return owner
