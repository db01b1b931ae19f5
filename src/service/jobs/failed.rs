//! The last backup job, if it failed, for problems: its run may not have been able to record that.

use super::Task;
use super::entry::Phase;
use super::registry::Jobs;
use crate::engine::problems::FailedBackup;

impl Jobs {
    /// The last backup that ran to its end, if it failed.
    pub fn failed_backup(&self) -> Option<FailedBackup> {
        let registry = self.lock();
        // Jobs run one after the other. One that was cancelled before it began does not count.
        registry.jobs.iter().rev().find_map(|entry| match (&entry.task, &entry.phase) {
            (
                Task::Backup(databases),
                Phase::Ended { started_at: Some(started_at), finished_at, result, .. },
            ) => Some(result.as_ref().err().map(|error| FailedBackup {
                started_at: *started_at,
                finished_at: *finished_at,
                databases: databases.clone(),
                error: error.clone(),
            })),
            _ => None,
        })?
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
