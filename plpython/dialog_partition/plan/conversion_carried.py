"""What a conversion carries along, a finding a kind: for a DBA to look at again."""

from __future__ import annotations

from ..sql import names
from .conversion import Member
from .conversion_finding import NOTICE, WARNING, Finding

REPLICA_IDENTITIES = {"d": "the primary key", "n": "nothing", "f": "the whole row"}


def of_table(member: Member, role: str) -> list[Finding]:
    """What the new table gets of the plain one beside its columns, keys and indexes."""
    name = member.identifier.text
    found = []
    if member.facts.grantors:
        detail = (
            f"Privileges that {', '.join(member.facts.grantors)} gave by a grant option are given by the owner: they"
            " stay when those lose theirs."
        )
        found.append(Finding(name, role, WARNING, "other grantors", detail, None))
    for title, parts in _kinds(member).items():
        if parts:
            detail = f"{', '.join(parts)}: made again on the new table."
            found.append(Finding(name, role, NOTICE, title, detail, None))
    return found


def _kinds(member: Member) -> dict[str, list[str]]:
    structure, properties = member.structure, member.properties
    return {
        "triggers": [each.name for each in structure.triggers],
        "rules": [each.name for each in structure.rules],
        "row security": ["enabled"] if properties.row_security else [],
        "policies": [each.name for each in properties.policies],
        "privileges": _privileges(member),
        "identity and serial columns": [f"{each.column} with its sequence" for each in structure.sequences],
        "publications": [each.name for each in structure.publications],
        "replica identity": _replica_identity(member),
        "extended statistics": [each.name for each in structure.statistics],
        "storage parameters": [f"{parameter}={value}" for parameter, value in properties.options],
        "comments": _comments(member),
    }


def _privileges(member: Member) -> list[str]:
    grantees = dict.fromkeys(grant.grantee or "PUBLIC" for grant in member.properties.grants)
    return [f"of {grantee}" for grantee in grantees if grantee != member.properties.owner]


def _replica_identity(member: Member) -> list[str]:
    properties = member.properties
    if properties.replica_index is not None:
        return [f"index {properties.replica_index}"]
    return [] if properties.replica_identity == "d" else [REPLICA_IDENTITIES[properties.replica_identity]]


def _comments(member: Member) -> list[str]:
    structure, properties = member.structure, member.properties
    return [
        *(["of the table"] if properties.comment is not None else []),
        *(f"of column {names((column,))}" for column, _ in properties.column_comments),
        *(f"of index {names((each.name,))}" for each in structure.indexes if each.comment is not None),
        *(f"of {each.kind.lower()} {names((each.name,))}" for each in structure.comments),
    ]
