//! `backupgram backup`.

use lexopt::{Arg, Parser, ValueExt};

use super::{Failure, Outcome, environment, runner};
use crate::backup::{Backup, BackupError};
use crate::catalog::DatabaseName;
use crate::lock::LockError;
use crate::notify::{Event, Notifier};
use crate::postgres::Server;
use crate::process::Runner;
use crate::settings::{Environment, Faults, Notices, Reader, Storage, Subject};

pub(super) fn run(arguments: Parser) -> Outcome {
    let only = parse(arguments)?;
    let runner = runner()?;
    let environment = environment()?;
    let notices = Reader::resolve(&environment, Notices::read)?;
    let notifier = Notifier::new(notices, environment.clone(), runner.clone());
    let (storage, server, subject) = settings(&environment).inspect_err(|faults| {
        // Nobody reads the log of a backup that has always worked.
        let names: Vec<String> = only.iter().map(|name| name.as_str().to_owned()).collect();
        notifier.tell(&Event::Failed { error: &faults.to_string().replace('\n', "; "), databases: &names });
        notifier.error_hook(&[]);
    })?;
    if environment.effective().any(|(name, _)| name == "TELEGRAM_BOT_TOKEN") {
        log::warn!("TELEGRAM_BOT_TOKEN is set, but this version does not deliver to Telegram yet");
    }
    back_up(&storage, &server, &subject, &notifier, &runner, &only)
}

fn back_up(
    storage: &Storage,
    server: &Server,
    subject: &Subject,
    notifier: &Notifier,
    runner: &Runner,
    only: &[DatabaseName],
) -> Outcome {
    let report = Backup { storage, server, subject, notifier, runner }.run(only);
    match report {
        Ok(report) => {
            // A signal that came in time to stop anything shows in the report as a failure.
            let failed = report.status == crate::backup::Outcome::Failed;
            match runner.check() {
                Err(interrupted) if failed => Err(Failure::interrupted(interrupted)),
                _ if failed => Err(Failure { status: 1, lines: Vec::new() }),
                _ => Ok(()),
            }
        }
        Err(BackupError::Locked(error @ LockError::Held(_))) => Err(Failure::busy(error)),
        Err(error) => Err(error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted)),
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
