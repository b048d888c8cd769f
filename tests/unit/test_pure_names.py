"""Names and SQL text that are made without a server."""

from __future__ import annotations

import pytest
from dialog_partition import keys, naming
from dialog_partition.errors import InvalidParameter
from dialog_partition.plan.row_policy import replace_qualifier
from dialog_partition.sql import SQL, Identifier, Literal, compose

LONG = ["Dialog", "x" * 38, "x" * 39, "x" * 40, "x" * 63, "é" * 31, "🦜" * 15, "a" + "🦜" * 15]


@pytest.mark.parametrize("table", LONG)
@pytest.mark.parametrize(
    "suffix", ["2025", "2025_06", "20250615_20250715", "201811040100_201811050100", "m9223372036854775808"]
)
def test_names_fit_and_differ(table: str, suffix: str) -> None:
    slice_name = naming.slice_name(table, suffix)
    leaves = naming.leaf_names(slice_name, 1024)
    every = [slice_name, *leaves, naming.template_name(table), naming.derived_name(slice_name, "range_key_check")]
    assert len(set(every)) == len(every) == 1027
    assert all(len(name.encode()) <= 63 for name in every)
    assert all(name.encode().decode() == name for name in every)


def test_names_are_predictable() -> None:
    assert naming.slice_name("Dialog", "2025_06") == "Dialog_2025_06"
    assert naming.leaf_name("Dialog_2025_06", 16, 3) == "Dialog_2025_06_h03"
    assert naming.leaf_name("Dialog_2025_06", 1024, 3) == "Dialog_2025_06_h0003"
    assert naming.template_name("Dialog") == "Dialog_template"


@pytest.mark.parametrize(
    ("table", "relation", "suffix"),
    [
        ("Dialog", "Dialog_2025_06", "2025_06"),
        ("Dialog", "Dialog_p2025_06", "p2025_06"),
        ("Dialog", "other", None),
        ("Dialog", "Dialog_", None),
        ("Dialog", "Dialog_" + "x" * 40, None),
    ],
)
def test_siblings_are_named_alike(table: str, relation: str, suffix: str | None) -> None:
    assert naming.slice_suffix(table, relation) == suffix


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("(event.party = 'x')", "(\"leaf\".party = 'x')"),
        ("(m.event = event.id)", '(m.event = "leaf".id)'),
        ("('event.id' = E'\\\\\\'event.id')", "('event.id' = E'\\\\\\'event.id')"),
        ("('it''s event.id')", "('it''s event.id')"),
        ('("event".a AND "my""event.x".event.b)', '("leaf".a AND "my""event.x".event.b)'),
        ("(public.event.a = my_event.b)", "(public.event.a = my_event.b)"),
        ("(event = 1)", "(event = 1)"),
        ("(1.5 > event.a)", '(1.5 > "leaf".a)'),
    ],
)
def test_a_policy_names_its_own_table(expression: str, expected: str) -> None:
    assert replace_qualifier(expression, "event", "leaf") == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "NULL"), (True, "true"), (-3, "-3"), ("it's", "'it''s'"), ("a\\b'", "E'a\\\\b'''"), ("{0} %s", "'{0} %s'")],
)
def test_literals(value: str | int | bool | None, text: str) -> None:
    assert Literal(value).text == text
    assert compose("SELECT {}", Literal(value)).text == f"SELECT {text}"


def test_identifiers() -> None:
    assert Identifier('We "ird', "{x}").text == '"We ""ird"."{x}"'
    assert compose("{}", SQL("{not a place}")).text == "{not a place}"
    with pytest.raises(TypeError):
        compose("{}", "text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zero byte"):
        Identifier("a\0b")


@pytest.mark.parametrize(
    ("point", "type_name", "text"),
    [
        (-32768, "smallint", "'-32768'::smallint"),
        (0, "date", "'1970-01-01'::date"),
        (0, "timestamp with time zone", "'1970-01-01 00:00:00+00'::timestamp with time zone"),
        (1_735_689_600_000_000, "uuid", "'01941f29-7c00-0000-0000-000000000000'::uuid"),
    ],
)
def test_points_as_constants(point: int, type_name: str, text: str) -> None:
    assert keys.typed_literal(point, type_name).text == text


@pytest.mark.parametrize(
    ("point", "type_name"), [(-1000, "uuid"), (1 << 60, "uuid"), (-(10**17), "date"), (10**18, "date")]
)
def test_points_outside_the_type(point: int, type_name: str) -> None:
    with pytest.raises(InvalidParameter):
        keys.literal(point, type_name)
