"""Foreign keys inside a hierarchy: composite, cascading, deferrable where a cascade needs it."""

from __future__ import annotations

from .. import errors, naming
from ..model import ForeignKey, Hierarchy, Table
from ..operation import SHARE_ROW_EXCLUSIVE, Operation
from ..sql import SQL, Composable, Identifier, Literal, compose, name_array, names
from . import trees
from .structure import Structure, add_constraint

ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
ACTION_LETTERS = {word: letter for letter, word in ACTIONS.items()}
SETTING_ACTIONS = ("n", "d")  # those that set columns
UNBOUNDED = 1 << 30  # deeper than any hierarchy


def clause(key: ForeignKey, parent: Composable, is_deferred: bool) -> SQL:
    """``FOREIGN KEY (...) REFERENCES ...``."""
    action = SQL(ACTIONS[key.on_delete])
    if key.delete_columns:  # inside a hierarchy they keep the partition keys from being set, too
        action = compose("{} ({})", action, names(key.delete_columns))
    deferral = " DEFERRABLE INITIALLY DEFERRED" if is_deferred else " DEFERRABLE" if key.is_deferrable else ""
    return compose(
        "FOREIGN KEY ({columns}) REFERENCES {parent} ({referenced}){match}"
        " ON UPDATE {on_update} ON DELETE {action}{deferral}",
        columns=names(key.columns),
        parent=parent,
        referenced=names(key.parent_columns),
        match=SQL(" MATCH FULL" if key.is_full else ""),
        on_update=SQL(ACTIONS[key.on_update]),
        action=action,
        deferral=SQL(deferral),
    )


def comment_statements(key: ForeignKey, table: Composable) -> list[SQL]:
    """The comment of a key that is made again."""
    if key.comment is None:
        return []
    return [compose("COMMENT ON CONSTRAINT {} ON {} IS {}", Identifier(key.name), table, Literal(key.comment))]


def composite(key: ForeignKey, partition_keys: tuple[str, ...]) -> ForeignKey:
    """The key as it shall be inside a hierarchy: (own columns, partition keys), ON UPDATE CASCADE."""
    pairs = [pair for pair in zip(key.columns, key.parent_columns) if pair[0] not in partition_keys]
    own = tuple(column for column, _ in pairs)
    delete_columns = tuple(column for column in key.delete_columns or own if column not in partition_keys)
    return key._replace(
        columns=own + partition_keys,
        parent_columns=tuple(column for _, column in pairs) + partition_keys,
        on_update="c",
        delete_columns=delete_columns if key.on_delete in SETTING_ACTIONS else (),
        is_full=False,  # the partition keys are never NULL
    )


def self_reference(structure: Structure, key: ForeignKey, partition_keys: tuple[str, ...]) -> SQL:
    """A table's foreign key to itself, made composite."""
    wanted = composite(key, partition_keys)
    return add_constraint(structure.identifier, key.name, clause(wanted, structure.identifier, key.is_deferred))


def drop_incoming_statements(structure: Structure) -> list[SQL]:
    """Let go of foreign keys that point to a table which is made anew."""
    return [
        compose("ALTER TABLE {} DROP CONSTRAINT {}", SQL(key.child_text), Identifier(key.name))
        for key in structure.incoming
    ]


def remember_statements(keys: list[ForeignKey]) -> list[SQL]:
    """Keep what foreign keys of tables that are not registered yet said, for dp.register_child."""
    return [
        compose(
            "INSERT INTO dp.pending_foreign_key (child, parent, name, columns, parent_columns, on_delete,"
            " delete_columns, is_deferrable, is_deferred, comment)"
            " VALUES ({}::regclass, {}::regclass, {}, {}, {}, {}, {}, {}, {}, {})",
            Literal(key.child_text),
            Literal(key.parent_text),
            Literal(key.name),
            name_array(key.columns),
            name_array(key.parent_columns),
            Literal(key.on_delete),
            name_array(key.delete_columns),
            Literal(key.is_deferrable),
            Literal(key.is_deferred),
            Literal(key.comment),
        )
        for key in keys
    ]


def pending_statements(structure: Structure, pending: list[ForeignKey], inside: list[ForeignKey]) -> list[SQL]:
    """Forget the remembered keys that exist again; they get their comments back."""
    names_again = {key.name for key in inside if key.child == structure.oid}
    again = [key for key in pending if key.name in names_again]
    found = [statement for key in again for statement in comment_statements(key, structure.identifier)]
    return found + [
        compose(
            "DELETE FROM dp.pending_foreign_key WHERE name = {} AND child = {}::regclass",
            Literal(key.name),
            Literal(structure.identifier.text),
        )
        for key in again
    ]


def parent_links(
    structure: Structure,
    parent: Structure,
    parent_key: list[str] | None,
    on_delete: str | None,
    pending: list[ForeignKey],
    partition_keys: tuple[str, ...],
) -> list[ForeignKey]:
    """The foreign keys that tie a child to a parent: those it has, those it had, or a new one."""
    action = _action(on_delete)
    found = [key for key in [*structure.foreign_keys, *pending] if key.parent == parent.oid]
    if parent_key is not None:
        _check_parent_key(structure, parent_key, partition_keys)
        wanted = set(parent_key) - set(partition_keys)
        found = [key for key in found if wanted == set(key.columns) - set(partition_keys)]
        if not found:
            found = [_new_link(structure, parent, parent_key, partition_keys)]
    if not found:
        raise errors.InvalidParameter(
            f"{structure.identifier} has no foreign key to {parent.identifier}",
            "Without one the columns that refer to the parent are not known.",
            "Name them: parent_key => ARRAY['DialogId'].",
        )
    return [key._replace(on_delete=action) if action else key for key in found]


def _action(on_delete: str | None) -> str | None:
    if on_delete is None:
        return None
    action = ACTION_LETTERS.get(" ".join(on_delete.upper().split()))
    if action is None:
        raise errors.InvalidParameter.of("on_delete", on_delete, f"It is one of {', '.join(ACTION_LETTERS)}.")
    return action


def _check_parent_key(structure: Structure, parent_key: list[str], partition_keys: tuple[str, ...]) -> None:
    for column in parent_key:
        if structure.column(column) is None and column not in partition_keys:
            raise errors.UndefinedColumn(
                f'column "{column}" of {structure.identifier} does not exist',
                "It was given in parent_key.",
                "Name columns of the child, written as they are in the catalog, without double quotes.",
            )
    if not set(parent_key) - set(partition_keys):
        raise errors.InvalidParameter(
            "parameter parent_key names no column that refers to the parent",
            "The partition keys join the foreign key by themselves.",
            "Name the columns that hold the parent's own key: parent_key => ARRAY['DialogId'].",
        )


def _new_link(
    structure: Structure, parent: Structure, parent_key: list[str], partition_keys: tuple[str, ...]
) -> ForeignKey:
    columns = tuple(column for column in parent_key if column not in partition_keys)
    primary = parent.primary_key
    referenced = tuple(
        column for column in (primary.columns if primary else ()) if column and column not in partition_keys
    )
    if len(referenced) != len(columns):
        raise errors.InvalidParameter(
            f"parent_key names {len(columns)} columns, the primary key of {parent.identifier} has {len(referenced)}",
            f"They are {names(columns)} and {names(referenced) if referenced else 'none'}; the partition keys do not"
            " count.",
            "Name as many columns, in the order of the parent's primary key; or add the foreign key first where it"
            " refers to another unique rule, and leave parent_key out.",
        )
    name = naming.shorten(f"{structure.name}_{'_'.join(columns)}_fkey", naming.MAX_BYTES)
    return ForeignKey(name, structure.oid, parent.oid, columns, referenced, "c", "a", (), False, False)


def inside_keys(
    structure: Structure, hierarchy: Hierarchy, links: list[ForeignKey], pending: list[ForeignKey]
) -> list[ForeignKey]:
    """All foreign keys between a child and tables of its hierarchy, itself among them, as they shall be."""
    managed = {table.oid for table in hierarchy.tables} | {structure.oid}
    by_name = {key.name: key for key in [*structure.foreign_keys, *pending] if key.parent in managed}
    by_name.update({key.name: key for key in links})
    found = list(by_name.values()) + [key for key in structure.incoming if key.child in managed]
    for key in found:
        check_pairs(key, hierarchy.policy.partition_keys)
    return [
        composite(_with_obligation(key, structure), hierarchy.policy.partition_keys)
        if key.child == structure.oid
        else composite(key, hierarchy.policy.partition_keys)
        for key in found
    ]


def check_pairs(key: ForeignKey, partition_keys: tuple[str, ...]) -> None:
    """A partition key is one column, of one name, in all tables; a key may not pair it with another."""
    for column, referenced in zip(key.columns, key.parent_columns):
        if referenced in partition_keys and column != referenced:
            raise errors.InvalidTableDefinition(
                f'foreign key "{key.name}" of {key.child_text or "the child"} refers to the partition key'
                f' "{referenced}" by a column of another name, "{column}"',
                "Every table carries the partition keys under the names that they have in the root.",
                f"Rename the column: ALTER TABLE ... RENAME COLUMN {Identifier(column)} TO {Identifier(referenced)},"
                f" and name it: parent_key => ARRAY[{Literal(referenced)}].",
            )


def _with_obligation(key: ForeignKey, structure: Structure) -> ForeignKey:
    """Whether every row has a parent by this key: none of its columns is nullable."""
    columns = [structure.column(name) for name in key.columns]
    return key._replace(is_mandatory=all(column is None or column.is_not_null for column in columns))


def shallowest(hierarchy: Hierarchy) -> dict[int, int]:
    """In which round of a cascade the first rows of each table can be reached: the shortest way from the root."""
    found = {table.oid: UNBOUNDED for table in hierarchy.tables}
    found[hierarchy.root.oid] = 0
    for _ in hierarchy.tables:
        for key in hierarchy.foreign_keys:
            found[key.child] = min(found[key.child], found[key.parent] + 1)
    return found


def deepest(hierarchy: Hierarchy) -> dict[int, int]:
    """In which round the last rows of each table can be reached.

    A row is reached through the first of its parents. It has all mandatory ones, so the nearest of those bounds it;
    without one it may have only its farthest optional parent, and in a table that refers to itself a whole chain.
    """
    found = {hierarchy.root.oid: 0}
    for table in hierarchy.tables[1:]:
        keys = [key for key in hierarchy.foreign_keys if key.child == table.oid]
        others = [key for key in keys if key.parent != table.oid]
        mandatory = [found.get(key.parent, UNBOUNDED) for key in others if key.is_mandatory]
        optional = [found.get(key.parent, UNBOUNDED) for key in others]
        if mandatory:
            found[table.oid] = min(mandatory) + 1
        elif len(keys) > len(others) or not optional:
            found[table.oid] = UNBOUNDED
        else:
            found[table.oid] = max(optional) + 1
    return found


def checked_too_early(hierarchy: Hierarchy) -> set[tuple[int, str]]:
    """The keys (child, name) that a cascade may check before their parent has moved.

    Cascades run breadth-first: what round n updates is checked in round n + 1. A row that another key can bring along
    in an earlier round than its parent by this key is checked too early, so that the check must wait for the commit.
    """
    first, last = shallowest(hierarchy), deepest(hierarchy)
    found = set()
    for key in hierarchy.foreign_keys:
        others = [
            first[other.parent] + 1
            for other in hierarchy.foreign_keys
            if other.child == key.child and other.name != key.name
        ]
        if others and min(others) < last[key.parent]:
            found.add((key.child, key.name))
    return found


def key_operations(
    structure: Structure, hierarchy: Hierarchy, inside: list[ForeignKey], remade: bool
) -> list[Operation]:
    """Make the keys of one child what they shall be, and those deferrable that would be checked too early.

    ``hierarchy`` is what it will be with this child and these keys.
    """
    early = checked_too_early(hierarchy)
    tables = {table.oid: table for table in hierarchy.tables}
    actual = {(key.child, key.name): key for key in structure.foreign_keys + structure.incoming}
    found: list[Operation] = []
    for key in inside:
        table, parent = tables[key.child], tables[key.parent]
        deferred = key.is_deferred or (key.child, key.name) in early
        present = None if remade else actual.get((key.child, key.name))
        if present is not None and is_same(present, key):
            found += _deferral(table, present, deferred)
            continue
        if present is not None:
            drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", table.identifier, Identifier(key.name))
            found.append(Operation(table.identifier, drop, relations=(table.oid, parent.oid)))
        statement = add_constraint(table.identifier, key.name, clause(key, parent.identifier, deferred))
        locks, locked = trees.adding_key(hierarchy, table, parent)
        touched = (table.oid, parent.oid)
        found.append(Operation(table.identifier, statement, SHARE_ROW_EXCLUSIVE, touched, locks, locked))
        if key.child != structure.oid or not remade:  # who is made anew gets them back with all that it had
            found += [Operation(table.identifier, each) for each in comment_statements(key, table.identifier)]
    handled = {(key.child, key.name) for key in inside}
    for key in hierarchy.foreign_keys:
        if (key.child, key.name) not in handled:
            found += _deferral(tables[key.child], key, (key.child, key.name) in early)
    return found


def is_same(present: ForeignKey, wanted: ForeignKey) -> bool:
    """Whether a key says already what it shall say; when it is checked is another matter."""
    return (
        dict(zip(present.columns, present.parent_columns)) == dict(zip(wanted.columns, wanted.parent_columns))
        and present.on_update == "c"
        and present.on_delete == wanted.on_delete
        and set(present.delete_columns) == set(wanted.delete_columns)
    )


def _deferral(table: Table, key: ForeignKey, deferred: bool) -> list[Operation]:
    if key.is_deferred or not deferred:
        return []
    statement = compose(
        "ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED", table.identifier, Identifier(key.name)
    )
    return [Operation(table.identifier, statement, relations=(table.oid,))]
