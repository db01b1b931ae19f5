//! A backup job that has failed, as the daemon knows it: its run may not have been able to record that itself.

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
    /// The report that the run would have recorded itself, after the `last` recorded run.
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
