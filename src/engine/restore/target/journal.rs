//! The journal of a restore: which databases and subscriptions it has changed on the server. It is a file in the
//! backup directory or its fallback, so that a later run can clean up after a killed one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::replication::Noted;
use crate::engine::restore::error::RestoreError;
use crate::store::catalog::{BackupDirectory, DatabaseName, NOTE_PREFIX};
use crate::store::record_file;
use crate::util::durable;
use crate::util::units::hexadecimal;

/// The journal of one restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The address of the server.
    pub(super) server: String,
    /// 12 random hexadecimal digits.
    pub(super) tag: String,
    /// The target, if the backup is loaded under its name, and the old database is moved aside meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<DatabaseName>,
    /// The replication of the database to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replication: Option<Noted>,
    /// The directory of the journal, if it is not the backup directory.
    #[serde(skip)]
    place: Option<PathBuf>,
}

/// Prefix of the comments that mark databases of restores.
pub const MARK: &str = "backupgram ";

impl Journal {
    /// Writes the journal of a new restore. With a `target`, the backup is loaded under that name.
    ///
    /// # Errors
    /// When it cannot be written, or there are no random numbers.
    pub fn begin(
        directory: &BackupDirectory,
        server: String,
        target: Option<&DatabaseName>,
    ) -> Result<Self, RestoreError> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| RestoreError::Random(error.to_string()))?;
        let (tag, target) = (hexadecimal(&random), target.cloned());
        let mut journal = Self { server, tag, target, replication: None, place: None };
        let text = serde_json::to_vec(&journal).map_err(|error| RestoreError::Journal(error.into()))?;
        let path = directory.write_note(&journal.file_name(), &text).map_err(RestoreError::Journal)?;
        journal.place = path.parent().map(Path::to_path_buf);
        Ok(journal)
    }

    fn write(&self, directory: &BackupDirectory) -> Result<(), RestoreError> {
        let text = serde_json::to_vec(self).map_err(|error| RestoreError::Journal(error.into()))?;
        let path = self.path(directory);
        durable::replace_file(path.parent().unwrap_or(directory.root()), &path, &text, 0o600)
            .map_err(RestoreError::Journal)
    }

    /// Adds the replication of the database to replace.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_replication(&self, directory: &BackupDirectory, noted: &Noted) -> Result<(), RestoreError> {
        Self { replication: Some(noted.clone()), ..self.clone() }.write(directory)
    }

    /// The name of the scratch database.
    pub fn scratch(&self) -> DatabaseName {
        self.name("scratch")
    }

    /// The staging name of the database at position `at` of a dump of several.
    pub fn staged(&self, at: usize) -> DatabaseName {
        DatabaseName::ours("scratch", &format!("{}_{at}", self.tag))
    }

    /// The name of the replaced database until it is dropped.
    pub fn replaced(&self) -> DatabaseName {
        self.name("replaced")
    }

    /// The comment on a database during the load.
    pub fn mark(&self, target: &DatabaseName) -> String {
        format!(
            "{MARK}loads a backup of {target} into this, {}; it will be renamed or dropped",
            self.scratch()
        )
    }

    /// Whether a comment is that of [`Self::mark`].
    pub fn is_mark(&self, comment: &str) -> bool {
        comment.starts_with(MARK) && comment.contains(self.scratch().as_str())
    }

    /// Derived from the tag alone, so that a manipulated file cannot cause other databases to be dropped.
    fn name(&self, role: &str) -> DatabaseName {
        DatabaseName::ours(role, &self.tag)
    }

    fn file_name(&self) -> String {
        format!("{NOTE_PREFIX}{}.json", self.tag)
    }

    pub(super) fn path(&self, directory: &BackupDirectory) -> PathBuf {
        self.place.as_deref().unwrap_or(directory.root()).join(self.file_name())
    }

    /// The application name of the session that renames databases. Other sessions have the scratch database's name.
    pub fn renamer(&self) -> String {
        format!("{} renames", self.scratch())
    }

    /// Removes the journal when nothing is left to clean up. If that fails, it does no harm.
    pub fn forget(&self, directory: &BackupDirectory) {
        let path = self.path(directory);
        let removed = durable::remove_if_there(&path).and_then(|_| durable::sync_parent(&path));
        removed.unwrap_or_else(|error| log::warn!("cannot remove {}: {error}", path.display()));
    }

    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let mut journal: Self = record_file::read_json(path)?.ok_or_else(missing)?;
        journal.place = path.parent().map(Path::to_path_buf);
        let hexadecimal = journal.tag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hexadecimal && journal.tag.len() == 12 {
            Ok(journal)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the journal of a restore"))
        }
    }
}

/// Whether there are journals of restores that are running or were killed.
pub fn is_anything_left(directory: &BackupDirectory) -> bool {
    let (own, fallback) = directory.notes();
    !own.is_empty() || !fallback.is_empty()
}

/// Whether a database is incomplete, by its comment.
pub fn is_unfinished(comment: &str) -> bool {
    comment.starts_with(MARK) && comment.contains("_backupgram_scratch_")
}
