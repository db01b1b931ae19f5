//! The command line, and under their names the daemon and the scheduler.

use std::process::ExitCode;

fn main() -> ExitCode {
    backupgram::program::run_called()
}
