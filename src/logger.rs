//! Log lines: with time and level for the daemons, bare for commands and for children of a daemon.

use std::io::Write;

use env_logger::{Builder, Target};
use log::Level;

use crate::terminal::{self, AboveBottomLine};

/// Set to `plain` by a daemon in the environment of its children, whose lines it stamps itself.
pub const PLAIN_VARIABLE: &str = "BACKUPGRAM_LOG";

/// Starts logging for a daemon: to standard output, `TIME LEVEL message`, time in UTC to the second.
/// `RUST_LOG` chooses the level; the default is `info`.
pub fn start_daemon() {
    if std::env::var_os(PLAIN_VARIABLE).is_some_and(|value| value == "plain") {
        start(Target::Stdout, plain_line);
    } else {
        start(Target::Stdout, stamped_line);
    }
}

/// Starts logging for a command: to standard error, the message alone, warnings and errors so marked. Lines
/// come to stand above the one that shows progress.
pub fn start_command() {
    start(Target::Pipe(Box::new(AboveBottomLine)), plain_line);
}

type Line = fn(&mut env_logger::fmt::Formatter, &log::Record) -> std::io::Result<()>;

fn start(target: Target, line: Line) {
    let filters = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    // A second start in the same process is a test's; the first one stays.
    let _ = Builder::new().parse_filters(&filters).target(target).format(line).try_init();
}

fn stamped_line(f: &mut env_logger::fmt::Formatter, record: &log::Record) -> std::io::Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    writeln!(f, "{now} {:<5} {}", record.level(), message(record))
}

fn plain_line(f: &mut env_logger::fmt::Formatter, record: &log::Record) -> std::io::Result<()> {
    match record.level() {
        Level::Error => writeln!(f, "error: {}", message(record)),
        Level::Warn => writeln!(f, "warning: {}", message(record)),
        _ => writeln!(f, "{}", message(record)),
    }
}

/// What is logged, without anything that a terminal would obey: names in it may be anybody's.
fn message(record: &log::Record) -> String {
    let text = record.args().to_string();
    text.split('\n').map(terminal::printable).collect::<Vec<_>>().join("\n")
}
