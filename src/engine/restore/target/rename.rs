//! Databases that get other names, whoever is connected to them.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::journal::Journal;
use crate::postgres::quote::literal;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::DatabaseName;
use crate::system::process::ProgramError;

/// Times that the renames are tried.
const ATTEMPTS: u32 = 4;
/// How often the sessions of the databases are ended while the renames wait for them.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the role `me` may end the sessions of the role `r`: its own and those of roles whose rights it has; with
/// `pg_signal_backend` all but superusers'; as a superuser all (`pg_signal_backend` in PostgreSQL's signalfuncs.c).
/// Who tries to end another one ends none.
pub const MAY_END: &str = "(me.rolsuper OR NOT r.rolsuper AND (pg_has_role(me.oid, r.oid, 'USAGE')
                                OR pg_has_role(me.oid, 'pg_signal_backend', 'USAGE')))";

/// Renames that are made together or not at all.
pub struct Renaming<'a> {
    /// Talks to another database than these.
    pub client: &'a Client,
    /// The note of the restore.
    pub journal: &'a Journal,
    /// What the databases are called that are there before.
    pub databases: Vec<&'a DatabaseName>,
    /// The orders, in one transaction: whatever ends it, the server has done all or none.
    pub statements: &'a [u8],
}

impl Renaming<'_> {
    /// Carries the orders out. `is_done` says whether the server has, even after a stop signal.
    ///
    /// A rename takes an exclusive lock on the database first, which no new session passes, and then waits five
    /// seconds for those that are there to leave (`RenameDatabase` and `CountOtherDBBackends` in PostgreSQL).
    /// Ending them first, and again and again while it waits, shuts out even a client that reconnects in a loop, and
    /// leaves no flag on a database that a crash could strand.
    ///
    /// # Errors
    /// When the names could not be changed, or a stop signal comes before they are; all databases are as they were.
    pub fn run(&self, is_done: impl Fn(&Client) -> Result<bool, DatabaseError>) -> Result<(), DatabaseError> {
        let mut attempts = 1..=ATTEMPTS;
        loop {
            attempts.next();
            let Err(error) = self.attempt() else { return Ok(()) };
            // The answer may have been lost on the way after the server had carried the orders out.
            let client = self.client.signed("backupgram");
            self.journal.settle_renames(&client)?;
            if is_done(&client)? {
                return Ok(());
            }
            let is_interrupted = matches!(error, DatabaseError::Program(ProgramError::Interrupted(_)));
            if is_interrupted || attempts.is_empty() {
                return Err(error);
            }
        }
    }

    /// Carries the orders out while the sessions of the databases are being ended.
    fn attempt(&self) -> Result<(), DatabaseError> {
        let renamer = self.client.signed(&self.journal.renamer());
        let names: Vec<String> = self.databases.iter().map(|name| literal(name.as_str())).collect();
        let end_sessions = format!(
            "SELECT count(pg_terminate_backend(a.pid))
             FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid, pg_roles me
             WHERE a.datname IN ({}) AND me.rolname = current_user AND {MAY_END};",
            names.join(", ")
        );
        // A failure to end sessions shows in the renames' own error, which says who is connected.
        let statements = format!("\\set ON_ERROR_STOP 0\n{end_sessions}\n\\set ON_ERROR_STOP 1\n");
        let statements = [statements.as_bytes(), self.statements].concat();
        let (done, finished) = bounded::<()>(0);
        thread::scope(|scope| {
            let renaming = scope.spawn(move || {
                let renamed = renamer.execute(statements, &[]).map(drop);
                drop(done);
                renamed
            });
            while finished.recv_timeout(PAUSE) != Err(RecvTimeoutError::Disconnected) {
                if let Err(error) = self.client.execute(&end_sessions, &[]) {
                    log::debug!("cannot end the sessions of {}: {error}", names.join(", "));
                }
            }
            renaming
                .join()
                .unwrap_or_else(|_| Err(DatabaseError::Answer("the renaming thread panicked".into())))
        })
    }
}
