"""Maintenance on a server whose lock table is small: what fits is done, the rest is told."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.server.test_convert import PLAIN, contents, kinds
from tests.support import family, hierarchies
from tests.support.database import Database, prepare_template
from tests.support.hierarchies import Connection
from tests.support.server import Server

ROOT = "'\"Dialog\"'"
MAINTAIN = f"CALL dp.run_maintenance({ROOT})"


@pytest.fixture(scope="module")
def small_server(server: Server) -> Iterator[Server]:
    """A server whose lock table leaves one transaction 480 entries."""
    with type(server)(server.version, {"max_connections": "10", "max_locks_per_transaction": "64"}) as running:
        prepare_template(running)
        yield running


@pytest.fixture
def small(small_server: Server, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of its own there."""
    database = Database.create(small_server, request.node.name.split("[")[0][:60])
    yield database
    database.drop()


def leaves(owner: Connection, table: str) -> int:
    found = owner.execute("SELECT count(*) FROM dp.leaf WHERE slice = %s::regclass", [table]).fetchone()
    assert found is not None
    return int(found[0])


def test_after_years_without_maintenance_the_slices_of_now_come_first(small: Database) -> None:
    owner = small.connect(**{"dp.now": "2024-01-15 12:00+00"})
    family.declare(owner, hash_partitions=4, premake=1)
    owner.execute(MAINTAIN)
    owner.execute('DROP TABLE "Actor_2024_01_h01"')
    owner.execute("SET dp.now = '2027-11-15 12:00+00'")
    with pytest.raises(psycopg.errors.RaiseException, match="maintenance failed") as raised:
        owner.execute(MAINTAIN)
    assert "(53200)" in str(raised.value.diag.message_detail)
    made = family.slices(owner)
    assert {"2024_01", "2027_11", "2027_12"} < set(made)
    assert len(made) < 48
    assert [family.slices(owner, table) for table in family.TABLES] == [made] * 3
    assert leaves(owner, '"Actor_2024_01"') == 4, "what is missing of old slices was repaired"
    family.fill(owner, "2027-11-20 12:00+00", 1, 2)
    with pytest.raises(psycopg.errors.OutOfMemory):  # what somebody asks for is done whole, or not at all
        owner.execute(f"CALL dp.create_slices({ROOT}, '2024-01-01', '2028-01-01')")
    assert family.slices(owner) == made


def test_leaves_beyond_the_budget_are_repaired_in_several_transactions(small: Database) -> None:
    owner = small.connect(**{"dp.now": "2025-06-15 12:00+00"})
    hierarchies.declare(owner, hash_partitions=60, premake=0)
    owner.execute("CALL dp.run_maintenance('event')")
    assert leaves(owner, "item_2025_06") == 60
    for remainder in range(60):
        owner.execute(f"DROP TABLE item_2025_06_h{remainder:02d}")  # type: ignore[arg-type]
    found = owner.execute("SELECT statement FROM dp.check('event') WHERE finding = 'missing leaf'").fetchone()
    assert found is not None and "run_maintenance" in str(found[0])
    owner.execute("CALL dp.run_maintenance('event')")
    assert leaves(owner, "item_2025_06") == 60, "as many as its sibling in the root has"
    steps = owner.execute(
        "SELECT count(*) FROM dp.log WHERE id > (SELECT max(id) FROM dp.log WHERE statements ~ 'ANALYZE')"
        " AND statements ~ 'CREATE TABLE'"
    ).fetchone()
    assert steps is not None and steps[0] > 1


def test_what_a_kill_leaves_of_a_slice_is_dropped_and_made_again(small: Database) -> None:
    owner = small.connect(**{"dp.now": "2025-06-15 12:00+00"})
    hierarchies.declare(owner, child=False, hash_partitions=105, premake=0)
    owner.execute("SELECT dp.set_storage('event', '{\"fillfactor\": 90}')")
    admin = small.connect("postgres")
    admin.execute(
        "CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity ~ '_h104$') THEN"
        " RAISE EXCEPTION 'stopped'; END IF; END $$;"
        " CREATE EVENT TRIGGER stop ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION stop()"
    )
    with pytest.raises(psycopg.errors.RaiseException):
        owner.execute("CALL dp.run_maintenance('event')")
    admin.execute("DROP EVENT TRIGGER stop")
    assert owner.execute("SELECT relispartition FROM pg_class WHERE oid = 'event_2025_06'::regclass").fetchone() == (
        False,
    )
    found = owner.execute("SELECT statement FROM dp.check('event') WHERE finding = 'missing current slice'").fetchone()
    assert found == ('CALL dp.run_maintenance(\'"public"."event"\')',), "half a slice is nothing to attach"
    with pytest.raises(psycopg.errors.UndefinedObject):
        owner.execute("SELECT dp.attach_slice('event', '2025-06-01')")
    owner.execute(
        "INSERT INTO event_2025_06_h000 SELECT 1, '2025-06-01', p::text FROM generate_series(1, 500) AS p"
        " WHERE satisfies_hash_partition('event_2025_06'::regclass, 105, 0, p::text) LIMIT 1"
    )
    with pytest.raises(psycopg.errors.RaiseException) as raised:
        owner.execute("CALL dp.run_maintenance('event')")
    assert "(42P07)" in str(raised.value.diag.message_detail), "rows that somebody put there are not dropped"
    owner.execute("DELETE FROM event_2025_06")
    owner.execute("CALL dp.run_maintenance('event')")
    assert leaves(owner, "event_2025_06") == 105
    assert owner.execute("SELECT obj_description('event_2025_06'::regclass, 'pg_class')").fetchone() == (None,)
    owner.execute("INSERT INTO event VALUES (1, '2025-06-15', 'p')")


def test_what_the_plan_of_a_conversion_lets_through_is_converted(small: Database) -> None:
    owner = small.connect(**{"dp.now": "2025-06-15 12:00+00"})
    owner.execute(PLAIN)
    before = contents(small)
    too_many = "SELECT count(*) FROM dp.plan_conversion('event', 'at', 'party', slice => '{}', hash_partitions => 2)"
    too_many += " WHERE finding = 'too many leaves'"
    widths = ["8 months", "9 months", "10 months", "11 months", "1 year", "14 months", "18 months"]
    refused = [width for width in widths if owner.execute(too_many.format(width)).fetchone() == (1,)]  # type: ignore[arg-type]
    assert 0 < len(refused) < len(widths)
    assert refused == widths[: len(refused)]
    convert = "CALL dp.convert('event', 'at', 'party', hash_partitions => 2, slice => %s)"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="too many leaves"):
        owner.execute(convert, [refused[-1]])
    assert set(kinds(small).values()) == {"r"}
    assert small.value("SELECT count(*) FROM dp.conversion_config") == 0, "it is refused before anything begins"
    owner.execute(convert, [widths[len(refused)]])
    assert contents(small) == before
    owner.execute("SELECT dp.drop_converted('event')")
    with pytest.raises(psycopg.errors.OutOfMemory, match="comparing all rows"):  # it reads all tables at once
        owner.execute("CALL dp.unconvert('event')")
    assert set(kinds(small).values()) == {"p"}
    assert small.value("SELECT count(*) FROM dp.conversion_config") == 0


def test_a_conversion_chooses_slices_for_which_there_is_room(small: Database) -> None:
    owner = small.connect(**{"dp.now": "2025-06-15 12:00+00"})
    owner.execute(PLAIN)
    before = contents(small)
    owner.execute("CALL dp.convert('event', 'at', 'party', hash_partitions => 1)")
    assert contents(small) == before
    recent = owner.execute(
        "SELECT lower_bound::date::text FROM dp.slice WHERE tbl = 'event'::regclass AND lower_bound >= '2023'"
        " ORDER BY lower_bound"
    ).fetchall()
    quarters = [f"{year}-{month}-01" for year in (2024, 2025) for month in ("01", "04", "07", "10")]
    assert [row[0] for row in recent] == ["2023-01-01", *quarters]


def test_more_partitions_than_a_transaction_can_lock_are_given_away_step_by_step(small: Database) -> None:
    owner = small.connect(**{"dp.now": "2025-01-15 12:00+00"})
    hierarchies.declare(owner, child=False, hash_partitions=8)
    for year in (2022, 2023):
        hierarchies.create_slices(owner, f"{year}-01-01", f"{year + 1}-01-01")
    admin = small.connect("postgres")
    with pytest.raises(psycopg.errors.OutOfMemory, match="more than the budget of 480") as refused:
        admin.execute("ALTER TABLE event OWNER TO stranger")
    assert "after SET dp.propagate_ddl = off to CALL dp.sync(...)" in str(refused.value.diag.message_hint)
    owned = "SELECT DISTINCT pg_get_userbyid(relowner) AS name FROM pg_class WHERE relname LIKE 'event%'"
    assert small.rows(owned) == [{"name": "owner"}]
    admin.execute("SET dp.propagate_ddl = off")
    admin.execute("ALTER TABLE event OWNER TO stranger")
    admin.execute("CALL dp.sync('event')")
    assert small.rows(owned) == [{"name": "stranger"}]
    assert admin.execute("SELECT * FROM dp.drift()").fetchall() == []
