//! Further names for a backup, and how a name comes to stand for something else.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::directory::{BackupDirectory, DirectoryError};
use super::name::BackupName;
use super::slot::Slot;
use crate::durable;

impl BackupDirectory {
    /// Moves a finished file or directory to its name, in place of whatever was there.
    ///
    /// A directory cannot be renamed over another. Then what was there goes aside first, from where
    /// [`Self::put_back`] fetches it after a crash.
    ///
    /// # Errors
    /// When it cannot be moved; what was there is there still, or will be put back.
    pub(crate) fn put(&self, from: &Path, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("publish {slot}/{name}"), error);
        let to = self.path(slot, name);
        let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if fs::symlink_metadata(&to).is_err() || !(is_directory(from) || is_directory(&to)) {
            return durable::rename(from, &to).map_err(failed);
        }
        let place = self.aside(slot);
        DirBuilder::new().recursive(true).mode(0o755).create(&place).map_err(failed)?;
        if !self.is_ours_aside(slot) {
            return Err(DirectoryError::NotASlot(place));
        }
        let aside = place.join(name.as_str());
        self.discard(&aside).map_err(failed)?;
        durable::rename(&to, &aside).map_err(failed)?;
        durable::rename(from, &to).map_err(failed)?;
        self.discard(&aside).map_err(failed)?;
        // What is not empty holds another backup.
        let _ = place.ancestors().take(2).try_for_each(fs::remove_dir);
        Ok(())
    }

    /// Where a backup of a slot lies while another one takes its name.
    fn aside(&self, slot: Slot) -> PathBuf {
        self.partial().join("replaced").join(slot.name())
    }

    /// Whether that place is a directory beneath ours, and not one that a symlink leads to.
    fn is_ours_aside(&self, slot: Slot) -> bool {
        let place = self.aside(slot);
        let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        place.ancestors().take(2).all(is_directory)
    }

    /// Gives the backups that a crash has left aside their names again, where nothing has taken them.
    pub(super) fn put_back(&self) -> io::Result<()> {
        for slot in Slot::ALL.into_iter().filter(|slot| self.is_ours_aside(*slot)) {
            for entry in fs::read_dir(self.aside(slot))? {
                let entry = entry?;
                let name = entry.file_name().to_str().and_then(|name| BackupName::parse(name).ok());
                let Some(name) = name.filter(|name| name.parts(slot).is_some()) else { continue };
                let to = self.path(slot, &name);
                if fs::symlink_metadata(&to).is_err() {
                    durable::rename(&entry.path(), &to)?;
                    log::warn!("{slot}/{name} is back after a crash");
                }
            }
        }
        Ok(())
    }

    /// Forgets the backup that a crash has left aside under a name, so that it does not come back.
    pub(super) fn forget_aside(&self, slot: Slot, name: &BackupName) -> io::Result<()> {
        match self.is_ours_aside(slot) {
            true => self.discard(&self.aside(slot).join(name.as_str())),
            false => Ok(()),
        }
    }
}

/// Hard-links a file, or every file of a directory; where the filesystem has no hard links, copies it.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(from)?.is_dir() {
        true => link_directory(from, to),
        false => link_file(from, to),
    }
}

fn link_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull) => {
            fs::copy(from, to)?;
            let copy = File::options().write(true).open(to)?;
            copy.set_modified(fs::metadata(from)?.modified()?)?;
            copy.sync_all()
        }
        result => result,
    }
}

fn link_directory(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        link_file(&entry.path(), &to.join(entry.file_name()))?;
    }
    let directory = File::open(to)?;
    // Retention goes by it.
    directory.set_modified(fs::metadata(from)?.modified()?)?;
    directory.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_with(path: &Path, text: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("toc.dat"), text).unwrap();
    }

    #[test]
    fn a_directory_takes_the_place_of_a_directory_or_a_file_and_a_file_that_of_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let name = BackupName::parse("app-20260416.dump").unwrap();
        let target = backups.path(Slot::Daily, &name);
        let new = backups.partial().join("new");
        for text in ["first", "second"] {
            directory_with(&new, text);
            fs::write(new.join(text), "").unwrap();
            backups.put(&new, Slot::Daily, &name).unwrap();
            assert_eq!(fs::read_to_string(target.join("toc.dat")).unwrap(), text);
            assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
        }
        fs::write(&new, "file").unwrap();
        backups.put(&new, Slot::Daily, &name).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "file");
        directory_with(&new, "third");
        backups.put(&new, Slot::Daily, &name).unwrap();
        assert!(target.is_dir());
        assert_eq!(fs::read_dir(backups.partial()).unwrap().count(), 0);
    }

    #[test]
    fn what_lies_outside_is_not_fetched_through_a_symlink() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        directory_with(&outside.path().join("daily/app-20260416"), "secret");
        std::os::unix::fs::symlink(outside.path(), backups.partial().join("replaced")).unwrap();
        backups.sweep_partial().unwrap();
        assert!(outside.path().join("daily/app-20260416/toc.dat").exists());
        assert_eq!(fs::read_dir(backups.slot_path(Slot::Daily)).unwrap().count(), 0);
    }

    #[test]
    fn what_a_crash_left_aside_comes_back_unless_its_name_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let daily = backups.slot_path(Slot::Daily);
        directory_with(&backups.aside(Slot::Daily).join("lost-20260416"), "old");
        directory_with(&backups.aside(Slot::Daily).join("taken-20260416"), "old");
        directory_with(&daily.join("taken-20260416"), "new");
        backups.sweep_partial().unwrap();
        assert_eq!(fs::read_to_string(daily.join("lost-20260416/toc.dat")).unwrap(), "old");
        assert_eq!(fs::read_to_string(daily.join("taken-20260416/toc.dat")).unwrap(), "new");
        assert_eq!(fs::read_dir(backups.partial()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_linked_is_copied_with_its_time() {
        let (from, to) = (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path().join("a"), to.path().join("b"));
        fs::write(&from, "whole").unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        File::options().write(true).open(&from).unwrap().set_modified(time).unwrap();
        link_file(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"whole");
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), time);
    }
}
