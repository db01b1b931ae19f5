//! Changes to files that survive a crash between any two steps: complete and flushed before they get
//! their name, and the name itself flushed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Replaces `target` with `contents`, whole or not at all, with permission bits `mode`.
///
/// The new file is written as `NAME.PID.tmp` in `staging`, which must be on the same filesystem. Within a
/// process callers see to it that no two of them write the same target at once.
///
/// # Errors
/// Any failure of the steps; `target` is then as it was.
pub fn replace_file(staging: &Path, target: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary_name = target.file_name().unwrap_or_default().to_os_string();
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let temporary = staging.join(temporary_name);
    // A leftover of a killed writer may have other permissions than `mode`.
    remove_if_there(&temporary)?;
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
    let replaced =
        file.write_all(contents).and_then(|()| file.sync_all()).and_then(|()| rename(&temporary, target));
    if replaced.is_err() {
        // On a full disk even an empty file takes room. Refused, it goes with the next sweep.
        let _ = remove_if_there(&temporary);
    }
    replaced
}

/// Whether a write was refused for the place that it went to, where it might succeed elsewhere: a read-only file system,
/// no permission, or no space or inodes left.
pub fn is_unwritable(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EROFS | Errno::EACCES | Errno::EPERM | Errno::ENOSPC | Errno::EDQUOT))
}

/// Sees that a directory takes a small file.
///
/// # Errors
/// When it does not.
pub fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".probe.{}.tmp", std::process::id()));
    let written = remove_if_there(&path).and_then(|_| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    written.and(remove_if_there(&path).map(drop))
}

/// Renames a file and flushes the directory that it arrives in.
///
/// # Errors
/// When either step fails.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Opens a file of the backup directory that is there to be locked or written on, and makes it when there is
/// none. Not through a symlink: on a volume that others may write to, one could lead out of it.
///
/// # Errors
/// When it cannot be opened or made.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW.bits();
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(flags)
        .open(path)
}

/// Opens such a file where it cannot be written on, only to be locked.
///
/// # Errors
/// When it is not there or cannot be opened.
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)
}

/// Flushes the directory that holds `path`, so that names made or removed in it survive a power cut.
///
/// # Errors
/// When the directory cannot be opened or flushed.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file; one that is not there is as good as removed. Answers whether there was one.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file, or a directory with all that is in it; not there is as good as removed.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_all_if_there(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => remove_if_there(path).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replacing_a_file_takes_the_new_contents_and_mode_and_leaves_no_temporary() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("state");
        fs::write(&target, "old").unwrap();
        let leftover = format!("state.{}.tmp", std::process::id());
        fs::write(directory.path().join(leftover), "of a killed writer").unwrap();
        replace_file(directory.path(), &target, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_contents() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("state");
        fs::write(&target, "old").unwrap();
        let nowhere = directory.path().join("missing");
        assert!(replace_file(&nowhere, &target, b"new", 0o600).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }
}
