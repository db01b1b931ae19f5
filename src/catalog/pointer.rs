//! The `-latest` names: where they point, and how they go on pointing somewhere when that is removed.

use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::directory::{BackupDirectory, DirectoryError};
use super::link::link_or_copy;
use super::listing::Entry;
use super::name::{BackupName, DatabaseName, LATEST};
use super::slot::Slot;
use crate::durable;

const POINTERS_LOCK: &str = ".pointers.lock";

/// What a `-latest` name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latest {
    /// A symlink.
    Symlink,
    /// A hard link, for those who copy the directory with tools that do not follow symlinks; a symlink to a dump
    /// in directory format all the same.
    Hardlink,
    /// Nothing.
    None,
}

impl Latest {
    /// The kind of that name, in lower case.
    pub fn from_word(word: &str) -> Self {
        match word {
            "hardlink" => Self::Hardlink,
            "none" => Self::None,
            _ => Self::Symlink,
        }
    }
}

impl BackupDirectory {
    /// Points the `-latest` name of a database at one of its backups in the same slot.
    ///
    /// # Errors
    /// When the link cannot be made; an older one stays.
    pub fn point_latest(
        &self,
        slot: Slot,
        database: &DatabaseName,
        suffix: &str,
        target: &BackupName,
        kind: Latest,
    ) -> Result<(), DirectoryError> {
        if kind == Latest::None {
            return Ok(());
        }
        let pointer = BackupName::compose(database, LATEST, suffix);
        let _lock = self.lock_names()?;
        self.point(slot, &pointer, target, kind)
    }

    fn point(
        &self,
        slot: Slot,
        pointer: &BackupName,
        target: &BackupName,
        kind: Latest,
    ) -> Result<(), DirectoryError> {
        let target_path = self.path(slot, target);
        self.link_as(slot, pointer, |temporary| match kind {
            // A directory has no hard links, and a copy of one would be a backup of its own.
            Latest::Hardlink if !target_path.is_dir() => link_or_copy(&target_path, temporary),
            _ => symlink(target.as_str(), temporary),
        })
    }

    /// Makes a link under a temporary name and renames it to `name`, over whatever was there.
    pub(crate) fn link_as(
        &self,
        slot: Slot,
        name: &BackupName,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("link {slot}/{name}"), error);
        let temporary = self.partial().join(format!("{name}.link"));
        durable::remove_all_if_there(&temporary).map_err(failed)?;
        let made = make(&temporary).map_err(failed).and_then(|()| self.put(&temporary, slot, name));
        if made.is_err() {
            // Half a copy may be large.
            let _ = durable::remove_all_if_there(&temporary);
        }
        made?;
        // rename(2) does nothing when both names are links to one file; the temporary one is then left.
        durable::remove_all_if_there(&temporary).map_err(failed)
    }

    /// Removes a backup. Pointers to it lead to the newest one left, or go with it.
    ///
    /// # Errors
    /// When it is not there, cannot be removed, or a pointer cannot be changed.
    pub fn remove(&self, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
        let _lock = self.lock_names()?;
        let before = self.list(slot)?;
        self.unlink(slot, name)?;
        let pointers =
            before.iter().filter(|entry| entry.alias_of.as_ref() == Some(name) && entry.name != *name);
        for pointer in pointers {
            self.repoint(pointer)?;
        }
        Ok(())
    }

    fn repoint(&self, pointer: &Entry) -> Result<(), DirectoryError> {
        let slot = pointer.slot;
        let Some(parts) = pointer.name.latest_parts() else { return Ok(()) };
        let replaces = |entry: &&Entry| {
            let candidate = entry.name.parts(slot);
            entry.alias_of.is_none()
                && candidate
                    .is_some_and(|name| name.database == parts.database && name.suffix == parts.suffix)
        };
        // The list is newest first.
        match self.list(slot)?.iter().find(replaces) {
            Some(newest) => {
                let is_symlink = self.path(slot, &pointer.name).is_symlink();
                let kind = if is_symlink { Latest::Symlink } else { Latest::Hardlink };
                self.point(slot, &pointer.name, &newest.name, kind)
            }
            None => self.unlink(slot, &pointer.name),
        }
    }

    /// Keeps a deletion on request, a verification and a backup that publishes from undoing each other's names,
    /// pointers and manifests. Held for moments only, unlike the lock of a whole run.
    pub(crate) fn lock_names(&self) -> Result<Flock<File>, DirectoryError> {
        let failed = |error| DirectoryError::Io("lock the names".into(), error);
        let file = durable::open_or_create(&self.root().join(POINTERS_LOCK)).map_err(failed)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| failed(error.into()))
    }

    /// The same for somebody who only reads; `None` where nobody can be kept out, as on a volume that cannot be written
    /// to and has no such lock yet.
    pub(crate) fn lock_names_to_read(&self) -> Result<Option<Flock<File>>, DirectoryError> {
        match self.lock_names() {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.is_unwritable() => {
                let file = durable::open_to_lock(&self.root().join(POINTERS_LOCK)).ok();
                Ok(file.and_then(|file| Flock::lock(file, FlockArg::LockExclusive).ok()))
            }
            Err(error) => Err(error),
        }
    }
}
