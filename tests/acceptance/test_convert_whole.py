"""The 22 plain tables of Dialogporten, full of rows, are converted: nothing is lost, nothing works differently.

``--dialogs=100000`` is the test of record; by default there are few, spread as wide.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.support import checksums, dialogporten, dumps
from tests.support.database import Database
from tests.support.dialogporten import (
    HASH_KEY,
    KEY_FORMS,
    RANGE_KEY,
    ROOT,
    WHOLE_PARENTS,
    WHOLE_REFERENCES,
    WHOLE_TABLES,
    forms,
    partition_column,
    queries,
    quoted,
)
from tests.support.server import Server

Connection = psycopg.Connection[Any]

FIRST, NOW = "2006-01-01 00:00+00", "2025-06-15 12:00+00"
ORPHANS = 2
TABLES = tuple(quoted(table) for table in WHOLE_TABLES)
VIEWS = ('search."VDialogContent"', 'search."VDialogDocument"')
# Children whose primary key is an Id of their own.
WITH_IDS = tuple(
    table
    for table in WHOLE_TABLES[1:]
    if table
    not in (
        "DialogServiceOwnerContext",
        "DialogServiceOwnerLabel",
        "DialogEndUserContextSystemLabel",
        "search.DialogSearch",
        "Localization",
    )
)
# A dialog with members in every table, and where its content update takes it: inside the longest history.
DIALOG = "\"ExternalReference\" = 'reference 10'"
ELSEWHERE = "2007-03-01 10:00+00"


class Before(NamedTuple):
    """What the plain tables were."""

    columns: checksums.Columns
    contents: dict[str, checksums.Contents]
    given: dict[str, object]
    answers: queries.Answers
    schema: list[str]


class Converted(NamedTuple):
    """A database after the conversion, and what it was before."""

    database: Database
    key_form: str
    before: Before

    @property
    def column(self) -> str:
        """The column that the tables are cut by."""
        return partition_column(self.key_form)


def load(database: Database, dialogs: int, orphans: int = ORPHANS) -> Before:
    """Make the plain tables with rows, and look at them."""
    owner = database.connect(jit="off")
    owner.prepare_threshold = None
    for script in dialogporten.loading(dialogs, FIRST, NOW, grows=2, further=dialogs // 100, orphans=orphans):
        owner.execute(script)
    owner.execute("ANALYZE")
    columns = checksums.columns(owner, TABLES + (VIEWS if dialogs <= 1000 else ()))
    contents = checksums.contents(owner, columns)
    given = queries.values(owner, FIRST, NOW)
    before = Before(columns, contents, given, queries.answers(owner, given), dumps.schema_lines(database))
    owner.close()
    return before


def options(key_form: str) -> str:
    """The parameters that plan_conversion and convert are called with."""
    return (
        f"'{ROOT}', '{RANGE_KEY}', '{HASH_KEY}', key_form => '{key_form}', orphans => 'keep',"
        " hash_partitions => 2, slice => '10 years'"
    )


def convert(database: Database, key_form: str) -> None:
    """Convert them, as a DBA does."""
    owner = database.connect(jit="off")
    owner.execute(f"SET dp.now = '{NOW}'")
    owner.execute(f"CALL dp.convert({options(key_form)})")
    owner.execute("ANALYZE")
    owner.close()


@pytest.fixture(scope="module", params=KEY_FORMS)
def converted(server: Server, request: pytest.FixtureRequest) -> Iterator[Converted]:
    """The converted hierarchy in each key form; nobody changes it for good."""
    database = Database.create(server, f"converted_{request.param}")
    before = load(database, request.config.getoption("--dialogs"))
    convert(database, request.param)
    yield Converted(database, request.param, before)
    database.drop()


@pytest.fixture
def session(converted: Converted) -> Iterator[Connection]:
    """A transaction of the owner on the converted hierarchy, undone at the end."""
    connection = converted.database.connect(jit="off")  # what reads all leaves looks costly, and would be compiled
    connection.execute("BEGIN")
    yield connection
    connection.execute("ROLLBACK")
    connection.close()


def _value(connection: Connection, query: str, *values: object) -> Any:
    row = connection.execute(query, values or None).fetchone()
    assert row is not None, query
    return row[0]


def _referenced(parent: str) -> str:
    return "DialogId" if parent == "DialogServiceOwnerContext" else "Id"


def test_every_row_arrives(session: Connection, converted: Converted) -> None:
    assert checksums.contents(session, converted.before.columns) == converted.before.contents


def test_all_tables_are_partitioned_alike(session: Connection, converted: Converted) -> None:
    found = session.execute(
        "SELECT m.tbl::text, pg_get_partkeydef(m.tbl) FROM dp.managed_table m WHERE m.role <> 'reference'"
    ).fetchall()
    assert sorted(found) == sorted(
        (table.replace('"search"', "search"), f'RANGE ("{converted.column}")') for table in TABLES
    )
    references = session.execute("SELECT tbl::text FROM dp.managed_table WHERE role = 'reference'").fetchall()
    assert {row[0].strip('"') for row in references} == set(WHOLE_REFERENCES)
    slices = session.execute(
        "SELECT DISTINCT array_agg(lower_bound || ' ' || upper_bound || ' ' || modulus ORDER BY lower_bound)"
        " FROM dp.slice WHERE is_attached GROUP BY tbl"
    ).fetchall()
    assert len(slices) == 1, "the same slices in every table"
    assert session.execute("SELECT * FROM dp.check(%s) WHERE severity = 'error'", [ROOT]).fetchall() == []


def test_all_foreign_keys_are_in_place(session: Connection, converted: Converted) -> None:
    found = session.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND conrelid IN (SELECT tbl FROM dp.managed_table)"
    ).fetchall()
    inside = {row[2] for row in found if "ON UPDATE CASCADE" in row[2]}
    keys = f'"{converted.column}", "{HASH_KEY}"'
    expected = set()
    for _, parent, own, action in WHOLE_PARENTS:
        listed = f' ("{own}")' if action == "SET NULL" else ""
        expected.add(
            f'FOREIGN KEY ("{own}", {keys}) REFERENCES {quoted(parent)}("{_referenced(parent)}", {keys})'
            f" ON UPDATE CASCADE ON DELETE {action}{listed}"
        )
    assert inside == expected
    assert sum("ON UPDATE CASCADE" in row[2] for row in found) == len(WHOLE_PARENTS)
    assert all(row[3] for row in found), "all are validated"
    names = {line.split('"')[1] for line in converted.before.schema if line.strip().startswith('ADD CONSTRAINT "FK_')}
    assert names - {row[1] for row in found} == {
        "FK_PartyResource_Party_PartyId",
        "FK_PartyResource_Resource_ResourceId",
    }


def test_foreign_keys_are_enforced(session: Connection) -> None:
    for child, _, own, _ in WHOLE_PARENTS:
        with pytest.raises(psycopg.errors.ForeignKeyViolation), session.transaction():
            session.execute(
                f'UPDATE {quoted(child)} SET "{own}" = gen_random_uuid() WHERE "{own}" ='
                f' (SELECT "{own}" FROM {quoted(child)} WHERE "{own}" IS NOT NULL LIMIT 1)'
            )


def test_the_mask_of_labels_follows_its_labels(session: Connection, converted: Converted) -> None:
    label, context = (
        '"DialogEndUserContextSystemLabel"',
        _value(
            session,
            f'SELECT "Id" FROM "DialogEndUserContext" WHERE "DialogId" = (SELECT "Id" FROM "Dialog" WHERE {DIALOG})',
        ),
    )
    mask = f'SELECT "SystemLabelsMask" FROM "Dialog" WHERE {DIALOG}'
    assert _value(session, mask) == 4
    keys = f'"{converted.column}", "{HASH_KEY}"'
    session.execute(
        f'INSERT INTO {label} ("SystemLabelId", "DialogEndUserContextId", {keys})'
        f' SELECT 5, "Id", {keys} FROM "DialogEndUserContext" WHERE "Id" = %s',
        [context],
    )
    assert _value(session, mask) == 4 + 16
    of_it = 'WHERE "DialogEndUserContextId" = %s'
    session.execute(f'UPDATE {label} SET "SystemLabelId" = 2 {of_it} AND "SystemLabelId" = 5', [context])
    assert _value(session, mask) == 4 + 2
    session.execute(f"DELETE FROM {label} {of_it}", [context])
    assert _value(session, mask) == 0


def test_the_register_of_resources_follows_the_dialogs(session: Connection, converted: Converted) -> None:
    pairs = 'SELECT count(*) FROM partyresource."PartyResource"'
    before = _value(session, pairs)
    new = {
        "Deleted": False,
        "Org": "org",
        "ServiceResource": "urn:altinn:resource:another",
        "ServiceResourceType": "GenericAccessResource",
        "Party": "urn:altinn:organization:identifier-no:1",
        "StatusId": 2,
        RANGE_KEY: "2020-01-15 00:00+00",
        converted.column: "2020-01-15 00:00+00" if converted.key_form == "exact" else "2020-01-01",
    }
    names = ", ".join(f'"{name}"' for name in new)
    session.execute(f'INSERT INTO "Dialog" ({names}) VALUES ({", ".join(["%s"] * len(new))})', list(new.values()))
    assert _value(session, pairs) == before + 1
    session.execute('DELETE FROM "Dialog" WHERE "ServiceResource" = \'urn:altinn:resource:another\'')
    assert _value(session, pairs) == before


def test_the_application_gets_the_same_answers(session: Connection, converted: Converted) -> None:
    found = queries.answers(session, converted.before.given)
    for name, rows in converted.before.answers.items():
        assert rows, name
        assert found[name] == rows, name


def test_the_rewritten_queries_get_the_same_answers(session: Connection, converted: Converted) -> None:
    session.execute(forms.in_form(converted.key_form, forms.FUNCTIONS))  # type: ignore[arg-type]
    given: forms.Given = {
        **converted.before.given,
        "slice": _value(
            session, f'SELECT "{converted.column}" FROM "Dialog" WHERE "Id" = %s', converted.before.given["dialog"]
        ),
    }
    for name, query in forms.FORMS.items():
        expected = session.execute(forms.OLD[name], given).fetchall()  # type: ignore[call-overload]
        assert expected, name
        new = forms.in_form(converted.key_form, query)
        assert session.execute(new, given).fetchall() == expected, name  # type: ignore[call-overload]


def test_the_rewritten_trigger_keeps_the_mask_of_labels(session: Connection, converted: Converted) -> None:
    session.execute(forms.in_form(converted.key_form, forms.FUNCTIONS))  # type: ignore[arg-type]
    test_the_mask_of_labels_follows_its_labels(session, converted)


def test_the_rewritten_writes_write_one_row_each(session: Connection, converted: Converted) -> None:
    given = converted.before.given
    dialog = 'SELECT "{}" FROM "Dialog" WHERE "Id" = %s'
    values = {
        **given,
        **{f"new_{name}": uuid.uuid4() for name in ("dialog", "content", "set", "context", "activity")},
        "new_key": "a new key",
        "now": "2025-06-20 12:00+00",
    }
    values["slice"] = "2025-06-01" if converted.key_form == "slice" else values["now"]
    for each in forms.WRITES:
        if each.name == "update the content's time":
            values["revision"] = _value(session, dialog.format("Revision"), given["dialog"])
            values["slice"] = _value(session, dialog.format(converted.column), given["dialog"])
            if converted.key_form == "slice":
                values["now"] = f"{values['slice']} 12:00+00"
        new = each.in_form(converted.key_form)
        assert session.execute(new, values).rowcount == 1, each.name  # type: ignore[call-overload]
        if converted.key_form == "exact":
            values["slice"] = values["now"]  # the keys are what was written
    found = session.execute(
        'SELECT l."Value" FROM "DialogContent" AS c JOIN "LocalizationSet" AS s ON s."DialogContentId" = c."Id"'
        ' JOIN "Localization" AS l ON l."LocalizationSetId" = s."Id" WHERE c."DialogId" = %s',
        [values["new_dialog"]],
    ).fetchall()
    assert found == [("new",)]


def test_a_content_update_takes_the_descendants_along(session: Connection, converted: Converted) -> None:
    columns = {
        table: [name for name in names if name != f'"{RANGE_KEY}"'] for table, names in converted.before.columns.items()
    }
    before = checksums.contents(session, columns)
    assert session.execute(f'UPDATE "Dialog" SET "{RANGE_KEY}" = %s WHERE {DIALOG}', [ELSEWHERE]).rowcount == 1
    assert checksums.contents(session, columns) == before
    column = converted.column
    for child, parent, own, _ in WHOLE_PARENTS:
        apart = _value(
            session,
            f"SELECT count(*) FROM {quoted(child)} AS c JOIN {quoted(parent)} AS p"
            f' ON p."{_referenced(parent)}" = c."{own}"'
            f' WHERE c."{column}" <> p."{column}" OR c."{HASH_KEY}" <> p."{HASH_KEY}"',
        )
        assert apart == 0, f"{child} with {parent}"
    deepest = session.execute(
        f'SELECT DISTINCT l."{column}"::date::text, l.tableoid <> (SELECT tableoid FROM "Localization"'
        f' ORDER BY "{column}" DESC LIMIT 1) FROM "Localization" AS l'
        ' JOIN "LocalizationSet" AS s ON s."Id" = l."LocalizationSetId"'
        ' JOIN "Attachment" AS a ON a."Id" = s."AttachmentId"'
        ' JOIN "DialogTransmission" AS t ON t."Id" = a."TransmissionId" JOIN "Dialog" AS d ON d."Id" = t."DialogId"'
        f" WHERE d.{DIALOG}"
    ).fetchall()
    assert deepest == [("2007-03-01", True)], "four levels below the dialog"


def test_a_deleted_dialog_takes_all_but_its_context_along(session: Connection, converted: Converted) -> None:
    session.execute(f'DELETE FROM "Dialog" WHERE {DIALOG}')
    after = checksums.contents(session, converted.before.columns)
    for table, each in converted.before.contents.items():
        stays = table in ('"DialogEndUserContext"', '"DialogEndUserContextSystemLabel"', '"LabelAssignmentLog"')
        assert (after[table].rows == each.rows) == stays, table
    orphans = _value(session, 'SELECT count(*) FROM "DialogEndUserContext" WHERE "DialogId" IS NULL')
    assert orphans == ORPHANS + 1


def test_an_id_is_unique_over_all_partitions(session: Connection, converted: Converted) -> None:
    """The row of one family again, under a parent of another slice."""
    column = converted.column
    keys = f'"{column}", "{HASH_KEY}"'
    for table in WITH_IDS:
        owned = {own: parent for child, parent, own, _ in reversed(WHOLE_PARENTS) if child == table}
        own, parent = list(owned.items())[-1]  # the first of them
        names = [name for name in converted.before.columns[quoted(table)] if name.strip('"') not in owned]
        first_parent = f'SELECT * FROM {quoted(parent)} ORDER BY "{column}" LIMIT 1'
        # What the other parent has of the kind would be in the way of the copy, too.
        session.execute(
            f'DELETE FROM {quoted(table)} WHERE "{own}" = (SELECT p."{_referenced(parent)}" FROM ({first_parent}) AS p)'
        )
        with pytest.raises(psycopg.errors.UniqueViolation, match=r"\W*Id\W*\)"), session.transaction():
            session.execute(
                f'INSERT INTO {quoted(table)} ({", ".join(names)}, "{own}", {keys})'
                f' SELECT {", ".join("r." + name for name in names)}, p."{_referenced(parent)}", p."{column}",'
                f' p."{HASH_KEY}" FROM (SELECT * FROM {quoted(table)} ORDER BY "{column}" DESC LIMIT 1) AS r,'
                f" ({first_parent}) AS p"
            )


def test_the_rules_of_the_root_hold_over_all_partitions(session: Connection, converted: Converted) -> None:
    names = [name for name in converted.before.columns[ROOT] if name not in (f'"{RANGE_KEY}"', '"Id"')]
    listed = ", ".join(names)
    extra = f', "{converted.column}"' if converted.key_form == "slice" else ""
    value = ", date '2011-01-01'" if extra else ""
    for identity, rule in (('"Id"', "Id"), ("gen_random_uuid()", "IdempotentKey")):
        with pytest.raises(psycopg.errors.UniqueViolation, match=rule), session.transaction():
            session.execute(
                f'INSERT INTO "Dialog" ("Id", "{RANGE_KEY}", {listed}{extra})'
                f" SELECT {identity}, timestamptz '2011-01-01 05:00+00', {listed}{value} FROM \"Dialog\""
                f' WHERE "IdempotentKey" IS NOT NULL AND "{RANGE_KEY}" > \'2021-01-01\' LIMIT 1'
            )


def test_the_plan_names_every_table_and_stops_at_orphans(db: Database) -> None:
    before = load(db, 100)
    owner = db.connect()
    plan = owner.execute(
        f"SELECT tbl::text, role, severity, finding FROM dp.plan_conversion({options('exact')})"
    ).fetchall()
    roles = {row[0].replace('"', ""): row[1] for row in plan if row[1] in ("root", "child")}
    assert roles == {table: "root" if table == "Dialog" else "child" for table in WHOLE_TABLES}
    assert {row[0].strip('"') for row in plan if row[1] == "reference"} == set(WHOLE_REFERENCES)
    assert [row for row in plan if row[2] == "error"] == []
    refusing = options("exact").replace("orphans => 'keep'", "orphans => 'refuse'")
    errors = owner.execute(f"SELECT tbl::text FROM dp.plan_conversion({refusing}) WHERE severity = 'error'").fetchall()
    assert '"DialogEndUserContext"' in {row[0] for row in errors}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        owner.execute(f"CALL dp.convert({refusing})")
    assert dumps.difference(before.schema, dumps.schema_lines(db)) == ""
    assert checksums.contents(owner, before.columns) == before.contents


@pytest.fixture
def copy(server: Server, converted: Converted) -> Iterator[Database]:
    """A copy of the converted hierarchy for what commits."""
    name = f"{converted.database.name}_copy"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {converted.database.name} OWNER owner STRATEGY file_copy")
    database = Database(server, name)
    yield database
    database.drop()


def test_back_again_they_are_what_they_were(copy: Database, converted: Converted) -> None:
    before = converted.before
    owner = copy.connect(jit="off")
    kept = "SELECT count(*) FROM pg_class WHERE relname = 'Localization' AND relkind = 'r'"
    assert _value(owner, kept) == 1, "the plain tables are kept"
    owner.execute("SELECT dp.drop_converted(%s)", [ROOT])
    assert _value(owner, kept) == 0
    owner.execute(f'UPDATE "Dialog" SET "{RANGE_KEY}" = \'{ELSEWHERE}\', "ExtendedStatus" = \'moved\' WHERE {DIALOG}')
    now = checksums.contents(owner, before.columns)
    assert now[ROOT] != before.contents[ROOT]
    owner.execute("CALL dp.unconvert(%s)", [ROOT])
    assert checksums.contents(owner, before.columns) == now
    assert dumps.difference(before.schema, dumps.schema_lines(copy)) == ""
    found = queries.answers(owner, before.given)
    assert [name for name, rows in found.items() if len(rows) != len(before.answers[name])] == []
