"""Composing SQL text: names and values enter a statement only through this module."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Composable:
    """A piece of SQL text that is safe to put into a statement."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composable) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class SQL(Composable):
    """SQL text from this package's own source, or from PostgreSQL's own deparser (pg_get_...)."""


class Identifier(Composable):
    """A name, qualified or not, always quoted: ``Identifier("public", "Dialog")``."""

    __slots__ = ("name", "schema")

    def __init__(self, *parts: str) -> None:
        self.name = parts[-1]  # without its schema, as it is
        self.schema = parts[0] if len(parts) > 1 else None
        super().__init__(".".join(_quote_name(part) for part in parts))


class Literal(Composable):
    """A value as a constant: None, bool, int or str."""

    def __init__(self, value: str | int | bool | None) -> None:
        super().__init__(_quote_value(value))


def _quote_name(name: str) -> str:
    if "\0" in name:
        raise ValueError("a name cannot contain a zero byte")
    return '"' + name.replace('"', '""') + '"'


def _quote_value(value: str | int | bool | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    quoted = value.replace("'", "''")
    if "\\" in quoted:  # right whatever standard_conforming_strings says
        return "E'" + quoted.replace("\\", "\\\\") + "'"
    return "'" + quoted + "'"


def compose(template: str, *positional: Composable, **named: Composable) -> SQL:
    """Fill ``{}`` and ``{name}`` of a template with composables; refuses anything else."""
    for value in (*positional, *named.values()):
        if not isinstance(value, Composable):
            raise TypeError(f"compose() takes composables, not {type(value).__name__}")
    return SQL(template.format(*positional, **named))


def comma_list(parts: list[Composable] | list[Identifier] | list[Literal] | list[SQL]) -> SQL:
    """Join pieces with commas."""
    return SQL(", ".join(part.text for part in parts))


def names(columns: list[str] | tuple[str, ...]) -> SQL:
    """A comma-separated list of quoted column names."""
    return comma_list([Identifier(column) for column in columns])


def search_path(schemas: Iterable[str]) -> SQL:
    """That of a function, whoever calls it: neither operators of others nor temporary objects come first."""
    return comma_list([SQL("pg_catalog"), *(Identifier(each) for each in schemas), SQL("pg_temp")])


def conjunction(conditions: list[SQL]) -> SQL:
    """Conditions joined by AND."""
    return SQL(" AND ".join(condition.text for condition in conditions))


def assignments(values: dict[str, Composable]) -> SQL:
    """``"a" = ..., "b" = ...``, as in UPDATE ... SET."""
    return comma_list([compose("{} = {}", Identifier(column), value) for column, value in values.items()])


def name_array(columns: list[str] | tuple[str, ...]) -> SQL:
    """A constant of type name[]."""
    return compose("ARRAY[{}]::name[]", comma_list([Literal(column) for column in columns]))
