"""What belongs to a hierarchy's tables belongs to their owners: what carries it to another one.

PostgreSQL leaves with the former owner whatever is no part of a table: partitions, and all that dp has made beside it.
"""

from __future__ import annotations

from typing import NamedTuple

from ..operation import ACCESS_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, Literal, compose

PARTITION, TEMPLATE, SIDE, DETACHED = "partition", "template", "side table", "detached slice"
VIEW, STATISTICS = "writable view", "statistics object"
DETACHED_STATISTICS = "statistics object of a detached slice"
OF_DETACHED = (DETACHED, DETACHED_STATISTICS)
KEEPER, FILLER, FUNCTION = "trigger function of a global index", "function that fills keys", "trigger function"
LOOKUP, PAGE, JOINED = "lookup", "page", "joined lookup"

COMMANDS = {
    **dict.fromkeys((PARTITION, TEMPLATE, SIDE, DETACHED), "TABLE"),
    VIEW: "VIEW",
    **dict.fromkeys((STATISTICS, DETACHED_STATISTICS), "STATISTICS"),
    **dict.fromkeys((KEEPER, FILLER, FUNCTION, LOOKUP, PAGE, JOINED), "FUNCTION"),
}
WITH_RIGHTS = (KEEPER, FILLER)  # of their owner: SECURITY DEFINER
BY_MARK = (LOOKUP, PAGE, JOINED)  # which anybody can write into a function of his own
HOLDS_UP = (SIDE, KEEPER)  # without them no slice can be made, attached or dropped


class Belonging(NamedTuple):
    """Something that belongs to a table, and has another owner than the table."""

    table: int
    what: str  # one of the words above
    schema: str
    name: str
    arguments: str | None  # of a function: the types, as its signature has them
    relation: int  # the oid of a table or view; else 0
    of: int  # what a trigger function serves: the oid of its side table, view or table; else 0
    owner: str
    table_owner: str
    is_callers: bool  # whether the caller may give it away
    is_allowed: bool  # whether the table's owner may have it in this schema; superusers do not ask

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    @property
    def signature(self) -> SQL:
        """Its name as ALTER takes it."""
        if self.arguments is None:
            return SQL(self.identifier.text)
        return compose("{}({})", self.identifier, SQL(self.arguments))


def followed(found: list[Belonging], former: set[str] | None) -> list[Belonging]:
    """Those that go along to the new owner; ``former``: from whom, where that is known.

    What only a mark tells goes along with what is known for certain: else anybody could have a function of his given
    to the owner of the table. A slice that was detached may have been given away on purpose.
    """
    if former is None:
        found = [each for each in found if each.what not in OF_DETACHED]
        former = {each.owner for each in found if each.what not in (PARTITION, *BY_MARK)}
        return [each for each in found if each.owner in former or each.what == PARTITION]
    return [each for each in found if each.owner in former]


def step(each: Belonging, written: SQL | None, locks: int) -> Step:
    """Give it to its table's owner.

    What the former owner has made of it must not run with the rights of the new one: a function that runs with those
    of its owner is ``written`` anew, what else is called is told to run with those of whoever calls.
    ``locks``: what a table takes with its indexes.
    """
    statements = [give(each)]
    if written is not None:
        statements.append(written)
    elif each.arguments is not None:
        statements.insert(0, compose("ALTER FUNCTION {} SECURITY INVOKER", each.signature))
    elif each.what == VIEW:
        statements.insert(0, compose("ALTER VIEW {} SET (security_invoker = true)", each.signature))
    if not each.relation:
        return Step(tuple(Operation(each.identifier, one) for one in statements), is_atomic=True)
    tree = ((each.relation, locks),)
    operations = [Operation(each.identifier, one, ACCESS_EXCLUSIVE, (each.relation,), 1, tree) for one in statements]
    return Step(tuple(operations), is_atomic=True)


def give(each: Belonging) -> SQL:
    """The statement."""
    return compose("ALTER {} {} OWNER TO {}", SQL(COMMANDS[each.what]), each.signature, Identifier(each.table_owner))


def told(found: list[Belonging], most: int = 5) -> str:
    """Some of them in words."""
    words = [f"{each.what} {each.signature}" for each in found[:most]]
    return ", ".join(words) + (f" and {len(found) - most} more" if len(found) > most else "")


def by_owner(found: list[Belonging]) -> dict[tuple[int, str], list[Belonging]]:
    """By table, and who has them."""
    groups: dict[tuple[int, str], list[Belonging]] = {}
    for each in found:
        groups.setdefault((each.table, each.owner), []).append(each)
    return groups


def synchronise(root: Identifier) -> SQL:
    """The call that carries what was not carried."""
    return compose("CALL dp.sync({})", Literal(root.text))
