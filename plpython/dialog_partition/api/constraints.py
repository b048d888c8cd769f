"""add_constraint, drop_constraint, create_index, drop_index."""

from __future__ import annotations

from .. import errors, fragments
from ..catalog import foreign_keys as catalog_keys
from ..plan import alter as plan
from ..plan.structure import add_constraint as add_constraint_statement
from ..sql import SQL, Identifier, compose, names
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import PlanRow

KINDS = ("CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE")


def add_constraint(tbl: int, constraint_name: str, definition: str, search_path: str, dry_run: bool) -> list[PlanRow]:
    """Add a constraint; see sql/functions/add_constraint.sql.j2."""
    fragments.check("definition", definition)
    kind = fragments.words(definition, 1)
    if kind[:1] not in {(each,) for each in KINDS}:
        raise errors.InvalidParameter.of(
            "definition", definition, f"It begins with one of {', '.join(KINDS)}.", "Leave CONSTRAINT and its name out."
        )
    change = Alteration("add_constraint", tbl, dry_run, search_path)
    if constraint_name in change.constraint_names():
        return change.nothing(f'{change.target.identifier} has constraint "{constraint_name}" already')
    if kind[0] in ("UNIQUE", "PRIMARY"):
        check_unique(change, constraint_name, definition)
    statement = add_constraint_statement(change.target.identifier, constraint_name, SQL(definition))
    rows = change.run([plan.on_parent(change.target, statement, 2)], "constraint", constraint_name)
    _refuse_inner_key(change, constraint_name)
    return rows


def check_unique(change: Alteration, name: str, definition: str) -> None:
    """A unique rule without the keys would not hold over all partitions, and PostgreSQL has none."""
    columns = fragments.column_names(definition)
    keys = change.target.hierarchy.policy.partition_keys
    lacking = tuple(key for key in keys if columns is None or key not in columns)
    if lacking:
        raise errors.InvalidTableDefinition(
            f'unique rule "{name}" of {change.target.identifier} lacks the partition keys {names(lacking)}',
            "A unique index of a partitioned table contains them, and so allows equal values in two partitions.",
            "Add them, if uniqueness within a partition is enough.",
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
    if constraint_name not in change.constraint_names():
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
    action = compose("DROP CONSTRAINT {}", Identifier(constraint_name))
    statement = plan.alter(change.target.identifier, action)
    return change.run([plan.on_parent(change.target, statement, 2)])


def create_index(
    tbl: int, index_name: str, definition: str, is_unique: bool, search_path: str, dry_run: bool
) -> list[PlanRow]:
    """Create an index on the table and all partitions; see sql/functions/create_index.sql.j2."""
    fragments.check("definition", definition)
    change = Alteration("create_index", tbl, dry_run, search_path)
    if any(index.name == index_name for index in change.structure.indexes):
        return change.nothing(f'{change.target.identifier} has index "{index_name}" already')
    if is_unique:
        check_unique(change, index_name, definition)
    operations = plan.create_index(change.target, index_name, definition, is_unique=is_unique)
    return change.run(operations, "index", index_name)


def drop_index(tbl: int, index_name: str, dry_run: bool) -> list[PlanRow]:
    """Drop an index of the table and all partitions; see sql/functions/drop_index.sql.j2."""
    change = Alteration("drop_index", tbl, dry_run)
    index = next((each for each in change.structure.indexes if each.name == index_name), None)
    if index is None:
        return change.nothing(f'{change.target.identifier} has no index "{index_name}"')
    refuse_constraint_index(change, index_name)
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
