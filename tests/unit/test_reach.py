"""What a connection string says, as libpq reads it."""

from __future__ import annotations

import pytest
from dialog_partition import reach


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("host=h", {"host": "h"}),
        ("  host = h   port=1 ", {"host": "h", "port": "1"}),
        ("host='a b' port='' dbname=d", {"host": "a b", "port": "", "dbname": "d"}),
        (r"user='O\'Hara' dbname=a\ b host='x\\y'", {"user": "O'Hara", "dbname": "a b", "host": "x\\y"}),
        ("host=/tmp port=1 host=other", {"host": "other", "port": "1"}),
        ("options='-c a=b' host=h", {"options": "-c a=b", "host": "h"}),
        ("host='unfinished", {"host": "unfinished"}),
    ],
)
def test_keywords(text: str, expected: dict[str, str]) -> None:
    assert reach.keywords(text) == expected
