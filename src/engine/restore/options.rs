//! Options of a restore, as flags of the command or fields of a request.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::error::RestoreError;
use crate::store::catalog::{DatabaseName, Scope};

/// Options of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the replaced database is kept under another name.
    pub keep_previous: bool,
    /// Whether subscriptions and replication slots of the replaced database may be dropped.
    pub drop_replication: bool,
    /// Whether to go on after failed statements. Only for a target that does not exist.
    pub keep_going: bool,
    /// Whether to ignore the backup's manifest.
    pub ignore_manifest: bool,
    /// The properties of a target that does not exist yet.
    pub properties: PropertyChoice,
    /// The search path during the load, in place of pg_dump's empty one.
    pub search_path: Option<SearchPath>,
    /// A file of SQL to run in the new database before the load.
    pub before: Option<PathBuf>,
    /// A file of SQL to run in the new database after the load.
    pub after: Option<PathBuf>,
}

/// Which properties of the backed up database a new target gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PropertyChoice {
    /// All.
    #[default]
    All,
    /// The encoding and the locale.
    Encoding,
    /// None: the server's defaults.
    None,
}

impl PropertyChoice {
    const WORDS: [(&'static str, Self); 3] =
        [("all", Self::All), ("encoding", Self::Encoding), ("none", Self::None)];

    /// The choice that `word` stands for.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, choice)| choice)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Encoding => "encoding",
            Self::None => "none",
        }
    }
}

/// A list of schemas, as the server's `search_path` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath(String);

impl SearchPath {
    /// Checks that it is a list. The names are checked by the server.
    pub fn parse(text: &str) -> Option<Self> {
        let is_list = !text.trim().is_empty() && !text.chars().any(char::is_control);
        is_list.then(|| Self(text.trim().to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SearchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Options {
    /// Checks that no option is set that is for backups of one database only.
    ///
    /// # Errors
    /// When one is; the error names it.
    pub(super) fn check_server(&self, scope: Scope) -> Result<(), RestoreError> {
        let asked = [
            (self.keep_going, "--keep-going"),
            (self.properties != PropertyChoice::All, "--properties"),
            (self.search_path.is_some(), "--search-path"),
            (self.before.is_some(), "--before"),
            (self.after.is_some(), "--after"),
            (self.drop_replication, "--drop-replication"),
        ];
        match asked.into_iter().find(|(is_asked, _)| *is_asked) {
            Some((_, option)) => Err(RestoreError::OneDatabaseOnly(option, scope)),
            None => Ok(()),
        }
    }

    /// Checks that `--keep-going` is not combined with an existing target.
    ///
    /// # Errors
    /// When it is.
    pub(super) fn check_target(&self, target: &DatabaseName, is_there: bool) -> Result<(), RestoreError> {
        if self.keep_going && is_there { Err(RestoreError::KeepsGoingOver(target.clone())) } else { Ok(()) }
    }

    /// The options as flags of `backupgram restore`.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for (is_set, flag) in [
            (self.keep_previous, "--keep-previous"),
            (self.drop_replication, "--drop-replication"),
            (self.keep_going, "--keep-going"),
            (self.ignore_manifest, "--ignore-manifest"),
        ] {
            arguments.extend(is_set.then(|| OsString::from(flag)));
        }
        if self.properties != PropertyChoice::All {
            arguments.push(format!("--properties={}", self.properties.word()).into());
        }
        arguments.extend(self.search_path.iter().map(|list| format!("--search-path={list}").into()));
        for (flag, file) in [("--before=", &self.before), ("--after=", &self.after)] {
            arguments.extend(file.iter().map(|file| {
                let mut argument = OsString::from(flag);
                argument.push(file);
                argument
            }));
        }
        arguments
    }
}
