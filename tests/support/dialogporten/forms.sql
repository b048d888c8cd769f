-- What the application asks, rewritten for the slice form; see forms.py, and doc/queries.md.

-- A party's dialogs, newest first. Where the newest of them lie the global index knows, so that no other slice is
-- planned; where conditions leave too few of them, four times as many are looked at.
CREATE INDEX ON "Dialog_Id_global" ("Party", "ContentUpdatedAtSlice");

CREATE FUNCTION newest_slices(party text, upper_bound date, number bigint) RETURNS date []
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN array_agg(DISTINCT n.slice) FROM (
        SELECT g."ContentUpdatedAtSlice" AS slice FROM "Dialog_Id_global" AS g
        WHERE g."Party" = party AND g."ContentUpdatedAtSlice" < upper_bound
        ORDER BY g."ContentUpdatedAtSlice" DESC LIMIT number
    ) AS n;
END
$$;

CREATE FUNCTION page_of_party(
    party text, resources text [], visible_at timestamptz, moment timestamptz, dialog uuid, wanted bigint
) RETURNS SETOF "Dialog" LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    upper_bound date := date_trunc('month', moment AT TIME ZONE 'UTC') + interval '1 month';
    number bigint := wanted;
    slices date [];
    found bigint;
BEGIN
    LOOP
        slices := newest_slices(party, upper_bound, number);
        EXIT WHEN slices IS NULL;
        RETURN QUERY SELECT d.* FROM "Dialog" AS d
        WHERE d."Party" = party AND d."ContentUpdatedAtSlice" = ANY (slices)
            AND d."ServiceResource" = ANY (resources) AND d."Deleted" = false
            AND (d."VisibleFrom" IS NULL OR d."VisibleFrom" <= visible_at)
            AND (d."ExpiresAt" IS NULL OR d."ExpiresAt" > visible_at)
            AND (d."ContentUpdatedAt" < moment OR (d."ContentUpdatedAt" = moment AND d."Id" < dialog))
        ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT wanted;
        GET DIAGNOSTICS found = ROW_COUNT;
        wanted := wanted - found;
        EXIT WHEN wanted = 0;
        upper_bound := slices[1];
        number := number * 4;
    END LOOP;
END
$$;

-- Labels leave few of a party's dialogs: a global index of these alone tells where they lie.
SELECT count(*) FROM dp.create_global_index(
    '"Dialog"', '{Party, ContentUpdatedAtSlice}', is_unique => false,
    predicate => '"Deleted" = false AND "SystemLabelsMask" <> ALL (ARRAY[0, 2, 4, 8, 16])'
);

CREATE FUNCTION labelled_slices(party text, upper_bound date, number bigint) RETURNS date []
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN array_agg(DISTINCT n.slice) FROM (
        SELECT g."ContentUpdatedAtSlice" AS slice FROM "Dialog_Party_ContentUpdatedAtSlice_global" AS g
        WHERE g."Party" = party AND g."ContentUpdatedAtSlice" < upper_bound
        ORDER BY g."ContentUpdatedAtSlice" DESC LIMIT number
    ) AS n;
END
$$;

CREATE FUNCTION labelled_of_party(party text, moment timestamptz, wanted bigint)
RETURNS SETOF "Dialog" LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    upper_bound date := date_trunc('month', moment AT TIME ZONE 'UTC') + interval '1 month';
    slices date [];
    found bigint;
BEGIN
    LOOP
        slices := labelled_slices(party, upper_bound, wanted);
        EXIT WHEN slices IS NULL;
        RETURN QUERY SELECT d.* FROM "Dialog" AS d
        WHERE d."Party" = party AND d."ContentUpdatedAtSlice" = ANY (slices)
            AND d."Deleted" = false AND d."ContentUpdatedAt" <= moment
            AND d."SystemLabelsMask" <> ALL (ARRAY[0, 2, 4, 8, 16])
        ORDER BY d."ContentUpdatedAt" DESC, d."Id" DESC LIMIT wanted;
        GET DIAGNOSTICS found = ROW_COUNT;
        wanted := wanted - found;
        EXIT WHEN wanted = 0;
        upper_bound := slices[1];
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
