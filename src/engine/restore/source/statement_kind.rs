//! Classifies the statements of pg_dump and pg_dumpall.

use std::ops::Range;

use crate::formats::sql::{Kind, Refusal, Token, tokens};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementKind {
    /// Creates a role.
    CreateRole(String),
    /// Alters a role, comments on it, or grants it something.
    Role(String),
    /// Creates a tablespace.
    CreateTablespace(String),
    /// Alters a tablespace, or grants on it.
    Tablespace(String),
    /// Creates a database; the range of its name in the statement.
    CreateDatabase(String, Range<usize>),
    /// Alters a database, or grants on it; the range of its name.
    Database(String, Range<usize>),
    /// Comments on a database; the range of its name.
    CommentOnDatabase(String, Range<usize>),
    /// Drops a role, a tablespace or a database.
    Destroy,
    /// `\connect` to a database.
    Connect(String),
    /// Another command of psql.
    Command,
    /// Changes a setting of the session.
    Setting,
    /// Anything else: the contents of a database.
    Contents,
}

impl StatementKind {
    /// Classifies the statement that begins with `head`.
    ///
    /// # Errors
    /// When it is a command of psql that pg_dumpall does not write.
    pub fn of(head: &[u8]) -> Result<Self, Refusal> {
        if head.starts_with(b"\\") {
            return command(head);
        }
        let length = head.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        match &head[..length].to_ascii_lowercase()[..] {
            b"set" | b"reset" => Ok(Self::Setting),
            b"select" if head.starts_with(b"SELECT pg_catalog.set_config(") => Ok(Self::Setting),
            b"create" | b"alter" | b"comment" | b"grant" | b"revoke" | b"security" | b"drop" | b"update" => {
                let tokens = tokens(head);
                Ok(of_words(&tokens).unwrap_or(Self::Contents))
            }
            _ => Ok(Self::Contents),
        }
    }
}

fn of_words(tokens: &[Token]) -> Option<StatementKind> {
    let word = |at: usize| match tokens.get(at).map(|token| &token.kind) {
        Some(Kind::Word(word)) => word.as_str(),
        _ => "",
    };
    let name = |at: usize| tokens.get(at)?.name().map(String::from);
    match (word(0), word(1)) {
        ("create", "role") => name(2).map(StatementKind::CreateRole),
        ("create", "tablespace") => name(2).map(StatementKind::CreateTablespace),
        ("create", "database") => {
            name(2).map(|name| StatementKind::CreateDatabase(name, tokens[2].at.clone()))
        }
        ("alter", "role") if word(3) == "in" => of_subject(tokens, 4),
        ("alter", _) => of_subject(tokens, 1),
        ("comment", "on") if word(2) == "database" => {
            name(3).map(|name| StatementKind::CommentOnDatabase(name, tokens[3].at.clone()))
        }
        ("comment", "on") => of_subject(tokens, 2),
        ("security", "label") | ("grant" | "revoke", _) => of_grant(tokens),
        ("drop", "database" | "role" | "tablespace") => Some(StatementKind::Destroy),
        // Written by pg_dumpall to drop a template database.
        ("update", "pg_catalog") if word(3) == "pg_database" => Some(StatementKind::Destroy),
        _ => None,
    }
}

/// The kind of a statement whose subject, such as `ROLE name`, begins at token `at`.
fn of_subject(tokens: &[Token], at: usize) -> Option<StatementKind> {
    let (kind, subject) = (tokens.get(at)?, tokens.get(at + 1)?);
    let name = subject.name()?.to_owned();
    if kind.is("role") {
        Some(StatementKind::Role(name))
    } else if kind.is("tablespace") {
        Some(StatementKind::Tablespace(name))
    } else if kind.is("database") {
        Some(StatementKind::Database(name, subject.at.clone()))
    } else {
        None
    }
}

/// The kind of GRANT, REVOKE or SECURITY LABEL.
fn of_grant(tokens: &[Token]) -> Option<StatementKind> {
    let grantee = |tokens: &[Token]| {
        let at = tokens.iter().position(|token| token.is("to") || token.is("from"))?;
        tokens.get(at + 1)?.name().map(|name| StatementKind::Role(name.to_owned()))
    };
    match tokens.iter().position(|token| token.is("on")) {
        Some(on) if tokens.get(on + 1).is_some_and(|token| token.is("parameter")) => grantee(&tokens[on..]),
        Some(on) => of_subject(tokens, on + 1),
        None => grantee(tokens),
    }
}

/// The kind of a command of psql, if pg_dumpall writes such commands.
fn command(line: &[u8]) -> Result<StatementKind, Refusal> {
    let strange = || Refusal(format!("contains a command that pg_dumpall does not write: {}", shown(line)));
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (command, rest) = line.split_at(end);
    // Another command may follow in the same line.
    if rest.contains(&b'\\') && !rest.contains(&b'"') {
        return Err(strange());
    }
    match command {
        b"\\restrict" | b"\\unrestrict" | b"\\encoding" => Ok(StatementKind::Command),
        b"\\connect" => {
            let tokens = tokens(rest);
            let quoted = tokens.iter().find_map(|token| match &token.kind {
                Kind::Name(name) => name.strip_prefix("dbname="),
                _ => None,
            });
            let name = match (quoted, &tokens[..]) {
                (Some(value), _) => Some(connection_value(value)),
                (None, [token]) => token.name().map(String::from),
                _ => None,
            };
            name.map(StatementKind::Connect).ok_or_else(strange)
        }
        _ => Err(strange()),
    }
}

/// A value of a connection string: in single quotes with backslashes, or bare.
fn connection_value(value: &str) -> String {
    let Some(inner) = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) else {
        return value.to_owned();
    };
    let (mut name, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        if escaped || c != '\\' {
            name.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    name
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(statement: &str) -> StatementKind {
        StatementKind::of(statement.as_bytes()).unwrap()
    }

    #[test]
    fn statements_about_roles_and_tablespaces_are_told_by_whom_they_change() {
        for (statement, role) in [
            (r#"ALTER ROLE "odd ""role" WITH LOGIN PASSWORD 'x';"#, "odd \"role"),
            ("ALTER ROLE reader SET work_mem TO '7MB';", "reader"),
            ("COMMENT ON ROLE reader IS 'on role x';", "reader"),
            (r#"GRANT "odd role" TO reader WITH INHERIT TRUE GRANTED BY postgres;"#, "reader"),
            ("GRANT SET ON PARAMETER work_mem TO reader;", "reader"),
            ("SECURITY LABEL FOR x ON ROLE reader IS 'y';", "reader"),
        ] {
            assert_eq!(kind_of(statement), StatementKind::Role(role.into()), "{statement}");
        }
        assert_eq!(kind_of("CREATE ROLE reader;"), StatementKind::CreateRole("reader".into()));
        let create = "CREATE TABLESPACE fast OWNER reader LOCATION '/x';";
        assert_eq!(kind_of(create), StatementKind::CreateTablespace("fast".into()));
        for statement in [
            "GRANT CREATE ON TABLESPACE fast TO reader;",
            "ALTER TABLESPACE fast SET (random_page_cost=1);",
            "COMMENT ON TABLESPACE fast IS 'x';",
        ] {
            assert_eq!(kind_of(statement), StatementKind::Tablespace("fast".into()), "{statement}");
        }
    }

    #[test]
    fn the_name_of_a_database_is_found_where_it_stands() {
        for statement in [
            r#"CREATE DATABASE "we'i rd" WITH TEMPLATE = template0;"#,
            r#"ALTER DATABASE "we'i rd" OWNER TO reader;"#,
            r#"ALTER ROLE reader IN DATABASE "we'i rd" SET work_mem TO '6MB';"#,
            r#"COMMENT ON DATABASE "we'i rd" IS 'x';"#,
            r#"GRANT CONNECT ON DATABASE "we'i rd" TO reader WITH GRANT OPTION;"#,
            r#"REVOKE ALL ON DATABASE "we'i rd" FROM PUBLIC;"#,
        ] {
            let (StatementKind::CreateDatabase(name, at)
            | StatementKind::Database(name, at)
            | StatementKind::CommentOnDatabase(name, at)) = kind_of(statement)
            else {
                panic!("{statement}: {:?}", kind_of(statement))
            };
            assert_eq!((name.as_str(), &statement[at]), ("we'i rd", r#""we'i rd""#));
        }
    }

    #[test]
    fn what_only_speaks_of_such_things_is_contents() {
        for statement in [
            "CREATE TABLE role (database int);",
            "CREATE FUNCTION database() RETURNS int AS $$ DROP DATABASE app $$;",
            "GRANT SELECT ON TABLE role TO reader;",
            "COMMENT ON TABLE x IS 'COMMENT ON DATABASE app';",
            "INSERT INTO x VALUES ('CREATE ROLE y');",
            "SELECT pg_catalog.setval('x', 1, true);",
            "UPDATE x SET pg_database = 1;",
        ] {
            assert_eq!(kind_of(statement), StatementKind::Contents, "{statement}");
        }
        assert_eq!(
            kind_of("SELECT pg_catalog.set_config('search_path', '', false);"),
            StatementKind::Setting
        );
    }

    #[test]
    fn what_destroys_is_told() {
        for statement in [
            "DROP DATABASE IF EXISTS app;",
            "DROP ROLE reader;",
            "DROP TABLESPACE fast;",
            "UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = 'template1';",
        ] {
            assert_eq!(kind_of(statement), StatementKind::Destroy, "{statement}");
        }
    }

    #[test]
    fn of_psqls_commands_only_those_of_pg_dumpall_are_taken() {
        for (line, name) in [
            ("\\connect app\n", "app"),
            ("\\connect \"App 1\"\n", "App 1"),
            ("\\connect -reuse-previous=on \"dbname='we\\'i \\\\ \"\"rd'\"\n", "we'i \\ \"rd"),
        ] {
            assert_eq!(kind_of(line), StatementKind::Connect(name.into()), "{line}");
        }
        assert_eq!(kind_of("\\restrict aB1\n"), StatementKind::Command);
        for line in
            ["\\! id\n", "\\connect app \\! id\n", "\\connect app other\n", "\\i /etc/passwd\n", "\\o x\n"]
        {
            assert!(StatementKind::of(line.as_bytes()).is_err(), "{line}");
        }
    }
}
