"""Drift of who owns and may use a partition, and of what is said about it."""

from __future__ import annotations

from ..sql import SQL, Identifier, Literal, compose, names
from .difference import HAND, OWNER, Difference, Partition, unequal
from .properties import Grant, Properties, State, comment_statements, grant_statements, grantee_name
from .row_policy import policy_statement, requalified


def differences(partition: Partition, wanted: Properties) -> list[Difference]:
    """Owner, privileges, comments, row security."""
    return [
        *_ownership(partition, wanted),
        *privileges(partition, wanted),
        *_comments(partition, wanted),
        *_row_security(partition, wanted),
    ]


def _ownership(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    if state.owner == wanted.owner:
        return []
    statement = compose("ALTER TABLE {} OWNER TO {}", state.identifier, Identifier(wanted.owner))
    # the owner of the tables may not take a partition from another role: dp.sync does it as its caller, see ownership
    return [Difference(state.identifier, OWNER, "", wanted.owner, state.owner, (statement,), HAND)]


def privileges(partition: Partition, wanted: Properties) -> list[Difference]:
    """Privileges, one difference a grantee: what one has too much or too little is given anew as a whole."""
    state = partition.state
    found = []
    grantees = {grant.grantee for grant in (*state.grants, *wanted.grants)}
    for grantee in sorted(grantees, key=lambda each: each or ""):
        expected = tuple(grant for grant in wanted.grants if grant.grantee == grantee)
        given = tuple(grant for grant in state.grants if grant.grantee == grantee)
        actual = tuple(dict.fromkeys(grant._replace(grantor=None) for grant in given))
        if set(expected) == set(actual):
            continue
        statements: list[SQL] = []
        if set(actual) - set(expected):
            statements += _revoke_all(state.identifier, grantee, given)
        # what others had from somebody who lost it has gone, too
        is_tied = bool(statements) and any(grant.grantor is not None for grant in state.grants)
        statements += grant_statements(wanted.grants if is_tied else expected, state.identifier)
        part = "PUBLIC" if grantee is None else grantee
        found.append(
            Difference(state.identifier, "privileges", part, _told(expected), _told(actual), tuple(statements))
        )
    if set(state.owner_lacks) != set(wanted.owner_lacks):
        found.append(_owner_privileges(state, wanted))
    return found


def _revoke_all(relation: Identifier, grantee: str | None, actual: tuple[Grant, ...]) -> list[SQL]:
    """What a grantee has on the table goes with its privileges on columns, and with what it granted to others."""
    columns = sorted({grant.column for grant in actual if grant.column is not None})
    found = []
    # only who granted a privilege can take it back, and with the owner's CASCADE it goes with the option to grant it
    for role in (*sorted({grant.grantor for grant in actual if grant.grantor is not None}), grantee):
        found.append(compose("REVOKE ALL ON TABLE {} FROM {} CASCADE", relation, grantee_name(role)))
        if columns:
            listed = names(columns)
            found.append(compose("REVOKE ALL ({}) ON TABLE {} FROM {} CASCADE", listed, relation, grantee_name(role)))
    return found


def _told(grants: tuple[Grant, ...]) -> str | None:
    texts = [
        grant.privilege
        + (f" ({grant.column})" if grant.column is not None else "")
        + (" WITH GRANT OPTION" if grant.is_grantable else "")
        for grant in grants
    ]
    return ", ".join(sorted(texts)) or None


def _owner_privileges(state: State, wanted: Properties) -> Difference:
    owner = Identifier(wanted.owner)
    statements = [compose("GRANT ALL ON TABLE {} TO {}", state.identifier, owner)]
    if wanted.owner_lacks:
        lacking = SQL(", ".join(wanted.owner_lacks))
        statements.append(compose("REVOKE {} ON TABLE {} FROM {}", lacking, state.identifier, owner))

    def told(lacks: tuple[str, ...]) -> str:
        return "all but " + ", ".join(lacks) if lacks else "all"

    expected, actual = told(wanted.owner_lacks), told(state.owner_lacks)
    return Difference(state.identifier, "privileges", wanted.owner, expected, actual, tuple(statements))


def _comments(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    found = []
    if state.comment != wanted.comment:
        statement = compose("COMMENT ON TABLE {} IS {}", state.identifier, Literal(wanted.comment))
        found.append(Difference(state.identifier, "comment", "", wanted.comment, state.comment, (statement,)))
    for column, expected, actual in unequal(wanted.column_comments, state.column_comments):
        if expected is None:
            name = Identifier(column)
            statements = [compose("COMMENT ON COLUMN {}.{} IS NULL", state.identifier, name)]
        else:
            statements = comment_statements(None, ((column, expected),), state.identifier)
        found.append(Difference(state.identifier, "comment", column, expected, actual, tuple(statements)))
    return found


def _row_security(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    found = []
    for what, expected, actual, words in (
        ("row security", wanted.row_security, state.row_security, ("DISABLE", "ENABLE")),
        ("forced row security", wanted.force_row_security, state.force_row_security, ("NO FORCE", "FORCE")),
    ):
        if expected != actual:
            statement = compose("ALTER TABLE {} {} ROW LEVEL SECURITY", state.identifier, SQL(words[expected]))
            told = ("off", "on")
            found.append(Difference(state.identifier, what, "", told[expected], told[actual], (statement,)))
    return found + _policies(partition, wanted)


def _policies(partition: Partition, wanted: Properties) -> list[Difference]:
    state = partition.state
    relation = state.identifier
    expected = {policy.name: requalified(policy, wanted.name, relation) for policy in wanted.policies}
    # quoted alike, for PostgreSQL quotes in what it deparses only what needs it
    actual = {policy.name: requalified(policy, state.name, relation) for policy in state.policies}
    found = []
    for name in sorted(expected.keys() | actual.keys()):
        new, old = expected.get(name), actual.get(name)
        if new == old:
            continue
        statements = [compose("DROP POLICY {} ON {}", Identifier(name), relation)] if old is not None else []
        statements += [policy_statement(new, relation)] if new is not None else []
        told = [policy_statement(each, relation).text if each is not None else None for each in (new, old)]
        found.append(Difference(relation, "policy", name, told[0], told[1], tuple(statements)))
    return found
