"""Scenes about making the hierarchy and keeping it: declaring, slices, maintenance."""

from __future__ import annotations

import datetime

from demo import page
from demo.stage import Stage, load, rows, slice_calls, value
from tests.support import dialogporten
from tests.support.dialogporten import ROOT


def show_declaring(stage: Stage) -> None:
    """The calls that make the plain tables a hierarchy, after a look at what they would do."""
    page.heading("Plain tables become a hierarchy")
    page.prose(
        """Eight tables, as a migration tool made them, are empty yet: Dialog, and what belongs to one dialog each;
        Actor hangs under four of them. They get two partition keys: "ContentUpdatedAt" first, by RANGE; "Party" below
        it, by HASH. Every call can be rehearsed. The first lines of what the declaration of the root would run:"""
    )
    calls = dialogporten.declaration("slice", hash_partitions=2, premake=3)
    rehearsal = calls[0].replace("SELECT ", "SELECT statement FROM ").rstrip(")") + ", dry_run => true)"
    page.sql([rehearsal])
    plan = rows(stage.slice, rehearsal)
    page.lines([*(statement for (statement,) in plan[:5]), f"... {len(plan) - 5} more statements"])
    page.prose("Now for good, the root and each child under each of its parents:")
    page.sql(calls)
    for key_form in dialogporten.KEY_FORMS:
        for call in dialogporten.declaration(key_form, hash_partitions=2, premake=3):
            stage.form(key_form).execute(call)
    page.prose(
        """allow_weaker_unique says yes to a loss: the rule that ("Org", "IdempotentKey") is unique holds within a
        partition only from now on. The same was done in a second database in the exact key form, in which
        "ContentUpdatedAt" itself is carried by every child; the slice form carries the first day of its month."""
    )


def show_slices(stage: Stage) -> None:
    """Slices of several widths, rows in them, and what the views say."""
    page.heading("Slices: years for history, quarters, months for now")
    calls = slice_calls(stage.now)
    page.sql(calls)
    for key_form in dialogporten.KEY_FORMS:
        for call in calls:
            stage.form(key_form).execute(call)
    seconds = [load(stage, key_form) for key_form in (None, *dialogporten.KEY_FORMS)]
    counted = sum(value(stage.slice, f'SELECT count(*) FROM "{table}"') for table in dialogporten.TABLES)
    page.prose(
        f"""{stage.dialogs:,} dialogs with their families, {counted:,} rows, went into each of the three databases
        (unpartitioned {seconds[0]:.1f} s, exact {seconds[1]:.1f} s, slice {seconds[2]:.1f} s). The tree, from
        dp.slice and dp.leaf; one line for all eight tables:"""
    )
    show_tree(stage)


def show_tree(stage: Stage) -> None:
    """The slices of the hierarchy, with rows and bytes of all tables."""
    found = rows(
        stage.slice,
        """
        SELECT max(l.slice::text) FILTER (WHERE l.tbl = l.root), l.lower_bound, l.upper_bound,
               count(DISTINCT l.remainder)::int, count(*)::int, sum(l.estimated_rows)::bigint,
               pg_size_pretty(sum(l.bytes))
        FROM dp.leaf l WHERE l.root = %s::regclass GROUP BY 2, 3 ORDER BY 2
        """,
        ROOT,
    )
    page.table(("slice of the root", "from", "to", "modulus", "leaves", "rows", "bytes"), found)


def show_maintenance(stage: Stage) -> None:
    """A month later: the check, a dry run, the run, the log."""
    page.heading("A month goes by")
    later = stage.now + datetime.timedelta(days=31)
    connection = stage.slice
    calls = [
        f"SELECT dp.configure('{ROOT}', retention => '2 years', retention_action => 'detach')",
        f"SET dp.now = '{later:%Y-%m-%d %H:%M}+00'",
    ]
    page.prose("At night pg_cron calls dp.run_maintenance(). Its clock can be set, so let a month pass:")
    page.sql(calls)
    for call in calls:
        connection.execute(call)
    page.prose("What dp.check finds then, and the statement it offers:")
    found = rows(connection, f"SELECT DISTINCT severity, finding, statement FROM dp.check('{ROOT}') ORDER BY 1, 2")
    page.table(("severity", "finding", "statement"), found)
    page.prose("What maintenance would do, the first statements of dp.last_plan after a dry run:")
    dry_run = f"CALL dp.run_maintenance('{ROOT}', dry_run => true)"
    page.sql([dry_run])
    connection.execute(dry_run)
    plan = rows(connection, "SELECT statement FROM dp.last_plan ORDER BY step")
    page.lines([*(statement for (statement,) in plan[:6]), f"... {len(plan) - 6} more statements"])
    page.prose("The run itself, and what dp.log keeps of it:")
    since = value(connection, "SELECT max(id) FROM dp.log")
    page.sql([f"CALL dp.run_maintenance('{ROOT}')"])
    connection.execute(f"CALL dp.run_maintenance('{ROOT}')")
    log = rows(
        connection,
        "SELECT status, target, left(split_part(statements, chr(10), 1), 60) FROM dp.log WHERE id > %s ORDER BY id",
        since,
    )
    page.table(("status", "target", "statements begin with"), log[:8])
    _show_outcome(stage)


def _show_outcome(stage: Stage) -> None:
    connection = stage.slice
    detached = rows(
        connection,
        "SELECT DISTINCT lower_bound, upper_bound, count(*)::int FROM dp.slice WHERE NOT is_attached"
        " GROUP BY 1, 2 ORDER BY 1",
    )
    newest = value(connection, f"SELECT max(slice::text) FROM dp.slice WHERE tbl = '{ROOT}'::regclass AND is_attached")
    retired = ", ".join(f"{lower} to {upper} in {count} tables" for lower, upper, count in detached)
    findings = rows(connection, f"SELECT severity, finding, target FROM dp.check('{ROOT}')")
    page.prose(
        f"""The newest slice is now {newest}. Detached, with all their rows: {retired}. dp.check('{ROOT}') finds
        {"nothing" if not findings else "still"}."""
    )
    if findings:
        page.table(("severity", "finding", "target"), findings)
        raise RuntimeError("maintenance left findings")
