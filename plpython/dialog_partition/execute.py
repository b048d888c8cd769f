"""The only place that runs operations, or has them printed: locks, retries, commits and the log."""

from __future__ import annotations

import time
from typing import NamedTuple

from . import blockers, database, errors, giving_way, printing, progress, remote, wrapping
from .operation import Step
from .printing import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DRY_RUN, FUNCTION, PROCEDURE = "dry run", "function", "procedure"
ATTEMPTS = 12
ATTEMPTS_IN_FUNCTION = 3  # the caller's transaction holds its own locks meanwhile
MAX_PAUSE_MS = 5000
DEFAULT_LOCK_TIMEOUT_MS = 500
WRITTEN_EVERY = 0.25  # seconds: how much of what the other session did dp.log may lack after a kill
# What a call sets for itself, and gives back.
PINNED = (
    "search_path",
    "lock_timeout",
    "quote_all_identifiers",
    "standard_conforming_strings",
    "jit",
    "default_tablespace",
    PROPAGATION,
)


class Context(NamedTuple):
    """How a call runs: which one, on which hierarchy, and in which mode."""

    call: str
    mode: str
    root: int
    root_name: str
    owner: str | None  # of the tables, where it is not the caller
    lock_timeout_ms: int
    lock_budget: int
    is_superuser: bool = False  # the caller
    search_path: str | None = None  # where names are looked up that stand in SQL which the caller gave
    is_schema_change: bool = False  # its statements, printed and run by somebody, would be carried along once more
    ends: float | None = None  # by time.monotonic(): what the other session does then is stopped


class TimeIsOver(errors.PartitionError):
    """What the other session ran was stopped at the end of the time that the call may take; it meets no user."""

    sqlstate = "57014"


class Running(NamedTuple):
    """The step at work, for the log."""

    step: Step
    since: float
    duration: float | None = None  # of one that is at its end, in seconds


_running: list[Running] = []
_outside: list[Running] = []  # what the other session has done, and dp.log does not tell yet
_waiting: list[Step] = []  # what this session does as soon as the other one is at work


def mode_of(dry_run: bool, is_procedure: bool) -> str:
    """The mode of a call."""
    if dry_run:
        return DRY_RUN
    return PROCEDURE if is_procedure else FUNCTION


def reset_plan() -> None:
    """A new call begins: forget the last one's operations."""
    printing.reset()
    _running.clear()
    _outside.clear()
    _waiting.clear()


def begin(context: Context | None) -> None:
    """Pin what a transaction of ours must not take from the session; gone after each commit."""
    settings = {
        "search_path": wrapping.PINNED_PATH,
        "quote_all_identifiers": "off",  # what PostgreSQL deparses is compared with names
        "standard_conforming_strings": "on",  # pieces of SQL were checked by that
        "jit": "off",  # statements over many partitions look costly, and would be compiled for seconds
        "default_tablespace": "",  # partitions lie where their tables do, or say where
        PROPAGATION: "off",  # what a call changes it changes everywhere
    }
    if context is None:  # reading may meet a lock, too: pg_get_expr opens the relation
        settings["lock_timeout"] = f"{DEFAULT_LOCK_TIMEOUT_MS}ms"
    elif context.mode != DRY_RUN:
        settings["lock_timeout"] = f"{context.lock_timeout_ms}ms"
        if context.owner is not None:
            # a policy may call the owner's functions, with our caller's rights: rather fail than read through it
            settings["row_security"] = "off"
            if not context.is_superuser:
                settings["role"] = context.owner
    database.set_all_local(settings)


def execute(steps: Iterable[Step], context: Context) -> None:
    """Run steps in order, or only print them."""
    is_pinned = True  # what begin() sets: behind a step of the other session it is not
    is_begun = False  # the step, behind another one of the other session
    for each, following in _with_following(steps):
        if context.mode != DRY_RUN:
            if not each.in_transaction:
                _run_outside(each, context, is_begun, following)
                is_begun = following is not None
                is_pinned = False
            elif each.can_wait and remote.is_open():
                _waiting.append(each)
            else:
                _run_waiting(context)
                if not is_pinned:
                    begin(context)
                    is_pinned = True
                _run_inside(each, context)
        printing.record(each, context, is_printed=context.mode == DRY_RUN)
    _run_waiting(context)
    if _outside:
        _write_outside(context)
    if not is_pinned:
        begin(context)


def _with_following(steps: Iterable[Step]) -> Iterator[tuple[Step, Step | None]]:
    """Each step with the one that the other session can begin with as soon as it has ended, if that is the next one.

    Thousands of short statements would spend much of their time waiting to be begun.
    """
    last: Step | None = None
    for each in steps:
        if not each.operations:
            continue
        if last is not None:
            goes_on = not (last.in_transaction or each.in_transaction or last.gives_way or each.gives_way)
            yield last, each if goes_on else None
        last = each
    if last is not None:
        yield last, None


def _run_inside(each: Step, context: Context) -> None:
    """Run a step in this session; a procedure commits it, with the record of what the other session did before."""
    _running[:] = [Running(each, time.monotonic())]
    check_budget(each, context)
    _run_with_retries(each, context)
    if context.mode == PROCEDURE:
        _log_outside(context)
        log_message(context, "")
        progress.done(1, each.operations[0].target.text)
        commit(context)
    _running.clear()


def _run_waiting(context: Context) -> None:
    """Run the steps that have waited for the other session to be at work."""
    if _waiting:
        begin(context)
    while _waiting:
        _run_inside(_waiting.pop(0), context)


def _run_outside(each: Step, context: Context, is_begun: bool, following: Step | None) -> None:
    """Run a step in the other session; meanwhile this one does and writes down what it has put off.

    Thousands of short steps would spend their time with writing what they did, one by one.
    """
    since, began = time.monotonic(), time.time()
    if not is_begun:
        remote.send(each.text)
    if _waiting:
        _run_waiting(context)
        database.commit()  # as behind every look: the other session may wait for our snapshot
    elif _outside and since - _outside[0].since > WRITTEN_EVERY:
        _write_outside(context)
    _running[:] = [Running(each, since)]
    watch = (lambda: _reason_to_stop(each, context)) if each.gives_way or context.ends is not None else None
    is_done = False
    try:
        remote.wait(lambda: _show(each, context), watch, following.text if following is not None else None)
        is_done = True
    finally:
        if each.gives_way:
            begin(context)
            if not is_done:
                giving_way.stop_workers(each, began)
            giving_way.wait_for_workers()
    _running.clear()
    _outside.append(Running(each, since, time.monotonic() - since))
    if each.gives_way:
        _write_outside(context)


def _reason_to_stop(each: Step, context: Context) -> errors.PartitionError | None:
    """Why what the other session runs must not go on: its time is over, or others wait behind a lock that it wants."""
    target = each.operations[0].target
    if context.ends is not None and time.monotonic() > context.ends:
        return TimeIsOver(f"the step on {target} was stopped, for the time is over")
    if not each.gives_way:
        return None
    begin(context)
    if giving_way.waits_too_long(each, context.root, context.lock_timeout_ms):
        return errors.LockNotAvailable(
            f"could not lock what the step on {target} needs",
            f"It was stopped after {context.lock_timeout_ms} ms, for others wait behind it. {blockers.describe(each)}",
            "Call again when these transactions have ended; what was committed so far stays.",
        )
    return None


def _show(each: Step, context: Context) -> None:
    """A step in the other session lasts: others can see that it is at work."""
    begin(context)
    _log_outside(context)
    progress.done(0, each.operations[0].target.text)
    database.commit()


def _write_outside(context: Context) -> None:
    """Write what was done in the other session, in a transaction of its own."""
    begin(context)
    _log_outside(context)
    database.commit()


def _log_outside(context: Context) -> None:
    if _outside:
        _log(context, "done", "", _outside)
        progress.done(len(_outside), _outside[-1].step.operations[0].target.text)
    _outside.clear()


def probe(statement: str, context: Context) -> None:
    """Run a statement of the caller's whose effect is looked at and then rolled back; inside a subtransaction."""
    text = statement if context.search_path is None else wrapping.with_search_path(statement, context.search_path)
    database.run(text if context.owner is None else wrapping.as_owner(text, context.owner, is_committed=False).text)


def prepare(each: Step, context: Context) -> None:
    """Run a step that only makes ready for a plan and is no part of it."""
    _run_with_retries(each, context)


def commit(context: Context | None) -> None:
    """Commit what was done, and begin the next transaction."""
    database.commit()
    begin(context)


def flush(context: Context) -> None:
    """Bring what was committed to the disk where commits do not wait for it: VACUUM takes no row for visible before."""
    if database.setting("synchronous_commit") == "off":
        database.set_local("synchronous_commit", "local")
        database.query("SELECT pg_logical_emit_message(true, 'dialog_partition', '')")
        commit(context)


def check_budget(each: Step, context: Context) -> None:
    """Refuse a step that would take more of the lock table than is left to us."""
    if each.locks <= context.lock_budget:
        return
    target = each.operations[0].target
    raise errors.OutOfLocks(
        f"the step on {target} needs about {each.locks} locks, more than the budget of {context.lock_budget}",
        "The budget is a share of the server's lock table, max_locks_per_transaction * (max_connections +"
        " max_prepared_transactions); past it every session would fail with out of shared memory.",
        "Raise max_locks_per_transaction, or keep fewer slices and leaves.",
    )


def _run_with_retries(each: Step, context: Context) -> None:
    """Run a step; one that met a lock lets all of its own go, so that nobody waits for it while it waits."""
    text = each.text
    if context.search_path is not None:
        text = wrapping.with_search_path(text, context.search_path)
    if context.owner is not None:
        text = wrapping.as_owner(text, context.owner, is_committed=context.mode == PROCEDURE).text
    attempts = ATTEMPTS_IN_FUNCTION if context.mode == FUNCTION else ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            database.run(text)
            return
        except database.ServerError as error:
            if not database.is_worth_a_retry(error):
                raise
            if database.is_out_of_locks(error) and not blockers.holders(each):
                raise errors.OutOfLocks(
                    f"the lock table is full: the step on {each.operations[0].target} needs more of it than is free",
                    f"{error}. The step was estimated at {each.locks} locks; all sessions together share the table.",
                    "Raise max_locks_per_transaction, or call again when fewer sessions hold locks.",
                ) from None
            if attempt == attempts:
                raise errors.LockNotAvailable(
                    f"could not lock what the step on {each.operations[0].target} needs",
                    f"{attempt} attempts of {context.lock_timeout_ms} ms each; the last: {error}."
                    f" {blockers.describe(each)}",
                    "Call again when these transactions have ended; what was committed so far stays.",
                ) from None
        if context.mode == PROCEDURE:
            database.rollback()
            begin(context)
        _wait_for_blockers(each, context, attempt)


def _wait_for_blockers(each: Step, context: Context, attempt: int) -> None:
    """Back off, longer each time, but no longer than the sessions last that hold the locks."""
    pause = min(context.lock_timeout_ms * 2 ** (attempt - 1), MAX_PAUSE_MS)
    waited = 0
    while waited < pause:
        database.pause(context.lock_timeout_ms)
        waited += context.lock_timeout_ms
        if each.wanted_locks and not blockers.holders(each):
            return


def log_failure(context: Context, message: str) -> None:
    """Write to dp.log what failed: the step at work, or the call where none was."""
    _log_outside(context)
    _log(context, "failed", message, _running or [None])
    forget_step()


def forget_step() -> None:
    """The step at work has failed, and what has waited for it is not done: the call plans it anew, if it goes on."""
    _running.clear()
    _waiting.clear()


def abandon_step(context: Context) -> None:
    """The same where a transaction may be open: what it did is undone, and the next one begins."""
    forget_step()
    database.rollback()
    begin(context)


def log_message(context: Context, message: str) -> None:
    """Write what was done to dp.log: the step that was run, to be committed with it, or the call."""
    _log(context, "done", message, _running or [None])


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
