//! Notifications of a run by webhooks and hooks. A failed webhook, or a failed hook after a failure, is a warning; a
//! hook before or after a backup can fail the run.

mod event;
mod hooks;
mod message;
mod webhook;

use std::path::PathBuf;

use crate::settings::{Environment, Notices};
use crate::system::process::Runner;
use hooks::Call;

pub use event::Event;

/// Tells webhooks and runs hooks.
pub struct Notifier {
    notices: Notices,
    /// The effective settings, for hooks.
    environment: Environment,
    runner: Runner,
}

impl Notifier {
    /// A notifier for these settings.
    pub fn new(notices: Notices, environment: Environment, runner: Runner) -> Self {
        Self { notices, environment, runner }
    }

    /// Sends the webhooks of an event. Answers whether curl could be started, as it cannot without memory.
    pub fn tell(&self, event: &Event) -> bool {
        webhook::tell(&self.notices, event, &self.runner)
    }

    /// Runs the hooks before a backup.
    ///
    /// # Errors
    /// When one of them fails: the backup must not begin then.
    pub fn pre_backup_hook(&self) -> Result<(), String> {
        self.run_hooks("pre-backup", &[])
    }

    /// Runs the hooks after a backup, in reverse order, with the paths of the new backups.
    ///
    /// # Errors
    /// When one of them fails: the run has then failed, as its copies may be missing.
    pub fn post_backup_hook(&self, files: &[PathBuf]) -> Result<(), String> {
        self.run_hooks("post-backup", files)
    }

    /// Runs the hooks of a failed run, with the paths of the backups that did not fail.
    pub fn error_hook(&self, files: &[PathBuf]) {
        self.run_hooks("error", files).unwrap_or_else(|error| log::warn!("{error}"));
    }

    fn run_hooks(&self, event: &str, files: &[PathBuf]) -> Result<(), String> {
        let call = Call { event, files, environment: &self.environment, limit: self.notices.hook_limit };
        hooks::run(&self.notices.hooks, &call, &self.runner)
    }
}
