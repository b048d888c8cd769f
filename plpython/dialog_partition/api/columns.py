"""add_column, drop_column, rename_column, set_default, drop_default, set_not_null, drop_not_null."""

from __future__ import annotations

from .. import errors, execute, fragments
from ..catalog import alter as catalog_alter
from ..catalog import server as catalog_server
from ..operation import Operation
from ..plan import alter as plan
from ..plan.asked import ColumnFacts, storable
from ..plan.asked import differences as asked_differences
from ..plan.declare import slice_key_trigger
from ..sql import SQL, Identifier, compose
from . import following, probing, retention
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..printing import PlanRow

IDENTITIES = ("ALWAYS", "BY DEFAULT")
IDENTITY_SINCE = 170000
SERIAL_TYPES = ("serial", "bigserial", "smallserial", "serial2", "serial4", "serial8")


def add_column(
    tbl: int,
    column_name: str,
    type: str,
    default_value: str | None,
    not_null: bool,
    generated: str | None,
    identity: str | None,
    comment: str | None,
    search_path: str,
    dry_run: bool,
) -> list[PlanRow]:
    """Add a column; see sql/functions/add_column.sql.j2."""
    fragments.check("type", type)
    if type.strip().lower() in SERIAL_TYPES:
        raise errors.InvalidParameter.of(
            "type",
            type,
            "It is no type, but a sequence and a default.",
            "Use identity, or default_value => 'nextval(...)'.",
        )
    for parameter, text in (("default_value", default_value), ("generated", generated)):
        if text is not None:
            fragments.check(parameter, text)
    if sum(part is not None for part in (default_value, generated, identity)) > 1:
        raise errors.InvalidParameter(
            "a column has a default, or is generated, or is an identity",
            "More than one of default_value, generated and identity is given.",
            "Give at most one of them.",
        )
    column = plan.NewColumn(column_name, type, default_value, not_null, generated, _identity(identity), comment)
    change = Alteration("add_column", tbl, dry_run, search_path)
    present = catalog_alter.find_column(tbl, column_name)
    if present is None:
        _refuse_identity(change, column)
    asked = probing.tried(
        change,
        lambda copy: plan.alter(copy, plan.add_column_action(column._replace(name=probing.PROBE))),
        lambda copy: catalog_alter.column(copy, probing.PROBE),
    )
    if present is not None:
        _refuse_differences(change, column_name, asked_differences(column, asked, present))
    of_template = _template_lacks(change, column_name, asked)
    is_late = change.reach_followers(lambda oid: catalog_alter.find_column(oid, column_name) is None)
    if present is not None and not of_template and not is_late:
        return change.nothing(f'{change.target.identifier} has column "{column_name}" already')
    operations = plan.add_column(
        change.target, column, of_table=present is None, of_template=of_template, writes_anew=change.writes_anew
    )
    return change.run(operations, "column", column_name)


def _refuse_differences(change: Alteration, name: str, found: list[str]) -> None:
    if found:
        raise errors.DuplicateColumn(
            f'column "{name}" of {change.target.identifier} exists already, and is another',
            f"It has {', '.join(found)}.",
            "Change it with dp.alter_column_type(...), dp.set_default(...), dp.set_not_null(...), or choose another"
            " name.",
        )


def _template_lacks(change: Alteration, name: str, asked: ColumnFacts) -> bool:
    """Whether there is a template, and the column shall be added to it."""
    template = change.target.table.template_oid
    own = catalog_alter.find_column(template, name) if template is not None else None
    if own is not None and storable(own) != storable(asked):
        raise errors.DuplicateColumn(
            f'the template of {change.target.identifier} has column "{name}" already, and it is another',
            f"It is {own.type}, not {asked.type}, or has another collation or expression.",
            "CALL dp.sync(...) drops from the template what its table does not have.",
        )
    return template is not None and own is None


def _refuse_identity(change: Alteration, column: plan.NewColumn) -> None:
    if column.identity is not None and catalog_server.server().version < IDENTITY_SINCE and change.target.relations[1:]:
        raise errors.InvalidTableDefinition(
            f"an identity column cannot be added to {change.target.identifier}, which has partitions",
            "PostgreSQL 17 and later can; this server is older.",
            "Create a sequence, and add the column with default_value => 'nextval(...)'.",
        )


def _identity(text: str | None) -> str | None:
    if text is None:
        return None
    words = " ".join(text.upper().split())
    if words not in IDENTITIES:
        raise errors.InvalidParameter.of("identity", text, f"It is one of {', '.join(IDENTITIES)}.")
    return words


def drop_column(tbl: int, column_name: str, dry_run: bool) -> list[PlanRow]:
    """Drop a column; see sql/functions/drop_column.sql.j2."""
    change = Alteration("drop_column", tbl, dry_run)
    of_table = change.structure.column(column_name) is not None
    of_template = change.template_has(column_name)
    is_late = change.reach_followers(lambda oid: catalog_alter.find_column(oid, column_name) is not None)
    if not of_table and not of_template and not is_late:
        return change.nothing(f'{change.target.identifier} has no column "{column_name}"')
    change.refuse_keys(column_name, "be dropped")
    present = catalog_alter.find_column(tbl, column_name)
    operations = plan.drop_column(
        change.target,
        column_name,
        of_table=of_table,
        of_template=of_template,
        dependents=present.dependents if present is not None else 0,
    )
    if of_table:
        operations = change.locks_of_keys(column_name) + operations
    return with_readable_policies(change, change.run(operations, "column", column_name, drops_views=of_table))


def with_readable_policies(change: Alteration, rows: list[PlanRow]) -> list[PlanRow]:
    """What was run, when the policies that name columns can still be read."""
    if change.context.mode != execute.DRY_RUN:
        retention.refuse_unreadable(change.target.hierarchy)
    return rows


def rename_column(tbl: int, column_name: str, new_name: str, dry_run: bool) -> list[PlanRow]:
    """Rename a column, a key in all tables; see sql/functions/rename_column.sql.j2."""
    change = Alteration("rename_column", tbl, dry_run)
    is_late = _reach_old_name(change, column_name)
    if change.structure.column(column_name) is None and change.structure.column(new_name) is not None:
        if is_late:
            return change.run(plan.follow_renamed_column(change.target, column_name, new_name, of_template=False))
        return change.nothing(f'{change.target.identifier} has column "{new_name}", and no "{column_name}"')
    change.column(column_name)
    change.refuse_indexed(column_name, "be renamed")
    if not change.is_key(column_name):
        of_template = change.template_has(column_name)
        operations = plan.rename_column(change.target, column_name, new_name, of_template=of_template)
        operations += following.of_renamed_column(change.target.hierarchy, change.target.table, column_name, new_name)
        return with_readable_policies(change, change.run(operations, "column", new_name))
    return with_readable_policies(
        change, change.run(_rename_key(change, column_name, new_name, dry_run), "column", new_name)
    )


def _reach_old_name(change: Alteration, column: str) -> bool:
    return change.reach_followers(lambda oid: catalog_alter.find_column(oid, column) is not None)


def _rename_key(change: Alteration, old: str, new: str, dry_run: bool) -> list[Operation]:
    """A key gets its new name in every table that carries it, in the configuration, and in what keeps a slice key."""
    hierarchy = change.target.hierarchy
    operations: list[Operation] = []
    for table in hierarchy.tables:
        other = change if table.oid == change.target.table.oid else Alteration("rename_column", table.oid, dry_run)
        if other.is_key(old):  # children do not carry the range key in the slice form
            other.refuse_indexed(old, "be renamed")
            of_template = other.template_has(old)
            _reach_old_name(other, old)
            operations += plan.rename_column(other.target, old, new, of_template=of_template)
    root = hierarchy.root
    operations.append(Operation(root.identifier, plan.rename_key(hierarchy, old, new)))
    policy = hierarchy.policy
    if policy.slice_key is not None and policy.bucket is not None and old in (policy.slice_key, policy.range_key):
        columns = (
            new if policy.slice_key == old else policy.slice_key,
            new if policy.range_key == old else policy.range_key,
        )
        trigger = slice_key_trigger(
            root.schema, root.name, columns, hierarchy.range_type, policy.bucket, policy.time_zone
        )
        operations += [Operation(root.identifier, each, relations=(root.oid,)) for each in trigger]
    renamed = tuple(
        table._replace(partition_column=new) if table.partition_column == old else table for table in hierarchy.tables
    )
    return operations + following.of_queries(hierarchy._replace(tables=renamed))


def set_default(tbl: int, column_name: str, default_value: str, search_path: str, dry_run: bool) -> list[PlanRow]:
    """Set a column's default; see sql/functions/set_default.sql.j2."""
    fragments.check("default_value", default_value)
    change = Alteration("set_default", tbl, dry_run, search_path)
    change.column(column_name)
    _refuse_slice_key(change, column_name)
    action = compose("SET DEFAULT {}", SQL(default_value))
    asked = probing.tried(
        change,
        lambda copy: compose("ALTER TABLE {} ALTER COLUMN {} {}", copy, Identifier(column_name), action),
        lambda copy: catalog_alter.column(copy, column_name).default_value,
    )
    return _alter(change, column_name, action, lambda column: column.default_value != asked, "has that default already")


def drop_default(tbl: int, column_name: str, dry_run: bool) -> list[PlanRow]:
    """Drop a column's default; see sql/functions/drop_default.sql.j2."""
    change = Alteration("drop_default", tbl, dry_run)
    change.column(column_name)
    _refuse_slice_key(change, column_name)
    return _alter(
        change, column_name, SQL("DROP DEFAULT"), lambda column: column.default_value is not None, "has no default"
    )


def _alter(
    change: Alteration,
    name: str,
    action: SQL,
    lacks: Callable[[ColumnFacts], bool],
    why_not: str,
    *,
    of_template: bool = False,
) -> list[PlanRow]:
    """A change of one column that the parent passes on, wherever it is lacking."""
    of_table = lacks(catalog_alter.column(change.target.table.oid, name))

    def is_lacking(oid: int) -> bool:
        column = catalog_alter.find_column(oid, name)
        return column is None or lacks(column)

    is_late = change.reach_followers(is_lacking)
    if not of_table and not is_late:
        return change.nothing(f'column "{name}" of {change.target.identifier} {why_not}')
    of_template = of_template and of_table
    operations = plan.alter_column(change.target, name, action, of_table=of_table, of_template=of_template)
    return change.run(operations, "column", name)


def _refuse_slice_key(change: Alteration, column: str) -> None:
    """The root's slice key has the default that its trigger and CHECK agree with."""
    hierarchy = change.target.hierarchy
    if column == hierarchy.policy.slice_key and change.target.table.oid == hierarchy.root.oid:
        raise errors.InvalidTableDefinition(
            f"the default of {Identifier(column)} is the extension's: the current bucket",
            "It is the slice key of the hierarchy.",
            "Name the slice key in the INSERT where rows are of another bucket.",
        )


def set_not_null(tbl: int, column_name: str, dry_run: bool) -> list[PlanRow]:
    """Forbid NULL; see sql/functions/set_not_null.sql.j2."""
    change = Alteration("set_not_null", tbl, dry_run)
    change.column(column_name)
    return _alter(
        change, column_name, SQL("SET NOT NULL"), lambda column: not column.is_not_null, "is NOT NULL already"
    )


def drop_not_null(tbl: int, column_name: str, dry_run: bool) -> list[PlanRow]:
    """Allow NULL; see sql/functions/drop_not_null.sql.j2."""
    change = Alteration("drop_not_null", tbl, dry_run)
    if change.column(column_name).is_not_null and change.is_key(column_name):
        change.refuse_keys(column_name, "be NULL")
    return _alter(
        change,
        column_name,
        SQL("DROP NOT NULL"),
        lambda column: column.is_not_null,
        "is nullable already",
        of_template=change.template_has(column_name),
    )
