"""Which lookup answers a query that binds no key: by its rows' identity, their parent's, or a global index."""

from __future__ import annotations

from ..model import GlobalIndex, Table
from ..sql import SQL, Literal, comma_list, compose, name_array
from . import query_text
from .lookup import Lookup
from .query_conditions import ARRAY, EQUAL, JOIN, OTHER, Column
from .reading import MISSING, Reading


def without_keys(reading: Reading, identity: tuple[str, ...]) -> str | None:
    """How to read rows whose columns are given that tell where they lie; None where the query gives a key as well."""
    hierarchy, table = reading.hierarchy, reading.table
    partition_keys = hierarchy.policy.partition_keys
    if any(reading.binding(name).kind in (EQUAL, ARRAY) for name in partition_keys):
        return None
    wanted = [(table, {name: name for name in identity}), *_parents(reading)]
    for holder, own in wanted:
        if own and all(_is_given(reading, name) for name in own.values()):
            return _by(table, holder, own, partition_keys)
    for side in table.global_indexes:
        if side.is_valid and all(_is_given(reading, name) for name in side.columns) and _holds_all_given(side):
            return _call(table, side.columns, side, partition_keys)
    return None


def instead_of_side_table(reading: Reading, sides: frozenset[int]) -> str | None:
    """What stands for a join with a side table, which is planned for all leaves; None where there is no such join."""
    partition_keys = reading.hierarchy.policy.partition_keys
    if len(reading.leaves) <= 1 or not any(_comes_late(reading, name) for name in partition_keys):
        return None
    table = reading.table
    for side in table.global_indexes:
        if side.oid in sides and side.is_valid:
            return _call(table, side.columns, side, partition_keys)
    for parent, own in _parents(reading):
        for side in parent.global_indexes:
            if side.oid in sides and side.is_valid and _serves_children(side) and set(side.columns) == set(own):
                return _call(table, tuple(own[name] for name in side.columns), side, partition_keys)
    return None


def _comes_late(reading: Reading, name: str) -> bool:
    binding = reading.binding(name)
    return binding.kind in (MISSING, OTHER) or binding.source == JOIN


def _parents(reading: Reading) -> list[tuple[Table, dict[str, str]]]:
    """What the table refers to, and its own columns by those that they refer to."""
    hierarchy = reading.hierarchy
    found = []
    for key in hierarchy.foreign_keys:
        if key.child == reading.table.oid:
            pairs = dict(zip(key.parent_columns, key.columns))
            own = {parent: child for parent, child in pairs.items() if parent not in hierarchy.policy.partition_keys}
            found.append((hierarchy.table(key.parent), own))
    return found


def _is_given(reading: Reading, name: str) -> bool:
    column = Column(reading.alias, name)
    return any(fact.column == column and fact.kind in (EQUAL, ARRAY) and fact.other is None for fact in reading.facts)


def _holds_all_given(side: GlobalIndex) -> bool:
    """Whether an index holds all rows that have given values: its predicate says no more than that there are any."""
    if side.predicate is None:
        return True
    tokens = [each for each in query_text.tokens(side.predicate) if each.kind != query_text.SPACE]
    words = [each for each in tokens if each.text not in ("(", ")")]
    conditions = [words[at : at + 4] for at in range(0, len(words), 5)]
    joints = words[4::5]
    return all(each.is_word("AND") for each in joints) and all(_is_not_null(each, side) for each in conditions)


def _is_not_null(condition: list[query_text.Token], side: GlobalIndex) -> bool:
    if len(condition) != 4 or condition[0].text not in side.columns:
        return False
    return all(token.is_word(word) for token, word in zip(condition[1:], ("IS", "NOT", "NULL")))


def _serves_children(side: GlobalIndex) -> bool:
    return side.is_unique and side.predicate is None


def _by(table: Table, holder: Table, own: dict[str, str], partition_keys: tuple[str, ...]) -> str:
    """The lookup function that a global index serves, or the call that makes the index."""
    for side in holder.global_indexes:
        is_fit = side.predicate is None if holder is table else _serves_children(side)
        if side.is_valid and is_fit and set(side.columns) == set(own):
            return _call(table, tuple(own[name] for name in side.columns), side, partition_keys)
    holder_name = Literal(holder.identifier.text)
    return compose("SELECT dp.create_global_index({}, {});", holder_name, name_array(tuple(own))).text


def _call(table: Table, columns: tuple[str, ...], side: GlobalIndex, partition_keys: tuple[str, ...]) -> str:
    lookup = Lookup(table, columns, ("",) * len(columns), side, partition_keys)
    lists = comma_list([SQL("ARRAY[...]") for _ in columns])
    return compose("SELECT * FROM {}({})", lookup.identifier, lists).text
