"""Row security policies of partitions: the parent's, with expressions that mean the partition."""

from __future__ import annotations

from typing import NamedTuple

from ..sql import SQL, Identifier, comma_list, compose


class RowPolicy(NamedTuple):
    """A row security policy."""

    name: str
    is_permissive: bool
    command: str  # ALL, SELECT, INSERT, UPDATE, DELETE
    roles: tuple[str, ...]  # empty: PUBLIC
    using: str | None
    check: str | None


def requalified(policy: RowPolicy, table: str, relation: Identifier) -> RowPolicy:
    """A policy of a table for its partition: a subquery in it names the table when it means the row's columns."""

    def changed(expression: str | None) -> str | None:
        return replace_qualifier(expression, table, relation.name) if expression is not None else None

    return policy._replace(using=changed(policy.using), check=changed(policy.check))


def replace_qualifier(expression: str, old: str, new: str) -> str:
    """``old.column`` as ``new.column``; not in constants, other names, or behind a schema."""
    found = ""
    position = 0
    while position < len(expression):
        end = _token_end(expression, position)
        token = expression[position:end]
        name = token[1:-1].replace('""', '"') if token.startswith('"') else token
        is_qualifier = expression[end : end + 1] == "." and expression[position - 1 : position] != "."
        is_word = token.startswith('"') or token[0].isalpha() or token[0] == "_"
        found += Identifier(new).text if name == old and is_word and is_qualifier else token
        position = end
    return found


def _token_end(text: str, start: int) -> int:
    """Where a quoted name, a constant, a word or a single character ends, in what PostgreSQL deparsed."""
    quote = text[start]
    end = start + 1
    if quote in "\"'":
        escapes = quote == "'" and text[start - 1 : start] == "E"
        while text[end : end + 1] != quote or text[end + 1 : end + 2] == quote:
            end += 2 if text[end : end + 1] == quote or (escapes and text[end : end + 1] == "\\") else 1
        return end + 1
    while quote.isalnum() or quote == "_":
        if end == len(text) or not (text[end].isalnum() or text[end] in "_$"):
            break
        end += 1
    return end


def policy_statement(policy: RowPolicy, relation: Identifier) -> SQL:
    """CREATE POLICY."""
    roles = comma_list([Identifier(role) for role in policy.roles]) if policy.roles else SQL("PUBLIC")
    return compose(
        "CREATE POLICY {name} ON {relation} AS {kind} FOR {command} TO {roles}{using}{check}",
        name=Identifier(policy.name),
        relation=relation,
        kind=SQL("PERMISSIVE" if policy.is_permissive else "RESTRICTIVE"),
        command=SQL(policy.command),
        roles=roles,
        using=compose(" USING ({})", SQL(policy.using)) if policy.using is not None else SQL(""),
        check=compose(" WITH CHECK ({})", SQL(policy.check)) if policy.check is not None else SQL(""),
    )
