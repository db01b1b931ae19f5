//! What handlers work on.

use std::sync::Arc;

use super::auth::limiter::AuthLimiter;
use super::backend::semaphore::Semaphore;
use super::plan::Planned;
use super::traffic::Traffic;
use super::volume::VolumeReader;
use crate::engine::problems::Watch;
use crate::service::jobs::Jobs;
use crate::service::live_settings::LiveSettings;
use crate::service::supervisor::Supervisor;
use crate::settings::Redactor;
use crate::store::catalog::BackupDirectory;
use crate::store::records::DatabaseReport;

/// The parts of the daemon that handlers read and change.
pub struct App {
    /// The settings in force.
    pub settings: LiveSettings,
    /// The backup directory.
    pub directory: BackupDirectory,
    /// What is wrong with the backups.
    pub watch: Watch,
    /// Removes secrets and paths from what is shown.
    pub redactor: Redactor,
    /// The job queue.
    pub jobs: Arc<Jobs>,
    /// Counts failed authentications.
    pub auth_limiter: Arc<AuthLimiter>,
    /// Counts responses and refused connections.
    pub traffic: Arc<Traffic>,
    /// Keeps go-cron running.
    pub supervisor: Arc<Supervisor>,
    /// What the settings say of scheduled runs.
    pub planned: Planned,
    /// Reads that may take long.
    pub volume: VolumeReader,
    /// Permits for requests that may wait long for a lock.
    pub lock_waiters: Semaphore,
}

impl App {
    /// Removes secrets and paths of the container from the errors of a run.
    pub(super) fn clean(&self, error: &mut String, databases: &mut [DatabaseReport]) {
        let clean = |text: &mut String| *text = self.redactor.clean_for_api(text, self.directory.root());
        clean(error);
        databases.iter_mut().for_each(|database| clean(&mut database.error));
    }
}
