//! Statements of a dump about the database itself, as opposed to its contents.

use std::ops::Range;

use crate::engine::restore::source::statement_kind::StatementKind;
use crate::formats::sql::Mentions;

/// A statement about the database of the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseStatement {
    /// What it does.
    pub kind: DatabaseStatementKind,
    /// The text with its semicolon, in the encoding of the dump.
    pub text: Vec<u8>,
    /// The database's name.
    pub name: String,
    /// The range of the name in the text, with its quotes. In an UPDATE, the range of the string with the name.
    pub name_at: Range<usize>,
    /// The roles that it names.
    pub roles: Vec<String>,
    /// The tablespace that it names.
    pub tablespace: Option<String>,
    /// The role to run it as, if it is another one: the grantor.
    pub authorization: Option<String>,
}

/// What a statement about a database does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseStatementKind {
    /// `CREATE DATABASE`.
    Create,
    /// `ALTER DATABASE … OWNER TO`.
    Owner,
    /// `ALTER DATABASE … SET`.
    Set,
    /// `ALTER DATABASE … CONNECTION LIMIT`.
    ConnectionLimit,
    /// `ALTER DATABASE … IS_TEMPLATE`.
    IsTemplate,
    /// `ALTER ROLE … IN DATABASE … SET`.
    RoleSet,
    /// `COMMENT ON DATABASE`.
    Comment,
    /// `SECURITY LABEL … ON DATABASE`.
    SecurityLabel,
    /// `GRANT … ON DATABASE`.
    Grant,
    /// `REVOKE … ON DATABASE`.
    Revoke,
    /// `UPDATE pg_catalog.pg_database`, as pg_dump up to 9.6 and `--binary-upgrade` write it.
    Update,
    /// `ALTER DATABASE` with anything else.
    Other,
}

impl DatabaseStatement {
    /// Parses a statement of this kind. `None` if it is not about a database. `authorization` is the session's role,
    /// if another one is set.
    pub fn of(head: &[u8], statement_kind: &StatementKind, authorization: Option<&String>) -> Option<Self> {
        let (kind, name, name_at) = match statement_kind {
            StatementKind::CreateDatabase(name, at) => {
                (DatabaseStatementKind::Create, name.clone(), at.clone())
            }
            StatementKind::CommentOnDatabase(name, at) => {
                (DatabaseStatementKind::Comment, name.clone(), at.clone())
            }
            StatementKind::Database(name, at) => (kind(head, at.end), name.clone(), at.clone()),
            StatementKind::Destroy if head.starts_with(b"UPDATE ") => {
                let (name, at) = last_string(head)?;
                (DatabaseStatementKind::Update, name, at)
            }
            _ => return None,
        };
        let Mentions { roles, tablespace, .. } = Mentions::of(head);
        let authorization = authorization.cloned();
        Some(Self { kind, text: head.to_vec(), name, name_at, roles, tablespace, authorization })
    }
}

/// The kind of a statement in which the database's name ends at `end`.
fn kind(head: &[u8], end: usize) -> DatabaseStatementKind {
    let words = |text: &[u8]| {
        let words = String::from_utf8_lossy(&text[..text.len().min(80)]).to_ascii_lowercase();
        words.split_ascii_whitespace().take(2).map(String::from).collect::<Vec<_>>()
    };
    let (first, next) = (words(head), words(&head[end..]));
    let next = next.first().map_or("", String::as_str);
    match (first.first().map_or("", String::as_str), next) {
        ("grant", _) => DatabaseStatementKind::Grant,
        ("revoke", _) => DatabaseStatementKind::Revoke,
        ("security", _) => DatabaseStatementKind::SecurityLabel,
        ("alter", "set") if first.get(1).is_some_and(|word| word == "role") => DatabaseStatementKind::RoleSet,
        ("alter", "set") => DatabaseStatementKind::Set,
        ("alter", "owner") => DatabaseStatementKind::Owner,
        ("alter", "connection") => DatabaseStatementKind::ConnectionLimit,
        ("alter", "is_template") => DatabaseStatementKind::IsTemplate,
        _ => DatabaseStatementKind::Other,
    }
}

/// The value of the last string in a statement, and its range with quotes.
fn last_string(head: &[u8]) -> Option<(String, Range<usize>)> {
    let end = head.iter().rposition(|byte| *byte == b'\'')?;
    let mut begin = head[..end].iter().rposition(|byte| *byte == b'\'')?;
    // A doubled quote belongs to the string.
    while begin > 0 && head[begin - 1] == b'\'' {
        begin = head[..begin - 1].iter().rposition(|byte| *byte == b'\'')?;
    }
    let name = String::from_utf8_lossy(&head[begin + 1..end]).replace("''", "'");
    Some((name, begin..end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_about_a_database_is_told_with_the_place_of_its_name() {
        use DatabaseStatementKind::*;
        for (statement, expected) in [
            ("CREATE DATABASE \"it's\" WITH TEMPLATE = template0;", Create),
            ("ALTER DATABASE \"it's\" OWNER TO bob;", Owner),
            ("ALTER DATABASE \"it's\" CONNECTION LIMIT = 7;", ConnectionLimit),
            ("ALTER DATABASE \"it's\" IS_TEMPLATE = true;", IsTemplate),
            ("ALTER DATABASE \"it's\" SET work_mem TO '5MB';", Set),
            ("ALTER DATABASE \"it's\" RESET TABLESPACE;", Other),
            ("ALTER ROLE bob IN DATABASE \"it's\" SET work_mem TO '6MB';", RoleSet),
            ("COMMENT ON DATABASE \"it's\" IS 'x';", Comment),
            ("SECURITY LABEL FOR p ON DATABASE \"it's\" IS 'x';", SecurityLabel),
            ("GRANT CONNECT ON DATABASE \"it's\" TO bob;", Grant),
            ("REVOKE CONNECT ON DATABASE \"it's\" FROM PUBLIC;", Revoke),
            ("UPDATE pg_catalog.pg_database SET datistemplate = true WHERE datname = 'it''s';", Update),
        ] {
            let statement_kind = StatementKind::of(statement.as_bytes()).unwrap();
            let found = DatabaseStatement::of(statement.as_bytes(), &statement_kind, None).expect(statement);
            assert_eq!((found.kind, found.name.as_str()), (expected, "it's"), "{statement}");
            let name = if expected == Update { "'it''s'" } else { "\"it's\"" };
            assert_eq!(&statement[found.name_at], name, "{statement}");
        }
        for other in ["DROP DATABASE d;", "ALTER TABLE database OWNER TO bob;", "UPDATE t SET x = 'y';"] {
            let statement_kind = StatementKind::of(other.as_bytes()).unwrap();
            assert_eq!(DatabaseStatement::of(other.as_bytes(), &statement_kind, None), None, "{other}");
        }
    }
}
