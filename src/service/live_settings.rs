//! The settings of a running daemon: the environment that it was started with, and the overrides, which
//! the API may change while it runs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;

use crate::engine::checkup;
use crate::formats::schedule::Schedule;
use crate::service::supervisor::Supervisor;
use crate::settings::overrides::Refusal;
use crate::settings::{self, Access, Environment, Fault, Reader, Redactor, SchedulerSettings, Variable};
use crate::store::catalog::BackupDirectory;
use crate::util::mutex;

/// What to do to overrides: a new value, or `None` to clear it.
pub type Changes = BTreeMap<String, Option<String>>;

/// How long a change waits for another one, which takes up to five seconds where the scheduler does not come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a change was not made. Nothing has changed then.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// The key is not one that the API may change.
    #[error("{0} cannot be changed through the API")]
    Forbidden(String),
    /// There is no override to clear.
    #[error("{0} has no override")]
    NotOverridden(String),
    /// A value is wrong, or the settings would be as a whole.
    #[error("{0}")]
    Bad(String),
    /// The override file could not be written.
    #[error("the override file cannot be written: {0}")]
    Write(#[source] io::Error),
    /// The scheduler did not come up with the new schedule.
    #[error("the scheduler does not start with the new schedule: {0}")]
    Scheduler(String),
    /// Another change takes too long.
    #[error("the settings are being changed by another request: try again")]
    Busy,
}

/// The settings in force, and the one way to change them.
pub struct LiveSettings {
    directory: BackupDirectory,
    current: RwLock<Arc<Environment>>,
    /// Held for a whole change, so that file, schedule and answer agree.
    changing: Mutex<()>,
    supervisor: Arc<Supervisor>,
    redactor: Redactor,
}

impl LiveSettings {
    /// The settings that the daemon starts with.
    pub fn new(
        environment: Environment,
        directory: BackupDirectory,
        supervisor: Arc<Supervisor>,
        redactor: Redactor,
    ) -> Self {
        let current = RwLock::new(Arc::new(environment));
        Self { directory, current, changing: Mutex::default(), supervisor, redactor }
    }

    /// The settings in force.
    pub fn environment(&self) -> Arc<Environment> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes all of the changes or none, and answers the settings that are then in force.
    ///
    /// # Errors
    /// When a key may not be changed, a value is wrong, or the change cannot be carried out.
    pub fn change(&self, changes: &Changes) -> Result<Arc<Environment>, ChangeError> {
        let stranger =
            changes.keys().find(|key| Variable::mutable().all(|variable| variable.name != key.as_str()));
        if let Some(key) = stranger {
            return Err(ChangeError::Forbidden(key.clone()));
        }
        let _changing = self.begin()?;
        let environment = self.environment();
        let mut changes = changes.clone();
        changes.retain(|key, value| !is_as_shown(&environment, key, value.as_deref()));
        if changes.is_empty() { Ok(environment) } else { self.apply(&changes) }
    }

    /// Clears one override.
    ///
    /// # Errors
    /// When the key may not be changed, has no override, or the settings would be wrong without it.
    pub fn clear(&self, key: &str) -> Result<Arc<Environment>, ChangeError> {
        if Variable::mutable().all(|variable| variable.name != key) {
            return Err(ChangeError::Forbidden(key.to_owned()));
        }
        let _changing = self.begin()?;
        if self.environment().overrides().get(key).is_none() {
            return Err(ChangeError::NotOverridden(key.to_owned()));
        }
        self.apply(&Changes::from([(key.to_owned(), None)]))
    }

    fn begin(&self) -> Result<MutexGuard<'_, ()>, ChangeError> {
        mutex::lock_within(&self.changing, PATIENCE).ok_or(ChangeError::Busy)
    }

    fn apply(&self, changes: &Changes) -> Result<Arc<Environment>, ChangeError> {
        let before = self.environment();
        let overrides = before.overrides().changed(changes).map_err(bad)?;
        before.check_overrides(&overrides).map_err(bad)?;
        let after = Arc::new(before.with_overrides(overrides));
        if let Some(fault) = new_fault(&before, &after) {
            return Err(ChangeError::Bad(fault.to_string()));
        }
        after.overrides().save(&self.directory).map_err(ChangeError::Write)?;
        if let Some(schedule) = new_schedule(&before, &after)
            && let Err(problem) = self.supervisor.reschedule(schedule)
        {
            before.overrides().save(&self.directory).map_err(ChangeError::Write)?;
            return Err(ChangeError::Scheduler(problem));
        }
        self.redactor.learn(&settings::secrets(&after));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&after);
        Ok(after)
    }
}

/// Whether a value is the masked form of the one in force, as a client may send back what it was shown.
fn is_as_shown(environment: &Environment, key: &str, value: Option<&str>) -> bool {
    let (Some(variable), Some(value)) = (Variable::named(key), value) else { return false };
    let found = environment.find(variable).ok().flatten();
    let in_force = found.as_ref().map_or(variable.default, |found| &found.text);
    let is_shown = variable.access == Access::Mutable;
    is_shown && value != in_force && value == settings::shown(variable, in_force)
}

fn bad(refusal: Refusal) -> ChangeError {
    ChangeError::Bad(refusal.to_string())
}

/// The first fault that the change would introduce. Existing faults do not count.
fn new_fault(before: &Environment, after: &Environment) -> Option<Fault> {
    let known = checkup::check(before).0;
    checkup::check(after).0.into_iter().find(|fault| !known.contains(fault))
}

/// The new schedule, if a change brings one.
fn new_schedule(before: &Environment, after: &Environment) -> Option<Schedule> {
    let schedule = |environment| {
        Reader::resolve(environment, SchedulerSettings::read).ok().map(|settings| settings.schedule)
    };
    let new = schedule(after)?;
    (schedule(before).is_none_or(|old| old.text() != new.text())).then_some(new)
}
