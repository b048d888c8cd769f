"""What pages and joined lookups have in common: functions that answer a question of the caller's own.

The first line of such a function's body keeps what it was asked to be; by its mark it is known again.
"""

from __future__ import annotations

import json

from .. import errors
from ..sql import SQL, Identifier, Literal, compose, search_path
from .kept_plans import BY_INDEX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OF_BODY = "dp_"  # what the names begin with that a body has beside those of the caller
FOUND = "found"  # a variable of each PL/pgSQL function


def kept(body: str, mark: str, names: set[str]) -> dict[str, Any] | None:
    """What a function was asked to be; None: somebody wrote it by hand."""
    try:
        asked = json.loads(body.split("\n", 1)[0][len(mark) :])
    except ValueError:
        return None
    return asked if isinstance(asked, dict) and set(asked) == names else None


def check_names(parameter: str, names: tuple[str, ...], *taken: str) -> None:
    """Refuse variables whose names mean something else in the function."""
    for name in names:
        if name in (FOUND, *taken) or name.startswith(OF_BODY):
            raise errors.InvalidParameter.of(
                parameter, name, "It means something else in the function.", "Choose another name."
            )


def create(
    function: Identifier,
    arguments: str,
    result: SQL,
    text: SQL,
    schemas: tuple[str, ...],
    *,
    settings: SQL | None = None,
    is_kept: bool = True,
) -> SQL:
    """The function: PL/pgSQL, run with the caller's rights; ``is_kept``: its plans are made once, for any values."""
    return compose(
        "CREATE OR REPLACE FUNCTION {}({}) RETURNS {} LANGUAGE plpgsql STABLE ROWS 100 SET plan_cache_mode = {} {} {}"
        " SET standard_conforming_strings = on SET search_path = {} AS {}",
        function,
        SQL(arguments),
        result,
        SQL("force_generic_plan" if is_kept else "force_custom_plan"),
        BY_INDEX,
        settings or SQL(""),
        search_path(schemas),
        Literal(text.text),
    )
