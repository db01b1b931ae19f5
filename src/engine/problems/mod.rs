//! What is wrong, as one list of messages. `GET /status`, the metrics, `backupgram health` and go-cron's health port
//! all show it, and each kind of problem has a file here.
//!
//! The programs share only the backup directory and the temporary one, so each looks for itself, and adds what only it
//! knows: the daemon its jobs and its scheduler, go-cron its last run, `health` who does not answer. Nothing is changed
//! here, except that a small file is written as a trial and removed.

mod age;
mod clock;
mod failed_job;
mod look;
mod neighbours;
mod overdue;
mod proofs;
mod records;
mod runs;
pub mod scheduled;
mod watch;
mod writable;

pub use failed_job::FailedBackup;
pub use look::Look;
pub use neighbours::warning;
pub use runs::with_job;
pub use watch::{ONCE, Watch};

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::postgres::Server;
use crate::settings::Environment;
use crate::store::catalog::BackupDirectory;
use crate::store::records::Report;
use crate::store::records::history;
use crate::store::records::status;

/// The problem of a go-cron that ends again and again soon after its start.
pub const SCHEDULER_FAILS: &str = "the scheduler keeps exiting soon after its start";

/// Looks for all problems once.
pub fn look(directory: &BackupDirectory, environment: Environment) -> Look {
    Watch::once(directory.clone()).look(Some(Arc::new(environment)))
}

/// The look at a directory that has not answered for so long that not even the settings could be read.
pub fn unanswered(directory: &BackupDirectory, silence: Duration) -> Look {
    Look { problems: vec![watch::silent(directory.root(), silence)], ..Look::default() }
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

/// Adds the problems of another program to those of this one. Both look at the same records, so most are in both.
pub fn join(own: &mut Vec<String>, others: impl IntoIterator<Item = String>) {
    for problem in others {
        if !own.contains(&problem) {
            own.push(problem);
        }
    }
}
