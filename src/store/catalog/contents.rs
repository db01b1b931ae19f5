//! What a slot held when it was last read: names, what pointers lead to, manifests. Kept, as a slot of
//! thousands of backups takes thousands of files to read, and few of them change.
//!
//! A backup's own length and time are not kept: a file may grow under its name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::stat::{FileStat, fstat};

use super::described::{Appearance, Described};
use super::directory::{BackupDirectory, DirectoryError, Inode};
use super::manifest::Manifest;
use super::name::{BackupName, DatabaseName};
use super::slot::Slot;
use crate::util::open_dir::OpenDir;

/// The most names of a slot that are kept.
const KEPT: usize = 20_000;
/// How old a change must be for the next one to be sure of another time. Some file systems count in twos.
const SETTLED: Duration = Duration::from_secs(3);
/// How long anything is kept. A manifest that somebody else writes over in place is seen after that.
const KEEP_TIME: Duration = Duration::from_secs(60);

/// A name in a slot.
#[derive(Debug)]
pub(super) struct Known {
    /// The name.
    pub name: BackupName,
    /// The backup that a symlink leads to.
    pub target: Option<BackupName>,
    /// Whether the name is that of a pointer, which may be a hard link instead.
    pub is_latest: bool,
    /// The database that the name speaks of; not known where the manifest says the same.
    pub named: Option<DatabaseName>,
    /// What was written down about it, or about another that lay there.
    pub manifest: Option<Arc<Manifest>>,
    /// When that was written, in nanoseconds since 1970.
    pub written: i64,
}

impl Known {
    /// The manifest, if it is of the backup that lies there now, and looks so.
    pub fn manifest_for(&self, now: Appearance) -> Option<&Arc<Manifest>> {
        // A database is named beside a manifest only where that one says another.
        self.manifest.as_ref().filter(|manifest| self.named.is_none() && manifest.fits(self.written, now))
    }
}

/// What was last read of each slot.
#[derive(Debug, Default)]
pub(super) struct Contents(Mutex<HashMap<Slot, Reading>>);

#[derive(Debug)]
struct Reading {
    stamp: Stamp,
    taken: Instant,
    names: Arc<Vec<Known>>,
}

/// Changes with every name that comes, goes or is replaced, which is how backups and manifests are written.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(status: &FileStat) -> Self {
        Self {
            inode: (status.st_dev, status.st_ino),
            modified: (status.st_mtime, status.st_mtime_nsec),
            changed: (status.st_ctime, status.st_ctime_nsec),
        }
    }

    /// Whether a change from now on is sure to be told from the last one.
    fn is_settled(&self) -> bool {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.saturating_sub(SETTLED).as_secs().cast_signed() > self.modified.0.max(self.changed.0)
    }

    /// Whether it changes at all, as far as the newest of the backups tells, which was written before it got its name:
    /// exFAT by FUSE leaves a directory's time as it is.
    fn follows(&self, newest: Option<i64>) -> bool {
        newest.is_some_and(|newest| newest <= self.modified.0)
    }
}

impl Contents {
    fn get(&self, slot: Slot, stamp: &Stamp) -> Option<Arc<Vec<Known>>> {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = readings.get(&slot)?;
        (reading.stamp == *stamp && reading.taken.elapsed() < KEEP_TIME).then(|| Arc::clone(&reading.names))
    }

    /// Forgets what was read of a slot in which this process has changed something.
    pub(super) fn forget(&self, slot: Slot) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    fn keep(&self, slot: Slot, stamp: Stamp, names: &Arc<Vec<Known>>) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() <= KEPT && stamp.is_settled() {
            readings.insert(slot, Reading { stamp, taken: Instant::now(), names: Arc::clone(names) });
        } else {
            readings.remove(&slot);
        }
    }
}

impl BackupDirectory {
    /// The names in an opened slot that may be those of backups.
    pub(super) fn known(&self, slot: Slot, directory: &OpenDir) -> Result<Arc<Vec<Known>>, DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("list the slot {slot}"), error);
        // Before the reading: what changes while it goes on gives the slot another stamp.
        let stamp = Stamp::of(&fstat(directory).map_err(|error| failed(error.into()))?);
        if let Some(names) = self.contents.get(slot, &stamp) {
            return Ok(names);
        }
        let (mut names, mut newest) = (Vec::new(), None);
        for name in directory.names().map_err(failed)? {
            let Some(name) = name.to_str().and_then(|name| BackupName::parse(name).ok()) else { continue };
            match self.look(directory, slot, &name) {
                Ok(Inode::Backup(status)) => {
                    newest = newest.max(Some(status.st_mtime));
                    names.push(know(directory, slot, name, None));
                }
                Ok(Inode::Pointer(target)) => names.push(know(directory, slot, name, Some(target))),
                Err(_) => {}
            }
        }
        // Most of the way to the order of a listing: newest first.
        names.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        let names = Arc::new(names);
        match stamp.follows(newest) {
            true => self.contents.keep(slot, stamp, &names),
            false => self.contents.forget(slot),
        }
        Ok(names)
    }
}

fn know(directory: &OpenDir, slot: Slot, name: BackupName, target: Option<BackupName>) -> Known {
    let backup = target.as_ref().unwrap_or(&name);
    let described = Described::read(directory, backup).and_then(|described| match described {
        Some(described) => described.without_properties().map(Some),
        None => Ok(None),
    });
    let described = described.unwrap_or_else(|error| {
        log::warn!("cannot read the manifest of {slot}/{backup}: {error}");
        None
    });
    let is_latest = name.latest_parts().is_some();
    let named = match &described {
        Some(described) => described.contradiction(backup, Some(slot)),
        None => backup.database(slot),
    };
    let written = described.as_ref().map_or(0, |described| described.written);
    let manifest = described.map(|described| Arc::new(described.manifest));
    Known { manifest, written, named, target, is_latest, name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    use crate::store::catalog::Format;

    fn slot_with(names: &[&str]) -> (tempfile::TempDir, BackupDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(directory.path());
        backups.prepare().unwrap();
        for name in names {
            fs::write(backups.slot_path(Slot::Last).join(name), "x").unwrap();
        }
        (directory, backups)
    }

    fn settle(backups: &BackupDirectory) {
        let deadline = Instant::now() + 3 * SETTLED;
        let directory = File::open(backups.slot_path(Slot::Last)).unwrap();
        while !Stamp::of(&fstat(&directory).unwrap()).is_settled() {
            assert!(Instant::now() < deadline, "the slot does not settle");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn read(backups: &BackupDirectory) -> Arc<Vec<Known>> {
        backups.known(Slot::Last, &backups.open_slot(Slot::Last).unwrap()).unwrap()
    }

    #[test]
    fn a_slot_that_has_just_changed_is_read_again() {
        let (_directory, backups) = slot_with(&["a.sql"]);
        assert!(!Arc::ptr_eq(&read(&backups), &read(&backups)));
    }

    #[test]
    fn a_settled_slot_is_read_once_until_a_name_comes_or_goes_or_is_replaced() {
        let (_directory, backups) = slot_with(&["a.sql", "b.sql"]);
        settle(&backups);
        let first = read(&backups);
        assert!(Arc::ptr_eq(&first, &read(&backups)));
        let manifest = Manifest {
            sha256: "0".repeat(64),
            size: 1,
            dumped: None,
            modified: None,
            database: DatabaseName::parse("shop").unwrap(),
            format: Some(Format::Plain),
            encrypted: false,
            dump: None,
            origin: None,
            properties: None,
            needs: None,
            verified: None,
            proven: None,
        };
        let written = backups.root().join("written");
        fs::write(&written, serde_json::to_vec(&manifest).unwrap()).unwrap();
        fs::rename(&written, backups.slot_path(Slot::Last).join(".a.sql.json")).unwrap();
        let described = |known: &&Known| known.manifest.is_some();
        assert_eq!(read(&backups).iter().filter(described).count(), 1);
        fs::remove_file(backups.slot_path(Slot::Last).join("a.sql")).unwrap();
        assert_eq!(read(&backups).len(), 1);
    }

    #[test]
    fn a_backup_that_grows_is_listed_at_its_length() {
        let (_directory, backups) = slot_with(&["a.sql"]);
        settle(&backups);
        assert_eq!(backups.list(Slot::Last).unwrap()[0].size, 1);
        fs::write(backups.slot_path(Slot::Last).join("a.sql"), "longer").unwrap();
        assert_eq!(backups.list(Slot::Last).unwrap()[0].size, 6);
    }
}
