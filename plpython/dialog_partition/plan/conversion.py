"""Converting plain tables: what was found of them, and how their rows come to the root.

A conversion is a value: the members of the hierarchy in the order of their foreign keys, what stands beside them, and
how they will be cut. Everything else, findings and statements, follows from it.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import ForeignKey
from ..sql import SQL, Composable, Identifier, compose
from .declare import Settings, root_key_columns
from .properties import Properties
from .structure import Column, Index, Structure
from .unique import is_weakened

REFUSE, KEEP = "refuse", "keep"  # what is done with rows that have no parent, or parents of different root rows
ROOT, CHILD, REFERENCE, OUTSIDE = "root", "child", "reference", "outside"


class Facts(NamedTuple):
    """What only a conversion asks of a table."""

    stored: tuple[str, ...]  # its columns but the generated ones
    hashable: frozenset[str]  # those whose type can be hashed
    predicates: dict[str, str]  # of partial indexes
    plain_indexes: frozenset[str]  # whose uniqueness a global index can keep: columns only, NULLs distinct, at once
    row_types: tuple[str, ...]  # what uses the table's row type: it cannot be made to mean another table
    is_forced: bool  # row security also for the owner
    text: str  # its name as PostgreSQL writes it
    unchecked: tuple[tuple[str, str], ...]  # CHECKs that are NOT VALID: rows that are there may break them
    unproven: tuple[str, ...]  # foreign keys that are NOT VALID
    clustered: str | None  # the index that CLUSTER goes by
    grantors: tuple[str, ...] = ()  # roles beside the owner who gave privileges on it


class Member(NamedTuple):
    """A table of the hierarchy to be."""

    structure: Structure
    properties: Properties
    facts: Facts
    owners: tuple[ForeignKey, ...] = ()  # by which its rows come to the root; several are alternatives
    others: tuple[ForeignKey, ...] = ()  # further foreign keys inside the hierarchy, to itself among them
    apart: tuple[ForeignKey, ...] = ()  # those whose rows have parents of other root rows: they get no keys
    depth: int = 0

    @property
    def oid(self) -> int:
        """The table's oid."""
        return self.structure.oid

    @property
    def identifier(self) -> Identifier:
        """The table's qualified name."""
        return self.structure.identifier

    @property
    def is_root(self) -> bool:
        """Whether this is the root."""
        return not self.owners

    @property
    def working(self) -> Structure:
        """The table as it is built, in a schema of its own beside the one it is in."""
        return self.structure._replace(schema=working_schema(self.structure.schema))

    @property
    def keys_table(self) -> Identifier:
        """Where the partition keys of its rows are noted, for the tables below."""
        return Identifier(self.working.schema, naming.derived_name(self.structure.name, "keys_of_conversion"))


class Figures(NamedTuple):
    """What was counted in a table."""

    rows: int = 0
    orphans: int = 0  # rows with no way to the root
    several: int = 0  # rows with more than one owner
    conflicts: int = 0  # rows whose owners belong to different root rows
    apart: tuple[tuple[str, int], ...] = ()  # other foreign keys by which rows refer to those of other root rows
    without_keys: int = 0  # root rows whose range key or hash key is NULL
    differing: int = 0  # rows that hold another value in a key column than their root row
    broken: int = 0  # rows that break a foreign key which is NOT VALID
    largest: int = 0  # rows that refer to one root row, of those that refer to the root itself


class Dependent(NamedTuple):
    """What depends on the tables and must mean the new ones: a view, a function, a rule, a policy."""

    kind: str
    name: str  # as it is told
    drop: str | None  # None: it is replaced in place
    create: tuple[str, ...]
    release: tuple[str, ...] = ()  # lets it look at nothing, while what it looks at is dropped and made again
    afterwards: tuple[str, ...] = ()  # what reads the rows, and is done when the tables are in place


class Taken(NamedTuple):
    """A name in the schema of a table that the new one needs, and that something else has."""

    table: int
    name: Identifier
    purpose: str


class Range(NamedTuple):
    """A range of the root's range key, and the slices it gets."""

    lower: str
    upper: str
    width: str
    rows: int


class Conversion(NamedTuple):
    """Plain tables, and what they become."""

    members: tuple[Member, ...]  # parents before children, the root first
    settings: Settings
    figures: dict[int, Figures]
    ranges: tuple[Range, ...]
    references: tuple[tuple[Identifier, bool], ...]  # shared tables, and whether the caller may register them
    outside: tuple[ForeignKey, ...]  # foreign keys of other tables that point into the hierarchy
    dependents: tuple[Dependent, ...]
    blocked: tuple[tuple[str, str], ...]  # dependents that cannot be made again: name, why
    orphan_keys: tuple[SQL, ...]  # what takes the place of the keys in rows without a parent
    orphans: str
    allow_weaker_unique: bool
    version: int
    disagreeing: str = REFUSE  # what is done with rows that refer to rows of other root rows
    replace_values: bool = False  # of key columns that are there, where they differ from the root row's
    taken: tuple[Taken, ...] = ()
    is_back: bool = False  # from partitioned tables to plain ones

    @property
    def root(self) -> Member:
        """The root."""
        return self.members[0]

    def member(self, oid: int) -> Member:
        """A table of the hierarchy."""
        return next(each for each in self.members if each.oid == oid)

    @property
    def keys(self) -> tuple[str, ...]:
        """The partition keys that the new tables have; plain ones have none."""
        return () if self.is_back else self.settings.partition_keys

    @property
    def apart(self) -> list[ForeignKey]:
        """The foreign keys inside that get no keys, and refer to global indexes."""
        return [key for member in self.members for key in member.apart]

    def parent_keys(self, member: Member) -> list[tuple[str, ...]]:
        """The columns by which a table refers to its owner; alternatives count where the rule is about one of them."""
        return [key.columns for key in member.owners]


def working_schema(schema: str) -> str:
    """Where the new tables of a schema are built."""
    return naming.derived_name(schema, "conversion")


def kept_schema(schema: str) -> str:
    """Where the plain tables of a schema are kept."""
    return naming.derived_name(schema, "converted")


def choose_owners(
    structure: Structure, keys: list[ForeignKey], depths: dict[int, int], named: list[str] | None
) -> tuple[tuple[ForeignKey, ...], tuple[ForeignKey, ...]]:
    """By which of its foreign keys a table's rows come to the root, and the others.

    A key that every row has leads there alone, the shortest way first. Where each may be NULL, all are alternatives.
    """
    upward = [key for key in keys if key.parent != structure.oid]
    if named is not None:
        owners = [key for key in upward if key.name in named]
    else:
        mandatory = sorted((key for key in upward if _is_mandatory(structure, key)), key=lambda k: depths[k.parent])
        owners = mandatory[:1] or upward
    return tuple(owners), tuple(key for key in keys if key not in owners)


def set_apart(member: Member, figures: Figures) -> Member:
    """A table with its foreign keys taken apart by which some rows refer to those of other root rows."""
    names = {name for name, rows in figures.apart if rows}
    return member._replace(
        others=tuple(key for key in member.others if key.name not in names),
        apart=tuple(key for key in member.others if key.name in names),
    )


def _is_mandatory(structure: Structure, key: ForeignKey) -> bool:
    columns = [structure.column(name) for name in key.columns]
    return all(column is not None and column.is_not_null for column in columns)


def is_mandatory(member: Member, key: ForeignKey) -> bool:
    """Whether every row of a table has a parent by this key."""
    return _is_mandatory(member.structure, key)


def key_columns(conversion: Conversion) -> tuple[Column, ...]:
    """The partition keys as columns of children."""
    found = {column.name: column for column in root_columns(conversion.settings)}
    return tuple(found[name] for name in conversion.keys)


def root_columns(settings: Settings) -> tuple[Column, ...]:
    """The key columns of the root."""
    return root_key_columns(settings)


def weakened(conversion: Conversion, member: Member) -> list[Index]:
    """The unique rules of a table that its keys break.

    The primary key of a table is broken as well, unless it holds the columns by which the rows refer to their owner.
    """
    return [
        index
        for index in member.structure.indexes
        if index.constraint_type != "x" and is_weakened(index, conversion.keys, conversion.parent_keys(member))
    ]


def is_kept(member: Member, index: Index) -> bool:
    """Whether a global index can keep a unique rule: it tells rows apart by the primary key."""
    return index.name in member.facts.plain_indexes and member.structure.primary_key is not None


def joined(pairs: list[tuple[Composable, Composable]]) -> SQL:
    """``a = b AND c = d``."""
    return SQL(" AND ".join(compose("{} = {}", *pair).text for pair in pairs))
