"""What a conversion changed of a table, noted with the new one: dp.unconvert takes back just that."""

from __future__ import annotations

import json
from typing import NamedTuple

from ..sql import SQL, Literal, compose
from .conversion import Conversion, Member, key_columns, root_columns
from .unique import lacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Key(NamedTuple):
    """What a foreign key said before it got the partition keys."""

    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    on_update: str
    is_deferrable: bool
    is_deferred: bool
    is_full: bool


class Widened(NamedTuple):
    """A unique rule that got keys."""

    columns: tuple[str | None, ...]  # it had before
    keys: tuple[str, ...]  # it got


class Record(NamedTuple):
    """What was changed of one table."""

    added: tuple[str, ...]  # columns
    altered: dict[str, str]  # columns of another type or collation, and what they were
    nullable: tuple[str, ...]  # columns that became NOT NULL
    indexes: dict[str, Widened]  # unique rules that got keys
    foreign_keys: dict[str, Key]
    publications: dict[str, tuple[str, ...]]  # column lists
    clustered: str | None
    keys: tuple[str, ...]  # the partition keys, by the names that they had then

    def gone_of(self, index: str, columns: tuple[str | None, ...]) -> tuple[str, ...]:
        """Which columns of an index were added to it; one that was renamed is known by its columns."""
        if index in self.indexes:
            return self.indexes[index].keys
        for each in self.indexes.values():
            if each.keys and (*each.columns, *each.keys) == columns:
                return each.keys
        return ()

    def followed(self, keys: tuple[str, ...]) -> Record:
        """The same with the names that the partition keys have now; of a table that was declared still nothing."""
        if self == NOTHING:
            return self
        names = dict(zip(self.keys, keys))

        def renamed(columns: Iterable[str]) -> tuple[str, ...]:
            return tuple(names.get(column, column) for column in columns)

        return self._replace(
            added=renamed(self.added),
            altered={names.get(column, column): declaration for column, declaration in self.altered.items()},
            nullable=renamed(self.nullable),
            indexes={
                name: Widened(
                    tuple(column if column is None else names.get(column, column) for column in each.columns),
                    renamed(each.keys),
                )
                for name, each in self.indexes.items()
            },
            foreign_keys={
                name: key._replace(columns=renamed(key.columns), parent_columns=renamed(key.parent_columns))
                for name, key in self.foreign_keys.items()
            },
            publications={name: renamed(columns) for name, columns in self.publications.items()},
            keys=keys,
        )


NOTHING = Record((), {}, (), {}, {}, {}, None, ())


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
            index.name: Widened(index.columns, lacking(index, keys))
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
            for key in (*member.owners, *member.others, *member.apart)
        },
        {each.name: each.columns for each in member.structure.publications if each.columns},
        member.facts.clustered,
        keys,
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
    added, altered, nullable, indexes, foreign_keys, publications, clustered, keys = json.loads(text)
    return Record(
        tuple(added),
        altered,
        tuple(nullable),
        {name: Widened(tuple(each[0]), tuple(each[1])) for name, each in indexes.items()},
        {name: Key(tuple(key[0]), tuple(key[1]), *key[2:]) for name, key in foreign_keys.items()},
        {name: tuple(columns) for name, columns in publications.items()},
        clustered,
        tuple(keys),
    )
