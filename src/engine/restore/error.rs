//! What can go wrong with a restore.

use std::fmt;
use std::io;

use crate::engine::content::ContentError;
use crate::formats::sql::Refusal;
use crate::postgres::DatabaseError;
use crate::store::catalog::{DatabaseName, DirectoryError, Scope};
use crate::system::lock::LockError;
use crate::system::process::{Interrupted, ProgramError};
use crate::util::units;

/// Why a restore failed. The target is as it was, unless something else stands there.
#[derive(Debug)]
pub enum RestoreError {
    /// Another run holds the lock.
    Locked(LockError),
    /// The backup directory cannot be used, or has no such backup.
    Directory(DirectoryError),
    /// The backup cannot be opened or read.
    Open(String, io::Error),
    /// It is damaged, or cannot be read as a backup.
    Content(String, ContentError),
    /// It is not SQL as PostgreSQL's programs write it.
    Refused(String, Refusal),
    /// It is of a newer server than the one it would go into; the major versions.
    Newer(String, u32, u32),
    /// Databases that it makes are there already.
    Exists(String, String),
    /// It is of a whole server, and a single database was named as its target.
    NotOneDatabase(String, Scope),
    /// The role may not do what a restore needs.
    Missing(String),
    /// The server lacks roles that it names.
    NoRoles(String, String),
    /// The server lacks tablespaces that it names.
    NoTablespaces(String, String),
    /// The server lacks extensions that it makes.
    NoExtensions(String, String),
    /// The server lacks collations that it makes or uses.
    NoCollations(String, String),
    /// The database cannot be made like the one that was backed up; why.
    Unlike(DatabaseName, String),
    /// The properties in the manifest are none that a server has.
    Manifest(String),
    /// The settings in the manifest cannot be decrypted.
    Sealed(String, io::Error),
    /// The backup is in SQL_ASCII, and the target is not, but in this encoding.
    Encoding(DatabaseName, String),
    /// The server is a standby.
    Standby(String),
    /// The target has subscriptions or replication slots.
    Replication(DatabaseName, String),
    /// It was to keep going, and the target is there.
    KeepsGoingOver(DatabaseName),
    /// An option goes with one database only; its name.
    OneDatabaseOnly(&'static str, Scope),
    /// The user's SQL before or after the load failed.
    Script(String, ProgramError),
    /// The user's SQL before or after the load left a transaction open.
    OpenTransaction(String),
    /// It kept going, and so many statements have failed.
    WithErrors(DatabaseName, u64),
    /// The load failed at a name that is not found.
    Unresolved(ProgramError),
    /// The target has prepared transactions, with which nobody can rename it.
    Prepared(DatabaseName, String),
    /// The target has sessions that the role may not end; its name comes first.
    Sessions(String, DatabaseName, String),
    /// The server's disk has too little room, in bytes.
    NoSpace {
        /// What is free.
        free: u64,
        /// What the database took when it was backed up.
        needed: u64,
    },
    /// It is no dump at all.
    Foreign(String),
    /// The directory in it cannot be unpacked.
    Unpack(String, io::Error),
    /// The dump in it is of several databases, by these names.
    Connects(String, String),
    /// It has the rows of a database and not its tables.
    OnlyRows(String),
    /// It changed between being checked and being loaded.
    Changed(String),
    /// Its name says that it is of one database, and its manifest that it is of another.
    OtherDatabase(String, DatabaseName, DatabaseName),
    /// No target was named, and the backup does not say which database it is of.
    NoTarget(String),
    /// The target is one that must not be replaced.
    Protected(DatabaseName),
    /// The target is somebody's template.
    Template(DatabaseName),
    /// The target was left invalid by an interrupted DROP DATABASE.
    Invalid(DatabaseName),
    /// The server cannot be reached or refused an order.
    Database(DatabaseError),
    /// A program failed.
    Program(ProgramError),
    /// The SQL could not be read while it was loaded.
    Read(io::Error),
    /// psql stopped reading.
    Feed(io::Error),
    /// pg_restore stopped reading.
    Convert(io::Error),
    /// The loaded database could not take the target's name.
    Swap(DatabaseName, String),
    /// The loaded databases of a server could not take their names.
    Names(String),
    /// What a dump of a server holds for a database that every server has could not be committed, when the others had
    /// their names. All else stays.
    Late(DatabaseName, String),
    /// The note about the scratch database cannot be kept.
    Journal(io::Error),
    /// There are no random numbers.
    Random(String),
    /// The user said no.
    Declined,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(error) => error.fmt(f),
            Self::Directory(error) => error.fmt(f),
            Self::Open(label, error) => write!(f, "cannot read {label}: {error}"),
            Self::Content(label, error) => write!(f, "{label} {error}"),
            Self::Unpack(label, error) => write!(f, "cannot unpack {label}: {error}"),
            Self::Refused(label, refusal) => write!(f, "{label} {refusal}"),
            Self::Newer(label, dump, server) => {
                write!(
                    f,
                    "{label} is of PostgreSQL {dump}, which is newer than the {server} that it was to be tried on"
                )
            }
            Self::Exists(label, names) => write!(
                f,
                "{label} is of a whole server, which has these databases already: {names}; drop or rename them first"
            ),
            Self::NotOneDatabase(label, scope) => write!(
                f,
                "{label} is of {}, not of one database: leave the target out, or call it {}",
                scope.described(),
                scope.name()
            ),
            Self::Missing(what) => f.write_str(what),
            Self::NoRoles(label, names) => {
                write!(f, "{label} names roles that the server does not have: {names}; make them first")
            }
            Self::NoTablespaces(label, names) => {
                write!(f, "{label} names tablespaces that the server does not have: {names}; make them first")
            }
            Self::NoExtensions(label, names) => write!(
                f,
                "{label} needs extensions that the server does not have: {names}; install their packages there first"
            ),
            Self::NoCollations(label, what) => write!(
                f,
                "{label} needs collations that the server does not have: {what}; install their locales there first"
            ),
            Self::Unlike(name, why) => write!(
                f,
                "database {name} cannot be made like the one that was backed up: {why}; --properties encoding makes \
                 it like that in encoding and locale only, --properties none by the server's defaults"
            ),
            Self::Manifest(label) => write!(
                f,
                "the manifest of {label} has been changed: its properties have a NUL in them; --ignore-manifest goes on \
                 without it"
            ),
            Self::Sealed(label, error) => write!(
                f,
                "cannot decrypt the settings of {label}'s database: {error}; --properties encoding goes without them"
            ),
            Self::Encoding(name, encoding) => write!(
                f,
                "the backup is of a database in SQL_ASCII, whose bytes may be none of {encoding}, as {name} would have \
                 it: restore into a name that is not there, with --properties encoding"
            ),
            Self::Standby(server) => {
                write!(
                    f,
                    "the server {server} is a standby, into which nothing can be restored: name its primary"
                )
            }
            Self::Replication(name, what) => write!(
                f,
                "database {name} has {what}, which would live on without it or go with it: --drop-replication drops \
                 them"
            ),
            Self::KeepsGoingOver(name) => write!(
                f,
                "--keep-going loads only into a database that is not there, and {name} is: name another one"
            ),
            Self::OneDatabaseOnly(option, scope) => {
                write!(f, "{option} goes with a backup of one database, and this is of {}", scope.described())
            }
            Self::Script(path, error) => write!(f, "the SQL of {path} failed: {error}"),
            Self::OpenTransaction(path) => {
                write!(f, "the SQL of {path} leaves a transaction open: end it with COMMIT")
            }
            Self::WithErrors(name, 1) => write!(f, "restored into {name} with 1 error"),
            Self::WithErrors(name, errors) => write!(f, "restored into {name} with {errors} errors"),
            Self::Unresolved(error) => write!(
                f,
                "{error}; --search-path names schemas to be searched during the load, --keep-going loads all else into \
                 a new database"
            ),
            Self::Prepared(name, transactions) => write!(
                f,
                "database {name} cannot be replaced while it has prepared transactions: {transactions}"
            ),
            Self::Sessions(role, name, sessions) => {
                write!(
                    f,
                    "role {role} may not end these sessions, as it must to replace database {name}: {sessions}"
                )
            }
            Self::NoSpace { free, needed } => write!(
                f,
                "the server's disk has {} free, and the database took {} when it was backed up; \
                 --ignore-space tries it all the same",
                units::bytes(*free),
                units::bytes(*needed)
            ),
            Self::Foreign(label) => write!(f, "{label} is not a dump by pg_dump"),
            Self::Connects(label, names) => {
                write!(f, "{label} is of several databases, {names}: divide it, or load it with psql")
            }
            Self::OnlyRows(label) => write!(
                f,
                "{label} has rows and no tables, as with --data-only: load it into tables that are there with psql or \
                 pg_restore"
            ),
            Self::Changed(label) => write!(f, "{label} changed while it was being restored"),
            Self::OtherDatabase(label, named, described) => write!(
                f,
                "{label} is of database {named} by its name and of {described} by its manifest: \
                 --ignore-manifest goes by the file alone"
            ),
            Self::NoTarget(label) => {
                write!(f, "{label} does not say which database it is of: name the target")
            }
            Self::Protected(name) => write!(f, "database {name} belongs to the server and is not replaced"),
            Self::Template(name) => {
                write!(f, "database {name} is a template, which no restore replaces")
            }
            Self::Invalid(name) => {
                write!(f, "an interrupted DROP DATABASE has left database {name} invalid: drop it first")
            }
            Self::Database(error) => error.fmt(f),
            Self::Program(error) => error.fmt(f),
            Self::Read(error) => write!(f, "cannot read the backup: {error}"),
            Self::Feed(error) => write!(f, "psql stopped reading: {error}"),
            Self::Convert(error) => write!(f, "pg_restore stopped reading: {error}"),
            Self::Swap(name, error) => write!(f, "cannot replace database {name}: {error}"),
            Self::Names(error) => write!(f, "cannot give the databases their names: {error}"),
            Self::Late(name, error) => {
                write!(f, "all of it is restored but what the dump holds for database {name}: {error}")
            }
            Self::Journal(error) => write!(f, "cannot keep the note about the scratch database: {error}"),
            Self::Random(error) => write!(f, "cannot choose a name for the scratch database: {error}"),
            Self::Declined => f.write_str("nothing was restored"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<DirectoryError> for RestoreError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

impl From<DatabaseError> for RestoreError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<ProgramError> for RestoreError {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
}

impl RestoreError {
    /// Whether a program has failed at what it loaded.
    pub(super) fn is_of_load(&self) -> bool {
        matches!(self, Self::Unresolved(_) | Self::Program(ProgramError::Failed(..)))
    }

    /// The same, with the name of the backup where it is the backup's fault.
    pub fn of_backup(self, label: &str) -> Self {
        match self {
            Self::Read(error) => match Refusal::behind(&error) {
                Some(refusal) => Self::Refused(label.to_owned(), refusal.clone()),
                None => Self::Read(error),
            },
            error => error,
        }
    }

    /// The stop signal behind the error, if that is what ended the restore.
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
