"""The default slice: keeping new slices from scanning it, and moving its rows out."""

from __future__ import annotations

from typing import NamedTuple

from .. import keys, naming
from ..model import Hierarchy, Slice, SliceSpec, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, names
from . import slices as plan_slices
from . import trees
from .properties import Properties
from .structure import ENABLED_WORDS

EXCLUDES = "dp_excludes_"


class DefaultFacts(NamedTuple):
    """What must be known of a table's default slice before its rows are moved."""

    columns: tuple[str, ...]  # that can be inserted
    triggers: tuple[tuple[Identifier, str, str], ...]  # the users' enabled triggers: slice or leaf, name, how enabled
    exclusions: tuple[tuple[str, bool], ...]  # CHECKs of ours: name, valid
    forces_row_security: bool


def condition(table: Table, spec: SliceSpec) -> SQL:
    """``"ContentUpdatedAt" >= ... AND "ContentUpdatedAt" < ...``."""
    assert spec.lower is not None and spec.upper is not None
    key_type = str(table.partition_type)
    return compose(
        "{key} >= {lower} AND {key} < {upper}",
        key=Identifier(str(table.partition_column)),
        lower=keys.typed_literal(spec.lower.point, key_type),
        upper=keys.typed_literal(spec.upper.point, key_type),
    )


def exclusion_name(spec: SliceSpec) -> str:
    """The name of the CHECK that says a default slice has no rows of a range."""
    return naming.shorten(EXCLUDES + spec.suffix, naming.MAX_BYTES)


def exclusion_steps(hierarchy: Hierarchy, spec: SliceSpec, facts: dict[int, DefaultFacts]) -> list[Step]:
    """Say and prove, before a slice is created, that the default slices hold nothing of it.

    The proof reads the default slice without blocking writers, and PostgreSQL then need not read it under the ACCESS
    EXCLUSIVE lock under which it attaches the slice.
    """
    steps = []
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is None:
            continue
        name = exclusion_name(spec)
        valid = dict(facts[table.oid].exclusions).get(name)
        key = Identifier(str(table.partition_column))
        assert spec.lower is not None and spec.upper is not None
        check = compose(
            "CHECK ({key} < {lower} OR {key} >= {upper}) NOT VALID",
            key=key,
            lower=keys.typed_literal(spec.lower.point, str(table.partition_type)),
            upper=keys.typed_literal(spec.upper.point, str(table.partition_type)),
        )
        if valid is None:
            add = compose("ALTER TABLE {} ADD CONSTRAINT {} {}", default.identifier, Identifier(name), check)
            steps.append(_default_step(default, add, ACCESS_EXCLUSIVE))
        if not valid:
            validate = compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", default.identifier, Identifier(name))
            steps.append(_default_step(default, validate, SHARE_UPDATE_EXCLUSIVE))
    return steps


def exclusion_end_steps(hierarchy: Hierarchy, spec: SliceSpec) -> list[Step]:
    """The slice exists, so that the default slice's own bound says the same: the CHECK can go."""
    return [
        _drop_exclusion(default, exclusion_name(spec))
        for default in (hierarchy.default_slice(table) for table in hierarchy.tables)
        if default is not None
    ]


def leftover_steps(hierarchy: Hierarchy, specs: list[SliceSpec], facts: dict[int, DefaultFacts]) -> list[Step]:
    """CHECKs of a call that was interrupted, for slices that are not about to be created."""
    needed = {exclusion_name(spec) for spec in specs if not spec.is_default}
    steps = []
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None:
            steps += [_drop_exclusion(default, name) for name, _ in facts[table.oid].exclusions if name not in needed]
    return steps


def _drop_exclusion(default: Slice, name: str) -> Step:
    drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", default.identifier, Identifier(name))
    return _default_step(default, drop, ACCESS_EXCLUSIVE)


def _default_step(default: Slice, statement: Composable, lock: str) -> Step:
    locks = 2 * (1 + len(default.remainders))
    return Step((Operation(default.identifier, statement, lock, (default.oid,), locks),))


def renewal_operations(default: Slice) -> list[Operation]:
    """Make every session learn anew, after an attach, which rows the leaves of a default slice may hold.

    PostgreSQL tells them of the default slice alone. A session that has seen its leaves before would leave a row there
    whose key it changes to one of the new slice, where no query looks for it.
    """
    if not default.is_partitioned:
        return []
    name = Identifier(EXCLUDES + "nothing")
    actions = (compose("ADD CONSTRAINT {} CHECK (true) NOT VALID", name), compose("DROP CONSTRAINT {}", name))
    statements = [compose("ALTER TABLE {} {}", default.identifier, action) for action in actions]
    return [operation for each in statements for operation in _default_step(default, each, ACCESS_EXCLUSIVE).operations]


def drain_step(
    hierarchy: Hierarchy,
    spec: SliceSpec,
    tables: list[Table],
    properties: dict[int, Properties],
    facts: dict[int, DefaultFacts],
) -> Step:
    """Move the rows of one slice out of some tables' default slices, in one transaction.

    Until it commits, every row is where it was; afterwards, where it belongs. Children's rows leave first, so that no
    foreign key acts; then the filled slices are attached, the root's first, which checks their foreign keys. Triggers
    of users do not fire: no row changes, it only lives elsewhere.

    Whoever waits must wait for the parent, not for its default slice: a statement that has locked the parent knows its
    partitions, and would not look into the new one when it goes on. So writers are kept out by a lock on the parents
    while rows move, and readers while slices are attached.
    """
    present = [(table, default) for table, default in _defaults(hierarchy) if table in tables]
    operations: list[Operation] = []
    for table, _ in present:
        operations += plan_slices.aside_operations(hierarchy, table, properties[table.oid], spec)
    forced = any(facts[table.oid].forces_row_security for table, _ in present)  # to end that locks out readers
    operations.append(_lock_parents(present, ACCESS_EXCLUSIVE if forced else SHARE_ROW_EXCLUSIVE))
    operations.append(_lock_defaults(present))
    # the events of deferred foreign keys would stand in the way of what follows
    operations.append(Operation(present[0][1].identifier, SQL("SET CONSTRAINTS ALL IMMEDIATE"), locks=0))
    for table, default in present:
        operations += _quiet(table, default, spec, facts[table.oid], properties[table.oid], True)
    for table, default in reversed(present):
        operations.append(_move(table, default, spec, facts[table.oid]))
    if not forced:
        operations.append(_lock_parents(present, ACCESS_EXCLUSIVE))
    for table, default in present:
        operations += _quiet(table, default, spec, facts[table.oid], properties[table.oid], False)
    for table, default in present:
        operations += _attach(hierarchy, table, properties[table.oid], spec, default)
    return Step(tuple(operations), is_atomic=True)


def _defaults(hierarchy: Hierarchy) -> list[tuple[Table, Slice]]:
    found = [(table, hierarchy.default_slice(table)) for table in hierarchy.tables]
    return [(table, default) for table, default in found if default is not None]


def _lock_parents(present: list[tuple[Table, Slice]], lock: str) -> Operation:
    parents: list[SQL] = [compose("ONLY {}", table.identifier) for table, _ in present]
    statement = compose("LOCK TABLE {} IN {} MODE", comma_list(parents), SQL(lock))
    return Operation(present[0][0].identifier, statement, lock, tuple(table.oid for table, _ in present), len(present))


def _lock_defaults(present: list[tuple[Table, Slice]]) -> Operation:
    defaults = [default for _, default in present]
    statement = compose(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", comma_list([default.identifier for default in defaults])
    )
    cost = sum(1 + len(default.remainders) for default in defaults)
    return Operation(
        defaults[0].identifier, statement, SHARE_ROW_EXCLUSIVE, tuple(default.oid for default in defaults), cost
    )


def _move(table: Table, default: Slice, spec: SliceSpec, facts: DefaultFacts) -> Operation:
    aside = Identifier(table.schema, naming.slice_name(table.name, spec.suffix))
    statement = compose(
        "WITH moved AS (DELETE FROM {default} WHERE {condition} RETURNING {columns})"
        " INSERT INTO {aside} ({columns}) SELECT {columns} FROM moved",
        default=default.identifier,
        condition=condition(table, spec),
        columns=names(facts.columns),
        aside=aside,
    )
    return Operation(default.identifier, statement, SHARE_ROW_EXCLUSIVE, (), (1 + len(default.remainders)) * 4)


def _attach(
    hierarchy: Hierarchy, table: Table, properties: Properties, spec: SliceSpec, default: Slice
) -> list[Operation]:
    name = naming.slice_name(table.name, spec.suffix)
    identifier = Identifier(table.schema, name)
    attach = compose(
        "ALTER TABLE {} ATTACH PARTITION {} {}",
        table.identifier,
        identifier,
        plan_slices.bounds_clause(spec, str(table.partition_type)),
    )
    locks, locked = trees.attaching(hierarchy, table, 1 + spec.modulus)
    operations = [Operation(identifier, attach, ACCESS_EXCLUSIVE, (default.oid,), locks, locked)]
    operations += plan_slices.identity_operations(table, identifier, spec.modulus)
    operations += renewal_operations(default)
    leaves = naming.leaf_names(name, spec.modulus) or [name]
    operations += plan_slices.used_index_operations(table, properties, leaves)
    operations += plan_slices.index_name_operations(properties, identifier)
    return operations + plan_slices.guard_operations(table, name, naming.leaf_names(name, spec.modulus))


def _quiet(
    table: Table, default: Slice, spec: SliceSpec, facts: DefaultFacts, properties: Properties, begin: bool
) -> list[Operation]:
    """Keep the users' triggers and forced row security away from rows that only move, and put them back."""
    statements = [
        compose(
            "ALTER TABLE ONLY {} {} TRIGGER {}",
            relation,
            SQL("DISABLE" if begin else ENABLED_WORDS[enabled]),
            Identifier(name),
        )
        for relation, name, enabled in facts.triggers
    ]
    aside = Identifier(table.schema, naming.slice_name(table.name, spec.suffix))
    forced = ((default.identifier, facts.forces_row_security), (aside, properties.force_row_security))
    statements += [
        compose("ALTER TABLE {} {}FORCE ROW LEVEL SECURITY", relation, SQL("NO " if begin else ""))
        for relation, is_forced in forced
        if is_forced
    ]
    return [Operation(default.identifier, statement, SHARE_ROW_EXCLUSIVE) for statement in statements]


def days_query(table: Table, default: Slice, time_zone: str, step: int) -> SQL:
    """Which days (or integer steps) a default slice has rows of; a careful cast keeps wild values text."""
    key = Identifier(str(table.partition_column))
    key_type = str(table.partition_type)
    if keys.is_integer(key_type):
        bucket: Composable = compose("floor({}::numeric / {}) * {}", key, Literal(step), Literal(step))
    elif key_type == "date":
        bucket = key
    else:
        bucket = keys.bucket_expression(key, key_type, keys.DAY, time_zone)
    text = "({})::text" if keys.is_integer(key_type) else "to_char({}, 'YYYY-MM-DD BC')"  # whatever DateStyle there is
    return compose("SELECT DISTINCT {} AS bucket FROM {}", compose(text, bucket), default.identifier)
