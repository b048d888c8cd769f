"""The heart of the Dialogporten hierarchy: its tables, its rows, and the calls that declare it.

The acceptance tests and the demo share it. See schema.sql.j2 for the three forms that the tables come in.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = '"Dialog"'
RANGE_KEY = "ContentUpdatedAt"
SLICE_KEY = "ContentUpdatedAtSlice"
HASH_KEY = "Party"
KEY_FORMS = ("exact", "slice")
TABLES = (
    "Dialog",
    "DialogContent",
    "DialogSeenLog",
    "DialogTransmission",
    "DialogActivity",
    "DialogEndUserContext",
    "LabelAssignmentLog",
    "Actor",
)
# Each child with each of its parents, parents first: a child is registered once for each.
PARENTS = (
    ("DialogContent", "Dialog", "DialogId", "CASCADE"),
    ("DialogSeenLog", "Dialog", "DialogId", "CASCADE"),
    ("DialogTransmission", "Dialog", "DialogId", "CASCADE"),
    ("DialogTransmission", "DialogTransmission", "RelatedTransmissionId", "SET NULL"),
    ("DialogActivity", "Dialog", "DialogId", "CASCADE"),
    ("DialogActivity", "DialogTransmission", "TransmissionId", "SET NULL"),
    ("DialogEndUserContext", "Dialog", "DialogId", "SET NULL"),
    ("LabelAssignmentLog", "DialogEndUserContext", "ContextId", "CASCADE"),
    ("Actor", "DialogActivity", "ActivityId", "CASCADE"),
    ("Actor", "DialogSeenLog", "DialogSeenLogId", "CASCADE"),
    ("Actor", "DialogTransmission", "TransmissionId", "CASCADE"),
    ("Actor", "LabelAssignmentLog", "LabelAssignmentLogId", "CASCADE"),
)
REFERENCES = (
    "ActorName",
    "DialogStatus",
    "DialogContentType",
    "DialogActivityType",
    "DialogTransmissionType",
    "DialogUserType",
    "ActorType",
)

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
)


def schema(form: str = "plain") -> str:
    """The tables without rows: ``plain``, with a partitioned ``root``, or as a whole ``tree`` of partitioned tables."""
    return _environment.get_template("schema.sql.j2").render(form=form)


def partition_column(key_form: str) -> str:
    """The column that the tables are cut by."""
    return SLICE_KEY if key_form == "slice" else RANGE_KEY


def rows(key_form: str | None, dialogs: int, first: str, current: str, parties: int | None = None) -> str:
    """Rows for all tables; key_form None for plain tables. See rows.sql.j2."""
    key_names = [] if key_form is None else [partition_column(key_form), HASH_KEY]
    return _environment.get_template("rows.sql.j2").render(
        keys=", ".join(f'"{name}"' for name in key_names),
        key_names=key_names,
        slice_key=SLICE_KEY if key_form == "slice" else None,
        bucket="month",
        dialogs=dialogs,
        parties=parties or max(dialogs // 20, 1),
        first=first,
        current=current,
    )


def declaration(key_form: str, form: str = "plain", **options: str | int) -> list[str]:
    """The calls that make a hierarchy of the tables.

    Plain tables have the unique rule ("Org", "IdempotentKey"), which no partitioned table can hold over all its
    partitions: allow_weaker_unique accepts that it then holds within each only.
    """
    settings = {"key_form": f"'{key_form}'"} if key_form != "exact" else {}
    settings.update({name: str(value) if isinstance(value, int) else f"'{value}'" for name, value in options.items()})
    if form == "plain":
        settings["allow_weaker_unique"] = "true"
    given = "".join(f", {name} => {value}" for name, value in settings.items())
    calls = [f"SELECT dp.create_hierarchy('{ROOT}', '{RANGE_KEY}', '{HASH_KEY}'{given})"]
    for child, parent, column, action in PARENTS:
        is_new_key = form == "root" and parent == "Dialog"  # a child had no foreign key to a partitioned root
        named = f", ARRAY['{column}'], '{action}'" if is_new_key else f", ARRAY['{column}']"
        calls.append(f"""SELECT dp.register_child('"{child}"', '"{parent}"'{named})""")
    calls += [f"""SELECT dp.register_reference('"{name}"')""" for name in REFERENCES]
    return calls
