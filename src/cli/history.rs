//! `backupgram history`.

use lexopt::{Arg, Parser, ValueExt};
use serde_json::json;

use super::context::{Failure, Outcome, environment, print};
use super::table::{Cell, Column, Table, short_time};
use crate::postgres::Server;
use crate::settings::{Reader, Storage};
use crate::store::catalog::BackupDirectory;
use crate::store::records;
use crate::store::records::history::{self, Run};
use crate::util::terminal::Paint;
use crate::util::units;

pub(super) const HELP: &str = "\
backupgram history
backupgram history --limit 3 --json

usage: backupgram history [--json] [--limit N]

Shows the last runs, the newest first: when they started, how they went, and
what started them (the API, the scheduler, or the command line). Runs of a
server other than that of the settings show its name. Values too long for a row
are cut: --json has them in full.

  --limit N    at most N runs, 20 without it; the last 1000 are remembered
  --json       for programs

environment: BACKUP_DIR says where the backups are, POSTGRES_HOST and
POSTGRES_PORT which server is theirs, TZ in which zone times are.

exit status: 0 shown, also when runs failed; 1 they cannot be read;
2 usage error.";

/// Runs that are shown unless `--limit` says otherwise.
const SHOWN: usize = 20;

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let (mut as_json, mut limit) = (false, SHOWN);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => as_json = true,
            Arg::Long("limit") => limit = arguments.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    if limit == 0 {
        return Err(lexopt::Error::from("--limit must be at least 1").into());
    }
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let runs = history::newest(&BackupDirectory::new(storage.directory), limit).map_err(Failure::new)?;
    match as_json {
        true => print(&json!({ "history": runs }).to_string()),
        false if runs.is_empty() => print("no backup has been made yet"),
        false => print_table(&runs, Server::address_in(&environment).as_deref()),
    }
    Ok(())
}

fn print_table(runs: &[Run], server: Option<&str>) {
    let mut table = Table::new([
        Column::Left("STARTED"),
        Column::Left("RESULT"),
        Column::Left("BY"),
        Column::Right("SIZE"),
        Column::Right("TOOK"),
        Column::Text("DATABASES OR ERROR"),
    ]);
    for run in runs {
        let size: u64 = run.databases.iter().filter_map(|database| database.size).sum();
        table.add([
            short_time(run.start),
            Cell::result(run.result),
            Cell::from(run.trigger.word()),
            Cell::from(if size == 0 { "-".into() } else { units::bytes(size) }),
            Cell::from(units::clock(run.seconds() as u64)),
            about(run, server),
        ]);
    }
    table.print();
}

/// The error of the run, or the names of its databases.
fn about(run: &Run, server: Option<&str>) -> Cell {
    let of = if run.is_of(server) { String::new() } else { format!("of {}: ", run.server) };
    let error = records::errors(&run.error, &run.databases);
    if !error.is_empty() {
        return Cell::from(of + &error).painted(Paint::Red);
    }
    let names: Vec<&str> = run.databases.iter().map(|database| database.name.as_str()).collect();
    Cell::from(of + &if names.is_empty() { "-".into() } else { names.join(", ") })
}
