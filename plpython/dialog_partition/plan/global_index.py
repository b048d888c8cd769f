"""Global indexes: a side table that holds some columns of all rows of a table, with the partition keys."""

from __future__ import annotations

from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, conjunction, name_array, names
from . import keeping
from .keeping import Wanted
from .structure import add_constraint


def key_name(index: GlobalIndex) -> str:
    """The name that an error of uniqueness tells."""
    return naming.derived_name(index.name, "key" if index.is_unique else "pkey")


def create_side(wanted: Wanted) -> list[SQL]:
    """The side table, without its key."""
    index = wanted.side
    columns = comma_list(
        [compose("{} {} NOT NULL", Identifier(each.name), each.declaration) for each in wanted.columns]
    )
    if not wanted.hash_partitions:
        return [compose("CREATE TABLE {} ({})", index.identifier, columns)]
    by_hash = compose("PARTITION BY HASH ({})", Identifier(index.columns[0]))
    found = [compose("CREATE TABLE {} ({}) {}", index.identifier, columns, by_hash)]
    for remainder in range(wanted.hash_partitions):
        leaf = naming.leaf_name(index.name, wanted.hash_partitions, remainder)
        found.append(
            compose(
                "CREATE TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})",
                Identifier(index.schema, leaf),
                index.identifier,
                Literal(wanted.hash_partitions),
                Literal(remainder),
            )
        )
    return found


def add_key(index: GlobalIndex) -> SQL:
    """The key of the side table."""
    columns = index.columns if index.is_unique else index.stored
    return add_constraint(index.identifier, key_name(index), compose("PRIMARY KEY ({})", names(columns)))


def comment(index: GlobalIndex, table: Table) -> SQL:
    """What it is, for whoever finds it."""
    text = f"Global index of {table.identifier} on {names(index.columns)}, kept by dialog_partition."
    return compose("COMMENT ON TABLE {} IS {}", index.identifier, Literal(text))


def grant_reading(index: GlobalIndex, readers: tuple[str, ...]) -> list[SQL]:
    """Who may read the table may look its rows up; the empty name is PUBLIC."""
    return [
        compose("GRANT SELECT ON {} TO {}", index.identifier, Identifier(each) if each else SQL("PUBLIC"))
        for each in readers
    ]


def revoke_reading(index: GlobalIndex, readers: tuple[str, ...]) -> list[SQL]:
    """The opposite."""
    return [
        compose("REVOKE SELECT ON {} FROM {}", index.identifier, Identifier(each) if each else SQL("PUBLIC"))
        for each in readers
    ]


def remove_entries(index: GlobalIndex, relation: Identifier) -> SQL:
    """The entries of all rows of a slice, which is about to leave its table."""
    return compose(
        "DELETE FROM {} AS g USING {} AS t WHERE {}", index.identifier, relation, keeping.equal(index, "g", "t")
    )


def add_entries(index: GlobalIndex, relation: Composable, *, is_known: bool = False) -> SQL:
    """An entry for every row of a table or slice that counts. ``is_known``: some rows may have theirs already."""
    conditions = [compose("t.{} IS NOT NULL", Identifier(column)) for column in index.columns]
    if index.predicate is not None:
        conditions.append(compose("({})", SQL(index.predicate)))
    if is_known:
        own = keeping.equal(index, "g", "t")
        conditions.append(compose("NOT EXISTS (SELECT FROM {} AS g WHERE {})", index.identifier, own))
    return compose(
        "INSERT INTO {} ({}) SELECT {} FROM {} AS t WHERE {}",
        index.identifier,
        names(index.stored),
        keeping.values("t", index.stored),
        relation,
        conjunction(conditions),
    )


def batches(index: GlobalIndex, leaf: Identifier, blocks: int, each: int) -> list[SQL]:
    """Entries of the rows of a leaf, some blocks at a time. Rows are locked, so that none changes or goes meanwhile.

    What the triggers have written already is left as it is. Whether that was for the same row is verified afterwards.
    """
    found = []
    for first in range(0, max(blocks, 1), each):
        part = compose("t.ctid >= {}::tid", Literal(f"({first},0)"))
        if first + each < blocks:
            part = compose("{} AND t.ctid < {}::tid", part, Literal(f"({first + each},0)"))
        text = add_entries(index, compose("ONLY {}", leaf))
        found.append(compose("{} AND {} FOR SHARE OF t ON CONFLICT DO NOTHING", text, part))
    return found


def refuse_missing(index: GlobalIndex, leaf: Identifier) -> SQL:
    """An error for a row of a leaf that has no entry of its own: another row has its values."""
    return compose(
        "SELECT dp._refuse_missing_entries({}::regclass, {}::regclass, {})",
        Literal(index.identifier.text),
        Literal(leaf.text),
        Literal(key_name(index)),
    )


def declare_valid(index: GlobalIndex) -> SQL:
    """It holds all rows."""
    return compose(
        "UPDATE dp.global_index_config SET is_valid = true WHERE side = {}::regclass", Literal(index.identifier.text)
    )


def configuration(wanted: Wanted, root: Identifier, table: Table) -> SQL:
    """What is remembered of it."""
    index = wanted.side
    return compose(
        "INSERT INTO dp.global_index_config (side, root, tbl, columns, predicate, predicate_columns, is_unique,"
        " is_valid) VALUES ({}::regclass, {}::regclass, {}::regclass, {}, {}, {}, {}, {})",
        Literal(index.identifier.text),
        Literal(root.text),
        Literal(table.identifier.text),
        name_array(index.columns),
        Literal(index.predicate),
        name_array(wanted.predicate_columns),
        Literal(index.is_unique),
        Literal(index.is_valid),
    )


def drop_index(index: GlobalIndex, table: Table, partitions: list[Identifier]) -> list[SQL]:
    """The index with its triggers, which alone keep the function."""
    found = [*keeping.drop_triggers(index, table), *(keeping.drop_guard(index, each) for each in partitions)]
    found.append(
        compose("DELETE FROM dp.global_index_config WHERE side = {}::regclass", Literal(index.identifier.text))
    )
    found.append(compose("DROP TABLE {}", index.identifier))
    found.append(compose("DROP FUNCTION IF EXISTS {}()", index.identifier))
    return found


def let_go(index: GlobalIndex, relation: Identifier, parts: list[Identifier]) -> list[SQL]:
    """A slice that plain DDL has detached: its entries go, and it may be written to by its name."""
    return [remove_entries(index, relation), *(keeping.drop_guard(index, each) for each in parts)]


def take_in(index: GlobalIndex, relation: Identifier, parts: list[tuple[Identifier, bool]]) -> list[SQL]:
    """A slice that plain DDL has attached; it may have been one before that nobody took notice of."""
    found = [add_entries(index, relation, is_known=True)]
    for each, is_leaf in parts:
        found += [keeping.drop_guard(index, each), keeping.guard(index, each, is_leaf=is_leaf)]
    return found
