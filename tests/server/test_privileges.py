"""Who may do what, and with whose rights code runs that others wrote."""

from __future__ import annotations

import pytest
from psycopg import errors

from tests.support import family, snapshot
from tests.support.database import Database

ROOT = "'\"Dialog\"'"

CALLS = [
    "SELECT dp.register_child('mine', '\"Dialog\"', '{dialog}')",
    "SELECT dp.register_child('\"Activity\"', '\"Dialog\"')",
    "SELECT dp.register_reference('\"Activity\"')",
    "SELECT dp.register_reference('mine', '\"Dialog\"')",
    f"SELECT dp.configure({ROOT}, premake => 9)",
    f"SELECT dp.forget({ROOT})",
    f"SELECT dp.detach_slice({ROOT}, '2025-06-01')",
    f"SELECT dp.attach_slice({ROOT}, '2025-05-01')",
    f"SELECT dp.drop_slice({ROOT}, '2025-06-01')",
    f"CALL dp.create_slices({ROOT}, '2025-07-01', '2025-08-01')",
    f"CALL dp.drain_default({ROOT})",
    f"CALL dp.run_maintenance({ROOT})",
    f"SELECT dp.retention({ROOT})",
    f"SELECT dp.schedule({ROOT})",
    f"SELECT dp.unschedule({ROOT})",
    "SELECT dp.create_hierarchy('\"Other\"', 'at', 'p')",
    "SELECT dp.adopt('\"Tree\"')",
]
WRITES = [
    "UPDATE dp.hierarchy_config SET retention = '1 month', retention_action = 'drop'",
    "DELETE FROM dp.hierarchy_config",
    "DELETE FROM dp.table_config",
    "UPDATE dp.table_config SET template = NULL",
    "UPDATE dp.table_config SET template = 'mine' WHERE role = 'child'",
    "INSERT INTO dp.table_config SELECT root, 'mine', 'child', 'mine' FROM dp.hierarchy_config",
    "INSERT INTO dp.pending_foreign_key VALUES ('\"Activity\"', 'x', 'mine', '{Id}', '{id}', 'c', '{}', false, false)",
    "INSERT INTO dp.detached_slice SELECT 'mine', root, root, '1', '2' FROM dp.hierarchy_config",
    "UPDATE dp.detached_slice SET retired_at = now()",
    "INSERT INTO dp.job_config SELECT root, 'vacuum', 'x', '@daily', false FROM dp.hierarchy_config",
    "INSERT INTO dp.log_entry (root, call, target, status) SELECT root, 'x', 'x', 'done' FROM dp.hierarchy_config",
    "DELETE FROM dp.log_entry",
]


@pytest.fixture
def hierarchy(db: Database) -> Database:
    """A hierarchy of the owner, and a stranger with a table of his own."""
    with db.connect() as owner:
        family.declare(owner, start="2025-06-01")
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-07-01')")
        owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-05-01')")
        owner.execute('CREATE TABLE "Other" (id int PRIMARY KEY, at timestamptz, p text)')
        owner.execute('CREATE TABLE "Tree" (id int, at timestamptz) PARTITION BY RANGE (at)')
        owner.execute("GRANT CREATE ON SCHEMA public TO stranger")
    with db.connect("stranger") as stranger:
        stranger.execute("CREATE TABLE mine (id int PRIMARY KEY, dialog bigint)")
    return db


def test_a_stranger_can_call_nothing_on_tables_of_others(hierarchy: Database) -> None:
    before = snapshot.of_database(hierarchy)
    for call in CALLS:
        stranger = hierarchy.connect("stranger")
        with pytest.raises(errors.InsufficientPrivilege) as raised:
            stranger.execute(call)
        assert raised.value.diag.message_primary is not None, call
        assert "owner" in raised.value.diag.message_primary, call
    assert snapshot.of_database(hierarchy) == before


def test_a_stranger_cannot_write_about_tables_of_others(hierarchy: Database) -> None:
    before = snapshot.of_database(hierarchy)
    log = hierarchy.value("SELECT count(*) FROM dp.log")
    for write in WRITES:
        with pytest.raises(errors.InsufficientPrivilege, match="must be owner of table"):
            hierarchy.connect("stranger").execute(write)
    assert snapshot.of_database(hierarchy) == before
    assert hierarchy.value("SELECT count(*) FROM dp.log") == log


def test_a_stranger_cannot_lay_claim_to_tables_that_do_not_exist_yet(hierarchy: Database) -> None:
    """The next oid can be guessed; a row about it would be obeyed when the table is there."""
    insert = (
        "INSERT INTO dp.hierarchy_config (root, range_key, key_form, slice, hash_partitions, premake, retention,"
        " retention_action, time_zone, default_slice)"
        " VALUES (4000000::oid, 'at', 'exact', '1 month', 0, 4, '1 month', 'drop', 'UTC', false)"
    )
    with pytest.raises(errors.InsufficientPrivilege, match="must be owner of table 4000000"):
        hierarchy.connect("stranger").execute(insert)


@pytest.mark.parametrize(
    "change", ["slice = 'nonsense'", "retention = '0 days'", "retention = '10000 years'", "time_zone = 'Mars/Olympus'"]
)
def test_a_configuration_that_cannot_be_read_cannot_be_written(hierarchy: Database, change: str) -> None:
    with pytest.raises(errors.InvalidParameterValue):
        hierarchy.connect().execute(f"UPDATE dp.hierarchy_config SET {change}")


@pytest.mark.parametrize("bound", ["nonsense", "''2025-13-01''", "''2025-01-01'') TO (MAXVALUE); DROP TABLE d; --"])
def test_bounds_that_cannot_be_read_cannot_be_written(hierarchy: Database, bound: str) -> None:
    owner = hierarchy.connect()
    with pytest.raises(errors.DataError):
        owner.execute(f"UPDATE dp.detached_slice SET lower_bound = '{bound}'")
    assert owner.execute(f"SELECT count(*) FROM dp.attach_slice({ROOT}, '2025-05-01')").fetchone() == (6,)


EVIL = """
CREATE TABLE seen (who text, session text, what text);
CREATE FUNCTION remember(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.seen VALUES (current_user, session_user, what);
    BEGIN RESET ROLE; INSERT INTO public.seen VALUES ('RESET ROLE', '', what);
    EXCEPTION WHEN insufficient_privilege THEN NULL; END;
    BEGIN SET ROLE postgres; INSERT INTO public.seen VALUES ('SET ROLE', '', what);
    EXCEPTION WHEN insufficient_privilege THEN NULL; END;
    BEGIN SET SESSION AUTHORIZATION postgres; INSERT INTO public.seen VALUES ('SESSION AUTHORIZATION', '', what);
    EXCEPTION WHEN insufficient_privilege THEN NULL; END;
    BEGIN ALTER ROLE stranger SUPERUSER; INSERT INTO public.seen VALUES ('SUPERUSER', '', what);
    EXCEPTION WHEN insufficient_privilege THEN NULL; END;
    RETURN true;
END $$;
GRANT INSERT ON seen TO PUBLIC;
CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.remember(TG_NAME); RETURN coalesce(NEW, OLD); END $$;
CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text, up int REFERENCES d ON DELETE SET NULL);
CREATE TRIGGER deferred AFTER INSERT OR UPDATE ON d FOR EACH ROW EXECUTE FUNCTION on_row();
ALTER TABLE d ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON d USING (p <> 'z');
"""


@pytest.mark.parametrize(
    "trigger", ["TRIGGER immediate BEFORE INSERT OR DELETE", "CONSTRAINT TRIGGER late AFTER INSERT OR DELETE"]
)
def test_what_a_superuser_maintains_cannot_become_the_superuser(db: Database, trigger: str) -> None:
    """Triggers of the owner do not fire; tables with other code of theirs are refused, see test_other_caller.py."""
    deferrable = "DEFERRABLE INITIALLY DEFERRED" if "CONSTRAINT" in trigger else ""
    with db.connect() as owner:
        owner.execute("GRANT CREATE ON SCHEMA public TO stranger")
    stranger = db.connect("stranger")
    stranger.execute(EVIL)
    stranger.execute(f"CREATE {trigger} ON d {deferrable} FOR EACH ROW EXECUTE FUNCTION on_row()")
    with db.server.connect(db.name) as admin:
        admin.execute("SELECT dp.create_hierarchy('d', 'at', 'p', hash_partitions => 2, default_slice => true)")
        admin.execute("SET dp.now = '2025-06-15 00:00+00'")
        admin.execute("CALL dp.run_maintenance('d')")
        stranger.execute("INSERT INTO d VALUES (1, '2025-03-03', 'x', NULL), (2, '2025-03-03', 'x', 1)")
        stranger.execute("TRUNCATE seen")
        admin.execute("CALL dp.drain_default('d', '2025-03-01', '2025-04-01')")
        admin.execute("CALL dp.run_maintenance()")
        admin.execute("SELECT dp.detach_slice('d', '2025-03-01')")
        admin.execute("SELECT dp.attach_slice('d', '2025-03-01')")
        assert admin.execute("SELECT current_user, session_user").fetchall() == [("postgres", "postgres")]
    assert db.rows("SELECT who FROM seen") == []
    assert not db.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'stranger'")
    owners = db.rows(
        "SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    assert owners == [{"owner": "stranger"}]
    assert db.value("SELECT count(*) FROM pg_proc WHERE proname LIKE 'dp\\_%-%'") == 0


def test_what_a_superuser_declares_belongs_to_the_owner(db: Database) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute("SET ROLE owner")
        admin.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text, own int REFERENCES d)")
        admin.execute("CREATE TABLE c (id int PRIMARY KEY, d int REFERENCES d)")
        admin.execute("CREATE TABLE shared (id int PRIMARY KEY)")
        admin.execute("RESET ROLE")
        admin.execute("SELECT dp.create_hierarchy('d', 'at', 'p', key_form => 'slice', hash_partitions => 2)")
        admin.execute("CALL dp.create_slices('d', '2025-06-01', '2025-08-01')")
        admin.execute("SELECT dp.register_child('c', 'd')")
        admin.execute("SELECT dp.register_reference('shared', 'd')")
        admin.execute("SELECT dp.configure('d', premake => 2)")
        admin.execute("CALL dp.run_maintenance()")
    rows = db.rows(
        "SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    assert rows == [{"owner": "owner"}]
    assert db.value("SELECT count(*) FROM dp.leaf") > 8


def test_a_member_of_the_owner_works_as_the_owner(db: Database) -> None:
    with db.connect() as owner:
        owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    with db.server.connect(db.name) as admin:
        admin.execute(f"CREATE ROLE deploy_{db.name} LOGIN IN ROLE owner")
    try:
        deploy = db.connect(f"deploy_{db.name}")
        deploy.execute("SELECT dp.create_hierarchy('d', 'at', 'p', hash_partitions => 2)")
        deploy.execute("CALL dp.create_slices('d', '2025-06-01', '2025-07-01')")
        assert db.rows("SELECT DISTINCT relowner::regrole::text AS owner FROM pg_class WHERE relname ~ '^d(_|$)'") == [
            {"owner": "owner"}
        ]
        deploy.close()
    finally:
        with db.server.connect(db.name) as admin:
            admin.execute(f"DROP OWNED BY deploy_{db.name}")
            admin.execute(f"DROP ROLE deploy_{db.name}")


def test_an_owner_who_may_not_create_tables_is_told(db: Database) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE SCHEMA closed")
        admin.execute("CREATE TABLE closed.d (id int PRIMARY KEY, at timestamptz, p text)")
        admin.execute("GRANT USAGE ON SCHEMA closed TO owner")
        admin.execute("ALTER TABLE closed.d OWNER TO owner")
    for user in ("owner", "postgres"):
        with pytest.raises(errors.InsufficientPrivilege) as raised:
            db.connect(user).execute("SELECT dp.create_hierarchy('closed.d', 'at', 'p')")
        assert raised.value.diag.message_primary == ('dialog_partition: owner may not create tables in schema "closed"')
        assert raised.value.diag.message_hint == 'GRANT CREATE ON SCHEMA "closed" TO "owner";'


def test_rows_hidden_by_row_security_are_not_lost(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    owner.execute("INSERT INTO d VALUES (1, now(), 'x')")
    owner.execute("ALTER TABLE d ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert owner.execute("SELECT count(*) FROM d").fetchone() == (0,)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="holds rows"):
        owner.execute("SELECT dp.create_hierarchy('d', 'at', 'p')")
    assert db.value("SELECT count(*) FROM d") == 1
    assert db.value("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'd'")


def test_a_row_inserted_while_the_table_is_declared_is_not_lost(db: Database) -> None:
    owner, writer = db.connect(), db.connect()
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    writer.autocommit = False
    writer.execute("INSERT INTO d VALUES (1, now(), 'x')")
    with pytest.raises(errors.LockNotAvailable):
        owner.execute("SELECT dp.create_hierarchy('d', 'at', 'p', lock_timeout => '100 ms')")
    writer.commit()
    assert db.value("SELECT count(*) FROM d") == 1


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_row_that_the_transaction_cannot_see_is_not_lost(db: Database, isolation: str) -> None:
    owner, writer = db.connect(), db.connect()
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    statements = owner.execute("SELECT statement FROM dp.create_hierarchy('d', 'at', 'p', dry_run => true)").fetchall()
    owner.execute(f"BEGIN ISOLATION LEVEL {isolation}")  # type: ignore[arg-type]
    assert owner.execute("SELECT count(*) FROM d").fetchone() == (0,)
    writer.execute("INSERT INTO d VALUES (1, now(), 'x')")
    for statement in ("SELECT dp.create_hierarchy('d', 'at', 'p')", *(row[0] for row in statements)):
        owner.execute("SAVEPOINT before")
        with pytest.raises(errors.InvalidTransactionState) as raised:
            owner.execute(statement)
        assert "READ COMMITTED" in str(raised.value.diag.message_hint)
        owner.execute("ROLLBACK TO before")
        if "_check_empty" in statement:
            break
    owner.execute("COMMIT")
    assert db.value("SELECT count(*) FROM d") == 1


def test_a_hostile_search_path_changes_nothing(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE SCHEMA evil")
    owner.execute("CREATE TABLE evil.pg_class (oid oid)")
    owner.execute("CREATE FUNCTION evil.format_type(oid, int) RETURNS text LANGUAGE sql AS 'SELECT ''evil'''")
    owner.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, p text)")
    owner.execute("SET search_path = evil, pg_catalog, public")
    owner.execute("SELECT dp.create_hierarchy('d', 'at', 'p', hash_partitions => 2)")
    owner.execute("CALL dp.create_slices('d', '2025-06-01', '2025-07-01')")
    assert owner.execute("SHOW search_path").fetchone() == ("evil, pg_catalog, public",)
    assert db.value("SELECT count(*) FROM dp.leaf WHERE leaf::text LIKE 'd_2025%'") == 2
