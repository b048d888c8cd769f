"""Taking back what a conversion has built."""

from __future__ import annotations

from .. import execute
from ..catalog import conversion_state as catalog
from ..operation import Operation, Step
from ..plan.conversion import working_schema
from ..plan.conversion_layout import LOCKS_OF_KEY, LOCKS_OF_TABLE
from ..sql import SQL, Identifier, Literal, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context


def discard(root: int, call: Context) -> None:
    """Drop what was built for plain tables that were not exchanged, in transactions that the lock table bears."""
    rows = list(reversed(catalog.built(root)))
    built = [row["converted"] for row in rows]
    sizes = {oid: catalog.tree_size(oid) for oid in built}
    for key in catalog.foreign_keys_of(built):
        table = Identifier(key["schema"], key["relation"])
        statement = compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(key["name"]))
        locks = LOCKS_OF_KEY * (sizes.get(key["child"], 1) + sizes.get(key["parent"], 1)) + LOCKS_OF_TABLE
        _discarded(table, statement, locks, call)
    for row in rows:
        table = Identifier(row["converted_schema"], row["name"])
        for each in catalog.slices_of(row["converted"]):
            _discarded(each, compose("DROP TABLE {}", each), 4 * LOCKS_OF_TABLE, call)
        _discarded(table, compose("DROP TABLE {}", table), LOCKS_OF_TABLE, call)
    schemas = dict.fromkeys(working_schema(row["plain_schema"]) for row in catalog.tables(root))
    for schema in catalog.existing_schemas(list(schemas)):
        _discarded(Identifier(schema), compose("DROP SCHEMA {} CASCADE", Identifier(schema)), 0, call)
    forget = compose(
        "DELETE FROM dp.conversion_config WHERE root = {}::regclass", Literal(catalog.relation(root)["name"])
    )
    _discarded(SQL(catalog.relation(root)["name"]), forget, 0, call)


def _discarded(target: Identifier | SQL, statement: SQL, locks: int, call: Context) -> None:
    execute.execute([Step((Operation(target, statement, locks=locks),))], call)
