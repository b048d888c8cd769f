"""What somebody who tried to break it found: each of these once went wrong."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import call, create_slices, declare, names


def findings(connection: psycopg.Connection[Any], root: str = "event") -> list[str]:
    quiet = ("never analysed", "minor release", "foreign key without an index")
    return [row[1] for row in call(connection, "SELECT dp.check", root) if row[1] not in quiet]


def test_a_start_that_asks_for_too_many_slices_spoils_no_other_hierarchy(db: Database) -> None:
    owner = db.connect()
    declare(owner, premake=0)
    owner.execute("CREATE TABLE wild (id int PRIMARY KEY, at date NOT NULL)")
    owner.execute(
        "SELECT dp.create_hierarchy('wild', 'at', slice => '1 day', start => '0001-01-01', allow_large_layout => true)"
    )
    found = owner.execute("SELECT finding, target FROM dp.check()").fetchall()
    assert ("unreadable hierarchy", '"public"."wild"') in found
    assert ("missing current slice", '"public"."event"') in found
    with pytest.raises(psycopg.Error, match=r"maintenance failed for public\.wild\n|maintenance failed for \"public\""):
        owner.execute("CALL dp.run_maintenance()")
    assert names(owner) != []


def test_a_foreign_key_that_pairs_a_partition_key_with_another_column_is_refused_before_anything_changes(
    db: Database,
) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE d (id bigint PRIMARY KEY, party text NOT NULL)")
    owner.execute("CREATE TABLE a (item bigint PRIMARY KEY, d_id bigint NOT NULL REFERENCES d ON DELETE CASCADE)")
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="by a column of another name"):
        owner.execute("SELECT dp.create_hierarchy('d', 'id', 'party', slice => '1000', hash_partitions => 2)")
    assert db.value("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'a'::regclass") == 1
    assert db.value("SELECT relkind::text FROM pg_class WHERE oid = 'd'::regclass") == "r"
    owner.execute("ALTER TABLE a RENAME COLUMN d_id TO id")
    owner.execute("SELECT dp.create_hierarchy('d', 'id', 'party', slice => '1000', hash_partitions => 2)")
    owner.execute("SELECT dp.register_child('a', 'd')")
    create_slices(owner, "0", "2000", "d")
    owner.execute("INSERT INTO d VALUES (7, 'p'); INSERT INTO a (item, id, party) VALUES (1, 7, 'p')")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute("INSERT INTO a (item, id, party) VALUES (2, 8, 'p')")


@pytest.mark.parametrize(
    ("key_type", "step", "inside", "outside"),
    [("integer", 1000000000, 2147483646, 2147483647), ("smallint", 10000, 32766, 32767)],
)
def test_a_row_near_the_end_of_the_type_is_drained(
    db: Database, key_type: str, step: int, inside: int, outside: int
) -> None:
    owner = db.connect()
    declare(owner, key_type, child=False, slice=str(step), default_slice=True, premake=2)
    owner.execute("CALL dp.run_maintenance('event')")
    owner.execute(
        "INSERT INTO event (id, at, party) SELECT row_number() OVER (), at, 'p' FROM unnest(%s::int[]) AS at",
        [[inside, outside, -inside]],
    )
    owner.execute("CALL dp.run_maintenance('event')")
    owner.execute("CALL dp.drain_default('event', %s, %s)", [str(-inside - 1), str(inside)])
    left = owner.execute("SELECT at FROM event WHERE tableoid::regclass::text ~ 'default'").fetchall()
    assert left == [(outside,)], "no bound lies above the largest value"


def test_draining_takes_whole_slices_and_says_so(db: Database) -> None:
    owner = db.connect()
    declare(owner, child=False, default_slice=True, premake=0)
    owner.execute("CALL dp.run_maintenance('event')")
    owner.execute(
        "INSERT INTO event (id, at, party) VALUES (1, '2020-01-10 18:00+00', 'p'), (2, '2020-01-20', 'p'),"
        " (3, '2019-12-31 23:59+00', 'p')"
    )
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    owner.execute("CALL dp.drain_default('event', '2020-01-15 12:00', '2020-01-20')")
    rows = owner.execute("SELECT id FROM event WHERE tableoid::regclass::text ~ 'default'").fetchall()
    assert rows == [(3,)]
    assert len(told) == 1 and "2019-12-31" in told[0]


@pytest.mark.parametrize("key", ["hash_key", "range_key"])
def test_a_generated_column_is_no_key(db: Database, key: str) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE g (id int PRIMARY KEY, x text NOT NULL, y date NOT NULL,"
        " party text GENERATED ALWAYS AS (lower(x)) STORED, at date GENERATED ALWAYS AS (y + 1) STORED)"
    )
    keys = {"range_key": "y", "hash_key": "x", key: {"hash_key": "party", "range_key": "at"}[key]}
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="is generated"):
        call(owner, "SELECT dp.create_hierarchy", "g", **keys)
    assert db.value("SELECT relkind::text FROM pg_class WHERE oid = 'g'::regclass") == "r"


def test_gaps_behind_a_slice_without_beginning_are_filled(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    owner.execute(
        "CREATE TABLE n (at date NOT NULL) PARTITION BY RANGE (at);"
        "CREATE TABLE n_old PARTITION OF n FOR VALUES FROM (MINVALUE) TO ('2025-01-01');"
        "CREATE TABLE n_2025_03 PARTITION OF n FOR VALUES FROM ('2025-03-01') TO ('2025-04-01')"
    )
    owner.execute("SELECT dp.adopt('n', premake => 0)")
    assert findings(owner, "n") == ["missing current slice", "gap"]
    told = owner.execute("SELECT detail FROM dp.check('n') WHERE finding = 'gap'").fetchall()
    assert told[0][0].startswith("4 slices are missing: 2025_01 to 2025_02, 2025_04 to 2025_05: ")
    owner.execute("CALL dp.run_maintenance('n')")
    assert names(owner, "n") == ["n_2025_01", "n_2025_02", "n_2025_03", "n_2025_04", "n_2025_05", "n_2025_06", "n_old"]


def test_a_dry_run_of_retention_prints_what_the_run_does(db: Database) -> None:
    owner = db.connect(**{"dp.now": "2026-11-25 00:00+00"})
    declare(owner, premake=0, retention="1 year")
    create_slices(owner, "2025-01-01", "2025-02-01")
    create_slices(owner, "2026-11-01", "2026-12-01")
    owner.execute("CALL dp.run_maintenance('event', dry_run => true)")
    printed = owner.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall()
    printed = [row for row in printed if row not in [("BEGIN",), ("COMMIT",)]]  # the run commits each step
    owner.execute("CALL dp.run_maintenance('event')")
    assert owner.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall() == printed


def test_a_table_that_is_dropped_while_a_call_waits(db: Database) -> None:
    owner, other = db.connect(), db.connect()
    declare(owner, child=False)
    create_slices(owner, "2025-01-01", "2025-02-01")
    other.execute("BEGIN; DROP TABLE event")
    caught: list[psycopg.Error] = []

    def configure() -> None:
        try:
            owner.execute("SELECT dp.configure('event', premake => 2)")
        except psycopg.Error as error:
            caught.append(error)

    thread = threading.Thread(target=configure)
    thread.start()
    thread.join(0.2)
    other.execute("COMMIT")
    thread.join()
    assert [error.sqlstate in ("42704", "55P03", "42P01") for error in caught] == [True], caught


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT dp.configure('event', premake => 2)",
        "SELECT dp.detach_slice('event', '2025-01-01')",
        "SELECT dp.register_reference('shared', 'event')",
        "CALL dp.run_maintenance('event')",
        "CALL dp.create_slices('event', '2025-03-01', '2025-04-01')",
    ],
)
def test_nobody_waits_longer_than_lock_timeout_to_read(db: Database, statement: str) -> None:
    owner, other = db.connect(), db.connect(statement_timeout="20s")
    declare(owner, default_slice=True)
    owner.execute("CREATE TABLE shared (id int PRIMARY KEY)")
    create_slices(owner, "2025-01-01", "2025-02-01")
    owner.execute("BEGIN; LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(psycopg.Error) as caught:
        other.execute(statement)  # type: ignore[call-overload]
    assert caught.value.sqlstate in ("55P03", "P0001"), caught.value
    assert str(owner.info.backend_pid) in str(caught.value.diag.message_detail)
    assert other.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_a_check_of_a_locked_hierarchy_says_so(db: Database) -> None:
    owner, other = db.connect(), db.connect(statement_timeout="20s")
    declare(owner)
    create_slices(owner, "2025-01-01", "2025-02-01")
    owner.execute("BEGIN; LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
    found = call(other, "SELECT dp.check", "event")
    assert [row[1] for row in found] == ["unreadable hierarchy"]
    assert "lock timeout" in found[0][3]


def test_a_tree_by_a_type_that_is_no_range_key_is_not_adopted(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE n (at text NOT NULL) PARTITION BY RANGE (at)")
    owner.execute("CREATE TABLE n_a PARTITION OF n FOR VALUES FROM ('a') TO ('b')")
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        owner.execute("SELECT dp.adopt('n')")


def test_a_child_that_lost_its_foreign_key_is_noticed(db: Database) -> None:
    owner = db.connect(**{"dp.propagate_ddl": "off"})
    declare(owner)
    owner.execute("ALTER TABLE item DROP CONSTRAINT item_event_id_fkey")
    assert "no foreign key" in findings(owner)
    owner.execute("SELECT dp.register_child('item', 'event', '{event_id}')")
    assert "no foreign key" not in findings(owner)


@pytest.mark.parametrize("parameter", ["slice", "retention"])
def test_nothing_is_no_width(db: Database, parameter: str) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE n (id int PRIMARY KEY, at date NOT NULL)")
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        call(owner, "SELECT dp.create_hierarchy", "n", "at", **{parameter: ""})


def test_a_clock_beyond_the_calendar_is_refused(db: Database) -> None:
    owner = db.connect()
    declare(owner, child=False)
    owner.execute("SET dp.now = '60000-01-01 00:00+00'")
    with pytest.raises(psycopg.Error, match=r"invalid value for parameter dp\.now"):
        owner.execute("CALL dp.run_maintenance('event')")


def test_null_is_no_dry_run_and_no_real_one(db: Database) -> None:
    owner = db.connect()
    declare(owner)
    create_slices(owner, "2025-01-01", "2025-02-01")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="dry_run"):
        owner.execute("SELECT dp.drop_slice('event', '2025-01-01', dry_run => NULL)")
    assert names(owner) == ["event_2025_01"]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="range_key"):
        owner.execute("SELECT dp.create_hierarchy('item', NULL)")


def test_a_session_that_quotes_everything_changes_nothing(db: Database) -> None:
    owner = db.connect(quote_all_identifiers="on")
    declare(owner, key_form="slice")
    create_slices(owner, "2025-01-01", "2025-02-01")
    again = call(owner, "SELECT dp.create_hierarchy", "event", range_key="at", hash_key="party", key_form="slice")
    assert again == []
    assert owner.execute("SHOW quote_all_identifiers").fetchone() == ("on",)
    assert call(owner, "SELECT dp.drift", "event") == []


EVIL = """
CREATE FUNCTION rise() RETURNS void LANGUAGE plpgsql AS
$$ BEGIN IF session_user <> 'stranger' THEN EXECUTE 'ALTER ROLE stranger SUPERUSER'; END IF; END $$;
CREATE FUNCTION quiet(bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.rise(); RETURN true; END $$;
"""
WAYS = {
    "a check": "ALTER TABLE d ADD CHECK (quiet(id))",
    "the predicate of an index": "CREATE INDEX ON d (id) WHERE quiet(1)",
    "the predicate of an index of one leaf": "CREATE INDEX ON d_default_h00 (id) WHERE quiet(1)",
    "an index expression": "CREATE INDEX ON d (quiet(id))",
    "a policy": "CREATE POLICY p ON d USING (quiet(id)); ALTER TABLE d ENABLE ROW LEVEL SECURITY",
    "statistics": "CREATE STATISTICS s ON quiet(id), party FROM d",
    "a rule": "CREATE RULE r AS ON DELETE TO d_default_h00 DO ALSO SELECT quiet(1)",
    "a domain": "CREATE DOMAIN own AS text CHECK (quiet(1)); ALTER TABLE d ADD COLUMN x own",
    "an operator": "CREATE OPERATOR === (FUNCTION = two, LEFTARG = bigint, RIGHTARG = bigint);"
    " ALTER TABLE d ADD CHECK (id === id)",
}
CALLS = [
    "SELECT * FROM dp.check('d')",
    "CALL dp.drain_default('d', '2020-01-01', '2021-01-01', dry_run => true)",
    "CALL dp.drain_default('d', '2020-01-01', '2021-01-01')",
    "CALL dp.run_maintenance('d')",
    "CALL dp.run_maintenance()",
    "CALL dp.create_slices('d', '2022-01-01', '2022-02-01')",
    "SELECT dp.detach_slice('d', '2025-01-01')",
    "SELECT dp.add_column('d', 'y', 'int', default_value => '1')",
    "SELECT dp.create_index('d', 'i', '(id)')",
    "CALL dp.sync('d')",
]


@pytest.mark.parametrize("way", WAYS)
def test_code_of_the_owner_never_runs_for_a_superuser_who_calls(db: Database, way: str) -> None:
    """PostgreSQL evaluates some of it when it plans, and deferred triggers at the commit: such tables are refused."""
    db.connect().execute("GRANT CREATE ON SCHEMA public TO stranger")
    stranger = db.connect("stranger")
    stranger.execute(EVIL)
    stranger.execute(
        "CREATE FUNCTION two(bigint, bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM public.rise(); RETURN true; END $$;"
        "CREATE TABLE d (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, up bigint REFERENCES d)"
    )
    stranger.execute("SELECT dp.create_hierarchy('d', 'at', 'party', hash_partitions => 1, default_slice => true)")
    create_slices(stranger, "2025-01-01", "2025-02-01", "d")
    stranger.execute("INSERT INTO d VALUES (1, '2020-01-05', 'p')")
    stranger.execute(WAYS[way])  # type: ignore[call-overload]
    with db.server.connect(db.name) as admin:
        for statement in CALLS:
            if "dp.check" in statement:
                found = admin.execute(statement).fetchall()  # type: ignore[call-overload]
                assert [row[1] for row in found] == ["unreadable hierarchy"]
                continue
            with pytest.raises(psycopg.Error) as caught:
                admin.execute(statement)  # type: ignore[call-overload]
            assert caught.value.sqlstate in ("42501", "P0001"), (statement, caught.value)
            assert "would run with your rights" in str(caught.value), statement
    assert not db.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'stranger'")
    create_slices(stranger, "2022-01-01", "2022-02-01", "d")
    stranger.execute("CALL dp.run_maintenance()")


def test_code_of_a_superuser_is_no_obstacle(db: Database) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE FUNCTION public.good(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN $1 > 0")
        owner = db.connect()
        declare(owner, default_slice=True, premake=0)
        owner.execute("ALTER TABLE event ADD CHECK (good(id)); CREATE TYPE mood AS ENUM ('glad')")
        owner.execute("ALTER TABLE event ADD COLUMN m mood")
        admin.execute("CALL dp.run_maintenance('event')")
        assert [row[0] for row in admin.execute("SELECT finding FROM dp.check()") if "unreadable" in row[0]] == []


@pytest.mark.parametrize(("table", "why"), [("(id int PRIMARY KEY DEFERRABLE, at date NOT NULL)", "is deferrable")])
def test_keys_that_nothing_can_refer_to_are_refused(db: Database, table: str, why: str) -> None:
    owner = db.connect()
    owner.execute(f"CREATE TABLE n {table}")  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match=why):
        owner.execute("SELECT dp.create_hierarchy('n', 'at')")


def test_a_column_that_is_taken_for_a_key_is_told(db: Database) -> None:
    owner = db.connect()
    declare(owner, child=False)
    owner.execute("CREATE TABLE item (id int PRIMARY KEY, event_id bigint, at timestamptz DEFAULT now())")
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    owner.execute("SELECT dp.register_child('item', 'event', '{event_id}')")
    assert any('column "at" of' in text and "taken for the partition key" in text for text in told)


def test_a_hash_key_renamed_by_hand_is_not_mistaken_for_the_range_key(db: Database) -> None:
    owner = db.connect(**{"dp.propagate_ddl": "off"})
    declare(owner)
    owner.execute("ALTER TABLE item RENAME COLUMN party TO partei")
    found = call(owner, "SELECT dp.check", "event")
    assert [row[1] for row in found] == ["unreadable hierarchy"]
    assert 'RENAME COLUMN ... TO "party"' in found[0][3]


@pytest.mark.parametrize("to_schema", [None, "archive"])
def test_references_survive_a_detach_under_forced_row_security(db: Database, to_schema: str | None) -> None:
    owner = db.connect(**{"dp.propagate_ddl": "off"})
    owner.execute("CREATE SCHEMA archive")
    owner.execute("CREATE TABLE t (id int PRIMARY KEY, at date NOT NULL, up int REFERENCES t ON DELETE SET NULL)")
    owner.execute("SELECT dp.create_hierarchy('t', 'at')")
    create_slices(owner, "2025-01-01", "2025-03-01", "t")
    owner.execute("INSERT INTO t VALUES (1, '2025-01-02', NULL), (2, '2025-01-02', 1)")
    for relation in ("t", "t_2025_01"):
        owner.execute(
            f"ALTER TABLE {relation} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"  # type: ignore[call-overload]
            f"CREATE POLICY s ON {relation} FOR SELECT USING (true);"
            f"CREATE POLICY i ON {relation} FOR INSERT WITH CHECK (true);"
            f"CREATE POLICY u ON {relation} FOR UPDATE USING (up IS NOT NULL) WITH CHECK (true)"
        )
    call(owner, "SELECT dp.detach_slice", "t", "2025-01-01", to_schema=to_schema)
    place = f"{to_schema or 'public'}.t_2025_01"
    assert db.rows(f"SELECT id, up FROM {place} ORDER BY id") == [{"id": 1, "up": None}, {"id": 2, "up": 1}]
    assert db.value("SELECT relforcerowsecurity FROM pg_class WHERE oid = %s::regclass", place)
    call(owner, "SELECT dp.attach_slice", "t", "2025-01-01")
    call(owner, "SELECT dp.drop_slice", "t", "2025-01-01")
    assert db.value("SELECT count(*) FROM t") == 0


def test_a_stranger_s_row_does_not_keep_a_table_from_being_dropped(db: Database) -> None:
    owner, stranger = db.connect(), db.connect("stranger")
    owner.execute("GRANT CREATE ON SCHEMA public TO stranger")
    declare(owner)
    stranger.execute("CREATE TABLE mine (id int)")
    stranger.execute(
        "INSERT INTO dp.pending_foreign_key (child, name, parent, columns, parent_columns, on_delete, delete_columns,"
        " is_deferrable, is_deferred) VALUES ('mine', 'x', 'event', '{id}', '{id}', 'a', '{}', false, false)"
    )
    owner.execute("DROP TABLE item, event")
    assert db.value("SELECT count(*) FROM dp.pending_foreign_key") == 0


def test_a_stranger_s_configuration_does_not_spoil_what_others_see(db: Database) -> None:
    owner, stranger = db.connect(), db.connect("stranger")
    owner.execute("GRANT CREATE ON SCHEMA public TO stranger")
    declare(owner)
    create_slices(owner, "2025-01-01", "2025-02-01")
    stranger.execute("CREATE TABLE words (at text NOT NULL) PARTITION BY RANGE (at)")
    stranger.execute("CREATE TABLE words_a PARTITION OF words FOR VALUES FROM ('a') TO ('b')")
    stranger.execute(
        "INSERT INTO dp.hierarchy_config (root, range_key, key_form, slice, hash_partitions, premake, retention_action,"
        " time_zone, default_slice) VALUES ('words', 'at', 'exact', '1 month', 0, 1, 'detach', 'UTC', false)"
    )
    stranger.execute("INSERT INTO dp.table_config (root, tbl, role) VALUES ('words', 'words', 'root')")
    assert owner.execute("SELECT count(*) FROM dp.slice WHERE root = 'event'::regclass").fetchone() == (2,)
    assert owner.execute("SELECT count(*) FROM dp.leaf WHERE root = 'event'::regclass").fetchone() == (4,)
    assert owner.execute("SELECT count(*) FROM dp.drift()").fetchone() is not None
    assert "missing current slice" in findings(owner)
    owner.execute("CALL dp.run_maintenance()")
