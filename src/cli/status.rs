//! `backupgram status`.

use jiff::Timestamp;
use lexopt::{Arg, Parser};

use super::context::{Failure, Outcome, environment, print};
use super::table::{Cell, Column, Table, print_below, time};
use crate::engine::backup::disk_space;
use crate::engine::problems;
use crate::formats::schedule::Schedule;
use crate::postgres::Server;
use crate::settings::{Environment, Reader, Storage};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::store::records;
use crate::store::records::Ledger;
use crate::store::records::proofs;
use crate::store::records::{DatabaseReport, Report};
use crate::system::lock::{self, Holder};
use crate::system::running::{self, Running};
use crate::util::clock;
use crate::util::terminal::Paint;
use crate::util::units;

pub(super) const HELP: &str = "\
backupgram status
backupgram status --json

usage: backupgram status [--json]

Shows the schedule and when the next run is due, what runs now, who holds the
lock of the backup directory, the free space, and how the last backup run of
the server went: as a whole, and each database, with the time since a backup of
it was last proven by a restore.

  --json    for programs, the last run alone; null before the first run

environment: BACKUP_DIR says where the backups are, POSTGRES_HOST and
POSTGRES_PORT of which server, SCHEDULE when runs are due, TZ in which zone
times are.

exit status: 0 shown, also when the last run failed (use backupgram health to
check); 1 it cannot be read; 2 usage error.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let mut as_json = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => as_json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let directory = BackupDirectory::new(storage.directory);
    let report = problems::last_run(&directory, &environment).map_err(Failure::new)?;
    if as_json {
        print(&serde_json::to_string(&report).map_err(Failure::new)?);
        return Ok(());
    }
    print_present(&directory, &environment);
    match report {
        Some(report) => {
            print_run(&report);
            print_databases(&report, &proofs(&directory));
        }
        None => say("last run", "no backup has been made yet"),
    }
    Ok(())
}

/// A line, or more than one, of the things that are in one column.
fn say(what: &str, text: &str) {
    print_below(&format!("{what:<11}"), text);
}

/// What is so now, whatever the last run was like.
fn print_present(directory: &BackupDirectory, environment: &Environment) {
    let now = Timestamp::now();
    match schedule(environment) {
        Ok(schedule) => {
            say("schedule", schedule.text());
            let next = schedule.next_after(now).map(|next| next.timestamp().as_second());
            say("next run", &next.map_or("-".into(), |next| ahead(next, now.as_second())));
        }
        Err(error) => say("schedule", &error),
    }
    let server = Server::address_in(environment);
    let runs = running::list(directory.root());
    if runs.is_empty() {
        say("running", "-")
    } else {
        runs.iter().for_each(|run| say("running", &doing(run, server.as_deref(), now.as_second())))
    }
    say("lock", &lock::holder(directory.root()).map_or("-".into(), |holder| held(holder, now.as_second())));
    let space = disk_space(directory).ok();
    let space = space.map(|(free, total)| format!("{} of {}", units::bytes(free), units::bytes(total)));
    say("free", space.as_deref().unwrap_or("-"));
}

fn schedule(environment: &Environment) -> Result<Schedule, String> {
    let text = Reader::resolve(environment, |reader| reader.text("SCHEDULE"));
    let text = text.map_err(|faults| faults.to_string())?;
    Schedule::parse(&text).map_err(|error| error.to_string())
}

fn ahead(at: i64, now: i64) -> String {
    format!("{}, in {}", time(at).text(), units::age(at.saturating_sub(now)))
}

fn ago(at: i64, now: i64) -> String {
    format!("{}, {} ago", time(at).text(), units::age(now.saturating_sub(at)))
}

fn doing(run: &Running, server: Option<&str>, now: i64) -> String {
    let Running { pid, start, trigger, server: of, doing } = run;
    let of = if records::is_of(of, server) { String::new() } else { format!(" of {of}") };
    format!("{doing} (backup{of} by {}, pid {pid}, since {})", trigger.word(), ago(*start, now))
}

fn held(holder: Option<Holder>, now: i64) -> String {
    match holder {
        Some(Holder { pid, started, task }) => format!("{task}, pid {pid}, since {}", ago(started, now)),
        None => "held by an unknown process".into(),
    }
}

fn print_run(report: &Report) {
    let age = report.age(clock::now()).map(|age| format!("{} ago", units::age(age)));
    let age = age.unwrap_or_else(|| "which is in the future".to_owned());
    let took = format!("took {:.1} s", report.duration_seconds);
    let (result, ended) = (Cell::result(report.status), time(report.timestamp));
    say("last run", &format!("{}, ended {}, {age}, {took}", result.text(), ended.text()));
    if !report.error.is_empty() {
        say("error", &report.error);
    }
}

fn proofs(directory: &BackupDirectory) -> Ledger {
    proofs::read(directory).unwrap_or_else(|error| {
        log::warn!("the restore proofs cannot be read: {error}");
        Ledger::new()
    })
}

fn print_databases(report: &Report, proofs: &Ledger) {
    if report.databases.is_empty() {
        return;
    }
    print("");
    let mut table = Table::new([
        Column::Left("RESULT"),
        Column::Text("DATABASE"),
        Column::Right("SIZE"),
        Column::Left("PROVEN"),
        Column::Name("BACKUP"),
    ]);
    for database in &report.databases {
        table.add([
            Cell::result(database.state),
            Cell::from(&database.name),
            Cell::from(database.size.map_or("-".into(), units::bytes)),
            proven(database, proofs),
            Cell::from(database.file.as_deref().unwrap_or("-")),
        ]);
    }
    table.print();
    // What is wrong is told whole.
    let own = report.databases.iter().filter(|it| !it.error.is_empty() && it.error != report.error);
    let errors = own.map(|database| format!("{}: {}", database.name, database.error));
    for text in errors.chain(report.held()) {
        print("");
        print_below("", &text);
    }
}

fn proven(database: &DatabaseReport, proofs: &Ledger) -> Cell {
    let proof = DatabaseName::parse(&database.name).ok().and_then(|name| proofs.get(&name));
    match proof.map(|proof| &proof.verification) {
        Some(verification) if verification.error.is_some() => Cell::from("BROKEN").painted(Paint::Red),
        verification => Cell::since(verification.map(|it| it.at), clock::now()),
    }
}
