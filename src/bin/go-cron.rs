//! The scheduler: runs a command by a cron schedule and answers on a health port.

use std::fmt::Display;
use std::process::ExitCode;

use backupgram::logger;
use backupgram::process::Signals;
use backupgram::scheduler::{self, Arguments, USAGE};

fn main() -> ExitCode {
    // Before any thread: a signal that comes before the handlers would end us on the spot.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format_args!("cannot catch signals: {error}")),
    };
    backupgram::process::keep_private();
    if let Err(faults) = logger::start_daemon("go-cron") {
        return fail(1, &faults);
    }
    match Arguments::parse(lexopt::Parser::from_env()) {
        Ok(Arguments::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Arguments::Serve(service)) => match scheduler::run(service, signals) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &error),
        },
        Err(error) => fail(2, &format_args!("{error} (go-cron -h shows how to call it)")),
    }
}

fn fail(status: u8, reason: &impl Display) -> ExitCode {
    logger::say_refusal("go-cron", reason);
    ExitCode::from(status)
}
