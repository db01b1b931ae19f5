//! The moment in which the loaded database takes the target's name.

use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::RestoreError;
use super::journal::MARK;
use super::properties::Properties;
use super::scratch::Scratch;
use crate::catalog::DatabaseName;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};
use crate::process::ProgramError;

/// Times that the renames are tried.
const ATTEMPTS: u32 = 4;
/// How often sessions of the target are ended while the rename waits for them.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends the sessions of one database that this role may end: its own and those of roles that it is a member
/// of; with `pg_signal_backend` all but superusers'; as a superuser all.
const END_SESSIONS: &str = "
    SELECT count(pg_terminate_backend(a.pid))
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid, pg_roles me
    WHERE a.datname = :'database' AND a.pid <> pg_backend_pid() AND me.rolname = current_user
      AND (me.rolsuper OR NOT r.rolsuper AND (pg_has_role(me.oid, r.oid, 'MEMBER')
                                              OR pg_has_role(me.oid, 'pg_signal_backend', 'MEMBER')));
";

/// Renames the target to `kept_as`, if there is a target, and the scratch database to the target, in one
/// transaction: whatever ends it, the server has done both or neither.
///
/// A rename takes an exclusive lock on the database first, which no new session passes, and then waits five
/// seconds for those that are there to leave (`RenameDatabase` and `CountOtherDBBackends` in PostgreSQL).
/// Ending them again and again while it waits shuts out even a client that reconnects in a loop, and
/// leaves no flag on the target that a crash could strand.
///
/// # Errors
/// When the names could not be changed; both databases are as they were.
pub fn swap(
    scratch: &Scratch,
    target: &DatabaseName,
    like: Option<&Properties>,
    kept_as: &DatabaseName,
) -> Result<(), RestoreError> {
    let sql = orders(scratch, target, like, kept_as);
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match rename(scratch.client(), target, &sql) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        // The answer may have been lost on the way after the server had carried the orders out.
        scratch.journal().settle(&scratch.client().signed("backupgram"))?;
        if is_called(scratch, target)? {
            return Ok(());
        }
        if let Some(DatabaseError::Program(ProgramError::Interrupted(_))) = &last {
            break;
        }
    }
    match last {
        Some(error @ DatabaseError::Program(ProgramError::Interrupted(_))) => Err(error.into()),
        error => {
            Err(RestoreError::Swap(target.clone(), error.map(|error| error.to_string()).unwrap_or_default()))
        }
    }
}

fn orders(
    scratch: &Scratch,
    target: &DatabaseName,
    like: Option<&Properties>,
    kept_as: &DatabaseName,
) -> String {
    let (new, target) = (identifier(scratch.name().as_str()), target.as_str());
    let mut orders = vec!["BEGIN;".to_owned(), "SET LOCAL lock_timeout = '10s';".to_owned()];
    if like.is_some() {
        let kept = identifier(kept_as.as_str());
        orders.push(format!("ALTER DATABASE {} RENAME TO {kept};", identifier(target)));
        if *kept_as == scratch.journal().replaced() {
            let mark = literal(&format!("{MARK}has replaced this database, which was called {target}"));
            orders.push(format!("COMMENT ON DATABASE {kept} IS {mark};"));
        }
    }
    orders.push(format!("ALTER DATABASE {new} RENAME TO {};", identifier(target)));
    orders.push(match like {
        Some(properties) => properties.comment_order(target),
        None => format!("COMMENT ON DATABASE {} IS NULL;", identifier(target)),
    });
    orders.push("COMMIT;".into());
    orders.join("\n")
}

/// Carries the orders out while the target's sessions are being ended.
fn rename(client: &Client, target: &DatabaseName, sql: &str) -> Result<(), DatabaseError> {
    let (done, finished) = bounded::<()>(0);
    thread::scope(|scope| {
        let renaming = scope.spawn(move || {
            let renamed = client.execute(sql, &[]).map(drop);
            drop(done);
            renamed
        });
        loop {
            // A failure to end sessions shows in the rename's own error, which says who is connected.
            if let Err(error) = client.execute(END_SESSIONS, &[("database", target.as_str())]) {
                log::debug!("cannot end the sessions of {target}: {error}");
            }
            if finished.recv_timeout(PAUSE) == Err(crossbeam_channel::RecvTimeoutError::Disconnected) {
                break;
            }
        }
        renaming.join().unwrap_or_else(|_| Err(DatabaseError::Answer("the renaming thread panicked".into())))
    })
}

/// Whether the scratch database has the target's name now, asked even after a stop signal.
fn is_called(scratch: &Scratch, target: &DatabaseName) -> Result<bool, DatabaseError> {
    let sql = "SELECT oid::bigint FROM pg_database WHERE datname = :'database';";
    let output = scratch.client().clean_up(sql, &[("database", target.as_str())])?;
    Ok(output.stdout.trim_ascii() == scratch.oid().to_string().as_bytes())
}
