"""The second hierarchy as it is: what the tests of conversion start from."""

from __future__ import annotations

from tests.support import checksums, dumps, freight
from tests.support.database import Database

CONSIGNMENTS = 200


def test_the_tables_have_rows_and_names_of_every_length(db: Database) -> None:
    owner = db.connect()
    owner.execute(freight.schema())
    empty = dumps.schema_lines(db)
    owner.execute(freight.rows(CONSIGNMENTS))
    assert dumps.difference(empty, dumps.schema_lines(db)) == ""
    found = checksums.contents(owner, checksums.columns(owner, freight.TABLES + freight.VIEWS))
    assert [name for name, contents in found.items() if not contents.rows] == []
    assert found[freight.ROOT].rows == CONSIGNMENTS
    longest = owner.execute("SELECT max(octet_length(relname::text)) FROM pg_class").fetchone()
    assert longest == (63,)


def test_a_checksum_knows_a_changed_row_and_no_order(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE one AS SELECT n AS id, 'text ' || n AS body, n * 1.5 AS size FROM generate_series(1, 99) n"
    )
    owner.execute("CREATE TABLE other AS SELECT *, now() AS beside FROM one ORDER BY id DESC")
    columns = checksums.columns(owner, ("one",))
    before = checksums.contents(owner, columns)["one"]
    assert checksums.contents(owner, {"other": columns["one"]})["other"] == before
    owner.execute("UPDATE one SET body = 'text 7.' WHERE id = 7")
    after = checksums.contents(owner, columns)["one"]
    assert after.rows == before.rows and after.checksum != before.checksum


def test_a_dump_knows_a_changed_definition(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE one (id int)")
    before = dumps.schema_lines(db)
    owner.execute("COMMENT ON TABLE one IS 'a table'")
    assert dumps.difference(before, dumps.schema_lines(db)) == "+ COMMENT ON TABLE public.one IS 'a table';"
