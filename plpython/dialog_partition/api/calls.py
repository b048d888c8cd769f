"""What every call has in common: its context, the hierarchy's lock, and the record of its failure."""

from __future__ import annotations

from typing import TypeVar

from .. import database, errors, execute, printing, progress, remote
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..catalog import trust
from ..model import Hierarchy
from ..operation import Operation, Step, together
from ..sql import compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execute import Context
    from ..plan.structure import Structure

Read = TypeVar("Read")

_open: list[Context] = []  # the procedure at work on a hierarchy, whose lock the session holds


def context(
    call: str,
    root: int,
    root_name: str,
    owner: str,
    mode: str,
    lock_timeout_ms: int = execute.DEFAULT_LOCK_TIMEOUT_MS,
    *,
    runs_code: bool = True,
) -> Context:
    """How a call runs. It works as the owner of the tables, so that everything new belongs to the owner.

    ``runs_code``: what it does may run code that comes with the tables. A record in dp.log does not.
    """
    facts = catalog_server.server()
    if mode != execute.DRY_RUN and facts.is_standby:
        raise errors.NotInPrerequisiteState(
            "the server is a standby", "Nothing can be changed here.", "Call on the primary server."
        )
    if owner != facts.user and runs_code:
        trust.refuse_code(trust.tables_of(root), root_name, owner)
    return execute.Context(
        call,
        mode,
        root,
        root_name,
        owner if owner != facts.user else None,
        lock_timeout_ms,
        facts.lock_budget,
        facts.is_superuser,
    )


def hierarchy_context(call: str, hierarchy: Hierarchy, mode: str, *, runs_code: bool = True) -> Context:
    """The same for a hierarchy that exists."""
    root, timeout = hierarchy.root, hierarchy.policy.lock_timeout_ms
    check_owner(hierarchy)
    found = context(call, root.oid, root.identifier.text, root.owner, mode, timeout, runs_code=runs_code)
    # global indexes follow slices that plain DDL attaches and detaches
    return found._replace(is_schema_change=any(table.global_indexes for table in hierarchy.tables))


def is_owner(hierarchy: Hierarchy) -> bool:
    """Whether the caller is a member of the owner."""
    rows = database.query("SELECT pg_has_role($1::name, 'USAGE') AS member", ("text",), (hierarchy.root.owner,))
    return bool(rows[0]["member"])


def check_owner(hierarchy: Hierarchy) -> None:
    """Refuse a caller who is not a member of the owner."""
    if is_owner(hierarchy):
        return
    raise errors.InsufficientPrivilege.not_owner(hierarchy.root.identifier, hierarchy.root.owner)


def refuse_code(hierarchy: Hierarchy) -> None:
    """What a call was opened without: refuse code that comes with the tables, of others than the caller."""
    root = hierarchy.root
    if root.owner != catalog_server.server().user:
        trust.refuse_code(trust.tables_of(root.oid), root.identifier.text, root.owner)


def open_function(call: str, root: int, dry_run: bool, *, runs_code: bool = True) -> tuple[Hierarchy, Context]:
    """Begin a function on one hierarchy: take its lock for the transaction, and read it under the lock."""
    hierarchy = catalog_hierarchy.load(root)
    found = hierarchy_context(call, hierarchy, execute.mode_of(dry_run, False), runs_code=runs_code)
    if dry_run:
        return hierarchy, found
    lock_hierarchy(found, for_session=False)
    return catalog_hierarchy.load(root), found


def nothing_to_do(why: str) -> list[printing.PlanRow]:
    """Idempotence: what was done before is not done again."""
    database.notice(f"{why}: nothing to do")
    return []


def run_in_function(steps: list[Step], call: Context) -> list[printing.PlanRow]:
    """Run steps inside the caller's transaction, or print them; all of the call's operations, its result."""
    if call.mode == execute.DRY_RUN:
        execute.execute(steps, call)
        printing.finish()
        return printing.last_plan()
    locks = together(steps).locks
    if locks > call.lock_budget:
        raise errors.OutOfLocks(
            f"{call.call} on {call.root_name} would take about {locks} locks in one transaction, more than the budget"
            f" of {call.lock_budget}",
            "A function works inside the caller's transaction and cannot commit its steps.",
            "Raise max_locks_per_transaction; new slices are left to CALL dp.create_slices(...) or"
            " CALL dp.run_maintenance(...), a global index to CALL dp.create_global_index_online(...), what plain DDL"
            " has changed after SET dp.propagate_ddl = off to CALL dp.sync(...): they commit step by step.",
        )
    lock_hierarchy(call, for_session=False)
    saved = _begin(call)
    execute.execute(steps, call)
    _restore(saved)
    return printing.last_plan()


def lock_for_remake(structure: Structure, call: Context) -> Structure:
    """Lock a table that is about to be made anew, and read it again: what somebody added meanwhile is not lost."""
    if call.mode == execute.DRY_RUN:
        return structure
    lock = compose("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", structure.identifier)
    saved = _begin(call)
    execute.prepare(Step((Operation(structure.identifier, lock, relations=(structure.oid,)),)), call)
    _restore(saved)
    return catalog_structure.read(structure.oid)


def _begin(call: Context) -> dict[str, str]:
    saved = {name: database.setting(name) or "" for name in ("lock_timeout", "row_security", "role")}
    execute.begin(call)
    return saved


def _restore(saved: dict[str, str]) -> None:
    for name, value in saved.items():
        database.set_local(name, value)


def run_in_procedure(steps: list[Step], call: Context) -> None:
    """Run steps, each in a transaction of its own."""
    execute.execute(steps, call)


def lock_hierarchy(call: Context, for_session: bool) -> None:
    """One at a time on one hierarchy; others may work on other hierarchies."""
    if not for_session:
        check_isolation(call)
    holder = catalog_server.try_lock(call.root, for_session)
    if holder is not None:
        raise errors.ObjectInUse(
            f"another session works on the hierarchy of {call.root_name}",
            f"Process {holder} holds its lock.",
            "Wait until it has ended; the column running_pid of dp.hierarchy shows it.",
        )
    if for_session:
        _open.append(call)


def check_isolation(call: Context) -> None:
    """What a function decides by must not be older than the locks it takes: a table that has rows looked empty."""
    isolation = database.setting("transaction_isolation")
    if isolation not in ("read committed", "read uncommitted"):
        raise errors.InvalidIsolation(
            f"{call.call} cannot run in a transaction that is {isolation}",
            "Such a transaction does not see what others committed since its snapshot, rows among them.",
            "Call it in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED."
            if call.mode != execute.PROCEDURE
            else "SET default_transaction_isolation = 'read committed'.",
        )


def open_procedure(call: str, root: int, dry_run: bool, *, runs_code: bool = True) -> tuple[Hierarchy, Context]:
    """Begin a procedure on one hierarchy: take its lock for the session, and read it under the lock."""
    hierarchy = catalog_hierarchy.load(root)
    found = hierarchy_context(call, hierarchy, execute.mode_of(dry_run, True), runs_code=runs_code)
    if dry_run:
        return hierarchy, found
    execute.commit(found)
    lock_hierarchy(found, for_session=True)
    remote.stop_orphan(found)
    execute.commit(found)  # a repeatable read transaction still sees what was there before the lock
    return catalog_hierarchy.load(root), found


def release_locks() -> None:
    """Give back what the session holds; the entry calls it however a procedure ends."""
    progress.forget()
    remote.close()
    while _open:
        try:
            catalog_server.unlock(_open[-1].root)
        except database.ServerError:  # a cancel has come: it must not leave the lock with a session that may idle
            catalog_server.unlock(_open.pop().root)
            raise
        _open.pop()


def read_patiently(read: Callable[[], Read]) -> Read:
    """What is read by a call that lasts, beside maintenance: no lock stays, one in the way is waited for again."""
    for attempt in range(1, execute.ATTEMPTS):
        try:
            return database.rolled_back(read)
        except database.ServerError as error:
            if not database.is_lock_timeout(error):
                raise
        database.pause(execute.DEFAULT_LOCK_TIMEOUT_MS * attempt)
    return database.rolled_back(read)


def reading_blocked(error: Exception) -> errors.LockNotAvailable:
    """A lock stood in the way of reading the catalog: who holds such locks, for no step says which one it was."""
    rows = database.query(
        "SELECT l.pid, l.relation::regclass::text AS relation, a.usename, a.state FROM pg_locks l"
        " LEFT JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'relation' AND l.granted"
        " AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid() AND l.relation >= 16384"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " ORDER BY a.xact_start, l.relation LIMIT 5"
    )
    told = "; ".join(f"process {row['pid']} ({row['usename']}, {row['state']}): {row['relation']}" for row in rows)
    return errors.LockNotAvailable(
        "could not read the tables, because a transaction has locked one of them",
        f"{error}. ACCESS EXCLUSIVE locks are held by {told or 'nobody any more'}.",
        "Call again when these transactions have ended; nothing was changed.",
    )


def explained(error: Exception) -> Exception:
    """What kept a hierarchy from being read, with those who hold the lock where it was one."""
    return reading_blocked(error) if database.is_lock_timeout(error) else error


def describe(error: Exception) -> str:
    """One line about a failure."""
    if isinstance(error, errors.LockNotAvailable):  # what it waited for is what one asks next
        return f"{error.message} ({error.sqlstate}): {(error.detail or '').rstrip('.')}"
    if isinstance(error, errors.PartitionError):
        return f"{error.message} ({error.sqlstate})"
    return database.describe(error)


def record_failure(error: Exception, call: Context | None = None) -> None:
    """Leave what failed behind and keep a record of it in dp.log, which stays when the call ends in the error."""
    call = _open[-1] if _open else call
    if call is None or call.mode == execute.DRY_RUN:
        return
    database.rollback()
    execute.begin(call)
    try:
        execute.log_failure(call, describe(error))
    except database.ServerError as second:
        if database.is_cancel(second):
            raise
        database.warning(f"the failure of {call.call} on {call.root_name} could not be logged: {second}")
    execute.commit(None)
