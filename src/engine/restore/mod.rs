//! Restores a backup, all or nothing: it is checked from end to end, loaded into a scratch database, and
//! only when that is complete does the scratch database take the target's name.

mod adapt;
mod checked;
mod cluster;
mod complaints;
mod convert;
mod error;
mod journal;
mod keep_going;
mod linked;
mod listener;
mod load;
mod making;
mod named;
mod needs;
mod options;
mod order;
mod places;
mod plan;
mod preflight;
mod psql;
mod rename;
mod replace;
mod replication;
mod requirements;
mod scratch;
mod script;
mod selection;
mod source;
mod swap;
mod target;
mod tied;
mod trial;
mod unpack;

use std::time::{Duration, Instant};

use crate::delivery::telegram::{self, Chat, FetchError, TelegramSettings};
use crate::engine::content::Keys;
use crate::postgres::{Client, Server, Version};
use crate::settings::Storage;
use crate::store::catalog::{BackupDirectory, DatabaseName, Properties};
use crate::system::lock::Lock;
use crate::system::process::{Interrupted, ProgramError, Runner};
use crate::util::open_dir::OpenDir;
use crate::util::units;
use cluster::{ClusterLoad, Made};
use journal::Journal;
use making::Making;
use preflight::Standing;
use replace::Replacement;
use replication::Replication;
use requirements::Requirements;
use script::Scripts;
use target::Target;
use tied::Tied;

pub use checked::Checked;
pub use error::RestoreError;
pub use journal::{is_anything_left, is_unfinished, sweep};
pub use needs::NeedsReader;
pub use options::{Options, PropertyChoice, SearchPath};
pub use plan::{Goal, Plan};
pub use source::Source;
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

/// A restore on its way.
struct Run<'a> {
    directory: BackupDirectory,
    client: Client,
    keys: Keys,
    goal: Goal,
    request: &'a Request,
    scripts: Scripts,
    jobs: usize,
    standing: Standing,
    /// Of the target when the restore was planned, if there is one.
    existing: Option<Properties>,
    /// The same; none where whole servers are restored.
    replication: Option<Replication>,
    /// When that was.
    asked: Instant,
}

/// For how long what the server has said of a target is taken to be so still, before the target's place is prepared.
const MOMENT: Duration = Duration::from_secs(2);

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
            request,
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

impl Run<'_> {
    /// Looks at the server, and sees that the role may do what is asked for and that there is room for it.
    fn plan(&self, source: &Source) -> Result<Plan, RestoreError> {
        let standing = &self.standing;
        standing.check_primary(self.client.server().address())?;
        let (mut replaces, mut drops) = (None, None);
        match &self.goal {
            Goal::Server(scope) => {
                self.request.options.check_server(*scope)?;
                // The rest depends on what the dump makes.
                standing.check_database(&self.goal.database())?;
            }
            Goal::Database(target) => {
                let existing = self.existing.as_ref();
                self.request.options.check_target(target, existing.is_some())?;
                standing.check_database(target)?;
                standing.check_prepared(target)?;
                if let Some(replication) = &self.replication {
                    replication.check(self.request.options.drop_replication)?;
                    drops = replication.described();
                }
                match standing.check_sessions(target) {
                    Err(error) if self.request.dry_run => return Err(error),
                    // Until all is loaded they may have gone.
                    Err(error) => log::warn!("it is tried all the same: {error}"),
                    Ok(()) => {}
                }
                if let (Some(needed), false) = (source.size_on_server(), self.request.ignore_space) {
                    standing.check_space(needed, existing)?;
                }
                replaces = existing.map(|properties| properties.size.unwrap_or(0));
            }
        }
        let server = self.client.server().address();
        let tied_by = match &self.goal {
            Goal::Database(_) => source.tied_by(&self.keys)?,
            Goal::Server(_) => None,
        };
        Ok(Plan { file: source.label.clone(), server, goal: self.goal.clone(), replaces, tied_by, drops })
    }

    /// Checks the backup, and says what a restore would do.
    fn rehearse(&self, source: Source, mut plan: Plan) -> Result<(), RestoreError> {
        let backup = source.check(&self.keys)?;
        log::info!("{}: whole, {}", backup.label(), units::bytes(backup.findings.bytes));
        match &self.goal {
            Goal::Server(_) => self.cluster_load(&self.client.server_version()?, None)?.announce(&backup)?,
            Goal::Database(target) => {
                self.check_requirements(&backup, target, self.existing.as_ref())?;
                plan.tied_by = self.tied(&backup, target)?.map(|tied| tied.extension);
            }
        }
        log::info!("dry run, nothing was changed: {plan}");
        Ok(())
    }

    fn replace(&self, backup: &Checked, target: &DatabaseName) -> Result<(), RestoreError> {
        // Somebody may have thought about the question for long, or the backup may be large.
        let now = (self.asked.elapsed() >= MOMENT).then(|| Target::of(&self.client, target)).transpose()?;
        let existing = now.map_or_else(|| self.existing.clone(), |now| now.existing);
        let making = self.check_requirements(backup, target, existing.as_ref())?;
        let server = self.client.server_version()?;
        let tool = match &backup.tool {
            Some(tool) => tool.clone(),
            None => self.client.program_version("pg_restore")?,
        };
        Replacement {
            directory: &self.directory,
            client: &self.client,
            keys: &self.keys,
            options: &self.request.options,
            scripts: &self.scripts,
            jobs: self.jobs,
            tied: self.tied(backup, target)?,
            backup,
            target,
            making,
            server,
            tool,
        }
        .restore()
    }

    /// Sees that the server has what the backup needs, and lets the role make it. Answers what the database is made like.
    fn check_requirements(
        &self,
        backup: &Checked,
        target: &DatabaseName,
        existing: Option<&Properties>,
    ) -> Result<Making, RestoreError> {
        let (choice, major) = (self.request.options.properties, self.client.server_version()?.major);
        let making = Making::choose(existing, backup, choice, &self.keys, major)?;
        making.check_encoding(backup, target, &self.client)?;
        let (is_superuser, keep_going) = (self.standing.is_superuser(), self.request.options.keep_going);
        Requirements { backup, making: &making, target, client: &self.client, is_superuser, keep_going }
            .check()?;
        Ok(making)
    }

    /// The extension by which the backup must be loaded under the target's name, if it has one. Where it cannot be made
    /// there, the load goes on without it if it is to.
    fn tied(&self, backup: &Checked, target: &DatabaseName) -> Result<Option<Tied>, RestoreError> {
        let Some(tied) = Tied::of(backup.needs()) else { return Ok(None) };
        match tied.check(&self.client, target) {
            Err(RestoreError::Missing(_)) if self.request.options.keep_going => Ok(None),
            checked => checked.map(|()| Some(tied)),
        }
    }

    /// Loads a dump of a whole server or of its roles, and takes away what it has made when it fails.
    fn load_server(&self, backup: &Checked) -> Result<(), RestoreError> {
        let version = self.client.server_version()?;
        let survey = self.cluster_load(&version, None)?.survey(backup)?;
        let tied = survey.tied().map(|(database, _)| database).filter(|name| survey.databases.contains(name));
        let address = self.client.server().address();
        let journal = Journal::begin(&self.directory, address, tied.as_ref())?;
        let mut made = Made::default();
        let signed = self.client.signed(journal.scratch().as_str());
        let mut load = self.cluster_load(&version, Some(&journal))?;
        load.client = &signed;
        let loaded = load.load(backup, survey, &mut made);
        // Databases first: a role that owns one cannot be dropped.
        if let Err(error) = journal.end(&self.directory, &self.client) {
            log::error!("cannot drop the databases of this restore: {error}; the next run tries again");
        }
        if loaded.as_ref().is_err_and(|error| !matches!(error, RestoreError::Late(..))) && !made.is_empty() {
            match made.undo(&self.client) {
                Ok(()) => log::info!("taken away again: {made}"),
                Err(error) => log::error!("cannot take away again what was made ({made}): {error}"),
            }
        }
        loaded.map(drop)
    }

    fn cluster_load<'a>(
        &'a self,
        server: &'a Version,
        journal: Option<&'a Journal>,
    ) -> Result<ClusterLoad<'a>, RestoreError> {
        let is_superuser = self.standing.is_superuser();
        Ok(ClusterLoad { client: &self.client, server, keys: &self.keys, journal, is_superuser })
    }
}
