//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    backupgram::process::keep_private();
    backupgram::logger::start_command();
    backupgram::cli::run()
}
