//! Parses the messages of psql and pg_restore about failed statements.

use std::fmt;

use crossbeam_channel::Sender;

use super::places::{Place, Places};

/// Maximum number of characters of a detail, which may quote rows.
const LONGEST: usize = 300;

/// A statement that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint {
    /// The line of the SQL or the entry of the archive. Empty if unknown.
    pub place: String,
    /// The SQLSTATE, if psql has printed it.
    pub state: Option<String>,
    /// The server's error message.
    pub error: String,
    /// Detail, hint and context of the error.
    pub details: Vec<String>,
}

impl Complaint {
    /// Whether a name could not be resolved, as with pg_dump's empty search path: SQLSTATE 42P01, 42883, 42703 or
    /// 42704, or the English message of these, as pg_restore prints no SQLSTATE.
    pub fn is_unresolved(&self) -> bool {
        match self.state.as_deref() {
            Some(state) => matches!(state, "42P01" | "42883" | "42703" | "42704"),
            // An error raised by a function may have any text.
            None if self.details.iter().any(|detail| detail.contains(" at RAISE")) => false,
            None => names_something_unknown(&self.error),
        }
    }

    /// Whether the connection was lost, so that all following statements fail: SQLSTATE class 08 or 57P0, or libpq's
    /// English message.
    pub fn is_of_connection(&self) -> bool {
        const WORDS: [&str; 4] = [
            "no connection to the server",
            "server closed the connection unexpectedly",
            "terminating connection",
            "SSL connection has been closed",
        ];
        let is_lost = |state: &str| state.starts_with("08") || state.starts_with("57P0");
        match self.state.as_deref() {
            Some(state) => is_lost(state),
            None => WORDS.iter().any(|words| self.error.contains(words)),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.error)?;
        if !self.details.is_empty() {
            write!(f, " ({})", self.details.join("; "))?;
        }
        Ok(())
    }
}

/// Whether an English message is that of one of those SQLSTATEs. Other objects that do not exist have other SQLSTATEs.
fn names_something_unknown(error: &str) -> bool {
    const OTHERS: [&str; 5] =
        ["schema \"", "database \"", "prepared statement \"", "savepoint \"", "cursor \""];
    let Some((_, message)) = error.split_once("ERROR: ") else { return false };
    let is_other = OTHERS.iter().any(|words| message.starts_with(words));
    message.contains("does not exist") && !is_other || message.contains("has no default operator class")
}

/// The fields of a message that are kept.
const DETAILS: [&str; 3] = ["DETAIL:", "HINT:", "CONTEXT:"];
/// The fields of a message that are dropped.
const REST: [&str; 8] = [
    "LINE ",
    "LOCATION:",
    "SCHEMA NAME:",
    "TABLE NAME:",
    "COLUMN NAME:",
    "DATATYPE NAME:",
    "CONSTRAINT NAME:",
    "QUERY:",
];

/// Severities below error.
const NOTICES: [&str; 5] = ["WARNING", "NOTICE", "INFO", "LOG", "DEBUG"];

/// Parses lines of standard error.
pub struct Parser {
    places: Places,
    /// The archive entry that pg_restore has named last.
    entry: String,
    current: Option<Complaint>,
    /// What continuation lines belong to.
    rest: Rest,
    /// Whether a statement that was added to the dump has failed since the last mark.
    own_has_failed: bool,
    mark: Option<Mark>,
    /// The number of errors that pg_restore reports at its end, if it got there.
    pub ignored: Option<u64>,
}

/// A text in the error of a statement that is sent only to fail: when it is read, all earlier errors have been read.
#[derive(Debug)]
pub struct Mark {
    /// The random text.
    pub text: String,
    /// Gets whether an added statement has failed since the last mark.
    pub told: Sender<bool>,
}

#[derive(PartialEq, Eq)]
enum Rest {
    OfError,
    OfDetail,
    Noise,
    /// Of a message that is ignored.
    Nothing,
}

impl Parser {
    /// A parser. `places` maps lines of psql's input to places in the dump; `mark` is recognised in errors.
    pub fn new(places: Places, mark: Option<Mark>) -> Self {
        Self {
            places,
            entry: String::new(),
            current: None,
            rest: Rest::Noise,
            own_has_failed: false,
            mark,
            ignored: None,
        }
    }

    /// Takes a line. Returns the complaint that ended before it.
    pub fn take(&mut self, line: &str) -> Option<Complaint> {
        if let Some(rest) = line.strip_prefix("psql:<stdin>:") {
            let (number, rest) = rest.split_once(": ").unwrap_or(("", rest));
            let place = number.parse().map_or_else(|_| Place::default(), |number| (self.places)(number));
            return self.begin(place, rest);
        }
        if let Some(rest) = line.strip_prefix("psql: ") {
            return self.begin(Place::default(), rest);
        }
        if let Some(rest) = line.strip_prefix("pg_restore: ") {
            return self.take_of_restore(rest);
        }
        let Some(current) = &mut self.current else {
            let is_noise = self.rest == Rest::Nothing || REST.iter().any(|name| line.starts_with(name));
            if !line.trim().is_empty() && !is_noise {
                log::info!("{line}");
            }
            return None;
        };
        if DETAILS.iter().any(|name| line.starts_with(name)) {
            current.details.push(squeezed(line));
            self.rest = Rest::OfDetail;
        } else if line.starts_with("Command was:") || REST.iter().any(|name| line.starts_with(name)) {
            self.rest = Rest::Noise;
        } else if self.rest == Rest::OfError && !line.trim().is_empty() {
            current.error = squeezed(&format!("{} {}", current.error, line.trim()));
        } else if self.rest == Rest::OfDetail
            && let Some(detail) = current.details.last_mut()
        {
            *detail = squeezed(&format!("{detail} {}", line.trim()));
        }
        None
    }

    /// The last complaint, at the end of the messages.
    pub fn end(&mut self) -> Option<Complaint> {
        self.current.take()
    }

    /// Takes a line by pg_restore itself.
    fn take_of_restore(&mut self, rest: &str) -> Option<Complaint> {
        if let Some(entry) = rest.strip_prefix("from TOC entry ") {
            let (number, what) = entry.split_once("; ").unwrap_or((entry, ""));
            let what = what.splitn(3, ' ').nth(2).unwrap_or_default();
            self.entry = format!("entry {number}, {what}");
            return self.current.take();
        }
        if rest.starts_with("while ") {
            self.entry.clear();
            return self.current.take();
        }
        let Some(error) = rest.strip_prefix("error: ") else {
            if let Some(count) = rest.strip_prefix("warning: errors ignored on restore: ") {
                self.ignored = count.trim().parse().ok();
            } else if let Some(warning) = rest.strip_prefix("warning: ") {
                log::info!("pg_restore: {warning}");
            }
            // Everything else is progress.
            self.rest = Rest::Nothing;
            return self.current.take();
        };
        let error = error.strip_prefix("could not execute query: ").unwrap_or(error);
        self.rest = Rest::OfError;
        // pg_restore names an entry once, even for several errors.
        let place = self.entry.clone();
        self.current.replace(Complaint { place, error: squeezed(error), ..Complaint::default() })
    }

    /// Begins a complaint, or logs a notice.
    fn begin(&mut self, place: Place, text: &str) -> Option<Complaint> {
        let before = self.current.take();
        if let Some(mark) = self.mark.as_ref().filter(|mark| text.contains(&mark.text)) {
            let _ = mark.told.send(std::mem::take(&mut self.own_has_failed));
            self.rest = Rest::Nothing;
            return before;
        }
        let (severity, message) = text.split_once(": ").unwrap_or(("", text));
        let message = message.trim_start();
        let state = message.split_once(": ").filter(|(state, _)| is_state(state));
        let (state, error) = match state {
            Some((state, message)) => (Some(state.to_owned()), format!("{severity}: {message}")),
            None => (None, text.to_owned()),
        };
        // SQLSTATE classes 00 and 01 are notices and warnings, though these can have other classes. If the server's
        // messages are not in English, only the class tells.
        let is_notice = |state: &String| {
            state.starts_with("00") || state.starts_with("01") || NOTICES.contains(&severity.trim_start())
        };
        if state.as_ref().is_some_and(is_notice) {
            log::info!("{error}");
            self.rest = Rest::Noise;
            return before;
        }
        // After a COPY that failed, psql takes the end of its rows for an unknown command.
        if place.is_own && state.is_none() {
            self.rest = Rest::Nothing;
            return before;
        }
        self.own_has_failed |= place.is_own;
        self.rest = Rest::OfError;
        self.current =
            Some(Complaint { place: place.name, state, error: squeezed(&error), details: Vec::new() });
        before
    }
}

fn is_state(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// The text on one line, cut to the maximum length.
fn squeezed(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::OwnLines;
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        let mut parser = Parser::new(OwnLines::default().places(None), None);
        let mut found: Vec<_> = text.lines().filter_map(|line| parser.take(line)).collect();
        found.extend(parser.current.take());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn failures_of_psql_keep_their_line_detail_and_hint() {
        let text = "psql:<stdin>:3: NOTICE:  00000: it goes on\n\
            psql:<stdin>:4: WARNING:  55000: wal_level is low\nHINT:  raise it\n\
            psql:<stdin>:12: ERROR:  42883: function f(integer) does not exist\n\
            LINE 1: SELECT f(1)\n               ^\n\
            HINT:  No function matches the given name.\n  You might need casts.\nLOCATION:  ParseFuncOrColumn, x.c:1\n\
            psql:<stdin>:14: error: backslash commands are restricted; only \\unrestrict is allowed\n";
        assert_eq!(
            complaints(text),
            [
                "line 12: ERROR: function f(integer) does not exist (HINT: No function matches the given name. You \
                 might need casts.)",
                "line 14: error: backslash commands are restricted; only \\unrestrict is allowed",
            ]
        );
    }

    #[test]
    fn failures_of_pg_restore_keep_their_entry_and_lose_the_command() {
        let text = "pg_restore: while PROCESSING TOC:\n\
            pg_restore: from TOC entry 217; 1259 16386 TABLE t postgres\n\
            pg_restore: error: could not execute query: ERROR:  type \"x\" does not exist\n\
            LINE 2:     a x\n              ^\nHINT:  make it\nCommand was: CREATE TABLE public.t (\n    a x\n);\n\n\n\
            pg_restore: from TOC entry 3; 0 16386 TABLE DATA t postgres\n\
            pg_restore: error: COPY failed for table \"t\": ERROR:  bad\nCONTEXT:  COPY t, line 1: \"x\"\n\
            pg_restore: error: could not execute query: ERROR:  again\n\
            pg_restore: creating INDEX \"public.i\"\n\
            pg_restore: warning: errors ignored on restore: 2\n";
        assert_eq!(
            complaints(text),
            [
                "entry 217, TABLE t postgres: ERROR: type \"x\" does not exist (HINT: make it)",
                "entry 3, TABLE DATA t postgres: COPY failed for table \"t\": ERROR: bad (CONTEXT: COPY t, line 1: \"x\")",
                "entry 3, TABLE DATA t postgres: ERROR: again",
            ]
        );
    }

    #[test]
    fn what_is_not_found_is_told_by_its_state_or_else_by_its_words() {
        let of = |state: Option<&str>, error: &str| Complaint {
            state: state.map(String::from),
            error: error.into(),
            ..Complaint::default()
        };
        for state in ["42P01", "42883", "42703", "42704"] {
            assert!(of(Some(state), "x").is_unresolved());
        }
        assert!(!of(Some("23505"), "ERROR: x does not exist").is_unresolved());
        for (error, is_unresolved) in [
            ("ERROR: type x does not exist", true),
            ("COPY failed for table \"t\": ERROR: function f(integer) does not exist", true),
            ("ERROR: data type x has no default operator class for access method \"gist\"", true),
            ("ERROR: schema \"x\" does not exist", false),
            ("ERROR: database \"x\" does not exist", false),
            ("ERROR: duplicate key", false),
            ("could not open input file: it does not exist", false),
        ] {
            assert_eq!(of(None, error).is_unresolved(), is_unresolved, "{error}");
        }
    }

    #[test]
    fn what_fails_in_lines_of_our_own_is_told_with_the_mark() {
        let (own, (told, failed)) = (OwnLines::default(), crossbeam_channel::unbounded());
        [3, 4, 5, 7, 8, 9].into_iter().for_each(|line| own.note(line));
        let mut parser = Parser::new(own.places(None), Some(Mark { text: "m4rk".into(), told }));
        let text = "psql:<stdin>:2: ERROR:  42P01: a\npsql:<stdin>:3: ERROR:  42P01: b\n\
            psql:<stdin>:4: error: invalid command \\.\nTry \\? for help.\n\
            psql:<stdin>:5: ERROR:  22P02: invalid input syntax: \"m4rk\"\nLINE 1: SELECT 'm4rk'\n\
            psql:<stdin>:9: ERROR:  22P02: invalid input syntax: \"m4rk\"\n";
        let complaints: Vec<_> =
            text.lines().filter_map(|line| parser.take(line)).map(|it| it.to_string()).collect();
        assert_eq!(complaints, ["line 2: ERROR: a", "line 3: ERROR: b"]);
        assert_eq!(failed.try_iter().collect::<Vec<_>>(), [true, false]);
    }
}
