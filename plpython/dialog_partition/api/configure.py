"""configure: the policies of a hierarchy."""

from __future__ import annotations

from .. import calendars, database, errors, execute
from ..catalog import hierarchy as catalog_hierarchy
from ..operation import Operation, Step
from ..plan import declare as plan
from . import calls, following, policy, retention

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..model import Hierarchy
    from ..printing import PlanRow

ENDLESS = "infinity"


def configure(root: int, dry_run: bool, **options: Any) -> list[PlanRow]:
    """Change policies; see sql/functions/configure.sql.j2."""
    hierarchy = catalog_hierarchy.load(root)
    calls.check_owner(hierarchy)
    wanted = {name: value for name, value in options.items() if value is not None}
    for name in ("retention", "start"):
        if wanted.get(name) == ENDLESS:
            wanted[name] = None
    current = _current(root)
    retention.check_options(hierarchy, current, wanted)
    policy.check_lookup_slices(wanted.get("lookup_slices", 0))
    policy.check_policy({**current, **wanted}, hierarchy.range_type, hierarchy.policy.hash_key)
    _check_durations(wanted)
    _check_default_slice(hierarchy, wanted)
    changes = _changes(current, wanted)
    if not changes:
        return calls.nothing_to_do(f"{hierarchy.root.identifier} has these policies already")
    call = calls.hierarchy_context("configure", hierarchy, execute.mode_of(dry_run, False))
    statement = plan.configure_statement(hierarchy.root, changes)
    operations = [Operation(hierarchy.root.identifier, statement)]
    if "lookup_slices" in changes:
        slices = changes["lookup_slices"]
        operations += following.new_slices(hierarchy._replace(policy=hierarchy.policy._replace(lookup_slices=slices)))
    return calls.run_in_function([Step(tuple(operations))], call)


def _current(root: int) -> dict[str, Any]:
    rows = database.query(
        "SELECT key_form, bucket, slice, hash_partitions, premake, start, retention, retention_action,"
        " retention_schema, time_zone, default_slice, lock_timeout::text, analyze_interval::text, log_retention::text,"
        " propagate_ddl, lookup_slices, retention_grace, retention_export, retention_protect"
        " FROM dp.hierarchy_config WHERE root = $1",
        ("oid",),
        (root,),
    )
    if not rows:
        catalog_hierarchy.load(root)  # tells that it is gone
    return rows[0]


def _changes(current: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What differs, in the form in which it is stored."""
    stored = dict(wanted)
    for name in ("slice", "retention", "retention_grace"):
        if stored.get(name) is not None:
            stored[name] = str(calendars.parse_width(stored[name], name))
    return {
        name: value
        for name, value in stored.items()
        if value != current[name] and not (name in policy.LONGEST_DURATIONS and _is_same_duration(value, current[name]))
    }


def _is_same_duration(one: str, other: str) -> bool:
    rows = database.query("SELECT $1::interval = $2::interval AS same", ("text", "text"), (one, other))
    return bool(rows[0]["same"])


def _check_durations(wanted: dict[str, Any]) -> None:
    for name in policy.LONGEST_DURATIONS:
        if name in wanted:
            policy.check_duration(name, wanted[name])


def _check_default_slice(hierarchy: Hierarchy, wanted: dict[str, Any]) -> None:
    if wanted.get("default_slice") is False and hierarchy.default_slice(hierarchy.root) is not None:
        raise errors.NotInPrerequisiteState(
            f"{hierarchy.root.identifier} has a default slice",
            "The configuration cannot say that there is none while the tables have one.",
            "Drain it with CALL dp.drain_default(...), then drop it in every table, children first.",
        )
