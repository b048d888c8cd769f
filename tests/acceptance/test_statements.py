"""The application's statements, with both keys: the same rows as in unpartitioned tables."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.acceptance import families, plans
from tests.acceptance.conftest import Hierarchy
from tests.support.dialogporten import SLICE_KEY

Connection = psycopg.Connection[Any]

PARTY = "urn:altinn:person:identifier-no:00000000003"
DIALOG, CONTENT, TRANSMISSION, ACTIVITY, ACTOR, CONTEXT = (uuid.UUID(int=number) for number in range(1, 7))
MOMENT, BUCKET = "2025-06-14 09:30:00+00", "2025-06-01"


class Application:
    """Sends the same statements to plain and to partitioned tables; to the latter with the partition keys."""

    def __init__(self, connection: Connection, hierarchy: Hierarchy, moment: str = MOMENT) -> None:
        self.connection = connection
        self.key_form = hierarchy.key_form
        self.keys: dict[str, object] = {}
        if self.key_form is not None:
            self.keys = {hierarchy.column: moment if self.key_form == "exact" else BUCKET, "Party": PARTY}

    def insert(self, table: str, **values: object) -> int:
        """INSERT of one row."""
        given = {**values, **(self.keys if table != "Dialog" else {})}
        if table == "Dialog" and self.key_form == "slice":
            given[SLICE_KEY] = BUCKET
        names = ", ".join(f'"{name}"' for name in given)
        query = f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(["%s"] * len(given))})'
        return self.connection.execute(query, tuple(given.values())).rowcount

    def where(self, **values: object) -> tuple[str, tuple[object, ...]]:
        """A condition on these columns and the keys."""
        given = {**values, **self.keys}
        return " AND ".join(f'"{name}" = %s' for name in given), tuple(given.values())

    def update(self, table: str, changes: dict[str, object], **values: object) -> int:
        """UPDATE of the columns that changed."""
        condition, bound = self.where(**values)
        changed = ", ".join(f'"{name}" = %s' for name in changes)
        query = f'UPDATE "{table}" SET {changed} WHERE {condition}'
        return self.connection.execute(query, (*changes.values(), *bound)).rowcount

    def delete(self, table: str, **values: object) -> int:
        """DELETE of one row."""
        condition, bound = self.where(**values)
        return self.connection.execute(f'DELETE FROM "{table}" WHERE {condition}', bound).rowcount

    def create_dialog(self) -> list[int]:
        """A new dialog with a family, parents first, a statement a row."""
        at = {"CreatedAt": MOMENT}
        return [
            self.insert(
                "Dialog", Id=DIALOG, Revision=DIALOG, **at, UpdatedAt=MOMENT, ContentUpdatedAt=MOMENT, Deleted=False,
                Org="org1", ServiceResource="urn:altinn:resource:service-1", StatusId=7, IdempotentKey="order 66",
                ServiceResourceType="GenericAccessResource", Party=PARTY, IsSeenSinceLastContentUpdate=False,
            ),
            self.insert("DialogContent", Id=CONTENT, DialogId=DIALOG, TypeId=1, MediaType="text/plain", **at,
                        UpdatedAt=MOMENT),
            self.insert("DialogTransmission", Id=TRANSMISSION, DialogId=DIALOG, TypeId=1, IdempotentKey="a", **at),
            self.insert("DialogActivity", Id=ACTIVITY, DialogId=DIALOG, TypeId=1, TransmissionId=TRANSMISSION, **at),
            self.insert("Actor", Id=ACTOR, ActivityId=ACTIVITY, ActorTypeId=1, **at, UpdatedAt=MOMENT,
                        Discriminator="DialogActivityPerformedByActor"),
            self.insert("DialogEndUserContext", Id=CONTEXT, DialogId=DIALOG, Revision=CONTEXT, **at, UpdatedAt=MOMENT),
        ]  # fmt: skip


MEMBERS = {
    "Dialog": [DIALOG],
    "DialogContent": [CONTENT],
    "DialogTransmission": [TRANSMISSION],
    "DialogActivity": [ACTIVITY],
    "Actor": [ACTOR],
    "DialogEndUserContext": [CONTEXT],
}


def test_a_dialog_lives_as_it_did_in_plain_tables(
    prepared: Hierarchy, plain: Hierarchy, session: Connection, plain_session: Connection
) -> None:
    columns = families.columns(plain_session)
    seen = []
    for connection, hierarchy in ((session, prepared), (plain_session, plain)):
        application = Application(connection, hierarchy)
        stages: list[object] = [application.create_dialog(), families.contents(connection, columns, MEMBERS)]
        revised = {"Revision": ACTIVITY, "UpdatedAt": "2025-06-15 10:00+00", "StatusId": 6}
        stages.append(application.update("Dialog", revised, Id=DIALOG, Revision=DIALOG))
        stages.append(application.update("Dialog", revised, Id=DIALOG, Revision=DIALOG))  # somebody else was first
        stages.append(application.update("DialogContent", {"MediaType": "text/markdown"}, Id=CONTENT))
        stages.append(families.contents(connection, columns, MEMBERS))
        stages.append(application.delete("DialogTransmission", Id=TRANSMISSION))
        stages.append(families.contents(connection, columns, MEMBERS))
        stages.append(application.delete("Dialog", Id=DIALOG))
        families.check_deferred(connection)
        stages.append(families.contents(connection, columns, MEMBERS))
        seen.append(stages)
    assert seen[0] == seen[1]
    assert seen[0][0] == [1] * 6
    assert seen[0][2:5] == [1, 0, 1]


def test_a_content_update_as_the_application_makes_it(prepared: Hierarchy, session: Connection) -> None:
    application = Application(session, prepared)
    application.create_dialog()
    moment = "2025-06-15 10:00:00+00"
    changes = {"ContentUpdatedAt": moment, "UpdatedAt": moment, "Revision": ACTIVITY}
    assert application.update("Dialog", changes, Id=DIALOG, Revision=DIALOG) == 1
    after = Application(session, prepared, moment)
    for table, ids in MEMBERS.items():
        condition, bound = after.where(Id=ids[0])
        assert session.execute(f'SELECT count(*) FROM "{table}" WHERE {condition}', bound).fetchone() == (1,), table
    families.check_deferred(session)


@pytest.mark.parametrize("statement", ["SELECT *", "UPDATE", "DELETE"])
def test_with_both_keys_one_leaf_is_touched(prepared: Hierarchy, session: Connection, statement: str) -> None:
    condition, bound = Application(session, prepared).where(Id=DIALOG)
    query = {
        "SELECT *": 'SELECT * FROM "Dialog"',
        "UPDATE": 'UPDATE "Dialog" SET "Progress" = 50',
        "DELETE": 'DELETE FROM "Dialog"',
    }[statement]
    plan = plans.explain(session, f"{query} WHERE {condition}", *bound)
    leaves = {relation for relation in plans.relations(plan) if relation != "Dialog"}
    assert len(leaves) == 1
    assert leaves.pop().startswith("Dialog_2025_06_h")


def test_the_newest_dialogs_of_a_party_are_read_slice_by_slice(
    prepared: Hierarchy, session: Connection, plain_session: Connection
) -> None:
    """ORDER BY ... DESC LIMIT stops as soon as enough rows were found; older slices are never opened."""
    order = '"ContentUpdatedAt" DESC, "Id" DESC'
    wanted = plain_session.execute(
        f'SELECT "Id" FROM "Dialog" WHERE "Party" = %s AND "Deleted" = false ORDER BY {order} LIMIT 3', (PARTY,)
    ).fetchall()
    if prepared.key_form == "slice":
        order = f'"{SLICE_KEY}" DESC, {order}'
        session.execute(f'CREATE INDEX newest_first ON "Dialog" ("Party", {order})')
    query = f'SELECT "Id" FROM "Dialog" WHERE "Party" = %s AND "Deleted" = false ORDER BY {order} LIMIT 3'
    assert session.execute(query, (PARTY,)).fetchall() == wanted
    session.execute("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off")  # a leaf holds a few rows only
    plan = plans.explain(session, query, PARTY, analyze=True)
    assert [node["Node Type"] for node in plans.nodes(plan)][:2] == ["Limit", "Append"]
    assert "Sort" not in {node["Node Type"] for node in plans.nodes(plan)}
    read, planned = plans.executed_relations(plan), plans.relations(plan)
    assert {relation.rsplit("_h", 1)[0] for relation in planned} >= {"Dialog_2023", "Dialog_2024", "Dialog_2025_01"}
    assert {relation.rsplit("_h", 1)[0] for relation in read} & {"Dialog_2023", "Dialog_2024"} == set()
    assert len(read) < len(planned)
