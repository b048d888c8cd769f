"""Plans as values: operations, and the steps that commit them."""

from __future__ import annotations

from typing import NamedTuple

from .sql import Composable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SHARE = "SHARE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
ROW_EXCLUSIVE = "ROW EXCLUSIVE"

# Ranks: what lasts and stops nobody; locks in the order in which writers take them; everything else.
PREPARING, LOCKING, WORKING = 0, 1, 2

# Lock modes from weak to strong as pg_locks names them, and for each mode of ours the weakest that it waits for. Among
# those from ROW EXCLUSIVE on, SHARE conflicts with all of ours as well.
LOCK_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_WEAKEST_CONFLICT = {
    ACCESS_EXCLUSIVE: "AccessShareLock",
    SHARE_ROW_EXCLUSIVE: "RowExclusiveLock",
    SHARE: "RowExclusiveLock",
    SHARE_UPDATE_EXCLUSIVE: "ShareUpdateExclusiveLock",
    ROW_EXCLUSIVE: "ShareLock",
}


def conflicting_modes(lock: str) -> tuple[str, ...]:
    """The modes, as pg_locks names them, that a lock waits for."""
    return LOCK_MODES[LOCK_MODES.index(_WEAKEST_CONFLICT[lock]) :]


class Operation(NamedTuple):
    """One statement of a plan."""

    target: Composable  # what it works on
    statement: Composable
    lock: str = ACCESS_EXCLUSIVE  # the strongest lock it takes on a relation that others may be using
    relations: tuple[int, ...] = ()  # the existing relations it needs that lock on
    locks: int = 2  # how many entries of the lock table it takes, at most, besides those of trees
    trees: tuple[tuple[int, int], ...] = ()  # tables that it locks with all their partitions, and how many those are
    other_locks: tuple[tuple[int, str], ...] = ()  # existing relations that it needs another lock on than ``lock``
    in_transaction: bool = True  # False: refused inside a transaction, so another session runs it, and it alone
    gives_way: bool = False  # what another session runs waits for no lock longer than lock_timeout: others queue behind
    rank: int = WORKING  # where it stands in a transaction that several steps share: a lower one comes first


class Step(NamedTuple):
    """Operations that are committed together."""

    operations: tuple[Operation, ...]
    is_atomic: bool = False  # half of it must never be seen
    can_wait: bool = False  # what another session does behind it does not build on it, and it may run meanwhile
    is_optional: bool = False  # a procedure tries it once; where locks are in the way, another step does the same later

    @property
    def is_whole(self) -> bool:
        """Whether it is printed as one transaction: half of it must never be seen, or it begins with locks."""
        return self.is_atomic or any(operation.rank == LOCKING for operation in self.operations)

    @property
    def gives_way(self) -> bool:
        """Whether another session runs it, and must not wait for a lock longer than lock_timeout."""
        return any(operation.gives_way for operation in self.operations)

    @property
    def locks(self) -> int:
        """How many entries of the lock table the step takes, at most; a tree is locked once, however often."""
        trees: dict[int, int] = {}
        for operation in self.operations:
            _lock_trees(trees, operation)
        return sum(operation.locks for operation in self.operations) + sum(trees.values())

    @property
    def wanted_locks(self) -> tuple[tuple[int, str], ...]:
        """The existing relations it locks, each with the mode."""
        found = {(relation, operation.lock) for operation in self.operations for relation in operation.relations}
        return tuple(found.union(*(operation.other_locks for operation in self.operations)))

    @property
    def in_transaction(self) -> bool:
        """Whether it can run inside a transaction; what cannot is a step of its own."""
        return all(operation.in_transaction for operation in self.operations)

    @property
    def text(self) -> str:
        """All its statements."""
        return ";\n".join(operation.statement.text for operation in self.operations)


def together(steps: list[Step]) -> Step:
    """What one transaction does in which all steps run."""
    operations = sorted((operation for each in steps for operation in each.operations), key=lambda each: each.rank)
    return Step(tuple(operations), any(each.is_atomic for each in steps))


def merged(steps: list[Step], lock_budget: int) -> list[Step]:
    """Neighbouring steps in one transaction as far as the locks go; a step is never cut."""
    found: list[Step] = []
    for each in steps:
        joined = together([found[-1], each]) if found else each
        if found and joined.locks <= lock_budget:
            found[-1] = joined
        else:
            found.append(each)
    return found


def with_following(steps: Iterable[Step]) -> Iterator[tuple[Step, Step | None]]:
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


def split(operations: list[Operation], lock_budget: int) -> list[Step]:
    """One step where the locks fit; else as few as possible, cut between operations."""
    steps: list[Step] = []
    current: list[Operation] = []
    locks = 0
    trees: dict[int, int] = {}
    for operation in operations:
        more = operation.locks + _lock_trees(trees, operation)
        if current and locks + more > lock_budget:
            steps.append(Step(tuple(current)))
            current, locks, trees = [], 0, {}
            more = operation.locks + _lock_trees(trees, operation)
        current.append(operation)
        locks += more
    steps.append(Step(tuple(current)))
    return steps


def _lock_trees(locked: dict[int, int], operation: Operation) -> int:
    """Add the trees that an operation locks to those that are locked; how many more entries that takes.

    A tree is locked once in a step, with its indexes or without.
    """
    more = 0
    for oid, count in operation.trees:
        more += max(count - locked.get(oid, 0), 0)
        locked[oid] = max(count, locked.get(oid, 0))
    return more
