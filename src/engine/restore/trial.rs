//! Restores a backup into a temporary server. The backup is loaded by the same code as in a real restore, so that both
//! have the same result.

use std::cell::Cell;

use super::cluster::{ClusterDump, ClusterLoad, CreatedGlobals, Purpose, in_place_tablespace};
use super::error::RestoreError;
use super::load::Loading;
use super::options::PropertyChoice;
use super::source::{Checked, TIED};
use super::target::Making;
use crate::engine::content::{Content, DecryptionContext};
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError, Version};
use crate::store::catalog::DatabaseName;
use crate::system::process::ProgramError;
use crate::util::open_dir::OpenDir;

/// A backup, and the temporary server.
pub struct Trial<'a> {
    /// The backup.
    pub backup: &'a Checked,
    /// A client of the server's maintenance database, as superuser.
    pub client: &'a Client,
    /// Opens encrypted backups.
    pub decryption: &'a DecryptionContext,
    /// The directory for temporary files, such as an unpacked directory dump.
    pub workplace: OpenDir,
    /// The number of pg_restore's parallel jobs.
    pub jobs: usize,
    /// Set to true when the server lacks the backup's locale and the database gets another one. A different sort order
    /// may violate constraints.
    pub has_other_locale: &'a Cell<bool>,
    /// Restarts the server with these settings, each `name=value`.
    pub restart: &'a dyn Fn(&[String]) -> Result<(), RestoreError>,
}

/// Keeps the roles of the dump from logging in.
const NOBODY_LOGS_IN: &str = "
    SELECT format('ALTER ROLE %I NOLOGIN', rolname) FROM pg_roles
    WHERE rolcanlogin AND rolname <> current_user
    \\gexec
";

/// Extensions that can only be created when their library, which has the same name, is preloaded.
const PRELOADED: [&str; 7] =
    ["pg_cron", "timescaledb", "citus", "pgaudit", "pglogical", "set_user", "pg_squeeze"];

impl Trial<'_> {
    /// Restores the backup, with the roles and tablespaces that it names, and returns the restored databases.
    ///
    /// # Errors
    /// When it cannot be restored, it is of a newer server, or a stop signal comes.
    pub fn restore(self) -> Result<Vec<DatabaseName>, RestoreError> {
        let server = self.client.server_version()?;
        if let Some(major) = self.backup.server_major().filter(|major| *major > server.major) {
            return Err(RestoreError::Newer(self.backup.label().to_owned(), major, server.major));
        }
        match self.backup.content() {
            Content::Cluster => self.restore_server(&server),
            _ => self.restore_database(&server).map(|name| vec![name]),
        }
    }

    fn restore_server(&self, server: &Version) -> Result<Vec<DatabaseName>, RestoreError> {
        let (backup, client, decryption) = (self.backup, self.client, self.decryption);
        let dump = ClusterDump { backup, client, decryption, is_superuser: true };
        let survey = dump.survey()?;
        let place = survey.tied().map(|(database, _)| Purpose::Trial.staging_name(&survey, &database));
        let extensions: Vec<String> =
            survey.extensions.iter().map(|(_, extension)| extension.clone()).collect();
        self.preload(&extensions, &place.unwrap_or_else(DatabaseName::maintenance))?;
        let load = ClusterLoad { dump, server, purpose: Purpose::Trial };
        let databases = load.load(survey, &mut CreatedGlobals::default())?;
        self.client.execute(NOBODY_LOGS_IN, &[])?;
        Ok(databases)
    }

    fn restore_database(&self, server: &Version) -> Result<DatabaseName, RestoreError> {
        let name = DatabaseName::ours("proof", "0");
        let needs = self.backup.needs();
        let extensions: Vec<String> =
            needs.extensions.iter().map(|extension| extension.name.clone()).collect();
        self.preload(&extensions, &name)?;
        self.create_missing_roles()?;
        let tool = self.client.program_version("pg_restore")?;
        let attempt = |jobs| -> Result<_, RestoreError> {
            self.create(&name, server)?;
            let loading = Loading {
                into: self.client.of_database(&name),
                server,
                tool: &tool,
                jobs,
                decryption: self.decryption,
                workplace: self.workplace.clone(),
                search_path: None,
                keep_going: false,
            };
            let is_parallel = loading.is_parallel(self.backup)?;
            Ok((is_parallel, loading.load(self.backup)))
        };
        match attempt(self.jobs)? {
            (true, Err(error)) if error.is_of_load() => {
                log::info!("loading with {} jobs failed: {error}; trying again with one job", self.jobs);
                self.client.execute(format!("DROP DATABASE {name} WITH (FORCE);"), &[])?;
                attempt(1)?.1?;
            }
            (_, loaded) => {
                loaded?;
            }
        }
        Ok(name)
    }

    /// Creates the roles and tablespaces that the dump names.
    fn create_missing_roles(&self) -> Result<(), RestoreError> {
        let needs = self.backup.needs();
        let mut sql = String::new();
        // Names that begin with pg_ are reserved: such roles exist or cannot be created.
        for name in needs.roles.iter().filter(|name| !name.starts_with("pg_") && *name != self.client.user())
        {
            let superuser = if needs.superusers.contains(name) { " SUPERUSER" } else { "" };
            sql += &format!("CREATE ROLE {} NOLOGIN{superuser};\n", identifier(name));
        }
        for name in needs.tablespaces.iter().filter(|name| *name != "pg_default") {
            sql += &in_place_tablespace(name);
        }
        self.client.execute(sql, &[])?;
        Ok(())
    }

    /// Creates the database with the encoding and locale of the one that was backed up. If the machine lacks that
    /// locale, it gets C, which takes text of any encoding.
    fn create(&self, name: &DatabaseName, server: &Version) -> Result<(), RestoreError> {
        let choice =
            if Making::is_known(self.backup) { PropertyChoice::All } else { PropertyChoice::Encoding };
        let making = Making::choose(None, self.backup, choice, self.decryption, server.major)?;
        let encoding = self.backup.encoding().unwrap_or("UTF8");
        let anywhere = |locale: &str| {
            let locale = literal(locale);
            format!("ENCODING {} LC_COLLATE {locale} LC_CTYPE {locale}", literal(encoding))
        };
        let clauses = match making.encoding_clauses() {
            Some(clauses) => clauses,
            None => anywhere(if encoding == "UTF8" { "C.UTF-8" } else { "C" }),
        };
        let create = |clauses: String| {
            self.client.execute(format!("CREATE DATABASE {name} TEMPLATE template0 {clauses};"), &[])
        };
        match create(clauses) {
            Err(DatabaseError::Program(ProgramError::Failed(_, _, said))) => {
                log::info!("the proof uses the locale C: {said}");
                self.has_other_locale.set(true);
                create(anywhere("C"))?;
            }
            created => drop(created?),
        }
        // A setting may need a role or a library that is missing here. That is not the backup's fault.
        for setting in making.settings(name.as_str()) {
            if self.client.of_database(name).execute(setting, &[]).is_err() {
                log::info!("the proof leaves out a setting of the database that its server rejects");
            }
        }
        Ok(())
    }

    /// Restarts the server with the libraries of those extensions that need preloading and are installed.
    fn preload(&self, extensions: &[String], database: &DatabaseName) -> Result<(), RestoreError> {
        let wanted: Vec<&String> =
            extensions.iter().filter(|name| PRELOADED.contains(&name.as_str())).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let available: Vec<String> =
            self.client.ask("SELECT coalesce(json_agg(name), '[]') FROM pg_available_extensions", &[])?;
        let wanted: Vec<&str> =
            wanted.into_iter().filter(|name| available.contains(name)).map(String::as_str).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut settings = vec![format!("shared_preload_libraries={}", wanted.join(","))];
        for tied in TIED.iter().filter(|tied| wanted.contains(&tied.extension)) {
            settings.push(format!("{}={database}", tied.setting));
            // Scheduled jobs in the backup must not run.
            settings.extend(tied.silence.map(String::from));
        }
        (self.restart)(&settings)
    }
}
