"""What only the slice form promises: the slice key is true, and conditions on the range key still prune."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.acceptance import families, plans
from tests.acceptance.conftest import Hierarchy
from tests.support.dialogporten import ROOT, SLICE_KEY

Connection = psycopg.Connection[Any]

pytestmark = pytest.mark.parametrize("prepared", ["slice"], indirect=True, scope="session")
MARCH = "\"ContentUpdatedAt\" >= '2025-03-01+00' AND \"ContentUpdatedAt\" < '2025-04-01+00'"
NEW_DIALOG = (
    'INSERT INTO "Dialog" ("Deleted", "Org", "ServiceResource", "ServiceResourceType", "Party", "StatusId",'
    " \"ContentUpdatedAt\"{}) VALUES (false, 'org1', 'service', 'GenericAccessResource', 'me', 7, {})"
)


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize(
    ("condition", "slices"),
    [
        (MARCH, {"2025_03"}),
        ("\"ContentUpdatedAt\" = '2025-03-17 03:00+00'", {"2025_03"}),
        ("\"ContentUpdatedAt\" < '2023-05-01+00'", {"2023"}),
        ("\"ContentUpdatedAt\" >= '2025-08-31 23:59+00'", {"2025_08", "2025_09"}),
    ],
)
def test_a_condition_on_the_range_key_alone_prunes(session: Connection, condition: str, slices: set[str]) -> None:
    plan = plans.explain(session, f'SELECT count(*) FROM "Dialog" WHERE {condition}')
    assert {relation.rsplit("_h", 1)[0] for relation in plans.relations(plan)} == {f"Dialog_{each}" for each in slices}


@pytest.mark.usefixtures("prepared")
def test_a_wrong_slice_key_is_refused_never_stored(session: Connection) -> None:
    dialog = families.pick(session, MARCH)
    for wrong in ("2025-02-01", "2025-03-02"):  # another bucket's start; no bucket's start
        with pytest.raises(psycopg.errors.CheckViolation), session.transaction():
            session.execute(f'UPDATE "Dialog" SET "{SLICE_KEY}" = %s WHERE "Id" = %s', (wrong, dialog))
        with pytest.raises(psycopg.errors.CheckViolation), session.transaction():
            session.execute(NEW_DIALOG.format(f', "{SLICE_KEY}"', f"'2025-03-17 03:00+00', '{wrong}'"))
    with session.transaction():
        session.execute(NEW_DIALOG.format(f', "{SLICE_KEY}"', "'2025-03-17 03:00+00', '2025-03-01'"))


@pytest.mark.usefixtures("prepared")
def test_an_update_of_the_range_key_overrules_a_slice_key_named_beside_it(session: Connection) -> None:
    dialog = families.pick(session, MARCH)
    done = session.execute(
        f'UPDATE "Dialog" SET "ContentUpdatedAt" = \'2025-05-09+00\', "{SLICE_KEY}" = \'2025-01-01\' WHERE "Id" = %s'
        f' RETURNING "{SLICE_KEY}"::text',
        (dialog,),
    ).fetchone()
    assert done == ("2025-05-01",)


def test_a_new_dialog_gets_the_current_bucket(copy: Hierarchy) -> None:
    owner = copy.connect(TimeZone="Pacific/Auckland")  # the hierarchy counts in UTC all the same
    bucket = "date_trunc('month', now() AT TIME ZONE 'UTC')"
    bounds = owner.execute(f"SELECT ({bucket})::text, ({bucket} + interval '1 month')::text").fetchone()
    assert bounds is not None
    owner.execute(f"CALL dp.create_slices('{ROOT}', '{bounds[0]}', '{bounds[1]}')")
    stored = owner.execute(
        NEW_DIALOG.format("", "now()") + f' RETURNING "{SLICE_KEY}"::timestamp::text, tableoid::regclass::text'
    ).fetchone()
    assert stored is not None
    assert stored[0] == bounds[0]
    assert stored[1].startswith(f'"Dialog_{bounds[0][:7].replace("-", "_")}_h')


@pytest.mark.usefixtures("prepared")
def test_children_do_not_carry_the_range_key(session: Connection) -> None:
    rows = session.execute(
        "SELECT attrelid::regclass::text FROM pg_attribute JOIN dp.managed_table ON tbl = attrelid"
        " WHERE attname = 'ContentUpdatedAt' AND NOT attisdropped"
    ).fetchall()
    assert rows == [(ROOT,)]
