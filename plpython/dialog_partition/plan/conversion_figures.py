"""The queries that count what a conversion must know: rows without a way to the root, and with two."""

from __future__ import annotations

from .. import keys as key_axis
from ..model import ForeignKey
from ..sql import SQL, Identifier, Literal, comma_list, compose
from .conversion import Conversion, Member, is_mandatory, joined

ALIAS = Identifier("t")  # of the table whose rows are counted


def can_have_orphans(conversion: Conversion, member: Member) -> bool:
    """Whether the rules of the tables allow rows without a way to the root."""
    if member.is_root:
        return False
    if not any(is_mandatory(member, key) for key in member.owners):
        return True
    return any(can_have_orphans(conversion, conversion.member(key.parent)) for key in member.owners)


def counting(conversion: Conversion, member: Member) -> SQL:
    """One row: rows, a count by each condition, apart by each other key, the largest number of a root row's rows."""
    counts = [
        compose("{} AS {}", _filtered(condition), Identifier(name))
        for name, condition in _conditions(conversion, member).items()
    ]
    return compose(
        "SELECT count(*) AS rows, {counts}, ARRAY[{apart}]::bigint[] AS apart, {largest} AS largest"
        " FROM {table} AS {alias}",
        counts=comma_list(counts),
        apart=comma_list([_filtered(apart(conversion, member, key, ALIAS)) for key in member.others]),
        largest=_largest(conversion, member),
        table=member.identifier,
        alias=ALIAS,
    )


def _largest(conversion: Conversion, member: Member) -> SQL:
    """How many rows the root row has that has most of them."""
    alias = Identifier("l")
    counts = [
        compose(
            "(SELECT count(*) AS rows FROM {} AS {} WHERE NOT {} GROUP BY {} ORDER BY 1 DESC LIMIT 1)",
            member.identifier,
            alias,
            _is_null(key, alias),
            comma_list([compose("{}.{}", alias, Identifier(column)) for column in key.columns]),
        )
        for key in member.owners
        if key.parent == conversion.root.oid
    ]
    return compose("coalesce(greatest({}), 0)", comma_list(counts)) if counts else SQL("0::bigint")


def showing(conversion: Conversion, member: Member, name: str) -> SQL:
    """The rows that are counted by a condition."""
    condition = _conditions(conversion, member)[name]
    assert condition is not None
    return _rows(member, condition)


def _rows(member: Member, condition: SQL) -> SQL:
    return compose("SELECT {}.* FROM {} AS {} WHERE {}", ALIAS, member.identifier, ALIAS, condition)


def _conditions(conversion: Conversion, member: Member) -> dict[str, SQL | None]:
    """Which rows of a table each figure counts; None: its rules allow no such row."""
    return {
        "without_keys": _without_keys(conversion, member, ALIAS),
        "orphans": _orphan(conversion, member, ALIAS, 0) if can_have_orphans(conversion, member) else None,
        "several": _several(member, ALIAS),
        "conflicts": _conflict(conversion, member, ALIAS),
        "differing": _differing(conversion, member, ALIAS),
        "broken": _broken(member, ALIAS),
    }


def _broken(member: Member, alias: Identifier) -> SQL | None:
    """Whether a row breaks a foreign key that is NOT VALID, as those of partitioned tables cannot be."""
    conditions = [
        compose(
            "(NOT {} AND NOT EXISTS (SELECT FROM {} AS b WHERE {}))",
            _is_null(key, alias),
            SQL(key.parent_text),
            _parent_of(key, alias, Identifier("b")),
        )
        for key in member.structure.foreign_keys
        if key.name in member.facts.unproven
    ]
    return SQL("(" + " OR ".join(each.text for each in conditions) + ")") if conditions else None


def _filtered(condition: SQL | None) -> SQL:
    return compose("count(*) FILTER (WHERE {})", condition) if condition is not None else SQL("0::bigint")


def _root_keys(conversion: Conversion) -> list[str]:
    """The columns of the root that decide where its rows are."""
    settings = conversion.settings
    return [settings.range_column.name] + ([settings.hash_column.name] if settings.hash_column else [])


def _without_keys(conversion: Conversion, member: Member, alias: Identifier) -> SQL | None:
    """Whether a root row lies in no slice: a key is NULL, or infinite."""
    if not member.is_root:
        return None
    keys = _root_keys(conversion)
    conditions = [compose("{}.{} IS NULL", alias, Identifier(key)).text for key in keys]
    if key_axis.is_calendar(conversion.settings.range_type) and conversion.settings.range_type != "uuid":
        conditions.append(compose("NOT isfinite({}.{})", alias, Identifier(keys[0])).text)
    return SQL(" OR ".join(conditions))


def _is_null(key: ForeignKey, alias: Identifier) -> SQL:
    """Whether a row has no parent by a key: MATCH SIMPLE asks for one only where no column is NULL."""
    return SQL("(" + " OR ".join(compose("{}.{} IS NULL", alias, Identifier(c)).text for c in key.columns) + ")")


def _parent_of(key: ForeignKey, alias: Identifier, parent: Identifier) -> SQL:
    return joined(
        [
            (compose("{}.{}", parent, Identifier(theirs)), compose("{}.{}", alias, Identifier(own)))
            for own, theirs in zip(key.columns, key.parent_columns)
        ]
    )


def _orphan(conversion: Conversion, member: Member, alias: Identifier, level: int) -> SQL:
    """Whether no owner of a row leads to the root."""
    ways = []
    for key in member.owners:
        parent = conversion.member(key.parent)
        lost = None if is_mandatory(member, key) else _is_null(key, alias)
        if can_have_orphans(conversion, parent):
            inner = Identifier(f"p{level}")
            above = compose(
                "EXISTS (SELECT FROM {} AS {} WHERE {} AND {})",
                parent.identifier,
                inner,
                _parent_of(key, alias, inner),
                _orphan(conversion, parent, inner, level + 1),
            )
            lost = compose("({} OR {})", lost, above) if lost is not None else above
        if lost is None:
            return SQL("false")
        ways.append(lost)
    return SQL("(" + " AND ".join(way.text for way in ways) + ")")


def _several(member: Member, alias: Identifier) -> SQL | None:
    if len(member.owners) < 2:
        return None
    given = [compose("(NOT {})::integer", _is_null(key, alias)) for key in member.owners]
    return SQL(" + ".join(each.text for each in given) + " > 1")


def _keys_of(conversion: Conversion, member: Member, alias: Identifier, level: int, keys: list[str]) -> SQL:
    """The root's keys of a row, as one value."""
    if member.is_root:
        columns = [compose("{}.{}", alias, Identifier(key)) for key in keys]
        return columns[0] if len(columns) == 1 else compose("ROW({})", comma_list(columns))
    ways = [_keys_by(conversion, key, alias, level, keys) for key in member.owners]
    return compose("coalesce({})", comma_list(ways))


def _keys_by(conversion: Conversion, key: ForeignKey, alias: Identifier, level: int, keys: list[str]) -> SQL:
    parent, inner = conversion.member(key.parent), Identifier(f"k{level}")
    return compose(
        "(SELECT {} FROM {} AS {} WHERE {})",
        _keys_of(conversion, parent, inner, level + 1, keys),
        parent.identifier,
        inner,
        _parent_of(key, alias, inner),
    )


def apart(conversion: Conversion, member: Member, key: ForeignKey, alias: Identifier) -> SQL:
    """Whether a row refers by a key to one of another root row, so that the key could not hold with the keys in it."""
    keys = _root_keys(conversion)
    return compose(
        "(NOT {} AND {} IS DISTINCT FROM {})",
        _is_null(key, alias),
        _keys_of(conversion, member, alias, 0, keys),
        _keys_by(conversion, key, alias, 0, keys),
    )


def _conflict(conversion: Conversion, member: Member, alias: Identifier) -> SQL | None:
    """Whether the owners of a row belong to different root rows."""
    several = _several(member, alias)
    if several is None:
        return None
    conditions = [apart(conversion, member, key, alias).text for key in member.owners]
    return compose("({}) AND ({})", several, SQL(" OR ".join(conditions)))


def disagreeing(conversion: Conversion, member: Member, key: ForeignKey) -> SQL:
    """The rows that refer by a key to rows of other root rows."""
    return _rows(member, apart(conversion, member, key, ALIAS))


def outside_slices(conversion: Conversion) -> SQL:
    """The root rows that lie in none of the ranges for which slices are made."""
    value = moment(conversion.settings.range_type, Identifier(conversion.settings.range_column.name))
    lower, upper = min(each.lower for each in conversion.ranges), max(each.upper for each in conversion.ranges)
    condition = compose(
        "isfinite({value}) AND ({value} < {lower} OR {value} >= {upper})",
        value=value,
        lower=Literal(lower),
        upper=Literal(upper),
    )
    return _rows(conversion.root, condition)


def _differing(conversion: Conversion, member: Member, alias: Identifier) -> SQL | None:
    """Whether a row has a column of a key's name that says something else than the root's.

    They are compared as texts, for their collations may differ, which PostgreSQL refuses to choose between.
    """
    present = [
        key
        for key in _root_keys(conversion)
        if key in conversion.keys and member.structure.column(key) is not None and not member.is_root
    ]
    if not present:
        return None
    conditions = [
        compose(
            '{}.{}::text COLLATE "C" IS DISTINCT FROM {}::text COLLATE "C"',
            alias,
            Identifier(key),
            _keys_of(conversion, member, alias, 0, [key]),
        )
        for key in present
    ]
    return SQL("(" + " OR ".join(each.text for each in conditions) + ")")


def distribution(conversion: Conversion) -> SQL:
    """How many root rows lie in each month, or all of them for integers."""
    root = conversion.root
    return compose(
        "SELECT extract(year FROM {value})::int AS year, extract(month FROM {value})::int AS month, count(*) AS rows"
        " FROM {table} WHERE isfinite({value}) GROUP BY 1, 2 ORDER BY 1, 2",
        value=moment(conversion.settings.range_type, Identifier(conversion.settings.range_column.name)),
        table=root.identifier,
    )


def moment(range_type: str, value: Identifier) -> SQL:
    """A range key as a calendar moment."""
    if range_type == "timestamp with time zone":
        return compose("({} AT TIME ZONE 'UTC')", value)
    if range_type == "uuid":
        return compose(
            "(to_timestamp(('x' || left(translate({}::text, '-', ''), 12))::bit(48)::bigint / 1000.0)"
            " AT TIME ZONE 'UTC')",
            value,
        )
    return compose("({})::timestamp", value)
