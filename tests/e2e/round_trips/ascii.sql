-- SQL_ASCII: bytes that are no text anywhere else, in data and in names, some of them valid UTF-8.
DO $$
BEGIN
    EXECUTE format('CREATE TABLE %I (%I text PRIMARY KEY, plain int)', E'caf\xe9', E'\xe9t\xe9');
    EXECUTE format('INSERT INTO %I VALUES (%L, 1), (%L, 2), (%L, 3)', E'caf\xe9', E'\xe9', E'\xc3\xa9', E'\xff\xfe');
    EXECUTE format('CREATE TYPE kind AS ENUM (%L, %L)', E'\xe0', 'b');
    EXECUTE format('CREATE TABLE kinds (kind kind DEFAULT %L, CHECK (kind <> %L))', E'\xe0', 'b');
    EXECUTE format('COMMENT ON TABLE %I IS %L', E'caf\xe9', E'ouvert la journ\xe9e');
    EXECUTE format('CREATE FUNCTION word() RETURNS text LANGUAGE sql AS %L', E'SELECT ''\xe9''::text');
    EXECUTE format('CREATE INDEX %I ON %I (upper(%I))', E'\xe9 index', E'caf\xe9', E'\xe9t\xe9');
END $$;
INSERT INTO kinds VALUES (DEFAULT);
SELECT lo_from_bytea(5, '\xe9ff00');
