//! `backupgram status`.

use lexopt::{Arg, Parser};

use super::table::{Cell, Column, Table, time};
use super::{Failure, Outcome, environment, print};
use crate::backup::{DatabaseReport, Report};
use crate::catalog::BackupDirectory;
use crate::settings::{Reader, Storage};
use crate::terminal::Paint;
use crate::{clock, problems, units};

pub(super) const HELP: &str = "\
backupgram status
backupgram status --json

usage: backupgram status [--json]

Shows how the last backup run of the server went: as a whole, and each database.

  --json    for programs; null before the first run

environment: BACKUP_DIR says where the backups are, POSTGRES_HOST and POSTGRES_PORT of which server, TZ in
which zone times are.

exit status: 0 shown, whatever the result (backupgram health judges it); 1 it cannot be read; 2 wrong call.";

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
    match report {
        _ if as_json => print(&serde_json::to_string(&report).map_err(Failure::new)?),
        Some(report) => print_report(&report),
        None => print("no backup has been made yet"),
    }
    Ok(())
}

fn print_report(report: &Report) {
    let mut run = Table::new([
        Column::Left("RESULT"),
        Column::Left("ENDED"),
        Column::Right("AGE"),
        Column::Right("TOOK"),
        Column::Left("ERROR"),
    ]);
    run.add([
        Cell::result(report.status),
        time(report.timestamp),
        Cell::from(report.age(clock::now()).map_or("-".into(), units::age)),
        Cell::from(format!("{:.1} s", report.duration_seconds)),
        Cell::from(if report.error.is_empty() { "-" } else { &report.error }),
    ]);
    run.print();
    if report.databases.is_empty() {
        return;
    }
    print("");
    let mut databases = Table::new([
        Column::Left("RESULT"),
        Column::Left("DATABASE"),
        Column::Right("SIZE"),
        Column::Left("BACKUP OR ERROR"),
    ]);
    for database in &report.databases {
        databases.add([
            Cell::result(database.state),
            Cell::from(&database.name),
            Cell::from(database.size.map_or("-".into(), units::bytes)),
            outcome(database),
        ]);
    }
    databases.print();
    for reason in report.held() {
        print(&format!("\n{reason}"));
    }
}

fn outcome(database: &DatabaseReport) -> Cell {
    match &database.file {
        Some(file) => Cell::from(file),
        None => Cell::from(&database.error).painted(Paint::Red),
    }
}
