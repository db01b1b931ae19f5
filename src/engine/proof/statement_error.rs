//! Statement errors in the log of the temporary server, and what they mean for the backup.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::system::process::for_each_line;

/// Prefix of each log entry; `%e` is the SQLSTATE. Continuation lines of a message begin with a tab instead.
pub const LOG_LINE_PREFIX: &str = "log_line_prefix=state=%e ";
/// Bytes at the end of the log that are searched.
const END: u64 = 1024 * 1024;

/// An error of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementError {
    /// Its SQLSTATE, five characters (PostgreSQL's documentation, appendix A).
    pub state: String,
    /// The first line of its message.
    pub message: String,
}

impl StatementError {
    /// The last one in a log in English. Cancellations and terminations (class 57) are skipped, as they follow from
    /// another error.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn last_in(mut log: File) -> io::Result<Option<Self>> {
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(END)))?;
        let mut last = None;
        for_each_line(log.take(END), |line| last = Self::read(line).or(last.take()));
        Ok(last)
    }

    fn read(line: &str) -> Option<Self> {
        let (state, rest) = line.strip_prefix("state=")?.split_once(' ')?;
        let message = rest.strip_prefix("ERROR:")?.trim_start();
        let counts = !state.starts_with("57");
        counts.then(|| Self { state: state.to_owned(), message: message.to_owned() })
    }

    /// Whether a row violates a check constraint, or fits into no partition.
    pub fn is_of_check(&self) -> bool {
        self.state == "23514"
    }

    /// Whether the SQL is wrong, or names something that it does not create. Such a load fails in every server of that
    /// major version, but perhaps not in another one, which may have other keywords, functions and columns.
    pub fn is_of_statement(&self) -> bool {
        match self.state.as_str() {
            // Undefined table, function, column, object.
            "42P01" | "42883" | "42703" | "42704" => !self.is_of_machine(),
            _ => self.is_of_grammar(),
        }
    }

    /// Whether it is a syntax error.
    pub fn is_of_grammar(&self) -> bool {
        self.state == "42601"
    }

    /// Whether the data are wrong: an invalid value, a violated constraint, or an error raised by a function of the
    /// backup.
    pub fn is_of_data(&self) -> bool {
        // 22023 is a parameter value that this server does not know.
        self.state != "22023" && matches!(self.state.get(..2), Some("22" | "23" | "P0"))
    }

    /// Whether something is missing that comes with the machine or the server, not with the dump.
    fn is_of_machine(&self) -> bool {
        MISSING_HERE.iter().any(|beginning| self.message.starts_with(beginning))
    }
}

/// Beginnings of messages for an undefined object or function that concern the machine.
const MISSING_HERE: [&str; 10] = [
    "unrecognized configuration parameter",
    "extension \"",
    "language \"",
    "collation \"",
    "access method \"",
    "tablespace \"",
    "role \"",
    "could not find function \"",
    "could not load library \"",
    "locale \"",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn error(state: &str, message: &str) -> StatementError {
        StatementError { state: state.into(), message: message.into() }
    }

    #[test]
    fn the_last_error_of_a_log_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let text = "state=00000 LOG:  database system is ready\n\
                    state=42704 ERROR:  role \"x\" does not exist\n\
                    state=23505 ERROR:  duplicate key | of\n\tstate=42601 ERROR:  forged\n\
                    state=23505 DETAIL:  Key (id)=(1)\n\
                    state=57014 ERROR:  canceling statement due to user request\n\
                    state=57P01 FATAL:  terminating connection\n";
        std::fs::write(&log, text).unwrap();
        let last_in = || StatementError::last_in(File::open(&log).unwrap()).unwrap();
        let last = last_in();
        assert_eq!(last, Some(error("23505", "duplicate key | of")));
        std::fs::write(&log, "state=00000 LOG:  x\n").unwrap();
        assert_eq!(last_in(), None);
    }

    #[test]
    fn what_the_server_lacks_is_told_from_what_is_wrong_with_the_backup() {
        for (state, message) in [
            ("23505", "duplicate key value violates unique constraint"),
            ("22P02", "invalid input syntax for type integer: \"x\""),
            ("P0001", "not here"),
        ] {
            assert!(error(state, message).is_of_data(), "{message}");
        }
        for (state, message) in [
            ("42601", "syntax error at or near \"json\""),
            ("42P01", "relation \"settings\" does not exist"),
            ("42883", "function unaccent(text) does not exist"),
            ("42703", "column \"x\" does not exist"),
            ("42704", "type \"hstore\" does not exist"),
            ("42704", "operator class \"x\" does not exist for access method \"gin\""),
        ] {
            let error = error(state, message);
            assert!(error.is_of_statement() && !error.is_of_data(), "{message}");
        }
        for (state, message) in [
            ("0A000", "extension \"postgis\" is not available"),
            ("53100", "could not extend file: No space left on device"),
            ("22023", "invalid value for parameter"),
            ("58P01", "could not access file \"$libdir/x\": No such file or directory"),
            ("42704", "unrecognized configuration parameter \"x\""),
            ("42704", "access method \"columnar\" does not exist"),
            ("42704", "collation \"de_DE\" for encoding \"UTF8\" does not exist"),
            ("42704", "role \"x\" does not exist"),
            ("42883", "could not find function \"x\" in file \"/usr/lib/x.so\""),
            ("42501", "permission denied"),
        ] {
            let error = error(state, message);
            assert!(!error.is_of_statement() && !error.is_of_data(), "{message}");
        }
    }
}
