"""Schema changes that nobody waits for long: each partition by itself, and what joins them at the end.

A plan is the difference between the catalog and the goal. Whatever an interrupted call left is part of the catalog, and
so the next plan goes on from there.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..operation import (
    ACCESS_EXCLUSIVE,
    SHARE,
    SHARE_UPDATE_EXCLUSIVE,
    Operation,
    Step,
)
from ..sql import SQL, Composable, Identifier, compose
from .alter import Target, on_parent
from .index_statement import create_index_statement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


ATTACHED_TOGETHER = 16  # each index that is attached is locked until the last of them is


class Index(NamedTuple):
    """An index of a table or partition."""

    oid: int
    relation: int
    schema: str
    name: str
    is_valid: bool
    parent: int  # the index that it is attached to; 0: none
    is_unique: bool
    definition: str | None  # of one that is not attached
    is_busy: bool  # whether somebody builds it now

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


class Part(NamedTuple):
    """A table or partition, and its indexes."""

    oid: int
    schema: str
    name: str
    is_leaf: bool
    parent: int  # 0: the table itself
    indexes: tuple[Index, ...]

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


class Wanted(NamedTuple):
    """The index that the table and all partitions shall have."""

    name: str
    definition: str  # as PostgreSQL deparses it, where it could be asked
    is_unique: bool
    predicate: str | None = None
    tablespace: str | None = None  # where that is not the database's own

    @property
    def clauses(self) -> SQL:
        """What is written behind the name of the table. A deparsed definition says nothing of a tablespace."""
        if self.tablespace is None:
            return SQL(self.definition)
        where = f" WHERE {self.predicate}" if self.predicate is not None else ""
        keys = self.definition[: len(self.definition) - len(where)]
        return SQL(f"{keys} TABLESPACE {Identifier(self.tablespace)}{where}")

    def is_equal(self, index: Index) -> bool:
        """Whether an index that is not attached does the same."""
        return index.parent == 0 and index.is_unique == self.is_unique and index.definition == self.definition

    def name_for(self, part: Part) -> str:
        """The name of a partition's index."""
        return self.name if part.parent == 0 else naming.unique_derived_name(part.name, self.name)


def create_index(parts: tuple[Part, ...], wanted: Wanted, *, is_quick: bool) -> list[Step]:
    """An index on every partition without blocking writers; the table first, then slice by slice.

    The index of a slice is attached when its leaves' are: had it been before, the last of them would make both valid,
    for which servers before 18 lock the table itself ACCESS EXCLUSIVE.

    ``is_quick``: a slice's index comes behind those of its leaves, and all are attached in one step. That keeps the
    slice locked while it waits for a leaf's index; so it is tried once, and what it has left is for the next plan.
    """
    below: dict[int, list[Part]] = {}
    for part in parts[1:]:
        below.setdefault(part.parent, []).append(part)
    found = _own(parts[0], wanted, None)
    chosen = _chosen(parts[0], wanted, found)
    steps = [] if found is not None else [Step((_create_only(parts[0], wanted),))]
    return [*steps, *_built_below(parts[0], wanted, chosen, below, [], is_quick=is_quick)]


def _built_below(
    part: Part,
    wanted: Wanted,
    index: tuple[int, Identifier],
    below: dict[int, list[Part]],
    attached: list[Operation],
    *,
    is_quick: bool,
) -> Iterator[Step]:
    """What builds the indexes below a part, and attaches them to its own; ``attached`` comes with the last of them."""
    ready: list[Operation] = []
    for child in below.get(part.oid, ()):
        if child.is_leaf:
            yield from _leaf_steps(child, wanted, index, ready)
            if len(ready) == ATTACHED_TOGETHER:
                yield Step(tuple(ready), can_wait=True)
                ready.clear()
            continue
        found = _own(child, wanted, index)
        chosen = _chosen(child, wanted, found)
        leaves = below.get(child.oid, ())
        if is_quick and found is None and leaves and all(leaf.is_leaf for leaf in leaves):
            together = [_create_only(child, wanted)]
            for leaf in leaves:
                yield from _leaf_steps(leaf, wanted, chosen, together)
            yield Step((*together, _attach(child, index[1], chosen[1], None)), can_wait=True, is_optional=True)
            continue
        if found is None:
            yield Step((_create_only(child, wanted),), can_wait=True)
        is_attached = found is not None and found.parent != 0
        own = [] if is_attached else [_attach(child, index[1], chosen[1], found)]
        yield from _built_below(child, wanted, chosen, below, own, is_quick=is_quick)
    if ready or attached:
        yield Step((*ready, *attached), can_wait=True)


def _chosen(part: Part, wanted: Wanted, found: Index | None) -> tuple[int, Identifier]:
    """The index of a part: its oid, 0 where it is yet to be made, and its name."""
    return (found.oid, found.identifier) if found else (0, Identifier(part.schema, wanted.name_for(part)))


def _create_only(part: Part, wanted: Wanted) -> Operation:
    """The index of the table or of a slice, without its partitions."""
    only, own = compose("ONLY {}", part.identifier), Identifier(wanted.name_for(part))
    statement = create_index_statement(only, own, wanted.clauses, is_unique=wanted.is_unique)
    return Operation(part.identifier, statement, SHARE, (part.oid,), 4)


def _own(part: Part, wanted: Wanted, above: tuple[int, Identifier] | None) -> Index | None:
    """The index of a part that is attached to the one above, or could be; the table's goes by its name."""
    if above is None:
        return next((index for index in part.indexes if index.name == wanted.name), None)
    attached = [index for index in part.indexes if index.parent == above[0] != 0]
    equal = [index for index in part.indexes if wanted.is_equal(index) and (index.is_valid or not part.is_leaf)]
    equal.sort(key=lambda index: index.name != wanted.name_for(part))
    return next(iter(attached + equal), None)


def _leaf_steps(leaf: Part, wanted: Wanted, above: tuple[int, Identifier], attached: list[Operation]) -> Iterator[Step]:
    """What builds a leaf's index; what attaches it joins ``attached``."""
    found = _own(leaf, wanted, above)
    if found is not None and found.parent != 0:
        if not found.is_valid:
            yield outside(leaf, compose("REINDEX INDEX CONCURRENTLY {}", found.identifier))
        return
    yield from (drop_leftover(leaf, index) for index in leftovers(leaf, wanted))
    name = found.identifier if found is not None else Identifier(leaf.schema, wanted.name_for(leaf))
    if found is None:
        own = Identifier(name.name)
        yield outside(
            leaf,
            create_index_statement(leaf.identifier, own, wanted.clauses, is_unique=wanted.is_unique, concurrently=True),
        )
    attached.append(_attach(leaf, above[1], name, found))


def leftovers(leaf: Part, wanted: Wanted) -> list[Index]:
    """What a call that was stopped left on a leaf: an index that is equal, attached to nothing, and not valid."""
    return [index for index in leaf.indexes if wanted.is_equal(index) and not index.is_valid and not index.is_busy]


def _unattached(part: Part, wanted: Wanted) -> list[Index]:
    """What a call that was stopped built on a slice or leaf and did not attach, besides what it left half built."""
    own = [index for index in part.indexes if wanted.is_equal(index) and index.name == wanted.name_for(part)]
    if not part.is_leaf:
        return own
    return leftovers(part, wanted) + [index for index in own if index.is_valid]


def outside(part: Part, statement: SQL) -> Step:
    """A statement that no transaction may contain."""
    return Step((Operation(part.identifier, statement, SHARE_UPDATE_EXCLUSIVE, (part.oid,), in_transaction=False),))


def drop_leftover(part: Part, index: Index) -> Step:
    """An index that is attached to nothing goes without blocking."""
    return outside(part, compose("DROP INDEX CONCURRENTLY IF EXISTS {}", index.identifier))


def _attach(part: Part, above: Composable, name: Identifier, found: Index | None) -> Operation:
    """The index itself is locked ACCESS EXCLUSIVE for a moment: statements that began to use it are waited for."""
    statement = compose("ALTER INDEX {} ATTACH PARTITION {}", above, name)
    return Operation(part.identifier, statement, ACCESS_EXCLUSIVE, (found.oid,) if found is not None else (), 4)


def taken_names(parts: tuple[Part, ...], wanted: Wanted) -> dict[str, list[str]]:
    """The names that new indexes need, by schema."""
    found: dict[str, list[str]] = {}
    for part in parts:
        name = wanted.name_for(part)
        if not any(index.name == name for index in part.indexes if index.parent != 0 or wanted.is_equal(index)):
            found.setdefault(part.schema, []).append(name)
    return found


def drop_index(target: Target, parts: tuple[Part, ...], wanted: Wanted) -> list[Step]:
    """What is attached to nothing, concurrently; then the table's index with all that is attached, in one moment."""
    left = [(part, index) for part in parts[1:] for index in _unattached(part, wanted)]
    steps = [drop_leftover(part, index) for part, index in left if part.is_leaf]
    # what is partitioned cannot be dropped concurrently
    uppers = [compose("DROP INDEX {}", index.identifier) for part, index in left if not part.is_leaf]
    statement = compose("DROP INDEX {}", Identifier(target.table.schema, wanted.name))
    return [*steps, Step(tuple(on_parent(target, each, 2) for each in (*uppers, statement)))]


def reindex(parts: tuple[Part, ...], top: Index, built: frozenset[str]) -> list[Step]:
    """Each leaf's index anew, but for those built since the operation began; what a killed call left goes."""
    chosen = {0: 0, top.oid: 0}
    steps: list[Step] = []
    for part in parts:
        for index in part.indexes:
            if index.oid != top.oid and (index.parent == 0 or index.parent not in chosen):
                continue
            chosen[index.oid] = part.oid
            if not part.is_leaf:
                continue
            steps += [drop_leftover(part, each) for each in part.indexes if _is_copy(each, index)]
            statement = compose("REINDEX INDEX CONCURRENTLY {}", index.identifier)
            if statement.text not in built:
                steps.append(outside(part, statement))
    return steps


def _is_copy(index: Index, original: Index) -> bool:
    """Whether an index is what REINDEX CONCURRENTLY of another left when it was stopped."""
    prefixes = tuple(naming.cut(original.name, naming.MAX_BYTES - 8) + suffix for suffix in ("_ccnew", "_ccold"))
    return not index.is_valid and not index.is_busy and index.parent == 0 and index.name.startswith(prefixes)
