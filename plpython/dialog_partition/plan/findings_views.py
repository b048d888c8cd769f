"""What is wrong with the writable views of a hierarchy."""

from __future__ import annotations

from . import writable_view as plan
from .finding import WARNING, Facts, Finding


def findings(facts: Facts) -> list[Finding]:
    """Views that are not what their tables say."""
    found = []
    for table, view, schema, differing in facts.outdated_views:
        text = (
            f"{differing} statements would bring it up to date with {table}: its columns, defaults, privileges, or"
            " where it takes keys from."
        )
        found.append(Finding(WARNING, "writable view outdated", view.text, text, plan.create_call(table, schema).text))
    return found
