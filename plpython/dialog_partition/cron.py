"""Cron expressions as pg_cron reads them: checked, and when they come next. Pure: times are in pg_cron's own time zone.

Five fields (minute, hour, day of the month, month, day of the week), or @hourly and the like, @reboot, or "30 seconds".
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from . import errors

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
REBOOT = "@reboot"
LAST_DAY = "$"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
YEARS_AHEAD = 9  # a 29 February may be eight years off
A_DAY = datetime.timedelta(days=1)


class Field(NamedTuple):
    """One of the five: its name, its values, and the words for them."""

    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of the week", 0, 7, WEEKDAYS),
)


class Schedule(NamedTuple):
    """When a job runs: every so many seconds, at each start of the server, or when all fields agree."""

    seconds: int | None = None
    at_reboot: bool = False
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    on_last_day: bool = False
    any_day: bool = False  # the field begins with *: then the other of the two days decides alone
    any_weekday: bool = False


def parse(text: str, parameter: str) -> Schedule:
    """A cron expression as a value; refuses one that pg_cron would refuse, or silently read otherwise."""
    words = text.strip().lower().split()
    if len(words) == 1 and words[0] == REBOOT:
        return Schedule(at_reboot=True)
    if len(words) == 2 and words[1] in ("second", "seconds"):
        if not words[0].isascii() or not words[0].isdigit() or not 1 <= int(words[0][:3]) <= 59:
            raise _error(parameter, text, "Seconds are 1 to 59.")
        return Schedule(seconds=int(words[0]))
    if len(words) == 1 and words[0] in MACROS:
        words = MACROS[words[0]].split()
    if len(words) != len(FIELDS):
        raise _error(parameter, text, "It has five fields: minute, hour, day of the month, month, day of the week.")
    on_last_day = words[2] == LAST_DAY
    values = [
        frozenset[int]() if field.name == FIELDS[2].name and on_last_day else _values(word, field, parameter, text)
        for word, field in zip(words, FIELDS)
    ]
    minutes, hours, days, months, weekdays = values
    return Schedule(
        None,
        False,
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        on_last_day,
        any_day=words[2].startswith("*"),
        any_weekday=words[4].startswith("*"),
    )


def _values(word: str, field: Field, parameter: str, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        lower, dash, upper = span.partition("-")
        if span == "*":
            first, last = field.lowest, field.highest
        else:
            first = _value(lower, field, parameter, text)
            last = _value(upper, field, parameter, text) if dash else first
        step = int(step_text) if step_text.isascii() and step_text.isdigit() and len(step_text) < 3 else 0
        if slash and (not step or (span != "*" and not dash)):
            raise _error(parameter, text, f'"{part}" is no step of a range, such as */5 or 10-50/5.')
        if last < first:
            raise _error(parameter, text, f'"{part}" ends before it begins.')
        found.update(range(first, last + 1, step or 1))
    return frozenset(found)


def _value(word: str, field: Field, parameter: str, text: str) -> int:
    if word in field.words:
        return field.words.index(word) + (1 if field.lowest == 1 else 0)
    if word.isascii() and word.isdigit() and len(word) < 3 and field.lowest <= int(word) <= field.highest:
        return int(word)
    raise _error(parameter, text, f'"{word}" is no {field.name}: that is {field.lowest} to {field.highest}.')


def _error(parameter: str, text: str, detail: str) -> errors.InvalidParameter:
    return errors.InvalidParameter.of(
        parameter, text, detail, "Write for example '17 * * * *' for each hour, '20 2 * * *' for each night, or 'none'."
    )


def next_run(schedule: Schedule, after: datetime.datetime) -> datetime.datetime | None:
    """The first time behind a moment at which a job runs; None where no clock tells, or it never comes."""
    if schedule.at_reboot:
        return None
    if schedule.seconds is not None:
        return after + datetime.timedelta(seconds=schedule.seconds)
    moment = after.replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
    end = after.replace(month=1, day=1).replace(year=min(after.year + YEARS_AHEAD, datetime.MAXYEAR))
    day = moment.replace(hour=0, minute=0)
    while day < end:
        if _is_day(schedule, day):
            for hour in sorted(schedule.hours):
                for minute in sorted(schedule.minutes):
                    if day.replace(hour=hour, minute=minute) >= moment:
                        return day.replace(hour=hour, minute=minute)
        day += A_DAY
    return None


def _is_day(schedule: Schedule, day: datetime.datetime) -> bool:
    if day.month not in schedule.months:
        return False
    is_day = day.day in schedule.days or (schedule.on_last_day and (day + A_DAY).day == 1)
    is_weekday = day.isoweekday() % 7 in schedule.weekdays
    if schedule.any_day or schedule.any_weekday:
        return is_day and is_weekday
    return is_day or is_weekday
