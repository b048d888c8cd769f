"""What a table of a hierarchy is without what its conversion added: columns, keys in indexes and foreign keys."""

from __future__ import annotations

from .. import errors
from ..model import ForeignKey, Hierarchy, Table
from ..sql import SQL
from . import keeping
from .conversion import Member
from .conversion_record import NOTHING, Record
from .slice_form import spans
from .structure import Index, Structure, Trigger

SETS_SLICE_KEY = "_set_slice_key"
CALLS = " EXECUTE FUNCTION "


def narrowed(member: Member, records: dict[int, Record], hierarchy: Hierarchy) -> Member:
    """A table as it will be: without the columns that were added, and without what keeps global indexes."""
    structure, record = member.structure, records[member.oid]
    table = hierarchy.table(member.oid)
    apart = {key.name: key for key in hierarchy.apart if key.child == member.oid}
    structure = structure._replace(foreign_keys=tuple(apart.get(key.name, key) for key in structure.foreign_keys))
    inside = {key.name for key in structure.foreign_keys if key.parent in records}
    internal = _internal_triggers(structure, table, hierarchy)
    foreign_keys = tuple(
        _narrowed_key(key, record, records[key.parent], hierarchy.policy.partition_keys) if key.name in inside else key
        for key in structure.foreign_keys
    )
    publications = tuple(
        each._replace(columns=record.publications.get(each.name, _without(each.columns, record.added)))
        for each in structure.publications
    )
    kept = structure._replace(
        indexes=tuple(_narrowed_index(structure, index, record) for index in structure.indexes),
        foreign_keys=foreign_keys,
        triggers=tuple(trigger for trigger in structure.triggers if trigger.name not in internal),
        comments=tuple(each for each in structure.comments if each.kind != "TRIGGER" or each.name not in internal),
        publications=publications,
    )
    stored = tuple(column for column in member.facts.stored if column not in record.added)
    own = {each.name for each in structure.statistics}  # the template may have more, for leaves alone
    statistics = tuple(each for each in member.properties.statistics if each.name in own)
    return member._replace(
        structure=kept,
        properties=member.properties._replace(statistics=statistics),
        facts=member.facts._replace(stored=stored),
        owners=tuple(key for key in foreign_keys if key.name in inside and key.parent != member.oid),
        others=tuple(key for key in foreign_keys if key.name in inside and key.parent == member.oid),
    )


def _without(columns: tuple[str, ...], dropped: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(column for column in columns if column not in dropped)


def _internal_triggers(structure: Structure, table: Table, hierarchy: Hierarchy) -> set[str]:
    """The triggers that keep the slice key and global indexes."""
    found = {
        name
        for index in table.global_indexes
        for name in (*(keeping.trigger_name(index, event) for event in keeping.EVENTS), keeping.row_trigger_name(index))
    }
    setter = _setter(structure) if table.oid == hierarchy.root.oid and hierarchy.policy.slice_key else None
    return found | ({setter.name} if setter is not None else set())


def slice_key_function(structure: Structure) -> SQL | None:
    """The function that keeps the slice key of a root, whatever that was called when it was made."""
    setter = _setter(structure)
    return SQL(_called(setter)) if setter is not None else None


def _setter(structure: Structure) -> Trigger | None:
    for trigger in structure.triggers:
        if trigger.name.endswith(SETS_SLICE_KEY) and _called(trigger).replace('"', "").endswith(SETS_SLICE_KEY):
            return trigger
    return None


def _called(trigger: Trigger) -> str:
    """The function of a trigger, as PostgreSQL writes it."""
    return trigger.definition.rpartition(CALLS)[2].rpartition("(")[0]


def _narrowed_index(structure: Structure, index: Index, record: Record) -> Index:
    """An index without the columns that go."""
    gone = record.gone_of(index.name, index.columns)
    left = [column for column in index.columns if column in record.added and column not in gone]
    if left:
        raise errors.DependentObjects(
            f'index "{index.name}" of {structure.identifier} has the column "{left[0]}", which goes',
            "It was made after the conversion, which had added the column.",
            "Drop the index first: SELECT dp.drop_index(...).",
        )
    cut = [position for position, column in enumerate(index.columns) if column in gone]
    if not cut:
        return index
    found = spans(index.definition)
    kept = [index.definition[a:b] for position, (a, b) in enumerate(found) if position not in cut]
    definition = index.definition[: found[0][0]] + ", ".join(kept) + index.definition[found[-1][1] :]
    return index._replace(columns=_without_positions(index.columns, cut), definition=definition)


def _without_positions(columns: tuple[str | None, ...], cut: list[int]) -> tuple[str | None, ...]:
    return tuple(column for position, column in enumerate(columns) if position not in cut)


def _narrowed_key(key: ForeignKey, record: Record, parent: Record, partition_keys: tuple[str, ...]) -> ForeignKey:
    """A foreign key without the partition keys that it got, and as it was besides.

    One that was made since the conversion loses them as well, for its parent's key does.
    """
    if parent == NOTHING:
        return key
    pairs = [pair for pair in zip(key.columns, key.parent_columns) if pair[0] not in partition_keys]
    columns = tuple(own for own, _ in pairs)
    was = record.foreign_keys.get(key.name)
    if was is None:  # one that was renamed is known by its columns
        was = next((each for each in record.foreign_keys.values() if each.columns == columns), None)
    if was is not None and set(was.columns) <= set(key.columns):
        key = key._replace(columns=was.columns, parent_columns=was.parent_columns)
    else:
        key = key._replace(columns=columns, parent_columns=tuple(theirs for _, theirs in pairs))
    if set(key.delete_columns) == set(key.columns):
        key = key._replace(delete_columns=())
    if was is None:
        return key
    return key._replace(
        on_update=was.on_update, is_deferrable=was.is_deferrable, is_deferred=was.is_deferred, is_full=was.is_full
    )
