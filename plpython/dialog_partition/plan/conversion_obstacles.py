"""What stands in the way of a conversion, a finding each: what tables have that partitioned ones cannot have."""

from __future__ import annotations

from .. import errors
from ..model import ForeignKey
from ..sql import SQL, Identifier, Literal, compose, names
from .conversion import Conversion, Member, key_columns, root_columns
from .conversion_finding import ERROR, Finding
from .foreign_keys import check_pairs
from .remakable import check_can_be_remade
from .structure import add_constraint


def of_table(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    """The obstacles of one table; none of them may be there when it is converted."""
    name = member.identifier.text
    found = []
    error = _not_remakable(conversion, member)
    if error is not None:
        found.append(Finding(name, role, ERROR, error.message, f"{error.detail} {error.hint}", None))
    if member.facts.is_forced:
        detail = "Row security is forced on the owner, who could miss rows that policies hide."
        lift = compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", member.identifier)
        found.append(Finding(name, role, ERROR, "forced row security", detail, lift.text))
    for text in member.facts.row_types:
        detail = (
            f"{text} uses the row type of the table, which the new one does not have. Drop it, create it afterwards."
        )
        found.append(Finding(name, role, ERROR, "row type in use", detail, None))
    found += _key_columns(conversion, member, role)
    for key in (*member.owners, *member.others):
        found += _foreign_key(conversion, member, key, role)
    for each in conversion.taken:
        if each.table == member.oid:
            detail = f"{each.name} is there already, and would be the name of {each.purpose}. Rename or drop it."
            found.append(Finding(name, role, ERROR, "name taken", detail, None))
    return found


def _not_remakable(conversion: Conversion, member: Member) -> errors.PartitionError | None:
    """What cannot exist on a partitioned table."""
    bare = member.structure._replace(has_rows=False, dependents=())
    try:
        check_can_be_remade(bare, conversion.keys, conversion.version)
    except errors.PartitionError as error:
        return error
    return None


def _key_columns(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    """Columns that are there under the names of keys, and cannot be them."""
    name = member.identifier.text
    found = []
    for column in root_columns(conversion.settings) if member.is_root else key_columns(conversion):
        if member.structure.column(column.name) is None:
            continue
        if column.name == conversion.settings.slice_key:
            detail = f'Column "{column.name}" is there, and would hold the slice key. Choose another: slice_key => ...'
            found.append(Finding(name, role, ERROR, "slice key taken", detail, None))
        elif column.name not in member.facts.stored:
            detail = f'Column "{column.name}" is generated, which a key cannot be. Make it one that is stored as given.'
            drop = compose("ALTER TABLE {} ALTER COLUMN {} DROP EXPRESSION", member.identifier, Identifier(column.name))
            found.append(Finding(name, role, ERROR, "generated key column", detail, drop.text))
    return found


def _foreign_key(conversion: Conversion, member: Member, key: ForeignKey, role: str) -> list[Finding]:
    name = member.identifier.text
    try:
        check_pairs(key, conversion.keys)
    except errors.PartitionError:
        own, key_column = next(
            (own, theirs)
            for own, theirs in zip(key.columns, key.parent_columns)
            if theirs in conversion.keys and own != theirs
        )
        detail = (
            f'Foreign key "{key.name}" refers to the partition key "{key_column}" by the column "{own}". Every table'
            " carries the partition keys under the root's names: rename the column, or drop the foreign key."
        )
        if key_column == conversion.settings.range_column.name:
            detail += " In the form slice the range key is no partition key."
        rename = compose(
            "ALTER TABLE {} RENAME COLUMN {} TO {}", member.identifier, Identifier(own), Identifier(key_column)
        )
        return [Finding(name, role, ERROR, "partition key of another name", detail, rename.text)]
    if key.is_full and len(key.columns) > 1 and not key.is_mandatory:
        detail = (
            f'Foreign key "{key.name}" is MATCH FULL: it refuses rows of which only some of its columns are NULL.'
            " With the keys, which are never NULL, it cannot be. A CHECK says the same."
        )
        return [Finding(name, role, ERROR, "MATCH FULL", detail, _without_full(member, key).text)]
    return []


def _without_full(member: Member, key: ForeignKey) -> SQL:
    """MATCH FULL as a CHECK beside the foreign key."""
    definition = member.structure.foreign_key_definitions[key.name].replace(" MATCH FULL", "", 1)
    return compose(
        "ALTER TABLE {} ADD CHECK (num_nulls({}) IN (0, {})), DROP CONSTRAINT {};\n{}",
        member.identifier,
        names(key.columns),
        Literal(len(key.columns)),
        Identifier(key.name),
        add_constraint(member.identifier, key.name, SQL(definition)),
    )
