//! How a dump in directory format goes: not while somebody sends it, as its files are opened one after the other.
//! Who sends it has a lock on the directory, and is the one who takes it away then.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::directory::BackupDirectory;
use crate::durable;

/// Keeps the files of a directory until it is dropped, whatever becomes of its name.
#[derive(Debug)]
pub struct Hold {
    lock: Option<Flock<File>>,
    directory: BackupDirectory,
    inode: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.lock.take());
        // Refused, it stays until the next run sweeps.
        let _ = self.directory.discard(&self.directory.discarded(self.inode));
    }
}

impl BackupDirectory {
    /// Holds a directory that has just been opened. `None` where the filesystem has no locks.
    ///
    /// # Errors
    /// When somebody is removing it.
    pub(super) fn hold(&self, opened: &File) -> io::Result<Option<Hold>> {
        let inode = opened.metadata()?.ino();
        let lock = match Flock::lock(opened.try_clone()?, FlockArg::LockSharedNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(io::ErrorKind::NotFound.into()),
            Err(_) => return Ok(None),
        };
        let hold = Hold { lock: Some(lock), directory: self.clone(), inode };
        match opened.metadata()?.nlink() {
            0 => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(Some(hold)),
        }
    }

    /// Removes a file, or a directory with all that is in it; not there is as good as removed. A directory that
    /// somebody holds goes into [`Self::partial`] instead.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub(super) fn discard(&self, path: &Path) -> io::Result<()> {
        if !fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            return durable::remove_if_there(path).map(drop);
        }
        let opened = File::open(path)?;
        let inode = opened.metadata()?.ino();
        match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Err((_, Errno::EWOULDBLOCK)) => fs::rename(path, self.discarded(inode)),
            // Where there are no locks nobody can have one.
            _lock => fs::remove_dir_all(path),
        }
    }

    /// Where a directory lies as long as somebody holds it.
    fn discarded(&self, inode: u64) -> PathBuf {
        self.partial().join(format!("discarded-{inode}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{BackupName, Slot};

    #[test]
    fn a_directory_that_is_held_goes_with_the_last_who_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let name = BackupName::parse("app-20260416-030000.dir").unwrap();
        let path = backups.path(Slot::Last, &name);
        let holds = [0, 1].map(|_| {
            let _ = fs::create_dir(&path);
            fs::write(path.join("toc.dat"), "x").unwrap();
            backups.open(Slot::Last, &name).unwrap()
        });
        let left = || fs::read_dir(backups.partial()).unwrap().count();
        backups.unlink(Slot::Last, &name).unwrap();
        assert_eq!((path.exists(), left()), (false, 1));
        // What sweeps leaves it, too.
        backups.sweep_partial().unwrap();
        let [first, second] = holds;
        drop(first);
        assert_eq!(left(), 1);
        drop(second);
        assert_eq!(left(), 0);
    }
    #[test]
    fn a_directory_that_is_replaced_while_it_is_held_is_kept_as_well() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let name = BackupName::parse("app-20260416.dir").unwrap();
        let make = |content: &str| {
            let made = backups.partial().join("made");
            fs::create_dir(&made).unwrap();
            fs::write(made.join("toc.dat"), content).unwrap();
            backups.put(&made, Slot::Daily, &name).unwrap();
        };
        make("old");
        let old = backups.open(Slot::Daily, &name).unwrap();
        make("new");
        let kept = backups.discarded(old.status.st_ino).join("toc.dat");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "old");
        assert_eq!(fs::read_to_string(backups.path(Slot::Daily, &name).join("toc.dat")).unwrap(), "new");
        drop(old);
        assert!(!kept.exists());
    }
}
