//! Opens, locks and reads the history file.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::store::catalog::BackupDirectory;
use crate::store::record_file;
use crate::util::durable;
use crate::util::flock::{self, Flock, FlockError};

pub(super) const FILE_NAME: &str = ".history.jsonl";
/// How long to wait for its lock.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes read from the end of the file: enough for all remembered runs at 100 databases each.
pub(super) const LONGEST: u64 = 16 << 20;

pub(super) fn is_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// Opens and locks the file. It has its own lock, because runs that find the run lock taken are recorded too.
pub(super) fn lock(path: &Path) -> io::Result<Flock> {
    loop {
        let file = durable::open_or_create(path).map_err(|error| record_file::of(path, error))?;
        let locked = lock_within(PATIENCE, file)?;
        // It may have been replaced by a shortened one while we waited.
        if flock::is_still_at(path, &locked)? {
            return Ok(locked);
        }
    }
}

/// The lock is held for moments only; a longer holder is stopped or stuck and must not block others.
pub(super) fn lock_within(patience: Duration, file: File) -> io::Result<Flock> {
    Flock::lock_within(patience, file).map_err(|error| match error {
        FlockError::Io(error) => error,
        FlockError::Held(_) => {
            let problem = format!("another program has locked it for more than {} s", patience.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, problem)
        }
    })
}

pub(super) fn open(directory: &BackupDirectory) -> io::Result<Option<File>> {
    let path = directory.root().join(FILE_NAME);
    match durable::open_to_read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(|error| record_file::of(&path, error)),
    }
}

/// The complete lines at the end of the file.
pub(super) fn end(file: &File) -> io::Result<Vec<u8>> {
    let (mut text, begin) = record_file::read_end(file, LONGEST)?;
    if begin > 0 {
        text.drain(..memchr::memchr(b'\n', &text).map_or(text.len(), |at| at + 1));
    }
    Ok(text)
}
