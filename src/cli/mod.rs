//! The commands of `backupgram`, one file each. Only here do errors become exit statuses.

mod backup;
mod check_env;
mod health;
mod history;
mod list;
mod restore;
pub mod schedule;
mod status;

use std::fmt::Display;
use std::process::ExitCode;

use lexopt::Arg;

use crate::process::{Interrupted, Runner, Signals};
use crate::settings::{self, Environment, Faults};
use crate::terminal;

const USAGE: &str = "\
backupgram backup                          back up every database of the settings now
backupgram list                            show what there is
backupgram restore last/NAME               restore a backup into the database that it is of
backupgram restore last/NAME OTHER         ... into another one

usage: backupgram COMMAND [ARGUMENTS]

  backup [DATABASE...]                     back up now, all databases or these
  restore [--keep-previous] [--yes] FILE [TARGET]
                                           restore SLOT/NAME or a path, all or nothing
  list [--json] [DATABASE]                 the backups
  status [--json]                          how the last run went
  history [--json] [--limit N]             the last runs, the newest first
  health [--json]                          whether all is well, in one line
  schedule EXPRESSION [--from TIME] [--count N]
                                           when a schedule comes next
  check-env [--print NAME]                 everything that is wrong with the settings
  help, --version

exit status: 0 done; 1 failed; 2 wrong call; 75 another backup or restore is running;
128 + N stopped by signal N. Settings come from the environment.";

/// The work is done by somebody else at the moment (EX_TEMPFAIL of sysexits.h).
const BUSY: u8 = 75;
/// The command line makes no sense.
const WRONG_CALL: u8 = 2;

/// Why a command did not do what it was asked; each line says one thing.
struct Failure {
    status: u8,
    lines: Vec<String>,
}

impl Failure {
    fn new(error: impl Display) -> Self {
        Self { status: 1, lines: error.to_string().lines().map(String::from).collect() }
    }

    /// A failure that has been said already.
    fn silent(status: u8) -> Self {
        Self { status, lines: Vec::new() }
    }

    fn busy(error: impl Display) -> Self {
        Self { status: BUSY, ..Self::new(error) }
    }

    fn interrupted(interrupted: Interrupted) -> Self {
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
        Self::new(faults)
    }
}

type Outcome = Result<(), Failure>;

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let mut arguments = lexopt::Parser::from_env();
    let outcome = match arguments.next() {
        Ok(Some(Arg::Value(command))) => match command.to_str() {
            Some("backup") => backup::run(arguments),
            Some("restore") => restore::run(arguments),
            Some("list") => list::run(arguments),
            Some("history") => history::run(arguments),
            Some("health") => health::run(arguments),
            Some("status") => status::run(arguments),
            Some("check-env") => check_env::run(arguments),
            Some("schedule") => return schedule::run(&mut arguments),
            Some("help") => help(),
            _ => Err(Arg::Value(command).unexpected().into()),
        },
        Ok(Some(Arg::Long("help") | Arg::Short('h'))) => help(),
        Ok(Some(Arg::Long("version") | Arg::Short('V'))) => {
            print(&format!("backupgram {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Ok(Some(other)) => Err(other.unexpected().into()),
        Ok(None) => {
            eprintln!("{USAGE}");
            return ExitCode::from(WRONG_CALL);
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.lines.iter().for_each(|line| log::error!("{line}"));
            ExitCode::from(failure.status)
        }
    }
}

fn help() -> Outcome {
    print(USAGE);
    Ok(())
}

/// Prints to standard output; a reader that has seen enough is no error.
fn print(text: &str) {
    use std::io::Write;
    // Standard output may be the same terminal.
    let _ = terminal::above_bottom_line(|_| writeln!(std::io::stdout(), "{text}"));
}

/// The environment with the overrides of the backup directory.
fn environment() -> Result<Environment, Failure> {
    settings::effective_environment().map_err(Failure::new)
}

/// A runner that a stop signal stops. Called first, before any other thread is started.
fn runner() -> Result<Runner, Failure> {
    let signals = Signals::catch().map_err(Failure::new)?;
    Runner::start(signals).map_err(Failure::new)
}
