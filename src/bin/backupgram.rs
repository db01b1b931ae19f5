//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    backupgram::logger::start_command();
    backupgram::cli::run()
}
