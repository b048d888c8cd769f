"""Children: what they get, in which order they may come, and what is refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.support import snapshot
from tests.support.database import Database

FORMS = pytest.mark.parametrize("key_form", ["exact", "slice"])
ACTOR_PARENTS = ("activity", "seen", "transmission", "assignment")
SCHEMA = """
CREATE TABLE dialog (id int PRIMARY KEY, party text COLLATE "C" NOT NULL, at timestamptz NOT NULL, title text);
CREATE TABLE context (id int PRIMARY KEY, dialog int NOT NULL UNIQUE REFERENCES dialog ON DELETE CASCADE);
CREATE TABLE transmission (id int PRIMARY KEY, dialog int NOT NULL REFERENCES dialog ON DELETE CASCADE,
    related int REFERENCES transmission ON DELETE SET NULL);
CREATE TABLE activity (id int PRIMARY KEY, dialog int NOT NULL REFERENCES dialog ON DELETE CASCADE,
    transmission int CONSTRAINT of_transmission REFERENCES transmission ON DELETE SET NULL, note text DEFAULT 'x');
CREATE TABLE seen (id int PRIMARY KEY, dialog int NOT NULL REFERENCES dialog ON DELETE CASCADE);
CREATE TABLE assignment (id int PRIMARY KEY, context int NOT NULL REFERENCES context ON DELETE CASCADE);
CREATE TABLE name (id int PRIMARY KEY);
CREATE TABLE actor (id int PRIMARY KEY, name int REFERENCES name ON DELETE RESTRICT,
    activity int REFERENCES activity ON DELETE CASCADE, seen int REFERENCES seen ON DELETE CASCADE,
    transmission int REFERENCES transmission ON DELETE CASCADE, assignment int REFERENCES assignment ON DELETE CASCADE);
"""


def declare_root(connection: psycopg.Connection[Any], key_form: str, table: str = "dialog") -> None:
    connection.execute(
        "SELECT dp.create_hierarchy(%s, 'at', 'party', key_form => %s, hash_partitions => 2)", [table, key_form]
    )


def keys(db: Database, table: str) -> dict[str, str]:
    rows = db.rows(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE conrelid = %s::regclass AND contype = 'f' AND conparentid = 0",
        table,
    )
    return {row["conname"]: row["definition"] for row in rows}


def column_of(key_form: str) -> str:
    return "at" if key_form == "exact" else "at_slice"


@FORMS
@pytest.mark.parametrize("late", [(), ("activity", "transmission")], ids=["parents first", "two parents afterwards"])
def test_a_table_under_four_alternative_parents(db: Database, key_form: str, late: tuple[str, ...]) -> None:
    owner = db.connect()
    owner.execute(SCHEMA)
    for parent in ACTOR_PARENTS:
        owner.execute(f"COMMENT ON CONSTRAINT actor_{parent}_fkey ON actor IS 'of a {parent}'")
    declare_root(owner, key_form)
    early = [table for table in ("transmission", "activity", "seen", "context", "assignment") if table not in late]
    for table in early:
        owner.execute("SELECT dp.register_child(%s, %s)", [table, "context" if table == "assignment" else "dialog"])
    for parent in ACTOR_PARENTS:
        if parent not in late:
            owner.execute("SELECT dp.register_child('actor', %s)", [parent])
    for table in late:
        owner.execute("SELECT dp.register_child(%s, 'dialog')", [table])
        owner.execute("SELECT dp.register_child('actor', %s)", [table])
    key = column_of(key_form)
    for parent in ACTOR_PARENTS:
        assert keys(db, "actor")[f"actor_{parent}_fkey"].removesuffix(" DEFERRABLE INITIALLY DEFERRED") == (
            f"FOREIGN KEY ({parent}, {key}, party) REFERENCES {parent}(id, {key}, party)"
            " ON UPDATE CASCADE ON DELETE CASCADE"
        )
    assert keys(db, "actor")["actor_name_fkey"] == "FOREIGN KEY (name) REFERENCES name(id) ON DELETE RESTRICT"
    assert keys(db, "activity")["of_transmission"].removesuffix(" DEFERRABLE INITIALLY DEFERRED") == (
        f"FOREIGN KEY (transmission, {key}, party) REFERENCES transmission(id, {key}, party)"
        " ON UPDATE CASCADE ON DELETE SET NULL (transmission)"
    )
    assert db.rows("SELECT * FROM dp.pending_foreign_key") == []
    told = "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid = 'actor'::regclass"
    for parent in ACTOR_PARENTS:
        assert db.value(f"{told} AND conname = 'actor_{parent}_fkey'") == f"of a {parent}"
    owner.execute("CALL dp.create_slices('dialog', '2025-06-01', '2025-08-01')")
    fill(owner, key)
    owner.execute("UPDATE dialog SET at = '2025-07-02'")
    for table in ("context", "transmission", "activity", "seen", "assignment", "actor"):
        rows = owner.execute(f"SELECT DISTINCT to_char({key}, 'YYYY-MM') FROM {table}").fetchall()
        assert rows == [("2025-07",)], table
    owner.execute("DELETE FROM dialog")
    assert owner.execute("SELECT count(*) FROM actor").fetchone() == (0,)


def fill(connection: psycopg.Connection[Any], key: str) -> None:
    """One dialog with a row of everything, an actor under each parent."""
    value = "2025-06-10" if key == "at" else "2025-06-01"
    extra, values = (f", {key}", f", '{value}'") if key != "at" else ("", "")
    connection.execute(f"INSERT INTO dialog (id, party, at{extra}) VALUES (1, 'p', '2025-06-10'{values})")
    for table, columns, row in (
        ("context", "id, dialog", "1, 1"),
        ("transmission", "id, dialog, related", "1, 1, NULL"),
        ("transmission", "id, dialog, related", "2, 1, 1"),
        ("activity", "id, dialog, transmission", "1, 1, 2"),
        ("seen", "id, dialog", "1, 1"),
        ("assignment", "id, context", "1, 1"),
        *(("actor", f"id, {parent}", f"{number}, 1") for number, parent in enumerate(ACTOR_PARENTS)),
    ):
        connection.execute(f"INSERT INTO {table} ({columns}, party, {key}) VALUES ({row}, 'p', '{value}')")


@FORMS
def test_a_child_that_comes_late_gets_every_slice(db: Database, key_form: str) -> None:
    owner = db.connect()
    owner.execute("CREATE SCHEMA other; CREATE TABLE dialog (id int PRIMARY KEY, party text, at timestamptz)")
    owner.execute("CREATE TABLE other.part (id int PRIMARY KEY, dialog int)")
    owner.execute(
        "SELECT dp.create_hierarchy('dialog', 'at', 'party', key_form => %s, hash_partitions => 2,"
        " default_slice => true)",
        [key_form],
    )
    owner.execute("CALL dp.create_slices('dialog', '2025-01-01', '2026-01-01', slice => '1 year')")
    owner.execute("CALL dp.create_slices('dialog', '2026-01-01', '2026-02-01', hash_partitions => 3)")
    owner.execute("SELECT dp.register_child('other.part', 'dialog', '{dialog}', 'cascade')")
    rows = owner.execute("SELECT leaf::text FROM dp.leaf WHERE tbl = 'other.part'::regclass ORDER BY 1").fetchall()
    assert [row[0] for row in rows] == [
        "other.part_2025_h00",
        "other.part_2025_h01",
        "other.part_2026_01_h00",
        "other.part_2026_01_h01",
        "other.part_2026_01_h02",
        "other.part_default_h00",
        "other.part_default_h01",
    ]
    assert owner.execute("SELECT template::text FROM dp.managed_table WHERE role = 'child'").fetchall() == [
        ("other.part_template",)
    ]


@FORMS
def test_a_composite_parent_key_and_a_parent_s_other_unique_rule(db: Database, key_form: str) -> None:
    owner = db.connect()
    owner.execute(
        "CREATE TABLE dialog (id bigint, code text, number int NOT NULL UNIQUE, party text, at timestamptz,"
        " PRIMARY KEY (id, code))"
    )
    owner.execute(
        "CREATE TABLE both_of (id int PRIMARY KEY, c text, d bigint, FOREIGN KEY (c, d) REFERENCES dialog (code, id))"
    )
    owner.execute("CREATE TABLE by_name (id int PRIMARY KEY, d bigint, c text)")
    owner.execute(
        "CREATE TABLE by_number (id int PRIMARY KEY, n int DEFAULT 7 REFERENCES dialog (number) ON DELETE SET DEFAULT)"
    )
    owner.execute(
        "SELECT dp.create_hierarchy('dialog', 'at', 'party', key_form => %s, hash_partitions => 2,"
        " allow_weaker_unique => true)",
        [key_form],
    )
    owner.execute("SELECT dp.register_child('both_of', 'dialog')")
    owner.execute("SELECT dp.register_child('by_name', 'dialog', '{d,c}', 'SET NULL')")
    owner.execute("SELECT dp.register_child('by_number', 'dialog')")
    key = column_of(key_form)
    assert keys(db, "both_of") == {
        "both_of_c_d_fkey": f"FOREIGN KEY (c, d, {key}, party) REFERENCES dialog(code, id, {key}, party)"
        " ON UPDATE CASCADE"
    }
    assert keys(db, "by_name") == {
        "by_name_d_c_fkey": f"FOREIGN KEY (d, c, {key}, party) REFERENCES dialog(id, code, {key}, party)"
        " ON UPDATE CASCADE ON DELETE SET NULL (d, c)"
    }
    assert keys(db, "by_number") == {
        "by_number_n_fkey": f"FOREIGN KEY (n, {key}, party) REFERENCES dialog(number, {key}, party)"
        " ON UPDATE CASCADE ON DELETE SET DEFAULT (n)"
    }


@FORMS
def test_key_columns_of_a_plain_child_are_repaired_and_of_a_partitioned_one_refused(
    db: Database, key_form: str
) -> None:
    owner = db.connect()
    notices: list[str] = []
    owner.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    owner.execute('CREATE TABLE dialog (id int PRIMARY KEY, party varchar(40) COLLATE "C", at timestamptz)')
    declare_root(owner, key_form)
    key = column_of(key_form)
    kind = "timestamptz" if key_form == "exact" else "date"
    owner.execute("CREATE TABLE a (id int PRIMARY KEY, dialog int, party varchar(40))")
    owner.execute("CREATE TABLE b (id int PRIMARY KEY, dialog int, party int)")
    for table in ("a", "b"):
        owner.execute("SELECT dp.register_child(%s, 'dialog', '{dialog}')", [table])
        assert (
            db.value(
                "SELECT format_type(atttypid, atttypmod) || ' ' || attcollation::regcollation FROM pg_attribute"
                " WHERE attrelid = %s::regclass AND attname = 'party' AND attnotnull",
                table,
            )
            == 'character varying(40) "C"'
        )
    assert [text for text in notices if "as in the root" in text] == [
        'column "party" of "public"."a" becomes character varying(40) COLLATE "pg_catalog"."C", as in the root;'
        " it was character varying(40)",
        'column "party" of "public"."b" becomes character varying(40) COLLATE "pg_catalog"."C", as in the root;'
        " it was integer",
    ]
    tree = "(id int, dialog int, {} PRIMARY KEY (id, {}, party)) PARTITION BY RANGE ({})"
    owner.execute(f"CREATE TABLE c {tree.format(f'party varchar(40), {key} {kind},', key, key)}")
    owner.execute(
        f'CREATE TABLE d (id int, dialog int, party varchar(40) COLLATE "C", {key} {kind}) PARTITION BY RANGE ({key})'
    )
    owner.execute(f"CREATE TABLE e (id int, dialog int, {key} {kind} NOT NULL) PARTITION BY RANGE ({key})")
    before = snapshot.of_database(db)
    for table, error, message in (
        ("c", errors.DatatypeMismatch, 'column "party" of "public"."c" is character varying(40), not'),
        ("d", errors.InvalidTableDefinition, 'of "public"."d" is nullable'),
        ("e", errors.UndefinedColumn, 'column "party" of "public"."e" does not exist'),
    ):
        with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")) as raised:
            owner.execute("SELECT dp.register_child(%s, 'dialog', '{dialog}')", [table])
        assert raised.value.diag.message_detail
        assert raised.value.diag.message_hint
    assert snapshot.of_database(db) == before


@FORMS
def test_children_that_are_partitioned_already(db: Database, key_form: str) -> None:
    """As the seed declares them: with the keys, and one of them with its composite foreign key."""
    owner = db.connect()
    key = column_of(key_form)
    kind = "timestamptz" if key_form == "exact" else "date"
    slice_key = "" if key_form == "exact" else f"{key} date NOT NULL,"
    owner.execute(
        f"CREATE TABLE dialog (id int, party text, at timestamptz NOT NULL, {slice_key} PRIMARY KEY (id, {key}, party))"
        f" PARTITION BY RANGE ({key})"
    )
    owner.execute(
        f"CREATE TABLE a (id int, dialog int NOT NULL, party text, {key} {kind}, PRIMARY KEY ({key}, id, party),"
        f" CONSTRAINT mine FOREIGN KEY (dialog, {key}, party) REFERENCES dialog (id, {key}, party) ON UPDATE CASCADE)"
        f" PARTITION BY RANGE ({key})"
    )
    owner.execute(
        f"CREATE TABLE b (id int, a int, party text NOT NULL, {key} {kind} NOT NULL) PARTITION BY RANGE ({key})"
    )
    oids = db.rows("SELECT 'dialog'::regclass::oid, 'a'::regclass::oid AS a, 'b'::regclass::oid AS b")
    declare_root(owner, key_form)
    owner.execute("SELECT dp.register_child('a', 'dialog')")
    owner.execute("SELECT dp.register_child('b', 'a', '{a}', 'SET NULL')")
    assert db.rows("SELECT 'dialog'::regclass::oid, 'a'::regclass::oid AS a, 'b'::regclass::oid AS b") == oids
    assert list(keys(db, "a")) == ["mine"]
    assert keys(db, "b") == {
        "b_a_fkey": f"FOREIGN KEY (a, {key}, party) REFERENCES a(id, {key}, party)"
        " ON UPDATE CASCADE ON DELETE SET NULL (a)"
    }
    owner.execute("CALL dp.create_slices('dialog', '2025-06-01', '2025-07-01')")
    assert db.value("SELECT count(*) FROM dp.leaf") == 6


def test_a_child_of_another_hierarchy_another_owner_or_in_a_circle(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE one (id int PRIMARY KEY, party text, at timestamptz)")
    owner.execute("CREATE TABLE two (id int PRIMARY KEY, party text, at timestamptz)")
    owner.execute("CREATE TABLE part (id int PRIMARY KEY, one int REFERENCES one, other int)")
    owner.execute("CREATE TABLE ring (id int PRIMARY KEY, one int REFERENCES one, part int REFERENCES part)")
    owner.execute("ALTER TABLE part ADD FOREIGN KEY (other) REFERENCES ring")
    owner.execute("CREATE TABLE theirs (id int PRIMARY KEY, one int)")
    for table in ("one", "two"):
        declare_root(owner, "exact", table)
    owner.execute("SELECT dp.register_child('part', 'one')")
    with db.server.connect(db.name) as admin:
        admin.execute("ALTER TABLE theirs OWNER TO reader")
        before = snapshot.of_database(db)
        with pytest.raises(errors.InsufficientPrivilege, match="have different owners"):
            admin.execute("SELECT dp.register_child('theirs', 'one', '{one}')")
    with pytest.raises(errors.DuplicateObject, match="belongs to another hierarchy already"):
        owner.execute("SELECT dp.register_child('part', 'two', '{other}')")
    with pytest.raises(errors.DuplicateObject, match="belongs to another hierarchy already"):
        owner.execute("SELECT dp.register_child('two', 'one', '{id}')")
    with pytest.raises(errors.InvalidTableDefinition, match="form a circle") as raised:
        owner.execute("SELECT dp.register_child('ring', 'one')")
    assert '"public"."part", "public"."ring"' in str(raised.value.diag.message_primary)
    assert snapshot.of_database(db) == before


def test_a_parent_key_given_wrongly(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE dialog (id int PRIMARY KEY, party text, at timestamptz)")
    owner.execute("CREATE TABLE part (id int PRIMARY KEY, a int, b uuid)")
    declare_root(owner, "exact")
    before = snapshot.of_database(db)
    for arguments, error, message in (
        ("'part', 'dialog'", errors.InvalidParameterValue, "has no foreign key to"),
        ("'part', 'dialog', '{nope}'", errors.UndefinedColumn, 'column "nope" of "public"."part" does not exist'),
        ("'part', 'dialog', '{a,b}'", errors.InvalidParameterValue, "parent_key names 2 columns"),
        ("'part', 'dialog', '{}'", errors.InvalidParameterValue, "parent_key names no column"),
        ("'part', 'dialog', '{b}'", errors.DatatypeMismatch, "cannot be implemented"),
        ("'part', 'dialog', '{a}', 'EXPLODE'", errors.InvalidParameterValue, "on_delete"),
        ("'part', 'part', '{a}'", errors.UndefinedObject, "belongs to no hierarchy"),
        ("NULL, 'dialog', '{a}'", errors.UndefinedObject, "no table was named"),
        ("'part', NULL, '{a}'", errors.UndefinedObject, "no parent was named"),
    ):
        with pytest.raises(error, match=message):
            owner.execute(f"SELECT dp.register_child({arguments})")
    assert snapshot.of_database(db) == before


def test_a_child_that_needs_more_locks_than_there_are(db: Database) -> None:
    owner = db.connect()
    owner.execute("CREATE TABLE dialog (id int PRIMARY KEY, party text, at timestamptz)")
    owner.execute("CREATE TABLE part (id int PRIMARY KEY, dialog int)")
    owner.execute("SELECT dp.create_hierarchy('dialog', 'at', 'party', hash_partitions => 16)")
    owner.execute("CALL dp.create_slices('dialog', '2021-01-01', '2026-01-01')")
    with pytest.raises(errors.OutOfMemory) as raised:
        owner.execute("SELECT dp.register_child('part', 'dialog', '{dialog}')")
    assert raised.value.sqlstate == "53200"
    assert "CALL dp.create_slices" in str(raised.value.diag.message_hint)
    owner.execute("SELECT dp.register_child('part', 'dialog', '{dialog}', create_slices => false)")
    owner.execute("CALL dp.create_slices('dialog', '2025-12-01', '2026-01-01')")
    assert db.value("SELECT count(*) FROM dp.slice WHERE tbl = 'part'::regclass") == 60
