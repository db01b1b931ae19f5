//! Loads the contents of a built-in database in a transaction that is committed as the last step of the restore.

use super::editors::KeepBuiltinDatabase;
use super::feed::feed;
use crate::engine::content::DecryptionContext;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::load::{Manner, Psql};
use crate::engine::restore::source::Checked;
use crate::postgres::{Client, Version};
use crate::store::catalog::DatabaseName;
use crate::system::process::{Interrupted, ProgramError};

/// Counts locks of the transaction that keep others from connecting to the database, as the creation of a login event
/// trigger takes (`SetDatabaseHasLoginEventTriggers` in PostgreSQL 17).
const SHUTS_OUT: &str = "
    SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks
    WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'object' AND mode = 'AccessExclusiveLock'
      AND classid = 'pg_catalog.pg_database'::pg_catalog.regclass";

/// Flushed, as no rename that is flushed follows.
const COMMIT: &str = "SET LOCAL synchronous_commit = local;\nCOMMIT;\n";

/// The loaded contents of one database. If dropped without a commit, they are rolled back.
pub struct Contents {
    database: DatabaseName,
    state: State,
}

enum State {
    /// In the open transaction of this psql.
    Held(Box<Psql>),
    /// Committed early, as the transaction would have kept others from connecting.
    Committed,
    Done,
}

impl Contents {
    /// Loads the contents that the dump has for `database`.
    ///
    /// # Errors
    /// When they cannot be loaded, or a stop signal comes. They are rolled back then.
    pub fn load(
        backup: &Checked,
        decryption: &DecryptionContext,
        client: &Client,
        server: &Version,
        database: &DatabaseName,
    ) -> Result<Self, RestoreError> {
        log::info!("loading what the dump holds for database {database}");
        let client = client.of_database(database);
        let mut psql =
            Psql::start(&client, Manner { answers: true, ..Manner::default() }, &decryption.runner)?;
        let editor = KeepBuiltinDatabase::new(database, server.knows_transaction_timeout());
        let fed = psql.send("BEGIN;\n").and_then(|()| psql.restrict());
        let fed = fed.and_then(|()| feed(backup, decryption, &mut psql, editor));
        let fed = fed.and_then(|()| psql.send("SET CONSTRAINTS ALL IMMEDIATE;\n"));
        let state = match fed.and_then(|()| psql.ask(SHUTS_OUT)) {
            Ok(locks) if locks == "0" => State::Held(Box::new(psql)),
            Ok(_) => {
                let fed = psql.ignore_stop().map_err(|signal| ProgramError::Interrupted(signal).into());
                let fed = fed.and_then(|()| psql.send(COMMIT));
                psql.finish(fed)?;
                State::Committed
            }
            error => {
                psql.finish(error.map(drop))?;
                State::Done
            }
        };
        Ok(Self { database: database.clone(), state })
    }

    /// Exempts the transaction from stop signals, once the rest of the restore can no longer be undone.
    ///
    /// # Errors
    /// When one has come.
    pub fn ignore_stop(&mut self) -> Result<(), Interrupted> {
        match &mut self.state {
            State::Held(psql) => psql.ignore_stop(),
            State::Committed | State::Done => Ok(()),
        }
    }

    /// The database.
    pub fn database(&self) -> &DatabaseName {
        &self.database
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// When the server does not confirm the commit.
    pub fn commit(mut self) -> Result<(), RestoreError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Held(mut psql) => {
                let fed = psql.send(COMMIT);
                psql.finish(fed).map(drop)
            }
            State::Committed | State::Done => Ok(()),
        }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Held(psql) => psql.abandon(),
            State::Committed => {
                log::warn!(
                    "the dump's contents for database {} have been loaded there and are not removed",
                    self.database
                );
            }
            State::Done => {}
        }
    }
}
