"""What a conversion comes to, as a DBA reads it: a row a finding, with its severity and the statement."""

from __future__ import annotations

from .. import errors
from ..sql import SQL, Identifier, Literal, compose, names
from . import (
    conversion_carried,
    conversion_figures,
    conversion_form,
    conversion_layout,
    conversion_obstacles,
    conversion_rules,
)
from .conversion import (
    CHILD,
    KEEP,
    OUTSIDE,
    REFERENCE,
    ROOT,
    Conversion,
    Figures,
    Member,
    key_columns,
    root_columns,
)
from .conversion_finding import ERROR, NOTICE, WARNING, Finding


def findings(conversion: Conversion, left: list[tuple[str, str]], lock_budget: int) -> list[Finding]:
    """All findings: the root and its layout, the tables in the order of their copying, what stands beside them."""
    found = _layout(conversion, lock_budget)
    for member in conversion.members:
        found += _member(conversion, member)
    for name, is_own in conversion.references:
        detail = "Rows of the hierarchy refer to it. It stays as it is"
        detail += ", and is registered as a reference." if is_own else "; its owner is another role."
        register = compose("SELECT dp.register_reference({}::regclass)", Literal(name.text))
        found.append(Finding(name.text, REFERENCE, NOTICE, "reference", detail, register.text))
    for name_text, why in left:
        detail = f"{why} It refers to the hierarchy by its primary key alone and cannot be converted along."
        found.append(Finding(name_text, OUTSIDE, ERROR, "cannot belong", detail, None))
    for key in conversion.outside:
        found.append(conversion_rules.outside(conversion, key))
    root = conversion.root.identifier.text
    for each in conversion.dependents:
        way = "is dropped and made again" if each.drop is not None else "is replaced"
        detail = f"The {each.name} {way} when the tables change places, and means the new ones."
        found.append(Finding(root, ROOT, NOTICE, "dependent object", detail, ";\n".join(each.create)))
    for name_text, why in conversion.blocked:
        found.append(Finding(root, ROOT, ERROR, "dependent object", f"{name_text} must be made again. {why}", None))
    return found


def refuse(found: list[Finding]) -> None:
    """Refuse to convert while there are errors."""
    wrong = [each for each in found if each.severity == ERROR]
    if wrong:
        told = "\n".join(f"{each.tbl}: {each.finding}. {each.detail}" for each in wrong[:10])
        raise errors.NotInPrerequisiteState(
            f"{wrong[0].tbl} cannot be converted: {wrong[0].finding}",
            told,
            "See SELECT * FROM dp.plan_conversion(...) with the same parameters; nothing was changed.",
        )


def _layout(conversion: Conversion, lock_budget: int) -> list[Finding]:
    root, settings = conversion.root, conversion.settings
    name = root.identifier.text
    found = []
    partitions = settings.hash_partitions
    for each in conversion.ranges:
        leaves_each = f" with {partitions} leaves each" if partitions else ""
        detail = (
            f"From {each.lower} to {each.upper} slices of {each.width}{leaves_each}: {each.rows} rows of the root lie"
            " there."
        )
        call = compose(
            "CALL dp.create_slices({}::regclass, {}, {}, {})",
            *(Literal(text) for text in (name, each.lower, each.upper, each.width)),
        )
        found.append(Finding(name, ROOT, NOTICE, "slices", detail, call.text))
    slices = conversion_layout.slices(list(conversion.ranges))
    leaves = slices * max(partitions, 1) * len(conversion.members)
    detail = f"{slices} slices in {len(conversion.members)} tables are {leaves} leaves."
    found.append(Finding(name, ROOT, NOTICE, "leaves", detail, None))
    if not conversion_layout.fits(list(conversion.ranges), partitions, lock_budget):
        needed = conversion_layout.needed(list(conversion.ranges), partitions)
        detail = (
            f"A foreign key between two tables takes about {needed} locks in one transaction, more than the"
            f" {lock_budget} that max_locks_per_transaction allows. Raise it {-(-needed // lock_budget)} times."
            f" {conversion_layout.fitting(list(conversion.ranges), partitions, lock_budget, settings.premake)}"
        )
        found.append(Finding(name, ROOT, ERROR, "too many leaves", detail, None))
    return [_key_form(conversion), *found]


def _key_form(conversion: Conversion) -> Finding:
    """Which key form suits these rows, with figures."""
    root = conversion.root
    rows = conversion.figures.get(root.oid, Figures()).rows
    below = sum(conversion.figures.get(each.oid, Figures()).rows for each in conversion.members[1:])
    average = f"{below / rows:.1f}" if rows else "0"
    largest, name = max(
        (conversion.figures.get(each.oid, Figures()).largest, each.structure.name) for each in conversion.members
    )
    most = f", the one that has most {largest} in {names((name,))} alone" if largest else ""
    settings = conversion.settings
    key = settings.range_column.name
    bucket = f" of {settings.bucket}" if settings.bucket is not None else ""
    recommended = "slice, unless the key never changes" if below else "exact"
    detail = (
        f'A root row has {average} rows below it{most}. In the form exact a change of "{key}" changes'
        f" them all, each time; in the form slice only when it crosses a bucket{bucket}, and a change inside writes the"
        f" root row alone. Recommended is {recommended}. Chosen is {settings.key_form}."
    )
    is_risky = below > 0 and conversion.settings.key_form == "exact"
    return Finding(root.identifier.text, ROOT, WARNING if is_risky else NOTICE, "key form", detail, None)


def _member(conversion: Conversion, member: Member) -> list[Finding]:
    role = ROOT if member.is_root else CHILD
    found = [_role(conversion, member, role)]
    found += conversion_obstacles.of_table(conversion, member, role)
    found += _columns(conversion, member, role)
    found += _counted(conversion, member, role)
    found += conversion_rules.disagreeing(conversion, member, role)
    found += conversion_rules.unique(conversion, member, role)
    found += conversion_rules.foreign_keys(conversion, member, role)
    found += conversion_carried.of_table(member, role)
    return found


def _role(conversion: Conversion, member: Member, role: str) -> Finding:
    rows = conversion.figures.get(member.oid, Figures()).rows
    if member.is_root:
        detail = f"{rows} rows. Partitioned by RANGE of {names((conversion.settings.partition_column,))}"
        hash_column = conversion.settings.hash_column
        detail += f", then by HASH of {names((hash_column.name,))}." if hash_column else "."
    else:
        paths = "; ".join(_paths(conversion, member))
        way = "exactly one owner" if len(member.owners) == 1 else f"one of {len(member.owners)} alternative owners"
        detail = f"{rows} rows, each with {way}. To the root by {paths}."
    create = conversion_form.table_statements(conversion, member)[0]
    return Finding(member.identifier.text, role, NOTICE, role, detail, create.text)


def _paths(conversion: Conversion, member: Member) -> list[str]:
    if member.is_root:
        return [member.structure.name]
    return [
        f"{member.structure.name}({', '.join(key.columns)}) > {path}"
        for key in member.owners
        for path in _paths(conversion, conversion.member(key.parent))
    ]


def _columns(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    found = []
    wanted = root_columns(conversion.settings) if member.is_root else key_columns(conversion)
    for column in wanted:
        present = member.structure.column(column.name)
        title, detail, severity = "", "", NOTICE
        if present is None:
            title = "column added"
            detail = (
                f'Column "{column.name}" is added, and filled with the value of the root row. INSERT must give it from'
                " then on, or go through a writable view."
            )
            if member.is_root:
                detail = f'Column "{column.name}" is added: the bucket of the range key.'
        elif not present.is_alike(column):
            title = "column altered"
            detail = (
                f'Column "{column.name}" is {present.declaration} and becomes {column.declaration}, as in the root.'
            )
            severity = WARNING
            if column.name == conversion.settings.partition_column:
                severity, title = ERROR, "column of another type"
                detail = f'Column "{column.name}" is {present.declaration}, and would be the partition column.'
        elif not member.is_root:
            title = "column taken"
            detail = f'Column "{column.name}" is there; it holds the value of the root row from now on.'
        if present is not None and not present.is_not_null:
            refused = f'Column "{column.name}" can be NULL, and becomes NOT NULL: a row without a value is refused.'
            not_null = compose("{} NOT NULL", Identifier(column.name))
            found.append(Finding(member.identifier.text, role, WARNING, "key column NOT NULL", refused, not_null.text))
        if title:
            declared = compose("{} {} NOT NULL", Identifier(column.name), column.declaration)
            found.append(Finding(member.identifier.text, role, severity, title, detail, declared.text))
    return found


def _counted(conversion: Conversion, member: Member, role: str) -> list[Finding]:
    figures = conversion.figures.get(member.oid, Figures())
    found = []

    def shown(counted: str) -> SQL:
        return conversion_figures.showing(conversion, member, counted)

    def add(severity: str, title: str, detail: str, rows: SQL | None = None) -> None:
        statement = rows.text if rows is not None else None
        found.append(Finding(member.identifier.text, role, severity, title, detail, statement))

    if figures.without_keys:
        detail = f"{figures.without_keys} rows have NULL or infinity in a key. Give them a value first."
        add(ERROR, "rows without keys", detail, shown("without_keys"))
    placed = sum(each.rows for each in conversion.ranges)
    outside = figures.rows - figures.without_keys - placed
    if member.is_root and outside > 0:
        detail = (
            f"{outside} rows lie before the year 1 or after 9998, for which no slice is made. Give them another value"
            " first."
        )
        add(ERROR, "rows outside every slice", detail, conversion_figures.outside_slices(conversion))
    if figures.orphans:
        severity, detail = _without_parent(conversion, figures.orphans)
        add(severity, "rows without a parent", detail, shown("orphans"))
    if figures.broken:
        detail = (
            f"{figures.broken} rows break foreign keys that are NOT VALID. They hold for all rows of the new table:"
            " mend the rows, and VALIDATE CONSTRAINT."
        )
        add(ERROR, "broken foreign keys", detail, shown("broken"))
    if figures.several > figures.conflicts:
        detail = f"{figures.several - figures.conflicts} rows have more than one owner; all lead to the same keys."
        add(NOTICE, "several owners", detail)
    if figures.differing:
        detail = f"{figures.differing} rows hold another value in a key column than their root row, and get that one's."
        if figures.orphans:
            detail += " Those without a parent have no root row, and lose theirs, too."
        if conversion.replace_values:
            add(WARNING, "values replaced", detail, shown("differing"))
        else:
            detail += " Rename the column to keep them, or accept it with replace_values => true."
            add(ERROR, "values to be replaced", detail, shown("differing"))
    return found


def _without_parent(conversion: Conversion, rows: int) -> tuple[str, str]:
    """What becomes of rows without a parent: how severe it is, and what it means."""
    told = f"{rows} rows have no way to the root"
    if conversion.orphans != KEEP:
        return ERROR, (
            f"{told}, and no keys. Delete them, give them a parent, or keep them in the oldest slice with"
            " orphans => 'keep'."
        )
    if not conversion.orphan_keys:
        return ERROR, f"{told}, which has no rows whose keys they could get. Delete them, or give them a parent."
    home = ", ".join(each.text for each in conversion.orphan_keys)
    return WARNING, (
        f"{told}. They are kept, with the keys {home}, and share the fate of that slice: they go when it is dropped."
    )
