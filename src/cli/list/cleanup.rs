//! `backupgram list --cleanup-preview`: what a backup that ran now would delete or replace.

use std::io;

use jiff::Zoned;
use serde_json::{Value, json};

use crate::cli::context::{Failure, Outcome, print};
use crate::cli::table::{Cell, Column, Table, print_below};
use crate::postgres::Server;
use crate::settings::{Databases, Environment, Reader, Storage, Subject};
use crate::store::catalog::{BackupDirectory, DatabaseName, Entry, Scope};
use crate::store::records::status;
use crate::store::retention::{Links, PrunePreview, Reason, Removal, RemovalReason};
use crate::util::terminal::Paint;
use crate::util::units;

/// A removal with the space that it frees.
struct Row {
    removal: Removal,
    frees: u64,
}

pub(super) fn preview(
    environment: &Environment,
    storage: &Storage,
    directory: &BackupDirectory,
    entries: &[Entry],
    only: Option<&DatabaseName>,
    as_json: bool,
) -> Outcome {
    let subject = Reader::resolve(environment, Subject::read)?;
    let mut databases = databases(&subject, entries);
    if let Some(only) = only {
        databases.retain(|name| name == only);
        if databases.is_empty() {
            let refusal = "is not among the databases to back up, so none of its backups would be deleted";
            return Err(Failure::new(format!("{} {refusal}", only.as_str())));
        }
    }
    let ending = storage.ending();
    let time = Zoned::now();
    let now = time.timestamp().as_second();
    let run = PrunePreview {
        time,
        ending: &ending,
        suffix: &storage.suffix,
        latest: storage.latest,
        policy: &storage.policy,
    };
    let server = Server::address_in(environment);
    let last = status::read(directory, server.as_deref()).unwrap_or_else(|error| {
        log::warn!("cannot read whether the last run trusted the clock: {error}");
        None
    });
    let (mut removals, mut kept, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for database in databases.iter() {
        let held_before = last.as_ref().and_then(|report| report.held_for(database.as_str()));
        let prospect = run.prospect(entries, database, held_before);
        removals.extend(prospect.removals);
        kept.extend(prospect.kept);
        held.extend(prospect.hold.map(|hold| (database, hold.to_string())));
    }
    let rows = weigh(directory, removals).map_err(Failure::new)?;
    if as_json {
        print(&as_value(&rows, &kept, &databases, &held, now).to_string())
    } else {
        print_rows(&rows, &held, now);
        print_kept(&kept, now);
    }
    Ok(())
}

/// What a run would back up. The databases of a server that discovers them are taken to be the ones that have
/// backups: no server is asked for a preview.
fn databases(subject: &Subject, entries: &[Entry]) -> Vec<DatabaseName> {
    let globals = DatabaseName::of_scope(Scope::Globals);
    let mut names = match &subject.databases {
        Databases::Named(names) => names.clone(),
        Databases::Cluster => vec![DatabaseName::of_scope(Scope::Cluster)],
        Databases::Discovered { except } => {
            log::info!(
                "POSTGRES_DB_AUTODISCOVER: assuming that every database with backups exists on the server"
            );
            let of_databases = entries.iter().filter(|entry| {
                entry.alias_of.is_none() && entry.scope().is_none_or(|scope| scope == Scope::Database)
            });
            let mut names: Vec<DatabaseName> =
                of_databases.filter_map(|entry| Some(entry.name.parts(entry.slot)?.database)).collect();
            names.sort();
            names.dedup();
            names.retain(|name| !except.contains(name) && *name != DatabaseName::maintenance());
            names
        }
    };
    names.extend(Some(globals).filter(|_| subject.globals));
    names
}

/// Adds to each removal the bytes that it frees. A `-latest` pointer that frees nothing is left out.
fn weigh(directory: &BackupDirectory, removals: Vec<Removal>) -> io::Result<Vec<Row>> {
    let (mut links, mut rows) = (Links::default(), Vec::new());
    for removal in removals {
        let frees = match removal.reason {
            RemovalReason::Held => 0,
            RemovalReason::Replaced | RemovalReason::Deleted => {
                let slot = directory.open_slot(removal.entry.slot);
                let slot = slot.map_err(|error| io::Error::other(error.to_string()))?;
                links.remove(&slot, removal.entry.name.as_str())?
            }
        };
        if frees > 0 || !removal.entry.is_pointer() {
            rows.push(Row { removal, frees });
        }
    }
    Ok(rows)
}

fn word(reason: RemovalReason) -> &'static str {
    match reason {
        RemovalReason::Replaced => "replace",
        RemovalReason::Deleted => "delete",
        RemovalReason::Held => "keep",
    }
}

fn total(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.frees).sum()
}

/// Why nothing of a database would be deleted.
type Held<'a> = (&'a DatabaseName, String);

fn as_value(
    rows: &[Row],
    kept: &[(Entry, Reason)],
    databases: &[DatabaseName],
    held: &[Held],
    now: i64,
) -> Value {
    let removal = |Row { removal: Removal { entry, reason }, frees }: &Row| {
        json!({
            "action": word(*reason), "slot": entry.slot, "name": entry.name, "database": entry.database,
            "size": entry.size, "mtime": entry.mtime, "freed_bytes": frees,
        })
    };
    let removals: Vec<Value> = rows.iter().map(removal).collect();
    let kept = kept.iter().map(|(entry, reason)| {
        json!({
            "slot": entry.slot, "name": entry.name, "database": entry.database, "size": entry.size,
            "mtime": entry.mtime, "reason": reason.to_string(),
        })
    });
    let kept: Vec<Value> = kept.collect();
    let held: Vec<Value> =
        held.iter().map(|(database, reason)| json!({ "database": database, "reason": reason })).collect();
    json!({
        "at": now, "databases": databases, "removals": removals, "kept": kept, "freed_bytes": total(rows), "held": held,
    })
}

/// Prints the backups that are kept, each with the reason.
fn print_kept(kept: &[(Entry, Reason)], now: i64) {
    if kept.is_empty() {
        return;
    }
    let mut table = Table::new([Column::Right("AGE"), Column::Name("KEPT"), Column::Left("WHY")]);
    for (entry, reason) in kept {
        table.add([
            Cell::from(units::age(now.saturating_sub(entry.mtime))),
            Cell::from(format!("{}/{}", entry.slot, entry.name)),
            Cell::from(reason.to_string()),
        ]);
    }
    print("");
    table.print();
}

fn print_rows(rows: &[Row], held: &[Held], now: i64) {
    let print_held = || {
        for (database, reason) in held {
            print_below("", &format!("no older backup of {database} would be deleted: {reason}"));
        }
    };
    if rows.is_empty() {
        print("a backup that ran now would delete nothing");
        return print_held();
    }
    let mut table = Table::new([
        Column::Left("WHAT"),
        Column::Right("AGE"),
        Column::Right("SIZE"),
        Column::Right("FREES"),
        Column::Name("BACKUP"),
    ]);
    for Row { removal: Removal { entry, reason }, frees } in rows {
        let what = Cell::from(word(*reason));
        table.add([
            if *reason == RemovalReason::Deleted { what.painted(Paint::Red) } else { what },
            Cell::from(units::age(now.saturating_sub(entry.mtime))),
            Cell::from(units::bytes(entry.size)),
            Cell::from(if *frees == 0 { "-".into() } else { units::bytes(*frees) }),
            Cell::from(format!("{}/{}", entry.slot, entry.name)),
        ]);
    }
    table.print();
    print(&format!(
        "\na backup that ran now would free {}, not counting the new backups",
        units::bytes(total(rows))
    ));
    print_held();
}
