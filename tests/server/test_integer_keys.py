"""Integer range keys: what maintenance keeps, and how far it looks, when there is no clock."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import Connection, call, create_slices, names

FAR = ("2100000", "2100100")


def declare(db: Database, **options: object) -> Connection:
    """Slices of a hundred values, 0 to 500, with 450 rows."""
    owner = db.connect()
    owner.execute("CREATE TABLE ev (id bigint PRIMARY KEY, party text NOT NULL)")
    options = {"range_key": "id", "hash_key": "party", "slice": "100", "hash_partitions": 2, "premake": 2, **options}
    call(owner, "SELECT dp.create_hierarchy", "ev", **options)
    create_slices(owner, "0", "500", "ev")
    owner.execute("INSERT INTO ev SELECT i, 'p' FROM generate_series(0, 449) AS i")
    return owner


def slices(owner: Connection) -> list[int]:
    return sorted(int(name[3:]) for name in names(owner, "ev"))


def findings(owner: Connection) -> dict[str, str]:
    rows = owner.execute("SELECT finding, target FROM dp.check('ev') WHERE finding ~ 'gap|missing|unreadable'")
    return dict(rows.fetchall())


def test_one_row_far_ahead_does_not_retire_all_the_others(db: Database) -> None:
    owner = declare(db, retention="300", retention_action="drop")
    create_slices(owner, *FAR, "ev")
    owner.execute("INSERT INTO ev VALUES (2100001, 'wild')")
    for _ in range(2):
        owner.execute("CALL dp.run_maintenance('ev')")
        assert slices(owner) == [200, 300, 400, 500, 600, 2100000], "retired by the rows of the run that it belongs to"
        assert owner.execute("SELECT count(*) FROM ev").fetchone() == (251,)
    assert findings(owner) == {"rows beyond a gap": '"public"."ev_2100000"'}
    owner.execute("DELETE FROM ev WHERE id > 1000")
    assert findings(owner) == {}


@pytest.mark.parametrize(("lower", "filled_to", "row"), [(2100000, 4000, 3500), (5000, 5000, 5050)])
def test_a_slice_far_ahead_neither_ends_maintenance_nor_has_its_gap_filled(
    db: Database, lower: int, filled_to: int, row: int
) -> None:
    owner = declare(db)
    create_slices(owner, str(lower), str(lower + 100), "ev")
    assert findings(owner) == {"missing future slice": '"public"."ev"'}
    owner.execute("CALL dp.run_maintenance('ev')")
    assert slices(owner) == [0, 100, 200, 300, 400, 500, 600, lower]
    assert findings(owner) == {}
    create_slices(owner, "700", str(filled_to), "ev", slice="1000")
    owner.execute("INSERT INTO ev VALUES (%s, 'p')", [row])
    owner.execute("CALL dp.run_maintenance('ev')")
    end = (row // 100 + 1) * 100 if lower == 5000 else filled_to
    assert {end, end + 100} <= set(slices(owner)), "what was filled by hand belongs to the run"


def test_small_gaps_are_filled_and_detached_slices_leave_none(db: Database) -> None:
    owner = declare(db, retention="300", retention_action="drop")
    owner.execute("DROP TABLE ev_300")
    owner.execute("CALL dp.run_maintenance('ev', dry_run => true)")
    printed = owner.execute("SELECT statement FROM dp.last_plan WHERE statement ~ '^DROP TABLE'").fetchall()
    owner.execute("CALL dp.run_maintenance('ev')")
    assert slices(owner) == [200, 300, 400, 500, 600]
    assert [row for row in printed if '"ev_100"' in row[0]], "a dry run retires what maintenance does"
    owner.execute("SELECT dp.detach_slice('ev', '300')")
    owner.execute("INSERT INTO ev VALUES (650, 'p')")
    owner.execute("CALL dp.run_maintenance('ev')")
    assert [each for each in slices(owner) if each != 300] == [400, 500, 600, 700, 800]


def test_a_gap_without_end_is_refused_when_it_is_asked_for(db: Database) -> None:
    owner = declare(db)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="slices"):
        create_slices(owner, "0", "2100000", "ev")
