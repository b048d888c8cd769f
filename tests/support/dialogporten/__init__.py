"""The Dialogporten hierarchy: its tables, its rows, and the calls that declare it.

Its heart has eight of the 22 tables; ``whole`` is about all of them. The acceptance tests, the benchmarks and the demo
share it. See schema.sql.j2 for the three forms that the tables come in.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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
WHOLE_TABLES = (
    *TABLES,
    "DialogSearchTag",
    "DialogGuiAction",
    "DialogApiAction",
    "DialogApiActionEndpoint",
    "DialogServiceOwnerContext",
    "DialogServiceOwnerLabel",
    "DialogEndUserContextSystemLabel",
    "search.DialogSearch",
    "DialogTransmissionContent",
    "DialogTransmissionNavigationalAction",
    "Attachment",
    "AttachmentUrl",
    "LocalizationSet",
    "Localization",
)
WHOLE_PARENTS = (
    *PARENTS,
    ("DialogSearchTag", "Dialog", "DialogId", "CASCADE"),
    ("DialogGuiAction", "Dialog", "DialogId", "CASCADE"),
    ("DialogApiAction", "Dialog", "DialogId", "CASCADE"),
    ("DialogApiActionEndpoint", "DialogApiAction", "ActionId", "CASCADE"),
    ("DialogServiceOwnerContext", "Dialog", "DialogId", "CASCADE"),
    ("DialogServiceOwnerLabel", "DialogServiceOwnerContext", "DialogServiceOwnerContextId", "CASCADE"),
    ("DialogEndUserContextSystemLabel", "DialogEndUserContext", "DialogEndUserContextId", "CASCADE"),
    ("search.DialogSearch", "Dialog", "DialogId", "CASCADE"),
    ("DialogTransmissionContent", "DialogTransmission", "TransmissionId", "CASCADE"),
    ("DialogTransmissionNavigationalAction", "DialogTransmission", "TransmissionId", "CASCADE"),
    ("Attachment", "Dialog", "DialogId", "CASCADE"),
    ("Attachment", "DialogTransmission", "TransmissionId", "CASCADE"),
    ("AttachmentUrl", "Attachment", "AttachmentId", "CASCADE"),
    ("LocalizationSet", "DialogGuiAction", "DialogGuiActionPrompt_GuiActionId", "CASCADE"),
    ("LocalizationSet", "DialogGuiAction", "GuiActionId", "CASCADE"),
    ("LocalizationSet", "DialogActivity", "ActivityId", "CASCADE"),
    ("LocalizationSet", "Attachment", "AttachmentId", "CASCADE"),
    ("LocalizationSet", "DialogContent", "DialogContentId", "CASCADE"),
    ("LocalizationSet", "DialogTransmissionContent", "TransmissionContentId", "CASCADE"),
    ("LocalizationSet", "DialogTransmissionNavigationalAction", "NavigationalActionId", "CASCADE"),
    ("Localization", "LocalizationSet", "LocalizationSetId", "CASCADE"),
)
WHOLE_REFERENCES = (
    *REFERENCES,
    "DialogGuiActionPriority",
    "HttpVerb",
    "AttachmentUrlConsumerType",
    "SystemLabel",
    "DialogTransmissionContentType",
)

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
)


def schema(form: str = "plain", *, whole: bool = False) -> str:
    """The tables without rows: ``plain``, with a partitioned ``root``, or as a whole ``tree`` of partitioned tables."""
    return _environment.get_template("schema.sql.j2").render(form=form, whole=whole)


def logic() -> str:
    """Views, functions and triggers that go with the whole hierarchy's tables."""
    return _environment.get_template("whole_logic.sql.j2").render()


def partition_column(key_form: str) -> str:
    """The column that the tables are cut by."""
    return SLICE_KEY if key_form == "slice" else RANGE_KEY


def rows(
    key_form: str | None,
    dialogs: int,
    first: str,
    current: str,
    parties: int | None = None,
    *,
    whole: bool = False,
    grows: int = 1,
    further: int = 0,
    orphans: int = 0,
) -> str:
    """Rows for all tables; key_form None for plain tables. See rows.sql.j2 and whole_rows.sql.j2."""
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
        whole=whole,
        grows=grows,
        further=further,
        orphans=orphans,
    )


def quoted(table: str) -> str:
    """A table's name as SQL has it; a name with a point has its schema in front."""
    return ".".join(f'"{part}"' for part in table.split("."))


def declaration(key_form: str, form: str = "plain", *, whole: bool = False, **options: str | int) -> list[str]:
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
    for child, parent, column, action in WHOLE_PARENTS if whole else PARENTS:
        is_new_key = form == "root" and parent == "Dialog"  # a child had no foreign key to a partitioned root
        named = f", ARRAY['{column}'], '{action}'" if is_new_key else f", ARRAY['{column}']"
        calls.append(f"SELECT dp.register_child('{quoted(child)}', '{quoted(parent)}'{named})")
    calls += [f"SELECT dp.register_reference('{quoted(name)}')" for name in (WHOLE_REFERENCES if whole else REFERENCES)]
    return calls


def loading(dialogs: int, first: str, current: str, **options: Any) -> list[str]:
    """The scripts that make the whole hierarchy as plain tables with rows: keys, indexes and triggers after the rows.

    The options are those of ``rows``.
    """
    statements = schema(whole=True).split(";\n")
    later = [text for text in statements if re.search(r"^(ALTER TABLE|CREATE (UNIQUE )?INDEX)", text, re.MULTILINE)]
    first_of_all = [text for text in statements if text not in later]
    generated = rows(None, dialogs, first, current, whole=True, **options)
    return [";\n".join(first_of_all), generated, ";\n".join(later), logic()]
