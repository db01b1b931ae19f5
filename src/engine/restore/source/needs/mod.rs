//! Reads from the SQL of a dump of one database what it needs of the server.
//!
//! SQL that cannot be parsed is no error: it is noted as unknown, and left to psql or pg_restore.

mod database;
mod read;
mod recorded;
mod rights;

use std::collections::BTreeSet;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::statement_kind::StatementKind;
use crate::formats::sql::{
    Edit, Editor, Extension, Mentions, Refusal, makes_public_schema, quoted_for_psql, removes,
};

pub use database::{DatabaseStatement, DatabaseStatementKind};
pub use read::NeedsReader;
pub use read::of_archive;
pub use rights::Given;
use rights::{collation_options, collations_of_server, kind_for_superusers};

/// What a dump needs of its server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The roles that its contents name, such as owners and grantees. Statements about the database itself are not
    /// included.
    pub roles: BTreeSet<String>,
    /// The roles that become owners. Only their members may do that.
    pub owners: BTreeSet<String>,
    /// The roles that must be superusers: owners of event triggers, foreign-data wrappers and, up to PostgreSQL 15,
    /// subscriptions.
    pub superusers: BTreeSet<String>,
    /// The changes of owners.
    pub given: BTreeSet<Given>,
    /// The grantors. Only a superuser may grant in another role's name.
    pub grantors: BTreeSet<String>,
    /// The kinds of objects that only superusers may create.
    pub for_superusers: BTreeSet<String>,
    /// The options of the collations that it creates.
    pub made_collations: BTreeSet<String>,
    /// The collations of `pg_catalog` that it uses.
    pub used_collations: BTreeSet<String>,
    /// The tablespaces that its contents use.
    pub tablespaces: BTreeSet<String>,
    /// The extensions that it creates, in their order.
    pub extensions: Vec<Extension>,
    /// Whether it creates the schema `public`, as with `--schema=public`. Every new database has it already.
    pub makes_public_schema: bool,
    /// Whether it begins with DROP statements, as with `--clean`.
    pub drops_first: bool,
    /// The statements about the database itself that `--create` adds, in their order.
    #[serde(skip)]
    pub database: Vec<DatabaseStatement>,
    /// The databases that it creates or connects to, without duplicates.
    #[serde(skip)]
    pub connects_to: Vec<String>,
    /// Whether it creates anything.
    pub has_definitions: bool,
    /// Whether it creates tables that can have rows.
    pub has_tables: bool,
    /// Whether it has COPY or INSERT statements, even if without rows.
    pub has_rows: bool,
    /// The encoding of its text, if it sets one.
    pub encoding: Option<String>,
    /// Whether backslashes are escapes in its strings, as with `standard_conforming_strings` off.
    pub escapes: bool,
    /// Why the needs are not known completely, if so.
    #[serde(skip)]
    pub unknown: Option<String>,
    /// Whether it has functions with names that psql takes only with quotes.
    pub quotes_names: bool,
    /// The major version of the pg_dump that wrote the SQL, if it says so.
    dumped_by: Option<u32>,
    /// Whether it is an archive. pg_restore omits statements about the database itself.
    #[serde(skip)]
    is_archive: bool,
    /// Whether anything but settings and DROP statements has been read.
    is_begun: bool,
    /// The session's role for the next statements, if another one is set.
    authorization: Option<String>,
}

impl Editor for Needs {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        self.note(head);
        Ok(Edit::Drop)
    }
}

impl Needs {
    /// Takes the needs of a statement.
    fn note(&mut self, head: &[u8]) {
        match StatementKind::of(head) {
            Err(refusal) => self.note_unknown(&refusal.to_string()),
            Ok(StatementKind::Connect(name)) => {
                self.authorization = None;
                self.note_database(name);
            }
            Ok(StatementKind::Command) => {}
            Ok(StatementKind::Setting) => self.note_setting(head),
            Ok(kind) => match DatabaseStatement::of(head, &kind, self.authorization.as_ref()) {
                Some(statement) => {
                    if statement.kind == DatabaseStatementKind::Create {
                        self.note_database(statement.name.clone());
                    }
                    self.database.push(statement);
                }
                None => self.note_contents(head),
            },
        }
    }

    /// Whether the SQL must be edited for psql.
    pub(crate) fn must_be_adapted(&self) -> bool {
        let is_about_more = self.drops_first || !self.database.is_empty() || !self.connects_to.is_empty();
        self.makes_public_schema || self.quotes_names || !self.is_archive && is_about_more
    }

    /// Whether the schema `public` is dropped and created where the SQL does so. Since PostgreSQL 15, pg_dump writes
    /// only how its grants differ from those of a new database, which a new schema would lack.
    pub(crate) fn replaces_public_schema(&self) -> bool {
        self.dumped_by.is_none_or(|major| major < 15)
    }

    /// Takes the beginning of the SQL, which has the version of pg_dump in a comment.
    fn note_beginning(&mut self, head: &[u8]) {
        const BY: &[u8] = b"\n-- Dumped by pg_dump version ";
        let version = memmem::find(head, BY).map(|at| &head[at + BY.len()..]);
        let digits = version.map(|version| version.iter().take_while(|byte| byte.is_ascii_digit()));
        self.dumped_by =
            digits.and_then(|digits| String::from_utf8(digits.copied().collect()).ok()?.parse().ok());
    }

    fn note_contents(&mut self, head: &[u8]) {
        if !self.is_begun && removes(head) {
            // DROP DATABASE says nothing about the contents.
            self.drops_first |= !is_about_database(head);
            return;
        }
        self.is_begun = true;
        let grantor = self.authorization.clone().filter(|role| is_readable(role));
        self.roles.extend(grantor.clone());
        self.grantors.extend(grantor);
        let word = &head[..head.iter().take_while(|byte| byte.is_ascii_alphabetic()).count()];
        // With --inserts these are most statements. They have no further needs.
        if ROWS.iter().any(|rows| word.eq_ignore_ascii_case(rows)) {
            self.has_rows = true;
            return;
        }
        if word.eq_ignore_ascii_case(b"CREATE") {
            self.has_definitions = true;
            self.has_tables |= makes_table(head);
            self.makes_public_schema |= makes_public_schema(head);
            self.quotes_names |= quoted_for_psql(head).is_some();
            self.made_collations.extend(collation_options(head));
            let used = collations_of_server(head).into_iter();
            self.used_collations.extend(used.filter(|name| is_readable(name)));
        }
        self.for_superusers.extend(kind_for_superusers(head).map(String::from));
        let given = Given::of(head).filter(|given| is_readable(&given.owner) && is_readable(&given.schema));
        self.given.extend(given);
        self.note_mentions(Mentions::of(head));
    }

    fn note_mentions(&mut self, mentions: Mentions) {
        let Mentions { roles, owners, superuser, tablespace, extension } = mentions;
        // A name that is not UTF-8 cannot be compared with the server's names.
        let (known, unknown): (Vec<_>, Vec<_>) = roles.into_iter().partition(|name| is_readable(name));
        self.roles.extend(known);
        self.owners.extend(owners.into_iter().filter(|name| is_readable(name)));
        self.superusers.extend(superuser.filter(|name| is_readable(name)));
        self.tablespaces.extend(tablespace.filter(|name| is_readable(name)));
        self.extensions.extend(extension);
        if !unknown.is_empty() {
            self.note_unknown("it has names that are not UTF-8");
        }
    }

    /// Takes a setting, which may affect the next statements.
    fn note_setting(&mut self, head: &[u8]) {
        const ENCODING: &[u8] = b"SET client_encoding = '";
        if head.starts_with(b"SET standard_conforming_strings = ") {
            self.escapes = head.ends_with(b"= off;");
        }
        if let Some(value) = head.strip_prefix(ENCODING) {
            let end = value.iter().position(|byte| *byte == b'\'').unwrap_or(value.len());
            self.encoding = Some(String::from_utf8_lossy(&value[..end]).into_owned());
        } else if head.starts_with(b"SET SESSION AUTHORIZATION ")
            || head.starts_with(b"RESET SESSION AUTHORIZATION")
        {
            self.authorization = Mentions::of(head).roles.into_iter().next();
        } else {
            self.note_mentions(Mentions::of(head));
        }
    }

    fn note_database(&mut self, name: String) {
        if !self.connects_to.contains(&name) {
            self.connects_to.push(name);
        }
    }

    fn note_unknown(&mut self, why: &str) {
        self.unknown.get_or_insert_with(|| why.to_owned());
    }
}

/// First words of statements that add rows.
const ROWS: [&[u8]; 2] = [b"COPY", b"INSERT"];

/// Whether a statement creates a table that has rows itself, and not in its partitions.
fn makes_table(head: &[u8]) -> bool {
    let is_table =
        [&b"CREATE TABLE "[..], b"CREATE UNLOGGED TABLE "].iter().any(|words| head.starts_with(words));
    is_table && memmem::find(head, b"\nPARTITION BY ").is_none()
}

fn is_readable(name: &str) -> bool {
    !name.contains(char::REPLACEMENT_CHARACTER)
}

fn is_about_database(head: &[u8]) -> bool {
    head.starts_with(b"DROP DATABASE ") || head.starts_with(b"UPDATE pg_catalog.pg_database ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::sql::Edited;

    fn needs(text: &str) -> Needs {
        Edited::new(text.as_bytes(), Needs::default()).survey().unwrap()
    }

    const DUMP: &str = r#"--
-- PostgreSQL database dump
--
\restrict a
SET client_encoding = 'LATIN1';
SELECT pg_catalog.set_config('search_path', '', false);
DROP DATABASE app;
CREATE DATABASE app WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = fast;
ALTER DATABASE app OWNER TO owner;
\unrestrict a
\connect app
\restrict a
SET client_encoding = 'LATIN1';
COMMENT ON DATABASE app IS 'x';
ALTER ROLE reader IN DATABASE app SET work_mem TO '6MB';
CREATE SCHEMA public;
CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;
SET default_tablespace = slow;
CREATE TABLE public.t (x integer);
ALTER TABLE public.t OWNER TO writer;
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f();
ALTER EVENT TRIGGER e OWNER TO boss;
COPY public.t (x) FROM stdin;
ALTER TABLE t OWNER TO nobody;
\.
SET SESSION AUTHORIZATION grantor;
GRANT SELECT ON TABLE public.t TO grantee;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION granter;
GRANT CONNECT ON DATABASE app TO visitor;
RESET SESSION AUTHORIZATION;
\unrestrict a
"#;

    #[test]
    fn a_dump_tells_what_it_asks_of_its_server() {
        let needs = needs(DUMP);
        let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        assert_eq!(names(&needs.roles), ["boss", "grantee", "grantor", "writer"]);
        assert_eq!(names(&needs.superusers), ["boss"]);
        assert_eq!(names(&needs.tablespaces), ["slow"]);
        assert_eq!(needs.extensions[0].name, "hstore");
        assert!(needs.makes_public_schema && !needs.drops_first);
        assert_eq!((needs.encoding.as_deref(), needs.unknown), (Some("LATIN1"), None));
        assert_eq!(needs.connects_to, ["app"]);
    }

    #[test]
    fn statements_about_the_database_itself_are_kept_apart() {
        use DatabaseStatementKind::*;
        let statements = needs(DUMP).database;
        let kinds: Vec<_> = statements.iter().map(|statement| statement.kind).collect();
        assert_eq!(kinds, [Create, Owner, Comment, RoleSet, Grant]);
        assert!(statements.iter().all(|statement| &statement.text[statement.name_at.clone()] == b"app"));
        assert_eq!(statements[0].tablespace.as_deref(), Some("fast"));
        assert_eq!(statements[1].roles, ["owner"]);
        let granted = statements.last().unwrap();
        assert_eq!((&granted.roles[0][..], granted.authorization.as_deref()), ("visitor", Some("granter")));
    }

    #[test]
    fn a_dump_that_begins_by_removing_is_told_from_one_that_removes_later() {
        assert!(needs("SET x = 1;\nDROP TABLE public.t;\nCREATE TABLE public.t (x int);\n").drops_first);
        assert!(needs("ALTER TABLE IF EXISTS ONLY t DROP CONSTRAINT IF EXISTS c;\n").drops_first);
        assert!(!needs("CREATE TABLE public.t (x int);\nDROP TABLE public.t;\n").drops_first);
        assert!(!needs("DROP DATABASE app;\nCREATE DATABASE app;\n\\connect app\n").drops_first);
    }

    #[test]
    fn a_dump_without_rows_or_without_tables_is_told() {
        let found = |text: &str| {
            let Needs { has_definitions, has_tables, has_rows, .. } = needs(text);
            (has_definitions, has_tables, has_rows)
        };
        assert_eq!(found("CREATE TABLE t (x int);\nCOPY t (x) FROM stdin;\n\\.\n"), (true, true, true));
        assert_eq!(found("CREATE UNLOGGED TABLE t (x int);\n"), (true, true, false));
        assert_eq!(found("CREATE TABLE t (x int)\nPARTITION BY RANGE (x);\n"), (true, false, false));
        assert_eq!(found("INSERT INTO t VALUES (1);\n"), (false, false, true));
        assert_eq!(found("SELECT pg_catalog.lo_create('5');\n"), (false, false, false));
    }

    #[test]
    fn what_cannot_be_read_is_noted_and_no_error() {
        let unknown = needs("CREATE TABLE t (x int);\n\\! id\nALTER TABLE t OWNER TO a;\n");
        assert!(unknown.unknown.is_some() && unknown.roles.contains("a"));
        let text = b"ALTER TABLE t OWNER TO \"caf\xe9\";\nALTER TABLE t OWNER TO a;\n";
        let latin = Edited::new(&text[..], Needs::default()).survey().unwrap();
        assert_eq!((latin.roles.len(), latin.unknown.is_some()), (1, true));
    }
}
