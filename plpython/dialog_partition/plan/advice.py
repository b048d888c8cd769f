"""What to say about a query: how much of each table it reads, what its conditions lack, and what to add."""

from __future__ import annotations

from typing import NamedTuple

from .. import keys
from ..model import Hierarchy, Table
from ..sql import SQL, Identifier, names
from . import advice_lookups
from .query_conditions import ARRAY, EQUAL, EXPRESSION, LOWER, OTHER, UPPER, Column
from .query_plan import QueryPlan
from .reading import MISSING, RANGE, Binding, Reading, readings

ONE_LEAF, PRUNED, PRUNED_LATE, ALL_LEAVES, NO_LEAF = (
    "one leaf",
    "pruned",
    "pruned at run time",
    "all leaves",
    "no leaf",
)
MISSING_KEY, LATE_KEYS, ONE_SIDED, EXPRESSION_OVER_KEY, NO_SLICE_KEY, RANGE_KEY_ORDER = (
    "missing key",
    "keys read in the same statement",
    "one-sided range",
    "expression over a key",
    "range key without slice key",
    "order by the range key alone",
)

_TOLD = {
    EQUAL: "is bound to one value",
    ARRAY: "is bound to a list of values",
    RANGE: "is bound from both sides",
    LOWER: "is bound from below only",
    UPPER: "is bound from above only",
    OTHER: "is compared, but not bound",
    EXPRESSION: "is hidden in an expression",
    MISSING: "is not mentioned",
}


class Advice(NamedTuple):
    """One thing to say about a table in a query."""

    tbl: str
    alias: str
    finding: str
    detail: str
    advice: str | None = None
    leaves_scanned: int | None = None
    leaves: int | None = None


def of_readings(
    plan: QueryPlan,
    hierarchies: dict[int, Hierarchy],
    identities: dict[int, tuple[str, ...]],
    sides: frozenset[int],
) -> list[Advice]:
    """What to say about each table for itself.

    ``identities``: primary keys without the partition keys; ``sides``: the side tables that the plan reads.
    """
    found = []
    all_readings = readings(plan, hierarchies)
    for each in all_readings:
        others = [other for other in all_readings if other.hierarchy is each.hierarchy and other.alias != each.alias]
        found.append(_summary(each, plan))
        lookup = advice_lookups.instead_of_side_table(each, sides)
        if lookup is not None:
            found.append(_late_keys(each, lookup))
        else:
            found += _of_keys(each, others, identities.get(each.table.oid, ()))
        found += _of_order(each, plan)
    return found


def unread(table: Table, hierarchy: Hierarchy) -> Advice:
    """A table that the query names and of which nothing is read: its conditions contradict all bounds."""
    leaves = sum(max(len(each.remainders), 1) for each in hierarchy.slices[table.oid])
    detail = "The planner has found that its conditions fit no leaf."
    return Advice(table.identifier.text, table.name, NO_LEAF, detail, None, 0, leaves)


def _about(reading: Reading, finding: str, detail: str, advice: str | None = None) -> Advice:
    return Advice(
        reading.table.identifier.text,
        reading.alias,
        finding,
        detail,
        advice,
        reading.expected_leaves,
        reading.all_leaves,
    )


def _summary(reading: Reading, plan: QueryPlan) -> Advice:
    """How many leaves, and by what."""
    planned, expected = len(reading.leaves), reading.expected_leaves
    is_late = expected < planned or any(
        each.is_late and each.kind in (EQUAL, ARRAY, RANGE, LOWER, UPPER)
        for each in (reading.range_binding, reading.hash_binding)
    )
    if expected == 1:
        finding = ONE_LEAF
    elif is_late or plan.removed:
        finding = PRUNED_LATE
    else:
        finding = PRUNED if planned < reading.all_leaves else ALL_LEAVES
    detail = (
        f"Planned: {planned} of {reading.all_leaves} leaves, in {len(reading.slices)} of {reading.all_slices} slices"
    )
    if expected < planned:
        detail += f"; read when it runs, by values that are known only then: {expected}"
    elif plan.removed:
        detail += f"; {plan.removed} more of the statement were put aside when it began to run"
    elif is_late:
        detail += "; how many of them are read is known when it runs"
    told = [_bound(name, reading.binding(name)) for name in _mentioned(reading)]
    return _about(reading, finding, f"{detail}. {'; '.join(told)}.")


def _mentioned(reading: Reading) -> list[str]:
    """The keys that conditions of the table may bind."""
    policy = reading.hierarchy.policy
    own = [policy.range_key] if reading.has_own_range_key else []
    return [*own, *policy.partition_keys]


def _bound(name: str, binding: Binding) -> str:
    late = " when the query runs" if binding.is_late and binding.kind in (EQUAL, ARRAY, RANGE) else ""
    return f"{Identifier(name)} {_TOLD[binding.kind]}{late}"


def _of_keys(reading: Reading, others: list[Reading], identity: tuple[str, ...]) -> list[Advice]:
    found: list[Advice] = []
    if reading.expected_leaves <= 1:
        return found
    policy = reading.hierarchy.policy
    lookup = advice_lookups.without_keys(reading, identity)
    if lookup is not None:
        detail = f"The rows are asked for by their identity alone: no condition binds {names(policy.partition_keys)}."
        if others:
            detail += " dp.create_joined_lookup makes a function of a query of several tables."
        return [_about(reading, MISSING_KEY, detail, lookup)]
    if reading.expected_slices > 1:
        found += _of_range(reading, others)
    if policy.hash_key is not None and reading.expected_leaves > reading.expected_slices:
        binding = reading.hash_binding
        if binding.kind in (MISSING, OTHER):
            found.append(_missing(reading, policy.hash_key, others))
        elif binding.kind == EXPRESSION:
            detail = f"Pruning needs {Identifier(policy.hash_key)} itself, compared with a value."
            advice = f"AND {reading.column(policy.hash_key)} = ..."
            found.append(_about(reading, EXPRESSION_OVER_KEY, detail, advice))
    return found


def _late_keys(reading: Reading, lookup: str) -> Advice:
    """A join with the side table: the planner cannot know yet what will be found there."""
    detail = (
        "The keys come from the side table of a global index, which is read in the same statement: all"
        f" {len(reading.leaves)} leaves are planned, and locked, before they are known."
    )
    return _about(reading, LATE_KEYS, detail, f"{lookup} (or read the keys first, and name them as values)")


def _of_range(reading: Reading, others: list[Reading]) -> list[Advice]:
    """What the first level lacks."""
    name, binding = reading.range_column, reading.range_binding
    if binding.kind in (EQUAL, ARRAY, RANGE):
        return []
    if reading.has_own_range_key:
        by_range_key = reading.binding(reading.hierarchy.policy.range_key)
        if by_range_key.kind in (EQUAL, ARRAY, RANGE, LOWER, UPPER):
            if by_range_key.is_late:
                return [_without_slice_key(reading)]
            if by_range_key.kind not in (LOWER, UPPER):
                return []  # the CHECK of each slice prunes
            name, binding = reading.hierarchy.policy.range_key, by_range_key
        elif by_range_key.kind == EXPRESSION and binding.kind == MISSING:
            name, binding = reading.hierarchy.policy.range_key, by_range_key
    if binding.kind in (LOWER, UPPER):
        side, sign = ("above", "<") if binding.kind == LOWER else ("below", ">=")
        detail = f"All slices on the open side of {Identifier(name)} are read, newer ones as they come."
        return [_about(reading, ONE_SIDED, detail, f"AND {reading.column(name)} {sign} ... (a bound from {side})")]
    if binding.kind == EXPRESSION:
        detail = f"Pruning needs {Identifier(name)} itself, compared with a value, not an expression of it."
        advice = f"AND {reading.column(name)} >= ... AND {reading.column(name)} < ..."
        return [_about(reading, EXPRESSION_OVER_KEY, detail, advice)]
    return [_missing(reading, name, others)]


def _without_slice_key(reading: Reading) -> Advice:
    """A range key whose value is known too late for the CHECKs of the slices: they exclude when a query is planned."""
    policy = reading.hierarchy.policy
    assert policy.bucket is not None
    value = keys.bucket_expression(SQL("..."), reading.hierarchy.range_type, policy.bucket, policy.time_zone)
    detail = (
        f"A value of {Identifier(policy.range_key)} that is known only when the query runs prunes nothing:"
        f" {Identifier(reading.range_column)} does."
    )
    by_range = reading.binding(policy.range_key).kind
    signs = {EQUAL: ("=",), LOWER: (">=",), UPPER: ("<=",), ARRAY: (">=", "<=")}.get(by_range, (">=", "<="))
    advice = "".join(f" AND {reading.column(reading.range_column)} {sign} {value}" for sign in signs)
    return _about(reading, NO_SLICE_KEY, detail, advice.strip())


def _missing(reading: Reading, name: str, others: list[Reading]) -> Advice:
    """A key that no condition binds: from where it may come."""
    by_level = "slices" if name == reading.range_column else "leaves of a slice"
    detail = f"No condition binds {Identifier(name)}, so all {by_level} are read."
    other = next((each for each in others if each.binding(name).kind in (EQUAL, ARRAY, RANGE)), None)
    if other is not None:
        advice = f"AND {reading.column(name)} = {other.column(name)}"
        if other.binding(name).kind == RANGE:  # bounds do not follow from an equality, as values do
            advice += f" AND {reading.column(name)} >= ... AND {reading.column(name)} < ..."
        return _about(reading, MISSING_KEY, detail, advice)
    if name == reading.hierarchy.policy.hash_key:
        return _about(reading, MISSING_KEY, detail, f"AND {reading.column(name)} = ...")
    advice = f"AND {reading.column(name)} >= ... AND {reading.column(name)} < ..."
    return _about(reading, MISSING_KEY, detail, advice)


def _of_order(reading: Reading, plan: QueryPlan) -> list[Advice]:
    """In the slice form the slices are in the order of the slice key; that the range key follows it nobody knows."""
    if not reading.has_own_range_key or reading.expected_slices <= 1:
        return []
    range_key = Column(reading.alias, reading.hierarchy.policy.range_key)
    for order in plan.orders:
        aliases = {scan.alias for scan in order.scans}
        if order.columns and order.columns[0] == range_key and reading.alias in aliases:
            detail = (
                "The rows of all slices are put in order before the first is given: with the slice key in front the"
                " slices are read one after the other, and no more than the LIMIT needs."
            )
            first, second = reading.column(reading.range_column), reading.column(range_key.name)
            advice = f"ORDER BY {first} DESC, {second} DESC (or both ASC)"
            return [_about(reading, RANGE_KEY_ORDER, detail, advice)]
    return []
