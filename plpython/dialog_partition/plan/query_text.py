"""The text of queries and of the conditions that EXPLAIN shows, cut into tokens. Nothing here knows the server."""

from __future__ import annotations

from typing import NamedTuple

from .. import errors
from ..fragments import FIRST_HIGH, constant_end, may_stand_in_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SPACE, NAME, CONSTANT, PARAMETER, NUMBER, OPERATOR, CAST, SIGN = (
    "space", "name", "constant", "parameter", "number", "operator", "cast", "sign",
)  # fmt: skip
_OPERATOR_CHARACTERS = "+-*/<>=~!@#%^&|`?"
MAX_SHOWN = 200  # of a query in an error
_SPACES, _DIGITS = " \t\n\r\f\v", "0123456789"
_PLANNABLE = ("SELECT", "WITH", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "MERGE")
_CONSTANT_TYPES = ("DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "INTERVAL")  # written before their constants


class Token(NamedTuple):
    """A piece of SQL; the text of a name is the name itself, without its quotes."""

    kind: str
    text: str
    is_quoted: bool = False

    def is_word(self, word: str) -> bool:
        """Whether it is a key word."""
        return self.kind == NAME and not self.is_quoted and self.text.upper() == word


def tokens(text: str) -> list[Token]:
    """The tokens of a text in order, spaces and comments among them."""
    found = []
    position = 0
    while position < len(text):
        kind, end = _token_end(text, position)
        piece = text[position:end]
        if kind == NAME and piece[0] == '"':
            found.append(Token(NAME, piece[1:-1].replace('""', '"'), True))
        else:
            found.append(Token(kind, piece))
        position = end
    return found


def _token_end(text: str, start: int) -> tuple[str, int]:
    quoted = _quoted_end(text, start)
    if quoted is not None:
        return quoted
    character, pair = text[start], text[start : start + 2]
    kind, end = SIGN, start + 1
    if character in _DIGITS:
        kind, end = NUMBER, _run_end(text, start, lambda each: each.isalnum() or each in "._")
    elif character.isalpha() or character == "_" or character >= FIRST_HIGH:
        kind, end = NAME, _run_end(text, start, may_stand_in_name)
    elif pair == "::":
        kind, end = CAST, start + 2
    elif character in _OPERATOR_CHARACTERS:
        kind = OPERATOR
        while text[end : end + 1] and text[end] in _OPERATOR_CHARACTERS and text[end : end + 2] not in ("--", "/*"):
            end += 1
    return kind, end


def _quoted_end(text: str, start: int) -> tuple[str, int] | None:
    """Spaces, comments, and what begins with a quote, a dollar or a letter before a quote."""
    character, pair = text[start], text[start : start + 2]
    if character in _SPACES:
        return SPACE, start + 1
    if pair in ("--", "/*"):
        return SPACE, _comment_end(text, start)
    if character == "$" and pair[1:] in _DIGITS and pair[1:]:
        return PARAMETER, _run_end(text, start + 1, lambda each: each in _DIGITS)
    if character in "\"'$":
        return NAME if character == '"' else CONSTANT, constant_end(text, start) or len(text)
    if character in "eEbBxXnN" and pair[1:] == "'":
        return CONSTANT, constant_end(text, start + 1) or len(text)
    return None


def _run_end(text: str, start: int, belongs: Callable[[str], bool]) -> int:
    end = start
    while end < len(text) and belongs(text[end]):
        end += 1
    return end


def _comment_end(text: str, start: int) -> int:
    """Behind a comment; those between /* and */ nest."""
    if text.startswith("--", start):
        return len(text) if text.find("\n", start) < 0 else text.find("\n", start)
    depth, position = 1, start + 2
    while depth and position < len(text):
        pair = text[position : position + 2]
        depth += (pair == "/*") - (pair == "*/")
        position += 2 if pair in ("/*", "*/") else 1
    return position


def one_statement(query: str) -> list[Token]:
    """The tokens of a query that is one plannable statement; refuses anything else.

    What the server itself makes of the text is asked again where it is planned.
    """
    found = tokens(query)
    while found and (found[-1].kind == SPACE or found[-1].text == ";"):
        found.pop()
    kept = [token for token in found if token.kind != SPACE]
    if any(token.kind == SIGN and token.text in ";\0" for token in kept):
        raise errors.InvalidParameter.of(
            "query", _shown(query), "It contains several statements.", "Give one statement a call."
        )
    first = next((token for token in kept if token.text != "("), None)
    if first is None or not any(first.is_word(word) for word in _PLANNABLE):
        raise errors.InvalidParameter.of(
            "query",
            _shown(query),
            "It is no statement that is planned: SELECT, INSERT, UPDATE, DELETE, MERGE, WITH, VALUES or TABLE.",
            "Give the bare statement, without EXPLAIN, EXECUTE or the like around it.",
        )
    return found


def _shown(query: str) -> str:
    return query if len(query) <= MAX_SHOWN else query[:MAX_SHOWN] + " ..."


def names(found: list[Token]) -> set[str]:
    """Every name among tokens, as the server reads it."""
    return {token.text if token.is_quoted else token.text.lower() for token in found if token.kind == NAME}


def highest_parameter(found: list[Token]) -> int:
    """The number of the last parameter among tokens; 0 where there is none."""
    return max((int(token.text[1:]) for token in found if token.kind == PARAMETER), default=0)


def text(found: list[Token], parameter: Callable[[int], str] | None = None) -> str:
    """Tokens as SQL; what stands for each parameter, where it shall be something else, is put in parentheses."""
    pieces = []
    for token in found:
        if token.kind == PARAMETER and parameter is not None:
            pieces.append(f"({parameter(int(token.text[1:]))})")
        elif token.is_quoted:
            pieces.append('"' + token.text.replace('"', '""') + '"')
        else:
            pieces.append(token.text)
    return "".join(pieces)


def with_casts(found: list[Token]) -> list[Token]:
    """``$1::interval`` for ``interval $1``, which a constant had become that the server put out of sight."""
    result: list[Token] = []
    kept = [token for token in found if token.kind != SPACE]
    types = {id(one) for one, two in zip(kept, kept[1:]) if two.kind == PARAMETER and _is_type_of_constant(one)}
    waiting: Token | None = None
    for token in found:
        if id(token) in types:
            waiting = token
            continue
        result.append(token)
        if token.kind == PARAMETER and waiting is not None:
            result += [Token(CAST, "::"), waiting]
            waiting = None
    return result


def _is_type_of_constant(token: Token) -> bool:
    return any(token.is_word(word) for word in _CONSTANT_TYPES)


def unknown_value(type_name: str) -> str:
    """A value of a type that the planner cannot look through, as little as through a parameter."""
    # twice cast, because ANY ((SELECT ...)) would be taken for a subquery
    return f"(SELECT NULL::{type_name})::{type_name}"
