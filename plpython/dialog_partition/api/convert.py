"""convert, cancel_conversion, drop_converted: plain tables become a hierarchy, step by step.

The steps are made once, stored, and done one after the other; each notes in its own transaction that it is done. So a
call that was stopped or killed goes on where the last one was. Until the step "switch" the plain tables are the tables,
as they were; from then on the new ones are.
"""

from __future__ import annotations

import json
from typing import Any

from .. import database, errors, execute
from ..catalog import conversion_state as catalog
from ..catalog import server as catalog_server
from ..operation import Operation, Step
from ..plan import conversion_findings
from ..plan.conversion import Conversion, kept_schema, working_schema
from ..plan.conversion_steps import Part, parts, recorded_statements
from ..sql import SQL, Identifier, compose
from . import calls, conversion, conversion_definition, conversion_discarding, conversion_running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..catalog.conversion_state import State
    from ..execute import Context
    from ..printing import PlanRow

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
        conversion_discarding.discard(state.root, call)
        state = None
    if state is None:
        _begin(root, options, call)
    else:
        _check_same(state, options)
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
    conversion_discarding.discard(state.root, call)


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
    call = call._replace(is_schema_change=True)
    if dry_run:
        return call
    calls.check_isolation(call)
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
    definitions = conversion_definition.fingerprint([member.oid for member in found.members], None)
    catalog.begin(found, parts(found), json.dumps(_noted(options)), definitions)
    execute.commit(call)


def _check_same(state: State, options: dict[str, Any]) -> None:
    """A conversion that goes on does what it was begun with; other parameters than those would be ignored."""
    given = _noted(options)
    for name, was in json.loads(state.options).items():
        if given[name] != was:
            raise errors.InvalidParameter(
                f"the conversion of {state.name} was begun with another value of parameter {name}",
                f"It was {json.dumps(was)}, and is {json.dumps(given[name])} now.",
                "Call with the parameters of the first call, or give it up: CALL dp.cancel_conversion(...).",
            )


def _noted(options: dict[str, Any]) -> dict[str, Any]:
    """The parameters as they are noted: tables by their names."""
    found = dict(options)
    for name in ("exclude", "include"):
        found[name] = sorted(catalog_server.relation_name(oid) for oid in options[name] or [])
    return found


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
