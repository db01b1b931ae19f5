//! The result of a run, for `.status.json`, webhooks and the last line of its output.

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::retention::Hold;
use crate::util::clock;
use crate::util::units;

/// The outcome of a run or of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Everything went well.
    Ok,
    /// Something did not.
    Failed,
}

/// The result for one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseReport {
    /// The database.
    pub name: String,
    /// Its outcome.
    pub state: Outcome,
    /// `SLOT/NAME` of its backup.
    #[serde(default)]
    pub file: Option<String>,
    /// Size of the backup in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// Why it failed; "" if it did not.
    pub error: String,
    /// Why its old backups were not deleted, if the clock was not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Hold>,
}

/// Result of delivering a run's backups elsewhere. Independent of the result of the backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// "delivered" or "failed".
    pub telegram: String,
    /// What was not delivered, and why; "" if everything was.
    pub error: String,
}

impl DeliveryReport {
    /// The report of a delivery with these errors.
    pub fn of(errors: &[String]) -> Self {
        let telegram = if errors.is_empty() { "delivered" } else { "failed" };
        Self { telegram: telegram.into(), error: errors.join("; ") }
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Overall outcome.
    pub status: Outcome,
    /// When it ended, in Unix seconds.
    pub timestamp: i64,
    /// Duration in seconds.
    pub duration_seconds: f64,
    /// The result of each database.
    pub databases: Vec<DatabaseReport>,
    /// Why the whole run failed; "" if only single databases failed, or none.
    #[serde(default)]
    pub error: String,
    /// Its server as `host:port` from the settings; "" if they name none, and in reports of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Result of the delivery, if one was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryReport>,
}

impl DatabaseReport {
    /// A database whose backup was published as `SLOT/NAME`.
    pub fn published(name: &str, file: String, size: u64) -> Self {
        let (file, size) = (Some(file), Some(size));
        Self { name: name.to_owned(), state: Outcome::Ok, file, size, error: String::new(), clock: None }
    }

    /// A database without a new backup.
    pub fn failed(name: &str, error: impl Into<String>) -> Self {
        let (name, error) = (name.to_owned(), error.into());
        Self { name, state: Outcome::Failed, file: None, size: None, error, clock: None }
    }
}

impl Report {
    /// The report of a run that ends now. `databases` are those it reached; with an `error`, those of `names` that it
    /// did not reach have failed with it.
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
            server: String::new(),
            delivery: None,
        }
    }

    /// Whether the report is of this server, or either server is unknown.
    pub fn is_of(&self, server: Option<&str>) -> bool {
        is_of(&self.server, server)
    }

    /// Adds the results of databases from an earlier run that are missing in this one.
    pub fn complete_from(&mut self, earlier: Self) {
        let unknown = |report: &DatabaseReport| self.databases.iter().all(|own| own.name != report.name);
        let others: Vec<DatabaseReport> =
            earlier.databases.into_iter().filter(|report| unknown(report)).collect();
        if others.iter().any(|report| report.state == Outcome::Failed) {
            self.status = Outcome::Failed;
        }
        self.databases.extend(others);
    }

    /// Marks a failed run as cancelled by a stop signal. `error` is used if the run has no error of its own.
    pub fn note_cancellation(&mut self, error: &str) {
        if self.status != Outcome::Failed {
            return;
        }
        let own = std::mem::take(&mut self.error);
        let said = if own.is_empty() { error } else { &own };
        self.error = format!("cancelled: {said}");
        for database in self.databases.iter_mut().filter(|database| !own.is_empty() && database.error == own)
        {
            database.error.clone_from(&self.error);
        }
    }

    /// Messages on why old backups were not deleted because of the clock, with the databases of each reason.
    pub fn held(&self) -> Vec<String> {
        let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
        for database in &self.databases {
            let Some(reason) = database.clock.map(|hold| hold.to_string()) else { continue };
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(&database.name),
                None => reasons.push((reason, vec![&database.name])),
            }
        }
        let said = reasons.into_iter().map(|(reason, names)| {
            format!("no older backup of {} was deleted: {reason}", units::list(names))
        });
        said.collect()
    }

    /// Why old backups of a database were not deleted, if the clock was not trusted.
    pub fn held_for(&self, name: &str) -> Option<Hold> {
        self.databases.iter().find(|database| database.name == name)?.clock
    }

    /// Seconds since the run ended; `None` if its end lies in the future by our clock.
    pub fn age(&self, now: i64) -> Option<i64> {
        (!clock::is_future(self.timestamp, now)).then(|| now.saturating_sub(self.timestamp).max(0))
    }

    /// The report of a run stopped by a time limit: it has failed for reason `why`, whatever it had finished.
    #[must_use]
    pub fn ended(self, why: String) -> Self {
        let own = self.error;
        let with_own = |database: DatabaseReport| match database.error == own && !own.is_empty() {
            true => DatabaseReport { error: why.clone(), ..database },
            false => database,
        };
        let databases = self.databases.into_iter().map(with_own).collect();
        Self { status: Outcome::Failed, databases, error: why.clone(), ..self }
    }

    /// Like [`Self::ended`], for a run whose backups were complete: its reporting was cut short, or a hook failed.
    #[must_use]
    pub fn ended_late(self, why: String) -> Self {
        let own = Some(self.error).filter(|error| !error.is_empty());
        let error = own.map_or_else(|| why.clone(), |own| format!("{own}; then {why}"));
        Self { status: Outcome::Failed, error, ..self }
    }

    /// The report with every error passed through `clean`, which removes secrets.
    #[must_use]
    pub fn cleaned(mut self, clean: impl Fn(&str) -> String) -> Self {
        self.error = clean(&self.error);
        for database in &mut self.databases {
            database.error = clean(&database.error);
        }
        self
    }

    /// All errors of the run on one line, its own first.
    pub fn errors(&self) -> String {
        errors(&self.error, &self.databases)
    }
}

/// Whether a recorded server is `server`. True if either is unknown.
pub fn is_of(recorded: &str, server: Option<&str>) -> bool {
    recorded.is_empty() || server.is_none_or(|server| server == recorded)
}

/// A run's error and the differing errors of its databases, on one line.
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
    fn a_cancelled_run_says_so_once() {
        let interrupted = "stopped by SIGTERM";
        let of = |databases, error: Option<&str>| {
            let names = ["a", "b"].map(String::from);
            let mut report = Report::of_run(Instant::now(), databases, &names, error.map(String::from));
            report.note_cancellation(interrupted);
            report.errors()
        };
        assert_eq!(of(Vec::new(), Some(interrupted)), "cancelled: stopped by SIGTERM");
        assert_eq!(of(Vec::new(), Some("hook: stopped")), "cancelled: hook: stopped");
        let failed = vec![DatabaseReport::failed("a", "x")];
        assert_eq!(of(failed, None), "cancelled: stopped by SIGTERM; a: x");
        assert_eq!(
            of(vec![DatabaseReport::published("a", "last/a".into(), 1)], None),
            "",
            "it came too late"
        );
    }

    #[test]
    fn a_run_that_was_ended_has_failed_for_that_and_loses_nothing_that_it_knew() {
        let names = ["a", "b"].map(String::from);
        let databases = || vec![DatabaseReport::published("a", "last/a".into(), 1)];
        let stopped = Report::of_run(Instant::now(), databases(), &names, Some("stopped".into()));
        let ended = stopped.ended("too long".into());
        assert_eq!((ended.errors(), ended.databases[1].error.as_str()), ("too long".into(), "too long"));
        assert_eq!((ended.status, ended.databases[0].state), (Outcome::Failed, Outcome::Ok));
        let whole = Report::of_run(Instant::now(), databases(), &[], None).ended_late("too long".into());
        assert_eq!((whole.status, whole.errors()), (Outcome::Failed, "too long".into()));
        assert_eq!(whole.databases, databases());
        let failed = Report::of_run(Instant::now(), databases(), &[], Some("no server".into()));
        assert_eq!(failed.ended_late("too long".into()).errors(), "no server; then too long");
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

    #[test]
    fn databases_that_the_clock_has_kept_are_told_by_their_reason_until_a_run_of_theirs() {
        let of = |name: &str, clock| DatabaseReport {
            clock,
            ..DatabaseReport::published(name, "last/x".into(), 1)
        };
        let report = |databases| Report::of_run(Instant::now(), databases, &[], None);
        let (server, gap) =
            (Some(Hold::Server { ahead_seconds: 7200 }), Some(Hold::Gap { age_seconds: 99 * 86_400 }));
        let mut earlier = report(vec![of("a", server), of("b", gap), of("c", server), of("d", None)]);
        let held = earlier.held();
        assert_eq!(held.len(), 2, "{held:?}");
        assert!(
            held[0].starts_with("no older backup of a, c was deleted: the clock here is 2 h ahead"),
            "{held:?}"
        );
        assert!(
            held[1].starts_with("no older backup of b was deleted: the previous backup is 99 d old"),
            "{held:?}"
        );
        // A later run of some databases only.
        let mut later = report(vec![of("a", None)]);
        later.complete_from(earlier.clone());
        assert_eq!(later.held().len(), 2);
        assert!(later.held().concat().contains("no older backup of c was"), "{:?}", later.held());
        earlier.timestamp = 1000;
        assert_eq!([0, 2000].map(|now| earlier.age(now)), [Some(0), Some(1000)]);
        assert_eq!(earlier.age(-2601), None);
    }
}
