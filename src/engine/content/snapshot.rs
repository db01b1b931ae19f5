//! What a backup looks like from outside, to tell whether somebody has written to it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::util::open_dir::{OpenDir, kind};

/// A file, or the files of a directory, without their contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(Vec<(OsString, Appearance)>);

/// Inode, length and time of the last change of its bytes. A name more or less is no change of a file.
type Appearance = (u64, u64, i64, i64, i64);

impl Snapshot {
    /// What is opened.
    ///
    /// # Errors
    /// When it cannot be looked at.
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
