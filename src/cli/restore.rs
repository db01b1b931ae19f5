//! `backupgram restore`.

use std::io::{BufRead, IsTerminal, Write};

use lexopt::{Arg, Parser, ValueExt};

use super::{Failure, Outcome, environment, runner};
use crate::catalog::DatabaseName;
use crate::lock::LockError;
use crate::postgres::Server;
use crate::restore::{Plan, Request, Restore, RestoreError};
use crate::settings::{Reader, Storage};
use crate::units;

pub(super) fn run(arguments: Parser) -> Outcome {
    let (request, yes) = parse(arguments)?;
    let runner = runner()?;
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let server = Reader::resolve(&environment, Server::read)?;
    let restore = Restore { storage: &storage, server: &server, runner: &runner };
    let confirm = |plan: &Plan| yes || !std::io::stdin().is_terminal() || confirm(plan);
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
fn confirm(plan: &Plan) -> bool {
    match plan.replaces {
        Some(size) => eprintln!(
            "database {} on {} ({}) will be replaced by {}",
            plan.target,
            plan.server,
            units::bytes(size),
            plan.file
        ),
        None => eprintln!("database {} on {} will be made from {}", plan.target, plan.server, plan.file),
    }
    eprint!("type the database's name to go on: ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim_end_matches('\n') == plan.target.as_str()
}
