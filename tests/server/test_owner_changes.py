"""The tables of a hierarchy get another owner, and what belongs to them goes along: or it is told what did not."""

from __future__ import annotations

from typing import Any

import psycopg
import psycopg.sql
import pytest

from tests.server.test_plain_ddl import CHILD, ROOT
from tests.support.database import Database
from tests.support.hierarchies import call, create_slices

Connection = psycopg.Connection[Any]

HEIR = 'the he"ir'
ROLE = '"the he""ir"'
NOW = {"dp.now": "2025-02-15 00:00+00"}
VIEW, ITEM_VIEW = '"the ap""p"."We ""ird.Täble"', '"the ap""p".item'
SIDE = '"Sch ema"."We ""ird.Täble_I d_global"'
OF_OWNER = """
    SELECT pg_describe_object(classid, objid, 0) AS told FROM pg_shdepend
    WHERE deptype = 'o' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND refobjid = 'owner'::regrole AND classid <> 'pg_namespace'::regclass ORDER BY 1
"""
DEFINERS = """
    SELECT pg_get_userbyid(proowner) AS owner, prosrc LIKE '%evil%' AS is_evil FROM pg_proc
    WHERE prosecdef AND pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('Sch ema', 'the ap"p'))
"""
DETACHED = f"""
    SELECT format('ALTER TABLE %s OWNER TO {ROLE}', oid::regclass) AS statement
    FROM pg_class WHERE relowner = 'owner'::regrole AND relkind IN ('r', 'p')
    UNION ALL
    SELECT format('ALTER STATISTICS %s.%I OWNER TO {ROLE}', stxnamespace::regnamespace, stxname)
    FROM pg_statistic_ext WHERE stxowner = 'owner'::regrole
"""
NOT_FOLLOWED = "SELECT severity, target, detail, statement FROM dp.check(%s) WHERE finding LIKE '%%owner%%'"


def connect(db: Database, user: str = "owner") -> Connection:
    connection = db.connect("postgres", search_path="pg_catalog", timezone="UTC", datestyle="ISO", **NOW)
    connection.execute(psycopg.sql.SQL("SET SESSION AUTHORIZATION {}").format(psycopg.sql.Identifier(user)))
    return connection


def declare(db: Database, form: str = "exact") -> Connection:
    """Everything that a hierarchy may have beside its tables, and somebody to whom the owner may give it."""
    with db.server.connect() as admin:
        if not admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [HEIR]).fetchall():
            admin.execute(f"CREATE ROLE {ROLE}; GRANT {ROLE} TO owner")  # type: ignore[call-overload]
    db.begin_with(prepare, form)
    admin = db.connect("postgres")
    admin.execute(f'GRANT ALL ON SCHEMA "Sch ema", "the ap""p" TO {ROLE}')
    return connect(db)


def prepare(db: Database, form: str) -> None:
    owner = connect(db)
    owner.execute(f"""
        CREATE SCHEMA "Sch ema"; CREATE SCHEMA "the ap""p";
        CREATE TABLE {ROOT} ("I d" bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, body text);
        CREATE TABLE {CHILD} (id bigserial PRIMARY KEY, parent bigint NOT NULL REFERENCES {ROOT} ON DELETE CASCADE);
        CREATE INDEX item_parent ON {CHILD} (parent);
        CREATE STATISTICS "Sch ema"."pa ir" ON party, body FROM {ROOT};
    """)
    call(owner, "SELECT dp.create_hierarchy", ROOT, "at", "party", hash_partitions=2, key_form=form, premake=1)
    call(owner, "SELECT dp.register_child", CHILD, ROOT)
    create_slices(owner, "2024-12-01", "2025-04-01", ROOT)
    call(owner, "SELECT dp.detach_slice", ROOT, "2024-12-01")
    call(owner, "SELECT dp.create_global_index", ROOT, "{I d}", hash_partitions=2)
    call(owner, "SELECT dp.create_global_index", CHILD, "{id}")
    call(owner, "SELECT dp.create_page", ROOT, "new est", "who text", "t.party = who", 't."I d" DESC')
    query = 'SELECT i.id FROM "Sch ema".item AS i WHERE i.parent = ANY (ids) AND dp.has_keys(i)'
    call(owner, "SELECT dp.create_joined_lookup", ROOT, "join ed", query, "item bigint")
    call(owner, "SELECT dp.create_writable_views", ROOT, 'the ap"p')
    owner.execute(f"ANALYZE {ROOT}, {CHILD}")


def give(connection: Connection) -> None:
    for table in (ROOT, CHILD):
        connection.execute(f"ALTER TABLE {table} OWNER TO {ROLE}")  # type: ignore[call-overload]


def write_evil(owner: Connection) -> None:
    """What an owner who is about to lose the tables could leave behind, to have it run with the rights of the next."""
    for function in (f"{SIDE}()", '"the ap""p".item_fill_keys()'):
        owner.execute(
            f"CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"  # type: ignore[call-overload]
            " AS 'BEGIN RETURN NULL; /* evil */ END'"
        )
    owner.execute('ALTER FUNCTION "the ap""p".item_insert_row() SECURITY DEFINER')
    owner.execute('ALTER FUNCTION "Sch ema"."new est" SECURITY DEFINER')
    owner.execute(f"ALTER VIEW {VIEW} SET (security_invoker = false)")  # type: ignore[call-overload]


def lives(db: Database, form: str) -> None:
    """The new owner has everything, and everything works."""
    assert db.rows(OF_OWNER) == []
    definers = db.rows(DEFINERS)
    assert definers == [{"owner": HEIR, "is_evil": False}] * (3 if form == "exact" else 4)
    assert db.value("SELECT 'security_invoker=true' = ANY (reloptions) FROM pg_class WHERE oid = %s::regclass", VIEW)
    heir = connect(db, HEIR)
    assert heir.execute(NOT_FOLLOWED, [ROOT]).fetchall() == []
    assert call(heir, "SELECT dp.drift", ROOT) == []
    create_slices(heir, "2025-04-01", "2025-05-01", ROOT)
    heir.execute(
        f"""INSERT INTO {VIEW} ("I d", at, party) VALUES (1, '2025-02-02', 'p'), (2, '2025-04-04', 'p')"""  # type: ignore[call-overload]
    )
    heir.execute(f"INSERT INTO {ITEM_VIEW} (id, parent) VALUES (10, 1), (20, 2)")  # type: ignore[call-overload]
    assert heir.execute(f"SELECT count(*) FROM {SIDE}").fetchone() == (2,)  # type: ignore[call-overload]
    found = heir.execute("""SELECT "I d" FROM "Sch ema"."We ""ird.Täble_by_I d"('{1,2}') ORDER BY 1""").fetchall()
    assert found == [(1,), (2,)]
    assert heir.execute("""SELECT id FROM "Sch ema".item_by_parent('{2}')""").fetchall() == [(20,)]
    assert heir.execute("""SELECT "I d" FROM "Sch ema"."new est"('p', '2030-01-01', 9)""").fetchall() == [(2,), (1,)]
    assert heir.execute("""SELECT item FROM "Sch ema"."join ed"('{2}')""").fetchall() == [(20,)]
    heir.execute(f"UPDATE {ROOT} SET at = '2025-03-03' WHERE \"I d\" = 1")  # type: ignore[call-overload]
    call(heir, "SELECT dp.drop_slice", ROOT, "2025-02-01")
    call(heir, "SELECT dp.attach_slice", ROOT, "2024-12-01")
    call(heir, "CALL dp.run_maintenance", ROOT)
    heir.execute('ALTER STATISTICS "Sch ema"."pa ir" SET STATISTICS 7')
    assert call(heir, "SELECT dp.drift", ROOT) == []


@pytest.mark.parametrize("form", ["exact", "slice"])
@pytest.mark.parametrize("giver", ["postgres", "owner"])
def test_what_belongs_to_tables_goes_along_to_their_new_owner(db: Database, giver: str, form: str) -> None:
    write_evil(declare(db, form))
    give(connect(db, giver))
    lives(db, form)


def test_all_that_a_role_owns_is_given_away_at_once(db: Database) -> None:
    declare(db)
    connect(db, "postgres").execute(f"REASSIGN OWNED BY owner TO {ROLE}")  # type: ignore[call-overload]
    with db.server.connect() as admin:  # databases went along, too, which others will ask for
        for (name,) in admin.execute("SELECT datname FROM pg_database WHERE datdba = %s::regrole", [ROLE]).fetchall():
            admin.execute(f"ALTER DATABASE {name} OWNER TO owner")  # type: ignore[call-overload]
    lives(db, "exact")


def test_tables_are_given_away_in_a_loop_with_their_partitions(db: Database) -> None:
    declare(db)
    connect(db, "postgres").execute(
        f"""DO $$ DECLARE r regclass; BEGIN
            FOR r IN SELECT oid FROM pg_class WHERE relnamespace = '"Sch ema"'::regnamespace AND relkind IN ('r', 'p')
            LOOP EXECUTE format('ALTER TABLE %s OWNER TO {ROLE}', r); END LOOP; END $$"""  # type: ignore[call-overload]
    )
    lives(db, "exact")


@pytest.mark.parametrize(("form", "is_printed"), [("exact", False), ("exact", True), ("slice", False)])
def test_what_was_not_carried_is_told_and_carried_later(db: Database, form: str, is_printed: bool) -> None:
    write_evil(declare(db, form))
    give(db.connect("postgres", **{"dp.propagate_ddl": "off"}))
    heir = connect(db, HEIR)
    told = heir.execute(NOT_FOLLOWED, [ROOT]).fetchall()
    mend = f"CALL dp.sync('{ROOT}')"
    partitions = [statement for *_, statement in told if statement.startswith("ALTER TABLE")]
    assert len(partitions) == 2 * 3 * 3
    others = [(severity, target) for severity, target, _, statement in told if statement == mend]
    assert others == [(severity, table) for severity in ("error", "warning") for table in (ROOT, '"Sch ema"."item"')]
    assert len(others) + len(partitions) == len(told)
    assert sum("run with the rights of owner" in detail for _, _, detail, _ in told) == (3 if form == "exact" else 4)

    notices: list[str] = []
    heir.add_notice_handler(lambda notice: notices.append(f"{notice.severity} {notice.message_primary}"))
    call(heir, "CALL dp.sync", ROOT)
    warnings = [notice for notice in notices if "belongs to owner, who alone can give it away" in notice]
    assert len(warnings) == 2, "the new owner may not take it"
    assert len(db.rows(OF_OWNER)) > 30

    admin = connect(db, "postgres")
    if is_printed:
        call(admin, "CALL dp.sync", ROOT, dry_run=True)
        for (statement,) in admin.execute("SELECT statement FROM dp.last_plan ORDER BY step").fetchall():
            admin.execute(statement)
    else:
        admin.execute(mend)  # type: ignore[call-overload]
    admin.execute(mend)  # type: ignore[call-overload]
    assert admin.execute("SELECT * FROM dp.last_plan").fetchall() == [], "twice is as good as once"
    of_detached = db.rows(OF_OWNER)
    assert {"_2024_12" in each["told"] for each in of_detached} == {True}, "slices may be detached to be given away"
    with db.server.connect(db.name) as giving:
        for each in db.rows(DETACHED):
            giving.execute(each["statement"])
    lives(db, form)


def test_a_strangers_function_with_the_mark_of_a_page_is_not_given_to_the_owner(db: Database) -> None:
    declare(db)
    admin = db.connect("postgres")
    admin.execute('GRANT ALL ON SCHEMA "Sch ema" TO stranger')
    source = db.value("SELECT prosrc FROM pg_proc WHERE proname = 'new est'")
    stranger = db.connect("stranger")
    stranger.execute(
        f'CREATE FUNCTION "Sch ema"."new one"(who text, newest timestamptz, wanted bigint) RETURNS SETOF {ROOT}'  # type: ignore[call-overload]
        f" LANGUAGE plpgsql SECURITY DEFINER AS {psycopg.sql.quote(source)}"
    )
    give(connect(db, "postgres"))
    call(connect(db, "postgres"), "CALL dp.sync", ROOT)
    kept = "SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'new one'"
    assert db.value(kept) == "stranger"
    told = db.rows(NOT_FOLLOWED, ROOT)
    assert [(each["severity"], each["statement"]) for each in told] == [
        (
            "warning",
            f'ALTER FUNCTION "Sch ema"."new one"(text, timestamp with time zone, bigint) OWNER TO {ROLE}',
        )
    ]
    admin.execute(told[0]["statement"])
    assert db.rows(NOT_FOLLOWED, ROOT) == []


def test_a_new_owner_who_may_not_have_things_where_they_are_is_refused(db: Database) -> None:
    owner = declare(db)
    db.connect("postgres").execute(f'REVOKE CREATE ON SCHEMA "the ap""p" FROM {ROLE}')  # type: ignore[call-overload]
    before = db.rows(OF_OWNER)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="cannot be given to") as refused:
        owner.execute(f"ALTER TABLE {ROOT} OWNER TO {ROLE}")  # type: ignore[call-overload]
    assert refused.value.diag.message_hint == f'GRANT CREATE ON SCHEMA "the ap""p" TO {ROLE} first.'
    assert db.rows(OF_OWNER) == before
    owner.execute(str(refused.value.diag.message_hint).removesuffix(" first."))
    give(owner)
    lives(db, "exact")


def test_a_superuser_gives_away_tables_with_code_of_their_owner(db: Database) -> None:
    """No code of theirs runs by that; nor does a change that is another's at the same time go unsaid."""
    owner = declare(db)
    owner.execute(
        'CREATE FUNCTION "Sch ema".spy(text) RETURNS text IMMUTABLE LANGUAGE plpgsql'
        " AS 'BEGIN RETURN current_user; END';"
        f'CREATE INDEX ON {ROOT} ("Sch ema".spy(body))'
    )
    admin = connect(db, "postgres")
    notices: list[str] = []
    admin.add_notice_handler(lambda notice: notices.append(f"{notice.severity} {notice.message_primary}"))
    give(admin)
    assert [notice for notice in notices if notice.startswith("WARNING")] == []
    assert [each["told"] for each in db.rows(OF_OWNER)] == ['function "Sch ema".spy(text)']
    admin.execute(f"ALTER TABLE {ROOT} OWNER TO owner, ENABLE ROW LEVEL SECURITY")  # type: ignore[call-overload]
    warned = [notice for notice in notices if notice.startswith("WARNING")]
    assert len(warned) == 1
    assert "the change was not carried" in warned[0]


def test_one_table_of_a_hierarchy_gets_another_owner(db: Database) -> None:
    owner = declare(db)
    owner.execute(f"ALTER TABLE {CHILD} OWNER TO {ROLE}")  # type: ignore[call-overload]
    mine = [each["told"] for each in db.rows(OF_OWNER)]
    assert [told for told in mine if "item" in told] == [], "what the child's lookups, views and index are made of"
    assert f"table {SIDE}" in mine
    found = {row[1] for row in call(connect(db, "postgres"), "SELECT dp.check", ROOT)}
    assert "table of another owner" in found
    assert "owner not followed" not in found


def test_a_partition_and_a_detached_slice_that_were_given_away_on_purpose_stay(db: Database) -> None:
    declare(db)
    admin = connect(db, "postgres")
    leaf = '"Sch ema"."We ""ird.Täble_2025_01_h00"'
    archived = db.value("SELECT slice::text FROM dp.detached_slice WHERE tbl = %s::regclass", ROOT)
    admin.execute(f"ALTER TABLE {leaf} OWNER TO stranger; ALTER TABLE {archived} OWNER TO stranger")
    give(admin)
    theirs = db.rows("SELECT oid FROM pg_class WHERE relowner = 'stranger'::regrole AND relkind IN ('r', 'p')")
    given = db.rows("SELECT %s::regclass::oid AS oid UNION SELECT %s::regclass", leaf, archived)
    assert sorted(each["oid"] for each in theirs) == sorted(each["oid"] for each in given)


def test_a_giver_who_has_not_the_rights_of_the_new_owner_is_told_that_nothing_was_carried(db: Database) -> None:
    """Who is a member without inheriting may give away, and not act for the tables any more."""
    declare(db)
    with db.server.connect() as admin:
        admin.execute(f"REVOKE {ROLE} FROM owner; CREATE ROLE go_between NOINHERIT; GRANT {ROLE} TO go_between")  # type: ignore[call-overload]
        admin.execute("GRANT go_between TO owner")
    try:
        owner = connect(db)
        warnings: list[str] = []
        owner.add_notice_handler(lambda notice: warnings.append(str(notice.message_primary)))
        before = len(db.rows(OF_OWNER))
        give(owner)
        assert len(db.rows(OF_OWNER)) == before - 3, "the tables, and a sequence of theirs"
        assert ["the change was not carried" in warning for warning in warnings] == [True, True]
        connect(db, "postgres").execute(f"CALL dp.sync('{ROOT}')")  # type: ignore[call-overload]
        assert {"_2024_12" in each["told"] for each in db.rows(OF_OWNER)} == {True}
    finally:
        with db.server.connect() as admin:
            admin.execute(f"DROP ROLE go_between; GRANT {ROLE} TO owner")  # type: ignore[call-overload]
