"""Where SQL functions enter: find the function, call it, and turn what goes wrong into a proper error."""

from __future__ import annotations

import importlib
import traceback

from . import database, errors, execute, printing
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
    "add_policy": "ageing",
    "drop_policy": "ageing",
    "ageing": "ageing",
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
    "alter_column_type": "column_type",
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
    "create_page": "page",
    "create_joined_lookup": "joined_lookup",
    "create_writable_view": "writable_view",
    "create_writable_views": "writable_view",
    "drop_writable_view": "writable_view",
    "drop_writable_views": "writable_view",
    "check": "check",
    "drift": "drift",
    "sync": "drift",
    "last_plan": "looking",
    "clustering": "clustering",
    "cluster": "cluster",
    "set_cluster_order": "clustering",
    "prewarm": "cache",
    "residency": "cache",
    "retention": "retention",
    "schedule": "schedule",
    "unschedule": "schedule",
    "job": "schedule",
    "propagate": "propagation",
    "explain": "queries",
    "audit_queries": "queries",
    "estimate": "estimate",
    "plan_conversion": "conversion",
    "convert": "convert",
    "cancel_conversion": "convert",
    "drop_converted": "convert",
    "unconvert": "unconvert",
}
READING = (
    "ageing",
    "check",
    "clustering",
    "prewarm",
    "residency",
    "retention",
    "job",
    "drift",
    "last_plan",
    "explain",
    "audit_queries",
    "estimate",
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
        for parameter, given in arguments.items():
            if isinstance(given, list) and any(each is None or isinstance(each, list) for each in given):
                raise errors.InvalidParameter.of(
                    parameter, str(given), "It is a plain list, with a value in each place."
                )
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
            arguments[relation] = server.resolve_relation(given, is_view=relation == "view")
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
            printing.finish()
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
