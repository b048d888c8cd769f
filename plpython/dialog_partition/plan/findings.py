"""What is wrong with a hierarchy, judged from what was read; each finding names the statement that mends it."""

from __future__ import annotations

from ..model import Hierarchy, Slice, SliceSpec, Table
from ..sql import SQL, Identifier, Literal, compose
from . import (
    findings_foundation,
    findings_global,
    findings_jobs,
    findings_names,
    findings_owner,
    findings_server,
    findings_views,
)
from . import foreign_keys as plan_keys
from .detached import attach_call
from .difference import OWNER, SYNC, TEMPLATE
from .finding import ERROR, SEVERITIES, WARNING, Facts, Finding

PAST, CURRENT, AHEAD = "past", "current", "ahead"


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """All findings of one hierarchy, the worst first."""
    found = [
        *_missing_slices(hierarchy, facts),
        *_siblings(hierarchy, facts),
        *_leaves(hierarchy),
        *_default(hierarchy, facts),
        *_keys(hierarchy, facts),
        *_objects(hierarchy, facts),
        *_drift(hierarchy, facts),
        *_policies(hierarchy, facts),
        *_statistics(hierarchy, facts),
        *findings_foundation.findings(hierarchy, facts),
        *findings_global.findings(hierarchy, facts),
        *findings_owner.findings(hierarchy, facts),
        *findings_views.findings(facts),
        *findings_names.findings(hierarchy, facts),
        *findings_server.findings(hierarchy, facts),
        *findings_jobs.findings(hierarchy, facts),
        *_history(hierarchy, facts),
    ]
    return sorted(found, key=lambda each: SEVERITIES.index(each.severity))


def _maintain(hierarchy: Hierarchy) -> str:
    return f"CALL dp.run_maintenance({Literal(hierarchy.root.identifier.text)})"


def _synchronise(hierarchy: Hierarchy) -> str:
    return f"CALL dp.sync({Literal(hierarchy.root.identifier.text)})"


def _missing_slices(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    root = hierarchy.root.identifier
    found = []
    together: dict[str, list[SliceSpec]] = {}  # one row for all that the next run makes
    for spec in facts.expected.missing:
        assert spec.lower is not None and spec.upper is not None
        when = _when(facts, spec.lower.point, spec.upper.point)
        standing = [facts.expected.standing(table, spec.lower.point) for table in hierarchy.tables]
        by_hand = next((each for each in standing if each is not None), None)
        if by_hand is None:
            together.setdefault(when, []).append(spec)
        else:
            what = f"{by_hand.identifier} was detached by somebody"
            found.append(_missing(hierarchy, when, what, attach_call(root, by_hand)))
    for when, specs in together.items():
        what = f"No slice {specs[0].suffix}" if len(specs) == 1 else f"{len(specs)} slices are missing: {_runs(specs)}"
        found.append(_missing(hierarchy, when, what, _maintain(hierarchy)))
    for each in facts.expected.detached:
        when = _when(facts, each.lower_point, each.upper_point)
        what = f"{each.identifier} was detached"
        found.append(_missing(hierarchy, when, what, attach_call(root, each)))
    far = facts.expected.beyond_gap
    if far is not None:
        text = (
            "Rows are in a slice beyond a gap: it counts neither for the slices that are kept ahead nor for retention."
            " Move wild values away, or fill the gap with dp.create_slices."
        )
        found.append(Finding(WARNING, "rows beyond a gap", far.identifier.text, text, None))
    return found


def _runs(specs: list[SliceSpec]) -> str:
    """The names of slices, neighbours as ``first to last``."""
    runs: list[list[SliceSpec]] = []
    for spec in specs:
        if runs and runs[-1][-1].upper == spec.lower:
            runs[-1].append(spec)
        else:
            runs.append([spec])
    return ", ".join(run[0].suffix if len(run) == 1 else f"{run[0].suffix} to {run[-1].suffix}" for run in runs)


def _when(facts: Facts, lower: int | None, upper: int | None) -> str:
    """Where a slice lies, by the clock."""
    now = facts.current_point
    if now is None or (lower is not None and lower > now):
        return AHEAD
    return PAST if upper is not None and upper <= now else CURRENT


def _missing(hierarchy: Hierarchy, when: str, what: str, statement: str) -> Finding:
    root = hierarchy.root.identifier.text
    if when == PAST:
        text = f"{what}: rows of that time cannot be stored, or go to the default slice."
        return Finding(WARNING, "gap", root, text, statement)
    if when == CURRENT:
        text = f"{what}: rows of now cannot be stored, or go to the default slice."
        return Finding(ERROR, "missing current slice", root, text, statement)
    text = f"{what}: {hierarchy.policy.premake} slices shall be ahead."
    return Finding(WARNING, "missing future slice", root, text, statement)


def _siblings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    of_root = {each.span: each for each in hierarchy.slices[hierarchy.root.oid]}
    for table in hierarchy.tables[1:]:
        own = {each.span: each for each in hierarchy.slices[table.oid]}
        found += [_missing_sibling(hierarchy, facts, table, each) for span, each in of_root.items() if span not in own]
        target = table.identifier.text
        for span, each in own.items():
            if span not in of_root:
                found.append(_unequal_bounds(hierarchy, facts, table, each))
            elif each.modulus != of_root[span].modulus:
                text = (
                    f"{each.identifier} has {each.modulus} leaves, the root's slice has {of_root[span].modulus}:"
                    " that slice is not joined leaf by leaf."
                )
                found.append(Finding(WARNING, "unequal modulus", target, text, None))
    return found


def _missing_sibling(hierarchy: Hierarchy, facts: Facts, table: Table, each: Slice) -> Finding:
    target = table.identifier.text
    text = f"{each.identifier} has no sibling in {target}: rows of that range cannot be stored or moved there."
    name = "default slice in some tables only" if each.is_default else "missing slice in child"
    statement = _maintain(hierarchy)
    by_hand = facts.expected.standing(table, each.span[0]) if not each.is_default else None
    if by_hand is not None:
        text += f" {by_hand.identifier} is there, which somebody detached."
        statement = attach_call(hierarchy.root.identifier, by_hand)
    return Finding(ERROR, name, target, text, statement)


def _unequal_bounds(hierarchy: Hierarchy, facts: Facts, table: Table, each: Slice) -> Finding:
    target = table.identifier.text
    text = f"{each.identifier} has other bounds than every slice of the root; joins are not partition-wise."
    statement = f"ALTER TABLE {target} DETACH PARTITION {each.identifier}"
    of_root = facts.expected.standing(hierarchy.root, each.span[0])
    if of_root is not None:
        text = f"{each.identifier} has no sibling in the root: {of_root.identifier} is there, which somebody detached."
        statement = attach_call(hierarchy.root.identifier, of_root)
    return Finding(ERROR, "unequal bounds", target, text, statement)


def _leaves(hierarchy: Hierarchy) -> list[Finding]:
    found = []
    for table in hierarchy.tables:
        for each in hierarchy.slices[table.oid]:
            target = each.identifier.text
            if each.missing_remainders:
                remainders = ", ".join(str(remainder) for remainder in each.missing_remainders)
                text = f"Hash partitions {remainders} of {each.modulus} are missing: their rows cannot be stored."
                found.append(Finding(ERROR, "missing leaf", target, text, _maintain(hierarchy)))
            elif each.is_partitioned and not each.modulus:
                text = "The slice has no leaves: rows of it cannot be stored."
                found.append(Finding(ERROR, "missing leaf", target, text, None))
            if each.detach_pending:
                statement = compose("ALTER TABLE {} DETACH PARTITION {} FINALIZE", table.identifier, each.identifier)
                text = "A DETACH CONCURRENTLY was interrupted; queries see the slice no more, writes are refused."
                found.append(Finding(WARNING, "pending detach", target, text, statement.text))
    return found


def _default(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    holding = dict(facts.rows_in_default)
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None and table.oid in holding:
            text = "Rows are in the default slice: no slice can be created for their time, and they are never retired."
            statement = (
                f"CALL dp.drain_default({Literal(hierarchy.root.identifier.text)})" if holding[table.oid] else None
            )
            if statement is None:
                text += " They lie outside the range that maintenance keeps: dp.drain_default takes them with bounds."
            found.append(Finding(WARNING, "rows in default", default.identifier.text, text, statement))
    if hierarchy.policy.default_slice and hierarchy.default_slice(hierarchy.root) is None:
        target = hierarchy.root.identifier.text
        text = "The configuration wants a default slice."
        found.append(Finding(WARNING, "missing default slice", target, text, _maintain(hierarchy)))
    return found


def _keys(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    early = plan_keys.checked_too_early(hierarchy)
    for key in hierarchy.foreign_keys:
        table = hierarchy.table(key.child).identifier
        if key.on_update != "c" or not set(hierarchy.policy.partition_keys) <= set(key.columns):
            text = f'Foreign key "{key.name}" does not carry the partition keys ON UPDATE CASCADE: rows cannot follow.'
            root = Literal(hierarchy.table(key.parent).identifier.text)
            statement = f"SELECT * FROM dp.register_child({Literal(table.text)}, {root})"
            found.append(Finding(ERROR, "foreign key does not cascade", table.text, text, statement))
        elif (key.child, key.name) in early and not key.is_deferred:
            text = f'Foreign key "{key.name}" is checked before its parent has moved: a change of the keys fails.'
            alter = compose(
                "ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED", table, Identifier(key.name)
            )
            found.append(Finding(ERROR, "foreign key checked too early", table.text, text, alter.text))
    for managed in hierarchy.tables[1:]:
        if not hierarchy.parents(managed):
            text = "No foreign key ties the table to the hierarchy: orphans are accepted, and rows do not follow."
            found.append(Finding(ERROR, "no foreign key", managed.identifier.text, text, None))
    for target, column, what in facts.key_differences:
        text = f'Key column "{column}" is {what}: joins with the root are not partition-wise.'
        found.append(Finding(ERROR, "key column differs", target, text, None))
    for child, name, partition in facts.keys_to_partitions:
        text = f'Foreign key "{name}" points to the partition {partition}: rows that refer to a moving row are lost.'
        drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", SQL(child), Identifier(name))
        found.append(Finding(ERROR, "foreign key to a partition", child, text, drop.text))
    for child, name in facts.pending_keys:
        text = f'Foreign key "{name}" was let go when its parent was made anew, and waits for dp.register_child.'
        found.append(Finding(WARNING, "foreign key waiting", child, text, None))
    return found


def _objects(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    for index, table, is_partitioned in facts.invalid_indexes:
        text = f"Index {index} is invalid: an unfinished concurrent build, or a partition lacks its part of it."
        statement = _synchronise(hierarchy) if is_partitioned else f"REINDEX INDEX CONCURRENTLY {index}"
        found.append(Finding(ERROR, "invalid index", table, text, statement))
    for schema, name, constraint in facts.invalid_constraints:
        relation = Identifier(schema, name)
        validate = compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", relation, Identifier(constraint))
        text = f'Constraint "{constraint}" is NOT VALID: old rows may break it, and the planner does not use it.'
        found.append(Finding(WARNING, "constraint not valid", relation.text, text, validate.text))
    for managed in hierarchy.tables:
        if managed.template is None:
            text = "The table has no template: new leaves get no storage parameters."
            found.append(Finding(WARNING, "missing template", managed.identifier.text, text, _synchronise(hierarchy)))
    return found


def _drift(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    for table, differences in facts.drift:
        others = [each for each in differences if each.aspect not in (OWNER, TEMPLATE)]
        for each in differences:
            if each.aspect == OWNER:
                text = f"The partition belongs to {each.actual}, its table to {each.expected}."
                found.append(Finding(WARNING, "other owner", each.relation.text, text, each.statement))
        if others:
            relations = len({each.relation for each in others})
            aspects = ", ".join(sorted({each.aspect for each in others}))
            text = f"{relations} relations differ from what parent and template say, in {aspects}: see dp.drift."
            can_be_mended = any(each.statements and each.mended_by == SYNC for each in others)
            statement = _synchronise(hierarchy) if can_be_mended else None
            found.append(Finding(WARNING, "drift", table.identifier.text, text, statement))
    return found


def _policies(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    leaves = facts.expected.late_leaves
    if not leaves:
        return []
    text = f"{leaves} leaves lack what a policy asks for at their age, for more than a day: see dp.ageing and dp.log."
    return [Finding(WARNING, "policy not applied", hierarchy.root.identifier.text, text, _maintain(hierarchy))]


def _statistics(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    text = "The partitioned table was never analysed, and autovacuum does not: joins are planned without statistics."
    return [
        Finding(WARNING, "never analysed", table.identifier.text, text, f"ANALYZE {table.identifier}")
        for table in hierarchy.tables
        if table.oid in facts.never_analysed
    ]


def _history(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    if facts.last_failure is None:
        return []
    root = hierarchy.root.identifier.text
    return [Finding(WARNING, "last maintenance failed", root, facts.last_failure, _maintain(hierarchy))]
