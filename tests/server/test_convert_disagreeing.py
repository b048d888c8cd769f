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
"""
WITH_NOTES = {**COLUMNS, "note": "id, event_id, message_id"}
PLAN = "SELECT tbl::text, severity, detail, statement FROM dp.plan_conversion('event', 'at', 'party'"
KEPT = "disagreeing => 'keep'"
KEYS = {"exact": "at", "slice": "at_slice"}


@pytest.fixture
def plain(db: Database) -> Database:
    db.connect().execute(PLAIN + DISAGREEING)
    return db


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
    owner.execute(CONVERT + options + ")")
    assert contents(plain, WITH_NOTES) == before
    made = keys(plain)
    key = KEYS[key_form]
    assert made["about"] == "FOREIGN KEY (message_id) REFERENCES message_id_global(id) ON DELETE SET NULL DEFERRABLE"
    assert made["message_answers_fkey"] == ("FOREIGN KEY (answers) REFERENCES message_id_global(id) ON DELETE SET NULL")
    assert f"FOREIGN KEY (event_id, {key}, party)" in made["note_event_id_fkey"]
    assert plain.rows("SELECT * FROM dp.drift()") == []
    assert plain.rows("SELECT * FROM dp.check() WHERE severity = 'error'") == []
    they_hold(plain, owner, key)
    now = contents(plain, WITH_NOTES)
    owner.execute("SELECT dp.drop_converted('event')")
    owner.execute("CALL dp.unconvert('event')")
    assert contents(plain, WITH_NOTES) == now
    assert definitions(plain) == described
    assert keys(plain) == keys_before
    assert plain.rows("SELECT relname FROM pg_class WHERE relname ~ '_global' AND relkind IN ('r', 'p')") == []


def they_hold(db: Database, owner: Connection, key: str) -> None:
    """Foreign keys to the global index are enforced, also when what they refer to moves or is retired."""
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="about"):
        owner.execute("UPDATE note SET message_id = -1 WHERE id = 20")
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
