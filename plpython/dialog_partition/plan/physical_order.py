"""The physical order of leaves: by which index, how far a leaf is from it, and what brings it there.

The order of a table is an index of it: the one that was chosen (dp.table_config), else the one that its leaves are
marked with (CLUSTER ON), else the one that its readers use: the owner's newest rows first in the root, the rows of one
parent together in a child.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model import REFERENCE, Hierarchy, Table
from ..operation import ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation
from ..sql import SQL, Identifier, Literal, comma_list, compose, conjunction
from .properties import CLUSTER_ON, use_index

GROUPS = 100  # how many groups of rows are looked at in a leaf
ROWS_OF_GROUP = 200  # and how many rows of each, at most


class OrderIndex(NamedTuple):
    """An index that leaves can be ordered by."""

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]
    directions: tuple[str, ...]  # behind each column in ORDER BY
    marked: int  # how many leaves are marked with it
    is_chosen: bool  # by dp.set_cluster_order

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


class Leaf(NamedTuple):
    """A leaf and its part of the index of the order."""

    oid: int
    schema: str
    name: str
    index_name: str
    pages: int
    size: int  # bytes of its rows
    relations: int  # itself, its indexes, its TOAST table
    is_logged: bool  # not UNLOGGED
    has_identity: bool  # an index that says which row was changed: of its primary key, or its replica identity
    is_vacuumed: bool  # since it was written anew
    ordered: str | None  # when, by this index
    changed: int | None  # rows written since then; None: unknown
    is_unchanged: bool  # since then, for certain

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


def wanted_columns(hierarchy: Hierarchy, table: Table) -> tuple[str, ...]:
    """The columns that the order of a table begins with, where the leaves do not say; none for an unkeyed root."""
    policy = hierarchy.policy
    if table.oid == hierarchy.root.oid:
        found = (policy.hash_key, policy.slice_key, policy.range_key)
        return tuple(column for column in found if column is not None)
    keys = policy.partition_keys
    for key in hierarchy.foreign_keys:
        if key.child == table.oid and key.parent != table.oid:
            return tuple(column for column in key.columns if column not in keys)
    return ()


def wanted_index(hierarchy: Hierarchy, table: Table) -> SQL | None:
    """What stands behind the table's name in CREATE INDEX, for an order that has no index yet; None: no column wanted.

    The newest rows of an owner first; in a child the rows of a parent together, beside those of the owner's others.
    """
    wanted = wanted_columns(hierarchy, table)
    if not wanted:
        return None
    policy = hierarchy.policy
    if table.oid == hierarchy.root.oid:
        times = (policy.slice_key, policy.range_key)
        columns = [compose("{}{}", Identifier(c), SQL(" DESC" if c in times else "")) for c in wanted]
    else:
        owner = () if policy.hash_key is None or policy.hash_key in wanted else (policy.hash_key,)
        columns = [compose("{}", Identifier(c)) for c in (*owner, *wanted)]
    return compose("({})", comma_list(columns))


def choose(hierarchy: Hierarchy, table: Table, indexes: list[OrderIndex]) -> OrderIndex | None:
    """The index that was chosen or that most leaves are marked with; else the shortest that begins as it should.

    In a child one that the owner's column leads is better still: it keeps the rows of one parent together, and beside
    them those of the owner's others.
    """
    marked = [index for index in indexes if index.marked or index.is_chosen]
    if marked:
        return max(marked, key=lambda index: (index.is_chosen, index.marked, index.name))
    wanted = wanted_columns(hierarchy, table)
    owner = hierarchy.policy.hash_key
    preferred = [(owner, *wanted)] if owner is not None and table.oid != hierarchy.root.oid else []
    for columns in (*preferred, wanted):
        fitting = [index for index in indexes if wanted and index.columns[: len(columns)] == columns]
        if fitting:
            return min(fitting, key=lambda index: (len(index.columns), index.name))
    return None


def group_columns(hierarchy: Hierarchy, table: Table, index: OrderIndex) -> tuple[str, ...]:
    """What the rows that are read together have in common: the owner in the root, the parent in a child."""
    wanted = wanted_columns(hierarchy, table)
    if table.oid == hierarchy.root.oid or index.columns[: len(wanted)] != wanted:
        return index.columns[:1]
    return wanted


def measurement(leaf: Leaf, index: OrderIndex, groups: tuple[str, ...], percent: float) -> SQL:
    """The pages that sampled groups of rows lie in, and the least that they could lie in.

    The groups are those of rows in random pages; of a large group the rows at its beginning count, in the order of the
    index, as a reader with a LIMIT takes them. The least is what one row after the other takes, wherever in a page
    the first one stands.
    """
    keys = [Identifier(column) for column in groups]
    block = SQL("((ctid::text::point)[0])::bigint")
    order = [compose("{} {}", Identifier(c), SQL(d)) for c, d in zip(index.columns, index.directions)]
    return compose(
        "WITH sampled AS MATERIALIZED (SELECT {block} AS dp_block, ctid AS dp_row, {keys} FROM ONLY {leaf}"
        " TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)),"
        " density AS (SELECT count(*)::float8 / greatest(count(DISTINCT dp_block), 1) AS rows FROM sampled),"
        " chosen AS (SELECT DISTINCT {keys} FROM (SELECT * FROM sampled ORDER BY md5(dp_row::text) LIMIT {groups})"
        " AS picked),"
        " looked AS (SELECT one.pages, one.rows FROM chosen CROSS JOIN LATERAL (SELECT count(*) AS rows,"
        " count(DISTINCT dp_block) AS pages FROM (SELECT {block} AS dp_block FROM ONLY {leaf} AS dp_leaf"
        " WHERE {same} ORDER BY {order} LIMIT {limit}) AS taken) AS one WHERE one.rows > 0)"
        " SELECT sum(pages)::float8 AS pages, sum(1 + (looked.rows - 1) / density.rows)::float8 AS least"
        " FROM looked, density",
        block=block,
        keys=comma_list(keys),
        leaf=leaf.identifier,
        percent=SQL(f"{percent:.6f}"),
        groups=Literal(GROUPS),
        limit=Literal(ROWS_OF_GROUP),
        same=conjunction([compose("dp_leaf.{} = chosen.{}", key, key) for key in keys]),
        order=comma_list(order),
    )


def order_operations(table: Identifier, index: OrderIndex, leaves: list[Leaf]) -> list[Operation]:
    """Choose the index of a table's order, and mark its leaves, without ordering them."""
    choice = compose(
        "UPDATE dp.table_config SET cluster_index = {} WHERE tbl = {}::regclass AND role <> {}",
        Literal(index.name),
        Literal(table.text),
        Literal(REFERENCE),
    )
    return [Operation(table, choice, ROW_EXCLUSIVE), *mark_operations(index, leaves)]


def mark_operations(index: OrderIndex, leaves: list[Leaf]) -> list[Operation]:
    """Mark leaves with an index, whatever their own is called by then."""
    return [
        Operation(
            leaf.identifier,
            use_index(leaf.identifier, index.name, CLUSTER_ON),
            SHARE_UPDATE_EXCLUSIVE,
            (leaf.oid,),
            leaf.relations,
        )
        for leaf in leaves
    ]
