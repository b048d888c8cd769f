"""A call of dp.cluster at work: which leaves are due, and one after the other is ordered."""

from __future__ import annotations

import time
from typing import NamedTuple

from .. import blockers, database, errors, execute, progress, remote
from ..catalog import cache as catalog_cache
from ..catalog import physical_order as catalog
from ..model import Hierarchy, Slice, Table
from ..operation import Step, split
from ..plan import ordering as plan
from ..plan import physical_order as plan_order
from ..plan.cache import HEAP, INDEX
from ..plan.ordering import Facts, Method
from ..plan.physical_order import Leaf, OrderIndex
from ..sql import SQL, Identifier, Literal, compose
from . import calls, clustering, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context

CLOSED, ALL = "closed", "all"
SCOPES = (CLOSED, ALL)
LOOKS_AT_BUSY = 5  # how often a leaf in use is looked at before it is left


# A method that the server refuses as such: privileges, settings, slots, files and functions that are missing; XX000 is
# what pg_squeeze tells of whatever its worker met.
CANNOT_WORK = ("42501", "55000", "0A000", "53400", "58P01", "42883", "XX000")


class Asked(NamedTuple):
    """Which leaves are to be ordered."""

    threshold: float
    scope: str
    vacuum: bool
    sample_pages: int


class Way(NamedTuple):
    """How leaves are ordered."""

    method: Method
    is_automatic: bool  # nobody asked for it
    facts: Facts
    as_caller: bool  # by the caller, a superuser, for the owner of the tables may not use the method
    has_session: bool  # whether the call has, or can have, a second session


class Due(NamedTuple):
    """A leaf that is to be ordered, or only lacks what comes behind that."""

    disorder: float
    leaf: Leaf
    order: OrderIndex | None
    is_online: bool
    steps: list[Step]  # that order it
    finish: list[Step]


def disordered(hierarchy: Hierarchy, call: Context, asked: Asked) -> list[tuple[float, Leaf, OrderIndex]]:
    """The leaves at the threshold or above it, worst first; one that nobody wrote to since it was ordered is not."""
    found: list[tuple[float, Leaf, OrderIndex]] = []
    for table in hierarchy.tables:
        index = clustering.order(hierarchy, table)
        if index is None:
            clustering.tell_missing(hierarchy, table)
            continue
        groups = plan_order.group_columns(hierarchy, table, index)
        for leaf in catalog.leaves(index.oid, _slices(hierarchy, table, asked.scope)):
            disorder = None if leaf.is_unchanged else catalog.disorder(leaf, index, groups, asked.sample_pages)
            if disorder is not None and disorder >= asked.threshold:
                found.append((disorder, leaf, index))
        if call.mode != execute.DRY_RUN:
            execute.commit(call)  # what was looked at is not locked any more
    return sorted(found, key=lambda each: (-each[0], each[1].identifier.text))


def _slices(hierarchy: Hierarchy, table: Table, scope: str) -> list[Slice] | None:
    """None: all. The closed ones are those whose time is over; of numbers without a calendar none is."""
    if scope == ALL:
        return None
    now = window.current_point(hierarchy)
    if now is None:
        return []
    return [each for each in hierarchy.range_slices(table) if each.upper is not None and each.upper.point <= now]


class Ordering:
    """A call of dp.cluster at work."""

    def __init__(self, hierarchy: Hierarchy, call: Context, way: Way, asked: Asked) -> None:
        self.hierarchy = hierarchy
        self.call = call
        self.way = way
        self.asked = asked
        self.failures: list[Exception] = []
        self.left = 0  # leaves for which the time was too short
        self.count = 0  # of leaves that were to be ordered
        self._bytes, self._seconds = 0, 0.0
        self._has_worked = False  # the online method, on one leaf at least

    @property
    def is_dry(self) -> bool:
        """Whether nothing is run."""
        return self.call.mode == execute.DRY_RUN

    def mark(self) -> None:
        """Every leaf, and what new leaves get, is marked with the index of its order."""
        for table in self.hierarchy.tables:
            index = clustering.order(self.hierarchy, table)
            if index is None:
                continue
            leaves = catalog.leaves(index.oid, None)
            if index.is_chosen and index.marked == len(leaves):
                continue
            operations = plan_order.order_operations(table.identifier, index, leaves)
            try:
                calls.run_in_procedure(split(operations, self.call.lock_budget), self.call)
            except errors.LockNotAvailable as error:
                self._failed(error)

    def due(self) -> list[Due]:
        """The leaves that lack only VACUUM since they were ordered; then the disordered ones, worst first."""
        warm = self._warm()  # before measuring, which reads some pages of each
        worst = disordered(self.hierarchy, self.call, self.asked)
        found = [self._to_order(*each, warm.get(each[1].oid, ())) for each in worst]
        rewritten = {each.leaf.oid for each in found}
        return [*(each for each in self._unfinished() if each.leaf.oid not in rewritten), *found]

    def _to_order(self, disorder: float, leaf: Leaf, index: OrderIndex, warm: tuple[SQL, ...]) -> Due:
        finish = plan.finishing_steps(leaf, self.asked.vacuum, warm)
        return self._by_method(Due(disorder, leaf, index, False, [], finish), index)

    def _by_method(self, due: Due, index: OrderIndex) -> Due:
        """With the steps of the method, or of CLUSTER where it cannot order that leaf and was not asked for."""
        method, leaf = self.way.method, due.leaf
        why = plan.obstacle(method, leaf)
        if why is not None and not self.way.is_automatic:
            raise errors.NotInPrerequisiteState(
                f"{leaf.identifier} cannot be ordered by method {method.name}",
                f"The leaf is disordered {due.disorder:.1f} times, and {why}.",
                "Call with method => 'auto' or 'cluster', or give the table what it lacks.",
            )
        if why is not None:
            method = plan.METHODS[plan.CLUSTER]
        steps = plan.order_steps(method, leaf, index, self.hierarchy.root.identifier, self.way.facts)
        return due._replace(is_online=method.is_online, steps=steps)

    def _unfinished(self) -> list[Due]:
        """Leaves that were written anew by a call which was stopped before VACUUM."""
        if not self.asked.vacuum:
            return []
        found = []
        for table in self.hierarchy.tables:
            index = clustering.order(self.hierarchy, table)
            leaves = (
                [] if index is None else catalog.leaves(index.oid, _slices(self.hierarchy, table, self.asked.scope))
            )
            for leaf in leaves:
                if not leaf.is_vacuumed:
                    found.append(Due(0, leaf, None, False, [], plan.finishing_steps(leaf, True, ())))
        return found

    def _warm(self) -> dict[int, tuple[SQL, ...]]:
        """What of each leaf is in the cache for the most part: the statements that read it into the cache again."""
        prewarm, buffercache = catalog_cache.facility("pg_prewarm"), catalog_cache.facility("pg_buffercache")
        if prewarm is None or buffercache is None or not (prewarm.usable and buffercache.usable):
            return {}
        relations = [each for each in catalog_cache.candidates(self.hierarchy, None) if each.kind in (HEAP, INDEX)]
        resident = catalog_cache.resident(relations, buffercache)
        heaps = catalog.heaps_of([each.oid for each in relations if each.kind == INDEX])
        function = Identifier(prewarm.schema, "pg_prewarm")
        found: dict[int, tuple[SQL, ...]] = {}
        for each in relations:
            if resident.get(each.oid, 0) * 2 >= each.size:
                statement = compose("SELECT {}({}::pg_catalog.regclass)", function, Literal(each.relation))
                leaf = heaps.get(each.oid, each.oid)
                found[leaf] = (*found.get(leaf, ()), statement)
        return found

    def order_all(self, due: list[Due]) -> None:
        """One leaf after the other. One in use does not stop the rest: it is looked at again when they are done."""
        self.count = sum(1 for each in due if each.steps)
        if not self.is_dry and due:
            total = sum(len(each.steps) + len(each.finish) for each in due)
            progress.begin(self.call, self.hierarchy.root.oid, self.way.method.name, total)
            execute.commit(self.call)
        rest = due
        for look in range(LOOKS_AT_BUSY):
            if look > 0:
                database.pause(min(self.call.lock_timeout_ms * 2**look, execute.MAX_PAUSE_MS))
            rest = [each for each in rest if not self._order_one(each)]
            if not rest:
                break
        for each in rest:
            self.failures.append(
                errors.LockNotAvailable(f"{each.leaf.identifier} is in use", blockers.describe(each.steps[0]))
            )
        if not self.is_dry and due:
            progress.end()
            execute.commit(self.call)

    def _order_one(self, each: Due) -> bool:
        """Whether a leaf is dealt with; False: it is in use, and CLUSTER would have to wait."""
        since = time.monotonic()
        if not self._has_time(each, since):
            self.left += 1
            return True
        if each.is_online and each.order is not None and not self.way.method.is_online:
            each = self._by_method(each, each.order)
        if each.steps and not each.is_online and not self.is_dry and blockers.holders(each.steps[0]):
            return False
        try:
            self._run(each)
        except errors.TimeIsOver:
            self.left += 1
            execute.abandon_step(self.call)
        except errors.LockNotAvailable as error:
            self._failed(error)
        except database.ServerError as error:
            if database.is_cancel(error) or not each.is_online:
                raise
            if self.way.is_automatic and not self._has_worked and database.sqlstate(error) in CANNOT_WORK:
                return self._without_method(each, error)
            self._failed(error)
        else:
            self._has_worked = self._has_worked or each.is_online
            self._bytes += each.leaf.size
            self._seconds += time.monotonic() - since
        return True

    def _without_method(self, each: Due, error: Exception) -> bool:
        """The server refuses the method as such, it seems; some reasons only a superuser could have seen before."""
        database.warning(f"method {self.way.method.name} cannot work here: {error}; CLUSTER takes its place")
        execute.abandon_step(self.call)
        self.way = self.way._replace(method=plan.METHODS[plan.CLUSTER])
        return self._order_one(each)

    def _has_time(self, each: Due, now: float) -> bool:
        """Whether a leaf is likely to be done in time, by the speed of those before it."""
        speed = self._bytes / self._seconds if self._bytes and self._seconds else plan.FIRST_BYTES_A_SECOND
        return self.is_dry or self.call.ends is None or now + each.leaf.size / speed <= self.call.ends

    def _run(self, each: Due) -> None:
        """Order one leaf. A superuser does himself what the owner may not: after RESET ROLE, and for one statement."""
        steps = each.steps
        if self.way.as_caller and each.is_online:
            if not self.is_dry:
                remote.as_login(None)
            calls.run_in_procedure(steps[:1], self.call._replace(owner=None))
            steps = steps[1:]
        if self.way.as_caller and remote.is_open():  # also behind a leaf that has failed
            remote.as_login(self.hierarchy.root.owner)
            execute.commit(self.call)
        calls.run_in_procedure(steps, self.call)
        if not self.is_dry:
            execute.flush(self.call)
        calls.run_in_procedure(each.finish, self.call)

    def _failed(self, error: Exception) -> None:
        self.failures.append(error)
        calls.record_failure(error, self.call)
        execute.begin(self.call)

    def tell(self) -> None:
        """What came of it: an error where leaves could not be ordered."""
        name = self.call.root_name
        if self.left:
            database.notice(f"the time is over: {self.left} leaves are left to the next call")
        elif not self.count:
            database.notice(f"no leaf of {name} is disordered {self.asked.threshold} times or more: nothing to do")
        if not self.failures:
            return
        is_lock = all(isinstance(each, errors.LockNotAvailable) for each in self.failures)
        kind = errors.LockNotAvailable if is_lock else errors.MaintenanceFailed
        raise kind(
            f"{len(self.failures)} of {self.count} leaves of {name} could not be {'locked' if is_lock else 'ordered'}",
            " ".join(dict.fromkeys(f"{calls.describe(each)}." for each in self.failures)),
            "The others are in order. Call again when nobody uses these." if is_lock else "The others are in order.",
        )
