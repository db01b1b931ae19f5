//! The override file, `.api-overrides.env` in the backup directory: settings changed through the API.
//!
//! The backup volume may be writable by others, so the file is data and never executed. It holds
//! `export KEY='value'` lines that the API could have written, comments and blank lines, as the original image writes them,
//! and settings that no release up to this one knows, which are kept for the release that does. Anything else is refused
//! with its line.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::dump_options::DumpOptions;
use super::rule::Rule;
use super::secrets::curl_options::check_trusted_options;
use super::secrets::has_mask;
use super::variable::Variable;
use crate::store::catalog::BackupDirectory;
use crate::store::catalog::DirectoryError;
use crate::store::record_file;
use crate::util::durable;

/// The file in a backup directory.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(".api-overrides.env")
}

/// Overridden values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// By variable.
    values: BTreeMap<String, String>,
    /// The same of variables that are not known here.
    unknown: BTreeMap<String, String>,
}

/// Why an override is not accepted, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    pub(super) fn new(problem: String) -> Self {
        Self(problem)
    }
}

/// Why the override file is not used.
#[derive(Debug, Error)]
pub enum OverridesError {
    /// The file is there and we may not read it.
    #[error(transparent)]
    NotReadable(DirectoryError),
    /// The file is there and cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The overrides do not go together with the container's own settings.
    #[error("{}: {refusal}; remove its line, or the file to drop every override", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why they do not.
        #[source]
        refusal: Refusal,
    },
    /// A line is not one that the API could have written.
    #[error("{} line {line}: {problem}; remove the line, or the file to drop every override", path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl Overrides {
    /// Reads the override file of a backup directory; without one there are no overrides.
    ///
    /// # Errors
    /// When it cannot be read or holds a line that the API could not have written.
    pub fn load(directory: &Path) -> Result<Self, OverridesError> {
        let path = path(directory);
        let opened = durable::open_to_read(&path)
            .and_then(|file| record_file::read_opened(&file, record_file::LONGEST));
        let bytes = match opened {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(OverridesError::NotReadable(DirectoryError::NotWritable(directory.to_owned())));
            }
            Err(error) => return Err(OverridesError::Unreadable { path, error }),
        };
        Self::parse(&bytes).map_err(|(line, problem)| OverridesError::BadLine { path, line, problem })
    }

    /// Replaces the override file of a backup directory, whole or not at all. Without overrides there is none,
    /// as before the first. Comments are not kept.
    ///
    /// # Errors
    /// When it cannot be written; the old one stays.
    pub fn save(&self, directory: &BackupDirectory) -> io::Result<()> {
        let path = path(directory.root());
        if self.values.is_empty() && self.unknown.is_empty() {
            return match durable::remove_if_there(&path)? {
                true => durable::sync_parent(&path),
                false => Ok(()),
            };
        }
        durable::replace_file(directory.root(), &path, self.render().as_bytes(), 0o600)
    }

    /// The overrides with some of them set or cleared.
    ///
    /// # Errors
    /// When a value is wrong.
    pub fn changed(&self, changes: &BTreeMap<String, Option<String>>) -> Result<Self, Refusal> {
        let mut values = self.values.clone();
        for (key, value) in changes {
            match value {
                None => drop(values.remove(key)),
                Some(value) => {
                    let variable = check(key, value)?;
                    // The original's shell compares with TRUE.
                    let is_flag = matches!(variable.rule, Rule::Flag);
                    let value = if is_flag { value.to_uppercase() } else { value.clone() };
                    values.insert(variable.name.to_owned(), value);
                }
            }
        }
        Ok(Self { values, unknown: self.unknown.clone() })
    }

    /// The file's contents.
    pub fn render(&self) -> String {
        let line =
            |(key, value): (&String, &String)| format!("export {key}='{}'\n", value.replace('\'', r"'\''"));
        self.values.iter().chain(&self.unknown).map(line).collect()
    }

    /// The variables that are not known here.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.keys().map(String::as_str)
    }

    /// The overridden value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Parses the file's contents.
    ///
    /// # Errors
    /// The number of the first bad line, from 1, and what is wrong with it.
    pub fn parse(contents: &[u8]) -> Result<Self, (usize, String)> {
        let mut overrides = Self::default();
        let mut rest = contents;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let end = memchr::memchr(b'\n', rest).ok_or((number, "is cut off".to_owned()))?;
            let line = std::str::from_utf8(&rest[..end]).map_err(|_| (number, "is not UTF-8".to_owned()))?;
            overrides.take(line).map_err(|problem| (number, problem))?;
            rest = &rest[end + 1..];
        }
        Ok(overrides)
    }

    /// Takes a line of the file.
    fn take(&mut self, line: &str) -> Result<(), String> {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(());
        }
        let (key, value) = parse_line(line)?;
        let values = match Variable::is_known(key) || !is_name(key) {
            true => {
                check(key, &value).map_err(|Refusal(problem)| problem)?;
                &mut self.values
            }
            false => {
                Rule::Text.check(&value).map_err(|problem| format!("{key} {problem}"))?;
                &mut self.unknown
            }
        };
        match values.insert(key.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(format!("sets {key} a second time")),
        }
    }
}

/// Whether a setting of a later release could be called so.
fn is_name(key: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    key.starts_with(|first: char| first.is_ascii_uppercase()) && key.bytes().all(is_letter)
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
    Ok((key, value.replace('\u{0}', "'")))
}

/// Judges one override by the variable's own rule and by what is not for the API: its users are trusted less
/// than whoever starts the container.
fn check(key: &str, value: &str) -> Result<&'static Variable, Refusal> {
    let refuse = |problem: String| Refusal(format!("{key} {problem}"));
    let variable = Variable::mutable().find(|variable| variable.name == key);
    let variable =
        variable.ok_or_else(|| Refusal(format!("{key:?} is not a setting that the API may change")))?;
    Rule::Text.check(value).map_err(refuse)?;
    if value.is_empty() && variable.default.is_empty() {
        let refusal = || refuse("must not be empty; null removes the override".into());
        return Some(variable).filter(|variable| !variable.secret).ok_or_else(refusal);
    }
    // No limit is for whoever starts the container.
    let rule = if matches!(variable.rule, Rule::Keep) { Rule::Whole } else { variable.rule };
    rule.check(value).map_err(refuse)?;
    if has_mask(variable, value) {
        return Err(refuse("has *** in place of a secret: send the secret itself".into()));
    }
    match variable.rule {
        Rule::CurlOptions => check_trusted_options(value).map_err(refuse)?,
        Rule::DumpOptions => {
            DumpOptions::check_reads_no_file(value).map_err(|error| refuse(error.to_string()))?
        }
        _ => {}
    }
    Ok(variable)
}

#[cfg(test)]
mod tests;
