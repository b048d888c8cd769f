"""What calls say that they will lock, against what they lock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.support import dialogporten, family, hierarchies
from tests.support.database import Database, prepare_template
from tests.support.server import Server

Connection = psycopg.Connection[Any]

LARGE = "-c max_locks_per_transaction=4000"
TINY = "-c max_locks_per_transaction=10 -c max_connections=5"
FIRST = "2024-01-01"
LEAVES = 3
MONTH, DETACHED = "2024-03-01", "2024-05-01"
HELD = (
    "SELECT count(DISTINCT (locktype, database, relation, classid, objid, objsubid)) FROM pg_locks"
    " WHERE pid = pg_backend_pid()"
)


class Shape(NamedTuple):
    """A hierarchy in a database of its own."""

    root: str
    calls: tuple[str, ...]
    end: str = "2025-01-01"  # of its slices


SHAPES = {
    "one": Shape("event", ("detach", "drop", "attach", "drain")),
    "child": Shape("event", ("detach", "drop", "attach", "drain", "register")),
    "diamond": Shape('"Dialog"', ("detach", "drop", "attach")),
    "itself": Shape("event", ("detach", "drop", "attach")),
    "dialogporten": Shape('"Dialog"', ("detach", "drop", "attach", "views"), "2024-07-01"),
}
CASES = [(name, call) for name, shape in SHAPES.items() for call in shape.calls]


def declare(owner: Connection, name: str) -> None:
    """The tables of a shape, with their slices."""
    if name == "diamond":
        family.declare(owner, hash_partitions=LEAVES)
    elif name == "dialogporten":
        owner.execute(dialogporten.schema())
        for statement in dialogporten.declaration("exact", hash_partitions=LEAVES):
            owner.execute(statement)
    else:
        hierarchies.declare(
            owner, child=name == "child", hash_partitions=LEAVES, default_slice=name in ("one", "child")
        )
        if name == "itself":
            owner.execute("ALTER TABLE event ADD up bigint")
            owner.execute("SELECT dp.register_child('event', 'event', '{up}', 'SET NULL')")
    hierarchies.create_slices(owner, FIRST, SHAPES[name].end, SHAPES[name].root)


def make(call: str, root: str, *, dry_run: bool) -> str:
    """The call as a statement."""
    if call == "drain":
        return f"CALL dp.drain_default('{root}', '2031-01-01', '2031-02-01', dry_run => {dry_run})"
    if call == "register":
        return f"SELECT dp.register_child('other', '{root}', '{{event_id}}', dry_run => {dry_run})"
    if call == "views":
        return f"SELECT dp.create_writable_views('{root}', 'views', dry_run => {dry_run})"
    month = DETACHED if call == "attach" else MONTH
    return f"SELECT dp.{call}_slice('{root}', '{month}', dry_run => {dry_run})"


def said(owner: Connection, name: str, call: str) -> int:
    """The number of locks that a call names when it refuses."""
    with pytest.raises(psycopg.errors.OutOfMemory) as caught:
        owner.execute(make(call, SHAPES[name].root, dry_run=False))
    found = re.search(r"about (\d+) locks", str(caught.value.diag.message_primary))
    assert found is not None, caught.value
    return int(found[1])


def held(owner: Connection, name: str, call: str) -> int:
    """The number of locks that the statements of a call hold in the end; what a call itself reads is most for views."""
    owner.execute("SET dp.propagate_ddl = off")  # as in the call itself
    owner.execute(make(call, SHAPES[name].root, dry_run=True))
    statements = [row[0] for row in owner.execute("SELECT statement FROM dp.last_plan ORDER BY step")]
    if call == "views":
        statements = [make(call, SHAPES[name].root, dry_run=False)]
    with owner.transaction(force_rollback=True):
        for statement in statements:
            if statement not in ("BEGIN", "COMMIT"):
                owner.execute(statement)
        row = owner.execute(HELD).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(scope="module")
def locks(server: Server) -> Iterator[dict[tuple[str, str], tuple[int, int]]]:
    """For every case what a server says whose lock table is too small, and what is held where it is large."""
    with type(server)(server.version, {"max_connections": "20"}) as own:
        prepare_template(own)
        restart(own, LARGE)
        for name, shape in SHAPES.items():
            Database.create(own, name)
            with own.connect(name, "owner") as owner:
                declare(owner, name)
                owner.execute("CREATE TABLE other (id bigint PRIMARY KEY, event_id bigint); CREATE SCHEMA views")
                if "drain" in shape.calls:
                    owner.execute("INSERT INTO event (id, at, party) VALUES (1, '2031-01-15', 'p')")
                owner.execute("SELECT dp.detach_slice(%s, %s)", [shape.root, DETACHED])
        restart(own, TINY)
        figures = {}
        for name, call in CASES:
            with own.connect(name, "owner") as owner:
                figures[name, call] = said(owner, name, call)
        restart(own, LARGE)
        found = {}
        for name, call in CASES:
            with own.connect(name, "owner") as owner:
                found[name, call] = (figures[name, call], held(owner, name, call))
        yield found


def restart(server: Server, options: str) -> None:
    """Restart with another size of the lock table."""
    server.stop("fast")
    server.start(options)


@pytest.mark.parametrize(("name", "call"), CASES)
def test_a_call_takes_what_it_said_it_would_and_not_much_less(
    locks: dict[tuple[str, str], tuple[int, int]], name: str, call: str
) -> None:
    estimate, count = locks[name, call]
    assert count <= estimate <= 1.5 * count + 60
