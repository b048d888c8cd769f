"""The maintenance of one hierarchy."""

from __future__ import annotations

import functools

from .. import database, errors, execute, journal
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import log as catalog_log
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Hierarchy
from ..plan import lifecycle
from . import ageing, calls, concurrent_detach, creation, default_slice, retention, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execute import Context
    from ..model import Slice, SliceSpec, Table
    from ..operation import Step
    from ..plan.detached import DetachedSlice

ANALYZE_ONLY_SINCE = 180000


class Failed(Exception):
    """Parts of the maintenance of a hierarchy failed; dp.log says so already."""


def maintain(name: str, root: int, connection: str | None, dry_run: bool) -> None:
    """Maintain one hierarchy: pending detaches, default slice, missing slices, retention, statistics, old log rows.

    What fails does not keep the rest from being done, new slices above all; in the end the call fails all the same.
    """
    hierarchy, call = calls.open_procedure(name, root, dry_run)
    upkeep = Upkeep(hierarchy, call, connection)
    for part in (
        upkeep.finish_detaches,
        upkeep.repair,
        upkeep.drain,
        upkeep.create,
        upkeep.retire,
        upkeep.drop_retired,
        upkeep.analyze,
    ):
        upkeep.attempt(part)
    upkeep.end_log()
    upkeep.tell()


def age(name: str, known: Hierarchy, connection: str | None, dry_run: bool, ends: float) -> None:
    """Bring the leaves of one hierarchy to what their age asks for.

    ``known``: the hierarchy when the run began, so that a dry run prints what a run does; slices that came since are
    the next run's. ``ends``: when no leaf is begun any more.
    """
    hierarchy, call = calls.open_procedure(name, known.root.oid, dry_run)
    upkeep = Upkeep(hierarchy, call, connection)
    upkeep.attempt(lambda: upkeep.age({each.oid for found in known.slices.values() for each in found}, ends))
    upkeep.tell()


class Upkeep:
    """The parts of maintenance, the hierarchy as it is between them, and what failed."""

    def __init__(self, hierarchy: Hierarchy, call: Context, connection: str | None) -> None:
        self.hierarchy = hierarchy
        self.connection = connection  # of the second session that detaches, where one shall
        self.call = call
        self.failures: list[str] = []
        self.filled: list[SliceSpec] = []  # the slices that drained rows went to
        self.waiting: list[list[DetachedSlice]] = []  # slices that retention has detached, and will drop

    def attempt(self, part: Callable[[], None], about: str | None = None) -> bool:
        """Do one part, or what is ``about`` one slice. A failure is recorded and kept for the end.

        Whether the next slice is worth an attempt: where locks are held, or too many needed, it would wait as long.
        """
        try:
            part()
        except (errors.PartitionError, database.ServerError) as error:
            if database.is_cancel(error):
                raise
            self._keep(error, about)
            self._read_again()
            return not isinstance(error, (errors.LockNotAvailable, errors.OutOfLocks))
        return True

    def finish_detaches(self) -> None:
        """DETACH CONCURRENTLY that was interrupted is finished; what was detached is remembered."""
        hierarchy = self.hierarchy
        steps: list[Step] = []
        old = {each.span for each in window.expired(hierarchy)} if hierarchy.policy.detaches_before_dropping else set()
        for table in reversed(hierarchy.tables):
            pending = [each for each in hierarchy.slices[table.oid] if each.detach_pending]
            keys = catalog_slices.inside_foreign_keys(hierarchy, pending)
            steps += [
                lifecycle.finalize_step(hierarchy, table, each, keys.get(each.oid, ()), each.span in old)
                for each in pending
            ]
        steps += concurrent_detach.interrupted_steps(hierarchy, window.expired(hierarchy))
        if steps:
            calls.run_in_procedure(steps, self.call)
            self._read_again()

    def repair(self) -> None:
        """Create the leaves that slices lack."""
        if creation.repair(self.hierarchy, self.call):
            self._read_again()

    def drain(self) -> None:
        """Rows of the default slices go to slices of the range that is maintained."""
        bounds = window.maintained(self.hierarchy)
        self.filled = default_slice.drain(self.hierarchy, *bounds, self.hierarchy.policy.width, self.call)
        if self.filled:
            self._read_again()

    def create(self) -> None:
        """Create what is missing, the slices of now and of the future first; what stands in the way of some is kept."""
        specs = catalog_slices.specs(self.hierarchy, window.gaps(self.hierarchy), self.hierarchy.policy.hash_partitions)
        new = [spec for spec in specs if not self._is_filled(spec)]
        wanted = creation.judge(self.hierarchy, new, self.call)
        if creation.run(self.hierarchy, wanted, self.call):
            self._read_again()
        if self.call.mode == execute.DRY_RUN:
            self.hierarchy = lifecycle.with_new(self.hierarchy, [*self.filled, *wanted.needed])
        for error in wanted.refused:
            self._keep(error)

    def retire(self) -> None:
        """Detach, drop or move what retention retires; one slice that cannot be retired does not keep the others."""
        hierarchy = self.hierarchy
        retired: list[Slice] = []

        def one(each: Slice) -> None:
            waiting = retention.retire(hierarchy, each, self.call, self.connection)
            if waiting is not None:
                retired.append(each)
            if waiting:
                self.waiting.append(waiting)

        expired = window.expired(hierarchy)
        if expired and hierarchy.policy.retention_protect is not None:
            retention.refuse_hooks(hierarchy)  # told once, not of every slice
        for each in expired:
            if not self.attempt(functools.partial(one, each), each.identifier.text):
                break
        if self.call.mode == execute.DRY_RUN:
            self.hierarchy = lifecycle.without(hierarchy, retired)
        elif retired:
            self._read_again()

    def drop_retired(self) -> None:
        """Drop what was detached before, when its grace period is over, as far as it can be dropped."""
        hierarchy = self.hierarchy
        for group in retention.due(hierarchy, self.waiting, self.call):
            one = functools.partial(retention.drop, hierarchy, group, group not in self.waiting, self.call)
            if not self.attempt(one, group[0].identifier.text):
                break

    def analyze(self) -> None:
        """ANALYZE the parents that are due; one that would need too many locks is left to a top-level command."""
        only = catalog_server.server().version >= ANALYZE_ONLY_SINCE
        due = analyze_due([self.hierarchy])
        for table in self.hierarchy.tables:
            if table.oid in due:
                step = lifecycle.analyze_step(table, self.hierarchy.slices[table.oid], only)
                if step.locks <= self.call.lock_budget:
                    calls.run_in_procedure([step], self.call)
                elif self.call.mode != execute.DRY_RUN:
                    _log_skipped(table, step.locks, self.call)

    def age(self, known: set[int], ends: float) -> None:
        """Freeze, move and store otherwise what is old enough."""

        def attempt(part: Callable[[], None], about: str) -> bool:
            failures = len(self.failures)
            is_no_lock = self.attempt(part, about)
            return len(self.failures) == failures or not is_no_lock  # a lock is of one leaf alone

        ageing.run(self.hierarchy, known, self.call, self.connection, attempt, ends)

    def tell(self) -> None:
        """The call fails in the end, where parts did."""
        if self.failures:
            raise Failed("; ".join(self.failures))

    def end_log(self) -> None:
        """Say that an earlier failure is over, and delete log rows that are older than the hierarchy keeps them."""
        if self.call.mode == execute.DRY_RUN:
            return
        root = self.hierarchy.root.oid
        if not self.failures and catalog_log.last_failures([root]):
            journal.write_done(self.call, "maintained without anything to do, after a failure")
        database.query(
            "DELETE FROM dp.log_entry WHERE root = $1 AND at < clock_timestamp() - $2 * interval '1 ms'",
            ("oid", "float8"),
            (root, self.hierarchy.policy.log_retention_ms),
        )
        execute.commit(self.call)

    def _is_filled(self, spec: SliceSpec) -> bool:
        """Whether draining has created a slice, or would have: a dry run still finds it missing."""
        return spec.span in {each.span for each in self.filled}

    def _keep(self, error: Exception, about: str | None = None) -> None:
        """Record a failure, and go on as if a transaction began."""
        told = calls.describe(error)
        self.failures.append(told if about is None else f"{about}: {told}")
        if self.call.mode != execute.DRY_RUN:
            calls.record_failure(error, self.call)
            execute.begin(self.call)

    def _read_again(self) -> None:
        """Read the hierarchy after a change; a dry run has changed nothing."""
        if self.call.mode != execute.DRY_RUN:
            self.hierarchy = catalog_hierarchy.load(self.hierarchy.root.oid)


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


def _log_skipped(table: Table, locks: int, call: Context) -> None:
    journal.write_done(
        call, f"ANALYZE {table.identifier} not run: it needs about {locks} locks; run it as a statement of its own"
    )
    execute.commit(call)
