"""create_hierarchy, forget."""

from __future__ import annotations

from .. import database, errors, execute
from ..catalog import cron as catalog_cron
from ..catalog import detached as catalog_detached
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..catalog import writable_view as catalog_view
from ..model import ForeignKey
from ..operation import Operation, Step
from ..plan import declare as plan
from ..plan import remake
from ..plan.estimate import Layout
from ..plan.structure import Structure
from ..sql import Identifier, Literal
from . import budget, calls, policy, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..printing import PlanRow


def create_hierarchy(
    root: int, dry_run: bool, allow_weaker_unique: bool, allow_large_layout: bool, **options: Any
) -> list[PlanRow]:
    """Declare a root; see sql/functions/create_hierarchy.sql.j2."""
    structure = catalog_structure.read(root)
    settings = policy.check_settings(structure, options)
    if _is_declared(structure, settings):
        return calls.nothing_to_do(
            f"{structure.identifier} is the root of a hierarchy with these keys already (its policies are changed by"
            " dp.configure)"
        )
    _check_root(structure)
    if not allow_large_layout:
        layout = Layout(budget.slices_of(settings), settings.hash_partitions, 1, len(structure.indexes))
        budget.check(structure.identifier, layout)
    call = calls.context(
        "create_hierarchy", root, structure.identifier.text, structure.owner, execute.mode_of(dry_run, False)
    )
    if plan.is_remade(structure, settings.partition_column):
        structure = calls.lock_for_remake(structure, call)
        settings = policy.check_settings(structure, options)
    requirements.check_template(structure)
    properties = catalog_properties.read(root, None)
    statements = plan.root_statements(
        structure, properties, settings, allow_weaker_unique, catalog_server.server().version
    )
    if plan.is_remade(structure, settings.partition_column):
        statements += remake.comment_statements(structure)
        tell_pending(structure.incoming)
    statements += plan.template_statements(structure, properties)
    statements += plan.configuration_statements(structure, settings)
    step = Step(tuple(Operation(structure.identifier, each, relations=(root,)) for each in statements))
    return calls.run_in_function([step], call)


def forget(root: int, dry_run: bool) -> list[PlanRow]:
    """Drop the configuration; see sql/functions/forget.sql.j2."""
    known = database.query(
        "SELECT $1::regclass::text AS name, EXISTS (SELECT FROM dp.hierarchy_config WHERE root = $1) AS is_root",
        ("oid",),
        (root,),
    )[0]
    if not known["is_root"]:
        return calls.nothing_to_do(f"{known['name']} is not the root of a hierarchy")
    hierarchy = catalog_hierarchy.load(root)
    call = calls.hierarchy_context("forget", hierarchy, execute.mode_of(dry_run, False))
    views = [view.identifier.text for view in catalog_view.of_root(root)]
    if views:
        raise errors.NotInPrerequisiteState(
            f"{hierarchy.root.identifier} has writable views",
            f"They are {', '.join(views)}; nobody would keep them true to their tables.",
            "SELECT dp.drop_writable_views(...) first.",
        )
    indexes = [index.identifier.text for table in hierarchy.tables for index in table.global_indexes]
    if indexes:
        raise errors.NotInPrerequisiteState(
            f"{hierarchy.root.identifier} has global indexes",
            f"They are {', '.join(indexes)}; nobody would take along what slices hold that are detached or dropped.",
            "SELECT dp.drop_global_index(...) of each first.",
        )
    if catalog_cron.recorded(root):
        raise errors.NotInPrerequisiteState(
            f"{hierarchy.root.identifier} has jobs in pg_cron",
            "They would go on, and fail.",
            f"SELECT dp.unschedule({Literal(hierarchy.root.identifier.text)}) first.",
        )
    for each in catalog_detached.remembered(hierarchy):
        database.notice(
            f"{each.identifier} stays detached, and its bounds are forgotten: FROM ({each.lower_bound}) TO"
            f" ({each.upper_bound})"
        )
    statements = plan.forget_statements(hierarchy)
    return calls.run_in_function([Step(tuple(Operation(hierarchy.root.identifier, each) for each in statements))], call)


def _check_root(structure: Structure) -> None:
    if structure.kind == "p" and structure.has_partitions:
        raise errors.NotInPrerequisiteState(
            f"{structure.identifier} has partitions already",
            "Only a table without partitions is declared.",
            "Take the tree over with SELECT dp.adopt(...).",
        )
    if not any(index.is_unique for index in structure.indexes):
        raise errors.InvalidTableDefinition(
            f"{structure.identifier} has no primary key",
            "Children refer to the root by its primary key, which contains the partition keys.",
            "Add a primary key first.",
        )


def tell_pending(keys: tuple[ForeignKey, ...]) -> None:
    """Say which tables do not refer to the remade one until they are registered."""
    if not keys:
        return
    told = ", ".join(f"{Identifier(key.name)} of {key.child_text}" for key in keys)
    database.notice(f"foreign keys let go until dp.register_child makes them again, with the partition keys: {told}")


def _is_declared(structure: Structure, settings: plan.Settings) -> bool:
    known = catalog_hierarchy.root_of(structure.oid)
    if known is None:
        return False
    if known != structure.oid:
        raise errors.DuplicateObject(
            f"{structure.identifier} is a child in another hierarchy",
            "A root stands at the top.",
            "See the view dp.managed_table.",
        )
    declared = catalog_hierarchy.load(known).policy
    wanted = (settings.range_column.name, settings.hash_column.name if settings.hash_column else None)
    form = (settings.key_form, settings.slice_key, settings.bucket)
    if (declared.range_key, declared.hash_key) != wanted or (
        (declared.key_form, declared.slice_key, declared.bucket) != form
    ):
        raise errors.DuplicateObject(
            f"{structure.identifier} is the root of a hierarchy already, with other keys",
            f"Its keys are {', '.join((declared.range_key, *declared.partition_keys))}, its key form is"
            f" {declared.key_form}.",
            "Change its policies with dp.configure; its keys cannot be changed.",
        )
    return True
