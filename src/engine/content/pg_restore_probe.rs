//! pg_restore reading an archive to its end, as it would for a restore, and whose fault it is when it fails.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};

use nix::sys::signal::Signal;

use super::error::ContentError;
use super::header::dump_version;
use crate::postgres::Version;
use crate::settings::remove_secrets;
use crate::system::process::{Child, Exit, Listener, ProgramError, Runner};

/// A pg_restore that reads what is handed to it.
#[derive(Debug)]
pub struct PgRestoreProbe {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Listener,
    runner: Runner,
}

impl PgRestoreProbe {
    /// Starts it.
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

    /// Hands it the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(bytes).is_err()
        {
            // It has ended, and its exit status says why.
            self.stdin = None;
        }
    }

    /// Waits for its end; `head` is what the archive's table of contents begins with.
    ///
    /// # Errors
    /// When it fails, or a stop signal came.
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

    /// Ends it.
    pub fn abandon(self) {
        // Not by the end of its input, after which it may read on for ever.
        self.child.signaller().signal(Signal::SIGKILL);
        self.child.wait();
    }
}

/// pg_restore that reads the whole of an archive and writes the SQL to nowhere.
pub fn read_to_the_end() -> Command {
    let mut command = Command::new("pg_restore");
    command.arg("--file=/dev/null").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    remove_secrets(&mut command);
    // What it says is looked at.
    command.env("LC_ALL", "C");
    command
}

/// The status with which pg_restore ends when it fails. Another one is that of a shell or the dynamic linker in front.
const FAILED: i32 = 1;
/// What pg_restore says of an archive of a later format than it knows.
const UNSUPPORTED: &str = "unsupported version (";
/// What pg_restore says when it lacks something itself: how it was built, memory, or files that it may open.
const LACKING: [&str; 6] = [
    "does not support compression",
    "compression not supported",
    "not built with",
    "out of memory",
    "Cannot allocate memory",
    "Too many open files",
];

/// What a failure of pg_restore means for an archive whose table of contents begins with `head`. It is not enough to
/// clear a damaged one: that is for its checksum to do.
pub fn judge(error: ProgramError, head: &[u8], runner: &Runner) -> ContentError {
    match &error {
        ProgramError::Failed(_, Exit::Code(FAILED), said) if said.contains(UNSUPPORTED) => {
            match (dump_version(head), Version::of_program("pg_restore", runner)) {
                (Some(dump), Ok(tool)) if dump.major > tool.major => ContentError::Newer { dump, tool },
                // A pg_dump that is no newer writes nothing that pg_restore does not know.
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
