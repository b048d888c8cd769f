"""Retention: slices that are old enough are detached, moved, exported, dropped, unless their rows still matter."""

from __future__ import annotations

from typing import NamedTuple

from .. import calendars, database, errors, execute, fragments
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import retention as catalog
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import DETACH, DROP, MOVE, Hierarchy, Slice
from ..operation import merged
from ..plan import detached as plan_detached
from ..plan import lifecycle
from ..plan import retention as plan
from ..sql import Identifier
from . import calls, concurrent_detach, policy, slices, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..catalog.retention import Function
    from ..execute import Context
    from ..plan.detached import DetachedSlice

NONE = "none"  # of retention_grace: there is none
NO_FUNCTION = "-"  # as regprocedure writes it
NOTHING = "false"  # of retention_protect: no row
KEEP = "keep"  # what happens to a slice that waited to be dropped, and need not any more


def check_options(hierarchy: Hierarchy, current: dict[str, Any], wanted: dict[str, Any]) -> None:
    """The parameters of dp.configure that say how carefully slices are dropped; brings them into their stored form."""
    for name, nothing in (("grace", NONE), ("export", NO_FUNCTION), ("protect", NOTHING)):
        if wanted.get(f"retention_{name}") == nothing:
            wanted[f"retention_{name}"] = None
    result = {**current, **wanted}
    for name, nothing in (("retention_grace", NONE), ("retention_export", NO_FUNCTION)):
        if result[name] is not None and result["retention_action"] != DROP:
            raise errors.InvalidParameter.of(
                "retention_action",
                result["retention_action"],
                f"{name} belongs to retention that drops, and is {result[name]}.",
                f"Give retention_action => 'drop', or end it with {name} => '{nothing}'.",
            )
    if wanted.get("retention_grace") is not None:
        width = calendars.parse_width(wanted["retention_grace"], "retention_grace")
        policy.check_width("retention_grace", width, "date", None)
    if wanted.get("retention_export") is not None:
        _export_function(hierarchy, wanted["retention_export"])
    if wanted.get("retention_protect") is not None:
        _check_predicate(hierarchy, wanted["retention_protect"])


def _check_predicate(hierarchy: Hierarchy, predicate: str) -> None:
    """Try it where no row is read."""
    fragments.check("retention_protect", predicate)
    root = hierarchy.root
    query = catalog.condition_query(root.identifier, root.name, f"false AND ({predicate})")
    try:
        with database.subtransaction():
            database.query_once(query.text)
    except database.ServerError as error:
        if database.is_cancel(error) or database.is_lock_timeout(error):
            raise
        raise errors.InvalidParameter.of(
            "retention_protect",
            predicate,
            f"It is a condition on rows of {root.identifier}; {database.describe(error)}.",
            "Write it as behind WHERE; other tables and functions with their schema.",
        ) from None


def refuse_unreadable(hierarchy: Hierarchy) -> None:
    """After a change of columns: maintenance must still be able to ask for protected rows. It is parsed, not run."""
    predicate, root = hierarchy.policy.retention_protect, hierarchy.root
    if predicate is None:
        return
    query = catalog.condition_query(root.identifier, root.name, predicate)
    try:
        with database.subtransaction():
            database.parse(query.text)
    except database.ServerError as error:
        if database.is_cancel(error) or database.is_lock_timeout(error):
            raise
        raise errors.InvalidTableDefinition(
            f"retention_protect of {root.identifier} could not be read any more",
            f"It is {predicate}; {database.describe(error)}. Nothing was changed.",
            "SELECT dp.configure(..., retention_protect => 'false') first, and set it anew afterwards.",
        ) from None


def _export_function(hierarchy: Hierarchy, name: str) -> Function:
    """The function that slices are handed to; only one that the owner, or a superuser, has made."""
    found = catalog.function(name)
    if found is None or not found.fits:
        raise errors.UndefinedFunction(
            f"retention_export names {name}, which is no function of one regclass",
            "Before a slice is dropped, each of its tables is handed to it.",
            "Create it, and name it with SELECT dp.configure(..., retention_export => 'my_export(regclass)').",
        )
    if found.owner != hierarchy.root.owner and not found.is_superusers:
        raise errors.InsufficientPrivilege(
            f"function {found.identifier} belongs to {found.owner}",
            f"It would run with the rights of {hierarchy.root.owner}, who owns {hierarchy.root.identifier}.",
            f"Let {hierarchy.root.owner} own it.",
        )
    return found


def refuse_hooks(hierarchy: Hierarchy) -> None:
    """Predicate and export function are code of the owner, and are not run with the rights of somebody else."""
    named = hierarchy.policy.retention_protect or hierarchy.policy.retention_export
    owner = hierarchy.root.owner
    if named is not None and owner != catalog_server.server().user:
        raise errors.InsufficientPrivilege(
            f"retention of {hierarchy.root.identifier} would run code of {owner} with your rights",
            f"Its policies name {named}.",
            f"Call in a session of {owner}; or, if you trust that code, SET ROLE {Identifier(owner)} first.",
        )


def protection(hierarchy: Hierarchy, relation: Identifier) -> str | None:
    """What protects a slice of the root from retention."""
    predicate = hierarchy.policy.retention_protect
    if predicate is None:
        return None
    refuse_hooks(hierarchy)
    fragments.check("retention_protect", predicate)
    is_protected = catalog.holds_protected(relation, hierarchy.root.name, predicate)
    return f"rows where {predicate}" if is_protected else None


def retire(hierarchy: Hierarchy, each: Slice, call: Context, connection: str | None) -> list[DetachedSlice] | None:
    """Detach, drop or move a slice of the whole hierarchy that is old enough; None: its rows protect it.

    What is detached of all tables and waits to be dropped.
    ``connection``: a second session detaches it CONCURRENTLY; what is to be dropped is dropped afterwards, then.
    """
    if protection(hierarchy, each.identifier) is not None:
        return None
    settings = hierarchy.policy
    drops = settings.retention_action == DROP
    waits = drops and (settings.detaches_before_dropping or connection is not None)
    schema = settings.retention_schema if _moves(hierarchy) else None
    waiting: list[DetachedSlice] = []
    if waits:
        leaves = catalog_slices.leaves([part for _, part in lifecycle.siblings(hierarchy, each.span)])
        waiting = plan.as_detached(hierarchy, each.span, leaves, schema)
    if connection is not None:
        concurrent_detach.detach(hierarchy, each.span, schema, waits, connection, call)
    elif drops and not waits:
        steps = slices.drop(hierarchy, each.span)
        calls.run_in_procedure(merged(steps, call.lock_budget), call)
    else:
        steps = slices.detach(hierarchy, each.span, schema, waits)
        calls.run_in_procedure(merged(steps, call.lock_budget), call)
    return waiting


def _moves(hierarchy: Hierarchy) -> bool:
    return hierarchy.policy.retention_action == MOVE or hierarchy.policy.detaches_before_dropping


def has_due(hierarchy: Hierarchy) -> bool:
    """Whether slices were detached that are now to be dropped."""
    return hierarchy.policy.retention_action == DROP and any(each.is_due for each in catalog.retired(hierarchy))


def due(hierarchy: Hierarchy, waiting: list[list[DetachedSlice]], call: Context) -> list[list[DetachedSlice]]:
    """The slices whose grace period is over; ``waiting``: those that a dry run would have detached."""
    settings = hierarchy.policy
    if settings.retention_action != DROP:
        return []
    found = plan.by_slice(hierarchy, [each.slice for each in catalog.retired(hierarchy) if each.is_due])
    if call.mode == execute.DRY_RUN and settings.retention_grace is None:
        found += waiting
    if found:
        refuse_hooks(hierarchy)
    return found


def drop(hierarchy: Hierarchy, group: list[DetachedSlice], is_there: bool, call: Context) -> None:
    """Export and drop one of these in all tables; ``is_there``: not in a dry run that would have detached it."""
    if is_there and _protection_of(hierarchy, group) is not None:
        return
    steps = []
    if hierarchy.policy.retention_export is not None:
        function = _export_function(hierarchy, hierarchy.policy.retention_export).identifier
        exported = {each.slice.identifier for each in catalog.retired(hierarchy) if each.is_exported}
        steps = [plan.export_step(function, each) for each in group if each.identifier not in exported]
    calls.run_in_procedure([*steps, plan_detached.drop_detached_step(hierarchy, group)], call)


def _protection_of(hierarchy: Hierarchy, group: list[DetachedSlice]) -> str | None:
    """What was no reason when the slice was detached may be one by now."""
    of_root = [each for each in group if each.table == hierarchy.root.oid]
    if not of_root and hierarchy.policy.retention_protect is not None:
        return "its part of the root is not known, and may hold rows that matter"
    return protection(hierarchy, of_root[0].identifier) if of_root else None


class RetentionRow(NamedTuple):
    """One row of dp.retention."""

    slice: str
    lower_bound: str | None
    is_attached: bool
    tables: int
    bytes: int
    action: str
    due: str | None
    is_due: bool
    drop_due: str | None
    protected_by: str | None


def retention(root: int) -> list[RetentionRow]:
    """What retention will do, and when; see sql/functions/retention.sql.j2."""
    hierarchy = catalog_hierarchy.load(root)
    calls.hierarchy_context("retention", hierarchy, execute.DRY_RUN)
    return _waiting_rows(hierarchy) + (_attached_rows(hierarchy) if hierarchy.policy.retention is not None else [])


def _waiting_rows(hierarchy: Hierarchy) -> list[RetentionRow]:
    """What was detached and waits to be dropped."""
    settings = hierarchy.policy
    retired = {each.slice.identifier: each for each in catalog.retired(hierarchy)}
    found = []
    for group in plan.by_slice(hierarchy, [each.slice for each in retired.values()]):
        first = retired[group[0].identifier]
        drops = settings.retention_action == DROP
        protected = _protection_of(hierarchy, group) if drops and first.is_due else None
        found.append(
            RetentionRow(
                group[0].identifier.text,
                group[0].lower_name,
                False,
                len(group),
                sum(catalog.bytes_of(catalog.oids([each.identifier for each in group])).values()),
                DROP if drops else KEEP,
                first.due if drops else None,
                drops and first.is_due and protected is None,
                first.due if drops else None,
                protected,
            )
        )
    return found


def _attached_rows(hierarchy: Hierarchy) -> list[RetentionRow]:
    settings = hierarchy.policy
    attached = hierarchy.range_slices(hierarchy.root)
    expired = {each.oid for each in window.expired(hierarchy)}
    grace = str(settings.retention_grace) if settings.retention_grace is not None else None
    instants = catalog.instants(
        [window.aged_at(each, settings.retention) for each in attached], settings.time_zone, grace
    )
    parts = {each.oid: [part.oid for _, part in lifecycle.siblings(hierarchy, each.span)] for each in attached}
    sizes = catalog.bytes_of([oid for found in parts.values() for oid in found])
    rows = []
    for each, (due, dropped) in zip(attached, instants):
        protected = protection(hierarchy, each.identifier) if each.oid in expired else None
        if each is attached[-1]:
            protected = "it is the last slice"
        lower = (
            each.lower.local.isoformat(sep=" ") if each.lower and each.lower.local else each.lower and each.lower.point
        )
        rows.append(
            RetentionRow(
                each.identifier.text,
                None if lower is None else str(lower).replace(" 00:00:00", ""),
                True,
                len(parts[each.oid]),
                sum(sizes.get(oid, 0) for oid in parts[each.oid]),
                DETACH if settings.detaches_before_dropping else settings.retention_action,
                due,
                each.oid in expired and protected is None,
                dropped if settings.retention_action == DROP else None,
                protected,
            )
        )
    return rows
