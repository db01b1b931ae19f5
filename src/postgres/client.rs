//! Runs queries and statements on the server through psql.

use std::fmt;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::server::{Server, Setting};
use thiserror::Error;

use crate::settings::remove_secrets;
use crate::store::catalog::DatabaseName;
use crate::system::process::{Interrupted, Output, ProgramError, Runner};
use crate::util::clock::OtherClock;

/// Why a query or statement failed.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// No answer in time: address, timeout in seconds, and the last error.
    #[error("the server {0} did not accept connections within {1} s: {2}")]
    Unreachable(String, u32, String),
    /// The connection was refused and waiting does not help: address and error.
    #[error("cannot connect to the server {0}: {1}")]
    Refused(String, String),
    /// psql or another program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The answer cannot be parsed.
    #[error("cannot understand the server's answer: {0}")]
    Answer(String),
}

impl From<Interrupted> for DatabaseError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Program(ProgramError::Interrupted(interrupted))
    }
}

/// Settings for sessions that write and may take long; they override defaults of role, database and server.
pub(crate) const WRITES: [Setting; 4] = [
    ("default_transaction_read_only", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// Starts every session that runs our own statements. The owner of a database can set its search path and so redirect
/// names to other functions, which would run as our role, possibly a superuser. Set by SQL, so that `RESET` restores
/// the owner's value. No line end, so that line numbers in errors stay correct.
const OWN_NAMES: &str = "SET search_path = pg_catalog; ";

/// A version of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The major version, which determines compatibility.
    pub major: u32,
    /// The full version text.
    pub text: String,
}

impl Version {
    /// The version of a PostgreSQL program on this machine.
    ///
    /// # Errors
    /// When the program is missing or prints no version.
    pub fn of_program(program: &str, runner: &Runner) -> Result<Self, DatabaseError> {
        let mut command = Command::new(program);
        remove_secrets(&mut command);
        let output = runner.run(command.arg("--version"), b"")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Self::within(&text).ok_or_else(|| DatabaseError::Answer(text.trim().to_owned()))
    }

    /// Parses the version in the output of a program's `--version`, such as `pg_dump (PostgreSQL) 18.6`.
    pub fn within(output: &str) -> Option<Self> {
        let text = output.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { major: digits.parse().ok()?, text: text.to_owned() })
    }
}

impl Version {
    /// Whether it has the setting `transaction_timeout`. From that version on pg_dump and pg_restore set it for every
    /// server; older servers reject it.
    pub fn knows_transaction_timeout(&self) -> bool {
        self.major >= 17
    }
}

/// The first minor version of each major version in which psql has `\restrict`; later major versions all have it
/// (PostgreSQL release notes for CVE-2025-8714).
const KNOWS_RESTRICT: [(u32, u32); 5] = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];

impl Version {
    /// Whether this version of psql can be kept from running psql commands in the SQL it loads.
    pub fn knows_restrict(&self) -> bool {
        let minor = self.text.split(|c: char| !c.is_ascii_digit()).nth(1).and_then(|text| text.parse().ok());
        let first = KNOWS_RESTRICT.iter().find(|(major, _)| *major == self.major);
        first.map_or(self.major > 17, |(_, first)| minor.unwrap_or(0) >= *first)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Runs queries on one database of the server.
#[derive(Debug, Clone)]
pub struct Client {
    server: Server,
    database: DatabaseName,
    /// The application name of its sessions in `pg_stat_activity`.
    application: String,
    runner: Runner,
    /// When clean-ups are abandoned, if ever.
    deadline: Option<Instant>,
    /// What the server has reported about itself.
    heard: Arc<Heard>,
}

/// Facts that a server reports once.
#[derive(Debug, Default)]
struct Heard {
    version: OnceLock<Version>,
    psql: OnceLock<Version>,
    clock: OnceLock<OtherClock>,
}

impl Client {
    /// Creates a client of `database`.
    pub fn new(server: Server, database: DatabaseName, runner: Runner) -> Self {
        let (application, heard) = ("backupgram".into(), Arc::default());
        Self { server, database, application, runner, deadline: None, heard }
    }

    /// The same client with another application name.
    #[must_use]
    pub fn signed(&self, application: &str) -> Self {
        Self { application: application.to_owned(), ..self.clone() }
    }

    /// The same client for a clean-up that a later run repeats if needed: it is abandoned at `deadline`, and soon after
    /// a stop signal.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// A client of another database of the same server.
    #[must_use]
    pub fn of_database(&self, database: &DatabaseName) -> Self {
        Self { database: database.clone(), ..self.clone() }
    }

    /// Its database.
    pub fn database(&self) -> &DatabaseName {
        &self.database
    }

    /// Its server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The role that it logs in as.
    pub fn user(&self) -> &str {
        &self.server.user
    }

    /// Whether the server accepts connections now.
    ///
    /// # Errors
    /// When pg_isready cannot be run, or a stop signal arrives.
    pub fn is_ready(&self) -> Result<bool, ProgramError> {
        match self.runner.run(self.command("pg_isready").arg("-t").arg("3"), b"") {
            Ok(_) => Ok(true),
            Err(ProgramError::Failed(..)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The version of the server, queried once.
    ///
    /// # Errors
    /// When the query fails.
    pub fn server_version(&self) -> Result<Version, DatabaseError> {
        if let Some(version) = self.heard.version.get() {
            return Ok(version.clone());
        }
        let text: String = self.ask("SELECT to_json(current_setting('server_version'))", &[])?;
        let version = Version::within(&text).ok_or(DatabaseError::Answer(text))?;
        Ok(self.heard.version.get_or_init(|| version).clone())
    }

    /// The clock of the server, if it has been read.
    pub fn server_clock(&self) -> Option<&OtherClock> {
        self.heard.clock.get()
    }

    /// The version of psql on this machine, known from its connection.
    ///
    /// # Errors
    /// When psql is missing or prints no version.
    pub fn psql_version(&self) -> Result<Version, DatabaseError> {
        self.heard.psql.get().map_or_else(|| self.program_version("psql"), |version| Ok(version.clone()))
    }

    /// Stores the versions of server and psql and the server's clock.
    pub(super) fn know(&self, version: &str, clock: &str, psql: &str) {
        if let Some(version) = Version::within(psql) {
            let _ = self.heard.psql.set(version);
        }
        if let Some(version) = Version::within(version) {
            let _ = self.heard.version.set(version);
        }
        if let Ok(second) = clock.parse() {
            let _ = self.heard.clock.set(OtherClock::saying(second));
        }
    }

    /// The version of a PostgreSQL program on this machine.
    ///
    /// # Errors
    /// When the program is missing or prints no version.
    pub fn program_version(&self, program: &str) -> Result<Version, DatabaseError> {
        Version::of_program(program, &self.runner)
    }

    /// Runs a query that returns one JSON value, or NULL for none. In the SQL, psql replaces `:'name'` by a variable
    /// as a literal, and `:"name"` by it as a quoted identifier.
    ///
    /// # Errors
    /// When psql fails or the answer has another type.
    pub fn ask<T: DeserializeOwned>(
        &self,
        sql: &str,
        variables: &[(&str, &str)],
    ) -> Result<T, DatabaseError> {
        answer(&self.execute(sql, variables)?.stdout)
    }

    /// Runs several such queries at once. Each must be a single SELECT.
    ///
    /// # Errors
    /// When any of them fails, or an answer has another type.
    pub fn ask_all<const N: usize>(
        &self,
        questions: [&str; N],
        variables: &[(&str, &str)],
    ) -> Result<[Value; N], DatabaseError> {
        let each = questions.map(|sql| format!("({})", sql.trim().trim_end_matches(';')));
        let answers: Vec<Value> =
            self.ask(&format!("SELECT json_build_array({});", each.join(",\n")), variables)?;
        answers.try_into().map_err(|_| DatabaseError::Answer("it did not answer every query".into()))
    }

    /// Runs statements.
    ///
    /// # Errors
    /// When psql fails; it stops at the first error.
    pub fn execute(
        &self,
        sql: impl AsRef<[u8]>,
        variables: &[(&str, &str)],
    ) -> Result<Output, DatabaseError> {
        let (mut psql, sql) = self.psql(variables, sql.as_ref());
        Ok(self.runner.run(&mut psql, &sql)?)
    }

    /// Runs statements even after a stop signal, unless there is a deadline.
    ///
    /// # Errors
    /// When psql fails, or at the deadline.
    pub fn clean_up(&self, sql: &str, variables: &[(&str, &str)]) -> Result<Output, DatabaseError> {
        let (mut psql, sql) = self.psql(variables, sql.as_bytes());
        let program = self.runner.program(&mut psql).input(&sql);
        let Some(deadline) = self.deadline else { return Ok(program.ignore_stop().run()?) };
        self.runner.check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(program.time_limit(left).run()?)
    }

    /// Like [`Self::ask`], but runs even after a stop signal.
    ///
    /// # Errors
    /// When psql fails or the answer has another type.
    pub fn ask_regardless<T: DeserializeOwned>(
        &self,
        sql: &str,
        variables: &[(&str, &str)],
    ) -> Result<T, DatabaseError> {
        answer(&self.clean_up(sql, variables)?.stdout)
    }

    /// A PostgreSQL program with the environment to connect.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.server.command(program, &self.database);
        command.env("PGAPPNAME", &self.application);
        command
    }

    /// A psql command for statements, and its input.
    fn psql(&self, variables: &[(&str, &str)], sql: &[u8]) -> (Command, Vec<u8>) {
        let mut command = self.bare_psql();
        let set_up = self.server.set_up(&mut command, &WRITES) + OWN_NAMES;
        for (name, value) in variables {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        command.args(["--file", "-"]);
        (command, [set_up.as_bytes(), sql].concat())
    }

    /// A psql command that prints only values and stops at the first error.
    pub(super) fn bare_psql(&self) -> Command {
        let mut command = self.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password"]);
        command.args(["--set", "ON_ERROR_STOP=1"]).env("PGCLIENTENCODING", "UTF8");
        command
    }
}

/// Converts an answer to the expected type.
///
/// # Errors
/// When it has another type.
pub fn parsed<T: DeserializeOwned>(answer: Value) -> Result<T, DatabaseError> {
    serde_json::from_value(answer).map_err(|error| DatabaseError::Answer(error.to_string()))
}

/// Parses psql's output as JSON.
fn answer<T: DeserializeOwned>(printed: &[u8]) -> Result<T, DatabaseError> {
    let text = printed.trim_ascii();
    let text = if text.is_empty() { b"null" } else { text };
    serde_json::from_slice(text).map_err(|error| DatabaseError::Answer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_program_is_found_in_what_it_prints() {
        let version = |text| Version::within(text).unwrap();
        assert_eq!(version("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)").major, 15);
        assert_eq!(version("pg_dump (PostgreSQL) 19beta1").major, 19);
        assert_eq!(version("pg_dump (PostgreSQL) 18.6\n").text, "18.6");
        assert_eq!(Version::within("nonsense"), None);
    }

    #[test]
    fn which_psql_can_be_restricted_is_told_by_its_version() {
        let knows =
            |text: &str| Version::within(&format!("psql (PostgreSQL) {text}")).unwrap().knows_restrict();
        assert!(
            knows("15.14 (Debian 15.14-0+deb12u1)") && knows("17.6") && knows("18.0") && knows("19beta1")
        );
        assert!(!knows("15.13") && !knows("16.2") && !knows("17beta1") && !knows("12.22"));
    }
}
