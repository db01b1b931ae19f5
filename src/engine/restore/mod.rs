//! Restores a backup, all or nothing: it is checked from end to end and loaded into a scratch database, which takes
//! the target's name only when it is complete.

mod cluster;
mod error;
mod load;
mod options;
mod plan;
mod run;
mod source;
mod target;
mod trial;

use std::time::{Duration, Instant};

use crate::engine::content::DecryptionContext;
use crate::postgres::{Client, Server};
use crate::settings::Storage;
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::system::lock::Lock;
use crate::system::process::{Interrupted, ProgramError, Runner};
use crate::util::units;
use load::Scripts;
use run::Run;
use target::{RoleCapabilities, Target};

pub use error::RestoreError;
pub use options::{Options, PropertyChoice, SearchPath};
pub use plan::{Goal, Plan};
pub use source::{Checked, NeedsReader, Source};
pub use target::{cleanup_databases, is_anything_left, is_unfinished};
pub use trial::Trial;

/// What is asked of a restore besides its backup.
#[derive(Debug, Clone)]
pub struct Request {
    /// The database to replace or make; without one, the database that the backup is of.
    pub target: Option<DatabaseName>,
    /// The options of the load.
    pub options: Options,
    /// Whether it is tried even where the server's disk seems too small.
    pub ignore_space: bool,
    /// Whether everything is checked and nothing is changed.
    pub dry_run: bool,
}

/// A restore whose backup is still to be named.
#[derive(Debug)]
pub struct Restore<'a> {
    storage: &'a Storage,
    server: &'a Server,
    runner: &'a Runner,
    request: &'a Request,
    scripts: Scripts,
    directory: BackupDirectory,
}

impl<'a> Restore<'a> {
    /// Opens the user's SQL files and the backup directory.
    ///
    /// # Errors
    /// When one of the files cannot be read, or the directory cannot be used.
    pub fn new(
        storage: &'a Storage,
        server: &'a Server,
        runner: &'a Runner,
        request: &'a Request,
    ) -> Result<Self, RestoreError> {
        let scripts = Scripts::open(&request.options)?;
        let directory = BackupDirectory::new(&storage.directory);
        directory.prepare_to_read()?;
        Ok(Self { storage, server, runner, request, scripts, directory })
    }

    /// The backup directory.
    pub fn directory(&self) -> &BackupDirectory {
        &self.directory
    }

    /// Opens a backup: `SLOT/NAME` of the backup directory, or a path.
    ///
    /// # Errors
    /// When it cannot be opened, or its manifest is of another database than its name.
    pub fn open(&self, file: &str) -> Result<Source, RestoreError> {
        Source::open(&self.directory, file, self.request.options.ignore_manifest)
    }

    /// Takes the run lock, and removes the temporary files of killed runs. Who needs it before the restore does, such as
    /// for a backup that must be fetched, hands it to [`Self::run`].
    ///
    /// # Errors
    /// When another run holds it for longer than is to be waited, or a stop signal comes.
    pub fn lock(&self) -> Result<Lock, RestoreError> {
        let patience = Duration::from_secs(self.storage.lock_wait.into());
        let lock = Lock::take_to_read(self.directory.root(), "restore", patience, self.runner);
        let lock = lock.map_err(RestoreError::Locked)?;
        self.directory.sweep_leftovers()?;
        Ok(lock)
    }

    /// Restores a backup, if `confirm` agrees, under `lock` or one that it takes itself after that.
    ///
    /// # Errors
    /// When anything goes wrong on the way. The target is then as it was.
    pub fn run(
        &self,
        source: Source,
        lock: Option<&Lock>,
        confirm: impl FnOnce(&Plan) -> Result<bool, Interrupted>,
    ) -> Result<(), RestoreError> {
        let run = self.prepare(&source)?;
        let plan = run.plan(&source)?;
        if self.request.dry_run {
            return run.rehearse(source, plan);
        }
        // The lock is not held during the question: an unanswered one must not block backups.
        if !confirm(&plan).map_err(ProgramError::Interrupted)? {
            return Err(RestoreError::Declined);
        }
        let own = if lock.is_none() { Some(self.lock()?) } else { None };
        let begun = Instant::now();
        if let Some(lock) = lock.or(own.as_ref()) {
            cleanup_databases(&self.directory, lock, &run.client);
        }
        let backup = source.check(&run.decryption)?;
        log::info!("{}: whole, {}", backup.label(), units::bytes(backup.check_result.bytes));
        match &run.goal {
            Goal::Database(target) => run.replace(&backup, target)?,
            Goal::Server(_) => run.load_server(&backup)?,
        }
        log::info!("restore succeeded: {}, {:.1} s", run.goal, begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Finds out what the backup goes into, connects to the server and asks it about the target.
    fn prepare(&self, source: &Source) -> Result<Run<'_>, RestoreError> {
        let decryption =
            DecryptionContext { passphrase: self.storage.passphrase.clone(), runner: self.runner.clone() };
        let goal = Goal::of(source, &decryption, self.request.target.as_ref())?;
        let client = self.connect(&goal)?;
        // A pooler may give each job and each statement another session. And what fails with several jobs, and not with
        // one, must not count as an error to go on after.
        let is_parallel = client.server().takes_options && !self.request.options.keep_going;
        let jobs = if is_parallel { self.storage.restore_jobs } else { 1 };
        let asked = Instant::now();
        let (capabilities, existing, replication) = match &goal {
            Goal::Database(target) => {
                let Target { capabilities, existing, replication } = Target::of(&client, target)?;
                (capabilities, existing, Some(replication))
            }
            Goal::Server(_) => (RoleCapabilities::of(&client, &goal.database())?, None, None),
        };
        Ok(Run {
            directory: &self.directory,
            client,
            decryption,
            goal,
            options: &self.request.options,
            ignore_space: self.request.ignore_space,
            dry_run: self.request.dry_run,
            scripts: &self.scripts,
            jobs,
            capabilities,
            existing,
            replication,
            asked,
        })
    }

    /// Connects to a database that is not the target, as no session can rename its own database.
    fn connect(&self, goal: &Goal) -> Result<Client, RestoreError> {
        let mut places = DatabaseName::of_every_server().to_vec();
        places.retain(|place| !matches!(goal, Goal::Database(target) if target == place));
        Ok(Client::connect(self.server, &places, self.runner)?)
    }
}
