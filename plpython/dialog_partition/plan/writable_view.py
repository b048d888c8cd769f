"""Writable views: a view of a table in another schema, whose INSERT fills the partition keys."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import Table
from ..sql import SQL, Identifier, Literal, comma_list, compose
from . import drift_access, filling
from .difference import Partition
from .filling import Filling, ViewColumn
from .properties import Grant, State, grant_statements, grantee_name
from .properties import wanted as wanted_properties

FILL, INSERT = "fill_keys", "insert_row"  # triggers fire in the order of their names
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")  # those of a table that mean something for a view


class WantedView(NamedTuple):
    """A writable view that shall be."""

    schema: str
    table: Table
    root: Identifier
    columns: tuple[ViewColumn, ...]
    filling: Filling
    access: State  # of the table
    default_grantees: tuple[str | None, ...]  # who gets privileges on new views by ALTER DEFAULT PRIVILEGES

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.table.name)

    def function(self, purpose: str) -> Identifier:
        """The name of one of its two trigger functions."""
        return Identifier(self.schema, naming.derived_name(self.table.name, purpose))

    @property
    def comment(self) -> str:
        """What it is, by which its functions are known again."""
        return f"Writable view of {self.table.identifier}, kept by dialog_partition."

    @property
    def sources(self) -> dict[str, str]:
        """The bodies of its trigger functions; there may be nothing to fill."""
        found = {INSERT: filling.insert_body(self.table.identifier, self.columns).text}
        body = filling.fill_body(self.filling, self.table, self.columns)
        if body is not None:
            found[FILL] = body.text
        return found

    @property
    def defaults(self) -> dict[str, str]:
        """The defaults of its columns: those of the table, but of what the trigger fills."""
        filled = (*self.filling.keys, *(each.name for each in self.columns if each.identity or each.is_generated))
        return {each.name: each.default for each in self.columns if each.default and each.name not in filled}


class PresentView(NamedTuple):
    """A writable view as the catalog has it."""

    oid: int
    table: int
    is_invoker: bool
    columns: tuple[ViewColumn, ...]
    sources: dict[str, str]  # by trigger, those that are enabled
    access: State
    functions: tuple[tuple[str, str, str], ...]  # schema, name and owner of its trigger functions

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return self.access.identifier


def creation(wanted: WantedView) -> list[SQL]:
    """The view with all that belongs to it."""
    view = wanted.identifier
    found = [_create_view(wanted), compose("COMMENT ON VIEW {} IS {}", view, Literal(wanted.comment))]
    for grantee in wanted.default_grantees:
        role = grantee_name(grantee)
        found.append(compose("REVOKE ALL ON TABLE {} FROM {}", view, role))
    for column, default in wanted.defaults.items():
        found.append(_set_default(view, column, default))
    for purpose in wanted.sources:
        found += _function(wanted, purpose)
    found += grant_statements(_grants(wanted.access), view)
    found.append(
        compose(
            "INSERT INTO dp.writable_view_config (view, root, tbl) VALUES ({}::regclass, {}::regclass, {}::regclass)",
            Literal(view.text),
            Literal(wanted.root.text),
            Literal(wanted.table.identifier.text),
        )
    )
    return found


def changes(wanted: WantedView, present: PresentView) -> list[SQL]:
    """What brings a view that is there to what it shall be; nothing where it is that."""
    if not _can_be_replaced(wanted, present):
        return [*removal(present), *creation(wanted)]
    view = wanted.identifier
    found = []
    if len(wanted.columns) > len(present.columns) or not present.is_invoker:
        found.append(_create_view(wanted))
    if present.access.comment != wanted.comment:
        found.append(compose("COMMENT ON VIEW {} IS {}", view, Literal(wanted.comment)))
    actual = {each.name: each.default for each in present.columns}
    for column in wanted.columns:
        default = wanted.defaults.get(column.name)
        if default != actual.get(column.name):
            found.append(_set_default(view, column.name, default))
    for purpose, source in wanted.sources.items():
        if present.sources.get(purpose) != source:
            found += _function(wanted, purpose)
    if FILL in present.sources and FILL not in wanted.sources:
        found.append(compose("DROP TRIGGER {} ON {}", Identifier(FILL), view))
        found.append(compose("DROP FUNCTION {}()", wanted.function(FILL)))
    return found + _privileges(wanted, present)


def removal(present: PresentView) -> list[SQL]:
    """The view goes, with its functions."""
    view = present.identifier
    forget = compose("DELETE FROM dp.writable_view_config WHERE view = {}::regclass", Literal(view.text))
    functions = [compose("DROP FUNCTION {}()", Identifier(schema, name)) for schema, name, _ in present.functions]
    return [forget, compose("DROP VIEW {}", view), *functions]


def create_call(table: Identifier, schema: str) -> SQL:
    """The call that makes a view, or brings it up to date."""
    return compose("SELECT dp.create_writable_view({}, {})", Literal(table.text), Literal(schema))


def _create_view(wanted: WantedView) -> SQL:
    """Replaced it keeps its columns, which stand first, and gets new ones behind them.

    Plans call the table by its name, as does the query: an alias might be that of something else there.
    """
    listed = comma_list([Identifier(wanted.table.name, each.name) for each in wanted.columns])
    return compose(
        "CREATE OR REPLACE VIEW {} WITH (security_invoker = true) AS SELECT {} FROM {}",
        wanted.identifier,
        listed,
        wanted.table.identifier,
    )


def _can_be_replaced(wanted: WantedView, present: PresentView) -> bool:
    """Whether the view has the columns that come first, and its own name still."""
    kept = [each.kind for each in wanted.columns[: len(present.columns)]]
    return kept == [each.kind for each in present.columns] and wanted.identifier == present.identifier


def _set_default(view: Identifier, column: str, default: str | None) -> SQL:
    if default is None:
        return compose("ALTER VIEW {} ALTER COLUMN {} DROP DEFAULT", view, Identifier(column))
    return compose("ALTER VIEW {} ALTER COLUMN {} SET DEFAULT {}", view, Identifier(column), SQL(default))


def _function(wanted: WantedView, purpose: str) -> list[SQL]:
    """A trigger function and its trigger."""
    function = wanted.function(purpose)
    return [
        create_function(function, purpose, wanted.sources[purpose]),
        compose("COMMENT ON FUNCTION {}() IS {}", function, Literal(wanted.comment)),
        compose("REVOKE ALL ON FUNCTION {}() FROM PUBLIC", function),
        compose(
            "CREATE OR REPLACE TRIGGER {} INSTEAD OF INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}()",
            Identifier(purpose),
            wanted.identifier,
            function,
        ),
    ]


def create_function(function: Identifier, purpose: str, source: str) -> SQL:
    """A trigger function. What fills keys reads parents as their owner, as foreign keys do."""
    rights = " SECURITY DEFINER SET search_path = pg_catalog, pg_temp" if purpose == FILL else ""
    return compose(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql{} AS {}",
        function,
        SQL(rights),
        Literal(source),
    )


def _grants(access: State) -> tuple[Grant, ...]:
    """What others may do with a table, as far as it can be done with a view."""
    found = (each._replace(grantor=None) for each in access.grants if each.privilege in PRIVILEGES)
    return tuple(dict.fromkeys(found))


def _privileges(wanted: WantedView, present: PresentView) -> list[SQL]:
    own = wanted_properties(wanted.access._replace(owner_lacks=()), None, None, (), False)
    partition = Partition(present.oid, False, 0, present.access._replace(owner_lacks=()))
    differing = drift_access.privileges(partition, own._replace(grants=_grants(wanted.access)))
    return [statement for each in differing for statement in each.statements]
