"""Global indexes: exact through whatever happens to rows and slices; lookups by them."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

ROOT = "'\"Dialog\"'"
SIDE = '"Dialog_Id_global"'


@pytest.fixture(params=["exact", "slice"])
def owner(db: Database, request: pytest.FixtureRequest) -> psycopg.Connection[Any]:
    """A family with three months, rows in two of them, and a global index on the root's Id."""
    db.begin_with(prepare, request.param)
    return db.connect(**{"dp.now": "2025-06-15 00:00+00"})


def prepare(db: Database, form: str) -> None:
    """Make that family."""
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, form)
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-05-01', '2025-08-01')")
    family.fill(owner, "2025-05-10 12:00+00", 1, 10)
    family.fill(owner, "2025-06-10 12:00+00", 11, 10)
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")


def is_exact(connection: psycopg.Connection[Any], side: str = SIDE) -> bool:
    """Whether the index holds what its table holds, by the extension's own look and by another."""
    found = connection.execute("SELECT * FROM dp.verify_global_index(%s)", [side]).fetchall()
    assert found == []
    key = family.key_column(connection)
    rows = connection.execute(f'SELECT "Id", "{key}", "Party" FROM "Dialog" ORDER BY 1').fetchall()  # type: ignore[call-overload]
    return rows == connection.execute(f'SELECT "Id", "{key}", "Party" FROM {side} ORDER BY 1').fetchall()  # type: ignore[call-overload]


def insert(connection: psycopg.Connection[Any], number: int, moment: str, party: str = "p") -> None:
    """One dialog."""
    key = family.key_column(connection)
    if key == "UpdatedAt":
        text, values = "", ""
    else:
        text, values = f', "{key}"', ", date_trunc('month', %(at)s::timestamptz, 'UTC')::date"
    connection.execute(
        f'INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt"{text}) VALUES (%(id)s, %(party)s, %(at)s{values})',  # type: ignore[call-overload]
        {"id": number, "party": party, "at": moment},
    )


CHANGES = {
    "delete": 'DELETE FROM "Dialog" WHERE "Id" IN (3, 13)',
    "a key changed within its slice": 'UPDATE "Dialog" SET "UpdatedAt" = \'2025-06-11 00:00+00\' WHERE "Id" = 12',
    "moved to another slice": 'UPDATE "Dialog" SET "UpdatedAt" = \'2025-07-11 00:00+00\' WHERE "Id" < 15',
    "moved to another leaf": 'UPDATE "Dialog" SET "Party" = \'elsewhere \' || "Id"',
    "another Id": 'UPDATE "Dialog" SET "Id" = "Id" + 1000',
    "nothing that counts": 'UPDATE "Dialog" SET "Title" = \'new\'',
    "truncate": 'TRUNCATE "Dialog" CASCADE',
    "truncate a leaf": 'TRUNCATE "Actor"; DELETE FROM "Activity"; TRUNCATE "Dialog_2025_05_h00" CASCADE',
    "detach": f"SELECT dp.detach_slice({ROOT}, '2025-05-01')",
    "detach and attach": f"SELECT dp.detach_slice({ROOT}, '2025-05-01'); SELECT dp.attach_slice({ROOT}, '2025-05-01')",
    "drop": f"SELECT dp.drop_slice({ROOT}, '2025-06-01')",
    "detach and drop": f"SELECT dp.detach_slice({ROOT}, '2025-05-01'); SELECT dp.drop_slice({ROOT}, '2025-05-01')",
    "rolled back": 'BEGIN; DELETE FROM "Dialog"; ROLLBACK',
    "back to a savepoint": 'BEGIN; SAVEPOINT s; DELETE FROM "Dialog" WHERE "Id" < 5; ROLLBACK TO s;'
    ' DELETE FROM "Dialog" WHERE "Id" = 7; COMMIT',
    "merge": 'MERGE INTO "Dialog" AS d USING (VALUES (4), (14)) AS v (id) ON d."Id" = v.id'
    ' WHEN MATCHED AND d."Id" = 4 THEN DELETE WHEN MATCHED THEN UPDATE SET "UpdatedAt" = \'2025-07-02 00:00+00\'',
    "merge behind a savepoint": 'BEGIN; SAVEPOINT s; UPDATE "Dialog" SET "Party" = \'elsewhere\'; ROLLBACK TO s;'
    ' MERGE INTO "Dialog" AS d USING (VALUES (4), (14)) AS v (id) ON d."Id" = v.id'
    " WHEN MATCHED THEN UPDATE SET \"UpdatedAt\" = '2025-07-02 00:00+00', \"Party\" = 'p'"
    ' WHEN NOT MATCHED THEN INSERT ("Id", "Party", "UpdatedAt") VALUES (v.id, \'p\', \'2025-07-02 00:00+00\'); COMMIT',
    "merge that only updates": 'MERGE INTO "Dialog" AS d USING (VALUES (4), (14)) AS v (id) ON d."Id" = v.id'
    " WHEN MATCHED THEN UPDATE SET \"UpdatedAt\" = '2025-07-02 00:00+00'",
    "merge that may insert": 'MERGE INTO "Dialog" AS d USING (VALUES (4), (14)) AS v (id) ON d."Id" = v.id'
    " WHEN MATCHED THEN UPDATE SET \"UpdatedAt\" = '2025-07-02 00:00+00', \"Party\" = 'p'"
    ' WHEN NOT MATCHED THEN INSERT ("Id", "Party", "UpdatedAt") VALUES (v.id, \'p\', \'2025-07-02 00:00+00\')',
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_exact_after(owner: psycopg.Connection[Any], change: str) -> None:
    assert is_exact(owner)
    owner.execute(CHANGES[change])  # type: ignore[call-overload]
    assert is_exact(owner)


def test_it_is_exact_after_inserts(owner: psycopg.Connection[Any]) -> None:
    insert(owner, 100, "2025-06-20 00:00+00")
    insert(owner, 101, "2025-07-20 00:00+00", "another")
    assert is_exact(owner)


def test_new_slices_and_leaves_are_kept_as_well(owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-09-01')")
    insert(owner, 200, "2025-08-05 00:00+00")
    assert is_exact(owner)
    owner.execute('TRUNCATE "Dialog_2025_08" CASCADE')
    assert is_exact(owner)
    assert owner.execute(f"SELECT * FROM dp.drift({ROOT})").fetchall() == []


def test_rows_that_leave_the_default_slice_keep_their_entries(db: Database) -> None:
    owner = db.connect()
    family.declare(owner, default_slice=True)
    owner.execute("CALL dp.run_maintenance()")
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")
    family.fill(owner, "2015-05-10 12:00+00", 1, 10)
    assert is_exact(owner)
    owner.execute(f"CALL dp.drain_default({ROOT}, '2015-05-01', '2015-06-01')")
    assert owner.execute('SELECT count(*) FROM "Dialog_2015_05"').fetchone() == (10,)
    assert is_exact(owner)
    owner.execute('DELETE FROM "Dialog" WHERE "Id" = 4')
    assert is_exact(owner)


def test_copied_rows_are_kept(owner: psycopg.Connection[Any]) -> None:
    key = family.key_column(owner)
    columns = ("Id", "Party", "UpdatedAt") if key == "UpdatedAt" else ("Id", "Party", "UpdatedAt", key)
    with owner.cursor().copy(f"""COPY "Dialog" ("{'", "'.join(columns)}") FROM STDIN""") as copy:
        for number in range(300, 320):
            copy.write_row((number, f"party {number}", "2025-06-20 00:00+00", "2025-06-01")[: len(columns)])
    assert is_exact(owner)


def test_a_value_that_is_there_already_is_refused_whatever_its_slice(owner: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        insert(owner, 4, "2025-07-01 00:00+00")
    assert caught.value.diag.constraint_name == "Dialog_Id_global_key"
    assert caught.value.diag.message_detail == 'Key ("Id")=(4) already exists.'
    assert is_exact(owner)


def test_of_two_sessions_one_is_refused(db: Database, owner: psycopg.Connection[Any]) -> None:
    first, second = db.connect(**{"dp.now": "2025-06-15 00:00+00"}), db.connect()
    first.execute("BEGIN")
    insert(first, 500, "2025-05-01 00:00+00")
    failed: list[psycopg.Error] = []

    def insert_too() -> None:
        try:
            insert(second, 500, "2025-07-01 00:00+00")
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=insert_too)
    thread.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    while db.value(waiting, second.info.backend_pid) == 0 and thread.is_alive():
        time.sleep(0.01)
    first.execute("COMMIT")
    thread.join()
    assert [type(each) for each in failed] == [psycopg.errors.UniqueViolation]
    assert is_exact(owner)


def test_a_slice_whose_rows_were_taken_meanwhile_is_not_attached(owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2025-05-01')")
    insert(owner, 3, "2025-06-02 00:00+00")
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-05-01')")
    assert is_exact(owner)
    owner.execute('DELETE FROM "Dialog" WHERE "Id" = 3')
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-05-01')")
    assert is_exact(owner)


def test_a_detached_slice_is_free_of_it(owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2025-05-01')")
    owner.execute(f"SELECT dp.drop_global_index('{SIDE}')")
    owner.execute('TRUNCATE "Dialog_2025_05", "Activity_2025_05", "Actor_2025_05"')
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-05-01')")


def test_lookups_find_rows_by_id_and_children_by_their_parent(owner: psycopg.Connection[Any]) -> None:
    rows = owner.execute('SELECT * FROM "Dialog" WHERE "Id" IN (3, 12, 999) ORDER BY "Id"').fetchall()
    assert owner.execute('SELECT * FROM "Dialog_by_Id"(ARRAY[3, 12, 999]) ORDER BY "Id"').fetchall() == rows
    parts = owner.execute('SELECT * FROM "Activity" WHERE "DialogId" IN (3, 12) ORDER BY "Id"').fetchall()
    assert len(parts) == 4
    assert owner.execute('SELECT * FROM "Activity_by_DialogId"(\'{3,12,999}\') ORDER BY "Id"').fetchall() == parts
    owner.execute("SELECT dp.create_global_index('\"Activity\"', '{Id}')")
    actors = owner.execute('SELECT * FROM "Actor" WHERE "ActivityId" IN (31, 121) ORDER BY "Id"').fetchall()
    assert len(actors) == 2
    assert owner.execute('SELECT * FROM "Actor_by_ActivityId"(\'{31,121}\') ORDER BY "Id"').fetchall() == actors
    keys = owner.execute(f"SELECT * FROM dp.keys_of({ROOT}, 12::bigint)").fetchone()
    assert keys is not None and keys[1] == "party 5"
    assert owner.execute(f"SELECT * FROM dp.keys_of({ROOT}, 999::bigint)").fetchall() == []


def leaves_opened(db: Database, owner: psycopg.Connection[Any], lookup: str) -> dict[str, int]:
    """How many leaves of each slice a lookup locks that was called often."""
    for _ in range(10):
        owner.execute(lookup)  # type: ignore[call-overload]
    owner.execute("BEGIN")
    owner.execute(lookup)  # type: ignore[call-overload]
    held = db.connect().execute(
        "SELECT t.parentrelid::regclass::text, count(*) FROM pg_locks l"
        " JOIN pg_partition_tree('\"Dialog\"') t ON t.relid = l.relation WHERE l.pid = %s AND t.isleaf GROUP BY 1",
        [owner.info.backend_pid],
    )
    found = dict(held.fetchall())
    owner.execute("ROLLBACK")
    return found


@pytest.mark.parametrize(("slices", "leaves"), [(0, 1), (1, 1), (12, 2)])
def test_a_lookup_opens_one_leaf_or_one_slice_however_often_it_is_called(
    db: Database, owner: psycopg.Connection[Any], slices: int, leaves: int
) -> None:
    owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => %s)", [slices])
    found = leaves_opened(db, owner, 'SELECT * FROM "Dialog_by_Id"(ARRAY[3])')
    assert list(found.values()) == [leaves], "the newest slice is another one"


@pytest.mark.parametrize("slices", [0, 1, 2, 12])
def test_lookups_find_what_the_table_holds_whichever_slices_they_know(
    owner: psycopg.Connection[Any], slices: int
) -> None:
    owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => %s)", [slices])
    insert(owner, 70, "2025-07-10 12:00+00")
    insert(owner, 71, "2025-07-10 12:00+00")
    insert(owner, 72, "2025-07-20 12:00+00")
    asked = [3, 12, 13, 70, 71, 72, 80, 999]

    def found() -> list[int]:
        for _ in range(7):  # plans are kept, where they are
            rows = owner.execute('SELECT "Id" FROM "Dialog_by_Id"(%s) ORDER BY 1', [asked]).fetchall()
        parts = owner.execute('SELECT "Id" FROM "Activity_by_DialogId"(%s) ORDER BY 1', [asked]).fetchall()
        held = 'SELECT "Id" FROM "Activity" WHERE "DialogId" = ANY (%s) ORDER BY 1'
        assert parts == owner.execute(held, [asked]).fetchall()
        return [row[0] for row in rows]

    assert found() == [3, 12, 13, 70, 71, 72]
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2025-06-01')")
    assert found() == [3, 70, 71, 72]
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-06-01')")
    assert found() == [3, 12, 13, 70, 71, 72]
    owner.execute('UPDATE "Dialog" SET "UpdatedAt" = \'2025-05-20 00:00+00\' WHERE "Id" IN (70, 12)')
    assert found() == [3, 12, 13, 70, 71, 72]
    owner.execute(f"SELECT dp.drop_slice({ROOT}, '2025-07-01')")
    assert found() == [3, 12, 13, 70]
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-09-01', '2025-10-01')")  # behind a gap
    insert(owner, 80, "2025-09-10 12:00+00")
    assert found() == [3, 12, 13, 70, 80]
    width = "15 days" if family.key_column(owner) == "UpdatedAt" else "1 month"
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-07-01', '2025-08-01', slice => %s)", [width])
    insert(owner, 71, "2025-07-14 23:00+00")
    assert found() == [3, 12, 13, 70, 71, 80]


def test_lookups_get_to_know_new_slices(db: Database, owner: psycopg.Connection[Any]) -> None:
    known = "SELECT prosrc ~ %s FROM pg_proc WHERE proname = 'Activity_by_DialogId'"
    assert not db.value(known, "2025-10-01")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-10-01')")
    assert db.value(known, "2025-10-01") and db.value(known, "2025-05-01")
    owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => 2)")
    assert db.value(known, "2025-08-01") and not db.value(known, "2025-07-01")
    assert owner.execute(f"SELECT * FROM dp.configure({ROOT}, lookup_slices => 2)").fetchall() == []
    owner.execute("SET dp.now = '2025-12-15 00:00+00'")
    owner.execute("CALL dp.run_maintenance()")
    assert db.value(known, "2026-05-01") and not db.value(known, "2026-02-01")
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => -1)")
    owner.execute(f"SELECT dp.drop_slice({ROOT}, '2026-04-01')")
    assert db.value(known, "2026-05-01"), "they need not hear of slices that go"
    told = owner.execute(f"SELECT finding FROM dp.check({ROOT})").fetchall()
    assert [each for each in told if "function" in each[0]] == []


def test_an_insert_behind_a_move_of_the_same_transaction(owner: psycopg.Connection[Any]) -> None:
    owner.execute("BEGIN")
    owner.execute('UPDATE "Dialog" SET "Party" = \'elsewhere\' WHERE "Id" = 4')
    insert(owner, 700, "2025-06-20 00:00+00")
    insert(owner, 701, "2025-07-20 00:00+00")
    with pytest.raises(psycopg.errors.UniqueViolation), owner.transaction():
        insert(owner, 4, "2025-06-20 00:00+00")
    owner.execute("COMMIT")
    assert is_exact(owner)


def test_an_unprivileged_writer_and_reader(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute('GRANT INSERT, SELECT ON "Dialog" TO stranger')
    stranger = db.connect("stranger")
    insert(stranger, 77, "2025-06-20 00:00+00")
    assert is_exact(owner)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(f"DELETE FROM {SIDE}")  # type: ignore[call-overload]
    owner.execute(f"SELECT dp.drop_global_index('{SIDE}')")
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")
    assert len(stranger.execute("SELECT * FROM \"Dialog_by_Id\"('{77}')").fetchall()) == 1


@pytest.mark.parametrize("slices", [0, 12])
def test_row_security_holds_in_lookups(db: Database, owner: psycopg.Connection[Any], slices: int) -> None:
    owner.execute(f"SELECT dp.configure({ROOT}, lookup_slices => %s)", [slices])
    owner.execute(f'GRANT SELECT ON "Dialog", {SIDE} TO stranger; ALTER TABLE "Dialog" ENABLE ROW LEVEL SECURITY')  # type: ignore[call-overload]
    owner.execute('CREATE POLICY one ON "Dialog" TO stranger USING ("Party" = current_setting(\'app.party\'))')
    parties = dict(owner.execute('SELECT "Id", "Party" FROM "Dialog"').fetchall())
    stranger = db.connect("stranger")
    asked = 'SELECT "Id" FROM "Dialog_by_Id"(%s) ORDER BY 1'
    for party in 7 * sorted(set(parties.values())):
        stranger.execute("SELECT set_config('app.party', %s, false)", [party])
        found = [row[0] for row in stranger.execute(asked, [list(parties)]).fetchall()]
        assert found == sorted(number for number, of in parties.items() if of == party)
    owner.execute('DROP POLICY one ON "Dialog"')
    assert stranger.execute(asked, [list(parties)]).fetchall() == []
    assert len(owner.execute(asked, [list(parties)]).fetchall()) == len(parties)


def test_rows_that_policies_hide_from_the_owner_are_not_forgotten(owner: psycopg.Connection[Any]) -> None:
    owner.execute('ALTER TABLE "Dialog" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY')
    owner.execute('CREATE POLICY none ON "Dialog" USING (false) WITH CHECK (true)')
    assert owner.execute('SELECT * FROM "Dialog"').fetchall() == []
    for call in ("SELECT dp.create_global_index", "CALL dp.create_global_index_online"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="hide"):
            owner.execute(f"{call}({ROOT}, '{{Title}}', false)")  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        owner.execute("SELECT * FROM dp.verify_global_index(%s)", [SIDE])
    assert len(owner.execute(f"SELECT * FROM {SIDE}").fetchall()) == 20
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2025-05-01')")
    assert len(owner.execute(f"SELECT * FROM {SIDE}").fetchall()) == 10
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="Dialog_2025_05"):
        owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-05-01')")
    forced = "SELECT count(*) FROM pg_class WHERE relforcerowsecurity AND relkind IN ('r', 'p')"
    assert owner.execute(forced).fetchall() == [(10,)], "as many as before"
    owner.execute('ALTER TABLE "Dialog" NO FORCE ROW LEVEL SECURITY')
    owner.execute('ALTER TABLE "Dialog_2025_05" NO FORCE ROW LEVEL SECURITY')
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-05-01')")
    assert is_exact(owner)
    owner.execute('ALTER TABLE "Dialog" FORCE ROW LEVEL SECURITY')
    owner.execute(f"SELECT dp.drop_slice({ROOT}, '2025-06-01')")
    owner.execute('ALTER TABLE "Dialog" NO FORCE ROW LEVEL SECURITY')
    assert is_exact(owner)
    assert len(owner.execute(f"SELECT * FROM {SIDE}").fetchall()) == 10


def test_twice_and_gone_again(db: Database, owner: psycopg.Connection[Any]) -> None:
    assert owner.execute(f"SELECT * FROM dp.create_global_index({ROOT}, '{{Id}}')").fetchall() == []
    owner.execute("SELECT dp.create_global_index('\"Activity\"', '{Id}')")
    assert owner.execute("SELECT * FROM dp.create_lookup('\"Actor\"', '{ActivityId}')").fetchall() == []
    for side in (SIDE, '"Activity_Id_global"'):
        owner.execute("SELECT dp.drop_global_index(%s)", [side])
    left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%%global%%'"
    assert db.value(left) == 0
    assert (
        db.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname ~ '_by_|global'")
        == 0
    )
    assert db.value("SELECT count(*) FROM dp.global_index_config") == 0
    owner.execute('TRUNCATE "Dialog" CASCADE')


def test_of_indexes_of_the_same_columns_one_serves_the_lookup(owner: psycopg.Connection[Any]) -> None:
    """That of all rows, whichever was made last; when it goes, another one."""
    create = (
        "SELECT dp.create_global_index('\"Dialog\"', '{Party}', is_unique => false, index_name => %s, predicate => %s)"
    )
    seen = """SELECT "Id" FROM "Dialog_by_Party"(ARRAY['party 1', 'party 2']) ORDER BY 1"""
    told = """SELECT "Id" FROM "Dialog" WHERE "Party" IN ('party 1', 'party 2') ORDER BY 1"""
    rows = owner.execute(told).fetchall()
    few = [row for row in rows if row[0] < 10]
    assert 0 < len(few) < len(rows)
    owner.execute(create, ["b", '"Id" < 10'])
    assert owner.execute(seen).fetchall() == few
    owner.execute(create, ["m", None])
    assert owner.execute(seen).fetchall() == rows
    owner.execute(create, ["a", '"Id" < 10'])
    owner.execute(create, ["z", None])
    assert owner.execute(seen).fetchall() == rows
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-08-01', '2025-10-01')")
    assert owner.execute(seen).fetchall() == rows
    check = f"SELECT * FROM dp.check({ROOT}) WHERE finding = 'function of a renamed table'"
    assert owner.execute(check).fetchall() == []  # type: ignore[call-overload]
    for gone, left in (("a", rows), ("m", rows), ("z", few)):
        owner.execute("SELECT dp.drop_global_index(%s)", [gone])
        assert owner.execute(seen).fetchall() == left, gone
    owner.execute("SELECT dp.drop_global_index('b')")
    assert owner.execute("SELECT FROM pg_proc WHERE proname = 'Dialog_by_Party'").fetchall() == []


def test_a_partial_index_of_two_columns(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        'CREATE TABLE "We ""ird.Täble" ("Id" int PRIMARY KEY, at timestamptz NOT NULL, "Party" text NOT NULL,'
        ' "Org %" text NOT NULL, "Key}" text, "{gone" boolean NOT NULL DEFAULT false)'
    )
    table = """'"We ""ird.Täble"'"""
    owner.execute(f"SELECT dp.create_hierarchy({table}, 'at', 'Party', hash_partitions => 2)")
    owner.execute(f"CALL dp.create_slices({table}, '2025-01-01', '2025-04-01')")
    owner.execute(
        f"SELECT dp.create_global_index({table}, ARRAY['Org %', 'Key}}'],"
        """ predicate => '"Key}" > ''a'' AND NOT "{gone"',"""
        " index_name => 'ünique \"one\"', hash_partitions => 3)"
    )
    side = '"ünique ""one"""'
    fill = 'INSERT INTO "We ""ird.Täble" VALUES (%s, %s, %s, %s, %s, %s)'
    for number, month, key, gone in ((1, 1, "b", False), (2, 2, None, False), (3, 2, "a", False), (4, 3, "b", True)):
        owner.execute(fill, [number, f"2025-0{month}-02 00:00+00", "p", "o", key, gone])  # type: ignore[call-overload]
    assert owner.execute(f"SELECT count(*) FROM {side}").fetchone() == (1,)  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.UniqueViolation, match='ünique "one"'):
        owner.execute('UPDATE "We ""ird.Täble" SET "{gone" = false WHERE "Id" = 4')
    owner.execute('UPDATE "We ""ird.Täble" SET "{gone" = true WHERE "Id" = 1')
    owner.execute('UPDATE "We ""ird.Täble" SET "{gone" = false WHERE "Id" = 4')
    found = owner.execute(
        "SELECT \"Id\" FROM \"We \"\"ird.Täble_by_Org %_Key}\"(ARRAY['o', 'o'], ARRAY['a', 'b'])"
    ).fetchall()
    assert found == [(4,)]
    owner.execute('TRUNCATE "We ""ird.Täble_2025_03"')
    assert owner.execute(f"SELECT count(*) FROM {side}").fetchone() == (0,)  # type: ignore[call-overload]
    assert owner.execute("SELECT * FROM dp.verify_global_index(%s)", [side]).fetchall() == []


def test_values_that_repeat(owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Title}}', is_unique => false)")
    owner.execute('UPDATE "Dialog" SET "Title" = \'same\' WHERE "Id" IN (2, 12, 13)')
    found = owner.execute('SELECT "Id" FROM "Dialog_by_Title"(\'{same}\') ORDER BY 1').fetchall()
    assert found == [(2,), (12,), (13,)]
    assert owner.execute("SELECT * FROM dp.verify_global_index('\"Dialog_Title_global\"')").fetchall() == []
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Title}}', index_name => 'titles')")


@pytest.mark.parametrize(
    "change",
    ["delete", "moved to another slice", "moved to another leaf", "detach and attach", "drop", "merge"],
)
def test_where_an_owner_s_rows_lie_is_told_by_the_keys(owner: psycopg.Connection[Any], change: str) -> None:
    key = family.key_column(owner)
    owner.execute('UPDATE "Dialog" SET "Title" = NULL WHERE "Id" % 2 = 1')
    owner.execute(
        f"SELECT dp.create_global_index({ROOT}, %s, is_unique => false, predicate => %s, index_name => 'titled')",
        [["Party", key], '"Title" IS NOT NULL'],
    )
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="columns"):
        owner.execute(f"SELECT dp.create_global_index({ROOT}, %s, index_name => 'both')", [["Party", key]])
    owner.execute(CHANGES[change])  # type: ignore[call-overload]
    owner.execute('UPDATE "Dialog" SET "Title" = CASE WHEN "Id" % 4 < 2 THEN \'titled\' END')
    assert is_exact(owner)
    told = owner.execute(f'SELECT "Party", "{key}", "Id" FROM titled ORDER BY 3').fetchall()  # type: ignore[call-overload]
    kept = f'SELECT "Party", "{key}", "Id" FROM "Dialog" WHERE "Title" IS NOT NULL ORDER BY 3'
    assert told == owner.execute(kept).fetchall() != []  # type: ignore[call-overload]
    assert owner.execute("SELECT * FROM dp.verify_global_index('titled')").fetchall() == []


REFUSED = {
    "no such column": (f"dp.create_global_index({ROOT}, '{{Nothing}}')", psycopg.errors.UndefinedColumn),
    "a list in the list": (f"dp.create_global_index({ROOT}, '{{{{Id}}}}')", psycopg.errors.InvalidParameterValue),
    "NULL among the columns": (f"dp.create_global_index({ROOT}, '{{NULL}}')", psycopg.errors.InvalidParameterValue),
    "no table": ("dp.create_global_index(NULL, '{Id}')", psycopg.errors.UndefinedObject),
    "no column": (f"dp.create_global_index({ROOT}, '{{}}')", psycopg.errors.InvalidParameterValue),
    "a column twice": (f"dp.create_global_index({ROOT}, '{{Id,Id}}')", psycopg.errors.InvalidParameterValue),
    "no managed table": ("dp.create_global_index('pg_class', '{oid}')", psycopg.errors.UndefinedObject),
    "a name that is taken": (
        f"dp.create_global_index({ROOT}, '{{Title}}', index_name => 'Actor')",
        psycopg.errors.DuplicateTable,
    ),
    "a predicate that is none": (
        f"dp.create_global_index({ROOT}, '{{Title}}', predicate => '1) OR (true')",
        psycopg.errors.InvalidParameterValue,
    ),
    "no index by these": ("dp.create_lookup('\"Actor\"', '{ActivityId}')", psycopg.errors.UndefinedObject),
    "no index": (f"dp.drop_global_index({ROOT})", psycopg.errors.UndefinedObject),
    "renaming its column": (f"dp.rename_column({ROOT}, 'Id', 'Key')", psycopg.errors.InvalidTableDefinition),
    "another type": (f"dp.alter_column_type({ROOT}, 'Id', 'numeric')", psycopg.errors.InvalidTableDefinition),
    "renaming a key": (f"dp.rename_column({ROOT}, 'Party', 'Owner')", psycopg.errors.InvalidTableDefinition),
}


@pytest.mark.parametrize("call", REFUSED)
def test_it_is_refused(owner: psycopg.Connection[Any], call: str) -> None:
    text, error = REFUSED[call]
    with pytest.raises(error):
        owner.execute(f"SELECT {text}")  # type: ignore[call-overload]
    assert is_exact(owner)


def test_plain_ddl_does_not_break_it(owner: psycopg.Connection[Any]) -> None:
    for command in (
        'ALTER TABLE "Dialog" RENAME COLUMN "Id" TO "Key"',
        'DROP TRIGGER "Dialog_Id_global_update" ON "Dialog"',
        'ALTER TABLE "Dialog" DISABLE TRIGGER "Dialog_Id_global_insert"',
    ):
        with pytest.raises(psycopg.errors.InvalidTableDefinition, match="would break the hierarchy"):
            owner.execute(command)  # type: ignore[call-overload]
    owner.execute('ALTER TABLE "Dialog" ADD COLUMN extra int')
    insert(owner, 88, "2025-06-20 00:00+00")
    assert is_exact(owner)
    assert len(owner.execute("SELECT extra FROM \"Dialog_by_Id\"('{88}')").fetchall()) == 1


def test_built_while_others_write(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"SELECT dp.drop_global_index('{SIDE}')")
    family.fill(owner, "2025-06-10 12:00+00", 1000, 500)
    stop = threading.Event()

    def write() -> None:
        session, number = db.connect(), 5000
        while not stop.is_set():
            number += 1
            insert(session, number, f"2025-0{5 + number % 3}-03 00:00+00")
            session.execute(
                'UPDATE "Dialog" SET "UpdatedAt" = "UpdatedAt" + interval \'1 day\' WHERE "Id" = %s', [number - 1]
            )
            session.execute('DELETE FROM "Dialog" WHERE "Id" = %s', [number - 5])
            session.execute('UPDATE "Dialog" SET "Party" = \'other\' WHERE "Id" = %s', [1000 + number % 500])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        owner.execute(f"CALL dp.create_global_index_online({ROOT}, '{{Id}}', batch_blocks => 1)")
    finally:
        stop.set()
        thread.join()
    assert is_exact(owner)
    owner.execute(f"CALL dp.create_global_index_online({ROOT}, '{{Id}}')")
    assert db.value("SELECT is_valid FROM dp.global_index_config") is True
    assert len(owner.execute("SELECT * FROM \"Dialog_by_Id\"('{1001,1002}')").fetchall()) == 2


def test_a_repetition_stops_an_online_build_which_then_goes_on(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"SELECT dp.drop_global_index('{SIDE}')")
    insert(owner, 4, "2025-07-01 00:00+00")
    with pytest.raises(psycopg.errors.UniqueViolation, match="Dialog_Id_global_key"):
        owner.execute(f"CALL dp.create_global_index_online({ROOT}, '{{Id}}')")
    assert db.value("SELECT is_valid FROM dp.global_index_config") is False
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")
    assert ("global index not valid",) in owner.execute(f"SELECT finding FROM dp.check({ROOT})").fetchall()
    owner.execute('DELETE FROM "Dialog" WHERE "Id" = 4 AND "UpdatedAt" > \'2025-06-30\'')
    owner.execute(f"CALL dp.create_global_index_online({ROOT}, '{{Id}}')")
    assert is_exact(owner)


def test_tables_that_are_dropped_take_it_along(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute('DROP FUNCTION "Dialog_by_Id", "Activity_by_DialogId", "Actor_by_DialogId"')
    owner.execute('DROP TABLE "Actor", "Activity", "Dialog"')
    assert db.value("SELECT count(*) FROM dp.global_index_config") == 0
    assert db.value("SELECT to_regclass(%s) IS NULL", SIDE)


def test_tables_outside_refer_to_it_and_are_undisturbed_when_rows_move(owner: psycopg.Connection[Any]) -> None:
    owner.execute(f"CREATE TABLE outside (id bigint REFERENCES {SIDE} ON DELETE CASCADE)")  # type: ignore[call-overload]
    owner.execute("INSERT INTO outside VALUES (12), (13)")
    owner.execute('UPDATE "Dialog" SET "UpdatedAt" = \'2025-07-11 00:00+00\' WHERE "Id" = 12')
    owner.execute('UPDATE "Dialog" SET "Party" = \'elsewhere\'')
    assert owner.execute("SELECT count(*) FROM outside").fetchone() == (2,)
    owner.execute('DELETE FROM "Dialog" WHERE "Id" = 12')
    assert owner.execute("SELECT id FROM outside").fetchall() == [(13,)]
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute("INSERT INTO outside VALUES (999)")


@pytest.mark.parametrize("partition", ["Dialog_2025_06", "Dialog_2025_06_h01"])
def test_statements_that_name_a_partition_are_refused(owner: psycopg.Connection[Any], partition: str) -> None:
    for statement in (f'DELETE FROM "{partition}"', f'UPDATE "{partition}" SET "Title" = NULL'):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=partition):
            owner.execute(statement)  # type: ignore[call-overload]
    assert is_exact(owner)


def test_plans_for_many_rows_are_not_those_for_one(owner: psycopg.Connection[Any]) -> None:
    """The session's kept plan of a single row must look its entry up, whatever a statement of many rows did before."""
    for first, count in ((1000, 3000), (5000, 1), (6000, 3000), (9500, 1)):
        family.fill(owner, "2025-06-10 12:00+00", first, count)
    owner.execute("ANALYZE")
    scans = f"SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relid = '{SIDE}'::regclass"
    with owner.transaction():
        before = owner.execute(scans).fetchone()  # type: ignore[call-overload]
        insert(owner, 20000, "2025-06-11 12:00+00")
        owner.execute('DELETE FROM "Dialog" WHERE "Id" = 20000')
        assert owner.execute(scans).fetchone() == before  # type: ignore[call-overload]
    assert is_exact(owner)


def test_ids_change_places_in_one_statement(owner: psycopg.Connection[Any]) -> None:
    owner.execute('UPDATE "Dialog" SET "Id" = 23 - "Id" WHERE "Id" IN (11, 12)')
    assert is_exact(owner)
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute('UPDATE "Dialog" SET "Id" = 4 WHERE "Id" IN (12, 13)')
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute('UPDATE "Dialog" SET "Id" = 4 WHERE "Id" = 12')
    assert is_exact(owner)


def test_nobody_runs_the_owner_s_predicate_by_looking(db: Database, owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE FUNCTION is_good(text) RETURNS boolean IMMUTABLE RETURN current_user = 'owner'")
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Title}}', false, 'public.is_good(\"Title\")')")
    admin = db.connect("postgres")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        admin.execute("SELECT dp.verify_global_index('\"Dialog_Title_global\"')")
    assert "SET ROLE" in str(caught.value.diag.message_hint)
    found = admin.execute(f"SELECT finding FROM dp.check({ROOT})").fetchall()
    assert ("global index inexact",) not in found
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2025-05-01')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="predicate"):
        admin.execute(f"SELECT dp.attach_slice({ROOT}, '2025-05-01')")
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2025-05-01')")


def test_check_finds_what_was_changed_behind_its_back(db: Database, owner: psycopg.Connection[Any]) -> None:
    admin = db.connect("postgres")
    admin.execute("SET session_replication_role = replica")
    admin.execute('DELETE FROM "Dialog" WHERE "Id" = 3')
    admin.execute(f'DELETE FROM {SIDE} WHERE "Id" > 10')  # type: ignore[call-overload]
    found = owner.execute(f"SELECT problem FROM dp.verify_global_index('{SIDE}')").fetchall()
    assert sorted(found) == [("missing",)] * 10 + [("stale",)]
    seen = {row[0] for _ in range(30) for row in owner.execute(f"SELECT finding FROM dp.check({ROOT})").fetchall()}
    assert "global index inexact" in seen
    admin.execute(f'DELETE FROM {SIDE} WHERE "Id" <> 3')  # type: ignore[call-overload]
    admin.execute('DELETE FROM "Actor"; DELETE FROM "Activity"; DELETE FROM "Dialog"')
    check = f"SELECT detail FROM dp.check({ROOT}) WHERE finding = 'global index inexact'"
    assert [row[0][:43] for row in owner.execute(check).fetchall()] == ["A sample has found an entry that is stale: "]
    owner.execute('DROP TRIGGER "Dialog_Id_global_guard" ON "Dialog_2025_05_h00"')
    seen = {row[0] for row in owner.execute(f"SELECT finding FROM dp.check({ROOT})").fetchall()}
    assert "global index not guarded" in seen


def test_a_hierarchy_with_one_is_not_forgotten(owner: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        owner.execute(f"SELECT dp.forget({ROOT})")
    assert "drop_global_index" in str(caught.value.diag.message_hint)


def test_rows_that_answer_one_another_leave_the_index_with_their_slice(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE msg (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL,"
        " reply_to bigint REFERENCES msg ON DELETE SET NULL)"
    )
    owner.execute("SELECT dp.create_hierarchy('msg', 'at', 'party', hash_partitions => 2, premake => 0)")
    owner.execute("SELECT dp.register_child('msg', 'msg')")
    owner.execute("CALL dp.create_slices('msg', '2025-01-01', '2025-03-01')")
    owner.execute(
        "INSERT INTO msg SELECT n, '2025-01-05 00:00+00', 'p', CASE WHEN n > 1 THEN 1 END FROM generate_series(1, 5) n"
    )
    owner.execute("SELECT dp.create_global_index('msg', '{reply_to}', is_unique => false)")
    owner.execute("SELECT dp.detach_slice('msg', '2025-01-01')")
    assert owner.execute("SELECT * FROM dp.verify_global_index('msg_reply_to_global')").fetchall() == []
    owner.execute("SELECT dp.attach_slice('msg', '2025-01-01')")
    assert owner.execute("SELECT * FROM dp.verify_global_index('msg_reply_to_global')").fetchall() == []
    assert owner.execute("SELECT count(reply_to) FROM msg").fetchone() == (4,)


def test_a_child_that_is_registered_later_has_its_lookup_too(owner: psycopg.Connection[Any]) -> None:
    owner.execute('CREATE TABLE "Note" ("Id" bigint PRIMARY KEY, "DialogId" bigint NOT NULL)')
    owner.execute("SELECT dp.register_child('\"Note\"', '\"Dialog\"', '{DialogId}', 'CASCADE')")
    key = family.key_column(owner)
    owner.execute(
        f'INSERT INTO "Note" ("Id", "DialogId", "Party", "{key}") SELECT "Id", "Id", "Party", "{key}" FROM "Dialog"'  # type: ignore[call-overload]
    )
    owner.execute("SELECT dp.create_lookup('\"Note\"', '{DialogId}')")
    owner.execute("SELECT dp.create_global_index('\"Note\"', '{Id}')")
    owner.execute('UPDATE "Dialog" SET "UpdatedAt" = \'2025-07-02 00:00+00\' WHERE "Id" IN (3, 12)')
    owner.execute('DELETE FROM "Dialog" WHERE "Id" = 4')
    for lookup in ("Note_by_DialogId", "Note_by_Id"):
        assert owner.execute(f'SELECT "Id" FROM "{lookup}"(\'{{3,4,12}}\') ORDER BY 1').fetchall() == [(3,), (12,)]  # type: ignore[call-overload]
    assert is_exact(owner)
    assert owner.execute("SELECT * FROM dp.verify_global_index('\"Note_Id_global\"')").fetchall() == []
    owner.execute(f"SELECT dp.drop_global_index('{SIDE}')")
    assert owner.execute("SELECT count(*) FROM pg_proc WHERE proname ~ '_by_DialogId$'").fetchone() == (0,)
