//! The report of a run that died or could not start, which its starter records.

use std::time::Instant;

use jiff::Timestamp;

use crate::store::records::history::Run;
use crate::store::records::{Outcome, Report};
use crate::system::run_note::OwnNote;

/// The end of a run that has not recorded its result.
#[derive(Debug, Clone)]
pub struct Death {
    /// The note that the run has left.
    pub note: OwnNote,
    /// When it was started, in Unix seconds.
    pub start: i64,
    /// How it ended, as its error.
    pub error: String,
}

impl Death {
    /// The report of the run, which was to back up the databases `names`, as far as they are known. A run that died
    /// while it notified may be `recorded` already; it has failed all the same.
    pub fn report(&self, names: &[String], recorded: Option<&Run>) -> Report {
        let databases = recorded.map_or_else(|| self.note.read(), |run| run.databases.clone());
        let said = recorded.map(|run| &run.error).filter(|error| !error.is_empty());
        let names = if recorded.is_some() { &[] } else { names };
        let error = said.unwrap_or(&self.error).clone();
        let seconds = Timestamp::now().as_second().saturating_sub(self.start).max(0);
        Report {
            // A run is short enough for an exact f64.
            duration_seconds: seconds as f64,
            delivery: recorded.and_then(|run| run.delivery.clone()),
            status: Outcome::Failed,
            ..Report::of_run(Instant::now(), databases, names, Some(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::records::DatabaseReport;
    use crate::store::records::history::Trigger;

    fn death() -> Death {
        let start = Timestamp::now().as_second() - 60;
        Death { note: OwnNote::default(), start, error: "the run died: killed by SIGKILL".into() }
    }

    #[test]
    fn databases_that_a_dead_run_did_not_come_to_have_failed_with_it() {
        let report = death().report(&["a".into(), "b".into()], None);
        assert_eq!((report.status, report.errors().as_str()), (Outcome::Failed, death().error.as_str()));
        assert!((60.0..70.0).contains(&report.duration_seconds), "{report:?}");
        assert!(report.databases.iter().all(|database| database.state == Outcome::Failed));
        assert_eq!(report.databases.len(), 2);
    }

    #[test]
    fn what_a_dead_run_has_recorded_stays_but_for_its_success() {
        let of = |databases, error: Option<&str>| {
            let report = Report::of_run(Instant::now(), databases, &[], error.map(String::from));
            Run::of_report(1, Trigger::Api, &report)
        };
        let published = of(vec![DatabaseReport::published("a", "last/a".into(), 1)], None);
        let report = death().report(&["a".into(), "b".into()], Some(&published));
        assert_eq!((report.status, &report.error), (Outcome::Failed, &death().error));
        assert_eq!(report.databases, published.databases);
        let failed = of(Vec::new(), Some("no server"));
        assert_eq!(death().report(&["a".into()], Some(&failed)).errors(), "no server");
    }
}
