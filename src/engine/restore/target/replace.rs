//! Restores one database: loads the backup into a new one, which replaces the target when it is complete.

use jiff::Zoned;

use super::current::Target;
use super::making::Making;
use super::replication::Noted;
use super::scratch::Scratch;
use super::swap::Swap;
use crate::engine::content::DecryptionContext;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::load::{Loading, Scripts};
use crate::engine::restore::options::Options;
use crate::engine::restore::source::{Checked, Tied};
use crate::postgres::{Client, Version};
use crate::store::catalog::{BackupDirectory, DatabaseName, Properties};

/// A restore of one database.
pub struct Replacement<'a> {
    /// The backup directory.
    pub directory: &'a BackupDirectory,
    /// A client of a database that is not the target.
    pub client: &'a Client,
    /// Opens encrypted backups.
    pub decryption: &'a DecryptionContext,
    /// The options of the restore.
    pub options: &'a Options,
    /// The user's SQL files.
    pub scripts: &'a Scripts,
    /// The number of pg_restore's parallel jobs.
    pub jobs: usize,
    /// The backup.
    pub backup: &'a Checked,
    /// The database to replace or create.
    pub target: &'a DatabaseName,
    /// The properties of the new database.
    pub making: Making,
    /// The extension because of which it must be loaded under the target's name, if any.
    pub tied: Option<Tied>,
    /// The server's version.
    pub server: Version,
    /// pg_restore's version.
    pub tool: Version,
}

/// Why an attempt failed.
struct Failure {
    error: RestoreError,
    /// Whether a load with several jobs failed, which may succeed with one.
    is_of_jobs: bool,
}

impl<E: Into<RestoreError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), is_of_jobs: false }
    }
}

impl Replacement<'_> {
    /// Restores the database.
    ///
    /// # Errors
    /// When anything fails; the target is unchanged then. Also when statements failed with `--keep-going`.
    pub fn restore(&self) -> Result<(), RestoreError> {
        let attempt = |jobs| match self.tied {
            Some(_) => self.attempt_in_place(jobs),
            None => self.attempt(jobs),
        };
        let failed = match attempt(self.jobs) {
            Err(Failure { error, is_of_jobs: true }) => {
                log::warn!("loading with {} jobs failed: {error}; trying again with one job", self.jobs);
                attempt(1)
            }
            attempted => attempted,
        };
        match failed.map_err(|failure| failure.error)? {
            0 => Ok(()),
            errors => Err(RestoreError::WithErrors(self.target.clone(), errors)),
        }
    }

    /// Loads into a scratch database, and gives it the target's name. Returns the number of failed statements.
    fn attempt(&self, jobs: usize) -> Result<u64, Failure> {
        let client = self.client;
        let before = &self.making;
        let scratch = Scratch::create(self.directory, client, self.target, before)?;
        before.prepare(&scratch.inside(), self.target)?;
        log::info!("loading into scratch database {}", scratch.name());
        let errors = self.fill(scratch.inside(), jobs)?;
        // Asked again, as settings may have been changed during a long load.
        let Target { existing, replication, .. } = self.target_now()?;
        let making = if before.is_of_target() { self.making(existing.as_ref())? } else { before.clone() };
        let name = scratch.name().as_str();
        let access = making.access(name, false).into();
        let parts = [making.changed_settings(before, name), making.after_load(name), access].join(&b'\n');
        if !parts.trim_ascii().is_empty() {
            scratch.inside().execute(parts, &[])?;
        }
        let kept_as = self.kept_as(&scratch);
        let swap =
            Swap { scratch: &scratch, target: self.target, replaces: existing.is_some(), kept_as: &kept_as };
        let note = |noted: &Noted| scratch.journal().note_replication(self.directory, noted);
        replication.during(note, &kept_as, || swap.exchange(&making))?;
        self.announce(existing.is_some(), &kept_as);
        if existing.is_none() {
            scratch.settle();
        }
        Ok(errors)
    }

    /// Loads under the target's name, while the target is moved aside.
    fn attempt_in_place(&self, jobs: usize) -> Result<u64, Failure> {
        let client = self.client;
        let (Target { existing, replication, .. }, making) = (self.target_now()?, &self.making);
        let scratch = Scratch::create_shut(self.directory, client, self.target, making)?;
        making.prepare(&scratch.inside(), self.target)?;
        let kept_as = self.kept_as(&scratch);
        let swap =
            Swap { scratch: &scratch, target: self.target, replaces: existing.is_some(), kept_as: &kept_as };
        let note = |noted: &Noted| scratch.journal().note_replication(self.directory, noted);
        let errors = replication.during(note, &kept_as, || {
            swap.move_aside()?;
            log::info!(
                "loading into {} itself; nobody else can connect to it until that is done",
                self.target
            );
            let errors = self.fill(scratch.inside_target(self.target), jobs)?;
            swap.complete(making)?;
            Ok::<_, Failure>(errors)
        })?;
        self.announce(existing.is_some(), &kept_as);
        Ok(errors)
    }

    /// The current state of the target. Checks again that it may be replaced with its replication.
    fn target_now(&self) -> Result<Target, RestoreError> {
        let now = Target::of(self.client, self.target)?;
        self.options.check_target(self.target, now.existing.is_some())?;
        now.replication.check(self.options.drop_replication)?;
        Ok(now)
    }

    fn making(&self, existing: Option<&Properties>) -> Result<Making, RestoreError> {
        let making = Making::choose(
            existing,
            self.backup,
            self.options.properties,
            self.decryption,
            self.server.major,
        )?;
        making.check_encoding(self.backup, self.target, self.client)?;
        Ok(making)
    }

    /// Loads the backup, and runs the user's SQL before and after that.
    fn fill(&self, into: Client, jobs: usize) -> Result<u64, Failure> {
        if let Some(before) = &self.scripts.before {
            before.run(&into, &self.decryption.runner)?;
        }
        let loading = Loading {
            into: into.clone(),
            server: &self.server,
            tool: &self.tool,
            jobs,
            decryption: self.decryption,
            workplace: self.backup.workplace(self.directory)?,
            search_path: self.options.search_path.as_ref(),
            keep_going: self.options.keep_going,
        };
        let is_parallel = loading.is_parallel(self.backup)?;
        let errors = loading
            .load(self.backup)
            .map_err(|error| Failure { is_of_jobs: is_parallel && error.is_of_load(), error })?;
        if let Some(after) = &self.scripts.after {
            after.run(&into, &self.decryption.runner)?;
        }
        Ok(errors)
    }

    /// The name of the replaced database.
    fn kept_as(&self, scratch: &Scratch) -> DatabaseName {
        if self.options.keep_previous { previous_name(self.target) } else { scratch.journal().replaced() }
    }

    fn announce(&self, replaces: bool, kept_as: &DatabaseName) {
        let target = self.target;
        match (replaces, self.options.keep_previous) {
            (false, _) => log::info!("database {target} is new"),
            (true, true) => {
                log::info!("database {target} is restored; the previous one is kept as {kept_as}")
            }
            (true, false) => log::info!("database {target} is restored; the previous one will be dropped"),
        }
    }
}

/// `TARGET_before_YYYYMMDDHHMMSS`, shortened to the 63 bytes of a database's name.
fn previous_name(target: &DatabaseName) -> DatabaseName {
    let stamp = Zoned::now().strftime("_before_%Y%m%d%H%M%S").to_string();
    let mut end = target.as_str().len().min(63 - stamp.len());
    while !target.as_str().is_char_boundary(end) {
        end -= 1;
    }
    DatabaseName::parse(&format!("{}{stamp}", &target.as_str()[..end])).unwrap_or_else(|_| target.clone())
}
