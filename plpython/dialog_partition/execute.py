"""The only place that runs operations, or has them printed: locks, retries, commits and the log."""

from __future__ import annotations

import time
from typing import NamedTuple

from . import blockers, database, errors, giving_way, journal, printing, progress, remote, wrapping
from .operation import Step, with_following
from .printing import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DRY_RUN, FUNCTION, PROCEDURE = "dry run", "function", "procedure"
ATTEMPTS = 12
ATTEMPTS_IN_FUNCTION = 3  # the caller's transaction holds its own locks meanwhile
MAX_PAUSE_MS = 5000
DEFAULT_LOCK_TIMEOUT_MS = 500
OPTIONAL_LOCK_TIMEOUT_MS = 20  # for each lock of a step that can be left out
# What a call sets for itself, and gives back.
PINNED = (
    "search_path",
    "lock_timeout",
    "quote_all_identifiers",
    "standard_conforming_strings",
    "jit",
    database.PLANNING,
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


_waiting: list[Step] = []  # what this session does as soon as the other one is at work


def mode_of(dry_run: bool, is_procedure: bool) -> str:
    """The mode of a call."""
    if dry_run:
        return DRY_RUN
    return PROCEDURE if is_procedure else FUNCTION


def reset_plan() -> None:
    """A new call begins: forget the last one's operations."""
    printing.reset()
    journal.reset()
    _waiting.clear()


def begin(context: Context | None) -> None:
    """Pin what a transaction of ours must not take from the session; gone after each commit."""
    settings = {
        "search_path": wrapping.PINNED_PATH,
        "quote_all_identifiers": "off",  # what PostgreSQL deparses is compared with names
        "standard_conforming_strings": "on",  # pieces of SQL were checked by that
        "jit": "off",  # statements over many partitions look costly, and would be compiled for seconds
        database.PLANNING: "force_generic_plan",  # to plan a reading of the catalog takes longer than to run it
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
    for each, following in with_following(steps):
        if context.mode != DRY_RUN:
            if not each.in_transaction:
                is_begun = _run_outside(each, context, is_begun, following)
                is_pinned = False
            elif each.can_wait and remote.is_open():
                _waiting.append(each)
            else:
                _run_waiting(context)
                if not is_pinned:
                    begin(context)
                    is_pinned = True
                _run_inside(each, context)
        if context.mode == DRY_RUN or not each.is_optional:
            printing.record(each, context, is_printed=context.mode == DRY_RUN)
    _run_waiting(context)
    if journal.has_outside():
        _write_outside(context)
    if not is_pinned:
        begin(context)


def _run_inside(each: Step, context: Context) -> None:
    """Run a step in this session; a procedure commits it, with the record of what the other session did before."""
    journal.begin(each, time.monotonic())
    if not each.is_optional:
        check_budget(each, context)
        _run_with_retries(each, context)
    elif _could_run(each, context):
        printing.record(each, context, is_printed=False)
    else:
        journal.end()
        if context.mode == PROCEDURE:
            progress.left_out(1)
            commit(context)
        return
    if context.mode == PROCEDURE:
        journal.write_outside(context)
        journal.write_done(context, "")
        progress.done(1, each.operations[0].target.text)
        commit(context)
    journal.end()


def _run_waiting(context: Context) -> None:
    """Run the steps that have waited for the other session to be at work."""
    if _waiting:
        begin(context)
    while _waiting:
        _run_inside(_waiting.pop(0), context)


def _run_outside(each: Step, context: Context, is_begun: bool, following: Step | None) -> bool:
    """Run a step in the other session, and begin the following; meanwhile this one does and writes what it put off.

    Thousands of short steps would spend their time with writing what they did, one by one. The result is whether the
    following is begun.
    """
    slots: set[str] = set()
    if each.gives_way:
        begin(context)
        slots = giving_way.slots()
    since, began = time.monotonic(), time.time()
    if not is_begun:
        remote.send(each.text)
    if _waiting:
        _run_waiting(context)
        database.commit()  # as behind every look: the other session may wait for our snapshot
    elif journal.lags_behind():
        _write_outside(context)
    journal.begin(each, since)
    watch = (lambda: _reason_to_stop(each, context)) if each.gives_way or context.ends is not None else None
    is_done = goes_on = False
    try:
        goes_on = remote.wait(lambda: _show(each, context), watch, following.text if following is not None else None)
        is_done = True
    finally:
        if each.gives_way:
            begin(context)
            if not is_done:
                giving_way.stop_workers(each, began)
            giving_way.wait_for_slots(slots)
    journal.end_outside(since)
    if each.gives_way:
        _write_outside(context)
    return goes_on


def _reason_to_stop(each: Step, context: Context) -> errors.PartitionError | None:
    """Why what the other session runs must not go on: its time is over, or others wait behind a lock that it wants."""
    target = each.operations[0].target
    if context.ends is not None and time.monotonic() > context.ends:
        return errors.TimeIsOver(f"the step on {target} was stopped, for the time is over")
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
    journal.write_outside(context)
    progress.done(0, each.operations[0].target.text)
    database.commit()


def _write_outside(context: Context) -> None:
    """Write what was done in the other session, in a transaction of its own."""
    begin(context)
    journal.write_outside(context)
    database.commit()


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


def _wrapped(each: Step, context: Context) -> str:
    text = each.text
    if context.search_path is not None:
        text = wrapping.with_search_path(text, context.search_path)
    if context.owner is not None:
        text = wrapping.as_owner(text, context.owner, is_committed=context.mode == PROCEDURE).text
    return text


def _could_run(each: Step, context: Context) -> bool:
    """Try an optional step once, before others have had to wait behind it; where it cannot, nothing is changed."""
    if each.locks > context.lock_budget:
        return False
    database.set_local("lock_timeout", f"{OPTIONAL_LOCK_TIMEOUT_MS}ms")
    try:
        database.run(_wrapped(each, context))
    except database.ServerError as error:
        if not database.is_worth_a_retry(error):
            raise
        database.rollback()
        begin(context)
        return False
    return True


def _run_with_retries(each: Step, context: Context) -> None:
    """Run a step; one that met a lock lets all of its own go, so that nobody waits for it while it waits."""
    text = _wrapped(each, context)
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
    journal.write_failed(context, message)
    forget_step()


def forget_step() -> None:
    """The step at work has failed, and what has waited for it is not done: the call plans it anew, if it goes on."""
    journal.end()
    _waiting.clear()


def abandon_step(context: Context) -> None:
    """The same where a transaction may be open: what it did is undone, and the next one begins."""
    forget_step()
    database.rollback()
    begin(context)
