//! Restores a backup, all or nothing: it is checked from end to end, loaded into a scratch database, and
//! only when that is complete does the scratch database take the target's name.

mod convert;
mod journal;
mod load;
mod properties;
mod psql;
mod scratch;
mod source;
mod swap;
mod unpack;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use jiff::Zoned;

use crate::catalog::{BackupDirectory, DatabaseName, DirectoryError};
use crate::content::{ContentError, Keys};
use crate::lock::{Lock, LockError};
use crate::postgres::{Client, DatabaseError, Server};
use crate::process::{Interrupted, ProgramError, Runner};
use crate::settings::Storage;
use crate::units;
use load::Loading;
use properties::Properties;
use scratch::Scratch;

pub use journal::sweep;
pub use source::{Checked, Source};

/// Why a restore failed. The target is as it was.
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
    /// It is a kind of backup that this version cannot restore.
    Unsupported(String, &'static str),
    /// It is no dump at all.
    Foreign(String),
    /// The directory in it cannot be unpacked.
    Unpack(String, io::Error),
    /// The dump in it would be loaded into a database of its own choice.
    Connects(String),
    /// It changed between being checked and being loaded.
    Changed(String),
    /// No target was named, and the backup does not say which database it is of.
    NoTarget(String),
    /// The target is one that must not be replaced.
    Protected(DatabaseName),
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
            Self::Unsupported(label, what) => {
                write!(f, "{label} is {what}, which this version cannot restore")
            }
            Self::Foreign(label) => write!(f, "{label} is not a dump by pg_dump"),
            Self::Connects(label) => write!(
                f,
                "{label} was made with --create and would connect to a database of its own choice; load it with psql"
            ),
            Self::Changed(label) => write!(f, "{label} changed while it was being restored"),
            Self::NoTarget(label) => {
                write!(f, "{label} does not say which database it is of: name the target")
            }
            Self::Protected(name) => write!(f, "database {name} belongs to the server and is not replaced"),
            Self::Invalid(name) => {
                write!(f, "an interrupted DROP DATABASE has left database {name} invalid: drop it first")
            }
            Self::Database(error) => error.fmt(f),
            Self::Program(error) => error.fmt(f),
            Self::Read(error) => write!(f, "cannot read the backup: {error}"),
            Self::Feed(error) => write!(f, "psql stopped reading: {error}"),
            Self::Convert(error) => write!(f, "pg_restore stopped reading: {error}"),
            Self::Swap(name, error) => write!(f, "cannot replace database {name}: {error}"),
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

/// What to restore.
#[derive(Debug, Clone)]
pub struct Request {
    /// `SLOT/NAME`, or a path.
    pub file: String,
    /// The database to replace or make; without one, the database that the backup is of.
    pub target: Option<DatabaseName>,
    /// Whether the replaced database stays under another name.
    pub keep_previous: bool,
}

/// What is about to be replaced, for the question whether it may be.
pub struct Plan<'a> {
    /// The backup.
    pub file: &'a str,
    /// The target.
    pub target: &'a DatabaseName,
    /// The server's address.
    pub server: String,
    /// Asks for the size in bytes of the database that will be replaced, if there is one.
    pub replaces: &'a dyn Fn() -> Result<Option<u64>, RestoreError>,
}

/// A restore with everything that it needs.
pub struct Restore<'a> {
    /// Where the backups are.
    pub storage: &'a Storage,
    /// The server.
    pub server: &'a Server,
    /// How many jobs pg_restore may do at once.
    pub jobs: usize,
    /// Starts the programs.
    pub runner: &'a Runner,
}

impl Restore<'_> {
    /// Restores a backup, if `confirm` agrees.
    ///
    /// # Errors
    /// When anything goes wrong on the way. The target is then as it was.
    pub fn run(
        &self,
        request: &Request,
        confirm: impl FnOnce(&Plan) -> Result<bool, Interrupted>,
    ) -> Result<(), RestoreError> {
        let directory = BackupDirectory::new(&self.storage.directory);
        directory.prepare()?;
        let source = Source::open(&directory, &request.file)?;
        let target = request.target.clone().or_else(|| source.database());
        let target = target.ok_or_else(|| RestoreError::NoTarget(source.label.clone()))?;
        if ["postgres", "template0", "template1"].contains(&target.as_str()) {
            return Err(RestoreError::Protected(target));
        }
        let client = Client::new(self.server.clone(), DatabaseName::maintenance(), self.runner.clone());
        // Before the lock: somebody who went away from the question must not hold up every backup.
        self.ask(&client, &source, &target, confirm)?;
        let patience = Duration::from_secs(self.storage.lock_wait.into());
        let _lock =
            Lock::take(directory.root(), "restore", patience, self.runner).map_err(RestoreError::Locked)?;
        let begun = Instant::now();
        directory.sweep_partial()?;
        let passphrase = self.storage.passphrase.clone();
        let keys = Keys { passphrase, runner: self.runner.clone() };
        let backup = source.check(&keys)?;
        log::info!("{}: whole, {}", backup.label(), units::bytes(backup.findings.bytes));
        self.replace(&directory, &client, &backup, &keys, &target, request.keep_previous)?;
        log::info!("restore succeeded: database {target}, {:.1} s", begun.elapsed().as_secs_f64());
        Ok(())
    }

    fn ask(
        &self,
        client: &Client,
        source: &Source,
        target: &DatabaseName,
        confirm: impl FnOnce(&Plan) -> Result<bool, Interrupted>,
    ) -> Result<(), RestoreError> {
        let size = || -> Result<Option<u64>, RestoreError> {
            client.wait_until_ready()?;
            Ok(Properties::of(client, target)?.map(|properties| properties.size))
        };
        let plan = Plan { file: &source.label, target, server: self.server.address(), replaces: &size };
        match confirm(&plan).map_err(ProgramError::Interrupted)? {
            true => Ok(()),
            false => Err(RestoreError::Declined),
        }
    }

    fn replace(
        &self,
        directory: &BackupDirectory,
        client: &Client,
        backup: &Checked,
        keys: &Keys,
        target: &DatabaseName,
        keep_previous: bool,
    ) -> Result<(), RestoreError> {
        client.wait_until_ready()?;
        let (version, tool) = (client.server_version()?, client.program_version("pg_restore")?);
        sweep(directory, client);
        let existing = usable(client, target)?;
        let scratch = Scratch::create(directory, client, target, existing.as_ref())?;
        log::info!("loading into scratch database {}", scratch.name());
        let (jobs, workplace) = (self.jobs, directory.partial());
        Loading { scratch: &scratch, server: &version, tool: &tool, jobs, keys, workplace }.load(backup)?;
        // Asked again: loading may take hours, in which somebody may have changed a setting.
        let existing = usable(client, target)?;
        if let Some(properties) = &existing {
            scratch.client().execute(&properties.orders(scratch.name().as_str()), &[])?;
        }
        let kept_as = if keep_previous { previous_name(target) } else { scratch.journal().replaced() };
        swap::swap(&scratch, target, existing.as_ref(), &kept_as)?;
        match (existing, keep_previous) {
            (None, _) => log::info!("database {target} is new"),
            (Some(_), true) => {
                log::info!("database {target} is restored; the previous one is kept as {kept_as}")
            }
            (Some(_), false) => log::info!("database {target} is restored; the previous one will be dropped"),
        }
        Ok(())
    }
}

/// The properties of the target, if there is one; it must be one that can be replaced.
fn usable(client: &Client, target: &DatabaseName) -> Result<Option<Properties>, RestoreError> {
    match Properties::of(client, target)? {
        Some(properties) if properties.is_template() => Err(RestoreError::Protected(target.clone())),
        Some(properties) if properties.is_invalid() => Err(RestoreError::Invalid(target.clone())),
        properties => Ok(properties),
    }
}

/// `TARGET_before_YYYYMMDDHHMMSS`, the target cut where a database's name would be too long.
fn previous_name(target: &DatabaseName) -> DatabaseName {
    let stamp = Zoned::now().strftime("_before_%Y%m%d%H%M%S").to_string();
    let mut end = target.as_str().len().min(63 - stamp.len());
    while !target.as_str().is_char_boundary(end) {
        end -= 1;
    }
    DatabaseName::parse(&format!("{}{stamp}", &target.as_str()[..end])).unwrap_or_else(|_| target.clone())
}
