"""Writable views: applications that cannot send the partition keys insert as they did before."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

Connection = psycopg.Connection[Any]
ROOT = "'\"Dialog\"'"


@pytest.fixture(params=["exact", "slice"])
def owner(db: Database, request: pytest.FixtureRequest) -> Connection:
    """The family in each key form."""
    return begin(db, request.param)


@pytest.fixture
def one(db: Database) -> Connection:
    """The family in one key form, for what does not depend on it."""
    return begin(db, "slice")


def begin(db: Database, key_form: str) -> Connection:
    db.begin_with(prepare, key_form)
    return db.connect(**{"dp.now": "2025-06-15 00:00+00", "search_path": "app, public"})


def prepare(db: Database, key_form: str) -> None:
    """A family with rows in two of three months, global indexes on the parents, and views in schema app."""
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, key_form)
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-05-01', '2025-08-01')")
    family.fill(owner, "2025-05-10 12:00+00", 1, 10)
    family.fill(owner, "2025-06-10 12:00+00", 11, 10)
    owner.execute("CREATE SCHEMA app")
    owner.execute(f"SELECT dp.create_writable_views({ROOT}, 'app')")
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")
    owner.execute("SELECT dp.create_global_index('\"Activity\"', '{Id}')")


def rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(query, values or None).fetchall()  # type: ignore[call-overload]


def keys(connection: Connection, table: str, number: int) -> tuple[Any, ...]:
    """The partition keys of a row, from the table itself."""
    key = family.key_column(connection)
    found = rows(connection, f'SELECT "{key}"::text, "Party" FROM public."{table}" WHERE "Id" = {number}')
    assert len(found) == 1
    return found[0]


def move(connection: Connection, number: int, moment: str) -> None:
    connection.execute('UPDATE public."Dialog" SET "UpdatedAt" = %s WHERE "Id" = %s', [moment, number])


def test_rows_are_inserted_without_keys(owner: Connection) -> None:
    owner.execute('INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt") VALUES (100, \'p\', \'2025-07-03 10:00+00\')')
    cursor = owner.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (1000, 100), (1001, 3), (1002, 13)')
    assert cursor.rowcount == 3
    owner.execute('INSERT INTO "Actor" ("Id", "ActivityId") VALUES (5000, 1000), (5001, 1001)')
    owner.execute('INSERT INTO "Actor" ("Id", "DialogId") VALUES (5002, 100)')
    for table, number, root in (("Activity", 1000, 100), ("Activity", 1001, 3), ("Activity", 1002, 13)):
        assert keys(owner, table, number) == keys(owner, "Dialog", root)
    for number, root in ((5000, 100), (5001, 3), (5002, 100)):
        assert keys(owner, "Actor", number) == keys(owner, "Dialog", root)
    assert rows(owner, f"SELECT finding FROM dp.check({ROOT}) WHERE finding ~ 'view|inexact'") == []


def test_keys_are_found_without_a_global_index_too(owner: Connection) -> None:
    owner.execute("SELECT dp.drop_global_index('\"Activity_Id_global\"')")
    owner.execute("SELECT dp.drop_global_index('\"Dialog_Id_global\"')")
    owner.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (1001, 3)')
    owner.execute('INSERT INTO "Actor" ("Id", "ActivityId") VALUES (5001, 1001)')
    assert keys(owner, "Activity", 1001) == keys(owner, "Actor", 5001) == keys(owner, "Dialog", 3)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (1002, 999)')


def test_keys_that_are_given_are_kept(owner: Connection) -> None:
    key = family.key_column(owner)
    day, party = keys(owner, "Dialog", 3)
    owner.execute(f'INSERT INTO "Actor" ("Id", "Party", "{key}") VALUES (6000, %s, %s)', [party, day])  # type: ignore[call-overload]
    assert keys(owner, "Actor", 6000) == (day, party)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute(
            f'INSERT INTO "Activity" ("Id", "DialogId", "Party", "{key}") VALUES (6001, 3, %s, %s)',  # type: ignore[call-overload]
            ["another", day],
        )


def test_what_is_wrong_is_said_as_the_table_would_say_it(one: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        one.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (1, 999)')
    assert caught.value.diag.constraint_name == "Activity_DialogId_fkey"
    assert caught.value.diag.table_name == "Activity"
    assert caught.value.diag.message_detail == 'Key (DialogId)=(999) is not present in table "Dialog".'
    with pytest.raises(psycopg.errors.NotNullViolation):
        one.execute('INSERT INTO "Actor" ("Id", "Name") VALUES (1, \'nobody\')')
    with pytest.raises(psycopg.errors.NotNullViolation):
        one.execute('INSERT INTO "Activity" ("Id") VALUES (1)')
    with pytest.raises(psycopg.errors.UniqueViolation):
        one.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (31, 3)')
    with pytest.raises(psycopg.errors.UniqueViolation):
        one.execute('INSERT INTO "Dialog" ("Id", "Party", "UpdatedAt") VALUES (3, \'p\', \'2025-07-03\')')


def test_copy_fills_the_keys(owner: Connection) -> None:
    with owner.cursor().copy('COPY "Activity" ("Id", "DialogId", "Text") FROM STDIN') as copy:
        for number in range(1, 21):
            copy.write_row((2000 + number, number, "copied"))
    for number in range(1, 21):
        assert keys(owner, "Activity", 2000 + number) == keys(owner, "Dialog", number)


def test_update_and_delete_pass_through_and_prune(owner: Connection) -> None:
    key = family.key_column(owner)
    day, party = keys(owner, "Dialog", 3)
    assert owner.execute('UPDATE "Activity" SET "Text" = \'new\' WHERE "DialogId" = 3').rowcount == 2
    assert rows(owner, 'DELETE FROM "Activity" WHERE "Id" = 31 RETURNING "Text"') == [("new",)]
    condition = f'"{key}" = \'{day}\' AND "Party" = \'{party}\' AND "Id" = 32'
    for statement in (
        f'UPDATE "Activity" SET "Text" = \'x\' WHERE {condition}',
        f'DELETE FROM "Activity" WHERE {condition}',
    ):
        plan = " ".join(row[0] for row in rows(owner, f"EXPLAIN (COSTS off) {statement}"))
        assert "Activity_2025_05_h" in plan and "Activity_2025_06" not in plan
    assert rows(owner, f'SELECT "Id" FROM "Activity" WHERE {condition} FOR UPDATE') == [(32,)]
    move(owner, 3, "2025-07-01 00:00+00")
    assert keys(owner, "Activity", 32) == keys(owner, "Dialog", 3)


def test_on_conflict_is_for_the_table(one: Connection) -> None:
    """A view has no unique rule that could be inferred, and its trigger does not hear of the clause: never silent."""
    for clause, error in (
        ("DO NOTHING", psycopg.errors.UniqueViolation),
        ('("Id", "Party") DO NOTHING', psycopg.errors.InvalidColumnReference),
        ('("Id", "Party") DO UPDATE SET "Text" = NULL', psycopg.errors.InvalidColumnReference),
    ):
        with pytest.raises(error):
            one.execute(f'INSERT INTO "Activity" ("Id", "DialogId") VALUES (31, 3) ON CONFLICT {clause}')  # type: ignore[call-overload]
    key = family.key_column(one)
    insert = (
        f'INSERT INTO public."Activity" ("Id", "DialogId", "{key}", "Party") SELECT 31, g."Id", g."{key}", g."Party"'
        f' FROM "Dialog_Id_global" AS g WHERE g."Id" = 3 ON CONFLICT ("Id", "{key}", "Party")'
        ' DO UPDATE SET "Text" = \'again\' RETURNING "Text"'
    )
    assert rows(one, insert) == [("again",)]


def test_defaults_identities_and_generated_columns_come_back(one: Connection) -> None:
    one.execute("SELECT dp.add_column('public.\"Activity\"', 'Kind', 'text', default_value => '''plain''')")
    one.execute("SELECT dp.add_column('public.\"Activity\"', 'Twice', 'bigint', generated => '\"Id\" * 2')")
    insert = 'INSERT INTO "Activity" ("Id", "DialogId"{}) VALUES (%s, 3{}) RETURNING "Kind", "Twice", "Party"'
    party = keys(one, "Dialog", 3)[1]
    assert rows(one, insert.format("", ""), 900) == [("plain", 1800, party)]
    assert rows(one, insert.format(', "Kind"', ", NULL"), 901) == [(None, 1802, party)]
    assert rows(one, insert.format(', "Kind", "Twice"', ", DEFAULT, DEFAULT"), 902) == [("plain", 1804, party)]
    with pytest.raises(psycopg.errors.GeneratedAlways):
        one.execute(insert.format(', "Twice"', ", 5"), [903])  # type: ignore[call-overload]
    one.execute("SELECT dp.set_default('public.\"Activity\"', 'Kind', '''other''')")
    assert rows(one, insert.format("", ""), 904) == [("other", 1808, party)]
    one.execute('ALTER TABLE public."Activity" ALTER COLUMN "Kind" DROP DEFAULT')
    assert rows(one, insert.format("", ""), 905) == [(None, 1810, party)]


@pytest.mark.parametrize("kind", ["ALWAYS", "BY DEFAULT"])
def test_an_identity_gets_its_value_and_gives_it_back(db: Database, kind: str) -> None:
    owner = db.connect()
    owner.execute(
        f"CREATE TABLE event (id int GENERATED {kind} AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(),"  # type: ignore[call-overload]
        " party text NOT NULL); CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO stranger"
    )
    owner.execute("SELECT dp.create_hierarchy('event', 'at', 'party', key_form => 'slice', premake => 1)")
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("GRANT INSERT, SELECT ON event TO stranger")
    owner.execute("SELECT dp.create_writable_view('event', 'app')")
    stranger = db.connect("stranger")  # who has no privilege on the sequence
    assert rows(stranger, "INSERT INTO app.event (party) VALUES ('p'), ('q') RETURNING id") == [(1,), (2,)]
    insert = "INSERT INTO app.event (id, party) VALUES (7, 'r') RETURNING id"
    if kind == "ALWAYS":
        with pytest.raises(psycopg.errors.GeneratedAlways):
            stranger.execute(insert)  # type: ignore[call-overload]
    else:
        assert rows(stranger, insert) == [(7,)]


def test_the_triggers_of_the_table_run_and_may_leave_a_row_out(one: Connection) -> None:
    one.execute(
        "CREATE FUNCTION public.polish() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        ' IF NEW."Text" = \'no\' THEN RETURN NULL; END IF; NEW."Text" := upper(NEW."Text"); RETURN NEW; END$$'
    )
    one.execute('CREATE TRIGGER polish BEFORE INSERT ON public."Activity" FOR EACH ROW EXECUTE FUNCTION polish()')
    text = 'INSERT INTO "Activity" ("Id", "DialogId", "Text") VALUES (900, 3, \'yes\'), (901, 3, \'no\')'
    cursor = one.execute(f'{text} RETURNING "Text"')  # type: ignore[call-overload]
    assert (cursor.rowcount, cursor.fetchall()) == (1, [("YES",)])


def test_a_table_that_refers_to_itself(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    owner.execute(
        "CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL);"
        " CREATE TABLE message (id bigint PRIMARY KEY, event_id bigint REFERENCES event ON DELETE CASCADE,"
        " answer_to bigint REFERENCES message ON DELETE SET NULL); CREATE SCHEMA app"
    )
    owner.execute("SELECT dp.create_hierarchy('event', 'at', 'party')")
    owner.execute("SELECT dp.register_child('message', 'event')")
    owner.execute("SELECT dp.register_child('message', 'message')")
    owner.execute("CALL dp.create_slices('event', '2025-06-01', '2025-07-01')")
    owner.execute("SELECT dp.create_writable_views('event', 'app'); SET search_path = app, public")
    owner.execute("INSERT INTO event VALUES (1, '2025-06-02', 'p')")
    owner.execute("INSERT INTO message (id, event_id, answer_to) VALUES (1, 1, NULL), (2, 1, 1), (3, NULL, 2)")
    assert rows(owner, "SELECT party FROM public.message") == [("p",)] * 3


def test_a_further_parent_is_known_when_it_is_registered(one: Connection) -> None:
    one.execute("RESET search_path")
    one.execute('CREATE TABLE "Note" ("Id" bigint PRIMARY KEY, "DialogId" bigint, "ActivityId" bigint)')
    one.execute("SELECT dp.register_child('\"Note\"', '\"Dialog\"', '{DialogId}', 'CASCADE')")
    one.execute("SELECT dp.create_writable_view('\"Note\"', 'app')")
    with pytest.raises(psycopg.errors.NotNullViolation):
        one.execute('INSERT INTO app."Note" ("Id", "ActivityId") VALUES (1, 31)')
    one.execute("SELECT dp.register_child('\"Note\"', '\"Activity\"', '{ActivityId}', 'CASCADE')")
    one.execute('INSERT INTO app."Note" ("Id", "ActivityId") VALUES (1, 31)')
    assert keys(one, "Note", 1) == keys(one, "Dialog", 3)


def test_an_application_has_on_the_view_what_it_has_on_the_table(db: Database, one: Connection) -> None:
    one.execute('GRANT USAGE ON SCHEMA app TO stranger; GRANT INSERT ON public."Activity" TO stranger')
    stranger = db.connect("stranger")
    insert = 'INSERT INTO app."Activity" ("Id", "DialogId") VALUES (%s, 3)'
    stranger.execute(insert, [900])  # type: ignore[call-overload]
    assert keys(one, "Activity", 900) == keys(one, "Dialog", 3)
    for refused in (f'{insert} RETURNING "Party"', 'SELECT FROM app."Activity"', 'DELETE FROM app."Activity"'):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute(refused, [901] if "%s" in refused else None)  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute('INSERT INTO app."Dialog" ("Id", "Party", "UpdatedAt") VALUES (900, \'p\', \'2025-06-03\')')
    one.execute('GRANT SELECT, DELETE ON public."Activity" TO stranger')
    assert stranger.execute('DELETE FROM app."Activity" WHERE "Id" = 900 RETURNING "Id"').fetchall() == [(900,)]
    one.execute('REVOKE ALL ON public."Activity" FROM stranger')
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(insert, [902])  # type: ignore[call-overload]
    assert db.value("SELECT count(*) FROM aclexplode((SELECT relacl FROM pg_class WHERE oid ="
                    " 'app.\"Activity\"'::regclass)) WHERE grantee = 'stranger'::regrole") == 0  # fmt: skip


def test_row_security_is_the_caller_s(db: Database, one: Connection) -> None:
    one.execute(
        'GRANT USAGE ON SCHEMA app TO stranger; GRANT INSERT, SELECT, UPDATE ON public."Activity" TO stranger;'
        ' ALTER TABLE public."Activity" ENABLE ROW LEVEL SECURITY;'
        ' CREATE POLICY own ON public."Activity" USING ("Party" = current_setting(\'app.party\'))'
    )
    stranger = db.connect("stranger", **{"app.party": "party 3"})
    assert rows(stranger, 'SELECT DISTINCT "Party" FROM app."Activity"') == [("party 3",)]
    insert = 'INSERT INTO app."Activity" ("Id", "DialogId") VALUES (%s, %s) RETURNING "Party"'
    assert rows(stranger, insert, 900, 3) == [("party 3",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        stranger.execute(insert, [901, 4])  # type: ignore[call-overload]
    assert stranger.execute('UPDATE app."Activity" SET "Text" = NULL').rowcount > 0
    assert rows(one, 'SELECT count(*) FROM public."Activity" WHERE "Text" IS NULL AND "Party" <> \'party 3\'') == [(0,)]


def waits(db: Database, connection: Connection, thread: threading.Thread) -> None:
    """Until a session waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    while db.value(query, connection.info.backend_pid) == 0 and thread.is_alive():
        time.sleep(0.01)


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("moment", ["2025-07-02 00:00+00", "2025-05-20 00:00+00"])
def test_a_parent_that_moves_meanwhile_is_followed(db: Database, owner: Connection, moment: str, indexed: bool) -> None:
    if not indexed:
        owner.execute("SELECT dp.drop_global_index('\"Activity_Id_global\"')")
        owner.execute("SELECT dp.drop_global_index('\"Dialog_Id_global\"')")
    app = db.connect(search_path="app, public")
    failed: list[psycopg.Error] = []

    def insert() -> None:
        try:
            app.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (900, 3)')
            app.execute('INSERT INTO "Actor" ("Id", "ActivityId") VALUES (901, 900)')
        except psycopg.Error as error:
            failed.append(error)

    with owner.transaction():
        move(owner, 3, moment)
        thread = threading.Thread(target=insert)
        thread.start()
        waits(db, app, thread)
    thread.join()
    assert failed == []
    assert keys(owner, "Activity", 900) == keys(owner, "Actor", 901) == keys(owner, "Dialog", 3)


def test_a_parent_that_is_deleted_meanwhile_is_missing(db: Database, one: Connection) -> None:
    app = db.connect(search_path="app, public")
    failed: list[psycopg.Error] = []

    def insert() -> None:
        try:
            app.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (900, 3)')
        except psycopg.Error as error:
            failed.append(error)

    with one.transaction():
        one.execute('DELETE FROM "Dialog" WHERE "Id" = 3')
        thread = threading.Thread(target=insert)
        thread.start()
        waits(db, app, thread)
    thread.join()
    assert [type(each) for each in failed] == [psycopg.errors.ForeignKeyViolation]


def test_children_are_inserted_while_their_parents_move(db: Database, owner: Connection) -> None:
    errors: list[psycopg.Error] = []
    stop = threading.Event()

    def move_about() -> None:
        session, day = db.connect(), 0
        while not stop.is_set():
            day += 1
            moment = f"2025-0{5 + day % 3}-{1 + day % 28:02} 00:00+00"
            try:
                move(session, 1 + day % 3, moment)
            except psycopg.Error as error:
                errors.append(error)

    def insert(first: int) -> None:
        session = db.connect(search_path="app, public")
        for number in range(first, first + 60):
            try:
                with session.transaction():
                    session.execute(
                        'INSERT INTO "Activity" ("Id", "DialogId") VALUES (%s, %s)', [number, 1 + number % 3]
                    )
                    session.execute('INSERT INTO "Actor" ("Id", "ActivityId") VALUES (%s, %s)', [number, number])
            except psycopg.Error as error:
                errors.append(error)

    mover = threading.Thread(target=move_about)
    inserters = [threading.Thread(target=insert, args=(first,)) for first in (10_000, 20_000)]
    for thread in (mover, *inserters):
        thread.start()
    for thread in inserters:
        thread.join()
    stop.set()
    mover.join()
    assert errors == []
    assert rows(owner, 'SELECT count(*) FROM public."Activity" WHERE "Id" >= 10000') == [(120,)]
    key = family.key_column(owner)
    strays = (
        'SELECT count(*) FROM public."Activity" a JOIN public."Dialog" d ON d."Id" = a."DialogId"'
        f' WHERE (a."{key}", a."Party") <> (d."{key}", d."Party")'
    )
    assert rows(owner, strays) == [(0,)]


def test_views_follow_the_columns_of_their_tables(one: Connection) -> None:
    insert = 'INSERT INTO "Activity" ("Id", "DialogId"{}) VALUES (%s, 3{}) RETURNING {}'
    one.execute("SELECT dp.add_column('\"Activity\"', 'Kind', 'int', default_value => '1')")  # the view stands for it
    assert rows(one, insert.format("", "", '"Kind"'), 900) == [(1,)]
    one.execute("SELECT dp.alter_column_type('\"Activity\"', 'Kind', 'bigint')")
    assert rows(one, insert.format(', "Kind"', ", 5000000000", '"Kind"'), 901) == [(5000000000,)]
    one.execute("SELECT dp.rename_column('\"Activity\"', 'Kind', 'Sort')")
    assert rows(one, insert.format("", "", '"Sort"'), 902) == [(1,)]
    one.execute('ALTER TABLE public."Activity" RENAME COLUMN "Sort" TO "Type"')
    assert rows(one, insert.format("", "", '"Type"'), 903) == [(1,)]
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        one.execute('ALTER TABLE public."Activity" DROP COLUMN "Type"')
    one.execute("SELECT dp.drop_column('\"Activity\"', 'Type')")
    one.execute('ALTER TABLE public."Activity" ADD COLUMN "Last" text DEFAULT \'plain\'')
    assert rows(one, insert.format("", "", '"Last"'), 904) == [("plain",)]
    assert rows(one, "SELECT finding FROM dp.check('public.\"Dialog\"') WHERE finding ~ 'view'") == []


def test_keys_are_renamed_in_views_too(one: Connection) -> None:
    one.execute("SELECT dp.drop_global_index('\"Activity_Id_global\"')")
    one.execute("SELECT dp.drop_global_index('\"Dialog_Id_global\"')")
    one.execute("SELECT dp.rename_column('\"Dialog\"', 'Party', 'Owner')")
    one.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (900, 3)')
    assert rows(one, 'SELECT "Owner" FROM "Activity" WHERE "Id" = 900') == [("party 3",)]


MADE_WRONG = {
    "a default": 'ALTER VIEW app."Activity" ALTER COLUMN "Text" SET DEFAULT \'x\'',
    "a privilege": 'GRANT DELETE ON app."Activity" TO stranger',
    "the rights": 'ALTER VIEW app."Activity" RESET (security_invoker)',
    "a trigger": 'DROP TRIGGER fill_keys ON app."Activity"',
    "a function": 'CREATE OR REPLACE FUNCTION app."Activity_insert_row"() RETURNS trigger LANGUAGE plpgsql'
    " AS 'BEGIN RETURN NEW; END'",
    "a column": 'SET dp.propagate_ddl = off; ALTER TABLE public."Activity" ADD COLUMN extra int',
    "a name": 'SET dp.propagate_ddl = off; ALTER TABLE public."Activity" RENAME COLUMN "Text" TO "Words"',
}


def test_check_finds_what_is_wrong_with_a_view_and_how_it_is_mended(one: Connection) -> None:
    find = "SELECT target, statement FROM dp.check('public.\"Dialog\"') WHERE finding = 'writable view outdated'"
    for change in MADE_WRONG.values():
        assert rows(one, find) == []
        one.execute(change)  # type: ignore[call-overload]
        ((target, statement),) = rows(one, find)
        assert target == '"app"."Activity"'
        assert rows(one, f"SELECT * FROM {statement.removeprefix('SELECT ')}") != []
    assert rows(one, find) == []
    one.execute('INSERT INTO "Activity" ("Id", "DialogId", "Words") VALUES (900, 3, NULL)')


def test_twice_and_gone_again(db: Database, one: Connection) -> None:
    assert rows(one, f"SELECT * FROM dp.create_writable_views({ROOT}, 'app')") == []
    assert rows(one, "SELECT * FROM dp.create_writable_view('\"Activity\"', 'app')") == []
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="writable views"):
        one.execute(f"SELECT dp.forget({ROOT})")
    one.execute("SELECT dp.drop_writable_view('app.\"Actor\"')")
    one.execute('DROP VIEW app."Activity"')
    assert db.value("SELECT array_agg(view::text) FROM dp.writable_view_config") == ['app."Dialog"']
    one.execute(f"SELECT dp.create_writable_views({ROOT}, 'app')")
    one.execute('INSERT INTO "Activity" ("Id", "DialogId") VALUES (900, 3)')
    one.execute(f"SELECT dp.drop_writable_views({ROOT})")
    assert db.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'app'::regnamespace") == 0
    assert rows(one, f"SELECT * FROM dp.drop_writable_views({ROOT}, 'app')") == []


REFUSED = {
    "dp.create_writable_view('\"Dialog\"', 'public')": psycopg.errors.InvalidParameterValue,
    "dp.create_writable_view('\"Dialog\"', 'nowhere')": psycopg.errors.InvalidParameterValue,
    "dp.create_writable_view('\"Dialog\"', NULL)": psycopg.errors.InvalidParameterValue,
    "dp.create_writable_view('\"Dialog_2025_05\"', 'app')": psycopg.errors.UndefinedObject,
    "dp.create_writable_view('\"Dialog\"', 'taken')": psycopg.errors.DuplicateTable,
    "dp.create_writable_view('\"Activity\"', 'taken')": psycopg.errors.DuplicateObject,
    "dp.drop_writable_view('\"Dialog_Id_global\"')": psycopg.errors.UndefinedObject,
}


def test_bad_input_is_refused(db: Database, one: Connection) -> None:
    one.execute('CREATE SCHEMA taken; CREATE TABLE taken."Dialog" (id int)')
    one.execute('CREATE FUNCTION taken."Activity_fill_keys"() RETURNS int RETURN 1')
    before = db.value("SELECT count(*) FROM pg_class")
    for call, error in REFUSED.items():
        with pytest.raises(error):
            one.execute(f"SELECT {call}")  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect("stranger").execute("SELECT dp.create_writable_views('public.\"Dialog\"', 'app')")
    assert db.value("SELECT count(*) FROM pg_class") == before


def test_hostile_names(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    table, child, schema = "we\"ird '; {} %s\\t", 'ch"ild {0}', 'a"pp {x}'
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in (table, child, schema, 'i"d', "de$$f")}
    owner.execute(f"CREATE SCHEMA {quoted[schema]}")  # type: ignore[call-overload]
    for name, columns in (
        (
            table,
            f'{quoted[chr(105) + chr(34) + "d"]} bigint PRIMARY KEY, at timestamptz NOT NULL, "par ty" text NOT NULL',
        ),
        (child, f"id bigint PRIMARY KEY, \"de$$f\" text DEFAULT 'a''b\\', \"re f\" bigint REFERENCES {quoted[table]}"),
    ):
        owner.cursor().execute(f"CREATE TABLE {quoted[name]} ({columns})".encode())
    owner.execute("SELECT dp.create_hierarchy(%s, 'at', 'par ty', key_form => 'slice')", [quoted[table]])
    owner.execute("SELECT dp.register_child(%s, %s)", [quoted[child], quoted[table]])
    owner.execute("CALL dp.create_slices(%s, '2025-06-01', '2025-07-01')", [quoted[table]])
    owner.execute("SELECT dp.create_global_index(%s, ARRAY['i\"d'])", [quoted[table]])
    owner.execute("SELECT dp.create_writable_views(%s, %s)", [quoted[table], schema])
    for text in (
        f"INSERT INTO {quoted[schema]}.{quoted[table]} VALUES (1, '2025-06-02', 'p')",
        f'INSERT INTO {quoted[schema]}.{quoted[child]} (id, "re f") VALUES (1, 1)',
    ):
        owner.cursor().execute(text.encode())
    cursor = owner.cursor().execute(f'SELECT "par ty", "de$$f" FROM {quoted[child]}'.encode())
    assert cursor.fetchall() == [("p", "a'b\\")]
