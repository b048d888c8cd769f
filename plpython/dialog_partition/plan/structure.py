"""The structure of one table, as a value."""

from __future__ import annotations

from typing import NamedTuple

from ..model import ForeignKey
from ..sql import SQL, Composable, Identifier, compose
from .properties import Grant

# pg_trigger.tgenabled and pg_rewrite.ev_enabled, as ALTER TABLE says them
ENABLED_WORDS = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


class Column(NamedTuple):
    """A column: its type with modifier, and its collation where it is not the type's own."""

    name: str
    type: str
    collation: tuple[str, str] | None
    is_not_null: bool
    is_identity: bool

    @property
    def declaration(self) -> SQL:
        """``character varying(255) COLLATE "pg_catalog"."C"``."""
        if self.collation is None:
            return SQL(self.type)
        return compose("{} COLLATE {}", SQL(self.type), Identifier(*self.collation))

    def is_alike(self, other: Column) -> bool:
        """Whether both have one type and one collation, without which joins are not partition-wise."""
        return (self.type, self.collation) == (other.type, other.collation)


class Index(NamedTuple):
    """An index, or the constraint that it stands for."""

    name: str
    constraint_type: str | None  # p u x, None for a plain index
    is_unique: bool
    columns: tuple[str | None, ...]  # key columns, None for an expression
    definition: str  # of an index: behind the table's name; of a constraint: as in pg_get_constraintdef
    options: tuple[tuple[str, str], ...]
    tablespace: str | None
    comment: str | None


class Trigger(NamedTuple):
    """A trigger, as pg_get_triggerdef says it."""

    name: str
    definition: str
    enabled: str  # pg_trigger.tgenabled
    is_row_with_transition_table: bool


class Sequence(NamedTuple):
    """A sequence behind a column: owned by a serial one, or an identity's."""

    schema: str
    name: str
    column: str
    is_identity: bool
    position: int  # the last value, or the next one where it was never called
    is_called: bool
    grants: tuple[Grant, ...]
    comment: str | None
    type: str = "bigint"  # LIKE makes that of an identity's, whatever it was


class Rule(NamedTuple):
    """A rewrite rule, as pg_get_ruledef says it."""

    name: str
    definition: str
    enabled: str  # pg_rewrite.ev_enabled


class Statistics(NamedTuple):
    """An extended statistics object, as pg_get_statisticsobjdef says it."""

    schema: str
    name: str
    definition: str
    target: int | None


class Publication(NamedTuple):
    """A publication that names the table."""

    name: str
    columns: tuple[str, ...]  # empty: all
    condition: str | None
    is_by_root: bool  # publish_via_partition_root
    is_owner: bool  # whether the table's owner may change it


class Comment(NamedTuple):
    """A comment on a part of the table: CONSTRAINT, TRIGGER, POLICY, RULE, STATISTICS."""

    kind: str
    schema: str
    name: str
    text: str


class Structure(NamedTuple):
    """Everything that making a table anew must carry over."""

    oid: int
    schema: str
    name: str
    owner: str
    kind: str
    has_rows: bool
    has_partitions: bool
    partition_strategy: str | None
    partition_columns: tuple[str, ...]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...]  # declared on it
    foreign_key_definitions: dict[str, str]
    incoming: tuple[ForeignKey, ...]  # pointing to it, itself left out
    triggers: tuple[Trigger, ...]
    sequences: tuple[Sequence, ...]
    statistics: tuple[Statistics, ...]
    rules: tuple[Rule, ...]
    publications: tuple[Publication, ...]
    comments: tuple[Comment, ...]
    checks: tuple[str, ...]
    uninherited_checks: tuple[str, ...]
    is_typed: bool
    dependents: tuple[str, ...]  # views, functions and the like

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    def column(self, name: str) -> Column | None:
        """A column by name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def primary_key(self) -> Index | None:
        """Its primary key."""
        return next((index for index in self.indexes if index.constraint_type == "p"), None)


def add_constraint(table: Composable, name: str, clause: Composable) -> SQL:
    """``ALTER TABLE ... ADD CONSTRAINT``."""
    return compose("ALTER TABLE {} ADD CONSTRAINT {} {}", table, Identifier(name), clause)
