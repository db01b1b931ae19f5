//! A lock on a whole file (flock(2)), held until dropped.
//!
//! Releasing it never fails or panics. If the unlock is refused, as by a restarted NFS server (ENOLCK, EIO, ESTALE),
//! closing the file right after releases the lock.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// First and longest pause between two attempts to take the lock.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// A locked file.
#[derive(Debug)]
pub struct Flock(File);

/// Why a lock was not taken.
#[derive(Debug)]
pub enum FlockError {
    /// Another process, or another part of this one, holds it. The file is returned so that the holder can be read.
    Held(File),
    /// The file cannot be locked.
    Io(io::Error),
}

impl Flock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// When it is held by another, or the file cannot be locked.
    pub fn try_lock(file: File) -> Result<Self, FlockError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(error) => Err(FlockError::new(error, file)),
        }
    }

    /// Like [`Self::try_lock`], retrying for up to `patience`.
    ///
    /// # Errors
    /// When it is still held at the deadline, or the file cannot be locked.
    pub fn lock_within(patience: Duration, mut file: File) -> Result<Self, FlockError> {
        let deadline = Instant::now() + patience;
        let [mut pause, longest] = PAUSES;
        loop {
            file = match Self::try_lock(file) {
                Err(FlockError::Held(file)) if Instant::now() < deadline => file,
                tried => return tried,
            };
            thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
            pause = longest.min(2 * pause);
        }
    }

    /// Like [`Self::try_lock`], but takes a shared lock.
    ///
    /// # Errors
    /// When it is held exclusively, or the file cannot be locked.
    pub fn try_lock_shared(file: File) -> Result<Self, FlockError> {
        match file.try_lock_shared() {
            Ok(()) => Ok(Self(file)),
            Err(error) => Err(FlockError::new(error, file)),
        }
    }
}

/// Locks a file or directory that was just made at `path`, so that a sweep tells it from what is left over. False when a
/// sweep has locked and removed it first: then another one must be made.
///
/// # Errors
/// When it cannot be locked or asked.
pub fn lock_new(path: &Path, file: &File) -> io::Result<bool> {
    file.lock()?;
    is_still_at(path, file)
}

/// Whether a path still leads to this file: while somebody waited for its lock, another may have removed or replaced it.
///
/// # Errors
/// When the file's metadata cannot be read.
pub fn is_still_at(path: &Path, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    let found = fs::symlink_metadata(path);
    Ok(found.is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino())))
}

impl FlockError {
    fn new(error: TryLockError, file: File) -> Self {
        match error {
            TryLockError::WouldBlock => Self::Held(file),
            TryLockError::Error(error) => Self::Io(error),
        }
    }
}

impl Deref for Flock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Flock {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        // A child just forked by another thread holds a copy of the descriptor until exec; do not wait for it.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_or_shared_by_all_and_is_free_when_it_is_dropped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || file.reopen().unwrap();
        let first = Flock::try_lock(open()).unwrap();
        assert!(matches!(Flock::try_lock(open()), Err(FlockError::Held(_))));
        assert!(matches!(Flock::try_lock_shared(open()), Err(FlockError::Held(_))));
        drop(first);
        let shared = [(); 2].map(|()| Flock::try_lock_shared(open()).unwrap());
        assert!(matches!(Flock::try_lock(open()), Err(FlockError::Held(_))));
        drop(shared);
        Flock::try_lock(open()).unwrap();
    }
}
