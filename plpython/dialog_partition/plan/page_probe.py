"""What shows whether the pieces of a page can be understood: functions that are made and called once."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..sql import SQL, Identifier, compose
from . import question
from .page import Page


class Probe(NamedTuple):
    """A function that is made and called once, to see whether the pieces can be understood."""

    identifier: Identifier
    create: SQL


def probes(page: Page, name: str) -> list[Probe]:
    """Of the rows, and of the keys, which must have the type of the partition column."""
    rows = compose(
        # behind the order nothing may follow but a further column: no OFFSET, which would skip rows of each slice
        "SELECT t.* FROM {} AS t WHERE t.{} <= newest AND ({}) ORDER BY {}, NULL::integer LIMIT 0",
        page.table.identifier,
        Identifier(str(page.table.partition_column)),
        SQL(page.condition),
        SQL(page.order_by),
    )
    found = [(rows, page.table.identifier.text)]
    if page.keys is not None:
        keys = compose("SELECT dp_k.key FROM ({}) AS dp_k (key) LIMIT 0", SQL(page.keys))
        found.append((keys, str(page.table.partition_type)))
    return [
        _probe(page, Identifier(page.schema, naming.derived_name(name, str(number))), query, returned)
        for number, (query, returned) in enumerate(found)
    ]


def _probe(page: Page, identifier: Identifier, query: SQL, returned: str) -> Probe:
    text = compose("#variable_conflict use_variable\nBEGIN RETURN QUERY {}; END", query)
    result = compose("SETOF {}", SQL(returned))
    create_it = question.create(identifier, page.signature, result, text, page.search_path, is_kept=False)
    return Probe(identifier, create_it)
