"""What dp.sync makes is what a new slice has; a template that is lost is told of and made anew."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database
from tests.support.hierarchies import call, create_slices, declare

Connection = psycopg.Connection[Any]
INDEXES = {
    "by columns": ("CREATE INDEX event_found ON ONLY event (body, lower(body)) INCLUDE (at)",),
    "a rule": ("ALTER TABLE ONLY event ADD CONSTRAINT event_once UNIQUE (body, party, at_slice)",),
    "two alike": (
        "CREATE INDEX event_first ON ONLY event (body)",
        "CREATE INDEX event_second ON ONLY event (body) WHERE body > ''",
    ),
    "long": (f'CREATE INDEX "event_{"ü" * 24}" ON ONLY event (body, party, id, at, at_slice)',),
}
NAMES = (
    "SELECT replace(x.relname, t.slice_name, 'slice') FROM (SELECT c.relname AS slice_name, p.relid"
    " FROM pg_class c, pg_partition_tree(c.oid) p WHERE c.relname = %s) AS t"
    " JOIN pg_index i ON i.indrelid = t.relid JOIN pg_class x ON x.oid = i.indexrelid ORDER BY 1"
)


@pytest.mark.parametrize("kind", INDEXES)
def test_indexes_that_were_lacking_are_called_like_those_of_new_slices(db: Database, kind: str) -> None:
    owner = db.connect()
    declare(owner, key_form="slice", premake=0)
    create_slices(owner, "2025-01-01", "2025-02-01")
    owner.execute("SET dp.propagate_ddl = off")
    for statement in INDEXES[kind]:
        owner.execute(statement)  # type: ignore[call-overload]
    call(owner, "CALL dp.sync", "event")
    assert call(owner, "SELECT dp.drift", "event") == []
    create_slices(owner, "2025-02-01", "2025-03-01")
    mended, new = (owner.execute(NAMES, [f"event_2025_{month}"]).fetchall() for month in ("01", "02"))
    if kind == "long":  # shortened with a checksum of the whole
        mended, new = ([(name[:40],) for (name,) in each] for each in (mended, new))
    assert mended == new
    assert len(new) == 3 * (1 + len(INDEXES[kind]))


def test_a_lost_template_is_told_of_and_made_anew(db: Database) -> None:
    owner = db.connect()
    declare(owner, key_form="slice", premake=0)
    create_slices(owner, "2025-01-01", "2025-02-01")
    owner.execute("SELECT dp.set_storage('event', '{\"fillfactor\": 70}')")
    owner.execute("SET dp.propagate_ddl = off")
    owner.execute("DROP TABLE event_template")
    owner.execute("SET dp.propagate_ddl = on")
    drift = owner.execute("SELECT relation, aspect, expected, statement FROM dp.drift('event')").fetchall()
    assert drift == [('"public"."event"', "template", "event_template", None)]
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    owner.execute("COMMENT ON TABLE event IS 'told'")
    assert [text for text in told if "has no template" in text] == told != []
    found = owner.execute("SELECT finding FROM dp.check('event') WHERE finding IN ('drift', 'missing template')")
    assert found.fetchall() == [("missing template",)]
    call(owner, "CALL dp.sync", "event")
    assert call(owner, "SELECT dp.drift", "event") == []
    create_slices(owner, "2025-02-01", "2025-03-01")
    options = owner.execute("SELECT reloptions FROM pg_class WHERE relname = 'event_2025_02_h00'").fetchone()
    assert options == (["fillfactor=70"],)
