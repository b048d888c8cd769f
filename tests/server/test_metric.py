"""dp.metric, and the custom queries of postgres_exporter that read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import family
from tests.support.database import Database

EXPORTER = Path(__file__).parents[2] / "doc" / "postgres_exporter.yml"


def metric(connection: psycopg.Connection[Any], column: str) -> object:
    row = connection.execute(f"SELECT {column} FROM dp.metric").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_the_room_ahead_shrinks_with_time(db: Database, key_form: str) -> None:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, key_form)
    owner.execute("CALL dp.create_slices('\"Dialog\"', '2025-05-01', '2025-09-01')")
    assert metric(owner, "slices") == 4
    assert metric(owner, "leaves") == 4 * 2 * 3
    assert metric(owner, "slices_ahead") == 2
    assert metric(owner, "covered_seconds") == 78 * 86400
    owner.execute("SET dp.now = '2025-09-02 00:00+00'")
    assert metric(owner, "slices_ahead") == 0
    assert metric(owner, "covered_seconds") == -86400


def test_rows_in_the_default_slice_and_failures_are_counted(db: Database) -> None:
    owner = db.connect()
    family.declare(owner, default_slice=True)
    owner.execute("CALL dp.run_maintenance()")
    before = metric(owner, "default_estimated_rows"), metric(owner, "failures_last_day")
    assert before == (0, 0)
    family.fill(owner, "2015-05-10 12:00+00", 1, 10)
    owner.execute("ANALYZE")
    assert metric(owner, "default_estimated_rows") == 10 + 20 + 30
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        owner.execute("CALL dp.create_slices('\"Dialog\"', '2015-05-01', '2015-06-01')")
    assert metric(owner, "failures_last_day") == 1
    assert metric(owner, "last_failure_timestamp_seconds > extract(EPOCH FROM now()) - 600") is True


def test_the_exporters_query_gives_what_its_file_describes(db: Database) -> None:
    family.declare(db.connect())
    text = EXPORTER.read_text()
    query = re.search(r'query: "(.*)"', text)
    assert query is not None
    cursor = db.connect("stranger").execute(query[1])  # type: ignore[arg-type]
    described = re.findall(r"^    - (\w+):$", text, re.MULTILINE)
    assert [column.name for column in cursor.description or ()] == described
    assert len(cursor.fetchall()) == 1
