"""Checking the parameters that say how a hierarchy is cut and kept."""

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
MAX_LOOKUP_SLICES = 1000
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
    if name != "UTC" and not database.query("SELECT 1 FROM pg_timezone_names WHERE name = $1", ("text",), (name,)):
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


def check_lookup_slices(lookup_slices: int) -> None:
    """For how many slices lookups keep plans."""
    if not 0 <= lookup_slices <= MAX_LOOKUP_SLICES:
        raise errors.InvalidParameter.of(
            "lookup_slices", lookup_slices, f"It is a number of slices, 0 to {MAX_LOOKUP_SLICES}."
        )


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
