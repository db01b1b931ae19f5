//! A backup directory that cannot be written to: no permission, a read-only mount, no space, no inodes.
//!
//! It is tried by writing a small file, as a permission (access(2)) says nothing about space. The file is written
//! beside the slots: in them it would change their times, by which listings see changes. A slot on the same device has
//! the same space.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use crate::store::catalog::{BackupDirectory, Slot};
use crate::util::durable;

/// Writes a small file there and removes it again, and sees that each directory of the layout that is there may be
/// written to.
pub(super) fn ask(directory: &BackupDirectory) -> Vec<String> {
    let root = directory.root().to_path_buf();
    // If the directory takes no file, neither do the slots.
    if let Err(error) = durable::probe(&root) {
        return vec![problem(root, error)];
    }
    let device = fs::metadata(&root).ok().map(|found| found.dev());
    let slots = Slot::ALL.into_iter().map(|slot| directory.slot_path(slot));
    let parts = slots.chain([directory.partial()]).filter(|path| path.is_dir());
    let refused = parts.filter_map(|path| {
        let is_elsewhere = fs::metadata(&path).ok().map(|found| found.dev()) != device;
        let asked = if is_elsewhere {
            durable::probe(&path)
        } else {
            access(&path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
        };
        Some(problem(path, asked.err()?))
    });
    refused.collect()
}

fn problem(path: PathBuf, error: io::Error) -> String {
    format!("{} cannot be written to: {error}", path.display())
}
