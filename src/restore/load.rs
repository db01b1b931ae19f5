//! Loads a checked backup into the scratch database.

use std::io::{Read, Write};
use std::process::{ChildStdin, Stdio};
use std::thread;

use memchr::memmem;
use nix::sys::signal::Signal;

use super::RestoreError;
use super::scratch::Scratch;
use super::source::Checked;
use crate::postgres::Version;
use crate::process::{ProgramError, Runner, Tail, for_each_line};
use crate::progress::Progress;

/// Lines of psql's standard error that a failure's message carries.
const ERROR_LINES: usize = 5;
/// Bytes of the SQL in which pg_dump's settings of the session stand.
const PREAMBLE: usize = 8 * 1024;
/// A setting that pg_dump writes since version 17, whatever the server, and that older servers do not know.
const TRANSACTION_TIMEOUT: &[u8] = b"\nSET transaction_timeout = 0;\n";

/// Loads the backup.
///
/// psql runs statement by statement and stops at the first error: nobody sees the scratch database, so one
/// transaction around it all would add no safety, while its locks on every object of a large schema can
/// exceed the server's `max_locks_per_transaction`.
///
/// # Errors
/// When psql fails, the backup cannot be read again, or a stop signal comes.
pub fn load(
    backup: &mut Checked,
    scratch: &Scratch,
    version: &Version,
    runner: &Runner,
) -> Result<(), RestoreError> {
    let mut command = scratch.client().of_database(scratch.name()).command("psql");
    command.args(["--no-psqlrc", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1", "--file", "-"]);
    // The renames at the end are flushed, and with them all that was written before.
    command.env("PGOPTIONS", "-c synchronous_commit=off");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = runner.spawn(&mut command)?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let mut said = Tail::new(ERROR_LINES);
    let progress = Progress::start(format!("loading {}", backup.label()), Some(backup.sql_bytes));
    let fed = thread::scope(|scope| {
        scope.spawn(|| {
            if let Some(stderr) = stderr {
                for_each_line(stderr, |line| {
                    log::info!("{line}");
                    said.push(line);
                });
            }
        });
        let Some(stdin) = stdin else { return Ok(()) };
        let fed = backup.load(runner, |sql| feed(&mut progress.reader(sql), stdin, version));
        if fed.is_err() {
            // An end of its input would look like the end of the dump to psql.
            child.signaller().signal(Signal::SIGTERM);
        }
        fed
    });
    let exit = child.wait();
    runner.check().map_err(ProgramError::Interrupted)?;
    match fed {
        // psql's own words say more than that it stopped reading.
        Err(RestoreError::Feed(_)) | Ok(()) if !exit.success() => {
            Err(runner.failure(command.get_program(), exit, &said).into())
        }
        fed => fed,
    }
}

fn feed(sql: &mut dyn Read, mut stdin: ChildStdin, version: &Version) -> Result<(), RestoreError> {
    let mut preamble = Vec::with_capacity(PREAMBLE);
    sql.take(PREAMBLE as u64).read_to_end(&mut preamble).map_err(RestoreError::Read)?;
    if version.major < 17 {
        blank(&mut preamble, TRANSACTION_TIMEOUT);
    }
    stdin.write_all(&preamble).map_err(RestoreError::Feed)?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match sql.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => stdin.write_all(&chunk[..length]).map_err(RestoreError::Feed)?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RestoreError::Read(error)),
        }
    }
}

/// Turns a line into spaces, so that the numbers of the others stay right in psql's messages.
fn blank(text: &mut [u8], line: &[u8]) {
    if let Some(at) = memmem::find(text, line) {
        text[at + 1..at + line.len() - 1].fill(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_an_old_server_does_not_know_is_blanked_and_nothing_else() {
        let mut text = b"SET a = 0;\nSET transaction_timeout = 0;\nSET b = 0;\n".to_vec();
        blank(&mut text, TRANSACTION_TIMEOUT);
        assert_eq!(text, b"SET a = 0;\n                            \nSET b = 0;\n");
    }
}
