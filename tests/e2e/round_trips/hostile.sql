-- Names and text that break careless quoting, in every place where a name can stand.
CREATE SCHEMA "sch""ema; DROP TABLE x; -- 'q' \ $$ %n" AUTHORIZATION "Röle 'q' ""dq"" \ $1; %s --";
SET search_path = "sch""ema; DROP TABLE x; -- 'q' \ $$ %n";
CREATE TYPE "ty pe" AS ENUM ('', 'a''b', E'c\\d', E'e\nf', '"g"', '{h,i}', 'ü');
CREATE DOMAIN "do""main" AS text DEFAULT E'\\''$$' CONSTRAINT "c'1" CHECK (VALUE <> E'\n');
CREATE TABLE "ta""ble
\connect postgres" (
    "select" int PRIMARY KEY, "co,l""umn" text, "$1" "ty pe"[], "\." "do""main", "%s" text DEFAULT '\''--', "tab	tab" text,
    "ñññññññññññññññññññññññññññññññn" text, "stdin;" text, " " text, "é" text GENERATED ALWAYS AS ("tab	tab" || ';') STORED
);
INSERT INTO "ta""ble
\connect postgres" VALUES
    (1, E'\\.', ARRAY['', 'a''b', E'c\\d', E'e\nf', '"g"', '{h,i}']::"ty pe"[], E'\\.', E'\\N', E'\t', E'\r\n', E'\x01\x7f', ' '),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, E'COPY x FROM stdin;\n\\.\n\\! touch /tmp/x\n', '{NULL,ü}', '', E'\\\\.', E'\b\f\v', '☃𝄞', '-- Name: x; Type: TABLE', E'\\restrict x');
CREATE INDEX "in""dex;" ON "ta""ble
\connect postgres" ("co,l""umn" text_pattern_ops, ("%s" || '\''"'));
CREATE VIEW "vi""ew" AS SELECT "$1", '$1 %s \ " '' -- /* '::text AS "as", E'\n' AS "new
line" FROM "ta""ble
\connect postgres";
CREATE FUNCTION "fun""ction"("ar""g" int DEFAULT 1, "case" text DEFAULT '$body$') RETURNS text LANGUAGE plpgsql AS $f$
DECLARE "end" text := $body$ $1 \ ' " $body$;
BEGIN
-- \connect somewhere
RETURN "end" || $_$ $$ $_$;
END $f$;
CREATE TABLE "begin" ("begin" int, "commit" int, "end" int, "create database" int);
INSERT INTO "begin" VALUES (1, 2, 3, 4);
CREATE SEQUENCE "se'q""uence" START 3;
CREATE TABLE "uses" (id int DEFAULT nextval('"se''q""uence"'), kind "ty pe" DEFAULT E'c\\d');
CREATE TRIGGER "tri""gger" BEFORE UPDATE ON "uses" FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE "ru""le" AS ON DELETE TO "uses" DO INSTEAD NOTHING;
CREATE POLICY "po""licy" ON "uses" TO "Röle 'q' ""dq"" \ $1; %s --" USING (kind <> E'e\nf');
CREATE PUBLICATION "pub""lication' \" FOR TABLE "begin";
CREATE OPERATOR <&-> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4mi);
CREATE OPERATOR ~~|`?#@& (LEFTARG = int, RIGHTARG = int, FUNCTION = int4mi);
CREATE COLLATION "col'lation""" (provider = libc, locale = 'C');
CREATE TABLE "sorted" (t text COLLATE "col'lation""");
GRANT SELECT ON "vi""ew" TO "Röle 'q' ""dq"" \ $1; %s --", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
ALTER TABLE "begin" OWNER TO "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
COMMENT ON TABLE "begin" IS E'\\connect postgres\n\\.\nCREATE DATABASE x;\n-- PostgreSQL database dump complete\n';
COMMENT ON FUNCTION "fun""ction" IS E'it''s \\ "quoted" $1 %s ☃\r\n';
SELECT lo_from_bytea(1, convert_to(E'\\.\nDROP DATABASE x;', 'UTF8'));
COMMENT ON LARGE OBJECT 1 IS E'''; DROP TABLE x; --';
COMMENT ON SCHEMA public IS E'of\nours';
