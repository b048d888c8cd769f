"""However the tables were declared before, the same hierarchy comes out."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support import dialogporten
from tests.support.database import Database
from tests.support.dialogporten import HASH_KEY, PARENTS, TABLES, partition_column

Connection = psycopg.Connection[Any]


def _declare(db: Database, key_form: str, form: str) -> Connection:
    owner = db.connect()
    owner.execute(dialogporten.schema(form))
    for call in dialogporten.declaration(key_form, form, hash_partitions=2):
        owner.execute(call)
    return owner


def _foreign_keys(connection: Connection) -> set[str]:
    rows = connection.execute(
        "SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND confrelid IN (SELECT tbl FROM dp.managed_table"
        " WHERE role <> 'reference')"
    )
    return {row[0] for row in rows}


@pytest.mark.parametrize("form", ["plain", "root", "tree"])
@pytest.mark.parametrize("key_form", dialogporten.KEY_FORMS)
def test_every_table_gets_its_keys(db: Database, key_form: str, form: str) -> None:
    owner = _declare(db, key_form, form)
    column = partition_column(key_form)
    keys = f'"{column}", "{HASH_KEY}"'
    expected = {
        f'"{child}": FOREIGN KEY ("{own}", {keys}) REFERENCES "{parent}"("Id", {keys}) ON UPDATE CASCADE'
        f" ON DELETE {action}" + (f' ("{own}")' if action == "SET NULL" else "")
        for child, parent, own, action in PARENTS
    }
    assert _foreign_keys(owner) == expected
    structure = owner.execute(
        "SELECT c.relname, pg_get_partkeydef(c.oid), pg_get_constraintdef(k.oid), c.reltuples < 1"
        " FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p' WHERE c.relname = ANY (%s)",
        (list(TABLES),),
    ).fetchall()
    assert sorted(structure) == sorted(
        (table, f'RANGE ("{column}")', f'PRIMARY KEY ("Id", {keys})', True) for table in TABLES
    )
    types = owner.execute(
        "SELECT DISTINCT attname, format_type(atttypid, atttypmod), attcollation::regcollation::text, attnotnull"
        " FROM pg_attribute JOIN dp.managed_table ON tbl = attrelid WHERE attname IN (partition_column, hash_key)"
    ).fetchall()
    assert len(types) == 2  # one type and one collation for each key, in all tables
    assert (HASH_KEY, "character varying(255)", '"C"', True) in types


@pytest.mark.parametrize("key_form", dialogporten.KEY_FORMS)
def test_the_indexes_are_those_of_the_plain_tables(db: Database, key_form: str) -> None:
    before = _indexes(db, dialogporten.schema("plain"))
    owner = db.connect()
    for call in dialogporten.declaration(key_form, hash_partitions=2):
        owner.execute(call)
    after = _indexes(db)
    keys = (partition_column(key_form), HASH_KEY)
    assert set(after) == set(before)
    for name, (is_unique, columns, included, predicate) in before.items():
        widened = columns + [key for key in keys if key not in columns] if is_unique else columns
        assert after[name] == (is_unique, widened, included, predicate), name


def _indexes(db: Database, script: str | None = None) -> dict[str, tuple[bool, list[str], list[str], str | None]]:
    """Uniqueness, key columns, included columns and condition of each index of the hierarchy's tables."""
    owner = db.connect()
    if script is not None:
        owner.execute(script)
    rows = owner.execute(
        "SELECT i.indexrelid::regclass::text, i.indisunique, array_agg(a.attname::text ORDER BY n)"
        " FILTER (WHERE n <= i.indnkeyatts), coalesce(array_agg(a.attname::text ORDER BY n)"
        " FILTER (WHERE n > i.indnkeyatts), '{}'), pg_get_expr(i.indpred, i.indrelid)"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
        " CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS k (attribute, n)"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attribute"
        " WHERE c.relname = ANY (%s) GROUP BY i.indexrelid, i.indisunique, i.indpred, i.indrelid",
        (list(TABLES),),
    ).fetchall()
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def test_the_loss_of_a_unique_rule_is_refused_until_it_is_accepted(db: Database) -> None:
    owner = db.connect()
    owner.execute(dialogporten.schema())
    call = dialogporten.declaration("exact")[0]
    with pytest.raises(psycopg.errors.InvalidTableDefinition, match="IX_Dialog_Org_IdempotentKey"):
        owner.execute(call.replace(", allow_weaker_unique => true", ""))
    owner.execute(call)


@pytest.mark.parametrize("key_form", dialogporten.KEY_FORMS)
def test_the_same_calls_once_more_change_nothing(db: Database, key_form: str) -> None:
    owner = _declare(db, key_form, "plain")
    for call in dialogporten.declaration(key_form, hash_partitions=2):
        assert owner.execute(call).fetchall() == [], call
