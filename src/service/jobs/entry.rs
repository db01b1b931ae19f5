//! A job in the registry, and the phase that it is in.

use std::time::Instant;

use super::{Job, JobId, State, Task};
use crate::system::process::{Signaller, Tail};
use crate::util::clock::now;

/// Lines of a job's output that are kept.
const LOG_TAIL: usize = 50;

#[derive(Debug)]
pub(super) struct Entry {
    pub id: JobId,
    pub task: Task,
    pub log_tail: Tail,
    pub phase: Phase,
    /// Unix seconds.
    queued_at: i64,
}

/// How far a job is. Times are Unix seconds.
#[derive(Debug)]
pub(super) enum Phase {
    /// It waits its turn.
    Queued,
    /// The worker is at it.
    Running {
        started_at: i64,
        /// Its process, or the one that records how it ended; none before the first is started.
        process: Option<Signaller>,
        /// Whether its end was asked for.
        is_cancelled: bool,
    },
    /// It has ended, or was cancelled while it waited.
    Ended {
        started_at: Option<i64>,
        finished_at: i64,
        /// When it ended, by a clock that is never set.
        at: Instant,
        exit_code: Option<i32>,
        result: Result<(), String>,
    },
}

impl Entry {
    /// A job that waits from now on.
    pub fn new(id: JobId, task: Task) -> Self {
        Self { id, task, log_tail: Tail::new(LOG_TAIL), phase: Phase::Queued, queued_at: now() }
    }

    /// The job as the API shows it.
    pub fn job(&self) -> Job {
        let (started_at, finished_at, exit_code, error) = match &self.phase {
            Phase::Queued => (None, None, None, ""),
            Phase::Running { started_at, .. } => (Some(*started_at), None, None, ""),
            Phase::Ended { started_at, finished_at, exit_code, result, .. } => {
                let error = result.as_ref().map_or_else(String::as_str, |()| "");
                (*started_at, Some(*finished_at), *exit_code, error)
            }
        };
        Job {
            id: self.id.clone(),
            kind: self.task.kind(),
            state: self.state(),
            queued_at: self.queued_at,
            started_at,
            finished_at,
            exit_code,
            log_tail: self.log_tail.clone(),
            error: error.to_owned(),
        }
    }

    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Queued => State::Queued,
            Phase::Running { .. } => State::Running,
            Phase::Ended { result: Ok(()), .. } => State::Succeeded,
            Phase::Ended { result: Err(_), .. } => State::Failed,
        }
    }

    /// When it ended, by a clock that is never set.
    pub fn ended(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ended { at, .. } => Some(at),
            Phase::Queued | Phase::Running { .. } => None,
        }
    }

    /// The last error that it has printed.
    pub fn last_error(&self) -> Option<&str> {
        self.log_tail.lines().filter_map(|line| line.strip_prefix("error: ")).next_back()
    }

    /// The worker begins it.
    pub fn begin(&mut self) {
        self.phase = Phase::Running { started_at: now(), process: None, is_cancelled: false };
    }

    /// It has ended.
    pub fn end(&mut self, exit_code: Option<i32>, result: Result<(), String>) {
        let started_at = match self.phase {
            Phase::Queued => None,
            Phase::Running { started_at, .. } => Some(started_at),
            Phase::Ended { started_at, .. } => started_at,
        };
        self.phase = Phase::Ended { started_at, finished_at: now(), at: Instant::now(), exit_code, result };
    }
}
