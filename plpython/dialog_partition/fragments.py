"""Pieces of SQL that a caller gives as text: types, expressions, definitions.

They run with the rights of the tables' owner and can do no more than the owner can. What is checked here is that a
piece stays a piece: that it ends where it should, so that the statement around it says what it was meant to say.
"""

from __future__ import annotations

from . import errors

_OPENING, _CLOSING = "([", ")]"
_REFERENCES = "REFERENCES"
FIRST_HIGH = "\x80"  # from here on every character may stand in a name


def check(parameter: str, text: str) -> str:
    """The text itself; refuses what would not stay one piece of a statement."""
    problem = _problem(text)
    if problem is not None:
        raise errors.InvalidParameter.of(
            parameter, text, problem, "Give one piece of SQL, as it stands in a statement."
        )
    return text


def check_list(parameter: str, text: str) -> str:
    """The same of several pieces with commas between them, as arguments or the columns of ORDER BY are."""
    problem = _problem(text, has_commas=True)
    if problem is not None:
        raise errors.InvalidParameter.of(parameter, text, problem, "Give it as it stands in a statement.")
    return text


def words(text: str, count: int) -> tuple[str, ...]:
    """The first words of a piece in capitals, up to the first parenthesis."""
    return tuple(text.partition("(")[0].upper().split()[:count])


def column_names(text: str) -> list[str]:
    """The plain columns in the first list in parentheses; expressions may stand beside them."""
    found: list[str] = []
    position = text.find("(") + 1
    while 0 < position < len(text):
        name = _identifier(text, position)
        if name is not None:
            found.append(name)
        position, ending = _item_end(text, position)
        if ending == ")":
            break
    return found


def referenced_name(text: str) -> str | None:
    """The table that a foreign key refers to, as it is written there; None where none is found."""
    position, ending = text.find("(") + 1, ","
    while ending == ",":
        position, ending = _item_end(text, position)
    word, rest = text[position:].lstrip()[: len(_REFERENCES)], text[position:].lstrip()[len(_REFERENCES) :].lstrip()
    if word.upper() != _REFERENCES:
        return None
    end = 0
    while end < len(rest) and not (rest[end].isspace() or rest[end] == "("):
        end = (_quoted_end(rest, end, '"') or len(rest)) if rest[end] == '"' else end + 1
    return rest[:end] or None


def _identifier(text: str, start: int) -> str | None:
    """The column that an item of a list begins with; None where the item is an expression."""
    position = start
    while text[position : position + 1].isspace():
        position += 1
    if text[position : position + 1] == '"':
        end = _quoted_end(text, position, '"') or len(text)
        name = text[position + 1 : end - 1].replace('""', '"')
    else:
        end = position
        while end < len(text) and (text[end].isalnum() or text[end] in "_$"):
            end += 1
        name = text[position:end].lower()
    return name if end > position and text[end:].lstrip()[:1] not in ("(", ".") else None


def _item_end(text: str, start: int) -> tuple[int, str]:
    """Behind the comma or parenthesis that ends an item of a list, and which it is."""
    depth = 0
    position = start
    while position < len(text):
        character = text[position]
        if depth == 0 and character in ",)":
            return position + 1, character
        if character in "\"'$":
            position = constant_end(text, position) or len(text)
            continue
        depth += (character in _OPENING) - (character in _CLOSING)
        position += 1
    return len(text), ""


def _problem(text: str, *, has_commas: bool = False) -> str | None:
    if not text.strip():
        return "It is empty."
    open_brackets: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in "\"'$":
            end = constant_end(text, position)
            if end is None:
                return f"A {character} in it is not closed."
            position = end
            continue
        problem = _bracket_problem(character, open_brackets)
        if problem is None and character in ";\0":
            problem = "It contains a semicolon, which would end the statement." if character == ";" else "A zero byte."
        if problem is None and character == "," and not open_brackets and not has_commas:
            problem = "It contains a comma outside parentheses, behind which another action would begin."
        if problem is None and text[position : position + 2] in ("--", "/*"):
            problem = "It contains a comment."
        if problem is not None:
            return problem
        position += 1
    return f"A {open_brackets[-1]} in it is not closed." if open_brackets else None


def _bracket_problem(character: str, open_brackets: list[str]) -> str | None:
    if character in _OPENING:
        open_brackets.append(character)
    elif character in _CLOSING and (
        not open_brackets or _OPENING.index(open_brackets.pop()) != _CLOSING.index(character)
    ):
        return f"A {character} in it was never opened."
    return None


def constant_end(text: str, start: int) -> int | None:
    """Where a quoted name or constant ends; None where it does not. A lone $ is an operator's or a name's."""
    if text[start] == "$":
        tag_end = text.find("$", start + 1)
        tag = text[start : tag_end + 1]
        is_tag = tag_end > 0 and all(character.isalnum() or character == "_" for character in tag[1:-1])
        if not is_tag or may_stand_in_name(text[start - 1 : start]):
            return start + 1
        end = text.find(tag, tag_end + 1)
        return end + len(tag) if end >= 0 else None
    return _quoted_end(text, start, text[start])


def may_stand_in_name(character: str) -> bool:
    """Whether a name may go on with it; an empty one is the beginning of a text."""
    return character.isalnum() or character in ("_", "$") or character >= FIRST_HIGH


def _quoted_end(text: str, start: int, quote: str) -> int | None:
    has_escapes = (
        quote == "'" and text[start - 1 : start] in ("e", "E") and not may_stand_in_name(text[start - 2 : start - 1])
    )
    position = start + 1
    while position < len(text):
        if has_escapes and text[position] == "\\":
            position += 2
        elif text[position] != quote:
            position += 1
        elif text[position + 1 : position + 2] == quote:
            position += 2
        else:
            return position + 1
    return None
