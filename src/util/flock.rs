//! A lock on a whole file (flock(2)), held until it is dropped.
//!
//! Giving it back cannot fail, let alone panic: where the unlock is refused, as by an NFS server that has restarted (ENOLCK,
//! EIO, ESTALE), the lock goes with the file, which is closed next.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The first and the longest pause between two tries for a lock.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// A locked file.
#[derive(Debug)]
pub struct Flock(File);

/// Why a lock could not be had at once.
#[derive(Debug)]
pub enum FlockError {
    /// Another process, or another part of this one, has it. The file comes back, to look who.
    Held(File),
    /// The file cannot be locked.
    Io(io::Error),
}

impl Flock {
    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    /// When somebody has it, or the file cannot be locked.
    pub fn try_lock(file: File) -> Result<Self, FlockError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(error) => Err(FlockError::new(error, file)),
        }
    }

    /// The same, trying again for as long as there is patience.
    ///
    /// # Errors
    /// When somebody has it all the time, or the file cannot be locked.
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

    /// The same as [`Self::try_lock`], beside others who take it by this function.
    ///
    /// # Errors
    /// When somebody has it for himself, or the file cannot be locked.
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
/// When the file itself cannot be asked.
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
        // A child that another thread has just forked has a copy of the file until its exec; the lock must not wait for it.
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
