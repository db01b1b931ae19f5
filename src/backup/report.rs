//! How a run went, for `.status.json`, webhooks and the last line of its output.

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
}

impl Report {
    /// Every error of the run, the run's own first, as one line.
    pub fn errors(&self) -> String {
        let own = Some(self.error.clone()).filter(|error| !error.is_empty());
        let each = self
            .databases
            .iter()
            .filter(|database| !database.error.is_empty() && database.error != self.error);
        let lines =
            own.into_iter().chain(each.map(|database| format!("{}: {}", database.name, database.error)));
        lines.collect::<Vec<_>>().join("; ")
    }
}
