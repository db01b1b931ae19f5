//! The daemon: HTTP API, jobs, and the supervisor of go-cron.

use std::process::ExitCode;

fn main() -> ExitCode {
    backupgram::process::keep_private();
    backupgram::logger::start_daemon();
    match backupgram::daemon::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.to_string().lines().for_each(|line| eprintln!("error: {line}"));
            ExitCode::FAILURE
        }
    }
}
