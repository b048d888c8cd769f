"""What the advisor reads out of query texts and of the conditions that EXPLAIN writes."""

from __future__ import annotations

import pytest
from dialog_partition import errors
from dialog_partition.plan import query_conditions, query_plan, query_text
from dialog_partition.plan.query_conditions import Column, Fact

PARTY, AT = Column("e", "party"), Column("e", "at")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("(e.party = 'x'::text)", {(PARTY, "equal", "constant")}),
        ("((e.party)::text = 'x AND y'::text)", {(PARTY, "equal", "constant")}),
        ("('x'::text = e.party)", {(PARTY, "equal", "constant")}),
        ("(e.party = $1)", {(PARTY, "equal", "run time")}),
        ("(e.party = (InitPlan 1).col1)", {(PARTY, "equal", "run time")}),
        ("(e.party = ANY ('{a,b}'::text[]))", {(PARTY, "array", "constant")}),
        ("(e.party = ANY (ARRAY['a'::text, $1]))", {(PARTY, "array", "run time")}),
        ("(e.party <> ALL ('{a,b}'::text[]))", {(PARTY, "other", "constant")}),
        ("((e.party = 'a'::text) OR (e.party = 'b'::text))", {(PARTY, "array", "constant")}),
        (
            "((e.party = 'a'::text) OR (e.id = 3))",
            {(PARTY, "other", "run time"), (Column("e", "id"), "other", "run time")},
        ),
        ("(e.at >= now())", {(AT, "lower", "run time")}),
        (
            "((e.at >= '2025-01-01 00:00:00+00'::timestamp with time zone) AND (e.at < '2025-02-01'::date))",
            {(AT, "lower", "constant"), (AT, "upper", "constant")},
        ),
        ("('2025-01-01'::date > e.at)", {(AT, "upper", "constant")}),
        ("(date_trunc('month'::text, e.at) = '2025-01-01'::date)", {(AT, "expression", "constant")}),
        ("(lower(e.party) ~~ 'x%'::text)", {(PARTY, "expression", "constant")}),
        ("(e.party ~~ 'x%'::text)", {(PARTY, "other", "constant")}),
        ("(e.party IS NOT NULL)", set()),
        ("(e.party = e.body)", {(PARTY, "other", "constant"), (Column("e", "body"), "other", "constant")}),
        ('("E x"."The ""Party""" = $2)', {(Column("E x", 'The "Party"'), "equal", "run time")}),
        ("(ROW(e.at, e.party) < ROW($1, $2))", {(AT, "expression", "constant"), (PARTY, "expression", "constant")}),
    ],
)
def test_what_a_condition_binds(condition: str, expected: set[tuple[Column, str, str]]) -> None:
    said = query_conditions.facts(condition)
    assert {(fact.column, fact.kind) for fact in said} == {each[:2] for each in expected}
    binding = {each for each in expected if each[1] not in ("other", "expression")}
    assert {tuple(fact[:3]) for fact in said} >= binding


def test_columns_of_two_tables() -> None:
    facts = query_conditions.facts('((a.party)::text = (e.party)::text COLLATE "C")')
    assert [(fact.column, fact.kind, fact.source, fact.other) for fact in facts] == [
        (Column("a", "party"), "equal", "join", PARTY),
        (PARTY, "equal", "join", Column("a", "party")),
    ]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "  -- a comment; with a semicolon\n WITH x AS (SELECT ';') SELECT * FROM x ;\n; ",
        "/* a /* nested; */ comment */ (SELECT 1)",
        "INSERT INTO t VALUES ($1, E'\\';', $tag$ ; $tag$, \"a;b\")",
        "VALUES (1)",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "TABLE t",
    ],
)
def test_one_statement_is_taken(query: str) -> None:
    assert query_text.text(query_text.one_statement(query)).strip() in query


@pytest.mark.parametrize(
    "query",
    [
        "",
        ";",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "SELECT 1; -- a\n DROP TABLE t",
        "SELECT '$$;'; DELETE FROM t --$$",
        "CREATE TABLE t ()",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXECUTE p",
        "ANALYZE",
        '"select" 1',
    ],
)
def test_anything_else_is_refused(query: str) -> None:
    with pytest.raises(errors.InvalidParameter):
        query_text.one_statement(query)


def test_parameters_are_replaced_only_where_they_are_parameters() -> None:
    query = "SELECT $2, '$1', \"$1\", a$1, $$ $1 $$ /* $1 */ FROM t WHERE -- $3\n x = $10"
    found = query_text.one_statement(query)
    assert query_text.highest_parameter(found) == 10
    replaced = query_text.text(found, lambda number: f"p{number}")
    assert replaced == "SELECT (p2), '$1', \"$1\", a$1, $$ $1 $$ /* $1 */ FROM t WHERE -- $3\n x = (p10)"


def test_constants_that_became_parameters_keep_their_types() -> None:
    query = "SELECT date $1, t.interval, $2 FROM t WHERE x > now() - interval /* a */ $3 AND date > $4"
    cast = query_text.text(query_text.with_casts(query_text.one_statement(query)))
    assert cast == "SELECT  $1::date, t.interval, $2 FROM t WHERE x > now() -  /* a */ $3::interval AND date > $4"


def scan(relation: str, alias: str, condition: str) -> dict[str, object]:
    return {"Node Type": "Seq Scan", "Schema": "s", "Relation Name": relation, "Alias": alias, "Filter": condition}


def test_a_plan_is_read_with_the_names_of_the_query() -> None:
    leaves = {("s", f"event_{n}"): query_plan.Leaf(1, 10 + n // 2, n) for n in range(4)}
    root = {
        "Node Type": "Limit",
        "Plans": [
            {
                "Node Type": "Merge Append",
                "Sort Key": ["e.at DESC NULLS LAST"],
                "Subplans Removed": 2,
                "Plans": [scan(f"event_{n}", f"e_{n + 1}", f"(e_{n + 1}.party = 'x'::text)") for n in range(2)],
            }
        ],
    }
    assert query_plan.relations(root) == {("s", "event_0"), ("s", "event_1")}
    plan = query_plan.read(root, leaves, {"event", "e"}, {1: "event"})
    assert [each.alias for each in plan.scans] == ["e", "e"]
    assert {each.facts for each in plan.scans} == {frozenset({Fact(PARTY, "equal")})}
    assert plan.orders[0].columns == (AT,)
    assert plan.removed == 2
    own = query_plan.read(scan("event_0", "e_1", "(e_1.party = $1)"), leaves, {"event", "e_1"}, {1: "event"})
    assert [each.alias for each in own.scans] == ["e_1"], "the query's own alias"
    hidden = query_plan.read(scan("event_0", "e_1", "(e_1.party = $1)"), leaves, {"v"}, {1: "event"})
    assert [each.alias for each in hidden.scans] == ["event"], "the alias is a view's"
    assert {fact.column.alias for fact in hidden.scans[0].facts} == {"event"}


def test_a_table_in_a_view_keeps_its_name_whatever_that_is() -> None:
    for name in ('a "b".c', "event_12", "o'clock"):
        leaves = {("s", "leaf"): query_plan.Leaf(1, 10, 11)}
        plan = query_plan.read(scan("leaf", "t_1", "(t_1.party = $1)"), leaves, {"v"}, {1: name})
        assert [each.alias for each in plan.scans] == [name]
        assert plan.scans[0].facts == {Fact(Column(name, "party"), "equal", "run time")}
