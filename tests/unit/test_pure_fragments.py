"""Pieces of SQL stay pieces."""

from __future__ import annotations

import pytest
from dialog_partition import errors, fragments


@pytest.mark.parametrize(
    "text",
    [
        "integer",
        "numeric(10, 2)",
        'character varying(20) COLLATE "C"',
        "text[]",
        "'it''s; fine'",
        "E'it\\'s; fine'",
        "$$a ; b$$",
        "$x$a $$ ; b$x$",
        "(ARRAY[1, 2])[1]",
        '"odd;name" > 1',
        "a = '--' AND b = '/*'",
        "'{}'::jsonb",
        "lower(party) || '(('",
    ],
)
def test_a_piece_is_taken_as_it_is(text: str) -> None:
    assert fragments.check("type", text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "integer; DROP TABLE x",
        "integer -- and so on",
        "integer /* and so on",
        "numeric(10",
        "numeric)10(",
        "(a]",
        "'open",
        '"open',
        "$$open",
        "$x$open$$",
        "E'open\\'",
        "1) WHERE (true",
        "int, DROP COLUMN x",
        "CHECK (true), DROP CONSTRAINT y",
        "f_$$(); DROP TABLE x; SELECT $$x$$",
        "f$$(); DROP TABLE x; SELECT $$x$$",
        "é$$; DROP TABLE x; $$",
        "a_e'\\'; DROP TABLE x; SELECT 'x'",
    ],
)
def test_what_would_not_stay_a_piece_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidParameter):
        fragments.check("type", text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("UNIQUE (a, b)", ["a", "b"]),
        ('UNIQUE NULLS NOT DISTINCT ("A", "b""c, (", Party DESC)', ["A", 'b"c, (', "party"]),
        ("USING btree (a text_pattern_ops, b ASC NULLS LAST) INCLUDE (c) WHERE (d > 1)", ["a", "b"]),
        ("(lower(a))", []),
        ("(a, lower(b))", ["a"]),
        ("((b + 1), a)", ["a"]),
        ('(s.f(a), "b")', ["b"]),
        ("((a || ',)(' || \"x)\"), f($$)$$), b)", ["b"]),
        ("UNIQUE", []),
    ],
)
def test_the_columns_of_a_list(text: str, names: list[str]) -> None:
    assert fragments.column_names(text) == names


def test_the_first_words() -> None:
    assert fragments.words("foreign  key(a) references b", 2) == ("FOREIGN", "KEY")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("FOREIGN KEY (a) REFERENCES b", "b"),
        ('foreign key (a, "b)") references s.b(x) ON DELETE CASCADE', "s.b"),
        ('FOREIGN KEY (a)references\n"S x"."b(""" (x)', '"S x"."b("""'),
        ("FOREIGN KEY (a) REFERENCES", None),
        ("FOREIGN KEY (a)", None),
        ("FOREIGN KEY a REFERENCES b", None),
        ("CHECK (a > 0)", None),
    ],
)
def test_the_table_that_a_foreign_key_refers_to(text: str, name: str | None) -> None:
    assert fragments.referenced_name(text) == name
