"""All 22 tables of the Dialogporten hierarchy: as plain tables, and declared as a hierarchy with the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support import checksums, dialogporten
from tests.support.database import Database
from tests.support.dialogporten import HASH_KEY, WHOLE_PARENTS, WHOLE_TABLES, partition_column, queries, quoted
from tests.support.server import Server

Connection = psycopg.Connection[Any]

FIRST, NOW = "2006-01-01 00:00+00", "2025-06-15 12:00+00"
DIALOGS, FURTHER, ORPHANS = 500, 40, 3
TABLES = tuple(quoted(table) for table in WHOLE_TABLES)
# Rows a dialog, of the tables of which every dialog has some.
PROPORTIONS = {
    "Dialog": 1,
    "DialogContent": 2,
    "DialogSeenLog": 1,
    "DialogTransmission": 2,
    "DialogActivity": 2,
    "DialogEndUserContext": 1,
    "DialogEndUserContextSystemLabel": 1,
    "DialogSearchTag": 3,
    "DialogGuiAction": 3,
    "DialogTransmissionContent": 4,
    "Attachment": 3,
    "AttachmentUrl": 6,
    "Actor": 5,
    "LocalizationSet": 14,
    "Localization": 28,
}


@pytest.fixture(scope="module")
def whole(server: Server) -> Iterator[Database]:
    """The plain tables with rows; nobody changes them for good."""
    database = Database.create(server, "whole_plain")
    owner = database.connect()
    for script in dialogporten.loading(DIALOGS, FIRST, NOW, grows=2, further=FURTHER, orphans=ORPHANS):
        owner.execute(script)
    owner.execute("ANALYZE")
    owner.close()
    yield database
    database.drop()


@pytest.fixture
def plain(whole: Database) -> Iterator[Connection]:
    """A transaction of the owner on the plain tables, undone at the end."""
    connection = whole.connect()
    connection.execute("BEGIN")
    yield connection
    connection.execute("ROLLBACK")
    connection.close()


def _value(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def _count(connection: Connection, table: str) -> int:
    return int(_value(connection, f"SELECT count(*) FROM {quoted(table)}"))


def test_the_rows_are_in_the_proportions_of_real_ones(plain: Connection) -> None:
    counts = {table: _count(plain, table) for table in WHOLE_TABLES}
    beside = {
        "DialogTransmission": FURTHER,
        "Actor": FURTHER + DIALOGS // 10 + ORPHANS,  # of the log, too
        "DialogEndUserContext": ORPHANS,
        "DialogEndUserContextSystemLabel": ORPHANS,
        "LabelAssignmentLog": ORPHANS,
        "LocalizationSet": 2 * DIALOGS // 10,  # prompts, navigational actions
        "Localization": 4 * DIALOGS // 10,
    }
    assert counts == {
        table: DIALOGS * PROPORTIONS[table] + beside.get(table, 0)
        if table in PROPORTIONS
        else DIALOGS // 10 + beside.get(table, 0)
        for table in WHOLE_TABLES
    }
    assert sum(PROPORTIONS.values()) == 76, "75, and the label of its context"
    assert len(WHOLE_TABLES) == 22
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = ANY (%s::regclass[])"
    assert plain.execute(indexes, [list(TABLES)]).fetchone() == (79,)


def test_dialogs_spread_over_twenty_years_and_into_the_future(plain: Connection) -> None:
    years = plain.execute(
        """SELECT extract(year FROM "ContentUpdatedAt")::int, count(*) FROM "Dialog" GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    assert [year for year, _ in years] == list(range(2006, 2026))
    assert years[1][1] < years[10][1] < years[18][1], "more from year to year"
    assert _value(plain, f'SELECT count(*) FROM "Dialog" WHERE "ContentUpdatedAt" > \'{NOW}\'') == DIALOGS // 50


def test_triggers_and_foreign_keys_find_nothing_to_mend(plain: Connection) -> None:
    before = checksums.contents(plain, checksums.columns(plain, ('"Dialog"', 'partyresource."PartyResource"')))
    plain.execute('UPDATE "DialogEndUserContextSystemLabel" SET "SystemLabelId" = "SystemLabelId"')
    after = checksums.contents(plain, checksums.columns(plain, ('"Dialog"', 'partyresource."PartyResource"')))
    assert after == before
    plain.execute('DELETE FROM "Dialog"')
    assert _count(plain, "partyresource.PartyResource") == 0
    left = {table: _count(plain, table) for table in WHOLE_TABLES}
    assert {table for table, count in left.items() if count} == {
        "DialogEndUserContext",
        "DialogEndUserContextSystemLabel",
        "LabelAssignmentLog",
        "Actor",
    }, "the end user's context outlives its dialog"


def test_every_dialog_has_a_document(plain: Connection) -> None:
    assert _value(plain, 'SELECT count(*) FROM search."VDialogDocument" WHERE length("Document") > 5') == DIALOGS
    dialog = _value(plain, """SELECT "Id" FROM "Dialog" WHERE "ExternalReference" = 'reference 10'""")
    kinds = plain.execute(
        'SELECT "OuterPriority", count(*) FROM search."VDialogContent" WHERE "DialogId" = %s GROUP BY 1 ORDER BY 1',
        [dialog],
    ).fetchall()
    assert kinds == [(1, 4), (2, 3), (3, 8), (4, 2), (5, 4), (6, 4)]


def declared(database: Database, key_form: str, form: str) -> Connection:
    """The hierarchy declared on tables without rows, with slices, logic and then rows."""
    owner = database.connect()
    owner.execute(dialogporten.schema(form, whole=True))
    for call in dialogporten.declaration(key_form, form, whole=True, hash_partitions=2):
        owner.execute(call)
    root = dialogporten.ROOT
    owner.execute(f"CALL dp.create_slices('{root}', '2006-01-01', '2026-01-01', slice => '10 years')")
    owner.execute(dialogporten.rows(key_form, DIALOGS, FIRST, NOW, whole=True, grows=2, further=FURTHER))
    owner.execute(dialogporten.logic())
    return owner


@pytest.mark.parametrize(("key_form", "form"), [("exact", "tree"), ("slice", "plain")])
def test_declared_the_hierarchy_holds_the_same_rows_and_answers_alike(
    db: Database, plain: Connection, key_form: str, form: str
) -> None:
    owner = declared(db, key_form, form)
    columns = checksums.columns(plain, TABLES)
    plain.execute('DELETE FROM "DialogEndUserContext" WHERE "DialogId" IS NULL')
    assert checksums.contents(owner, columns) == checksums.contents(plain, columns)
    given = queries.values(plain, FIRST, NOW)
    assert queries.answers(owner, given) == queries.answers(plain, given)
    foreign_keys = owner.execute(
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"
        " AND conrelid = ANY (%s::regclass[]) AND confrelid = ANY (%s::regclass[])",
        [list(TABLES), list(TABLES)],
    ).fetchone()
    assert foreign_keys == (len(WHOLE_PARENTS),)
    column = partition_column(key_form)
    for child, parent, own, _ in WHOLE_PARENTS:
        referenced = "DialogId" if parent == "DialogServiceOwnerContext" else "Id"
        apart = _value(
            owner,
            f'SELECT count(*) FROM {quoted(child)} AS c JOIN {quoted(parent)} AS p ON p."{referenced}" = c."{own}"'
            f' WHERE c."{column}" <> p."{column}" OR c."{HASH_KEY}" <> p."{HASH_KEY}"',
        )
        assert apart == 0, f"{child} with {parent}"


def test_every_query_of_the_application_finds_something(plain: Connection) -> None:
    given = queries.values(plain, FIRST, NOW)
    found = queries.answers(plain, given)
    assert [name for name, rows in found.items() if not rows] == []
    assert len(found["transmissions"]) == 32 + 16, "the first has a navigational action, in two languages"
    assert len(found["content"]) == 8 * 4
