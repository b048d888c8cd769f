"""A row of what a conversion comes to."""

from __future__ import annotations

from typing import NamedTuple

ERROR, WARNING, NOTICE = "error", "warning", "notice"


class Finding(NamedTuple):
    """A row of dp.plan_conversion."""

    tbl: str
    role: str
    severity: str
    finding: str
    detail: str
    statement: str | None
