"""Index texts in which the slice key takes the range key's place."""

from __future__ import annotations

import pytest
from dialog_partition.plan.slice_form import _renamed


@pytest.mark.parametrize(
    ("definition", "position", "expected"),
    [
        ('PRIMARY KEY ("Id", "At", "Party")', 1, 'PRIMARY KEY ("Id", "k", "Party")'),
        ("USING btree (id, at DESC NULLS LAST, owner)", 1, 'USING btree (id, "k" DESC NULLS LAST, owner)'),
        (
            "USING btree (lower(x, 'a,b)'), \"a,(b\", at) INCLUDE (y)",
            2,
            'USING btree (lower(x, \'a,b)\'), "a,(b", "k") INCLUDE (y)',
        ),
        ("USING btree (at)", 0, 'USING btree ("k")'),
        ('UNIQUE NULLS NOT DISTINCT ("At") INCLUDE ("At2")', 0, 'UNIQUE NULLS NOT DISTINCT ("k") INCLUDE ("At2")'),
    ],
)
def test_one_column_is_renamed(definition: str, position: int, expected: str) -> None:
    assert _renamed(definition, position, "k") == expected
