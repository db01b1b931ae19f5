//! One module for each kind of thing that the API shows or changes.

pub mod backups;
pub mod config;
pub mod history;
pub mod jobs;
pub mod status;

use std::sync::Arc;

use crate::catalog::BackupDirectory;
use crate::http::Throttle;
use crate::jobs::Jobs;
use crate::live_settings::LiveSettings;
use crate::supervisor::Supervisor;

/// What handlers work on.
pub struct App {
    /// The settings in force.
    pub settings: LiveSettings,
    /// The backups.
    pub directory: BackupDirectory,
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// Who has guessed at the token.
    pub throttle: Arc<Throttle>,
    /// The scheduler.
    pub supervisor: Arc<Supervisor>,
}
