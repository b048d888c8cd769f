"""Global indexes: a side table that holds some columns of all rows of a table, with the partition keys.

It is kept by statement triggers of generated PL/pgSQL with transition tables, which see all rows that a statement on
the table writes, cascades included. Row triggers would be compiled for each leaf in each session: measured over 960
leaves, an INSERT took four times as long. Only a change of the partition keys has one: of a row that MERGE moves, the
transition tables have neither version. Statements that name a partition are refused.
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


EVENTS = {
    "insert": "AFTER INSERT ON {} REFERENCING NEW TABLE AS new_rows",
    "delete": "AFTER DELETE ON {} REFERENCING OLD TABLE AS old_rows",
    "update": "AFTER UPDATE ON {} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "truncate": "BEFORE TRUNCATE ON {}",
}


def trigger_name(index: GlobalIndex, event: str) -> str:
    """The name of one of its triggers."""
    return naming.derived_name(index.name, event)


def row_trigger_name(index: GlobalIndex) -> str:
    """The name of the trigger for rows, behind all others: they fire in the order of their names."""
    return naming.shorten(f"~{index.name}", naming.MAX_BYTES)


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
    IF TG_LEVEL = 'ROW' THEN  -- the keys change; of a row that MERGE moves no statement trigger hears
        IF NOT ({new_counts}) THEN
            DELETE FROM {side} AS g WHERE {is_old};
            RETURN NEW;
        END IF;
        UPDATE {side} AS g SET ({stored}) = ROW ({new_row}) WHERE {is_old};
        IF NOT FOUND THEN
            INSERT INTO {side} ({stored}) VALUES ({new_row});
        END IF;
        RETURN NEW;
    ELSIF TG_OP = 'TRUNCATE' THEN
        IF TG_NARGS = 0 THEN  -- the table, before its leaves
            TRUNCATE {side};
        ELSIF EXISTS (SELECT FROM {side}) THEN
            EXECUTE {truncate_before} || TG_RELID::regclass || {truncate_after};
        END IF;
    ELSIF TG_WHEN = 'BEFORE' THEN
        RAISE EXCEPTION 'cannot % rows of partition % by its name', lower(TG_OP), TG_RELID::regclass USING
            ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = {unseen},
            HINT = 'Name the table that it is a partition of.';
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO {side} ({stored}) SELECT {new} FROM new_rows AS t WHERE {counts} AND {is_new};
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM {side} AS g USING old_rows AS t WHERE {is_row};
    ELSIF EXISTS (SELECT {watched} FROM new_rows AS t EXCEPT SELECT {watched} FROM old_rows AS t) THEN
        -- plans are kept: that of one row would be a bad one for many
        IF (SELECT count(*) FROM (SELECT FROM new_rows LIMIT 2) AS t) < 2 THEN
            {update}
        ELSE
            {update_many}
        END IF;
    END IF;
    RETURN NULL;
END
"""


def keeper(wanted: Wanted) -> SQL:
    """The trigger function, which has the side table's name. It writes where the writer may have no privilege."""
    index = wanted.side
    nullable = [each.name for each in wanted.columns if not each.is_not_null]
    counts = _counts("t", nullable, index.predicate)
    watched = compose("{}, ({}) IS TRUE", _values("t", index.stored), SQL(index.predicate or "true"))
    changes = _changes(index, counts)
    body = compose(
        _KEEPER,
        side=index.identifier,
        stored=names(index.stored),
        new=_values("t", index.stored),
        counts=counts,
        is_new=_is_new(index),
        is_row=_equal(index, "g", "t"),
        new_row=_values("NEW", index.stored),
        new_counts=_counts("NEW", nullable, index.predicate),
        is_old=_equal(index, "g", "OLD"),
        watched=watched,
        update=SQL(" ".join(f"{each};" for each in changes)),
        update_many=SQL(" ".join(f"EXECUTE {Literal(each.text)};" for each in changes)),
        truncate_before=Literal(f"DELETE FROM {index.identifier} AS g USING ONLY "),
        truncate_after=Literal(f" AS t WHERE {_equal(index, 'g', 't')}"),
        unseen=Literal(f"Global index {index.identifier} would not see it."),
    )
    return compose(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS {}",
        index.identifier,
        Literal(body.text),
    )


def _changes(index: GlobalIndex, counts: SQL) -> list[SQL]:
    """What an UPDATE of some rows means. An entry whose row only moves stays: foreign keys may refer to it."""
    found = []
    if index.is_unique:
        carried = [compose("{} = t.{}", Identifier(each), Identifier(each)) for each in index.carried]
        found.append(
            compose(
                "UPDATE {} AS g SET {} FROM old_rows AS o, new_rows AS t WHERE {} AND {} AND {}",
                index.identifier,
                comma_list(carried),
                _equal(index, "g", "o"),
                _equal(index, "o", "t", index.columns),
                counts,
            )
        )
    found.append(
        compose(
            "DELETE FROM {} AS g USING old_rows AS o WHERE {}"
            " AND NOT EXISTS (SELECT FROM new_rows AS t WHERE {} AND {})",
            index.identifier,
            _equal(index, "g", "o"),
            _equal(index, "o", "t"),
            counts,
        )
    )
    found.append(
        compose(
            "INSERT INTO {side} ({stored}) SELECT {new} FROM new_rows AS t WHERE {counts} AND {is_new}",
            side=index.identifier,
            stored=names(index.stored),
            new=_values("t", index.stored),
            counts=counts,
            is_new=_is_new(index),
        )
    )
    return found


def _is_new(index: GlobalIndex) -> SQL:
    """That a row has no entry of its own yet: it has one if the row trigger has moved it, or an online build."""
    return compose("NOT EXISTS (SELECT FROM {} AS g WHERE {})", index.identifier, _equal(index, "g", "t"))


def restrict_keeper(index: GlobalIndex) -> SQL:
    """Nobody else makes a trigger of it."""
    return compose("REVOKE ALL ON FUNCTION {}() FROM PUBLIC", index.identifier)


def _values(record: str, columns: tuple[str, ...]) -> SQL:
    return comma_list([compose("{}.{}", SQL(record), Identifier(column)) for column in columns])


def _equal(index: GlobalIndex, first: str, second: str, columns: tuple[str, ...] | None = None) -> SQL:
    """That two records agree in what is stored; by the types' own operators, whatever the search_path is."""
    return conjunction(
        [
            compose(
                "{first}.{column} OPERATOR({schema}.=) {second}.{column}",
                column=Identifier(column),
                schema=Identifier(schema),
                first=SQL(first),
                second=SQL(second),
            )
            for column, schema in zip(index.stored, index.operator_schemas)
            if columns is None or column in columns
        ]
    )


def _counts(record: str, nullable: list[str], predicate: str | None) -> SQL:
    """Whether a row belongs into the index."""
    conditions = [compose("{}.{} IS NOT NULL", SQL(record), Identifier(column)) for column in nullable]
    if predicate is not None:
        conditions.append(compose("EXISTS (SELECT FROM (SELECT {}.*) AS r WHERE {})", SQL(record), SQL(predicate)))
    return conjunction(conditions) if conditions else SQL("true")


def create_triggers(index: GlobalIndex, table: Table, partition_keys: tuple[str, ...]) -> list[SQL]:
    """The triggers of the table; that for rows comes after all others, which may change what they write."""
    changed = [
        compose("OLD.{column} IS DISTINCT FROM NEW.{column}", column=Identifier(each)) for each in partition_keys
    ]
    of_rows = compose(
        "CREATE TRIGGER {} BEFORE UPDATE ON {} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION {}()",
        Identifier(row_trigger_name(index)),
        table.identifier,
        SQL(" OR ".join(each.text for each in changed)),
        index.identifier,
    )
    of_statements = [
        compose(
            "CREATE TRIGGER {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}()",
            Identifier(trigger_name(index, event)),
            compose(clause, table.identifier),
            index.identifier,
        )
        for event, clause in EVENTS.items()
    ]
    return [of_rows, *of_statements]


def drop_triggers(index: GlobalIndex, table: Table) -> list[SQL]:
    """The triggers of the table go."""
    found = [row_trigger_name(index), *(trigger_name(index, event) for event in EVENTS)]
    return [compose("DROP TRIGGER {} ON {}", Identifier(name), table.identifier) for name in found]


def guard(index: GlobalIndex, partition: Identifier, *, is_leaf: bool) -> SQL:
    """What a slice or leaf has of its own: the refusal of statements that name it; TRUNCATE of a leaf is seen."""
    return compose(
        "CREATE TRIGGER {} BEFORE INSERT OR UPDATE OR DELETE{} ON {} FOR EACH STATEMENT"
        " EXECUTE FUNCTION {}('partition')",
        Identifier(trigger_name(index, "guard")),
        SQL(" OR TRUNCATE" if is_leaf else ""),
        partition,
        index.identifier,
    )


def drop_guard(index: GlobalIndex, partition: Identifier) -> SQL:
    """A partition that is none any more."""
    return compose("DROP TRIGGER IF EXISTS {} ON {}", Identifier(trigger_name(index, "guard")), partition)


def remove_entries(index: GlobalIndex, relation: Identifier) -> SQL:
    """The entries of all rows of a slice, which is about to leave its table."""
    return compose("DELETE FROM {} AS g USING {} AS t WHERE {}", index.identifier, relation, _equal(index, "g", "t"))


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


def drop_index(index: GlobalIndex, table: Table, partitions: list[Identifier]) -> list[SQL]:
    """The index with its triggers, which alone keep the function."""
    found = [*drop_triggers(index, table), *(drop_guard(index, each) for each in partitions)]
    found.append(
        compose("DELETE FROM dp.global_index_config WHERE side = {}::regclass", Literal(index.identifier.text))
    )
    found.append(compose("DROP TABLE {}", index.identifier))
    found.append(compose("DROP FUNCTION {}()", index.identifier))
    return found
