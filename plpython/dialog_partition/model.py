"""What is read from the catalog, as values. Nothing here knows the server."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from . import errors
from .calendars import Width
from .sql import Identifier

RELATIONS_BESIDE_INDEXES = 3  # a leaf, its TOAST table, and the index of that
ROOT, CHILD, REFERENCE = "root", "child", "reference"
EXACT, SLICE = "exact", "slice"
DETACH, DROP, MOVE = "detach", "drop", "move"  # what retention does


class Edge(NamedTuple):
    """One end of a slice: its point on the partition column's axis, and the calendar moment it is (None: no calendar).

    Edges compare by their point; the moment only names things.
    """

    point: int
    local: datetime.datetime | None = None


class SliceSpec(NamedTuple):
    """A slice that shall exist; the default slice has no edges."""

    lower: Edge | None
    upper: Edge | None
    modulus: int  # 0: no hash level
    suffix: str
    range_lower: int | None = None  # slice form: the bounds of the range key, on its own axis
    range_upper: int | None = None

    @property
    def is_default(self) -> bool:
        """Whether this is the default slice."""
        return self.lower is None and self.upper is None

    @property
    def span(self) -> tuple[int | None, int | None]:
        """Its bounds as points."""
        return (self.lower.point if self.lower else None, self.upper.point if self.upper else None)


class Slice(NamedTuple):
    """A partition of a managed table, as the catalog has it. ``None`` as an edge means unbounded."""

    oid: int
    schema: str
    name: str
    is_partitioned: bool
    is_default: bool
    detach_pending: bool
    lower: Edge | None
    upper: Edge | None
    modulus: int
    remainders: tuple[int, ...]
    is_leafless: bool = False  # cut by HASH, and without any partition

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    @property
    def span(self) -> tuple[int | None, int | None]:
        """Its bounds as points."""
        return (self.lower.point if self.lower else None, self.upper.point if self.upper else None)

    @property
    def missing_remainders(self) -> tuple[int, ...]:
        """Hash partitions that are not there."""
        present = set(self.remainders)
        return tuple(remainder for remainder in range(self.modulus) if remainder not in present)


class ForeignKey(NamedTuple):
    """A foreign key between two tables, as declared on the topmost table."""

    name: str
    child: int
    parent: int
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    on_update: str  # pg_constraint.confupdtype: a r c n d
    on_delete: str
    delete_columns: tuple[str, ...]
    is_deferrable: bool
    is_deferred: bool
    child_text: str = ""  # both tables as PostgreSQL writes them: qualified, quoted
    parent_text: str = ""
    is_mandatory: bool = False  # whether none of its columns is nullable
    is_full: bool = False  # MATCH FULL
    is_valid: bool = True  # false: NOT VALID
    comment: str | None = None


class GlobalIndex(NamedTuple):
    """A side table that holds some columns of all rows of a table, with the partition keys."""

    oid: int  # 0: it is about to be made
    schema: str
    name: str
    columns: tuple[str, ...]
    carried: tuple[str, ...]  # the partition keys, and what tells rows apart where it is not unique
    operator_schemas: tuple[str, ...]  # of the equality of each stored column
    predicate: str | None  # as PostgreSQL deparses it
    is_unique: bool
    is_valid: bool
    hash_partitions: int = 0  # of the side table; 0: it is not partitioned

    @property
    def identifier(self) -> Identifier:
        """The qualified name of the side table."""
        return Identifier(self.schema, self.name)

    @property
    def stored(self) -> tuple[str, ...]:
        """All columns of the side table."""
        return self.columns + self.carried


class Table(NamedTuple):
    """A table of a hierarchy."""

    oid: int
    schema: str
    name: str
    owner: str
    role: str
    kind: str  # pg_class.relkind
    partition_column: str | None
    partition_type: str | None
    template_oid: int | None
    template_schema: str | None
    template_name: str | None
    relations_per_leaf: int  # the leaf, its indexes, its TOAST table and index
    has_identity: bool = False  # a column GENERATED AS IDENTITY
    is_referenced: bool = False  # by a foreign key, from wherever
    objects_per_leaf: int = 0  # what goes with a leaf that is dropped: constraints, triggers, defaults, types
    global_indexes: tuple[GlobalIndex, ...] = ()

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    @property
    def indexes(self) -> int:
        """How many indexes a leaf has."""
        return max(self.relations_per_leaf - RELATIONS_BESIDE_INDEXES, 0)

    @property
    def template(self) -> Identifier | None:
        """The qualified name of its template."""
        if self.template_schema is None or self.template_name is None:
            return None
        return Identifier(self.template_schema, self.template_name)


class Policy(NamedTuple):
    """What the configuration says of a hierarchy."""

    range_key: str
    hash_key: str | None
    key_form: str
    slice_key: str | None
    bucket: Width | None
    width: Width
    hash_partitions: int
    premake: int
    start: str | None
    retention: Width | None
    retention_action: str
    retention_schema: str | None
    time_zone: str
    default_slice: bool
    lock_timeout_ms: int
    analyze_interval_ms: int
    log_retention_ms: int
    retention_grace: Width | None = None
    retention_export: str | None = None  # as regprocedure writes it
    retention_protect: str | None = None
    lookup_slices: int = 12  # for how many of the newest lookups keep plans

    @property
    def partition_column(self) -> str:
        """The first-level partition column: range key or slice key."""
        return self.slice_key if self.key_form == SLICE and self.slice_key else self.range_key

    @property
    def partition_keys(self) -> tuple[str, ...]:
        """The columns that every table carries and every key contains."""
        return (self.partition_column, self.hash_key) if self.hash_key else (self.partition_column,)

    @property
    def detaches_before_dropping(self) -> bool:
        """Whether retention drops what it has detached before, and has looked at, or handed to the owner's function."""
        hooks = (self.retention_grace, self.retention_export, self.retention_protect)
        return self.retention_action == DROP and any(each is not None for each in hooks)


class Hierarchy(NamedTuple):
    """A hierarchy with everything the plans need. Tables stand in the order of their foreign keys, the root first."""

    policy: Policy
    range_type: str
    tables: tuple[Table, ...]  # root and children
    references: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...]  # among tables of the hierarchy
    slices: dict[int, tuple[Slice, ...]]  # by table, in the order of their lower bounds
    apart: tuple[ForeignKey, ...] = ()  # of its tables to their global indexes, each as one to the table itself

    @property
    def root(self) -> Table:
        """The root table."""
        return self.tables[0]

    def table(self, oid: int) -> Table:
        """The managed table with an oid."""
        for table in self.tables:
            if table.oid == oid:
                return table
        raise errors.UndefinedObject(
            f"a table with oid {oid} does not belong to the hierarchy of {self.root.identifier}",
            "The configuration names it, and it was dropped.",
            "See SELECT * FROM dp.check(...).",
        )

    def with_index(self, table: Table, side: GlobalIndex) -> Hierarchy:
        """The same when a table has another global index."""
        changed = table._replace(global_indexes=(*table.global_indexes, side))
        return self._replace(tables=tuple(changed if each.oid == table.oid else each for each in self.tables))

    def without_index(self, side: GlobalIndex) -> Hierarchy:
        """The same when a global index has gone."""
        tables = (
            table._replace(global_indexes=tuple(each for each in table.global_indexes if each.oid != side.oid))
            for table in self.tables
        )
        return self._replace(tables=tuple(tables))

    @property
    def referred(self) -> list[int]:
        """What foreign keys inside the hierarchy may point to: its tables, and their global indexes."""
        return [oid for table in self.tables for oid in (table.oid, *(index.oid for index in table.global_indexes))]

    def is_tied(self, table: Table) -> bool:
        """Whether foreign keys of the hierarchy refer to global indexes of a table."""
        return any(key.parent == table.oid for key in self.apart)

    def parents(self, table: Table) -> tuple[Table, ...]:
        """The tables of the hierarchy that a table refers to, itself left out."""
        found = {key.parent for key in self.foreign_keys if key.child == table.oid and key.parent != table.oid}
        return tuple(parent for parent in self.tables if parent.oid in found)

    def ancestors(self, table: Table) -> tuple[Table, ...]:
        """The tables of the hierarchy that a table refers to, directly or through others, itself left out."""
        found = {table.oid}
        for each in reversed(self.tables):  # children first, for tables stand behind those that they refer to
            if each.oid in found:
                found.update(parent.oid for parent in self.parents(each))
        return tuple(each for each in self.tables if each.oid in found - {table.oid})

    def default_slice(self, table: Table) -> Slice | None:
        """The default slice of a table."""
        return next((found for found in self.slices[table.oid] if found.is_default), None)

    def range_slices(self, table: Table) -> tuple[Slice, ...]:
        """The slices of a table but the default one."""
        return tuple(found for found in self.slices[table.oid] if not found.is_default)
