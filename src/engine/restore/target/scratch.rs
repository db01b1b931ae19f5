//! The scratch database that a backup is loaded into.

use super::journal::Journal;
use super::making::Making;
use crate::engine::restore::error::RestoreError;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::system::process::ProgramError;

/// A scratch database. When this value is dropped, the database is dropped on the server, together with the one that
/// it has replaced.
pub struct Scratch<'a> {
    directory: &'a BackupDirectory,
    client: Client,
    journal: Journal,
    name: DatabaseName,
    /// Identifies the database after a rename.
    oid: u32,
    /// Whether nothing is to be dropped: it has its final name, and has replaced nothing.
    is_settled: bool,
}

impl<'a> Scratch<'a> {
    /// Creates an empty database that will become the target. Its sessions have its name as application name.
    ///
    /// # Errors
    /// When the journal cannot be written or the database cannot be created.
    pub fn create(
        directory: &'a BackupDirectory,
        client: &Client,
        target: &DatabaseName,
        making: &Making,
    ) -> Result<Self, RestoreError> {
        let journal = Journal::begin(directory, client.server().address(), None)?;
        Self::create_under(journal, directory, client, target, making, making.clauses())
    }

    /// Creates an empty database for a load under the target's name. Only superusers can connect to it, and the
    /// restoring role must be one.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_shut(
        directory: &'a BackupDirectory,
        client: &Client,
        target: &DatabaseName,
        making: &Making,
    ) -> Result<Self, RestoreError> {
        let journal = Journal::begin(directory, client.server().address(), Some(target))?;
        let clauses = making.clauses() + " CONNECTION LIMIT 0";
        Self::create_under(journal, directory, client, target, making, clauses)
    }

    fn create_under(
        journal: Journal,
        directory: &'a BackupDirectory,
        client: &Client,
        target: &DatabaseName,
        making: &Making,
        clauses: String,
    ) -> Result<Self, RestoreError> {
        let name = journal.scratch();
        let client = client.signed(name.as_str());
        let mut scratch = Self { directory, client, journal, name, oid: 0, is_settled: false };
        let comment = literal(&scratch.journal.mark(target));
        let name = identifier(scratch.name.as_str());
        let sql = format!(
            "CREATE DATABASE {name} TEMPLATE template0 {clauses};\nCOMMENT ON DATABASE {name} IS {comment};\n\
             SELECT oid::bigint FROM pg_database WHERE datname = :'database';"
        );
        let made = scratch.client.ask(&sql, &[("database", scratch.name.as_str())]);
        scratch.oid = made.map_err(|error| match error {
            DatabaseError::Program(ProgramError::Failed(_, _, said)) => making.refusal(target, said),
            error => error.into(),
        })?;
        Ok(scratch)
    }

    /// Keeps the database on the server, after it got its final name and has replaced none.
    pub fn settle(mut self) {
        self.is_settled = true;
        self.journal.forget(self.directory);
    }

    /// Its name.
    pub fn name(&self) -> &DatabaseName {
        &self.name
    }

    /// Its oid.
    pub fn oid(&self) -> u32 {
        self.oid
    }

    /// A client whose sessions have its name as application name.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same, connected to the scratch database.
    pub fn inside(&self) -> Client {
        self.client.of_database(&self.name)
    }

    /// The same, connected to it under the target's name.
    pub fn inside_target(&self, target: &DatabaseName) -> Client {
        self.client.of_database(target)
    }

    /// The journal of the restore.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        // Sessions with its name are ended first. The one that drops it must have another name.
        let client = self.client.signed("backupgram");
        if let Err(error) = self.journal.end(self.directory, &client) {
            // The journal stays, and the next run tries again.
            log::error!("cannot drop {} or {}: {error}", self.name, self.journal.replaced());
        }
    }
}
