"""What a conversion comes to for unique rules and foreign keys."""

from __future__ import annotations

from ..model import ForeignKey
from . import conversion_figures, conversion_form
from .conversion import OUTSIDE, Conversion, Figures, Member, is_kept, weakened
from .conversion_finding import ERROR, NOTICE, WARNING, Finding
from .conversion_steps import apart_key, side_table
from .unique import lacking, widened


def unique(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    """Primary keys and unique rules, which get the keys."""
    found = []
    broken = weakened(conversion, member)
    for index in conversion_form.widened_indexes(conversion, member):
        kind = "primary key" if index.constraint_type == "p" else "unique rule"
        definition = widened(index.definition, lacking(index, conversion.keys))
        if index not in broken:
            detail = f'{kind} "{index.name}" gets the keys; it refuses the same rows, for it holds a parent\'s key.'
            found.append(Finding(member.identifier.text, role, NOTICE, f"{kind} widened", detail, definition))
        elif conversion.allow_weaker_unique:
            detail = f'{kind} "{index.name}" gets the keys: equal values are accepted in two partitions.'
            found.append(Finding(member.identifier.text, role, WARNING, f"{kind} weaker", detail, definition))
        elif is_kept(member, index):
            detail = (
                f'{kind} "{index.name}" gets the keys; a global index keeps it over all partitions. ON CONFLICT must'
                " name the keys as well."
            )
            found.append(Finding(member.identifier.text, role, NOTICE, f"{kind} kept", detail, definition))
        else:
            detail = (
                f'{kind} "{index.name}" cannot be kept by a global index: it has expressions, is deferrable, or NULLS'
                " NOT DISTINCT, or the table has no primary key. allow_weaker_unique => true accepts equal values in"
                " two partitions."
            )
            found.append(Finding(member.identifier.text, role, ERROR, f"{kind} lost", detail, definition))
    return found


def foreign_keys(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    """The foreign keys inside the hierarchy, which get the keys."""
    made = {key.name: statement.text for key, statement in conversion_form.key_steps(conversion, member)}
    return [_foreign_key(member, key, made.get(key.name), role) for key in (*member.owners, *member.others)]


def _foreign_key(member: Member, key: ForeignKey, statement: str | None, role: str) -> Finding:
    detail = f'Foreign key "{key.name}" gets the keys, and ON UPDATE CASCADE.'
    if statement is not None and statement.endswith("INITIALLY DEFERRED") and not key.is_deferred:
        detail += " It is checked at the commit, because a change of the keys reaches the table on two ways."
    return Finding(member.identifier.text, role, NOTICE, "foreign key made composite", detail, statement)


def disagreeing(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    """The foreign keys by which rows refer to rows of other root rows: they cannot get the keys."""
    figures = conversion.figures.get(member.oid, Figures())
    name, title = member.identifier.text, "parents disagree"
    found = []
    if figures.conflicts:
        detail = (
            f"{figures.conflicts} rows have owners of different root rows: which keys they get is not known. Leave them"
            " one owner, or name the foreign keys that decide with owner_paths."
        )
        rows = conversion_figures.showing(conversion, member, "conflicts")
        found.append(Finding(name, role, ERROR, title, detail, rows.text))
    counted = dict(figures.apart)
    for key in member.others:
        if counted.get(key.name):
            detail = (
                f'{counted[key.name]} rows refer by "{key.name}" to rows of other root rows: with the keys it could not'
                " hold. Mend them, or let it refer to a global index with disagreeing => 'keep'."
            )
            rows = conversion_figures.disagreeing(conversion, member, key)
            found.append(Finding(name, role, ERROR, title, detail, rows.text))
    for key in member.apart:
        statement = apart_key(conversion, member, key)
        detail = f'{counted[key.name]} rows refer by "{key.name}" to rows of other root rows.'
        if statement is None:
            detail += " It refers to columns that no global index can hold. Mend the rows, or drop it."
            found.append(Finding(name, role, ERROR, title, detail, None))
            continue
        detail += (
            " All rows are kept, and the foreign key is, for all of them: it refers to a global index, without the"
            " keys. Joins along it must not compare the keys, and read all leaves; so does deleting what it refers to."
        )
        if key.parent == key.child and not key.is_deferred:
            detail += " It is checked at the commit, because rows of one statement may refer to each other."
        if all(index.columns[0] != key.columns[0] for index in member.structure.indexes):
            detail += f' No index begins with "{key.columns[0]}": one is worth it.'
        found.append(Finding(name, role, WARNING, title, detail, statement.text))
    return found


def outside(conversion: Conversion, key: ForeignKey) -> Finding:
    """A foreign key of a table that stays outside."""
    side = side_table(conversion, key.parent, key.parent_columns)
    if side is None:
        detail = f'Foreign key "{key.name}" refers to columns that no global index holds. Drop it first.'
        return Finding(key.child_text, OUTSIDE, ERROR, "foreign key from outside", detail, None)
    detail = f'Foreign key "{key.name}" will refer to the global index {side}, whose entries go with their rows.'
    return Finding(key.child_text, OUTSIDE, NOTICE, "foreign key from outside", detail, None)
