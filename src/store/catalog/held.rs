//! The directories of the backup directory, opened: a slot, or where files are until they are whole, is a directory and no
//! link to one, and the run that has the lock goes on in those that it has found then, whatever is put in their place.

use std::io;

use nix::errno::Errno;

use super::directory::{BackupDirectory, DirectoryError};
use super::slot::Slot;
use crate::util::open_dir::OpenDir;

/// The name of the directory where files are until they are whole.
pub(super) const PARTIAL: &str = ".partial";

/// What was opened; nothing in place of what was not there.
#[derive(Debug)]
pub(super) struct HeldDirs {
    slots: [Option<OpenDir>; 4],
    partial: Option<OpenDir>,
}

impl BackupDirectory {
    /// Opens its directories for the rest of the run. Only the holder of the lock need call this.
    ///
    /// # Errors
    /// When one is no directory, or cannot be opened.
    pub(super) fn hold_dirs(&self) -> Result<(), DirectoryError> {
        if self.held.get().is_some() {
            return Ok(());
        }
        let there = |opened: Result<OpenDir, DirectoryError>| match opened {
            Err(DirectoryError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        };
        let [last, daily, weekly, monthly] = Slot::ALL.map(|slot| there(self.open_slot(slot)));
        let (slots, partial) = ([last?, daily?, weekly?, monthly?], there(self.open_partial())?);
        let _ = self.held.set(HeldDirs { slots, partial });
        Ok(())
    }

    /// Opens a slot.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub(crate) fn open_slot(&self, slot: Slot) -> Result<OpenDir, DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("open the slot {slot}"), error);
        let held = self.held.get().and_then(|held| held.slots[slot as usize].clone());
        held.map_or_else(|| self.open_dir(slot.name(), failed), Ok)
    }

    /// Opens the directory where files are until they are whole.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub(crate) fn open_partial(&self) -> Result<OpenDir, DirectoryError> {
        let failed = |error| DirectoryError::Io("open .partial".into(), error);
        let held = self.held.get().and_then(|held| held.partial.clone());
        held.map_or_else(|| self.open_dir(PARTIAL, failed), Ok)
    }

    fn open_dir(
        &self,
        name: &str,
        failed: impl FnOnce(io::Error) -> DirectoryError,
    ) -> Result<OpenDir, DirectoryError> {
        let opened = OpenDir::open(self.root()).and_then(|root| root.dir(name));
        opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOTDIR | Errno::ELOOP) => DirectoryError::NotASlot(self.root().join(name)),
            _ => failed(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn whoever_swaps_a_directory_does_not_have_the_run_go_with_it() {
        for name in [PARTIAL, "last", "daily", "weekly", "monthly"] {
            let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            fs::write(outside.path().join("precious"), "x").unwrap();
            let [before, after] = [(); 2].map(|()| BackupDirectory::new(root.path()));
            before.prepare().unwrap();
            before.hold_dirs().unwrap();
            fs::rename(root.path().join(name), root.path().join("moved")).unwrap();
            symlink(outside.path(), root.path().join(name)).unwrap();
            // It was opened when it was a directory.
            before.sweep_leftovers().unwrap();
            assert!(before.list_all().unwrap().is_empty());
            for refused in [after.hold_dirs(), after.sweep_leftovers().map(drop)] {
                assert!(matches!(refused, Err(DirectoryError::NotASlot(_))), "{name}: {refused:?}");
            }
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        }
    }
}
