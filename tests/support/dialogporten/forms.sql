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
