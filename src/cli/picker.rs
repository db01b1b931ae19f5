//! Which backup to restore, asked on the terminal.

use std::collections::HashSet;

use super::list::verified;
use super::question::Questions;
use super::table::{Cell, Column, Table};
use super::{Failure, print};
use crate::catalog::{BackupDirectory, DatabaseName, Entry};
use crate::{clock, units};

/// No more are shown: nobody reads a longer list.
const SHOWN: usize = 40;

/// Shows the newest backups, and answers the one that is chosen as `SLOT/NAME`, with its target.
pub(super) fn choose(
    directory: &BackupDirectory,
    questions: &Questions,
) -> Result<(String, Option<DatabaseName>), Failure> {
    let entries = each_once(directory.list_all().map_err(Failure::new)?);
    if entries.is_empty() {
        return Err(Failure::new("there is no backup to restore; name the path of a dump as FILE"));
    }
    let shown = &entries[..entries.len().min(SHOWN)];
    show(shown);
    if shown.len() < entries.len() {
        print(&format!("{} older ones are not shown: name one as FILE", entries.len() - shown.len()));
    }
    let entry = loop {
        let answer = answer_to(questions, &format!("restore which one? 1 to {}: ", shown.len()))?;
        match answer.trim().parse::<usize>().ok().and_then(|number| shown.get(number.checked_sub(1)?)) {
            Some(entry) => break entry,
            None => questions.say(&format!("{answer:?} is not one of these numbers")),
        }
    };
    let file = format!("{}/{}", entry.slot, entry.name);
    let own = entry.database.as_ref().map(|name| format!("[{name}]: ")).unwrap_or_default();
    let target = answer_to(questions, &format!("into which database? {own}"))?;
    match target.as_str() {
        "" => Ok((file, entry.database.clone())),
        name => DatabaseName::parse(name)
            .map(|name| (file, Some(name)))
            .map_err(|error| Failure::new(format!("TARGET {error}"))),
    }
}

fn answer_to(questions: &Questions, question: &str) -> Result<String, Failure> {
    let answer = questions.ask(question).map_err(Failure::interrupted)?;
    answer.ok_or_else(|| Failure::new("nothing was restored"))
}

/// The backups, newest first and those of the future last, each under the first of its names.
fn each_once(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut seen = HashSet::new();
    entries.retain(|entry| {
        let sha256 = entry.manifest.as_ref().map(|manifest| manifest.sha256.clone());
        let is_new = sha256.is_none_or(|sha256| seen.insert((sha256, entry.database.clone())));
        entry.alias_of.is_none() && is_new
    });
    let now = clock::now();
    entries.sort_by_key(|entry| (entry.is_future(now), std::cmp::Reverse(entry.mtime)));
    entries
}

fn show(entries: &[Entry]) {
    let mut table = Table::new([
        Column::Right("NO"),
        Column::Left("SLOT"),
        Column::Right("AGE"),
        Column::Right("SIZE"),
        Column::Left("DATABASE"),
        Column::Left("VERIFIED"),
        Column::Left("NAME"),
    ]);
    let now = clock::now();
    for (at, entry) in entries.iter().enumerate() {
        table.add([
            Cell::from((at + 1).to_string()),
            Cell::from(entry.slot.name()),
            Cell::from(units::age(now.saturating_sub(entry.mtime))),
            Cell::from(units::bytes(entry.size)),
            Cell::from(entry.database.as_ref().map_or("-", |name| name.as_str())),
            verified(entry, now),
            Cell::from(entry.name.as_str()),
        ]);
    }
    table.print();
}
