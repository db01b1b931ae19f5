use super::*;

fn roles(statement: &str) -> Vec<String> {
    Mentions::of(statement.as_bytes()).roles
}

#[test]
fn the_roles_that_statements_name_are_found() {
    for (statement, expected) in [
        ("ALTER TABLE public.owner OWNER TO \"Odd role\";", &["Odd role"][..]),
        ("ALTER TABLE IF EXISTS ONLY owner OWNER TO a;", &["a"]),
        ("ALTER FUNCTION public.f(owner integer, \"to\" text) OWNER TO a;", &["a"]),
        ("ALTER AGGREGATE public.g(*) OWNER TO a;", &["a"]),
        ("ALTER OPERATOR public.=== (integer, NONE) OWNER TO a;", &["a"]),
        ("ALTER OPERATOR class.+ (integer, integer) OWNER TO a;", &["a"]),
        ("ALTER OPERATOR CLASS public.oc USING btree OWNER TO a;", &["a"]),
        ("ALTER OPERATOR FAMILY public.oc USING btree OWNER TO a;", &["a"]),
        ("ALTER TEXT SEARCH DICTIONARY public.d OWNER TO a;", &["a"]),
        ("ALTER MATERIALIZED VIEW public.v OWNER TO a;", &["a"]),
        ("ALTER PROCEDURAL LANGUAGE l OWNER TO a;", &["a"]),
        ("ALTER LARGE OBJECT 16415 OWNER TO a;", &["a"]),
        ("ALTER EVENT TRIGGER e OWNER TO a;", &["a"]),
        ("ALTER DATABASE d OWNER TO a;", &["a"]),
        ("ALTER ROLE a IN DATABASE d SET work_mem TO '6MB';", &["a"]),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b;", &["a", "b"]),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON FUNCTIONS FROM PUBLIC;", &["a"]),
        ("GRANT SELECT(a),INSERT(\"to\") ON TABLE s.t TO a, \"b c\" WITH GRANT OPTION;", &["a", "b c"]),
        ("GRANT SELECT ON TABLE t TO pg_monitor, GROUP a;", &["pg_monitor", "a"]),
        ("GRANT SELECT ON TABLE s.to TO a GRANTED BY b;", &["a", "b"]),
        ("GRANT ALL ON FUNCTION f(a integer) TO a;", &["a"]),
        ("GRANT a TO b WITH INHERIT TRUE GRANTED BY c;", &["a", "b", "c"]),
        ("REVOKE ADMIN OPTION FOR a FROM b;", &["a", "b"]),
        ("REVOKE ALL ON SCHEMA public FROM PUBLIC;", &[]),
        ("REVOKE GRANT OPTION FOR SELECT ON TABLE t FROM a CASCADE;", &["a"]),
        ("CREATE POLICY p ON s.t AS RESTRICTIVE FOR SELECT TO a, b USING ((x = 1));", &["a", "b"]),
        ("CREATE SCHEMA s AUTHORIZATION a;", &["a"]),
        ("CREATE SCHEMA AUTHORIZATION a;", &["a"]),
        ("CREATE USER MAPPING FOR a SERVER s OPTIONS (password 'for x');", &["a"]),
        ("CREATE USER MAPPING FOR \"public\" SERVER s;", &[]),
        ("CREATE DATABASE d WITH TEMPLATE = owner CONNECTION LIMIT = -1 OWNER = a;", &["a"]),
        ("CREATE TABLESPACE fast OWNER a LOCATION '/x';", &["a"]),
        ("SET SESSION AUTHORIZATION a;", &["a"]),
        ("SET SESSION AUTHORIZATION 'it''s a';", &["it's a"]),
    ] {
        assert_eq!(roles(statement), expected, "{statement}");
    }
}

#[test]
fn words_that_look_alike_name_no_role() {
    for statement in [
        "CREATE DEFAULT CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;",
        "CREATE CONVERSION public.c FOR 'LATIN1' TO 'UTF8' FROM f;",
        "CREATE CAST (text AS public.owner) WITH FUNCTION public.to(text);",
        "CREATE TRANSFORM FOR integer LANGUAGE l (FROM SQL WITH FUNCTION f(internal));",
        "CREATE TABLE t (owner text, \"to\" int);",
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO (10);",
        "CREATE VIEW v AS SELECT 1 FROM mapping FOR UPDATE;",
        "CREATE RULE r AS ON UPDATE TO t DO INSTEAD NOTHING;",
        "CREATE POLICY p ON to USING ((x = owner));",
        "CREATE FUNCTION f(\"to\" integer) RETURNS integer LANGUAGE sql SET role TO 'x' AS $$ GRANT a TO b $$;",
        "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION authorization_for_role;",
        "ALTER TABLE ONLY t ATTACH PARTITION p FOR VALUES FROM (1) TO (10);",
        "ALTER TABLE t RENAME COLUMN owner TO a;",
        "ALTER TABLE t ALTER COLUMN owner SET DEFAULT 'x';",
        "ALTER TYPE t RENAME VALUE 'a' TO 'b';",
        "ALTER TEXT SEARCH CONFIGURATION c ADD MAPPING FOR word WITH simple;",
        "SET SESSION AUTHORIZATION DEFAULT;",
        "SET ROLE NONE;",
        "INSERT INTO t VALUES ('x OWNER TO b');",
        "COMMENT ON TABLE t IS 'GRANT a TO b';",
    ] {
        assert_eq!(Mentions::of(statement.as_bytes()), Mentions::default(), "{statement}");
    }
}

#[test]
fn what_only_a_superuser_may_own_is_told() {
    let superuser = |statement: &str| Mentions::of(statement.as_bytes()).superuser;
    for kind in ["EVENT TRIGGER", "FOREIGN DATA WRAPPER", "SUBSCRIPTION"] {
        assert_eq!(superuser(&format!("ALTER {kind} x OWNER TO a;")), Some("a".into()), "{kind}");
    }
    for kind in ["TABLE", "FOREIGN TABLE", "SERVER", "PUBLICATION", "LANGUAGE"] {
        assert_eq!(superuser(&format!("ALTER {kind} x OWNER TO a;")), None, "{kind}");
    }
}

#[test]
fn tablespaces_are_found_where_one_is_named() {
    for (statement, expected) in [
        ("SET default_tablespace = fast;", Some("fast")),
        ("SET default_tablespace = \"Fast 1\";", Some("Fast 1")),
        ("SET default_tablespace = '';", None),
        ("SET default_table_access_method = heap;", None),
        ("CREATE TABLE tablespace (tablespace text) TABLESPACE fast;", Some("fast")),
        ("CREATE UNLOGGED TABLE t (a int) PARTITION BY RANGE (a) TABLESPACE fast;", Some("fast")),
        (
            "CREATE UNIQUE INDEX i ON s.t USING btree (tablespace) WITH (fillfactor='70') TABLESPACE fast;",
            Some("fast"),
        ),
        ("CREATE INDEX tablespace ON ONLY tablespace USING btree (a) WHERE (tablespace > 1);", None),
        ("CREATE MATERIALIZED VIEW v TABLESPACE fast AS SELECT 1;", Some("fast")),
        ("CREATE MATERIALIZED VIEW v AS SELECT f(1) tablespace;", None),
        ("ALTER TABLE ONLY t ADD CONSTRAINT c PRIMARY KEY (id) USING INDEX TABLESPACE fast;", Some("fast")),
        ("ALTER TABLE ONLY t SET TABLESPACE fast;", Some("fast")),
        ("ALTER INDEX s.i SET TABLESPACE fast;", Some("fast")),
        ("ALTER MATERIALIZED VIEW v SET TABLESPACE fast;", Some("fast")),
        ("CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = fast;", Some("fast")),
    ] {
        assert_eq!(Mentions::of(statement.as_bytes()).tablespace.as_deref(), expected, "{statement}");
    }
}

#[test]
fn extensions_are_found_with_schema_and_version() {
    let extension = |statement: &str| Mentions::of(statement.as_bytes()).extension.unwrap();
    let found = extension("CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA \"My schema\";");
    assert_eq!((found.name.as_str(), found.schema.as_deref()), ("uuid-ossp", Some("My schema")));
    let found = extension("CREATE EXTENSION schema VERSION '1.2' CASCADE;");
    assert_eq!((found.name.as_str(), found.schema, found.version.as_deref()), ("schema", None, Some("1.2")));
}

#[test]
fn what_breaks_off_is_no_trouble() {
    let statement = "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT(a) ON TABLES TO \"b\", c;";
    let database = "CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = fast;";
    for text in [statement, database, "SET SESSION AUTHORIZATION 'it''s';"] {
        for end in 0..text.len() {
            let _ = Mentions::of(&text.as_bytes()[..end]);
        }
    }
}
