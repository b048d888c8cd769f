"""The methods by which a leaf is written anew in its order, behind one interface; and what each needs of the server.

CLUSTER blocks readers and writers of the leaf while it works. The online methods read what is written meanwhile from
the WAL, and block for a moment at their end. A method outside of the server is a program, whose command is printed.
"""

from __future__ import annotations

from typing import NamedTuple

from ..operation import ACCESS_EXCLUSIVE, ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, Literal, comma_list, compose
from .physical_order import Leaf, OrderIndex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

AUTO, CLUSTER, SQUEEZE, REPACK, PG_REPACK = "auto", "cluster", "pg_squeeze", "repack", "pg_repack"
REPACK_SINCE = 190000
FIRST_BYTES_A_SECOND = 50_000_000  # how fast the first leaf is ordered, before it was measured
NEW_FILES = 8  # a leaf written anew locks its new files, too
WAIT_OF_PG_REPACK = 60  # seconds, after which it leaves a table whose lock it did not get


class Facts(NamedTuple):
    """What the server has of what the methods need."""

    version: int
    wal_level: str
    free_slots: int  # replication slots that nobody has
    repack_slots: int  # those that are kept for REPACK
    output_plugins: tuple[str, ...] | None  # that logical decoding may use; None: any, or the caller may not know
    has_squeeze: bool  # the extension, in this database
    is_squeeze_loaded: bool  # its library, when the server started
    has_pg_repack: bool
    missing_grants: tuple[str, ...]  # what would let the role use pg_squeeze
    database: str


class Lack(NamedTuple):
    """Something that a method needs and that is not there."""

    what: str
    remedy: str
    is_privilege: bool = False


class Method(NamedTuple):
    """A way to order a leaf."""

    name: str
    is_online: bool  # run by the second session, while readers and writers of the leaf go on
    is_outside: bool  # a program's, whose command is printed
    is_automatic: bool  # whether it may be chosen for the caller
    lacks: Callable[[Facts], list[Lack]]
    statement: Callable[[Leaf, OrderIndex, Facts], SQL]


def _lacks_of_cluster(_: Facts) -> list[Lack]:
    return []


def _cluster(leaf: Leaf, _: OrderIndex, __: Facts) -> SQL:
    return compose("CLUSTER {} USING {}", leaf.identifier, Identifier(leaf.index_name))


def _lacks_of_repack(facts: Facts) -> list[Lack]:
    found = []
    if facts.version < REPACK_SINCE:
        found.append(Lack("the server is older than PostgreSQL 19", "Upgrade the server."))
    else:
        if facts.wal_level == "minimal":
            found.append(Lack("wal_level is minimal", "ALTER SYSTEM SET wal_level = replica; and restart the server."))
        if facts.repack_slots == 0:
            remedy = "ALTER SYSTEM SET max_repack_replication_slots = 1; and restart the server."
            found.append(Lack("max_repack_replication_slots is 0", remedy))
    return found


def _repack(leaf: Leaf, _: OrderIndex, __: Facts) -> SQL:
    return compose("REPACK (CONCURRENTLY) {} USING INDEX {}", leaf.identifier, Identifier(leaf.index_name))


def _lacks_of_squeeze(facts: Facts) -> list[Lack]:
    found = []
    if not facts.is_squeeze_loaded:
        remedy = "Add pg_squeeze to shared_preload_libraries and restart the server."
        found.append(Lack("shared_preload_libraries does not have pg_squeeze", remedy))
    if facts.wal_level != "logical" and facts.version < REPACK_SINCE:
        remedy = "ALTER SYSTEM SET wal_level = logical; and restart the server."
        found.append(Lack(f"wal_level is {facts.wal_level}, not logical", remedy))
    if facts.output_plugins is not None and "pg_squeeze" not in facts.output_plugins:
        listed = ", ".join((*facts.output_plugins, "pg_squeeze"))
        remedy = f"ALTER SYSTEM SET output_plugin_libraries = {listed}; and reload the configuration."
        found.append(Lack("output_plugin_libraries does not allow pg_squeeze", remedy))
    if facts.free_slots < 1:
        remedy = "Raise max_replication_slots and restart the server, or drop slots that nobody uses."
        found.append(Lack("no replication slot is free", remedy))
    if not facts.has_squeeze:
        remedy = "CREATE EXTENSION pg_squeeze; as a superuser."
        found.append(Lack("extension pg_squeeze is not installed in this database", remedy))
    elif facts.missing_grants:
        remedy = f"Let a superuser call; or as a superuser: {' '.join(facts.missing_grants)}"
        found.append(Lack("the owner of the tables may not use pg_squeeze", remedy, is_privilege=True))
    return found


def _squeeze(leaf: Leaf, _: OrderIndex, __: Facts) -> SQL:
    names = comma_list([Literal(name) for name in (leaf.schema, leaf.name, leaf.index_name)])
    return compose("SELECT squeeze.squeeze_table({}, NULL, NULL)", names)


def _lacks_of_pg_repack(facts: Facts) -> list[Lack]:
    if facts.has_pg_repack:
        return []
    remedy = "CREATE EXTENSION pg_repack; as a superuser."
    return [Lack("extension pg_repack is not installed in this database", remedy)]


def _pg_repack(leaf: Leaf, index: OrderIndex, facts: Facts) -> SQL:
    """It must not end other sessions, as it would after its wait; where to connect to, the environment says."""
    order = comma_list([compose("{} {}", Identifier(c), SQL(d)) for c, d in zip(index.columns, index.directions)])
    return SQL(
        f"pg_repack --no-kill-backend --wait-timeout={WAIT_OF_PG_REPACK} --dbname={quoted(facts.database)}"
        f" --table={quoted(leaf.identifier.text)} --order-by={quoted(order.text)}"
    )


def quoted(text: str) -> str:
    """A word of a shell's command."""
    return "'" + text.replace("'", "'\\''") + "'"


METHODS = {
    method.name: method
    for method in (
        # not chosen for anybody before it was tried on a server
        Method(REPACK, True, False, False, _lacks_of_repack, _repack),
        Method(SQUEEZE, True, False, True, _lacks_of_squeeze, _squeeze),
        Method(CLUSTER, False, False, True, _lacks_of_cluster, _cluster),
        Method(PG_REPACK, False, True, False, _lacks_of_pg_repack, _pg_repack),
    )
}
NAMES = (AUTO, *METHODS)


def automatic(facts: Facts, has_session: bool) -> Method:
    """The method of a call that names none: the first that has what it needs."""
    return next(
        method
        for method in METHODS.values()
        if method.is_automatic and (has_session or not method.is_online) and not method.lacks(facts)
    )


def obstacle(method: Method, leaf: Leaf) -> str | None:
    """Why a leaf cannot be ordered by a method that takes the changes of others along."""
    if method.name == CLUSTER:
        return None
    if not leaf.has_identity:
        return "it has no primary key or replica identity by which rows that are changed meanwhile could be found"
    if method.is_online and not leaf.is_logged:
        return "it is UNLOGGED, so that nothing tells what is changed meanwhile"
    return None


def order_steps(method: Method, leaf: Leaf, index: OrderIndex, root: Identifier, facts: Facts) -> list[Step]:
    """Write a leaf anew in its order, and record that: at once where both can stand in one transaction."""
    operation = Operation(
        leaf.identifier,
        method.statement(leaf, index, facts),
        ACCESS_EXCLUSIVE,
        (leaf.oid,),
        3 * leaf.relations + NEW_FILES,
        in_transaction=not method.is_online,
        gives_way=method.is_online,
    )
    record = Operation(leaf.identifier, _record(leaf, index, root), ROW_EXCLUSIVE)
    if method.is_online:
        return [Step((operation,)), Step((record,))]
    return [Step((operation, record))]


def finishing_steps(leaf: Leaf, vacuum: bool, warm: tuple[SQL, ...]) -> list[Step]:
    """What a leaf lacks that was written anew: a visibility map, statistics, its place in the cache.

    Without a visibility map index-only scans read the rows. ``vacuum``: else ANALYZE alone, which a transaction may
    contain. ``warm``: what was in the cache and is read into it again.
    """
    target, relations = leaf.identifier, (leaf.oid,)
    if vacuum:
        statement, locks = compose("VACUUM (ANALYZE) {}", target), 2
    else:
        statement, locks = compose("ANALYZE {}", target), leaf.relations
    analyze = Operation(target, statement, SHARE_UPDATE_EXCLUSIVE, relations, locks, in_transaction=not vacuum)
    return [Step((analyze,)), *(Step((Operation(target, each, SHARE_UPDATE_EXCLUSIVE),)) for each in warm)]


def outside_step(leaf: Leaf, index: OrderIndex, facts: Facts, vacuum: bool) -> Step:
    """The commands of a program, for the shell of whoever runs it."""
    commands = [METHODS[PG_REPACK].statement(leaf, index, facts)]
    if vacuum:
        commands.append(
            SQL(f"vacuumdb --quiet --dbname={quoted(facts.database)} --table={quoted(leaf.identifier.text)}")
        )
    return Step(tuple(Operation(leaf.identifier, each) for each in commands))


def _record(leaf: Leaf, index: OrderIndex, root: Identifier) -> SQL:
    return compose(
        "INSERT INTO dp.leaf_order (leaf, root, index_name, changes)"
        " VALUES ({leaf}::regclass, {root}::regclass, {index}, dp._changes_of({leaf}::regclass))"
        " ON CONFLICT (leaf) DO UPDATE SET root = excluded.root, index_name = excluded.index_name,"
        " changes = excluded.changes, at = excluded.at",
        leaf=Literal(leaf.identifier.text),
        root=Literal(root.text),
        index=Literal(index.name),
    )
