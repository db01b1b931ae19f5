//! What is wrong, as one list of lines for people. `GET /status`, the metrics, `backupgram health` and go-cron's health
//! port all show it, and each kind of problem has a file here.
//!
//! The programs share nothing but the backup directory and the temporary one, so each looks for itself. What only one
//! of them can know it adds: the daemon its jobs and its scheduler, go-cron its last run, `health` who does not answer.
//! Nothing here changes anything, but for a small file by which it is tried whether the directory takes one.

mod age;
mod clock;
mod neighbours;
mod overdue;
mod proofs;
mod runs;
pub mod scheduled;
mod watch;
mod writable;

pub use neighbours::warning;
pub use runs::with_job;
pub use watch::{ONCE, Watch};

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::backup::disk_space;
use crate::postgres::Server;
use crate::settings::{self, Environment};
use crate::store::catalog::BackupDirectory;
use crate::store::records::Ledger;
use crate::store::records::Report;
use crate::store::records::history;
use crate::store::records::proofs as ledger;
use crate::store::records::status;
use crate::util::clock as time;

/// A go-cron that ends again and again soon after its start.
pub const SCHEDULER_FAILS: &str = "the scheduler keeps exiting soon after its start";

/// What a look at the records of a backup directory has found.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// How the last run of this server went, by the worse of its records; none before the first.
    pub last: Option<Report>,
    /// The last restore proof of each database.
    pub proofs: Ledger,
    /// Whether a backup run takes longer than it should.
    pub is_overdue: bool,
    /// Bytes on the directory's disk that are free, and all of them; nothing when it cannot be asked.
    pub space: Option<(u64, u64)>,
    /// What is wrong, a line each.
    pub problems: Vec<String>,
    /// Whether the directory has answered. All else is what was known before it ceased to.
    pub is_current: bool,
}

/// Looks at everything now.
pub fn look(directory: &BackupDirectory, environment: Environment) -> Look {
    Watch::once(directory.clone()).look(Some(Arc::new(environment)))
}

/// What is known of a directory that has not answered for so long, before anything could be asked.
pub fn unanswered(directory: &BackupDirectory, silence: Duration) -> Look {
    Look { problems: vec![watch::silent(directory.root(), silence)], ..Look::default() }
}

/// Reads the records, by these settings, or else by those that are in force.
fn look_by(directory: &BackupDirectory, settings: Option<Arc<Environment>>) -> Look {
    let Some(settings) = settings else {
        // Anew each time, as the API may have changed a limit meanwhile.
        return match settings::effective_environment() {
            Ok(environment) => look_with(directory, &environment, Vec::new()),
            Err(error) => look_with(directory, &Environment::of_process(), vec![error.to_string()]),
        };
    };
    look_with(directory, &settings, Vec::new())
}

fn look_with(directory: &BackupDirectory, environment: &Environment, mut problems: Vec<String>) -> Look {
    let (server, now) = (Server::address_in(environment), time::now());
    let server = server.as_deref();
    let last = status::read(directory, server).unwrap_or_else(|error| {
        problems.push(format!("the last result cannot be read: {error}"));
        None
    });
    let newest = history::newest_of(directory, server).unwrap_or_else(|error| {
        problems.push(format!("the history cannot be read: {error}"));
        None
    });
    let proofs = ledger::read(directory).unwrap_or_else(|error| {
        problems.push(format!("the restore proofs cannot be read: {error}"));
        Ledger::new()
    });
    problems.extend(clock::check(last.as_ref(), newest.as_ref(), &proofs, now));
    let (last, proofs) = (runs::worse(last, newest), ledger::believed(proofs, now));
    problems.extend(runs::check(last.as_ref()));
    problems.extend(age::check(environment, last.as_ref()));
    problems.extend(proofs::check(environment, last.as_ref(), &proofs));
    let overdue = overdue::check(directory, environment);
    let is_overdue = !overdue.is_empty();
    problems.extend(overdue);
    Look { last, proofs, is_overdue, space: disk_space(directory).ok(), problems, is_current: true }
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
