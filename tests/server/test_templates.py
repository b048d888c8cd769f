"""New leaves are right from the start: what the parent says, what the template says, and nothing more."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import call, create_slices, declare

LEAVES = "(SELECT leaf AS oid FROM dp.leaf WHERE tbl = 'event'::regclass) AS leaf"


def made(
    owner: psycopg.Connection, *statements: str, form: str = "exact", child: bool = True, **options: object
) -> None:
    """A hierarchy whose parent and template were changed after it was declared, and then got a slice."""
    declare(owner, key_form=form, child=child, **options)
    for statement in statements:
        owner.execute(statement)
    create_slices(owner, "2025-01-01", "2025-02-01")


def on_leaves(
    owner: psycopg.Connection, expression: str, source: str = "pg_class c", join: str = "c.oid"
) -> set[object]:
    """What an expression over the catalog says of the leaves of event; one value where they are all alike."""
    rows = owner.execute(f"SELECT {expression} FROM {LEAVES} LEFT JOIN {source} ON {join} = leaf.oid").fetchall()
    assert rows
    return {row[0] for row in rows}


@pytest.fixture(params=["exact", "slice"])
def form(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_owner_is_the_tables_owner_also_when_a_superuser_calls(db: Database) -> None:
    declare(db.connect())
    create_slices(db.connect("postgres"), "2025-01-01", "2025-02-01")
    owners = db.rows("SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname ~ '^(event|item)'")
    assert [row["owner"] for row in owners] == ["owner"]


def test_a_member_of_the_owner_may_call(db: Database) -> None:
    admin = db.connect("postgres")
    declare(db.connect())
    admin.execute("CREATE ROLE clerk LOGIN IN ROLE owner")
    try:
        clerk = db.connect("clerk")
        create_slices(clerk, "2025-01-01", "2025-02-01")
        assert clerk.execute("SELECT current_user").fetchone() == ("clerk",)
        assert db.value("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'item_2025_01_h00'") == "owner"
    finally:
        db.connections[-1].close()
        admin.execute("DROP OWNED BY clerk; DROP ROLE clerk")


def test_a_stranger_is_refused(db: Database) -> None:
    declare(db.connect())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        create_slices(db.connect("stranger"), "2025-01-01", "2025-02-01")
    assert db.rows("SELECT FROM dp.slice") == []


def test_privileges_are_the_parents(db: Database, form: str) -> None:
    owner = db.connect()
    owner.execute(
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO stranger;"
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC"
    )
    made(
        owner,
        "REVOKE ALL ON event FROM stranger, PUBLIC",
        "GRANT SELECT, INSERT ON event TO reader",
        "GRANT UPDATE ON event TO reader WITH GRANT OPTION",
        "GRANT SELECT (id, body), UPDATE (body) ON event TO stranger",
        "GRANT REFERENCES (id) ON event TO PUBLIC",
        "GRANT DELETE ON event TO PUBLIC",
        form=form,
    )
    acl = "(SELECT array_agg(x::text ORDER BY x::text) FROM unnest({}) AS x)"
    columns = (
        "(SELECT array_agg(a.attname || ' ' || a.attacl::text ORDER BY 1) FROM pg_attribute a WHERE a.attrelid = {} "
    )
    columns += "AND a.attacl IS NOT NULL)"
    parent = owner.execute(
        f"SELECT {acl.format('relacl')}, {columns.format('oid')} FROM pg_class WHERE oid = 'event'::regclass"
    ).fetchone()
    assert on_leaves(owner, f"{acl.format('c.relacl')}::text") == {"{" + ",".join(parent[0]) + "}"}
    assert on_leaves(owner, f"{columns.format('leaf.oid')}::text") == {
        owner.execute("SELECT %s::text[]::text", [parent[1]]).fetchone()[0]
    }
    # the child's own privileges are the child's
    assert db.value("SELECT has_table_privilege('stranger', 'item_2025_01_h00', 'SELECT')") is True
    assert db.value("SELECT has_table_privilege('stranger', 'event_2025_01_h00', 'DELETE')") is True
    assert db.value("SELECT has_table_privilege('stranger', 'event_2025_01_h00', 'INSERT')") is False


def test_what_the_owner_took_from_itself_stays_taken(db: Database) -> None:
    owner = db.connect()
    made(owner, "REVOKE TRUNCATE, DELETE ON event FROM owner", child=False)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        owner.execute("TRUNCATE event_2025_01_h00")
    owner.execute("INSERT INTO event_2025_01_h00 SELECT WHERE false")


def test_storage_parameters_of_the_template(db: Database, form: str) -> None:
    owner = db.connect()
    made(
        owner,
        "ALTER TABLE event_template SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, parallel_workers = 2,"
        " toast.autovacuum_enabled = false, toast_tuple_target = 256)",
        form=form,
    )
    assert on_leaves(owner, "c.reloptions::text") == {
        "{fillfactor=70,autovacuum_vacuum_scale_factor=0.01,parallel_workers=2,toast_tuple_target=256}"
    }
    assert on_leaves(owner, "(SELECT t.reloptions::text FROM pg_class t WHERE t.oid = c.reltoastrelid)") == {
        "{autovacuum_enabled=false}"
    }


def test_statistics_targets_and_n_distinct_of_the_template(db: Database) -> None:
    owner = db.connect()
    made(
        owner,
        "ALTER TABLE event_template ALTER body SET STATISTICS 0, ALTER party SET STATISTICS 1000,"
        " ALTER party SET (n_distinct = -0.5, n_distinct_inherited = 77)",
    )
    of = "(SELECT a.{} FROM pg_attribute a WHERE a.attrelid = leaf.oid AND a.attname = '{}')"
    assert on_leaves(owner, of.format("attstattarget", "body")) == {0}
    assert on_leaves(owner, of.format("attstattarget", "party")) == {1000}
    options = "(SELECT string_agg(o, ' ') FROM unnest(a.attoptions) AS o WHERE o LIKE 'n\\_distinct%')"
    assert on_leaves(owner, of.replace("a.{}", options).format("party")) == {"n_distinct=-0.5 n_distinct_inherited=77"}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("ALTER TABLE event REPLICA IDENTITY FULL", "f"),
        ("ALTER TABLE event REPLICA IDENTITY NOTHING", "n"),
        ("ALTER TABLE event REPLICA IDENTITY USING INDEX event_pkey", "i event_2025_01_h0_pkey"),
        (
            "CREATE UNIQUE INDEX other ON event (party, at, id); ALTER TABLE event REPLICA IDENTITY USING INDEX other",
            "i event_2025_01_h0_party_at_id_idx",
        ),
        ("ALTER TABLE event_template REPLICA IDENTITY FULL", "f"),
        (
            "CREATE UNIQUE INDEX only_leaves ON event_template (id);"
            " ALTER TABLE event_template REPLICA IDENTITY USING INDEX only_leaves",
            "i event_2025_01_h0_only_leaves",
        ),
    ],
)
def test_replica_identity(db: Database, statement: str, expected: str) -> None:
    owner = db.connect()
    owner.execute("SET client_min_messages = warning")
    declare(owner)
    owner.execute("ALTER TABLE event_template ALTER id SET NOT NULL;" + statement)
    create_slices(owner, "2025-01-01", "2025-02-01")
    index = "(SELECT ' ' || regexp_replace(indexrelid::regclass::text, 'h\\d\\d', 'h0') FROM pg_index"
    index += " WHERE indrelid = leaf.oid AND indisreplident)"
    assert on_leaves(owner, f"c.relreplident::text || coalesce({index}, '')") == {expected}


def test_statistics_objects(db: Database, form: str) -> None:
    owner = db.connect()
    made(
        owner,
        "CREATE STATISTICS plain ON id, party FROM event",
        "CREATE STATISTICS chosen (mcv, ndistinct) ON body, party FROM event;"
        " ALTER STATISTICS chosen SET STATISTICS 500",
        "CREATE STATISTICS one ON (lower(body)) FROM event",
        "CREATE STATISTICS mixed (dependencies) ON (lower(body)), party, (id % 7) FROM event",
        "CREATE STATISTICS none ON id, body FROM event_template; ALTER STATISTICS none SET STATISTICS 0",
        form=form,
    )
    definition = (
        "(SELECT string_agg(regexp_replace(pg_get_statisticsobjdef(s.oid), '^CREATE STATISTICS \\S+ | FROM .*', '',"
    )
    definition += " 'g') || coalesce(' ' || nullif(s.stxstattarget, -1), ''), '; ' ORDER BY s.stxname)"
    definition += " FROM pg_statistic_ext s WHERE s.stxrelid = leaf.oid)"
    assert on_leaves(owner, definition) == {
        "(ndistinct, mcv) ON party, body 500; (dependencies) ON party, lower(body), (id % 7::bigint); ON id, body 0;"
        " ON lower(body); ON id, party"
    }


def test_comments(db: Database) -> None:
    owner = db.connect()
    made(owner, "COMMENT ON TABLE event IS 'what happened'", "COMMENT ON COLUMN event.body IS 'it''s text'")
    assert on_leaves(owner, "obj_description(leaf.oid)") == {"what happened"}
    assert on_leaves(
        owner,
        "col_description(leaf.oid, (SELECT attnum FROM pg_attribute a WHERE a.attrelid = leaf.oid"
        " AND attname = 'body'))",
    ) == {"it's text"}


@pytest.mark.parametrize("forced", [False, True])
def test_row_security(db: Database, forced: bool) -> None:
    """A leaf read by its own name shows no more than its parent does."""
    owner = db.connect()
    made(
        owner,
        "CREATE TABLE member (party text, role name)",
        "GRANT SELECT ON event, member TO stranger, reader",
        f"ALTER TABLE event ENABLE ROW LEVEL SECURITY{', FORCE ROW LEVEL SECURITY' if forced else ''}",
        "CREATE POLICY own ON event FOR SELECT TO stranger, reader"
        " USING (EXISTS (SELECT FROM member m WHERE m.party = event.party AND m.role = current_user))",
        "CREATE POLICY short ON event AS RESTRICTIVE USING (length(body) < 10)",
        "CREATE POLICY writing ON event FOR INSERT WITH CHECK (party <> 'event.party')",
        "CREATE POLICY writing_too ON event FOR UPDATE USING (true)"
        " WITH CHECK (party IN (SELECT x.party FROM event x))",
        "INSERT INTO member VALUES ('a', 'stranger')",
    )
    admin = db.connect("postgres")
    admin.execute(
        "INSERT INTO event (id, at, party, body) VALUES (1, '2025-01-02', 'a', 'short'),"
        " (2, '2025-01-02', 'b', 'short'), (3, '2025-01-02', 'a', 'much too long')"
    )
    stranger = db.connect("stranger")
    assert stranger.execute("SELECT id FROM event").fetchall() == [(1,)]
    seen = [stranger.execute(f"SELECT id FROM event_2025_01_h0{number}").fetchall() for number in (0, 1)]
    assert sorted(seen) == [[], [(1,)]]
    assert on_leaves(owner, "c.relforcerowsecurity") == {forced}
    policies = (
        "(SELECT string_agg(concat_ws(' ', polname, polcmd, polpermissive), ', ' ORDER BY polname) FROM pg_policy"
    )
    assert on_leaves(owner, policies + " WHERE polrelid = leaf.oid)") == {
        "own r t, short * f, writing a t, writing_too w t"
    }


def test_unlogged(db: Database, form: str) -> None:
    owner = db.connect()
    made(owner, "ALTER TABLE event_template SET UNLOGGED; ALTER TABLE item_template SET UNLOGGED", form=form)
    assert on_leaves(owner, "c.relpersistence") == {"u"}


def test_unlogged_without_hash_level(db: Database) -> None:
    owner = db.connect()
    made(owner, "ALTER TABLE event_template SET UNLOGGED; ALTER TABLE item_template SET UNLOGGED", hash_type=None)
    assert on_leaves(owner, "c.relpersistence") == {"u"}


def test_indexes_of_leaves_alone(db: Database) -> None:
    owner = db.connect()
    made(
        owner,
        "CREATE INDEX quick ON event_template USING brin (at) WITH (pages_per_range = 16)",
        "CREATE UNIQUE INDEX once ON event_template (lower(body)) WHERE body <> ''",
    )
    definitions = "(SELECT string_agg(regexp_replace(pg_get_indexdef(indexrelid), '_h\\d\\d', '', 'g'), '; ' ORDER BY"
    definitions += " indexrelid::regclass::text) FROM pg_index WHERE indrelid = leaf.oid AND NOT indisprimary)"
    assert on_leaves(owner, definitions) == {
        "CREATE UNIQUE INDEX event_2025_01_once ON public.event_2025_01 USING btree (lower(body))"
        " WHERE (body <> ''::text);"
        " CREATE INDEX event_2025_01_quick ON public.event_2025_01 USING brin (at) WITH (pages_per_range='16')"
    }


@pytest.mark.parametrize("child", [False, True])
def test_tablespace(db: Database, child: bool) -> None:
    admin = db.connect("postgres")
    admin.execute("SET allow_in_place_tablespaces = on")
    admin.execute("CREATE TABLESPACE fast LOCATION ''")
    try:
        admin.execute("GRANT CREATE ON TABLESPACE fast TO owner")
        owner = db.connect()
        made(owner, *[f"ALTER TABLE {table} SET TABLESPACE fast" for table in ("event", "item")])
        table = "item" if child else "event"
        found = db.rows(
            "SELECT DISTINCT spcname FROM dp.leaf JOIN pg_class c ON c.oid = leaf LEFT JOIN pg_tablespace t"
            " ON t.oid = reltablespace WHERE tbl = %s::regclass",
            table,
        )
        assert [row["spcname"] for row in found] == ["fast"]
    finally:
        db.drop()
        with db.server.connect() as connection:
            connection.execute("DROP TABLESPACE fast")


def test_columns_keep_what_the_parent_says(db: Database, form: str) -> None:
    """Compression, storage, generated columns, defaults, NOT NULL, CHECKs, collations and triggers."""
    owner = db.connect()
    owner.execute(
        "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN NEW.body := NEW.body || ''!''; RETURN NEW; END'"
    )
    made(
        owner,
        "ALTER TABLE event ALTER body SET STORAGE EXTERNAL, ALTER body SET DEFAULT 'none', ADD size int"
        " GENERATED ALWAYS AS (length(body)) STORED, ADD more text COLLATE \"C\" NOT NULL DEFAULT 'x',"
        " ADD CHECK (id > 0)",
        "ALTER TABLE event ALTER more SET COMPRESSION pglz",
        "CREATE TRIGGER mark BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION mark()",
        "ALTER TABLE event ADD CONSTRAINT event_more_check CHECK (more <> '')",
        form=form,
    )
    columns = (
        "(SELECT string_agg(concat_ws(' ', attname, attstorage, nullif(attcompression, ''), attnotnull, attgenerated,"
        " pg_get_expr(adbin, adrelid), attcollation::regcollation), '; ' ORDER BY attname) FROM pg_attribute LEFT JOIN"
        " pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = {} AND attnum > 0)"
    )
    parent = owner.execute(f"SELECT {columns.format(chr(39) + 'event' + chr(39) + '::regclass')}").fetchone()[0]
    assert on_leaves(owner, columns.format("leaf.oid")) == {parent}
    more = (", at_slice", ", '2025-01-01'") if form == "slice" else ("", "")
    owner.execute(f"INSERT INTO event (id, at, party{more[0]}) VALUES (1, '2025-01-02', 'a'{more[1]})")
    assert owner.execute("SELECT body, size FROM event").fetchone() == ("none!", 5)
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("UPDATE event SET more = ''")


def test_an_identity_column_of_the_parent_numbers_all_rows(db: Database) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL,"
        " party text NOT NULL)"
    )
    call(owner, "SELECT dp.create_hierarchy", "event", "at", "party", hash_partitions=2)
    create_slices(owner, "2025-01-01", "2025-03-01")
    owner.execute("INSERT INTO event (at, party) SELECT '2025-01-20'::date + n, n FROM generate_series(1, 30) AS n")
    assert owner.execute("SELECT count(DISTINCT id), max(id) FROM event").fetchone() == (30, 30)


def test_a_template_that_was_dropped_is_no_obstacle(db: Database) -> None:
    owner = db.connect()
    made(owner, "SET dp.propagate_ddl = off; DROP TABLE event_template; RESET dp.propagate_ddl")
    assert on_leaves(owner, "c.relkind") == {"r"}


@pytest.mark.parametrize("identity", ["FULL", "USING INDEX event_pkey"])
def test_a_leaf_that_is_made_again_has_the_replica_identity_of_the_others(db: Database, identity: str) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE event (id int PRIMARY KEY, at timestamptz NOT NULL, p text NOT NULL)")
    owner.execute("SELECT dp.create_hierarchy('event', 'at', 'p', hash_partitions => 2)")
    owner.execute(f"ALTER TABLE event REPLICA IDENTITY {identity}")
    for _ in range(2):
        owner.execute("CALL dp.create_slices('event', '2025-01-01', '2025-02-01')")
        found = db.rows(
            "SELECT DISTINCT relreplident FROM pg_class WHERE relname LIKE 'event\\_2025\\_01\\_h%' AND relkind = 'r'"
        )
        assert found == [{"relreplident": "f" if identity == "FULL" else "i"}]
        assert db.value("SELECT count(*) FROM dp.leaf") == 2
        owner.execute("DROP TABLE event_2025_01_h01")
