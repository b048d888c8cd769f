"""The statements that declare hierarchies, children and references."""

from __future__ import annotations

from typing import NamedTuple

from .. import errors, keys, naming
from ..calendars import Width
from ..model import REFERENCE, ROOT, ForeignKey, Hierarchy, Policy, Table
from ..sql import SQL, Identifier, Literal, assignments, comma_list, compose, names
from . import foreign_keys, slice_form
from .properties import Properties, column_statements, storage_clause
from .remakable import check_can_be_remade
from .remake import guard_statements, remake_statements
from .structure import Column, Structure, add_constraint
from .unique import check_unique_rules


class Settings(NamedTuple):
    """The checked parameters of create_hierarchy."""

    range_column: Column
    range_type: str
    hash_column: Column | None
    key_form: str
    slice_key: str | None
    bucket: Width | None
    width: Width
    hash_partitions: int
    premake: int
    start: str | None
    retention: str | None
    retention_action: str
    retention_schema: str | None
    time_zone: str
    default_slice: bool
    lock_timeout: str

    @property
    def partition_column(self) -> str:
        """The first-level partition column."""
        return self.slice_key if self.slice_key is not None else self.range_column.name

    @property
    def partition_keys(self) -> tuple[str, ...]:
        """The columns that every table carries."""
        return (self.partition_column,) + ((self.hash_column.name,) if self.hash_column else ())


def as_table(structure: Structure, role: str, partition_column: str) -> Table:
    """A table as it will be, for plans that are made before it is."""
    template = naming.template_name(structure.name)
    return Table(
        structure.oid,
        structure.schema,
        structure.name,
        structure.owner,
        role,
        "p",
        partition_column,
        None,
        None,
        structure.schema,
        template,
        len(structure.indexes) + 3,
        any(column.is_identity for column in structure.columns),
        objects_per_leaf=2 + len(structure.indexes) + 3 * (len(structure.foreign_keys) + 1),
    )


def is_remade(structure: Structure, partition_column: str) -> bool:
    """Whether a table must be made anew to be partitioned by RANGE of that column."""
    return not (
        structure.kind == "p"
        and structure.partition_strategy == "r"
        and structure.partition_columns == (partition_column,)
    )


def root_key_columns(settings: Settings) -> tuple[Column, ...]:
    """The key columns of a root, the slice key among them, as they shall be."""
    found = [settings.range_column]
    if settings.slice_key is not None:
        found.insert(0, Column(settings.slice_key, keys.slice_key_type(settings.range_type), None, True, False))
    if settings.hash_column is not None:
        found.append(settings.hash_column)
    return tuple(column._replace(is_not_null=True) for column in found)


def root_statements(
    structure: Structure, properties: Properties, settings: Settings, allow_weaker_unique: bool, version: int
) -> list[SQL]:
    """Give the root its form."""
    needed = root_key_columns(settings)
    partition_keys = settings.partition_keys
    found: list[SQL] = []
    if is_remade(structure, settings.partition_column):
        if settings.slice_key is not None:
            structure = slice_form.root(structure, settings.range_column.name, settings.slice_key)
        check_can_be_remade(structure, partition_keys, version)
        check_unique_rules(structure, partition_keys, [], allow_weaker_unique)
        own = [key for key in structure.foreign_keys if key.parent == structure.oid]
        kept = tuple(key.name for key in structure.foreign_keys if key.parent != structure.oid)
        for key in (*own, *structure.incoming):
            foreign_keys.check_pairs(key, partition_keys)
        found += guard_statements(structure, properties)
        found += foreign_keys.drop_incoming_statements(structure)
        found += remake_statements(structure, properties, settings.partition_column, needed, partition_keys, kept)
        found += [foreign_keys.self_reference(structure, key, partition_keys) for key in own]
        found += foreign_keys.remember_statements(list(structure.incoming))
    else:
        check_keys(structure, needed, partition_keys)
    if settings.slice_key is not None and settings.bucket is not None:
        found += slice_key_statements(structure, settings, settings.slice_key, settings.bucket)
    return found


def check_keys(structure: Structure, needed: tuple[Column, ...], partition_keys: tuple[str, ...]) -> None:
    """Check a table that is partitioned already: its key columns, and that its primary key contains them."""
    for column in needed:
        present = structure.column(column.name)
        if present is None:
            raise errors.UndefinedColumn(
                f'column "{column.name}" of {structure.identifier} does not exist',
                "Every table of a hierarchy carries the partition keys.",
                "Add the column, or let an empty plain table be made anew.",
            )
        if not present.is_alike(column):
            raise errors.DatatypeMismatch(
                f'column "{column.name}" of {structure.identifier} is {present.declaration}, not {column.declaration}',
                "Keys of another type or collation turn partition-wise joins off.",
                "Declare the column as it is in the root.",
            )
        if not present.is_not_null:
            raise errors.InvalidTableDefinition(
                f'column "{column.name}" of {structure.identifier} is nullable',
                "A partition key is known of every row.",
                "Declare the column NOT NULL.",
            )
    primary = structure.primary_key
    if primary is not None and not set(partition_keys) <= set(primary.columns):
        raise errors.InvalidTableDefinition(
            f"the primary key of {structure.identifier} does not contain the partition keys",
            f"They are {names(partition_keys)}; foreign keys inside the hierarchy point to them.",
            'Declare the primary key with them, for example ("Id", keys).',
        )


def slice_key_statements(structure: Structure, settings: Settings, slice_key: str, bucket: Width) -> list[SQL]:
    """What keeps the slice key true: default, CHECK, and the trigger that sets it when the range key changes."""
    table = structure.identifier
    range_key, zone = settings.range_column.name, settings.time_zone
    found = []
    if keys.is_calendar(settings.range_type):
        default = keys.bucket_expression(SQL("now()"), "timestamp with time zone", bucket, zone)
        found.append(compose("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}", table, Identifier(slice_key), default))
    value = keys.bucket_expression(Identifier(range_key), settings.range_type, bucket, zone)
    check = compose("CHECK ({} = {})", Identifier(slice_key), value)
    check_name = naming.derived_name(structure.name, "slice_key_check")
    if check_name in structure.checks:  # declared before, and forgotten; perhaps with another bucket
        found.append(compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(check_name)))
    found.append(add_constraint(table, check_name, check))
    return found + slice_key_trigger(
        structure.schema, structure.name, (slice_key, range_key), settings.range_type, bucket, zone
    )


def slice_key_trigger(
    schema: str, table: str, columns: tuple[str, str], range_type: str, bucket: Width, time_zone: str
) -> list[SQL]:
    """The trigger that gives the slice key its value when the range key changes, and its function."""
    slice_key, range_key = columns
    name = naming.derived_name(table, "set_slice_key")
    function = Identifier(schema, name)
    value = keys.bucket_expression(compose("NEW.{}", Identifier(range_key)), range_type, bucket, time_zone)
    body = compose("BEGIN NEW.{} := {}; RETURN NEW; END", Identifier(slice_key), value)
    return [
        compose(
            "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql"
            " SET search_path = pg_catalog, pg_temp AS {}",
            function,
            Literal(body.text),
        ),
        compose(
            "CREATE OR REPLACE TRIGGER {} BEFORE UPDATE OF {} ON {} FOR EACH ROW EXECUTE FUNCTION {}()",
            Identifier(name),
            Identifier(range_key),
            Identifier(schema, table),
            function,
        ),
    ]


def template_statements(structure: Structure, properties: Properties) -> list[SQL]:
    """Make the template; what a plain table had that the parent cannot hold goes there."""
    template = Identifier(structure.schema, naming.template_name(structure.name))
    found = [
        compose(
            "CREATE {}TABLE {} (LIKE {} INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION)",
            SQL("UNLOGGED " if properties.is_unlogged else ""),
            template,
            structure.identifier,
        )
    ]
    if properties.options:
        found.append(compose("ALTER TABLE {} SET ({})", template, storage_clause(properties.options)))
    found += column_statements(properties, template)
    text = f"Template of {structure.identifier}: new leaves get its storage parameters, statistics targets and indexes."
    found.append(compose("COMMENT ON TABLE {} IS {}", template, Literal(text)))
    return found


def configuration_statements(structure: Structure, settings: Settings) -> list[SQL]:
    """The rows of dp.hierarchy_config and dp.table_config."""
    values: dict[str, str | int | bool | None] = {
        "range_key": settings.range_column.name,
        "hash_key": settings.hash_column.name if settings.hash_column else None,
        "key_form": settings.key_form,
        "slice_key": settings.slice_key,
        "bucket": str(settings.bucket) if settings.bucket else None,
        "slice": str(settings.width),
        "hash_partitions": settings.hash_partitions,
        "premake": settings.premake,
        "start": settings.start,
        "retention": settings.retention,
        "retention_action": settings.retention_action,
        "retention_schema": settings.retention_schema,
        "time_zone": settings.time_zone,
        "default_slice": settings.default_slice,
        "lock_timeout": settings.lock_timeout,
    }
    insert = compose(
        "INSERT INTO dp.hierarchy_config (root, {}) VALUES ({}::regclass, {})",
        names(list(values)),
        Literal(structure.identifier.text),
        comma_list([Literal(value) for value in values.values()]),
    )
    return [insert, table_statement(structure, structure.identifier, ROOT)]


def table_statement(structure: Structure, root: Identifier, role: str) -> SQL:
    """A row of dp.table_config."""
    template = compose("{}::regclass", Literal(Identifier(structure.schema, naming.template_name(structure.name)).text))
    return compose(
        "INSERT INTO dp.table_config (tbl, root, role, template) VALUES ({}::regclass, {}::regclass, {}, {})",
        Literal(structure.identifier.text),
        Literal(root.text),
        Literal(role),
        template if role != REFERENCE else SQL("NULL"),
    )


def new_template_statement(structure: Structure) -> SQL:
    """The row of dp.table_config names the template that was made anew."""
    return compose(
        "UPDATE dp.table_config SET template = {}::regclass WHERE tbl = {}::regclass AND role <> {}",
        Literal(Identifier(structure.schema, naming.template_name(structure.name)).text),
        Literal(structure.identifier.text),
        Literal(REFERENCE),
    )


def child_statements(
    structure: Structure,
    properties: Properties,
    policy: Policy,
    key_columns: tuple[Column, ...],
    inside: list[ForeignKey],
    pending: list[ForeignKey],
) -> list[SQL]:
    """Make a child anew."""
    own = {key.name for key in inside if key.child == structure.oid}
    kept = tuple(key.name for key in structure.foreign_keys if key.name not in own)
    found = guard_statements(structure, properties)
    found += foreign_keys.drop_incoming_statements(structure)
    dropped = slice_form.carried_range_key(structure, policy)
    found += remake_statements(
        structure, properties, policy.partition_column, key_columns, policy.partition_keys, kept, dropped
    )
    again = {(key.child, key.name) for key in inside}
    remembered = [key for key in [*structure.incoming, *pending] if (key.child, key.name) not in again]
    return found + foreign_keys.remember_statements(remembered)


def check_child(
    structure: Structure, policy: Policy, inside: list[ForeignKey], allow_weaker_unique: bool, version: int
) -> None:
    """Refuse a child that cannot be made anew."""
    partition_keys = policy.partition_keys
    check_can_be_remade(structure, partition_keys, version)
    own = [key for key in inside if key.child == structure.oid]
    parent_keys = [tuple(column for column in key.columns if column not in partition_keys) for key in own]
    check_unique_rules(structure, partition_keys, parent_keys, allow_weaker_unique)


def configure_statement(root: Table, changes: dict[str, str | int | bool | None]) -> SQL:
    """UPDATE of the configuration."""
    return compose(
        "UPDATE dp.hierarchy_config SET {} WHERE root = {}::regclass",
        assignments({name: Literal(value) for name, value in changes.items()}),
        Literal(root.identifier.text),
    )


def forget_statements(hierarchy: Hierarchy) -> list[SQL]:
    """Drop the configuration and the templates; the tables stay."""
    found = [
        compose("DELETE FROM dp.hierarchy_config WHERE root = {}::regclass", Literal(hierarchy.root.identifier.text))
    ]
    for table in hierarchy.tables:
        if table.template is not None:
            found.append(compose("DROP TABLE {}", table.template))
    return found
