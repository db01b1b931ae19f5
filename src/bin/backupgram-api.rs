//! The daemon: HTTP API, jobs, and the supervisor of go-cron.

use std::process::ExitCode;

use backupgram::daemon::{self, DaemonError};
use backupgram::{logger, process};

fn main() -> ExitCode {
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
