"""Global indexes: a side table that holds some columns of all rows of a table, with the partition keys.

It is kept by triggers of generated PL/pgSQL: row triggers, which PostgreSQL copies to every partition, so that rows
written to a leaf by its name are seen, too; and one on each leaf for TRUNCATE, which has no rows.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, conjunction, name_array, names
from .structure import Column, add_constraint


class Wanted(NamedTuple):
    """A global index that shall be, with the columns that it stores."""

    side: GlobalIndex
    columns: tuple[Column, ...]  # of the table: those that are indexed, then those that are carried
    predicate_columns: tuple[str, ...]
    hash_partitions: int  # of the side table itself; 0: it is not partitioned


def trigger_names(index: GlobalIndex) -> tuple[str, str, str]:
    """The row trigger for INSERT and DELETE, that for UPDATE, and the leaves' own for TRUNCATE."""
    row, update, truncate = (naming.derived_name(index.name, each) for each in ("row", "update", "truncate"))
    return row, update, truncate


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


_KEEPER = """
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF {new_counts} THEN
            INSERT INTO {side} ({stored}) VALUES ({new});
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM {side} AS g WHERE {is_old};
    ELSIF TG_OP = 'UPDATE' THEN
        IF NOT ({new_counts}) THEN
            DELETE FROM {side} AS g WHERE {is_old};
            RETURN NULL;
        END IF;
        UPDATE {side} AS g SET ({stored}) = ROW ({new}) WHERE {is_old};
        IF NOT FOUND THEN
            INSERT INTO {side} ({stored}) VALUES ({new});
        END IF;
    ELSIF TG_NARGS > 0 THEN  -- the table, before its leaves
        TRUNCATE {side};
    ELSIF EXISTS (SELECT FROM {side}) THEN
        EXECUTE {truncate_before} || TG_RELID::regclass || {truncate_after};
    END IF;
    RETURN NULL;
END
"""


def keeper(wanted: Wanted) -> SQL:
    """The trigger function, which has the side table's name. It writes where the writer may have no privilege."""
    index = wanted.side
    nullable = [each.name for each in wanted.columns if not each.is_not_null]
    body = compose(
        _KEEPER,
        side=index.identifier,
        stored=names(index.stored),
        new=_values("NEW", index.stored),
        new_counts=_counts("NEW", nullable, index.predicate),
        is_old=_equal(index, "OLD"),
        truncate_before=Literal(f"DELETE FROM {index.identifier} AS g USING ONLY "),
        truncate_after=Literal(f" AS t WHERE {_equal(index, 't')}"),
    )
    return compose(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS {}",
        index.identifier,
        Literal(body.text),
    )


def restrict_keeper(index: GlobalIndex) -> SQL:
    """Nobody else makes a trigger of it."""
    return compose("REVOKE ALL ON FUNCTION {}() FROM PUBLIC", index.identifier)


def _values(record: str, columns: tuple[str, ...]) -> SQL:
    return comma_list([compose("{}.{}", SQL(record), Identifier(column)) for column in columns])


def _equal(index: GlobalIndex, record: str) -> SQL:
    """That the side table's row g is a record's; by the types' own operators, whatever the search_path is."""
    return conjunction(
        [
            compose(
                "g.{column} OPERATOR({schema}.=) {record}.{column}",
                column=Identifier(column),
                schema=Identifier(schema),
                record=SQL(record),
            )
            for column, schema in zip(index.stored, index.operator_schemas)
        ]
    )


def _counts(record: str, nullable: list[str], predicate: str | None) -> SQL:
    """Whether a row belongs into the index."""
    conditions = [compose("{}.{} IS NOT NULL", SQL(record), Identifier(column)) for column in nullable]
    if predicate is not None:
        conditions.append(compose("EXISTS (SELECT FROM (SELECT {}.*) AS t WHERE {})", SQL(record), SQL(predicate)))
    return conjunction(conditions) if conditions else SQL("true")


def create_triggers(wanted: Wanted, table: Table) -> list[SQL]:
    """The row triggers of the table, which all partitions get as well; and its own for TRUNCATE."""
    index = wanted.side
    row, update, truncate = trigger_names(index)
    watched = dict.fromkeys((*index.stored, *wanted.predicate_columns))
    changed = [compose("OLD.{column} IS DISTINCT FROM NEW.{column}", column=Identifier(each)) for each in watched]
    return [
        compose(
            "CREATE TRIGGER {} AFTER INSERT OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION {}()",
            Identifier(row),
            table.identifier,
            index.identifier,
        ),
        compose(
            "CREATE TRIGGER {} AFTER UPDATE ON {} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION {}()",
            Identifier(update),
            table.identifier,
            SQL(" OR ".join(each.text for each in changed)),
            index.identifier,
        ),
        compose(
            "CREATE TRIGGER {} BEFORE TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION {}('all')",
            Identifier(truncate),
            table.identifier,
            index.identifier,
        ),
    ]


def drop_triggers(index: GlobalIndex, table: Table) -> list[SQL]:
    """The triggers of the table, and the row triggers of all partitions."""
    return [compose("DROP TRIGGER {} ON {}", Identifier(name), table.identifier) for name in trigger_names(index)]


def leaf_statements(table: Table, leaf: Identifier) -> list[SQL]:
    """What a leaf has of its own: TRUNCATE of it fires no trigger of its table."""
    return [truncate_trigger(index, leaf) for index in table.global_indexes]


def truncate_trigger(index: GlobalIndex, leaf: Identifier) -> SQL:
    """Before the rows of a leaf go at once, their entries go."""
    return compose(
        "CREATE TRIGGER {} BEFORE TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION {}()",
        Identifier(trigger_names(index)[2]),
        leaf,
        index.identifier,
    )


def drop_truncate_trigger(index: GlobalIndex, leaf: Identifier) -> SQL:
    """A leaf without entries."""
    return compose("DROP TRIGGER IF EXISTS {} ON {}", Identifier(trigger_names(index)[2]), leaf)


def remove_entries(index: GlobalIndex, relation: Identifier) -> SQL:
    """The entries of all rows of a slice, which is about to leave its table."""
    return compose("DELETE FROM {} AS g USING {} AS t WHERE {}", index.identifier, relation, _equal(index, "t"))


def add_entries(index: GlobalIndex, relation: Composable) -> SQL:
    """An entry for every row of a table or slice that counts."""
    conditions = [compose("t.{} IS NOT NULL", Identifier(column)) for column in index.columns]
    if index.predicate is not None:
        conditions.append(compose("({})", SQL(index.predicate)))
    return compose(
        "INSERT INTO {} ({}) SELECT {} FROM {} AS t WHERE {}",
        index.identifier,
        names(index.stored),
        _values("t", index.stored),
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


def drop_index(index: GlobalIndex, table: Table, leaves: list[Identifier]) -> list[SQL]:
    """The index with its triggers, which alone keep the function."""
    found = [*drop_triggers(index, table), *(drop_truncate_trigger(index, leaf) for leaf in leaves)]
    found.append(
        compose("DELETE FROM dp.global_index_config WHERE side = {}::regclass", Literal(index.identifier.text))
    )
    found.append(compose("DROP TABLE {}", index.identifier))
    found.append(compose("DROP FUNCTION {}()", index.identifier))
    return found
