//! Database names, and their encoding in file names.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{percent_decode_str, percent_encode_byte};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::store::catalog::manifest::Scope;

/// Why a name is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NameError(pub(super) &'static str);

/// Whether a character separates names in a list.
fn separates(c: char) -> bool {
    c == ',' || c.is_ascii_whitespace()
}

/// Reads a name up to its closing quote. Returns it and the rest of the text.
fn take_quoted<'a>(text: &'a str, quote: &str) -> Result<(String, &'a str), NameError> {
    let (mut name, mut rest) = (String::new(), text);
    loop {
        let (part, after) =
            rest.split_once(quote).ok_or(NameError("has a quoted database name without a closing quote"))?;
        name.push_str(part);
        match after.strip_prefix(quote) {
            Some(more) => {
                name.push_str(quote);
                rest = more;
            }
            None if after.is_empty() || after.starts_with(separates) => return Ok((name, after)),
            None => return Err(NameError("needs a comma or space after a quoted database name")),
        }
    }
}

/// Any database name that PostgreSQL allows. Clones share the text, as thousands of backups have few databases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatabaseName(Arc<str>);

impl DatabaseName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, longer than PostgreSQL's 63 bytes, or contains a NUL.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text {
            "" => Err(NameError("has an empty database name")),
            _ if text.len() > 63 => Err(NameError("has a database name of more than 63 bytes")),
            _ if text.contains('\0') => Err(NameError("has a NUL in a database name")),
            _ => Ok(Self(text.into())),
        }
    }

    /// Splits a list of names at commas and white space. A name that starts with a single or double quote ends at the
    /// next quote of that kind; a doubled quote stands for one. Elsewhere a quote is part of the name.
    ///
    /// # Errors
    /// When a name is invalid, or a quote is not closed.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, NameError> {
        let mut names = Vec::new();
        let mut rest = text.trim_start_matches(separates);
        while !rest.is_empty() {
            let name;
            (name, rest) = match rest.split_at_checked(1) {
                Some((quote @ ("\"" | "'"), quoted)) => {
                    let (name, rest) = take_quoted(quoted, quote)?;
                    (Self::parse(&name)?, rest)
                }
                _ => {
                    let (word, rest) = rest.split_at(rest.find(separates).unwrap_or(rest.len()));
                    (Self::parse(word)?, rest)
                }
            };
            if !names.contains(&name) {
                names.push(name);
            }
            rest = rest.trim_start_matches(separates);
        }
        Ok(names)
    }

    /// The database `postgres`, used to query and change other databases.
    pub fn maintenance() -> Self {
        Self("postgres".into())
    }

    /// The databases every server has and that allow connections, in the order PostgreSQL's own tools try them.
    pub fn of_every_server() -> [Self; 2] {
        [Self::maintenance(), Self("template1".into())]
    }

    /// Name used for backups that are not of a single database.
    pub fn of_scope(scope: Scope) -> Self {
        Self(scope.name().into())
    }

    /// Name of a scratch database made by a restore. The prefix `_backupgram_` is reserved for these.
    pub(crate) fn ours(role: &str, tag: &str) -> Self {
        Self(format!("_backupgram_{role}_{tag}").into())
    }

    /// The name as in PostgreSQL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as used in file names: slashes, percent signs, control characters and a leading dot are
    /// percent-encoded.
    pub fn in_file_name(&self) -> String {
        let mut name = String::new();
        for (at, c) in self.0.char_indices() {
            if c.is_control() || c == '/' || c == '%' || (c == '.' && at == 0) {
                let bytes = self.0.as_bytes()[at..at + c.len_utf8()].iter();
                name.extend(bytes.map(|byte| percent_encode_byte(*byte)));
            } else {
                name.push(c);
            }
        }
        name
    }

    /// Decodes the database at the start of a file name. Text not encoded by this tool is taken literally.
    pub(super) fn from_file_name(text: &str) -> Option<Self> {
        let decoded = percent_decode_str(text).decode_utf8().ok().and_then(|text| Self::parse(&text).ok());
        match decoded {
            Some(name) if name.in_file_name() == text => Some(name),
            _ => Self::parse(text).ok(),
        }
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DatabaseName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<DatabaseName> for String {
    fn from(name: DatabaseName) -> Self {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_databases_is_split_at_commas_spaces_and_lines() {
        let names = DatabaseName::parse_list(" a,b\nc  d,,a\n").unwrap();
        assert_eq!(names.iter().map(DatabaseName::as_str).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_name_in_quotes_may_hold_commas_spaces_and_quotes() {
        let names = |text| {
            let names = DatabaseName::parse_list(text)?;
            Ok(names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(r#""my db",'it''s, "this"' plain"#).unwrap(), ["my db", "it's, \"this\"", "plain"]);
        assert_eq!(names(r#"'"x"' """y""" "a b","a b""#).unwrap(), ["\"x\"", "\"y\"", "a b"]);
        assert_eq!(names("it's q\"uote a''b").unwrap(), ["it's", "q\"uote", "a''b"], "quotes within a name");
        for (text, problem) in [
            ("a, \"my db", "has a quoted database name without a closing quote"),
            ("'it''s", "has a quoted database name without a closing quote"),
            ("'my db'x", "needs a comma or space after a quoted database name"),
            ("'a'\"b\"", "needs a comma or space after a quoted database name"),
            ("''", "has an empty database name"),
        ] {
            assert_eq!(names(text), Err(NameError(problem)), "{text}");
        }
    }
}
