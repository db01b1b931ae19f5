//! Every job that is waiting or running, and the newest of those that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;
use thiserror::Error;

use super::ending::{CANCEL_GRACE, STOP_GRACE, kill_after, terminate};
use super::entry::{Entry, Phase};
use super::{Job, JobId, State, Task, Totals};
use crate::system::process::{Exit, Signaller};
use crate::util::mutex;

/// Jobs that may wait at once.
pub const CAPACITY: usize = 64;
/// Ended jobs that are remembered.
const REMEMBERED: usize = 100;

/// Why a job was not taken on.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// Too many are waiting.
    #[error("{CAPACITY} jobs are already waiting")]
    Full,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// There are no random numbers for its name.
    #[error("cannot create an id for the job: {0}")]
    Random(#[source] getrandom::Error),
}

/// Why a job was not cancelled.
#[derive(Debug, PartialEq, Eq)]
pub enum CancelError {
    /// There is no such job.
    NotFound,
    /// It has ended.
    Ended,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Waiting.
    pub queued: usize,
    /// Running.
    pub running: usize,
}

/// The jobs and their queue.
#[derive(Debug)]
pub struct Jobs {
    state: Mutex<Registry>,
    /// Wakes the worker. A message means "there may be a job"; there is at least one for each job that waits.
    wake: Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Oldest first.
    pub(super) jobs: VecDeque<Entry>,
    /// Those that have ended and are no longer among them.
    forgotten: BTreeMap<&'static str, Totals>,
    stopping: bool,
}

impl Jobs {
    /// No jobs, and the channel by which the worker hears of new ones.
    pub fn new() -> (Self, Receiver<()>) {
        let (wake, woken) = bounded(CAPACITY);
        (Self { state: Mutex::default(), wake }, woken)
    }

    /// Takes a job on. Never waits.
    ///
    /// # Errors
    /// When the queue is full or the daemon is stopping.
    pub fn submit(&self, task: Task) -> Result<JobId, SubmitError> {
        let mut registry = self.lock();
        if registry.stopping {
            return Err(SubmitError::Stopping);
        }
        if registry.counts().queued >= CAPACITY {
            return Err(SubmitError::Full);
        }
        let id = JobId::random().map_err(SubmitError::Random)?;
        registry.jobs.push_back(Entry::new(id.clone(), task));
        // If the channel is full, there are as many wake-ups as places in the queue.
        let _ = self.wake.try_send(());
        Ok(id)
    }

    /// Every job, newest first.
    pub fn list(&self) -> Vec<Job> {
        self.lock().jobs.iter().rev().map(|entry| entry.job()).collect()
    }

    /// One job.
    pub fn get(&self, id: &JobId) -> Option<Job> {
        self.lock().find(id).map(|entry| entry.job())
    }

    /// How many are waiting and running.
    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// How many of each type have ended since the start, forgotten ones too.
    pub fn totals(&self) -> BTreeMap<&'static str, Totals> {
        let registry = self.lock();
        let mut totals = registry.forgotten.clone();
        for kind in Task::KINDS {
            totals.entry(kind).or_default();
        }
        for entry in &registry.jobs {
            totals.entry(entry.task.kind()).or_default().count(entry.state());
        }
        totals
    }

    /// Ends a job: one that waits fails at once, one that runs gets TERM, and KILL ten seconds later.
    ///
    /// # Errors
    /// When there is no such job or it has ended.
    pub fn cancel(&self, id: &JobId) -> Result<(), CancelError> {
        let mut registry = self.lock();
        let entry = registry.find(id).ok_or(CancelError::NotFound)?;
        match &mut entry.phase {
            Phase::Ended { .. } => return Err(CancelError::Ended),
            Phase::Queued => {
                entry.end(None, Err("cancelled before it began".into()));
                registry.forget_oldest();
            }
            Phase::Running { process, is_cancelled, .. } => {
                let is_first = !std::mem::replace(is_cancelled, true);
                // If the process is not started yet, `attach` ends it.
                if let Some(process) = process.as_ref().filter(|_| is_first) {
                    terminate(process.clone(), CANCEL_GRACE);
                }
            }
        }
        Ok(())
    }

    /// Takes no more jobs on, fails those that wait, and asks the running one to end.
    pub fn stop(&self) {
        let mut registry = self.lock();
        registry.stopping = true;
        for entry in &mut registry.jobs {
            match &mut entry.phase {
                Phase::Queued => {
                    let error = "cancelled: the daemon is stopping";
                    entry.end(None, Err(error.into()));
                    // Logged, as the API no longer answers.
                    log::error!("job {}: {} failed: {error}", entry.id, entry.task.kind());
                }
                Phase::Running { process: Some(process), is_cancelled, .. } => {
                    *is_cancelled = true;
                    terminate(process.clone(), STOP_GRACE);
                }
                Phase::Running { process: None, .. } | Phase::Ended { .. } => {}
            }
        }
        let _ = self.wake.try_send(());
    }

    /// Whether the daemon is stopping.
    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Begins the oldest job that waits.
    pub(super) fn begin_next(&self) -> Option<(JobId, Task)> {
        let mut registry = self.lock();
        let entry = registry.jobs.iter_mut().find(|entry| matches!(entry.phase, Phase::Queued))?;
        entry.begin();
        Some((entry.id.clone(), entry.task.clone()))
    }

    /// Keeps the process that does a job. If the job was cancelled meanwhile, the process is ended.
    pub(super) fn attach(&self, id: &JobId, signaller: Signaller) {
        let mut registry = self.lock();
        let stopping = registry.stopping;
        if let Some(Phase::Running { process, is_cancelled, .. }) = registry.phase(id) {
            *is_cancelled |= stopping;
            if *is_cancelled {
                terminate(signaller.clone(), if stopping { STOP_GRACE } else { CANCEL_GRACE });
            }
            *process = Some(signaller);
        }
    }

    /// Keeps the process that records how a job ended. If the job was cancelled, it still has some time to do so.
    pub(super) fn attach_recorder(&self, id: &JobId, signaller: Signaller) {
        let mut registry = self.lock();
        if let Some(Phase::Running { process, is_cancelled, .. }) = registry.phase(id) {
            if *is_cancelled {
                kill_after(CANCEL_GRACE, signaller.clone());
            }
            *process = Some(signaller);
        }
    }

    /// Whether a running job is cancelled, or the daemon is stopping.
    pub(super) fn is_cancelled(&self, id: &JobId) -> bool {
        let mut registry = self.lock();
        registry.stopping || matches!(registry.phase(id), Some(Phase::Running { is_cancelled: true, .. }))
    }

    /// The last error that it has printed.
    pub(super) fn last_error(&self, id: &JobId) -> Option<String> {
        self.lock().find(id).and_then(|entry| entry.last_error().map(String::from))
    }

    /// Adds a line of a job's output.
    pub(super) fn add_line(&self, id: &JobId, line: &str) {
        if let Some(entry) = self.lock().find(id) {
            entry.log_tail.push(line);
        }
    }

    /// Ends a job whose process has ended.
    pub(super) fn end(&self, id: &JobId, exit: Exit) {
        let mut registry = self.lock();
        if let Some(entry) = registry.find(id) {
            let is_cancelled = matches!(entry.phase, Phase::Running { is_cancelled: true, .. });
            let error = || match entry.last_error() {
                _ if is_cancelled => "cancelled".to_owned(),
                Some(printed) => printed.to_owned(),
                None => exit.to_string(),
            };
            let result = if exit.success() { Ok(()) } else { Err(error()) };
            entry.end(Some(exit.code()), result);
        }
        registry.forget_oldest();
    }

    /// Ends a job that could not be started.
    pub(super) fn fail(&self, id: &JobId, error: &str) {
        let mut registry = self.lock();
        if let Some(entry) = registry.find(id) {
            entry.end(None, Err(error.to_owned()));
        }
        registry.forget_oldest();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        mutex::lock(&self.state)
    }
}

impl Registry {
    fn find(&mut self, id: &JobId) -> Option<&mut Entry> {
        self.jobs.iter_mut().find(|entry| entry.id == *id)
    }

    fn phase(&mut self, id: &JobId) -> Option<&mut Phase> {
        self.find(id).map(|entry| &mut entry.phase)
    }

    fn counts(&self) -> Counts {
        let count = |state| self.jobs.iter().filter(|entry| entry.state() == state).count();
        Counts { queued: count(State::Queued), running: count(State::Running) }
    }

    /// Forgets the jobs that ended first, but for [`REMEMBERED`] of them.
    fn forget_oldest(&mut self) {
        let ended = self.jobs.iter().filter(|entry| entry.ended().is_some()).count();
        for _ in REMEMBERED..ended {
            let times = self.jobs.iter().enumerate().filter_map(|(at, entry)| Some((entry.ended()?, at)));
            let Some(entry) = times.min().and_then(|(_, at)| self.jobs.remove(at)) else { return };
            self.forgotten.entry(entry.task.kind()).or_default().count(entry.state());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Task {
        Task::Backup(Vec::new())
    }

    #[test]
    fn a_full_queue_refuses_and_a_cancelled_job_makes_room() {
        let (jobs, _woken) = Jobs::new();
        let first = jobs.submit(backup()).unwrap();
        for _ in 1..CAPACITY {
            jobs.submit(backup()).unwrap();
        }
        assert!(matches!(jobs.submit(backup()), Err(SubmitError::Full)));
        jobs.cancel(&first).unwrap();
        assert_eq!(jobs.get(&first).unwrap().state, State::Failed);
        jobs.submit(backup()).unwrap();
        assert_eq!(jobs.cancel(&first), Err(CancelError::Ended));
        let totals = jobs.totals();
        assert_eq!(totals["backup"], Totals { succeeded: 0, failed: 1 });
        assert!(Task::KINDS.iter().all(|kind| totals.contains_key(kind)));
    }

    #[test]
    fn the_running_job_is_remembered_however_many_end_after_it_began() {
        let (jobs, _woken) = Jobs::new();
        let running = jobs.submit(backup()).unwrap();
        assert_eq!(jobs.begin_next().unwrap().0, running);
        let ended: Vec<JobId> = (0..REMEMBERED + 5)
            .map(|_| {
                let id = jobs.submit(backup()).unwrap();
                jobs.begin_next().unwrap();
                jobs.end(&id, Exit::Code(0));
                id
            })
            .collect();
        assert_eq!(jobs.get(&running).unwrap().state, State::Running);
        assert_eq!(jobs.list().len(), REMEMBERED + 1);
        assert!(jobs.get(&ended[4]).is_none());
        assert!(jobs.get(&ended[5]).is_some());
        let count = REMEMBERED as u64 + 5;
        assert_eq!(jobs.totals()["backup"], Totals { succeeded: count, failed: 0 });
    }

    #[test]
    fn the_error_of_a_failed_job_is_the_last_one_that_it_printed() {
        let (jobs, _woken) = Jobs::new();
        let id = jobs.submit(backup()).unwrap();
        jobs.begin_next().unwrap();
        for line in ["error: first", "error: second", "more"] {
            jobs.add_line(&id, line);
        }
        jobs.end(&id, Exit::Code(1));
        let job = jobs.get(&id).unwrap();
        assert_eq!((job.error.as_str(), job.exit_code), ("second", Some(1)));
    }

    #[test]
    fn stopping_fails_what_waits_and_takes_nothing_on() {
        let (jobs, _woken) = Jobs::new();
        let id = jobs.submit(backup()).unwrap();
        jobs.stop();
        assert_eq!(jobs.get(&id).unwrap().state, State::Failed);
        assert!(matches!(jobs.submit(backup()), Err(SubmitError::Stopping)));
        assert!(jobs.begin_next().is_none());
    }
}
