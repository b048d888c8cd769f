"""The triggers that keep a global index, and the function that they all call: generated PL/pgSQL.

Statement triggers with transition tables see all rows that a statement on the table writes, cascades included. Row
triggers would be compiled for each leaf in each session: measured over 960 leaves, an INSERT took four times as long.
Only a change of the partition keys has one: of a row that MERGE moves, the transition tables have neither version.
Statements that name a partition are refused.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Identifier, Literal, comma_list, compose, conjunction, names
from .structure import Column


class Wanted(NamedTuple):
    """A global index that shall be, with the columns that it stores."""

    side: GlobalIndex
    columns: tuple[Column, ...]  # of the table: those that are indexed, then those that are carried
    predicate_columns: tuple[str, ...]
    hash_partitions: int  # of the side table itself; 0: it is not partitioned


MOVED = "dp.rows_moved"  # set while a transaction lasts in which rows have changed their keys
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


# A predicate names columns, whatever they are called: FOUND and TG_OP are variables only where no column has the name.
_KEEPER = """
#variable_conflict use_column
BEGIN
    IF TG_OP = 'INSERT' AND TG_WHEN = 'AFTER' THEN  -- what happens most often, and is the shortest, comes first
        IF current_setting({moved}, true) = 'on' THEN  -- MERGE shows rows that it moved among those that it inserted
            {insert_others}
        ELSE
            {insert}
        END IF;
    ELSIF TG_LEVEL = 'ROW' THEN  -- the keys change; of a row that MERGE moves no statement trigger hears
        PERFORM set_config({moved}, 'on', true);
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
            IF row_security_active(TG_RELID) THEN
                RAISE EXCEPTION 'cannot truncate partition %', TG_RELID::regclass USING
                    ERRCODE = 'object_not_in_prerequisite_state',
                    DETAIL = {hidden},
                    HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY first.', TG_RELID::regclass);
            END IF;
            EXECUTE {truncate_before} || TG_RELID::regclass || {truncate_after};
        END IF;
    ELSIF TG_WHEN = 'BEFORE' THEN
        RAISE EXCEPTION 'cannot % rows of partition % by its name', lower(TG_OP), TG_RELID::regclass USING
            ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = {unseen},
            HINT = 'Name the table that it is a partition of.';
    -- plans are kept, and that for one row is a bad one for many, and the other way round
    ELSIF TG_OP = 'DELETE' THEN
        IF (SELECT count(*) FROM (SELECT FROM old_rows LIMIT 2) AS t) < 2 THEN
            {delete}
        ELSE
            {delete_many}
        END IF;
    ELSIF EXISTS (SELECT {watched} FROM new_rows AS t EXCEPT SELECT {watched} FROM old_rows AS t) THEN
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
    watched = compose("{}, ({}) IS TRUE", values("t", index.stored), SQL(index.predicate or "true"))
    others = _insert_others(index, counts)
    delete = [compose("DELETE FROM {} AS g USING old_rows AS t WHERE {}", index.identifier, equal(index, "g", "t"))]
    update = _changes(index, counts)
    body = compose(
        _KEEPER,
        side=index.identifier,
        stored=names(index.stored),
        new_row=values("NEW", index.stored),
        new_counts=_counts("NEW", nullable, index.predicate),
        is_old=equal(index, "g", "OLD"),
        watched=watched,
        moved=Literal(MOVED),
        insert=_kept([_insert(index, counts)]),
        insert_others=_planned_each_time([others]),
        delete=_kept(delete),
        delete_many=_planned_each_time(delete),
        update=_kept(update),
        update_many=_planned_each_time(update),
        truncate_before=Literal(f"DELETE FROM {index.identifier} AS g USING ONLY "),
        truncate_after=Literal(f" AS t WHERE {equal(index, 'g', 't')}"),
        hidden=Literal(
            f"Row security is forced on its owner: global index {index.identifier} would keep entries of hidden rows."
        ),
        unseen=Literal(f"Global index {index.identifier} would not see it."),
    )
    return compose(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS {}",
        index.identifier,
        Literal(body.text),
    )


def _kept(statements: list[SQL]) -> SQL:
    return SQL(" ".join(f"{each};" for each in statements))


def _planned_each_time(statements: list[SQL]) -> SQL:
    return SQL(" ".join(f"EXECUTE {Literal(each.text)};" for each in statements))


def _insert(index: GlobalIndex, counts: SQL) -> SQL:
    """Entries of new rows."""
    return compose(
        "INSERT INTO {} ({}) SELECT {} FROM new_rows AS t WHERE {}",
        index.identifier,
        names(index.stored),
        values("t", index.stored),
        counts,
    )


def _insert_others(index: GlobalIndex, counts: SQL) -> SQL:
    """Of those that have none of their own yet: the row trigger moves some, an online build makes some."""
    return compose(
        "{} AND NOT EXISTS (SELECT FROM {} AS g WHERE {})",
        _insert(index, counts),
        index.identifier,
        equal(index, "g", "t"),
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
                equal(index, "g", "o"),
                equal(index, "o", "t", index.columns),
                counts,
            )
        )
    found.append(
        compose(
            "DELETE FROM {} AS g USING old_rows AS o WHERE {}"
            " AND NOT EXISTS (SELECT FROM new_rows AS t WHERE {} AND {})",
            index.identifier,
            equal(index, "g", "o"),
            equal(index, "o", "t"),
            counts,
        )
    )
    found.append(_insert_others(index, counts))
    return found


def restrict_keeper(index: GlobalIndex) -> SQL:
    """Nobody else makes a trigger of it."""
    return compose("REVOKE ALL ON FUNCTION {}() FROM PUBLIC", index.identifier)


def values(record: str, columns: tuple[str, ...]) -> SQL:
    """Some columns of a record."""
    return comma_list([compose("{}.{}", SQL(record), Identifier(column)) for column in columns])


def equal(index: GlobalIndex, first: str, second: str, columns: tuple[str, ...] | None = None) -> SQL:
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
    return [compose("DROP TRIGGER IF EXISTS {} ON {}", Identifier(name), table.identifier) for name in found]


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
