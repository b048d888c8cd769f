"""The catalog as pg_dump writes it: what a DBA would compare."""

from __future__ import annotations

from tests.support.database import Database


def schema_lines(db: Database) -> list[str]:
    """Every definition outside the extension, without comments and what pg_dump writes differently each time."""
    lines = db.server.pg_dump(db.name, "--schema-only").splitlines()
    return [line for line in lines if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))]


def difference(before: list[str], after: list[str]) -> str:
    """The lines of one alone, marked with - and +; nothing when the two are equal."""
    gone = [f"- {line}" for line in before if line not in set(after)]
    come = [f"+ {line}" for line in after if line not in set(before)]
    if not gone and not come and before != after:
        return "the same lines in another order"
    return "\n".join(gone + come)
