//! Hook programs of the user, run by run-parts.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::jobs::remove_api_settings;
use crate::process::Runner;
use crate::settings::{Environment, VARIABLES};

/// Runs the programs in `directory` with `event` as their argument, the effective settings in their
/// environment, and the paths of `files` in `BACKUP_FILES`, one a line.
///
/// # Errors
/// When one fails, which ends the row, or run-parts cannot be started.
pub fn run(
    directory: &Path,
    event: &str,
    files: &[PathBuf],
    environment: &Environment,
    runner: &Runner,
) -> Result<(), String> {
    let is_empty = std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
    if is_empty {
        return Ok(());
    }
    let mut command = Command::new("run-parts");
    command.args(["--exit-on-error", "-a", event]);
    if event == "post-backup" {
        command.arg("--reverse");
    }
    command.arg(directory);
    // A variable that is empty by an override must not come through from our own environment, nor the API's token.
    remove_api_settings(&mut command);
    for variable in VARIABLES {
        command.env_remove(variable.name);
    }
    for (name, value) in environment.effective() {
        command.env(name, value);
    }
    let paths: Vec<&[u8]> = files.iter().map(|path| path.as_os_str().as_bytes()).collect();
    command.env("BACKUP_FILES", std::ffi::OsStr::from_bytes(&paths.join(&b'\n')));
    runner.run_visibly(&mut command).map_err(|error| format!("{event} hook: {error}"))
}
