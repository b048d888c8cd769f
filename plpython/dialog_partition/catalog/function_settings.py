"""Reading the settings that somebody gave a generated function."""

from __future__ import annotations

from .. import database
from ..plan.function_settings import Setting

# As ALTER FUNCTION judges it, which takes a name of no module that is loaded for a superuser's.
_ALLOWED = """
    SELECT s.name FROM unnest($1) AS s (name)
    WHERE has_parameter_privilege($2, s.name, 'SET')
       OR EXISTS (SELECT FROM pg_settings g WHERE lower(g.name) = lower(s.name) AND g.context = 'user'
                  AND g.short_desc <> 'GUC placeholder variable')
"""


def added(configuration: list[str] | None, own: tuple[str, ...], owner: str) -> tuple[Setting, ...]:
    """Those of pg_proc.proconfig beside the function's own."""
    pairs = [each.partition("=") for each in configuration or ()]
    found = [(name, value) for name, _, value in pairs if name not in own]
    if not found:
        return ()
    rows = database.query(_ALLOWED, ("text[]", "name"), ([name for name, _ in found], owner))
    allowed = {row["name"] for row in rows}
    return tuple(Setting(name, value, name in allowed) for name, value in found)
