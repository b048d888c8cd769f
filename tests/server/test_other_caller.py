"""Maintenance by somebody who is not the owner: a superuser's job for all, a member of the owner's role."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Database

TABLE = "CREATE TABLE task (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL)"
DECLARE = "SELECT dp.create_hierarchy('task', 'at', 'party', hash_partitions => 1, default_slice => true)"
TRAP = """
    CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        BEGIN
            PERFORM set_config('role', {role}, true);
            INSERT INTO public.told VALUES (current_user);
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO public.told VALUES (sqlerrm);
        END;
        RETURN true;
    END $$
"""


@pytest.fixture
def owner(db: Database) -> psycopg.Connection:
    connection = db.connect()
    connection.execute(TABLE)
    connection.execute(DECLARE)
    return connection


def set_trap(owner: psycopg.Connection, role: str) -> None:
    """A CHECK that tries to go on as somebody else."""
    owner.execute("CREATE TABLE told (what text)")
    owner.execute("GRANT ALL ON told TO PUBLIC")
    owner.execute(TRAP.format(role=role))
    owner.execute("CALL dp.create_slices('task', '2025-01-01', '2025-02-01')")
    owner.execute("INSERT INTO task VALUES (1, now(), 'org:1')")
    owner.execute("ALTER TABLE task ADD CONSTRAINT trap CHECK (trap())")
    owner.execute("TRUNCATE told")


def told(db: Database) -> set[str]:
    return {row["what"] for row in db.rows("SELECT what FROM told")}


def moved(db: Database) -> bool:
    return db.value("SELECT count(*) FROM task_default") == 0 and db.value("SELECT count(*) FROM task") == 1


def is_refused(db: Database, user: str, call: str, owner: psycopg.Connection) -> None:
    """The call moves nothing and runs nothing of the owner's; the owner's own call does."""
    with pytest.raises(psycopg.Error, match="would run with your rights"):
        db.connect(user).execute(call)  # type: ignore[call-overload]
    assert not moved(db)
    assert told(db) == set()
    owner.execute("CALL dp.run_maintenance()")
    assert moved(db)


def test_an_owner_s_function_cannot_become_the_superuser_who_maintains(db: Database, owner: psycopg.Connection) -> None:
    set_trap(owner, "'none'")
    is_refused(db, "postgres", "CALL dp.run_maintenance()", owner)


def test_nor_a_member_of_the_owner_who_maintains(db: Database, owner: psycopg.Connection) -> None:
    set_trap(owner, "'none'")
    with db.server.connect() as admin:
        admin.execute("GRANT owner TO stranger")
    try:
        is_refused(db, "stranger", "CALL dp.run_maintenance('task')", owner)
    finally:
        with db.server.connect() as admin:
            admin.execute("REVOKE owner FROM stranger")


def test_nor_a_policy_of_the_owner_that_is_forced_on_the_default_slice(db: Database, owner: psycopg.Connection) -> None:
    set_trap(owner, "'none'")
    owner.execute("ALTER TABLE task DROP CONSTRAINT trap")
    owner.execute("CREATE POLICY trap ON task_default USING (trap())")
    owner.execute("ALTER TABLE task_default ENABLE ROW LEVEL SECURITY")
    owner.execute("ALTER TABLE task_default FORCE ROW LEVEL SECURITY")
    is_refused(db, "postgres", "CALL dp.run_maintenance()", owner)


def test_who_trusts_the_code_becomes_the_owner(db: Database, owner: psycopg.Connection) -> None:
    set_trap(owner, "'none'")
    admin = db.connect("postgres")
    admin.execute("SET ROLE owner")
    admin.execute("CALL dp.run_maintenance()")
    assert moved(db)


def test_one_hierarchy_with_code_does_not_stop_the_others(db: Database, owner: psycopg.Connection) -> None:
    owner.execute("CREATE TABLE plain (id int PRIMARY KEY, at date NOT NULL)")
    owner.execute("SELECT dp.create_hierarchy('plain', 'at', premake => 0)")
    set_trap(owner, "'none'")
    with pytest.raises(psycopg.Error, match=r'maintenance failed for "public"\."task"'):
        db.connect("postgres").execute("CALL dp.run_maintenance()")
    assert db.value("SELECT count(*) FROM dp.slice WHERE tbl = 'plain'::regclass") == 1
    assert db.value("SELECT count(*) FROM dp.log WHERE status = 'failed' AND message ~ 'your rights'") == 1


@pytest.mark.usefixtures("owner")
def test_what_a_superuser_s_maintenance_creates_belongs_to_the_owner(db: Database) -> None:
    session = db.connect("postgres")
    session.execute("SET search_path = public")
    session.execute("CALL dp.run_maintenance()")
    assert {
        row["owner"]
        for row in db.rows("SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname ~ '^task'")
    } == {"owner"}
    assert db.value("SELECT count(*) FROM pg_proc WHERE proname ~ '^dp_as_owner'") == 0
    assert session.execute("SELECT current_user::text, current_setting('search_path')").fetchone() == (
        "postgres",
        "public",
    )


def test_a_superuser_s_function_gives_everything_back(db: Database, owner: psycopg.Connection) -> None:
    owner.execute("CALL dp.create_slices('task', '2025-01-01', '2025-02-01')")
    session = db.connect("postgres")
    with session.transaction():
        session.execute("SELECT dp.drop_slice('task', '2025-01-01')")
        assert session.execute(
            "SELECT current_user::text, current_setting('role'), current_setting('row_security')"
        ).fetchone() == ("postgres", "none", "on")
    assert db.value("SELECT count(*) FROM dp.slice WHERE NOT is_default") == 0
