"""dp.convert: plain tables that hold rows become a hierarchy, with everything they had."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Database

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


@pytest.fixture
def plain(db: Database) -> Database:
    with db.connect() as owner:
        owner.execute(PLAIN)
    return db


def contents(database: Database, tables: tuple[str, ...] = TABLES) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables, by the columns that they had."""
    owner = database.connect()
    return {
        table: owner.execute(f"SELECT {COLUMNS[table]} FROM {table} ORDER BY {COLUMNS[table]}").fetchall()
        for table in tables
    }


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_all_rows_arrive_and_the_rules_hold(plain: Database, key_form: str) -> None:
    before = contents(plain)
    owner = plain.connect()
    owner.execute("CALL dp.convert('event', 'at', 'party', key_form => %s)", [key_form])
    assert contents(plain) == before
    kinds = plain.rows(
        "SELECT relname, relkind FROM pg_class WHERE relname = ANY (%s) AND relnamespace = 'public'::regnamespace",
        list(TABLES),
    )
    assert {row["relname"]: row["relkind"] for row in kinds} == dict.fromkeys(TABLES, "p")
    assert plain.rows("SELECT * FROM dp.drift() LIMIT 5") == []
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute("INSERT INTO event (id, party, at, kind_id, org) VALUES (1, 'new', now(), 1, 'x')")
