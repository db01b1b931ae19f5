//! `backupgram status`.

use jiff::{Timestamp, tz::TimeZone};
use lexopt::{Arg, Parser};

use super::{Failure, Outcome, environment, print};
use crate::backup::{self, Report};
use crate::catalog::BackupDirectory;
use crate::settings::{Reader, Storage};
use crate::{status, units};

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
    let report = status::read(&BackupDirectory::new(storage.directory)).map_err(Failure::new)?;
    match report {
        _ if as_json => print(&serde_json::to_string(&report).map_err(Failure::new)?),
        Some(report) => print_report(&report),
        None => print("no backup has been made yet"),
    }
    Ok(())
}

fn print_report(report: &Report) {
    let time = Timestamp::from_second(report.timestamp).unwrap_or_default().to_zoned(TimeZone::system());
    let word = |outcome| if outcome == backup::Outcome::Ok { "OK" } else { "FAILED" };
    print(&format!(
        "{}  {}, {:.1} s",
        time.strftime("%Y-%m-%d %H:%M:%S"),
        word(report.status),
        report.duration_seconds
    ));
    for database in &report.databases {
        let what = match (&database.file, database.size) {
            (Some(file), Some(size)) => format!("{file}, {}", units::bytes(size)),
            _ => database.error.clone(),
        };
        print(&format!("  {:<6}  {}  {what}", word(database.state), database.name));
    }
    if report.databases.is_empty() && !report.error.is_empty() {
        print(&format!("  {}", report.error));
    }
}
