//! How a run went, for `.status.json`, webhooks and the last line of its output.

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The outcome of a run or of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Everything went well.
    Ok,
    /// Something did not.
    Failed,
}

/// How one database fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseReport {
    /// The database.
    pub name: String,
    /// How it went.
    pub state: Outcome,
    /// `SLOT/NAME` of its backup.
    #[serde(default)]
    pub file: Option<String>,
    /// The backup's bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// Why it failed; "" when it did not.
    pub error: String,
}

/// How the copies of a run's backups fared that go elsewhere. It says nothing about the backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// "delivered" or "failed".
    pub telegram: String,
    /// What did not arrive, and why; "" when all did.
    pub error: String,
}

impl DeliveryReport {
    /// The report of a delivery in which this went wrong.
    pub fn of(errors: &[String]) -> Self {
        let telegram = if errors.is_empty() { "delivered" } else { "failed" };
        Self { telegram: telegram.into(), error: errors.join("; ") }
    }
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it went as a whole.
    pub status: Outcome,
    /// When it ended, in Unix seconds.
    pub timestamp: i64,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// Each database.
    pub databases: Vec<DatabaseReport>,
    /// Why the whole run failed; "" when single databases did, or none.
    #[serde(default)]
    pub error: String,
    /// How its copies fared, where there were to be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryReport>,
}

impl DatabaseReport {
    /// A database whose backup was published as `SLOT/NAME`.
    pub fn published(name: &str, file: String, size: u64) -> Self {
        let (file, size) = (Some(file), Some(size));
        Self { name: name.to_owned(), state: Outcome::Ok, file, size, error: String::new() }
    }

    /// A database that has no new backup.
    pub fn failed(name: &str, error: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: Outcome::Failed, file: None, size: None, error: error.into() }
    }
}

impl Report {
    /// The report of a run that ends now: of each database that it came to, and of those of `names` that it
    /// did not come to because of `error`.
    pub fn of_run(
        begun: Instant,
        mut databases: Vec<DatabaseReport>,
        names: &[String],
        error: Option<String>,
    ) -> Self {
        if let Some(error) = &error {
            let missed: Vec<&String> =
                names.iter().filter(|name| databases.iter().all(|report| report.name != **name)).collect();
            databases.extend(missed.into_iter().map(|name| DatabaseReport::failed(name, error.clone())));
        }
        let failed = error.is_some() || databases.iter().any(|report| report.state == Outcome::Failed);
        Self {
            status: if failed { Outcome::Failed } else { Outcome::Ok },
            timestamp: Timestamp::now().as_second(),
            duration_seconds: (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            databases,
            error: error.unwrap_or_default(),
            delivery: None,
        }
    }

    /// Takes over what an earlier run said of databases that this one says nothing of.
    pub fn complete_from(&mut self, earlier: Self) {
        let unknown = |report: &DatabaseReport| self.databases.iter().all(|own| own.name != report.name);
        let others: Vec<DatabaseReport> =
            earlier.databases.into_iter().filter(|report| unknown(report)).collect();
        if others.iter().any(|report| report.state == Outcome::Failed) {
            self.status = Outcome::Failed;
        }
        self.databases.extend(others);
    }

    /// Every error of the run, the run's own first, as one line.
    pub fn errors(&self) -> String {
        errors(&self.error, &self.databases)
    }
}

/// A run's own error, and those of its databases that say something else, as one line.
pub fn errors(own: &str, databases: &[DatabaseReport]) -> String {
    let own = Some(own).filter(|error| !error.is_empty());
    let each = databases
        .iter()
        .filter(|database| !database.error.is_empty() && Some(database.error.as_str()) != own);
    let each = each.map(|database| format!("{}: {}", database.name, database.error));
    own.map(String::from).into_iter().chain(each).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_some_databases_does_not_hide_the_failure_of_another() {
        let of = |databases| Report::of_run(Instant::now(), databases, &[], None);
        let earlier = of(vec![DatabaseReport::failed("a", "x"), DatabaseReport::failed("b", "y")]);
        let mut report = of(vec![DatabaseReport::published("a", "last/a".into(), 1)]);
        assert_eq!(report.status, Outcome::Ok);
        report.complete_from(earlier);
        assert_eq!((report.status, report.databases.len()), (Outcome::Failed, 2));
    }

    #[test]
    fn databases_that_a_run_did_not_come_to_have_failed_with_it() {
        let names = ["a", "b"].map(String::from);
        let reached = vec![DatabaseReport::published("a", "last/a".into(), 1)];
        let report = Report::of_run(Instant::now(), reached, &names, Some("no server".into()));
        let states: Vec<_> =
            report.databases.iter().map(|report| (report.name.as_str(), report.state)).collect();
        assert_eq!(states, [("a", Outcome::Ok), ("b", Outcome::Failed)]);
        assert_eq!(report.errors(), "no server");
    }
}
