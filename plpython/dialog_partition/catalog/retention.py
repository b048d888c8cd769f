"""Reading what retention needs: what it retired, what protects a slice, the owner's export function, sizes."""

from __future__ import annotations

from typing import NamedTuple

from .. import database
from ..model import Hierarchy
from ..plan.detached import DetachedSlice
from ..sql import SQL, Identifier, compose
from . import detached as catalog_detached

# One that somebody attached by hand, wherever, is not for retention to drop any more.
_RETIRED = """
    SELECT n.nspname AS schema, c.relname AS name, d.exported_at IS NOT NULL AS is_exported, due.at::text AS due,
           due.at <= dp._clock() AS is_due
    FROM dp.detached_slice d JOIN pg_class c ON c.oid = d.slice JOIN pg_namespace n ON n.oid = c.relnamespace,
         LATERAL (SELECT (d.retired_at AT TIME ZONE $2 + coalesce($3, '0')::interval) AT TIME ZONE $2 AS at) AS due
    WHERE d.root = $1 AND d.retired_at IS NOT NULL AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
"""

_FUNCTION = """
    SELECT n.nspname AS schema, p.proname AS name, pg_get_userbyid(p.proowner) AS owner, r.rolsuper AS is_superusers,
           p.prokind = 'f' AND p.pronargs = 1 AND p.proargtypes[0] = 'regclass'::regtype AS fits
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
    WHERE p.oid = to_regprocedure($1)
"""

_BYTES = """
    SELECT wanted.oid, coalesce(sum(pg_total_relation_size(tree.relid)), 0)::bigint AS bytes
    FROM unnest($1) AS wanted (oid) CROSS JOIN LATERAL (
        SELECT wanted.oid AS relid UNION SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = wanted.oid
    ) AS tree GROUP BY wanted.oid
"""


class Retired(NamedTuple):
    """A slice of one table that retention detached, and will drop."""

    slice: DetachedSlice
    due: str  # a timestamptz as text
    is_due: bool
    is_exported: bool


class Function(NamedTuple):
    """The function that slices are handed to before they are dropped."""

    identifier: Identifier
    owner: str
    is_superusers: bool
    fits: bool  # whether it is a function of one regclass


def retired(hierarchy: Hierarchy) -> list[Retired]:
    """What retention detached and will drop, referenced tables first."""
    policy = hierarchy.policy
    grace = str(policy.retention_grace) if policy.retention_grace is not None else None
    rows = database.query(_RETIRED, ("oid", "text", "text"), (hierarchy.root.oid, policy.time_zone, grace))
    found = {Identifier(row["schema"], row["name"]): row for row in rows}
    return [
        Retired(each, row["due"], row["is_due"], row["is_exported"])
        for each in (catalog_detached.remembered(hierarchy) if found else [])
        for row in [found.get(each.identifier)]
        if row is not None
    ]


def function(name: str) -> Function | None:
    """A function by its name as regprocedure writes it; None where there is none."""
    rows = database.query(_FUNCTION, ("text",), (name,))
    if not rows:
        return None
    row = rows[0]
    return Function(Identifier(row["schema"], row["name"]), row["owner"], row["is_superusers"], row["fits"])


def condition_query(relation: Identifier, alias: str, predicate: str) -> SQL:
    """Whether a relation holds a row that the predicate protects; the table's own name may stand in it."""
    return compose(
        "SELECT EXISTS (SELECT FROM {} AS {} WHERE ({})) AS found", relation, Identifier(alias), SQL(predicate)
    )


def holds_protected(relation: Identifier, alias: str, predicate: str) -> bool:
    """The same asked. Rows that policies hide from the owner make it fail: unseen they would not protect anything."""
    saved = database.setting("row_security") or "on"
    database.set_local("row_security", "off")
    found = bool(database.query_once(condition_query(relation, alias, predicate).text)[0]["found"])
    database.set_local("row_security", saved)
    return found


def bytes_of(relations: list[int]) -> dict[int, int]:
    """The bytes of slices with their leaves, indexes and TOAST."""
    return {row["oid"]: int(row["bytes"]) for row in database.query(_BYTES, ("oid[]",), (relations,))}


def oids(identifiers: list[Identifier]) -> list[int]:
    """The oids of relations."""
    rows = database.query(
        "SELECT to_regclass(name)::oid AS oid FROM unnest($1) WITH ORDINALITY AS n (name, place) ORDER BY place",
        ("text[]",),
        ([each.text for each in identifiers],),
    )
    return [row["oid"] for row in rows if row["oid"] is not None]


def instants(moments: list[str | None], time_zone: str, grace: str | None) -> list[tuple[str | None, str | None]]:
    """Moments of a time zone as timestamptz in text, and when a grace period is over that begins then, or now."""
    rows = database.query(
        "SELECT i.due::text, CASE WHEN i.due IS NOT NULL THEN"
        " ((greatest(i.due, dp._clock()) AT TIME ZONE $2 + coalesce($3, '0')::interval) AT TIME ZONE $2)::text"
        " END AS dropped"
        " FROM unnest($1) WITH ORDINALITY AS n (m, place), LATERAL (SELECT m::timestamp AT TIME ZONE $2 AS due) AS i"
        " ORDER BY place",
        ("text[]", "text", "text"),
        (moments, time_zone, grace),
    )
    return [(row["due"], row["dropped"]) for row in rows]
