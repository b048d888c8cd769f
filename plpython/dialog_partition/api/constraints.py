"""add_constraint, drop_constraint, create_index, drop_index."""

from __future__ import annotations

from .. import errors, fragments
from ..catalog import alter as catalog_alter
from ..catalog import foreign_keys as catalog_keys
from ..catalog import guard as catalog_guard
from ..plan import alter as plan
from ..plan.asked import IndexFacts
from ..plan.index_statement import create_index_statement
from ..plan.structure import add_constraint as add_constraint_statement
from ..sql import SQL, Identifier, compose, names
from ..wrapping import PINNED_PATH
from . import probing
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.locking import Referenced
    from ..printing import PlanRow

NOT_VALID = " NOT VALID"
OF_ROWS = ("CHECK", "FOREIGN")
KINDS = (*OF_ROWS, "UNIQUE", "PRIMARY", "EXCLUDE")


def add_constraint(tbl: int, constraint_name: str, definition: str, search_path: str, dry_run: bool) -> list[PlanRow]:
    """Add a constraint; see sql/functions/add_constraint.sql.j2."""
    fragments.check("definition", definition)
    kind = fragments.words(definition, 1)
    if kind[:1] not in {(each,) for each in KINDS}:
        raise errors.InvalidParameter.of(
            "definition", definition, f"It begins with one of {', '.join(KINDS)}.", "Leave CONSTRAINT and its name out."
        )
    change = Alteration("add_constraint", tbl, dry_run, search_path)
    is_present = constraint_name in change.constraint_names()
    if kind[0] in OF_ROWS:  # what has an index comes with attach_slice
        change.reach_followers(lambda oid: catalog_alter.constraint(oid, constraint_name) is None)
    if is_present:
        _refuse_another_constraint(change, constraint_name, definition)
        if not change.target.followers:
            return change.nothing(f'{change.target.identifier} has constraint "{constraint_name}" already')
    elif kind[0] in ("UNIQUE", "PRIMARY"):
        check_unique(change, constraint_name, definition)
    referenced = referenced_by(change, definition) if kind[0] == "FOREIGN" else ()
    operations = plan.add_constraint(
        change.target, constraint_name, definition, kind[0], referenced, of_table=not is_present
    )
    rows = change.run(operations, "constraint", constraint_name)
    _refuse_inner_key(change, constraint_name)
    return rows


def referenced_by(change: Alteration, definition: str) -> tuple[Referenced, ...]:
    """What a foreign key refers to that is yet to be added, to be locked before the table; nothing where we may not."""
    name = fragments.referenced_name(definition)
    oid = catalog_keys.find(name, change.context.search_path or PINNED_PATH) if name is not None else 0
    return catalog_keys.lockable(oid, change.context.owner)


def _refuse_another_constraint(change: Alteration, name: str, definition: str) -> None:
    """The constraint of that name must be the one that was asked for."""
    present = catalog_alter.constraint(change.target.table.oid, name)
    asked = probing.tried(
        change,
        lambda copy: add_constraint_statement(copy, probing.PROBE, SQL(definition)),
        lambda copy: catalog_alter.constraint(copy, probing.PROBE),
    )
    if present is not None and present == (asked or "").removesuffix(NOT_VALID):  # valid is more than was asked for
        asked = present
    if present != asked:
        raise errors.DuplicateObject(
            f'constraint "{name}" of {change.target.identifier} exists already, and is another',
            f"It is {present}, not {asked}.",
            "ALTER TABLE ... VALIDATE CONSTRAINT makes it valid."
            if present == f"{asked}{NOT_VALID}"
            else "Drop it with dp.drop_constraint(...) first, or choose another name.",
        )


def check_unique(change: Alteration, name: str, definition: str) -> None:
    """A unique rule without the keys would not hold over all partitions, and PostgreSQL has none."""
    columns = fragments.column_names(definition)
    keys = change.target.hierarchy.policy.partition_keys
    lacking = tuple(key for key in keys if key not in columns)
    if lacking:
        raise errors.InvalidTableDefinition(
            f'unique rule "{name}" of {change.target.identifier} lacks the partition keys {names(lacking)}',
            "A unique index of a partitioned table contains them, and so allows equal values in two partitions.",
            "Add them, if uniqueness within a partition is enough; SELECT dp.create_global_index(...) keeps the rule"
            " over all partitions.",
        )


def _refuse_inner_key(change: Alteration, name: str) -> None:
    """Foreign keys inside a hierarchy carry the keys and cascade: dp.register_child makes them."""
    managed = {table.oid for table in change.target.hierarchy.tables}
    for key in catalog_keys.declared_on([change.target.table.oid]):
        if key.name == name and key.parent in managed:
            raise errors.InvalidTableDefinition(
                f'foreign key "{name}" refers to a table of the same hierarchy',
                "Such a key carries the partition keys and is ON UPDATE CASCADE. Nothing was changed.",
                "Use dp.register_child(child, parent, parent_key, on_delete).",
            )


def drop_constraint(tbl: int, constraint_name: str, dry_run: bool) -> list[PlanRow]:
    """Drop a constraint; see sql/functions/drop_constraint.sql.j2."""
    change = Alteration("drop_constraint", tbl, dry_run)
    is_present = constraint_name in change.constraint_names()
    is_late = change.reach_followers(lambda oid: catalog_alter.constraint(oid, constraint_name) is not None)
    if not is_present and not is_late:
        return change.nothing(f'{change.target.identifier} has no constraint "{constraint_name}"')
    primary = change.structure.primary_key
    inside = {key.name for key in change.target.hierarchy.foreign_keys if key.child == tbl}
    checks = {plan.slice_key_check(change.target.hierarchy)} if tbl == change.target.hierarchy.root.oid else set()
    if constraint_name in {primary.name if primary else None, *inside, *checks}:
        raise errors.InvalidTableDefinition(
            f'constraint "{constraint_name}" of {change.target.identifier} holds the hierarchy together',
            "It is the primary key, a foreign key inside the hierarchy, or the CHECK of the slice key.",
            "SELECT dp.forget(...) gives the hierarchy up.",
        )
    keys = [key for key in catalog_keys.declared_on([tbl]) if key.name == constraint_name]
    referenced = catalog_keys.lockable(keys[0].parent, change.context.owner) if keys else ()
    return change.run(plan.drop_constraint(change.target, constraint_name, referenced, of_table=is_present))


def create_index(
    tbl: int, index_name: str, definition: str, is_unique: bool, search_path: str, dry_run: bool
) -> list[PlanRow]:
    """Create an index on the table and all partitions; see sql/functions/create_index.sql.j2."""
    fragments.check("definition", definition)
    change = Alteration("create_index", tbl, dry_run, search_path)
    present = catalog_alter.index(tbl, index_name)
    if present is not None:
        return _same_index(change, index_name, present, definition, is_unique=is_unique)
    if is_unique:
        check_unique(change, index_name, definition)
    operations = plan.create_index(change.target, index_name, definition, is_unique=is_unique)
    return change.run(operations, "index", index_name)


def refuse_other_index(change: Alteration, name: str, present: IndexFacts, definition: str, *, is_unique: bool) -> None:
    """The index of that name must be the one that was asked for."""
    asked = probing.tried(
        change,
        lambda copy: create_index_statement(copy, Identifier(probing.PROBE), SQL(definition), is_unique=is_unique),
        lambda copy: catalog_alter.index(copy, probing.PROBE),
    )
    if asked is None or asked.text != present.text or present.is_of_constraint:
        raise errors.DuplicateObject(
            f'index "{name}" of {change.target.identifier} exists already, and is another',
            f"It is {present.text}{', and belongs to a constraint' if present.is_of_constraint else ''}.",
            "Drop it first, or choose another name.",
        )


def _same_index(
    change: Alteration, name: str, present: IndexFacts, definition: str, *, is_unique: bool
) -> list[PlanRow]:
    """Nothing to do where all partitions have the index that was asked for."""
    refuse_other_index(change, name, present, definition, is_unique=is_unique)
    table = change.target.identifier
    if not present.is_valid:
        raise errors.NotInPrerequisiteState(
            f'index "{name}" of {table} is not valid: partitions lack it',
            "It was created ON ONLY the table, or a concurrent build of it was stopped.",
            "CALL dp.sync(...) creates and attaches the partitions' own.",
        )
    return change.nothing(f'{table} has index "{name}" already')


def drop_index(tbl: int, index_name: str, dry_run: bool) -> list[PlanRow]:
    """Drop an index of the table and all partitions; see sql/functions/drop_index.sql.j2."""
    change = Alteration("drop_index", tbl, dry_run)
    index = next((each for each in change.structure.indexes if each.name == index_name), None)
    if index is None:
        return change.nothing(f'{change.target.identifier} has no index "{index_name}"')
    refuse_constraint_index(change, index_name)
    refuse_needed_index(change, index_name)
    statement = compose("DROP INDEX {}", Identifier(change.structure.schema, index_name))
    return change.run([plan.on_parent(change.target, statement, 2)])


def refuse_constraint_index(change: Alteration, name: str) -> None:
    """An index that enforces a constraint is not dropped by itself."""
    if any(index.name == name and index.constraint_type is not None for index in change.structure.indexes):
        raise errors.InvalidTableDefinition(
            f'index "{name}" of {change.target.identifier} belongs to a constraint',
            "It goes with the constraint.",
            "Use dp.drop_constraint(...).",
        )


def refuse_needed_index(change: Alteration, name: str) -> None:
    """An index that is the only one by which a cascade finds rows stays."""
    catalog_guard.refuse_needed_index(change.context.root, change.target.table.oid, name, f"dp.{change.context.call}")
