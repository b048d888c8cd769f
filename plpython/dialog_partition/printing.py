"""The session's last plan: the statements that a call ran, or that a dry run prints for somebody to run."""

from __future__ import annotations

from .sql import SQL, Composable, Identifier, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .execute import Context
    from .operation import Step

PROPAGATION = "dp.propagate_ddl"  # the setting that switches the event trigger for plain DDL

PlanRow = tuple[int, str, str]

_rows: list[PlanRow] = []
_is_off: list[bool] = []  # whether the event trigger for plain DDL is off in what is being printed
_role: list[str] = []  # whose statements are being printed, where that is not the caller


def reset() -> None:
    """A new call begins."""
    _rows.clear()
    _role.clear()
    _is_off.clear()


def last_plan() -> list[PlanRow]:
    """The operations of the session's last call."""
    return list(_rows)


def record(each: Step, context: Context, *, is_printed: bool) -> None:
    """Add a step to the plan; a printed one with what makes it the same when somebody else runs it."""
    if is_printed:
        _print_role(context.owner)
        if context.is_schema_change and not _is_off:
            _append(SQL(PROPAGATION), SQL(f"SET {PROPAGATION} = off"))
            _is_off.append(True)
    if is_printed and each.is_whole:
        _append(each.operations[0].target, SQL("BEGIN"))
    for operation in each.operations:
        _append(operation.target, operation.statement)
    if is_printed and each.is_whole:
        _append(each.operations[0].target, SQL("COMMIT"))


def finish() -> None:
    """The end of what a call prints: whoever runs it is himself again."""
    if _is_off:
        _append(SQL(PROPAGATION), SQL(f"RESET {PROPAGATION}"))
        _is_off.clear()
    _print_role(None)


def _print_role(owner: str | None) -> None:
    """New tables belong to the owner of the hierarchy, also when a superuser runs what was printed."""
    if (_role[-1] if _role else None) == owner:
        return
    role = Identifier(owner) if owner is not None else SQL("session_user")
    _append(role, compose("SET ROLE {}", role) if owner is not None else SQL("RESET ROLE"))
    _role[:] = [owner] if owner is not None else []


def _append(target: Composable, statement: Composable) -> None:
    _rows.append((len(_rows) + 1, target.text, statement.text))
