"""Joined lookups: keys of any type, roles that see some rows, and plans that are thrown away."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest

from tests.server.test_joined_lookup import PARAMETERS, QUERY, RETURNS, ROOT, agree, make, owner
from tests.server.test_page import odd_table
from tests.support import family
from tests.support.database import Database

__all__ = ["owner"]  # the fixture

BOTH = (
    'SELECT t."I d", o."I d", o.x FROM {table} AS t JOIN {table} AS o ON o."I d" = t."I d" AND {o}'
    ' WHERE t."I d" = ANY ({ids}) AND {t}'
)


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("type_name", ["timestamptz", "timestamp", "date", "bigint", "smallint", "uuid"])
def test_any_range_key(db: Database, type_name: str, form: str) -> None:
    dice = random.Random(f"joined {type_name} {form}")
    is_number = "int" in type_name
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00", "TimeZone": dice.choice(["UTC", "Asia/Kathmandu"])})
    table = odd_table(owner, dice, type_name, form)[0]
    owner.execute("SELECT dp.create_global_index(%s, %s)", [table, ["I d"]])
    owner.execute("SELECT dp.configure(%s, lookup_slices => %s)", [table, dice.choice([0, 2, 3, 100])])
    query = BOTH.format(table=table, o="dp.has_keys(o)", t="dp.has_keys(t)", ids="ids")
    owner.execute("SELECT dp.create_joined_lookup(%s, 'f', %s, 'i bigint, j bigint, y int')", [table, query])
    plain = BOTH.format(table=table, o="true", t="true", ids="%s")

    def check(when: str) -> None:
        for ids in (range(250), range(0, 250, 9), (dice.randrange(250), dice.randrange(250))):
            told = owner.execute(f"{plain} ORDER BY 1", [list(ids)]).fetchall()  # type: ignore[call-overload]
            assert owner.execute("SELECT * FROM f(%s) ORDER BY 1", [list(ids)]).fetchall() == told, (when, ids)
            assert len(told) > 0 or len(ids) == 2

    for _ in range(2):
        check("at first")
    owner.execute("CALL dp.drain_default(%s)", [table])
    check("none in the default slice")
    owner.execute("SELECT dp.drop_slice(%s, %s)", [table, "30" if is_number else "2025-02-01"])
    owner.execute("SELECT dp.detach_slice(%s, %s)", [table, "90" if is_number else "2025-04-01"])
    check("slices are gone")
    owner.execute("SELECT dp.attach_slice(%s, %s)", [table, "90" if is_number else "2025-04-01"])
    check("one is back")


KINDS = {
    "citext": "e.citext",
    "a domain": "e.word",
    "numeric": "numeric",
    "char": "character(8)",
    "uuid": "uuid",
    "no case": "text COLLATE e.no_case",
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_hash_key_and_id(db: Database, kind: str) -> None:
    """Values that are equal and not the same are in one leaf, and found by each of them."""
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    owner.execute("CREATE SCHEMA e")
    if kind == "no case":
        if not owner.execute("SELECT FROM pg_collation WHERE collprovider = 'i' LIMIT 1").fetchall():
            pytest.skip("the server was built without ICU")
        owner.execute("CREATE COLLATION e.no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE EXTENSION citext SCHEMA e; GRANT USAGE ON SCHEMA e TO PUBLIC")
    owner.execute("CREATE DOMAIN e.word AS e.citext CHECK (VALUE <> ''::e.citext)")
    type_name = KINDS[kind]
    owner.execute(
        f"CREATE TABLE t (k {type_name} PRIMARY KEY, at timestamptz NOT NULL, h {type_name} NOT NULL);"  # type: ignore[call-overload]
        f" CREATE TABLE c (id bigint PRIMARY KEY, k {type_name} NOT NULL REFERENCES t);"
        " SELECT dp.create_hierarchy('t', 'at', 'h', hash_partitions => 4, premake => 0);"
        " SELECT dp.register_child('c', 't'); SELECT dp.configure('t', lookup_slices => 2)"
    )
    owner.execute("CALL dp.create_slices('t', '2025-01-01', '2025-07-01')")
    owner.execute("SELECT dp.create_global_index('t', '{k}')")
    asked = {}
    for n in range(1, 25):
        values = {
            "numeric": (f"{n}.0", f"{n}.00"),
            "uuid": (f"{n:032x}", f"{n:032X}"),
        }.get(kind, (f"word {n}", f"WORD {n}" if kind != "char" else f"word {n} "))
        asked[n] = values[1]
        at = f"2025-{n % 6 + 1:02}-10"
        owner.execute("INSERT INTO t VALUES (%s, %s, %s)", [values[0], at, values[n % 2]])
        # a child may write its keys otherwise
        owner.execute("INSERT INTO c (id, k, at, h) VALUES (%s, %s, %s, %s)", [n, values[1], at, values[0]])
    query = "SELECT c.id FROM t JOIN c ON c.k = t.k AND dp.has_keys(c) WHERE t.k = ANY (ids) AND dp.has_keys(t)"
    owner.execute("SELECT dp.create_joined_lookup('t', 'f', %s, 'id bigint', search_path => 'public, e')", [query])
    base = "text" if kind == "no case" else type_name
    for some in (list(asked), [3], [12, 24, 6]):
        rows = owner.execute(
            f"SELECT * FROM f(%s::text[]::{base}[]) ORDER BY 1",  # type: ignore[call-overload]
            [[asked[n] for n in some]],
        ).fetchall()
        assert rows == [(n,) for n in sorted(some)]


def test_policies_decide_what_a_role_sees(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner)
    owner.execute(
        'ALTER TABLE "Dialog" ENABLE ROW LEVEL SECURITY; ALTER TABLE "Activity" ENABLE ROW LEVEL SECURITY;'
        ' CREATE POLICY mine ON "Dialog" USING ("Party" = current_setting(\'app.party\', true));'
        ' CREATE POLICY even ON "Activity" USING ("Id" % 2 = 0);'
        ' GRANT SELECT ON "Dialog", "Activity", "Actor", "Dialog_Id_global" TO stranger, reader'
    )
    stranger = db.connect("stranger")
    asked = (list(range(1, 120)), "")
    seen = "SELECT * FROM latest(%s, %s) ORDER BY dialog"
    parties = {}
    for party in ("party 1", "party 2", "party 1"):
        stranger.execute("SELECT set_config('app.party', %s, false)", [party])
        parties[party] = stranger.execute(seen, asked).fetchall()
        assert {dialog % 7 for dialog, *_ in parties[party]} == {int(party[-1])}
        assert all(text is None or int(text.split()[1]) % 2 == 0 for _, text, _ in parties[party])
    agree(owner)
    with db.server.connect(db.name, "postgres") as admin:  # plans that are kept are those of a role
        for role, number in (("owner", len(owner.execute(seen, asked).fetchall())), ("stranger", 0)):
            admin.execute(f"SET ROLE {role}")  # type: ignore[call-overload]
            assert len(admin.execute(seen, asked).fetchall()) == number


def test_plans_that_are_thrown_away_are_made_again(db: Database, owner: psycopg.Connection[Any]) -> None:
    make(owner)
    agree(owner)
    other = db.connect()
    other.execute('ANALYZE "Dialog", "Activity", "Actor"')
    agree(owner)
    other.execute('CREATE INDEX ON "Activity" ("DialogId"); CREATE INDEX ON "Actor" ("ActivityId")')
    agree(owner)
    other.execute('ALTER TABLE "Activity" ADD COLUMN more int')
    agree(owner)
    other.execute(f"SELECT dp.configure({ROOT}, lookup_slices => 1)")
    agree(owner)
    owner.execute("DISCARD ALL")
    agree(owner)


def test_it_reads_what_the_transaction_sees(db: Database, owner: psycopg.Connection[Any]) -> None:
    """Rows that move meanwhile are found where they were, and once."""
    make(owner)
    mover = db.connect()
    seen = "SELECT * FROM latest(%s, %s) ORDER BY dialog"
    asked = (list(range(1, 120)), "")
    told = owner.execute(seen, asked).fetchall()
    with owner.transaction():
        owner.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert owner.execute(seen, asked).fetchall() == told
        mover.execute('UPDATE "Dialog" SET "UpdatedAt" = \'2025-06-12 12:00+00\' WHERE "Id" < 50')
        mover.execute('DELETE FROM "Dialog" WHERE "Id" BETWEEN 50 AND 55')
        assert owner.execute(seen, asked).fetchall() == told
    assert len(owner.execute(seen, asked).fetchall()) < len(told)
    agree(owner)


def test_in_one_statement_with_other_lookups(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SELECT dp.create_joined_lookup(%s, 'latest', %s, %s, %s)", ['"Dialog"', QUERY, RETURNS, PARAMETERS])
    rows = owner.execute(
        'SELECT d."Id", l.activity FROM "Dialog_by_Id"(ARRAY[15, 72]) AS d'
        " CROSS JOIN LATERAL latest(ARRAY[d.\"Id\"], '') AS l ORDER BY 1"
    ).fetchall()
    assert rows == [(15, "activity 151"), (72, "activity 721")]
    assert family.counts(owner)["Dialog"] == 72
