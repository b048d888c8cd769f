"""Reading what policies by age ask for, and what leaves have of it."""

from __future__ import annotations

import json

from .. import database
from ..calendars import parse_width
from ..plan.ageing import AgeingPolicy, Leaf, length
from ..sql import Identifier
from .properties import storage_options

_POLICIES = """
    SELECT root::oid AS root, after, vacuum_freeze, tablespace, storage::text AS storage FROM dp.policy_config
    WHERE root = ANY ($1)
"""

# Only of those that may have to be frozen the size is looked up, for which the relation is opened.
_LEAVES = """
    SELECT leaf.slice, c.oid, n.nspname AS schema, c.relname AS name, c.reloptions AS options,
           t.reloptions AS toast_options, coalesce(s.spcname, own.spcname) AS tablespace,
           t.oid IS NOT NULL AS has_toast,
           NOT $2 OR CASE WHEN f.file = c.relfilenode AND f.changes = dp._changes_of(c.oid) THEN true
                          ELSE pg_relation_size(c.oid) = 0 END AS is_frozen
    FROM (SELECT s.oid AS slice, coalesce(h.inhrelid, s.oid) AS oid
          FROM unnest($1) AS s (oid) LEFT JOIN pg_inherits h ON h.inhparent = s.oid) AS leaf
    JOIN pg_class c ON c.oid = leaf.oid AND c.relkind = 'r'
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_database d ON d.datname = current_database()
    JOIN pg_tablespace own ON own.oid = d.dattablespace
    LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    LEFT JOIN dp.frozen_leaf f ON f.leaf = c.oid
    ORDER BY c.relname
"""

_INDEXES = """
    SELECT i.indrelid AS leaf, n.nspname AS schema, c.relname AS name, coalesce(s.spcname, own.spcname) AS tablespace
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_database d ON d.datname = current_database()
    JOIN pg_tablespace own ON own.oid = d.dattablespace
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    WHERE i.indrelid = ANY ($1)
    ORDER BY c.relname
"""


def policies(roots: list[int]) -> dict[int, list[AgeingPolicy]]:
    """The policies of some hierarchies that have any, by root, the youngest first."""
    found: dict[int, list[AgeingPolicy]] = {}
    for row in database.query(_POLICIES, ("oid[]",), (roots,)):
        storage = tuple(sorted(json.loads(row["storage"]).items()))
        policy = AgeingPolicy(parse_width(row["after"], "after"), row["vacuum_freeze"], row["tablespace"], storage)
        found.setdefault(row["root"], []).append(policy)
    return {root: sorted(each, key=lambda policy: length(policy.after)) for root, each in found.items()}


def roots_with_policies(roots: list[int]) -> set[int]:
    """Which hierarchies have policies; what they say is not read."""
    query = "SELECT DISTINCT root::oid AS root FROM dp.policy_config WHERE root = ANY ($1)"
    return {row["root"] for row in database.query(query, ("oid[]",), (roots,))}


def leaves(wanted: dict[int, AgeingPolicy]) -> list[Leaf]:
    """The leaves of slices, and what they have of what is asked for; by slice."""
    if not wanted:
        return []
    freezing = [oid for oid, policy in wanted.items() if policy.freeze]
    others = [oid for oid, policy in wanted.items() if not policy.freeze]
    rows = [
        row
        for slices, freeze in ((freezing, True), (others, False))
        if slices
        for row in database.query(_LEAVES, ("oid[]", "bool"), (slices, freeze))
    ]
    moving = [row["oid"] for row in rows if wanted[row["slice"]].tablespace is not None]
    indexes: dict[int, list[tuple[Identifier, str]]] = {}
    for row in database.query(_INDEXES, ("oid[]",), (moving,)) if moving else []:
        place = (Identifier(row["schema"], row["name"]), row["tablespace"])
        indexes.setdefault(row["leaf"], []).append(place)
    return [
        Leaf(
            row["oid"],
            row["slice"],
            Identifier(row["schema"], row["name"]),
            storage_options(row["options"], "") + storage_options(row["toast_options"], "toast."),
            row["tablespace"],
            tuple(indexes.get(row["oid"], ())),
            row["is_frozen"],
            row["has_toast"],
        )
        for row in rows
    ]


def may_create(owner: str, tablespace: str) -> bool | None:
    """Whether a role may put tables into a tablespace; None where there is none of the name."""
    rows = database.query(
        "SELECT s.oid = d.dattablespace OR has_tablespace_privilege($1::name, s.oid, 'CREATE') AS may"
        " FROM pg_tablespace s JOIN pg_database d ON d.datname = current_database() WHERE s.spcname = $2",
        ("text", "name"),
        (owner, tablespace),
    )
    return bool(rows[0]["may"]) if rows else None
