"""Whether a layout fits the server: refused before anything is changed, with the layouts that would fit."""

from __future__ import annotations

from .. import calendars, errors, keys
from ..catalog import server as catalog_server
from ..plan import estimate as plan
from ..plan.estimate import Layout
from ..sql import Identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.declare import Settings


def check(table: Identifier, layout: Layout) -> None:
    """Refuse a layout in which a statement that binds no key could not even lock one table."""
    facts = catalog_server.server()
    version = facts.version // 10000
    needed = plan.locks_without_key(layout, version)
    if needed <= facts.lock_table:
        return
    smaller = plan.largest_fitting(layout, version, facts.lock_table)
    fewer = f"Take hash_partitions => {smaller.hash_partitions}, or wider slices" if smaller else "Take wider slices"
    enough = -(-needed // facts.lock_slots)
    raise errors.OutOfLocks(
        f"the layout of {table} is larger than the lock table has room for",
        f"{layout.slices} slices of {max(layout.hash_partitions, 1)} leaves, of which each has {1 + layout.indexes}"
        f" relations with its indexes: a statement that binds no key takes {needed} locks on one table, and all"
        f" sessions together have {facts.lock_table}.",
        f"{fewer}, or raise max_locks_per_transaction to {enough} at least; see dp.estimate. With"
        " allow_large_layout => true it is declared all the same.",
    )


def slices_of(settings: Settings) -> int:
    """How many slices maintenance will make from the start; integers have no clock, and begin with those ahead."""
    if keys.is_integer(settings.range_type):
        return settings.premake + 1
    width = settings.width
    now = catalog_server.local_now(settings.time_zone)
    lower = upper = calendars.align(now, width)
    upper = calendars.advance(upper, width, settings.premake + 1)
    if settings.start is not None:
        lower = calendars.align(calendars.parse_moment(settings.start, "start"), width)
    if settings.retention is not None:
        oldest = calendars.subtract(now, calendars.parse_width(settings.retention, "retention"))
        lower = max(lower, calendars.align(oldest, width))
    if width.in_months:
        return max((upper.year - lower.year) * 12 + upper.month - lower.month, 0) // width.in_months
    return max((upper - lower).days, 0) // width.in_days
