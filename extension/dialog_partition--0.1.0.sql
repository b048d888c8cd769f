\echo Use "CREATE EXTENSION dialog_partition" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

DO $plpgsql$
BEGIN
    IF current_setting('server_version_num')::integer < 150000 THEN
        RAISE EXCEPTION 'dialog_partition needs PostgreSQL 15 or later, this is %', current_setting('server_version')
            USING ERRCODE = 'feature_not_supported', HINT = 'Upgrade the server first.';
    END IF;
END
$plpgsql$;

CREATE SCHEMA dp;
COMMENT ON SCHEMA dp IS 'dialog_partition: hierarchies of tables partitioned alike, by time and by owner';
GRANT USAGE ON SCHEMA dp TO PUBLIC;

-- support/load_python.sql.j2
CREATE FUNCTION dp._load_python()
RETURNS void
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
import importlib
import importlib.abc
import importlib.util
import sys

PACKAGE = 'dialog_partition_0_1_0_dd9b53c092f5'
SOURCES = {'__init__': r'''"""dialog_partition: the Python that runs inside the server.

Data flows one way: SQL function -> entry -> api -> catalog (read) -> plan (pure) -> execute (run or print) -> rows.
Only ``database`` knows the server. The package uses relative imports alone, because the loader installs it under a
name that carries the version and the digest of its source.
"""
''','api.__init__': r'''"""What the SQL functions call: read, plan, execute. One function each, of the same name and parameters."""
''','api.adopt': r'''"""adopt: take over a tree of partitions that exists."""

from __future__ import annotations

from .. import calendars, database, errors, execute, keys
from ..catalog import adoption as catalog_adoption
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import structure as catalog_structure
from ..model import CHILD, DETACH, DROP, EXACT, MOVE, SLICE
from ..operation import Operation, Step
from ..plan import adoption as plan_adoption
from ..plan import declare as plan
from . import calls, policy, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..catalog.adoption import PartmanSettings
    from ..execute import PlanRow
    from ..model import Slice
    from ..plan.structure import Structure
    from ..sql import SQL


def adopt(root: int, dry_run: bool, **options: Any) -> list[PlanRow]:
    """Take over a tree; see sql/functions/adopt.sql.j2."""
    structure = catalog_structure.read(root)
    if catalog_hierarchy.root_of(root) is not None:
        return calls.nothing_to_do(f"{structure.identifier} is known already")
    _check_tree(structure)
    partman = catalog_adoption.partman(structure.schema, structure.name)
    settings = _settings(structure, options, partman)
    structures = _with_children(structure, settings)
    statements: list[SQL] = []
    for each in structures:
        requirements.check_template(each)
        # the newest leaf stands in the template's place, so that the template begins as that leaf is
        properties = catalog_properties.read(each.oid, catalog_adoption.newest_leaf(each.oid))
        statements += plan.template_statements(each, properties)
    statements += plan.configuration_statements(structure, settings)
    statements += [plan.table_statement(each, structure.identifier, CHILD) for each in structures[1:]]
    for each in structures:
        managed = partman if each is structure else catalog_adoption.partman(each.schema, each.name)
        if managed is not None:
            statements.append(plan_adoption.forget_partman_statement(managed.schema, managed.parent_table))
    call = calls.context("adopt", root, structure.identifier.text, structure.owner, execute.mode_of(dry_run, False))
    return calls.run_in_function([Step(tuple(Operation(structure.identifier, each) for each in statements))], call)


def _check_tree(structure: Structure) -> None:
    if structure.kind != "p" or structure.partition_strategy != "r" or len(structure.partition_columns) != 1:
        raise errors.WrongObjectType(
            f"{structure.identifier} is not partitioned by RANGE of one column",
            "Only such a tree, with or without HASH partitions below, can be taken over.",
            "Declare a new hierarchy with dp.create_hierarchy.",
        )
    column = structure.column(structure.partition_columns[0])
    if column is not None:
        keys.check_range_type(column.name, policy.without_modifier(column.type))


def _settings(structure: Structure, options: dict[str, Any], partman: PartmanSettings | None) -> plan.Settings:
    """The settings of create_hierarchy, as the tree itself and pg_partman tell them."""
    partition_column = structure.partition_columns[0]
    hash_key = catalog_adoption.hash_key(structure.oid, structure.identifier)
    slices = _slices(structure, options["time_zone"])
    sliced = options["bucket"] is not None
    if sliced and options["range_key"] in (None, partition_column):
        raise errors.InvalidParameter(
            "parameter range_key is needed for a tree in the slice form",
            f'The partition column "{partition_column}" is the slice key then.',
            "Name the column that the slice key is computed from: range_key => '...'.",
        )
    width = options["slice"] or (partman.interval if partman else None)
    newest = next((each for each in reversed(slices) if not each.is_default), None)
    width = str(
        calendars.parse_width(width, "slice") if width else plan_adoption.inferred_width(slices, structure.identifier)
    )
    given = {
        "range_key": options["range_key"] if sliced else partition_column,
        "hash_key": hash_key,
        "key_form": SLICE if sliced else EXACT,
        "slice": width,
        "hash_partitions": newest.modulus if newest else None,
        "premake": options["premake"] if options["premake"] is not None else (partman.premake if partman else 4),
        "start": options["start"],
        "retention": options["retention"],
        "retention_action": options["retention_action"],
        "retention_schema": options["retention_schema"],
        "time_zone": options["time_zone"],
        "default_slice": any(each.is_default for each in slices),
        "slice_key": partition_column if sliced else None,
        "bucket": options["bucket"],
        "lock_timeout": options["lock_timeout"],
    }
    if partman is not None and partman.retention and options["retention"] is None:
        given["retention"] = str(calendars.parse_width(partman.retention, "retention"))
        given["retention_schema"] = partman.retention_schema
        given["retention_action"] = MOVE if partman.retention_schema else DETACH if partman.keeps_table else DROP
    return policy.check_settings(structure, given)


def _slices(structure: Structure, time_zone: str) -> list[Slice]:
    return catalog_hierarchy.read_slices({time_zone: [structure.oid]}).get(structure.oid, [])


def _with_children(root: Structure, settings: plan.Settings) -> list[Structure]:
    """The root and the children that are partitioned alike, found by their foreign keys."""
    found = [root]
    while True:
        oids = catalog_adoption.children(
            [each.oid for each in found], settings.partition_column, settings.partition_keys
        )
        new = [catalog_structure.read(oid) for oid in oids]
        for each in new:
            requirements.check_same_owner(each, root.identifier, root.owner)
        if not new:
            return found
        found += new
        database.notice(f"children found: {', '.join(each.identifier.text for each in new)}")
''','api.alter_table': r'''"""set_storage, alter_table: what has no function of its own."""

from __future__ import annotations

import json

from .. import database, errors, execute, fragments
from ..catalog import alter as catalog_alter
from ..catalog import drift as catalog_drift
from ..catalog import server as catalog_server
from ..operation import Operation, Step
from ..plan import alter as plan
from ..plan import drift as plan_drift
from ..plan.difference import Difference
from ..sql import SQL
from . import calls, probing
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import PlanRow

# What a partitioned table refuses: said of the template, it is for all leaves.
OF_LEAVES = (("SET",), ("RESET",), ("SET", "LOGGED"), ("SET", "UNLOGGED"))
# What has a function of its own that knows more, by the first word; the second may be left out.
ELSEWHERE = {
    "ADD": "add_column(...) or dp.add_constraint(...)",
    "DROP": "drop_column(...) or dp.drop_constraint(...)",
    "RENAME": "rename_column(...)",
}
# What would take a table out of its hierarchy, or a hierarchy to another role or schema.
REFUSED = (
    "ATTACH",
    "DETACH",
    "INHERIT",
    "NO INHERIT",
    "RENAME TO",
    "OWNER TO",
    "SET SCHEMA",
    "CLUSTER ON",
    "OF",
    "NOT OF",
)


def set_storage(tbl: int, parameters: str, dry_run: bool) -> list[PlanRow]:
    """Set or reset storage parameters of all leaves; see sql/functions/set_storage.sql.j2."""
    wanted = json.loads(parameters)
    if not isinstance(wanted, dict) or not wanted:
        raise errors.InvalidParameter.of(
            "parameters", parameters, "It is a JSON object: names with values, null to reset.",
            """For example '{"fillfactor": 90, "toast.autovacuum_enabled": null}'.""",
        )  # fmt: skip
    given = {name: _text(value) for name, value in wanted.items() if value is not None}
    reset = [name for name, value in wanted.items() if value is None]
    change = Alteration("set_storage", tbl, dry_run)
    managed = change.target.table
    is_late = change.reach_followers(lambda oid: catalog_alter.lacks_storage(oid, None, given, reset))
    if not catalog_alter.lacks_storage(tbl, managed.template_oid, given, reset) and not is_late:
        return change.nothing(f"the leaves of {change.target.identifier} have these storage parameters already")
    return change.run(plan.set_storage(change.target, given, reset))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def alter_table(tbl: int, action: str, search_path: str, dry_run: bool) -> list[PlanRow]:
    """Any other change; see sql/functions/alter_table.sql.j2."""
    fragments.check("action", action)
    _refuse(action)
    change = Alteration("alter_table", tbl, dry_run, search_path)
    validates = fragments.words(action, 1) == ("VALIDATE",)
    change.reach_followers(lambda oid: not validates or catalog_alter.has_unvalidated(oid))
    table, template = change.target.table, change.target.table.template
    if template is not None and _is_of_leaves(action):
        operations = [Operation(template, plan.alter(template, SQL(action)))]
        if fragments.words(action, 1) == ("ALTER",):  # of a column: ANALYZE of the parent goes by the parent's own
            statement = plan.alter(change.target.identifier, SQL(action))
            operations.append(plan.on_parent(change.target, statement))
        operations += plan.on_followers(change.target, lambda each: plan.alter(each, SQL(action)), leaves_only=True)
    else:
        statement = plan.alter(change.target.identifier, SQL(action))
        per_leaf = _locks_each(action, table.relations_per_leaf)
        operations = [plan.on_parent(change.target, statement, per_leaf)]
        operations += plan.on_followers(
            change.target, lambda each: plan.alter(each, SQL(action)), relations_each=per_leaf
        )
    if dry_run:
        rest = _tried(change, operations) if _is_seen_as_drift(action) else []
    else:
        before = set(plan_drift.differences(catalog_drift.read_table(table)))
        change.run(operations)
        rest = _brought_along(change, before)
        operations = []
    if operations or rest:
        calls.run_in_function([Step((*operations, *rest))], change.context)
    return execute.last_plan()


def _locks_each(action: str, relations_per_leaf: int) -> int:
    """How many entries of the lock table an action takes on each partition."""
    words = fragments.words(action, 100)
    if "TYPE" in words or "EXPRESSION" in words:  # rows are written anew
        return 3 * relations_per_leaf + plan.NEW_FILES
    return relations_per_leaf if words[:1] == ("VALIDATE",) else 1


def _brought_along(change: Alteration, before: set[Difference]) -> list[Operation]:
    """What brings slices and leaves everything in which they differ from before."""
    facts = catalog_drift.read_table(change.target.table)
    rest = [each for each in plan_drift.differences(facts) if each not in before]
    return [one for step in plan_drift.steps_of(facts, rest, rewrite=True) for one in step.operations]


def _tried(change: Alteration, operations: list[Operation]) -> list[Operation]:
    """The same for a dry run: only after the action it is known, so the action is rolled back again."""
    if catalog_server.server().is_standby:
        return []
    before = set(plan_drift.differences(catalog_drift.read_table(change.target.table)))
    rest: list[Operation] = []
    try:
        with database.subtransaction():
            execute.probe(Step(tuple(operations)).text, change.context)
            rest = _brought_along(change, before)
            raise probing.Rolled
    except probing.Rolled:
        return rest


def _is_seen_as_drift(action: str) -> bool:
    """Whether an action may leave partitions behind; these are changes of the catalog, and take no time."""
    words = fragments.words(action, 100)
    return words[:1] != ("VALIDATE",)


def _first_words(action: str) -> tuple[str, ...]:
    """What an action begins with, up to a parenthesis."""
    return fragments.words(action, 2)


def _is_of_leaves(action: str) -> bool:
    """Whether new leaves get it from the template: storage parameters, statistics targets and options of columns."""
    words = fragments.words(action, 100)
    return words[:2] in OF_LEAVES or (
        words[:1] == ("ALTER",) and (words[-1] in ("SET", "RESET") or "STATISTICS" in words)
    )


def _refuse(action: str) -> None:
    words = _first_words(action)
    text = " ".join(words)
    if any(text == refused or text.startswith(refused + " ") for refused in REFUSED):
        raise errors.InvalidParameter.of(
            "action", action, f"{text} would take the table out of its hierarchy, or part it from the others.",
            "Do that by hand, to every table of the hierarchy.",
        )  # fmt: skip
    if words[:1] and words[0] in ELSEWHERE:
        raise errors.InvalidParameter.of(
            "action", action, f"{words[0]} has a function of its own.", f"Use dp.{ELSEWHERE[words[0]]}."
        )
''','api.alteration': r'''"""What all schema changes have in common: the table they are about, the caller's search_path, and the last look."""

from __future__ import annotations

from .. import database, errors, execute, progress
from ..catalog import adoption as catalog_adoption
from ..catalog import alter as catalog_alter
from ..catalog import detached as catalog_detached
from ..catalog import global_index as catalog_global_index
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..operation import Operation, Step
from ..plan.alter import Follower, Target
from ..plan.structure import Column, Structure
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execute import Context, PlanRow


# Entries of the lock table that a call takes for the catalogs and the configuration, which it reads.
LOCKS_OF_CALL = 90

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
        self, call: str, table: int, dry_run: bool, search_path: str | None = None, *, is_procedure: bool = False
    ) -> None:
        """Find the table's hierarchy and take its lock."""
        root = catalog_hierarchy.root_of(table)
        if root is None:
            raise errors.UndefinedObject(
                f"{catalog_server.relation_name(table)} is no root or child of a hierarchy",
                "Slices, leaves and templates follow their table; references and other tables are ordinary ones.",
                "Name a root or child (see the view dp.managed_table); use ALTER TABLE for other tables.",
            )
        opened = calls.open_procedure if is_procedure else calls.open_function
        hierarchy, context = opened(call, root, dry_run)
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

    def run(self, operations: list[Operation], kind: str | None = None, name: str = "") -> list[PlanRow]:
        """Run or print; then the table's partitions must agree with it in what was changed, or nothing is changed."""
        first = operations[0]
        counted = [first._replace(locks=first.locks + LOCKS_OF_CALL), *operations[1:]]
        rows = calls.run_in_function([Step(tuple(counted))], self.context)
        if kind is None or self.context.mode == execute.DRY_RUN:
            return rows
        others = catalog_alter.disagreeing(kind, self.target.table.oid, name)
        if others:
            raise errors.NotInPrerequisiteState(
                f'partitions of {self.target.identifier} differ from it in {kind} "{name}"',
                f"Among them are {', '.join(others)}.",
                "See SELECT * FROM dp.drift(...); mend them and call again. Nothing was changed.",
            )
        return rows

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
''','api.attach': r'''"""attach_slice: a slice that was detached comes back, whoever detached it."""

from __future__ import annotations

from .. import errors, naming
from ..catalog import detached as catalog_detached
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec, Table
from ..plan import coverage
from ..plan import detached as plan
from ..sql import Identifier, names
from . import calls, obstacles, slices, window
from .policy import parse_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import PlanRow


def attach_slice(root: int, lower_bound: str, upper_bound: str | None, dry_run: bool) -> list[PlanRow]:
    """Attach a detached slice again; see sql/functions/attach_slice.sql.j2."""
    hierarchy, call = calls.open_function("attach_slice", root, dry_run)
    remembered = slices.find_detached(hierarchy, lower_bound)
    spec = _remembered_spec(hierarchy, remembered) if remembered else _spec(hierarchy, lower_bound, upper_bound)
    lacking = [table for table in hierarchy.tables if not _has(hierarchy, table, spec)]
    if not lacking:
        return slices.nothing_there(hierarchy, lower_bound, "is attached already")
    known = {each.table for each in remembered}
    by_hand = catalog_detached.by_hand(hierarchy, [(table, spec) for table in lacking if table.oid not in known])
    if not remembered and not by_hand:
        raise _nothing_to_attach(hierarchy, lower_bound, lacking, spec)
    _refuse_predicates(hierarchy)
    for each in (*remembered, *by_hand):
        _refuse_unlike(hierarchy, each)
    if not spec.is_default:
        obstacles.refuse(obstacles.rows_in_default(hierarchy, [spec]))
    return calls.run_in_function([plan.attach_step(hierarchy, [*remembered, *by_hand])], call)


def _refuse_predicates(hierarchy: Hierarchy) -> None:
    """What a global index says behind WHERE may call functions of the owner, and is run on the rows that come back."""
    owner = hierarchy.root.owner
    if owner != catalog_server.server().user and any(
        index.predicate is not None for table in hierarchy.tables for index in table.global_indexes
    ):
        raise errors.InsufficientPrivilege(
            f"a global index of {hierarchy.root.identifier} has a predicate, which would run with your rights",
            "It may call functions of the tables' owner.",
            f"Call in a session of {owner}; or, if you trust that code, SET ROLE {Identifier(owner)} first.",
        )


def _refuse_unlike(hierarchy: Hierarchy, each: plan.DetachedSlice) -> None:
    """The table may have changed since the slice was detached."""
    unlike = catalog_detached.unlike_columns(each)
    if unlike:
        table = hierarchy.table(each.table).identifier
        raise errors.DatatypeMismatch(
            f"the columns of {each.identifier} are not those of {table}",
            f"They differ in {names(tuple(unlike))}.",
            "Make the changes that the table had since on the slice as well: after SET dp.include_detached = on, the"
            " calls that made them, made again, reach the slices that were detached.",
        )


def _remembered_spec(hierarchy: Hierarchy, remembered: list[plan.DetachedSlice]) -> SliceSpec:
    """What a call detached, as it will be again; without bounds where it had only one."""
    first = remembered[0]
    suffix = naming.slice_suffix(hierarchy.table(first.table).name, first.name)
    spec = plan.spec_of(first) or SliceSpec(None, None, 0, "")
    return spec._replace(suffix=suffix or first.name)


def _spec(hierarchy: Hierarchy, lower_bound: str, upper_bound: str | None) -> SliceSpec:
    """The slice that is meant: as tables have it that it is still attached to; else as wide as new slices are."""
    slices.find_span(hierarchy, lower_bound)  # refuses a bound inside a slice
    point = slices.point_of(hierarchy, lower_bound)
    for table in hierarchy.tables:
        for each in hierarchy.range_slices(table):
            if each.lower is not None and each.lower.point == point:
                return _like(hierarchy, table, each.span)
    if upper_bound is not None:
        lower, upper = slices.bounds(hierarchy, lower_bound, upper_bound)
    else:
        lower = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
        upper = window.next_bound(lower, hierarchy.policy.width)
    edges = window.edges(hierarchy, [lower, upper])
    return catalog_slices.specs(hierarchy, [(edges[0], edges[1])], 0)[0]


def _like(hierarchy: Hierarchy, table: Table, span: tuple[int | None, int | None]) -> SliceSpec:
    """The slice of a span as the tables that have it name it."""
    narrowed = hierarchy._replace(tables=(table,))
    return next(spec for spec in coverage.wanted(narrowed, []) if spec.span == span)


def _has(hierarchy: Hierarchy, table: Table, spec: SliceSpec) -> bool:
    return not spec.is_default and any(each.span == spec.span for each in hierarchy.range_slices(table))


def _nothing_to_attach(
    hierarchy: Hierarchy, lower_bound: str, lacking: list[Table], spec: SliceSpec
) -> errors.UndefinedObject:
    names = ", ".join(table.identifier.text for table in lacking)
    if len(lacking) < len(hierarchy.tables):
        return errors.UndefinedObject(
            f"nothing was found that can be attached to {names} as its slice {spec.suffix}",
            "No row of dp.detached_slice names one, and no table of the slice's name with the columns of its table"
            " stands by itself.",
            "CALL dp.run_maintenance(...) creates what is missing, empty.",
        )
    return errors.UndefinedObject(
        f"no detached slice of {hierarchy.root.identifier} begins at {lower_bound}",
        f"No row of dp.detached_slice names one, and no table named as the slice {spec.suffix} stands by itself.",
        "See dp.slice where is_attached is false; give upper_bound if the slice has not the width of new slices.",
    )
''','api.cache': r'''"""prewarm, residency: which pages of a hierarchy are in the server's cache."""

from __future__ import annotations

from typing import NamedTuple

from .. import errors
from ..catalog import cache as catalog
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import physical_order as catalog_order
from ..model import Hierarchy
from ..plan import cache as plan
from ..plan import physical_order as plan_order
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..catalog.cache import Facility


class WarmedRow(NamedTuple):
    """One row of dp.prewarm."""

    relation: str
    kind: str
    bytes: int
    resident_before: int | None
    resident_after: int | None
    verdict: str


class ResidencyRow(NamedTuple):
    """One row of dp.residency."""

    tbl: str
    relation: str
    kind: str
    bytes: int
    resident: int


def prewarm(root: int, budget: int | None) -> list[WarmedRow]:
    """Read what matters most into the cache; see sql/functions/prewarm.sql.j2."""
    size = catalog.buffers()
    if budget is None:
        budget = int(size * plan.SHARE_OF_BUFFERS)
    if not 0 <= budget <= size:
        raise errors.InvalidParameter.of(
            "budget", budget, f"It is 0 to {size} bytes, the size of shared_buffers: more would push out what was read."
        )
    hierarchy = catalog_hierarchy.load(root)
    calls.check_owner(hierarchy)
    tool = _usable("pg_prewarm")
    buffercache = catalog.facility("pg_buffercache")
    found = plan.chosen(catalog.candidates(hierarchy, _critical(hierarchy)), budget)
    before = _resident(found, buffercache)
    for each, fits in found:
        if fits:
            catalog.warm(each, tool)
    after = _resident(found, buffercache)
    return [
        WarmedRow(
            each.relation,
            each.kind,
            each.size,
            None if before is None else before.get(each.oid, 0),
            None if after is None else after.get(each.oid, 0),
            plan.WARMED if fits else plan.LEFT_OUT,
        )
        for each, fits in found
    ]


def residency(root: int) -> list[ResidencyRow]:
    """How much of each relation is in the cache; see sql/functions/residency.sql.j2."""
    hierarchy = catalog_hierarchy.load(root)
    buffercache = _usable("pg_buffercache")
    found = catalog.candidates(hierarchy, None)
    resident = catalog.resident(found, buffercache)
    return [
        ResidencyRow(each.tbl, each.relation, each.kind, each.size, resident.get(each.oid, 0))
        for each, _ in plan.chosen(found, 0)
    ]


def _critical(hierarchy: Hierarchy) -> list[int]:
    """The indexes that readers come by: the primary keys, and those of the order."""
    tables = hierarchy.tables
    found = catalog.primary_keys([table.oid for table in tables])
    for table in tables:
        index = plan_order.choose(hierarchy, table, catalog_order.indexes(table.oid))
        found += [index.oid] if index is not None else []
    return found


def _resident(found: list[tuple[plan.Candidate, bool]], buffercache: Facility | None) -> dict[int, int] | None:
    """What is resident; None where the caller cannot know."""
    if buffercache is None or not buffercache.usable:
        return None
    return catalog.resident([each for each, _ in found], buffercache)


def _usable(name: str) -> Facility:
    """An extension that the call cannot do without."""
    found = catalog.facility(name)
    if found is None:
        raise errors.NotInPrerequisiteState(
            f"extension {name} is not installed in this database",
            "It ships with PostgreSQL, among the contrib modules.",
            f"Run CREATE EXTENSION {name}; as a superuser.",
        )
    if not found.usable:
        raise errors.InsufficientPrivilege(
            f"permission denied for extension {name}",
            "Its functions are not granted to you.",
            "Members of pg_monitor may read the cache: GRANT pg_monitor TO <role>;"
            if name == "pg_buffercache"
            else f"Let a superuser grant EXECUTE on the function {name}.",
        )
    return found
''','api.calls': r'''"""What every call has in common: its context, the hierarchy's lock, and the record of its failure."""

from __future__ import annotations

from .. import database, errors, execute, progress, remote
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..catalog import trust
from ..model import Hierarchy
from ..operation import Operation, Step, together
from ..sql import compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..plan.structure import Structure

_open: list[Context] = []  # the procedure at work on a hierarchy, whose lock the session holds


def context(
    call: str,
    root: int,
    root_name: str,
    owner: str,
    mode: str,
    lock_timeout_ms: int = execute.DEFAULT_LOCK_TIMEOUT_MS,
    *,
    is_for_log: bool = False,
) -> Context:
    """How a call runs. It works as the owner of the tables, so that everything new belongs to the owner.

    ``is_for_log``: it only writes to dp.log that something failed, which touches no table of the owner.
    """
    facts = catalog_server.server()
    if mode != execute.DRY_RUN and facts.is_standby:
        raise errors.NotInPrerequisiteState(
            "the server is a standby", "Nothing can be changed here.", "Call on the primary server."
        )
    if owner != facts.user and not is_for_log:
        trust.refuse_code(trust.tables_of(root), root_name, owner)
    return execute.Context(
        call,
        mode,
        root,
        root_name,
        owner if owner != facts.user else None,
        lock_timeout_ms,
        facts.lock_budget,
        facts.is_superuser,
    )


def hierarchy_context(call: str, hierarchy: Hierarchy, mode: str) -> Context:
    """The same for a hierarchy that exists."""
    root = hierarchy.root
    check_owner(hierarchy)
    return context(call, root.oid, root.identifier.text, root.owner, mode, hierarchy.policy.lock_timeout_ms)


def is_owner(hierarchy: Hierarchy) -> bool:
    """Whether the caller is a member of the owner."""
    rows = database.query("SELECT pg_has_role($1::name, 'USAGE') AS member", ("text",), (hierarchy.root.owner,))
    return bool(rows[0]["member"])


def check_owner(hierarchy: Hierarchy) -> None:
    """Refuse a caller who is not a member of the owner."""
    if is_owner(hierarchy):
        return
    raise errors.InsufficientPrivilege.not_owner(hierarchy.root.identifier, hierarchy.root.owner)


def open_function(call: str, root: int, dry_run: bool) -> tuple[Hierarchy, Context]:
    """Begin a function on one hierarchy: take its lock for the transaction, and read it under the lock."""
    hierarchy = catalog_hierarchy.load(root)
    found = hierarchy_context(call, hierarchy, execute.mode_of(dry_run, False))
    if dry_run:
        return hierarchy, found
    lock_hierarchy(found, for_session=False)
    return catalog_hierarchy.load(root), found


def nothing_to_do(why: str) -> list[execute.PlanRow]:
    """Idempotence: what was done before is not done again."""
    database.notice(f"{why}: nothing to do")
    return []


def run_in_function(steps: list[Step], call: Context) -> list[execute.PlanRow]:
    """Run steps inside the caller's transaction, or print them; all of the call's operations, its result."""
    if call.mode == execute.DRY_RUN:
        execute.execute(steps, call)
        execute.finish_plan()
        return execute.last_plan()
    locks = together(steps).locks
    if locks > call.lock_budget:
        raise errors.OutOfLocks(
            f"{call.call} on {call.root_name} would take about {locks} locks in one transaction, more than the budget"
            f" of {call.lock_budget}",
            "A function works inside the caller's transaction and cannot commit its steps.",
            "Raise max_locks_per_transaction; new slices are left to CALL dp.create_slices(...) or"
            " CALL dp.run_maintenance(...), a global index to CALL dp.create_global_index_online(...): they commit step"
            " by step.",
        )
    lock_hierarchy(call, for_session=False)
    saved = _begin(call)
    execute.execute(steps, call)
    _restore(saved)
    return execute.last_plan()


def lock_for_remake(structure: Structure, call: Context) -> Structure:
    """Lock a table that is about to be made anew, and read it again: what somebody added meanwhile is not lost."""
    if call.mode == execute.DRY_RUN:
        return structure
    lock = compose("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", structure.identifier)
    saved = _begin(call)
    execute.prepare(Step((Operation(structure.identifier, lock, relations=(structure.oid,)),)), call)
    _restore(saved)
    return catalog_structure.read(structure.oid)


def _begin(call: Context) -> dict[str, str]:
    saved = {name: database.setting(name) or "" for name in ("lock_timeout", "row_security", "role")}
    execute.begin(call)
    return saved


def _restore(saved: dict[str, str]) -> None:
    for name, value in saved.items():
        database.set_local(name, value)


def run_in_procedure(steps: list[Step], call: Context) -> None:
    """Run steps, each in a transaction of its own."""
    execute.execute(steps, call)


def lock_hierarchy(call: Context, for_session: bool) -> None:
    """One at a time on one hierarchy; others may work on other hierarchies."""
    if not for_session:
        _check_isolation(call)
    holder = catalog_server.try_lock(call.root, for_session)
    if holder is not None:
        raise errors.ObjectInUse(
            f"another session works on the hierarchy of {call.root_name}",
            f"Process {holder} holds its lock.",
            "Wait until it has ended; the column running_pid of dp.hierarchy shows it.",
        )
    if for_session:
        _open.append(call)


def _check_isolation(call: Context) -> None:
    """What a function decides by must not be older than the locks it takes: a table that has rows looked empty."""
    isolation = database.setting("transaction_isolation")
    if isolation not in ("read committed", "read uncommitted"):
        raise errors.InvalidIsolation(
            f"{call.call} cannot run in a transaction that is {isolation}",
            "Such a transaction does not see what others committed since its snapshot, rows among them.",
            "Call it in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED.",
        )


def open_procedure(call: str, root: int, dry_run: bool) -> tuple[Hierarchy, Context]:
    """Begin a procedure on one hierarchy: take its lock for the session, and read it under the lock."""
    hierarchy = catalog_hierarchy.load(root)
    found = hierarchy_context(call, hierarchy, execute.mode_of(dry_run, True))
    if dry_run:
        return hierarchy, found
    execute.commit(found)
    lock_hierarchy(found, for_session=True)
    remote.stop_orphan(found)
    execute.commit(found)  # a repeatable read transaction still sees what was there before the lock
    return catalog_hierarchy.load(root), found


def release_locks() -> None:
    """Give back what the session holds; the entry calls it however a procedure ends."""
    progress.forget()
    remote.close()
    while _open:
        try:
            catalog_server.unlock(_open[-1].root)
        except database.ServerError:  # a cancel has come: it must not leave the lock with a session that may idle
            catalog_server.unlock(_open.pop().root)
            raise
        _open.pop()


def reading_blocked(error: Exception) -> errors.LockNotAvailable:
    """A lock stood in the way of reading the catalog: who holds such locks, for no step says which one it was."""
    rows = database.query(
        "SELECT l.pid, l.relation::regclass::text AS relation, a.usename, a.state FROM pg_locks l"
        " LEFT JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'relation' AND l.granted"
        " AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid() AND l.relation >= 16384"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " ORDER BY a.xact_start, l.relation LIMIT 5"
    )
    told = "; ".join(f"process {row['pid']} ({row['usename']}, {row['state']}): {row['relation']}" for row in rows)
    return errors.LockNotAvailable(
        "could not read the tables, because a transaction has locked one of them",
        f"{error}. ACCESS EXCLUSIVE locks are held by {told or 'nobody any more'}.",
        "Call again when these transactions have ended; nothing was changed.",
    )


def describe(error: Exception) -> str:
    """One line about a failure."""
    if isinstance(error, errors.PartitionError):
        return f"{error.message} ({error.sqlstate})"
    return database.describe(error)


def record_failure(error: Exception, call: Context | None = None) -> None:
    """Leave what failed behind and keep a record of it in dp.log, which stays when the call ends in the error."""
    call = _open[-1] if _open else call
    if call is None or call.mode == execute.DRY_RUN:
        return
    database.rollback()
    execute.begin(call)
    try:
        execute.log_failure(call, describe(error))
    except database.ServerError as second:
        if database.is_cancel(second):
            raise
        database.warning(f"the failure of {call.call} on {call.root_name} could not be logged: {second}")
    execute.commit(None)
''','api.check': r'''"""dp.check: what is wrong, and how it is mended."""

from __future__ import annotations

from .. import database, errors, keys
from ..catalog import detached as catalog_detached
from ..catalog import findings as catalog_findings
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..catalog import trust
from ..model import SliceSpec
from ..plan import coverage
from ..plan import default_slice as plan_default
from ..plan import detached as plan_detached
from ..plan import finding as plan_finding
from ..plan import findings as plan
from ..plan.finding import Expected
from . import creation, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Hierarchy
    from ..plan.detached import DetachedSlice
    from ..plan.finding import Finding


def check(root: int | None) -> list[Finding]:
    """Findings of one hierarchy or all; see sql/functions/check.sql.j2."""
    roots = {each.oid: each.name for each in catalog_hierarchy.roots()}
    if root is not None:
        if root not in roots:
            catalog_hierarchy.load(root)  # tells that it is none
        roots = {root: roots[root]}
    hierarchies, unreadable = catalog_hierarchy.load_readable(list(roots))
    found = [plan_finding.unreadable(roots[oid], error) for oid, error in unreadable.items()]
    for hierarchy in hierarchies:
        try:
            found += check_one(hierarchy)
        except (errors.PartitionError, database.ServerError) as error:
            if database.is_cancel(error) or (root is not None and isinstance(error, database.ServerError)):
                raise
            found.append(
                plan_finding.unreadable(hierarchy.root.identifier.text, error)
            )  # the others are looked at all the same
    return found


def check_one(hierarchy: Hierarchy) -> list[Finding]:
    """Findings of one hierarchy."""
    table = hierarchy.root
    reads_rows = keys.is_integer(hierarchy.range_type) or any(map(hierarchy.default_slice, hierarchy.tables))
    if reads_rows and table.owner != catalog_server.server().user:
        trust.refuse_code(trust.tables_of(table.oid), table.identifier, table.owner)
    point = window.current_point(hierarchy)
    return plan.findings(hierarchy, catalog_findings.read(hierarchy, expected(hierarchy, point), point))


def expected(hierarchy: Hierarchy, point: int | None) -> Expected:
    """What there should be, and is not; the clock is at a point of the axis."""
    missing = catalog_slices.specs(hierarchy, window.gaps(hierarchy), hierarchy.policy.hash_partitions)
    lacking = creation.lacking_slices(hierarchy, coverage.wanted(hierarchy, missing))
    pairs = [(table, spec) for table in hierarchy.tables for spec in lacking[table.oid]]
    kept = maintained(hierarchy)
    return Expected(
        tuple(missing),
        tuple(detached_ahead(hierarchy, point)),
        tuple(catalog_detached.by_hand(hierarchy, pairs)),
        kept,
        drain_locks(hierarchy, kept),
    )


def detached_ahead(hierarchy: Hierarchy, point: int | None) -> list[DetachedSlice]:
    """The root's slices that were detached and would hold rows of now or later, where nothing else does."""
    reached = point if point is not None else window.highest_point(hierarchy)
    found = []
    for each in catalog_detached.remembered(hierarchy):
        spec = plan_detached.spec_of(each)
        if each.table != hierarchy.root.oid or spec is None or spec.lower is None or spec.upper is None:
            continue
        is_ahead = reached is None or spec.upper.point > reached
        if is_ahead and coverage.uncovered([(spec.lower, spec.upper)], hierarchy.range_slices(hierarchy.root)):
            found.append(each)
    return found


def maintained(hierarchy: Hierarchy) -> SliceSpec | None:
    """The range that maintenance keeps, as if it were one slice; None where no default slice asks for it."""
    if all(hierarchy.default_slice(table) is None for table in hierarchy.tables):
        return None
    spans = window.candidates(hierarchy, *window.maintained(hierarchy), hierarchy.policy.width)
    return SliceSpec(spans[0][0], spans[-1][1], 0, "") if spans else None


def drain_locks(hierarchy: Hierarchy, kept: SliceSpec | None) -> int:
    """How many locks it takes to drain one slice of the default slice."""
    if kept is None:
        return 0
    spec = kept._replace(modulus=hierarchy.policy.hash_partitions)
    facts = catalog_slices.default_facts(hierarchy)
    tables = [table for table in hierarchy.tables if table.oid in facts]
    return plan_default.drain_step(hierarchy, spec, tables, creation.all_properties(hierarchy), facts).locks
''','api.children': r'''"""register_child, register_reference: the tables below and beside a root."""

from __future__ import annotations

from .. import database, errors, execute
from ..catalog import foreign_keys as catalog_keys
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..model import CHILD, REFERENCE, ForeignKey, Hierarchy, Table
from ..operation import Operation, Step
from ..plan import coverage, foreign_keys, remake, slice_form
from ..plan import declare as plan
from ..plan import slices as plan_slices
from ..plan.structure import Column, Structure
from . import calls, requirements
from .declare import tell_pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context, PlanRow
    from ..plan.properties import Properties
    from ..sql import SQL


def register_child(
    child: int,
    parent: int,
    parent_key: list[str] | None,
    on_delete: str | None,
    create_slices: bool,
    allow_weaker_unique: bool,
    dry_run: bool,
) -> list[PlanRow]:
    """Register a child; see sql/functions/register_child.sql.j2."""
    hierarchy, call = calls.open_function("register_child", _root_of(parent), dry_run)
    structure = slice_form.child(catalog_structure.read(child), hierarchy.policy)
    is_new = _check_child(structure, hierarchy)
    remade = is_new and plan.is_remade(structure, hierarchy.policy.partition_column)
    if remade:
        structure = slice_form.child(calls.lock_for_remake(structure, call), hierarchy.policy)
    parent_structure = structure if child == parent else catalog_structure.read(parent)
    partition_keys = hierarchy.policy.partition_keys
    pending = slice_form.without_range_key(catalog_keys.pending_of(child), hierarchy.policy)
    links = foreign_keys.parent_links(structure, parent_structure, parent_key, on_delete, pending, partition_keys)
    inside = foreign_keys.inside_keys(structure, hierarchy, links, pending)
    table = plan.as_table(structure, CHILD, hierarchy.policy.partition_column) if is_new else hierarchy.table(child)
    extended = _with_child(hierarchy, table, inside)
    properties = catalog_properties.read(table.oid, table.template_oid)
    statements: list[SQL] = []
    if is_new:
        statements = _form(structure, properties, hierarchy, (inside, pending), allow_weaker_unique)
    operations = _on(structure, statements)
    operations += foreign_keys.key_operations(structure, extended, inside, remade)
    statements = remake.comment_statements(structure) if remade else []
    if is_new:
        statements += plan.template_statements(structure, properties)
        statements.append(plan.table_statement(structure, hierarchy.root.identifier, CHILD))
    statements += foreign_keys.pending_statements(structure, pending, inside)
    steps = [Step((*operations, *_on(structure, statements)))]
    if is_new and create_slices:
        steps += _slice_steps(extended, table, properties, call)
    if not any(step.operations for step in steps):
        return calls.nothing_to_do(f"{structure.identifier} is registered under {parent_structure.identifier} already")
    return calls.run_in_function(steps, call)


def _form(
    structure: Structure,
    properties: Properties,
    hierarchy: Hierarchy,
    keys: tuple[list[ForeignKey], list[ForeignKey]],
    allow_weaker_unique: bool,
) -> list[SQL]:
    """What gives a new child its form; ``keys`` are those inside the hierarchy, and the remembered ones."""
    inside, pending = keys
    key_columns = _key_columns(hierarchy)
    requirements.check_template(structure)
    if not plan.is_remade(structure, hierarchy.policy.partition_column):
        plan.check_keys(structure, key_columns, hierarchy.policy.partition_keys)
        return []
    plan.check_child(structure, hierarchy.policy, inside, allow_weaker_unique, catalog_server.server().version)
    told = remake.repairs(structure, key_columns) + remake.taken_for_keys(structure, key_columns, inside)
    for text in told:
        database.notice(text)
    managed = {table.oid for table in hierarchy.tables}
    tell_pending(tuple(key for key in structure.incoming if key.child not in managed))
    return plan.child_statements(structure, properties, hierarchy.policy, key_columns, inside, pending)


def _on(structure: Structure, statements: list[SQL]) -> list[Operation]:
    return [Operation(structure.identifier, each, relations=(structure.oid,)) for each in statements]


def _slice_steps(extended: Hierarchy, table: Table, properties: Properties, call: Context) -> list[Step]:
    """The slices that the hierarchy has, for a new child."""
    given = {oid: properties._replace(renamed_indexes=True) for oid in (table.oid, extended.root.oid)}
    only_child = extended._replace(tables=(extended.root, table))
    return plan_slices.creation_steps(only_child, coverage.wanted(extended, []), given, call.lock_budget)


def register_reference(tbl: int, root: int | None, dry_run: bool) -> list[PlanRow]:
    """Register a shared table; see sql/functions/register_reference.sql.j2."""
    structure = catalog_structure.read(tbl)
    if catalog_hierarchy.root_of(tbl) is not None:
        raise errors.DuplicateObject(
            f"{structure.identifier} is partitioned as part of a hierarchy",
            "A reference is a shared table.",
            "See the view dp.managed_table.",
        )
    if root is not None:
        chosen = [catalog_hierarchy.load(root)]
        calls.check_owner(chosen[0])
    else:
        referring = {key.child for key in structure.incoming}
        chosen = [
            each
            for each in catalog_hierarchy.load_readable([own.oid for own in catalog_hierarchy.own_roots()])[0]
            if any(table.oid in referring for table in each.tables)
        ]
    if not chosen:
        raise errors.InvalidParameter(
            f"no hierarchy of yours refers to {structure.identifier}",
            "The hierarchies of a reference are found by the foreign keys that point to it.",
            "Name the hierarchy with root => ...",
        )
    new = [each for each in chosen if all(table.oid != tbl for table in each.references)]
    if not new:
        return calls.nothing_to_do(f"{structure.identifier} is registered already")
    for each in new:
        call = calls.hierarchy_context("register_reference", each, execute.mode_of(dry_run, False))
        operation = Operation(structure.identifier, plan.table_statement(structure, each.root.identifier, REFERENCE))
        calls.run_in_function([Step((operation,))], call)
    return execute.last_plan()


def _check_child(structure: Structure, hierarchy: Hierarchy) -> bool:
    """Whether a table may be a child of this hierarchy; true where it is none yet."""
    known = catalog_hierarchy.root_of(structure.oid)
    if known is not None and known != hierarchy.root.oid:
        raise errors.DuplicateObject(
            f"{structure.identifier} belongs to another hierarchy already",
            "A table is partitioned by the keys of one root.",
            "See the view dp.managed_table.",
        )
    requirements.check_same_owner(structure, hierarchy.root.identifier, hierarchy.root.owner)
    return known is None


def _root_of(table: int | None) -> int:
    if table is None:
        raise errors.UndefinedObject(
            "no parent was named", "Parameter parent is NULL.", "Name a root, or a child above."
        )
    root = catalog_hierarchy.root_of(table)
    if root is None:
        raise errors.UndefinedObject(
            f"{catalog_server.relation_name(table)} belongs to no hierarchy",
            "It is neither a root nor a child.",
            "Register tables from the root downwards: dp.create_hierarchy, then dp.register_child.",
        )
    return root


def _key_columns(hierarchy: Hierarchy) -> tuple[Column, ...]:
    structure = catalog_structure.columns(hierarchy.root.oid)
    wanted = hierarchy.policy.partition_keys
    return tuple(column for name in wanted for column in structure if column.name == name)


def _with_child(hierarchy: Hierarchy, table: Table, inside: list[ForeignKey]) -> Hierarchy:
    """The hierarchy as it will be."""
    others = tuple(each for each in hierarchy.tables if each.oid != table.oid)
    root = hierarchy.root
    typed = table._replace(partition_type=root.partition_type)
    kept = tuple(key for key in hierarchy.foreign_keys if key.child != table.oid)
    slices = dict(hierarchy.slices)
    slices.setdefault(table.oid, ())
    foreign_keys = kept + tuple(inside)
    ordered = catalog_hierarchy.in_order([*others, typed], foreign_keys)
    return hierarchy._replace(tables=ordered, foreign_keys=foreign_keys, slices=slices)
''','api.columns': r'''"""add_column, drop_column, rename_column, alter_column_type, set_default, drop_default, set_not_null, drop_not_null."""

from __future__ import annotations

from .. import errors, fragments
from ..catalog import alter as catalog_alter
from ..catalog import server as catalog_server
from ..operation import Operation
from ..plan import alter as plan
from ..plan.asked import ColumnFacts, storable
from ..plan.asked import differences as asked_differences
from ..plan.declare import slice_key_trigger
from ..sql import SQL, Identifier, compose
from . import probing
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execute import PlanRow

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
        lambda copy: plan.alter(copy, plan.add_column_action(column._replace(name=probing.COLUMN))),
        lambda copy: catalog_alter.column(copy, probing.COLUMN),
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
    return change.run(operations, "column", column_name)


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
        return change.run(operations, "column", new_name)
    return change.run(_rename_key(change, column_name, new_name, dry_run), "column", new_name)


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
    return operations


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
        lambda copy: compose("ALTER TABLE {} ADD COLUMN {} {}", copy, Identifier(probing.COLUMN), SQL(type)),
        lambda copy: catalog_alter.column(copy, probing.COLUMN),
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
    return change.run(operations, "column", column_name)


def _type_of(column: ColumnFacts | None) -> tuple[str, str | None] | None:
    return (column.type, column.collation) if column is not None else None


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
''','api.concurrently': r'''"""create_index_concurrently, drop_index_concurrently, reindex_concurrently: indexes of whole tables."""

from __future__ import annotations

from .. import database, errors, execute, fragments, progress, remote
from ..catalog import alter as catalog_alter
from ..catalog import online as catalog_online
from ..catalog import server as catalog_server
from ..operation import Step
from ..plan import online as plan
from ..plan.online import Index, Part, Wanted
from ..sql import SQL, Identifier, compose
from . import calls
from .alteration import Alteration
from .constraints import check_unique, refuse_constraint_index

MAX_ROUNDS = 10  # what others add to a table meanwhile is looked for again, but not for ever
PROBE = "dp_probe"


class Rolled(Exception):
    """Carries a result out of a subtransaction that is to be rolled back."""


def create_index_concurrently(
    tbl: int,
    index_name: str,
    definition: str,
    is_unique: bool,
    connection: str | None,
    search_path: str,
    dry_run: bool,
) -> None:
    """Create an index leaf by leaf; see sql/procedures/create_index_concurrently.sql.j2."""
    fragments.check("definition", definition)
    call = "create_index_concurrently"
    change = Alteration(call, tbl, dry_run, search_path, is_procedure=True)
    parts = catalog_online.parts(tbl)
    index = _top(parts, index_name)
    if index is not None and index.is_valid:
        change.nothing(f'{change.target.identifier} has index "{index_name}" already')
        return
    if index is None and is_unique:
        check_unique(change, index_name, definition)
    wanted = _wanted(change, index, Wanted(index_name, definition, is_unique))
    _refuse_taken_names(parts, wanted)
    for _ in range(MAX_ROUNDS):
        steps = plan.create_index(parts, wanted)
        if not steps:
            break
        run_counted(change, steps, index_name, connection)
        if dry_run:
            return
        parts = catalog_online.parts(tbl)
    others = catalog_alter.disagreeing("index", tbl, index_name)
    if others:
        raise errors.NotInPrerequisiteState(
            f'index "{index_name}" of {change.target.identifier} is not valid',
            "A partition has none that is valid and equal, though all that were found have been built.",
            "Call again; if it stays, SELECT * FROM dp.drift(...) may say what differs.",
        )


def _top(parts: tuple[Part, ...], name: str) -> Index | None:
    return next((index for index in parts[0].indexes if index.name == name), None)


def _wanted(change: Alteration, index: Index | None, given: Wanted) -> Wanted:
    """The definition as PostgreSQL deparses it: of the index that a stopped call began, else of one on the template.

    It means the same whatever the search_path is, and equal indexes are found by it. That the template can have the
    index shows that leaves can, before anything is changed.
    """
    if index is not None:
        change.context = change.context._replace(search_path=None)
        return given._replace(definition=catalog_online.definition(index.identifier.text), is_unique=index.is_unique)
    template = change.target.table.template
    if template is None or catalog_server.server().is_standby:
        return given
    unique = SQL("UNIQUE " if given.is_unique else "")
    statement = compose("CREATE {}INDEX {} ON {} {}", unique, Identifier(PROBE), template, SQL(given.definition))
    try:
        with database.subtransaction():
            execute.probe(statement.text, change.context)
            raise Rolled(catalog_online.definition(Identifier(template_schema(change), PROBE).text))
    except Rolled as found:
        text = str(found)
    change.context = change.context._replace(search_path=None)
    return given._replace(definition=text)


def template_schema(change: Alteration) -> str:
    """Where the template stands, and its indexes."""
    return str(change.target.table.template_schema)


def _refuse_taken_names(parts: tuple[Part, ...], wanted: Wanted) -> None:
    for schema, names in plan.taken_names(parts, wanted).items():
        taken = sorted(catalog_server.existing_relations(schema, names))
        if taken:
            raise errors.DuplicateTable(
                f"relation {Identifier(schema, taken[0])} already exists, and is no index that is wanted here",
                "The index of each partition is named by the partition and the index.",
                "Rename or drop it, or choose another index_name.",
            )


def run_counted(change: Alteration, steps: list[Step], about: str, connection: str | None = None) -> None:
    """Run the steps, with a second session where one is needed; or print them."""
    if change.context.mode != execute.DRY_RUN:
        if not all(step.in_transaction for step in steps):
            remote.open_session(change.context, connection)
        progress.begin(change.context, change.target.table.oid, about, len(steps))
        execute.commit(change.context)
    calls.run_in_procedure(steps, change.context)
    if change.context.mode != execute.DRY_RUN:
        progress.end()
        execute.commit(change.context)


def drop_index_concurrently(tbl: int, index_name: str, connection: str | None, dry_run: bool) -> None:
    """Drop an index with short locks only; see sql/procedures/drop_index_concurrently.sql.j2."""
    change = Alteration("drop_index_concurrently", tbl, dry_run, is_procedure=True)
    parts = catalog_online.parts(tbl)
    index = _top(parts, index_name)
    if index is None:
        change.nothing(f'{change.target.identifier} has no index "{index_name}"')
        return
    refuse_constraint_index(change, index_name)
    wanted = Wanted(index_name, catalog_online.definition(index.identifier.text), index.is_unique)
    run_counted(change, plan.drop_index(change.target, parts, wanted), index_name, connection)


def reindex_concurrently(tbl: int, index_name: str, connection: str | None, dry_run: bool) -> None:
    """Build the leaves of an index anew; see sql/procedures/reindex_concurrently.sql.j2."""
    change = Alteration("reindex_concurrently", tbl, dry_run, is_procedure=True)
    parts = catalog_online.parts(tbl)
    index = _top(parts, index_name)
    if index is None:
        raise errors.UndefinedObject(
            f'{change.target.identifier} has no index "{index_name}"',
            f"Its indexes are {', '.join(each.name for each in parts[0].indexes)}.",
            "Write the name as it is in the catalog, without double quotes.",
        )
    built = catalog_online.built_since(change.context.root, change.context.call, tbl, index_name)
    run_counted(change, plan.reindex(parts, index, built), index_name, connection)
''','api.configure': r'''"""configure: the policies of a hierarchy."""

from __future__ import annotations

from .. import calendars, database, errors, execute
from ..catalog import hierarchy as catalog_hierarchy
from ..operation import Operation, Step
from ..plan import declare as plan
from . import calls, policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..execute import PlanRow
    from ..model import Hierarchy

ENDLESS = "infinity"


def configure(root: int, dry_run: bool, **options: Any) -> list[PlanRow]:
    """Change policies; see sql/functions/configure.sql.j2."""
    hierarchy = catalog_hierarchy.load(root)
    calls.check_owner(hierarchy)
    wanted = {name: value for name, value in options.items() if value is not None}
    for name in ("retention", "start"):
        if wanted.get(name) == ENDLESS:
            wanted[name] = None
    current = _current(root)
    policy.check_policy({**current, **wanted}, hierarchy.range_type, hierarchy.policy.hash_key)
    _check_durations(wanted)
    _check_default_slice(hierarchy, wanted)
    changes = _changes(current, wanted)
    if not changes:
        return calls.nothing_to_do(f"{hierarchy.root.identifier} has these policies already")
    call = calls.hierarchy_context("configure", hierarchy, execute.mode_of(dry_run, False))
    statement = plan.configure_statement(hierarchy.root, changes)
    return calls.run_in_function([Step((Operation(hierarchy.root.identifier, statement),))], call)


def _current(root: int) -> dict[str, Any]:
    rows = database.query(
        "SELECT key_form, bucket, slice, hash_partitions, premake, start, retention, retention_action,"
        " retention_schema, time_zone, default_slice, lock_timeout::text, analyze_interval::text, log_retention::text,"
        " propagate_ddl"
        " FROM dp.hierarchy_config WHERE root = $1",
        ("oid",),
        (root,),
    )
    if not rows:
        catalog_hierarchy.load(root)  # tells that it is gone
    return rows[0]


def _changes(current: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What differs, in the form in which it is stored."""
    stored = dict(wanted)
    for name in ("slice", "retention"):
        if stored.get(name) is not None:
            stored[name] = str(calendars.parse_width(stored[name], name))
    return {
        name: value
        for name, value in stored.items()
        if value != current[name] and not (name in policy.LONGEST_DURATIONS and _is_same_duration(value, current[name]))
    }


def _is_same_duration(one: str, other: str) -> bool:
    rows = database.query("SELECT $1::interval = $2::interval AS same", ("text", "text"), (one, other))
    return bool(rows[0]["same"])


def _check_durations(wanted: dict[str, Any]) -> None:
    for name in policy.LONGEST_DURATIONS:
        if name in wanted:
            policy.check_duration(name, wanted[name])


def _check_default_slice(hierarchy: Hierarchy, wanted: dict[str, Any]) -> None:
    if wanted.get("default_slice") is False and hierarchy.default_slice(hierarchy.root) is not None:
        raise errors.NotInPrerequisiteState(
            f"{hierarchy.root.identifier} has a default slice",
            "The configuration cannot say that there is none while the tables have one.",
            "Drain it with CALL dp.drain_default(...), then drop it in every table, children first.",
        )
''','api.constraints': r'''"""add_constraint, drop_constraint, create_index, drop_index."""

from __future__ import annotations

from .. import errors, fragments
from ..catalog import alter as catalog_alter
from ..catalog import foreign_keys as catalog_keys
from ..plan import alter as plan
from ..plan.asked import IndexFacts
from ..plan.structure import add_constraint as add_constraint_statement
from ..sql import SQL, Identifier, compose, names
from . import probing
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import PlanRow

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
    operations = plan.add_constraint(change.target, constraint_name, definition, kind[0], of_table=not is_present)
    rows = change.run(operations, "constraint", constraint_name)
    _refuse_inner_key(change, constraint_name)
    return rows


def _refuse_another_constraint(change: Alteration, name: str, definition: str) -> None:
    """The constraint of that name must be the one that was asked for."""
    present = catalog_alter.constraint(change.target.table.oid, name)
    asked = probing.tried(
        change,
        lambda copy: add_constraint_statement(copy, probing.COLUMN, SQL(definition)),
        lambda copy: catalog_alter.constraint(copy, probing.COLUMN),
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
    return change.run(plan.drop_constraint(change.target, constraint_name, of_table=is_present))


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


def _same_index(
    change: Alteration, name: str, present: IndexFacts, definition: str, *, is_unique: bool
) -> list[PlanRow]:
    """Nothing to do where the index of that name is the one that was asked for, and all partitions have it."""
    asked = probing.tried(
        change,
        lambda copy: plan.create_index_statement(copy, probing.COLUMN, definition, is_unique=is_unique),
        lambda copy: catalog_alter.index(copy, probing.COLUMN),
    )
    table = change.target.identifier
    if asked is None or asked.text != present.text or present.is_of_constraint:
        raise errors.DuplicateObject(
            f'index "{name}" of {table} exists already, and is another',
            f"It is {present.text}{', and belongs to a constraint' if present.is_of_constraint else ''}.",
            "Drop it first, or choose another name.",
        )
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
''','api.conversion': r'''"""plan_conversion, and what dp.convert begins with: examining plain tables."""

from __future__ import annotations

import json

from .. import errors, keys
from ..catalog import conversion as catalog
from ..catalog import dependents as catalog_dependents
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..plan import conversion_figures, conversion_findings, conversion_layout
from ..plan.conversion import KEEP, REFUSE, Conversion, Figures, Member, Range
from ..plan.conversion_copy import bucket_of
from ..sql import SQL, Identifier, Literal, compose
from . import policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..plan.conversion_findings import Finding
    from ..plan.declare import Settings

PREMAKE = 4


def plan_conversion(root: int, **options: Any) -> list[Finding]:
    """What converting plain tables comes to; see sql/functions/plan_conversion.sql.j2."""
    return examine(root, options)[1]


def examine(root: int, options: dict[str, Any]) -> tuple[Conversion, list[Finding]]:
    """Read the tables and count what is in them."""
    _check_options(root, options)
    paths = _owner_paths(options["owner_paths"])
    members, left = catalog.find(root, options["exclude"] or [], options["include"] or [], paths)
    settings = _settings(members[0], options)
    dependents, blocked = catalog_dependents.read([member.oid for member in members])
    conversion = Conversion(
        tuple(members),
        settings,
        {},
        (),
        tuple(catalog.references(members)),
        tuple(catalog.outside_keys(members)),
        tuple(dependents),
        tuple(blocked),
        (),
        options["orphans"],
        options["allow_weaker_unique"],
        catalog_server.server().version,
    )
    figures = {
        member.oid: Figures(**catalog.count(conversion_figures.counting(conversion, member).text)) for member in members
    }
    conversion = _laid_out(conversion._replace(figures=figures), options)
    if conversion.orphans == KEEP and any(each.orphans for each in figures.values()):
        conversion = conversion._replace(orphan_keys=_orphan_keys(conversion))
    budget = catalog_server.server().lock_budget
    return conversion, conversion_findings.findings(conversion, left, budget)


def _check_options(root: int, options: dict[str, Any]) -> None:
    if options["orphans"] not in (REFUSE, KEEP):
        raise errors.InvalidParameter.of("orphans", options["orphans"], "It is refuse or keep.")
    if catalog_hierarchy.root_of(root) is not None:
        raise errors.DuplicateObject(
            f"{catalog_server.relation_name(root)} belongs to a hierarchy already",
            "Only plain tables are converted.",
            "See the view dp.managed_table.",
        )


def _owner_paths(text: str) -> dict[int, list[str]]:
    """For each table that is named, the foreign keys by which its rows come to the root."""
    try:
        given = json.loads(text)
        found = {catalog_server.resolve_relation(table): list(named) for table, named in given.items()}
    except (ValueError, AttributeError, TypeError):
        given, found = None, {}
    if given is None or not all(isinstance(name, str) for named in found.values() for name in named):
        raise errors.InvalidParameter.of(
            "owner_paths",
            text,
            'It is an object with the names of foreign keys by table: {"public.item": ["item_event_id_fkey"]}.',
        )
    return found


def _settings(root: Member, options: dict[str, Any]) -> Settings:
    """The parameters that dp.create_hierarchy has, checked as that does."""
    return policy.check_settings(
        root.structure,
        {
            "range_key": options["range_key"],
            "hash_key": options["hash_key"],
            "key_form": options["key_form"],
            "slice": options["slice"],
            "hash_partitions": options["hash_partitions"],
            "premake": PREMAKE,
            "start": None,
            "retention": None,
            "retention_action": "detach",
            "retention_schema": None,
            "time_zone": options["time_zone"],
            "default_slice": False,
            "slice_key": options["slice_key"],
            "bucket": options["bucket"],
            "lock_timeout": "500 ms",
        },
    )


def _laid_out(conversion: Conversion, options: dict[str, Any]) -> Conversion:
    """With the ranges of slices, and the number of hash partitions where the caller left it open."""
    settings = conversion.settings
    ranges = _ranges(conversion, options["slice"])
    if options["hash_partitions"] is None and settings.hash_column is not None:
        rows = conversion.figures[conversion.root.oid].rows
        most = max(each.rows for each in conversion.figures.values())
        partitions = conversion_layout.modulus(
            ranges, most / rows if rows else 1.0, catalog_server.server().lock_budget
        )
        settings = settings._replace(hash_partitions=partitions)
    return conversion._replace(ranges=tuple(ranges), settings=settings)


def _ranges(conversion: Conversion, width: str | None) -> list[Range]:
    settings = conversion.settings
    if keys.is_integer(settings.range_type):
        column = Identifier(settings.range_column.name)
        query = compose("SELECT min({c}) AS low, max({c}) AS high FROM {t}", c=column, t=conversion.root.identifier)
        found = catalog.count(query.text)
        rows = conversion.figures[conversion.root.oid].rows
        return conversion_layout.integer_ranges(found["low"], found["high"], rows, settings.width.number)
    distribution = catalog.distribution(conversion_figures.distribution(conversion).text)
    now = catalog_server.local_now(settings.time_zone)
    return conversion_layout.calendar_ranges(distribution, now, PREMAKE, width)


def _orphan_keys(conversion: Conversion) -> tuple[SQL, ...]:
    """The keys of rows without a parent: those of the oldest slice, and no owner."""
    settings = conversion.settings
    column = Identifier(settings.range_column.name)
    lowest = catalog.count(compose("SELECT min({})::text AS value FROM {}", column, conversion.root.identifier).text)[
        "value"
    ]
    oldest = compose("{}::{}", Literal(lowest), SQL(settings.range_column.type))
    found = [oldest if settings.slice_key is None else bucket_of(conversion, oldest)]
    if settings.hash_column is not None:
        hash_column = settings.hash_column
        value = ""
        if not hash_column.type.startswith(("text", "character varying")):
            query = compose(
                "SELECT min({}::text) AS value FROM {}", Identifier(hash_column.name), conversion.root.identifier
            )
            value = catalog.count(query.text)["value"]
        found.append(compose("{}::{}", Literal(value), SQL(hash_column.type)))
    return tuple(found)
''','api.conversion_running': r'''"""Doing the stored steps of a conversion, and taking back what was built."""

from __future__ import annotations

import json
import time

from .. import database, errors, execute, progress
from ..catalog import conversion_state as catalog
from ..catalog import hierarchy as catalog_hierarchy
from ..operation import SHARE, Operation, Step
from ..plan import conversion_copy, unconversion
from ..plan.conversion import working_schema
from ..plan.conversion_steps import COPY, DROP_INDEX, GLOBAL_INDEX, MOVE, RUN, SLICES, SWITCH, SYNC, VERIFY
from ..sql import SQL, Identifier, Literal, compose
from . import drift, global_index, slices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..catalog.conversion_state import Stored
    from ..execute import Context

LOCKS_OF_TABLE = 12  # a table with its indexes, constraints and the catalogs
MOVED_AT_ONCE = 50  # partitions that change their schema in one transaction
GLOBAL_INDEX_BLOCKS = 4096


class Work:
    """A conversion at work."""

    def __init__(self, root: int, call: Context, batch_blocks: int) -> None:
        """``root`` is the plain one."""
        self.root, self.call, self.batch_blocks = root, call, batch_blocks
        state = catalog.find(root)
        self.is_back = state is not None and state.is_back
        self.converted = {row["plain"]: row["converted"] for row in catalog.tables(root)}

    @property
    def hierarchy(self) -> int:
        """The root of the hierarchy that is made, or unmade."""
        return self.root if self.is_back else self.converted[self.root]

    def read_again(self) -> None:
        """Tables were made, or have changed places."""
        self.converted = {row["plain"]: row["converted"] for row in catalog.tables(self.root)}

    def execute(self, step: Stored, statements: tuple[SQL, ...], locks: int, *, is_last: bool = True) -> None:
        """Run statements in one transaction, in which the step is noted as done."""
        found = [Operation(step.target, each, locks=0) for each in statements]
        context = self.call
        if is_last:
            found.append(Operation(step.target, catalog.done_statement(self.root, step), locks=locks))
        if self.is_back and step.phase == "afterwards":  # the partitioned root may go, and nothing is logged of it
            context = context._replace(root=self.converted[self.root])
        execute.execute([Step(tuple(found))], context)


def run(root: int, call: Context, batch_blocks: int) -> None:
    """Do all steps that are not done."""
    work = Work(root, call, batch_blocks)
    step = catalog.next_step(root)
    while step is not None:
        _enter_phase(work, step)
        if work.is_back and step.phase == "afterwards":
            progress.forget()  # its row goes with the partitioned root
        KINDS[step.kind](work, step)
        step = catalog.next_step(root)
    name = catalog.relation(work.converted[root])["name"]
    if work.is_back:
        database.notice(f"{name} is a plain table again")
        return
    catalog.set_state(root, "converted")
    database.query("DELETE FROM dp.conversion_step WHERE root = $1", ("oid",), (root,))
    progress.clear(work.hierarchy)
    execute.commit(call)
    database.notice(f"{name} is converted; the plain tables are kept until dp.drop_converted")


def _enter_phase(work: Work, step: Stored) -> None:
    """The structure is there: from now on the call goes on where it was stopped."""
    if step.phase == "structure" or work.converted.get(work.root) is not None:
        return
    catalog.note_converted(work.root)
    catalog.set_state(work.root, "copying")
    execute.commit(work.call)
    work.read_again()


def _run(work: Work, step: Stored) -> None:
    """Statements that are run as they are."""
    locks = json.loads(step.arguments).get("locks", 4 * LOCKS_OF_TABLE)
    if step.phase not in ("structure", "copy"):
        own = work.converted.get(step.table)
        locks += 3 * catalog.tree_size(own) if own is not None else 0
        for parent in step.parents:
            referred = work.converted.get(parent)
            locks += 3 * catalog.tree_size(referred) if referred is not None else 1
    work.execute(step, step.statements, locks)


def _slices(work: Work, step: Stored) -> None:
    arguments = json.loads(step.arguments)
    root = catalog.oid_of(step.target.text)
    slices.create_slices(
        root, arguments["lower_bound"], arguments["upper_bound"], arguments["slice"], None, dry_run=False
    )
    work.execute(step, (), LOCKS_OF_TABLE)


def _copy(work: Work, step: Stored) -> None:
    """Copy a table in batches of blocks; each notes how far it came."""
    total = catalog.blocks(step.table)
    batches = -(-(total - step.next_block) // work.batch_blocks)
    table = work.converted.get(step.table, step.table)
    progress.begin(work.call._replace(root=work.hierarchy), table, "copy", max(batches, 0))
    execute.commit(work.call)
    lock = compose("LOCK TABLE {} IN SHARE MODE", step.target)
    since = time.monotonic()
    first = step.next_block
    locks = catalog.tree_size(table) + 2 * LOCKS_OF_TABLE
    while first < total:
        last = min(first + work.batch_blocks, total)
        statements = (
            lock,
            conversion_copy.batch(step.statements[0], first, last),
            catalog.advanced_statement(work.root, step, last),
        )
        operations = [Operation(step.target, each, SHARE, (step.table,), locks=0) for each in statements]
        operations[0] = operations[0]._replace(locks=locks)
        execute.execute([Step(tuple(operations))], work.call)
        first = last
        _tell(step, first, total, since)
    work.execute(step, (), LOCKS_OF_TABLE)


def _tell(step: Stored, block: int, total: int, since: float) -> None:
    """How far the copying of a table is, and how long it will last."""
    seconds = max(time.monotonic() - since, 0.001)
    copied = block - step.next_block
    left = seconds / copied * (total - block)
    database.notice(
        f"{step.target}: {block} of {total} blocks copied, {copied / seconds:.0f} a second, {left:.0f} s left"
    )


def _verify(work: Work, step: Stored) -> None:
    """Compare what arrived with what was there, and note the row versions that were compared."""
    lock = compose("LOCK TABLE {} IN SHARE MODE", step.target)
    execute.prepare(Step((Operation(step.target, lock, SHARE, (step.table,)),)), work.call)
    plain, arrived = (database.query_once(statement.text)[0] for statement in step.statements[:2])
    if plain != arrived:
        _changed(
            work,
            f"the copy of {step.target} differs from it",
            f"It has {plain['rows']} rows with checksum {plain['checksum']}, the copy {arrived['rows']} rows with"
            f" checksum {arrived['checksum']}.",
        )
    versions = str(database.query_once(step.statements[2].text)[0]["versions"])
    catalog.remember(work.root, step, versions)
    execute.commit(work.call)


def _switch(work: Work, step: Stored) -> None:
    """Exchange the tables in one transaction, in which nobody wrote to the plain ones since they were compared."""
    checks = tuple(
        compose("SELECT dp._check_unchanged({}::regclass, {})", Literal(name), Literal(versions))
        for name, versions in catalog.versions(work.root)
    )
    switched = compose("UPDATE dp.conversion_config SET state = 'switched' WHERE root = {}::oid", Literal(work.root))
    statements = (step.statements[0], *checks, *step.statements[1:], switched)
    locks = LOCKS_OF_TABLE * 2 * len(work.converted)
    if work.is_back:
        locks += unconversion.reading_locks(catalog_hierarchy.load(work.root))
    try:
        work.execute(step, statements, locks)
    except database.ServerError as error:
        if database.sqlstate(error) != errors.NotInPrerequisiteState.sqlstate:
            raise
        _changed(work, str(error), "Tables are converted while the application is stopped.")


def _changed(work: Work, message: str, detail: str) -> None:
    """The copy is of no use: the next call begins anew."""
    database.rollback()
    execute.begin(work.call)
    catalog.set_state(work.root, "changed")
    execute.commit(work.call)
    raise errors.NotInPrerequisiteState(
        message,
        detail,
        "Stop what writes to the tables, and call again: they are copied anew. The plain tables are as they were.",
    )


def _move(work: Work, step: Stored) -> None:
    """The partitions of a table follow it into its schema."""
    table = work.converted[step.table]
    schema = catalog.relation(table)["schema"]
    moved = catalog.partitions_elsewhere(table)
    for first in range(0, len(moved), MOVED_AT_ONCE):
        statements = tuple(
            compose("ALTER {} SET SCHEMA {}", each, Identifier(schema)) for each in moved[first : first + MOVED_AT_ONCE]
        )
        work.execute(step, statements, 0, is_last=False)
    work.execute(step, (), LOCKS_OF_TABLE)


def _global_index(work: Work, step: Stored) -> None:
    arguments = json.loads(step.arguments)
    global_index.create_global_index_online(
        work.converted[step.table],
        arguments["columns"],
        True,
        arguments["predicate"],
        arguments["index_name"],
        0,
        GLOBAL_INDEX_BLOCKS,
        "pg_catalog, pg_temp",
        dry_run=False,
    )
    work.execute(step, (), LOCKS_OF_TABLE)


def _sync(work: Work, step: Stored) -> None:
    drift.sync(work.converted[work.root], False, dry_run=False)
    work.execute(step, (), LOCKS_OF_TABLE)


def _drop_index(work: Work, step: Stored) -> None:
    side = json.loads(step.arguments)["side"]
    if catalog.exists(side):
        global_index.drop_global_index(side, dry_run=False)
    work.execute(step, (), LOCKS_OF_TABLE)


KINDS: dict[str, Callable[[Work, Stored], None]] = {
    RUN: _run,
    SLICES: _slices,
    COPY: _copy,
    VERIFY: _verify,
    SWITCH: _switch,
    MOVE: _move,
    GLOBAL_INDEX: _global_index,
    SYNC: _sync,
    DROP_INDEX: _drop_index,
}


def discard(root: int, call: Context) -> None:
    """Drop what was built for plain tables that were not exchanged, in transactions that the lock table bears."""
    catalog.note_converted(root)
    if call.mode != execute.DRY_RUN:
        execute.commit(call)
    rows = [row for row in reversed(catalog.tables(root)) if row["converted"] is not None]
    built = [row["converted"] for row in rows]
    sizes = {oid: catalog.tree_size(oid) for oid in built}
    for key in catalog.foreign_keys_of(built):
        table = Identifier(key["schema"], key["relation"])
        statement = compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(key["name"]))
        locks = 3 * (sizes.get(key["child"], 1) + sizes.get(key["parent"], 1)) + LOCKS_OF_TABLE
        _discarded(table, statement, locks, call)
    for row in rows:
        table = Identifier(row["converted_schema"], row["name"])
        for each in catalog.slices_of(row["converted"]):
            _discarded(each, compose("DROP TABLE {}", each), 4 * LOCKS_OF_TABLE, call)
        _discarded(table, compose("DROP TABLE {}", table), LOCKS_OF_TABLE, call)
    schemas = dict.fromkeys(working_schema(row["plain_schema"]) for row in catalog.tables(root))
    for schema in catalog.existing_schemas(list(schemas)):
        _discarded(Identifier(schema), compose("DROP SCHEMA {} CASCADE", Identifier(schema)), 0, call)
    forget = compose(
        "DELETE FROM dp.conversion_config WHERE root = {}::regclass", Literal(catalog.relation(root)["name"])
    )
    _discarded(SQL(catalog.relation(root)["name"]), forget, 0, call)


def _discarded(target: Identifier | SQL, statement: SQL, locks: int, call: Context) -> None:
    execute.execute([Step((Operation(target, statement, locks=locks),))], call)
''','api.convert': r'''"""convert, cancel_conversion, drop_converted: plain tables become a hierarchy, step by step.

The steps are made once, stored, and done one after the other; each notes in its own transaction that it is done. So a
call that was stopped or killed goes on where the last one was. Until the step "switch" the plain tables are the tables,
as they were; from then on the new ones are.
"""

from __future__ import annotations

from typing import Any

from .. import database, errors, execute
from ..catalog import conversion_state as catalog
from ..catalog import server as catalog_server
from ..operation import Operation, Step
from ..plan import conversion_findings
from ..plan.conversion import Conversion, kept_schema, working_schema
from ..plan.conversion_steps import Part, parts, recorded_statements
from ..sql import SQL, Identifier, compose
from . import calls, conversion, conversion_running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context, PlanRow

STRUCTURE, COPYING, CHANGED, SWITCHED, CONVERTED = "structure", "copying", "changed", "switched", "converted"


def convert(root: int, batch_blocks: int, dry_run: bool, **options: Any) -> None:
    """Convert plain tables; see sql/procedures/convert.sql.j2."""
    if batch_blocks < 1:
        raise errors.InvalidParameter.of("batch_blocks", batch_blocks, "It is at least 1.")
    state = catalog.find(root)
    if state is not None and state.is_back:
        raise errors.NotInPrerequisiteState(
            f"{state.name} is being made plain tables",
            f"Its conversion back is in the state {state.state}.",
            "CALL dp.unconvert(...) goes on; CALL dp.cancel_conversion(...) gives it up before the exchange.",
        )
    if state is not None and state.state == CONVERTED:
        calls.nothing_to_do(f"{state.hierarchy_name} was converted already")
        return
    if dry_run:
        _print(root, options)
        return
    call = open_plain("convert", state.root if state is not None else root)
    state = catalog.find(root)  # under the lock
    if state is not None and state.state in (STRUCTURE, CHANGED):
        conversion_running.discard(state.root, call)
        state = None
    if state is None:
        _begin(root, options, call)
    found = catalog.find(root)
    assert found is not None
    conversion_running.run(found.root, call, batch_blocks)


def cancel_conversion(root: int, dry_run: bool) -> None:
    """Give a conversion up; see sql/procedures/cancel_conversion.sql.j2."""
    state = catalog.find(root)
    if state is None:
        calls.nothing_to_do(f"{catalog_server.relation_name(root)} is not being converted")
        return
    if state.state in (SWITCHED, CONVERTED):
        raise errors.NotInPrerequisiteState(
            f"{state.hierarchy_name} took the place of the tables already",
            "Rows may have been written to it.",
            "CALL dp.convert(...), or dp.unconvert(...), brings it to its end.",
        )
    call = open_plain("cancel_conversion", state.root, dry_run)
    conversion_running.discard(state.root, call)


def drop_converted(root: int, dry_run: bool) -> list[PlanRow]:
    """Drop the plain tables; see sql/functions/drop_converted.sql.j2."""
    state = catalog.find(root)
    if state is None:
        return calls.nothing_to_do(f"no plain tables of {catalog_server.relation_name(root)} are kept")
    if state.state != CONVERTED:
        raise errors.NotInPrerequisiteState(
            f"the conversion of {state.name} is not at its end",
            f"It is in the state {state.state}.",
            "CALL dp.convert(...) goes on; CALL dp.cancel_conversion(...) gives it up before the tables are exchanged.",
        )
    _check_owner(state.name, state.owner)
    tables = catalog.tables(state.root)
    call = calls.context("drop_converted", state.root, state.name, state.owner, execute.mode_of(dry_run, False))
    listed = SQL(", ".join(Identifier(row["plain_schema"], row["name"]).text for row in reversed(tables)))
    target = SQL(state.name)
    operations = [Operation(target, compose("DROP TABLE {}", listed), locks=10 * len(tables))]
    for schema in dict.fromkeys(row["plain_schema"] for row in tables):
        operations.append(Operation(target, compose("DROP SCHEMA {}", Identifier(schema))))
    return calls.run_in_function([Step(tuple(operations), is_atomic=True)], call)


def open_plain(name: str, root: int, dry_run: bool = False) -> Context:
    """Begin a procedure on plain tables: their lock is the session's until the call ends."""
    row = catalog.relation(root)
    _check_owner(row["name"], row["owner"])
    call = calls.context(name, root, row["name"], row["owner"], execute.mode_of(dry_run, True))
    if dry_run:
        return call
    execute.commit(call)
    calls.lock_hierarchy(call, for_session=True)
    execute.commit(call)
    return call


def _check_owner(name: str, owner: str) -> None:
    rows = database.query("SELECT pg_has_role($1::name, 'USAGE') AS member", ("text",), (owner,))
    if not rows[0]["member"]:
        raise errors.InsufficientPrivilege.not_owner(name, owner)


def _begin(root: int, options: dict[str, Any], call: Context) -> None:
    """Examine the tables, refuse what cannot be done, and store the steps."""
    found, told = conversion.examine(root, options)
    conversion_findings.refuse(told)
    check_schemas(found)
    catalog.begin(found, parts(found))
    execute.commit(call)


def check_schemas(found: Conversion) -> None:
    """The schemas that a conversion makes are not there."""
    schemas = dict.fromkeys(member.structure.schema for member in found.members)
    wanted = [name for schema in schemas for name in (working_schema(schema), kept_schema(schema))]
    taken = catalog.existing_schemas(wanted)
    if taken:
        raise errors.DuplicateObject(
            f"schema {Identifier(taken[0])} exists already",
            f"The new tables are built in {Identifier(wanted[0])}, and the plain ones kept in {Identifier(wanted[1])}.",
            "Rename or drop it; where it is kept from an earlier conversion, SELECT dp.drop_converted(...) first.",
        )


def _print(root: int, options: dict[str, Any]) -> None:
    """What a call would do."""
    found, told = conversion.examine(root, options)
    conversion_findings.refuse(told)
    check_schemas(found)
    structure = found.root.structure
    call = calls.context("convert", root, found.root.identifier.text, structure.owner, execute.DRY_RUN)
    call = call._replace(is_schema_change=True)
    for part in parts(found):
        execute.execute([_printed(part)], call)
    last = tuple(Operation(found.root.identifier, each) for each in recorded_statements(found))
    execute.execute([Step(last)], call)


def _printed(part: Part) -> Step:
    is_atomic = part.kind == "switch"
    return Step(tuple(Operation(part.target, statement) for statement in part.statements), is_atomic)
''','api.creation': r'''"""Creating slices in every table of a hierarchy, and checking beforehand that it can be done."""

from __future__ import annotations

from typing import NamedTuple

from .. import calendars, errors, execute
from ..calendars import Width
from ..catalog import detached as catalog_detached
from ..catalog import properties as catalog_properties
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec
from ..operation import Step, split
from ..plan import coverage
from ..plan import default_slice as plan_default
from ..plan import slices as plan
from . import calls, obstacles, policy, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..plan.properties import Properties

Lacking = dict[int, set[SliceSpec]]


class Creation(NamedTuple):
    """What creating slices comes to: the slices that tables lack, and what stands in the way of others."""

    needed: list[SliceSpec]  # those of now and of the future first
    lacking: Lacking
    repairs: bool  # whether leaves of existing slices are missing
    refused: list[errors.PartitionError]


def create(hierarchy: Hierarchy, new: list[SliceSpec], call: Context) -> bool:
    """Create new slices in all tables, and what existing slices lack in some; whether there was anything to do.

    Everything that can be refused is refused before the first step.
    """
    creation = judge(hierarchy, new)
    if creation.refused:
        raise creation.refused[0]
    return run(hierarchy, creation, call)


def judge(hierarchy: Hierarchy, new: list[SliceSpec]) -> Creation:
    """What is to be created, and what cannot be."""
    wanted = coverage.wanted(hierarchy, new)
    if hierarchy.policy.default_slice and hierarchy.default_slice(hierarchy.root) is None:
        wanted.insert(0, SliceSpec(None, None, hierarchy.policy.hash_partitions, coverage.DEFAULT_SUFFIX))
    lacking = lacking_slices(hierarchy, wanted)
    needed = [spec for spec in wanted if any(spec in lacking[table.oid] for table in hierarchy.tables)]
    repairs = any(each.missing_remainders for found in hierarchy.slices.values() for each in found)
    in_the_way = obstacles.of_slices(hierarchy, needed, lacking)
    refused = list(in_the_way.values())
    leaf_in_the_way = obstacles.of_leaves(hierarchy) if repairs else None
    if leaf_in_the_way is not None:
        refused.append(leaf_in_the_way)
    now = window.current_point(hierarchy)
    possible = [spec for spec in needed if spec not in in_the_way]
    possible.sort(key=lambda spec: now is not None and spec.upper is not None and spec.upper.point <= now)
    return Creation(possible, lacking, repairs and leaf_in_the_way is None, refused)


def run(hierarchy: Hierarchy, creation: Creation, call: Context) -> bool:
    """Create what can be; whether there was anything to do."""
    needed, lacking, repairs, _ = creation
    facts = catalog_slices.default_facts(hierarchy)
    calls.run_in_procedure(plan_default.leftover_steps(hierarchy, needed, facts), call)
    if not needed and not repairs:
        return False
    properties = all_properties(hierarchy)
    check_locks(hierarchy, needed, lacking, properties, call)
    if repairs:
        calls.run_in_procedure(plan.missing_leaf_steps(hierarchy, properties), call)
    for spec in needed:
        guarded = bool(facts) and not spec.is_default
        if guarded:
            calls.run_in_procedure(plan_default.exclusion_steps(hierarchy, spec, facts), call)
        for table in hierarchy.tables:
            if spec in lacking[table.oid]:
                operations = plan.slice_operations(hierarchy, table, properties[table.oid], spec)
                calls.run_in_procedure(split(operations, call.lock_budget), call)
        if guarded:
            calls.run_in_procedure(plan_default.exclusion_end_steps(hierarchy, spec), call)
    return True


def lacking_slices(hierarchy: Hierarchy, wanted: list[SliceSpec]) -> Lacking:
    """The wanted slices that each table lacks, but those that were detached from it and may be attached again."""
    detached = {(each.table, each.lower_point, each.upper_point) for each in catalog_detached.remembered(hierarchy)}
    existing = {each.span for each in hierarchy.slices[hierarchy.root.oid]}
    found: Lacking = {}
    for table in hierarchy.tables:
        found[table.oid] = {
            spec
            for spec in coverage.missing_in(hierarchy, table, wanted)
            if spec.span not in existing or (table.oid, *spec.span) not in detached
        }
    return found


def check_locks(
    hierarchy: Hierarchy, needed: list[SliceSpec], lacking: Lacking, properties: dict[int, Properties], call: Context
) -> None:
    """Refuse before the first step what the last one, when all new slices are there, could not lock."""
    if not needed:
        return
    largest = max(needed, key=lambda spec: spec.modulus)
    for table in hierarchy.tables:
        operations = plan.slice_operations(hierarchy, table, properties[table.oid], largest)
        most = max(operations, key=lambda operation: Step((operation,)).locks)
        trees = [
            (oid, count + sum(1 + spec.modulus for spec in lacking.get(oid, ()) if oid != table.oid))
            for oid, count in most.trees
        ]
        execute.check_budget(Step((most._replace(trees=tuple(trees)),)), call)


def all_properties(hierarchy: Hierarchy) -> dict[int, Properties]:
    """The properties of every table's new leaves."""
    return {table.oid: catalog_properties.read(table.oid, table.template_oid) for table in hierarchy.tables}


def check_width(hierarchy: Hierarchy, text: str | None) -> Width:
    """The width of new slices: as given, or the hierarchy's own."""
    width = calendars.parse_width(text, "slice") if text is not None else hierarchy.policy.width
    policy.check_width("slice", width, hierarchy.range_type, hierarchy.policy.bucket)
    return width


def check_modulus(hierarchy: Hierarchy, hash_partitions: int | None) -> int:
    """The modulus of new slices."""
    if hash_partitions is None:
        return hierarchy.policy.hash_partitions
    policy.check_hash_partitions(hash_partitions, hierarchy.policy.hash_key)
    return hash_partitions
''','api.declare': r'''"""create_hierarchy, forget."""

from __future__ import annotations

from .. import database, errors, execute
from ..catalog import detached as catalog_detached
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..model import ForeignKey
from ..operation import Operation, Step
from ..plan import declare as plan
from ..plan import remake
from ..plan.structure import Structure
from ..sql import Identifier
from . import calls, policy, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..execute import PlanRow


def create_hierarchy(root: int, dry_run: bool, allow_weaker_unique: bool, **options: Any) -> list[PlanRow]:
    """Declare a root; see sql/functions/create_hierarchy.sql.j2."""
    structure = catalog_structure.read(root)
    settings = policy.check_settings(structure, options)
    if _is_declared(structure, settings):
        return calls.nothing_to_do(
            f"{structure.identifier} is the root of a hierarchy with these keys already (its policies are changed by"
            " dp.configure)"
        )
    _check_root(structure)
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
    indexes = [index.identifier.text for table in hierarchy.tables for index in table.global_indexes]
    if indexes:
        raise errors.NotInPrerequisiteState(
            f"{hierarchy.root.identifier} has global indexes",
            f"They are {', '.join(indexes)}; nobody would take along what slices hold that are detached or dropped.",
            "SELECT dp.drop_global_index(...) of each first.",
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
''','api.default_slice': r'''"""drain_default: the rows of the default slices go where they belong."""

from __future__ import annotations

import datetime

from .. import calendars, database, keys
from ..calendars import Width
from ..catalog import slices as catalog_slices
from ..model import Edge, Hierarchy, SliceSpec
from ..plan import coverage
from ..plan import default_slice as plan_default
from . import calls, creation, obstacles, window
from .policy import parse_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context


def drain_default(
    root: int, lower_bound: str | None, upper_bound: str | None, slice: str | None, dry_run: bool
) -> None:
    """Move rows out of the default slice; see sql/procedures/drain_default.sql.j2."""
    hierarchy, call = calls.open_procedure("drain_default", root, dry_run)
    lower, upper = window.maintained(hierarchy)
    if lower_bound is not None:
        lower = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
    if upper_bound is not None:
        upper = parse_bound(upper_bound, hierarchy.range_type, "upper_bound")
    drain(hierarchy, lower, upper, creation.check_width(hierarchy, slice), call)


def drain(hierarchy: Hierarchy, lower: object, upper: object, width: Width, call: Context) -> list[SliceSpec]:
    """Drain one slice after the other; the slices that were filled."""
    if all(hierarchy.default_slice(table) is None for table in hierarchy.tables):
        return []
    lower, upper = window.rounded(lower, upper, width)
    facts = catalog_slices.default_facts(hierarchy)
    calls.run_in_procedure(plan_default.leftover_steps(hierarchy, [], facts), call)
    buckets = catalog_slices.default_buckets(hierarchy, width.number)
    spans = coverage.uncovered(
        filled_spans(hierarchy, buckets, lower, upper, width), hierarchy.range_slices(hierarchy.root)
    )
    specs = catalog_slices.specs(hierarchy, spans, hierarchy.policy.hash_partitions)
    lacking = {table.oid: set(specs) for table in hierarchy.tables}
    for spec, tables in interrupted(hierarchy).items():
        specs.append(spec)
        for oid in tables:
            lacking[oid].add(spec)
    report_remaining(hierarchy, buckets, lower, upper)
    if not specs:
        return []
    properties = creation.all_properties(hierarchy)
    obstacles.refuse(obstacles.taken_names(hierarchy, specs, lacking))
    for spec in specs:
        receiving = [table for table in hierarchy.tables if spec in lacking[table.oid]]
        calls.run_in_procedure([plan_default.drain_step(hierarchy, spec, receiving, properties, facts)], call)
    return specs


def interrupted(hierarchy: Hierarchy) -> dict[SliceSpec, list[int]]:
    """Slices that some tables lack while their default slices hold rows of them, and those tables."""
    existing = [spec for spec in coverage.wanted(hierarchy, []) if not spec.is_default]
    lacking = creation.lacking_slices(hierarchy, existing)
    found: dict[SliceSpec, list[int]] = {}
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        for spec in existing:
            if default is not None and spec in lacking[table.oid] and catalog_slices.holds_rows(default, table, spec):
                found.setdefault(spec, []).append(table.oid)
    return found


def filled_spans(
    hierarchy: Hierarchy, buckets: list[str], lower: object, upper: object, width: Width
) -> list[coverage.Span]:
    """The aligned spans of which the default slices hold rows, inside [lower, upper)."""
    if keys.is_integer(hierarchy.range_type):
        starts = {int(text.split(".")[0]) for text in buckets}
        numbers = sorted(start for start in starts if lower <= start < upper)  # type: ignore[operator]
        limit = keys.INTEGER_LIMITS[hierarchy.range_type]
        return [(Edge(max(start, -limit)), Edge(min(start + width.number, limit - 1))) for start in numbers]
    days = [calendar_day(text) for text in buckets]
    moments = sorted({calendars.align(day, width) for day in days if day is not None and lower <= day < upper})  # type: ignore[operator]
    edges = catalog_slices.calendar_edges(
        hierarchy, [edge for start in moments for edge in (start, calendars.advance(start, width))]
    )
    return list(zip(edges[::2], edges[1::2]))


def calendar_day(text: str) -> datetime.datetime | None:
    """A day of the years 1 to 9999; None for what lies outside, which stays in the default slice."""
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return None


def report_remaining(hierarchy: Hierarchy, buckets: list[str], lower: object, upper: object) -> None:
    """Say what stays in the default slices: wild values would otherwise make slices by the thousand."""
    if keys.is_integer(hierarchy.range_type):
        values: list[object] = [int(text.split(".")[0]) for text in buckets]
    else:
        values = [calendar_day(text) for text in buckets]
    outside = [
        text
        for text, value in zip(buckets, values)
        if value is None or not lower <= value < upper  # type: ignore[operator]
    ]
    if outside:
        told = ", ".join(outside[:3]) + (", ..." if len(outside) > 3 else "")
        database.notice(
            f"the default slices of {hierarchy.root.identifier} keep rows that lie outside the range {lower} to"
            f" {upper}: {told}"
        )
''','api.drift': r'''"""drift, sync: what differs from parent and template, and bringing it back."""

from __future__ import annotations

from typing import NamedTuple

from ..catalog import adoption as catalog_adoption
from ..catalog import drift as catalog_drift
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import properties as catalog_properties
from ..catalog import structure as catalog_structure
from ..model import Hierarchy
from ..operation import Operation, Step, merged
from ..plan import declare as plan_declare
from ..plan import drift as plan
from . import calls, requirements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..model import Table


class DriftRow(NamedTuple):
    """One row of dp.drift."""

    tbl: str
    relation: str
    aspect: str
    part: str
    expected: str | None
    actual: str | None
    statement: str | None


def drift(root: int | None) -> list[DriftRow]:
    """What differs, of one hierarchy or all; see sql/functions/drift.sql.j2."""
    if root is not None:
        return _rows(catalog_hierarchy.load(root))
    hierarchies, _ = catalog_hierarchy.load_readable([each.oid for each in catalog_hierarchy.roots()])
    return [row for hierarchy in hierarchies for row in _rows(hierarchy)]


def _rows(hierarchy: Hierarchy) -> list[DriftRow]:
    return [
        DriftRow(
            facts.table.identifier.text,
            each.relation.text,
            each.aspect,
            each.part,
            each.expected,
            each.actual,
            each.statement,
        )
        for facts in catalog_drift.read(hierarchy)
        for each in plan.differences(facts)
    ]


def sync(root: int, rewrite: bool, dry_run: bool) -> None:
    """Bring everything back that has a statement; see sql/procedures/sync.sql.j2."""
    hierarchy, call = calls.open_procedure("sync", root, dry_run)
    for table in hierarchy.tables:
        facts = catalog_drift.read_table(_with_template(table, call))
        steps = plan.steps(facts, rewrite=rewrite)
        calls.run_in_procedure(merged(steps, call.lock_budget), call)


def _with_template(table: Table, call: Context) -> Table:
    """A table whose template is there. A lost one is made anew as the newest leaf is, which stands for it from then on.

    The leaf stands for it because a dry run makes none.
    """
    if table.template_oid is not None:
        return table
    structure = catalog_structure.read(table.oid)
    requirements.check_template(structure)
    leaf = catalog_adoption.newest_leaf(table.oid)
    statements = plan_declare.template_statements(structure, catalog_properties.read(table.oid, leaf))
    statements.append(plan_declare.new_template_statement(structure))
    calls.run_in_procedure([Step(tuple(Operation(structure.identifier, each) for each in statements))], call)
    return table._replace(template_oid=leaf)
''','api.global_index': r'''"""create_global_index, create_global_index_online, drop_global_index, create_lookup."""

from __future__ import annotations

from .. import errors, fragments
from ..catalog import global_index as catalog
from ..catalog import server as catalog_server
from ..model import GlobalIndex, Hierarchy, Table
from ..operation import ACCESS_EXCLUSIVE, ROW_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, Operation, Step
from ..plan import global_index as plan
from ..plan import keeping, trees
from ..plan import lookup as plan_lookup
from ..plan.detached import INDEX_LOCKS
from ..plan.lookup import Lookup
from ..plan.structure import Column
from ..sql import SQL, Identifier, compose, names
from . import calls, probing
from .alteration import LOCKS_OF_CALL, Alteration
from .concurrently import run_counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import PlanRow

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
    operations += _lookups(change.target.hierarchy, change.target.table, wanted.side)
    change.context = change.context._replace(search_path=None)  # the predicate is deparsed by now
    return calls.run_in_function([Step(tuple(operations), is_atomic=True)], change.context)


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
        return
    side = wanted.side
    steps = [] if present is not None else [Step(tuple(_created(change, wanted, is_filled=False)), is_atomic=True)]
    for leaf, blocks in catalog.leaf_blocks(tbl):
        statements = plan.batches(side, leaf, blocks, batch_blocks)
        statements.append(plan.refuse_missing(side, leaf))
        steps += [Step((Operation(leaf, each, ROW_EXCLUSIVE, locks=INDEX_LOCKS),)) for each in statements]
    last = Operation(side.identifier, plan.declare_valid(side))
    steps.append(Step((last, *_lookups(change.target.hierarchy, change.target.table, side))))
    change.context = change.context._replace(search_path=None)
    run_counted(change, steps, side.name)


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
    operations = [
        Operation(each.identifier, plan_lookup.drop(each))
        for each in existing_lookups(target.hierarchy, target.table, side)
    ]
    tree = ((target.table.oid, trees.size(target.hierarchy, target.table.oid) * 3),)
    statements = plan.drop_index(side, target.table, [name for name, _ in catalog.partitions(table)])
    operations += [
        Operation(target.identifier, each, ACCESS_EXCLUSIVE, target.relations, 3, tree) for each in statements
    ]
    return calls.run_in_function([Step(tuple(operations))], change.context)


def create_lookup(tbl: int, columns: list[str], dry_run: bool) -> list[PlanRow]:
    """Create a lookup function of a table; see sql/functions/create_lookup.sql.j2."""
    change = Alteration("create_lookup", tbl, dry_run)
    hierarchy = change.target.hierarchy
    served = [
        each
        for table in hierarchy.tables
        for side in table.global_indexes
        for each in _all_lookups(hierarchy, table, side)
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
    if set(policy.partition_keys) <= set(columns):
        raise errors.InvalidParameter.of(
            "columns",
            str(list(columns)),
            "They contain the partition keys: an ordinary unique index does it.",
            "Use dp.create_index(..., is_unique => true).",
        )
    text, predicate_columns = _deparsed(change, predicate)
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
            "CREATE INDEX {} ON {} {} WHERE {}", Identifier(probing.COLUMN), copy, SQL(constant), SQL(predicate)
        )

    return probing.tried(change, build, lambda copy: catalog.predicate(copy, probing.COLUMN))


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


def _lookups(hierarchy: Hierarchy, table: Table, side: GlobalIndex) -> list[Operation]:
    return [operation for each in _all_lookups(hierarchy, table, side) for operation in _lookup_operations(each)]


def _lookup_operations(lookup: Lookup) -> list[Operation]:
    return [Operation(lookup.identifier, each, locks=3) for each in plan_lookup.create(lookup)]


def existing_lookups(hierarchy: Hierarchy, table: Table, side: GlobalIndex) -> list[Lookup]:
    """Those that are there."""
    return [
        each
        for each in _all_lookups(hierarchy, table, side)
        if catalog.existing_functions(each.table.schema, each.comment)
    ]


def _all_lookups(hierarchy: Hierarchy, table: Table, side: GlobalIndex) -> list[Lookup]:
    """The lookups that a table's global index serves: of the table itself, and of those that refer to it."""
    keys = hierarchy.policy.partition_keys
    types = catalog.types(table.oid, side.columns)
    found = [Lookup(table, side.columns, types, side, keys)]
    for key in hierarchy.foreign_keys:
        if key.parent != table.oid or not side.is_unique or side.predicate is not None:
            continue
        by_parent = dict(zip(key.parent_columns, key.columns))
        if {*side.columns, *keys} == set(by_parent):
            columns = tuple(by_parent[name] for name in side.columns)
            lookup = Lookup(hierarchy.table(key.child), columns, types, side, keys)
            if lookup not in found:
                found.append(lookup)
    return found
''','api.looking': r'''"""What views ask Python for."""

from __future__ import annotations

from .. import execute


def last_plan() -> list[execute.PlanRow]:
    """The operations of the session's last call."""
    return execute.last_plan()
''','api.maintenance': r'''"""run_maintenance: what keeps hierarchies in shape."""

from __future__ import annotations

from .. import database, errors, execute
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import log as catalog_log
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Hierarchy
from . import calls, upkeep, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context

CALL = "run_maintenance"

Failure = tuple[str, str]


def run_maintenance(root: int | None, dry_run: bool) -> None:
    """Maintain one hierarchy or all; see sql/procedures/run_maintenance.sql.j2."""
    if catalog_server.server().is_standby:
        database.notice("the server is a standby: nothing to do")
        return
    if not dry_run:
        execute.commit(None)
    failures: list[Failure] = []
    if root is not None:
        hierarchies = [catalog_hierarchy.load(root)]
        calls.check_owner(hierarchies[0])
    else:
        hierarchies = load_own(dry_run, failures)
    due = upkeep.analyze_due(hierarchies) | set(catalog_log.last_failures([each.root.oid for each in hierarchies]))
    for hierarchy in hierarchies:
        maintain_one(hierarchy, due, root is None, dry_run, failures)
    if failures:
        raise errors.MaintenanceFailed(
            f"maintenance failed for {', '.join(name for name, _ in failures)}",
            " ".join(f"{name}: {text}." for name, text in failures),
            ("The others were maintained. " if root is None else "") + "See dp.log; mend what it names and call again.",
        )


def load_own(dry_run: bool, failures: list[Failure]) -> list[Hierarchy]:
    """Every hierarchy that the caller may maintain; one that cannot even be read does not hide the others."""
    own = catalog_hierarchy.own_roots()
    if not own:
        database.notice(f"{catalog_server.server().user} is the owner of no hierarchy: nothing to do")
    found, unreadable = catalog_hierarchy.load_readable([each.oid for each in own])
    for each in own:
        if each.oid in unreadable:
            call = _log_context(each.oid, each.name, each.owner, dry_run)
            note_failure(unreadable[each.oid], call, failures)
    return found


def maintain_one(
    hierarchy: Hierarchy, due: set[int], is_one_of_many: bool, dry_run: bool, failures: list[Failure]
) -> None:
    """Maintain a hierarchy that has work; where it is one of many, a failure is noted and the next one begins."""
    root = hierarchy.root
    try:
        if not has_work(hierarchy, due):
            return
        upkeep.maintain(CALL, root.oid, dry_run)
    except upkeep.Failed as error:
        failures.append((root.identifier.text, str(error)))
    except errors.ObjectInUse as error:
        if not is_one_of_many:
            raise
        database.notice(f"{error.message}: left to it")
    except (errors.PartitionError, database.ServerError) as error:
        if database.is_cancel(error):
            raise
        note_failure(error, _log_context(root.oid, root.identifier.text, root.owner, dry_run), failures)
    calls.release_locks()
    if not dry_run:
        execute.commit(None)  # the next hierarchy may have another owner


def _log_context(root: int, name: str, owner: str, dry_run: bool) -> Context:
    return calls.context(CALL, root, name, owner, execute.mode_of(dry_run, True), is_for_log=True)


def note_failure(error: Exception, call: Context, failures: list[Failure]) -> None:
    """Remember and record what failed."""
    failures.append((call.root_name, calls.describe(error)))
    calls.record_failure(error, call)


def has_work(hierarchy: Hierarchy, due: set[int]) -> bool:
    """Whether a look at what was read shows anything to do, so that idle hierarchies cost next to nothing."""
    return (
        any(table.oid in due for table in hierarchy.tables)
        or any(each.missing_remainders or each.detach_pending for found in hierarchy.slices.values() for each in found)
        or lacks_siblings(hierarchy)
        or default_has_work(hierarchy)
        or bool(window.expired(hierarchy) or window.gaps(hierarchy))
    )


def lacks_siblings(hierarchy: Hierarchy) -> bool:
    """Whether a table has other slices than the root."""
    wanted = {each.span for each in hierarchy.slices[hierarchy.root.oid]}
    return any({each.span for each in hierarchy.slices[table.oid]} != wanted for table in hierarchy.tables[1:])


def default_has_work(hierarchy: Hierarchy) -> bool:
    """Whether default slices are to be made, hold rows, or were left behind by an interrupted call."""
    defaults = [(table, hierarchy.default_slice(table)) for table in hierarchy.tables]
    if hierarchy.policy.default_slice and any(default is None for _, default in defaults):
        return True
    if any(default is not None and catalog_slices.holds_rows(default, table) for table, default in defaults):
        return True
    return any(facts.exclusions for facts in catalog_slices.default_facts(hierarchy).values())
''','api.obstacles': r'''"""What stands in the way of slices and leaves that are to be created."""

from __future__ import annotations

from .. import errors, naming
from ..catalog import detached as catalog_detached
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Hierarchy, SliceSpec
from ..plan import coverage
from ..plan import detached as plan_detached
from ..sql import Identifier, Literal

Obstacles = dict[SliceSpec, errors.PartitionError]


def of_slices(hierarchy: Hierarchy, needed: list[SliceSpec], lacking: dict[int, set[SliceSpec]]) -> Obstacles:
    """For every slice that cannot be created, why."""
    found = _overlaps(hierarchy, needed, lacking)
    found.update(taken_names(hierarchy, [spec for spec in needed if spec not in found], lacking))
    found.update(rows_in_default(hierarchy, [spec for spec in needed if spec not in found and not spec.is_default]))
    return found


def of_leaves(hierarchy: Hierarchy) -> errors.PartitionError | None:
    """Why the leaves that existing slices lack cannot be created."""
    for table in hierarchy.tables:
        names = [
            naming.leaf_name(each.name, each.modulus, missing)
            for each in hierarchy.slices[table.oid]
            for missing in each.missing_remainders
        ]
        taken = catalog_server.existing_relations(table.schema, names)
        if taken:
            return errors.DuplicateTable(
                f"relation {Identifier(table.schema, min(taken))} already exists",
                "A leaf that is missing needs this name. It may be one that was detached, or a table of somebody else.",
                "Attach it with ALTER TABLE ... ATTACH PARTITION, or rename or drop it.",
            )
    return None


def _overlaps(hierarchy: Hierarchy, needed: list[SliceSpec], lacking: dict[int, set[SliceSpec]]) -> Obstacles:
    found: Obstacles = {}
    for table in hierarchy.tables:
        for spec in needed:
            if spec in lacking[table.oid] and not coverage.has_room(hierarchy, table, spec):
                found[spec] = errors.NotInPrerequisiteState(
                    f"{table.identifier} has slices with other bounds than {hierarchy.root.identifier} has",
                    f"The slice {spec.suffix} overlaps one of its slices.",
                    "See SELECT * FROM dp.check(...); the tables of a hierarchy must be cut alike.",
                )
    return found


def taken_names(hierarchy: Hierarchy, needed: list[SliceSpec], lacking: dict[int, set[SliceSpec]]) -> Obstacles:
    """Relations that are no partitions of ours and have names that new slices or leaves need."""
    found: Obstacles = {}
    for table in hierarchy.tables:
        by_name = {}
        for spec in needed:
            if spec in lacking[table.oid]:
                name = naming.slice_name(table.name, spec.suffix)
                by_name.update(dict.fromkeys((name, *naming.leaf_names(name, spec.modulus)), spec))
        for taken in sorted(catalog_server.existing_relations(table.schema, list(by_name))):
            spec = by_name[taken]
            by_hand = catalog_detached.by_hand(hierarchy, [(table, spec)])
            hint = "Rename or drop it."
            if by_hand:
                hint = f"{plan_detached.attach_call(hierarchy.root.identifier, by_hand[0])} attaches it; or rename it."
            found.setdefault(
                spec,
                errors.DuplicateTable(
                    f"relation {Identifier(table.schema, taken)} already exists",
                    "A new slice needs this name. It may be a slice that was detached, or a table of somebody else.",
                    hint,
                ),
            )
    return found


def rows_in_default(hierarchy: Hierarchy, specs: list[SliceSpec]) -> Obstacles:
    """A slice cannot be created while a default slice holds its rows."""
    found: Obstacles = {}
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if not specs or default is None or not catalog_slices.holds_rows(default, table, coverage.hull(specs)):
            continue
        for spec in specs:
            if spec not in found and catalog_slices.holds_rows(default, table, spec):
                found[spec] = errors.NotInPrerequisiteState(
                    f"the default slice {default.identifier} holds rows of the new slice {spec.suffix}",
                    "PostgreSQL refuses a partition whose rows are in the default partition.",
                    f"Move them with CALL dp.drain_default({Literal(hierarchy.root.identifier.text)}), with bounds if"
                    " they lie outside the maintained range.",
                )
    return found


def refuse(found: Obstacles) -> None:
    """Raise the first of them."""
    for error in found.values():
        raise error
''','api.online': r'''"""add_constraint_online, set_not_null_online: rules for new rows first, then for those that are there."""

from __future__ import annotations

from .. import database, errors, execute, fragments, naming
from ..catalog import alter as catalog_alter
from ..catalog import online as catalog_online
from ..catalog import server as catalog_server
from ..plan import validate as plan
from ..plan.structure import add_constraint
from ..sql import SQL, compose
from .alteration import Alteration
from .concurrently import Rolled, run_counted

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
    given, referenced = (SQL(definition), 0) if top is not None else _probed(change, definition)
    if kind == plan.CHECK or catalog_server.server().version >= FOREIGN_KEYS_NOT_VALID:
        steps = plan.check(change.target, parts, constraint_name, given)
    else:
        _refuse_other_rules(parts, constraint_name, given)
        steps = plan.foreign_key(change.target, parts, constraint_name, given, referenced)
    if not steps:
        change.nothing(f'{change.target.identifier} has constraint "{constraint_name}" already')
        return
    run_counted(change, steps, constraint_name)
    if not dry_run:
        _check_agreement(change, "constraint", constraint_name)


def _probed(change: Alteration, definition: str) -> tuple[SQL, int]:
    """The definition as PostgreSQL deparses it, tried on the template, and the table that a foreign key refers to."""
    template = change.target.table.template
    if template is None or catalog_server.server().is_standby:
        return SQL(definition), 0
    name = "dp_probe"
    oid = change.target.table.template_oid or 0
    statement = add_constraint(template, name, compose("{} NOT VALID", SQL(definition)))
    referenced = 0
    try:
        with database.subtransaction():
            execute.probe(statement.text, change.context)
            referenced = catalog_online.referenced_table(oid, name)
            raise Rolled(catalog_online.constraint_definition(oid, name))
    except Rolled as found:
        text = str(found)
    if referenced in {table.oid for table in change.target.hierarchy.tables}:
        raise errors.InvalidTableDefinition(
            "a foreign key refers to a table of the same hierarchy",
            "Such a key carries the partition keys and is ON UPDATE CASCADE. Nothing was changed.",
            "Use dp.register_child(child, parent, parent_key, on_delete).",
        )
    change.context = change.context._replace(search_path=None)
    return SQL(text), referenced


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
''','api.physical_order': r'''"""clustering, cluster, set_cluster_order: the order in which the rows of leaves lie on disk."""

from __future__ import annotations

import time
from typing import NamedTuple

from .. import database, errors, execute, remote
from ..catalog import cache as catalog_cache
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import physical_order as catalog
from ..model import Hierarchy, Slice, Table
from ..plan import physical_order as plan
from ..plan.cache import HEAP
from ..plan.physical_order import Leaf, OrderIndex
from ..sql import Identifier
from . import calls, window
from .alteration import Alteration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context, PlanRow

SCOPES = ("closed", "all")
SAMPLE_PAGES = 100


class ClusteringRow(NamedTuple):
    """One row of dp.clustering."""

    tbl: str
    leaf: str
    index_name: str
    pages: int
    disorder: float | None
    modified_since_analyze: int
    last_ordered: str | None


class Due(NamedTuple):
    """A leaf that is to be ordered."""

    disorder: float
    leaf: Leaf
    prewarm: Identifier | None = None  # what reads it into the cache again, where it was there


def clustering(root: int, sample_pages: int) -> list[ClusteringRow]:
    """How disordered each leaf is; see sql/functions/clustering.sql.j2."""
    _check_sample(sample_pages)
    hierarchy = catalog_hierarchy.load(root)
    calls.hierarchy_context("clustering", hierarchy, execute.DRY_RUN)  # reading may run code of the owner, too
    found: list[ClusteringRow] = []
    for table in hierarchy.tables:
        index = _order(hierarchy, table)
        if index is None:
            continue
        groups = plan.group_columns(hierarchy, table, index)
        leaves = catalog.leaves(index.oid, None)
        use = catalog.use(root, leaves)
        for leaf in leaves:
            disorder = catalog.disorder(leaf, index, groups, sample_pages)
            used = use[leaf.oid]
            found.append(
                ClusteringRow(
                    table.identifier.text,
                    leaf.identifier.text,
                    index.name,
                    leaf.pages,
                    disorder,
                    used["modified"],
                    used["ordered"],
                )
            )
    return sorted(found, key=lambda row: -(row.disorder or 0))


def cluster(
    root: int,
    threshold: float,
    time_budget: str,
    scope: str,
    vacuum: bool,
    sample_pages: int,
    connection: str | None,
    dry_run: bool,
) -> None:
    """Order the leaves that need it, worst first; see sql/procedures/cluster.sql.j2."""
    _check_sample(sample_pages)
    if not threshold >= 1:
        raise errors.InvalidParameter.of("threshold", threshold, "It is 1, the perfect order, or more.")
    if scope not in SCOPES:
        raise errors.InvalidParameter.of("scope", scope, f"It is one of {', '.join(SCOPES)}.")
    budget = catalog.seconds(time_budget)
    if budget <= 0:
        raise errors.InvalidParameter.of("time_budget", time_budget, "It must be longer than nothing.")
    ends = time.monotonic() + budget
    hierarchy, call = calls.open_procedure("cluster", root, dry_run)
    warm = _warm_leaves(hierarchy)  # before measuring, which reads some pages of each
    due = [each._replace(prewarm=warm.get(each.leaf.oid)) for each in _due(hierarchy, threshold, scope, sample_pages)]
    if not due:
        database.notice(f"no leaf of {call.root_name} is disordered {threshold} times or more: nothing to do")
        return
    if vacuum and not dry_run:
        remote.open_session(call, connection)
        execute.commit(call)
    _order_all(due, call, vacuum, ends)


def set_cluster_order(tbl: int, index_name: str, dry_run: bool) -> list[PlanRow]:
    """Order the leaves of a table by another index from now on; see sql/functions/set_cluster_order.sql.j2."""
    change = Alteration("set_cluster_order", tbl, dry_run)
    indexes = catalog.indexes(tbl)
    index = next((each for each in indexes if each.name == index_name), None)
    if index is None:
        names = ", ".join(each.name for each in indexes) or "none"
        raise errors.UndefinedObject(
            f'{change.target.identifier} has no index "{index_name}" that rows can be ordered by',
            f"These can: {names}. Such an index is a valid btree of plain columns, without a predicate.",
            "Create it with SELECT dp.create_index(...) or CALL dp.create_index_concurrently(...).",
        )
    leaves = catalog.leaves(index.oid, None)
    if not leaves:
        raise errors.NotInPrerequisiteState(
            f"{change.target.identifier} has no leaf that could be marked",
            "The leaves say themselves which index they are ordered by.",
            "Create slices first: CALL dp.create_slices(...).",
        )
    if index.marked == len(leaves):
        return change.nothing(f"the leaves of {change.target.identifier} are marked with this index already")
    return change.run(plan.mark_steps(leaves))


def _check_sample(sample_pages: int) -> None:
    if sample_pages < 1:
        raise errors.InvalidParameter.of("sample_pages", sample_pages, "It is 1 or more.")


def _order(hierarchy: Hierarchy, table: Table) -> OrderIndex | None:
    """The index of a table's order; a table without one is told of, and left as it is."""
    index = plan.choose(hierarchy, table, catalog.indexes(table.oid))
    if index is None:
        wanted = plan.wanted_columns(hierarchy, table)
        database.notice(
            f"{table.identifier} has no index to order it by ({', '.join(wanted)}): left out; create one with"
            " dp.create_index or dp.create_index_concurrently, or choose another with dp.set_cluster_order"
        )
    return index


def _due(hierarchy: Hierarchy, threshold: float, scope: str, sample_pages: int) -> list[Due]:
    """The leaves at the threshold or above it, worst first."""
    found: list[Due] = []
    for table in hierarchy.tables:
        index = _order(hierarchy, table)
        if index is None:
            continue
        groups = plan.group_columns(hierarchy, table, index)
        slices = None if scope == "all" else _closed(hierarchy, table)
        for leaf in catalog.leaves(index.oid, slices):
            disorder = catalog.disorder(leaf, index, groups, sample_pages)
            if disorder is not None and disorder >= threshold:
                found.append(Due(disorder, leaf))
    return sorted(found, key=lambda each: (-each.disorder, each.leaf.identifier.text))


def _closed(hierarchy: Hierarchy, table: Table) -> list[Slice]:
    """The slices whose time is over; of numbers without a calendar none is."""
    now = window.current_point(hierarchy)
    if now is None:
        return []
    return [each for each in hierarchy.range_slices(table) if each.upper is not None and each.upper.point <= now]


def _warm_leaves(hierarchy: Hierarchy) -> dict[int, Identifier]:
    """The leaves that are in the cache for the most part, with the function that reads them into it again."""
    prewarm, buffercache = catalog_cache.facility("pg_prewarm"), catalog_cache.facility("pg_buffercache")
    if prewarm is None or buffercache is None or not (prewarm.usable and buffercache.usable):
        return {}
    heaps = [each for each in catalog_cache.candidates(hierarchy, []) if each.kind == HEAP]
    resident = catalog_cache.resident(heaps, buffercache)
    function = Identifier(prewarm.schema, "pg_prewarm")
    return {each.oid: function for each in heaps if resident.get(each.oid, 0) * 2 >= each.size}


def _order_all(due: list[Due], call: Context, vacuum: bool, ends: float) -> None:
    """One leaf after the other, as long as the next is likely to be done in time; a busy one does not stop the rest."""
    failures: list[str] = []
    done_bytes, done_seconds = 0, 0.0
    for position, each in enumerate(due):
        since = time.monotonic()
        speed = done_bytes / done_seconds if done_bytes and done_seconds else plan.FIRST_BYTES_A_SECOND
        if call.mode != execute.DRY_RUN and since + each.leaf.size / speed > ends:
            database.notice(f"the time is over: {len(due) - position} leaves are left to the next call")
            break
        try:
            calls.run_in_procedure(plan.order_steps(each.leaf, vacuum, each.prewarm), call)
        except errors.LockNotAvailable as error:
            failures.append(calls.describe(error))
            calls.record_failure(error, call)
            execute.begin(call)
            continue
        done_bytes += each.leaf.size
        done_seconds += time.monotonic() - since
    if failures:
        raise errors.LockNotAvailable(
            f"{len(failures)} of {len(due)} leaves of {call.root_name} could not be locked",
            " ".join(f"{text}." for text in failures),
            "The others are in order. Call again when nobody uses these.",
        )
''','api.policy': r'''"""Checking the parameters that say how a hierarchy is cut and kept."""

from __future__ import annotations

from .. import calendars, database, errors, keys, naming
from ..calendars import Width
from ..model import DETACH, DROP, EXACT, MOVE, SLICE
from ..plan.declare import Settings
from ..plan.structure import Column, Structure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RETENTION_ACTIONS = (DETACH, DROP, MOVE)
A_MONTH = "1 month"
MAX_PREMAKE = 1000
MAX_HASH_PARTITIONS = 1024
LONGEST_DURATIONS = {"lock_timeout": "24 days", "analyze_interval": "1000 years", "log_retention": "1000 years"}
REQUIRED = ("key_form", "premake", "retention_action", "time_zone", "default_slice", "lock_timeout")
# Domains are looked through, and arrays and ranges, which can be hashed where what they are made of can.
_HASHABLE = """
    WITH RECURSIVE part (oid) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = $1 AND attname = $2
        UNION ALL
        SELECT inner_type.oid FROM part JOIN pg_type t USING (oid) CROSS JOIN LATERAL (
            SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype
                        WHEN t.typtype = 'r' THEN (SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid)
                        WHEN t.typcategory = 'A' THEN nullif(t.typelem, 0) END AS oid
        ) AS inner_type WHERE inner_type.oid IS NOT NULL
    )
    SELECT 1 FROM (SELECT oid FROM part OFFSET (SELECT count(*) - 1 FROM part)) AS innermost
    JOIN pg_type t USING (oid)
    JOIN pg_opclass o ON o.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'hash') AND o.opcdefault
    WHERE o.opcintype = t.oid OR t.typtype = 'e' AND o.opcintype = 'anyenum'::regtype
        OR EXISTS (SELECT FROM pg_cast c WHERE c.castsource = t.oid AND c.casttarget = o.opcintype
                                           AND c.castmethod = 'b' AND c.castcontext = 'i')
"""
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")


def check_settings(structure: Structure, options: dict[str, Any]) -> Settings:
    """Check the parameters of create_hierarchy and complete them."""
    for name in REQUIRED:
        if options[name] is None:
            raise errors.InvalidParameter.of(name, None, "It must have a value; leave it out to have its default.")
    range_column = _column(structure, options["range_key"], "range_key")
    _check_stored(structure, range_column, "range_key")
    range_type = without_modifier(range_column.type)
    keys.check_range_type(range_column.name, range_type)
    hash_key = options["hash_key"]
    if hash_key is not None:
        _check_hash_key(structure, hash_key, range_column)
    hash_partitions = options["hash_partitions"]
    if hash_partitions is None:
        hash_partitions = 16 if hash_key is not None else 0
    width = _width(options["slice"], range_type)
    slice_key, bucket = _slice_form(structure, options, range_column, range_type, width)
    check_duration("lock_timeout", options["lock_timeout"])
    _check_time_zone(options["time_zone"])
    check_policy(dict(options, hash_partitions=hash_partitions, slice=width, bucket=bucket), range_type, hash_key)
    return Settings(
        range_column,
        range_type,
        structure.column(hash_key) if hash_key is not None else None,
        options["key_form"],
        slice_key,
        calendars.parse_width(bucket, "bucket") if bucket is not None else None,
        calendars.parse_width(width, "slice"),
        hash_partitions,
        options["premake"],
        options["start"],
        str(calendars.parse_width(options["retention"], "retention")) if options["retention"] is not None else None,
        options["retention_action"],
        options["retention_schema"],
        options["time_zone"],
        options["default_slice"],
        options["lock_timeout"],
    )


def _width(text: str | None, range_type: str) -> str:
    """The width of slices: as given, or a month."""
    if text is not None:
        return text
    if keys.is_calendar(range_type):
        return A_MONTH
    raise errors.InvalidParameter(
        "parameter slice is needed for an integer range key",
        "Only calendar types have a width that fits most, a month.",
        "Write for example slice => '1000000'.",
    )


def _slice_form(
    structure: Structure, options: dict[str, Any], range_column: Column, range_type: str, width: str
) -> tuple[str | None, str | None]:
    """The slice key and the bucket, None for both in the exact form."""
    if options["key_form"] != SLICE:
        if options["bucket"] or options["slice_key"]:
            raise errors.InvalidParameter.of(
                "key_form", options["key_form"], "Parameters bucket and slice_key belong to the key form slice."
            )
        return None, None
    slice_key = options["slice_key"] or slice_key_name(range_column.name)
    _check_slice_key(structure, slice_key, range_column, options["hash_key"], keys.slice_key_type(range_type))
    return slice_key, options["bucket"] or (A_MONTH if keys.is_calendar(range_type) else width)


def without_modifier(type_name: str) -> str:
    """``timestamp with time zone`` of ``timestamp(3) with time zone``."""
    before, bracket, rest = type_name.partition("(")
    return before + rest.partition(")")[2] if bracket else type_name


def slice_key_name(range_key: str) -> str:
    """The slice key's name where none is given: ``ContentUpdatedAtSlice``, ``updated_at_slice``."""
    suffix = "_slice" if range_key == range_key.lower() else "Slice"
    return naming.cut(range_key, naming.MAX_BYTES - len(suffix)) + suffix


def _check_slice_key(
    structure: Structure, slice_key: str, range_column: Column, hash_key: str | None, type_name: str
) -> None:
    """The slice key is a column of its own; one of that name that exists must be of its type."""
    if slice_key in SYSTEM_COLUMNS:
        raise errors.InvalidParameter.of("slice_key", slice_key, "PostgreSQL keeps this name for a system column.")
    if slice_key in (range_column.name, hash_key):
        raise errors.InvalidParameter.of(
            "slice_key", slice_key, "The slice key is a column of its own, beside range key and hash key."
        )
    present = structure.column(slice_key)
    if present is not None and present.type != type_name:
        raise errors.DatatypeMismatch(
            f'column "{slice_key}" of {structure.identifier} exists and is {present.type}, not {type_name}',
            "The slice key would have its name.",
            "Give the slice key another name with slice_key => '...'.",
        )


def _check_hash_key(structure: Structure, hash_key: str, range_column: Column) -> None:
    column = _column(structure, hash_key, "hash_key")
    if column.name == range_column.name:
        raise errors.InvalidParameter.of("hash_key", hash_key, "Range key and hash key are two columns.")
    _check_stored(structure, column, "hash_key")
    _check_hashable(structure, column)


def _check_stored(structure: Structure, column: Column, parameter: str) -> None:
    """PostgreSQL partitions by no generated column."""
    query = "SELECT attgenerated <> '' AS generated FROM pg_attribute WHERE attrelid = $1 AND attname = $2"
    if database.query(query, ("oid", "name"), (structure.oid, column.name))[0]["generated"]:
        raise errors.InvalidTableDefinition(
            f'column "{column.name}" of {structure.identifier} is generated, and cannot be the {parameter}',
            "PostgreSQL does not partition by generated columns.",
            "Choose a column that is stored as it is given, or make this one so: ALTER COLUMN ... DROP EXPRESSION.",
        )


def check_policy(options: dict[str, Any], range_type: str, hash_key: str | None) -> None:
    """The rules that create_hierarchy and configure share."""
    if options["key_form"] not in (EXACT, SLICE):
        raise errors.InvalidParameter.of("key_form", options["key_form"], "Key forms are exact and slice.")
    _check_widths(options, range_type)
    if options["start"] is not None:
        parse_bound(options["start"], range_type, "start")
    _check_premake(options["premake"])
    check_hash_partitions(options["hash_partitions"], hash_key)
    _check_retention(options["retention_action"], options["retention_schema"])


def _check_time_zone(name: str) -> None:
    """Refuse abbreviations and offsets, which know no clock changes. The view reads a file a zone: once is enough."""
    if not database.query("SELECT 1 FROM pg_timezone_names WHERE name = $1", ("text",), (name,)):
        raise errors.InvalidParameter.of("time_zone", name, "It is a full name of the view pg_timezone_names.")


def _check_widths(options: dict[str, Any], range_type: str) -> None:
    widths = {
        parameter: calendars.parse_width(options[parameter], parameter)
        for parameter in ("slice", "bucket", "retention")
        if options[parameter] is not None
    }
    for parameter, each in widths.items():
        check_width(parameter, each, range_type, None)
    check_width("slice", widths["slice"], range_type, widths.get("bucket"))


def check_width(parameter: str, width: Width, range_type: str, bucket: Width | None) -> None:
    """A width is of the range key's kind, and that of slices a whole multiple of the bucket."""
    calendar = keys.is_calendar(range_type)
    if (width.unit == "value") == calendar:
        wanted = "a calendar interval such as '1 month'" if calendar else "a number of key values such as '1000000'"
        raise errors.InvalidParameter.of(parameter, width, f"For a range key of type {range_type} it is {wanted}.")
    if bucket is not None and not calendars.is_multiple(width, bucket):
        detail = f"In the slice form a slice is a whole multiple of the bucket, which is {bucket}."
        raise errors.InvalidParameter.of(parameter, width, detail)


def _check_premake(premake: int) -> None:
    if not 0 <= premake <= MAX_PREMAKE:
        raise errors.InvalidParameter.of("premake", premake, f"It is a number of slices, 0 to {MAX_PREMAKE}.")


def check_hash_partitions(hash_partitions: int, hash_key: str | None) -> None:
    """The modulus of slices to come."""
    if hash_key is None and hash_partitions != 0:
        raise errors.InvalidParameter.of(
            "hash_partitions", hash_partitions, "Without a hash key there are no hash partitions."
        )
    if hash_key is not None and not 1 <= hash_partitions <= MAX_HASH_PARTITIONS:
        raise errors.InvalidParameter.of(
            "hash_partitions", hash_partitions, f"It is a number of leaves, 1 to {MAX_HASH_PARTITIONS}."
        )


def _check_retention(action: str, schema: str | None) -> None:
    if action not in RETENTION_ACTIONS:
        raise errors.InvalidParameter.of("retention_action", action, "It is detach, drop or move.")
    if action == MOVE and not schema:
        raise errors.InvalidParameter.of(
            "retention_schema", None, "Retention that moves slices needs the schema to move them to."
        )
    if schema:
        check_schema("retention_schema", schema)


def check_schema(parameter: str, schema: str) -> None:
    """A schema that slices are moved to exists."""
    if not database.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", ("name",), (schema,)):
        raise errors.InvalidParameter.of(parameter, schema, "There is no such schema.")


def check_duration(name: str, value: str) -> None:
    """A duration is one that the server can count: shorter ones are taken for none, longer ones overflow."""
    longest = LONGEST_DURATIONS[name]
    query = "SELECT $1::interval BETWEEN '1 ms' AND $2::interval AS fits"
    if not database.query(query, ("text", "text"), (value, longest))[0]["fits"]:
        raise errors.InvalidParameter.of(name, value, f"It is at least 1 ms and at most {longest}.")


def parse_bound(text: str | None, range_type: str, parameter: str) -> object:
    """A bound given as text: a calendar moment or a number."""
    if text is None:
        raise errors.InvalidParameter.of(parameter, None, "It must have a value.")
    if keys.is_calendar(range_type):
        return calendars.parse_moment(text, parameter)
    number = calendars.parse_number(text)
    limit = keys.INTEGER_LIMITS[range_type]
    if number is None:
        raise errors.InvalidParameter.of(parameter, text, "For an integer range key it is a number.")
    if not -limit <= number < limit:
        raise errors.InvalidParameter.of(parameter, text, f"It is outside the values of type {range_type}.")
    return number


def _column(structure: Structure, name: str | None, parameter: str) -> Column:
    if name is None:
        raise errors.InvalidParameter.of(parameter, None, "It names a column.")
    column = structure.column(name)
    if column is None:
        raise errors.UndefinedColumn(
            f'column "{name}" of {structure.identifier} does not exist',
            f"It was given as {parameter}.",
            "Names are written as they are in the catalog, without double quotes: range_key => 'ContentUpdatedAt'.",
        )
    return column


def _check_hashable(structure: Structure, column: Column) -> None:
    if not database.query(_HASHABLE, ("oid", "name"), (structure.oid, column.name)):
        raise errors.DatatypeMismatch(
            f'hash key "{column.name}" has type {column.type}, which cannot be hashed',
            "The type has no default operator class of the access method hash.",
            "Choose another column, or leave the hash level out with hash_key => NULL.",
        )
''','api.probing': r'''"""What PostgreSQL makes of a piece of SQL: tried on an empty copy of the table, looked at, and rolled back.

So that two definitions are compared as PostgreSQL deparses them, whatever the caller wrote; and so that what cannot
work fails before anything of the hierarchy is locked.
"""

from __future__ import annotations

from .. import database, execute, naming
from ..catalog import alter as catalog_alter
from ..catalog import server as catalog_server
from ..sql import SQL, Identifier, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, TypeVar

    from .alteration import Alteration

    T = TypeVar("T")

COLUMN = "dp_probe"  # a new column's name on the copy, and a new constraint's or index's


class Rolled(Exception):
    """Ends a subtransaction that is to be rolled back."""


def tried(change: Alteration, build: Callable[[Identifier], SQL], read: Callable[[int], T]) -> T:
    """What is read of the copy, by its oid, after a statement on it."""
    table = change.target.table
    copy = Identifier(table.schema, naming.derived_name(table.name, COLUMN))
    found: list[T] = []
    try:
        with database.subtransaction():
            execute.probe(compose("CREATE TABLE {} (LIKE {})", copy, table.identifier).text, change.context)
            oid = catalog_server.resolve_relation(copy.text)
            file = catalog_alter.file_of(oid)
            execute.probe(build(copy).text, change.context)
            found.append(read(oid))
            change.writes_anew = catalog_alter.file_of(oid) != file
            raise Rolled
    except Rolled:
        return found[0]
''','api.propagation': r'''"""propagate: what the event trigger calls when plain DDL has changed managed tables."""

from __future__ import annotations

import json

from .. import database, errors
from ..catalog import alter as catalog_alter
from ..catalog import drift as catalog_drift
from ..catalog import hierarchy as catalog_hierarchy
from ..operation import Step
from ..plan import drift as plan_drift
from ..plan import propagation as plan
from ..plan.difference import OWNER, REWRITE, SYNC
from ..plan.propagation import Change
from ..sql import Literal
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..model import Hierarchy, Table
    from ..operation import Operation

CALL = "carrying DDL to partitions"


def propagate(changes: str) -> None:
    """Carry changes of tables to their templates and partitions; see sql/triggers/propagate_ddl.sql.j2."""
    by_root: dict[int, dict[int, list[Change]]] = {}
    for each in json.loads(changes):
        root = catalog_hierarchy.root_of(each["tbl"])
        if root is not None:  # a table may have left its hierarchy by what the command did
            change = Change(each["aspect"], each["part"], each["before"], each["after"])
            by_root.setdefault(root, {}).setdefault(each["tbl"], []).append(change)
    for root, by_table in by_root.items():
        try:
            hierarchy, call = calls.open_function(CALL, root, False)
        except errors.InsufficientPrivilege as error:  # the caller need not trust what the owner's tables run
            database.warning(
                f"the change was not carried to the partitions: {error.message}. {error.hint or ''} Then CALL"
                f" dp.sync({Literal(catalog_hierarchy.load(root).root.identifier.text)})."
            )
            continue
        for table in hierarchy.tables:
            if table.oid in by_table:
                _carry(hierarchy, table, by_table[table.oid], call)


def _carry(hierarchy: Hierarchy, table: Table, changes: list[Change], call: Context) -> None:
    """Template first: leaves are compared with what it says then."""
    target = catalog_alter.target(hierarchy, table)
    as_caller = call._replace(owner=None)  # who gives a table away may give its partitions away; the new owner may not
    _run(plan.owner_operations(target, changes), as_caller)
    _run(plan.template_operations(target, changes) + plan.schema_operations(target, changes), call)
    facts = catalog_drift.read_table(table)
    found = [each for each in plan_drift.differences(facts) if plan.is_carried(each, changes)]
    owners = [each._replace(mended_by=SYNC) for each in found if each.aspect == OWNER]
    for differences, context in ((owners, as_caller), (found, call)):
        steps = plan_drift.steps_of(facts, differences, rewrite=False)
        _run([operation for step in steps for operation in step.operations], context)
    left = sorted({each.aspect for each in found if each.mended_by == REWRITE})
    if left:
        root = Literal(hierarchy.root.identifier.text)
        database.notice(
            f"existing partitions of {table.identifier} keep their {' and '.join(left)}, for another one writes all"
            f" rows anew: CALL dp.sync({root}, rewrite => true)"
        )


def _run(operations: list[Operation], call: Context) -> None:
    if operations:
        calls.run_in_function([Step(tuple(operations))], call)
''','api.requirements': r'''"""What several calls refuse: names that are taken, schemas that are closed, owners that differ."""

from __future__ import annotations

from .. import database, errors, naming
from ..catalog import server as catalog_server
from ..plan.structure import Structure
from ..sql import Identifier


def check_template(structure: Structure) -> None:
    """The template of a table, and later its slices, can be made beside it."""
    _check_creation(structure)
    check_free(
        structure.schema,
        [naming.template_name(structure.name)],
        "dialog_partition needs this name, and does not know the relation.",
        "Rename or drop it.",
    )


def _check_creation(structure: Structure) -> None:
    """The owner makes templates, slices and leaves in the table's schema."""
    allowed = "SELECT has_schema_privilege($1::name, $2, 'CREATE') AS allowed"
    if database.query(allowed, ("text", "text"), (structure.owner, structure.schema))[0]["allowed"]:
        return
    raise errors.InsufficientPrivilege(
        f"{structure.owner} may not create tables in schema {Identifier(structure.schema)}",
        f"Template, slices and leaves of {structure.identifier} are made there and belong to its owner.",
        f"GRANT CREATE ON SCHEMA {Identifier(structure.schema)} TO {Identifier(structure.owner)};",
    )


def check_free(schema: str, names: list[str], detail: str, hint: str) -> None:
    """Refuse when a relation has a name that is needed."""
    taken = catalog_server.existing_relations(schema, names)
    if taken:
        identifier = Identifier(schema, min(taken))
        raise errors.DuplicateTable(f"relation {identifier} already exists", detail, hint)


def check_same_owner(child: Structure, root: Identifier, owner: str) -> None:
    """The tables of a hierarchy belong to one role."""
    if child.owner != owner:
        raise errors.InsufficientPrivilege(
            f"{child.identifier} and {root} have different owners",
            f"They belong to {child.owner} and {owner}; new slices are created by one role.",
            "Give all tables of a hierarchy the same owner.",
        )
''','api.slices': r'''"""create_slices, detach_slice, drop_slice."""

from __future__ import annotations

from .. import errors
from ..catalog import detached as catalog_detached
from ..catalog import slices as catalog_slices
from ..model import Hierarchy
from ..operation import together
from ..plan import detached as plan_detached
from ..plan import lifecycle
from . import calls, creation, policy, window
from .policy import parse_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import PlanRow
    from ..operation import Step


def create_slices(
    root: int,
    lower_bound: str,
    upper_bound: str,
    slice: str | None,
    hash_partitions: int | None,
    dry_run: bool,
) -> None:
    """Create the slices of a range; see sql/procedures/create_slices.sql.j2."""
    hierarchy, call = calls.open_procedure("create_slices", root, dry_run)
    width = creation.check_width(hierarchy, slice)
    modulus = creation.check_modulus(hierarchy, hash_partitions)
    spans = window.uncovered(hierarchy, *bounds(hierarchy, lower_bound, upper_bound), width)
    creation.create(hierarchy, catalog_slices.specs(hierarchy, spans, modulus), call)


def detach_slice(root: int, lower_bound: str, to_schema: str | None, dry_run: bool) -> list[PlanRow]:
    """Detach a slice of every table; see sql/functions/detach_slice.sql.j2."""
    hierarchy, call = calls.open_function("detach_slice", root, dry_run)
    span = find_span(hierarchy, lower_bound)
    if to_schema is not None:
        policy.check_schema("to_schema", to_schema)
    if span is None:
        return nothing_there(hierarchy, lower_bound)
    return calls.run_in_function([together(detach(hierarchy, span, to_schema))], call)


def drop_slice(root: int, lower_bound: str, dry_run: bool) -> list[PlanRow]:
    """Drop a slice of every table; see sql/functions/drop_slice.sql.j2."""
    hierarchy, call = calls.open_function("drop_slice", root, dry_run)
    detached = find_detached(hierarchy, lower_bound)
    span = find_span(hierarchy, lower_bound)
    steps = lifecycle.drop_steps(hierarchy, span, forced(hierarchy, span)) if span is not None else []
    if detached:  # from some tables only, or from all
        steps.insert(0, plan_detached.drop_detached_step(hierarchy, detached))
    if not steps:
        return nothing_there(hierarchy, lower_bound)
    return calls.run_in_function([together(steps)], call)


def bounds(hierarchy: Hierarchy, lower_bound: str, upper_bound: str) -> tuple[object, object]:
    """Two bounds given as text, in order."""
    lower = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
    upper = parse_bound(upper_bound, hierarchy.range_type, "upper_bound")
    if not lower < upper:  # type: ignore[operator]
        raise errors.InvalidParameter(
            "lower_bound must be less than upper_bound",
            f"They are {lower_bound} and {upper_bound}.",
            "Give the lower one first.",
        )
    return lower, upper


def point_of(hierarchy: Hierarchy, lower_bound: str) -> int:
    """A bound given as text, on the partition column's axis."""
    moment = parse_bound(lower_bound, hierarchy.range_type, "lower_bound")
    return catalog_slices.axis_points(hierarchy, [moment])[0]


def find_span(hierarchy: Hierarchy, lower_bound: str) -> tuple[int | None, int | None] | None:
    """The slice of the root that begins at a bound; None where no slice holds it."""
    point = point_of(hierarchy, lower_bound)
    for each in hierarchy.range_slices(hierarchy.root):
        if each.lower is not None and each.lower.point == point:
            return each.span
        inside = (each.lower is None or each.lower.point < point) and (each.upper is None or point < each.upper.point)
        if inside:
            begin = (
                f"begins at {each.lower.local or each.lower.point}" if each.lower is not None else "has no beginning"
            )
            raise errors.InvalidParameter.of(
                "lower_bound",
                lower_bound,
                f"It lies inside the slice {each.identifier}, which {begin}.",
                "Name a slice by its lower bound; see the view dp.slice.",
            )
    return None


def find_detached(hierarchy: Hierarchy, lower_bound: str) -> list[plan_detached.DetachedSlice]:
    """The slices, one a table, that calls detached and that began at a bound."""
    point = point_of(hierarchy, lower_bound)
    return [each for each in catalog_detached.remembered(hierarchy) if each.lower_point == point]


def nothing_there(hierarchy: Hierarchy, lower_bound: str, why: str = "does not exist") -> list[PlanRow]:
    """Idempotence: what was done before is not done again."""
    return calls.nothing_to_do(f"the slice of {hierarchy.root.identifier} that begins at {lower_bound} {why}")


def detach(hierarchy: Hierarchy, span: tuple[int | None, int | None], to_schema: str | None) -> list[Step]:
    """The steps, one a table, that detach one slice."""
    found = [each for _, each in lifecycle.siblings(hierarchy, span)]
    return lifecycle.detach_steps(
        hierarchy,
        span,
        catalog_slices.inside_foreign_keys(hierarchy, found),
        catalog_slices.leaves(found),
        to_schema,
        forced(hierarchy, span),
    )


def forced(hierarchy: Hierarchy, span: tuple[int | None, int | None]) -> frozenset[int]:
    """The parts of a slice, one a table, on whose owner row security is forced."""
    found = [each for _, each in lifecycle.siblings(hierarchy, span)]
    return frozenset(each.oid for each in found if catalog_slices.forces_row_security(each))
''','api.unconvert': r'''"""unconvert: a hierarchy becomes plain tables again, with the rows as they are."""

from __future__ import annotations

from .. import errors, execute
from ..catalog import conversion as catalog_conversion
from ..catalog import conversion_state as catalog
from ..catalog import dependents as catalog_dependents
from ..catalog import detached as catalog_detached
from ..catalog import foreign_keys as catalog_keys
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..catalog import structure as catalog_structure
from ..model import Hierarchy
from ..operation import Operation, Step
from ..plan import lookup as plan_lookup
from ..plan import unconversion as plan
from ..plan.conversion import REFUSE, Conversion, Member
from ..plan.conversion_steps import SWITCH, Part
from ..plan.declare import Settings
from . import calls, conversion_running, global_index
from .convert import CHANGED, STRUCTURE, check_schemas, open_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..catalog.conversion_state import State
    from ..execute import Context


def unconvert(root: int, batch_blocks: int, dry_run: bool) -> None:
    """Make plain tables of a hierarchy; see sql/procedures/unconvert.sql.j2."""
    if batch_blocks < 1:
        raise errors.InvalidParameter.of("batch_blocks", batch_blocks, "It is at least 1.")
    state = catalog.find(root)
    _check_state(state)
    if state is None and catalog_hierarchy.root_of(root) is None:
        calls.nothing_to_do(f"{catalog_server.relation_name(root)} is in no hierarchy")
        return
    source = state.root if state is not None else root
    if dry_run:
        _print(source)
        return
    call = open_plain("unconvert", source)
    state = catalog.find(root)  # under the lock
    if state is not None and state.state in (STRUCTURE, CHANGED):
        conversion_running.discard(state.root, call)
        state = None
    if state is None:
        hierarchy = catalog_hierarchy.load(source)
        found = examine(hierarchy)
        catalog.begin(found, _parts(found, hierarchy))
        execute.commit(call)
    conversion_running.run(source, call, batch_blocks)


def _check_state(state: State | None) -> None:
    if state is None or state.is_back:
        return
    raise errors.NotInPrerequisiteState(
        f"plain tables of {state.hierarchy_name or state.name} are there already",
        f"dp.convert keeps them; its conversion is in the state {state.state}.",
        "SELECT dp.drop_converted(...) first, or CALL dp.convert(...) until it is at its end.",
    )


def examine(hierarchy: Hierarchy) -> Conversion:
    """Read the tables of a hierarchy, and refuse what cannot be made plain."""
    _check_hierarchy(hierarchy)
    oids = [table.oid for table in hierarchy.tables]
    records = catalog.records(oids)
    members = tuple(
        plan.narrowed(_member(table.oid, table.template_oid), records[table.oid], hierarchy)
        for table in hierarchy.tables
    )
    dependents, blocked = catalog_dependents.read(oids)
    if blocked:
        raise errors.DependentObjects(
            f"{blocked[0][0]} depends on {hierarchy.root.identifier}",
            blocked[0][1],
            "Drop it first, and create it again afterwards.",
        )
    sides = [index.oid for table in hierarchy.tables for index in table.global_indexes]
    outside = tuple(key for side in sides for key in catalog_keys.pointing_to(side))
    found = Conversion(
        members,
        _settings(hierarchy, members[0]),
        {},
        (),
        (),
        outside,
        tuple(dependents),
        (),
        (),
        REFUSE,
        False,
        catalog_server.server().version,
        is_back=True,
    )
    check_schemas(found)
    return found


def _member(oid: int, template: int | None) -> Member:
    return catalog_conversion.member(catalog_structure.read(oid), template)


def _check_hierarchy(hierarchy: Hierarchy) -> None:
    root = hierarchy.root.identifier
    detached = catalog_detached.remembered(hierarchy)
    if detached:
        raise errors.NotInPrerequisiteState(
            f"{root} has slices that are detached",
            f"Among them is {detached[0].identifier}; its rows would not be among those of the plain table.",
            "Attach them with SELECT dp.attach_slice(...), or drop them with SELECT dp.drop_slice(...).",
        )
    needed, budget = plan.reading_locks(hierarchy), catalog_server.server().lock_budget
    if needed > budget:
        raise errors.OutOfLocks(
            f"comparing all rows of {root} at the end needs about {needed} locks, more than the budget of {budget}",
            "The tables are exchanged in one transaction, which looks into every leaf.",
            "Raise max_locks_per_transaction.",
        )


def _settings(hierarchy: Hierarchy, root: Member) -> Settings:
    """The keys that the tables have now; nothing else of it is asked for."""
    policy = hierarchy.policy
    columns = {column.name: column for column in catalog_structure.columns(root.oid)}
    return Settings(
        columns[policy.range_key],
        hierarchy.range_type,
        columns[policy.hash_key] if policy.hash_key is not None else None,
        policy.key_form,
        policy.slice_key,
        policy.bucket,
        policy.width,
        policy.hash_partitions,
        policy.premake,
        policy.start,
        None,
        policy.retention_action,
        policy.retention_schema,
        policy.time_zone,
        policy.default_slice,
        f"{policy.lock_timeout_ms} ms",
    )


def _parts(found: Conversion, hierarchy: Hierarchy) -> list[Part]:
    oids = [member.oid for member in found.members]
    return plan.parts(
        found,
        catalog.records(oids),
        hierarchy,
        {oid: catalog.leaves_of(oid) for oid in oids},
        {oid: catalog.slices_of(oid) for oid in oids},
        [
            plan_lookup.drop(each)
            for table in hierarchy.tables
            for index in table.global_indexes
            for each in global_index.existing_lookups(hierarchy, table, index)
        ],
    )


def _print(root: int) -> None:
    """What a call would do."""
    hierarchy = catalog_hierarchy.load(root)
    found = examine(hierarchy)
    call: Context = calls.hierarchy_context("unconvert", hierarchy, execute.DRY_RUN)._replace(is_schema_change=True)
    for part in _parts(found, hierarchy):
        operations = tuple(Operation(part.target, statement) for statement in part.statements)
        execute.execute([Step(operations, part.kind == SWITCH)], call)
''','api.upkeep': r'''"""The maintenance of one hierarchy."""

from __future__ import annotations

from .. import database, errors, execute
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import log as catalog_log
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import DROP, MOVE, Hierarchy
from ..operation import merged
from ..plan import lifecycle
from . import calls, creation, default_slice, slices, window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execute import Context
    from ..model import SliceSpec, Table
    from ..operation import Step

ANALYZE_ONLY_SINCE = 180000


class Failed(Exception):
    """Parts of the maintenance of a hierarchy failed; dp.log says so already."""


def maintain(name: str, root: int, dry_run: bool) -> None:
    """Maintain one hierarchy: pending detaches, default slice, missing slices, retention, statistics, old log rows.

    What fails does not keep the rest from being done, new slices above all; in the end the call fails all the same.
    """
    hierarchy, call = calls.open_procedure(name, root, dry_run)
    upkeep = Upkeep(hierarchy, call)
    for part in (upkeep.finish_detaches, upkeep.drain, upkeep.create, upkeep.retire, upkeep.analyze):
        upkeep.attempt(part)
    upkeep.end_log()
    if upkeep.failures:
        raise Failed("; ".join(upkeep.failures))


class Upkeep:
    """The parts of maintenance, the hierarchy as it is between them, and what failed."""

    def __init__(self, hierarchy: Hierarchy, call: Context) -> None:
        self.hierarchy = hierarchy
        self.call = call
        self.failures: list[str] = []
        self.filled: list[SliceSpec] = []  # the slices that drained rows went to

    def attempt(self, part: Callable[[], None]) -> None:
        """Do one part. A failure is recorded and kept for the end."""
        try:
            part()
        except (errors.PartitionError, database.ServerError) as error:
            if database.is_cancel(error):
                raise
            self._keep(error)
            self._read_again()

    def finish_detaches(self) -> None:
        """DETACH CONCURRENTLY that was interrupted is finished; what was detached is remembered."""
        hierarchy = self.hierarchy
        steps: list[Step] = []
        for table in reversed(hierarchy.tables):
            pending = [each for each in hierarchy.slices[table.oid] if each.detach_pending]
            keys = catalog_slices.inside_foreign_keys(hierarchy, pending)
            steps += [lifecycle.finalize_step(hierarchy, table, each, keys.get(each.oid, ())) for each in pending]
        if steps:
            calls.run_in_procedure(steps, self.call)
            self._read_again()

    def drain(self) -> None:
        """Rows of the default slices go to slices of the range that is maintained."""
        bounds = window.maintained(self.hierarchy)
        self.filled = default_slice.drain(self.hierarchy, *bounds, self.hierarchy.policy.width, self.call)
        if self.filled:
            self._read_again()

    def create(self) -> None:
        """Create what is missing, the slices of now and of the future first; what stands in the way of some is kept."""
        specs = catalog_slices.specs(self.hierarchy, window.gaps(self.hierarchy), self.hierarchy.policy.hash_partitions)
        wanted = creation.judge(self.hierarchy, [spec for spec in specs if not self._is_filled(spec)])
        if creation.run(self.hierarchy, wanted, self.call):
            self._read_again()
        if self.call.mode == execute.DRY_RUN:
            self.hierarchy = lifecycle.with_new(self.hierarchy, [*self.filled, *wanted.needed])
        for error in wanted.refused:
            self._keep(error)

    def retire(self) -> None:
        """Detach, drop or move what retention retires, oldest first, one slice of the whole hierarchy at a time."""
        policy = self.hierarchy.policy
        expired = window.expired(self.hierarchy)
        for each in expired:
            if policy.retention_action == DROP:
                steps = lifecycle.drop_steps(self.hierarchy, each.span, slices.forced(self.hierarchy, each.span))
            else:
                schema = policy.retention_schema if policy.retention_action == MOVE else None
                steps = slices.detach(self.hierarchy, each.span, schema)
            calls.run_in_procedure(merged(steps, self.call.lock_budget), self.call)
        if self.call.mode == execute.DRY_RUN:
            self.hierarchy = lifecycle.without(self.hierarchy, expired)
        elif expired:
            self._read_again()

    def analyze(self) -> None:
        """ANALYZE the parents that are due; one that would need too many locks is left to a top-level command."""
        only = catalog_server.server().version >= ANALYZE_ONLY_SINCE
        due = analyze_due([self.hierarchy])
        for table in self.hierarchy.tables:
            if table.oid in due:
                step = lifecycle.analyze_step(table, self.hierarchy.slices[table.oid], only)
                if step.locks <= self.call.lock_budget:
                    calls.run_in_procedure([step], self.call)
                elif self.call.mode != execute.DRY_RUN:
                    _log_skipped(table, step.locks, self.call)

    def end_log(self) -> None:
        """Say that an earlier failure is over, and delete log rows that are older than the hierarchy keeps them."""
        if self.call.mode == execute.DRY_RUN:
            return
        root = self.hierarchy.root.oid
        if not self.failures and catalog_log.last_failures([root]):
            execute.log_message(self.call, "maintained without anything to do, after a failure")
        database.query(
            "DELETE FROM dp.log_entry WHERE root = $1 AND at < clock_timestamp() - $2 * interval '1 ms'",
            ("oid", "float8"),
            (root, self.hierarchy.policy.log_retention_ms),
        )
        execute.commit(self.call)

    def _is_filled(self, spec: SliceSpec) -> bool:
        """Whether draining has created a slice, or would have: a dry run still finds it missing."""
        return spec.span in {each.span for each in self.filled}

    def _keep(self, error: Exception) -> None:
        """Record a failure, and go on as if a transaction began."""
        self.failures.append(calls.describe(error))
        if self.call.mode != execute.DRY_RUN:
            calls.record_failure(error, self.call)
            execute.begin(self.call)

    def _read_again(self) -> None:
        """Read the hierarchy after a change; a dry run has changed nothing."""
        if self.call.mode != execute.DRY_RUN:
            self.hierarchy = catalog_hierarchy.load(self.hierarchy.root.oid)


def analyze_due(hierarchies: list[Hierarchy]) -> set[int]:
    """The parents that were never analysed, or too long ago; autovacuum does not."""
    due: set[int] = set()
    interval = {
        table.oid: each.policy.analyze_interval_ms
        for each in hierarchies
        for table in each.tables
        if any(found.remainders or not found.is_partitioned for found in each.slices[table.oid])
    }
    rows = database.query(
        "SELECT oid, (extract(epoch FROM dp._clock() - pg_stat_get_last_analyze_time(oid)) * 1000)::bigint AS age"
        " FROM unnest($1) AS oid",
        ("oid[]",),
        (list(interval),),
    )
    for row in rows:
        if row["age"] is None or row["age"] > interval[row["oid"]]:
            due.add(row["oid"])
    return due


def _log_skipped(table: Table, locks: int, call: Context) -> None:
    execute.log_message(
        call, f"ANALYZE {table.identifier} not run: it needs about {locks} locks; run it as a statement of its own"
    )
    execute.commit(call)
''','api.window': r'''"""Which slices a hierarchy shall have now: its maintained range, what retention retires, and the gaps."""

from __future__ import annotations

import datetime

from .. import calendars, keys
from ..calendars import Width
from ..catalog import detached as catalog_detached
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..model import Edge, Hierarchy, Slice
from ..plan import coverage, lifecycle


def maintained(hierarchy: Hierarchy) -> tuple[object, object]:
    """From the configured start, or the oldest slice, to the end of what premake asks for."""
    if keys.is_integer(hierarchy.range_type):
        return _integers(hierarchy)
    policy = hierarchy.policy
    now = local_now(hierarchy)
    current = calendars.align(now, policy.width)
    upper = calendars.advance(current, policy.width, policy.premake + 1)
    if policy.start is not None:
        lower = calendars.align(calendars.parse_moment(policy.start, "start"), policy.width)
    else:
        oldest = _first_edge(hierarchy)
        lower = min(oldest.local, current) if oldest is not None and oldest.local is not None else current
    if policy.retention is not None:
        lower = max(lower, calendars.align(calendars.subtract(now, policy.retention), policy.width))
    return lower, upper


def _first_edge(hierarchy: Hierarchy) -> Edge | None:
    """Where the oldest slice begins; where it ends, when it has no beginning, or none that a calendar knows."""
    for each in hierarchy.range_slices(hierarchy.root):
        for edge in (each.lower, each.upper):
            if edge is not None and (edge.local is not None or keys.is_integer(hierarchy.range_type)):
                return edge
    return None


def rounded(lower: object, upper: object, width: Width) -> tuple[object, object]:
    """A range widened to whole slices."""
    if isinstance(lower, int) and isinstance(upper, int):
        return lower - lower % width.number, upper + -upper % width.number
    assert isinstance(lower, datetime.datetime) and isinstance(upper, datetime.datetime)
    begin, end = calendars.align(lower, width), calendars.align(upper, width)
    return begin, end if end == upper else calendars.advance(end, width)


def _integers(hierarchy: Hierarchy) -> tuple[int, int]:
    """Integers have no clock: so many slices are kept ahead of the highest slice that holds rows.

    A wild value cannot make slices by the thousand, because only slices that exist are looked at.
    """
    policy = hierarchy.policy
    slices = hierarchy.range_slices(hierarchy.root)
    step = policy.width.number
    start = int(policy.start) if policy.start is not None else 0
    oldest = _first_edge(hierarchy) if policy.start is None else None
    lower = oldest.point if oldest is not None else start - start % step
    highest_used = highest_point(hierarchy)
    reached = lower if highest_used is None else max(highest_used, lower)
    upper = reached + step * (policy.premake + (1 if reached == lower else 0))
    highest = max((each.upper.point for each in slices if each.upper), default=upper)
    limit = keys.INTEGER_LIMITS[hierarchy.range_type] - 1
    if policy.retention is not None and highest_used is not None:
        cutoff = highest_used - policy.retention.number
        lower = max(lower, cutoff - cutoff % step)
    return lower, min(max(upper, highest), limit)


def highest_point(hierarchy: Hierarchy) -> int | None:
    """The end of the highest slice of integers that holds rows; that is what integers have for a clock."""
    for each in reversed(hierarchy.range_slices(hierarchy.root)):
        if each.upper is not None and not catalog_slices.is_empty(each.identifier):
            return each.upper.point
    return None


def local_now(hierarchy: Hierarchy) -> datetime.datetime:
    """The clock in the hierarchy's time zone."""
    return catalog_server.local_now(hierarchy.policy.time_zone)


def cutoff(hierarchy: Hierarchy) -> int | None:
    """Slices that end at or before this point are to be retired, and are not made again."""
    retention = hierarchy.policy.retention
    if retention is None:
        return None
    if keys.is_integer(hierarchy.range_type):
        highest = highest_point(hierarchy)
        return highest - retention.number if highest is not None else None
    moment = calendars.subtract(local_now(hierarchy), retention)
    return catalog_slices.calendar_edges(hierarchy, [moment])[0].point


def expired(hierarchy: Hierarchy) -> list[Slice]:
    """The root's slices that retention retires now."""
    point = cutoff(hierarchy)
    return lifecycle.expired(hierarchy, point) if point is not None else []


def current_point(hierarchy: Hierarchy) -> int | None:
    """The clock on the partition column's axis; integers have none."""
    if keys.is_integer(hierarchy.range_type):
        return None
    return catalog_slices.calendar_edges(hierarchy, [local_now(hierarchy)])[0].point


def gaps(hierarchy: Hierarchy) -> list[coverage.Span]:
    """What no slice covers of the maintained range; neither what was retired nor what was detached counts."""
    lower, upper = maintained(hierarchy)
    found = uncovered(hierarchy, lower, upper, hierarchy.policy.width)
    if not found:
        return []
    point = cutoff(hierarchy)
    detached = [each for each in catalog_detached.remembered(hierarchy) if each.table == hierarchy.root.oid]
    return [
        span
        for span in found
        if (point is None or span[1].point > point) and not any(each.overlaps(span) for each in detached)
    ]


def uncovered(hierarchy: Hierarchy, lower: object, upper: object, width: Width) -> list[coverage.Span]:
    """The parts of the aligned spans over a range that no slice covers; none that lies beside the range."""
    if not lower < upper:  # type: ignore[operator]
        return []
    found = coverage.uncovered(candidates(hierarchy, lower, upper, width), hierarchy.range_slices(hierarchy.root))
    first, last = catalog_slices.axis_points(hierarchy, [lower, upper]) if found else (0, 0)
    return [span for span in found if span[0].point < last and first < span[1].point]


def next_bound(lower: object, width: Width) -> object:
    """Where a slice ends that begins at a bound."""
    if isinstance(lower, int):
        return lower + width.number
    assert isinstance(lower, datetime.datetime)
    return calendars.advance(lower, width)


def edges(hierarchy: Hierarchy, bounds: list[object]) -> list[Edge]:
    """Bounds as edges on the partition column's axis."""
    moments = [bound for bound in bounds if isinstance(bound, datetime.datetime)]
    return catalog_slices.calendar_edges(hierarchy, moments) or [Edge(b) for b in bounds if isinstance(b, int)]


def candidates(hierarchy: Hierarchy, lower: object, upper: object, width: Width) -> list[coverage.Span]:
    """Aligned spans that cover a range."""
    if isinstance(lower, int) and isinstance(upper, int):
        limit = keys.INTEGER_LIMITS[hierarchy.range_type]
        points = [max(-limit, min(point, limit - 1)) for point in coverage.integer_points(lower, upper, width)]
        return coverage.spans([Edge(point) for point in points])
    assert isinstance(lower, datetime.datetime) and isinstance(upper, datetime.datetime)
    return coverage.spans(catalog_slices.calendar_edges(hierarchy, coverage.calendar_moments(lower, upper, width)))
''','blockers': r'''"""Who holds the locks that a step waits for."""

from __future__ import annotations

from . import database
from .operation import Step, conflicting_modes

MAX_BLOCKERS_TOLD = 5


def holders(each: Step) -> list[database.Row]:
    """Other sessions' locks that the locks of a step conflict with: on its relations and on the leaves under them."""
    modes: dict[int, set[str]] = {}
    for relation, lock in each.wanted_locks:
        modes.setdefault(relation, set()).update(conflicting_modes(lock))
    rows = database.query(
        """
        SELECT l.pid, l.mode, l.relation::regclass::text AS relation, wanted.oid AS wanted, a.usename, a.state,
               extract(epoch FROM clock_timestamp() - a.xact_start)::int AS seconds
        FROM unnest($1) AS wanted (oid)
        JOIN LATERAL (SELECT wanted.oid
                      UNION ALL
                      SELECT i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
                      WHERE i.inhparent = wanted.oid AND c.relispartition) AS locked ON true
        JOIN pg_locks l ON l.relation = locked.oid
        LEFT JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ORDER BY a.xact_start NULLS LAST, l.pid, l.relation
        """,
        ("oid[]",),
        (list(modes),),
    )
    return [row for row in rows if row["mode"] in modes[row["wanted"]]]


def describe(each: Step) -> str:
    """Who holds them, for an error's DETAIL."""
    found = holders(each)
    if not found:
        return "No session holds a conflicting lock on them now."
    told = "; ".join(
        f"process {row['pid']} ({row['usename']}, {row['state']}, {row['seconds']} s in its transaction) holds"
        f" {row['mode']} on {row['relation']}"
        for row in found[:MAX_BLOCKERS_TOLD]
    )
    return f"Held by: {told}."
''','calendars': r'''"""Widths of slices and where slices begin: calendar arithmetic without a time zone, and steps of integers.

Slices of one width are aligned: months and years count from year 0, weeks and days from Monday 0001-01-01, integers
from 0. So a quarter begins in January, April, July or October, and a week is an ISO week.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from . import errors

UNITS = ("day", "week", "month", "year", "value")
_ALIASES = {"quarter": ("month", 3), "decade": ("year", 10), "century": ("year", 100), "mon": ("month", 1)}
FIRST_DAY = datetime.datetime(1, 1, 1)
LAST_YEAR = 9999
MAX_DIGITS = 19  # of a bigint


class Width(NamedTuple):
    """How wide a slice is: so many days, weeks, months or years; or so many values of an integer key."""

    number: int
    unit: str

    def __str__(self) -> str:
        if self.unit == "value":
            return str(self.number)
        return f"{self.number} {self.unit}" + ("s" if self.number != 1 else "")

    @property
    def in_months(self) -> int:
        """Months of a width that is made of months, 0 for others."""
        return self.number * {"month": 1, "year": 12}.get(self.unit, 0)

    @property
    def in_days(self) -> int:
        """Days of a width that is made of days, 0 for others."""
        return self.number * {"day": 1, "week": 7}.get(self.unit, 0)


def parse_width(text: str, parameter: str) -> Width:
    """``'1 month'``, ``'quarter'``, ``'2 weeks'``, ``'1000000'``."""
    words = text.strip().lower().split()
    number = 1
    first = parse_number(words[0]) if words else None
    if first is not None:
        number = first
        words.pop(0)
        if not words:
            return _positive(Width(number, "value"), text, parameter)
    if len(words) == 1:
        unit = words[0]
        for candidate in (unit, unit[:-1] if unit.endswith("s") else unit):
            if candidate in UNITS[:-1]:
                return _positive(Width(number, candidate), text, parameter)
            if candidate in _ALIASES:
                base, factor = _ALIASES[candidate]
                return _positive(Width(number * factor, "month" if base == "mon" else base), text, parameter)
    raise errors.InvalidParameter.of(
        parameter,
        text,
        "A width is a number and one calendar unit (days, weeks, months, quarters, years), or a bare number of values"
        " for an integer key.",
        "Write for example '1 month', '1 week', '1 year', or '1000000'.",
    )


def parse_number(text: str) -> int | None:
    """A whole number as PostgreSQL would read it; int() takes more. None where it is none."""
    word = text.strip()
    digits = word[1:] if word[:1] in ("+", "-") else word
    return int(word) if digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS else None


def _positive(width: Width, text: str, parameter: str) -> Width:
    if width.number < 1:
        raise errors.InvalidParameter.of(parameter, text, "A width is at least one day or one value.")
    if width.in_months * 30 + width.in_days > LAST_YEAR * 360:  # as PostgreSQL compares intervals
        raise errors.InvalidParameter.of(parameter, text, f"A width is at most {LAST_YEAR} years.")
    return width


def parse_moment(text: str, parameter: str) -> datetime.datetime:
    """A date or timestamp without time zone, in ISO form."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is None:
        return moment
    raise errors.InvalidParameter.of(
        parameter,
        text,
        "The value is a date or timestamp in the hierarchy's own time zone, years 1 to 9999, without an offset.",
        "Write for example '2025-06-01'.",
    )


def is_multiple(width: Width, bucket: Width) -> bool:
    """Whether every aligned slice of ``width`` is a whole number of aligned buckets."""
    if width.unit == "value" or bucket.unit == "value":
        return width.unit == bucket.unit and width.number % bucket.number == 0
    if bucket.in_months:
        return width.in_months > 0 and width.in_months % bucket.in_months == 0
    if width.in_months:
        return bucket.in_days == 1
    return width.in_days % bucket.in_days == 0


def align(moment: datetime.datetime, width: Width) -> datetime.datetime:
    """Where the slice that holds a moment begins."""
    if width.in_months:
        months = moment.year * 12 + moment.month - 1
        return _month(months - months % width.in_months)
    days = (moment - FIRST_DAY).days
    return FIRST_DAY + datetime.timedelta(days=days - days % width.in_days)


def advance(start: datetime.datetime, width: Width, times: int = 1) -> datetime.datetime:
    """The beginning ``times`` slices later (or, negative, earlier)."""
    try:
        if width.in_months:
            months = start.year * 12 + start.month - 1 + width.in_months * times
            # behind the first slice, which is cut short, the next one is aligned again
            return _month(months - months % width.in_months if start == FIRST_DAY else months)
        return start + datetime.timedelta(days=width.in_days * times)
    except (ValueError, OverflowError):
        raise errors.InvalidParameter(
            f"a slice of {width} after {start:%Y-%m-%d} would leave the calendar",
            f"Slices can lie between the years 1 and {LAST_YEAR}.",
            "Choose bounds further inside, or a narrower slice.",
        ) from None


def subtract(moment: datetime.datetime, width: Width) -> datetime.datetime:
    """The moment one width earlier, as PostgreSQL subtracts an interval: the day is cut to the month's last."""
    if not width.in_months:
        return moment - datetime.timedelta(days=width.in_days)
    first = advance(align(moment, Width(1, "month")), Width(width.in_months, "month"), -1)
    following = advance(first, Width(1, "month"))
    return min(first + (moment - align(moment, Width(1, "month"))), following - datetime.timedelta(microseconds=1))


def _month(months: int) -> datetime.datetime:
    if months < 12:  # the year 0 does not exist: the first slice is cut short
        return FIRST_DAY
    return datetime.datetime(months // 12, months % 12 + 1, 1)


def suffix(lower: datetime.datetime, upper: datetime.datetime) -> str:
    """What the name of a calendar slice ends with, by its width: 2025, 2025_q3, 2025_06, 2025_w07, 2025_06_15."""
    for width, text in (
        (Width(1, "year"), f"{lower.year:04d}"),
        (Width(3, "month"), f"{lower.year:04d}_q{(lower.month + 2) // 3}"),
        (Width(1, "month"), f"{lower.year:04d}_{lower.month:02d}"),
        (Width(1, "week"), "{0:04d}_w{1:02d}".format(*lower.isocalendar()[:2])),
        (Width(1, "day"), f"{lower.year:04d}_{lower.month:02d}_{lower.day:02d}"),
    ):
        if _is_one(lower, upper, width):
            return text
    return f"{_digits(lower)}_{_digits(upper)}"


def _is_one(lower: datetime.datetime, upper: datetime.datetime, width: Width) -> bool:
    """Whether [lower, upper) is exactly one aligned slice of a width."""
    if align(lower, width) != lower or align(upper, width) != upper:
        return False
    return align(upper - datetime.timedelta(microseconds=1), width) == lower


def _digits(moment: datetime.datetime) -> str:
    text = f"{moment.year:04d}{moment.month:02d}{moment.day:02d}"
    for part, is_needed in (
        (f"{moment.hour:02d}{moment.minute:02d}", moment.time() != datetime.time()),
        (f"{moment.second:02d}", moment.second or moment.microsecond),
        (f"{moment.microsecond:06d}", moment.microsecond),
    ):
        if is_needed:
            text += part
    return text


def integer_suffix(lower: int) -> str:
    """What the name of a slice of integers ends with: its lower bound, "m" for minus."""
    return str(lower) if lower >= 0 else f"m{-lower}"
''','catalog.__init__': r'''"""Reading: each function asks pg_catalog or dp's own tables and returns values."""
''','catalog.adoption': r'''"""Reading a tree of partitions that nobody declared to dialog_partition."""

from __future__ import annotations

from typing import NamedTuple

from .. import database, errors
from ..model import Table
from ..plan.alter import Follower
from ..sql import Identifier, Literal, compose
from . import server as catalog_server

_HASH_KEYS = """
    SELECT DISTINCT p.partstrat AS strategy, p.partnatts AS columns,
           dp._column_names(p.partrelid, p.partattrs::int2[]) AS names
    FROM pg_inherits i JOIN pg_partitioned_table p ON p.partrelid = i.inhrelid WHERE i.inhparent = $1
"""

_KINDS = """
    SELECT count(*) FILTER (WHERE c.relkind = 'p') AS partitioned, count(*) AS all
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1
"""

_NEWEST_LEAF = """
    SELECT c.oid FROM pg_partition_tree($1) p
    JOIN pg_class c ON c.oid = p.relid JOIN pg_class parent ON parent.oid = p.parentrelid
    WHERE p.isleaf AND c.relkind = 'r'
    ORDER BY 'DEFAULT' IN (pg_get_expr(c.relpartbound, c.oid),
                           coalesce(pg_get_expr(parent.relpartbound, parent.oid), '')),
             c.oid DESC
    LIMIT 1
"""

_CHILDREN = """
    SELECT DISTINCT k.conrelid AS oid
    FROM pg_constraint k
    JOIN pg_partitioned_table p ON p.partrelid = k.conrelid AND p.partstrat = 'r' AND p.partnatts = 1
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.partattrs[0]
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1) AND k.conrelid <> ALL ($1)
      AND a.attname = $2 AND dp._column_names(k.conrelid, k.conkey) @> $3
    ORDER BY 1
"""

_PART_CONFIG = """
    SELECT n.nspname AS schema,
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
           has_table_privilege(c.oid, 'DELETE') AS deletable
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'part_config' WHERE e.extname = 'pg_partman'
"""


class PartmanSettings(NamedTuple):
    """What pg_partman's configuration says of a table."""

    schema: str
    parent_table: str
    interval: str
    premake: int
    retention: str | None
    retention_schema: str | None
    keeps_table: bool


def hash_key(root: int, name: Identifier) -> str | None:
    """The column that the slices are partitioned by; None where slices are leaves themselves."""
    rows = database.query(_HASH_KEYS, ("oid",), (root,))
    kinds = database.query(_KINDS, ("oid",), (root,))[0]
    if not rows:
        return None
    one = len(rows) == 1 and rows[0]["strategy"] == "h" and rows[0]["columns"] == 1 and rows[0]["names"]
    if not one or kinds["partitioned"] != kinds["all"]:
        raise errors.WrongObjectType(
            f"the partitions of {name} are not all partitioned by HASH of one and the same column",
            "A slice is a leaf itself, or is partitioned by HASH of the hash key.",
            "Bring the tree into that form first.",
        )
    return str(rows[0]["names"][0])


def newest_leaf(table: int) -> int | None:
    """The leaf that was made last: its settings are the template's."""
    rows = database.query(_NEWEST_LEAF, ("oid",), (table,))
    return int(rows[0]["oid"]) if rows else None


def children(tables: list[int], partition_column: str, partition_keys: tuple[str, ...]) -> list[int]:
    """Tables partitioned by the same column that refer to some tables by a key with the partition keys."""
    rows = database.query(_CHILDREN, ("oid[]", "name", "name[]"), (tables, partition_column, list(partition_keys)))
    return [row["oid"] for row in rows]


def partman(schema: str, table: str) -> PartmanSettings | None:
    """What pg_partman, where it is installed, is configured to do with a table."""
    rows = database.query(_PART_CONFIG)
    if not rows:
        return None
    parent = f"{schema}.{table}"
    if not rows[0]["readable"]:
        database.warning(f"pg_partman's configuration cannot be read: make sure that it does not manage {parent}")
        return None
    text = compose(
        "SELECT partition_interval::text AS interval, premake, retention, retention_schema,"
        " retention_keep_table AS keeps FROM {} WHERE parent_table = {}",
        Identifier(rows[0]["schema"], "part_config"),
        Literal(parent),
    )
    found = database.query_once(text.text)
    if not found:
        return None
    if not rows[0]["deletable"]:
        raise errors.InsufficientPrivilege(
            f"pg_partman manages {parent}, and its configuration may not be deleted by {catalog_server.server().user}",
            "Two programs must not maintain one table.",
            f"Call as a role that may delete from {rows[0]['schema']}.part_config.",
        )
    row = found[0]
    return PartmanSettings(
        rows[0]["schema"],
        parent,
        row["interval"],
        row["premake"],
        row["retention"],
        row["retention_schema"],
        row["keeps"],
    )


def partman_template(table: Table) -> Follower | None:
    """pg_partman's template of a table that it still manages, where it is the owner's and its configuration is seen."""
    config = database.query(_PART_CONFIG)
    if not config or not config[0]["readable"]:
        return None
    text = compose(
        "SELECT c.oid, n.nspname AS schema, c.relname AS name FROM {} p JOIN pg_class c"
        " ON c.oid = to_regclass(p.template_table) JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE p.parent_table = {} AND c.relowner = (SELECT relowner FROM pg_class WHERE oid = {})",
        Identifier(config[0]["schema"], "part_config"),
        Literal(f"{table.schema}.{table.name}"),
        Literal(table.oid),
    )
    rows = database.query_once(text.text)
    return Follower(rows[0]["oid"], Identifier(rows[0]["schema"], rows[0]["name"]), ()) if rows else None
''','catalog.alter': r'''"""Reading what schema changes need: the table that is changed, and whether all its partitions agree afterwards."""

from __future__ import annotations

from .. import database
from ..model import Hierarchy, Table
from ..plan.alter import Target
from ..plan.asked import ColumnFacts, IndexFacts
from . import slices as catalog_slices

MAX_TOLD = 5

# The partitions of a table whose column is not what the table's is; a name that the table lacks must be lacked by all.
# OFFSET 0: each column is looked up by its index, however wrong the statistics of the catalog are.
_COLUMN = """
    SELECT tree.relid::text AS name
    FROM (SELECT c.oid AS relid FROM pg_class c WHERE c.oid = $1) AS top
    CROSS JOIN pg_partition_tree(top.relid) AS tree
    LEFT JOIN LATERAL (SELECT a.*, pg_get_expr(d.adbin, d.adrelid) AS expression FROM pg_attribute a
                       LEFT JOIN pg_attrdef d ON a.atthasdef AND d.adrelid = a.attrelid AND d.adnum = a.attnum
                       WHERE a.attrelid = top.relid AND a.attname = $2 AND NOT a.attisdropped OFFSET 0) AS parent
        ON true
    LEFT JOIN LATERAL (SELECT a.*, pg_get_expr(d.adbin, d.adrelid) AS expression FROM pg_attribute a
                       LEFT JOIN pg_attrdef d ON a.atthasdef AND d.adrelid = a.attrelid AND d.adnum = a.attnum
                       WHERE a.attrelid = tree.relid AND a.attname = $2 AND NOT a.attisdropped OFFSET 0) AS own
        ON true
    WHERE (own.atttypid, own.atttypmod, own.attcollation, own.attnotnull, own.attgenerated, own.expression)
          IS DISTINCT FROM (parent.atttypid, parent.atttypmod, parent.attcollation, parent.attnotnull,
                            parent.attgenerated, parent.expression)
    LIMIT $3
"""

# A partition's own copy descends from the table's; only CHECKs have no parent, and go by their name.
_CONSTRAINT = """
    WITH RECURSIVE family AS (
        SELECT oid, conrelid, conname, contype, convalidated FROM pg_constraint WHERE conrelid = $1 AND conname = $2
        UNION ALL
        SELECT k.oid, k.conrelid, k.conname, k.contype, k.convalidated
        FROM family f JOIN pg_constraint k ON k.conparentid = f.oid
    )
    SELECT tree.relid::text AS name
    FROM pg_constraint parent, pg_partition_tree($1) AS tree
    WHERE parent.conrelid = $1 AND parent.conname = $2 AND tree.level > 0
      AND NOT CASE parent.contype WHEN 'c' THEN
          EXISTS (SELECT FROM pg_constraint own WHERE own.conrelid = tree.relid AND own.contype = 'c'
                  AND own.conname = parent.conname AND own.coninhcount > 0 AND own.convalidated = parent.convalidated)
          ELSE EXISTS (SELECT FROM family own
                       WHERE own.conrelid = tree.relid AND own.convalidated = parent.convalidated) END
    LIMIT $3
"""

_INDEX = """
    SELECT x.relname::text AS name FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = $1 AND x.relname = $2 AND NOT i.indisvalid LIMIT $3
"""

_COLUMN_FACTS = """
    SELECT format_type(a.atttypid, a.atttypmod) AS type,
           CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation::text END AS collation,
           a.attnotnull AS is_not_null,
           CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END AS identity,
           CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid)
                                               || CASE a.attgenerated WHEN 'v' THEN ' VIRTUAL' ELSE '' END
                END AS generated,
           CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_value,
           col_description(a.attrelid, a.attnum) AS comment,
           (SELECT count(DISTINCT (p.classid, p.objid)) FROM pg_depend p
            WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum)
               AS dependents
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
"""

_INDEX_FACTS = """
    SELECT i.indisunique AS is_unique, dp._index_definition(i.indexrelid) AS definition, i.indisvalid AS is_valid,
           EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid
                   AND k.contype IN ('p', 'u', 'x')) AS is_of_constraint
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = $1 AND x.relname = $2
"""

_QUERIES = {"column": _COLUMN, "constraint": _CONSTRAINT, "index": _INDEX}


def target(hierarchy: Hierarchy, table: Table) -> Target:
    """A managed table with the names of its partitions."""
    slices = hierarchy.slices[table.oid]
    leaves = catalog_slices.leaves(list(slices))
    whole = tuple(each.identifier for each in slices if not each.is_partitioned)
    below = tuple(leaf for each in slices for leaf in leaves.get(each.oid, ()))
    upper = tuple((each.oid, each.identifier) for each in slices if each.is_partitioned)
    return Target(hierarchy, table, upper, whole + below)


def disagreeing(kind: str, table: int, name: str) -> list[str]:
    """Some partitions that are not what their table is, in a column, constraint or index."""
    rows = database.query(_QUERIES[kind], ("oid", "name", "int"), (table, name, MAX_TOLD))
    return [row["name"] for row in rows]


def find_column(table: int, name: str) -> ColumnFacts | None:
    """What a column is, as PostgreSQL deparses it; None where there is none."""
    rows = database.query(_COLUMN_FACTS, ("oid", "name"), (table, name))
    return ColumnFacts(**rows[0]) if rows else None


def column(table: int, name: str) -> ColumnFacts:
    """The same of a column that is known to be there."""
    return ColumnFacts(**database.query(_COLUMN_FACTS, ("oid", "name"), (table, name))[0])


def index(table: int, name: str) -> IndexFacts | None:
    """What an index is."""
    rows = database.query(_INDEX_FACTS, ("oid", "name"), (table, name))
    return IndexFacts(**rows[0]) if rows else None


def constraint(table: int, name: str) -> str | None:
    """What a constraint is, as PostgreSQL deparses it."""
    rows = database.query(
        "SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = $1 AND conname = $2",
        ("oid", "name"),
        (table, name),
    )
    return rows[0]["definition"] if rows else None


def has_unvalidated(table: int) -> bool:
    """Whether a table has constraints that were added NOT VALID."""
    rows = database.query(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1 AND NOT convalidated) AS found",
        ("oid",),
        (table,),
    )
    return bool(rows[0]["found"])


def file_of(table: int) -> int:
    """The file that holds a table's rows: another one when they were written anew."""
    return int(database.query("SELECT pg_relation_filenode($1)::bigint AS file", ("oid",), (table,))[0]["file"])


def lacks_storage(table: int, template: int | None, given: dict[str, str], reset: list[str]) -> bool:
    """Whether the template or a leaf of a table lacks some storage parameters, or has some that shall go."""
    rows = database.query(
        "SELECT EXISTS (SELECT FROM (SELECT relid::oid AS oid FROM pg_partition_tree($1) WHERE isleaf UNION SELECT $2"
        " UNION SELECT oid FROM pg_class WHERE oid = $1 AND relkind = 'r')"
        " AS r JOIN pg_class c USING (oid) LEFT JOIN pg_class t ON t.oid = c.reltoastrelid"
        " CROSS JOIN LATERAL (SELECT coalesce(c.reloptions, '{}')"
        "                            || ARRAY(SELECT 'toast.' || o FROM unnest(t.reloptions) AS o) AS options) AS own"
        " WHERE NOT own.options @> $3 OR EXISTS (SELECT FROM unnest(own.options) AS o"
        "                                        WHERE split_part(o, '=', 1) = ANY ($4))) AS found",
        ("oid", "oid", "text[]", "text[]"),
        (table, template, [f"{name}={value}" for name, value in given.items()], reset),
    )
    return bool(rows[0]["found"])
''','catalog.cache': r'''"""Reading and filling the server's cache: extensions pg_prewarm and pg_buffercache, where they are."""

from __future__ import annotations

from typing import NamedTuple

from .. import database
from ..model import Hierarchy
from ..plan.cache import GLOBAL_INDEX, HEAP, INDEX, REFERENCE, Candidate
from ..sql import Identifier, Literal, compose

# The rows of leaves and their valid indexes; "chosen" are the tables' indexes that must be warm, all where NULL.
_RELATIONS = """
    SELECT r.oid, r.relkind, n.nspname AS schema, r.relname AS name, pg_relation_size(r.oid) AS size, leaf.slice
    FROM (SELECT s.oid AS slice, coalesce(h.inhrelid, s.oid) AS oid
          FROM unnest($1) AS s (oid) LEFT JOIN pg_inherits h ON h.inhparent = s.oid) AS leaf
    CROSS JOIN LATERAL (
        SELECT leaf.oid UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = leaf.oid AND i.indisvalid
          AND ($2 IS NULL OR EXISTS (SELECT FROM pg_partition_ancestors(i.indexrelid) AS a WHERE a.relid = ANY ($2)))
    ) AS each (oid)
    JOIN pg_class r ON r.oid = each.oid
    JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE r.relkind IN ('r', 'i')
"""

_SIDE_RELATIONS = """
    SELECT r.oid, n.nspname AS schema, r.relname AS name, pg_relation_size(r.oid) AS size
    FROM (SELECT $1 AS oid UNION SELECT relid::oid FROM pg_partition_tree($1)) AS side
    CROSS JOIN LATERAL (SELECT side.oid UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = side.oid)
        AS each (oid)
    JOIN pg_class r ON r.oid = each.oid
    JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE r.relkind IN ('r', 'i')
"""

_FACILITIES = """
    SELECT e.extname AS name, n.nspname AS schema,
           CASE e.extname WHEN 'pg_prewarm' THEN bool_or(has_function_privilege(p.oid, 'EXECUTE'))
           ELSE bool_or(has_function_privilege(p.oid, 'EXECUTE')) FILTER (WHERE p.proname = 'pg_buffercache_pages')
                AND has_table_privilege(format('%I.pg_buffercache', n.nspname), 'SELECT') END AS usable
    FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace
    JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname IN ('pg_prewarm', 'pg_buffercache_pages')
        AND starts_with(p.proname, e.extname)
    WHERE e.extname = $1
    GROUP BY e.extname, n.nspname
"""


class Facility(NamedTuple):
    """An extension that knows the cache, and whether the caller may use it."""

    schema: str
    usable: bool


class _Warmed(Exception):
    """Ends a subtransaction, which lets the lock of a relation go that was warmed; its pages stay."""


def facility(name: str) -> Facility | None:
    """An extension, None where it is not installed."""
    rows = database.query(_FACILITIES, ("text",), (name,))
    return Facility(rows[0]["schema"], bool(rows[0]["usable"])) if rows else None


def candidates(hierarchy: Hierarchy, indexes: list[int] | None) -> list[Candidate]:
    """The relations of a hierarchy that hold pages, of its indexes the given ones or all."""
    found: list[Candidate] = []
    for table in hierarchy.tables:
        slices = hierarchy.slices[table.oid]
        # by their end, the newest first; the default slice's rows are of no time, and come last
        newest = sorted(slices, key=lambda each: (each.upper is None, -(each.upper.point if each.upper else 0)))
        age = {each.oid: place for place, each in enumerate(newest)}
        rows = database.query(_RELATIONS, ("oid[]", "oid[]"), ([each.oid for each in slices], indexes))
        for row in rows:
            kind = HEAP if row["relkind"] == "r" else INDEX
            name = Identifier(row["schema"], row["name"]).text
            found.append(Candidate(row["oid"], table.identifier.text, name, kind, row["size"], age[row["slice"]]))
        for side in table.global_indexes:
            for row in database.query(_SIDE_RELATIONS, ("oid",), (side.oid,)):
                name = Identifier(row["schema"], row["name"]).text
                found.append(Candidate(row["oid"], table.identifier.text, name, GLOBAL_INDEX, row["size"], 0))
    for table in hierarchy.references:
        name = table.identifier.text
        size = database.query("SELECT pg_relation_size($1::regclass) AS size", ("oid",), (table.oid,))[0]["size"]
        found.append(Candidate(table.oid, name, name, REFERENCE, size, 0))
    return [each for each in found if each.size > 0]


def primary_keys(tables: list[int]) -> list[int]:
    """The indexes of the tables' primary keys."""
    rows = database.query(
        "SELECT indexrelid AS oid FROM pg_index WHERE indisprimary AND indrelid = ANY ($1)", ("oid[]",), (tables,)
    )
    return [row["oid"] for row in rows]


def resident(found: list[Candidate], buffercache: Facility) -> dict[int, int]:
    """How many bytes of each relation's main fork are in the cache."""
    query = compose(
        "WITH cached AS (SELECT reltablespace, relfilenode, count(*) AS pages FROM {}"
        " WHERE relforknumber = 0 AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " GROUP BY 1, 2)"
        " SELECT c.oid, cached.pages * current_setting('block_size')::bigint AS bytes FROM pg_class c"
        " JOIN cached ON cached.relfilenode = pg_relation_filenode(c.oid) AND cached.reltablespace = coalesce("
        "nullif(c.reltablespace, 0), (SELECT dattablespace FROM pg_database WHERE datname = current_database()))"
        " WHERE c.oid = ANY ({}::oid[])",
        Identifier(buffercache.schema, "pg_buffercache"),
        Literal("{" + ",".join(str(each.oid) for each in found) + "}"),
    )
    return {row["oid"]: int(row["bytes"]) for row in database.query_once(query.text)}


def warm(each: Candidate, prewarm: Facility) -> None:
    """Read a relation into the cache; its lock is let go at once."""
    query = compose("SELECT {}({}::oid::regclass)", Identifier(prewarm.schema, "pg_prewarm"), Literal(each.oid))
    try:
        with database.subtransaction():
            database.query_once(query.text)
            raise _Warmed
    except _Warmed:
        pass


def buffers() -> int:
    """The size of shared_buffers in bytes."""
    rows = database.query("SELECT pg_size_bytes(current_setting('shared_buffers')) AS bytes")
    return int(rows[0]["bytes"])
''','catalog.conversion': r'''"""Reading plain tables that are to be converted: which they are, what depends on them, what is in them."""

from __future__ import annotations

import datetime

from .. import database, errors
from ..model import ForeignKey
from ..plan.conversion import Facts, Member, choose_owners
from ..plan.structure import Structure
from ..sql import Identifier
from . import properties as catalog_properties
from . import structure as catalog_structure

_RELATIONS = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
           c.relkind = 'r' AND NOT c.relispartition AND c.relpersistence <> 't'
           AND NOT EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)) AS is_plain,
           c.relforcerowsecurity AS is_forced, c.oid::regclass::text AS text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)
"""

_REFERRING = """
    SELECT conrelid AS child FROM pg_constraint
    WHERE contype = 'f' AND conparentid = 0 AND confrelid = ANY ($1) AND conrelid <> confrelid
    UNION SELECT NULL WHERE false
"""

_REFERRED = """
    SELECT DISTINCT n.nspname AS schema, c.relname AS name, pg_has_role(c.relowner, 'USAGE') AS is_own
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1) AND k.confrelid <> ALL ($1)
    ORDER BY n.nspname, c.relname
"""

# hash_record_extended needs the extended hash function (2) of each column's type; a domain's is its base's.
_STORED = """
    SELECT a.attname AS name,
           EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
                   JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amprocnum = 2
                        AND p.amproclefttype = o.opcintype AND p.amprocrighttype = o.opcintype
                   WHERE o.opcdefault AND (o.opcintype = b.oid OR b.typtype = 'e' AND o.opcintype = 'anyenum'::regtype
                         OR EXISTS (SELECT FROM pg_cast c WHERE c.castsource = b.oid AND c.casttarget = o.opcintype
                                    AND c.castmethod = 'b' AND c.castcontext = 'i'))) AS is_hashable
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""

_INDEXES = """
    SELECT c.relname AS name, pg_get_expr(i.indpred, i.indrelid) AS predicate, i.indisclustered AS is_clustered,
           i.indisunique AND i.indexprs IS NULL AND i.indimmediate
           AND NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS is_plain
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1
"""

_NOT_VALID = """
    SELECT conname AS name, contype AS type, pg_get_constraintdef(oid) AS definition FROM pg_constraint
    WHERE conrelid = $1 AND contype IN ('c', 'f') AND NOT convalidated ORDER BY conname
"""

_ROW_TYPES = """
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) AS name
    FROM pg_depend d
    WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'n'
      AND d.refobjid IN (SELECT reltype FROM pg_class WHERE oid = $1
                         UNION SELECT t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE c.oid = $1)
      AND d.classid <> 'pg_rewrite'::regclass
    UNION
    SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0)
    FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_type'::regclass
      AND d.refobjid IN (SELECT reltype FROM pg_class WHERE oid = $1
                         UNION SELECT t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE c.oid = $1)
    ORDER BY 1
"""


def find(
    root: int, exclude: list[int], include: list[int], owner_paths: dict[int, list[str]]
) -> tuple[list[Member], list[tuple[str, str]]]:
    """The tables of the hierarchy to be, parents before children, and those that cannot belong to it, with why."""
    own = _relations([root])[root]
    found: dict[int, Identifier] = {root: Identifier(own["schema"], own["name"])}
    left: list[tuple[str, str]] = []
    waiting = [root]
    while waiting:
        rows = database.query(_REFERRING, ("oid[]",), (waiting,))
        new = [row["child"] for row in rows if row["child"] not in found and row["child"] not in exclude]
        waiting = []
        for oid, relation in _relations(sorted(set(new))).items():
            name = Identifier(relation["schema"], relation["name"])
            why = _why_not(relation, own["owner"])
            if why is not None:
                left.append((name.text, why))
                continue
            found[oid] = name
            waiting.append(oid)
    _check_included(include, found)
    return _in_order(root, {oid: _member(oid) for oid in found}, owner_paths), left


def _check_included(include: list[int], found: dict[int, Identifier]) -> None:
    for oid in include:
        if oid not in found:
            name = database.query("SELECT $1::regclass::text AS name", ("oid",), (oid,))[0]["name"]
            raise errors.InvalidParameter.of(
                "include",
                name,
                "No foreign key leads from it to the root, so that it is not known which of its rows belong where.",
                "Add the foreign key first, NOT VALID and without ON DELETE where it shall only say the way.",
            )


def _relations(oids: list[int]) -> dict[int, database.Row]:
    return {row["oid"]: row for row in database.query(_RELATIONS, ("oid[]",), (oids,))}


def _why_not(relation: database.Row, owner: str) -> str | None:
    if relation["owner"] != owner:
        return f"It belongs to {relation['owner']}, the root to {owner}."
    if not relation["is_plain"]:
        return "It is partitioned, a partition, or inherits."
    return None


def _member(oid: int) -> Member:
    return member(catalog_structure.read(oid), None)


def member(structure: Structure, template: int | None) -> Member:
    """A table with what only a conversion asks of it."""
    oid = structure.oid
    not_valid = database.query(_NOT_VALID, ("oid",), (oid,))
    stored = database.query(_STORED, ("oid",), (oid,))
    indexes = database.query(_INDEXES, ("oid",), (oid,))
    relation = _relations([oid])[oid]
    facts = Facts(
        tuple(row["name"] for row in stored),
        frozenset(row["name"] for row in stored if row["is_hashable"]),
        {row["name"]: row["predicate"] for row in indexes if row["predicate"] is not None},
        frozenset(row["name"] for row in indexes if row["is_plain"]),
        tuple(row["name"] for row in database.query(_ROW_TYPES, ("oid",), (oid,))),
        relation["is_forced"],
        relation["text"],
        tuple((row["name"], row["definition"]) for row in not_valid if row["type"] == "c"),
        tuple(row["name"] for row in not_valid if row["type"] == "f"),
        next((row["name"] for row in indexes if row["is_clustered"]), None),
    )
    return Member(structure, catalog_properties.read(oid, template), facts)


def _in_order(root: int, members: dict[int, Member], owner_paths: dict[int, list[str]]) -> list[Member]:
    """Parents before children; each with its owners."""
    inside: dict[int, list[ForeignKey]] = {
        oid: [key for key in member.structure.foreign_keys if key.parent in members] for oid, member in members.items()
    }
    depths = {root: 0}
    ordered = [members[root]._replace(others=tuple(inside[root]))]
    waiting = {oid for oid in members if oid != root}
    while waiting:
        free = [oid for oid in waiting if all(k.parent in depths for k in inside[oid] if k.parent != oid)]
        if not free:
            circle = ", ".join(members[oid].identifier.text for oid in sorted(waiting))
            raise errors.InvalidTableDefinition(
                f"the foreign keys of {circle} form a circle",
                "Rows are copied and tables made in the order of their foreign keys.",
                "Drop one of these keys, or leave a table out with exclude => ...",
            )
        for oid in sorted(free, key=lambda each: members[each].identifier.text):
            owners, others = choose_owners(members[oid].structure, inside[oid], depths, owner_paths.get(oid))
            _check_owners(members[oid], owners, owner_paths.get(oid))
            depths[oid] = 1 + min(depths[key.parent] for key in owners)
            ordered.append(members[oid]._replace(owners=owners, others=others, depth=depths[oid]))
        waiting -= set(free)
    return ordered


def _check_owners(member: Member, owners: tuple[ForeignKey, ...], named: list[str] | None) -> None:
    missing = sorted(set(named or ()) - {key.name for key in owners})
    if missing or not owners:
        known = ", ".join(sorted(key.name for key in member.structure.foreign_keys))
        raise errors.InvalidParameter.of(
            "owner_paths",
            ", ".join(missing) or "[]",
            f"The foreign keys of {member.identifier} are {known}; those named must lead into the hierarchy.",
            "Name foreign keys of the table by which its rows come to the root.",
        )


def references(members: list[Member]) -> list[tuple[Identifier, bool]]:
    """The tables beside the hierarchy that it refers to."""
    rows = database.query(_REFERRED, ("oid[]",), ([member.oid for member in members],))
    return [(Identifier(row["schema"], row["name"]), row["is_own"]) for row in rows]


def outside_keys(members: list[Member]) -> list[ForeignKey]:
    """The foreign keys of other tables that point into the hierarchy."""
    inside = {member.oid for member in members}
    return [key for member in members for key in member.structure.incoming if key.child not in inside]


def count(statement: str) -> database.Row:
    """The one row of a counting query."""
    return database.query_once(statement)[0]


def distribution(statement: str) -> list[tuple[datetime.datetime, int]]:
    """How many rows lie in each month."""
    return [
        (datetime.datetime(row["year"], row["month"], 1), row["rows"])
        for row in database.query_once(statement)
        if 1 <= row["year"] <= 9998
    ]
''','catalog.conversion_state': r'''"""How far conversions are: their steps, and the tables they are about."""

from __future__ import annotations

from typing import NamedTuple

from .. import database, errors
from ..plan.conversion import Conversion, working_schema
from ..plan.conversion_record import Record
from ..plan.conversion_record import read as read_record
from ..plan.conversion_steps import Part
from ..sql import SQL, Identifier, Literal, compose


class State(NamedTuple):
    """A conversion that was begun."""

    root: int  # the plain root
    hierarchy: int | None  # the root of the hierarchy that takes its place
    state: str
    owner: str
    name: str
    hierarchy_name: str | None
    is_back: bool


class Stored(NamedTuple):
    """A step that is to be done."""

    position: int
    phase: str
    kind: str
    table: int
    parents: tuple[int, ...]
    target: SQL
    statements: tuple[SQL, ...]
    arguments: str
    next_block: int


def find(root: int) -> State | None:
    """The conversion that a table is the root of, be it the plain one or the other."""
    rows = database.query(
        "SELECT s.root::oid AS root, s.hierarchy::oid AS hierarchy, s.state, pg_get_userbyid(c.relowner) AS owner,"
        " s.root::text AS name, s.hierarchy::text AS hierarchy_name, s.is_back"
        " FROM dp.conversion_config s JOIN pg_class c ON c.oid = s.root WHERE $1 IN (s.root::oid, s.hierarchy::oid)",
        ("oid",),
        (root,),
    )
    return State(**rows[0]) if rows else None


def begin(conversion: Conversion, parts: list[Part]) -> None:
    """Store a conversion that begins."""
    root = conversion.root.oid
    database.query(
        "INSERT INTO dp.conversion_config (root, state, is_back) VALUES ($1, 'structure', $2)",
        ("oid", "bool"),
        (root, conversion.is_back),
    )
    for position, member in enumerate(conversion.members):
        database.query(
            "INSERT INTO dp.conversion_table (root, plain, position) VALUES ($1, $2, $3)",
            ("oid", "oid", "int4"),
            (root, member.oid, position),
        )
    for position, part in enumerate(parts):
        database.query(
            "INSERT INTO dp.conversion_step (root, position, phase, kind, tbl, parents, target, statements, arguments)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            ("oid", "int4", "text", "text", "oid", "oid[]", "text", "text[]", "text"),
            (
                root,
                position,
                part.phase,
                part.kind,
                part.table or root,
                list(part.parents),
                part.target.text,
                [statement.text for statement in part.statements],
                part.arguments,
            ),
        )


def next_step(root: int) -> Stored | None:
    """The first step that is not done."""
    rows = database.query(
        "SELECT position, phase, kind, tbl::oid AS tbl, parents::oid[] AS parents, target, statements, arguments,"
        " next_block FROM dp.conversion_step WHERE root = $1 AND NOT is_done ORDER BY position LIMIT 1",
        ("oid",),
        (root,),
    )
    if not rows:
        return None
    row = rows[0]
    return Stored(
        row["position"],
        row["phase"],
        row["kind"],
        row["tbl"],
        tuple(row["parents"]),
        SQL(row["target"]),
        tuple(SQL(statement) for statement in row["statements"]),
        row["arguments"],
        row["next_block"],
    )


def done_statement(root: int, step: Stored) -> SQL:
    """A step is done."""
    return compose(
        "UPDATE dp.conversion_step SET is_done = true WHERE root = {}::oid AND position = {}",
        Literal(root),
        Literal(step.position),
    )


def advanced_statement(root: int, step: Stored, block: int) -> SQL:
    """The blocks before this one are copied."""
    return compose(
        "UPDATE dp.conversion_step SET next_block = {} WHERE root = {}::oid AND position = {}",
        Literal(block),
        Literal(root),
        Literal(step.position),
    )


def remember(root: int, step: Stored, arguments: str) -> None:
    """Note what a step found out."""
    database.query(
        "UPDATE dp.conversion_step SET arguments = $3, is_done = true WHERE root = $1 AND position = $2",
        ("oid", "int4", "text"),
        (root, step.position, arguments),
    )


def versions(root: int) -> list[tuple[str, str]]:
    """The row versions of each plain table when it was compared."""
    rows = database.query(
        "SELECT tbl::text AS name, arguments FROM dp.conversion_step WHERE root = $1 AND kind = 'verify'"
        " ORDER BY position",
        ("oid",),
        (root,),
    )
    return [(row["name"], row["arguments"]) for row in rows]


def set_state(root: int, state: str) -> None:
    """How far it is."""
    database.query(
        "UPDATE dp.conversion_config SET state = $2,"
        " hierarchy = (SELECT converted FROM dp.conversion_table WHERE root = $1 AND plain::oid = $1) WHERE root = $1",
        ("oid", "text"),
        (root, state),
    )


def note_converted(root: int) -> None:
    """Note which tables take the place of the plain ones: those that were built for them."""
    for row in tables(root):
        if row["converted"] is None:
            built = Identifier(working_schema(row["plain_schema"]), row["name"])
            database.query(
                "UPDATE dp.conversion_table SET converted = to_regclass($3) WHERE root = $1 AND plain::oid = $2",
                ("oid", "oid", "text"),
                (root, row["plain"], built.text),
            )


def tables(root: int) -> list[database.Row]:
    """The tables of a conversion, parents first: plain and converted, with their schemas."""
    return database.query(
        "SELECT t.plain::oid AS plain, t.converted::oid AS converted, n.nspname AS plain_schema, p.relname AS name,"
        " m.nspname AS converted_schema, t.plain::text AS plain_text, t.converted::text AS converted_text"
        " FROM dp.conversion_table t JOIN pg_class p ON p.oid = t.plain JOIN pg_namespace n ON n.oid = p.relnamespace"
        " LEFT JOIN pg_class c ON c.oid = t.converted LEFT JOIN pg_namespace m ON m.oid = c.relnamespace"
        " WHERE t.root = $1 ORDER BY t.position",
        ("oid",),
        (root,),
    )


def blocks(table: int) -> int:
    """How many blocks a plain table has."""
    query = "SELECT pg_relation_size($1::regclass) / current_setting('block_size')::bigint AS blocks"
    return int(database.query(query, ("oid",), (table,))[0]["blocks"])


def tree_size(table: int) -> int:
    """How many relations a partitioned table is."""
    return int(database.query("SELECT count(*) AS n FROM pg_partition_tree($1::regclass)", ("oid",), (table,))[0]["n"])


def partitions_elsewhere(table: int) -> list[SQL]:
    """The partitions of a table, and their statistics objects, that are not in its schema: as ALTER names them."""
    rows = database.query(
        "SELECT 'TABLE' AS kind, n.nspname AS schema, c.relname AS name FROM pg_partition_tree($1::regclass) t"
        " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.oid <> (SELECT relnamespace FROM pg_class WHERE oid = $1)"
        " UNION ALL SELECT 'STATISTICS', n.nspname, s.stxname FROM pg_partition_tree($1::regclass) t"
        " JOIN pg_statistic_ext s ON s.stxrelid = t.relid AND t.level > 0 JOIN pg_namespace n ON n.oid = s.stxnamespace"
        " WHERE n.oid <> (SELECT relnamespace FROM pg_class WHERE oid = $1) ORDER BY 1 DESC, 3",
        ("oid",),
        (table,),
    )
    return [compose("{} {}", SQL(row["kind"]), Identifier(row["schema"], row["name"])) for row in rows]


def foreign_keys_of(tables_: list[int]) -> list[database.Row]:
    """The foreign keys declared on some tables, and how many relations each touches."""
    return database.query(
        "SELECT k.conname AS name, n.nspname AS schema, c.relname AS relation, k.conrelid AS child,"
        " k.confrelid AS parent"
        " FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1) ORDER BY k.oid",
        ("oid[]",),
        (tables_,),
    )


def slices_of(table: int) -> list[Identifier]:
    """The slices of a table."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = $1 ORDER BY c.relname",
        ("oid",),
        (table,),
    )
    return [Identifier(row["schema"], row["name"]) for row in rows]


def existing_schemas(schemas: list[str]) -> list[str]:
    """Which of some schemas exist."""
    rows = database.query(
        "SELECT nspname AS name FROM pg_namespace WHERE nspname = ANY ($1) ORDER BY 1", ("name[]",), (schemas,)
    )
    return [row["name"] for row in rows]


def is_empty_schema(schema: str) -> bool:
    """Whether nothing is in a schema."""
    rows = database.query(
        "SELECT 1 FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = $1::regnamespace LIMIT 1",
        ("text",),
        (Identifier(schema).text,),
    )
    return not rows


def relation(oid: int) -> database.Row:
    """Name, schema and owner of a table."""
    rows = database.query(
        "SELECT c.oid::regclass::text AS name, n.nspname AS schema, pg_get_userbyid(c.relowner) AS owner"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        ("oid",),
        (oid,),
    )
    if not rows:
        raise errors.UndefinedObject(f"relation {oid} does not exist", "It was dropped meanwhile.", "Name a table.")
    return rows[0]


def oid_of(name: str) -> int:
    """The oid of a relation, by its qualified name."""
    return int(database.query("SELECT $1::regclass::oid AS oid", ("text",), (name,))[0]["oid"])


def records(tables_: list[int]) -> dict[int, Record]:
    """What conversions changed of some tables."""
    rows = database.query(
        "SELECT t.oid AS tbl, r.changes::text AS changes FROM unnest($1) AS t (oid)"
        " LEFT JOIN dp.conversion_record r ON r.tbl = t.oid",
        ("oid[]",),
        (tables_,),
    )
    return {row["tbl"]: read_record(row["changes"]) for row in rows}


def leaves_of(table: int) -> list[tuple[int, Identifier]]:
    """The leaves of a table."""
    rows = database.query(
        "SELECT c.oid, n.nspname AS schema, c.relname AS name FROM pg_partition_tree($1::regclass) t"
        " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE t.isleaf AND c.relkind = 'r' ORDER BY c.relname",
        ("oid",),
        (table,),
    )
    return [(row["oid"], Identifier(row["schema"], row["name"])) for row in rows]


def exists(oid: int) -> bool:
    """Whether a relation is there."""
    return bool(database.query("SELECT 1 FROM pg_class WHERE oid = $1", ("oid",), (oid,)))
''','catalog.dependents': r'''"""Reading what depends on plain tables, with what is needed to let it mean the new ones."""

from __future__ import annotations

from .. import database
from ..plan.conversion import Dependent
from ..plan.properties import Grant, comment_statements, grant_statements
from ..sql import SQL, Identifier, Literal, compose
from . import properties as catalog_properties

# Everything above the tables: views, functions with SQL bodies, rules and policies of other tables. A rewrite rule
# stands for its view. The level is the longest way, so that what is needed comes first.
_ABOVE = """
    WITH RECURSIVE above (class, oid, level) AS (
        SELECT 'pg_class'::regclass::oid, oid, 0 FROM unnest($1) AS t (oid)
        UNION
        SELECT CASE WHEN r.rulename = '_RETURN' THEN 'pg_class'::regclass::oid ELSE d.classid END,
               CASE WHEN r.rulename = '_RETURN' THEN r.ev_class ELSE d.objid END, above.level + 1
        FROM above
        JOIN pg_depend d ON d.refclassid = above.class AND d.refobjid = above.oid AND d.deptype = 'n'
        LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid
        WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass) AND above.level < 100
          AND coalesce(r.ev_class, y.polrelid, 0) <> ALL ($1)
          AND NOT EXISTS (SELECT FROM pg_class p WHERE p.oid = coalesce(r.ev_class, y.polrelid) AND p.relispartition)
          AND NOT (above.class = 'pg_class'::regclass AND r.ev_class IS NOT DISTINCT FROM above.oid)
    )
    SELECT class::regclass::text AS class, oid, max(level) AS level FROM above
    WHERE level > 0 GROUP BY class, oid ORDER BY 3, 1, 2
"""

_RELATION = """
    SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, pg_get_userbyid(c.relowner) AS owner,
           pg_has_role(c.relowner, 'USAGE') AS is_own, rtrim(pg_get_viewdef(c.oid), ';') AS definition,
           array_to_string(c.reloptions, ', ') AS options, c.relispopulated AS is_populated,
           ts.spcname AS tablespace,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid ORDER BY i.indexrelid)
               AS indexes,
           ARRAY(SELECT format('COMMENT ON INDEX %I.%I IS %L', n.nspname, x.relname, obj_description(x.oid, 'pg_class'))
                 FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid AND obj_description(x.oid, 'pg_class') IS NOT NULL) AS index_comments,
           ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                 ORDER BY t.oid)
               || ARRAY(SELECT rtrim(pg_get_ruledef(w.oid), ';') FROM pg_rewrite w
                        WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN' ORDER BY w.oid)
               || ARRAY(SELECT format('ALTER VIEW %I.%I ALTER COLUMN %I SET DEFAULT %s', n.nspname, c.relname,
                                      a.attname, pg_get_expr(f.adbin, f.adrelid))
                        FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                        WHERE f.adrelid = c.oid ORDER BY a.attnum) AS parts
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
    WHERE c.oid = $1
"""

_FUNCTION = """
    SELECT pg_get_functiondef(p.oid) AS definition, p.oid::regprocedure::text AS name,
           p.prosqlbody IS NOT NULL AS is_sql,
           pg_has_role(p.proowner, 'USAGE') AS is_own, pg_get_userbyid(p.proowner) AS owner
    FROM pg_proc p WHERE p.oid = $1 AND p.prokind IN ('f', 'p')
"""

_RULE = """
    SELECT rtrim(pg_get_ruledef(w.oid), ';') AS definition,
           format('rule %I on %s', w.rulename, w.ev_class::regclass) AS name,
           pg_has_role(c.relowner, 'USAGE') AS is_own, pg_get_userbyid(c.relowner) AS owner
    FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class WHERE w.oid = $1
"""

_POLICY = """
    SELECT p.polname AS name, n.nspname AS schema, c.relname AS relation, pg_get_expr(p.polqual, p.polrelid) AS using,
           pg_get_expr(p.polwithcheck, p.polrelid) AS "check", pg_has_role(c.relowner, 'USAGE') AS is_own,
           pg_get_userbyid(c.relowner) AS owner
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.oid = $1
"""

# What stands above a materialized view, which cannot be replaced in place: it goes, and is made again.
_OVER = """
    WITH RECURSIVE over (oid) AS (
        SELECT c.oid FROM pg_class c WHERE c.oid = ANY ($1) AND c.relkind = 'm'
        UNION
        SELECT r.ev_class FROM over JOIN pg_depend d
          ON d.refclassid = 'pg_class'::regclass AND d.refobjid = over.oid AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN'
    )
    SELECT oid FROM over
"""


def read(tables: list[int]) -> tuple[list[Dependent], list[tuple[str, str]]]:
    """What depends on tables, the lowest first; and what of it cannot be made again, with why."""
    rows = database.query(_ABOVE, ("oid[]",), (tables,))
    relations = [row["oid"] for row in rows if row["class"] == "pg_class"]
    made_again = {row["oid"] for row in database.query(_OVER, ("oid[]",), (relations,))}
    found: list[Dependent] = []
    blocked: list[tuple[str, str]] = []
    for row in rows:
        about = (row["oid"],)
        if row["class"] == "pg_class":
            dependent, facts = _relation(row["oid"], row["oid"] in made_again)
        elif row["class"] == "pg_proc":
            facts = next(iter(database.query(_FUNCTION, ("oid",), about)), {})
            if not facts or not facts["is_sql"]:
                continue  # by its parameters or result, which is told elsewhere
            dependent = Dependent("function", f"function {facts['name']}", None, (facts["definition"],))
        elif row["class"] == "pg_rewrite":
            facts = database.query(_RULE, ("oid",), about)[0]
            dependent = Dependent("rule", facts["name"], None, (_replacing(facts["definition"]),))
        else:
            facts = database.query(_POLICY, ("oid",), about)[0]
            dependent = _policy(facts)
        if not facts["is_own"]:
            blocked.append((dependent.name, f"It belongs to {facts['owner']}."))
        found.append(dependent)
    return found, blocked


def _replacing(rule: str) -> str:
    return "CREATE OR REPLACE" + rule[len("CREATE") :]


def _policy(facts: database.Row) -> Dependent:
    name, table = Identifier(facts["name"]), Identifier(facts["schema"], facts["relation"])
    clauses = compose(
        "ALTER POLICY {} ON {}{}{}",
        name,
        table,
        compose(" USING ({})", SQL(facts["using"])) if facts["using"] else SQL(""),
        compose(" WITH CHECK ({})", SQL(facts["check"])) if facts["check"] else SQL(""),
    )
    return Dependent("policy", f"policy {name} on {table}", None, (clauses.text,))


def _relation(oid: int, is_made_again: bool) -> tuple[Dependent, database.Row]:
    """A view or a materialized view."""
    facts = database.query(_RELATION, ("oid",), (oid,))[0]
    name = Identifier(facts["schema"], facts["name"])
    options = f" WITH ({facts['options']})" if facts["options"] else ""
    if facts["kind"] == "v" and not is_made_again:
        replace = f"CREATE OR REPLACE VIEW {name}{options} AS {facts['definition']}"
        return Dependent("view", f"view {name}", None, (replace,)), facts
    state = catalog_properties.states([oid])[oid]
    own = tuple(Grant(g.grantee, g.privilege, g.column, g.is_grantable) for g in state.grants)
    kind = "VIEW" if facts["kind"] == "v" else "MATERIALIZED VIEW"
    tail = " WITH NO DATA" if facts["kind"] == "m" else ""
    space = f" TABLESPACE {Identifier(facts['tablespace'])}" if facts["tablespace"] else ""
    statements = [f"CREATE {kind} {name}{options}{space} AS {facts['definition']}{tail}", *facts["indexes"]]
    statements += facts["index_comments"] + facts["parts"]
    statements += [each.text for each in grant_statements(own, name)]
    if state.comment is not None:
        statements.append(compose("COMMENT ON {} {} IS {}", SQL(kind), name, Literal(state.comment)).text)
    statements += [each.text for each in comment_statements(None, state.column_comments, name)]
    afterwards = (f"REFRESH MATERIALIZED VIEW {name}",) if facts["kind"] == "m" and facts["is_populated"] else ()
    kind_word = kind.lower()
    return Dependent(kind_word, f"{kind_word} {name}", f"DROP {kind} {name}", tuple(statements), afterwards), facts
''','catalog.detached': r'''"""Reading slices that were detached: those that are remembered, and those that somebody detached by hand."""

from __future__ import annotations

from .. import database, keys, naming
from ..model import Hierarchy, SliceSpec, Table
from ..plan.alter import Follower
from ..plan.detached import DetachedSlice
from ..sql import Identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..database import Row

_RELATION = """
    n.nspname AS schema, c.relname AS name,
    ARRAY(SELECT l.relname FROM pg_inherits i JOIN pg_class l ON l.oid = i.inhrelid WHERE i.inhparent = c.oid
          ORDER BY 1) AS leaves,
    ARRAY(SELECT k.conname FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
          AND k.confrelid = ANY ($2) ORDER BY 1) AS foreign_keys
"""

_REMEMBERED = f"""
    SELECT d.tbl::oid AS table, d.lower_bound, d.upper_bound, p.lower_point, p.upper_point,
           dp._local_name(p.lower_point, $3, $4) AS lower_local, {_RELATION}
    FROM dp.detached_slice d JOIN pg_class c ON c.oid = d.slice JOIN pg_namespace n ON n.oid = c.relnamespace,
         LATERAL (SELECT dp._point(trim(BOTH chr(39) FROM d.lower_bound), $3) AS lower_point,
                         dp._point(trim(BOTH chr(39) FROM d.upper_bound), $3) AS upper_point) AS p
    WHERE d.root = $1
"""

# A table that stands by itself, with the name of a slice, the owner of the table, and the table's columns.
_BY_HAND = f"""
    SELECT w.number, dp._local_name(w.lower_point, $6, $7) AS lower_local, {_RELATION}
    FROM unnest($1, $3, $4, $5) WITH ORDINALITY AS w (tbl, schema_name, slice_name, lower_point, number)
    JOIN pg_class parent ON parent.oid = w.tbl
    JOIN pg_namespace n ON n.nspname = w.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.slice_name
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relowner = parent.relowner
      AND NOT EXISTS (SELECT FROM dp.detached_slice d WHERE d.slice = c.oid)
      AND (SELECT array_agg((a.attname, a.atttypid, a.atttypmod, a.attcollation)::text ORDER BY a.attname)
           FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
        = (SELECT array_agg((a.attname, a.atttypid, a.atttypmod, a.attcollation)::text ORDER BY a.attname)
           FROM pg_attribute a WHERE a.attrelid = w.tbl AND a.attnum > 0 AND NOT a.attisdropped)
    ORDER BY w.number
"""


def remembered(hierarchy: Hierarchy) -> list[DetachedSlice]:
    """The slices that calls detached and that are still there, in the order of the tables."""
    rows = database.query(
        _REMEMBERED,
        ("oid", "oid[]", "text", "text"),
        (hierarchy.root.oid, _tables(hierarchy), hierarchy.root.partition_type, hierarchy.policy.time_zone),
    )
    found = [
        _detached(row, row["table"], row["lower_bound"], row["upper_bound"], row["lower_point"], row["upper_point"])
        for row in rows
    ]
    order = {oid: position for position, oid in enumerate(_tables(hierarchy))}
    return sorted(found, key=lambda each: order.get(each.table, len(order)))


def of_table(table: Table) -> tuple[Follower, ...]:
    """The remembered slices of one table that its owner still owns."""
    rows = database.query(
        "SELECT c.oid, n.nspname AS schema, c.relname AS name,"
        " ARRAY(SELECT ARRAY[ln.nspname, l.relname] FROM pg_inherits i JOIN pg_class l ON l.oid = i.inhrelid"
        " JOIN pg_namespace ln ON ln.oid = l.relnamespace WHERE i.inhparent = c.oid ORDER BY l.relname) AS leaves"
        " FROM dp.detached_slice d JOIN pg_class c ON c.oid = d.slice JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_class parent ON parent.oid = d.tbl AND parent.relowner = c.relowner"
        " WHERE d.tbl = $1 ORDER BY n.nspname, c.relname",
        ("oid",),
        (table.oid,),
    )
    return tuple(
        Follower(row["oid"], Identifier(row["schema"], row["name"]), tuple(Identifier(*leaf) for leaf in row["leaves"]))
        for row in rows
    )


def by_hand(hierarchy: Hierarchy, lacking: list[tuple[Table, SliceSpec]]) -> list[DetachedSlice]:
    """The tables that stand where tables of the hierarchy lack slices, in the same order."""
    wanted = [(table, spec) for table, spec in lacking if spec.lower is not None and spec.upper is not None]
    if not wanted:
        return []
    rows = database.query(
        _BY_HAND,
        ("oid[]", "oid[]", "text[]", "text[]", "bigint[]", "text", "text"),
        (
            [table.oid for table, _ in wanted],
            _tables(hierarchy),
            [table.schema for table, _ in wanted],
            [naming.slice_name(table.name, spec.suffix) for table, spec in wanted],
            [spec.span[0] for _, spec in wanted],
            hierarchy.root.partition_type,
            hierarchy.policy.time_zone,
        ),
    )
    found = []
    for row in rows:
        table, spec = wanted[row["number"] - 1]
        assert spec.lower is not None and spec.upper is not None
        lower, upper = spec.lower.point, spec.upper.point
        key_type = str(table.partition_type)
        texts = (keys.literal(lower, key_type).text, keys.literal(upper, key_type).text)
        found.append(_detached(row, table.oid, *texts, lower, upper)._replace(is_remembered=False))
    return found


def unlike_columns(each: DetachedSlice) -> list[str]:
    """The columns that a slice lacks, has beyond those of its table, or has with another type or collation."""
    rows = database.query(
        "SELECT attname AS name FROM (SELECT attrelid, attname, atttypid, atttypmod, attcollation FROM pg_attribute"
        " WHERE attrelid IN ($1, to_regclass($2)) AND attnum > 0 AND NOT attisdropped) AS a"
        " GROUP BY attname, atttypid, atttypmod, attcollation HAVING count(*) = 1 ORDER BY 1",
        ("oid", "text"),
        (each.table, each.identifier.text),
    )
    return sorted({row["name"] for row in rows})


def _tables(hierarchy: Hierarchy) -> list[int]:
    return [table.oid for table in hierarchy.tables]


def _detached(
    row: Row, table: int, lower_bound: str, upper_bound: str, lower_point: int | None, upper_point: int | None
) -> DetachedSlice:
    return DetachedSlice(
        table,
        row["schema"],
        row["name"],
        tuple(row["leaves"]),
        lower_bound,
        upper_bound,
        lower_point,
        upper_point,
        row["lower_local"],
        tuple(row["foreign_keys"]),
    )
''','catalog.drift': r'''"""Reading what drift is judged by: every slice and leaf of a table in a handful of queries, however many there are."""

from __future__ import annotations

from .. import database
from ..model import Hierarchy, Table
from ..plan.difference import Column, Facts, MissingIndex, Partition, Trigger
from ..plan.structure import ENABLED_WORDS
from . import properties as catalog_properties

# A slice goes with its leaves: what is done to it reaches them, too.
_PARTITIONS = """
    SELECT tree.relid::oid AS oid, tree.isleaf AND c.relkind <> 'p' AS is_leaf,
           (SELECT count(*) FROM pg_partition_tree(tree.relid)) AS relations
    FROM pg_partition_tree($1) AS tree JOIN pg_class c ON c.oid = tree.relid
    WHERE tree.level > 0 ORDER BY tree.level, c.relname
"""

_TYPE = (
    "format_type({0}.atttypid, {0}.atttypmod) || CASE WHEN {0}.attcollation NOT IN (0, {1}.typcollation) THEN"
    " ' COLLATE ' || {0}.attcollation::regcollation ELSE '' END"
)

# The columns of the template that differ from the table's: what it lacks, has too much, or has of another type.
_TEMPLATE_COLUMNS = f"""
    SELECT $2::oid AS relation, 'column' AS aspect, coalesce(parent.name, own.name) AS name,
           parent.declaration AS expected, own.declaration AS actual
    FROM (SELECT a.attname AS name, {_TYPE.format("a", "t")} AS declaration
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped) AS parent
    FULL JOIN (SELECT a.attname AS name, {_TYPE.format("a", "t")} AS declaration
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
               WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped) AS own USING (name)
    WHERE parent.declaration IS DISTINCT FROM own.declaration
    ORDER BY 3
"""

_STORAGE_WORDS = (
    "CASE {0}.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END"
)
_COMPRESSION_WORDS = "CASE {0}.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END"

# What partitions have otherwise than the table: ALTER TABLE partition can set these.
_COLUMNS = f"""
    SELECT own.attrelid AS relation, found.aspect, own.attname AS name, found.expected, found.actual
    FROM pg_attribute parent
    JOIN pg_attribute own ON own.attname = parent.attname AND own.attrelid = ANY ($2) AND NOT own.attisdropped
    CROSS JOIN LATERAL (
        SELECT 'column storage' AS aspect, {_STORAGE_WORDS.format("parent")} AS expected,
               {_STORAGE_WORDS.format("own")} AS actual WHERE own.attstorage <> parent.attstorage
        UNION ALL
        SELECT 'compression', {_COMPRESSION_WORDS.format("parent")}, {_COMPRESSION_WORDS.format("own")}
        WHERE own.attcompression <> parent.attcompression
        UNION ALL
        SELECT 'default', d.expected, d.actual
        FROM (SELECT (SELECT pg_get_expr(p.adbin, p.adrelid) FROM pg_attrdef p
                      WHERE p.adrelid = parent.attrelid AND p.adnum = parent.attnum) AS expected,
                     (SELECT pg_get_expr(o.adbin, o.adrelid) FROM pg_attrdef o
                      WHERE o.adrelid = own.attrelid AND o.adnum = own.attnum) AS actual) AS d
        WHERE (parent.atthasdef OR own.atthasdef) AND parent.attgenerated = '' AND d.expected IS DISTINCT FROM d.actual
        UNION ALL
        SELECT 'not null', CASE WHEN parent.attnotnull THEN 'NOT NULL' ELSE 'NULL' END,
               CASE WHEN own.attnotnull THEN 'NOT NULL' ELSE 'NULL' END
        WHERE own.attnotnull <> parent.attnotnull
    ) AS found
    WHERE parent.attrelid = $1 AND parent.attnum > 0 AND NOT parent.attisdropped
    ORDER BY own.attrelid, parent.attnum
"""

_MISSING_INDEXES = """
    SELECT part.inhrelid AS relation, n.nspname AS schema, x.relname AS parent_index, top.relname AS top_index,
           i.indisunique AS is_unique, dp._index_definition(i.indexrelid) AS definition,
           pg_get_constraintdef(k.oid) AS constraint
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'I'
    JOIN pg_namespace n ON n.oid = x.relnamespace
    JOIN pg_inherits part ON part.inhparent = i.indrelid AND NOT part.inhdetachpending
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
    CROSS JOIN LATERAL (SELECT t.relname FROM pg_partition_ancestors(x.oid) AS a (relid)
                        JOIN pg_class t ON t.oid = a.relid WHERE NOT t.relispartition) AS top
    WHERE i.indrelid = ANY ($1)
      AND NOT EXISTS (SELECT FROM pg_inherits own JOIN pg_index o ON o.indexrelid = own.inhrelid
                      WHERE own.inhparent = i.indexrelid AND o.indrelid = part.inhrelid)
    ORDER BY x.relname, part.inhrelid
"""

_TRIGGERS = """
    SELECT own.tgrelid AS relation, own.tgname AS name, parent.tgenabled AS expected, own.tgenabled AS actual
    FROM pg_trigger own JOIN pg_trigger parent ON parent.oid = own.tgparentid
    WHERE own.tgrelid = ANY ($1) AND NOT own.tgisinternal AND own.tgenabled <> parent.tgenabled
    ORDER BY own.tgrelid, own.tgname
"""


def read(hierarchy: Hierarchy) -> list[Facts]:
    """What is compared, of every table of a hierarchy."""
    return [read_table(table) for table in hierarchy.tables]


def read_table(table: Table) -> Facts:
    """What is compared of one table."""
    rows = database.query(_PARTITIONS, ("oid",), (table.oid,))
    oids = [row["oid"] for row in rows]
    states = catalog_properties.states(oids)
    partitions = tuple(
        Partition(row["oid"], row["is_leaf"], row["relations"] * table.relations_per_leaf, states[row["oid"]])
        for row in rows
    )
    columns = database.query(_COLUMNS, ("oid", "oid[]"), (table.oid, oids))
    if table.template_oid is not None:
        columns += database.query(_TEMPLATE_COLUMNS, ("oid", "oid"), (table.oid, table.template_oid))
    tree = [table.oid, *oids]
    return Facts(
        table,
        catalog_properties.read(table.oid, table.template_oid),
        partitions,
        tuple(Column(row["relation"], row["aspect"], row["name"], row["expected"], row["actual"]) for row in columns),
        tuple(_missing_index(row) for row in database.query(_MISSING_INDEXES, ("oid[]",), (tree,))),
        tuple(
            Trigger(row["relation"], row["name"], ENABLED_WORDS[row["expected"]], ENABLED_WORDS[row["actual"]])
            for row in database.query(_TRIGGERS, ("oid[]",), (oids,))
        ),
    )


def _missing_index(row: database.Row) -> MissingIndex:
    return MissingIndex(
        row["relation"],
        row["schema"],
        row["parent_index"],
        row["top_index"],
        row["is_unique"],
        row["definition"],
        row["constraint"],
    )
''','catalog.findings': r'''"""Reading what dp.check judges."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

from .. import database
from ..model import Hierarchy, SliceSpec
from ..plan import drift as plan_drift
from ..plan.finding import Expected, Facts
from . import drift as catalog_drift
from . import foreign_keys as catalog_keys
from . import global_index as catalog_global_index
from . import log as catalog_log
from . import server as catalog_server
from . import slices as catalog_slices

_TREE = "SELECT p.relid, t.oid AS top FROM unnest($1) AS t (oid), LATERAL pg_partition_tree(t.oid) AS p"

_INVALID_INDEXES = f"""
    SELECT x.oid::regclass::text AS index, i.indrelid::regclass::text AS relation, x.relkind = 'I' AS is_partitioned
    FROM ({_TREE}) AS tree JOIN pg_index i ON i.indrelid = tree.relid JOIN pg_class x ON x.oid = i.indexrelid
    WHERE NOT i.indisvalid ORDER BY 1
"""

_INVALID_CONSTRAINTS = f"""
    SELECT n.nspname AS schema, c.relname AS name, k.conname AS constraint
    FROM ({_TREE}) AS tree
    JOIN pg_constraint k ON k.conrelid = tree.relid AND NOT k.convalidated AND k.conparentid = 0 AND k.coninhcount = 0
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY 1, 2, 3
"""

_KEYS_TO_PARTITIONS = f"""
    SELECT k.conrelid::regclass::text AS child, k.conname AS name, k.confrelid::regclass::text AS partition
    FROM ({_TREE}) AS tree
    JOIN pg_constraint k ON k.confrelid = tree.relid AND k.contype = 'f' AND k.conparentid = 0
    WHERE tree.relid <> tree.top ORDER BY 1, 2
"""

_KEY_DIFFERENCES = """
    SELECT t.oid::regclass::text AS relation, a.attname AS column,
           coalesce(format_type(b.atttypid, b.atttypmod)
                    || CASE WHEN b.attcollation <> 0 THEN ' collated ' || b.attcollation::regcollation ELSE '' END,
                    'missing') AS what
    FROM unnest($1) AS t (oid)
    JOIN pg_attribute a ON a.attrelid = $2 AND a.attname = ANY ($3)
    LEFT JOIN pg_attribute b ON b.attrelid = t.oid AND b.attname = a.attname AND NOT b.attisdropped
    WHERE (b.atttypid, b.atttypmod, b.attcollation) IS DISTINCT FROM (a.atttypid, a.atttypmod, a.attcollation)
    ORDER BY 1, 2
"""

_NEVER_ANALYSED = """
    SELECT t.oid FROM unnest($1) AS t (oid)
    WHERE pg_stat_get_last_analyze_time(t.oid) IS NULL
      AND NOT EXISTS (SELECT FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename
                      JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = s.schemaname
                      WHERE c.oid = t.oid AND s.inherited)
      AND EXISTS (SELECT FROM pg_partition_tree(t.oid) p JOIN pg_class c ON c.oid = p.relid
                  WHERE p.isleaf AND c.relkind = 'r')
"""


def read(hierarchy: Hierarchy, expected: Expected, current_point: int | None) -> Facts:
    """The facts of one hierarchy."""
    tables = [table.oid for table in hierarchy.tables]
    indexes = [(table.oid, index) for table in hierarchy.tables for index in table.global_indexes]
    server = catalog_server.server()
    return Facts(
        expected=expected,
        current_point=current_point,
        rows_in_default=_rows_in_default(hierarchy, expected.maintained),
        invalid_indexes=_found(_INVALID_INDEXES, tables, "index", "relation", "is_partitioned"),
        invalid_constraints=_found(_INVALID_CONSTRAINTS, tables, "schema", "name", "constraint"),
        never_analysed=tuple(oid for (oid,) in _found(_NEVER_ANALYSED, tables, "oid")),
        drift=tuple((each.table, tuple(plan_drift.differences(each))) for each in catalog_drift.read(hierarchy)),
        keys_to_partitions=_found(_KEYS_TO_PARTITIONS, tables, "child", "name", "partition"),
        key_differences=_key_differences(hierarchy, tables),
        pending_keys=tuple((key.child_text, key.name) for key in catalog_keys.pending_to(tables)),
        inexact_entries={index.oid: catalog_global_index.sample(index) for _, index in indexes if index.is_valid},
        unguarded={index.oid: catalog_global_index.unguarded(index, table) for table, index in indexes},
        last_failure=catalog_log.last_failures([hierarchy.root.oid]).get(hierarchy.root.oid),
        lock_table=server.lock_table,
        lock_budget=server.lock_budget,
        lock_slots=server.lock_slots,
        partitionwise_join=server.partitionwise_join,
        constraint_exclusion=database.setting("constraint_exclusion") != "off",
        server_version=server.version,
        database=str(database.query("SELECT current_database() AS name")[0]["name"]),
    )


def _found(query: str, tables: list[int], *columns: str) -> tuple[Any, ...]:
    """What a query tells of some tables, a tuple of its columns a row."""
    rows = database.query(query, ("oid[]",), (tables,))
    return tuple(tuple(row[column] for column in columns) for row in rows)


def _key_differences(hierarchy: Hierarchy, tables: list[int]) -> tuple[tuple[str, str, str], ...]:
    rows = database.query(
        _KEY_DIFFERENCES,
        ("oid[]", "oid", "name[]"),
        (tables, hierarchy.root.oid, list(hierarchy.policy.partition_keys)),
    )
    return tuple((row["relation"], row["column"], row["what"]) for row in rows)


def _rows_in_default(hierarchy: Hierarchy, maintained: SliceSpec | None) -> tuple[tuple[int, bool], ...]:
    """The tables whose default slice shows rows to the caller, whom a look must not cost a lock or a change."""
    found = []
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None and catalog_slices.shows_rows(default, table):
            is_inside = maintained is not None and catalog_slices.shows_rows(default, table, maintained)
            found.append((table.oid, is_inside))
    return tuple(found)
''','catalog.foreign_keys': r'''"""Reading foreign keys: declared ones, and those that wait for dp.register_child."""

from __future__ import annotations

from .. import database
from ..model import ForeignKey

_FOREIGN_KEYS = """
    SELECT conname AS name, conrelid AS child, confrelid AS parent, confupdtype AS on_update, confdeltype AS on_delete,
           condeferrable AS is_deferrable, condeferred AS is_deferred,
           dp._column_names(conrelid, conkey) AS columns, dp._column_names(confrelid, confkey) AS parent_columns,
           dp._column_names(conrelid, confdelsetcols) AS delete_columns,
           conrelid::regclass::text AS child_text, confrelid::regclass::text AS parent_text,
           NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = conrelid AND a.attnum = ANY (conkey)
                       AND NOT a.attnotnull) AS is_mandatory
    FROM pg_constraint
    WHERE contype = 'f' AND conparentid = 0
"""

_PENDING = """
    SELECT name, child::oid AS child, parent::oid AS parent, columns, parent_columns, 'c' AS on_update, on_delete,
           delete_columns, is_deferrable, is_deferred, child::text AS child_text, parent::text AS parent_text,
           false AS is_mandatory
    FROM dp.pending_foreign_key
"""


def _foreign_key(row: database.Row) -> ForeignKey:
    """A row of pg_constraint as a value."""
    return ForeignKey(
        row["name"],
        row["child"],
        row["parent"],
        tuple(row["columns"]),
        tuple(row["parent_columns"]),
        row["on_update"],
        row["on_delete"],
        tuple(row["delete_columns"] or ()),
        row["is_deferrable"],
        row["is_deferred"],
        row["child_text"],
        row["parent_text"],
        row["is_mandatory"],
    )


def declared_on(tables: list[int]) -> list[ForeignKey]:
    """The foreign keys declared on some tables."""
    rows = database.query(f"{_FOREIGN_KEYS} AND conrelid = ANY ($1) ORDER BY oid", ("oid[]",), (tables,))
    return [_foreign_key(row) for row in rows]


def pointing_to(table: int) -> list[ForeignKey]:
    """The foreign keys of other tables that point to one."""
    rows = database.query(f"{_FOREIGN_KEYS} AND confrelid = $1 AND conrelid <> $1 ORDER BY oid", ("oid",), (table,))
    return [_foreign_key(row) for row in rows]


def definitions(table: int) -> dict[str, str]:
    """What the foreign keys declared on a table say, by name."""
    rows = database.query(
        "SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND conrelid = $1 ORDER BY oid",
        ("oid",),
        (table,),
    )
    return {row["name"]: row["definition"].removesuffix(" NOT VALID") for row in rows}


def pending_of(child: int) -> list[ForeignKey]:
    """The foreign keys that a table had before its parents were made anew."""
    return [
        _foreign_key(row) for row in database.query(f"{_PENDING} WHERE child = $1 ORDER BY name", ("oid",), (child,))
    ]


def pending_to(parents: list[int]) -> list[ForeignKey]:
    """The foreign keys that wait for the registration of their tables under some parents."""
    rows = database.query(f"{_PENDING} WHERE parent = ANY ($1) ORDER BY child::text, name", ("oid[]",), (parents,))
    return [_foreign_key(row) for row in rows]
''','catalog.global_index': r'''"""Reading global indexes, and what is needed to make one."""

from __future__ import annotations

from .. import database, naming
from ..model import GlobalIndex
from ..sql import Identifier

_INDEXES = """
    SELECT g.tbl::oid AS tbl, c.oid, n.nspname AS schema, c.relname AS name, g.columns, g.predicate, g.is_unique,
           g.is_valid, s.carried, s.operator_schemas
    FROM dp.global_index_config g
    JOIN pg_class c ON c.oid = g.side
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE a.attname <> ALL (g.columns)) AS carried,
               array_agg(dp._equality_schema(a.atttypid) ORDER BY array_position(g.columns, a.attname), a.attnum)
                   AS operator_schemas
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS s
    WHERE g.root = ANY ($1)
    ORDER BY c.relname
"""


def of_roots(roots: list[int]) -> dict[int, tuple[GlobalIndex, ...]]:
    """The global indexes of some hierarchies, by table."""
    found: dict[int, tuple[GlobalIndex, ...]] = {}
    for row in database.query(_INDEXES, ("oid[]",), (roots,)):
        index = GlobalIndex(
            row["oid"],
            row["schema"],
            row["name"],
            tuple(row["columns"]),
            tuple(row["carried"] or ()),
            tuple(row["operator_schemas"]),
            row["predicate"],
            row["is_unique"],
            row["is_valid"],
        )
        found[row["tbl"]] = (*found.get(row["tbl"], ()), index)
    return found


def table_of(side: int) -> int | None:
    """The table that a side table is a global index of."""
    rows = database.query("SELECT tbl::oid AS tbl FROM dp.global_index_config WHERE side = $1", ("oid",), (side,))
    return int(rows[0]["tbl"]) if rows else None


def operator_schemas(table: int, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Where the equality operators of some columns' types are."""
    rows = database.query(
        "SELECT dp._equality_schema(a.atttypid) AS schema FROM unnest($2) WITH ORDINALITY AS c (name, position)"
        " JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = c.name AND NOT a.attisdropped ORDER BY c.position",
        ("oid", "name[]"),
        (table, list(columns)),
    )
    return tuple(row["schema"] for row in rows)


def types(table: int, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The types of some columns, without length and the like, which arguments of functions do not have."""
    rows = database.query(
        "SELECT format_type(a.atttypid, NULL) AS type FROM unnest($2) WITH ORDINALITY AS c (name, position)"
        " JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = c.name AND NOT a.attisdropped ORDER BY c.position",
        ("oid", "name[]"),
        (table, list(columns)),
    )
    return tuple(row["type"] for row in rows)


def readers(table: int) -> tuple[str, ...]:
    """The roles besides its owner that may read a table; the empty name is PUBLIC."""
    rows = database.query(
        "SELECT DISTINCT coalesce(r.rolname, '') AS name FROM pg_class c CROSS JOIN aclexplode(c.relacl) AS a"
        " LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE c.oid = $1 AND a.privilege_type = 'SELECT'"
        " AND a.grantee <> c.relowner ORDER BY 1",
        ("oid",),
        (table,),
    )
    return tuple(row["name"] for row in rows)


def predicate(table: int, index: str) -> tuple[str, tuple[str, ...]]:
    """What an index on a table says behind WHERE, as PostgreSQL deparses it, and the columns of that."""
    rows = database.query(
        "SELECT pg_get_expr(i.indpred, i.indrelid) AS predicate,"
        " ARRAY(SELECT DISTINCT a.attname FROM pg_depend d JOIN pg_attribute a ON a.attrelid = i.indrelid"
        "       AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid"
        "       AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0 ORDER BY 1)"
        " AS columns FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = $1 AND x.relname = $2",
        ("oid", "name"),
        (table, index),
    )
    return rows[0]["predicate"], tuple(rows[0]["columns"])


def existing_functions(schema: str, comment: str) -> bool:
    """Whether a schema has a function with a comment."""
    rows = database.query(
        "SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = $1 AND obj_description(p.oid, 'pg_proc') = $2) AS found",
        ("text", "text"),
        (schema, comment),
    )
    return bool(rows[0]["found"])


def unguarded(index: GlobalIndex, table: int) -> tuple[tuple[str, str, bool], ...]:
    """Slices and leaves that lack the guard of a global index; whether each is a leaf."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name, t.isleaf AS is_leaf"
        " FROM pg_partition_tree($1) t JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE t.level > 0 AND c.relkind IN ('r', 'p') AND NOT EXISTS ("
        " SELECT FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid AND p.proname = $3"
        " JOIN pg_namespace pn ON pn.oid = p.pronamespace AND pn.nspname = $2"
        " WHERE g.tgrelid = c.oid AND g.tgtype & 1 = 0 AND g.tgenabled IN ('O', 'A')) ORDER BY c.oid",
        ("oid", "text", "text"),
        (table, index.schema, index.name),
    )
    return tuple((row["schema"], row["name"], row["is_leaf"]) for row in rows)


def partitions(table: int) -> list[tuple[Identifier, bool]]:
    """The slices and leaves of a table; whether each is a leaf."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name, t.isleaf AS is_leaf FROM pg_partition_tree($1) t"
        " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE t.level > 0 AND c.relkind IN ('r', 'p') ORDER BY c.oid",
        ("oid",),
        (table,),
    )
    return [(Identifier(row["schema"], row["name"]), row["is_leaf"]) for row in rows]


def sample(index: GlobalIndex) -> tuple[tuple[str, str], ...]:
    """A wrong entry of a random sample, if there is one that the caller may see."""
    rows = database.query("SELECT problem, entry FROM dp._sample_global_index($1)", ("oid",), (index.oid,))
    return tuple((row["problem"], row["entry"]) for row in rows)


def leaf_blocks(table: int) -> list[tuple[Identifier, int]]:
    """The leaves of a table, and how many blocks each has now."""
    rows = database.query(
        "SELECT n.nspname AS schema, c.relname AS name,"
        " pg_relation_size(c.oid) / current_setting('block_size')::bigint AS blocks"
        " FROM pg_partition_tree($1) t JOIN pg_class c ON c.oid = t.relid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf AND c.relkind = 'r' ORDER BY c.oid",
        ("oid",),
        (table,),
    )
    return [(Identifier(row["schema"], row["name"]), int(row["blocks"])) for row in rows]


def used_by(table: int, column: str) -> str | None:
    """A global index that a column of its table is part of."""
    rows = database.query(
        "SELECT g.side::text AS side FROM dp.global_index_config g WHERE g.tbl = $1 AND ($2 = ANY (g.predicate_columns)"
        " OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = g.side AND a.attname = $2 AND NOT a.attisdropped))"
        " ORDER BY 1 LIMIT 1",
        ("oid", "name"),
        (table, column),
    )
    return rows[0]["side"] if rows else None


def default_name(table: str, columns: tuple[str, ...]) -> str:
    """The name of a side table where the caller gives none: ``Dialog_Id_global``."""
    return naming.derived_name(table, f"{'_'.join(columns)}_global")
''','catalog.hierarchy': r'''"""Reading hierarchies: configuration, tables in the order of their foreign keys, slices."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from .. import database, errors
from ..calendars import parse_width
from ..model import REFERENCE, ROOT, Edge, ForeignKey, Hierarchy, Policy, Slice, Table
from ..sql import Identifier
from . import foreign_keys as catalog_keys
from . import global_index as catalog_global_index
from . import server as catalog_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..database import Row

_POLICIES = """
    SELECT root::oid AS root, root::text AS root_name, range_key, hash_key, key_form, slice_key, bucket, slice,
           hash_partitions, premake, start, retention, retention_action, retention_schema, time_zone, default_slice,
           (extract(epoch FROM lock_timeout) * 1000)::bigint AS lock_timeout,
           (extract(epoch FROM analyze_interval) * 1000)::bigint AS analyze_interval,
           (extract(epoch FROM log_retention) * 1000)::bigint AS log_retention,
           format_type(a.atttypid, NULL) AS range_type
    FROM dp.hierarchy_config h
    JOIN pg_class c ON c.oid = h.root
    LEFT JOIN pg_attribute a ON a.attrelid = h.root AND a.attname = h.range_key AND NOT a.attisdropped
    WHERE $1 IS NULL OR root = ANY ($1)
    ORDER BY root::oid
"""

_TABLES = """
    SELECT t.root::oid AS root, t.role, c.oid, n.nspname AS schema, c.relname AS name,
           pg_get_userbyid(c.relowner) AS owner,
           c.relkind AS kind, a.attname AS partition_column, format_type(a.atttypid, NULL) AS partition_type,
           coalesce(h.slice_key, h.range_key) AS first_key,
           tc.oid AS template_oid, tn.nspname AS template_schema, tc.relname AS template_name,
           (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) + 3 AS relations_per_leaf,
           -- counted, for EXISTS would be hashed: a scan of the whole catalog
           (SELECT count(*) FROM pg_attribute i WHERE i.attrelid = c.oid AND i.attidentity <> '') > 0 AS has_identity,
           -- by its triggers: pg_constraint has no index for the table that a key refers to
           (SELECT count(*) FROM pg_trigger g JOIN pg_constraint k ON k.oid = g.tgconstraint
            WHERE g.tgrelid = c.oid AND k.confrelid = c.oid AND k.contype = 'f') > 0 AS is_referenced,
           2 + (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conparentid = 0)
           + (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgparentid = 0)
           + (SELECT count(*) FROM pg_attrdef d WHERE d.adrelid = c.oid)
           + (SELECT count(*) FROM pg_policy y WHERE y.polrelid = c.oid)
           + (SELECT count(*) FROM pg_statistic_ext s WHERE s.stxrelid = tc.oid) AS objects_per_leaf,
           ARRAY(SELECT k.name FROM unnest(ARRAY[coalesce(h.slice_key, h.range_key), h.hash_key,
                                                 CASE t.role WHEN 'root' THEN h.range_key END]) AS k (name)
                 WHERE t.role <> 'reference' AND k.name IS NOT NULL
                   AND NOT EXISTS (SELECT FROM pg_attribute x WHERE x.attrelid = c.oid AND x.attname = k.name
                                   AND NOT x.attisdropped)) AS missing_keys
    FROM dp.table_config t
    JOIN dp.hierarchy_config h ON h.root = t.root
    JOIN pg_class c ON c.oid = t.tbl
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
    LEFT JOIN pg_class tc ON tc.oid = t.template
    LEFT JOIN pg_namespace tn ON tn.oid = tc.relnamespace
    WHERE t.root = ANY ($1)
    ORDER BY t.root::oid, c.oid
"""

_SLICES = "SELECT * FROM dp._slices($1, $2)"


class Root(NamedTuple):
    """The root of a hierarchy, which may be unreadable."""

    oid: int
    name: str
    owner: str
    is_own: bool  # whether the caller is its owner, or may become it


def load(root: int | None) -> Hierarchy:
    """One hierarchy."""
    if root is None:
        raise errors.InvalidParameter.of("root", None, "It must name a table.")
    found = load_all([root])
    if not found:
        raise errors.UndefinedObject(
            f"{catalog_server.relation_name(root)} is not the root of a hierarchy",
            "dp.hierarchy_config does not name it.",
            "See the view dp.hierarchy, or declare it with SELECT dp.create_hierarchy(...).",
        )
    return found[0]


def load_all(roots: list[int] | None = None) -> list[Hierarchy]:
    """Some hierarchies, or all, in a handful of queries however many there are."""
    rows = database.query(_POLICIES, ("oid[]",), (roots,))
    if not rows:
        return []
    roots = [row["root"] for row in rows]
    tables: dict[int, list[Table]] = {root: [] for root in roots}
    indexes = catalog_global_index.of_roots(roots)
    for row in database.query(_TABLES, ("oid[]",), (roots,)):
        _check_keys(row)
        tables[row["root"]].append(_table(row)._replace(global_indexes=indexes.get(row["oid"], ())))
    managed = [table.oid for found in tables.values() for table in found if table.role != REFERENCE]
    keys = catalog_keys.declared_on(managed)
    by_zone: dict[str, list[int]] = {}
    for row in rows:
        partitioned = [table.oid for table in tables[row["root"]] if table.role != REFERENCE and table.kind == "p"]
        by_zone.setdefault(row["time_zone"], []).extend(partitioned)
    slices = read_slices(by_zone)
    result = []
    for row in rows:
        own = tables[row["root"]]
        if all(table.role != ROOT for table in own):
            continue  # dropped since the configuration was read
        oids = {table.oid for table in own if table.role != REFERENCE}
        inside = tuple(key for key in keys if key.child in oids and key.parent in oids)
        ordered = in_order([table for table in own if table.role != REFERENCE], inside)
        references = tuple(table for table in own if table.role == REFERENCE)
        own_slices = {table.oid: tuple(slices.get(table.oid, ())) for table in ordered}
        result.append(Hierarchy(policy(row), row["range_type"], ordered, references, inside, own_slices))
    return result


def load_readable(roots: list[int]) -> tuple[list[Hierarchy], dict[int, Exception]]:
    """Some hierarchies, and why the others cannot be read; one that cannot does not hide the others."""
    try:
        return load_all(roots), {}
    except (errors.PartitionError, database.ServerError) as error:
        if database.is_cancel(error):
            raise
    found: list[Hierarchy] = []
    unreadable: dict[int, Exception] = {}
    for root in roots:
        try:
            found += load_all([root])
        except (errors.PartitionError, database.ServerError) as error:
            if database.is_cancel(error):
                raise
            unreadable[root] = error
    return found, unreadable


def _check_keys(row: Row) -> None:
    """A key column that was renamed by hand is named, before anything goes wrong without it."""
    if not row["missing_keys"]:
        return
    table, key = Identifier(row["schema"], row["name"]), row["missing_keys"][0]
    partition_column = row["partition_column"]
    by_range = f'; {table} is partitioned by RANGE of "{partition_column}"' if partition_column else ""
    now = Identifier(partition_column).text if key == row["first_key"] and partition_column else "..."
    raise errors.UndefinedColumn(
        f'key column "{key}" of {table} does not exist any more',
        f"The configuration knows it by this name{by_range}.",
        f"If it was renamed, rename it back: ALTER TABLE {table} RENAME COLUMN {now} TO {Identifier(key)};",
    )


def roots() -> list[Root]:
    """The roots of all hierarchies."""
    rows = database.query(
        "SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, pg_get_userbyid(c.relowner) AS owner,"
        " pg_has_role(c.relowner, 'USAGE') AS is_own"
        " FROM dp.hierarchy_config h JOIN pg_class c ON c.oid = h.root JOIN pg_namespace n ON n.oid = c.relnamespace"
        " ORDER BY c.oid"
    )
    return [Root(row["oid"], row["name"], row["owner"], row["is_own"]) for row in rows]


def own_roots() -> list[Root]:
    """Those whose owner the caller is, or may become."""
    return [root for root in roots() if root.is_own]


def policy(row: Row) -> Policy:
    """A row of dp.hierarchy_config as a value."""
    retention = row["retention"]
    return Policy(
        row["range_key"],
        row["hash_key"],
        row["key_form"],
        row["slice_key"],
        parse_width(row["bucket"], "bucket") if row["bucket"] else None,
        parse_width(row["slice"], "slice"),
        row["hash_partitions"],
        row["premake"],
        row["start"],
        parse_width(retention, "retention") if retention else None,
        row["retention_action"],
        row["retention_schema"],
        row["time_zone"],
        row["default_slice"],
        row["lock_timeout"],
        row["analyze_interval"],
        row["log_retention"],
    )


def _table(row: Row) -> Table:
    return Table(
        row["oid"],
        row["schema"],
        row["name"],
        row["owner"],
        row["role"],
        row["kind"],
        row["partition_column"],
        row["partition_type"],
        row["template_oid"],
        row["template_schema"],
        row["template_name"],
        int(row["relations_per_leaf"]),
        row["has_identity"],
        row["is_referenced"],
        int(row["objects_per_leaf"]),
    )


def in_order(tables: list[Table], keys: tuple[ForeignKey, ...]) -> tuple[Table, ...]:
    """Referenced tables before those that refer to them, the root first."""
    remaining = sorted(tables, key=lambda table: (table.role != ROOT, table.schema, table.name))
    ordered: list[Table] = []
    while remaining:
        waiting = {table.oid for table in remaining}
        free = [
            table
            for table in remaining
            if not any(key.child == table.oid and key.parent in waiting - {table.oid} for key in keys)
        ]
        if not free:
            circle = ", ".join(str(table.identifier) for table in remaining)
            raise errors.InvalidTableDefinition(
                f"the foreign keys of {circle} form a circle",
                "The tables of a hierarchy are created and dropped in the order of their foreign keys.",
                "Make one of these keys point out of the hierarchy, or drop it.",
            )
        ordered += free
        remaining = [table for table in remaining if table not in free]
    return tuple(ordered)


def read_slices(tables: dict[str, list[int]]) -> dict[int, list[Slice]]:
    """The slices of partitioned tables, by table; the tables are given by time zone, and asked for once for each."""
    result: dict[int, list[Slice]] = {}
    for zone, oids in tables.items():
        for row in database.query(_SLICES, ("oid[]", "text"), (oids, zone)):
            result.setdefault(row["parent"], []).append(_slice(row))
    for found in result.values():
        found.sort(key=lambda each: (each.lower is not None, each.lower.point if each.lower else 0))
    return result


def _slice(row: Row) -> Slice:
    return Slice(
        row["slice"],
        row["schema_name"],
        row["slice_name"],
        row["is_partitioned"],
        row["is_default"],
        row["detach_pending"],
        _edge(row["lower_point"], row["lower_local"]),
        _edge(row["upper_point"], row["upper_local"]),
        row["modulus"] or 0,
        tuple(row["remainders"] or ()),
    )


def _edge(point: int | None, local: str | None) -> Edge | None:
    if point is None:
        return None
    if local is None:
        return Edge(point)
    try:
        return Edge(point, datetime.datetime.fromisoformat(local))
    except ValueError:  # before the year 1 or after 9999
        return Edge(point)


def root_of(relation: int) -> int | None:
    """The root of the hierarchy that a table belongs to as root or child."""
    rows = database.query(
        "SELECT root::oid AS root FROM dp.table_config WHERE tbl = $1 AND role <> $2",
        ("oid", "text"),
        (relation, REFERENCE),
    )
    return int(rows[0]["root"]) if rows else None
''','catalog.log': r'''"""Reading dp.log."""

from __future__ import annotations

from .. import database

_LAST_FAILURES = """
    SELECT roots.oid, last.at, last.message FROM unnest($1) AS roots (oid)
    CROSS JOIN LATERAL (SELECT l.at, l.message, l.status FROM dp.log_entry AS l
                        WHERE l.root = roots.oid AND l.call = 'run_maintenance' ORDER BY l.at DESC LIMIT 1) AS last
    WHERE last.status = 'failed'
"""


def last_failures(roots: list[int]) -> dict[int, str]:
    """The roots whose last maintenance failed, with when and why."""
    rows = database.query(_LAST_FAILURES, ("oid[]",), (roots,))
    return {row["oid"]: f"{row['at']}: {row['message']}" for row in rows}
''','catalog.online': r'''"""Reading what schema changes without blocking need: partitions with their indexes and constraints."""

from __future__ import annotations

from .. import database
from ..plan.online import Index, Part
from ..plan.validate import Part as Rulable
from ..plan.validate import Rule
from ..sql import Identifier

_PARTS = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, tree.isleaf AS is_leaf,
           coalesce(CASE WHEN tree.level > 0 THEN tree.parentrelid::oid END, 0::oid) AS parent
    FROM pg_partition_tree($1) AS tree
    JOIN pg_class c ON c.oid = tree.relid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY tree.level, n.nspname, c.relname
"""

# Only what is attached to nothing is deparsed: that is what may be equal to the index that is wanted.
_INDEXES = """
    SELECT i.indexrelid AS oid, i.indrelid AS relation, n.nspname AS schema, x.relname AS name,
           i.indisvalid AS is_valid, coalesce(p.inhparent, 0::oid) AS parent, i.indisunique AS is_unique,
           CASE WHEN p.inhparent IS NULL AND k.oid IS NULL THEN dp._index_definition(i.indexrelid) END AS definition,
           EXISTS (SELECT FROM pg_stat_progress_create_index b WHERE b.index_relid = i.indexrelid) AS is_busy
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = x.relnamespace
    LEFT JOIN pg_inherits p ON p.inhrelid = i.indexrelid
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = ANY ($1)
    ORDER BY x.relname
"""

_BUILT = """
    SELECT DISTINCT l.statements FROM dp.log_entry l JOIN dp.progress_entry p ON p.root = l.root
    WHERE p.root = $1::regclass AND p.operation = $2 AND p.tbl = $3::regclass AND p.about = $4
      AND l.call = p.operation AND l.status = 'done' AND l.at >= p.started
"""

_DEFINITION = "SELECT dp._index_definition(indexrelid) AS definition FROM pg_index WHERE indexrelid = $1::regclass"


def parts(table: int) -> tuple[Part, ...]:
    """A table and its partitions, from the top down, with their indexes."""
    rows = database.query(_PARTS, ("oid",), (table,))
    indexes: dict[int, list[Index]] = {}
    for row in database.query(_INDEXES, ("oid[]",), ([row["oid"] for row in rows],)):
        found = Index(
            row["oid"],
            row["relation"],
            row["schema"],
            row["name"],
            row["is_valid"],
            row["parent"],
            row["is_unique"],
            row["definition"],
            row["is_busy"],
        )
        indexes.setdefault(found.relation, []).append(found)
    return tuple(
        Part(
            row["oid"],
            row["schema"],
            row["name"],
            row["is_leaf"],
            row["parent"],
            tuple(indexes.get(row["oid"], ())),
        )
        for row in rows
    )


def definition(index: str) -> str:
    """What an index says behind the name of its table; its own name is qualified and quoted."""
    return str(database.query(_DEFINITION, ("text",), (index,))[0]["definition"])


def built_since(root: int, call: str, table: int, about: str) -> frozenset[str]:
    """The statements that an operation which was stopped has run since it began."""
    rows = database.query(_BUILT, ("oid", "text", "oid", "text"), (root, call, table, about))
    return frozenset(row["statements"] for row in rows)


_RULES = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, tree.isleaf AS is_leaf, tree.level = 0 AS is_top,
           k.conname AS rule, k.oid AS rule_oid, k.conparentid AS parent, k.convalidated AS is_valid,
           k.contype AS kind, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') AS definition
    FROM pg_partition_tree($1) AS tree
    JOIN pg_class c ON c.oid = tree.relid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_constraint top ON top.conrelid = $1 AND top.conname = $2 AND top.contype = $3
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = $3
         -- a foreign key's partitions have names of their own, but where it was not declared on the table yet
         AND CASE WHEN $3 = 'f' AND top.oid IS NOT NULL
                  THEN k.oid = top.oid OR EXISTS (SELECT FROM pg_constraint up WHERE up.oid = k.conparentid
                                                  AND (up.oid = top.oid OR up.conparentid = top.oid))
                  ELSE k.conname = $2 END
    ORDER BY tree.level, n.nspname, c.relname
"""


def rules(table: int, name: str, kind: str) -> tuple[Rulable, ...]:
    """A table and its partitions, from the top down, with one constraint of a kind (pg_constraint.contype)."""
    return tuple(
        Rulable(
            row["oid"],
            Identifier(row["schema"], row["name"]),
            row["is_leaf"],
            row["is_top"],
            Rule(row["rule"], row["parent"], row["rule_oid"], row["is_valid"], row["definition"])
            if row["rule"] is not None
            else None,
        )
        for row in database.query(_RULES, ("oid", "name", '"char"'), (table, name, kind))
    )


def referenced_table(table: int, name: str) -> int:
    """What a foreign key refers to."""
    rows = database.query(
        "SELECT confrelid FROM pg_constraint WHERE conrelid = $1 AND conname = $2", ("oid", "name"), (table, name)
    )
    return int(rows[0]["confrelid"])


def constraint_definition(table: int, name: str) -> str:
    """A constraint as PostgreSQL deparses it, without NOT VALID."""
    rows = database.query(
        "SELECT regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '') AS definition FROM pg_constraint"
        " WHERE conrelid = $1 AND conname = $2",
        ("oid", "name"),
        (table, name),
    )
    return str(rows[0]["definition"])
''','catalog.physical_order': r'''"""Reading the physical order of leaves: the indexes to order by, the leaves, and how far these are from it."""

from __future__ import annotations

from .. import database
from ..model import Slice
from ..plan import physical_order as plan
from ..plan.physical_order import Leaf, OrderIndex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..database import Row

# Of whole rows, by plain columns: what CLUSTER can use, and what a reader meets in its order.
_INDEXES = """
    SELECT x.oid, n.nspname AS schema, x.relname AS name,
           ARRAY(SELECT a.attname FROM generate_series(0, i.indnkeyatts - 1) AS place
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[place]
                 ORDER BY place) AS columns,
           ARRAY(SELECT CASE WHEN i.indoption[place] & 1 = 1 THEN 'DESC' ELSE 'ASC' END
                     || CASE WHEN i.indoption[place] & 2 = 2 THEN ' NULLS FIRST' ELSE ' NULLS LAST' END
                 FROM generate_series(0, i.indnkeyatts - 1) AS place ORDER BY place) AS directions,
           (SELECT count(*) FROM pg_partition_tree(x.oid) AS tree JOIN pg_index l ON l.indexrelid = tree.relid
            WHERE l.indisclustered) AS marked
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = x.relnamespace
    JOIN pg_am m ON m.oid = x.relam
    WHERE i.indrelid = $1 AND m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    ORDER BY x.relname
"""

_LEAVES = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, x.relname AS index_name, size.bytes AS size,
           (size.bytes + page.bytes - 1) / page.bytes AS pages,
           (SELECT count(*) FROM pg_index o WHERE o.indrelid = c.oid) + 3 AS relations
    FROM pg_partition_tree($1::regclass) AS tree
    JOIN pg_index i ON i.indexrelid = tree.relid
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_class c ON c.oid = i.indrelid AND c.relkind = 'r'
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT pg_relation_size(c.oid) AS bytes) AS size
    CROSS JOIN LATERAL (SELECT current_setting('block_size')::bigint AS bytes) AS page
    WHERE $2 IS NULL OR c.oid = ANY ($2)
        OR EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid AND h.inhparent = ANY ($2))
    ORDER BY n.nspname, c.relname
"""

_USE = """
    SELECT l.oid, pg_stat_get_mod_since_analyze(l.oid) AS modified,
           (SELECT max(e.at) FROM dp.log_entry e
            WHERE e.root = $1::regclass AND e.call = 'cluster' AND e.status = 'done' AND e.target = l.name) AS ordered
    FROM unnest($2, $3) AS l (oid, name)
"""


def indexes(table: int) -> list[OrderIndex]:
    """The indexes of a table that leaves can be ordered by."""
    return [
        OrderIndex(
            row["oid"], row["schema"], row["name"], tuple(row["columns"]), tuple(row["directions"]), row["marked"]
        )
        for row in database.query(_INDEXES, ("oid",), (table,))
    ]


def leaves(index: int, slices: list[Slice] | None) -> list[Leaf]:
    """The leaves that have an index, of some slices or all."""
    chosen = None if slices is None else [each.oid for each in slices]
    rows = database.query(_LEAVES, ("oid", "oid[]"), (index, chosen))
    return [Leaf(**{name: row[name] for name in Leaf._fields}) for row in rows]


def use(root: int, found: list[Leaf]) -> dict[int, Row]:
    """When leaves were ordered last, and how many rows have changed since they were analysed."""
    values = (root, [leaf.oid for leaf in found], [leaf.identifier.text for leaf in found])
    return {row["oid"]: row for row in database.query(_USE, ("oid", "oid[]", "text[]"), values)}


def disorder(leaf: Leaf, index: OrderIndex, groups: tuple[str, ...], sample_pages: int) -> float | None:
    """How many times the least possible pages are read for rows that belong together; None: nothing to measure."""
    if leaf.pages == 0:
        return None
    percent = min(100.0, 100.0 * sample_pages / leaf.pages)
    row = database.query_once(plan.measurement(leaf, index, groups, percent).text)[0]
    return None if row["pages"] is None else max(float(row["pages"] / row["least"]), 1.0)


def seconds(interval: str) -> float:
    """The length of an interval that PostgreSQL wrote."""
    rows = database.query("SELECT extract(epoch FROM $1::interval)::float8 AS value", ("text",), (interval,))
    return float(rows[0]["value"])
''','catalog.properties': r'''"""Reading what relations have that PostgreSQL does not pass on: of a table, its template, its slices and leaves."""

from __future__ import annotations

from .. import database, errors
from ..plan.properties import Grant, LeafIndex, Properties, State, StatisticsObject, wanted
from ..plan.row_policy import RowPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

_RELATIONS = """
    SELECT c.oid AS relation, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
           CASE WHEN c.relacl IS NULL THEN '{}' ELSE
               ARRAY(SELECT d.privilege_type FROM aclexplode(acldefault('r', c.relowner)) AS d
                     WHERE NOT EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee = c.relowner
                                       AND a.privilege_type = d.privilege_type) ORDER BY 1) END AS owner_lacks,
           c.relpersistence = 'u' AS is_unlogged, c.reloptions AS options, t.reloptions AS toast_options,
           c.relreplident AS replica_identity, c.relrowsecurity AS row_security, c.relforcerowsecurity AS force,
           d.description AS comment, am.amname AS access_method, ts.spcname AS tablespace
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN pg_am am ON am.oid = c.relam
    LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
    LEFT JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = 0
    WHERE c.oid = ANY ($1)
"""

# Of a partition's own copy of an index the topmost one's name.
_REPLICA_INDEXES = """
    SELECT i.indrelid AS relation, coalesce(top.relname, x.relname) AS name
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN LATERAL (SELECT t.relname FROM pg_partition_ancestors(x.oid) AS a (relid)
                       JOIN pg_class t ON t.oid = a.relid WHERE NOT t.relispartition) AS top ON x.relispartition
    WHERE i.indisreplident AND i.indrelid = ANY ($1)
"""

_COLUMN_TARGETS = """
    SELECT attrelid AS relation, attname AS name, attstattarget AS target FROM pg_attribute
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped
      AND attstattarget >= 0  -- -1, or NULL from 17 on, stands for the default, 0 for none
    ORDER BY attrelid, attnum
"""

_COLUMN_OPTIONS = """
    SELECT attrelid AS relation, attname AS name, o AS option FROM pg_attribute, unnest(attoptions) AS o
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped
      AND starts_with(o, 'n_distinct')  -- some minor releases keep a mark of their own among the options
    ORDER BY attrelid, attnum
"""

_COLUMN_COMMENTS = """
    SELECT a.attrelid AS relation, a.attname AS name, d.description AS comment
    FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
    WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ANY ($1) AND d.objsubid > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""

_GRANTS = """
    SELECT source.relation, CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee,
           acl.privilege_type AS privilege, source.attname AS column, acl.is_grantable,
           CASE WHEN acl.grantor <> source.owner THEN pg_get_userbyid(acl.grantor) END AS grantor
    FROM (SELECT oid AS relation, relacl AS acl, NULL::name AS attname, 0 AS attnum, relowner AS owner FROM pg_class
          WHERE oid = ANY ($1) AND relacl IS NOT NULL
          UNION ALL
          SELECT a.attrelid, a.attacl, a.attname, a.attnum, c.relowner FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid
          WHERE a.attrelid = ANY ($1) AND a.attacl IS NOT NULL AND NOT a.attisdropped) AS source,
         LATERAL aclexplode(source.acl) AS acl
    WHERE acl.grantee <> source.owner
    ORDER BY source.relation, grantee, source.attnum, privilege
"""

_DEFAULT_GRANTEES = """
    SELECT DISTINCT CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee
    FROM pg_class c JOIN pg_default_acl d
      ON d.defaclrole = c.relowner AND d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, c.relnamespace),
         LATERAL aclexplode(d.defaclacl) AS acl
    WHERE c.oid = $1 AND acl.grantee <> c.relowner
"""

_POLICIES = """
    SELECT p.polrelid AS relation, p.polname AS name, p.polpermissive AS permissive,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                         ELSE 'ALL' END AS command,
           ARRAY(SELECT pg_get_userbyid(r) FROM unnest(p.polroles) AS r WHERE r <> 0 ORDER BY 1) AS roles,
           pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
    FROM pg_policy p WHERE p.polrelid = ANY ($1) ORDER BY p.polrelid, p.polname
"""

_STATISTICS = """
    SELECT stxrelid AS relation, stxname AS name, CASE WHEN stxstattarget >= 0 THEN stxstattarget END AS target,
           CASE WHEN cardinality(stxkind) > 1 OR NOT stxkind @> '{e}' THEN
               '(' || (SELECT string_agg(CASE k WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies'
                                         WHEN 'm' THEN 'mcv' END, ', ')
                       FROM unnest(stxkind) AS k WHERE k <> 'e') || ') ' ELSE '' END
           || 'ON ' || pg_get_statisticsobjdef_columns(oid) AS definition
    FROM pg_statistic_ext WHERE stxrelid = ANY ($1) ORDER BY stxrelid, stxname
"""

# Indexes of a relation's own: neither partitioned nor part of one.
_INDEXES = """
    SELECT i.indrelid AS relation, c.relname AS name, i.indisunique AS is_unique,
           dp._index_definition(i.indexrelid) AS definition, i.indisvalid AS is_valid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY ($1) AND c.relkind = 'i' AND NOT c.relispartition ORDER BY i.indrelid, c.relname
"""

_NAMES_NEED_HELP = "SELECT dp._index_names_need_help($1) AS help"


def read(table: int, template: int | None) -> Properties:
    """The properties for new leaves of a table; without a template the table stands in its place."""
    found = states([table] + ([template] if template else []))
    if table not in found or (template and template not in found):
        raise errors.UndefinedObject(
            f"relation {table} or its template does not exist any more", "It was dropped meanwhile.", "Call again."
        )
    return wanted(
        found[table],
        found[template] if template else None,
        tuple(row["grantee"] for row in database.query(_DEFAULT_GRANTEES, ("oid",), (table,))),
        bool(database.query(_NAMES_NEED_HELP, ("oid",), (table,))[0]["help"]),
    )


def states(relations: list[int]) -> dict[int, State]:
    """What some relations have, in a handful of queries however many they are."""
    targets = _grouped(_COLUMN_TARGETS, relations, lambda row: (row["name"], row["target"]))
    options = _grouped(_COLUMN_OPTIONS, relations, lambda row: (row["name"], row["option"]))
    comments = _grouped(_COLUMN_COMMENTS, relations, lambda row: (row["name"], row["comment"]))
    grants = _grouped(
        _GRANTS,
        relations,
        lambda row: Grant(row["grantee"], row["privilege"], row["column"], row["is_grantable"], row["grantor"]),
    )
    policies = _grouped(_POLICIES, relations, _policy)
    statistics = _grouped(
        _STATISTICS, relations, lambda row: StatisticsObject(row["name"], row["definition"], row["target"])
    )
    indexes = _grouped(
        _INDEXES, relations, lambda row: LeafIndex(row["name"], row["is_unique"], row["definition"], row["is_valid"])
    )
    replica_indexes = _grouped(_REPLICA_INDEXES, relations, lambda row: row["name"])
    found = {}
    for row in _about(_RELATIONS, relations):
        oid = row["relation"]
        found[oid] = State(
            row["schema"],
            row["name"],
            row["owner"],
            tuple(row["owner_lacks"]),
            row["is_unlogged"],
            _options(row["options"], "") + _options(row["toast_options"], "toast."),
            row["replica_identity"],
            next(iter(replica_indexes.get(oid, ())), None),
            row["row_security"],
            row["force"],
            row["comment"],
            row["access_method"],
            row["tablespace"],
            targets.get(oid, ()),
            options.get(oid, ()),
            comments.get(oid, ()),
            grants.get(oid, ()),
            policies.get(oid, ()),
            statistics.get(oid, ()),
            indexes.get(oid, ()),
        )
    return found


def _about(text: str, relations: Iterable[int]) -> list[database.Row]:
    return database.query(text, ("oid[]",), (list(relations),))


def _grouped(text: str, relations: list[int], value: Callable[[database.Row], Any]) -> dict[int, tuple[Any, ...]]:
    """What a query tells of some relations, by relation."""
    found: dict[int, list[Any]] = {}
    for row in _about(text, relations):
        found.setdefault(row["relation"], []).append(value(row))
    return {oid: tuple(values) for oid, values in found.items()}


def _policy(row: database.Row) -> RowPolicy:
    return RowPolicy(row["name"], row["permissive"], row["command"], tuple(row["roles"]), row["using"], row["check"])


def _options(options: list[str] | None, prefix: str) -> tuple[tuple[str, str], ...]:
    found = []
    for option in options or ():
        name, _, value = option.partition("=")
        found.append((prefix + name, value))
    return tuple(found)
''','catalog.server': r'''"""What the server is and allows."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from .. import database, errors

LOCK_BUDGET_SHARE = 0.75  # of the lock table, which is somewhat larger than it says; the rest is for everybody else


class Server(NamedTuple):
    """Facts about the server and the session."""

    version: int
    is_standby: bool
    max_locks: int  # max_locks_per_transaction
    lock_slots: int  # transactions that the lock table has room for, so many locks each
    partitionwise_join: bool
    user: str
    is_superuser: bool

    @property
    def lock_table(self) -> int:
        """How many entries the lock table has, for all sessions."""
        return self.max_locks * self.lock_slots

    @property
    def lock_budget(self) -> int:
        """How many locks one transaction of ours may take."""
        return int(self.lock_table * LOCK_BUDGET_SHARE)


def server() -> Server:
    """Read them."""
    row = database.query(
        """
        SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS is_standby,
               current_setting('max_locks_per_transaction')::int AS max_locks,
               current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int AS slots,
               current_setting('enable_partitionwise_join')::bool AS partitionwise, current_user AS name,
               (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser
        """
    )[0]
    return Server(
        row["version"],
        row["is_standby"],
        row["max_locks"],
        row["slots"],
        row["partitionwise"],
        row["name"],
        row["is_superuser"],
    )


def local_now(time_zone: str) -> datetime.datetime:
    """The time in a zone; dp.now sets the clock for tests and rehearsals."""
    query = "SELECT to_char(dp._now($1), 'YYYY-MM-DD HH24:MI:SS.US') AS now"  # whatever DateStyle the session has
    text = database.query(query, ("text",), (time_zone,))[0]["now"]
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise errors.InvalidParameter.of("dp.now", text, "Plans are made for the years 1 to 9999.") from None


_points: dict[tuple[str, str, str], int] = {}  # what was asked before: hierarchies cut alike ask the same
MAX_POINTS_KEPT = 10_000


def points(moments: list[str], type_name: str, time_zone: str) -> list[int]:
    """The points, on a partition column's axis, of calendar moments in a time zone."""
    if len(_points) > MAX_POINTS_KEPT:
        _points.clear()
    unknown = [moment for moment in moments if (moment, type_name, time_zone) not in _points]
    if unknown:
        rows = database.query(
            "SELECT moment, dp._moment_point(moment::timestamp, $2, $3) AS point FROM unnest($1) AS m(moment)",
            ("text[]", "text", "text"),
            (unknown, type_name, time_zone),
        )
        _points.update({(row["moment"], type_name, time_zone): int(row["point"]) for row in rows})
    return [_points[moment, type_name, time_zone] for moment in moments]


def point_ranges(moments: list[str], type_name: str, time_zone: str) -> list[tuple[int, int]]:
    """The first and the last point at which the clock of a time zone shows each moment."""
    rows = database.query(
        "SELECT r.first, r.last FROM unnest($1) WITH ORDINALITY AS m(moment, n),"
        " LATERAL dp._moment_range(moment::timestamp, $2, $3) AS r ORDER BY n",
        ("text[]", "text", "text"),
        (moments, type_name, time_zone),
    )
    return [(int(row["first"]), int(row["last"])) for row in rows]


def try_lock(root: int, for_session: bool) -> int | None:
    """Take the lock of a hierarchy; the process that holds it where it cannot be had, None where it could."""
    function = "pg_try_advisory_lock" if for_session else "pg_try_advisory_xact_lock"
    if database.query(f"SELECT {function}(dp._lock_class(), $1::int) AS taken", ("int",), (_signed(root),))[0]["taken"]:
        return None
    rows = database.query("SELECT dp._lock_holder($1) AS pid", ("oid",), (root,))
    return int(rows[0]["pid"] or 0)


def unlock(root: int) -> None:
    """Give a session's lock of a hierarchy back."""
    database.query("SELECT pg_catalog.pg_advisory_unlock(dp._lock_class(), $1::int)", ("int",), (_signed(root),))


def _signed(oid: int) -> int:
    return oid - (1 << 32) if oid >= 1 << 31 else oid


def resolve_relation(text: str) -> int:
    """The oid of a regclass argument, by the caller's search_path: ask before it is pinned."""
    return int(database.query("SELECT $1::pg_catalog.regclass::pg_catalog.oid AS oid", ("text",), (text,))[0]["oid"])


def relation_name(oid: int) -> str:
    """A relation as PostgreSQL writes it."""
    name = str(database.query("SELECT $1::regclass::text AS name", ("oid",), (oid,))[0]["name"])
    return f"relation {name}, which does not exist," if name.isdigit() else name


def existing_relations(schema: str, names: list[str]) -> set[str]:
    """Which of some names are taken in a schema, by a relation or by a type: a table has a type of its name."""
    rows = database.query(
        "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = ANY ($2)"
        " UNION SELECT t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
        " WHERE n.nspname = $1 AND t.typname = ANY ($2) AND t.typelem = 0",
        ("name", "name[]"),
        (schema, names),
    )
    return {row["name"] for row in rows}
''','catalog.slices': r'''"""Reading what concerns single slices: edges, default slices' contents, detached ones, their foreign keys."""

from __future__ import annotations

import datetime

from .. import database, keys
from ..model import SLICE, Edge, Hierarchy, Slice, SliceSpec, Table
from ..plan import default_slice as plan_default
from ..plan.coverage import Span, suffix
from ..plan.default_slice import DefaultFacts
from ..sql import SQL, Identifier, compose
from . import server as catalog_server


def calendar_edges(hierarchy: Hierarchy, moments: list[datetime.datetime]) -> list[Edge]:
    """Calendar moments as edges on the partition column's axis, in the hierarchy's time zone."""
    key_type = str(hierarchy.root.partition_type)
    if key_type not in keys.ZONED_TYPES:
        return [Edge(keys.local_point(moment), moment) for moment in moments]
    texts = [moment.isoformat(sep=" ") for moment in moments]
    found = catalog_server.points(texts, key_type, hierarchy.policy.time_zone)
    return [Edge(point, moment) for point, moment in zip(found, moments)]


def axis_points(hierarchy: Hierarchy, values: list[object]) -> list[int]:
    """Calendar moments, or numbers, as points on the partition column's axis."""
    moments = [value for value in values if isinstance(value, datetime.datetime)]
    if moments:
        return [edge.point for edge in calendar_edges(hierarchy, moments)]
    return [value for value in values if isinstance(value, int)]


def specs(hierarchy: Hierarchy, spans: list[Span], modulus: int) -> list[SliceSpec]:
    """Spans as slices to create; in the slice form with the bounds of the range key, too."""
    ranges = _range_key_bounds(hierarchy, spans) if hierarchy.policy.key_form == SLICE else {}
    nothing = (None, None)
    return [
        SliceSpec(
            lower,
            upper,
            modulus,
            suffix(lower, upper),
            ranges.get(lower.point, nothing)[0],
            ranges.get(upper.point, nothing)[1],
        )
        for lower, upper in spans
    ]


def _range_key_bounds(hierarchy: Hierarchy, spans: list[Span]) -> dict[int, tuple[int | None, int | None]]:
    """For each edge of a slice key the first and the last point of the range key that belong to it.

    They differ only where a clock is set back over midnight, so that midnight comes twice.
    """
    edges = sorted({edge for span in spans for edge in span}, key=lambda edge: edge.point)
    if keys.is_integer(hierarchy.range_type):
        return {edge.point: (edge.point, edge.point) for edge in edges}
    moments = [(edge.local or keys.EPOCH).isoformat(sep=" ") for edge in edges]
    found = catalog_server.point_ranges(moments, hierarchy.range_type, hierarchy.policy.time_zone)
    return {edge.point: each for edge, each in zip(edges, found)}


def default_facts(hierarchy: Hierarchy) -> dict[int, DefaultFacts]:
    """What draining and excluding need to know of the default slices."""
    found = {}
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None:
            found[table.oid] = _facts(default)
    return found


def _facts(default: Slice) -> DefaultFacts:
    columns = database.query(
        "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' ORDER BY attnum",
        ("oid",),
        (default.oid,),
    )
    triggers = database.query(
        "SELECT n.nspname AS schema, c.relname AS relation, t.tgname AS name, t.tgenabled AS enabled"
        " FROM pg_partition_tree($1::regclass) AS tree JOIN pg_class c ON c.oid = tree.relid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_trigger t ON t.tgrelid = c.oid"
        " WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY tree.level, c.relname, t.tgname",
        ("oid",),
        (default.oid,),
    )
    exclusions = database.query(
        "SELECT conname AS name, convalidated AS valid FROM pg_constraint"
        " WHERE conrelid = $1 AND contype = 'c' AND starts_with(conname, $2) ORDER BY conname",
        ("oid", "text"),
        (default.oid, plan_default.EXCLUDES),
    )
    return DefaultFacts(
        tuple(row["name"] for row in columns),
        tuple((Identifier(row["schema"], row["relation"]), row["name"], row["enabled"]) for row in triggers),
        tuple((row["name"], row["valid"]) for row in exclusions),
        forces_row_security(default),
    )


def forces_row_security(relation: Slice) -> bool:
    """Whether policies hide rows from the owner, too."""
    rows = database.query(
        "SELECT relrowsecurity AND relforcerowsecurity AS force FROM pg_class WHERE oid = $1", ("oid",), (relation.oid,)
    )
    return bool(rows[0]["force"])


def _read_all(default: Slice, text: SQL) -> list[database.Row]:
    """Read a default slice, rows that policies hide from the owner included."""
    if not forces_row_security(default):
        return database.query_once(text.text)
    with database.subtransaction():
        database.run(compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", default.identifier).text)
        rows = database.query_once(text.text)
        database.run(compose("ALTER TABLE {} FORCE ROW LEVEL SECURITY", default.identifier).text)
    return rows


def holds_rows(default: Slice, table: Table, spec: SliceSpec | None = None) -> bool:
    """Whether a default slice holds rows at all, or of a range."""
    return bool(_read_all(default, _rows_query(default, table, spec))[0]["found"])


def shows_rows(default: Slice, table: Table, spec: SliceSpec | None = None) -> bool:
    """The same of the rows that the caller sees; this changes nothing, as a STABLE function must not."""
    return bool(database.query_once(_rows_query(default, table, spec).text)[0]["found"])


def _rows_query(default: Slice, table: Table, spec: SliceSpec | None) -> SQL:
    condition = plan_default.condition(table, spec) if spec else SQL("true")
    return compose("SELECT EXISTS (SELECT FROM {} WHERE {}) AS found", default.identifier, condition)


def is_empty(relation: Identifier) -> bool:
    """Whether a relation holds no row."""
    text = compose("SELECT NOT EXISTS (SELECT FROM {}) AS empty", relation)
    return bool(database.query_once(text.text)[0]["empty"])


def default_buckets(hierarchy: Hierarchy, step: int) -> list[str]:
    """Which days, or steps of integers, the default slices have rows of, as text."""
    found: set[str] = set()
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None:
            query = plan_default.days_query(table, default, hierarchy.policy.time_zone, step)
            rows = _read_all(default, query)
            found.update(row["bucket"].replace(" AD", "") for row in rows if row["bucket"] is not None)
    return sorted(found)


def leaves(slices: list[Slice]) -> dict[int, tuple[Identifier, ...]]:
    """The leaves of some slices, by slice."""
    rows = database.query(
        "SELECT i.inhparent AS slice, n.nspname AS schema, c.relname AS name FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE i.inhparent = ANY ($1) ORDER BY c.relname",
        ("oid[]",),
        ([each.oid for each in slices],),
    )
    found: dict[int, tuple[Identifier, ...]] = {}
    for row in rows:
        found[row["slice"]] = found.get(row["slice"], ()) + (Identifier(row["schema"], row["name"]),)
    return found


def inside_foreign_keys(hierarchy: Hierarchy, slices: list[Slice]) -> dict[int, tuple[str, ...]]:
    """The names that the hierarchy's foreign keys have on some slices, by slice."""
    rows = database.query(
        "SELECT conrelid AS slice, conname AS name FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY ($1)"
        " AND confrelid = ANY ($2) ORDER BY conname",
        ("oid[]", "oid[]"),
        ([each.oid for each in slices], [table.oid for table in hierarchy.tables]),
    )
    found: dict[int, tuple[str, ...]] = {}
    for row in rows:
        found[row["slice"]] = found.get(row["slice"], ()) + (row["name"],)
    return found
''','catalog.structure': r'''"""Reading the structure of one table."""

from __future__ import annotations

from .. import database, errors
from ..plan.properties import Grant
from ..plan.structure import (
    Column,
    Comment,
    Index,
    Publication,
    Rule,
    Sequence,
    Statistics,
    Structure,
    Trigger,
)
from . import foreign_keys as catalog_keys
from . import server as catalog_server
from . import trust

_RELATION = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner, c.relkind AS kind,
           c.relispartition AS is_partition, c.relpersistence AS persistence,
           p.partstrat AS strategy, dp._column_names(c.oid, p.partattrs::int2[]) AS partition_columns,
           EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) AS has_partitions,
           EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) AS inherits,
           c.reloftype <> 0 AS is_typed, c.oid::regclass::text AS text,
           ARRAY(SELECT conname FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c' ORDER BY conname) AS checks,
           ARRAY(SELECT conname FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c' AND connoinherit
                 ORDER BY conname) AS uninherited_checks,
           pg_has_role(c.relowner, 'USAGE') AS is_owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
    WHERE c.oid = $1
"""

_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
           a.attidentity <> '' AS identity,
           CASE WHEN a.attcollation <> t.typcollation THEN ARRAY[cn.nspname, co.collname] END AS collation
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_INDEXES = """
    SELECT c.relname AS name, con.contype AS constraint_type, i.indisunique AS is_unique,
           ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
                 LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum <> 0
                 WHERE k.n <= i.indnkeyatts ORDER BY k.n) AS columns,
           coalesce(pg_get_constraintdef(con.oid), dp._index_definition(i.indexrelid)) AS definition,
           obj_description(c.oid, 'pg_class') AS comment, c.reloptions AS options, ts.spcname AS tablespace
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
    LEFT JOIN pg_constraint con ON con.conindid = c.oid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = $1 ORDER BY c.oid
"""

_TRIGGERS = """
    SELECT tgname AS name, pg_get_triggerdef(oid) AS definition, tgenabled AS enabled,
           tgtype & 1 = 1 AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL) AS row_with_transition
    FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY oid
"""

_RULES = """
    SELECT rulename AS name, pg_get_ruledef(oid) AS definition, ev_enabled AS enabled
    FROM pg_rewrite WHERE ev_class = $1 ORDER BY oid
"""

_SEQUENCES = """
    SELECT n.nspname AS schema, s.relname AS name, a.attname AS column, d.deptype = 'i' AS is_identity,
           s.oid::regclass::text AS text, obj_description(s.oid, 'pg_class') AS comment
    FROM pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_namespace n ON n.oid = s.relnamespace
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
      AND d.deptype IN ('a', 'i')
    ORDER BY a.attnum
"""

_SEQUENCE_GRANTS = """
    SELECT CASE WHEN acl.grantee <> 0 THEN pg_get_userbyid(acl.grantee) END AS grantee, acl.privilege_type AS privilege,
           acl.is_grantable
    FROM pg_class c, LATERAL aclexplode(c.relacl) AS acl
    WHERE c.oid = $1::regclass AND acl.grantee <> c.relowner
    ORDER BY 1, 2
"""

_STATISTICS = """
    SELECT n.nspname AS schema, s.stxname AS name, pg_get_statisticsobjdef(s.oid) AS definition,
           s.stxstattarget AS target
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = $1 ORDER BY s.oid
"""

_PUBLICATIONS = """
    SELECT p.pubname AS name, dp._column_names(r.prrelid, r.prattrs::int2[]) AS columns,
           pg_get_expr(r.prqual, r.prrelid) AS condition, p.pubviaroot AS is_by_root,
           pg_has_role(c.relowner, p.pubowner, 'USAGE') AS is_owner
    FROM pg_publication_rel r
    JOIN pg_publication p ON p.oid = r.prpubid
    JOIN pg_class c ON c.oid = r.prrelid
    WHERE r.prrelid = $1 ORDER BY p.pubname
"""

# Comments on parts; LIKE copies those on columns and check constraints, those on indexes are the indexes'.
_COMMENTS = """
    SELECT part.kind, part.schema, part.name, d.description AS text
    FROM (SELECT 'CONSTRAINT' AS kind, 'pg_constraint'::regclass AS class, oid, '' AS schema, conname AS name
          FROM pg_constraint WHERE conrelid = $1 AND contype IN ('p', 'u', 'x', 'f')
          UNION ALL SELECT 'TRIGGER', 'pg_trigger', oid, '', tgname FROM pg_trigger WHERE tgrelid = $1
          UNION ALL SELECT 'POLICY', 'pg_policy', oid, '', polname FROM pg_policy WHERE polrelid = $1
          UNION ALL SELECT 'RULE', 'pg_rewrite', oid, '', rulename FROM pg_rewrite WHERE ev_class = $1
          UNION ALL SELECT 'STATISTICS', 'pg_statistic_ext', s.oid, n.nspname, s.stxname
                    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = $1) AS part
    JOIN pg_description d ON d.classoid = part.class AND d.objoid = part.oid AND d.objsubid = 0
    ORDER BY part.kind, part.name
"""

# What would be lost with the table: everything that depends on it or its row type, but its own parts.
_DEPENDENTS = """
    SELECT DISTINCT CASE
        WHEN r.rulename = '_RETURN' THEN pg_describe_object('pg_class'::regclass, r.ev_class, 0)
        WHEN d.classid = 'pg_class'::regclass THEN pg_describe_object(d.classid, d.objid, d.objsubid)
        ELSE pg_describe_object(d.classid, d.objid, 0)
        END AS name
    FROM pg_depend d
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
           OR d.refclassid = 'pg_type'::regclass
              AND d.refobjid IN (SELECT reltype FROM pg_class WHERE oid = $1
                                 UNION SELECT t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
                                 WHERE c.oid = $1))
      AND d.deptype IN ('n', 'a')
      AND NOT CASE d.classid
          WHEN 'pg_constraint'::regclass THEN true  -- foreign keys are made again, checks go along
          WHEN 'pg_trigger'::regclass THEN EXISTS (SELECT FROM pg_trigger WHERE oid = d.objid AND tgrelid = $1)
          WHEN 'pg_policy'::regclass THEN EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND polrelid = $1)
          WHEN 'pg_attrdef'::regclass THEN EXISTS (SELECT FROM pg_attrdef WHERE oid = d.objid AND adrelid = $1)
          WHEN 'pg_rewrite'::regclass THEN r.ev_class = $1
          WHEN 'pg_statistic_ext'::regclass THEN true
          WHEN 'pg_publication_rel'::regclass THEN true
          WHEN 'pg_class'::regclass THEN (SELECT relkind FROM pg_class WHERE oid = d.objid) IN ('i', 'I', 'S', 't')
          ELSE false
      END
    ORDER BY 1
"""


def read(oid: int) -> Structure:
    """The structure of an ordinary or partitioned table."""
    rows = database.query(_RELATION, ("oid",), (oid,))
    if not rows:
        raise errors.UndefinedObject(
            f"relation {oid} does not exist" if oid else "no table was named",
            "It was dropped meanwhile." if oid else "The parameter is NULL.",
            "Name a table.",
        )
    row = rows[0]
    _check_relation(row, row["text"])
    if row["owner"] != catalog_server.server().user:
        trust.refuse_code([oid], row["text"], row["owner"])
    return Structure(
        row["oid"],
        row["schema"],
        row["name"],
        row["owner"],
        row["kind"],
        row["kind"] == "r" and _has_rows(row["text"]),
        row["has_partitions"],
        row["strategy"],
        tuple(row["partition_columns"] or ()),
        columns(oid),
        tuple(_index(found) for found in _about(_INDEXES, oid)),
        tuple(catalog_keys.declared_on([oid])),
        catalog_keys.definitions(oid),
        tuple(catalog_keys.pointing_to(oid)),
        tuple(
            Trigger(found["name"], found["definition"], found["enabled"], found["row_with_transition"])
            for found in _about(_TRIGGERS, oid)
        ),
        tuple(_sequence(found) for found in _about(_SEQUENCES, oid)),
        tuple(_statistics(found) for found in _about(_STATISTICS, oid)),
        tuple(Rule(found["name"], found["definition"], found["enabled"]) for found in _about(_RULES, oid)),
        tuple(_publication(found) for found in _about(_PUBLICATIONS, oid)),
        tuple(
            Comment(found["kind"], found["schema"], found["name"], found["text"]) for found in _about(_COMMENTS, oid)
        ),
        tuple(row["checks"]),
        tuple(row["uninherited_checks"]),
        row["is_typed"],
        tuple(found["name"] for found in _about(_DEPENDENTS, oid)),
    )


def _about(text: str, oid: int) -> list[database.Row]:
    return database.query(text, ("oid",), (oid,))


def _has_rows(relation: str) -> bool:
    return bool(database.query_once(f"SELECT EXISTS (SELECT FROM {relation}) AS found")[0]["found"])


def _sequence(row: database.Row) -> Sequence:
    state: database.Row = {"last_value": 1, "is_called": False}
    if row["is_identity"]:  # a serial column keeps its sequence as it is
        state = database.query_once(f"SELECT last_value, is_called FROM {row['text']}")[0]
    return Sequence(
        row["schema"],
        row["name"],
        row["column"],
        row["is_identity"],
        state["last_value"],
        state["is_called"],
        tuple(
            Grant(found["grantee"], found["privilege"], None, found["is_grantable"])
            for found in database.query(_SEQUENCE_GRANTS, ("text",), (row["text"],))
        ),
        row["comment"],
    )


def _statistics(row: database.Row) -> Statistics:
    target = row["target"]  # -1 up to 16, NULL from 17 on: the default
    return Statistics(
        row["schema"], row["name"], row["definition"], target if target is not None and target >= 0 else None
    )


def _publication(row: database.Row) -> Publication:
    return Publication(row["name"], tuple(row["columns"] or ()), row["condition"], row["is_by_root"], row["is_owner"])


def columns(oid: int) -> tuple[Column, ...]:
    """The columns of a table."""
    return tuple(_column(row) for row in database.query(_COLUMNS, ("oid",), (oid,)))


def _check_relation(row: database.Row, name: str) -> None:
    if row["kind"] not in ("r", "p"):
        raise errors.WrongObjectType(
            f"{name} is not a table", "Only ordinary and partitioned tables can be managed.", "Name a table."
        )
    if row["is_partition"] or row["inherits"]:
        raise errors.WrongObjectType(
            f"{name} is a partition or inherits from another table",
            "A managed table stands at the top of its tree.",
            "Name the topmost table.",
        )
    if row["persistence"] == "t":
        raise errors.WrongObjectType(
            f"{name} is a temporary table", "Only permanent tables can be managed.", "Name a permanent table."
        )
    if not row["is_owner"]:
        raise errors.InsufficientPrivilege.not_owner(name, row["owner"])


def _column(row: database.Row) -> Column:
    collation = row["collation"]
    return Column(
        row["name"],
        row["type"],
        (collation[0], collation[1]) if collation else None,
        row["not_null"],
        row["identity"],
    )


def _index(row: database.Row) -> Index:
    return Index(
        row["name"],
        row["constraint_type"],
        row["is_unique"],
        tuple(row["columns"]),
        row["definition"],
        tuple(_option(option) for option in row["options"] or ()),
        row["tablespace"],
        row["comment"],
    )


def _option(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return name, value
''','catalog.trust': r'''"""Code that comes with tables: it would run with the rights of whoever reads them or works on them.

An expression of an index, a CHECK, a default or a policy may call a function of the tables' owner. PostgreSQL evaluates
some of them when a statement is planned, and what a deferred trigger does happens at the commit: no change of role is a
wall against that. So where the caller is not the owner, tables with such code are refused.
"""

from __future__ import annotations

from .. import database, errors
from ..sql import Identifier

MAX_TOLD = 5

# Functions, operators and types that a table or a part of it needs, and that belong neither to a superuser, who may do
# everything already, nor to the caller. Triggers are left out: those of users do not fire in what we do.
_CODE = """
    WITH relation AS (
        SELECT t.oid FROM unnest($1) AS t (oid)
        UNION SELECT tree.relid FROM unnest($1) AS t (oid), pg_partition_tree(t.oid) AS tree
    ), part (class, oid) AS (
        SELECT 'pg_class'::regclass, oid FROM relation
        UNION ALL SELECT 'pg_class', i.indexrelid FROM relation r JOIN pg_index i ON i.indrelid = r.oid
        UNION ALL SELECT 'pg_constraint', k.oid FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
        UNION ALL SELECT 'pg_attrdef', d.oid FROM relation r JOIN pg_attrdef d ON d.adrelid = r.oid
        UNION ALL SELECT 'pg_policy', p.oid FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
        UNION ALL SELECT 'pg_statistic_ext', s.oid FROM relation r JOIN pg_statistic_ext s ON s.stxrelid = r.oid
    ), needed (class, oid, owner) AS (
        SELECT d.refclassid, d.refobjid, coalesce(f.proowner, o.oprowner, u.typowner)
        FROM part JOIN pg_depend d ON d.classid = part.class AND d.objid = part.oid
        LEFT JOIN pg_proc f ON d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
        LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
        LEFT JOIN pg_type u ON u.oid = CASE t.typcategory WHEN 'A' THEN t.typelem ELSE t.oid END
                           AND u.typtype IN ('c', 'd', 'm', 'r')  -- those that may need functions of users
        UNION ALL
        SELECT 'pg_rewrite'::regclass, w.oid, c.relowner
        FROM relation r JOIN pg_class c ON c.oid = r.oid JOIN pg_rewrite w ON w.ev_class = r.oid
    )
    SELECT DISTINCT pg_describe_object(needed.class, needed.oid, 0) AS name
    FROM needed JOIN pg_roles role ON role.oid = needed.owner
    WHERE NOT role.rolsuper AND role.rolname <> current_user
    ORDER BY 1
"""

_TABLES = "SELECT $1 AS oid UNION SELECT tbl::oid FROM dp.table_config WHERE root = $1 AND role <> 'reference'"


def tables_of(root: int) -> list[int]:
    """The tables of a hierarchy, or the table that is to be its root."""
    return [row["oid"] for row in database.query(_TABLES, ("oid",), (root,))]


def refuse_code(tables: list[int], name: object, owner: str) -> None:
    """Refuse tables with code of others than the caller; for callers who are not the owner."""
    found = [row["name"] for row in database.query(_CODE, ("oid[]",), (tables,))]
    if found:
        told = ", ".join(found[:MAX_TOLD]) + (", ..." if len(found) > MAX_TOLD else "")
        raise errors.InsufficientPrivilege(
            f"{name} brings code of {owner} along, which would run with your rights",
            f"Constraints, indexes, defaults, policies or rules of its tables need {told}.",
            f"Call in a session of {owner}; or, if you trust that code with all that you may do,"
            f" SET ROLE {Identifier(owner)} first.",
        )
''','database': r'''"""The one door to the server: no other module knows ``plpy``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

import plpy

from . import errors

ServerError = plpy.SPIError
LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
OUT_OF_MEMORY = "53200"  # of shared memory: others hold the rest of the lock table

_prepared: dict[tuple[str, tuple[str, ...]], Any] = {}


def query(text: str, types: tuple[str, ...] = (), values: tuple[Any, ...] = ()) -> list[Row]:
    """Rows of a reading statement, whose plan is kept for the session."""
    key = (text, types)
    plan = _prepared.get(key)
    if plan is None:
        plan = _prepared[key] = plpy.prepare(text, list(types))
    return list(plpy.execute(plan, list(values)))


def query_once(text: str) -> list[Row]:
    """Rows of a reading statement that is composed, and not worth keeping a plan for."""
    return list(plpy.execute(text))


def run(statements: str) -> None:
    """Run one or more statements in one subtransaction."""
    plpy.execute(statements)


def sqlstate(error: Exception) -> str:
    """The SQLSTATE of an error raised by the server."""
    return getattr(error, "sqlstate", None) or "XX000"


def describe(error: Exception) -> str:
    """One line that says what went wrong."""
    return f"{error} ({sqlstate(error)})"


def set_local(name: str, value: str) -> None:
    """Set a parameter until the end of the transaction."""
    query("SELECT pg_catalog.set_config($1, $2, true)", ("text", "text"), (name, value))


def setting(name: str) -> str | None:
    """The value of a parameter, None where it does not exist."""
    value = query("SELECT pg_catalog.current_setting($1, true) AS value", ("text",), (name,))[0]["value"]
    return None if value is None else str(value)


def commit() -> None:
    """Commit; only a procedure that was called at top level can."""
    try:
        plpy.commit()
    except ServerError as error:
        if sqlstate(error) != errors.InvalidTransactionState.sqlstate:
            raise
        raise errors.InvalidTransactionState(
            "this procedure commits its steps and cannot run inside a transaction block",
            "The CALL stands in an explicit transaction, in a function, or in a DO block inside one.",
            "Run the CALL as a statement of its own, or print its statements with dry_run => true.",
        ) from None


def rollback() -> None:
    """Roll the current step back."""
    plpy.rollback()


def notice(message: str) -> None:
    """Tell the client something."""
    _tell(plpy.notice, message)


def warning(message: str) -> None:
    """Warn the client."""
    _tell(plpy.warning, message)


def _tell(send: Any, message: str) -> None:
    """Send a message; a cancel that comes meanwhile is no SPIError, but a cancel all the same."""
    try:
        send(message)
    except plpy.Error as error:
        cancel = ServerError(str(error))
        cancel.sqlstate = sqlstate(error)
        raise cancel from None


def subtransaction() -> Any:
    """A context manager that rolls back what an error interrupted."""
    return plpy.subtransaction()


def pause(milliseconds: int) -> None:
    """Sleep; a cancel gets through."""
    query("SELECT pg_catalog.pg_sleep($1)", ("float8",), (milliseconds / 1000.0,))


class ClientError(plpy.Error):
    """What PL/Python hands to the client whole: message, SQLSTATE, DETAIL and HINT."""


# PL/Python writes the name of the class before the message.
ClientError.__name__ = "dialog_partition"
ClientError.__module__ = "builtins"


def client_error(message: str, state: str, detail: str | None, hint: str | None) -> Exception:
    """An error for the client."""
    error = ClientError(message)
    for name, value in (("sqlstate", state), ("detail", detail), ("hint", hint)):
        if value:
            setattr(error, name, value)
    return error


def client_error_from_server(error: Exception) -> Exception:
    """The server's own error, with the statement that met it."""
    details = getattr(error, "spidata", None) or (None, None, None, None)
    detail = "\n".join(text for text in (details[1], f"Statement: {details[3]}" if details[3] else None) if text)
    return client_error(str(error), sqlstate(error), detail, details[2])


def is_worth_a_retry(error: Exception) -> bool:
    """Whether the same statements may succeed when other sessions have let locks go."""
    return sqlstate(error) in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, OUT_OF_MEMORY)


def is_out_of_locks(error: Exception) -> bool:
    """Whether the lock table of the server is full."""
    return isinstance(error, ServerError) and sqlstate(error) == OUT_OF_MEMORY


def is_lock_timeout(error: Exception) -> bool:
    """Whether the server gave up waiting for a lock."""
    return isinstance(error, ServerError) and sqlstate(error) == LOCK_NOT_AVAILABLE


def is_cancel(error: Exception) -> bool:
    """Whether somebody wants us to stop: a cancel, a timeout of the statement, a shutdown."""
    return isinstance(error, ServerError) and sqlstate(error)[:2] == "57"
''','entry': r'''"""Where SQL functions enter: find the function, call it, and turn what goes wrong into a proper error."""

from __future__ import annotations

import importlib
import traceback

from . import database, errors, execute
from .api import calls
from .catalog import server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULES = {
    "create_hierarchy": "declare",
    "register_child": "children",
    "register_reference": "children",
    "configure": "configure",
    "forget": "declare",
    "adopt": "adopt",
    "create_slices": "slices",
    "drain_default": "default_slice",
    "detach_slice": "slices",
    "attach_slice": "attach",
    "drop_slice": "slices",
    "run_maintenance": "maintenance",
    "add_column": "columns",
    "drop_column": "columns",
    "rename_column": "columns",
    "alter_column_type": "columns",
    "set_default": "columns",
    "drop_default": "columns",
    "set_not_null": "columns",
    "drop_not_null": "columns",
    "add_constraint": "constraints",
    "drop_constraint": "constraints",
    "create_index": "constraints",
    "drop_index": "constraints",
    "create_index_concurrently": "concurrently",
    "drop_index_concurrently": "concurrently",
    "reindex_concurrently": "concurrently",
    "add_constraint_online": "online",
    "set_not_null_online": "online",
    "set_storage": "alter_table",
    "alter_table": "alter_table",
    "create_global_index": "global_index",
    "create_global_index_online": "global_index",
    "drop_global_index": "global_index",
    "create_lookup": "global_index",
    "check": "check",
    "drift": "drift",
    "sync": "drift",
    "last_plan": "looking",
    "clustering": "physical_order",
    "cluster": "physical_order",
    "set_cluster_order": "physical_order",
    "prewarm": "cache",
    "residency": "cache",
    "propagate": "propagation",
    "plan_conversion": "conversion",
    "convert": "convert",
    "cancel_conversion": "convert",
    "drop_converted": "convert",
    "unconvert": "unconvert",
}
READING = (
    "check",
    "clustering",
    "prewarm",
    "residency",
    "drift",
    "last_plan",
    "plan_conversion",
)  # these leave the last call's plan as it is


def call(
    name: str, relations: tuple[str, ...], required: tuple[str, ...], is_procedure: bool, arguments: dict[str, Any]
) -> Any:
    """The error boundary: the only place that catches everything.

    A server's own error, a cancel among them, reaches the client with its SQLSTATE, DETAIL and HINT; an error of ours
    likewise; anything else is a defect and shows its traceback.
    """
    try:
        for parameter in required:
            if arguments[parameter] is None:  # of dry_run it must not be taken for false
                raise errors.InvalidParameter.of(parameter, None, "It must have a value.")
        return _call(name, relations, is_procedure, arguments)
    except errors.PartitionError as error:
        raised = database.client_error(error.message, error.sqlstate, error.detail, error.hint)
    except database.ServerError as error:
        raised = database.client_error_from_server(error)
    except Exception as error:  # noqa: BLE001 - the one place
        raised = database.client_error(
            f"internal error: {error!r}", errors.PartitionError.sqlstate, traceback.format_exc(), "Please report this."
        )
    raise raised from None


def _call(name: str, relations: tuple[str, ...], is_procedure: bool, arguments: dict[str, Any]) -> Any:
    for relation in relations:
        given = arguments[relation]
        if isinstance(given, list):
            arguments[relation] = [server.resolve_relation(each) for each in given]
        elif given is not None:
            arguments[relation] = server.resolve_relation(given)
    function = getattr(importlib.import_module(f".api.{MODULES[name]}", __package__), name)
    if name not in READING:
        execute.reset_plan()
    if is_procedure:
        calls.release_locks()  # none but after an error in giving them back
    saved = {setting: database.setting(setting) or "" for setting in execute.PINNED}
    execute.begin(None)
    try:
        result = function(**arguments)
        if is_procedure:
            execute.finish_plan()
    except (errors.PartitionError, database.ServerError) as error:
        if is_procedure:
            calls.record_failure(error)
        if database.is_lock_timeout(error):
            raise calls.reading_blocked(error) from None
        raise
    finally:
        if is_procedure:
            calls.release_locks()
    for setting, value in saved.items():  # a dry run may stand in a transaction of the caller's
        database.set_local(setting, value)
    return None if is_procedure else result
''','errors': r'''"""The errors a user can meet, each with its SQLSTATE.

Message: lower case, no full stop, names the object. Detail and hint: sentences.
"""

from __future__ import annotations


class PartitionError(Exception):
    """Base of every error that dialog_partition raises on purpose."""

    sqlstate = "XX000"

    def __init__(self, message: str, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint


class InvalidParameter(PartitionError):
    """A parameter has a value that cannot work (22023)."""

    sqlstate = "22023"

    @classmethod
    def of(cls, parameter: str, value: object, detail: str, hint: str | None = None) -> InvalidParameter:
        """A parameter's value cannot work, and why."""
        shown = "NULL" if value is None else f'"{value}"'
        message = f"invalid value for parameter {parameter}: {shown}"
        return cls(message, detail, hint or f"Call again with another value for {parameter}.")


class WrongObjectType(PartitionError):
    """The relation is of a kind that cannot be managed (42809)."""

    sqlstate = "42809"


class UndefinedObject(PartitionError):
    """The relation is not known to dialog_partition (42704)."""

    sqlstate = "42704"


class UndefinedColumn(PartitionError):
    """A key column does not exist (42703)."""

    sqlstate = "42703"


class DuplicateColumn(PartitionError):
    """A column has the name already, and is another (42701)."""

    sqlstate = "42701"


class DatatypeMismatch(PartitionError):
    """A column has another type or collation than it must (42804)."""

    sqlstate = "42804"


class DuplicateObject(PartitionError):
    """The table belongs to a hierarchy already (42710)."""

    sqlstate = "42710"


class DuplicateTable(PartitionError):
    """A relation has the name that a new slice needs (42P07)."""

    sqlstate = "42P07"


class InvalidTableDefinition(PartitionError):
    """The table's definition does not allow what was asked (42P16)."""

    sqlstate = "42P16"


class InsufficientPrivilege(PartitionError):
    """The caller does not own the table (42501)."""

    sqlstate = "42501"

    @classmethod
    def not_owner(cls, table: object, owner: str) -> InsufficientPrivilege:
        """The caller is neither the owner of a table nor a member of that role."""
        return cls(
            f"must be owner of table {table}",
            f"It belongs to {owner}.",
            f"Call as {owner}, or as a member of that role who inherits its privileges.",
        )


class DependentObjects(PartitionError):
    """Objects depend on a table that would have to be made anew (2BP01)."""

    sqlstate = "2BP01"


class NotInPrerequisiteState(PartitionError):
    """The hierarchy is not in a state that allows the call (55000)."""

    sqlstate = "55000"


class ObjectInUse(PartitionError):
    """Another session works on the same hierarchy (55006)."""

    sqlstate = "55006"


class LockNotAvailable(PartitionError):
    """A lock was not granted within lock_timeout, after all retries (55P03)."""

    sqlstate = "55P03"


class OutOfLocks(PartitionError):
    """The work needs more locks than one transaction may take (53200)."""

    sqlstate = "53200"


class InvalidIsolation(PartitionError):
    """A function that changes tables was called in a transaction that cannot see what others committed (25000)."""

    sqlstate = "25000"


class NoSecondSession(PartitionError):
    """A statement that cannot run inside a transaction needs a second session, and there is none (08001)."""

    sqlstate = "08001"


class InvalidTransactionState(PartitionError):
    """A procedure that commits was called inside a transaction block (2D000)."""

    sqlstate = "2D000"


class MaintenanceFailed(PartitionError):
    """At least one hierarchy failed during a run over several (P0001)."""

    sqlstate = "P0001"
''','execute': r'''"""The only place that runs or prints operations: locks, retries, commits, the log and the session's last plan."""

from __future__ import annotations

import time
from typing import NamedTuple

from . import blockers, database, errors, progress, remote, wrapping
from .operation import Step
from .sql import SQL, Composable, Identifier, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DRY_RUN, FUNCTION, PROCEDURE = "dry run", "function", "procedure"
ATTEMPTS = 12
ATTEMPTS_IN_FUNCTION = 3  # the caller's transaction holds its own locks meanwhile
MAX_PAUSE_MS = 5000
DEFAULT_LOCK_TIMEOUT_MS = 500
WRITTEN_EVERY = 0.25  # seconds: how much of what the other session did dp.log may lack after a kill
PROPAGATION = "dp.propagate_ddl"  # the setting that switches the event trigger for plain DDL
# What a call sets for itself, and gives back.
PINNED = ("search_path", "lock_timeout", "quote_all_identifiers", "jit", PROPAGATION)

PlanRow = tuple[int, str, str]

_last_plan: list[PlanRow] = []
_printed_off: list[bool] = []  # whether the event trigger for plain DDL is off in what is being printed
_printed_role: list[str] = []  # whose statements are being printed, where that is not the caller


class Context(NamedTuple):
    """How a call runs: which one, on which hierarchy, and in which mode."""

    call: str
    mode: str
    root: int
    root_name: str
    owner: str | None  # of the tables, where it is not the caller
    lock_timeout_ms: int
    lock_budget: int
    is_superuser: bool = False  # the caller
    search_path: str | None = None  # where names are looked up that stand in SQL which the caller gave
    is_schema_change: bool = False  # its statements, printed and run by somebody, would be carried along once more


class Running(NamedTuple):
    """The step at work, for the log."""

    step: Step
    since: float
    duration: float | None = None  # of one that is at its end, in seconds


_running: list[Running] = []
_outside: list[Running] = []  # what the other session has done, and dp.log does not tell yet


def mode_of(dry_run: bool, is_procedure: bool) -> str:
    """The mode of a call."""
    if dry_run:
        return DRY_RUN
    return PROCEDURE if is_procedure else FUNCTION


def reset_plan() -> None:
    """A new call begins: forget the last one's operations."""
    _last_plan.clear()
    _printed_role.clear()
    _printed_off.clear()
    _running.clear()
    _outside.clear()


def last_plan() -> list[PlanRow]:
    """The operations of the session's last call."""
    return list(_last_plan)


def begin(context: Context | None) -> None:
    """Pin what a transaction of ours must not take from the session; gone after each commit."""
    database.set_local("search_path", wrapping.PINNED_PATH)
    database.set_local("quote_all_identifiers", "off")  # what PostgreSQL deparses is compared with names
    database.set_local("jit", "off")  # statements over many partitions look costly, and would be compiled for seconds
    database.set_local(PROPAGATION, "off")  # what a call changes it changes everywhere
    if context is None:  # reading may meet a lock, too: pg_get_expr opens the relation
        database.set_local("lock_timeout", f"{DEFAULT_LOCK_TIMEOUT_MS}ms")
    elif context.mode != DRY_RUN:
        database.set_local("lock_timeout", f"{context.lock_timeout_ms}ms")
        if context.owner is not None:
            # a policy may call the owner's functions, with our caller's rights: rather fail than read through it
            database.set_local("row_security", "off")
            if not context.is_superuser:
                database.set_local("role", context.owner)


def execute(steps: Iterable[Step], context: Context) -> None:
    """Run steps in order, or only print them."""
    for each in steps:
        if not each.operations:
            continue
        if context.mode != DRY_RUN:
            _running[:] = [Running(each, time.monotonic())]
            if each.in_transaction:
                _write_outside(context)
                check_budget(each, context)
                _run_with_retries(each, context)
                if context.mode == PROCEDURE:
                    log_message(context, "")
                    progress.done(1, each.operations[0].target.text)
                    commit(context)
            else:
                _run_outside(each, context)
            _running.clear()
        _record(each, context)
    _write_outside(context)


def _run_outside(each: Step, context: Context) -> None:
    """Run a step in the other session. Thousands of short ones would spend their time with writing what they did."""
    since = time.monotonic()
    remote.run(each.text, lambda: _show(each, context))
    _outside.append(Running(each, since, time.monotonic() - since))
    if time.monotonic() - _outside[0].since > WRITTEN_EVERY:
        _write_outside(context)


def _show(each: Step, context: Context) -> None:
    """A step in the other session lasts: others can see that it is at work."""
    begin(context)
    _log_outside(context)
    progress.done(0, each.operations[0].target.text)
    database.commit()


def _write_outside(context: Context) -> None:
    """Write what was done in the other session; the settings of our transactions are pinned again behind it."""
    if not _outside:
        return
    begin(context)
    _log_outside(context)
    commit(context)


def _log_outside(context: Context) -> None:
    for each in _outside:
        _log(context, "done", "", each)
    if _outside:
        progress.done(len(_outside), _outside[-1].step.operations[0].target.text)
    _outside.clear()


def probe(statement: str, context: Context) -> None:
    """Run a statement of the caller's whose effect is looked at and then rolled back; inside a subtransaction."""
    text = statement if context.search_path is None else wrapping.with_search_path(statement, context.search_path)
    database.run(text if context.owner is None else wrapping.as_owner(text, context.owner, is_committed=False).text)


def prepare(each: Step, context: Context) -> None:
    """Run a step that only makes ready for a plan and is no part of it."""
    _run_with_retries(each, context)


def commit(context: Context | None) -> None:
    """Commit what was done, and begin the next transaction."""
    database.commit()
    begin(context)


def _record(each: Step, context: Context) -> None:
    """Add a step to the plan; a printed one with what makes it the same when somebody else runs it."""
    is_printed = context.mode == DRY_RUN
    if is_printed:
        _print_role(context.owner)
        if context.is_schema_change and not _printed_off:
            _append(SQL(PROPAGATION), SQL(f"SET {PROPAGATION} = off"))
            _printed_off.append(True)
    if is_printed and each.is_atomic:
        _append(each.operations[0].target, SQL("BEGIN"))
    for operation in each.operations:
        _append(operation.target, operation.statement)
    if is_printed and each.is_atomic:
        _append(each.operations[0].target, SQL("COMMIT"))


def finish_plan() -> None:
    """The end of what a call prints: whoever runs it is himself again."""
    if _printed_off:
        _append(SQL(PROPAGATION), SQL(f"RESET {PROPAGATION}"))
        _printed_off.clear()
    _print_role(None)


def _print_role(owner: str | None) -> None:
    """New tables belong to the owner of the hierarchy, also when a superuser runs what was printed."""
    if (_printed_role[-1] if _printed_role else None) == owner:
        return
    role = Identifier(owner) if owner is not None else SQL("session_user")
    _append(role, compose("SET ROLE {}", role) if owner is not None else SQL("RESET ROLE"))
    _printed_role[:] = [owner] if owner is not None else []


def _append(target: Composable, statement: Composable) -> None:
    _last_plan.append((len(_last_plan) + 1, target.text, statement.text))


def check_budget(each: Step, context: Context) -> None:
    """Refuse a step that would take more of the lock table than is left to us."""
    if each.locks <= context.lock_budget:
        return
    target = each.operations[0].target
    raise errors.OutOfLocks(
        f"the step on {target} needs about {each.locks} locks, more than the budget of {context.lock_budget}",
        "The budget is a share of the server's lock table, max_locks_per_transaction * (max_connections +"
        " max_prepared_transactions); past it every session would fail with out of shared memory.",
        "Raise max_locks_per_transaction, or keep fewer slices and leaves.",
    )


def _run_with_retries(each: Step, context: Context) -> None:
    """Run a step; one that met a lock lets all of its own go, so that nobody waits for it while it waits."""
    text = each.text
    if context.search_path is not None:
        text = wrapping.with_search_path(text, context.search_path)
    if context.owner is not None:
        text = wrapping.as_owner(text, context.owner, is_committed=context.mode == PROCEDURE).text
    attempts = ATTEMPTS_IN_FUNCTION if context.mode == FUNCTION else ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            database.run(text)
            return
        except database.ServerError as error:
            if not database.is_worth_a_retry(error):
                raise
            if database.is_out_of_locks(error) and not blockers.holders(each):
                raise errors.OutOfLocks(
                    f"the lock table is full: the step on {each.operations[0].target} needs more of it than is free",
                    f"{error}. The step was estimated at {each.locks} locks; all sessions together share the table.",
                    "Raise max_locks_per_transaction, or call again when fewer sessions hold locks.",
                ) from None
            if attempt == attempts:
                raise errors.LockNotAvailable(
                    f"could not lock what the step on {each.operations[0].target} needs",
                    f"{attempt} attempts of {context.lock_timeout_ms} ms each; the last: {error}."
                    f" {blockers.describe(each)}",
                    "Call again when these transactions have ended; what was committed so far stays.",
                ) from None
        if context.mode == PROCEDURE:
            database.rollback()
            begin(context)
        _wait_for_blockers(each, context, attempt)


def _wait_for_blockers(each: Step, context: Context, attempt: int) -> None:
    """Back off, longer each time, but no longer than the sessions last that hold the locks."""
    pause = min(context.lock_timeout_ms * 2 ** (attempt - 1), MAX_PAUSE_MS)
    waited = 0
    while waited < pause:
        database.pause(context.lock_timeout_ms)
        waited += context.lock_timeout_ms
        if each.wanted_locks and not blockers.holders(each):
            return


def log_failure(context: Context, message: str) -> None:
    """Write to dp.log what failed: the step at work, or the call where none was."""
    _log_outside(context)
    _log(context, "failed", message, _running[0] if _running else None)
    _running.clear()


def log_message(context: Context, message: str) -> None:
    """Write what was done to dp.log: the step that was run, to be committed with it, or the call."""
    _log(context, "done", message, _running[0] if _running else None)


def _log(context: Context, status: str, message: str, running: Running | None) -> None:
    duration = None
    if running is not None:
        duration = time.monotonic() - running.since if running.duration is None else running.duration
    database.query(
        "INSERT INTO dp.log_entry (root, call, target, status, message, statements, duration)"
        " VALUES ($1::regclass, $2, $3, $4, $5, $6, $7 * interval '1 second')",
        ("oid", "text", "text", "text", "text", "text", "float8"),
        (
            context.root,
            context.call,
            running.step.operations[0].target.text if running else context.root_name,
            status,
            message,
            running.step.text if running else "",
            duration,
        ),
    )
''','fragments': r'''"""Pieces of SQL that a caller gives as text: types, expressions, definitions.

They run with the rights of the tables' owner and can do no more than the owner can. What is checked here is that a
piece stays a piece: that it ends where it should, so that the statement around it says what it was meant to say.
"""

from __future__ import annotations

from . import errors

_OPENING, _CLOSING = "([", ")]"


def check(parameter: str, text: str) -> str:
    """The text itself; refuses what would not stay one piece of a statement."""
    problem = _problem(text)
    if problem is not None:
        raise errors.InvalidParameter.of(
            parameter, text, problem, "Give one piece of SQL, as it stands in a statement."
        )
    return text


def words(text: str, count: int) -> tuple[str, ...]:
    """The first words of a piece in capitals, up to the first parenthesis."""
    return tuple(text.partition("(")[0].upper().split()[:count])


def column_names(text: str) -> list[str]:
    """The plain columns in the first list in parentheses; expressions may stand beside them."""
    found: list[str] = []
    position = text.find("(") + 1
    while 0 < position < len(text):
        name = _identifier(text, position)
        if name is not None:
            found.append(name)
        position, ending = _item_end(text, position)
        if ending == ")":
            break
    return found


def _identifier(text: str, start: int) -> str | None:
    """The column that an item of a list begins with; None where the item is an expression."""
    position = start
    while text[position : position + 1].isspace():
        position += 1
    if text[position : position + 1] == '"':
        end = _quoted_end(text, position, '"') or len(text)
        name = text[position + 1 : end - 1].replace('""', '"')
    else:
        end = position
        while end < len(text) and (text[end].isalnum() or text[end] in "_$"):
            end += 1
        name = text[position:end].lower()
    return name if end > position and text[end:].lstrip()[:1] not in ("(", ".") else None


def _item_end(text: str, start: int) -> tuple[int, str]:
    """Behind the comma or parenthesis that ends an item of a list, and which it is."""
    depth = 0
    position = start
    while position < len(text):
        character = text[position]
        if depth == 0 and character in ",)":
            return position + 1, character
        if character in "\"'$":
            position = _constant_end(text, position) or len(text)
            continue
        depth += (character in _OPENING) - (character in _CLOSING)
        position += 1
    return len(text), ""


def _problem(text: str) -> str | None:
    if not text.strip():
        return "It is empty."
    open_brackets: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in "\"'$":
            end = _constant_end(text, position)
            if end is None:
                return f"A {character} in it is not closed."
            position = end
            continue
        problem = _bracket_problem(character, open_brackets)
        if problem is None and character in ";\0":
            problem = "It contains a semicolon, which would end the statement." if character == ";" else "A zero byte."
        if problem is None and character == "," and not open_brackets:
            problem = "It contains a comma outside parentheses, behind which another action would begin."
        if problem is None and text[position : position + 2] in ("--", "/*"):
            problem = "It contains a comment."
        if problem is not None:
            return problem
        position += 1
    return f"A {open_brackets[-1]} in it is not closed." if open_brackets else None


def _bracket_problem(character: str, open_brackets: list[str]) -> str | None:
    if character in _OPENING:
        open_brackets.append(character)
    elif character in _CLOSING and (
        not open_brackets or _OPENING.index(open_brackets.pop()) != _CLOSING.index(character)
    ):
        return f"A {character} in it was never opened."
    return None


def _constant_end(text: str, start: int) -> int | None:
    """Where a quoted name or constant ends; None where it does not. A lone $ is an operator's or a name's."""
    if text[start] == "$":
        tag_end = text.find("$", start + 1)
        tag = text[start : tag_end + 1]
        is_tag = tag_end > 0 and all(character.isalnum() or character == "_" for character in tag[1:-1])
        if not is_tag or text[start - 1 : start].isalnum():
            return start + 1
        end = text.find(tag, tag_end + 1)
        return end + len(tag) if end >= 0 else None
    return _quoted_end(text, start, text[start])


def _quoted_end(text: str, start: int, quote: str) -> int | None:
    has_escapes = quote == "'" and text[start - 1 : start] in ("e", "E") and not text[start - 2 : start - 1].isalnum()
    position = start + 1
    while position < len(text):
        if has_escapes and text[position] == "\\":
            position += 2
        elif text[position] != quote:
            position += 1
        elif text[position + 1 : position + 2] == quote:
            position += 2
        else:
            return position + 1
    return None
''','keys': r'''"""Key types: how the values of a partition column are put on one axis of integers, and back into SQL.

Every bound is a *point*: for calendar types the microseconds since 1970-01-01 (UTC for timestamptz and uuid, the
column's own clock for timestamp and date), for integer types the value itself. The reverse, from text of the catalog
to a point, is dp._point() in SQL, which the views share.
"""

from __future__ import annotations

import datetime

from . import errors
from .calendars import Width
from .sql import SQL, Composable, Literal, compose

DAY = Width(1, "day")
QUARTER = Width(3, "month")
EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)

CALENDAR_TYPES = ("timestamp with time zone", "timestamp without time zone", "date", "uuid")
INTEGER_TYPES = ("smallint", "integer", "bigint")
ZONED_TYPES = ("timestamp with time zone", "uuid")
INTEGER_LIMITS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


def is_calendar(type_name: str) -> bool:
    """Whether slices of this type are cut by the calendar."""
    return type_name in CALENDAR_TYPES


def is_integer(type_name: str) -> bool:
    """Whether slices of this type are cut by numbers."""
    return type_name in INTEGER_TYPES


def check_range_type(column: str, type_name: str) -> None:
    """Refuse a type that slices cannot be cut by."""
    if type_name not in CALENDAR_TYPES and type_name not in INTEGER_TYPES:
        raise errors.DatatypeMismatch(
            f'range key "{column}" has type {type_name}, which cannot be a range key',
            "A range key is a timestamptz, timestamp, date, smallint, integer, bigint, or a uuid of version 7.",
            "Choose another column.",
        )


def literal(point: int, type_name: str) -> Composable:
    """The constant of a point, complete enough to mean the same in every session."""
    if is_integer(type_name):
        return Literal(point)
    if type_name == "uuid":
        milliseconds = point // 1000
        if not 0 <= milliseconds < 1 << 48:
            raise errors.InvalidParameter(
                "a uuid of version 7 cannot hold a time before 1970-01-01",
                "It begins with the milliseconds since then.",
                "Choose a later bound.",
            )
        digits = f"{milliseconds:012x}"
        return Literal(f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000")
    moment = _moment(point)
    if type_name == "date":
        return Literal(moment.date().isoformat())
    text = moment.isoformat(sep=" ")
    return Literal(text + "+00" if type_name == "timestamp with time zone" else text)


def typed_literal(point: int, type_name: str) -> Composable:
    """A point as a constant that carries its type; quoted, because ``-32768::smallint`` negates a cast."""
    value = Literal(str(point)) if is_integer(type_name) else literal(point, type_name)
    return compose("{}::{}", value, SQL(type_name))


def _moment(point: int) -> datetime.datetime:
    try:
        return EPOCH + datetime.timedelta(microseconds=point)
    except OverflowError:
        raise errors.InvalidParameter(
            "a bound lies outside the calendar",
            "Bounds lie between the years 1 and 9999, also when they are written in UTC.",
            "Choose a bound that is a day later or earlier.",
        ) from None


def local_point(moment: datetime.datetime) -> int:
    """The point of a calendar moment on an axis that knows no time zone."""
    return (moment - EPOCH) // MICROSECOND


def slice_key_type(range_type: str) -> str:
    """The type of the slice key that goes with a range key."""
    return range_type if is_integer(range_type) else "date"


def _local_moment(value: Composable, range_type: str, time_zone: str) -> SQL:
    if range_type == "uuid":
        milliseconds = compose(
            "('x' || left(translate({}::text, '-', ''), 12))::bit(48)::bigint",
            value,
        )
        return compose("(to_timestamp({} / 1000.0) AT TIME ZONE {})", milliseconds, Literal(time_zone))
    if range_type == "timestamp with time zone":
        return compose("({} AT TIME ZONE {})", value, Literal(time_zone))
    return compose("({})::timestamp", value)


def _integer_bucket(value: Composable, range_type: str, step: int) -> SQL:
    """The greatest multiple of the step that is not above the value; below the lowest one, the type's own limit."""
    limit = INTEGER_LIMITS[range_type]
    lowest = -(limit // step) * step
    return compose(
        "(CASE WHEN {value} < {lowest} THEN {limit}"
        " ELSE {value} - {value} % {step} - CASE WHEN {value} % {step} < 0 THEN {step} ELSE 0 END END)::{type}",
        value=value,
        lowest=typed_literal(lowest, range_type),
        limit=typed_literal(-limit, range_type),
        step=Literal(step),
        type=SQL(range_type),
    )


def bucket_expression(value: Composable, range_type: str, bucket: Width, time_zone: str) -> SQL:
    """The bucket of a range key value, as an immutable SQL expression of the slice key's type."""
    if is_integer(range_type):
        return _integer_bucket(value, range_type, bucket.number)
    moment = _local_moment(value, range_type, time_zone)
    unit = "quarter" if bucket == QUARTER else bucket.unit
    if bucket.number == 1 or bucket == QUARTER:
        return compose("date_trunc({}, {})::date", Literal(unit), moment)
    if bucket.in_months:
        # the year before the year 1 is 1 BC, which extract() calls -1
        months = compose(
            "((extract(year FROM {m})::int + CASE WHEN {m} < '0001-01-01'::timestamp THEN 1 ELSE 0 END) * 12"
            " + extract(month FROM {m})::int - 1)",
            m=moment,
        )
        return compose(
            "(date_trunc('month', {moment}) - make_interval(months => ({months} % {n} + {n}) % {n}))::date",
            moment=moment,
            months=months,
            n=Literal(bucket.in_months),
        )
    days = bucket.number * (7 if bucket.unit == "week" else 1)
    return compose("date_bin({}, {}, '0001-01-01'::timestamp)::date", Literal(f"{days} days"), moment)
''','model': r'''"""What is read from the catalog, as values. Nothing here knows the server."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from .calendars import Width
from .sql import Identifier

RELATIONS_BESIDE_INDEXES = 3  # a leaf, its TOAST table, and the index of that
ROOT, CHILD, REFERENCE = "root", "child", "reference"
EXACT, SLICE = "exact", "slice"
DETACH, DROP, MOVE = "detach", "drop", "move"  # what retention does


class Edge(NamedTuple):
    """One end of a slice: its point on the partition column's axis, and the calendar moment it is (None: no calendar).

    Edges compare by their point; the moment only names things.
    """

    point: int
    local: datetime.datetime | None = None


class SliceSpec(NamedTuple):
    """A slice that shall exist; the default slice has no edges."""

    lower: Edge | None
    upper: Edge | None
    modulus: int  # 0: no hash level
    suffix: str
    range_lower: int | None = None  # slice form: the bounds of the range key, on its own axis
    range_upper: int | None = None

    @property
    def is_default(self) -> bool:
        """Whether this is the default slice."""
        return self.lower is None and self.upper is None

    @property
    def span(self) -> tuple[int | None, int | None]:
        """Its bounds as points."""
        return (self.lower.point if self.lower else None, self.upper.point if self.upper else None)


class Slice(NamedTuple):
    """A partition of a managed table, as the catalog has it. ``None`` as an edge means unbounded."""

    oid: int
    schema: str
    name: str
    is_partitioned: bool
    is_default: bool
    detach_pending: bool
    lower: Edge | None
    upper: Edge | None
    modulus: int
    remainders: tuple[int, ...]

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    @property
    def span(self) -> tuple[int | None, int | None]:
        """Its bounds as points."""
        return (self.lower.point if self.lower else None, self.upper.point if self.upper else None)

    @property
    def missing_remainders(self) -> tuple[int, ...]:
        """Hash partitions that are not there."""
        present = set(self.remainders)
        return tuple(remainder for remainder in range(self.modulus) if remainder not in present)


class ForeignKey(NamedTuple):
    """A foreign key between two tables, as declared on the topmost table."""

    name: str
    child: int
    parent: int
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    on_update: str  # pg_constraint.confupdtype: a r c n d
    on_delete: str
    delete_columns: tuple[str, ...]
    is_deferrable: bool
    is_deferred: bool
    child_text: str = ""  # both tables as PostgreSQL writes them: qualified, quoted
    parent_text: str = ""
    is_mandatory: bool = False  # whether none of its columns is nullable


class GlobalIndex(NamedTuple):
    """A side table that holds some columns of all rows of a table, with the partition keys."""

    oid: int  # 0: it is about to be made
    schema: str
    name: str
    columns: tuple[str, ...]
    carried: tuple[str, ...]  # the partition keys, and what tells rows apart where it is not unique
    operator_schemas: tuple[str, ...]  # of the equality of each stored column
    predicate: str | None  # as PostgreSQL deparses it
    is_unique: bool
    is_valid: bool

    @property
    def identifier(self) -> Identifier:
        """The qualified name of the side table."""
        return Identifier(self.schema, self.name)

    @property
    def stored(self) -> tuple[str, ...]:
        """All columns of the side table."""
        return self.columns + self.carried


class Table(NamedTuple):
    """A table of a hierarchy."""

    oid: int
    schema: str
    name: str
    owner: str
    role: str
    kind: str  # pg_class.relkind
    partition_column: str | None
    partition_type: str | None
    template_oid: int | None
    template_schema: str | None
    template_name: str | None
    relations_per_leaf: int  # the leaf, its indexes, its TOAST table and index
    has_identity: bool = False  # a column GENERATED AS IDENTITY
    is_referenced: bool = False  # by a foreign key, from wherever
    objects_per_leaf: int = 0  # what goes with a leaf that is dropped: constraints, triggers, defaults, types
    global_indexes: tuple[GlobalIndex, ...] = ()

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    @property
    def indexes(self) -> int:
        """How many indexes a leaf has."""
        return max(self.relations_per_leaf - RELATIONS_BESIDE_INDEXES, 0)

    @property
    def template(self) -> Identifier | None:
        """The qualified name of its template."""
        if self.template_schema is None or self.template_name is None:
            return None
        return Identifier(self.template_schema, self.template_name)


class Policy(NamedTuple):
    """What the configuration says of a hierarchy."""

    range_key: str
    hash_key: str | None
    key_form: str
    slice_key: str | None
    bucket: Width | None
    width: Width
    hash_partitions: int
    premake: int
    start: str | None
    retention: Width | None
    retention_action: str
    retention_schema: str | None
    time_zone: str
    default_slice: bool
    lock_timeout_ms: int
    analyze_interval_ms: int
    log_retention_ms: int

    @property
    def partition_column(self) -> str:
        """The first-level partition column: range key or slice key."""
        return self.slice_key if self.key_form == SLICE and self.slice_key else self.range_key

    @property
    def partition_keys(self) -> tuple[str, ...]:
        """The columns that every table carries and every key contains."""
        return (self.partition_column, self.hash_key) if self.hash_key else (self.partition_column,)


class Hierarchy(NamedTuple):
    """A hierarchy with everything the plans need. Tables stand in the order of their foreign keys, the root first."""

    policy: Policy
    range_type: str
    tables: tuple[Table, ...]  # root and children
    references: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...]  # among tables of the hierarchy
    slices: dict[int, tuple[Slice, ...]]  # by table, in the order of their lower bounds

    @property
    def root(self) -> Table:
        """The root table."""
        return self.tables[0]

    def table(self, oid: int) -> Table:
        """The managed table with an oid."""
        return next(table for table in self.tables if table.oid == oid)

    def parents(self, table: Table) -> tuple[Table, ...]:
        """The tables of the hierarchy that a table refers to, itself left out."""
        found = {key.parent for key in self.foreign_keys if key.child == table.oid and key.parent != table.oid}
        return tuple(parent for parent in self.tables if parent.oid in found)

    def default_slice(self, table: Table) -> Slice | None:
        """The default slice of a table."""
        return next((found for found in self.slices[table.oid] if found.is_default), None)

    def range_slices(self, table: Table) -> tuple[Slice, ...]:
        """The slices of a table but the default one."""
        return tuple(found for found in self.slices[table.oid] if not found.is_default)
''','naming': r'''"""Names of templates, slices, leaves and their indexes: predictable, without collisions, within 63 bytes."""

from __future__ import annotations

import zlib

MAX_BYTES = 63  # NAMEDATALEN - 1
SUFFIX_BYTES = 24  # room for the longest suffix, "_20250615_20250715_h0015"
CHECKSUM_BYTES = 9  # "_" and eight hexadecimal digits


def cut(name: str, size: int) -> str:
    """The longest prefix of a name that fits into ``size`` bytes of UTF-8 without splitting a character."""
    return name.encode()[:size].decode(errors="ignore")


def shorten(name: str, size: int) -> str:
    """The name itself where it fits; else a prefix and a checksum of the whole, so that two long names differ."""
    if len(name.encode()) <= size:
        return name
    checksum = f"_{zlib.crc32(name.encode()):08x}"
    return cut(name, size - CHECKSUM_BYTES) + checksum


def base(table: str) -> str:
    """What the names of a table's slices, leaves and template begin with."""
    return shorten(table, MAX_BYTES - SUFFIX_BYTES)


def slice_name(table: str, suffix: str) -> str:
    """``Dialog_2025_06``."""
    return shorten(f"{base(table)}_{suffix}", MAX_BYTES)


def slice_suffix(table: str, slice_relation: str) -> str | None:
    """What the name of a table's slice ends with, for its siblings; None where it does not follow from the table's."""
    prefix = base(table) + "_"
    rest = slice_relation[len(prefix) :]
    fits = slice_relation.startswith(prefix) and 0 < len(rest.encode()) < SUFFIX_BYTES
    return rest if fits else None


def leaf_names(slice_relation: str, modulus: int) -> list[str]:
    """The names of all leaves of a slice."""
    return [leaf_name(slice_relation, modulus, remainder) for remainder in range(modulus)]


def leaf_name(slice_relation: str, modulus: int, remainder: int) -> str:
    """``Dialog_2025_06_h03``; as many digits as the modulus needs, two at least."""
    digits = max(2, len(str(modulus - 1)))
    suffix = f"_h{remainder:0{digits}d}"
    return shorten(slice_relation, MAX_BYTES - len(suffix)) + suffix


def template_name(table: str) -> str:
    """``Dialog_template``."""
    return f"{base(table)}_template"


def derived_name(table: str, purpose: str) -> str:
    """A name for something that belongs to a table: ``Dialog_slice_key_check``."""
    suffix = f"_{purpose}"
    return shorten(table, MAX_BYTES - len(suffix.encode())) + suffix


def unique_derived_name(first: str, second: str) -> str:
    """A name made of two others, shortened as one."""
    return shorten(f"{first}_{second}", MAX_BYTES)
''','operation': r'''"""Plans as values: operations, and the steps that commit them."""

from __future__ import annotations

from typing import NamedTuple

from .sql import Composable

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SHARE = "SHARE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
ROW_EXCLUSIVE = "ROW EXCLUSIVE"

# Lock modes from weak to strong as pg_locks names them, and for each mode of ours the weakest that it waits for. Among
# those from ROW EXCLUSIVE on, SHARE conflicts with all of ours as well.
LOCK_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_WEAKEST_CONFLICT = {
    ACCESS_EXCLUSIVE: "AccessShareLock",
    SHARE_ROW_EXCLUSIVE: "RowExclusiveLock",
    SHARE: "RowExclusiveLock",
    SHARE_UPDATE_EXCLUSIVE: "ShareUpdateExclusiveLock",
    ROW_EXCLUSIVE: "ShareLock",
}


def conflicting_modes(lock: str) -> tuple[str, ...]:
    """The modes, as pg_locks names them, that a lock waits for."""
    return LOCK_MODES[LOCK_MODES.index(_WEAKEST_CONFLICT[lock]) :]


class Operation(NamedTuple):
    """One statement of a plan."""

    target: Composable  # what it works on
    statement: Composable
    lock: str = ACCESS_EXCLUSIVE  # the strongest lock it takes on a relation that others may be using
    relations: tuple[int, ...] = ()  # the existing relations it needs that lock on
    locks: int = 2  # how many entries of the lock table it takes, at most, besides those of trees
    trees: tuple[tuple[int, int], ...] = ()  # tables that it locks with all their partitions, and how many those are
    other_locks: tuple[tuple[int, str], ...] = ()  # existing relations that it needs another lock on than ``lock``
    in_transaction: bool = True  # False: refused inside a transaction, so another session runs it, and it alone


class Step(NamedTuple):
    """Operations that are committed together."""

    operations: tuple[Operation, ...]
    is_atomic: bool = False  # half of it must never be seen: printed, it stands between BEGIN and COMMIT

    @property
    def locks(self) -> int:
        """How many entries of the lock table the step takes, at most; a tree is locked once, however often."""
        trees: dict[int, int] = {}
        for operation in self.operations:
            _lock_trees(trees, operation)
        return sum(operation.locks for operation in self.operations) + sum(trees.values())

    @property
    def wanted_locks(self) -> tuple[tuple[int, str], ...]:
        """The existing relations it locks, each with the mode."""
        found = {(relation, operation.lock) for operation in self.operations for relation in operation.relations}
        return tuple(found.union(*(operation.other_locks for operation in self.operations)))

    @property
    def in_transaction(self) -> bool:
        """Whether it can run inside a transaction; what cannot is a step of its own."""
        return all(operation.in_transaction for operation in self.operations)

    @property
    def text(self) -> str:
        """All its statements."""
        return ";\n".join(operation.statement.text for operation in self.operations)


def together(steps: list[Step]) -> Step:
    """What one transaction does in which all steps run."""
    return Step(
        tuple(operation for each in steps for operation in each.operations), any(each.is_atomic for each in steps)
    )


def merged(steps: list[Step], lock_budget: int) -> list[Step]:
    """Neighbouring steps in one transaction as far as the locks go; a step is never cut."""
    found: list[Step] = []
    for each in steps:
        joined = Step(found[-1].operations + each.operations, found[-1].is_atomic or each.is_atomic) if found else each
        if found and joined.locks <= lock_budget:
            found[-1] = joined
        else:
            found.append(each)
    return found


def split(operations: list[Operation], lock_budget: int) -> list[Step]:
    """One step where the locks fit; else as few as possible, cut between operations."""
    steps: list[Step] = []
    current: list[Operation] = []
    locks = 0
    trees: dict[int, int] = {}
    for operation in operations:
        more = operation.locks + _lock_trees(trees, operation)
        if current and locks + more > lock_budget:
            steps.append(Step(tuple(current)))
            current, locks, trees = [], 0, {}
            more = operation.locks + _lock_trees(trees, operation)
        current.append(operation)
        locks += more
    steps.append(Step(tuple(current)))
    return steps


def _lock_trees(locked: dict[int, int], operation: Operation) -> int:
    """Add the trees that an operation locks to those that are locked; how many more entries that takes.

    A tree is locked once in a step, with its indexes or without.
    """
    more = 0
    for oid, count in operation.trees:
        more += max(count - locked.get(oid, 0), 0)
        locked[oid] = max(count, locked.get(oid, 0))
    return more
''','plan.__init__': r'''"""Planning: pure functions from what is and what shall be to steps of operations."""
''','plan.adoption': r'''"""What an existing tree of partitions says of its own policies."""

from __future__ import annotations

from .. import calendars, errors
from ..calendars import Width
from ..model import Edge, Slice
from ..sql import SQL, Identifier, Literal, compose

CANDIDATES = (
    Width(1, "day"),
    Width(1, "week"),
    Width(1, "month"),
    Width(3, "month"),
    Width(6, "month"),
    Width(1, "year"),
)


def inferred_width(slices: list[Slice], name: Identifier) -> Width:
    """The width of the newest bounded slice."""
    for each in reversed(slices):
        if each.lower is None or each.upper is None:
            continue
        width = _width_of(each.lower, each.upper)
        if width is not None:
            return width
        raise errors.InvalidParameter(
            f"the width of the slices of {name} cannot be told from {each.identifier}",
            f"In the time zone that was given it goes from {each.lower.local} to {each.upper.local}.",
            "Give the time zone in which the bounds are midnights, or name the width of new slices with slice => ...",
        )
    raise errors.InvalidParameter(
        f"the width of the slices of {name} cannot be told, for there is none with two bounds",
        "Unbounded slices and the default slice have no width.",
        "Name it with slice => ...",
    )


def _width_of(lower: Edge, upper: Edge) -> Width | None:
    if lower.local is None or upper.local is None:
        return Width(upper.point - lower.point, "value")
    for width in CANDIDATES:
        if calendars.align(lower.local, width) == lower.local and calendars.advance(lower.local, width) == upper.local:
            return width
    return None


def forget_partman_statement(schema: str, parent_table: str) -> SQL:
    """Take a table away from pg_partman."""
    return compose("DELETE FROM {} WHERE parent_table = {}", Identifier(schema, "part_config"), Literal(parent_table))
''','plan.alter': r'''"""The three-step rule: what a schema change says on the parent, on the template, and on every partition."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import Hierarchy, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation
from ..sql import SQL, Composable, Identifier, Literal, assignments, comma_list, compose
from . import trees
from .properties import option_name, storage_clause
from .structure import add_constraint as add_constraint_statement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# Entries of the lock table that a leaf takes whose rows are written anew, beside those of the relations that it is:
# the new heap with its TOAST table and index while both are there, the files, the dependencies.
NEW_FILES = 7
# At most, of the table and each partition: the constraint, its index or its triggers, the relation.
LOCKS_OF_CONSTRAINT = 4
# Storage parameters that are set under ACCESS EXCLUSIVE; with all others reading and writing goes on.
EXCLUSIVE_PARAMETERS = frozenset({"user_catalog_table"})


class Follower(NamedTuple):
    """What nothing on the parent reaches: a detached slice with its leaves, or pg_partman's template."""

    oid: int
    identifier: Identifier
    leaves: tuple[Identifier, ...]


class Target(NamedTuple):
    """A managed table, and all of its partitions: slices before their leaves."""

    hierarchy: Hierarchy
    table: Table
    slices: tuple[tuple[int, Identifier], ...]
    leaves: tuple[Identifier, ...]
    followers: tuple[Follower, ...] = ()  # what else the change reaches

    @property
    def identifier(self) -> Identifier:
        """The table's qualified name."""
        return self.table.identifier

    @property
    def relations(self) -> tuple[int, ...]:
        """What a change locks: the table and its slices, with the leaves under them."""
        return (self.table.oid, *(oid for oid, _ in self.slices))


class NewColumn(NamedTuple):
    """A column to add; types and expressions as the caller wrote them."""

    name: str
    type: str
    default: str | None
    is_not_null: bool
    generated: str | None
    identity: str | None  # ALWAYS, BY DEFAULT
    comment: str | None


def on_parent(target: Target, statement: SQL, relations_each: int = 1) -> Operation:
    """Step 1: a statement on the parent, which PostgreSQL takes to all partitions; and how many relations it locks."""
    tree = ((target.table.oid, trees.size(target.hierarchy, target.table.oid) * relations_each),)
    return Operation(target.identifier, statement, ACCESS_EXCLUSIVE, target.relations, 1, tree)


def on_template(target: Target, build: Callable[[Identifier], SQL]) -> list[Operation]:
    """Step 2: the same on the template, which nobody else uses."""
    template = target.table.template
    return [Operation(template, build(template))] if template is not None else []


def on_partitions(
    target: Target,
    build: Callable[[Identifier], SQL],
    *,
    leaves_only: bool = False,
    lock: str = ACCESS_EXCLUSIVE,
    relations_each: int = 1,
) -> list[Operation]:
    """Step 3: what does not pass on from the parent, on every slice and leaf that exists."""
    slices = [] if leaves_only else [identifier for _, identifier in target.slices]
    tree = ((target.table.oid, trees.size(target.hierarchy, target.table.oid) * relations_each),)
    return [
        Operation(relation, build(relation), lock, target.relations, 0, tree) for relation in (*slices, *target.leaves)
    ]


def on_followers(
    target: Target, build: Callable[[Identifier], SQL], *, leaves_only: bool = False, relations_each: int = 1
) -> list[Operation]:
    """The same on what nothing on the parent reaches; a detached slice passes it on to its leaves."""
    found = []
    for each in target.followers:
        locks = relations_each * (1 + len(each.leaves))
        relations = (each.leaves or (each.identifier,)) if leaves_only else (each.identifier,)
        found += [Operation(relation, build(relation), locks=locks) for relation in relations]
    return found


def slice_key_check(hierarchy: Hierarchy) -> str | None:
    """The name of the CHECK that keeps the slice key true; None in the exact form."""
    return naming.derived_name(hierarchy.root.name, "slice_key_check") if hierarchy.policy.slice_key else None


def alter(relation: Composable, action: Composable) -> SQL:
    """``ALTER TABLE ... action``."""
    return compose("ALTER TABLE {} {}", relation, action)


def add_column_action(column: NewColumn) -> SQL:
    """``ADD COLUMN`` with all that was asked for."""
    not_null = SQL(" NOT NULL" if column.is_not_null else "")
    return compose("{}{}{}{}", _bare_column(column), _default(column), _identity(column), not_null)


def _bare_column(column: NewColumn) -> SQL:
    """What a template has of a column: defaults and NOT NULL come from the parent."""
    return compose("ADD COLUMN {} {}{}", Identifier(column.name), SQL(column.type), _generated(column))


def add_column(
    target: Target, column: NewColumn, *, of_table: bool, of_template: bool, writes_anew: bool
) -> list[Operation]:
    """The column on the parent and the template, whichever lacks it; its comment everywhere."""
    name = Identifier(column.name)
    found = []
    per_leaf = target.table.relations_per_leaf + NEW_FILES if writes_anew else 1
    if of_table:
        found.append(on_parent(target, alter(target.identifier, add_column_action(column)), per_leaf))
    if of_template:
        found += on_template(target, lambda relation: alter(relation, _bare_column(column)))
    action = add_column_action(column._replace(identity=None))  # numbers come from the parent's sequence
    found += on_followers(target, lambda relation: alter(relation, action), relations_each=per_leaf)

    def commented(relation: Identifier) -> SQL:
        return compose("COMMENT ON COLUMN {}.{} IS {}", relation, name, Literal(column.comment or ""))

    if column.comment is not None and of_table:
        found += [Operation(target.identifier, commented(target.identifier)), *on_partitions(target, commented)]
    if column.comment is not None:
        found += [*on_followers(target, commented), *on_followers(target, commented, leaves_only=True)]
    return found


def _generated(column: NewColumn) -> SQL:
    if column.generated is None:
        return SQL("")
    return compose(" GENERATED ALWAYS AS ({}) STORED", SQL(column.generated))


def _default(column: NewColumn) -> SQL:
    return compose(" DEFAULT {}", SQL(column.default)) if column.default is not None else SQL("")


def _identity(column: NewColumn) -> SQL:
    return compose(" GENERATED {} AS IDENTITY", SQL(column.identity)) if column.identity is not None else SQL("")


def drop_column(target: Target, column: str, *, of_table: bool, of_template: bool, dependents: int) -> list[Operation]:
    """The column of the parent and of the template, whichever still has it; never with CASCADE."""
    action = compose("DROP COLUMN {}", Identifier(column))
    per_leaf = 1 + 2 * dependents
    found = [on_parent(target, alter(target.identifier, action), per_leaf)] if of_table else []
    found += on_template(target, lambda relation: alter(relation, action)) if of_template else []
    return found + on_followers(target, lambda relation: alter(relation, action), relations_each=per_leaf)


def rename_column(target: Target, column: str, new_name: str, *, of_template: bool) -> list[Operation]:
    """Another name for a column of one table; keys that wait for dp.register_child follow."""
    action = compose("RENAME COLUMN {} TO {}", Identifier(column), Identifier(new_name))
    found = [on_parent(target, alter(target.identifier, action))]
    return found + follow_renamed_column(target, column, new_name, of_template=of_template)


def follow_renamed_column(target: Target, column: str, new_name: str, *, of_template: bool) -> list[Operation]:
    """What else knows a column of one table by name."""
    action = compose("RENAME COLUMN {} TO {}", Identifier(column), Identifier(new_name))
    found = on_template(target, lambda relation: alter(relation, action)) if of_template else []
    found += on_followers(target, lambda relation: alter(relation, action))
    table = Literal(target.identifier.text)
    for whose, columns in (("child", "columns"), ("child", "delete_columns"), ("parent", "parent_columns")):
        update = compose(
            "UPDATE dp.pending_foreign_key SET {columns} = array_replace({columns}, {old}::name, {new}::name)"
            " WHERE {whose} = {table}::regclass AND {old} = ANY ({columns})",
            columns=SQL(columns),
            old=Literal(column),
            new=Literal(new_name),
            whose=SQL(whose),
            table=table,
        )
        found.append(Operation(target.identifier, update))
    return found


def rename_key(hierarchy: Hierarchy, column: str, new_name: str) -> SQL:
    """The configuration of a hierarchy whose key column has another name."""
    policy = hierarchy.policy
    keys = {"range_key": policy.range_key, "hash_key": policy.hash_key, "slice_key": policy.slice_key}
    changes: dict[str, Composable] = {name: Literal(new_name) for name, key in keys.items() if key == column}
    return compose(
        "UPDATE dp.hierarchy_config SET {} WHERE root = {}::regclass",
        assignments(changes),
        Literal(hierarchy.root.identifier.text),
    )


def alter_column(
    target: Target, column: str, action: Composable, *, of_table: bool = True, of_template: bool = False
) -> list[Operation]:
    """A change of one column that the parent passes on; on the template where new leaves get it from there."""
    full = compose("ALTER COLUMN {} {}", Identifier(column), action)
    # each partition and its old default
    found = [on_parent(target, alter(target.identifier, full), 2)] if of_table else []
    found += on_template(target, lambda relation: alter(relation, full)) if of_template else []
    return found + on_followers(target, lambda relation: alter(relation, full), relations_each=2)


def alter_type_action(column: str, type_text: str, using: str | None) -> SQL:
    """``ALTER COLUMN ... TYPE``."""
    typed = compose("ALTER COLUMN {} TYPE {}", Identifier(column), SQL(type_text))
    return compose("{} USING {}", typed, SQL(using)) if using is not None else typed


def alter_column_type(
    target: Target,
    column: str,
    type_text: str,
    using: str | None,
    *,
    of_table: bool,
    of_template: bool,
    writes_anew: bool,
    dependents: int,
) -> list[Operation]:
    """Another type; rows are written anew where PostgreSQL has to, and what contains the column is made again."""
    per_leaf = target.table.relations_per_leaf + NEW_FILES if writes_anew else 1
    per_leaf += 4 * dependents
    action = alter_type_action(column, type_text, using)
    found = [on_parent(target, alter(target.identifier, action), per_leaf)] if of_table else []
    empty = alter_type_action(column, type_text, "NULL")  # the template has no rows
    found += on_template(target, lambda relation: alter(relation, empty)) if of_template else []
    return found + on_followers(target, lambda relation: alter(relation, action), relations_each=per_leaf)


def add_constraint(target: Target, name: str, definition: str, kind: str, *, of_table: bool) -> list[Operation]:
    """A constraint on the parent and so on all partitions; a foreign key lets everybody read meanwhile."""

    def build(relation: Identifier) -> SQL:
        return add_constraint_statement(relation, name, SQL(definition))

    per_leaf, lock = LOCKS_OF_CONSTRAINT, ACCESS_EXCLUSIVE
    if kind == "FOREIGN":
        per_leaf, lock = max(target.table.relations_per_leaf, LOCKS_OF_CONSTRAINT), SHARE_ROW_EXCLUSIVE
    found = [on_parent(target, build(target.identifier), per_leaf)._replace(lock=lock)] if of_table else []
    return found + on_followers(target, build, relations_each=per_leaf)


def drop_constraint(target: Target, name: str, *, of_table: bool) -> list[Operation]:
    """The constraint of the parent, and so of all partitions."""
    action = compose("DROP CONSTRAINT {}", Identifier(name))
    found = [on_parent(target, alter(target.identifier, action), LOCKS_OF_CONSTRAINT)] if of_table else []
    return found + on_followers(target, lambda relation: alter(relation, action), relations_each=LOCKS_OF_CONSTRAINT)


def create_index_statement(relation: Composable, name: str, definition: str, *, is_unique: bool) -> SQL:
    """``CREATE INDEX``."""
    unique = SQL("UNIQUE " if is_unique else "")
    return compose("CREATE {}INDEX {} ON {} {}", unique, Identifier(name), relation, SQL(definition))


def create_index(target: Target, name: str, definition: str, *, is_unique: bool) -> list[Operation]:
    """An index on the parent, which PostgreSQL makes on all partitions, too; everybody may read meanwhile."""
    statement = create_index_statement(target.identifier, name, definition, is_unique=is_unique)
    # where PostgreSQL's own names for the partitions' indexes would be cut or numbered, new slices have better ones
    table = Literal(target.identifier.text)
    named = compose("SELECT dp._name_indexes({}) WHERE dp._index_names_need_help({}::regclass)", table, table)
    per_leaf = target.table.relations_per_leaf + 1
    return [on_parent(target, each, per_leaf)._replace(lock=SHARE) for each in (statement, named)]


def set_storage(target: Target, given: dict[str, str], reset: list[str]) -> list[Operation]:
    """Storage parameters, which the parent cannot hold: on the template, and on all leaves."""
    actions = []
    if given:
        actions.append(compose("SET ({})", storage_clause(tuple(given.items()))))
    if reset:
        actions.append(compose("RESET ({})", comma_list([option_name(name) for name in reset])))
    action = comma_list(actions)
    lock = ACCESS_EXCLUSIVE if EXCLUSIVE_PARAMETERS.intersection((*given, *reset)) else SHARE_UPDATE_EXCLUSIVE
    found = on_template(target, lambda relation: alter(relation, action))
    # each leaf's TOAST table as well
    found += on_partitions(
        target, lambda relation: alter(relation, action), leaves_only=True, lock=lock, relations_each=2
    )
    return found + on_followers(target, lambda relation: alter(relation, action), leaves_only=True, relations_each=2)
''','plan.asked': r'''"""What was asked for beside what is there: the same, or another thing of that name."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .alter import NewColumn


class ColumnFacts(NamedTuple):
    """A column as PostgreSQL deparses it."""

    type: str
    collation: str | None
    is_not_null: bool
    identity: str | None
    generated: str | None
    default_value: str | None
    comment: str | None
    dependents: int  # indexes, constraints, statistics objects, ... that contain it


class IndexFacts(NamedTuple):
    """An index as PostgreSQL deparses it."""

    is_unique: bool
    definition: str  # behind the table's name
    is_valid: bool
    is_of_constraint: bool

    @property
    def text(self) -> str:
        """How it is told."""
        return ("UNIQUE " if self.is_unique else "") + self.definition


def storable(facts: ColumnFacts) -> tuple[str | None, ...]:
    """What a template must agree in: the rest is the parent's."""
    return (facts.type, facts.collation, facts.generated)


def differences(column: NewColumn, asked: ColumnFacts, present: ColumnFacts) -> list[str]:
    """How the column that is there is another than the one that was asked for.

    What a column is made of is compared always; a default, NOT NULL and a comment only when they were asked for, as
    they may have been changed since by calls of their own.
    """
    pairs = [
        ("type", asked.type, present.type),
        ("collation", asked.collation, present.collation),
        ("generated expression", asked.generated, present.generated),
        ("identity", asked.identity, present.identity),
    ]
    if column.default is not None:
        pairs.append(("default", asked.default_value, present.default_value))
    if column.comment is not None:
        pairs.append(("comment", column.comment, present.comment))
    found = [f"{what} {old or 'none'} instead of {new or 'none'}" for what, new, old in pairs if new != old]
    if column.is_not_null and not present.is_not_null:
        found.append("nullable instead of NOT NULL")
    return found
''','plan.cache': r'''"""What a cache of a given size is filled with: values in, a choice out."""

from __future__ import annotations

from typing import NamedTuple

GLOBAL_INDEX, INDEX, HEAP, REFERENCE = "global index", "index", "heap", "reference"
WARMED, LEFT_OUT = "warmed", "left out"
SHARE_OF_BUFFERS = 0.5  # of shared_buffers, where the caller names no budget
SHARE_OF_INDEXES = 0.5  # of the budget: the rest is for rows, or old indexes would keep them all out


class Candidate(NamedTuple):
    """A relation with pages that may be read into the cache."""

    oid: int
    tbl: str
    relation: str
    kind: str
    size: int  # bytes of its main fork
    age: int  # how many slices are newer than its own


def chosen(candidates: list[Candidate], budget: int) -> list[tuple[Candidate, bool]]:
    """Every candidate in the order in which it is read, and whether it is: as a whole or not at all.

    Global indexes come first, then indexes, then rows, the latter two from the newest slice on, then references. What
    does not fit leaves its place to smaller ones behind it.
    """
    kinds = (GLOBAL_INDEX, INDEX, HEAP, REFERENCE)
    ordered = sorted(candidates, key=lambda each: (kinds.index(each.kind), each.age, each.relation))
    of_indexes = int(budget * SHARE_OF_INDEXES)
    left = {GLOBAL_INDEX: of_indexes, INDEX: of_indexes, HEAP: budget, REFERENCE: budget}
    found = []
    for each in ordered:
        fits = each.size <= left[each.kind]
        if fits:
            left = {kind: rest - each.size for kind, rest in left.items()}
        found.append((each, fits))
    return found
''','plan.conversion': r'''"""Converting plain tables: what was found of them, and how their rows come to the root.

A conversion is a value: the members of the hierarchy in the order of their foreign keys, what stands beside them, and
how they will be cut. Everything else, findings and statements, follows from it.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import ForeignKey
from ..sql import SQL, Composable, Identifier, compose
from .declare import Settings, root_key_columns
from .properties import Properties
from .structure import Column, Index, Structure
from .unique import is_weakened

REFUSE, KEEP = "refuse", "keep"  # what is done with rows that have no parent
ROOT, CHILD, REFERENCE, OUTSIDE = "root", "child", "reference", "outside"


class Facts(NamedTuple):
    """What only a conversion asks of a table."""

    stored: tuple[str, ...]  # its columns but the generated ones
    hashable: frozenset[str]  # those whose type can be hashed
    predicates: dict[str, str]  # of partial indexes
    plain_indexes: frozenset[str]  # whose uniqueness a global index can keep: columns only, NULLs distinct, at once
    row_types: tuple[str, ...]  # what uses the table's row type: it cannot be made to mean another table
    is_forced: bool  # row security also for the owner
    text: str  # its name as PostgreSQL writes it
    unchecked: tuple[tuple[str, str], ...]  # CHECKs that are NOT VALID: rows that are there may break them
    unproven: tuple[str, ...]  # foreign keys that are NOT VALID
    clustered: str | None  # the index that CLUSTER goes by


class Member(NamedTuple):
    """A table of the hierarchy to be."""

    structure: Structure
    properties: Properties
    facts: Facts
    owners: tuple[ForeignKey, ...] = ()  # by which its rows come to the root; several are alternatives
    others: tuple[ForeignKey, ...] = ()  # further foreign keys inside the hierarchy, to itself among them
    depth: int = 0

    @property
    def oid(self) -> int:
        """The table's oid."""
        return self.structure.oid

    @property
    def identifier(self) -> Identifier:
        """The table's qualified name."""
        return self.structure.identifier

    @property
    def is_root(self) -> bool:
        """Whether this is the root."""
        return not self.owners

    @property
    def working(self) -> Structure:
        """The table as it is built, in a schema of its own beside the one it is in."""
        return self.structure._replace(schema=working_schema(self.structure.schema))

    @property
    def keys_table(self) -> Identifier:
        """Where the partition keys of its rows are noted, for the tables below."""
        return Identifier(self.working.schema, naming.derived_name(self.structure.name, "keys"))


class Figures(NamedTuple):
    """What was counted in a table."""

    rows: int = 0
    orphans: int = 0  # rows with no way to the root
    several: int = 0  # rows with more than one owner
    conflicts: int = 0  # rows whose parents belong to different keys
    without_keys: int = 0  # root rows whose range key or hash key is NULL
    differing: int = 0  # rows that hold another value in a key column than their root row
    broken: int = 0  # rows that break a foreign key which is NOT VALID


class Dependent(NamedTuple):
    """What depends on the tables and must mean the new ones: a view, a function, a rule, a policy."""

    kind: str
    name: str  # as it is told
    drop: str | None  # None: it is replaced in place
    create: tuple[str, ...]
    afterwards: tuple[str, ...] = ()  # what reads the rows, and is done when the tables are in place


class Range(NamedTuple):
    """A range of the root's range key, and the slices it gets."""

    lower: str
    upper: str
    width: str
    rows: int


class Conversion(NamedTuple):
    """Plain tables, and what they become."""

    members: tuple[Member, ...]  # parents before children, the root first
    settings: Settings
    figures: dict[int, Figures]
    ranges: tuple[Range, ...]
    references: tuple[tuple[Identifier, bool], ...]  # shared tables, and whether the caller may register them
    outside: tuple[ForeignKey, ...]  # foreign keys of other tables that point into the hierarchy
    dependents: tuple[Dependent, ...]
    blocked: tuple[tuple[str, str], ...]  # dependents that cannot be made again: name, why
    orphan_keys: tuple[SQL, ...]  # what takes the place of the keys in rows without a parent
    orphans: str
    allow_weaker_unique: bool
    version: int
    is_back: bool = False  # from partitioned tables to plain ones

    @property
    def root(self) -> Member:
        """The root."""
        return self.members[0]

    def member(self, oid: int) -> Member:
        """A table of the hierarchy."""
        return next(each for each in self.members if each.oid == oid)

    @property
    def keys(self) -> tuple[str, ...]:
        """The partition keys that the new tables have; plain ones have none."""
        return () if self.is_back else self.settings.partition_keys

    def parent_keys(self, member: Member) -> list[tuple[str, ...]]:
        """The columns by which a table refers to its owner; alternatives count where the rule is about one of them."""
        return [key.columns for key in member.owners]


def working_schema(schema: str) -> str:
    """Where the new tables of a schema are built."""
    return naming.derived_name(schema, "conversion")


def kept_schema(schema: str) -> str:
    """Where the plain tables of a schema are kept."""
    return naming.derived_name(schema, "converted")


def choose_owners(
    structure: Structure, keys: list[ForeignKey], depths: dict[int, int], named: list[str] | None
) -> tuple[tuple[ForeignKey, ...], tuple[ForeignKey, ...]]:
    """By which of its foreign keys a table's rows come to the root, and the others.

    A key that every row has leads there alone, the shortest way first. Where each may be NULL, all are alternatives.
    """
    upward = [key for key in keys if key.parent != structure.oid]
    if named is not None:
        owners = [key for key in upward if key.name in named]
    else:
        mandatory = sorted((key for key in upward if _is_mandatory(structure, key)), key=lambda k: depths[k.parent])
        owners = mandatory[:1] or upward
    return tuple(owners), tuple(key for key in keys if key not in owners)


def _is_mandatory(structure: Structure, key: ForeignKey) -> bool:
    columns = [structure.column(name) for name in key.columns]
    return all(column is not None and column.is_not_null for column in columns)


def is_mandatory(member: Member, key: ForeignKey) -> bool:
    """Whether every row of a table has a parent by this key."""
    return _is_mandatory(member.structure, key)


def key_columns(conversion: Conversion) -> tuple[Column, ...]:
    """The partition keys as columns of children."""
    found = {column.name: column for column in root_columns(conversion.settings)}
    return tuple(found[name] for name in conversion.keys)


def root_columns(settings: Settings) -> tuple[Column, ...]:
    """The key columns of the root."""
    return root_key_columns(settings)


def weakened(conversion: Conversion, member: Member) -> list[Index]:
    """The unique rules of a table that its keys break.

    The primary key of a table is broken as well, unless it holds the columns by which the rows refer to their owner.
    """
    return [
        index
        for index in member.structure.indexes
        if index.constraint_type != "x" and is_weakened(index, conversion.keys, conversion.parent_keys(member))
    ]


def is_kept(member: Member, index: Index) -> bool:
    """Whether a global index can keep a unique rule."""
    return index.name in member.facts.plain_indexes


def joined(pairs: list[tuple[Composable, Composable]]) -> SQL:
    """``a = b AND c = d``."""
    return SQL(" AND ".join(compose("{} = {}", *pair).text for pair in pairs))
''','plan.conversion_copy': r'''"""The statements that copy the rows of plain tables, and that compare what arrived."""

from __future__ import annotations

from .. import keys as key_axis
from ..sql import SQL, Identifier, comma_list, compose, names
from .conversion import Conversion, Member, joined
from .conversion_form import copied_columns, identifiers


def copy_statement(conversion: Conversion, member: Member) -> SQL:
    """INSERT ... SELECT of all rows of a table, each with the partition keys of its root row.

    Every row of the plain table is selected: one whose root row is not found has no keys, and is refused as a row
    without them, never left behind.
    """
    columns = copied_columns(conversion, member)
    values = identifiers("t", columns)
    joins = ""
    if member.is_root:
        if conversion.settings.slice_key is not None:
            columns = [*columns, conversion.settings.slice_key]
            values.append(bucket_of(conversion, compose("t.{}", Identifier(conversion.settings.range_column.name))))
    else:
        columns = [*columns, *conversion.keys]
        values += _keys(conversion, member)
        joins = _joins(conversion, member)
    return compose(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS t{}",
        member.working.identifier,
        names(columns),
        comma_list(values),
        member.identifier,
        SQL(joins),
    )


def batch(statement: SQL, first: int, last: int) -> SQL:
    """The part of a copy that lies in some blocks of the plain table."""
    return compose(
        "{} WHERE t.ctid >= '({},0)'::tid AND t.ctid < '({},0)'::tid", statement, SQL(str(first)), SQL(str(last))
    )


def bucket_of(conversion: Conversion, value: SQL) -> SQL:
    """The slice key of a value of the range key."""
    settings = conversion.settings
    assert settings.bucket is not None
    return key_axis.bucket_expression(value, settings.range_type, settings.bucket, settings.time_zone)


def _keys(conversion: Conversion, member: Member) -> list[SQL]:
    """The partition keys of a child's rows: of whichever owner a row has."""
    found = []
    for position, key in enumerate(conversion.keys):
        ways = [compose("o{}.{}", SQL(str(number)), Identifier(key)) for number in range(len(member.owners))]
        if conversion.orphan_keys:
            ways.append(conversion.orphan_keys[position])
        found.append(ways[0] if len(ways) == 1 else compose("coalesce({})", comma_list(ways)))
    return found


def _joins(conversion: Conversion, member: Member) -> str:
    text = ""
    for number, key in enumerate(member.owners):
        parent = conversion.member(key.parent)
        on = joined(
            [
                (compose("o{}.{}", SQL(str(number)), Identifier(theirs)), compose("t.{}", Identifier(own)))
                for own, theirs in zip(key.columns, key.parent_columns)
                if own not in conversion.keys
            ]
        )
        text += f" LEFT JOIN {parent.keys_table} AS o{number} ON {on}"
    return text


def referred_columns(conversion: Conversion, member: Member) -> list[tuple[str, ...]]:
    """By which columns the tables below find a table's rows."""
    found = [
        tuple(column for column in key.parent_columns if column not in conversion.keys)
        for each in conversion.members
        for key in each.owners
        if key.parent == member.oid
    ]
    return list(dict.fromkeys(found))


def keys_statements(conversion: Conversion, member: Member) -> list[SQL]:
    """Note the partition keys of a table's rows for the tables below; made from what was copied."""
    referred = referred_columns(conversion, member)
    if not referred:
        return []
    columns = list(dict.fromkeys(column for each in referred for column in each))
    found = [
        compose(
            "CREATE TABLE {} AS SELECT {} FROM {}",
            member.keys_table,
            names([*columns, *conversion.keys]),
            member.working.identifier,
        )
    ]
    found += [compose("CREATE UNIQUE INDEX ON {} ({})", member.keys_table, names(each)) for each in referred]
    found.append(compose("ANALYZE {}", member.keys_table))
    return found


def drop_keys_statement(conversion: Conversion, member: Member) -> SQL | None:
    """The notes are not needed any more."""
    return compose("DROP TABLE {}", member.keys_table) if referred_columns(conversion, member) else None


def content(conversion: Conversion, member: Member, table: Identifier) -> SQL:
    """Count and checksum of the rows of a table, plain or partitioned; of the plain one's columns.

    Values are hashed as what they are; those of types that cannot be hashed as their texts.
    """
    parts = [
        compose("t.{}", Identifier(column))
        if column in member.facts.hashable
        else compose("t.{}::text", Identifier(column))
        for column in copied_columns(conversion, member)
    ]
    return compose(
        "SELECT count(*) AS rows, coalesce(sum(hash_record_extended(ROW({}), 0)), 0)::text AS checksum FROM {} AS t",
        comma_list(parts),
        table,
    )


def versions(table: Identifier) -> SQL:
    """What changes with every write to a plain table: the sum over its row versions, where and by whom they are."""
    return compose(
        "SELECT count(*) || ' ' || coalesce(sum(hashtidextended(t.ctid, t.xmin::text::bigint)), 0) AS versions"
        " FROM {} AS t",
        table,
    )
''','plan.conversion_figures': r'''"""The queries that count what a conversion must know: rows without a way to the root, and with two."""

from __future__ import annotations

from .. import keys as key_axis
from ..model import ForeignKey
from ..sql import SQL, Identifier, comma_list, compose
from .conversion import Conversion, Member, is_mandatory, joined


def can_have_orphans(conversion: Conversion, member: Member) -> bool:
    """Whether the rules of the tables allow rows without a way to the root."""
    if member.is_root:
        return False
    if not any(is_mandatory(member, key) for key in member.owners):
        return True
    return any(can_have_orphans(conversion, conversion.member(key.parent)) for key in member.owners)


def counting(conversion: Conversion, member: Member) -> SQL:
    """One row: rows, without_keys, orphans, several, conflicts, differing."""
    alias = Identifier("t")
    return compose(
        "SELECT count(*) AS rows, {without_keys} AS without_keys, {orphans} AS orphans, {several} AS several,"
        " {conflicts} AS conflicts, {differing} AS differing, {broken} AS broken FROM {table} AS t",
        without_keys=_filtered(_without_keys(conversion, member, alias)),
        orphans=_filtered(_orphan(conversion, member, alias, 0) if can_have_orphans(conversion, member) else None),
        several=_filtered(_several(member, alias)),
        conflicts=_filtered(_conflict(conversion, member, alias)),
        differing=_filtered(_differing(conversion, member, alias)),
        broken=_filtered(_broken(member, alias)),
        table=member.identifier,
    )


def _broken(member: Member, alias: Identifier) -> SQL | None:
    """Whether a row breaks a foreign key that is NOT VALID, as those of partitioned tables cannot be."""
    conditions = [
        compose(
            "(NOT {} AND NOT EXISTS (SELECT FROM {} AS b WHERE {}))",
            _is_null(key, alias),
            SQL(key.parent_text),
            _parent_of(key, alias, Identifier("b")),
        )
        for key in member.structure.foreign_keys
        if key.name in member.facts.unproven
    ]
    return SQL("(" + " OR ".join(each.text for each in conditions) + ")") if conditions else None


def _filtered(condition: SQL | None) -> SQL:
    return compose("count(*) FILTER (WHERE {})", condition) if condition is not None else SQL("0::bigint")


def _root_keys(conversion: Conversion) -> list[str]:
    """The columns of the root that decide where its rows are."""
    settings = conversion.settings
    return [settings.range_column.name] + ([settings.hash_column.name] if settings.hash_column else [])


def _without_keys(conversion: Conversion, member: Member, alias: Identifier) -> SQL | None:
    """Whether a root row lies in no slice: a key is NULL, or infinite."""
    if not member.is_root:
        return None
    keys = _root_keys(conversion)
    conditions = [compose("{}.{} IS NULL", alias, Identifier(key)).text for key in keys]
    if key_axis.is_calendar(conversion.settings.range_type) and conversion.settings.range_type != "uuid":
        conditions.append(compose("NOT isfinite({}.{})", alias, Identifier(keys[0])).text)
    return SQL(" OR ".join(conditions))


def _is_null(key: ForeignKey, alias: Identifier) -> SQL:
    """Whether a row has no parent by a key: MATCH SIMPLE asks for one only where no column is NULL."""
    return SQL("(" + " OR ".join(compose("{}.{} IS NULL", alias, Identifier(c)).text for c in key.columns) + ")")


def _parent_of(key: ForeignKey, alias: Identifier, parent: Identifier) -> SQL:
    return joined(
        [
            (compose("{}.{}", parent, Identifier(theirs)), compose("{}.{}", alias, Identifier(own)))
            for own, theirs in zip(key.columns, key.parent_columns)
        ]
    )


def _orphan(conversion: Conversion, member: Member, alias: Identifier, level: int) -> SQL:
    """Whether no owner of a row leads to the root."""
    ways = []
    for key in member.owners:
        parent = conversion.member(key.parent)
        lost = None if is_mandatory(member, key) else _is_null(key, alias)
        if can_have_orphans(conversion, parent):
            inner = Identifier(f"p{level}")
            above = compose(
                "EXISTS (SELECT FROM {} AS {} WHERE {} AND {})",
                parent.identifier,
                inner,
                _parent_of(key, alias, inner),
                _orphan(conversion, parent, inner, level + 1),
            )
            lost = compose("({} OR {})", lost, above) if lost is not None else above
        if lost is None:
            return SQL("false")
        ways.append(lost)
    return SQL("(" + " AND ".join(way.text for way in ways) + ")")


def _several(member: Member, alias: Identifier) -> SQL | None:
    if len(member.owners) < 2:
        return None
    given = [compose("(NOT {})::integer", _is_null(key, alias)) for key in member.owners]
    return SQL(" + ".join(each.text for each in given) + " > 1")


def _keys_of(conversion: Conversion, member: Member, alias: Identifier, level: int, keys: list[str]) -> SQL:
    """The root's keys of a row, as one value."""
    if member.is_root:
        columns = [compose("{}.{}", alias, Identifier(key)) for key in keys]
        return columns[0] if len(columns) == 1 else compose("ROW({})", comma_list(columns))
    ways = [_keys_by(conversion, key, alias, level, keys) for key in member.owners]
    return compose("coalesce({})", comma_list(ways))


def _keys_by(conversion: Conversion, key: ForeignKey, alias: Identifier, level: int, keys: list[str]) -> SQL:
    parent, inner = conversion.member(key.parent), Identifier(f"k{level}")
    return compose(
        "(SELECT {} FROM {} AS {} WHERE {})",
        _keys_of(conversion, parent, inner, level + 1, keys),
        parent.identifier,
        inner,
        _parent_of(key, alias, inner),
    )


def _conflict(conversion: Conversion, member: Member, alias: Identifier) -> SQL | None:
    """Whether a row has two parents with different keys, so that its foreign keys could not both hold."""
    conditions = []
    keys = _root_keys(conversion)
    owners = member.owners
    for key in (*member.others, *(owners if len(owners) > 1 else ())):
        conditions.append(
            compose(
                "(NOT {} AND {} IS DISTINCT FROM {})",
                _is_null(key, alias),
                _keys_of(conversion, member, alias, 0, keys),
                _keys_by(conversion, key, alias, 0, keys),
            )
        )
    if not conditions:
        return None
    condition = SQL("(" + " OR ".join(each.text for each in conditions) + ")")
    several = _several(member, alias)
    return compose("({}) AND {}", several, condition) if several is not None and not member.others else condition


def _differing(conversion: Conversion, member: Member, alias: Identifier) -> SQL | None:
    """Whether a row has a column of a key's name that says something else than the root's.

    They are compared as texts, for their collations may differ, which PostgreSQL refuses to choose between.
    """
    present = [
        key
        for key in _root_keys(conversion)
        if key in conversion.keys and member.structure.column(key) is not None and not member.is_root
    ]
    if not present:
        return None
    conditions = [
        compose(
            '{}.{}::text COLLATE "C" IS DISTINCT FROM {}::text COLLATE "C"',
            alias,
            Identifier(key),
            _keys_of(conversion, member, alias, 0, [key]),
        )
        for key in present
    ]
    return SQL("(" + " OR ".join(each.text for each in conditions) + ")")


def distribution(conversion: Conversion) -> SQL:
    """How many root rows lie in each month, or all of them for integers."""
    root = conversion.root
    return compose(
        "SELECT extract(year FROM {value})::int AS year, extract(month FROM {value})::int AS month, count(*) AS rows"
        " FROM {table} WHERE isfinite({value}) GROUP BY 1, 2 ORDER BY 1, 2",
        value=moment(conversion.settings.range_type, Identifier(conversion.settings.range_column.name)),
        table=root.identifier,
    )


def moment(range_type: str, value: Identifier) -> SQL:
    """A range key as a calendar moment."""
    if range_type == "timestamp with time zone":
        return compose("({} AT TIME ZONE 'UTC')", value)
    if range_type == "uuid":
        return compose(
            "(to_timestamp(('x' || left(translate({}::text, '-', ''), 12))::bit(48)::bigint / 1000.0)"
            " AT TIME ZONE 'UTC')",
            value,
        )
    return compose("({})::timestamp", value)
''','plan.conversion_findings': r'''"""What a conversion comes to, as a DBA reads it: a row a finding, with its severity and the statement."""

from __future__ import annotations

from typing import NamedTuple

from .. import errors
from ..model import ForeignKey
from ..sql import Identifier, Literal, compose, names
from . import conversion_form, conversion_layout
from .conversion import (
    CHILD,
    KEEP,
    OUTSIDE,
    REFERENCE,
    ROOT,
    Conversion,
    Figures,
    Member,
    is_kept,
    key_columns,
    root_columns,
    weakened,
)
from .conversion_steps import side_table
from .remakable import check_can_be_remade
from .unique import lacking, widened

ERROR, WARNING, NOTICE = "error", "warning", "notice"


class Finding(NamedTuple):
    """A row of dp.plan_conversion."""

    tbl: str
    role: str
    severity: str
    finding: str
    detail: str
    statement: str | None


def findings(conversion: Conversion, left: list[tuple[str, str]], lock_budget: int) -> list[Finding]:
    """All findings: the root and its layout, the tables in the order of their copying, what stands beside them."""
    found = _layout(conversion, lock_budget)
    for member in conversion.members:
        found += _member(conversion, member)
    for name, is_own in conversion.references:
        detail = "Rows of the hierarchy refer to it. It stays as it is"
        detail += ", and is registered as a reference." if is_own else "; its owner is another role."
        register = compose("SELECT dp.register_reference({}::regclass)", Literal(name.text))
        found.append(Finding(name.text, REFERENCE, NOTICE, "reference", detail, register.text))
    for name_text, why in left:
        detail = f"{why} It refers to the hierarchy by its primary key alone and cannot be converted along."
        found.append(Finding(name_text, OUTSIDE, ERROR, "cannot belong", detail, None))
    for key in conversion.outside:
        found.append(_outside(conversion, key))
    root = conversion.root.identifier.text
    for each in conversion.dependents:
        way = "is dropped and made again" if each.drop is not None else "is replaced"
        detail = f"The {each.name} {way} when the tables change places, and means the new ones."
        found.append(Finding(root, ROOT, NOTICE, "dependent object", detail, ";\n".join(each.create)))
    for name_text, why in conversion.blocked:
        found.append(Finding(root, ROOT, ERROR, "dependent object", f"{name_text} must be made again. {why}", None))
    return found


def refuse(found: list[Finding]) -> None:
    """Refuse to convert while there are errors."""
    wrong = [each for each in found if each.severity == ERROR]
    if wrong:
        told = "\n".join(f"{each.tbl}: {each.finding}. {each.detail}" for each in wrong[:10])
        raise errors.NotInPrerequisiteState(
            f"{wrong[0].tbl} cannot be converted: {wrong[0].finding}",
            told,
            "See SELECT * FROM dp.plan_conversion(...) with the same parameters; nothing was changed.",
        )


def _layout(conversion: Conversion, lock_budget: int) -> list[Finding]:
    root, settings = conversion.root, conversion.settings
    name = root.identifier.text
    found = []
    partitions = settings.hash_partitions
    for each in conversion.ranges:
        detail = (
            f"From {each.lower} to {each.upper} slices of {each.width} with {partitions} leaves each:"
            f" {each.rows} rows of the root lie there."
        )
        call = compose(
            "CALL dp.create_slices({}::regclass, {}, {}, {})",
            *(Literal(text) for text in (name, each.lower, each.upper, each.width)),
        )
        found.append(Finding(name, ROOT, NOTICE, "slices", detail, call.text))
    slices = conversion_layout.slices(list(conversion.ranges))
    leaves = slices * max(partitions, 1) * len(conversion.members)
    detail = f"{slices} slices in {len(conversion.members)} tables are {leaves} leaves."
    found.append(Finding(name, ROOT, NOTICE, "leaves", detail, None))
    if not conversion_layout.fits(list(conversion.ranges), partitions, lock_budget):
        needed = slices * (1 + partitions) * conversion_layout.LOCKS_PER_LEAF
        detail = (
            f"A foreign key between two tables takes about {needed} locks in one transaction, more than the"
            f" {lock_budget} that max_locks_per_transaction allows. Raise it, or take wider slices or fewer leaves."
        )
        found.append(Finding(name, ROOT, ERROR, "too many leaves", detail, None))
    return [_key_form(conversion), *found]


def _key_form(conversion: Conversion) -> Finding:
    """Which key form suits these rows, with figures."""
    root = conversion.root
    rows = conversion.figures.get(root.oid, Figures()).rows
    below = sum(conversion.figures.get(each.oid, Figures()).rows for each in conversion.members[1:])
    each = f"{below / rows:.1f}" if rows else "0"
    key = conversion.settings.range_column.name
    detail = (
        f'A root row has {each} rows below it. In the form exact a change of "{key}" changes them all, each time; in'
        " the form slice only when it crosses a bucket, once a month at most; a change inside writes the root row."
        f" Recommended is {'slice' if below else 'exact'}, unless the key never changes. Chosen is"
        f" {conversion.settings.key_form}."
    )
    is_risky = below > 0 and conversion.settings.key_form == "exact"
    return Finding(root.identifier.text, ROOT, WARNING if is_risky else NOTICE, "key form", detail, None)


def _member(conversion: Conversion, member: Member) -> list[Finding]:
    name, role = member.identifier.text, ROOT if member.is_root else CHILD
    found = [_role(conversion, member, role)]
    obstacle = _obstacle(conversion, member)
    if obstacle is not None:
        found.append(Finding(name, role, ERROR, obstacle.message, f"{obstacle.detail} {obstacle.hint}", None))
    if member.facts.is_forced:
        detail = "Row security is forced on the owner, who could miss rows that policies hide."
        lift = compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", member.identifier)
        found.append(Finding(name, role, ERROR, "forced row security", detail, lift.text))
    for text in member.facts.row_types:
        detail = (
            f"{text} uses the row type of the table, which the new one does not have. Drop it, create it afterwards."
        )
        found.append(Finding(name, role, ERROR, "row type in use", detail, None))
    found += _columns(conversion, member, role)
    found += _counted(conversion, member, role)
    found += _unique(conversion, member, role)
    for key in (*member.owners, *member.others):
        found.append(_foreign_key(conversion, member, key, role))
    found += _carried(member, role)
    return found


def _role(conversion: Conversion, member: Member, role: str) -> Finding:
    rows = conversion.figures.get(member.oid, Figures()).rows
    if member.is_root:
        detail = f"{rows} rows. Partitioned by RANGE of {names((conversion.settings.partition_column,))}"
        hash_column = conversion.settings.hash_column
        detail += f", then by HASH of {names((hash_column.name,))}." if hash_column else "."
    else:
        paths = "; ".join(_paths(conversion, member))
        way = "exactly one owner" if len(member.owners) == 1 else f"one of {len(member.owners)} alternative owners"
        detail = f"{rows} rows, each with {way}. To the root by {paths}."
    create = conversion_form.table_statements(conversion, member)[0]
    return Finding(member.identifier.text, role, NOTICE, role, detail, create.text)


def _paths(conversion: Conversion, member: Member) -> list[str]:
    if member.is_root:
        return [member.structure.name]
    return [
        f"{member.structure.name}({', '.join(key.columns)}) > {path}"
        for key in member.owners
        for path in _paths(conversion, conversion.member(key.parent))
    ]


def _obstacle(conversion: Conversion, member: Member) -> errors.PartitionError | None:
    """What cannot exist on a partitioned table."""
    bare = member.structure._replace(has_rows=False, dependents=())
    try:
        check_can_be_remade(bare, conversion.keys, conversion.version)
    except errors.PartitionError as error:
        return error
    return None


def _columns(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    found = []
    wanted = root_columns(conversion.settings) if member.is_root else key_columns(conversion)
    for column in wanted:
        present = member.structure.column(column.name)
        title, detail, severity = "", "", NOTICE
        if present is None:
            title = "column added"
            detail = f'Column "{column.name}" is added, and filled with the value of the root row.'
            if member.is_root:
                detail = f'Column "{column.name}" is added: the bucket of the range key.'
        elif not present.is_alike(column):
            title = "column altered"
            detail = (
                f'Column "{column.name}" is {present.declaration} and becomes {column.declaration}, as in the root.'
            )
            severity = WARNING
            if column.name == conversion.settings.partition_column:
                severity, title = ERROR, "column of another type"
                detail = f'Column "{column.name}" is {present.declaration}, and would be the partition column.'
        elif not member.is_root:
            title = "column taken"
            detail = f'Column "{column.name}" is there; it holds the value of the root row from now on.'
        if title:
            declared = compose("{} {} NOT NULL", Identifier(column.name), column.declaration)
            found.append(Finding(member.identifier.text, role, severity, title, detail, declared.text))
    return found


def _counted(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    figures = conversion.figures.get(member.oid, Figures())
    found = []

    def add(severity: str, title: str, detail: str) -> None:
        found.append(Finding(member.identifier.text, role, severity, title, detail, None))

    if figures.without_keys:
        add(
            ERROR,
            "rows without keys",
            f"{figures.without_keys} rows have NULL or infinity in a key. Give them a value first.",
        )
    if figures.orphans:
        home = ", ".join(each.text for each in conversion.orphan_keys)
        if conversion.orphans == KEEP:
            detail = (
                f"{figures.orphans} rows have no way to the root. They are kept, with the keys {home}, and share the"
            )
            add(WARNING, "rows without a parent", f"{detail} fate of that slice: they go when it is dropped.")
        else:
            detail = f"{figures.orphans} rows have no way to the root, and no keys. Delete them, give them a parent, or"
            add(ERROR, "rows without a parent", f"{detail} keep them in the oldest slice with orphans => 'keep'.")
    if figures.broken:
        detail = (
            f"{figures.broken} rows break foreign keys that are NOT VALID. They hold for all rows of the new table:"
        )
        add(ERROR, "broken foreign keys", f"{detail} mend the rows, and VALIDATE CONSTRAINT.")
    if figures.conflicts:
        detail = f"{figures.conflicts} rows refer to parents of different root rows: their foreign keys could not hold."
        add(ERROR, "parents disagree", detail)
    if figures.several > figures.conflicts:
        detail = f"{figures.several} rows have more than one owner; all lead to the same keys."
        add(NOTICE, "several owners", detail)
    if figures.differing:
        detail = f"{figures.differing} rows hold another value in a key column than their root row, and get that one's."
        add(WARNING, "values replaced", detail)
    return found


def _unique(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    found = []
    broken = weakened(conversion, member)
    for index in conversion_form.widened_indexes(conversion, member):
        kind = "primary key" if index.constraint_type == "p" else "unique rule"
        definition = widened(index.definition, lacking(index, conversion.keys))
        if index not in broken:
            detail = f'{kind} "{index.name}" gets the keys; it refuses the same rows, for it holds a parent\'s key.'
            found.append(Finding(member.identifier.text, role, NOTICE, f"{kind} widened", detail, definition))
        elif conversion.allow_weaker_unique:
            detail = f'{kind} "{index.name}" gets the keys: equal values are accepted in two partitions.'
            found.append(Finding(member.identifier.text, role, WARNING, f"{kind} weaker", detail, definition))
        elif is_kept(member, index):
            detail = (
                f'{kind} "{index.name}" gets the keys; a global index keeps it over all partitions. ON CONFLICT must'
                " name the keys as well."
            )
            found.append(Finding(member.identifier.text, role, NOTICE, f"{kind} kept", detail, definition))
        else:
            detail = (
                f'{kind} "{index.name}" cannot be kept by a global index: it has expressions, is deferrable, or NULLS'
                " NOT DISTINCT. allow_weaker_unique => true accepts equal values in two partitions."
            )
            found.append(Finding(member.identifier.text, role, ERROR, f"{kind} lost", detail, definition))
    return found


def _foreign_key(conversion: Conversion, member: Member, key: ForeignKey, role: str) -> Finding:
    wanted = next(
        (
            s
            for _, s in conversion_form.key_steps(conversion, member)
            if f"CONSTRAINT {Identifier(key.name)} " in s.text
        ),
        None,
    )
    deferred = wanted is not None and wanted.text.endswith("INITIALLY DEFERRED") and not key.is_deferred
    detail = f'Foreign key "{key.name}" gets the keys, and ON UPDATE CASCADE.'
    if deferred:
        detail += " It is checked at the commit, because a change of the keys reaches the table on two ways."
    title = "foreign key made composite"
    return Finding(member.identifier.text, role, NOTICE, title, detail, wanted.text if wanted is not None else None)


def _carried(member: Member, role: str) -> list[Finding]:
    """What is carried along; only what a DBA may want to look at."""
    structure = member.structure
    parts = [
        ("triggers", [each.name for each in structure.triggers]),
        ("rules", [each.name for each in structure.rules]),
        ("policies", [each.name for each in member.properties.policies]),
        ("publications", [each.name for each in structure.publications]),
        ("extended statistics", [each.name for each in structure.statistics]),
    ]
    return [
        Finding(member.identifier.text, role, NOTICE, title, f"{', '.join(found)}: made again on the new table.", None)
        for title, found in parts
        if found
    ]


def _outside(conversion: Conversion, key: ForeignKey) -> Finding:
    side = side_table(conversion, key.parent, key.parent_columns)
    if side is None:
        detail = f'Foreign key "{key.name}" refers to columns that no global index holds. Drop it first.'
        return Finding(key.child_text, OUTSIDE, ERROR, "foreign key from outside", detail, None)
    detail = f'Foreign key "{key.name}" will refer to the global index {side}, whose entries go with their rows.'
    return Finding(key.child_text, OUTSIDE, NOTICE, "foreign key from outside", detail, None)
''','plan.conversion_form': r'''"""The statements that build the partitioned tables of a conversion beside the plain ones."""

from __future__ import annotations

from .. import naming
from ..model import CHILD, ForeignKey, Hierarchy, Policy
from ..sql import SQL, Identifier, Literal, comma_list, compose, names
from . import conversion_record, declare, foreign_keys
from .conversion import REFERENCE, ROOT, Conversion, Member, key_columns, root_columns, working_schema
from .properties import comment_statements, grant_statements, grantee_name, replica_identity_statement
from .structure import Column, Index, add_constraint
from .unique import index_statements


def schema_statements(conversion: Conversion) -> list[SQL]:
    """The schemas in which the new tables are built."""
    schemas = dict.fromkeys(member.structure.schema for member in conversion.members)
    return [compose("CREATE SCHEMA {}", Identifier(working_schema(schema))) for schema in schemas]


def table_statements(conversion: Conversion, member: Member) -> list[SQL]:
    """The new table: columns, CHECKs, defaults, privileges and comments; neither indexes nor foreign keys yet."""
    working, settings = member.working, conversion.settings
    wanted = root_columns(settings) if member.is_root else key_columns(conversion)
    found = [_create(conversion, member, wanted)]
    for column in wanted:
        present = member.structure.column(column.name)
        if present is None:
            continue
        name = Identifier(column.name)
        if not present.is_alike(column):
            found.append(
                compose("ALTER TABLE {} ALTER COLUMN {} TYPE {}", working.identifier, name, column.declaration)
            )
        if not present.is_not_null:
            found.append(compose("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", working.identifier, name))
    found += unchecked_statements(member)
    found += access_statements(member)
    if member.is_root:
        if settings.slice_key is not None and settings.bucket is not None:
            found += declare.slice_key_statements(working, settings, settings.slice_key, settings.bucket)
        found += declare.template_statements(working, member.properties)
        found += declare.configuration_statements(working, settings)
    else:
        found += declare.template_statements(working, member.properties)
        found.append(declare.table_statement(working, conversion.root.working.identifier, CHILD))
    return [*found, conversion_record.statement(conversion, member)]


def unchecked_statements(member: Member) -> list[SQL]:
    """CHECKs that rows may break which are there come behind the rows."""
    return [
        compose("ALTER TABLE {} DROP CONSTRAINT {}", member.working.identifier, Identifier(name))
        for name, _ in member.facts.unchecked
    ]


def _create(conversion: Conversion, member: Member, wanted: tuple[Column, ...]) -> SQL:
    working = member.working
    added = [
        compose("{} {} NOT NULL", Identifier(column.name), column.declaration)
        for column in wanted
        if member.structure.column(column.name) is None
    ]
    like = compose("LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS", member.identifier)
    tablespace = member.properties.tablespace
    return compose(
        "CREATE TABLE {} ({}) PARTITION BY RANGE ({}){}",
        working.identifier,
        comma_list([like, *added]),
        Identifier(conversion.settings.partition_column),
        compose(" TABLESPACE {}", Identifier(tablespace)) if tablespace else SQL(""),
    )


def access_statements(member: Member) -> list[SQL]:
    """Privileges and the comment; row security comes when the table has its name, for policies may look at others."""
    properties, relation = member.properties, member.working.identifier
    found = [
        compose("REVOKE ALL ON TABLE {} FROM {}", relation, grantee_name(grantee))
        for grantee in properties.default_grantees
    ]
    found += grant_statements(properties.grants, relation)
    if properties.owner_lacks:
        lacking = SQL(", ".join(properties.owner_lacks))
        found.append(compose("REVOKE {} ON TABLE {} FROM {}", lacking, relation, Identifier(properties.owner)))
    found += comment_statements(properties.comment, (), relation)
    for each in properties.statistics:
        statistics = Identifier(member.working.schema, each.name)
        found.append(compose("CREATE STATISTICS {} {} FROM {}", statistics, SQL(each.definition), relation))
        if each.target is not None:
            found.append(compose("ALTER STATISTICS {} SET STATISTICS {}", statistics, Literal(each.target)))
    return found


def reference_statements(conversion: Conversion) -> list[SQL]:
    """The shared tables are registered as such."""
    return [
        compose(
            "INSERT INTO dp.table_config (tbl, root, role) VALUES ({}::regclass, {}::regclass, {})",
            Literal(name.text),
            Literal(conversion.root.working.identifier.text),
            Literal(REFERENCE),
        )
        for name, is_own in conversion.references
        if is_own
    ]


def index_steps(conversion: Conversion, member: Member) -> list[list[SQL]]:
    """The indexes and unique rules of a new table, widened by the keys; one a step."""
    working = member.working
    found = []
    for index in member.structure.indexes:
        found.append(index_statements(working._replace(indexes=(index,)), conversion.keys))
    for name, definition in member.facts.unchecked:
        found.append([add_constraint(working.identifier, name, SQL(definition))])
    identity = replica_identity_statement(member.properties, working.identifier)
    if identity is not None:
        found.append([identity])
    return found


def widened_indexes(conversion: Conversion, member: Member) -> list[Index]:
    """The unique rules that get the partition keys."""
    return [
        index
        for index in member.structure.indexes
        if index.is_unique and index.constraint_type != "x" and set(conversion.keys) - set(index.columns)
    ]


def key_steps(conversion: Conversion, member: Member) -> list[tuple[int, SQL]]:
    """The foreign keys of a new table, composite inside the hierarchy; with the oid of the table they refer to."""
    early = foreign_keys.checked_too_early(_hierarchy(conversion))
    working = member.working
    found = []
    inside = {key.name: key for key in (*member.owners, *member.others)}
    for key in member.structure.foreign_keys:
        if key.name not in inside:
            definition = SQL(member.structure.foreign_key_definitions[key.name])
            found.append((key.parent, add_constraint(working.identifier, key.name, definition)))
            continue
        wanted = foreign_keys.composite(key, conversion.keys)
        deferred = key.is_deferred or (key.child, key.name) in early
        parent = conversion.member(key.parent).working
        clause = foreign_keys.clause(wanted, parent.identifier, deferred)
        found.append((key.parent, add_constraint(working.identifier, key.name, clause)))
    return found


def _hierarchy(conversion: Conversion) -> Hierarchy:
    """The hierarchy as far as its foreign keys go; it is known by the oids of the plain tables."""
    settings = conversion.settings
    policy = Policy(
        settings.range_column.name,
        settings.hash_column.name if settings.hash_column else None,
        settings.key_form,
        settings.slice_key,
        settings.bucket,
        settings.width,
        settings.hash_partitions,
        settings.premake,
        settings.start,
        None,
        settings.retention_action,
        settings.retention_schema,
        settings.time_zone,
        settings.default_slice,
        0,
        0,
        0,
    )
    tables = tuple(
        declare.as_table(member.structure, ROOT if member.is_root else CHILD, settings.partition_column)
        for member in conversion.members
    )
    keys: list[ForeignKey] = [key for member in conversion.members for key in (*member.owners, *member.others)]
    return Hierarchy(policy, settings.range_type, tables, (), tuple(keys), {})


def copied_columns(conversion: Conversion, member: Member) -> list[str]:
    """The columns whose values are the plain table's own."""
    keys = () if member.is_root else conversion.keys
    return [column for column in member.facts.stored if column not in keys]


def identifiers(alias: str, columns: list[str]) -> list[SQL]:
    """``t."a"``, ``t."b"``."""
    return [compose("{}.{}", SQL(alias), Identifier(column)) for column in columns]


def template_name(member: Member) -> Identifier:
    """The template of a new table."""
    return Identifier(member.working.schema, naming.template_name(member.structure.name))


def name_list(columns: list[str]) -> SQL:
    """A column list."""
    return names(columns)
''','plan.conversion_layout': r'''"""How the slices of converted tables are cut: years for history, months for recent time."""

from __future__ import annotations

import datetime

from .conversion import Range

YEARS_OF_MONTHS = 1  # beside the current year: so many before it have slices of the hierarchy's own width
LEAF_ROWS = 1_000_000  # of the largest table in the largest slice: more, and the modulus doubles
MOST_PARTITIONS = 16
FEWEST_PARTITIONS = 2
LOCKS_PER_LEAF = 6  # what a foreign key of one table to another takes, at most

Distribution = list[tuple[datetime.datetime, int]]


def calendar_ranges(distribution: Distribution, now: datetime.datetime, premake: int, width: str | None) -> list[Range]:
    """The ranges of a calendar key: all rows, and the time for which slices are kept ready."""
    first = min([month for month, _ in distribution] + [now])
    last = max([month for month, _ in distribution] + [_months_later(now, premake)])
    end = _months_later(last, 1)
    if width is not None:
        return [_range(distribution, _start_of_month(first), end, width)]
    recent = datetime.datetime(max(now.year - YEARS_OF_MONTHS, 1), 1, 1)
    ready = datetime.datetime(now.year + 2, 1, 1)
    found = []
    if first < recent:
        found.append(_range(distribution, datetime.datetime(first.year, 1, 1), recent, "1 year"))
    found.append(_range(distribution, max(recent, _start_of_month(first)), min(end, ready), "1 month"))
    if end > ready:
        found.append(_range(distribution, ready, datetime.datetime(end.year + (end.month > 1), 1, 1), "1 year"))
    return found


def integer_ranges(lowest: int | None, highest: int | None, rows: int, width: int) -> list[Range]:
    """The one range of an integer key."""
    if lowest is None or highest is None:
        return []
    return [Range(str(lowest - lowest % width), str(highest - highest % width + width), str(width), rows)]


def slices(ranges: list[Range]) -> int:
    """How many slices the ranges have."""
    return sum(_slices(each) for each in ranges)


def _slices(each: Range) -> int:
    number, _, unit = each.width.partition(" ")
    if not unit:
        return -(-(int(each.upper) - int(each.lower)) // int(number))
    lower, upper = datetime.date.fromisoformat(each.lower), datetime.date.fromisoformat(each.upper)
    days = {"day": 1, "week": 7, "month": 30.4, "year": 365.25, "quarter": 91.3}[unit.rstrip("s")]
    return max(round((upper - lower).days / (days * int(number)) + 0.49), 1)


def modulus(ranges: list[Range], most_rows_per_root_row: float, lock_budget: int) -> int:
    """How many hash partitions a slice has: enough for the largest table, and no more than the lock table allows."""
    largest = max([each.rows / _slices(each) for each in ranges] + [0.0]) * max(most_rows_per_root_row, 1.0)
    found = FEWEST_PARTITIONS
    while found < MOST_PARTITIONS and largest / found > LEAF_ROWS:
        found *= 2
    while found > 1 and not fits(ranges, found, lock_budget):
        found //= 2
    return found


def fits(ranges: list[Range], partitions: int, lock_budget: int) -> bool:
    """Whether one transaction can tie two tables of this layout to each other."""
    return slices(ranges) * (1 + partitions) * LOCKS_PER_LEAF <= lock_budget


def _range(distribution: Distribution, lower: datetime.datetime, upper: datetime.datetime, width: str) -> Range:
    rows = sum(count for month, count in distribution if lower <= month < upper)
    return Range(lower.date().isoformat(), upper.date().isoformat(), width, rows)


def _start_of_month(moment: datetime.datetime) -> datetime.datetime:
    return datetime.datetime(moment.year, moment.month, 1)


def _months_later(moment: datetime.datetime, months: int) -> datetime.datetime:
    count = moment.year * 12 + moment.month - 1 + months
    return datetime.datetime(count // 12, count % 12 + 1, 1)
''','plan.conversion_record': r'''"""What a conversion changed of a table, noted with the new one: dp.unconvert takes back just that."""

from __future__ import annotations

import json
from typing import NamedTuple

from ..sql import SQL, Literal, compose
from .conversion import Conversion, Member, key_columns, root_columns
from .unique import lacking


class Key(NamedTuple):
    """What a foreign key said before it got the partition keys."""

    keys: tuple[str, ...]  # those it got
    on_update: str
    is_deferrable: bool
    is_deferred: bool


class Record(NamedTuple):
    """What was changed of one table."""

    added: tuple[str, ...]  # columns
    altered: dict[str, str]  # columns of another type or collation, and what they were
    nullable: tuple[str, ...]  # columns that became NOT NULL
    indexes: dict[str, tuple[str, ...]]  # unique rules that got keys
    foreign_keys: dict[str, Key]
    publications: dict[str, tuple[str, ...]]  # column lists
    clustered: str | None


NOTHING = Record((), {}, (), {}, {}, {}, None)


def made(conversion: Conversion, member: Member) -> Record:
    """What a conversion changes of a table."""
    wanted = root_columns(conversion.settings) if member.is_root else key_columns(conversion)
    present = {column.name: column for column in member.structure.columns}
    there = [column for column in wanted if column.name in present]
    keys = conversion.keys
    return Record(
        tuple(column.name for column in wanted if column.name not in present),
        {
            column.name: present[column.name].declaration.text
            for column in there
            if not present[column.name].is_alike(column)
        },
        tuple(column.name for column in there if not present[column.name].is_not_null),
        {
            index.name: lacking(index, keys)
            for index in member.structure.indexes
            if index.is_unique and index.constraint_type != "x"
        },
        {
            key.name: Key(
                tuple(name for name in keys if name not in key.columns),
                key.on_update,
                key.is_deferrable,
                key.is_deferred,
            )
            for key in (*member.owners, *member.others)
        },
        {each.name: each.columns for each in member.structure.publications if each.columns},
        member.facts.clustered,
    )


def statement(conversion: Conversion, member: Member) -> SQL:
    """The row that notes it."""
    return compose(
        "INSERT INTO dp.conversion_record (tbl, root, changes) VALUES ({}::regclass, {}::regclass, {})",
        Literal(member.working.identifier.text),
        Literal(conversion.root.working.identifier.text),
        Literal(json.dumps(made(conversion, member))),
    )


def read(text: str | None) -> Record:
    """A noted row; nothing of a table that was declared."""
    if text is None:
        return NOTHING
    added, altered, nullable, indexes, foreign_keys, publications, clustered = json.loads(text)
    return Record(
        tuple(added),
        altered,
        tuple(nullable),
        {name: tuple(keys) for name, keys in indexes.items()},
        {name: Key(tuple(key[0]), *key[1:]) for name, key in foreign_keys.items()},
        {name: tuple(columns) for name, columns in publications.items()},
        clustered,
    )
''','plan.conversion_steps': r'''"""A conversion as a list of steps that are stored, and done one after the other."""

from __future__ import annotations

import json
from typing import NamedTuple

from .. import naming
from ..model import ForeignKey
from ..sql import SQL, Composable, Identifier, Literal, compose, name_array, names
from . import conversion_copy, conversion_form, conversion_switch
from .conversion import Conversion, Member, is_kept, kept_schema, weakened, working_schema
from .foreign_keys import ACTIONS
from .structure import Index, add_constraint

# How a step is done: its statements are run; or by what dialog_partition can do itself, printed as statements.
RUN, SLICES, COPY, VERIFY, SWITCH, GLOBAL_INDEX, MOVE, SYNC, DROP_INDEX = (
    "run",
    "slices",
    "copy",
    "verify",
    "switch",
    "global index",
    "move",
    "sync",
    "drop index",
)


class Part(NamedTuple):
    """One step of a conversion."""

    phase: str  # structure, copy, indexes, foreign keys, verify, switch, afterwards
    kind: str
    target: Composable
    statements: tuple[SQL, ...]
    table: int = 0  # the plain table it is about
    parents: tuple[int, ...] = ()  # further plain tables whose new ones it locks
    arguments: str = "{}"


def parts(conversion: Conversion) -> list[Part]:
    """All steps, in order."""
    found = _structure(conversion)
    for member in conversion.members:
        copy = conversion_copy.copy_statement(conversion, member)
        found.append(Part("copy", COPY, member.identifier, (copy,), member.oid))
        keys = conversion_copy.keys_statements(conversion, member)
        if keys:
            found.append(Part("copy", RUN, member.keys_table, tuple(keys), member.oid))
    found += _indexes(conversion) + _foreign_keys(conversion)
    for member in conversion.members:
        found.append(verification(conversion, member))
    root = conversion.root
    switch = (conversion_switch.lock_statement(conversion), *conversion_switch.switch_statements(conversion))
    found.append(Part("switch", SWITCH, root.identifier, switch, root.oid))
    return found + _afterwards(conversion)


def _structure(conversion: Conversion) -> list[Part]:
    root = conversion.root
    statements = conversion_form.schema_statements(conversion)
    found = [Part("structure", RUN, root.identifier, tuple(statements), root.oid)]
    for member in conversion.members:
        made = conversion_form.table_statements(conversion, member)
        found.append(Part("structure", RUN, member.working.identifier, tuple(made), member.oid))
    registered = conversion_form.reference_statements(conversion)
    if registered:
        found.append(Part("structure", RUN, root.working.identifier, tuple(registered), root.oid))
    for each in conversion.ranges:
        arguments = {"lower_bound": each.lower, "upper_bound": each.upper, "slice": each.width}
        call = compose(
            "CALL dp.create_slices({}::regclass, {}, {}, {})",
            Literal(root.working.identifier.text),
            *(Literal(value) for value in arguments.values()),
        )
        found.append(
            Part("structure", SLICES, root.working.identifier, (call,), root.oid, arguments=json.dumps(arguments))
        )
    return found


def _indexes(conversion: Conversion) -> list[Part]:
    found = []
    for member in conversion.members:
        for statements in conversion_form.index_steps(conversion, member):
            found.append(Part("indexes", RUN, member.working.identifier, tuple(statements), member.oid))
        analyze = compose("ANALYZE {}", member.working.identifier)
        found.append(Part("indexes", RUN, member.working.identifier, (analyze,), member.oid))
        dropped = conversion_copy.drop_keys_statement(conversion, member)
        if dropped is not None:
            found.append(Part("indexes", RUN, member.keys_table, (dropped,), member.oid))
    return found


def _foreign_keys(conversion: Conversion) -> list[Part]:
    found = []
    for member in conversion.members:
        for parent, statement in conversion_form.key_steps(conversion, member):
            target = member.working.identifier
            found.append(Part("foreign keys", RUN, target, (statement,), member.oid, (parent,)))
        triggers = conversion_switch.trigger_statements(member)
        if triggers:
            found.append(Part("foreign keys", RUN, member.working.identifier, tuple(triggers), member.oid))
    return found


def verification(conversion: Conversion, member: Member) -> Part:
    """Compare a table with its copy."""
    statements = (
        conversion_copy.content(conversion, member, member.identifier),
        conversion_copy.content(conversion, member, member.working.identifier),
        conversion_copy.versions(member.identifier),
    )
    return Part("verify", VERIFY, member.identifier, statements, member.oid)


def _afterwards(conversion: Conversion) -> list[Part]:
    root = conversion.root
    found = []
    for each in conversion.dependents:
        for statement in each.afterwards:
            found.append(Part("afterwards", RUN, SQL(each.name), (SQL(statement),), root.oid))
    for member in conversion.members:
        found.append(Part("afterwards", MOVE, member.identifier, (_move_statement(member),), member.oid))
    for member, index in global_indexes(conversion):
        found.append(_global_index(member, index))
    for key in conversion.outside:
        side = side_table(conversion, key.parent, key.parent_columns)
        if side is not None:
            found.append(Part("afterwards", RUN, SQL(key.child_text), (outside_key(key, side),), key.parent))
    sync = compose("CALL dp.sync({}::regclass)", Literal(root.identifier.text))
    found.append(Part("afterwards", SYNC, root.identifier, (sync,), root.oid))
    schemas = dict.fromkeys(working_schema(member.structure.schema) for member in conversion.members)
    dropped = tuple(compose("DROP SCHEMA {}", Identifier(schema)) for schema in schemas)
    found.append(Part("afterwards", RUN, root.identifier, dropped, root.oid))
    return found


def _move_statement(member: Member) -> SQL:
    """The partitions of a new table follow it with their statistics objects, each in a transaction of its own."""
    block = compose(
        "DECLARE each text; BEGIN FOR each IN"
        " SELECT format('TABLE %s', c.oid::regclass) FROM pg_partition_tree({table}::regclass) AS t"
        " JOIN pg_class AS c ON c.oid = t.relid WHERE c.relnamespace = {working}::regnamespace"
        " UNION ALL SELECT format('STATISTICS %s.%I', {working}, s.stxname) FROM pg_statistic_ext AS s"
        " JOIN pg_partition_tree({table}::regclass) AS t ON t.relid = s.stxrelid"
        " WHERE s.stxnamespace = {working}::regnamespace"
        " LOOP EXECUTE format('ALTER %s SET SCHEMA %I', each, {schema}); COMMIT; END LOOP; END",
        table=Literal(member.identifier.text),
        working=Literal(Identifier(member.working.schema).text),
        schema=Literal(member.structure.schema),
    )
    return compose("DO {}", Literal(block.text))


def global_indexes(conversion: Conversion) -> list[tuple[Member, Index]]:
    """The unique rules that hold over all partitions through global indexes."""
    if conversion.is_back:
        return []
    if conversion.allow_weaker_unique:
        return _needed_outside(conversion)
    return [
        (member, index)
        for member in conversion.members
        for index in weakened(conversion, member)
        if is_kept(member, index)
    ]


def _needed_outside(conversion: Conversion) -> list[tuple[Member, Index]]:
    """Where weaker rules are accepted: still those to which tables outside refer."""
    found = []
    for member in conversion.members:
        wanted = {key.parent_columns for key in conversion.outside if key.parent == member.oid}
        for index in weakened(conversion, member):
            if index.columns in wanted and is_kept(member, index):
                found.append((member, index))
                wanted.discard(index.columns)
    return found


def _global_index(member: Member, index: Index) -> Part:
    columns = tuple(column for column in index.columns if column is not None)
    predicate = member.facts.predicates.get(index.name)
    name = side_name(member, columns)
    arguments = {"columns": list(columns), "predicate": predicate, "index_name": name}
    call = compose(
        "CALL dp.create_global_index_online({}::regclass, {}, true, {}, {})",
        Literal(member.identifier.text),
        name_array(columns),
        Literal(predicate),
        Literal(name),
    )
    return Part("afterwards", GLOBAL_INDEX, member.identifier, (call,), member.oid, arguments=json.dumps(arguments))


def side_name(member: Member, columns: tuple[str, ...]) -> str:
    """The name of the side table of a global index that a conversion makes."""
    return naming.derived_name(naming.shorten(f"{member.structure.name}_{'_'.join(columns)}", 50), "global")


def side_table(conversion: Conversion, parent: int, columns: tuple[str, ...]) -> Identifier | None:
    """To which side table a foreign key from outside can point."""
    for member, index in global_indexes(conversion):
        same = tuple(sorted(columns)) == tuple(sorted(str(column) for column in index.columns))
        if member.oid == parent and same and index.name not in member.facts.predicates:
            return Identifier(member.structure.schema, side_name(member, tuple(str(c) for c in index.columns)))
    return None


def outside_key(key: ForeignKey, side: Identifier) -> SQL:
    """A foreign key of another table, made again to what holds its columns."""
    action = SQL(ACTIONS[key.on_delete])
    if key.delete_columns:
        action = compose("{} ({})", action, names(key.delete_columns))
    deferral = " DEFERRABLE" if key.is_deferrable else ""
    clause = compose(
        "FOREIGN KEY ({}) REFERENCES {} ({}) ON UPDATE {} ON DELETE {}{}",
        names(key.columns),
        side,
        names(key.parent_columns),
        SQL(ACTIONS[key.on_update]),
        action,
        SQL(deferral + (" INITIALLY DEFERRED" if key.is_deferred else "")),
    )
    return add_constraint(SQL(key.child_text), key.name, clause)


def recorded_statements(conversion: Conversion) -> list[SQL]:
    """What dp's configuration says of a conversion that is at its end."""

    def kept(member: Member) -> Literal:
        return Literal(Identifier(kept_schema(member.structure.schema), member.structure.name).text)

    root = conversion.root
    found = [
        compose(
            "INSERT INTO dp.conversion_config (root, hierarchy, state)"
            " VALUES ({}::regclass, {}::regclass, 'converted')",
            kept(root),
            Literal(root.identifier.text),
        )
    ]
    for position, member in enumerate(conversion.members):
        found.append(
            compose(
                "INSERT INTO dp.conversion_table (root, plain, converted, position)"
                " VALUES ({}::regclass, {}::regclass, {}::regclass, {})",
                kept(root),
                kept(member),
                Literal(member.identifier.text),
                Literal(position),
            )
        )
    return found
''','plan.conversion_switch': r'''"""The statements that put new tables in the place of plain ones, in one transaction."""

from __future__ import annotations

from .. import naming
from ..sql import SQL, Composable, Identifier, Literal, compose
from .conversion import Conversion, Member, kept_schema
from .remake import comment_statements, publication_statements, rule_statements
from .row_policy import policy_statement
from .structure import ENABLED_WORDS, Sequence


def lock_statement(conversion: Conversion) -> SQL:
    """Nobody reads or writes the plain tables while they are exchanged."""
    only = "ONLY " if conversion.is_back else ""  # partitions are reached by their tables alone
    listed = ", ".join(f"{only}{member.identifier}" for member in conversion.members)
    return compose("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", SQL(listed))


def switch_statements(conversion: Conversion) -> list[SQL]:
    """Everything that happens between the plain tables being the tables and the new ones being them."""
    found = [SQL(each.drop) for each in reversed(conversion.dependents) if each.drop is not None]
    found += [
        compose("ALTER TABLE {} DROP CONSTRAINT {}", SQL(key.child_text), Identifier(key.name))
        for key in conversion.outside
    ]
    schemas = dict.fromkeys(member.structure.schema for member in conversion.members)
    found += [compose("CREATE SCHEMA {}", Identifier(kept_schema(schema))) for schema in schemas]
    for member in conversion.members:
        found += _put_away(member)
    for member in conversion.members:
        found += _put_in_place(conversion, member)
    for member in conversion.members:
        found += _given_back(conversion, member)
    found += [SQL(statement) for each in conversion.dependents for statement in each.create]
    return found


def _put_away(member: Member) -> list[SQL]:
    structure = member.structure
    kept = Identifier(kept_schema(structure.schema))
    found = [
        compose("ALTER PUBLICATION {} DROP TABLE {}", Identifier(each.name), member.identifier)
        for each in structure.publications
    ]
    found += [
        compose("ALTER SEQUENCE {} OWNED BY NONE", Identifier(sequence.schema, sequence.name))
        for sequence in structure.sequences
        if not sequence.is_identity
    ]
    found += [
        compose("ALTER STATISTICS {} SET SCHEMA {}", Identifier(each.schema, each.name), kept)
        for each in structure.statistics
    ]
    found.append(compose("ALTER TABLE {} SET SCHEMA {}", member.identifier, kept))
    return found


def _put_in_place(conversion: Conversion, member: Member) -> list[SQL]:
    structure, working, settings = member.structure, member.working, conversion.settings
    schema = Identifier(structure.schema)
    found = [compose("ALTER TABLE {} SET SCHEMA {}", working.identifier, schema)]
    if not conversion.is_back:
        template = Identifier(working.schema, naming.template_name(structure.name))
        found.append(compose("ALTER TABLE {} SET SCHEMA {}", template, schema))
    if member.is_root and settings.slice_key is not None and not conversion.is_back:
        function = Identifier(working.schema, naming.derived_name(structure.name, "set_slice_key"))
        found.append(compose("ALTER FUNCTION {}() SET SCHEMA {}", function, schema))
    for each in structure.statistics:
        found.append(
            compose("ALTER STATISTICS {} SET SCHEMA {}", Identifier(working.schema, each.name), Identifier(each.schema))
        )
    for sequence in structure.sequences:
        found += _sequence(member, sequence)
    return found


def _sequence(member: Member, sequence: Sequence) -> list[SQL]:
    column = compose("{}.{}", member.identifier, Identifier(sequence.column))
    if not sequence.is_identity:
        owned = compose("ALTER SEQUENCE {} OWNED BY {}", Identifier(sequence.schema, sequence.name), column)
        return [owned]
    holder = compose("pg_get_serial_sequence({}, {})", Literal(member.identifier.text), Literal(sequence.column))
    kept = Identifier(kept_schema(sequence.schema), sequence.name)
    name = Identifier(sequence.schema, sequence.name)
    found = [
        compose("SELECT dp._rename_sequence({}, {})", holder, Literal(sequence.name)),
        compose("SELECT setval({}, k.last_value, k.is_called) FROM {} AS k", holder, kept),
    ]
    for grant in sequence.grants:
        grantee: Composable = SQL("PUBLIC") if grant.grantee is None else Identifier(grant.grantee)
        option = SQL(" WITH GRANT OPTION" if grant.is_grantable else "")
        found.append(compose("GRANT {} ON SEQUENCE {} TO {}{}", SQL(grant.privilege), name, grantee, option))
    if sequence.comment is not None:
        found.append(compose("COMMENT ON SEQUENCE {} IS {}", name, Literal(sequence.comment)))
    return found


def _given_back(conversion: Conversion, member: Member) -> list[SQL]:
    """What may refer to other tables by name, and would have meant the plain ones before."""
    found = rule_statements(member.structure)
    if member.properties.row_security:
        found.append(compose("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", member.identifier))
    found += [policy_statement(policy, member.identifier) for policy in member.properties.policies]
    found += publication_statements(member.structure, conversion.keys)
    return found + comment_statements(member.structure)


def trigger_statements(member: Member) -> list[SQL]:
    """The triggers of a table for the new one, while that is in its schema of its own."""
    found = []
    for trigger in member.structure.triggers:
        found.append(SQL(retargeted(trigger.definition, member.facts.text, member.working.identifier.text)))
        if trigger.enabled != "O":
            found.append(
                compose(
                    "ALTER TABLE {} {} TRIGGER {}",
                    member.working.identifier,
                    SQL(ENABLED_WORDS[trigger.enabled]),
                    Identifier(trigger.name),
                )
            )
    return found


def retargeted(definition: str, old: str, new: str) -> str:
    """A statement ``CREATE ... ON old ...`` about another table; names in quotes may say the same."""
    wanted = f" ON {old} "
    is_quoted = False
    for position, character in enumerate(definition):
        if not is_quoted and definition.startswith(wanted, position):
            return f"{definition[:position]} ON {new} {definition[position + len(wanted) :]}"
        if character == '"':
            is_quoted = not is_quoted
    raise ValueError(f"{definition!r} is not about {old}")
''','plan.coverage': r'''"""Which slices there shall be, and which of them are missing."""

from __future__ import annotations

import datetime

from .. import calendars, errors, naming
from ..calendars import Width
from ..model import Edge, Hierarchy, Slice, SliceSpec, Table

MAX_SLICES_PER_CALL = 20_000
DEFAULT_SUFFIX = "default"

Span = tuple[Edge, Edge]


def calendar_moments(lower: datetime.datetime, upper: datetime.datetime, width: Width) -> list[datetime.datetime]:
    """Where the aligned slices that cover [lower, upper) begin, and the end of the last."""
    start = calendars.align(lower, width)
    _check_count((upper - start).days // max(width.in_days or width.in_months * 28, 1))
    found = [start]
    while found[-1] < upper:
        found.append(calendars.advance(found[-1], width))
    return found


def integer_points(lower: int, upper: int, width: Width) -> list[int]:
    """The same for integer keys."""
    start = lower - lower % width.number
    _check_count((upper - start) // width.number)
    return list(range(start, upper + (start - upper) % width.number + 1, width.number))


def _check_count(count: int) -> None:
    if count > MAX_SLICES_PER_CALL:
        raise errors.InvalidParameter(
            f"the range would be cut into about {count} slices",
            f"One call creates at most {MAX_SLICES_PER_CALL} slices, because every one costs planning time and locks.",
            "Check the bounds, or choose a wider slice.",
        )


def spans(edges: list[Edge]) -> list[Span]:
    """Neighbouring edges as spans."""
    return list(zip(edges, edges[1:]))


def uncovered(candidates: list[Span], existing: tuple[Slice, ...]) -> list[Span]:
    """The parts of candidate spans that no existing slice covers."""
    found: list[Span] = []
    for lower, upper in candidates:
        position: Edge = lower
        for each in existing:
            if each.upper is not None and each.upper.point <= position.point:
                continue
            if each.lower is not None and each.lower.point >= upper.point:
                break
            if each.lower is not None and each.lower.point > position.point:
                found.append((position, each.lower))
            if each.upper is None:
                position = upper
                break
            position = each.upper
        if position.point < upper.point:
            found.append((position, upper))
    return found


def suffix(lower: Edge, upper: Edge) -> str:
    """What the names of a slice end with."""
    if lower.local is None or upper.local is None:
        return calendars.integer_suffix(lower.point)
    return calendars.suffix(lower.local, upper.local)


def spec_of(existing: Slice) -> SliceSpec | None:
    """An existing slice of the root as the pattern for its siblings."""
    if existing.is_default:
        return SliceSpec(None, None, existing.modulus, DEFAULT_SUFFIX)
    if existing.lower is None or existing.upper is None:
        return None  # unbounded: only adopted trees have such slices, and their siblings are the DBA's
    return SliceSpec(existing.lower, existing.upper, existing.modulus, suffix(existing.lower, existing.upper))


def hull(specs: list[SliceSpec]) -> SliceSpec:
    """One slice from the lowest to the highest bound of some."""
    lowers = [spec.lower for spec in specs if spec.lower is not None]
    uppers = [spec.upper for spec in specs if spec.upper is not None]
    return SliceSpec(min(lowers), max(uppers), 0, "")


def wanted(hierarchy: Hierarchy, new: list[SliceSpec]) -> list[SliceSpec]:
    """All slices that every table shall have: those of the root, and the new ones."""
    root = hierarchy.root
    found = list(new)
    for each in hierarchy.slices[root.oid]:
        spec = spec_of(each)
        if spec is not None:  # siblings are named alike, also where a clock change blurs what the bounds say
            found.append(spec._replace(suffix=naming.slice_suffix(root.name, each.name) or spec.suffix))
    return sorted(found, key=lambda spec: (spec.lower is not None, spec.lower.point if spec.lower else 0))


def missing_in(hierarchy: Hierarchy, table: Table, specs: list[SliceSpec]) -> list[SliceSpec]:
    """The slices that one table lacks."""
    have = {each.span for each in hierarchy.slices[table.oid]}
    return [spec for spec in specs if spec.span not in have]


def has_room(hierarchy: Hierarchy, table: Table, spec: SliceSpec) -> bool:
    """Whether none of a table's slices overlaps one that it lacks: a sibling may have other bounds."""
    if spec.lower is None or spec.upper is None:
        return True
    return uncovered([(spec.lower, spec.upper)], hierarchy.range_slices(table)) == [(spec.lower, spec.upper)]
''','plan.declare': r'''"""The statements that declare hierarchies, children and references."""

from __future__ import annotations

from typing import NamedTuple

from .. import errors, keys, naming
from ..calendars import Width
from ..model import REFERENCE, ROOT, ForeignKey, Hierarchy, Policy, Table
from ..sql import SQL, Identifier, Literal, assignments, comma_list, compose, names
from . import foreign_keys, slice_form
from .properties import Properties, column_statements, storage_clause
from .remakable import check_can_be_remade
from .remake import guard_statements, remake_statements
from .structure import Column, Structure, add_constraint
from .unique import check_unique_rules


class Settings(NamedTuple):
    """The checked parameters of create_hierarchy."""

    range_column: Column
    range_type: str
    hash_column: Column | None
    key_form: str
    slice_key: str | None
    bucket: Width | None
    width: Width
    hash_partitions: int
    premake: int
    start: str | None
    retention: str | None
    retention_action: str
    retention_schema: str | None
    time_zone: str
    default_slice: bool
    lock_timeout: str

    @property
    def partition_column(self) -> str:
        """The first-level partition column."""
        return self.slice_key if self.slice_key is not None else self.range_column.name

    @property
    def partition_keys(self) -> tuple[str, ...]:
        """The columns that every table carries."""
        return (self.partition_column,) + ((self.hash_column.name,) if self.hash_column else ())


def as_table(structure: Structure, role: str, partition_column: str) -> Table:
    """A table as it will be, for plans that are made before it is."""
    template = naming.template_name(structure.name)
    return Table(
        structure.oid,
        structure.schema,
        structure.name,
        structure.owner,
        role,
        "p",
        partition_column,
        None,
        None,
        structure.schema,
        template,
        len(structure.indexes) + 3,
        any(column.is_identity for column in structure.columns),
        objects_per_leaf=2 + len(structure.indexes) + 3 * (len(structure.foreign_keys) + 1),
    )


def is_remade(structure: Structure, partition_column: str) -> bool:
    """Whether a table must be made anew to be partitioned by RANGE of that column."""
    return not (
        structure.kind == "p"
        and structure.partition_strategy == "r"
        and structure.partition_columns == (partition_column,)
    )


def root_key_columns(settings: Settings) -> tuple[Column, ...]:
    """The key columns of a root, the slice key among them, as they shall be."""
    found = [settings.range_column]
    if settings.slice_key is not None:
        found.insert(0, Column(settings.slice_key, keys.slice_key_type(settings.range_type), None, True, False))
    if settings.hash_column is not None:
        found.append(settings.hash_column)
    return tuple(column._replace(is_not_null=True) for column in found)


def root_statements(
    structure: Structure, properties: Properties, settings: Settings, allow_weaker_unique: bool, version: int
) -> list[SQL]:
    """Give the root its form."""
    needed = root_key_columns(settings)
    partition_keys = settings.partition_keys
    found: list[SQL] = []
    if is_remade(structure, settings.partition_column):
        if settings.slice_key is not None:
            structure = slice_form.root(structure, settings.range_column.name, settings.slice_key)
        check_can_be_remade(structure, partition_keys, version)
        check_unique_rules(structure, partition_keys, [], allow_weaker_unique)
        own = [key for key in structure.foreign_keys if key.parent == structure.oid]
        kept = tuple(key.name for key in structure.foreign_keys if key.parent != structure.oid)
        for key in (*own, *structure.incoming):
            foreign_keys.check_pairs(key, partition_keys)
        found += guard_statements(structure, properties)
        found += foreign_keys.drop_incoming_statements(structure)
        found += remake_statements(structure, properties, settings.partition_column, needed, partition_keys, kept)
        found += [foreign_keys.self_reference(structure, key, partition_keys) for key in own]
        found += foreign_keys.remember_statements(list(structure.incoming))
    else:
        check_keys(structure, needed, partition_keys)
    if settings.slice_key is not None and settings.bucket is not None:
        found += slice_key_statements(structure, settings, settings.slice_key, settings.bucket)
    return found


def check_keys(structure: Structure, needed: tuple[Column, ...], partition_keys: tuple[str, ...]) -> None:
    """Check a table that is partitioned already: its key columns, and that its primary key contains them."""
    for column in needed:
        present = structure.column(column.name)
        if present is None:
            raise errors.UndefinedColumn(
                f'column "{column.name}" of {structure.identifier} does not exist',
                "Every table of a hierarchy carries the partition keys.",
                "Add the column, or let an empty plain table be made anew.",
            )
        if not present.is_alike(column):
            raise errors.DatatypeMismatch(
                f'column "{column.name}" of {structure.identifier} is {present.declaration}, not {column.declaration}',
                "Keys of another type or collation turn partition-wise joins off.",
                "Declare the column as it is in the root.",
            )
        if not present.is_not_null:
            raise errors.InvalidTableDefinition(
                f'column "{column.name}" of {structure.identifier} is nullable',
                "A partition key is known of every row.",
                "Declare the column NOT NULL.",
            )
    primary = structure.primary_key
    if primary is not None and not set(partition_keys) <= set(primary.columns):
        raise errors.InvalidTableDefinition(
            f"the primary key of {structure.identifier} does not contain the partition keys",
            f"They are {names(partition_keys)}; foreign keys inside the hierarchy point to them.",
            'Declare the primary key with them, for example ("Id", keys).',
        )


def slice_key_statements(structure: Structure, settings: Settings, slice_key: str, bucket: Width) -> list[SQL]:
    """What keeps the slice key true: default, CHECK, and the trigger that sets it when the range key changes."""
    table = structure.identifier
    range_key, zone = settings.range_column.name, settings.time_zone
    found = []
    if keys.is_calendar(settings.range_type):
        default = keys.bucket_expression(SQL("now()"), "timestamp with time zone", bucket, zone)
        found.append(compose("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}", table, Identifier(slice_key), default))
    value = keys.bucket_expression(Identifier(range_key), settings.range_type, bucket, zone)
    check = compose("CHECK ({} = {})", Identifier(slice_key), value)
    check_name = naming.derived_name(structure.name, "slice_key_check")
    if check_name in structure.checks:  # declared before, and forgotten; perhaps with another bucket
        found.append(compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(check_name)))
    found.append(add_constraint(table, check_name, check))
    return found + slice_key_trigger(
        structure.schema, structure.name, (slice_key, range_key), settings.range_type, bucket, zone
    )


def slice_key_trigger(
    schema: str, table: str, columns: tuple[str, str], range_type: str, bucket: Width, time_zone: str
) -> list[SQL]:
    """The trigger that gives the slice key its value when the range key changes, and its function."""
    slice_key, range_key = columns
    name = naming.derived_name(table, "set_slice_key")
    function = Identifier(schema, name)
    value = keys.bucket_expression(compose("NEW.{}", Identifier(range_key)), range_type, bucket, time_zone)
    body = compose("BEGIN NEW.{} := {}; RETURN NEW; END", Identifier(slice_key), value)
    return [
        compose(
            "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql"
            " SET search_path = pg_catalog, pg_temp AS {}",
            function,
            Literal(body.text),
        ),
        compose(
            "CREATE OR REPLACE TRIGGER {} BEFORE UPDATE OF {} ON {} FOR EACH ROW EXECUTE FUNCTION {}()",
            Identifier(name),
            Identifier(range_key),
            Identifier(schema, table),
            function,
        ),
    ]


def template_statements(structure: Structure, properties: Properties) -> list[SQL]:
    """Make the template; what a plain table had that the parent cannot hold goes there."""
    template = Identifier(structure.schema, naming.template_name(structure.name))
    found = [
        compose(
            "CREATE {}TABLE {} (LIKE {} INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION)",
            SQL("UNLOGGED " if properties.is_unlogged else ""),
            template,
            structure.identifier,
        )
    ]
    if properties.options:
        found.append(compose("ALTER TABLE {} SET ({})", template, storage_clause(properties.options)))
    found += column_statements(properties, template)
    text = f"Template of {structure.identifier}: new leaves get its storage parameters, statistics targets and indexes."
    found.append(compose("COMMENT ON TABLE {} IS {}", template, Literal(text)))
    return found


def configuration_statements(structure: Structure, settings: Settings) -> list[SQL]:
    """The rows of dp.hierarchy_config and dp.table_config."""
    values: dict[str, str | int | bool | None] = {
        "range_key": settings.range_column.name,
        "hash_key": settings.hash_column.name if settings.hash_column else None,
        "key_form": settings.key_form,
        "slice_key": settings.slice_key,
        "bucket": str(settings.bucket) if settings.bucket else None,
        "slice": str(settings.width),
        "hash_partitions": settings.hash_partitions,
        "premake": settings.premake,
        "start": settings.start,
        "retention": settings.retention,
        "retention_action": settings.retention_action,
        "retention_schema": settings.retention_schema,
        "time_zone": settings.time_zone,
        "default_slice": settings.default_slice,
        "lock_timeout": settings.lock_timeout,
    }
    insert = compose(
        "INSERT INTO dp.hierarchy_config (root, {}) VALUES ({}::regclass, {})",
        names(list(values)),
        Literal(structure.identifier.text),
        comma_list([Literal(value) for value in values.values()]),
    )
    return [insert, table_statement(structure, structure.identifier, ROOT)]


def table_statement(structure: Structure, root: Identifier, role: str) -> SQL:
    """A row of dp.table_config."""
    template = compose("{}::regclass", Literal(Identifier(structure.schema, naming.template_name(structure.name)).text))
    return compose(
        "INSERT INTO dp.table_config (tbl, root, role, template) VALUES ({}::regclass, {}::regclass, {}, {})",
        Literal(structure.identifier.text),
        Literal(root.text),
        Literal(role),
        template if role != REFERENCE else SQL("NULL"),
    )


def new_template_statement(structure: Structure) -> SQL:
    """The row of dp.table_config names the template that was made anew."""
    return compose(
        "UPDATE dp.table_config SET template = {}::regclass WHERE tbl = {}::regclass AND role <> {}",
        Literal(Identifier(structure.schema, naming.template_name(structure.name)).text),
        Literal(structure.identifier.text),
        Literal(REFERENCE),
    )


def child_statements(
    structure: Structure,
    properties: Properties,
    policy: Policy,
    key_columns: tuple[Column, ...],
    inside: list[ForeignKey],
    pending: list[ForeignKey],
) -> list[SQL]:
    """Make a child anew."""
    own = {key.name for key in inside if key.child == structure.oid}
    kept = tuple(key.name for key in structure.foreign_keys if key.name not in own)
    found = guard_statements(structure, properties)
    found += foreign_keys.drop_incoming_statements(structure)
    dropped = slice_form.carried_range_key(structure, policy)
    found += remake_statements(
        structure, properties, policy.partition_column, key_columns, policy.partition_keys, kept, dropped
    )
    again = {(key.child, key.name) for key in inside}
    remembered = [key for key in [*structure.incoming, *pending] if (key.child, key.name) not in again]
    return found + foreign_keys.remember_statements(remembered)


def check_child(
    structure: Structure, policy: Policy, inside: list[ForeignKey], allow_weaker_unique: bool, version: int
) -> None:
    """Refuse a child that cannot be made anew."""
    partition_keys = policy.partition_keys
    check_can_be_remade(structure, partition_keys, version)
    own = [key for key in inside if key.child == structure.oid]
    parent_keys = [tuple(column for column in key.columns if column not in partition_keys) for key in own]
    check_unique_rules(structure, partition_keys, parent_keys, allow_weaker_unique)


def configure_statement(root: Table, changes: dict[str, str | int | bool | None]) -> SQL:
    """UPDATE of the configuration."""
    return compose(
        "UPDATE dp.hierarchy_config SET {} WHERE root = {}::regclass",
        assignments({name: Literal(value) for name, value in changes.items()}),
        Literal(root.identifier.text),
    )


def forget_statements(hierarchy: Hierarchy) -> list[SQL]:
    """Drop the configuration and the templates; the tables stay."""
    found = [
        compose("DELETE FROM dp.hierarchy_config WHERE root = {}::regclass", Literal(hierarchy.root.identifier.text))
    ]
    for table in hierarchy.tables:
        if table.template is not None:
            found.append(compose("DROP TABLE {}", table.template))
    return found
''','plan.default_slice': r'''"""The default slice: keeping new slices from scanning it, and moving its rows out."""

from __future__ import annotations

from typing import NamedTuple

from .. import keys, naming
from ..model import Hierarchy, Slice, SliceSpec, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, names
from . import slices as plan_slices
from . import trees
from .properties import Properties
from .structure import ENABLED_WORDS

EXCLUDES = "dp_excludes_"


class DefaultFacts(NamedTuple):
    """What must be known of a table's default slice before its rows are moved."""

    columns: tuple[str, ...]  # that can be inserted
    triggers: tuple[tuple[Identifier, str, str], ...]  # the users' enabled triggers: slice or leaf, name, how enabled
    exclusions: tuple[tuple[str, bool], ...]  # CHECKs of ours: name, valid
    forces_row_security: bool


def condition(table: Table, spec: SliceSpec) -> SQL:
    """``"ContentUpdatedAt" >= ... AND "ContentUpdatedAt" < ...``."""
    assert spec.lower is not None and spec.upper is not None
    key_type = str(table.partition_type)
    return compose(
        "{key} >= {lower} AND {key} < {upper}",
        key=Identifier(str(table.partition_column)),
        lower=keys.typed_literal(spec.lower.point, key_type),
        upper=keys.typed_literal(spec.upper.point, key_type),
    )


def exclusion_name(spec: SliceSpec) -> str:
    """The name of the CHECK that says a default slice has no rows of a range."""
    return naming.shorten(EXCLUDES + spec.suffix, naming.MAX_BYTES)


def exclusion_steps(hierarchy: Hierarchy, spec: SliceSpec, facts: dict[int, DefaultFacts]) -> list[Step]:
    """Say and prove, before a slice is created, that the default slices hold nothing of it.

    The proof reads the default slice without blocking writers, and PostgreSQL then need not read it under the ACCESS
    EXCLUSIVE lock under which it attaches the slice.
    """
    steps = []
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is None:
            continue
        name = exclusion_name(spec)
        valid = dict(facts[table.oid].exclusions).get(name)
        key = Identifier(str(table.partition_column))
        assert spec.lower is not None and spec.upper is not None
        check = compose(
            "CHECK ({key} < {lower} OR {key} >= {upper}) NOT VALID",
            key=key,
            lower=keys.typed_literal(spec.lower.point, str(table.partition_type)),
            upper=keys.typed_literal(spec.upper.point, str(table.partition_type)),
        )
        if valid is None:
            add = compose("ALTER TABLE {} ADD CONSTRAINT {} {}", default.identifier, Identifier(name), check)
            steps.append(_default_step(default, add, ACCESS_EXCLUSIVE))
        if not valid:
            validate = compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", default.identifier, Identifier(name))
            steps.append(_default_step(default, validate, SHARE_UPDATE_EXCLUSIVE))
    return steps


def exclusion_end_steps(hierarchy: Hierarchy, spec: SliceSpec) -> list[Step]:
    """The slice exists, so that the default slice's own bound says the same: the CHECK can go."""
    return [
        _drop_exclusion(default, exclusion_name(spec))
        for default in (hierarchy.default_slice(table) for table in hierarchy.tables)
        if default is not None
    ]


def leftover_steps(hierarchy: Hierarchy, specs: list[SliceSpec], facts: dict[int, DefaultFacts]) -> list[Step]:
    """CHECKs of a call that was interrupted, for slices that are not about to be created."""
    needed = {exclusion_name(spec) for spec in specs if not spec.is_default}
    steps = []
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None:
            steps += [_drop_exclusion(default, name) for name, _ in facts[table.oid].exclusions if name not in needed]
    return steps


def _drop_exclusion(default: Slice, name: str) -> Step:
    drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", default.identifier, Identifier(name))
    return _default_step(default, drop, ACCESS_EXCLUSIVE)


def _default_step(default: Slice, statement: Composable, lock: str) -> Step:
    locks = 2 * (1 + len(default.remainders))
    return Step((Operation(default.identifier, statement, lock, (default.oid,), locks),))


def drain_step(
    hierarchy: Hierarchy,
    spec: SliceSpec,
    tables: list[Table],
    properties: dict[int, Properties],
    facts: dict[int, DefaultFacts],
) -> Step:
    """Move the rows of one slice out of some tables' default slices, in one transaction.

    Until it commits, every row is where it was; afterwards, where it belongs. Children's rows leave first, so that no
    foreign key acts; then the filled slices are attached, the root's first, which checks their foreign keys. Triggers
    of users do not fire: no row changes, it only lives elsewhere.

    Whoever waits must wait for the parent, not for its default slice: a statement that has locked the parent knows its
    partitions, and would not look into the new one when it goes on. So writers are kept out by a lock on the parents
    while rows move, and readers while slices are attached.
    """
    present = [(table, default) for table, default in _defaults(hierarchy) if table in tables]
    operations: list[Operation] = []
    for table, _ in present:
        operations += plan_slices.aside_operations(hierarchy, table, properties[table.oid], spec)
    forced = any(facts[table.oid].forces_row_security for table, _ in present)  # to end that locks out readers
    operations.append(_lock_parents(present, ACCESS_EXCLUSIVE if forced else SHARE_ROW_EXCLUSIVE))
    operations.append(_lock_defaults(present))
    # the events of deferred foreign keys would stand in the way of what follows
    operations.append(Operation(present[0][1].identifier, SQL("SET CONSTRAINTS ALL IMMEDIATE"), locks=0))
    for table, default in present:
        operations += _quiet(table, default, spec, facts[table.oid], properties[table.oid], True)
    for table, default in reversed(present):
        operations.append(_move(table, default, spec, facts[table.oid]))
    if not forced:
        operations.append(_lock_parents(present, ACCESS_EXCLUSIVE))
    for table, default in present:
        operations += _quiet(table, default, spec, facts[table.oid], properties[table.oid], False)
    for table, default in present:
        operations += _attach(hierarchy, table, properties[table.oid], spec, default)
    return Step(tuple(operations), is_atomic=True)


def _defaults(hierarchy: Hierarchy) -> list[tuple[Table, Slice]]:
    found = [(table, hierarchy.default_slice(table)) for table in hierarchy.tables]
    return [(table, default) for table, default in found if default is not None]


def _lock_parents(present: list[tuple[Table, Slice]], lock: str) -> Operation:
    parents: list[SQL] = [compose("ONLY {}", table.identifier) for table, _ in present]
    statement = compose("LOCK TABLE {} IN {} MODE", comma_list(parents), SQL(lock))
    return Operation(present[0][0].identifier, statement, lock, tuple(table.oid for table, _ in present), len(present))


def _lock_defaults(present: list[tuple[Table, Slice]]) -> Operation:
    defaults = [default for _, default in present]
    statement = compose(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", comma_list([default.identifier for default in defaults])
    )
    cost = sum(1 + len(default.remainders) for default in defaults)
    return Operation(
        defaults[0].identifier, statement, SHARE_ROW_EXCLUSIVE, tuple(default.oid for default in defaults), cost
    )


def _move(table: Table, default: Slice, spec: SliceSpec, facts: DefaultFacts) -> Operation:
    aside = Identifier(table.schema, naming.slice_name(table.name, spec.suffix))
    statement = compose(
        "WITH moved AS (DELETE FROM {default} WHERE {condition} RETURNING {columns})"
        " INSERT INTO {aside} ({columns}) SELECT {columns} FROM moved",
        default=default.identifier,
        condition=condition(table, spec),
        columns=names(facts.columns),
        aside=aside,
    )
    return Operation(default.identifier, statement, SHARE_ROW_EXCLUSIVE, (), (1 + len(default.remainders)) * 4)


def _attach(
    hierarchy: Hierarchy, table: Table, properties: Properties, spec: SliceSpec, default: Slice
) -> list[Operation]:
    name = naming.slice_name(table.name, spec.suffix)
    identifier = Identifier(table.schema, name)
    attach = compose(
        "ALTER TABLE {} ATTACH PARTITION {} {}",
        table.identifier,
        identifier,
        plan_slices.bounds_clause(spec, str(table.partition_type)),
    )
    locks, locked = trees.attaching(hierarchy, table, 1 + spec.modulus)
    operations = [Operation(identifier, attach, ACCESS_EXCLUSIVE, (default.oid,), locks, locked)]
    operations += plan_slices.identity_operations(table, identifier, spec.modulus)
    leaves = naming.leaf_names(name, spec.modulus) or [name]
    operations += plan_slices.replica_identity_operations(table, properties, leaves)
    operations += plan_slices.index_name_operations(properties, identifier)
    return operations + plan_slices.guard_operations(table, name, naming.leaf_names(name, spec.modulus))


def _quiet(
    table: Table, default: Slice, spec: SliceSpec, facts: DefaultFacts, properties: Properties, begin: bool
) -> list[Operation]:
    """Keep the users' triggers and forced row security away from rows that only move, and put them back."""
    statements = [
        compose(
            "ALTER TABLE ONLY {} {} TRIGGER {}",
            relation,
            SQL("DISABLE" if begin else ENABLED_WORDS[enabled]),
            Identifier(name),
        )
        for relation, name, enabled in facts.triggers
    ]
    aside = Identifier(table.schema, naming.slice_name(table.name, spec.suffix))
    forced = ((default.identifier, facts.forces_row_security), (aside, properties.force_row_security))
    statements += [
        compose("ALTER TABLE {} {}FORCE ROW LEVEL SECURITY", relation, SQL("NO " if begin else ""))
        for relation, is_forced in forced
        if is_forced
    ]
    return [Operation(default.identifier, statement, SHARE_ROW_EXCLUSIVE) for statement in statements]


def days_query(table: Table, default: Slice, time_zone: str, step: int) -> SQL:
    """Which days (or integer steps) a default slice has rows of; a careful cast keeps wild values text."""
    key = Identifier(str(table.partition_column))
    key_type = str(table.partition_type)
    if keys.is_integer(key_type):
        bucket: Composable = compose("floor({}::numeric / {}) * {}", key, Literal(step), Literal(step))
    elif key_type == "date":
        bucket = key
    else:
        bucket = keys.bucket_expression(key, key_type, keys.DAY, time_zone)
    text = "({})::text" if keys.is_integer(key_type) else "to_char({}, 'YYYY-MM-DD BC')"  # whatever DateStyle there is
    return compose("SELECT DISTINCT {} AS bucket FROM {}", compose(text, bucket), default.identifier)
''','plan.detached': r'''"""Slices that were detached: what is remembered of them, and attaching or dropping them."""

from __future__ import annotations

from typing import NamedTuple

from .. import keys
from ..model import Edge, Hierarchy, Slice, SliceSpec, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, Literal, compose
from . import coverage, global_index, trees
from . import slices as plan_slices

INDEX_LOCKS = 20  # of a global index: the side table with its key, or the partitions that it has itself


class DetachedSlice(NamedTuple):
    """A slice that was detached: by a call, which remembers it, or by hand."""

    table: int
    schema: str
    name: str
    leaves: tuple[str, ...]
    lower_bound: str  # as in FOR VALUES FROM (...), quotes included
    upper_bound: str
    lower_point: int | None
    upper_point: int | None
    lower_local: str | None = None  # what a call names it by: a date, or a timestamp, in the hierarchy's time zone
    foreign_keys: tuple[str, ...] = ()  # to tables of the hierarchy, which it has when somebody else detached it
    is_remembered: bool = True  # whether dp.detached_slice names it

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    @property
    def lower_name(self) -> str:
        """What a call names it by."""
        return self.lower_local or self.lower_bound.strip("'")

    def overlaps(self, span: coverage.Span) -> bool:
        """Whether it would stand in the way of a slice."""
        begins = self.lower_point is None or self.lower_point < span[1].point
        return begins and (self.upper_point is None or span[0].point < self.upper_point)


def remember_statement(hierarchy: Hierarchy, table: Table, each: Slice) -> SQL:
    """Keep the bounds of a detached slice, which the catalog forgets."""
    spec = coverage.spec_of(each)
    lower = keys.literal(spec.lower.point, str(table.partition_type)) if spec and spec.lower else SQL("MINVALUE")
    upper = keys.literal(spec.upper.point, str(table.partition_type)) if spec and spec.upper else SQL("MAXVALUE")
    return compose(
        "INSERT INTO dp.detached_slice (slice, root, tbl, lower_bound, upper_bound) VALUES ({}::regclass, {}::regclass,"
        " {}::regclass, {}, {})",
        Literal(each.identifier.text),
        Literal(hierarchy.root.identifier.text),
        Literal(table.identifier.text),
        Literal(lower.text),
        Literal(upper.text),
    )


def spec_of(detached: DetachedSlice) -> SliceSpec | None:
    """A detached slice as what it will be again; None where it was unbounded."""
    if detached.lower_point is None or detached.upper_point is None:
        return None
    return SliceSpec(Edge(detached.lower_point), Edge(detached.upper_point), len(detached.leaves), detached.name)


def drop_detached_step(hierarchy: Hierarchy, detached: list[DetachedSlice]) -> Step:
    """Drop a slice that was detached before."""
    operations = []
    for each in reversed(detached):
        locks = trees.dropping(hierarchy.table(each.table), 1 + len(each.leaves))
        operations.append(Operation(each.identifier, compose("DROP TABLE {}", each.identifier), locks=locks))
    return Step(tuple(operations))


def attach_step(hierarchy: Hierarchy, detached: list[DetachedSlice]) -> Step:
    """Attach a detached slice to every table again, referenced tables first; its foreign keys are checked anew."""
    by_table = {each.table: each for each in detached}
    operations: list[Operation] = []
    for table in hierarchy.tables:
        each = by_table.get(table.oid)
        if each is None:
            continue
        identifier = Identifier(table.schema, each.name)
        operations += _let_go_operations(hierarchy, table, each)
        if each.schema != table.schema:
            for name in (each.name, *each.leaves):
                move = compose("ALTER TABLE {} SET SCHEMA {}", Identifier(each.schema, name), Identifier(table.schema))
                operations.append(Operation(Identifier(each.schema, name), move, locks=table.relations_per_leaf))
        attach = compose(
            "ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})",
            table.identifier,
            identifier,
            SQL(each.lower_bound),
            SQL(each.upper_bound),
        )
        locks, locked = trees.attaching(hierarchy, table, 1 + len(each.leaves))
        default = hierarchy.default_slice(table)
        default_lock = ((default.oid, ACCESS_EXCLUSIVE),) if default else ()
        operations.append(
            Operation(identifier, attach, SHARE_UPDATE_EXCLUSIVE, (table.oid,), locks, locked, default_lock)
        )
        operations += plan_slices.identity_operations(table, identifier, len(each.leaves))
        for index in table.global_indexes:
            operations.append(
                Operation(index.identifier, global_index.add_entries(index, identifier), locks=INDEX_LOCKS)
            )
        operations += plan_slices.guard_operations(table, each.name, list(each.leaves))
        if each.is_remembered:
            forget = compose("DELETE FROM dp.detached_slice WHERE slice = {}::regclass", Literal(identifier.text))
            operations.append(Operation(identifier, forget, locks=2))
    return Step(tuple(operations), any(table.global_indexes for table in hierarchy.tables))


def _let_go_operations(hierarchy: Hierarchy, table: Table, each: DetachedSlice) -> list[Operation]:
    """Foreign keys of its own: one that is there already would lock all that it refers to ACCESS EXCLUSIVE."""
    locks = trees.dropping_key(hierarchy, table, 1 + len(each.leaves))
    return [
        Operation(
            each.identifier,
            compose("ALTER TABLE {} DROP CONSTRAINT {}", each.identifier, Identifier(name)),
            locks=locks,
        )
        for name in each.foreign_keys
    ]


def attach_call(root: Identifier, each: DetachedSlice) -> str:
    """The call that attaches it again."""
    return f"SELECT dp.attach_slice({Literal(root.text)}, {Literal(each.lower_name)})"
''','plan.difference': r'''"""What is compared to find drift, and a difference as a value."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Table
from ..sql import SQL, Identifier
from .properties import Properties, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


# Who runs the statement of a difference: dp.sync, dp.sync when it may write all rows anew, or nobody but the DBA.
SYNC, REWRITE, HAND = "sync", "rewrite", "hand"
OWNER = "owner"  # the aspect that dp.check has a finding of its own for


class Partition(NamedTuple):
    """A slice or a leaf of a managed table, and what it has."""

    oid: int
    is_leaf: bool
    locks: int  # entries of the lock table that a statement takes which reaches all of it
    state: State


class Column(NamedTuple):
    """A column that differs between two relations; None where one of them lacks it."""

    relation: int
    aspect: str  # "column", "default", "not null", "column storage", "compression"
    name: str
    expected: str | None
    actual: str | None


class MissingIndex(NamedTuple):
    """A partition without its part of a partitioned index of its parent."""

    relation: int
    schema: str
    parent_index: str  # of the table or slice right above
    top_index: str  # of the managed table
    is_unique: bool
    definition: str  # behind the table's name
    constraint: str | None  # the index is a constraint's: as in pg_get_constraintdef

    @property
    def kind(self) -> tuple[bool, str]:
        """What makes an index of a leaf its part."""
        return (self.is_unique, self.definition)


class Trigger(NamedTuple):
    """A row trigger that is enabled otherwise than the parent's."""

    relation: int
    name: str
    expected: str  # ENABLE, DISABLE, ENABLE REPLICA, ENABLE ALWAYS
    actual: str


class Facts(NamedTuple):
    """What of one managed table is compared."""

    table: Table
    wanted: Properties
    partitions: tuple[Partition, ...]  # slices before their leaves
    columns: tuple[Column, ...]  # also of the template
    missing_indexes: tuple[MissingIndex, ...]
    triggers: tuple[Trigger, ...]


class Difference(NamedTuple):
    """One aspect of one relation that is not as it should be."""

    relation: Identifier
    aspect: str  # which of its properties
    part: str  # the column, policy, index, ... it is about; empty: the relation itself
    expected: str | None
    actual: str | None
    statements: tuple[SQL, ...]  # none: it needs a decision
    mended_by: str = SYNC

    @property
    def statement(self) -> str | None:
        """What mends it, as text."""
        return ";\n".join(each.text for each in self.statements) or None


def unequal(
    expected: Iterable[tuple[str, str]], actual: Iterable[tuple[str, str]]
) -> list[tuple[str, str | None, str | None]]:
    """Keys whose values differ, with both values."""
    wanted, present = dict(expected), dict(actual)
    keys = [*wanted, *(key for key in present if key not in wanted)]
    return [(key, wanted.get(key), present.get(key)) for key in keys if wanted.get(key) != present.get(key)]
''','plan.drift': r'''"""Where slices, leaves and templates differ from what parent and template say, and what brings them back.

What a new leaf is given stands in ``properties``; here the same properties are compared with what a relation has.
"""

from __future__ import annotations

from .. import naming
from ..operation import ACCESS_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, compose
from . import drift_access, drift_storage
from .difference import REWRITE, SYNC, Difference, Facts, MissingIndex, Partition
from .properties import State


def differences(facts: Facts) -> list[Difference]:
    """All of one managed table, its template's first, relation by relation."""
    found = _template(facts)
    for partition in facts.partitions:
        found += drift_access.differences(partition, facts.wanted)
        found += _columns(partition, facts)
        found += _triggers(partition, facts)
        found += _indexes(partition, facts)
        if partition.is_leaf and facts.table.template is not None:  # without it nothing says how leaves are stored
            found += drift_storage.differences(partition, facts.wanted)
    return found


def _template(facts: Facts) -> list[Difference]:
    """The template has the columns of its table."""
    template = facts.table.template
    if template is None:
        return []
    found = []
    for column in facts.columns:
        if column.relation != facts.table.template_oid:
            continue
        name = Identifier(column.name)
        if column.actual is None:
            action = compose("ADD COLUMN {} {}", name, SQL(str(column.expected)))
        elif column.expected is None:
            action = compose("DROP COLUMN {}", name)
        else:
            expected = SQL(column.expected)
            action = compose("ALTER COLUMN {} TYPE {} USING NULL", name, expected)
        statement = compose("ALTER TABLE {} {}", template, action)
        found.append(Difference(template, "column", column.name, column.expected, column.actual, (statement,)))
    return found


def _columns(partition: Partition, facts: Facts) -> list[Difference]:
    found = []
    relation = partition.state.identifier
    for column in facts.columns:
        if column.relation != partition.oid:
            continue
        name, expected = Identifier(column.name), SQL(column.expected or "")
        if column.aspect == "default":
            action = compose("SET DEFAULT {}", expected) if column.expected is not None else SQL("DROP DEFAULT")
        elif column.aspect == "not null":
            action = SQL("SET NOT NULL" if column.expected == "NOT NULL" else "DROP NOT NULL")
        elif column.aspect == "compression":
            action = compose("SET COMPRESSION {}", expected)
        else:
            action = compose("SET STORAGE {}", expected)
        statement = compose("ALTER TABLE {} ALTER COLUMN {} {}", relation, name, action)
        found.append(Difference(relation, column.aspect, column.name, column.expected, column.actual, (statement,)))
    return found


def _triggers(partition: Partition, facts: Facts) -> list[Difference]:
    relation = partition.state.identifier
    return [
        Difference(
            relation,
            "trigger",
            trigger.name,
            trigger.expected,
            trigger.actual,
            (compose("ALTER TABLE {} {} TRIGGER {}", relation, SQL(trigger.expected), Identifier(trigger.name)),),
        )
        for trigger in facts.triggers
        if trigger.relation == partition.oid
    ]


def _indexes(partition: Partition, facts: Facts) -> list[Difference]:
    """A partition's parts of its parent's indexes, and a leaf's own."""
    found = []
    for missing in facts.missing_indexes:
        if missing.relation == partition.oid:
            found.append(_missing_index(partition.state, missing))
    if not partition.is_leaf:
        return found
    wanted = {each.kind: each for each in facts.wanted.leaf_indexes}
    present = {each.kind: each for each in partition.state.indexes if each.is_valid}
    broken = [each for each in partition.state.indexes if not each.is_valid]
    adopted = {each.kind for each in facts.missing_indexes if each.constraint is None}
    relation = partition.state.identifier
    for kind, index in wanted.items():
        if kind not in present:
            name = Identifier(naming.unique_derived_name(partition.state.name, index.name))
            unique = SQL("UNIQUE " if index.is_unique else "")
            statement = compose("CREATE {}INDEX {} ON {} {}", unique, name, relation, SQL(index.definition))
            found.append(Difference(relation, "index", index.name, index.definition, None, (statement,)))
    for kind, index in present.items():
        if kind not in wanted and kind not in adopted:
            found.append(Difference(relation, "index", index.name, None, index.definition, ()))
    for index in broken:
        found.append(Difference(relation, "index", index.name, None, f"{index.definition}, not valid", ()))
    return found


def _missing_index(state: State, missing: MissingIndex) -> Difference:
    expected = missing.constraint or missing.definition
    equal = [each for each in state.indexes if each.is_valid and each.kind == missing.kind]
    if equal and missing.constraint is None:  # the leaf has built it by itself: it is only to be attached
        attach = _attach(state, missing, equal[0].name)
        return Difference(state.identifier, "index", missing.top_index, expected, None, (attach,))
    name = Identifier(naming.unique_derived_name(state.name, missing.top_index))
    if missing.constraint is not None:
        create = compose("ALTER TABLE {} ADD CONSTRAINT {} {}", state.identifier, name, SQL(missing.constraint))
    else:
        unique = SQL("UNIQUE " if missing.is_unique else "")
        create = compose("CREATE {}INDEX {} ON {} {}", unique, name, state.identifier, SQL(missing.definition))
    statements = (create, _attach(state, missing, name.name))
    return Difference(state.identifier, "index", missing.top_index, expected, None, statements)


def _attach(state: State, missing: MissingIndex, name: str) -> SQL:
    parent = Identifier(missing.schema, missing.parent_index)
    return compose("ALTER INDEX {} ATTACH PARTITION {}", parent, Identifier(state.schema, name))


def steps(facts: Facts, *, rewrite: bool) -> list[Step]:
    """What mends the differences of one managed table; those that rewrite rows on request."""
    return steps_of(facts, differences(facts), rewrite=rewrite)


def steps_of(facts: Facts, found: list[Difference], *, rewrite: bool) -> list[Step]:
    """What mends some of them, a step a relation."""
    by_relation: dict[Identifier, list[SQL]] = {}
    for each in found:
        if each.mended_by == SYNC or (rewrite and each.mended_by == REWRITE):
            by_relation.setdefault(each.relation, []).extend(each.statements)
    partitions = {partition.state.identifier: partition for partition in facts.partitions}
    return [
        Step(tuple(_operation(relation, statement, partitions.get(relation)) for statement in statements))
        for relation, statements in by_relation.items()
        if statements
    ]


def _operation(relation: Identifier, statement: SQL, partition: Partition | None) -> Operation:
    if partition is None:  # the template, which nobody uses
        return Operation(relation, statement)
    tree = ((partition.oid, partition.locks),)
    return Operation(relation, statement, ACCESS_EXCLUSIVE, (partition.oid,), 1, tree)
''','plan.drift_access': r'''"""Drift of who owns and may use a partition, and of what is said about it."""

from __future__ import annotations

from ..sql import SQL, Identifier, Literal, compose, names
from .difference import HAND, OWNER, Difference, Partition, unequal
from .properties import Grant, Properties, State, comment_statements, grant_statements, grantee_name
from .row_policy import policy_statement, requalified


def differences(partition: Partition, wanted: Properties) -> list[Difference]:
    """Owner, privileges, comments, row security."""
    return [
        *_ownership(partition, wanted),
        *_privileges(partition, wanted),
        *_comments(partition, wanted),
        *_row_security(partition, wanted),
    ]


def _ownership(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    if state.owner == wanted.owner:
        return []
    statement = compose("ALTER TABLE {} OWNER TO {}", state.identifier, Identifier(wanted.owner))
    # dp.sync works as the owner of the tables, who may not take a partition from another role
    return [Difference(state.identifier, OWNER, "", wanted.owner, state.owner, (statement,), HAND)]


def _privileges(partition: Partition, wanted: Properties) -> list[Difference]:
    """Privileges, one difference a grantee: what one has too much or too little is given anew as a whole."""
    state = partition.state
    found = []
    grantees = {grant.grantee for grant in (*state.grants, *wanted.grants)}
    for grantee in sorted(grantees, key=lambda each: each or ""):
        expected = tuple(grant for grant in wanted.grants if grant.grantee == grantee)
        given = tuple(grant for grant in state.grants if grant.grantee == grantee)
        actual = tuple(dict.fromkeys(grant._replace(grantor=None) for grant in given))
        if set(expected) == set(actual):
            continue
        statements: list[SQL] = []
        if set(actual) - set(expected):
            statements += _revoke_all(state.identifier, grantee, given)
        # what others had from somebody who lost it has gone, too
        is_tied = bool(statements) and any(grant.grantor is not None for grant in state.grants)
        statements += grant_statements(wanted.grants if is_tied else expected, state.identifier)
        part = "PUBLIC" if grantee is None else grantee
        found.append(
            Difference(state.identifier, "privileges", part, _told(expected), _told(actual), tuple(statements))
        )
    if set(state.owner_lacks) != set(wanted.owner_lacks):
        found.append(_owner_privileges(state, wanted))
    return found


def _revoke_all(relation: Identifier, grantee: str | None, actual: tuple[Grant, ...]) -> list[SQL]:
    """What a grantee has on the table goes with its privileges on columns, and with what it granted to others."""
    columns = sorted({grant.column for grant in actual if grant.column is not None})
    found = []
    # only who granted a privilege can take it back, and with the owner's CASCADE it goes with the option to grant it
    for role in (*sorted({grant.grantor for grant in actual if grant.grantor is not None}), grantee):
        found.append(compose("REVOKE ALL ON TABLE {} FROM {} CASCADE", relation, grantee_name(role)))
        if columns:
            listed = names(columns)
            found.append(compose("REVOKE ALL ({}) ON TABLE {} FROM {} CASCADE", listed, relation, grantee_name(role)))
    return found


def _told(grants: tuple[Grant, ...]) -> str | None:
    texts = [
        grant.privilege
        + (f" ({grant.column})" if grant.column is not None else "")
        + (" WITH GRANT OPTION" if grant.is_grantable else "")
        for grant in grants
    ]
    return ", ".join(sorted(texts)) or None


def _owner_privileges(state: State, wanted: Properties) -> Difference:
    owner = Identifier(wanted.owner)
    statements = [compose("GRANT ALL ON TABLE {} TO {}", state.identifier, owner)]
    if wanted.owner_lacks:
        lacking = SQL(", ".join(wanted.owner_lacks))
        statements.append(compose("REVOKE {} ON TABLE {} FROM {}", lacking, state.identifier, owner))

    def told(lacks: tuple[str, ...]) -> str:
        return "all but " + ", ".join(lacks) if lacks else "all"

    expected, actual = told(wanted.owner_lacks), told(state.owner_lacks)
    return Difference(state.identifier, "privileges", wanted.owner, expected, actual, tuple(statements))


def _comments(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    found = []
    if state.comment != wanted.comment:
        statement = compose("COMMENT ON TABLE {} IS {}", state.identifier, Literal(wanted.comment))
        found.append(Difference(state.identifier, "comment", "", wanted.comment, state.comment, (statement,)))
    for column, expected, actual in unequal(wanted.column_comments, state.column_comments):
        if expected is None:
            name = Identifier(column)
            statements = [compose("COMMENT ON COLUMN {}.{} IS NULL", state.identifier, name)]
        else:
            statements = comment_statements(None, ((column, expected),), state.identifier)
        found.append(Difference(state.identifier, "comment", column, expected, actual, tuple(statements)))
    return found


def _row_security(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    found = []
    for what, expected, actual, words in (
        ("row security", wanted.row_security, state.row_security, ("DISABLE", "ENABLE")),
        ("forced row security", wanted.force_row_security, state.force_row_security, ("NO FORCE", "FORCE")),
    ):
        if expected != actual:
            statement = compose("ALTER TABLE {} {} ROW LEVEL SECURITY", state.identifier, SQL(words[expected]))
            told = ("off", "on")
            found.append(Difference(state.identifier, what, "", told[expected], told[actual], (statement,)))
    return found + _policies(partition, wanted)


def _policies(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    relation = state.identifier
    expected = {policy.name: requalified(policy, wanted.name, relation) for policy in wanted.policies}
    # quoted alike, for PostgreSQL quotes in what it deparses only what needs it
    actual = {policy.name: requalified(policy, state.name, relation) for policy in state.policies}
    found = []
    for name in sorted(expected.keys() | actual.keys()):
        new, old = expected.get(name), actual.get(name)
        if new == old:
            continue
        statements = [compose("DROP POLICY {} ON {}", Identifier(name), relation)] if old is not None else []
        statements += [policy_statement(new, relation)] if new is not None else []
        told = [policy_statement(each, relation).text if each is not None else None for each in (new, old)]
        found.append(Difference(relation, "policy", name, told[0], told[1], tuple(statements)))
    return found
''','plan.drift_storage': r'''"""Drift of how a leaf is stored, and of what is known of its contents."""

from __future__ import annotations

from .. import naming
from ..sql import SQL, Composable, Identifier, Literal, compose
from .difference import REWRITE, Difference, Partition, unequal
from .properties import Properties, State, StatisticsObject, option_name, replica_identity_statement, storage_clause

IDENTITY_WORDS = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL", "i": "USING INDEX"}


def differences(partition: Partition, wanted: Properties) -> list[Difference]:
    """Storage parameters, column statistics, statistics objects, placement, replica identity."""
    return [
        *_storage(partition, wanted),
        *_column_options(partition.state, wanted),
        *_statistics(partition.state, wanted),
        *_placement(partition.state, wanted),
        *_replica_identity(partition.state, wanted),
    ]


def _storage(partition: Partition, wanted: Properties) -> list[Difference]:
    """Storage parameters, statistics targets and options of columns."""
    state = partition.state
    found = []
    for name, expected, actual in unequal(wanted.options, state.options):
        if expected is None:
            action = compose("RESET ({})", option_name(name))
        else:
            action = compose("SET ({})", storage_clause(((name, expected),)))
        statement = compose("ALTER TABLE {} {}", state.identifier, action)
        found.append(Difference(state.identifier, "storage parameter", name, expected, actual, (statement,)))
    targets = [[(column, str(target)) for column, target in each.column_targets] for each in (wanted, state)]
    for column, expected, actual in unequal(*targets):
        value = Literal(int(expected) if expected is not None else -1)
        statement = compose(
            "ALTER TABLE {} ALTER COLUMN {} SET STATISTICS {}", state.identifier, Identifier(column), value
        )
        found.append(Difference(state.identifier, "statistics target", column, expected, actual, (statement,)))
    return found


def _column_options(state: State, wanted: Properties) -> list[Difference]:
    def by_name(options: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
        return [(f"{column}\0{option.partition('=')[0]}", option.partition("=")[2]) for column, option in options]

    found = []
    for key, expected, actual in unequal(by_name(wanted.column_options), by_name(state.column_options)):
        column, _, option = key.partition("\0")
        action: Composable = (
            compose("SET ({} = {})", SQL(option), Literal(expected))
            if expected is not None
            else compose("RESET ({})", SQL(option))
        )
        statement = compose("ALTER TABLE {} ALTER COLUMN {} {}", state.identifier, Identifier(column), action)
        found.append(Difference(state.identifier, option, column, expected, actual, (statement,)))
    return found


def _statistics(state: State, wanted: Properties) -> list[Difference]:
    """Statistics objects are told apart by what they are over: their names differ from leaf to leaf."""
    expected = {each.definition: each for each in wanted.statistics}
    present = {each.definition: each for each in state.statistics}
    found = []
    for definition, each in expected.items():
        own = present.get(definition)
        if own is None:
            name = Identifier(state.schema, naming.unique_derived_name(state.name, each.name))
            create = compose("CREATE STATISTICS {} {} FROM {}", name, SQL(definition), state.identifier)
            statements = (create, *_target(name, each)) if each.target is not None else (create,)
            found.append(Difference(state.identifier, "statistics object", each.name, definition, None, statements))
        elif own.target != each.target:
            # a statistics object stands in the schema that its creator chose; those of leaves in the leaf's
            statements = _target(Identifier(state.schema, own.name), each)
            told = (_target_told(each), _target_told(own))
            found.append(Difference(state.identifier, "statistics object", own.name, *told, statements))
    for definition, own in present.items():
        if definition not in expected:
            found.append(Difference(state.identifier, "statistics object", own.name, None, definition, ()))
    return found


def _target(name: Identifier, each: StatisticsObject) -> tuple[SQL, ...]:
    target = -1 if each.target is None else each.target
    return (compose("ALTER STATISTICS {} SET STATISTICS {}", name, Literal(target)),)


def _target_told(each: StatisticsObject) -> str:
    return f"{each.definition}, target {'default' if each.target is None else each.target}"


def _placement(state: State, wanted: Properties) -> list[Difference]:
    """Where the rows are and how; every one of these writes all rows anew."""
    relation = state.identifier
    found = []
    if state.tablespace != wanted.tablespace:
        # the database's own tablespace has no name here
        statements = (
            (compose("ALTER TABLE {} SET TABLESPACE {}", relation, Identifier(wanted.tablespace)),)
            if wanted.tablespace is not None
            else ()
        )
        found.append(Difference(relation, "tablespace", "", wanted.tablespace, state.tablespace, statements, REWRITE))
    if wanted.access_method is not None and state.access_method != wanted.access_method:
        change = compose("ALTER TABLE {} SET ACCESS METHOD {}", relation, Identifier(wanted.access_method))
        found.append(
            Difference(relation, "access method", "", wanted.access_method, state.access_method, (change,), REWRITE)
        )
    if state.is_unlogged != wanted.is_unlogged:
        words = ("LOGGED", "UNLOGGED")
        change = compose("ALTER TABLE {} SET {}", relation, SQL(words[wanted.is_unlogged]))
        told = (words[wanted.is_unlogged].lower(), words[state.is_unlogged].lower())
        found.append(Difference(relation, "persistence", "", *told, (change,), REWRITE))
    return found


def _replica_identity(state: State, wanted: Properties) -> list[Difference]:
    expected = (wanted.replica_identity, wanted.replica_index)
    own_index = wanted.replica_index
    if own_index in {index.name for index in wanted.leaf_indexes}:
        own_index = naming.unique_derived_name(state.name, str(own_index))
    if (state.replica_identity, state.replica_index) == (expected[0], own_index):
        return []
    statement = replica_identity_statement(wanted, state.identifier)
    if statement is None:
        statement = compose("ALTER TABLE {} REPLICA IDENTITY DEFAULT", state.identifier)

    def told(identity: str, index: str | None) -> str:
        return IDENTITY_WORDS[identity] + (f" {index}" if index is not None else "")

    shown = (told(*expected), told(state.replica_identity, state.replica_index))
    return [Difference(state.identifier, "replica identity", "", *shown, (statement,))]
''','plan.finding': r'''"""A finding of dp.check as a value, and the facts that it is judged by."""

from __future__ import annotations

from typing import NamedTuple

from ..model import SliceSpec, Table
from .detached import DetachedSlice
from .difference import Difference

ERROR, WARNING, NOTICE = "error", "warning", "notice"
SEVERITIES = (ERROR, WARNING, NOTICE)


class Finding(NamedTuple):
    """One row of dp.check."""

    severity: str
    finding: str
    target: str
    detail: str
    statement: str | None


def unreadable(root: str, error: Exception) -> Finding:
    """A hierarchy that nothing can be done with before somebody mends it."""
    parts = (str(error), getattr(error, "detail", None), getattr(error, "hint", None))
    return Finding(ERROR, "unreadable hierarchy", root, " ".join(part for part in parts if part), None)


class Expected(NamedTuple):
    """What there should be by the policy and the clock, and is not."""

    missing: tuple[SliceSpec, ...]  # slices that should exist by the clock or fill a gap
    detached: tuple[DetachedSlice, ...]  # the root's slices of now and of the future that a call detached
    by_hand: tuple[DetachedSlice, ...]  # tables that stand where tables of the hierarchy lack slices
    maintained: SliceSpec | None  # the range that maintenance keeps, as if it were one slice; None: no default slice
    drain_locks: int  # what it takes to drain one slice of the default slice; 0 where there is none

    def standing(self, table: Table, lower_point: int | None) -> DetachedSlice | None:
        """The table that stands where a table lacks a slice."""
        found = (each for each in self.by_hand if (each.table, each.lower_point) == (table.oid, lower_point))
        return next(found, None)


class Facts(NamedTuple):
    """What findings need beside the hierarchy itself."""

    expected: Expected
    current_point: int | None  # None: the range key has no clock
    rows_in_default: tuple[tuple[int, bool], ...]  # table, whether maintenance would move some of them
    invalid_indexes: tuple[tuple[str, str, bool], ...]  # index, table, is partitioned
    invalid_constraints: tuple[tuple[str, str, str], ...]  # schema, table, constraint
    never_analysed: tuple[int, ...]
    drift: tuple[tuple[Table, tuple[Difference, ...]], ...]
    keys_to_partitions: tuple[tuple[str, str, str], ...]  # table, constraint, partition
    key_differences: tuple[tuple[str, str, str], ...]  # table, column, what it is
    pending_keys: tuple[tuple[str, str], ...]  # child, constraint
    inexact_entries: dict[int, tuple[tuple[str, str], ...]]  # by global index: missing or stale, the entry
    unguarded: dict[int, tuple[tuple[str, str, bool], ...]]  # by global index: schema and name of partition, is leaf
    last_failure: str | None
    lock_table: int
    lock_budget: int
    lock_slots: int  # transactions that the lock table has room for
    partitionwise_join: bool
    constraint_exclusion: bool
    server_version: int
    database: str
''','plan.findings': r'''"""What is wrong with a hierarchy, judged from what was read; each finding names the statement that mends it."""

from __future__ import annotations

from ..model import Hierarchy, Slice, SliceSpec, Table
from ..sql import SQL, Identifier, Literal, compose
from . import findings_global, findings_server
from . import foreign_keys as plan_keys
from .detached import attach_call
from .difference import OWNER, SYNC
from .finding import ERROR, SEVERITIES, WARNING, Facts, Finding

PAST, CURRENT, AHEAD = "past", "current", "ahead"


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """All findings of one hierarchy, the worst first."""
    found = [
        *_missing_slices(hierarchy, facts),
        *_siblings(hierarchy, facts),
        *_leaves(hierarchy),
        *_default(hierarchy, facts),
        *_keys(hierarchy, facts),
        *_objects(hierarchy, facts),
        *_drift(hierarchy, facts),
        *_statistics(hierarchy, facts),
        *findings_global.findings(hierarchy, facts),
        *findings_server.findings(hierarchy, facts),
        *_history(hierarchy, facts),
    ]
    return sorted(found, key=lambda each: SEVERITIES.index(each.severity))


def _maintain(hierarchy: Hierarchy) -> str:
    return f"CALL dp.run_maintenance({Literal(hierarchy.root.identifier.text)})"


def _synchronise(hierarchy: Hierarchy) -> str:
    return f"CALL dp.sync({Literal(hierarchy.root.identifier.text)})"


def _missing_slices(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    root = hierarchy.root.identifier
    found = []
    together: dict[str, list[SliceSpec]] = {}  # one row for all that the next run makes
    for spec in facts.expected.missing:
        assert spec.lower is not None and spec.upper is not None
        when = _when(facts, spec.lower.point, spec.upper.point)
        standing = [facts.expected.standing(table, spec.lower.point) for table in hierarchy.tables]
        by_hand = next((each for each in standing if each is not None), None)
        if by_hand is None:
            together.setdefault(when, []).append(spec)
        else:
            what = f"{by_hand.identifier} was detached by somebody"
            found.append(_missing(hierarchy, when, what, attach_call(root, by_hand)))
    for when, specs in together.items():
        what = f"No slice {specs[0].suffix}" if len(specs) == 1 else f"{len(specs)} slices are missing: {_runs(specs)}"
        found.append(_missing(hierarchy, when, what, _maintain(hierarchy)))
    for each in facts.expected.detached:
        when = _when(facts, each.lower_point, each.upper_point)
        what = f"{each.identifier} was detached"
        found.append(_missing(hierarchy, when, what, attach_call(root, each)))
    return found


def _runs(specs: list[SliceSpec]) -> str:
    """The names of slices, neighbours as ``first to last``."""
    runs: list[list[SliceSpec]] = []
    for spec in specs:
        if runs and runs[-1][-1].upper == spec.lower:
            runs[-1].append(spec)
        else:
            runs.append([spec])
    return ", ".join(run[0].suffix if len(run) == 1 else f"{run[0].suffix} to {run[-1].suffix}" for run in runs)


def _when(facts: Facts, lower: int | None, upper: int | None) -> str:
    """Where a slice lies, by the clock."""
    now = facts.current_point
    if now is None or (lower is not None and lower > now):
        return AHEAD
    return PAST if upper is not None and upper <= now else CURRENT


def _missing(hierarchy: Hierarchy, when: str, what: str, statement: str) -> Finding:
    root = hierarchy.root.identifier.text
    if when == PAST:
        text = f"{what}: rows of that time cannot be stored, or go to the default slice."
        return Finding(WARNING, "gap", root, text, statement)
    if when == CURRENT:
        text = f"{what}: rows of now cannot be stored, or go to the default slice."
        return Finding(ERROR, "missing current slice", root, text, statement)
    text = f"{what}: {hierarchy.policy.premake} slices shall be ahead."
    return Finding(WARNING, "missing future slice", root, text, statement)


def _siblings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    of_root = {each.span: each for each in hierarchy.slices[hierarchy.root.oid]}
    for table in hierarchy.tables[1:]:
        own = {each.span: each for each in hierarchy.slices[table.oid]}
        found += [_missing_sibling(hierarchy, facts, table, each) for span, each in of_root.items() if span not in own]
        target = table.identifier.text
        for span, each in own.items():
            if span not in of_root:
                found.append(_unequal_bounds(hierarchy, facts, table, each))
            elif each.modulus != of_root[span].modulus:
                text = (
                    f"{each.identifier} has {each.modulus} leaves, the root's slice has {of_root[span].modulus}:"
                    " that slice is not joined leaf by leaf."
                )
                found.append(Finding(WARNING, "unequal modulus", target, text, None))
    return found


def _missing_sibling(hierarchy: Hierarchy, facts: Facts, table: Table, each: Slice) -> Finding:
    target = table.identifier.text
    text = f"{each.identifier} has no sibling in {target}: rows of that range cannot be stored or moved there."
    name = "default slice in some tables only" if each.is_default else "missing slice in child"
    statement = _maintain(hierarchy)
    by_hand = facts.expected.standing(table, each.span[0]) if not each.is_default else None
    if by_hand is not None:
        text += f" {by_hand.identifier} is there, which somebody detached."
        statement = attach_call(hierarchy.root.identifier, by_hand)
    return Finding(ERROR, name, target, text, statement)


def _unequal_bounds(hierarchy: Hierarchy, facts: Facts, table: Table, each: Slice) -> Finding:
    target = table.identifier.text
    text = f"{each.identifier} has other bounds than every slice of the root; joins are not partition-wise."
    statement = f"ALTER TABLE {target} DETACH PARTITION {each.identifier}"
    of_root = facts.expected.standing(hierarchy.root, each.span[0])
    if of_root is not None:
        text = f"{each.identifier} has no sibling in the root: {of_root.identifier} is there, which somebody detached."
        statement = attach_call(hierarchy.root.identifier, of_root)
    return Finding(ERROR, "unequal bounds", target, text, statement)


def _leaves(hierarchy: Hierarchy) -> list[Finding]:
    found = []
    for table in hierarchy.tables:
        for each in hierarchy.slices[table.oid]:
            target = each.identifier.text
            if each.missing_remainders:
                remainders = ", ".join(str(remainder) for remainder in each.missing_remainders)
                text = f"Hash partitions {remainders} of {each.modulus} are missing: their rows cannot be stored."
                found.append(Finding(ERROR, "missing leaf", target, text, _maintain(hierarchy)))
            elif each.is_partitioned and not each.modulus:
                text = "The slice has no leaves: rows of it cannot be stored."
                found.append(Finding(ERROR, "missing leaf", target, text, None))
            if each.detach_pending:
                statement = compose("ALTER TABLE {} DETACH PARTITION {} FINALIZE", table.identifier, each.identifier)
                text = "A DETACH CONCURRENTLY was interrupted; queries see the slice no more, writes are refused."
                found.append(Finding(WARNING, "pending detach", target, text, statement.text))
    return found


def _default(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    holding = dict(facts.rows_in_default)
    for table in hierarchy.tables:
        default = hierarchy.default_slice(table)
        if default is not None and table.oid in holding:
            text = "Rows are in the default slice: no slice can be created for their time, and they are never retired."
            statement = (
                f"CALL dp.drain_default({Literal(hierarchy.root.identifier.text)})" if holding[table.oid] else None
            )
            if statement is None:
                text += " They lie outside the range that maintenance keeps: dp.drain_default takes them with bounds."
            found.append(Finding(WARNING, "rows in default", default.identifier.text, text, statement))
    if hierarchy.policy.default_slice and hierarchy.default_slice(hierarchy.root) is None:
        target = hierarchy.root.identifier.text
        text = "The configuration wants a default slice."
        found.append(Finding(WARNING, "missing default slice", target, text, _maintain(hierarchy)))
    return found


def _keys(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    early = plan_keys.checked_too_early(hierarchy)
    for key in hierarchy.foreign_keys:
        table = hierarchy.table(key.child).identifier
        if key.on_update != "c" or not set(hierarchy.policy.partition_keys) <= set(key.columns):
            text = f'Foreign key "{key.name}" does not carry the partition keys ON UPDATE CASCADE: rows cannot follow.'
            root = Literal(hierarchy.table(key.parent).identifier.text)
            statement = f"SELECT * FROM dp.register_child({Literal(table.text)}, {root})"
            found.append(Finding(ERROR, "foreign key does not cascade", table.text, text, statement))
        elif (key.child, key.name) in early and not key.is_deferred:
            text = f'Foreign key "{key.name}" is checked before its parent has moved: a change of the keys fails.'
            alter = compose(
                "ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED", table, Identifier(key.name)
            )
            found.append(Finding(ERROR, "foreign key checked too early", table.text, text, alter.text))
    for managed in hierarchy.tables[1:]:
        if not hierarchy.parents(managed):
            text = "No foreign key ties the table to the hierarchy: orphans are accepted, and rows do not follow."
            found.append(Finding(ERROR, "no foreign key", managed.identifier.text, text, None))
    for target, column, what in facts.key_differences:
        text = f'Key column "{column}" is {what}: joins with the root are not partition-wise.'
        found.append(Finding(ERROR, "key column differs", target, text, None))
    for child, name, partition in facts.keys_to_partitions:
        text = f'Foreign key "{name}" points to the partition {partition}: rows that refer to a moving row are lost.'
        drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", SQL(child), Identifier(name))
        found.append(Finding(ERROR, "foreign key to a partition", child, text, drop.text))
    for child, name in facts.pending_keys:
        text = f'Foreign key "{name}" was let go when its parent was made anew, and waits for dp.register_child.'
        found.append(Finding(WARNING, "foreign key waiting", child, text, None))
    return found


def _objects(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    for index, table, is_partitioned in facts.invalid_indexes:
        text = "The index is invalid: an unfinished CREATE INDEX CONCURRENTLY, or a partition lacks its part of it."
        statement = _synchronise(hierarchy) if is_partitioned else f"REINDEX INDEX CONCURRENTLY {index}"
        found.append(Finding(ERROR, "invalid index", table, text, statement))
    for schema, name, constraint in facts.invalid_constraints:
        relation = Identifier(schema, name)
        validate = compose("ALTER TABLE {} VALIDATE CONSTRAINT {}", relation, Identifier(constraint))
        text = f'Constraint "{constraint}" is NOT VALID: old rows may break it, and the planner does not use it.'
        found.append(Finding(WARNING, "constraint not valid", relation.text, text, validate.text))
    for managed in hierarchy.tables:
        if managed.template is None:
            text = "The table has no template: new leaves get no storage parameters."
            found.append(Finding(WARNING, "missing template", managed.identifier.text, text, _synchronise(hierarchy)))
    return found


def _drift(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    found = []
    for table, differences in facts.drift:
        others = [each for each in differences if each.aspect != OWNER]
        for each in differences:
            if each.aspect == OWNER:
                text = f"The partition belongs to {each.actual}, its table to {each.expected}."
                found.append(Finding(WARNING, "other owner", each.relation.text, text, each.statement))
        if others:
            relations = len({each.relation for each in others})
            aspects = ", ".join(sorted({each.aspect for each in others}))
            text = f"{relations} relations differ from what parent and template say, in {aspects}: see dp.drift."
            can_be_mended = any(each.statements and each.mended_by == SYNC for each in others)
            statement = _synchronise(hierarchy) if can_be_mended else None
            found.append(Finding(WARNING, "drift", table.identifier.text, text, statement))
    return found


def _statistics(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    text = "The partitioned table was never analysed, and autovacuum does not: joins are planned without statistics."
    return [
        Finding(WARNING, "never analysed", table.identifier.text, text, f"ANALYZE {table.identifier}")
        for table in hierarchy.tables
        if table.oid in facts.never_analysed
    ]


def _history(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    if facts.last_failure is None:
        return []
    root = hierarchy.root.identifier.text
    return [Finding(WARNING, "last maintenance failed", root, facts.last_failure, _maintain(hierarchy))]
''','plan.findings_global': r'''"""What is wrong with the global indexes of a hierarchy."""

from __future__ import annotations

from ..model import Hierarchy, Table
from ..sql import Identifier, Literal, compose, name_array
from .finding import ERROR, Facts, Finding
from .keeping import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import GlobalIndex


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Indexes that do not hold all rows, that are wrong, or that do not see everything."""
    found = []
    for table in hierarchy.tables:
        for index in table.global_indexes:
            if not index.is_valid:
                text = "It does not hold all rows yet: a call was stopped, or values repeat."
                found.append(
                    Finding(ERROR, "global index not valid", index.identifier.text, text, _build(table, index))
                )
            for problem, entry in facts.inexact_entries.get(index.oid, ()):
                text = f"A sample has found an entry that is {problem}: {entry}."
                again = f"SELECT dp.drop_global_index({Literal(index.identifier.text)})"
                found.append(Finding(ERROR, "global index inexact", index.identifier.text, text, again))
            for schema, name, is_leaf in facts.unguarded.get(index.oid, ()):
                partition = Identifier(schema, name)
                text = f"Statements that name {partition} are not seen by global index {index.identifier}."
                mend = guard(index, partition, is_leaf=is_leaf).text
                found.append(Finding(ERROR, "global index not guarded", partition.text, text, mend))
    return found


def _build(table: Table, index: GlobalIndex) -> str:
    return compose(
        "CALL dp.create_global_index_online({}, {}, is_unique => {}, predicate => {}, index_name => {})",
        Literal(table.identifier.text),
        name_array(index.columns),
        Literal(index.is_unique),
        Literal(index.predicate),
        Literal(index.name),
    ).text
''','plan.findings_server': r'''"""What of the server and its settings does not suit a hierarchy."""

from __future__ import annotations

from ..model import DROP, SLICE, Hierarchy
from ..sql import Identifier
from . import lifecycle, trees
from .finding import NOTICE, WARNING, Facts, Finding

# Minor releases that mend faults which bite hierarchies of this kind.
FIXED_IN = {
    15: (
        (9, "detaching a partition with foreign keys"),
        (18, "validity after ALTER INDEX ATTACH PARTITION"),
    ),
    16: (
        (5, "detaching a partition with foreign keys"),
        (14, "validity after ALTER INDEX ATTACH PARTITION"),
    ),
    17: (
        (1, "detaching a partition with foreign keys"),
        (10, "validity after ALTER INDEX ATTACH PARTITION"),
        (11, "pruning that skipped the default partition: rows missing from results"),
    ),
    18: (
        (4, "validity after ALTER INDEX ATTACH PARTITION"),
        (6, "pruning that skipped the default partition: rows missing from results"),
    ),
}

SESSIONS_WITHOUT_KEYS = 4  # that the lock table shall have room for, where it has not even for one


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Settings, the size of the lock table, and known faults of this release."""
    root = hierarchy.root.identifier.text
    database = Identifier(facts.database)
    found = []
    if not facts.partitionwise_join:
        text = "enable_partitionwise_join is off: joins are not planned partition with partition."
        statement = f"ALTER DATABASE {database} SET enable_partitionwise_join = on"
        found.append(Finding(WARNING, "partitionwise join off", root, text, statement))
    if hierarchy.policy.key_form == SLICE and not facts.constraint_exclusion:
        text = "constraint_exclusion is off: a condition on the range key alone does not prune."
        statement = f"ALTER DATABASE {database} SET constraint_exclusion = partition"
        found.append(Finding(WARNING, "constraint exclusion off", root, text, statement))
    found += _locks(hierarchy, facts)
    major, minor = divmod(facts.server_version, 10000)
    faults = [what for fixed, what in FIXED_IN.get(major, ()) if minor < fixed]
    if faults:
        text = f"PostgreSQL {major}.{minor} has known faults: {'; '.join(faults)}."
        found.append(Finding(NOTICE, "minor release", root, text, None))
    return found


def _locks(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """What will not fit into the lock table: statements of clients, and steps of maintenance that fail some day."""
    widest = max(hierarchy.tables, key=lambda table: trees.planned(hierarchy, table))
    unbound = trees.planned(hierarchy, widest)
    found = []
    if unbound > facts.lock_table:
        text = (
            f"A statement on {widest.identifier} that binds no partition key takes about {unbound} locks; the server"
            f" has {facts.lock_table} for all sessions."
        )
        found.append((text, SESSIONS_WITHOUT_KEYS * unbound))
    for what, locks in (
        ("Retiring a slice", _retiring(hierarchy)),
        ("Draining a default slice", facts.expected.drain_locks),
    ):
        if locks > facts.lock_budget:
            text = f"{what} takes about {locks} locks in one transaction; the budget is {facts.lock_budget}."
            found.append((text, locks * facts.lock_table // facts.lock_budget))
    root = hierarchy.root.identifier.text
    return [
        Finding(
            WARNING,
            "locks beyond the budget",
            root,
            text,
            f"ALTER SYSTEM SET max_locks_per_transaction = {64 * -(-entries // (64 * facts.lock_slots))}",
        )
        for text, entries in found
    ]


def _retiring(hierarchy: Hierarchy) -> int:
    """The locks of the largest step that retires the oldest slice; 0 where nothing is retired."""
    slices = hierarchy.range_slices(hierarchy.root)
    if hierarchy.policy.retention is None or not slices:
        return 0
    span = slices[0].span
    if hierarchy.policy.retention_action == DROP:
        steps = lifecycle.drop_steps(hierarchy, span)
    else:
        keys = {each.oid: trees.key_names(hierarchy, table) for table, each in lifecycle.siblings(hierarchy, span)}
        steps = lifecycle.detach_steps(hierarchy, span, keys, {}, None, frozenset())
    return max(step.locks for step in steps)
''','plan.foreign_keys': r'''"""Foreign keys inside a hierarchy: composite, cascading, deferrable where a cascade needs it."""

from __future__ import annotations

from .. import errors, naming
from ..model import ForeignKey, Hierarchy, Table
from ..operation import SHARE_ROW_EXCLUSIVE, Operation
from ..sql import SQL, Composable, Identifier, Literal, compose, name_array, names
from . import trees
from .structure import Structure, add_constraint

ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
ACTION_LETTERS = {word: letter for letter, word in ACTIONS.items()}
SETTING_ACTIONS = ("n", "d")  # those that set columns
UNBOUNDED = 1 << 30  # deeper than any hierarchy


def clause(key: ForeignKey, parent: Composable, is_deferred: bool) -> SQL:
    """``FOREIGN KEY (...) REFERENCES ...`` of a key inside a hierarchy."""
    action = SQL(ACTIONS[key.on_delete])
    if key.on_delete in SETTING_ACTIONS:  # the column list keeps the partition keys from being set, too
        action = compose("{} ({})", action, names(key.delete_columns))
    deferral = " DEFERRABLE INITIALLY DEFERRED" if is_deferred else " DEFERRABLE" if key.is_deferrable else ""
    return compose(
        "FOREIGN KEY ({columns}) REFERENCES {parent} ({referenced}) ON UPDATE CASCADE ON DELETE {action}{deferral}",
        columns=names(key.columns),
        parent=parent,
        referenced=names(key.parent_columns),
        action=action,
        deferral=SQL(deferral),
    )


def composite(key: ForeignKey, partition_keys: tuple[str, ...]) -> ForeignKey:
    """The key as it shall be inside a hierarchy: (own columns, partition keys), ON UPDATE CASCADE."""
    pairs = [pair for pair in zip(key.columns, key.parent_columns) if pair[0] not in partition_keys]
    own = tuple(column for column, _ in pairs)
    delete_columns = tuple(column for column in key.delete_columns or own if column not in partition_keys)
    return key._replace(
        columns=own + partition_keys,
        parent_columns=tuple(column for _, column in pairs) + partition_keys,
        on_update="c",
        delete_columns=delete_columns if key.on_delete in SETTING_ACTIONS else (),
    )


def self_reference(structure: Structure, key: ForeignKey, partition_keys: tuple[str, ...]) -> SQL:
    """A table's foreign key to itself, made composite."""
    wanted = composite(key, partition_keys)
    return add_constraint(structure.identifier, key.name, clause(wanted, structure.identifier, key.is_deferred))


def drop_incoming_statements(structure: Structure) -> list[SQL]:
    """Let go of foreign keys that point to a table which is made anew."""
    return [
        compose("ALTER TABLE {} DROP CONSTRAINT {}", SQL(key.child_text), Identifier(key.name))
        for key in structure.incoming
    ]


def remember_statements(keys: list[ForeignKey]) -> list[SQL]:
    """Keep what foreign keys of tables that are not registered yet said, for dp.register_child."""
    return [
        compose(
            "INSERT INTO dp.pending_foreign_key (child, parent, name, columns, parent_columns, on_delete,"
            " delete_columns, is_deferrable, is_deferred)"
            " VALUES ({}::regclass, {}::regclass, {}, {}, {}, {}, {}, {}, {})",
            Literal(key.child_text),
            Literal(key.parent_text),
            Literal(key.name),
            name_array(key.columns),
            name_array(key.parent_columns),
            Literal(key.on_delete),
            name_array(key.delete_columns),
            Literal(key.is_deferrable),
            Literal(key.is_deferred),
        )
        for key in keys
    ]


def pending_statements(structure: Structure, pending: list[ForeignKey], inside: list[ForeignKey]) -> list[SQL]:
    """Forget the remembered keys that exist again."""
    again = {key.name for key in inside if key.child == structure.oid}
    return [
        compose(
            "DELETE FROM dp.pending_foreign_key WHERE name = {} AND child = {}::regclass",
            Literal(key.name),
            Literal(structure.identifier.text),
        )
        for key in pending
        if key.name in again
    ]


def parent_links(
    structure: Structure,
    parent: Structure,
    parent_key: list[str] | None,
    on_delete: str | None,
    pending: list[ForeignKey],
    partition_keys: tuple[str, ...],
) -> list[ForeignKey]:
    """The foreign keys that tie a child to a parent: those it has, those it had, or a new one."""
    action = _action(on_delete)
    found = [key for key in [*structure.foreign_keys, *pending] if key.parent == parent.oid]
    if parent_key is not None:
        _check_parent_key(structure, parent_key, partition_keys)
        wanted = set(parent_key) - set(partition_keys)
        found = [key for key in found if wanted == set(key.columns) - set(partition_keys)]
        if not found:
            found = [_new_link(structure, parent, parent_key, partition_keys)]
    if not found:
        raise errors.InvalidParameter(
            f"{structure.identifier} has no foreign key to {parent.identifier}",
            "Without one the columns that refer to the parent are not known.",
            "Name them: parent_key => ARRAY['DialogId'].",
        )
    return [key._replace(on_delete=action) if action else key for key in found]


def _action(on_delete: str | None) -> str | None:
    if on_delete is None:
        return None
    action = ACTION_LETTERS.get(" ".join(on_delete.upper().split()))
    if action is None:
        raise errors.InvalidParameter.of("on_delete", on_delete, f"It is one of {', '.join(ACTION_LETTERS)}.")
    return action


def _check_parent_key(structure: Structure, parent_key: list[str], partition_keys: tuple[str, ...]) -> None:
    for column in parent_key:
        if structure.column(column) is None and column not in partition_keys:
            raise errors.UndefinedColumn(
                f'column "{column}" of {structure.identifier} does not exist',
                "It was given in parent_key.",
                "Name columns of the child, written as they are in the catalog, without double quotes.",
            )
    if not set(parent_key) - set(partition_keys):
        raise errors.InvalidParameter(
            "parameter parent_key names no column that refers to the parent",
            "The partition keys join the foreign key by themselves.",
            "Name the columns that hold the parent's own key: parent_key => ARRAY['DialogId'].",
        )


def _new_link(
    structure: Structure, parent: Structure, parent_key: list[str], partition_keys: tuple[str, ...]
) -> ForeignKey:
    columns = tuple(column for column in parent_key if column not in partition_keys)
    primary = parent.primary_key
    referenced = tuple(
        column for column in (primary.columns if primary else ()) if column and column not in partition_keys
    )
    if len(referenced) != len(columns):
        raise errors.InvalidParameter(
            f"parent_key names {len(columns)} columns, the primary key of {parent.identifier} has {len(referenced)}",
            f"They are {names(columns)} and {names(referenced) if referenced else 'none'}; the partition keys do not"
            " count.",
            "Name as many columns, in the order of the parent's primary key; or add the foreign key first where it"
            " refers to another unique rule, and leave parent_key out.",
        )
    name = naming.shorten(f"{structure.name}_{'_'.join(columns)}_fkey", naming.MAX_BYTES)
    return ForeignKey(name, structure.oid, parent.oid, columns, referenced, "c", "a", (), False, False)


def inside_keys(
    structure: Structure, hierarchy: Hierarchy, links: list[ForeignKey], pending: list[ForeignKey]
) -> list[ForeignKey]:
    """All foreign keys between a child and tables of its hierarchy, itself among them, as they shall be."""
    managed = {table.oid for table in hierarchy.tables} | {structure.oid}
    by_name = {key.name: key for key in [*structure.foreign_keys, *pending] if key.parent in managed}
    by_name.update({key.name: key for key in links})
    found = list(by_name.values()) + [key for key in structure.incoming if key.child in managed]
    for key in found:
        check_pairs(key, hierarchy.policy.partition_keys)
    return [
        composite(_with_obligation(key, structure), hierarchy.policy.partition_keys)
        if key.child == structure.oid
        else composite(key, hierarchy.policy.partition_keys)
        for key in found
    ]


def check_pairs(key: ForeignKey, partition_keys: tuple[str, ...]) -> None:
    """A partition key is one column, of one name, in all tables; a key may not pair it with another."""
    for column, referenced in zip(key.columns, key.parent_columns):
        if referenced in partition_keys and column != referenced:
            raise errors.InvalidTableDefinition(
                f'foreign key "{key.name}" of {key.child_text or "the child"} refers to the partition key'
                f' "{referenced}" by a column of another name, "{column}"',
                "Every table carries the partition keys under the names that they have in the root.",
                f"Rename the column: ALTER TABLE ... RENAME COLUMN {Identifier(column)} TO {Identifier(referenced)},"
                f" and name it: parent_key => ARRAY[{Literal(referenced)}].",
            )


def _with_obligation(key: ForeignKey, structure: Structure) -> ForeignKey:
    """Whether every row has a parent by this key: none of its columns is nullable."""
    columns = [structure.column(name) for name in key.columns]
    return key._replace(is_mandatory=all(column is None or column.is_not_null for column in columns))


def shallowest(hierarchy: Hierarchy) -> dict[int, int]:
    """In which round of a cascade the first rows of each table can be reached: the shortest way from the root."""
    found = {table.oid: UNBOUNDED for table in hierarchy.tables}
    found[hierarchy.root.oid] = 0
    for _ in hierarchy.tables:
        for key in hierarchy.foreign_keys:
            found[key.child] = min(found[key.child], found[key.parent] + 1)
    return found


def deepest(hierarchy: Hierarchy) -> dict[int, int]:
    """In which round the last rows of each table can be reached.

    A row is reached through the first of its parents. It has all mandatory ones, so the nearest of those bounds it;
    without one it may have only its farthest optional parent, and in a table that refers to itself a whole chain.
    """
    found = {hierarchy.root.oid: 0}
    for table in hierarchy.tables[1:]:
        keys = [key for key in hierarchy.foreign_keys if key.child == table.oid]
        others = [key for key in keys if key.parent != table.oid]
        mandatory = [found.get(key.parent, UNBOUNDED) for key in others if key.is_mandatory]
        optional = [found.get(key.parent, UNBOUNDED) for key in others]
        if mandatory:
            found[table.oid] = min(mandatory) + 1
        elif len(keys) > len(others) or not optional:
            found[table.oid] = UNBOUNDED
        else:
            found[table.oid] = max(optional) + 1
    return found


def checked_too_early(hierarchy: Hierarchy) -> set[tuple[int, str]]:
    """The keys (child, name) that a cascade may check before their parent has moved.

    Cascades run breadth-first: what round n updates is checked in round n + 1. A row that another key can bring along
    in an earlier round than its parent by this key is checked too early, so that the check must wait for the commit.
    """
    first, last = shallowest(hierarchy), deepest(hierarchy)
    found = set()
    for key in hierarchy.foreign_keys:
        others = [
            first[other.parent] + 1
            for other in hierarchy.foreign_keys
            if other.child == key.child and other.name != key.name
        ]
        if others and min(others) < last[key.parent]:
            found.add((key.child, key.name))
    return found


def key_operations(
    structure: Structure, hierarchy: Hierarchy, inside: list[ForeignKey], remade: bool
) -> list[Operation]:
    """Make the keys of one child what they shall be, and those deferrable that would be checked too early.

    ``hierarchy`` is what it will be with this child and these keys.
    """
    early = checked_too_early(hierarchy)
    tables = {table.oid: table for table in hierarchy.tables}
    actual = {(key.child, key.name): key for key in structure.foreign_keys + structure.incoming}
    found: list[Operation] = []
    for key in inside:
        table, parent = tables[key.child], tables[key.parent]
        deferred = key.is_deferred or (key.child, key.name) in early
        present = None if remade else actual.get((key.child, key.name))
        if present is not None and is_same(present, key):
            found += _deferral(table, present, deferred)
            continue
        if present is not None:
            drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", table.identifier, Identifier(key.name))
            found.append(Operation(table.identifier, drop, relations=(table.oid, parent.oid)))
        statement = add_constraint(table.identifier, key.name, clause(key, parent.identifier, deferred))
        locks, locked = trees.adding_key(hierarchy, table, parent)
        touched = (table.oid, parent.oid)
        found.append(Operation(table.identifier, statement, SHARE_ROW_EXCLUSIVE, touched, locks, locked))
    handled = {(key.child, key.name) for key in inside}
    for key in hierarchy.foreign_keys:
        if (key.child, key.name) not in handled:
            found += _deferral(tables[key.child], key, (key.child, key.name) in early)
    return found


def is_same(present: ForeignKey, wanted: ForeignKey) -> bool:
    """Whether a key says already what it shall say; when it is checked is another matter."""
    return (
        dict(zip(present.columns, present.parent_columns)) == dict(zip(wanted.columns, wanted.parent_columns))
        and present.on_update == "c"
        and present.on_delete == wanted.on_delete
        and set(present.delete_columns) == set(wanted.delete_columns)
    )


def _deferral(table: Table, key: ForeignKey, deferred: bool) -> list[Operation]:
    if key.is_deferred or not deferred:
        return []
    statement = compose(
        "ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED", table.identifier, Identifier(key.name)
    )
    return [Operation(table.identifier, statement, relations=(table.oid,))]
''','plan.global_index': r'''"""Global indexes: a side table that holds some columns of all rows of a table, with the partition keys."""

from __future__ import annotations

from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, conjunction, name_array, names
from . import keeping
from .keeping import Wanted
from .structure import add_constraint


def key_name(index: GlobalIndex) -> str:
    """The name that an error of uniqueness tells."""
    return naming.derived_name(index.name, "key" if index.is_unique else "pkey")


def create_side(wanted: Wanted) -> list[SQL]:
    """The side table, without its key."""
    index = wanted.side
    columns = comma_list(
        [compose("{} {} NOT NULL", Identifier(each.name), each.declaration) for each in wanted.columns]
    )
    if not wanted.hash_partitions:
        return [compose("CREATE TABLE {} ({})", index.identifier, columns)]
    by_hash = compose("PARTITION BY HASH ({})", Identifier(index.columns[0]))
    found = [compose("CREATE TABLE {} ({}) {}", index.identifier, columns, by_hash)]
    for remainder in range(wanted.hash_partitions):
        leaf = naming.leaf_name(index.name, wanted.hash_partitions, remainder)
        found.append(
            compose(
                "CREATE TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})",
                Identifier(index.schema, leaf),
                index.identifier,
                Literal(wanted.hash_partitions),
                Literal(remainder),
            )
        )
    return found


def add_key(index: GlobalIndex) -> SQL:
    """The key of the side table."""
    columns = index.columns if index.is_unique else index.stored
    return add_constraint(index.identifier, key_name(index), compose("PRIMARY KEY ({})", names(columns)))


def comment(index: GlobalIndex, table: Table) -> SQL:
    """What it is, for whoever finds it."""
    text = f"Global index of {table.identifier} on {names(index.columns)}, kept by dialog_partition."
    return compose("COMMENT ON TABLE {} IS {}", index.identifier, Literal(text))


def grant_reading(index: GlobalIndex, readers: tuple[str, ...]) -> list[SQL]:
    """Who may read the table may look its rows up; the empty name is PUBLIC."""
    return [
        compose("GRANT SELECT ON {} TO {}", index.identifier, Identifier(each) if each else SQL("PUBLIC"))
        for each in readers
    ]


def remove_entries(index: GlobalIndex, relation: Identifier) -> SQL:
    """The entries of all rows of a slice, which is about to leave its table."""
    return compose(
        "DELETE FROM {} AS g USING {} AS t WHERE {}", index.identifier, relation, keeping.equal(index, "g", "t")
    )


def add_entries(index: GlobalIndex, relation: Composable) -> SQL:
    """An entry for every row of a table or slice that counts."""
    conditions = [compose("t.{} IS NOT NULL", Identifier(column)) for column in index.columns]
    if index.predicate is not None:
        conditions.append(compose("({})", SQL(index.predicate)))
    return compose(
        "INSERT INTO {} ({}) SELECT {} FROM {} AS t WHERE {}",
        index.identifier,
        names(index.stored),
        keeping.values("t", index.stored),
        relation,
        conjunction(conditions),
    )


def batches(index: GlobalIndex, leaf: Identifier, blocks: int, each: int) -> list[SQL]:
    """Entries of the rows of a leaf, some blocks at a time. Rows are locked, so that none changes or goes meanwhile.

    What the triggers have written already is left as it is. Whether that was for the same row is verified afterwards.
    """
    found = []
    for first in range(0, max(blocks, 1), each):
        part = compose("t.ctid >= {}::tid", Literal(f"({first},0)"))
        if first + each < blocks:
            part = compose("{} AND t.ctid < {}::tid", part, Literal(f"({first + each},0)"))
        text = add_entries(index, compose("ONLY {}", leaf))
        found.append(compose("{} AND {} FOR SHARE OF t ON CONFLICT DO NOTHING", text, part))
    return found


def refuse_missing(index: GlobalIndex, leaf: Identifier) -> SQL:
    """An error for a row of a leaf that has no entry of its own: another row has its values."""
    return compose(
        "SELECT dp._refuse_missing_entries({}::regclass, {}::regclass, {})",
        Literal(index.identifier.text),
        Literal(leaf.text),
        Literal(key_name(index)),
    )


def declare_valid(index: GlobalIndex) -> SQL:
    """It holds all rows."""
    return compose(
        "UPDATE dp.global_index_config SET is_valid = true WHERE side = {}::regclass", Literal(index.identifier.text)
    )


def configuration(wanted: Wanted, root: Identifier, table: Table) -> SQL:
    """What is remembered of it."""
    index = wanted.side
    return compose(
        "INSERT INTO dp.global_index_config (side, root, tbl, columns, predicate, predicate_columns, is_unique,"
        " is_valid) VALUES ({}::regclass, {}::regclass, {}::regclass, {}, {}, {}, {}, {})",
        Literal(index.identifier.text),
        Literal(root.text),
        Literal(table.identifier.text),
        name_array(index.columns),
        Literal(index.predicate),
        name_array(wanted.predicate_columns),
        Literal(index.is_unique),
        Literal(index.is_valid),
    )


def drop_index(index: GlobalIndex, table: Table, partitions: list[Identifier]) -> list[SQL]:
    """The index with its triggers, which alone keep the function."""
    found = [*keeping.drop_triggers(index, table), *(keeping.drop_guard(index, each) for each in partitions)]
    found.append(
        compose("DELETE FROM dp.global_index_config WHERE side = {}::regclass", Literal(index.identifier.text))
    )
    found.append(compose("DROP TABLE {}", index.identifier))
    found.append(compose("DROP FUNCTION {}()", index.identifier))
    return found
''','plan.keeping': r'''"""The triggers that keep a global index, and the function that they all call: generated PL/pgSQL.

Statement triggers with transition tables see all rows that a statement on the table writes, cascades included. Row
triggers would be compiled for each leaf in each session: measured over 960 leaves, an INSERT took four times as long.
Only a change of the partition keys has one: of a row that MERGE moves, the transition tables have neither version.
Statements that name a partition are refused.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Identifier, Literal, comma_list, compose, conjunction, names
from .structure import Column


class Wanted(NamedTuple):
    """A global index that shall be, with the columns that it stores."""

    side: GlobalIndex
    columns: tuple[Column, ...]  # of the table: those that are indexed, then those that are carried
    predicate_columns: tuple[str, ...]
    hash_partitions: int  # of the side table itself; 0: it is not partitioned


EVENTS = {
    "insert": "AFTER INSERT ON {} REFERENCING NEW TABLE AS new_rows",
    "delete": "AFTER DELETE ON {} REFERENCING OLD TABLE AS old_rows",
    "update": "AFTER UPDATE ON {} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "truncate": "BEFORE TRUNCATE ON {}",
}


def trigger_name(index: GlobalIndex, event: str) -> str:
    """The name of one of its triggers."""
    return naming.derived_name(index.name, event)


def row_trigger_name(index: GlobalIndex) -> str:
    """The name of the trigger for rows, behind all others: they fire in the order of their names."""
    return naming.shorten(f"~{index.name}", naming.MAX_BYTES)


_KEEPER = """
BEGIN
    IF TG_LEVEL = 'ROW' THEN  -- the keys change; of a row that MERGE moves no statement trigger hears
        IF NOT ({new_counts}) THEN
            DELETE FROM {side} AS g WHERE {is_old};
            RETURN NEW;
        END IF;
        UPDATE {side} AS g SET ({stored}) = ROW ({new_row}) WHERE {is_old};
        IF NOT FOUND THEN
            INSERT INTO {side} ({stored}) VALUES ({new_row});
        END IF;
        RETURN NEW;
    ELSIF TG_OP = 'TRUNCATE' THEN
        IF TG_NARGS = 0 THEN  -- the table, before its leaves
            TRUNCATE {side};
        ELSIF EXISTS (SELECT FROM {side}) THEN
            EXECUTE {truncate_before} || TG_RELID::regclass || {truncate_after};
        END IF;
    ELSIF TG_WHEN = 'BEFORE' THEN
        RAISE EXCEPTION 'cannot % rows of partition % by its name', lower(TG_OP), TG_RELID::regclass USING
            ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = {unseen},
            HINT = 'Name the table that it is a partition of.';
    -- plans are kept, and that for one row is a bad one for many, and the other way round
    ELSIF TG_OP = 'INSERT' THEN
        IF (SELECT count(*) FROM (SELECT FROM new_rows LIMIT 2) AS t) < 2 THEN
            {insert}
        ELSE
            {insert_many}
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        IF (SELECT count(*) FROM (SELECT FROM old_rows LIMIT 2) AS t) < 2 THEN
            {delete}
        ELSE
            {delete_many}
        END IF;
    ELSIF EXISTS (SELECT {watched} FROM new_rows AS t EXCEPT SELECT {watched} FROM old_rows AS t) THEN
        IF (SELECT count(*) FROM (SELECT FROM new_rows LIMIT 2) AS t) < 2 THEN
            {update}
        ELSE
            {update_many}
        END IF;
    END IF;
    RETURN NULL;
END
"""


def keeper(wanted: Wanted) -> SQL:
    """The trigger function, which has the side table's name. It writes where the writer may have no privilege."""
    index = wanted.side
    nullable = [each.name for each in wanted.columns if not each.is_not_null]
    counts = _counts("t", nullable, index.predicate)
    watched = compose("{}, ({}) IS TRUE", values("t", index.stored), SQL(index.predicate or "true"))
    insert = [_insert(index, counts)]
    delete = [compose("DELETE FROM {} AS g USING old_rows AS t WHERE {}", index.identifier, equal(index, "g", "t"))]
    update = _changes(index, counts)
    body = compose(
        _KEEPER,
        side=index.identifier,
        stored=names(index.stored),
        new_row=values("NEW", index.stored),
        new_counts=_counts("NEW", nullable, index.predicate),
        is_old=equal(index, "g", "OLD"),
        watched=watched,
        insert=_kept(insert),
        insert_many=_planned_each_time(insert),
        delete=_kept(delete),
        delete_many=_planned_each_time(delete),
        update=_kept(update),
        update_many=_planned_each_time(update),
        truncate_before=Literal(f"DELETE FROM {index.identifier} AS g USING ONLY "),
        truncate_after=Literal(f" AS t WHERE {equal(index, 'g', 't')}"),
        unseen=Literal(f"Global index {index.identifier} would not see it."),
    )
    return compose(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS {}",
        index.identifier,
        Literal(body.text),
    )


def _kept(statements: list[SQL]) -> SQL:
    return SQL(" ".join(f"{each};" for each in statements))


def _planned_each_time(statements: list[SQL]) -> SQL:
    return SQL(" ".join(f"EXECUTE {Literal(each.text)};" for each in statements))


def _insert(index: GlobalIndex, counts: SQL) -> SQL:
    """Entries of new rows that have none of their own yet: the row trigger moves some, an online build makes some."""
    return compose(
        "INSERT INTO {side} ({stored}) SELECT {new} FROM new_rows AS t WHERE {counts}"
        " AND NOT EXISTS (SELECT FROM {side} AS g WHERE {is_row})",
        side=index.identifier,
        stored=names(index.stored),
        new=values("t", index.stored),
        counts=counts,
        is_row=equal(index, "g", "t"),
    )


def _changes(index: GlobalIndex, counts: SQL) -> list[SQL]:
    """What an UPDATE of some rows means. An entry whose row only moves stays: foreign keys may refer to it."""
    found = []
    if index.is_unique:
        carried = [compose("{} = t.{}", Identifier(each), Identifier(each)) for each in index.carried]
        found.append(
            compose(
                "UPDATE {} AS g SET {} FROM old_rows AS o, new_rows AS t WHERE {} AND {} AND {}",
                index.identifier,
                comma_list(carried),
                equal(index, "g", "o"),
                equal(index, "o", "t", index.columns),
                counts,
            )
        )
    found.append(
        compose(
            "DELETE FROM {} AS g USING old_rows AS o WHERE {}"
            " AND NOT EXISTS (SELECT FROM new_rows AS t WHERE {} AND {})",
            index.identifier,
            equal(index, "g", "o"),
            equal(index, "o", "t"),
            counts,
        )
    )
    found.append(_insert(index, counts))
    return found


def restrict_keeper(index: GlobalIndex) -> SQL:
    """Nobody else makes a trigger of it."""
    return compose("REVOKE ALL ON FUNCTION {}() FROM PUBLIC", index.identifier)


def values(record: str, columns: tuple[str, ...]) -> SQL:
    """Some columns of a record."""
    return comma_list([compose("{}.{}", SQL(record), Identifier(column)) for column in columns])


def equal(index: GlobalIndex, first: str, second: str, columns: tuple[str, ...] | None = None) -> SQL:
    """That two records agree in what is stored; by the types' own operators, whatever the search_path is."""
    return conjunction(
        [
            compose(
                "{first}.{column} OPERATOR({schema}.=) {second}.{column}",
                column=Identifier(column),
                schema=Identifier(schema),
                first=SQL(first),
                second=SQL(second),
            )
            for column, schema in zip(index.stored, index.operator_schemas)
            if columns is None or column in columns
        ]
    )


def _counts(record: str, nullable: list[str], predicate: str | None) -> SQL:
    """Whether a row belongs into the index."""
    conditions = [compose("{}.{} IS NOT NULL", SQL(record), Identifier(column)) for column in nullable]
    if predicate is not None:
        conditions.append(compose("EXISTS (SELECT FROM (SELECT {}.*) AS r WHERE {})", SQL(record), SQL(predicate)))
    return conjunction(conditions) if conditions else SQL("true")


def create_triggers(index: GlobalIndex, table: Table, partition_keys: tuple[str, ...]) -> list[SQL]:
    """The triggers of the table; that for rows comes after all others, which may change what they write."""
    changed = [
        compose("OLD.{column} IS DISTINCT FROM NEW.{column}", column=Identifier(each)) for each in partition_keys
    ]
    of_rows = compose(
        "CREATE TRIGGER {} BEFORE UPDATE ON {} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION {}()",
        Identifier(row_trigger_name(index)),
        table.identifier,
        SQL(" OR ".join(each.text for each in changed)),
        index.identifier,
    )
    of_statements = [
        compose(
            "CREATE TRIGGER {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}()",
            Identifier(trigger_name(index, event)),
            compose(clause, table.identifier),
            index.identifier,
        )
        for event, clause in EVENTS.items()
    ]
    return [of_rows, *of_statements]


def drop_triggers(index: GlobalIndex, table: Table) -> list[SQL]:
    """The triggers of the table go."""
    found = [row_trigger_name(index), *(trigger_name(index, event) for event in EVENTS)]
    return [compose("DROP TRIGGER {} ON {}", Identifier(name), table.identifier) for name in found]


def guard(index: GlobalIndex, partition: Identifier, *, is_leaf: bool) -> SQL:
    """What a slice or leaf has of its own: the refusal of statements that name it; TRUNCATE of a leaf is seen."""
    return compose(
        "CREATE TRIGGER {} BEFORE INSERT OR UPDATE OR DELETE{} ON {} FOR EACH STATEMENT"
        " EXECUTE FUNCTION {}('partition')",
        Identifier(trigger_name(index, "guard")),
        SQL(" OR TRUNCATE" if is_leaf else ""),
        partition,
        index.identifier,
    )


def drop_guard(index: GlobalIndex, partition: Identifier) -> SQL:
    """A partition that is none any more."""
    return compose("DROP TRIGGER IF EXISTS {} ON {}", Identifier(trigger_name(index, "guard")), partition)
''','plan.lifecycle': r'''"""Detaching and dropping slices of a whole hierarchy, and which ones retention retires."""

from __future__ import annotations

from ..model import Hierarchy, Slice, SliceSpec, Table
from ..operation import (
    ACCESS_EXCLUSIVE,
    ROW_EXCLUSIVE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Operation,
    Step,
)
from ..sql import SQL, Identifier, compose
from . import detached, global_index, keeping, self_reference, trees


def expired(hierarchy: Hierarchy, cutoff: int) -> list[Slice]:
    """The root's slices that end at or before a point; the last slice never expires."""
    slices = hierarchy.range_slices(hierarchy.root)
    return [each for each in slices[:-1] if each.upper is not None and each.upper.point <= cutoff]


def without(hierarchy: Hierarchy, retired: list[Slice]) -> Hierarchy:
    """The hierarchy as it will be without some slices, for plans that are only printed."""
    spans = {each.span for each in retired}
    slices = {
        table: tuple(each for each in found if each.is_default or each.span not in spans)
        for table, found in hierarchy.slices.items()
    }
    return hierarchy._replace(slices=slices)


def with_new(hierarchy: Hierarchy, specs: list[SliceSpec]) -> Hierarchy:
    """The hierarchy as it will be with slices of the root that it lacks, for plans that are only printed."""
    root = hierarchy.root
    new = [
        Slice(
            0, root.schema, spec.suffix, bool(spec.modulus), spec.is_default, False, spec.lower, spec.upper,
            spec.modulus, tuple(range(spec.modulus)),
        )
        for spec in specs
        if spec.span not in {each.span for each in hierarchy.slices[root.oid]}
    ]  # fmt: skip
    of_root = sorted((*hierarchy.slices[root.oid], *new), key=_lower)
    return hierarchy._replace(slices={**hierarchy.slices, root.oid: tuple(of_root)})


def _lower(each: Slice) -> tuple[bool, bool, int]:
    """In the order of their lower bounds, one that has none first, the default slice last."""
    return each.is_default, each.lower is not None, each.lower.point if each.lower else 0


def siblings(hierarchy: Hierarchy, span: tuple[int | None, int | None]) -> list[tuple[Table, Slice]]:
    """A slice in every table that has it, referenced tables first."""
    return [(table, each) for table in hierarchy.tables for each in hierarchy.range_slices(table) if each.span == span]


def detach_steps(
    hierarchy: Hierarchy,
    span: tuple[int | None, int | None],
    foreign_keys: dict[int, tuple[str, ...]],
    leaves: dict[int, tuple[Identifier, ...]],
    to_schema: str | None,
    forced: frozenset[int],
) -> list[Step]:
    """Detach a slice from every table, children first, a step a table."""
    steps = []
    for table, each in reversed(siblings(hierarchy, span)):
        operations = self_reference.let_go_operations(hierarchy, table, each, True, each.oid in forced)
        operations += _detach(hierarchy, table, each)
        operations += _let_go_of_indexes(table, (each.identifier, *leaves.get(each.oid, ())))
        operations += _detached(hierarchy, table, each, foreign_keys.get(each.oid, ()))
        operations += self_reference.put_back_operations(hierarchy, table, each, each.oid in forced)
        if to_schema is not None:
            for relation in (each.identifier, *leaves.get(each.oid, ())):
                move = compose("ALTER TABLE {} SET SCHEMA {}", relation, Identifier(to_schema))
                operations.append(Operation(relation, move, ACCESS_EXCLUSIVE, (), 1))
        steps.append(Step(tuple(operations), is_atomic=bool(table.global_indexes)))
    return steps


def drop_steps(
    hierarchy: Hierarchy, span: tuple[int | None, int | None], forced: frozenset[int] = frozenset()
) -> list[Step]:
    """Drop a slice of every table, children first, a step a table; never with CASCADE.

    A slice that others refer to must be detached first, which gives it foreign keys of its own, one for every partition
    that it refers to. Where nothing refers to it, all that is spared.
    """
    steps = []
    for table, each in reversed(siblings(hierarchy, span)):
        statement = compose("DROP TABLE {}", each.identifier)
        if table.is_referenced:
            let_go = self_reference.let_go_operations(hierarchy, table, each, False, each.oid in forced)
            drop = Operation(each.identifier, statement, locks=trees.dropping_detached(hierarchy, table, each))
            steps.append(Step((*let_go, *_detach(hierarchy, table, each), drop), bool(table.global_indexes)))
        else:
            locks = trees.dropping(table, trees.parts(each)) + trees.BOOKKEEPING
            touched = _touched(hierarchy, table, each)
            drop = Operation(each.identifier, statement, ACCESS_EXCLUSIVE, touched, locks)
            steps.append(Step((*_remove_entries(table, each), drop), bool(table.global_indexes)))
    return steps


def _detach(hierarchy: Hierarchy, table: Table, each: Slice) -> list[Operation]:
    detach = compose("ALTER TABLE {} DETACH PARTITION {}", table.identifier, each.identifier)
    locks, locked = trees.detaching(hierarchy, table, each)
    touched = _touched(hierarchy, table, each)
    return [
        *_remove_entries(table, each),
        Operation(each.identifier, detach, ACCESS_EXCLUSIVE, touched, locks, locked),
    ]


def _remove_entries(table: Table, each: Slice) -> list[Operation]:
    """What global indexes know of a slice, which nobody writes to from here on."""
    if not table.global_indexes:
        return []
    lock = compose("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", each.identifier)
    parts = trees.parts(each)
    found = [Operation(each.identifier, lock, SHARE_ROW_EXCLUSIVE, (each.oid,), parts)]
    for index in table.global_indexes:
        statement = global_index.remove_entries(index, each.identifier)
        locks = parts * (1 + table.indexes) + detached.INDEX_LOCKS
        found.append(Operation(index.identifier, statement, ROW_EXCLUSIVE, (), locks))
    return found


def _let_go_of_indexes(table: Table, relations: tuple[Identifier, ...]) -> list[Operation]:
    """A slice that was detached may be written to by its name."""
    return [
        Operation(relation, keeping.drop_guard(index, relation), locks=2)
        for index in table.global_indexes
        for relation in relations
    ]


def _touched(hierarchy: Hierarchy, table: Table, each: Slice) -> tuple[int, ...]:
    """What a slice that goes away locks: the table, the slice, and the default slice, whose bound changes."""
    default = hierarchy.default_slice(table)
    return (table.oid, each.oid) + ((default.oid,) if default else ())


def _detached(hierarchy: Hierarchy, table: Table, each: Slice, foreign_keys: tuple[str, ...]) -> list[Operation]:
    """What follows a detach: foreign keys, which detached tables keep, would keep the parent's slice; bounds."""
    found = [
        Operation(
            each.identifier,
            compose("ALTER TABLE {} DROP CONSTRAINT {}", each.identifier, Identifier(name)),
            ACCESS_EXCLUSIVE,
            tuple(parent.oid for parent in hierarchy.parents(table)),
            trees.dropping_key(hierarchy, table, trees.parts(each)),
        )
        for name in foreign_keys
    ]
    return found + [Operation(each.identifier, detached.remember_statement(hierarchy, table, each), locks=2)]


def analyze_step(table: Table, slices: tuple[Slice, ...], only: bool) -> Step:
    """ANALYZE of a parent, which autovacuum never does; 18 and later need not read the leaves twice."""
    statement = compose("ANALYZE {}{}", SQL("ONLY " if only else ""), table.identifier)
    leaves = sum(trees.parts(each) for each in slices)
    locks = leaves * (1 if only else table.relations_per_leaf) + 1
    return Step((Operation(table.identifier, statement, SHARE_UPDATE_EXCLUSIVE, (), locks),))


def finalize_step(hierarchy: Hierarchy, table: Table, each: Slice, foreign_keys: tuple[str, ...]) -> Step:
    """Finish a DETACH CONCURRENTLY that was interrupted, and leave the table as dp.detach_slice does."""
    statement = compose("ALTER TABLE {} DETACH PARTITION {} FINALIZE", table.identifier, each.identifier)
    locks, locked = trees.detaching(hierarchy, table, each)
    finalize = Operation(each.identifier, statement, ACCESS_EXCLUSIVE, (each.oid,), locks, locked)
    afterwards = _detached(hierarchy, table, each, foreign_keys)
    return Step((*_remove_entries(table, each), finalize, *afterwards), bool(table.global_indexes))
''','plan.lookup': r'''"""Lookups: functions that find the rows of a table by columns whose partition keys a global index holds."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import GlobalIndex, Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose


class Lookup(NamedTuple):
    """A lookup function: of the index's own table, or of one that refers to it."""

    table: Table
    columns: tuple[str, ...]  # of the table; they hold what the index's columns hold
    types: tuple[str, ...]
    side: GlobalIndex
    partition_keys: tuple[str, ...]

    @property
    def identifier(self) -> Identifier:
        """Its name: ``"DialogContent_by_DialogId"``."""
        return Identifier(self.table.schema, naming.derived_name(self.table.name, f"by_{'_'.join(self.columns)}"))

    @property
    def signature(self) -> SQL:
        """Its name and the types of its arguments."""
        types = comma_list([compose("{}[]", SQL(each)) for each in self.types])
        return compose("{}({})", self.identifier, types)

    @property
    def comment(self) -> str:
        """What it is, by which it is known again."""
        columns = ", ".join(self.columns)
        return f"Rows of {self.table.identifier} by {columns}, by the global index {self.side.identifier}."


# First the keys, then a statement for each hash key, planned with its constants, so that it reads few leaves. A join of
# both would be planned for all leaves.
_BODY = """
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT {keys}, {lists} FROM {side} AS g WHERE {is_asked} {grouped}
    LOOP
        RETURN QUERY EXECUTE {query} USING {given};
    END LOOP;
END
"""


def create(lookup: Lookup) -> list[SQL]:
    """The function: PL/pgSQL, run with the caller's rights."""
    index, keys = lookup.side, lookup.partition_keys
    hash_key = keys[1] if len(keys) > 1 else None
    known: list[SQL] = [compose("array_agg(DISTINCT g.{}) AS range_keys", Identifier(keys[0]))]
    bound = [compose("t.{} = ANY ($1)", Identifier(keys[0]))]
    given = ["found.range_keys"]
    if hash_key is not None:
        known.append(compose("g.{} AS hash_key", Identifier(hash_key)))
        bound.append(compose("t.{} = $2", Identifier(hash_key)))
        given.append("found.hash_key")
    first = len(given) + 1
    arrays = [f"${number}" for number in range(1, len(index.columns) + 1)]
    used = [f"${number}" for number in range(first, first + len(index.columns))]
    lists: list[SQL] = []
    for number, column in enumerate(index.columns):
        lists.append(compose("array_agg(g.{}) AS {}", Identifier(column), Identifier(f"values_{number}")))
        given.append(f"found.values_{number}")
    conditions = " AND ".join(each.text for each in (*bound, _is_among("t", lookup.columns, used)))
    query = compose("SELECT t.* FROM {} AS t WHERE {}", lookup.table.identifier, SQL(conditions))
    body = compose(
        _BODY,
        keys=comma_list(known),
        lists=comma_list(lists),
        side=index.identifier,
        is_asked=_is_among("g", index.columns, arrays),
        grouped=compose("GROUP BY g.{}", Identifier(hash_key)) if hash_key else SQL("HAVING count(*) > 0"),
        query=Literal(query.text),
        given=SQL(", ".join(given)),
    )
    arguments: list[Composable] = [
        compose("{} {}[]", Identifier(f"{column}s"), SQL(type_text))
        for column, type_text in zip(lookup.columns, lookup.types)
    ]
    return [
        compose(
            "CREATE OR REPLACE FUNCTION {}({}) RETURNS SETOF {} LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 AS {}",
            lookup.identifier,
            comma_list(arguments),
            lookup.table.identifier,
            Literal(body.text),
        ),
        compose("COMMENT ON FUNCTION {} IS {}", lookup.signature, Literal(lookup.comment)),
    ]


def drop(lookup: Lookup) -> SQL:
    """The function goes."""
    return compose("DROP FUNCTION {}", lookup.signature)


def _is_among(record: str, columns: tuple[str, ...], arrays: list[str]) -> SQL:
    """That the columns of a record are together among the elements of arrays."""
    if len(columns) == 1:
        return compose("{}.{} = ANY ({})", SQL(record), Identifier(columns[0]), SQL(arrays[0]))
    own = comma_list([compose("{}.{}", SQL(record), Identifier(column)) for column in columns])
    return compose("({}) IN (SELECT * FROM unnest({}))", own, SQL(", ".join(arrays)))
''','plan.online': r'''"""Schema changes that nobody waits for long: each partition by itself, and what joins them at the end.

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


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

    def is_equal(self, index: Index) -> bool:
        """Whether an index that is not attached does the same."""
        return index.parent == 0 and index.is_unique == self.is_unique and index.definition == self.definition

    def name_for(self, part: Part) -> str:
        """The name of a partition's index."""
        return self.name if part.parent == 0 else naming.unique_derived_name(part.name, self.name)


def create_index(parts: tuple[Part, ...], wanted: Wanted) -> list[Step]:
    """An index on every partition without blocking writers; the table first, leaves by slices."""
    chosen: dict[int, tuple[int, Identifier]] = {}  # the index of each part that has partitions; oid 0: yet to be made
    steps: list[Step] = []
    by_parent: dict[int, list[Part]] = {}
    for part in parts:
        if part.is_leaf:
            by_parent.setdefault(part.parent, []).append(part)
            continue
        index, operations = _upper_index(part, wanted, chosen.get(part.parent))
        chosen[part.oid] = index
        if operations:
            steps.append(Step(tuple(operations), is_atomic=len(operations) > 1))
    for parent, leaves in by_parent.items():
        attached: list[Operation] = []
        for leaf in leaves:
            steps += _leaf_steps(leaf, wanted, chosen[parent], attached)
        if attached:
            steps.append(Step(tuple(attached)))
    return steps


def _upper_index(
    part: Part, wanted: Wanted, above: tuple[int, Identifier] | None
) -> tuple[tuple[int, Identifier], list[Operation]]:
    """The index of the table or of a slice, without its partitions; and what makes it."""
    found = _own(part, wanted, above)
    if found is not None and (above is None or found.parent == above[0] != 0):
        return (found.oid, found.identifier), []
    name = found.identifier if found is not None else Identifier(part.schema, wanted.name_for(part))
    operations = []
    if found is None:
        unique = SQL("UNIQUE " if wanted.is_unique else "")
        statement = compose(
            "CREATE {}INDEX {} ON ONLY {} {}",
            unique,
            Identifier(name.name),
            part.identifier,
            SQL(wanted.definition),
        )
        operations.append(Operation(part.identifier, statement, SHARE, (part.oid,), 4))
    if above is not None:
        operations.append(_attach(part, above[1], name, found))
    return (found.oid if found is not None else 0, name), operations


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
        unique = SQL("UNIQUE " if wanted.is_unique else "")
        statement = compose(
            "CREATE {}INDEX CONCURRENTLY {} ON {} {}",
            unique,
            Identifier(name.name),
            leaf.identifier,
            SQL(wanted.definition),
        )
        yield outside(leaf, statement)
    attached.append(_attach(leaf, above[1], name, found))


def leftovers(leaf: Part, wanted: Wanted) -> list[Index]:
    """What a call that was stopped left on a leaf: an index that is equal, attached to nothing, and not valid."""
    return [index for index in leaf.indexes if wanted.is_equal(index) and not index.is_valid and not index.is_busy]


def unattached(leaf: Part, wanted: Wanted) -> list[Index]:
    """What a call that was stopped built on a leaf and did not attach, besides what it left half built."""
    ready = [index for index in leaf.indexes if wanted.is_equal(index) and index.is_valid]
    return leftovers(leaf, wanted) + [index for index in ready if index.name == wanted.name_for(leaf)]


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
    steps = [drop_leftover(part, index) for part in parts if part.is_leaf for index in unattached(part, wanted)]
    statement = compose("DROP INDEX {}", Identifier(target.table.schema, wanted.name))
    return [*steps, Step((on_parent(target, statement, 2),))]


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
''','plan.physical_order': r'''"""The physical order of leaves: by which index, how far a leaf is from it, and what brings it there.

The order of a table is an index of it. Which one, the leaves themselves say (CLUSTER ON); where none does, the index
that its readers use is taken: the owner's newest rows first in the root, the rows of one parent together in a child.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model import Hierarchy, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, Literal, comma_list, compose, conjunction

GROUPS = 100  # how many groups of rows are looked at in a leaf
ROWS_OF_GROUP = 200  # and how many rows of each, at most
FIRST_BYTES_A_SECOND = 50_000_000  # how fast the first leaf is ordered, before it was measured
NEW_FILES = 8  # a leaf written anew locks its new files, too


class OrderIndex(NamedTuple):
    """An index that leaves can be ordered by."""

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]
    directions: tuple[str, ...]  # behind each column in ORDER BY
    marked: int  # how many leaves are marked with it

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


class Leaf(NamedTuple):
    """A leaf and its part of the index of the order."""

    oid: int
    schema: str
    name: str
    index_name: str
    pages: int
    size: int  # bytes of its rows
    relations: int  # itself, its indexes, its TOAST table

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


def wanted_columns(hierarchy: Hierarchy, table: Table) -> tuple[str, ...]:
    """The columns that the order of a table begins with, where the leaves do not say; none for an unkeyed root."""
    policy = hierarchy.policy
    if table.oid == hierarchy.root.oid:
        found = (policy.hash_key, policy.slice_key, policy.range_key)
        return tuple(column for column in found if column is not None)
    keys = policy.partition_keys
    for key in hierarchy.foreign_keys:
        if key.child == table.oid and key.parent != table.oid:
            return tuple(column for column in key.columns if column not in keys)
    return ()


def choose(hierarchy: Hierarchy, table: Table, indexes: list[OrderIndex]) -> OrderIndex | None:
    """The index that most leaves are marked with; else the shortest one that begins with the wanted columns.

    In a child one that the owner's column leads is better still: it keeps the rows of one parent together, and beside
    them those of the owner's others.
    """
    marked = [index for index in indexes if index.marked]
    if marked:
        return max(marked, key=lambda index: (index.marked, index.name))
    wanted = wanted_columns(hierarchy, table)
    owner = hierarchy.policy.hash_key
    preferred = [(owner, *wanted)] if owner is not None and table.oid != hierarchy.root.oid else []
    for columns in (*preferred, wanted):
        fitting = [index for index in indexes if wanted and index.columns[: len(columns)] == columns]
        if fitting:
            return min(fitting, key=lambda index: (len(index.columns), index.name))
    return None


def group_columns(hierarchy: Hierarchy, table: Table, index: OrderIndex) -> tuple[str, ...]:
    """What the rows that are read together have in common: the owner in the root, the parent in a child."""
    wanted = wanted_columns(hierarchy, table)
    if table.oid == hierarchy.root.oid or index.columns[: len(wanted)] != wanted:
        return index.columns[:1]
    return wanted


def measurement(leaf: Leaf, index: OrderIndex, groups: tuple[str, ...], percent: float) -> SQL:
    """The pages that sampled groups of rows lie in, and the least that they could lie in.

    The groups are those of rows in random pages; of a large group the rows at its beginning count, in the order of the
    index, as a reader with a LIMIT takes them. The least is what one row after the other takes, wherever in a page
    the first one stands.
    """
    keys = [Identifier(column) for column in groups]
    block = SQL("((ctid::text::point)[0])::bigint")
    order = [compose("{} {}", Identifier(c), SQL(d)) for c, d in zip(index.columns, index.directions)]
    return compose(
        "WITH sampled AS MATERIALIZED (SELECT {block} AS dp_block, ctid AS dp_row, {keys} FROM ONLY {leaf}"
        " TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)),"
        " density AS (SELECT count(*)::float8 / greatest(count(DISTINCT dp_block), 1) AS rows FROM sampled),"
        " chosen AS (SELECT DISTINCT {keys} FROM (SELECT * FROM sampled ORDER BY md5(dp_row::text) LIMIT {groups})"
        " AS picked),"
        " looked AS (SELECT one.pages, one.rows FROM chosen CROSS JOIN LATERAL (SELECT count(*) AS rows,"
        " count(DISTINCT dp_block) AS pages FROM (SELECT {block} AS dp_block FROM ONLY {leaf} AS dp_leaf"
        " WHERE {same} ORDER BY {order} LIMIT {limit}) AS taken) AS one WHERE one.rows > 0)"
        " SELECT sum(pages)::float8 AS pages, sum(1 + (looked.rows - 1) / density.rows)::float8 AS least"
        " FROM looked, density",
        block=block,
        keys=comma_list(keys),
        leaf=leaf.identifier,
        percent=SQL(f"{percent:.6f}"),
        groups=Literal(GROUPS),
        limit=Literal(ROWS_OF_GROUP),
        same=conjunction([compose("dp_leaf.{} = chosen.{}", key, key) for key in keys]),
        order=comma_list(order),
    )


def order_steps(leaf: Leaf, vacuum: bool, prewarm: Identifier | None) -> list[Step]:
    """Write a leaf in its order; then VACUUM, for its visibility map is empty, which ends index-only scans.

    ``prewarm``: the function that reads a leaf into the cache again, where it was there before.
    """
    target = leaf.identifier
    cluster = compose("CLUSTER {} USING {}", target, Identifier(leaf.index_name))
    relations = (leaf.oid,)
    steps = [
        Step(
            (
                Operation(target, cluster, ACCESS_EXCLUSIVE, relations, 3 * leaf.relations + NEW_FILES),
                Operation(target, compose("ANALYZE {}", target), SHARE_UPDATE_EXCLUSIVE, (), leaf.relations),
            )
        )
    ]
    if vacuum:
        statement = compose("VACUUM {}", target)
        steps.append(Step((Operation(target, statement, SHARE_UPDATE_EXCLUSIVE, relations, in_transaction=False),)))
    if prewarm is not None:
        statement = compose("SELECT {}({}::pg_catalog.regclass)", prewarm, Literal(target.text))
        steps.append(Step((Operation(target, statement, SHARE_UPDATE_EXCLUSIVE),)))
    return steps


def mark_steps(leaves: list[Leaf]) -> list[Operation]:
    """Say of leaves which index their order is, without ordering them."""
    return [
        Operation(
            leaf.identifier,
            compose("ALTER TABLE {} CLUSTER ON {}", leaf.identifier, Identifier(leaf.index_name)),
            ACCESS_EXCLUSIVE,
            (leaf.oid,),
            leaf.relations,
        )
        for leaf in leaves
    ]
''','plan.propagation': r'''"""What a plain DDL command changed of a managed table, and what carries it to template and partitions."""

from __future__ import annotations

from typing import NamedTuple

from ..operation import ACCESS_EXCLUSIVE, Operation
from ..sql import SQL, Identifier, Literal, compose
from . import alter, trees
from .difference import OWNER, Difference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..sql import Composable

COLUMN, SCHEMA, STATISTICS_OBJECT, STATISTICS_TARGET = "column", "schema", "statistics object", "statistics target"
COLUMN_OPTIONS = ("n_distinct", "n_distinct_inherited")


class Change(NamedTuple):
    """One aspect of a table that a command changed, named as drift names it; None: there was, or is, none."""

    aspect: str
    part: str
    before: str | None
    after: str | None


def renamed_columns(changes: list[Change]) -> list[tuple[str, str]]:
    """Columns that have another name now: old and new. What dp._ddl_state says of a column begins with its number."""
    columns = [each for each in changes if each.aspect == COLUMN]
    gone = {str(each.before).split()[0]: each.part for each in columns if each.after is None}
    new = {str(each.after).split()[0]: each.part for each in columns if each.before is None}
    return [(gone[number], new[number]) for number in gone if number in new]


def template_operations(target: alter.Target, changes: list[Change]) -> list[Operation]:
    """What the template does not get as a mended difference: it is the source of these, or they are its own."""
    renames = renamed_columns(changes)
    found = [
        operation
        for old, new in renames
        for operation in alter.follow_renamed_column(target, old, new, of_template=target.table.template is not None)
    ]
    moved = {each.part for each in changes if each.aspect == COLUMN and None in (each.before, each.after)}
    for each in changes:
        action = None if each.part in moved else _template_action(each)
        if action is not None:
            found += alter.on_template(target, lambda template, action=action: alter.alter(template, action))  # type: ignore[misc]
    return found


def _template_action(change: Change) -> Composable | None:
    column = Identifier(change.part)
    if change.aspect == STATISTICS_TARGET:
        return compose("ALTER COLUMN {} SET STATISTICS {}", column, Literal(int(change.after or -1)))
    if change.aspect in COLUMN_OPTIONS:
        option = SQL(change.aspect)
        if change.after is None:
            return compose("ALTER COLUMN {} RESET ({})", column, option)
        return compose("ALTER COLUMN {} SET ({} = {})", column, option, Literal(change.after))
    return None


def owner_operations(target: alter.Target, changes: list[Change]) -> list[Operation]:
    """The template's new owner."""
    if all(each.aspect != OWNER for each in changes):
        return []
    owner = Identifier(target.table.owner)
    return alter.on_template(target, lambda template: compose("ALTER TABLE {} OWNER TO {}", template, owner))


def schema_operations(target: alter.Target, changes: list[Change]) -> list[Operation]:
    """Template and partitions that stood in the table's old schema go along to the new one."""
    old = next((each.before for each in changes if each.aspect == SCHEMA), None)
    if old is None:
        return []
    relations = [identifier for _, identifier in target.slices] + list(target.leaves)
    if target.table.template is not None:
        relations.append(target.table.template)
    tree = ((target.table.oid, 2 * trees.size(target.hierarchy, target.table.oid) * target.table.relations_per_leaf),)
    new = Identifier(target.table.schema)
    return [
        Operation(each, compose("ALTER TABLE {} SET SCHEMA {}", each, new), ACCESS_EXCLUSIVE, target.relations, 1, tree)
        for each in relations
        if each.text.startswith(f"{Identifier(old).text}.")
    ]


def is_carried(difference: Difference, changes: list[Change]) -> bool:
    """Whether a difference comes from what the command changed; others may be meant, and are left alone."""
    return any(
        each.aspect == difference.aspect and (each.part == difference.part or each.aspect == STATISTICS_OBJECT)
        for each in changes
    )
''','plan.properties': r'''"""What a leaf must have that PostgreSQL does not pass on from the parent, and the statements that give it.

The parent is the source of what it can hold itself: privileges, row security, comments, statistics objects, replica
identity. The template is the source of the rest: storage parameters, column statistics targets and options, leaf-only
indexes, statistics objects that only leaves shall have, UNLOGGED. doc/templates.md has the table.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose
from .row_policy import RowPolicy, policy_statement, requalified


class Grant(NamedTuple):
    """One privilege of one grantee (None: PUBLIC) on the table or on a column."""

    grantee: str | None
    privilege: str
    column: str | None
    is_grantable: bool
    grantor: str | None = None  # where that is not the table's owner


class StatisticsObject(NamedTuple):
    """Extended statistics: what follows its name up to FROM, and its target."""

    name: str
    definition: str  # "(ndistinct, mcv) ON a, b"
    target: int | None


class LeafIndex(NamedTuple):
    """An index that only leaves have: its text behind the table's name."""

    name: str
    is_unique: bool
    definition: str  # "USING btree (a) WHERE ..."
    is_valid: bool = True

    @property
    def kind(self) -> tuple[bool, str]:
        """What makes it the same as another one."""
        return (self.is_unique, self.definition)


class State(NamedTuple):
    """What the catalog says of one relation: a table, a template, a slice or a leaf."""

    schema: str
    name: str
    owner: str
    owner_lacks: tuple[str, ...]  # privileges that the owner took from itself
    is_unlogged: bool
    options: tuple[tuple[str, str], ...]  # storage parameters, "toast." ones too
    replica_identity: str  # d n f i
    replica_index: str | None  # the index that serves as replica identity; of a partition's the parent's
    row_security: bool
    force_row_security: bool
    comment: str | None
    access_method: str | None
    tablespace: str | None
    column_targets: tuple[tuple[str, int], ...]
    column_options: tuple[tuple[str, str], ...]  # column, "n_distinct=-0.5"
    column_comments: tuple[tuple[str, str], ...]
    grants: tuple[Grant, ...]
    policies: tuple[RowPolicy, ...]
    statistics: tuple[StatisticsObject, ...]
    indexes: tuple[LeafIndex, ...]  # its own: neither partitioned nor part of one

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


class Properties(NamedTuple):
    """What every new slice and leaf of one managed table shall have."""

    name: str
    access_method: str | None
    tablespace: str | None
    is_unlogged: bool
    options: tuple[tuple[str, str], ...]
    column_targets: tuple[tuple[str, int], ...]
    column_options: tuple[tuple[str, str], ...]
    replica_identity: str
    replica_index: str | None  # the parent's index, or the template's, that serves as replica identity
    comment: str | None
    column_comments: tuple[tuple[str, str], ...]
    row_security: bool
    force_row_security: bool
    owner: str
    policies: tuple[RowPolicy, ...]
    default_grantees: tuple[str | None, ...]  # who gets privileges on new tables by ALTER DEFAULT PRIVILEGES
    grants: tuple[Grant, ...]
    owner_lacks: tuple[str, ...]
    statistics: tuple[StatisticsObject, ...]
    leaf_indexes: tuple[LeafIndex, ...]
    renamed_indexes: bool  # PostgreSQL's own index names would not be predictable


def wanted(
    parent: State, template: State | None, default_grantees: tuple[str | None, ...], renamed_indexes: bool
) -> Properties:
    """Which of its properties come from the parent and which from the template: the one place that says so."""
    model = template or parent
    identity = parent if parent.replica_identity != "d" else model
    statistics = parent.statistics + (template.statistics if template is not None else ())
    return Properties(
        parent.name,
        parent.access_method,
        parent.tablespace,
        model.is_unlogged,
        model.options,
        model.column_targets,
        model.column_options,
        identity.replica_identity,
        identity.replica_index,
        parent.comment,
        parent.column_comments,
        parent.row_security,
        parent.force_row_security,
        parent.owner,
        parent.policies,
        default_grantees,
        tuple(dict.fromkeys(grant._replace(grantor=None) for grant in parent.grants)),
        parent.owner_lacks,
        tuple(sorted(statistics, key=lambda each: each.name)),
        template.indexes if template is not None else (),
        renamed_indexes,
    )


def grantee_name(grantee: str | None) -> Composable:
    """A role, or PUBLIC."""
    return SQL("PUBLIC") if grantee is None else Identifier(grantee)


def storage_clause(options: tuple[tuple[str, str], ...]) -> Composable:
    """``fillfactor = '90', toast.autovacuum_enabled = 'false'``."""
    return comma_list([compose("{} = {}", option_name(name), Literal(value)) for name, value in options])


def option_name(name: str) -> SQL:
    """A storage parameter's name, ``toast.autovacuum_enabled`` among them."""
    return SQL(".".join(Identifier(part).text for part in name.split(".")))


def relation_statements(properties: Properties, relation: Identifier) -> list[SQL]:
    """What every new slice and leaf needs."""
    found: list[SQL] = []
    for grantee in properties.default_grantees:
        found.append(compose("REVOKE ALL ON TABLE {} FROM {}", relation, grantee_name(grantee)))
    found += grant_statements(properties.grants, relation)
    if properties.owner_lacks:
        lacking = SQL(", ".join(properties.owner_lacks))
        found.append(compose("REVOKE {} ON TABLE {} FROM {}", lacking, relation, Identifier(properties.owner)))
    found += comment_statements(properties.comment, properties.column_comments, relation)
    if properties.row_security:
        found.append(compose("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", relation))
    if properties.force_row_security:
        found.append(compose("ALTER TABLE {} FORCE ROW LEVEL SECURITY", relation))
    found += [
        policy_statement(requalified(policy, properties.name, relation), relation) for policy in properties.policies
    ]
    return found


def leaf_statements(properties: Properties, schema: str, leaf: str) -> list[SQL]:
    """What every new leaf needs besides, in the order in which it can be given."""
    relation = Identifier(schema, leaf)
    found: list[SQL] = []
    if properties.options:
        found.append(compose("ALTER TABLE {} SET ({})", relation, storage_clause(properties.options)))
    found += column_statements(properties, relation)
    for each in properties.statistics:
        statistics = Identifier(schema, naming.unique_derived_name(leaf, each.name))
        found.append(compose("CREATE STATISTICS {} {} FROM {}", statistics, SQL(each.definition), relation))
        if each.target is not None:
            found.append(compose("ALTER STATISTICS {} SET STATISTICS {}", statistics, Literal(each.target)))
    for index in properties.leaf_indexes:
        unique = SQL("UNIQUE " if index.is_unique else "")
        index_name = Identifier(naming.unique_derived_name(leaf, index.name))
        found.append(compose("CREATE {}INDEX {} ON {} {}", unique, index_name, relation, SQL(index.definition)))
    return found


def column_statements(properties: Properties, relation: Identifier) -> list[SQL]:
    """Statistics targets and options of columns: ANALYZE of the parent goes by the parent's own."""
    found = [
        compose("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS {}", relation, Identifier(column), Literal(target))
        for column, target in properties.column_targets
    ]
    for column, option in properties.column_options:
        name, _, value = option.partition("=")
        found.append(
            compose(
                "ALTER TABLE {} ALTER COLUMN {} SET ({} = {})", relation, Identifier(column), SQL(name), Literal(value)
            )
        )
    return found


def replica_identity_statement(properties: Properties, relation: Identifier) -> SQL | None:
    """The replica identity; by index it goes through a helper that finds the leaf's own index."""
    kind = {"f": "FULL", "n": "NOTHING"}.get(properties.replica_identity)
    if kind:
        return compose("ALTER TABLE {} REPLICA IDENTITY {}", relation, SQL(kind))
    if properties.replica_index in {index.name for index in properties.leaf_indexes}:
        own = Identifier(naming.unique_derived_name(relation.name, str(properties.replica_index)))
        return compose("ALTER TABLE {} REPLICA IDENTITY USING INDEX {}", relation, own)
    if properties.replica_identity == "i" and properties.replica_index:
        return compose(
            "SELECT dp._set_replica_identity({}, {})", Literal(relation.text), Literal(properties.replica_index)
        )
    return None


def grant_statements(grants: tuple[Grant, ...], relation: Identifier) -> list[SQL]:
    """GRANTs; privileges of one grantee in one statement."""
    grouped: dict[tuple[str | None, bool], list[str]] = {}
    for each in grants:
        text = each.privilege if each.column is None else f"{each.privilege} ({Identifier(each.column).text})"
        grouped.setdefault((each.grantee, each.is_grantable), []).append(text)
    return [
        compose(
            "GRANT {} ON TABLE {} TO {}{}",
            SQL(", ".join(privileges)),
            relation,
            grantee_name(grantee),
            SQL(" WITH GRANT OPTION" if grantable else ""),
        )
        for (grantee, grantable), privileges in grouped.items()
    ]


def comment_statements(
    comment: str | None, column_comments: tuple[tuple[str, str], ...], relation: Identifier
) -> list[SQL]:
    """COMMENTs on a table and its columns."""
    found = []
    if comment is not None:
        found.append(compose("COMMENT ON TABLE {} IS {}", relation, Literal(comment)))
    for column, text in column_comments:
        found.append(compose("COMMENT ON COLUMN {}.{} IS {}", relation, Identifier(column), Literal(text)))
    return found
''','plan.remakable': r'''"""Which tables can be made anew as partitioned ones without losing anything."""

from __future__ import annotations

from .. import errors
from ..sql import Identifier, names
from .structure import Structure

EXCLUSION_SINCE = 170000


def check_can_be_remade(structure: Structure, partition_keys: tuple[str, ...], version: int) -> None:
    """Refuse a table that cannot be made anew without losing something."""
    table = structure.identifier
    if structure.has_rows:
        raise errors.NotInPrerequisiteState(
            f"{table} is not partitioned and holds rows",
            "Only an empty table can be made anew as a partitioned one.",
            "Declare the hierarchy before rows are loaded, or move them aside and insert them again through the root.",
        )
    if structure.has_partitions and structure.kind == "p":
        raise errors.InvalidTableDefinition(
            f"{table} has partitions, but is not partitioned as the hierarchy needs it",
            "A table that has partitions cannot be made anew.",
            "See dp.adopt(...) for an existing tree of partitions.",
        )
    if structure.has_partitions:
        raise errors.WrongObjectType(
            f"{table} has inheritance children",
            "A partitioned table cannot have any.",
            "Detach them first with ALTER TABLE ... NO INHERIT.",
        )
    if structure.is_typed:
        raise errors.WrongObjectType(
            f"{table} is a typed table",
            "Its columns are those of a composite type, so that it cannot be given the partition keys.",
            "Make it a table of its own with ALTER TABLE ... NOT OF.",
        )
    if structure.dependents:
        raise errors.DependentObjects(
            f"{table} cannot be made anew as a partitioned table, because other objects depend on it",
            "They are " + ", ".join(structure.dependents) + ".",
            "Drop them first and create them again afterwards.",
        )
    _check_parts(structure, partition_keys, version)
    _check_publications(structure)


def _check_parts(structure: Structure, partition_keys: tuple[str, ...], version: int) -> None:
    table = structure.identifier
    for trigger in structure.triggers:
        if trigger.is_row_with_transition_table:
            raise errors.InvalidTableDefinition(
                f'trigger "{trigger.name}" of {table} cannot exist on a partitioned table',
                "PostgreSQL allows no row trigger with transition tables there.",
                "Make it a statement trigger, or drop it.",
            )
    for index in structure.indexes:
        holds = version >= EXCLUSION_SINCE and set(partition_keys) <= set(index.columns)
        if index.constraint_type == "x" and not holds:
            raise errors.InvalidTableDefinition(
                f'exclusion constraint "{index.name}" of {table} cannot hold over all partitions',
                "PostgreSQL 17 and later allow one on a partitioned table where it compares the partition keys"
                f" ({names(partition_keys)}) with =, earlier versions none.",
                "Drop it first.",
            )
    _check_keys(structure)
    for name in structure.uninherited_checks:
        raise errors.InvalidTableDefinition(
            f'check constraint "{name}" of {table} is NO INHERIT, which a partitioned table cannot have',
            "All rows are in partitions.",
            "Drop it, or add it again without NO INHERIT.",
        )


def _check_keys(structure: Structure) -> None:
    """Keys that PostgreSQL has, and that cannot be widened by the partition keys or referred to with them."""
    table = structure.identifier
    for index in structure.indexes:
        if index.constraint_type in ("p", "u") and "WITHOUT OVERLAPS" in index.definition:
            raise errors.InvalidTableDefinition(
                f'constraint "{index.name}" of {table} is WITHOUT OVERLAPS, and cannot hold over all partitions',
                "Equal values could overlap in two partitions.",
                "Drop it first.",
            )
        if index.constraint_type == "p" and index.definition.endswith(("DEFERRABLE", "INITIALLY DEFERRED")):
            raise errors.InvalidTableDefinition(
                f'the primary key "{index.name}" of {table} is deferrable',
                "No foreign key can refer to it, those of children in the hierarchy among them.",
                "Make it one that is checked at once.",
            )
    for name, definition in structure.foreign_key_definitions.items():
        if definition.endswith("NOT ENFORCED") or "PERIOD " in definition:
            raise errors.InvalidTableDefinition(
                f'foreign key "{name}" of {table} is NOT ENFORCED, or refers to a PERIOD',
                "Foreign keys inside a hierarchy are enforced, and carry the partition keys.",
                "Drop it first.",
            )


def _check_publications(structure: Structure) -> None:
    for publication in structure.publications:
        if not publication.is_owner:
            raise errors.InsufficientPrivilege(
                f'must be owner of publication "{publication.name}"',
                f"{structure.identifier} is in it and leaves it when it is made anew; {structure.owner} could not add"
                " it again.",
                f"ALTER PUBLICATION {Identifier(publication.name)} DROP TABLE {structure.identifier}, and add it again"
                " afterwards.",
            )
        if (publication.columns or publication.condition) and not publication.is_by_root:
            raise errors.InvalidTableDefinition(
                f'publication "{publication.name}" has a column list or a row filter for {structure.identifier}, which'
                " a partitioned table can have only where changes are published as the root's",
                "The publication's publish_via_partition_root is false.",
                f"ALTER PUBLICATION {Identifier(publication.name)} SET (publish_via_partition_root = true);",
            )
''','plan.remake': r'''"""Making an empty table anew as a partitioned one, with everything it had."""

from __future__ import annotations

from ..model import ForeignKey
from ..sql import SQL, Identifier, Literal, compose, names
from .properties import (
    Grant,
    Properties,
    column_statements,
    grantee_name,
    relation_statements,
    replica_identity_statement,
)
from .structure import ENABLED_WORDS, Column, Sequence, Structure, add_constraint
from .unique import index_statements


def guard_statements(structure: Structure, properties: Properties) -> list[SQL]:
    """Lock the table and refuse rows once more: somebody may have inserted some since it was read."""
    found = []
    if properties.force_row_security:  # nothing may hide rows from the look at them; the table goes anyway
        found.append(compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", structure.identifier))
    found.append(compose("SELECT dp._check_empty({})", Literal(structure.identifier.text)))
    return found


def key_column_statements(structure: Structure, wanted: tuple[Column, ...]) -> list[SQL]:
    """Add the key columns that a table lacks, and repair those that differ; for tables without rows."""
    found = []
    for column in wanted:
        present = structure.column(column.name)
        name = Identifier(column.name)
        if present is None:
            found.append(
                compose("ALTER TABLE {} ADD COLUMN {} {} NOT NULL", structure.identifier, name, column.declaration)
            )
            continue
        if not present.is_alike(column):
            using = compose(" USING NULL::{}", SQL(column.type)) if present.type != column.type else SQL("")
            found.append(
                compose(
                    "ALTER TABLE {} ALTER COLUMN {} TYPE {}{}", structure.identifier, name, column.declaration, using
                )
            )
        if not present.is_not_null:
            found.append(compose("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", structure.identifier, name))
    return found


def repairs(structure: Structure, wanted: tuple[Column, ...]) -> list[str]:
    """What is told of key columns that are repaired."""
    found = []
    for column in wanted:
        present = structure.column(column.name)
        if present is not None and not present.is_alike(column):
            found.append(
                f'column "{column.name}" of {structure.identifier} becomes {column.declaration}, as in the root;'
                f" it was {present.declaration}"
            )
    return found


def taken_for_keys(structure: Structure, wanted: tuple[Column, ...], inside: list[ForeignKey]) -> list[str]:
    """What is told of columns that a child has already under the names of the keys, and no foreign key says why."""
    linked = {
        column for key in structure.foreign_keys for column in key.columns if key.name in {k.name for k in inside}
    }
    return [
        f'column "{column.name}" of {structure.identifier} is taken for the partition key of that name: it holds the'
        " value of the parent's"
        for column in wanted
        if structure.column(column.name) is not None and column.name not in linked
    ]


def remake_statements(
    structure: Structure,
    properties: Properties,
    partition_column: str,
    key_columns: tuple[Column, ...],
    keys: tuple[str, ...],
    kept_foreign_keys: tuple[str, ...],
    dropped: tuple[str, ...] = (),
) -> list[SQL]:
    """Make an empty table anew as PARTITION BY RANGE.

    The new table is built under a name of its own, takes the old one's place, and is then given what the catalog said
    of the old one, word for word; only keys are widened. Foreign keys that change are the caller's; so is what is said
    of columns that are dropped.
    """
    found = key_column_statements(structure, key_columns)
    found += _built_aside(structure, properties, partition_column, dropped)
    found += _put_in_place(structure)
    return found + _given_back(structure, properties, keys, kept_foreign_keys)


def _aside(structure: Structure) -> Identifier:
    return Identifier(structure.schema, f"dp_{structure.oid}_remade")


def _built_aside(
    structure: Structure, properties: Properties, partition_column: str, dropped: tuple[str, ...]
) -> list[SQL]:
    """The new table, partitioned, under a name of its own."""
    aside = _aside(structure)
    create = compose(
        "CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS) PARTITION BY RANGE ({}){}",
        aside,
        structure.identifier,
        Identifier(partition_column),
        compose(" TABLESPACE {}", Identifier(properties.tablespace)) if properties.tablespace else SQL(""),
    )
    return [create, *(compose("ALTER TABLE {} DROP COLUMN {}", aside, Identifier(column)) for column in dropped)]


def _put_in_place(structure: Structure) -> list[SQL]:
    """The new table takes the old one's place, and the sequences of serial columns."""
    aside = _aside(structure)
    found = [
        compose(
            "ALTER SEQUENCE {} OWNED BY {}.{}",
            Identifier(sequence.schema, sequence.name),
            aside,
            Identifier(sequence.column),
        )
        for sequence in structure.sequences
        if not sequence.is_identity
    ]
    found.append(compose("DROP TABLE {}", structure.identifier))
    found.append(compose("ALTER TABLE {} RENAME TO {}", aside, Identifier(structure.name)))
    return found


def _given_back(
    structure: Structure, properties: Properties, keys: tuple[str, ...], kept_foreign_keys: tuple[str, ...]
) -> list[SQL]:
    """What the old table had beside its columns and CHECKs."""
    table = structure.identifier
    found: list[SQL] = []
    for sequence in structure.sequences:
        if sequence.is_identity:
            found += identity_statements(structure, sequence)
    found += index_statements(structure, keys)
    for name in kept_foreign_keys:
        found.append(add_constraint(table, name, SQL(structure.foreign_key_definitions[name])))
    found += statistics_statements(structure)
    found += relation_statements(properties, table)
    identity = replica_identity_statement(properties, table)
    if identity is not None:
        found.append(identity)
    found += column_statements(properties, table)
    found += trigger_statements(structure)
    found += rule_statements(structure)
    found += publication_statements(structure, keys)
    return found


def identity_statements(structure: Structure, sequence: Sequence) -> list[SQL]:
    """Give the remade identity's sequence its old name and privileges back, and let it go on where it was."""
    holder = compose("pg_get_serial_sequence({}, {})", Literal(structure.identifier.text), Literal(sequence.column))
    name = Identifier(sequence.schema, sequence.name)
    found = [
        compose("SELECT dp._rename_sequence({}, {})", holder, Literal(sequence.name)),
        compose("SELECT setval({}, {}, {})", holder, Literal(sequence.position), Literal(sequence.is_called)),
    ]
    for grant in sequence.grants:
        found.append(_sequence_grant(name, grant))
    if sequence.comment is not None:
        found.append(compose("COMMENT ON SEQUENCE {} IS {}", name, Literal(sequence.comment)))
    return found


def _sequence_grant(name: Identifier, grant: Grant) -> SQL:
    option = SQL(" WITH GRANT OPTION" if grant.is_grantable else "")
    return compose("GRANT {} ON SEQUENCE {} TO {}{}", SQL(grant.privilege), name, grantee_name(grant.grantee), option)


def statistics_statements(structure: Structure) -> list[SQL]:
    """Extended statistics, with their targets."""
    found = []
    for each in structure.statistics:
        found.append(SQL(each.definition))
        if each.target is not None:
            name = Identifier(each.schema, each.name)
            found.append(compose("ALTER STATISTICS {} SET STATISTICS {}", name, Literal(each.target)))
    return found


def trigger_statements(structure: Structure) -> list[SQL]:
    """The triggers, enabled as they were."""
    found = []
    for trigger in structure.triggers:
        found.append(SQL(trigger.definition))
        found += _enabled("TRIGGER", structure, trigger.name, trigger.enabled)
    return found


def rule_statements(structure: Structure) -> list[SQL]:
    """The rewrite rules, enabled as they were."""
    found = []
    for rule in structure.rules:
        found.append(SQL(rule.definition.rstrip(";")))
        found += _enabled("RULE", structure, rule.name, rule.enabled)
    return found


def _enabled(kind: str, structure: Structure, name: str, enabled: str) -> list[SQL]:
    if enabled == "O":  # as it was created
        return []
    word = SQL(ENABLED_WORDS[enabled])
    return [compose("ALTER TABLE {} {} {} {}", structure.identifier, word, SQL(kind), Identifier(name))]


def publication_statements(structure: Structure, keys: tuple[str, ...]) -> list[SQL]:
    """Membership in publications, with row filters and column lists; those must cover the widened key."""
    found = []
    for publication in structure.publications:
        columns = publication.columns
        if columns:
            columns += tuple(key for key in keys if key not in columns)
        found.append(
            compose(
                "ALTER PUBLICATION {} ADD TABLE {}{}{}",
                Identifier(publication.name),
                structure.identifier,
                compose(" ({})", names(columns)) if columns else SQL(""),
                compose(" WHERE ({})", SQL(publication.condition)) if publication.condition else SQL(""),
            )
        )
    return found


def comment_statements(structure: Structure) -> list[SQL]:
    """Comments on constraints, triggers and the like; when all of them are there again."""
    found = []
    for comment in structure.comments:
        if comment.kind == "STATISTICS":
            named = compose("STATISTICS {}", Identifier(comment.schema, comment.name))
        else:
            named = compose("{} {} ON {}", SQL(comment.kind), Identifier(comment.name), structure.identifier)
        found.append(compose("COMMENT ON {} IS {}", named, Literal(comment.text)))
    return found
''','plan.row_policy': r'''"""Row security policies of partitions: the parent's, with expressions that mean the partition."""

from __future__ import annotations

from typing import NamedTuple

from ..sql import SQL, Identifier, comma_list, compose


class RowPolicy(NamedTuple):
    """A row security policy."""

    name: str
    is_permissive: bool
    command: str  # ALL, SELECT, INSERT, UPDATE, DELETE
    roles: tuple[str, ...]  # empty: PUBLIC
    using: str | None
    check: str | None


def requalified(policy: RowPolicy, table: str, relation: Identifier) -> RowPolicy:
    """A policy of a table for its partition: a subquery in it names the table when it means the row's columns."""

    def changed(expression: str | None) -> str | None:
        return replace_qualifier(expression, table, relation.name) if expression is not None else None

    return policy._replace(using=changed(policy.using), check=changed(policy.check))


def replace_qualifier(expression: str, old: str, new: str) -> str:
    """``old.column`` as ``new.column``; not in constants, other names, or behind a schema."""
    found = ""
    position = 0
    while position < len(expression):
        end = _token_end(expression, position)
        token = expression[position:end]
        name = token[1:-1].replace('""', '"') if token.startswith('"') else token
        is_qualifier = expression[end : end + 1] == "." and expression[position - 1 : position] != "."
        is_word = token.startswith('"') or token[0].isalpha() or token[0] == "_"
        found += Identifier(new).text if name == old and is_word and is_qualifier else token
        position = end
    return found


def _token_end(text: str, start: int) -> int:
    """Where a quoted name, a constant, a word or a single character ends, in what PostgreSQL deparsed."""
    quote = text[start]
    end = start + 1
    if quote in "\"'":
        escapes = quote == "'" and text[start - 1 : start] == "E"
        while text[end : end + 1] != quote or text[end + 1 : end + 2] == quote:
            end += 2 if text[end : end + 1] == quote or (escapes and text[end : end + 1] == "\\") else 1
        return end + 1
    while quote.isalnum() or quote == "_":
        if end == len(text) or not (text[end].isalnum() or text[end] in "_$"):
            break
        end += 1
    return end


def policy_statement(policy: RowPolicy, relation: Identifier) -> SQL:
    """CREATE POLICY."""
    roles = comma_list([Identifier(role) for role in policy.roles]) if policy.roles else SQL("PUBLIC")
    return compose(
        "CREATE POLICY {name} ON {relation} AS {kind} FOR {command} TO {roles}{using}{check}",
        name=Identifier(policy.name),
        relation=relation,
        kind=SQL("PERMISSIVE" if policy.is_permissive else "RESTRICTIVE"),
        command=SQL(policy.command),
        roles=roles,
        using=compose(" USING ({})", SQL(policy.using)) if policy.using is not None else SQL(""),
        check=compose(" WITH CHECK ({})", SQL(policy.check)) if policy.check is not None else SQL(""),
    )
''','plan.self_reference': r'''"""Detaching slices of a table that refers to itself.

PostgreSQL refuses to detach a partition to which rows refer, and counts the partition's own rows among them: a slice
with an answer and what it answers could never leave. So the references inside the slice are let go for the moment of
the detach, and are put back where the slice stays as a table.
"""

from __future__ import annotations

from ..model import ForeignKey, Hierarchy, Slice, Table
from ..operation import ACCESS_EXCLUSIVE, Operation
from ..sql import SQL, Identifier, Literal, assignments, compose, conjunction, names


def let_go_operations(hierarchy: Hierarchy, table: Table, each: Slice, keep: bool, is_forced: bool) -> list[Operation]:
    """Set the references inside a slice to NULL; remember them when they are to be kept.

    ``is_forced``: row security is forced on its owner; policies must not keep references from being let go or put back.
    """
    found = []
    if is_forced and _references(hierarchy, table, each):
        found.append(compose("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", each.identifier))
    for key, remembered in _references(hierarchy, table, each):
        own = _own_columns(hierarchy, key)
        if keep:
            found.append(
                compose(
                    "CREATE TABLE {} AS SELECT {} FROM {} WHERE {}",
                    remembered,
                    names(key.parent_columns + own),
                    each.identifier,
                    _are_set(own),
                )
            )
        # triggers shall not take this for a change
        found.append(compose("ALTER TABLE {} DISABLE TRIGGER USER", each.identifier))
        nothing = assignments({column: Literal(None) for column in own})
        found.append(compose("UPDATE {} SET {} WHERE {}", each.identifier, nothing, _are_set(own)))
    return _operations(each, found)


def put_back_operations(hierarchy: Hierarchy, table: Table, each: Slice, is_forced: bool) -> list[Operation]:
    """Give the detached slice its references again."""
    found = []
    for key, remembered in _references(hierarchy, table, each):
        own = _own_columns(hierarchy, key)
        back = assignments({column: Identifier("r", column) for column in own})
        same = conjunction(
            [compose("{} = {}", Identifier("s", column), Identifier("r", column)) for column in key.parent_columns]
        )
        found.append(compose("UPDATE {} AS s SET {} FROM {} AS r WHERE {}", each.identifier, back, remembered, same))
        found.append(compose("ALTER TABLE {} ENABLE TRIGGER USER", each.identifier))
        found.append(compose("DROP TABLE {}", remembered))
    if is_forced and found:
        found.append(compose("ALTER TABLE {} FORCE ROW LEVEL SECURITY", each.identifier))
    return _operations(each, found)


def _references(hierarchy: Hierarchy, table: Table, each: Slice) -> list[tuple[ForeignKey, Identifier]]:
    keys = [key for key in hierarchy.foreign_keys if key.child == table.oid == key.parent]
    return [(key, Identifier(table.schema, f"dp_{each.oid}_reference_{n}")) for n, key in enumerate(keys, 1)]


def _own_columns(hierarchy: Hierarchy, key: ForeignKey) -> tuple[str, ...]:
    return tuple(column for column in key.columns if column not in hierarchy.policy.partition_keys)


def _are_set(columns: tuple[str, ...]) -> SQL:
    return conjunction([compose("{} IS NOT NULL", Identifier(column)) for column in columns])


def _operations(each: Slice, statements: list[SQL]) -> list[Operation]:
    # the detach counts the locks on the slice itself
    return [Operation(each.identifier, statement, ACCESS_EXCLUSIVE, (each.oid,), 1) for statement in statements]
''','plan.slice_form': r'''"""Tables that were declared partitioned by the range key, and are to have the slice form.

PostgreSQL wanted the range key in their primary keys, unique rules and foreign keys, and children carry it for that
alone. In the slice form the slice key takes its place everywhere, and children do without the range key, which would
be left behind when the root's changes.
"""

from __future__ import annotations

from ..model import ForeignKey, Policy
from ..sql import Identifier
from .structure import Index, Structure
from .unique import list_end


def root(structure: Structure, range_key: str, slice_key: str) -> Structure:
    """A root with the slice key in its unique rules; other indexes go on serving the range key."""
    if range_key not in structure.partition_columns:
        return structure
    indexes = (_with_slice_key(each, range_key, slice_key) if each.is_unique else each for each in structure.indexes)
    return structure._replace(indexes=tuple(indexes))


def child(structure: Structure, policy: Policy) -> Structure:
    """A child with the slice key in all its indexes, and foreign keys without the range key."""
    carried = carried_range_key(structure, policy)
    if not carried or policy.slice_key is None:
        return structure
    indexes = (_with_slice_key(each, policy.range_key, policy.slice_key) for each in structure.indexes)
    return structure._replace(
        indexes=tuple(indexes), foreign_keys=tuple(without_range_key(list(structure.foreign_keys), policy))
    )


def carried_range_key(structure: Structure, policy: Policy) -> tuple[str, ...]:
    """The column that a child carries for its partitioning alone, and loses."""
    if policy.slice_key is not None and policy.range_key in structure.partition_columns:
        return (policy.range_key,)
    return ()


def without_range_key(foreign_keys: list[ForeignKey], policy: Policy) -> list[ForeignKey]:
    """Foreign keys that do not pair the child's range key with the parent's."""
    if policy.slice_key is None:
        return foreign_keys
    found = []
    for key in foreign_keys:
        pairs = [pair for pair in zip(key.columns, key.parent_columns) if pair != (policy.range_key, policy.range_key)]
        own, referenced = tuple(zip(*pairs)) if pairs else ((), ())
        found.append(key._replace(columns=own, parent_columns=referenced))
    return found


def _with_slice_key(index: Index, range_key: str, slice_key: str) -> Index:
    if range_key not in index.columns:
        return index
    position = index.columns.index(range_key)
    columns = list(index.columns)
    columns[position] = slice_key
    return index._replace(columns=tuple(columns), definition=_renamed(index.definition, position, slice_key))


def _renamed(definition: str, position: int, name: str) -> str:
    """The text of an index with another name for the column at a position of its key."""
    start, end = spans(definition)[position]
    item = definition[start:end]
    rest = item[item.index('"', 1) + 1 :] if item.startswith('"') else item[len(item.split(" ")[0]) :]
    return definition[:start] + Identifier(name).text + rest + definition[end:]


def spans(definition: str) -> list[tuple[int, int]]:
    """Where the items of the first list in parentheses are."""
    found, depth, quote, start = [], 0, "", 0
    for position in range(list_end(definition) + 1):
        character = definition[position]
        if quote or character in "\"'":
            quote = "" if character == quote else quote or character
            continue
        depth += (character == "(") - (character == ")")
        if character == "(" and depth == 1:
            start = position + 1
        elif (character == "," and depth == 1) or (character == ")" and depth == 0):
            found.append((start, position))
            start = position + 2  # PostgreSQL writes a blank behind the comma
    return found
''','plan.slices': r'''"""The operations and steps that create slices and their leaves."""

from __future__ import annotations

from .. import keys, naming
from ..model import Hierarchy, SliceSpec, Table
from ..operation import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step, split
from ..sql import SQL, Composable, Identifier, Literal, compose
from . import keeping, trees
from . import properties as leaf_properties
from .coverage import missing_in
from .properties import Properties

COPIED = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION"
ASIDE_LOCKS = 4  # of a relation that has no indexes yet: itself, its TOAST table, the index of that, its type


def missing_leaf_steps(hierarchy: Hierarchy, properties: dict[int, Properties]) -> list[Step]:
    """Steps that create hash partitions that existing slices lack."""
    steps = []
    for table in hierarchy.tables:
        for each in hierarchy.slices[table.oid]:
            if each.is_partitioned and each.missing_remainders and not each.detach_pending:
                operations = [
                    operation
                    for remainder in each.missing_remainders
                    for operation in leaf_operations(
                        table, properties[table.oid], each.identifier, each.name, each.modulus, remainder
                    )
                ]
                leaves = [naming.leaf_name(each.name, each.modulus, lost) for lost in each.missing_remainders]
                operations += replica_identity_operations(table, properties[table.oid], leaves)
                operations += index_name_operations(properties[table.oid], each.identifier)
                operations += guard_operations(table, None, leaves)
                steps.append(Step(tuple(operations)))
    return steps


def creation_steps(
    hierarchy: Hierarchy, specs: list[SliceSpec], properties: dict[int, Properties], lock_budget: int
) -> list[Step]:
    """Steps that give every table the slices it lacks: slice by slice, referenced tables first."""
    lacking = {table.oid: missing_in(hierarchy, table, specs) for table in hierarchy.tables}
    steps: list[Step] = []
    for spec in specs:
        for table in hierarchy.tables:
            if spec in lacking[table.oid]:
                operations = slice_operations(hierarchy, table, properties[table.oid], spec)
                steps += split(operations, lock_budget)
    return steps


def bounds_clause(spec: SliceSpec, key_type: str) -> Composable:
    """``FOR VALUES FROM (...) TO (...)``, or ``DEFAULT``."""
    if spec.lower is None or spec.upper is None:
        return SQL("DEFAULT")
    return compose(
        "FOR VALUES FROM ({}) TO ({})",
        keys.literal(spec.lower.point, key_type),
        keys.literal(spec.upper.point, key_type),
    )


def slice_operations(hierarchy: Hierarchy, table: Table, properties: Properties, spec: SliceSpec) -> list[Operation]:
    """A slice of one table with its leaves.

    The root's slice is built aside and attached, which locks the root only against other schema changes. A child's is
    created as a partition, because attaching one would validate its foreign key against the whole hierarchy.
    """
    name = naming.slice_name(table.name, spec.suffix)
    identifier = Identifier(table.schema, name)
    bounds = bounds_clause(spec, str(table.partition_type))
    by_hash = hash_clause(hierarchy, spec)
    default = hierarchy.default_slice(table)
    default_lock = ((default.oid, ACCESS_EXCLUSIVE),) if default else ()
    locked = trees.referenced(hierarchy, table)
    if table.oid == hierarchy.root.oid:
        operations = aside_operations(hierarchy, table, properties, spec)
        attach = compose("ALTER TABLE {} ATTACH PARTITION {} {}", table.identifier, identifier, bounds)
        cost = (1 + spec.modulus) * table.relations_per_leaf
        operations.append(
            Operation(identifier, attach, SHARE_UPDATE_EXCLUSIVE, (table.oid,), cost, locked, default_lock)
        )
        operations += identity_operations(table, identifier, spec.modulus)
    else:
        create = compose(
            "CREATE {}TABLE {} PARTITION OF {} {}{}",
            persistence(properties, spec),
            identifier,
            table.identifier,
            bounds,
            by_hash,
        )
        cost = trees.creating(table)
        operations = [Operation(identifier, create, ACCESS_EXCLUSIVE, (table.oid,), cost, locked, default_lock)]
        operations += _given(identifier, leaf_properties.relation_statements(properties, identifier))
        if spec.modulus:
            for remainder in range(spec.modulus):
                operations += leaf_operations(table, properties, identifier, name, spec.modulus, remainder)
        else:
            operations += _given(identifier, leaf_properties.leaf_statements(properties, table.schema, name))
    operations += replica_identity_operations(table, properties, naming.leaf_names(name, spec.modulus) or [name])
    operations += index_name_operations(properties, identifier)
    return operations + guard_operations(table, name, naming.leaf_names(name, spec.modulus))


def aside_operations(hierarchy: Hierarchy, table: Table, properties: Properties, spec: SliceSpec) -> list[Operation]:
    """A slice of its own with its leaves, not attached yet."""
    name = naming.slice_name(table.name, spec.suffix)
    identifier = Identifier(table.schema, name)
    create = compose(
        "CREATE {}TABLE {} (LIKE {} {}{}){}{}{}",
        persistence(properties, spec),
        identifier,
        table.identifier,
        SQL(COPIED),
        range_check(hierarchy, table, spec, name),
        hash_clause(hierarchy, spec),
        compose(" USING {}", Identifier(properties.access_method)) if properties.access_method else SQL(""),
        compose(" TABLESPACE {}", Identifier(properties.tablespace)) if properties.tablespace else SQL(""),
    )
    operations = [Operation(identifier, create, ACCESS_EXCLUSIVE, (), ASIDE_LOCKS)]
    operations += _given(identifier, leaf_properties.relation_statements(properties, identifier))
    if not spec.modulus:
        return operations + _given(identifier, leaf_properties.leaf_statements(properties, table.schema, name))
    for remainder in range(spec.modulus):
        leaf = naming.leaf_name(name, spec.modulus, remainder)
        operations += _leaf(table, properties, identifier, leaf, spec.modulus, remainder, ASIDE_LOCKS)
    return operations


def leaf_operations(
    table: Table,
    properties: Properties,
    slice_identifier: Identifier,
    slice_relation: str,
    modulus: int,
    remainder: int,
) -> list[Operation]:
    """One hash partition of a slice that is part of the hierarchy already."""
    leaf = naming.leaf_name(slice_relation, modulus, remainder)
    cost = trees.creating(table)
    return _leaf(table, properties, slice_identifier, leaf, modulus, remainder, cost)


def _leaf(
    table: Table,
    properties: Properties,
    slice_identifier: Identifier,
    leaf: str,
    modulus: int,
    remainder: int,
    cost: int,
) -> list[Operation]:
    identifier = Identifier(table.schema, leaf)
    create = compose(
        "CREATE {}TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})",
        SQL("UNLOGGED " if properties.is_unlogged else ""),
        identifier,
        slice_identifier,
        Literal(modulus),
        Literal(remainder),
    )
    operations = [Operation(identifier, create, ACCESS_EXCLUSIVE, (), cost)]
    operations += _given(identifier, leaf_properties.relation_statements(properties, identifier))
    return operations + _given(identifier, leaf_properties.leaf_statements(properties, table.schema, leaf))


def _given(target: Identifier, statements: list[SQL]) -> list[Operation]:
    return [Operation(target, statement, ACCESS_EXCLUSIVE, (), 1) for statement in statements]


def replica_identity_operations(table: Table, properties: Properties, leaves: list[str]) -> list[Operation]:
    """The replica identity of new leaves, given when their indexes exist."""
    found = []
    for leaf in leaves:
        identifier = Identifier(table.schema, leaf)
        statement = leaf_properties.replica_identity_statement(properties, identifier)
        if statement is not None:
            found.append(Operation(identifier, statement, ACCESS_EXCLUSIVE, (), 1))
    return found


def index_name_operations(properties: Properties, identifier: Identifier) -> list[Operation]:
    """Where PostgreSQL's own names for the partitions' indexes would be cut or numbered, predictable ones."""
    if not properties.renamed_indexes:
        return []
    statement = compose("SELECT dp._name_indexes({})", Literal(identifier.text))
    return [Operation(identifier, statement, ACCESS_EXCLUSIVE, (), 1)]


def guard_operations(table: Table, slice_relation: str | None, leaves: list[str]) -> list[Operation]:
    """What new partitions of a table with global indexes have of their own; a slice without leaves is one itself."""
    found = []
    for index in table.global_indexes:
        for name in [slice_relation, *leaves] if slice_relation is not None else leaves:
            partition = Identifier(table.schema, str(name))
            is_leaf = name in leaves or not leaves
            found.append(Operation(partition, keeping.guard(index, partition, is_leaf=is_leaf), locks=1))
    return found


def identity_operations(table: Table, identifier: Identifier, leaves: int) -> list[Operation]:
    """After a slice with leaves was attached: leaves share the parent's identity columns, too, where partitions do."""
    if not table.has_identity or not leaves:
        return []
    statement = compose("SELECT dp._share_identity({})", Literal(identifier.text))
    return [Operation(identifier, statement, ACCESS_EXCLUSIVE, (), 2 * leaves)]


def persistence(properties: Properties, spec: SliceSpec) -> SQL:
    """UNLOGGED is said of leaves alone."""
    return SQL("UNLOGGED " if properties.is_unlogged and not spec.modulus else "")


def hash_clause(hierarchy: Hierarchy, spec: SliceSpec) -> SQL:
    """`` PARTITION BY HASH ("Party")`` for a slice that has leaves."""
    if not spec.modulus or hierarchy.policy.hash_key is None:
        return SQL("")
    return compose(" PARTITION BY HASH ({})", Identifier(hierarchy.policy.hash_key))


def range_check(hierarchy: Hierarchy, table: Table, spec: SliceSpec, name: str) -> Composable:
    """In the slice form, the CHECK that ties the range key to the slice, so that conditions on it prune."""
    if table.oid != hierarchy.root.oid or spec.range_lower is None or spec.range_upper is None:
        return SQL("")
    return compose(
        ", CONSTRAINT {name} CHECK ({key} >= {lower} AND {key} < {upper})",
        name=Identifier(naming.derived_name(name, "range_key_check")),
        key=Identifier(hierarchy.policy.range_key),
        lower=keys.typed_literal(spec.range_lower, hierarchy.range_type),
        upper=keys.typed_literal(spec.range_upper, hierarchy.range_type),
    )
''','plan.structure': r'''"""The structure of one table, as a value."""

from __future__ import annotations

from typing import NamedTuple

from ..model import ForeignKey
from ..sql import SQL, Composable, Identifier, compose
from .properties import Grant

# pg_trigger.tgenabled and pg_rewrite.ev_enabled, as ALTER TABLE says them
ENABLED_WORDS = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


class Column(NamedTuple):
    """A column: its type with modifier, and its collation where it is not the type's own."""

    name: str
    type: str
    collation: tuple[str, str] | None
    is_not_null: bool
    is_identity: bool

    @property
    def declaration(self) -> SQL:
        """``character varying(255) COLLATE "pg_catalog"."C"``."""
        if self.collation is None:
            return SQL(self.type)
        return compose("{} COLLATE {}", SQL(self.type), Identifier(*self.collation))

    def is_alike(self, other: Column) -> bool:
        """Whether both have one type and one collation, without which joins are not partition-wise."""
        return (self.type, self.collation) == (other.type, other.collation)


class Index(NamedTuple):
    """An index, or the constraint that it stands for."""

    name: str
    constraint_type: str | None  # p u x, None for a plain index
    is_unique: bool
    columns: tuple[str | None, ...]  # key columns, None for an expression
    definition: str  # of an index: behind the table's name; of a constraint: as in pg_get_constraintdef
    options: tuple[tuple[str, str], ...]
    tablespace: str | None
    comment: str | None


class Trigger(NamedTuple):
    """A trigger, as pg_get_triggerdef says it."""

    name: str
    definition: str
    enabled: str  # pg_trigger.tgenabled
    is_row_with_transition_table: bool


class Sequence(NamedTuple):
    """A sequence behind a column: owned by a serial one, or an identity's."""

    schema: str
    name: str
    column: str
    is_identity: bool
    position: int  # the last value, or the next one where it was never called
    is_called: bool
    grants: tuple[Grant, ...]
    comment: str | None


class Rule(NamedTuple):
    """A rewrite rule, as pg_get_ruledef says it."""

    name: str
    definition: str
    enabled: str  # pg_rewrite.ev_enabled


class Statistics(NamedTuple):
    """An extended statistics object, as pg_get_statisticsobjdef says it."""

    schema: str
    name: str
    definition: str
    target: int | None


class Publication(NamedTuple):
    """A publication that names the table."""

    name: str
    columns: tuple[str, ...]  # empty: all
    condition: str | None
    is_by_root: bool  # publish_via_partition_root
    is_owner: bool  # whether the table's owner may change it


class Comment(NamedTuple):
    """A comment on a part of the table: CONSTRAINT, TRIGGER, POLICY, RULE, STATISTICS."""

    kind: str
    schema: str
    name: str
    text: str


class Structure(NamedTuple):
    """Everything that making a table anew must carry over."""

    oid: int
    schema: str
    name: str
    owner: str
    kind: str
    has_rows: bool
    has_partitions: bool
    partition_strategy: str | None
    partition_columns: tuple[str, ...]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...]  # declared on it
    foreign_key_definitions: dict[str, str]
    incoming: tuple[ForeignKey, ...]  # pointing to it, itself left out
    triggers: tuple[Trigger, ...]
    sequences: tuple[Sequence, ...]
    statistics: tuple[Statistics, ...]
    rules: tuple[Rule, ...]
    publications: tuple[Publication, ...]
    comments: tuple[Comment, ...]
    checks: tuple[str, ...]
    uninherited_checks: tuple[str, ...]
    is_typed: bool
    dependents: tuple[str, ...]  # views, functions and the like

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)

    def column(self, name: str) -> Column | None:
        """A column by name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def primary_key(self) -> Index | None:
        """Its primary key."""
        return next((index for index in self.indexes if index.constraint_type == "p"), None)


def add_constraint(table: Composable, name: str, clause: Composable) -> SQL:
    """``ALTER TABLE ... ADD CONSTRAINT``."""
    return compose("ALTER TABLE {} ADD CONSTRAINT {} {}", table, Identifier(name), clause)
''','plan.trees': r'''"""How much of the lock table statements take that touch whole trees of partitions.

Every relation is an entry, and so is every constraint and trigger that is dropped. The figures are upper bounds, taken
from what PostgreSQL 15 to 18 hold in pg_locks.
"""

from __future__ import annotations

from ..model import ForeignKey, Hierarchy, Slice, Table

Trees = tuple[tuple[int, int], ...]  # tables that are locked with all their partitions, and how many entries those are

BOOKKEEPING = 20  # relations of the catalog and of schema dp that a step touches besides


def referenced(hierarchy: Hierarchy, table: Table) -> Trees:
    """The tables that a new partition of this table locks through its foreign keys, all their partitions included."""
    found = [(reference.oid, 1) for reference in hierarchy.references]
    for parent in hierarchy.parents(table) + (table,) * bool(_own_keys(hierarchy, table)):
        found.append((parent.oid, size(hierarchy, parent.oid)))
    return tuple(found)


def size(hierarchy: Hierarchy, table: int) -> int:
    """How many relations a table is: itself, its slices, their leaves."""
    return 1 + sum(parts(each) for each in hierarchy.slices[table])


def parts(each: Slice) -> int:
    """How many relations a slice is: itself and its leaves."""
    return 1 + len(each.remainders)


def planned(hierarchy: Hierarchy, table: Table) -> int:
    """What planning a query over all of a table locks: every partition with its indexes, from 16 on those of slices."""
    return size(hierarchy, table.oid) * (1 + table.indexes)


def creating(table: Table) -> int:
    """Entries of a new partition of a table: with its indexes, constraints and type."""
    return table.relations_per_leaf + table.objects_per_leaf


def detaching(hierarchy: Hierarchy, table: Table, each: Slice) -> tuple[int, Trees]:
    """Entries of ``DETACH PARTITION``, besides those of trees.

    The slice gets foreign keys of its own, each with a constraint for every partition that it refers to, and loses the
    constraint and the triggers that foreign keys to it have on each of its parts. Whether rows still refer to it is
    looked up in the tables that do, whole.
    """
    outward, inward = _keys(hierarchy, table)
    cloned = sum(size(hierarchy, key.parent) for key in outward)
    locks = parts(each) * (table.relations_per_leaf + 3 * len(inward)) + cloned + BOOKKEEPING
    locked = [(oid, 2 * count) for oid, count in referenced(hierarchy, table)]
    locked += [(key.child, planned(hierarchy, hierarchy.table(key.child))) for key in inward]
    return locks, tuple(locked)


def adding_key(hierarchy: Hierarchy, table: Table, parent: Table) -> tuple[int, Trees]:
    """Entries of a new foreign key: a constraint for every partition that it refers to, and for each of its own."""
    referred, own = size(hierarchy, parent.oid), size(hierarchy, table.oid)
    return referred + own + 2, ((parent.oid, 2 * referred), (table.oid, own))


def dropping_key(hierarchy: Hierarchy, table: Table, number_of_parts: int) -> int:
    """Entries of dropping one foreign key of a detached slice: two triggers on every partition that it refers to."""
    outward, _ = _keys(hierarchy, table)
    return 2 * max((size(hierarchy, key.parent) for key in outward), default=0) + 3 * number_of_parts


def dropping(table: Table, number_of_parts: int) -> int:
    """Entries of ``DROP TABLE`` of a slice without foreign keys of its own to the hierarchy."""
    return number_of_parts * (table.relations_per_leaf + table.objects_per_leaf)


def dropping_detached(hierarchy: Hierarchy, table: Table, each: Slice) -> int:
    """Entries of ``DROP TABLE`` of a slice that was detached just before, with the foreign keys it was given then."""
    outward, _ = _keys(hierarchy, table)
    return dropping(table, parts(each)) + sum(dropping_key(hierarchy, table, parts(each)) for _ in outward)


def attaching(hierarchy: Hierarchy, table: Table, number_of_parts: int) -> tuple[int, Trees]:
    """Entries of ``ATTACH PARTITION``, besides those of trees; its foreign keys are checked against whole tables."""
    outward, inward = _keys(hierarchy, table)
    locks = number_of_parts * (table.relations_per_leaf + 2 + len(outward) + len(inward)) + BOOKKEEPING
    locked = [(reference.oid, 1) for reference in hierarchy.references]
    locked += [(key.parent, planned(hierarchy, hierarchy.table(key.parent))) for key in outward]
    return locks, tuple(locked)


def key_names(hierarchy: Hierarchy, table: Table) -> tuple[str, ...]:
    """The names of a table's foreign keys inside the hierarchy."""
    return tuple(key.name for key in _keys(hierarchy, table)[0])


def _keys(hierarchy: Hierarchy, table: Table) -> tuple[list[ForeignKey], list[ForeignKey]]:
    """The foreign keys of a table, and those to it; one to itself is both."""
    keys = hierarchy.foreign_keys
    return [key for key in keys if key.child == table.oid], [key for key in keys if key.parent == table.oid]


def _own_keys(hierarchy: Hierarchy, table: Table) -> list[ForeignKey]:
    return [key for key in hierarchy.foreign_keys if key.child == table.oid == key.parent]
''','plan.unconversion': r'''"""Making a hierarchy plain tables again: what a conversion added is taken away, everything else stays."""

from __future__ import annotations

import json

from .. import errors, naming
from ..model import ForeignKey, GlobalIndex, Hierarchy, Table
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose, names
from . import conversion_form, conversion_switch, keeping, trees
from .conversion import Conversion, Member, kept_schema, working_schema
from .conversion_record import Record
from .conversion_steps import COPY, DROP_INDEX, RUN, SWITCH, Part, outside_key, verification
from .foreign_keys import ACTIONS, SETTING_ACTIONS
from .properties import column_statements, storage_clause
from .slice_form import spans
from .structure import Index, Structure, add_constraint

LOCKS_OF_TABLE = 12


def narrowed(member: Member, record: Record, hierarchy: Hierarchy) -> Member:
    """A table as it will be: without the columns that were added, and without what keeps global indexes."""
    structure = member.structure
    table = hierarchy.table(member.oid)
    inside = {key.name: key for key in hierarchy.foreign_keys if key.child == member.oid}
    internal = _internal_triggers(hierarchy, table, record)
    foreign_keys = tuple(_narrowed_key(key, record) if key.name in inside else key for key in structure.foreign_keys)
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


def _internal_triggers(hierarchy: Hierarchy, table: Table, record: Record) -> set[str]:
    """The triggers that keep the slice key and global indexes."""
    found = {
        name
        for index in table.global_indexes
        for name in (*(keeping.trigger_name(index, event) for event in keeping.EVENTS), keeping.row_trigger_name(index))
    }
    if hierarchy.policy.slice_key in record.added:
        found.add(naming.derived_name(table.name, "set_slice_key"))
    return found


def _narrowed_index(structure: Structure, index: Index, record: Record) -> Index:
    """An index without the columns that go."""
    gone = record.indexes.get(index.name, ())
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


def _narrowed_key(key: ForeignKey, record: Record) -> ForeignKey:
    """A foreign key without the partition keys that it got, and as it was besides."""
    was = record.foreign_keys.get(key.name)
    if was is None:
        return key
    pairs = [pair for pair in zip(key.columns, key.parent_columns) if pair[0] not in was.keys]
    columns = tuple(own for own, _ in pairs)
    delete_columns = () if set(key.delete_columns) == set(columns) else key.delete_columns
    return key._replace(
        columns=columns,
        parent_columns=tuple(theirs for _, theirs in pairs),
        on_update=was.on_update,
        delete_columns=delete_columns,
        is_deferrable=was.is_deferrable,
        is_deferred=was.is_deferred,
    )


def _clause(key: ForeignKey, parent: Composable) -> SQL:
    action = SQL(ACTIONS[key.on_delete])
    if key.on_delete in SETTING_ACTIONS and key.delete_columns:
        action = compose("{} ({})", action, names(key.delete_columns))
    deferral = " DEFERRABLE" if key.is_deferrable else ""
    return compose(
        "FOREIGN KEY ({}) REFERENCES {} ({}) ON UPDATE {} ON DELETE {}{}",
        names(key.columns),
        parent,
        names(key.parent_columns),
        SQL(ACTIONS[key.on_update]),
        action,
        SQL(deferral + (" INITIALLY DEFERRED" if key.is_deferred else "")),
    )


def parts(
    conversion: Conversion,
    records: dict[int, Record],
    hierarchy: Hierarchy,
    leaves: dict[int, list[tuple[int, Identifier]]],
    slices: dict[int, list[Identifier]],
    lookups: list[SQL],
) -> list[Part]:
    """All steps, in order; ``lookups`` drop the functions that return rows of the partitioned tables."""
    root = conversion.root
    found = [Part("structure", RUN, root.identifier, tuple(conversion_form.schema_statements(conversion)), root.oid)]
    for member in conversion.members:
        made = tuple(_table_statements(member, records[member.oid]))
        found.append(Part("structure", RUN, member.working.identifier, made, member.oid))
    for member in conversion.members:
        for oid, leaf in leaves[member.oid]:
            found.append(Part("copy", COPY, leaf, (_copy(member, leaf),), oid))
    found += _rules(conversion, records)
    found += [verification(conversion, member) for member in conversion.members]
    switch = (conversion_switch.lock_statement(conversion), *lookups, *conversion_switch.switch_statements(conversion))
    found.append(Part("switch", SWITCH, root.identifier, switch, root.oid))
    return found + _afterwards(conversion, hierarchy, slices)


def _table_statements(member: Member, record: Record) -> list[SQL]:
    working, properties = member.working.identifier, member.properties
    found = [
        compose(
            "CREATE {}TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS){}",
            SQL("UNLOGGED " if properties.is_unlogged else ""),
            working,
            member.identifier,
            compose(" TABLESPACE {}", Identifier(properties.tablespace)) if properties.tablespace else SQL(""),
        )
    ]
    found += [compose("ALTER TABLE {} DROP COLUMN {}", working, Identifier(column)) for column in record.added]
    for column, declaration in record.altered.items():
        found.append(compose("ALTER TABLE {} ALTER COLUMN {} TYPE {}", working, Identifier(column), SQL(declaration)))
    for column in record.nullable:
        found.append(compose("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL", working, Identifier(column)))
    if properties.options:
        found.append(compose("ALTER TABLE {} SET ({})", working, storage_clause(properties.options)))
    found += column_statements(properties, working)
    return found + conversion_form.unchecked_statements(member) + conversion_form.access_statements(member)


def _copy(member: Member, leaf: Identifier) -> SQL:
    columns = list(member.facts.stored)
    return compose(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS t",
        member.working.identifier,
        names(columns),
        comma_list(conversion_form.identifiers("t", columns)),
        leaf,
    )


def _rules(conversion: Conversion, records: dict[int, Record]) -> list[Part]:
    """Indexes, then foreign keys and triggers."""
    found = []
    for member in conversion.members:
        working = member.working.identifier
        for statements in conversion_form.index_steps(conversion, member):
            found.append(Part("indexes", RUN, working, tuple(statements), member.oid))
        clustered = records[member.oid].clustered
        if clustered is not None and any(index.name == clustered for index in member.structure.indexes):
            mark = compose("ALTER TABLE {} CLUSTER ON {}", working, Identifier(clustered))
            found.append(Part("indexes", RUN, working, (mark,), member.oid))
        found.append(Part("indexes", RUN, working, (compose("ANALYZE {}", working),), member.oid))
    inside = {member.oid: member.working.identifier for member in conversion.members}
    for member in conversion.members:
        working = member.working.identifier
        for key in member.structure.foreign_keys:
            parent = inside.get(key.parent, SQL(key.parent_text))
            statement = add_constraint(working, key.name, _clause(key, parent))
            found.append(Part("foreign keys", RUN, working, (statement,), member.oid))
        triggers = conversion_switch.trigger_statements(member)
        if triggers:
            found.append(Part("foreign keys", RUN, working, tuple(triggers), member.oid))
    return found


def _afterwards(conversion: Conversion, hierarchy: Hierarchy, slices: dict[int, list[Identifier]]) -> list[Part]:
    root = conversion.root
    found = [
        Part("afterwards", RUN, SQL(each.name), (SQL(statement),), root.oid)
        for each in conversion.dependents
        for statement in each.afterwards
    ]
    tables = {index.oid: table for table in hierarchy.tables for index in table.global_indexes}
    for key in conversion.outside:
        statement = outside_key(key, tables[key.parent].identifier)
        found.append(Part("afterwards", RUN, SQL(key.child_text), (statement,), root.oid))
    for table in hierarchy.tables:
        for index in table.global_indexes:
            found.append(_drop_index(table, index))
    return found + _dropping(conversion, hierarchy, slices)


def _drop_index(table: Table, index: GlobalIndex) -> Part:
    call = compose("SELECT dp.drop_global_index({}::regclass)", Literal(index.identifier.text))
    arguments = json.dumps({"side": index.oid})
    return Part("afterwards", DROP_INDEX, index.identifier, (call,), table.oid, arguments=arguments)


def _dropping(conversion: Conversion, hierarchy: Hierarchy, slices: dict[int, list[Identifier]]) -> list[Part]:
    """The partitioned tables go, in transactions that the lock table bears; the root with the last traces."""
    root = conversion.root
    found = []
    for member in reversed(conversion.members):
        table = Identifier(kept_schema(member.structure.schema), member.structure.name)
        for key in [key for key in hierarchy.foreign_keys if key.child == member.oid]:
            locks = 3 * (trees.size(hierarchy, key.child) + trees.size(hierarchy, key.parent)) + LOCKS_OF_TABLE
            drop = compose("ALTER TABLE {} DROP CONSTRAINT {}", table, Identifier(key.name))
            found.append(Part("afterwards", RUN, table, (drop,), root.oid, arguments=json.dumps({"locks": locks})))
    for member in reversed(conversion.members):
        table = Identifier(kept_schema(member.structure.schema), member.structure.name)
        for each in slices[member.oid]:
            found.append(Part("afterwards", RUN, each, (compose("DROP TABLE {}", each),), root.oid))
        drop = compose("DROP TABLE {}", table)
        if not member.is_root:
            found.append(Part("afterwards", RUN, table, (drop,), root.oid))
    return [*found, Part("afterwards", RUN, root.identifier, tuple(_last(conversion, hierarchy)), root.oid)]


def _last(conversion: Conversion, hierarchy: Hierarchy) -> list[SQL]:
    root = conversion.root.structure
    found = [compose("DROP TABLE {}", Identifier(kept_schema(root.schema), root.name))]
    if hierarchy.policy.slice_key is not None:
        function = Identifier(root.schema, naming.derived_name(root.name, "set_slice_key"))
        found.append(compose("DROP FUNCTION IF EXISTS {}()", function))
    schemas = dict.fromkeys(member.structure.schema for member in conversion.members)
    for schema in schemas:
        found.append(compose("DROP SCHEMA {}", Identifier(working_schema(schema))))
        found.append(compose("DROP SCHEMA {}", Identifier(kept_schema(schema))))
    return found


def reading_locks(hierarchy: Hierarchy) -> int:
    """What comparing all row versions in one transaction takes."""
    return sum(trees.planned(hierarchy, table) for table in hierarchy.tables) + LOCKS_OF_TABLE
''','plan.unique': r'''"""Unique rules of a table that is partitioned: what they become, and which cannot be kept."""

from __future__ import annotations

from .. import errors
from ..sql import SQL, Identifier, Literal, compose, names
from .properties import storage_clause
from .structure import Index, Structure, add_constraint


def index_statements(structure: Structure, keys: tuple[str, ...]) -> list[SQL]:
    """The indexes and the constraints that they stand for; unique ones widened by the keys they lack."""
    found = []
    table = structure.identifier
    for index in structure.indexes:
        definition = index.definition
        if index.constraint_type is not None:
            definition = with_storage(definition, index)
        missing = lacking(index, keys) if index.is_unique and index.constraint_type != "x" else ()
        if missing:
            definition = widened(definition, missing)
        if index.constraint_type is not None:
            found.append(add_constraint(table, index.name, SQL(definition)))
        else:
            unique = SQL("UNIQUE " if index.is_unique else "")
            found.append(compose("CREATE {}INDEX {} ON {} {}", unique, Identifier(index.name), table, SQL(definition)))
        if index.comment is not None:
            found.append(
                compose("COMMENT ON INDEX {} IS {}", Identifier(structure.schema, index.name), Literal(index.comment))
            )
    return found


def list_end(definition: str, start: int = 0) -> int:
    """Where the first list in parentheses ends, from a position on."""
    depth, quote = 0, ""
    for position in range(start, len(definition)):
        character = definition[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position
    raise ValueError(f"no column list in {definition!r}")


def widened(definition: str, columns: tuple[str, ...]) -> str:
    """The text of an index or constraint with columns added to its key."""
    position = list_end(definition)
    return f"{definition[:position]}, {names(columns)}{definition[position:]}"


def with_storage(definition: str, index: Index) -> str:
    """A constraint's text with the storage parameters and tablespace of its index, which it leaves out."""
    clause = ""
    if index.options:
        clause += f" WITH ({storage_clause(index.options)})"
    if index.tablespace is not None:
        clause += f" USING INDEX TABLESPACE {Identifier(index.tablespace)}"
    end = list_end(definition) + 1
    if definition[end:].startswith(" INCLUDE ("):
        end = list_end(definition, end) + 1
    return definition[:end] + clause + definition[end:]


def lacking(index: Index, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that are not among the index's columns."""
    return tuple(key for key in keys if key not in index.columns)


def is_weakened(index: Index, keys: tuple[str, ...], parent_keys: list[tuple[str, ...]]) -> bool:
    """Whether a unique rule would allow more rows with the keys added.

    It allows the same where it contains the columns of a reference to a parent, for all rows of one parent carry the
    same keys.
    """
    if not index.is_unique or not lacking(index, keys):
        return False
    return not any(set(columns) <= set(index.columns) for columns in parent_keys)


def check_unique_rules(
    structure: Structure, keys: tuple[str, ...], parent_keys: list[tuple[str, ...]], allow_weaker: bool
) -> None:
    """Refuse to lose a unique rule without a word. Primary keys are known to be widened."""
    if allow_weaker:
        return
    for index in structure.indexes:
        if index.constraint_type != "p" and is_weakened(index, keys, parent_keys):
            raise errors.InvalidTableDefinition(
                f'unique rule "{index.name}" of {structure.identifier} cannot hold over all partitions',
                f"A unique index of a partitioned table contains the partition keys ({names(keys)}), so that equal"
                " values in two partitions would be accepted.",
                "Call again with allow_weaker_unique => true to accept that, or drop the rule first.",
            )
''','plan.validate': r'''"""Constraints in two phases: first for new rows, then each leaf's rows are read while everybody works on."""

from __future__ import annotations

from typing import NamedTuple

from ..operation import SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Operation, Step
from ..sql import SQL, Identifier, compose
from .alter import Target, alter, on_parent
from .structure import add_constraint

CHECK, FOREIGN_KEY = "c", "f"


class Rule(NamedTuple):
    """A constraint of the kind that is wanted, of a table or partition."""

    name: str
    parent: int  # the constraint it comes from; 0: none
    oid: int
    is_valid: bool
    definition: str  # without NOT VALID


class Part(NamedTuple):
    """A table or partition, and what it has of the constraint."""

    oid: int
    identifier: Identifier
    is_leaf: bool
    is_top: bool
    rule: Rule | None


def check(target: Target, parts: tuple[Part, ...], name: str, definition: SQL) -> list[Step]:
    """A CHECK, or a foreign key where PostgreSQL takes one that is not valid on a partitioned table."""
    top = parts[0]
    steps = []
    if top.rule is None:
        statement = add_constraint(top.identifier, name, compose("{} NOT VALID", definition))
        steps.append(Step((on_parent(target, statement),)))
    elif top.rule.is_valid:
        return []
    # leaves before slices before the table: what is valid below is not read again
    for part in (*[each for each in parts if each.is_leaf], *reversed([each for each in parts if not each.is_leaf])):
        if part.rule is None or not part.rule.is_valid:
            steps.append(Step((_validate(target, part, part.rule.name if part.rule else name),)))
    return steps


def foreign_key(target: Target, parts: tuple[Part, ...], name: str, definition: SQL, referenced: int) -> list[Step]:
    """A foreign key before PostgreSQL 18: on each leaf, and then on the table, which takes the leaves' over."""
    steps = []
    if parts[0].rule is not None:
        return []
    for part in parts:
        if not part.is_leaf or (part.rule is not None and part.rule.is_valid):
            continue
        if part.rule is None:
            statement = add_constraint(part.identifier, name, compose("{} NOT VALID", definition))
            relations = (part.oid, referenced) if referenced else (part.oid,)
            steps.append(Step((Operation(part.identifier, statement, SHARE_ROW_EXCLUSIVE, relations, 4),)))
        steps.append(Step((_validate(target, part, part.rule.name if part.rule else name),)))
    statement = add_constraint(parts[0].identifier, name, definition)
    return [*steps, Step((on_parent(target, statement),))]


def _validate(target: Target, part: Part, name: str) -> Operation:
    statement = alter(part.identifier, compose("VALIDATE CONSTRAINT {}", Identifier(name)))
    if part.is_leaf:
        return Operation(part.identifier, statement, SHARE_UPDATE_EXCLUSIVE, (part.oid,), 4)
    return on_parent(target, statement)._replace(lock=SHARE_UPDATE_EXCLUSIVE)


def not_null(target: Target, parts: tuple[Part, ...], column: str, name: str, is_not_null: bool) -> list[Step]:
    """A CHECK that proves it, NOT NULL for which no row is read then, and the CHECK goes."""
    condition = compose("CHECK ({} IS NOT NULL)", Identifier(column))
    actions = [] if is_not_null else [compose("ALTER COLUMN {} SET NOT NULL", Identifier(column))]
    steps = [] if is_not_null else check(target, parts, name, condition)
    drop = compose("DROP CONSTRAINT {}", Identifier(name))
    operations = [on_parent(target, alter(target.identifier, action)) for action in (*actions, drop)]
    return [*steps, Step(tuple(operations), is_atomic=len(operations) > 1)]
''','progress': r'''"""How far a long operation is: a row of dp.progress_entry a hierarchy, seen by others with each commit.

The row stays when the operation is stopped, so that the next call knows since when it is at work; it goes at its end.
"""

from __future__ import annotations

from . import database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .execute import Context

_counted: list[int] = []  # the root whose steps are counted


def begin(context: Context, table: int, about: str, total: int) -> None:
    """An operation on a table begins, or goes on: the same one keeps the time of its start."""
    database.query(
        """
        INSERT INTO dp.progress_entry AS p (root, operation, tbl, about, total)
        VALUES ($1::regclass, $2, $3::regclass, $4, $5)
        ON CONFLICT (root) DO UPDATE SET
            pid = pg_backend_pid(), operation = excluded.operation, tbl = excluded.tbl, about = excluded.about,
            done = 0, total = excluded.total, target = '',
            started = CASE WHEN (p.operation, p.tbl, p.about) = (excluded.operation, excluded.tbl, excluded.about)
                           THEN p.started ELSE excluded.started END
        """,
        ("oid", "text", "oid", "text", "int8"),
        (context.root, context.call, table, about, total),
    )
    _counted[:] = [context.root]


def done(parts: int, name: str) -> None:
    """Some more parts are done; and which one is at work, or was the last."""
    if _counted:
        database.query(
            "UPDATE dp.progress_entry SET done = done + $2, target = $3 WHERE root = $1::regclass",
            ("oid", "int8", "text"),
            (_counted[0], parts, name),
        )


def end() -> None:
    """The operation is at its end."""
    if _counted:
        clear(_counted[0])
    forget()


def clear(root: int) -> None:
    """Nothing is left of a hierarchy's operation; the row may be one that was killed behind its last step."""
    database.query("DELETE FROM dp.progress_entry WHERE root = $1::regclass", ("oid",), (root,))


def forget() -> None:
    """The call is over, whether or not the operation came to its end."""
    _counted.clear()
''','remote': r'''"""A second session for statements that are refused inside a transaction: CREATE INDEX CONCURRENTLY and the like.

A procedure always is inside a transaction. So another session runs such a statement, while this one waits without a
snapshot and without a lock on a table: the statement waits for both. It may hold advisory locks; nobody waits for them.
The session is a back end with the methods of ``Dblink``; whatever else can run a statement elsewhere can replace it.
"""

from __future__ import annotations

import time

from . import database, errors
from .sql import Identifier, Literal, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .execute import Context

NAME = Literal("dialog_partition")  # of the connection in this session
FIRST_PAUSE, LONGEST_PAUSE = 0.0001, 0.05  # seconds; a cancel gets through between two looks
SHOWN_AFTER = 0.1  # seconds
SECONDS_TO_STOP = 5.0  # how long a statement that was cancelled is waited for

_open: list[Dblink] = []
_usual: list[float] = []  # how long the last statement took: the next one is not looked at before most of that

_HINT = (
    "Either a superuser runs CREATE EXTENSION dblink, and the connection parameter says how to connect (a foreign"
    " server of dblink_fdw with a user mapping, or keywords such as 'password=...'); or call with dry_run => true and"
    " run the statements of dp.last_plan by \\gexec of psql."
)

# What a session needs that may wait as long as it must: it queues in front of nobody who reads or writes. It ends soon
# after this one, even in the middle of a statement.
_SETTINGS = (
    ("application_name", "dialog_partition"),
    ("lock_timeout", "0"),
    ("statement_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("client_connection_check_interval", "500"),
    ("quote_all_identifiers", "off"),
    ("dp.propagate_ddl", "off"),
)


class Dblink:
    """A session by extension dblink. Names are qualified: between commits the search_path is the caller's."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def connect(self, connection: str, may_skip_password: bool) -> None:
        """Connect; what the server says of a connection that failed is the server's error."""
        self._call("dblink_connect_u" if may_skip_password else "dblink_connect", f", {Literal(connection)}")

    def send(self, statement: str) -> None:
        """Begin a statement without waiting for it."""
        self._call("dblink_send_query", f", {Literal(statement)}")

    def is_busy(self) -> bool:
        """Whether the statement still runs."""
        return bool(self._call("dblink_is_busy"))

    def result(self) -> str | None:
        """The first value of the statement's result, or its tag; its error is an error here."""
        function = Identifier(self._schema, "dblink_get_result")
        query = compose("SELECT value FROM {}({}) AS result (value pg_catalog.text)", function, NAME).text
        try:
            rows = database.query_once(f"{query} UNION ALL {query}")  # the second is the end, which has no rows
        except database.ServerError:
            database.query_once(query)  # before the end nothing else can be sent
            raise
        return rows[0]["value"] if rows else None

    def cancel(self) -> None:
        """Ask the other session to stop what it does."""
        self._call("dblink_cancel_query")

    def disconnect(self) -> None:
        """End the other session."""
        self._call("dblink_disconnect")

    def _call(self, function: str, arguments: str = "") -> object:
        rows = database.query_once(f"SELECT {Identifier(self._schema, function)}({NAME}{arguments}) AS value")
        return rows[0]["value"]


def open_session(context: Context, connection: str | None) -> None:
    """Connect as the owner of the tables, and make sure that it is the same database; before anything is changed."""
    if _open:
        return
    facts = database.query(
        """
        SELECT n.nspname AS schema, current_setting('port') AS port, current_database() AS database,
               (SELECT setting FROM pg_settings WHERE name = 'unix_socket_directories') AS sockets,
               current_user AS role, r.rolsuper AS is_superuser, c.relowner::regrole::text AS quoted_owner,
               pg_get_userbyid(c.relowner) AS owner, o.rolcanlogin AS can_login, session_user AS caller,
               NOT r.rolsuper AND has_function_privilege(p.oid, 'EXECUTE') AS may_skip_password
        FROM pg_class c
        JOIN pg_roles o ON o.oid = c.relowner
        JOIN pg_roles r ON r.rolname = current_user
        LEFT JOIN pg_extension e ON e.extname = 'dblink'
        LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
        LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'dblink_connect_u' AND p.pronargs = 2
        WHERE c.oid = $1
        """,
        ("oid",),
        (context.root,),
    )[0]
    if facts["schema"] is None:
        raise errors.NoSecondSession(
            f"{context.call} needs a second session, and extension dblink is not installed in this database",
            "Its statements are refused inside a transaction, and a procedure always is inside one.",
            _HINT,
        )
    session = Dblink(facts["schema"])
    try:
        session.connect(_connection_string(facts, connection), bool(facts["may_skip_password"]))
    except database.ServerError as error:
        if database.is_cancel(error):
            raise
        raise errors.NoSecondSession(
            f"{context.call} needs a second session, and could not connect as {facts['owner']}",
            f"{database.describe(error)}. {(getattr(error, 'spidata', None) or ('', ''))[1] or ''}".strip(),
            _HINT,
        ) from None
    _open.append(session)
    _prepare(session, context, facts["owner"])


def _connection_string(facts: database.Row, connection: str | None) -> str:
    """The default, a local socket, with what the caller says of it; or a foreign server, which stands alone."""
    if connection is not None and "=" not in connection:
        return connection
    parts = {
        "dbname": facts["database"],
        "port": facts["port"],
        "user": facts["owner"] if facts["can_login"] else facts["caller"],
    }
    if facts["sockets"]:
        parts["host"] = str(facts["sockets"]).split(",")[0].strip().strip('"')
    text = " ".join(f"{name}={_quoted(value)}" for name, value in parts.items())
    return f"{text} {connection or ''}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _prepare(session: Dblink, context: Context, owner: str) -> None:
    """The other session: of this database, which its lock shows; with the owner's rights, and its own settings."""
    lock_class = database.query("SELECT dp._worker_lock_class() AS value")[0]["value"]
    taken = _ask(session, f"SELECT pg_catalog.pg_try_advisory_lock({lock_class}, {_signed(context.root)})")
    pid = _ask(session, "SELECT pg_catalog.pg_backend_pid()")
    holder = database.query("SELECT dp._worker_of($1)::text AS pid", ("oid",), (context.root,))[0]["pid"]
    if taken != "t":
        raise errors.ObjectInUse(
            f"a statement of an earlier call still runs on the hierarchy of {context.root_name}",
            f"Process {holder} runs it; the session that made the call has ended.",
            "Wait a moment and call again.",
        )
    if pid != holder:
        raise errors.NoSecondSession(
            f"the connection of {context.call} leads elsewhere",
            "The second session does not run in this database of this server.",
            "Let the connection parameter name this server, and this database.",
        )
    for name, value in (*_SETTINGS, ("role", owner), ("search_path", context.search_path or "pg_catalog, pg_temp")):
        _ask(session, compose("SELECT pg_catalog.set_config({}, {}, false)", Literal(name), Literal(value)).text)


def _signed(oid: int) -> int:
    return oid - (1 << 32) if oid >= 1 << 31 else oid


def _ask(session: Dblink, query: str) -> str | None:
    """A query that waits for nothing that this session holds."""
    session.send(query)
    while session.is_busy():
        time.sleep(FIRST_PAUSE)
    return session.result()


def run(statement: str, show: Callable[[], None]) -> None:
    """Run a statement in the other session, and wait for its end; the transaction here ends, and many after it.

    What the transactions of a call have pinned is not pinned any more behind it. ``show``: called and committed once
    when the statement turns out to last.
    """
    session = _open[-1]
    session.send(statement)
    database.commit()
    began = time.monotonic()
    time.sleep(min(_usual[-1] * 0.8, LONGEST_PAUSE) if _usual else 0)
    shown_at: float | None = began + SHOWN_AFTER
    pause = FIRST_PAUSE
    while session.is_busy():
        database.commit()  # the look took a snapshot, for which the statement waits
        if shown_at is not None and time.monotonic() > shown_at:
            shown_at = None
            show()
        time.sleep(pause)
        pause = min(pause * 1.2, LONGEST_PAUSE)
    _usual[:] = [time.monotonic() - began]
    session.result()


def close() -> None:
    """End the other session, however the call ended; a statement that it runs is cancelled."""
    while _open:
        session = _open.pop()
        if session.is_busy():
            session.cancel()
            until = time.monotonic() + SECONDS_TO_STOP
            while session.is_busy() and time.monotonic() < until:
                database.commit()
                time.sleep(FIRST_PAUSE * 10)
        session.disconnect()


def stop_orphan(context: Context) -> None:
    """Stop the other session of a call whose own session was killed: the lock of the hierarchy is ours by now."""
    until = time.monotonic() + SECONDS_TO_STOP
    query = "SELECT dp._worker_of($1) AS pid"
    while (pid := database.query(query, ("oid",), (context.root,))[0]["pid"]) is not None:
        if time.monotonic() > until:
            raise errors.ObjectInUse(
                f"a statement of an earlier call still runs on the hierarchy of {context.root_name}",
                f"Process {pid} runs it; the session that made the call has ended.",
                "Wait until it has ended, or end it by pg_terminate_backend.",
            )
        database.query("SELECT pg_terminate_backend($1)", ("int",), (pid,))
        database.pause(10)
''','sql': r'''"""Composing SQL text: names and values enter a statement only through this module."""

from __future__ import annotations


class Composable:
    """A piece of SQL text that is safe to put into a statement."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composable) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class SQL(Composable):
    """SQL text from this package's own source, or from PostgreSQL's own deparser (pg_get_...)."""


class Identifier(Composable):
    """A name, qualified or not, always quoted: ``Identifier("public", "Dialog")``."""

    __slots__ = ("name",)

    def __init__(self, *parts: str) -> None:
        self.name = parts[-1]  # without its schema, as it is
        super().__init__(".".join(_quote_name(part) for part in parts))


class Literal(Composable):
    """A value as a constant: None, bool, int or str."""

    def __init__(self, value: str | int | bool | None) -> None:
        super().__init__(_quote_value(value))


def _quote_name(name: str) -> str:
    if "\0" in name:
        raise ValueError("a name cannot contain a zero byte")
    return '"' + name.replace('"', '""') + '"'


def _quote_value(value: str | int | bool | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    quoted = value.replace("'", "''")
    if "\\" in quoted:  # right whatever standard_conforming_strings says
        return "E'" + quoted.replace("\\", "\\\\") + "'"
    return "'" + quoted + "'"


def compose(template: str, *positional: Composable, **named: Composable) -> SQL:
    """Fill ``{}`` and ``{name}`` of a template with composables; refuses anything else."""
    for value in (*positional, *named.values()):
        if not isinstance(value, Composable):
            raise TypeError(f"compose() takes composables, not {type(value).__name__}")
    return SQL(template.format(*positional, **named))


def comma_list(parts: list[Composable] | list[Identifier] | list[Literal] | list[SQL]) -> SQL:
    """Join pieces with commas."""
    return SQL(", ".join(part.text for part in parts))


def names(columns: list[str] | tuple[str, ...]) -> SQL:
    """A comma-separated list of quoted column names."""
    return comma_list([Identifier(column) for column in columns])


def conjunction(conditions: list[SQL]) -> SQL:
    """Conditions joined by AND."""
    return SQL(" AND ".join(condition.text for condition in conditions))


def assignments(values: dict[str, Composable]) -> SQL:
    """``"a" = ..., "b" = ...``, as in UPDATE ... SET."""
    return comma_list([compose("{} = {}", Identifier(column), value) for column, value in values.items()])


def name_array(columns: list[str] | tuple[str, ...]) -> SQL:
    """A constant of type name[]."""
    return compose("ARRAY[{}]::name[]", comma_list([Literal(column) for column in columns]))
''','wrapping': r'''"""Statements wrapped into others: with the rights of the tables' owner, or with names as the caller means them."""

from __future__ import annotations

import os

from . import database
from .sql import SQL, Identifier, Literal, compose

PINNED_PATH = "pg_catalog, pg_temp"


def as_owner(statements: str, owner: str, is_committed: bool) -> SQL:
    """Statements with the rights of the owner of the tables, and no way back to the caller's.

    They may run functions of the owner: in a CHECK, a generated column, the expression of an index. After SET ROLE
    alone such a function could RESET ROLE and go on as whoever called. Inside a SECURITY DEFINER function PostgreSQL
    refuses to change the role; and as the function belongs to the owner, it can do no more than the owner can. Its
    name cannot be foreseen, so that nobody has made another of that name. Nor may a trigger wait for the commit, which
    comes when the role is the caller's again.
    """
    deferred = "SET CONSTRAINTS ALL IMMEDIATE; " if is_committed else ""
    return compose(
        "SELECT pg_catalog.set_config('role', {owner}, true);"
        " CREATE FUNCTION {function}() RETURNS void LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp SET row_security = on AS {body};"
        " SELECT {function}();"
        " SELECT pg_catalog.set_config('search_path', {path}, true);"
        " DROP FUNCTION {function}();"
        " SELECT pg_catalog.set_config('role', {role}, true)",
        owner=Literal(owner),
        path=Literal(PINNED_PATH),
        function=Identifier("pg_temp", f"dp_as_owner_{os.urandom(8).hex()}"),
        body=Literal(compose("BEGIN EXECUTE {}; {}END", Literal(statements), SQL(deferred)).text),
        role=Literal(database.setting("role") or "none"),
    )


def with_search_path(statements: str, path: str) -> str:
    """Statements in which names mean what they mean to the caller; what runs after them is pinned again."""
    return compose(
        "SELECT pg_catalog.set_config('search_path', {}, true); {};"
        " SELECT pg_catalog.set_config('search_path', {}, true)",
        Literal(path),
        SQL(statements),
        Literal(PINNED_PATH),
    ).text
''',}


class Loader(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the package's modules in SOURCES; with get_source, so that tracebacks show lines."""

    def find_spec(self, name, path, target=None):
        if name != PACKAGE and not name.startswith(PACKAGE + '.'):
            return None
        module = name[len(PACKAGE) + 1:]
        if module in SOURCES:
            return importlib.util.spec_from_loader(name, self, is_package=False, origin=name)
        if module + '.__init__' in SOURCES or not module:
            return importlib.util.spec_from_loader(name, self, is_package=True, origin=name)
        return None

    def is_package(self, name):
        return name[len(PACKAGE) + 1:] not in SOURCES

    def get_source(self, name):
        module = name[len(PACKAGE) + 1:]
        source = SOURCES.get(module) or SOURCES[(module + '.__init__').lstrip('.')]
        return source.replace('\n\t', '\n')  # PL/Python indents what it compiles, text in strings too


sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, 'package', None) != PACKAGE]
finder = Loader()
finder.package = PACKAGE
sys.meta_path.append(finder)
GD[PACKAGE] = importlib.import_module(PACKAGE + '.entry')
$python$;

COMMENT ON FUNCTION dp._load_python() IS
'Internal: loads the Python package of dialog_partition into the session. Called once a session, by the first function that needs it.';

-- support/cut.sql.j2
CREATE FUNCTION dp._cut(value text, bytes integer)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT left(value, max(n.n))
    FROM generate_series(0, least(length(value), bytes)) AS n (n)
    WHERE octet_length(left(value, n.n)) <= bytes
);

COMMENT ON FUNCTION dp._cut(text, integer) IS
'Internal: the longest prefix that fits into so many bytes without splitting a character.';

-- support/clock.sql.j2
CREATE FUNCTION dp._clock()
RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN coalesce(nullif(current_setting('dp.now', true), '')::timestamptz, now());

COMMENT ON FUNCTION dp._clock() IS
'Internal: the time that plans go by. SET dp.now = ''2031-01-01 00:00+00'' rehearses another day in this session.';

CREATE FUNCTION dp._now(time_zone text)
RETURNS timestamp
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN dp._clock() AT TIME ZONE time_zone;

COMMENT ON FUNCTION dp._now(text) IS 'Internal: the clock in a time zone.';

-- support/locks.sql.j2
CREATE FUNCTION dp._lock_class()
RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN 1685088353;

COMMENT ON FUNCTION dp._lock_class() IS
'Internal: the first key of the advisory locks that keep two sessions from working on one hierarchy; the second is the root''s oid.';

CREATE FUNCTION dp._lock_holder(root oid)
RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT l.pid FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.granted
        AND l.classid = dp._lock_class()::oid AND l.objid = root AND l.objsubid = 2
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    ORDER BY l.pid
    LIMIT 1
);

COMMENT ON FUNCTION dp._lock_holder(oid) IS 'Internal: the process that works on a hierarchy.';

CREATE FUNCTION dp._worker_lock_class()
RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN 1685088354;

COMMENT ON FUNCTION dp._worker_lock_class() IS
'Internal: the first key of the advisory lock of a second session that runs statements for the one that works on a hierarchy.';

CREATE FUNCTION dp._worker_of(root oid)
RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT l.pid FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.granted
        AND l.classid = dp._worker_lock_class()::oid AND l.objid = root AND l.objsubid = 2
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    ORDER BY l.pid
    LIMIT 1
);

COMMENT ON FUNCTION dp._worker_of(oid) IS
'Internal: the second session that runs statements on a hierarchy for the one that works on it.';

-- support/columns.sql.j2
CREATE FUNCTION dp._column_names(relation oid, numbers smallint[])
RETURNS name[]
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT array_agg(a.attname ORDER BY k.position)
    FROM unnest(numbers) WITH ORDINALITY AS k (number, position)
    JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = k.number
);

COMMENT ON FUNCTION dp._column_names(oid, smallint[]) IS 'Internal: column numbers as names, in order.';

-- support/slices.sql.j2
CREATE FUNCTION dp._point(bound text, key_type text)
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
RETURN CASE
    WHEN bound IS NULL OR bound IN ('MINVALUE', 'MAXVALUE', 'infinity', '-infinity') THEN NULL
    WHEN key_type = 'uuid' THEN ('x' || left(translate(bound, '-', ''), 12))::bit(48)::bigint * 1000
    WHEN key_type IN ('smallint', 'integer', 'bigint') THEN bound::bigint
    WHEN key_type IN ('date', 'timestamp without time zone', 'timestamp with time zone')
        THEN (extract(EPOCH FROM bound::timestamptz) * 1000000)::bigint
END;

COMMENT ON FUNCTION dp._point(text, text) IS
'Internal: a bound as a point on its key''s axis: microseconds since 1970-01-01, or the integer itself.';

CREATE FUNCTION dp._moment_point(moment timestamp, key_type text, time_zone text)
RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN (extract(EPOCH FROM CASE
    WHEN key_type IN ('timestamp with time zone', 'uuid') THEN moment AT TIME ZONE time_zone
    ELSE moment AT TIME ZONE 'UTC'
END) * 1000000)::bigint;

COMMENT ON FUNCTION dp._moment_point(timestamp, text, text) IS
'Internal: a calendar moment of a time zone as a point on a key''s axis.';

CREATE FUNCTION dp._moment_range(moment timestamp, key_type text, time_zone text)
RETURNS TABLE (first bigint, last bigint)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $sql$
WITH zone (name) AS (
    SELECT CASE WHEN key_type IN ('timestamp with time zone', 'uuid') THEN time_zone ELSE 'UTC' END
),
usual (at, zone) AS (SELECT moment AT TIME ZONE zone.name, zone.name FROM zone),
candidate (at) AS (
    SELECT usual.at FROM usual
    UNION ALL
    -- read with the offset that holds the day before, and with the one that holds the day after
    SELECT (moment - ((usual.at + around.hours) AT TIME ZONE usual.zone - (usual.at + around.hours) AT TIME ZONE 'UTC'))
        AT TIME ZONE 'UTC'
    FROM usual, (VALUES (interval '-24 hours'), (interval '24 hours')) AS around (hours)
)
SELECT
    min(extract(EPOCH FROM c.at) * 1000000)::bigint,
    max(extract(EPOCH FROM c.at) * 1000000)::bigint
FROM candidate AS c, usual AS u
-- a moment that the clock skips has no point of its own: then all of them are taken, for they enclose the gap
WHERE c.at AT TIME ZONE u.zone = moment OR u.at AT TIME ZONE u.zone <> moment
$sql$;

COMMENT ON FUNCTION dp._moment_range(timestamp, text, text) IS
'Internal: the first and the last point at which a clock shows a moment; they differ when it is set back over that moment.';

CREATE FUNCTION dp._local_name(point bigint, key_type text, time_zone text)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD'
AS $sql$
WITH l (moment) AS (
    SELECT
        CASE
            WHEN key_type IN ('timestamp with time zone', 'uuid')
                THEN ('1970-01-01 00:00:00+00'::timestamptz + point * interval '1 microsecond') AT TIME ZONE time_zone
            WHEN key_type IN ('smallint', 'integer', 'bigint') THEN NULL
            ELSE '1970-01-01'::timestamp + point * interval '1 microsecond'
        END
)
SELECT CASE
    WHEN l.moment IS NULL THEN point::text
    WHEN l.moment = l.moment::date THEN l.moment::date::text
    ELSE l.moment::text
END
FROM l
$sql$;

COMMENT ON FUNCTION dp._local_name(bigint, text, text) IS
'Internal: what a call names a bound by: a date or a timestamp in the hierarchy''s time zone, or a number.';

CREATE FUNCTION dp._slices(parents oid[], time_zone text)
RETURNS TABLE (
    parent oid,
    slice oid,
    schema_name name,
    slice_name name,
    is_partitioned boolean,
    is_default boolean,
    detach_pending boolean,
    lower_text text,
    upper_text text,
    lower_point bigint,
    upper_point bigint,
    lower_local text,
    upper_local text,
    modulus integer,
    remainders integer[]
)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
AS $sql$
-- materialized, so that bounds are deparsed and taken apart once
WITH slice AS MATERIALIZED (
    SELECT
        i.inhparent AS parent,
        c.oid,
        n.nspname,
        c.relname,
        c.relkind = 'p' AS is_partitioned,
        i.inhdetachpending,
        format_type(a.atttypid, NULL) AS key_type,
        pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM unnest(parents) AS p (oid)
    JOIN pg_partitioned_table AS t ON t.partrelid = p.oid
    JOIN pg_attribute AS a ON a.attrelid = t.partrelid AND a.attnum = t.partattrs[0]
    JOIN pg_inherits AS i ON i.inhparent = p.oid
    JOIN pg_class AS c ON c.oid = i.inhrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
),
bounds AS MATERIALIZED (
    -- split_part, because regular expressions took most of the time; no bound of a range key holds ") TO ("
    SELECT
        s.*,
        s.bound = 'DEFAULT' AS is_default,
        trim(BOTH '''' FROM split_part(e.ends, ') TO (', 1)) AS lower_text,
        trim(BOTH '''' FROM split_part(e.ends, ') TO (', 2)) AS upper_text
    FROM slice AS s
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.bound LIKE 'FOR VALUES FROM (%) TO (%)' THEN substr(s.bound, 18, length(s.bound) - 18) END
    ) AS e (ends)
),
points AS MATERIALIZED (
    SELECT
        b.*,
        CASE
            WHEN b.lower_text IS NULL OR b.lower_text IN ('MINVALUE', 'MAXVALUE', 'infinity', '-infinity') THEN NULL
            WHEN b.key_type = 'uuid' THEN ('x' || left(translate(b.lower_text, '-', ''), 12))::bit(48)::bigint * 1000
            WHEN b.key_type IN ('smallint', 'integer', 'bigint') THEN b.lower_text::bigint
            WHEN b.key_type IN ('date', 'timestamp without time zone', 'timestamp with time zone')
                THEN (extract(EPOCH FROM b.lower_text::timestamptz) * 1000000)::bigint
        END AS lower_point,
        CASE
            WHEN b.upper_text IS NULL OR b.upper_text IN ('MINVALUE', 'MAXVALUE', 'infinity', '-infinity') THEN NULL
            WHEN b.key_type = 'uuid' THEN ('x' || left(translate(b.upper_text, '-', ''), 12))::bit(48)::bigint * 1000
            WHEN b.key_type IN ('smallint', 'integer', 'bigint') THEN b.upper_text::bigint
            WHEN b.key_type IN ('date', 'timestamp without time zone', 'timestamp with time zone')
                THEN (extract(EPOCH FROM b.upper_text::timestamptz) * 1000000)::bigint
        END AS upper_point
    FROM bounds AS b
)
SELECT
    p.parent,
    p.oid,
    p.nspname,
    p.relname,
    p.is_partitioned,
    p.is_default,
    p.inhdetachpending,
    p.lower_text,
    p.upper_text,
    p.lower_point,
    p.upper_point,
    (CASE
        WHEN p.key_type IN ('timestamp with time zone', 'uuid')
            THEN ('1970-01-01 00:00:00+00'::timestamptz + p.lower_point * interval '1 microsecond') AT TIME ZONE time_zone
        WHEN p.key_type IN ('smallint', 'integer', 'bigint') THEN NULL
        ELSE '1970-01-01'::timestamp + p.lower_point * interval '1 microsecond'
    END)::text,
    (CASE
        WHEN p.key_type IN ('timestamp with time zone', 'uuid')
            THEN ('1970-01-01 00:00:00+00'::timestamptz + p.upper_point * interval '1 microsecond') AT TIME ZONE time_zone
        WHEN p.key_type IN ('smallint', 'integer', 'bigint') THEN NULL
        ELSE '1970-01-01'::timestamp + p.upper_point * interval '1 microsecond'
    END)::text,
    leaves.modulus,
    leaves.remainders
FROM points AS p
LEFT JOIN LATERAL (
    SELECT
        max(split_part(split_part(h.bound, 'modulus ', 2), ',', 1)::integer) AS modulus,
        array_agg(h.remainder ORDER BY h.remainder) AS remainders
    FROM (
        SELECT
            e.bound,
            rtrim(split_part(e.bound, 'remainder ', 2), ')')::integer AS remainder
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS e (bound)
        WHERE i.inhparent = p.oid AND p.is_partitioned AND e.bound LIKE 'FOR VALUES WITH (modulus %, remainder %)'
    ) AS h
) AS leaves ON p.is_partitioned
$sql$;

COMMENT ON FUNCTION dp._slices(oid[], text) IS
'Internal: the partitions of some tables, their bounds as text, as points and as calendar moments, and the remainders of their leaves.';

-- support/index_definition.sql.j2
CREATE FUNCTION dp._index_definition(index oid)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT
        substr(
            pg_get_indexdef(i.indexrelid),
            length(format(
                'CREATE %sINDEX %I ON %s%I.%I ',
                CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END,
                x.relname,
                CASE WHEN x.relkind = 'I' THEN 'ONLY ' ELSE '' END,
                n.nspname,
                c.relname
            )) + 1
        )
    FROM pg_index AS i
    JOIN pg_class AS x ON x.oid = i.indexrelid
    JOIN pg_class AS c ON c.oid = i.indrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE i.indexrelid = index
);

COMMENT ON FUNCTION dp._index_definition(oid) IS
'Internal: what an index says behind the name of its table: USING btree (...) ...';

-- support/index_names.sql.j2
CREATE FUNCTION dp._index_name(relation name, index name)
RETURNS name
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN (
    WITH candidate (name) AS (SELECT relation::text || '_' || index::text)

    SELECT
        CASE
            WHEN octet_length(candidate.name) <= 63 THEN candidate.name
            -- a prefix that does not split a character, and a checksum of the whole
            ELSE rtrim(dp._cut(candidate.name, 54)) || '_' || left(md5(candidate.name), 8)
        END::name
    FROM candidate
);

COMMENT ON FUNCTION dp._index_name(name, name) IS
'Internal: the name of a partition''s index: the partition''s name and the parent index''s name, shortened with a checksum.';

CREATE FUNCTION dp._index_names_need_help(relation oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    WITH names AS (
        SELECT
            -- a leaf adds "_20250615_20250715_h0015" to its table's name, which is cut to 39 bytes
            least(octet_length(c.relname), 39) + 24 AS leaf_bytes,
            i.indisprimary,
            string_agg(a.attname, '_' ORDER BY a.attnum) AS columns
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indrelid
        JOIN pg_attribute AS a ON a.attrelid = i.indexrelid
        WHERE i.indrelid = relation
        GROUP BY i.indexrelid, i.indisprimary, c.relname
    )

    -- "_pkey", or "_", the columns and "_idx"
    SELECT
        coalesce(
            max(n.leaf_bytes + CASE WHEN n.indisprimary THEN 5 ELSE octet_length(n.columns) + 5 END) > 63
            OR count(*) FILTER (WHERE NOT n.indisprimary) > count(DISTINCT n.columns) FILTER (WHERE NOT n.indisprimary),
            false
        )
    FROM names AS n
);

COMMENT ON FUNCTION dp._index_names_need_help(oid) IS
'Internal: whether PostgreSQL would cut or number the names that it gives to the indexes of a table''s partitions.';

CREATE FUNCTION dp._name_indexes(slice regclass)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    found record;
    renamed integer := 0;
BEGIN
    FOR found IN
        SELECT n.nspname, x.relname AS old_name, dp._index_name(c.relname, top.relname) AS new_name
        FROM pg_partition_tree(slice) AS tree
        JOIN pg_class AS c ON c.oid = tree.relid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_index AS i ON i.indrelid = c.oid
        JOIN pg_class AS x ON x.oid = i.indexrelid AND x.relispartition
        CROSS JOIN LATERAL (SELECT a.relid FROM pg_partition_ancestors(x.oid) AS a (relid) OFFSET 0) AS ancestor
        JOIN pg_class AS top ON top.oid = ancestor.relid AND NOT top.relispartition
        WHERE x.relname <> dp._index_name(c.relname, top.relname)
    LOOP
        EXECUTE format('ALTER INDEX %I.%I RENAME TO %I', found.nspname, found.old_name, found.new_name);
        renamed := renamed + 1;
    END LOOP;
    RETURN renamed;
END
$plpgsql$;

COMMENT ON FUNCTION dp._name_indexes(regclass) IS
'Internal: gives the indexes of a slice and its leaves names that follow from the leaf and the parent''s index; returns how many changed.';

-- support/check_empty.sql.j2
CREATE FUNCTION dp._check_empty(relation regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    found boolean;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'whether % is empty cannot be told in a transaction that is %',
            relation, current_setting('transaction_isolation') USING
            ERRCODE = 'invalid_transaction_state',
            DETAIL = 'Such a transaction does not see what others committed since its snapshot, rows among them.',
            HINT = 'Use a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED.';
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', relation) INTO found;
    IF found THEN
        RAISE EXCEPTION '% is not partitioned and holds rows', relation USING
            ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'Only an empty table can be made anew as a partitioned one.',
            HINT = 'Declare the hierarchy before rows are loaded, or move them aside and insert them again through the root.';
    END IF;
END
$plpgsql$;

COMMENT ON FUNCTION dp._check_empty(regclass) IS
'Internal: locks a table that is about to be made anew, and refuses when it holds rows.';

-- support/check_unchanged.sql.j2
CREATE FUNCTION dp._check_unchanged(relation regclass, versions text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    found text;
BEGIN
    EXECUTE format(
        'SELECT count(*) || '' '' || coalesce(sum(hashtidextended(t.ctid, t.xmin::text::bigint)), 0) FROM %s AS t',
        relation
    ) INTO found;
    IF found <> versions THEN
        RAISE EXCEPTION 'rows of % were changed after they had been copied', relation USING
            ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'Tables are converted while the application is stopped.',
            HINT = 'Stop what writes to the tables, and call again: they are copied anew. They are as they were.';
    END IF;
END
$plpgsql$;

COMMENT ON FUNCTION dp._check_unchanged(regclass, text) IS
'Internal: refuses when row versions of a plain table are others than when it was compared with its copy.';

-- support/replica_identity.sql.j2
CREATE FUNCTION dp._set_replica_identity(leaf regclass, parent_index name)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    own name;
BEGIN
    SELECT x.relname INTO own
    FROM pg_index AS i
    JOIN pg_class AS x ON x.oid = i.indexrelid
    WHERE i.indrelid = leaf
        AND (x.relname = parent_index OR EXISTS (
            SELECT FROM pg_partition_ancestors(x.oid) AS a (relid)
            JOIN pg_class AS top ON top.oid = a.relid
            WHERE top.relname = parent_index
        ));
    IF own IS NULL THEN
        RAISE EXCEPTION 'no index of % stems from index "%"', leaf, parent_index
            USING ERRCODE = 'undefined_object', DETAIL = 'It shall be the replica identity.';
    END IF;
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', leaf, own);
END
$plpgsql$;

COMMENT ON FUNCTION dp._set_replica_identity(regclass, name) IS
'Internal: makes the leaf''s own copy of an index of its parent its replica identity.';

-- support/share_identity.sql.j2
CREATE FUNCTION dp._share_identity(slice regclass)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    leaf record;
    again integer := 0;
BEGIN
    -- From 17 on partitions share the identity of their parent. ATTACH gives it to the slice, but not to the leaves
    -- below, and the next DETACH fails for want of it; attached again each leaf takes it from the slice.
    FOR leaf IN
        SELECT n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE i.inhparent = slice AND EXISTS (
            SELECT FROM pg_attribute AS a
            JOIN pg_attribute AS b ON b.attrelid = c.oid AND b.attname = a.attname
            WHERE a.attrelid = slice AND a.attidentity <> b.attidentity AND NOT a.attisdropped AND a.attnum > 0
        )
    LOOP
        EXECUTE format('ALTER TABLE %s DETACH PARTITION %I.%I', slice, leaf.nspname, leaf.relname);
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I %s', slice, leaf.nspname, leaf.relname, leaf.bound);
        again := again + 1;
    END LOOP;
    RETURN again;
END
$plpgsql$;

COMMENT ON FUNCTION dp._share_identity(regclass) IS
'Internal: gives the leaves of a slice that was attached the identity columns of the slice; returns how many lacked them.';

-- support/rename_sequence.sql.j2
CREATE FUNCTION dp._rename_sequence(sequence text, wanted name)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
BEGIN
    IF (SELECT c.relname FROM pg_class AS c WHERE c.oid = sequence::regclass) <> wanted THEN
        EXECUTE format('ALTER SEQUENCE %s RENAME TO %I', sequence, wanted);
    END IF;
END
$plpgsql$;

COMMENT ON FUNCTION dp._rename_sequence(text, name) IS 'Internal: gives an identity''s sequence its old name back.';

-- support/equality_schema.sql.j2
CREATE FUNCTION dp._equality_schema(type oid)
RETURNS name
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN coalesce(
    (
        SELECT n.nspname
        FROM pg_type AS t
        JOIN pg_opclass AS c ON c.opcintype = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END AND c.opcdefault
        JOIN pg_am AS m ON m.oid = c.opcmethod AND m.amname = 'btree'
        JOIN pg_amop AS a
            ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype
                AND a.amoprighttype = c.opcintype AND a.amopstrategy = 3
        JOIN pg_operator AS o ON o.oid = a.amopopr
        JOIN pg_namespace AS n ON n.oid = o.oprnamespace
        WHERE t.oid = type
    ),
    'pg_catalog'
);

COMMENT ON FUNCTION dp._equality_schema(oid) IS
'Internal: the schema of a type''s own equality operator, by which generated functions name it.';

-- tables/configuration.sql.j2
CREATE TABLE dp.hierarchy_config (
    root regclass PRIMARY KEY,
    range_key name NOT NULL,
    hash_key name,
    key_form text NOT NULL CHECK (key_form IN ('exact', 'slice')),
    slice_key name,
    bucket text,
    slice text NOT NULL,
    hash_partitions integer NOT NULL CHECK (hash_partitions >= 0),
    premake integer NOT NULL CHECK (premake >= 0),
    start text,
    retention text,
    retention_action text NOT NULL CHECK (retention_action IN ('detach', 'drop', 'move')),
    retention_schema name,
    time_zone text NOT NULL,
    default_slice boolean NOT NULL,
    lock_timeout interval NOT NULL DEFAULT '500 ms' CHECK (lock_timeout BETWEEN '1 ms' AND '24 days'),
    analyze_interval interval NOT NULL DEFAULT '7 days' CHECK (analyze_interval BETWEEN '1 ms' AND '1000 years'),
    log_retention interval NOT NULL DEFAULT '90 days' CHECK (log_retention BETWEEN '1 ms' AND '1000 years'),
    propagate_ddl boolean NOT NULL DEFAULT true,
    CHECK ((key_form = 'slice') = (slice_key IS NOT NULL AND bucket IS NOT NULL))
);
COMMENT ON TABLE dp.hierarchy_config IS
'What the catalog cannot know of a hierarchy: which columns are its keys, and its policies. Change it with dp.configure.';

CREATE TABLE dp.table_config (
    root regclass NOT NULL REFERENCES dp.hierarchy_config ON DELETE CASCADE,
    tbl regclass NOT NULL,
    role text NOT NULL CHECK (role IN ('root', 'child', 'reference')),
    template regclass,
    PRIMARY KEY (root, tbl)
);
CREATE UNIQUE INDEX table_config_tbl ON dp.table_config (tbl) WHERE role <> 'reference';
COMMENT ON TABLE dp.table_config IS 'The tables of each hierarchy, and the template of each that is partitioned.';

CREATE TABLE dp.pending_foreign_key (
    child regclass NOT NULL,
    name name NOT NULL,
    parent regclass NOT NULL,
    columns name[] NOT NULL,
    parent_columns name[] NOT NULL,
    on_delete "char" NOT NULL,
    delete_columns name[] NOT NULL,
    is_deferrable boolean NOT NULL,
    is_deferred boolean NOT NULL,
    PRIMARY KEY (child, name)
);
COMMENT ON TABLE dp.pending_foreign_key IS
'Foreign keys of tables that are not registered yet, let go when their parent was made anew; dp.register_child makes them again.';

CREATE TABLE dp.detached_slice (
    slice regclass PRIMARY KEY,
    root regclass NOT NULL REFERENCES dp.hierarchy_config ON DELETE CASCADE,
    tbl regclass NOT NULL,
    lower_bound text NOT NULL,
    upper_bound text NOT NULL,
    detached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE dp.detached_slice IS 'Slices that were detached and may be attached again: their bounds, which the catalog forgets.';

CREATE TABLE dp.global_index_config (
    side regclass PRIMARY KEY,
    root regclass NOT NULL REFERENCES dp.hierarchy_config ON DELETE CASCADE,
    tbl regclass NOT NULL,
    columns name[] NOT NULL,
    predicate text,
    predicate_columns name[] NOT NULL DEFAULT '{}',
    is_unique boolean NOT NULL,
    is_valid boolean NOT NULL
);
CREATE INDEX global_index_config_root ON dp.global_index_config (root);
COMMENT ON TABLE dp.global_index_config IS
'Global indexes: the side table of each, what it indexes, and whether it holds all rows yet.';

CREATE TABLE dp.log_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    root regclass NOT NULL,
    call text NOT NULL,
    target text NOT NULL,
    status text NOT NULL CHECK (status IN ('done', 'failed')),
    duration interval,
    message text NOT NULL DEFAULT '',
    statements text NOT NULL DEFAULT '',
    by_role name NOT NULL DEFAULT session_user
);
CREATE INDEX log_entry_root_at ON dp.log_entry (root, at);
COMMENT ON TABLE dp.log_entry IS 'What procedures committed and what failed; read it through dp.log.';

CREATE TABLE dp.progress_entry (
    root regclass PRIMARY KEY REFERENCES dp.hierarchy_config ON DELETE CASCADE,
    pid integer NOT NULL DEFAULT pg_backend_pid(),
    operation text NOT NULL,
    tbl regclass NOT NULL,
    about text NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL,
    started timestamptz NOT NULL DEFAULT clock_timestamp(),
    target text NOT NULL DEFAULT ''
);
COMMENT ON TABLE dp.progress_entry IS
'How far the long operation of a hierarchy is, or was when it was stopped; read it through dp.progress.';

CREATE TABLE dp.conversion_config (
    root regclass PRIMARY KEY,
    hierarchy regclass,
    is_back boolean NOT NULL DEFAULT false,
    state text NOT NULL CHECK (state IN ('structure', 'copying', 'changed', 'switched', 'converted')),
    started timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE dp.conversion_config IS
'Conversions: the root, that which takes its place (of a hierarchy, or back: a plain one), and how far they are.';

CREATE TABLE dp.conversion_table (
    root regclass NOT NULL REFERENCES dp.conversion_config ON DELETE CASCADE,
    plain regclass NOT NULL,
    converted regclass,
    position integer NOT NULL,
    PRIMARY KEY (root, plain)
);
COMMENT ON TABLE dp.conversion_table IS 'The plain tables of a conversion, parents before children, and what takes their place.';

CREATE TABLE dp.conversion_record (
    tbl regclass PRIMARY KEY,
    root regclass NOT NULL REFERENCES dp.hierarchy_config ON DELETE CASCADE,
    changes jsonb NOT NULL
);
CREATE INDEX conversion_record_root ON dp.conversion_record (root);
COMMENT ON TABLE dp.conversion_record IS 'What a conversion changed of each table, for dp.unconvert to take back.';

CREATE TABLE dp.conversion_step (
    root regclass NOT NULL REFERENCES dp.conversion_config ON DELETE CASCADE,
    position integer NOT NULL,
    phase text NOT NULL,
    kind text NOT NULL,
    tbl regclass NOT NULL,
    parents regclass[] NOT NULL,
    target text NOT NULL,
    statements text[] NOT NULL,
    arguments text NOT NULL,
    next_block bigint NOT NULL DEFAULT 0,
    is_done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (root, position)
);
COMMENT ON TABLE dp.conversion_step IS 'The steps of conversions that are not at their end, in order, and which are done.';

SELECT pg_extension_config_dump('dp.hierarchy_config', '');
SELECT pg_extension_config_dump('dp.table_config', '');
SELECT pg_extension_config_dump('dp.pending_foreign_key', '');
SELECT pg_extension_config_dump('dp.detached_slice', '');
SELECT pg_extension_config_dump('dp.global_index_config', '');
SELECT pg_extension_config_dump('dp.conversion_config', '');
SELECT pg_extension_config_dump('dp.conversion_table', '');
SELECT pg_extension_config_dump('dp.conversion_step', '');
SELECT pg_extension_config_dump('dp.conversion_record', '');

GRANT SELECT ON dp.hierarchy_config, dp.table_config, dp.pending_foreign_key, dp.detached_slice, dp.log_entry,
dp.global_index_config, dp.conversion_config, dp.conversion_table, dp.conversion_step, dp.conversion_record TO PUBLIC;
GRANT INSERT, UPDATE, DELETE ON dp.hierarchy_config, dp.table_config, dp.pending_foreign_key, dp.detached_slice,
dp.global_index_config, dp.conversion_config, dp.conversion_table, dp.conversion_step, dp.conversion_record TO PUBLIC;
GRANT INSERT, DELETE ON dp.log_entry TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON dp.progress_entry TO PUBLIC;

-- triggers/forget_dropped.sql.j2
CREATE FUNCTION dp._forget_dropped()
RETURNS event_trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    gone oid[];
    template regclass;
    side regclass;
BEGIN
    SELECT array_agg(d.objid) INTO gone
    FROM pg_event_trigger_dropped_objects() AS d
    WHERE d.classid = 'pg_class'::regclass AND d.object_type IN ('table', 'foreign table');
    -- roles that may not look into dp have no hierarchies
    IF gone IS NULL OR has_schema_privilege(to_regnamespace('dp'), 'USAGE') IS NOT TRUE THEN
        RETURN;
    END IF;
    IF to_regclass('dp.table_config') IS NULL THEN
        RETURN;
    END IF;
    -- templates are of no use without their tables; of a root's children, too
    FOR template IN
        SELECT t.template FROM dp.table_config AS t
        WHERE (t.tbl::oid = ANY (gone) OR t.root::oid = ANY (gone)) AND t.template::oid <> ALL (gone)
            AND NOT dp._is_gone(t.template)
    LOOP
        IF dp._owns(template) THEN
            EXECUTE format('DROP TABLE %s', template);
        END IF;
    END LOOP;
    -- neither are global indexes, nor the functions that kept them
    FOR side IN
        SELECT g.side FROM dp.global_index_config AS g
        WHERE (g.tbl::oid = ANY (gone) OR g.root::oid = ANY (gone)) AND g.side::oid <> ALL (gone)
            AND NOT dp._is_gone(g.side)
    LOOP
        IF dp._owns(side) THEN
            EXECUTE format('DROP TABLE %s', side);
        END IF;
    END LOOP;
    DELETE FROM dp.global_index_config AS g WHERE g.side::oid = ANY (gone) OR g.tbl::oid = ANY (gone);
    DELETE FROM dp.detached_slice AS s WHERE s.slice::oid = ANY (gone);
    DELETE FROM dp.pending_foreign_key AS k WHERE k.child::oid = ANY (gone) OR k.parent::oid = ANY (gone);
    UPDATE dp.table_config AS t SET template = NULL WHERE t.template::oid = ANY (gone);
    DELETE FROM dp.conversion_record AS r WHERE r.tbl::oid = ANY (gone);
    DELETE FROM dp.table_config AS t WHERE t.tbl::oid = ANY (gone);
    DELETE FROM dp.hierarchy_config AS h WHERE h.root::oid = ANY (gone);
    DELETE FROM dp.conversion_config AS c WHERE c.root::oid = ANY (gone);
END
$plpgsql$;

COMMENT ON FUNCTION dp._forget_dropped() IS 'Internal: what the configuration says of a table goes with the table.';

CREATE EVENT TRIGGER dialog_partition_forget_dropped ON sql_drop
WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED')
EXECUTE FUNCTION dp._forget_dropped();

-- triggers/ownership.sql.j2
CREATE FUNCTION dp._owns(relation oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    -- a number that no relation has yet may be another role's table tomorrow: nobody owns it
    SELECT coalesce(
        pg_has_role((SELECT c.relowner FROM pg_class AS c WHERE c.oid = relation), 'USAGE'),
        (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user)
    )
);

COMMENT ON FUNCTION dp._owns(oid) IS 'Internal: whether the current role may act as the owner of a relation.';

CREATE FUNCTION dp._is_gone(relation oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN relation IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation);

COMMENT ON FUNCTION dp._is_gone(oid) IS 'Internal: whether a relation was dropped.';

CREATE FUNCTION dp._check_ownership()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    named jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
    was jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    argument text;
    relation oid;  -- read as it is: a name would have to be looked up in a schema that may be closed to the caller
BEGIN
    -- what is said of a relation that was dropped may be cleared away by whoever dropped it
    FOREACH argument IN ARRAY TG_ARGV LOOP
        argument := ltrim(argument, '-');
        EXECUTE format('SELECT ($1).%I::oid', argument) INTO relation USING CASE WHEN TG_OP <> 'INSERT' THEN OLD END;
        IF dp._is_gone(relation) AND (TG_OP = 'DELETE' OR named = was || jsonb_build_object(argument, NULL)) THEN
            RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
        END IF;
    END LOOP;
    FOREACH argument IN ARRAY TG_ARGV LOOP
        CONTINUE WHEN starts_with(argument, '-');
        FOR relation IN EXECUTE format('SELECT ($1).%1$I::oid UNION SELECT ($2).%1$I::oid', argument) USING
            CASE WHEN TG_OP <> 'DELETE' THEN NEW END,
            CASE WHEN TG_OP <> 'INSERT' THEN OLD END
        LOOP
            IF relation IS NOT NULL AND NOT dp._owns(relation) THEN
                RAISE EXCEPTION 'must be owner of table %', relation::regclass USING
                    ERRCODE = 'insufficient_privilege',
                    DETAIL = format('Only its owner changes what %s says of it.', TG_RELID::regclass),
                    HINT = 'Call the functions of dialog_partition as the owner.';
            END IF;
        END LOOP;
    END LOOP;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$plpgsql$;

COMMENT ON FUNCTION dp._check_ownership() IS
'Internal: everyone may write to dp''s tables, but only about tables of their own. Arguments: the columns to look at; behind "-" one whose table anybody may own, but whose end ends the row.';

CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.hierarchy_config
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('root');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.table_config
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('root', 'tbl', 'template');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.pending_foreign_key
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('child', '-parent');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.detached_slice
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('slice', 'root');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.global_index_config
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('side', 'root', 'tbl');
CREATE TRIGGER check_ownership BEFORE INSERT OR DELETE ON dp.log_entry
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('root');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.progress_entry
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('root', 'tbl');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.conversion_config
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('root');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.conversion_table
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('root');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.conversion_step
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('root');
CREATE TRIGGER check_ownership BEFORE INSERT OR UPDATE OR DELETE ON dp.conversion_record
FOR EACH ROW EXECUTE FUNCTION dp._check_ownership('tbl', 'root');

-- triggers/propagate_ddl.sql.j2
CREATE FUNCTION dp._follows_ddl()
RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
BEGIN
    RETURN coalesce(nullif(current_setting('dp.propagate_ddl', true), '')::boolean, true)
        -- pg_dump's output brings everything back by itself, each partition's own included, and says so by this
        AND current_setting('check_function_bodies')::boolean
        AND to_regclass('dp.table_config') IS NOT NULL;
EXCEPTION
    WHEN invalid_text_representation THEN
        RAISE EXCEPTION 'invalid value for parameter "dp.propagate_ddl": "%"', current_setting('dp.propagate_ddl')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is on or off.';
END
$plpgsql$;

COMMENT ON FUNCTION dp._follows_ddl() IS 'Internal: whether plain DDL is watched in this session.';

CREATE FUNCTION dp._ddl_state()
RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
BEGIN
    IF NOT EXISTS (SELECT FROM dp.table_config) THEN
        RETURN '{}';
    END IF;
    RETURN (
        WITH managed AS MATERIALIZED (
            SELECT c.*, t.root, t.role, h.range_key, h.slice_key, coalesce(h.slice_key, h.range_key) AS first_key, h.hash_key
            FROM dp.table_config AS t
            JOIN dp.hierarchy_config AS h ON h.root = t.root AND h.propagate_ddl
            JOIN pg_class AS c ON c.oid = t.tbl
            WHERE t.role <> 'reference' AND pg_has_role(c.relowner, 'USAGE')
        ),
        -- MATERIALIZED: read once, by the tables' number
        attribute AS MATERIALIZED (
            SELECT a.*, m.role, m.range_key, m.slice_key, m.first_key, m.hash_key
            FROM managed AS m JOIN pg_attribute AS a ON a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped
        ),
        inside AS MATERIALIZED (
            SELECT k.*
            FROM managed AS m
            JOIN pg_constraint AS k ON k.conrelid = m.oid AND k.contype = 'f' AND k.conparentid = 0
            JOIN managed AS p ON p.oid = k.confrelid AND p.root = m.root
        ),
        said (tbl, aspect, part, value) AS (
            -- what is carried to partitions and templates: aspects and parts are named as dp.drift names them
            SELECT m.oid, 'owner', '', m.relowner::text FROM managed AS m
            UNION ALL
            SELECT m.oid, 'schema', '', n.nspname FROM managed AS m JOIN pg_namespace AS n ON n.oid = m.relnamespace
            UNION ALL SELECT m.oid, 'row security', '', m.relrowsecurity::text FROM managed AS m
            UNION ALL SELECT m.oid, 'forced row security', '', m.relforcerowsecurity::text FROM managed AS m
            UNION ALL SELECT m.oid, 'tablespace', '', m.reltablespace::text FROM managed AS m
            UNION ALL SELECT m.oid, 'access method', '', m.relam::text FROM managed AS m
            UNION ALL
            SELECT
                m.oid,
                'replica identity',
                '',
                m.relreplident::text || coalesce(
                    (SELECT i.indexrelid::text FROM pg_index AS i WHERE i.indrelid = m.oid AND i.indisreplident), ''
                )
            FROM managed AS m
            UNION ALL
            SELECT
                given.oid,
                'privileges',
                coalesce((SELECT r.rolname FROM pg_roles AS r WHERE r.oid = given.grantee), 'PUBLIC'),
                string_agg(concat_ws(' ', given.privilege_type, given.is_grantable, given.attnum), ',' ORDER BY given.*)
            FROM (
                SELECT m.oid, x.grantee, x.privilege_type, x.is_grantable, 0 AS attnum
                FROM managed AS m CROSS JOIN LATERAL aclexplode(m.relacl) AS x
                UNION ALL
                SELECT a.attrelid, x.grantee, x.privilege_type, x.is_grantable, a.attnum
                FROM attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS x
            ) AS given
            GROUP BY given.oid, given.grantee
            UNION ALL
            SELECT m.oid, 'comment', coalesce(a.attname, ''), d.description
            FROM managed AS m
            JOIN pg_description AS d ON d.classoid = 'pg_class'::regclass AND d.objoid = m.oid
            LEFT JOIN attribute AS a ON a.attrelid = m.oid AND a.attnum = d.objsubid
            UNION ALL
            SELECT p.polrelid, 'policy', p.polname, p::text FROM managed AS m JOIN pg_policy AS p ON p.polrelid = m.oid
            UNION ALL
            SELECT s.stxrelid, 'statistics object', s.stxname, concat_ws(' ', s.stxkind, s.stxkeys, s.stxexprs, s.stxstattarget)
            FROM managed AS m JOIN pg_statistic_ext AS s ON s.stxrelid = m.oid
            UNION ALL
            SELECT a.attrelid, 'column', a.attname, concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attcollation)
            FROM attribute AS a
            UNION ALL
            SELECT a.attrelid, 'statistics target', a.attname, a.attstattarget::text FROM attribute AS a WHERE a.attstattarget >= 0
            UNION ALL SELECT a.attrelid, 'compression', a.attname, a.attcompression::text FROM attribute AS a
            UNION ALL SELECT a.attrelid, 'column storage', a.attname, a.attstorage::text FROM attribute AS a
            UNION ALL
            SELECT a.attrelid, split_part(o.option, '=', 1), a.attname, split_part(o.option, '=', 2)
            FROM attribute AS a CROSS JOIN LATERAL unnest(a.attoptions) AS o (option)
            WHERE starts_with(o.option, 'n_distinct')
            -- what the hierarchy rests on: without it nothing holds its tables together
            UNION ALL
            SELECT a.attrelid, 'key', a.attname, format_type(a.atttypid, a.atttypmod)
            FROM attribute AS a
            WHERE a.attname IN (a.first_key, a.hash_key, CASE a.role WHEN 'root' THEN a.range_key END)
            UNION ALL
            SELECT a.attrelid, 'column of a global index', a.attname, format_type(a.atttypid, a.atttypmod)
            FROM attribute AS a
            WHERE EXISTS (
                SELECT FROM dp.global_index_config AS g WHERE g.tbl = a.attrelid AND (
                    a.attname = ANY (g.predicate_columns) OR EXISTS (
                        SELECT FROM pg_attribute AS s
                        WHERE s.attrelid = g.side AND s.attname = a.attname AND NOT s.attisdropped
                    )
                )
            )
            UNION ALL
            SELECT g.tgrelid, 'trigger of a global index', g.tgname, g.tgname
            FROM dp.global_index_config AS i
            JOIN managed AS m ON m.oid = i.tbl
            JOIN pg_trigger AS g ON g.tgrelid = i.tbl AND g.tgenabled IN ('O', 'A')
            JOIN pg_class AS s ON s.oid = i.side
            JOIN pg_proc AS p ON p.oid = g.tgfoid AND p.proname = s.relname AND p.pronamespace = s.relnamespace
            UNION ALL
            SELECT
                k.conrelid,
                'foreign key',
                concat_ws(' ', k.confrelid, k.conkey, k.confkey, k.confupdtype, k.confdeltype),
                min(k.conname)
            FROM inside AS k
            GROUP BY k.conrelid, k.confrelid, k.conkey, k.confkey, k.confupdtype, k.confdeltype
            UNION ALL
            SELECT k.conrelid, 'index of foreign key', k.conname, min(i.indexrelid::regclass::text)
            FROM inside AS k
            JOIN pg_index AS i ON i.indrelid = k.conrelid AND i.indisvalid AND i.indkey[0] = k.conkey[1]
            GROUP BY k.conrelid, k.conname
            UNION ALL
            SELECT k.conrelid, 'CHECK of the slice key', '', min(k.conname)
            FROM attribute AS a
            JOIN pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'c' AND a.attnum = ANY (k.conkey)
            WHERE a.role = 'root' AND a.attname = a.slice_key
            GROUP BY k.conrelid
            UNION ALL
            SELECT g.tgrelid, 'trigger of the slice key', '', min(g.tgname)
            FROM attribute AS a
            JOIN pg_trigger AS g ON g.tgrelid = a.attrelid AND a.attnum = ANY (g.tgattr)
            WHERE a.role = 'root' AND a.slice_key IS NOT NULL AND a.attname = a.range_key AND g.tgenabled IN ('O', 'A')
            GROUP BY g.tgrelid
        )
        SELECT coalesce(jsonb_object_agg(concat_ws(': ', s.tbl, s.aspect, s.part), s.value), '{}') FROM said AS s
    );
END
$plpgsql$;

COMMENT ON FUNCTION dp._ddl_state() IS
'Internal: what the managed tables of the caller say, as "table: aspect: part" with a value: that which PostgreSQL does not pass on, and that which hierarchies rest on.';

CREATE FUNCTION dp._before_ddl()
RETURNS event_trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
BEGIN
    -- roles that may not look into dp have no hierarchies; a command inside another one belongs to it
    IF has_schema_privilege(to_regnamespace('dp'), 'USAGE') AND coalesce(current_setting('dp.ddl_state', true), '') = '' THEN
        IF dp._follows_ddl() THEN
            PERFORM set_config('dp.ddl_state', dp._ddl_state()::text, true);
        END IF;
    END IF;
END
$plpgsql$;

COMMENT ON FUNCTION dp._before_ddl() IS 'Internal: keeps what the managed tables say before a command that may change it.';

CREATE FUNCTION dp._is_of_others()
RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
BEGIN
    -- a command that drops or grants does not say of what
    RETURN (
        SELECT bool_and(
            c.classid = 'pg_class'::regclass
            AND NOT EXISTS (SELECT FROM dp.table_config AS t WHERE c.objid IN (t.tbl::oid, t.template::oid))
            AND NOT (SELECT r.relispartition FROM pg_class AS r WHERE r.oid = c.objid)
        )
        FROM pg_event_trigger_ddl_commands() AS c
    );
END
$plpgsql$;

COMMENT ON FUNCTION dp._is_of_others() IS 'Internal: whether the command that has just ended was about other tables for certain.';

CREATE FUNCTION dp._after_ddl()
RETURNS event_trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    before jsonb := nullif(current_setting('dp.ddl_state', true), '')::jsonb;
    changed jsonb;
    lost record;
    partition record;
BEGIN
    IF before IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('dp.ddl_state', '', true);
    IF before = '{}' OR NOT dp._follows_ddl() OR dp._is_of_others() THEN
        RETURN;
    END IF;
    SELECT
        jsonb_agg(
            jsonb_build_object('tbl', split_part(key, ': ', 1)::oid::bigint, 'aspect', split_part(key, ': ', 2), 'before', old.value)
            || jsonb_build_object('part', substr(key, length(split_part(key, ': ', 1) || split_part(key, ': ', 2)) + 5), 'after', new.value)
        )
    INTO changed
    FROM jsonb_each_text(before) AS old
    FULL JOIN jsonb_each_text(dp._ddl_state()) AS new USING (key)
    WHERE old.value IS DISTINCT FROM new.value;
    FOR lost IN
        SELECT c.*
        FROM jsonb_to_recordset(changed) AS c (tbl oid, aspect text, part text, before text, after text)
        JOIN pg_class AS r ON r.oid = c.tbl
        -- a hierarchy that another command inside this one has given up, or a role that is no member any more
        JOIN dp.table_config AS t ON t.tbl = c.tbl AND t.role <> 'reference' AND pg_has_role(r.relowner, 'USAGE')
        JOIN dp.hierarchy_config AS h ON h.root = t.root AND h.propagate_ddl
        WHERE c.before IS NOT NULL
            AND (c.aspect IN ('key', 'column of a global index') OR c.after IS NULL AND (c.aspect ~ '^(foreign key|CHECK of|trigger of)'
                OR c.aspect = 'index of foreign key' AND EXISTS (
                    SELECT FROM pg_constraint AS k WHERE k.conrelid = c.tbl AND k.conname = c.part
                )))
        ORDER BY c.tbl, c.aspect <> 'key', c.aspect, c.part
        LIMIT 1
    LOOP
        RAISE EXCEPTION '% would break the hierarchy of %', tg_tag, (
            SELECT t.root FROM dp.table_config AS t WHERE t.tbl = lost.tbl AND t.role <> 'reference'
        ) USING
            ERRCODE = 'invalid_table_definition',
            DETAIL = CASE lost.aspect
                WHEN 'key' THEN format('Column "%s" of %s is a key: all tables of the hierarchy carry it, alike.', lost.part, lost.tbl::regclass)
                WHEN 'foreign key' THEN format('Without foreign key "%s" rows of %s do not follow their parent, and orphans are accepted.', lost.before, lost.tbl::regclass)
                WHEN 'index of foreign key' THEN format('Without index %s foreign key "%s" of %s reads all of the table for each row of its parent that changes.', lost.before, lost.part, lost.tbl::regclass)
                WHEN 'column of a global index' THEN format('Column "%s" of %s is named by the triggers of a global index.', lost.part, lost.tbl::regclass)
                WHEN 'trigger of a global index' THEN format('Trigger "%s" of %s keeps a global index true.', lost.part, lost.tbl::regclass)
                ELSE format('The %s of %s ("%s") keeps rows in the slices where they are looked for.', lost.aspect, lost.tbl::regclass, lost.before)
            END,
            HINT = CASE lost.aspect
                WHEN 'key' THEN 'A key is renamed in all tables by dp.rename_column(...).'
                WHEN 'index of foreign key' THEN 'Create the index that replaces it first.'
                WHEN 'column of a global index' THEN 'Drop the index with dp.drop_global_index(...) and create it anew afterwards.'
                WHEN 'trigger of a global index' THEN 'dp.drop_global_index(...) drops an index with its triggers.'
                ELSE 'Leave it as it is, or end the hierarchy with dp.forget(...).'
            END || ' To do it all the same, SET dp.propagate_ddl = off for this command.';
    END LOOP;
    FOR partition IN
        SELECT DISTINCT c.objid::regclass AS name, t.root
        FROM pg_event_trigger_ddl_commands() AS c
        JOIN pg_class AS r ON r.oid = c.objid AND (r.relispartition OR EXISTS (SELECT FROM dp.table_config AS o WHERE o.template = r.oid))
        JOIN dp.table_config AS t ON t.role <> 'reference' AND (
            t.template = r.oid OR t.tbl IN (SELECT a.relid FROM pg_partition_ancestors(r.oid) AS a)
        )
        WHERE c.classid = 'pg_class'::regclass AND r.relkind IN ('r', 'p') AND tg_tag = 'ALTER TABLE'
    LOOP
        RAISE NOTICE '% was changed alone', partition.name USING
            DETAIL = format('Partitions of a hierarchy are what their table and its template say; otherwise SELECT * FROM dp.drift(%1$L) shows it, and CALL dp.sync(%1$L) brings it back.', partition.root::text);
    END LOOP;
    IF changed IS NOT NULL THEN
        PERFORM dp._propagate(changed::text);
    END IF;
END
$plpgsql$;

COMMENT ON FUNCTION dp._after_ddl() IS
'Internal: refuses a command that would break a hierarchy, and carries what else it changed to template and partitions.
Errors: 42P16 it would break the hierarchy; those of dp._propagate.';

CREATE FUNCTION dp._propagate(changes text)
RETURNS void
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'changes': changes}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('propagate', (), ('changes',), False, arguments)
$python$;

COMMENT ON FUNCTION dp._propagate(text) IS
'Internal: carries what a command changed of tables to their templates and partitions.
Errors: 53200 too many locks, 55006 another call is at work on the hierarchy, 55P03 a lock was not to be had.';

CREATE EVENT TRIGGER dialog_partition_before_ddl ON ddl_command_start
WHEN TAG IN ('ALTER TABLE', 'COMMENT', 'GRANT', 'REVOKE', 'CREATE POLICY', 'ALTER POLICY', 'DROP POLICY', 'CREATE STATISTICS',
    'ALTER STATISTICS', 'DROP STATISTICS', 'DROP INDEX', 'DROP TRIGGER')
EXECUTE FUNCTION dp._before_ddl();
CREATE EVENT TRIGGER dialog_partition_after_ddl ON ddl_command_end
WHEN TAG IN ('ALTER TABLE', 'COMMENT', 'GRANT', 'REVOKE', 'CREATE POLICY', 'ALTER POLICY', 'DROP POLICY', 'CREATE STATISTICS',
    'ALTER STATISTICS', 'DROP STATISTICS', 'DROP INDEX', 'DROP TRIGGER')
EXECUTE FUNCTION dp._after_ddl();

-- triggers/readable.sql.j2
CREATE FUNCTION dp._check_policy()
RETURNS trigger
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    width text;
BEGIN
    FOREACH width IN ARRAY ARRAY[NEW.slice, NEW.bucket, NEW.retention] LOOP
        IF width !~ '^[1-9][0-9]{0,18}$' AND width !~ '^[1-9][0-9]{0,6} (day|week|month|year)s?$' THEN
            RAISE EXCEPTION '"%" is not a width', width USING
                ERRCODE = 'invalid_parameter_value', HINT = 'Use dp.configure(...).';
        END IF;
        IF width ~ '[a-z]' THEN
            IF width::interval > interval '9999 years' THEN
                RAISE EXCEPTION '"%" is not a width', width USING
                    ERRCODE = 'invalid_parameter_value', DETAIL = 'A width is at most 9999 years.';
            END IF;
        END IF;
    END LOOP;
    PERFORM now() AT TIME ZONE NEW.time_zone;
    RETURN NEW;
END
$plpgsql$;

COMMENT ON FUNCTION dp._check_policy() IS
'Internal: keeps a row of dp.hierarchy_config readable, whoever wrote it: one that is not would stop others'' work.';

CREATE FUNCTION dp._check_bounds()
RETURNS trigger
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    key_type text := (
        SELECT format_type(a.atttypid, NULL)
        FROM pg_partitioned_table AS t
        JOIN pg_attribute AS a ON a.attrelid = t.partrelid AND a.attnum = t.partattrs[0]
        WHERE t.partrelid = NEW.tbl
    );
    bound text;
BEGIN
    FOREACH bound IN ARRAY ARRAY[NEW.lower_bound, NEW.upper_bound] LOOP
        IF bound !~ '^(MINVALUE|MAXVALUE|-?[0-9]+|''[-+:. 0-9a-fA-FBC]*'')$' THEN
            RAISE EXCEPTION '% is not a bound', bound USING
                ERRCODE = 'invalid_parameter_value',
                DETAIL = 'It is written as in FOR VALUES FROM (...).',
                HINT = 'Use dp.detach_slice(...) and dp.attach_slice(...).';
        END IF;
        PERFORM dp._point(trim(BOTH '''' FROM bound), key_type);
    END LOOP;
    RETURN NEW;
END
$plpgsql$;

COMMENT ON FUNCTION dp._check_bounds() IS
'Internal: keeps a row of dp.detached_slice readable: its bounds become part of a statement, and are read for all hierarchies.';

CREATE TRIGGER check_readable BEFORE INSERT OR UPDATE ON dp.detached_slice
FOR EACH ROW EXECUTE FUNCTION dp._check_bounds();
CREATE TRIGGER check_policy BEFORE INSERT OR UPDATE ON dp.hierarchy_config
FOR EACH ROW EXECUTE FUNCTION dp._check_policy();

-- views/views.sql.j2
CREATE VIEW dp.managed_table AS
SELECT
    t.root,
    t.tbl,
    t.role,
    t.template,
    h.key_form,
    CASE WHEN t.role <> 'reference' THEN coalesce(h.slice_key, h.range_key) END AS partition_column,
    CASE WHEN t.role <> 'reference' THEN h.hash_key END AS hash_key
FROM dp.table_config AS t
JOIN dp.hierarchy_config AS h USING (root)
JOIN pg_class AS c ON c.oid = t.tbl;
COMMENT ON VIEW dp.managed_table IS 'The tables of each hierarchy.';

CREATE VIEW dp.slice AS
SELECT
    h.root,
    t.tbl,
    s.slice::regclass AS slice,
    s.is_default,
    true AS is_attached,
    s.detach_pending,
    s.lower_text AS lower_bound,
    s.upper_text AS upper_bound,
    s.lower_local::timestamp AS lower_local,
    s.upper_local::timestamp AS upper_local,
    s.modulus,
    coalesce(cardinality(s.remainders), 0) AS leaves
FROM dp.hierarchy_config AS h
JOIN dp.table_config AS t ON t.root = h.root AND t.role <> 'reference'
CROSS JOIN LATERAL dp._slices(ARRAY[t.tbl::oid], h.time_zone) AS s
UNION ALL
SELECT
    d.root,
    d.tbl,
    d.slice,
    false,
    false,
    false,
    trim(BOTH '''' FROM d.lower_bound),
    trim(BOTH '''' FROM d.upper_bound),
    NULL,
    NULL,
    NULL,
    (SELECT count(*) FROM pg_inherits AS i WHERE i.inhparent = d.slice)::integer
FROM dp.detached_slice AS d
JOIN pg_class AS c ON c.oid = d.slice;
COMMENT ON VIEW dp.slice IS
'Every slice of every table, detached ones included. Bounds as the partition has them, times in UTC; *_local in the hierarchy''s time zone.';

CREATE VIEW dp.leaf AS
SELECT
    h.root,
    t.tbl,
    s.slice::regclass AS slice,
    l.oid::regclass AS leaf,
    (regexp_match(pg_get_expr(l.relpartbound, l.oid), 'remainder (\d+)', 'i'))[1]::integer AS remainder,
    s.lower_text AS lower_bound,
    s.upper_text AS upper_bound,
    s.is_default,
    greatest(l.reltuples, 0)::bigint AS estimated_rows,
    pg_total_relation_size(l.oid) AS bytes
FROM dp.hierarchy_config AS h
JOIN dp.table_config AS t ON t.root = h.root AND t.role <> 'reference'
CROSS JOIN LATERAL dp._slices(ARRAY[t.tbl::oid], h.time_zone) AS s
JOIN LATERAL (
    SELECT s.slice AS oid WHERE NOT s.is_partitioned
    UNION ALL
    SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = s.slice AND s.is_partitioned
) AS found ON true
JOIN pg_class AS l ON l.oid = found.oid;
COMMENT ON VIEW dp.leaf IS
'Every relation that holds rows of a hierarchy: its bounds, its rows by the last ANALYZE or VACUUM, its bytes with indexes and TOAST.';

CREATE VIEW dp.hierarchy AS
SELECT
    h.root,
    h.range_key,
    h.hash_key,
    h.key_form,
    h.slice_key,
    h.bucket,
    h.slice,
    h.hash_partitions,
    h.premake,
    h.start,
    h.retention,
    h.retention_action,
    h.retention_schema,
    h.time_zone,
    h.default_slice,
    h.lock_timeout,
    h.analyze_interval,
    h.log_retention,
    h.propagate_ddl,
    (SELECT count(*) FROM dp.table_config AS t WHERE t.root = h.root AND t.role <> 'reference') AS tables,
    (SELECT count(*) FROM pg_inherits AS i WHERE i.inhparent = h.root) AS slices,
    dp._lock_holder(h.root) AS running_pid,
    (SELECT max(l.at) FROM dp.log_entry AS l WHERE l.root = h.root AND l.status = 'done') AS last_success,
    (SELECT max(l.at) FROM dp.log_entry AS l WHERE l.root = h.root AND l.status = 'failed') AS last_failure
FROM dp.hierarchy_config AS h
JOIN pg_class AS c ON c.oid = h.root;
COMMENT ON VIEW dp.hierarchy IS 'Each hierarchy: its keys, its policies, and who works on it now.';

CREATE VIEW dp.log AS
SELECT l.id, l.at, l.root, l.call, l.target, l.status, l.duration, l.message, l.statements, l.by_role
FROM dp.log_entry AS l;
COMMENT ON VIEW dp.log IS 'What procedures committed, step by step, and what failed; kept even when the call failed.';

CREATE VIEW dp.progress AS
SELECT p.root, p.operation, p.tbl, p.about, p.done, p.total, p.started, p.target, p.pid
FROM dp.progress_entry AS p
WHERE p.pid = dp._lock_holder(p.root);
COMMENT ON VIEW dp.progress IS
'The long operations that run now: how many of how many parts of a table are done, and which one is at work.';

CREATE VIEW dp.metric AS
SELECT
    h.root,
    s.slices,
    s.slices_ahead,
    s.covered_seconds,
    d.detached_slices,
    l.leaves,
    l.bytes,
    l.default_bytes,
    l.estimated_rows,
    l.default_estimated_rows,
    g.failures_last_day,
    g.last_success_timestamp_seconds,
    g.last_failure_timestamp_seconds,
    (dp._lock_holder(h.root) IS NOT NULL)::integer AS is_running
FROM dp.hierarchy_config AS h
JOIN pg_class AS c ON c.oid = h.root
JOIN LATERAL (
    SELECT
        count(*) AS slices,
        count(*) FILTER (WHERE each.lower_local > dp._now(h.time_zone)) AS slices_ahead,
        extract(EPOCH FROM max(each.upper_local) - dp._now(h.time_zone)) AS covered_seconds
    FROM dp.slice AS each
    WHERE each.root = h.root AND each.tbl = h.root AND each.is_attached AND NOT each.is_default
) AS s ON true
JOIN LATERAL (
    SELECT count(*) AS detached_slices FROM dp.slice AS each WHERE each.root = h.root AND NOT each.is_attached
) AS d ON true
JOIN LATERAL (
    SELECT
        count(*) AS leaves,
        coalesce(sum(each.bytes), 0) AS bytes,
        coalesce(sum(each.bytes) FILTER (WHERE each.is_default), 0) AS default_bytes,
        coalesce(sum(each.estimated_rows), 0) AS estimated_rows,
        coalesce(sum(each.estimated_rows) FILTER (WHERE each.is_default), 0) AS default_estimated_rows
    FROM dp.leaf AS each
    WHERE each.root = h.root
) AS l ON true
JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE each.status = 'failed' AND each.at > y.began) AS failures_last_day,
        extract(EPOCH FROM max(each.at) FILTER (WHERE each.status = 'done')) AS last_success_timestamp_seconds,
        extract(EPOCH FROM max(each.at) FILTER (WHERE each.status = 'failed')) AS last_failure_timestamp_seconds
    FROM dp.log_entry AS each
    CROSS JOIN (SELECT clock_timestamp() - interval '24 hours' AS began) AS y
    WHERE each.root = h.root
) AS g ON true;
COMMENT ON VIEW dp.metric IS
'One row of numbers a hierarchy, for collectors: the unit of each is in its name, names stay.';

GRANT SELECT ON dp.metric, dp.progress, dp.hierarchy, dp.managed_table, dp.slice, dp.leaf, dp.log TO PUBLIC;

-- functions/add_column.sql.j2
CREATE FUNCTION dp.add_column(
    tbl regclass,
    column_name name,
    type text,
    default_value text DEFAULT NULL,
    not_null boolean DEFAULT false,
    generated text DEFAULT NULL,
    identity text DEFAULT NULL,
    comment text DEFAULT NULL,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'type': type, 'default_value': default_value, 'not_null': not_null, 'generated': generated, 'identity': identity, 'comment': comment, 'search_path': search_path, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('add_column', ('tbl',), ('column_name', 'type', 'not_null', 'search_path', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.add_column IS
'Adds a column to a root or child, its template and all partitions; type and expressions as in ALTER TABLE, COLLATE in the type.
Locks the table and all partitions ACCESS EXCLUSIVE. Nothing when the same column is there. Errors: 22023, 42701 another column of that name, 42704, 42P16 identity before 17, 53200, 55006, 55P03.';

-- functions/add_constraint.sql.j2
CREATE FUNCTION dp.add_constraint(
    tbl regclass,
    constraint_name name,
    definition text,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'constraint_name': constraint_name, 'definition': definition, 'search_path': search_path, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('add_constraint', ('tbl',), ('constraint_name', 'definition', 'search_path', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.add_constraint IS
'Adds a CHECK, UNIQUE, FOREIGN KEY or EXCLUDE constraint to a root or child and all partitions; definition as behind ADD CONSTRAINT name.
Locks the table and all partitions ACCESS EXCLUSIVE (for a foreign key SHARE ROW EXCLUSIVE), and reads all rows. Nothing when the constraint is there. Errors: 22023, 42704, 42710 another has the name, 42P16 a unique rule without the keys or a foreign key inside the hierarchy, 53200, 55006, 55P03.';

-- functions/adopt.sql.j2
CREATE FUNCTION dp.adopt(
    root regclass,
    range_key name DEFAULT NULL,
    slice text DEFAULT NULL,
    bucket text DEFAULT NULL,
    premake integer DEFAULT NULL,
    start text DEFAULT NULL,
    retention text DEFAULT NULL,
    retention_action text DEFAULT 'detach',
    retention_schema name DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    lock_timeout interval DEFAULT '500 ms',
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'range_key': range_key, 'slice': slice, 'bucket': bucket, 'premake': premake, 'start': start, 'retention': retention, 'retention_action': retention_action, 'retention_schema': retention_schema, 'time_zone': time_zone, 'lock_timeout': lock_timeout, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('adopt', ('root',), ('retention_action', 'time_zone', 'lock_timeout', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.adopt IS
'Takes over a tree of partitions that exists, one that pg_partman made among them, with the children that are partitioned alike and refer to it by its keys.
range_key and bucket are needed for a tree in the slice form, whose partition column is the slice key.
Changes no partition. Width, premake and retention come from pg_partman''s configuration where it has one, which is then deleted.
Locks nothing but the new templates. Errors: 22023, 42501 not the owner, 42809 not partitioned by RANGE of one column, 42710 known already.';

-- functions/alter_column_type.sql.j2
CREATE FUNCTION dp.alter_column_type(
    tbl regclass,
    column_name name,
    type text,
    using_expression text DEFAULT NULL,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'type': type, 'using_expression': using_expression, 'search_path': search_path, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('alter_column_type', ('tbl',), ('column_name', 'type', 'search_path', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.alter_column_type IS
'Gives a column of a root or child, its template and all partitions another type. Rows are written anew where PostgreSQL has to.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 22023, 42703, 42704, 42P16 a key of the hierarchy, 53200, 55006, 55P03.';

-- functions/alter_table.sql.j2
CREATE FUNCTION dp.alter_table(
    tbl regclass,
    action text,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'action': action, 'search_path': search_path, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('alter_table', ('tbl',), ('action', 'search_path', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.alter_table IS
'Any other ALTER TABLE of a root or child: the action on the parent (on the template, where a partitioned table refuses it), then what it changed on all slices and leaves.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 22023 an action that has its own function or breaks the hierarchy, 42704, 53200, 55006, 55P03.';

-- functions/attach_slice.sql.j2
CREATE FUNCTION dp.attach_slice(
    root regclass,
    lower_bound text,
    upper_bound text DEFAULT NULL,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'lower_bound': lower_bound, 'upper_bound': upper_bound, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('attach_slice', ('root',), ('lower_bound', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.attach_slice IS
'Attaches a slice that was detached to every table again, referenced tables first; foreign keys are checked for all its rows.
One that was detached by hand is found by its name; upper_bound says where it ends if it is not as wide as new slices.
Locks every table SHARE UPDATE EXCLUSIVE, and the referenced ones SHARE ROW EXCLUSIVE. Errors: 42704 no such detached slice, 42804 its columns are not those of its table, 23503, 42501, 53200, 55P03.';

-- functions/check.sql.j2
CREATE FUNCTION dp."check"(
    root regclass DEFAULT NULL
)
RETURNS TABLE (severity text, finding text, target text, detail text, statement text)
LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('check', ('root',), (), False, arguments)
$python$;


COMMENT ON FUNCTION dp."check" IS
'What is wrong with a hierarchy, or all: a row a finding, with its severity (error, warning, notice) and the statement that mends it. Empty when all is well.
Locks: ACCESS SHARE on the default slices. Errors: 42704 no hierarchy.';

-- functions/clustering.sql.j2
CREATE FUNCTION dp.clustering(
    root regclass,
    sample_pages integer DEFAULT 100
)
RETURNS TABLE (
    tbl text,
    leaf text,
    index_name text,
    pages bigint,
    disorder double precision,
    modified_since_analyze bigint,
    last_ordered timestamptz
)
LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'sample_pages': sample_pages}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('clustering', ('root',), ('sample_pages',), False, arguments)
$python$;


COMMENT ON FUNCTION dp.clustering IS
'How disordered each leaf is, worst first: the pages in which rows lie that are read together, as a multiple of the least possible, from sample_pages random pages.
Locks nothing but as a reader does. Errors: 22023, 42501 not the owner, 42704 no hierarchy.';

-- functions/configure.sql.j2
CREATE FUNCTION dp.configure(
    root regclass,
    slice text DEFAULT NULL,
    hash_partitions integer DEFAULT NULL,
    premake integer DEFAULT NULL,
    start text DEFAULT NULL,
    retention text DEFAULT NULL,
    retention_action text DEFAULT NULL,
    retention_schema name DEFAULT NULL,
    default_slice boolean DEFAULT NULL,
    lock_timeout interval DEFAULT NULL,
    analyze_interval interval DEFAULT NULL,
    log_retention interval DEFAULT NULL,
    propagate_ddl boolean DEFAULT NULL,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'slice': slice, 'hash_partitions': hash_partitions, 'premake': premake, 'start': start, 'retention': retention, 'retention_action': retention_action, 'retention_schema': retention_schema, 'default_slice': default_slice, 'lock_timeout': lock_timeout, 'analyze_interval': analyze_interval, 'log_retention': log_retention, 'propagate_ddl': propagate_ddl, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('configure', ('root',), ('dry_run',), False, arguments)
$python$;

COMMENT ON FUNCTION dp.configure IS
'Changes the policies of a hierarchy for slices to come; NULL leaves a policy as it is, ''infinity'' ends retention or a start.
Locks nothing. Errors: 22023 parameter, 42501 not the owner, 42704 no hierarchy, 55000 the default slice is there.';

-- functions/create_global_index.sql.j2
CREATE FUNCTION dp.create_global_index(
    tbl regclass,
    columns name[],
    is_unique boolean DEFAULT true,
    predicate text DEFAULT NULL,
    index_name name DEFAULT NULL,
    hash_partitions integer DEFAULT 0,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'columns': columns, 'is_unique': is_unique, 'predicate': predicate, 'index_name': index_name, 'hash_partitions': hash_partitions, 'search_path': search_path, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('create_global_index', ('tbl',), ('columns', 'is_unique', 'hash_partitions', 'search_path', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.create_global_index IS
'Creates a side table that holds columns of all rows of a root or child with their partition keys, triggers that keep it, and the lookup functions that it serves.
Locks the table and all partitions SHARE ROW EXCLUSIVE while its rows are read. Nothing when the index is there. Errors: 22023, 23505 values repeat, 42703, 42704, 42P07, 42P16 no primary key, 42501, 53200, 55000 stopped online build, 55006, 55P03.';

-- functions/create_hierarchy.sql.j2
CREATE FUNCTION dp.create_hierarchy(
    root regclass,
    range_key name,
    hash_key name DEFAULT NULL,
    key_form text DEFAULT 'exact',
    slice text DEFAULT NULL,
    hash_partitions integer DEFAULT NULL,
    premake integer DEFAULT 4,
    start text DEFAULT NULL,
    retention text DEFAULT NULL,
    retention_action text DEFAULT 'detach',
    retention_schema name DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    default_slice boolean DEFAULT false,
    slice_key name DEFAULT NULL,
    bucket text DEFAULT NULL,
    lock_timeout interval DEFAULT '500 ms',
    allow_weaker_unique boolean DEFAULT false,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'range_key': range_key, 'hash_key': hash_key, 'key_form': key_form, 'slice': slice, 'hash_partitions': hash_partitions, 'premake': premake, 'start': start, 'retention': retention, 'retention_action': retention_action, 'retention_schema': retention_schema, 'time_zone': time_zone, 'default_slice': default_slice, 'slice_key': slice_key, 'bucket': bucket, 'lock_timeout': lock_timeout, 'allow_weaker_unique': allow_weaker_unique, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('create_hierarchy', ('root',), ('range_key', 'key_form', 'premake', 'retention_action', 'time_zone', 'default_slice', 'lock_timeout', 'allow_weaker_unique', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.create_hierarchy IS
'Declares the root of a hierarchy: partitioned by RANGE of range_key (or of the slice key), then by HASH of hash_key.
A plain empty table is made anew as a partitioned one. Creates no slices: register the children first, then CALL dp.run_maintenance.
Locks root ACCESS EXCLUSIVE. Errors: 22023 parameter, 42703 column, 42804 key type, 42501 not the owner, 55000 rows or partitions, 2BP01 dependent views, 42710 other keys.';

-- functions/create_index.sql.j2
CREATE FUNCTION dp.create_index(
    tbl regclass,
    index_name name,
    definition text,
    is_unique boolean DEFAULT false,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'index_name': index_name, 'definition': definition, 'is_unique': is_unique, 'search_path': search_path, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('create_index', ('tbl',), ('index_name', 'definition', 'is_unique', 'search_path', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.create_index IS
'Creates an index on a root or child and all partitions; definition as behind the table''s name in CREATE INDEX: (a, b DESC) WHERE ...
Locks the table and all partitions SHARE while it is built. Nothing when the index is there. Errors: 22023, 42704, 42710 another index has the name, 55000 it is not valid, 42P16 unique without the keys, 53200, 55006, 55P03.';

-- functions/create_lookup.sql.j2
CREATE FUNCTION dp.create_lookup(
    tbl regclass,
    columns name[],
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'columns': columns, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('create_lookup', ('tbl',), ('columns', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.create_lookup IS
'Creates the function that finds the rows of a root or child by columns whose partition keys a global index holds: that of the table, or of the one it refers to by them.
dp.create_global_index makes them for all tables that are registered; this is for one that was registered later. Errors: 42704 no such index, 42501, 55006.';

-- functions/detach_slice.sql.j2
CREATE FUNCTION dp.detach_slice(
    root regclass,
    lower_bound text,
    to_schema name DEFAULT NULL,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'lower_bound': lower_bound, 'to_schema': to_schema, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('detach_slice', ('root',), ('lower_bound', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.detach_slice IS
'Detaches the slice that begins at lower_bound from every table, children first; dp.attach_slice is the way back.
lower_bound: a date or timestamp in the hierarchy''s time zone, or a number. to_schema: move the detached tables there.
Locks every table of the hierarchy ACCESS EXCLUSIVE. Errors: 22023 no slice begins there, 42501, 53200, 55P03.';

-- functions/drift.sql.j2
CREATE FUNCTION dp.drift(
    root regclass DEFAULT NULL
)
RETURNS TABLE (
    tbl text,
    relation text,
    aspect text,
    part text,
    expected text,
    actual text,
    statement text
)
LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drift', ('root',), (), False, arguments)
$python$;


COMMENT ON FUNCTION dp.drift IS
'What slices, leaves and templates have otherwise than parent and template say: a row a difference, with the statement that mends it. Empty when nothing differs.
Locks nothing. Errors: 42704 no hierarchy.';

-- functions/drop_column.sql.j2
CREATE FUNCTION dp.drop_column(
    tbl regclass,
    column_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_column', ('tbl',), ('column_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_column IS
'Drops a column of a root or child, its template and all partitions, never with CASCADE. Nothing when it is gone.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 42704, 42P16 a key of the hierarchy, 53200, 55006, 55P03.';

-- functions/drop_constraint.sql.j2
CREATE FUNCTION dp.drop_constraint(
    tbl regclass,
    constraint_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'constraint_name': constraint_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_constraint', ('tbl',), ('constraint_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_constraint IS
'Drops a constraint of a root or child and all partitions. Nothing when it is gone.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 42704, 42P16 one that holds the hierarchy together, 53200, 55006, 55P03.';

-- functions/drop_converted.sql.j2
CREATE FUNCTION dp.drop_converted(
    root regclass,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_converted', ('root',), ('dry_run',), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_converted IS
'Drops the plain tables that dp.convert kept, and their schemas. root is that of the hierarchy which took their place.
Locks the plain tables ACCESS EXCLUSIVE. Errors: 42501 not the owner, 55000 the conversion is not at its end, 2BP01 something depends on them.';

-- functions/drop_default.sql.j2
CREATE FUNCTION dp.drop_default(
    tbl regclass,
    column_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_default', ('tbl',), ('column_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_default IS
'Drops the default of a column of a root or child and all partitions.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 42703, 42704, 42P16 the slice key, 53200, 55006, 55P03.';

-- functions/drop_global_index.sql.j2
CREATE FUNCTION dp.drop_global_index(
    index regclass,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'index': index, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_global_index', ('index',), ('dry_run',), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_global_index IS
'Drops a global index, named by its side table, with its triggers and the lookup functions that it serves.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 42704 no global index, 42501, 53200, 55006, 55P03; 2BP01 from the server where a foreign key refers to it.';

-- functions/drop_index.sql.j2
CREATE FUNCTION dp.drop_index(
    tbl regclass,
    index_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'index_name': index_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_index', ('tbl',), ('index_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_index IS
'Drops an index of a root or child and all partitions. Nothing when it is gone.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 42704, 42P16 a constraint''s index, 53200, 55006, 55P03.';

-- functions/drop_not_null.sql.j2
CREATE FUNCTION dp.drop_not_null(
    tbl regclass,
    column_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_not_null', ('tbl',), ('column_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_not_null IS
'Allows NULL in a column of a root or child, its template and all partitions.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 42703, 42704, 42P16 a key of the hierarchy, 53200, 55006, 55P03.';

-- functions/drop_slice.sql.j2
CREATE FUNCTION dp.drop_slice(
    root regclass,
    lower_bound text,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'lower_bound': lower_bound, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_slice', ('root',), ('lower_bound', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.drop_slice IS
'Drops the slice that begins at lower_bound, attached or detached, with all its rows in every table, children first.
Locks every table of the hierarchy ACCESS EXCLUSIVE. Errors: 22023 no slice begins there, 42501, 53200, 55P03.';

-- functions/forget.sql.j2
CREATE FUNCTION dp.forget(
    root regclass,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('forget', ('root',), ('dry_run',), False, arguments)
$python$;

COMMENT ON FUNCTION dp.forget IS
'Drops the configuration of a hierarchy and its templates; the tables and their partitions stay as they are.
Locks the templates ACCESS EXCLUSIVE. Errors: 42501 not the owner, 55000 it has global indexes.';

-- functions/keys_of.sql.j2
CREATE FUNCTION dp.keys_of(tbl regclass, id anyelement)
RETURNS TABLE (range_key text, hash_key text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    side regclass;
    indexed name;
    keys name[];
BEGIN
    SELECT g.side, g.columns[1], array_remove(ARRAY[coalesce(h.slice_key, h.range_key), h.hash_key], NULL)
    INTO side, indexed, keys
    FROM dp.global_index_config AS g
    JOIN dp.hierarchy_config AS h ON h.root = g.root
    JOIN pg_attribute AS a ON a.attrelid = g.side AND a.attname = g.columns[1]
    WHERE g.tbl = keys_of.tbl AND g.is_unique AND g.is_valid AND g.predicate IS NULL AND cardinality(g.columns) = 1
        AND a.atttypid = pg_typeof(id)::oid
    ORDER BY g.side::oid
    LIMIT 1;
    IF side IS NULL THEN
        RAISE EXCEPTION 'no unique global index on one column of type % of % is there', pg_typeof(id), tbl USING
            ERRCODE = 'undefined_object',
            DETAIL = 'The keys are looked up in it.',
            HINT = 'SELECT dp.create_global_index(...); give the value with its type.';
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT g.%I::text, %s FROM %s AS g WHERE g.%I OPERATOR(%I.=) $1',
        keys[1], coalesce(format('g.%I::text', keys[2]), 'NULL::text'), side, indexed, dp._equality_schema(pg_typeof(id)::oid)
    ) USING id;
END
$plpgsql$;

COMMENT ON FUNCTION dp.keys_of(regclass, anyelement) IS
'The partition keys of the row of a root or child with a value of its one-column unique global index, as text; no row where there is none. For clients that write their own SQL with constants.
Locks the index ACCESS SHARE. Errors: 42704 no such index, 42501.';

-- functions/last_plan.sql.j2
CREATE FUNCTION dp._last_plan()
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('last_plan', (), (), False, arguments)
$python$;

COMMENT ON FUNCTION dp._last_plan() IS 'Internal: behind the view dp.last_plan.';

CREATE VIEW dp.last_plan AS
SELECT p.step, p.target, p.statement
FROM dp._last_plan() AS p;

COMMENT ON VIEW dp.last_plan IS 'The operations of the session''s last call of a function or procedure of dialog_partition.';
GRANT SELECT ON dp.last_plan TO PUBLIC;

-- functions/plan_conversion.sql.j2
CREATE FUNCTION dp.plan_conversion(
    root regclass,
    range_key name,
    hash_key name DEFAULT NULL,
    key_form text DEFAULT 'exact',
    exclude regclass[] DEFAULT '{}',
    include regclass[] DEFAULT '{}',
    owner_paths jsonb DEFAULT '{}',
    slice text DEFAULT NULL,
    hash_partitions integer DEFAULT NULL,
    slice_key name DEFAULT NULL,
    bucket text DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    orphans text DEFAULT 'refuse',
    allow_weaker_unique boolean DEFAULT false
)
RETURNS TABLE (tbl regclass, role text, severity text, finding text, detail text, statement text)
LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'range_key': range_key, 'hash_key': hash_key, 'key_form': key_form, 'exclude': exclude, 'include': include, 'owner_paths': owner_paths, 'slice': slice, 'hash_partitions': hash_partitions, 'slice_key': slice_key, 'bucket': bucket, 'time_zone': time_zone, 'orphans': orphans, 'allow_weaker_unique': allow_weaker_unique}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('plan_conversion', ('root', 'exclude', 'include'), ('range_key', 'key_form', 'owner_paths', 'time_zone', 'orphans', 'allow_weaker_unique'), False, arguments)
$python$;


COMMENT ON FUNCTION dp.plan_conversion IS
'What CALL dp.convert with the same parameters would do: a row a table and finding, with its severity, what it means, and the statement.
Reads every row of the tables, to count those that have no parent, or two.
Locks: ACCESS SHARE on the tables. Errors: 22023 parameter, 42703 column, 42804 key type, 42501 not the owner, 42710 in a hierarchy already, 42P16 circle of foreign keys.';

-- functions/prewarm.sql.j2
CREATE FUNCTION dp.prewarm(
    root regclass,
    budget bigint DEFAULT NULL
)
RETURNS TABLE (
    relation text,
    kind text,
    bytes bigint,
    resident_before bigint,
    resident_after bigint,
    verdict text
)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'budget': budget}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('prewarm', ('root',), (), False, arguments)
$python$;


COMMENT ON FUNCTION dp.prewarm IS
'Reads into the cache what matters most, never more than budget bytes (half of shared_buffers when NULL): primary keys and the indexes of the order, rows of the newest slices, references.
Locks one relation at a time ACCESS SHARE. Errors: 22023, 42501, 42704 no hierarchy, 55000 no extension pg_prewarm.';

-- functions/register_child.sql.j2
CREATE FUNCTION dp.register_child(
    child regclass,
    parent regclass,
    parent_key name[] DEFAULT NULL,
    on_delete text DEFAULT NULL,
    create_slices boolean DEFAULT true,
    allow_weaker_unique boolean DEFAULT false,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'child': child, 'parent': parent, 'parent_key': parent_key, 'on_delete': on_delete, 'create_slices': create_slices, 'allow_weaker_unique': allow_weaker_unique, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('register_child', ('child', 'parent'), ('create_slices', 'allow_weaker_unique', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.register_child IS
'Puts a table under a parent of a hierarchy: adds the partition keys, widens keys, makes the foreign key composite with ON UPDATE CASCADE, creates its slices.
Call again for a further parent. parent_key: the child''s columns that refer to the parent, found by the foreign key when NULL.
Locks child and the tables it refers to. Errors: 22023, 42703, 42804 key type or collation, 42501 owner, 42704 parent unknown, 42710 other hierarchy, 53200 too many locks, 55000 rows.';

-- functions/register_reference.sql.j2
CREATE FUNCTION dp.register_reference(
    tbl regclass,
    root regclass DEFAULT NULL,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'root': root, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('register_reference', ('tbl', 'root'), ('dry_run',), False, arguments)
$python$;

COMMENT ON FUNCTION dp.register_reference IS
'Registers a table that many root rows share; it stays whole. root NULL: every hierarchy that refers to it by a foreign key.
Locks nothing. Errors: 22023 no hierarchy refers to it, 42501 not the owner, 42710 it is partitioned in a hierarchy.';

-- functions/rename_column.sql.j2
CREATE FUNCTION dp.rename_column(
    tbl regclass,
    column_name name,
    new_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'new_name': new_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('rename_column', ('tbl',), ('column_name', 'new_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.rename_column IS
'Renames a column of a root or child, its template and all partitions; a key in all tables of the hierarchy and in its configuration.
Locks the tables and all partitions ACCESS EXCLUSIVE. Errors: 42703, 42704, 53200, 55006, 55P03.';

-- functions/residency.sql.j2
CREATE FUNCTION dp.residency(
    root regclass
)
RETURNS TABLE (
    tbl text,
    relation text,
    kind text,
    bytes bigint,
    resident bigint
)
LANGUAGE plpython3u STABLE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('residency', ('root',), (), False, arguments)
$python$;


COMMENT ON FUNCTION dp.residency IS
'How many bytes of each leaf, index and reference are in the cache.
Locks nothing. Errors: 42501 not a member of pg_monitor, 42704 no hierarchy, 55000 no extension pg_buffercache.';

-- functions/set_cluster_order.sql.j2
CREATE FUNCTION dp.set_cluster_order(
    tbl regclass,
    index_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'index_name': index_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('set_cluster_order', ('tbl',), ('index_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.set_cluster_order IS
'Chooses the index that dp.cluster orders the leaves of a table by: marks every leaf (CLUSTER ON), and moves no row.
Locks the leaves ACCESS EXCLUSIVE, for a moment. Errors: 42501, 42704 no such index or no managed table, 53200, 55000 no leaf, 55006, 55P03.';

-- functions/set_default.sql.j2
CREATE FUNCTION dp.set_default(
    tbl regclass,
    column_name name,
    default_value text,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'default_value': default_value, 'search_path': search_path, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('set_default', ('tbl',), ('column_name', 'default_value', 'search_path', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.set_default IS
'Sets the default of a column of a root or child and all partitions.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 22023, 42703, 42704, 42P16 the slice key, 53200, 55006, 55P03.';

-- functions/set_not_null.sql.j2
CREATE FUNCTION dp.set_not_null(
    tbl regclass,
    column_name name,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('set_not_null', ('tbl',), ('column_name', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.set_not_null IS
'Forbids NULL in a column of a root or child and all partitions; reads all rows under the lock.
Locks the table and all partitions ACCESS EXCLUSIVE. Errors: 42703, 42704, 53200, 55006, 55P03.';

-- functions/set_storage.sql.j2
CREATE FUNCTION dp.set_storage(
    tbl regclass,
    parameters jsonb,
    dry_run boolean DEFAULT false
)
RETURNS TABLE (step integer, target text, statement text)
LANGUAGE plpython3u VOLATILE
SET search_path = pg_catalog, pg_temp
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'parameters': parameters, 'dry_run': dry_run}
return GD['dialog_partition_0_1_0_dd9b53c092f5'].call('set_storage', ('tbl',), ('parameters', 'dry_run'), False, arguments)
$python$;

COMMENT ON FUNCTION dp.set_storage IS
'Sets storage parameters of the template and all leaves of a root or child, such as fillfactor and autovacuum_enabled, "toast." ones too; null resets one.
Locks all leaves SHARE UPDATE EXCLUSIVE (for user_catalog_table ACCESS EXCLUSIVE). Errors: 22023, 42704, 53200, 55006, 55P03.';

-- functions/verify_global_index.sql.j2
CREATE FUNCTION dp._owner_of(relation oid)
RETURNS name
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = relation);

COMMENT ON FUNCTION dp._owner_of(oid) IS 'Internal: the owner of a relation.';

CREATE FUNCTION dp._entry_conditions(index regclass, record text)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT string_agg(format('g.%1$I OPERATOR(%2$I.=) %3$s.%1$I', a.attname, dp._equality_schema(a.atttypid), record), ' AND ')
    FROM pg_attribute AS a WHERE a.attrelid = index AND a.attnum > 0 AND NOT a.attisdropped
);

COMMENT ON FUNCTION dp._entry_conditions(regclass, text) IS
'Internal: the condition by which an entry g of a global index is that of a row.';

CREATE FUNCTION dp._counted_conditions(index regclass)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT concat_ws(' AND ', string_agg(format('t.%I IS NOT NULL', c.name), ' AND '), '(' || min(g.predicate) || ')')
    FROM dp.global_index_config AS g CROSS JOIN unnest(g.columns) AS c (name) WHERE g.side = index
);

COMMENT ON FUNCTION dp._counted_conditions(regclass) IS
'Internal: the condition by which a row t belongs into a global index.';

CREATE FUNCTION dp._refuse_missing_entries(index regclass, leaf regclass, key_name name)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    columns name[] := (SELECT g.columns FROM dp.global_index_config AS g WHERE g.side = index);
    listed text := (SELECT string_agg(format('t.%I', c.name), ', ') FROM unnest(columns) AS c (name));
    repeated text;
BEGIN
    EXECUTE format(
        'SELECT ROW(%s)::text FROM ONLY %s AS t WHERE %s AND NOT EXISTS (SELECT FROM %s AS g WHERE %s) LIMIT 1',
        listed, leaf, dp._counted_conditions(index), index, dp._entry_conditions(index, 't')
    ) INTO repeated;
    IF repeated IS NOT NULL THEN
        RAISE EXCEPTION 'could not create unique rule "%"', key_name USING
            ERRCODE = 'unique_violation',
            CONSTRAINT = key_name,
            DETAIL = format('Key (%s)=%s is duplicated; one of the rows is in %s.', array_to_string(columns, ', '), repeated, leaf),
            HINT = 'Remove the repetition and call again, or drop the index with dp.drop_global_index(...).';
    END IF;
END
$plpgsql$;

COMMENT ON FUNCTION dp._refuse_missing_entries(regclass, regclass, name) IS
'Internal: an error when a row of a leaf has no entry in a global index, because another has its values.';

CREATE FUNCTION dp.verify_global_index(index regclass, max_rows bigint DEFAULT 100)
RETURNS TABLE (problem text, entry text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    tbl regclass := (SELECT g.tbl FROM dp.global_index_config AS g WHERE g.side = index);
    stored text := (
        SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attnum)
        FROM pg_attribute AS a WHERE a.attrelid = index AND a.attnum > 0 AND NOT a.attisdropped
    );
BEGIN
    IF tbl IS NULL THEN
        RAISE EXCEPTION '% is no global index', index USING
            ERRCODE = 'undefined_object',
            DETAIL = 'dp.global_index_config does not name it.',
            HINT = 'Name its side table.';
    END IF;
    -- the predicate may call the owner's functions
    IF dp._owner_of(index) <> current_user THEN
        RAISE EXCEPTION 'must be called as the owner of %', index USING
            ERRCODE = 'insufficient_privilege',
            DETAIL = 'Its predicate would be run with other rights.',
            HINT = format('SET ROLE %I first.', dp._owner_of(index));
    END IF;
    RETURN QUERY EXECUTE format(
        '(SELECT ''missing'', ROW(%1$s)::text FROM %2$s AS t WHERE %3$s AND NOT EXISTS (SELECT FROM %4$s AS g WHERE %5$s) LIMIT $1)'
        ' UNION ALL '
        '(SELECT ''stale'', ROW(g.*)::text FROM %4$s AS g WHERE NOT EXISTS (SELECT FROM %2$s AS t WHERE %3$s AND %5$s) LIMIT $1)',
        stored, tbl, dp._counted_conditions(index), index, dp._entry_conditions(index, 't')
    ) USING max_rows;
END
$plpgsql$;

COMMENT ON FUNCTION dp.verify_global_index(regclass, bigint) IS
'Compares a global index with all rows of its table: a row for each that has no entry (missing) and each entry without a row (stale), at most max_rows of each; none when it is exact.
Reads the whole table and index, locks them ACCESS SHARE. Errors: 42704 no global index, 42501.';

CREATE FUNCTION dp._sample_global_index(index regclass)
RETURNS TABLE (problem text, entry text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $plpgsql$
DECLARE
    tbl regclass := (SELECT g.tbl FROM dp.global_index_config AS g WHERE g.side = index);
    leaf record;
BEGIN
    IF dp._owner_of(index) <> current_user THEN
        RETURN;
    END IF;
    -- some pages of two leaves: a look at rows, not all of them
    FOR leaf IN
        SELECT c.oid::regclass AS name, least(100, 100 * 50 / greatest(c.relpages, 1)::numeric) AS percent
        FROM pg_partition_tree(tbl) AS p
        JOIN pg_class AS c ON c.oid = p.relid
        WHERE p.isleaf AND c.relkind = 'r'
        ORDER BY random()
        LIMIT 2
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT ''missing'', ROW(t.*)::text FROM ONLY %s AS t TABLESAMPLE system (%s)'
            ' WHERE %s AND NOT EXISTS (SELECT FROM %s AS g WHERE %s) LIMIT 1',
            leaf.name, leaf.percent, dp._counted_conditions(index), index, dp._entry_conditions(index, 't')
        );
    END LOOP;
END
$plpgsql$;

COMMENT ON FUNCTION dp._sample_global_index(regclass) IS
'Internal: a row of a random sample that a global index does not hold, if there is one.';

-- procedures/add_constraint_online.sql.j2
CREATE PROCEDURE dp.add_constraint_online(
    tbl regclass,
    constraint_name name,
    definition text,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'constraint_name': constraint_name, 'definition': definition, 'search_path': search_path, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('add_constraint_online', ('tbl',), ('constraint_name', 'definition', 'search_path', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.add_constraint_online IS
'Adds a CHECK or FOREIGN KEY constraint to a root or child and all partitions in two phases: NOT VALID, which is for new rows, then VALIDATE leaf by leaf.
Stopped or killed, the same call goes on. Locks: table and partitions ACCESS EXCLUSIVE (foreign keys: SHARE ROW EXCLUSIVE, before PostgreSQL 18 the referenced table ACCESS EXCLUSIVE at the end) for a moment;
rows are read under SHARE UPDATE EXCLUSIVE of one leaf. Commits each step. Errors: 22023, 2D000, 42501, 42704, 42710, 42P16 a foreign key inside the hierarchy, 53200, 55000, 55006, 55P03.';

-- procedures/cancel_conversion.sql.j2
CREATE PROCEDURE dp.cancel_conversion(
    root regclass,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('cancel_conversion', ('root',), ('dry_run',), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.cancel_conversion IS
'Gives up a conversion that was stopped before the tables were exchanged: drops what was built. The plain tables are as they were.
Locks the new tables ACCESS EXCLUSIVE. Commits each step. Errors: 42501 not the owner, 55000 the tables were exchanged already, 2D000, 53200, 55006, 55P03.';

-- procedures/cluster.sql.j2
CREATE PROCEDURE dp.cluster(
    root regclass,
    threshold double precision DEFAULT 1.5,
    time_budget interval DEFAULT '1 hour',
    scope text DEFAULT 'closed',
    vacuum boolean DEFAULT true,
    sample_pages integer DEFAULT 100,
    connection text DEFAULT NULL,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'threshold': threshold, 'time_budget': time_budget, 'scope': scope, 'vacuum': vacuum, 'sample_pages': sample_pages, 'connection': connection, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('cluster', ('root',), ('threshold', 'time_budget', 'scope', 'vacuum', 'sample_pages', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.cluster IS
'Writes the leaves anew that are disordered threshold times or more in the order of their index, worst first, a leaf a transaction, while the time budget lasts;
then VACUUM in a second session, by dblink.
Locks one leaf at a time ACCESS EXCLUSIVE. Errors: 08001 no second session, 22023, 2D000, 42501, 42704 no hierarchy, 53200, 55006, 55P03.';

-- procedures/convert.sql.j2
CREATE PROCEDURE dp.convert(
    root regclass,
    range_key name,
    hash_key name DEFAULT NULL,
    key_form text DEFAULT 'exact',
    exclude regclass[] DEFAULT '{}',
    include regclass[] DEFAULT '{}',
    owner_paths jsonb DEFAULT '{}',
    slice text DEFAULT NULL,
    hash_partitions integer DEFAULT NULL,
    slice_key name DEFAULT NULL,
    bucket text DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    orphans text DEFAULT 'refuse',
    allow_weaker_unique boolean DEFAULT false,
    batch_blocks integer DEFAULT 4096,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'range_key': range_key, 'hash_key': hash_key, 'key_form': key_form, 'exclude': exclude, 'include': include, 'owner_paths': owner_paths, 'slice': slice, 'hash_partitions': hash_partitions, 'slice_key': slice_key, 'bucket': bucket, 'time_zone': time_zone, 'orphans': orphans, 'allow_weaker_unique': allow_weaker_unique, 'batch_blocks': batch_blocks, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('convert', ('root', 'exclude', 'include'), ('range_key', 'key_form', 'owner_paths', 'time_zone', 'orphans', 'allow_weaker_unique', 'batch_blocks', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.convert IS
'Converts plain tables that hold rows into a hierarchy, with the application stopped: builds partitioned tables beside them, copies, compares, and exchanges them
in one transaction. The plain tables are kept in another schema until dp.drop_converted. Stopped or killed, the same call goes on.
Locks: a plain table SHARE while rows are copied from it, all of them ACCESS EXCLUSIVE while they are exchanged. Commits each step. Errors: 22023, 42703, 42804, 42501, 42710, 42P16, 55000 findings of severity error or rows changed meanwhile, 2D000, 42P07, 53200, 55006, 55P03.';

-- procedures/create_global_index_online.sql.j2
CREATE PROCEDURE dp.create_global_index_online(
    tbl regclass,
    columns name[],
    is_unique boolean DEFAULT true,
    predicate text DEFAULT NULL,
    index_name name DEFAULT NULL,
    hash_partitions integer DEFAULT 0,
    batch_blocks integer DEFAULT 4096,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'columns': columns, 'is_unique': is_unique, 'predicate': predicate, 'index_name': index_name, 'hash_partitions': hash_partitions, 'batch_blocks': batch_blocks, 'search_path': search_path, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('create_global_index_online', ('tbl',), ('columns', 'is_unique', 'hash_partitions', 'batch_blocks', 'search_path', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.create_global_index_online IS
'Creates a global index while others read and write: triggers first, then the rows that are there in batches of blocks, then each leaf is verified. Stopped or killed, the same call goes on.
Locks: table and partitions SHARE ROW EXCLUSIVE for a moment; the rows of a batch FOR SHARE. Commits each step. Errors: 22023, 23505 values repeat, 2D000, 42501, 42703, 42704, 42P07, 42P16, 53200, 55006, 55P03.';

-- procedures/create_index_concurrently.sql.j2
CREATE PROCEDURE dp.create_index_concurrently(
    tbl regclass,
    index_name name,
    definition text,
    is_unique boolean DEFAULT false,
    connection text DEFAULT NULL,
    search_path text DEFAULT current_setting('search_path'),
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'index_name': index_name, 'definition': definition, 'is_unique': is_unique, 'connection': connection, 'search_path': search_path, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('create_index_concurrently', ('tbl',), ('index_name', 'definition', 'is_unique', 'search_path', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.create_index_concurrently IS
'Creates an index on a root or child and all partitions, leaf by leaf with CREATE INDEX CONCURRENTLY in a second session by dblink.
Readers and writers go on. Stopped or killed, the same call goes on; leaves with an equal index keep theirs.
connection: a foreign server, or keywords added to those of a local socket. Locks: a leaf SHARE UPDATE EXCLUSIVE, table and slices SHARE for a moment, each new index ACCESS EXCLUSIVE while it is attached.
Commits each step. Errors: 08001 no second session, 22023, 2D000, 42501, 42704, 42P07, 42P16 unique without the keys, 55000, 55006, 55P03.';

-- procedures/create_slices.sql.j2
CREATE PROCEDURE dp.create_slices(
    root regclass,
    lower_bound text,
    upper_bound text,
    slice text DEFAULT NULL,
    hash_partitions integer DEFAULT NULL,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'lower_bound': lower_bound, 'upper_bound': upper_bound, 'slice': slice, 'hash_partitions': hash_partitions, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('create_slices', ('root',), ('lower_bound', 'upper_bound', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.create_slices IS
'Creates the slices that cover [lower_bound, upper_bound) and do not exist, in every table, referenced tables first; also what existing slices lack.
Bounds: dates or timestamps in the hierarchy''s time zone, or numbers. slice: their width. hash_partitions: their modulus.
Commits each slice of each table. Locks: root SHARE UPDATE EXCLUSIVE, child ACCESS EXCLUSIVE, referenced tables SHARE ROW EXCLUSIVE. Errors: 22023, 2D000 in a transaction block, 42501, 42P07, 53200, 55000 rows in default, 55006, 55P03.';

-- procedures/drain_default.sql.j2
CREATE PROCEDURE dp.drain_default(
    root regclass,
    lower_bound text DEFAULT NULL,
    upper_bound text DEFAULT NULL,
    slice text DEFAULT NULL,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'lower_bound': lower_bound, 'upper_bound': upper_bound, 'slice': slice, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drain_default', ('root',), ('dry_run',), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.drain_default IS
'Moves the rows of the default slices, children with them, into slices that it creates; a slice a transaction, so that every row is visible at every moment.
Bounds: which rows, the maintained range when NULL. slice: a narrower width makes smaller transactions.
Locks the default slices SHARE ROW EXCLUSIVE while rows move, ACCESS EXCLUSIVE at the end. Errors: 22023, 2D000, 42501, 42P07, 53200, 55006, 55P03.';

-- procedures/drop_index_concurrently.sql.j2
CREATE PROCEDURE dp.drop_index_concurrently(
    tbl regclass,
    index_name name,
    connection text DEFAULT NULL,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'index_name': index_name, 'connection': connection, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('drop_index_concurrently', ('tbl',), ('index_name', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.drop_index_concurrently IS
'Drops an index of a root or child and all partitions: what a stopped build left with DROP INDEX CONCURRENTLY, then all that is attached in one short transaction.
Locks the table and all partitions ACCESS EXCLUSIVE for a moment, after at most lock_timeout, with pauses between attempts. Commits each step.
Errors: 08001 no second session, 2D000, 42501, 42704, 42P16 a constraint''s index, 53200, 55006, 55P03.';

-- procedures/reindex_concurrently.sql.j2
CREATE PROCEDURE dp.reindex_concurrently(
    tbl regclass,
    index_name name,
    connection text DEFAULT NULL,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'index_name': index_name, 'connection': connection, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('reindex_concurrently', ('tbl',), ('index_name', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.reindex_concurrently IS
'Builds an index of a root or child anew, leaf by leaf with REINDEX INDEX CONCURRENTLY in a second session by dblink.
Readers and writers go on. Stopped or killed, the same call goes on behind the last leaf that was done.
Locks a leaf SHARE UPDATE EXCLUSIVE. Commits each step. Errors: 08001 no second session, 2D000, 42501, 42704, 55006, 55P03.';

-- procedures/run_maintenance.sql.j2
CREATE PROCEDURE dp.run_maintenance(
    root regclass DEFAULT NULL,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('run_maintenance', ('root',), ('dry_run',), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.run_maintenance IS
'Keeps one hierarchy, or all that the caller owns, in shape: default draining, slices ahead of the clock, gaps, missing leaves, retention, ANALYZE of parents, old log rows.
Commits step by step; called again after a kill it goes on. A part or a hierarchy that fails does not stop the others, and the call then fails at the end. Does nothing on a standby.
Errors: P0001 naming those that failed, 2D000 in a transaction block, 42704, 55006 another run.';

-- procedures/set_not_null_online.sql.j2
CREATE PROCEDURE dp.set_not_null_online(
    tbl regclass,
    column_name name,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'tbl': tbl, 'column_name': column_name, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('set_not_null_online', ('tbl',), ('column_name', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.set_not_null_online IS
'Forbids NULL in a column of a root or child and all partitions without reading rows under a strong lock.
A CHECK is added NOT VALID and validated leaf by leaf, proves NOT NULL, and goes. Stopped or killed, the same call goes on.
Locks: table and partitions ACCESS EXCLUSIVE for two moments; rows are read under SHARE UPDATE EXCLUSIVE of one leaf. Commits each step. Errors: 2D000, 42501, 42703, 42704, 53200, 55000, 55006, 55P03.';

-- procedures/sync.sql.j2
CREATE PROCEDURE dp.sync(
    root regclass,
    rewrite boolean DEFAULT false,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'rewrite': rewrite, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('sync', ('root',), ('rewrite', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.sync IS
'Gives slices, leaves and templates what parent and template say: runs the statements of dp.drift, those that write all rows of a leaf anew only with rewrite.
A template that is lost is made anew as the newest leaf is.
Locks each partition ACCESS EXCLUSIVE, a few in a transaction. Commits step by step. Errors: 2D000 in a transaction block, 42501 owner, 42704, 55006, 55P03.';

-- procedures/unconvert.sql.j2
CREATE PROCEDURE dp.unconvert(
    root regclass,
    batch_blocks integer DEFAULT 4096,
    dry_run boolean DEFAULT false
)
LANGUAGE plpython3u
AS $python$
if 'dialog_partition_0_1_0_dd9b53c092f5' not in GD:
    plpy.execute('SELECT dp._load_python()')
arguments = {'root': root, 'batch_blocks': batch_blocks, 'dry_run': dry_run}
GD['dialog_partition_0_1_0_dd9b53c092f5'].call('unconvert', ('root',), ('batch_blocks', 'dry_run'), True, arguments)
$python$;

COMMENT ON PROCEDURE dp.unconvert IS
'Makes plain tables of a hierarchy, with the rows as they are, the application stopped: what dp.convert added to the tables
is taken away again, everything else stays. A hierarchy that was declared keeps its key columns.
Locks: a leaf SHARE while rows are copied from it, all tables ACCESS EXCLUSIVE while they are exchanged. Commits each step.
Errors: 42501 not the owner, 42704 no hierarchy, 55000 plain tables are kept, slices are detached, or rows changed meanwhile, 2BP01 an index or another object depends on what goes, 42710 a schema exists, 2D000, 53200, 55006, 55P03.';
