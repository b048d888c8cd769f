"""Conversion without a server: owners of rows, the layout of slices, statements about another table."""

from __future__ import annotations

import datetime

import pytest
from dialog_partition.model import ForeignKey
from dialog_partition.plan import conversion_layout as layout
from dialog_partition.plan.conversion import choose_owners, kept_schema, working_schema
from dialog_partition.plan.conversion_switch import retargeted
from dialog_partition.plan.structure import Column, Structure

NOW = datetime.datetime(2025, 6, 15)


def table(**nullable: bool) -> Structure:
    columns = tuple(Column(name, "uuid", None, not each, False) for name, each in nullable.items())
    nothing: tuple = ()
    return Structure(
        9, "s", "t", "o", "r", True, False, None, nothing, columns, nothing, nothing, {}, *[nothing] * 9, False, ()
    )  # fmt: skip


def key(name: str, column: str, parent: int) -> ForeignKey:
    return ForeignKey(name, 9, parent, (column,), ("id",), "a", "c", (), False, False)


def test_a_key_that_every_row_has_leads_to_the_root_by_the_shortest_way() -> None:
    keys = [key("far", "a", 2), key("near", "b", 1), key("maybe", "c", 1), key("self", "d", 9)]
    owners, others = choose_owners(table(a=False, b=False, c=True, d=True), keys, {1: 0, 2: 1}, None)
    assert [each.name for each in owners] == ["near"]
    assert [each.name for each in others] == ["far", "maybe", "self"]


def test_keys_that_may_be_null_are_alternatives() -> None:
    keys = [key("one", "a", 1), key("two", "b", 2), key("self", "c", 9)]
    owners, others = choose_owners(table(a=True, b=True, c=True), keys, {1: 0, 2: 1}, None)
    assert [each.name for each in owners] == ["one", "two"]
    assert [each.name for each in others] == ["self"]


def test_the_owner_may_be_named() -> None:
    keys = [key("one", "a", 1), key("two", "b", 2)]
    owners, _ = choose_owners(table(a=False, b=True), keys, {1: 0, 2: 1}, ["two"])
    assert [each.name for each in owners] == ["two"]


def months(*given: tuple[int, int, int]) -> layout.Distribution:
    return [(datetime.datetime(year, month, 1), count) for year, month, count in given]


def test_history_has_years_recent_time_months_and_the_far_future_years() -> None:
    found = layout.calendar_ranges(months((2006, 3, 5), (2024, 2, 7), (2025, 9, 1), (2031, 5, 2)), NOW, 4, None)
    assert [(each.lower, each.upper, each.width, each.rows) for each in found] == [
        ("2006-01-01", "2024-01-01", "1 year", 5),
        ("2024-01-01", "2027-01-01", "1 month", 8),
        ("2027-01-01", "2032-01-01", "1 year", 2),
    ]
    assert layout.slices(found) == 18 + 36 + 5


def test_recent_time_has_the_narrowest_slices_that_the_lock_budget_has_room_for() -> None:
    given = months((2006, 3, 5), (2025, 5, 1))
    found = {budget: layout.roomy_ranges(given, NOW, 4, None, budget) for budget in (4800, 960, 720, 480)}
    assert [each[-1].width for each in found.values()] == ["1 month", "3 months", "3 months", "1 year"]
    assert [layout.fits(each, 2, budget) for budget, each in found.items()] == [True, True, True, False]
    assert [(each.lower, each.upper) for each in found[480]] == [
        ("2006-01-01", "2024-01-01"),
        ("2024-01-01", "2025-11-01"),
    ]
    assert [layout.slices(each) for each in found.values()] == [18 + 22, 18 + 8, 18 + 8, 18 + 2]


def test_without_history_there_are_months_only() -> None:
    found = layout.calendar_ranges(months((2025, 5, 5)), NOW, 4, None)
    assert [tuple(each) for each in found] == [("2025-05-01", "2025-11-01", "1 month", 5)]


def test_rows_far_from_all_others_get_few_wide_slices() -> None:
    found = layout.calendar_ranges(months((202, 3, 1), (2021, 2, 7), (2025, 5, 9), (5221, 1, 2)), NOW, 4, None)
    assert [tuple(each) for each in found] == [
        ("2021-01-01", "2024-01-01", "1 year", 7),
        ("2024-01-01", "2025-11-01", "1 month", 9),
        ("0202-01-01", "2021-01-01", "100 years", 1),
        ("2025-11-01", "5222-01-01", "1000 years", 2),
    ]
    at_the_end = layout.calendar_ranges(months((9998, 1, 1)), NOW, 4, None)
    assert at_the_end[-1].width == "1 year", "a wider slice would leave the calendar"


def test_what_would_fit_is_told() -> None:
    ranges = layout.calendar_ranges(months((2006, 3, 5), (2025, 9, 1)), NOW, 4, "1 month")
    assert layout.slices(ranges) == 236
    assert layout.fitting(ranges, 4, 4800, 4) == "hash_partitions => 1 would fit. slice => '2 years' would fit."
    assert layout.fitting([layout.Range("0", "100000", "10", 1)], 1, 480, 4) == "slice => '5120' would fit."


def test_one_width_may_be_asked_for() -> None:
    found = layout.calendar_ranges(months((2006, 3, 5)), NOW, 4, "5 years")
    assert [tuple(each) for each in found] == [("2006-03-01", "2050-01-01", "5 years", 5)]


def test_integers_have_one_range() -> None:
    found = layout.integer_ranges(-5, 1999, 12, 1000, 4, 2**31 - 1)
    assert [tuple(each) for each in found] == [("-1000", "6000", "1000", 12)]
    assert layout.slices(found) == 3 + 4
    assert [tuple(each) for each in layout.integer_ranges(None, None, 0, 1000, 4, 2**15 - 1)] == [
        ("0", "5000", "1000", 0)
    ]
    near_the_end = layout.integer_ranges(31000, 31000, 1, 500, 4, 2**15 - 1)
    assert [tuple(each) for each in near_the_end] == [("31000", "32767", "500", 1)]


@pytest.mark.parametrize(
    ("rows", "most", "budget", "expected"),
    [(1000, 1, 10**6, 2), (10**8, 30, 10**6, 16), (10**8, 30, 900, 1)],
)
def test_hash_partitions_go_by_rows_and_locks(rows: int, most: float, budget: int, expected: int) -> None:
    ranges = layout.calendar_ranges(months((2020, 1, rows)), NOW, 4, "1 month")
    assert layout.modulus(ranges, most, budget) == expected


def test_a_statement_is_made_about_another_table() -> None:
    definition = 'CREATE TRIGGER " ON public.t " AFTER UPDATE OF " ON public.t " ON public.t FOR EACH ROW EXECUTE f()'
    assert retargeted(definition, "public.t", "w.t") == definition.replace("ON public.t FOR", "ON w.t FOR")


def test_schemas_have_names_that_fit() -> None:
    assert (working_schema("public"), kept_schema("public")) == ("public_conversion", "public_converted")
    assert len(working_schema("x" * 63)) == 63
