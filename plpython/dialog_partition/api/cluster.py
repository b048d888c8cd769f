"""cluster: the leaves that need it are written anew in their order, worst first."""

from __future__ import annotations

import time

from .. import database, errors, execute, naming, remote
from ..catalog import cron as catalog_cron
from ..catalog import online as catalog_online
from ..catalog import ordering as catalog_ordering
from ..catalog import physical_order as catalog
from ..catalog import server as catalog_server
from ..model import Hierarchy
from ..plan import ordering as plan
from ..plan import physical_order as plan_order
from ..plan.online import Wanted
from ..sql import Identifier
from . import calls, clustering, concurrently
from .alteration import Alteration
from .ordering import SCOPES, Asked, Ordering, Way, disordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context

INDEX_PURPOSE = "dp_order"  # what the name of an index ends with that was made for the order


def cluster(
    root: int,
    threshold: float,
    time_budget: str,
    scope: str,
    method: str,
    create_index: bool,
    vacuum: bool,
    sample_pages: int,
    connection: str | None,
    dry_run: bool,
) -> None:
    """Order the leaves that need it, worst first; see sql/procedures/cluster.sql.j2."""
    clustering.check_sample(sample_pages)
    if not threshold >= 1:
        raise errors.InvalidParameter.of("threshold", threshold, "It is 1, the perfect order, or more.")
    for name, value, allowed in (("scope", scope, SCOPES), ("method", method, plan.NAMES)):
        if value not in allowed:
            raise errors.InvalidParameter.of(name, value, f"It is one of {', '.join(allowed)}.")
    budget = catalog.seconds(time_budget)
    if budget <= 0:
        raise errors.InvalidParameter.of("time_budget", time_budget, "It must be longer than nothing.")
    ends = time.monotonic() + budget
    asked = Asked(threshold, scope, vacuum, sample_pages)
    hierarchy, call = calls.open_procedure("cluster", root, dry_run)
    way = _way(hierarchy, call, method, connection)
    if way.method.is_outside:
        _print_commands(hierarchy, call, way, asked)
        return
    way = _with_session(hierarchy, call, way, connection, vacuum)
    work = Ordering(hierarchy, call._replace(ends=ends), way, asked)
    if create_index and way.has_session:
        _create_indexes(hierarchy, work.call, connection, ends)
    work.mark()
    work.order_all(work.due())
    work.tell()


def _way(hierarchy: Hierarchy, call: Context, name: str, connection: str | None) -> Way:
    """The method that was asked for, which must have what it needs; or the best that has."""
    owner = hierarchy.root.owner
    facts = catalog_ordering.facts(owner)
    as_caller = call.is_superuser and call.owner is not None and bool(facts.missing_grants)
    if as_caller:
        facts = facts._replace(missing_grants=())
    connects = owner if call.owner is not None and not call.is_superuser else catalog_server.server().user
    has_session = catalog_cron.has_second_session(connects, connection)
    if name == plan.AUTO:
        return Way(plan.automatic(facts, has_session), True, facts, as_caller, has_session)
    method = plan.METHODS[name]
    lacks = method.lacks(facts)
    if lacks:
        privilege = all(each.is_privilege for each in lacks)
        raise (errors.InsufficientPrivilege if privilege else errors.NotInPrerequisiteState)(
            f"method {name} cannot work here: {lacks[0].what}",
            f"What is missing: {'; '.join(each.what for each in lacks)}.",
            " ".join(each.remedy for each in lacks),
        )
    return Way(method, False, facts, as_caller, has_session)


def _with_session(hierarchy: Hierarchy, call: Context, way: Way, connection: str | None, vacuum: bool) -> Way:
    """Open the second session where it is needed, or of use; without it nothing is online that nobody asked for."""
    is_needed = vacuum or (way.method.is_online and not way.is_automatic)
    is_useful = way.has_session and (
        way.method.is_online or any(clustering.order(hierarchy, table) is None for table in hierarchy.tables)
    )
    has_session = is_needed or is_useful
    if call.mode != execute.DRY_RUN and has_session:
        try:
            remote.open_session(call, connection, as_caller=way.as_caller and way.method.is_online)
            if way.method.name == plan.SQUEEZE:
                remote.set_parameter("squeeze.max_xlock_time", str(call.lock_timeout_ms))
        except errors.NoSecondSession:
            if is_needed:
                raise
            has_session = False
        execute.commit(call)
    method = way.method if has_session or not way.method.is_online else plan.automatic(way.facts, has_session)
    return way._replace(method=method, has_session=has_session)


def _create_indexes(hierarchy: Hierarchy, call: Context, connection: str | None, ends: float) -> None:
    """The indexes of the orders that have none, leaf by leaf, as far as the time allows; the next call goes on."""
    for table in hierarchy.tables:
        definition = plan_order.wanted_index(hierarchy, table)
        if definition is None or clustering.order(hierarchy, table) is not None:
            continue
        if time.monotonic() > ends:
            break
        change = Alteration("cluster", table.oid, call.mode == execute.DRY_RUN, opened=(hierarchy, call))
        wanted = Wanted(naming.derived_name(table.name, INDEX_PURPOSE), definition.text, is_unique=False)
        database.notice(
            f"{table.identifier} has no index for its order: {Identifier(wanted.name)} is built; choose one by"
            " dp.set_cluster_order, or call with create_index => false, to have none made"
        )
        try:
            concurrently.build(change, catalog_online.parts(table.oid), wanted, connection)
        except errors.TimeIsOver:
            execute.abandon_step(call)
            break


def _print_commands(hierarchy: Hierarchy, call: Context, way: Way, asked: Asked) -> None:
    """What a program outside of the server does is printed, by whatever call."""
    printed = call._replace(mode=execute.DRY_RUN, owner=None)
    count = 0
    for disorder, leaf, index in disordered(hierarchy, call, asked):
        why = plan.obstacle(way.method, leaf)
        if why is not None:
            database.notice(f"{leaf.identifier}, disordered {disorder:.1f} times, is left out: {why}")
            continue
        execute.execute([plan.outside_step(leaf, index, way.facts, asked.vacuum)], printed)
        count += 1
    database.notice(f"{count} leaves of {call.root_name} are to be ordered: the commands are in dp.last_plan")
