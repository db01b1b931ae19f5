//! What follows from a run, however far it came: its result is kept, written into the history, and told.

use std::io;
use std::path::PathBuf;

use super::report::{Outcome, Report};
use crate::catalog::BackupDirectory;
use crate::history::{self, Run, Trigger};
use crate::notify::{Event, Notifier};
use crate::process::Runner;
use crate::telegram::{self, Courier, TelegramSettings};
use crate::{status, units};

/// What is known of a run besides its report.
pub struct Conclusion<'a> {
    /// Where to keep the result; none when the settings do not say.
    pub directory: Option<&'a BackupDirectory>,
    /// Whom to tell.
    pub notifier: &'a Notifier,
    /// Who asked for the run.
    pub trigger: Trigger,
    /// When it began, in Unix seconds.
    pub start: i64,
    /// Whether it was to back up some databases only.
    pub limited: bool,
    /// Where copies of the backups go, and word of the run.
    pub telegram: Option<&'a TelegramSettings>,
    /// Starts what that takes.
    pub runner: &'a Runner,
}

/// Keeps and tells the result of a run. What goes wrong here does not change it.
pub fn conclude(run: &Conclusion, report: &Report) {
    let previous = run.directory.and_then(|directory| status::read(directory).ok().flatten());
    keep(run, report);
    let remembered = Run::of_report(run.start, run.trigger, report);
    remember(run, history::append, &remembered);
    tell(run, report);
    if run.telegram.is_some_and(|settings| settings.chats().is_empty()) {
        log::warn!("{}", telegram::NO_CHAT);
    }
    let telegram = run.telegram.filter(|settings| !settings.chats().is_empty());
    if let (Some(settings), Some(directory)) = (telegram, run.directory) {
        let delivery = Some(Courier::new(settings, directory, run.runner).deliver(report, previous.as_ref()));
        keep(run, &Report { delivery: delivery.clone(), ..report.clone() });
        remember(run, history::amend, &Run { delivery, ..remembered });
    }
}

fn remember(run: &Conclusion, write: fn(&BackupDirectory, &Run) -> io::Result<()>, what: &Run) {
    if let Some(directory) = run.directory
        && let Err(error) = write(directory, what)
    {
        log::error!("cannot write this run into the history: {error}");
    }
}

fn keep(run: &Conclusion, report: &Report) {
    if let Some(directory) = run.directory
        && let Err(error) = status::write(directory, report, run.limited)
    {
        log::error!("cannot keep the result of this run: {error}");
    }
}

/// Tells the log, the webhooks and the hooks.
fn tell(run: &Conclusion, report: &Report) {
    let names: Vec<String> = report.databases.iter().map(|database| database.name.clone()).collect();
    let root = run.directory.map(BackupDirectory::root);
    let files = report.databases.iter().filter_map(|database| database.file.as_ref());
    let paths: Vec<PathBuf> = files.filter_map(|file| root.map(|root| root.join(file))).collect();
    match report.status {
        Outcome::Ok => {
            let size = report.databases.iter().filter_map(|database| database.size).sum();
            let count =
                if names.len() == 1 { "1 database".into() } else { format!("{} databases", names.len()) };
            log::info!("backup succeeded: {count}, {}, {:.1} s", units::bytes(size), report.duration_seconds);
            run.notifier.tell(&Event::Succeeded { databases: &names });
            run.notifier.post_backup_hook(&paths);
        }
        Outcome::Failed => {
            let error = report.errors();
            log::error!("backup failed: {error}");
            run.notifier.tell(&Event::Failed { error: &error, databases: &names });
            run.notifier.error_hook(&paths);
        }
    }
}
