"""Retention with care: grace periods, protected rows, exports before a drop, and a look at what would go when."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.server.test_retention import FROM_JUNE, hierarchy
from tests.support import family
from tests.support.database import Database

Connection = psycopg.Connection[Any]
ROOT = "'\"Dialog\"'"
OLD = [f"2024_{month:02d}" for month in range(1, 6)]
MAINTAIN = "CALL dp.run_maintenance('\"Dialog\"')"


def dropping(db: Database, **options: object) -> Connection:
    """Twelve months are kept; five are older, and one of them has rows."""
    owner = hierarchy(db, retention_action="drop")
    configure(owner, **options)
    return owner


def configure(owner: Connection, **options: object) -> None:
    named = "".join(f", {name} => %s" for name in options)
    owner.execute(f"SELECT dp.configure({ROOT}{named})", list(options.values()))


def detached(owner: Connection, table: str = "Dialog") -> list[str]:
    rows = owner.execute(
        "SELECT slice::text FROM dp.slice WHERE tbl = %s::regclass AND NOT is_attached ORDER BY 1", [f'"{table}"']
    )
    return [row[0].split(".")[-1].strip('"').removeprefix(table + "_") for row in rows]


def preview(
    owner: Connection, columns: str = "slice, action, due::text, is_due, protected_by"
) -> list[tuple[Any, ...]]:
    return owner.execute(f"SELECT {columns} FROM dp.retention({ROOT})").fetchall()


def create_export(owner: Connection) -> None:
    """Rows go to a table, as they would to a file; what the table export_fails names fails."""
    owner.execute(
        """
        CREATE TABLE exported (relation text, rows bigint);
        CREATE TABLE export_fails (relation text);
        CREATE FUNCTION keep_copy(slice regclass) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE found bigint;
        BEGIN
            IF EXISTS (SELECT FROM public.export_fails AS f WHERE f.relation = slice::text) THEN
                RAISE EXCEPTION 'the archive is full';
            END IF;
            EXECUTE format('SELECT count(*) FROM %s', slice) INTO found;
            INSERT INTO public.exported VALUES (slice::text, found);
        END $$;
        """
    )


def test_a_grace_period_lies_between_detach_and_drop(db: Database) -> None:
    owner = dropping(db, retention_grace="1 month")
    owner.execute("SET timezone = 'Pacific/Auckland'")
    owner.execute(MAINTAIN)
    assert family.slices(owner) == FROM_JUNE
    assert detached(owner) == detached(owner, "Actor") == OLD
    assert owner.execute('SELECT count(*) FROM "Actor_2024_02"').fetchone() == (30,)
    owner.execute("SET dp.now = '2025-07-15 11:59:59+00'")
    owner.execute(MAINTAIN)
    assert detached(owner) == [*OLD, "2024_06"], "a second too early"
    owner.execute("SET dp.now = '2025-07-15 12:00+00'")
    owner.execute(MAINTAIN)
    assert [detached(owner, table) for table in family.TABLES] == [["2024_06"]] * 3
    assert owner.execute("SELECT to_regclass('\"Actor_2024_02\"')").fetchone() == (None,)
    assert family.counts(owner) == {"Dialog": 10, "Activity": 20, "Actor": 30}
    assert owner.execute(f"SELECT finding FROM dp.check({ROOT}) WHERE severity = 'error'").fetchall() == []


def test_attach_slice_is_the_way_back_within_the_grace_period(db: Database) -> None:
    owner = dropping(db, retention_grace="1 month")
    owner.execute(MAINTAIN)
    configure(owner, retention="10 years")
    owner.execute(f"SELECT dp.attach_slice({ROOT}, '2024-02-01')")
    owner.execute("SET dp.now = '2026-01-01 00:00+00'")
    owner.execute(MAINTAIN)
    assert family.slices(owner)[0] == "2024_02"
    assert family.counts(owner) == {"Dialog": 20, "Activity": 40, "Actor": 60}
    assert detached(owner) == [], "the others were dropped when their time had come"


def test_only_what_retention_detached_to_drop_it_is_dropped(db: Database) -> None:
    owner = dropping(db, retention_action="detach")
    owner.execute(f"SELECT dp.detach_slice({ROOT}, '2024-09-01')")  # by hand: somebody wants to keep it
    owner.execute("SET dp.now = '2025-04-15 12:00+00'")
    owner.execute(MAINTAIN)  # retires until March 2024, which stays
    configure(owner, retention_action="drop", retention_grace="1 day")
    owner.execute("SET dp.now = '2025-06-15 12:00+00'")
    owner.execute(MAINTAIN)
    owner.execute("SET dp.now = '2025-06-20 12:00+00'")
    owner.execute(MAINTAIN)
    assert detached(owner) == ["2024_01", "2024_02", "2024_03", "2024_09"]
    assert family.counts(owner, "_2024_09") == {"Dialog": 10, "Activity": 20, "Actor": 30}


def test_a_policy_that_does_not_drop_any_more_keeps_what_waits(db: Database) -> None:
    owner = dropping(db, retention_grace="1 month")
    owner.execute(MAINTAIN)
    configure(owner, retention_action="detach", retention_grace="none")
    owner.execute("SET dp.now = '2025-06-20 12:00+00'")
    assert {row[1] for row in preview(owner) if row[0] == '"public"."Dialog_2024_02"'} == {"keep"}
    owner.execute("SET dp.now = '2027-01-01 00:00+00'")
    owner.execute(MAINTAIN)
    assert detached(owner)[:5] == OLD


def test_a_slice_that_was_attached_by_hand_is_not_dropped(db: Database) -> None:
    owner = dropping(db, retention_grace="1 day")
    owner.execute(MAINTAIN)
    owner.execute('CREATE TABLE mine (LIKE "Dialog") PARTITION BY RANGE ("UpdatedAt")')
    owner.execute('ALTER TABLE mine ATTACH PARTITION "Dialog_2024_02" DEFAULT')
    owner.execute("SET dp.now = '2025-06-20 12:00+00'")
    owner.execute(MAINTAIN)
    assert owner.execute("SELECT count(*) FROM mine").fetchone() == (10,)


@pytest.mark.parametrize("key_form", ["exact", "slice"])
@pytest.mark.parametrize("action", ["detach", "drop"])
def test_rows_that_matter_protect_their_slice(db: Database, key_form: str, action: str) -> None:
    owner = hierarchy(db, key_form, retention_action=action)
    owner.execute("CREATE TABLE hold (party text)")
    owner.execute("INSERT INTO hold VALUES ('party 3')")
    configure(owner, retention_protect='EXISTS (SELECT FROM public.hold AS h WHERE h.party = "Dialog"."Party")')
    owner.execute(MAINTAIN)
    assert family.slices(owner) == ["2024_02", *FROM_JUNE]
    protected = {row[0]: row[4] for row in preview(owner)}
    assert protected['"public"."Dialog_2024_02"'].startswith("rows where EXISTS")
    owner.execute("DELETE FROM hold")
    owner.execute(MAINTAIN)
    assert family.slices(owner) == FROM_JUNE


def test_a_reason_that_comes_up_within_the_grace_period_counts(db: Database) -> None:
    owner = dropping(db, retention_grace="1 month", retention_protect="\"Title\" = 'keep me'")
    owner.execute(MAINTAIN)
    owner.execute('UPDATE "Dialog_2024_02" SET "Title" = \'keep me\' WHERE "Id" = 3')
    owner.execute("SET dp.now = '2025-07-20 12:00+00'")
    owner.execute(MAINTAIN)
    assert detached(owner) == ["2024_02", "2024_06"]
    assert family.counts(owner, "_2024_02") == {"Dialog": 10, "Activity": 20, "Actor": 30}


def test_rows_that_are_hidden_from_the_owner_are_not_taken_for_none(db: Database) -> None:
    owner = dropping(db, retention_protect="\"Title\" = 'dialog 3'")
    owner.execute('ALTER TABLE "Dialog_2024_02" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY')
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        owner.execute(MAINTAIN)
    assert "row-level security" in str(raised.value.diag.message_detail)
    assert "2024_02" in family.slices(owner)


def test_an_export_comes_before_the_drop(db: Database) -> None:
    owner = dropping(db)
    create_export(owner)
    configure(owner, retention_export="public.keep_copy(regclass)")
    owner.execute(MAINTAIN)
    rows = owner.execute("SELECT relation, rows FROM exported WHERE relation ~ '2024_02' ORDER BY relation").fetchall()
    assert rows == [('public."Activity_2024_02"', 20), ('public."Actor_2024_02"', 30), ('public."Dialog_2024_02"', 10)]
    assert owner.execute("SELECT count(*) FROM exported").fetchone() == (15,)
    assert family.slices(owner) == FROM_JUNE
    assert detached(owner) == []


def test_an_export_that_fails_keeps_the_slice(db: Database) -> None:
    owner = dropping(db)
    create_export(owner)
    configure(owner, retention_export="public.keep_copy(regclass)")
    owner.execute("INSERT INTO export_fails VALUES ('public.\"Actor_2024_02\"')")
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        owner.execute(MAINTAIN)
    assert "the archive is full" in str(raised.value.diag.message_detail)
    assert "2024_02" in detached(owner), "out of the hierarchy, but not gone"
    assert family.counts(owner, "_2024_02") == {"Dialog": 10, "Activity": 20, "Actor": 30}
    owner.execute("DELETE FROM export_fails")
    owner.execute(MAINTAIN)
    assert detached(owner) == []
    twice = owner.execute("SELECT relation FROM exported GROUP BY relation HAVING count(*) > 1").fetchall()
    assert twice == [], "what was exported is not exported again"


def test_what_does_not_belong_together_is_refused(db: Database) -> None:
    owner = hierarchy(db)
    owner.execute("CREATE FUNCTION wrong(text) RETURNS void LANGUAGE sql AS ''")
    admin = db.connect("postgres")
    admin.execute("GRANT CREATE ON SCHEMA public TO stranger")
    db.connect("stranger").execute("CREATE FUNCTION public.theirs(regclass) RETURNS void LANGUAGE sql AS ''")
    create_export(owner)
    before = owner.execute("SELECT * FROM dp.hierarchy_config").fetchall()
    for error, options in (
        (psycopg.errors.InvalidParameterValue, {"retention_grace": "1 month"}),  # it detaches for ever
        (psycopg.errors.InvalidParameterValue, {"retention_export": "keep_copy(regclass)"}),
        (psycopg.errors.InvalidParameterValue, {"retention_action": "drop", "retention_grace": "infinity"}),
        (psycopg.errors.InvalidParameterValue, {"retention_action": "drop", "retention_grace": "1000"}),
        (psycopg.errors.UndefinedFunction, {"retention_action": "drop", "retention_export": "wrong(text)"}),
        (psycopg.errors.InsufficientPrivilege, {"retention_action": "drop", "retention_export": "theirs(regclass)"}),
        (psycopg.errors.InvalidParameterValue, {"retention_protect": "nowhere = 1"}),
        (psycopg.errors.InvalidParameterValue, {"retention_protect": "true) OR (true; DROP TABLE x"}),
        (psycopg.errors.InvalidParameterValue, {"retention_protect": "1"}),
    ):
        with pytest.raises(error):
            configure(owner, **options)
    assert owner.execute("SELECT * FROM dp.hierarchy_config").fetchall() == before


def test_a_function_that_is_gone_is_named(db: Database) -> None:
    owner = dropping(db)
    create_export(owner)
    configure(owner, retention_export="keep_copy(regclass)")
    owner.execute("DROP FUNCTION keep_copy")
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        owner.execute(MAINTAIN)
    assert "keep_copy(regclass)" in str(raised.value.diag.message_detail)
    assert "2024_02" in detached(owner)
    configure(owner, retention_export="-")
    owner.execute(MAINTAIN)
    assert family.slices(owner) == FROM_JUNE
    assert detached(owner) == []


def test_code_of_the_owner_is_not_run_by_a_superuser(db: Database) -> None:
    owner = dropping(db, retention_protect="\"Title\" = 'dialog 3'")
    admin = db.connect("postgres", **{"dp.now": "2025-06-15 12:00+00"})
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        admin.execute(MAINTAIN)
    assert "with your rights" in str(raised.value.diag.message_detail)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        admin.execute(f"SELECT dp.retention({ROOT})")
    assert "2024_02" in family.slices(owner)


def test_a_look_at_what_would_go_when(db: Database) -> None:
    owner = dropping(db, retention_grace="3 months")
    found = preview(owner, "slice, is_attached, tables, action, due AT TIME ZONE 'UTC', is_due, drop_due::date::text")
    assert [row[0][17:-1] for row in found] == [f"2024_{month:02d}" for month in range(1, 13)]
    assert [row[5] for row in found] == [True] * 5 + [False] * 7
    assert str(found[4][4]) == "2025-06-01 00:00:00" and found[4][6] == "2025-09-15", (
        "the grace period begins when it is detached"
    )
    assert {row[1:4] for row in found} == {(True, 3, "detach")}
    assert preview(owner)[-1][4] == "it is the last slice"
    assert all(row[0] > 0 for row in preview(owner, "bytes"))
    owner.execute(MAINTAIN)
    waiting = preview(owner, "slice, lower_bound, is_attached, action, drop_due::date::text, is_due")[:5]
    assert waiting[1] == ('"public"."Dialog_2024_02"', "2024-02-01", False, "drop", "2025-09-15", False)
    owner.execute("SET dp.now = '2025-09-15 12:00+00'")
    assert [row[3] for row in preview(owner)][:5] == [True] * 5
    configure(owner, retention="infinity")
    assert [row[0] for row in preview(owner, "is_attached")] == [False] * 5


def test_a_look_changes_nothing_and_is_for_the_owner(db: Database) -> None:
    owner = dropping(db)
    before = owner.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
    assert preview(owner)
    assert owner.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == before
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect("stranger").execute("SELECT dp.retention('public.\"Dialog\"')")
    with pytest.raises(psycopg.errors.UndefinedObject):
        owner.execute("SELECT dp.retention('pg_class')")


def test_nobody_but_the_owner_writes_a_grace_period_that_cannot_be_read(db: Database) -> None:
    owner = dropping(db)
    for grace in ("soon", "100", "1 fortnight"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            owner.execute("UPDATE dp.hierarchy_config SET retention_grace = %s", [grace])


def test_what_waits_moves_to_the_schema_meanwhile(db: Database) -> None:
    owner = dropping(db, retention_grace="1 month")
    owner.execute("CREATE SCHEMA archive")
    configure(owner, retention_schema="archive")
    owner.execute(MAINTAIN)
    assert owner.execute('SELECT count(*) FROM archive."Actor_2024_02"').fetchone() == (30,)
    owner.execute("SET dp.now = '2025-07-20 12:00+00'")
    owner.execute(MAINTAIN)
    left = owner.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'archive'::regnamespace AND relkind = 'p'")
    assert left.fetchone() == (3,), "one slice of three tables, retired a moment ago"
