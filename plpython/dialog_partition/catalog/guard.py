"""What a hierarchy must not lose: the rule of the event trigger for plain DDL, asked by calls."""

from __future__ import annotations

from .. import database


def state(root: int) -> str:
    """What the tables of a hierarchy say, as dp._ddl_state tells it."""
    return str(database.query("SELECT dp._ddl_state($1)::text AS state", ("oid",), (root,))[0]["state"])


def refuse_broken(root: int, before: str, call: str) -> None:
    """Raise what plain DDL would meet, had it lost the same since ``before``."""
    database.query(
        "SELECT dp._refuse_broken(dp._ddl_changes($1::jsonb, dp._ddl_state($2)), $3, false)",
        ("text", "oid", "text"),
        (before, root, call),
    )


def refuse_needed_index(root: int, table: int, index: str, call: str) -> None:
    """Raise the same for an index that is about to go, where it is the only one that a cascade finds rows by."""
    database.query(
        "SELECT dp._refuse_broken(jsonb_agg(jsonb_build_object("
        "'tbl', $2::bigint, 'aspect', s.aspect, 'part', k.conname, 'before', e.value)), $4, false)"
        " FROM jsonb_each_text(dp._ddl_state($1)) AS e"
        " CROSS JOIN (SELECT 'index of foreign key' AS aspect) AS s"
        " JOIN pg_constraint AS k ON k.conrelid = $2 AND e.key = concat_ws(': ', $2, s.aspect, k.conname)"
        " JOIN pg_class AS t ON t.oid = $2"
        " JOIN pg_class AS x ON x.relname = $3 AND x.relnamespace = t.relnamespace"
        " WHERE e.value = x.oid::regclass::text",
        ("oid", "oid", "name", "text"),
        (root, table, index, call),
    )
