"""add_constraint_online, set_not_null_online: rules for new rows first, then for those that are there."""

from __future__ import annotations

from .. import database, errors, execute, fragments, naming
from ..catalog import alter as catalog_alter
from ..catalog import online as catalog_online
from ..catalog import server as catalog_server
from ..operation import SHARE_ROW_EXCLUSIVE, Step
from ..plan import locking
from ..plan import validate as plan
from ..plan.locking import Referenced
from ..plan.structure import add_constraint
from ..sql import SQL, compose
from .alteration import Alteration
from .concurrently import run_counted
from .constraints import referenced_by
from .probing import PROBE

FOREIGN_KEYS_NOT_VALID = 180000  # from this version on a partitioned table may have them
KINDS = {"CHECK": plan.CHECK, "FOREIGN": plan.FOREIGN_KEY}


def add_constraint_online(tbl: int, constraint_name: str, definition: str, search_path: str, dry_run: bool) -> None:
    """Add a CHECK or a foreign key in two phases; see sql/procedures/add_constraint_online.sql.j2."""
    fragments.check("definition", definition)
    kind = KINDS.get("".join(fragments.words(definition, 1)))
    if kind is None or definition.upper().rstrip().endswith("NOT VALID"):
        raise errors.InvalidParameter.of(
            "definition",
            definition,
            "It begins with CHECK or FOREIGN KEY, and does not end with NOT VALID.",
            "A unique index is built by CALL dp.create_index_concurrently(...); for others see dp.add_constraint(...).",
        )
    change = Alteration("add_constraint_online", tbl, dry_run, search_path, is_procedure=True)
    parts = catalog_online.rules(tbl, constraint_name, kind)
    top = parts[0].rule
    if top is None and constraint_name in change.constraint_names():
        raise errors.DuplicateObject(
            f'{change.target.identifier} has another constraint "{constraint_name}"',
            "It is of another kind.",
            "Choose another name.",
        )
    referenced: tuple[Referenced, ...] = ()
    given = SQL(definition)
    if top is None:
        if kind == plan.FOREIGN_KEY:
            referenced = referenced_by(change, definition)
        if not dry_run:
            _lock(change, referenced)
        given = _probed(change, definition)
    if kind == plan.CHECK or catalog_server.server().version >= FOREIGN_KEYS_NOT_VALID:
        steps = plan.check(change.target, parts, constraint_name, given, referenced)
    else:
        _refuse_other_rules(parts, constraint_name, given)
        steps = plan.foreign_key(change.target, parts, constraint_name, given, referenced)
    if not steps:
        change.nothing(f'{change.target.identifier} has constraint "{constraint_name}" already')
        return
    run_counted(change, steps, constraint_name)
    if not dry_run:
        _check_agreement(change, "constraint", constraint_name)


def _lock(change: Alteration, referenced: tuple[Referenced, ...]) -> None:
    """Wait for writers of what a foreign key refers to, by turns with them; the trial needs the same lock."""
    if referenced:
        operations = locking.lock_tables(change.target.identifier, referenced, SHARE_ROW_EXCLUSIVE)
        execute.prepare(Step(tuple(operations)), change.context)


def _probed(change: Alteration, definition: str) -> SQL:
    """The definition as PostgreSQL deparses it, tried on the template."""
    template = change.target.table.template
    if template is None or catalog_server.server().is_standby:
        return SQL(definition)
    name = PROBE
    oid = change.target.table.template_oid or 0
    statement = add_constraint(template, name, compose("{} NOT VALID", SQL(definition)))

    def made() -> tuple[str, int]:
        execute.probe(statement.text, change.context)
        return catalog_online.constraint_definition(oid, name), catalog_online.referenced_table(oid, name)

    text, referenced = database.rolled_back(made)
    if referenced in {table.oid for table in change.target.hierarchy.tables}:
        raise errors.InvalidTableDefinition(
            "a foreign key refers to a table of the same hierarchy",
            "Such a key carries the partition keys and is ON UPDATE CASCADE. Nothing was changed.",
            "Use dp.register_child(child, parent, parent_key, on_delete).",
        )
    change.context = change.context._replace(search_path=None)
    return SQL(text)


def _refuse_other_rules(parts: tuple[plan.Part, ...], name: str, definition: SQL) -> None:
    """A leaf's constraint of that name must be what a call that was stopped has left."""
    for part in parts:
        if part.rule is not None and parts[0].rule is None and part.rule.definition != definition.text:
            raise errors.DuplicateObject(
                f'{part.identifier} has another constraint "{name}"',
                f"It is {part.rule.definition}.",
                "Drop it, or choose another name.",
            )


def _check_agreement(change: Alteration, kind: str, name: str) -> None:
    others = catalog_alter.disagreeing(kind, change.target.table.oid, name)
    if others:
        raise errors.NotInPrerequisiteState(
            f'partitions of {change.target.identifier} differ from it in {kind} "{name}"',
            f"Among them are {', '.join(others)}.",
            "See SELECT * FROM dp.drift(...); mend them and call again.",
        )


def set_not_null_online(tbl: int, column_name: str, dry_run: bool) -> None:
    """Forbid NULL in two phases; see sql/procedures/set_not_null_online.sql.j2."""
    change = Alteration("set_not_null_online", tbl, dry_run, is_procedure=True)
    is_not_null = change.column(column_name).is_not_null
    name = naming.derived_name(column_name, "dp_not_null")
    parts = catalog_online.rules(tbl, name, plan.CHECK)
    if is_not_null and parts[0].rule is None:
        change.nothing(f'column "{column_name}" of {change.target.identifier} is NOT NULL already')
        return
    run_counted(change, plan.not_null(change.target, parts, column_name, name, is_not_null), column_name)
    if not dry_run:
        _check_agreement(change, "column", column_name)
