"""When a cron expression comes next, and which ones are refused."""

from __future__ import annotations

import datetime

import pytest
from dialog_partition import cron, errors

THURSDAY = datetime.datetime(2025, 6, 12, 14, 17, 30)


def following(text: str, after: datetime.datetime = THURSDAY) -> str:
    found = cron.next_run(cron.parse(text, "maintenance"), after)
    return f"{found:%Y-%m-%d %H:%M:%S}" if found else "never"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("* * * * *", "2025-06-12 14:18:00"),
        ("17 * * * *", "2025-06-12 15:17:00"),
        ("18 * * * *", "2025-06-12 14:18:00"),
        ("20 2 * * *", "2025-06-13 02:20:00"),
        ("*/20 9-17 * * mon-fri", "2025-06-12 14:20:00"),
        ("50-55/5,7 14 * * *", "2025-06-12 14:50:00"),
        ("0 3 * * 0", "2025-06-15 03:00:00"),
        ("0 3 * * 7", "2025-06-15 03:00:00"),
        ("0 3 * * Sun", "2025-06-15 03:00:00"),
        ("0 0 1 jan *", "2026-01-01 00:00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 0 31 2 *", "never"),
        ("0 0 $ * *", "2025-06-30 00:00:00"),
        ("0 0 20 * fri", "2025-06-13 00:00:00"),  # both days are named: one of them is enough
        ("0 0 */2 * fri", "2025-06-13 00:00:00"),  # one is a star: both must be
        ("0 0 1-7 * *", "2025-07-01 00:00:00"),
        ("@hourly", "2025-06-12 15:00:00"),
        ("@daily", "2025-06-13 00:00:00"),
        ("@weekly", "2025-06-15 00:00:00"),
        ("@monthly", "2025-07-01 00:00:00"),
        ("@yearly", "2026-01-01 00:00:00"),
        ("@reboot", "never"),
        ("30 seconds", "2025-06-12 14:18:00"),
    ],
)
def test_the_next_run(text: str, wanted: str) -> None:
    assert following(text) == wanted


def test_the_end_of_a_year_and_of_the_calendar() -> None:
    assert following("0 0 1 1 *", datetime.datetime(2025, 12, 31, 23, 59, 59)) == "2026-01-01 00:00:00"
    assert following("0 0 29 2 *", datetime.datetime(2096, 3, 1)) == "2104-02-29 00:00:00", "2100 has none"


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5/10 * * * *",
     "*/0 * * * *", "9-5 * * * *", "a * * * *", "-1 * * * *", "1, * * * *", "0 seconds", "60 seconds", "@never",
     "\u0663 * * * *", "* * * mon *", "1-2-3 * * * *", "*/5/5 * * * *"],
)  # fmt: skip
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(errors.InvalidParameter) as raised:
        cron.parse(text, "cluster")
    assert raised.value.message.startswith("invalid value for parameter cluster")
    assert raised.value.hint
