//! Why the backup directory cannot be used.

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
    /// The name is there, but is neither a file nor a directory, or leads out of its slot.
    #[error("{0}/{1} is not a backup")]
    NotABackup(Slot, BackupName),
    /// We may not write to the directory.
    #[error("user id {uid} may not write to {path}; run `chown -R {uid} {path}` on the volume",
        uid = getuid(), path = .0.display())]
    NotWritable(PathBuf),
    /// It is on a file system that is mounted read-only.
    #[error("{} is mounted read-only", .0.display())]
    ReadOnly(PathBuf),
    /// There is no room on its file system.
    #[error("the file system of {} is full: {error}", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// What the file system says.
        #[source]
        error: io::Error,
    },
    /// The file system takes the names of one database's backups for those of another's.
    #[error(
        "the file system treats the names of databases {database} and {other} as the same, so their backups such as \
         {slot}/{name} would be mixed up: give one of the two its own backup directory"
    )]
    Namesake {
        /// The database whose names are not free.
        database: DatabaseName,
        /// The database that has them.
        other: DatabaseName,
        /// Where one of them is.
        slot: Slot,
        /// That one.
        name: BackupName,
    },
    /// The file system does not take the name of a backup.
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
        /// What the file system says.
        #[source]
        error: io::Error,
    },
    /// The file system keeps the name of a backup as another.
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
    /// Somebody else holds the names, for longer than we may wait.
    #[error("backups are being renamed by another program, which holds .pointers.lock: try again")]
    NamesHeld,
    /// A slot is something else than a directory.
    #[error("{} is not a directory", .0.display())]
    NotASlot(PathBuf),
    /// Neither the directory, for this cause, nor what would stand in for it can be written to.
    #[error("{} cannot be written to ({cause}), nor can its substitute: {error}", path.display())]
    NoFallback {
        /// The directory.
        path: PathBuf,
        /// Why it cannot be written to.
        cause: String,
        /// Why the fallback cannot.
        #[source]
        error: FallbackError,
    },
    /// Any other failure, with what was being done.
    #[error("cannot {0}: {1}")]
    Io(String, #[source] io::Error),
}

impl DirectoryError {
    /// Whether it is for want of a right to write or of space.
    pub fn is_unwritable(&self) -> bool {
        match self {
            Self::NotWritable(_) | Self::ReadOnly(_) | Self::Full { .. } => true,
            Self::Io(_, error) => durable::is_unwritable(error),
            _ => false,
        }
    }
}
