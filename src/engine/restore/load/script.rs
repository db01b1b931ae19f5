//! Runs the user's SQL in the new database, before and after the load.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::listener::{Heard, Listener};
use super::places::OwnLines;
use super::psql::LOADS;
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::options::Options;
use crate::postgres::Client;
use crate::system::process::{Exit, ProgramError, Runner, for_each_line};

/// Fails in an open transaction, which would otherwise be rolled back at the end without an error.
const END: &str = "DISCARD ALL";

/// The user's SQL files, opened at the beginning of the restore, so that later changes have no effect and pipes can be
/// run twice.
#[derive(Debug)]
pub struct Scripts {
    /// Run before the load.
    pub before: Option<Script>,
    /// Run after the load.
    pub after: Option<Script>,
}

impl Scripts {
    /// Opens them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open(options: &Options) -> Result<Self, RestoreError> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(Script::open).transpose();
        Ok(Self { before: open(&options.before)?, after: open(&options.after)? })
    }
}

/// A file of SQL.
#[derive(Debug)]
pub struct Script {
    path: PathBuf,
    file: File,
}

impl Script {
    fn open(path: &Path) -> Result<Self, RestoreError> {
        let opened = File::open(path).and_then(rereadable);
        let file = opened.map_err(|error| RestoreError::Open(path.display().to_string(), error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Runs the file by psql, which stops at the first error. The output is logged.
    ///
    /// # Errors
    /// When it cannot be read or fails, leaves a transaction open, or a stop signal comes.
    pub fn run(&self, into: &Client, runner: &Runner) -> Result<(), RestoreError> {
        let name = self.path.display();
        log::info!("running {name}");
        let failed = |error| RestoreError::Open(name.to_string(), error);
        let mut file = self.file.try_clone().map_err(failed)?;
        file.rewind().map_err(failed)?;
        let mut command = into.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--no-password", "--set", "VERBOSITY=verbose"]);
        command.args(["--set", "ON_ERROR_STOP=1"]);
        let set_up = into.server().set_up(&mut command, &LOADS);
        if !set_up.is_empty() {
            command.args(["--command", &set_up]);
        }
        command.args(["--file", "-", "--command", END]).env("LC_ALL", "C");
        command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = runner.spawn(&mut command)?;
        let said = Listener::start(child.stderr.take(), OwnLines::default().places(None), false);
        if let Some(output) = child.stdout.take() {
            for_each_line(output, |line| log::info!("{name}: {line}"));
        }
        let exit = child.wait();
        let said = said.finish();
        match exit {
            exit if exit.success() => Ok(()),
            exit => {
                let error = runner.failure("psql".as_ref(), exit, &said.tail());
                Err(self.failure(error, &said))
            }
        }
    }

    /// The cause of psql's failure. Errors of statements have a place, but for the one of [`END`].
    fn failure(&self, error: ProgramError, heard: &Heard) -> RestoreError {
        let path = self.path.display().to_string();
        match error {
            error @ ProgramError::Interrupted(_) => RestoreError::Program(error),
            ProgramError::Failed(_, Exit::Code(_), _) if heard.count == 0 => {
                RestoreError::OpenTransaction(path)
            }
            error => RestoreError::Script(path, error),
        }
    }
}

/// The file itself, or a copy in memory of a pipe, which can be read only once.
fn rereadable(mut file: File) -> io::Result<File> {
    match file.metadata()? {
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        kind if kind.is_file() => Ok(file),
        _ => {
            let mut held = File::from(memfd_create("sql", MFdFlags::MFD_CLOEXEC)?);
            io::copy(&mut file, &mut held)?;
            Ok(held)
        }
    }
}
