//! What the settings say of scheduled runs, resolved once for each state of the settings.

use std::sync::{Arc, Mutex};

use crate::formats::schedule::Schedule;
use crate::settings::{Environment, Faults, Reader, SchedulerSettings};
use crate::util::mutex::lock;

/// The plan of the settings that were asked for last. To resolve it takes longer than all the rest of /status.
#[derive(Default)]
pub struct Planned(Mutex<Option<Arc<Plan>>>);

/// What is planned.
pub struct Plan {
    environment: Arc<Environment>,
    /// When backups run.
    pub schedule: Schedule,
    /// Whether they are of the whole server.
    pub cluster: bool,
}

impl Planned {
    /// The plan of these settings.
    ///
    /// # Errors
    /// When the schedule is wrong.
    pub fn by(&self, environment: Arc<Environment>) -> Result<Arc<Plan>, Faults> {
        let mut kept = lock(&self.0);
        if let Some(plan) = kept.as_ref().filter(|plan| Arc::ptr_eq(&plan.environment, &environment)) {
            return Ok(Arc::clone(plan));
        }
        let schedule = Reader::resolve(&environment, SchedulerSettings::read)?.schedule;
        let cluster =
            Reader::resolve(&environment, |reader| reader.flag("POSTGRES_CLUSTER")).unwrap_or_default();
        Ok(Arc::clone(kept.insert(Arc::new(Plan { environment, schedule, cluster }))))
    }
}
