"""Tables that were declared partitioned by the range key, and are to have the slice form.

PostgreSQL wanted the range key in their primary keys, unique rules and foreign keys, and children carry it for that
alone. In the slice form the slice key takes its place everywhere, and children do without the range key, which would
be left behind when the root's changes.
"""

from __future__ import annotations

from ..model import ForeignKey, Policy
from ..sql import Identifier
from .structure import Index, Structure
from .unique import list_end


def root(structure: Structure, range_key: str, slice_key: str) -> Structure:
    """A root with the slice key in its unique rules; other indexes go on serving the range key."""
    if range_key not in structure.partition_columns:
        return structure
    indexes = (_with_slice_key(each, range_key, slice_key) if each.is_unique else each for each in structure.indexes)
    return structure._replace(indexes=tuple(indexes))


def child(structure: Structure, policy: Policy) -> Structure:
    """A child with the slice key in all its indexes, and foreign keys without the range key."""
    carried = carried_range_key(structure, policy)
    if not carried or policy.slice_key is None:
        return structure
    indexes = (_with_slice_key(each, policy.range_key, policy.slice_key) for each in structure.indexes)
    return structure._replace(
        indexes=tuple(indexes), foreign_keys=tuple(without_range_key(list(structure.foreign_keys), policy))
    )


def carried_range_key(structure: Structure, policy: Policy) -> tuple[str, ...]:
    """The column that a child carries for its partitioning alone, and loses."""
    if policy.slice_key is not None and policy.range_key in structure.partition_columns:
        return (policy.range_key,)
    return ()


def without_range_key(foreign_keys: list[ForeignKey], policy: Policy) -> list[ForeignKey]:
    """Foreign keys that do not pair the child's range key with the parent's."""
    if policy.slice_key is None:
        return foreign_keys
    found = []
    for key in foreign_keys:
        pairs = [pair for pair in zip(key.columns, key.parent_columns) if pair != (policy.range_key, policy.range_key)]
        own, referenced = tuple(zip(*pairs)) if pairs else ((), ())
        found.append(key._replace(columns=own, parent_columns=referenced))
    return found


def _with_slice_key(index: Index, range_key: str, slice_key: str) -> Index:
    if range_key not in index.columns:
        return index
    position = index.columns.index(range_key)
    columns = list(index.columns)
    columns[position] = slice_key
    return index._replace(columns=tuple(columns), definition=_renamed(index.definition, position, slice_key))


def _renamed(definition: str, position: int, name: str) -> str:
    """The text of an index with another name for the column at a position of its key."""
    start, end = spans(definition)[position]
    item = definition[start:end]
    rest = item[item.index('"', 1) + 1 :] if item.startswith('"') else item[len(item.split(" ")[0]) :]
    return definition[:start] + Identifier(name).text + rest + definition[end:]


def spans(definition: str) -> list[tuple[int, int]]:
    """Where the items of the first list in parentheses are."""
    found, depth, quote, start = [], 0, "", 0
    for position in range(list_end(definition) + 1):
        character = definition[position]
        if quote or character in "\"'":
            quote = "" if character == quote else quote or character
            continue
        depth += (character == "(") - (character == ")")
        if character == "(" and depth == 1:
            start = position + 1
        elif (character == "," and depth == 1) or (character == ")" and depth == 0):
            found.append((start, position))
            start = position + 2  # PostgreSQL writes a blank behind the comma
    return found
