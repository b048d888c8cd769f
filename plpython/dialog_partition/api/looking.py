"""What views ask Python for."""

from __future__ import annotations

from .. import execute


def last_plan() -> list[execute.PlanRow]:
    """The operations of the session's last call."""
    return execute.last_plan()
