"""What the application asks, in its own shapes: none knows of partition keys, and all have one right answer.

Each orders its rows by something unique, so that the same rows come in the same order from any tables.
"""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
Answers = dict[str, list[tuple[Any, ...]]]

# The list of a party's dialogs, a page on: found by keys alone first, then read whole.
_PAGE = """
    SELECT d."Id", d."Org", d."ServiceResource", d."Party", d."StatusId", d."ContentUpdatedAt", d."SystemLabelsMask"
    FROM "Dialog" AS d
    JOIN (
        SELECT i."Id" FROM "Dialog" AS i
        WHERE i."Party" = %(party)s AND i."ServiceResource" = ANY (%(resources)s) AND i."Deleted" = false
            AND (i."VisibleFrom" IS NULL OR i."VisibleFrom" <= %(now)s)
            AND (i."ExpiresAt" IS NULL OR i."ExpiresAt" > %(now)s)
            AND (i."ContentUpdatedAt" < %(moment)s OR (i."ContentUpdatedAt" = %(moment)s AND i."Id" < %(dialog)s))
        ORDER BY i."ContentUpdatedAt" DESC, i."Id" DESC LIMIT 20
    ) AS page ON page."Id" = d."Id"
    ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT 20"""

_MANY_PARTIES = """
    SELECT x."Party", x."Id", x."ContentUpdatedAt"
    FROM unnest(%(parties)s::text[]) AS p (party)
    CROSS JOIN LATERAL (
        SELECT d."Party", d."Id", d."ContentUpdatedAt" FROM "Dialog" AS d
        WHERE d."Party" = p.party AND d."Deleted" = false
        ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT 5
    ) AS x
    ORDER BY x."ContentUpdatedAt" DESC, x."Id" DESC LIMIT 50"""

# Labels are excluded one mask after the other: all that lack the first bit.
_IS_LABELLED = """d."Deleted" = false AND d."ContentUpdatedAt" <= %(now)s
        AND d."SystemLabelsMask" <> 0 AND d."SystemLabelsMask" <> 2 AND d."SystemLabelsMask" <> 4
        AND d."SystemLabelsMask" <> 8 AND d."SystemLabelsMask" <> 16"""
_LABELS = f"""
    SELECT d."Id" FROM "Dialog" AS d
    WHERE d."Party" = %(labelled)s AND {_IS_LABELLED}
    ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT 100"""

_CONTENT = """
    SELECT d."Id", coalesce(r."MinimumAuthenticationLevel", 0), c."TypeId", c."MediaType", l."LanguageCode", l."Value"
    FROM unnest(%(dialogs)s::uuid[]) AS wanted (id)
    JOIN "Dialog" AS d ON d."Id" = wanted.id
    LEFT JOIN "ResourcePolicyInformation" AS r ON r."Resource" = d."ServiceResource"
    JOIN "DialogContent" AS c ON c."DialogId" = d."Id"
    JOIN "DialogContentType" AS t ON t."Id" = c."TypeId" AND t."OutputInList"
    JOIN "LocalizationSet" AS s ON s."DialogContentId" = c."Id" AND s."Discriminator" = 'DialogContentValue'
    JOIN "Localization" AS l ON l."LocalizationSetId" = s."Id"
    ORDER BY d."Id", c."TypeId", l."LanguageCode" """

_LATEST_ACTIVITY = """
    SELECT a."DialogId", a."Id", a."CreatedAt", a."TypeId", a."TransmissionId", b."ActorTypeId", n."ActorId", n."Name",
        x."LanguageCode", x."Value"
    FROM unnest(%(dialogs)s::uuid[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT i.* FROM "DialogActivity" AS i WHERE i."DialogId" = wanted.id
        ORDER BY i."CreatedAt" DESC, i."Id" DESC LIMIT 1
    ) AS a
    JOIN "Actor" AS b ON b."ActivityId" = a."Id" AND b."Discriminator" = 'DialogActivityPerformedByActor'
    LEFT JOIN "ActorName" AS n ON n."Id" = b."ActorNameEntityId"
    LEFT JOIN LATERAL (
        SELECT l."LanguageCode", l."Value" FROM "LocalizationSet" AS s
        JOIN "Localization" AS l ON l."LocalizationSetId" = s."Id"
        WHERE s."ActivityId" = a."Id" AND s."Discriminator" = 'DialogActivityDescription'
    ) AS x ON true
    ORDER BY a."DialogId", x."LanguageCode" """

_OF_AN_ORGANISATION = """
    SELECT d."Id", d."ContentUpdatedAt", d."Deleted" FROM "Dialog" AS d
    WHERE d."Org" = %(org)s AND d."ServiceResource" = %(resource)s
        AND (d."ContentUpdatedAt" < %(moment)s OR (d."ContentUpdatedAt" = %(moment)s AND d."Id" < %(dialog)s))
    ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT 25"""

# One dialog with everything of its transmissions.
_TRANSMISSIONS = """
    SELECT t."Id", t."CreatedAt", t."RelatedTransmissionId", c."Id", c."TypeId", cl."LanguageCode", cl."Value",
        r."ActorTypeId", n."Name", a."Id", u."Id", u."Url", al."LanguageCode", al."Value", v."Url", vl."LanguageCode"
    FROM "DialogTransmission" AS t
    LEFT JOIN "DialogTransmissionContent" AS c ON c."TransmissionId" = t."Id"
    LEFT JOIN "LocalizationSet" AS cs ON cs."TransmissionContentId" = c."Id"
    LEFT JOIN "Localization" AS cl ON cl."LocalizationSetId" = cs."Id"
    LEFT JOIN "Actor" AS r ON r."TransmissionId" = t."Id" AND r."Discriminator" = 'DialogTransmissionSenderActor'
    LEFT JOIN "ActorName" AS n ON n."Id" = r."ActorNameEntityId"
    LEFT JOIN "Attachment" AS a ON a."TransmissionId" = t."Id"
    LEFT JOIN "AttachmentUrl" AS u ON u."AttachmentId" = a."Id"
    LEFT JOIN "LocalizationSet" AS ats ON ats."AttachmentId" = a."Id"
    LEFT JOIN "Localization" AS al ON al."LocalizationSetId" = ats."Id"
    LEFT JOIN "DialogTransmissionNavigationalAction" AS v ON v."TransmissionId" = t."Id"
    LEFT JOIN "LocalizationSet" AS vs ON vs."NavigationalActionId" = v."Id"
    LEFT JOIN "Localization" AS vl ON vl."LocalizationSetId" = vs."Id"
    WHERE t."DialogId" = %(dialog)s
    ORDER BY t."CreatedAt", t."Id", c."Id", cl."LanguageCode", a."Id", u."Id", al."LanguageCode", v."Id",
        vl."LanguageCode" """

_SEEN = """
    SELECT s."Id", s."CreatedAt", r."Id", n."Name" FROM "DialogSeenLog" AS s
    LEFT JOIN "Actor" AS r ON r."DialogSeenLogId" = s."Id" AND r."Discriminator" = 'DialogSeenLogSeenByActor'
    LEFT JOIN "ActorName" AS n ON n."Id" = r."ActorNameEntityId"
    WHERE s."DialogId" = ANY (%(dialogs)s) AND s."CreatedAt" >= %(first)s ORDER BY s."CreatedAt", s."Id" """

_SEARCH = """
    SELECT s."DialogId", ts_rank(s."SearchVector", q.query) FROM search."DialogSearch" AS s
    CROSS JOIN (SELECT websearch_to_tsquery('english', 'dialogs service') AS query) AS q
    WHERE s."Party" = %(party)s AND s."SearchVector" @@ q.query
    ORDER BY 2 DESC, 1 LIMIT 50"""

_LABEL_LOG = """
    SELECT c."DialogId", g."Name", g."Action", g."CreatedAt", r."Id", y."SystemLabelId"
    FROM "DialogEndUserContext" AS c
    JOIN "LabelAssignmentLog" AS g ON g."ContextId" = c."Id"
    LEFT JOIN "Actor" AS r ON r."LabelAssignmentLogId" = g."Id"
    LEFT JOIN "DialogEndUserContextSystemLabel" AS y ON y."DialogEndUserContextId" = c."Id"
    WHERE c."DialogId" = ANY (%(dialogs)s) ORDER BY c."DialogId", g."Id", y."SystemLabelId" """

QUERIES = {
    "a party's page": _PAGE,
    "several parties": _MANY_PARTIES,
    "labels": _LABELS,
    "content": _CONTENT,
    "latest activity": _LATEST_ACTIVITY,
    "of an organisation": _OF_AN_ORGANISATION,
    "a dialog": 'SELECT "Id", "Revision", "Party", "ContentUpdatedAt" FROM "Dialog" WHERE "Id" = %(dialog)s',
    "transmissions": _TRANSMISSIONS,
    "seen": _SEEN,
    "search": _SEARCH,
    "label log": _LABEL_LOG,
    "idempotent": 'SELECT "Id" FROM "Dialog" WHERE "Org" = %(org)s AND "IdempotentKey" = %(idempotent)s',
    "a party's resources": """
        SELECT r."UnprefixedResourceIdentifier" FROM partyresource."PartyResource" AS pr
        JOIN partyresource."Party" AS p ON p."Id" = pr."PartyId"
        JOIN partyresource."Resource" AS r ON r."Id" = pr."ResourceId"
        WHERE %(party)s = 'urn:altinn:person:identifier-no:' || p."UnprefixedPartyIdentifier" ORDER BY 1""",
    "pieces of text": """
        SELECT * FROM search."VDialogContent" WHERE "DialogId" = %(dialog)s
        ORDER BY "OuterPriority", "InnerPriority", "LanguageCode", "Value" """,
    "documents": """
        SELECT * FROM search."VDialogDocument" WHERE "DialogId" = ANY (%(dialogs)s) ORDER BY "DialogId" """,
}


def values(connection: Connection, first: str, now: str) -> dict[str, object]:
    """What the queries are asked with: the family of the tenth dialog, which has rows in every table.

    All dialogs of its party may have a label that is excluded, so the party whose labels are asked for is another one.
    """
    cursor = connection.execute(
        'SELECT "Id", "Party", "Org", "ServiceResource", "ContentUpdatedAt" FROM "Dialog"'
        " WHERE \"ExternalReference\" = 'reference 10'"
    )
    found = cursor.fetchone()
    assert found is not None
    dialogs = connection.execute(
        'SELECT "Id" FROM "Dialog" WHERE "ExternalReference" = ANY (%s) ORDER BY 1',
        [[f"reference {number}" for number in (1, 2, 3, 10, 20, 30, 95, 100)]],
    ).fetchall()
    dialog, party, org, resource, _ = found
    parties = connection.execute('SELECT DISTINCT "Party" FROM "Dialog" ORDER BY 1 LIMIT 5').fetchall()
    key = connection.execute(
        'SELECT "IdempotentKey" FROM "Dialog" WHERE "Org" = %s AND "IdempotentKey" IS NOT NULL ORDER BY 1 LIMIT 1',
        [org],
    ).fetchone()
    assert key is not None
    labelled = connection.execute(
        f'SELECT d."Party" FROM "Dialog" AS d WHERE {_IS_LABELLED} ORDER BY d."Id" LIMIT 1', {"now": now}
    ).fetchone()
    assert labelled is not None
    return {
        "dialog": dialog,
        "dialogs": [row[0] for row in dialogs],
        "party": party,
        "labelled": labelled[0],
        "parties": [row[0] for row in parties],
        "org": org,
        "resource": resource,
        "resources": [f"urn:altinn:resource:service-{number}" for number in range(40)],
        "idempotent": key[0],
        "moment": now,
        "first": first,
        "now": now,
        "newest": now,  # as a partition key
    }


def answers(connection: Connection, given: dict[str, object]) -> Answers:
    """What each query says."""
    return {name: connection.execute(query, given).fetchall() for name, query in QUERIES.items()}
