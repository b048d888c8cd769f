"""What dp.log is told: of the step at work, when it is done or has failed; and what the other session has done."""

from __future__ import annotations

import time
from typing import NamedTuple

from . import database, progress
from .operation import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .execute import Context

WRITTEN_EVERY = 0.25  # seconds: how much of what the other session did dp.log may lack after a kill


class Running(NamedTuple):
    """A step at work, or at its end."""

    step: Step
    since: float
    duration: float | None = None  # of one that is at its end, in seconds


_running: list[Running] = []
_outside: list[Running] = []  # what the other session has done, and dp.log does not tell yet


def reset() -> None:
    """A new call begins."""
    _running.clear()
    _outside.clear()


def begin(each: Step, since: float) -> None:
    """A step is at work since a moment, by time.monotonic()."""
    _running[:] = [Running(each, since)]


def end() -> None:
    """No step is at work."""
    _running.clear()


def end_outside(since: float) -> None:
    """The other session has done the step at work: to be written later, for there may be thousands."""
    _outside.extend(each._replace(duration=time.monotonic() - since) for each in _running)
    _running.clear()


def lags_behind() -> bool:
    """Whether dp.log lacks more than it may of what the other session has done."""
    return bool(_outside) and time.monotonic() - _outside[0].since > WRITTEN_EVERY


def has_outside() -> bool:
    """Whether it lacks anything."""
    return bool(_outside)


def write_outside(context: Context) -> None:
    """Tell it, to be committed by the caller."""
    if _outside:
        _log(context, "done", "", _outside)
        progress.done(len(_outside), _outside[-1].step.operations[0].target.text)
    _outside.clear()


def write_done(context: Context, message: str) -> None:
    """Tell what was done: the step that was run, to be committed with it, or the call."""
    _log(context, "done", message, _running or [None])


def write_failed(context: Context, message: str) -> None:
    """Tell what failed: the step at work, or the call where none was."""
    write_outside(context)
    _log(context, "failed", message, _running or [None])


def _log(context: Context, status: str, message: str, running: Sequence[Running | None]) -> None:
    """A row for each step; for the call itself where there is none."""
    now = time.monotonic()
    database.query(
        "INSERT INTO dp.log_entry (root, call, status, message, target, statements, duration)"
        " SELECT $1::regclass, $2, $3, $4, target, statements, seconds * interval '1 second'"
        " FROM unnest($5, $6, $7) AS step (target, statements, seconds)",
        ("oid", "text", "text", "text", "text[]", "text[]", "float8[]"),
        (
            context.root,
            context.call,
            status,
            message,
            [each.step.operations[0].target.text if each else context.root_name for each in running],
            [each.step.text if each else "" for each in running],
            [(each.duration or now - each.since) if each else None for each in running],
        ),
    )
