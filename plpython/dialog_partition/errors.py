"""The errors a user can meet, each with its SQLSTATE.

Message: lower case, no full stop, names the object. Detail and hint: sentences.
"""

from __future__ import annotations


class PartitionError(Exception):
    """Base of every error that dialog_partition raises on purpose."""

    sqlstate = "XX000"

    def __init__(self, message: str, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint


class InvalidParameter(PartitionError):
    """A parameter has a value that cannot work (22023)."""

    sqlstate = "22023"

    @classmethod
    def of(cls, parameter: str, value: object, detail: str, hint: str | None = None) -> InvalidParameter:
        """A parameter's value cannot work, and why."""
        shown = "NULL" if value is None else f'"{value}"'
        message = f"invalid value for parameter {parameter}: {shown}"
        return cls(message, detail, hint or f"Call again with another value for {parameter}.")


class WrongObjectType(PartitionError):
    """The relation is of a kind that cannot be managed (42809)."""

    sqlstate = "42809"


class UndefinedObject(PartitionError):
    """The relation is not known to dialog_partition (42704)."""

    sqlstate = "42704"


class UndefinedFunction(PartitionError):
    """A function that the owner named does not exist (42883)."""

    sqlstate = "42883"


class UndefinedColumn(PartitionError):
    """A key column does not exist (42703)."""

    sqlstate = "42703"


class DuplicateColumn(PartitionError):
    """A column has the name already, and is another (42701)."""

    sqlstate = "42701"


class DatatypeMismatch(PartitionError):
    """A column has another type or collation than it must (42804)."""

    sqlstate = "42804"


class DuplicateObject(PartitionError):
    """The table belongs to a hierarchy already (42710)."""

    sqlstate = "42710"


class DuplicateTable(PartitionError):
    """A relation has the name that a new slice needs (42P07)."""

    sqlstate = "42P07"


class InvalidTableDefinition(PartitionError):
    """The table's definition does not allow what was asked (42P16)."""

    sqlstate = "42P16"


class InsufficientPrivilege(PartitionError):
    """The caller does not own the table (42501)."""

    sqlstate = "42501"

    @classmethod
    def not_owner(cls, table: object, owner: str) -> InsufficientPrivilege:
        """The caller is neither the owner of a table nor a member of that role."""
        return cls(
            f"must be owner of table {table}",
            f"It belongs to {owner}.",
            f"Call as {owner}, or as a member of that role who inherits its privileges.",
        )


class DependentObjects(PartitionError):
    """Objects depend on a table that would have to be made anew (2BP01)."""

    sqlstate = "2BP01"


class NotInPrerequisiteState(PartitionError):
    """The hierarchy is not in a state that allows the call (55000)."""

    sqlstate = "55000"


class ObjectInUse(PartitionError):
    """Another session works on the same hierarchy (55006)."""

    sqlstate = "55006"


class LockNotAvailable(PartitionError):
    """A lock was not granted within lock_timeout, after all retries (55P03)."""

    sqlstate = "55P03"


class OutOfLocks(PartitionError):
    """The work needs more locks than one transaction may take (53200)."""

    sqlstate = "53200"


class InvalidIsolation(PartitionError):
    """A function that changes tables was called in a transaction that cannot see what others committed (25000)."""

    sqlstate = "25000"


class NoSecondSession(PartitionError):
    """A statement that cannot run inside a transaction needs a second session, and there is none (08001)."""

    sqlstate = "08001"


class InvalidTransactionState(PartitionError):
    """A procedure that commits was called inside a transaction block (2D000)."""

    sqlstate = "2D000"


class TimeIsOver(PartitionError):
    """What the other session ran was stopped at the end of the time of a call, which goes on (57014)."""

    sqlstate = "57014"


class MaintenanceFailed(PartitionError):
    """At least one hierarchy failed during a run over several (P0001)."""

    sqlstate = "P0001"
