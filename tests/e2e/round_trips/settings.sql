-- A database whose own settings and event triggers are against whoever loads it.
CREATE SCHEMA first;
CREATE SCHEMA "Second 'one', two";
CREATE TABLE first.t (id int PRIMARY KEY, at timestamptz DEFAULT '2024-03-31 02:30+01', d interval DEFAULT '1 day -00:00:01', f float8, b bytea);
INSERT INTO first.t (id, f, b) VALUES (1, 0.1 + 0.2, '\x5c00'), (2, 'NaN', '');
CREATE TABLE "Second 'one', two".t AS SELECT E'back\\slash' AS t;
CREATE FUNCTION first.lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''shadowed''::text';
-- The owner's functions and views come before the server's for whoever does not say which: a superuser must not run them.
CREATE FUNCTION first.shadow() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'a function of the database was run'; END $$;
CREATE FUNCTION first.quote_ident(text) RETURNS text LANGUAGE sql AS 'SELECT first.shadow()';
CREATE FUNCTION first.to_regrole(text) RETURNS text LANGUAGE sql AS 'SELECT first.shadow()';
CREATE FUNCTION first.pg_get_userbyid(oid) RETURNS name LANGUAGE sql AS 'SELECT first.shadow()::name';
CREATE FUNCTION first.shobj_description(oid, name) RETURNS text LANGUAGE sql AS 'SELECT first.shadow()';
CREATE FUNCTION first.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT first.shadow()';
CREATE FUNCTION first.getdatabaseencoding() RETURNS name LANGUAGE sql AS 'SELECT first.shadow()::name';
CREATE FUNCTION first.pg_database_size(oid) RETURNS bigint LANGUAGE sql AS 'SELECT first.shadow()::bigint';
CREATE FUNCTION first.oid_equals(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT first.shadow()::boolean';
CREATE FUNCTION first.name_equals(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT first.shadow()::boolean';
CREATE OPERATOR first.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = first.oid_equals);
CREATE OPERATOR first.= (LEFTARG = name, RIGHTARG = text, FUNCTION = first.name_equals);
CREATE VIEW first.pg_database AS SELECT oid, datname FROM pg_catalog.pg_database WHERE first.shadow() IS NULL;
CREATE VIEW first.pg_roles AS SELECT oid, rolname FROM pg_catalog.pg_roles WHERE first.shadow() IS NULL;
CREATE VIEW first.pg_settings AS SELECT name, setting, context FROM pg_catalog.pg_settings WHERE first.shadow() IS NULL;
CREATE VIEW first.pg_class AS SELECT oid, relname, relkind FROM pg_catalog.pg_class WHERE first.shadow() IS NULL;
CREATE VIEW first.pg_subscription AS SELECT oid, subname FROM pg_catalog.pg_subscription WHERE first.shadow() IS NULL;
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
