"""What is compared to find drift, and a difference as a value."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Table
from ..sql import SQL, Identifier
from .ageing import AgeingPolicy
from .properties import Properties, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


# Who runs the statement of a difference: dp.sync, dp.sync when it may write all rows anew, or nobody but the DBA.
SYNC, REWRITE, HAND = "sync", "rewrite", "hand"
OWNER, TEMPLATE = "owner", "template"  # the aspects that dp.check has findings of their own for


class Partition(NamedTuple):
    """A slice or a leaf of a managed table, and what it has."""

    oid: int
    is_leaf: bool
    locks: int  # entries of the lock table that a statement takes which reaches all of it
    state: State
    policy: AgeingPolicy | None = None  # of a leaf that is old enough for one: what maintenance sees to


class IndexPlace(NamedTuple):
    """An index of a leaf, and the tablespace that it should be in."""

    relation: int
    identifier: Identifier
    tablespace: str  # by name, the database's own, too
    expected: str | None  # None: it is the leaf's own, and goes with it


class Column(NamedTuple):
    """A column that differs between two relations; None where one of them lacks it."""

    relation: int
    aspect: str  # "column", "default", "not null", "column storage", "compression"
    name: str
    expected: str | None
    actual: str | None


class MissingIndex(NamedTuple):
    """A partition without its part of a partitioned index of its parent."""

    relation: int
    schema: str
    parent_index: str  # of the table or slice right above
    top_index: str  # of the managed table
    is_unique: bool
    definition: str  # behind the table's name
    constraint: str | None  # the index is a constraint's: as in pg_get_constraintdef
    name: str  # that it would have in a new partition

    @property
    def kind(self) -> tuple[bool, str]:
        """What makes an index of a leaf its part."""
        return (self.is_unique, self.definition)


class Trigger(NamedTuple):
    """A row trigger that is enabled otherwise than the parent's."""

    relation: int
    name: str
    expected: str  # ENABLE, DISABLE, ENABLE REPLICA, ENABLE ALWAYS
    actual: str


class Facts(NamedTuple):
    """What of one managed table is compared."""

    table: Table
    wanted: Properties
    partitions: tuple[Partition, ...]  # slices before their leaves
    columns: tuple[Column, ...]  # also of the template
    missing_indexes: tuple[MissingIndex, ...]
    triggers: tuple[Trigger, ...]
    index_places: tuple[IndexPlace, ...] = ()  # those in another tablespace than their parents, and leaves' own
    own_tablespace: str = ""  # the database's


class Difference(NamedTuple):
    """One aspect of one relation that is not as it should be."""

    relation: Identifier
    aspect: str  # which of its properties
    part: str  # the column, policy, index, ... it is about; empty: the relation itself
    expected: str | None
    actual: str | None
    statements: tuple[SQL, ...]  # none: it needs a decision
    mended_by: str = SYNC

    @property
    def statement(self) -> str | None:
        """What mends it, as text."""
        return ";\n".join(each.text for each in self.statements) or None


def unequal(
    expected: Iterable[tuple[str, str]], actual: Iterable[tuple[str, str]]
) -> list[tuple[str, str | None, str | None]]:
    """Keys whose values differ, with both values."""
    wanted, present = dict(expected), dict(actual)
    keys = [*wanted, *(key for key in present if key not in wanted)]
    return [(key, wanted.get(key), present.get(key)) for key in keys if wanted.get(key) != present.get(key)]
