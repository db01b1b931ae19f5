//! The databases: what each is like, and what in it could come back wrong.

use crate::harness::*;

/// Roles and tablespaces that the databases need.
pub const ROLES: &str = include_str!("roles.sql");
/// The value of a setting that must lie nowhere in clear when backups are encrypted.
pub const SECRET: &str = "s3cr3t-of-the-application";

const OBJECTS: &str = include_str!("objects.sql");
const HOSTILE: &str = include_str!("hostile.sql");
const LATIN1: &str = include_str!("latin1.sql");
const EUC_JP: &str = include_str!("eucjp.sql");
const SQL_ASCII: &str = include_str!("ascii.sql");
const ORDERED: &str = include_str!("ordered.sql");
const SETTINGS: &str = include_str!("settings.sql");
const BEGIN: &str = include_str!("begin.sql");
const PARTITIONS: &str = include_str!("partitions.sql");

/// The same collations by ICU, and by what a server without ICU has.
const ICU_COLLATIONS: &str = include_str!("collations_icu.sql");
const OTHER_COLLATIONS: &str = include_str!("collations.sql");

/// The formats that go to pg_restore.
const ARCHIVES: &[&str] = &["-Fc", "-Ft", "-Fd -j2", "encrypted -Fc"];

/// A database to be made, in an order in which `properties` work.
pub struct Subject {
    pub name: &'static str,
    /// What follows `CREATE DATABASE name TEMPLATE template0`.
    clauses: &'static str,
    contents: Vec<&'static str>,
    /// Statements for its properties, with `{}` for its name.
    properties: &'static str,
    /// The formats in which it is backed up, by their labels; none for all.
    formats: &'static [&'static str],
}

impl Subject {
    /// Whether it is backed up in a format.
    pub fn is_in(&self, format: &str) -> bool {
        self.formats.is_empty() || self.formats.contains(&format)
    }

    /// Makes it.
    pub fn make(&self, server: &Cluster) {
        let name = quoted(self.name);
        server.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0 {}", self.clauses));
        self.contents.iter().for_each(|sql| drop(server.sql(self.name, sql)));
        server.sql("postgres", &self.properties.replace("{}", &name));
    }
}

/// Labels for one of them, where the servers have a provider.
pub const LABELS: [(&str, &str); 2] = [
    ("postgres", r#"SECURITY LABEL FOR labels ON DATABASE objects IS E'it''s\n"labelled" \\ $1'"#),
    ("objects", "SECURITY LABEL FOR labels ON TABLE app.rooms IS 'a table''s'"),
];

/// One that is backed up in every format.
fn subject(
    name: &'static str,
    clauses: &'static str,
    contents: &[&'static str],
    properties: &'static str,
) -> Subject {
    Subject { name, clauses, contents: contents.to_vec(), properties, formats: &[] }
}

/// Those for a server of version 18 with ICU.
pub fn with_rules() -> Vec<Subject> {
    let rules = "LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C.UTF-8' ICU_RULES '&V << w <<< W & ''a'' < b'";
    vec![
        subject(
            "other rules",
            "ICU_RULES '&V << w <<< W'",
            &[ORDERED],
            "ALTER DATABASE {} OWNER TO app_owner",
        ),
        subject("of its own", rules, &[ORDERED], "COMMENT ON DATABASE {} IS 'rules'"),
        subject("c", "LOCALE_PROVIDER libc LOCALE 'C'", &[ORDERED], ""),
        subject("latin1", "LOCALE_PROVIDER icu ICU_LOCALE 'fr' ENCODING LATIN1 LOCALE 'C'", &[LATIN1], ""),
        subject("built in", "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST'", &[ORDERED], ""),
    ]
}

/// The databases for a server of this major version.
pub fn of(major: u32) -> Vec<Subject> {
    let old = major < 17;
    let collations = if old { ICU_COLLATIONS } else { OTHER_COLLATIONS };
    let own_order = if old {
        "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' LOCALE 'C.UTF-8'"
    } else {
        "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' LOCALE 'C'"
    };
    let mut subjects = vec![
        subject("objects", "", &[fixture::EVERYTHING, collations, OBJECTS], OBJECTS_PROPERTIES),
        subject(
            r#"Hos"tile' \ $1; %n ü"#,
            "LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
            &[HOSTILE],
            HOSTILE_PROPERTIES,
        ),
        subject(
            "latin1",
            "LOCALE_PROVIDER libc LOCALE 'C' ENCODING LATIN1",
            &[LATIN1],
            "ALTER DATABASE {} OWNER TO app_reader; ALTER DATABASE {} CONNECTION LIMIT 2;
             ALTER DATABASE {} SET client_encoding = 'LATIN1'; COMMENT ON DATABASE {} IS 'Größe €'",
        ),
        subject(
            "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "LOCALE_PROVIDER libc LOCALE 'C' ENCODING EUC_JP TABLESPACE fast",
            &[EUC_JP],
            "REVOKE ALL ON DATABASE {} FROM PUBLIC, backup_login; ALTER DATABASE {} IS_TEMPLATE true",
        ),
        subject(
            "ascii",
            "LOCALE_PROVIDER libc LOCALE 'C' ENCODING SQL_ASCII",
            &[SQL_ASCII],
            "ALTER DATABASE {} OWNER TO app_owner; REVOKE CONNECT ON DATABASE {} FROM PUBLIC;
             ALTER DATABASE {} SET \"app.empty\" = ''",
        ),
        subject(
            "plain c",
            "LOCALE_PROVIDER libc LOCALE 'C' TABLESPACE \"Spâce 'two'\"",
            &[ORDERED],
            "ALTER DATABASE {} SET temp_tablespaces = fast, \"Spâce 'two'\"",
        ),
        subject(
            "c utf8",
            "LOCALE_PROVIDER libc LOCALE 'C.UTF-8'",
            &[ORDERED],
            "REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC; ALTER DATABASE {} CONNECTION LIMIT 0",
        ),
        subject(
            "own order",
            own_order,
            &[ORDERED],
            "COMMENT ON DATABASE {} IS ''; GRANT ALL ON DATABASE {} TO app_reader",
        ),
        subject("settings", "", &[SETTINGS], SETTINGS_PROPERTIES),
        Subject { formats: ARCHIVES, ..subject("begin", "", &[BEGIN], "") },
    ];
    if !old {
        // Some seconds for each.
        subjects.push(Subject { formats: &["-Fc"], ..subject("partitions", "", &[PARTITIONS], "") });
    }
    subjects
}

/// Grants by the owner, by somebody else, with grant option, and away from PUBLIC.
const OBJECTS_PROPERTIES: &str = r#"
    ALTER DATABASE {} OWNER TO app_owner;
    REVOKE ALL ON DATABASE {} FROM PUBLIC;
    GRANT CONNECT ON DATABASE {} TO app_reader WITH GRANT OPTION;
    GRANT CREATE, TEMPORARY ON DATABASE {} TO "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
    SET SESSION AUTHORIZATION app_reader;
    GRANT CONNECT ON DATABASE {} TO "Röle 'q' ""dq"" \ $1; %s --", app_root;
    RESET SESSION AUTHORIZATION;
    COMMENT ON DATABASE {} IS E'it''s\n"commented" \\ $1';
    ALTER DATABASE {} SET search_path = app, "$user", public;
    ALTER ROLE app_reader IN DATABASE {} SET search_path = 'x y', "Z";
    ALTER ROLE app_root IN DATABASE {} SET log_statement = 'all';
    ALTER ROLE app_root IN DATABASE {} SET default_transaction_read_only = on"#;

const HOSTILE_PROPERTIES: &str = r#"
    ALTER DATABASE {} OWNER TO "Röle 'q' ""dq"" \ $1; %s --";
    ALTER DATABASE {} SET TABLESPACE "Spâce 'two'";
    ALTER DATABASE {} SET search_path = "sch""ema; DROP TABLE x; -- 'q' \ $$ %n", '', '$user';
    ALTER DATABASE {} SET "app.text" = E'it''s "quoted" \\ $1; %s\n-- new line';
    ALTER DATABASE {} SET "app.list" = 'a, "b c", d=e';
    ALTER ROLE "Röle 'q' ""dq"" \ $1; %s --" IN DATABASE {} SET "app.text" = ' = ';
    GRANT CONNECT ON DATABASE {} TO "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz" WITH GRANT OPTION;
    COMMENT ON DATABASE {} IS E'\\connect postgres\n''; DROP DATABASE x; -- ☃'"#;

/// Settings that are against whoever loads it, and a secret.
const SETTINGS_PROPERTIES: &str = r#"
    ALTER DATABASE {} SET search_path = first, "Second 'one', two", pg_catalog;
    ALTER DATABASE {} SET "app.secret" = 's3cr3t-of-the-application';
    ALTER ROLE app_owner IN DATABASE {} SET "app.secret" = 's3cr3t-of-the-application, for a role';
    ALTER DATABASE {} SET "app.empty" = '';
    ALTER DATABASE {} SET default_transaction_read_only = on;
    ALTER DATABASE {} SET statement_timeout = 1;
    ALTER DATABASE {} SET lock_timeout = 1;
    ALTER DATABASE {} SET idle_in_transaction_session_timeout = 1;
    ALTER DATABASE {} SET default_transaction_isolation = 'serializable';
    ALTER DATABASE {} SET default_tablespace = fast;
    ALTER DATABASE {} SET DateStyle = 'German, DMY';
    ALTER DATABASE {} SET IntervalStyle = 'sql_standard';
    ALTER DATABASE {} SET TimeZone = 'Asia/Kolkata';
    ALTER DATABASE {} SET standard_conforming_strings = off;
    ALTER DATABASE {} SET bytea_output = 'escape';
    ALTER DATABASE {} SET extra_float_digits = -5;
    ALTER DATABASE {} SET row_security = off;
    ALTER DATABASE {} SET check_function_bodies = off;
    ALTER DATABASE {} SET log_min_messages = 'debug1';
    ALTER DATABASE {} SET session_preload_libraries = 'auto_explain';
    ALTER ROLE backup_login IN DATABASE {} SET lock_timeout = 1"#;
