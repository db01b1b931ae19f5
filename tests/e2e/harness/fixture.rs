//! A database that has some of everything that pg_dump knows.

use super::cluster::Database;

/// Names and data that break careless quoting, keys that break a restore over old rows, and most kinds of object.
pub fn fill_with_everything(database: &Database<'_>) {
    database.sql(EVERYTHING);
    database.fill(2_000);
}

/// The SQL of a database that one job can load, and two cannot: `large` makes a table `large (id, text)` whose rows look
/// others up, by the functions `is_known` and `look_up`. One job takes the tables by their names. Two take them by their
/// size, or as they were made: one job takes the large one, and fails at its first row, while the other one is held up.
pub fn for_one_job_only(large: &str) -> String {
    format!(
        "CREATE FUNCTION is_known(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN RETURN EXISTS (SELECT FROM public.known WHERE id = $1); END $$;
         CREATE FUNCTION look_up(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
         DECLARE found int; BEGIN
             SELECT id INTO STRICT found FROM public.known WHERE id = $1; RETURN found;
         END $$;
         CREATE FUNCTION outlasts_other_jobs(id int) RETURNS boolean LANGUAGE plpgsql AS $$
         DECLARE deadline timestamptz := pg_catalog.clock_timestamp() + interval '20 s';
         BEGIN
             IF id = 1 THEN
                 -- Until the others have connected.
                 PERFORM pg_catalog.pg_sleep(1);
                 WHILE (SELECT count(*) FROM pg_catalog.pg_stat_activity
                        WHERE datname = pg_catalog.current_database()) > 1
                     AND pg_catalog.clock_timestamp() < deadline
                 LOOP
                     PERFORM pg_catalog.pg_sleep(0.05), pg_catalog.pg_stat_clear_snapshot();
                 END LOOP;
             END IF;
             RETURN true;
         END $$;
         {large};
         CREATE TABLE zz_slow (id int CHECK (outlasts_other_jobs(id)), text text);
         CREATE TABLE known (id int);
         INSERT INTO known SELECT generate_series(1, 20);
         INSERT INTO zz_slow SELECT i, md5(i::text) FROM generate_series(1, 200) i;
         INSERT INTO large (id, text) SELECT i % 20 + 1, md5(i::text) FROM generate_series(1, 20000) i;"
    )
}

/// The SQL of [`fill_with_everything`], without the rows of [`Database::fill`].
pub const EVERYTHING: &str = r#"
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
CREATE EXTENSION hstore;
CREATE EXTENSION citext WITH SCHEMA "the ""other"" schema";
CREATE EXTENSION btree_gist;
CREATE TABLE extended (
    pairs hstore, word "the ""other"" schema".citext, during tstzrange,
    EXCLUDE USING gist (during WITH &&)
);
INSERT INTO extended VALUES ('a=>1, "b c"=>NULL', 'MiXed', '[2024-01-01, 2024-02-01)'), (NULL, '', 'empty');
CREATE DOMAIN grade AS positive CHECK (VALUE < 7) DEFAULT 3;
CREATE TYPE span AS RANGE (subtype = numeric);
CREATE COLLATION backwards (provider = libc, locale = 'POSIX');
CREATE TABLE typed (
    grade grade, span span, pairs pair[], moods mood[], cube int[][], bits bit varying(5), xid uuid, inet inet,
    sorted text COLLATE backwards, plain text COLLATE "C", json json, path jsonpath
);
INSERT INTO typed VALUES
    (6, '[1.5,)', ARRAY[(1,'{"x"}')::pair, NULL], '{sad,"it''s fine"}', '{{1,2},{3,NULL}}', B'101',
     '00000000-0000-0000-0000-00000000000f', '::1/64', 'ß', E'\r\n', '{"a": 1,  "a": 2}', '$.a[*] ? (@ > 1)');
CREATE INDEX ON typed (sorted COLLATE "C" text_pattern_ops);
CREATE TABLE parent (id int PRIMARY KEY, note text NOT NULL DEFAULT 'n');
CREATE TABLE child (extra bytea DEFAULT '\xdeadbeef', CHECK (id > 0) NO INHERIT) INHERITS (parent);
CREATE TABLE dropped (a int, b int, c int GENERATED BY DEFAULT AS IDENTITY);
ALTER TABLE dropped DROP COLUMN b;
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 'from the child');
INSERT INTO dropped (a) VALUES (NULL), (7);
CREATE TABLE tree (region text, id int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE tree_eu PARTITION OF tree FOR VALUES IN ('de', 'fr') PARTITION BY HASH (id);
CREATE TABLE tree_eu_0 PARTITION OF tree_eu FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE tree_eu_1 PARTITION OF tree_eu FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE leaf (region text, id int, FOREIGN KEY (region, id) REFERENCES tree DEFERRABLE INITIALLY DEFERRED);
INSERT INTO tree SELECT CASE i % 2 WHEN 0 THEN 'de' ELSE 'fr' END, i FROM generate_series(1, 20) i;
INSERT INTO leaf VALUES ('de', 2), ('fr', NULL);
CREATE VIEW base AS SELECT id, note FROM parent;
CREATE VIEW upper AS SELECT id, upper(note) AS note FROM base WITH CASCADED CHECK OPTION;
CREATE VIEW top WITH (security_barrier) AS SELECT * FROM upper JOIN typed ON (typed.grade > upper.id);
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM top;
CREATE MATERIALIZED VIEW empty AS SELECT * FROM snapshot WITH NO DATA;
CREATE FUNCTION announce() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER announced ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION announce();
COMMENT ON EVENT TRIGGER announced IS 'loud';
CREATE RULE nowhere AS ON DELETE TO dropped DO INSTEAD NOTHING;
CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = ===);
CREATE CAST (pair AS text) WITH INOUT;
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS x;
SELECT lo_from_bytea(424242, decode(repeat('00ff', 5000), 'hex'));
COMMENT ON LARGE OBJECT 424242 IS 'five thousand pairs';
COMMENT ON COLUMN typed.sorted IS E'two\nlines -- and \'; DROP TABLE typed;';
CREATE TABLE "ÜPPER ☃ 'table'" ("col ""umn" int, "select" text);
INSERT INTO "ÜPPER ☃ 'table'" VALUES (1, 'a' || repeat('wide ', 3000));
"#;
