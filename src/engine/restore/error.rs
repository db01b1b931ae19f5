//! Errors of a restore.

use std::io;

use thiserror::Error;

use crate::engine::content::ContentError;
use crate::formats::sql::Refusal;
use crate::postgres::DatabaseError;
use crate::store::catalog::{DatabaseName, DirectoryError, Scope};
use crate::system::lock::LockError;
use crate::system::process::{Interrupted, ProgramError};
use crate::util::units;

/// Why a restore failed. The target is as it was, unless something else stands there.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// Another run holds the lock.
    #[error(transparent)]
    Locked(LockError),
    /// The backup directory cannot be used, or has no such backup.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The backup cannot be opened or read.
    #[error("cannot read {0}: {1}")]
    Open(String, #[source] io::Error),
    /// It is damaged, or cannot be read as a backup.
    #[error("{0} {1}")]
    Content(String, #[source] ContentError),
    /// It is no SQL as pg_dump or pg_dumpall write it.
    #[error("{0} {1}")]
    Refused(String, #[source] Refusal),
    /// It is of a newer major version, which comes first, than the server of the trial.
    #[error("{0} is of PostgreSQL {1}, which is newer than the server of the proof ({2})")]
    Newer(String, u32, u32),
    /// Databases of the dump exist already.
    #[error(
        "{0} is of a whole server, and these of its databases already exist: {1}; drop or rename them first"
    )]
    Exists(String, String),
    /// It is of a whole server, and a single database was named as its target.
    #[error(
        "{label} is of {}, not of one database: leave the target out, or call it {}",
        .1.described(),
        .1.name(),
        label = .0
    )]
    NotOneDatabase(String, Scope),
    /// The role may not do what a restore needs.
    #[error("{0}")]
    Missing(String),
    /// Roles that it names do not exist.
    #[error("{0} names roles that the server does not have: {1}; create them first")]
    NoRoles(String, String),
    /// Tablespaces that it names do not exist.
    #[error("{0} names tablespaces that the server does not have: {1}; create them first")]
    NoTablespaces(String, String),
    /// Extensions that it creates are not available.
    #[error("{0} needs extensions that the server does not have: {1}; install their packages there first")]
    NoExtensions(String, String),
    /// Collations that it creates or uses are not available.
    #[error("{0} needs collations that the server does not have: {1}; install their locales there first")]
    NoCollations(String, String),
    /// The database cannot be created with the properties of the one that was backed up; the reason.
    #[error(
        "database {0} cannot be created with the properties of the backup: {1}; --properties encoding takes only its \
         encoding and locale, --properties none the server's defaults"
    )]
    Unlike(DatabaseName, String),
    /// The properties in the manifest have text that no server has written.
    #[error(
        "the manifest of {0} was altered, its properties contain a NUL; --ignore-manifest restores without it"
    )]
    Manifest(String),
    /// The settings in the manifest cannot be decrypted.
    #[error(
        "cannot decrypt the settings of {0}'s database: {1}; --properties encoding restores without them"
    )]
    Sealed(String, #[source] io::Error),
    /// The backup is in SQL_ASCII, and the target is not, but in this encoding.
    #[error(
        "the backup is of a database in SQL_ASCII, whose bytes may not be valid in {1}, the encoding of {0}: restore \
         into a new name with --properties encoding"
    )]
    Encoding(DatabaseName, String),
    /// The server is a standby.
    #[error("the server {0} is a standby, which cannot be restored into: use its primary")]
    Standby(String),
    /// The target has subscriptions or replication slots.
    #[error(
        "database {0} has {1}, which would be orphaned or lost when it is replaced: --drop-replication drops them"
    )]
    Replication(DatabaseName, String),
    /// `--keep-going` was given, and the target exists.
    #[error("--keep-going loads only into a new database, and {0} exists: name another target")]
    KeepsGoingOver(DatabaseName),
    /// This option is for backups of one database only.
    #[error("{option} needs a backup of one database, and this is of {}", .1.described(), option = .0)]
    OneDatabaseOnly(&'static str, Scope),
    /// The user's SQL before or after the load failed.
    #[error("the SQL of {0} failed: {1}")]
    Script(String, #[source] ProgramError),
    /// The user's SQL before or after the load left a transaction open.
    #[error("the SQL of {0} leaves a transaction open: end it with COMMIT")]
    OpenTransaction(String),
    /// With `--keep-going`: the restore is done, and this number of statements failed.
    #[error("{}", with_errors(.0, *.1))]
    WithErrors(DatabaseName, u64),
    /// A statement of the load refers to an unknown name.
    #[error(
        "{0}; try --search-path with the schemas to search during the load, or --keep-going to load the rest into a \
         new database"
    )]
    Unresolved(#[source] ProgramError),
    /// The target has prepared transactions, which prevent its renaming.
    #[error("database {0} cannot be replaced while it has prepared transactions: {1}")]
    Prepared(DatabaseName, String),
    /// The target has sessions that the role may not end; its name comes first.
    #[error("role {0} cannot end these sessions, which it must to replace database {1}: {2}")]
    Sessions(String, DatabaseName, String),
    /// The server's disk has too little room, in bytes.
    #[error(
        "the server's disk has {} free, and the database took {} when it was backed up; --ignore-space restores \
         anyway",
        units::bytes(*.free),
        units::bytes(*.needed)
    )]
    NoSpace {
        /// Free bytes.
        free: u64,
        /// The size of the database at the time of the backup, in bytes.
        needed: u64,
    },
    /// It is no dump by pg_dump.
    #[error("{0} is not a dump by pg_dump")]
    Foreign(String),
    /// The directory dump in it cannot be unpacked.
    #[error("cannot unpack {0}: {1}")]
    Unpack(String, #[source] io::Error),
    /// The dump in it is of several databases, by these names.
    #[error("{0} is of several databases, {1}: split it, or load it with psql")]
    Connects(String, String),
    /// It has rows and no table definitions.
    #[error(
        "{0} has rows but no tables, as with --data-only: load it into existing tables with psql or pg_restore"
    )]
    OnlyRows(String),
    /// It changed between being checked and being loaded.
    #[error("{0} changed while it was being restored")]
    Changed(String),
    /// Its name says that it is of one database, and its manifest that it is of another.
    #[error(
        "the name of {0} says database {1}, its manifest says {2}: --ignore-manifest restores without the manifest"
    )]
    OtherDatabase(String, DatabaseName, DatabaseName),
    /// No target was named, and the backup does not say which database it is of.
    #[error("{0} does not say which database it is of: name the target")]
    NoTarget(String),
    /// The target is a database that must not be replaced, such as `template1`.
    #[error("database {0} belongs to the server and cannot be replaced")]
    Protected(DatabaseName),
    /// The target is a template database.
    #[error("database {0} is a template, which cannot be replaced")]
    Template(DatabaseName),
    /// The target was left invalid by an interrupted DROP DATABASE.
    #[error("an interrupted DROP DATABASE has left database {0} invalid: drop it first")]
    Invalid(DatabaseName),
    /// The server cannot be reached, or refused a statement.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The SQL could not be read while it was loaded.
    #[error("cannot read the backup: {0}")]
    Read(#[source] io::Error),
    /// psql stopped reading.
    #[error("psql stopped reading: {0}")]
    Feed(#[source] io::Error),
    /// pg_restore stopped reading.
    #[error("pg_restore stopped reading: {0}")]
    Convert(#[source] io::Error),
    /// The loaded database could not take the target's name.
    #[error("cannot replace database {0}: {1}")]
    Swap(DatabaseName, #[source] DatabaseError),
    /// The loaded databases of a server could not take their names.
    #[error("cannot rename the databases: {0}")]
    Names(#[source] DatabaseError),
    /// The contents of a built-in database could not be committed after the other databases got their names.
    /// Everything else stays.
    #[error("everything is restored except the contents of database {0}: {1}")]
    Late(DatabaseName, #[source] Box<RestoreError>),
    /// The journal of the restore cannot be written.
    #[error("cannot write the journal of the scratch database: {0}")]
    Journal(#[source] io::Error),
    /// The system provides no random numbers.
    #[error("cannot choose a name for the scratch database: {0}")]
    Random(String),
    /// The user declined.
    #[error("nothing was restored")]
    Declined,
}

fn with_errors(name: &DatabaseName, errors: u64) -> String {
    if errors == 1 {
        format!("restored into {name} with 1 error")
    } else {
        format!("restored into {name} with {errors} errors")
    }
}

impl RestoreError {
    /// Whether psql or pg_restore failed at a statement or exited with an error.
    pub(super) fn is_of_load(&self) -> bool {
        matches!(self, Self::Unresolved(_) | Self::Program(ProgramError::Failed(..)))
    }

    /// Adds the backup's name where the SQL itself was refused.
    pub fn of_backup(self, label: &str) -> Self {
        match self {
            Self::Read(error) => match Refusal::behind(&error) {
                Some(refusal) => Self::Refused(label.to_owned(), refusal.clone()),
                None => Self::Read(error),
            },
            error => error,
        }
    }

    /// The stop signal, if that is the cause.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Content(_, error) => error.interrupted(),
            Self::Program(ProgramError::Interrupted(interrupted))
            | Self::Database(DatabaseError::Program(ProgramError::Interrupted(interrupted)))
            | Self::Locked(LockError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }
}
