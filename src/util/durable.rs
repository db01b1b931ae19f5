//! Crash-safe file changes: a file is complete and flushed before it gets its name, and then the directory is flushed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Number of probe files this process has made.
static PROBES: AtomicU32 = AtomicU32::new(0);

/// Replaces `target` with `contents` atomically, with permission bits `mode`.
///
/// The new file is written as `NAME.PID.tmp` in `staging`, which must be on the same file system. Callers must not
/// write the same target concurrently within one process.
///
/// # Errors
/// When any step fails; `target` is unchanged.
pub fn replace_file(staging: &Path, target: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary_name = target.file_name().unwrap_or_default().to_os_string();
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let temporary = staging.join(temporary_name);
    // A leftover of a killed process may have other permissions than `mode`.
    remove_if_there(&temporary)?;
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
    let replaced =
        file.write_all(contents).and_then(|()| file.sync_all()).and_then(|()| rename(&temporary, target));
    if replaced.is_err() {
        // On a full disk even an empty file takes space. If removal fails, the next sweep removes it.
        let _ = remove_if_there(&temporary);
    }
    replaced
}

/// Whether a write failed because of its location and might succeed elsewhere: read-only file system, no permission,
/// or no space, quota or inodes left.
pub fn is_unwritable(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EROFS | Errno::EACCES | Errno::EPERM | Errno::ENOSPC | Errno::EDQUOT))
}

/// Checks that a small file can be written in a directory.
///
/// # Errors
/// When it cannot.
pub fn probe(directory: &Path) -> io::Result<()> {
    // Another container on the same volume may have the same process id.
    let (pid, number) = (std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed));
    let time = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let path = directory.join(format!(".probe-{time}-{number}.{pid}.tmp"));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
    written.and(remove_if_there(&path).map(drop))
}

/// Renames a file and flushes its new directory.
///
/// # Errors
/// When either step fails.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Flags for opening files on a volume others may write to: a link could lead out of it, and opening a FIFO would
/// block until another process opens its other end.
pub const CAREFULLY: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK);

/// Checks that a file opened with [`CAREFULLY`] is a regular file.
///
/// # Errors
/// When it is not one, or could not be opened.
pub fn regular(opened: io::Result<File>) -> io::Result<File> {
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => io::Error::other("is a symbolic link"),
        // ENXIO is a socket, or a FIFO without a reader.
        Some(Errno::ENXIO | Errno::EISDIR) => io::Error::other(NOT_REGULAR),
        _ => error,
    })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other(NOT_REGULAR)),
    }
}

const NOT_REGULAR: &str = "is not a regular file";

/// Opens a lock or data file of the backup directory for writing, creating it if missing.
///
/// # Errors
/// When it cannot be opened or created, or is not a regular file.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    regular(options.custom_flags(CAREFULLY.bits()).open(path))
}

/// Opens such a file read-only, for reading or locking where writing is not possible.
///
/// # Errors
/// When it is missing, cannot be opened, or is not a regular file.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    regular(File::options().read(true).custom_flags(CAREFULLY.bits()).open(path))
}

/// Whether a file has other hard links. Those may lie outside the backup directory, so it must not be written to.
pub fn has_other_names(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() > 1)
}

/// Flushes the parent directory of `path`, so that names created or removed in it survive a power cut.
///
/// # Errors
/// When the directory cannot be opened or flushed.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else { return Ok(()) };
    match File::open(directory) {
        Ok(directory) => sync_directory(&directory),
        // Some file systems cannot open a directory for flushing; PostgreSQL ignores these errors too.
        Err(error) if is_errno(&error, &[Errno::EACCES, Errno::EISDIR]) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Flushes a directory. SMB and some FUSE file systems refuse with EBADF or EINVAL. That counts as success, because
/// they offer no other way; PostgreSQL does the same (`fsync_fname` in `src/backend/storage/file/fd.c`). Any other
/// error, such as EIO, is returned.
///
/// # Errors
/// When it cannot be flushed.
pub fn sync_directory(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        Err(error) if is_errno(&error, &[Errno::EBADF, Errno::EINVAL]) => Ok(()),
        flushed => flushed,
    }
}

fn is_errno(error: &io::Error, errnos: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|errno| errnos.contains(&Errno::from_raw(errno)))
}

/// Removes a file if it exists. Returns whether it did.
///
/// # Errors
/// When it exists and cannot be removed.
pub fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
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
