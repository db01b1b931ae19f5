//! Renames databases that have sessions.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::journal::Journal;
use crate::postgres::quote::literal;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::DatabaseName;
use crate::system::process::ProgramError;

/// Number of attempts.
const ATTEMPTS: u32 = 4;
/// Interval at which sessions are ended while the renames wait.
const PAUSE: Duration = Duration::from_millis(100);

/// SQL: whether the role `me` may end sessions of the role `r`. A role may end its own and those of roles whose
/// privileges it has; with `pg_signal_backend` all but superusers'; a superuser all (`pg_signal_backend` in
/// PostgreSQL's signalfuncs.c). A query that tries to end others fails as a whole.
pub const MAY_END: &str = "(me.rolsuper OR NOT r.rolsuper AND (pg_has_role(me.oid, r.oid, 'USAGE')
                                OR pg_has_role(me.oid, 'pg_signal_backend', 'USAGE')))";

/// Renames that are made in one transaction.
pub struct Renaming<'a> {
    /// A client of another database than these.
    pub client: &'a Client,
    /// The journal of the restore.
    pub journal: &'a Journal,
    /// The databases to rename, by their old names.
    pub databases: Vec<&'a DatabaseName>,
    /// The statements, with BEGIN and COMMIT.
    pub statements: &'a [u8],
}

impl Renaming<'_> {
    /// Runs the statements. `is_done` asks the server whether they have been committed, even after a stop signal.
    ///
    /// A rename first takes an exclusive lock on the database, which blocks new sessions, and then waits five seconds
    /// for existing ones to end (`RenameDatabase` and `CountOtherDBBackends` in PostgreSQL). Ending them before and
    /// repeatedly during that wait shuts out even a client that reconnects in a loop, and sets no flag that would
    /// remain after a crash.
    ///
    /// # Errors
    /// When the databases cannot be renamed, or a stop signal comes before. They have their old names then.
    pub fn run(&self, is_done: impl Fn(&Client) -> Result<bool, DatabaseError>) -> Result<(), DatabaseError> {
        let mut attempts = 1..=ATTEMPTS;
        loop {
            attempts.next();
            let Err(error) = self.attempt() else { return Ok(()) };
            // The statements may have been committed although the answer was lost.
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

    /// Runs the statements while ending the sessions of the databases.
    fn attempt(&self) -> Result<(), DatabaseError> {
        let renamer = self.client.signed(&self.journal.renamer());
        let names: Vec<String> = self.databases.iter().map(|name| literal(name.as_str())).collect();
        let end_sessions = format!(
            "SELECT count(pg_terminate_backend(a.pid))
             FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid, pg_roles me
             WHERE a.datname IN ({}) AND me.rolname = current_user AND {MAY_END};",
            names.join(", ")
        );
        // An error here is ignored: if sessions remain, the rename fails and tells so.
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
                .unwrap_or_else(|_| Err(DatabaseError::Answer("the renaming thread crashed".into())))
        })
    }
}
