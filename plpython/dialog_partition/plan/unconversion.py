"""Making a hierarchy plain tables again: what a conversion added is taken away, everything else stays."""

from __future__ import annotations

import json

from ..model import GlobalIndex, Hierarchy, Table
from ..sql import SQL, Identifier, Literal, comma_list, compose, names
from . import conversion_form, conversion_switch, trees
from .conversion import Conversion, Member, kept_schema, working_schema
from .conversion_layout import LOCKS_OF_KEY, LOCKS_OF_TABLE
from .conversion_record import Record
from .conversion_steps import COPY, DROP_INDEX, RUN, SWITCH, Part, outside_key, verification
from .foreign_keys import clause, comment_statements
from .properties import column_statements, storage_clause
from .structure import add_constraint

LOCKS_OF_SIDE = 60  # a side table with its partitions, and the triggers of a foreign key to it


def parts(
    conversion: Conversion,
    records: dict[int, Record],
    hierarchy: Hierarchy,
    leaves: dict[int, list[tuple[int, Identifier]]],
    slices: dict[int, list[Identifier]],
    going: list[SQL],
    slice_key_function: SQL | None,
) -> list[Part]:
    """All steps, in order; ``going`` drops what is of no use without partitions: lookups, writable views."""
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
    switch = (conversion_switch.lock_statement(conversion), *going, *conversion_switch.switch_statements(conversion))
    found.append(Part("switch", SWITCH, root.identifier, switch, root.oid))
    return found + _afterwards(conversion, hierarchy, slices, slice_key_function)


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


def _afterwards(
    conversion: Conversion,
    hierarchy: Hierarchy,
    slices: dict[int, list[Identifier]],
    slice_key_function: SQL | None,
) -> list[Part]:
    root = conversion.root
    found = [
        Part("afterwards", RUN, SQL(each.name), (SQL(statement),), root.oid)
        for each in conversion.dependents
        for statement in each.afterwards
    ]
    tables = {index.oid: table for table in hierarchy.tables for index in table.global_indexes}
    for key in conversion.outside:
        child = SQL(key.child_text)
        again = (outside_key(key, tables[key.parent].identifier), *comment_statements(key, child))
        found.append(Part("afterwards", RUN, child, again, root.oid))
    found += _let_go_of_indexes(conversion, hierarchy)
    for table in hierarchy.tables:
        for index in table.global_indexes:
            found.append(_drop_index(table, index))
    return found + _dropping(conversion, hierarchy, slices, slice_key_function)


def _let_go_of_indexes(conversion: Conversion, hierarchy: Hierarchy) -> list[Part]:
    """The partitioned tables' own foreign keys to global indexes go before those."""
    found = []
    for key in hierarchy.apart:
        structure = conversion.member(key.child).structure
        table = Identifier(kept_schema(structure.schema), structure.name)
        locks = 3 * trees.size(hierarchy, key.child) + LOCKS_OF_SIDE
        drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(key.name))
        found.append(
            Part("afterwards", RUN, table, (drop,), conversion.root.oid, arguments=json.dumps({"locks": locks}))
        )
    return found


def _drop_index(table: Table, index: GlobalIndex) -> Part:
    call = compose("SELECT dp.drop_global_index({}::regclass)", Literal(index.identifier.text))
    arguments = json.dumps({"side": index.oid})
    return Part("afterwards", DROP_INDEX, index.identifier, (call,), table.oid, arguments=arguments)


def _dropping(
    conversion: Conversion,
    hierarchy: Hierarchy,
    slices: dict[int, list[Identifier]],
    slice_key_function: SQL | None,
) -> list[Part]:
    """The partitioned tables go, in transactions that the lock table bears; the root with the last traces."""
    root = conversion.root
    found = []
    for member in reversed(conversion.members):
        table = Identifier(kept_schema(member.structure.schema), member.structure.name)
        for key in [key for key in hierarchy.foreign_keys if key.child == member.oid]:
            relations = trees.size(hierarchy, key.child) + trees.size(hierarchy, key.parent)
            locks = LOCKS_OF_KEY * relations + LOCKS_OF_TABLE
            drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(key.name))
            found.append(Part("afterwards", RUN, table, (drop,), root.oid, arguments=json.dumps({"locks": locks})))
    for member in reversed(conversion.members):
        for each in slices[member.oid]:
            found.append(Part("afterwards", RUN, each, (compose("DROP TABLE {}", each),), root.oid))
    return [*found, Part("afterwards", RUN, root.identifier, tuple(_last(conversion, slice_key_function)), root.oid)]


def _last(conversion: Conversion, slice_key_function: SQL | None) -> list[SQL]:
    """The tables go together, for their policies and rules may look at each other."""
    listed = ", ".join(
        Identifier(kept_schema(member.structure.schema), member.structure.name).text
        for member in reversed(conversion.members)
    )
    found = [compose("DROP TABLE {}", SQL(listed))]
    if slice_key_function is not None:
        found.append(compose("DROP FUNCTION {}()", slice_key_function))
    schemas = dict.fromkeys(member.structure.schema for member in conversion.members)
    for schema in schemas:
        found.append(compose("DROP SCHEMA {}", Identifier(working_schema(schema))))
        found.append(compose("DROP SCHEMA {}", Identifier(kept_schema(schema))))
    return found


def reading_locks(hierarchy: Hierarchy) -> int:
    """What comparing all row versions in one transaction takes."""
    return sum(trees.planned(hierarchy, table) for table in hierarchy.tables) + LOCKS_OF_TABLE
