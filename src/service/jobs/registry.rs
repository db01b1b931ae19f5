//! Every job that is waiting or running, and the newest of those that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;

use super::ending::{CANCEL_GRACE, STOP_GRACE, kill_after, terminate};
use super::{Job, JobId, State, Task, Totals};
use crate::system::process::{Exit, Signaller, Tail};
use crate::util::clock::now;

/// Jobs that may wait at once.
pub const CAPACITY: usize = 64;
/// Ended jobs that are remembered.
const REMEMBERED: usize = 100;
/// Lines of a job's output that are remembered.
const LOG_TAIL: usize = 50;

/// Why a job was not taken on.
#[derive(Debug)]
pub enum SubmitError {
    /// Too many are waiting.
    Full,
    /// The daemon is stopping.
    Stopping,
    /// There are no random numbers for its name.
    Random(String),
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "{CAPACITY} jobs are already waiting"),
            Self::Stopping => f.write_str("the daemon is stopping"),
            Self::Random(error) => write!(f, "cannot create an id for the job: {error}"),
        }
    }
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
    /// Wakes the worker. A message stands for "there may be a job", so one too few after a cancellation or
    /// a full channel does no harm as long as there is one for each job that waits.
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

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) task: Task,
    running: Option<Signaller>,
    cancelled: bool,
    /// When it ended, by a clock that nobody sets.
    ended: Option<Instant>,
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
        let id = JobId::random().map_err(|error| SubmitError::Random(error.to_string()))?;
        let job = Job {
            id: id.clone(),
            kind: task.kind(),
            state: State::Queued,
            queued_at: now(),
            started_at: None,
            finished_at: None,
            exit_code: None,
            log_tail: Tail::new(LOG_TAIL),
            error: String::new(),
        };
        registry.jobs.push_back(Entry { job, task, running: None, cancelled: false, ended: None });
        // Full: as many wake-ups as the queue has places are on their way already.
        let _ = self.wake.try_send(());
        Ok(id)
    }

    /// Every job, newest first.
    pub fn list(&self) -> Vec<Job> {
        self.lock().jobs.iter().rev().map(|entry| entry.job.clone()).collect()
    }

    /// One job.
    pub fn get(&self, id: &JobId) -> Option<Job> {
        self.lock().find(id).map(|entry| entry.job.clone())
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
        for Entry { job, .. } in &registry.jobs {
            totals.entry(job.kind).or_default().count(job.state);
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
        if entry.job.has_ended() {
            return Err(CancelError::Ended);
        }
        let first = !std::mem::replace(&mut entry.cancelled, true);
        match (&entry.running, entry.job.state) {
            (_, State::Queued) => {
                entry.end(State::Failed, None, "cancelled before it began");
                registry.forget_oldest();
            }
            (Some(signaller), _) if first => terminate(signaller.clone(), CANCEL_GRACE),
            _ => {}
        }
        Ok(())
    }

    /// Takes no more jobs on, fails those that wait, and asks the running one to end.
    pub fn stop(&self) {
        let mut registry = self.lock();
        registry.stopping = true;
        for entry in &mut registry.jobs {
            match (entry.job.state, &entry.running) {
                (State::Queued, _) => {
                    entry.end(State::Failed, None, "cancelled: the daemon is stopping");
                    // Nobody can ask for it any more.
                    log::error!("job {}: {} failed: {}", entry.job.id, entry.job.kind, entry.job.error);
                }
                (State::Running, Some(signaller)) => {
                    entry.cancelled = true;
                    terminate(signaller.clone(), STOP_GRACE);
                }
                _ => {}
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
        let entry = registry.jobs.iter_mut().find(|entry| entry.job.state == State::Queued)?;
        entry.job.state = State::Running;
        entry.job.started_at = Some(now());
        Some((entry.job.id.clone(), entry.task.clone()))
    }

    /// Notes the process that does a job. One that was cancelled meanwhile is ended.
    pub(super) fn attach(&self, id: &JobId, signaller: Signaller) {
        let mut registry = self.lock();
        let stopping = registry.stopping;
        if let Some(entry) = registry.find(id) {
            if entry.cancelled || stopping {
                entry.cancelled = true;
                terminate(signaller.clone(), if stopping { STOP_GRACE } else { CANCEL_GRACE });
            }
            entry.running = Some(signaller);
        }
    }

    /// Notes the process that records how a job ended. What has been cancelled before does not end it at once.
    pub(super) fn attach_recorder(&self, id: &JobId, signaller: Signaller) {
        let mut registry = self.lock();
        if let Some(entry) = registry.find(id) {
            if entry.cancelled {
                kill_after(CANCEL_GRACE, signaller.clone());
            }
            entry.running = Some(signaller);
        }
    }

    /// Whether somebody has asked for a job's end, be it that of the daemon.
    pub(super) fn is_cancelled(&self, id: &JobId) -> bool {
        let mut registry = self.lock();
        registry.stopping || registry.find(id).is_some_and(|entry| entry.cancelled)
    }

    /// The last error that it has printed.
    pub(super) fn last_error(&self, id: &JobId) -> Option<String> {
        self.lock().find(id).and_then(|entry| entry.job.last_error().map(String::from))
    }

    /// Adds a line of a job's output.
    pub(super) fn add_line(&self, id: &JobId, line: &str) {
        if let Some(entry) = self.lock().find(id) {
            entry.job.log_tail.push(line);
        }
    }

    /// Ends a job whose process has ended.
    pub(super) fn end(&self, id: &JobId, exit: Exit) {
        let mut registry = self.lock();
        if let Some(entry) = registry.find(id) {
            let said = entry.job.last_error();
            match (exit.success(), entry.cancelled) {
                (true, _) => entry.end(State::Succeeded, Some(exit.code()), ""),
                (false, true) => entry.end(State::Failed, Some(exit.code()), "cancelled"),
                (false, false) => {
                    let error = said.map_or_else(|| exit.to_string(), String::from);
                    entry.end(State::Failed, Some(exit.code()), &error);
                }
            }
        }
        registry.forget_oldest();
    }

    /// Ends a job that could not be started.
    pub(super) fn fail(&self, id: &JobId, error: &str) {
        let mut registry = self.lock();
        if let Some(entry) = registry.find(id) {
            entry.end(State::Failed, None, error);
        }
        registry.forget_oldest();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn find(&mut self, id: &JobId) -> Option<&mut Entry> {
        self.jobs.iter_mut().find(|entry| entry.job.id == *id)
    }

    fn counts(&self) -> Counts {
        let count = |state| self.jobs.iter().filter(|entry| entry.job.state == state).count();
        Counts { queued: count(State::Queued), running: count(State::Running) }
    }

    fn forget_oldest(&mut self) {
        let ended = self.jobs.iter().filter(|entry| entry.job.has_ended()).count();
        for _ in REMEMBERED..ended {
            let ended = |entry: &&Entry| entry.job.has_ended();
            let oldest = self.jobs.iter().filter(ended).min_by_key(|entry| entry.ended);
            let Some(Entry { job, .. }) = oldest else { return };
            let (id, kind, state) = (job.id.clone(), job.kind, job.state);
            self.forgotten.entry(kind).or_default().count(state);
            self.jobs.retain(|entry| entry.job.id != id);
        }
    }
}

impl Entry {
    fn end(&mut self, state: State, exit_code: Option<i32>, error: &str) {
        self.running = None;
        self.job.state = state;
        self.job.finished_at = Some(now());
        self.ended = Some(Instant::now());
        self.job.exit_code = exit_code;
        self.job.error = error.to_owned();
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
