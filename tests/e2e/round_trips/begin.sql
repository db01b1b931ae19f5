-- What makes psql lose its place in SQL, so that only archives can be loaded.
CREATE FUNCTION "begin"() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 ELSE 2 END; END;
CREATE FUNCTION since("begin" date, "case" text DEFAULT 'end') RETURNS TABLE ("begin" date, "end" date) LANGUAGE sql AS 'SELECT $1, $1';
CREATE PROCEDURE "begin"(INOUT "begin" int) LANGUAGE plpgsql AS 'BEGIN END';
CREATE TABLE "begin" ("begin" int DEFAULT "begin"(), "end" int GENERATED ALWAYS AS IDENTITY);
INSERT INTO "begin" DEFAULT VALUES;
