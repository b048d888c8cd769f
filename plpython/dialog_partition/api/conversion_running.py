"""Doing the stored steps of a conversion."""

from __future__ import annotations

import json
import time

from .. import database, errors, execute, progress, wrapping
from ..catalog import conversion_state as catalog
from ..catalog import hierarchy as catalog_hierarchy
from ..operation import SHARE, Operation, Step
from ..plan import conversion_copy, trees, unconversion
from ..plan.conversion_layout import LOCKS_OF_INDEX, LOCKS_OF_KEY, LOCKS_OF_STEP, LOCKS_OF_TABLE
from ..plan.conversion_steps import COPY, DROP_INDEX, GLOBAL_INDEX, MOVE, RUN, SLICES, SWITCH, SYNC, VERIFY
from ..sql import SQL, Identifier, Literal, compose
from . import calls, conversion_definition, drift, global_index, slices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..catalog.conversion_state import Stored
    from ..execute import Context

MOVED_AT_ONCE = 50  # partitions that change their schema in one transaction
GLOBAL_INDEX_BLOCKS = 4096


class Work:
    """A conversion at work."""

    def __init__(self, root: int, call: Context, batch_blocks: int) -> None:
        """``root`` is the plain one."""
        self.root, self.call, self.batch_blocks = root, call, batch_blocks
        state = catalog.find(root)
        self.is_back = state is not None and state.is_back
        self.definitions = state.definitions if state is not None else ""
        self.converted = {row["plain"]: row["converted"] for row in catalog.tables(root)}

    @property
    def hierarchy(self) -> int:
        """The root of the hierarchy that is made, or unmade."""
        return self.root if self.is_back else self.converted[self.root]

    def read_again(self) -> None:
        """Tables were made, or have changed places."""
        self.converted = {row["plain"]: row["converted"] for row in catalog.tables(self.root)}

    def execute(self, step: Stored, statements: tuple[SQL, ...], locks: int, *, is_last: bool = True) -> None:
        """Run statements in one transaction, in which the step is noted as done."""
        found = [Operation(step.target, each, locks=0) for each in statements]
        context = self.call
        if is_last:
            found.append(Operation(step.target, catalog.done_statement(self.root, step), locks=locks))
        if self.is_back and step.phase == "afterwards":  # the partitioned root may go, and nothing is logged of it
            context = context._replace(root=self.converted[self.root])
        execute.execute([Step(tuple(found))], context)


def run(root: int, call: Context, batch_blocks: int) -> None:
    """Do all steps that are not done."""
    work = Work(root, call, batch_blocks)
    _hold(work)
    step = catalog.next_step(root)
    shown = ""
    while step is not None:
        _enter_phase(work, step)
        if step.kind == COPY:
            shown = ""  # it shows itself
        elif step.phase not in ("structure", shown):
            shown = step.phase
            _show_phase(work, step)
        if work.is_back and step.phase == "afterwards":
            progress.forget()  # its row goes with the partitioned root
        KINDS[step.kind](work, step)
        step = catalog.next_step(root)
    name = catalog.relation(work.converted[root])["name"]
    if work.is_back:
        database.notice(f"{name} is a plain table again")
        return
    catalog.set_state(root, "converted")
    database.query("DELETE FROM dp.conversion_step WHERE root = $1", ("oid",), (root,))
    progress.clear(work.hierarchy)
    execute.commit(call)
    database.notice(f"{name} is converted; the plain tables are kept until dp.drop_converted")


def _enter_phase(work: Work, step: Stored) -> None:
    """The structure is there: from now on the call goes on where it was stopped."""
    if step.phase == "structure" or work.converted.get(work.root) is not None:
        return
    catalog.note_converted(work.root)
    catalog.set_state(work.root, "copying")
    execute.commit(work.call)
    work.read_again()
    _hold(work)


def _show_phase(work: Work, step: Stored) -> None:
    """How many steps the phase has that begins, or goes on."""
    table = work.converted.get(step.table, step.table)
    left = catalog.steps_left(work.root, step.phase)
    progress.begin(work.call._replace(root=work.hierarchy), table, step.phase, left)
    execute.commit(work.call)


def _hold(work: Work) -> None:
    """Nobody else works on the hierarchy that is being made; and dp.progress shows how far it is."""
    hierarchy = work.converted.get(work.root)
    if hierarchy is not None and not work.is_back:
        calls.lock_hierarchy(work.call._replace(root=hierarchy), for_session=True)


def _run(work: Work, step: Stored) -> None:
    """Statements that are run as they are."""
    locks = json.loads(step.arguments).get("locks", LOCKS_OF_STEP)
    if step.phase not in ("structure", "copy"):
        own = work.converted.get(step.table)
        each = LOCKS_OF_KEY if step.parents else LOCKS_OF_INDEX
        locks += each * catalog.tree_size(own) if own is not None else 0
        for parent in step.parents:
            referred = work.converted.get(parent)
            locks += LOCKS_OF_KEY * catalog.tree_size(referred) if referred is not None else 1
    if step.phase == "foreign keys":  # each leaf is checked by a join with all leaves: other plans are in vain
        for setting in ("enable_nestloop", "enable_mergejoin"):
            database.set_local(setting, "off")
        database.set_local("max_parallel_workers_per_gather", "0")
    work.execute(step, step.statements, locks)


def _slices(work: Work, step: Stored) -> None:
    arguments = json.loads(step.arguments)
    root = catalog.oid_of(step.target.text)
    slices.create_slices(
        root, arguments["lower_bound"], arguments["upper_bound"], arguments["slice"], None, dry_run=False
    )
    work.execute(step, (), LOCKS_OF_TABLE)


def _copy(work: Work, step: Stored) -> None:
    """Copy a table in batches of blocks; each notes how far it came."""
    total = catalog.blocks(step.table)
    table = work.converted.get(step.table, step.table)
    copied = conversion_copy.Copied(json.loads(step.arguments).get("rows"), total)
    left, each = copied.between(step.next_block, total), copied.between(0, work.batch_blocks)
    progress.begin(work.call._replace(root=work.hierarchy), table, "copy", left, each)
    execute.commit(work.call)
    lock = compose("LOCK TABLE {} IN SHARE MODE", step.target)
    since = time.monotonic()
    first = step.next_block
    locks = catalog.tree_size(table) + 2 * LOCKS_OF_TABLE
    while first < total:
        last = min(first + work.batch_blocks, total)
        statements = (
            lock,
            conversion_copy.batch(step.statements[0], first, last),
            catalog.advanced_statement(work.root, step, last),
        )
        operations = [Operation(step.target, each, SHARE, (step.table,), locks=0) for each in statements]
        operations[0] = operations[0]._replace(locks=locks)
        execute.execute([Step(tuple(operations))], work.call)
        first = last
        database.notice(f"{step.target}: {copied.told(step.next_block, first, time.monotonic() - since)}")
    work.execute(step, (), LOCKS_OF_TABLE)


def _verify(work: Work, step: Stored) -> None:
    """Compare what arrived with what was there, and note the row versions that were compared."""
    lock = compose("LOCK TABLE {} IN SHARE MODE", step.target)
    execute.prepare(Step((Operation(step.target, lock, SHARE, (step.table,)),)), work.call)
    plain, arrived = (database.query_once(statement.text)[0] for statement in step.statements[:2])
    if plain != arrived:
        _changed(
            work,
            f"the copy of {step.target} differs from it",
            f"It has {plain['rows']} rows with checksum {plain['checksum']}, the copy {arrived['rows']} rows with"
            f" checksum {arrived['checksum']}.",
        )
    versions = str(database.query_once(step.statements[2].text)[0]["versions"])
    catalog.remember(work.root, step, versions)
    execute.commit(work.call)


def _switch(work: Work, step: Stored) -> None:
    """Exchange the tables in one transaction, in which nobody wrote to the plain ones since they were compared."""
    checks = tuple(
        compose("SELECT dp._check_unchanged({}::regclass, {})", Literal(name), Literal(versions))
        for name, versions in catalog.versions(work.root)
    )
    switched = compose("UPDATE dp.conversion_config SET state = 'switched' WHERE root = {}::oid", Literal(work.root))
    statements = (step.statements[0], *checks, *step.statements[1:], switched)
    locks = LOCKS_OF_TABLE * 2 * len(work.converted)
    if work.is_back:
        locks += unconversion.reading_locks(catalog_hierarchy.load(work.root))
    lock = Operation(step.target, step.statements[0], locks=locks)
    execute.prepare(Step((lock,)), work.call)
    if conversion_definition.fingerprint(list(work.converted), work.root if work.is_back else None) != work.definitions:
        _changed(
            work,
            f"tables of {step.target}, or what depends on them, were altered after the conversion had begun",
            "What it has built is what they were before.",
        )
    try:
        work.execute(step, statements, locks)
    except database.ServerError as error:
        if database.sqlstate(error) != errors.NotInPrerequisiteState.sqlstate:
            raise
        _changed(work, str(error), "Tables are converted while the application is stopped.")


def _changed(work: Work, message: str, detail: str) -> None:
    """The copy is of no use: the next call begins anew."""
    database.rollback()
    execute.begin(work.call)
    catalog.set_state(work.root, "changed")
    execute.commit(work.call)
    raise errors.NotInPrerequisiteState(
        message,
        detail,
        "Stop what writes to the tables or alters them, and call again: they are copied anew. The plain tables are as"
        " they were.",
    )


def _move(work: Work, step: Stored) -> None:
    """The partitions of a table follow it into its schema."""
    table = work.converted[step.table]
    schema = catalog.relation(table)["schema"]
    moved = catalog.partitions_elsewhere(table)
    for first in range(0, len(moved), MOVED_AT_ONCE):
        statements = tuple(
            compose("ALTER {} SET SCHEMA {}", each, Identifier(schema)) for each in moved[first : first + MOVED_AT_ONCE]
        )
        work.execute(step, statements, 0, is_last=False)
    work.execute(step, (), LOCKS_OF_TABLE)


def _global_index(work: Work, step: Stored) -> None:
    """Make a global index: in one transaction where the locks suffice, which reads all leaves at once."""
    arguments = json.loads(step.arguments)
    table = work.converted[step.table]
    asked = (table, arguments["columns"], True, arguments["predicate"], arguments["index_name"], 0)
    hierarchy = catalog_hierarchy.load(work.hierarchy)
    locks = trees.planned(hierarchy, hierarchy.table(table)) + 4 * trees.size(hierarchy, table) + 200
    is_begun = any(index.name == arguments["index_name"] for index in hierarchy.table(table).global_indexes)
    if locks <= work.call.lock_budget and not is_begun:
        global_index.create_global_index(*asked, wrapping.PINNED_PATH, dry_run=False)
    else:
        global_index.create_global_index_online(*asked, GLOBAL_INDEX_BLOCKS, wrapping.PINNED_PATH, dry_run=False)
    work.execute(step, (), LOCKS_OF_TABLE)


def _sync(work: Work, step: Stored) -> None:
    drift.sync(work.converted[work.root], False, dry_run=False)
    work.execute(step, (), LOCKS_OF_TABLE)


def _drop_index(work: Work, step: Stored) -> None:
    side = json.loads(step.arguments)["side"]
    if catalog.exists(side):
        global_index.drop_global_index(side, dry_run=False)
    work.execute(step, (), LOCKS_OF_TABLE)


KINDS: dict[str, Callable[[Work, Stored], None]] = {
    RUN: _run,
    SLICES: _slices,
    COPY: _copy,
    VERIFY: _verify,
    SWITCH: _switch,
    MOVE: _move,
    GLOBAL_INDEX: _global_index,
    SYNC: _sync,
    DROP_INDEX: _drop_index,
}
