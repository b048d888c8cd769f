"""A scene about conversion: 22 plain tables that are full of rows become a hierarchy."""

from __future__ import annotations

import time

from demo import page
from demo.stage import Connection, Stage, rows, value
from tests.support import checksums, dialogporten
from tests.support.database import Database
from tests.support.dialogporten import HASH_KEY, RANGE_KEY, ROOT, WHOLE_TABLES, queries, quoted

DIALOGS = 300
YEARS = 20
TABLES = tuple(quoted(table) for table in WHOLE_TABLES)
OPTIONS = f"'{ROOT}', '{RANGE_KEY}', '{HASH_KEY}', key_form => 'slice', slice => '10 years', hash_partitions => 2"


def show_conversion(stage: Stage) -> None:
    """The tables before, the plan, the call, the tables after."""
    page.heading("22 tables full of rows are converted")
    database = Database.create(stage.server, "demo_whole")
    connection = database.connect()
    connection.execute("SET TimeZone = 'UTC'; SET client_min_messages = warning")
    first = f"{stage.now.year - YEARS}-01-01 00:00+00"
    for script in dialogporten.loading(DIALOGS, first, stage.now.isoformat(), grows=2, further=DIALOGS // 10):
        connection.execute(script)
    connection.execute("ANALYZE")
    page.prose(
        f"""The whole hierarchy, as an application has it: 22 plain tables with {DIALOGS} dialogs of {YEARS} years and a
        few of the next months, 76 rows each, foreign keys on Id alone, triggers, views on views. Two calls convert it.
        The first says what will be done, and what it means:"""
    )
    page.sql([f"SELECT role, severity, finding, count(*) FROM dp.plan_conversion({OPTIONS}) GROUP BY 1, 2, 3"])
    _show_plan(connection)
    columns = checksums.columns(connection, TABLES)
    before = checksums.contents(connection, columns)
    given = queries.values(connection, first, stage.now.isoformat())
    answers = queries.answers(connection, given)
    page.prose("The second does it, and keeps the plain tables in another schema:")
    page.sql([f"CALL dp.convert({OPTIONS})"])
    started = time.monotonic()
    connection.execute(f"CALL dp.convert({OPTIONS})")
    seconds = time.monotonic() - started
    after = checksums.contents(connection, columns)
    if after != before or queries.answers(connection, given) != answers:
        raise RuntimeError("the hierarchy does not hold what the plain tables held")
    page.table(
        ("table", "rows before", "rows after", "leaves", "unique over all partitions"),
        [
            (table, before[name].rows, after[name].rows, _leaves(connection, name), _rules(connection, name))
            for table, name in zip(WHOLE_TABLES, TABLES, strict=True)
        ],
    )
    page.prose(
        f"""{sum(each.rows for each in after.values()):,} rows in {seconds:.0f} s. The checksums of all tables are equal
        over the columns that they had, and {len(answers)} queries of the application, unchanged, find the same rows as
        before. Primary keys and foreign keys have both partition keys beside their columns; what was unique over the
        whole table is kept so by a global index."""
    )
    connection.close()
    database.drop()


def _show_plan(connection: Connection) -> None:
    found = rows(
        connection,
        f"SELECT role, severity, finding, count(*)::int, min(tbl::text) FROM dp.plan_conversion({OPTIONS})"
        " GROUP BY 1, 2, 3 ORDER BY severity = 'notice', role = 'reference', count(*) DESC, finding",
    )
    page.table(("role", "severity", "finding", "rows", "such as"), found)


def _rules(connection: Connection, table: str) -> str:
    """The columns of a table's global indexes."""
    found = rows(
        connection,
        "SELECT array_to_string(columns, ', ') FROM dp.global_index_config WHERE tbl = %s::regclass AND is_unique"
        " ORDER BY 1",
        table,
    )
    return "; ".join(f"({row[0]})" for row in found)


def _leaves(connection: Connection, table: str) -> int:
    found: int = value(connection, "SELECT count(*) FROM dp.leaf WHERE tbl = %s::regclass", table)
    return found
