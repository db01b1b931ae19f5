//! The last backup job, if it failed. Most have written that down themselves; this is for those that could not.

use super::registry::Jobs;
use super::{State, Task};
use crate::store::catalog::DatabaseName;
use crate::store::records::{DatabaseReport, Outcome, Report};

/// A backup job that ran and failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedBackup {
    /// When it began, in Unix seconds.
    pub started_at: i64,
    /// When it ended.
    pub finished_at: i64,
    /// The databases that it was limited to; none stands for all.
    pub databases: Vec<DatabaseName>,
    /// Why it failed.
    pub error: String,
}

impl FailedBackup {
    /// How it went, as it would have written it down itself, after the last run that has.
    pub fn report(&self, last: Option<&Report>) -> Report {
        let known = last.map_or(&[][..], |last| &last.databases).iter().map(|report| report.name.as_str());
        let names: Vec<&str> = match self.databases.as_slice() {
            [] => known.collect(),
            some => some.iter().map(DatabaseName::as_str).collect(),
        };
        let mut report = Report {
            status: Outcome::Failed,
            timestamp: self.finished_at,
            duration_seconds: f64::from(
                i32::try_from(self.finished_at - self.started_at).unwrap_or_default(),
            ),
            databases: names.iter().map(|name| DatabaseReport::failed(name, self.error.as_str())).collect(),
            error: self.error.clone(),
            server: last.map(|last| last.server.clone()).unwrap_or_default(),
            delivery: None,
        };
        if let (Some(last), [_, ..]) = (last, self.databases.as_slice()) {
            report.complete_from(last.clone());
        }
        report
    }
}

impl Jobs {
    /// The last backup that ran to its end, if it failed.
    pub fn failed_backup(&self) -> Option<FailedBackup> {
        let registry = self.lock();
        // They run one after the other. One that was cancelled before it began says nothing.
        let (job, databases) = registry.jobs.iter().rev().find_map(|entry| match &entry.task {
            Task::Backup(databases) if entry.job.has_ended() && entry.job.started_at.is_some() => {
                Some((&entry.job, databases))
            }
            _ => None,
        })?;
        let (started_at, finished_at) = (job.started_at?, job.finished_at?);
        let failed = || FailedBackup {
            started_at,
            finished_at,
            databases: databases.clone(),
            error: job.error.clone(),
        };
        (job.state == State::Failed).then(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::process::Exit;

    #[test]
    fn the_last_backup_that_ran_is_told_when_it_failed() {
        let (jobs, _woken) = Jobs::new();
        let backup = || Task::Backup(Vec::new());
        let run = |task: Task, code| {
            let id = jobs.submit(task).unwrap();
            jobs.begin_next().unwrap();
            jobs.end(&id, Exit::Code(code));
        };
        assert_eq!(jobs.failed_backup(), None);
        run(backup(), 1);
        let failed = jobs.failed_backup().unwrap();
        assert!(failed.started_at > 0 && failed.finished_at >= failed.started_at && !failed.error.is_empty());
        run(Task::TestTelegram, 0);
        jobs.cancel(&jobs.submit(backup()).unwrap()).unwrap();
        assert_eq!(jobs.failed_backup(), Some(failed));
        run(backup(), 0);
        assert_eq!(jobs.failed_backup(), None);
    }
}
