"""The 22 plain tables of Dialogporten: dp.convert against bare INSERT ... SELECT into the same partitioned tables."""

from __future__ import annotations

from bench.report import Result
from bench.support import Bench, Connection, milliseconds, session, value
from tests.support import dialogporten
from tests.support.dialogporten import HASH_KEY, RANGE_KEY, ROOT, WHOLE_PARENTS, WHOLE_TABLES, quoted

FIRST, NOW = "2006-01-01 00:00+00", "2025-06-15 12:00+00"


def measure(bench: Bench) -> list[Result]:
    """The first number of dialogs against bare SQL; each further one by what a dialog costs beside the first."""
    first, *further = bench.dialogs
    converted, bare = _measure(bench, first, bare=True)
    what, against = f"dp.convert, 22 tables, {first:,} dialogs", "INSERT ... SELECT, parents first"
    results = [Result("convert", what, converted / 1000, "s", against, bare / 1000, at_most=1.5)]
    for dialogs in further:
        taken, _ = _measure(bench, dialogs, bare=False)
        results.append(Result("convert", f"{dialogs:,} dialogs", taken / 1000, "s", f"{first:,}", converted / 1000))
        cost, cost_of_first = taken / dialogs, converted / first
        results.append(Result("convert", f"a dialog of {dialogs:,}", cost, "ms", f"of {first:,}", cost_of_first))
    return results


def _measure(bench: Bench, dialogs: int, *, bare: bool) -> tuple[float, float]:
    """Milliseconds of the conversion, and of bare INSERTs from the kept plain tables into the emptied partitioned ones.

    The latter are 0 when they are not wanted. For them indexes, foreign keys and what keeps the unique rules over all
    partitions are in place.
    """
    with bench.database() as database:
        connection = session(database)
        for script in dialogporten.loading(dialogs, FIRST, NOW, grows=2, further=dialogs // 100):
            connection.execute(script)
        connection.execute("ANALYZE")
        before = _counts(connection)
        connection.execute(f"SET dp.now = '{NOW}'")
        call = f"CALL dp.convert('{ROOT}', '{RANGE_KEY}', '{HASH_KEY}', slice => '5 years', hash_partitions => 2)"
        converted = milliseconds(lambda: connection.execute(call))
        if _counts(connection) != before:
            raise RuntimeError("rows were lost")
        return converted, _bare(connection, before) if bare else 0.0


def _bare(connection: Connection, expected: dict[str, int]) -> float:
    """The same rows once more, by hand; nothing is created."""
    kept = {table: _kept(connection, table) for table in WHOLE_TABLES}
    # The masks of labels and the register of resources are right as they are: both sides leave those triggers out.
    connection.execute('ALTER TABLE "DialogEndUserContextSystemLabel" DISABLE TRIGGER USER')
    connection.execute('ALTER TABLE "Dialog" DISABLE TRIGGER "UpdatePartyResource_AfterInsert_Row"')
    connection.execute(f"TRUNCATE {', '.join(map(quoted, WHOLE_TABLES))}")
    statements = [_insert(connection, table, kept) for table in WHOLE_TABLES]
    taken = milliseconds(lambda: [connection.execute(statement) for statement in statements])
    if _counts(connection) != expected:
        raise RuntimeError("the bare INSERTs lost rows")
    return taken


def _counts(connection: Connection) -> dict[str, int]:
    return {table: value(connection, f"SELECT count(*) FROM {quoted(table)}") for table in WHOLE_TABLES}


def _kept(connection: Connection, table: str) -> str:
    """The plain table that the conversion kept under another schema."""
    name: str = value(
        connection,
        "SELECT oid::regclass::text FROM pg_class WHERE relname = %s AND relkind = 'r' AND NOT relispartition"
        " AND relname NOT LIKE '%%_template'",
        table.rsplit(".", 1)[-1],
    )
    return name


def _insert(connection: Connection, table: str, kept: dict[str, str]) -> str:
    """All rows of a table, with the keys of whichever parent they have."""
    names = [
        row[0]
        for row in connection.execute(
            "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped AND (%s OR attname <> ALL (%s)) ORDER BY attnum",
            (kept[table], table == "Dialog", [RANGE_KEY, HASH_KEY]),
        )
    ]
    columns = ", ".join(names)
    if table == "Dialog":
        return f"INSERT INTO {ROOT} ({columns}) SELECT {columns} FROM {kept[table]}"
    parents = [(parent, own) for child, parent, own, _ in WHOLE_PARENTS if child == table != parent]
    if parents[0][0] == "Dialog" and table != "Attachment":
        del parents[1:]  # it always has that one
    joins = ""
    keys: dict[str, list[str]] = {RANGE_KEY: [], HASH_KEY: []}
    for number, (parent, own) in enumerate(parents):
        referenced = "DialogId" if parent == "DialogServiceOwnerContext" else "Id"
        joins += f' LEFT JOIN {quoted(parent)} AS p{number} ON p{number}."{referenced}" = c."{own}"'
        for key, found in keys.items():
            found.append(f'p{number}."{key}"')
    listed = ", ".join(f"coalesce({', '.join(found)})" for found in keys.values())
    own_columns = ", ".join(f"c.{name}" for name in names)
    return (
        f'INSERT INTO {quoted(table)} ({columns}, "{RANGE_KEY}", "{HASH_KEY}")'
        f" SELECT {own_columns}, {listed} FROM {kept[table]} AS c{joins}"
    )
