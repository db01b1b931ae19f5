//! `backupgram list`.

use jiff::Timestamp;
use lexopt::{Arg, Parser, ValueExt};
use serde_json::json;

use super::table::{Cell, Column, Table, time};
use super::{Failure, Outcome, cleanup, environment, print, print_line};
use crate::catalog::{BackupDirectory, DatabaseName, Entry, Listed, Method, Verification};
use crate::settings::{Reader, Storage};
use crate::terminal::Paint;
use crate::{clock, units};

pub(super) const HELP: &str = "\
backupgram list
backupgram list app
backupgram list --cleanup-preview
backupgram list --json

usage: backupgram list [--json] [DATABASE]
       backupgram list --cleanup-preview [--json] [DATABASE]

Shows the backups, slot by slot, the newest first and those whose time lies in the future last, and what
the -latest pointers lead to.

  DATABASE             only backups of this database
  --cleanup-preview    show instead what a backup that ran now would delete or replace, and the space
                       that this frees; or what it would keep because the clock is not believed
  --json               for programs

environment: BACKUP_DIR says where the backups are, TZ in which zone times are; for the preview,
BACKUP_KEEP_* how long they stay, and POSTGRES_DB, POSTGRES_DB_AUTODISCOVER, POSTGRES_DB_EXCLUDE and
POSTGRES_CLUSTER of which databases.

exit status: 0 shown, also when there is nothing or the directory is not there yet; 1 the directory or
the settings cannot be used; 2 wrong call.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let (mut as_json, mut preview, mut database) = (false, false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => as_json = true,
            Arg::Long("cleanup-preview") => preview = true,
            Arg::Value(name) if database.is_none() => {
                database = Some(DatabaseName::parse(&name.string()?).map_err(Failure::new)?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let directory = BackupDirectory::new(&storage.directory);
    let mut entries = directory.list_all().map_err(Failure::new)?;
    if preview {
        return cleanup::preview(&environment, &storage, &directory, &entries, database.as_ref(), as_json);
    }
    if database.is_some() {
        entries.retain(|entry| entry.database == database);
    }
    match as_json {
        true => {
            let listed: Vec<Listed> = entries.iter().map(Listed::from).collect();
            print(&json!({ "backups": listed }).to_string());
        }
        // A directory that is not there looks the same, and its name tells which it is.
        false if entries.is_empty() => {
            let of = database.map(|database| format!(" of {database}")).unwrap_or_default();
            print_line(&format!("no backups yet{of} in {}", directory.root().display()));
        }
        false => print_table(&entries),
    }
    Ok(())
}

fn print_table(entries: &[Entry]) {
    let mut table = Table::new([
        Column::Left("TIME"),
        Column::Right("AGE"),
        Column::Right("SIZE"),
        Column::Left("FORMAT"),
        Column::Left("DATABASE"),
        Column::Left("VERIFIED"),
        Column::Left("BACKUP"),
    ]);
    let now = Timestamp::now().as_second();
    for entry in entries {
        let name = format!("{}/{}", entry.slot, entry.name);
        let row = [
            time(entry.mtime),
            Cell::from(units::age(now.saturating_sub(entry.mtime))),
            Cell::from(units::bytes(entry.size)),
            Cell::from(format_word(entry)),
            Cell::from(entry.database.as_ref().map_or("-", |name| name.as_str())),
            verified(entry, now),
            Cell::from(match &entry.alias_of {
                Some(target) => format!("{name} -> {target}"),
                None => name,
            }),
        ];
        table.add(match entry.alias_of {
            Some(_) => row.map(|cell| cell.painted(Paint::Dim)),
            None => row,
        });
    }
    table.print();
}

/// How long ago a backup was verified, or that it is broken.
pub(super) fn verified(entry: &Entry, now: i64) -> Cell {
    match entry.manifest.as_ref().and_then(|manifest| manifest.verification()) {
        None => Cell::from("-"),
        Some(verification) if verification.error.is_some() => Cell::from("BROKEN").painted(Paint::Red),
        Some(Verification { by, at, .. }) => {
            let how = if *by == Method::Restore { "restored " } else { "" };
            match clock::is_future(*at, now) {
                true => Cell::from(format!("{how}in the future")).painted(Paint::Red),
                false => Cell::from(format!("{how}{} ago", units::age(now.saturating_sub(*at)))),
            }
        }
    }
}

/// How a backup is stored, as far as its manifest says.
fn format_word(entry: &Entry) -> String {
    let Some(manifest) = &entry.manifest else { return "-".into() };
    // The same word as in JSON.
    let word = serde_json::to_value(manifest.format).ok();
    let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or("-").to_owned();
    if manifest.encrypted { word + " gpg" } else { word }
}
