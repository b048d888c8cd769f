"""The statements that copy the rows of plain tables, and that compare what arrived."""

from __future__ import annotations

from typing import NamedTuple

from .. import keys as key_axis
from ..sql import SQL, Identifier, comma_list, compose, names
from .conversion import Conversion, Member, joined
from .conversion_form import copied_columns, identifiers


class Copied(NamedTuple):
    """How much of a table is copied: in rows where they were counted, as if its blocks had equally many."""

    rows: int | None
    blocks: int

    def between(self, first: int, last: int) -> int:
        """How much lies in some blocks."""
        if self.rows is None or not self.blocks:
            return max(last - first, 0)
        return max(self.rows * last // self.blocks - self.rows * first // self.blocks, 0)

    def told(self, first: int, block: int, seconds: float) -> str:
        """How far it is, and how long it will last: so many seconds were spent from the first block on."""
        seconds = max(seconds, 0.001)
        left = seconds / (block - first) * (self.blocks - block)
        rate = self.between(first, block) / seconds
        what = "blocks" if self.rows is None else "rows"
        return (
            f"{self.between(0, block)} of {self.between(0, self.blocks)} {what} copied,"
            f" {rate:.0f} a second, {left:.0f} s left"
        )


def copy_statement(conversion: Conversion, member: Member) -> SQL:
    """INSERT ... SELECT of all rows of a table, each with the partition keys of its root row.

    Every row of the plain table is selected: one whose root row is not found has no keys, and is refused as a row
    without them, never left behind.
    """
    columns = copied_columns(conversion, member)
    values = identifiers("t", columns)
    joins = ""
    if member.is_root:
        if conversion.settings.slice_key is not None:
            columns = [*columns, conversion.settings.slice_key]
            values.append(bucket_of(conversion, compose("t.{}", Identifier(conversion.settings.range_column.name))))
    else:
        columns = [*columns, *conversion.keys]
        values += _keys(conversion, member)
        joins = _joins(conversion, member)
    return compose(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS t{}",
        member.working.identifier,
        names(columns),
        comma_list(values),
        member.identifier,
        SQL(joins),
    )


def batch(statement: SQL, first: int, last: int) -> SQL:
    """The part of a copy that lies in some blocks of the plain table."""
    return compose(
        "{} WHERE t.ctid >= '({},0)'::tid AND t.ctid < '({},0)'::tid", statement, SQL(str(first)), SQL(str(last))
    )


def bucket_of(conversion: Conversion, value: SQL) -> SQL:
    """The slice key of a value of the range key."""
    settings = conversion.settings
    assert settings.bucket is not None
    return key_axis.bucket_expression(value, settings.range_type, settings.bucket, settings.time_zone)


def _keys(conversion: Conversion, member: Member) -> list[SQL]:
    """The partition keys of a child's rows: of whichever owner a row has."""
    found = []
    for position, key in enumerate(conversion.keys):
        ways = [compose("o{}.{}", SQL(str(number)), Identifier(key)) for number in range(len(member.owners))]
        if conversion.orphan_keys:
            ways.append(conversion.orphan_keys[position])
        found.append(ways[0] if len(ways) == 1 else compose("coalesce({})", comma_list(ways)))
    return found


def _joins(conversion: Conversion, member: Member) -> str:
    text = ""
    for number, key in enumerate(member.owners):
        parent = conversion.member(key.parent)
        on = joined(
            [
                (compose("o{}.{}", SQL(str(number)), Identifier(theirs)), compose("t.{}", Identifier(own)))
                for own, theirs in zip(key.columns, key.parent_columns)
                if own not in conversion.keys
            ]
        )
        text += f" LEFT JOIN {parent.keys_table} AS o{number} ON {on}"
    return text


def referred_columns(conversion: Conversion, member: Member) -> list[tuple[str, ...]]:
    """By which columns the tables below find a table's rows."""
    found = [
        tuple(column for column in key.parent_columns if column not in conversion.keys)
        for each in conversion.members
        for key in each.owners
        if key.parent == member.oid
    ]
    return list(dict.fromkeys(found))


def keys_statements(conversion: Conversion, member: Member) -> list[SQL]:
    """Note the partition keys of a table's rows for the tables below; made from what was copied."""
    referred = referred_columns(conversion, member)
    if not referred:
        return []
    columns = list(dict.fromkeys(column for each in referred for column in each))
    found = [
        compose(
            "CREATE TABLE {} AS SELECT {} FROM {}",
            member.keys_table,
            names([*columns, *conversion.keys]),
            member.working.identifier,
        )
    ]
    found += [compose("CREATE UNIQUE INDEX ON {} ({})", member.keys_table, names(each)) for each in referred]
    found.append(compose("ANALYZE {}", member.keys_table))
    return found


def drop_keys_statement(conversion: Conversion, member: Member) -> SQL | None:
    """The notes are not needed any more."""
    return compose("DROP TABLE {}", member.keys_table) if referred_columns(conversion, member) else None


def content(conversion: Conversion, member: Member, table: Identifier) -> SQL:
    """Count and checksum of the rows of a table, plain or partitioned; of the plain one's columns.

    Values are hashed as what they are; those of types that cannot be hashed as their texts.
    """
    parts = [
        compose("t.{}", Identifier(column))
        if column in member.facts.hashable
        else compose("t.{}::text", Identifier(column))
        for column in copied_columns(conversion, member)
    ]
    return compose(
        "SELECT count(*) AS rows, coalesce(sum(hash_record_extended(ROW({}), 0)), 0)::text AS checksum FROM {} AS t",
        comma_list(parts),
        table,
    )


def versions(table: Identifier) -> SQL:
    """What changes with every write to a plain table: the sum over its row versions, where and by whom they are."""
    return compose(
        "SELECT count(*) || ' ' || coalesce(sum(hashtidextended(t.ctid, t.xmin::text::bigint)), 0) AS versions"
        " FROM {} AS t",
        table,
    )
