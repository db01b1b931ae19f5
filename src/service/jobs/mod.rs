//! Jobs asked for over HTTP: what they do, their state, and their queue.

mod ending;
mod entry;
mod failed;
mod registry;
mod worker;

use std::fmt;

use serde::Serialize;

use crate::delivery::telegram::Chat;
use crate::engine::restore::Options;
use crate::store::catalog::{BackupName, DatabaseName, Slot};
use crate::system::process::Tail;
use crate::util::units::hexadecimal;

pub use registry::{CancelError, Counts, Jobs, SubmitError};
pub use worker::{Programs, Worker};

/// The name of a job: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct JobId(String);

impl JobId {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hexadecimal(&bytes)))
    }

    /// The id in a request's path, whether or not there is such a job.
    pub fn from_path(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a job does.
#[derive(Debug, Clone)]
pub enum Task {
    /// Backs up these databases; none stands for all of the settings.
    Backup(Vec<DatabaseName>),
    /// Restores a backup.
    Restore {
        /// Its slot.
        slot: Slot,
        /// Its name.
        name: BackupName,
        /// The database to replace or make.
        target: DatabaseName,
        /// What else is asked for.
        options: Options,
    },
    /// Restores a backup that was sent to Telegram.
    RestoreFromTelegram {
        /// The message.
        message: i64,
        /// Its chat; without one, those of the settings.
        chat: Option<Chat>,
        /// The database to replace or make.
        target: DatabaseName,
        /// What else is asked for.
        options: Options,
    },
    /// Tries the settings for Telegram.
    TestTelegram,
    /// Verifies a backup.
    Verify {
        /// Its slot.
        slot: Slot,
        /// Its name.
        name: BackupName,
        /// Whether it is restored for it.
        restores: bool,
    },
}

impl Task {
    /// Every word of [`Self::kind`].
    pub const KINDS: [&'static str; 4] = ["backup", "restore", "telegram-test", "verify"];

    /// The word for it in answers.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Restore { .. } | Self::RestoreFromTelegram { .. } => "restore",
            Self::TestTelegram => "telegram-test",
            Self::Verify { .. } => "verify",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits its turn.
    Queued,
    /// It is being done.
    Running,
    /// It ended well.
    Succeeded,
    /// It did not.
    Failed,
}

/// How many jobs of a type have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Well.
    pub succeeded: u64,
    /// Not well.
    pub failed: u64,
}

impl Totals {
    fn count(&mut self, state: State) {
        match state {
            State::Succeeded => self.succeeded += 1,
            State::Failed => self.failed += 1,
            State::Queued | State::Running => {}
        }
    }
}

/// A job as the API shows it. Times are Unix seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// How far it is.
    pub state: State,
    /// When it was asked for.
    pub queued_at: i64,
    /// When it began.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// The program's exit status, 128 + n for signal n; none before the end, or when it never ran.
    pub exit_code: Option<i32>,
    /// The last lines that it printed.
    #[serde(serialize_with = "serialize_tail")]
    pub log_tail: Tail,
    /// Why it failed; "" when it did not.
    pub error: String,
}

fn serialize_tail<S: serde::Serializer>(tail: &Tail, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tail.lines())
}
