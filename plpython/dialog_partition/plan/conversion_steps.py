"""A conversion as a list of steps that are stored, and done one after the other."""

from __future__ import annotations

import json
from typing import NamedTuple

from .. import naming
from ..model import ForeignKey
from ..sql import SQL, Composable, Identifier, Literal, compose, name_array
from . import conversion_copy, conversion_form, conversion_switch
from .conversion import Conversion, Member, is_kept, kept_schema, weakened, working_schema
from .foreign_keys import clause, comment_statements
from .structure import Index, add_constraint

# How a step is done: its statements are run; or by what dialog_partition can do itself, printed as statements.
RUN, SLICES, COPY, VERIFY, SWITCH, GLOBAL_INDEX, MOVE, SYNC, DROP_INDEX = (
    "run",
    "slices",
    "copy",
    "verify",
    "switch",
    "global index",
    "move",
    "sync",
    "drop index",
)


class Part(NamedTuple):
    """One step of a conversion."""

    phase: str  # structure, copy, indexes, foreign keys, verify, switch, afterwards
    kind: str
    target: Composable
    statements: tuple[SQL, ...]
    table: int = 0  # the plain table it is about
    parents: tuple[int, ...] = ()  # further plain tables whose new ones it locks
    arguments: str = "{}"


def parts(conversion: Conversion) -> list[Part]:
    """All steps, in order."""
    found = _structure(conversion)
    for member in conversion.members:
        copy = conversion_copy.copy_statement(conversion, member)
        rows = json.dumps({"rows": conversion.figures[member.oid].rows})
        found.append(Part("copy", COPY, member.identifier, (copy,), member.oid, arguments=rows))
        keys = conversion_copy.keys_statements(conversion, member)
        if keys:
            found.append(Part("copy", RUN, member.keys_table, tuple(keys), member.oid))
    found += _referred_indexes(conversion, is_early=False) + _foreign_keys(conversion, is_early=False)
    found += _indexes(conversion)
    for member in conversion.members:
        found.append(verification(conversion, member))
    root = conversion.root
    switch = (conversion_switch.lock_statement(conversion), *conversion_switch.switch_statements(conversion))
    found.append(Part("switch", SWITCH, root.identifier, switch, root.oid))
    return found + _afterwards(conversion)


def _structure(conversion: Conversion) -> list[Part]:
    root = conversion.root
    statements = conversion_form.schema_statements(conversion)
    found = [Part("structure", RUN, root.identifier, tuple(statements), root.oid)]
    for member in conversion.members:
        made = conversion_form.table_statements(conversion, member)
        found.append(Part("structure", RUN, member.working.identifier, tuple(made), member.oid))
    registered = conversion_form.reference_statements(conversion)
    if registered:
        found.append(Part("structure", RUN, root.working.identifier, tuple(registered), root.oid))
    found += _referred_indexes(conversion, is_early=True) + _foreign_keys(conversion, is_early=True)
    for each in conversion.ranges:
        arguments = {"lower_bound": each.lower, "upper_bound": each.upper, "slice": each.width}
        call = compose(
            "CALL dp.create_slices({}::regclass, {}, {}, {})",
            Literal(root.working.identifier.text),
            *(Literal(value) for value in arguments.values()),
        )
        found.append(
            Part("structure", SLICES, root.working.identifier, (call,), root.oid, arguments=json.dumps(arguments))
        )
    return found


def _referred_indexes(conversion: Conversion, *, is_early: bool) -> list[Part]:
    """The indexes that foreign keys need: those that are there before the rows, or the others."""
    early = conversion_form.early_parents(conversion)
    return [
        Part("structure" if is_early else "indexes", RUN, member.working.identifier, tuple(statements), member.oid)
        for member in conversion.members
        if (member.oid in early) == is_early
        for statements in conversion_form.referred_index_steps(conversion, member)
    ]


def _indexes(conversion: Conversion) -> list[Part]:
    found = []
    for member in conversion.members:
        for statements in conversion_form.index_steps(conversion, member):
            found.append(Part("indexes", RUN, member.working.identifier, tuple(statements), member.oid))
        triggers = conversion_switch.trigger_statements(member)
        if triggers:
            found.append(Part("indexes", RUN, member.working.identifier, tuple(triggers), member.oid))
        analyze = compose("ANALYZE {}", member.working.identifier)
        found.append(Part("indexes", RUN, member.working.identifier, (analyze,), member.oid))
        dropped = conversion_copy.drop_keys_statement(conversion, member)
        if dropped is not None:
            found.append(Part("indexes", RUN, member.keys_table, (dropped,), member.oid))
    return found


def _foreign_keys(conversion: Conversion, *, is_early: bool) -> list[Part]:
    """The foreign keys that check rows as they come, or those that are made behind the rows."""
    phase = "structure" if is_early else "foreign keys"
    return [
        Part(phase, RUN, member.working.identifier, (statement,), member.oid, (key.parent,))
        for member in conversion.members
        for key, statement in conversion_form.key_steps(conversion, member)
        if conversion_form.is_checked_by_row(conversion, member, key) == is_early
    ]


def verification(conversion: Conversion, member: Member) -> Part:
    """Compare a table with its copy."""
    statements = (
        conversion_copy.content(conversion, member, member.identifier),
        conversion_copy.content(conversion, member, member.working.identifier),
        conversion_copy.versions(member.identifier),
    )
    return Part("verify", VERIFY, member.identifier, statements, member.oid)


def _afterwards(conversion: Conversion) -> list[Part]:
    root = conversion.root
    found = []
    for each in conversion.dependents:
        for statement in each.afterwards:
            found.append(Part("afterwards", RUN, SQL(each.name), (SQL(statement),), root.oid))
    for member in conversion.members:
        found.append(Part("afterwards", MOVE, member.identifier, (_move_statement(member),), member.oid))
    for member, index in global_indexes(conversion):
        found.append(_global_index(member, index))
    for key in conversion.outside:
        side = side_table(conversion, key.parent, key.parent_columns)
        if side is not None:
            again = (outside_key(key, side), *comment_statements(key, SQL(key.child_text)))
            found.append(Part("afterwards", RUN, SQL(key.child_text), again, key.parent))
    for member in conversion.members:
        for key in member.apart:
            made = apart_key(conversion, member, key)
            if made is not None:
                again = (made, *comment_statements(key, member.identifier))
                found.append(Part("afterwards", RUN, member.identifier, again, member.oid))
    sync = compose("CALL dp.sync({}::regclass)", Literal(root.identifier.text))
    found.append(Part("afterwards", SYNC, root.identifier, (sync,), root.oid))
    schemas = dict.fromkeys(working_schema(member.structure.schema) for member in conversion.members)
    dropped = tuple(compose("DROP SCHEMA {}", Identifier(schema)) for schema in schemas)
    found.append(Part("afterwards", RUN, root.identifier, dropped, root.oid))
    return found


def _move_statement(member: Member) -> SQL:
    """The partitions of a new table follow it with their statistics objects, each in a transaction of its own."""
    block = compose(
        "DECLARE each text; BEGIN FOR each IN"
        " SELECT format('TABLE %s', c.oid::regclass) FROM pg_partition_tree({table}::regclass) AS t"
        " JOIN pg_class AS c ON c.oid = t.relid WHERE c.relnamespace = {working}::regnamespace"
        " UNION ALL SELECT format('STATISTICS %s.%I', {working}, s.stxname) FROM pg_statistic_ext AS s"
        " JOIN pg_partition_tree({table}::regclass) AS t ON t.relid = s.stxrelid"
        " WHERE s.stxnamespace = {working}::regnamespace"
        " LOOP EXECUTE format('ALTER %s SET SCHEMA %I', each, {schema}); COMMIT; END LOOP; END",
        table=Literal(member.identifier.text),
        working=Literal(Identifier(member.working.schema).text),
        schema=Literal(member.structure.schema),
    )
    return compose("DO {}", Literal(block.text))


def global_indexes(conversion: Conversion) -> list[tuple[Member, Index]]:
    """The unique rules that hold over all partitions through global indexes, and those that foreign keys refer to."""
    if conversion.is_back:
        return []
    found = []
    for member in conversion.members:
        broken = [] if conversion.allow_weaker_unique else weakened(conversion, member)
        pointing = (*conversion.outside, *conversion.apart)
        wanted = {frozenset(key.parent_columns) for key in pointing if key.parent == member.oid}
        for index in member.structure.indexes:
            columns = frozenset(index.columns)
            is_wanted = columns in wanted and index.name not in member.facts.predicates
            if is_kept(member, index) and (index in broken or is_wanted):
                found.append((member, index))
                wanted -= {columns} if is_wanted else set()
    return found


def _global_index(member: Member, index: Index) -> Part:
    columns = tuple(column for column in index.columns if column is not None)
    predicate = member.facts.predicates.get(index.name)
    name = side_name(member, columns)
    arguments = {"columns": list(columns), "predicate": predicate, "index_name": name}
    call = compose(
        "CALL dp.create_global_index_online({}::regclass, {}, true, {}, {})",
        Literal(member.identifier.text),
        name_array(columns),
        Literal(predicate),
        Literal(name),
    )
    return Part("afterwards", GLOBAL_INDEX, member.identifier, (call,), member.oid, arguments=json.dumps(arguments))


def side_name(member: Member, columns: tuple[str, ...]) -> str:
    """The name of the side table of a global index that a conversion makes."""
    return naming.derived_name(naming.shorten(f"{member.structure.name}_{'_'.join(columns)}", 50), "global")


def side_table(conversion: Conversion, parent: int, columns: tuple[str, ...]) -> Identifier | None:
    """To which side table a foreign key from outside can point."""
    for member, index in global_indexes(conversion):
        same = tuple(sorted(columns)) == tuple(sorted(str(column) for column in index.columns))
        if member.oid == parent and same and index.name not in member.facts.predicates:
            return Identifier(member.structure.schema, side_name(member, tuple(str(c) for c in index.columns)))
    return None


def outside_key(key: ForeignKey, side: Identifier) -> SQL:
    """A foreign key of another table, made again to what holds its columns; rows that break it may go on doing so."""
    definition = clause(key, side, key.is_deferred)
    return add_constraint(
        SQL(key.child_text), key.name, definition if key.is_valid else compose("{} NOT VALID", definition)
    )


def apart_key(conversion: Conversion, member: Member, key: ForeignKey) -> SQL | None:
    """A foreign key inside the hierarchy that gets no keys, made to the global index of what it refers to.

    One of a table to itself waits for the commit: a statement's rows are checked before they have their entries, and
    may refer to each other.
    """
    side = side_table(conversion, key.parent, key.parent_columns)
    if side is None:
        return None
    return add_constraint(member.identifier, key.name, clause(key, side, key.is_deferred or key.parent == key.child))


def recorded_statements(conversion: Conversion) -> list[SQL]:
    """What dp's configuration says of a conversion that is at its end."""

    def kept(member: Member) -> Literal:
        return Literal(Identifier(kept_schema(member.structure.schema), member.structure.name).text)

    root = conversion.root
    found = [
        compose(
            "INSERT INTO dp.conversion_config (root, hierarchy, state)"
            " VALUES ({}::regclass, {}::regclass, 'converted')",
            kept(root),
            Literal(root.identifier.text),
        )
    ]
    for position, member in enumerate(conversion.members):
        found.append(
            compose(
                "INSERT INTO dp.conversion_table (root, plain, converted, position)"
                " VALUES ({}::regclass, {}::regclass, {}::regclass, {})",
                kept(root),
                kept(member),
                Literal(member.identifier.text),
                Literal(position),
            )
        )
    return found
