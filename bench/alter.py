"""A schema change of 1,920 leaves: one call against the bare ALTER TABLE of the parent."""

from __future__ import annotations

from bench.create import LEAVES, MONTHS, STARTS, declaration
from bench.report import Result
from bench.support import Bench, interleaved, session, value

TABLE = "Dialog"
TIMES = 7


def measure(bench: Bench) -> list[Result]:
    """dp.add_column and ALTER TABLE ADD COLUMN in turns, on the same table; each column another one."""
    with bench.database() as database:
        connection = session(database)
        connection.execute(declaration(TABLE, None))
        connection.execute(
            "SELECT dp.create_hierarchy(%s, 'ContentUpdatedAt', 'Party', hash_partitions => %s)",
            (f'"{TABLE}"', LEAVES),
        )
        connection.execute("CALL dp.create_slices(%s, %s, %s)", (f'"{TABLE}"', STARTS[0], STARTS[MONTHS]))
        numbers = iter(range(1000))
        call = f"SELECT dp.add_column('\"{TABLE}\"', 'called_{{}}', 'integer', default_value => '7', not_null => true)"
        bare = f'ALTER TABLE "{TABLE}" ADD COLUMN bare_{{}} integer NOT NULL DEFAULT 7'
        plain_call = call.replace(", default_value => '7', not_null => true", "")
        plain_bare = bare.replace(" NOT NULL DEFAULT 7", "")
        called, by_hand, called_plain, by_hand_plain = interleaved(
            TIMES,
            *(
                lambda text=text: connection.execute(text.format(next(numbers)))  # type: ignore[misc]
                for text in (call, bare, plain_call, plain_bare)
            ),
        )
        columns = value(connection, "SELECT count(*) FROM pg_attribute WHERE attname ~ '^called_' AND attnum > 0")
        assert columns == 2 * TIMES * (2 + MONTHS * (1 + LEAVES)), "each on parent, template, slices and leaves"
        plain_ddl, switched_off = interleaved(
            TIMES,
            *(
                lambda text=text: connection.execute(text.format(next(numbers)))  # type: ignore[misc]
                for text in (
                    f"SET dp.propagate_ddl = on; {plain_bare.replace('bare_', 'carried_')}",
                    f"SET dp.propagate_ddl = off; {plain_bare}",
                )
            ),
        )
        connection.execute("CREATE TABLE other (a int)")
        other, other_off = interleaved(
            TIMES,
            *(
                lambda text=text: connection.execute(text)  # type: ignore[misc]
                for text in (
                    f"SET dp.propagate_ddl = {value}; ALTER TABLE other ALTER COLUMN a SET STATISTICS 5"
                    for value in ("on", "off")
                )
            ),
        )
    what, against = f"dp.add_column, {MONTHS * LEAVES:,} leaves", "ALTER TABLE of the parent"
    return [
        Result("alter", f"{what}, NOT NULL with a default", called, "ms", against, by_hand, at_most=1.3),
        Result("alter", f"{what}, nullable", called_plain, "ms", against, by_hand_plain),
        Result("alter", "the same as plain DDL, carried", plain_ddl, "ms", "dp.propagate_ddl = off", switched_off),
        Result("alter", "plain DDL on another table", other, "ms", "dp.propagate_ddl = off", other_off),
    ]
