"""Key types: how the values of a partition column are put on one axis of integers, and back into SQL.

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
