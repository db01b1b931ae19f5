//! `backupgram backup`.

use std::time::Instant;

use jiff::Timestamp;
use lexopt::{Arg, Parser, ValueExt};

use super::{Failure, Outcome, runner};
use crate::backup::{self, Backup, BackupError, Conclusion, Report};
use crate::catalog::{BackupDirectory, DatabaseName};
use crate::history::Trigger;
use crate::lock::LockError;
use crate::logger;
use crate::notify::Notifier;
use crate::postgres::Server;
use crate::process::Runner;
use crate::settings::{self, Environment, Faults, Notices, Reader, Storage, Subject};
use crate::telegram::TelegramSettings;

pub(super) const HELP: &str = "\
backupgram backup           every database of the settings
backupgram backup app shop  these two of them

usage: backupgram backup [DATABASE...]

Backs up every database of the settings, or only these of them: dumps each into a file, publishes it
when it is whole, then deletes what has served its time. Says on standard error what it does.

environment: POSTGRES_* say which server, which databases and what a dump is; BACKUP_* and TZ where backups
go, how they are kept, encrypted and verified; HOOKS_DIR, WEBHOOK_*, TELEGRAM_* and PROJECT_NAME who
is told. A name that ends in _FILE holds the path of a file with the value.

exit status: 0 every one was backed up; 1 one was not, or the settings are wrong; 2 wrong call;
75 another backup or restore is running; 128 + N stopped by signal N.";

pub(super) fn run(arguments: Parser) -> Outcome {
    let only = parse(arguments)?;
    let runner = runner()?;
    let (start, begun) = (Timestamp::now().as_second(), Instant::now());
    // Nobody reads the log of a backup that has always worked: whatever fails from here on is told.
    let (environment, overrides) = match settings::effective_environment() {
        Ok(environment) => (environment, Ok(())),
        Err(error) => (Environment::of_process(), Err(Failure::new(error))),
    };
    let notices = Reader::resolve(&environment, Notices::read);
    let (notices, heard) = match notices {
        Ok(notices) => (notices, Ok(())),
        Err(faults) => (Notices::hooks_only(&environment), Err(Failure::from(faults))),
    };
    let notifier = Notifier::new(notices, environment.clone(), runner.clone());
    let backed_up = overrides.and(heard).and_then(|()| back_up(&environment, &notifier, &runner, &only));
    let storage = Reader::resolve(&environment, Storage::read);
    let directory = storage.ok().map(|storage| BackupDirectory::new(storage.directory));
    let (report, status) = match backed_up {
        Ok(report) => (report, 1),
        Err(failure) => {
            let subject = Reader::resolve(&environment, Subject::read);
            let names = subject.map(|subject| subject.databases.names(&only)).unwrap_or_default();
            let error = failure.lines.join("; ");
            (Report::of_run(begun, Vec::new(), &names, Some(error)), failure.status)
        }
    };
    let trigger = Trigger::of_word(environment.plain(Trigger::VARIABLE).ok().flatten());
    // Where nothing can be written, that has been said.
    let directory = directory.as_ref().filter(|directory| directory.is_writable());
    let limited = !only.is_empty();
    // What is wrong with these settings has been said; it keeps no backup from being made.
    let telegram = Reader::resolve(&environment, TelegramSettings::read).unwrap_or_else(|faults| {
        log::warn!("nothing goes to Telegram: {}", faults.to_string().replace('\n', "; "));
        None
    });
    let (notifier, telegram) = (&notifier, telegram.as_ref());
    let conclusion = Conclusion { directory, notifier, trigger, start, limited, telegram, runner: &runner };
    backup::conclude(&conclusion, &report);
    // What failed has been said. A stop signal that came in time to stop anything shows as a failure.
    match (report.status, runner.check()) {
        (backup::Outcome::Ok, _) => Ok(()),
        (backup::Outcome::Failed, Err(interrupted)) => {
            Err(Failure::silent(Failure::interrupted(interrupted).status))
        }
        (backup::Outcome::Failed, Ok(())) => Err(Failure::silent(status)),
    }
}

fn back_up(
    environment: &Environment,
    notifier: &Notifier,
    runner: &Runner,
    only: &[DatabaseName],
) -> Result<Report, Failure> {
    let (storage, server, subject) = resolve(environment)?;
    let backup = Backup { storage: &storage, server: &server, subject: &subject, notifier, runner };
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

/// The three parts, and the faults of all of them at once, and of the log's form.
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
