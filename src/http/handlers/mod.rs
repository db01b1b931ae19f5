//! One module for each kind of thing that the API shows or changes.

pub mod backups;
pub mod config;
pub mod jobs;
pub mod status;

use std::sync::Arc;

use crate::catalog::BackupDirectory;
use crate::jobs::Jobs;
use crate::settings::Environment;
use crate::supervisor::Supervisor;

/// What handlers work on.
pub struct App {
    /// The raw settings, overrides included.
    pub environment: Environment,
    /// The backups.
    pub directory: BackupDirectory,
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// The scheduler.
    pub supervisor: Arc<Supervisor>,
}
