"""What all managed tables say is not read for a command on another table, and no command slips through by that."""

from __future__ import annotations

import pytest

from tests.server.test_plain_ddl import CHILD, ROOT, attribute, declare, drift, holds, relations
from tests.support.database import Database

OTHER = '"Sch ema".other'
ABOUT_OTHERS = (
    ("ALTER TABLE", "ALTER TABLE public.other ADD COLUMN a int"),
    ("ALTER TABLE", "\n alter  table other drop column a;\n"),
    ("COMMENT", "COMMENT ON COLUMN other.a IS 'of another'"),
    ("CREATE POLICY", "CREATE POLICY p ON other USING (true)"),
)
PERHAPS_NOT = (
    ("ALTER TABLE", f"ALTER TABLE {CHILD} ADD COLUMN a int"),
    ("ALTER TABLE", 'ALTER TABLE "Sch ema".ITEM ADD COLUMN a int'),
    ("ALTER TABLE", f"ALTER TABLE {ROOT} ADD COLUMN a int"),
    ("ALTER TABLE", 'ALTER TABLE U&"ite\\006d" ADD COLUMN a int'),
    ("ALTER TABLE", "ALTER TABLE other DROP COLUMN a CASCADE"),
    ("ALTER TABLE", "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b"),
    ("ALTER TABLE", "ALTER TABLE other ADD COLUMN a int; SELECT change()"),
    ("ALTER TABLE", "SELECT change()"),
    ("ALTER TABLE", "DO $$ BEGIN PERFORM change(); END $$"),
    ("GRANT", "GRANT SELECT ON other TO reader"),
    ("ALTER TABLE", None),
)


@pytest.mark.parametrize(("command", "text"), [*ABOUT_OTHERS, *PERHAPS_NOT])
def test_a_command_is_judged_by_its_text(db: Database, command: str, text: str | None) -> None:
    declare(db)
    found = db.value("SELECT dp._names_others(%s, %s)", command, text)
    assert found is ((command, text) in ABOUT_OTHERS)


@pytest.mark.parametrize(
    "text", [f"ALTER TABLE {CHILD} ADD more int", 'ALTER TABLE "Sch ema".U&"ite\\006d" ADD more int']
)
def test_however_the_table_is_written_the_column_reaches_the_template(db: Database, text: str) -> None:
    owner = declare(db)
    owner.execute(text)  # type: ignore[call-overload]
    assert holds(owner, attribute("attnum > 0", "more"), relations(owner, CHILD)["template"])
    assert drift(owner) == []


def test_a_policy_that_goes_with_a_column_of_another_table_goes_everywhere(db: Database) -> None:
    owner = declare(db)
    owner.execute(f"CREATE TABLE {OTHER} (a text)")  # type: ignore[call-overload]
    owner.execute(f"CREATE POLICY seen ON {ROOT} USING (party IN (SELECT a FROM {OTHER}))")  # type: ignore[call-overload]
    policies = "SELECT count(*) > 0 FROM pg_policy WHERE polrelid = {r}"
    found = relations(owner)
    assert holds(owner, policies, found["leaf"])
    owner.execute(f"ALTER TABLE {OTHER} DROP COLUMN a CASCADE")  # type: ignore[call-overload]
    assert [place for place in found if holds(owner, policies, found[place])] == []
    assert drift(owner) == []


@pytest.mark.parametrize("name", ["a_follower", "z_follower"])
def test_what_somebodys_event_trigger_adds_to_a_command_on_another_table_is_carried(db: Database, name: str) -> None:
    """Event triggers fire in the order of their names: one before ours, and one behind."""
    owner = declare(db)
    owner.execute(f"CREATE TABLE {OTHER} (a int)")  # type: ignore[call-overload]
    db.connect("postgres").execute(
        "CREATE FUNCTION public.follow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{CHILD}'::regclass AND attname = 'more') THEN"
        f"  ALTER TABLE {CHILD} ADD COLUMN more int; COMMENT ON TABLE {CHILD} IS 'told'; END IF; END $$;"
        f"CREATE EVENT TRIGGER {name} ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION follow()"
    )
    owner.execute(f"ALTER TABLE {OTHER} ADD COLUMN b int")  # type: ignore[call-overload]
    found = relations(owner, CHILD)
    assert holds(owner, attribute("attnum > 0", "more"), found["template"])
    assert holds(owner, "SELECT obj_description({r}, 'pg_class') = 'told'", found["leaf"])
    assert drift(owner) == []


def test_a_partition_that_is_changed_alone_is_still_told(db: Database) -> None:
    owner = declare(db)
    leaf = relations(owner, CHILD)["leaf"]
    owner.execute(f'ALTER TABLE {leaf} RENAME TO "another name"')  # type: ignore[call-overload]
    told: list[str] = []
    owner.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    owner.execute('ALTER TABLE "Sch ema"."another name" SET (fillfactor = 50)')
    assert told == ['"Sch ema"."another name" was changed alone']
