//! What psql and pg_restore say of statements that fail, taken apart: the error, its hint, and where it stands.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::process::{Tail, for_each_line};

/// Characters of a detail, which may quote rows.
const LONGEST: usize = 300;

/// A statement that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint {
    /// A line of the SQL, or an entry of the archive; empty when neither is known.
    pub place: String,
    /// The SQLSTATE, where psql says it.
    pub state: Option<String>,
    /// The error as the server words it.
    pub error: String,
    /// Its detail, hint and context.
    pub details: Vec<String>,
}

impl Complaint {
    /// Whether something was not found by its name, as with pg_dump's empty search path: SQLSTATE 42P01, 42883, 42703 or
    /// 42704, or the same in English from pg_restore, which does not say the state.
    pub fn is_unresolved(&self) -> bool {
        match self.state.as_deref() {
            Some(state) => matches!(state, "42P01" | "42883" | "42703" | "42704"),
            None => self.error.contains("does not exist"),
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

/// Says what stands in a line of the SQL that psql is fed.
pub type Places = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// The names of psql's fields that are worth a word.
const DETAILS: [&str; 3] = ["DETAIL:", "HINT:", "CONTEXT:"];
/// The others.
const REST: [&str; 8] = [
    "LINE ", "LOCATION:", "SCHEMA NAME:", "TABLE NAME:", "COLUMN NAME:", "DATATYPE NAME:", "CONSTRAINT NAME:", "QUERY:",
];

/// The severities of what is no error.
const NOTICES: [&str; 5] = ["WARNING", "NOTICE", "INFO", "LOG", "DEBUG"];

/// Takes lines and makes complaints of them.
struct Parser {
    places: Places,
    /// The entry that pg_restore has named.
    entry: String,
    current: Option<Complaint>,
    /// Whether further lines without a name belong to the last detail, to nothing, or to the error.
    rest: Rest,
}

#[derive(PartialEq, Eq)]
enum Rest {
    OfError,
    OfDetail,
    Noise,
}

impl Parser {
    fn new(places: Places) -> Self {
        Self { places, entry: String::new(), current: None, rest: Rest::Noise }
    }

    /// Takes a line, and answers the complaint that has ended before it.
    fn take(&mut self, line: &str) -> Option<Complaint> {
        if let Some(rest) = line.strip_prefix("psql:<stdin>:") {
            let (number, rest) = rest.split_once(": ").unwrap_or(("", rest));
            let place = number.parse().map_or_else(|_| String::new(), |number| (self.places)(number));
            return self.begin(place, rest);
        }
        if let Some(rest) = line.strip_prefix("psql: ") {
            return self.begin(String::new(), rest);
        }
        if let Some(rest) = line.strip_prefix("pg_restore: ") {
            return self.take_of_restore(rest);
        }
        let Some(current) = &mut self.current else {
            if !line.trim().is_empty() {
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

    /// A line of pg_restore's own.
    fn take_of_restore(&mut self, rest: &str) -> Option<Complaint> {
        if let Some(entry) = rest.strip_prefix("from TOC entry ") {
            let (number, what) = entry.split_once("; ").unwrap_or((entry, ""));
            let what = what.splitn(3, ' ').nth(2).unwrap_or_default();
            self.entry = format!("entry {number}, {what}");
            return self.current.take();
        }
        let Some(error) = rest.strip_prefix("error: ") else {
            // "while PROCESSING TOC:", and how many errors there were.
            if let Some(warning) = rest.strip_prefix("warning: ").filter(|text| !text.starts_with("errors ignored")) {
                log::info!("pg_restore: {warning}");
            }
            return self.current.take();
        };
        let error = error.strip_prefix("could not execute query: ").unwrap_or(error);
        let place = std::mem::take(&mut self.entry);
        self.rest = Rest::OfError;
        self.current.replace(Complaint { place, error: squeezed(error), ..Complaint::default() })
    }

    /// Begins a complaint, or logs what is none.
    fn begin(&mut self, place: String, text: &str) -> Option<Complaint> {
        let before = self.current.take();
        let (severity, message) = text.split_once(": ").unwrap_or(("", text));
        let message = message.trim_start();
        let state = message.split_once(": ").filter(|(state, _)| is_state(state));
        let (state, error) = match state {
            Some((state, message)) => (Some(state.to_owned()), format!("{severity}: {message}")),
            None => (None, text.to_owned()),
        };
        // Classes 00 and 01 are those of notices and warnings, which may have others as well. Where the server speaks
        // another language, they tell alone.
        let is_notice = |state: &String| {
            state.starts_with("00") || state.starts_with("01") || NOTICES.contains(&severity.trim_start())
        };
        if state.as_ref().is_some_and(is_notice) {
            log::info!("{error}");
            self.rest = Rest::Noise;
            return before;
        }
        self.rest = Rest::OfError;
        self.current = Some(Complaint { place, state, error: squeezed(&error), details: Vec::new() });
        before
    }
}

fn is_state(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// A text as part of one line, cut where it is too long.
fn squeezed(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

/// What came of listening.
#[derive(Debug, Default)]
pub struct Heard {
    /// The first statement that failed.
    pub first: Option<Complaint>,
    /// How many failed.
    pub count: u64,
}

impl Heard {
    /// Whether it is a statement that has failed, and not the connection or the archive.
    pub fn is_of_statements(&self) -> bool {
        self.first.as_ref().is_some_and(|complaint| !complaint.place.is_empty())
    }

    /// The first failure, as the end of what a program has said.
    pub fn tail(&self) -> Tail {
        let mut tail = Tail::new(1);
        tail.push(self.first.as_ref().map(ToString::to_string).unwrap_or_default());
        tail
    }
}

/// Listens to psql or pg_restore on a thread of its own. Notices are logged as they come.
#[derive(Debug)]
pub struct Listener(Option<JoinHandle<Heard>>);

impl Listener {
    /// Listens to `errors`. With `lists` each failure is logged as well.
    pub fn start(errors: Option<impl Read + Send + 'static>, places: Places, lists: bool) -> Self {
        let listen = |errors| {
            std::thread::spawn(move || {
                let (mut parser, mut heard) = (Parser::new(places), Heard::default());
                let mut note = |complaint: Option<Complaint>| {
                    let Some(complaint) = complaint else { return };
                    if lists {
                        log::warn!("failed: {complaint}");
                    }
                    heard.count += 1;
                    heard.first.get_or_insert(complaint);
                };
                for_each_line(errors, |line| note(parser.take(line)));
                note(parser.current.take());
                heard
            })
        };
        Self(errors.map(listen))
    }

    /// Waits for the end of what they say.
    pub fn finish(self) -> Heard {
        self.0.and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

/// The lines of our own among those that psql is fed, by their numbers there.
#[derive(Debug, Clone, Default)]
pub struct OwnLines(Arc<Mutex<Vec<u64>>>);

impl OwnLines {
    /// Notes one. They come in their order.
    pub fn note(&self, line: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// The number that a line of psql's input has in the dump; a line of our own stands for the one behind it.
    fn in_dump(&self, line: u64) -> u64 {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = own.partition_point(|own| *own < line) as u64;
        line - before.min(line)
    }

    /// Says what stands in a line: an entry of `entries`, if there are any, or the line in the dump.
    pub fn places(&self, entries: Option<Entries>) -> Places {
        let own = self.clone();
        Arc::new(move |line| {
            let line = own.in_dump(line);
            let entry = entries.as_ref().and_then(|entries| entries.name(line));
            entry.map_or_else(|| format!("line {line}"), |name| format!("entry {name}"))
        })
    }
}

/// The entries of an archive whose SQL goes by: the line in which each begins, and its name.
#[derive(Debug, Clone, Default)]
pub struct Entries(Arc<Mutex<Vec<(u64, String)>>>);

impl Entries {
    /// Notes that an entry begins in a line.
    pub fn note(&self, line: u64, name: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((line, name));
    }

    /// The entry that a line belongs to; none before the first.
    fn name(&self, line: u64) -> Option<String> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = entries.partition_point(|(begin, _)| *begin <= line);
        entries.get(after.checked_sub(1)?).map(|(_, name)| name.clone())
    }
}

/// What pg_restore writes in front of each entry.
const NAME: &[u8] = b"-- Name: ";

/// The SQL of an archive, of which the entries are noted while it goes by.
pub struct NamingEntries<R> {
    sql: R,
    entries: Entries,
    line: u64,
    /// The beginning of the line that is going by.
    head: Vec<u8>,
}

impl<R: Read> NamingEntries<R> {
    /// At the beginning of the SQL.
    pub fn new(sql: R, entries: Entries) -> Self {
        Self { sql, entries, line: 1, head: Vec::new() }
    }

    fn end_line(&mut self) {
        if self.head.starts_with(NAME) {
            let text = String::from_utf8_lossy(&self.head[NAME.len()..]).into_owned();
            // "t; Type: TABLE; Schema: public; Owner: postgres"
            let mut parts = text.split("; ");
            let name = parts.next().unwrap_or_default();
            let field = |key: &str| text.split("; ").find_map(|part| part.strip_prefix(key)).unwrap_or("-");
            let schema = match field("Schema: ") {
                "-" => String::new(),
                schema => format!("{schema}."),
            };
            self.entries.note(self.line, format!("{} {schema}{name}", field("Type: ")));
        }
        self.head.clear();
        self.line += 1;
    }
}

impl<R: Read> Read for NamingEntries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.sql.read(buffer)?;
        let mut rest = &buffer[..length];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.head.extend_from_slice(&rest[..end.min(LONGEST)]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        if self.head.len() < LONGEST {
            self.head.extend_from_slice(&rest[..rest.len().min(LONGEST)]);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        let mut parser = Parser::new(OwnLines::default().places(None));
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
            pg_restore: warning: errors ignored on restore: 2\n";
        assert_eq!(
            complaints(text),
            [
                "entry 217, TABLE t postgres: ERROR: type \"x\" does not exist (HINT: make it)",
                "entry 3, TABLE DATA t postgres: COPY failed for table \"t\": ERROR: bad (CONTEXT: COPY t, line 1: \"x\")",
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
        assert!(of(Some("42P01"), "x").is_unresolved() && of(None, "type x does not exist").is_unresolved());
        assert!(!of(Some("23505"), "x does not exist").is_unresolved() && !of(None, "duplicate").is_unresolved());
    }

    #[test]
    fn lines_are_those_of_the_dump_and_those_of_an_archives_sql_its_entries() {
        let (own, entries) = (OwnLines::default(), Entries::default());
        own.note(1);
        own.note(12);
        entries.note(10, "TABLE public.t".into());
        entries.note(20, "VIEW public.v".into());
        let places = own.places(None);
        assert_eq!([2, 11, 12, 13, 14].map(|line| places(line)), ["line 1", "line 10", "line 11", "line 11", "line 12"]);
        let places = own.places(Some(entries));
        assert_eq!([3, 11, 99].map(|line| places(line)), ["line 2", "entry TABLE public.t", "entry VIEW public.v"]);
    }
}
