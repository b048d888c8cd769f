"""plan_conversion, and what dp.convert begins with: examining plain tables."""

from __future__ import annotations

import json

from .. import errors, keys
from ..catalog import conversion as catalog
from ..catalog import dependents as catalog_dependents
from ..catalog import hierarchy as catalog_hierarchy
from ..catalog import server as catalog_server
from ..plan import conversion_figures, conversion_findings, conversion_layout
from ..plan.conversion import KEEP, REFUSE, Conversion, Figures, Member, Range, set_apart
from ..plan.conversion_copy import bucket_of
from ..sql import SQL, Identifier, Literal, compose
from . import conversion_names, policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..plan.conversion_finding import Finding
    from ..plan.declare import Settings

PREMAKE = 4


def plan_conversion(root: int, **options: Any) -> list[Finding]:
    """What converting plain tables comes to; see sql/functions/plan_conversion.sql.j2."""
    return examine(root, options)[1]


def examine(root: int, options: dict[str, Any]) -> tuple[Conversion, list[Finding]]:
    """Read the tables and count what is in them."""
    root = catalog_server.named(root)
    _check_options(root, options)
    paths = _owner_paths(options["owner_paths"])
    members, left = catalog.find(root, options["exclude"] or [], options["include"] or [], paths)
    settings = _settings(members[0], options)
    dependents, blocked = catalog_dependents.read([member.oid for member in members], [])
    outside = catalog.outside_keys(members)
    conversion = Conversion(
        tuple(members),
        settings,
        {},
        (),
        tuple(catalog.references(members)),
        tuple(outside),
        tuple(dependents),
        (*blocked, *catalog.of_others(outside)),
        (),
        options["orphans"],
        options["allow_weaker_unique"],
        catalog_server.server().version,
        options["disagreeing"],
        options["replace_values"],
    )
    figures = {member.oid: _counted(conversion, member) for member in members}
    conversion = _laid_out(conversion._replace(figures=figures), options)
    if conversion.disagreeing == KEEP:
        apart = tuple(set_apart(member, figures[member.oid]) for member in members)
        conversion = conversion._replace(members=apart)
    if conversion.orphans == KEEP and any(each.orphans for each in figures.values()):
        conversion = conversion._replace(orphan_keys=_orphan_keys(conversion))
    conversion = conversion._replace(taken=tuple(conversion_names.taken(conversion)))
    budget = catalog_server.server().lock_budget
    return conversion, conversion_findings.findings(conversion, left, budget)


def _counted(conversion: Conversion, member: Member) -> Figures:
    row = catalog.count(conversion_figures.counting(conversion, member).text)
    apart = tuple((key.name, rows) for key, rows in zip(member.others, row["apart"]))
    return Figures(**{**row, "apart": apart})


def _check_options(root: int, options: dict[str, Any]) -> None:
    for name in ("orphans", "disagreeing"):
        if options[name] not in (REFUSE, KEEP):
            raise errors.InvalidParameter.of(name, options[name], "It is refuse or keep.")
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
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(_is_list_of_names(named) for named in given.values()):
        raise errors.InvalidParameter.of(
            "owner_paths",
            text,
            'It is an object with the names of foreign keys by table: {"public.item": ["item_event_id_fkey"]}.',
        )
    return {_table_of_path(table): named for table, named in given.items()}


def _is_list_of_names(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(name, str) for name in given)


def _table_of_path(name: str) -> int:
    oid = catalog_server.find_relation(name)
    if oid is None:
        raise errors.InvalidParameter.of(
            "owner_paths",
            name,
            "There is no such table.",
            "Name tables with their schemas, written as dp.plan_conversion and the rest of PostgreSQL write them.",
        )
    return oid


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
    ranges = _ranges(conversion, options["slice"], options["hash_partitions"])
    if options["hash_partitions"] is None and settings.hash_column is not None:
        rows = conversion.figures[conversion.root.oid].rows
        most = max(each.rows for each in conversion.figures.values())
        partitions = conversion_layout.modulus(
            ranges, most / rows if rows else 1.0, catalog_server.server().lock_budget
        )
        settings = settings._replace(hash_partitions=partitions)
    return conversion._replace(ranges=tuple(ranges), settings=settings)


def _ranges(conversion: Conversion, width: str | None, partitions: int | None) -> list[Range]:
    settings = conversion.settings
    if keys.is_integer(settings.range_type):
        column = Identifier(settings.range_column.name)
        query = compose("SELECT min({c}) AS low, max({c}) AS high FROM {t}", c=column, t=conversion.root.identifier)
        found = catalog.count(query.text)
        rows = conversion.figures[conversion.root.oid].rows
        limit = keys.INTEGER_LIMITS[settings.range_type] - 1
        return conversion_layout.integer_ranges(
            found["low"], found["high"], rows, settings.width.number, settings.premake, limit
        )
    distribution = catalog.distribution(conversion_figures.distribution(conversion).text)
    now = catalog_server.local_now(settings.time_zone)
    if width is not None:
        return conversion_layout.calendar_ranges(distribution, now, PREMAKE, width)
    if settings.hash_column is None:
        partitions = 0
    budget = catalog_server.server().lock_budget
    return conversion_layout.roomy_ranges(distribution, now, PREMAKE, partitions, budget)


def _orphan_keys(conversion: Conversion) -> tuple[SQL, ...]:
    """The keys of rows without a parent: those of the oldest slice, and no owner."""
    settings = conversion.settings
    if not conversion.figures[conversion.root.oid].rows:
        return ()
    column = Identifier(settings.range_column.name)
    # there is no min(uuid) before PostgreSQL 18
    first = compose("SELECT {}::text AS value FROM {} ORDER BY {} LIMIT 1", column, conversion.root.identifier, column)
    lowest = catalog.count(first.text)["value"]
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
