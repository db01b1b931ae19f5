//! What a backup looks like from outside, to tell whether somebody has written to it.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file, or the files of a directory, without their contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(Vec<(OsString, Appearance)>);

/// Inode, length and time of the last change of its bytes. A name more or less is no change of a file.
type Appearance = (u64, u64, u64, i64, i64);

impl Snapshot {
    /// What lies at a path.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_dir() {
            return Ok(Self(vec![(OsString::new(), appearance(&metadata))]));
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            files.push((entry.file_name(), appearance(&entry.metadata()?)));
        }
        files.sort();
        Ok(Self(files))
    }
}

fn appearance(file: &Metadata) -> Appearance {
    (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec())
}
