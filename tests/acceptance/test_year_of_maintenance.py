"""A year goes by, a month at a time: what should exist exists, what should be retired is."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import HISTORY_SLICES, NOW, PREMAKE, Hierarchy
from tests.support.dialogporten import ROOT, TABLES

Connection = psycopg.Connection[Any]

RETENTION_MONTHS = 12
MONTHS = [divmod(2025 * 12 + 5 + passed, 12) for passed in range(13)]  # June 2025 to June 2026, as (year, month - 1)


def _month_slice(months: int) -> str:
    return f"{months // 12}_{months % 12 + 1:02}"


def _expected(year: int, month: int) -> set[str]:
    """Slices on the 15th of a month: kept while their end is younger than twelve months, made three months ahead."""
    current = year * 12 + month
    years = {name for name in HISTORY_SLICES if (int(name) + 1) * 12 > current - RETENTION_MONTHS}
    first = max(2025 * 12, current - RETENTION_MONTHS)  # the slice that ends in this month a year ago is gone
    return years | {_month_slice(months) for months in range(first, current + PREMAKE + 1)}


def _attached(connection: Connection) -> dict[str, set[str]]:
    """The slices of each table, by the end of their names."""
    found: dict[str, set[str]] = {table: set() for table in TABLES}
    rows = connection.execute(
        "SELECT p.relname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = ANY (%s)",
        (list(TABLES),),
    )
    for table, name in rows:
        found[table].add(name.removeprefix(table + "_"))
    return found


def _rows(connection: Connection) -> int:
    row = connection.execute(" UNION ALL ".join(f'SELECT count(*) FROM "{table}"' for table in TABLES)).fetchall()
    return sum(each[0] for each in row)


def _rows_of(connection: Connection, schema: str, slices: set[str]) -> int:
    names = [f'{schema}."{table}_{name}"' for table in TABLES for name in slices]
    found = connection.execute(" UNION ALL ".join(f"SELECT count(*) FROM {name}" for name in names)).fetchall()
    return sum(row[0] for row in found)


def _standing(connection: Connection) -> set[str]:
    """Every table that is a slice of Dialog, attached or not, and the schema that it is in."""
    rows = connection.execute(
        "SELECT relnamespace::regnamespace::text, relname FROM pg_class"
        " WHERE relname ~ '^Dialog_[0-9_]+$' AND relkind = 'p'"
    ).fetchall()
    return {f"{schema}.{name.removeprefix('Dialog_')}" for schema, name in rows}


def test_a_year_of_maintenance(copy: Hierarchy) -> None:
    """The exact form's slices are dropped, the slice form's detached."""
    action = {"exact": "drop", "slice": "detach"}[str(copy.key_form)]
    owner = copy.connect()
    owner.execute(
        f"SELECT dp.configure('{ROOT}', retention => '{RETENTION_MONTHS} months', retention_action => %s)", (action,)
    )
    rows = _rows(owner)
    known = set(HISTORY_SLICES)
    for year, month in MONTHS:
        owner.execute(f"SET dp.now = '{year}-{month + 1:02}-15 03:00+00'")
        owner.execute("CALL dp.run_maintenance()")
        wanted = _expected(year, month)
        known |= wanted
        assert _attached(owner) == dict.fromkeys(TABLES, wanted), f"{year}-{month + 1}"
        assert owner.execute(f"SELECT * FROM dp.check('{ROOT}')").fetchall() == []
    kept, retired = _rows(owner), known - wanted
    assert 0 < kept < rows
    if action == "drop":
        assert _standing(owner) == {f"public.{name}" for name in wanted}
    else:
        assert _standing(owner) == {f"public.{name}" for name in wanted | retired}
        assert _rows_of(owner, "public", retired) + kept == rows


def test_retention_can_move_slices_to_an_archive(copy: Hierarchy) -> None:
    owner = copy.connect()
    owner.execute("CREATE SCHEMA archive")
    owner.execute(
        f"SELECT dp.configure('{ROOT}', retention => '2 years', retention_action => 'move',"
        " retention_schema => 'archive')"
    )
    rows = _rows(owner)
    owner.execute("SET dp.now = '2026-01-01 00:00+00'")
    owner.execute("CALL dp.run_maintenance()")
    assert {name for name in _standing(owner) if name.startswith("archive.")} == {"archive.2023"}
    kept = _rows(owner)
    assert 0 < kept < rows
    assert _rows_of(owner, "archive", {"2023"}) + kept == rows


def test_maintenance_that_stood_still_for_months_catches_up(copy: Hierarchy) -> None:
    owner = copy.connect()
    owner.execute("SET dp.now = '2026-02-15 03:00+00'")
    owner.execute(f"CALL dp.run_maintenance('{ROOT}')")
    wanted = set(HISTORY_SLICES) | {_month_slice(months) for months in range(2025 * 12, 2026 * 12 + 1 + PREMAKE + 1)}
    assert _attached(owner) == dict.fromkeys(TABLES, wanted)
    owner.execute(f"CALL dp.run_maintenance('{ROOT}')")
    assert owner.execute("SELECT count(*) FROM dp.last_plan").fetchone() == (0,)


def test_before_a_run_the_check_says_what_it_will_mend(copy: Hierarchy) -> None:
    owner = copy.connect()
    owner.execute("SET dp.now = '2025-08-15 03:00+00'")
    found = owner.execute(f"SELECT finding, statement FROM dp.check('{ROOT}')").fetchall()
    assert len(found) > 0
    owner.execute(f"CALL dp.run_maintenance('{ROOT}')")
    assert owner.execute(f"SELECT finding FROM dp.check('{ROOT}')").fetchall() == []


def test_a_retired_slice_keeps_its_rows_whole_and_can_come_back(copy: Hierarchy) -> None:
    """Answers still name what they answer, though PostgreSQL lets no partition go to which rows refer."""
    owner = copy.connect()
    whole = 'SELECT "Id", "RelatedTransmissionId" FROM {} ORDER BY "Id"'
    rows = _rows(owner)
    owner.execute(f"SET dp.now = '{NOW}'")
    before = owner.execute(whole.format('"DialogTransmission_2023"')).fetchall()
    assert sum(related is not None for _, related in before) == len(before) / 2 > 0
    owner.execute(f"SELECT dp.detach_slice('{ROOT}', '2023-01-01')")
    assert owner.execute(whole.format('"DialogTransmission_2023"')).fetchall() == before
    assert _rows(owner) < rows
    leftovers = owner.execute("SELECT relname FROM pg_class WHERE relname LIKE 'dp\\_%reference%'").fetchall()
    assert leftovers == []
    owner.execute(f"SELECT dp.attach_slice('{ROOT}', '2023-01-01')")
    assert _rows(owner) == rows
    assert owner.execute(whole.format('"DialogTransmission_2023"')).fetchall() == before
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute('UPDATE "DialogTransmission_2023" SET "RelatedTransmissionId" = gen_random_uuid()')
    assert owner.execute(f"SELECT * FROM dp.check('{ROOT}')").fetchall() == []
