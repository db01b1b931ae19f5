//! Reads what a dump of a whole server would create.

use super::referenced_roles::ReferencedRoles;
use crate::engine::restore::source::{StatementKind, Tied};
use crate::formats::sql::{Edit, Editor, HEAD, Mentions, Refusal};
use crate::store::catalog::DatabaseName;

/// Databases that every server has. Their contents are loaded into the existing ones.
pub const BUILTIN_DATABASES: [&str; 3] = ["postgres", "template1", "template0"];

/// The section of a dump that a statement belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Section {
    /// Before the first database.
    #[default]
    Globals,
    /// About a built-in database, or, if true, contents of it after a `\connect`.
    Builtin(String, bool),
    /// About another database, or contents of it.
    Database(String),
}

impl Section {
    /// Enters the section that a statement begins.
    pub fn follow(&mut self, kind: &StatementKind) {
        let (name, is_inside) = match kind {
            StatementKind::CreateDatabase(name, _) => (name, false),
            StatementKind::Connect(name) => (name, true),
            _ => return,
        };
        *self = if BUILTIN_DATABASES.contains(&name.as_str()) {
            Self::Builtin(name.clone(), is_inside)
        } else {
            Self::Database(name.clone())
        };
    }
}

/// The subject of a statement before the first database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The session.
    Session,
    /// A role.
    Role(String),
    /// A tablespace.
    Tablespace(String),
}

/// The comment of a database in a dump.
#[derive(Debug)]
pub struct Comment {
    /// The statement that sets the encoding of the text.
    pub encoding: Vec<u8>,
    /// The end of the COMMENT statement, after the database's name.
    pub text: Vec<u8>,
}

/// What a dump has.
#[derive(Debug, Default)]
pub struct Survey {
    section: Section,
    /// The roles that it creates.
    pub roles: Vec<String>,
    /// The tablespaces that it creates.
    pub tablespaces: Vec<String>,
    /// The statements about roles and tablespaces, in their order.
    pub globals: Vec<(Subject, Vec<u8>)>,
    /// The databases that it creates.
    pub databases: Vec<DatabaseName>,
    /// Their comments.
    pub comments: Vec<(DatabaseName, Comment)>,
    /// The last statement that sets the encoding.
    encoding: Vec<u8>,
    /// The built-in databases with contents.
    pub builtin_databases: Vec<DatabaseName>,
    /// The roles that databases and their contents refer to.
    pub referenced_roles: ReferencedRoles,
    /// The extensions that it creates, each with its database.
    pub extensions: Vec<(DatabaseName, String)>,
    /// The connection limits of databases.
    pub limits: Vec<(DatabaseName, Vec<u8>)>,
}

impl Editor for Survey {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        let kind = StatementKind::of(head)?;
        self.section.follow(&kind);
        if head.starts_with(b"SET client_encoding ") {
            self.encoding = [head, b"\n"].concat();
        }
        match &self.section {
            Section::Globals => self.note_global(kind, head)?,
            Section::Database(database) => match &kind {
                StatementKind::CreateDatabase(name, _) => self.databases.push(database_name(name)?),
                StatementKind::Database(..) | StatementKind::Contents => {
                    let database = database_name(database)?;
                    self.referenced_roles.note(head);
                    if limits_sessions(&kind, head) {
                        self.limits.push((database.clone(), whole(head)?.to_vec()));
                    }
                    self.note_extension(database, head);
                }
                StatementKind::Connect(name)
                    if !self.databases.iter().any(|known| known.as_str() == name.as_str()) =>
                {
                    let what =
                        format!("loads into database {name}, which it does not create: load it with psql");
                    return Err(Refusal(what));
                }
                StatementKind::CommentOnDatabase(name, at) if name == database => {
                    let text = whole(head)?[at.end..].to_vec();
                    let comment = Comment { encoding: self.encoding.clone(), text };
                    self.comments.push((database_name(name)?, comment));
                }
                _ => {}
            },
            Section::Builtin(name, true) if matches!(kind, StatementKind::Contents) => {
                self.referenced_roles.note(head);
                let name = database_name(name)?;
                self.note_extension(name.clone(), head);
                if !self.builtin_databases.contains(&name) {
                    self.builtin_databases.push(name);
                }
            }
            Section::Builtin(..) => {}
        }
        Ok(Edit::Drop)
    }
}

impl Survey {
    /// The database with an extension that ties it to its name, and the extension.
    pub fn tied(&self) -> Option<(DatabaseName, Tied)> {
        self.extensions
            .iter()
            .find_map(|(database, extension)| Some((database.clone(), Tied::named(extension)?)))
    }

    fn note_extension(&mut self, database: DatabaseName, head: &[u8]) {
        self.extensions.extend(Mentions::of(head).extension.map(|extension| (database, extension.name)));
    }

    /// The statements before the first database about `wanted` subjects.
    pub fn statements(&self, wanted: impl Fn(&Subject) -> bool) -> impl Iterator<Item = &[u8]> {
        self.globals.iter().filter(move |(subject, _)| wanted(subject)).map(|(_, text)| text.as_slice())
    }

    /// The same as text, with a line break after each.
    pub fn lines(&self, wanted: impl Fn(&Subject) -> bool) -> Vec<u8> {
        self.statements(wanted).flat_map(|text| [text, b"\n"]).flatten().copied().collect()
    }

    fn note_global(&mut self, kind: StatementKind, head: &[u8]) -> Result<(), Refusal> {
        let subject = match kind {
            StatementKind::CreateRole(name) => {
                self.roles.push(utf8(name.clone())?);
                Subject::Role(name)
            }
            StatementKind::CreateTablespace(name) => {
                self.tablespaces.push(utf8(name.clone())?);
                Subject::Tablespace(name)
            }
            StatementKind::Role(name) => Subject::Role(name),
            StatementKind::Tablespace(name) => Subject::Tablespace(name),
            StatementKind::Setting => Subject::Session,
            // Nothing that exists is dropped.
            StatementKind::Destroy | StatementKind::Command => return Ok(()),
            _ => {
                let what = String::from_utf8_lossy(head).chars().take(60).collect::<String>();
                return Err(Refusal(format!("is not a dump as pg_dumpall writes it: {what}")));
            }
        };
        self.globals.push((subject, whole(head)?.to_vec()));
        Ok(())
    }
}

/// Whether a statement sets the connection limit of a database.
pub fn limits_sessions(kind: &StatementKind, head: &[u8]) -> bool {
    matches!(kind, StatementKind::Database(_, at) if head[at.end..].trim_ascii_start().starts_with(b"CONNECTION LIMIT"))
}

fn whole(head: &[u8]) -> Result<&[u8], Refusal> {
    if head.len() < HEAD {
        Ok(head)
    } else {
        Err(Refusal("is not a dump as pg_dumpall writes it: a statement is too long".into()))
    }
}

fn database_name(name: &str) -> Result<DatabaseName, Refusal> {
    DatabaseName::parse(&utf8(name.to_owned())?).map_err(|error| Refusal(error.to_string()))
}

/// Refuses a name that is not UTF-8, as another name would be created.
fn utf8(name: String) -> Result<String, Refusal> {
    if name.contains(char::REPLACEMENT_CHARACTER) {
        Err(Refusal(format!("has a name that is not UTF-8, {name}: load it with psql")))
    } else {
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_dump::DUMP;
    use super::*;
    use crate::formats::sql::Edited;

    #[test]
    fn a_dump_tells_what_it_would_make() {
        let survey = Edited::new(DUMP.as_bytes(), Survey::default()).survey().unwrap();
        assert_eq!(survey.roles, ["postgres", "reader"]);
        assert_eq!(survey.tablespaces, ["fast"]);
        assert_eq!(survey.globals.len(), 8);
        let names = |names: &[DatabaseName]| names.iter().map(DatabaseName::to_string).collect::<Vec<_>>();
        assert_eq!(names(&survey.databases), ["app"]);
        assert_eq!(names(&survey.builtin_databases), ["postgres"]);
        assert_eq!(survey.comments[0].1.text, b" IS 'the app';");
        assert_eq!(survey.referenced_roles.names().collect::<Vec<_>>(), ["reader"]);
    }

    #[test]
    fn what_pg_dumpall_would_not_write_is_refused() {
        for text in ["\\! id\n", "\\connect app\n", "CREATE TABLE x (y int);", "SELECT 1;"] {
            let error = Edited::new(text.as_bytes(), Survey::default()).survey().unwrap_err();
            assert!(Refusal::behind(&error).is_some(), "{text}: {error}");
        }
    }
}
