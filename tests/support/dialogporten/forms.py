"""The application's queries and writes, each in its old shape and in the form for partitioned tables.

The rewritten ones bind the partition keys: they are known from what was read before, from a global index, or tried from
the newest slice on. doc/queries.md says how each comes about. They are written for the slice form; in the
form exact the range key stands in the place of the slice key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from . import RANGE_KEY, SLICE_KEY
from .queries import QUERIES

Connection = psycopg.Connection[Any]
Given = dict[str, Any]

FUNCTIONS = (Path(__file__).parent / "forms.sql").read_text()

_PAGE = """
    SELECT "Id", "Org", "ServiceResource", "Party", "StatusId", "ContentUpdatedAt", "SystemLabelsMask"
    FROM page_of_party(%(party)s, %(resources)s, %(now)s, %(moment)s, %(dialog)s, %(newest)s, 20)"""

# What belongs to some dialogs: the queries themselves are in the joined lookups.
_CONTENT = """
    SELECT dialog, level, content_type, media_type, language, value FROM content_of_dialogs(%(dialogs)s)
    ORDER BY dialog, content_type, language"""

_LATEST_ACTIVITY = """
    SELECT dialog, id, created_at, activity_type, transmission, actor_type, actor, name, language, value
    FROM latest_activities(%(dialogs)s) ORDER BY dialog, language"""

_KEYS = f'{{0}}."{SLICE_KEY}" = %(slice)s AND {{0}}."Party" = %(party)s'


def _bound(query: str, *aliases: str) -> str:
    """A query whose joins name the keys of each table; they are known from the dialog that was read before."""
    for alias in aliases:
        query = query.replace(f" AS {alias} ON ", f" AS {alias} ON {_KEYS.format(alias)} AND ")
    first = query.split(" AS ", 1)[1].split(maxsplit=1)[0]
    return query.replace("WHERE ", f"WHERE {_KEYS.format(first)} AND ")


FORMS: dict[str, str] = {
    "a party's page": _PAGE,
    "labels": 'SELECT "Id" FROM labelled_of_party(%(labelled)s, %(now)s, %(newest)s, 100)',
    "content": _CONTENT,
    "latest activity": _LATEST_ACTIVITY,
    "a dialog": """
        SELECT "Id", "Revision", "Party", "ContentUpdatedAt" FROM "Dialog_by_Id"(ARRAY[%(dialog)s::uuid])""",
    "transmissions": _bound(QUERIES["transmissions"], "c", "cs", "cl", "r", "a", "u", "ats", "al", "v", "vs", "vl"),
    "seen": _bound(QUERIES["seen"], "r").replace("= ANY (%(dialogs)s)", "= %(dialog)s"),
    "of an organisation": """
        SELECT "Id", "ContentUpdatedAt", "Deleted"
        FROM page_of_organisation(%(org)s, %(resource)s, %(moment)s, %(dialog)s, %(newest)s, 25)""",
    "idempotent": """
        SELECT "Id" FROM "Dialog_Org_IdempotentKey_global"
        WHERE "Org" = %(org)s AND "IdempotentKey" = %(idempotent)s""",
}
OLD: dict[str, str] = {
    **{name: QUERIES[name] for name in FORMS},
    "seen": QUERIES["seen"].replace("= ANY (%(dialogs)s)", "= %(dialog)s"),
}


def in_form(key_form: str, text: str) -> str:
    """A query, or the functions, for a key form: bounds of slices are moments where the key is one."""
    if key_form == "slice":
        return text
    text = text.replace("(slice date,", "(slice timestamptz,").replace(f", {SLICE_KEY}}}", f", {RANGE_KEY}}}")
    return text.replace(f'"{SLICE_KEY}"', f'"{RANGE_KEY}"')


class Write(NamedTuple):
    """One statement of a transaction that the application makes."""

    name: str
    old: str
    new: str

    def in_form(self, key_form: str) -> str:
        """The new one for a key form: the root has the range key anyway."""
        text = self.new
        if key_form == "exact" and text.startswith('INSERT INTO "Dialog" ('):
            text = text.replace(f', "{SLICE_KEY}"', "").replace(", %(slice)s", "")
        return in_form(key_form, text)


def _insert(name: str, table: str, columns: str, values: str) -> Write:
    """An INSERT, with the keys of the dialog behind the columns."""
    keys = f', "{SLICE_KEY}"' if table == "Dialog" else f', "{SLICE_KEY}", "Party"'
    given = ", %(slice)s" if table == "Dialog" else ", %(slice)s, %(party)s"
    text = 'INSERT INTO "{}" ({}) VALUES ({})'
    return Write(name, text.format(table, columns, values), text.format(table, columns + keys, values + given))


# In their order in one transaction; new_... are values that the application makes itself.
WRITES = (
    _insert(
        "insert a dialog",
        "Dialog",
        '"Id", "Revision", "CreatedAt", "UpdatedAt", "ContentUpdatedAt", "Deleted", "Org", "ServiceResource",'
        ' "ServiceResourceType", "Party", "StatusId", "IdempotentKey", "IsSeenSinceLastContentUpdate"',
        "%(new_dialog)s, gen_random_uuid(), %(now)s, %(now)s, %(now)s, false, %(org)s, %(resource)s,"
        " 'GenericAccessResource', %(party)s, 7, %(new_key)s, false",
    ),
    _insert(
        "insert a content",
        "DialogContent",
        '"Id", "DialogId", "TypeId", "MediaType"',
        "%(new_content)s, %(new_dialog)s, 1, 'text/plain'",
    ),
    _insert(
        "insert a localization set",
        "LocalizationSet",
        '"Id", "Discriminator", "DialogContentId"',
        "%(new_set)s, 'DialogContentValue', %(new_content)s",
    ),
    _insert(
        "insert a localization",
        "Localization",
        '"LocalizationSetId", "LanguageCode", "Value"',
        "%(new_set)s, 'en', 'new'",
    ),
    _insert("insert a context", "DialogEndUserContext", '"Id", "DialogId"', "%(new_context)s, %(new_dialog)s"),
    _insert(
        "insert a label",
        "DialogEndUserContextSystemLabel",
        '"DialogEndUserContextId", "SystemLabelId"',
        "%(new_context)s, 1",
    ),
    _insert("insert a service owner's context", "DialogServiceOwnerContext", '"DialogId"', "%(new_dialog)s"),
    Write(
        "update the content's time",
        (
            update := """
            UPDATE "Dialog" SET "ContentUpdatedAt" = %(now)s, "UpdatedAt" = %(now)s, "Revision" = gen_random_uuid(),
                "IsSeenSinceLastContentUpdate" = false
            WHERE "Id" = %(dialog)s AND "Revision" = %(revision)s"""
        ),
        update + f' AND "{SLICE_KEY}" = %(slice)s AND "Party" = %(party)s',
    ),
    _insert("append an activity", "DialogActivity", '"Id", "DialogId", "TypeId"', "%(new_activity)s, %(dialog)s, 1"),
)
