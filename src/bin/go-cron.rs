//! The scheduler: runs a command by a cron schedule and answers on a health port.

use std::process::ExitCode;

use backupgram::process::Signals;
use backupgram::scheduler::{self, Arguments, USAGE};

fn main() -> ExitCode {
    // Before any thread: a signal that comes before the handlers would end us on the spot.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format!("cannot catch signals: {error}")),
    };
    backupgram::process::keep_private();
    backupgram::logger::start_daemon();
    match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Arguments::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Arguments::Serve(service)) => match scheduler::run(service, signals) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &error.to_string()),
        },
        Err(error) => fail(2, &format!("{error} (go-cron -h shows how to call it)")),
    }
}

fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("go-cron: {message}");
    ExitCode::from(status)
}
