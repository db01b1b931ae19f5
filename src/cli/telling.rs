//! The notifications of a run. Settings that are wrong must not keep its failure from being told, so whatever can be
//! read of them is used.

use super::context::Failure;
use crate::delivery::notify::Notifier;
use crate::delivery::telegram::TelegramSettings;
use crate::engine::backup::{self, Conclusion};
use crate::postgres::Server;
use crate::settings::{self, Environment, Notices, Reader, Storage};
use crate::store::catalog::BackupDirectory;
use crate::store::records::Report;
use crate::store::records::history::Trigger;
use crate::system::process::Runner;
use crate::system::run_note::OwnNote;

/// The settings of a run, and its notifier.
pub(super) struct Telling {
    /// The settings, without overrides that cannot be read.
    pub environment: Environment,
    /// Tells webhooks and hooks, or hooks alone.
    pub notifier: Notifier,
    /// The run's own note.
    pub note: OwnNote,
    /// Who asked for the run.
    pub trigger: Trigger,
    runner: Runner,
}

impl Telling {
    /// Reads the settings. The second value is what is wrong with them.
    pub fn new(runner: &Runner) -> (Self, Result<(), Failure>) {
        let (environment, overrides) = match settings::effective_environment() {
            Ok(environment) => (environment, Ok(())),
            Err(error) => (Environment::of_process(), Err(Failure::new(error))),
        };
        let (notices, heard) = match Reader::resolve(&environment, Notices::read) {
            Ok(notices) => (notices, Ok(())),
            Err(faults) => (Notices::hooks_only(&environment), Err(Failure::from(faults))),
        };
        let notifier = Notifier::new(notices, environment.clone(), runner.clone());
        let note = OwnNote::of(&environment);
        let trigger = Trigger::of_word(environment.plain(Trigger::VARIABLE).ok().flatten());
        (Self { environment, notifier, note, trigger, runner: runner.clone() }, overrides.and(heard))
    }

    /// The backup directory, if the settings name a valid one.
    pub fn directory(&self) -> Option<BackupDirectory> {
        let storage = Reader::resolve(&self.environment, Storage::read);
        storage.ok().map(|storage| BackupDirectory::new(storage.directory))
    }

    /// Records the result of a run and notifies. `start` is in Unix seconds; `limited` says that the run was for some
    /// databases only, `died` that another process records it. Answers the report as it was recorded.
    pub fn record_and_notify(&self, report: Report, start: i64, limited: bool, died: bool) -> Report {
        let directory = self.directory();
        let directory = directory.as_ref();
        let report = Report { server: Server::address_in(&self.environment).unwrap_or_default(), ..report };
        // Wrong settings for Telegram do not fail a backup.
        let telegram = Reader::resolve(&self.environment, TelegramSettings::read).unwrap_or_else(|faults| {
            log::warn!("nothing is sent to Telegram: {}", faults.to_string().replace('\n', "; "));
            None
        });
        let Self { notifier, note, trigger, runner, .. } = self;
        let (trigger, telegram) = (*trigger, telegram.as_ref());
        let conclusion =
            Conclusion { directory, notifier, trigger, start, limited, telegram, runner, note, died };
        backup::record_and_notify(&conclusion, report)
    }
}
