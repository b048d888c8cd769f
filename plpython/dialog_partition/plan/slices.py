"""The operations and steps that create slices and their leaves."""

from __future__ import annotations

from .. import keys, naming
from ..model import Hierarchy, SliceSpec, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step, split
from ..sql import SQL, Composable, Identifier, Literal, compose
from . import keeping, locking, trees
from . import properties as leaf_properties
from .coverage import missing_in
from .properties import Properties

COPIED = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION"
UNFINISHED = "dialog_partition: a slice that is being built, and not attached yet"  # a comment, until it is attached
ASIDE_LOCKS = 4  # of a relation that has no indexes yet: itself, its TOAST table, the index of that, its type


def missing_leaf_steps(hierarchy: Hierarchy, properties: dict[int, Properties], lock_budget: int) -> list[Step]:
    """Steps that create hash partitions that existing slices lack."""
    steps: list[Step] = []
    for table in hierarchy.tables:
        for each in hierarchy.slices[table.oid]:
            if each.is_partitioned and each.missing_remainders and not each.detach_pending:
                operations = locking.lock_tables(each.identifier, hierarchy.parents(table), SHARE_ROW_EXCLUSIVE)
                operations += [
                    operation
                    for remainder in each.missing_remainders
                    for operation in leaf_operations(
                        table, properties[table.oid], each.identifier, each.name, each.modulus, remainder
                    )
                ]
                leaves = [naming.leaf_name(each.name, each.modulus, lost) for lost in each.missing_remainders]
                operations += used_index_operations(table, properties[table.oid], leaves)
                operations += index_name_operations(properties[table.oid], each.identifier)
                operations += guard_operations(table, None, leaves)
                steps += split(operations, lock_budget)
    return steps


def creation_steps(
    hierarchy: Hierarchy, specs: list[SliceSpec], properties: dict[int, Properties], lock_budget: int
) -> list[Step]:
    """Steps that give every table the slices it lacks: slice by slice, referenced tables first."""
    lacking = {table.oid: missing_in(hierarchy, table, specs) for table in hierarchy.tables}
    steps: list[Step] = []
    for spec in specs:
        for table in hierarchy.tables:
            if spec in lacking[table.oid]:
                operations = slice_operations(hierarchy, table, properties[table.oid], spec)
                steps += split(operations, lock_budget)
    return steps


def bounds_clause(spec: SliceSpec, key_type: str) -> Composable:
    """``FOR VALUES FROM (...) TO (...)``, or ``DEFAULT``."""
    if spec.lower is None or spec.upper is None:
        return SQL("DEFAULT")
    return compose(
        "FOR VALUES FROM ({}) TO ({})",
        keys.literal(spec.lower.point, key_type),
        keys.literal(spec.upper.point, key_type),
    )


def slice_operations(hierarchy: Hierarchy, table: Table, properties: Properties, spec: SliceSpec) -> list[Operation]:
    """A slice of one table with its leaves.

    The root's slice is built aside and attached, which locks the root only against other schema changes. A child's is
    created as a partition, because attaching one would validate its foreign key against the whole hierarchy.
    """
    name = naming.slice_name(table.name, spec.suffix)
    identifier = Identifier(table.schema, name)
    bounds = bounds_clause(spec, str(table.partition_type))
    by_hash = hash_clause(hierarchy, spec)
    default = hierarchy.default_slice(table)
    default_lock = ((default.oid, ACCESS_EXCLUSIVE),) if default else ()
    locked = trees.referenced(hierarchy, table)
    if table.oid == hierarchy.root.oid:
        operations = aside_operations(hierarchy, table, properties, spec)
        attach = compose("ALTER TABLE {} ATTACH PARTITION {} {}", table.identifier, identifier, bounds)
        cost = (1 + spec.modulus) * table.relations_per_leaf
        operations.append(
            Operation(identifier, attach, SHARE_UPDATE_EXCLUSIVE, (table.oid,), cost, locked, default_lock)
        )
        operations += identity_operations(table, identifier, spec.modulus)
    else:
        create = compose(
            "CREATE {}TABLE {} PARTITION OF {} {}{}",
            persistence(properties, spec),
            identifier,
            table.identifier,
            bounds,
            by_hash,
        )
        cost = trees.creating(table)
        operations = locking.lock_tables(identifier, hierarchy.parents(table), SHARE_ROW_EXCLUSIVE)
        operations.append(Operation(identifier, create, ACCESS_EXCLUSIVE, (table.oid,), cost, locked, default_lock))
        operations += _given(identifier, leaf_properties.relation_statements(properties, identifier))
        if spec.modulus:
            for remainder in range(spec.modulus):
                operations += leaf_operations(table, properties, identifier, name, spec.modulus, remainder)
        else:
            operations += _given(identifier, leaf_properties.leaf_statements(properties, table.schema, name))
    operations += used_index_operations(table, properties, naming.leaf_names(name, spec.modulus) or [name])
    operations += index_name_operations(properties, identifier)
    return operations + guard_operations(table, name, naming.leaf_names(name, spec.modulus))


def aside_operations(hierarchy: Hierarchy, table: Table, properties: Properties, spec: SliceSpec) -> list[Operation]:
    """A slice of its own with its leaves, not attached yet."""
    name = naming.slice_name(table.name, spec.suffix)
    identifier = Identifier(table.schema, name)
    create = compose(
        "CREATE {}TABLE {} (LIKE {} {}{}){}{}{}",
        persistence(properties, spec),
        identifier,
        table.identifier,
        SQL(COPIED),
        range_check(hierarchy, table, spec, name),
        hash_clause(hierarchy, spec),
        compose(" USING {}", Identifier(properties.access_method)) if properties.access_method else SQL(""),
        compose(" TABLESPACE {}", Identifier(properties.tablespace)) if properties.tablespace else SQL(""),
    )
    operations = [Operation(identifier, create, ACCESS_EXCLUSIVE, (), ASIDE_LOCKS)]
    operations += _given(identifier, leaf_properties.relation_statements(properties, identifier))
    if not spec.modulus:
        return operations + _given(identifier, leaf_properties.leaf_statements(properties, table.schema, name))
    for remainder in range(spec.modulus):
        leaf = naming.leaf_name(name, spec.modulus, remainder)
        operations += _leaf(table, properties, identifier, leaf, spec.modulus, remainder, ASIDE_LOCKS)
    return operations


def unfinished_operations(operations: list[Operation], identifier: Identifier) -> list[Operation]:
    """The same, for a slice that is built aside in several transactions: a mark tells what a kill leaves from others.

    It is gone with the step that follows the ATTACH.
    """
    mark = compose("COMMENT ON TABLE {} IS {}", identifier, Literal(UNFINISHED))
    clear = compose("COMMENT ON TABLE {} IS NULL", identifier)
    attach = next(place for place, each in enumerate(operations) if each.relations)
    return [
        operations[0],
        Operation(identifier, mark, SHARE_UPDATE_EXCLUSIVE, (), 1),
        *operations[1 : attach + 1],
        Operation(identifier, clear, SHARE_UPDATE_EXCLUSIVE, (), 1),
        *operations[attach + 1 :],
    ]


def drop_unfinished_steps(identifier: Identifier, leaves: tuple[Identifier, ...], lock_budget: int) -> list[Step]:
    """Drop what a kill left of a slice that was built aside; it has more leaves than one transaction can lock."""
    return split(
        [
            Operation(each, compose("DROP TABLE {}", each), ACCESS_EXCLUSIVE, (), ASIDE_LOCKS)
            for each in (*leaves, identifier)
        ],
        lock_budget,
    )


def leaf_operations(
    table: Table,
    properties: Properties,
    slice_identifier: Identifier,
    slice_relation: str,
    modulus: int,
    remainder: int,
) -> list[Operation]:
    """One hash partition of a slice that is part of the hierarchy already."""
    leaf = naming.leaf_name(slice_relation, modulus, remainder)
    cost = trees.creating(table)
    return _leaf(table, properties, slice_identifier, leaf, modulus, remainder, cost)


def _leaf(
    table: Table,
    properties: Properties,
    slice_identifier: Identifier,
    leaf: str,
    modulus: int,
    remainder: int,
    cost: int,
) -> list[Operation]:
    identifier = Identifier(table.schema, leaf)
    create = compose(
        "CREATE {}TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})",
        SQL("UNLOGGED " if properties.is_unlogged else ""),
        identifier,
        slice_identifier,
        Literal(modulus),
        Literal(remainder),
    )
    operations = [Operation(identifier, create, ACCESS_EXCLUSIVE, (), cost)]
    operations += _given(identifier, leaf_properties.relation_statements(properties, identifier))
    return operations + _given(identifier, leaf_properties.leaf_statements(properties, table.schema, leaf))


def _given(target: Identifier, statements: list[SQL]) -> list[Operation]:
    return [Operation(target, statement, ACCESS_EXCLUSIVE, (), 1) for statement in statements]


def used_index_operations(table: Table, properties: Properties, leaves: list[str]) -> list[Operation]:
    """The replica identity and the order of new leaves, given when their indexes exist."""
    found = []
    for leaf in leaves:
        identifier = Identifier(table.schema, leaf)
        for statement in (
            leaf_properties.replica_identity_statement(properties, identifier),
            leaf_properties.cluster_mark_statement(properties, identifier),
        ):
            if statement is not None:
                found.append(Operation(identifier, statement, ACCESS_EXCLUSIVE, (), 1))
    return found


def index_name_operations(properties: Properties, identifier: Identifier) -> list[Operation]:
    """Where PostgreSQL's own names for the partitions' indexes would be cut or numbered, predictable ones."""
    if not properties.renamed_indexes:
        return []
    statement = compose("SELECT dp._name_indexes({})", Literal(identifier.text))
    return [Operation(identifier, statement, ACCESS_EXCLUSIVE, (), 1)]


def guard_operations(table: Table, slice_relation: str | None, leaves: list[str]) -> list[Operation]:
    """What new partitions of a table with global indexes have of their own; a slice without leaves is one itself."""
    found = []
    for index in table.global_indexes:
        for name in [slice_relation, *leaves] if slice_relation is not None else leaves:
            partition = Identifier(table.schema, str(name))
            is_leaf = name in leaves or not leaves
            found.append(Operation(partition, keeping.guard(index, partition, is_leaf=is_leaf), locks=1))
    return found


def identity_operations(table: Table, identifier: Identifier, leaves: int) -> list[Operation]:
    """After a slice with leaves was attached: leaves share the parent's identity columns, too, where partitions do."""
    if not table.has_identity or not leaves:
        return []
    statement = compose("SELECT dp._share_identity({})", Literal(identifier.text))
    return [Operation(identifier, statement, ACCESS_EXCLUSIVE, (), 2 * leaves)]


def persistence(properties: Properties, spec: SliceSpec) -> SQL:
    """UNLOGGED is said of leaves alone."""
    return SQL("UNLOGGED " if properties.is_unlogged and not spec.modulus else "")


def hash_clause(hierarchy: Hierarchy, spec: SliceSpec) -> SQL:
    """`` PARTITION BY HASH ("Party")`` for a slice that has leaves."""
    if not spec.modulus or hierarchy.policy.hash_key is None:
        return SQL("")
    return compose(" PARTITION BY HASH ({})", Identifier(hierarchy.policy.hash_key))


def range_check(hierarchy: Hierarchy, table: Table, spec: SliceSpec, name: str) -> Composable:
    """In the slice form, the CHECK that ties the range key to the slice, so that conditions on it prune."""
    if table.oid != hierarchy.root.oid or spec.range_lower is None or spec.range_upper is None:
        return SQL("")
    return compose(
        ", CONSTRAINT {name} CHECK ({key} >= {lower} AND {key} < {upper})",
        name=Identifier(naming.derived_name(name, "range_key_check")),
        key=Identifier(hierarchy.policy.range_key),
        lower=keys.typed_literal(spec.range_lower, hierarchy.range_type),
        upper=keys.typed_literal(spec.range_upper, hierarchy.range_type),
    )
