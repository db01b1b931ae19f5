//! A dump of a whole server for unit tests.

/// As pg_dumpall --clean of version 15 writes it, shortened.
pub const DUMP: &str = r#"--
-- PostgreSQL database cluster dump
--
\restrict a
SET default_transaction_read_only = off;
DROP DATABASE IF EXISTS app;
DROP ROLE IF EXISTS reader;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
CREATE ROLE reader;
ALTER ROLE reader WITH LOGIN;
GRANT postgres TO reader GRANTED BY postgres;
CREATE TABLESPACE fast OWNER reader LOCATION '/fast';
GRANT ALL ON TABLESPACE fast TO reader;
\unrestrict a
\connect template1
\restrict b
SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);
\unrestrict b
\restrict c
SET statement_timeout = 0;
CREATE DATABASE app WITH TEMPLATE = template0;
ALTER DATABASE app OWNER TO reader;
\unrestrict c
\connect app
\restrict c
COMMENT ON DATABASE app IS 'the app';
ALTER DATABASE app SET work_mem TO '5MB';
ALTER ROLE reader IN DATABASE app SET work_mem TO '6MB';
CREATE TABLE public.t (x integer);
COPY public.t (x) FROM stdin;
1
\connect postgres
\.
GRANT CONNECT ON DATABASE app TO reader;
\unrestrict c
\restrict d
UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = 'postgres';
DROP DATABASE postgres;
CREATE DATABASE postgres WITH TEMPLATE = template0;
\unrestrict d
\connect postgres
\restrict d
SET transaction_timeout = 0;
CREATE TABLE public.u (x integer);
\unrestrict d
--
-- PostgreSQL database cluster dump complete
--
"#;
