//! The daemon: HTTP API, jobs, and the supervisor of go-cron.

use std::process::ExitCode;

fn main() -> ExitCode {
    backupgram::program::run_daemon()
}
