//! What a dump itself says of its database: an archive always does, and SQL that was made with `--create`.

use crate::catalog::{Locale, Properties, Provider, Settings};
use crate::postgres::quote::identifier;
use crate::restore::needs::{DatabaseStatement, DatabaseStatementKind, Needs};
use crate::sql::{Kind, Token, tokens};

/// The statements about a database that a dump holds.
#[derive(Debug, Clone)]
pub struct Described {
    /// What CREATE DATABASE and the owner say; the rest is in the statements.
    pub properties: Properties,
    /// All but CREATE DATABASE.
    pub statements: Vec<DatabaseStatement>,
}

impl Described {
    /// What the dump says; `None` when it says nothing, or not as pg_dump does.
    pub fn of(needs: &Needs) -> Option<Self> {
        let create =
            needs.database.iter().find(|statement| statement.kind == DatabaseStatementKind::Create)?;
        let properties = created(create)?;
        let is_used = |statement: &&DatabaseStatement| {
            !matches!(statement.kind, DatabaseStatementKind::Create | DatabaseStatementKind::Update)
                && statement.name == create.name
                && std::str::from_utf8(&statement.text).is_ok()
        };
        Some(Self { properties, statements: needs.database.iter().filter(is_used).cloned().collect() })
    }

    /// The statements for a database of another name, but for the comment.
    pub fn statements(&self, database: &str) -> String {
        let rest =
            self.statements.iter().filter(|statement| statement.kind != DatabaseStatementKind::Comment);
        let limit = format!("ALTER DATABASE {} CONNECTION LIMIT -1;", identifier(database));
        let texts: Vec<String> = rest.map(|statement| renamed(statement, database)).collect();
        [&[limit], texts.as_slice()].concat().join("\n")
    }

    /// The statement that gives a database of another name its comment.
    pub fn comment(&self, database: &str) -> Option<String> {
        let comment =
            self.statements.iter().rfind(|statement| statement.kind == DatabaseStatementKind::Comment);
        comment.map(|statement| renamed(statement, database))
    }

    /// The roles that the statements name.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.statements
            .iter()
            .flat_map(|statement| statement.roles.iter().chain(&statement.authorization))
            .map(String::as_str)
    }

    /// The settings that the statements make.
    pub fn settings(&self) -> impl Iterator<Item = String> {
        let sets = self.statements.iter().filter(|statement| {
            matches!(statement.kind, DatabaseStatementKind::Set | DatabaseStatementKind::RoleSet)
        });
        sets.filter_map(|statement| {
            let tokens = tokens(statement.text.get(statement.name_at.end..)?);
            tokens.get(1)?.name().map(String::from)
        })
    }

    /// The roles that get settings of their own.
    pub fn set_roles(&self) -> impl Iterator<Item = &str> {
        let sets =
            self.statements.iter().filter(|statement| statement.kind == DatabaseStatementKind::RoleSet);
        sets.flat_map(|statement| &statement.roles).map(String::as_str)
    }

    /// The roles with whose rights statements are run, or to whom the database is given.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().flat_map(|statement| {
            let given = statement.roles.iter().filter(|_| statement.kind == DatabaseStatementKind::Owner);
            given.chain(&statement.authorization).map(String::as_str)
        })
    }
}

/// A statement about another database, run with the rights that it needs.
fn renamed(statement: &DatabaseStatement, database: &str) -> String {
    let text = |range| String::from_utf8_lossy(&statement.text[range]).into_owned();
    let end = statement.text.len();
    let (before, after) = (text(0..statement.name_at.start), text(statement.name_at.end..end));
    let sql = format!("{before}{}{after}", identifier(database));
    match &statement.authorization {
        Some(role) => format!("SET ROLE {}; {sql} RESET ROLE;", identifier(role)),
        None => sql,
    }
}

/// What CREATE DATABASE says: options as `NAME = value`.
fn created(create: &DatabaseStatement) -> Option<Properties> {
    let text = create.text.get(create.name_at.end..)?;
    let tokens = tokens(text);
    let option = |name: &str| {
        let at = tokens.iter().position(|token| token.is(name))?;
        let rest = &tokens[at + 1..];
        value(text, &rest[usize::from(rest.first()?.is_sign(b'='))..])
    };
    let provider = match option("locale_provider").as_deref() {
        Some("icu") => Provider::Icu,
        Some("builtin") => Provider::Builtin,
        _ => Provider::Libc,
    };
    let locale = option("locale");
    let of = |name: &str| option(name).or_else(|| locale.clone()).unwrap_or_else(|| "C".into());
    Some(Properties {
        owner: String::new(),
        encoding: option("encoding")?,
        locale: Locale {
            provider,
            collate: of("lc_collate"),
            ctype: of("lc_ctype"),
            name: option("icu_locale").or_else(|| option("builtin_locale")),
            rules: option("icu_rules"),
        },
        tablespace: option("tablespace").unwrap_or_else(|| "pg_default".into()),
        connection_limit: -1,
        allows_connections: true,
        is_template: false,
        comment: None,
        labels: Vec::new(),
        grants: None,
        settings: Settings::Clear(Vec::new()),
        size: None,
    })
}

/// A name or string that stands there.
fn value(text: &[u8], tokens: &[Token]) -> Option<String> {
    match tokens {
        [escape, string, ..]
            if escape.is("e") && string.is_sign(b'\'') && escape.at.end == string.at.start =>
        {
            literal(text.get(string.at.start..)?, true)
        }
        [string, ..] if string.is_sign(b'\'') => literal(text.get(string.at.start..)?, false),
        [name, ..] => match &name.kind {
            Kind::Word(name) | Kind::Name(name) => Some(name.clone()),
            Kind::Sign(_) => None,
        },
        [] => None,
    }
}

/// The value of a string in single quotes at the beginning of `text`.
fn literal(text: &[u8], escapes: bool) -> Option<String> {
    let (mut value, mut at) = (Vec::new(), 1);
    loop {
        match (*text.get(at)?, text.get(at + 1)) {
            (b'\'', Some(b'\'')) => {
                value.push(b'\'');
                at += 2;
            }
            (b'\'', _) => return String::from_utf8(value).ok(),
            // pg_dump escapes nothing else (`appendStringLiteral`).
            (b'\\', Some(next)) if escapes => {
                value.push(*next);
                at += 2;
            }
            (byte, _) => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Edited;

    fn described(text: &str) -> Described {
        Described::of(&Edited::new(text.as_bytes(), Needs::default()).survey().unwrap()).unwrap()
    }

    #[test]
    fn what_pg_dump_says_of_a_database_is_taken_over_under_another_name() {
        let described = described(
            "CREATE DATABASE \"a'b\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C' \
             ICU_LOCALE = 'de' ICU_RULES = E'&a<\\\\b''' TABLESPACE = fast;\n\
             ALTER DATABASE \"a'b\" OWNER TO app;\nCOMMENT ON DATABASE \"a'b\" IS 'x';\n\
             ALTER DATABASE \"a'b\" SET search_path TO 'a', 'b';\nALTER ROLE r IN DATABASE \"a'b\" SET x TO 'y';\n\
             REVOKE CONNECT ON DATABASE \"a'b\" FROM PUBLIC;\n",
        );
        let Properties { encoding, locale, tablespace, .. } = &described.properties;
        assert_eq!((encoding.as_str(), tablespace.as_str()), ("UTF8", "fast"));
        assert_eq!(
            (locale.provider, locale.collate.as_str(), locale.name.as_deref(), locale.rules.as_deref()),
            (Provider::Icu, "C", Some("de"), Some("&a<\\b'"))
        );
        let expected = "ALTER DATABASE \"n\" CONNECTION LIMIT -1;\nALTER DATABASE \"n\" OWNER TO app;\n\
            ALTER DATABASE \"n\" SET search_path TO 'a', 'b';\nALTER ROLE r IN DATABASE \"n\" SET x TO 'y';\n\
            REVOKE CONNECT ON DATABASE \"n\" FROM PUBLIC;";
        assert_eq!(described.statements("n"), expected);
        assert_eq!(described.comment("n").unwrap(), "COMMENT ON DATABASE \"n\" IS 'x';");
        assert_eq!(described.owners().collect::<Vec<_>>(), ["app"]);
        assert_eq!(described.settings().collect::<Vec<_>>(), ["search_path", "x"]);
        assert_eq!(described.set_roles().collect::<Vec<_>>(), ["r"]);
    }
}
