//! What can go wrong with a backup.

use std::io;

use nix::errno::Errno;
use thiserror::Error;

use super::stream::StreamError;
use crate::postgres::{DatabaseError, Version};
use crate::store::catalog::{BackupName, DatabaseName, DirectoryError, Scope};
use crate::system::lock::LockError;
use crate::system::process::{Interrupted, ProgramError};
use crate::util::units;

/// Why a backup failed.
#[derive(Debug, Error)]
pub enum BackupError {
    /// Another run holds the lock.
    #[error(transparent)]
    Locked(LockError),
    /// The backup directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The filesystem cannot be asked for its free space.
    #[error("cannot tell the free space of the backup directory: {0}")]
    Disk(#[source] Errno),
    /// Too little is free.
    #[error("{}", no_space(*free, *minimum, *expected))]
    NoSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that the settings want to be free.
        minimum: u64,
        /// Bytes that the dump is expected to take.
        expected: u64,
    },
    /// The server cannot be reached or asked.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// pg_dump is older than the server.
    #[error(
        "pg_dump {tool} is older than the server {server}: use an image for PostgreSQL {} or newer",
        server.major
    )]
    ClientTooOld {
        /// pg_dump's version.
        tool: Version,
        /// The server's version.
        server: Version,
    },
    /// The database was left invalid by an interrupted DROP DATABASE.
    #[error("an interrupted DROP DATABASE has left database {0} invalid: drop it first")]
    Invalid(DatabaseName),
    /// There is nothing to back up.
    #[error("there is no database to back up")]
    NoDatabases,
    /// The backups of that name are of something else.
    #[error(
        "the existing backups called {name} are of {}, the new one would be of {}: move them away, or leave {name} out",
        of.described(),
        wanted.described()
    )]
    NameTaken {
        /// The name.
        name: DatabaseName,
        /// What they are of.
        of: Scope,
        /// What was to be backed up.
        wanted: Scope,
    },
    /// A database was asked for that the settings do not name.
    #[error("database {:?} is not among the databases to back up", .0.as_str())]
    NotConfigured(DatabaseName),
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The dump could not be moved to its file.
    #[error(transparent)]
    Write(StreamError),
    /// pg_dump ended well, but its output has no end.
    #[error("pg_dump's output ended before the dump was complete")]
    Incomplete,
    /// A restore that was killed has left the database unfinished.
    #[error(
        "a killed restore was loading this database: run backupgram sweep, which puts the previous one back"
    )]
    Unfinished,
    /// The settings of the database cannot be encrypted for the manifest.
    #[error("cannot encrypt the settings of the database: {0}")]
    Seal(#[source] io::Error),
    /// The pre-backup hook refused.
    #[error("the pre-backup hook stopped the backup: {0}")]
    Hook(String),
    /// A panic in our own code.
    #[error("{0}")]
    Panic(String),
    /// The backup is published, but its restore proof has failed: its name, its size, and why.
    #[error("the backup is published, but not proven: {2}")]
    Unproven(BackupName, u64, String),
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

/// The message of [`BackupError::NoSpace`]; `expected` is 0 without an earlier backup.
fn no_space(free: u64, minimum: u64, expected: u64) -> String {
    let (free, minimum) = (units::bytes(free), units::bytes(minimum));
    if expected == 0 {
        return format!("only {free} free in the backup directory, BACKUP_MIN_DISK_SPACE asks for {minimum}");
    }
    format!(
        "only {free} free in the backup directory: BACKUP_MIN_DISK_SPACE asks for {minimum}, and 1.2 times the last \
         backup is {}",
        units::bytes(expected)
    )
}
