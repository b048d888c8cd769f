-- What the application asks, rewritten for the slice form; see forms.py, and doc/queries.md.

-- A party's dialogs, newest first. In which slices they lie the global index knows.
CREATE INDEX ON "Dialog_Id_global" ("Party", "ContentUpdatedAtSlice");
SELECT count(*) FROM dp.create_page(
    '"Dialog"', 'page_of_party', 'party text, resources text[], visible_at timestamptz, moment timestamptz, dialog uuid',
    condition => 't."Party" = party AND t."ServiceResource" = ANY (resources) AND t."Deleted" = false'
    ' AND (t."VisibleFrom" IS NULL OR t."VisibleFrom" <= visible_at)'
    ' AND (t."ExpiresAt" IS NULL OR t."ExpiresAt" > visible_at)'
    ' AND (t."ContentUpdatedAt" < moment OR (t."ContentUpdatedAt" = moment AND t."Id" < dialog))',
    order_by => 't."ContentUpdatedAt" DESC, t."Id" DESC',
    keys => 'SELECT g."ContentUpdatedAtSlice" FROM "Dialog_Id_global" AS g'
    ' WHERE g."Party" = party AND g."ContentUpdatedAtSlice" <= newest'
    ' ORDER BY g."ContentUpdatedAtSlice" DESC LIMIT wanted'
);

-- Labels leave few of a party's dialogs: a global index of these alone tells where they lie.
SELECT count(*) FROM dp.create_global_index(
    '"Dialog"', '{Party, ContentUpdatedAtSlice}', is_unique => false, index_name => 'labelled',
    predicate => '"Deleted" = false AND "SystemLabelsMask" <> ALL (ARRAY[0, 2, 4, 8, 16])'
);
SELECT count(*) FROM dp.create_page(
    '"Dialog"', 'labelled_of_party', 'party text, moment timestamptz',
    condition => 't."Party" = party AND t."Deleted" = false AND t."ContentUpdatedAt" <= moment'
    ' AND t."SystemLabelsMask" <> ALL (ARRAY[0, 2, 4, 8, 16])',
    order_by => 't."ContentUpdatedAt" DESC, t."Id" DESC',
    keys => 'SELECT g."ContentUpdatedAtSlice" FROM labelled AS g'
    ' WHERE g."Party" = party AND g."ContentUpdatedAtSlice" <= newest'
    ' ORDER BY g."ContentUpdatedAtSlice" DESC LIMIT wanted'
);

-- An organisation's dialogs, whose parties are not known: all leaves of a slice are merged.
SELECT count(*) FROM dp.create_page(
    '"Dialog"', 'page_of_organisation', 'org text, resource text, moment timestamptz, dialog uuid',
    condition => 't."Org" = org AND t."ServiceResource" = resource'
    ' AND (t."ContentUpdatedAt" < moment OR (t."ContentUpdatedAt" = moment AND t."Id" < dialog))',
    order_by => 't."ContentUpdatedAt" DESC, t."Id" DESC'
);

-- What belongs to some dialogs: the queries as they were, with the keys of each partitioned table.
SELECT count(*) FROM dp.create_joined_lookup(
    '"Dialog"', 'content_of_dialogs',
    query => 'SELECT d."Id", coalesce(r."MinimumAuthenticationLevel", 0), c."TypeId", c."MediaType", l."LanguageCode", l."Value"
        FROM "Dialog" AS d
        LEFT JOIN "ResourcePolicyInformation" AS r ON r."Resource" = d."ServiceResource"
        JOIN "DialogContent" AS c ON c."DialogId" = d."Id" AND dp.has_keys(c)
        JOIN "DialogContentType" AS t ON t."Id" = c."TypeId" AND t."OutputInList"
        JOIN "LocalizationSet" AS s
            ON s."DialogContentId" = c."Id" AND s."Discriminator" = ''DialogContentValue'' AND dp.has_keys(s)
        JOIN "Localization" AS l ON l."LocalizationSetId" = s."Id" AND dp.has_keys(l)
        WHERE d."Id" = ANY (ids) AND dp.has_keys(d)',
    returns => 'dialog uuid, level integer, content_type integer, media_type varchar, language varchar, value varchar'
);
SELECT count(*) FROM dp.create_joined_lookup(
    '"Dialog"', 'latest_activities',
    query => 'SELECT a."DialogId", a."Id", a."CreatedAt", a."TypeId", a."TransmissionId", b."ActorTypeId", n."ActorId", n."Name",
            x."LanguageCode", x."Value"
        FROM unnest(ids) AS wanted (dialog)
        CROSS JOIN LATERAL (
            SELECT i.* FROM "DialogActivity" AS i WHERE i."DialogId" = wanted.dialog AND dp.has_keys(i)
            ORDER BY i."CreatedAt" DESC, i."Id" DESC LIMIT 1
        ) AS a
        JOIN "Actor" AS b
            ON b."ActivityId" = a."Id" AND b."Discriminator" = ''DialogActivityPerformedByActor'' AND dp.has_keys(b)
        LEFT JOIN "ActorName" AS n ON n."Id" = b."ActorNameEntityId"
        LEFT JOIN LATERAL (
            SELECT l."LanguageCode", l."Value" FROM "LocalizationSet" AS s
            JOIN "Localization" AS l ON l."LocalizationSetId" = s."Id" AND dp.has_keys(l)
            WHERE s."ActivityId" = a."Id" AND s."Discriminator" = ''DialogActivityDescription'' AND dp.has_keys(s)
        ) AS x ON true',
    returns => 'dialog uuid, id uuid, created_at timestamptz, activity_type integer, transmission uuid, actor_type integer,
        actor varchar, name varchar, language varchar, value varchar'
);

-- Logic of the application's own that knew Ids alone: the keys are those of the labels that were written.
CREATE FUNCTION recompute_mask(slice date, party text, contexts uuid [])
RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE "Dialog" AS d SET "SystemLabelsMask" = m.mask
    FROM (
        SELECT c."DialogId" AS id, coalesce(sum(DISTINCT 1 << (l."SystemLabelId" - 1)), 0)::smallint AS mask
        FROM "DialogEndUserContext" AS c
        LEFT JOIN "DialogEndUserContextSystemLabel" AS l
            ON l."DialogEndUserContextId" = c."Id" AND l."ContentUpdatedAtSlice" = slice AND l."Party" = party
        WHERE c."Id" = ANY (contexts) AND c."ContentUpdatedAtSlice" = slice AND c."Party" = party
        GROUP BY c."DialogId"
    ) AS m
    WHERE d."Id" = m.id AND d."ContentUpdatedAtSlice" = slice AND d."Party" = party AND d."SystemLabelsMask" <> m.mask;
END
$$;

CREATE OR REPLACE FUNCTION sync_dialog_system_labels_mask() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM recompute_mask("ContentUpdatedAtSlice", "Party", array_agg("DialogEndUserContextId"))
        FROM new_rows GROUP BY "ContentUpdatedAtSlice", "Party";
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM recompute_mask("ContentUpdatedAtSlice", "Party", array_agg("DialogEndUserContextId"))
        FROM old_rows GROUP BY "ContentUpdatedAtSlice", "Party";
    END IF;
    RETURN NULL;
END
$$;
