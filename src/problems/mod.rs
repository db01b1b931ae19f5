//! What is wrong, as one list of lines for people. `GET /status`, the metrics, `backupgram health` and go-cron's health
//! port all show it, and each kind of problem has a file here.
//!
//! The programs share nothing but the backup directory and the temporary one, so each looks for itself. What only one
//! of them can know it adds: the daemon its jobs and its scheduler, go-cron its last run, `health` who does not answer.
//! Nothing here changes anything, but for a small file by which it is tried whether the directory takes one.

mod age;
mod clock;
mod neighbours;
pub mod overdue;
mod proofs;
mod runs;
pub mod scheduled;
mod watch;
mod writable;

pub use neighbours::warning;
pub use runs::with_job;
pub use watch::Watch;

use std::io;

use crate::backup::Report;
use crate::catalog::BackupDirectory;
use crate::postgres::Server;
use crate::proof::{self, Ledger};
use crate::settings::Environment;
use crate::{clock as time, history, status};

/// A go-cron that ends again and again soon after its start.
pub const SCHEDULER_FAILS: &str = "the scheduler keeps ending soon after its start";

/// What a look at the records of a backup directory has found.
#[derive(Debug)]
pub struct Look {
    /// How the last run of this server went, by the worse of its records; none before the first.
    pub last: Option<Report>,
    /// The last restore proof of each database.
    pub proofs: Ledger,
    /// What is wrong, a line each.
    pub problems: Vec<String>,
}

/// Looks at everything now.
pub fn look(directory: &BackupDirectory, environment: &Environment) -> Look {
    Watch::once(directory.clone()).look(environment)
}

/// Looks at what costs little, with what is known of the rest.
fn look_with(directory: &BackupDirectory, environment: &Environment, mut problems: Vec<String>) -> Look {
    let server = Server::address_in(environment);
    let server = server.as_deref();
    let last = status::read(directory, server).unwrap_or_else(|error| {
        problems.push(format!("the last result cannot be read: {error}"));
        None
    });
    let newest = history::newest_of(directory, server).unwrap_or_else(|error| {
        problems.push(format!("the history cannot be read: {error}"));
        None
    });
    let proofs = proof::believed(directory, time::now()).unwrap_or_else(|error| {
        problems.push(format!("the restore proofs cannot be read: {error}"));
        Ledger::new()
    });
    let last = runs::worse(last, newest);
    problems.extend(runs::check(last.as_ref()));
    problems.extend(age::check(environment, last.as_ref()));
    problems.extend(proofs::check(environment, last.as_ref(), &proofs));
    problems.extend(overdue::check(directory, environment));
    Look { last, proofs, problems }
}

/// How the last run of the server of these settings went, by the worse of its records.
///
/// # Errors
/// When the result is there and cannot be read.
pub fn last_run(directory: &BackupDirectory, environment: &Environment) -> io::Result<Option<Report>> {
    let server = Server::address_in(environment);
    let last = status::read(directory, server.as_deref())?;
    Ok(runs::worse(last, history::newest_of(directory, server.as_deref()).ok().flatten()))
}

/// The problems of a program, and those of another one that it does not know. Both look at the same records, so most
/// are in both.
pub fn join(own: &mut Vec<String>, others: impl IntoIterator<Item = String>) {
    for problem in others {
        if !own.contains(&problem) {
            own.push(problem);
        }
    }
}
