//! Loads a dump of a whole server in the order of its dependencies: roles and tablespaces, the databases under staging
//! names, what it holds for databases that every server has, and last the names of the databases.

use super::contents::Contents;
use super::dump::ClusterDump;
use super::editors::RenameDatabases;
use super::feed::feed;
use super::globals::{CreateGlobals, CreatedGlobals, TablespaceLocation};
use super::naming::name_databases;
use super::survey::Survey;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::load::{Manner, Psql};
use crate::engine::restore::target::{Journal, MARK};
use crate::postgres::Version;
use crate::store::catalog::DatabaseName;
use crate::system::process::ProgramError;
use crate::util::units;

/// The load of a dump of a whole server.
pub struct ClusterLoad<'a> {
    /// The dump. Its client carries the name of the restore, by which its sessions can be ended.
    pub dump: ClusterDump<'a>,
    /// The server's version.
    pub server: &'a Version,
    /// What it is loaded for.
    pub purpose: Purpose<'a>,
}

/// What a dump is loaded for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// A restore: until all databases are loaded they have names that its journal gives, then those of the dump.
    Restore(&'a Journal),
    /// A trial on a server that is thrown away: the databases keep names of ours, and tablespaces are created within the
    /// server's data directory.
    Trial,
}

impl Purpose<'_> {
    /// What a database of the dump is called while it is loaded: a name of ours, unless an extension needs its own.
    pub fn staging_name(self, survey: &Survey, database: &DatabaseName) -> DatabaseName {
        let Some(at) = survey.databases.iter().position(|name| name == database) else {
            // Every server has it.
            return database.clone();
        };
        match self {
            Self::Restore(_) if survey.tied().is_some_and(|(tied, _)| tied == *database) => database.clone(),
            Self::Restore(journal) => journal.staged(at),
            Self::Trial => DatabaseName::ours("proof", &at.to_string()),
        }
    }

    fn tablespace_location(self) -> TablespaceLocation {
        match self {
            Self::Restore(_) => TablespaceLocation::OfDump,
            Self::Trial => TablespaceLocation::DataDirectory,
        }
    }
}

impl ClusterLoad<'_> {
    /// Loads all of the dump and returns the databases that it has filled. Also after an error `created` has the roles
    /// and tablespaces that were created.
    ///
    /// # Errors
    /// When a database of the dump exists already, anything cannot be loaded, or a stop signal comes.
    pub fn load(
        &self,
        survey: Survey,
        created: &mut CreatedGlobals,
    ) -> Result<Vec<DatabaseName>, RestoreError> {
        self.check(&survey)?;
        let location = self.purpose.tablespace_location();
        CreateGlobals { dump: &self.dump, survey: &survey, location }.run(created)?;
        let stage = |name: &DatabaseName| (name.clone(), self.purpose.staging_name(&survey, name));
        let staged: Vec<(DatabaseName, DatabaseName)> = survey.databases.iter().map(stage).collect();
        self.load_databases(&staged)?;
        let contents = survey.builtin_databases.iter().map(|database| self.load_contents(database));
        let mut contents = contents.collect::<Result<Vec<_>, _>>()?;
        let journal = match self.purpose {
            Purpose::Restore(journal) => journal,
            Purpose::Trial => {
                contents.into_iter().try_for_each(Contents::commit)?;
                let staged = staged.into_iter().map(|(_, staged)| staged);
                return Ok(staged.chain(survey.builtin_databases).collect());
            }
        };
        contents.iter_mut().try_for_each(Contents::ignore_stop).map_err(ProgramError::Interrupted)?;
        name_databases(self.dump.client, journal, &staged, &survey)?;
        // All are committed, also after one that fails: the databases have their names by now, and nothing is undone.
        let committed: Vec<_> = contents.into_iter().map(commit_late).collect();
        committed.into_iter().collect::<Result<(), _>>()?;
        if !survey.databases.is_empty() {
            log::info!("databases created: {}", units::list(&survey.databases));
        }
        Ok(survey.databases)
    }

    /// Checks that no database of the dump exists, and that its extensions can be created.
    fn check(&self, survey: &Survey) -> Result<(), RestoreError> {
        self.dump.refuse_existing(&survey.databases)?;
        match (self.purpose, survey.tied()) {
            (Purpose::Restore(_), Some((database, tied))) => tied.check(self.dump.client, &database),
            _ => Ok(()),
        }
    }

    /// Loads the databases of the dump, each under its staging name.
    fn load_databases(&self, staged: &[(DatabaseName, DatabaseName)]) -> Result<(), RestoreError> {
        if staged.is_empty() {
            return Ok(());
        }
        let ClusterDump { backup, client, decryption, .. } = self.dump;
        let ours = match self.purpose {
            Purpose::Restore(journal) => journal.scratch().to_string(),
            Purpose::Trial => String::new(),
        };
        let label = backup.label();
        let mark = format!("{MARK}loads the dump {label} into this, {ours}; it will be renamed or dropped");
        let mut psql = Psql::start(client, Manner::default(), &decryption.runner)?;
        let unrestricted = psql.unrestricted();
        let editor =
            RenameDatabases::new(staged, &mark, self.server.knows_transaction_timeout(), &unrestricted);
        let fed = psql.restrict().and_then(|()| feed(backup, decryption, &mut psql, editor));
        psql.finish(fed).map(drop)
    }

    fn load_contents(&self, database: &DatabaseName) -> Result<Contents, RestoreError> {
        let ClusterDump { backup, client, decryption, .. } = self.dump;
        Contents::load(backup, decryption, client, self.server, database)
    }
}

/// Commits what can no longer be undone together with the rest.
fn commit_late(contents: Contents) -> Result<(), RestoreError> {
    let database = contents.database().clone();
    contents.commit().map_err(|error| RestoreError::Late(database, Box::new(error)))
}
