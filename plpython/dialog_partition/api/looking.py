"""What views ask Python for."""

from __future__ import annotations

from .. import printing


def last_plan() -> list[printing.PlanRow]:
    """The operations of the session's last call."""
    return printing.last_plan()
