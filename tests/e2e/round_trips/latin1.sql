-- LATIN1: the client writes UTF-8, the server keeps one byte for each.
CREATE SCHEMA "schön";
CREATE TABLE "schön"."Größe" ("länge" text PRIMARY KEY, "µ" "char", byte bytea DEFAULT '\xe9');
INSERT INTO "schön"."Größe" VALUES ('naïve café £ ÿ', 'x', '\x00e9'), ('½', NULL, NULL);
CREATE TYPE "schön".farbe AS ENUM ('weiß', 'grün');
CREATE TABLE "schön".farben (farbe "schön".farbe CHECK (farbe <> 'weiß'), t tsvector DEFAULT 'ärger');
INSERT INTO "schön".farben VALUES ('grün');
CREATE FUNCTION "schön"."übung"() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'ÄÖÜ'::text $$;
CREATE INDEX ON "schön"."Größe" ((upper("länge") || "schön"."übung"()));
COMMENT ON TABLE "schön"."Größe" IS 'Größe é';
