"""The names that a conversion needs in the schemas of the tables, and which of them something else has."""

from __future__ import annotations

from .. import naming
from ..catalog import conversion as catalog
from ..catalog import server as catalog_server
from ..catalog import slices as catalog_slices
from ..plan import conversion_form
from ..plan.conversion import Conversion, Member, Taken
from ..plan.conversion_steps import global_indexes, side_name
from ..sql import Identifier
from . import slices, window


def taken(conversion: Conversion) -> list[Taken]:
    """Which names are taken; told before anything begins, since the tables would be exchanged already."""
    suffixes = _suffixes(conversion)
    found = []
    for member in conversion.members:
        schema = member.structure.schema
        wanted = _wanted(conversion, member, suffixes)
        for name in sorted(catalog_server.existing_relations(schema, list(wanted))):
            found.append(Taken(member.oid, Identifier(schema, name), wanted[name]))
        function = naming.derived_name(member.structure.name, "set_slice_key")
        if member.is_root and conversion.settings.slice_key and catalog.has_function(schema, function):
            found.append(Taken(member.oid, Identifier(schema, function), "the function that keeps the slice key"))
    return found


def _suffixes(conversion: Conversion) -> list[str]:
    """What the names of the slices end with."""
    hierarchy = conversion_form.hierarchy(conversion)
    found = []
    for each in conversion.ranges:
        bounds = slices.bounds(hierarchy, each.lower, each.upper)
        spans = window.uncovered(hierarchy, *bounds, conversion_form.width_of(each))
        found += [spec.suffix for spec in catalog_slices.specs(hierarchy, spans, 0)]
    return found


def _wanted(conversion: Conversion, member: Member, suffixes: list[str]) -> dict[str, str]:
    """The names of the relations beside the table itself, and what each is for."""
    name = member.structure.name
    found = {naming.template_name(name): "the template"}
    for suffix in suffixes:
        each = naming.slice_name(name, suffix)
        found[each] = "a slice"
        found.update(dict.fromkeys(naming.leaf_names(each, conversion.settings.hash_partitions), "a leaf"))
    for owner, index in global_indexes(conversion):
        if owner.oid == member.oid:
            found[side_name(member, tuple(str(column) for column in index.columns))] = "a global index"
    return found
