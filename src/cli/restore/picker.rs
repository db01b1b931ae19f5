//! Which backup to restore, asked on the terminal: first the database, then its backup.

use super::question::Questions;
use crate::cli::context::{Failure, print};
use crate::cli::list::backups::{self, Backup, Block};
use crate::cli::table::{Cell, Column, Table, short_time};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::util::clock;
use crate::util::units;

/// At most so many are shown at once.
const SHOWN: usize = 40;

/// Asks for a database if there are several, and for one of its backups, and answers that as `SLOT/NAME` with its
/// target.
pub(super) fn choose(
    directory: &BackupDirectory,
    questions: &Questions,
) -> Result<(String, Option<DatabaseName>), Failure> {
    let mut blocks = backups::blocks(directory.list_all().map_err(Failure::new)?, clock::now());
    // The newest last, just above the question.
    blocks.iter_mut().for_each(|block| block.backups.reverse());
    let blocks: Vec<&Block> = blocks.iter().collect();
    if blocks.is_empty() {
        return Err(Failure::new("there is no backup to restore; name the path of a dump as FILE"));
    }
    let block = match blocks[..] {
        [only] => only,
        _ => pick(questions, "which database?", &blocks, |block| name_of(block).to_owned(), show_databases)?,
    };
    let all: Vec<&Backup> = block.backups.iter().collect();
    let backup = pick(questions, "restore which one?", &all, |backup| backup.path(), show_backups)?;
    let own = block.database.as_ref().map(|name| format!("[{name}]: ")).unwrap_or_default();
    let target = answer_to(questions, &format!("into which database? {own}"))?;
    match target.as_str() {
        "" => Ok((backup.path(), block.database.clone())),
        name => DatabaseName::parse(name)
            .map(|name| (backup.path(), Some(name)))
            .map_err(|error| Failure::new(format!("TARGET {error}"))),
    }
}

/// Lists things by number until one of them is chosen, by its number or by a part of its name that no other has.
fn pick<'a, T>(
    questions: &Questions,
    question: &str,
    all: &[&'a T],
    name: impl Fn(&T) -> String,
    show: impl Fn(&[&T]),
) -> Result<&'a T, Failure> {
    let mut shown = all.to_vec();
    loop {
        // Shows the last ones, which are the newest.
        let hidden = shown.len().saturating_sub(SHOWN);
        shown.drain(..hidden);
        show(&shown);
        if hidden > 0 {
            print(&format!("{hidden} more are not shown: type part of the name"));
        }
        let answer = loop {
            let asked = format!("{question} 1 to {}, or part of its name: ", shown.len());
            match answer_to(questions, &asked)?.trim() {
                "" => {}
                answer => break answer.to_owned(),
            }
        };
        let number = answer.parse::<usize>().ok();
        if let Some(chosen) = number.and_then(|number| shown.get(number.checked_sub(1)?)) {
            return Ok(chosen);
        }
        let mistyped = number.is_some_and(|number| number < 1000);
        // A name that is part of another one can be chosen, too.
        let matching = |fits: &dyn Fn(&str) -> bool| -> Vec<&'a T> {
            all.iter().copied().filter(|each| fits(&name(each))).collect()
        };
        let exact = matching(&|name| name == answer);
        let found =
            if exact.is_empty() { matching(&|name| !mistyped && name.contains(&answer)) } else { exact };
        match found[..] {
            [] => questions.say(&format!("{answer:?} is neither one of these numbers nor part of a name")),
            [only] => return Ok(only),
            _ => shown = found,
        }
    }
}

fn answer_to(questions: &Questions, question: &str) -> Result<String, Failure> {
    let answer = questions.ask(question).map_err(Failure::interrupted)?;
    answer.ok_or_else(|| Failure::new("nothing was restored"))
}

fn name_of(block: &Block) -> &str {
    block.database.as_ref().map_or("-", |name| name.as_str())
}

fn show_databases(blocks: &[&Block]) {
    let mut table = Table::new([
        Column::Right("NO"),
        Column::Text("DATABASE"),
        Column::Right("BACKUPS"),
        Column::Right("NEWEST"),
    ]);
    let now = clock::now();
    for (at, block) in blocks.iter().enumerate() {
        let newest = block.backups.iter().map(|backup| backup.first()).rfind(|entry| !entry.is_future(now));
        table.add([
            Cell::from((at + 1).to_string()),
            Cell::from(name_of(block)),
            Cell::from(block.backups.len().to_string()),
            Cell::since(newest.map(|entry| entry.mtime), now),
        ]);
    }
    table.print();
}

fn show_backups(backups: &[&Backup]) {
    let mut table = Table::new([
        Column::Right("NO"),
        Column::Left("TIME"),
        Column::Right("AGE"),
        Column::Right("SIZE"),
        Column::Left("SLOT"),
        Column::Left("VERIFIED"),
        Column::Name("NAME"),
    ]);
    let now = clock::now();
    for (at, backup) in backups.iter().enumerate() {
        let first = backup.first();
        table.add([
            Cell::from((at + 1).to_string()),
            short_time(first.mtime),
            Cell::since(Some(first.mtime), now),
            Cell::from(units::bytes(first.size)),
            Cell::from(backup.slots()),
            backup.verified(now),
            Cell::from(first.name.as_str()),
        ]);
    }
    table.print();
}
