//! What the commands share: failures and exit statuses, printing, the settings and the runner.

use std::fmt::Display;
use std::io::{self, Write};

use crate::settings::{self, Environment, Faults, Reader, Redactor};
use crate::system::logger;
use crate::system::process::{Interrupted, Runner, Signals};
use crate::util::terminal;

/// Exit status: another backup or restore is running (EX_TEMPFAIL of sysexits.h).
pub(super) const BUSY: u8 = 75;
/// Exit status: a panic.
pub(super) const PANIC: u8 = 101;
/// Exit status: wrong arguments.
pub(super) const WRONG_CALL: u8 = 2;

/// Why a command failed: its exit status, and the lines to log.
#[derive(Clone)]
pub(super) struct Failure {
    pub status: u8,
    pub lines: Vec<String>,
}

impl Failure {
    pub fn new(error: impl Display) -> Self {
        Self { status: 1, lines: vec![error.to_string()] }
    }

    pub fn with_status(status: u8, error: impl Display) -> Self {
        Self { status, ..Self::new(error) }
    }

    /// A failure that is logged already.
    pub fn silent(status: u8) -> Self {
        Self { status, lines: Vec::new() }
    }

    pub fn busy(error: impl Display) -> Self {
        Self { status: BUSY, ..Self::new(error) }
    }

    pub fn interrupted(interrupted: Interrupted) -> Self {
        Self { status: 128 + interrupted.0 as i32 as u8, ..Self::new(interrupted) }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self { status: WRONG_CALL, ..Self::new(format!("{error}; `backupgram help` shows how to call it")) }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self { status: 1, lines: faults.0.iter().map(ToString::to_string).collect() }
    }
}

pub(super) type Outcome = Result<(), Failure>;

/// Prints to standard output. A closed pipe is no error.
pub(super) fn print(text: &str) {
    // Standard output may be the terminal that shows progress.
    let _ = terminal::above_bottom_line(|_| writeln!(io::stdout(), "{text}"));
}

/// Prints one line without secrets and control characters, as it may hold names and output of programs.
pub(super) fn print_line(text: &str) {
    print(&terminal::printable(&Redactor::of_process().clean(text)));
}

/// The environment with the overrides of the backup directory. Fails also when LOG_FORMAT is wrong.
pub(super) fn environment() -> Result<Environment, Failure> {
    let environment = settings::effective_environment().map_err(Failure::new)?;
    Reader::resolve(&environment, logger::Format::read)?;
    Ok(environment)
}

/// A runner whose programs a stop signal ends. Must be called before any other thread is started.
pub(super) fn runner() -> Result<Runner, Failure> {
    let failed = |error| Failure::new(format_args!("cannot set up the run: {error}"));
    Runner::start(Signals::catch().map_err(failed)?).map_err(failed)
}
