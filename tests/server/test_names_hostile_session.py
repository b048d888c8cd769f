"""What a session has set, or has put in the way of pg_catalog, neither changes what is done nor is changed by it."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.catalogs import difference, picture
from tests.support.database import Database
from tests.support.hierarchies import bounds, call, create_slices, declare

SHADOWS = """
CREATE SCHEMA evil;
CREATE TABLE evil.touched (what text);
CREATE TABLE evil.pg_class (oid oid, relname name);
CREATE TABLE evil.pg_attribute ();
CREATE TABLE evil.pg_inherits ();
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS
    'BEGIN INSERT INTO evil.touched VALUES (''now''); RETURN ''1999-01-01''; END';
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS
    'BEGIN INSERT INTO evil.touched VALUES (''set_config''); RETURN $2; END';
CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS
    'BEGIN INSERT INTO evil.touched VALUES (''current_setting''); RETURN NULL; END';
CREATE FUNCTION evil.pg_advisory_unlock(integer, integer) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN INSERT INTO evil.touched VALUES (''unlock''); RETURN true; END';
CREATE FUNCTION evil.date_trunc(text, timestamp) RETURNS timestamp LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN ''1999-01-01''; END';
CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN INSERT INTO evil.touched VALUES (''=''); RETURN true; END';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
CREATE FUNCTION evil.minus(timestamp, interval) RETURNS timestamp LANGUAGE plpgsql AS
    'BEGIN INSERT INTO evil.touched VALUES (''-''); RETURN $1; END';
CREATE OPERATOR evil.- (LEFTARG = timestamp, RIGHTARG = interval, FUNCTION = evil.minus);
CREATE DOMAIN evil.regclass AS text;
CREATE DOMAIN evil.name AS text;
CREATE DOMAIN evil.oid AS bigint;
"""
SETTINGS = ("search_path", "lock_timeout", "role", "timezone", "datestyle", "row_security", "statement_timeout")


def settings(owner: psycopg.Connection) -> list[str]:
    return [owner.execute("SELECT pg_catalog.current_setting(%s)", [name]).fetchone()[0] for name in SETTINGS]


@pytest.mark.parametrize("form", ["exact", "slice"])
def test_a_search_path_that_shadows_pg_catalog_is_never_used(db: Database, form: str) -> None:
    owner = db.connect()
    declare(
        owner,
        key_form=form,
        default_slice=True,
        premake=1,
        time_zone="Europe/Oslo",
        slice="3 months",
        **({"bucket": "3 months"} if form == "slice" else {}),
    )
    owner.execute(SHADOWS)
    owner.execute("SET search_path = evil, pg_catalog, public")
    create_slices(owner, "2025-01-01", "2025-07-01", "public.event")
    owner.execute("SELECT pg_catalog.set_config('dp.now', '2025-03-10 00:00+00', false)")
    call(owner, "CALL dp.run_maintenance", "public.event")
    call(owner, "SELECT dp.detach_slice", "public.event", "2025-01-01")
    call(owner, "SELECT dp.attach_slice", "public.event", "2025-01-01")
    call(owner, "SELECT dp.configure", "public.event", premake=2)
    more = (", at_slice", ", '2024-10-01'") if form == "slice" else ("", "")
    owner.execute(f"INSERT INTO public.event (id, party, at{more[0]}) VALUES (1, 'p', '2024-12-31 22:59+00'{more[1]})")
    call(owner, "CALL dp.drain_default", "public.event", "2024-01-01", "2026-01-01")
    owner.execute("UPDATE public.event SET at = '2025-04-01 00:00+02'")
    call(owner, "SELECT dp.drop_slice", "public.event", "2025-01-01")
    assert db.rows("SELECT what FROM evil.touched") == []
    owner.execute("SET search_path = public")
    assert [name for name, *_ in bounds(owner)] == ["event_2024_q4", "event_2025_q2"]
    assert owner.execute("SELECT tableoid::regclass::text FROM event").fetchone()[0].startswith("event_2025_q2_h")


@pytest.mark.parametrize("in_transaction", [False, True])
def test_functions_leave_the_callers_settings_alone(db: Database, in_transaction: bool) -> None:
    owner = db.connect(lock_timeout="7s", timezone="Asia/Tokyo", datestyle="SQL, DMY", search_path="public, pg_temp")
    declare(owner)
    create_slices(owner, "2025-01-01", "2025-02-01")
    before = settings(owner)
    if in_transaction:
        owner.execute("BEGIN")
    call(owner, "SELECT dp.detach_slice", "event", "2025-01-01")
    assert settings(owner) == before
    if in_transaction:
        owner.execute("SAVEPOINT here")
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            call(owner, "SELECT dp.configure", "event", premake=-1)
        owner.execute("ROLLBACK TO here")
        owner.execute("CREATE TABLE event_2025_01_blocker ()")
    call(owner, "SELECT dp.attach_slice", "event", "2025-01-01")
    assert settings(owner) == before
    if in_transaction:
        owner.execute("COMMIT")
    assert settings(owner) == before


def test_a_dry_run_in_a_transaction_leaves_the_callers_settings_alone(db: Database) -> None:
    owner = db.connect(lock_timeout="7s", search_path="public, pg_temp")
    declare(owner)
    before = settings(owner), picture(db)
    owner.execute("BEGIN")
    call(owner, "CALL dp.create_slices", "event", "2025-01-01", "2025-02-01", dry_run=True)
    assert settings(owner) == before[0]
    call(owner, "CALL dp.run_maintenance", "event", dry_run=True)
    assert settings(owner) == before[0]
    owner.execute("COMMIT")
    assert difference(before[1], picture(db)) == {}


def test_procedures_leave_the_callers_settings_alone(db: Database) -> None:
    owner = db.connect(lock_timeout="7s", timezone="Asia/Tokyo", datestyle="SQL, DMY", search_path="public, pg_temp")
    declare(owner)
    before = settings(owner)
    create_slices(owner, "2025-01-01", "2025-02-01")
    assert settings(owner) == before
    owner.execute("CREATE TABLE event_2025_02 ()")
    with pytest.raises(psycopg.errors.DuplicateTable):
        create_slices(owner, "2025-02-01", "2025-03-01")
    assert settings(owner) == before
    admin = db.connect("postgres", search_path="public")
    before = settings(admin)
    create_slices(admin, "2025-05-01", "2025-06-01")
    call(admin, "SELECT dp.drop_slice", "event", "2025-05-01")
    assert settings(admin) == before
