"""The one door to the server: no other module knows ``plpy``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable, TypeVar

    Found = TypeVar("Found")
    Row = dict[str, Any]

import contextlib

import plpy

from . import errors

ServerError = plpy.SPIError
LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
ROW_HAS_MOVED = "40001"  # while a step that locks rows waited for it
OUT_OF_MEMORY = "53200"  # of shared memory: others hold the rest of the lock table

ROWS_A_FETCH = 1000
FEW = 100  # elements of an array that a plan made for any array is good for
PLANNING = "plan_cache_mode"

_prepared: dict[tuple[str, tuple[str, ...]], Any] = {}


def query(text: str, types: tuple[str, ...] = (), values: tuple[Any, ...] = ()) -> list[Row]:
    """Rows of a reading statement, whose plan is kept for the session; made for the values only where they are many."""
    key = (text, types)
    plan = _prepared.get(key)
    if plan is None:
        plan = _prepared[key] = plpy.prepare(text, list(types))
    are_many = any(isinstance(value, (list, tuple)) and len(value) > FEW for value in values)
    with planned_for_values() if are_many else contextlib.nullcontext():
        return list(plpy.execute(plan, list(values)))


@contextlib.contextmanager
def planned_for_values() -> Iterator[None]:
    """As the server plans by itself. Calls keep one plan of each reading of the catalog; tables are another matter."""
    before = setting(PLANNING)
    set_local(PLANNING, "auto")
    yield
    set_local(PLANNING, str(before))  # after an error the subtransaction or transaction undoes it


def query_once(text: str) -> list[Row]:
    """Rows of a reading statement that is composed, and not worth keeping a plan for."""
    with planned_for_values():
        return list(plpy.execute(text))


def query_alone(text: str) -> list[Row]:
    """Rows of one statement; a cursor is refused for several (42P11), before any of them is run."""
    with planned_for_values():
        cursor = plpy.cursor(text)
        found: list[Row] = []
        while True:
            rows = cursor.fetch(ROWS_A_FETCH)
            found += rows
            if len(rows) < ROWS_A_FETCH:
                cursor.close()
                return found


def parse(text: str) -> None:
    """Look whether a statement could be run: it is parsed and its names are looked up, no more."""
    plpy.prepare(text)


def run(statements: str) -> None:
    """Run one or more statements in one subtransaction."""
    with planned_for_values():
        plpy.execute(statements)


def sqlstate(error: Exception) -> str:
    """The SQLSTATE of an error raised by the server."""
    return getattr(error, "sqlstate", None) or "XX000"


def describe(error: Exception) -> str:
    """One line that says what went wrong."""
    return f"{error} ({sqlstate(error)})"


def describe_fully(error: Exception) -> str:
    """The same with the server's DETAIL, where it gave one."""
    detail = (getattr(error, "spidata", None) or (None, None))[1]
    return f"{describe(error)}. {detail or ''}".strip()


def set_local(name: str, value: str) -> None:
    """Set a parameter until the end of the transaction."""
    set_all_local({name: value})


def set_all_local(settings: dict[str, str]) -> None:
    """Set parameters, in order, until the end of the transaction."""
    calls = (f"pg_catalog.set_config(${2 * number + 1}, ${2 * number + 2}, true)" for number in range(len(settings)))
    values = tuple(text for item in settings.items() for text in item)
    query(f"SELECT {', '.join(calls)}", ("text",) * len(values), values)


def setting(name: str) -> str | None:
    """The value of a parameter, None where it does not exist."""
    value = query("SELECT pg_catalog.current_setting($1, true) AS value", ("text",), (name,))[0]["value"]
    return None if value is None else str(value)


def commit() -> None:
    """Commit; only a procedure that was called at top level can."""
    try:
        plpy.commit()
    except ServerError as error:
        if sqlstate(error) != errors.InvalidTransactionState.sqlstate:
            raise
        raise errors.InvalidTransactionState(
            "this procedure commits its steps and cannot run inside a transaction block",
            "The CALL stands in an explicit transaction, in a function, or in a DO block inside one.",
            "Run the CALL as a statement of its own, or print its statements with dry_run => true.",
        ) from None


def rollback() -> None:
    """Roll the current step back."""
    plpy.rollback()


def notice(message: str) -> None:
    """Tell the client something."""
    _tell(plpy.notice, message)


def warning(message: str) -> None:
    """Warn the client."""
    _tell(plpy.warning, message)


def _tell(send: Any, message: str) -> None:
    """Send a message; a cancel that comes meanwhile is no SPIError, but a cancel all the same."""
    try:
        send(message)
    except plpy.Error as error:
        cancel = ServerError(str(error))
        cancel.sqlstate = sqlstate(error)
        raise cancel from None


def subtransaction() -> Any:
    """A context manager that rolls back what an error interrupted."""
    return plpy.subtransaction()


class _RolledBack(Exception):
    """Ends a subtransaction that has done what it was for."""


def rolled_back(work: Callable[[], Found]) -> Found:
    """What some work finds whose effects go again, and its locks with them."""
    found: list[Found] = []
    try:
        with subtransaction():
            found.append(work())
            raise _RolledBack
    except _RolledBack:
        return found[0]


def pause(milliseconds: int) -> None:
    """Sleep; a cancel gets through."""
    query("SELECT pg_catalog.pg_sleep($1)", ("float8",), (milliseconds / 1000.0,))


class ClientError(plpy.Error):
    """What PL/Python hands to the client whole: message, SQLSTATE, DETAIL and HINT."""


# PL/Python writes the name of the class before the message.
ClientError.__name__ = "dialog_partition"
ClientError.__module__ = "builtins"


def client_error(message: str, state: str, detail: str | None, hint: str | None) -> Exception:
    """An error for the client."""
    error = ClientError(message)
    for name, value in (("sqlstate", state), ("detail", detail), ("hint", hint)):
        if value:
            setattr(error, name, value)
    return error


def client_error_from_server(error: Exception) -> Exception:
    """The server's own error, with the statement that met it."""
    details = getattr(error, "spidata", None) or (None, None, None, None)
    detail = "\n".join(text for text in (details[1], f"Statement: {details[3]}" if details[3] else None) if text)
    return client_error(str(error), sqlstate(error), detail, details[2])


def is_worth_a_retry(error: Exception) -> bool:
    """Whether the same statements may succeed when other sessions have let locks go."""
    return sqlstate(error) in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, ROW_HAS_MOVED, OUT_OF_MEMORY)


def is_out_of_locks(error: Exception) -> bool:
    """Whether the lock table of the server is full."""
    return isinstance(error, ServerError) and sqlstate(error) == OUT_OF_MEMORY


def is_lock_timeout(error: Exception) -> bool:
    """Whether the server gave up waiting for a lock."""
    return isinstance(error, ServerError) and sqlstate(error) == LOCK_NOT_AVAILABLE


def is_cancel(error: Exception) -> bool:
    """Whether somebody wants us to stop: a cancel, a timeout of the statement, a shutdown."""
    return isinstance(error, ServerError) and sqlstate(error)[:2] == "57"
