"""Reading plain tables that are to be converted: which they are, what depends on them, what is in them."""

from __future__ import annotations

import datetime

from .. import database, errors
from ..model import ForeignKey
from ..plan.conversion import Facts, Member, choose_owners
from ..plan.structure import Structure
from ..sql import Identifier
from . import properties as catalog_properties
from . import server as catalog_server
from . import structure as catalog_structure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

NO_WAY = "No foreign key leads from it to the root, so that it is not known which of its rows belong where."
ADD_KEY = "Add the foreign key first, NOT VALID and without ON DELETE where it shall only say the way."

_RELATIONS = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
           c.relkind = 'r' AND NOT c.relispartition AND c.relpersistence <> 't'
           AND NOT EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)) AS is_plain,
           c.relforcerowsecurity AS is_forced, c.oid::regclass::text AS text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)
"""

_REFERRING = """
    SELECT conrelid AS child FROM pg_constraint
    WHERE contype = 'f' AND conparentid = 0 AND confrelid = ANY ($1) AND conrelid <> confrelid
    UNION SELECT NULL WHERE false
"""

_BELOW = """
    WITH RECURSIVE below (oid) AS (
        SELECT $1
        UNION
        SELECT k.conrelid FROM below JOIN pg_constraint k
            ON k.confrelid = below.oid AND k.contype = 'f' AND k.conparentid = 0
    ) SELECT oid FROM below
"""

_REFERRED = """
    SELECT DISTINCT n.nspname AS schema, c.relname AS name, pg_has_role(c.relowner, 'USAGE') AS is_own
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1) AND k.confrelid <> ALL ($1)
    ORDER BY n.nspname, c.relname
"""

# hash_record_extended needs the extended hash function (2) of each column's type; a domain's is its base's.
_STORED = """
    SELECT a.attname AS name,
           EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
                   JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amprocnum = 2
                        AND p.amproclefttype = o.opcintype AND p.amprocrighttype = o.opcintype
                   WHERE o.opcdefault AND (o.opcintype = b.oid OR b.typtype = 'e' AND o.opcintype = 'anyenum'::regtype
                         OR EXISTS (SELECT FROM pg_cast c WHERE c.castsource = b.oid AND c.casttarget = o.opcintype
                                    AND c.castmethod = 'b' AND c.castcontext = 'i'))) AS is_hashable
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""

_INDEXES = """
    SELECT c.relname AS name, pg_get_expr(i.indpred, i.indrelid) AS predicate, i.indisclustered AS is_clustered,
           i.indisunique AND i.indexprs IS NULL AND i.indimmediate
           AND NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS is_plain
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1
"""

_GRANTORS = """
    SELECT DISTINCT pg_get_userbyid(acl.grantor) AS name
    FROM (SELECT relacl AS acl, relowner FROM pg_class WHERE oid = $1
          UNION ALL SELECT a.attacl, c.relowner FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          WHERE c.oid = $1 AND NOT a.attisdropped) AS source, LATERAL aclexplode(source.acl) AS acl
    WHERE acl.grantor <> source.relowner ORDER BY 1
"""

_NOT_VALID = """
    SELECT conname AS name, contype AS type, pg_get_constraintdef(oid) AS definition FROM pg_constraint
    WHERE conrelid = $1 AND contype IN ('c', 'f') AND NOT convalidated ORDER BY conname
"""

_ROW_TYPES = """
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) AS name
    FROM pg_depend d
    WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'n'
      AND d.refobjid IN (SELECT reltype FROM pg_class WHERE oid = $1
                         UNION SELECT t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE c.oid = $1)
      AND d.classid <> 'pg_rewrite'::regclass
    UNION
    SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0)
    FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_type'::regclass
      AND d.refobjid IN (SELECT reltype FROM pg_class WHERE oid = $1
                         UNION SELECT t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE c.oid = $1)
    ORDER BY 1
"""


def find(
    root: int, exclude: list[int], include: list[int], owner_paths: dict[int, list[str]]
) -> tuple[list[Member], list[tuple[str, str]]]:
    """The tables of the hierarchy to be, parents before children, and those that cannot belong to it, with why."""
    _check_excluded(exclude, root)
    own = _relations([root])[root]
    found: dict[int, Identifier] = {root: Identifier(own["schema"], own["name"])}
    left: list[tuple[str, str]] = []
    waiting = [root]
    while waiting:
        rows = database.query(_REFERRING, ("oid[]",), (waiting,))
        new = [row["child"] for row in rows if row["child"] not in found and row["child"] not in exclude]
        waiting = []
        for oid, relation in _relations(sorted(set(new))).items():
            name = Identifier(relation["schema"], relation["name"])
            why = _why_not(relation, own["owner"])
            if why is not None:
                left.append((name.text, why))
                continue
            found[oid] = name
            waiting.append(oid)
    _refuse_others("include", include, found, NO_WAY, ADD_KEY)
    _refuse_others("owner_paths", list(owner_paths), set(found) - {root}, "It is no child of the hierarchy.")
    return _in_order(root, {oid: _member(oid) for oid in found}, owner_paths), left


def _check_excluded(exclude: list[int], root: int) -> None:
    """Whoever names what stays outside anyway means another table."""
    if root in exclude:
        raise errors.InvalidParameter.of("exclude", catalog_server.relation_name(root), "It is the root itself.")
    below = {row["oid"] for row in database.query(_BELOW, ("oid",), (root,))}
    detail = "No foreign key leads from it to the root: it stays outside anyway."
    _refuse_others("exclude", exclude, below, detail)


def _refuse_others(
    parameter: str, named: list[int], allowed: Collection[int], detail: str, hint: str | None = None
) -> None:
    for oid in named:
        if oid not in allowed:
            raise errors.InvalidParameter.of(parameter, catalog_server.relation_name(oid), detail, hint)


def _relations(oids: list[int]) -> dict[int, database.Row]:
    return {row["oid"]: row for row in database.query(_RELATIONS, ("oid[]",), (oids,))}


def _why_not(relation: database.Row, owner: str) -> str | None:
    if relation["owner"] != owner:
        return f"It belongs to {relation['owner']}, the root to {owner}."
    if not relation["is_plain"]:
        return "It is partitioned, a partition, or inherits."
    return None


def _member(oid: int) -> Member:
    return member(catalog_structure.read(oid), None)


def member(structure: Structure, template: int | None) -> Member:
    """A table with what only a conversion asks of it."""
    oid = structure.oid
    not_valid = database.query(_NOT_VALID, ("oid",), (oid,))
    stored = database.query(_STORED, ("oid",), (oid,))
    indexes = database.query(_INDEXES, ("oid",), (oid,))
    relation = _relations([oid])[oid]
    facts = Facts(
        tuple(row["name"] for row in stored),
        frozenset(row["name"] for row in stored if row["is_hashable"]),
        {row["name"]: row["predicate"] for row in indexes if row["predicate"] is not None},
        frozenset(row["name"] for row in indexes if row["is_plain"]),
        tuple(row["name"] for row in database.query(_ROW_TYPES, ("oid",), (oid,))),
        relation["is_forced"],
        relation["text"],
        tuple((row["name"], row["definition"]) for row in not_valid if row["type"] == "c"),
        tuple(row["name"] for row in not_valid if row["type"] == "f"),
        next((row["name"] for row in indexes if row["is_clustered"]), None),
        tuple(row["name"] for row in database.query(_GRANTORS, ("oid",), (oid,))),
    )
    return Member(structure, catalog_properties.read(oid, template), facts)


def _in_order(root: int, members: dict[int, Member], owner_paths: dict[int, list[str]]) -> list[Member]:
    """Parents before children; each with its owners."""
    inside: dict[int, list[ForeignKey]] = {
        oid: [key for key in member.structure.foreign_keys if key.parent in members] for oid, member in members.items()
    }
    up = [key for key in inside[root] if key.parent != root]
    if up:
        hint = f'Drop the foreign key "{up[0].name}" of the root first.'
        _refuse_circle([members[root], members[up[0].parent]], hint)
    depths = {root: 0}
    ordered = [members[root]._replace(others=tuple(inside[root]))]
    waiting = {oid for oid in members if oid != root}
    while waiting:
        free = [oid for oid in waiting if all(k.parent in depths for k in inside[oid] if k.parent != oid)]
        if not free:
            _refuse_circle(
                [members[oid] for oid in sorted(waiting)],
                "Drop one of these keys, or leave a table out with exclude => ...",
            )
        for oid in sorted(free, key=lambda each: members[each].identifier.text):
            owners, others = choose_owners(members[oid].structure, inside[oid], depths, owner_paths.get(oid))
            _check_owners(members[oid], owners, owner_paths.get(oid))
            depths[oid] = 1 + min(depths[key.parent] for key in owners)
            ordered.append(members[oid]._replace(owners=owners, others=others, depth=depths[oid]))
        waiting -= set(free)
    return ordered


def _refuse_circle(members: list[Member], hint: str) -> None:
    circle = ", ".join(member.identifier.text for member in members)
    raise errors.InvalidTableDefinition(
        f"the foreign keys of {circle} form a circle",
        "Rows are copied and tables made in the order of their foreign keys.",
        hint,
    )


def _check_owners(member: Member, owners: tuple[ForeignKey, ...], named: list[str] | None) -> None:
    missing = sorted(set(named or ()) - {key.name for key in owners})
    if missing or not owners:
        known = ", ".join(sorted(key.name for key in member.structure.foreign_keys))
        raise errors.InvalidParameter.of(
            "owner_paths",
            ", ".join(missing) or "[]",
            f"The foreign keys of {member.identifier} are {known}; those named must lead into the hierarchy.",
            "Name foreign keys of the table by which its rows come to the root.",
        )


def references(members: list[Member]) -> list[tuple[Identifier, bool]]:
    """The tables beside the hierarchy that it refers to."""
    rows = database.query(_REFERRED, ("oid[]",), ([member.oid for member in members],))
    return [(Identifier(row["schema"], row["name"]), row["is_own"]) for row in rows]


def outside_keys(members: list[Member]) -> list[ForeignKey]:
    """The foreign keys of other tables that point into the hierarchy."""
    inside = {member.oid for member in members}
    return [key for member in members for key in member.structure.incoming if key.child not in inside]


def of_others(keys: list[ForeignKey]) -> list[tuple[str, str]]:
    """The foreign keys of tables that belong to other roles, who alone could make them again."""
    rows = database.query(
        "SELECT c.oid, pg_get_userbyid(c.relowner) AS owner FROM pg_class c"
        " WHERE c.oid = ANY ($1) AND NOT pg_has_role(c.relowner, 'USAGE')",
        ("oid[]",),
        ([key.child for key in keys],),
    )
    owners = {row["oid"]: row["owner"] for row in rows}
    return [
        (f"foreign key {Identifier(key.name)} of {key.child_text}", f"The table belongs to {owners[key.child]}.")
        for key in keys
        if key.child in owners
    ]


def count(statement: str) -> database.Row:
    """The one row of a counting query."""
    return database.query_once(statement)[0]


def distribution(statement: str) -> list[tuple[datetime.datetime, int]]:
    """How many rows lie in each month."""
    return [
        (datetime.datetime(row["year"], row["month"], 1), row["rows"])
        for row in database.query_once(statement)
        if 1 <= row["year"] <= 9998
    ]


def has_function(schema: str, name: str) -> bool:
    """Whether there is a function of this name that takes nothing."""
    rows = database.query(
        "SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = 0",
        ("name", "name"),
        (schema, name),
    )
    return bool(rows)
