"""Settings that somebody gave a generated function: written anew it keeps them."""

from __future__ import annotations

from typing import NamedTuple

from ..sql import SQL, Composable, Identifier, Literal, compose

LISTS = ("temp_tablespaces",)  # the one of those with a list of names that a function can be given: it is kept quoted


class Setting(NamedTuple):
    """One that a function has beside its own."""

    name: str
    value: str
    is_allowed: bool  # whether the owner of the function may give it to it; else a superuser did


def clauses(settings: dict[str, str]) -> SQL:
    """``SET a = b SET c = d``, as CREATE FUNCTION has them."""
    return SQL(" ".join(f"SET {name} = {value}" for name, value in settings.items()))


def kept(function: Composable, settings: tuple[Setting, ...]) -> list[SQL]:
    """What gives them to the function again. Grants, owner and comment stay by themselves."""
    return [
        compose(
            "ALTER FUNCTION {} SET {} = {}",
            function,
            Identifier(*name.split(".")),
            SQL(value) if name in LISTS and value != '""' else Literal("" if name in LISTS else value),
        )
        for name, value, is_allowed in settings
        if is_allowed
    ]
