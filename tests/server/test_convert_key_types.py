"""dp.convert by range keys that are no timestamptz; rows without a parent get the keys of the oldest slice."""

from __future__ import annotations

import pytest

from tests.server.test_convert import contents
from tests.support.database import Database

# Values of a range key for i from 1 to 60, some months apart, and the width of slices.
RANGE_KEYS = {
    "uuid": (
        "(lpad(to_hex((extract(epoch FROM '2019-01-01'::timestamptz + i * interval '30 days') * 1000)::bigint), 12,"
        " '0') || '7' || left(md5(i::text), 3) || '8' || left(md5(i::text), 15))::uuid",
        "1 year",
    ),
    "timestamp": ("'2019-01-01'::timestamp + i * interval '30 days'", "1 year"),
    "date": ("'2019-01-01'::date + i * 30", "1 year"),
    "smallint": ("i * 100 - 2000", "1000"),
}


@pytest.mark.parametrize("key_form", ["exact", "slice"])
@pytest.mark.parametrize("range_type", RANGE_KEYS)
def test_rows_without_a_parent_by_other_types_of_range_key(db: Database, range_type: str, key_form: str) -> None:
    values, width = RANGE_KEYS[range_type]
    owner = db.connect()
    owner.execute(
        f'CREATE TABLE "The root" ("The id" int PRIMARY KEY, "When?" {range_type} NOT NULL, "Who?" uuid NOT NULL);'
        ' CREATE TABLE "The child" (id int PRIMARY KEY, "Its root" int REFERENCES "The root" ON DELETE SET NULL);'
        f' INSERT INTO "The root" SELECT i, {values}, md5((i % 5)::text)::uuid FROM generate_series(1, 60) AS i;'
        ' INSERT INTO "The child" SELECT i, nullif(i % 7, 0) FROM generate_series(1, 60) AS i'
    )
    columns = {'"The root"': '"The id", "When?", "Who?"', '"The child"': 'id, "Its root"'}
    before = contents(db, columns)
    owner.execute(
        f"""CALL dp.convert('"The root"', 'When?', 'Who?', '{key_form}', slice => '{width}', orphans => 'keep')"""
    )
    assert contents(db, columns) == before
    oldest = db.value('SELECT tableoid::regclass::text FROM "The root" ORDER BY "When?" LIMIT 1')
    lost = db.rows('SELECT DISTINCT tableoid::regclass::text AS leaf FROM "The child" WHERE "Its root" IS NULL')
    assert [row["leaf"].rpartition("_h")[0] for row in lost] == [oldest.rpartition("_h")[0].replace("root", "child")]
    wrong = db.rows("SELECT * FROM dp.check() WHERE severity = 'error' OR finding LIKE '%slice%'")
    assert wrong == [], "the slices that are kept ahead are there, too"
    owner.execute("""SELECT dp.drop_converted('"The root"')""")
    owner.execute("""CALL dp.unconvert('"The root"')""")
    assert contents(db, columns) == before
