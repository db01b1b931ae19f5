//! The lock of a backup directory: one backup or restore at a time, whoever started it.
//!
//! A run that only reads backups can have it on a directory that cannot be written to: flock(2) works on a file that is
//! only read, and where there is none, or it cannot be signed, a second one lies in the fallback. Everybody who
//! finds a fallback takes both, in this order.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use thiserror::Error;

use crate::store::catalog::LOCK_NAME;
use crate::store::fallback::{self, FallbackError};
use crate::system::process::{Interrupted, Runner};
use crate::util::durable;
use crate::util::flock::{Flock, FlockError};

/// Holds the lock until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    own: Option<Flock>,
    _fallback: Option<Flock>,
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
#[derive(Debug, Error)]
pub enum LockError {
    /// Another run has it, and did not end in the time that we may wait.
    #[error("{}", running(.0.as_ref()))]
    Held(Option<Holder>),
    /// A signal asked us to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The lock file cannot be used.
    #[error("cannot lock {}: {error}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Neither can the one that would stand in for it.
    #[error(transparent)]
    Fallback(#[from] FallbackError),
}

/// What is running, as far as it is known.
fn running(holder: Option<&Holder>) -> String {
    let Some(Holder { pid, started, task }) = holder else {
        return "another backup or restore is running".into();
    };
    let started = Timestamp::from_second(*started).unwrap_or_default();
    format!("a {task} is running: pid {pid}, started {started}")
}

/// The task of a start that clears away what killed runs have left.
pub const SWEEP: &str = "sweep";
/// How long a sweep may keep the lock for what it asks of the server.
pub const SWEEP_LIMIT: Duration = Duration::from_secs(30);

/// How often a waiting run asks again.
const PAUSE: Duration = Duration::from_millis(100);

/// What could be had of the file in the backup directory.
enum Own {
    /// Locked, and it names us.
    Signed(Flock),
    /// Locked, but nothing could be written into it.
    Unsigned(Flock),
    /// It is not there or cannot be locked, for want of a right to write.
    Unavailable(io::Error),
}

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
        Self::wait(patience, runner, || Self::try_take(directory, task, false))
    }

    /// The same for a run that only reads the directory: where that cannot be written to, the lock in the
    /// fallback counts.
    ///
    /// # Errors
    /// When it is still held after that, a signal came, or neither file can be used.
    pub fn take_to_read(
        directory: &Path,
        task: &str,
        patience: Duration,
        runner: &Runner,
    ) -> Result<Self, LockError> {
        Self::wait(patience, runner, || Self::try_take(directory, task, true))
    }

    /// Whether the file in the directory itself is locked, so that nobody is at work there, from wherever.
    pub fn covers_directory(&self) -> bool {
        self.own.is_some()
    }

    fn wait(
        patience: Duration,
        runner: &Runner,
        take: impl Fn() -> Result<Self, LockError>,
    ) -> Result<Self, LockError> {
        let begun = Instant::now();
        let mut told = None;
        loop {
            match take() {
                Err(LockError::Held(holder)) if begun.elapsed() < patience.max(least_patience(&holder)) => {
                    if told.is_none() && begun.elapsed() >= PAUSE {
                        let waiting = format!("waiting: {}", LockError::Held(holder));
                        log::info!("{waiting}");
                        told = Some(runner.activity().begin(waiting));
                    }
                }
                taken => return taken,
            }
            runner.sleep(PAUSE).map_err(LockError::Interrupted)?;
        }
    }

    fn try_take(directory: &Path, task: &str, reads_only: bool) -> Result<Self, LockError> {
        let path = directory.join(LOCK_NAME);
        let own = match lock_own(&path, task) {
            Err(LockError::Held(holder)) => {
                return Err(LockError::Held(fallback_holder(directory).or(holder)));
            }
            Ok(Own::Unavailable(error)) if !reads_only => return Err(LockError::Io { path, error }),
            own => own?,
        };
        let place = match (&own, fallback::open(directory)) {
            (_, Ok(Some(place))) => Some(place),
            (Own::Signed(_), _) => None,
            (Own::Unsigned(_), _) if !reads_only => None,
            (Own::Unsigned(_), Err(_)) => None,
            (Own::Unsigned(_), Ok(None)) => fallback::create(directory).ok(),
            (Own::Unavailable(_), _) => Some(fallback::create(directory).map_err(LockError::Fallback)?),
        };
        let fallback = match place.map(|place| lock_fallback(&place, task)).transpose() {
            Err(LockError::Io { .. }) if !matches!(own, Own::Unavailable(_)) => None,
            locked => locked?,
        };
        let own = match own {
            Own::Signed(file) | Own::Unsigned(file) => Some(file),
            Own::Unavailable(_) => None,
        };
        Ok(Self { own, _fallback: fallback })
    }
}

/// Locks the file in the backup directory. Only ever opened, never replaced: a lock on a file that lost its name would
/// protect nothing.
fn lock_own(path: &Path, task: &str) -> Result<Own, LockError> {
    let failed = |error: io::Error| LockError::Io { path: path.to_path_buf(), error };
    match durable::open_or_create(path) {
        Ok(file) => {
            let mut file = try_flock(file, path)?;
            match sign(&mut file, task) {
                Ok(()) => Ok(Own::Signed(file)),
                Err(error) if durable::is_unwritable(&error) => Ok(Own::Unsigned(file)),
                Err(error) => Err(failed(error)),
            }
        }
        // A directory that is not there cannot be made either, or else it would be.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Own::Unavailable(error)),
        Err(error) if durable::is_unwritable(&error) => {
            match durable::open_to_read(path).map(|file| try_flock(file, path)) {
                Ok(Ok(file)) => Ok(Own::Unsigned(file)),
                Ok(Err(held @ LockError::Held(_))) => Err(held),
                // Some network filesystems lock only what may be written to.
                _ => Ok(Own::Unavailable(error)),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

fn lock_fallback(place: &Path, task: &str) -> Result<Flock, LockError> {
    let path = place.join(LOCK_NAME);
    let failed = |error: io::Error| LockError::Io { path: path.clone(), error };
    let mut file = try_flock(durable::open_or_create(&path).map_err(failed)?, &path)?;
    // Who holds it is only told.
    let _ = sign(&mut file, task);
    Ok(file)
}

fn try_flock(file: File, path: &Path) -> Result<Flock, LockError> {
    Flock::try_lock(file).map_err(|error| match error {
        FlockError::Held(mut file) => LockError::Held(read_holder(&mut file)),
        FlockError::Io(error) => LockError::Io { path: path.to_path_buf(), error },
    })
}

fn sign(file: &mut Flock, task: &str) -> io::Result<()> {
    if durable::has_other_names(file) {
        // It is locked all the same.
        log::warn!("{LOCK_NAME} has another hard link, so the holder of the lock is not written into it");
        return Err(Errno::EPERM.into());
    }
    let holder =
        Holder { pid: std::process::id(), started: Timestamp::now().as_second(), task: task.to_owned() };
    let text = serde_json::to_vec(&holder)?;
    // Over what is there: on a full disk nothing takes the place of bytes that are given up first.
    file.rewind()?;
    let written = file.write_all(&text).and_then(|()| file.set_len(text.len() as u64));
    if written.is_err() {
        // Better nobody's name than half of one.
        let _ = file.set_len(0);
    }
    written
}

/// Who holds the lock in the fallback, if somebody does: it names those who could not sign the other one.
fn fallback_holder(directory: &Path) -> Option<Holder> {
    let path = fallback::open(directory).ok()??.join(LOCK_NAME);
    match try_flock(durable::open_to_read(&path).ok()?, &path) {
        Err(LockError::Held(holder)) => holder,
        _ => None,
    }
}

/// Who holds the lock of a directory at present: nobody, somebody, or somebody whose name could not be written down.
/// Nothing is changed for that.
pub fn holder(directory: &Path) -> Option<Option<Holder>> {
    let elsewhere = fallback_holder(directory);
    match own_holder(&directory.join(LOCK_NAME)) {
        Some(holder) => Some(elsewhere.or(holder)),
        None => elsewhere.map(Some),
    }
}

fn own_holder(path: &Path) -> Option<Option<Holder>> {
    let mut file =
        durable::open_to_read(path).ok().filter(|file| file.metadata().is_ok_and(|it| it.is_file()))?;
    // Several may look at once.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_holder(&mut file)),
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::process::test_runner;

    #[test]
    fn a_shorter_signature_goes_over_a_longer_one() {
        let root = tempfile::tempdir().unwrap();
        let runner = test_runner();
        for task in ["restore proof", "backup", "a task with a much longer name", "x"] {
            let lock = Lock::take(root.path(), task, Duration::ZERO, &runner).unwrap();
            assert!(lock.covers_directory());
            assert_eq!(holder(root.path()).unwrap().unwrap().task, task);
            match Lock::take_to_read(root.path(), "restore", Duration::ZERO, &runner) {
                Err(LockError::Held(Some(holder))) => assert_eq!(holder.task, task),
                other => panic!("{task}: {other:?}"),
            }
            drop(lock);
            assert!(holder(root.path()).is_none());
        }
    }

    #[test]
    fn only_who_reads_can_do_with_a_lock_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("missing");
        let runner = test_runner();
        let refused = Lock::take(&missing, "backup", Duration::ZERO, &runner);
        assert!(matches!(refused, Err(LockError::Io { .. })), "{refused:?}");
        let lock = Lock::take_to_read(&missing, "restore", Duration::ZERO, &runner).unwrap();
        assert!(!lock.covers_directory());
        let second = Lock::take_to_read(&missing, "restore", Duration::ZERO, &runner);
        assert!(matches!(second, Err(LockError::Held(Some(_)))), "{second:?}");
        // Who comes when the directory can be written to sees it, too.
        std::fs::create_dir(&missing).unwrap();
        let third = Lock::take(&missing, "backup", Duration::ZERO, &runner);
        assert!(matches!(third, Err(LockError::Held(Some(_)))), "{third:?}");
        drop(lock);
        Lock::take(&missing, "backup", Duration::ZERO, &runner).unwrap();
        std::fs::remove_dir_all(fallback::open(&missing).unwrap().unwrap()).unwrap();
    }
}
