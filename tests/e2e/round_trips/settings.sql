-- A database whose own settings and event triggers are against whoever loads it.
CREATE SCHEMA first;
CREATE SCHEMA "Second 'one', two";
CREATE TABLE first.t (id int PRIMARY KEY, at timestamptz DEFAULT '2024-03-31 02:30+01', d interval DEFAULT '1 day -00:00:01', f float8, b bytea);
INSERT INTO first.t (id, f, b) VALUES (1, 0.1 + 0.2, '\x5c00'), (2, 'NaN', '');
CREATE TABLE "Second 'one', two".t AS SELECT E'back\\slash' AS t;
CREATE FUNCTION first.lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''shadowed''::text';
CREATE VIEW first.v AS SELECT pg_catalog.lower('A') AS low, first.lower('A') AS other;
CREATE TABLE first.secured (x int);
INSERT INTO first.secured VALUES (1), (2);
ALTER TABLE first.secured OWNER TO app_owner;
ALTER TABLE first.secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE FUNCTION first.forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('app.may', true) IS DISTINCT FROM 'yes' THEN RAISE 'no DDL here: %', tg_tag; END IF;
END $$;
CREATE EVENT TRIGGER forbid ON ddl_command_start EXECUTE FUNCTION first.forbid();
ALTER EVENT TRIGGER forbid ENABLE ALWAYS;
