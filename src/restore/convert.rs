//! pg_restore turning an archive into SQL.

use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::Signal;

use super::RestoreError;
use super::load::Archive;
use crate::process::{Child, Listener, ProgramError, Runner, Signaller};
use crate::settings::remove_secrets;

/// A running pg_restore that talks to no server.
#[derive(Debug)]
pub struct Converter {
    child: Child,
    said: Listener,
    runner: Runner,
}

impl Converter {
    /// Converts an archive that lies in a file or directory.
    ///
    /// # Errors
    /// When pg_restore cannot be started, or a stop signal has come.
    pub(super) fn start(archive: Archive, runner: &Runner) -> Result<Self, ProgramError> {
        let mut command = command();
        archive.add_to(&mut command);
        Self::run(command, runner)
    }

    /// Converts an archive that is written to the answer's second part.
    ///
    /// # Errors
    /// When pg_restore cannot be started, or a stop signal has come.
    pub(super) fn start_streaming(runner: &Runner) -> Result<(Self, ChildStdin), ProgramError> {
        let mut command = command();
        command.stdin(Stdio::piped());
        let mut converter = Self::run(command, runner)?;
        let closed = || ProgramError::Start("pg_restore".into(), std::io::ErrorKind::BrokenPipe.into());
        let input = converter.child.stdin.take().ok_or_else(closed)?;
        Ok((converter, input))
    }

    fn run(mut command: Command, runner: &Runner) -> Result<Self, ProgramError> {
        let mut child = runner.spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let said = Listener::start(child.stderr.take());
        Ok(Self { child, said, runner: runner.clone() })
    }

    /// The SQL; once.
    pub(super) fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// A handle that can end it from another thread.
    pub(super) fn signaller(&self) -> Signaller {
        self.child.signaller()
    }

    /// Ends it, as nobody reads its output any more.
    pub(super) fn abandon(&self) {
        self.child.signaller().signal(Signal::SIGKILL);
    }

    /// Waits for its end; `fed` is how it went with its output.
    ///
    /// # Errors
    /// What `fed` says, or else pg_restore's failure.
    pub(super) fn finish(self, fed: Result<(), RestoreError>) -> Result<(), RestoreError> {
        if !matches!(fed, Ok(()) | Err(RestoreError::Convert(_))) {
            self.abandon();
        }
        let exit = self.child.wait();
        let said = self.said.finish();
        match fed {
            // pg_restore's own words say more than that it stopped reading.
            Err(RestoreError::Convert(_)) | Ok(()) if !exit.success() => {
                Err(self.runner.failure("pg_restore".as_ref(), exit, &said).into())
            }
            fed => fed,
        }
    }
}

fn command() -> Command {
    let mut command = Command::new("pg_restore");
    command.arg("--file=-");
    remove_secrets(&mut command);
    command
}
