"""What a benchmark found, and the table that shows it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import NamedTuple

HEADINGS = ("benchmark", "measured", "", "baseline", "", "ratio", "goal", "result")
RIGHT = {2, 4, 5}


class Result(NamedTuple):
    """Two values measured in one run, and the ratio that is wanted of them."""

    benchmark: str
    measured: str
    value: float | None  # None: could not be measured
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    at_most: float | None = None  # goal for the ratio value / baseline
    faster: float | None = None  # goal for the ratio baseline / value
    within: float | None = None  # goal for the ratio value / baseline, and for its inverse

    @property
    def ratio(self) -> float | None:
        """How the two compare: value to baseline, or where faster is wanted, baseline to value."""
        if not self.value or not self.baseline_value:
            return None
        return self.baseline_value / self.value if self.faster else self.value / self.baseline_value

    @property
    def verdict(self) -> str:
        """met, missed, not measured, or information where there is no goal."""
        if self.at_most is None and self.faster is None and self.within is None:
            return "information"
        if self.ratio is None:
            return "not measured"
        if self.within is not None:
            return "met" if 1 / self.within <= self.ratio <= self.within else "missed"
        good = self.ratio <= self.at_most if self.at_most is not None else self.ratio >= (self.faster or 0)
        return "met" if good else "missed"

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        goal = ""
        if self.at_most is not None:
            goal = f"at most {self.at_most:g}"
        elif self.faster is not None:
            goal = f"at least {self.faster:g} times faster"
        elif self.within is not None:
            goal = f"within a factor of {self.within:g}"
        return (
            self.benchmark,
            self.measured,
            amount(self.value, self.unit),
            self.baseline,
            amount(self.baseline_value, self.unit),
            "" if self.ratio is None else f"{self.ratio:,.2f}",
            goal,
            self.verdict,
        )


def amount(value: float | None, unit: str) -> str:
    """A value with about three digits and its unit."""
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def table(results: list[Result]) -> str:
    """An aligned table that is Markdown, too."""
    rows = [HEADINGS, *(result.cells for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    rule = [("-" * (width - 1) + ":") if column in RIGHT else "-" * width for column, width in enumerate(widths)]
    lines.insert(1, _line(rule, widths))
    return "\n".join(lines)


def _line(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    padded = [
        cell.rjust(width) if column in RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def machine(server_version: str) -> str:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"PostgreSQL {server_version}, Python {platform.python_version()} as client, {os.cpu_count()} cores,"
        f" {memory:.0f} GiB memory, load {_load()}, fsync off"
    )


def _load() -> str:
    path = Path("/proc/loadavg")
    return path.read_text().split()[0] if path.exists() else "unknown"
