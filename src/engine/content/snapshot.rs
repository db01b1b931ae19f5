//! Metadata of a backup's files, to detect later writes.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::util::open_dir::{OpenDir, kind};

/// Metadata of a file, or of the files of a directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(Vec<(OsString, Appearance)>);

/// Device, inode, size and modification time. The change time is left out, as a new hard link would alter it.
type Appearance = (u64, u64, i64, i64, i64);

impl Snapshot {
    /// Takes the metadata of an opened file or directory.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub fn of(opened: impl AsFd) -> io::Result<Self> {
        let status = fstat(&opened)?;
        if kind(&status) != SFlag::S_IFDIR {
            return Ok(Self(vec![(OsString::new(), appearance(&status))]));
        }
        let (directory, mut files) = (OpenDir::of_file(&opened, Path::new(""))?, Vec::new());
        for name in directory.names()? {
            let status = directory.status(&name)?;
            files.push((name, appearance(&status)));
        }
        files.sort();
        Ok(Self(files))
    }
}

fn appearance(file: &FileStat) -> Appearance {
    (file.st_dev, file.st_ino, file.st_size, file.st_mtime, file.st_mtime_nsec)
}
