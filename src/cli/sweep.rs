//! `backupgram sweep`.

use std::time::{Duration, Instant};

use lexopt::Parser;

use super::context::{BUSY, Failure, Outcome, environment, runner};
use super::record_failure::record_orphans;
use crate::engine::proof;
use crate::engine::restore;
use crate::postgres::{Client, DatabaseError, Server};
use crate::settings::{Environment, Reader, Storage};
use crate::store::catalog::{BackupDirectory, DatabaseName};
use crate::system::lock::{Lock, LockError, SWEEP, SWEEP_LIMIT};
use crate::system::process::{ProgramError, Runner};

pub(super) const HELP: &str = "\
backupgram sweep

usage: backupgram sweep

Removes what killed backups, restores and proofs left behind: unfinished and
unpacked files, and the scratch databases that restores were loading into.
Every backup and restore does so first, and the container runs this command at
its start. It touches neither the files of active runs nor finished backups. A
backup run that died with the container is recorded as FAILED, and reported to
hooks, webhooks and Telegram.

environment: BACKUP_DIR; POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER,
POSTGRES_PASSWORD and POSTGRES_PASSFILE_STORE say where databases may be left,
and POSTGRES_CONNECT_TIMEOUT how long it waits for that server.

exit status: 0 nothing is left; 1 something is, and is named; 2 usage error;
75 another backup or restore is running; 128 + N stopped by signal N.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    let runner = runner()?;
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let directory = BackupDirectory::new(storage.directory);
    proof::cleanup_temporary_directories();
    record_orphans(&runner);
    let refusal = match directory.prepare() {
        Err(error) if error.is_unwritable() => Some(error),
        prepared => {
            prepared.map_err(Failure::new)?;
            None
        }
    };
    // A volume that cannot be written to may still hold a restore journal, or have leftovers in the fallback directory.
    if refusal.is_none() || directory.has_fallback() || restore::is_anything_left(&directory) {
        sweep_files(&directory, &runner)?;
        if restore::is_anything_left(&directory) {
            sweep_databases(&directory, &environment, runner)?;
        }
    }
    match refusal {
        // A volume that is mounted read-only is not an error.
        Some(error) if !directory.is_read_only() => Err(Failure::new(error)),
        _ => Ok(()),
    }
}

fn sweep_files(directory: &BackupDirectory, runner: &Runner) -> Outcome {
    let _lock = lock(directory, runner)?;
    let count = directory.sweep_leftovers().map_err(Failure::new)?;
    if count > 0 {
        log::info!("removed {count} unfinished files of killed runs");
    }
    Ok(())
}

fn sweep_databases(directory: &BackupDirectory, environment: &Environment, runner: Runner) -> Outcome {
    let server = Reader::resolve(environment, Server::read)?;
    // Connects before the lock is taken: a server that is slow to start must not hold up a backup run.
    let client = Client::connect(&server, &DatabaseName::of_every_server(), &runner);
    let client = client.map_err(|error| match error {
        DatabaseError::Program(ProgramError::Interrupted(interrupted)) => Failure::interrupted(interrupted),
        error => {
            log::warn!(
                "cannot remove what a killed restore left on the server; the next run tries again: {error}"
            );
            Failure::silent(1)
        }
    })?;
    let lock = lock(directory, &runner)?;
    restore::cleanup_databases(directory, &lock, &client.until(Instant::now() + SWEEP_LIMIT));
    runner.check().map_err(Failure::interrupted)?;
    if restore::is_anything_left(directory) { Err(Failure::silent(1)) } else { Ok(()) }
}

/// Takes the lock. If a run has it, nothing needs to be swept: each run begins with a sweep of its own.
fn lock(directory: &BackupDirectory, runner: &Runner) -> Result<Lock, Failure> {
    Lock::take_to_read(directory.root(), SWEEP, Duration::ZERO, runner).map_err(|error| match error {
        LockError::Held(_) => {
            log::info!("{error}; nothing is cleared away");
            Failure::silent(BUSY)
        }
        LockError::Interrupted(interrupted) => Failure::interrupted(interrupted),
        error => Failure::new(error),
    })
}
