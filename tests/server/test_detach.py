"""detach_slice, attach_slice, drop_slice: a slice leaves every table, comes back, or is gone."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

FORMS = pytest.mark.parametrize("key_form", ["exact", "slice"])
FULL = {"Dialog": 20, "Activity": 40, "Actor": 60}
HALF = {"Dialog": 10, "Activity": 20, "Actor": 30}


def with_rows(db: Database, key_form: str = "exact", **options: object) -> psycopg.Connection[Any]:
    """Slices of May to July 2025, rows in May and June."""
    connection = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(connection, key_form, **options)
    connection.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-08-01')")
    family.fill(connection, "2025-05-10 12:00+00", 1, 10)
    family.fill(connection, "2025-06-10 12:00+00", 101, 10)
    return connection


def statements(connection: psycopg.Connection[Any], call: str) -> list[str]:
    return [row[2] for row in connection.execute(f"SELECT * FROM {call}").fetchall()]  # type: ignore[arg-type]


@FORMS
def test_a_slice_is_detached_children_first_and_attached_again(db: Database, key_form: str) -> None:
    owner = with_rows(db, key_form)
    done = statements(owner, "dp.detach_slice('\"Dialog\"', '2025-05-01')")
    order = [text.split('"')[3] for text in done if "DETACH PARTITION" in text]
    assert order == ["Actor", "Activity", "Dialog"]
    assert family.counts(owner) == HALF
    for table in family.TABLES:
        keys = owner.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND (conrelid::regclass::text ~ %s)",
            [f"^.?{table}_2025_05"],
        ).fetchall()
        assert keys == []
    shown = owner.execute(
        "SELECT slice::text, lower_bound, lower_local::text FROM dp.slice WHERE NOT is_attached ORDER BY 1"
    ).fetchall()
    assert [row[0] for row in shown] == ['"Activity_2025_05"', '"Actor_2025_05"', '"Dialog_2025_05"']
    assert all(row[1].startswith("2025-05-01") for row in shown)

    statements(owner, f"dp.attach_slice('\"Dialog\"', '{shown[0][2]}')")
    assert family.counts(owner) == FULL
    key = family.key_column(owner)
    joined = owner.execute(
        f'SELECT count(*) FROM "Dialog" d JOIN "Activity" a ON (a."DialogId", a."Party", a."{key}")'  # type: ignore[arg-type]
        f' = (d."Id", d."Party", d."{key}") JOIN "Actor" o ON (o."ActivityId", o."Party", o."{key}")'
        f' = (a."Id", a."Party", a."{key}")'
    ).fetchone()
    assert joined == (20,)
    assert owner.execute("SELECT count(*) FROM pg_constraint WHERE NOT convalidated").fetchone() == (0,)
    owner.execute('DELETE FROM "Dialog" WHERE "Id" <= 10')
    assert family.counts(owner) == {"Dialog": 10, "Activity": 20, "Actor": 50}
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute('UPDATE "Activity" SET "DialogId" = 0 WHERE "DialogId" = 101')


def test_each_of_them_made_twice_does_nothing_the_second_time(db: Database) -> None:
    owner = with_rows(db)
    for call in ("detach_slice", "attach_slice", "drop_slice"):
        assert statements(owner, f"dp.{call}('\"Dialog\"', '2025-05-01')")
        assert statements(owner, f"dp.{call}('\"Dialog\"', '2025-05-01')") == [] if call != "drop_slice" else True
    assert statements(owner, "dp.drop_slice('\"Dialog\"', '2025-05-01')") == []
    assert statements(owner, "dp.detach_slice('\"Dialog\"', '2025-05-01')") == []
    with pytest.raises(psycopg.errors.UndefinedObject, match="no detached slice"):
        statements(owner, "dp.attach_slice('\"Dialog\"', '2025-05-01')")


def test_a_wrong_lower_bound_is_refused_with_the_right_one(db: Database) -> None:
    owner = with_rows(db)
    for call in ("detach_slice", "drop_slice"):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
            statements(owner, f"dp.{call}('\"Dialog\"', '2025-05-02')")
        assert "Dialog_2025_05" in str(caught.value.diag.message_detail)
        assert "2025-05-01" in str(caught.value.diag.message_detail)
    assert family.counts(owner) == FULL


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_schema_that_does_not_exist_is_refused(db: Database, dry_run: bool) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-02-01')")
    for schema in ("nowhere", ""):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="to_schema"):
            owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-01-01', %s, %s)", [schema, dry_run])
    assert family.slices(owner) == ["2025_01"]


def test_null_is_refused_where_a_value_is_needed(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    for call, parameter in (
        ("CALL dp.create_slices('\"Dialog\"', NULL, '2025-02-01')", "lower_bound"),
        ("CALL dp.create_slices('\"Dialog\"', '2025-01-01', NULL)", "upper_bound"),
        ("SELECT dp.detach_slice('\"Dialog\"', NULL)", "lower_bound"),
        ("SELECT dp.attach_slice('\"Dialog\"', NULL)", "lower_bound"),
        ("SELECT dp.drop_slice('\"Dialog\"', NULL)", "lower_bound"),
        ("SELECT dp.drop_slice(NULL, '2025-01-01')", "root"),
        ("SELECT dp.configure(NULL, premake => 3)", "root"),
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{parameter}: NULL") as raised:
            owner.execute(call)  # type: ignore[call-overload]
        assert raised.value.diag.message_detail


@FORMS
def test_a_slice_moves_to_another_schema_and_back(db: Database, key_form: str) -> None:
    owner = with_rows(db, key_form)
    owner.execute("CREATE SCHEMA archive")
    statements(owner, "dp.detach_slice('\"Dialog\"', '2025-05-01', to_schema => 'archive')")
    moved = owner.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'archive'::regnamespace AND relkind = 'r'"
    )
    assert moved.fetchone() == (6,)
    assert owner.execute('SELECT count(*) FROM archive."Dialog_2025_05"').fetchone() == (10,)
    statements(owner, "dp.attach_slice('\"Dialog\"', '2025-05-01')")
    assert family.counts(owner) == FULL
    assert owner.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'archive'::regnamespace").fetchone() == (
        0,
    )
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="to_schema"):
        statements(owner, "dp.detach_slice('\"Dialog\"', '2025-05-01', to_schema => 'nowhere')")
    assert family.counts(owner) == FULL


@FORMS
def test_a_slice_is_dropped_attached_or_detached(db: Database, key_form: str) -> None:
    owner = with_rows(db, key_form)
    statements(owner, "dp.detach_slice('\"Dialog\"', '2025-05-01')")
    statements(owner, "dp.drop_slice('\"Dialog\"', '2025-05-01')")
    statements(owner, "dp.drop_slice('\"Dialog\"', '2025-06-01')")
    assert family.counts(owner) == {"Dialog": 0, "Activity": 0, "Actor": 0}
    assert family.leftovers(owner) == []
    assert owner.execute("SELECT count(*) FROM pg_class WHERE relname ~ '2025_0[56]'").fetchone() == (0,)
    assert owner.execute("SELECT count(*) FROM dp.detached_slice").fetchone() == (0,)


@FORMS
def test_with_a_default_slice_present(db: Database, key_form: str) -> None:
    owner = with_rows(db, key_form, default_slice=True)
    statements(owner, "dp.detach_slice('\"Dialog\"', '2025-05-01')")
    family.fill(owner, "2025-05-20 12:00+00", 501, 1)
    assert family.default_counts(owner)["Dialog"] == 1
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        statements(owner, "dp.attach_slice('\"Dialog\"', '2025-05-01')")
    assert "drain_default" in str(caught.value.diag.message_hint)
    owner.execute('DELETE FROM "Actor" WHERE "Id" >= 5010')
    owner.execute('DELETE FROM "Dialog" WHERE "Id" = 501')
    statements(owner, "dp.attach_slice('\"Dialog\"', '2025-05-01')")
    assert family.counts(owner) == FULL


def test_a_slice_that_children_lack_is_detached_too(db: Database) -> None:
    owner = with_rows(db)
    owner.execute('DROP TABLE "Actor_2025_07"')
    statements(owner, "dp.detach_slice('\"Dialog\"', '2025-07-01')")
    assert "2025_07" not in family.slices(owner)
    statements(owner, "dp.attach_slice('\"Dialog\"', '2025-07-01')")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-07-01', '2025-08-01')")
    assert [family.slices(owner, table) for table in family.TABLES] == [["2025_05", "2025_06", "2025_07"]] * 3


def test_rows_that_still_point_in_keep_a_slice(db: Database) -> None:
    owner = with_rows(db)
    owner.execute(
        'CREATE TABLE bookmark (id bigint PRIMARY KEY, dialog bigint, "UpdatedAt" timestamptz, "Party" text,'
        ' FOREIGN KEY (dialog, "UpdatedAt", "Party") REFERENCES "Dialog" ("Id", "UpdatedAt", "Party"))'
    )
    owner.execute('INSERT INTO bookmark SELECT 1, "Id", "UpdatedAt", "Party" FROM "Dialog" WHERE "Id" = 1')
    for call in ("detach_slice", "drop_slice"):
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="bookmark"):
            statements(owner, f"dp.{call}('\"Dialog\"', '2025-05-01')")
    assert family.counts(owner) == FULL
    assert family.slices(owner, "Actor") == ["2025_05", "2025_06", "2025_07"]


def test_a_detached_slice_is_not_made_again_by_maintenance(db: Database) -> None:
    owner = with_rows(db)
    statements(owner, "dp.detach_slice('\"Dialog\"', '2025-06-01')")
    owner.execute("CALL dp.run_maintenance('\"Dialog\"')")
    assert "2025_06" not in family.slices(owner)
    statements(owner, "dp.attach_slice('\"Dialog\"', '2025-06-01')")
    assert family.counts(owner) == FULL


def test_the_session_keeps_its_settings(db: Database) -> None:
    owner = with_rows(db)
    owner.execute("BEGIN")
    owner.execute("SET LOCAL lock_timeout = '7s'")
    owner.execute("SET LOCAL search_path = public, pg_catalog")
    statements(owner, "dp.detach_slice('\"Dialog\"', '2025-05-01')")
    shown = owner.execute(
        "SELECT current_setting('lock_timeout'), current_setting('search_path'), current_user"
    ).fetchone()
    assert shown == ("7s", "public, pg_catalog", "owner")
    owner.execute("ROLLBACK")
    assert family.counts(owner) == FULL


def test_a_superuser_detaches_as_the_owner(db: Database) -> None:
    owner = with_rows(db)
    admin = db.connect("postgres")
    statements(admin, "dp.detach_slice('\"Dialog\"', '2025-05-01')")
    assert admin.execute("SELECT current_user").fetchone() == ("postgres",)
    statements(owner, "dp.attach_slice('\"Dialog\"', '2025-05-01')")
    stranger = db.connect("stranger")
    for call in ("detach_slice", "drop_slice"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner"):
            statements(stranger, f"dp.{call}('\"Dialog\"', '2025-05-01')")


def test_leaves_share_the_identity_of_their_table_through_detach_and_attach(db: Database) -> None:
    """From PostgreSQL 17 on partitions have the identity columns of their parent, and a detach needs all to agree."""
    owner = db.connect()
    owner.execute(
        "CREATE TABLE event (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, p text NOT NULL)"
    )
    owner.execute(
        "SELECT dp.create_hierarchy('event', 'at', 'p', hash_partitions => 2, default_slice => true,"
        " start => '2025-01-01')"
    )
    owner.execute("CALL dp.create_slices('event', '2025-01-01', '2025-02-01')")
    owner.execute("INSERT INTO event (at, p) VALUES ('2025-01-05', 'a'), ('2025-02-05', 'b'), ('2025-02-06', 'c')")
    owner.execute("CALL dp.drain_default('event')")
    for lower_bound in ("2025-01-01", "2025-02-01", "2025-01-01"):
        owner.execute("SELECT dp.detach_slice('event', %s)", (lower_bound,))
        owner.execute("SELECT dp.attach_slice('event', %s)", (lower_bound,))
    owner.execute("INSERT INTO event (at, p) VALUES ('2025-01-07', 'd')")
    assert [row["id"] for row in db.rows("SELECT id FROM event ORDER BY id")] == [1, 2, 3, 4]


@pytest.mark.parametrize("tables", [("Actor",), ("Actor", "Activity"), ("Actor", "Activity", "Dialog")])
@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_a_slice_detached_by_hand_comes_back(db: Database, key_form: str, tables: tuple[str, ...]) -> None:
    owner = db.connect()
    family.declare(owner, key_form, start="2025-01-01")
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-04-01')")
    family.fill(owner, "2025-02-10 12:00+00", 1, 20)
    before = [db.value(f'SELECT count(*) FROM "{table}"') for table in family.TABLES]
    foreign_keys = (
        "SELECT conrelid::regclass::text, count(*) FROM pg_constraint WHERE contype = 'f' GROUP BY 1 ORDER BY 1"
    )
    keys = owner.execute(foreign_keys).fetchall()
    for table in tables:
        own = owner.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass", [f'"{table}_2025_02"']
        ).fetchall()
        owner.execute(f'ALTER TABLE "{table}" DETACH PARTITION "{table}_2025_02"')
        if len(tables) > 1:  # else their parents could not be detached
            for (name,) in own:
                owner.execute(f'ALTER TABLE "{table}_2025_02" DROP CONSTRAINT "{name}"')
    found = db.rows("SELECT DISTINCT statement FROM dp.check('\"Dialog\"') WHERE statement LIKE '%%attach_slice%%'")
    assert [row["statement"] for row in found] == ["SELECT dp.attach_slice('\"public\".\"Dialog\"', '2025-02-01')"]
    owner.execute(found[0]["statement"])
    assert [db.value(f'SELECT count(*) FROM "{table}"') for table in family.TABLES] == before
    assert owner.execute(foreign_keys).fetchall() == keys
    assert owner.execute("SELECT * FROM dp.attach_slice('\"Dialog\"', '2025-02-01')").fetchall() == []


def test_a_wider_slice_detached_by_hand_needs_its_upper_bound(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2020-01-01', '2021-01-01', slice => '1 year')")
    for table in reversed(family.TABLES):
        owner.execute(f'ALTER TABLE "{table}" DETACH PARTITION "{table}_2020"')
    with pytest.raises(psycopg.errors.UndefinedObject) as caught:
        owner.execute("SELECT dp.attach_slice('\"Dialog\"', '2020-01-01')")
    assert "upper_bound" in str(caught.value.diag.message_hint)
    owner.execute("SELECT dp.attach_slice('\"Dialog\"', '2020-01-01', '2021-01-01')")
    assert [family.slices(owner, table) for table in family.TABLES] == [["2020"]] * 3


def test_a_table_that_only_has_the_name_of_a_slice_is_left_alone(db: Database) -> None:
    owner = db.connect()
    family.declare(owner)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-01-01', '2025-03-01')")
    owner.execute('DROP TABLE "Actor_2025_02"')
    owner.execute('CREATE TABLE "Actor_2025_02" (body text)')
    with pytest.raises(psycopg.errors.UndefinedObject) as caught:
        owner.execute("SELECT dp.attach_slice('\"Dialog\"', '2025-02-01')")
    assert "Actor" in str(caught.value)


@pytest.mark.parametrize(
    ("month", "severity", "finding"),
    [("2025-06-01", "error", "missing current slice"), ("2025-07-01", "warning", "missing future slice")],
)
@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_a_detached_slice_of_now_or_of_the_future_is_a_finding(
    db: Database, key_form: str, month: str, severity: str, finding: str
) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    family.declare(owner, key_form, premake=1)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-06-01')")
    owner.execute("CALL dp.run_maintenance()")
    owner.execute("SELECT dp.detach_slice('\"Dialog\"', '2025-05-01')")
    findings = "SELECT severity, finding, statement FROM dp.check('\"Dialog\"') WHERE finding LIKE 'missing%%slice'"
    assert owner.execute(findings).fetchall() == [], "what was put away of the past is not missing"
    owner.execute("SELECT dp.detach_slice('\"Dialog\"', %s)", [month])
    rows = owner.execute(findings).fetchall()
    assert [row[:2] for row in rows] == [(severity, finding)]
    owner.execute(rows[0][2])
    assert owner.execute(findings).fetchall() == []
