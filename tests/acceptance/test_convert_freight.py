"""The second hierarchy is converted and converted back: the catalog and the rows are what they were."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import checksums, dumps, freight
from tests.support.catalogs import picture
from tests.support.database import Database
from tests.support.dialogporten import KEY_FORMS

Connection = psycopg.Connection[Any]

CONSIGNMENTS = 300
SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname LIKE 'Fracht%' ORDER BY 1"


def _call(key_form: str) -> str:
    return (
        f"CALL dp.convert('{freight.ROOT}', '{freight.RANGE_KEY}', '{freight.HASH_KEY}', key_form => '{key_form}',"
        " slice => '1 year', hash_partitions => 2, allow_weaker_unique => true)"
    )


@pytest.mark.parametrize("key_form", KEY_FORMS)
def test_there_and_back(db: Database, key_form: str) -> None:
    owner = db.connect()
    owner.execute(freight.schema())
    owner.execute(freight.rows(CONSIGNMENTS))
    columns = checksums.columns(owner, freight.TABLES + freight.VIEWS)
    before, sequences = checksums.contents(owner, columns), owner.execute(SEQUENCES).fetchall()
    schema, catalog = dumps.schema_lines(db), picture(db)
    owner.execute(_call(key_form))
    assert checksums.contents(owner, columns) == before
    partitioned = owner.execute("SELECT count(*) FROM dp.managed_table WHERE role <> 'reference'").fetchone()
    assert partitioned == (len(freight.TABLES),)
    owner.execute("SELECT dp.drop_converted(%s)", [freight.ROOT])
    owner.execute("CALL dp.unconvert(%s)", [freight.ROOT])
    assert checksums.contents(owner, columns) == before
    assert dumps.difference(schema, dumps.schema_lines(db)) == ""
    assert owner.execute(SEQUENCES).fetchall() == sequences
    assert picture(db) == catalog


@pytest.mark.parametrize("key_form", KEY_FORMS)
def test_converted_everything_on_the_tables_still_works(db: Database, key_form: str) -> None:
    owner = db.connect()
    owner.execute(freight.schema())
    owner.execute(freight.rows(CONSIGNMENTS))
    owner.execute(_call(key_form))
    owner.execute(f"SET search_path = {freight.SCHEMA}, public")
    column = owner.execute("SELECT coalesce(slice_key, range_key) FROM dp.hierarchy").fetchone()
    assert column is not None
    key = f'"{column[0]}"'
    # The statement trigger with a transition table, and the row trigger with a condition.
    owner.execute('DELETE FROM "Protokoll"')
    owner.execute(
        f'INSERT INTO "Ereignis" ("Mandant", "Sendung Nr", "Zeit", "Text", {key})'
        f' SELECT "Mandant", "Nr", now(), \'neu\', {key} FROM "Sendung (neu)" WHERE "Mandant" = 1'
    )
    assert owner.execute('SELECT "Tabelle", "Anzahl" > 30 FROM "Protokoll"').fetchall() == [("Ereignis", True)]
    owner.execute('UPDATE "Ereignis" SET "Text" = \'anders\' WHERE "Text" = \'neu\'')
    assert owner.execute(
        'SELECT count(*) FROM "Ereignis" WHERE "geändert" IS NULL AND "Text" = \'anders\''
    ).fetchone() == (0,)
    # The rule.
    owner.execute('DELETE FROM "Protokoll"')
    owner.execute('DELETE FROM "%s; --"."Position" WHERE "Mandant" = 2')
    written = owner.execute('SELECT count(*) > 50, min("Tabelle") FROM "Protokoll"').fetchone()
    assert written == (True, "Position")
    # The function and the view on it read the table that took the place of the plain one.
    assert owner.execute('SELECT sum("Menge") FROM "Mengen" WHERE "Mandant" = 2').fetchone() == (0,)
    # Row security: a reader sees its own client's consignments.
    reader = db.connect()
    reader.execute("SET ROLE owner")
    with db.server.connect(db.name) as admin:
        admin.execute("SET ROLE reader")
        admin.execute("SET fracht.mandant = '3'")
        mandants = admin.execute(
            f"SELECT DISTINCT \"Mandant\", \"Zustand\" <> 'zu''gestellt' FROM {freight.ROOT}"
        ).fetchall()
        assert mandants == [(3, True)]
    # A package that goes sets what lies in it free, and nothing else.
    before = owner.execute('SELECT count(*) FROM "Packstück" WHERE "liegt in" IS NOT NULL').fetchone()
    owner.execute(
        'DELETE FROM "Packstück" WHERE "Id" = (SELECT min("liegt in") FROM "Packstück" WHERE "liegt in" IS NOT NULL)'
    )
    after = owner.execute('SELECT count(*) FROM "Packstück" WHERE "liegt in" IS NOT NULL').fetchone()
    assert before is not None and after == (before[0] - 1,)
    # The materialized view can be refreshed beside readers.
    owner.execute('REFRESH MATERIALIZED VIEW CONCURRENTLY "Summen"')
    # The whole consignment moves to another year, along both ways of the diamond.
    moved = owner.execute(
        f'UPDATE "Sendung (neu)" SET "{freight.RANGE_KEY}" = "{freight.RANGE_KEY}" + interval \'1 year\''
        ' WHERE ("Mandant", "Nr") = (SELECT "Mandant", "Sendung Nr" FROM "Packstück" ORDER BY "Id" DESC LIMIT 1)'
    ).rowcount
    assert moved == 1
    apart = owner.execute(
        f'SELECT count(*) FROM "Foto" AS f JOIN "Ereignis" AS e ON e."Id" = f."Ereignis"'
        f' LEFT JOIN "Packstück" AS p ON p."Id" = f."Packstück" WHERE f.{key} <> e.{key} OR f.{key} <> p.{key}'
    ).fetchone()
    assert apart == (0,)
