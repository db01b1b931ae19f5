//! The `-latest` pointers: how they are set, and how they move when their target is removed.

use std::fs::File;
use std::io;
use std::time::Duration;

use nix::sys::stat::SFlag;
use nix::unistd::symlinkat;

use super::directory::BackupDirectory;
use super::error::DirectoryError;
use super::link::link_or_copy;
use super::listing::Entry;
use super::name::{BackupName, DatabaseName, LATEST};
use super::slot::Slot;
use super::spelling::is_spelled_so;
use crate::util::durable;
use crate::util::flock::{Flock, FlockError};
use crate::util::open_dir::{OpenDir, kind};

const POINTERS_LOCK: &str = ".pointers.lock";
/// How long a run waits for the lock on names. It is held for moments only; a longer holder is stopped or stuck, such
/// as a paused container. Then an error is better than waiting forever.
const RUN_PATIENCE: Duration = Duration::from_secs(600);

/// The kind of `-latest` pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latest {
    /// A symbolic link.
    Symlink,
    /// A hard link, for copying with tools that do not follow symbolic links. Dumps in directory format still get a
    /// symbolic link.
    Hardlink,
    /// No pointer.
    None,
}

impl Latest {
    /// The kind named by a lower-case word; symlink by default.
    pub fn from_word(word: &str) -> Self {
        match word {
            "hardlink" => Self::Hardlink,
            "none" => Self::None,
            _ => Self::Symlink,
        }
    }
}

/// A link that is not yet renamed into a slot. Removed on drop, because a partial copy may be large.
#[derive(Debug)]
pub(crate) struct NewLink {
    /// The directory that contains it.
    place: OpenDir,
    /// Its temporary name.
    name: String,
}

impl NewLink {
    fn remove(&self) -> io::Result<()> {
        self.place.remove_all(&self.name)
    }
}

impl Drop for NewLink {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Locks a file with a time limit; flock(2) itself would wait forever.
fn lock_within(patience: Duration, file: File) -> Result<Flock, DirectoryError> {
    Flock::lock_within(patience, file).map_err(|error| match error {
        FlockError::Held(_) => DirectoryError::NamesHeld,
        FlockError::Io(error) => DirectoryError::Io("lock .pointers.lock".into(), error),
    })
}

impl BackupDirectory {
    /// Points the `-latest` name of a database at one of its backups in the same slot.
    ///
    /// # Errors
    /// When the link cannot be made; the old one is unchanged.
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
        let (place, target) = (self.open_slot(slot)?, target.as_str());
        self.link_as(slot, pointer, |partial, temporary| match kind {
            // A directory cannot be hard-linked, and a copy would be a separate backup.
            Latest::Hardlink if !place.holds_dir(target) => link_or_copy(&place, target, partial, temporary),
            _ => Ok(symlinkat(target, partial, temporary)?),
        })
    }

    /// Makes a link under a temporary name and renames it to `name`, replacing what was there.
    pub(crate) fn link_as(
        &self,
        slot: Slot,
        name: &BackupName,
        make: impl FnOnce(&OpenDir, &str) -> io::Result<()>,
    ) -> Result<(), DirectoryError> {
        self.put_link(&self.make_link(slot, name, make)?, slot, name)
    }

    /// First step of [`Self::link_as`]: makes the link. Slow if it must be copied.
    pub(crate) fn make_link(
        &self,
        slot: Slot,
        name: &BackupName,
        make: impl FnOnce(&OpenDir, &str) -> io::Result<()>,
    ) -> Result<NewLink, DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("link {slot}/{name}"), error);
        let link = NewLink { place: self.open_partial()?, name: format!("{name}.link") };
        link.remove().map_err(failed)?;
        make(&link.place, &link.name).map_err(failed)?;
        Ok(link)
    }

    /// Second step of [`Self::link_as`]: renames the link.
    pub(crate) fn put_link(
        &self,
        link: &NewLink,
        slot: Slot,
        name: &BackupName,
    ) -> Result<(), DirectoryError> {
        self.put(&link.place, &link.name, slot, name)?;
        // rename(2) does nothing if both names are links to one file; the temporary name then remains.
        link.remove().map_err(|error| DirectoryError::Io(format!("link {slot}/{name}"), error))
    }

    /// Removes a backup. Pointers to it move to the newest one left, or are removed too.
    ///
    /// # Errors
    /// When it does not exist, cannot be removed, or a pointer cannot be changed.
    pub fn remove(&self, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
        self.remove_agreed(RUN_PATIENCE, slot, name, || Ok(()))
    }

    /// Like [`Self::remove`], but waits at most `patience` for the lock on names, and calls `agree` under that lock
    /// before the removal.
    ///
    /// # Errors
    /// Also when the lock is still held after that, and when `agree` fails.
    pub fn remove_agreed<E: From<DirectoryError>>(
        &self,
        patience: Duration,
        slot: Slot,
        name: &BackupName,
        agree: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _lock = self.lock_names_within(patience)?;
        let before = self.list(slot)?;
        // A file found under another spelling is another backup.
        let directory = self.open_slot(slot)?;
        if directory.holds(name.as_str()) && !is_spelled_so(&directory, slot, name)? {
            return Err(DirectoryError::NotFound(slot, name.clone()).into());
        }
        agree()?;
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
        // The listing is newest first.
        match self.list(slot)?.iter().find(replaces) {
            Some(newest) => {
                let status = self.open_slot(slot)?.status(pointer.name.as_str());
                let is_symlink = status.is_ok_and(|status| kind(&status) == SFlag::S_IFLNK);
                let kind = if is_symlink { Latest::Symlink } else { Latest::Hardlink };
                self.point(slot, &pointer.name, &newest.name, kind)
            }
            None => self.unlink(slot, &pointer.name),
        }
    }

    /// Locks names, pointers and manifests, so that deletion requests, verifications and publishing backups do not
    /// undo each other's changes. Held for moments only, unlike the run lock.
    pub(crate) fn lock_names(&self) -> Result<Flock, DirectoryError> {
        self.lock_names_within(RUN_PATIENCE)
    }

    fn lock_names_within(&self, patience: Duration) -> Result<Flock, DirectoryError> {
        let failed = |error| DirectoryError::Io("lock .pointers.lock".into(), error);
        let file = durable::open_or_create(&self.root().join(POINTERS_LOCK)).map_err(failed)?;
        lock_within(patience, file)
    }

    /// Like [`Self::lock_names`], for readers. `None` if locking is impossible, as on a read-only volume without the
    /// lock file.
    pub(crate) fn lock_names_to_read(&self) -> Result<Option<Flock>, DirectoryError> {
        match self.lock_names() {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.is_unwritable() => {
                let file = durable::open_to_read(&self.root().join(POINTERS_LOCK)).ok();
                Ok(file.and_then(|file| lock_within(RUN_PATIENCE, file).ok()))
            }
            Err(error) => Err(error),
        }
    }
}
