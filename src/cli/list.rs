//! `backupgram list`.

use jiff::{Timestamp, tz::TimeZone};
use lexopt::{Arg, Parser, ValueExt};
use serde_json::json;

use super::{Failure, Outcome, environment, print};
use crate::catalog::{BackupDirectory, Entry, Listed};
use crate::settings::{Reader, Storage};
use crate::units;

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let (mut as_json, mut database) = (false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => as_json = true,
            Arg::Value(name) if database.is_none() => database = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let directory = BackupDirectory::new(storage.directory);
    let mut entries = directory.list_all().map_err(Failure::new)?;
    if let Some(wanted) = database {
        entries.retain(|entry| entry.database.as_ref().is_some_and(|name| name.as_str() == wanted));
    }
    match as_json {
        true => {
            let listed: Vec<Listed> = entries.iter().map(Listed::from).collect();
            print(&json!({ "backups": listed }).to_string());
        }
        false => print_table(&entries),
    }
    Ok(())
}

fn print_table(entries: &[Entry]) {
    if entries.is_empty() {
        return print("no backups yet");
    }
    let zone = TimeZone::system();
    for entry in entries {
        let time = Timestamp::from_second(entry.mtime).unwrap_or_default().to_zoned(zone.clone());
        let arrow = entry.alias_of.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        let time = time.strftime("%Y-%m-%d %H:%M:%S");
        print(&format!("{time}  {:>10}  {}/{}{arrow}", units::bytes(entry.size), entry.slot, entry.name));
    }
}
