//! `backupgram list`.

pub(super) mod backups;
mod cleanup;

use std::io::{self, IsTerminal};

use lexopt::{Arg, Parser, ValueExt};
use serde_json::json;

use self::backups::{Backup, Block};
use crate::cli::context::{Failure, Outcome, environment, print, print_line};
use crate::cli::table::{Cell, Column, Table, short_time};
use crate::engine::backup::disk_space;
use crate::settings::{Reader, Storage};
use crate::store::catalog::{BackupDirectory, DatabaseName, Entry, Listed, Slot};
use crate::util::clock;
use crate::util::terminal::Paint;
use crate::util::units;

pub(super) const HELP: &str = "\
backupgram list
backupgram list app
backupgram list -q app | head -n 1
backupgram list --cleanup-preview

usage: backupgram list [--all] [--slot SLOT] [-q | --json] [DATABASE]
       backupgram list --cleanup-preview [--json] [DATABASE]

Shows the backups of each database, the newest first and those dated in the
future last. A backup that is in several slots is one row: SLOT has an L
for last, D for daily, W for weekly and M for monthly, and NAME is its name in
the first of them. A name that is too long is cut: -q prints all of it.
VERIFIED is how long ago the backup was last read from end to end, PROVEN how
long ago it was restored. The last line has the bytes that all of them take,
each file counted once, and what is free.

  DATABASE             only backups of this database
  --slot SLOT          only backups in last, daily, weekly or monthly
  --all                every name of each backup, and the -latest pointers to it
  -q, --quiet          only SLOT/NAME of each backup, a line each, as restore
                       and verify take it; with --all, every name
  --cleanup-preview    show instead what a backup that ran now would delete or
                       replace, and the space that this frees; or what it would
                       keep because the clock is not trusted
  --json               for programs: every name, with the pointers

environment: BACKUP_DIR says where the backups are, TZ in which zone times are;
for the preview, BACKUP_KEEP_* how long they stay, and POSTGRES_DB,
POSTGRES_DB_AUTODISCOVER, POSTGRES_DB_EXCLUDE and POSTGRES_CLUSTER of which
databases.

exit status: 0 shown, also when there are no backups or no directory yet; 1 the
directory or the settings cannot be used; 2 usage error.";

/// What the arguments say.
#[derive(Default)]
struct Call {
    as_json: bool,
    preview: bool,
    quiet: bool,
    all: bool,
    slot: Option<Slot>,
    database: Option<DatabaseName>,
}

pub(super) fn run(arguments: Parser) -> Outcome {
    let call = parse(arguments)?;
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let directory = BackupDirectory::new(&storage.directory);
    let mut entries = directory.list_all().map_err(Failure::new)?;
    if call.preview {
        let (only, as_json) = (call.database.as_ref(), call.as_json);
        return cleanup::preview(&environment, &storage, &directory, &entries, only, as_json);
    }
    if call.database.is_some() {
        entries.retain(|entry| entry.database == call.database);
    }
    if call.as_json {
        print_json(&call, entries)
    } else {
        print_blocks(&call, &directory, chosen(&call, entries))
    }
    Ok(())
}

fn parse(mut arguments: Parser) -> Result<Call, Failure> {
    let mut call = Call::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => call.as_json = true,
            Arg::Long("cleanup-preview") => call.preview = true,
            Arg::Long("all") => call.all = true,
            Arg::Long("quiet") | Arg::Short('q') => call.quiet = true,
            Arg::Long("slot") => {
                let slot = arguments.value()?.string()?;
                let wrong =
                    || lexopt::Error::from(format!("{slot:?} is not one of last, daily, weekly, monthly"));
                call.slot = Some(Slot::named(&slot).ok_or_else(wrong)?);
            }
            Arg::Value(name) if call.database.is_none() => {
                call.database = Some(DatabaseName::parse(&name.string()?).map_err(Failure::new)?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let wrong = |text: &str| Err(lexopt::Error::from(text).into());
    match call {
        Call { quiet: true, as_json: true, .. } => wrong("-q and --json cannot be combined"),
        Call { preview: true, all, quiet, slot, .. } if all || quiet || slot.is_some() => {
            wrong("--cleanup-preview cannot be combined with --all, --slot or -q")
        }
        call => Ok(call),
    }
}

fn print_json(call: &Call, mut entries: Vec<Entry>) {
    entries.retain(|entry| call.slot.is_none_or(|slot| entry.slot == slot));
    let listed: Vec<Listed> = entries.iter().map(Listed::from).collect();
    print(&json!({ "backups": listed }).to_string());
}

/// The blocks with the backups that are asked for.
fn chosen(call: &Call, entries: Vec<Entry>) -> Vec<Block> {
    let mut blocks = backups::blocks(entries, clock::now());
    if let Some(slot) = call.slot {
        for block in &mut blocks {
            block.backups.retain(|backup| backup.is_in(slot));
            block.backups.iter_mut().for_each(|backup| backup.put_first(slot));
        }
        blocks.retain(|block| !block.backups.is_empty());
    }
    blocks
}

fn print_blocks(call: &Call, directory: &BackupDirectory, blocks: Vec<Block>) {
    if call.quiet {
        return print_names(call, &blocks);
    }
    if blocks.is_empty() {
        // A missing directory looks the same, so the message names the path.
        let of = call.database.as_ref().map(|database| format!(" of {database}")).unwrap_or_default();
        let within = call.slot.map(|slot| format!("/{slot}")).unwrap_or_default();
        return print_line(&format!("no backups yet{of} in {}{within}", directory.root().display()));
    }
    let now = clock::now();
    let mut table = table();
    for block in &blocks {
        // The heading shows the newest backup as `restore` takes it.
        let database = block.database.as_ref().map_or("-", |name| name.as_str());
        table.begin(database, &block.backups[0].path());
        for backup in &block.backups {
            table.add(row(backup, now));
            if call.all {
                names(backup).for_each(|line| table.note(line));
            }
        }
    }
    table.print();
    let backups = || blocks.iter().flat_map(|block| &block.backups);
    print(&format!("\n{}", sum(directory, backups().count(), backups::unique_bytes(directory, backups()))));
}

fn table() -> Table<7> {
    Table::new([
        Column::Left("TIME"),
        Column::Right("SIZE"),
        Column::Left("FORMAT"),
        Column::Left("SLOT"),
        Column::Left("VERIFIED"),
        Column::Left("PROVEN"),
        Column::Name("NAME"),
    ])
}

fn row(backup: &Backup, now: i64) -> [Cell; 7] {
    let first = backup.first();
    [
        short_time(first.mtime),
        Cell::from(units::bytes(first.size)),
        Cell::from(backup.format()),
        Cell::from(backup.slots()),
        backup.verified(now),
        backup.proven(now),
        Cell::from(first.name.as_str()),
    ]
}

/// Every name of a backup, and the pointers to it.
fn names(backup: &Backup) -> impl Iterator<Item = Cell> {
    let own = backup.names().iter().map(|entry| Cell::from(backups::path(entry)));
    own.chain(backup.pointers.iter().map(|pointer| Cell::from(backups::path(pointer)).painted(Paint::Dim)))
}

/// Whole names, for the shell.
fn print_names(call: &Call, blocks: &[Block]) {
    let print = if io::stdout().is_terminal() { print_line } else { print };
    for backup in blocks.iter().flat_map(|block| &block.backups) {
        if call.all {
            backup.names().iter().chain(&backup.pointers).for_each(|name| print(&backups::path(name)))
        } else {
            print(&backup.path())
        }
    }
}

fn sum(directory: &BackupDirectory, count: usize, bytes: u64) -> String {
    let backups = if count == 1 { "1 backup".to_owned() } else { format!("{count} backups") };
    let free = disk_space(directory).map_or("-".to_owned(), |(free, _)| units::bytes(free));
    format!("{backups}, {} in all, {free} free", units::bytes(bytes))
}
