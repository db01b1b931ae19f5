//! Has pg_restore read an archive to its end, as for a restore, and tells a damaged archive from a missing feature of
//! the machine.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};

use nix::sys::signal::Signal;

use super::error::ContentError;
use super::header::dump_version;
use crate::postgres::Version;
use crate::settings::remove_secrets;
use crate::system::process::{Child, Exit, Listener, ProgramError, Runner};

/// A running pg_restore that reads from its standard input.
#[derive(Debug)]
pub struct PgRestoreProbe {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Listener,
    runner: Runner,
}

impl PgRestoreProbe {
    /// Starts pg_restore.
    ///
    /// # Errors
    /// When it cannot be started, or a stop signal has come.
    pub fn start(runner: &Runner) -> Result<Self, ProgramError> {
        let mut command = read_to_the_end();
        command.stdin(Stdio::piped());
        let mut child = runner.spawn(&mut command)?;
        let (stdin, said) = (child.stdin.take(), Listener::start(child.stderr.take()));
        Ok(Self { child, stdin, said, runner: runner.clone() })
    }

    /// Writes the next bytes to it.
    pub fn take(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(bytes).is_err()
        {
            // pg_restore has ended; its exit status says why.
            self.stdin = None;
        }
    }

    /// Waits for its end. `head` has the first bytes of the archive's table of contents.
    ///
    /// # Errors
    /// When pg_restore fails, or a stop signal came.
    pub fn finish(mut self, head: &[u8]) -> Result<(), ContentError> {
        drop(self.stdin.take());
        let exit = self.child.wait();
        let said = self.said.finish();
        self.runner.check()?;
        if exit.success() {
            Ok(())
        } else {
            Err(judge(self.runner.failure("pg_restore".as_ref(), exit, &said), head, &self.runner))
        }
    }

    /// Kills it.
    pub fn abandon(self) {
        // Killed, as pg_restore may read endlessly after an early end of its input.
        self.child.signaller().signal(Signal::SIGKILL);
        self.child.wait();
    }
}

/// The command that reads an archive to its end and discards the SQL.
pub fn read_to_the_end() -> Command {
    let mut command = Command::new("pg_restore");
    command.arg("--file=/dev/null").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    remove_secrets(&mut command);
    // Messages are compared in English.
    command.env("LC_ALL", "C");
    command
}

/// pg_restore's exit status on failure. Others are those of a shell or of the dynamic linker.
const FAILED: i32 = 1;
/// pg_restore's message for an archive of a newer format.
const UNSUPPORTED: &str = "unsupported version (";
/// pg_restore's messages when the machine is the cause: build options, memory, open files.
const LACKING: [&str; 6] = [
    "does not support compression",
    "compression not supported",
    "not built with",
    "out of memory",
    "Cannot allocate memory",
    "Too many open files",
];

/// The cause of a failure of pg_restore. `head` has the first bytes of the archive's table of contents. A
/// [`ContentError::Program`] does not mean that the archive is undamaged; the checksum tells that.
pub fn judge(error: ProgramError, head: &[u8], runner: &Runner) -> ContentError {
    match &error {
        ProgramError::Failed(_, Exit::Code(FAILED), said) if said.contains(UNSUPPORTED) => {
            match (dump_version(head), Version::of_program("pg_restore", runner)) {
                (Some(dump), Ok(tool)) if dump.major > tool.major => ContentError::Newer { dump, tool },
                // A pg_dump that is not newer writes nothing that pg_restore does not know.
                (Some(_), Ok(_)) => ContentError::Archive(error),
                _ => ContentError::Program(error),
            }
        }
        ProgramError::Failed(_, Exit::Code(FAILED), said)
            if !LACKING.iter().any(|words| said.contains(words)) =>
        {
            ContentError::Archive(error)
        }
        _ => ContentError::Program(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::process::test_runner;

    #[test]
    fn what_ends_pg_restore_is_told_from_what_it_finds() {
        let judged = |exit, said: &str| {
            let error = ProgramError::Failed("pg_restore".into(), exit, said.to_owned());
            judge(error, b"PGDMP", &test_runner())
        };
        for found in [
            "pg_restore: error: could not read from input file: end of file",
            "pg_restore: error: unexpected section code 1.5 while searching for file offset",
            "",
        ] {
            assert!(judged(Exit::Code(1), found).is_damage(), "{found}");
        }
        for lacking in [
            "pg_restore: error: this build does not support compression with zstd",
            "pg_restore: error: not built with zlib support",
            "pg_restore: error: out of memory",
            // By nobody that is known.
            "pg_restore: error: unsupported version (1.99) in file header",
        ] {
            assert!(!judged(Exit::Code(1), lacking).is_damage(), "{lacking}");
        }
        for exit in
            [Exit::Signal(Signal::SIGKILL), Exit::Signal(Signal::SIGSEGV), Exit::Code(127), Exit::Unknown]
        {
            assert!(!judged(exit, "").is_damage(), "{exit}");
        }
    }
}
