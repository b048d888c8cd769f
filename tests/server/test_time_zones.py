"""Bounds follow the hierarchy's own clock: never the session's, whatever that clock does at midnight."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import bounds, call, create_slices, declare

SESSIONS = [
    {"timezone": "UTC"},
    {"timezone": "Pacific/Kiritimati", "datestyle": "SQL, DMY"},
    {"timezone": "America/Los_Angeles", "datestyle": "German", "intervalstyle": "sql_standard"},
]


def hours(owner: psycopg.Connection, table: str = "event") -> list[tuple[str, float]]:
    """Each slice's name and how many hours it lasts."""
    rows = owner.execute(
        "SELECT slice::text, extract(epoch FROM upper_bound::timestamptz - lower_bound::timestamptz) / 3600"
        " FROM (SELECT slice, lower_bound || '' AS lower_bound, upper_bound || '' AS upper_bound FROM dp.slice"
        " WHERE tbl = %s::regclass) AS s ORDER BY lower_bound",
        [table],
    ).fetchall()
    return [(name, float(number)) for name, number in rows]


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["timezone"])
def test_an_oslo_hierarchy_has_oslo_bounds_in_every_session(db: Database, session: dict[str, str], form: str) -> None:
    owner = db.connect(**session)
    declare(owner, time_zone="Europe/Oslo", key_form=form, premake=1, start="2025-03-01")
    owner.execute("SELECT set_config('dp.now', '2025-03-31 22:30+00', false)")  # half past midnight in Oslo, April
    call(owner, "CALL dp.run_maintenance")
    create_slices(owner, "2025-10-01", "2025-12-01")
    if form == "exact":
        assert bounds(owner) == [
            ("event_2025_03", "2025-02-28 23:00:00+00", "2025-03-31 22:00:00+00"),
            ("event_2025_04", "2025-03-31 22:00:00+00", "2025-04-30 22:00:00+00"),
            ("event_2025_05", "2025-04-30 22:00:00+00", "2025-05-31 22:00:00+00"),
            ("event_2025_10", "2025-09-30 22:00:00+00", "2025-10-31 23:00:00+00"),
            ("event_2025_11", "2025-10-31 23:00:00+00", "2025-11-30 23:00:00+00"),
        ]
    local = owner.execute(
        "SELECT to_char(lower_local, 'YYYY-MM-DD HH24:MI') FROM dp.slice WHERE tbl = 'event'::regclass ORDER BY 1"
    ).fetchall()
    assert [row[0] for row in local] == [
        f"2025-{month} 00:00" for month in ("03-01", "04-01", "05-01", "10-01", "11-01")
    ]
    owner.execute("SET timezone = 'UTC'")
    keys = (
        ("at", "'2025-03-31 22:00:00+00'")
        if form == "exact"
        else ("at, at_slice", "'2025-03-31 22:00+00', '2025-04-01'")
    )
    owner.execute(
        f"INSERT INTO event (id, party, {keys[0]}) VALUES (1, 'p', {keys[1]}) RETURNING tableoid::regclass::text"
    )
    assert owner.execute("SELECT tableoid::regclass::text FROM event").fetchone()[0].startswith("event_2025_04_h")


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Oslo", "2025-03-30", 23),
        ("Europe/Oslo", "2025-10-26", 25),
        ("America/Sao_Paulo", "2018-11-04", 23),  # begins at 01:00
        ("America/Sao_Paulo", "2018-02-17", 25),  # its last hour comes twice
        ("America/Havana", "2024-11-03", 24),  # its first hour comes twice: the earlier one counts as the day before
        ("Asia/Beirut", "2022-03-27", 23),
        ("Australia/Lord_Howe", "2024-04-07", 24.5),
        ("America/St_Johns", "2010-11-07", 24),  # the clock went back one minute after midnight
    ],
)
@pytest.mark.parametrize("form", ["exact", "slice"])
def test_short_and_long_days(db: Database, zone: str, day: str, length: float, form: str) -> None:
    """No gap, no overlap, nothing empty; and every minute around the change can be stored in both tables."""
    owner = db.connect()
    width = {"slice": "1 day"} | ({"bucket": "1 day"} if form == "slice" else {})
    declare(owner, time_zone=zone, key_form=form, hash_type=None, **width)
    lower, upper = owner.execute("SELECT %s::date - 3, %s::date + 4", [day, day]).fetchone()
    create_slices(owner, str(lower), str(upper))
    found = bounds(owner)
    assert [name for name, _, _ in found] == [
        f"event_{row[0]}"
        for row in owner.execute(
            "SELECT to_char(d, 'YYYY_MM_DD') FROM generate_series(%s::date, %s::date - 1, '1 day') AS d", [lower, upper]
        )
    ]
    assert all(one[2] == other[1] for one, other in zip(found, found[1:]))
    if form == "exact":
        assert dict(hours(owner))["event_" + day.replace("-", "_")] == length
    minutes = f"generate_series('{day} 00:00+00'::timestamptz - interval '26 h', '{day} 00:00+00'::timestamptz"
    minutes += " + interval '38 h', '10 min') WITH ORDINALITY AS m(at, n)"
    if form == "exact":
        owner.execute(f"INSERT INTO event (id, at) SELECT n, at FROM {minutes}")
        owner.execute("INSERT INTO item (id, event_id, at) SELECT id, id, at FROM event")
    else:
        owner.execute(
            f"INSERT INTO event (id, at, at_slice) SELECT n, at, (at AT TIME ZONE '{zone}')::date FROM {minutes}"
        )
        owner.execute("UPDATE event SET at = at + interval '1 minute'")
    # children that are added later get the same slices, named alike
    owner.execute("CREATE TABLE late (id bigint PRIMARY KEY, event_id bigint)")
    call(owner, "SELECT dp.register_child", "late", "event", ["event_id"])
    assert [name for name, *_ in bounds(owner, "late")] == [name.replace("event", "late") for name, *_ in found]
    assert [row[1:] for row in bounds(owner, "late")] == [row[1:] for row in found]


@pytest.mark.parametrize(("zone", "skipped"), [("Pacific/Apia", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21")])
def test_a_day_that_the_calendar_skipped_has_no_slice(db: Database, zone: str, skipped: str) -> None:
    owner = db.connect()
    declare(owner, time_zone=zone, slice="1 day", hash_type=None)
    lower, upper = owner.execute("SELECT %s::date - 2, %s::date + 3", [skipped, skipped]).fetchone()
    create_slices(owner, str(lower), str(upper))
    found = bounds(owner)
    assert len(found) == 4
    assert [length for _, length in hours(owner)] == [24, 24, 24, 24]
    create_slices(owner, str(lower), str(upper))
    assert bounds(owner) == found
    assert len(bounds(owner, "item")) == 4


def test_sao_paulo_for_years_without_gap(db: Database) -> None:
    owner = db.connect()
    declare(owner, time_zone="America/Sao_Paulo", slice="1 month", hash_type=None, child=False)
    create_slices(owner, "2008-01-01", "2020-01-01")
    found = bounds(owner)
    assert len(found) == 12 * 12
    assert all(one[2] == other[1] and one[1] < one[2] for one, other in zip(found, found[1:]))


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["timezone"])
def test_draining_knows_the_hierarchys_days(db: Database, session: dict[str, str], form: str) -> None:
    owner = db.connect(**session)
    declare(owner, time_zone="Europe/Oslo", key_form=form, default_slice=True)
    create_slices(owner, "2025-01-01", "2025-02-01")
    more = (", at_slice", ", '2025-03-01'") if form == "slice" else ("", "")
    owner.execute(f"INSERT INTO event (id, party, at{more[0]}) VALUES (1, 'p', '2025-02-28 23:30+00'{more[1]})")
    call(owner, "CALL dp.drain_default", "event", "2025-01-01", "2026-01-01")
    assert [name for name, *_ in bounds(owner)] == ["event_2025_01", "event_2025_03"]
    assert owner.execute("SELECT tableoid::regclass::text FROM event").fetchone()[0].startswith("event_2025_03_h")


def test_a_slice_is_found_by_its_date_where_midnight_does_not_exist(db: Database) -> None:
    owner = db.connect()
    declare(owner, time_zone="America/Sao_Paulo", slice="1 day")
    create_slices(owner, "2018-11-03", "2018-11-06")
    call(owner, "SELECT dp.detach_slice", "event", "2018-11-04")
    assert [row[0] for row in owner.execute("SELECT slice::text FROM dp.slice WHERE NOT is_attached ORDER BY 1")] == [
        "event_2018_11_04",
        "item_2018_11_04",
    ]
    call(owner, "SELECT dp.attach_slice", "event", "2018-11-04")
    call(owner, "SELECT dp.drop_slice", "event", "2018-11-04")
    assert [name for name, *_ in bounds(owner)] == ["event_2018_11_03", "event_2018_11_05"]


@pytest.mark.parametrize("key_type", ["timestamp", "date"])
def test_keys_without_time_zone_know_none(db: Database, key_type: str) -> None:
    owner = db.connect(timezone="Asia/Tokyo", datestyle="SQL, DMY")
    declare(owner, key_type, time_zone="Europe/Oslo")
    create_slices(owner, "2025-02-03", "2025-03-01", slice="1 week")
    time = "" if key_type == "date" else " 00:00:00"
    assert bounds(owner)[0] == ("event_2025_w06", f"2025-02-03{time}", f"2025-02-10{time}")


def test_the_same_bounds_as_pg_partman(db: Database) -> None:
    """One level, session in UTC: both cut the same table alike, for every width that pg_partman has names for."""
    admin = db.connect("postgres", timezone="UTC")
    available = admin.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_partman'").fetchone()[0]
    if not available:
        pytest.skip("pg_partman is not installed")
    admin.execute("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman")
    version = admin.execute("SELECT extversion FROM pg_extension WHERE extname = 'pg_partman'").fetchone()[0]
    is_old = version.startswith("4.")
    owner = db.connect(timezone="UTC")
    words = {"1 day": "daily", "1 week": "weekly", "1 month": "monthly", "3 months": "quarterly", "1 year": "yearly"}
    for width, word in words.items():
        start = admin.execute("SELECT (current_date - 10)::text").fetchone()[0]
        if not is_old:  # counts weeks and quarters from the start, not from the calendar
            unit = "quarter" if width == "3 months" else width.removeprefix("1 ")
            start = admin.execute("SELECT date_trunc(%s, %s::date)::date::text", [unit, start]).fetchone()[0]
        for table in (f"ours_{word}", f"theirs_{word}"):
            owner.execute(
                f"CREATE TABLE {table} (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at))"
                " PARTITION BY RANGE (at)"
            )
        admin.execute(
            "SELECT partman.create_parent(%s, 'at'" + (", 'native'" if is_old else "") + ", %s, p_premake := 3,"
            " p_start_partition := %s)",
            [f"public.theirs_{word}", word if is_old else width, start],
        )
        call(owner, "SELECT dp.create_hierarchy", f"ours_{word}", "at", slice=width, start=start, premake=3)
        call(owner, "CALL dp.run_maintenance", f"ours_{word}")
        assert partition_bounds(owner, f"ours_{word}") == partition_bounds(owner, f"theirs_{word}"), width


def partition_bounds(owner: psycopg.Connection, table: str) -> list[str]:
    """The bounds of a table's partitions as PostgreSQL writes them, the default partition left out."""
    rows = owner.execute(
        "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid"
        " WHERE i.inhparent = %s::regclass ORDER BY 1",
        [table],
    )
    return [bound for (bound,) in rows if bound != "DEFAULT"]
