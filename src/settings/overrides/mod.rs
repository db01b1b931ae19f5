//! The override file, `.api-overrides.env` in the backup directory: settings changed through the API.
//!
//! The backup volume may be writable by others, so the file is parsed and never executed. It contains
//! `export KEY='value'` lines as written by the API, and comments and blank lines as written by the original image.
//! Settings unknown to this release are kept for a later one. Any other line is refused with its number.

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

/// Path of the override file of a backup directory.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(".api-overrides.env")
}

/// Overridden values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// By variable.
    values: BTreeMap<String, String>,
    /// Values of variables unknown to this release.
    unknown: BTreeMap<String, String>,
}

/// Why an override is refused, on one line.
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
    /// No permission to read the file.
    #[error(transparent)]
    NotReadable(DirectoryError),
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error.
        #[source]
        error: io::Error,
    },
    /// The overrides conflict with the container's own settings.
    #[error("{}: {refusal}; remove its line, or the file to drop every override", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The conflict.
        #[source]
        refusal: Refusal,
    },
    /// A line that the API could not have written.
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
    /// Reads the override file of a backup directory. Without a file there are no overrides.
    ///
    /// # Errors
    /// When it cannot be read or contains a line that the API could not have written.
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

    /// Replaces the override file of a backup directory atomically, or removes it if there are no overrides. Comments
    /// are lost.
    ///
    /// # Errors
    /// When it cannot be written; the old file is unchanged.
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

    /// Returns the overrides with these changes; `None` removes an override.
    ///
    /// # Errors
    /// When a value is invalid.
    pub fn changed(&self, changes: &BTreeMap<String, Option<String>>) -> Result<Self, Refusal> {
        let mut values = self.values.clone();
        for (key, value) in changes {
            match value {
                None => drop(values.remove(key)),
                Some(value) => {
                    let variable = check(key, value)?;
                    // The original image's shell scripts compare with TRUE.
                    let is_flag = matches!(variable.rule, Rule::Flag);
                    let value = if is_flag { value.to_uppercase() } else { value.clone() };
                    values.insert(variable.name.to_owned(), value);
                }
            }
        }
        Ok(Self { values, unknown: self.unknown.clone() })
    }

    /// The contents of the file.
    pub fn render(&self) -> String {
        let line =
            |(key, value): (&String, &String)| format!("export {key}='{}'\n", value.replace('\'', r"'\''"));
        self.values.iter().chain(&self.unknown).map(line).collect()
    }

    /// Variables unknown to this release.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.keys().map(String::as_str)
    }

    /// The overridden value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Parses the contents of the file.
    ///
    /// # Errors
    /// The number of the first invalid line, from 1, and the problem.
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

    /// Parses one line.
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

/// Whether it may be the name of a setting of a later release.
fn is_name(key: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    key.starts_with(|first: char| first.is_ascii_uppercase()) && key.bytes().all(is_letter)
}

fn parse_line(line: &str) -> Result<(&str, String), String> {
    const FORM: &str = "is not of the form export KEY='value'";
    let assignment = line.strip_prefix("export ").ok_or(FORM)?;
    let (key, quoted) = assignment.split_once('=').ok_or(FORM)?;
    let inner = quoted.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).ok_or(FORM)?;
    // In single quotes a shell takes every character literally; a quote is written '\''.
    let value = inner.replace(r"'\''", "\u{0}");
    if value.contains('\'') || inner.contains('\u{0}') {
        return Err(FORM.into());
    }
    Ok((key, value.replace('\u{0}', "'")))
}

/// Checks an override against the variable's rule, and against the limits for API users, who are trusted less than
/// whoever starts the container.
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
    // An unlimited retention can only be set on the container.
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
