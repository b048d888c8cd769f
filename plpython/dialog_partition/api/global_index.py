"""create_global_index, create_global_index_online, drop_global_index, create_lookup."""

from __future__ import annotations

from .. import errors, execute, fragments, printing
from ..catalog import global_index as catalog
from ..catalog import lookup as catalog_lookup
from ..catalog import server as catalog_server
from ..catalog import writable_view as catalog_view
from ..model import GlobalIndex, Hierarchy, Table
from ..operation import ACCESS_EXCLUSIVE, ROW_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, Operation, Step
from ..plan import global_index as plan
from ..plan import keeping, trees
from ..plan import lookup as plan_lookup
from ..plan.detached import INDEX_LOCKS
from ..plan.lookup import Lookup
from ..plan.structure import Column
from ..sql import SQL, Identifier, compose, names
from . import calls, following, obstacles, probing, view_upkeep
from .alteration import LOCKS_OF_CALL, Alteration
from .concurrently import run_counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..printing import PlanRow

MAX_HASH_PARTITIONS = 1024


def create_global_index(
    tbl: int,
    columns: list[str],
    is_unique: bool,
    predicate: str | None,
    index_name: str | None,
    hash_partitions: int,
    search_path: str,
    dry_run: bool,
) -> list[PlanRow]:
    """Create a global index in the caller's transaction; see sql/functions/create_global_index.sql.j2."""
    change = Alteration("create_global_index", tbl, dry_run, search_path)
    wanted = _wanted(change, tuple(columns), is_unique, predicate, index_name, hash_partitions)
    present = _present(change, wanted)
    if present is not None:
        if not present.is_valid:
            raise errors.NotInPrerequisiteState(
                f"global index {present.identifier} does not hold all rows yet",
                "A call of dp.create_global_index_online was stopped.",
                "CALL dp.create_global_index_online(...) with the same arguments goes on.",
            )
        return change.nothing(f"global index {present.identifier} is there already")
    operations = _created(change, wanted, is_filled=True)
    operations += _functions(change, wanted.side)
    change.context = change.context._replace(search_path=None)  # the predicate is deparsed by now
    return _run_with_views(change, operations, is_atomic=True)


def _run_with_views(change: Alteration, operations: list[Operation], *, is_atomic: bool = False) -> list[PlanRow]:
    """Run or print; writable views take keys from the global indexes that there are then."""
    if change.context.mode == execute.DRY_RUN:
        views = catalog_view.of_root(change.context.root)
        operations = [*operations, *view_upkeep.printed(change.target.hierarchy, views)]
    calls.run_in_function([Step(tuple(operations), is_atomic=is_atomic)], change.context)
    if change.context.mode != execute.DRY_RUN:
        view_upkeep.run_refresh(change.context)
    return printing.last_plan()


def create_global_index_online(
    tbl: int,
    columns: list[str],
    is_unique: bool,
    predicate: str | None,
    index_name: str | None,
    hash_partitions: int,
    batch_blocks: int,
    search_path: str,
    dry_run: bool,
) -> None:
    """Create a global index while others write; see sql/procedures/create_global_index_online.sql.j2."""
    if batch_blocks < 1:
        raise errors.InvalidParameter.of("batch_blocks", str(batch_blocks), "It is at least 1.")
    change = Alteration("create_global_index_online", tbl, dry_run, search_path, is_procedure=True)
    wanted = _wanted(change, tuple(columns), is_unique, predicate, index_name, hash_partitions)
    present = _present(change, wanted)
    if present is not None and present.is_valid:
        change.nothing(f"global index {present.identifier} is there already")
        _refresh_views(change)  # a call that was killed may have come no further
        return
    side = wanted.side
    steps = [] if present is not None else [Step(tuple(_created(change, wanted, is_filled=False)), is_atomic=True)]
    for leaf, blocks in catalog.leaf_blocks(tbl):
        statements = plan.batches(side, leaf, blocks, batch_blocks)
        statements.append(plan.refuse_missing(side, leaf))
        steps += [Step((Operation(leaf, each, ROW_EXCLUSIVE, locks=INDEX_LOCKS),)) for each in statements]
    last = Operation(side.identifier, plan.declare_valid(side))
    steps.append(Step((last, *_functions(change, side))))
    change.context = change.context._replace(search_path=None)
    if dry_run:
        views = catalog_view.of_root(change.context.root)
        steps.append(Step(tuple(view_upkeep.printed(change.target.hierarchy, views))))
    run_counted(change, steps, side.name)
    if not dry_run:
        _refresh_views(change)


def _refresh_views(change: Alteration) -> None:
    calls.run_in_procedure([Step(tuple(view_upkeep.refresh(change.context)), is_atomic=True)], change.context)


def drop_global_index(index: int, dry_run: bool) -> list[PlanRow]:
    """Drop a global index; see sql/functions/drop_global_index.sql.j2."""
    table = catalog.table_of(index)
    if table is None:
        raise errors.UndefinedObject(
            f"{catalog_server.relation_name(index)} is no global index",
            "dp.global_index_config does not name it.",
            "Name its side table; see dp.global_index_config.",
        )
    change = Alteration("drop_global_index", table, dry_run)
    target = change.target
    side = next(each for each in target.table.global_indexes if each.oid == index)
    going = existing_lookups(target.hierarchy, target.table, side)
    others = target.hierarchy.without_index(side)
    table_then = others.table(table)
    taken_over = [
        lookup
        for other in table_then.global_indexes
        for lookup in catalog_lookup.served(others, table_then, other)
        if lookup.signature in {each.signature for each in going}
    ]
    operations = [
        Operation(each.identifier, plan_lookup.drop(each))
        for each in going
        if each.signature not in {lookup.signature for lookup in taken_over}
    ]
    operations += [operation for each in taken_over for operation in _lookup_operations(each)]
    operations += following.of_queries(others)
    following.warn_of_queries(target.hierarchy, others)
    tree = ((target.table.oid, trees.size(target.hierarchy, target.table.oid) * 3),)
    statements = plan.drop_index(side, target.table, [name for name, _ in catalog.partitions(table)])
    operations += [
        Operation(target.identifier, each, ACCESS_EXCLUSIVE, target.relations, 3, tree) for each in statements
    ]
    return _run_with_views(change, operations)


def create_lookup(tbl: int, columns: list[str], dry_run: bool) -> list[PlanRow]:
    """Create a lookup function of a table; see sql/functions/create_lookup.sql.j2."""
    change = Alteration("create_lookup", tbl, dry_run)
    hierarchy = change.target.hierarchy
    served = [
        each
        for table in hierarchy.tables
        for side in table.global_indexes
        for each in catalog_lookup.served(hierarchy, table, side)
        if each.table.oid == tbl and each.columns == tuple(columns)
    ]
    for each in served:
        if catalog.existing_functions(each.table.schema, each.comment):
            return change.nothing(f"{each.signature} is there already")
        return calls.run_in_function([Step(tuple(_lookup_operations(each)))], change.context)
    raise errors.UndefinedObject(
        f"no global index holds the partition keys of {change.target.identifier} by {names(columns)}",
        "The columns are those of a global index of the table, or those by which it refers to a table that has one.",
        "SELECT dp.create_global_index(...) on the table, or on the one that it refers to.",
    )


def _wanted(
    change: Alteration,
    columns: tuple[str, ...],
    is_unique: bool,
    predicate: str | None,
    index_name: str | None,
    hash_partitions: int,
) -> keeping.Wanted:
    table, policy = change.target.table, change.target.hierarchy.policy
    if not columns or len(set(columns)) < len(columns):
        raise errors.InvalidParameter.of("columns", str(list(columns)), "They are different columns, one at least.")
    if not 0 <= hash_partitions <= MAX_HASH_PARTITIONS:
        raise errors.InvalidParameter.of(
            "hash_partitions", str(hash_partitions), f"It is between 0 and {MAX_HASH_PARTITIONS}."
        )
    indexed = tuple(change.column(name) for name in columns)
    if is_unique and set(policy.partition_keys) <= set(columns):  # others tell where rows lie
        raise errors.InvalidParameter.of(
            "columns",
            str(list(columns)),
            "They contain the partition keys: an ordinary unique index does it.",
            "Use dp.create_index(..., is_unique => true).",
        )
    text, predicate_columns = _deparsed(change, predicate)
    virtual = catalog.virtual_column(table.oid, (*columns, *predicate_columns))
    if virtual is not None:
        raise errors.InvalidTableDefinition(
            f'column "{virtual}" of {table.identifier} is virtual and cannot be part of a global index',
            "Triggers do not see the values of columns that are generated when they are read.",
            "Make it a STORED one.",
        )
    carried = _carried(change, columns)
    stored = columns + tuple(each.name for each in carried)
    side = GlobalIndex(
        0,
        table.schema,
        index_name or catalog.default_name(table.name, columns),
        columns,
        stored[len(columns) :],
        catalog.operator_schemas(table.oid, stored),
        text,
        is_unique,
        True,
    )
    return keeping.Wanted(side, (*indexed, *carried), predicate_columns, hash_partitions)


def _carried(change: Alteration, columns: tuple[str, ...]) -> tuple[Column, ...]:
    """The partition keys, and the rest of the primary key, which tells rows apart."""
    primary = change.structure.primary_key
    if primary is None:
        raise errors.InvalidTableDefinition(
            f"{change.target.identifier} has no primary key",
            "A global index tells rows apart by it.",
            "Add a primary key first.",
        )
    wanted = [*change.target.hierarchy.policy.partition_keys, *(name for name in primary.columns if name is not None)]
    return tuple(change.column(name) for name in dict.fromkeys(wanted) if name not in columns)


def _deparsed(change: Alteration, predicate: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The predicate as PostgreSQL deparses it, whatever the caller's search_path is, and its columns."""
    if predicate is None:
        return None, ()
    fragments.check("predicate", predicate)
    constant = "((1))"

    def build(copy: Identifier) -> SQL:
        return compose(
            "CREATE INDEX {} ON {} {} WHERE {}", Identifier(probing.PROBE), copy, SQL(constant), SQL(predicate)
        )

    return probing.tried(change, build, lambda copy: catalog.predicate(copy, probing.PROBE))


def _present(change: Alteration, wanted: keeping.Wanted) -> GlobalIndex | None:
    """The index that is asked for, if it is there; what else has its name is an error."""
    side = wanted.side
    same = (side.columns, side.predicate, side.is_unique)
    for each in change.target.table.global_indexes:
        if (each.columns, each.predicate, each.is_unique) == same and each.name == side.name:
            return each
    taken = catalog_server.existing_relations(side.schema, [side.name, plan.key_name(side)])
    if taken:
        raise errors.DuplicateTable(
            f"relation {Identifier(side.schema, sorted(taken)[0])} already exists",
            "A global index is a table with a key of its own.",
            "Choose another index_name.",
        )
    return None


def _created(change: Alteration, wanted: keeping.Wanted, *, is_filled: bool) -> list[Operation]:
    """The side table, what keeps it, and what is remembered of it."""
    target, side = change.target, wanted.side
    obstacles.refuse_hidden_rows(target.identifier, is_whole=True)
    lock = compose("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", target.identifier)
    tree = ((target.table.oid, trees.size(target.hierarchy, target.table.oid)),)
    found = [Operation(target.identifier, lock, SHARE_ROW_EXCLUSIVE, target.relations, LOCKS_OF_CALL, tree)]
    found += [Operation(side.identifier, each, locks=4) for each in plan.create_side(wanted)]
    if is_filled:
        read = ((target.table.oid, trees.planned(target.hierarchy, target.table)),)
        fill = plan.add_entries(side, target.identifier)
        found.append(Operation(side.identifier, fill, ROW_EXCLUSIVE, locks=INDEX_LOCKS, trees=read))
    else:
        wanted = wanted._replace(side=side._replace(is_valid=False))
    statements = [plan.add_key(side)]
    statements += [plan.comment(side, target.table), *plan.grant_reading(side, catalog.readers(target.table.oid))]
    statements += [keeping.keeper(wanted), keeping.restrict_keeper(side)]
    found += [Operation(side.identifier, each, locks=4) for each in statements]
    for statement in keeping.create_triggers(side, target.table, target.hierarchy.policy.partition_keys):
        found.append(Operation(target.identifier, statement, SHARE_ROW_EXCLUSIVE, target.relations, 30, tree))
    for partition, is_leaf in catalog.partitions(target.table.oid):
        guard = keeping.guard(side, partition, is_leaf=is_leaf)
        found.append(Operation(partition, guard, SHARE_ROW_EXCLUSIVE, (), 0))
    root = target.hierarchy.root.identifier
    found.append(Operation(side.identifier, plan.configuration(wanted, root, target.table)))
    return found


def _functions(change: Alteration, side: GlobalIndex) -> list[Operation]:
    """The lookups of a new index, and the joined lookups that it serves from now on."""
    hierarchy, table = change.target.hierarchy, change.target.table
    found = [
        operation for each in catalog_lookup.served(hierarchy, table, side) for operation in _lookup_operations(each)
    ]
    return found + following.of_queries(hierarchy.with_index(table, side))


def _lookup_operations(lookup: Lookup) -> list[Operation]:
    return [Operation(lookup.identifier, each, locks=3) for each in plan_lookup.create(lookup)]


def existing_lookups(hierarchy: Hierarchy, table: Table, side: GlobalIndex) -> list[Lookup]:
    """Those that are there."""
    return [
        each
        for each in catalog_lookup.served(hierarchy, table, side)
        if catalog.existing_functions(each.table.schema, each.comment)
    ]
