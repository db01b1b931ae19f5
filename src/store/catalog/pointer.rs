//! The `-latest` names: where they point, and how they go on pointing somewhere when that is removed.

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
/// How long a run waits for who changes names. That takes moments; who holds them longer is stopped or stuck, such as a
/// paused container, and then an error helps more than a run without an end.
const RUN_PATIENCE: Duration = Duration::from_secs(600);

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

/// A link that has no name in a slot yet. Dropped before it has one, it is removed: half a copy may be large.
#[derive(Debug)]
pub(crate) struct NewLink {
    /// Where it lies.
    place: OpenDir,
    /// Its name there.
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

/// Locks a file, trying again and again: flock(2) by itself would wait without an end.
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
        let (place, target) = (self.open_slot(slot)?, target.as_str());
        self.link_as(slot, pointer, |partial, temporary| match kind {
            // A directory has no hard links, and a copy of one would be a backup of its own.
            Latest::Hardlink if !place.holds_dir(target) => link_or_copy(&place, target, partial, temporary),
            _ => Ok(symlinkat(target, partial, temporary)?),
        })
    }

    /// Makes a link under a temporary name and renames it to `name`, over whatever was there.
    pub(crate) fn link_as(
        &self,
        slot: Slot,
        name: &BackupName,
        make: impl FnOnce(&OpenDir, &str) -> io::Result<()>,
    ) -> Result<(), DirectoryError> {
        self.put_link(&self.make_link(slot, name, make)?, slot, name)
    }

    /// The first half: makes a link under a temporary name. It may take long where it is a copy.
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

    /// The second half: renames it.
    pub(crate) fn put_link(
        &self,
        link: &NewLink,
        slot: Slot,
        name: &BackupName,
    ) -> Result<(), DirectoryError> {
        self.put(&link.place, &link.name, slot, name)?;
        // rename(2) does nothing when both names are links to one file; the temporary one is then left.
        link.remove().map_err(|error| DirectoryError::Io(format!("link {slot}/{name}"), error))
    }

    /// Removes a backup. Pointers to it lead to the newest one left, or go with it.
    ///
    /// # Errors
    /// When it is not there, cannot be removed, or a pointer cannot be changed.
    pub fn remove(&self, slot: Slot, name: &BackupName) -> Result<(), DirectoryError> {
        self.remove_agreed(RUN_PATIENCE, slot, name, || Ok(()))
    }

    /// The same for somebody who waits no longer than that for others who change names, and agrees to it when nobody
    /// changes any more.
    ///
    /// # Errors
    /// Also when one of them still does after that, and when there is no agreement.
    pub fn remove_agreed<E: From<DirectoryError>>(
        &self,
        patience: Duration,
        slot: Slot,
        name: &BackupName,
        agree: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _lock = self.lock_names_within(patience)?;
        let before = self.list(slot)?;
        // What the file system finds under another spelling is another backup.
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
        // The list is newest first.
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

    /// Keeps a deletion on request, a verification and a backup that publishes from undoing each other's names,
    /// pointers and manifests. Held for moments only, unlike the lock of a whole run.
    pub(crate) fn lock_names(&self) -> Result<Flock, DirectoryError> {
        self.lock_names_within(RUN_PATIENCE)
    }

    fn lock_names_within(&self, patience: Duration) -> Result<Flock, DirectoryError> {
        let failed = |error| DirectoryError::Io("lock .pointers.lock".into(), error);
        let file = durable::open_or_create(&self.root().join(POINTERS_LOCK)).map_err(failed)?;
        lock_within(patience, file)
    }

    /// The same for somebody who only reads; `None` where nobody can be kept out, as on a volume that cannot be written
    /// to and has no such lock yet.
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
