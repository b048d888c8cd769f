"""How the demo writes: headings, prose, SQL and tables, at most 110 characters wide."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 110


def heading(text: str) -> None:
    """A heading; bold on a terminal, underlined elsewhere."""
    if sys.stdout.isatty():
        print(f"\n\x1b[1m{text}\x1b[0m\n")
    else:
        print(f"\n{text}\n{'-' * len(text)}\n")


def prose(text: str) -> None:
    """A paragraph."""
    print(textwrap.fill(" ".join(text.split()), WIDTH))
    print(flush=True)


def sql(statements: Iterable[str]) -> None:
    """Statements, as psql would take them."""
    for statement in statements:
        lines = statement.rstrip(";").split("\n")
        lines[-1] += ";"
        for number, line in enumerate(lines):
            indent = "    " if number == 0 else "        "
            wrapped = textwrap.wrap(line.strip(), WIDTH - 12, break_long_words=False, break_on_hyphens=False)
            for continued, piece in enumerate(wrapped):
                print(f"{indent}{'    ' if continued else ''}{piece}"[:WIDTH])
    print(flush=True)


def lines(found: Iterable[str]) -> None:
    """Lines as they are, cut where they are too long."""
    for line in found:
        print("    " + (line if len(line) <= WIDTH - 4 else line[: WIDTH - 7] + "..."))
    print(flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers stand to the right."""
    shown = [[_text(value) for value in row] for row in rows]
    numeric = [bool(shown) and all(_is_number(row[column]) for row in shown) for column in range(len(header))]
    widths = [max(len(text) for text in column) for column in zip(header, *shown)]
    found = []
    for row in [list(header), ["-" * width for width in widths], *shown]:
        cells = [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric)]
        found.append("  ".join(cells).rstrip())
    lines(found)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").isdigit() or text == ""
