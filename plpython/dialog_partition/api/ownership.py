"""Owners: what belongs to the tables of a hierarchy is given to whom the tables were given.

Who gives a table away may give away what belongs to it; the new owner may not take it. So this runs with the rights of
the caller. No statement of it runs code that comes with the tables.
"""

from __future__ import annotations

from .. import database, errors
from ..catalog import cron as catalog_cron
from ..catalog import lookup as catalog_lookup
from ..catalog import ownership as catalog
from ..catalog import writable_view as catalog_view
from ..operation import Step, merged
from ..plan import keeping, schedule
from ..plan import ownership as plan
from ..plan import writable_view as plan_view
from ..plan.ownership import FILLER, KEEPER, Belonging
from ..sql import SQL, Identifier, Literal, compose
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Context
    from ..model import Hierarchy


def carry(hierarchy: Hierarchy, former: dict[int, int], call: Context) -> None:
    """Some tables have another owner: give away what their former one had. ``former``: his oid, by table."""
    found = catalog.belongings(hierarchy)
    for table, role in former.items():
        own = plan.followed([each for each in found if each.table == table], {catalog.role_name(role)})
        _refuse_schemas(own)
        if own:
            calls.run_in_function(_steps(hierarchy, own, call), call._replace(owner=None))
        if table == hierarchy.root.oid:
            _tell_of_jobs(hierarchy, catalog.role_name(role))


def _tell_of_jobs(hierarchy: Hierarchy, former: str) -> None:
    """pg_cron gives no job to another role."""
    jobs = catalog_cron.recorded(hierarchy.root.oid)
    if jobs:
        ending = " ".join(compose("SELECT cron.unschedule({});", Literal(each.name)).text for each in jobs)
        database.warning(
            f"jobs of {hierarchy.root.identifier} in pg_cron still run as {former}, and fail: {ending} in a session of"
            f" {former}, then {schedule.again(hierarchy.root.identifier)}"
        )


def synchronise(hierarchy: Hierarchy, call: Context) -> None:
    """Give away what was not carried, as far as the caller may."""
    found = plan.followed(catalog.belongings(hierarchy), None)
    for (table, owner), own in plan.by_owner([each for each in found if not each.is_callers]).items():
        database.warning(
            f"what belongs to {hierarchy.table(table).identifier} belongs to {owner}, who alone can give it away:"
            f" {plan.told(own)}. Call dp.sync as a superuser, or as a member of both roles."
        )
    own = [each for each in found if each.is_callers]
    _refuse_schemas(own)
    calls.run_in_procedure(_steps(hierarchy, own, call), call._replace(owner=None))


def _refuse_schemas(found: list[Belonging]) -> None:
    """PostgreSQL lets nobody but superusers give things to a role that may not make them where they are."""
    for each in found:
        if not each.is_allowed:
            schema, owner = Identifier(each.schema), Identifier(each.table_owner)
            raise errors.InsufficientPrivilege(
                f"{each.what} {each.signature} cannot be given to {each.table_owner}",
                f"It goes along with its table, and {each.table_owner} may not create anything in schema {schema}.",
                f"GRANT CREATE ON SCHEMA {schema} TO {owner} first.",
            )


def _steps(hierarchy: Hierarchy, found: list[Belonging], call: Context) -> list[Step]:
    locks = {table.oid: table.relations_per_leaf for table in hierarchy.tables}
    steps = [plan.step(each, _written(hierarchy, each), locks[each.table]) for each in found]
    return merged(steps, call.lock_budget)


def _written(hierarchy: Hierarchy, each: Belonging) -> SQL | None:
    """A function that runs with its owner's rights, as it is to be; None where it is none, or not needed any more."""
    table = hierarchy.table(each.table)
    if each.what == KEEPER:
        side = next(side for side in table.global_indexes if side.oid == each.of)
        return keeping.keeper(catalog_lookup.wanted(table, side))
    if each.what == FILLER:
        view = next(view for view in catalog_view.of_root(hierarchy.root.oid) if view.oid == each.of)
        source = catalog_view.wanted(hierarchy, table, view.access.schema).sources.get(plan_view.FILL)
        return plan_view.create_function(each.identifier, plan_view.FILL, source) if source is not None else None
    return None
