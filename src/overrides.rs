//! The override file, `.api-overrides.env` in the backup directory: settings changed through the API.
//!
//! The backup volume may be writable by others, so the file is data and never executed. It holds only
//! `export KEY='value'` lines that the API could have written; anything else is refused with its line.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::settings::Variable;

/// The name of the file in the backup directory.
pub const FILE_NAME: &str = ".api-overrides.env";

/// Overridden values by variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, String>);

/// Why the override file is not used.
#[derive(Debug)]
pub enum OverridesError {
    /// The file is there and cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A line is not one that the API could have written.
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for OverridesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::BadLine { path, line, problem } => write!(
                f,
                "{} line {line}: {problem}; remove the line, or the file to drop every override",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OverridesError {}

impl Overrides {
    /// Reads the override file of a backup directory; without one there are no overrides.
    ///
    /// # Errors
    /// When it cannot be read or holds a line that the API could not have written.
    pub fn load(directory: &Path) -> Result<Self, OverridesError> {
        let path = directory.join(FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(OverridesError::Unreadable(path, error)),
        };
        Self::parse(&bytes).map_err(|(line, problem)| OverridesError::BadLine { path, line, problem })
    }

    /// The overridden value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Parses the file's contents.
    ///
    /// # Errors
    /// The number of the first bad line, from 1, and what is wrong with it.
    pub fn parse(contents: &[u8]) -> Result<Self, (usize, String)> {
        let mut values = BTreeMap::new();
        let mut rest = contents;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let end = memchr::memchr(b'\n', rest).ok_or((number, "is cut off".to_owned()))?;
            let line = std::str::from_utf8(&rest[..end]).map_err(|_| (number, "is not UTF-8".to_owned()))?;
            let (key, value) = parse_line(line).map_err(|problem| (number, problem))?;
            if values.insert(key.to_owned(), value).is_some() {
                return Err((number, format!("sets {key} a second time")));
            }
            rest = &rest[end + 1..];
        }
        Ok(Self(values))
    }
}

fn parse_line(line: &str) -> Result<(&str, String), String> {
    const FORM: &str = "is not of the form export KEY='value'";
    let assignment = line.strip_prefix("export ").ok_or(FORM)?;
    let (key, quoted) = assignment.split_once('=').ok_or(FORM)?;
    let inner = quoted.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).ok_or(FORM)?;
    // In single quotes a shell takes everything as it is; a quote itself is written '\''.
    let value = inner.replace(r"'\''", "\u{0}");
    if value.contains('\'') || inner.contains('\u{0}') {
        return Err(FORM.into());
    }
    let value = value.replace('\u{0}', "'");
    let variable = Variable::mutable().find(|variable| variable.name == key);
    let variable = variable.ok_or_else(|| format!("sets {key:?}, which the API may not change"))?;
    if !value.is_empty() || !variable.default.is_empty() {
        variable.rule.check(&value).map_err(|problem| format!("{key} {problem}"))?;
    }
    Ok((variable.name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_api_wrote_is_read_back() {
        let text = b"export BACKUP_KEEP_DAYS='14'\nexport POSTGRES_EXCLUDE_TABLES='it'\\''s $(x) `y`'\n";
        let overrides = Overrides::parse(text).unwrap();
        assert_eq!(overrides.get("BACKUP_KEEP_DAYS"), Some("14"));
        assert_eq!(overrides.get("POSTGRES_EXCLUDE_TABLES"), Some("it's $(x) `y`"));
        assert_eq!(overrides.get("SCHEDULE"), None);
    }

    #[test]
    fn anything_that_the_api_could_not_have_written_is_refused_with_its_line() {
        let good = "export BACKUP_KEEP_DAYS='14'\n";
        for bad in [
            "touch /tmp/owned\n",
            "export BACKUP_KEEP_DAYS='1'; touch /tmp/owned\n",
            "export BACKUP_KEEP_WEEKS=$(id)\n",
            "export BACKUP_KEEP_WEEKS=\"4\"\n",
            "export POSTGRES_PASSWORD='x'\n",
            "export PATH='/tmp'\n",
            "export BACKUP_KEEP_WEEKS='x'\n",
            "export BACKUP_KEEP_DAYS='15'\n",
            "export POSTGRES_EXCLUDE_TABLES='a'b'\n",
            "export POSTGRES_EXCLUDE_TABLES='a\tb'\n",
            "export POSTGRES_EXCLUDE_TABLES='a",
            "export BACKUP_KEEP_WEEKS='4'\r\n",
            "\n",
            "# a comment\n",
        ] {
            let (line, problem) = Overrides::parse(format!("{good}{bad}").as_bytes()).unwrap_err();
            assert_eq!(line, 2, "{bad:?}: {problem}");
        }
        assert_eq!(Overrides::parse(b"\xff\n").unwrap_err().0, 1);
    }
}
