//! The end of a run: its result is recorded in status and history, and hooks, webhooks and Telegram are notified.

use std::path::PathBuf;

use super::room::await_room;
use crate::delivery::notify::{Event, Notifier};
use crate::delivery::telegram::{self, TelegramSettings, Uploader};
use crate::settings::Redactor;
use crate::store::catalog::BackupDirectory;
use crate::store::records::history::{self, Run, Trigger};
use crate::store::records::status;
use crate::store::records::{DeliveryReport, Outcome, Report};
use crate::system::process::Runner;
use crate::system::run_note::OwnNote;
use crate::util::units;

/// What is known of a run besides its report.
#[derive(Clone, Copy)]
pub struct Conclusion<'a> {
    /// Where to keep the result; none when the settings do not say.
    pub directory: Option<&'a BackupDirectory>,
    /// Sends webhooks and runs hooks.
    pub notifier: &'a Notifier,
    /// Who asked for the run.
    pub trigger: Trigger,
    /// When it began, in Unix seconds.
    pub start: i64,
    /// Whether it was to back up some databases only.
    pub limited: bool,
    /// Where copies of the backups and the summary of the run are sent.
    pub telegram: Option<&'a TelegramSettings>,
    /// Starts the programs.
    pub runner: &'a Runner,
    /// The run's note, which is removed when all this is done.
    pub note: &'a OwnNote,
    /// Whether the run has died, and another process records it.
    pub died: bool,
}

/// Records the result of a run, without secrets, notifies, and answers the result. Errors here do not change it, except
/// that a run whose time runs out has failed; it then gets some more time to say so. If no webhook could be told of a
/// failure because curl could not be started, the note stays, so that the starter of the run tries again.
pub fn record_and_notify(run: &Conclusion, mut report: Report) -> Report {
    if notify_in_time(run, &mut report) {
        run.note.remove();
    }
    report
}

/// The same within the time that the run has. Answers whether a failure could be notified.
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

/// How far the notifications came.
struct Told {
    /// Whether webhooks could be sent; true for a success, of which nobody needs to be told.
    is_told: bool,
    /// Whether the upload of copies was reached.
    has_copies: bool,
}

/// Records and notifies once. The report then has the result of the uploads, and a failure if a hook has failed the
/// run.
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
    let report = &full.clone().cleaned(|error| Redactor::of_process().clean(error));
    let is_told = tell(run, report);
    if run.died && is_told {
        // If this process dies after this point, the starter must not notify a second time.
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

/// Records the result of a run, without secrets.
fn keep(run: &Conclusion, report: &Report) {
    let redactor = Redactor::of_process();
    let mut report = report.clone().cleaned(|error| redactor.clean(error));
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

/// Writes the result of a run into status and history, in place of what it has recorded of itself before.
pub fn record(directory: &BackupDirectory, report: &Report, run: &Run, limited: bool) {
    let kept = status::write(directory, report, &run.id, limited);
    let written = history::put(directory, run);
    // A directory that is not writable has been reported already.
    if (kept.is_ok() && written.is_ok()) || !directory.is_writable() {
        return;
    }
    if let Err(error) = kept {
        log::error!("cannot record the result of this run: {error}");
    }
    if let Err(error) = written {
        log::error!("cannot write this run into the history: {error}");
    }
}

/// Logs the result and sends the webhooks; after a failure also runs the error hooks. Answers whether a failure could
/// be notified.
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
