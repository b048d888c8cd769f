"""What a condition of a plan says about columns: equal to a constant, to another table's column, a bound, or hidden."""

from __future__ import annotations

from typing import NamedTuple, Union

from . import query_text
from .query_text import CAST, NAME, OPERATOR, PARAMETER, SIGN, SPACE, Token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CONSTANT, RUN_TIME, JOIN = "constant", "run time", "join"  # where a value comes from
# How a column is compared. OTHER binds nothing (<>, LIKE); of an EXPRESSION the column is only a part.
EQUAL, ARRAY, LOWER, UPPER, OTHER, EXPRESSION = "equal", "array", "lower", "upper", "other", "expression"
_BOUNDS = {"<": UPPER, "<=": UPPER, ">": LOWER, ">=": LOWER}
_MIRRORED = {LOWER: UPPER, UPPER: LOWER, EQUAL: EQUAL}
_ALIKE = ("text", "character varying", "bpchar")  # casts between these change nothing that pruning looks at
_SYNTAX = ("true", "false", "null", "array", "row")  # names that are no functions

Item = Union[Token, "Group"]


class Group:
    """What stands between parentheses or brackets."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items


class Column(NamedTuple):
    """A column by the alias that the plan calls its table."""

    alias: str
    name: str


class Fact(NamedTuple):
    """What one condition says about a column."""

    column: Column
    kind: str
    source: str = CONSTANT
    other: Column | None = None  # the column of another table that it is equal to


def facts(condition: str) -> list[Fact]:
    """What a condition says, as EXPLAIN writes it: of all parts joined by AND, and what all parts of an OR say."""
    return _facts(_nested(condition))


def columns(expression: str) -> list[Column]:
    """Every column in an expression."""
    return _columns(_nested(expression))


def plain_column(expression: str) -> Column | None:
    """The column that an expression is; None where it is more than that."""
    return _column(_nested(expression))


def _nested(text: str) -> list[Item]:
    return _grouped(token for token in query_text.tokens(text) if token.kind != SPACE)


def _grouped(source: Iterator[Token]) -> list[Item]:
    found: list[Item] = []
    for token in source:
        if token.kind == SIGN and token.text in "([":
            found.append(Group(_grouped(source)))
        elif token.kind == SIGN and token.text in ")]":
            break
        else:
            found.append(token)
    return found


def _facts(items: list[Item]) -> list[Fact]:
    items = _unwrapped(items)
    conjuncts = _split(items, "AND")
    if len(conjuncts) > 1:
        return [fact for each in conjuncts for fact in _facts(each)]
    alternatives = _split(items, "OR")
    if len(alternatives) > 1:
        return _common([_facts(each) for each in alternatives])
    return _comparison(items)


def _unwrapped(items: list[Item]) -> list[Item]:
    while len(items) == 1 and isinstance(items[0], Group):
        items = items[0].items
    return items


def _common(alternatives: list[list[Fact]]) -> list[Fact]:
    """An OR binds what each of its parts binds, as an array does; what only some mention, or bound, is left open."""
    found = []
    for column in dict.fromkeys(fact.column for each in alternatives for fact in each):
        about = [[fact for fact in each if fact.column == column] for each in alternatives]
        is_bound = all(any(fact.kind in (EQUAL, ARRAY) for fact in each) for each in about)
        sources = {fact.source for each in about for fact in each}
        source = CONSTANT if sources == {CONSTANT} else RUN_TIME
        found.append(Fact(column, ARRAY if is_bound else OTHER, source))
    return found


def _split(items: list[Item], word: str) -> list[list[Item]]:
    parts: list[list[Item]] = [[]]
    for item in items:
        if isinstance(item, Token) and item.is_word(word):
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def _comparison(items: list[Item]) -> list[Fact]:
    position = next((at for at, item in enumerate(items) if isinstance(item, Token) and item.kind == OPERATOR), None)
    if position is None:
        return [] if any(isinstance(item, Token) and item.is_word("IS") for item in items) else _hidden(items)
    operator = items[position]
    assert isinstance(operator, Token)
    kind = EQUAL if operator.text == "=" else _BOUNDS.get(operator.text, OTHER)
    left, right = items[:position], items[position + 1 :]
    if right and isinstance(right[0], Token) and (right[0].is_word("ANY") or right[0].is_word("ALL")):
        kind = ARRAY if kind == EQUAL and right[0].is_word("ANY") else OTHER
        right = right[1:]
    return _one_side(left, kind, right) + _one_side(right, _MIRRORED.get(kind, OTHER), left)


def _one_side(side: list[Item], kind: str, value: list[Item]) -> list[Fact]:
    """What a comparison says about one of its sides."""
    column = _column(side)
    if column is None:
        return _hidden(side)
    named = _columns(value)
    if any(each.alias == column.alias for each in named):
        return [Fact(column, OTHER)]
    if named:
        return [Fact(column, kind, JOIN, _column(value))]
    return [Fact(column, kind, RUN_TIME if _is_run_time(value) else CONSTANT)]


def _hidden(items: list[Item]) -> list[Fact]:
    return [Fact(column, EXPRESSION) for column in _columns(items)]


def _column(items: list[Item]) -> Column | None:
    """The column that an expression is, but for casts that change nothing and a collation."""
    items = _unwrapped(items)
    collated = _split(items, "COLLATE")
    if len(collated) > 1:
        return _column(collated[0])
    for at, item in enumerate(items):
        if isinstance(item, Token) and item.kind == CAST:
            written = " ".join(each.text for each in items[at + 1 :] if isinstance(each, Token))
            return _column(items[:at]) if written in _ALIKE else None
    named = _columns(items)
    return named[0] if len(items) == 3 and len(named) == 1 else None


def _columns(items: list[Item]) -> list[Column]:
    found = []
    for at, item in enumerate(items):
        if isinstance(item, Group):
            found += _columns(item.items)
        elif item.kind == NAME and at + 2 < len(items):
            dot, name = items[at + 1], items[at + 2]
            is_call = at + 3 < len(items) and isinstance(items[at + 3], Group)
            is_name = isinstance(name, Token) and name.kind == NAME
            if isinstance(dot, Token) and dot.text == "." and is_name and not is_call:
                assert isinstance(name, Token)
                found.append(Column(item.text, name.text))
    return found


def _is_run_time(items: list[Item]) -> bool:
    """Whether a value is known only when the query runs: a parameter, a subquery's result, a function of the clock."""
    for at, item in enumerate(items):
        if isinstance(item, Group):
            if _is_run_time(item.items):
                return True
            continue
        if item.kind == PARAMETER:
            return True
        before = items[at - 1] if at else None
        is_type = isinstance(before, Token) and before.kind in (CAST, NAME)
        if item.kind == NAME and not is_type and item.text.lower() not in _SYNTAX:
            return True
    return False
