//! A database that has some of everything that pg_dump knows.

use super::cluster::Database;

/// Names and data that break careless quoting, keys that break a restore over old rows, and most kinds of object.
pub fn fill_with_everything(database: &Database<'_>) {
    database.sql(EVERYTHING);
    database.fill(2_000);
}

const EVERYTHING: &str = r#"
CREATE SCHEMA "the ""other"" schema";
COMMENT ON SCHEMA "the ""other"" schema" IS E'it''s\nquoted';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s fine');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE "the ""other"" schema"."Odd Table" (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text, bytes bytea, mood mood, number numeric, at timestamptz, list int[], pair pair, json jsonb,
    doubled bigint GENERATED ALWAYS AS (7 * 2) STORED, up positive DEFAULT 1
);
INSERT INTO "the ""other"" schema"."Odd Table" (text, bytes, mood, number, at, list, pair, json) VALUES
    (E'tab\there', '\x00ff10', 'sad', 'NaN', 'infinity', '{1,NULL,3}', '(1,"x,y")', '{"a":"\u00e9"}'),
    (E'back\\slash\nline', NULL, 'it''s fine', 1e-30, '2024-02-29 12:00+00', '{}', NULL, 'null'),
    ('', '', NULL, -0.5, '-infinity', NULL, '(,)', '[]'),
    (E'\\.', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('snow ☃ and ümlaut', NULL, 'ok', NULL, NULL, NULL, NULL, NULL);
CREATE VIEW summary AS SELECT count(*) AS rows FROM "the ""other"" schema"."Odd Table";
CREATE MATERIALIZED VIEW snapshot AS SELECT id, text FROM "the ""other"" schema"."Odd Table" ORDER BY id;
CREATE UNIQUE INDEX ON snapshot (id);
CREATE TABLE measured (day date NOT NULL, value int) PARTITION BY RANGE (day);
CREATE TABLE measured_2024 PARTITION OF measured FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE measured_rest PARTITION OF measured DEFAULT;
INSERT INTO measured SELECT '2024-06-01'::date + i, i FROM generate_series(0, 400) i;
CREATE SEQUENCE loose INCREMENT 5 START 100;
SELECT nextval('loose'), nextval('loose');
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE PROCEDURE nothing() LANGUAGE plpgsql AS $body$ BEGIN NULL; END $body$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN RETURN NEW; END $body$;
CREATE TRIGGER touched BEFORE UPDATE ON "the ""other"" schema"."Odd Table" FOR EACH ROW EXECUTE FUNCTION touch();
CREATE INDEX halves ON measured (twice(value)) WHERE value > 3;
ALTER TABLE measured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON measured USING (value > 0);
CREATE STATISTICS together ON day, value FROM measured_2024;
CREATE PUBLICATION news FOR TABLE measured;
GRANT SELECT ON summary TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC;
SELECT lo_from_bytea(0, 'a large object');
COMMENT ON TABLE measured IS 'percent %s, dollar $1, backslash \';
"#;
