"""dp.convert: plain tables that hold rows become a hierarchy, with everything they had, and back."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.support.database import Database

Connection = psycopg.Connection[Any]

PLAIN = """
CREATE TABLE kind (id int PRIMARY KEY, name text);
INSERT INTO kind SELECT i, 'kind ' || i FROM generate_series(1, 3) AS i;
CREATE TABLE event (
    id bigint PRIMARY KEY, party text COLLATE "C" NOT NULL, at timestamptz NOT NULL,
    kind_id int NOT NULL REFERENCES kind,
    org text NOT NULL, key text, mask int NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX event_org_key ON event (org, key) WHERE key IS NOT NULL;
CREATE INDEX event_kind ON event (kind_id);
CREATE TABLE message (
    id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event ON DELETE CASCADE,
    answers bigint REFERENCES message ON DELETE SET NULL, body text, UNIQUE (event_id, body)
);
CREATE TABLE item (
    id bigint PRIMARY KEY, event_id bigint REFERENCES event ON DELETE CASCADE,
    message_id bigint REFERENCES message ON DELETE CASCADE, name text
);
CREATE TABLE word (
    item_id bigint NOT NULL REFERENCES item ON DELETE CASCADE, language text, PRIMARY KEY (item_id, language)
);
INSERT INTO event SELECT i, 'party ' || i % 7, '2007-03-01'::timestamptz + i * interval '17 days', i % 3 + 1, 'org', i
    FROM generate_series(1, 400) AS i;
INSERT INTO message SELECT i, i % 400 + 1, CASE WHEN i > 800 THEN i - 400 END, 'body ' || i
    FROM generate_series(1, 1200) AS i;
INSERT INTO item SELECT i, CASE WHEN i % 2 = 0 THEN i % 400 + 1 END, CASE WHEN i % 2 = 1 THEN i % 1200 + 1 END, 'i'
    FROM generate_series(1, 2000) AS i;
INSERT INTO word SELECT i % 2000 + 1, i % 3 FROM generate_series(1, 4000) AS i ON CONFLICT DO NOTHING;
"""
TABLES = ("event", "message", "item", "word")
COLUMNS = {
    "event": "id, party, at, kind_id, org, key, mask",
    "message": "id, event_id, answers, body",
    "item": "id, event_id, message_id, name",
    "word": "item_id, language",
}
CONVERT = "CALL dp.convert('event', 'at', 'party', slice => '10 years', hash_partitions => 2"
STATE = "SELECT state FROM dp.conversion_config"


@pytest.fixture
def plain(db: Database) -> Database:
    db.begin_with(make_plain)
    return db


@pytest.fixture
def stopped(db: Database) -> Database:
    """The plain tables, with a conversion that is done but for the exchange."""
    db.begin_with(make_stopped)
    return db


def make_plain(db: Database) -> None:
    with db.connect() as owner:
        owner.execute(PLAIN)


def make_stopped(db: Database) -> None:
    make_plain(db)
    stop_before_the_exchange(db, db.connect())


def contents(database: Database, columns: dict[str, str] = COLUMNS) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables, by the columns that they had."""
    owner = database.connect()
    return {
        table: owner.execute(f"SELECT {names} FROM {table} ORDER BY {names}").fetchall()
        for table, names in columns.items()
    }


def kinds(database: Database) -> dict[str, str]:
    """Whether each table is a plain or a partitioned one."""
    rows = database.rows(
        "SELECT relname, relkind::text FROM pg_class"
        " WHERE relname = ANY (%s) AND relnamespace = 'public'::regnamespace",
        list(TABLES),
    )
    return {row["relname"]: row["relkind"] for row in rows}


def definitions(database: Database) -> list[tuple[object, ...]]:
    """Columns, indexes and constraints of the tables."""
    rows = database.rows(
        "SELECT attrelid::regclass::text AS tbl, attname AS name, format_type(atttypid, atttypmod)"
        " || attnotnull::text AS definition FROM pg_attribute WHERE attrelid = ANY (%s::regclass[]) AND attnum > 0"
        " AND NOT attisdropped UNION ALL SELECT indrelid::regclass::text, indexrelid::regclass::text,"
        " pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = ANY (%s::regclass[])"
        " UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = ANY (%s::regclass[]) ORDER BY 1, 2, 3",
        *[list(TABLES)] * 3,
    )
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_all_rows_arrive_the_rules_hold_and_all_is_as_before_when_they_go_back(plain: Database, key_form: str) -> None:
    before, described = contents(plain), definitions(plain)
    owner = plain.connect()
    owner.execute(f"{CONVERT}, key_form => %s)", [key_form])
    assert contents(plain) == before
    assert kinds(plain) == dict.fromkeys(TABLES, "p")
    assert plain.rows("SELECT * FROM dp.drift() LIMIT 5") == []
    assert plain.rows("SELECT * FROM dp.check() WHERE severity = 'error'") == []
    key = ("at_slice, ", "'2001-01-01', ") if key_form == "slice" else ("", "")
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(
            f"INSERT INTO event ({key[0]}id, party, at, kind_id, org) VALUES ({key[1]}1, 'new', '2001-01-20', 1, 'x')"
        )
    column = "at_slice" if key_form == "slice" else "at"
    owner.execute("UPDATE event SET at = '2023-05-06' WHERE id = 7")
    apart = plain.value(
        f"SELECT count(*) FROM word w JOIN item i ON i.id = w.item_id LEFT JOIN message m ON m.id = i.message_id"
        f" JOIN event e ON e.id = coalesce(i.event_id, m.event_id) WHERE e.{column} <> w.{column}"
    )
    assert apart == 0, "a change of the range key reaches the great-grandchildren"
    owner.execute("UPDATE event SET at = '2007-03-01'::timestamptz + id * interval '17 days' WHERE id = 7")

    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"plain tables of public\.event are there"):
        owner.execute("CALL dp.unconvert('event')")
    assert plain.value("SELECT count(*) FROM public_converted.event") == 400
    owner.execute("SELECT dp.drop_converted('event')")
    owner.execute("CALL dp.unconvert('event')")
    assert kinds(plain) == dict.fromkeys(TABLES, "r")
    assert contents(plain) == before
    assert definitions(plain) == described
    leftovers = plain.rows(
        "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'public%%_con%%' UNION ALL SELECT relname FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> ALL (%s)"
        " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " UNION ALL SELECT root::text FROM dp.hierarchy_config",
        [*TABLES, "kind"],
    )
    assert leftovers == []


def test_called_twice_it_does_nothing_and_afterwards_neither(plain: Database) -> None:
    owner = plain.connect()
    owner.execute(CONVERT + ")")
    leaves = plain.value("SELECT count(*) FROM dp.leaf")
    owner.execute(CONVERT + ")")
    owner.execute("CALL dp.cancel_conversion('kind')")
    assert plain.value("SELECT count(*) FROM dp.leaf") == leaves
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="took the place"):
        owner.execute("CALL dp.cancel_conversion('event')")
    assert len(owner.execute("SELECT * FROM dp.drop_converted('event')").fetchall()) > 1
    assert owner.execute("SELECT * FROM dp.drop_converted('event')").fetchall() == []


def test_rows_without_a_parent_are_refused_or_kept(plain: Database) -> None:
    owner = plain.connect()
    owner.execute("INSERT INTO item VALUES (5001, NULL, NULL, 'lost'), (5002, NULL, NULL, 'too')")
    owner.execute("INSERT INTO word VALUES (5001, 'xx')")
    before = contents(plain)
    found = owner.execute(
        "SELECT tbl::text, detail FROM dp.plan_conversion('event', 'at', 'party') WHERE severity = 'error'"
    ).fetchall()
    assert [(table, detail.split(" have ")[0]) for table, detail in found] == [("item", "2 rows"), ("word", "1 rows")]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="rows without a parent"):
        owner.execute(CONVERT + ")")
    assert kinds(plain) == dict.fromkeys(TABLES, "r")
    owner.execute(CONVERT + ", orphans => 'keep')")
    assert contents(plain) == before
    assert plain.value("SELECT count(DISTINCT (at, party)) FROM item WHERE id > 5000") == 1


def test_rows_whose_parents_disagree_are_refused(plain: Database) -> None:
    owner = plain.connect()
    owner.execute("UPDATE item SET message_id = (SELECT max(id) FROM message WHERE event_id = 9) WHERE id = 2")
    owner.execute("UPDATE message SET answers = 2 WHERE id = 8")
    found = owner.execute(
        "SELECT tbl::text, finding FROM dp.plan_conversion('event', 'at', 'party') WHERE severity = 'error'"
    ).fetchall()
    assert found == [("message", "parents disagree"), ("item", "parents disagree")]


def test_a_table_that_stays_outside_refers_to_the_global_index(plain: Database) -> None:
    owner = plain.connect()
    owner.execute(
        "CREATE TABLE bookmark (id int PRIMARY KEY, event_id bigint NOT NULL CONSTRAINT marked REFERENCES event"
        " ON DELETE CASCADE); INSERT INTO bookmark SELECT i, i FROM generate_series(1, 50) AS i;"
        # its rule holds a parent's key, so that it needs no global index but for this
        "CREATE TABLE spelling (item_id bigint, language text, CONSTRAINT spelt FOREIGN KEY (language, item_id)"
        " REFERENCES word (language, item_id) ON DELETE CASCADE);"
        "INSERT INTO spelling SELECT item_id, language FROM word LIMIT 9;"
        "COMMENT ON CONSTRAINT marked ON bookmark IS 'as read'"
    )
    told = "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'marked'"
    owner.execute(CONVERT + ", exclude => '{bookmark, spelling}')")
    spelt = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'spelt'"
    assert plain.value(spelt) == (
        "FOREIGN KEY (language, item_id) REFERENCES word_item_id_language_global(language, item_id) ON DELETE CASCADE"
    )
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute("INSERT INTO spelling VALUES (1, 'none')")
    definition = plain.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'marked'")
    assert definition == "FOREIGN KEY (event_id) REFERENCES event_id_global(id) ON DELETE CASCADE"
    assert plain.value(told) == "as read"
    owner.execute("DELETE FROM event WHERE id = 3")
    assert plain.value("SELECT count(*) FROM bookmark") == 49
    owner.execute("SELECT dp.drop_converted('event')")
    owner.execute("CALL dp.unconvert('event')")
    definition = plain.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'marked'")
    assert definition == "FOREIGN KEY (event_id) REFERENCES event(id) ON DELETE CASCADE"
    assert plain.value(told) == "as read"
    assert plain.value(spelt) == (
        "FOREIGN KEY (language, item_id) REFERENCES word(language, item_id) ON DELETE CASCADE"
    )


DEPENDING = """
CREATE VIEW open_events WITH (security_barrier = true) AS SELECT id, party FROM event WHERE mask = 0;
CREATE VIEW parties AS SELECT DISTINCT party FROM open_events;
GRANT SELECT ON parties TO reader;
COMMENT ON VIEW parties IS 'who';
CREATE MATERIALIZED VIEW totals AS
    SELECT party, count(*) AS n FROM open_events JOIN message ON event_id = open_events.id GROUP BY party;
CREATE UNIQUE INDEX totals_party ON totals (party);
GRANT SELECT ON totals TO reader;
CREATE VIEW many AS SELECT party FROM totals WHERE n > 100;
COMMENT ON COLUMN many.party IS 'busy';
CREATE FUNCTION messages_of(event bigint) RETURNS bigint LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT count(*) FROM message WHERE event_id = event; END;
CREATE TABLE log (id bigint);
CREATE RULE written AS ON INSERT TO log DO ALSO UPDATE event SET mask = 1 WHERE event.id = new.id;
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.log SELECT -count(*) FROM gone; RETURN NULL; END';
CREATE TRIGGER counted AFTER DELETE ON message REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
ALTER TABLE message ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON message TO reader USING (EXISTS (SELECT FROM event WHERE event.id = message.event_id));
"""


def test_what_depends_on_the_tables_means_the_new_ones(plain: Database) -> None:
    owner = plain.connect()
    owner.execute(DEPENDING)
    views = {"open_events": "id, party", "parties": "party", "totals": "party, n", "many": "party"}
    before = contents(plain, views)
    owner.execute(CONVERT + ")")
    assert contents(plain, views) == before
    owner.execute("SELECT dp.drop_converted('event')")  # nothing means the plain tables any more
    assert plain.value("SELECT messages_of(7)") == 3
    assert plain.value("SELECT obj_description('parties'::regclass)") == "who"
    assert plain.value("SELECT col_description('many'::regclass, 1)") == "busy"
    assert (
        plain.value("SELECT reloptions::text FROM pg_class WHERE relname = 'open_events'") == "{security_barrier=true}"
    )
    for view in ("parties", "totals"):
        assert plain.value("SELECT has_table_privilege('reader', %s, 'SELECT')", view)
    owner.execute("INSERT INTO log VALUES (7)")
    assert plain.value("SELECT mask FROM event WHERE id = 7") == 1
    owner.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY totals")
    owner.execute("DELETE FROM message WHERE event_id = 7")
    assert plain.value("SELECT min(id) FROM log") == -3
    policies = plain.rows("SELECT polrelid::regclass::text AS tbl FROM pg_policy WHERE polname = 'own' ORDER BY 1")
    assert len(policies) == 1 + plain.value("SELECT count(*) * 3 FROM dp.slice WHERE tbl = 'message'::regclass")


def test_what_is_written_meanwhile_is_noticed(stopped: Database) -> None:
    plain = stopped
    owner = plain.connect()
    assert plain.value(STATE) == "copying"
    assert kinds(plain) == dict.fromkeys(TABLES, "r")
    owner.execute("UPDATE event SET mask = 5 WHERE id = 9")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="were changed after they had been copied"):
        owner.execute(CONVERT + ")")
    assert plain.value(STATE) == "changed"
    assert kinds(plain) == dict.fromkeys(TABLES, "r")
    before = contents(plain)
    owner.execute(CONVERT + ")")
    assert contents(plain) == before
    assert plain.value("SELECT mask FROM event WHERE id = 9") == 5


def test_it_goes_on_with_the_parameters_it_was_begun_with(stopped: Database) -> None:
    plain = stopped
    owner = plain.connect()
    for other in ("key_form => 'slice'", "exclude => '{item}'", "orphans => 'keep'"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="begun with another value of parameter"):
            owner.execute(f"{CONVERT}, {other})")
    assert kinds(plain) == dict.fromkeys(TABLES, "r")
    owner.execute(f"{CONVERT}, batch_blocks => 7)")
    assert kinds(plain) == dict.fromkeys(TABLES, "p")


def test_how_far_it_is_can_be_seen_in_rows(plain: Database) -> None:
    owner = plain.connect()
    with plain.server.connect(plain.name) as admin:  # another session looks whenever a batch is committed
        admin.execute("CREATE TABLE seen AS SELECT *, now() AS at FROM dp.progress LIMIT 0")
        admin.execute(
            "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            " 'BEGIN INSERT INTO public.seen SELECT *, now() FROM dp.progress; RETURN NULL; END'"
        )
        admin.execute("CREATE TRIGGER look AFTER UPDATE ON dp.conversion_step EXECUTE FUNCTION look()")
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    owner.execute(f"{CONVERT}, batch_blocks => 5)")
    item = [text for text in told if '"public"."item": ' in text]
    assert len(item) > 1
    assert re.fullmatch(r'.*"item": \d+ of 2000 rows copied, \d+ a second, \d+ s left', item[0])
    assert re.search(r": 2000 of 2000 rows copied, \d+ a second, 0 s left$", item[-1])
    shown = plain.rows(
        "SELECT done, total, rate, time_left FROM seen WHERE tbl::text ~ 'item' AND about = 'copy' AND total > 1"
    )
    assert {row["total"] for row in shown} == {2000}
    begun = [row for row in shown if row["done"] > 0]
    assert begun, "while the table was being copied"
    assert all(row["done"] <= 2000 and row["rate"] > 0 and row["time_left"] >= timedelta(0) for row in begun)


ALTERED = {
    "a column": "ALTER TABLE item ADD weight int DEFAULT 5",
    "an index": "CREATE INDEX by_name ON item (name)",
    "a check": "ALTER TABLE item ADD CHECK (id > 0)",
    "a view": "CREATE VIEW named AS SELECT name FROM item",
    "a table that refers to it": "CREATE TABLE label (item_id bigint REFERENCES item)",
    "a trigger": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    " CREATE TRIGGER t AFTER DELETE ON item FOR EACH ROW EXECUTE FUNCTION f()",
    "a privilege": "GRANT SELECT (name) ON item TO reader",
    "a name": "ALTER TABLE item RENAME COLUMN name TO title",
}


@pytest.mark.parametrize("case", ALTERED)
def test_what_is_altered_meanwhile_is_noticed(stopped: Database, case: str) -> None:
    plain = stopped
    owner = plain.connect()
    owner.execute(ALTERED[case])
    described = definitions(plain)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="were altered after the conversion had"):
        owner.execute(CONVERT + ")")
    assert kinds(plain) == dict.fromkeys(TABLES, "r")
    assert definitions(plain) == described
    owner.execute(CONVERT + ")")
    assert kinds(plain) == dict.fromkeys(TABLES, "p")
    assert plain.rows("SELECT * FROM dp.drift()") == []


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_session_that_would_not_see_what_others_write_is_refused(plain: Database, isolation: str) -> None:
    owner = plain.connect(default_transaction_isolation=isolation)
    with pytest.raises(psycopg.errors.InvalidTransactionState, match="cannot run in a transaction that is") as caught:
        owner.execute(CONVERT + ")")
    assert caught.value.sqlstate == "25000"
    assert kinds(plain) == dict.fromkeys(TABLES, "r")


def stop_before_the_exchange(plain: Database, owner: Connection) -> None:
    """A schema that the exchange makes is there when it comes to that."""
    with plain.server.connect(plain.name) as admin:
        admin.execute(
            "CREATE FUNCTION make_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            " 'BEGIN CREATE SCHEMA public_converted; RETURN NULL; END'"
        )
        admin.execute(
            "CREATE TRIGGER make_it AFTER UPDATE ON dp.conversion_config FOR EACH ROW"
            " WHEN (new.state = 'copying') EXECUTE FUNCTION make_it()"
        )
    with pytest.raises(psycopg.errors.DuplicateSchema):
        owner.execute(CONVERT + ")")
    with plain.server.connect(plain.name) as admin:
        admin.execute("DROP TRIGGER make_it ON dp.conversion_config")
        admin.execute("DROP SCHEMA public_converted")


@pytest.mark.parametrize("way", ["called", "printed"])
def test_given_up_nothing_is_left(stopped: Database, way: str) -> None:
    plain = stopped
    owner = plain.connect()
    before, described = contents(plain), definitions(plain)
    if way == "called":
        owner.execute("CALL dp.cancel_conversion('event')")
    else:
        reader = plain.connect(default_transaction_read_only="on")
        reader.execute("CALL dp.cancel_conversion('event', dry_run => true)")
        owner.execute("CALL dp.cancel_conversion('event', dry_run => true)")
        printed = owner.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall()
        assert plain.value("SELECT count(*) FROM dp.conversion_config") == 1, "a dry run changes nothing"
        for (statement,) in printed:
            owner.execute(statement)
    assert contents(plain) == before
    assert definitions(plain) == described
    for table in ("hierarchy_config", "table_config", "conversion_config", "conversion_table", "conversion_step"):
        assert plain.value(f"SELECT count(*) FROM dp.{table}") == 0
    assert plain.value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'public%%_con%%'") == 0


def test_a_superuser_converts_what_belongs_to_another(plain: Database) -> None:
    before = contents(plain)
    admin = plain.connect("postgres")
    admin.execute(CONVERT + ")")
    assert contents(plain) == before
    owners = plain.rows(
        "SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    assert owners == [{"owner": "owner"}]


def test_a_stranger_may_not(plain: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        plain.connect("stranger").execute(CONVERT + ")")
