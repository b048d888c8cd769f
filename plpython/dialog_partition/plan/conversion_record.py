"""What a conversion changed of a table, noted with the new one: dp.unconvert takes back just that."""

from __future__ import annotations

import json
from typing import NamedTuple

from ..sql import SQL, Literal, compose
from .conversion import Conversion, Member, key_columns, root_columns
from .unique import lacking


class Key(NamedTuple):
    """What a foreign key said before it got the partition keys."""

    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    on_update: str
    is_deferrable: bool
    is_deferred: bool
    is_full: bool


class Record(NamedTuple):
    """What was changed of one table."""

    added: tuple[str, ...]  # columns
    altered: dict[str, str]  # columns of another type or collation, and what they were
    nullable: tuple[str, ...]  # columns that became NOT NULL
    indexes: dict[str, tuple[str, ...]]  # unique rules that got keys
    foreign_keys: dict[str, Key]
    publications: dict[str, tuple[str, ...]]  # column lists
    clustered: str | None


NOTHING = Record((), {}, (), {}, {}, {}, None)


def made(conversion: Conversion, member: Member) -> Record:
    """What a conversion changes of a table."""
    wanted = root_columns(conversion.settings) if member.is_root else key_columns(conversion)
    present = {column.name: column for column in member.structure.columns}
    there = [column for column in wanted if column.name in present]
    keys = conversion.keys
    return Record(
        tuple(column.name for column in wanted if column.name not in present),
        {
            column.name: present[column.name].declaration.text
            for column in there
            if not present[column.name].is_alike(column)
        },
        tuple(column.name for column in there if not present[column.name].is_not_null),
        {
            index.name: lacking(index, keys)
            for index in member.structure.indexes
            if index.is_unique and index.constraint_type != "x"
        },
        {
            key.name: Key(
                key.columns,
                key.parent_columns,
                key.on_update,
                key.is_deferrable,
                key.is_deferred,
                key.is_full,
            )
            for key in (*member.owners, *member.others)
        },
        {each.name: each.columns for each in member.structure.publications if each.columns},
        member.facts.clustered,
    )


def statement(conversion: Conversion, member: Member) -> SQL:
    """The row that notes it."""
    return compose(
        "INSERT INTO dp.conversion_record (tbl, root, changes) VALUES ({}::regclass, {}::regclass, {})",
        Literal(member.working.identifier.text),
        Literal(conversion.root.working.identifier.text),
        Literal(json.dumps(made(conversion, member))),
    )


def read(text: str | None) -> Record:
    """A noted row; nothing of a table that was declared."""
    if text is None:
        return NOTHING
    added, altered, nullable, indexes, foreign_keys, publications, clustered = json.loads(text)
    return Record(
        tuple(added),
        altered,
        tuple(nullable),
        {name: tuple(keys) for name, keys in indexes.items()},
        {name: Key(tuple(key[0]), tuple(key[1]), *key[2:]) for name, key in foreign_keys.items()},
        {name: tuple(columns) for name, columns in publications.items()},
        clustered,
    )
