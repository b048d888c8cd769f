"""What was asked for beside what is there: the same, or another thing of that name."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .alter import NewColumn


class ColumnFacts(NamedTuple):
    """A column as PostgreSQL deparses it."""

    type: str
    collation: str | None
    is_not_null: bool
    identity: str | None
    generated: str | None
    default_value: str | None
    comment: str | None
    dependents: int  # indexes, constraints, statistics objects, ... that contain it


class IndexFacts(NamedTuple):
    """An index as PostgreSQL deparses it."""

    is_unique: bool
    definition: str  # behind the table's name
    is_valid: bool
    is_of_constraint: bool

    @property
    def text(self) -> str:
        """How it is told."""
        return ("UNIQUE " if self.is_unique else "") + self.definition


def storable(facts: ColumnFacts) -> tuple[str | None, ...]:
    """What a template must agree in: the rest is the parent's."""
    return (facts.type, facts.collation, facts.generated)


def differences(column: NewColumn, asked: ColumnFacts, present: ColumnFacts) -> list[str]:
    """How the column that is there is another than the one that was asked for.

    What a column is made of is compared always; a default, NOT NULL and a comment only when they were asked for, as
    they may have been changed since by calls of their own.
    """
    pairs = [
        ("type", asked.type, present.type),
        ("collation", asked.collation, present.collation),
        ("generated expression", asked.generated, present.generated),
        ("identity", asked.identity, present.identity),
    ]
    if column.default is not None:
        pairs.append(("default", asked.default_value, present.default_value))
    if column.comment is not None:
        pairs.append(("comment", column.comment, present.comment))
    found = [f"{what} {old or 'none'} instead of {new or 'none'}" for what, new, old in pairs if new != old]
    if column.is_not_null and not present.is_not_null:
        found.append("nullable instead of NOT NULL")
    return found
