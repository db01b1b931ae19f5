//! `backupgram history`.

use jiff::{Timestamp, tz::TimeZone};
use lexopt::{Arg, Parser, ValueExt};
use serde_json::json;

use super::{Failure, Outcome, environment, print};
use crate::backup;
use crate::catalog::BackupDirectory;
use crate::history::{self, Run};
use crate::settings::{Reader, Storage};
use crate::units;

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
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let runs = history::newest(&BackupDirectory::new(storage.directory), limit).map_err(Failure::new)?;
    match as_json {
        true => print(&json!({ "history": runs }).to_string()),
        false if runs.is_empty() => print("no backup has been made yet"),
        false => runs.iter().for_each(print_run),
    }
    Ok(())
}

fn print_run(run: &Run) {
    let time = Timestamp::from_second(run.start).unwrap_or_default().to_zoned(TimeZone::system());
    let word = if run.result == backup::Outcome::Ok { "OK" } else { "FAILED" };
    let size: u64 = run.databases.iter().filter_map(|database| database.size).sum();
    let names: Vec<&str> = run.databases.iter().map(|database| database.name.as_str()).collect();
    let time = time.strftime("%Y-%m-%d %H:%M:%S");
    let (trigger, size, seconds) =
        (run.trigger.word(), units::bytes(size), run.end.saturating_sub(run.start));
    print(&format!("{time}  {word:<6}  {trigger:<8}  {size:>10}  {seconds:>5} s  {}", names.join(", ")));
}
