"""Random operations on a hierarchy and on plain tables: the same rows, the same errors, exact global indexes.

Some sessions work at the same time, each with its own numbers, so that each knows what must come of its statements.
Between their turns slices are detached, attached, dropped, created and drained; the plain tables lose and get back the
same families. Every statement is the same text for both, found by search_path: the writable views, or the plain tables;
the lookups and joined lookups, or functions of the same names.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support.database import Database

Connection = psycopg.Connection[Any]
SESSIONS = 3
TURNS = 6
STEPS = 170  # of each session in each turn: 3,060 of a test
MONTHS = ("2025-03", "2025-04", "2025-05", "2025-06")
IN_DEFAULT = "2025-08"  # a month without a slice, until it is drained
TABLES = ("dialog", "activity", "actor")
COLUMNS = {
    "dialog": "id, party, updated_at, title",
    "activity": "id, dialog_id, text",
    "actor": "id, activity_id, dialog_id",
}
INDEXES = {
    "dialog_id_global": "dialog",
    "dialog_title_global": "dialog",
    "activity_id_global": "activity",
    "actor_id_global": "actor",
}
SCHEMA = """
CREATE TABLE {0}.dialog (id bigint PRIMARY KEY, party text NOT NULL, updated_at timestamptz NOT NULL, title text);
CREATE TABLE {0}.activity (id bigint PRIMARY KEY, dialog_id bigint NOT NULL, text text DEFAULT 'plain',
    FOREIGN KEY (dialog_id) REFERENCES {0}.dialog ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE {0}.actor (id bigint PRIMARY KEY, activity_id bigint, dialog_id bigint,
    FOREIGN KEY (activity_id) REFERENCES {0}.activity ON UPDATE CASCADE ON DELETE CASCADE,
    FOREIGN KEY (dialog_id) REFERENCES {0}.dialog ON UPDATE CASCADE ON DELETE CASCADE);
"""
# What lookups return, of the plain tables.
LOOKUPS = """
CREATE FUNCTION plain.dialog_by_id(ids bigint[]) RETURNS SETOF plain.dialog LANGUAGE sql STABLE
    AS 'SELECT * FROM plain.dialog WHERE id = ANY (ids)';
CREATE FUNCTION plain.activity_by_dialog_id(ids bigint[]) RETURNS SETOF plain.activity LANGUAGE sql STABLE
    AS 'SELECT * FROM plain.activity WHERE dialog_id = ANY (ids)';
CREATE FUNCTION plain.actor_by_activity_id(ids bigint[]) RETURNS SETOF plain.actor LANGUAGE sql STABLE
    AS 'SELECT * FROM plain.actor WHERE activity_id = ANY (ids)';
"""
# Queries of all tables, for some dialogs and for some activities; where there are keys, {} asks for those of a table.
JOINED = {
    "dialog": (
        "SELECT d.id, d.title, d.updated_at, a.id, a.text, r.id, x.number FROM dialog d"
        " LEFT JOIN activity a ON a.dialog_id = d.id AND {a} LEFT JOIN actor r ON r.activity_id = a.id AND {r}"
        " CROSS JOIN LATERAL (SELECT count(*) AS number FROM actor o WHERE o.dialog_id = d.id AND {o}) AS x"
        " WHERE d.id = ANY (ids) AND {d}",
        "dialog bigint, title text, at timestamptz, activity bigint, text text, actor bigint, number bigint",
    ),
    "activity": (
        "SELECT a.id, d.party, l.id FROM activity a JOIN dialog d ON d.id = a.dialog_id AND {d} LEFT JOIN LATERAL"
        " (SELECT i.id FROM activity i WHERE i.dialog_id = d.id AND {i} ORDER BY i.id DESC LIMIT 1) AS l ON true"
        " WHERE a.id = ANY (ids) AND {a}",
        "activity bigint, party text, latest bigint",
    ),
}


def create_joined(owner: Connection) -> None:
    """Joined lookups, and functions of the same names on the plain tables."""
    for table, (query, returns) in JOINED.items():
        named = [query.format(**{each: form.format(each) for each in "adior"}) for form in ("true", "dp.has_keys({})")]
        owner.execute(
            f"CREATE FUNCTION plain.of_{table}(ids bigint[]) RETURNS TABLE ({returns})"  # type: ignore[call-overload]
            f" LANGUAGE sql STABLE SET search_path = plain AS '{named[0]}'"
        )
        owner.execute("SELECT dp.create_joined_lookup(%s, %s, %s, %s)", [table, f"of_{table}", named[1], returns])


def prepare(db: Database, key_form: str) -> Connection:
    """Both sets of tables; the hierarchy with a default slice, four months, and an index of each kind."""
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    owner.execute("CREATE SCHEMA app; CREATE SCHEMA plain")
    owner.execute(SCHEMA.format("plain"))  # type: ignore[call-overload]
    owner.execute("CREATE UNIQUE INDEX ON plain.dialog (title) WHERE title <> 'same'")
    owner.execute(LOOKUPS)
    owner.execute(SCHEMA.format("public"))  # type: ignore[call-overload]
    owner.execute(
        "SELECT dp.create_hierarchy('dialog', 'updated_at', 'party', hash_partitions => 2, default_slice => true,"
        " key_form => %s)",
        [key_form],
    )
    for child, parent in (("activity", "dialog"), ("actor", "activity"), ("actor", "dialog")):
        owner.execute("SELECT dp.register_child(%s, %s)", [child, parent])
    owner.execute(f"CALL dp.create_slices('dialog', '{MONTHS[0]}-01', '2025-07-01')")  # type: ignore[call-overload]
    owner.execute("SELECT dp.create_writable_views('dialog', 'app')")
    owner.execute("SELECT dp.create_global_index('dialog', '{id}')")
    owner.execute("SELECT dp.create_global_index('dialog', '{title}', predicate => 'title <> ''same''')")
    owner.execute("SELECT dp.create_global_index('activity', '{id}', hash_partitions => 2)")
    owner.execute("SELECT dp.create_global_index('actor', '{id}')")
    owner.execute("SELECT dp.configure('dialog', lookup_slices => 2)")  # the others are planned each time
    create_joined(owner)
    return owner


class Session:
    """One session's statements, made on both sides, whose outcomes must agree."""

    def __init__(self, db: Database, number: int, key_form: str) -> None:
        self.dice = random.Random(f"{key_form} {number}")
        self.number, self.key_form = number, key_form
        self.sides = {"app, public": db.connect(search_path="app, public"), "plain": db.connect(search_path="plain")}
        self.months: tuple[str, ...] = MONTHS
        self.done: list[str] = []
        self.errors: list[str] = []
        self.is_open = False

    def turn(self, months: tuple[str, ...]) -> None:
        """Some steps, and the end of what they began."""
        self.months = months
        for _ in range(STEPS):
            self.step()
        self.end("COMMIT")

    def step(self) -> None:
        """A statement, or the beginning or end of a transaction or a part of it."""
        what = self.dice.random()
        if what < 0.05 and not self.is_open:
            self.both("BEGIN")
            self.is_open = True
        elif what < 0.08:
            self.end("COMMIT")
        elif what < 0.1:
            self.end("ROLLBACK")
        elif what < 0.12 and self.is_open:
            self.both("SAVEPOINT part")
            for _ in range(3):
                self.statement()
            self.both("ROLLBACK TO part" if self.dice.random() < 0.5 else "RELEASE part")
        else:
            self.statement()

    def end(self, how: str) -> None:
        if self.is_open:
            self.both(how)
            self.is_open = False

    def statement(self) -> None:
        """A statement; an error takes back only it."""
        if self.is_open:
            self.both("SAVEPOINT one")
        text = self.dice.choice(STATEMENTS)
        places = {
            "dialog": self.some("dialog"),
            "activity": self.some("activity"),
            "actor": self.some("actor"),
            "no": 900_000 + self.number,  # a parent that never is
            "new": self.new(),
            "at": self.moment(),
            "later": self.moment(),
            "party": f"p{self.dice.randrange(5)}",
            "title": self.dice.choice((f"'{self.number} {self.dice.randrange(12)}'", "'same'", "NULL")),
            "mine": f"id % {SESSIONS} = {self.number} AND id / {SESSIONS} % 7 = {self.dice.randrange(7)}",
            "sessions": SESSIONS,
        }
        failed = self.both(text, places)
        if self.is_open:
            self.both("ROLLBACK TO one" if failed else "RELEASE one")

    def some(self, table: str) -> int:
        """A row of this session's, if it has one."""
        row = (
            self.sides["plain"]
            .execute(
                f"SELECT id FROM {table} WHERE id %% {SESSIONS} = %s ORDER BY abs(id - %s) LIMIT 1",  # type: ignore[call-overload]
                [self.number, self.new()],
            )
            .fetchone()
        )
        return row[0] if row else self.new()

    def new(self) -> int:
        """A number of this session's, which may be taken."""
        return self.dice.randrange(300) * SESSIONS + self.number

    def moment(self) -> str:
        return f"{self.dice.choice(self.months)}-{self.dice.randrange(1, 28):02} {self.dice.randrange(24):02}:00+00"

    def both(self, text: str, places: dict[str, object] | None = None) -> bool:
        """Run it on both sides; whether it failed."""
        found = [self.one(connection, side, text, places) for side, connection in self.sides.items()]
        self.done.append(f"{text.format(key='', value='', base='', **places) if places else text} -- {found[0]}")
        assert found[0] == found[1], "\n".join(self.done[-15:]) + f"\nplain: {found[1]}"
        if isinstance(found[0], str):
            self.errors.append(found[0])
        return isinstance(found[0], str)

    def one(self, connection: Connection, side: str, text: str, places: dict[str, object] | None) -> object:
        """Rows and their number, or an error's SQLSTATE."""
        is_slice = side != "plain" and self.key_form == "slice"
        if places is not None:
            bucket = f", date_trunc('month', timestamptz '{places['at']}', 'UTC')::date"
            named = {"key": ", updated_at_slice" if is_slice else "", "value": bucket if is_slice else ""}
            text = text.format(base="plain" if side == "plain" else "public", **named, **places)
        try:
            if text.startswith("COPY"):
                text, _, lines = text.partition("\n")
                cursor = connection.cursor()
                with cursor.copy(text) as copy:  # type: ignore[call-overload]
                    copy.write(lines)
                return cursor.rowcount
            cursor = connection.execute(text)  # type: ignore[call-overload]
            return cursor.rowcount, sorted(cursor.fetchall()) if cursor.description else []
        except psycopg.Error as error:
            return error.sqlstate


STATEMENTS = (
    *4
    * (
        "INSERT INTO dialog (id, party, updated_at, title) VALUES ({new}, '{party}', '{at}', {title})"
        " RETURNING id, title",
    ),
    "INSERT INTO dialog (id, party, updated_at) SELECT {new} + 900 * n, 'p' || n, '{at}'"
    " FROM generate_series(0, 4) AS n",
    *3 * ("INSERT INTO activity (id, dialog_id) VALUES ({new}, {dialog}) RETURNING id, dialog_id, text",),
    "INSERT INTO activity (id, dialog_id, text) SELECT {new} + 900 * n, {dialog}, NULL FROM generate_series(1, 3) AS n",
    "INSERT INTO activity (id, dialog_id) VALUES ({new} + 9000, {no})",
    *2 * ("INSERT INTO actor (id, activity_id) VALUES ({new}, {activity})",),
    "INSERT INTO actor (id, dialog_id) VALUES ({new}, {dialog}) RETURNING *" .replace("*", "id"),
    "COPY activity (id, dialog_id) FROM STDIN\n{new}\t{dialog}\n",
    "COPY dialog (id, party, updated_at) FROM STDIN\n{new}\t{party}\t{at}\n",
    *3 * ("UPDATE dialog SET updated_at = '{at}' WHERE id = {dialog} RETURNING id, updated_at",),
    "UPDATE dialog SET updated_at = '{at}', party = '{party}', title = {title} WHERE id = {dialog}",
    "UPDATE dialog SET updated_at = '{at}' WHERE {mine}",
    "UPDATE dialog SET party = '{party}' WHERE {mine}",
    "UPDATE dialog SET title = {title} WHERE id = {dialog}",
    "UPDATE dialog SET id = {new} WHERE id = {dialog}",
    "UPDATE activity SET id = {new} WHERE id = {activity}",
    "UPDATE activity SET text = 'new' WHERE {mine}",
    "UPDATE actor SET id = {new} WHERE id = {actor}",
    "DELETE FROM dialog WHERE id = {dialog} RETURNING id",
    "DELETE FROM dialog WHERE {mine} AND id > {new}",
    "DELETE FROM activity WHERE id = {activity}",
    "DELETE FROM actor WHERE {mine}",
    *2 * ("SELECT id, party, updated_at, title FROM dialog_by_id(ARRAY[{dialog}, {new}, {dialog} + {sessions}])",),
    "SELECT id, dialog_id, text FROM activity_by_dialog_id(ARRAY[{dialog}, {new}])",
    "SELECT id, activity_id FROM actor_by_activity_id(ARRAY[{activity}, {new}])",
    *2 * ("SELECT * FROM of_dialog(ARRAY[{dialog}, {new}, {dialog} + {sessions}, {dialog} + 7 * {sessions}])",),
    "SELECT * FROM of_activity(ARRAY[{activity}, {new}, {activity} + {sessions}])",
    "SELECT * FROM of_dialog(ARRAY(SELECT id FROM dialog WHERE {mine}))",
    "WITH gone AS (DELETE FROM dialog WHERE id = {dialog} RETURNING id) INSERT INTO dialog (id, party, updated_at)"
    " SELECT id + {sessions}, 'p1', '{at}' FROM gone",
    "MERGE INTO {base}.dialog AS d USING (VALUES ({dialog}), ({new})) AS v (id) ON d.id = v.id"
    " WHEN MATCHED AND d.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET updated_at = '{at}', title = {title}",
    "MERGE INTO {base}.dialog AS d USING (VALUES ({dialog}), ({new})) AS v (id) ON d.id = v.id WHEN MATCHED THEN UPDATE"
    " SET updated_at = '{later}', party = '{party}' WHEN NOT MATCHED THEN INSERT (id, party, updated_at{key})"
    " VALUES (v.id, '{party}', '{at}'{value})",
)  # fmt: skip

FAMILIES = """
CREATE TABLE plain.dialog_away AS SELECT * FROM plain.dialog
    WHERE date_trunc('month', updated_at, 'UTC') = '{0}-01 00:00+00';
CREATE TABLE plain.activity_away AS SELECT a.* FROM plain.activity a JOIN plain.dialog_away d ON d.id = a.dialog_id;
CREATE TABLE plain.actor_away AS SELECT r.* FROM plain.actor r
    WHERE activity_id IN (SELECT id FROM plain.activity_away) OR dialog_id IN (SELECT id FROM plain.dialog_away);
DELETE FROM plain.dialog WHERE id IN (SELECT id FROM plain.dialog_away);
"""


FORGET = "DROP TABLE plain.dialog_away, plain.activity_away, plain.actor_away"


def detach(owner: Connection, month: str) -> None:
    owner.execute("SELECT dp.detach_slice('dialog', %s)", [f"{month}-01"])
    owner.execute(FAMILIES.format(month))  # type: ignore[call-overload]


def attach(owner: Connection, month: str) -> bool:
    """Bring it back on both sides; neither can where a value was taken meanwhile."""
    outcomes = []
    back = "; ".join(f"INSERT INTO plain.{table} SELECT * FROM plain.{table}_away" for table in TABLES)
    for statement in (f"SELECT dp.attach_slice('dialog', '{month}-01')", f"BEGIN; {back}; COMMIT"):
        try:
            owner.execute(statement)  # type: ignore[call-overload]
            outcomes.append("")
        except psycopg.Error as error:
            outcomes.append(str(error.sqlstate))
            owner.execute("ROLLBACK")
    assert outcomes[0] == outcomes[1]
    if not outcomes[0]:
        owner.execute(FORGET)
    return not outcomes[0]


def drop(owner: Connection, month: str) -> None:
    """A slice goes for good, and an empty one takes its place."""
    owner.execute("SELECT dp.drop_slice('dialog', %s)", [f"{month}-01"])
    owner.execute(f"CALL dp.create_slices('dialog', '{month}-01', '{month[:-1]}{int(month[-1]) + 1}-01')")  # type: ignore[call-overload]
    owner.execute(FORGET)  # type: ignore[call-overload]


def compare(owner: Connection) -> None:
    """The rows of both sides, the keys of children, and each index against its table."""
    for table in TABLES:
        select = f"SELECT {COLUMNS[table]} FROM {{}}.{table} ORDER BY id"
        found = owner.execute(select.format("public")).fetchall()  # type: ignore[call-overload]
        assert found == owner.execute(select.format("plain")).fetchall()  # type: ignore[call-overload]
    keys = owner.execute("SELECT coalesce(slice_key, range_key), hash_key FROM dp.hierarchy").fetchone()
    assert keys is not None
    carried = ", ".join(f"{{0}}.{key}" for key in keys)
    strays = (
        "SELECT count(*) FROM public.{} c JOIN public.{} p ON p.id = c.{} WHERE (" + carried.format("c") + ") <> ("
        + carried.format("p") + ")"
    )  # fmt: skip
    for child, parent in (("activity", "dialog"), ("actor", "activity"), ("actor", "dialog")):
        assert owner.execute(strays.format(child, parent, f"{parent}_id")).fetchone() == (0,)  # type: ignore[call-overload]
    for side, table in INDEXES.items():
        assert owner.execute("SELECT * FROM dp.verify_global_index(%s)", [side]).fetchall() == []
        columns = f"id, {', '.join(keys)}" + (", title" if "title" in side else "")
        where = " WHERE title <> 'same'" if "title" in side else ""
        entries = owner.execute(f"SELECT {columns} FROM {side} ORDER BY id").fetchall()  # type: ignore[call-overload]
        assert entries == owner.execute(f"SELECT {columns} FROM public.{table}{where} ORDER BY id").fetchall()  # type: ignore[call-overload]


@pytest.mark.parametrize("key_form", ["exact", "slice"])
def test_random_operations_do_what_they_do_on_plain_tables(db: Database, key_form: str) -> None:
    owner = prepare(db, key_form)
    sessions = [Session(db, number, key_form) for number in range(SESSIONS)]
    dice = random.Random(key_form)
    for number in range(TURNS):
        away = dice.choice(MONTHS) if number % 2 else None
        if away is not None:
            detach(owner, away)
            compare(owner)
        months = (*(month for month in MONTHS if month != away), IN_DEFAULT)
        with ThreadPoolExecutor(SESSIONS) as pool:
            for outcome in [pool.submit(session.turn, months) for session in sessions]:
                outcome.result()
        compare(owner)
        if away is not None:
            if not attach(owner, away):
                drop(owner, away)
        elif number == 2:
            owner.execute("CALL dp.drain_default('dialog', '2025-08-01', '2025-09-01')")
        elif number == 4:
            owner.execute(FAMILIES.format(MONTHS[1]))  # type: ignore[call-overload]
            drop(owner, MONTHS[1])
        compare(owner)
    assert {error for session in sessions for error in session.errors} >= {"23505", "23503"}
    rows = owner.execute("SELECT count(*) FROM actor").fetchone()
    assert rows is not None and rows[0] > 0
