"""What a leaf must have that PostgreSQL does not pass on from the parent, and the statements that give it.

The parent is the source of what it can hold itself: privileges, row security, comments, statistics objects, replica
identity. The template is the source of the rest: storage parameters, column statistics targets and options, leaf-only
indexes, statistics objects that only leaves shall have, UNLOGGED. doc/templates.md has the table.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..sql import SQL, Composable, Identifier, Literal, comma_list, compose
from .index_statement import create_index_statement
from .row_policy import RowPolicy, policy_statement, requalified

CLUSTER_ON = "CLUSTER ON"
EXCLUSIVE_PARAMETERS = frozenset({"user_catalog_table"})  # to set them locks out readers, too


class Grant(NamedTuple):
    """One privilege of one grantee (None: PUBLIC) on the table or on a column."""

    grantee: str | None
    privilege: str
    column: str | None
    is_grantable: bool
    grantor: str | None = None  # where that is not the table's owner


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
    is_valid: bool = True

    @property
    def kind(self) -> tuple[bool, str]:
        """What makes it the same as another one."""
        return (self.is_unique, self.definition)


class State(NamedTuple):
    """What the catalog says of one relation: a table, a template, a slice or a leaf."""

    schema: str
    name: str
    owner: str
    owner_lacks: tuple[str, ...]  # privileges that the owner took from itself
    is_unlogged: bool
    options: tuple[tuple[str, str], ...]  # storage parameters, "toast." ones too
    replica_identity: str  # d n f i
    replica_index: str | None  # the index that serves as replica identity; of a partition's the parent's
    cluster_index: str | None  # the index that its rows are ordered by; of a partition's the parent's
    row_security: bool
    force_row_security: bool
    comment: str | None
    access_method: str | None
    tablespace: str | None
    column_targets: tuple[tuple[str, int], ...]
    column_options: tuple[tuple[str, str], ...]  # column, "n_distinct=-0.5"
    column_comments: tuple[tuple[str, str], ...]
    grants: tuple[Grant, ...]
    policies: tuple[RowPolicy, ...]
    statistics: tuple[StatisticsObject, ...]
    indexes: tuple[LeafIndex, ...]  # its own: neither partitioned nor part of one

    @property
    def identifier(self) -> Identifier:
        """Its qualified name."""
        return Identifier(self.schema, self.name)


class Properties(NamedTuple):
    """What every new slice and leaf of one managed table shall have."""

    name: str
    access_method: str | None
    tablespace: str | None
    is_unlogged: bool
    options: tuple[tuple[str, str], ...]
    column_targets: tuple[tuple[str, int], ...]
    column_options: tuple[tuple[str, str], ...]
    replica_identity: str
    replica_index: str | None  # the parent's index, or the template's, that serves as replica identity
    cluster_index: str | None  # the parent's index that leaves are ordered by, where one was chosen
    comment: str | None
    column_comments: tuple[tuple[str, str], ...]
    row_security: bool
    force_row_security: bool
    owner: str
    policies: tuple[RowPolicy, ...]
    default_grantees: tuple[str | None, ...]  # who gets privileges on new tables by ALTER DEFAULT PRIVILEGES
    grants: tuple[Grant, ...]
    owner_lacks: tuple[str, ...]
    statistics: tuple[StatisticsObject, ...]
    leaf_indexes: tuple[LeafIndex, ...]
    renamed_indexes: bool  # PostgreSQL's own index names would not be predictable


def wanted(
    parent: State,
    template: State | None,
    cluster_index: str | None,
    default_grantees: tuple[str | None, ...],
    renamed_indexes: bool,
) -> Properties:
    """Which of its properties come from the parent and which from the template: the one place that says so."""
    model = template or parent
    identity = parent if parent.replica_identity != "d" else model
    statistics = parent.statistics + (template.statistics if template is not None else ())
    return Properties(
        parent.name,
        parent.access_method,
        parent.tablespace,
        model.is_unlogged,
        model.options,
        model.column_targets,
        model.column_options,
        identity.replica_identity,
        identity.replica_index,
        cluster_index,
        parent.comment,
        parent.column_comments,
        parent.row_security,
        parent.force_row_security,
        parent.owner,
        parent.policies,
        default_grantees,
        tuple(dict.fromkeys(grant._replace(grantor=None) for grant in parent.grants)),
        parent.owner_lacks,
        tuple(sorted(statistics, key=lambda each: each.name)),
        template.indexes if template is not None else (),
        renamed_indexes,
    )


def grantee_name(grantee: str | None) -> Composable:
    """A role, or PUBLIC."""
    return SQL("PUBLIC") if grantee is None else Identifier(grantee)


def storage_clause(options: tuple[tuple[str, str], ...]) -> Composable:
    """``fillfactor = '90', toast.autovacuum_enabled = 'false'``."""
    return comma_list([compose("{} = {}", option_name(name), Literal(value)) for name, value in options])


def option_name(name: str) -> SQL:
    """A storage parameter's name, ``toast.autovacuum_enabled`` among them."""
    return SQL(".".join(Identifier(part).text for part in name.split(".")))


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
        index_name = Identifier(naming.unique_derived_name(leaf, index.name))
        found.append(create_index_statement(relation, index_name, SQL(index.definition), is_unique=index.is_unique))
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
        return use_index(relation, properties.replica_index, "REPLICA IDENTITY USING INDEX")
    return None


def cluster_mark_statement(properties: Properties, relation: Identifier) -> SQL | None:
    """The mark of the index that a leaf is ordered by, where one was chosen."""
    if properties.cluster_index is None:
        return None
    return use_index(relation, properties.cluster_index, CLUSTER_ON)


def use_index(relation: Identifier, parent_index: str, purpose: str) -> SQL:
    """ALTER TABLE leaf ... its own copy of an index of its parent."""
    arguments = (Literal(relation.text), Literal(parent_index), Literal(purpose))
    return compose("SELECT dp._use_index({}, {}, {})", *arguments)


def grant_statements(grants: tuple[Grant, ...], relation: Identifier) -> list[SQL]:
    """GRANTs: privileges of one grantee on the table, or on a column, in one statement, in the order they are given."""
    grouped: dict[tuple[str | None, str | None, bool], list[str]] = {}
    for each in grants:
        text = each.privilege if each.column is None else f"{each.privilege} ({Identifier(each.column).text})"
        grouped.setdefault((each.column, each.grantee, each.is_grantable), []).append(text)
    return [
        compose(
            "GRANT {} ON TABLE {} TO {}{}",
            SQL(", ".join(privileges)),
            relation,
            grantee_name(grantee),
            SQL(" WITH GRANT OPTION" if grantable else ""),
        )
        for (_, grantee, grantable), privileges in grouped.items()
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
