"""add_policy, drop_policy, ageing: leaves that are frozen, moved or stored otherwise as they age."""

from __future__ import annotations

import functools
import json
import time
from typing import NamedTuple

from .. import calendars, database, errors, execute, keys, naming, remote
from ..calendars import Width
from ..catalog import ageing as catalog
from ..catalog import cron as catalog_cron
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import retention as catalog_retention
from ..catalog import server as catalog_server
from ..model import Hierarchy, Slice, Table
from ..operation import Step
from ..plan import ageing as plan
from ..plan.ageing import FREEZE, STORAGE, TABLESPACE, AgeingPolicy, Leaf
from ..plan.properties import storage_clause
from ..sql import Identifier, compose
from . import calls, probing, window
from .alter_table import storage_text
from .policy import check_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable

    from ..execute import Context
    from ..printing import PlanRow

    Attempt = Callable[[Callable[[], None], str], bool]

SECONDS = 45 * 60.0  # that one run takes, of all hierarchies, and is over before the next hour's
MOST_FAILURES = 3  # of one kind in a run, locks left out: the others would fail as well
FREEZE_LOCK_TIMEOUT = "10s"  # long enough for autovacuum to give way; neither readers nor writers queue behind it
PATIENCE = Width(1, "day")  # from then on dp.check tells of what is not done
NO_SECOND_SESSION = (
    "leaves are not frozen, and keep autovacuum where a policy says both: VACUUM needs a second session (extension"
    " dblink, and the parameter connection); or print the statements with dry_run => true and run them by psql"
)


def add_policy(
    root: int, after: str, vacuum_freeze: bool, tablespace: str | None, storage: str, dry_run: bool
) -> list[PlanRow]:
    """What shall be of leaves of an age; see sql/functions/add_policy.sql.j2."""
    hierarchy, call = calls.open_function("add_policy", root, dry_run)
    policy = AgeingPolicy(_age(hierarchy, after), vacuum_freeze, tablespace, _parameters(storage))
    if not (vacuum_freeze or tablespace is not None or policy.storage):
        raise errors.InvalidParameter.of(
            "after", after, "Nothing shall happen then.", "Give vacuum_freeze => true, tablespace or storage."
        )
    if tablespace is not None:
        _check_tablespace(hierarchy, tablespace)
    if policy in catalog.policies([root]).get(root, []):
        return calls.nothing_to_do(f"{hierarchy.root.identifier} has this policy already")
    if policy.storage and not catalog_server.server().is_standby:
        _try_parameters(hierarchy, policy, call)
    if vacuum_freeze and not catalog_cron.has_second_session(hierarchy.root.owner, None):
        database.notice(NO_SECOND_SESSION)
    return calls.run_in_function([Step((plan.add_statement(hierarchy.root.identifier, policy),))], call)


def drop_policy(root: int, after: str, dry_run: bool) -> list[PlanRow]:
    """End the policy of an age; see sql/functions/drop_policy.sql.j2."""
    hierarchy, call = calls.open_function("drop_policy", root, dry_run)
    width = _age(hierarchy, after)
    if all(each.after != width for each in catalog.policies([root]).get(root, [])):
        return calls.nothing_to_do(f"{hierarchy.root.identifier} has no policy of that age")
    return calls.run_in_function([Step((plan.drop_statement(hierarchy.root.identifier, width),))], call)


def _age(hierarchy: Hierarchy, after: str) -> Width:
    """An age as a policy that is there says it, if one does: a year and 12 months are one age."""
    width = calendars.parse_width(after, "after")
    check_width("after", width, hierarchy.range_type, None)
    root = hierarchy.root.oid
    known = (each.after for each in catalog.policies([root]).get(root, []))
    return next((each for each in known if plan.length(each) == plan.length(width)), width)


def _parameters(text: str) -> tuple[tuple[str, str], ...]:
    given = json.loads(text)
    if not isinstance(given, dict) or any(value is None or isinstance(value, (dict, list)) for value in given.values()):
        raise errors.InvalidParameter.of(
            "storage", text, "It is a JSON object: names of storage parameters with values.",
            """For example '{"fillfactor": 100, "autovacuum_enabled": false}'.""",
        )  # fmt: skip
    return tuple(sorted((name, storage_text(value)) for name, value in given.items()))


def _try_parameters(hierarchy: Hierarchy, policy: AgeingPolicy, call: Context) -> None:
    """Names and values that the server does not know are its own error, before a leaf of some age meets them."""
    root = hierarchy.root
    copy = Identifier(root.schema, naming.derived_name(root.name, probing.PROBE))
    create = compose("CREATE TABLE {} (LIKE {}) WITH ({})", copy, root.identifier, storage_clause(policy.storage))
    database.rolled_back(lambda: execute.probe(create.text, call))


def _check_tablespace(hierarchy: Hierarchy, tablespace: str) -> None:
    owner = hierarchy.root.owner
    may = catalog.may_create(owner, tablespace)
    if may is None:
        raise errors.UndefinedObject(
            f'tablespace "{tablespace}" does not exist', "Leaves would be moved there.", "See the view pg_tablespace."
        )
    if not may:
        raise errors.InsufficientPrivilege(
            f'permission denied for tablespace "{tablespace}"',
            f"{owner}, who owns the tables, may not create anything there.",
            f"GRANT CREATE ON TABLESPACE {Identifier(tablespace)} TO {Identifier(owner)};",
        )


def aged(
    hierarchy: Hierarchy, clock: Callable[[Hierarchy], datetime.datetime] = window.local_now
) -> dict[int, AgeingPolicy]:
    """What the policies ask for of each slice that is old enough for one; not of what retention takes away."""
    policies = catalog.policies([hierarchy.root.oid]).get(hierarchy.root.oid)
    return _reached(hierarchy, policies, clock) if policies else {}


def _reached(
    hierarchy: Hierarchy, policies: list[AgeingPolicy], clock: Callable[[Hierarchy], datetime.datetime]
) -> dict[int, AgeingPolicy]:
    points = window.behind(hierarchy, [each.after for each in policies], clock)
    retired = {each.span for each in window.expired(hierarchy)}
    found = {}
    for _, each, end in _slices(hierarchy):
        if each.span in retired:
            continue
        policy = plan.together(
            [policy for policy, point in zip(policies, points) if point is not None and end <= point]
        )
        if policy is not None:
            found[each.oid] = policy
    return found


def _slices(hierarchy: Hierarchy) -> list[tuple[Table, Slice, int]]:
    """The slices that have an end, with that, and are there, not only in a plan that is printed."""
    return [
        (table, each, each.upper.point)
        for table in hierarchy.tables
        for each in hierarchy.range_slices(table)
        if each.oid and each.upper is not None and not each.detach_pending
    ]


def pending(hierarchy: Hierarchy) -> list[tuple[Leaf, AgeingPolicy]]:
    """The leaves that are not yet what their age asks for, and what they lack; the oldest slices first."""
    wanted = aged(hierarchy)
    ends = {each.oid: end for _, each, end in _slices(hierarchy)}
    found = [(leaf, plan.lacking(leaf, wanted[leaf.slice])) for leaf in catalog.leaves(wanted)]
    lacking = [(leaf, policy) for leaf, policy in found if policy is not None]
    return sorted(lacking, key=lambda each: ends[each[0].slice])


def late(hierarchy: Hierarchy) -> int:
    """How many leaves lack something for longer than a run of maintenance, or a few, might have failed."""
    if keys.is_integer(hierarchy.range_type):
        return 0  # they have no clock by which to tell how long
    wanted = aged(hierarchy, lambda one: calendars.subtract(window.local_now(one), PATIENCE))
    return sum(plan.lacking(leaf, wanted[leaf.slice]) is not None for leaf in catalog.leaves(wanted))


def run(
    hierarchy: Hierarchy, known: set[int], call: Context, connection: str | None, attempt: Attempt, ends: float
) -> None:
    """Bring leaves to what their age asks for, each for itself, as long as the time of a run allows.

    ``known``: slices that were there when the run began, so that a dry run prints what a run does; others are the next
    run's. ``attempt`` does one part, and tells whether others of its kind are worth one.
    """
    freezes = connection is not None or catalog_cron.has_second_session(hierarchy.root.owner, None)
    failures: dict[str, int] = {}
    todo = [each for each in pending(hierarchy) if each[0].slice in known]
    if call.mode != execute.DRY_RUN and not freezes and any(policy.freeze for _, policy in todo):
        database.notice(NO_SECOND_SESSION)
        todo = [(leaf, plan.with_autovacuum(policy) if policy.freeze else policy) for leaf, policy in todo]
        failures[FREEZE] = MOST_FAILURES
    for place, (leaf, policy) in enumerate(todo):
        if call.mode != execute.DRY_RUN and time.monotonic() > ends:
            database.notice(f"the time for policies is over: {len(todo) - place} leaves are left to the next run")
            return
        for kind in (STORAGE, TABLESPACE, FREEZE):
            part = functools.partial(_bring, hierarchy, leaf, plan.part(policy, kind), call, connection)
            if failures.get(kind, 0) < MOST_FAILURES and not attempt(part, leaf.identifier.text):
                failures[kind] = failures.get(kind, 0) + 1


def _bring(hierarchy: Hierarchy, leaf: Leaf, policy: AgeingPolicy, call: Context, connection: str | None) -> None:
    steps = plan.steps(hierarchy.root.identifier, leaf, policy)
    if policy.freeze and call.mode != execute.DRY_RUN:
        remote.open_session(call, connection)
        remote.set_parameter("lock_timeout", FREEZE_LOCK_TIMEOUT)
        execute.commit(call)
        execute.flush(call)
    try:
        calls.run_in_procedure(steps, call)
    except database.ServerError as error:
        if not database.is_lock_timeout(error):
            raise
        raise errors.LockNotAvailable(
            f"could not lock {leaf.identifier} to freeze it", f"{error}.", "Another run tries it again."
        ) from None


class AgeingRow(NamedTuple):
    """One row of dp.ageing."""

    tbl: str
    slice: str
    after: str
    due: str | None
    is_due: bool
    vacuum_freeze: bool
    tablespace: str | None
    storage: str
    leaves: int
    bytes: int


def ageing(root: int) -> list[AgeingRow]:
    """What policies will do, and when; see sql/functions/ageing.sql.j2."""
    hierarchy = catalog_hierarchy.load(root)
    calls.hierarchy_context("ageing", hierarchy, execute.DRY_RUN)
    policies = catalog.policies([root]).get(root, [])
    everything = plan.together(policies)
    if everything is None:
        return []
    reached = _reached(hierarchy, policies, window.local_now)
    slices = _slices(hierarchy)
    leaves: dict[int, list[Leaf]] = {}
    for leaf in catalog.leaves({each.oid: everything for _, each, _ in slices}):
        leaves.setdefault(leaf.slice, []).append(leaf)
    sizes = catalog_retention.bytes_of([leaf.oid for found in leaves.values() for leaf in found])
    rows = []
    for table, each, _ in slices:
        now = reached.get(each.oid)
        later = [policy for policy in policies if now is None or plan.length(policy.after) > plan.length(now.after)]
        for policy in ([now] if now is not None else []) + later:
            lacking = [leaf.oid for leaf in leaves.get(each.oid, ()) if plan.lacking(leaf, policy) is not None]
            if lacking:
                rows.append((table, each, policy, policy is now, lacking))
    moments = [window.aged_at(each, policy.after) for _, each, policy, _, _ in rows]
    instants = catalog_retention.instants(moments, hierarchy.policy.time_zone, None)
    return [
        AgeingRow(
            table.identifier.text,
            each.identifier.text,
            str(policy.after),
            instant,
            is_due,
            policy.freeze,
            policy.tablespace,
            plan.as_json(policy.storage),
            len(lacking),
            sum(sizes.get(oid, 0) for oid in lacking),
        )
        for (table, each, policy, is_due, lacking), (instant, _) in zip(rows, instants)
    ]
