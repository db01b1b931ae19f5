//! `backupgram backup`.

use std::time::Instant;

use jiff::Timestamp;
use lexopt::{Arg, Parser, ValueExt};

use super::context::{Failure, Outcome, PANIC, runner};
use super::telling::Telling;
use crate::engine::backup::{Backup, BackupError};
use crate::engine::problems;
use crate::postgres::Server;
use crate::settings::{Environment, Faults, Reader, Storage, Subject};
use crate::store::catalog::DatabaseName;
use crate::store::records;
use crate::store::records::Report;
use crate::store::records::history::Trigger;
use crate::system::lock::LockError;
use crate::system::logger;
use crate::system::process::Runner;
use crate::system::running::{Note, Watch};
use crate::util::unwind;

pub(super) const HELP: &str = "\
backupgram backup           every database of the settings
backupgram backup app shop  these two of them

usage: backupgram backup [DATABASE...]

Backs up every database of the settings, or only these of them: dumps each into
a file, publishes it when it is whole, then deletes backups that are too old.
Logs to standard error.

environment: POSTGRES_* say which server, which databases and what a dump is;
BACKUP_* and TZ where backups go, how they are kept, encrypted and verified;
HOOKS_DIR, WEBHOOK_*, TELEGRAM_* and PROJECT_NAME who is notified. A name that
ends in _FILE holds the path of a file with the value.

exit status: 0 all were backed up; 1 at least one was not, or the settings are
wrong; 2 usage error; 75 another backup or restore is running; 101 internal
error; 128 + N stopped by signal N.";

pub(super) fn run(arguments: Parser) -> Outcome {
    let only = parse(arguments)?;
    let runner = runner()?;
    let (start, begun) = (Timestamp::now().as_second(), Instant::now());
    // From here on every failure is recorded and notified, not only logged.
    let (mut telling, settings) = Telling::new(&runner);
    telling.note.begin();
    problems::warning(&telling.environment).iter().for_each(|warning| log::warn!("{warning}"));
    let watch = watch(&telling, &runner, start);
    let backed_up = settings.and_then(|()| {
        let worked = unwind::catch(|| back_up(&telling, &runner, &only));
        worked.unwrap_or_else(|panic| Err(Failure::with_status(PANIC, panic)))
    });
    let (mut report, status) = match backed_up {
        Ok(report) => (report, 1),
        Err(failure) => {
            let subject = Reader::resolve(&telling.environment, Subject::read);
            let names = subject.map(|subject| subject.databases.names(&only)).unwrap_or_default();
            let error = failure.lines.join("; ");
            (Report::of_run(begun, Vec::new(), &names, Some(error)), failure.status)
        }
    };
    // A job gets a signal only when it is cancelled or the daemon stops.
    if let (Trigger::Api, None, Err(interrupted)) = (telling.trigger, runner.overrun(), runner.check()) {
        report.note_cancellation(&interrupted.to_string());
    }
    let report = telling.record_and_notify(report, start, !only.is_empty(), false);
    drop(watch);
    // Failures are logged already. A stop signal that interrupted something has made the run fail.
    match (report.status, runner.check()) {
        (records::Outcome::Ok, _) => Ok(()),
        // The run was stopped for want of time, not by a signal.
        (records::Outcome::Failed, _) if runner.overrun().is_some() && !runner.has_signal() => {
            Err(Failure::silent(1))
        }
        (records::Outcome::Failed, Err(interrupted)) => {
            Err(Failure::silent(Failure::interrupted(interrupted).status))
        }
        (records::Outcome::Failed, Ok(())) => Err(Failure::silent(status)),
    }
}

/// Starts the thread that writes the run's note and ends the run at BACKUP_MAX_RUN_HOURS.
fn watch(telling: &Telling, runner: &Runner, start: i64) -> Watch {
    // A wrong value is reported with the other settings.
    let limit = Reader::resolve(&telling.environment, |reader| reader.hours("BACKUP_MAX_RUN_HOURS"));
    let server = Server::address_in(&telling.environment).unwrap_or_default();
    let note = telling.directory().and_then(|directory| {
        // The run itself reports why the directory cannot be used.
        let _ = directory.prepare();
        let note = Note::write(directory.root(), start, telling.trigger, &server);
        note.inspect_err(|error| log::debug!("cannot record what this run is doing: {error}")).ok()
    });
    Watch::start(runner, note, limit.unwrap_or_default())
}

fn back_up(telling: &Telling, runner: &Runner, only: &[DatabaseName]) -> Result<Report, Failure> {
    let (storage, server, subject) = resolve(&telling.environment)?;
    let Telling { notifier, note, .. } = telling;
    let backup = Backup { storage: &storage, server: &server, subject: &subject, notifier, runner, note };
    backup.run(only).map_err(|error| match error {
        BackupError::Locked(error @ LockError::Held(_)) => Failure::busy(error),
        error => error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted),
    })
}

fn parse(mut arguments: Parser) -> Result<Vec<DatabaseName>, Failure> {
    let mut only = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(name) => only.push(DatabaseName::parse(&name.string()?).map_err(Failure::new)?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(only)
}

/// Reads the three parts of the settings. The error has the faults of all of them, and of the log format.
fn resolve(environment: &Environment) -> Result<(Storage, Server, Subject), Faults> {
    let storage = Reader::resolve(environment, Storage::read);
    let server = Reader::resolve(environment, Server::read);
    let subject = Reader::resolve(environment, Subject::read);
    let format = Reader::resolve(environment, logger::Format::read);
    match (storage, server, subject, format) {
        (Ok(storage), Ok(server), Ok(subject), Ok(_)) => Ok((storage, server, subject)),
        (storage, server, subject, format) => {
            let faults = [storage.err(), server.err(), subject.err(), format.err()];
            Err(Faults(faults.into_iter().flatten().flat_map(|faults| faults.0).collect()))
        }
    }
}
