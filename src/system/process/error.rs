//! Why a program did not do its work.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Command;

use nix::sys::signal::Signal;
use thiserror::Error;

use super::lines::Tail;
use super::reaper::Exit;

/// A stop signal has come, or the run has no time left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("stopped by {0}")]
pub struct Interrupted(pub Signal);

/// Why a program did not do its work.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("cannot start {}: {}", .0.display(), .1)]
    Start(OsString, #[source] io::Error),
    /// It ended with a failure; the text is the end of its standard error.
    #[error("{}", failure(.0, *.1, .2))]
    Failed(OsString, Exit, String),
    /// A signal asked us to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ProgramError {
    /// The error of a command that could not be started.
    pub(super) fn start(command: &Command, error: io::Error) -> Self {
        Self::Start(command.get_program().to_owned(), error)
    }

    /// The error of a program that ended with a failure and has printed `stderr`.
    pub(super) fn failed(program: &OsStr, exit: Exit, stderr: &Tail) -> Self {
        Self::Failed(program.to_owned(), exit, stderr.joined())
    }
}

/// The message of [`ProgramError::Failed`].
fn failure(program: &OsStr, exit: Exit, stderr: &str) -> String {
    let program = program.display();
    if stderr.is_empty() { format!("{program}: {exit}") } else { format!("{program}: {exit}: {stderr}") }
}
