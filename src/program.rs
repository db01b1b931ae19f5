//! The three programs. `backupgram` is each of them, by the name that it is called by: what they share is most of them,
//! so the image has it once, and links of their names.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use lexopt::Arg;

use crate::cli;
use crate::daemon::{self, DaemonError};
use crate::service::scheduler::{self, Arguments, USAGE};
use crate::system::logger;
use crate::system::process::{self, Signals};

/// Runs the program by whose name this process was called; without such a name, the command line.
pub fn run_called() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(OsStr::to_str) {
        Some("backupgram-api") => run_daemon(),
        Some("go-cron") => run_scheduler(),
        _ => run_command(),
    }
}

/// The command line.
pub fn run_command() -> ExitCode {
    process::keep_private();
    logger::start_command();
    cli::run()
}

/// The daemon: HTTP API, jobs, and the supervisor of go-cron.
pub fn run_daemon() -> ExitCode {
    match lexopt::Parser::from_env().next() {
        Ok(None) => {}
        Ok(Some(Arg::Long("help") | Arg::Short('h'))) => {
            say(daemon::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Some(other)) => return refuse_call("error", &other.unexpected(), "backupgram-api --help"),
        Err(error) => return refuse_call("error", &error, "backupgram-api --help"),
    }
    process::keep_private();
    let started = logger::start_daemon("backupgram-api").map_err(DaemonError::from);
    match started.and_then(|()| daemon::run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logger::say_refusal("error", &error);
            ExitCode::FAILURE
        }
    }
}

/// The scheduler: runs a command by a cron schedule and answers on a health port.
pub fn run_scheduler() -> ExitCode {
    // Before any thread: a signal that comes before the handlers would end us on the spot.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return refuse(1, &format_args!("cannot catch signals: {error}")),
    };
    process::keep_private();
    if let Err(faults) = logger::start_daemon("go-cron") {
        return refuse(1, &faults);
    }
    match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Arguments::Help) => {
            say(USAGE);
            ExitCode::SUCCESS
        }
        Ok(Arguments::Serve(service)) => match scheduler::run(service, signals) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(1, &error),
        },
        Err(error) => refuse_call("go-cron", &error, "go-cron -h"),
    }
}

/// Prints to standard output; a reader that has seen enough is no error.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A command line that makes no sense.
fn refuse_call(name: &str, error: &lexopt::Error, help: &str) -> ExitCode {
    logger::say_refusal(name, &format_args!("{error} ({help} shows how to call it)"));
    ExitCode::from(2)
}

fn refuse(status: u8, reason: &impl Display) -> ExitCode {
    logger::say_refusal("go-cron", reason);
    ExitCode::from(status)
}
