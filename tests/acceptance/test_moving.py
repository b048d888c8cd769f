"""A dialog whose "ContentUpdatedAt" changes takes its family along."""

from __future__ import annotations

import datetime
from typing import Any

import psycopg
import pytest

from tests.acceptance import families
from tests.acceptance.conftest import Hierarchy
from tests.acceptance.families import Place

Connection = psycopg.Connection[Any]

MARCH = "\"ContentUpdatedAt\" >= '2025-03-01+00' AND \"ContentUpdatedAt\" < '2025-04-01+00'"
EARLY_2023 = "\"ContentUpdatedAt\" < '2023-06-01+00'"


def _update(connection: Connection, hierarchy: Hierarchy, dialog: object, moment: str) -> tuple[Place, Place]:
    """Update as the application does, both keys bound; the old and the new place of the dialog."""
    before = families.places(connection, hierarchy, {"Dialog": [dialog]})["Dialog"][0]  # type: ignore[list-item]
    done = connection.execute(
        f'UPDATE "Dialog" SET "ContentUpdatedAt" = %s WHERE "Id" = %s AND "{hierarchy.column}" = %s AND "Party" = %s',
        (moment, dialog, before.range_or_slice_key, before.party),
    )
    assert done.rowcount == 1
    families.check_deferred(connection)
    after = families.places(connection, hierarchy, {"Dialog": [dialog]})["Dialog"][0]  # type: ignore[list-item]
    return before, after


def _key(hierarchy: Hierarchy, moment: str) -> object:
    at = datetime.datetime.fromisoformat(moment)
    return at if hierarchy.key_form == "exact" else at.date().replace(day=1)


def _slice(place: Place) -> str:
    return place.leaf.rsplit("_h", 1)[0]


@pytest.mark.parametrize(
    ("origin", "moment", "slices"),
    [
        (MARCH, "2025-01-20 08:00:00+00:00", ("2025_03", "2025_01")),
        (MARCH, "2025-06-10 08:00:00+00:00", ("2025_03", "2025_06")),  # four leaves instead of two
        (MARCH, "2025-08-31 23:59:59+00:00", ("2025_03", "2025_08")),
        (MARCH, "2024-02-29 12:00:00+00:00", ("2025_03", "2024")),
        (EARLY_2023, "2025-07-01 00:00:00+00:00", ("2023", "2025_07")),
        (EARLY_2023, "2023-12-24 18:00:00+00:00", ("2023", "2023")),  # another bucket of the same slice
    ],
    ids=["back", "other modulus", "future", "into a year", "out of a year", "inside a year"],
)
def test_a_new_bucket_takes_the_whole_family_along(
    prepared: Hierarchy, session: Connection, origin: str, moment: str, slices: tuple[str, str]
) -> None:
    dialog = families.pick(session, origin)
    members, rows = families.family(session, dialog), families.total(session)
    before, after = _update(session, prepared, dialog, moment)
    assert (_slice(before), _slice(after)) == slices
    assert after.range_or_slice_key == _key(prepared, moment)
    assert families.count_by_keys(session, prepared, members, after) == families.sizes(members)
    assert set(families.count_by_keys(session, prepared, members, before).values()) == {0}
    for found in families.places(session, prepared, members).values():
        assert set(found) == {after}
    assert families.family(session, dialog) == members
    assert families.total(session) == rows


def test_inside_the_bucket_the_exact_form_changes_every_row_and_the_slice_form_the_root_alone(
    prepared: Hierarchy, session: Connection
) -> None:
    dialog = families.pick(session, MARCH)
    members = families.family(session, dialog)
    versions = _versions(session, members)
    moment = "2025-03-31 23:00:00+00:00"
    before, after = _update(session, prepared, dialog, moment)
    assert before.leaf == after.leaf
    assert families.count_by_keys(session, prepared, members, after) == families.sizes(members)
    changed = {table for table, found in _versions(session, members).items() if found != versions[table]}
    if prepared.key_form == "slice":
        assert before == after
        assert changed == {"Dialog"}
    else:
        assert changed == set(members)
        assert set(families.count_by_keys(session, prepared, members, before).values()) == {0}
    row = session.execute('SELECT "ContentUpdatedAt" FROM "Dialog" WHERE "Id" = %s', (dialog,)).fetchone()
    assert row == (datetime.datetime.fromisoformat(moment),)


def test_a_diamond_of_two_paths_moves_whole(prepared: Hierarchy, session: Connection) -> None:
    """DialogActivity refers to the dialog, and to a transmission of the same dialog."""
    dialog = families.pick(session, MARCH)
    about = 'SELECT a."Id", a."TransmissionId" FROM "DialogActivity" a WHERE a."DialogId" = %s ORDER BY 1'
    before = session.execute(about, (dialog,)).fetchall()
    assert sum(transmission is not None for _, transmission in before) == 1
    _update(session, prepared, dialog, "2025-05-05 05:05:05+00:00")
    assert session.execute(about, (dialog,)).fetchall() == before
    lost = session.execute(
        'SELECT count(*) FROM "DialogActivity" a WHERE a."DialogId" = %s AND a."TransmissionId" IS NOT NULL'
        ' AND NOT EXISTS (SELECT FROM "DialogTransmission" t WHERE t."Id" = a."TransmissionId"'
        f" AND {prepared.on_keys('t', 'a')})",
        (dialog,),
    ).fetchone()
    assert lost == (0,)


def test_replies_move_with_what_they_answer(prepared: Hierarchy, session: Connection) -> None:
    dialog = families.pick(session, MARCH)
    replies = (
        'SELECT t."Id", t."RelatedTransmissionId" FROM "DialogTransmission" t JOIN "DialogTransmission" r'
        f' ON r."Id" = t."RelatedTransmissionId" AND {prepared.on_keys("r", "t")} WHERE t."DialogId" = %s'
    )
    before = session.execute(replies, (dialog,)).fetchall()
    assert len(before) == 1
    _update(session, prepared, dialog, "2025-05-05 05:05:05+00:00")
    assert session.execute(replies, (dialog,)).fetchall() == before


def test_a_hundred_dialogs_move_in_one_statement(prepared: Hierarchy, session: Connection) -> None:
    rows = families.total(session)
    done = session.execute(
        'UPDATE "Dialog" SET "ContentUpdatedAt" = \'2025-07-07 07:07+00\' WHERE "ContentUpdatedAt" < \'2023-06-01+00\''
    )
    families.check_deferred(session)
    assert done.rowcount > 80
    assert families.total(session) == rows
    strangers = session.execute(
        'SELECT count(*) FROM "DialogActivity" a LEFT JOIN "Dialog" d'
        f' ON d."Id" = a."DialogId" AND {prepared.on_keys("d", "a")} WHERE d."Id" IS NULL'
    ).fetchone()
    assert strangers == (0,)


def test_a_move_to_where_there_is_no_slice_is_refused_and_changes_nothing(
    prepared: Hierarchy, session: Connection
) -> None:
    dialog = families.pick(session, MARCH)
    members = families.family(session, dialog)
    before = families.places(session, prepared, members)
    with pytest.raises(psycopg.errors.CheckViolation, match='no partition of relation "Dialog"'), session.transaction():
        session.execute('UPDATE "Dialog" SET "ContentUpdatedAt" = \'2031-01-01\' WHERE "Id" = %s', (dialog,))
    assert families.places(session, prepared, members) == before


def _versions(connection: Connection, members: families.Family) -> dict[str, list[tuple[Any, ...]]]:
    """Physical versions of the rows: another one after each update."""
    return {
        table: connection.execute(
            f'SELECT "Id", tableoid, ctid, xmin::text FROM "{table}" WHERE "Id" = ANY (%s) ORDER BY 1', (ids,)
        ).fetchall()
        for table, ids in members.items()
    }
