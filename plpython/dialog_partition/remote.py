"""A second session for statements that are refused inside a transaction: CREATE INDEX CONCURRENTLY and the like.

A procedure always is inside a transaction. So another session runs such a statement, while this one waits without a
snapshot and without a lock on a table: the statement waits for both. It may hold advisory locks; nobody waits for them.
The session is a back end with the methods of ``Dblink``; whatever else can run a statement elsewhere can replace it.
"""

from __future__ import annotations

import time

from . import database, errors
from .catalog.server import signed
from .dblink import Dblink
from .sql import Literal, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .errors import PartitionError
    from .execute import Context

LONGEST_PAUSE = 0.05  # seconds; a cancel gets through between two looks
SHOWN_AFTER = 0.1  # seconds
SECONDS_TO_STOP, PAUSE_TO_STOP = 5.0, 0.001  # how long a statement that was cancelled is waited for, and between looks

_open: list[Dblink] = []

_HINT = (
    "Either a superuser runs CREATE EXTENSION dblink, and the connection parameter says how to connect (a foreign"
    " server of dblink_fdw with a user mapping, or keywords such as 'password=...'); or call with dry_run => true and"
    " run the statements of dp.last_plan by \\gexec of psql."
)

# What a session needs that may wait as long as it must: it queues in front of nobody who reads or writes. It ends soon
# after this one, even in the middle of a statement.
_SETTINGS = (
    ("application_name", "dialog_partition"),
    ("lock_timeout", "0"),
    ("statement_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("client_connection_check_interval", "500"),
    ("quote_all_identifiers", "off"),
    ("dp.propagate_ddl", "off"),
)


def open_session(context: Context, connection: str | None, *, as_caller: bool = False) -> None:
    """Connect as the owner of the tables, and make sure that it is the same database; before anything is changed.

    ``as_caller``: log in as the caller, who can do what the owner cannot; see ``as_login``.
    """
    if _open:
        return
    facts = database.query(
        """
        SELECT n.nspname AS schema, current_setting('port') AS port, current_database() AS database,
               (SELECT setting FROM pg_settings WHERE name = 'unix_socket_directories') AS sockets,
               current_user AS role, r.rolsuper AS is_superuser, c.relowner::regrole::text AS quoted_owner,
               pg_get_userbyid(c.relowner) AS owner, o.rolcanlogin AS can_login, session_user AS caller,
               NOT r.rolsuper AND has_function_privilege(p.oid, 'EXECUTE') AS may_skip_password
        FROM pg_class c
        JOIN pg_roles o ON o.oid = c.relowner
        JOIN pg_roles r ON r.rolname = current_user
        LEFT JOIN pg_extension e ON e.extname = 'dblink'
        LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
        LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'dblink_connect_u' AND p.pronargs = 2
        WHERE c.oid = $1
        """,
        ("oid",),
        (context.root,),
    )[0]
    if facts["schema"] is None:
        raise errors.NoSecondSession(
            f"{context.call} needs a second session, and extension dblink is not installed in this database",
            "Its statements are refused inside a transaction, and a procedure always is inside one.",
            _HINT,
        )
    if as_caller:
        facts["can_login"] = False
    session = Dblink(facts["schema"])
    try:
        session.connect(connection_string(facts, connection), bool(facts["may_skip_password"]))
    except database.ServerError as error:
        if database.is_cancel(error):
            raise
        raise errors.NoSecondSession(
            f"{context.call} needs a second session, and could not connect as {facts['owner']}",
            database.describe_fully(error),
            _HINT,
        ) from None
    _open.append(session)
    _prepare(session, context, facts["owner"])


def connection_string(facts: database.Row, connection: str | None) -> str:
    """The default, a local socket, with what the caller says of it; or a foreign server, which stands alone."""
    if connection is not None and "=" not in connection:
        return connection
    parts = {
        "dbname": facts["database"],
        "port": facts["port"],
        "user": facts["owner"] if facts["can_login"] else facts["caller"],
    }
    if facts["sockets"]:
        parts["host"] = str(facts["sockets"]).split(",")[0].strip().strip('"')
    text = " ".join(f"{name}={_quoted(value)}" for name, value in parts.items())
    return f"{text} {connection or ''}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _prepare(session: Dblink, context: Context, owner: str) -> None:
    """The other session: of this database, which its lock shows; with the owner's rights, and its own settings."""
    lock_class = database.query("SELECT dp._worker_lock_class() AS value")[0]["value"]
    taken = _ask(session, f"SELECT pg_catalog.pg_try_advisory_lock({lock_class}, {signed(context.root)})")
    pid = _ask(session, "SELECT pg_catalog.pg_backend_pid()")
    holder = database.query("SELECT dp._worker_of($1)::text AS pid", ("oid",), (context.root,))[0]["pid"]
    if taken != "t":
        raise errors.ObjectInUse(
            f"a statement of an earlier call still runs on the hierarchy of {context.root_name}",
            f"Process {holder} runs it; the session that made the call has ended.",
            "Wait a moment and call again.",
        )
    if pid != holder:
        raise errors.NoSecondSession(
            f"the connection of {context.call} leads elsewhere",
            "The second session does not run in this database of this server.",
            "Let the connection parameter name this server, and this database.",
        )
    for name, value in (*_SETTINGS, ("role", owner), ("search_path", context.search_path or "pg_catalog, pg_temp")):
        _ask(session, compose("SELECT pg_catalog.set_config({}, {}, false)", Literal(name), Literal(value)).text)


def as_login(owner: str | None) -> None:
    """Act with the rights of whom the other session logged in as; with an owner given, with the owner's again."""
    set_parameter("role", owner if owner is not None else "none")


def set_parameter(name: str, value: str) -> None:
    """Set a parameter of the other session."""
    _ask(_open[-1], compose("SELECT pg_catalog.set_config({}, {}, false)", Literal(name), Literal(value)).text)


def _ask(session: Dblink, query: str) -> str | None:
    """A query that waits for nothing that this session holds."""
    session.send(query)
    while session.is_busy():
        session.wait(LONGEST_PAUSE)
    return session.result()


def is_open() -> bool:
    """Whether there is another session."""
    return bool(_open)


def send(statement: str) -> None:
    """Begin a statement in the other session; the transaction here ends, and what it has pinned is not any more."""
    _open[-1].send(statement)
    database.commit()


def wait(
    show: Callable[[], None],
    watch: Callable[[], PartitionError | None] | None = None,
    following: str | None = None,
) -> bool:
    """Wait for the end of what was sent, which is an error here when it failed; transactions here end meanwhile.

    ``show``: called and committed once when the statement turns out to last. ``watch``: asked again and again; with the
    error that it gives the statement is stopped, unless it comes to its end before that. ``following``: a statement to
    be begun then, as by ``send``; whether it was is the result. Behind a stop it is not, for that might meet it.
    """
    stopped: PartitionError | None = None
    session = _open[-1]
    shown_at: float | None = time.monotonic() + SHOWN_AFTER
    session.wait(LONGEST_PAUSE)
    try:
        while not session.has_ended(following):
            database.commit()  # the look took a snapshot, for which the statement waits
            if shown_at is not None and time.monotonic() > shown_at:
                shown_at = None
                show()
            if watch is not None and stopped is None:
                stopped = watch()
                database.commit()  # the statement may wait for the snapshot of this look as well
                if stopped is not None:
                    session.cancel()
                    following = None
            session.wait(LONGEST_PAUSE)
        if following is not None:
            database.commit()
    except database.ServerError as error:
        if stopped is None or not database.is_cancel(error):
            raise
        raise stopped from None
    return following is not None


def close() -> None:
    """End the other session, however the call ended; a statement that it runs is cancelled."""
    while _open:
        session = _open.pop()
        if session.is_busy():
            session.cancel()
            until = time.monotonic() + SECONDS_TO_STOP
            while session.is_busy() and time.monotonic() < until:
                database.commit()
                time.sleep(PAUSE_TO_STOP)
        session.disconnect()


def stop_orphan(context: Context) -> None:
    """Stop the other session of a call whose own session was killed: the lock of the hierarchy is ours by now."""
    until = time.monotonic() + SECONDS_TO_STOP
    query = "SELECT dp._worker_of($1) AS pid"
    while (pid := database.query(query, ("oid",), (context.root,))[0]["pid"]) is not None:
        if time.monotonic() > until:
            raise errors.ObjectInUse(
                f"a statement of an earlier call still runs on the hierarchy of {context.root_name}",
                f"Process {pid} runs it; the session that made the call has ended.",
                "Wait until it has ended, or end it by pg_terminate_backend.",
            )
        database.query("SELECT pg_terminate_backend($1)", ("int",), (pid,))
        database.pause(10)
