//! Failed runs, by `.status.json`, the history and the daemon's jobs. The worst of them counts.

use super::failed_job::FailedBackup;
use super::look::Look;
use crate::store::records::history::Run;
use crate::store::records::{Outcome, Report};
use crate::util::clock;

/// The last run of this server, by `.status.json` and by the history. It may have been able to write only one of them.
pub(super) fn worse(last: Option<Report>, newest: Option<Run>) -> Option<Report> {
    let failed = newest.filter(|run| run.result == Outcome::Failed);
    // Runs that end within one second may be recorded in either order.
    let is_news = |run: &Run| match &last {
        Some(last) if last.status == Outcome::Ok => run.end >= last.timestamp,
        Some(last) => run.end > last.timestamp,
        None => true,
    };
    failed.filter(is_news).map(Report::from).or(last)
}

/// A problem if the last run has failed.
pub(super) fn check(last: Option<&Report>) -> Option<String> {
    let error = last.filter(|report| report.status == Outcome::Failed)?.errors();
    Some(format!(
        "the last backup failed: {}",
        if error.is_empty() { "no cause was recorded" } else { &error }
    ))
}

/// Adds to a look a failed backup job of the daemon whose run could not record its result: there is no later record of
/// this server.
pub fn with_job(mut look: Look, job: Option<FailedBackup>) -> Look {
    let is_later = |last: &Report, time: i64| last.timestamp > time && last.age(clock::now()).is_some();
    let is_recorded = |job: &FailedBackup| {
        look.last
            .as_ref()
            .is_some_and(|last| last.status == Outcome::Failed || is_later(last, job.finished_at))
    };
    let Some(job) = job.filter(|job| !is_recorded(job)) else { return look };
    look.problems.push(format!("the last backup job failed: {}", job.error));
    look.last = Some(job.report(look.last.as_ref()));
    look
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::store::records::DatabaseReport;
    use crate::store::records::history::Trigger;

    fn report(timestamp: i64, error: Option<&str>) -> Report {
        Report { timestamp, ..Report::of_run(Instant::now(), Vec::new(), &[], error.map(String::from)) }
    }

    fn run(end: i64, error: Option<&str>) -> Run {
        Run::of_report(end, Trigger::Cli, &report(end, error))
    }

    #[test]
    fn the_worse_of_two_records_counts_unless_the_other_is_newer() {
        let said = |last: Option<Report>, newest: Option<Run>| check(worse(last, newest).as_ref());
        assert_eq!(said(None, None), None);
        assert_eq!(said(Some(report(5, None)), Some(run(5, None))), None);
        let both = said(Some(report(5, Some("a"))), Some(run(5, Some("a"))));
        assert_eq!(both.unwrap(), "the last backup failed: a");
        // One of the two could not be written.
        assert!(said(Some(report(5, None)), Some(run(6, Some("b")))).unwrap().ends_with(": b"));
        assert!(said(Some(report(6, Some("c"))), Some(run(5, None))).unwrap().ends_with(": c"));
        assert!(said(Some(report(6, Some("c"))), Some(run(7, Some("e")))).unwrap().ends_with(": e"));
        assert!(said(None, Some(run(5, Some("d")))).unwrap().ends_with(": d"));
        assert!(said(Some(report(5, None)), Some(run(5, Some("d")))).unwrap().ends_with(": d"));
        assert_eq!(said(Some(report(6, None)), Some(run(5, Some("b")))), None);
        // What a run that went well says comes from where it always came.
        assert_eq!(worse(None, Some(run(5, None))), None);
    }

    #[test]
    fn a_failed_job_counts_only_when_no_record_is_younger() {
        let with = |last: Option<Report>| {
            let job =
                FailedBackup { started_at: 10, finished_at: 12, databases: Vec::new(), error: "x".into() };
            with_job(Look { last, ..Look::default() }, Some(job))
        };
        let look = with(None);
        assert_eq!(look.problems, ["the last backup job failed: x"]);
        let last = look.last.unwrap();
        assert_eq!((last.status, last.timestamp, last.error.as_str()), (Outcome::Failed, 12, "x"));
        let databases = vec![DatabaseReport::published("a", "last/a".into(), 1)];
        // It may have waited for a run that went well.
        let look = with(Some(Report { databases, ..report(11, None) }));
        assert_eq!(look.problems.len(), 1);
        assert_eq!(look.last.unwrap().databases, [DatabaseReport::failed("a", "x")]);
        for last in [report(13, None), report(9, Some("already"))] {
            let look = with(Some(last.clone()));
            assert_eq!((look.problems.len(), look.last), (0, Some(last)));
        }
    }
}
