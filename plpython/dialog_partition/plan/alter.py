"""The three-step rule: what a schema change says on the parent, on the template, and on every partition."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import Hierarchy, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation
from ..sql import SQL, Composable, Identifier, Literal, assignments, comma_list, compose
from . import locking, trees
from .index_statement import create_index_statement
from .properties import EXCLUSIVE_PARAMETERS, option_name, storage_clause
from .structure import add_constraint as add_constraint_statement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .locking import Referenced


# Entries of the lock table that a leaf takes whose rows are written anew, beside those of the relations that it is:
# the new heap with its TOAST table and index while both are there, the files, the dependencies.
NEW_FILES = 7
# At most, of the table and each partition: the constraint, its index or its triggers, the relation.
LOCKS_OF_CONSTRAINT = 4


class Follower(NamedTuple):
    """What nothing on the parent reaches: a detached slice with its leaves, or pg_partman's template."""

    oid: int
    identifier: Identifier
    leaves: tuple[Identifier, ...]


class Target(NamedTuple):
    """A managed table, and all of its partitions: slices before their leaves."""

    hierarchy: Hierarchy
    table: Table
    slices: tuple[tuple[int, Identifier], ...]
    leaves: tuple[Identifier, ...]
    followers: tuple[Follower, ...] = ()  # what else the change reaches

    @property
    def identifier(self) -> Identifier:
        """The table's qualified name."""
        return self.table.identifier

    @property
    def relations(self) -> tuple[int, ...]:
        """What a change locks: the table and its slices, with the leaves under them."""
        return (self.table.oid, *(oid for oid, _ in self.slices))


class NewColumn(NamedTuple):
    """A column to add; types and expressions as the caller wrote them."""

    name: str
    type: str
    default: str | None
    is_not_null: bool
    generated: str | None
    identity: str | None  # ALWAYS, BY DEFAULT
    comment: str | None


def on_parent(target: Target, statement: SQL, relations_each: int = 1) -> Operation:
    """Step 1: a statement on the parent, which PostgreSQL takes to all partitions; and how many relations it locks."""
    tree = ((target.table.oid, trees.size(target.hierarchy, target.table.oid) * relations_each),)
    return Operation(target.identifier, statement, ACCESS_EXCLUSIVE, target.relations, 1, tree)


def on_template(target: Target, build: Callable[[Identifier], SQL]) -> list[Operation]:
    """Step 2: the same on the template, which nobody else uses."""
    template = target.table.template
    return [Operation(template, build(template))] if template is not None else []


def on_partitions(
    target: Target,
    build: Callable[[Identifier], SQL],
    *,
    leaves_only: bool = False,
    lock: str = ACCESS_EXCLUSIVE,
    relations_each: int = 1,
) -> list[Operation]:
    """Step 3: what does not pass on from the parent, on every slice and leaf that exists."""
    slices = [] if leaves_only else [identifier for _, identifier in target.slices]
    tree = ((target.table.oid, trees.size(target.hierarchy, target.table.oid) * relations_each),)
    return [
        Operation(relation, build(relation), lock, target.relations, 0, tree) for relation in (*slices, *target.leaves)
    ]


def on_followers(
    target: Target, build: Callable[[Identifier], SQL], *, leaves_only: bool = False, relations_each: int = 1
) -> list[Operation]:
    """The same on what nothing on the parent reaches; a detached slice passes it on to its leaves."""
    found = []
    for each in target.followers:
        locks = relations_each * (1 + len(each.leaves))
        relations = (each.leaves or (each.identifier,)) if leaves_only else (each.identifier,)
        found += [Operation(relation, build(relation), locks=locks) for relation in relations]
    return found


def slice_key_check(hierarchy: Hierarchy) -> str | None:
    """The name of the CHECK that keeps the slice key true; None in the exact form."""
    return naming.derived_name(hierarchy.root.name, "slice_key_check") if hierarchy.policy.slice_key else None


def alter(relation: Composable, action: Composable) -> SQL:
    """``ALTER TABLE ... action``."""
    return compose("ALTER TABLE {} {}", relation, action)


def add_column_action(column: NewColumn) -> SQL:
    """``ADD COLUMN`` with all that was asked for."""
    not_null = SQL(" NOT NULL" if column.is_not_null else "")
    return compose("{}{}{}{}", _bare_column(column), _default(column), _identity(column), not_null)


def _bare_column(column: NewColumn) -> SQL:
    """What a template has of a column: defaults and NOT NULL come from the parent."""
    return compose("ADD COLUMN {} {}{}", Identifier(column.name), SQL(column.type), _generated(column))


def add_column(
    target: Target, column: NewColumn, *, of_table: bool, of_template: bool, writes_anew: bool
) -> list[Operation]:
    """The column on the parent and the template, whichever lacks it; its comment everywhere."""
    name = Identifier(column.name)
    found = []
    per_leaf = target.table.relations_per_leaf + NEW_FILES if writes_anew else 1
    if of_table:
        found.append(on_parent(target, alter(target.identifier, add_column_action(column)), per_leaf))
    if of_template:
        found += on_template(target, lambda relation: alter(relation, _bare_column(column)))
    action = add_column_action(column._replace(identity=None))  # numbers come from the parent's sequence
    found += on_followers(target, lambda relation: alter(relation, action), relations_each=per_leaf)

    def commented(relation: Identifier) -> SQL:
        return compose("COMMENT ON COLUMN {}.{} IS {}", relation, name, Literal(column.comment or ""))

    if column.comment is not None and of_table:
        found += [Operation(target.identifier, commented(target.identifier)), *on_partitions(target, commented)]
    if column.comment is not None:
        found += [*on_followers(target, commented), *on_followers(target, commented, leaves_only=True)]
    return found


def _generated(column: NewColumn) -> SQL:
    if column.generated is None:
        return SQL("")
    return compose(" GENERATED ALWAYS AS ({}) STORED", SQL(column.generated))


def _default(column: NewColumn) -> SQL:
    return compose(" DEFAULT {}", SQL(column.default)) if column.default is not None else SQL("")


def _identity(column: NewColumn) -> SQL:
    return compose(" GENERATED {} AS IDENTITY", SQL(column.identity)) if column.identity is not None else SQL("")


def drop_column(target: Target, column: str, *, of_table: bool, of_template: bool, dependents: int) -> list[Operation]:
    """The column of the parent and of the template, whichever still has it; never with CASCADE."""
    action = compose("DROP COLUMN {}", Identifier(column))
    per_leaf = 1 + 2 * dependents
    found = [on_parent(target, alter(target.identifier, action), per_leaf)] if of_table else []
    found += on_template(target, lambda relation: alter(relation, action)) if of_template else []
    return found + on_followers(target, lambda relation: alter(relation, action), relations_each=per_leaf)


def rename_column(target: Target, column: str, new_name: str, *, of_template: bool) -> list[Operation]:
    """Another name for a column of one table; keys that wait for dp.register_child follow."""
    action = compose("RENAME COLUMN {} TO {}", Identifier(column), Identifier(new_name))
    found = [on_parent(target, alter(target.identifier, action))]
    return found + follow_renamed_column(target, column, new_name, of_template=of_template)


def follow_renamed_column(target: Target, column: str, new_name: str, *, of_template: bool) -> list[Operation]:
    """What else knows a column of one table by name."""
    action = compose("RENAME COLUMN {} TO {}", Identifier(column), Identifier(new_name))
    found = on_template(target, lambda relation: alter(relation, action)) if of_template else []
    found += on_followers(target, lambda relation: alter(relation, action))
    table = Literal(target.identifier.text)
    for whose, columns in (("child", "columns"), ("child", "delete_columns"), ("parent", "parent_columns")):
        update = compose(
            "UPDATE dp.pending_foreign_key SET {columns} = array_replace({columns}, {old}::name, {new}::name)"
            " WHERE {whose} = {table}::regclass AND {old} = ANY ({columns})",
            columns=SQL(columns),
            old=Literal(column),
            new=Literal(new_name),
            whose=SQL(whose),
            table=table,
        )
        found.append(Operation(target.identifier, update))
    return found


def rename_key(hierarchy: Hierarchy, column: str, new_name: str) -> SQL:
    """The configuration of a hierarchy whose key column has another name."""
    policy = hierarchy.policy
    keys = {"range_key": policy.range_key, "hash_key": policy.hash_key, "slice_key": policy.slice_key}
    changes: dict[str, Composable] = {name: Literal(new_name) for name, key in keys.items() if key == column}
    return compose(
        "UPDATE dp.hierarchy_config SET {} WHERE root = {}::regclass",
        assignments(changes),
        Literal(hierarchy.root.identifier.text),
    )


def alter_column(
    target: Target, column: str, action: Composable, *, of_table: bool = True, of_template: bool = False
) -> list[Operation]:
    """A change of one column that the parent passes on; on the template where new leaves get it from there."""
    full = compose("ALTER COLUMN {} {}", Identifier(column), action)
    # each partition and its old default
    found = [on_parent(target, alter(target.identifier, full), 2)] if of_table else []
    found += on_template(target, lambda relation: alter(relation, full)) if of_template else []
    return found + on_followers(target, lambda relation: alter(relation, full), relations_each=2)


def alter_type_action(column: str, type_text: str, using: str | None) -> SQL:
    """``ALTER COLUMN ... TYPE``."""
    typed = compose("ALTER COLUMN {} TYPE {}", Identifier(column), SQL(type_text))
    return compose("{} USING {}", typed, SQL(using)) if using is not None else typed


def alter_column_type(
    target: Target,
    column: str,
    type_text: str,
    using: str | None,
    *,
    of_table: bool,
    of_template: bool,
    writes_anew: bool,
    dependents: int,
) -> list[Operation]:
    """Another type; rows are written anew where PostgreSQL has to, and what contains the column is made again."""
    per_leaf = target.table.relations_per_leaf + NEW_FILES if writes_anew else 1
    per_leaf += 4 * dependents
    action = alter_type_action(column, type_text, using)
    found = [on_parent(target, alter(target.identifier, action), per_leaf)] if of_table else []
    empty = alter_type_action(column, type_text, "NULL")  # the template has no rows
    found += on_template(target, lambda relation: alter(relation, empty)) if of_template else []
    return found + on_followers(target, lambda relation: alter(relation, action), relations_each=per_leaf)


def add_constraint(
    target: Target, name: str, definition: str, kind: str, referenced: tuple[Referenced, ...], *, of_table: bool
) -> list[Operation]:
    """A constraint on the parent and so on all partitions; a foreign key lets everybody read meanwhile."""

    def build(relation: Identifier) -> SQL:
        return add_constraint_statement(relation, name, SQL(definition))

    per_leaf, lock = LOCKS_OF_CONSTRAINT, ACCESS_EXCLUSIVE
    if kind == "FOREIGN":
        per_leaf, lock = max(target.table.relations_per_leaf, LOCKS_OF_CONSTRAINT), SHARE_ROW_EXCLUSIVE
    found = [on_parent(target, build(target.identifier), per_leaf)._replace(lock=lock)] if of_table else []
    first = locking.lock_tables(target.identifier, referenced, SHARE_ROW_EXCLUSIVE)
    return first + found + on_followers(target, build, relations_each=per_leaf)


def drop_constraint(
    target: Target, name: str, referenced: tuple[Referenced, ...], *, of_table: bool
) -> list[Operation]:
    """The constraint of the parent, and so of all partitions."""
    action = compose("DROP CONSTRAINT {}", Identifier(name))
    found = [on_parent(target, alter(target.identifier, action), LOCKS_OF_CONSTRAINT)] if of_table else []
    first = locking.lock_tables(target.identifier, referenced, ACCESS_EXCLUSIVE)
    late = on_followers(target, lambda relation: alter(relation, action), relations_each=LOCKS_OF_CONSTRAINT)
    return first + found + late


def create_index(target: Target, name: str, definition: str, *, is_unique: bool) -> list[Operation]:
    """An index on the parent, which PostgreSQL makes on all partitions, too; everybody may read meanwhile."""
    statement = create_index_statement(target.identifier, Identifier(name), SQL(definition), is_unique=is_unique)
    # where PostgreSQL's own names for the partitions' indexes would be cut or numbered, new slices have better ones
    table = Literal(target.identifier.text)
    named = compose("SELECT dp._name_indexes({}) WHERE dp._index_names_need_help({}::regclass)", table, table)
    per_leaf = target.table.relations_per_leaf + 1
    return [on_parent(target, each, per_leaf)._replace(lock=SHARE) for each in (statement, named)]


def set_storage(target: Target, given: dict[str, str], reset: list[str]) -> list[Operation]:
    """Storage parameters, which the parent cannot hold: on the template, and on all leaves."""
    actions = []
    if given:
        actions.append(compose("SET ({})", storage_clause(tuple(given.items()))))
    if reset:
        actions.append(compose("RESET ({})", comma_list([option_name(name) for name in reset])))
    action = comma_list(actions)
    lock = ACCESS_EXCLUSIVE if EXCLUSIVE_PARAMETERS.intersection((*given, *reset)) else SHARE_UPDATE_EXCLUSIVE
    found = on_template(target, lambda relation: alter(relation, action))
    # each leaf's TOAST table as well
    found += on_partitions(
        target, lambda relation: alter(relation, action), leaves_only=True, lock=lock, relations_each=2
    )
    return found + on_followers(target, lambda relation: alter(relation, action), leaves_only=True, relations_each=2)
