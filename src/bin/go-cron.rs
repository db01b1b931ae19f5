//! The scheduler: runs a command by a cron schedule and answers on a health port.

use std::process::ExitCode;

fn main() -> ExitCode {
    backupgram::program::run_scheduler()
}
