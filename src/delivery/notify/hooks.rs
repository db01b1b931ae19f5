//! The user's hook programs. run-parts lists them in order; each is run by us, so that one that takes too long can be
//! named and ended with everything that it has started.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::settings::{Environment, VARIABLES, remove_api_settings, remove_secrets};
use crate::store::records::history::Trigger;
use crate::system::process::{Ended, ProgramError, Runner};
use crate::system::run_note;
use crate::util::units;

/// How long run-parts may take to list them.
const LISTING: Duration = Duration::from_secs(30);

/// What a hook is run with.
pub(super) struct Call<'a> {
    /// The word for the event, its argument.
    pub event: &'a str,
    /// The paths in `BACKUP_FILES`, one a line.
    pub files: &'a [PathBuf],
    /// The effective settings, for its environment.
    pub environment: &'a Environment,
    /// How long each may take, if there is a limit.
    pub limit: Option<Duration>,
}

/// Runs the programs in `directory`, one after the other.
///
/// # Errors
/// When one fails, after which no more are run, or run-parts cannot be started.
pub(super) fn run(directory: &Path, call: &Call, runner: &Runner) -> Result<(), String> {
    let is_empty = std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
    if is_empty {
        return Ok(());
    }
    let event = call.event;
    let hooks = list(directory, event, runner).map_err(|error| format!("{event} hook: {error}"))?;
    hooks.iter().try_for_each(|hook| run_one(hook, call, runner))
}

fn list(directory: &Path, event: &str, runner: &Runner) -> Result<Vec<PathBuf>, ProgramError> {
    let mut command = Command::new("run-parts");
    command.arg("--test");
    if event == "post-backup" {
        command.arg("--reverse");
    }
    command.arg(directory);
    remove_secrets(&mut command);
    let output = runner.program(&mut command).time_limit(LISTING).output()?;
    if !output.exit.success() {
        return Err(ProgramError::Failed("run-parts".into(), output.exit, output.stderr.joined()));
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| PathBuf::from(OsStr::from_bytes(line))).collect())
}

fn run_one(hook: &Path, call: &Call, runner: &Runner) -> Result<(), String> {
    let name = hook.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("{} hook {name}", call.event);
    let _doing = runner.activity().begin(what.clone());
    let ended = runner.run_group(hook, &[call.event], |command| prepare(command, call), call.limit);
    match ended.map_err(|error| format!("{what}: {error}"))? {
        Ended::Itself(exit) if exit.success() => Ok(()),
        Ended::Itself(exit) => Err(match runner.check() {
            Err(interrupted) => format!("{what}: {interrupted}"),
            Ok(()) => format!("{what}: {exit}"),
        }),
        Ended::TimedOut => {
            let limit = call.limit.map_or(0, |limit| limit.as_secs());
            let limit = units::age(limit.try_into().unwrap_or(i64::MAX));
            Err(format!("{what}: stopped after HOOK_TIMEOUT ({limit})"))
        }
    }
}

fn prepare(command: &mut Command, call: &Call) {
    // The environment has the effective settings only: no value that an override has emptied, and no token of the API.
    remove_api_settings(command);
    // A backup that a hook makes is another run.
    command.env_remove(run_note::VARIABLE).env_remove(Trigger::VARIABLE);
    for variable in VARIABLES {
        command.env_remove(variable.name);
    }
    for (name, value) in call.environment.effective() {
        command.env(name, value);
    }
    let paths: Vec<&[u8]> = call.files.iter().map(|path| path.as_os_str().as_bytes()).collect();
    command.env("BACKUP_FILES", OsStr::from_bytes(&paths.join(&b'\n')));
}
