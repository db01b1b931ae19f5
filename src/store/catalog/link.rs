//! Publishes files under their names in a slot, and gives backups additional names.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use nix::errno::Errno;

use super::directory::BackupDirectory;
use super::error::DirectoryError;
use super::name::BackupName;
use super::slot::Slot;
use crate::util::open_dir::OpenDir;

/// Directory in `.partial`, with one subdirectory per slot, for backups that are being replaced.
const ASIDE: &str = "replaced";

impl BackupDirectory {
    /// Renames a finished file or directory to its name, replacing what was there.
    ///
    /// A directory cannot be renamed over another. The old one is first moved aside; after a crash [`Self::put_back`]
    /// restores it.
    ///
    /// # Errors
    /// When it cannot be moved; the old one is still there, or will be put back.
    pub(crate) fn put(
        &self,
        place: &OpenDir,
        from: &str,
        slot: Slot,
        name: &BackupName,
    ) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("publish {slot}/{name}"), error);
        let (to, own) = (self.open_slot(slot)?, name.as_str());
        if !to.holds(own) || !(place.holds_dir(from) || to.holds_dir(own)) {
            return place.rename(from, &to, own).map_err(failed);
        }
        let aside = self.make_aside(slot)?;
        self.discard(&aside, own.as_ref()).map_err(failed)?;
        to.rename(own, &aside, own).map_err(failed)?;
        place.rename(from, &to, own).map_err(failed)?;
        self.discard(&aside, own.as_ref()).map_err(failed)?;
        // Removal fails if another backup is still there.
        if let Ok(places) = self.open_partial()?.dir(ASIDE)
            && places.remove_dir(slot.name()).is_ok()
        {
            let _ = self.open_partial()?.remove_dir(ASIDE);
        }
        Ok(())
    }

    /// Opens the aside directory of a slot, creating it if needed.
    fn make_aside(&self, slot: Slot) -> Result<OpenDir, DirectoryError> {
        let make = |place: &OpenDir, name: &str| {
            match place.make_dir(name, 0o755) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            place.dir(name)
        };
        let partial = self.open_partial()?;
        let made = make(&partial, ASIDE).and_then(|places| make(&places, slot.name()));
        let path = || self.partial().join(ASIDE).join(slot.name());
        made.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOTDIR | Errno::ELOOP) => DirectoryError::NotASlot(path()),
            _ => DirectoryError::Io(format!("make {}", path().display()), error),
        })
    }

    /// The aside directory of a slot, if it exists and is a real directory.
    fn aside(&self, slot: Slot) -> Option<OpenDir> {
        self.open_partial().ok()?.dir(ASIDE).ok()?.dir(slot.name()).ok()
    }

    /// Restores backups that a crash left in the aside directory, unless their name is in use.
    pub(super) fn put_back(&self) -> Result<(), DirectoryError> {
        for slot in Slot::ALL {
            let Some(aside) = self.aside(slot) else { continue };
            let failed = |error| DirectoryError::Io(format!("put backups back into slot {slot}"), error);
            let to = self.open_slot(slot)?;
            for name in aside.names().map_err(failed)? {
                let parsed = name.to_str().and_then(|name| BackupName::parse(name).ok());
                if parsed.is_some_and(|name| name.parts(slot).is_some()) && !to.holds(&name) {
                    aside.rename(&name, &to, &name).map_err(failed)?;
                    log::warn!("{slot}/{} was put back: a killed run was replacing it", name.display());
                }
            }
        }
        Ok(())
    }

    /// Removes a backup that a crash left aside under this name, so that it is not restored.
    pub(super) fn forget_aside(&self, slot: Slot, name: &BackupName) -> io::Result<()> {
        self.aside(slot).map_or(Ok(()), |aside| self.discard(&aside, name.as_str().as_ref()))
    }
}

/// Hard-links a file, or every file of a directory, into another directory. Copies where hard links are not possible.
pub(crate) fn link_or_copy(
    place: &OpenDir,
    from: impl AsRef<OsStr>,
    into: &OpenDir,
    to: impl AsRef<OsStr>,
) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    place.status(from)?;
    match place.holds_dir(from) {
        true => link_directory(&place.dir(from)?, into, to),
        false => link_file(place, from, into, to),
    }
}

fn link_file(place: &OpenDir, from: &OsStr, into: &OpenDir, to: &OsStr) -> io::Result<()> {
    match place.link(from, into, to) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull) => {
            let mut original = place.open_file(from)?;
            let mut copy = into.create_file(to, 0o644)?;
            io::copy(&mut original, &mut copy)?;
            keep_time(&copy, &original)?;
            copy.sync_all()
        }
        result => result,
    }
}

/// Gives a copy the modification time of its original, because retention goes by it. Where only the owner may set it,
/// the slightly later time of the copy will do.
fn keep_time(copy: &File, original: &File) -> io::Result<()> {
    match copy.set_modified(original.metadata()?.modified()?) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        set => set,
    }
}

fn link_directory(from: &OpenDir, into: &OpenDir, to: &OsStr) -> io::Result<()> {
    into.make_dir(to, 0o755)?;
    let made = into.dir(to)?;
    for name in from.names()? {
        link_file(from, &name, &made, &name)?;
    }
    keep_time(&made.to_file()?, &from.to_file()?)?;
    made.sync()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

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
        let (partial, new) = (backups.open_partial().unwrap(), backups.partial().join("new"));
        for text in ["first", "second"] {
            directory_with(&new, text);
            fs::write(new.join(text), "").unwrap();
            backups.put(&partial, "new", Slot::Daily, &name).unwrap();
            assert_eq!(fs::read_to_string(target.join("toc.dat")).unwrap(), text);
            assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
        }
        fs::write(&new, "file").unwrap();
        backups.put(&partial, "new", Slot::Daily, &name).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "file");
        directory_with(&new, "third");
        backups.put(&partial, "new", Slot::Daily, &name).unwrap();
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
        let aside = backups.partial().join(ASIDE).join("daily");
        directory_with(&aside.join("lost-20260416"), "old");
        directory_with(&aside.join("taken-20260416"), "old");
        directory_with(&daily.join("taken-20260416"), "new");
        backups.sweep_partial().unwrap();
        assert_eq!(fs::read_to_string(daily.join("lost-20260416/toc.dat")).unwrap(), "old");
        assert_eq!(fs::read_to_string(daily.join("taken-20260416/toc.dat")).unwrap(), "new");
        assert_eq!(fs::read_dir(backups.partial()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_linked_is_copied_with_its_time() {
        let (from, to) = (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir().unwrap());
        let place = |directory: &tempfile::TempDir| OpenDir::open(directory.path()).unwrap();
        let (place, into) = (place(&from), place(&to));
        let (from, to) = (from.path().join("a"), to.path().join("b"));
        fs::write(&from, "whole").unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        File::options().write(true).open(&from).unwrap().set_modified(time).unwrap();
        link_or_copy(&place, "a", &into, "b").unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"whole");
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), time);
    }
}
