//! Editors for a dump of a whole server: one for the databases that it creates, under other names, and one for the
//! contents of a built-in database.

use super::survey::{Section, limits_sessions};
use crate::engine::restore::source::StatementKind;
use crate::formats::sql::{Edit, Editor, Refusal};
use crate::postgres::quote::{identifier, literal};
use crate::store::catalog::DatabaseName;

/// Keeps the databases that a dump creates, under their staging names.
pub struct RenameDatabases<'a> {
    section: Section,
    /// Pairs of the name in the dump and the staging name.
    staged: &'a [(DatabaseName, DatabaseName)],
    /// The comment of a database until it is complete.
    mark: &'a str,
    keeps_timeout: bool,
    /// Wraps a command of psql so that it is run although commands are disabled.
    unrestricted: &'a dyn Fn(&str) -> String,
}

impl<'a> RenameDatabases<'a> {
    /// An editor at the beginning of a dump. `keeps_timeout`: whether the server knows `transaction_timeout`.
    pub fn new(
        staged: &'a [(DatabaseName, DatabaseName)],
        mark: &'a str,
        keeps_timeout: bool,
        unrestricted: &'a dyn Fn(&str) -> String,
    ) -> Self {
        Self { section: Section::default(), staged, mark, keeps_timeout, unrestricted }
    }

    fn staged(&self, name: &str) -> Option<&'a DatabaseName> {
        self.staged.iter().find(|(real, _)| real.as_str() == name).map(|(_, staged)| staged)
    }
}

impl Editor for RenameDatabases<'_> {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        let kind = StatementKind::of(head)?;
        self.section.follow(&kind);
        if kind == StatementKind::Setting {
            // Settings before a database tell the encoding of its name.
            return Ok(if self.keeps_timeout || !sets_timeout(head) { Edit::Keep } else { Edit::Drop });
        }
        let Section::Database(section) = &self.section else { return Ok(Edit::Drop) };
        let renamed = |name: &str, at: std::ops::Range<usize>| {
            let staged = self.staged(name).filter(|_| name == section)?;
            Some([&head[..at.start], identifier(staged.as_str()).as_bytes(), &head[at.end..]].concat())
        };
        Ok(match kind {
            StatementKind::CreateDatabase(name, at) => match (renamed(&name, at), self.staged(&name)) {
                (Some(mut text), Some(staged)) => {
                    let mark = literal(self.mark);
                    let quoted = identifier(staged.as_str());
                    let mut comment = format!("\nCOMMENT ON DATABASE {quoted} IS {mark};");
                    if staged.as_str() == name {
                        // It has its final name already, so others are kept out until it is complete.
                        comment += &format!("\nALTER DATABASE {quoted} CONNECTION LIMIT 0;");
                    }
                    text.extend_from_slice(comment.as_bytes());
                    Edit::Replace(text)
                }
                _ => Edit::Drop,
            },
            StatementKind::Connect(name) => match self.staged(&name) {
                Some(staged) => Edit::Replace((self.unrestricted)(&connect(staged)).into_bytes()),
                None => Edit::Drop,
            },
            StatementKind::Database(ref name, _)
                if limits_sessions(&kind, head)
                    && self.staged(name).is_some_and(|staged| staged.as_str() == name) =>
            {
                Edit::Drop
            }
            StatementKind::Database(name, at) => renamed(&name, at).map_or(Edit::Keep, Edit::Replace),
            StatementKind::CommentOnDatabase(..) | StatementKind::Destroy | StatementKind::Command => {
                Edit::Drop
            }
            _ => Edit::Keep,
        })
    }
}

/// The command of psql that connects to a database. Arguments are quoted like identifiers.
fn connect(database: &DatabaseName) -> String {
    format!("\\connect -reuse-previous=on {}\n", identifier(&format!("dbname={}", quoted(database.as_str()))))
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn sets_timeout(head: &[u8]) -> bool {
    head.starts_with(b"SET transaction_timeout ")
}

/// Keeps the contents of one built-in database.
pub struct KeepBuiltinDatabase<'a> {
    section: Section,
    database: &'a DatabaseName,
    keeps_timeout: bool,
}

impl<'a> KeepBuiltinDatabase<'a> {
    /// An editor at the beginning of a dump.
    pub fn new(database: &'a DatabaseName, keeps_timeout: bool) -> Self {
        Self { section: Section::default(), database, keeps_timeout }
    }
}

impl Editor for KeepBuiltinDatabase<'_> {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        let kind = StatementKind::of(head)?;
        self.section.follow(&kind);
        let is_ours = matches!(&self.section, Section::Builtin(name, true) if name == self.database.as_str());
        Ok(match kind {
            StatementKind::Setting if is_ours && (self.keeps_timeout || !sets_timeout(head)) => Edit::Keep,
            StatementKind::Contents if is_ours => Edit::Keep,
            _ => Edit::Drop,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::test_dump::DUMP;
    use super::*;
    use crate::formats::sql::Edited;

    fn edited(editor: impl Editor) -> Vec<String> {
        let mut text = String::new();
        Edited::new(DUMP.as_bytes(), editor).read_to_string(&mut text).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with("SE"));
        lines.map(String::from).collect()
    }

    #[test]
    fn databases_are_made_under_other_names_and_nothing_else_is_touched() {
        let name = |name: &str| DatabaseName::parse(name).unwrap();
        let staged = [(name("app"), name("it's"))];
        assert_eq!(
            edited(RenameDatabases::new(&staged, "not whole", false, &str::to_owned)),
            [
                "CREATE DATABASE \"it's\" WITH TEMPLATE = template0;",
                "COMMENT ON DATABASE \"it's\" IS 'not whole';",
                "ALTER DATABASE \"it's\" OWNER TO reader;",
                "\\connect -reuse-previous=on \"dbname='it\\'s'\"",
                "ALTER DATABASE \"it's\" SET work_mem TO '5MB';",
                "ALTER ROLE reader IN DATABASE \"it's\" SET work_mem TO '6MB';",
                "CREATE TABLE public.t (x integer);",
                "COPY public.t (x) FROM stdin;",
                "1",
                "\\connect postgres",
                "\\.",
                "GRANT CONNECT ON DATABASE \"it's\" TO reader;",
            ]
        );
    }

    #[test]
    fn what_is_for_a_database_of_every_server_is_left_alone() {
        let postgres = DatabaseName::maintenance();
        assert_eq!(
            edited(KeepBuiltinDatabase::new(&postgres, false)),
            ["CREATE TABLE public.u (x integer);"]
        );
    }
}
