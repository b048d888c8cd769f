"""What a leaf must have that PostgreSQL does not pass on from the parent, and the statements that give it.

The parent is the source of what it can hold itself: privileges, row security, comments, statistics objects, replica
identity. The template is the source of the rest: storage parameters, column statistics targets and options, leaf-only
indexes, statistics objects that only leaves shall have, UNLOGGED. doc/templates.md has the table.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose


class Grant(NamedTuple):
    """One privilege of one grantee (None: PUBLIC) on the table or on a column."""

    grantee: str | None
    privilege: str
    column: str | None
    is_grantable: bool


class RowPolicy(NamedTuple):
    """A row security policy."""

    name: str
    is_permissive: bool
    command: str  # ALL, SELECT, INSERT, UPDATE, DELETE
    roles: tuple[str, ...]  # empty: PUBLIC
    using: str | None
    check: str | None


class StatisticsObject(NamedTuple):
    """Extended statistics: what follows its name up to FROM, and its target."""

    name: str
    definition: str  # "(ndistinct, mcv) ON a, b"
    target: int | None


class LeafIndex(NamedTuple):
    """An index that only leaves have: its text behind the table's name."""

    name: str
    is_unique: bool
    definition: str  # "USING btree (a) WHERE ..."


class Properties(NamedTuple):
    """All of it, for one managed table."""

    name: str
    access_method: str | None
    tablespace: str | None
    is_unlogged: bool
    options: tuple[tuple[str, str], ...]  # storage parameters, "toast." ones too
    column_targets: tuple[tuple[str, int], ...]
    column_options: tuple[tuple[str, str], ...]  # column, "n_distinct=-0.5"
    replica_identity: str  # d n f i
    replica_index: str | None  # the parent's index that serves as replica identity
    comment: str | None
    column_comments: tuple[tuple[str, str], ...]
    row_security: bool
    force_row_security: bool
    owner: str
    policies: tuple[RowPolicy, ...]
    default_grantees: tuple[str | None, ...]  # who gets privileges on new tables by ALTER DEFAULT PRIVILEGES
    grants: tuple[Grant, ...]
    owner_lacks: tuple[str, ...]  # privileges that the owner took from itself
    statistics: tuple[StatisticsObject, ...]
    leaf_indexes: tuple[LeafIndex, ...]
    renamed_indexes: bool  # PostgreSQL's own index names would not be predictable


def grantee_name(grantee: str | None) -> Composable:
    """A role, or PUBLIC."""
    return SQL("PUBLIC") if grantee is None else Identifier(grantee)


def storage_clause(options: tuple[tuple[str, str], ...]) -> Composable:
    """``fillfactor = '90', toast.autovacuum_enabled = 'false'``."""
    parts = [
        compose("{} = {}", SQL(".".join(Identifier(part).text for part in name.split("."))), Literal(value))
        for name, value in options
    ]
    return comma_list(parts)


def relation_statements(properties: Properties, relation: Identifier) -> list[SQL]:
    """What every new slice and leaf needs."""
    found: list[SQL] = []
    for grantee in properties.default_grantees:
        found.append(compose("REVOKE ALL ON TABLE {} FROM {}", relation, grantee_name(grantee)))
    found += grant_statements(properties.grants, relation)
    if properties.owner_lacks:
        lacking = SQL(", ".join(properties.owner_lacks))
        found.append(compose("REVOKE {} ON TABLE {} FROM {}", lacking, relation, Identifier(properties.owner)))
    found += comment_statements(properties.comment, properties.column_comments, relation)
    if properties.row_security:
        found.append(compose("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", relation))
    if properties.force_row_security:
        found.append(compose("ALTER TABLE {} FORCE ROW LEVEL SECURITY", relation))
    found += [
        policy_statement(requalified(policy, properties.name, relation), relation) for policy in properties.policies
    ]
    return found


def leaf_statements(properties: Properties, schema: str, leaf: str) -> list[SQL]:
    """What every new leaf needs besides, in the order in which it can be given."""
    relation = Identifier(schema, leaf)
    found: list[SQL] = []
    if properties.options:
        found.append(compose("ALTER TABLE {} SET ({})", relation, storage_clause(properties.options)))
    found += column_statements(properties, relation)
    for each in properties.statistics:
        statistics = Identifier(schema, naming.unique_derived_name(leaf, each.name))
        found.append(compose("CREATE STATISTICS {} {} FROM {}", statistics, SQL(each.definition), relation))
        if each.target is not None:
            found.append(compose("ALTER STATISTICS {} SET STATISTICS {}", statistics, Literal(each.target)))
    for index in properties.leaf_indexes:
        unique = SQL("UNIQUE " if index.is_unique else "")
        index_name = Identifier(naming.unique_derived_name(leaf, index.name))
        found.append(compose("CREATE {}INDEX {} ON {} {}", unique, index_name, relation, SQL(index.definition)))
    return found


def column_statements(properties: Properties, relation: Identifier) -> list[SQL]:
    """Statistics targets and options of columns: ANALYZE of the parent goes by the parent's own."""
    found = [
        compose("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS {}", relation, Identifier(column), Literal(target))
        for column, target in properties.column_targets
    ]
    for column, option in properties.column_options:
        name, _, value = option.partition("=")
        found.append(
            compose(
                "ALTER TABLE {} ALTER COLUMN {} SET ({} = {})", relation, Identifier(column), SQL(name), Literal(value)
            )
        )
    return found


def replica_identity_statement(properties: Properties, relation: Identifier) -> SQL | None:
    """The replica identity; by index it goes through a helper that finds the leaf's own index."""
    kind = {"f": "FULL", "n": "NOTHING"}.get(properties.replica_identity)
    if kind:
        return compose("ALTER TABLE {} REPLICA IDENTITY {}", relation, SQL(kind))
    if properties.replica_index in {index.name for index in properties.leaf_indexes}:
        own = Identifier(naming.unique_derived_name(relation.name, str(properties.replica_index)))
        return compose("ALTER TABLE {} REPLICA IDENTITY USING INDEX {}", relation, own)
    if properties.replica_identity == "i" and properties.replica_index:
        return compose(
            "SELECT dp._set_replica_identity({}, {})", Literal(relation.text), Literal(properties.replica_index)
        )
    return None


def grant_statements(grants: tuple[Grant, ...], relation: Identifier) -> list[SQL]:
    """GRANTs; privileges of one grantee in one statement."""
    grouped: dict[tuple[str | None, bool], list[str]] = {}
    for each in grants:
        text = each.privilege if each.column is None else f"{each.privilege} ({Identifier(each.column).text})"
        grouped.setdefault((each.grantee, each.is_grantable), []).append(text)
    return [
        compose(
            "GRANT {} ON TABLE {} TO {}{}",
            SQL(", ".join(privileges)),
            relation,
            grantee_name(grantee),
            SQL(" WITH GRANT OPTION" if grantable else ""),
        )
        for (grantee, grantable), privileges in grouped.items()
    ]


def comment_statements(
    comment: str | None, column_comments: tuple[tuple[str, str], ...], relation: Identifier
) -> list[SQL]:
    """COMMENTs on a table and its columns."""
    found = []
    if comment is not None:
        found.append(compose("COMMENT ON TABLE {} IS {}", relation, Literal(comment)))
    for column, text in column_comments:
        found.append(compose("COMMENT ON COLUMN {}.{} IS {}", relation, Identifier(column), Literal(text)))
    return found


def requalified(policy: RowPolicy, table: str, relation: Identifier) -> RowPolicy:
    """A policy of a table for its partition: a subquery in it names the table when it means the row's columns."""

    def changed(expression: str | None) -> str | None:
        return replace_qualifier(expression, table, relation.name) if expression is not None else None

    return policy._replace(using=changed(policy.using), check=changed(policy.check))


def replace_qualifier(expression: str, old: str, new: str) -> str:
    """``old.column`` as ``new.column``; not in constants, other names, or behind a schema."""
    found = ""
    position = 0
    while position < len(expression):
        end = _token_end(expression, position)
        token = expression[position:end]
        name = token[1:-1].replace('""', '"') if token.startswith('"') else token
        is_qualifier = expression[end : end + 1] == "." and expression[position - 1 : position] != "."
        is_word = token.startswith('"') or token[0].isalpha() or token[0] == "_"
        found += Identifier(new).text if name == old and is_word and is_qualifier else token
        position = end
    return found


def _token_end(text: str, start: int) -> int:
    """Where a quoted name, a constant, a word or a single character ends, in what PostgreSQL deparsed."""
    quote = text[start]
    end = start + 1
    if quote in "\"'":
        escapes = quote == "'" and text[start - 1 : start] == "E"
        while text[end : end + 1] != quote or text[end + 1 : end + 2] == quote:
            end += 2 if text[end : end + 1] == quote or (escapes and text[end : end + 1] == "\\") else 1
        return end + 1
    while quote.isalnum() or quote == "_":
        if end == len(text) or not (text[end].isalnum() or text[end] in "_$"):
            break
        end += 1
    return end


def policy_statement(policy: RowPolicy, relation: Identifier) -> SQL:
    """CREATE POLICY."""
    roles = comma_list([Identifier(role) for role in policy.roles]) if policy.roles else SQL("PUBLIC")
    return compose(
        "CREATE POLICY {name} ON {relation} AS {kind} FOR {command} TO {roles}{using}{check}",
        name=Identifier(policy.name),
        relation=relation,
        kind=SQL("PERMISSIVE" if policy.is_permissive else "RESTRICTIVE"),
        command=SQL(policy.command),
        roles=roles,
        using=compose(" USING ({})", SQL(policy.using)) if policy.using is not None else SQL(""),
        check=compose(" WITH CHECK ({})", SQL(policy.check)) if policy.check is not None else SQL(""),
    )
