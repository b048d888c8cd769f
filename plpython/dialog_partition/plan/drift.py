"""Where slices, leaves and templates differ from what parent and template say, and what brings them back.

What a new leaf is given stands in ``properties``; here the same properties are compared with what a relation has.
"""

from __future__ import annotations

from .. import naming
from ..operation import ACCESS_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, Literal, compose
from . import ageing, drift_access, drift_storage
from .difference import HAND, REWRITE, SYNC, TEMPLATE, Difference, Facts, MissingIndex, Partition
from .index_statement import create_index_statement
from .properties import State


def differences(facts: Facts) -> list[Difference]:
    """All of one managed table, its template's first, relation by relation."""
    found = _template(facts)
    for partition in facts.partitions:
        found += drift_access.differences(partition, facts.wanted)
        found += _columns(partition, facts)
        found += _triggers(partition, facts)
        found += _indexes(partition, facts)
        if partition.is_leaf and facts.table.template is not None:  # without it nothing says how leaves are stored
            wanted = ageing.besides(facts.wanted, partition.state, partition.policy)
            found += drift_storage.differences(partition, wanted, facts)
    return found


def _template(facts: Facts) -> list[Difference]:
    """The template has the columns of its table. One that is lost is made by dp.sync before anything is compared."""
    template = facts.table.template
    if template is None:
        table = facts.table.identifier
        return [Difference(table, TEMPLATE, "", naming.template_name(facts.table.name), None, (), HAND)]
    found = []
    for column in facts.columns:
        if column.relation != facts.table.template_oid:
            continue
        name = Identifier(column.name)
        if column.actual is None:
            action = compose("ADD COLUMN {} {}", name, SQL(str(column.expected)))
        elif column.expected is None:
            action = compose("DROP COLUMN {}", name)
        else:
            expected = SQL(column.expected)
            action = compose("ALTER COLUMN {} TYPE {} USING NULL", name, expected)
        statement = compose("ALTER TABLE {} {}", template, action)
        found.append(Difference(template, "column", column.name, column.expected, column.actual, (statement,)))
    return found


def _columns(partition: Partition, facts: Facts) -> list[Difference]:
    found = []
    relation = partition.state.identifier
    for column in facts.columns:
        if column.relation != partition.oid:
            continue
        name, expected = Identifier(column.name), SQL(column.expected or "")
        if column.aspect == "default":
            action = compose("SET DEFAULT {}", expected) if column.expected is not None else SQL("DROP DEFAULT")
        elif column.aspect == "not null":
            action = SQL("SET NOT NULL" if column.expected == "NOT NULL" else "DROP NOT NULL")
        elif column.aspect == "compression":
            action = compose("SET COMPRESSION {}", expected)
        else:
            action = compose("SET STORAGE {}", expected)
        statement = compose("ALTER TABLE {} ALTER COLUMN {} {}", relation, name, action)
        found.append(Difference(relation, column.aspect, column.name, column.expected, column.actual, (statement,)))
    return found


def _triggers(partition: Partition, facts: Facts) -> list[Difference]:
    relation = partition.state.identifier
    return [
        Difference(
            relation,
            "trigger",
            trigger.name,
            trigger.expected,
            trigger.actual,
            (compose("ALTER TABLE {} {} TRIGGER {}", relation, SQL(trigger.expected), Identifier(trigger.name)),),
        )
        for trigger in facts.triggers
        if trigger.relation == partition.oid
    ]


def _indexes(partition: Partition, facts: Facts) -> list[Difference]:
    """A partition's parts of its parent's indexes, and a leaf's own."""
    found = []
    for missing in facts.missing_indexes:
        if missing.relation == partition.oid:
            found.append(_missing_index(partition, missing, renamed=facts.wanted.renamed_indexes))
    if not partition.is_leaf:
        return found
    wanted = {each.kind: each for each in facts.wanted.leaf_indexes}
    present = {each.kind: each for each in partition.state.indexes if each.is_valid}
    broken = [each for each in partition.state.indexes if not each.is_valid]
    adopted = {each.kind for each in facts.missing_indexes if each.constraint is None}
    relation = partition.state.identifier
    for kind, index in wanted.items():
        if kind not in present:
            name = Identifier(naming.unique_derived_name(partition.state.name, index.name))
            statement = create_index_statement(relation, name, SQL(index.definition), is_unique=index.is_unique)
            found.append(Difference(relation, "index", index.name, index.definition, None, (statement,)))
    for kind, index in present.items():
        if kind not in wanted and kind not in adopted:
            found.append(Difference(relation, "index", index.name, None, index.definition, ()))
    for index in broken:
        found.append(Difference(relation, "index", index.name, None, f"{index.definition}, not valid", ()))
    return found


def _missing_index(partition: Partition, missing: MissingIndex, *, renamed: bool) -> Difference:
    state = partition.state
    expected = missing.constraint or missing.definition
    equal = [each for each in state.indexes if each.is_valid and each.kind == missing.kind]
    if equal and missing.constraint is None:  # the leaf has built it by itself: it is only to be attached
        attach = _attach(state, missing, equal[0].name)
        return Difference(state.identifier, "index", missing.top_index, expected, None, (attach,))
    name = Identifier(missing.name)
    if missing.constraint is not None:
        create = compose("ALTER TABLE {} ADD CONSTRAINT {} {}", state.identifier, name, SQL(missing.constraint))
    else:
        create = create_index_statement(state.identifier, name, SQL(missing.definition), is_unique=missing.is_unique)
    statements = [create, _attach(state, missing, name.name)]
    if renamed and not partition.is_leaf:  # those of its leaves have come with it
        statements.append(compose("SELECT dp._name_indexes({})", Literal(state.identifier.text)))
    return Difference(state.identifier, "index", missing.top_index, expected, None, tuple(statements))


def _attach(state: State, missing: MissingIndex, name: str) -> SQL:
    parent = Identifier(missing.schema, missing.parent_index)
    return compose("ALTER INDEX {} ATTACH PARTITION {}", parent, Identifier(state.schema, name))


def steps(facts: Facts, *, rewrite: bool) -> list[Step]:
    """What mends the differences of one managed table; those that rewrite rows on request."""
    return steps_of(facts, differences(facts), rewrite=rewrite)


def steps_of(facts: Facts, found: list[Difference], *, rewrite: bool) -> list[Step]:
    """What mends some of them, a step a relation."""
    by_relation: dict[Identifier, list[SQL]] = {}
    for each in found:
        if each.mended_by == SYNC or (rewrite and each.mended_by == REWRITE):
            by_relation.setdefault(each.relation, []).extend(each.statements)
    partitions = {partition.state.identifier: partition for partition in facts.partitions}
    return [
        Step(tuple(_operation(relation, statement, partitions.get(relation)) for statement in statements))
        for relation, statements in by_relation.items()
        if statements
    ]


def _operation(relation: Identifier, statement: SQL, partition: Partition | None) -> Operation:
    if partition is None:  # the template, which nobody uses
        return Operation(relation, statement)
    tree = ((partition.oid, partition.locks),)
    return Operation(relation, statement, ACCESS_EXCLUSIVE, (partition.oid,), 1, tree)
