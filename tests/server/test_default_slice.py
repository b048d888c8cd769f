"""The default slice: what it holds, how its rows move out, and that new slices need not read it."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

FORMS = pytest.mark.parametrize("key_form", ["exact", "slice"])
NOBODY = {"Dialog": 0, "Activity": 0, "Actor": 0}


def with_default(db: Database, key_form: str = "exact", **options: object) -> psycopg.Connection[Any]:
    """The hierarchy with a default slice, and slices from June 2025."""
    connection = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(connection, key_form, default_slice=True, premake=1, **options)
    connection.execute("CALL dp.run_maintenance()")
    return connection


@FORMS
def test_the_default_slice_is_in_all_tables_or_in_none(db: Database, key_form: str) -> None:
    owner = with_default(db, key_form)
    for table in family.TABLES:
        assert family.slices(owner, table) == ["2025_06", "2025_07", "default"]
    other = Database.create(db.server, db.name + "_none")
    try:
        plain = other.connect()
        family.declare(plain, key_form)
        plain.execute("CALL dp.run_maintenance()")
        assert not any("default" in name for table in family.TABLES for name in family.slices(plain, table))
    finally:
        other.drop()


@FORMS
def test_draining_moves_parents_and_children_of_several_months(db: Database, key_form: str) -> None:
    owner = with_default(db, key_form)
    for month in (2, 3, 4):
        family.fill(owner, f"2025-0{month}-10 12:00+00", month * 1000, 20)
    before = family.counts(owner)
    assert family.default_counts(owner) == before
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-01-01', '2025-05-01')")
    assert family.counts(owner) == before
    assert family.default_counts(owner) == NOBODY
    expected = ["2025_02", "2025_03", "2025_04", "2025_06", "2025_07", "default"]
    assert [family.slices(owner, table) for table in family.TABLES] == [expected] * 3
    assert family.leftovers(owner) == []
    # the keys hold: a child finds its parent, and goes with it
    owner.execute('DELETE FROM "Dialog" WHERE "Id" BETWEEN 2000 AND 2019')
    assert family.counts(owner) == {"Dialog": 40, "Activity": 80, "Actor": 160}  # those of dialogs stay, without one


@FORMS
def test_maintenance_drains_what_lies_in_its_window(db: Database, key_form: str) -> None:
    owner = with_default(db, key_form, start="2025-03-01")
    assert family.slices(owner)[0] == "2025_03"
    owner.execute("SELECT dp.drop_slice('\"Dialog\"', '2025-04-01')")
    family.fill(owner, "2025-04-10 12:00+00", 1, 10)
    assert family.default_counts(owner)["Dialog"] == 10
    owner.execute("CALL dp.run_maintenance('\"Dialog\"')")
    assert family.default_counts(owner) == NOBODY
    assert family.counts(owner) == {"Dialog": 10, "Activity": 20, "Actor": 30}
    assert "2025_04" in family.slices(owner)


def test_wild_dates_stay_in_the_default_slice_and_are_reported(db: Database) -> None:
    owner = with_default(db)
    notices: list[str] = []
    owner.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))
    for number, moment in enumerate(("52217-05-01 00:00+00", "0044-03-15 12:00+00 BC", "2019-01-01 00:00+00")):
        family.fill(owner, moment, number * 100 + 1, 5)
    before = family.slices(owner)
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("CALL dp.drain_default('\"Dialog\"')")
    assert family.slices(owner) == before
    assert family.default_counts(owner)["Dialog"] == 15
    told = [text for text in notices if "keep rows that lie outside" in text]
    assert len(told) == 2
    assert "52217" in told[0]
    assert "BC" in told[0]
    assert "2019-01-01" in told[0]


@FORMS
def test_a_reader_sees_every_row_at_every_moment(db: Database, key_form: str) -> None:
    owner = with_default(db, key_form)
    for month in (1, 2, 3, 4):
        family.fill(owner, f"2025-0{month}-10 12:00+00", month * 1000, 100)
    expected = family.counts(owner)
    stop = threading.Event()
    seen: list[dict[str, int]] = []
    failed: list[Exception] = []

    def count() -> None:
        reader = db.connect()
        try:
            while not stop.is_set():
                seen.append(family.counts(reader))
        except psycopg.Error as error:
            failed.append(error)

    readers = [threading.Thread(target=count) for _ in range(3)]
    for reader in readers:
        reader.start()
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-01-01', '2025-05-01')")
    stop.set()
    for reader in readers:
        reader.join()
    assert failed == []
    assert len(seen) > 10
    assert [found for found in seen if found != expected] == []
    assert family.default_counts(owner) == NOBODY


@FORMS
def test_writers_wait_and_then_succeed(db: Database, key_form: str) -> None:
    owner = with_default(db, key_form)
    owner.execute('ALTER TABLE "Dialog" ADD COLUMN "Hits" integer NOT NULL DEFAULT 0')
    for month in (1, 2, 3, 4):
        family.fill(owner, f"2025-0{month}-10 12:00+00", month * 1000, 50)
    stop = threading.Event()
    done = [0, 0]
    failed: list[Exception] = []

    def update() -> None:
        writer = db.connect()
        try:
            while not stop.is_set():
                month = done[0] % 4 + 1
                found = writer.execute('UPDATE "Dialog" SET "Hits" = "Hits" + 1 WHERE "Id" = %s', [month * 1000])
                assert found.rowcount == 1
                done[0] += 1
        except (psycopg.Error, AssertionError) as error:
            failed.append(error)

    def insert() -> None:
        writer = db.connect()
        try:
            while not stop.is_set():
                month = done[1] % 4 + 1
                family.fill(writer, f"2025-0{month}-20 12:00+00", 100_000 + done[1], 1)
                done[1] += 1
        except psycopg.Error as error:
            failed.append(error)

    writers = [threading.Thread(target=update), threading.Thread(target=insert)]
    for writer in writers:
        writer.start()
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-01-01', '2025-05-01')")
    stop.set()
    for writer in writers:
        writer.join()
    assert failed == []
    assert min(done) > 0
    hits = owner.execute('SELECT sum("Hits"), count(*) FROM "Dialog"').fetchone()
    assert hits == (done[0], 200 + done[1])
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-01-01', '2025-05-01')")
    assert family.default_counts(owner) == NOBODY


def test_triggers_of_users_do_not_fire_and_stay_as_they_were(db: Database) -> None:
    owner = with_default(db)
    owner.execute("CREATE TABLE fired (name text)")
    owner.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO fired VALUES (TG_NAME || ' ' || TG_OP); RETURN coalesce(NEW, OLD); END$$"
    )
    for name, when in (
        ("before_it", "BEFORE"),
        ("after_it", "AFTER"),
        ("disabled_it", "AFTER"),
        ("always_it", "AFTER"),
    ):
        owner.execute(
            f'CREATE TRIGGER {name} {when} INSERT OR UPDATE OR DELETE ON "Dialog" FOR EACH ROW EXECUTE FUNCTION note()'
        )
    owner.execute('CREATE TRIGGER on_leaf AFTER DELETE ON "Dialog_default_h00" EXECUTE FUNCTION note()')
    owner.execute('ALTER TABLE "Dialog" DISABLE TRIGGER disabled_it')
    owner.execute('ALTER TABLE "Dialog" ENABLE ALWAYS TRIGGER always_it')
    owner.execute('ALTER TABLE ONLY "Dialog_default_h01" DISABLE TRIGGER after_it')
    states = (
        "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger"
        " WHERE NOT tgisinternal AND tgrelid::regclass::text !~ '2025_03' ORDER BY 1, 2"
    )
    before = owner.execute(states).fetchall()
    family.fill(owner, "2025-03-10 12:00+00", 1, 20)
    owner.execute("TRUNCATE fired")
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-03-01', '2025-04-01')")
    assert owner.execute("SELECT * FROM fired").fetchall() == []
    assert owner.execute(states).fetchall() == before
    assert family.default_counts(owner) == NOBODY
    owner.execute('UPDATE "Dialog" SET "Title" = \'x\' WHERE "Id" = 1')
    fired = {row[0] for row in owner.execute("SELECT * FROM fired").fetchall()}
    assert fired == {"before_it UPDATE", "after_it UPDATE", "always_it UPDATE"}


def test_generated_and_identity_columns_self_references_and_forced_row_security(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    owner.execute(
        'CREATE TABLE "Dialog" ("Id" bigint GENERATED ALWAYS AS IDENTITY, "Party" text NOT NULL, "At" timestamptz'
        ' NOT NULL, "Length" integer GENERATED ALWAYS AS (length("Party")) STORED, "ParentId" bigint,'
        ' PRIMARY KEY ("Id"), FOREIGN KEY ("ParentId") REFERENCES "Dialog" ON DELETE CASCADE)'
    )
    owner.execute(
        "SELECT dp.create_hierarchy('\"Dialog\"', 'At', 'Party', hash_partitions => 2, default_slice => true)"
    )
    owner.execute("SELECT dp.register_child('\"Dialog\"', '\"Dialog\"')")
    owner.execute('CREATE POLICY own ON "Dialog" USING ("Party" = current_setting(\'app.party\', true))')
    owner.execute('ALTER TABLE "Dialog" ENABLE ROW LEVEL SECURITY')
    owner.execute("CALL dp.run_maintenance()")
    owner.execute(
        'INSERT INTO "Dialog" ("Party", "At") SELECT \'p\' || n % 5, \'2025-03-03\' FROM generate_series(1, 20) n'
    )
    owner.execute(
        'INSERT INTO "Dialog" ("Party", "At", "ParentId") SELECT "Party", "At", "Id" FROM "Dialog" WHERE "Id" <= 20'
    )
    owner.execute('ALTER TABLE "Dialog" FORCE ROW LEVEL SECURITY')
    owner.execute('ALTER TABLE "Dialog_default" FORCE ROW LEVEL SECURITY')
    everything = 'SELECT "Id", "Party", "Length", "ParentId" FROM "Dialog" ORDER BY "Id"'
    before = db.rows(everything)
    assert len(before) == 40
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-03-01', '2025-04-01')")
    assert db.rows(everything) == before
    assert db.value('SELECT count(*) FROM "Dialog_default"') == 0
    flags = db.rows(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relname IN ('Dialog_default', 'Dialog_2025_03') ORDER BY relname"
    )
    assert [(row["relrowsecurity"], row["relforcerowsecurity"]) for row in flags] == [(True, True)] * 2
    assert owner.execute('SELECT count(*) FROM "Dialog"').fetchone() == (0,)


def test_deferred_keys_do_not_stand_in_the_way(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, default_slice=True)
    for key in ("Actor_DialogId_fkey", "Actor_ActivityId_fkey"):
        owner.execute(f'ALTER TABLE "Actor" ALTER CONSTRAINT "{key}" DEFERRABLE INITIALLY DEFERRED')
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    owner.execute('CREATE TRIGGER after_it AFTER DELETE ON "Actor" FOR EACH ROW EXECUTE FUNCTION nothing()')
    family.fill(owner, "2025-03-10 12:00+00", 1, 20)
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-03-01', '2025-04-01')")
    assert family.counts(owner) == {"Dialog": 20, "Activity": 40, "Actor": 60}
    assert family.default_counts(owner) == NOBODY


@FORMS
def test_rows_of_a_new_slice_in_the_default_slice_are_refused_before_anything_changes(
    db: Database, key_form: str
) -> None:
    owner = with_default(db, key_form)
    family.fill(owner, "2025-03-10 12:00+00", 1, 5)
    before = family.slices(owner)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-06-01')")
    assert "Dialog_default" in str(caught.value)
    assert "2025_03" in str(caught.value)
    assert "CALL dp.drain_default" in str(caught.value.diag.message_hint)
    assert family.slices(owner) == before
    assert family.leftovers(owner) == []
    owner.execute("CALL dp.drain_default('\"Dialog\"', '2025-03-01', '2025-04-01')")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-06-01')")
    assert family.slices(owner)[:5] == ["2025_01", "2025_02", "2025_03", "2025_04", "2025_05"]


@FORMS
def test_a_new_slice_does_not_read_the_default_slice_under_its_lock(db: Database, key_form: str) -> None:
    owner = with_default(db, key_form)
    family.fill(owner, "2019-03-10 12:00+00", 1, 50)
    messages: list[str] = []
    owner.add_notice_handler(lambda diagnostic: messages.append(diagnostic.message_primary or ""))
    owner.execute("SET client_min_messages = debug1")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01')")
    owner.execute("RESET client_min_messages")
    implied = [text for text in messages if "updated partition constraint for default partition" in text]
    assert len([text for text in implied if "is implied by existing constraints" in text]) >= 6
    assert family.leftovers(owner) == []


@FORMS
def test_a_session_at_work_finds_the_slice_that_was_attached(db: Database, key_form: str) -> None:
    """What the leaves of a default slice may hold is another thing then, of which PostgreSQL does not tell them."""
    owner, app = with_default(db, key_form), db.connect()
    family.fill(owner, "2015-05-10 12:00+00", 1, 1)
    owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-07-01')")
    leaf = 'UPDATE "Dialog" SET "UpdatedAt" = %s RETURNING tableoid::regclass::text'
    for moment, slice_name in (("2025-07-02 00:00+00", "default"), ("2015-05-10 12:00+00", "default")):
        assert f"Dialog_{slice_name}_h" in app.execute(leaf, [moment]).fetchall()[0][0]  # type: ignore[call-overload]
    owner.execute("SELECT dp.attach_slice('\"Dialog\"', '2025-07-01')")
    assert "Dialog_2025_07_h" in app.execute(leaf, ["2025-07-02 00:00+00"]).fetchall()[0][0]  # type: ignore[call-overload]
    assert family.counts(owner, "_2025_07") == {"Dialog": 1, "Activity": 2, "Actor": 2}  # one actor has no parent


def test_checks_that_an_interrupted_call_left_behind_are_removed(db: Database) -> None:
    owner = with_default(db)
    owner.execute(
        'ALTER TABLE "Activity_default" ADD CONSTRAINT dp_excludes_2024_01'
        " CHECK (\"UpdatedAt\" < '2024-01-01' OR \"UpdatedAt\" >= '2024-02-01') NOT VALID"
    )
    assert family.leftovers(owner) == ["dp_excludes_2024_01"] * 3  # the slice and its two leaves
    owner.execute("CALL dp.run_maintenance()")
    assert family.leftovers(owner) == []


def test_integers_drain_by_steps(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE item (id bigint, n bigint NOT NULL, PRIMARY KEY (id, n)) PARTITION BY RANGE (n)")
    owner.execute("SELECT dp.create_hierarchy('item', 'n', slice => '1000', default_slice => true, premake => 2)")
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("INSERT INTO item SELECT i, i * 500 - 2000 FROM generate_series(1, 20) i")
    owner.execute("INSERT INTO item VALUES (99, 9000000000000000000)")
    owner.execute("CALL dp.drain_default('item', '-2000', '10000')")
    assert owner.execute("SELECT count(*) FROM item_default").fetchone() == (1,)
    assert owner.execute("SELECT count(*) FROM item").fetchone() == (21,)
