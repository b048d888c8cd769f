-- What the application asks, rewritten for the slice form; see forms.py, and doc/queries.md.

-- A party's dialogs, newest first: the month of the cursor, the two before it, then 4, 8, 16 and all others.
CREATE FUNCTION page_of_party(
    party text, resources text [], visible_at timestamptz, moment timestamptz, dialog uuid, wanted bigint
) RETURNS SETOF "Dialog" LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    lower_bound date := date_trunc('month', moment AT TIME ZONE 'UTC');
    upper_bound date := lower_bound + interval '1 month';
    found bigint;
BEGIN
    FOR step IN 1 .. 6 LOOP
        RETURN QUERY SELECT d.* FROM "Dialog" AS d
        WHERE d."Party" = party AND d."ContentUpdatedAtSlice" >= lower_bound AND d."ContentUpdatedAtSlice" < upper_bound
            AND d."ServiceResource" = ANY (resources) AND d."Deleted" = false
            AND (d."VisibleFrom" IS NULL OR d."VisibleFrom" <= visible_at)
            AND (d."ExpiresAt" IS NULL OR d."ExpiresAt" > visible_at)
            AND (d."ContentUpdatedAt" < moment OR (d."ContentUpdatedAt" = moment AND d."Id" < dialog))
        ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT wanted;
        GET DIAGNOSTICS found = ROW_COUNT;
        wanted := wanted - found;
        EXIT WHEN wanted = 0;
        upper_bound := lower_bound;
        lower_bound := CASE step WHEN 5 THEN '-infinity' ELSE upper_bound - interval '1 month' * 2 ^ step END;
    END LOOP;
END
$$;

CREATE FUNCTION labelled_of_party(party text, moment timestamptz, wanted bigint)
RETURNS SETOF "Dialog" LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    lower_bound date := date_trunc('month', moment AT TIME ZONE 'UTC');
    upper_bound date := lower_bound + interval '1 month';
    found bigint;
BEGIN
    FOR step IN 1 .. 6 LOOP
        RETURN QUERY SELECT d.* FROM "Dialog" AS d
        WHERE d."Party" = party AND d."ContentUpdatedAtSlice" >= lower_bound AND d."ContentUpdatedAtSlice" < upper_bound
            AND d."Deleted" = false AND d."ContentUpdatedAt" <= moment
            AND d."SystemLabelsMask" <> ALL (ARRAY[0, 2, 4, 8, 16])
        ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT wanted;
        GET DIAGNOSTICS found = ROW_COUNT;
        wanted := wanted - found;
        EXIT WHEN wanted = 0;
        upper_bound := lower_bound;
        lower_bound := CASE step WHEN 5 THEN '-infinity' ELSE upper_bound - interval '1 month' * 2 ^ step END;
    END LOOP;
END
$$;

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
