"""What all schema changes have in common: the table they are about, the caller's search_path, and the last look."""

from __future__ import annotations

from .. import database, errors, execute, printing, progress
from ..catalog import adoption as catalog_adoption
from ..catalog import alter as catalog_alter
from ..catalog import detached as catalog_detached
from ..catalog import foreign_keys as catalog_keys
from ..catalog import global_index as catalog_global_index
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..catalog import writable_view as catalog_view
from ..operation import ACCESS_EXCLUSIVE, Operation, Step
from ..plan import locking
from ..plan.alter import Follower, Target
from ..plan.structure import Column, Structure
from . import calls, view_upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execute import Context
    from ..model import Hierarchy
    from ..printing import PlanRow


# Entries of the lock table that a call takes for the catalogs and the configuration, which it reads.
LOCKS_OF_CALL = 105

INCLUDE_DETACHED = "dp.include_detached"  # the setting by which changes reach detached slices, too
BOOLEANS = {
    "on": True,
    "true": True,
    "yes": True,
    "1": True,
    "": False,
    "off": False,
    "false": False,
    "no": False,
    "0": False,
}


class Alteration:
    """A schema change of one managed table, while it is planned and run."""

    def __init__(
        self,
        call: str,
        table: int,
        dry_run: bool,
        search_path: str | None = None,
        *,
        is_procedure: bool = False,
        opened: tuple[Hierarchy, Context] | None = None,
    ) -> None:
        """Find the table's hierarchy and take its lock; ``opened``: by another call, a part of which this is."""
        root = catalog_hierarchy.root_of(table)
        if root is None:
            raise errors.UndefinedObject(
                f"{catalog_server.relation_name(table)} is no root or child of a hierarchy",
                "Slices, leaves and templates follow their table; references and other tables are ordinary ones.",
                "Name a root or child (see the view dp.managed_table); use ALTER TABLE for other tables.",
            )
        if opened is None:
            opened = (calls.open_procedure if is_procedure else calls.open_function)(call, root, dry_run)
        hierarchy, context = opened
        self.target: Target = catalog_alter.target(hierarchy, hierarchy.table(table))
        self.context: Context = context._replace(search_path=search_path, is_schema_change=True)
        self.structure: Structure = catalog_structure.read(table)
        self.writes_anew = False  # whether the change that was tried on a copy writes rows anew
        template = self.target.table.template_oid
        self._template_columns = catalog_structure.columns(template) if template is not None else ()
        managed = self.target.table
        detached = catalog_detached.of_table(managed) if _includes_detached() else ()
        partman = catalog_adoption.partman_template(managed)
        self._followers: tuple[Follower, ...] = (*detached, partman) if partman is not None else detached

    def reach_followers(self, lacks: Callable[[int], bool] = lambda _: True) -> bool:
        """Take along what lacks the change: detached slices, where the caller asks for it, and pg_partman's template.

        Says whether there are any.
        """
        found = tuple(each for each in self._followers if lacks(each.oid))
        self.target = self.target._replace(followers=found)
        return bool(found)

    def column(self, name: str) -> Column:
        """A column of the table that must be there."""
        found = self.structure.column(name)
        if found is None:
            raise errors.UndefinedColumn(
                f'column "{name}" of {self.target.identifier} does not exist',
                f"The columns are {', '.join(each.name for each in self.structure.columns)}.",
                "Write the name as it is in the catalog, without double quotes.",
            )
        return found

    def constraint_names(self) -> set[str]:
        """The table's constraints of any kind."""
        structure = self.structure
        indexes = (index.name for index in structure.indexes if index.constraint_type is not None)
        return {*structure.checks, *structure.foreign_key_definitions, *indexes}

    def template_has(self, column: str) -> bool:
        """Whether the template has a column, too."""
        return any(each.name == column for each in self._template_columns)

    def is_key(self, column: str) -> bool:
        """Whether a column is a key of this table; the range key of the slice form is the root's alone."""
        policy = self.target.hierarchy.policy
        is_root = self.target.table.oid == self.target.hierarchy.root.oid
        return column in policy.partition_keys or (is_root and column == policy.range_key)

    def refuse_keys(self, column: str, what: str) -> None:
        """The columns by which tables are partitioned, and those that tie tables together, stay what they are."""
        self.refuse_indexed(column, what)
        hierarchy_keys = self.target.hierarchy.foreign_keys
        table = self.target.table.oid
        linked = {name for key in hierarchy_keys if key.child == table for name in key.columns}
        linked |= {name for key in hierarchy_keys if key.parent == table for name in key.parent_columns}
        if not self.is_key(column) and column not in linked:
            return
        role = "is a key of the hierarchy" if self.is_key(column) else "is part of a foreign key inside the hierarchy"
        raise errors.InvalidTableDefinition(
            f'column "{column}" of {self.target.identifier} {role} and cannot {what}',
            "All tables of a hierarchy carry the keys with one type, and refer to each other with them.",
            "Another name is given by dp.rename_column(...), in all tables at once.",
        )

    def refuse_indexed(self, column: str, what: str) -> None:
        """The triggers of a global index name its columns."""
        side = catalog_global_index.used_by(self.target.table.oid, column)
        if side is not None:
            raise errors.InvalidTableDefinition(
                f'column "{column}" of {self.target.identifier} is part of a global index and cannot {what}',
                f"Its side table is {side}.",
                "SELECT dp.drop_global_index(...) first, and create it anew afterwards.",
            )

    def run(
        self, operations: list[Operation], kind: str | None = None, name: str = "", *, drops_views: bool = False
    ) -> list[PlanRow]:
        """Run or print; then the table's partitions must agree with it in what was changed, or nothing is changed.

        Writable views follow; ``drops_views``: they would stand in the way, and are made anew.
        """
        views = catalog_view.of_root(self.context.root)
        gone = [each for each in views if each.table == self.target.table.oid] if drops_views else []
        first = operations[0]
        counted = [first._replace(locks=first.locks + LOCKS_OF_CALL), *operations[1:]]
        counted = [*view_upkeep.drop_operations(gone), *counted]
        if self.context.mode == execute.DRY_RUN:
            changed = {self.target.identifier.text, *(each.target.text for each in operations)}
            counted += view_upkeep.printed(self.target.hierarchy, views, changed)
        rows = calls.run_in_function([Step(tuple(counted), is_atomic=bool(gone))], self.context)
        if self.context.mode == execute.DRY_RUN:
            return rows
        if views:
            view_upkeep.run_refresh(self.context, tuple(gone))
            rows = printing.last_plan()
        if kind is None:
            return rows
        others = catalog_alter.disagreeing(kind, self.target.table.oid, name)
        if others:
            raise errors.NotInPrerequisiteState(
                f'partitions of {self.target.identifier} differ from it in {kind} "{name}"',
                f"Among them are {', '.join(others)}.",
                "See SELECT * FROM dp.drift(...); mend them and call again. Nothing was changed.",
            )
        return rows

    def locks_of_keys(self, column: str) -> list[Operation]:
        """Lock what the foreign keys with a column refer to: they go with it, or are made anew."""
        keys = [key for key in catalog_keys.declared_on([self.target.table.oid]) if column in key.columns]
        found = {key.parent: catalog_keys.lockable(key.parent, self.context.owner) for key in keys}
        # what is shared comes first, and then the hierarchy's own tables in their order
        inside = [table.oid for table in self.target.hierarchy.tables]
        order = sorted(found, key=lambda oid: inside.index(oid) if oid in inside else -1)
        referenced = tuple(each for oid in order for each in found[oid])
        return locking.lock_tables(self.target.identifier, referenced, ACCESS_EXCLUSIVE)

    def nothing(self, why: str) -> list[PlanRow]:
        """Called twice: there is nothing left to do."""
        if self.context.mode == execute.PROCEDURE:
            progress.clear(self.context.root)
        return calls.nothing_to_do(why)


def _includes_detached() -> bool:
    text = database.setting(INCLUDE_DETACHED) or ""
    value = BOOLEANS.get(text.lower())
    if value is None:
        raise errors.InvalidParameter.of(INCLUDE_DETACHED, text, "It is on or off.")
    return value
