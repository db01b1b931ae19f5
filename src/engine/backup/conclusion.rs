//! What follows from a run, however far it came: its result is kept, written into the history, and told.

use std::path::PathBuf;

use super::report::{DeliveryReport, Outcome, Report};
use super::room::await_room;
use crate::delivery::notify::{Event, Notifier};
use crate::delivery::telegram::{self, TelegramSettings, Uploader};
use crate::settings::Redactor;
use crate::store::catalog::BackupDirectory;
use crate::store::records::history::{self, Run, Trigger};
use crate::store::records::status;
use crate::system::process::Runner;
use crate::system::run_note::OwnNote;
use crate::util::units;

/// What is known of a run besides its report.
#[derive(Clone, Copy)]
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
    /// The run's note, which is removed when all this is done.
    pub note: &'a OwnNote,
    /// Whether the run has died, and another process records it.
    pub died: bool,
}

/// Keeps and tells the result of a run, without the secrets that programs may have named in it, and answers it. What goes
/// wrong here does not change it, but that it takes too long: a run that has no time left has failed. To say so it has
/// some of its own. A failure that no webhook could be told of, for want of memory, is left to whoever has started the run:
/// the note stays.
pub fn record_and_notify(run: &Conclusion, mut report: Report) -> Report {
    if notify_in_time(run, &mut report) {
        run.note.remove();
    }
    report
}

/// Answers whether it could be told.
fn notify_in_time(run: &Conclusion, report: &mut Report) -> bool {
    let runner = run.runner;
    if let Some(why) = runner.overrun() {
        runner.go_on();
        *report = report.clone().ended(why);
        return keep_and_tell(run, report).is_told;
    }
    let Told { has_copies, is_told } = keep_and_tell(run, report);
    if !runner.is_over() {
        return is_told;
    }
    runner.go_on();
    *report = report.clone().ended_late(runner.overrun().unwrap_or_default());
    keep_and_tell(&Conclusion { telegram: run.telegram.filter(|_| !has_copies), ..*run }, report).is_told
}

/// How far a run was told.
struct Told {
    /// Whether there was room for that; only a failure must be told.
    is_told: bool,
    /// Whether it came to the copies.
    has_copies: bool,
}

/// How the copies fared is then in the report, and whether a hook has failed the run.
fn keep_and_tell(run: &Conclusion, full: &mut Report) -> Told {
    let server = Some(full.server.as_str()).filter(|server| !server.is_empty());
    let previous = run.directory.and_then(|directory| status::read(directory, server).ok().flatten());
    keep(run, full);
    if full.status == Outcome::Ok
        && let Err(error) = run.notifier.post_backup_hook(&paths(run, full))
        && !run.runner.is_over()
    {
        *full = full.clone().ended_late(error);
        keep(run, full);
    }
    let report = &full.clone().cleaned(&Redactor::of_process());
    let is_told = tell(run, report);
    if run.died && is_told {
        // Who records this starts another one, should this die as well; nobody is to be told twice.
        run.note.remove();
    }
    if run.telegram.is_some_and(|settings| settings.chats().is_empty()) {
        log::warn!("{}", telegram::NO_CHAT);
    }
    let telegram = run.telegram.filter(|settings| !settings.chats().is_empty());
    if run.runner.is_over() {
        return Told { is_told, has_copies: false };
    }
    if let (Some(settings), Some(directory)) = (telegram, run.directory) {
        let _doing = run.runner.activity().begin("sending to Telegram");
        full.delivery =
            Some(Uploader::new(settings, directory, run.runner).deliver(report, previous.as_ref()));
        keep(run, full);
    }
    Told { is_told, has_copies: true }
}

/// Keeps the result of a run, without the secrets in it, where it is to be kept.
fn keep(run: &Conclusion, report: &Report) {
    let redactor = Redactor::of_process();
    let mut report = report.clone().cleaned(&redactor);
    if let Some(DeliveryReport { error, .. }) = &mut report.delivery {
        *error = redactor.clean(error);
    }
    if let Some(directory) = run.directory {
        let id = run.note.id().to_owned();
        let line = Run { id, ..Run::of_report(run.start, run.trigger, &report) };
        record(directory, &report, &line, run.limited);
    }
}

/// Where the backups of a run lie.
fn paths(run: &Conclusion, report: &Report) -> Vec<PathBuf> {
    let root = run.directory.map(BackupDirectory::root);
    let files = report.databases.iter().filter_map(|database| database.file.as_ref());
    files.filter_map(|file| root.map(|root| root.join(file))).collect()
}

/// Keeps the result of a run and writes it into the history, in place of what it has recorded of itself before.
pub fn record(directory: &BackupDirectory, report: &Report, run: &Run, limited: bool) {
    let kept = status::write(directory, report, limited);
    let written = history::put(directory, run);
    // Where nothing may be written, that has been said.
    if (kept.is_ok() && written.is_ok()) || !directory.is_writable() {
        return;
    }
    if let Err(error) = kept {
        log::error!("cannot keep the result of this run: {error}");
    }
    if let Err(error) = written {
        log::error!("cannot write this run into the history: {error}");
    }
}

/// Tells the log and the webhooks, and of a failure the hooks. Answers whether there was room for telling a failure.
fn tell(run: &Conclusion, report: &Report) -> bool {
    let names: Vec<String> = report.databases.iter().map(|database| database.name.clone()).collect();
    match report.status {
        Outcome::Ok => {
            let size = report.databases.iter().filter_map(|database| database.size).sum();
            let count =
                if names.len() == 1 { "1 database".into() } else { format!("{} databases", names.len()) };
            log::info!("backup succeeded: {count}, {}, {:.1} s", units::bytes(size), report.duration_seconds);
            run.notifier.tell(&Event::Succeeded { databases: &names });
            true
        }
        Outcome::Failed => {
            let error = report.errors();
            log::error!("backup failed: {error}");
            await_room(run.runner);
            let is_told = run.notifier.tell(&Event::Failed { error: &error, databases: &names });
            run.notifier.error_hook(&paths(run, report));
            is_told
        }
    }
}
