//! Log lines: with time and level for the daemons, bare for commands and for children of a daemon, or as JSON objects,
//! one a line.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};
use serde::{Deserialize, Serialize};

use crate::settings::{self, Environment, Faults, Reader, Redactor};
use crate::util::terminal::{self, AboveBottomLine};

/// Set to `plain` by a daemon in the environment of its children, whose lines it stamps itself.
pub const PLAIN_VARIABLE: &str = "BACKUPGRAM_LOG";

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// JSON objects.
    Json,
}

impl Format {
    /// Reads the part of the settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        match reader.word("LOG_FORMAT")? {
            "json" => Some(Self::Json),
            _ => Some(Self::Text),
        }
    }
}

/// What this program is called in its lines, if they are JSON.
static IN_JSON: OnceLock<&'static str> = OnceLock::new();

/// Starts logging for a daemon: to standard output, `TIME LEVEL message`, time in UTC to the second, or JSON.
/// `RUST_LOG` chooses the level; the default is `info`.
///
/// # Errors
/// When `LOG_FORMAT` is none; lines are text then.
pub fn start_daemon(program: &'static str) -> Result<(), Faults> {
    let environment = Environment::of_process();
    Redactor::of_process().learn(&settings::secrets(&environment));
    let format = Reader::resolve(&environment, Format::read);
    match format {
        _ if is_stamped_elsewhere() => start(Target::Stdout, plain_line),
        Ok(Format::Json) => start_json(Target::Stdout, program),
        _ => start(Target::Stdout, stamped_line),
    }
    format.map(drop)
}

/// Starts logging for a command: to standard error, the message alone, warnings and errors so marked, or JSON. Lines
/// come to stand above the one that shows progress. A `LOG_FORMAT` that is none is for the command to refuse.
pub fn start_command() {
    let target = Target::Pipe(Box::new(AboveBottomLine));
    let environment = Environment::of_process();
    Redactor::of_process().learn(&settings::secrets(&environment));
    match Reader::resolve(&environment, Format::read) {
        Ok(Format::Json) if !is_stamped_elsewhere() => start_json(target, "backupgram"),
        _ => start(target, plain_line),
    }
}

/// Whether this program's lines are JSON.
pub fn is_json() -> bool {
    IN_JSON.get().is_some()
}

/// Prints on standard error why a program does not start: each line after `mark`, or as JSON.
pub fn say_refusal(mark: &str, reason: &impl Display) {
    for line in reason.to_string().lines() {
        // A closed pipe is ignored; eprintln! would panic.
        let _ = if is_json() {
            writeln!(io::stderr(), "{}", Line::new(Level::Error, module_path!(), line).to_json())
        } else {
            writeln!(io::stderr(), "{mark}: {}", printable(line))
        };
    }
}

/// A line that a child has printed as JSON; what is a line of a log already stays as it is.
pub fn adopt(line: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Line>(line) {
        Ok(_) => Cow::Borrowed(line),
        Err(_) => Cow::Owned(Line::new(Level::Info, module_path!(), line).to_json()),
    }
}

fn is_stamped_elsewhere() -> bool {
    std::env::var_os(PLAIN_VARIABLE).is_some_and(|value| value == "plain")
}

type Form = fn(&mut env_logger::fmt::Formatter, &log::Record) -> std::io::Result<()>;

fn start(target: Target, form: Form) {
    start_with(target, form, &filters());
}

fn start_json(target: Target, program: &'static str) {
    let _ = IN_JSON.set(program);
    // Its own words would be no JSON.
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let text = format!("thread {} {panic}", thread.name().unwrap_or("without a name"));
        let _ = writeln!(io::stderr(), "{}", Line::new(Level::Error, module_path!(), &text).to_json());
    }));
    start_with(target, json_line, &understood(&filters()));
}

fn start_with(target: Target, form: Form, filters: &str) {
    // A second start in the same process is a test's; the first one stays.
    let _ = Builder::new().parse_filters(filters).target(target).format(form).try_init();
}

fn filters() -> String {
    std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into())
}

/// The filters without those that env_logger would complain about on standard error.
fn understood(filters: &str) -> String {
    let is_plain = |filter: &&str| match filter.split_once('=') {
        Some((_, level)) => level.trim().parse::<LevelFilter>().is_ok(),
        None => !filter.contains('/'),
    };
    filters.split(',').filter(is_plain).collect::<Vec<_>>().join(",")
}

fn stamped_line(f: &mut env_logger::fmt::Formatter, record: &log::Record) -> std::io::Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    writeln!(f, "{now} {:<5} {}", record.level(), printable(&record.args().to_string()))
}

fn plain_line(f: &mut env_logger::fmt::Formatter, record: &log::Record) -> std::io::Result<()> {
    let message = printable(&record.args().to_string());
    match record.level() {
        Level::Error => writeln!(f, "error: {message}"),
        Level::Warn => writeln!(f, "warning: {message}"),
        _ => writeln!(f, "{message}"),
    }
}

fn json_line(f: &mut env_logger::fmt::Formatter, record: &log::Record) -> std::io::Result<()> {
    let line = Line::new(record.level(), record.target(), &record.args().to_string());
    writeln!(f, "{}", line.to_json())
}

/// The message in one line, without secrets and with control characters escaped: a name in it must not steer a terminal
/// or look like another log line.
fn printable(message: &str) -> String {
    terminal::printable(&Redactor::of_process().clean(message)).into_owned()
}

/// A line as a JSON object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// RFC 3339, in UTC.
    time: String,
    /// "error", "warn", "info", "debug" or "trace".
    level: String,
    /// The program whose line it is.
    program: String,
    /// The part of it, by which `RUST_LOG` chooses.
    target: String,
    /// What a line of text would say.
    message: String,
}

impl Line {
    fn new(level: Level, target: &str, message: &str) -> Self {
        Self {
            time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            level: level.as_str().to_ascii_lowercase(),
            program: IN_JSON.get().copied().unwrap_or_default().to_owned(),
            target: target.to_owned(),
            message: printable(message),
        }
    }

    fn to_json(&self) -> String {
        // Texts always have a JSON text.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Line {
        assert!(!text.contains('\n'), "{text:?}");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn whatever_is_said_is_one_line_of_json() {
        for said in ["", "a\nb", "\"\\", "\u{1b}[2J\u{202e}\0", "{\"time\":1}", "é 数据"] {
            let line = parsed(&Line::new(Level::Warn, "here", said).to_json());
            assert_eq!((line.level.as_str(), line.target.as_str()), ("warn", "here"));
            assert_eq!(line.message, printable(said));
            assert!(line.time.ends_with('Z'), "{}", line.time);
            line.time.parse::<jiff::Timestamp>().unwrap();
        }
    }

    #[test]
    fn a_name_cannot_end_a_line_nor_write_one_of_its_own() {
        let name = "app\n2026-11-27T00:00:00Z INFO  all is well\r\u{85}\u{2028}\u{9b}2J";
        let expected = r"app\n2026-11-27T00:00:00Z INFO  all is well\r\u{85}\u{2028}\u{9b}2J";
        assert_eq!(printable(name), expected);
    }

    #[test]
    fn a_childs_line_is_wrapped_unless_it_is_one_of_the_log() {
        let own = Line::new(Level::Error, "there", "said by the child").to_json();
        assert_eq!(adopt(&own), own);
        let longer = own.replace("\"level\"", "\"more\":1,\"level\"");
        for foreign in
            ["", "words", "{}", "[]", "1", "{\"message\":\"x\"}", &longer, &own[1..], &format!("{own}{own}")]
        {
            let line = parsed(&adopt(foreign));
            assert_eq!((line.level.as_str(), line.message.as_str()), ("info", foreign));
        }
    }

    #[test]
    fn filters_that_would_be_complained_about_are_left_out() {
        assert_eq!(understood("info"), "info");
        assert_eq!(understood("warn,backupgram::http=debug"), "warn,backupgram::http=debug");
        assert_eq!(understood("backupgram=loud,error,a=b=c,x/y/z"), "error");
    }
}
