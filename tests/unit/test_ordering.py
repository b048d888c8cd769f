"""The methods of ordering: what each needs, and what it runs; no server is asked."""

from __future__ import annotations

import pytest
from dialog_partition.plan import ordering as plan
from dialog_partition.plan.ordering import METHODS, Facts
from dialog_partition.plan.physical_order import Leaf, OrderIndex
from dialog_partition.sql import Identifier

READY = Facts(
    version=180006,
    wal_level="logical",
    free_slots=3,
    repack_slots=0,
    output_plugins=("pgoutput", "pg_squeeze"),
    has_squeeze=True,
    is_squeeze_loaded=True,
    has_pg_repack=True,
    missing_grants=(),
    database="it's",
)
NINETEEN = READY._replace(version=190000, wal_level="replica", repack_slots=5)
LEAF = Leaf(7, "s", "Leaf", "i'x", 9, 9 * 8192, 5, True, True, True, None, None, False)
INDEX = OrderIndex(8, "s", "Order", ("party", "At"), ("ASC NULLS LAST", "DESC NULLS FIRST"), 0, True)


def names(method: str, facts: Facts) -> list[str]:
    return [lack.what for lack in METHODS[method].lacks(facts)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"is_squeeze_loaded": False}, "shared_preload_libraries does not have pg_squeeze"),
        ({"wal_level": "replica"}, "wal_level is replica, not logical"),
        ({"output_plugins": ("pgoutput",)}, "output_plugin_libraries does not allow pg_squeeze"),
        ({"free_slots": 0}, "no replication slot is free"),
        ({"has_squeeze": False}, "extension pg_squeeze is not installed in this database"),
        ({"missing_grants": ("GRANT x;",)}, "the owner of the tables may not use pg_squeeze"),
    ],
)
def test_each_thing_that_pg_squeeze_needs_is_named(change: dict[str, object], told: str) -> None:
    assert names(plan.SQUEEZE, READY) == []
    assert names(plan.SQUEEZE, READY._replace(**change)) == [told]  # type: ignore[arg-type]


def test_a_caller_who_may_not_see_which_libraries_are_allowed_tries() -> None:
    assert names(plan.SQUEEZE, READY._replace(output_plugins=None)) == []


def test_repack_comes_with_postgresql_19() -> None:
    assert names(plan.REPACK, READY) == ["the server is older than PostgreSQL 19"]
    assert names(plan.REPACK, NINETEEN) == []
    assert names(plan.REPACK, NINETEEN._replace(wal_level="minimal")) == ["wal_level is minimal"]
    assert names(plan.REPACK, NINETEEN._replace(repack_slots=0)) == ["max_repack_replication_slots is 0"]
    statement = METHODS[plan.REPACK].statement(LEAF, INDEX, NINETEEN).text
    assert statement == 'REPACK (CONCURRENTLY) "s"."Leaf" USING INDEX "i\'x"'


def test_from_19_on_logical_decoding_needs_no_wal_level_of_its_own() -> None:
    assert names(plan.SQUEEZE, NINETEEN) == []


def test_an_online_method_is_chosen_where_it_has_what_it_needs() -> None:
    assert plan.automatic(READY, has_session=True).name == plan.SQUEEZE
    assert plan.automatic(READY, has_session=False).name == plan.CLUSTER
    assert plan.automatic(READY._replace(free_slots=0), has_session=True).name == plan.CLUSTER
    assert plan.automatic(NINETEEN._replace(has_squeeze=False), has_session=True).name == plan.CLUSTER, "not tried yet"


@pytest.mark.parametrize("method", [plan.SQUEEZE, plan.REPACK])
def test_leaves_whose_changes_cannot_be_followed(method: str) -> None:
    way = METHODS[method]
    assert plan.obstacle(way, LEAF) is None
    assert "primary key" in str(plan.obstacle(way, LEAF._replace(has_identity=False)))
    assert "UNLOGGED" in str(plan.obstacle(way, LEAF._replace(is_logged=False)))
    assert plan.obstacle(METHODS[plan.CLUSTER], LEAF._replace(has_identity=False, is_logged=False)) is None


def test_what_each_method_runs() -> None:
    root = Identifier("s", "Root")
    online = plan.order_steps(METHODS[plan.SQUEEZE], LEAF, INDEX, root, READY)
    assert online[0].text == "SELECT squeeze.squeeze_table('s', 'Leaf', 'i''x', NULL, NULL)"
    assert [step.in_transaction for step in online] == [False, True]
    (blocking,) = plan.order_steps(METHODS[plan.CLUSTER], LEAF, INDEX, root, READY)
    assert blocking.operations[0].statement.text == 'CLUSTER "s"."Leaf" USING "i\'x"'
    assert blocking.in_transaction


def test_the_commands_of_pg_repack_are_safe_in_a_shell_and_end_nobodys_session() -> None:
    first, second = plan.outside_step(LEAF, INDEX, READY, vacuum=True).operations
    assert first.statement.text == (
        "pg_repack --no-kill-backend --wait-timeout=60 --dbname='it'\\''s' --table='\"s\".\"Leaf\"'"
        ' --order-by=\'"party" ASC NULLS LAST, "At" DESC NULLS FIRST\''
    )
    assert second.statement.text == "vacuumdb --quiet --dbname='it'\\''s' --table='\"s\".\"Leaf\"'"
