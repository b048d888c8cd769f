"""dp.audit_queries: which of the counted statements lack the keys, the most expensive first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database, prepare_template
from tests.support.server import Server

SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on"}
AUDIT = "SELECT queryid, role, calls, total_ms, tbl, finding, advice, query FROM dp.audit_queries(%s)"
MONTH = "\"Party\" = 'p' AND {key} >= '2025-05-01' AND {key} < '2025-06-01'"


@pytest.fixture(scope="module")
def counting(server: Server) -> Iterator[Server]:
    """A server that counts statements, with a role that reads all of them."""
    with type(server)(server.version, SETTINGS) as running:
        prepare_template(running)
        with running.connect() as admin:
            admin.execute("CREATE ROLE app LOGIN; GRANT pg_read_all_stats TO owner")
        yield running


@pytest.fixture(params=["exact", "slice"])
def counted(counting: Server, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A family of three months by two leaves that the role app reads."""
    database = Database.create(counting, f"counted_{request.param}")
    owner = database.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, request.param)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-08-01')")
    family.fill(owner, "2025-05-10 12:00+00", 1, 20)
    owner.execute('GRANT SELECT ON "Dialog", "Activity" TO app')
    with counting.connect(database.name) as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
        admin.execute("SELECT pg_stat_statements_reset()")
    yield database
    database.drop()


def audit(connection: psycopg.Connection[Any], root: str | None = None) -> list[tuple[Any, ...]]:
    return connection.execute(AUDIT, [root]).fetchall()


def test_statements_that_lack_the_keys_most_expensive_first(counted: Database) -> None:
    owner, app = counted.connections[0], counted.connect("app")
    app.prepare_threshold = None
    month = MONTH.replace("{key}", f'"{family.key_column(owner)}"')
    for number in range(30):
        app.execute(f'SELECT count(*) FROM "Dialog" AS d, "Activity" AS a WHERE d."Id" <> {number}')
    for number in range(3):
        app.execute(f'SELECT * FROM "Activity" WHERE "DialogId" = {number}')
    app.execute(f"SELECT * FROM \"Dialog\" WHERE {month} AND date '2025-06-01' + interval '1 day' > now()")
    app.execute("SELECT 'Dialog'")
    said = audit(owner)
    assert said == audit(owner, '"Dialog"')
    assert [row[3] for row in said] == sorted((row[3] for row in said), reverse=True)
    by_query = {row[7]: row for row in said}
    (crossed, by_parent) = sorted(by_query, key=lambda text: "DialogId" in text)
    assert crossed.startswith('SELECT count(*) FROM "Dialog" AS d, "Activity" AS a')
    assert by_query[crossed][1:3] == ("app", 30)
    assert {(row[4], row[5]) for row in said if row[7] == crossed} == {
        ('"public"."Dialog"', "missing key"),
        ('"public"."Activity"', "missing key"),
    }
    assert by_query[by_parent][2] == 3
    assert "dp.create_global_index" in by_query[by_parent][6]


def test_a_statement_with_a_one_month_range_lacks_nothing(counted: Database) -> None:
    owner = counted.connections[0]
    owner.execute(f'SELECT * FROM "Dialog" WHERE {MONTH}'.replace("{key}", f'"{family.key_column(owner)}"'))
    assert [row for row in audit(owner) if row[7].startswith('SELECT * FROM "Dialog" WHERE')] == []


def test_code_of_other_roles_is_not_run(counting: Server, counted: Database) -> None:
    owner, app = counted.connections[0], counted.connect("app")
    with counting.connect(counted.name) as admin:
        admin.execute("CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA app TO PUBLIC")
    app.execute("CREATE TABLE app.seen (who name)")
    app.execute("GRANT INSERT ON app.seen TO PUBLIC")
    app.execute(
        "CREATE FUNCTION app.trap() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN"
        " RAISE EXCEPTION 'run as %', current_user; END$$"
    )
    app.execute("CREATE FUNCTION app.good() RETURNS text LANGUAGE sql IMMUTABLE RETURN 'p'")
    app.execute('SELECT * FROM "Dialog" WHERE "Party" = app.good()')
    app.execute("CREATE VIEW app.v AS SELECT * FROM app.seen WHERE who = app.good()")
    app.execute('SELECT v.* FROM "Dialog", app.v')
    with pytest.raises(psycopg.errors.RaiseException):
        app.execute('SELECT "Id" FROM "Dialog" WHERE "Party" = app.trap()')
    for caller in (owner, counted.connect("postgres")):
        said = audit(caller)
        refused = {row[7]: row for row in said if row[5] == "not planned"}
        assert 'SELECT * FROM "Dialog" WHERE "Party" = app.good()' in refused
        assert 'SELECT v.* FROM "Dialog", app.v' in refused
        details = caller.execute("SELECT detail FROM dp.audit_queries() WHERE finding = 'not planned'").fetchall()
        assert any("function app.good()" in detail for (detail,) in details)
        assert not any("run as" in detail for (detail,) in details)
    assert [row for row in audit(app) if row[5] == "not planned"] == [], "its own code it may run"


def test_what_cannot_be_planned_is_told_and_does_not_stop_the_rest(counted: Database) -> None:
    owner = counted.connections[0]
    owner.execute('CREATE TABLE t (n int); SELECT * FROM t, "Dialog"')
    owner.execute('SELECT * FROM "Dialog" WHERE "Title" = \'x\'')
    owner.execute("DROP TABLE t")
    said = audit(owner)
    (lost,) = [row for row in said if row[5] == "not planned"]
    assert lost[7] == 'SELECT * FROM t, "Dialog"'
    assert any("Title" in row[7] and row[5] == "missing key" for row in said)


def test_who_may_not_read_other_statements_is_told(counted: Database) -> None:
    owner, app = counted.connections[0], counted.connect("app")
    owner.execute('SELECT * FROM "Dialog" WHERE "Title" = \'x\'')
    app.execute('SELECT * FROM "Activity"')
    told: list[str] = []
    app.add_notice_handler(lambda diagnostic: told.append(str(diagnostic.message_primary)))
    assert {row[7] for row in audit(app)} == {'SELECT * FROM "Activity"'}
    assert any("pg_read_all_stats" in message for message in told)


def test_without_the_extension_the_error_says_what_to_do(db: Database) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        audit(db.connect())
    assert "CREATE EXTENSION pg_stat_statements" in str(caught.value.diag.message_hint)
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="shared_preload_libraries"):
        audit(db.connect())


def test_statements_inside_functions_are_found_where_they_are_tracked(counting: Server, counted: Database) -> None:
    owner = counted.connections[0]
    owner.execute(
        "CREATE FUNCTION titled(wanted text) RETURNS bigint LANGUAGE plpgsql AS $$DECLARE number bigint; BEGIN"
        ' SELECT count(*) INTO number FROM "Dialog" AS d WHERE d."Title" = wanted;'
        ' EXECUTE \'SELECT min("Id") FROM "Dialog" AS e WHERE e."Title" = $1\' INTO number USING wanted;'
        " RETURN number; END$$"
    )
    owner.execute(
        "CREATE FUNCTION named(wanted text) RETURNS bigint LANGUAGE sql AS"
        ' $$SELECT max("Id") FROM "Dialog" AS f WHERE f."Title" = $1$$'
    )
    inside = "SELECT titled('x'), named('y')"
    owner.execute(inside)
    assert audit(owner) == [], "only statements of clients are counted"
    with counting.connect(counted.name) as admin:
        admin.execute(f"ALTER ROLE owner IN DATABASE {counted.name} SET pg_stat_statements.track = 'all'")  # type: ignore[call-overload]
    counted.connect().execute(inside)
    found = {row[7].split("(")[0].split()[-1]: row[5] for row in audit(counted.connect()) if " AS " in row[7]}
    assert found == {"min": "missing key", "max": "missing key", "count": "not planned"}
    said = owner.execute("SELECT detail FROM dp.audit_queries() WHERE finding = 'not planned'").fetchall()
    assert [("wanted" in detail) for (detail,) in said] == [True], "a variable of PL/pgSQL stands in the text"
