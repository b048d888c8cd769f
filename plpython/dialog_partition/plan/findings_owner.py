"""What belongs to the tables of a hierarchy, and did not go along when they got another owner."""

from __future__ import annotations

from ..model import Hierarchy
from . import ownership
from .finding import ERROR, WARNING, Facts, Finding
from .ownership import HOLDS_UP, WITH_RIGHTS, Belonging


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """One or two for each table and former owner, and one for each function that only its own mark tells of."""
    shown = [each for each in facts.belongings if each.what not in (ownership.PARTITION, *ownership.OF_DETACHED)]
    followed = ownership.followed(list(facts.belongings), None)
    found = []
    for own in ownership.by_owner([each for each in shown if each in followed]).values():
        found += _told(hierarchy, own)
    return found + [_marked(each) for each in shown if each not in followed]


def _told(hierarchy: Hierarchy, own: list[Belonging]) -> list[Finding]:
    table, owner, new = hierarchy.table(own[0].table).identifier, own[0].owner, own[0].table_owner
    statement = ownership.synchronise(hierarchy.root.identifier).text
    rights = f" Functions among them run with the rights of {owner}, who can change what they do."
    by = " The call takes a superuser, or a member of both roles."
    found = []
    holding = [each for each in own if each.what in HOLDS_UP]
    if holding:
        text = f"Of {owner}, while the table is of {new}: {ownership.told(holding)}. No slice can be made or dropped."
        text += rights + by
        found.append(Finding(ERROR, "global index of another owner", table.text, text, statement))
    others = [each for each in own if each.what not in HOLDS_UP]
    if others:
        text = f"Of {owner}, while the table is of {new}: {ownership.told(others)}."
        text += (rights if any(each.what in WITH_RIGHTS for each in others) else "") + by
        found.append(Finding(WARNING, "owner not followed", table.text, text, statement))
    return found


def _marked(each: Belonging) -> Finding:
    text = (
        f"The function looks like a {each.what} of a table of {each.table_owner}, and is of {each.owner}: it does not"
        " follow its table. If it is what it looks like, give it to the owner."
    )
    return Finding(WARNING, "owner not followed", each.signature.text, text, ownership.give(each).text)
