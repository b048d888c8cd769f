"""dp.convert of rows that refer to rows of other root rows: refused, or kept by foreign keys to global indexes."""

from __future__ import annotations

import psycopg
import pytest

from tests.server.test_convert import COLUMNS, CONVERT, PLAIN, contents, definitions, kinds
from tests.support.database import Database
from tests.support.hierarchies import Connection

# Message 8 of event 9 answers message 2 of event 3; each tenth note of event n is about a message of event n + 1.
DISAGREEING = """
CREATE TABLE note (
    id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event ON DELETE CASCADE,
    message_id bigint CONSTRAINT about REFERENCES message ON DELETE SET NULL DEFERRABLE
);
INSERT INTO note SELECT i, i, CASE WHEN i % 10 = 0 THEN i ELSE i - 1 END FROM generate_series(2, 390) AS i;
UPDATE message SET answers = 2 WHERE id = 8;
CREATE INDEX note_message ON note (message_id);
COMMENT ON CONSTRAINT about ON note IS 'what it is about';
"""
WITH_NOTES = {**COLUMNS, "note": "id, event_id, message_id"}
PLAN = "SELECT tbl::text, severity, detail, statement FROM dp.plan_conversion('event', 'at', 'party'"
KEPT = "disagreeing => 'keep'"
KEYS = {"exact": "at", "slice": "at_slice"}


@pytest.fixture
def plain(db: Database) -> Database:
    db.connect().execute(PLAIN + DISAGREEING)
    return db


def comments(db: Database) -> list[tuple[str, str]]:
    rows = db.rows("SELECT conname, obj_description(oid, 'pg_constraint') AS told FROM pg_constraint")
    return sorted((row["conname"], row["told"]) for row in rows if row["told"] is not None)


def found(owner: Connection, options: str = "") -> dict[str, tuple[str, str, str]]:
    rows = owner.execute(f"{PLAN}{options}) WHERE finding = 'parents disagree'").fetchall()
    return {row[0]: row[1:] for row in rows}


def keys(db: Database) -> dict[str, str]:
    rows = db.rows(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'public'::regnamespace"
    )
    return {row["conname"]: row["definition"] for row in rows}


def test_they_are_counted_and_refused_with_the_query_that_shows_them(plain: Database) -> None:
    owner = plain.connect()
    told = found(owner)
    assert {table: (severity, detail[:36]) for table, (severity, detail, _) in told.items()} == {
        "message": ("error", '1 rows refer by "message_answers_fke'),
        "note": ("error", '39 rows refer by "about" to rows of '),
    }
    assert [row[0] for row in owner.execute(told["message"][2]).fetchall()] == [8]  # type: ignore[call-overload]
    assert {row[0] % 10 for row in owner.execute(told["note"][2]).fetchall()} == {0}  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="parents disagree"):
        owner.execute(CONVERT + ")")
    assert set(kinds(plain).values()) == {"r"}


@pytest.mark.parametrize("key_form", KEYS)
@pytest.mark.parametrize("allow_weaker", ["true", "false"])
def test_kept_their_foreign_keys_refer_to_the_global_index(plain: Database, key_form: str, allow_weaker: str) -> None:
    owner = plain.connect()
    before, described, keys_before = contents(plain, WITH_NOTES), definitions(plain), keys(plain)
    options = f", key_form => '{key_form}', allow_weaker_unique => {allow_weaker}, {KEPT}"
    told = found(owner, options)
    assert {table: severity for table, (severity, _, _) in told.items()} == {"message": "warning", "note": "warning"}
    assert 'No index begins with "answers"' in told["message"][1]
    assert "No index" not in told["note"][1]
    owner.execute(CONVERT + options + ")")
    assert contents(plain, WITH_NOTES) == before
    made = keys(plain)
    key = KEYS[key_form]
    assert made["about"] == "FOREIGN KEY (message_id) REFERENCES message_id_global(id) ON DELETE SET NULL DEFERRABLE"
    assert made["message_answers_fkey"] == (
        "FOREIGN KEY (answers) REFERENCES message_id_global(id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED"
    )
    assert f"FOREIGN KEY (event_id, {key}, party)" in made["note_event_id_fkey"]
    assert comments(plain)[0] == ("about", "what it is about")
    assert plain.rows("SELECT * FROM dp.drift()") == []
    assert plain.rows("SELECT * FROM dp.check() WHERE severity = 'error'") == []
    lacking = "SELECT target, detail, statement FROM dp.check() WHERE detail LIKE '%that goes reads%'"
    [(target, detail, statement)] = [tuple(row.values()) for row in plain.rows(lacking)]
    assert (target, "message_answers_fkey" in detail) == ('"public"."message"', True)
    with plain.connect() as mending, mending.transaction(force_rollback=True):
        mending.execute(statement)
        assert mending.execute(lacking).fetchall() == []  # type: ignore[call-overload]
    they_hold(plain, owner, key)
    now = contents(plain, WITH_NOTES)
    owner.execute("SELECT dp.drop_converted('event')")
    owner.execute("CALL dp.unconvert('event')")
    assert contents(plain, WITH_NOTES) == now
    assert definitions(plain) == described
    assert keys(plain) == keys_before
    assert comments(plain) == [("about", "what it is about")]
    assert plain.rows("SELECT relname FROM pg_class WHERE relname ~ '_global' AND relkind IN ('r', 'p')") == []


def they_hold(db: Database, owner: Connection, key: str) -> None:
    """Foreign keys to the global index are enforced, also when what they refer to moves or is retired."""
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="about"):
        owner.execute("UPDATE note SET message_id = -1 WHERE id = 20")
    # Rows that come together may refer to each other, and to themselves.
    owner.execute(
        f"INSERT INTO message (id, event_id, answers, body, {key}, party) SELECT 2000 + i, 9, 2001 + i % 3, 'b' || i,"
        f" {key}, party FROM generate_series(1, 3) AS i, event WHERE event.id = 9"
    )
    owner.execute("UPDATE message SET answers = id WHERE id = 2003")
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="message_answers_fkey"):
        owner.execute("UPDATE message SET answers = -1 WHERE id = 2003")
    # Those of two tables in one statement are checked too early, unless they are checked at the commit.
    both = (
        f"WITH m AS (INSERT INTO message (id, event_id, {key}, party) SELECT 2004, 9, {key}, party FROM event"
        f" WHERE id = 9 RETURNING id) INSERT INTO note (id, event_id, message_id, {key}, party)"
        f" SELECT 2004, 8, m.id, {key}, party FROM m, event WHERE event.id = 8"
    )
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="about"):
        owner.execute(both)
    owner.execute("ALTER TABLE note ALTER CONSTRAINT about DEFERRABLE INITIALLY DEFERRED")
    owner.execute(both)
    owner.execute("DELETE FROM message WHERE id > 2000")
    assert db.rows("SELECT message_id FROM note WHERE id = 2004") == [{"message_id": None}]
    owner.execute("DELETE FROM note WHERE id = 2004")
    # Event 21 moves with its messages; note 20 of event 20, which is about one of them, stays where it is.
    owner.execute("UPDATE event SET at = '2023-05-06' WHERE id = 21")
    assert db.value("SELECT message_id FROM note WHERE id = 20") == 20
    assert db.value(f"SELECT n.{key} <> m.{key} FROM note n JOIN message m ON m.id = n.message_id WHERE n.id = 20")
    owner.execute("DELETE FROM message WHERE id IN (2, 20)")
    assert db.value("SELECT count(*) FROM note WHERE id = 20 AND message_id IS NULL") == 1
    assert db.value("SELECT count(*) FROM message WHERE id = 8 AND answers IS NULL") == 1


FIRST = (
    "SELECT lower_bound::date::text, upper_bound::date::text, slice::text FROM dp.slice"
    " WHERE tbl = 'note'::regclass ORDER BY 1 LIMIT 1"
)


def test_slices_come_and_go_with_their_foreign_keys(plain: Database) -> None:
    owner = plain.connect()
    owner.execute(f"{CONVERT}, {KEPT})")
    before = contents(plain, WITH_NOTES)
    lower, upper, notes = owner.execute(FIRST).fetchall()[0]
    keys_of = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = %s::regclass ORDER BY 1"
    attached = plain.rows(keys_of, notes)
    assert "about" in {row["conname"] for row in attached}
    owner.execute("SELECT dp.detach_slice('event', %s)", [lower])
    assert plain.rows(keys_of, notes) == [], "what is detached refers to nothing"
    owner.execute("SELECT dp.attach_slice('event', %s, %s)", [lower, upper])
    assert plain.rows(keys_of, notes) == attached
    assert contents(plain, WITH_NOTES) == before, "what went and came together has kept its references"
    assert plain.rows("SELECT * FROM dp.drift()") == []
    # A note of the slice is about a message of a later one, which nothing keeps from going with it.
    owner.execute("SELECT dp.drop_slice('event', %s)", [lower])
    gone = {row[0] for row in before["event"]} - {row[0] for row in contents(plain)["event"]}
    assert gone
    left = [row for row in before["note"] if row[1] not in gone]
    assert contents(plain, {"note": WITH_NOTES["note"]})["note"] == left


# Event 901 lies behind all slices, event 902 before them. Each has a message and a note, which refer to others' ones:
# message 9901 answers message 2 of event 3, and message 3 of event 4 answers message 9901; note 9901 is about a message
# of event 20, and note 19 of event 19 about message 9901. Those of event 902 refer to those of event 901.
OUTSIDE = """
INSERT INTO event ({key}id, party, at, kind_id, org)
    VALUES ({far}901, 'far', '2105-05-05', 1, 'x'), ({early}902, 'early', '1985-05-05', 1, 'x');
INSERT INTO message (id, event_id, answers, body, {keys})
    SELECT id + 9000, id, CASE id WHEN 901 THEN 2 ELSE 9901 END, 'outside', {keys} FROM event WHERE id > 900;
INSERT INTO note (id, event_id, message_id, {keys})
    SELECT id + 9000, id, CASE id WHEN 901 THEN 20 ELSE 9901 END, {keys} FROM event WHERE id > 900;
UPDATE message SET answers = 9901 WHERE id = 3;
UPDATE note SET message_id = 9901 WHERE id = 19;
"""
WHERE = (
    "SELECT 'event ' || id, (SELECT r.relname FROM pg_class c, pg_inherits i, pg_class r WHERE c.oid = t.tableoid"
    " AND i.inhrelid = c.oid AND r.oid = i.inhparent) FROM event AS t WHERE id > 900"
)


def outside(db: Database, key_form: str) -> Connection:
    """The converted hierarchy with a default slice, and rows in it."""
    owner = db.connect(**{"dp.now": "2025-06-15 12:00+00"})
    owner.execute(f"{CONVERT}, key_form => '{key_form}', {KEPT})")
    owner.execute("SELECT dp.configure('event', default_slice => true)")
    owner.execute("CALL dp.run_maintenance('event')")
    sliced = key_form == "slice"
    owner.execute(
        OUTSIDE.format(
            key="at_slice, " if sliced else "",
            far="'2105-05-01', " if sliced else "",
            early="'1985-05-01', " if sliced else "",
            keys=f"{KEYS[key_form]}, party",
        )
    )
    return owner


def is_sound(db: Database, owner: Connection) -> None:
    """Nothing is amiss, and each row has its entry."""
    assert db.rows("SELECT * FROM dp.drift()") == []
    assert db.rows("SELECT * FROM dp.check() WHERE severity = 'error'") == []
    told = owner.execute(
        "SELECT g.side, v.* FROM dp.global_index_config AS g CROSS JOIN dp.verify_global_index(g.side) AS v"
    ).fetchall()
    assert told == []


@pytest.mark.parametrize("key_form", KEYS)
def test_rows_of_the_default_slice_keep_their_references_when_they_move(plain: Database, key_form: str) -> None:
    described, keys_before = definitions(plain), keys(plain)
    owner = outside(plain, key_form)
    assert dict(owner.execute(WHERE).fetchall()) == {"event 901": "event_default", "event 902": "event_default"}
    before = contents(plain, WITH_NOTES)
    is_sound(plain, owner)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="message_answers"):
        owner.execute("UPDATE message SET answers = -1 WHERE id = 9902")

    owner.execute("CALL dp.drain_default('event', '2100-01-01', '2110-01-01')")
    assert dict(owner.execute(WHERE).fetchall()) == {
        "event 901": "event_21000101_21100101",
        "event 902": "event_default",
    }
    assert contents(plain, WITH_NOTES) == before, "no reference went with a row that moved"
    is_sound(plain, owner)

    # A family goes into the default slice, inside it, and out of it; what refers to it from elsewhere stays as it is.
    for moment in ("1985-01-02", "1985-09-03", "2011-01-02"):
        owner.execute("UPDATE event SET at = %s WHERE id IN (901, 902)", [moment])
        after = contents(plain, WITH_NOTES)
        assert {table: after[table] for table in ("message", "item", "word", "note")} == {
            table: before[table] for table in ("message", "item", "word", "note")
        }, moment
        is_sound(plain, owner)
    owner.execute("UPDATE event SET at = '1985-05-05' WHERE id IN (901, 902)")
    owner.execute("DELETE FROM message WHERE id = 9901")
    lost = (
        "SELECT answers FROM message WHERE id IN (3, 9902) UNION ALL SELECT message_id FROM note WHERE id IN (19, 9902)"
    )
    assert owner.execute(lost).fetchall() == [(None,)] * 4
    now = contents(plain, WITH_NOTES)
    owner.execute("SELECT dp.drop_converted('event')")
    owner.execute("CALL dp.unconvert('event')")
    assert contents(plain, WITH_NOTES) == now
    assert definitions(plain) == described
    assert keys(plain) == keys_before


@pytest.mark.parametrize("key_form", KEYS)
def test_slices_go_whose_rows_the_default_slice_refers_to(plain: Database, key_form: str) -> None:
    owner = outside(plain, key_form)
    owner.execute("CALL dp.drain_default('event', '2100-01-01', '2110-01-01')")
    owner.execute("SELECT dp.detach_slice('event', '2100-01-01')")
    references = "SELECT (SELECT answers FROM message WHERE id = {0}), (SELECT message_id FROM note WHERE id = {0})"
    assert owner.execute(references.format(9902)).fetchall() == [(None, None)]
    is_sound(plain, owner)
    lower, upper = "2100-01-01", "2110-01-01"
    owner.execute("SELECT dp.attach_slice('event', %s, %s)", [lower, upper])
    assert owner.execute(references.format(9901)).fetchall() == [(2, 20)], "what it refers to was there all the time"
    is_sound(plain, owner)
    owner.execute("UPDATE note SET message_id = 9901 WHERE id = 9902")
    owner.execute("SELECT dp.drop_slice('event', %s)", [lower])
    assert owner.execute(references.format(9902)).fetchall() == [(None, None)]
    is_sound(plain, owner)


def test_owners_that_disagree_are_decided_by_the_owner_path(db: Database) -> None:
    owner = db.connect()
    owner.execute(PLAIN)
    owner.execute("UPDATE item SET message_id = (SELECT max(id) FROM message WHERE event_id = 9) WHERE id = 2")
    before, described = contents(db), definitions(db)
    severity, detail, query = found(owner, f", {KEPT}")["item"]
    assert (severity, detail[:42]) == ("error", "1 rows have owners of different root rows:")
    assert [row[0] for row in owner.execute(query).fetchall()] == [2]  # type: ignore[call-overload]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="parents disagree"):
        owner.execute(f"{CONVERT}, {KEPT})")
    path = """owner_paths => '{"public.item": ["item_event_id_fkey"]}', orphans => 'keep'"""
    owner.execute(f"{CONVERT}, {KEPT}, {path})")
    assert contents(db) == before
    assert keys(db)["item_message_id_fkey"] == (
        "FOREIGN KEY (message_id) REFERENCES message_id_global(id) ON DELETE CASCADE"
    )
    owner.execute("SELECT dp.drop_converted('event')")
    owner.execute("CALL dp.unconvert('event')")
    assert (contents(db), definitions(db)) == (before, described)
