"""The statements that build the partitioned tables of a conversion beside the plain ones."""

from __future__ import annotations

from .. import calendars
from ..calendars import Width
from ..model import CHILD, ForeignKey, Hierarchy, Policy
from ..sql import SQL, Identifier, Literal, comma_list, compose
from . import conversion_layout, conversion_record, declare, foreign_keys
from .conversion import REFERENCE, ROOT, Conversion, Member, Range, key_columns, root_columns, working_schema
from .properties import comment_statements, grant_statements, grantee_name, replica_identity_statement
from .structure import Column, Index, add_constraint
from .unique import index_statements

ROWS_WORTH_A_LEAF = 300  # as long as a row's check takes 40 us, and a leaf's 12 ms


def schema_statements(conversion: Conversion) -> list[SQL]:
    """The schemas in which the new tables are built."""
    schemas = dict.fromkeys(member.structure.schema for member in conversion.members)
    return [compose("CREATE SCHEMA {}", Identifier(working_schema(schema))) for schema in schemas]


def table_statements(conversion: Conversion, member: Member) -> list[SQL]:
    """The new table: columns, CHECKs, defaults, privileges and comments; neither indexes nor foreign keys yet."""
    working, settings = member.working, conversion.settings
    wanted = root_columns(settings) if member.is_root else key_columns(conversion)
    found = [_create(conversion, member, wanted)]
    for column in wanted:
        present = member.structure.column(column.name)
        if present is None:
            continue
        name = Identifier(column.name)
        if not present.is_alike(column):
            found.append(
                compose("ALTER TABLE {} ALTER COLUMN {} TYPE {}", working.identifier, name, column.declaration)
            )
        if not present.is_not_null:
            found.append(compose("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", working.identifier, name))
    found += unchecked_statements(member)
    found += access_statements(member)
    if member.is_root:
        if settings.slice_key is not None and settings.bucket is not None:
            found += declare.slice_key_statements(working, settings, settings.slice_key, settings.bucket)
        found += declare.template_statements(working, member.properties)
        found += declare.configuration_statements(working, settings)
    else:
        found += declare.template_statements(working, member.properties)
        found.append(declare.table_statement(working, conversion.root.working.identifier, CHILD))
    return [*found, conversion_record.statement(conversion, member)]


def unchecked_statements(member: Member) -> list[SQL]:
    """CHECKs that rows may break which are there come behind the rows."""
    return [
        compose("ALTER TABLE {} DROP CONSTRAINT {}", member.working.identifier, Identifier(name))
        for name, _ in member.facts.unchecked
    ]


def _create(conversion: Conversion, member: Member, wanted: tuple[Column, ...]) -> SQL:
    working = member.working
    added = [
        compose("{} {} NOT NULL", Identifier(column.name), column.declaration)
        for column in wanted
        if member.structure.column(column.name) is None
    ]
    like = compose("LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS", member.identifier)
    tablespace = member.properties.tablespace
    return compose(
        "CREATE TABLE {} ({}) PARTITION BY RANGE ({}){}",
        working.identifier,
        comma_list([like, *added]),
        Identifier(conversion.settings.partition_column),
        compose(" TABLESPACE {}", Identifier(tablespace)) if tablespace else SQL(""),
    )


def access_statements(member: Member) -> list[SQL]:
    """Privileges and the comment; row security comes when the table has its name, for policies may look at others."""
    properties, relation = member.properties, member.working.identifier
    found = [
        compose("REVOKE ALL ON TABLE {} FROM {}", relation, grantee_name(grantee))
        for grantee in properties.default_grantees
    ]
    found += grant_statements(properties.grants, relation)
    if properties.owner_lacks:
        lacking = SQL(", ".join(properties.owner_lacks))
        found.append(compose("REVOKE {} ON TABLE {} FROM {}", lacking, relation, Identifier(properties.owner)))
    found += comment_statements(properties.comment, (), relation)
    for each in properties.statistics:
        statistics = Identifier(member.working.schema, each.name)
        found.append(compose("CREATE STATISTICS {} {} FROM {}", statistics, SQL(each.definition), relation))
        if each.target is not None:
            found.append(compose("ALTER STATISTICS {} SET STATISTICS {}", statistics, Literal(each.target)))
    return found


def reference_statements(conversion: Conversion) -> list[SQL]:
    """The shared tables are registered as such."""
    return [
        compose(
            "INSERT INTO dp.table_config (tbl, root, role) VALUES ({}::regclass, {}::regclass, {})",
            Literal(name.text),
            Literal(conversion.root.working.identifier.text),
            Literal(REFERENCE),
        )
        for name, is_own in conversion.references
        if is_own
    ]


def is_referred(conversion: Conversion, member: Member, index: Index) -> bool:
    """Whether a foreign key of the hierarchy may need an index of the table that it refers to."""
    return index.constraint_type == "p" or any(
        index.is_unique and key.parent == member.oid and set(key.parent_columns) == set(index.columns)
        for each in conversion.members
        for key in (*each.owners, *each.others)
    )


def referred_index_steps(conversion: Conversion, member: Member) -> list[list[SQL]]:
    """Those of its indexes that foreign keys need; one a step.

    They come first: a foreign key is checked leaf by leaf, and each check is planned with all indexes that are there.
    """
    return [
        index_statements(member.working._replace(indexes=(index,)), conversion.keys)
        for index in member.structure.indexes
        if is_referred(conversion, member, index)
    ]


def index_steps(conversion: Conversion, member: Member) -> list[list[SQL]]:
    """The other indexes and unique rules of a new table, widened by the keys; one a step."""
    working = member.working
    found = []
    for index in member.structure.indexes:
        if not is_referred(conversion, member, index):
            found.append(index_statements(working._replace(indexes=(index,)), conversion.keys))
    for name, definition in member.facts.unchecked:
        found.append([add_constraint(working.identifier, name, SQL(definition))])
    identity = replica_identity_statement(member.properties, working.identifier)
    if identity is not None:
        found.append([identity])
    return found


def widened_indexes(conversion: Conversion, member: Member) -> list[Index]:
    """The unique rules that get the partition keys."""
    return [
        index
        for index in member.structure.indexes
        if index.is_unique and index.constraint_type != "x" and set(conversion.keys) - set(index.columns)
    ]


def is_checked_by_row(conversion: Conversion, member: Member, key: ForeignKey) -> bool:
    """Whether a foreign key is there before the rows, and checks each as it comes.

    Made behind them it is checked leaf by leaf, each time by a join that is planned with all leaves of the parent: that
    is faster where leaves have many rows. Rows that refer to others of their table may come before those.
    """
    if key.parent == member.oid or key not in (*member.owners, *member.others):
        return False
    rows = conversion.figures[member.oid].rows
    expected = rows / len(member.owners) if key in member.owners else rows
    leaves = conversion_layout.slices(list(conversion.ranges)) * max(conversion.settings.hash_partitions, 1)
    return expected < ROWS_WORTH_A_LEAF * leaves


def early_parents(conversion: Conversion) -> set[int]:
    """The tables to which foreign keys point that are there before the rows."""
    return {
        key.parent
        for member in conversion.members
        for key in (*member.owners, *member.others)
        if is_checked_by_row(conversion, member, key)
    }


def key_steps(conversion: Conversion, member: Member) -> list[tuple[ForeignKey, SQL]]:
    """The foreign keys of a new table, composite inside the hierarchy."""
    early = foreign_keys.checked_too_early(hierarchy(conversion))
    working = member.working
    found = []
    inside = {key.name: key for key in (*member.owners, *member.others)}
    apart = {key.name for key in member.apart}
    for key in member.structure.foreign_keys:
        if key.name in apart:
            continue  # it comes when the global index is there that it refers to
        if key.name not in inside:
            definition = SQL(member.structure.foreign_key_definitions[key.name])
            found.append((key, add_constraint(working.identifier, key.name, definition)))
            continue
        wanted = foreign_keys.composite(key, conversion.keys)
        deferred = key.is_deferred or (key.child, key.name) in early
        parent = conversion.member(key.parent).working
        clause = foreign_keys.clause(wanted, parent.identifier, deferred)
        found.append((key, add_constraint(working.identifier, key.name, clause)))
    return found


def hierarchy(conversion: Conversion) -> Hierarchy:
    """The hierarchy as far as its foreign keys go; it is known by the oids of the plain tables."""
    settings = conversion.settings
    policy = Policy(
        settings.range_column.name,
        settings.hash_column.name if settings.hash_column else None,
        settings.key_form,
        settings.slice_key,
        settings.bucket,
        settings.width,
        settings.hash_partitions,
        settings.premake,
        settings.start,
        None,
        settings.retention_action,
        settings.retention_schema,
        settings.time_zone,
        settings.default_slice,
        0,
        0,
        0,
    )
    tables = tuple(
        declare.as_table(member.structure, ROOT if member.is_root else CHILD, settings.partition_column)
        for member in conversion.members
    )
    keys: list[ForeignKey] = [key for member in conversion.members for key in (*member.owners, *member.others)]
    return Hierarchy(policy, settings.range_type, tables, (), tuple(keys), {table.oid: () for table in tables})


def width_of(each: Range) -> Width:
    """The width of the slices of a range."""
    return calendars.parse_width(each.width, "slice")


def copied_columns(conversion: Conversion, member: Member) -> list[str]:
    """The columns whose values are the plain table's own."""
    keys = () if member.is_root else conversion.keys
    return [column for column in member.facts.stored if column not in keys]


def identifiers(alias: str, columns: list[str]) -> list[SQL]:
    """``t."a"``, ``t."b"``."""
    return [compose("{}.{}", SQL(alias), Identifier(column)) for column in columns]
