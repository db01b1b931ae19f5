-- Types of the extensions that come with the server, with keys, indexes and rows.
CREATE SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext;
CREATE EXTENSION btree_gin;
CREATE EXTENSION btree_gist;
CREATE EXTENSION cube;
CREATE EXTENSION earthdistance;
CREATE EXTENSION fuzzystrmatch;
CREATE EXTENSION intarray;
CREATE EXTENSION isn;
CREATE EXTENSION ltree SCHEMA ext;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION seg;
CREATE EXTENSION tablefunc;
CREATE EXTENSION unaccent;
CREATE EXTENSION xml2;
CREATE EXTENSION moddatetime;
CREATE EXTENSION insert_username;
CREATE EXTENSION dict_xsyn;
CREATE EXTENSION tsm_system_rows;
CREATE EXTENSION pageinspect;
CREATE EXTENSION amcheck;
CREATE EXTENSION pg_stat_statements;
CREATE TABLE things (
    id int PRIMARY KEY, pairs ext.hstore, word citext UNIQUE, box cube, part seg, book isbn13, path ext.ltree, list int[],
    spot earth DEFAULT '(6378168, 0, 0)', EXCLUDE USING gist (box WITH &&)
);
INSERT INTO things SELECT i, ext.hstore('a', i::text), 'Word' || i, cube(i, i + 0.5), '1 .. 2', '978-0-306-40615-7', ('top.' || i)::ext.ltree, ARRAY[i, i + 1]
FROM generate_series(1, 200) i;
CREATE INDEX ON things USING gin (id, (word::text) gin_trgm_ops);
CREATE INDEX ON things USING gist (path);
CREATE INDEX ON things USING gin (pairs);
CREATE INDEX ON things USING gin (list gin__int_ops);
CREATE INDEX ON things (soundex(word::text));
CREATE FUNCTION plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT public.unaccent('public.unaccent', $1) $$;
CREATE INDEX ON things (plain(word::text));
CREATE TRIGGER who BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION insert_username('word');
CREATE VIEW keys AS SELECT ext.skeys(pairs) AS key, digest(word::text, 'sha256') AS digest FROM things;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM keys WHERE key OPERATOR(pg_catalog.=) 'a';
