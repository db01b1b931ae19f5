//! A backup run: preflight, each database in turn, and what is said and kept of it.

mod dump;
mod options;
mod preflight;
mod publish;
mod report;
mod stream;

use std::fmt;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned};
use nix::errno::Errno;

use crate::catalog::{BackupDirectory, BackupName, DatabaseName, DirectoryError, Format, Manifest, Slot};
use crate::lock::{Lock, LockError};
use crate::notify::{Event, Notifier};
use crate::postgres::{DatabaseError, Server};
use crate::process::{Interrupted, ProgramError, Runner};
use crate::settings::{Databases, Storage, Subject};
use crate::{restore, retention, status, units};

pub use options::{Compression, DumpOptions, OptionError};
pub use preflight::{Versions, disk_space};
pub use report::{DatabaseReport, Outcome, Report};
pub use stream::StreamError;
pub(crate) use stream::hexadecimal;

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
        /// Bytes that must be.
        needed: u64,
    },
    /// The server cannot be reached or asked.
    Database(DatabaseError),
    /// pg_dump is older than the server.
    ClientTooOld(Versions),
    /// There is nothing to back up.
    NoDatabases,
    /// A database was asked for that the settings do not name.
    NotConfigured(DatabaseName),
    /// A program failed.
    Program(ProgramError),
    /// The dump could not be moved to its file.
    Write(StreamError),
    /// pg_dump ended well, but its output has no end.
    Incomplete,
    /// The pre-backup hook refused.
    Hook(String),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(error) => error.fmt(f),
            Self::Directory(error) => error.fmt(f),
            Self::Disk(error) => write!(f, "cannot tell the free space of the backup directory: {error}"),
            Self::NoSpace { free, needed } => write!(
                f,
                "only {} free in the backup directory, BACKUP_MIN_DISK_SPACE asks for {}",
                units::bytes(*free),
                units::bytes(*needed)
            ),
            Self::Database(error) => error.fmt(f),
            Self::ClientTooOld(versions) => write!(
                f,
                "pg_dump {} is older than the server {}: use an image for PostgreSQL {} or newer",
                versions.tool, versions.server, versions.server.major
            ),
            Self::NoDatabases => f.write_str("there is no database to back up"),
            Self::NotConfigured(name) => {
                write!(f, "database {:?} is not among those to back up", name.as_str())
            }
            Self::Program(error) => error.fmt(f),
            Self::Write(error) => error.fmt(f),
            Self::Incomplete => f.write_str("pg_dump's output ended before the dump was complete"),
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

/// A backup run with everything that it needs.
pub struct Backup<'a> {
    /// Where to keep what it makes.
    pub storage: &'a Storage,
    /// The server.
    pub server: &'a Server,
    /// What to dump.
    pub subject: &'a Subject,
    /// Whom to tell.
    pub notifier: &'a Notifier,
    /// Starts the programs.
    pub runner: &'a Runner,
}

impl Backup<'_> {
    /// Backs up every database of the settings, or `only` some of them. One that fails does not stop the
    /// others. Whatever happens once the lock is held, the report is kept and told.
    ///
    /// # Errors
    /// When another run holds the lock, or the directory cannot be used at all.
    pub fn run(&self, only: &[DatabaseName]) -> Result<Report, BackupError> {
        let directory = BackupDirectory::new(&self.storage.directory);
        if let Err(error) = directory.prepare() {
            // There is no place to keep the result, but somebody to tell it.
            self.notifier.tell(&Event::Failed { error: &error.to_string(), databases: &self.names(only) });
            self.notifier.error_hook(&[]);
            return Err(error.into());
        }
        let patience = Duration::from_secs(self.storage.lock_wait.into());
        let _lock =
            Lock::take(directory.root(), "backup", patience, self.runner).map_err(BackupError::Locked)?;
        let begun = Instant::now();
        let mut databases = Vec::new();
        let ended = directory
            .sweep_partial()
            .map_err(BackupError::from)
            .and_then(|_| self.back_up_all(&directory, only, &mut databases));
        let report = self.report(begun, databases, ended.as_ref().err(), only);
        self.finish(&directory, &report);
        Ok(report)
    }

    fn back_up_all(
        &self,
        directory: &BackupDirectory,
        only: &[DatabaseName],
        reports: &mut Vec<DatabaseReport>,
    ) -> Result<(), BackupError> {
        self.notifier.tell(&Event::Started { databases: &self.names(only) });
        self.notifier.pre_backup_hook().map_err(BackupError::Hook)?;
        preflight::check_space(directory, self.storage)?;
        let named = match &self.subject.databases {
            Databases::Named(names) => names.as_slice(),
            Databases::Discovered { .. } => only,
        };
        let (client, versions) = preflight::check_server(self.server, named.first(), self.runner)?;
        if let Err(error) = restore::sweep(directory, &client) {
            log::warn!("{error}");
        }
        for database in preflight::choose_databases(&client, &self.subject.databases, only)? {
            let begun = Instant::now();
            let backed_up = self.back_up(directory, &versions, &database);
            if let Err(BackupError::Program(ProgramError::Interrupted(_))) = &backed_up {
                return backed_up.map(drop);
            }
            reports.push(database_report(&database, backed_up, begun));
        }
        Ok(())
    }

    fn back_up(
        &self,
        directory: &BackupDirectory,
        versions: &preflight::Versions,
        database: &DatabaseName,
    ) -> Result<(BackupName, u64), BackupError> {
        preflight::check_space(directory, self.storage)?;
        let (begun, time) = (Instant::now(), self.unused_time(directory, database)?);
        log::info!("{database}: dumping from {} (PostgreSQL {})", self.server.address(), versions.server);
        let name = BackupName::compose(database, &Slot::Last.stamp(&time), self.storage.suffix.as_str());
        let path = directory.partial().join(name.as_str());
        let partial = dump::dump(self.runner, self.server, self.subject, database, path)?;
        let manifest = Manifest {
            sha256: partial.written.sha256.clone(),
            size: partial.written.size,
            database: database.clone(),
            format: match self.subject.options.compression {
                Compression::None => Format::Plain,
                Compression::Gzip(_) => Format::Gzip,
            },
            encrypted: false,
            server_version: versions.server.text.clone(),
            tool_version: versions.tool.text.clone(),
            created_at: time.timestamp().as_second(),
            duration_seconds: begun.elapsed().as_secs_f64(),
        };
        let published = publish::publish(directory, self.storage, &partial, &manifest, &time)?;
        publish::point_latest(directory, self.storage, &manifest, &published);
        self.prune(directory, database);
        Ok((name, manifest.size))
    }

    /// The time that names a backup. Names have seconds; a backup made in the same second as the last one of
    /// its database would replace it, so it begins in the next.
    fn unused_time(
        &self,
        directory: &BackupDirectory,
        database: &DatabaseName,
    ) -> Result<Zoned, BackupError> {
        loop {
            let time = Zoned::now();
            let name = BackupName::compose(database, &Slot::Last.stamp(&time), self.storage.suffix.as_str());
            if !directory.path(Slot::Last, &name).exists() {
                return Ok(time);
            }
            self.runner.sleep(Duration::from_millis(50)).map_err(ProgramError::Interrupted)?;
        }
    }

    /// Deletes what the policy no longer keeps. The new backup is published: a failure is a warning.
    fn prune(&self, directory: &BackupDirectory, database: &DatabaseName) {
        let now = Timestamp::now().as_second();
        let entries = directory.list_all().unwrap_or_else(|error| {
            log::warn!("{database}: nothing old was deleted: {error}");
            Vec::new()
        });
        for entry in retention::expired(&entries, database, &self.storage.policy, now) {
            match directory.remove(entry.slot, &entry.name) {
                Ok(()) => {
                    log::info!("{database}: deleted {}/{}, which has served its time", entry.slot, entry.name)
                }
                Err(error) => log::warn!("{database}: {error}"),
            }
        }
    }

    fn report(
        &self,
        begun: Instant,
        mut databases: Vec<DatabaseReport>,
        error: Option<&BackupError>,
        only: &[DatabaseName],
    ) -> Report {
        if let Some(error) = error {
            let reached: Vec<String> = databases.iter().map(|report| report.name.clone()).collect();
            for name in self.names(only).into_iter().filter(|name| !reached.contains(name)) {
                databases.push(failed_report(name, error.to_string()));
            }
        }
        let failed = error.is_some() || databases.iter().any(|report| report.state == Outcome::Failed);
        Report {
            status: if failed { Outcome::Failed } else { Outcome::Ok },
            timestamp: Timestamp::now().as_second(),
            duration_seconds: (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            databases,
            error: error.map(ToString::to_string).unwrap_or_default(),
        }
    }

    fn finish(&self, directory: &BackupDirectory, report: &Report) {
        if let Err(error) = status::write(directory, report) {
            log::error!("cannot keep the result of this run: {error}");
        }
        let names: Vec<String> = report.databases.iter().map(|database| database.name.clone()).collect();
        let files: Vec<String> =
            report.databases.iter().filter_map(|database| database.file.clone()).collect();
        let paths = files.iter().map(|file| directory.root().join(file)).collect::<Vec<_>>();
        match report.status {
            Outcome::Ok => {
                let size = report.databases.iter().filter_map(|database| database.size).sum();
                let count =
                    if names.len() == 1 { "1 database".into() } else { format!("{} databases", names.len()) };
                log::info!(
                    "backup succeeded: {count}, {}, {:.1} s",
                    units::bytes(size),
                    report.duration_seconds
                );
                self.notifier.tell(&Event::Succeeded { databases: &names });
                self.notifier.post_backup_hook(&paths);
            }
            Outcome::Failed => {
                let error = report.errors();
                log::error!("backup failed: {error}");
                self.notifier.tell(&Event::Failed { error: &error, databases: &names });
                self.notifier.error_hook(&paths);
            }
        }
    }

    fn names(&self, only: &[DatabaseName]) -> Vec<String> {
        let names = match (&self.subject.databases, only) {
            (Databases::Named(names), []) => names,
            (Databases::Discovered { .. }, []) => return Vec::new(),
            _ => only,
        };
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }
}

fn database_report(
    database: &DatabaseName,
    backed_up: Result<(BackupName, u64), BackupError>,
    begun: Instant,
) -> DatabaseReport {
    match backed_up {
        Ok((name, size)) => {
            let seconds = begun.elapsed().as_secs_f64();
            log::info!("{database}: published last/{name}, {}, {seconds:.1} s", units::bytes(size));
            DatabaseReport {
                name: database.as_str().to_owned(),
                state: Outcome::Ok,
                file: Some(format!("last/{name}")),
                size: Some(size),
                error: String::new(),
            }
        }
        Err(error) => {
            log::error!("{database}: {error}");
            failed_report(database.as_str().to_owned(), error.to_string())
        }
    }
}

fn failed_report(name: String, error: String) -> DatabaseReport {
    DatabaseReport { name, state: Outcome::Failed, file: None, size: None, error }
}

impl BackupError {
    /// The stop signal behind the error, if that is what ended the run.
    pub fn interrupted(&self) -> Option<Interrupted> {
        match self {
            Self::Program(ProgramError::Interrupted(interrupted))
            | Self::Database(DatabaseError::Program(ProgramError::Interrupted(interrupted)))
            | Self::Locked(LockError::Interrupted(interrupted)) => Some(*interrupted),
            _ => None,
        }
    }
}
