-- Rows for the tables of schema.sql: :n consignments over three years and into the next, with two or three packages each.
-- Everything follows from the number of the consignment.
SET search_path = "Fracht & ""Gut""";
INSERT INTO "Kunde" ("Name") SELECT 'Kunde ' || n FROM generate_series(1, 20) AS n;
INSERT INTO "Art" VALUES ('PKT', 'Paket'), ('PAL', 'Palette');
INSERT INTO "Sendung (neu)" ("Mandant", "erfaßt am", "Zustand", "Gewicht", "select", "q""uote", "50 %", "back\slash", "Kunde")
SELECT
    1 + n % 7, timestamp '2023-01-01' + n % 1170 * interval '1 day' + n * interval '17 seconds',
    (enum_range(NULL::"Zustand"))[1 + n % 3], n % 50 + 0.5, CASE WHEN n % 5 > 0 THEN 'R-' || n END,
    'Text "' || n || '"', ARRAY[n, n + 1], jsonb_build_object('n', n, '\', 'x'), CASE WHEN n % 4 > 0 THEN 1 + n % 20 END
FROM generate_series(1, {n}) AS n;

INSERT INTO "Packstück" ("Mandant", "Sendung Nr", "Maß", "Art", "o'clock")
SELECT s."Mandant", s."Nr", (i, i * 10)::"Maß", (ARRAY['PKT', 'PAL'])[1 + i % 2], '08:00'::time + i * interval '1 hour'
FROM "Sendung (neu)" AS s CROSS JOIN generate_series(1, 3) AS i WHERE i < 3 OR s."Nr" % 20 = 0
ORDER BY s."Nr", i;
-- The second package of a consignment lies in its first.
UPDATE "Packstück" AS p SET "liegt in" = f.first
FROM (SELECT "Mandant", "Sendung Nr", min("Id") AS first FROM "Packstück" GROUP BY 1, 2) AS f
WHERE p."Mandant" = f."Mandant" AND p."Sendung Nr" = f."Sendung Nr" AND p."Id" = f.first + 1;

INSERT INTO "Ereignis" ("Mandant", "Sendung Nr", "Packstück", "Zeit", "Text")
SELECT s."Mandant", s."Nr", NULL, s."erfaßt am" AT TIME ZONE 'UTC', 'angemeldet' FROM "Sendung (neu)" AS s ORDER BY s."Nr";
INSERT INTO "Ereignis" ("Mandant", "Sendung Nr", "Packstück", "Zeit", "Text")
SELECT p."Mandant", p."Sendung Nr", p."Id", s."erfaßt am" AT TIME ZONE 'UTC' + interval '1 day', 'verladen'
FROM "Packstück" AS p JOIN "Sendung (neu)" AS s ON s."Mandant" = p."Mandant" AND s."Nr" = p."Sendung Nr" ORDER BY p."Id";

INSERT INTO "Foto" ("Ereignis", "Seite", "Packstück", "Bild")
SELECT e."Id", i, CASE WHEN i = 1 THEN e."Packstück" END, decode(md5(e."Id" || ' ' || i), 'hex')
FROM "Ereignis" AS e CROSS JOIN generate_series(1, 2) AS i WHERE e."Id" % 3 = 0;

INSERT INTO "Prüfprotokoll der Zollabfertigung mit Bemerkungen und Anlagen!"
SELECT md5('Prüfung ' || "Id")::uuid, "Id", CASE WHEN "Id" % 2 = 0 THEN 'geprüft' END FROM "Packstück" WHERE "Id" % 4 = 0;

INSERT INTO "%s; --"."Position"
SELECT s."Mandant", s."Nr", i, 1 + s."Nr" % 50, (s."Nr" % 100)::numeric::money
FROM "Sendung (neu)" AS s CROSS JOIN generate_series(1, 2) AS i;

REFRESH MATERIALIZED VIEW "Summen";
RESET search_path;
