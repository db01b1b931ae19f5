//! `backupgram restore`.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use lexopt::{Arg, Parser, ValueExt};

use super::{Failure, Outcome, environment, runner};
use crate::catalog::DatabaseName;
use crate::lock::LockError;
use crate::postgres::Server;
use crate::process::{Interrupted, Runner};
use crate::restore::{Plan, Request, Restore, RestoreError};
use crate::settings::{self, Reader, Storage};
use crate::units;

pub(super) const HELP: &str = "\
usage: backupgram restore [--keep-previous] [--yes] FILE [TARGET]

Restores a backup, all or nothing: it is checked, loaded into a new database, and only when all of it is
in does that take the target's place. On a terminal it asks first.

  FILE               SLOT/NAME as `backupgram list` shows it, or the path of a dump
  TARGET             the database to replace or make; without it, the one that the backup is of
  --keep-previous    keep the replaced database under another name
  --yes, -y          do not ask

example: backupgram restore last/app-20260416-143000.sql.gz app_copy

exit status: 0 restored; 1 not, and the target is as it was; 2 wrong call;
75 another backup or restore is running; 128 + N stopped by signal N.";

pub(super) fn run(arguments: Parser) -> Outcome {
    let (request, yes) = parse(arguments)?;
    let runner = runner()?;
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let server = Reader::resolve(&environment, Server::read)?;
    let jobs = Reader::resolve(&environment, settings::restore_jobs)?;
    let restore = Restore { storage: &storage, server: &server, jobs, runner: &runner };
    let confirm = |plan: &Plan| match yes || !std::io::stdin().is_terminal() {
        true => Ok(true),
        false => confirm(plan, &runner),
    };
    restore.run(&request, confirm).map_err(|error| match error {
        RestoreError::Locked(error @ LockError::Held(_)) => Failure::busy(error),
        error => error.interrupted().map_or_else(|| Failure::new(&error), Failure::interrupted),
    })
}

fn parse(mut arguments: Parser) -> Result<(Request, bool), Failure> {
    let (mut file, mut target, mut keep_previous, mut yes) = (None, None, false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("keep-previous") => keep_previous = true,
            Arg::Long("yes") | Arg::Short('y') => yes = true,
            Arg::Value(value) if file.is_none() => file = Some(value.string()?),
            Arg::Value(value) if target.is_none() => {
                let name = DatabaseName::parse(&value.string()?);
                target = Some(name.map_err(|error| Failure::new(format!("TARGET {error}")))?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let file = file.ok_or(lexopt::Error::from("FILE is missing"))?;
    Ok((Request { file, target, keep_previous }, yes))
}

/// Asks on the terminal. Only the whole name of the target counts as a yes.
fn confirm(plan: &Plan, runner: &Runner) -> Result<bool, Interrupted> {
    let (target, server, file) = (plan.target, &plan.server, plan.file);
    match (plan.replaces)() {
        Ok(Some(size)) => {
            eprintln!("database {target} on {server} ({}) will be replaced by {file}", units::bytes(size));
        }
        Ok(None) => eprintln!("database {target} on {server} will be made from {file}"),
        Err(error) => eprintln!("database {target} on {server} will be replaced by {file}, but: {error}"),
    }
    eprint!("type the database's name to go on: ");
    let (tell, told) = bounded(1);
    // On a thread of its own: a read from the terminal goes on after a signal.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        let _ = tell.send(read.map(|_| answer));
    });
    loop {
        runner.check()?;
        match told.recv_timeout(Duration::from_millis(100)) {
            Ok(answer) => {
                return Ok(answer.is_ok_and(|answer| answer.trim_end_matches('\n') == target.as_str()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
    }
}
