//! Properties of a database as its dump has them. An archive always has them, SQL only with `--create`.

use crate::engine::restore::source::{DatabaseStatement, DatabaseStatementKind, Needs};
use crate::formats::sql::{Kind, Token, tokens};
use crate::postgres::changes_rights;
use crate::postgres::quote::{self, identifier};
use crate::store::catalog::{Locale, Properties, Provider};

/// The statements of a dump about its database.
#[derive(Debug, Clone)]
pub struct Described {
    /// The properties in CREATE DATABASE, and the connection limit.
    pub properties: Properties,
    /// The other statements.
    pub statements: Vec<DatabaseStatement>,
    /// The session settings that the statements require.
    manner: String,
}

impl Described {
    /// Collects them. `None` if the dump has none, or not of the form that pg_dump gives them.
    pub fn of(needs: &Needs) -> Option<Self> {
        let create =
            needs.database.iter().find(|statement| statement.kind == DatabaseStatementKind::Create)?;
        let properties = created(create)?;
        let is_used = |statement: &&DatabaseStatement| {
            !matches!(statement.kind, DatabaseStatementKind::Create | DatabaseStatementKind::Update)
                && statement.name == create.name
        };
        let statements: Vec<_> = needs.database.iter().filter(is_used).cloned().collect();
        let limit =
            statements.iter().rfind(|statement| statement.kind == DatabaseStatementKind::ConnectionLimit);
        let connection_limit = limit.and_then(limit_in).unwrap_or(-1);
        let manner = format!(
            "SET client_encoding = {}; SET standard_conforming_strings = {};",
            quote::literal(needs.encoding.as_deref().unwrap_or("UTF8")),
            if needs.escapes { "off" } else { "on" }
        );
        Some(Self { properties: Properties { connection_limit, ..properties }, statements, manner })
    }

    /// The settings under which a database of another name is loaded.
    pub fn settings_before(&self, database: &str) -> Vec<u8> {
        let sets = [DatabaseStatementKind::Set, DatabaseStatementKind::RoleSet];
        self.all(database, |statement| {
            sets.contains(&statement.kind) && !variable(statement).is_some_and(|name| changes_rights(&name))
        })
    }

    /// The settings as those of the current role.
    pub fn settings_of_current_role(&self) -> Vec<u8> {
        let sets = [DatabaseStatementKind::Set, DatabaseStatementKind::RoleSet];
        let chosen = self.statements.iter().filter(|statement| sets.contains(&statement.kind));
        let of_role = |statement: &DatabaseStatement| {
            [b"ALTER ROLE CURRENT_USER", &statement.text[statement.name_at.end..]].concat()
        };
        self.in_manner(&chosen.map(of_role).collect::<Vec<_>>().join(&b'\n'))
    }

    /// The settings for all roles, each as a statement of its own.
    pub fn each_setting(&self, database: &str) -> Vec<Vec<u8>> {
        let of_all = |statement: &&DatabaseStatement| {
            statement.kind == DatabaseStatementKind::Set
                && !variable(statement).is_some_and(|name| changes_rights(&name) || loads(&name))
        };
        let each = self.statements.iter().filter(of_all);
        each.map(|statement| self.in_manner(&renamed(statement, database))).collect()
    }

    /// The statements for a database of another name after the load, but for comment and connection limit.
    pub fn after_load(&self, database: &str) -> Vec<u8> {
        self.all(database, |statement| match statement.kind {
            DatabaseStatementKind::Comment | DatabaseStatementKind::ConnectionLimit => false,
            DatabaseStatementKind::Set | DatabaseStatementKind::RoleSet => {
                variable(statement).is_some_and(|name| changes_rights(&name))
            }
            _ => true,
        })
    }

    /// The statement that sets the comment of a database of another name.
    pub fn comment(&self, database: &str) -> Option<Vec<u8>> {
        let comment =
            self.statements.iter().rfind(|statement| statement.kind == DatabaseStatementKind::Comment)?;
        let sql = renamed(comment, database);
        // In ASCII and without backslashes, session settings do not matter.
        Some(if sql.is_ascii() && !sql.contains(&b'\\') { sql } else { self.in_manner(&sql) })
    }

    fn all(&self, database: &str, is_wanted: impl Fn(&DatabaseStatement) -> bool) -> Vec<u8> {
        let wanted = self.statements.iter().filter(|statement| is_wanted(statement));
        let texts: Vec<_> = wanted.map(|statement| renamed(statement, database)).collect();
        if texts.is_empty() { Vec::new() } else { self.in_manner(&texts.join(&b'\n')) }
    }

    /// Wraps SQL of the dump in the session settings that it requires.
    fn in_manner(&self, sql: &[u8]) -> Vec<u8> {
        let back = b"\nSET client_encoding = 'UTF8'; RESET standard_conforming_strings;\n";
        [self.manner.as_bytes(), b"\n", sql, back].concat()
    }

    /// The roles that the statements name.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.statements
            .iter()
            .flat_map(|statement| statement.roles.iter().chain(&statement.authorization))
            .map(String::as_str)
    }

    /// The owner of the database.
    pub fn owner(&self) -> Option<&str> {
        let given = self.statements.iter().rfind(|statement| statement.kind == DatabaseStatementKind::Owner);
        given.and_then(|statement| statement.roles.first()).map(String::as_str)
    }

    /// The names of the settings that the statements set.
    pub fn settings(&self) -> impl Iterator<Item = String> {
        let sets = self.statements.iter().filter(|statement| {
            matches!(statement.kind, DatabaseStatementKind::Set | DatabaseStatementKind::RoleSet)
        });
        sets.filter_map(variable)
    }

    /// The roles with settings of their own.
    pub fn set_roles(&self) -> impl Iterator<Item = &str> {
        let sets =
            self.statements.iter().filter(|statement| statement.kind == DatabaseStatementKind::RoleSet);
        sets.flat_map(|statement| &statement.roles).map(String::as_str)
    }

    /// The roles that run statements or become the owner.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().flat_map(|statement| {
            let given = statement.roles.iter().filter(|_| statement.kind == DatabaseStatementKind::Owner);
            given.chain(&statement.authorization).map(String::as_str)
        })
    }
}

/// Whether a setting names libraries to preload.
pub(super) fn loads(variable: &str) -> bool {
    variable.to_ascii_lowercase().ends_with("_preload_libraries")
}

/// The statement for a database of another name, run by the required role.
fn renamed(statement: &DatabaseStatement, database: &str) -> Vec<u8> {
    let (text, at) = (&statement.text, &statement.name_at);
    let sql = [&text[..at.start], identifier(database).as_bytes(), &text[at.end..]].concat();
    match &statement.authorization {
        Some(role) => [format!("SET ROLE {}; ", identifier(role)).as_bytes(), &sql, b" RESET ROLE;"].concat(),
        None => sql,
    }
}

/// The name of the setting that a statement sets.
fn variable(statement: &DatabaseStatement) -> Option<String> {
    let tokens = tokens(statement.text.get(statement.name_at.end..)?);
    tokens.get(1)?.name().map(String::from)
}

/// The number in `CONNECTION LIMIT = n`.
fn limit_in(statement: &DatabaseStatement) -> Option<i64> {
    let text = std::str::from_utf8(statement.text.get(statement.name_at.end..)?).ok()?;
    text.trim_end_matches(';').rsplit([' ', '=']).next()?.parse().ok()
}

/// Parses the options of CREATE DATABASE, `NAME = value`.
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
    let locale = Locale {
        provider,
        collate: of("lc_collate"),
        ctype: of("lc_ctype"),
        name: option("icu_locale").or_else(|| option("builtin_locale")),
        rules: option("icu_rules"),
    };
    let tablespace = option("tablespace").unwrap_or_else(|| "pg_default".into());
    Some(Properties { tablespace, ..Properties::of_encoding(option("encoding")?, locale) })
}

/// The value of a name or string at the beginning of the tokens.
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
            // pg_dump uses no other escapes (`appendStringLiteral`).
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
    use crate::formats::sql::Edited;

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
        let inner = |sql: Vec<u8>| {
            let text = String::from_utf8(sql).unwrap();
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("SET client")).collect();
            lines.join("\n")
        };
        assert_eq!(
            inner(described.settings_before("n")),
            "ALTER DATABASE \"n\" SET search_path TO 'a', 'b';\nALTER ROLE r IN DATABASE \"n\" SET x TO 'y';"
        );
        assert_eq!(
            inner(described.after_load("n")),
            "ALTER DATABASE \"n\" OWNER TO app;\nREVOKE CONNECT ON DATABASE \"n\" FROM PUBLIC;"
        );
        assert_eq!(inner(described.comment("n").unwrap()), "COMMENT ON DATABASE \"n\" IS 'x';");
        assert_eq!((described.owners().collect::<Vec<_>>(), described.owner()), (vec!["app"], Some("app")));
        assert_eq!(described.settings().collect::<Vec<_>>(), ["search_path", "x"]);
        assert_eq!(described.set_roles().collect::<Vec<_>>(), ["r"]);
    }
}
