//! The last backup job, if it failed. Most have written that down themselves; this is for those that could not.

use super::registry::Jobs;
use super::{State, Task};
use crate::engine::problems::FailedBackup;

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
