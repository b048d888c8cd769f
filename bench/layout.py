"""One family of three tables in three forms: unpartitioned, exact and slice; 60 months by 16 leaves."""

from __future__ import annotations

from typing import NamedTuple

from bench.support import Bench, Connection, session
from tests.support.database import Database

LEAVES, CHILDREN, GRANDCHILDREN, OTHERS = 16, 5_000, 4, 4_800
BEGIN, END = "2021-01-01", "2026-01-01"
DIALOG = "00000000-0000-7000-8000-000000000001"  # the one with 25,000 descendants
PARTY, MONTH, MOMENT = "party 1", "2025-06-01", "2025-06-15 12:00:00+00"


class Form(NamedTuple):
    """One of the forms, in a schema of its own."""

    name: str
    key_form: str | None = None

    @property
    def partition_keys(self) -> tuple[str, ...]:
        """The columns that all tables carry."""
        if self.key_form is None:
            return ()
        return ("ContentMonth" if self.key_form == "slice" else "ContentUpdatedAt", "Party")

    def condition(self, column: str, alias: str, moment: str = MOMENT) -> str:
        """The condition that finds the big dialog's rows, both keys bound where there are keys."""
        constants = {"ContentMonth": MONTH, "ContentUpdatedAt": moment, "Party": PARTY}
        keys = "".join(f" AND {alias}.\"{key}\" = '{constants[key]}'" for key in self.partition_keys)
        return f"{alias}.\"{column}\" = '{DIALOG}'{keys}"

    def join(self, left: str, right: str) -> str:
        """What equates the partition keys of two aliases."""
        return "".join(f' AND {left}."{key}" = {right}."{key}"' for key in self.partition_keys)


PLAIN = Form("plain")
EXACT = Form("exact", "exact")
SLICE = Form("slice", "slice")
FORMS = (PLAIN, EXACT, SLICE)

TABLES = """
    CREATE TABLE {s}."Dialog" (
        "Id" uuid PRIMARY KEY, "ContentUpdatedAt" timestamptz NOT NULL, "Party" text NOT NULL, "Org" text NOT NULL
    );
    CREATE TABLE {s}."DialogActivity" (
        "Id" uuid PRIMARY KEY, "DialogId" uuid NOT NULL REFERENCES {s}."Dialog" ON DELETE CASCADE,
        "CreatedAt" timestamptz NOT NULL
    );
    CREATE TABLE {s}."Actor" (
        "Id" uuid PRIMARY KEY, "ActivityId" uuid NOT NULL REFERENCES {s}."DialogActivity" ON DELETE CASCADE,
        "Name" text
    );
    CREATE INDEX ON {s}."Dialog" ("Party", "ContentUpdatedAt" DESC);
    CREATE INDEX ON {s}."DialogActivity" ("DialogId");
    CREATE INDEX ON {s}."Actor" ("ActivityId");
"""

# the big dialog, and others: one in every fifth of each month, spread over parties, with a child each
ROWS = f"""
    CREATE TEMPORARY TABLE dialog AS
    SELECT '{DIALOG}'::uuid AS id, '{MOMENT}'::timestamptz AS at, '{PARTY}' AS party, true AS big
    UNION ALL
    SELECT gen_random_uuid(), '{BEGIN}'::timestamptz + n * (interval '1826 days' / {OTHERS}),
        'party ' || n % 997, false
    FROM generate_series(1, {OTHERS} - 1) AS n;
    CREATE TEMPORARY TABLE activity AS
    SELECT gen_random_uuid() AS id, d.id AS dialog, d.at, d.party, d.big
    FROM dialog AS d CROSS JOIN LATERAL generate_series(1, CASE WHEN d.big THEN {CHILDREN} ELSE 1 END);
    CREATE TEMPORARY TABLE actor AS
    SELECT gen_random_uuid() AS id, a.id AS activity, a.at, a.party
    FROM activity AS a CROSS JOIN LATERAL generate_series(1, CASE WHEN a.big THEN {GRANDCHILDREN} ELSE 1 END);
"""


def fill(connection: Connection, form: Form) -> None:
    """The same rows in a form."""
    columns = "".join(f', "{key}"' for key in form.partition_keys)
    month = "date_trunc('month', at AT TIME ZONE 'UTC')::date"
    values = {"ContentMonth": month, "ContentUpdatedAt": "at", "Party": "party"}
    keys = "".join(f", {values[key]}" for key in form.partition_keys)
    root_columns, root_keys = (', "ContentMonth"', f", {month}") if form.key_form == "slice" else ("", "")
    schema = form.name
    connection.execute(f"""
        INSERT INTO {schema}."Dialog" ("Id", "ContentUpdatedAt", "Party", "Org"{root_columns})
        SELECT id, at, party, 'org'{root_keys} FROM dialog;
        INSERT INTO {schema}."DialogActivity" ("Id", "DialogId", "CreatedAt"{columns})
        SELECT id, dialog, at{keys} FROM activity;
        INSERT INTO {schema}."Actor" ("Id", "ActivityId", "Name"{columns})
        SELECT id, activity, 'somebody'{keys} FROM actor;
        ANALYZE {schema}."Dialog", {schema}."DialogActivity", {schema}."Actor";
    """)


def build(connection: Connection, form: Form) -> None:
    """The tables of a form, with its slices."""
    connection.execute(f"CREATE SCHEMA {form.name}")
    connection.execute(TABLES.format(s=form.name))
    if form.key_form is None:
        return
    slice_key = "ContentMonth" if form.key_form == "slice" else None
    connection.execute(
        "SELECT dp.create_hierarchy(%s, 'ContentUpdatedAt', 'Party', key_form => %s, slice_key => %s,"
        " hash_partitions => %s, allow_weaker_unique => true)",
        (f'{form.name}."Dialog"', form.key_form, slice_key, LEAVES),
    )
    for child, parent in (("DialogActivity", "Dialog"), ("Actor", "DialogActivity")):
        connection.execute(
            "SELECT dp.register_child(%s, %s, allow_weaker_unique => true)",
            (f'{form.name}."{child}"', f'{form.name}."{parent}"'),
        )
    connection.execute("CALL dp.create_slices(%s, %s, %s)", (f'{form.name}."Dialog"', BEGIN, END))


_kept: list[Database] = []


def family(bench: Bench) -> Database:
    """A database with all forms, built once for the benchmarks that share it."""
    if not _kept:
        database = bench.kept_database()
        connection = session(database)
        for form in FORMS:
            build(connection, form)
        connection.execute(ROWS)
        for form in FORMS:
            fill(connection, form)
        connection.close()
        _kept.append(database)
    return _kept[0]
