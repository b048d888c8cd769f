"""alter_column_type: another type for a column of the table, its template and all partitions."""

from __future__ import annotations

from .. import fragments
from ..catalog import alter as catalog_alter
from ..catalog import physical_order as catalog_order
from ..operation import Operation
from ..plan import alter as plan
from ..plan import physical_order as plan_order
from ..plan.asked import ColumnFacts
from ..sql import SQL, Identifier, compose
from . import probing
from .alteration import Alteration
from .columns import with_readable_policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..printing import PlanRow


def alter_column_type(
    tbl: int, column_name: str, type: str, using_expression: str | None, search_path: str, dry_run: bool
) -> list[PlanRow]:
    """Give a column another type; see sql/functions/alter_column_type.sql.j2."""
    fragments.check("type", type)
    if using_expression is not None:
        fragments.check("using_expression", using_expression)
    change = Alteration("alter_column_type", tbl, dry_run, search_path)
    change.column(column_name)
    asked = probing.tried(
        change,
        lambda copy: compose("ALTER TABLE {} ADD COLUMN {} {}", copy, Identifier(probing.PROBE), SQL(type)),
        lambda copy: catalog_alter.column(copy, probing.PROBE),
    )
    present = catalog_alter.column(tbl, column_name)
    of_table = _type_of(asked) != _type_of(present)
    is_late = change.reach_followers(
        lambda oid: _type_of(catalog_alter.find_column(oid, column_name)) != _type_of(asked)
    )
    if not of_table and not is_late:
        return change.nothing(f'column "{column_name}" of {change.target.identifier} is of that type already')
    change.refuse_keys(column_name, "get another type")
    alter = plan.alter_type_action(column_name, type, using_expression)
    probing.tried(change, lambda copy: plan.alter(copy, alter), catalog_alter.file_of)
    operations = plan.alter_column_type(
        change.target,
        column_name,
        type,
        using_expression,
        of_table=of_table,
        of_template=of_table and change.template_has(column_name),
        writes_anew=change.writes_anew,
        dependents=present.dependents,
    )
    if of_table:
        operations = change.locks_of_keys(column_name) + operations + _lost_marks(tbl, column_name)
    return with_readable_policies(change, change.run(operations, "column", column_name, drops_views=of_table))


def _lost_marks(tbl: int, column_name: str) -> list[Operation]:
    """Another type makes the indexes anew, and those of partitions lose the mark of the order then."""
    found: list[Operation] = []
    for index in catalog_order.indexes(tbl):
        if index.is_chosen and column_name in index.columns:
            found += plan_order.mark_operations(index, catalog_order.leaves(index.oid, None))
    return found


def _type_of(column: ColumnFacts | None) -> tuple[str, str | None] | None:
    return (column.type, column.collation) if column is not None else None
