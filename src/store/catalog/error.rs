//! Errors of the backup directory.

use std::io;
use std::path::PathBuf;

use nix::unistd::getuid;
use thiserror::Error;

use super::name::{BackupName, DatabaseName, unusual};
use super::slot::Slot;
use crate::store::fallback::FallbackError;
use crate::util::durable;

/// Why the backup directory could not be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// There is no such backup.
    #[error("there is no backup {0}/{1}")]
    NotFound(Slot, BackupName),
    /// The name exists, but is neither a file nor a directory, or leads out of its slot.
    #[error("{0}/{1} is not a backup")]
    NotABackup(Slot, BackupName),
    /// We have no write permission.
    #[error("user id {uid} may not write to {path}; run `chown -R {uid} {path}` on the volume",
        uid = getuid(), path = .0.display())]
    NotWritable(PathBuf),
    /// It is on a file system that is mounted read-only.
    #[error("{} is mounted read-only", .0.display())]
    ReadOnly(PathBuf),
    /// The file system is full.
    #[error("the file system of {} is full: {error}", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// The file system does not distinguish the backup names of two databases.
    #[error(
        "the file system treats the names of databases {database} and {other} as the same, so their backups such as \
         {slot}/{name} would be mixed up: give one of the two its own backup directory"
    )]
    Namesake {
        /// The database to be backed up.
        database: DatabaseName,
        /// The database whose backups have these names.
        other: DatabaseName,
        /// Slot of one such backup.
        slot: Slot,
        /// Its name.
        name: BackupName,
    },
    /// The file system rejects the name of a backup.
    #[error(
        "the file system of {} rejects the file name {name} for database {database} ({error}; unusual characters: \
         {}): back it up to another file system, or leave it out",
        root.display(), unusual(name.as_str())
    )]
    NameRefused {
        /// The database.
        database: DatabaseName,
        /// The name.
        name: BackupName,
        /// The directory.
        root: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// The file system stores the name of a backup under another spelling.
    #[error(
        "the file system of {} changes the file name {name} for database {database} (unusual characters: {}): \
         back it up to another file system, or leave it out",
        root.display(), unusual(name.as_str())
    )]
    NameChanged {
        /// The database.
        database: DatabaseName,
        /// The name.
        name: BackupName,
        /// The directory.
        root: PathBuf,
    },
    /// Another process holds the lock on names for longer than we wait.
    #[error("backups are being renamed by another program, which holds .pointers.lock: try again")]
    NamesHeld,
    /// A slot is not a directory.
    #[error("{} is not a directory", .0.display())]
    NotASlot(PathBuf),
    /// Neither the backup directory nor its fallback can be written to.
    #[error("{} cannot be written to ({cause}), nor can its substitute: {error}", path.display())]
    NoFallback {
        /// The directory.
        path: PathBuf,
        /// Why the directory cannot be written to.
        cause: String,
        /// Why the fallback cannot be written to.
        #[source]
        error: FallbackError,
    },
    /// Any other failure, with the action that failed.
    #[error("cannot {0}: {1}")]
    Io(String, #[source] io::Error),
}

impl DirectoryError {
    /// Whether it is due to missing write permission or space.
    pub fn is_unwritable(&self) -> bool {
        match self {
            Self::NotWritable(_) | Self::ReadOnly(_) | Self::Full { .. } => true,
            Self::Io(_, error) => durable::is_unwritable(error),
            _ => false,
        }
    }
}
