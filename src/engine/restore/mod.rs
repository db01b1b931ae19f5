//! Restores a backup, all or nothing: it is checked from end to end, loaded into a scratch database, and
//! only when that is complete does the scratch database take the target's name.

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

use crate::delivery::telegram::{self, Chat, FetchError, TelegramSettings};
use crate::engine::content::Keys;
use crate::postgres::{Client, Server};
use crate::settings::Storage;
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::system::lock::Lock;
use crate::system::process::{Interrupted, ProgramError, Runner};
use crate::util::open_dir::OpenDir;
use crate::util::units;
use load::Scripts;
use run::Run;
use target::{Standing, Target};

pub use error::RestoreError;
pub use options::{Options, PropertyChoice, SearchPath};
pub use plan::{Goal, Plan};
pub use source::{Checked, NeedsReader, Source};
pub use target::{is_anything_left, is_unfinished, sweep};
pub use trial::Trial;

/// What to restore.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the backup is.
    pub backup: Place,
    /// The database to replace or make; without one, the database that the backup is of.
    pub target: Option<DatabaseName>,
    /// What else is asked for.
    pub options: Options,
    /// Whether it is tried even where the server's disk seems too small.
    pub ignore_space: bool,
    /// Whether everything is checked and nothing done.
    pub dry_run: bool,
}

/// Where a backup is.
#[derive(Debug, Clone)]
pub enum Place {
    /// `SLOT/NAME`, or a path.
    File(String),
    /// A message on Telegram, and its chat; the first of the settings without one.
    Telegram(i64, Option<Chat>),
}

/// A restore with everything that it needs.
pub struct Restore<'a> {
    /// Where the backups are.
    pub storage: &'a Storage,
    /// The server.
    pub server: &'a Server,
    /// Starts the programs.
    pub runner: &'a Runner,
    /// Where backups may be fetched from.
    pub telegram: Option<&'a TelegramSettings>,
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
        let scripts = Scripts::open(&request.options)?;
        let directory = BackupDirectory::new(&self.storage.directory);
        directory.prepare_to_read()?;
        let ignore_manifest = request.options.ignore_manifest;
        let (source, held) = match &request.backup {
            Place::File(file) => (Source::open(&directory, file, ignore_manifest)?, None),
            Place::Telegram(id, chat) => {
                let lock = self.lock(&directory)?;
                let held = Fetched::make(directory.place_for(0)?, lock)?;
                let fetched =
                    telegram::fetch(self.telegram, chat.as_ref(), *id, &held.directory, self.runner);
                let (file, name) = fetched.map_err(RestoreError::Fetch)?;
                (Source::fetched(file, &held.directory.path().join(name)), Some(held))
            }
        };
        let keys = Keys { passphrase: self.storage.passphrase.clone(), runner: self.runner.clone() };
        let goal = Goal::of(&source, &keys, request.target.as_ref())?;
        let client = self.connect(&goal)?;
        // A pooler may give each job another session, and each order. What several jobs run into, and one does not, is
        // no error to go on after.
        let is_parallel = client.server().takes_options && !request.options.keep_going;
        let jobs = if is_parallel { self.storage.restore_jobs } else { 1 };
        let asked = Instant::now();
        let (standing, existing, replication) = match &goal {
            Goal::Database(target) => {
                let Target { standing, existing, replication } = Target::of(&client, target)?;
                (standing, existing, Some(replication))
            }
            Goal::Server(_) => (Standing::of(&client, &goal.database())?, None, None),
        };
        let run = Run {
            directory,
            client,
            keys,
            goal,
            options: &request.options,
            ignore_space: request.ignore_space,
            dry_run: request.dry_run,
            scripts,
            jobs,
            standing,
            existing,
            replication,
            asked,
        };
        let plan = run.plan(&source)?;
        if request.dry_run {
            return run.rehearse(source, plan);
        }
        // Before the lock: somebody who went away from the question must not hold up every backup.
        if !confirm(&plan).map_err(ProgramError::Interrupted)? {
            return Err(RestoreError::Declined);
        }
        let own = if held.is_some() { None } else { Some(self.lock(&run.directory)?) };
        let begun = Instant::now();
        if let Some(lock) = own.as_ref().or(held.as_ref().map(|held| &held.lock)) {
            sweep(&run.directory, lock, &run.client);
        }
        let backup = source.check(&run.keys)?;
        log::info!("{}: whole, {}", backup.label(), units::bytes(backup.findings.bytes));
        match &run.goal {
            Goal::Database(target) => run.replace(&backup, target)?,
            Goal::Server(_) => run.load_server(&backup)?,
        }
        log::info!("restore succeeded: {}, {:.1} s", run.goal, begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Connects to a database that is not the target: nobody renames the database that he is in.
    fn connect(&self, goal: &Goal) -> Result<Client, RestoreError> {
        let mut places = DatabaseName::of_every_server().to_vec();
        places.retain(|place| !matches!(goal, Goal::Database(target) if target == place));
        Ok(Client::connect(self.server, &places, self.runner)?)
    }

    /// Takes the lock, and clears away what killed runs have left.
    fn lock(&self, directory: &BackupDirectory) -> Result<Lock, RestoreError> {
        let patience = Duration::from_secs(self.storage.lock_wait.into());
        let lock = Lock::take_to_read(directory.root(), "restore", patience, self.runner);
        let lock = lock.map_err(RestoreError::Locked)?;
        directory.sweep_leftovers()?;
        Ok(lock)
    }
}

/// The place of a backup that is fetched, under the lock that it needs. Dropped, it is gone.
struct Fetched {
    place: OpenDir,
    directory: OpenDir,
    lock: Lock,
}

/// The name of that place.
const FETCHED: &str = "telegram";

impl Fetched {
    fn make(place: OpenDir, lock: Lock) -> Result<Self, RestoreError> {
        let failed = |error| RestoreError::Fetch(FetchError::Write(error));
        place.remove_all(FETCHED).map_err(failed)?;
        let directory = place.make_private(FETCHED, 0o700).map_err(failed)?;
        Ok(Self { place, directory, lock })
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let removed = self.directory.clear().and_then(|()| self.place.remove_all(FETCHED));
        if let Err(error) = removed {
            log::warn!("{} stays until the next run: {error}", self.directory.path().display());
        }
    }
}
