"""Every type of range key, in both key forms: rows land in the right slice, move, and take their children along."""

from __future__ import annotations

import datetime
import uuid

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import bounds, create_slices, declare, leaf_of, names

UTC = datetime.timezone.utc


def uuid7(moment: datetime.datetime, tail: int = 0xABC) -> uuid.UUID:
    """A uuid of version 7 as applications make them."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 0x123 << 64 | 2 << 62 | tail)


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


CALENDAR = {
    "timestamptz": lambda text: f"{text}+00",
    "timestamptz(3)": lambda text: f"{text}+00",
    "timestamp": lambda text: text,
    "date": lambda text: text[:10],
    "uuid": lambda text: str(uuid7(moment(text))),
}
BUCKETS = ["1 day", "1 week", "1 month", "1 quarter", "2 months", "1 year"]


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("key_type", CALENDAR)
def test_rows_land_in_their_month_and_move_with_their_children(db: Database, key_type: str, form: str) -> None:
    owner = db.connect()
    value = CALENDAR[key_type]
    declare(owner, key_type, key_form=form)
    create_slices(owner, "2025-01-01", "2025-04-01")
    partition_key = "at" if form == "exact" else "at_slice"
    for number, text in enumerate(
        ["2025-01-01 00:00:00", "2025-01-31 23:59:59.999", "2025-02-01 00:00:00", "2025-03-31 23:59:59.999"]
    ):
        columns = "id, party, at" if form == "exact" else "id, party, at, at_slice"
        slice_key = [] if form == "exact" else [text[:7] + "-01"]
        places = ", ".join(["%s"] * (3 + len(slice_key)))
        owner.execute(f"INSERT INTO event ({columns}) VALUES ({places})", [number, "p", value(text), *slice_key])
        owner.execute(
            f"INSERT INTO item (id, event_id, {partition_key}, party)"
            f" SELECT id, id, {partition_key}, party FROM event WHERE id = %s",
            [number],
        )
    months = [leaf_of(owner, "event", f"id = {number}")[0].split("_h")[0] for number in range(4)]
    assert months == ["event_2025_01", "event_2025_01", "event_2025_02", "event_2025_03"]
    owner.execute("UPDATE event SET at = %s WHERE id = 0", [value("2025-03-05 12:00:00")])
    assert leaf_of(owner, "event", "id = 0")[0].startswith("event_2025_03_h")
    assert leaf_of(owner, "item", "id = 0")[0].startswith("item_2025_03_h")
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("UPDATE event SET at = %s WHERE id = 0", [value("2025-04-01 00:00:00")])


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("key_type", ["timestamptz", "timestamp", "date", "uuid"])
def test_the_bucket_is_postgresqls_own_arithmetic(db: Database, key_type: str, bucket: str) -> None:
    """The slice key that the trigger sets is the start of the slice that create_slices made, for many days."""
    days = 110 if bucket == "1 day" else 400
    owner = db.connect()
    value = CALENDAR[key_type]
    declare(owner, key_type, None, key_form="slice", bucket=bucket, slice=bucket, time_zone="Europe/Oslo", child=False)
    first = moment("2024-01-01T00:30:00")
    create_slices(owner, "2023-12-30", (first + datetime.timedelta(days=days + 2)).date().isoformat())
    owner.execute(
        "INSERT INTO event (id, at, at_slice) SELECT 1, %s, lower_local::date FROM dp.slice"
        " WHERE tbl = 'event'::regclass AND '2024-01-01' >= lower_local AND '2024-01-01' < upper_local",
        [value(first.strftime("%Y-%m-%d %H:%M:%S"))],
    )
    for hours in range(0, days * 24, 37):
        text = (first + datetime.timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S")
        owner.execute("UPDATE event SET at = %s", [value(text)])
    # a wrong slice key is refused, never stored
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("UPDATE event SET at_slice = at_slice + 1")


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize(
    ("key_type", "step", "values"),
    [
        ("smallint", 10_000, [-32768, -30001, -30000, -1, 0, 9999, 32766]),
        ("integer", 1_000_000, [-(2**31), -1_000_001, -1_000_000, -1, 0, 999_999, 2**31 - 2]),
        ("bigint", 10**18, [-(2**63), -(10**18) - 1, -(10**18), -1, 0, 10**18 - 1, 2**63 - 2]),
        ("bigint", 7, [-15, -14, -8, -7, -1, 0, 6, 7]),
    ],
)
def test_integers_land_in_their_step(db: Database, key_type: str, step: int, values: list[int], form: str) -> None:
    owner = db.connect()
    declare(owner, key_type, key_form=form, slice=str(step), hash_partitions=1)
    limit = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}[key_type]
    for number, value in enumerate(values):
        create_slices(owner, str(value), str(value + 1))
        start = max(value - value % step, -limit)
        if form == "exact":
            owner.execute("INSERT INTO event (id, party, at) VALUES (%s, 'p', %s)", [number, value])
        else:
            owner.execute(
                "INSERT INTO event (id, party, at, at_slice) VALUES (%s, 'p', %s, %s)", [number, value, start]
            )
        name = f"event_{start}" if start >= 0 else f"event_m{-start}"
        assert leaf_of(owner, "event", f"id = {number}") == [f"{name}_h00"]
    key = "at" if form == "exact" else "at_slice"
    owner.execute(f"INSERT INTO item (id, event_id, {key}, party) SELECT id, id, {key}, party FROM event")
    for value in values:
        owner.execute("UPDATE event SET at = %s WHERE id = 0", [value])
        slice_start = max(value - value % step, -limit)
        name = f"item_{slice_start}" if slice_start >= 0 else f"item_m{-slice_start}"
        assert leaf_of(owner, "item", "id = 0") == [f"{name}_h00"]


def test_the_largest_value_of_a_type_has_no_slice(db: Database) -> None:
    """An upper bound is exclusive, so that PostgreSQL itself cannot hold 32767 in a bounded partition."""
    owner = db.connect()
    declare(owner, "smallint", None, slice="10000", child=False)
    create_slices(owner, "-32768", "32767")
    assert bounds(owner)[0][0] == "event_0"
    owner.execute("INSERT INTO event VALUES (1, 32766)")
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("INSERT INTO event VALUES (2, 32767)")


def test_dates_before_christ_are_refused_as_bounds_and_wait_in_the_default_slice(db: Database) -> None:
    owner = db.connect()
    declare(owner, "date", None, key_form="slice", bucket="1 quarter", slice="1 quarter", default_slice=True)
    create_slices(owner, "2025-01-01", "2025-02-01")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="0044-03-15 BC"):
        create_slices(owner, "0044-03-15 BC", "2025-01-01")
    owner.execute("INSERT INTO event (id, at, at_slice) VALUES (1, '0044-03-15 BC', '0044-01-01 BC')")
    assert leaf_of(owner, "event", "id = 1") == ["event_default"]
    owner.execute("UPDATE event SET at = '2025-02-03'")
    assert leaf_of(owner, "event", "id = 1") == ["event_2025_q1"]


@pytest.mark.parametrize("bucket", ["2 months", "5 months", "10 years", "3 weeks", "10 days"])
def test_buckets_go_on_evenly_before_christ(db: Database, bucket: str) -> None:
    owner = db.connect()
    declare(owner, "date", None, key_form="slice", bucket=bucket, slice=bucket, default_slice=True, child=False)
    create_slices(owner, "2025-01-01", "2025-01-02")
    owner.execute(
        "INSERT INTO event (id, at, at_slice) SELECT 1, lower_local, lower_local FROM dp.slice"
        " WHERE tbl = 'event'::regclass AND NOT is_default"
    )
    starts = []
    for days in range(0, 5000, 11):
        owner.execute("UPDATE event SET at = '0005-01-01 BC'::date + %s", [days])
        starts.append(owner.execute("SELECT at_slice <= at, at_slice - '0100-01-01 BC'::date FROM event").fetchone())
    assert all(row[0] for row in starts)
    assert [row[1] for row in starts] == sorted(row[1] for row in starts)


@pytest.mark.parametrize("form", ["exact", "slice"])
def test_a_uuid_before_1970_is_refused(db: Database, form: str) -> None:
    owner = db.connect()
    declare(owner, "uuid", key_form=form)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="1970"):
        create_slices(owner, "1969-12-01", "1970-02-01")
    assert names(owner) == []


@pytest.mark.parametrize("form", ["exact", "slice"])
def test_a_condition_on_the_range_key_prunes(db: Database, form: str) -> None:
    owner = db.connect()
    declare(owner, key_form=form, hash_partitions=1)
    create_slices(owner, "2025-01-01", "2025-07-01")
    owner.execute("SET enable_bitmapscan = off")
    plan = owner.execute(
        "EXPLAIN (COSTS off) SELECT FROM event WHERE at >= '2025-03-03 00:00+00' AND at < '2025-03-09 00:00+00'"
    ).fetchall()
    scanned = {line.split(" on ")[1].split()[0] for (line,) in plan if " on event" in line}
    assert scanned == {"event_2025_03_h00"}


@pytest.mark.parametrize(
    ("setup", "hash_type", "values"),
    [
        ("", 'text COLLATE "C"', ["a", "b", "æ"]),
        ("", 'varchar(80) COLLATE "nb-NO-x-icu"', ["a", "b", "æ"]),
        ("", "char(5)", ["a", "b", "c"]),
        ("", "uuid", [str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), str(uuid.UUID(int=3))]),
        ("", "integer", ["-1", "2", "3"]),
        ("", "numeric(20, 4)", ["1.5", "1.50", "-7"]),
        ("", "inet", ["10.0.0.1", "::1", "10.0.0.0/8"]),
        ("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')", "mood", ["sad", "ok", "happy"]),
        ("CREATE DOMAIN party_name AS text CHECK (VALUE <> '')", "party_name", ["a", "b", "c"]),
        ("CREATE DOMAIN a AS varchar(9); CREATE DOMAIN b AS a CHECK (VALUE <> '')", "b", ["a", "b", "c"]),
        ("", "text[]", ["{a}", "{b,c}", "{}"]),
        ("", "int4range", ["[1,2)", "[3,9)", "empty"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_hashable_type_is_a_hash_key(db: Database, setup: str, hash_type: str, values: list[str]) -> None:
    owner = db.connect()
    owner.execute(setup or "SELECT")
    declare(owner, hash_type=hash_type, hash_partitions=3)
    create_slices(owner, "2025-01-01", "2025-02-01")
    for number, value in enumerate(values):
        owner.execute("INSERT INTO event (id, at, party) VALUES (%s, '2025-01-05', %s)", [number, value])
    owner.execute("INSERT INTO item (id, event_id, at, party) SELECT id, id, at, party FROM event")
    together = owner.execute(
        "SELECT count(*) FROM event JOIN item USING (party, at)"
        " WHERE right(event.tableoid::regclass::text, 3) = right(item.tableoid::regclass::text, 3)"
        " AND event.id = item.event_id"
    ).fetchone()
    assert together == (3,)


@pytest.mark.parametrize(
    ("setup", "hash_type"),
    [("", "json"), ("", "point"), ("", "tsvector"), ("CREATE TYPE pair AS (a int, b json)", "pair")],
)
def test_a_type_without_hash_is_refused_before_anything_changes(db: Database, setup: str, hash_type: str) -> None:
    owner = db.connect()
    owner.execute(setup or "SELECT")
    with pytest.raises(psycopg.errors.DatatypeMismatch, match="cannot be hashed"):
        declare(owner, hash_type=hash_type, child=False)
    assert db.value("SELECT relkind FROM pg_class WHERE oid = 'event'::regclass") == "r"
    assert db.rows("SELECT FROM dp.hierarchy_config") == []


@pytest.mark.parametrize("key_type", ["text", "numeric", "time", "interval", "timestamptz[]", "float8"])
def test_a_range_key_of_another_type_is_refused(db: Database, key_type: str) -> None:
    with pytest.raises(psycopg.errors.DatatypeMismatch, match="cannot be a range key"):
        declare(db.connect(), key_type, child=False)
