//! Lists the contents of the backup directory.

use std::collections::HashMap;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat};
use serde::Serialize;

use super::directory::{BackupDirectory, Inode};
use super::error::DirectoryError;
use super::manifest::{Appearance, Described, Format, Manifest, Scope, Verification};
use super::name::{BackupName, DatabaseName};
use super::slot::Slot;
use crate::util::clock;
use crate::util::open_dir::{OpenDir, kind};

/// A backup, or a pointer to one.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its slot.
    pub slot: Slot,
    /// Its name in the slot.
    pub name: BackupName,
    /// The database, from the manifest or the name.
    pub database: Option<DatabaseName>,
    /// Size in bytes; for a directory the sum of its files.
    pub size: u64,
    /// Modification time in Unix seconds.
    pub mtime: i64,
    /// Whether it is a dump in directory format.
    pub is_directory: bool,
    /// The target, if it is a pointer.
    pub alias_of: Option<BackupName>,
    /// Its manifest, if there is one that matches the file.
    pub manifest: Option<Arc<Manifest>>,
    /// A manifest under its name that describes another file, since replaced.
    pub former: Option<Arc<Manifest>>,
    /// The inode, which identifies hard links.
    pub inode: u64,
    /// The device of the inode: a slot may be a volume of its own.
    pub device: u64,
}

impl Entry {
    /// Whether it is a pointer, including one whose target is gone.
    pub fn is_pointer(&self) -> bool {
        self.alias_of.is_some() || self.name.latest_parts().is_some()
    }

    /// Whether its time lies in the future, so that its age is unknown.
    pub fn is_future(&self, now: i64) -> bool {
        clock::is_future(self.mtime, now)
    }

    /// What it is a backup of, from its manifest or a former one of the same database.
    pub fn scope(&self) -> Option<Scope> {
        let own = |former: &&Arc<Manifest>| Some(&former.database) == self.database.as_ref();
        let former = self.former.as_ref().filter(own);
        self.manifest.as_ref().or(former)?.dump.as_ref().map(|dump| dump.scope)
    }
}

/// A backup as shown in JSON; unknown fields are omitted.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    slot: Slot,
    name: &'a BackupName,
    size: u64,
    mtime: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<&'a Verification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias_of: Option<&'a BackupName>,
}

impl<'a> From<&'a Entry> for Listed<'a> {
    fn from(entry: &'a Entry) -> Self {
        let manifest = entry.manifest.as_ref();
        Self {
            slot: entry.slot,
            name: &entry.name,
            size: entry.size,
            mtime: entry.mtime,
            database: entry.database.as_ref().map(|name| name.as_str()),
            format: manifest.and_then(|manifest| manifest.format),
            encrypted: manifest.map(|manifest| manifest.encrypted),
            sha256: manifest.map(|manifest| manifest.sha256.as_str()),
            created_at: manifest.and_then(|manifest| Some(manifest.dump.as_ref()?.created_at)),
            verified: manifest.and_then(|manifest| manifest.verification()),
            alias_of: entry.alias_of.as_ref(),
        }
    }
}

impl BackupDirectory {
    /// The contents of a slot, newest first, times in the future last; no hidden or foreign files or dangling pointers.
    ///
    /// # Errors
    /// When the slot cannot be read.
    pub fn list(&self, slot: Slot) -> Result<Vec<Entry>, DirectoryError> {
        let failed = |error| DirectoryError::Io(format!("list the slot {slot}"), error);
        let directory = match self.open_slot(slot) {
            Err(DirectoryError::Io(_, error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Vec::new());
            }
            directory => directory?,
        };
        let (mut backups, mut pointers, mut symlinks) = (Vec::new(), Vec::new(), Vec::new());
        for name in directory.names().map_err(failed)? {
            let Some(name) = name.to_str().and_then(|name| BackupName::parse(name).ok()) else { continue };
            match self.look(&directory, slot, &name) {
                Ok(Inode::Backup(status)) => {
                    if name.latest_parts().is_some() {
                        pointers.push(backups.len());
                    }
                    backups.push(entry(&directory, slot, name, None, &status));
                }
                Ok(Inode::Pointer(target)) => symlinks.push((name, target)),
                Err(_) => {}
            }
        }
        mark_hard_linked(&mut backups, &pointers);
        for (name, target) in symlinks {
            let status = match fstatat(&directory, target.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(status) if matches!(kind(&status), SFlag::S_IFREG | SFlag::S_IFDIR) => status,
                Ok(_) | Err(Errno::ENOENT) => continue,
                Err(error) => return Err(failed(error.into())),
            };
            backups.push(entry(&directory, slot, name, Some(target), &status));
        }
        // A pointer has its target's time; the target is sorted first, so that the first entry is the newest backup.
        let now = clock::now();
        backups.sort_by(|a, b| {
            let future_last = a.is_future(now).cmp(&b.is_future(now));
            let pointers_last = a.alias_of.is_some().cmp(&b.alias_of.is_some());
            let newest_first = future_last.then(b.mtime.cmp(&a.mtime));
            newest_first.then(pointers_last).then_with(|| b.name.cmp(&a.name))
        });
        Ok(backups)
    }

    /// The contents of all slots: `last`, `daily`, `weekly`, `monthly`.
    ///
    /// # Errors
    /// When a slot cannot be read.
    pub fn list_all(&self) -> Result<Vec<Entry>, DirectoryError> {
        let mut entries = Vec::new();
        for slot in Slot::ALL {
            entries.append(&mut self.list(slot)?);
        }
        Ok(entries)
    }
}

fn entry(
    directory: &OpenDir,
    slot: Slot,
    name: BackupName,
    alias_of: Option<BackupName>,
    status: &FileStat,
) -> Entry {
    let backup = alias_of.as_ref().unwrap_or(&name);
    let now = Appearance::of(status, directory, backup.as_str());
    let described = describe(directory, slot, backup);
    let contradiction = described.as_ref().and_then(|it| it.contradiction(backup, Some(slot)));
    let is_its = contradiction.is_none() && described.as_ref().is_some_and(|it| it.is_of(now));
    let known = described.map(|described| Arc::new(described.manifest));
    let (manifest, former) = if is_its { (known, None) } else { (None, known) };
    let database = manifest.as_ref().map(|manifest| manifest.database.clone());
    Entry {
        slot,
        database: database.or(contradiction).or_else(|| backup.database(slot)),
        size: now.size,
        mtime: status.st_mtime,
        is_directory: kind(status) == SFlag::S_IFDIR,
        former,
        manifest,
        inode: status.st_ino,
        device: status.st_dev,
        name,
        alias_of,
    }
}

/// The manifest beside a backup, if it is readable.
fn describe(directory: &OpenDir, slot: Slot, backup: &BackupName) -> Option<Described> {
    let described = Described::read(directory, backup)
        .and_then(|described| described.map(Described::without_properties).transpose());
    described.unwrap_or_else(|error| {
        log::warn!("cannot read the manifest of {slot}/{backup}: {error}");
        None
    })
}

/// Marks `-latest` names that are hard links as pointers to the backup with the same inode. `pointers` are their
/// sorted indexes.
fn mark_hard_linked(entries: &mut [Entry], pointers: &[usize]) {
    let mut targets: HashMap<u64, Option<usize>> =
        pointers.iter().map(|at| (entries[*at].inode, None)).collect();
    if targets.is_empty() {
        return;
    }
    for (at, entry) in entries.iter().enumerate().filter(|(at, _)| pointers.binary_search(at).is_err()) {
        if let Some(target) = targets.get_mut(&entry.inode) {
            *target = Some(at);
        }
    }
    for &at in pointers {
        let target = targets[&entries[at].inode].map(|target| &entries[target]);
        let alias_of = target.map(|target| target.name.clone());
        let manifest = target.and_then(|target| target.manifest.clone());
        let former = target.and_then(|target| target.former.clone());
        (entries[at].alias_of, entries[at].manifest, entries[at].former) = (alias_of, manifest, former);
    }
}

/// The total size of the files in a directory, in bytes.
pub(crate) fn directory_size(directory: &OpenDir) -> u64 {
    Appearance::of_directory(directory).size
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn thousands_of_names_are_all_listed_and_each_with_its_own_size() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let name = |number: usize| format!("app-20260416-{number:06}.sql");
        for number in 0..2_007 {
            fs::write(backups.slot_path(Slot::Last).join(name(number)), vec![b'x'; number % 50]).unwrap();
        }
        let listed = backups.list(Slot::Last).unwrap();
        assert_eq!(listed.len(), 2_007);
        for entry in listed {
            let number: usize = entry.name.as_str()[13..19].parse().unwrap();
            assert_eq!(entry.size, (number % 50) as u64, "{}", entry.name);
        }
    }

    #[test]
    fn what_lies_in_the_future_comes_last_and_no_pointer_leads_there_while_there_is_more() {
        use crate::store::catalog::Latest;
        for kind in [Latest::Symlink, Latest::Hardlink] {
            let root = tempfile::tempdir().unwrap();
            let backups = BackupDirectory::new(root.path());
            backups.prepare().unwrap();
            let parse = |name: &str| BackupName::parse(name).unwrap();
            let names = ["app-20260101-000000.sql", "app-20260102-000000.sql", "app-21060207-062815.sql"];
            for (name, ahead) in names.iter().zip([-120, -60, 2 * clock::TOLERANCE]) {
                let file = fs::File::create(backups.slot_path(Slot::Last).join(name)).unwrap();
                let time = u64::try_from(clock::now() + ahead).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time)).unwrap();
            }
            let app = DatabaseName::parse("app").unwrap();
            backups.point_latest(Slot::Last, &app, ".sql", &parse(names[1]), kind).unwrap();
            let listed = || -> Vec<String> {
                backups.list(Slot::Last).unwrap().iter().map(|entry| entry.name.to_string()).collect()
            };
            assert_eq!(listed(), [names[1], "app-latest.sql", names[0], names[2]], "{kind:?}");
            for (gone, left) in [
                (names[1], &[names[0], "app-latest.sql", names[2]][..]),
                (names[0], &[names[2], "app-latest.sql"]),
                (names[2], &[]),
            ] {
                backups.remove(Slot::Last, &parse(gone)).unwrap();
                assert_eq!(listed(), left, "{kind:?} without {gone}");
                let pointer = backups.list(Slot::Last).unwrap().into_iter().find_map(|entry| entry.alias_of);
                assert_eq!(pointer, left.first().map(|name| parse(name)), "{kind:?} without {gone}");
            }
        }
    }
}
