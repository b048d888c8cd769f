"""run_maintenance: what keeps hierarchies in shape."""

from __future__ import annotations

from .. import database, errors, execute
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import log as catalog_log
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import DROP, MOVE, Hierarchy
from ..operation import merged
from ..plan import lifecycle
from . import calls, creation, default_slice, slices, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..model import Slice, Table
    from ..operation import Step

CALL = "run_maintenance"
ANALYZE_ONLY_SINCE = 180000

Failure = tuple[str, str]


def run_maintenance(root: int | None, dry_run: bool) -> None:
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
    due = analyze_due(hierarchies) | set(catalog_log.last_failures([each.root.oid for each in hierarchies]))
    for hierarchy in hierarchies:
        maintain_one(hierarchy, due, root is None, dry_run, failures)
    if failures:
        raise errors.MaintenanceFailed(
            f"maintenance failed for {', '.join(name for name, _ in failures)}",
            " ".join(f"{name}: {text}." for name, text in failures),
            "The others were maintained. See dp.log; mend what it names and call again.",
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
            note_failure(unreadable[each.oid], call, failures)
    return found


def maintain_one(
    hierarchy: Hierarchy, due: set[int], is_one_of_many: bool, dry_run: bool, failures: list[Failure]
) -> None:
    """Maintain a hierarchy that has work; where it is one of many, a failure is noted and the next one begins."""
    root = hierarchy.root
    try:
        if not has_work(hierarchy, due):
            return
        maintain(root.oid, dry_run)
    except errors.ObjectInUse as error:
        if not is_one_of_many:
            raise
        database.notice(f"{error.message}: left to it")
    except (errors.PartitionError, database.ServerError) as error:
        if database.is_cancel(error):
            raise
        note_failure(error, _log_context(root.oid, root.identifier.text, root.owner, dry_run), failures)
    calls.release_locks()
    if not dry_run:
        execute.commit(None)  # the next hierarchy may have another owner


def _log_context(root: int, name: str, owner: str, dry_run: bool) -> Context:
    return calls.context(CALL, root, name, owner, execute.mode_of(dry_run, True), is_for_log=True)


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


def maintain(root: int, dry_run: bool) -> None:
    """Maintain one hierarchy: pending detaches, retention, default slice, missing slices, statistics, old log rows."""
    hierarchy, call = calls.open_procedure(CALL, root, dry_run)
    if finish_detaches(hierarchy, call):
        hierarchy = catalog_hierarchy.load(root)
    retired = retire(hierarchy, call)
    if retired:
        hierarchy = lifecycle.without(hierarchy, retired) if dry_run else catalog_hierarchy.load(root)
    drained = default_slice.drain(hierarchy, *window.maintained(hierarchy), hierarchy.policy.width, call)
    if drained:
        hierarchy = catalog_hierarchy.load(root)
    specs = catalog_slices.specs(hierarchy, window.gaps(hierarchy), hierarchy.policy.hash_partitions)
    filled = {spec.span for spec in drained}  # a dry run still finds them missing
    if creation.create(hierarchy, [spec for spec in specs if spec.span not in filled], call):
        hierarchy = catalog_hierarchy.load(root)
    analyze(hierarchy, call)
    end_log(hierarchy, call)


def retire(hierarchy: Hierarchy, call: Context) -> list[Slice]:
    """Detach, drop or move what retention retires, oldest first, one slice of the whole hierarchy at a time."""
    policy = hierarchy.policy
    expired = window.expired(hierarchy)
    for each in expired:
        if policy.retention_action == DROP:
            steps = lifecycle.drop_steps(hierarchy, each.span, slices.forced(hierarchy, each.span))
        else:
            schema = policy.retention_schema if policy.retention_action == MOVE else None
            steps = slices.detach(hierarchy, each.span, schema)
        calls.run_in_procedure(merged(steps, call.lock_budget), call)
    return expired


def finish_detaches(hierarchy: Hierarchy, call: Context) -> bool:
    """DETACH CONCURRENTLY that was interrupted is finished; what was detached is remembered."""
    steps: list[Step] = []
    for table in reversed(hierarchy.tables):
        pending = [each for each in hierarchy.slices[table.oid] if each.detach_pending]
        keys = catalog_slices.inside_foreign_keys(hierarchy, pending)
        steps += [lifecycle.finalize_step(hierarchy, table, each, keys.get(each.oid, ())) for each in pending]
    calls.run_in_procedure(steps, call)
    return bool(steps)


def analyze_due(hierarchies: list[Hierarchy]) -> set[int]:
    """The parents that were never analysed, or too long ago; autovacuum does not."""
    due: set[int] = set()
    interval = {
        table.oid: each.policy.analyze_interval_ms
        for each in hierarchies
        for table in each.tables
        if any(found.remainders or not found.is_partitioned for found in each.slices[table.oid])
    }
    rows = database.query(
        "SELECT oid, (extract(epoch FROM dp._clock() - pg_stat_get_last_analyze_time(oid)) * 1000)::bigint AS age"
        " FROM unnest($1) AS oid",
        ("oid[]",),
        (list(interval),),
    )
    for row in rows:
        if row["age"] is None or row["age"] > interval[row["oid"]]:
            due.add(row["oid"])
    return due


def analyze(hierarchy: Hierarchy, call: Context) -> None:
    """ANALYZE the parents that are due; one that would need too many locks is left to a top-level command."""
    only = catalog_server.server().version >= ANALYZE_ONLY_SINCE
    due = analyze_due([hierarchy])
    for table in hierarchy.tables:
        if table.oid in due:
            step = lifecycle.analyze_step(table, hierarchy.slices[table.oid], only)
            if step.locks <= call.lock_budget:
                calls.run_in_procedure([step], call)
            elif call.mode != execute.DRY_RUN:
                _log_skipped(table, step.locks, call)


def _log_skipped(table: Table, locks: int, call: Context) -> None:
    execute.log_message(
        call, f"ANALYZE {table.identifier} not run: it needs about {locks} locks; run it as a statement of its own"
    )
    execute.commit(call)


def end_log(hierarchy: Hierarchy, call: Context) -> None:
    """Say that a failure is over, and delete log rows that are older than the hierarchy keeps them."""
    if call.mode == execute.DRY_RUN:
        return
    if catalog_log.last_failures([hierarchy.root.oid]):
        execute.log_message(call, "maintained without anything to do, after a failure")
    database.query(
        "DELETE FROM dp.log_entry WHERE root = $1 AND at < clock_timestamp() - $2 * interval '1 ms'",
        ("oid", "float8"),
        (hierarchy.root.oid, hierarchy.policy.log_retention_ms),
    )
    execute.commit(call)
