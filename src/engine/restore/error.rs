//! What can go wrong with a restore.

use std::fmt;
use std::io;
use std::path::Path;

use super::complaints::Complaint;
use super::listener::Heard;
use crate::delivery::telegram::FetchError;
use crate::engine::content::ContentError;
use crate::formats::sql::Refusal;
use crate::postgres::DatabaseError;
use crate::store::catalog::{DatabaseName, DirectoryError, Scope};
use crate::system::lock::LockError;
use crate::system::process::{Exit, Interrupted, ProgramError};
use crate::util::units;

/// Why a restore failed. The target is as it was, unless something else stands there.
#[derive(Debug)]
pub enum RestoreError {
    /// Another run holds the lock.
    Locked(LockError),
    /// The backup does not come back from Telegram.
    Fetch(FetchError),
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
            Self::Fetch(error) => error.fmt(f),
            Self::Directory(error) => error.fmt(f),
            Self::Open(label, error) => write!(f, "cannot read {label}: {error}"),
            Self::Content(label, error) => write!(f, "{label} {error}"),
            Self::Unpack(label, error) => write!(f, "cannot unpack {label}: {error}"),
            Self::Refused(label, refusal) => write!(f, "{label} {refusal}"),
            Self::Newer(label, dump, server) => {
                write!(
                    f,
                    "{label} is of PostgreSQL {dump}, which is newer than the server of the proof \
                     ({server})"
                )
            }
            Self::Exists(label, names) => write!(
                f,
                "{label} is of a whole server, and these of its databases already exist: {names}; drop or \
                 rename them first"
            ),
            Self::NotOneDatabase(label, scope) => write!(
                f,
                "{label} is of {}, not of one database: leave the target out, or call it {}",
                scope.described(),
                scope.name()
            ),
            Self::Missing(what) => f.write_str(what),
            Self::NoRoles(label, names) => {
                write!(f, "{label} names roles that the server does not have: {names}; create them first")
            }
            Self::NoTablespaces(label, names) => {
                write!(
                    f,
                    "{label} names tablespaces that the server does not have: {names}; create them first"
                )
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
                "database {name} cannot be created with the properties of the backup: {why}; --properties \
                 encoding takes only its encoding and locale, --properties none the server's defaults"
            ),
            Self::Manifest(label) => write!(
                f,
                "the manifest of {label} was altered, its properties contain a NUL; --ignore-manifest \
                 restores without it"
            ),
            Self::Sealed(label, error) => write!(
                f,
                "cannot decrypt the settings of {label}'s database: {error}; --properties encoding restores \
                 without them"
            ),
            Self::Encoding(name, encoding) => write!(
                f,
                "the backup is of a database in SQL_ASCII, whose bytes may not be valid in {encoding}, the \
                 encoding of {name}: restore into a new name with --properties encoding"
            ),
            Self::Standby(server) => {
                write!(f, "the server {server} is a standby, which cannot be restored into: use its primary")
            }
            Self::Replication(name, what) => write!(
                f,
                "database {name} has {what}, which would be orphaned or lost when it is replaced: \
                 --drop-replication drops them"
            ),
            Self::KeepsGoingOver(name) => write!(
                f,
                "--keep-going loads only into a new database, and {name} exists: name another target"
            ),
            Self::OneDatabaseOnly(option, scope) => {
                write!(f, "{option} needs a backup of one database, and this is of {}", scope.described())
            }
            Self::Script(path, error) => write!(f, "the SQL of {path} failed: {error}"),
            Self::OpenTransaction(path) => {
                write!(f, "the SQL of {path} leaves a transaction open: end it with COMMIT")
            }
            Self::WithErrors(name, 1) => write!(f, "restored into {name} with 1 error"),
            Self::WithErrors(name, errors) => write!(f, "restored into {name} with {errors} errors"),
            Self::Unresolved(error) => write!(
                f,
                "{error}; try --search-path with the schemas to search during the load, or --keep-going to \
                 load the rest into a new database"
            ),
            Self::Prepared(name, transactions) => write!(
                f,
                "database {name} cannot be replaced while it has prepared transactions: {transactions}"
            ),
            Self::Sessions(role, name, sessions) => {
                write!(
                    f,
                    "role {role} cannot end these sessions, which it must to replace database {name}: \
                     {sessions}"
                )
            }
            Self::NoSpace { free, needed } => write!(
                f,
                "the server's disk has {} free, and the database took {} when it was backed up; \
                 --ignore-space restores anyway",
                units::bytes(*free),
                units::bytes(*needed)
            ),
            Self::Foreign(label) => write!(f, "{label} is not a dump by pg_dump"),
            Self::Connects(label, names) => {
                write!(f, "{label} is of several databases, {names}: split it, or load it with psql")
            }
            Self::OnlyRows(label) => write!(
                f,
                "{label} has rows but no tables, as with --data-only: load it into existing tables with \
                 psql or pg_restore"
            ),
            Self::Changed(label) => write!(f, "{label} changed while it was being restored"),
            Self::OtherDatabase(label, named, described) => write!(
                f,
                "the name of {label} says database {named}, its manifest says {described}: \
                 --ignore-manifest restores without the manifest"
            ),
            Self::NoTarget(label) => {
                write!(f, "{label} does not say which database it is of: name the target")
            }
            Self::Protected(name) => {
                write!(f, "database {name} belongs to the server and cannot be replaced")
            }
            Self::Template(name) => {
                write!(f, "database {name} is a template, which cannot be replaced")
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
            Self::Names(error) => write!(f, "cannot rename the databases: {error}"),
            Self::Late(name, error) => {
                write!(f, "everything is restored except the contents of database {name}: {error}")
            }
            Self::Journal(error) => write!(f, "cannot write the journal of the scratch database: {error}"),
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
    /// The failure of a program that loads, of which this was heard.
    pub(super) fn of_load(error: ProgramError, heard: &Heard) -> Self {
        let is_unresolved = heard.first.as_ref().is_some_and(Complaint::is_unresolved);
        match error {
            error @ ProgramError::Failed(..) if is_unresolved => Self::Unresolved(error),
            error => Self::Program(error),
        }
    }

    /// The failure of a program that runs the user's SQL, of which this was heard. Of a statement that fails it says
    /// where that stands; only the one behind the last has no place.
    pub(super) fn of_script(path: &Path, error: ProgramError, heard: &Heard) -> Self {
        let path = path.display().to_string();
        match error {
            error @ ProgramError::Interrupted(_) => Self::Program(error),
            ProgramError::Failed(_, Exit::Code(_), _) if heard.count == 0 => Self::OpenTransaction(path),
            error => Self::Script(path, error),
        }
    }

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
            Self::Fetch(error) => error.interrupted(),
            Self::Program(ProgramError::Interrupted(interrupted))
            | Self::Database(DatabaseError::Program(ProgramError::Interrupted(interrupted)))
            | Self::Locked(LockError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }
}
