//! SQL of the user's own, run in the new database before and after the load.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use super::RestoreError;
use super::complaints::{Listener, OwnLines};
use super::psql::LOADS;
use crate::postgres::Client;
use crate::process::{Runner, for_each_line};

/// Sees that a file of SQL can be read.
///
/// # Errors
/// When it cannot.
pub fn check(file: Option<&Path>) -> Result<(), RestoreError> {
    file.map_or(Ok(()), |file| open(file).map(drop))
}

/// Runs a file of SQL by psql, if there is one. Its first error ends it. What it prints is logged.
///
/// # Errors
/// When it cannot be read or fails, or a stop signal comes.
pub fn run(into: &Client, file: Option<&Path>, runner: &Runner) -> Result<(), RestoreError> {
    let Some(path) = file else { return Ok(()) };
    log::info!("running {}", path.display());
    let mut command = into.command("psql");
    command.args(["--no-psqlrc", "--quiet", "--no-password", "--set", "VERBOSITY=verbose"]);
    command.args(["--set", "ON_ERROR_STOP=1"]);
    let set_up = into.server().set_up(&mut command, &LOADS);
    if !set_up.is_empty() {
        command.args(["--command", &set_up]);
    }
    command.args(["--file", "-"]).env("LC_ALL", "C");
    command.stdin(open(path)?).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = runner.spawn(&mut command)?;
    let said = Listener::start(child.stderr.take(), OwnLines::default().places(None), false);
    if let Some(output) = child.stdout.take() {
        for_each_line(output, |line| log::info!("{}: {line}", path.display()));
    }
    let exit = child.wait();
    let said = said.finish();
    match exit.success() {
        true => Ok(()),
        false => {
            let error = runner.failure("psql".as_ref(), exit, &said.tail());
            Err(RestoreError::of_script(path, error))
        }
    }
}

fn open(path: &Path) -> Result<File, RestoreError> {
    let failed = |error| RestoreError::Open(path.display().to_string(), error);
    let file = File::open(path).map_err(failed)?;
    match file.metadata().map_err(failed)?.is_dir() {
        true => Err(failed(std::io::ErrorKind::IsADirectory.into())),
        false => Ok(file),
    }
}
