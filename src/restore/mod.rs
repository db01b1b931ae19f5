//! Restores a backup, all or nothing: it is checked from end to end, loaded into a scratch database, and
//! only when that is complete does the scratch database take the target's name.

mod cluster;
mod convert;
mod error;
mod journal;
mod load;
mod named;
mod preflight;
mod properties;
mod providing;
mod psql;
mod rename;
mod scratch;
mod source;
mod swap;
mod trial;
mod unpack;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Zoned;

use crate::catalog::{BackupDirectory, DatabaseName, Scope};
use crate::content::{Content, Keys};
use crate::lock::Lock;
use crate::postgres::{Client, Server, Version};
use crate::process::{Interrupted, ProgramError, Runner};
use crate::settings::Storage;
use crate::telegram::{self, Chat, TelegramSettings};
use crate::{durable, units};
use cluster::{ClusterLoad, Made, OF_EVERY_SERVER};
use journal::Journal;
use load::Loading;
use preflight::Standing;
use properties::Properties;
use scratch::Scratch;

pub use error::RestoreError;
pub use journal::{is_anything_left, sweep};
pub use source::{Checked, Source};
pub use trial::Trial;

/// What to restore.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the backup is.
    pub backup: Place,
    /// The database to replace or make; without one, the database that the backup is of.
    pub target: Option<DatabaseName>,
    /// Whether the replaced database stays under another name.
    pub keep_previous: bool,
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

/// What is about to happen, for the question whether it may.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The backup.
    pub file: String,
    /// The server's address.
    pub server: String,
    /// What the backup goes into.
    pub goal: Goal,
    /// The size in bytes of the database that will be replaced, if there is one.
    pub replaces: Option<u64>,
}

/// What a backup goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// One database, which is replaced or made.
    Database(DatabaseName),
    /// The server as a whole, or its roles.
    Server(Scope),
}

impl Goal {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Database(name) => name.as_str(),
            Self::Server(scope) => scope.name(),
        }
    }
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
    jobs: usize,
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
        let (source, held) = match &request.backup {
            Place::File(file) => (Source::open(&directory, file)?, None),
            Place::Telegram(id, chat) => {
                let lock = self.lock(&directory)?;
                let held = Fetched { place: directory.partial().join("telegram"), _lock: lock };
                let fetched = telegram::fetch(self.telegram, chat.as_ref(), *id, &held.place, self.runner);
                let path = fetched.map_err(RestoreError::Fetch)?;
                (Source::open(&directory, &path.to_string_lossy())?, Some(held))
            }
        };
        let keys = Keys { passphrase: self.storage.passphrase.clone(), runner: self.runner.clone() };
        let goal = goal(&source, &keys, request.target.as_ref())?;
        let client = Client::new(self.server.clone(), DatabaseName::maintenance(), self.runner.clone());
        let run = Run { directory, client, keys, goal, request, jobs: self.jobs };
        let plan = run.plan(&source)?;
        if request.dry_run {
            return run.rehearse(source, &plan);
        }
        // Before the lock: somebody who went away from the question must not hold up every backup.
        if !confirm(&plan).map_err(ProgramError::Interrupted)? {
            return Err(RestoreError::Declined);
        }
        let _lock = if held.is_some() { None } else { Some(self.lock(&run.directory)?) };
        let begun = Instant::now();
        sweep(&run.directory, &run.client);
        let backup = source.check(&run.keys)?;
        log::info!("{}: whole, {}", backup.label(), units::bytes(backup.findings.bytes));
        match &run.goal {
            Goal::Database(target) => run.replace(&backup, target)?,
            Goal::Server(_) => run.load_server(&backup)?,
        }
        log::info!("restore succeeded: {}, {:.1} s", described(&run.goal), begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Takes the lock, and clears away what killed runs have left.
    fn lock(&self, directory: &BackupDirectory) -> Result<Lock, RestoreError> {
        let patience = Duration::from_secs(self.storage.lock_wait.into());
        let lock = Lock::take(directory.root(), "restore", patience, self.runner);
        let lock = lock.map_err(RestoreError::Locked)?;
        directory.sweep_partial()?;
        Ok(lock)
    }
}

/// The place of a backup that is fetched, under the lock that it needs. Dropped, it is gone.
struct Fetched {
    place: PathBuf,
    _lock: Lock,
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_all_if_there(&self.place) {
            log::warn!("{} stays until the next run: {error}", self.place.display());
        }
    }
}

/// What a backup goes into: told by its content, and for one database by its target.
fn goal(source: &Source, keys: &Keys, target: Option<&DatabaseName>) -> Result<Goal, RestoreError> {
    if source.peek(keys)? == Some(Content::Cluster) {
        let scope = source.scope();
        return match target.is_none_or(|target| *target == DatabaseName::of_scope(scope)) {
            true => Ok(Goal::Server(scope)),
            false => Err(RestoreError::NotOneDatabase(source.label.clone(), scope)),
        };
    }
    let target = target.cloned().or_else(|| source.database());
    let target = target.ok_or_else(|| RestoreError::NoTarget(source.label.clone()))?;
    match OF_EVERY_SERVER.contains(&target.as_str()) {
        true => Err(RestoreError::Protected(target)),
        false => Ok(Goal::Database(target)),
    }
}

fn described(goal: &Goal) -> String {
    match goal {
        Goal::Database(name) => format!("database {name}"),
        Goal::Server(scope) => scope.described().to_owned(),
    }
}

impl Run<'_> {
    /// Looks at the server, and sees that the role may do what is asked for and that there is room for it.
    fn plan(&self, source: &Source) -> Result<Plan, RestoreError> {
        self.client.wait_until_ready()?;
        let target = match &self.goal {
            Goal::Database(target) => target.clone(),
            Goal::Server(scope) => DatabaseName::of_scope(*scope),
        };
        let standing = Standing::of(&self.client, &target)?;
        let mut replaces = None;
        match &self.goal {
            // The rest depends on what the dump makes.
            Goal::Server(_) => standing.check_database(&target)?,
            Goal::Database(target) => {
                let existing = usable(&self.client, target)?;
                standing.check_database(target)?;
                standing.check_prepared(target)?;
                match standing.check_sessions(target) {
                    Err(error) if self.request.dry_run => return Err(error),
                    // Until all is loaded they may have gone.
                    Err(error) => log::warn!("it is tried all the same: {error}"),
                    Ok(()) => {}
                }
                if let (Some(needed), false) = (source.size_on_server(), self.request.ignore_space) {
                    standing.check_space(needed, existing.as_ref())?;
                }
                replaces = existing.map(|properties| properties.size);
            }
        }
        let server = self.client.server().address();
        Ok(Plan { file: source.label.clone(), server, goal: self.goal.clone(), replaces })
    }

    /// Checks the backup, and says what a restore would do.
    fn rehearse(&self, source: Source, plan: &Plan) -> Result<(), RestoreError> {
        let said = plan.to_string();
        let backup = source.check(&self.keys)?;
        log::info!("{}: whole, {}", backup.label(), units::bytes(backup.findings.bytes));
        match self.goal {
            Goal::Server(_) => self.cluster_load(&self.client.server_version()?, None)?.announce(&backup)?,
            Goal::Database(_) => named::check_roles(&backup, &self.keys, &self.client)?,
        }
        log::info!("dry run, nothing was changed: {said}");
        Ok(())
    }

    fn replace(&self, backup: &Checked, target: &DatabaseName) -> Result<(), RestoreError> {
        let client = &self.client;
        let (version, tool) = (client.server_version()?, client.program_version("pg_restore")?);
        let existing = usable(client, target)?;
        let scratch = Scratch::create(&self.directory, client, target, existing.as_ref())?;
        log::info!("loading into scratch database {}", scratch.name());
        let loading = Loading {
            into: scratch.inside(),
            server: &version,
            tool: &tool,
            jobs: self.jobs,
            keys: &self.keys,
            workplace: self.directory.partial(),
            is_trial: false,
        };
        loading.load(backup)?;
        // Asked again: loading may take hours, in which somebody may have changed a setting.
        let existing = usable(client, target)?;
        if let Some(properties) = &existing {
            scratch.client().execute(properties.orders(scratch.name().as_str()), &[])?;
        }
        let keep_previous = self.request.keep_previous;
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

    /// Loads a dump of a whole server or of its roles, and takes away what it has made when it fails.
    fn load_server(&self, backup: &Checked) -> Result<(), RestoreError> {
        let version = self.client.server_version()?;
        let journal = Journal::begin(&self.directory, self.client.server().address())?;
        let mut made = Made::default();
        let signed = self.client.signed(journal.scratch().as_str());
        let mut load = self.cluster_load(&version, Some(&journal))?;
        load.client = &signed;
        let loaded = load.load(backup, &mut made);
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
        let is_superuser = Standing::of(&self.client, &DatabaseName::maintenance())?.is_superuser();
        Ok(ClusterLoad { client: &self.client, server, keys: &self.keys, journal, is_superuser })
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, server, goal, replaces } = self;
        match (goal, replaces) {
            (Goal::Database(name), Some(size)) => {
                write!(f, "database {name} on {server} ({}) will be replaced by {file}", units::bytes(*size))
            }
            (Goal::Database(name), None) => write!(f, "database {name} on {server} will be made from {file}"),
            (Goal::Server(scope), _) => write!(
                f,
                "what {file} holds, which is {}, will be made on {server}; what is there stays as it is",
                scope.described()
            ),
        }
    }
}

/// The properties of the target, if there is one; it must be one that can be replaced.
fn usable(client: &Client, target: &DatabaseName) -> Result<Option<Properties>, RestoreError> {
    match Properties::of(client, target)? {
        Some(properties) if properties.is_template() => Err(RestoreError::Template(target.clone())),
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
