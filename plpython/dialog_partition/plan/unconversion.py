"""Making a hierarchy plain tables again: what a conversion added is taken away, everything else stays."""

from __future__ import annotations

import json

from .. import errors, naming
from ..model import ForeignKey, GlobalIndex, Hierarchy, Table
from ..sql import SQL, Identifier, Literal, comma_list, compose, names
from . import conversion_form, conversion_switch, keeping, trees
from .conversion import Conversion, Member, kept_schema, working_schema
from .conversion_record import Record
from .conversion_steps import COPY, DROP_INDEX, RUN, SWITCH, Part, outside_key, verification
from .foreign_keys import clause
from .properties import column_statements, storage_clause
from .slice_form import spans
from .structure import Index, Structure, add_constraint

LOCKS_OF_TABLE = 12


def narrowed(member: Member, record: Record, hierarchy: Hierarchy) -> Member:
    """A table as it will be: without the columns that were added, and without what keeps global indexes."""
    structure = member.structure
    table = hierarchy.table(member.oid)
    inside = {key.name: key for key in hierarchy.foreign_keys if key.child == member.oid}
    internal = _internal_triggers(hierarchy, table, record)
    foreign_keys = tuple(_narrowed_key(key, record) if key.name in inside else key for key in structure.foreign_keys)
    publications = tuple(
        each._replace(columns=record.publications.get(each.name, _without(each.columns, record.added)))
        for each in structure.publications
    )
    kept = structure._replace(
        indexes=tuple(_narrowed_index(structure, index, record) for index in structure.indexes),
        foreign_keys=foreign_keys,
        triggers=tuple(trigger for trigger in structure.triggers if trigger.name not in internal),
        comments=tuple(each for each in structure.comments if each.kind != "TRIGGER" or each.name not in internal),
        publications=publications,
    )
    stored = tuple(column for column in member.facts.stored if column not in record.added)
    own = {each.name for each in structure.statistics}  # the template may have more, for leaves alone
    statistics = tuple(each for each in member.properties.statistics if each.name in own)
    return member._replace(
        structure=kept,
        properties=member.properties._replace(statistics=statistics),
        facts=member.facts._replace(stored=stored),
        owners=tuple(key for key in foreign_keys if key.name in inside and key.parent != member.oid),
        others=tuple(key for key in foreign_keys if key.name in inside and key.parent == member.oid),
    )


def _without(columns: tuple[str, ...], dropped: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(column for column in columns if column not in dropped)


def _internal_triggers(hierarchy: Hierarchy, table: Table, record: Record) -> set[str]:
    """The triggers that keep the slice key and global indexes."""
    found = {
        name
        for index in table.global_indexes
        for name in (*(keeping.trigger_name(index, event) for event in keeping.EVENTS), keeping.row_trigger_name(index))
    }
    if hierarchy.policy.slice_key in record.added:
        found.add(naming.derived_name(table.name, "set_slice_key"))
    return found


def _narrowed_index(structure: Structure, index: Index, record: Record) -> Index:
    """An index without the columns that go."""
    gone = record.indexes.get(index.name, ())
    left = [column for column in index.columns if column in record.added and column not in gone]
    if left:
        raise errors.DependentObjects(
            f'index "{index.name}" of {structure.identifier} has the column "{left[0]}", which goes',
            "It was made after the conversion, which had added the column.",
            "Drop the index first: SELECT dp.drop_index(...).",
        )
    cut = [position for position, column in enumerate(index.columns) if column in gone]
    if not cut:
        return index
    found = spans(index.definition)
    kept = [index.definition[a:b] for position, (a, b) in enumerate(found) if position not in cut]
    definition = index.definition[: found[0][0]] + ", ".join(kept) + index.definition[found[-1][1] :]
    return index._replace(columns=_without_positions(index.columns, cut), definition=definition)


def _without_positions(columns: tuple[str | None, ...], cut: list[int]) -> tuple[str | None, ...]:
    return tuple(column for position, column in enumerate(columns) if position not in cut)


def _narrowed_key(key: ForeignKey, record: Record) -> ForeignKey:
    """A foreign key without the partition keys that it got, and as it was besides."""
    was = record.foreign_keys.get(key.name)
    if was is None or not set(was.columns) <= set(key.columns):  # made, or renamed, since then
        return key
    delete_columns = () if set(key.delete_columns) == set(was.columns) else key.delete_columns
    return key._replace(
        columns=was.columns,
        parent_columns=was.parent_columns,
        on_update=was.on_update,
        delete_columns=delete_columns,
        is_deferrable=was.is_deferrable,
        is_deferred=was.is_deferred,
        is_full=was.is_full,
    )


def parts(
    conversion: Conversion,
    records: dict[int, Record],
    hierarchy: Hierarchy,
    leaves: dict[int, list[tuple[int, Identifier]]],
    slices: dict[int, list[Identifier]],
    lookups: list[SQL],
) -> list[Part]:
    """All steps, in order; ``lookups`` drop the functions that return rows of the partitioned tables."""
    root = conversion.root
    found = [Part("structure", RUN, root.identifier, tuple(conversion_form.schema_statements(conversion)), root.oid)]
    for member in conversion.members:
        made = tuple(_table_statements(member, records[member.oid]))
        found.append(Part("structure", RUN, member.working.identifier, made, member.oid))
    for member in conversion.members:
        for oid, leaf in leaves[member.oid]:
            found.append(Part("copy", COPY, leaf, (_copy(member, leaf),), oid))
    found += _rules(conversion, records)
    found += [verification(conversion, member) for member in conversion.members]
    switch = (conversion_switch.lock_statement(conversion), *lookups, *conversion_switch.switch_statements(conversion))
    found.append(Part("switch", SWITCH, root.identifier, switch, root.oid))
    return found + _afterwards(conversion, hierarchy, slices)


def _table_statements(member: Member, record: Record) -> list[SQL]:
    working, properties = member.working.identifier, member.properties
    found = [
        compose(
            "CREATE {}TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS){}",
            SQL("UNLOGGED " if properties.is_unlogged else ""),
            working,
            member.identifier,
            compose(" TABLESPACE {}", Identifier(properties.tablespace)) if properties.tablespace else SQL(""),
        )
    ]
    found += [compose("ALTER TABLE {} DROP COLUMN {}", working, Identifier(column)) for column in record.added]
    for column, declaration in record.altered.items():
        found.append(compose("ALTER TABLE {} ALTER COLUMN {} TYPE {}", working, Identifier(column), SQL(declaration)))
    for column in record.nullable:
        found.append(compose("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL", working, Identifier(column)))
    if properties.options:
        found.append(compose("ALTER TABLE {} SET ({})", working, storage_clause(properties.options)))
    found += column_statements(properties, working)
    return found + conversion_form.unchecked_statements(member) + conversion_form.access_statements(member)


def _copy(member: Member, leaf: Identifier) -> SQL:
    columns = list(member.facts.stored)
    return compose(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS t",
        member.working.identifier,
        names(columns),
        comma_list(conversion_form.identifiers("t", columns)),
        leaf,
    )


def _rules(conversion: Conversion, records: dict[int, Record]) -> list[Part]:
    """Indexes, then foreign keys and triggers."""
    found = []
    for member in conversion.members:
        working = member.working.identifier
        steps = conversion_form.referred_index_steps(conversion, member)
        for statements in steps + conversion_form.index_steps(conversion, member):
            found.append(Part("indexes", RUN, working, tuple(statements), member.oid))
        clustered = records[member.oid].clustered
        if clustered is not None and any(index.name == clustered for index in member.structure.indexes):
            mark = compose("ALTER TABLE {} CLUSTER ON {}", working, Identifier(clustered))
            found.append(Part("indexes", RUN, working, (mark,), member.oid))
        found.append(Part("indexes", RUN, working, (compose("ANALYZE {}", working),), member.oid))
    inside = {member.oid: member.working.identifier for member in conversion.members}
    for member in conversion.members:
        working = member.working.identifier
        for key in member.structure.foreign_keys:
            parent = inside.get(key.parent, SQL(key.parent_text))
            statement = add_constraint(working, key.name, clause(key, parent, key.is_deferred))
            found.append(Part("foreign keys", RUN, working, (statement,), member.oid))
        triggers = conversion_switch.trigger_statements(member)
        if triggers:
            found.append(Part("foreign keys", RUN, working, tuple(triggers), member.oid))
    return found


def _afterwards(conversion: Conversion, hierarchy: Hierarchy, slices: dict[int, list[Identifier]]) -> list[Part]:
    root = conversion.root
    found = [
        Part("afterwards", RUN, SQL(each.name), (SQL(statement),), root.oid)
        for each in conversion.dependents
        for statement in each.afterwards
    ]
    tables = {index.oid: table for table in hierarchy.tables for index in table.global_indexes}
    for key in conversion.outside:
        statement = outside_key(key, tables[key.parent].identifier)
        found.append(Part("afterwards", RUN, SQL(key.child_text), (statement,), root.oid))
    for table in hierarchy.tables:
        for index in table.global_indexes:
            found.append(_drop_index(table, index))
    return found + _dropping(conversion, hierarchy, slices)


def _drop_index(table: Table, index: GlobalIndex) -> Part:
    call = compose("SELECT dp.drop_global_index({}::regclass)", Literal(index.identifier.text))
    arguments = json.dumps({"side": index.oid})
    return Part("afterwards", DROP_INDEX, index.identifier, (call,), table.oid, arguments=arguments)


def _dropping(conversion: Conversion, hierarchy: Hierarchy, slices: dict[int, list[Identifier]]) -> list[Part]:
    """The partitioned tables go, in transactions that the lock table bears; the root with the last traces."""
    root = conversion.root
    found = []
    for member in reversed(conversion.members):
        table = Identifier(kept_schema(member.structure.schema), member.structure.name)
        for key in [key for key in hierarchy.foreign_keys if key.child == member.oid]:
            locks = 3 * (trees.size(hierarchy, key.child) + trees.size(hierarchy, key.parent)) + LOCKS_OF_TABLE
            drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(key.name))
            found.append(Part("afterwards", RUN, table, (drop,), root.oid, arguments=json.dumps({"locks": locks})))
    for member in reversed(conversion.members):
        for each in slices[member.oid]:
            found.append(Part("afterwards", RUN, each, (compose("DROP TABLE {}", each),), root.oid))
    return [*found, Part("afterwards", RUN, root.identifier, tuple(_last(conversion, hierarchy)), root.oid)]


def _last(conversion: Conversion, hierarchy: Hierarchy) -> list[SQL]:
    """The tables go together, for their policies and rules may look at each other."""
    root = conversion.root.structure
    listed = ", ".join(
        Identifier(kept_schema(member.structure.schema), member.structure.name).text
        for member in reversed(conversion.members)
    )
    found = [compose("DROP TABLE {}", SQL(listed))]
    if hierarchy.policy.slice_key is not None:
        function = Identifier(root.schema, naming.derived_name(root.name, "set_slice_key"))
        found.append(compose("DROP FUNCTION IF EXISTS {}()", function))
    schemas = dict.fromkeys(member.structure.schema for member in conversion.members)
    for schema in schemas:
        found.append(compose("DROP SCHEMA {}", Identifier(working_schema(schema))))
        found.append(compose("DROP SCHEMA {}", Identifier(kept_schema(schema))))
    return found


def reading_locks(hierarchy: Hierarchy) -> int:
    """What comparing all row versions in one transaction takes."""
    return sum(trees.planned(hierarchy, table) for table in hierarchy.tables) + LOCKS_OF_TABLE
