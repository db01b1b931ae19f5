//! `backupgram backup`.

use jiff::Timestamp;
use lexopt::{Arg, Parser, ValueExt};

use super::{Failure, Outcome, environment, runner};
use crate::backup::{self, Backup, BackupError, Report};
use crate::catalog::{BackupDirectory, DatabaseName};
use crate::history::{self, Run, Trigger};
use crate::lock::LockError;
use crate::notify::{Event, Notifier};
use crate::postgres::Server;
use crate::process::Runner;
use crate::settings::{Environment, Faults, Notices, Reader, Storage, Subject};

pub(super) fn run(arguments: Parser) -> Outcome {
    let only = parse(arguments)?;
    let runner = runner()?;
    let start = Timestamp::now().as_second();
    let environment = environment()?;
    let trigger = Trigger::of_word(environment.plain(Trigger::VARIABLE).ok().flatten());
    let backed_up = back_up(&environment, &runner, &only);
    let run = match &backed_up {
        Ok(report) => Run::of_report(start, trigger, report),
        Err(failure) => Run::failed(start, Timestamp::now().as_second(), trigger, failure.lines.join("; ")),
    };
    remember(&environment, &run);
    // A stop signal that came in time to stop anything shows in the report as a failure.
    match (backed_up?.status, runner.check()) {
        (backup::Outcome::Ok, _) => Ok(()),
        (backup::Outcome::Failed, Err(interrupted)) => Err(Failure::interrupted(interrupted)),
        // The run itself has said why.
        (backup::Outcome::Failed, Ok(())) => Err(Failure { status: 1, lines: Vec::new() }),
    }
}

fn back_up(environment: &Environment, runner: &Runner, only: &[DatabaseName]) -> Result<Report, Failure> {
    let notices = Reader::resolve(environment, Notices::read)?;
    let notifier = Notifier::new(notices, environment.clone(), runner.clone());
    let (storage, server, subject) = settings(environment).inspect_err(|faults| {
        // Nobody reads the log of a backup that has always worked.
        let names: Vec<String> = only.iter().map(|name| name.as_str().to_owned()).collect();
        notifier.tell(&Event::Failed { error: &faults.to_string().replace('\n', "; "), databases: &names });
        notifier.error_hook(&[]);
    })?;
    if environment.effective().any(|(name, _)| name == "TELEGRAM_BOT_TOKEN") {
        log::warn!("TELEGRAM_BOT_TOKEN is set, but this version does not deliver to Telegram yet");
    }
    let backup =
        Backup { storage: &storage, server: &server, subject: &subject, notifier: &notifier, runner };
    backup.run(only).map_err(|error| match error {
        BackupError::Locked(error @ LockError::Held(_)) => Failure::busy(error),
        error => error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted),
    })
}

/// Writes the run into the history, if there is a place for it.
fn remember(environment: &Environment, run: &Run) {
    let Ok(storage) = Reader::resolve(environment, Storage::read) else { return };
    if let Err(error) = history::append(&BackupDirectory::new(storage.directory), run) {
        log::warn!("cannot write this run into the history: {error}");
    }
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

/// The three parts, and the faults of all of them at once.
fn settings(environment: &Environment) -> Result<(Storage, Server, Subject), Faults> {
    let storage = Reader::resolve(environment, Storage::read);
    let server = Reader::resolve(environment, Server::read);
    let subject = Reader::resolve(environment, Subject::read);
    match (storage, server, subject) {
        (Ok(storage), Ok(server), Ok(subject)) => Ok((storage, server, subject)),
        (storage, server, subject) => {
            let faults = [storage.err(), server.err(), subject.err()];
            Err(Faults(faults.into_iter().flatten().flat_map(|faults| faults.0).collect()))
        }
    }
}
