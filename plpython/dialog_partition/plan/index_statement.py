"""CREATE INDEX, the one place that composes it."""

from __future__ import annotations

from ..sql import SQL, Composable, compose


def create_index_statement(
    relation: Composable, name: Composable, clauses: Composable, *, is_unique: bool, concurrently: bool = False
) -> SQL:
    """An index of a relation; ``clauses`` is what stands behind the relation's name."""
    unique, how = SQL("UNIQUE " if is_unique else ""), SQL("CONCURRENTLY " if concurrently else "")
    return compose("CREATE {}INDEX {}{} ON {} {}", unique, how, name, relation, clauses)
