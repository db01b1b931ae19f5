//! Who is told about a run, and how. What goes wrong with webhooks, or after a failure, is a warning; a hook before or after
//! a backup can fail the run.

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
    /// A notifier of those whom the settings name.
    pub fn new(notices: Notices, environment: Environment, runner: Runner) -> Self {
        Self { notices, environment, runner }
    }

    /// Tells the webhooks of an event. Answers whether curl could run, as it cannot without memory for it.
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

    /// Runs the hooks after a backup, in reverse order, told where the new backups lie.
    ///
    /// # Errors
    /// When one of them fails: the run has failed then, as its copies may not be where they should.
    pub fn post_backup_hook(&self, files: &[PathBuf]) -> Result<(), String> {
        self.run_hooks("post-backup", files)
    }

    /// Runs the hooks of a failed backup, told where those lie that did not fail.
    pub fn error_hook(&self, files: &[PathBuf]) {
        self.run_hooks("error", files).unwrap_or_else(|error| log::warn!("{error}"));
    }

    fn run_hooks(&self, event: &str, files: &[PathBuf]) -> Result<(), String> {
        let call = Call { event, files, environment: &self.environment, limit: self.notices.hook_limit };
        hooks::run(&self.notices.hooks, &call, &self.runner)
    }
}
