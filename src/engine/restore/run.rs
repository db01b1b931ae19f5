//! A restore whose target is known: plans it, rehearses it for a dry run, or carries it out.

use std::time::{Duration, Instant};

use super::cluster::{ClusterDump, ClusterLoad, CreatedGlobals, Purpose};
use super::error::RestoreError;
use super::load::Scripts;
use super::options::Options;
use super::plan::{Goal, Plan};
use super::source::{Checked, Source, Tied};
use super::target::{Journal, Making, Replacement, Replication, Requirements, RoleCapabilities, Target};
use crate::engine::content::DecryptionContext;
use crate::postgres::Client;
use crate::store::catalog::{BackupDirectory, DatabaseName, Properties};
use crate::util::units;

/// A restore in progress.
pub struct Run<'a> {
    /// The backup directory.
    pub directory: &'a BackupDirectory,
    /// A client of a database that is not the target.
    pub client: Client,
    /// Opens encrypted backups.
    pub decryption: DecryptionContext,
    /// What is restored.
    pub goal: Goal,
    /// The options of the restore.
    pub options: &'a Options,
    /// Whether to go on even if the disk seems to have too little space.
    pub ignore_space: bool,
    /// Whether nothing is changed.
    pub dry_run: bool,
    /// The user's SQL files.
    pub scripts: &'a Scripts,
    /// The number of pg_restore's parallel jobs.
    pub jobs: usize,
    /// What the role may do, at the time of planning.
    pub capabilities: RoleCapabilities,
    /// The target's properties at the time of planning, if it exists.
    pub existing: Option<Properties>,
    /// The target's replication at that time. `None` for whole servers.
    pub replication: Option<Replication>,
    /// When the server was asked for these.
    pub asked: Instant,
}

/// How long the server's answers about the target are taken to be current.
const MOMENT: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Checks the privileges of the role and the disk space, and tells what the restore will do.
    pub fn plan(&self, source: &Source) -> Result<Plan, RestoreError> {
        let capabilities = &self.capabilities;
        capabilities.check_primary(self.client.server().address())?;
        let (mut replaces, mut drops) = (None, None);
        match &self.goal {
            Goal::Server(scope) => {
                self.options.check_server(*scope)?;
                // Everything else depends on the contents of the dump.
                capabilities.check_database(&self.goal.database())?;
            }
            Goal::Database(target) => {
                let existing = self.existing.as_ref();
                self.options.check_target(target, existing.is_some())?;
                capabilities.check_database(target)?;
                capabilities.check_prepared(target)?;
                if let Some(replication) = &self.replication {
                    replication.check(self.options.drop_replication)?;
                    drops = replication.described();
                }
                match capabilities.check_sessions(target) {
                    Err(error) if self.dry_run => return Err(error),
                    // The sessions may have ended by the end of the load.
                    Err(error) => log::warn!("trying anyway: {error}"),
                    Ok(()) => {}
                }
                if let (Some(needed), false) = (source.size_on_server(), self.ignore_space) {
                    capabilities.check_space(needed, existing)?;
                }
                replaces = existing.map(|properties| properties.size.unwrap_or(0));
            }
        }
        let server = self.client.server().address();
        let tied_by = match &self.goal {
            Goal::Database(_) => source.tied_by(&self.decryption)?,
            Goal::Server(_) => None,
        };
        Ok(Plan { file: source.label.clone(), server, goal: self.goal.clone(), replaces, tied_by, drops })
    }

    /// Checks the backup and its requirements without changes, and logs what a restore would do.
    pub fn rehearse(&self, source: Source, mut plan: Plan) -> Result<(), RestoreError> {
        let backup = source.check(&self.decryption)?;
        log::info!("{}: whole, {}", backup.label(), units::bytes(backup.check_result.bytes));
        match &self.goal {
            Goal::Server(_) => self.cluster_dump(&backup, &self.client).announce()?,
            Goal::Database(target) => {
                self.check_requirements(&backup, target, self.existing.as_ref())?;
                plan.tied_by = self.tied(&backup, target)?.map(|tied| tied.extension);
            }
        }
        log::info!("dry run, nothing was changed: {plan}");
        Ok(())
    }

    /// Loads the backup into a new database, which replaces the target.
    ///
    /// # Errors
    /// When anything fails; the target is unchanged then.
    pub fn replace(&self, backup: &Checked, target: &DatabaseName) -> Result<(), RestoreError> {
        // The confirmation or the check of the backup may have taken long.
        let now = (self.asked.elapsed() >= MOMENT).then(|| Target::of(&self.client, target)).transpose()?;
        let existing = now.map_or_else(|| self.existing.clone(), |now| now.existing);
        let making = self.check_requirements(backup, target, existing.as_ref())?;
        let server = self.client.server_version()?;
        let tool = match &backup.tool {
            Some(tool) => tool.clone(),
            None => self.client.program_version("pg_restore")?,
        };
        Replacement {
            directory: self.directory,
            client: &self.client,
            decryption: &self.decryption,
            options: self.options,
            scripts: self.scripts,
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

    /// Checks that the server has what the backup needs, and that the role may create it. Returns the properties of
    /// the new database.
    fn check_requirements(
        &self,
        backup: &Checked,
        target: &DatabaseName,
        existing: Option<&Properties>,
    ) -> Result<Making, RestoreError> {
        let (choice, major) = (self.options.properties, self.client.server_version()?.major);
        let making = Making::choose(existing, backup, choice, &self.decryption, major)?;
        making.check_encoding(backup, target, &self.client)?;
        let (is_superuser, keep_going) = (self.capabilities.is_superuser(), self.options.keep_going);
        Requirements { backup, making: &making, target, client: &self.client, is_superuser, keep_going }
            .check()?;
        Ok(making)
    }

    /// The extension because of which the backup must be loaded under the target's name. `None` as well when it cannot
    /// be created there and the load goes on after errors.
    fn tied(&self, backup: &Checked, target: &DatabaseName) -> Result<Option<Tied>, RestoreError> {
        let Some(tied) = Tied::of(backup.needs()) else { return Ok(None) };
        match tied.check(&self.client, target) {
            Err(RestoreError::Missing(_)) if self.options.keep_going => Ok(None),
            checked => checked.map(|()| Some(tied)),
        }
    }

    /// Loads a dump of a whole server or of its roles, and drops what it has created when it fails.
    pub fn load_server(&self, backup: &Checked) -> Result<(), RestoreError> {
        let version = self.client.server_version()?;
        let survey = self.cluster_dump(backup, &self.client).survey()?;
        let tied = survey.tied().map(|(database, _)| database).filter(|name| survey.databases.contains(name));
        let address = self.client.server().address();
        let journal = Journal::begin(self.directory, address, tied.as_ref())?;
        let mut created = CreatedGlobals::default();
        let signed = self.client.signed(journal.scratch().as_str());
        let dump = self.cluster_dump(backup, &signed);
        let load = ClusterLoad { dump, server: &version, purpose: Purpose::Restore(&journal) };
        let loaded = load.load(survey, &mut created);
        // Databases first, as a role that owns one cannot be dropped.
        if let Err(error) = journal.end(self.directory, &self.client) {
            log::error!("cannot drop the databases of this restore: {error}; the next run tries again");
        }
        if loaded.as_ref().is_err_and(|error| !matches!(error, RestoreError::Late(..))) && !created.is_empty()
        {
            match created.undo(&self.client) {
                Ok(()) => log::info!("removed again: {created}"),
                Err(error) => {
                    log::error!("cannot remove what the failed restore created ({created}): {error}")
                }
            }
        }
        loaded.map(drop)
    }

    fn cluster_dump<'c>(&'c self, backup: &'c Checked, client: &'c Client) -> ClusterDump<'c> {
        let (decryption, is_superuser) = (&self.decryption, self.capabilities.is_superuser());
        ClusterDump { backup, client, decryption, is_superuser }
    }
}
