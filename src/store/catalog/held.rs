//! Opened subdirectories of the backup directory. Slots and `.partial` must be real directories, not symbolic links.
//! The run that holds the run lock keeps them open, so that replacing one later does not redirect it.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use super::error::DirectoryError;
use super::slot::Slot;
use crate::util::open_dir::OpenDir;

/// Name of the directory of incomplete files.
pub(super) const PARTIAL: &str = ".partial";

/// The opened directories; `None` for one that did not exist.
#[derive(Debug)]
pub(super) struct HeldDirs {
    slots: [Option<OpenDir>; 4],
    partial: Option<OpenDir>,
}

impl HeldDirs {
    /// Opens the directories below `root`.
    ///
    /// # Errors
    /// When one is not a directory, or cannot be opened.
    pub(super) fn open(root: &Path) -> Result<Self, DirectoryError> {
        let there = |opened: Result<OpenDir, DirectoryError>| match opened {
            Err(DirectoryError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        };
        let [last, daily, weekly, monthly] = Slot::ALL.map(|slot| there(open_slot(root, slot)));
        Ok(Self { slots: [last?, daily?, weekly?, monthly?], partial: there(open_partial(root))? })
    }

    /// The slot, if it existed.
    pub(super) fn slot(&self, slot: Slot) -> Option<OpenDir> {
        self.slots[slot as usize].clone()
    }

    /// The directory of incomplete files, if it existed.
    pub(super) fn partial(&self) -> Option<OpenDir> {
        self.partial.clone()
    }
}

/// Opens a slot below `root`.
///
/// # Errors
/// When it does not exist or is not a directory.
pub(super) fn open_slot(root: &Path, slot: Slot) -> Result<OpenDir, DirectoryError> {
    open(root, slot.name(), |error| DirectoryError::Io(format!("open the slot {slot}"), error))
}

/// Opens the directory of incomplete files below `root`.
///
/// # Errors
/// When it does not exist or is not a directory.
pub(super) fn open_partial(root: &Path) -> Result<OpenDir, DirectoryError> {
    open(root, PARTIAL, |error| DirectoryError::Io("open .partial".into(), error))
}

fn open(
    root: &Path,
    name: &str,
    failed: impl FnOnce(io::Error) -> DirectoryError,
) -> Result<OpenDir, DirectoryError> {
    let opened = OpenDir::open(root).and_then(|root| root.dir(name));
    opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOTDIR | Errno::ELOOP) => DirectoryError::NotASlot(root.join(name)),
        _ => failed(error),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::catalog::BackupDirectory;

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
            // `before` opened the directory before it was replaced.
            before.sweep_leftovers().unwrap();
            assert!(before.list_all().unwrap().is_empty());
            for refused in [after.hold_dirs(), after.sweep_leftovers().map(drop)] {
                assert!(matches!(refused, Err(DirectoryError::NotASlot(_))), "{name}: {refused:?}");
            }
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        }
    }
}
