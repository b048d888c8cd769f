"""What PostgreSQL makes of a piece of SQL: tried on an empty copy of the table, looked at, and rolled back.

So that two definitions are compared as PostgreSQL deparses them, whatever the caller wrote; and so that what cannot
work fails before anything of the hierarchy is locked.
"""

from __future__ import annotations

from .. import database, execute, naming
from ..catalog import alter as catalog_alter
from ..catalog import server as catalog_server
from ..sql import SQL, Identifier, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, TypeVar

    from ..catalog.question import Signature
    from ..execute import Context
    from .alteration import Alteration

    T = TypeVar("T")

OF_DOMAINS = ("23502", "23514")  # a domain refuses NULL
PROBE = "dp_probe"  # a new column's name on the copy, and a new constraint's or index's


def called(signature: Signature, function: Identifier, context: Context) -> bool:
    """Call a function without any values, so that its statements are planned; False: its types do not allow that."""
    if signature.is_polymorphic:
        return False
    try:
        execute.probe(signature.call(function).text, context)
    except database.ServerError as error:
        if database.sqlstate(error) not in OF_DOMAINS:
            raise
        return False
    return True


def tried(change: Alteration, build: Callable[[Identifier], SQL], read: Callable[[int], T]) -> T:
    """What is read of the copy, by its oid, after a statement on it."""
    table = change.target.table
    copy = Identifier(table.schema, naming.derived_name(table.name, PROBE))

    def on_copy() -> T:
        execute.probe(compose("CREATE TABLE {} (LIKE {})", copy, table.identifier).text, change.context)
        oid = catalog_server.resolve_relation(copy.text)
        file = catalog_alter.file_of(oid)
        execute.probe(build(copy).text, change.context)
        result = read(oid)
        change.writes_anew = catalog_alter.file_of(oid) != file
        return result

    return database.rolled_back(on_copy)
