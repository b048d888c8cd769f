"""A dialog's content is updated: what moves, and what it costs, in both key forms."""

from __future__ import annotations

import datetime
import time
from uuid import UUID

from demo import page
from demo.stage import Connection, Stage, rows, value
from tests.support.dialogporten import HASH_KEY, RANGE_KEY, TABLES, partition_column

CHILDREN = 2000


def show_moves(stage: Stage) -> None:
    """First one family, row by row; then what a large one costs."""
    page.heading('"ContentUpdatedAt" changes, and the children come along')
    page.prose(
        f"""A dialog of last month gets new content today. The application updates one row; the foreign keys
        (ON UPDATE CASCADE) carry the new keys to every descendant, and PostgreSQL moves the rows to their new leaves.
        Then it is updated once more, an instant later, inside the month. Afterwards the same for a dialog with
        {CHILDREN:,} activities and their actors."""
    )
    lower, upper = stage.month
    dialog: UUID = value(
        stage.plain,
        f'SELECT "Id" FROM "Dialog" WHERE "{RANGE_KEY}" >= %s AND "{RANGE_KEY}" < %s'
        " AND right(\"ExternalReference\", 1) = '0' ORDER BY 1 LIMIT 1",
        lower,
        upper,
    )
    for key_form in ("exact", "slice"):
        _show_family(stage, key_form, dialog)
    costs = []
    for name, connection in (("unpartitioned", stage.plain), ("exact", stage.exact), ("slice", stage.slice)):
        _enlarge(connection, None if name == "unpartitioned" else name, dialog)
        column = None if name == "unpartitioned" else partition_column(name)
        for what, moment in (("inside the month", _instant(stage, 2)), ("to another month", _instant(stage, -40))):
            costs.append((name, what, *_update(connection, column, dialog, moment)))
    page.table((f"{2 * CHILDREN:,} descendants", "content update", "milliseconds", "WAL bytes"), costs)
    page.prose(
        """Unpartitioned tables and the slice form change one row inside the month, the exact form every row. Choose
        key_form => 'slice' when the range key changes often, as it does here."""
    )


def _instant(stage: Stage, offset: int) -> datetime.datetime:
    """Seconds after now, or days before."""
    return stage.now + (datetime.timedelta(seconds=offset) if offset >= 0 else datetime.timedelta(days=offset))


def _show_family(stage: Stage, key_form: str, dialog: UUID) -> None:
    connection, column = stage.form(key_form), partition_column(key_form)
    before = _places(connection, dialog)
    _update(connection, column, dialog, stage.now)
    between = _versions(connection, dialog)
    after = _places(connection, dialog)
    _update(connection, column, dialog, _instant(stage, 1))
    rewritten = {table for table, found in _versions(connection, dialog).items() if found != between[table]}
    page.lines([f"{key_form} form, first-level key {column}"])
    page.table(
        ("table", "rows", "leaf before", "leaf after", "rewritten by the second update"),
        [
            (table, after[table][0], before[table][1], after[table][1], "yes" if table in rewritten else "no")
            for table in TABLES
        ],
    )
    if any(count != before[table][0] for table, (count, _) in after.items()):
        raise RuntimeError("rows of the family were lost")


def _members(dialog: UUID) -> dict[str, str]:
    """A condition on each table that finds a dialog's rows by id, wherever they are."""
    below = {
        "ActivityId": "DialogActivity",
        "DialogSeenLogId": "DialogSeenLog",
        "TransmissionId": "DialogTransmission",
    }
    parents = " OR ".join(
        f'"{column}" IN (SELECT "Id" FROM "{parent}" WHERE "DialogId" = \'{dialog}\')'
        for column, parent in below.items()
    )
    context = f'(SELECT "Id" FROM "DialogEndUserContext" WHERE "DialogId" = \'{dialog}\')'
    log = f'"ContextId" IN {context}'
    found = dict.fromkeys(TABLES, f"\"DialogId\" = '{dialog}'")
    return {
        **found,
        "Dialog": f"\"Id\" = '{dialog}'",
        "LabelAssignmentLog": log,
        "Actor": f'{parents} OR "LabelAssignmentLogId" IN (SELECT "Id" FROM "LabelAssignmentLog" WHERE {log})',
    }


def _places(connection: Connection, dialog: UUID) -> dict[str, tuple[int, str]]:
    found = {}
    for table, condition in _members(dialog).items():
        leaves = rows(
            connection, f'SELECT tableoid::regclass::text, count(*) FROM "{table}" WHERE {condition} GROUP BY 1'
        )
        if len(leaves) != 1:
            raise RuntimeError(f"the rows of {table} are in {len(leaves)} leaves")
        found[table] = (leaves[0][1], leaves[0][0].strip('"').removeprefix(f"{table}_"))
    return found


def _versions(connection: Connection, dialog: UUID) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: rows(connection, f'SELECT "Id", tableoid, ctid FROM "{table}" WHERE {condition} ORDER BY 1')
        for table, condition in _members(dialog).items()
    }


def _enlarge(connection: Connection, key_form: str | None, dialog: UUID) -> None:
    """Give a dialog many activities with an actor each."""
    keys = "" if key_form is None else f', "{partition_column(key_form)}", "{HASH_KEY}"'
    connection.execute(
        f'INSERT INTO "DialogActivity" ("Id", "TypeId", "DialogId"{keys})'
        f' SELECT md5(\'many\' || n)::uuid, 3, "Id"{keys} FROM "Dialog", generate_series(1, {CHILDREN}) AS n'
        ' WHERE "Id" = %s',
        (dialog,),
    )
    connection.execute(
        f'INSERT INTO "Actor" ("ActorTypeId", "Discriminator", "ActivityId"{keys})'
        f' SELECT 1, \'DialogActivityPerformedByActor\', "Id"{keys} FROM "DialogActivity"'
        ' WHERE "DialogId" = %s AND "TypeId" = 3',
        (dialog,),
    )


def _update(connection: Connection, column: str | None, dialog: UUID, moment: datetime.datetime) -> tuple[str, int]:
    """A content update that binds the partition keys; its milliseconds and bytes of WAL."""
    query = f'UPDATE "Dialog" SET "{RANGE_KEY}" = %s WHERE "Id" = %s'
    bound: tuple[object, ...] = (moment, dialog)
    if column is not None:
        bound += rows(connection, f'SELECT "{column}", "{HASH_KEY}" FROM "Dialog" WHERE "Id" = %s', dialog)[0]
        query += f' AND "{column}" = %s AND "{HASH_KEY}" = %s'
    start = value(connection, "SELECT pg_current_wal_insert_lsn()")
    began = time.perf_counter()
    done = connection.execute(query, bound)
    took = (time.perf_counter() - began) * 1000
    if done.rowcount != 1:
        raise RuntimeError("the dialog was not found")
    return f"{took:.1f}", int(value(connection, "SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", start))
