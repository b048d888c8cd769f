"""Foreign keys inside a hierarchy when the keys change: cascades, diamonds, deferral exactly where it is needed."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.support.database import Database

FORMS = pytest.mark.parametrize("key_form", ["exact", "slice"])
MOVES = pytest.mark.parametrize("to", ["2025-06-20 00:00+00", "2025-07-05 00:00+00"], ids=["inside", "across"])


def declare(connection: psycopg.Connection[Any], key_form: str, *links: tuple[str, ...]) -> None:
    """A root r and plain tables; a link is (child, parent, nullability): its column is named after the parent."""
    connection.execute("CREATE TABLE r (id int PRIMARY KEY, p text, at timestamptz)")
    columns: dict[str, list[str]] = {}
    for child, parent, null in links:
        columns.setdefault(child, []).append(f", {parent} int {null} REFERENCES {parent}")
    for child, found in columns.items():
        connection.execute(f"CREATE TABLE {child} (id int PRIMARY KEY{''.join(found)})")
    connection.execute("SELECT dp.create_hierarchy('r', 'at', 'p', key_form => %s, hash_partitions => 2)", [key_form])
    for child, parent, _ in links:
        connection.execute("SELECT dp.register_child(%s, %s)", [child, parent])
    connection.execute("CALL dp.create_slices('r', '2025-06-01', '2025-08-01')")
    extra = ", '2025-06-01'" if key_form == "slice" else ""
    connection.execute(
        f"INSERT INTO r VALUES (1, 'p', '2025-06-10 00:00+00'{extra}), (2, 'p', '2025-06-11 00:00+00'{extra})"
    )


def add(connection: psycopg.Connection[Any], key_form: str, table: str, number: int, **parents: int) -> None:
    """A row under the root row 1."""
    key, value = ("at", "2025-06-10 00:00+00") if key_form == "exact" else ("at_slice", "2025-06-01")
    names = "".join(f", {name}" for name in parents)
    values = "".join(f", {value}" for value in parents.values())
    connection.execute(f"INSERT INTO {table} (id, p, {key}{names}) VALUES ({number}, 'p', '{value}'{values})")


def deferred(db: Database) -> set[str]:
    rows = db.rows("SELECT conname FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND condeferred")
    return {row["conname"] for row in rows}


def followed(connection: psycopg.Connection[Any], key_form: str, *tables: str) -> bool:
    """Whether all rows of some tables carry the keys of root row 1."""
    key = "at" if key_form == "exact" else "at_slice"
    wanted = connection.execute(f"SELECT {key}, p FROM r WHERE id = 1").fetchall()
    return all(connection.execute(f"SELECT DISTINCT {key}, p FROM {table}").fetchall() == wanted for table in tables)


@FORMS
@MOVES
def test_a_change_of_the_keys_goes_down_four_levels(db: Database, key_form: str, to: str) -> None:
    owner = db.connect()
    declare(owner, key_form, ("a", "r", "NOT NULL"), ("b", "a", ""), ("c", "b", "NOT NULL"), ("d", "c", "NOT NULL"))
    assert deferred(db) == set()
    for table, parent in (("a", "r"), ("b", "a"), ("c", "b"), ("d", "c")):
        add(owner, key_form, table, 1, **{parent: 1})
    owner.execute("UPDATE r SET at = %s, p = 'q' WHERE id = 1", [to])
    assert followed(owner, key_form, "a", "b", "c", "d")


@FORMS
@MOVES
def test_an_equal_diamond_needs_no_deferral(db: Database, key_form: str, to: str) -> None:
    owner = db.connect()
    declare(
        owner, key_form, ("a", "r", "NOT NULL"), ("b", "r", "NOT NULL"), ("c", "a", "NOT NULL"), ("c", "b", "NOT NULL")
    )
    assert deferred(db) == set()
    for table, parents in (("a", {"r": 1}), ("b", {"r": 1}), ("c", {"a": 1, "b": 1})):
        add(owner, key_form, table, 1, **parents)
    owner.execute("UPDATE r SET at = %s, p = 'q' WHERE id = 1", [to])
    assert followed(owner, key_form, "a", "b", "c")


@FORMS
@MOVES
def test_a_diamond_of_unequal_depth_defers_the_longer_way(db: Database, key_form: str, to: str) -> None:
    owner = db.connect()
    declare(
        owner, key_form, ("a", "r", "NOT NULL"), ("b", "a", "NOT NULL"), ("c", "b", "NOT NULL"), ("c", "r", "NOT NULL")
    )
    assert deferred(db) == {"c_b_fkey"}
    for table, parents in (("a", {"r": 1}), ("b", {"a": 1}), ("c", {"b": 1, "r": 1})):
        add(owner, key_form, table, 1, **parents)
    owner.execute("UPDATE r SET at = %s, p = 'q' WHERE id = 1", [to])
    assert followed(owner, key_form, "a", "b", "c")


@FORMS
@MOVES
def test_a_parent_that_may_hang_deeper_than_its_shortest_way(db: Database, key_form: str, to: str) -> None:
    """Table b hangs under r or under a; a row of c whose b hangs under a is reached by r before its b is."""
    owner = db.connect()
    declare(owner, key_form, ("a", "r", "NOT NULL"), ("b", "r", ""), ("b", "a", ""), ("c", "b", ""), ("c", "r", ""))
    assert deferred(db) == {"c_b_fkey"}
    for table, number, parents in (
        ("a", 1, {"r": 1}),
        ("b", 1, {"a": 1}),
        ("b", 2, {"r": 1}),
        ("c", 1, {"b": 1, "r": 1}),
        ("c", 2, {"b": 2, "r": 1}),
    ):
        add(owner, key_form, table, number, **parents)
    owner.execute("UPDATE r SET at = %s, p = 'q' WHERE id = 1", [to])
    assert followed(owner, key_form, "a", "b", "c")


@FORMS
@MOVES
def test_tables_that_refer_to_themselves(db: Database, key_form: str, to: str) -> None:
    """A tree hangs under r by its topmost row alone, below it by itself; reply by both at once."""
    owner = db.connect()
    declare(
        owner, key_form, ("tree", "r", ""), ("tree", "tree", ""), ("reply", "r", "NOT NULL"), ("reply", "reply", "")
    )
    assert deferred(db) == {"tree_tree_fkey"}
    add(owner, key_form, "tree", 1, r=1)
    add(owner, key_form, "tree", 2, tree=1)
    add(owner, key_form, "tree", 3, tree=2)
    add(owner, key_form, "tree", 4, tree=3, r=1)
    for number in range(1, 5):
        add(owner, key_form, "reply", number, r=1, **({"reply": number - 1} if number > 1 else {}))
    owner.execute("UPDATE r SET at = %s, p = 'q' WHERE id = 1", [to])
    assert followed(owner, key_form, "tree", "reply")


@FORMS
@MOVES
def test_a_registration_that_shortens_a_way_defers_a_key_that_was_there(db: Database, key_form: str, to: str) -> None:
    owner = db.connect()
    declare(owner, key_form, ("a", "r", "NOT NULL"), ("b", "a", "NOT NULL"), ("c", "b", "NOT NULL"))
    assert deferred(db) == set()
    owner.execute("ALTER TABLE c ADD r int")
    owner.execute("SELECT dp.register_child('c', 'r', '{r}', 'CASCADE')")
    assert deferred(db) == {"c_b_fkey"}
    for table, parents in (("a", {"r": 1}), ("b", {"a": 1}), ("c", {"b": 1, "r": 1})):
        add(owner, key_form, table, 1, **parents)
    owner.execute("UPDATE r SET at = %s, p = 'q' WHERE id = 1", [to])
    assert followed(owner, key_form, "a", "b", "c")


@FORMS
def test_a_row_under_a_parent_with_other_keys_is_refused(db: Database, key_form: str) -> None:
    owner = db.connect()
    declare(owner, key_form, ("a", "r", "NOT NULL"))
    add(owner, key_form, "a", 1, r=1)
    for change in ("p = 'q'", "at = '2025-07-10'" if key_form == "exact" else "at_slice = '2025-07-01'", "r = 9"):
        with pytest.raises(errors.ForeignKeyViolation):
            owner.execute(f"UPDATE a SET {change}")
    assert followed(owner, key_form, "a")
