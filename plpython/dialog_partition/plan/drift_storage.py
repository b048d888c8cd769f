"""Drift of how a leaf is stored, and of what is known of its contents."""

from __future__ import annotations

from .. import naming
from ..sql import SQL, Composable, Identifier, Literal, compose
from .difference import REWRITE, Difference, Facts, IndexPlace, Partition, unequal
from .properties import (
    Properties,
    State,
    StatisticsObject,
    cluster_mark_statement,
    option_name,
    replica_identity_statement,
    storage_clause,
)

IDENTITY_WORDS = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL", "i": "USING INDEX"}


def differences(partition: Partition, wanted: Properties, facts: Facts) -> list[Difference]:
    """Storage parameters, column statistics, statistics objects, placement, replica identity, order."""
    return [
        *_storage(partition, wanted),
        *_column_options(partition.state, wanted),
        *_statistics(partition.state, wanted),
        *_tablespace(partition, wanted, facts),
        *_placement(partition.state, wanted),
        *_replica_identity(partition.state, wanted),
        *(_cluster_mark(partition.state, wanted) if partition.is_leaf else ()),
    ]


def _storage(partition: Partition, wanted: Properties) -> list[Difference]:
    """Storage parameters, statistics targets and options of columns."""
    state = partition.state
    found = []
    for name, expected, actual in unequal(wanted.options, state.options):
        if expected is None:
            action = compose("RESET ({})", option_name(name))
        else:
            action = compose("SET ({})", storage_clause(((name, expected),)))
        statement = compose("ALTER TABLE {} {}", state.identifier, action)
        found.append(Difference(state.identifier, "storage parameter", name, expected, actual, (statement,)))
    targets = [[(column, str(target)) for column, target in each.column_targets] for each in (wanted, state)]
    for column, expected, actual in unequal(*targets):
        value = Literal(int(expected) if expected is not None else -1)
        statement = compose(
            "ALTER TABLE {} ALTER COLUMN {} SET STATISTICS {}", state.identifier, Identifier(column), value
        )
        found.append(Difference(state.identifier, "statistics target", column, expected, actual, (statement,)))
    return found


def _column_options(state: State, wanted: Properties) -> list[Difference]:
    def by_name(options: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
        return [(f"{column}\0{option.partition('=')[0]}", option.partition("=")[2]) for column, option in options]

    found = []
    for key, expected, actual in unequal(by_name(wanted.column_options), by_name(state.column_options)):
        column, _, option = key.partition("\0")
        action: Composable = (
            compose("SET ({} = {})", SQL(option), Literal(expected))
            if expected is not None
            else compose("RESET ({})", SQL(option))
        )
        statement = compose("ALTER TABLE {} ALTER COLUMN {} {}", state.identifier, Identifier(column), action)
        found.append(Difference(state.identifier, option, column, expected, actual, (statement,)))
    return found


def _statistics(state: State, wanted: Properties) -> list[Difference]:
    """Statistics objects are told apart by what they are over: their names differ from leaf to leaf."""
    expected = {each.definition: each for each in wanted.statistics}
    present = {each.definition: each for each in state.statistics}
    found = []
    for definition, each in expected.items():
        own = present.get(definition)
        if own is None:
            name = Identifier(state.schema, naming.unique_derived_name(state.name, each.name))
            create = compose("CREATE STATISTICS {} {} FROM {}", name, SQL(definition), state.identifier)
            statements = (create, *_target(name, each)) if each.target is not None else (create,)
            found.append(Difference(state.identifier, "statistics object", each.name, definition, None, statements))
        elif own.target != each.target:
            # a statistics object stands in the schema that its creator chose; those of leaves in the leaf's
            statements = _target(Identifier(state.schema, own.name), each)
            told = (_target_told(each), _target_told(own))
            found.append(Difference(state.identifier, "statistics object", own.name, *told, statements))
    for definition, own in present.items():
        if definition not in expected:
            found.append(Difference(state.identifier, "statistics object", own.name, None, definition, ()))
    return found


def _target(name: Identifier, each: StatisticsObject) -> tuple[SQL, ...]:
    target = -1 if each.target is None else each.target
    return (compose("ALTER STATISTICS {} SET STATISTICS {}", name, Literal(target)),)


def _target_told(each: StatisticsObject) -> str:
    return f"{each.definition}, target {'default' if each.target is None else each.target}"


def _tablespace(partition: Partition, wanted: Properties, facts: Facts) -> list[Difference]:
    """Where rows and indexes are; the leaf's own indexes go with it, those of the table are where their parents are."""
    state = partition.state
    relation = state.identifier
    there = wanted.tablespace or facts.own_tablespace  # which has no name among the properties
    places = [each for each in facts.index_places if each.relation == partition.oid]
    found = []
    if state.tablespace != wanted.tablespace:
        here = state.tablespace or facts.own_tablespace
        own = [each for each in places if each.expected is None and each.tablespace == here]
        statements = (
            compose("ALTER TABLE {} SET TABLESPACE {}", relation, Identifier(there)),
            *(_move_index(each, there) for each in own),
        )
        found.append(Difference(relation, "tablespace", "", wanted.tablespace, state.tablespace, statements, REWRITE))
    if partition.policy is not None and partition.policy.tablespace is not None:
        return found
    for each in places:
        if each.expected is not None:
            told = (each.expected, each.tablespace)
            statement = _move_index(each, each.expected)
            name = each.identifier.name
            found.append(Difference(relation, "index tablespace", name, *told, (statement,), REWRITE))
    return found


def _move_index(each: IndexPlace, tablespace: str) -> SQL:
    return compose("ALTER INDEX {} SET TABLESPACE {}", each.identifier, Identifier(tablespace))


def _placement(state: State, wanted: Properties) -> list[Difference]:
    """How the rows are stored; every one of these writes all rows anew."""
    relation = state.identifier
    found = []
    if wanted.access_method is not None and state.access_method != wanted.access_method:
        change = compose("ALTER TABLE {} SET ACCESS METHOD {}", relation, Identifier(wanted.access_method))
        found.append(
            Difference(relation, "access method", "", wanted.access_method, state.access_method, (change,), REWRITE)
        )
    if state.is_unlogged != wanted.is_unlogged:
        words = ("LOGGED", "UNLOGGED")
        change = compose("ALTER TABLE {} SET {}", relation, SQL(words[wanted.is_unlogged]))
        told = (words[wanted.is_unlogged].lower(), words[state.is_unlogged].lower())
        found.append(Difference(relation, "persistence", "", *told, (change,), REWRITE))
    return found


def _replica_identity(state: State, wanted: Properties) -> list[Difference]:
    expected = (wanted.replica_identity, wanted.replica_index)
    own_index = wanted.replica_index
    if own_index in {index.name for index in wanted.leaf_indexes}:
        own_index = naming.unique_derived_name(state.name, str(own_index))
    if (state.replica_identity, state.replica_index) == (expected[0], own_index):
        return []
    statement = replica_identity_statement(wanted, state.identifier)
    if statement is None:
        statement = compose("ALTER TABLE {} REPLICA IDENTITY DEFAULT", state.identifier)

    def told(identity: str, index: str | None) -> str:
        return IDENTITY_WORDS[identity] + (f" {index}" if index is not None else "")

    shown = (told(*expected), told(state.replica_identity, state.replica_index))
    return [Difference(state.identifier, "replica identity", "", *shown, (statement,))]


def _cluster_mark(state: State, wanted: Properties) -> list[Difference]:
    """Where an order was chosen; else leaves may say it themselves."""
    statement = cluster_mark_statement(wanted, state.identifier)
    if statement is None or state.cluster_index == wanted.cluster_index:
        return []
    expected, actual = wanted.cluster_index, state.cluster_index
    return [Difference(state.identifier, "cluster mark", "", expected, actual, (statement,))]
