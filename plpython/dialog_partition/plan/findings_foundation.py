"""What a hierarchy rests on, and has lost: judged by the answer of dp._ddl_state, which knows what there is."""

from __future__ import annotations

from .. import keys, naming
from ..model import SLICE, ForeignKey, Hierarchy, Table
from ..sql import SQL, Identifier, Literal, compose, names
from . import slices
from .declare import slice_key_trigger
from .finding import ERROR, WARNING, Facts, Finding
from .findings_global import rebuild
from .keeping import EVENTS, row_trigger_name, trigger_name
from .structure import add_constraint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import GlobalIndex


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """What is gone of keys, foreign keys and global indexes; nothing of tables that the caller may not act for."""
    found = [_other_owner(hierarchy, table) for table in hierarchy.tables if table.owner != hierarchy.root.owner]
    seen = [table for table in hierarchy.tables if _has(facts, table, "owner")]
    for table in seen:
        found += _keys(hierarchy, facts, table)
        found += _links(hierarchy, facts, table)
        for index in table.global_indexes:
            found += _global_index(facts, table, index)
    found += _apart(hierarchy, facts)
    if hierarchy.policy.key_form == SLICE and hierarchy.root in seen:
        found += _slice_key(hierarchy, facts)
        found += _slices(hierarchy, facts)
    return found


def _has(facts: Facts, table: Table, aspect: str, part: str = "") -> bool:
    return f"{table.oid}: {aspect}: {part}" in facts.foundation


def _other_owner(hierarchy: Hierarchy, table: Table) -> Finding:
    owner = hierarchy.root.owner
    text = f"The table belongs to {table.owner}, the root to {owner}: calls that change both need the rights of both."
    statement = compose("ALTER TABLE {} OWNER TO {}", table.identifier, Identifier(owner))
    return Finding(WARNING, "table of another owner", table.identifier.text, text, statement.text)


def _keys(hierarchy: Hierarchy, facts: Facts, table: Table) -> list[Finding]:
    columns = list(hierarchy.policy.partition_keys)
    if table.oid == hierarchy.root.oid and hierarchy.policy.range_key not in columns:
        columns.append(hierarchy.policy.range_key)
    found = []
    for column in columns:
        if not _has(facts, table, "NOT NULL of a key", column):
            text = f'Key column "{column}" accepts NULL: such a row has no place, and is no row of its parent.'
            statement = compose("SELECT dp.set_not_null({}, {})", Literal(table.identifier.text), Literal(column))
            found.append(Finding(ERROR, "nullable key", table.identifier.text, text, statement.text))
    return found


def _links(hierarchy: Hierarchy, facts: Facts, table: Table) -> list[Finding]:
    found = []
    for key in hierarchy.foreign_keys:
        if key.child == table.oid and not _has(facts, table, "index of foreign key", key.name):
            text = f'No index begins with "{key.columns[0]}": each change of a parent reads all of the table'
            text += f' for foreign key "{key.name}".'
            statement = _index_call(table, key)
            found.append(Finding(WARNING, "foreign key without an index", table.identifier.text, text, statement.text))
    return found


def _apart(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Foreign keys to global indexes: a row that goes is looked for by nothing else than their columns."""
    found = []
    for key in hierarchy.apart:
        if (key.child, key.name) in facts.unindexed_keys:
            table, parent = hierarchy.table(key.child), hierarchy.table(key.parent).identifier
            text = f'No index begins with "{key.columns[0]}": each row of {parent} that goes reads all of the table'
            text += f' for foreign key "{key.name}".'
            statement = _index_call(table, key)
            found.append(Finding(WARNING, "foreign key without an index", table.identifier.text, text, statement.text))
    return found


def _index_call(table: Table, key: ForeignKey) -> SQL:
    return compose(
        "SELECT dp.create_index({}, {}, {})",
        Literal(table.identifier.text),
        Literal(naming.derived_name(key.name, "idx")),
        Literal(f"({names(key.columns)})"),
    )


def _slice_key(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Default, CHECK and trigger of the slice key, as dp.create_hierarchy made them."""
    root, policy = hierarchy.root, hierarchy.policy
    if policy.slice_key is None or policy.bucket is None:
        return []
    slice_key, zone, table = policy.slice_key, policy.time_zone, root.identifier
    lost: list[tuple[str, str, str]] = []
    if keys.is_calendar(hierarchy.range_type) and not _has(facts, root, "default of the slice key", slice_key):
        value = keys.bucket_expression(SQL("now()"), "timestamp with time zone", policy.bucket, zone)
        statement = compose("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}", table, Identifier(slice_key), value)
        lost.append(("default", "rows that do not name it are refused", statement.text))
    if not _has(facts, root, "CHECK of the slice key"):
        value = keys.bucket_expression(Identifier(policy.range_key), hierarchy.range_type, policy.bucket, zone)
        check = compose("CHECK ({} = {})", Identifier(slice_key), value)
        statement = add_constraint(table, naming.derived_name(root.name, "slice_key_check"), check)
        lost.append(("CHECK", "rows are stored in slices where nobody looks for them", statement.text))
    if not _has(facts, root, "trigger of the slice key"):
        trigger = slice_key_trigger(
            root.schema, root.name, (slice_key, policy.range_key), hierarchy.range_type, policy.bucket, zone
        )
        lost.append(
            ("trigger", "a row whose range key changes does not move", ";\n".join(each.text for each in trigger))
        )
    return [
        Finding(
            ERROR, "slice key not kept", table.text, f'The {what} of "{slice_key}" is gone or off: {why}.', statement
        )
        for what, why, statement in lost
    ]


def _slices(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Slices without the CHECK by which a condition on the range key prunes."""
    found = []
    unchecked = dict(facts.unchecked)
    for each in hierarchy.range_slices(hierarchy.root):
        spec = unchecked.get(each.oid)
        if spec is None:
            continue
        check = slices.range_check(hierarchy, hierarchy.root, spec, each.name).text
        text = f'The CHECK of "{hierarchy.policy.range_key}" is gone: a condition on that column alone reads the slice.'
        statement = compose("ALTER TABLE {} ADD {}", each.identifier, SQL(check.removeprefix(", ")))
        found.append(Finding(WARNING, "slice without its CHECK", each.identifier.text, text, statement.text))
    return found


def _global_index(facts: Facts, table: Table, index: GlobalIndex) -> list[Finding]:
    side = index.identifier.text
    wanted = [row_trigger_name(index), *(trigger_name(index, event) for event in EVENTS)]
    lost = [f'trigger "{name}"' for name in wanted if not _has(facts, table, "trigger of a global index", name)]
    if not _has(facts, table, "unique rule of a global index", str(index.oid)):
        lost.append("its key")
    if not lost:
        return []
    text = (
        f"Gone or off: {', '.join(lost)}. What is written to {table.identifier} does not reach it, or not as it should."
    )
    return [Finding(ERROR, "global index not kept", side, text, rebuild(table, index))]
