//! A run as recorded in the history.

use serde::{Deserialize, Serialize};

use crate::store::records;
use crate::store::records::{DatabaseReport, DeliveryReport, Outcome, Report};

/// What started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A request to the HTTP API.
    Api,
    /// The scheduler.
    Schedule,
    /// A user on the command line.
    Cli,
}

impl Trigger {
    /// The environment variable that tells child processes their trigger.
    pub const VARIABLE: &'static str = "BACKUPGRAM_TRIGGER";

    /// Its value in that variable.
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Schedule => "schedule",
            Self::Cli => "cli",
        }
    }

    /// The trigger with this value; the command line by default.
    pub fn of_word(word: Option<&str>) -> Self {
        let mut others = [Self::Api, Self::Schedule].into_iter();
        others.find(|trigger| Some(trigger.word()) == word).unwrap_or(Self::Cli)
    }
}

/// One run. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it began.
    pub start: i64,
    /// When it ended.
    pub end: i64,
    /// Duration in seconds by the monotonic clock; absent in lines of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// What started it.
    pub trigger: Trigger,
    /// Its outcome.
    pub result: Outcome,
    /// The result of each database.
    pub databases: Vec<DatabaseReport>,
    /// Why the whole run failed; "" if only single databases failed, or none.
    pub error: String,
    /// Identifies the run's line for later changes; stored only in the file, and "" in lines of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its server as `host:port` from the settings; "" if they name none, and in runs of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Result of the delivery of its copies, if any were due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryReport>,
}

impl Run {
    /// The run described by a report.
    pub fn of_report(start: i64, trigger: Trigger, report: &Report) -> Self {
        Self {
            start,
            end: report.timestamp,
            duration_seconds: Some(report.duration_seconds),
            trigger,
            result: report.status,
            databases: report.databases.clone(),
            error: report.error.clone(),
            id: String::new(),
            server: report.server.clone(),
            delivery: report.delivery.clone(),
        }
    }

    /// Duration in seconds; computed from start and end if not recorded.
    pub fn seconds(&self) -> f64 {
        // Exact for any realistic duration.
        let by_clock = || self.end.saturating_sub(self.start) as f64;
        self.duration_seconds.unwrap_or_else(by_clock).max(0.0)
    }

    /// Whether the run was of this server, or either server is unknown.
    pub fn is_of(&self, server: Option<&str>) -> bool {
        records::is_of(&self.server, server)
    }
}

impl From<Run> for Report {
    fn from(run: Run) -> Self {
        Self {
            duration_seconds: run.seconds(),
            status: run.result,
            timestamp: run.end,
            databases: run.databases,
            error: run.error,
            server: run.server,
            delivery: run.delivery,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_run_took_as_long_as_it_says_whatever_was_done_to_the_clock() {
        let read = |changed: Value| {
            let mut line = json!({"start": 1000, "end": 1060, "trigger": "cli", "result": "OK", "databases": [], "error": ""});
            line.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
            serde_json::from_value::<Run>(line).unwrap()
        };
        for (changed, seconds) in [
            // A line of an older version.
            (json!({}), 60.0),
            (json!({"end": 900}), 0.0),
            (json!({"end": 99_999_999, "duration_seconds": 1.5}), 1.5),
            (json!({"end": 900, "duration_seconds": 1.5}), 1.5),
            (json!({"duration_seconds": -1}), 0.0),
        ] {
            let run = read(changed);
            assert_eq!(run.seconds(), seconds, "{run:?}");
            assert_eq!(Report::from(run).duration_seconds, seconds);
        }
    }
}
