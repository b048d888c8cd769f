"""What the demo prints is readable where it is piped to."""

from __future__ import annotations

import pytest

from demo import page


def test_nothing_is_wider_than_a_page_and_nothing_is_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    long = "SELECT " + ", ".join(f'"Column{number}"' for number in range(40))
    page.heading("A heading")
    page.prose("word " * 100)
    page.sql([f"{long}\nFROM somewhere"])
    page.lines([long])
    page.table(("name", "rows"), [(long, 1), ("short", 1234567)])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= page.WIDTH
    assert "FROM somewhere;" in printed


def test_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    page.table(("slice", "rows"), [("a", 7), ("b", 1234567)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["    a              7", "    b      1,234,567"]
