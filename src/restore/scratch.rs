//! The scratch database that a backup is loaded into, and the journal by which a later run finds it when
//! this one is killed.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::RestoreError;
use super::properties::Properties;
use crate::backup::hexadecimal;
use crate::catalog::{BackupDirectory, DatabaseName};
use crate::durable;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};

/// The databases of a restore that do not belong to anybody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The server that they are on.
    server: String,
    /// What is loaded into.
    pub scratch: DatabaseName,
    /// What a replaced database is called until it is dropped.
    pub replaced: DatabaseName,
}

const FILE_NAME: &str = ".restore.json";

/// Drops the largest tables, one by one. A statement of the load may still be running for a while after its
/// psql has ended, and must not be waited for.
const DROP_LARGEST_TABLES: &str = r"
    SET client_min_messages = error;
    SET lock_timeout = '2s';
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SELECT format('DROP TABLE IF EXISTS %s CASCADE', oid::regclass) FROM pg_class
    WHERE relkind = 'r' AND relnamespace <> 'pg_catalog'::regnamespace AND pg_table_size(oid) > 1048576
    ORDER BY pg_table_size(oid) DESC LIMIT 20
    \gexec
";

impl Journal {
    fn new(server: String) -> Result<Self, RestoreError> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| RestoreError::Random(error.to_string()))?;
        let tag = hexadecimal(&random);
        let name =
            |role| DatabaseName::parse(&format!("_backupgram_{role}_{tag}")).map_err(RestoreError::Name);
        Ok(Self { server, scratch: name("scratch")?, replaced: name("replaced")? })
    }

    fn path(directory: &BackupDirectory) -> PathBuf {
        directory.root().join(FILE_NAME)
    }

    fn write(&self, directory: &BackupDirectory) -> Result<(), RestoreError> {
        let text = serde_json::to_vec(self).map_err(|error| RestoreError::Journal(error.into()))?;
        let path = Self::path(directory);
        durable::replace_file(directory.root(), &path, &text, 0o600).map_err(RestoreError::Journal)
    }

    fn remove(directory: &BackupDirectory) {
        let path = Self::path(directory);
        let removed = durable::remove_if_there(&path).and_then(|_| durable::sync_parent(&path));
        removed.unwrap_or_else(|error| log::warn!("cannot remove {}: {error}", path.display()));
    }

    /// The journal that a killed restore left.
    fn left(directory: &BackupDirectory) -> io::Result<Option<Self>> {
        match fs::read(Self::path(directory)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Drops the databases of this restore that are still there.
    fn drop_databases(&self, client: &Client) -> Result<(), DatabaseError> {
        self.make_room(client);
        let drop = |name: &DatabaseName| {
            format!("DROP DATABASE IF EXISTS {} WITH (FORCE);\n", identifier(name.as_str()))
        };
        // The notice that there was none is not worth a line.
        let quietly = "SET client_min_messages = warning;\n";
        client
            .clean_up(&format!("{quietly}{}{}", drop(&self.scratch), drop(&self.replaced)), &[])
            .map(drop_output)
    }

    /// DROP DATABASE begins with a checkpoint, which cannot be written on a disk that the load has filled, and
    /// nobody can connect to what it leaves. The files of a dropped table go without one.
    fn make_room(&self, client: &Client) {
        let scratch = client.of_database(&self.scratch);
        // A scratch database that has taken the target's name, or was never made, is not there.
        if let Err(error) = scratch.clean_up(DROP_LARGEST_TABLES, &[]) {
            log::debug!("{} was not emptied: {error}", self.scratch);
        }
    }
}

fn drop_output(_: crate::process::Output) {}

/// Drops what a killed restore left on this server. Only the holder of the directory's lock may call this.
///
/// # Errors
/// When there is something left and it cannot be dropped; it is tried again next time.
pub fn sweep(directory: &BackupDirectory, client: &Client) -> Result<(), RestoreError> {
    let Some(journal) = Journal::left(directory).map_err(RestoreError::Journal)? else { return Ok(()) };
    if journal.server != client.server().address() {
        log::warn!("a killed restore may have left database {} on {}", journal.scratch, journal.server);
        return Ok(());
    }
    journal.drop_databases(client)?;
    Journal::remove(directory);
    log::info!("dropped what a killed restore left: {}", journal.scratch);
    Ok(())
}

/// A scratch database. Dropped, it drops itself on the server, together with what it has replaced.
pub struct Scratch<'a> {
    directory: &'a BackupDirectory,
    client: &'a Client,
    journal: Journal,
}

impl<'a> Scratch<'a> {
    /// Creates an empty database like `like`, or with the server's defaults.
    ///
    /// # Errors
    /// When the journal cannot be written or the database cannot be created.
    pub fn create(
        directory: &'a BackupDirectory,
        client: &'a Client,
        target: &DatabaseName,
        like: Option<&Properties>,
    ) -> Result<Self, RestoreError> {
        let journal = Journal::new(client.server().address())?;
        journal.write(directory)?;
        let scratch = Self { directory, client, journal };
        let name = identifier(scratch.name().as_str());
        let clauses = like.map(Properties::create_clauses).unwrap_or_default();
        let comment = literal(&format!(
            "backupgram loads a backup of {target} into this; it will be renamed or dropped"
        ));
        let sql = format!(
            "CREATE DATABASE {name} TEMPLATE template0 {clauses};\nCOMMENT ON DATABASE {name} IS {comment};"
        );
        client.execute(&sql, &[])?;
        Ok(scratch)
    }

    /// Its name.
    pub fn name(&self) -> &DatabaseName {
        &self.journal.scratch
    }

    /// What the database that it replaces is called until it is dropped.
    pub fn replaced(&self) -> &DatabaseName {
        &self.journal.replaced
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        match self.journal.drop_databases(self.client) {
            Ok(()) => Journal::remove(self.directory),
            // The journal stays: the next run on this directory tries again.
            Err(error) => log::error!("cannot drop {} or {}: {error}", self.name(), self.replaced()),
        }
    }
}
