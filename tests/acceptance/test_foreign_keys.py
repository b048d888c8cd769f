"""Foreign keys hold inside the hierarchy, and their actions do what they did before it was partitioned."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import psycopg
import pytest

from tests.acceptance import families
from tests.acceptance.conftest import Hierarchy
from tests.support.dialogporten import PARENTS

Connection = psycopg.Connection[Any]

MARCH = "\"ContentUpdatedAt\" >= '2025-03-01+00' AND \"ContentUpdatedAt\" < '2025-04-01+00'"
APRIL = "\"ContentUpdatedAt\" >= '2025-04-01+00' AND \"ContentUpdatedAt\" < '2025-05-01+00'"
NEEDED: dict[str, dict[str, object]] = {
    "DialogContent": {"TypeId": 2},
    "DialogSeenLog": {"EndUserTypeId": 1},
    "DialogTransmission": {"TypeId": 1},
    "DialogActivity": {"TypeId": 1},
    "DialogEndUserContext": {},
    "LabelAssignmentLog": {"Name": "systemlabel:bin", "Action": "set"},
    "Actor": {"ActorTypeId": 1, "Discriminator": "any"},
}
WITH_DIALOG = ("DialogTransmission", "DialogActivity")  # their own foreign key to the dialog is always set


def _insert(connection: Connection, table: str, values: dict[str, object]) -> None:
    names = ", ".join(f'"{name}"' for name in values)
    places = ", ".join(["%s"] * len(values))
    connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({places})', tuple(values.values()))
    families.check_deferred(connection)


@pytest.mark.parametrize(
    ("child", "parent", "column"),
    [link[:3] for link in PARENTS],
    ids=[f"{child}.{column}" for child, _, column, _ in PARENTS],
)
def test_a_row_needs_its_parent_under_the_same_keys(
    prepared: Hierarchy, session: Connection, child: str, parent: str, column: str
) -> None:
    dialog = families.pick(session, MARCH)
    members = families.family(session, dialog)
    place = families.places(session, prepared, {"Dialog": [dialog]})["Dialog"][0]
    other = families.places(session, prepared, {"Dialog": [families.pick(session, APRIL)]})["Dialog"][0]
    row: dict[str, object] = {
        prepared.column: place.range_or_slice_key,
        "Party": place.party,
        **({"DialogId": dialog} if child in WITH_DIALOG else {}),
        **NEEDED[child],
    }
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match=f'table "{child}_'), session.transaction():
        _insert(session, child, {**row, column: uuid.uuid4()})
    session.execute(f'DELETE FROM "{child}" WHERE "{column}" = %s', (members[parent][0],))  # some are unique
    strange = {**row, column: members[parent][0], prepared.column: other.range_or_slice_key}
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match=f'table "{child}_'), session.transaction():
        _insert(session, child, strange)
    _insert(session, child, {**row, column: members[parent][0]})


@pytest.mark.parametrize(
    "table", ["Dialog", "DialogTransmission", "DialogActivity", "DialogSeenLog", "LabelAssignmentLog"]
)
def test_deleting_does_what_it_did_before(
    prepared: Hierarchy, session: Connection, plain_session: Connection, table: str
) -> None:
    dialog = families.pick(session, MARCH)
    members = families.family(session, dialog)
    assert {name: sorted(ids) for name, ids in families.family(plain_session, dialog).items()} == {
        name: sorted(ids) for name, ids in members.items()
    }
    columns = families.columns(plain_session)
    whole = families.contents(session, columns, members)
    before = families.places(session, prepared, {"Dialog": [dialog]})["Dialog"][0]
    doomed = uuid.UUID(_first_transmission(dialog)) if table == "DialogTransmission" else members[table][0]
    for connection in (session, plain_session):
        assert connection.execute(f'DELETE FROM "{table}" WHERE "Id" = %s', (doomed,)).rowcount == 1
        families.check_deferred(connection)
    left = families.contents(session, columns, members)
    assert left == families.contents(plain_session, columns, members)
    assert left != whole
    for found in families.places(session, prepared, members).values():
        assert set(found) <= {before}


def _first_transmission(dialog: uuid.UUID) -> str:
    """The transmission that another answers and an activity is about: see rows.sql.j2."""
    return hashlib.md5(f"{dialog}transmission1".encode()).hexdigest()


def test_set_null_sets_the_reference_and_leaves_the_keys(prepared: Hierarchy, session: Connection) -> None:
    dialog = families.pick(session, MARCH)
    members = families.family(session, dialog)
    before = families.places(session, prepared, members)["DialogEndUserContext"]
    session.execute('DELETE FROM "DialogTransmission" WHERE "Id" = %s', (uuid.UUID(_first_transmission(dialog)),))
    assert _not_null(session, "DialogTransmission", "RelatedTransmissionId", members) == [None]
    assert _not_null(session, "DialogActivity", "TransmissionId", members) == [None, None]
    session.execute('DELETE FROM "Dialog" WHERE "Id" = %s', (dialog,))
    assert _not_null(session, "DialogEndUserContext", "DialogId", members) == [None]
    left = families.places(session, prepared, members)
    assert left["DialogEndUserContext"] == before
    assert {table: len(found) for table, found in left.items() if found} == {
        "DialogEndUserContext": 1,
        "LabelAssignmentLog": 1,
        "Actor": 1,
    }


def _not_null(connection: Connection, table: str, column: str, members: families.Family) -> list[object]:
    rows = connection.execute(f'SELECT "{column}" FROM "{table}" WHERE "Id" = ANY (%s)', (members[table],))
    return [row[0] for row in rows]


def test_shared_tables_are_protected_as_before(session: Connection) -> None:
    # ON DELETE RESTRICT has an SQLSTATE of its own from PostgreSQL 18 on.
    refusals = (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation)
    for table in ("ActorName", "DialogStatus", "DialogTransmissionType"):
        with pytest.raises(refusals), session.transaction():
            session.execute(f'DELETE FROM "{table}"')
