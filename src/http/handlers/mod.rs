//! One module for each kind of thing that the API shows or changes.

pub mod backups;
pub mod config;
pub mod history;
pub mod jobs;
pub mod metrics;
pub mod openapi;
pub mod status;

pub use status::Planned;

use std::sync::Arc;

use crate::engine::problems::Watch;
use crate::http::crew::POOL;
use crate::http::permits::Permits;
use crate::http::{Lister, Throttle, Traffic};
use crate::service::jobs::Jobs;
use crate::service::live_settings::LiveSettings;
use crate::service::supervisor::Supervisor;
use crate::settings::Redactor;
use crate::store::catalog::BackupDirectory;
use crate::store::records::DatabaseReport;

/// Requests that may wait long for a lock at one time: half of the pool is there for others.
pub const WAITERS: usize = POOL / 2;

impl App {
    /// Takes secrets and paths of the container out of the errors of a run.
    fn clean(&self, error: &mut String, databases: &mut [DatabaseReport]) {
        let clean = |text: &mut String| *text = self.redactor.clean_for_api(text, self.directory.root());
        clean(error);
        databases.iter_mut().for_each(|database| clean(&mut database.error));
    }
}

/// What handlers work on.
pub struct App {
    /// The settings in force.
    pub settings: LiveSettings,
    /// The backups.
    pub directory: BackupDirectory,
    /// What is wrong.
    pub watch: Watch,
    /// What answers must not show.
    pub redactor: Redactor,
    /// The jobs.
    pub jobs: Arc<Jobs>,
    /// Who has guessed at the token.
    pub throttle: Arc<Throttle>,
    /// What has come, and how it was answered.
    pub traffic: Arc<Traffic>,
    /// The scheduler.
    pub supervisor: Arc<Supervisor>,
    /// What the settings say of scheduled runs.
    pub planned: Planned,
    /// Who makes lists of backups.
    pub lister: Lister,
    /// For requests that may wait long for a lock.
    pub waiters: Permits,
}
