"""What an INSERT into a writable view runs: generated PL/pgSQL, a function that fills and one that inserts.

The first runs as the tables' owner, as the checks of foreign keys do, and only completes the row. It locks the parent
as these checks will, so that the parent cannot move before the row refers to it; where it has moved meanwhile, the keys
are read again. The second runs as the caller, whose privileges and row security the table asks for.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model import GlobalIndex, Table
from ..sql import SQL, Identifier, Literal, comma_list, compose, conjunction, names
from . import keeping

ATTEMPTS = 20  # each waits for a transaction that moves the parent; none moves so often


class ViewColumn(NamedTuple):
    """A column of a table or of its view."""

    name: str
    type: str  # with length and the like
    collation: str | None
    default: str | None
    identity: str = ""  # pg_attribute.attidentity: a always, d by default
    is_generated: bool = False
    sequence: Identifier | None = None  # that of an identity

    @property
    def kind(self) -> tuple[str, str, str | None]:
        """What a view cannot change of a column."""
        return (self.name, self.type, self.collation)


class Parent(NamedTuple):
    """A row that a new row refers to and takes its keys from."""

    table: Table
    constraint: str
    columns: tuple[str, ...]  # of the child
    parent_columns: tuple[str, ...]  # those that they refer to
    schemas: dict[str, str]  # of the equality operators of the parent's columns and keys
    side: GlobalIndex | None


class Filling(NamedTuple):
    """How the keys of a row become known; ``keys`` are those that are filled."""

    keys: tuple[str, ...]
    parents: tuple[Parent, ...] = ()
    value: SQL | None = None  # of the only key that a root's row gets: the bucket of its range key


def insert_body(table: Identifier, columns: tuple[ViewColumn, ...]) -> SQL:
    """The function that inserts, and reads back what defaults and triggers of the table made of the row.

    Without a search_path of its own: the table's triggers shall find the caller's.
    """
    given = [each for each in columns if not each.is_generated]
    statement = compose(
        "INSERT INTO {} AS t ({}) {}VALUES ({})",
        table,
        names([each.name for each in given]),
        SQL("OVERRIDING SYSTEM VALUE " if any(each.identity == "a" for each in given) else ""),
        comma_list([_new(each.name) for each in given]),
    )
    return compose(
        """
BEGIN
    IF pg_catalog.has_table_privilege({name}, 'SELECT') THEN
        {insert} RETURNING {all} INTO NEW;
    ELSE
        {insert};
    END IF;
    IF NOT FOUND THEN  -- a trigger of the table has left the row out
        RETURN NULL;
    END IF;
    RETURN NEW;
END
""",
        name=Literal(table.text),
        insert=statement,
        all=comma_list([Identifier("t", each.name) for each in columns]),
    )


def fill_body(filling: Filling, table: Table, columns: tuple[ViewColumn, ...]) -> SQL | None:
    """The function that fills; None where there is nothing to do."""
    parts = [_refuse(each, table) for each in columns if each.is_generated or each.identity == "a"]
    parts += [_next(each) for each in columns if each.sequence is not None]
    if filling.value is not None:
        key = _new(filling.keys[0])
        parts.append(compose("{key} := coalesce({key}, {value});", key=key, value=filling.value))
    elif filling.keys:
        parts.append(_keys(filling, table))
    if not parts:
        return None
    parts.append(SQL("RETURN NEW;"))
    return compose(
        "\nDECLARE\n    entry record;\n    parent record;\n    parents bigint;\nBEGIN\n{}\nEND\n",
        SQL("\n".join(each.text for each in parts)),
    )


def _new(column: str) -> SQL:
    return compose("NEW.{}", Identifier(column))


def _refuse(column: ViewColumn, table: Table) -> SQL:
    """A value for a column that is always generated; the table says the same."""
    return compose(
        "IF {} IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = 'generated_always', MESSAGE = {}, DETAIL = {}; END IF;",
        _new(column.name),
        Literal(f'cannot insert a non-DEFAULT value into column "{column.name}"'),
        Literal(f"It is always generated in {table.identifier}."),
    )


def _next(column: ViewColumn) -> SQL:
    """An identity's next value: asking its sequence takes a privilege that only the owner needs to have."""
    assert column.sequence is not None
    key = _new(column.name)
    sequence = Literal(column.sequence.text)
    return compose("{key} := coalesce({key}, nextval({sequence}));", key=key, sequence=sequence)


def _keys(filling: Filling, table: Table) -> SQL:
    """Whoever gives the keys is believed: foreign keys check them."""
    lookups = "\n".join(_lookup(filling.keys, each, table).text for each in filling.parents)
    return compose(
        "IF {} THEN\n{}\n    RAISE EXCEPTION USING ERRCODE = 'not_null_violation', MESSAGE = {}, DETAIL = {},"
        " HINT = {}, SCHEMA = {}, TABLE = {};\nEND IF;",
        SQL(" OR ".join(f"{_new(key)} IS NULL" for key in filling.keys)),
        SQL(lookups),
        Literal(f"the partition keys of a new row of {table.identifier} are not known"),
        Literal("It refers to no row that it could take them from."),
        Literal(f"Name its parent, or give {names(filling.keys)}."),
        Literal(table.schema),
        Literal(table.name),
    )


_LOOKUP = """
    IF {is_named} THEN
        FOR attempt IN 1 .. {attempts} LOOP
            {entry}
            BEGIN
                EXECUTE {query} INTO parent USING {given};
                GET DIAGNOSTICS parents = ROW_COUNT;
            EXCEPTION WHEN serialization_failure THEN  -- it has moved meanwhile
                IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
                    RAISE;
                END IF;
                parents := NULL;
            END;
            IF parents > 0 THEN
                {fill}
                RETURN NEW;
            END IF;
            {without_entry}
        END LOOP;
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = {moves}, DETAIL = {hidden};
    END IF;
"""


def _lookup(keys: tuple[str, ...], parent: Parent, table: Table) -> SQL:
    """The keys of one parent: by its global index first, so that the row itself is read with constants."""
    given = [_new(column) for column in parent.columns]
    conditions = _equal(parent, parent.parent_columns, 1)
    missing = _missing(parent, table)
    entry = without_entry = SQL("-- the parent has no global index")
    if parent.side is None:
        without_entry = compose("IF parents = 0 THEN {} END IF;", missing)
    else:
        conditions += _equal(parent, keys, len(given) + 1)
        given += [compose("entry.{}", Identifier(key)) for key in keys]
        entry = _entry(keys, parent, parent.side, missing)
        without_entry = SQL("-- the entry is another one by now, or will be missing")
    query = compose(
        "SELECT {} FROM {} AS p WHERE {} FOR KEY SHARE",
        keeping.values("p", keys),
        parent.table.identifier,
        conjunction(conditions),
    )
    return compose(
        _LOOKUP,
        is_named=conjunction([compose("{} IS NOT NULL", _new(column)) for column in parent.columns]),
        attempts=Literal(ATTEMPTS),
        entry=entry,
        query=Literal(query.text),
        given=comma_list(given),
        fill=SQL(" ".join(_coalesce(key).text for key in keys)),
        without_entry=without_entry,
        moves=Literal(f"the keys of the row of {parent.table.identifier} that is referred to change all the time"),
        hidden=Literal("Or row security that is forced on its owner hides it."),
    )


def _coalesce(key: str) -> SQL:
    return compose("{new} := coalesce({new}, {found});", new=_new(key), found=compose("parent.{}", Identifier(key)))


def _equal(parent: Parent, columns: tuple[str, ...], first: int) -> list[SQL]:
    """Columns of the parent against parameters of a statement."""
    return [
        compose("p.{} OPERATOR({}.=) {}", Identifier(column), Identifier(parent.schemas[column]), SQL(f"${number}"))
        for number, column in enumerate(columns, first)
    ]


def _entry(keys: tuple[str, ...], parent: Parent, side: GlobalIndex, missing: SQL) -> SQL:
    conditions = [
        compose(
            "g.{} OPERATOR({}.=) {}",
            Identifier(theirs),
            Identifier(parent.schemas[theirs]),
            _new(own),
        )
        for own, theirs in zip(parent.columns, parent.parent_columns)
    ]
    return compose(
        "SELECT {} INTO entry FROM {} AS g WHERE {}; IF NOT FOUND THEN {} END IF;",
        keeping.values("g", keys),
        side.identifier,
        conjunction(conditions),
        missing,
    )


def _missing(parent: Parent, table: Table) -> SQL:
    """What the foreign key would say."""
    told = ", ".join(parent.columns)
    return compose(
        "RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = {}, DETAIL = {} || concat_ws(', ', {})"
        " || {}, SCHEMA = {}, TABLE = {}, CONSTRAINT = {};",
        Literal(
            f'insert or update on table "{table.name}" violates foreign key constraint "{parent.constraint}"',
        ),
        Literal(f"Key ({told})=("),
        comma_list([_new(column) for column in parent.columns]),
        Literal(f') is not present in table "{parent.table.name}".'),
        Literal(table.schema),
        Literal(table.name),
        Literal(parent.constraint),
    )
