//! Removal of dumps in directory format. Their files are opened one after the other while they are sent, so a sender
//! holds a shared lock on the directory. If it is removed meanwhile, the last sender deletes it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use crate::util::flock::{Flock, FlockError};
use crate::util::open_dir::OpenDir;

/// Keeps the files of a directory until dropped, even if its name is removed.
#[derive(Debug)]
pub struct Hold {
    lock: Option<Flock>,
    /// Where the directory is moved if it is removed while held.
    partial: Option<OpenDir>,
    inode: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.lock.take());
        // What cannot be removed now is swept by the next run.
        if let Some(partial) = &self.partial {
            let _ = discard(partial, discarded(self.inode).as_ref(), || Ok(partial.clone()));
        }
    }
}

impl Hold {
    /// Locks a directory that has just been opened. `None` if the file system has no locks.
    ///
    /// # Errors
    /// When it is being removed.
    pub(super) fn of(opened: &impl AsFd, partial: Option<OpenDir>) -> Result<Option<Self>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let own = File::from(openat(opened, ".", flags, Mode::empty())?);
        let lock = match Flock::try_lock_shared(own) {
            Ok(lock) => lock,
            Err(FlockError::Held(_)) => return Err(Errno::ENOENT),
            Err(FlockError::Io(_)) => return Ok(None),
        };
        let status = fstat(opened)?;
        match status.st_nlink {
            0 => Err(Errno::ENOENT),
            _ => Ok(Some(Self { lock: Some(lock), partial, inode: status.st_ino })),
        }
    }
}

/// Removes a file or directory tree in `place`, if it exists. A directory that is being read is moved to `partial`
/// instead.
///
/// # Errors
/// When it exists and cannot be removed.
pub(super) fn discard(
    place: &OpenDir,
    name: &OsStr,
    partial: impl FnOnce() -> io::Result<OpenDir>,
) -> io::Result<()> {
    if !place.holds_dir(name) {
        return place.remove_file(name).map(drop);
    }
    match discard_directory(place, name, partial) {
        // The last reader has removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        discarded => discarded,
    }
}

fn discard_directory(
    place: &OpenDir,
    name: &OsStr,
    partial: impl FnOnce() -> io::Result<OpenDir>,
) -> io::Result<()> {
    let doomed = place.dir(name)?;
    match Flock::try_lock(doomed.to_file()?) {
        Err(FlockError::Held(_)) => place.rename(name, &partial()?, discarded(fstat(&doomed)?.st_ino)),
        // Without lock support no one can hold it.
        _lock => place.remove_all(name),
    }
}

/// Name in `.partial` of a removed directory that is still held.
fn discarded(inode: u64) -> String {
    format!("discarded-{inode}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::catalog::{BackupDirectory, BackupName, Slot};

    #[test]
    fn a_directory_that_is_held_goes_with_the_last_who_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let name = BackupName::parse("app-20260416-030000.dir").unwrap();
        let path = backups.path(Slot::Last, &name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("toc.dat"), "x").unwrap();
        let [first, second] = [(); 2].map(|()| backups.open(Slot::Last, &name).unwrap());
        let left = || fs::read_dir(backups.partial()).unwrap().count();
        backups.unlink(Slot::Last, &name).unwrap();
        assert_eq!((path.exists(), left()), (false, 1));
        // The sweep does not remove it either.
        backups.sweep_partial().unwrap();
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
            backups.put(&backups.open_partial().unwrap(), "made", Slot::Daily, &name).unwrap();
        };
        make("old");
        let old = backups.open(Slot::Daily, &name).unwrap();
        make("new");
        let kept = backups.partial().join(discarded(old.status.st_ino)).join("toc.dat");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "old");
        assert_eq!(fs::read_to_string(backups.path(Slot::Daily, &name).join("toc.dat")).unwrap(), "new");
        drop(old);
        assert!(!kept.exists());
    }
}
