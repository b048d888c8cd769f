"""What a plain DDL command changed of a managed table, and what carries it to template and partitions."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..operation import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation
from ..sql import SQL, Identifier, Literal, compose
from . import alter, trees
from .difference import Difference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..sql import Composable

COLUMN, SCHEMA, STATISTICS_OBJECT, STATISTICS_TARGET = "column", "schema", "statistics object", "statistics target"
PRIVILEGES, NAME, SLICES = "privileges", "name", "slices of a global index"
COLUMN_OPTIONS = ("n_distinct", "n_distinct_inherited")


class Change(NamedTuple):
    """One aspect of a table that a command changed, named as drift names it; None: there was, or is, none."""

    aspect: str
    part: str
    before: str | None
    after: str | None


def renamed_columns(changes: list[Change]) -> list[tuple[str, str]]:
    """Columns that have another name now: old and new. What dp._ddl_state says of a column begins with its number."""
    columns = [each for each in changes if each.aspect == COLUMN]
    gone = {str(each.before).split()[0]: each.part for each in columns if each.after is None}
    new = {str(each.after).split()[0]: each.part for each in columns if each.before is None}
    return [(gone[number], new[number]) for number in gone if number in new]


def changed_slices(changes: list[Change]) -> tuple[list[int], list[int]]:
    """The slices that a table with global indexes has lost, and those that it has got."""
    lost: set[int] = set()
    new: set[int] = set()
    for each in changes:
        if each.aspect == SLICES:
            before, after = ({int(oid) for oid in (value or "").split()} for value in (each.before, each.after))
            lost |= before - after
            new |= after - before
    return sorted(lost), sorted(new)


def template_operations(target: alter.Target, changes: list[Change]) -> list[Operation]:
    """What the template does not get as a mended difference: it is the source of these, or they are its own."""
    renames = renamed_columns(changes)
    found = [
        operation
        for old, new in renames
        for operation in alter.follow_renamed_column(target, old, new, of_template=target.table.template is not None)
    ]
    moved = {each.part for each in changes if each.aspect == COLUMN and None in (each.before, each.after)}
    return found + _template_actions(target, [each for each in changes if each.part not in moved])


def new_column_operations(target: alter.Target, changes: list[Change]) -> list[Operation]:
    """What the template does not get with a column that the same command added."""
    renamed = {new for _, new in renamed_columns(changes)}
    new = {each.part for each in changes if each.aspect == COLUMN and each.before is None} - renamed
    return _template_actions(target, [each for each in changes if each.part in new])


def _template_actions(target: alter.Target, changes: list[Change]) -> list[Operation]:
    found: list[Operation] = []
    for each in changes:
        action = _template_action(each)
        if action is not None:
            found += alter.on_template(target, lambda template, action=action: alter.alter(template, action))  # type: ignore[misc]
    return found


def statistics_operations(
    target: alter.Target, differences: list[Difference], changes: list[Change]
) -> list[Operation]:
    """The leaves' own of statistics objects that were dropped on the table; others of theirs are left alone."""
    dropped = [each.part for each in changes if each.aspect == STATISTICS_OBJECT and each.after is None]
    found = []
    for each in differences:
        leaf = each.relation
        if each.aspect != STATISTICS_OBJECT or each.expected is not None:
            continue
        if each.part in [naming.unique_derived_name(leaf.name, name) for name in dropped]:
            statement = compose("DROP STATISTICS {}", Identifier(target.table.schema, each.part))
            found.append(Operation(leaf, statement, SHARE_UPDATE_EXCLUSIVE, (), 2))
    return found


def _template_action(change: Change) -> Composable | None:
    column = Identifier(change.part)
    if change.aspect == STATISTICS_TARGET:
        return compose("ALTER COLUMN {} SET STATISTICS {}", column, Literal(int(change.after or -1)))
    if change.aspect in COLUMN_OPTIONS:
        option = SQL(change.aspect)
        if change.after is None:
            return compose("ALTER COLUMN {} RESET ({})", column, option)
        return compose("ALTER COLUMN {} SET ({} = {})", column, option, Literal(change.after))
    return None


def schema_operations(target: alter.Target, changes: list[Change]) -> list[Operation]:
    """Template and partitions that stood in the table's old schema go along to the new one."""
    old = next((each.before for each in changes if each.aspect == SCHEMA), None)
    if old is None:
        return []
    relations = [identifier for _, identifier in target.slices] + list(target.leaves)
    if target.table.template is not None:
        relations.append(target.table.template)
    tree = ((target.table.oid, 2 * trees.size(target.hierarchy, target.table.oid) * target.table.relations_per_leaf),)
    new = Identifier(target.table.schema)
    return [
        Operation(each, compose("ALTER TABLE {} SET SCHEMA {}", each, new), ACCESS_EXCLUSIVE, target.relations, 1, tree)
        for each in relations
        if each.text.startswith(f"{Identifier(old).text}.")
    ]


def is_carried(difference: Difference, changes: list[Change]) -> bool:
    """Whether a difference comes from what the command changed; others may be meant, and are left alone."""
    return any(
        each.aspect == difference.aspect and (each.part == difference.part or each.aspect == STATISTICS_OBJECT)
        for each in changes
    )
