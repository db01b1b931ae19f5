//! The lock of a backup directory: one backup or restore at a time, whoever started it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::process::{Interrupted, Runner};

/// Holds the lock until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Who holds the lock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// When it took the lock, in Unix seconds.
    pub started: i64,
    /// What it does.
    pub task: String,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// Another run has it, and did not end in the time that we may wait.
    Held(Option<Holder>),
    /// A signal asked us to stop.
    Interrupted(Interrupted),
    /// The lock file cannot be used.
    Io(PathBuf, io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(Some(holder)) => {
                let started = Timestamp::from_second(holder.started).unwrap_or_default();
                write!(f, "a {} is running: pid {}, started {started}", holder.task, holder.pid)
            }
            Self::Held(None) => f.write_str("another backup or restore is running"),
            Self::Interrupted(interrupted) => interrupted.fmt(f),
            Self::Io(path, error) => write!(f, "cannot lock {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

/// The task of a start that clears away what killed runs have left.
pub const SWEEP: &str = "sweep";
/// How long a sweep may keep the lock for what it asks of the server.
pub const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// How often a waiting run asks again.
const PAUSE: Duration = Duration::from_millis(100);

impl Lock {
    /// Takes the lock of `directory` for `task`, waiting up to `patience` for another run to end. A sweep, which
    /// nobody has asked for, is waited for all the same.
    ///
    /// # Errors
    /// When it is still held after that, a signal came, or the file cannot be used.
    pub fn take(
        directory: &Path,
        task: &str,
        patience: Duration,
        runner: &Runner,
    ) -> Result<Self, LockError> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            match Self::try_take(directory, task) {
                Err(LockError::Held(holder)) if begun.elapsed() < patience.max(least_patience(&holder)) => {
                    if !told && begun.elapsed() >= PAUSE {
                        log::info!("waiting: {}", LockError::Held(holder));
                        told = true;
                    }
                }
                taken => return taken,
            }
            runner.sleep(PAUSE).map_err(LockError::Interrupted)?;
        }
    }

    fn try_take(directory: &Path, task: &str) -> Result<Self, LockError> {
        let path = directory.join(".lock");
        let failed = |error: io::Error| LockError::Io(path.clone(), error);
        // Only ever opened, never replaced: a lock on a file that lost its name would protect nothing.
        let file = durable::open_or_create(&path).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => Self::sign(locked, task).map_err(failed),
            Err((mut file, Errno::EWOULDBLOCK)) => Err(LockError::Held(read_holder(&mut file))),
            Err((_, error)) => Err(failed(error.into())),
        }
    }

    fn sign(mut file: Flock<File>, task: &str) -> io::Result<Self> {
        let holder =
            Holder { pid: std::process::id(), started: Timestamp::now().as_second(), task: task.to_owned() };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&serde_json::to_vec(&holder)?)?;
        Ok(Self { _file: file })
    }
}

/// How long anybody waits for a holder. The first look may find one that has not signed yet, and the name of the one
/// before.
fn least_patience(holder: &Option<Holder>) -> Duration {
    let is_sweep = holder.as_ref().is_some_and(|holder| holder.task == SWEEP);
    if is_sweep { 2 * SWEEP_LIMIT } else { PAUSE }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
