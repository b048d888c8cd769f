"""run_maintenance: what keeps hierarchies in shape."""

from __future__ import annotations

import time

from .. import database, errors, execute
from ..catalog import ageing as catalog_ageing
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import log as catalog_log
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Hierarchy
from . import ageing, calls, retention, upkeep, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..execute import Context

CALL = "run_maintenance"

Failure = tuple[str, str]


def run_maintenance(root: int | None, connection: str | None, dry_run: bool) -> None:
    """Maintain one hierarchy or all; see sql/procedures/run_maintenance.sql.j2."""
    if catalog_server.server().is_standby:
        database.notice("the server is a standby: nothing to do")
        return
    if not dry_run:
        execute.commit(None)
    failures: list[Failure] = []
    if root is not None:
        hierarchies = [catalog_hierarchy.load(root)]
        calls.check_owner(hierarchies[0])
    else:
        hierarchies = load_own(dry_run, failures)
    roots = [each.root.oid for each in hierarchies]
    due = upkeep.analyze_due(hierarchies) | set(catalog_log.last_failures(roots))
    has_policies = catalog_ageing.roots_with_policies(roots)
    ends = time.monotonic() + ageing.SECONDS

    def maintain(hierarchy: Hierarchy) -> None:
        if has_work(hierarchy, due):
            upkeep.maintain(CALL, hierarchy.root.oid, connection, dry_run)

    def age(hierarchy: Hierarchy) -> None:
        if hierarchy.root.oid in has_policies and ageing.pending(hierarchy):
            upkeep.age(CALL, hierarchy, connection, dry_run, ends)

    for work in (maintain, age):  # policies last, for they may take long: slices of all hierarchies come first
        for hierarchy in hierarchies:
            do_one(work, hierarchy, root is None, dry_run, failures)
    if failures:
        raise errors.MaintenanceFailed(
            f"maintenance failed for {', '.join(name for name, _ in failures)}",
            " ".join(f"{name}: {text}." for name, text in failures),
            ("The others were maintained. " if root is None else "") + "See dp.log; mend what it names and call again.",
        )


def load_own(dry_run: bool, failures: list[Failure]) -> list[Hierarchy]:
    """Every hierarchy that the caller may maintain; one that cannot even be read does not hide the others."""
    own = catalog_hierarchy.own_roots()
    if not own:
        database.notice(f"{catalog_server.server().user} is the owner of no hierarchy: nothing to do")
    found, unreadable = catalog_hierarchy.load_readable([each.oid for each in own])
    for each in own:
        if each.oid in unreadable:
            call = _log_context(each.oid, each.name, each.owner, dry_run)
            note_failure(calls.explained(unreadable[each.oid]), call, failures)
    return found


def do_one(
    work: Callable[[Hierarchy], None],
    hierarchy: Hierarchy,
    is_one_of_many: bool,
    dry_run: bool,
    failures: list[Failure],
) -> None:
    """Do what a hierarchy needs; where it is one of many, a failure is noted and the next one begins."""
    root = hierarchy.root
    try:
        work(hierarchy)
    except upkeep.Failed as error:
        failures.append((root.identifier.text, str(error)))
    except errors.ObjectInUse as error:
        if not is_one_of_many:
            raise
        database.notice(f"{error.message}: left to it")
    except (errors.PartitionError, database.ServerError) as error:
        if database.is_cancel(error):
            raise
        note_failure(
            calls.explained(error), _log_context(root.oid, root.identifier.text, root.owner, dry_run), failures
        )
    calls.release_locks()
    if not dry_run:
        execute.commit(None)  # the next hierarchy may have another owner


def _log_context(root: int, name: str, owner: str, dry_run: bool) -> Context:
    return calls.context(CALL, root, name, owner, execute.mode_of(dry_run, True), runs_code=False)


def note_failure(error: Exception, call: Context, failures: list[Failure]) -> None:
    """Remember and record what failed."""
    failures.append((call.root_name, calls.describe(error)))
    calls.record_failure(error, call)


def has_work(hierarchy: Hierarchy, due: set[int]) -> bool:
    """Whether a look at what was read shows anything to do, so that idle hierarchies cost next to nothing."""
    return (
        any(table.oid in due for table in hierarchy.tables)
        or any(each.missing_remainders or each.detach_pending for found in hierarchy.slices.values() for each in found)
        or lacks_siblings(hierarchy)
        or default_has_work(hierarchy)
        or bool(window.expired(hierarchy) or window.gaps(hierarchy))
        or retention.has_due(hierarchy)
    )


def lacks_siblings(hierarchy: Hierarchy) -> bool:
    """Whether a table has other slices than the root."""
    wanted = {each.span for each in hierarchy.slices[hierarchy.root.oid]}
    return any({each.span for each in hierarchy.slices[table.oid]} != wanted for table in hierarchy.tables[1:])


def default_has_work(hierarchy: Hierarchy) -> bool:
    """Whether default slices are to be made, hold rows, or were left behind by an interrupted call."""
    defaults = [(table, hierarchy.default_slice(table)) for table in hierarchy.tables]
    if hierarchy.policy.default_slice and any(default is None for _, default in defaults):
        return True
    if any(default is not None and catalog_slices.holds_rows(default, table) for table, default in defaults):
        return True
    return any(facts.exclusions for facts in catalog_slices.default_facts(hierarchy).values())
