//! What can go wrong with a backup.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::preflight::Versions;
use super::stream::StreamError;
use crate::postgres::DatabaseError;
use crate::store::catalog::{BackupName, DatabaseName, DirectoryError, Scope};
use crate::system::lock::LockError;
use crate::system::process::{Interrupted, ProgramError};
use crate::util::units;

/// Why a backup failed.
#[derive(Debug)]
pub enum BackupError {
    /// Another run holds the lock.
    Locked(LockError),
    /// The backup directory cannot be used.
    Directory(DirectoryError),
    /// The filesystem cannot be asked for its free space.
    Disk(Errno),
    /// Too little is free.
    NoSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that the settings want to be free.
        minimum: u64,
        /// Bytes that the dump is expected to take.
        expected: u64,
    },
    /// The server cannot be reached or asked.
    Database(DatabaseError),
    /// pg_dump is older than the server.
    ClientTooOld(Versions),
    /// The database was left invalid by an interrupted DROP DATABASE.
    Invalid(DatabaseName),
    /// There is nothing to back up.
    NoDatabases,
    /// The backups of that name are of something else.
    NameTaken {
        /// The name.
        name: DatabaseName,
        /// What they are of.
        of: Scope,
        /// What was to be backed up.
        wanted: Scope,
    },
    /// A database was asked for that the settings do not name.
    NotConfigured(DatabaseName),
    /// A program failed.
    Program(ProgramError),
    /// The dump could not be moved to its file.
    Write(StreamError),
    /// pg_dump ended well, but its output has no end.
    Incomplete,
    /// A restore that was killed has left the database unfinished.
    Unfinished,
    /// The settings of the database cannot be encrypted for the manifest.
    Seal(io::Error),
    /// The pre-backup hook refused.
    Hook(String),
    /// A mistake of ours.
    Panic(String),
    /// The backup is published, but its restore proof has failed: its name, its size, and why.
    Unproven(BackupName, u64, String),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(error) => error.fmt(f),
            Self::Directory(error) => error.fmt(f),
            Self::Disk(error) => write!(f, "cannot tell the free space of the backup directory: {error}"),
            Self::NoSpace { free, minimum, expected: 0 } => write!(
                f,
                "only {} free in the backup directory, BACKUP_MIN_DISK_SPACE asks for {}",
                units::bytes(*free),
                units::bytes(*minimum)
            ),
            Self::NoSpace { free, minimum, expected } => write!(
                f,
                "only {} free in the backup directory: BACKUP_MIN_DISK_SPACE asks for {}, and 1.2 times the last \
                 backup is {}",
                units::bytes(*free),
                units::bytes(*minimum),
                units::bytes(*expected)
            ),
            Self::Database(error) => error.fmt(f),
            Self::ClientTooOld(versions) => write!(
                f,
                "pg_dump {} is older than the server {}: use an image for PostgreSQL {} or newer",
                versions.tool, versions.server, versions.server.major
            ),
            Self::Invalid(name) => {
                write!(f, "an interrupted DROP DATABASE has left database {name} invalid: drop it first")
            }
            Self::NoDatabases => f.write_str("there is no database to back up"),
            Self::NameTaken { name, of, wanted } => write!(
                f,
                "the existing backups called {name} are of {}, the new one would be of {}: move them away, \
                 or leave {name} out",
                of.described(),
                wanted.described()
            ),
            Self::NotConfigured(name) => {
                write!(f, "database {:?} is not among the databases to back up", name.as_str())
            }
            Self::Program(error) => error.fmt(f),
            Self::Panic(error) => f.write_str(error),
            Self::Write(error) => error.fmt(f),
            Self::Unfinished => f.write_str(
                "a killed restore was loading this database: run backupgram sweep, which puts the previous one back",
            ),
            Self::Seal(error) => write!(f, "cannot encrypt the settings of the database: {error}"),
            Self::Incomplete => f.write_str("pg_dump's output ended before the dump was complete"),
            Self::Unproven(_, _, error) => write!(f, "the backup is published, but not proven: {error}"),
            Self::Hook(error) => write!(f, "the pre-backup hook stopped the backup: {error}"),
        }
    }
}

impl std::error::Error for BackupError {}

impl From<DatabaseError> for BackupError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<ProgramError> for BackupError {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
}

impl From<DirectoryError> for BackupError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

impl BackupError {
    /// The stop signal behind the error, if that is what ended the run.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Program(ProgramError::Interrupted(interrupted))
            | Self::Write(StreamError::Encrypt(ProgramError::Interrupted(interrupted)))
            | Self::Database(DatabaseError::Program(ProgramError::Interrupted(interrupted)))
            | Self::Locked(LockError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }
}
